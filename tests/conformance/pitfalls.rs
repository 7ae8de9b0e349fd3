//! Requirements of sessions, accounting and credit control, and pitfalls of other implementations,
//! that no other story bears: short, each by its id.

use std::collections::BTreeSet;
use std::time::Duration;

use farebox::charging::event::CloseTrigger::ByeReceived;
use farebox::charging::event::*;
use farebox::charging::io::Alarm;
use farebox::charging::outcome::{Outcome, ServiceAdvice, SessionState};
use farebox::charging::policy::{Ccfh, Ddfh};
use farebox::charging::record::Command;
use farebox::diameter::{Avp, AvpId, AvpList, Dictionary, Message, id};
use farebox::store::Interface;

use crate::gateway_world::*;

const S: Duration = Duration::from_secs(1);

/// START, INTERIM, STOP, CCR-I, U, T of one session and ACR-EVENT, CCR-E of an event.
fn everything() -> World {
    let mut world = World::new();
    world.start("s1", "chat");
    world.grant();
    world.aca(2001);
    world.interim("s1", 1, used(10, 1));
    world.grant();
    world.aca(2001);
    world.terminate("s1", ByeReceived, used(20, 2));
    world.cca(2001);
    world.aca(2001);
    world.call(event("e1", EventAction::Debit, world.wall));
    world.cca(2001);
    world.aca(2001);
    world
}

fn mscc(group: u32, members: Vec<Avp>) -> Avp {
    let mut all = vec![Avp::u32(id::RATING_GROUP, group)];
    all.extend(members);
    Avp::group(id::MULTIPLE_SERVICES_CREDIT_CONTROL, all)
}

fn answer(world: &mut World, avps: Vec<Avp>) {
    world.answer_with(Interface::Ch2, |message: &mut Message| {
        message.push(Avp::u32(id::RESULT_CODE, 2001));
        message.avps.extend(avps);
    });
}

fn granted(seconds: u32) -> Avp {
    Avp::group(id::GRANTED_SERVICE_UNIT, vec![Avp::u32(id::CC_TIME, seconds)])
}

fn reason_of(world: &World) -> Option<i32> {
    let update = world.of(Command::CcrUpdate).last().expect("sent").message();
    let service = update.group(id::MULTIPLE_SERVICES_CREDIT_CONTROL).expect("MSCC");
    let used = service.group(id::USED_SERVICE_UNIT).unwrap_or_default();
    service.enumerated(id::REPORTING_REASON).or_else(|| used.enumerated(id::REPORTING_REASON))
}

fn plain_interim(world: &mut World, sequence: u64, total: u64) {
    let Trigger::Interim(mut body) = interim("s1", sequence, seconds(total), world.wall) else {
        unreachable!()
    };
    body.request = Vec::new();
    world.call(Trigger::Interim(body));
}

#[test]
fn s_01_s_02_c_02_one_session_id_per_leg_right_behind_the_header() {
    let world = everything();
    let mut legs: [BTreeSet<String>; 2] = Default::default();
    for sent in &world.sent {
        let message = sent.message();
        assert_eq!(message.avps[0].id, id::SESSION_ID, "{}", sent.words());
        let session = message.avps.text(id::SESSION_ID).expect("there").to_owned();
        let parts: Vec<&str> = session.split(';').collect();
        assert_eq!(parts[0], "cg1.ims.example.net");
        assert!(parts[1].parse::<u32>().is_ok() && parts[2].parse::<u32>().is_ok(), "{session}");
        legs[usize::from(sent.command.interface() == Interface::Ch2)].insert(session);
    }
    assert_eq!(legs.map(|leg| leg.len()), [2, 2], "one of the session, one of the event");
}

#[test]
fn s_05_s_06_s_07_s_21_s_25_what_every_accounting_record_holds() {
    let mut world = World::new();
    let Trigger::Start(mut body) = start("s1", "chat", world.wall) else { unreachable!() };
    let sip = Identity { kind: IdentityType::Sip, value: "sip:ann@example.net".to_owned() };
    body.content.subscriber.push(sip);
    world.call(Trigger::Start(body));
    world.grant();
    world.aca(2001);
    world.interim("s1", 1, used(10, 1));
    world.grant();
    world.aca(2001);
    world.terminate("s1", ByeReceived, used(20, 2));
    world.cca(2001);
    world.aca(2001);
    let types: Vec<_> = world
        .sent
        .iter()
        .filter(|sent| sent.command.interface() == Interface::Ch1)
        .map(|sent| {
            let message = sent.message();
            assert!(message.avps.text(id::SESSION_ID).is_some(), "S-05");
            assert_eq!(message.avps.text(id::USER_NAME), Some("ann@example.net"), "S-05");
            assert_eq!(message.unsigned32(id::ACCT_APPLICATION_ID), Some(3), "S-25");
            assert!(message.find(AvpId::base(287)).is_none(), "S-21: Accounting-Sub-Session-Id");
            message.enumerated(id::ACCOUNTING_RECORD_TYPE)
        })
        .collect();
    assert_eq!(types, [Some(2), Some(3), Some(4)], "START, INTERIM, STOP");
    let mut world = World::new();
    world.call(event("e1", EventAction::Debit, world.wall));
    let record = world.only(Command::AcrEvent).message();
    assert_eq!(record.enumerated(id::ACCOUNTING_RECORD_TYPE), Some(1), "S-06: EVENT_RECORD");
}

