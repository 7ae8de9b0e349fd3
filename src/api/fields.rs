//! Typed access to a [`Json`] tree that collects every problem with its JSON pointer.
//!
//! A reader asks for what the API page names; each miss is noted and reading goes on, so that
//! one answer tells the client everything that needs attention.

use std::cell::RefCell;
use std::fmt;

use super::json::{Json, escape};
use super::schema::Object;
use crate::clock::Wall;
use crate::diagnostic::suggest;

/// Largest integer that every JSON reader keeps exact: 2^53-1.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;
/// Longest text in characters.
pub const TEXT_CHARACTERS_MAX: usize = 8_000;
/// Longest identity in octets.
pub const IDENTITY_OCTETS_MAX: usize = 1_024;
/// Longest `sessionId` and `eventId`.
pub const ID_OCTETS_MAX: usize = 255;
/// At most so many problems are listed in one answer.
pub const PROBLEMS_MAX: usize = 100;

/// One field that needs attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// JSON pointer (RFC 6901) into the body.
    pub pointer: String,
    /// What is wrong, what was expected.
    pub detail: String,
    /// The nearest right word, if there is one.
    pub suggestion: Option<String>,
}

/// The problems found so far.
#[derive(Debug, Default)]
pub struct Problems {
    found: RefCell<Vec<FieldProblem>>,
}

impl Problems {
    /// Notes one; beyond [`PROBLEMS_MAX`] they are dropped.
    pub fn note(&self, pointer: String, detail: impl Into<String>, suggestion: Option<String>) {
        let mut found = self.found.borrow_mut();
        if found.len() < PROBLEMS_MAX {
            found.push(FieldProblem { pointer, detail: detail.into(), suggestion });
        }
    }

    /// All of them, in the order of reading.
    pub fn into_list(self) -> Vec<FieldProblem> {
        self.found.into_inner()
    }
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

/// A value at its place in the body.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    json: &'a Json,
    above: Option<&'a Field<'a>>,
    step: Step<'a>,
    problems: &'a Problems,
}

/// The JSON pointer.
impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            write!(f, "{above}")?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Key(key) => write!(f, "/{}", escape(key)),
            Step::Index(index) => write!(f, "/{index}"),
        }
    }
}

