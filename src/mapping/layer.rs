//! One mapping file, or one overlay, as a tree of AVPs; and the chain of them merged.
//!
//! Later files win AVP by AVP: a group is merged member by member, its `each` and `when` stay
//! unless the later file has its own; anything else is replaced as a whole. `remove` acts on
//! what the files up to its own have set.

use std::collections::BTreeMap;

use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Span;
use crate::diagnostic::document::{Entry, Node, NodeValue};
use crate::diagnostic::suggest;
use crate::diameter::AvpDef;
use crate::diameter::AvpFlags;
use crate::diameter::Dictionary;
use crate::diameter::Kind;
use crate::diameter::Member;

use super::Interface;
use super::names;
use super::plan::{Predicate, Target};
use super::resolve::Snippet;
use super::value::Value;

const FILE_KEYS: &[&str] = &[
    "mapping",
    "interface",
    "extends",
    "lets",
    "set",
    "remove",
    "raw",
    "answer",
    "tables",
    "tests",
];
const BLOCK_KEYS: &[&str] = &["each", "when", "from", "enum", "otherwise", "value", "empty"];
/// Block keys of a group; the others are for AVPs with a value.
const GROUP_KEYS: &[&str] = &["each", "when", "empty"];
const RAW_KEYS: &[&str] = &["avp", "type", "flags", "when", "value"];

/// An AVP that is set, and by what.
pub(super) struct Branch<'n> {
    pub(super) avp: Target,
    /// `None` for `raw`.
    pub(super) def: Option<&'n AvpDef>,
    pub(super) span: Span,
    pub(super) blocks: Vec<Block<'n>>,
    /// Written as a list of right-hand sides.
    several: bool,
    pub(super) unless: Vec<Predicate>,
}

/// One right-hand side.
pub(super) struct Block<'n> {
    pub(super) span: Span,
    pub(super) each: Option<Snippet<'n>>,
    /// What earlier files had for `each`: their members use its variable.
    pub(super) earlier_each: Vec<Snippet<'n>>,
    pub(super) when: Option<Snippet<'n>>,
    pub(super) body: Body<'n>,
}

/// What it sets.
pub(super) enum Body<'n> {
    /// `send_empty`: a group without members is sent, not left out (`empty: send`).
    Group {
        members: Vec<Branch<'n>>,
        send_empty: Option<bool>,
    },
    Value(&'n Node),
    Select {
        from: Snippet<'n>,
        table: Option<&'n Node>,
        otherwise: Option<&'n Node>,
    },
}

/// A chain of files, merged.
pub(super) struct Merged<'n> {
    pub(super) name: String,
    pub(super) set: Vec<Branch<'n>>,
    pub(super) lets: BTreeMap<String, Snippet<'n>>,
    pub(super) tables: BTreeMap<String, Value>,
    pub(super) answer: BTreeMap<String, Snippet<'n>>,
}

/// Reads and merges the chain, most general file first.
pub(super) fn merge<'n>(
    chain: &[(&str, &'n Node)],
    dictionary: &'n Dictionary,
    interface: Interface,
) -> (Merged<'n>, Vec<Diagnostic>) {
    let mut merged = Merged {
        name: String::new(),
        set: Vec::new(),
        lets: BTreeMap::new(),
        tables: BTreeMap::new(),
        answer: BTreeMap::new(),
    };
    let mut reader = Reader { dictionary, interface, found: Vec::new() };
    for (file, node) in chain {
        reader.file(node, &mut merged);
        if merged.name.is_empty() {
            (*file).clone_into(&mut merged.name);
        }
    }
    (merged, reader.found)
}

/// What may stand below: the members of a group, or of the command.
#[derive(Clone, Copy)]
pub(super) struct Parent<'n> {
    pub(super) name: &'n str,
    pub(super) members: &'n [Member],
    pub(super) open: bool,
}

