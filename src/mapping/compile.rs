//! Chain of files → encode plan. Everything is looked up here, so that applying a mapping can
//! fail only for values that the trigger gives or does not give.

use sha2::{Digest, Sha256};

use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Severity;
use crate::diagnostic::Span;
use crate::diagnostic::document::{Node, NodeValue};
use crate::diameter::Dictionary;
use crate::diameter::Kind;

use super::Interface;
use super::Mapping;
use super::fields::Type;
use super::layer;
use super::layer::{Block as BlockNode, Body as BodyNode, Branch, Parent};
use super::plan::{Block, Body, Otherwise, Step, Target};
use super::resolve::{Known, Resolver, Snippet, Source};
use super::term::Term;
use super::value::Value;

impl Mapping {
    /// Compiles a chain of mapping files and overlays, the most general (the built-in) first and
    /// the most specific last; each is given as its name and its tree.
    ///
    /// All problems of all files are returned, warnings too. There is a mapping if none of them
    /// is an error.
    pub fn compile(
        chain: &[(&str, &Node)],
        dictionary: &Dictionary,
        interface: Interface,
    ) -> (Option<Mapping>, Vec<Diagnostic>) {
        let (merged, mut found) = layer::merge(chain, dictionary, interface);
        let resolver = Resolver::new(dictionary, merged.lets, merged.tables);
        let mut compiler = Compiler { resolver };
        let top = Parent::command(dictionary, interface);
        let (steps, _) = compiler.steps(&merged.set, top);
        compiler.resolver.answer = true;
        let answer: Vec<(String, Term)> = merged
            .answer
            .iter()
            .filter_map(|(name, text)| {
                let (source, _) = compiler.resolver.template(*text)?;
                match source {
                    Source::Term(term) => Some((name.clone(), term)),
                    Source::Parts(_) => {
                        let message = "`answer:` takes one expression, without text around it";
                        let problem = Diagnostic::error(Code::FB0111, message).at(&text.node.span);
                        compiler.resolver.found.push(problem);
                        None
                    }
                }
            })
            .collect();
        found.extend(compiler.unused_lets());
        found.append(&mut compiler.resolver.found);
        // One mistake in a `lets` name shows once, however often the name is used.
        let mut unique: Vec<Diagnostic> = Vec::new();
        for problem in found {
            if !unique.contains(&problem) {
                unique.push(problem);
            }
        }
        let good = unique.iter().all(|problem| problem.severity != Severity::Error);
        let mapping = Mapping { name: merged.name, interface, steps, answer, hash: hash(chain) };
        (good.then_some(mapping), unique)
    }
}

struct Compiler<'n> {
    resolver: Resolver<'n>,
}

