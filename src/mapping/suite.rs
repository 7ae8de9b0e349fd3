//! `tests:` of a mapping file: a tree is given, AVPs are expected.
//!
//! Reading files and making trees of triggers is the caller's: it passes a loader.

use bytes::BytesMut;

use crate::diagnostic::Span;
use crate::diagnostic::document::{Entry, Node, NodeValue};
use crate::diameter::AvpDef;
use crate::diameter::AvpView;
use crate::diameter::CommandFlags;
use crate::diameter::Dictionary;
use crate::diameter::Kind;
use crate::diameter::Limits;
use crate::diameter::View;
use crate::diameter::avp::id;
use crate::diameter::begin_message;
use crate::diameter::end_message;
use crate::diameter::print;
use crate::diameter::put_i32;

use super::Interface;
use super::Mapping;
use super::layer;
use super::names;
use super::plan::Target;
use super::value::Value;

/// What a test starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// `start`, `interim`, `terminate` or `event`.
    pub op: Option<String>,
    /// File with the trigger's body.
    pub file: Option<String>,
    /// File with the start's body.
    pub session: Option<String>,
}

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestResult {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub place: String,
    /// What differs; none: it passed.
    pub failures: Vec<Failure>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// AVP path, or key of the test.
    pub path: String,
    /// `file:line` of the expectation.
    pub place: String,
    /// What the file says.
    pub expected: String,
    /// What the mapping gives.
    pub found: String,
}

/// Runs the `tests:` of a mapping file. `load` makes the value tree of a test that names files;
/// a test with `tree:` has its own.
pub fn run_tests(
    file: &Node,
    mapping: &Mapping,
    dictionary: &Dictionary,
    load: &dyn Fn(&Given) -> Result<Value, String>,
) -> Vec<TestResult> {
    let tests = file.field("tests").and_then(Node::list).unwrap_or_default();
    let run = |node: &Node| {
        let mut test = Test { mapping, dictionary, failures: Vec::new() };
        test.run(node, load);
        TestResult {
            name: node.field("name").and_then(Node::text).unwrap_or("(no name)").to_owned(),
            place: node.span.place(),
            failures: test.failures,
        }
    };
    tests.iter().map(run).collect()
}

/// A value of a file as a value of a tree.
pub fn value_of_node(node: &Node) -> Value {
    match &node.value {
        NodeValue::List(items) => Value::List(items.iter().map(value_of_node).collect()),
        NodeValue::Map(entries) => Value::Map(
            entries.iter().map(|entry| (entry.key.clone(), value_of_node(&entry.value))).collect(),
        ),
        NodeValue::Null | NodeValue::Scalar { .. } => layer::plain_value(node),
    }
}

struct Test<'t> {
    mapping: &'t Mapping,
    dictionary: &'t Dictionary,
    failures: Vec<Failure>,
}

/// Which instances of an AVP a part of a path means.
enum Which<'p> {
    Every,
    Index(usize),
    With(&'p str, &'p str),
}

