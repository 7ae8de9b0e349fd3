//! Bytes that crashed other Diameter stacks: K-01 to K-25, as far as the decoder meets them.

use bytes::{Bytes, BytesMut};
use farebox::diameter::{
    Avp, AvpFlags, AvpId, AvpList, CommandFlags, Deframer, FrameError, Header, Limits, Message,
    ProblemKind, Value, check_grammar, command, decode, end_message, id, put_avp,
};

use crate::allocations::measure;
use crate::arbitrary::dictionary;
use crate::codec::{judge, message_of};
use crate::samples::{acr_stop, ccr_t};

fn codes(bytes: &Bytes) -> Vec<u32> {
    judge(bytes).1.iter().map(|problem| problem.result_code).collect()
}

fn cer() -> Message {
    let mut cer = Message::request(command::CAPABILITIES_EXCHANGE, 0, false);
    cer.push(Avp::identity(id::ORIGIN_HOST, "ocs-a.example.net"));
    cer.push(Avp::identity(id::ORIGIN_REALM, "example.net"));
    cer.push(Avp::address(id::HOST_IP_ADDRESS, farebox::diameter::Address::Ipv4([192, 0, 2, 1])));
    cer.push(Avp::u32(id::VENDOR_ID, 10415));
    cer.push(Avp::text(id::PRODUCT_NAME, "OCS"));
    cer.push(Avp::u32(id::AUTH_APPLICATION_ID, 4));
    cer
}

fn grammar(message: &Message) -> Vec<u32> {
    check_grammar(message, dictionary()).iter().map(|problem| problem.result_code).collect()
}

#[test]
fn k_01_header_lengths_0_to_19_close_the_connection() {
    for length in 0..20u8 {
        let mut deframer = Deframer::new(Limits::default());
        deframer.push(&[1, 0, 0, length, 0x80, 0, 1, 1]);
        let announced = u32::from(length);
        assert_eq!(deframer.next(), Some(Err(FrameError::BadLength { announced })));
        assert_eq!(deframer.next(), Some(Err(FrameError::BadLength { announced })), "it repeats");
    }
}

#[test]
fn k_02_v_flag_with_a_length_below_its_header() {
    for length in 8..12 {
        let bytes = message_of(&[0, 0, 3, 93, 0xc0, 0, 0, length, 0, 0, 0x28, 0xaf, 0, 0, 0, 0]);
        let (_, peak, codes) = measure(|| codes(&bytes));
        assert_eq!(codes, [5014], "{length}");
        assert!(peak < 2048, "{peak} octets for {}", bytes.len());
    }
    let bytes = message_of(&[0, 0, 3, 93, 0xc0, 0, 0, 8]);
    assert_eq!(codes(&bytes), [5014], "and no room for the vendor");
}

#[test]
fn k_03_lengths_below_the_header() {
    for length in 0..8 {
        assert_eq!(codes(&message_of(&[0, 0, 1, 8, 0x40, 0, 0, length, 97, 0, 0, 0])), [5014]);
    }
}

#[test]
fn k_04_many_origin_hosts_in_a_cer() {
    let mut message = cer();
    for number in 0..63 {
        message.push(Avp::identity(id::ORIGIN_HOST, format!("host-{number}")));
    }
    let (message, problems) = judge(&message.encode(dictionary()));
    assert_eq!(problems, []);
    let problems = check_grammar(&message, dictionary());
    assert_eq!(problems[0].result_code, 5009);
    let first_extra = Avp::identity(id::ORIGIN_HOST, "host-0");
    assert_eq!(problems[0].failed_avp, Some(first_extra));
}

