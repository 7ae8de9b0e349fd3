//! Header and codec: H-01 to H-36, as far as one message shows them.

use bytes::{Bytes, BytesMut};
use farebox::diameter::ids::{EndToEndBlock, SessionIds, short_id};
use farebox::diameter::value::{identity_eq, time_from_wire, time_to_wire};
use farebox::diameter::{
    Address, Avp, AvpFlags, AvpId, AvpList, CommandFlags, Deframer, Dictionary, FrameError, Header,
    Limits, Message, Problem, ProblemKind, Value, View, append_avp, application, check_grammar,
    check_order, command, decode, id, patch_hop_by_hop, patch_retransmit, put_avp, put_bytes,
};
use proptest::prelude::*;

use crate::allocations::measure;
use crate::arbitrary;
use crate::samples::{acr_stop, ccr_t, count};

fn dictionary() -> &'static Dictionary {
    arbitrary::dictionary()
}

/// A message of one AVP given as its octets.
pub(crate) fn message_of(avp: &[u8]) -> Bytes {
    let mut bytes =
        BytesMut::from(&Header { code: 272, application: 4, ..request() }.to_bytes(0)[..]);
    bytes.extend_from_slice(avp);
    while bytes.len() % 4 != 0 {
        bytes.extend_from_slice(&[0]);
    }
    farebox::diameter::end_message(&mut bytes);
    bytes.freeze()
}

fn request() -> Header {
    Header { flags: CommandFlags(CommandFlags::REQUEST), version: 1, ..Header::default() }
}

/// Decodes and holds the view's judgement against the tree's.
pub(crate) fn judge(bytes: &Bytes) -> (Message, Vec<Problem>) {
    let limits = Limits::default();
    let (message, problems) = decode(bytes, dictionary(), &limits);
    if let Ok(view) = View::new(bytes, &limits) {
        let found = view.first_problem(dictionary(), &limits);
        let first = problems.first().map(|problem| (problem.kind, problem.offset, problem.avp));
        assert_eq!(found.map(|found| (found.kind, found.offset, found.avp)), first);
    }
    (message, problems)
}

fn codes(problems: &[Problem]) -> Vec<u32> {
    problems.iter().map(|problem| problem.result_code).collect()
}

/// The bytes of a message as it is, decoded again.
fn again(message: &Message) -> (Message, Vec<Problem>) {
    judge(&message.encode_as_is())
}

/// The two messages with `received` fields that a decoder fills.
fn received(message: &Message) -> Message {
    let mut message = message.clone();
    let length = message.encode_as_is().len();
    message.header.length = u32::try_from(length).expect("small");
    message.header.version = 1;
    message
}

#[test]
fn the_samples_are_what_they_say() {
    for (message, octets, avps) in [(acr_stop(), 932, 46), (ccr_t(), 1048, 55)] {
        let bytes = message.encode(Dictionary::builtin());
        assert_eq!((bytes.len(), count(&message.avps)), (octets, avps));
        let (decoded, problems) = decode(&bytes, Dictionary::builtin(), &Limits::default());
        assert_eq!(problems, []);
        assert_eq!(check_grammar(&decoded, Dictionary::builtin()), []);
        assert_eq!(check_order(&decoded, Dictionary::builtin()), []);
        assert_eq!(decoded, received(&message));
    }
}

#[test]
fn h_01_version_is_1_and_another_is_5011() {
    let bytes = ccr_t().encode(dictionary());
    assert_eq!(bytes[0], 1);
    let mut other = BytesMut::from(&bytes[..]);
    other[0] = 2;
    let (message, problems) = judge(&other.freeze());
    assert_eq!(codes(&problems), [5011]);
    assert_eq!(message.header.end_to_end, 0x93bb_0012, "the header can still be answered");
}

