//! Reads dictionary files: all problems at once, each with its line.
//!
//! Files are hostile input (K-18): text and nesting are bounded by the YAML reader, findings by
//! [`FINDINGS_MAX`], and groups that contain themselves are refused, so that nothing which walks
//! a dictionary can run in circles.

use std::collections::BTreeMap;

use crate::diagnostic::document::Entry;
use crate::diagnostic::document::Node;
use crate::diagnostic::{Code, Diagnostic, Span, suggest};

use super::avp::AvpId;
use super::dictionary::{AvpDef, CommandDef, Dictionary, Kind, MandatoryRule, Member};

/// Findings that are listed; a file with more is no dictionary.
const FINDINGS_MAX: usize = 100;
/// Findings that carry a suggestion: each compares a name with all others.
const SUGGESTIONS_MAX: usize = 20;
/// Longest name.
const NAME_BYTES_MAX: usize = 128;

const FILE_KEYS: &str = "dictionary vendor source avps commands override extend";
const VENDOR_KEYS: &str = "name id";
const AVP_KEYS: &str =
    "name code vendor type flags m doc provenance values contains open exactly_one";
const COMMAND_KEYS: &str =
    "name short code application request proxiable error contains open provenance doc";
const MEMBER_KEYS: &str = "avp min max fixed";
const OVERRIDE_KEYS: &str = "avp type flags m values reason";
const EXTEND_KEYS: &str = "group add";

/// Reads the files; see [`Dictionary::load`].
pub(super) fn load(files: &[(&str, &str)]) -> Result<Dictionary, Vec<Diagnostic>> {
    let mut loader = Loader::default();
    let mut nodes = Vec::new();
    for (name, text) in files {
        match Node::parse(name, text) {
            Ok(node) => nodes.push(node),
            Err(diagnostic) => loader.say(diagnostic),
        }
    }
    let mut later = Later::default();
    for node in &nodes {
        loader.file(node, &mut later);
    }
    loader.settle(later)
}

/// What can only be resolved when all names are known.
#[derive(Default)]
struct Later<'n> {
    /// Position of the group and its `contains`.
    groups: Vec<(usize, &'n Node)>,
    commands: Vec<(CommandDef, Option<&'n Node>)>,
    overrides: Vec<&'n Node>,
    extensions: Vec<&'n Node>,
}

/// What a file says for all its definitions.
struct File<'n> {
    dictionary: &'n str,
    vendor: u32,
    source: &'n str,
}

#[derive(Default)]
struct Loader {
    findings: Vec<Diagnostic>,
    suggestions: usize,
    vendors: Vec<(String, u32)>,
    avps: Vec<AvpDef>,
    places: Vec<Span>,
    by_id: BTreeMap<AvpId, usize>,
    /// Positions of a name, in the order of loading.
    by_name: BTreeMap<String, Vec<usize>>,
    command_places: BTreeMap<(u32, Option<u32>, bool), String>,
}