impl<'a> Field<'a> {
    /// The whole body.
    pub fn root(json: &'a Json, problems: &'a Problems) -> Field<'a> {
        Field { json, above: None, step: Step::Root, problems }
    }

    /// Notes a problem with this value.
    pub fn problem(&self, detail: impl Into<String>) {
        self.problems.note(self.to_string(), detail, None);
    }

    /// Notes a problem with this value and the nearest right word.
    pub fn problem_near(&self, detail: impl Into<String>, near: Option<String>) {
        self.problems.note(self.to_string(), detail, near);
    }

    /// Notes a problem with the member `name` of this object.
    pub fn problem_at(&self, name: &str, detail: impl Into<String>) {
        self.problems.note(format!("{self}/{}", escape(name)), detail, None);
    }

    fn expected(&self, what: &str) {
        self.problem(format!("expected {what}, not {}", self.json.describe()));
    }

    /// Checks that this is an object with all required members and none but its table's. `None` if
    /// it is no object at all.
    pub fn object(&self, table: &Object) -> Option<()> {
        self.part(table)?;
        for member in table.members.iter().filter(|member| member.required) {
            if self.get(member.name).is_none() {
                self.problem_at(member.name, "required");
            }
        }
        Some(())
    }

    /// The same, with nothing required.
    pub fn part(&self, table: &Object) -> Option<()> {
        let Json::Map(entries) = self.json else {
            self.expected("an object");
            return None;
        };
        for (name, _) in entries.iter().filter(|_| !table.open) {
            if table.member(name).is_none() {
                let near = suggest(name, table.names()).map(str::to_owned);
                self.problems.note(format!("{self}/{}", escape(name)), "unknown field", near);
            }
        }
        Some(())
    }

    /// The members of an object whose names are the client's.
    pub fn members(&'a self) -> impl Iterator<Item = (&'a str, Field<'a>)> {
        let entries: &[(String, Json)] = match self.json {
            Json::Map(entries) => entries,
            _ => &[],
        };
        entries.iter().map(move |(name, json)| {
            let step = Step::Key(name);
            (name.as_str(), Field { json, above: Some(self), step, problems: self.problems })
        })
    }

    /// The member `name`; `null` is absent.
    pub fn get(&'a self, name: &str) -> Option<Field<'a>> {
        self.members().find(|(key, _)| *key == name).map(|(_, field)| field).filter(Field::is_given)
    }

    fn is_given(&self) -> bool {
        *self.json != Json::Null
    }

    /// The JSON value itself.
    pub fn json(&self) -> &'a Json {
        self.json
    }

    /// The elements of a list, each read by `read`; those it refuses are left out.
    pub fn list<T>(&self, mut read: impl FnMut(&Field<'_>) -> Option<T>) -> Option<Vec<T>> {
        let Json::List(items) = self.json else {
            self.expected("a list");
            return None;
        };
        let field = |(index, json)| Field {
            json,
            above: Some(self),
            step: Step::Index(index),
            problems: self.problems,
        };
        Some(items.iter().enumerate().map(field).filter_map(|item| read(&item)).collect())
    }

    /// Text of at most [`TEXT_CHARACTERS_MAX`] characters, without U+0000.
    pub fn text(&self) -> Option<String> {
        let Json::Text(text) = self.json else {
            self.expected("text");
            return None;
        };
        if text.chars().count() > TEXT_CHARACTERS_MAX {
            self.problem(format!("longer than {TEXT_CHARACTERS_MAX} characters"));
            return None;
        }
        if text.contains('\0') {
            self.problem("U+0000 is not allowed");
            return None;
        }
        Some(text.clone())
    }

    /// Text that is not empty.
    pub fn name(&self) -> Option<String> {
        let text = self.text()?;
        if text.is_empty() {
            self.problem("must not be empty");
            return None;
        }
        Some(text)
    }

    /// An identity: 1 to [`IDENTITY_OCTETS_MAX`] octets without control characters.
    pub fn identity(&self) -> Option<String> {
        let Json::Text(text) = self.json else {
            self.expected("text");
            return None;
        };
        if text.is_empty() || text.len() > IDENTITY_OCTETS_MAX {
            self.problem(format!(
                "must have 1 to {IDENTITY_OCTETS_MAX} octets, has {}",
                text.len()
            ));
            return None;
        }
        if text.chars().any(char::is_control) {
            self.problem("control characters are not allowed");
            return None;
        }
        Some(text.clone())
    }

    /// A `sessionId` or `eventId`: 1 to 255 printable ASCII characters.
    pub fn id(&self) -> Option<String> {
        let Json::Text(text) = self.json else {
            self.expected("text");
            return None;
        };
        if !is_id(text) {
            self.problem("must be 1 to 255 printable ASCII characters");
            return None;
        }
        Some(text.clone())
    }

    /// A whole number from 0 to `max`; no booleans, no fractions, no text.
    pub fn integer(&self, max: u64) -> Option<u64> {
        match self.json {
            Json::Whole(value) if *value <= max => Some(*value),
            Json::Whole(_) | Json::Negative(_) => {
                self.problem(format!("must be 0 to {max}, is {}", self.json.describe()));
                None
            }
            _ => {
                self.expected(&format!("a whole number from 0 to {max}"));
                None
            }
        }
    }

    /// An RFC 3339 time with offset that a Diameter Time can carry.
    pub fn time(&self) -> Option<Wall> {
        let Json::Text(text) = self.json else {
            self.expected("a time such as \"2025-12-12T10:38:00.412Z\"");
            return None;
        };
        let parsed = if is_rfc_3339(text) { Wall::parse(text) } else { None };
        match parsed {
            None => {
                self.problem(format!(
                    "not a time: {}; expected RFC 3339 with offset, such as 2025-12-12T10:38:00.412Z",
                    self.json.describe()
                ));
                None
            }
            Some(wall) if (0..TIME_END_SECS).contains(&wall.secs()) => Some(wall),
            Some(_) => {
                self.problem("must lie from 1970 to 2104-02-26, the range of a Diameter Time");
                None
            }
        }
    }

    /// One of a closed list of words.
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        self.word_or(words, &[])
    }

    /// One of a closed list of words; `aliases` are wrong words with the right one to suggest.
    pub fn word_or<T: Copy>(&self, words: &[(&str, T)], aliases: &[(&str, &str)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let Json::Text(text) = self.json else {
            self.expected(&or_list(&names));
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
            return Some(*value);
        }
        let alias = aliases.iter().find(|(wrong, _)| wrong.eq_ignore_ascii_case(text));
        let near = alias.map(|(_, right)| *right).or_else(|| suggest(text, names.iter().copied()));
        let detail =
            format!("unknown value {}; expected {}", self.json.describe(), or_list(&names));
        self.problem_near(detail, near.map(str::to_owned));
        None
    }
}

