//! Stories of the charging core: the rules of api.md sections 1 to 4, each by its requirement.

use std::time::Duration;

use farebox::charging::engine::Alarm;
use farebox::charging::event::CloseTrigger::{Aborted, ByeOkReceived, ByeReceived, ByeSent};
use farebox::charging::event::*;
use farebox::charging::outcome::*;
use farebox::charging::policy::Ccfh;
use farebox::charging::record::Command;
use farebox::clock::Wall;
use farebox::diameter::{Avp, AvpList, id};
use farebox::store::{CommitResult, Interface, RecordState, Store};

use crate::gateway_world::*;

const S: Duration = Duration::from_secs(1);

/// Both interfaces, granted, START acknowledged.
fn open() -> World {
    open_with(policy())
}

fn open_with(policy: farebox::charging::policy::Policy) -> World {
    let mut world = World::with(policy);
    world.start("s1", "chat");
    world.grant();
    world.aca(2001);
    world
}

fn ccfh(handling: Ccfh) -> farebox::charging::policy::Policy {
    let mut policy = policy();
    policy.failure.on_no_answer = handling;
    policy
}

// The four flows of the change request.

#[test]
fn x_01_x_03_client_bye_sends_stop_and_termination_at_once() {
    let mut world = open();
    world.pass(311 * S);
    let caller = world.terminate("s1", ByeReceived, used(311, 14));
    let stop = world.only(Command::AcrStop).clone();
    let termination = world.only(Command::CcrTermination).clone();
    assert_eq!((stop.number(), termination.number()), (1, 1));
    assert_eq!(used_units(&termination), (311, 14));
    assert_eq!(cause_code(&stop), Some(0));
    let message = termination.message();
    assert_eq!(message.enumerated(id::TERMINATION_CAUSE), Some(1));
    assert!(world.waits(caller), "the caller waits for the debit");
    world.cca(2001);
    let answer = world.answer(caller);
    assert_eq!((answer.state, answer.outcome), (SessionState::Ended, Outcome::Debited));
    assert_eq!(answer.basis, Basis::Ocs);
    assert_eq!(answer.debit.as_ref().expect("debit").units, vec![(700, used(311, 14))]);
    assert_eq!(answer.ch1.state, Ch1State::Stored);
    assert_eq!(answer.ch2.request_number, Some(1));
    world.aca(2001);
    assert_eq!(world.session("s1").ch1.state, Ch1State::Acknowledged);
    world.conserved();
}

#[test]
fn x_02_x_04_server_bye_sends_termination_and_the_ok_sends_stop() {
    let mut world = open();
    let first = world.terminate("s1", ByeSent, used(311, 14));
    world.cca(2001);
    assert!(world.of(Command::AcrStop).is_empty(), "the STOP waits for the OK");
    let answer = world.answer(first).clone();
    assert_eq!((answer.state, answer.ch1.state), (SessionState::Ending, Ch1State::Armed));
    assert_eq!(answer.ch1.due_at, Some(world.wall + 36 * S));
    world.pass(2 * S);
    let ok = world.terminate("s1", ByeOkReceived, Units::default());
    let stop = world.only(Command::AcrStop).clone();
    let second = world.answer(ok);
    assert_eq!((second.state, second.ch1.state), (SessionState::Ended, Ch1State::Stored));
    assert_eq!(second.ch1.record_id, answer.ch1.record_id, "the same record");
    assert_eq!(second.debit, answer.debit, "the same debit");
    let message = stop.message();
    assert_eq!(message.time(id::EVENT_TIMESTAMP), Some(world.wall.secs()), "the OK's time");
    assert_eq!(cause_code(&stop), Some(0));
    let stamps = ims(&stop).as_slice().group(id::TIME_STAMPS).expect("Time-Stamps").to_vec();
    let time = |wanted| stamps.as_slice().time(wanted);
    assert_eq!(time(id::SIP_REQUEST_TIMESTAMP), Some((world.wall - 2 * S).secs()));
    assert_eq!(time(id::SIP_RESPONSE_TIMESTAMP), Some(world.wall.secs()));
    let termination = world.only(Command::CcrTermination);
    assert_eq!(termination.message().enumerated(id::TERMINATION_CAUSE), Some(4));
    world.conserved();
}

#[test]
fn x_05_x_06_the_answer_carries_the_result_of_the_debit() {
    let mut world = open();
    let caller = world.terminate("s1", ByeReceived, used(311, 14));
    world.answer_with(Interface::Ch2, |message| {
        message.push(Avp::u32(id::RESULT_CODE, 2001));
        let unit = |digits: i64, exponent: i32| {
            Avp::group(
                id::UNIT_VALUE,
                vec![
                    Avp::new(id::VALUE_DIGITS, farebox::diameter::Value::Integer64(digits)),
                    Avp::i32(id::EXPONENT, exponent),
                ],
            )
        };
        message.push(Avp::group(
            id::COST_INFORMATION,
            vec![unit(70, -2), Avp::u32(id::CURRENCY_CODE, 978)],
        ));
        message.push(Avp::group(
            id::REMAINING_BALANCE,
            vec![unit(93, -1), Avp::u32(id::CURRENCY_CODE, 978)],
        ));
    });
    let debit = world.answer(caller).debit.clone().expect("debit");
    let (cost, balance) = (debit.cost.expect("cost"), debit.balance.expect("balance"));
    assert_eq!((cost.decimal(), cost.currency), ("0.70".to_owned(), "EUR".to_owned()));
    assert_eq!(balance.decimal(), "9.3");
}

#[test]
fn x_07_fq_07_neither_interface_waits_for_the_other() {
    let mut world = open();
    let caller = world.terminate("s1", ByeReceived, used(311, 14));
    world.cca(2001);
    assert!(!world.waits(caller), "answered without the ACA");
    assert_eq!(world.session("s1").ch1.state, Ch1State::Stored);

    let mut world = World::new();
    world.disconnect(OCS_A);
    world.disconnect(OCS_B);
    let caller = world.start("s1", "chat");
    assert_eq!(world.answer(caller).outcome, Outcome::Denied, "no OCS: the failure policy");
    assert_eq!(world.only(Command::AcrStart).number(), 0, "CH-1 goes on");
}

#[test]
fn x_08_fh_05_without_an_ok_the_guard_sends_the_stop() {
    let mut world = open();
    let bye = world.wall;
    world.terminate("s1", ByeSent, used(311, 14));
    world.cca(2001);
    world.pass(35 * S);
    assert!(world.of(Command::AcrStop).is_empty());
    world.pass(2 * S);
    let stop = world.only(Command::AcrStop).clone();
    assert_eq!(cause_code(&stop), Some(408));
    assert_eq!(stop.message().time(id::EVENT_TIMESTAMP), Some(bye.secs()), "the BYE's time");
    let stamps = ims(&stop).as_slice().group(id::TIME_STAMPS).expect("Time-Stamps").to_vec();
    assert_eq!(stamps.as_slice().time(id::SIP_REQUEST_TIMESTAMP), Some(bye.secs()));
    assert_eq!(stamps.as_slice().time(id::SIP_RESPONSE_TIMESTAMP), None);
    world.aca(2001);
    let late = world.terminate("s1", ByeOkReceived, Units::default());
    assert_eq!(world.answer(late).state, SessionState::Ended);
    world.only(Command::AcrStop);
    world.conserved();
}

