//! Stories of a request on its way through the peers: room, redirects, overload, grey peers, all
//! peers gone (FM-07, FM-09, FM-11, FM-12, FN-05, O-01, O-07, R-08).

use std::time::Duration;

use bytes::Bytes;
use farebox::charging::engine::{Alarm, Input};
use farebox::charging::event::CloseTrigger::ByeReceived;
use farebox::charging::outcome::*;
use farebox::charging::policy::{Ccfh, Policy};
use farebox::charging::record::Command;
use farebox::diameter::{Avp, AvpList, Message, id};
use farebox::gateway::step::Event;
use farebox::peer::{Fact as PeerFact, PeerConfig};
use farebox::store::Interface::{Ch1, Ch2};

use crate::gateway_world::*;

const S: Duration = Duration::from_secs(1);

fn ccfh(handling: Ccfh) -> Policy {
    let mut policy = policy();
    policy.failure.on_no_answer = handling;
    policy
}

/// Every peer has a window of one.
fn narrow() -> World {
    World::limited(policy(), |_, peers| peers.iter_mut().for_each(|peer| peer.window = 1))
}

fn overloadable() -> World {
    World::limited(policy(), |_, peers| peers.iter_mut().for_each(|peer| peer.overload = true))
}

fn peers_of(world: &World, command: Command) -> Vec<usize> {
    world.of(command).iter().map(|sent| sent.peer).collect()
}

/// An open, granted session whose START is acknowledged.
fn session(world: &mut World, id: &str) {
    world.start(id, "chat");
    world.grant();
    world.aca(2001);
}

fn code(code: u32) -> impl FnOnce(&mut Message) {
    move |message| message.push(Avp::u32(id::RESULT_CODE, code))
}

/// 3006 to these hosts.
fn redirect(hosts: &[&str]) -> impl FnOnce(&mut Message) {
    let hosts: Vec<String> = hosts.iter().map(|host| format!("aaa://{host}:3868")).collect();
    move |message| {
        message.header.flags.0 |= 0x20;
        message.push(Avp::u32(id::RESULT_CODE, 3006));
        for host in hosts {
            message.push(Avp::octets(id::REDIRECT_HOST, Bytes::from(host)));
        }
    }
}

/// 2001 with an overload report.
fn report(sequence: u64, percent: u32, validity: u32) -> impl FnOnce(&mut Message) {
    move |message| {
        message.push(Avp::u32(id::RESULT_CODE, 2001));
        message.push(Avp::group(
            id::OC_OLR,
            vec![
                Avp::u64(id::OC_SEQUENCE_NUMBER, sequence),
                Avp::enumerated(id::OC_REPORT_TYPE, 0),
                Avp::u32(id::OC_REDUCTION_PERCENTAGE, percent),
                Avp::u32(id::OC_VALIDITY_DURATION, validity),
            ],
        ));
    }
}

fn waits_for_room(world: &World) -> usize {
    world.core.waiting()
}

// Room.

#[test]
fn a_full_window_passes_a_request_on_and_both_full_let_it_wait_for_a_place() {
    let mut world = narrow();
    world.start("s1", "online-only");
    world.start("s2", "online-only");
    let third = world.start("s3", "online-only");
    assert_eq!(peers_of(&world, Command::CcrInitial), [OCS_A, OCS_B], "the second goes to B");
    assert!(world.waits(third), "no failure policy while there is hope");
    assert_eq!(waits_for_room(&world), 1);
    world.answer_at(1, code(2001));
    assert_eq!(peers_of(&world, Command::CcrInitial), [OCS_A, OCS_B, OCS_B]);
    assert!(!world.sent[2].t, "it never left before");
    world.answer_at(2, code(2001));
    let answer = world.answer(third);
    assert_eq!((answer.outcome, answer.ch2.attempts), (Outcome::Granted, 1));
    world.conserved();
}

#[test]
fn without_a_place_inside_tx_the_failure_policy_speaks() {
    let mut world = narrow();
    world.peer(OCS_B, false);
    world.start("s1", "online-only");
    world.pass(S);
    let second = world.start("s2", "online-only");
    // The first is silent: it leaves the window at its Tx, and the second gets its place.
    world.pass(S);
    assert_eq!(peers_of(&world, Command::CcrInitial), [OCS_A, OCS_A]);
    assert!(world.waits(second));
    // A third and a fourth: the place comes free too late for the fourth.
    world.pass(S / 2);
    let third = world.start("s3", "online-only");
    let fourth = world.start("s4", "online-only");
    world.pass(2 * S);
    assert_eq!(world.of(Command::CcrInitial).len(), 3);
    assert!(world.waits(third));
    let answer = world.answer(fourth);
    assert_eq!((answer.outcome, answer.basis), (Outcome::Denied, Basis::FailurePolicy));
    assert_eq!((answer.ch2.attempts, waits_for_room(&world)), (0, 0));
    world.conserved();
}

