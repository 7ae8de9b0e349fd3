//! Resolved expressions: every name is known, and reading them cannot fail but for a value that
//! a filter cannot use. Also tells where a value came from, in the caller's words.

use std::borrow::Cow;

use crate::diameter::Avp;
use crate::diameter::AvpId;

use super::expr::Comparison;
use super::fields;
use super::filter::Filter;
use super::read_back;
use super::value::{NULL, Value};

/// An expression after name resolution.
#[derive(Clone, Debug)]
pub(super) enum Term {
    Constant(Value),
    Path {
        root: Root,
        steps: Vec<Step>,
    },
    /// The AVP of the answer at this path.
    Avp(Vec<AvpId>),
    Filter {
        input: Box<Term>,
        filter: Filter,
        args: Vec<Term>,
    },
    /// A table of the mapping, as the argument of `lookup`.
    Table {
        name: String,
        rows: Value,
    },
    Not(Box<Term>),
    All(Box<Term>, Box<Term>),
    Any(Box<Term>, Box<Term>),
    Compare(Comparison, Box<Term>, Box<Term>),
    Fallback(Box<Term>, Box<Term>),
    Choice(Box<Term>, Box<Term>, Box<Term>),
}

/// Where a path begins.
#[derive(Clone, Debug)]
pub(super) enum Root {
    /// A top-level field of the tree.
    Tree(String),
    /// The element of an `each`, counted from the innermost.
    Item(usize),
    /// A computed value.
    Term(Box<Term>),
}

/// One step of a path.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Key(String),
    Index(Term),
}

/// What a term is evaluated in.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    pub(super) tree: &'s Value,
    pub(super) item: Option<&'s Item<'s>>,
    /// The answer's AVPs, for `answer:`.
    pub(super) answer: &'s [Avp],
}

/// The element that an `each` stands at.
pub(super) struct Item<'s> {
    pub(super) value: &'s Value,
    /// Which of the elements of `each` it is.
    pub(super) position: usize,
    pub(super) each: &'s Term,
    /// What `each` was evaluated in.
    pub(super) scope: Scope<'s>,
}

impl<'s> Scope<'s> {
    /// The tree alone.
    pub(super) fn of_tree(tree: &'s Value) -> Scope<'s> {
        Scope { tree, item: None, answer: &[] }
    }

    fn op(&self) -> &'s str {
        self.tree.key("op").as_text().unwrap_or_default()
    }

    fn item(&self, depth: usize) -> Option<&'s Item<'s>> {
        let mut item = self.item;
        for _ in 0..depth {
            item = item?.scope.item;
        }
        item
    }
}

type Read<'s> = Result<Cow<'s, Value>, String>;

const NOTHING: Cow<'static, Value> = Cow::Owned(Value::Null);

impl Term {
    /// The value.
    ///
    /// # Errors
    /// Why a filter cannot use its input.
    pub(super) fn read<'s>(&'s self, scope: &Scope<'s>) -> Read<'s> {
        Ok(match self {
            Term::Constant(value) | Term::Table { rows: value, .. } => Cow::Borrowed(value),
            Term::Path { root, steps } => return read_path(root, steps, scope),
            Term::Avp(path) => Cow::Owned(read_back::value_at(scope.answer, path)),
            Term::Filter { input, filter, args } => {
                let args: Vec<_> =
                    args.iter().map(|arg| arg.read(scope)).collect::<Result<_, _>>()?;
                return filter.apply(input.read(scope)?, &args);
            }
            Term::Not(inner) => owned(!inner.holds(scope)?),
            Term::All(left, right) => owned(left.holds(scope)? && right.holds(scope)?),
            Term::Any(left, right) => owned(left.holds(scope)? || right.holds(scope)?),
            Term::Compare(operator, left, right) => {
                owned(compare(*operator, &*left.read(scope)?, &*right.read(scope)?))
            }
            Term::Fallback(left, right) => match left.read(scope)? {
                value if value.is_null() => return right.read(scope),
                value => value,
            },
            Term::Choice(condition, yes, no) => match condition.holds(scope)? {
                true => return yes.read(scope),
                false => return no.read(scope),
            },
        })
    }

    /// Does it hold as a condition?
    ///
    /// # Errors
    /// As [`Term::read`].
    pub(super) fn holds(&self, scope: &Scope<'_>) -> Result<bool, String> {
        Ok(self.read(scope)?.holds())
    }

