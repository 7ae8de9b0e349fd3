//! Syntax tree → term: names of the tree, `lets`, `each` variables, filters, tables and answer
//! AVPs are looked up once, when the file is read. Everything unknown is reported at its place.
//!
//! A `lets` name is replaced by its expression where it is used, so a later file of the chain
//! may redefine a name that an earlier one uses.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Span;
use crate::diagnostic::document::Node;
use crate::diagnostic::document::NodeValue;
use crate::diagnostic::suggest;
use crate::diameter::Dictionary;

use super::expr;
use super::expr::{Expr, Form, Part, SyntaxError, Template};
use super::fields;
use super::fields::Type;
use super::filter;
use super::filter::{FILTERS, Filter};
use super::names;
use super::term::{Root, Scope, Step, Term};
use super::value::Value;

/// Nodes of one expression after `lets` are replaced.
const NODES_MAX: usize = 512;
const DEPTH_MAX: usize = 64;

/// A text in the file: what is read, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snippet<'n> {
    pub(super) node: &'n Node,
}

impl<'n> Snippet<'n> {
    pub(super) fn text(self) -> &'n str {
        self.node.text().unwrap_or_default()
    }

    /// Place of some octets of the text. A text that the file writes in another form (escapes,
    /// several lines) has no exact place: then the whole.
    pub(super) fn span(self, range: Range<usize>) -> Span {
        let whole = &self.node.span;
        let text = self.text();
        let quotes = (whole.end - whole.start).checked_sub(text.len());
        let plain = matches!(self.node.value, NodeValue::Scalar { plain: true, .. });
        let skip = match quotes {
            Some(0) if plain => 0,
            Some(2) if !plain => 1,
            _ => return whole.clone(),
        };
        let before = text.get(..range.start).unwrap_or(text);
        let columns = u32::try_from(before.chars().count() + skip).unwrap_or(u32::MAX);
        Span {
            start: whole.start + skip + range.start,
            end: (whole.start + skip + range.end).min(whole.end),
            column: whole.column.saturating_add(columns),
            ..whole.clone()
        }
    }
}

/// Static knowledge of a term: its type, and its path in the tree's table if it has one.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) kind: Type,
    pub(super) path: Option<String>,
}

impl Known {
    fn of(kind: Type) -> Known {
        Known { kind, path: None }
    }

    fn field(path: String) -> Known {
        Known { kind: fields::type_of(&path).unwrap_or(Type::Any), path: Some(path) }
    }

    /// What an `each` over it gives.
    pub(super) fn element(&self) -> Known {
        match (&self.path, self.kind) {
            (Some(path), Type::List) => Known::field(format!("{path}[]")),
            (_, Type::List) => Known::of(Type::Any),
            _ => self.clone(),
        }
    }
}

/// What an `each` stands at.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    names: Vec<String>,
    known: Known,
}

/// A resolved text: several parts, or one term.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Term(Term),
    /// Joined as text; nothing if one part is nothing.
    Parts(Vec<Term>),
}

impl Source {
    /// The value.
    ///
    /// # Errors
    /// Why a filter cannot use its input.
    pub(super) fn read<'s>(&'s self, scope: &Scope<'s>) -> Result<Cow<'s, Value>, String> {
        let parts = match self {
            Source::Term(term) => return term.read(scope),
            Source::Parts(parts) => parts,
        };
        let mut text = String::new();
        for part in parts {
            match &*part.read(scope)? {
                Value::Null => return Ok(Cow::Owned(Value::Null)),
                Value::Text(part) => text.push_str(part),
                Value::Int(number) => text.push_str(&number.to_string()),
                Value::Bool(boolean) => text.push_str(&boolean.to_string()),
                other => return Err(format!("{} cannot be part of a text", other.describe())),
            }
        }
        Ok(Cow::Owned(Value::Text(text)))
    }