#[test]
fn o_07_a_termination_stands_first_in_line() {
    let mut world = narrow();
    world.peer(OCS_B, false);
    session(&mut world, "s1");
    world.start("s2", "online-only");
    world.start("s3", "online-only");
    let end = world.terminate("s1", ByeReceived, used(311, 14));
    assert_eq!(waits_for_room(&world), 2);
    world.cca(2001);
    assert_eq!(world.sent.iter().filter(|sent| sent.command == Command::CcrTermination).count(), 1);
    assert_eq!(world.of(Command::CcrInitial).len(), 2, "the third start still waits");
    world.cca(2001);
    assert_eq!(world.answer(end).outcome, Outcome::Debited);
    assert_eq!(world.of(Command::CcrInitial).len(), 3);
    world.conserved();
}

#[test]
fn a_peer_that_goes_while_requests_wait_for_it_leaves_none_of_them_behind() {
    let mut world = narrow();
    let callers: Vec<_> =
        ["s1", "s2", "s3", "s4"].into_iter().map(|id| world.start(id, "online-only")).collect();
    assert_eq!(waits_for_room(&world), 2);
    world.disconnect(OCS_A);
    world.disconnect(OCS_B);
    for caller in callers {
        assert_eq!(world.answer(caller).outcome, Outcome::Denied);
    }
    assert_eq!(waits_for_room(&world), 0);
    world.conserved();
}

#[test]
fn accounting_records_drain_through_a_narrow_window_in_their_order() {
    let mut world = narrow();
    world.peer(CDF_B, false);
    let ids: Vec<String> = (0..20).map(|n| format!("s{n:02}")).collect();
    for id in &ids {
        world.start(id, "offline-only");
    }
    assert_eq!((world.of(Command::AcrStart).len(), waits_for_room(&world)), (1, 19));
    for _ in &ids {
        world.aca(2001);
    }
    let order: Vec<u64> = world
        .of(Command::AcrStart)
        .iter()
        .filter_map(|sent| sent.message().text(id::SESSION_ID)?.rsplit(';').next()?.parse().ok())
        .collect();
    assert_eq!(order, (1..=20).collect::<Vec<u64>>());
    assert!(world.sent.iter().all(|sent| !sent.t));
    world.conserved();
}

#[test]
fn what_was_settled_while_it_waited_does_not_leave_any_more() {
    let mut world = narrow();
    world.peer(CDF_B, false);
    world.start("s1", "offline-only");
    world.aca(2001);
    world.start("s2", "offline-only");
    // CDF-A is full: the first interim waits, the second replaces it in place (S-10).
    world.interim("s1", 1, seconds(60));
    world.interim("s1", 2, seconds(120));
    assert!(world.of(Command::AcrInterim).is_empty());
    world.aca(2001);
    let interim = world.only(Command::AcrInterim);
    assert_eq!(interim.number(), 1);
    world.conserved();
}

#[test]
fn a_copy_that_the_connection_does_not_take_is_no_copy() {
    let mut world = World::with(ccfh(Ccfh::RetryAndTerminate));
    world.peer(OCS_B, false);
    let caller = world.start("s1", "online-only");
    let token = world.sent[0].token;
    world.sent[0].answered = true;
    world.step(Event::Refused { token, peer: OCS_A });
    assert!(world.waits(caller), "it waits for a place");
    world.pass(Duration::from_millis(20));
    let copies = world.of(Command::CcrInitial);
    assert_eq!((copies.len(), copies[1].peer, copies[1].t), (2, OCS_A, false));
    assert_eq!(copies[0].bytes, copies[1].bytes);
    world.cca(2001);
    let answer = world.answer(caller);
    assert_eq!((answer.outcome, answer.ch2.attempts), (Outcome::Granted, 1));
    world.conserved();
}