    /// Where the value comes from: `subscriber[0].value | strip_plus`. Filters that change
    /// nothing and branches that were not taken are left out. Empty for a constant.
    pub(super) fn source(&self, scope: &Scope<'_>) -> String {
        match self {
            Term::Constant(_) | Term::Table { .. } => String::new(),
            Term::Avp(_) => "answer".to_owned(),
            Term::Path { .. } => self
                .path(scope)
                .map_or_else(String::new, |path| fields::caller_path(&path, scope.op())),
            Term::Filter { input, filter, args } => filter_source(input, *filter, args, scope),
            Term::Not(inner) => inner.source(scope),
            Term::All(left, right) | Term::Any(left, right) | Term::Compare(_, left, right) => {
                join(left.source(scope), right.source(scope))
            }
            Term::Fallback(left, right) => match left.read(scope) {
                Ok(value) if value.is_null() => right.source(scope),
                _ => left.source(scope),
            },
            Term::Choice(condition, yes, no) => {
                let taken = if condition.holds(scope) == Ok(true) { yes } else { no };
                join(condition.source(scope), taken.source(scope))
            }
        }
    }

    /// The first field that the value depends on, in the caller's words; for error messages.
    pub(super) fn field(&self, scope: &Scope<'_>) -> Option<String> {
        let source = self.source(scope);
        let end = source.find([',', ' ']).unwrap_or(source.len());
        let field = &source[..end];
        (!field.is_empty() && field != "answer" && !field.starts_with('('))
            .then(|| field.to_owned())
    }

    /// The path in the tree, with indexes, if it is one.
    pub(super) fn path(&self, scope: &Scope<'_>) -> Option<String> {
        let (root, steps) = match self {
            Term::Path { root, steps } => (root, steps.as_slice()),
            Term::Filter { input, filter: Filter::Prefer, .. } => return input.path(scope),
            Term::Filter { input, filter: Filter::First, args } => {
                return first_path(input, args, scope);
            }
            Term::Fallback(left, right) => {
                let left_taken = left.read(scope).is_ok_and(|value| !value.is_null());
                return if left_taken { left.path(scope) } else { right.path(scope) };
            }
            _ => return None,
        };
        let mut path = match root {
            Root::Tree(name) => name.clone(),
            Root::Item(depth) => scope.item(*depth)?.path()?,
            Root::Term(term) => term.path(scope)?,
        };
        for step in steps {
            match step {
                Step::Key(key) if key.contains('.') => path.push_str(&format!("['{key}']")),
                Step::Key(key) => path.push_str(&format!(".{key}")),
                Step::Index(index) => match &*index.read(scope).ok()? {
                    Value::Text(key) => path.push_str(&format!("['{key}']")),
                    Value::Int(index) => path.push_str(&format!("[{index}]")),
                    _ => return None,
                },
            }
        }
        Some(path)
    }

    /// The elements that an `each` over this term goes through: a list's elements, or the one
    /// value that is no list; nothing for nothing.
    pub(super) fn elements<'s>(&'s self, scope: &Scope<'s>) -> Result<Cow<'s, [Value]>, String> {
        Ok(match self.read(scope)? {
            Cow::Borrowed(Value::List(items)) => Cow::Borrowed(items.as_slice()),
            Cow::Owned(Value::List(items)) => Cow::Owned(items),
            Cow::Borrowed(Value::Null) | Cow::Owned(Value::Null) => Cow::Borrowed(&[]),
            Cow::Borrowed(value) => Cow::Borrowed(std::slice::from_ref(value)),
            Cow::Owned(value) => Cow::Owned(vec![value]),
        })
    }

    /// The list before `prefer` chose from it.
    fn unfiltered(&self, scope: &Scope<'_>) -> Option<Value> {
        match self {
            Term::Filter { input, filter: Filter::Prefer, .. } => input.unfiltered(scope),
            other => other.read(scope).ok().map(Cow::into_owned),
        }
    }
}

impl Item<'_> {
    /// Where it stands in the tree: `subscriber[1]`.
    fn path(&self) -> Option<String> {
        let list = self.each.path(&self.scope)?;
        Some(match self.each.unfiltered(&self.scope)? {
            Value::List(items) => {
                let index = items.iter().position(|item| item == self.value);
                format!("{list}[{}]", index.unwrap_or(self.position))
            }
            _ => list,
        })
    }
}

