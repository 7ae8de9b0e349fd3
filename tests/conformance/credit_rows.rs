//! One story for each row of the accounting client and of the credit-control client, and the report
//! that shows every row of RFC 6733, 8.2 and RFC 8506, 7 with its story.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use farebox::charging::accounting;
use farebox::charging::credit_control;
use farebox::charging::engine::Fact;
use farebox::charging::event::CloseTrigger::ByeReceived;
use farebox::charging::event::*;
use farebox::charging::io::NoticeKind;
use farebox::charging::outcome::Outcome;
use farebox::charging::policy::{Ccfh, Ddfh, Policy};
use farebox::charging::record::Command;
use farebox::diameter::{Avp, Message, id};
use farebox::store::Interface;

use crate::gateway_world::*;

const S: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(7);

fn ccfh(handling: Ccfh) -> Policy {
    let mut policy = policy();
    policy.failure.on_no_answer = handling;
    policy
}

fn ddfh(handling: Ddfh) -> Policy {
    let mut policy = policy();
    policy.failure.direct_debit = handling;
    policy
}

/// CH-1 alone, START sent.
fn offline() -> World {
    let mut world = World::new();
    world.start("s1", "offline-only");
    world
}

/// The oldest unanswered ACR is answered.
fn aca(world: &mut World, code: u32, realtime: Option<i32>) {
    world.answer_with(Interface::Ch1, |message| {
        message.push(Avp::u32(id::RESULT_CODE, code));
        message
            .avps
            .extend(realtime.map(|value| Avp::enumerated(id::ACCOUNTING_REALTIME_REQUIRED, value)));
    });
}

/// The CPM server was told to end the session.
fn disconnected(world: &World) -> bool {
    world.notices.iter().any(|notice| notice.kind == NoticeKind::Abort)
}

/// CH-2 alone, CCR-I sent.
fn asked(policy: Policy) -> World {
    let mut world = World::with(policy);
    world.start("s1", "online-only");
    world
}

/// CH-2 alone, granted.
fn open(policy: Policy) -> World {
    let mut world = asked(policy);
    world.cca(2001);
    world
}

/// CH-2 alone, CCR-U sent.
fn updating(policy: Policy) -> World {
    let mut world = open(policy);
    world.interim("s1", 1, seconds(10));
    world
}

/// CH-2 alone, CCR-T sent.
fn ending(policy: Policy) -> World {
    let mut world = open(policy);
    world.terminate("s1", ByeReceived, seconds(10));
    world
}

/// An event of CH-2, CCR-E sent.
fn one_time(action: EventAction, policy: Policy) -> World {
    let mut world = World::with(policy);
    one_time_in(&mut world, action);
    world
}

fn one_time_in(world: &mut World, action: EventAction) {
    let Trigger::Event(mut body) = event("e1", action, world.wall) else { unreachable!() };
    body.interfaces = Some(Interfaces { ch1: false, ch2: true });
    world.call(Trigger::Event(body));
}

/// A debit that no OCS could take: in storage, and sent once an OCS is there.
fn stored_debit() -> World {
    let mut world = World::closed(policy());
    one_time_in(&mut world, EventAction::Debit);
    world.peer(OCS_A, true);
    world
}

fn grant_seconds(world: &mut World, granted: u32, last: bool) {
    world.answer_with(Interface::Ch2, |message: &mut Message| {
        message.push(Avp::u32(id::RESULT_CODE, 2001));
        let mut members = vec![
            Avp::u32(id::RATING_GROUP, 701),
            Avp::group(id::GRANTED_SERVICE_UNIT, vec![Avp::u32(id::CC_TIME, granted)]),
        ];
        if last {
            let action = vec![Avp::enumerated(id::FINAL_UNIT_ACTION, 0)];
            members.push(Avp::group(id::FINAL_UNIT_INDICATION, action));
        }
        message.push(Avp::group(id::MULTIPLE_SERVICES_CREDIT_CONTROL, members));
    });
}

/// Without a `request`, so that nothing more is wanted.
fn last_report(world: &mut World, total: u64) {
    let Trigger::Interim(mut body) = interim("s1", 1, seconds(total), world.wall) else {
        unreachable!()
    };
    body.request = Vec::new();
    world.call(Trigger::Interim(body));
}