#[test]
fn s_11_interim_and_stop_are_cumulative() {
    let mut world = World::new();
    world.start("s1", "offline-only");
    world.aca(2001);
    let counters = |sent| MessageCounters { sent: Some(sent), ..MessageCounters::default() };
    let Trigger::Interim(mut body) = interim("s1", 1, used(10, 3), world.wall) else {
        unreachable!()
    };
    body.messages = Some(counters(3));
    world.call(Trigger::Interim(body));
    world.aca(2001);
    let Trigger::Terminate(mut body) = terminate("s1", ByeReceived, used(20, 8), world.wall) else {
        unreachable!()
    };
    body.messages = Some(counters(8));
    world.call(Trigger::Terminate(body));
    let total = |command| {
        let message = world.only(command).message();
        let information = message.group(id::SERVICE_INFORMATION).unwrap_or_default().to_vec();
        let im = information.as_slice().group(id::IM_INFORMATION).unwrap_or_default().to_vec();
        let name = "Total-Number-Of-Messages-Sent";
        let total = Dictionary::builtin().by_name(name).expect("there").id;
        im.as_slice().unsigned32(total)
    };
    assert_eq!((total(Command::AcrInterim), total(Command::AcrStop)), (Some(3), Some(8)));
}

#[test]
fn s_12_s_14_s_29_f_14_f_19_the_other_cdf_gets_the_same_record() {
    let mut world = World::new();
    world.start("s1", "offline-only");
    world.pass(2 * S);
    let copies = world.of(Command::AcrStart);
    assert_eq!((copies[0].peer, copies[1].peer), (CDF_A, CDF_B), "one try each, then the next");
    assert_eq!((copies[0].t, copies[1].t), (false, true), "F-14");
    assert_eq!(copies[0].bytes, copies[1].bytes, "Session-Id, number and End-to-End id");
    let mut world = World::new();
    world.disconnect(CDF_A);
    world.start("s1", "offline-only");
    assert_eq!(world.only(Command::AcrStart).peer, CDF_B, "S-29");
}

#[test]
fn s_13_an_aca_with_another_type_or_number_is_no_answer() {
    let mut world = World::new();
    world.start("s1", "offline-only");
    world.answer_with(Interface::Ch1, |message| {
        message.push(Avp::u32(id::RESULT_CODE, 2001));
        message.push(Avp::enumerated(id::ACCOUNTING_RECORD_TYPE, 4));
    });
    assert!(world.alarms().contains(&Alarm::AnswerMixed));
    world.pass(2 * S);
    assert_eq!(world.of(Command::AcrStart).len(), 2, "still unanswered");
}

#[test]
fn c_01_c_06_c_07_c_13_what_every_ccr_holds() {
    let world = everything();
    let mut kinds = Vec::new();
    for sent in world.sent.iter().filter(|sent| sent.command.interface() == Interface::Ch2) {
        let message = sent.message();
        assert_eq!(message.unsigned32(id::AUTH_APPLICATION_ID), Some(4));
        assert_eq!(message.avps.text(id::SERVICE_CONTEXT_ID), Some("15.32260@3gpp.org"));
        assert!(message.find(id::EVENT_TIMESTAMP).is_some(), "C-06 {}", sent.words());
        let type_ = message.enumerated(id::CC_REQUEST_TYPE).expect("C-01");
        kinds.push((type_, message.unsigned32(id::CC_REQUEST_NUMBER).expect("C-01")));
        assert!(message.find(id::SUBSCRIPTION_ID).is_some(), "C-07 {}", sent.words());
    }
    assert_eq!(kinds, [(1, 0), (2, 1), (3, 2), (4, 0)]);
}

#[test]
fn c_03_the_cpm_server_waits_for_the_first_interrogation() {
    let mut world = World::new();
    let caller = world.start("s1", "chat");
    assert!(world.waits(caller));
    world.grant();
    assert_eq!(world.answer(caller).outcome, Outcome::Granted);
}