#[test]
fn x_08_the_guard_survives_a_restart() {
    let mut world = open();
    world.terminate("s1", ByeSent, used(311, 14));
    world.cca(2001);
    world.pass(30 * S);
    world.restart();
    world.peer(CDF_A, true);
    assert!(world.of(Command::AcrStop).is_empty(), "still armed");
    world.pass(7 * S);
    assert_eq!(cause_code(world.only(Command::AcrStop)), Some(408));
    assert!(world.only(Command::AcrStop).t, "found in the store at start");
}

#[test]
fn x_09_fh_03_crossing_byes_make_one_stop_and_one_termination() {
    let mut world = open();
    let ours = world.terminate("s1", ByeSent, used(311, 14));
    let theirs = world.terminate("s1", ByeReceived, used(999, 99));
    world.cca(2001);
    let late = world.terminate("s1", ByeOkReceived, used(1, 1));
    world.terminate("s1", ByeSent, Units::default());
    world.only(Command::AcrStop);
    assert_eq!(used_units(world.only(Command::CcrTermination)), (311, 14), "usage is frozen");
    let (a, b) = (world.answer(ours), world.answer(theirs));
    assert_eq!(a.ch2.record_id, b.ch2.record_id);
    assert_eq!(b.ch1.record_id, world.answer(late).ch1.record_id);
    assert!(b.warnings.iter().any(|warning| warning.code == "usage-ignored"));
    assert_eq!(world.answer(late).outcome, Outcome::Debited);
    world.aca(2001);
    world.conserved();
}

#[test]
fn x_09_an_ok_with_a_sip_error_replaces_the_cause_of_the_armed_stop() {
    let mut world = open();
    world.terminate("s1", ByeSent, used(311, 14));
    world.cca(2001);
    let Trigger::Terminate(mut ok) = terminate("s1", ByeOkReceived, Units::default(), world.wall)
    else {
        unreachable!()
    };
    ok.cause =
        Some(Cause { kind: CauseKind::SipError, sip_status: Some(481), reason_header: vec![] });
    world.call(Trigger::Terminate(ok));
    assert_eq!(cause_code(world.only(Command::AcrStop)), Some(481));
}

#[test]
fn cause_table_of_the_api() {
    for (kind, status, trigger, code, termination) in [
        (CauseKind::Normal, None, ByeReceived, 0, 1),
        (CauseKind::Normal, None, ByeOkReceived, 0, 4),
        (CauseKind::Inactivity, None, ByeReceived, 0, 8),
        (CauseKind::MaxDuration, None, Aborted, 0, 8),
        (CauseKind::LinkLost, None, Aborted, 1, 5),
        (CauseKind::LinkLost, Some(408), Aborted, 408, 5),
        (CauseKind::SetupFailed, None, Aborted, 2, 2),
        (CauseKind::QuotaExhausted, None, Aborted, 0, 4),
        (CauseKind::InternalError, None, Aborted, 3, 4),
        (CauseKind::SipError, Some(486), ByeReceived, 486, 5),
    ] {
        let mut world = open();
        let Trigger::Terminate(mut body) = terminate("s1", trigger, seconds(1), world.wall) else {
            unreachable!()
        };
        body.cause = Some(Cause { kind, sip_status: status, reason_header: vec![] });
        world.call(Trigger::Terminate(body));
        let stop = world.only(Command::AcrStop);
        let ccr = world.only(Command::CcrTermination);
        assert_eq!(cause_code(stop), Some(code), "{kind:?}");
        assert_eq!(cause_code(ccr), Some(code), "{kind:?}");
        let cause = ccr.message().enumerated(id::TERMINATION_CAUSE);
        assert_eq!(cause, Some(termination), "{kind:?}");
    }
}

// Units.

#[test]
fn c_12_i_5_rf_totals_and_ro_increments_agree() {
    let mut world = open();
    for (sequence, total) in [(1, 120), (2, 200)] {
        let caller = world.interim("s1", sequence, used(total, sequence));
        world.grant();
        world.aca(2001);
        assert_eq!(world.answer(caller).outcome, Outcome::Granted);
    }
    world.terminate("s1", ByeReceived, used(311, 14));
    let updates = world.of(Command::CcrUpdate);
    assert_eq!(
        updates.iter().map(|sent| used_units(sent)).collect::<Vec<_>>(),
        [(120, 1), (80, 1)]
    );
    assert_eq!(used_units(world.only(Command::CcrTermination)), (111, 12));
    let numbers: Vec<u32> = world
        .sent
        .iter()
        .filter(|sent| sent.command.interface() == Interface::Ch2)
        .map(Sent::number)
        .collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    let numbers: Vec<u32> = world
        .sent
        .iter()
        .filter(|sent| sent.command.interface() == Interface::Ch1)
        .map(Sent::number)
        .collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
}

#[test]
fn fh_09_a_decreasing_total_is_refused_in_an_interim_and_told_in_a_terminate() {
    let mut world = open();
    world.interim("s1", 1, seconds(120));
    world.grant();
    let before = world.sent.len();
    let caller = world.interim("s1", 2, seconds(119));
    let Refusal::UsageDecreased(totals) = world.refusal(caller) else { panic!() };
    assert_eq!(totals[0].pointer, "/usage/0/units/seconds");
    assert_eq!((totals[0].before, totals[0].now), (120, 119));
    assert_eq!(world.sent.len(), before, "nothing was sent");
    let caller = world.terminate("s1", ByeReceived, seconds(7));
    world.cca(2001);
    let answer = world.answer(caller);
    assert!(answer.warnings.iter().any(|warning| warning.code == "usage-decreased"));
    assert_eq!(used_units(world.only(Command::CcrTermination)), (0, 0), "unchanged: nothing new");
}

#[test]
fn g_03_c_14_final_in_every_mscc_and_no_requested_units_in_t() {
    let mut world = open();
    world.terminate("s1", ByeReceived, used(311, 14));
    let message = world.only(Command::CcrTermination).message();
    let mut count = 0;
    for avp in message.all(id::MULTIPLE_SERVICES_CREDIT_CONTROL) {
        let members = avp.members().expect("a group");
        assert_eq!(members.enumerated(id::REPORTING_REASON), Some(2));
        assert!(members.find(id::REQUESTED_SERVICE_UNIT).is_none());
        count += 1;
    }
    assert_eq!(count, 1);
    assert!(message.find(id::MULTIPLE_SERVICES_INDICATOR).is_none(), "C-05: in I only");
}

#[test]
fn unknown_rating_groups_are_refused_and_nothing_is_stored() {
    let mut world = World::new();
    let Trigger::Start(mut body) = start("s1", "chat", world.wall) else { unreachable!() };
    body.request[0].rating_group = Some(RatingGroupRef::Name("cart".to_owned()));
    let caller = world.call(Trigger::Start(body));
    let Refusal::MappingFailed(problems) = world.refusal(caller) else { panic!() };
    assert_eq!(problems[0].pointer.as_deref(), Some("/request/0/ratingGroup"));
    assert!(world.sent.is_empty());
    let again = world.start("s1", "chat");
    world.grant();
    assert_eq!(world.answer(again).outcome, Outcome::Granted, "the id is still free");
}