/// What [`Field::time`] allows, in words.
pub const TIME_END: &str = "From 1970 to 2104-02-26, the range of a Diameter Time.";

/// First second that a Diameter Time (RFC 6733, 4.3.1: RFC 5905 seconds, era by the high bit)
/// cannot carry: 2104-02-26T09:42:24Z.
const TIME_END_SECS: i64 = 4_233_462_144;

/// 1 to 255 printable ASCII characters?
pub fn is_id(text: &str) -> bool {
    (1..=ID_OCTETS_MAX).contains(&text.len()) && text.bytes().all(|b| (0x20..=0x7e).contains(&b))
}

/// `a, b or c`.
fn or_list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// The grammar of RFC 3339, 5.6: jiff reads more than that (a space, an hour alone, zone names).
fn is_rfc_3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let fits = |bytes: &[u8], pattern: &[u8]| {
        bytes.len() == pattern.len()
            && bytes.iter().zip(pattern).all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                b'+' => matches!(byte, b'+' | b'-'),
                _ => byte.eq_ignore_ascii_case(wanted),
            })
    };
    if bytes.len() < 20 || !fits(&bytes[..19], b"0000-00-00T00:00:00") {
        return false;
    }
    let mut rest = &bytes[19..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return false;
        }
        rest = &fraction[digits..];
    }
    fits(rest, b"Z") || fits(rest, b"+00:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_rfc_3339_and_the_range_of_a_diameter_time() {
        for (text, ok) in [
            ("2025-12-12T10:38:00Z", true),
            ("2025-12-12t10:38:00.412z", true),
            ("2025-12-12T10:38:00.123456789+01:00", true),
            ("2104-02-26T09:42:23Z", true),
            ("2104-02-26T09:42:24Z", false),
            ("1969-12-31T23:59:59Z", false),
            ("2025-12-12 10:38:00Z", false),
            ("2025-12-12T10:38:00", false),
            ("2025-12-12T10:38Z", false),
            ("2025-12-12T10:38:00.Z", false),
            ("2025-12-12T10:38:00+01", false),
            ("2025-12-12T10:38:00Z[UTC]", false),
            ("2025-13-12T10:38:00Z", false),
            ("20251212T103800Z", false),
            ("", false),
        ] {
            let json = Json::Text(text.to_owned());
            let problems = Problems::default();
            assert_eq!(Field::root(&json, &problems).time().is_some(), ok, "{text}");
            assert_eq!(problems.into_list().is_empty(), ok, "{text}");
        }
    }

    #[test]
    fn pointers_are_escaped() {
        let inner = Json::Map(vec![("a/b~c".to_owned(), Json::Bool(true))]);
        let json = Json::List(vec![inner]);
        let problems = Problems::default();
        let root = Field::root(&json, &problems);
        root.list(|item| item.get("a/b~c").and_then(|field| field.integer(1)));
        assert_eq!(problems.into_list()[0].pointer, "/0/a~1b~0c");
    }
}