impl Loader {
    fn say(&mut self, diagnostic: Diagnostic) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(diagnostic);
        }
    }

    fn error(&mut self, code: Code, span: &Span, message: String) {
        self.say(Diagnostic::error(code, message).at(span));
    }

    /// The entries of a map whose keys are all known.
    fn entries<'n>(&mut self, node: &'n Node, what: &str, keys: &str) -> &'n [Entry] {
        let Some(entries) = node.map() else {
            let message = format!("{what} is a map, not {}", node.describe());
            self.error(Code::FB0102, &node.span, message);
            return &[];
        };
        for entry in entries {
            if keys.split(' ').any(|key| key == entry.key) {
                continue;
            }
            let message = format!("{what} has no key `{}`", shown(&entry.key));
            let mut finding = Diagnostic::error(Code::FB0101, message).at(&entry.key_span);
            if let Some(near) = self.suggestion(&entry.key, keys.split(' ')) {
                finding = finding.help(format!("did you mean `{near}`?"));
            }
            self.say(finding);
        }
        entries
    }

    fn suggestion<'c>(
        &mut self,
        word: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Option<&'c str> {
        self.suggestions += 1;
        if self.suggestions > SUGGESTIONS_MAX || word.len() > NAME_BYTES_MAX {
            return None;
        }
        suggest(word, candidates)
    }

    fn list<'n>(&mut self, parent: &'n Node, key: &str) -> &'n [Node] {
        match parent.field(key) {
            None => &[],
            Some(node) if node.is_null() => &[],
            Some(node) => node.list().unwrap_or_else(|| {
                let message = format!("`{key}` is a list, not {}", node.describe());
                self.error(Code::FB0102, &node.span, message);
                &[]
            }),
        }
    }

    fn text<'n>(&mut self, parent: &'n Node, key: &str) -> Option<&'n str> {
        let node = parent.field(key)?;
        let text = node.text();
        if text.is_none() && !node.is_null() {
            let message = format!("`{key}` is text, not {}", node.describe());
            self.error(Code::FB0102, &node.span, message);
        }
        text
    }

    /// A number from 0 to 2^32 - 1.
    fn number(&mut self, parent: &Node, key: &str) -> Option<u32> {
        let node = parent.field(key)?;
        let number = node.integer().and_then(|number| u32::try_from(number).ok());
        if number.is_none() {
            let message =
                format!("`{key}` is a number from 0 to 4294967295, not {}", node.describe());
            self.error(Code::FB0102, &node.span, message);
        }
        number
    }

    fn flag(&mut self, parent: &Node, key: &str) -> bool {
        let Some(node) = parent.field(key) else { return false };
        node.boolean().unwrap_or_else(|| {
            let message = format!("`{key}` is true or false, not {}", node.describe());
            self.error(Code::FB0102, &node.span, message);
            false
        })
    }

    fn missing(&mut self, node: &Node, what: &str, key: &str) {
        self.error(Code::FB0103, &node.span, format!("{what} needs `{key}`"));
    }

    fn name<'n>(&mut self, parent: &'n Node, what: &str) -> Option<&'n str> {
        let Some(name) = self.text(parent, "name") else {
            self.missing(parent, what, "name");
            return None;
        };
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
            let message = format!("a name has 1 to {NAME_BYTES_MAX} printable characters");
            let span = parent.field("name").map_or(&parent.span, |node| &node.span);
            self.error(Code::FB0102, span, message);
            return None;
        }
        Some(name)
    }

    fn file<'n>(&mut self, node: &'n Node, later: &mut Later<'n>) {
        self.entries(node, "a dictionary file", FILE_KEYS);
        let dictionary = self.text(node, "dictionary").unwrap_or_else(|| {
            if node.map().is_some() {
                self.missing(node, "a dictionary file", "dictionary");
            }
            ""
        });
        let vendor = node.field("vendor").and_then(|node| self.file_vendor(node)).unwrap_or(0);
        let source = self.text(node, "source").unwrap_or("");
        let file = File { dictionary, vendor, source };
        for avp in self.list(node, "avps") {
            self.avp(avp, &file, later);
        }
        for command in self.list(node, "commands") {
            self.command(command, &file, later);
        }
        later.overrides.extend(self.list(node, "override"));
        later.extensions.extend(self.list(node, "extend"));
    }

    /// `{name: ACME, id: 99999}`.
    fn file_vendor(&mut self, node: &Node) -> Option<u32> {
        self.entries(node, "`vendor`", VENDOR_KEYS);
        let name = self.name(node, "`vendor`")?;
        let Some(id) = self.number(node, "id") else {
            self.missing(node, "`vendor`", "id");
            return None;
        };
        let known = self.vendors.iter().find(|(known, number)| known == name || *number == id);
        match known {
            Some((known, number)) if (known.as_str(), *number) != (name, id) => {
                let message = format!("vendor `{name}` {id}, but `{known}` {number} before");
                self.error(Code::FB0201, &node.span, message);
            }
            Some(_) => {}
            None => self.vendors.push((name.to_owned(), id)),
        }
        Some(id)
    }

    fn avp<'n>(&mut self, node: &'n Node, file: &File, later: &mut Later<'n>) {
        self.entries(node, "an AVP", AVP_KEYS);
        let name = self.name(node, "an AVP");
        let code = self.number(node, "code");
        if code.is_none() && node.field("code").is_none() && node.map().is_some() {
            self.missing(node, "an AVP", "code");
        }
        let vendor = self.number(node, "vendor").unwrap_or(file.vendor);
        let kind = self.kind(node);
        if kind.is_none() && node.field("type").is_none() && node.map().is_some() {
            self.missing(node, "an AVP", "type");
        }
        let (Some(name), Some(code), Some(kind)) = (name, code, kind) else { return };
        let id = AvpId { code, vendor };
        let mandatory = self.mandatory(node, id).unwrap_or(MandatoryRule::May);
        let values = self.values(node, kind);
        let provenance = self.text(node, "provenance").unwrap_or(file.source).to_owned();
        let doc = self.text(node, "doc").unwrap_or("").to_owned();
        let open = self.flag(node, "open");
        let exactly_one = self.flag(node, "exactly_one");
        if kind != Kind::Grouped {
            for key in ["contains", "open", "exactly_one"] {
                if let Some(node) = node.field(key) {
                    let message = format!("`{key}` is for Grouped; `{name}` is {}", kind.name());
                    self.error(Code::FB0102, &node.span, message);
                }
            }
        } else if let Some(members) = node.field("contains") {
            later.groups.push((self.avps.len(), members));
        }
        let definition = AvpDef {
            name: name.to_owned(),
            id,
            kind,
            mandatory,
            values,
            members: Vec::new(),
            open,
            exactly_one,
            provenance,
            doc,
            dictionary: file.dictionary.to_owned(),
        };
        if !self.add(definition, &node.span) {
            later.groups.pop_if(|(at, _)| *at == self.avps.len());
        }
    }

    /// Files the definition under its id and name; `false` if one of them is taken.
    fn add(&mut self, definition: AvpDef, span: &Span) -> bool {
        let taken = self.by_id.get(&definition.id).copied().or_else(|| {
            let same = self.by_name.get(&definition.name)?;
            same.iter().copied().find(|at| self.avps[*at].id.vendor == definition.id.vendor)
        });
        if let Some(first) = taken {
            let other = &self.avps[first];
            let message = format!(
                "`{}` {} is already defined as `{}` {}",
                definition.name, definition.id, other.name, other.id
            );
            let help =
                format!("first at {}; use `override:` to change it", self.places[first].place());
            self.say(Diagnostic::error(Code::FB0104, message).at(span).help(help));
            return false;
        }
        self.by_id.insert(definition.id, self.avps.len());
        self.by_name.entry(definition.name.clone()).or_default().push(self.avps.len());
        self.avps.push(definition);
        self.places.push(span.clone());
        true
    }

    fn kind(&mut self, node: &Node) -> Option<Kind> {
        let name = self.text(node, "type")?;
        let kind = Kind::from_name(name);
        if kind.is_none() {
            let span = node.field("type").map_or(&node.span, |node| &node.span);
            let message = format!("unknown AVP type `{}`", shown(name));
            let mut finding = Diagnostic::error(Code::FB0105, message).at(span);
            finding = match self.suggestion(name, Kind::ALL.iter().map(|(_, name)| *name)) {
                Some(near) => finding.help(format!("did you mean `{near}`?")),
                None => finding.help("the types are those of RFC 6733, 4.2 to 4.4"),
            };
            self.say(finding);
        }
        kind
    }

    /// From `flags` (V and M that must be set) and `m`.
    fn mandatory(&mut self, node: &Node, id: AvpId) -> Option<MandatoryRule> {
        let flags = self.text(node, "flags");
        let span = |key: &str| node.field(key).map_or(&node.span, |node| &node.span);
        if let Some(flags) = flags {
            let known = flags.chars().all(|c| matches!(c, 'V' | 'M'));
            let vendor = flags.contains('V') == (id.vendor != 0);
            if !known {
                let message = "`flags` names V and M, if they must be set".to_owned();
                self.error(Code::FB0102, span("flags"), message);
            } else if !vendor {
                let message = format!("V is set exactly if there is a vendor; this is {id}");
                self.error(Code::FB0102, span("flags"), message);
            }
        }
        let must = flags.is_some_and(|flags| flags.contains('M'));
        let rule = match self.text(node, "m") {
            None => {
                return flags.map(|_| if must { MandatoryRule::Must } else { MandatoryRule::May });
            }
            Some("may") => MandatoryRule::May,
            Some("no") => MandatoryRule::MustNot,
            Some("app") => MandatoryRule::App,
            Some(other) => {
                let message = format!("`m` is may, no or app, not `{}`", shown(other));
                self.error(Code::FB0102, span("m"), message);
                return None;
            }
        };
        if must {
            let message = "`m` contradicts the M in `flags`".to_owned();
            self.error(Code::FB0102, span("m"), message);
        }
        Some(rule)
    }

    fn values(&mut self, node: &Node, kind: Kind) -> Vec<(i32, String)> {
        let Some(values) = node.field("values") else { return Vec::new() };
        let integer = matches!(kind, Kind::Enumerated | Kind::Integer32 | Kind::Unsigned32);
        let Some(entries) = values.map().filter(|_| integer) else {
            let message = "`values` is a map of name to number, for 32-bit integers".to_owned();
            self.error(Code::FB0102, &values.span, message);
            return Vec::new();
        };
        let mut known = Vec::new();
        let mut seen = BTreeMap::new();
        for entry in entries {
            let number = entry.value.integer().and_then(|number| i32::try_from(number).ok());
            let Some(number) = number else {
                let message = format!("the value of `{}` is a 32-bit number", shown(&entry.key));
                self.error(Code::FB0102, &entry.value.span, message);
                continue;
            };
            if let Some(first) = seen.insert(number, &entry.key) {
                let message = format!("{number} is `{}` already", shown(first));
                self.error(Code::FB0201, &entry.value.span, message);
            }
            known.push((number, entry.key.clone()));
        }
        known
    }

    fn command<'n>(&mut self, node: &'n Node, file: &File, later: &mut Later<'n>) {
        self.entries(node, "a command", COMMAND_KEYS);
        let Some(name) = self.name(node, "a command") else { return };
        let error = self.flag(node, "error");
        let code = self.number(node, "code");
        if code.is_none() && !error {
            self.missing(node, "a command", "code");
        }
        let definition = CommandDef {
            name: name.to_owned(),
            short: self.text(node, "short").unwrap_or(name).to_owned(),
            code: code.unwrap_or(0),
            application: self.number(node, "application"),
            request: self.flag(node, "request"),
            proxiable: self.flag(node, "proxiable"),
            error,
            members: Vec::new(),
            open: self.flag(node, "open"),
            provenance: self.text(node, "provenance").unwrap_or(file.source).to_owned(),
            dictionary: file.dictionary.to_owned(),
        };
        let key = (definition.code, definition.application, definition.request);
        if let Some(first) = self.command_places.insert(key, node.span.place()) {
            let message = format!("command `{name}` is defined twice");
            let finding = Diagnostic::error(Code::FB0201, message).at(&node.span);
            self.say(finding.help(format!("first at {first}")));
            return;
        }
        later.commands.push((definition, node.field("contains")));
    }

    fn settle(mut self, later: Later) -> Result<Dictionary, Vec<Diagnostic>> {
        for node in later.overrides {
            self.apply_override(node);
        }
        let mut edges: Vec<Vec<(usize, Span)>> = vec![Vec::new(); self.avps.len()];
        for (at, members) in later.groups {
            let vendor = self.avps[at].id.vendor;
            self.avps[at].members = self.members(members, vendor, &mut edges[at]);
        }
        for node in later.extensions {
            self.extend(node, &mut edges);
        }
        let mut commands = Vec::new();
        for (mut definition, members) in later.commands {
            if let Some(members) = members {
                definition.members = self.members(members, 0, &mut Vec::new());
            }
            commands.push(definition);
        }
        self.refuse_cycles(&edges);
        match self.findings.is_empty() {
            true => Ok(Dictionary::assemble(self.avps, commands, self.vendors)),
            false => Err(self.findings),
        }
    }

    /// The position of a name; of equal names the one of `vendor` is meant first.
    fn resolve(&mut self, node: &Node, vendor: u32) -> Option<usize> {
        let Some(name) = node.text() else {
            let message = format!("the name of an AVP, not {}", node.describe());
            self.error(Code::FB0102, &node.span, message);
            return None;
        };
        if let Some(same) = self.by_name.get(name) {
            let own = same.iter().find(|at| self.avps[**at].id.vendor == vendor);
            return own.or(same.first()).copied();
        }
        if let Some((vendor, plain)) = name.split_once(':') {
            let vendor = self.vendors.iter().find(|(known, _)| known == vendor).map(|(_, id)| *id);
            let same = self.by_name.get(plain).into_iter().flatten().copied();
            let mut own = same.filter(|at| Some(self.avps[*at].id.vendor) == vendor);
            if let Some(at) = own.next() {
                return Some(at);
            }
        }
        let message = format!("no dictionary defines the AVP `{}`", shown(name));
        let mut finding = Diagnostic::error(Code::FB0106, message).at(&node.span);
        let plain = name.split_once(':').map_or(name, |(_, plain)| plain);
        let names = std::mem::take(&mut self.by_name);
        if let Some(near) = self.suggestion(plain, names.keys().map(String::as_str)) {
            finding = finding.help(format!("did you mean `{near}`?"));
        }
        self.by_name = names;
        self.say(finding);
        None
    }

    fn members(&mut self, list: &Node, vendor: u32, edges: &mut Vec<(usize, Span)>) -> Vec<Member> {
        let Some(nodes) = list.list() else {
            let message = format!("members are a list, not {}", list.describe());
            self.error(Code::FB0102, &list.span, message);
            return Vec::new();
        };
        let mut members: Vec<Member> = Vec::new();
        let mut seen = BTreeMap::new();
        for node in nodes {
            let Some((at, member)) = self.member(node, vendor) else { continue };
            if let Some(first) = seen.insert(member.id, node.span.place()) {
                let message = format!("`{}` is a member already", self.avps[at].name);
                let finding = Diagnostic::error(Code::FB0201, message).at(&node.span);
                self.say(finding.help(format!("first at {first}")));
                continue;
            }
            edges.push((at, node.span.clone()));
            members.push(member);
        }
        members
    }

    fn member(&mut self, node: &Node, vendor: u32) -> Option<(usize, Member)> {
        self.entries(node, "a member", MEMBER_KEYS);
        let Some(name) = node.field("avp") else {
            self.missing(node, "a member", "avp");
            return None;
        };
        let min = self.number(node, "min").unwrap_or(0);
        let max = match node.field("max") {
            None => Some(1),
            Some(text) if text.text() == Some("*") => None,
            Some(_) => self.number(node, "max"),
        };
        if max.is_some_and(|max| max < min) {
            let message = "`max` is below `min`".to_owned();
            self.error(Code::FB0102, &node.span, message);
        }
        let fixed = self.flag(node, "fixed");
        let at = self.resolve(name, vendor)?;
        Some((at, Member { id: self.avps[at].id, min, max, fixed }))
    }

    fn apply_override(&mut self, node: &Node) {
        self.entries(node, "an override", OVERRIDE_KEYS);
        let Some(name) = node.field("avp") else {
            self.missing(node, "an override", "avp");
            return;
        };
        let Some(at) = self.resolve(name, 0) else { return };
        if let Some(kind) = self.kind(node) {
            let grouped = self.avps[at].kind == Kind::Grouped;
            if grouped != (kind == Kind::Grouped) {
                let message = "an override cannot turn a group into a value or back".to_owned();
                self.error(Code::FB0102, &node.span, message);
            } else {
                self.avps[at].kind = kind;
            }
        }
        if let Some(rule) = self.mandatory(node, self.avps[at].id) {
            self.avps[at].mandatory = rule;
        }
        if node.field("values").is_some() {
            self.avps[at].values = self.values(node, self.avps[at].kind);
        }
        if let Some(reason) = self.text(node, "reason") {
            let place = node.span.place();
            let provenance = &mut self.avps[at].provenance;
            provenance.push_str(&format!("; overridden at {place}: {reason}"));
        }
    }

    fn extend(&mut self, node: &Node, edges: &mut [Vec<(usize, Span)>]) {
        self.entries(node, "an extension", EXTEND_KEYS);
        let (Some(group), Some(add)) = (node.field("group"), node.field("add")) else {
            self.missing(node, "an extension", "group` and `add");
            return;
        };
        let Some(at) = self.resolve(group, 0) else { return };
        if self.avps[at].kind != Kind::Grouped {
            let message = format!("`{}` is no group", self.avps[at].name);
            self.error(Code::FB0102, &group.span, message);
            return;
        }
        for member in self.members(add, self.avps[at].id.vendor, &mut edges[at]) {
            if self.avps[at].member(member.id).is_some() {
                let message = format!("{} is a member of the group already", member.id);
                self.error(Code::FB0201, &add.span, message);
            } else {
                self.avps[at].members.push(member);
            }
        }
    }

    /// Depth-first over the groups, with an own stack.
    fn refuse_cycles(&mut self, edges: &[Vec<(usize, Span)>]) {
        const NEW: u8 = 0;
        const OPEN: u8 = 1;
        const DONE: u8 = 2;
        let mut state = vec![NEW; edges.len()];
        for root in 0..edges.len() {
            if state[root] != NEW {
                continue;
            }
            state[root] = OPEN;
            let mut path = vec![(root, 0)];
            while let Some((group, member)) = path.last_mut() {
                let Some((inner, span)) = edges[*group].get(*member) else {
                    state[*group] = DONE;
                    path.pop();
                    continue;
                };
                *member += 1;
                match state[*inner] {
                    NEW => {
                        state[*inner] = OPEN;
                        path.push((*inner, 0));
                    }
                    OPEN => {
                        let message = format!(
                            "`{}` contains itself through this member",
                            self.avps[*inner].name
                        );
                        self.error(Code::FB0114, span, message);
                    }
                    _ => {}
                }
            }
        }
    }
}

/// At most the beginning of a text from a file.
fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
