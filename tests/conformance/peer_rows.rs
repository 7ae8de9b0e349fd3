//! Rows of the conformance list that hold for every message of a peer: P-29, R-01 to,
//! W-15.

use bytes::Bytes;
use farebox::charging::engine::Alarm;
use farebox::charging::event::CloseTrigger::ByeReceived;
use farebox::charging::outcome::*;
use farebox::charging::record::Command;
use farebox::charging::verdict::{AccountingVerdict, Verdict, accounting_verdict, verdict};
use farebox::diameter::{
    Address, Avp, AvpFlags, AvpId, Dictionary, Header, Limits, Message, ProblemKind, Value,
    check_grammar, command, decode, id,
};
use farebox::peer::{Application, DisconnectCause, LocalIdentity, base, capabilities};
use farebox::store::Interface::{Ch1, Ch2};

use crate::gateway_world::*;
use crate::samples::{acr_stop, ccr_t};

const LOCAL: Address = Address::Ipv4([127, 0, 0, 1]);

fn us() -> LocalIdentity {
    LocalIdentity { origin_state_id: 10, ..LocalIdentity::new("cg.example", "example") }
}

fn header(code: u32, flags: u8) -> Header {
    Header { version: 1, code, flags: farebox::diameter::CommandFlags(flags), ..Header::default() }
}

/// Every request and every answer of the base protocol that we send.
fn base_messages() -> Vec<Message> {
    let applications = Application::DEFAULT;
    let cer = header(command::CAPABILITIES_EXCHANGE, 0x80);
    let dwr = header(command::DEVICE_WATCHDOG, 0x80);
    let rar = rar_octets();
    vec![
        capabilities::cer(&us(), applications, &[LOCAL], 1, 2),
        capabilities::cea(&cer, &us(), applications, &[LOCAL], None),
        base::dwr(&us(), 1, 2),
        base::dpr(&us(), DisconnectCause::Rebooting, 1, 2),
        base::answer(&dwr, &us(), 2001, None, None),
        base::answer(&header(command::DISCONNECT_PEER, 0x80), &us(), 2001, None, None),
        base::error_answer(&header(258, 0xc0), &rar, &us(), 3007, "no", None),
        base::error_answer(&header(258, 0xc0), &rar, &us(), 5005, "no", None),
    ]
}

fn rar_octets() -> Bytes {
    let mut rar = Message::request(command::RE_AUTH, 4, true);
    rar.push(Avp::text(id::SESSION_ID, "cg.example;1;1"));
    rar.push(Avp::identity(id::DESTINATION_REALM, "example"));
    rar.push(Avp::identity(id::DESTINATION_HOST, "cg.example"));
    rar.encode(Dictionary::builtin())
}

fn code(code: u32) -> impl FnOnce(&mut Message) {
    move |message| message.push(Avp::u32(id::RESULT_CODE, code))
}

#[test]
fn p_29_origin_host_and_origin_realm_are_in_every_message() {
    let mut world = World::new();
    world.start("s1", "chat");
    world.grant();
    world.interim("s1", 1, seconds(60));
    world.cca(2001);
    world.aca(2001);
    world.terminate("s1", ByeReceived, used(311, 14));
    let sent = world.sent.iter().map(Sent::message);
    for message in base_messages().into_iter().chain(sent) {
        assert!(message.text(id::ORIGIN_HOST).is_some(), "command {}", message.header.code);
        assert!(message.text(id::ORIGIN_REALM).is_some(), "command {}", message.header.code);
    }
}

#[test]
fn r_01_r_02_first_the_realm_alone_and_then_the_server_with_it() {
    let mut world = World::new();
    world.start("s1", "online-only");
    let first = world.sent[0].message();
    assert_eq!(first.text(id::DESTINATION_REALM), Some("ocs.example.net"));
    assert_eq!(first.text(id::DESTINATION_HOST), None);
    world.cca(2001);
    world.interim("s1", 1, seconds(60));
    let second = world.sent[1].message();
    assert_eq!(second.text(id::DESTINATION_REALM), Some("ocs.example.net"));
    assert_eq!(second.text(id::DESTINATION_HOST), Some("ocs-a.ocs.example.net"));
}

