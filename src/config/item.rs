//! Typed access to a configuration tree that notes every problem with its place.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::values;
use crate::diagnostic::document::Node;
use crate::diagnostic::{Code, Diagnostic, Span, suggest};

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: RefCell<Vec<Diagnostic>>,
}

impl Findings {
    pub(super) fn note(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }

    pub(super) fn note_all(&self, diagnostics: Vec<Diagnostic>) {
        self.found.borrow_mut().extend(diagnostics);
    }

    pub(super) fn into_list(self) -> Vec<Diagnostic> {
        self.found.into_inner()
    }
}

/// A value, its dotted path, and where problems go.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    pub(super) node: &'a Node,
    /// Where the key stands; of the root and of list elements the value.
    pub(super) key_span: &'a Span,
    pub(super) path: String,
    findings: &'a Findings,
}

impl<'a> Item<'a> {
    pub(super) fn root(node: &'a Node, findings: &'a Findings) -> Item<'a> {
        Item { node, key_span: &node.span, path: String::new(), findings }
    }

    /// Notes an error at this value.
    pub(super) fn error(&self, code: Code, message: impl Into<String>) {
        self.note(Diagnostic::error(code, message));
    }

    /// Notes a finding at this value.
    pub(super) fn note(&self, diagnostic: Diagnostic) {
        self.findings.note(diagnostic.at(&self.node.span));
    }

    /// Notes a finding at another place.
    pub(super) fn note_at(&self, diagnostic: Diagnostic, span: &Span) {
        self.findings.note(diagnostic.at(span));
    }

    /// Notes that this key cannot be used in this build, at the key.
    pub(super) fn unsupported(&self, help: &str) {
        let message = format!("`{}` is not supported by this build yet", self.path);
        let diagnostic = Diagnostic::error(Code::FB0206, message).at(self.key_span);
        self.findings.note(diagnostic.help(help));
    }

    /// Notes a value of the wrong type or range.
    pub(super) fn expected(&self, what: &str) {
        let name = if self.path.is_empty() { "the file" } else { &self.path };
        let found = self.node.describe();
        let diagnostic =
            Diagnostic::error(Code::FB0102, format!("`{name}` must be {what}, not {found}"));
        let quoted = self.node.text().is_some() && self.node.integer().is_none();
        let looks_numeric = self.node.text().is_some_and(|text| text.parse::<u64>().is_ok());
        self.note(if quoted && looks_numeric {
            diagnostic.help("remove the quotes")
        } else {
            diagnostic
        });
    }

    fn child(&self, key: &str, node: &'a Node, key_span: &'a Span) -> Item<'a> {
        let path =
            if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Item { node, key_span, path, findings: self.findings }
    }

    /// Checks that this is a map with none but the `known` keys. `false` if it is no map.
    pub(super) fn keys(&self, known: &[&str]) -> bool {
        let Some(entries) = self.node.map() else {
            self.expected("a map");
            return false;
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let path = self.child(&entry.key, &entry.value, &entry.key_span).path;
            let mut diagnostic = Diagnostic::error(Code::FB0101, format!("unknown key `{path}`"))
                .at(&entry.key_span);
            diagnostic = match suggest(&entry.key, known.iter().copied()) {
                Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
                None => diagnostic.help(format!("keys here: {}", known.join(", "))),
            };
            self.findings.note(diagnostic);
        }
        true
    }

    /// The entries of a map whose keys are names.
    pub(super) fn entries(&self) -> Vec<(&'a str, Item<'a>)> {
        let Some(entries) = self.node.map() else {
            self.expected("a map");
            return Vec::new();
        };
        let item = |entry: &'a crate::diagnostic::document::Entry| {
            (entry.key.as_str(), self.child(&entry.key, &entry.value, &entry.key_span))
        };
        entries.iter().map(item).collect()
    }

    /// The value under `key`, if it is there and not empty.
    pub(super) fn get(&self, key: &str) -> Option<Item<'a>> {
        let entry = self.node.map()?.iter().find(|entry| entry.key == key)?;
        let item = self.child(key, &entry.value, &entry.key_span);
        (!item.node.is_null()).then_some(item)
    }

    /// The value under `key`, which has to be there.
    pub(super) fn required(&self, key: &str) -> Option<Item<'a>> {
        let found = self.get(key);
        if found.is_none() {
            let path =
                if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
            let message = format!("required key `{path}` is missing");
            self.findings.note(Diagnostic::error(Code::FB0103, message).at(self.key_span));
        }
        found
    }

    /// The elements of a list.
    pub(super) fn list(&self) -> Vec<Item<'a>> {
        let Some(items) = self.node.list() else {
            self.expected("a list");
            return Vec::new();
        };
        let item = |(index, node): (usize, &'a Node)| Item {
            node,
            key_span: &node.span,
            path: format!("{}[{index}]", self.path),
            findings: self.findings,
        };
        items.iter().enumerate().map(item).collect()
    }

    /// Text that is not empty.
    pub(super) fn text(&self) -> Option<&'a str> {
        let text = self.node.text().filter(|text| !text.is_empty());
        if text.is_none() {
            self.expected("text");
        }
        text
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        if let Some(value) = self.node.boolean() {
            return Some(value);
        }
        let text = self.node.text().unwrap_or("").to_ascii_lowercase();
        let meant = match text.as_str() {
            "yes" | "on" | "y" | "true" => Some("true"),
            "no" | "off" | "n" | "false" => Some("false"),
            _ => None,
        };
        match meant {
            Some(meant) => {
                let message =
                    format!("`{}` is text here, not a boolean", self.node.text().unwrap_or(""));
                let diagnostic = Diagnostic::error(Code::FB0421, message);
                self.note(diagnostic.label(format!("write `{meant}`")));
            }
            None => self.expected("`true` or `false`"),
        }
        None
    }

    /// A whole number in a range.
    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.node.integer().and_then(|value| u64::try_from(value).ok());
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            self.expected(&format!("a number from {} to {}", range.start(), range.end()));
        }
        value
    }

    /// A whole number of 32 bits.
    pub(super) fn unsigned32(&self) -> Option<u32> {
        self.integer(0..=u64::from(u32::MAX)).and_then(|value| u32::try_from(value).ok())
    }

    /// A duration in a range.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let Some(duration) = self.node.text().and_then(values::duration) else {
            self.expected(values::DURATION);
            return None;
        };
        if !range.contains(&duration) {
            let (least, most) = (range.start(), range.end());
            let (least, most) = (values::duration_text(*least), values::duration_text(*most));
            self.expected(&format!("{least} to {most}"));
            return None;
        }
        Some(duration)
    }

    /// A size in a range of bytes.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let Some(bytes) = self.node.text().and_then(values::size) else {
            self.expected(values::SIZE);
            return None;
        };
        if !range.contains(&bytes) {
            let (least, most) =
                (values::size_text(*range.start()), values::size_text(*range.end()));
            self.expected(&format!("{least} to {most}"));
            return None;
        }
        Some(bytes)
    }

    /// A rate; `Some(None)` for `unlimited`.
    pub(super) fn rate(&self) -> Option<Option<u32>> {
        match self.node.text() {
            Some("unlimited") => Some(None),
            text => {
                let rate = text.and_then(values::rate);
                if rate.is_none() {
                    self.expected(values::RATE);
                }
                rate.map(Some)
            }
        }
    }

    /// One of a closed list of words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.node.text().unwrap_or("");
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        match suggest(text, names.iter().copied()) {
            Some(near) => {
                let message = format!("`{}` has no value `{text}`", self.path);
                let diagnostic = Diagnostic::error(Code::FB0102, message);
                self.note(diagnostic.label(format!("did you mean `{near}`?")));
            }
            None => self.expected(&format!("one of {}", names.join(", "))),
        }
        None
    }

    /// A DiameterIdentity: the letters, digits, dots and hyphens of a domain name.
    pub(super) fn identity(&self) -> Option<String> {
        let text = self.text()?;
        let fits = text.len() <= 255
            && !text.starts_with(['.', '-'])
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        if !fits {
            self.expected("a domain name such as `ocs-a.ocs.example.net`");
            return None;
        }
        Some(text.to_owned())
    }

    /// `ip:port` to listen on.
    pub(super) fn listener(&self) -> Option<SocketAddr> {
        let text = self.text()?;
        match text.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                let message = format!("`{}` must be `ip:port`, not `{text}`", self.path);
                self.note(
                    Diagnostic::error(Code::FB0207, message).help("such as `127.0.0.1:8868`"),
                );
                None
            }
        }
    }

    /// `host:port` to connect to: the host and the whole text.
    pub(super) fn address(&self) -> Option<(Host, String)> {
        let text = self.text()?;
        let parsed = text.parse::<SocketAddr>().ok().map(|address| Host::Ip(address.ip()));
        let named = text.rsplit_once(':').and_then(|(host, port)| {
            let valid = !host.is_empty()
                && host.len() <= 253
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
                && host.parse::<IpAddr>().is_err()
                && port.parse::<u16>().is_ok_and(|port| port > 0);
            valid.then(|| Host::Name(host.to_owned()))
        });
        match parsed.or(named) {
            Some(host) => Some((host, text.to_owned())),
            None => {
                let message = format!("`{}` must be `host:port`, not `{text}`", self.path);
                let help = "such as `ocs-a.ocs.example.net:3868`, `192.0.2.50:3868` or `[2001:db8::1]:3868`";
                self.note(Diagnostic::error(Code::FB0207, message).help(help));
                None
            }
        }
    }
}

/// The host of a `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Ip(IpAddr),
    Name(String),
}

impl Host {
    /// Does it lead to this machine?
    pub(super) fn is_loopback(&self) -> bool {
        match self {
            Host::Ip(address) => address.is_loopback(),
            Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
        }
    }
}