    /// Where the value comes from.
    pub(super) fn describe(&self, scope: &Scope<'_>) -> String {
        let source = match self {
            Source::Term(term) => term.source(scope),
            Source::Parts(parts) => {
                let sources = parts.iter().map(|part| part.source(scope));
                sources.filter(|source| !source.is_empty()).collect::<Vec<_>>().join(", ")
            }
        };
        if source.is_empty() { "constant".to_owned() } else { source }
    }

    /// The first field that it depends on.
    pub(super) fn field(&self, scope: &Scope<'_>) -> Option<String> {
        match self {
            Source::Term(term) => term.field(scope),
            Source::Parts(parts) => {
                let nothing = |part: &&Term| part.read(scope).is_ok_and(|value| value.is_null());
                let part = parts.iter().find(nothing);
                part.or(parts.iter().find(|part| part.field(scope).is_some()))?.field(scope)
            }
        }
    }
}

/// Looks names up.
pub(super) struct Resolver<'n> {
    pub(super) dictionary: &'n Dictionary,
    pub(super) lets: BTreeMap<String, Snippet<'n>>,
    pub(super) tables: BTreeMap<String, Value>,
    /// Variables of the `each` blocks around, outermost first.
    pub(super) variables: Vec<Variable>,
    /// `answer:` reads AVPs, everything else the tree.
    pub(super) answer: bool,
    pub(super) found: Vec<Diagnostic>,
    nodes: usize,
    depth: usize,
    /// Names of `lets` being replaced.
    open: Vec<String>,
}