#[test]
fn k_05_broken_vendor_specific_application_ids() {
    let vendor = || Avp::u32(id::VENDOR_ID, 10415);
    let auth = || Avp::u32(id::AUTH_APPLICATION_ID, 4);
    let acct = || Avp::u32(id::ACCT_APPLICATION_ID, 3);
    let group = |members| Avp::group(id::VENDOR_SPECIFIC_APPLICATION_ID, members);
    for (members, expected) in [
        (vec![vendor(), auth()], vec![]),
        (vec![vendor(), acct()], vec![]),
        (vec![], vec![5005, 5005]),
        (vec![vendor()], vec![5005]),
        (vec![auth()], vec![5005]),
        (vec![vendor(), auth(), acct()], vec![5009]),
        (vec![vendor(), auth(), auth()], vec![5009, 5009]),
        (vec![vendor(), auth(), group(vec![vendor(), auth()])], vec![5008, 5009]),
    ] {
        let mut message = cer();
        message.push(group(members.clone()));
        let (message, problems) = judge(&message.encode(dictionary()));
        assert_eq!(problems, []);
        let mut found = grammar(&message);
        found.sort_unstable();
        assert_eq!(found, expected, "{members:?}");
    }
    let mut short = BytesMut::new();
    put_avp(&mut short, &Avp::octets(id::VENDOR_SPECIFIC_APPLICATION_ID, &[0, 0, 1, 10][..]));
    assert_eq!(codes(&message_of(&short)), [5014]);
}

#[test]
fn k_06_a_request_without_destination_realm() {
    let mut message = ccr_t();
    message.avps.retain(|avp| avp.id != id::DESTINATION_REALM);
    assert_eq!(grammar(&message), [5005]);
}

#[test]
fn k_07_addresses() {
    for (octets, code) in [
        (&[0, 0, 1, 2, 3, 4][..], 5004),
        (&[0, 3, 1, 2, 3, 4], 5004),
        (&[0xff, 0xff, 1, 2, 3, 4], 5004),
        (&[], 5014),
        (&[0], 5014),
        (&[0, 1, 1, 2, 3], 5014),
        (&[0, 1, 1, 2, 3, 4, 5], 5014),
        (&[0, 2, 1, 2, 3, 4], 5014),
        (&[0, 8], 5004),
        (&[0, 8, b'x'], 5004),
    ] {
        let mut avp = BytesMut::new();
        put_avp(&mut avp, &Avp::octets(id::HOST_IP_ADDRESS, octets.to_vec()));
        assert_eq!(codes(&message_of(&avp)), [code], "{octets:?}");
    }
}

#[test]
fn k_08_nul_in_names() {
    for id in [id::SESSION_ID, id::ORIGIN_HOST] {
        let mut avp = BytesMut::new();
        put_avp(&mut avp, &Avp::octets(id, &b"cg1\0;1;2"[..]));
        assert_eq!(codes(&message_of(&avp)), [5004]);
    }
}

#[test]
fn k_09_undefined_enum_values_pass() {
    let mut message = ccr_t();
    message.avps.retain(|avp| avp.id != id::TERMINATION_CAUSE);
    message.push(Avp::enumerated(id::TERMINATION_CAUSE, 999));
    let bytes = message.encode(dictionary());
    let (message, problems) = judge(&bytes);
    assert_eq!(
        (problems.as_slice(), message.enumerated(id::TERMINATION_CAUSE)),
        (&[][..], Some(999))
    );
    assert!(grammar(&message).is_empty());
    let tree = farebox::diameter::print::tree(&bytes, dictionary(), |_| None);
    assert!(tree.contains("Termination-Cause") && tree.contains("  999"), "{tree}");
}

#[test]
fn k_11_numbers_are_never_made_of_padding() {
    for (id, lengths) in
        [(id::RATING_GROUP, vec![1, 2, 3, 5, 8]), (id::CC_TOTAL_OCTETS, vec![1, 4, 7, 9, 12])]
    {
        for length in lengths {
            let mut avp = BytesMut::new();
            put_avp(&mut avp, &Avp::octets(id, vec![7; length]));
            let (message, problems) = judge(&message_of(&avp));
            assert_eq!(problems[0].result_code, 5014);
            assert_eq!((message.unsigned32(id), message.unsigned64(id)), (None, None));
        }
    }
}