/// Answers the newest copy of a command.
fn answer_newest(world: &mut World, command: Command, code: u32) {
    let index = world.sent.iter().rposition(|sent| sent.command == command).expect("sent");
    world.answer_at(index, |message| message.push(Avp::u32(id::RESULT_CODE, code)));
}

macro_rules! stories {
    ($($name:ident $rows:literal $story:block)*) => {
        $(
            #[test]
            fn $name() {
                let world: World = $story;
                for row in $rows.split(' ') {
                    assert!(world.took(row), "{row} was not taken");
                }
            }
        )*

        /// Every story with the rows that it claims.
        const STORIES: &[(&str, &str, fn() -> World)] = &[$((stringify!($name), $rows, || $story)),*];
    };
}

stories! {
acc_a_session_runs_through "ACC-01 ACC-04 ACC-11 ACC-13 ACC-12 ACC-27" {
    let mut world = offline();
    world.aca(2001);
    world.interim("s1", 1, seconds(10));
    world.aca(2002);
    world.terminate("s1", ByeReceived, seconds(20));
    world.aca(2001);
    world.conserved();
    world
}
acc_a_start_that_cannot_be_sent_is_stored "ACC-05 ACC-03 ACC-25 ACC-24" {
    let mut world = offline();
    world.aca(4002);
    world.aca(4002);
    world.pass(2 * S);
    world.aca(4002);
    world.aca(3004);
    world.pass(5 * S);
    world.aca(2001);
    world.conserved();
    world
}
acc_a_start_that_must_be_delivered_disconnects "ACC-07" {
    let mut world = offline();
    aca(&mut world, 4002, Some(1));
    aca(&mut world, 4002, Some(1));
    world
}
acc_a_failed_start_without_realtime_goes_on "ACC-08x" {
    let mut world = offline();
    world.aca(5012);
    world
}
acc_a_failed_start_that_may_be_lost_goes_on "ACC-08" {
    let mut world = offline();
    aca(&mut world, 5012, Some(3));
    assert!(!disconnected(&world));
    world
}
acc_a_failed_start_disconnects "ACC-09" {
    let mut world = offline();
    aca(&mut world, 5012, Some(2));
    assert!(disconnected(&world));
    world
}
acc_a_stop_behind_the_start_is_stored "ACC-10" {
    let mut world = offline();
    world.terminate("s1", ByeReceived, seconds(20));
    assert!(world.of(Command::AcrStop).is_empty());
    world.aca(2001);
    assert_eq!(world.only(Command::AcrStop).number(), 1);
    world
}
acc_an_interim_that_cannot_be_sent_is_stored "ACC-14" {
    let mut world = offline();
    world.aca(2001);
    world.interim("s1", 1, seconds(10));
    world.aca(3002);
    world.aca(3005);
    world
}
acc_an_interim_that_must_be_delivered_disconnects "ACC-16" {
    let mut world = offline();
    aca(&mut world, 2001, Some(1));
    world.interim("s1", 1, seconds(10));
    world.disconnect(CDF_A);
    world.disconnect(CDF_B);
    assert!(disconnected(&world));
    world
}
acc_a_failed_interim_without_realtime_goes_on "ACC-17x" {
    let mut world = offline();
    world.aca(2001);
    world.interim("s1", 1, seconds(10));
    world.aca(5012);
    world
}
acc_a_failed_interim_that_may_be_lost_goes_on "ACC-17" {
    let mut world = offline();
    aca(&mut world, 2001, Some(3));
    world.interim("s1", 1, seconds(10));
    world.aca(5012);
    assert!(!disconnected(&world));
    world
}
acc_a_failed_interim_disconnects "ACC-18" {
    let mut world = offline();
    aca(&mut world, 2001, Some(2));
    world.interim("s1", 1, seconds(10));
    world.aca(5012);
    assert!(disconnected(&world));
    world
}
acc_a_stop_behind_an_interim_is_stored "ACC-19" {
    let mut world = offline();
    world.aca(2001);
    world.interim("s1", 1, seconds(10));
    world.terminate("s1", ByeReceived, seconds(20));
    assert!(world.of(Command::AcrStop).is_empty());
    world
}
acc_an_event_is_acknowledged "ACC-02 ACC-20" {
    let mut world = World::new();
    world.call(event("e1", EventAction::Debit, world.wall));
    world.aca(2001);
    world
}
acc_an_event_that_cannot_be_sent_is_stored "ACC-21" {
    let mut world = World::new();
    world.call(event("e1", EventAction::Debit, world.wall));
    world.aca(4002);
    world.aca(4002);
    world
}
acc_a_failed_event_is_a_dead_letter "ACC-23" {
    let mut world = World::new();
    world.call(event("e1", EventAction::Debit, world.wall));
    world.aca(5012);
    world
}
acc_a_failed_record_from_storage_is_deleted "ACC-26" {
    let mut world = offline();
    world.aca(4002);
    world.aca(4002);
    world.pass(2 * S);
    world.aca(5012);
    world.conserved();
    world
}
acc_a_stop_that_cannot_be_sent_is_stored "ACC-28" {
    let mut world = offline();
    world.aca(2001);
    world.terminate("s1", ByeReceived, seconds(20));
    world.aca(4002);
    world.aca(4002);
    world
}
acc_a_failed_stop_ends_the_session "ACC-30" {
    let mut world = offline();
    world.aca(2001);
    world.terminate("s1", ByeReceived, seconds(20));
    world.aca(5012);
    world
}
acc_interims_behind_a_pending_record_are_stored "ACC-31x ACC-32x" {
    let mut world = offline();
    world.interim("s1", 1, seconds(10));
    world.aca(2001);
    world.interim("s1", 2, seconds(20));
    assert_eq!(world.of(Command::AcrInterim).len(), 1);
    world
}

cc3_a_start_is_granted "CC3-01 CC3-02" { open(policy()) }
cc3_no_ocs_under_continue_goes_on "CC3-03" {
    let mut world = World::closed(ccfh(Ccfh::Continue));
    let caller = world.start("s1", "online-only");
    assert_eq!(world.answer(caller).outcome, Outcome::Unverified);
    world
}
cc3_no_ocs_denies "CC3-04" {
    let mut world = World::closed(ccfh(Ccfh::RetryAndTerminate));
    let caller = world.start("s1", "online-only");
    assert_eq!(world.answer(caller).outcome, Outcome::Denied);
    world
}
cc3_silence_under_terminate_denies "CC3-05" {
    let mut world = asked(policy());
    world.pass(2 * S);
    world
}
cc3_silence_under_continue_goes_on "CC3-06 CC3-13x" {
    let mut world = asked(ccfh(Ccfh::Continue));
    world.pass(WINDOW);
    world
}
cc3_silence_under_retry_denies_after_one_copy "CC3-06x" {
    let mut world = asked(ccfh(Ccfh::RetryAndTerminate));
    world.pass(4 * S);
    assert_eq!(world.of(Command::CcrInitial).len(), 2);
    world
}
cc3_denied "CC3-07" {
    let mut world = asked(ccfh(Ccfh::Continue));
    world.cca(4010);
    world
}
cc3_free "CC3-08" {
    let mut world = asked(policy());
    world.cca(4011);
    world
}
cc3_failed_under_continue_goes_on "CC3-09" {
    let mut world = asked(ccfh(Ccfh::Continue));
    world.cca(5012);
    world
}
cc3_failed_denies "CC3-10" {
    let mut world = asked(ccfh(Ccfh::RetryAndTerminate));
    world.cca(5012);
    world
}
cc3_a_termination_behind_the_initial_is_queued "CC3-11 CC4-04" {
    let mut world = asked(policy());
    world.terminate("s1", ByeReceived, seconds(5));
    assert!(world.of(Command::CcrTermination).is_empty());
    world.cca(2001);
    world.only(Command::CcrTermination);
    world
}
cc3_a_report_behind_the_initial_is_queued "CC3-12 CC4-03" {
    let mut world = asked(policy());
    world.interim("s1", 1, seconds(5));
    assert!(world.of(Command::CcrUpdate).is_empty());
    world.cca(2001);
    world.only(Command::CcrUpdate);
    world
}
cc3_an_initial_found_at_start_is_given_up_with_its_window "CC3-14x" {
    let mut world = asked(policy());
    world.restart();
    world.pass(WINDOW);
    world
}

cc4_quota_used_up_asks_for_more "CC4-01" {
    let mut world = asked(policy());
    grant_seconds(&mut world, 60, false);
    world.interim("s1", 1, seconds(60));
    world
}
cc4_final_units_used_up_end_the_service "CC4-02" {
    let mut world = asked(policy());
    grant_seconds(&mut world, 60, true);
    world.terminate("s1", ByeReceived, seconds(60));
    world.only(Command::CcrTermination);
    world
}
cc4_final_units_reported_used_up_disconnect_the_user "CC4-02" {
    let mut world = asked(policy());
    grant_seconds(&mut world, 60, true);
    last_report(&mut world, 60);
    assert!(disconnected(&world), "the CPM server is told to stop");
    world.cca(2001);
    world.pass(6 * S);
    world.only(Command::CcrTermination);
    world
}
cc4_a_change_is_reported "CC4-05 CC4-08" {
    let mut world = updating(policy());
    world.cca(2001);
    world
}
cc4_the_user_ends_the_session "CC4-06 CC4-20" {
    let mut world = ending(policy());
    world.cca(2001);
    world
}
cc4_rar_in_open_is_followed_by_an_update "CC4-07" {
    let mut world = open(policy());
    let rar = world.server_request(OCS_A, 258);
    world.ask(OCS_A, &rar);
    world.only(Command::CcrUpdate);
    world
}
cc4_an_update_nobody_takes_under_continue_goes_on "CC4-09" {
    let mut world = updating(ccfh(Ccfh::Continue));
    world.cca(3004);
    world
}
cc4_an_update_nobody_takes_ends_the_service "CC4-10" {
    let mut world = updating(policy());
    world.cca(3004);
    world
}
cc4_a_silent_update_under_terminate_is_repeated_until_its_window_ends "CC4-11x CC4-26x" {
    let mut world = updating(policy());
    world.pass(WINDOW);
    assert_eq!(world.of(Command::CcrUpdate).len(), 2);
    world
}
cc4_a_silent_update_under_continue_goes_on "CC4-12" {
    let mut world = updating(ccfh(Ccfh::Continue));
    world.pass(4 * S);
    world
}
cc4_a_silent_update_under_retry_ends_the_service "CC4-12x" {
    let mut world = updating(ccfh(Ccfh::RetryAndTerminate));
    world.pass(4 * S);
    world
}
cc4_a_denied_update "CC4-13" {
    let mut world = updating(ccfh(Ccfh::Continue));
    world.cca(4010);
    world
}
cc4_an_update_that_is_free "CC4-14" {
    let mut world = updating(policy());
    world.cca(4011);
    world
}
cc4_a_failed_update_under_continue_goes_on "CC4-15" {
    let mut world = updating(ccfh(Ccfh::Continue));
    world.cca(5012);
    world
}
cc4_a_failed_update_ends_the_service "CC4-16" {
    let mut world = updating(policy());
    world.cca(5012);
    world
}
cc4_a_termination_behind_an_update_is_queued "CC4-17 CC4-04" {
    let mut world = updating(policy());
    world.terminate("s1", ByeReceived, seconds(20));
    world.cca(2001);
    world.only(Command::CcrTermination);
    world
}
cc4_a_report_behind_an_update_is_queued "CC4-18 CC4-03" {
    let mut world = updating(policy());
    world.interim("s1", 2, seconds(20));
    world.cca(2001);
    assert_eq!(world.of(Command::CcrUpdate).len(), 2);
    world
}
cc4_rar_behind_an_update_is_answered "CC4-19" {
    let mut world = updating(policy());
    let rar = world.server_request(OCS_A, 258);
    world.ask(OCS_A, &rar);
    assert_eq!(world.of(Command::CcrUpdate).len(), 1);
    world
}
cc4_a_failed_termination_ends_the_leg "CC4-21" {
    let mut world = ending(policy());
    world.cca(5012);
    assert_eq!(world.of(Command::CcrTermination).len(), 1, "C-39: never replayed");
    world
}
cc4_a_silent_termination_is_settled_by_its_window "CC4-23x CC4-25x" {
    let mut world = ending(policy());
    world.pass(WINDOW);
    world.only(Command::AcrEvent);
    world
}
cc4_a_termination_that_cannot_be_sent_waits "CC4-24x" {
    let mut world = ending(policy());
    world.cca(3004);
    world
}
cc4_a_denied_termination_ends_the_leg "CC4-27x" {
    let mut world = ending(policy());
    world.cca(5030);
    world
}
cc4_a_termination_that_is_free "CC4-28x" {
    let mut world = ending(policy());
    world.cca(4011);
    world
}

cc5_a_debit "CC5-01 CC5-03" {
    let mut world = one_time(EventAction::Debit, policy());
    world.cca(2001);
    world
}
cc5_a_stored_debit_is_sent_and_deleted "CC5-10 CC5-02 CC5-16" {
    let mut world = stored_debit();
    assert!(world.only(Command::CcrEvent).bytes.len() > 20);
    world.cca(2001);
    world.conserved();
    world
}
cc5_an_enquiry_that_fails_is_a_service_error "CC5-04" {
    let mut world = one_time(EventAction::CheckBalance, policy());
    world.cca(5012);
    let mut world = one_time(EventAction::EnquirePrice, policy());
    world.pass(4 * S);
    world
}
cc5_a_denied_debit "CC5-05" {
    let mut world = one_time(EventAction::Debit, policy());
    world.cca(5030);
    world
}
cc5_a_free_event "CC5-06" {
    let mut world = one_time(EventAction::Debit, policy());
    world.cca(4011);
    world
}
cc5_a_failed_debit_under_continue_goes_on "CC5-07" {
    let mut world = one_time(EventAction::Debit, ddfh(Ddfh::Continue));
    world.cca(5012);
    world
}
cc5_a_failed_debit_is_denied "CC5-08" {
    let mut world = one_time(EventAction::Debit, policy());
    world.cca(5012);
    world
}
cc5_a_debit_that_every_ocs_refused_is_denied_and_never_sent_again "CC5-08" {
    let mut world = one_time(EventAction::Debit, policy());
    world.cca(3004);
    world.cca(3004);
    let before = world.sent.len();
    world.disconnect(OCS_A);
    world.peer(OCS_A, true);
    world.pass(3600 * S);
    assert_eq!(world.sent.len(), before, "told denied: the user must not be charged later");
    world.conserved();
    world
}
cc5_a_silent_debit_under_continue_is_dropped "CC5-09 CC5-12" {
    let mut world = one_time(EventAction::Debit, ddfh(Ddfh::Continue));
    world.pass(4 * S);
    answer_newest(&mut world, Command::CcrEvent, 5012);
    world
}
cc5_a_silent_debit_is_stored "CC5-09x" {
    let mut world = one_time(EventAction::Debit, policy());
    world.pass(4 * S);
    world
}
cc5_a_temporary_error_after_tx_stores_the_debit "CC5-11" {
    let mut world = one_time(EventAction::Debit, policy());
    world.pass(2 * S);
    world.disconnect(OCS_A);
    answer_newest(&mut world, Command::CcrEvent, 3004);
    world
}
cc5_a_failed_refund_is_deleted "CC5-13" {
    let mut world = one_time(EventAction::Refund, policy());
    world.cca(5012);
    world
}
cc5_a_silent_refund_is_stored "CC5-14" {
    let mut world = one_time(EventAction::Refund, policy());
    world.pass(4 * S);
    world
}
cc5_a_refund_that_every_ocs_refused_is_stored "CC5-15" {
    let mut world = one_time(EventAction::Refund, policy());
    world.cca(3004);
    world.cca(3004);
    world
}
cc5_a_stored_debit_that_failed_is_deleted "CC5-17" {
    let mut world = stored_debit();
    world.cca(5012);
    world.conserved();
    world
}
cc5_a_stored_debit_that_was_denied_is_deleted "CC5-17x" {
    let mut world = stored_debit();
    world.cca(4010);
    world
}
cc5_a_stored_debit_meets_a_temporary_error "CC5-18" {
    let mut world = stored_debit();
    world.cca(3004);
    world
}
cc5_a_stored_debit_meets_silence_until_buffer_for_ends "CC5-18x CC5-19x" {
    let mut world = stored_debit();
    world.pass(24 * 3600 * S);
    world
}
}