#[test]
fn h_02_message_length_is_checked() {
    let bytes = ccr_t().encode(dictionary());
    assert_eq!(bytes.len() % 4, 0);
    assert_eq!(&bytes[1..4], &u32::try_from(bytes.len()).expect("small").to_be_bytes()[1..]);
    let length = u32::try_from(bytes.len()).expect("small");
    for wrong in [0, 19, 21, length - 4, length - 1, length + 4, 0xff_fffc] {
        let mut other = BytesMut::from(&bytes[..]);
        other[1..4].copy_from_slice(&wrong.to_be_bytes()[1..]);
        let (_, problems) = decode(&other.freeze(), dictionary(), &Limits::default());
        assert_eq!(problems[0].result_code, 5015, "{wrong}");
    }
    for (wrong, error) in [
        (0, FrameError::BadLength { announced: 0 }),
        (16, FrameError::BadLength { announced: 16 }),
        (22, FrameError::BadLength { announced: 22 }),
        (1 << 21, FrameError::TooLong { announced: 1 << 21, limit: 1 << 20 }),
    ] {
        let mut deframer = Deframer::new(Limits::default());
        deframer.push(&[1]);
        assert!(deframer.next().is_none());
        deframer.push(&u32::to_be_bytes(wrong)[1..]);
        assert_eq!(deframer.next(), Some(Err(error)), "known at the fourth octet");
    }
}

#[test]
fn h_03_reserved_header_bits_are_sent_0_and_accepted() {
    let mut message = ccr_t();
    message.header.flags.0 |= 0x0f;
    let mut bytes = BytesMut::from(&message.encode(dictionary())[..]);
    assert_eq!(bytes[4], 0xc0);
    bytes[4] |= 0x05;
    let (message, problems) = judge(&bytes.freeze());
    assert_eq!(problems, []);
    assert_eq!(message.header.flags.reserved(), 5);
}

#[test]
fn h_04_e_in_a_request_is_3008() {
    let mut message = ccr_t();
    assert!(!message.header.flags.is_error());
    message.header.flags.0 |= CommandFlags::ERROR;
    let (_, problems) = again(&message);
    assert_eq!(codes(&problems), [3008]);
}

#[test]
fn h_05_t_is_clear_in_a_new_request() {
    assert!(!Message::request(command::CREDIT_CONTROL, 4, true).header.flags.is_retransmit());
}

#[test]
fn h_06_h_07_t_can_be_set_and_cleared_on_an_encoded_copy() {
    let bytes = ccr_t().encode(dictionary());
    let mut copy = BytesMut::from(&bytes[..]);
    patch_retransmit(&mut copy, true);
    assert_eq!((copy[4], &copy[5..]), (0xd0, &bytes[5..]));
    patch_retransmit(&mut copy, false);
    assert_eq!(copy, bytes);
}

#[test]
fn h_08_h_09_h_14_an_answer_copies_p_and_the_identifiers_and_nothing_else() {
    for flags in [0x80, 0xc0, 0xd0, 0xf0] {
        let header = Header { flags: CommandFlags(flags), ..ccr_t().header };
        let answer = Message::answer_to(&header);
        assert_eq!(answer.header.flags.0, flags & 0x40);
        assert_eq!(answer.header.hop_by_hop, header.hop_by_hop);
        assert_eq!(answer.header.end_to_end, header.end_to_end);
        assert_eq!(answer.header.code, header.code);
        assert_eq!(answer.header.application, header.application);
    }
}

#[test]
fn h_10_h_11_applications_of_the_commands() {
    let of = |code| {
        let mut own = dictionary().commands().filter(move |command| command.code == code);
        own.all(|command| command.application == Some(0))
    };
    assert!(of(command::CAPABILITIES_EXCHANGE) && of(command::DEVICE_WATCHDOG));
    assert!(of(command::DISCONNECT_PEER));
    assert_eq!(acr_stop().header.application, application::ACCOUNTING);
    assert_eq!(acr_stop().unsigned32(id::ACCT_APPLICATION_ID), Some(application::ACCOUNTING));
    assert_eq!(ccr_t().header.application, application::CREDIT_CONTROL);
    assert_eq!(ccr_t().unsigned32(id::AUTH_APPLICATION_ID), Some(application::CREDIT_CONTROL));
}

#[test]
fn h_15_end_to_end_identifiers_do_not_repeat_in_or_after_a_block() {
    let first = u32::MAX - 10;
    let mut block = EndToEndBlock::new(first);
    let mut seen: Vec<u32> = std::iter::from_fn(|| block.take()).collect();
    assert_eq!(seen.len(), 65_536);
    assert_eq!((seen[0], seen[11], block.left()), (first, 0, 0));
    assert_eq!(block.take(), None);
    seen.push(EndToEndBlock::following(first));
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 65_537);
}

