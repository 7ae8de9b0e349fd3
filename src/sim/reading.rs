//! Reading the parts of a scenario: all problems at once, each at its place.

use std::time::Duration;

use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::document::Entry;
use crate::diagnostic::document::Node;
use crate::diagnostic::suggest;
use crate::sim::ledger::Amount;
use crate::sim::ledger::Currency;
use crate::sim::ledger::parse_money;

/// What was found while reading, and the one currency of the file.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) found: Vec<Diagnostic>,
    currency: Option<Currency>,
}

impl Reading {
    /// The currency that the first amount had; the euro if there was none.
    pub(super) fn currency(&self) -> Currency {
        self.currency.unwrap_or(Currency::EUR)
    }

    /// All further amounts must be in it.
    pub(super) fn expect_currency(&mut self, currency: Currency) {
        self.currency = Some(currency);
    }

    pub(super) fn wrong(&mut self, node: &Node, expected: &str) {
        let message = format!("expected {expected}, found {}", node.describe());
        self.found.push(Diagnostic::error(Code::FB0102, message).at(&node.span));
    }

    pub(super) fn missing(&mut self, node: &Node, key: &str) {
        let message = format!("`{key}` is missing");
        self.found.push(Diagnostic::error(Code::FB0103, message).at(&node.span));
    }

    /// The entries of a map whose keys are all in `known`.
    pub(super) fn keys<'n>(&mut self, node: &'n Node, known: &[&str]) -> &'n [Entry] {
        let Some(entries) = node.map() else {
            self.wrong(node, "a map");
            return &[];
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let message = format!("unknown key `{}`", entry.key);
            let mut found = Diagnostic::error(Code::FB0101, message).at(&entry.key_span);
            if let Some(near) = suggest(&entry.key, known.iter().copied()) {
                found = found.help(format!("did you mean `{near}`?"));
            }
            self.found.push(found);
        }
        entries
    }

    /// The entries of a map with free keys.
    pub(super) fn entries<'n>(&mut self, node: &'n Node) -> &'n [Entry] {
        match node.map() {
            Some(entries) => entries,
            None => {
                self.wrong(node, "a map");
                &[]
            }
        }
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node) -> &'n [Node] {
        match node.list() {
            Some(items) => items,
            None => {
                self.wrong(node, "a list");
                &[]
            }
        }
    }

    pub(super) fn text(&mut self, node: &Node) -> Option<String> {
        self.or_wrong(node, node.text().map(str::to_owned), "text")
    }

    pub(super) fn boolean(&mut self, node: &Node) -> Option<bool> {
        self.or_wrong(node, node.boolean(), "true or false")
    }

    /// Only `true` makes sense: the verb is there or not.
    pub(super) fn flag(&mut self, node: &Node) -> Option<()> {
        let value = node.boolean().filter(|value| *value).map(|_| ());
        self.or_wrong(node, value, "true")
    }

    pub(super) fn u32(&mut self, node: &Node) -> Option<u32> {
        let value = node.integer().and_then(|value| u32::try_from(value).ok());
        self.or_wrong(node, value, "a whole number from 0 to 4294967295")
    }

    pub(super) fn u64(&mut self, node: &Node) -> Option<u64> {
        let value = node.integer().and_then(|value| u64::try_from(value).ok());
        self.or_wrong(node, value, "a whole number")
    }

    /// At least 1.
    pub(super) fn count(&mut self, node: &Node) -> Option<u64> {
        let value = node.integer().and_then(|value| u64::try_from(value).ok());
        self.or_wrong(node, value.filter(|value| *value > 0), "a whole number from 1")
    }

    pub(super) fn duration(&mut self, node: &Node) -> Option<Duration> {
        let value = node.text().and_then(parse_duration);
        self.or_wrong(node, value, "a duration such as 2500ms, 30s, 5m or 1h")
    }

    /// Whole seconds, rounded down.
    pub(super) fn seconds(&mut self, node: &Node) -> Option<u32> {
        let value = node.text().and_then(parse_duration);
        let value = value.and_then(|value| u32::try_from(value.as_secs()).ok());
        self.or_wrong(node, value, "a duration such as 900s")
    }

    /// An amount in the file's currency.
    pub(super) fn money(&mut self, node: &Node) -> Option<Amount> {
        let Some(text) = node.text() else {
            self.wrong(node, "an amount such as \"9.30 EUR\"");
            return None;
        };
        match parse_money(text) {
            Ok((amount, currency)) if *self.currency.get_or_insert(currency) == currency => {
                Some(amount)
            }
            Ok((_, currency)) => {
                let message = format!("{currency} beside {}: one currency only", self.currency());
                self.found.push(Diagnostic::error(Code::FB0102, message).at(&node.span));
                None
            }
            Err(error) => {
                let message = format!("`{text}` is no amount: {error}");
                self.found.push(Diagnostic::error(Code::FB0102, message).at(&node.span));
                None
            }
        }
    }

    /// One of the names.
    pub(super) fn one_of<T: Clone>(&mut self, node: &Node, names: &[(&str, T)]) -> Option<T> {
        let value = node.text().and_then(|text| names.iter().find(|(name, _)| *name == text));
        if let Some((_, value)) = value {
            return Some(value.clone());
        }
        let all: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let message = format!("expected {}, found {}", all.join(", "), node.describe());
        let mut found = Diagnostic::error(Code::FB0102, message).at(&node.span);
        if let Some(near) = node.text().and_then(|text| suggest(text, all.iter().copied())) {
            found = found.help(format!("did you mean `{near}`?"));
        }
        self.found.push(found);
        None
    }

    fn or_wrong<T>(&mut self, node: &Node, value: Option<T>, expected: &str) -> Option<T> {
        if value.is_none() {
            self.wrong(node, expected);
        }
        value
    }
}

/// The longest duration of a scenario: a year.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// `2500ms`, `30s`, `5m`, `1h`; at most [`DURATION_MAX`].
fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().ok()?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3600)?),
        _ => return None,
    };
    (duration <= DURATION_MAX).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("2500ms"), Some(Duration::from_millis(2500)));
        assert_eq!(parse_duration("15m"), Some(Duration::from_secs(900)));
        for bad in ["", "5", "s", "5 s", "-5s", "5d", "99999999999999999999s", "8761h"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