#[test]
fn k_12_unknown_avps_in_an_answer_a_group_and_failed_avp() {
    let unknown = AvpId { code: 7, vendor: 4242 };
    for (mandatory, place, expected) in [
        (true, None, vec![5001]),
        (false, None, vec![]),
        (true, Some(id::MULTIPLE_SERVICES_CREDIT_CONTROL), vec![5001]),
        (false, Some(id::MULTIPLE_SERVICES_CREDIT_CONTROL), vec![]),
        (true, Some(id::FAILED_AVP), vec![]),
    ] {
        let flags = AvpFlags(if mandatory { 0xc0 } else { 0x80 });
        let avp = Avp { flags, ..Avp::octets(unknown, &b"?"[..]) };
        let mut cca = Message::answer_to(&ccr_t().header);
        cca.push(match place {
            Some(group) => Avp::group(group, vec![avp.clone()]),
            None => avp.clone(),
        });
        let bytes = cca.encode_as_is();
        assert_eq!(codes(&bytes), expected, "{mandatory} {place:?}");
        let (message, _) = judge(&bytes);
        let list = place.map_or(Some(&message.avps[..]), |group| message.group(group));
        assert_eq!(list.and_then(|list| list.find(unknown)), Some(&avp), "kept");
    }
}

#[test]
fn k_13_f_04_wrong_and_missing_padding() {
    // The last padding of the group is missing; the group's own padding is there.
    let group = [0, 0, 1, 187, 0x40, 0, 0, 17, 0, 0, 1, 188, 0x40, 0, 0, 9, b'1', 0xaa, 0xbb, 0xcc];
    let next = [0, 0, 1, 12, 0x40, 0, 0, 12, 0, 0, 7, 209];
    let (message, problems) = judge(&message_of(&[&group[..], &next[..]].concat()));
    assert_eq!(problems, []);
    let subscriber =
        message.group(id::SUBSCRIPTION_ID).and_then(|list| list.text(id::SUBSCRIPTION_ID_DATA));
    assert_eq!((subscriber, message.unsigned32(id::RESULT_CODE)), (Some("1"), Some(2001)));
    // Padding counted in AVP Length: one AVP of 12 octets, the next one where it belongs.
    let padded = [0, 0, 1, 8, 0x40, 0, 0, 12, b'a', 0, 0, 0];
    let (message, problems) = judge(&message_of(&[&padded[..], &next[..]].concat()));
    assert_eq!((problems[0].result_code, message.unsigned32(id::RESULT_CODE)), (5004, Some(2001)));
}

#[test]
fn k_14_v_with_vendor_0() {
    let bytes = message_of(&[0, 0, 1, 8, 0xc0, 0, 0, 13, 0, 0, 0, 0, b'a', 0, 0, 0]);
    let (message, problems) = judge(&bytes);
    assert_eq!((message.text(id::ORIGIN_HOST), problems.as_slice()), (Some("a"), &[][..]));
}

#[test]
fn k_15_f_06_empty_groups() {
    let empty = [0, 0, 1, 23, 0x40, 0, 0, 8];
    let (message, problems) = judge(&message_of(&empty));
    assert_eq!((message.group(id::FAILED_AVP), problems.as_slice()), (Some(&[][..]), &[][..]));
    // And an AVP without data in it, of a type that has 4 octets (R-17).
    let inner = [0, 0, 1, 23, 0x40, 0, 0, 16, 0, 0, 1, 176, 0x40, 0, 0, 8];
    let (message, problems) = judge(&message_of(&inner));
    let failed = message.group(id::FAILED_AVP).and_then(|list| list.find(id::RATING_GROUP));
    assert_eq!(failed.map(|avp| &avp.value), Some(&Value::OctetString(Bytes::new())));
    assert_eq!(problems, []);
}

#[test]
fn k_16_answers_that_lack_what_they_need() {
    let mut cca = Message::answer_to(&ccr_t().header);
    cca.push(Avp::text(id::SESSION_ID, "s"));
    cca.push(Avp::identity(id::ORIGIN_HOST, "ocs"));
    cca.push(Avp::identity(id::ORIGIN_REALM, "r"));
    cca.push(Avp::u32(id::AUTH_APPLICATION_ID, 4));
    cca.push(Avp::enumerated(id::CC_REQUEST_TYPE, 3));
    cca.push(Avp::group(id::MULTIPLE_SERVICES_CREDIT_CONTROL, vec![]));
    let problems = check_grammar(&cca, dictionary());
    let missing: Vec<_> = problems.iter().filter_map(|problem| problem.avp).collect();
    assert_eq!(missing, [id::RESULT_CODE, id::CC_REQUEST_NUMBER]);
}

