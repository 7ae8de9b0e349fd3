//! A human-written YAML 1.2 file as a tree in which every node knows its place.
//!
//! Text in, tree out: no file access. Configuration, dictionaries and mappings are all read
//! from this tree, so that a finding in any of them can show its line. Limits: 4 MiB of text,
//! nesting 64, 1,000,000 nodes; anchors, aliases and tags are refused (they are never needed,
//! and a few lines of aliases expand to gigabytes).

use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::{Code, Diagnostic};

/// A place in a named text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The file's name as it is shown.
    pub file: Arc<str>,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Line of `start`, from 1.
    pub line: u32,
    /// Column of `start` in characters, from 1.
    pub column: u32,
}

impl Span {
    /// `file:line`, the form used in provenance and errors.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// One node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub value: NodeValue,
}

/// The content of a [`Node`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeValue {
    /// Empty, `~` or `null`.
    Null,
    /// A scalar as written; `plain` tells `12` from `"12"`.
    Scalar {
        /// The text without quotes.
        text: String,
        /// No quotes and no block style.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in file order; keys are scalars and unique.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

const TEXT_BYTES_MAX: usize = 4 << 20;
const DEPTH_MAX: usize = 64;
const NODES_MAX: usize = 1_000_000;

impl Node {
    /// Reads `text`; `file` is the name that spans and messages carry.
    ///
    /// # Errors
    /// The first problem of form, as FB0001. An empty text is `Null`.
    pub fn parse(file: &str, text: &str) -> Result<Node, Diagnostic> {
        Reader::new(file, text)?.read()
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// An unquoted decimal (or 0x) integer.
    pub fn integer(&self) -> Option<i64> {
        match &self.value {
            NodeValue::Scalar { text, plain: true } => match text.strip_prefix("0x") {
                Some(hex) => i64::from_str_radix(hex, 16).ok(),
                None => text.parse().ok(),
            },
            _ => None,
        }
    }

    /// An unquoted `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        match &self.value {
            NodeValue::Scalar { text, plain: true } if text == "true" => Some(true),
            NodeValue::Scalar { text, plain: true } if text == "false" => Some(false),
            _ => None,
        }
    }

    /// The elements of a list.
    pub fn list(&self) -> Option<&[Node]> {
        match &self.value {
            NodeValue::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of a map.
    pub fn map(&self) -> Option<&[Entry]> {
        match &self.value {
            NodeValue::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value under `key`, if this is a map that has it.
    pub fn field(&self, key: &str) -> Option<&Node> {
        self.map()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// Is it `null` or empty?
    pub fn is_null(&self) -> bool {
        self.value == NodeValue::Null
    }

    /// What it is, for messages: `text "yes"`, `a list`.
    pub fn describe(&self) -> String {
        match &self.value {
            NodeValue::Null => "nothing".to_owned(),
            NodeValue::Scalar { text, plain: true } => format!("`{text}`"),
            NodeValue::Scalar { text, plain: false } => format!("text \"{text}\""),
            NodeValue::List(_) => "a list".to_owned(),
            NodeValue::Map(_) => "a map".to_owned(),
        }
    }
}

struct Reader<'t> {
    file: Arc<str>,
    /// Byte offset of each character, one more for the end.
    offsets: Vec<u32>,
    text: &'t str,
    nodes: usize,
}

/// A collection that is still being read.
enum Open {
    List(Vec<Node>),
    Map(Vec<Entry>, Option<(String, Span)>),
}

impl<'t> Reader<'t> {
    fn new(file: &str, text: &'t str) -> Result<Reader<'t>, Diagnostic> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Diagnostic::error(
                Code::FB0002,
                format!("`{file}` has {} bytes; the limit is {TEXT_BYTES_MAX}", text.len()),
            ));
        }
        let mut offsets: Vec<u32> =
            text.char_indices().map(|(at, _)| u32::try_from(at).unwrap_or(u32::MAX)).collect();
        offsets.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
        Ok(Reader { file: file.into(), offsets, text, nodes: 0 })
    }

    fn read(mut self) -> Result<Node, Diagnostic> {
        let mut parser = Parser::new_from_str(self.text);
        let mut stack: Vec<(Open, Span)> = Vec::new();
        let mut root: Option<Node> = None;
        while let Some(next) = parser.next_event() {
            let (event, span) = next.map_err(|error| {
                let at = *error.marker();
                let span = self.span(at.index(), at.index() + 1, at.line(), at.col());
                Diagnostic::error(Code::FB0001, error.info().to_owned()).at(&span)
            })?;
            let place = self.span(
                span.start.index(),
                span.end.index(),
                span.start.line(),
                span.start.col(),
            );
            let done = match event {
                Event::Scalar(text, style, anchor, tag) => {
                    self.refuse(anchor != 0 || tag.is_some(), &place)?;
                    Some(Node { value: scalar(&text, style), span: place })
                }
                Event::SequenceStart(anchor, tag) => {
                    self.refuse(anchor != 0 || tag.is_some(), &place)?;
                    stack.push((Open::List(Vec::new()), place));
                    None
                }
                Event::MappingStart(anchor, tag) => {
                    self.refuse(anchor != 0 || tag.is_some(), &place)?;
                    stack.push((Open::Map(Vec::new(), None), place));
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => stack.pop().map(|(open, mut begun)| {
                    begun.end = place.start.max(begun.start);
                    let value = match open {
                        Open::List(items) => NodeValue::List(items),
                        Open::Map(entries, _) => NodeValue::Map(entries),
                    };
                    Node { span: begun, value }
                }),
                Event::Alias(_) => return Err(self.refused(&place)),
                Event::DocumentStart(_) if root.is_some() => {
                    return Err(Diagnostic::error(Code::FB0001, "one document per file").at(&place));
                }
                _ => None,
            };
            if stack.len() > DEPTH_MAX {
                let message = format!("nested deeper than {DEPTH_MAX}");
                return Err(Diagnostic::error(Code::FB0001, message).at(&stack[DEPTH_MAX].1));
            }
            if let Some(node) = done {
                self.nodes += 1;
                if self.nodes > NODES_MAX {
                    let message = format!("more than {NODES_MAX} values");
                    return Err(Diagnostic::error(Code::FB0001, message).at(&node.span));
                }
                match stack.last_mut() {
                    None => root = Some(node),
                    Some((Open::List(items), _)) => items.push(node),
                    Some((Open::Map(entries, key), _)) => add_to_map(entries, key, node)?,
                }
            }
        }
        Ok(root.unwrap_or(Node { span: self.span(0, 0, 1, 0), value: NodeValue::Null }))
    }

    fn span(&self, start: usize, end: usize, line: usize, column: usize) -> Span {
        let byte = |index: usize| self.offsets[index.min(self.offsets.len() - 1)] as usize;
        let (start, end) = (byte(start), byte(end).max(byte(start)));
        let trimmed = start + self.text[start..end].trim_end().len();
        Span {
            file: self.file.clone(),
            start,
            end: trimmed.max(start),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column + 1).unwrap_or(u32::MAX),
        }
    }

    fn refuse(&self, refused: bool, place: &Span) -> Result<(), Diagnostic> {
        if refused { Err(self.refused(place)) } else { Ok(()) }
    }

    fn refused(&self, place: &Span) -> Diagnostic {
        Diagnostic::error(Code::FB0001, "anchors, aliases and tags are not used in farebox files")
            .at(place)
            .help("write the value out")
    }
}

fn scalar(text: &str, style: ScalarStyle) -> NodeValue {
    let plain = matches!(style, ScalarStyle::Plain);
    if plain && matches!(text, "" | "~" | "null") {
        NodeValue::Null
    } else {
        NodeValue::Scalar { text: text.to_owned(), plain }
    }
}

fn add_to_map(
    entries: &mut Vec<Entry>,
    key: &mut Option<(String, Span)>,
    node: Node,
) -> Result<(), Diagnostic> {
    match key.take() {
        Some((name, key_span)) => entries.push(Entry { key: name, key_span, value: node }),
        None => {
            let name = match node.value {
                NodeValue::Scalar { text, .. } => text,
                NodeValue::Null => "null".to_owned(),
                _ => {
                    return Err(
                        Diagnostic::error(Code::FB0001, "a key must be text").at(&node.span)
                    );
                }
            };
            if let Some(first) = entries.iter().find(|entry| entry.key == name) {
                let message = format!("key `{name}` is written twice");
                return Err(Diagnostic::error(Code::FB0001, message)
                    .at(&node.span)
                    .help(format!("first at {}", first.key_span.place())));
            }
            *key = Some((name, node.span));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_knows_its_place() {
        let text = "a: 1\nü:\n  - {b: yes, c: \"2\"}\n";
        let node = Node::parse("f.yaml", text).expect("valid");
        let list = node.field("ü").and_then(Node::list).expect("list");
        let b = list[0].field("b").expect("b");
        assert_eq!((b.span.line, b.span.column), (3, 9));
        assert_eq!(&text[b.span.start..b.span.end], "yes");
        assert_eq!(b.boolean(), None);
        assert_eq!(list[0].field("c").and_then(Node::integer), None);
        assert_eq!(node.field("a").and_then(Node::integer), Some(1));
    }

    #[test]
    fn bad_form_is_refused_with_its_line() {
        for (text, line) in
            [("a: 1\na: 2\n", 2), ("a: &x 1\nb: *x\n", 1), ("a: [1\n", 2), ("a: 'x\n", 1)]
        {
            let error = Node::parse("f.yaml", text).expect_err(text);
            assert_eq!(error.code, Code::FB0001);
            assert_eq!(error.span.map(|span| span.line), Some(line), "{text}");
        }
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert!(Node::parse("f.yaml", &deep).is_err());
    }
}
