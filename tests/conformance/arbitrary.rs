//! Arbitrary messages that the dictionary describes, for property tests.

use std::sync::OnceLock;

use bytes::Bytes;
use farebox::diameter::dictionary::BUILTIN;
use farebox::diameter::{
    Address, Avp, AvpDef, AvpFlags, AvpId, CommandFlags, Dictionary, Header, Kind, Message, Value,
};
use proptest::prelude::*;

/// One AVP of each type, for the types that the built-in files do not use.
const EVERY_TYPE: &str = r#"
dictionary: every-type
vendor: {name: Test, id: 99999}
avps:
  - {name: T-OctetString, code: 1, type: OctetString, flags: V}
  - {name: T-Integer32, code: 2, type: Integer32, flags: V}
  - {name: T-Integer64, code: 3, type: Integer64, flags: V}
  - {name: T-Unsigned32, code: 4, type: Unsigned32, flags: V}
  - {name: T-Unsigned64, code: 5, type: Unsigned64, flags: V}
  - {name: T-Float32, code: 6, type: Float32, flags: V}
  - {name: T-Float64, code: 7, type: Float64, flags: V}
  - {name: T-Grouped, code: 8, type: Grouped, flags: V, open: true}
  - {name: T-Address, code: 9, type: Address, flags: V}
  - {name: T-Time, code: 10, type: Time, flags: V}
  - {name: T-UTF8String, code: 11, type: UTF8String, flags: V}
  - {name: T-DiameterIdentity, code: 12, type: DiameterIdentity, flags: V}
  - {name: T-DiameterURI, code: 13, type: DiameterURI, flags: V}
  - {name: T-Enumerated, code: 14, type: Enumerated, flags: V}
  - {name: T-IPFilterRule, code: 15, type: IPFilterRule, flags: V}
  - {name: T-High-Code, code: 4000000000, type: Unsigned32, flags: V}
"#;

/// The built-in dictionaries and one AVP of each type under vendor 99999.
pub(crate) fn dictionary() -> &'static Dictionary {
    static DICTIONARY: OnceLock<Dictionary> = OnceLock::new();
    DICTIONARY.get_or_init(|| {
        let mut files = BUILTIN.to_vec();
        files.push(("every-type", EVERY_TYPE));
        Dictionary::load(&files).expect("valid")
    })
}

fn definitions() -> &'static [AvpDef] {
    static DEFINITIONS: OnceLock<Vec<AvpDef>> = OnceLock::new();
    DEFINITIONS.get_or_init(|| dictionary().avps().cloned().collect())
}

/// First and last instant that a Time AVP can carry.
pub(crate) const TIMES: std::ops::RangeInclusive<i64> = -61_505_152..=4_233_462_143;

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(Address::Ipv4),
        any::<[u8; 16]>().prop_map(Address::Ipv6),
        "[0-9]{1,15}".prop_map(Address::E164),
    ]
}

/// A value of the type; groups end `depth` levels down.
pub(crate) fn value(kind: Kind, depth: u32) -> BoxedStrategy<Value> {
    match kind {
        Kind::OctetString => prop::collection::vec(any::<u8>(), 0..40)
            .prop_map(|octets| Value::OctetString(Bytes::from(octets)))
            .boxed(),
        Kind::Integer32 => any::<i32>().prop_map(Value::Integer32).boxed(),
        Kind::Integer64 => any::<i64>().prop_map(Value::Integer64).boxed(),
        Kind::Unsigned32 => any::<u32>().prop_map(Value::Unsigned32).boxed(),
        Kind::Unsigned64 => any::<u64>().prop_map(Value::Unsigned64).boxed(),
        Kind::Float32 => prop::num::f32::NORMAL.prop_map(Value::Float32).boxed(),
        Kind::Float64 => prop::num::f64::NORMAL.prop_map(Value::Float64).boxed(),
        Kind::Address => address().prop_map(Value::Address).boxed(),
        Kind::Time => TIMES.prop_map(Value::Time).boxed(),
        Kind::Utf8String => "[^\u{0}]{0,40}".prop_map(Value::Utf8String).boxed(),
        Kind::DiameterIdentity => "[a-zA-Z0-9.-]{1,40}".prop_map(Value::DiameterIdentity).boxed(),
        Kind::DiameterUri => "aaas?://[a-z0-9.]{1,30}".prop_map(Value::DiameterUri).boxed(),
        Kind::Enumerated => any::<i32>().prop_map(Value::Enumerated).boxed(),
        Kind::IpFilterRule => "[ -~]{0,60}".prop_map(Value::IpFilterRule).boxed(),
        Kind::Grouped if depth == 0 => Just(Value::Grouped(Vec::new())).boxed(),
        Kind::Grouped => {
            prop::collection::vec(avp(depth - 1), 0..5).prop_map(Value::Grouped).boxed()
        }
    }
}

/// Any AVP of the dictionary.
pub(crate) fn avp(depth: u32) -> BoxedStrategy<Avp> {
    (0..definitions().len())
        .prop_flat_map(move |at| {
            let definition = &definitions()[at];
            let (id, flags) = (definition.id, definition.flags());
            value(definition.kind, depth).prop_map(move |value| Avp { id, flags, value })
        })
        .boxed()
}

/// An AVP that no dictionary knows, without M.
fn unknown() -> impl Strategy<Value = Avp> {
    (any::<u32>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(
        |(code, vendor, octets)| {
            let id = AvpId { code: code | 0x8000_0000, vendor: if vendor { 4242 } else { 0 } };
            let value = Value::OctetString(Bytes::from(octets));
            Avp { id, flags: AvpFlags::optional_for(id), value }
        },
    )
}

/// A message of known and unknown AVPs in any order.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    let header = (any::<bool>(), any::<bool>(), 0..1u32 << 24, any::<[u32; 3]>()).prop_map(
        |(request, proxiable, code, [application, hop_by_hop, end_to_end])| {
            let request = if request { CommandFlags::REQUEST } else { 0 };
            let proxiable = if proxiable { CommandFlags::PROXIABLE } else { 0 };
            let flags = CommandFlags(request | proxiable);
            Header { flags, code, application, hop_by_hop, end_to_end, length: 0, version: 1 }
        },
    );
    let avps = prop::collection::vec(prop_oneof![9 => avp(3), 1 => unknown().boxed()], 0..20);
    (header, avps).prop_map(|(header, avps)| Message { header, avps })
}
