//! What went wrong, for people: code, whose fault, where, what next.
//!
//! Codes live in one table ([`codes`]); files a person wrote become a [`document::Node`] tree
//! with spans, so that every finding can point at its line; [`render`] draws the caret.

pub mod codes;
pub mod document;
pub mod render;

pub use codes::{Code, Fault};
pub use document::Span;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Odd, nothing lost.
    Warning,
    /// The file, request or message cannot be used.
    Error,
}

/// One finding in a file that a person wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The stable code.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong: lower case, no full stop, the thing in backticks.
    pub message: String,
    /// Where, if it is about a place in a file.
    pub span: Option<Span>,
    /// Short text beside the caret.
    pub label: Option<String>,
    /// What next: each a sentence fragment shown as `= help: …`.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// An error without a place.
    pub fn error(code: Code, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            span: None,
            label: None,
            help: Vec::new(),
        }
    }

    /// A warning without a place.
    pub fn warning(code: Code, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message) }
    }

    /// Adds the place.
    pub fn at(mut self, span: &Span) -> Diagnostic {
        self.span = Some(span.clone());
        self
    }

    /// Adds the text beside the caret.
    pub fn label(mut self, text: impl Into<String>) -> Diagnostic {
        self.label = Some(text.into());
        self
    }

    /// Adds a line of help.
    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help.push(text.into());
        self
    }
}

/// The candidate nearest to `word`, if one is near enough to be a typo of it.
///
/// Edit distance (insert, delete, replace, swap of neighbours), at most a third of the
/// word's length and at most 4; a candidate that contains the word counts as near.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 4);
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let other = candidate.to_lowercase();
            let contained =
                lower.len() >= 4 && (other.starts_with(&lower) || lower.starts_with(&other));
            let distance = edit_distance(&lower, &other);
            (if contained { distance.min(limit) } else { distance }, candidate)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let width = b.len() + 1;
    let mut table = vec![0usize; (a.len() + 1) * width];
    for (j, cell) in table.iter_mut().take(width).enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        table[i * width] = i;
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (table[(i - 1) * width + j] + 1)
                .min(table[i * width + j - 1] + 1)
                .min(table[(i - 1) * width + j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(table[(i - 2) * width + j - 2] + 1);
            }
            table[i * width + j] = best;
        }
    }
    table[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggest_finds_the_typo_and_leaves_strangers_alone() {
        assert_eq!(suggest("msisdn", ["e164", "imsi", "sip"]), None);
        assert_eq!(suggest("unit", ["units", "sip"]), Some("units"));
        assert_eq!(suggest("ocs-c", ["ocs-a", "cdf-a"]), Some("ocs-a"));
        assert_eq!(
            suggest("Service-Generic-Info", ["Service-Generic-Information", "Service-Id"]),
            Some("Service-Generic-Information")
        );
    }
}
