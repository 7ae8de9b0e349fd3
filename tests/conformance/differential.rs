//! What farebox encodes, an independent implementation decodes to the same values.
//!
//! Known limits of the `diameter` crate 0.7.1, kept out of the inputs: it knows 12 command codes
//! and 6 applications, no AVP that is in no dictionary, no Time after 2036-02-07, E.164 numbers
//! of 15 digits at most; it recurses on nested groups, so messages stay below 16 KB and 4 levels.

use std::sync::OnceLock;

use bytes::Bytes;
use diameter::avp::{AvpType, AvpValue};
use farebox::diameter::{
    Avp, CommandFlags, Header, Limits, Message, Value, application, command, decode,
};
use proptest::prelude::*;

use crate::arbitrary::{self, dictionary};
use crate::rival::{RivalDictionary, own_dictionary, rival_decode, rival_dictionary, rival_type};
use crate::samples::{acr_stop, ccr_t};

/// Its last instant: 2036-02-07T06:28:15Z.
const TIME_MAX: i64 = 2_085_978_495;

fn rival() -> &'static RivalDictionary {
    static RIVAL: OnceLock<RivalDictionary> = OnceLock::new();
    RIVAL.get_or_init(|| rival_dictionary(dictionary()))
}

/// Holds the rival's AVP against ours; `path` is for the message of a failure.
fn compare(ours: &Avp, theirs: &diameter::avp::Avp, path: &str) {
    let path = format!("{path}/{}", ours.id);
    assert_eq!(theirs.get_code(), ours.id.code, "{path}");
    assert_eq!(theirs.get_vendor_id().unwrap_or(0), ours.id.vendor, "{path}");
    assert_eq!(theirs.get_vendor_id().is_some(), ours.flags.vendor(), "{path}");
    assert_eq!(theirs.get_flags().mandatory, ours.flags.mandatory(), "{path}");
    assert_eq!(theirs.get_flags().private, ours.flags.protected(), "{path}");
    assert_eq!(theirs.get_length() as usize, ours.encoded_len(), "{path}");
    let same = match (&ours.value, theirs.get_value()) {
        (Value::OctetString(ours), AvpValue::OctetString(theirs)) => ours == theirs.value(),
        (Value::Integer32(ours), AvpValue::Integer32(theirs)) => *ours == theirs.value(),
        (Value::Integer64(ours), AvpValue::Integer64(theirs)) => *ours == theirs.value(),
        (Value::Unsigned32(ours), AvpValue::Unsigned32(theirs)) => *ours == theirs.value(),
        (Value::Unsigned64(ours), AvpValue::Unsigned64(theirs)) => *ours == theirs.value(),
        (Value::Float32(ours), AvpValue::Float32(theirs)) => *ours == theirs.value(),
        (Value::Float64(ours), AvpValue::Float64(theirs)) => *ours == theirs.value(),
        (Value::Enumerated(ours), AvpValue::Enumerated(theirs)) => *ours == theirs.value(),
        (Value::Time(ours), AvpValue::Time(theirs)) => *ours == theirs.value().timestamp(),
        (Value::Utf8String(ours) | Value::IpFilterRule(ours), AvpValue::UTF8String(theirs)) => {
            ours == theirs.value()
        }
        (Value::DiameterIdentity(ours), AvpValue::Identity(theirs)) => *ours == theirs.to_string(),
        (Value::DiameterUri(ours), AvpValue::DiameterURI(theirs)) => {
            ours.as_bytes() == theirs.value()
        }
        // Its text is all that it shows of an address.
        (Value::Address(ours), AvpValue::Address(theirs)) => ours.to_string() == theirs.to_string(),
        (Value::Grouped(ours), AvpValue::Grouped(theirs)) => {
            compare_lists(ours, theirs.avps(), &path);
            true
        }
        _ => false,
    };
    assert!(same, "{path}: ours {:?}, theirs {}", ours.value, theirs.get_value());
}

fn compare_lists(ours: &[Avp], theirs: &[diameter::avp::Avp], path: &str) {
    assert_eq!(ours.len(), theirs.len(), "{path}");
    ours.iter().zip(theirs).for_each(|(ours, theirs)| compare(ours, theirs, path));
}

