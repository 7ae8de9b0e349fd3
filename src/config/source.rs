//! Configuration files as one tree: read, merged in name order, `${…}` filled in.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::item::Findings;
use crate::diagnostic::document::{Node, NodeValue};
use crate::diagnostic::render::Sources;
use crate::diagnostic::{Code, Diagnostic, Span};

/// Where the values of `${NAME}` come from.
pub struct Environment {
    lookup: Box<Lookup>,
}

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Environment {
    /// The variables of this process.
    pub fn process() -> Environment {
        Environment::new(|name| std::env::var(name).ok())
    }

    /// Any other source.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Environment {
        Environment { lookup: Box::new(lookup) }
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Environment")
    }
}

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Largest file behind `${file:…}`.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The files that were read.
pub(super) struct Files<'a> {
    environment: &'a Environment,
    findings: &'a Findings,
    sources: Sources,
    configs: usize,
}

impl<'a> Files<'a> {
    pub(super) fn new(environment: &'a Environment, findings: &'a Findings) -> Files<'a> {
        Files { environment, findings, sources: Sources::new(), configs: 0 }
    }

    /// Texts of all files by their shown names, and how many of them were configuration.
    pub(super) fn into_sources(self) -> (Sources, usize) {
        (self.sources, self.configs)
    }

    /// All configuration files as one tree: a folder stands for its YAML files in name order,
    /// later files win key by key, everything but maps is replaced. Also the folder that relative
    /// names in the tree start from.
    pub(super) fn configuration(&mut self, paths: &[PathBuf]) -> (Option<Node>, PathBuf) {
        let mut merged: Option<Node> = None;
        let mut base = PathBuf::from(".");
        for path in paths {
            let (folder, files) = self.expand(path);
            base = folder.clone();
            for (name, file) in files {
                let Some(node) = self.read(&name, &file) else { continue };
                self.configs += 1;
                let node = self.fill(node, &folder);
                merged = Some(match merged {
                    Some(before) => merge(before, node),
                    None => node,
                });
            }
        }
        (merged, base)
    }

    /// A folder's YAML files, or the file itself: shown name and path of each.
    fn expand(&mut self, path: &Path) -> (PathBuf, Vec<(String, PathBuf)>) {
        if !path.is_dir() {
            let folder = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => PathBuf::from("."),
            };
            return (folder, vec![(path.display().to_string(), path.to_owned())]);
        }
        let mut files: Vec<(String, PathBuf)> = match fs::read_dir(path) {
            Ok(entries) => entries
                .filter_map(Result::ok)
                .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
                .filter(|(name, file)| {
                    (name.ends_with(".yaml") || name.ends_with(".yml")) && file.is_file()
                })
                .collect(),
            Err(error) => {
                let message = format!("`{}` cannot be read: {error}", path.display());
                self.findings.note(Diagnostic::error(Code::FB0002, message));
                return (path.to_owned(), Vec::new());
            }
        };
        files.sort();
        if files.is_empty() {
            let message = format!("`{}` has no file that ends in .yaml", path.display());
            self.findings.note(Diagnostic::error(Code::FB0002, message));
        }
        (path.to_owned(), files)
    }

    /// One YAML file as a tree, remembered under `name`. `None` after noting why not.
    pub(super) fn read(&mut self, name: &str, path: &Path) -> Option<Node> {
        let text = self.text(name, path, None)?;
        match Node::parse(name, &text) {
            Ok(node) => Some(node),
            Err(diagnostic) => {
                self.findings.note(diagnostic);
                None
            }
        }
    }

    /// The text of a file, remembered under `name`; `at` is the place that names it.
    pub(super) fn text(&mut self, name: &str, path: &Path, at: Option<&Span>) -> Option<String> {
        match read_text(path, FILE_BYTES_MAX) {
            Ok(text) => {
                self.sources.insert(name.to_owned(), text.clone());
                Some(text)
            }
            Err(reason) => {
                let message = format!("`{}` cannot be read: {reason}", path.display());
                let diagnostic = Diagnostic::error(Code::FB0002, message);
                self.findings.note(match at {
                    Some(span) => diagnostic.at(span),
                    None => diagnostic,
                });
                None
            }
        }
    }

    /// The text of a file that holds a secret: never remembered; `at` is the place that names it.
    pub(super) fn secret(&self, path: &Path, at: &Span) -> Option<String> {
        let read = read_text(path, FILE_BYTES_MAX);
        read.map_err(|reason| {
            let message = format!("`{}` cannot be read: {reason}", path.display());
            self.findings.note(Diagnostic::error(Code::FB0002, message).at(at));
        })
        .ok()
    }

    /// Remembers a text that is not a file of its own.
    pub(super) fn remember(&mut self, name: &str, text: &str) {
        self.sources.insert(name.to_owned(), text.to_owned());
    }

    /// Fills in `${…}` in every scalar.
    fn fill(&self, node: Node, folder: &Path) -> Node {
        let Node { span, value } = node;
        let value = match value {
            NodeValue::Scalar { text, plain } if text.contains("${") => {
                match self.expand_text(&text, folder) {
                    // `${NAME:-}` is how a file leaves a key out.
                    Ok(filled) if filled.is_empty() => NodeValue::Null,
                    // In flow style `${…}` has to be quoted; what it stands for need not be text.
                    Ok(filled) => {
                        NodeValue::Scalar { text: filled, plain: plain || is_whole(&text) }
                    }
                    Err(diagnostic) => {
                        self.findings.note(diagnostic.at(&span));
                        NodeValue::Null
                    }
                }
            }
            NodeValue::List(items) => {
                NodeValue::List(items.into_iter().map(|item| self.fill(item, folder)).collect())
            }
            NodeValue::Map(mut entries) => {
                // `${…}` in an overlay is the mapping's, not ours.
                for entry in entries.iter_mut().filter(|entry| entry.key != "overlay") {
                    let null = Node { span: span.clone(), value: NodeValue::Null };
                    let value = std::mem::replace(&mut entry.value, null);
                    entry.value = self.fill(value, folder);
                }
                NodeValue::Map(entries)
            }
            other => other,
        };
        Node { span, value }
    }

    fn expand_text(&self, text: &str, folder: &Path) -> Result<String, Diagnostic> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let Some((inside, behind)) = after.split_once('}') else {
                let message = "`${` has no closing brace";
                return Err(Diagnostic::error(Code::FB0102, message));
            };
            out.push_str(&self.value_of(inside, folder)?);
            rest = behind;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// What stands between the braces: `NAME`, `NAME:-default` or `file:PATH`.
    fn value_of(&self, inside: &str, folder: &Path) -> Result<String, Diagnostic> {
        if let Some(path) = inside.strip_prefix("file:") {
            let path = folder.join(path);
            return match read_text(&path, SECRET_BYTES_MAX) {
                Ok(text) => Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned()),
                Err(reason) => {
                    let message = format!("`{}` cannot be read: {reason}", path.display());
                    Err(Diagnostic::error(Code::FB0002, message))
                }
            };
        }
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let first_is_letter = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !first_is_letter || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let message = format!("`${{{inside}}}` cannot be read");
            let help = "write `${NAME}`, `${NAME:-default}` or `${file:/path}`";
            return Err(Diagnostic::error(Code::FB0102, message).help(help));
        }
        let set = (self.environment.lookup)(name).filter(|value| !value.is_empty());
        set.or_else(|| default.map(str::to_owned)).ok_or_else(|| {
            let message = format!("environment variable `{name}` is not set");
            let help = format!("set it, or write `${{{name}:-default}}`");
            Diagnostic::error(Code::FB0003, message).help(help)
        })
    }
}

/// Is the text one `${…}` and nothing else?
fn is_whole(text: &str) -> bool {
    text.starts_with("${") && text.find('}') == Some(text.len() - 1)
}

fn read_text(path: &Path, bytes_max: u64) -> Result<String, String> {
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let read = file.take(bytes_max + 1).read_to_string(&mut text);
    let length = read.map_err(|error| error.to_string())?;
    if length as u64 > bytes_max {
        return Err(format!("larger than {bytes_max} bytes"));
    }
    Ok(text)
}

/// `over` on top of `below`: maps key by key, everything else replaced.
fn merge(below: Node, over: Node) -> Node {
    match (below.value, over.value) {
        (NodeValue::Map(mut entries), NodeValue::Map(added)) => {
            for entry in added {
                match entries.iter_mut().find(|known| known.key == entry.key) {
                    None => entries.push(entry),
                    Some(known) => {
                        let null = Node { span: entry.key_span.clone(), value: NodeValue::Null };
                        let before = std::mem::replace(&mut known.value, null);
                        known.value = merge(before, entry.value);
                        known.key_span = entry.key_span;
                    }
                }
            }
            Node { span: below.span, value: NodeValue::Map(entries) }
        }
        (_, value) => Node { span: over.span, value },
    }
}