#[test]
fn c_09_g_05_each_granted_type_and_its_threshold_count_apart() {
    let grant = |world: &mut World| {
        let units = vec![Avp::u32(id::CC_TIME, 600), Avp::u64(id::CC_SERVICE_SPECIFIC_UNITS, 5)];
        let members = vec![
            Avp::group(id::GRANTED_SERVICE_UNIT, units),
            Avp::u32(id::TIME_QUOTA_THRESHOLD, 60),
        ];
        answer(world, vec![mscc(700, members)]);
    };
    for (usage, reason) in [(used(599, 1), 0), (used(539, 1), 6), (used(10, 5), 3)] {
        let mut world = World::new();
        world.start("s1", "chat");
        grant(&mut world);
        world.aca(2001);
        world.interim("s1", 1, usage);
        assert_eq!(reason_of(&world), Some(reason));
        assert!(world.took("CC4-01") == (reason != 6));
    }
}

#[test]
fn c_08_one_mscc_for_each_rating_group() {
    let mut world = World::new();
    let Trigger::Start(mut body) = start("s1", "chat", world.wall) else { unreachable!() };
    body.request = [700, 701]
        .map(|group| UnitRequest {
            rating_group: Some(RatingGroupRef::Number(group)),
            units: seconds(60),
        })
        .to_vec();
    world.call(Trigger::Start(body));
    let message = world.only(Command::CcrInitial).message();
    let groups: Vec<_> = message
        .all(id::MULTIPLE_SERVICES_CREDIT_CONTROL)
        .filter_map(|avp| avp.members()?.unsigned32(id::RATING_GROUP))
        .collect();
    assert_eq!(groups, [700, 701]);
    assert_eq!(message.enumerated(id::MULTIPLE_SERVICES_INDICATOR), Some(1));
}

#[test]
fn g_06_a_grant_held_without_usage_is_reported_as_qht() {
    let mut world = World::new();
    world.start("s1", "chat");
    answer(&mut world, vec![mscc(700, vec![granted(600), Avp::u32(id::QUOTA_HOLDING_TIME, 30)])]);
    world.aca(2001);
    world.pass(31 * S);
    plain_interim(&mut world, 1, 0);
    assert_eq!(reason_of(&world), Some(1), "QHT");
}

#[test]
fn c_19_a_final_unit_indication_at_command_level_ends_in_ccr_t() {
    let mut world = World::new();
    let caller = world.start("s1", "chat");
    let last = vec![Avp::enumerated(id::FINAL_UNIT_ACTION, 0)];
    answer(&mut world, vec![granted(60), Avp::group(id::FINAL_UNIT_INDICATION, last)]);
    let stop_by = world.answer(caller).advice.stop_by.clone().expect("told when to stop");
    assert_eq!(stop_by.units, Some(seconds(60)));
    world.aca(2001);
    plain_interim(&mut world, 1, 60);
    world.cca(2001);
    world.aca(2001);
    world.pass(6 * S);
    assert!(world.took("CC4-02"));
    assert_eq!(world.only(Command::CcrTermination).number(), 2);
}

#[test]
fn c_20_a_final_grant_of_nothing_stops_at_once() {
    let mut world = World::new();
    let caller = world.start("s1", "chat");
    let last =
        Avp::group(id::FINAL_UNIT_INDICATION, vec![Avp::enumerated(id::FINAL_UNIT_ACTION, 0)]);
    answer(&mut world, vec![mscc(700, vec![granted(0), last])]);
    assert_eq!(world.answer(caller).advice.service, ServiceAdvice::Stop);
    assert!(world.of(Command::CcrUpdate).is_empty());
}

#[test]
fn c_21_time_or_units_whichever_ends_first() {
    let mut world = World::new();
    let caller = world.start("s1", "chat");
    let last =
        Avp::group(id::FINAL_UNIT_INDICATION, vec![Avp::enumerated(id::FINAL_UNIT_ACTION, 0)]);
    let until = world.wall + 30 * S;
    answer(&mut world, vec![mscc(700, vec![granted(60), Avp::u32(id::VALIDITY_TIME, 30), last])]);
    let stop_by = world.answer(caller).advice.stop_by.clone().expect("stopBy");
    assert_eq!((stop_by.at, stop_by.units), (Some(until), Some(seconds(60))));
    world.aca(2001);
    world.pass(33 * S);
    assert!(world.of(Command::CcrUpdate).is_empty(), "nothing follows a final grant");
    world.pass(6 * S);
    assert!(world.took("CC4-02"), "time ended first: the user was disconnected");
    assert_eq!(world.session("s1").state, SessionState::Ending);
}

