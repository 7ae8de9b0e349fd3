//! The value tree that a mapping reads, and what `answer:` expressions give back.
//!
//! The engine builds one tree per message; a mapping knows nothing of triggers or sessions.

/// A value, or a tree of values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Value {
    /// Absent.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text.
    Text(String),
    /// Octets that need not be text, such as Refund-Information.
    Bytes(Vec<u8>),
    /// Values in order.
    List(Vec<Value>),
    /// Named values in order; names are unique.
    Map(Vec<(String, Value)>),
}

/// What [`Value::get`] answers for a path that leads nowhere.
pub(super) static NULL: Value = Value::Null;

impl Value {
    /// A map of the given entries, in their order.
    pub fn map<K, V>(entries: impl IntoIterator<Item = (K, V)>) -> Value
    where
        K: Into<String>,
        V: Into<Value>,
    {
        Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// The value at a dotted path (`cpm.contributionId`), `Null` where it leads nowhere.
    pub fn get(&self, path: &str) -> &Value {
        path.split('.').fold(self, |value, key| value.key(key))
    }

    /// The value under `key`, `Null` if this is no map or has no such key.
    pub fn key(&self, key: &str) -> &Value {
        match self {
            Value::Map(entries) => {
                entries.iter().find(|(name, _)| name == key).map_or(&NULL, |(_, value)| value)
            }
            _ => &NULL,
        }
    }

    /// Is it absent?
    pub fn is_null(&self) -> bool {
        *self == Value::Null
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The elements of a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// In a condition `null` and `false` do not hold; everything else does.
    pub fn holds(&self) -> bool {
        !matches!(self, Value::Null | Value::Bool(false))
    }

    /// Puts `value` at a dotted path, making the maps on the way; a value in the way is replaced.
    pub fn put(&mut self, path: &str, value: Value) {
        let (key, rest) = match path.split_once('.') {
            Some((key, rest)) => (key, Some(rest)),
            None => (path, None),
        };
        if !matches!(self, Value::Map(_)) {
            *self = Value::Map(Vec::new());
        }
        let Value::Map(entries) = self else { return };
        let at = entries.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
            entries.push((key.to_owned(), Value::Null));
            entries.len() - 1
        });
        match rest {
            Some(rest) => entries[at].1.put(rest, value),
            None => entries[at].1 = value,
        }
    }

    /// What it is, for messages: `text`, `a list`.
    pub fn describe(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "a number",
            Value::Text(_) => "text",
            Value::Bytes(_) => "octets",
            Value::List(_) => "a list",
            Value::Map(_) => "an object",
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Int(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Value {
        Value::Int(value.into())
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Value {
        Value::Int(value.into())
    }
}

/// Numbers above 2^63-1 become text, which no numeric AVP takes: nothing is truncated.
impl From<u64> for Value {
    fn from(value: u64) -> Value {
        i64::try_from(value).map_or_else(|_| Value::Text(value.to_string()), Value::Int)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Text(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Value {
        Value::List(values.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_somewhere_or_to_null() {
        let mut value = Value::map([("a", Value::map([("b", 1)]))]);
        assert_eq!(value.get("a.b"), &Value::Int(1));
        assert_eq!(value.get("a.c.d"), &Value::Null);
        value.put("a.c.d", "x".into());
        assert_eq!(value.get("a.c.d"), &Value::from("x"));
        assert_eq!(value.get("a.b"), &Value::Int(1));
    }

    #[test]
    fn a_number_is_never_truncated() {
        assert_eq!(Value::from(u64::MAX), Value::from("18446744073709551615"));
    }
}