/// Rows that no story can reach through the engine, with the reason.
const TABLE_ALONE: &[(&str, &str)] = &[
    ("ACC-06", "every record is stored before it is sent; a full store refuses the trigger (507)"),
    ("ACC-15", "as ACC-06"),
    ("ACC-22", "as ACC-06"),
    ("ACC-29", "as ACC-06"),
    ("CC4-22", "an interim after the first closing trigger is 409 session-ended before the table"),
    ("CC5-20x", "Tx ends PendingE long before failure.ch2.buffer_for does"),
];

/// RFC rows that farebox replaces by rows of its own.
const REPLACED: &[(&str, &str)] = &[("CC4-11", "CC4-11x")];

/// (id, cells) of every row, in the order of the RFCs.
fn rows() -> Vec<(&'static str, String)> {
    let accounting = accounting::TABLE.iter().map(|row| {
        let cells = format!(
            "{:?} | {:?} | {:?} | {:?} | {:?}",
            row.state, row.event, row.when, row.steps, row.next
        );
        (row.id, cells)
    });
    let tables = [credit_control::TABLE_3, credit_control::TABLE_4, credit_control::TABLE_5];
    let credit = tables.into_iter().flatten().map(|row| {
        let cells = format!(
            "{:?} | {:?} | {:?} | {:?} | {:?}",
            row.state, row.event, row.when, row.steps, row.next
        );
        (row.id, cells)
    });
    accounting.chain(credit).collect()
}