#[test]
fn r_03_r_04_no_destination_in_the_base_protocol_and_in_answers() {
    for message in base_messages() {
        for avp in [id::DESTINATION_HOST, id::DESTINATION_REALM] {
            assert!(message.find(avp).is_none(), "command {}", message.header.code);
        }
    }
}

#[test]
fn r_05_r_10_an_error_answer_echoes_the_session_and_has_e_for_3xxx_only() {
    for (result, e) in [(3001, true), (3007, true), (4001, false), (5005, false), (5012, false)] {
        let answer =
            base::error_answer(&header(258, 0xc0), &rar_octets(), &us(), result, "no", None);
        let octets = answer.encode(Dictionary::builtin());
        let (answer, _) = decode(&octets, Dictionary::builtin(), &Limits::default());
        assert_eq!(answer.header.flags.is_error(), e, "{result}");
        assert_eq!(answer.text(id::SESSION_ID), Some("cg.example;1;1"));
        assert!(answer.header.flags.is_proxiable() && !answer.header.flags.is_request());
    }
}

#[test]
fn r_09_busy_unreachable_and_looping_peers_are_gone_around() {
    for error in [3002, 3004, 3005] {
        let mut world = World::new();
        world.start("s1", "chat");
        world.cca(error);
        world.aca(error);
        let peers: Vec<usize> = world.sent.iter().map(|sent| sent.peer).collect();
        assert_eq!(peers.len(), 4, "{error}");
        assert!(peers.contains(&OCS_B) && peers.contains(&CDF_B), "{error}: {peers:?}");
        assert!(world.sent.iter().all(|sent| !sent.t), "H-07");
    }
}

#[test]
fn r_13_an_unknown_class_is_a_permanent_failure() {
    for unknown in [0, 999, 6000, 6001, 9999, u32::MAX] {
        assert_eq!(verdict(Some(unknown)), Verdict::Failed);
        assert_eq!(accounting_verdict(Some(unknown)), AccountingVerdict::Failed);
    }
    let mut world = World::new();
    let caller = world.start("s1", "chat");
    world.cca(9999);
    assert_eq!(world.answer(caller).outcome, Outcome::Denied);
    assert_eq!(world.of(Command::CcrInitial).len(), 1, "not tried again");
    world.aca(9999);
    assert!(world.alarms().contains(&Alarm::Dead));
}

fn experimental(code: u32) -> Avp {
    Avp::group(
        id::EXPERIMENTAL_RESULT,
        vec![Avp::u32(id::VENDOR_ID, 10415), Avp::u32(id::EXPERIMENTAL_RESULT_CODE, code)],
    )
}

#[test]
fn r_14_experimental_result_in_place_of_and_besides_result_code() {
    let mut alone = World::new();
    let caller = alone.start("s1", "online-only");
    alone.answer_with(Ch2, |message| message.push(experimental(5030)));
    let answer = alone.answer(caller);
    assert_eq!((answer.outcome, answer.basis), (Outcome::Denied, Basis::FailurePolicy));
    let result = answer.ch2.result.as_ref().expect("a result");
    assert_eq!((result.code, result.vendor), (Some(5030), Some(10415)));

    let mut both = World::new();
    let caller = both.start("s1", "online-only");
    both.answer_with(Ch2, |message| {
        message.push(Avp::u32(id::RESULT_CODE, 2001));
        message.push(experimental(5030));
    });
    assert_eq!(both.answer(caller).outcome, Outcome::Granted, "Result-Code decides");
}

#[test]
fn r_15_the_host_that_reports_an_error_is_read() {
    let mut world = World::new();
    let caller = world.start("s1", "online-only");
    world.answer_with(Ch2, |message| {
        message.push(Avp::u32(id::RESULT_CODE, 5012));
        message.push(Avp::identity(id::ERROR_REPORTING_HOST, "dra.example.net"));
    });
    let result = world.answer(caller).ch2.result.clone().expect("a result");
    assert_eq!(result.reported_by.as_deref(), Some("dra.example.net"));
}