#[test]
fn k_17_long_values_are_slices_not_copies_to_a_buffer() {
    let avp = Avp::octets(AvpId::tgpp(20), vec![0x20; 60_000]);
    let mut bytes = BytesMut::new();
    put_avp(&mut bytes, &Avp { flags: AvpFlags(0x80), ..avp });
    let bytes = message_of(&bytes);
    let (_, peak, (message, _)) = measure(|| decode(&bytes, dictionary(), &Limits::default()));
    assert_eq!(message.avps[0].value.encoded_len(), 60_000);
    assert!(peak < 1024, "{peak}");
}

#[test]
fn k_19_memory_is_bounded_by_the_message() {
    let mut bytes =
        BytesMut::from(&Header { version: 1, code: 272, ..Header::default() }.to_bytes(0)[..]);
    let empty = Avp { flags: AvpFlags(0), ..Avp::octets(AvpId::base(0x8000_0000), Bytes::new()) };
    (0..4000).for_each(|_| put_avp(&mut bytes, &empty));
    end_message(&mut bytes);
    let bytes = bytes.freeze();
    let (_, peak, (message, problems)) =
        measure(|| decode(&bytes, dictionary(), &Limits::default()));
    assert_eq!((message.avps.len(), problems.len()), (4000, 0));
    // An AVP of 8 octets is a node of the tree; a growing list holds twice its length and its half.
    assert!(peak < 4096 * 3 * size_of::<Avp>(), "{peak}");
}

#[test]
fn k_20_depth_count_and_announced_size() {
    // 10,000 groups inside each other, 120,000 octets.
    let mut bytes =
        BytesMut::from(&Header { version: 1, code: 272, ..Header::default() }.to_bytes(0)[..]);
    for level in 0..10_000u32 {
        bytes.extend_from_slice(&873u32.to_be_bytes());
        bytes.extend_from_slice(&((0xc0 << 24) | (12 * (10_000 - level))).to_be_bytes());
        bytes.extend_from_slice(&10415u32.to_be_bytes());
    }
    end_message(&mut bytes);
    let bytes = bytes.freeze();
    let (_, peak, (_, problems)) = measure(|| judge(&bytes));
    assert_eq!(problems[0].kind, ProblemKind::LimitExceeded);
    assert!(peak < bytes.len(), "{peak}");
    let _ = farebox::diameter::print::tree(&bytes, dictionary(), |_| None);

    // 100,000 AVPs without data.
    let mut bytes =
        BytesMut::from(&Header { version: 1, code: 272, ..Header::default() }.to_bytes(0)[..]);
    (0..100_000).for_each(|_| bytes.extend_from_slice(&[0, 0, 1, 8, 0, 0, 0, 8]));
    end_message(&mut bytes);
    let bytes = bytes.freeze();
    let (_, peak, (_, problems)) = measure(|| judge(&bytes));
    assert!(!problems.is_empty());
    assert!(peak < bytes.len(), "{peak}");

    // 16 MiB - 4 announced, one octet sent.
    let mut deframer = Deframer::new(Limits::default());
    let (_, peak, next) = measure(|| {
        deframer.push(&[1, 0xff, 0xff, 0xfc, 0x80]);
        deframer.next()
    });
    let announced = 0xff_fffc;
    assert_eq!(next, Some(Err(FrameError::TooLong { announced, limit: 1 << 20 })));
    assert!(peak < 256, "{peak}");
}

#[test]
fn k_24_two_origin_hosts_that_differ_in_case() {
    let mut message = cer();
    message.push(Avp::identity(id::ORIGIN_HOST, "OCS-A.Example.NET."));
    assert_eq!(grammar(&message), [5009]);
    let hosts: Vec<_> =
        message.all(id::ORIGIN_HOST).filter_map(|avp| avp.value.as_text()).collect();
    assert!(farebox::diameter::value::identity_eq(hosts[0], hosts[1]));
}