#[test]
fn h_16_a_copy_differs_in_hop_by_hop_and_destination_host_only() {
    let mut record = BytesMut::from(&acr_stop().encode(dictionary())[..]);
    let body = record.clone();
    append_avp(&mut record, id::DESTINATION_HOST, AvpFlags(0x40), b"cdf-a.cdf.example.net");
    patch_hop_by_hop(&mut record, 77);
    let (copy, problems) = judge(&record.clone().freeze());
    assert_eq!(problems, []);
    assert_eq!((copy.header.hop_by_hop, copy.header.end_to_end), (77, 0x93bb_0012));
    assert_eq!(copy.avps.last().and_then(|avp| avp.value.as_text()), Some("cdf-a.cdf.example.net"));
    assert_eq!(copy.header.length as usize, record.len());
    assert_eq!(&record[16..body.len()], &body[16..]);
}

#[test]
fn h_19_f_01_padding_is_there_and_not_counted() {
    for length in 0..9 {
        for id in [id::SESSION_ID, id::SIP_METHOD] {
            let text = "x".repeat(length);
            let mut out = BytesMut::new();
            put_avp(&mut out, &Avp::text(id, text.clone()));
            let header = if id.vendor == 0 { 8 } else { 12 };
            assert_eq!(out.len(), (header + length).next_multiple_of(4));
            assert_eq!(usize::from(out[7]), header + length);
            // And the AVP after it is found, at command level and in a group (F-01).
            for wrap in [false, true] {
                let pair = vec![Avp::text(id, text.clone()), Avp::u32(id::RESULT_CODE, 2001)];
                let avps = if wrap { vec![Avp::group(id::FAILED_AVP, pair)] } else { pair };
                let (message, problems) = again(&Message { avps, ..ccr_t() });
                let list = message.group(id::FAILED_AVP).unwrap_or(&message.avps);
                assert_eq!(list.unsigned32(id::RESULT_CODE), Some(2001));
                assert_eq!((list.text(id), problems.as_slice()), (Some(text.as_str()), &[][..]));
            }
        }
    }
}

#[test]
fn h_20_f_03_padding_is_zero_in_a_recycled_buffer_and_any_padding_is_accepted() {
    let mut out = BytesMut::from(&[0xff; 64][..]);
    out.clear();
    put_bytes(&mut out, id::SESSION_ID, AvpFlags(0x40), b"a");
    assert_eq!(out[9..12], [0; 3]);
    out[9..12].copy_from_slice(&[0xaa, 0xbb, 0xcc]);
    let (message, problems) = judge(&message_of(&out));
    assert_eq!((message.text(id::SESSION_ID), problems.as_slice()), (Some("a"), &[][..]));
}

#[test]
fn h_21_v_follows_the_vendor_and_vendor_0_is_never_sent() {
    for flags in [0x00, 0x40, 0x80, 0xc0] {
        let mut out = BytesMut::new();
        put_bytes(&mut out, id::CAUSE_CODE, AvpFlags(flags), &[0; 4]);
        assert_eq!((out[4] & 0x80, &out[8..12]), (0x80, &10415u32.to_be_bytes()[..]));
        let mut out = BytesMut::new();
        put_bytes(&mut out, id::CC_TIME, AvpFlags(flags), &[0; 4]);
        assert_eq!((out[4] & 0x80, out.len()), (0, 12));
    }
}

#[test]
fn h_22_f_05_v_with_vendor_0_is_framed_by_the_flag() {
    let avps = [
        0, 0, 1, 164, 0xc0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 1, 55, 0, 0, 1, 12, 0x40, 0, 0, 12, 0, 0,
        7, 209,
    ];
    let (message, problems) = judge(&message_of(&avps));
    assert_eq!(problems, []);
    assert_eq!(message.unsigned32(id::CC_TIME), Some(311));
    assert_eq!(message.unsigned32(id::RESULT_CODE), Some(2001));
}

