//! JSON text as a small tree: ordered, bounded in depth, with every duplicate key noted.
//!
//! serde_json reads the text; a tree of our own is built because `serde_json::Value` keeps the last
//! of two equal keys silently, and a trigger that says two things must not be charged for one of them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// Deepest nesting of lists and objects that is read.
pub const DEPTH_MAX: usize = 64;

/// A JSON value. Integers that fit are exact, everything else that is a number is a fraction.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number from 0 to 2^64-1.
    Whole(u64),
    /// A negative whole number.
    Negative(i64),
    /// A number with fraction or exponent, or one beyond 64 bits.
    Fraction(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object in the order of the text; of equal keys the first.
    Map(Vec<(String, Json)>),
}

/// Why a text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// In words, with line and column.
    pub detail: String,
    /// What to do, if the cause is a well-known one.
    pub suggestion: Option<String>,
}

/// A JSON text that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The tree.
    pub root: Json,
    /// JSON pointers of keys that stand twice in their object.
    pub duplicates: Vec<String>,
}

impl Json {
    /// The member of an object.
    pub fn member(&self, name: &str) -> Option<&Json> {
        let Json::Map(members) = self else { return None };
        members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// What it is, for messages: `a list`, `"chat"`, `12`.
    pub fn describe(&self) -> String {
        match self {
            Json::Null => "null".to_owned(),
            Json::Bool(value) => value.to_string(),
            Json::Whole(value) => value.to_string(),
            Json::Negative(value) => value.to_string(),
            Json::Fraction(value) => value.to_string(),
            Json::Text(text) if text.chars().count() > 40 => "a long text".to_owned(),
            Json::Text(text) => format!("{text:?}"),
            Json::List(_) => "a list".to_owned(),
            Json::Map(_) => "an object".to_owned(),
        }
    }
}

/// Reads `bytes` as one JSON text (RFC 8259).
///
/// # Errors
/// [`Malformed`] if it is not UTF-8, not JSON, nested deeper than [`DEPTH_MAX`], holds a number
/// that no double can hold, or a lone surrogate.
pub fn read(bytes: &[u8]) -> Result<Document, Malformed> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(Malformed {
            detail: "the body begins with a byte order mark".to_owned(),
            suggestion: Some("send UTF-8 without a byte order mark".to_owned()),
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| Malformed {
        detail: format!("the body is not UTF-8 at byte {}", error.valid_up_to()),
        suggestion: None,
    })?;
    let context = Context::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    let seed = Node { depth: 0, context: &context };
    let root = seed.deserialize(&mut reader).map_err(malformed)?;
    reader.end().map_err(malformed)?;
    Ok(Document { root, duplicates: context.duplicates.into_inner() })
}

fn malformed(error: serde_json::Error) -> Malformed {
    Malformed { detail: error.to_string(), suggestion: None }
}

/// A JSON pointer token (RFC 6901): `~` and `/` escaped.
pub fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// At most so many duplicate keys are named.
const DUPLICATES_MAX: usize = 20;
/// Objects up to this size are searched for duplicates without a set.
const SMALL: usize = 16;

/// Where the reader is, and what it found on the way.
#[derive(Default)]
struct Context {
    path: RefCell<Vec<String>>,
    duplicates: RefCell<Vec<String>>,
}

impl Context {
    fn duplicate(&self, key: &str) {
        let mut found = self.duplicates.borrow_mut();
        if found.len() < DUPLICATES_MAX {
            let above: String =
                self.path.borrow().iter().map(|token| format!("/{}", escape(token))).collect();
            found.push(format!("{above}/{}", escape(key)));
        }
    }
}

/// One value that is about to be read.
struct Node<'c> {
    depth: usize,
    context: &'c Context,
}

impl Node<'_> {
    fn below<E: serde::de::Error>(&self) -> Result<Node<'_>, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format!("nested deeper than {DEPTH_MAX}")));
        }
        Ok(Node { depth: self.depth + 1, context: self.context })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Json;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Json, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Whole(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(u64::try_from(value).map_or(Json::Negative(value), Json::Whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Fraction(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        loop {
            self.context.path.borrow_mut().push(items.len().to_string());
            let next = list.next_element_seed(self.below()?)?;
            self.context.path.borrow_mut().pop();
            match next {
                Some(item) => items.push(item),
                None => return Ok(Json::List(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut entries: Vec<(String, Json)> = Vec::new();
        let mut seen: BTreeSet<String> = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let twice = if entries.len() < SMALL {
                entries.iter().any(|(name, _)| *name == key)
            } else {
                if seen.is_empty() {
                    seen.extend(entries.iter().map(|(name, _)| name.clone()));
                }
                !seen.insert(key.clone())
            };
            if twice {
                self.context.duplicate(&key);
            }
            self.context.path.borrow_mut().push(key.clone());
            let value = map.next_value_seed(self.below()?)?;
            self.context.path.borrow_mut().pop();
            if !twice {
                entries.push((key, value));
            }
        }
        Ok(Json::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_tree_in_order() {
        let document =
            read(br#"{"b": [1, -2, 2.5, "x", null, true], "a": {"n": 18446744073709551615}}"#)
                .expect("valid");
        let Json::Map(entries) = &document.root else { panic!("an object") };
        assert_eq!(entries[0].0, "b");
        let Json::List(items) = &entries[0].1 else { panic!("a list") };
        assert_eq!(items[1], Json::Negative(-2));
        assert_eq!(items[2], Json::Fraction(2.5));
        assert_eq!(entries[1].1, Json::Map(vec![("n".to_owned(), Json::Whole(u64::MAX))]));
    }

    #[test]
    fn fh_08_every_duplicate_key_is_named() {
        let document = read(br#"{"a": 1, "x/y": [{"b": 1, "b": 2}], "a": 3}"#).expect("valid");
        assert_eq!(document.duplicates, ["/x~1y/0/b", "/a"]);
        let many: String = (0..40).map(|n| format!("\"k{n}\":1,")).collect();
        let document = read(format!("{{{many}\"k7\":2}}").as_bytes()).expect("valid");
        assert_eq!(document.duplicates, ["/k7"]);
    }

    #[test]
    fn fh_08_what_is_not_json_is_said_with_its_place() {
        let deep = "[".repeat(10_000);
        let at_limit = "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX);
        let past_limit = "[".repeat(DEPTH_MAX + 1) + "1" + &"]".repeat(DEPTH_MAX + 1);
        for (bytes, part) in [
            (&b"\xef\xbb\xbf{}"[..], "byte order mark"),
            (b"{\"a\": NaN}", "line 1 column 7"),
            (b"{\"a\": 1e400}", "number out of range"),
            (br#"{"a": "\ud800"}"#, "line 1 column"),
            (b"{\"a\": \"\x00\"}", "control character"),
            (b"{\"a\": \"\xff\"}", "not UTF-8 at byte 7"),
            (b"{\"a\": 1} x", "trailing characters"),
            (b"{\"a\": 1", "EOF"),
            (b"", "EOF"),
            (b"{'a': 1}", "line 1 column 2"),
            (deep.as_bytes(), "nested deeper than 64"),
            (past_limit.as_bytes(), "nested deeper than 64"),
        ] {
            let error = read(bytes).expect_err("malformed");
            assert!(error.detail.contains(part), "{part}: {}", error.detail);
        }
        assert!(read(at_limit.as_bytes()).is_ok());
        let big = read(format!("1{}", "0".repeat(40)).as_bytes()).expect("a number");
        assert_eq!(big.root, Json::Fraction(1e40));
    }
}