// Behind something pending.

#[test]
fn fq_01_c_27_terminate_waits_for_a_pending_initial_and_is_no_orphan() {
    let mut world = World::new();
    let start = world.start("s1", "chat");
    let end = world.terminate("s1", ByeReceived, used(5, 1));
    assert!(world.of(Command::CcrTermination).is_empty());
    world.grant();
    assert_eq!(world.answer(start).outcome, Outcome::Granted);
    assert_eq!(world.only(Command::CcrTermination).number(), 1);
    world.cca(2001);
    assert_eq!(world.answer(end).outcome, Outcome::Debited);
    world.aca(2001);
    world.aca(2001);
    world.conserved();
}

#[test]
fn s_20_the_stop_follows_an_unanswered_start() {
    let mut world = World::new();
    world.start("s1", "chat");
    world.grant();
    world.terminate("s1", ByeReceived, used(5, 1));
    assert!(world.of(Command::AcrStop).is_empty(), "ACR n+1 waits for ACA n");
    world.aca(2001);
    assert_eq!(world.only(Command::AcrStop).number(), 1);
}

#[test]
fn s_10_a_newer_interim_supersedes_a_waiting_one_in_place() {
    let mut world = World::new();
    world.start("s1", "offline-only");
    for sequence in 1..=3 {
        world.interim("s1", sequence, seconds(sequence * 10));
    }
    world.terminate("s1", ByeReceived, seconds(60));
    for _ in 0..3 {
        world.aca(2001);
    }
    assert_eq!(
        world.sent_words(),
        ["cdf-a ACR-START 0", "cdf-a ACR-INTERIM 1", "cdf-a ACR-STOP 2"]
    );
    let view = world.session("s1");
    let superseded = view.records.iter().filter(|r| r.state == RecordState::Superseded).count();
    assert_eq!(superseded, 2);
    world.conserved();
}

#[test]
fn fq_04_updates_behind_an_update_are_coalesced() {
    let mut world = open();
    let first = world.interim("s1", 1, seconds(10));
    let callers: Vec<_> = (2..=5).map(|n| world.interim("s1", n, seconds(n * 10))).collect();
    assert_eq!(world.of(Command::CcrUpdate).len(), 1);
    world.grant();
    assert!(!world.waits(first));
    let updates = world.of(Command::CcrUpdate);
    assert_eq!(updates.len(), 2, "{:?}", world.sent_words());
    assert_eq!(used_units(updates[1]), (40, 0));
    world.grant();
    for caller in callers {
        assert_eq!(world.answer(caller).ch2.request_number, Some(2));
    }
    world.conserved();
}

// Answers of the OCS.

#[test]
fn x_06_every_denial_of_a_start_is_201_denied_and_ends_the_session() {
    for (code, status) in [(4012, 402), (4010, 403), (5003, 403), (5030, 404), (5031, 403)] {
        for handling in [Ccfh::Terminate, Ccfh::Continue, Ccfh::RetryAndTerminate] {
            let mut world = World::with(ccfh(handling));
            let caller = world.start("s1", "chat");
            world.aca(2001);
            world.cca(code);
            let answer = world.answer(caller);
            assert_eq!((answer.outcome, answer.basis), (Outcome::Denied, Basis::Ocs), "{code}");
            assert_eq!(answer.advice.service, ServiceAdvice::Block);
            assert_eq!(answer.advice.sip_status, Some(status), "{code}");
            assert_eq!(answer.state, SessionState::Ended);
            assert!(answer.created);
            let stop = world.only(Command::AcrStop).clone();
            assert_eq!((stop.number(), cause_code(&stop)), (1, Some(2)));
            assert!(world.of(Command::CcrTermination).is_empty(), "F-22: no CCR-T");
            let later = world.terminate("s1", ByeReceived, seconds(1));
            let later = world.answer(later);
            assert_eq!((later.outcome, later.state), (Outcome::Denied, SessionState::Ended));
            assert_eq!(later.ch2.command.as_deref(), Some("CCR-I"));
            assert_eq!(later.ch1.record.as_deref(), Some("STOP_RECORD"));
            assert!(world.of(Command::CcrTermination).is_empty());
        }
    }
}

#[test]
fn a_start_refused_by_every_mscc_is_closed_at_the_ocs() {
    let mut world = World::new();
    let caller = world.start("s1", "chat");
    world.aca(2001);
    world.answer_with(Interface::Ch2, |message| {
        message.push(Avp::u32(id::RESULT_CODE, 2001));
        message.push(Avp::group(
            id::MULTIPLE_SERVICES_CREDIT_CONTROL,
            vec![Avp::u32(id::RATING_GROUP, 700), Avp::u32(id::RESULT_CODE, 4012)],
        ));
    });
    let answer = world.answer(caller).clone();
    assert_eq!((answer.outcome, answer.advice.sip_status), (Outcome::Denied, Some(402)));
    let close = world.only(Command::CcrTermination).clone();
    assert_eq!((close.number(), used_units(&close)), (1, (0, 0)));
    assert_eq!(close.message().enumerated(id::TERMINATION_CAUSE), Some(2));
    world.cca(2001);
    assert_eq!(world.session("s1").state, SessionState::Ended);
    world.aca(2001);
    world.conserved();
}

#[test]
fn c_50_4011_is_free_and_nothing_more_is_asked() {
    let mut world = World::new();
    let caller = world.start("s1", "chat");
    world.cca(4011);
    world.aca(2001);
    assert_eq!(world.answer(caller).outcome, Outcome::Free);
    let interim = world.interim("s1", 1, seconds(9));
    assert_eq!(world.answer(interim).outcome, Outcome::Free);
    assert_eq!(world.answer(interim).ch2.state, Ch2State::None);
    let end = world.terminate("s1", ByeReceived, seconds(10));
    let end = world.answer(end);
    assert_eq!((end.outcome, end.ch2.state), (Outcome::Free, Ch2State::None));
    assert_eq!(world.of(Command::CcrUpdate).len() + world.of(Command::CcrTermination).len(), 0);
    assert!(world.of(Command::AcrEvent).is_empty(), "nothing to back up");
}

#[test]
fn every_other_failure_is_judged_by_ccfh() {
    for code in [5012, 5005, 3001, 4999, 1001, 9999] {
        for (handling, outcome) in [
            (Ccfh::Terminate, Outcome::Denied),
            (Ccfh::RetryAndTerminate, Outcome::Denied),
            (Ccfh::Continue, Outcome::Unverified),
        ] {
            let mut world = World::with(ccfh(handling));
            let caller = world.start("s1", "chat");
            world.cca(code);
            let answer = world.answer(caller);
            let got = (answer.outcome, answer.basis);
            assert_eq!(got, (outcome, Basis::FailurePolicy), "{code}");
        }
    }
}

#[test]
fn h_27_an_answer_with_an_unknown_mandatory_avp_failed() {
    let mut world = World::new();
    let caller = world.start("s1", "chat");
    world.answer_with(Interface::Ch2, |message| {
        message.push(Avp::u32(id::RESULT_CODE, 2001));
        let mut strange = Avp::u32(farebox::diameter::AvpId { code: 9999, vendor: 0 }, 1);
        strange.flags = farebox::diameter::AvpFlags(0x40);
        message.push(strange);
    });
    let answer = world.answer(caller);
    assert_eq!((answer.outcome, answer.basis), (Outcome::Denied, Basis::FailurePolicy));
    assert!(world.alarms().contains(&Alarm::AnswerUnusable));
}

