//! The filters of the expression language: one table, one function each.
//!
//! A filter of nothing is nothing, except `default`. A filter that its input does not suit says
//! so; it never guesses.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::currency;
use super::fields::Type;
use super::value::Value;

/// A filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Currency,
    Default,
    First,
    FromHex,
    Hash32,
    Int,
    Lookup,
    Lower,
    Millis,
    Money,
    Prefer,
    Seconds,
    StartsWith,
    StripPlus,
    StripScheme,
    TruncateUtf8,
    Upper,
    Utf8,
}

/// One row of the table: name, least and most arguments, type of the result.
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) filter: Filter,
    pub(super) args: (usize, usize),
    pub(super) gives: Type,
}

const fn row(
    name: &'static str,
    filter: Filter,
    least: usize,
    most: usize,
    gives: Type,
) -> Signature {
    Signature { name, filter, args: (least, most), gives }
}

/// All filters, by name.
pub(super) const FILTERS: &[Signature] = &[
    // Letters of a currency to its number of ISO 4217.
    row("currency", Filter::Currency, 0, 0, Type::Int),
    // The argument where there is nothing.
    row("default", Filter::Default, 1, 1, Type::Any),
    // First element; with a type: the value of the first identity of that type.
    row("first", Filter::First, 0, 1, Type::Any),
    // Hexadecimal text to octets; octets stay.
    row("from_hex", Filter::FromHex, 0, 0, Type::Bytes),
    // First four octets of SHA-256, big-endian.
    row("hash32", Filter::Hash32, 0, 0, Type::Int),
    // Decimal text, or up to eight octets big-endian, to a number.
    row("int", Filter::Int, 0, 0, Type::Int),
    // The entry of a table of the mapping; nothing if it has none.
    row("lookup", Filter::Lookup, 1, 1, Type::Any),
    row("lower", Filter::Lower, 0, 0, Type::Text),
    // Milliseconds of the second.
    row("millis", Filter::Millis, 0, 0, Type::Int),
    // Unit-Value and Currency-Code to digits, exponent and currency.
    row("money", Filter::Money, 0, 0, Type::Any),
    // Identities of the given types, in the order of the types.
    row("prefer", Filter::Prefer, 1, 8, Type::List),
    // Whole seconds of milliseconds.
    row("seconds", Filter::Seconds, 0, 0, Type::Int),
    row("starts_with", Filter::StartsWith, 1, 1, Type::Bool),
    // Without a leading plus, if the argument holds.
    row("strip_plus", Filter::StripPlus, 0, 1, Type::Text),
    // Without `sip:`, `sips:` or `tel:`.
    row("strip_scheme", Filter::StripScheme, 0, 0, Type::Text),
    // At most so many octets, never within a character.
    row("truncate_utf8", Filter::TruncateUtf8, 1, 1, Type::Text),
    row("upper", Filter::Upper, 0, 0, Type::Text),
    // Octets to text; nothing if they are none.
    row("utf8", Filter::Utf8, 0, 0, Type::Text),
];

/// The filter of this name.
pub(super) fn by_name(name: &str) -> Option<&'static Signature> {
    FILTERS.iter().find(|signature| signature.name == name)
}