#[test]
fn weights_share_new_sessions_and_a_session_stays_where_it_is() {
    use farebox::peer::routing::RoutePolicy;
    let mut world = World::limited(policy(), |routes, _| {
        routes.routes[0].policy = RoutePolicy::Weighted(vec![2, 1]);
    });
    for number in 0..6 {
        world.start(&format!("s{number}"), "online-only");
        world.cca(2001);
    }
    assert_eq!(peers_of(&world, Command::CcrInitial), [OCS_A, OCS_B, OCS_A, OCS_A, OCS_B, OCS_A]);
    for number in 0..6 {
        world.interim(&format!("s{number}"), 1, seconds(60));
        world.cca(2001);
    }
    assert_eq!(peers_of(&world, Command::CcrUpdate), peers_of(&world, Command::CcrInitial));
}

// Peers that are gone, silent, or flapping.

#[test]
fn fm_07_fn_11_all_peers_gone_spools_and_everything_leaves_when_they_are_back() {
    let mut world = World::new();
    session(&mut world, "s1");
    for peer in [OCS_A, OCS_B, CDF_A, CDF_B] {
        world.disconnect(peer);
    }
    let start = world.start("s2", "chat");
    let interim = world.interim("s1", 1, seconds(60));
    let end = world.terminate("s1", ByeReceived, used(100, 4));
    assert_eq!(world.answer(start).outcome, Outcome::Denied, "CCFH TERMINATE");
    assert_eq!(world.answer(start).basis, Basis::FailurePolicy);
    let told = world.answer(interim);
    assert_eq!((told.outcome, told.basis), (Outcome::Denied, Basis::FailurePolicy));
    let count = world.sent.len();
    world.pass(S);
    assert_eq!(world.sent.len(), count, "nobody gets anything");
    let spool = world.core.engine().spool_counts(Ch1);
    assert!(spool.waiting >= 4 && spool.in_flight == 0, "{spool:?}");
    for peer in [CDF_A, OCS_A] {
        world.peer(peer, true);
    }
    for _ in 0..20 {
        let open = |interface| {
            world.sent.iter().any(|sent| !sent.answered && sent.command.interface() == interface)
        };
        let (ch1, ch2) = (open(Ch1), open(Ch2));
        if ch1 {
            world.aca(2001);
        }
        if ch2 {
            world.cca(2001);
        }
    }
    world.pass(60 * S);
    let spool = world.core.engine().spool_counts(Ch1);
    assert_eq!((spool.waiting, spool.in_flight, spool.dead), (0, 0, 0));
    assert!(!world.waits(end));
    // Table 4: an update that cannot be sent ends the leg under TERMINATE.
    assert!(
        world.of(Command::CcrUpdate).is_empty() && world.of(Command::CcrTermination).is_empty()
    );
    let backup = world.only(Command::AcrEvent);
    assert!(service_specific(backup)[0].ends_with(";rg=700;seconds=100;messages=4"));
    world.conserved();
}

#[test]
fn fn_05_a_grey_ocs_loses_new_sessions_and_the_operator_hears_of_it() {
    let mut world = World::new();
    let first: Vec<_> = (0..3).map(|n| world.start(&format!("s{n}"), "online-only")).collect();
    world.pass(2 * S);
    for caller in first {
        assert_eq!(world.answer(caller).outcome, Outcome::Denied);
    }
    let grey = PeerFact::AnswersWatchdogOnly { interface: "ch2", requests: 3 };
    assert_eq!(world.peer_facts, [(OCS_A, grey)]);
    for number in 10..20 {
        let caller = world.start(&format!("s{number}"), "online-only");
        let index = world.sent.len() - 1;
        assert_eq!(world.sent[index].peer, OCS_B);
        world.answer_at(index, code(2001));
        assert_eq!(world.answer(caller).outcome, Outcome::Granted);
    }
    world.pass(5 * S);
    world.start("probe", "online-only");
    assert_eq!(world.sent.last().map(|sent| sent.peer), Some(OCS_A), "a trickle");
    world.start("more", "online-only");
    assert_eq!(world.sent.last().map(|sent| sent.peer), Some(OCS_B));
}