#[test]
#[allow(clippy::print_stdout)] // The report, for whoever runs it with --nocapture.
fn c_26_s_28_every_row_of_both_clients_is_reached_or_has_a_reason() {
    let mut reached: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut claimed = BTreeSet::new();
    for (name, claims, story) in STORIES {
        let world = story();
        claimed.extend(claims.split(' '));
        let taken: BTreeSet<&str> = world
            .facts
            .iter()
            .filter_map(|fact| match fact {
                Fact::Took(row) => Some(*row),
                _ => None,
            })
            .collect();
        for row in claims.split(' ').filter(|row| taken.contains(row)) {
            reached.entry(row).or_default().push(name);
        }
    }
    let mut page = String::from(
        "# Rows of the charging clients\n\n\
         Generated by `c_26_s_28_every_row_of_both_clients_is_reached_or_has_a_reason`; `UPDATE=1` \
         writes it anew.\n\
         The accounting client of RFC 6733, 8.2 (ACC) and the credit-control client of RFC 8506, 7, \
         tables 3, 4 and 5 (CC3, CC4, CC5), in the order in which the RFCs print them.\n\
         An id that ends in `x` departs from the RFC or adds to it; the reason stands beside the \
         row in `src/charging/`.\n",
    );
    let (mut stories, mut alone, mut of_rfc) = (0, 0, 0);
    let mut table = String::new();
    let mut seen = BTreeSet::new();
    for (id, cells) in rows() {
        let first = seen.insert(id);
        let replaced = REPLACED.iter().any(|(_, by)| *by == id);
        let proof = match (reached.get(id), TABLE_ALONE.iter().find(|(row, _)| *row == id)) {
            (Some(names), None) => {
                stories += usize::from(first);
                names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            }
            (None, Some((_, reason))) => {
                alone += usize::from(first);
                format!("table alone: {reason}")
            }
            (Some(_), Some(_)) => panic!("{id} is reached after all"),
            (None, None) => panic!("{id} is reached by no story and has no reason"),
        };
        of_rfc += usize::from(first && (!id.ends_with('x') || replaced));
        table.push_str(&format!("| {id} | {cells} | {proof} |\n"));
    }
    page.push_str(&format!(
        "\n{of_rfc} rows of the RFCs and {} rows of farebox: {stories} reached by a story through \
         the engine, {alone} tested in the table alone.\n\n\
         | Row | State | Event | When | Steps | Next | Reached by |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n{table}",
        seen.len() - of_rfc,
    ));
    assert_eq!(of_rfc, 82, "12 + 22 + 18 + 30");
    assert!(claimed.iter().all(|row| seen.contains(row)), "a story claims a row that is not there");
    #[allow(clippy::print_stdout)] // The report, for whoever runs it with --nocapture.
    {
        println!("{page}");
    }
    crate::docs::check_page("docs/proof/charging-rows.md", &page);
}

