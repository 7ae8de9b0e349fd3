//! `--match 'result == 5004 && command == ACR-EVENT'`: which records are meant.

use serde_json::Value;

/// Names that a condition may use, with where the record has them.
const FIELDS: [(&str, &str); 8] = [
    ("result", "/result/code"),
    ("command", "/command"),
    ("interface", "/interface"),
    ("peer", "/peer"),
    ("state", "/state"),
    ("session", "/sessionId"),
    ("event", "/eventId"),
    ("attempts", "/attempts"),
];

/// All of these hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Match {
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    pointer: &'static str,
    operator: Operator,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Longer ones first, so that `<=` is not read as `<`.
const OPERATORS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl Match {
    /// Reads conditions joined by `&&`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn parse(text: &str) -> Result<Match, String> {
        let conditions: Result<Vec<Condition>, String> = text.split("&&").map(condition).collect();
        Ok(Match { conditions: conditions? })
    }

    /// Does a record, as a search shows it, fit?
    pub(crate) fn fits(&self, record: &Value) -> bool {
        self.conditions.iter().all(|condition| condition.holds(record))
    }
}

fn condition(text: &str) -> Result<Condition, String> {
    let found = OPERATORS
        .iter()
        .filter_map(|(sign, operator)| Some((text.find(sign)?, *sign, *operator)))
        .min_by_key(|(at, sign, _)| (*at, std::cmp::Reverse(sign.len())));
    let Some((at, sign, operator)) = found else {
        return Err(format!("`{}` has no operator: == != < <= > >=", text.trim()));
    };
    let (name, value) = (text[..at].trim(), text[at + sign.len()..].trim());
    let Some((_, pointer)) = FIELDS.iter().find(|(known, _)| *known == name) else {
        let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
        return Err(format!("`{name}` is none of {}", names.join(", ")));
    };
    let value = value.trim_matches(|quote| quote == '"' || quote == '\'').to_owned();
    match value.is_empty() {
        true => Err(format!("`{}` has nothing to compare with", text.trim())),
        false => Ok(Condition { pointer, operator, value }),
    }
}

impl Condition {
    fn holds(&self, record: &Value) -> bool {
        let found = match record.pointer(self.pointer) {
            None | Some(Value::Null) => return self.operator == Operator::NotEqual,
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let order = match (found.parse::<i64>(), self.value.parse::<i64>()) {
            (Ok(found), Ok(value)) => found.cmp(&value),
            _ => found.as_str().cmp(self.value.as_str()),
        };
        match self.operator {
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fits(text: &str) -> bool {
        let record = json!({"result": {"code": 5004}, "command": "ACR-EVENT", "interface": "ch1",
            "peer": null, "state": "dead", "eventId": "e1", "attempts": 12});
        Match::parse(text).expect("a condition").fits(&record)
    }

    #[test]
    fn conditions_are_judged() {
        assert!(fits("result == 5004"));
        assert!(!fits("result == 5005"));
        assert!(fits("result >= 5000 && result<6000 && command == \"ACR-EVENT\""));
        assert!(fits("attempts > 2"), "as a number, not as a text");
        assert!(fits("peer != cdf-a"), "what is not there is not equal");
        assert!(!fits("peer == cdf-a") && !fits("session == s1"));
        assert!(fits("event == 'e1'"));
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        assert!(Match::parse("result").expect_err("no operator").contains("no operator"));
        assert!(Match::parse("money == 1").expect_err("unknown").contains("`money` is none of"));
        assert!(Match::parse("result ==").expect_err("no value").contains("nothing to compare"));
    }
}