impl<'n> Resolver<'n> {
    pub(super) fn new(
        dictionary: &'n Dictionary,
        lets: BTreeMap<String, Snippet<'n>>,
        tables: BTreeMap<String, Value>,
    ) -> Resolver<'n> {
        Resolver {
            dictionary,
            lets,
            tables,
            variables: Vec::new(),
            answer: false,
            found: Vec::new(),
            nodes: 0,
            depth: 0,
            open: Vec::new(),
        }
    }

    /// A right-hand side: text with `${…}` in it.
    pub(super) fn template(&mut self, snippet: Snippet<'n>) -> Option<(Source, Known)> {
        self.nodes = 0;
        match self.read(snippet, expr::template(snippet.text()))? {
            Template::Constant(text) => {
                Some((Source::Term(Term::Constant(Value::Text(text))), Known::of(Type::Text)))
            }
            Template::Single(expr) => {
                let (term, known) = self.term(&expr, snippet)?;
                Some((Source::Term(term), known))
            }
            Template::Mixed(parts) => {
                let terms: Vec<Option<Term>> = parts
                    .iter()
                    .map(|part| match part {
                        Part::Text(text) => Some(Term::Constant(Value::Text(text.clone()))),
                        Part::Expr(expr) => self.term(expr, snippet).map(|(term, _)| term),
                    })
                    .collect();
                let terms: Option<Vec<Term>> = terms.into_iter().collect();
                Some((Source::Parts(terms?), Known::of(Type::Text)))
            }
        }
    }

    /// One expression, as in `when:` and `from:`.
    pub(super) fn expression(&mut self, snippet: Snippet<'n>) -> Option<(Term, Known)> {
        self.nodes = 0;
        let expr = self.read(snippet, expr::expression(snippet.text()))?;
        self.term(&expr, snippet)
    }

    /// `list as name`; `earlier` ones that it replaces keep their names for its elements.
    pub(super) fn each(
        &mut self,
        snippet: Snippet<'n>,
        earlier: &[Snippet<'n>],
    ) -> Option<(Term, Variable)> {
        self.nodes = 0;
        let (list, name) = self.read(snippet, expr::each(snippet.text()))?;
        let (term, known) = self.term(&list, snippet)?;
        let others = earlier.iter().filter_map(|text| expr::each(text.text()).ok());
        let names = [name].into_iter().chain(others.map(|(_, name)| name)).collect();
        Some((term, Variable { names, known: known.element() }))
    }

    fn read<T>(&mut self, snippet: Snippet<'_>, done: Result<T, SyntaxError>) -> Option<T> {
        done.map_err(|error| {
            self.refuse(Code::FB0111, error.message, snippet.span(error.range));
        })
        .ok()
    }

    fn refuse(&mut self, code: Code, message: String, span: Span) -> &mut Diagnostic {
        self.found.push(Diagnostic::error(code, message).at(&span));
        self.found.last_mut().expect("invariant: pushed in the line above")
    }

    fn term(&mut self, expr: &Expr, at: Snippet<'n>) -> Option<(Term, Known)> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || self.depth >= DEPTH_MAX {
            let message = "the expression is too large".to_owned();
            self.refuse(Code::FB0111, message, at.span(0..at.text().len()));
            return None;
        }
        self.depth += 1;
        let done = self.form(expr, at);
        self.depth -= 1;
        done
    }

    fn form(&mut self, expr: &Expr, at: Snippet<'n>) -> Option<(Term, Known)> {
        match &expr.form {
            Form::Literal(value) => Some((Term::Constant(value.clone()), known_literal(value))),
            Form::Name(name) => self.name(name, expr, at),
            Form::Key(base, key) => {
                let (base, known) = self.term(base, at)?;
                let key_range = expr.range.end - key.len()..expr.range.end;
                let known = self.below(&known, key, at.span(key_range))?;
                Some((step(base, Step::Key(key.clone())), known))
            }
            Form::Index(base, index) => self.index(base, index, at),
            Form::Avp(path) => self.avp(path, expr, at),
            Form::Filter { input, name, name_range, args } => {
                self.filter(input, (name, name_range.clone()), args, at)
            }
            Form::Not(inner) => {
                let (inner, _) = self.term(inner, at)?;
                Some((Term::Not(Box::new(inner)), Known::of(Type::Bool)))
            }
            Form::All(left, right) => self.logic(left, right, Term::All, at),
            Form::Any(left, right) => self.logic(left, right, Term::Any, at),
            Form::Compare(operator, left, right) => {
                let operator = *operator;
                self.logic(left, right, |left, right| Term::Compare(operator, left, right), at)
            }
            Form::Fallback(left, right) => {
                let (left, right) = (self.term(left, at), self.term(right, at));
                let ((left, known), (right, other)) = (left?, right?);
                Some((Term::Fallback(Box::new(left), Box::new(right)), either(known, other)))
            }
            Form::Choice(condition, yes, no) => {
                let parts = (self.term(condition, at), self.term(yes, at), self.term(no, at));
                let ((condition, _), (yes, known), (no, other)) = (parts.0?, parts.1?, parts.2?);
                let term = Term::Choice(Box::new(condition), Box::new(yes), Box::new(no));
                Some((term, either(known, other)))
            }
        }
    }

    fn logic(
        &mut self,
        left: &Expr,
        right: &Expr,
        join: impl FnOnce(Box<Term>, Box<Term>) -> Term,
        at: Snippet<'n>,
    ) -> Option<(Term, Known)> {
        let (left, right) = (self.term(left, at), self.term(right, at));
        let ((left, _), (right, _)) = (left?, right?);
        Some((join(Box::new(left), Box::new(right)), Known::of(Type::Bool)))
    }

    fn name(&mut self, name: &str, expr: &Expr, at: Snippet<'n>) -> Option<(Term, Known)> {
        let mut around = self.variables.iter().rev().enumerate();
        if let Some((depth, variable)) =
            around.find(|(_, variable)| variable.names.iter().any(|known| known == name))
        {
            let term = Term::Path { root: Root::Item(depth), steps: Vec::new() };
            return Some((term, variable.known.clone()));
        }
        if let Some(text) = self.lets.get(name).copied() {
            return self.let_name(name, text, at.span(expr.range.clone()));
        }
        if !self.answer && fields::type_of(name).is_some() {
            let term = Term::Path { root: Root::Tree(name.to_owned()), steps: Vec::new() };
            return Some((term, Known::field(name.to_owned())));
        }
        let message = format!("`{name}` is not a field, a name of `lets` or an `each` variable");
        let fields = fields::names_below("");
        let known = self.lets.keys().map(String::as_str);
        let known =
            known.chain(self.variables.iter().flat_map(|known| &known.names).map(String::as_str));
        let near = suggest(name, known.chain(fields.iter().copied())).map(str::to_owned);
        let answer = self.answer;
        let problem = self.refuse(Code::FB0111, message, at.span(expr.range.clone()));
        match near {
            _ if answer => problem.help.push("`answer:` reads AVPs: `avp('Name')`".to_owned()),
            Some(near) => problem.help.push(format!("did you mean `{near}`?")),
            None => problem.help.push(format!("a mapping sees: {}", fields.join(" "))),
        }
        None
    }

    /// The expression of a `lets` name; it sees no `each` variables.
    fn let_name(&mut self, name: &str, text: Snippet<'n>, used: Span) -> Option<(Term, Known)> {
        if self.open.iter().any(|open| open == name) {
            let message = format!("`{name}` of `lets` is defined by itself");
            self.refuse(Code::FB0111, message, used);
            return None;
        }
        let expr = self.read(text, expr::expression(text.text()))?;
        self.open.push(name.to_owned());
        let variables = std::mem::take(&mut self.variables);
        let done = self.term(&expr, text);
        self.variables = variables;
        self.open.pop();
        done
    }

    fn below(&mut self, known: &Known, key: &str, span: Span) -> Option<Known> {
        match (known.kind, &known.path) {
            (Type::Any | Type::Open, _) => Some(Known::of(Type::Any)),
            (Type::Map, Some(path)) => {
                let child = format!("{path}.{key}");
                if fields::type_of(&child).is_some() {
                    return Some(Known::field(child));
                }
                let names = fields::names_below(path);
                let near = suggest(key, names.iter().copied());
                let message = format!("`{path}` has no field `{key}`");
                let problem = self.refuse(Code::FB0111, message, span);
                problem.help.push(match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("its fields: {}", names.join(" ")),
                });
                None
            }
            (kind, _) => {
                let message = format!("{} has no field `{key}`", kind.name());
                let problem = self.refuse(Code::FB0111, message, span);
                if kind == Type::List {
                    problem
                        .help
                        .push("take an element with `[0]`, or go through it with `each`".into());
                }
                None
            }
        }
    }

    fn index(&mut self, base: &Expr, index: &Expr, at: Snippet<'n>) -> Option<(Term, Known)> {
        let ((base, known), (index_term, index_known)) =
            (self.term(base, at)?, self.term(index, at)?);
        let result = match (known.kind, &known.path, &index_term) {
            (Type::List, Some(_), _) => known.element(),
            (Type::Map, Some(_), Term::Constant(Value::Text(key))) => {
                self.below(&known, key, at.span(index.range.clone()))?
            }
            (Type::List | Type::Map | Type::Open | Type::Any, ..) => Known::of(Type::Any),
            (kind, ..) => {
                let message = format!("{} has no elements", kind.name());
                self.refuse(Code::FB0111, message, at.span(index.range.clone()));
                return None;
            }
        };
        let suits = match known.kind {
            Type::List => matches!(index_known.kind, Type::Int | Type::Any),
            Type::Map | Type::Open => matches!(index_known.kind, Type::Text | Type::Any),
            _ => true,
        };
        if !suits {
            let wanted = if known.kind == Type::List { "a number" } else { "text" };
            let message =
                format!("the index must be {wanted}, this is {}", index_known.kind.name());
            self.refuse(Code::FB0111, message, at.span(index.range.clone()));
            return None;
        }
        Some((step(base, Step::Index(index_term)), result))
    }

    fn avp(&mut self, path: &str, expr: &Expr, at: Snippet<'n>) -> Option<(Term, Known)> {
        let span = at.span(expr.range.clone());
        if !self.answer {
            let message = "`avp('…')` reads the answer; it stands in `answer:` only".to_owned();
            self.refuse(Code::FB0111, message, span);
            return None;
        }
        match names::avp_path(path, self.dictionary, &span) {
            Ok(ids) => Some((Term::Avp(ids), Known::of(Type::Any))),
            Err(problem) => {
                self.found.push(problem);
                None
            }
        }
    }

    fn filter(
        &mut self,
        input: &Expr,
        (name, name_range): (&str, Range<usize>),
        args: &[Expr],
        at: Snippet<'n>,
    ) -> Option<(Term, Known)> {
        let span = at.span(name_range);
        let input = self.term(input, at);
        let Some(signature) = filter::by_name(name) else {
            let near = suggest(name, FILTERS.iter().map(|row| row.name));
            let problem = self.refuse(Code::FB0111, format!("unknown filter `{name}`"), span);
            problem.help.push(match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    let all: Vec<&str> = FILTERS.iter().map(|row| row.name).collect();
                    format!("filters: {}", all.join(" "))
                }
            });
            return None;
        };
        let (least, most) = signature.args;
        if args.len() < least || args.len() > most {
            let wanted =
                if least == most { least.to_string() } else { format!("{least} to {most}") };
            let message = format!("`{name}` takes {wanted} arguments, not {}", args.len());
            self.refuse(Code::FB0111, message, span);
            return None;
        }
        let args = match signature.filter {
            Filter::Lookup => self.table(&args[0], at).map(|table| vec![table]),
            _ => {
                let args: Vec<_> = args.iter().map(|arg| self.term(arg, at)).collect();
                args.into_iter().map(|arg| arg.map(|(term, _)| term)).collect()
            }
        };
        let ((input, known), args) = (input?, args?);
        let known = match signature.filter {
            // The elements are the list's own.
            Filter::Prefer => known,
            Filter::First if args.is_empty() => known.element(),
            Filter::First => Known::of(Type::Text),
            Filter::Default => Known { path: None, ..known },
            _ => Known::of(signature.gives),
        };
        Some((Term::Filter { input: Box::new(input), filter: signature.filter, args }, known))
    }

    fn table(&mut self, arg: &Expr, at: Snippet<'n>) -> Option<Term> {
        let span = at.span(arg.range.clone());
        let Form::Literal(Value::Text(name)) = &arg.form else {
            let message = "`lookup` needs the name of a table in quotes".to_owned();
            self.refuse(Code::FB0111, message, span);
            return None;
        };
        if let Some(rows) = self.tables.get(name) {
            return Some(Term::Table { name: name.clone(), rows: rows.clone() });
        }
        let near = suggest(name, self.tables.keys().map(String::as_str)).map(str::to_owned);
        let problem = self.refuse(Code::FB0111, format!("no table `{name}` in `tables:`"), span);
        problem.help.extend(near.map(|near| format!("did you mean `{near}`?")));
        None
    }
}

fn step(base: Term, step: Step) -> Term {
    match base {
        Term::Path { root, mut steps } => {
            steps.push(step);
            Term::Path { root, steps }
        }
        other => Term::Path { root: Root::Term(Box::new(other)), steps: vec![step] },
    }
}

fn known_literal(value: &Value) -> Known {
    Known::of(match value {
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Text(_) => Type::Text,
        _ => Type::Any,
    })
}

/// What one of two terms gives.
fn either(left: Known, right: Known) -> Known {
    match (left.kind, right.kind) {
        (Type::Any, _) | (_, Type::Any) => Known::of(Type::Any),
        (a, b) if a == b && left.path == right.path => left,
        (a, b) if a == b && !matches!(a, Type::List | Type::Map) => Known::of(a),
        _ => Known::of(Type::Any),
    }
}