impl Filter {
    /// The name it is written with.
    pub(super) fn name(self) -> &'static str {
        FILTERS.iter().find(|row| row.filter == self).map_or("", |row| row.name)
    }

    /// The filtered value.
    ///
    /// # Errors
    /// Why the input does not suit.
    pub(super) fn apply<'v>(
        self,
        input: Cow<'v, Value>,
        args: &[Cow<'v, Value>],
    ) -> Result<Cow<'v, Value>, String> {
        let arg = args.first().map(|arg| &**arg);
        if input.is_null() {
            return Ok(match (self, args.first()) {
                (Filter::Default, Some(arg)) => arg.clone(),
                _ => Cow::Owned(Value::Null),
            });
        }
        let done = match (self, &*input) {
            (Filter::Default, _) => return Ok(input),
            (Filter::First, value) => first(value, arg)?,
            (Filter::Prefer, Value::List(identities)) => prefer(identities, args),
            (Filter::Lookup, value) => lookup(value, arg),
            (Filter::Money, Value::Map(_)) => money(&input),
            (Filter::FromHex, Value::Bytes(_)) | (Filter::Utf8, Value::Text(_)) => {
                return Ok(input);
            }
            (Filter::Utf8, Value::Bytes(octets)) => {
                String::from_utf8(octets.clone()).map_or(Value::Null, Value::Text)
            }
            (Filter::Int, Value::Int(_)) => return Ok(input),
            (Filter::Int, Value::Bytes(octets)) => big_endian(octets)?,
            (Filter::Seconds, Value::Int(millis)) => Value::Int(millis.div_euclid(1000)),
            (Filter::Millis, Value::Int(millis)) => Value::Int(millis.rem_euclid(1000)),
            (_, Value::Text(text)) => return self.of_text(text, arg).map(|done| keep(done, input)),
            (_, other) => return Err(self.unsuited(other)),
        };
        Ok(Cow::Owned(done))
    }

    /// The filters that read text. `None`: the text stays as it is.
    fn of_text(self, text: &str, arg: Option<&Value>) -> Result<Option<Value>, String> {
        Ok(Some(match self {
            Filter::Upper => text.to_uppercase().into(),
            Filter::Lower => text.to_lowercase().into(),
            Filter::StripPlus => match text.strip_prefix('+') {
                Some(rest) if arg.is_none_or(Value::holds) => rest.into(),
                _ => return Ok(None),
            },
            Filter::StripScheme => match without_scheme(text) {
                Some(rest) => rest.into(),
                None => return Ok(None),
            },
            Filter::TruncateUtf8 => match arg.and_then(Value::as_int).map(usize::try_from) {
                Some(Ok(octets)) if octets >= text.len() => return Ok(None),
                Some(Ok(octets)) => text[..floor_char_boundary(text, octets)].into(),
                _ => return Err("`truncate_utf8` needs a number of octets".to_owned()),
            },
            Filter::StartsWith => match arg {
                Some(Value::Text(start)) => text.starts_with(start.as_str()).into(),
                _ => return Err("`starts_with` needs a text".to_owned()),
            },
            Filter::Hash32 => {
                let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(text.as_bytes()));
                u32::from_be_bytes([a, b, c, d]).into()
            }
            Filter::Int => match text.parse::<i64>() {
                Ok(number) => number.into(),
                Err(_) => return Err("`int` needs a whole number in decimal digits".to_owned()),
            },
            Filter::FromHex => match from_hex(text) {
                Some(octets) => Value::Bytes(octets),
                None => return Err("`from_hex` needs pairs of hexadecimal digits".to_owned()),
            },
            Filter::Currency => match currency::number(text) {
                Some(number) => number.into(),
                None => return Err("not a currency of ISO 4217".to_owned()),
            },
            _ => return Err(self.unsuited(&Value::Text(String::new()))),
        }))
    }

    fn unsuited(self, input: &Value) -> String {
        format!("`{}` cannot be used with {}", self.name(), input.describe())
    }
}

fn keep<'v>(done: Option<Value>, input: Cow<'v, Value>) -> Cow<'v, Value> {
    done.map_or(input, Cow::Owned)
}

fn first(value: &Value, wanted: Option<&Value>) -> Result<Value, String> {
    let Value::List(items) = value else {
        return Err(Filter::First.unsuited(value));
    };
    Ok(match wanted {
        None => items.first().cloned().unwrap_or_default(),
        Some(wanted) => items
            .iter()
            .find(|item| item.key("type") == wanted)
            .map_or(Value::Null, |item| item.key("value").clone()),
    })
}

