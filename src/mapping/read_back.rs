//! Answer → values: what an `avp('…')` of `answer:` reads.

use crate::diameter::Avp;
use crate::diameter::AvpId;
use crate::diameter::Dictionary;
use crate::diameter::Message;
use crate::diameter::Value as AvpValue;

use super::Mapping;
use super::term::Scope;
use super::value::{NULL, Value};

impl Mapping {
    /// What `answer:` reads from an answer: a tree of its dotted names
    /// (`debit.cost` → `{"debit": {"cost": …}}`). What the answer does not have is left out, and
    /// so is what a filter cannot use: an answer is never refused for it.
    pub fn read_back(&self, answer: &Message) -> Value {
        let scope = Scope { tree: &NULL, item: None, answer: &answer.avps };
        let mut done = Value::Map(Vec::new());
        for (name, term) in &self.answer {
            match term.read(&scope) {
                Ok(value) if !value.is_null() => done.put(name, value.into_owned()),
                _ => {}
            }
        }
        done
    }
}

/// The first AVP at `path`, as a value; nothing if there is none.
pub(super) fn value_at(avps: &[Avp], path: &[AvpId]) -> Value {
    let Some((id, rest)) = path.split_first() else { return Value::Null };
    let mut found = avps.iter().filter(|avp| avp.id == *id);
    if rest.is_empty() {
        return found.next().map_or(Value::Null, |avp| value_of(&avp.value, Dictionary::builtin()));
    }
    found
        .filter_map(Avp::members)
        .map(|members| value_at(members, rest))
        .find(|value| !value.is_null())
        .unwrap_or_default()
}

/// An AVP's value; a group is a map by the names of its members (the first of each).
pub(super) fn value_of(value: &AvpValue, dictionary: &Dictionary) -> Value {
    match value {
        AvpValue::OctetString(octets) => Value::Bytes(octets.to_vec()),
        AvpValue::Integer32(number) | AvpValue::Enumerated(number) => (*number).into(),
        AvpValue::Integer64(number) | AvpValue::Time(number) => (*number).into(),
        AvpValue::Unsigned32(number) => (*number).into(),
        AvpValue::Unsigned64(number) => (*number).into(),
        AvpValue::Float32(number) => number.to_string().into(),
        AvpValue::Float64(number) => number.to_string().into(),
        AvpValue::Address(address) => address.to_string().into(),
        AvpValue::Utf8String(text)
        | AvpValue::DiameterIdentity(text)
        | AvpValue::DiameterUri(text)
        | AvpValue::IpFilterRule(text) => text.as_str().into(),
        AvpValue::Grouped(members) => {
            let name = |avp: &Avp| {
                dictionary.avp(avp.id).map_or_else(|| avp.id.to_string(), |def| def.name.clone())
            };
            let mut entries: Vec<(String, Value)> = Vec::new();
            for avp in members {
                let name = name(avp);
                if !entries.iter().any(|(known, _)| *known == name) {
                    entries.push((name, value_of(&avp.value, dictionary)));
                }
            }
            Value::Map(entries)
        }
    }
}