// No usable answer.

#[test]
fn h_07_fm_12_after_3004_the_next_peer_gets_it_with_t_clear() {
    for code in [3002, 3004, 3005] {
        let mut world = World::new();
        let caller = world.start("s1", "chat");
        world.cca(code);
        let copies = world.of(Command::CcrInitial);
        assert_eq!(copies.len(), 2);
        assert_eq!((copies[1].peer, copies[1].t), (OCS_B, false), "{code}");
        assert_eq!(&copies[0].bytes[4..], &copies[1].bytes[4..], "I-6: equal bytes");
        world.grant();
        assert_eq!(world.answer(caller).outcome, Outcome::Granted);
        assert_eq!(world.answer(caller).ch2.attempts, 2);
    }
}

#[test]
fn c_30_c_28_silence_under_terminate_denies_at_tx_without_a_copy() {
    let mut world = World::new();
    let caller = world.start("s1", "chat");
    world.pass(2 * S);
    let answer = world.answer(caller);
    assert_eq!((answer.outcome, answer.basis), (Outcome::Denied, Basis::FailurePolicy));
    assert_eq!(world.of(Command::CcrInitial).len(), 1, "no further copy");
}

#[test]
fn c_31_h_06_silence_under_continue_copies_once_with_t_and_is_unverified() {
    let mut world = World::with(ccfh(Ccfh::Continue));
    let caller = world.start("s1", "chat");
    world.pass(2 * S);
    assert!(world.waits(caller));
    let copies = world.of(Command::CcrInitial);
    assert_eq!((copies.len(), copies[1].peer, copies[1].t), (2, OCS_B, true));
    world.pass(2 * S);
    let answer = world.answer(caller);
    assert_eq!((answer.outcome, answer.state), (Outcome::Unverified, SessionState::Open));
    assert_eq!(world.of(Command::CcrInitial).len(), 2, "one copy, not more");
}

#[test]
fn fa_05_a_late_2001_to_a_denied_start_is_closed_with_zero_units() {
    let mut world = World::new();
    world.start("s1", "chat");
    world.aca(2001);
    world.pass(2 * S);
    world.pass(S);
    world.answer_at(1, |message| message.push(Avp::u32(id::RESULT_CODE, 2001)));
    let close = world.only(Command::CcrTermination).clone();
    assert_eq!((close.number(), used_units(&close)), (1, (0, 0)));
    assert_eq!(close.message().enumerated(id::TERMINATION_CAUSE), Some(2));
    world.cca(2001);
    world.conserved();
}

#[test]
fn w_13_a_lost_connection_sends_the_next_peer_a_copy_with_t() {
    let mut world = World::new();
    let caller = world.start("s1", "chat");
    world.disconnect(OCS_A);
    let copies = world.of(Command::CcrInitial);
    assert_eq!((copies.len(), copies[1].peer, copies[1].t), (2, OCS_B, true));
    world.grant();
    assert_eq!(world.answer(caller).outcome, Outcome::Granted);
    let message = world.sent[0].message();
    assert!(message.find(id::DESTINATION_HOST).is_none(), "R-01");
}

#[test]
fn c_32_a_session_moves_to_another_server_only_if_its_server_allows() {
    for failover in [None, Some(0), Some(1)] {
        let mut world = World::with(ccfh(Ccfh::RetryAndTerminate));
        world.start("s1", "chat");
        world.answer_with(Interface::Ch2, |message| {
            message.push(Avp::u32(id::RESULT_CODE, 2001));
            if let Some(value) = failover {
                message.push(Avp::enumerated(id::CC_SESSION_FAILOVER, value));
            }
        });
        world.aca(2001);
        world.interim("s1", 1, seconds(10));
        world.pass(2 * S);
        let copies = world.of(Command::CcrUpdate);
        let moved = failover == Some(1);
        assert_eq!(copies.len(), 2, "once more at Tx");
        assert_eq!(copies[1].peer, if moved { OCS_B } else { OCS_A }, "{failover:?}");
        assert!(copies[1].t);
        let host = copies[1].message().text(id::DESTINATION_HOST).map(str::to_owned);
        assert_eq!(host.as_deref(), Some("ocs-a.ocs.example.net"), "R-02");
    }
}

#[test]
fn fq_02_an_unanswered_update_is_repeated_and_termination_waits_behind_it() {
    let mut world = open();
    let update = world.interim("s1", 1, seconds(120));
    world.pass(2 * S);
    assert_eq!(world.answer(update).outcome, Outcome::Denied, "told at Tx");
    let copies = world.of(Command::CcrUpdate);
    assert_eq!(copies.len(), 2);
    assert!(copies[1].t && copies[0].number() == copies[1].number());
    let end = world.terminate("s1", ByeReceived, seconds(150));
    assert!(world.waits(end) && world.of(Command::CcrTermination).is_empty());
    world.pass(S);
    let index = world.sent.iter().rposition(|s| s.command == Command::CcrUpdate).expect("there");
    world.answer_at(index, |message| message.push(Avp::u32(id::RESULT_CODE, 2001)));
    assert_eq!(used_units(world.only(Command::CcrTermination)), (30, 0), "only what is new");
    let t = world.sent.iter().position(|s| s.command == Command::CcrTermination).expect("there");
    world.answer_at(t, |message| message.push(Avp::u32(id::RESULT_CODE, 2001)));
    assert_eq!(world.answer(end).outcome, Outcome::Debited);
    assert!(world.of(Command::AcrEvent).is_empty());
}

#[test]
fn fq_02_c_35_an_update_without_an_answer_ends_in_one_backup_record() {
    let mut world = open();
    world.interim("s1", 1, seconds(120));
    world.aca(2001);
    world.pass(7 * S);
    let end = world.terminate("s1", ByeReceived, used(150, 3));
    let answer = world.answer(end);
    assert_eq!((answer.outcome, answer.basis), (Outcome::Unverified, Basis::FailurePolicy));
    assert_eq!(answer.ch2.state, Ch2State::Failed);
    assert!(world.of(Command::CcrTermination).is_empty());
    let backup = world.only(Command::AcrEvent);
    let ro = world.only_session_id(Command::CcrInitial);
    assert_eq!(
        service_specific(backup),
        [format!("farebox-backup;ccr={ro};n=1;rg=700;seconds=150;messages=3")]
    );
    world.conserved();
}