#[test]
fn fm_12_ten_minutes_of_3004_back_off_with_t_clear_and_nothing_is_lost() {
    let mut world = World::new();
    world.start("s1", "offline-only");
    let until = world.now + 600 * S;
    while world.now < until {
        while world.sent.iter().any(|sent| !sent.answered) {
            world.aca(3004);
        }
        world.pass(S / 2);
    }
    let copies = world.of(Command::AcrStart);
    assert!(copies.iter().all(|sent| !sent.t), "each was answered");
    assert!((30..80).contains(&copies.len()), "{} copies in ten minutes", copies.len());
    assert!(copies.iter().any(|sent| sent.peer == CDF_B));
    world.pass(31 * S);
    world.aca(2001);
    let spool = world.core.engine().spool_counts(Ch1);
    assert_eq!((spool.waiting, spool.in_flight, spool.dead), (0, 0, 0));
    world.conserved();
}

#[test]
fn fm_09_a_restarted_ocs_is_told_with_its_sessions_and_refused_units_go_to_the_backup_record() {
    let mut world = World::new();
    session(&mut world, "s1");
    session(&mut world, "s2");
    world.step(Event::Restarted { peer: OCS_A, from: 100, to: 200 });
    let told: Vec<&PeerFact> = world.peer_facts.iter().map(|(_, fact)| fact).collect();
    assert!(
        matches!(told[..], [PeerFact::ServerRestarted { from: 100, to: 200, sessions: 2, .. }]),
        "{told:?}"
    );
    // The OCS decides: what it does not know is settled by a backup record, once.
    world.terminate("s1", ByeReceived, used(311, 14));
    world.cca(5002);
    let backup = world.only(Command::AcrEvent);
    assert!(service_specific(backup)[0].ends_with(";n=1;rg=700;seconds=311;messages=14"));
    // What it still knows is debited as if nothing had happened.
    let end = world.terminate("s2", ByeReceived, used(60, 2));
    world.cca(2001);
    assert_eq!(world.answer(end).outcome, Outcome::Debited);
    assert_eq!(world.of(Command::AcrEvent).len(), 1);
    // The same again says nothing new (FM-10: no session twice).
    world.step(Event::Restarted { peer: OCS_A, from: 100, to: 200 });
    assert_eq!(world.peer_facts.len(), 1);
}

// Redirects.

const B_HOST: &str = "ocs-b.ocs.example.net";

#[test]
fn r_08_a_redirected_request_follows_at_once_with_the_same_ids_and_t_clear() {
    let mut world = World::new();
    let caller = world.start("s1", "online-only");
    world.answer_with(Ch2, redirect(&[B_HOST]));
    let copies = world.of(Command::CcrInitial);
    assert_eq!((copies.len(), copies[1].peer, copies[1].t), (2, OCS_B, false));
    assert_eq!(copies[0].bytes, copies[1].bytes);
    assert!(world.waits(caller));
    let redirected = PeerFact::Redirected { to: "ocs-b".to_owned() };
    assert_eq!(world.peer_facts, [(OCS_A, redirected)]);
    world.cca(2001);
    assert_eq!(world.answer(caller).outcome, Outcome::Granted);
    assert_eq!(world.answer(caller).ch2.peer.as_deref(), Some("ocs-b"));
    // The session is at B now: S is the host that answered.
    world.interim("s1", 1, seconds(60));
    let update = world.only(Command::CcrUpdate);
    assert_eq!(update.peer, OCS_B);
    assert_eq!(update.message().text(id::DESTINATION_HOST), Some(B_HOST));
    world.conserved();
}

#[test]
fn fm_11_the_second_redirect_of_a_request_is_an_error_by_the_table() {
    let mut world = World::new();
    let caller = world.start("s1", "online-only");
    world.answer_with(Ch2, redirect(&[B_HOST]));
    world.answer_with(Ch2, redirect(&["ocs-a.ocs.example.net"]));
    assert_eq!(world.of(Command::CcrInitial).len(), 2, "depth 1");
    let answer = world.answer(caller);
    assert_eq!((answer.outcome, answer.basis), (Outcome::Denied, Basis::FailurePolicy));
    assert_eq!(answer.ch2.result.as_ref().and_then(|result| result.code), Some(3006));
    world.conserved();
}

#[test]
fn fm_11_sec_07_a_redirect_to_nobody_of_ours_moves_nothing() {
    for hosts in
        [&[][..], &["evil.example.org"], &["ocs-a.ocs.example.net"], &["cdf-a.cdf.example.net"]]
    {
        let mut world = World::new();
        let caller = world.start("s1", "chat");
        world.answer_with(Ch2, redirect(hosts));
        assert_eq!(world.of(Command::CcrInitial).len(), 1, "{hosts:?}");
        assert_eq!(world.answer(caller).outcome, Outcome::Denied);
        let refused = |fact: &PeerFact| matches!(fact, PeerFact::RedirectRefused { .. });
        assert!(world.peer_facts.iter().all(|(peer, fact)| *peer == OCS_A && refused(fact)));
        assert_eq!(world.peer_facts.len(), 1);
        // On CH-1: any other result is a dead letter with its reason, never a loop.
        world.answer_with(Ch1, redirect(&["evil.example.org"]));
        assert!(world.alarms().contains(&Alarm::Dead));
    }
}

