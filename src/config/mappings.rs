//! Dictionaries and mappings: which files a peer's messages are made from, compiled once each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::item::{Findings, Item};
use super::peers::{Peer, Profile};
use super::source::Files;
use crate::diagnostic::document::Node;
use crate::diagnostic::{Code, Diagnostic};
use crate::diameter::Dictionary;
use crate::diameter::dictionary::BUILTIN as BUILTIN_DICTIONARIES;
use crate::mapping::{Interface, Mapping, STRIP_PLUS_FROM_E164, builtin_source};

/// Longest chain of `extends`.
const EXTENDS_MAX: usize = 8;

/// Reads `dictionaries`; the built-in ones if the key is not there. Also how many files there are.
pub(super) fn dictionary(
    root: &Item<'_>,
    files: &mut Files<'_>,
    base: &Path,
    findings: &Findings,
) -> (Arc<Dictionary>, usize) {
    let builtin = || (Arc::new(Dictionary::builtin().clone()), BUILTIN_DICTIONARIES.len());
    let Some(section) = root.get("dictionaries") else { return builtin() };
    let mut texts: Vec<(String, String)> = Vec::new();
    let mut own = false;
    for item in section.list() {
        if !item.keys(&["builtin", "file", "import"]) {
            continue;
        }
        if let Some(import) = item.get("import") {
            import.unsupported(
                "convert the file with `farebox dict import`, then name it as `file:`",
            );
        }
        for name in item.get("builtin").map(|item| item.list()).unwrap_or_default() {
            let words = BUILTIN_DICTIONARIES.map(|(name, text)| (name, (name, text)));
            if let Some((name, text)) = name.word(&words) {
                texts.push((format!("builtin:{name}"), text.to_owned()));
            }
        }
        if let Some((item, name)) =
            item.get("file").and_then(|item| Some((item.clone(), item.text()?)))
        {
            own = true;
            if let Some(text) = files.text(name, &base.join(name), Some(&item.node.span)) {
                texts.push((name.to_owned(), text));
            }
        }
    }
    if !own && texts.len() == BUILTIN_DICTIONARIES.len() {
        return builtin();
    }
    // The protocol itself needs the built-in ones; leaving one out would only break it.
    for (at, (name, text)) in BUILTIN_DICTIONARIES.iter().enumerate() {
        let name = format!("builtin:{name}");
        if !texts.iter().any(|(known, _)| *known == name) {
            texts.insert(at.min(texts.len()), (name, (*text).to_owned()));
        }
    }
    let count = texts.len();
    let named: Vec<(&str, &str)> =
        texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    match Dictionary::load(&named) {
        Ok(dictionary) => (Arc::new(dictionary), count),
        Err(problems) => {
            findings.note_all(problems);
            (builtin().0, count)
        }
    }
}

/// The compiled mappings, and what was read for them.
#[derive(Default)]
pub(super) struct Compiled {
    /// By the name that the peers' profiles carry.
    pub(super) mappings: BTreeMap<String, Mapping>,
    pub(super) files: usize,
    pub(super) avps: usize,
    pub(super) tests: usize,
}

/// Compiles the chains of all peers.
pub(super) struct Compiler<'a, 'f> {
    files: &'a mut Files<'f>,
    findings: &'a Findings,
    dictionary: &'a Dictionary,
    base: PathBuf,
    compiled: Compiled,
    /// Files by shown name; `None` if one could not be read.
    trees: BTreeMap<String, Option<Arc<Node>>>,
    /// Names of chains that were compiled, with or without success.
    known: Vec<String>,
    reported: Vec<Diagnostic>,
    /// Which file has which name.
    owners: BTreeMap<String, String>,
}

impl<'a, 'f> Compiler<'a, 'f> {
    pub(super) fn new(
        files: &'a mut Files<'f>,
        findings: &'a Findings,
        dictionary: &'a Dictionary,
        base: &Path,
    ) -> Compiler<'a, 'f> {
        Compiler {
            files,
            findings,
            dictionary,
            base: base.to_owned(),
            compiled: Compiled::default(),
            trees: BTreeMap::new(),
            known: Vec::new(),
            reported: Vec::new(),
            owners: BTreeMap::new(),
        }
    }

    /// What was compiled.
    pub(super) fn finish(self) -> Compiled {
        self.compiled
    }

    /// The name of the mapping of a peer on an interface; compiled if it is `used`.
    pub(super) fn mapping(
        &mut self,
        peer: &Peer<'_>,
        profile: Option<&Profile<'_>>,
        interface: Interface,
        used: bool,
    ) -> String {
        let builtin = format!("oma-cpm/{}", interface.name());
        if !used {
            return builtin;
        }
        let file = profile.and_then(|profile| match interface {
            Interface::Ch1 => profile.ch1_mapping.as_ref(),
            Interface::Ch2 => profile.ch2_mapping.as_ref(),
        });
        let (mut name, mut chain) = self.chain(builtin, file);
        if peer.quirks.strip_plus_from_e164 {
            let overlay = "quirk:strip_plus_from_e164";
            if let Ok(node) = Node::parse(overlay, STRIP_PLUS_FROM_E164) {
                self.files.remember(overlay, STRIP_PLUS_FROM_E164);
                // Behind the built-in mapping, so that a file of one's own can decide otherwise.
                chain.insert(1.min(chain.len()), (overlay.to_owned(), Arc::new(node)));
            }
            name.push_str("+strip_plus");
        }
        if let Some(overlay) = peer.overlay {
            name = format!("{name}+{}", peer.config.name);
            chain.push((name.clone(), Arc::new(overlay.clone())));
        }
        self.compile(&name, chain, interface);
        name
    }