fn prefer(identities: &[Value], types: &[Cow<'_, Value>]) -> Value {
    let of_type =
        |wanted: &Value| identities.iter().filter(|id| id.key("type") == wanted).cloned().collect();
    let groups: Vec<Vec<Value>> = types.iter().map(|wanted| of_type(wanted)).collect();
    Value::List(groups.concat())
}

fn lookup(key: &Value, table: Option<&Value>) -> Value {
    let name = match key {
        Value::Text(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        _ => return Value::Null,
    };
    table.map_or(Value::Null, |table| table.key(&name).clone())
}

/// As Cost-Information, Remaining-Balance and CC-Money hold it.
fn money(group: &Value) -> Value {
    let digits = group.get("Unit-Value.Value-Digits");
    if digits.is_null() {
        return Value::Null;
    }
    let code = group.key("Currency-Code").as_int().and_then(|code| u32::try_from(code).ok());
    Value::map([
        ("digits", digits.clone()),
        ("exponent", Value::Int(group.get("Unit-Value.Exponent").as_int().unwrap_or(0))),
        ("currency", code.map(currency::letters).into()),
    ])
}

fn big_endian(octets: &[u8]) -> Result<Value, String> {
    if octets.len() > 8 {
        return Err(format!("`int` reads at most 8 octets, these are {}", octets.len()));
    }
    Ok(octets.iter().fold(0u64, |number, octet| number << 8 | u64::from(*octet)).into())
}

fn without_scheme(text: &str) -> Option<&str> {
    ["sip:", "sips:", "tel:"].iter().find_map(|scheme| {
        let (start, rest) = text.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16))
        .map(|d| u8::try_from(d?).ok())
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: &str, input: Value, args: &[Value], expected: Result<Value, &str>) {
        let signature = by_name(filter).expect("a filter");
        let args: Vec<Cow<Value>> = args.iter().map(Cow::Borrowed).collect();
        let done = signature.filter.apply(Cow::Borrowed(&input), &args).map(Cow::into_owned);
        assert_eq!(done, expected.map_err(str::to_owned), "{input:?} | {filter} {args:?}");
    }

    #[test]
    fn each_filter_does_what_its_row_says() {
        let identity = |kind: &str, value: &str| Value::map([("type", kind), ("value", value)]);
        let identities: Value =
            vec![identity("e164", "+1"), identity("sip", "sip:a@b"), identity("imsi", "262")]
                .into();
        check("first", identities.clone(), &["sip".into()], Ok("sip:a@b".into()));
        check("first", identities.clone(), &["nai".into()], Ok(Value::Null));
        let preferred = vec![identity("imsi", "262"), identity("e164", "+1")].into();
        check("prefer", identities, &["imsi".into(), "e164".into()], Ok(preferred));
        check("strip_plus", "+49".into(), &[], Ok("49".into()));
        check("strip_plus", "+49".into(), &[false.into()], Ok("+49".into()));
        check("strip_scheme", "SIP:a@b".into(), &[], Ok("a@b".into()));
        check("strip_scheme", "äß".into(), &[], Ok("äß".into()));
        check("truncate_utf8", "aäb".into(), &[2.into()], Ok("a".into()));
        check("truncate_utf8", "aäb".into(), &[Value::Int(i64::MAX)], Ok("aäb".into()));
        check("hash32", "hello world".into(), &[], Ok(Value::Int(0xb94d_27b9)));
        check("seconds", Value::Int(-1), &[], Ok(Value::Int(-1)));
        check("millis", Value::Int(-1), &[], Ok(Value::Int(999)));
        check("default", Value::Null, &["x".into()], Ok("x".into()));
        check("lower", Value::Null, &[], Ok(Value::Null));
        check("from_hex", "00fF".into(), &[], Ok(Value::Bytes(vec![0, 255])));
        check("from_hex", "0".into(), &[], Err("`from_hex` needs pairs of hexadecimal digits"));
        check("int", Value::Bytes(vec![1, 0]), &[], Ok(Value::Int(256)));
        check("int", "x".into(), &[], Err("`int` needs a whole number in decimal digits"));
        check("currency", "EUR".into(), &[], Ok(Value::Int(978)));
        check("currency", "XYZ".into(), &[], Err("not a currency of ISO 4217"));
        check("upper", Value::Int(1), &[], Err("`upper` cannot be used with a number"));
        let unit = Value::map([("Value-Digits", 70), ("Exponent", -2)]);
        let cost = Value::map([("Unit-Value", unit), ("Currency-Code", Value::Int(978))]);
        let money = Value::map([
            ("digits", Value::Int(70)),
            ("exponent", Value::Int(-2)),
            ("currency", "EUR".into()),
        ]);
        check("money", cost, &[], Ok(money));
    }
}