#[test]
fn k_25_every_cut_of_the_stream_gives_the_same_messages() {
    let messages = [acr_stop().encode(dictionary()), cer().encode(dictionary())];
    let stream = messages.concat();
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut deframer = Deframer::new(Limits::default());
        let mut read = Vec::new();
        for piece in pieces {
            deframer.push(piece);
            while let Some(message) = deframer.next() {
                read.push(message.expect("good"));
            }
        }
        assert_eq!(deframer.pending_bytes(), 0);
        read
    };
    assert_eq!(read(&mut std::iter::once(&stream[..])), messages, "two in one segment");
    for size in [1, 2, 3, 7, 19, 20, 21, 500] {
        assert_eq!(read(&mut stream.chunks(size)), messages, "pieces of {size}");
    }
    for cut in 0..=stream.len() {
        let (front, back) = stream.split_at(cut);
        assert_eq!(read(&mut [front, back].into_iter()), messages, "cut at {cut}");
    }
}

/// Every AVP of both samples under every single anomaly of the structured mutator.
#[test]
fn every_single_anomaly_is_read_without_harm() {
    fn paths(avps: &[Avp], here: &mut Vec<usize>, out: &mut Vec<Vec<usize>>) {
        for (at, avp) in avps.iter().enumerate() {
            here.push(at);
            out.push(here.clone());
            paths(avp.members().unwrap_or(&[]), here, out);
            here.pop();
        }
    }
    fn list<'m>(avps: &'m mut Vec<Avp>, path: &[usize]) -> &'m mut Vec<Avp> {
        match path {
            [] | [_] => avps,
            [first, rest @ ..] => match &mut avps[*first].value {
                Value::Grouped(members) => list(members, rest),
                _ => unreachable!("a path leads through groups"),
            },
        }
    }
    let mut seen = 0;
    for sample in [acr_stop(), ccr_t()] {
        let mut all = Vec::new();
        paths(&sample.avps, &mut Vec::new(), &mut all);
        for path in all {
            for anomaly in 0..12 {
                let mut message = sample.clone();
                let list = list(&mut message.avps, &path);
                let at = *path.last().expect("not empty");
                let avp = list[at].clone();
                match anomaly {
                    0 => drop(list.remove(at)),
                    1 => (0..64).for_each(|_| list.insert(at, avp.clone())),
                    2 => list[at].value = Value::OctetString(Bytes::new()),
                    3 => list[at].value = Value::OctetString(vec![0xff; 3].into()),
                    4 => list[at].value = Value::OctetString(vec![0; 9].into()),
                    5 => list[at].value = Value::Grouped(vec![avp]),
                    6 => list[at].flags.0 ^= AvpFlags::MANDATORY,
                    7 => list[at].flags.0 ^= AvpFlags::PROTECTED,
                    8 => list[at].id.vendor ^= 10415,
                    9 => list[at].id.vendor = 4242,
                    10 => list[at].value = Value::Float64(0.5),
                    _ => list.rotate_left(1),
                }
                let bytes = message.encode_as_is();
                let (decoded, _) = judge(&bytes);
                let _ = check_grammar(&decoded, dictionary());
                seen += 1;
            }
        }
        // And the length of every AVP, in the bytes.
        let bytes = sample.encode_as_is();
        for line in farebox::diameter::print::lines(&bytes, dictionary()) {
            let length = u32::try_from(line.length).expect("small");
            for wrong in [length - 1, length + 1, 0, 0xff_ffff] {
                let mut bytes = BytesMut::from(&bytes[..]);
                bytes[line.offset + 5..line.offset + 8].copy_from_slice(&wrong.to_be_bytes()[1..]);
                let bytes = bytes.freeze();
                let (decoded, _) = judge(&bytes);
                let _ = check_grammar(&decoded, dictionary());
                let _ = farebox::diameter::print::tree(&bytes, dictionary(), |_| None);
                seen += 1;
            }
        }
    }
    assert_eq!(seen, (46 + 55) * 16);
    assert!(CommandFlags(0x80).is_request());
}