impl<'n> Compiler<'n> {
    /// The plan of a group's members, and which of them it cannot be without.
    fn steps(&mut self, branches: &[Branch<'n>], parent: Parent<'n>) -> (Vec<Step>, Vec<usize>) {
        let mut steps = Vec::new();
        let mut required = Vec::new();
        for branch in branches {
            let member = parent.members.iter().find(|member| member.id == branch.avp.id);
            if member.is_some_and(|member| member.min > 0) {
                required.push(steps.len());
            }
            let blocks = branch.blocks.iter().filter_map(|block| self.block(block, branch));
            steps.push(Step {
                avp: branch.avp.clone(),
                max: member.and_then(|member| member.max),
                blocks: blocks.collect(),
                unless: branch.unless.clone(),
            });
        }
        (steps, required)
    }

    fn block(&mut self, block: &BlockNode<'n>, branch: &Branch<'n>) -> Option<Block> {
        let each = match block.each {
            Some(each) => {
                let (term, variable) = self.resolver.each(each, &block.earlier_each)?;
                self.resolver.variables.push(variable);
                Some(term)
            }
            None => None,
        };
        let when = block.when.map(|when| self.resolver.expression(when));
        let body = match &block.body {
            BodyNode::Group { members, send_empty } => {
                self.group(members, send_empty.unwrap_or(false), branch)
            }
            BodyNode::Value(node) => self.value(node, &branch.avp),
            BodyNode::Select { from, table, otherwise } => {
                self.select(*from, *table, *otherwise, &branch.avp)
            }
        };
        if each.is_some() {
            self.resolver.variables.pop();
        }
        let when = match when {
            Some(term) => Some(term?.0),
            None => None,
        };
        Some(Block { place: block.span.place(), each, when, body: body? })
    }

    fn group(
        &mut self,
        members: &[Branch<'n>],
        send_empty: bool,
        branch: &Branch<'n>,
    ) -> Option<Body> {
        let def = branch.def?;
        let (steps, required) = self.steps(members, Parent::group(def));
        for member in def.members.iter().filter(|member| member.min > 0) {
            if !members.iter().any(|branch| branch.avp.id == member.id) {
                let known = self.resolver.dictionary.avp(member.id);
                let name = known.map_or_else(|| member.id.to_string(), |def| def.name.clone());
                let message = format!("group `{}` needs `{name}`", def.name);
                let problem = Diagnostic::error(Code::FB0103, message).at(&branch.span);
                self.resolver.found.push(problem);
            }
        }
        Some(Body::Group { steps, required, send_empty })
    }

    fn value(&mut self, node: &'n Node, avp: &Target) -> Option<Body> {
        let (source, known) = self.resolver.template(Snippet { node })?;
        match source {
            Source::Term(Term::Constant(Value::Text(text))) if !text.contains("${") => {
                // A constant keeps what YAML says of it: `"5"` is text, `5` a number.
                let plain = matches!(node.value, NodeValue::Scalar { plain: true, .. });
                let written = node.text().is_some_and(|written| written == text);
                self.constant(&text, plain && written, avp, &node.span).map(Body::Constant)
            }
            source => {
                self.type_warning(&known, avp, &node.span);
                Some(Body::Value(source))
            }
        }
    }

    fn constant(&mut self, text: &str, plain: bool, avp: &Target, at: &Span) -> Option<Vec<u8>> {
        match avp.constant(text, plain) {
            Ok((octets, _)) => Some(octets),
            Err(misfit) => {
                self.resolver.found.push(avp.misfit_problem(&misfit, at));
                None
            }
        }
    }

    fn select(
        &mut self,
        from: Snippet<'n>,
        table: Option<&'n Node>,
        otherwise: Option<&'n Node>,
        avp: &Target,
    ) -> Option<Body> {
        let (from, known) = self.resolver.expression(from)?;
        let Some(table) = table else {
            if let Some(otherwise) = otherwise {
                self.wrong(otherwise, "`enum` beside `otherwise`");
                return None;
            }
            return Some(Body::Value(Source::Term(from)));
        };
        if matches!(known.kind, Type::List | Type::Map | Type::Bool) {
            self.wrong(
                table,
                &format!("a text or a number to choose by, `from` is {}", known.kind.name()),
            );
        }
        let Some(entries) = table.map() else {
            self.wrong(table, "values by name");
            return None;
        };
        let rows: Vec<Option<(String, Vec<u8>)>> = entries
            .iter()
            .map(|entry| {
                let octets = self.scalar(&entry.value, avp)?;
                Some((entry.key.clone(), octets))
            })
            .collect();
        let otherwise = match otherwise.map(|node| (node, node.text())) {
            None | Some((_, Some("fail"))) => Otherwise::Fail,
            Some((_, Some("omit"))) => Otherwise::Omit,
            Some((node, _)) => Otherwise::Constant(self.scalar(node, avp)?),
        };
        let table = rows.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Body::Select { from, table, otherwise })
    }

    fn scalar(&mut self, node: &'n Node, avp: &Target) -> Option<Vec<u8>> {
        let Some(text) = node.text() else {
            self.wrong(node, "a value");
            return None;
        };
        let plain = matches!(node.value, NodeValue::Scalar { plain: true, .. });
        self.constant(text, plain, avp, &node.span)
    }

    fn wrong(&mut self, node: &Node, wanted: &str) {
        let message = format!("expected {wanted}, found {}", node.describe());
        self.resolver.found.push(Diagnostic::error(Code::FB0102, message).at(&node.span));
    }

    /// FB0311: the expression can be read, but what it gives is of another type.
    fn type_warning(&mut self, known: &Known, avp: &Target, span: &Span) {
        let known = if known.kind == Type::List { known.element() } else { known.clone() };
        let help = match (known.kind, avp.kind) {
            (Type::Any, _) | (Type::Text, Kind::Enumerated | Kind::OctetString | Kind::Address) => {
                return;
            }
            (Type::Text | Type::Int | Type::Bytes, _) if avp.is_text() => return,
            (Type::Bytes, Kind::OctetString | Kind::Address) => return,
            (Type::Int, Kind::OctetString | Kind::Address) => "",
            (Type::Int, _) => return,
            (Type::Millis, Kind::Time) => "`| seconds` gives what a Time holds",
            (Type::Text, Kind::Unsigned32) => "`| hash32` folds it, `| int` reads decimal digits",
            (Type::Text, Kind::Unsigned64 | Kind::Integer32 | Kind::Integer64) => {
                "`| int` reads decimal digits"
            }
            _ => "",
        };
        let message =
            format!("expression yields {}, AVP is {}", known.kind.name(), avp.kind.name());
        let mut problem = Diagnostic::warning(Code::FB0311, message).at(span);
        if !help.is_empty() {
            problem = problem.help(help);
        }
        self.resolver.found.push(problem);
    }

    /// Names of `lets` that cannot be read are reported even if nothing uses them.
    fn unused_lets(&mut self) -> Vec<Diagnostic> {
        let lets: Vec<Snippet<'n>> = self.resolver.lets.values().copied().collect();
        let answer = std::mem::replace(&mut self.resolver.answer, false);
        let before = self.resolver.found.len();
        for text in lets {
            self.resolver.expression(text);
        }
        self.resolver.answer = answer;
        self.resolver.found.split_off(before)
    }
}

/// First eight octets of SHA-256 over the content of the chain; comments, layout and tests left out.
fn hash(chain: &[(&str, &Node)]) -> u64 {
    let mut sum = Sha256::new();
    for (_, node) in chain {
        for entry in node.map().unwrap_or_default().iter().filter(|entry| entry.key != "tests") {
            sum.update(entry.key.as_bytes());
            sum.update([0]);
            add_to_hash(&mut sum, &entry.value);
        }
    }
    let octets: [u8; 32] = sum.finalize().into();
    octets[..8].iter().fold(0, |hash, octet| hash << 8 | u64::from(*octet))
}

/// Bounded by the document's own depth limit.
fn add_to_hash(sum: &mut Sha256, node: &Node) {
    let mut part = |kind: u8, text: &str| {
        sum.update([kind]);
        sum.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        sum.update(text.as_bytes());
    };
    match &node.value {
        NodeValue::Null => part(0, ""),
        NodeValue::Scalar { text, plain } => part(if *plain { 1 } else { 2 }, text),
        NodeValue::List(items) => {
            part(3, &items.len().to_string());
            items.iter().for_each(|item| add_to_hash(sum, item));
        }
        NodeValue::Map(entries) => {
            part(4, &entries.len().to_string());
            for entry in entries {
                sum.update(entry.key.as_bytes());
                sum.update([0]);
                add_to_hash(sum, &entry.value);
            }
        }
    }
}