#[test]
fn r_08_an_accounting_record_follows_and_waits_in_the_spool_if_the_other_is_down() {
    let mut world = World::new();
    world.start("s1", "offline-only");
    world.answer_with(Ch1, redirect(&["cdf-b.cdf.example.net"]));
    assert_eq!(peers_of(&world, Command::AcrStart), [CDF_A, CDF_B]);
    world.aca(2001);
    world.peer(CDF_B, false);
    world.start("s2", "offline-only");
    let mut pauses = Vec::new();
    for _ in 0..6 {
        world.answer_with(Ch1, redirect(&["cdf-b.cdf.example.net"]));
        assert_eq!(world.core.engine().spool_counts(Ch1).waiting, 1, "no dead letter");
        let (before, since) = (world.sent.len(), world.now);
        while world.sent.len() == before {
            world.pass(S);
        }
        pauses.push(world.now.since(since).as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30], "never a loop");
    world.peer(CDF_B, true);
    world.answer_with(Ch1, redirect(&["cdf-b.cdf.example.net"]));
    world.aca(2001);
    assert_eq!(world.sent.last().map(|sent| (sent.peer, sent.t)), Some((CDF_B, false)));
    world.conserved();
}

#[test]
fn r_08_a_cached_redirect_moves_later_requests_until_its_time_is_over() {
    let mut world = World::new();
    world.start("s1", "online-only");
    world.answer_with(Ch2, |message| {
        redirect(&[B_HOST])(message);
        message.push(Avp::enumerated(id::REDIRECT_HOST_USAGE, 3));
        message.push(Avp::u32(id::REDIRECT_MAX_CACHE_TIME, 60));
    });
    world.cca(2001);
    world.start("s2", "online-only");
    assert_eq!(world.sent.last().map(|sent| sent.peer), Some(OCS_B), "no detour");
    world.cca(2001);
    world.disconnect(OCS_B);
    world.start("s3", "online-only");
    assert_eq!(
        world.sent.last().map(|sent| sent.peer),
        Some(OCS_A),
        "B is gone, and the route too"
    );
    world.cca(2001);
    world.peer(OCS_B, true);
    world.start("s4", "online-only");
    assert_eq!(world.sent.last().map(|sent| sent.peer), Some(OCS_A));
}

// Overload.

#[test]
fn o_01_supported_features_are_in_every_request_to_a_peer_that_is_asked_for_reports() {
    for overload in [false, true] {
        let configure = |peer: &mut PeerConfig| peer.overload = overload;
        let mut world = World::limited(policy(), |_, peers| peers.iter_mut().for_each(configure));
        session(&mut world, "s1");
        world.interim("s1", 1, seconds(60));
        world.cca(2001);
        world.aca(2001);
        world.terminate("s1", ByeReceived, used(311, 14));
        assert_eq!(world.sent.len(), 6);
        for sent in &world.sent {
            let message = sent.message();
            let features: Vec<&Avp> = message.all(id::OC_SUPPORTED_FEATURES).collect();
            assert_eq!(features.len(), usize::from(overload), "{}", sent.words());
            if let Some(features) = features.first() {
                let members = features.members().expect("a group");
                assert_eq!(members.unsigned64(id::OC_FEATURE_VECTOR), Some(1), "loss, only");
                assert!(!features.flags.mandatory(), "who does not know it ignores it");
            }
            let last = message.avps.last().map(|avp| avp.id);
            let named = message.find(id::DESTINATION_HOST).is_some();
            assert!(!named || last == Some(id::DESTINATION_HOST), "last, or none");
        }
    }
}