#[test]
fn h_23_m_is_sent_as_the_dictionary_says() {
    let avps = [
        (Avp::text(id::SESSION_ID, "s"), 0x40),
        (Avp::text(id::ERROR_MESSAGE, "no M"), 0x00),
        (Avp::text(id::PRODUCT_NAME, "farebox"), 0x00),
        (Avp::identity(id::ERROR_REPORTING_HOST, "a"), 0x00),
        (Avp::u32(id::FIRMWARE_REVISION, 1), 0x00),
        (Avp::octets(id::CC_CORRELATION_ID, "may"), 0x00),
        (Avp::group(id::OC_SUPPORTED_FEATURES, vec![]), 0x00),
        (Avp::enumerated(id::SESSION_PRIORITY, 0), 0x80),
        (Avp::i32(id::CAUSE_CODE, 0), 0xc0),
    ];
    for (mut avp, flags) in avps {
        for given in [0x00, 0x40] {
            avp.flags.0 = given;
            let message = Message { avps: vec![avp.clone()], ..ccr_t() };
            assert_eq!(message.encode(dictionary())[24], flags, "{}", avp.id);
        }
    }
    // What Failed-AVP holds stays as somebody else sent it.
    let inner = Avp { flags: AvpFlags(0x00), ..Avp::text(id::SESSION_ID, "s") };
    let message = Message { avps: vec![Avp::group(id::FAILED_AVP, vec![inner])], ..ccr_t() };
    assert_eq!(message.encode(dictionary())[32], 0x00);
}

#[test]
fn h_24_p_is_sent_as_0_and_ignored() {
    assert_eq!(Avp::text(id::SESSION_ID, "s").flags.0 & 0x3f, 0);
    let mut bytes = BytesMut::from(&ccr_t().encode(dictionary())[..]);
    bytes[24] |= 0x3f;
    let (message, problems) = judge(&bytes.freeze());
    assert_eq!(problems, []);
    assert!(message.avps[0].flags.protected());
}

#[test]
fn h_25_h_27_an_unknown_avp_with_m_is_5001_with_the_whole_avp() {
    let unknown = AvpId { code: 1044, vendor: 99_998 };
    let stranger = Avp::octets(unknown, &b"hello"[..]);
    let mut message = ccr_t();
    message.push(stranger.clone());
    let (decoded, problems) = again(&message);
    assert_eq!(codes(&problems), [5001]);
    assert_eq!(problems[0].failed_avp, Some(stranger.clone()));
    assert_eq!(decoded.find(unknown), Some(&stranger), "kept");
    // The same in an answer (the caller fails the transaction) and in a group, with its groups.
    let group = Avp::group(id::USED_SERVICE_UNIT, vec![stranger.clone()]);
    let group = Avp::group(id::MULTIPLE_SERVICES_CREDIT_CONTROL, vec![group]);
    let mut answer = Message::answer_to(&message.header);
    answer.push(group.clone());
    let (_, problems) = again(&answer);
    assert_eq!(codes(&problems), [5001]);
    assert_eq!(problems[0].avp, Some(unknown));
    assert_eq!(problems[0].failed_avp, Some(group));
}

#[test]
fn h_26_an_unknown_avp_without_m_is_kept_and_no_problem() {
    let unknown = AvpId { code: 1044, vendor: 99_998 };
    let stranger = Avp { flags: AvpFlags(0x80), ..Avp::octets(unknown, &b"hello"[..]) };
    let mut message = ccr_t();
    message.push(stranger.clone());
    let (decoded, problems) = again(&message);
    assert_eq!(problems, []);
    assert_eq!(decoded.find(unknown), Some(&stranger));
}

#[test]
fn h_28_a_length_that_cannot_be_true_is_5014_with_header_and_zeros() {
    // AVP Length of Rating-Group (432, Unsigned32): below its header, and beyond the message.
    for length in [0, 7, 13, 0xff] {
        let bytes = message_of(&[0, 0, 1, 176, 0x40, 0, 0, length, 0, 0, 2, 188]);
        let (_, problems) = judge(&bytes);
        assert_eq!(codes(&problems), [5014], "{length}");
        let zeros = Avp::octets(id::RATING_GROUP, &[0; 4][..]);
        assert_eq!(problems[0].failed_avp, Some(zeros));
        assert_eq!(problems[0].offset, 20);
    }
    // Cut off inside the header: padded with zeros.
    let (_, problems) = judge(&message_of(&[0, 0, 1, 8]));
    assert_eq!((codes(&problems), problems[0].avp), (vec![5014], Some(id::ORIGIN_HOST)));
}