fn owned<'s>(value: bool) -> Cow<'s, Value> {
    Cow::Owned(Value::Bool(value))
}

fn read_path<'s>(root: &'s Root, steps: &'s [Step], scope: &Scope<'s>) -> Read<'s> {
    let mut value = match root {
        Root::Tree(name) => Cow::Borrowed(scope.tree.key(name)),
        Root::Item(depth) => Cow::Borrowed(scope.item(*depth).map_or(&NULL, |item| item.value)),
        Root::Term(term) => term.read(scope)?,
    };
    for step in steps {
        let index = match step {
            Step::Key(key) => {
                value = key_of(value, key);
                continue;
            }
            Step::Index(index) => index.read(scope)?,
        };
        value = match &*index {
            Value::Text(key) => key_of(value, key),
            Value::Int(index) => match usize::try_from(*index) {
                Ok(index) => element_of(value, index),
                Err(_) => NOTHING,
            },
            _ => NOTHING,
        };
    }
    Ok(value)
}

fn key_of<'s>(value: Cow<'s, Value>, key: &str) -> Cow<'s, Value> {
    match value {
        Cow::Borrowed(value) => Cow::Borrowed(value.key(key)),
        Cow::Owned(value) => Cow::Owned(value.key(key).clone()),
    }
}

fn element_of(value: Cow<'_, Value>, index: usize) -> Cow<'_, Value> {
    match value {
        Cow::Borrowed(Value::List(items)) => Cow::Borrowed(items.get(index).unwrap_or(&NULL)),
        Cow::Owned(Value::List(mut items)) if index < items.len() => {
            Cow::Owned(items.swap_remove(index))
        }
        _ => NOTHING,
    }
}

/// Values of different types are not equal, and neither is less than the other.
fn compare(operator: Comparison, left: &Value, right: &Value) -> bool {
    let order = match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        _ => None,
    };
    match operator {
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        Comparison::Less => order.is_some_and(|order| order.is_lt()),
        Comparison::LessOrEqual => order.is_some_and(|order| order.is_le()),
        Comparison::Greater => order.is_some_and(|order| order.is_gt()),
        Comparison::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
    }
}

fn join(left: String, right: String) -> String {
    match (left.is_empty(), right.is_empty()) {
        (_, true) => left,
        (true, false) => right,
        (false, false) if left == right => left,
        (false, false) => format!("{left}, {right}"),
    }
}

fn filter_source(input: &Term, filter: Filter, args: &[Term], scope: &Scope<'_>) -> String {
    if filter == Filter::First {
        return first_path(input, args, scope)
            .map_or_else(|| input.source(scope), |path| fields::caller_path(&path, scope.op()));
    }
    let source = input.source(scope);
    if let (Filter::Lookup, [Term::Table { name, .. }]) = (filter, args) {
        return format!("table {name}[{source}]");
    }
    let Ok(value) = input.read(scope) else { return source };
    let args: Result<Vec<_>, _> = args.iter().map(|arg| arg.read(scope)).collect();
    let Ok(args) = args else { return source };
    let filtered = filter.apply(value.clone(), &args);
    match filtered {
        Ok(filtered) if filtered == value => source,
        _ if source.is_empty() => source,
        _ => {
            let args: Vec<String> = args.iter().filter_map(|arg| literal(arg)).collect();
            match args.is_empty() {
                true => format!("{source} | {}", filter.name()),
                false => format!("{source} | {}({})", filter.name(), args.join(",")),
            }
        }
    }
}

/// What `first` takes: an element, or the value of the first identity of a type.
fn first_path(list: &Term, args: &[Term], scope: &Scope<'_>) -> Option<String> {
    let path = list.path(scope)?;
    let Some(wanted) = args.first() else { return Some(format!("{path}[0]")) };
    let wanted = wanted.read(scope).ok()?;
    let items = list.unfiltered(scope)?;
    let index = items.as_list()?.iter().position(|item| item.key("type") == &*wanted)?;
    Some(format!("{path}[{index}].value"))
}

/// A text or number as it would be written.
fn literal(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(format!("'{text}'")),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}