#[test]
fn o_07_throttled_records_wait_in_the_spool_and_leave_when_the_report_is_over() {
    let mut world = overloadable();
    world.peer(CDF_B, false);
    world.start("s1", "offline-only");
    world.answer_with(Ch1, report(1, 100, 10));
    for number in 2..6 {
        world.start(&format!("s{number}"), "offline-only");
    }
    assert_eq!(world.of(Command::AcrStart).len(), 1, "all traffic means all");
    assert_eq!(world.core.engine().spool_counts(Ch1).waiting, 4);
    world.pass(9 * S);
    assert_eq!(world.of(Command::AcrStart).len(), 1);
    for _ in 0..90 {
        world.pass(S);
        while world.sent.iter().any(|sent| !sent.answered) {
            world.aca(2001);
        }
    }
    assert_eq!(world.of(Command::AcrStart).len(), 5);
    assert!(world.sent.iter().all(|sent| !sent.t), "none left twice");
    world.conserved();
}

#[test]
fn o_04_o_07_online_requests_are_diverted_and_else_go_by_the_failure_policy() {
    for (handling, outcome) in
        [(Ccfh::Terminate, Outcome::Denied), (Ccfh::Continue, Outcome::Unverified)]
    {
        let mut world = World::limited(ccfh(handling), |_, peers| {
            peers.iter_mut().for_each(|peer| peer.overload = true);
        });
        world.start("s1", "online-only");
        world.answer_with(Ch2, report(1, 100, 600));
        world.start("s2", "online-only");
        assert_eq!(peers_of(&world, Command::CcrInitial), [OCS_A, OCS_B], "diverted");
        world.answer_with(Ch2, report(1, 100, 600));
        let throttled = world.start("s3", "online-only");
        assert_eq!(world.of(Command::CcrInitial).len(), 2);
        let answer = world.answer(throttled);
        assert_eq!((answer.outcome, answer.basis), (outcome, Basis::FailurePolicy));
        let treatments: Vec<&PeerFact> = world
            .peer_facts
            .iter()
            .map(|(_, fact)| fact)
            .filter(|fact| matches!(fact, PeerFact::Abated { .. }))
            .collect();
        assert_eq!(
            treatments,
            [
                &PeerFact::Abated { treatment: "diverted" },
                &PeerFact::Abated { treatment: "throttled" }
            ]
        );
        world.conserved();
    }
}

#[test]
fn o_07_a_throttled_termination_is_tried_again_in_its_window_and_never_lost() {
    for (validity, settled) in [(3, true), (600, false)] {
        let mut world = overloadable();
        world.start("s1", "chat");
        world.aca(2001);
        world.answer_with(Ch2, report(1, 100, validity));
        let end = world.terminate("s1", ByeReceived, used(311, 14));
        assert!(world.of(Command::CcrTermination).is_empty());
        assert_eq!(world.answer(end).ch2.state, Ch2State::Pending);
        world.aca(2001);
        world.pass(4 * S);
        let left = world.of(Command::CcrTermination).len();
        assert_eq!(left, usize::from(settled), "a report of {validity} s");
        if settled {
            world.cca(2001);
        }
        world.pass(60 * S);
        let backups = world.of(Command::AcrEvent);
        assert_eq!(backups.is_empty(), settled, "each unit in exactly one of both");
        assert!(backups.windows(2).all(|pair| pair[0].token == pair[1].token), "one record");
        world.conserved();
    }
}

#[test]
fn fn_10_an_ocs_that_comes_and_goes_gets_no_new_sessions_until_it_stays() {
    let mut world = World::new();
    for number in 0..10 {
        world.disconnect(OCS_A);
        world.pass(S);
        world.peer(OCS_A, true);
        world.pass(S);
        world.start(&format!("s{number}"), "online-only");
        world.cca(2001);
    }
    let peers = peers_of(&world, Command::CcrInitial);
    assert_eq!(peers[0], OCS_A, "a single failure is no flap");
    assert!(peers[1..].iter().all(|peer| *peer == OCS_B), "{peers:?}");
    world.pass(301 * S);
    world.start("later", "online-only");
    assert_eq!(world.sent.last().map(|sent| sent.peer), Some(OCS_A));
}

#[test]
fn an_answer_to_nothing_changes_nothing() {
    let mut world = World::new();
    world.step(Event::Engine(Input::Answer {
        token: 4711,
        peer: OCS_A,
        hop_by_hop: 1,
        bytes: Bytes::from_static(b"no message"),
        round_trip: S,
    }));
    world.step(Event::Refused { token: 4711, peer: OCS_A });
    world.step(Event::Refused { token: 4711, peer: 99 });
    world.step(Event::Restarted { peer: 99, from: 1, to: 2 });
    assert!(world.sent.is_empty() && world.peer_facts.is_empty());
}