#[test]
fn r_16_failed_avp_holds_the_whole_avp_or_an_example_of_the_missing_one() {
    let dictionary = Dictionary::builtin();
    let mut unknown = ccr_t();
    let flags = AvpFlags(0xc0);
    let whole = Avp { flags, ..Avp::octets(AvpId { code: 7, vendor: 4242 }, &b"whole"[..]) };
    unknown.push(whole.clone());
    let (_, problems) = decode(&unknown.encode_as_is(), dictionary, &Limits::default());
    assert_eq!((problems[0].result_code, problems[0].failed_avp.as_ref()), (5001, Some(&whole)));

    let mut missing = ccr_t();
    missing.avps.retain(|avp| avp.id != id::CC_REQUEST_NUMBER);
    let problems = check_grammar(&missing, dictionary);
    let example = problems[0].failed_avp.as_ref().expect("an example");
    assert_eq!((problems[0].result_code, example.id), (5005, id::CC_REQUEST_NUMBER));
    assert_eq!(example.value.encoded_len(), 4, "least length of its type");
}

#[test]
fn r_17_a_failed_avp_without_payload_is_read() {
    let mut world = World::new();
    let caller = world.start("s1", "online-only");
    world.answer_with(Ch2, |message| {
        message.push(Avp::u32(id::RESULT_CODE, 5005));
        let empty = Avp::new(id::RATING_GROUP, Value::OctetString(Bytes::new()));
        message.push(Avp::group(id::FAILED_AVP, vec![empty]));
    });
    let result = world.answer(caller).ch2.result.clone().expect("a result");
    assert_eq!((result.code, result.failed_avp), (Some(5005), vec!["Rating-Group".to_owned()]));
    assert!(world.alarms().contains(&Alarm::MappingDefect));
}

#[test]
fn r_19_too_many_is_5009_with_the_first_extra_one_and_forbidden_is_5008() {
    let mut twice = acr_stop();
    twice.push(Avp::enumerated(id::ACCOUNTING_RECORD_TYPE, 2));
    let problems = check_grammar(&twice, Dictionary::builtin());
    assert_eq!(problems[0].result_code, 5009);
    let extra = Avp::enumerated(id::ACCOUNTING_RECORD_TYPE, 2);
    assert_eq!(problems[0].failed_avp, Some(extra));

    let group = Avp::group(
        id::VENDOR_SPECIFIC_APPLICATION_ID,
        vec![
            Avp::u32(id::VENDOR_ID, 10415),
            Avp::u32(id::AUTH_APPLICATION_ID, 4),
            Avp::text(id::SESSION_ID, "here it has no place"),
        ],
    );
    let mut forbidden = capabilities::cer(&us(), Application::DEFAULT, &[LOCAL], 1, 2);
    forbidden.push(group);
    let problems = check_grammar(&forbidden, Dictionary::builtin());
    assert!(
        problems.iter().any(
            |problem| problem.result_code == 5008 && problem.kind == ProblemKind::AvpNotAllowed
        )
    );
}

#[test]
fn r_22_what_an_error_message_says_changes_nothing() {
    let outcomes: Vec<Answer> = ["", "success", "DIAMETER_SUCCESS (2001)", "credit limit reached"]
        .into_iter()
        .map(|words| {
            let mut world = World::new();
            let caller = world.start("s1", "online-only");
            world.answer_with(Ch2, |message| {
                message.push(Avp::u32(id::RESULT_CODE, 5012));
                message.push(Avp::text(id::ERROR_MESSAGE, words));
            });
            world.answer(caller).clone()
        })
        .collect();
    for answer in &outcomes {
        assert_eq!((answer.outcome, answer.basis), (outcomes[0].outcome, outcomes[0].basis));
    }
}

#[test]
fn w_15_every_copy_has_the_same_origin_host_and_end_to_end_id() {
    let mut world = World::new();
    world.start("s1", "chat");
    world.disconnect(OCS_A);
    world.disconnect(CDF_A);
    for command in [Command::CcrInitial, Command::AcrStart] {
        let keys: Vec<(u32, Option<String>)> = world
            .of(command)
            .iter()
            .map(|sent| sent.message())
            .map(|one| (one.header.end_to_end, one.text(id::ORIGIN_HOST).map(str::to_owned)))
            .collect();
        assert_eq!(keys.len(), 2);
        assert_eq!(keys[0], keys[1]);
    }
    world.answer_with(Ch1, code(2001));
}