/// The RFCs' tables, copied: state, event in short, action in short, next state.
#[rustfmt::skip]
const RFC_8506: &[(&str, &str, &str, &str)] = &[
    ("CC3-01", "Idle", "SendInitial", "PendingI"),
    ("CC3-02", "PendingI", "StopTx", "Open"),
    ("CC3-03", "PendingI", "Grant", "Idle"),
    ("CC3-04", "PendingI", "TerminateService", "Idle"),
    ("CC3-05", "PendingI", "TerminateService", "Idle"),
    ("CC3-06", "PendingI", "Grant", "PendingI"),
    ("CC3-07", "PendingI", "TerminateService", "Idle"),
    ("CC3-08", "PendingI", "GrantFree", "Idle"),
    ("CC3-09", "PendingI", "Grant", "Idle"),
    ("CC3-10", "PendingI", "TerminateService", "Idle"),
    ("CC3-11", "PendingI", "QueueTermination", "PendingI"),
    ("CC3-12", "PendingI", "QueueReport", "PendingI"),
    ("CC4-01", "Open", "SendUpdate", "PendingU"),
    ("CC4-02", "Open", "TerminateService SendTermination", "PendingT"),
    ("CC4-03", "Open", "SendUpdate", "PendingU"),
    ("CC4-04", "Open", "SendTermination", "PendingT"),
    ("CC4-05", "Open", "SendUpdate", "PendingU"),
    ("CC4-06", "Open", "SendTermination", "PendingT"),
    ("CC4-07", "Open", "SendRaa SendUpdate", "PendingU"),
    ("CC4-08", "PendingU", "StopTx", "Open"),
    ("CC4-09", "PendingU", "Grant", "Idle"),
    ("CC4-10", "PendingU", "TerminateService", "Idle"),
    ("CC4-12", "PendingU", "Grant", "PendingU"),
    ("CC4-13", "PendingU", "TerminateService", "Idle"),
    ("CC4-14", "PendingU", "GrantFree", "Idle"),
    ("CC4-15", "PendingU", "Grant", "Idle"),
    ("CC4-16", "PendingU", "TerminateService", "Idle"),
    ("CC4-17", "PendingU", "QueueTermination", "PendingU"),
    ("CC4-18", "PendingU", "QueueReport", "PendingU"),
    ("CC4-19", "PendingU", "SendRaa", "PendingU"),
    ("CC4-20", "PendingT", "", "Idle"),
    ("CC4-21", "PendingT", "", "Idle"),
    ("CC4-22", "PendingT", "", "PendingT"),
    ("CC5-01", "Idle", "SendEvent", "PendingE"),
    ("CC5-02", "Idle", "SendStored", "PendingB"),
    ("CC5-03", "PendingE", "Grant", "Idle"),
    ("CC5-04", "PendingE", "ServiceError", "Idle"),
    ("CC5-05", "PendingE", "TerminateService", "Idle"),
    ("CC5-06", "PendingE", "GrantFree", "Idle"),
    ("CC5-07", "PendingE", "Grant", "Idle"),
    ("CC5-08", "PendingE", "TerminateService", "Idle"),
    ("CC5-09", "PendingE", "Grant", "PendingE"),
    ("CC5-12", "PendingE", "", "Idle"),
    ("CC5-13", "PendingE", "ServiceError Delete", "Idle"),
    ("CC5-16", "PendingB", "Delete", "Idle"),
    ("CC5-17", "PendingB", "Delete", "Idle"),
    // A request in storage is Idle for the RFC and PendingB here: it waits for its next copy.
    ("CC5-10", "PendingE", "Store", "PendingB"),
    ("CC5-11", "PendingE", "Store", "PendingB"),
    ("CC5-14", "PendingE", "Store", "PendingB"),
    ("CC5-15", "PendingE", "Store", "PendingB"),
    ("CC5-18", "PendingB", "", "PendingB"),
];