#[test]
fn c_29_the_ccfh_of_a_cca_beats_the_configured_one() {
    let mut world = World::new();
    world.start("s1", "chat");
    answer(&mut world, vec![Avp::enumerated(id::CREDIT_CONTROL_FAILURE_HANDLING, 1)]);
    let caller = world.interim("s1", 1, seconds(10));
    world.pass(4 * S);
    assert_eq!(world.answer(caller).outcome, Outcome::Unverified, "CONTINUE");
}

#[test]
fn c_34_new_sessions_go_to_the_other_server() {
    let mut world = World::new();
    world.disconnect(OCS_A);
    world.start("s1", "chat");
    assert_eq!(world.only(Command::CcrInitial).peer, OCS_B);
}

#[test]
fn c_36_a_silent_termination_still_ends_the_service() {
    for handling in [Ccfh::Terminate, Ccfh::Continue, Ccfh::RetryAndTerminate] {
        let mut policy = policy();
        policy.failure.on_no_answer = handling;
        let mut world = World::with(policy);
        world.start("s1", "online-only");
        world.cca(2001);
        let end = world.terminate("s1", ByeReceived, seconds(10));
        world.pass(2 * S);
        assert_eq!(world.answer(end).advice.service, ServiceAdvice::Stop);
    }
}

#[test]
fn c_44_ddfh_continue_grants_and_drops() {
    let mut policy = policy();
    policy.failure.direct_debit = Ddfh::Continue;
    let mut world = World::with(policy);
    let caller = world.call(event("e1", EventAction::Debit, world.wall));
    world.pass(4 * S);
    assert_eq!(world.answer(caller).outcome, Outcome::Unverified);
    let before = world.of(Command::CcrEvent).len();
    world.disconnect(OCS_A);
    world.peer(OCS_A, true);
    world.pass(3600 * S);
    assert_eq!(world.of(Command::CcrEvent).len(), before, "dropped");
}

#[test]
fn c_46_a_failed_answer_to_the_retransmission_drops_the_request() {
    let mut world = World::closed(policy());
    world.call(event("e1", EventAction::Debit, world.wall));
    world.peer(OCS_A, true);
    world.cca(5012);
    world.disconnect(OCS_A);
    world.peer(OCS_A, true);
    world.pass(3600 * S);
    assert_eq!(world.of(Command::CcrEvent).len(), 1);
    world.conserved();
}

#[test]
fn c_47_a_refund_is_stored_on_temporary_failure_and_sent_again() {
    let mut world = World::new();
    let caller = world.call(event("e1", EventAction::Refund, world.wall));
    world.pass(4 * S);
    assert_eq!(world.answer(caller).outcome, Outcome::Pending);
    world.disconnect(OCS_A);
    world.disconnect(OCS_B);
    world.peer(OCS_B, true);
    let last = world.of(Command::CcrEvent).last().map(|sent| sent.words());
    assert_eq!(last.as_deref(), Some("CCR-E 0 T"));
}

#[test]
fn c_48_the_ddfh_of_any_cca_holds_for_later_events() {
    let mut world = World::new();
    world.start("s1", "online-only");
    answer(&mut world, vec![Avp::enumerated(id::DIRECT_DEBITING_FAILURE_HANDLING, 1)]);
    let caller = world.call(event("e1", EventAction::Debit, world.wall));
    world.cca(5012);
    assert_eq!(world.answer(caller).outcome, Outcome::Unverified, "CONTINUE");
}

#[test]
fn c_49_an_enquiry_goes_to_the_other_server_and_then_fails() {
    for action in [EventAction::CheckBalance, EventAction::EnquirePrice] {
        let mut world = World::new();
        let caller = world.call(event("e1", action, world.wall));
        world.cca(3004);
        assert_eq!(world.of(Command::CcrEvent)[1].peer, OCS_B);
        world.cca(3004);
        assert_eq!(world.answer(caller).outcome, Outcome::Denied);
    }
}

#[test]
fn g_17_f_13_f_25_a_black_hole_ocs_gets_one_number_and_the_caller_an_answer() {
    let mut world = World::new();
    world.start("s1", "chat");
    world.grant();
    let update = world.interim("s1", 1, seconds(10));
    world.pass(2 * S);
    assert_eq!(world.answer(update).outcome, Outcome::Denied, "F-25: no free service for ever");
    let numbers: BTreeSet<u32> = world.of(Command::CcrUpdate).iter().map(|s| s.number()).collect();
    assert_eq!(numbers.len(), 1, "G-17: a copy keeps its CC-Request-Number");
    world.pass(7 * S);
    let end = world.terminate("s1", ByeReceived, seconds(20));
    assert!(!world.waits(end), "F-13: nothing waits for a lost answer");
}