#[test]
fn a_lost_termination_is_settled_by_one_backup_record() {
    let mut world = open();
    let end = world.terminate("s1", ByeReceived, used(311, 14));
    world.aca(2001);
    world.pass(2 * S);
    let answer = world.answer(end).clone();
    assert_eq!((answer.outcome, answer.ch2.state), (Outcome::Unverified, Ch2State::Pending));
    assert_eq!(answer.state, SessionState::Ending);
    let copies = world.of(Command::CcrTermination);
    assert_eq!((copies.len(), copies[1].t), (2, true), "once more after Tx");
    world.pass(5 * S);
    assert_eq!(world.of(Command::CcrTermination).len(), 2, "then no more");
    let backup = world.only(Command::AcrEvent).clone();
    let ro = world.only_session_id(Command::CcrInitial);
    let text = format!("farebox-backup;ccr={ro};n=1;rg=700;seconds=311;messages=14");
    assert_eq!(service_specific(&backup), [text]);
    assert_eq!((backup.number(), cause_code(&backup)), (0, Some(0)));
    let message = backup.message();
    assert_eq!(message.enumerated(id::ACCOUNTING_RECORD_TYPE), Some(1));
    assert_ne!(message.avps.text(id::SESSION_ID), Some(ro.as_str()), "a Session-Id of its own");
    let view = world.session("s1");
    assert_eq!((view.outcome, view.ch2.state), (Outcome::Unverified, Ch2State::Failed));
    let t = view.records.iter().find(|r| r.command == "CCR-T").expect("there");
    assert_eq!(t.state, RecordState::Superseded);
    world.conserved();
}

#[test]
fn a_late_2001_takes_a_waiting_backup_record_back() {
    let mut world = open();
    world.disconnect(CDF_A);
    world.disconnect(CDF_B);
    world.terminate("s1", ByeReceived, used(311, 14));
    world.pass(12 * S);
    assert!(world.of(Command::AcrEvent).is_empty(), "no CDF");
    let index = world.sent.iter().position(|s| s.command == Command::CcrTermination).expect("T");
    world.answer_at(index, |message| message.push(Avp::u32(id::RESULT_CODE, 2001)));
    world.peer(CDF_A, true);
    world.aca(2001);
    world.pass(5 * S);
    assert!(world.of(Command::AcrEvent).is_empty(), "{:?}", world.sent_words());
    assert!(!world.alarms().contains(&Alarm::DoubleSettlement));
    world.conserved();
}

#[test]
fn a_late_2001_after_the_backup_record_was_sent_is_an_alarm() {
    let mut world = open();
    world.terminate("s1", ByeReceived, used(311, 14));
    world.aca(2001);
    world.pass(7 * S);
    world.only(Command::AcrEvent);
    let index = world.sent.iter().position(|s| s.command == Command::CcrTermination).expect("T");
    world.answer_at(index, |message| message.push(Avp::u32(id::RESULT_CODE, 2001)));
    assert!(world.alarms().contains(&Alarm::DoubleSettlement));
    world.conserved();
}

#[test]
fn fa_18_results_on_t_that_need_a_backup_record_and_those_that_do_not() {
    for (code, backed_up) in [
        (5002, true),
        (5003, true),
        (5012, true),
        (5030, true),
        (5031, true),
        (4010, false),
        (4011, false),
        (4012, false),
        (2001, false),
    ] {
        let mut world = open();
        let end = world.terminate("s1", ByeReceived, used(311, 14));
        world.cca(code);
        world.aca(2001);
        assert!(!world.waits(end));
        assert_eq!(world.of(Command::AcrEvent).len(), usize::from(backed_up), "{code}");
        assert_eq!(world.of(Command::CcrTermination).len(), 1, "never replayed");
        let answer = world.answer(end);
        assert_eq!(answer.ch2.result.as_ref().and_then(|r| r.code), Some(code));
        let expected = match code {
            2001 => Outcome::Debited,
            4011 => Outcome::Free,
            _ => Outcome::Denied,
        };
        assert_eq!(answer.outcome, expected, "{code}");
        world.conserved();
    }
}

#[test]
fn fa_18_5002_on_an_update_loses_the_leg_and_backs_its_units_up() {
    let mut world = open();
    let update = world.interim("s1", 1, seconds(120));
    world.aca(2001);
    world.cca(5002);
    let answer = world.answer(update);
    assert_eq!((answer.outcome, answer.basis), (Outcome::Denied, Basis::Ocs));
    assert_eq!(answer.advice.service, ServiceAdvice::Stop);
    let idle = world.interim("s1", 2, seconds(130));
    assert_eq!(world.answer(idle).ch2.state, Ch2State::None);
    world.aca(2001);
    world.terminate("s1", ByeReceived, seconds(150));
    let backup = world.only(Command::AcrEvent);
    assert!(service_specific(backup)[0].ends_with(";n=1;rg=700;seconds=150"));
}

#[test]
fn without_backup_accounting_a_lost_termination_is_a_dead_letter() {
    let mut policy = policy();
    policy.termination.backup_accounting = false;
    let mut world = open_with(policy);
    world.terminate("s1", ByeReceived, used(311, 14));
    world.pass(12 * S);
    assert!(world.of(Command::AcrEvent).is_empty());
    assert!(world.alarms().contains(&Alarm::Dead));
    let view = world.session("s1");
    let t = view.records.iter().find(|r| r.command == "CCR-T").expect("there");
    assert_eq!(t.state, RecordState::Dead);
    assert_eq!(view.outcome, Outcome::Unverified);
    world.conserved();
}

// CH-1.

#[test]
fn fa_16_4002_goes_to_the_other_cdf_and_then_waits() {
    let mut world = World::new();
    world.start("s1", "offline-only");
    world.aca(4002);
    assert_eq!(world.sent_words(), ["cdf-a ACR-START 0", "cdf-b ACR-START 0"]);
    world.aca(4002);
    assert_eq!(world.sent.len(), 2, "never a loop");
    world.pass(2 * S);
    assert_eq!(world.sent.len(), 3);
    assert!(!world.sent[2].t, "T law, line 1: every copy was answered by an error");
    world.aca(2001);
    assert_eq!(world.session("s1").ch1.state, Ch1State::Acknowledged);
    world.conserved();
}

#[test]
fn fa_17_a_permanent_failure_is_a_dead_letter_and_the_next_record_flows() {
    let mut world = World::new();
    world.start("s1", "offline-only");
    world.terminate("s1", ByeReceived, seconds(1));
    world.aca(5004);
    assert_eq!(world.only(Command::AcrStop).number(), 1);
    world.aca(2001);
    assert!(world.alarms().contains(&Alarm::Dead));
    let view = world.session("s1");
    assert_eq!(view.records[0].state, RecordState::Dead);
    assert_eq!(view.records[0].result.as_ref().and_then(|r| r.code), Some(5004));
    world.conserved();
}

#[test]
fn s_31_a_silent_cdf_is_left_for_the_other_with_t() {
    let mut world = World::new();
    world.start("s1", "offline-only");
    world.pass(2 * S);
    assert_eq!(world.sent_words(), ["cdf-a ACR-START 0", "cdf-b ACR-START 0 T"]);
    world.answer_at(1, |message| message.push(Avp::u32(id::RESULT_CODE, 2001)));
    world.pass(60 * S);
    assert_eq!(world.sent.len(), 2);
    world.conserved();
}

#[test]
fn s_30_without_a_cdf_records_wait_and_go_in_order() {
    let mut world = World::closed(policy());
    let caller = world.start("s1", "offline-only");
    assert_eq!(world.answer(caller).ch1.state, Ch1State::Stored);
    world.terminate("s1", ByeReceived, seconds(1));
    world.pass(3600 * S);
    assert!(world.sent.is_empty());
    world.peer(CDF_B, true);
    world.aca(2001);
    world.aca(2001);
    assert_eq!(world.sent_words(), ["cdf-b ACR-START 0", "cdf-b ACR-STOP 1"]);
    world.conserved();
}