impl<'n> Parent<'n> {
    /// The request of the interface: ACR or CCR.
    pub(super) fn command(dictionary: &'n Dictionary, interface: Interface) -> Parent<'n> {
        let (code, application) = interface.command();
        match dictionary.command(code, application, true) {
            Some(def) => Parent { name: &def.name, members: &def.members, open: def.open },
            // A dictionary without the command does not restrict it.
            None => Parent { name: "the message", members: &[], open: true },
        }
    }

    /// A group.
    pub(super) fn group(def: &'n AvpDef) -> Parent<'n> {
        Parent { name: &def.name, members: &def.members, open: def.open }
    }
}

struct Reader<'n> {
    dictionary: &'n Dictionary,
    interface: Interface,
    found: Vec<Diagnostic>,
}

impl<'n> Reader<'n> {
    fn file(&mut self, node: &'n Node, merged: &mut Merged<'n>) {
        let Some(entries) = self.map(node, "a mapping") else { return };
        for entry in entries {
            let value = &entry.value;
            match entry.key.as_str() {
                "mapping" => {
                    if let Some(name) = self.text(value, "a name") {
                        name.clone_into(&mut merged.name);
                    }
                }
                "interface" => self.interface_key(value),
                "extends" => drop(self.text(value, "a file name or `builtin:…`")),
                "lets" => merged.lets.extend(self.snippets(value)),
                "answer" => merged.answer.extend(self.snippets(value)),
                "tables" => self.tables(value, &mut merged.tables),
                "set" | "raw" | "remove" | "tests" => {}
                key => self.unknown_key(key, &entry.key_span, FILE_KEYS),
            }
        }
        let top = Parent::command(self.dictionary, self.interface);
        if let Some(set) = node.field("set") {
            let branches = self.members(set, top, true);
            merge_branches(&mut merged.set, branches);
        }
        for raw in node.field("raw").and_then(|raw| self.list(raw, "a list of AVPs")).unwrap_or(&[])
        {
            if let Some(branch) = self.raw(raw) {
                merge_branches(&mut merged.set, vec![branch]);
            }
        }
        let paths =
            node.field("remove").and_then(|remove| self.list(remove, "a list of AVP paths"));
        for path in paths.unwrap_or(&[]) {
            self.remove(path, top, &mut merged.set);
        }
    }

    fn refuse(&mut self, code: Code, message: String, span: &Span) -> &mut Diagnostic {
        self.found.push(Diagnostic::error(code, message).at(span));
        self.found.last_mut().expect("invariant: pushed in the line above")
    }

    fn wrong(&mut self, node: &Node, wanted: &str) {
        let message = format!("expected {wanted}, found {}", node.describe());
        self.refuse(Code::FB0102, message, &node.span);
    }