#[test]
fn h_29_fixed_lengths_are_checked() {
    for (id, right) in [
        (id::RATING_GROUP, 4),
        (id::CC_TOTAL_OCTETS, 8),
        (id::EVENT_TIMESTAMP, 4),
        (id::CC_REQUEST_TYPE, 4),
        (id::VALUE_DIGITS, 8),
    ] {
        for length in 0..17usize {
            let avp = Avp::octets(id, vec![1; length]);
            let (message, problems) = again(&Message { avps: vec![avp.clone()], ..ccr_t() });
            if length == right {
                assert_eq!(problems, []);
                assert_ne!(message.avps[0].value, avp.value);
            } else {
                assert_eq!(codes(&problems), [5014]);
                assert_eq!(problems[0].failed_avp.as_ref(), Some(&avp), "the whole AVP");
                assert_eq!(message.avps[0], avp, "kept as octets, never as a number");
            }
        }
    }
}

#[test]
fn h_30_f_07_enumerated_is_signed() {
    let avp = Avp::enumerated(id::CC_REQUEST_TYPE, -2);
    let message = Message { avps: vec![avp], ..ccr_t() };
    assert_eq!(message.encode(dictionary())[28..32], [0xff, 0xff, 0xff, 0xfe]);
    assert_eq!(again(&message).0.enumerated(id::CC_REQUEST_TYPE), Some(-2));
}

#[test]
fn h_31_time_passes_the_end_of_the_era() {
    for (wire, secs) in [
        (0x8000_0000, -61_505_152),   // 1968-01-20T03:14:08Z
        (0x83aa_7e80, 0),             // 1970-01-01
        (0xffff_ffff, 2_085_978_495), // 2036-02-07T06:28:15Z
        (0x0000_0000, 2_085_978_496), // 2036-02-07T06:28:16Z
        (0x7fff_ffff, 4_233_462_143), // 2104-02-26T09:42:23Z
    ] {
        assert_eq!((time_from_wire(wire), time_to_wire(secs)), (secs, wire));
    }
    assert_eq!(time_to_wire(i64::MAX), time_to_wire(i64::MAX), "no panic");
    assert_eq!(time_to_wire(i64::MIN), time_to_wire(i64::MIN));
}

#[test]
fn h_32_text_is_utf_8_without_nul() {
    let mut out = BytesMut::new();
    put_avp(&mut out, &Avp::text(id::USER_NAME, "日本"));
    assert_eq!(out.len(), 16, "8 and 6, and padding; no NUL of its own");
    let good = ["", "a", "exactly8", "exactly8+tail", "żółć", "\u{7f}"];
    for text in good {
        let avps = vec![Avp::text(id::USER_NAME, text)];
        assert_eq!(again(&Message { avps, ..ccr_t() }).1, []);
    }
    let bad: [&[u8]; 6] =
        [b"\xff", b"\xc3", b"a\0", b"\0", b"a longer text \xe2\x82", b"\0 a longer text"];
    for octets in bad {
        let avps = vec![Avp::octets(id::USER_NAME, octets.to_vec())];
        let (message, problems) = again(&Message { avps: avps.clone(), ..ccr_t() });
        assert_eq!(codes(&problems), [5004], "{octets:?}");
        assert_eq!(message.avps, avps, "kept as octets");
    }
}

#[test]
fn h_33_h_34_identities_are_names_and_compare_without_case() {
    assert!(identity_eq("OCS-A.ocs.Example.net", "ocs-a.OCS.example.NET."));
    assert!(!identity_eq("ocs-a.example.net", "ocs-b.example.net"));
    assert!(!identity_eq("ocs", "ocs.net"));
    assert!(identity_eq("", ""));
    for (octets, good) in [
        (&b"ocs-a.example.net"[..], true),
        (b"OCS_A.example.net", true),
        (b"", false),
        (b"ocs a", false),
        (b"ocs\0", false),
        (b"a.very.long.name\x7f", false),
        ("żaba.example.net".as_bytes(), false),
        (&[b'a'; 255], true),
        (&[b'a'; 256], false),
    ] {
        let avps = vec![Avp::octets(id::ORIGIN_HOST, octets.to_vec())];
        let (_, problems) = again(&Message { avps, ..ccr_t() });
        assert_eq!(codes(&problems), if good { vec![] } else { vec![5004] }, "{octets:?}");
    }
}