fn check(message: &Message) {
    let bytes = message.encode(dictionary());
    assert!(bytes.len() < 16_384, "a bigger one may end the rival's process");
    let theirs = rival_decode(&bytes, rival()).unwrap_or_else(|error| panic!("{error}"));
    let header = &message.header;
    assert_eq!(theirs.get_length() as usize, bytes.len());
    assert_eq!(theirs.get_flags(), header.flags.0);
    assert_eq!(theirs.get_command_code() as u32, header.code);
    assert_eq!(theirs.get_application_id() as u32, header.application);
    assert_eq!(theirs.get_hop_by_hop_id(), header.hop_by_hop);
    assert_eq!(theirs.get_end_to_end_id(), header.end_to_end);
    compare_lists(&message.avps, theirs.get_avps(), "");
    // And the way back: what it writes, farebox reads.
    let mut written = Vec::new();
    theirs.encode_to(&mut written).expect("it writes what it read");
    assert_eq!(Bytes::from(written.clone()), bytes);
    let (again, problems) = decode(&Bytes::from(written), dictionary(), &Limits::default());
    assert_eq!((again.avps, problems), (message.avps.clone(), vec![]));
}

#[test]
fn the_samples_read_the_same() {
    check(&acr_stop());
    check(&ccr_t());
}

/// Where both have an AVP they agree on its type; it lacks what CPM charging needs.
#[test]
fn f_10_its_dictionary_is_not_relied_upon() {
    let own = own_dictionary();
    let (mut missing, mut opaque) = (Vec::new(), Vec::new());
    for avp in farebox::diameter::Dictionary::builtin().avps() {
        let vendor = (avp.id.vendor != 0).then_some(avp.id.vendor);
        match own.get_avp_type(avp.id.code, vendor) {
            None => missing.push(avp.name.as_str()),
            Some(AvpType::Unknown) => opaque.push(avp.name.as_str()),
            Some(theirs) => assert_eq!(*theirs, rival_type(avp.kind), "{}", avp.name),
        }
    }
    for name in ["IM-Information", "Service-Generic-Information", "Application-Service-Type"] {
        assert!(missing.contains(&name), "{name}");
    }
    assert_eq!(opaque, ["Restriction-Filter-Rule"], "it has no IPFilterRule");
}

/// Arbitrary messages inside of its limits.
fn message() -> impl Strategy<Value = Message> {
    fn limit(avp: &mut Avp) {
        match &mut avp.value {
            Value::Grouped(members) => members.iter_mut().for_each(limit),
            Value::Time(secs) => *secs = (*secs).min(TIME_MAX),
            _ => {}
        }
    }
    let commands = [
        (command::CAPABILITIES_EXCHANGE, application::BASE),
        (command::DEVICE_WATCHDOG, application::BASE),
        (command::DISCONNECT_PEER, application::BASE),
        (command::RE_AUTH, application::CREDIT_CONTROL),
        (command::ABORT_SESSION, application::CREDIT_CONTROL),
        (command::ACCOUNTING, application::ACCOUNTING),
        (command::CREDIT_CONTROL, application::CREDIT_CONTROL),
    ];
    let header = (prop::sample::select(commands.to_vec()), any::<[u32; 2]>(), any::<u8>());
    let avps = prop::collection::vec(arbitrary::avp(3), 0..12);
    (header, avps).prop_map(|(((code, application), [hop_by_hop, end_to_end], flags), mut avps)| {
        avps.iter_mut().for_each(limit);
        let flags = CommandFlags(flags & 0xd0);
        let header =
            Header { flags, code, application, hop_by_hop, end_to_end, length: 0, version: 1 };
        Message { header, avps }
    })
}

/// Every AVP of the dictionary once, alone.
#[test]
fn every_avp_reads_the_same() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = 0;
    for avp in dictionary().avps() {
        for _ in 0..4 {
            let value =
                arbitrary::value(avp.kind, 0).new_tree(&mut runner).expect("a value").current();
            let value = match value {
                Value::Time(secs) => Value::Time(secs.min(TIME_MAX)),
                value => value,
            };
            let avp = Avp { id: avp.id, flags: avp.flags(), value };
            check(&Message { avps: vec![avp], ..ccr_t() });
            seen += 1;
        }
    }
    assert!(seen > 4 * 390, "{seen}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_messages_read_the_same(message in message()) {
        check(&message);
    }
}