    fn map(&mut self, node: &'n Node, wanted: &str) -> Option<&'n [Entry]> {
        if node.map().is_none() && !node.is_null() {
            self.wrong(node, wanted);
        }
        node.map()
    }

    fn list(&mut self, node: &'n Node, wanted: &str) -> Option<&'n [Node]> {
        if node.list().is_none() && !node.is_null() {
            self.wrong(node, wanted);
        }
        node.list()
    }

    fn text(&mut self, node: &'n Node, wanted: &str) -> Option<&'n str> {
        if node.text().is_none() {
            self.wrong(node, wanted);
        }
        node.text()
    }

    fn snippet(&mut self, node: &'n Node) -> Option<Snippet<'n>> {
        self.text(node, "an expression").map(|_| Snippet { node })
    }

    fn snippets(&mut self, node: &'n Node) -> Vec<(String, Snippet<'n>)> {
        let entries = self.map(node, "names with expressions").unwrap_or(&[]);
        entries
            .iter()
            .filter_map(|entry| Some((entry.key.clone(), self.snippet(&entry.value)?)))
            .collect()
    }

    fn unknown_key(&mut self, key: &str, span: &Span, known: &[&str]) {
        let near = suggest(key, known.iter().copied()).map(str::to_owned);
        let problem = self.refuse(Code::FB0101, format!("unknown key `{key}`"), span);
        problem.help.push(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("keys: {}", known.join(" ")),
        });
    }

    fn interface_key(&mut self, node: &'n Node) {
        let own = self.interface.name();
        match self.text(node, "ch1 or ch2") {
            Some(text) if text != own => {
                let message = format!("the mapping is for `{text}` and used for `{own}`");
                self.refuse(Code::FB0102, message, &node.span);
            }
            _ => {}
        }
    }

    fn tables(&mut self, node: &'n Node, tables: &mut BTreeMap<String, Value>) {
        for table in self.map(node, "tables").unwrap_or(&[]) {
            let rows = tables.entry(table.key.clone()).or_insert_with(|| Value::Map(Vec::new()));
            for row in self.map(&table.value, "keys and values").unwrap_or(&[]) {
                if self.text(&row.value, "a value").is_some()
                    && let Value::Map(rows) = rows
                {
                    rows.retain(|(key, _)| *key != row.key);
                    rows.push((row.key.clone(), plain_value(&row.value)));
                }
            }
        }
    }

    /// The AVPs of a group, or of the message.
    fn members(&mut self, node: &'n Node, parent: Parent<'n>, top: bool) -> Vec<Branch<'n>> {
        let mut branches: Vec<Branch<'n>> = Vec::new();
        for entry in self.map(node, "AVPs").unwrap_or(&[]) {
            if !top && BLOCK_KEYS.contains(&entry.key.as_str()) {
                continue;
            }
            let Some(def) = self.member(entry, parent, top) else { continue };
            if let Some(first) = branches.iter().find(|branch| branch.avp.id == def.id) {
                let first = format!("first at {}", first.span.place());
                let message = format!("AVP `{}` is set twice", def.name);
                self.refuse(Code::FB0201, message, &entry.key_span).help.push(first);
                continue;
            }
            branches.extend(self.branch(entry, def));
        }
        branches
    }

    fn member(&mut self, entry: &Entry, parent: Parent<'n>, top: bool) -> Option<&'n AvpDef> {
        let (key, span) = (entry.key.as_str(), &entry.key_span);
        if key.starts_with(|c: char| c.is_ascii_lowercase())
            && self.dictionary.by_name(key).is_none()
        {
            self.unknown_key(key, span, if top { &[] } else { BLOCK_KEYS });
            return None;
        }
        let def = match names::avp(key, self.dictionary, span) {
            Ok(def) => def,
            Err(problem) => {
                self.found.push(problem);
                return None;
            }
        };
        if let Some(why) = names::reserved(def.id).filter(|_| top) {
            let message = format!("AVP `{key}` cannot be set by a mapping");
            self.refuse(Code::FB0110, message, span).help.push(why.to_owned());
            return None;
        }
        self.allowed(def, parent, span).then_some(def)
    }

    /// Is the AVP a member of the group, or the group open?
    fn allowed(&mut self, def: &AvpDef, parent: Parent<'n>, span: &Span) -> bool {
        let allowed = parent.open || parent.members.iter().any(|member| member.id == def.id);
        if !allowed {
            let message = format!("AVP `{}` is not a member of `{}`", def.name, parent.name);
            let problem = self.refuse(Code::FB0112, message, span);
            problem.help.push("a dictionary of your own can add it: `extend:`".to_owned());
        }
        allowed
    }

    fn branch(&mut self, entry: &'n Entry, def: &'n AvpDef) -> Option<Branch<'n>> {
        let several = entry.value.list().is_some();
        let nodes = entry.value.list().unwrap_or(std::slice::from_ref(&entry.value));
        let place = |node: &'n Node| if several { &node.span } else { &entry.key_span };
        let blocks: Vec<Block<'n>> =
            nodes.iter().filter_map(|node| self.block(node, def, place(node))).collect();
        let avp = Target::of(def);
        let span = entry.key_span.clone();
        (!blocks.is_empty()).then(|| Branch {
            avp,
            def: Some(def),
            span,
            blocks,
            several,
            unless: Vec::new(),
        })
    }

    fn block(&mut self, node: &'n Node, def: &'n AvpDef, span: &Span) -> Option<Block<'n>> {
        let entries = match &node.value {
            NodeValue::Map(entries) => entries,
            NodeValue::List(_) => {
                self.wrong(node, "a value or a block");
                return None;
            }
            NodeValue::Null => {
                let message = format!("AVP `{}` needs a value", def.name);
                let problem = self.refuse(Code::FB0102, message, span);
                problem.help.push("`remove:` leaves out what an earlier file sets".to_owned());
                return None;
            }
            NodeValue::Scalar { .. } if def.kind == Kind::Grouped => {
                self.wrong(node, &format!("the members of the group `{}`", def.name));
                return None;
            }
            NodeValue::Scalar { .. } => {
                let body = Body::Value(node);
                return Some(Block {
                    span: span.clone(),
                    each: None,
                    earlier_each: Vec::new(),
                    when: None,
                    body,
                });
            }
        };
        let own =
            |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
        let each = own("each").and_then(|node| self.snippet(node));
        let when = own("when").and_then(|node| self.snippet(node));
        let body = match def.kind {
            Kind::Grouped => self.group_body(node, entries, def),
            _ => self.leaf_body(entries, def, span),
        }?;
        Some(Block { span: span.clone(), each, earlier_each: Vec::new(), when, body })
    }

    fn group_body(
        &mut self,
        node: &'n Node,
        entries: &'n [Entry],
        def: &'n AvpDef,
    ) -> Option<Body<'n>> {
        let stray = entries.iter().find(|entry| {
            let key = entry.key.as_str();
            BLOCK_KEYS.contains(&key) && !GROUP_KEYS.contains(&key)
        });
        if let Some(entry) = stray {
            let message =
                format!("`{}` is for AVPs with a value; `{}` is Grouped", entry.key, def.name);
            self.refuse(Code::FB0102, message, &entry.key_span);
        }
        let send_empty = match node.field("empty").map(|empty| (empty, empty.text())) {
            None => None,
            Some((_, Some("send"))) => Some(true),
            Some((_, Some("omit"))) => Some(false),
            Some((empty, _)) => {
                self.wrong(empty, "`send` or `omit`");
                None
            }
        };
        let members = self.members(node, Parent::group(def), false);
        Some(Body::Group { members, send_empty })
    }