#[test]
fn c_26_tables_3_4_and_5_are_those_of_rfc_8506() {
    let tables = [credit_control::TABLE_3, credit_control::TABLE_4, credit_control::TABLE_5];
    let rows: Vec<_> = tables.into_iter().flatten().filter(|row| !row.id.ends_with('x')).collect();
    for row in &rows {
        let rfc = RFC_8506.iter().find(|rfc| rfc.0 == row.id);
        let (_, state, actions, next) = rfc.unwrap_or_else(|| panic!("{} is not there", row.id));
        assert_eq!(
            (&*format!("{:?}", row.state), &*format!("{:?}", row.next)),
            (*state, *next),
            "{}",
            row.id
        );
        let steps: Vec<String> = row.steps.iter().map(|step| format!("{step:?}")).collect();
        for action in actions.split_whitespace() {
            assert!(steps.iter().any(|step| step == action), "{}: {action}", row.id);
        }
        // What farebox does besides: the caller is told (Grant), the units are kept (Backup).
        let more: Vec<&String> =
            steps.iter().filter(|s| !actions.split_whitespace().any(|a| a == *s)).collect();
        assert!(
            more.iter()
                .all(|step| ["Grant", "Backup", "Repeat", "StopTx"].contains(&step.as_str())),
            "{}: {more:?}",
            row.id
        );
    }
    for (id, ..) in RFC_8506 {
        assert!(rows.iter().any(|row| row.id == *id), "{id}");
    }
    assert_eq!(RFC_8506.len() + REPLACED.len(), 52, "12 + 22 + 18");
}

