//! The condition of a route: the mapping's expression grammar, over names that the caller gives.

use super::expr::{self, Expr, Form};
use super::term::{Root, Scope, Step, Term};
use super::value::Value;

/// A condition such as `subscriber.mccmnc == "26207"`.
#[derive(Clone, Debug)]
pub struct Condition(Term);

impl Condition {
    /// Reads a condition; filters and AVPs have no place in one.
    ///
    /// # Errors
    /// What cannot be read, and where (octet of `text`).
    pub fn parse(text: &str) -> Result<Condition, (usize, String)> {
        let expr =
            expr::expression(text).map_err(|error| (error.range.start, error.message.clone()))?;
        Ok(Condition(term(&expr)?))
    }

    /// Does it hold for this tree? Names that the tree does not have are null.
    pub fn holds(&self, tree: &Value) -> bool {
        self.0.holds(&Scope::of_tree(tree)).unwrap_or(false)
    }
}

fn term(expr: &Expr) -> Result<Term, (usize, String)> {
    let pair = |left: &Expr, right: &Expr| Ok((Box::new(term(left)?), Box::new(term(right)?)));
    Ok(match &expr.form {
        Form::Literal(value) => Term::Constant(value.clone()),
        Form::Name(name) => Term::Path { root: Root::Tree(name.clone()), steps: Vec::new() },
        Form::Key(base, key) => match term(base)? {
            Term::Path { root, mut steps } => {
                steps.push(Step::Key(key.clone()));
                Term::Path { root, steps }
            }
            _ => return refused(expr, "a path"),
        },
        Form::Not(inner) => Term::Not(Box::new(term(inner)?)),
        Form::All(left, right) => {
            let (left, right) = pair(left, right)?;
            Term::All(left, right)
        }
        Form::Any(left, right) => {
            let (left, right) = pair(left, right)?;
            Term::Any(left, right)
        }
        Form::Compare(operator, left, right) => {
            let (left, right) = pair(left, right)?;
            Term::Compare(*operator, left, right)
        }
        _ => return refused(expr, "paths, texts, numbers, comparisons, `&&`, `||` and `!`"),
    })
}

fn refused(expr: &Expr, expected: &str) -> Result<Term, (usize, String)> {
    Err((expr.range.start, format!("expected {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_condition_compares_paths() {
        let tree =
            Value::map([("subscriber", Value::map([("mccmnc", Value::Text("26207".into()))]))]);
        let holds = |text: &str| Condition::parse(text).expect(text).holds(&tree);
        assert!(holds("subscriber.mccmnc == \"26207\""));
        assert!(!holds("subscriber.mccmnc == \"26201\""));
        assert!(holds("subscriber.mccmnc != '26201' && !(subscriber.e164 == 'x')"));
        assert!(Condition::parse("avp('Session-Id') == 'x'").is_err());
        assert!(Condition::parse("subscriber.mccmnc ==").is_err());
    }
}