// Orphans and repeats.

#[test]
fn fh_04_an_orphan_gets_a_stop_alone_and_uses_its_id_up() {
    let mut world = World::new();
    let Trigger::Terminate(mut body) = terminate("s9", ByeReceived, Units::default(), world.wall)
    else {
        unreachable!()
    };
    let Trigger::Start(start_body) = start("s9", "chat", world.wall) else { unreachable!() };
    body.session = Some(start_body);
    let caller = world.call(Trigger::Terminate(body));
    let answer = world.answer(caller);
    assert_eq!((answer.outcome, answer.basis), (Outcome::Recorded, Basis::LocalRule));
    let stop = world.only(Command::AcrStop).clone();
    assert_eq!(stop.number(), 1, "0 stays with the unseen START");
    assert_eq!(service_specific(&stop), ["farebox-orphan"]);
    assert!(world.of(Command::CcrTermination).is_empty());
    world.aca(2001);
    let late = world.start("s9", "chat");
    assert!(matches!(world.refusal(late), Refusal::SessionEnded { .. }));
    let unknown = world.interim("s8", 1, seconds(1));
    assert_eq!(world.refusal(unknown), &Refusal::UnknownSession);
}

#[test]
fn fh_04_orphans_are_refused_where_the_configuration_or_the_service_says_so() {
    let mut policy = policy();
    policy.accept_orphans = false;
    let mut world = World::with(policy);
    let caller = world.terminate("s9", ByeReceived, Units::default());
    assert_eq!(world.refusal(caller), &Refusal::UnknownSession);
    assert!(world.store.session("s:s9").expect("readable").is_none());

    let mut world = World::new();
    let Trigger::Terminate(mut body) = terminate("s9", ByeReceived, Units::default(), world.wall)
    else {
        unreachable!()
    };
    let Trigger::Start(start_body) = start("s9", "online-only", world.wall) else { unreachable!() };
    body.session = Some(start_body);
    let caller = world.call(Trigger::Terminate(body));
    assert_eq!(world.refusal(caller), &Refusal::UnknownSession);
}

#[test]
fn fh_01_repeats_get_the_first_answer_before_while_and_after() {
    let mut world = World::new();
    let body = start("s1", "chat", world.wall);
    let first = world.call(body.clone());
    let racing: Vec<_> = (0..5).map(|_| world.call(body.clone())).collect();
    world.grant();
    world.aca(2001);
    let answer = world.answer(first).clone();
    for caller in racing {
        assert_eq!(world.answer(caller), &answer);
    }
    let after = world.call(body.clone());
    assert_eq!(world.answer(after), &answer);
    assert!(matches!(world.reply(after), Reply::Answered { replayed: true, .. }));
    let mut other = body.clone();
    if let Trigger::Start(other) = &mut other {
        other.content.from = None;
    }
    let other = world.call(other);
    assert_eq!(world.refusal(other), &Refusal::IdempotencyKeyReused);
    let ccr = world.of(Command::CcrInitial).len();
    assert_eq!(ccr, 1, "I-9: one request");

    world.terminate("s1", ByeReceived, seconds(1));
    world.cca(2001);
    world.aca(2001);
    let ended = world.call(body);
    assert_eq!(world.answer(ended), &answer, "the stored answer, also after the end");
    let new = world.start("s1", "online-only");
    assert!(matches!(world.refusal(new), Refusal::SessionEnded { .. }));
}

#[test]
fn fh_01_an_interim_is_repeated_by_its_sequence() {
    let mut world = open();
    let body = interim("s1", 1, seconds(10), world.wall);
    let first = world.call(body.clone());
    let racing = world.call(body.clone());
    world.grant();
    let answer = world.answer(first).clone();
    assert_eq!(world.answer(racing), &answer);
    let again = world.call(body.clone());
    assert_eq!(world.answer(again), &answer);
    let other = world.interim("s1", 1, seconds(11));
    assert_eq!(world.refusal(other), &Refusal::IdempotencyKeyReused);
    let late = world.interim("s1", 0, seconds(11));
    assert!(matches!(world.refusal(late), Refusal::SequenceOutOfOrder { sent: 0, last: 1, .. }));
    world.terminate("s1", ByeReceived, seconds(20));
    world.cca(2001);
    let ended = world.interim("s1", 5, seconds(30));
    assert!(matches!(world.refusal(ended), Refusal::SessionEnded { .. }));
    let again = world.call(body);
    assert_eq!(world.answer(again), &answer, "also after the session ended");
    assert_eq!(world.of(Command::CcrUpdate).len(), 1);
}

#[test]
fn fh_02_an_idempotency_key_is_for_one_request() {
    let mut world = open();
    let mut request = Request {
        trigger: terminate("s1", ByeReceived, used(311, 14), world.wall),
        prefer: Prefer::default(),
        client: "cpm-1".to_owned(),
        idempotency_key: Some("k1".to_owned()),
        fingerprint: [1; 32],
    };
    let first = world.request(request.clone());
    let racing = world.request(request.clone());
    world.cca(2001);
    let answer = world.answer(first).clone();
    assert_eq!(world.answer(racing), &answer);
    let again = world.request(request.clone());
    assert_eq!(world.answer(again), &answer);
    assert!(matches!(world.reply(again), Reply::Answered { replayed: true, .. }));
    request.fingerprint = [2; 32];
    let reused = world.request(request.clone());
    assert_eq!(world.refusal(reused), &Refusal::IdempotencyKeyReused);
    request.client = "cpm-2".to_owned();
    let other_client = world.request(request);
    assert_eq!(world.answer(other_client).outcome, Outcome::Debited, "another scope");
    world.only(Command::CcrTermination);
}

#[test]
fn a_sequence_never_refuses_a_terminate() {
    let mut world = open();
    world.interim("s1", 7, seconds(10));
    world.grant();
    let Trigger::Terminate(mut body) = terminate("s1", ByeReceived, seconds(20), world.wall) else {
        unreachable!()
    };
    body.sequence = Some(3);
    let caller = world.call(Trigger::Terminate(body));
    world.cca(2001);
    let answer = world.answer(caller);
    assert_eq!(answer.sequence, 3);
    assert!(answer.warnings.iter().any(|warning| warning.code == "sequence-out-of-order"));
}

// The store.

#[test]
fn fd_10_a_full_store_refuses_and_nothing_is_sent() {
    for (failure, expected) in [
        (CommitResult::Full, Refusal::SpoolFull),
        (CommitResult::Failed("EIO".to_owned()), Refusal::StoreUnavailable("EIO".to_owned())),
    ] {
        let mut world = World::new();
        world.fail_next = Some(failure);
        let caller = world.start("s1", "chat");
        assert_eq!(world.refusal(caller), &expected);
        assert!(world.sent.is_empty());
        let again = world.start("s1", "chat");
        world.grant();
        assert_eq!(world.answer(again).outcome, Outcome::Granted, "as if it had never come");
        world.conserved();
    }
}