#[test]
fn h_35_depth_and_count_are_bounded() {
    let nested = |depth| {
        let mut avp = Avp::group(id::SERVICE_INFORMATION, vec![]);
        for _ in 1..depth {
            avp = Avp::group(id::SERVICE_INFORMATION, vec![avp]);
        }
        Message { avps: vec![avp], ..ccr_t() }
    };
    assert_eq!(again(&nested(32)).1, []);
    assert_eq!(again(&nested(33)).1[0].kind, ProblemKind::LimitExceeded);
    let many = |avps| Message { avps: vec![Avp::u32(id::RATING_GROUP, 1); avps], ..ccr_t() };
    assert_eq!(again(&many(4096)).1, []);
    let (message, problems) = again(&many(4097));
    assert_eq!((problems[0].result_code, message.avps.len()), (5012, 4096));
}

#[test]
fn h_36_the_first_problem_is_the_first_in_the_message() {
    let mut message = ccr_t();
    message.avps.insert(2, Avp::octets(id::RATING_GROUP, &b"abc"[..]));
    message.push(Avp::octets(AvpId::base(99_999), &b"x"[..]));
    message.avps.insert(5, Avp::octets(id::USER_NAME, &b"\xff"[..]));
    let (_, problems) = again(&message);
    assert_eq!(codes(&problems), [5014, 5004, 5001]);
    assert!(problems.is_sorted_by_key(|problem| problem.offset));
}

#[test]
fn addresses_of_the_three_families() {
    for address in [
        Address::Ipv4([192, 0, 2, 1]),
        Address::Ipv6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        Address::E164("12025550123".to_owned()),
    ] {
        let message =
            Message { avps: vec![Avp::address(id::HOST_IP_ADDRESS, address.clone())], ..ccr_t() };
        let (decoded, problems) = again(&message);
        assert_eq!(
            (problems.as_slice(), &decoded.avps[0].value),
            (&[][..], &Value::Address(address))
        );
    }
    assert_eq!(Address::Ipv4([192, 0, 2, 1]).to_string(), "192.0.2.1");
}

#[test]
fn session_ids_are_unique_and_searchable() {
    let mut ids = SessionIds::new("cg1.ims.example.net", 1_765_531_200);
    assert_eq!(ids.take("9f1c4a7e-7d0e-4c1b"), "cg1.ims.example.net;1765531200;1;9f1c4a7e");
    assert_eq!(ids.take("a-b-c"), "cg1.ims.example.net;1765531200;2");
    assert_eq!(short_id("Ż-12.34_56/78-9"), Some("12345678".to_owned()));
}

#[test]
fn decoding_through_the_view_allocates_nothing() {
    for message in [acr_stop(), ccr_t()] {
        let bytes = message.encode(dictionary());
        let limits = Limits::default();
        let dictionary = dictionary();
        let (allocations, _, found) = measure(|| {
            let view = View::new(&bytes, &limits).expect("whole");
            let deep = view.find(id::SERVICE_INFORMATION).into_iter().flat_map(|avp| avp.group());
            let texts = deep.filter_map(|avp| avp.text()).count();
            (view.first_problem(dictionary, &limits), texts)
        });
        assert_eq!((allocations, found.0), (0, None));
    }
}

#[test]
fn the_grammar_of_the_samples_is_held() {
    let broken = |change: &dyn Fn(&mut Message)| {
        let mut message = ccr_t();
        change(&mut message);
        check_grammar(&message, dictionary())
    };
    let without = |avp: AvpId| broken(&move |message| message.avps.retain(|known| known.id != avp));
    for required in [id::SESSION_ID, id::ORIGIN_HOST, id::SERVICE_CONTEXT_ID, id::CC_REQUEST_NUMBER]
    {
        let problems = without(required);
        assert_eq!((codes(&problems), problems[0].avp), (vec![5005], Some(required)));
        let failed = problems[0].failed_avp.as_ref().expect("an example");
        assert_eq!(failed.id, required);
    }
    assert_eq!(without(id::USER_NAME), []);
    let twice = broken(&|message| message.push(Avp::u32(id::CC_REQUEST_NUMBER, 9)));
    assert_eq!(codes(&twice), [5009]);
    assert_eq!(twice[0].failed_avp, Some(Avp::u32(id::CC_REQUEST_NUMBER, 9)), "the first too many");
    let foreign = broken(&|message| {
        message.push(Avp::group(
            id::SUBSCRIPTION_ID,
            vec![
                Avp::enumerated(id::SUBSCRIPTION_ID_TYPE, 0),
                Avp::text(id::SUBSCRIPTION_ID_DATA, "1"),
                Avp::u32(id::RATING_GROUP, 7),
            ],
        ));
    });
    assert_eq!((codes(&foreign), foreign[0].avp), (vec![5008], Some(id::RATING_GROUP)));
    assert_eq!(foreign[0].failed_avp.as_ref().map(|avp| avp.id), Some(id::SUBSCRIPTION_ID));
    let late = |message: &mut Message| message.avps.rotate_left(1);
    assert_eq!(broken(&late), [], "a receiver does not care");
    let mut message = ccr_t();
    late(&mut message);
    assert_eq!(check_order(&message, dictionary())[0].kind, ProblemKind::Misplaced);
}