    fn leaf_body(
        &mut self,
        entries: &'n [Entry],
        def: &'n AvpDef,
        key_span: &Span,
    ) -> Option<Body<'n>> {
        let mut good = true;
        for entry in entries {
            let key = entry.key.as_str();
            if BLOCK_KEYS.contains(&key) && key != "empty" {
                continue;
            }
            good = false;
            if self.dictionary.by_name(key).is_some() {
                let message = format!("`{}` is {}: it has no members", def.name, def.kind.name());
                self.refuse(Code::FB0102, message, &entry.key_span);
            } else {
                self.unknown_key(key, &entry.key_span, BLOCK_KEYS);
            }
        }
        let own =
            |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
        match (own("value"), own("from")) {
            _ if !good => None,
            (Some(value), None) => match (own("enum"), own("otherwise")) {
                (None, None) => self.text(value, "a value").map(|_| Body::Value(value)),
                (Some(node), _) | (_, Some(node)) => {
                    let message = "`enum` and `otherwise` go with `from`".to_owned();
                    self.refuse(Code::FB0102, message, &node.span);
                    None
                }
            },
            (None, Some(from)) => {
                let from = self.snippet(from)?;
                Some(Body::Select { from, table: own("enum"), otherwise: own("otherwise") })
            }
            (Some(_), Some(from)) => {
                let message = "`value` and `from` exclude each other".to_owned();
                self.refuse(Code::FB0102, message, &from.span);
                None
            }
            (None, None) => {
                let message = format!("AVP `{}` needs `value` or `from`", def.name);
                self.refuse(Code::FB0103, message, key_span);
                None
            }
        }
    }