#[test]
fn fd_10_a_full_store_undoes_a_terminate_and_a_repeat_closes() {
    let mut world = open();
    world.fail_next = Some(CommitResult::Full);
    let caller = world.terminate("s1", ByeReceived, used(311, 14));
    assert_eq!(world.refusal(caller), &Refusal::SpoolFull);
    assert!(world.of(Command::AcrStop).is_empty() && world.of(Command::CcrTermination).is_empty());
    let again = world.terminate("s1", ByeReceived, used(311, 14));
    world.cca(2001);
    assert_eq!(world.answer(again).outcome, Outcome::Debited);
    assert_eq!(used_units(world.only(Command::CcrTermination)), (311, 14));
    world.aca(2001);
    world.conserved();
}

#[test]
fn fd_08_an_outcome_that_cannot_be_written_is_written_later() {
    let mut world = open();
    let caller = world.terminate("s1", ByeReceived, used(311, 14));
    world.fail_next = Some(CommitResult::Failed("EIO".to_owned()));
    world.cca(2001);
    assert!(matches!(world.refusal(caller), Refusal::StoreUnavailable(_)));
    world.pass(2 * S);
    let again = world.terminate("s1", ByeReceived, Units::default());
    assert_eq!(world.answer(again).outcome, Outcome::Debited);
    assert_eq!(world.session("s1").outcome, Outcome::Debited, "on disk by now");
    world.only(Command::CcrTermination);
    world.aca(2001);
    world.conserved();
}

#[test]
fn an_unknown_commit_is_written_again_until_it_is_known() {
    let mut world = World::new();
    world.fail_next = Some(CommitResult::Unknown("connection lost".to_owned()));
    let caller = world.start("s1", "chat");
    world.grant();
    assert_eq!(world.answer(caller).outcome, Outcome::Granted);
}

// Restart.

#[test]
fn w_14_fq_08_a_restart_goes_on_with_t_and_the_same_ids() {
    let mut world = World::new();
    let body = start("s1", "chat", world.wall);
    world.call(body.clone());
    let before = world.only(Command::CcrInitial).bytes.clone();
    world.restart();
    assert_eq!(world.of(Command::CcrInitial).len(), 1, "no peer yet");
    let attached = world.call(body);
    world.peer(OCS_A, true);
    world.peer(CDF_A, true);
    let copies = world.of(Command::CcrInitial);
    assert_eq!((copies.len(), copies[1].t), (2, true));
    assert_eq!(copies[1].bytes, before, "same Session-Id, number and End-to-End id");
    world.sent[0].answered = true;
    world.sent[1].answered = true;
    world.grant();
    assert_eq!(world.answer(attached).outcome, Outcome::Granted);
    assert!(world.of(Command::AcrStart)[1].t);
    world.aca(2001);
    let end = world.terminate("s1", ByeReceived, used(311, 14));
    world.cca(2001);
    assert_eq!(world.answer(end).outcome, Outcome::Debited);
    assert!(!world.only(Command::CcrTermination).t);
}

#[test]
fn a_start_that_nobody_waits_for_after_a_restart_is_closed_again() {
    let mut world = World::new();
    let body = start("s1", "chat", world.wall);
    world.call(body.clone());
    world.restart();
    world.peer(OCS_A, true);
    world.peer(CDF_A, true);
    world.sent[0].answered = true;
    world.sent[1].answered = true;
    world.grant();
    let close = world.only(Command::CcrTermination).clone();
    assert_eq!((close.number(), used_units(&close)), (1, (0, 0)));
    world.cca(2001);
    world.aca(2001);
    world.aca(2001);
    assert_eq!(world.session("s1").state, SessionState::Ended);
    let again = world.call(body);
    assert_eq!(world.answer(again).outcome, Outcome::Denied);
    world.conserved();
}

#[test]
fn without_a_ch1_route_uncovered_units_are_a_dead_letter() {
    let mut policy = policy();
    policy.routes.truncate(1);
    let mut world = World::with(policy);
    world.start("s1", "online-only");
    world.cca(2001);
    world.terminate("s1", ByeReceived, seconds(311));
    world.pass(7 * S);
    assert!(world.alarms().contains(&Alarm::Dead));
    let view = world.session("s1");
    assert_eq!(view.records.last().map(|r| r.state), Some(RecordState::Dead));
    assert_eq!(view.outcome, Outcome::Unverified);
    world.conserved();
}

#[test]
fn a_restart_continues_the_window_of_a_lost_termination() {
    let mut world = open();
    world.terminate("s1", ByeReceived, used(311, 14));
    world.pass(S);
    world.restart();
    world.pass(2 * S);
    for peer in [OCS_A, CDF_A] {
        world.peer(peer, true);
    }
    let copies = world.of(Command::CcrTermination);
    assert_eq!((copies.len(), copies[1].t), (2, true));
    world.pass(4 * S);
    assert_eq!(world.of(Command::AcrEvent).len(), 1, "window over: {:?}", world.sent_words());

    let mut world = open();
    world.terminate("s1", ByeReceived, used(311, 14));
    world.restart();
    world.wall = world.wall + 3600 * S;
    world.restart();
    world.pass(Duration::ZERO);
    world.peer(OCS_A, true);
    world.peer(CDF_A, true);
    assert_eq!(world.of(Command::CcrTermination).len(), 1, "settled at once");
    assert_eq!(world.of(Command::AcrEvent).len(), 1);
}

#[test]
fn t_law_line_1_holds_over_a_restart() {
    let mut world = World::new();
    world.start("s1", "offline-only");
    world.aca(4002);
    world.aca(4002);
    world.restart();
    world.peer(CDF_A, true);
    let last = world.sent.last().expect("sent");
    assert_eq!(last.words(), "ACR-START 0", "T clear: the mark was on disk");
    world.restart();
    world.peer(CDF_A, true);
    assert_eq!(world.sent.last().expect("sent").words(), "ACR-START 0 T", "the mark was taken off");
}

#[test]
fn fh_01_repeats_after_a_restart_get_the_stored_answer() {
    let mut world = World::new();
    let body = start("s1", "chat", world.wall);
    let first = world.call(body.clone());
    world.grant();
    let answer = world.answer(first).clone();
    world.restart();
    let again = world.call(body);
    assert_eq!(world.answer(again), &answer);
    assert_eq!(world.of(Command::CcrInitial).len(), 1);
}

#[test]
fn i_10_ids_do_not_come_back_after_a_restart() {
    let mut world = World::new();
    world.start("s1", "chat");
    world.restart();
    world.peer(OCS_A, true);
    world.start("s2", "chat");
    let messages: Vec<_> = world.of(Command::CcrInitial).iter().map(|s| s.message()).collect();
    let first = &messages[0];
    let last = messages.last().expect("there");
    assert_ne!(first.header.end_to_end, last.header.end_to_end);
    assert_ne!(first.avps.text(id::SESSION_ID), last.avps.text(id::SESSION_ID));
}

// Waiting.