impl Test<'_> {
    fn run(&mut self, node: &Node, load: &dyn Fn(&Given) -> Result<Value, String>) {
        for entry in node.map().unwrap_or_default() {
            if !matches!(entry.key.as_str(), "name" | "given" | "expect") {
                self.fail(&entry.key, &entry.key_span, "name, given or expect", &entry.key);
            }
        }
        let given = node.field("given");
        let expected = node.field("expect").and_then(Node::map);
        let (Some(given), Some(expected)) = (given, expected) else {
            return self.fail("", &node.span, "`given` and `expect`", "a test without them");
        };
        let tree = match self.tree(given, load) {
            Ok(tree) => tree,
            Err(why) => return self.fail("given", &given.span, "a value tree", &why),
        };
        let errors_wanted = expected.iter().find(|entry| entry.key == "error");
        let (bytes, errors) = self.message(&tree);
        if let Some(wanted) = errors_wanted {
            let code = wanted.value.text().unwrap_or_default();
            if !errors.iter().any(|error| error.starts_with(code)) || code.is_empty() {
                let found =
                    if errors.is_empty() { "a message".to_owned() } else { errors.join("; ") };
                self.fail("error", &wanted.value.span, code, &found);
            }
            return;
        }
        if !errors.is_empty() {
            return self.fail("", &given.span, "a message", &errors.join("; "));
        }
        let Ok(view) = View::new(&bytes, &Limits::default()) else {
            return self.fail("", &given.span, "a message", "more octets than a message may have");
        };
        let avps: Vec<AvpView<'_>> = view.avps().collect();
        for entry in expected {
            self.expect(entry, &avps);
        }
    }

    fn fail(&mut self, path: &str, at: &Span, expected: &str, found: &str) {
        self.failures.push(Failure {
            path: path.to_owned(),
            place: at.place(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        });
    }

    fn tree(
        &self,
        given: &Node,
        load: &dyn Fn(&Given) -> Result<Value, String>,
    ) -> Result<Value, String> {
        let text = |key: &str| given.field(key).and_then(Node::text).map(str::to_owned);
        let known = ["op", "file", "session", "tree"];
        let strange = given.map().unwrap_or_default();
        if let Some(entry) = strange.iter().find(|entry| !known.contains(&entry.key.as_str())) {
            return Err(format!("unknown key `{}`; keys: {}", entry.key, known.join(" ")));
        }
        let op = text("op");
        let mut tree = match given.field("tree") {
            Some(tree) => value_of_node(tree),
            None => load(&Given { op: op.clone(), file: text("file"), session: text("session") })?,
        };
        if tree.key("op").is_null() {
            tree.put("op", op.into());
        }
        Ok(tree)
    }

    /// The message that the mapping gives, with the type AVP that the machines would set.
    fn message(&self, tree: &Value) -> (BytesMut, Vec<String>) {
        let mut out = BytesMut::new();
        let (code, application) = self.mapping.interface.command();
        let flags = CommandFlags(CommandFlags::REQUEST | CommandFlags::PROXIABLE);
        begin_message(&mut out, flags, code, application, 0, 0);
        let (avp, online) = match self.mapping.interface {
            Interface::Ch1 => (id::ACCOUNTING_RECORD_TYPE, false),
            Interface::Ch2 => (id::CC_REQUEST_TYPE, true),
        };
        let number = match (tree.key("op").as_text(), online) {
            (Some("start"), true) | (Some("event"), false) => 1,
            (Some("interim"), true) | (Some("start"), false) => 2,
            (Some("terminate"), true) | (Some("interim"), false) => 3,
            _ => 4,
        };
        if let Some(def) = self.dictionary.avp(avp) {
            put_i32(&mut out, avp, def.flags(), number);
        }
        let errors = match self.mapping.apply(tree, &mut out) {
            Ok(()) => Vec::new(),
            Err(errors) => {
                let line = |error| format!("{}: {error} ({})", error_code(error), error.place());
                errors.iter().map(line).collect()
            }
        };
        end_message(&mut out);
        (out, errors)
    }

    fn expect(&mut self, entry: &Entry, avps: &[AvpView<'_>]) {
        let (path, at) = (entry.key.as_str(), &entry.value.span);
        let wanted = entry.value.text().unwrap_or_default();
        let Some((found, def, counted)) = self.find(path, &entry.key_span, avps) else { return };
        let shown: Vec<String> = found.iter().map(|avp| show(avp, def)).collect();
        let shown = if shown.is_empty() { "absent".to_owned() } else { shown.join(", ") };
        let good = match wanted {
            _ if counted => {
                let count = found.len().to_string();
                if count != wanted {
                    self.fail(path, at, wanted, &count);
                }
                return;
            }
            "absent" => found.is_empty(),
            "present" => !found.is_empty(),
            _ if def.kind == Kind::Grouped => {
                let hint = "`absent`, `present`, or a path to a member";
                return self.fail(path, at, hint, wanted);
            }
            _ => match Target::of(def).constant(wanted, true) {
                Ok((_, data)) => found.iter().any(|avp| avp.data == data),
                Err(misfit) => {
                    let problem = Target::of(def).misfit_problem(&misfit, at);
                    return self.fail(path, at, wanted, &problem.message);
                }
            },
        };
        if !good {
            self.fail(path, at, wanted, &shown);
        }
    }

    /// The instances that a path leads to, their definition, and whether they are only counted.
    fn find<'v>(
        &mut self,
        path: &str,
        at: &Span,
        avps: &[AvpView<'v>],
    ) -> Option<(Vec<AvpView<'v>>, &AvpDef, bool)> {
        let dictionary = self.dictionary;
        let mut groups: Vec<Vec<AvpView<'v>>> = vec![avps.to_vec()];
        let mut last = None;
        let parts: Vec<&str> = split_path(path);
        for (position, part) in parts.iter().enumerate() {
            let inner = part.strip_prefix("count(").and_then(|part| part.strip_suffix(')'));
            let counted = inner.is_some() && position + 1 == parts.len();
            let (name, which) = which(inner.unwrap_or(part));
            let def = match names::avp(name, dictionary, at) {
                Ok(def) => def,
                Err(problem) => {
                    self.fail(path, at, "an AVP path", &problem.message);
                    return None;
                }
            };
            let mut found = Vec::new();
            for group in &groups {
                let all = group.iter().filter(|avp| avp.id == def.id).cloned();
                match which {
                    Which::Every => found.extend(all),
                    Which::Index(index) => found.extend(all.skip(index).take(1)),
                    Which::With(member, value) => {
                        let Some(def) = dictionary.by_name(member) else { continue };
                        let wanted = Target::of(def).constant(value, true);
                        let Ok((_, data)) = wanted else { continue };
                        let fits = |avp: &AvpView<'v>| {
                            avp.group().any(|inner| inner.id == def.id && inner.data == data)
                        };
                        found.extend(all.filter(fits));
                    }
                }
            }
            groups = found.iter().map(|avp| avp.group().collect()).collect();
            last = Some((found, def, counted));
        }
        last
    }
}

fn error_code(error: &super::MappingError) -> &'static str {
    error.code().name()
}

/// Parts of a path; `/` inside of `[…]` does not part.
fn split_path(path: &str) -> Vec<&str> {
    let mut depth = 0i32;
    path.split(|c| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        c == '/' && depth == 0
    })
    .collect()
}

fn which(part: &str) -> (&str, Which<'_>) {
    let Some((name, inside)) = part.strip_suffix(']').and_then(|part| part.split_once('[')) else {
        return (part, Which::Every);
    };
    match (inside.parse(), inside.split_once('=')) {
        (Ok(index), _) => (name, Which::Index(index)),
        (Err(_), Some((member, value))) => (name, Which::With(member, value)),
        (Err(_), None) => (part, Which::Every),
    }
}

/// An AVP's value for people.
fn show(avp: &AvpView<'_>, def: &AvpDef) -> String {
    match def.kind {
        Kind::Grouped => "present".to_owned(),
        _ => print::value(avp, Some(def)),
    }
}