    /// `{avp: "code:vendor", type: …, flags: …, value: …}`.
    fn raw(&mut self, node: &'n Node) -> Option<Branch<'n>> {
        let entries = self.map(node, "an AVP: avp, type, flags, value")?;
        for entry in entries {
            if !RAW_KEYS.contains(&entry.key.as_str()) {
                self.unknown_key(&entry.key, &entry.key_span, RAW_KEYS);
            }
        }
        let mut need = |key: &str| {
            if node.field(key).is_none() {
                self.refuse(Code::FB0103, format!("`raw` needs `{key}`"), &node.span);
            }
            node.field(key)
        };
        let (avp, kind, value) = (need("avp"), need("type"), need("value"));
        let (avp, kind, value) = (avp?, kind?, value?);
        let number = self.text(avp, "code:vendor")?;
        let Some(id) = names::by_number(number, self.dictionary) else {
            self.wrong(avp, "code:vendor, as in \"1099:99999\"");
            return None;
        };
        if let Some(why) = names::reserved(id) {
            let message = format!("AVP {id} cannot be set by a mapping");
            self.refuse(Code::FB0110, message, &avp.span).help.push(why.to_owned());
            return None;
        }
        let kind_name = self.text(kind, "an AVP type")?;
        let Some(kind) = Kind::from_name(kind_name).filter(|kind| *kind != Kind::Grouped) else {
            let near = suggest(kind_name, Kind::ALL.iter().map(|(_, name)| *name));
            let message = format!("unknown AVP type `{kind_name}`");
            let help = near.map(|near| format!("did you mean `{near}`?"));
            self.refuse(Code::FB0105, message, &kind.span).help.extend(help);
            return None;
        };
        let flags = self.raw_flags(node.field("flags"), id.vendor != 0)?;
        self.text(value, "a value")?;
        let when = node.field("when").and_then(|when| self.snippet(when));
        let avp = Target { name: number.to_owned(), id, flags, kind, values: Vec::new() };
        let span = node.span.clone();
        let block = Block {
            span: span.clone(),
            each: None,
            earlier_each: Vec::new(),
            when,
            body: Body::Value(value),
        };
        let blocks = vec![block];
        Some(Branch { avp, def: None, span, blocks, several: false, unless: Vec::new() })
    }

    fn raw_flags(&mut self, node: Option<&'n Node>, vendor: bool) -> Option<AvpFlags> {
        let v = if vendor { AvpFlags::VENDOR } else { 0 };
        let Some(node) = node else { return Some(AvpFlags(v)) };
        let letters = self.text(node, "flags out of V and M")?;
        let strange = letters.chars().find(|c| !matches!(c, 'V' | 'M' | '-'));
        if strange.is_some() || letters.contains('V') != vendor {
            let wanted =
                if vendor { "V or VM: it has a vendor" } else { "M or nothing: no vendor" };
            self.wrong(node, wanted);
            return None;
        }
        Some(AvpFlags(v | if letters.contains('M') { AvpFlags::MANDATORY } else { 0 }))
    }

    /// `A/B`, or `A/B[Member=VALUE]`.
    fn remove(&mut self, node: &'n Node, top: Parent<'n>, set: &mut Vec<Branch<'n>>) {
        let Some(text) = self.text(node, "an AVP path") else { return };
        let span = &node.span;
        let (path, predicate) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
            Some((path, predicate)) => (path, Some(predicate)),
            None => (text, None),
        };
        let mut parent = top;
        let mut last: Option<&'n AvpDef> = None;
        let mut ids = Vec::new();
        for name in path.split('/') {
            if let Some(group) = last {
                parent = Parent::group(group);
            }
            let def = match names::avp(name.trim(), self.dictionary, span) {
                Ok(def) => def,
                Err(problem) => return self.found.push(problem),
            };
            if !self.allowed(def, parent, span) {
                return;
            }
            ids.push(def.id);
            last = Some(def);
        }
        let (Some(def), Some((id, groups))) = (last, ids.split_last()) else { return };
        if let Some(why) = names::reserved(*id).filter(|_| groups.is_empty()) {
            let message = format!("AVP `{path}` cannot be removed by a mapping");
            self.refuse(Code::FB0110, message, span).help.push(why.to_owned());
            return;
        }
        let predicate = match predicate {
            Some(predicate) => match self.predicate(predicate, def, span) {
                Some(predicate) => Some(predicate),
                None => return,
            },
            None => None,
        };
        let mut found = vec![set];
        for group in groups {
            found = found
                .into_iter()
                .flat_map(|branches| branches.iter_mut().filter(|branch| branch.avp.id == *group))
                .flat_map(|branch| branch.blocks.iter_mut())
                .filter_map(|block| match &mut block.body {
                    Body::Group { members, .. } => Some(members),
                    _ => None,
                })
                .collect();
        }
        for branches in found {
            match &predicate {
                None => branches.retain(|branch| branch.avp.id != *id),
                Some(predicate) => {
                    let hit = branches.iter_mut().filter(|branch| branch.avp.id == *id);
                    hit.for_each(|branch| branch.unless.push(predicate.clone()));
                }
            }
        }
    }