/// RFC 6733, 8.2, CLIENT, ACCOUNTING: state, steps, next.
#[rustfmt::skip]
const RFC_6733: &[(&str, &str, &str)] = &[
    ("Idle", "SendStart", "PendingS"), ("Idle", "SendEvent", "PendingE"), ("Idle", "SendRecord", "PendingB"),
    ("PendingS", "", "Open"), ("PendingS", "Store", "Open"), ("PendingS", "", "Open"), ("PendingS", "Store DisconnectUser", "Idle"),
    ("PendingS", "", "Open"), ("PendingS", "DisconnectUser", "Idle"), ("PendingS", "StoreStop", "PendingS"),
    ("Open", "SendInterim", "PendingI"), ("Open", "SendStop", "PendingL"),
    ("PendingI", "", "Open"), ("PendingI", "Store", "Open"), ("PendingI", "", "Open"), ("PendingI", "Store DisconnectUser", "Idle"),
    ("PendingI", "", "Open"), ("PendingI", "DisconnectUser", "Idle"), ("PendingI", "StoreStop", "PendingI"),
    ("PendingE", "", "Idle"), ("PendingE", "Store", "Idle"), ("PendingE", "", "Idle"), ("PendingE", "", "Idle"),
    ("PendingB", "Delete", "Idle"), ("PendingB", "", "Idle"), ("PendingB", "Delete", "Idle"),
    ("PendingL", "", "Idle"), ("PendingL", "Store", "Idle"), ("PendingL", "", "Idle"), ("PendingL", "", "Idle"),
];

/// ACC-07 and ACC-16 also store the record: the RFC drops it, farebox never does.
#[test]
fn s_04_the_accounting_table_is_the_table_of_rfc_6733() {
    let rows: Vec<_> = accounting::TABLE.iter().filter(|row| !row.id.ends_with('x')).collect();
    assert_eq!((rows.len(), RFC_6733.len()), (30, 30));
    for (index, (row, (state, steps, next))) in rows.iter().zip(RFC_6733).enumerate() {
        assert_eq!(row.id, format!("ACC-{:02}", index + 1));
        let words: Vec<String> = row.steps.iter().map(|step| format!("{step:?}")).collect();
        assert_eq!(
            (&*format!("{:?}", row.state), &*words.join(" "), &*format!("{:?}", row.next)),
            (*state, *steps, *next),
            "{}",
            row.id
        );
    }
}