#[test]
fn g_19_what_a_cca_adds_does_not_make_it_fail() {
    let mut world = World::new();
    let caller = world.start("s1", "chat");
    let announcement = Avp::group(AvpId::tgpp(3904), Vec::new());
    answer(
        &mut world,
        vec![
            mscc(700, vec![granted(60), announcement]),
            Avp::enumerated(id::LOW_BALANCE_INDICATION, 1),
        ],
    );
    assert_eq!(world.answer(caller).outcome, Outcome::Granted);
}

#[test]
fn f_09_sms_information_is_in_the_dictionary() {
    let sms = Dictionary::builtin().avp(id::SMS_INFORMATION).expect("there");
    assert!(sms.members.len() > 10);
}

#[test]
fn f_11_origin_state_id_is_the_same_in_every_message_and_after_a_restart() {
    let mut world = everything();
    world.restart();
    world.peer(OCS_A, true);
    world.start("s2", "online-only");
    let values: BTreeSet<Option<u32>> =
        world.sent.iter().map(|s| s.message().unsigned32(id::ORIGIN_STATE_ID)).collect();
    assert_eq!(values.len(), 1, "{values:?}");
}

#[test]
fn f_23_one_ccr_at_a_time_with_every_rating_group_in_it() {
    let mut world = World::new();
    world.start("s1", "chat");
    world.grant();
    for n in 1..=4 {
        world.interim("s1", n, seconds(n * 10));
    }
    assert_eq!(world.of(Command::CcrUpdate).len(), 1);
}

#[test]
fn f_26_a_session_that_an_error_ended_gets_no_termination() {
    let mut world = World::new();
    world.start("s1", "chat");
    world.grant();
    world.interim("s1", 1, seconds(10));
    world.cca(5002);
    world.terminate("s1", ByeReceived, seconds(20));
    assert!(world.of(Command::CcrTermination).is_empty());
}

#[test]
fn f_27_a_zero_grant_in_the_answer_to_a_termination_is_tolerated() {
    let mut world = World::new();
    world.start("s1", "chat");
    world.grant();
    let end = world.terminate("s1", ByeReceived, seconds(20));
    answer(&mut world, vec![mscc(700, vec![granted(0)])]);
    assert_eq!(world.answer(end).outcome, Outcome::Debited);
}

#[test]
fn f_28_open_sessions_go_on_after_a_restart() {
    let mut world = World::new();
    world.start("s1", "chat");
    world.grant();
    world.aca(2001);
    world.restart();
    world.peer(OCS_A, true);
    world.peer(CDF_A, true);
    world.interim("s1", 1, seconds(10));
    assert_eq!(world.only(Command::CcrUpdate).number(), 1);
}

#[test]
fn f_31_a_repeated_close_makes_one_record_of_each() {
    let mut world = World::new();
    world.start("s1", "chat");
    world.grant();
    for _ in 0..3 {
        world.terminate("s1", ByeReceived, seconds(20));
    }
    world.aca(2001);
    world.only(Command::CcrTermination);
    world.only(Command::AcrStop);
}

#[test]
fn f_34_2002_is_a_success_and_its_interval_counts() {
    let mut world = World::new();
    world.start("s1", "offline-only");
    world.answer_with(Interface::Ch1, |message| {
        message.push(Avp::u32(id::RESULT_CODE, 2002));
        message.push(Avp::u32(id::ACCT_INTERIM_INTERVAL, 60));
    });
    world.pass(67 * S);
    assert!(!world.of(Command::AcrInterim).is_empty());
}

#[test]
fn s_03_f_11_a_new_life_has_a_higher_session_id_and_the_same_origin_state_id() {
    use farebox::gateway::counters::next;
    let wall = farebox::clock::Wall::parse("2025-12-12T10:38:00Z").expect("a time");
    let (first, _) = next(&[], wall, 7);
    let known: Vec<(String, u64)> =
        [("session_high", first.session_high), ("origin_state_id", first.origin_state_id)]
            .map(|(name, value)| (name.to_owned(), u64::from(value)))
            .to_vec();
    for later in [wall, wall - Duration::from_secs(86_400), wall + Duration::from_secs(5)] {
        let (second, _) = next(&known, later, 9);
        assert!(second.session_high > first.session_high, "also when the clock went back");
        assert_eq!(second.origin_state_id, first.origin_state_id);
    }
}