    fn predicate(&mut self, text: &str, group: &'n AvpDef, span: &Span) -> Option<Predicate> {
        let Some((name, value)) = text.split_once('=') else {
            let message = format!("expected `[Member=VALUE]`, found `[{text}]`");
            self.refuse(Code::FB0102, message, span);
            return None;
        };
        let def = match names::avp(name.trim(), self.dictionary, span) {
            Ok(def) => def,
            Err(problem) => {
                self.found.push(problem);
                return None;
            }
        };
        if !self.allowed(def, Parent::group(group), span) {
            return None;
        }
        let encoded = Target::of(def).constant(value.trim(), true);
        match encoded {
            Ok(octets) => Some(Predicate { member: def.id, data: octets.1 }),
            Err(misfit) => {
                self.found.push(Target::of(def).misfit_problem(&misfit, span));
                None
            }
        }
    }
}

/// A scalar of a table: number, boolean or text.
pub(super) fn plain_value(node: &Node) -> Value {
    match (node.integer(), node.boolean(), node.text()) {
        (Some(number), ..) => Value::Int(number),
        (_, Some(boolean), _) => Value::Bool(boolean),
        (.., Some(text)) => Value::Text(text.to_owned()),
        _ => Value::Null,
    }
}

fn merge_branches<'n>(base: &mut Vec<Branch<'n>>, later: Vec<Branch<'n>>) {
    for branch in later {
        match base.iter_mut().find(|known| known.avp.id == branch.avp.id) {
            Some(known) => merge_branch(known, branch),
            None => base.push(branch),
        }
    }
}

fn merge_branch<'n>(base: &mut Branch<'n>, mut later: Branch<'n>) {
    let both_single = !base.several && !later.several;
    let pair = (base.blocks.first_mut(), later.blocks.first_mut());
    if let (true, (Some(base_block), Some(block))) = (both_single, pair)
        && let (
            Body::Group { members, send_empty },
            Body::Group { members: added, send_empty: later_empty },
        ) = (&mut base_block.body, &mut block.body)
    {
        merge_branches(members, std::mem::take(added));
        *send_empty = later_empty.or(*send_empty);
        if block.each.is_some() {
            base_block.earlier_each.extend(base_block.each);
            base_block.each = block.each;
        }
        base_block.when = block.when.or(base_block.when);
        return;
    }
    *base = later;
}