    /// Compiles the files of a profile that no peer on a route uses, for their findings.
    pub(super) fn unused(&mut self, profile: &Profile<'_>) {
        let files = [
            (profile.ch1_mapping.as_ref(), Interface::Ch1),
            (profile.ch2_mapping.as_ref(), Interface::Ch2),
        ];
        for (file, interface) in files {
            let Some((path, _)) = file else { continue };
            if !self.trees.contains_key(path) {
                let (name, chain) = self.chain(format!("oma-cpm/{}", interface.name()), file);
                self.compile(&name, chain, interface);
            }
        }
    }

    /// The built-in mapping, and a profile's file with all that it extends; and its name.
    fn chain(
        &mut self,
        builtin: String,
        file: Option<&(String, Item<'_>)>,
    ) -> (String, Vec<(String, Arc<Node>)>) {
        let mut chain = Vec::new();
        let builtin_file = format!("builtin:{builtin}");
        if let Some(node) = self.tree(&builtin_file, Path::new("")) {
            chain.push((builtin_file, node));
        }
        let Some((path, item)) = file else { return (builtin, chain) };
        let start = chain.len();
        self.extend(path, &self.base.join(path), item, &mut chain);
        let Some((_, node)) = chain.get(start..).and_then(<[_]>::last) else {
            return (builtin, chain);
        };
        let own = node.field("mapping").and_then(Node::text).unwrap_or(path).to_owned();
        match self.owners.get(&own) {
            Some(owner) if owner != path => {
                let message = format!("two mappings are called `{own}`: `{owner}` and `{path}`");
                item.error(Code::FB0201, message);
            }
            _ => {
                self.owners.insert(own.clone(), path.clone());
            }
        }
        (own, chain)
    }

    fn compile(&mut self, name: &str, chain: Vec<(String, Arc<Node>)>, interface: Interface) {
        if self.known.iter().any(|known| known == name) {
            return;
        }
        self.known.push(name.to_owned());
        let named: Vec<(&str, &Node)> =
            chain.iter().map(|(file, node)| (file.as_str(), &**node)).collect();
        let (mapping, found) = Mapping::compile(&named, self.dictionary, interface);
        for diagnostic in found {
            // Chains share files, and so their problems.
            if !self.reported.contains(&diagnostic) {
                self.reported.push(diagnostic.clone());
                self.findings.note(diagnostic);
            }
        }
        if let Some(mapping) = mapping {
            self.compiled.mappings.insert(name.to_owned(), mapping);
        }
    }

    /// Puts a file behind everything that it extends.
    fn extend(
        &mut self,
        name: &str,
        path: &Path,
        at: &Item<'_>,
        chain: &mut Vec<(String, Arc<Node>)>,
    ) {
        let mut files: Vec<(String, Arc<Node>)> = Vec::new();
        let (mut name, mut path) = (name.to_owned(), path.to_owned());
        loop {
            if files.iter().any(|(known, _)| *known == name) || files.len() == EXTENDS_MAX {
                let message = format!("`{name}` extends itself, or {EXTENDS_MAX} files");
                at.error(Code::FB0102, message);
                return;
            }
            if !self.trees.contains_key(&name) && !path.is_file() {
                let message = format!("`{}` cannot be read: no such file", path.display());
                at.error(Code::FB0002, message);
                return;
            }
            let Some(node) = self.tree(&name, &path) else { return };
            let extends = node.field("extends").and_then(Node::text).map(str::to_owned);
            files.push((name, node));
            match extends {
                // The built-in mapping of the interface is at the front of every chain.
                None => break,
                Some(target) if target.starts_with("builtin:") => break,
                Some(target) => {
                    path = path.parent().unwrap_or(Path::new("")).join(&target);
                    name = target;
                }
            }
        }
        chain.extend(files.into_iter().rev());
    }

    /// A file's tree, read once and counted.
    fn tree(&mut self, name: &str, path: &Path) -> Option<Arc<Node>> {
        if let Some(known) = self.trees.get(name) {
            return known.clone();
        }
        let node = match name.strip_prefix("builtin:").and_then(builtin_source) {
            Some(text) => {
                self.files.remember(name, text);
                Node::parse(name, text).ok()
            }
            None => self.files.read(name, path),
        };
        if let Some(node) = &node {
            self.compiled.files += 1;
            self.compiled.avps += node.field("set").map_or(0, avps);
            self.compiled.avps += node.field("raw").and_then(Node::list).map_or(0, <[Node]>::len);
            self.compiled.tests +=
                node.field("tests").and_then(Node::list).map_or(0, <[Node]>::len);
        }
        let node = node.map(Arc::new);
        self.trees.insert(name.to_owned(), node.clone());
        node
    }
}

/// AVPs that a `set:` tree names.
fn avps(node: &Node) -> usize {
    if let Some(items) = node.list() {
        return items.iter().map(avps).sum();
    }
    // Block keys are lower case, AVP names are not.
    let is_avp =
        |key: &str| key.starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit());
    let entries = node.map().unwrap_or_default();
    entries.iter().filter(|entry| is_avp(&entry.key)).map(|entry| 1 + avps(&entry.value)).sum()
}