#[test]
fn prefer_wait_0_answers_when_it_is_on_disk() {
    let mut world = World::new();
    let trigger = start("s1", "chat", world.wall);
    let request = Request {
        trigger,
        prefer: Prefer { wait_secs: Some(0) },
        client: String::new(),
        idempotency_key: None,
        fingerprint: [7; 32],
    };
    let caller = world.request(request.clone());
    let answer = world.answer(caller).clone();
    assert_eq!((answer.outcome, answer.ch2.state), (Outcome::Pending, Ch2State::Pending));
    world.grant();
    let again = world.request(request);
    assert_eq!(world.answer(again), &answer, "byte for byte");
    assert_eq!(world.session("s1").outcome, Outcome::Granted);
}

#[test]
fn prefer_wait_n_waits_for_the_aca_too() {
    let mut world = open();
    let request = Request {
        trigger: terminate("s1", ByeReceived, seconds(1), world.wall),
        prefer: Prefer { wait_secs: Some(5) },
        client: String::new(),
        idempotency_key: None,
        fingerprint: [7; 32],
    };
    let caller = world.request(request);
    world.cca(2001);
    assert!(world.waits(caller));
    world.aca(2001);
    assert_eq!(world.answer(caller).ch1.state, Ch1State::Acknowledged);

    let mut world = open();
    let request = Request {
        trigger: terminate("s1", ByeReceived, seconds(1), world.wall),
        prefer: Prefer { wait_secs: Some(1) },
        client: String::new(),
        idempotency_key: None,
        fingerprint: [7; 32],
    };
    let caller = world.request(request);
    world.cca(2001);
    world.pass(S);
    assert_eq!(world.answer(caller).ch1.state, Ch1State::Stored, "N seconds have passed");
}

#[test]
fn f_32_a_session_without_end_is_ended() {
    let mut world = open();
    world.interim("s1", 1, seconds(10));
    world.grant();
    world.aca(2001);
    world.pass(Duration::from_secs(24 * 3600));
    let stop = world.only(Command::AcrStop).clone();
    assert_eq!(cause_code(&stop), Some(0));
    let termination = world.only(Command::CcrTermination).message();
    assert_eq!(termination.enumerated(id::TERMINATION_CAUSE), Some(8));
    world.cca(2001);
    world.aca(2001);
    assert_eq!(world.core.engine().open_sessions(Interface::Ch1).0, 0, "back to baseline");
    assert_eq!(world.core.engine().open_sessions(Interface::Ch2).0, 0);
}

// Events.

#[test]
fn c_40_an_event_debit_is_one_ccr_e() {
    let mut world = World::new();
    let body = event("e1", EventAction::Debit, world.wall);
    let caller = world.call(body.clone());
    let ccr = world.only(Command::CcrEvent).message();
    assert_eq!(ccr.enumerated(id::CC_REQUEST_TYPE), Some(4));
    assert_eq!(ccr.enumerated(id::REQUESTED_ACTION), Some(0));
    assert_eq!(world.only(Command::AcrEvent).number(), 0);
    world.cca(2001);
    let answer = world.answer(caller).clone();
    assert_eq!((answer.outcome, answer.state), (Outcome::Debited, SessionState::Ended));
    assert_eq!(answer.debit.as_ref().expect("debit").units[0].0, 700);
    let again = world.call(body);
    assert_eq!(world.answer(again), &answer);
    let other = world.call(event("e1", EventAction::Debit, Wall(0)));
    assert_eq!(world.refusal(other), &Refusal::IdempotencyKeyReused);
    assert_eq!(world.of(Command::CcrEvent).len(), 1);
    world.aca(2001);
    world.conserved();
}

#[test]
fn c_41_c_42_c_45_a_silent_debit_goes_on_and_is_resent_with_t() {
    let mut world = World::new();
    let caller = world.call(event("e1", EventAction::Debit, world.wall));
    world.aca(2001);
    world.pass(2 * S);
    let copies = world.of(Command::CcrEvent);
    assert_eq!((copies.len(), copies[1].peer, copies[1].t), (2, OCS_B, true));
    world.pass(2 * S);
    let answer = world.answer(caller);
    assert_eq!((answer.outcome, answer.basis), (Outcome::Unverified, Basis::FailurePolicy));
    assert_eq!(answer.advice.service, ServiceAdvice::Continue, "the service goes on");
    world.disconnect(OCS_A);
    world.disconnect(OCS_B);
    world.peer(OCS_A, true);
    let last = world.of(Command::CcrEvent).last().map(|s| s.words());
    assert_eq!(last.as_deref(), Some("CCR-E 0 T"), "buffered and resent");
    let index = world.sent.iter().rposition(|s| s.command == Command::CcrEvent).expect("there");
    world.answer_at(index, |message| message.push(Avp::u32(id::RESULT_CODE, 2001)));
    world.conserved();
}

#[test]
fn c_43_a_debit_that_every_peer_refused_is_denied() {
    let mut world = World::new();
    let caller = world.call(event("e1", EventAction::Debit, world.wall));
    world.cca(3004);
    world.cca(3004);
    let answer = world.answer(caller);
    assert_eq!((answer.outcome, answer.basis), (Outcome::Denied, Basis::FailurePolicy));
}

#[test]
fn events_of_other_actions_are_online_only() {
    for (action, value) in
        [(EventAction::Refund, 1), (EventAction::CheckBalance, 2), (EventAction::EnquirePrice, 3)]
    {
        let mut world = World::new();
        let caller = world.call(event("e1", action, world.wall));
        assert!(world.of(Command::AcrEvent).is_empty());
        let ccr = world.only(Command::CcrEvent).message();
        assert_eq!(ccr.enumerated(id::REQUESTED_ACTION), Some(value));
        world.cca(2001);
        let outcome = world.answer(caller).outcome;
        let expected = match action {
            EventAction::Refund => Outcome::Refunded,
            EventAction::CheckBalance => Outcome::Granted,
            _ => Outcome::Recorded,
        };
        assert_eq!(outcome, expected);
    }
}

#[test]
fn draining_refuses_the_new_and_serves_the_old() {
    let mut world = open();
    world.step(farebox::gateway::step::Event::Engine(farebox::charging::engine::Input::Drain));
    let new = world.start("s2", "chat");
    assert_eq!(world.refusal(new), &Refusal::Draining);
    let event = world.call(event("e1", EventAction::Debit, world.wall));
    assert_eq!(world.refusal(event), &Refusal::Draining);
    let end = world.terminate("s1", ByeReceived, seconds(1));
    world.cca(2001);
    assert_eq!(world.answer(end).outcome, Outcome::Debited);
}

#[test]
fn i_13_after_the_last_session_nothing_is_left() {
    let mut world = World::new();
    for n in 0..20 {
        let id = format!("s{n}");
        world.start(&id, "chat");
        world.grant();
        world.aca(2001);
        world.terminate(&id, if n % 2 == 0 { ByeReceived } else { ByeSent }, used(10, 1));
        world.cca(2001);
        if n % 2 == 1 {
            world.terminate(&id, ByeOkReceived, Units::default());
        }
        world.aca(2001);
        world.call(event(&format!("e{n}"), EventAction::Debit, world.wall));
        world.cca(2001);
        world.aca(2001);
    }
    world.fail_next = Some(CommitResult::Full);
    world.start("never", "chat");
    world.pass(Duration::from_secs(60));
    assert_eq!(world.core.engine().next_timeout(), None, "no timer is left");
    assert_eq!(world.core.engine().open_sessions(Interface::Ch2), (0, None));
    world.conserved();
}
