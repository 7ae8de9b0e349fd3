//! Stories that kill -9 under load has told: what a crash, and the order in which peers come back,
//! may not change.

use std::time::Duration;

use farebox::charging::event::CloseTrigger::ByeReceived;
use farebox::charging::outcome::Outcome;
use farebox::charging::policy::Ccfh;
use farebox::charging::record::Command;
use farebox::store::{Interface, RecordState};

use crate::gateway_world::*;

const S: Duration = Duration::from_secs(1);

/// A chat on both interfaces, granted by ocs-a; its START is acknowledged.
fn open(handling: Ccfh) -> World {
    let mut policy = policy();
    policy.failure.on_no_answer = handling;
    let mut world = World::with(policy);
    world.start("s1", "chat");
    world.grant();
    world.aca(2001);
    world
}

/// Copies of before a crash get no answer any more.
fn crash(world: &mut World) {
    world.restart();
    for sent in &mut world.sent {
        sent.answered = true;
    }
}

#[test]
fn fp_01_a_recovered_start_waits_for_a_peer_of_its_own_route() {
    for handling in [Ccfh::Terminate, Ccfh::RetryAndTerminate, Ccfh::Continue] {
        let mut policy = policy();
        policy.failure.on_no_answer = handling;
        let mut world = World::with(policy);
        let body = start("s1", "chat", world.wall);
        world.call(body.clone());
        crash(&mut world);
        world.peer(CDF_A, true);
        let again = world.call(body);
        assert!(world.waits(again), "{handling:?}");
        world.peer(OCS_A, true);
        let copies = world.of(Command::CcrInitial);
        assert_eq!((copies.len(), copies[1].t), (2, true), "{handling:?}");
        world.grant();
        assert_eq!(world.answer(again).outcome, Outcome::Granted, "{handling:?}");
    }
}

#[test]
fn fp_01_units_of_a_recovered_update_land_in_one_place_whoever_opens_first() {
    for handling in [Ccfh::Terminate, Ccfh::RetryAndTerminate, Ccfh::Continue] {
        for first in [CDF_A, OCS_B] {
            let mut world = open(handling);
            world.interim("s1", 1, used(120, 6));
            crash(&mut world);
            world.peer(first, true);
            world.peer(OCS_A, true);
            world.peer(CDF_A, true);
            let copies = world.of(Command::CcrUpdate);
            assert_eq!((copies.len(), copies[1].t), (2, true), "{handling:?}, peer {first}");
            world.cca(2001);
            let end = world.terminate("s1", ByeReceived, used(311, 14));
            assert_eq!(used_units(world.only(Command::CcrTermination)), (191, 8));
            world.cca(2001);
            assert_eq!(world.answer(end).outcome, Outcome::Debited);
            world.pass(60 * S);
            assert_eq!(world.of(Command::AcrEvent).len(), 0, "no backup record");
        }
    }
}

#[test]
fn an_update_that_lost_its_connection_is_repeated_and_not_backed_up() {
    for handling in [Ccfh::Terminate, Ccfh::RetryAndTerminate, Ccfh::Continue] {
        let mut world = open(handling);
        world.interim("s1", 1, used(120, 6));
        world.disconnect(OCS_A);
        assert!(!world.took("CC4-09") && !world.took("CC4-10"), "{handling:?}: it was sent");
        world.pass(S);
        world.peer(OCS_A, true);
        let copies = world.of(Command::CcrUpdate);
        assert_eq!((copies.len(), copies[1].t), (2, true), "{handling:?}");
        world.cca(2001);
        let end = world.terminate("s1", ByeReceived, used(311, 14));
        world.cca(2001);
        assert_eq!(world.answer(end).outcome, Outcome::Debited);
        world.pass(60 * S);
        assert_eq!(world.of(Command::AcrEvent).len(), 0, "{:?}", world.sent_words());
    }
}

#[test]
fn fp_02_a_termination_outlives_five_crashes_during_recovery() {
    let mut world = open(Ccfh::Terminate);
    world.terminate("s1", ByeReceived, used(311, 14));
    for _ in 0..5 {
        crash(&mut world);
        world.peer(CDF_A, true);
    }
    world.peer(OCS_A, true);
    let copies = world.of(Command::CcrTermination);
    assert_eq!((copies.len(), copies[1].t), (2, true));
    assert_eq!(copies[0].bytes, copies[1].bytes);
    world.cca(2001);
    let view = world.session("s1");
    let states: Vec<RecordState> =
        view.records.iter().filter(|r| r.command.starts_with("CCR")).map(|r| r.state).collect();
    assert_eq!(states, [RecordState::Answered, RecordState::Answered]);
}

#[test]
fn s_10_an_interim_on_its_way_is_not_superseded() {
    let mut world = World::new();
    world.start("s1", "offline-only");
    world.interim("s1", 1, used(60, 1));
    // The ACA of the START lets the INTERIM go, and a newer one comes while that is written.
    world.hold();
    world.aca(2001);
    world.interim("s1", 2, used(120, 2));
    world.flush();
    assert_eq!(world.only(Command::AcrInterim).number(), 1);
    world.aca(2001);
    world.aca(2001);
    world.pass(60 * S);
    let numbers: Vec<u32> = world.of(Command::AcrInterim).iter().map(|s| s.number()).collect();
    assert_eq!(numbers, [1, 2], "each record under its own number");
    world.conserved();
}

#[test]
fn t_law_a_copy_that_never_left_is_no_answered_copy() {
    let mut world = World::new();
    world.start("s1", "offline-only");
    for _ in 0..5 {
        world.refuse(Interface::Ch1);
        world.pass(Duration::from_millis(500));
    }
    assert!(world.sent.iter().all(|sent| !sent.t), "{:?}", world.sent_words());
    // No peer at all, and then one again: still the first copy.
    world.peer(CDF_A, false);
    world.peer(CDF_B, false);
    world.refuse(Interface::Ch1);
    let before = world.sent.len();
    world.peer(CDF_B, true);
    world.pass(S);
    assert!(!world.sent[before].t, "{:?}", world.sent_words());
    crash(&mut world);
    let before = world.sent.len();
    world.peer(CDF_A, true);
    assert!(world.sent[before].t, "found in the store at start");
}