#[test]
fn refusals_need_no_more_than_the_error_grammar() {
    let mut answer = Message::answer_to(&ccr_t().header);
    answer.push(Avp::text(id::SESSION_ID, "s"));
    answer.push(Avp::identity(id::ORIGIN_HOST, "ocs"));
    answer.push(Avp::identity(id::ORIGIN_REALM, "r"));
    answer.push(Avp::u32(id::RESULT_CODE, 5005));
    assert_eq!(check_grammar(&answer, dictionary()), [], "freeDiameter's 5005, E clear");
    answer.header.flags.0 |= CommandFlags::ERROR;
    answer.avps[3] = Avp::u32(id::RESULT_CODE, 3002);
    assert_eq!(check_grammar(&answer, dictionary()), []);
    answer.header.flags.0 &= !CommandFlags::ERROR;
    answer.avps[3] = Avp::u32(id::RESULT_CODE, 2001);
    let problems = check_grammar(&answer, dictionary());
    assert_eq!(codes(&problems), [5005; 3], "a success needs everything");
    answer.avps.clear();
    assert!(!check_grammar(&answer, dictionary()).is_empty());
}

#[test]
fn f_02_the_length_of_a_padded_avp() {
    let golden = [0, 0, 1, 8, 0x40, 0, 0, 9, 0x61, 0, 0, 0];
    let mut out = BytesMut::new();
    put_avp(&mut out, &Avp::identity(id::ORIGIN_HOST, "a"));
    assert_eq!(out[..], golden);
    let (message, problems) = judge(&message_of(&golden));
    assert_eq!((message.text(id::ORIGIN_HOST), problems.as_slice()), (Some("a"), &[][..]));
}

#[test]
fn f_08_reused_ietf_avps_keep_vendor_0() {
    for name in ["Filter-Id", "Subscription-Id", "Experimental-Result", "Event-Timestamp"] {
        assert_eq!(dictionary().by_name(name).map(|avp| avp.id.vendor), Some(0), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn decode_undoes_encode(message in arbitrary::message()) {
        let bytes = message.encode(dictionary());
        prop_assert_eq!(&bytes, &message.encode_as_is());
        let (decoded, problems) = judge(&bytes);
        prop_assert_eq!(problems, vec![]);
        prop_assert_eq!(decoded, received(&message));
    }

    #[test]
    fn any_octets_are_read_without_harm(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        let bytes = Bytes::from(octets);
        let (message, _) = judge(&bytes);
        let _ = check_grammar(&message, dictionary());
        let _ = farebox::diameter::print::tree(&bytes, dictionary(), |_| None);
        let mut deframer = Deframer::new(Limits::default());
        deframer.push(&bytes);
        while let Some(Ok(_)) = deframer.next() {}
        // With a true length and version the walk goes deeper.
        if bytes.len() >= 20 {
            let mut framed = BytesMut::from(&bytes[..bytes.len() & !3]);
            farebox::diameter::end_message(&mut framed);
            framed[0] = 1;
            framed[4] &= 0xd0;
            let (message, _) = judge(&framed.freeze());
            let _ = check_grammar(&message, dictionary());
        }
    }

    #[test]
    fn changed_octets_are_read_without_harm(
        message in arbitrary::message(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = BytesMut::from(&message.encode(dictionary())[..]);
        for (at, octet) in changes {
            let at = at.index(bytes.len());
            bytes[at] = octet;
        }
        let (message, _) = judge(&bytes.freeze());
        let _ = check_grammar(&message, dictionary());
        // What was understood is sent again as it was understood.
        let bytes = message.encode_as_is();
        let (again, _) = judge(&bytes);
        prop_assert_eq!(again.encode_as_is(), bytes);
    }
}
