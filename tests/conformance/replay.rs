//! What an operator may have sent again, and what never is (product.md 2.7, "Spool").

use std::time::Duration;

use farebox::charging::engine::{Fact, Input};
use farebox::charging::event::CloseTrigger::ByeReceived;
use farebox::charging::event::EventAction;
use farebox::charging::explain::Stored;
use farebox::charging::record::{Command, Record};
use farebox::charging::replay::{NoReplay, may_replay};
use farebox::charging::session::Session;
use farebox::gateway::step::Event;
use farebox::store::{Interface, Query, RecordId, RecordState, Store};

use crate::gateway_world::*;

const S: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The stored records of a command with their sessions, oldest first.
fn stored(world: &mut World, command: Command) -> Vec<(Record, Option<Session>)> {
    let rows = world.store.search(&Query { limit: 100, ..Query::default() }).expect("readable");
    let of_command = rows.into_iter().filter(|row| row.command == command.name());
    of_command
        .map(|row| {
            let key = farebox::charging::explain::owner(&row).expect("CBOR");
            let session = world.store.session(&key).expect("readable");
            let stored = Stored::read(&row, session.as_ref()).expect("CBOR");
            (stored.record, stored.session)
        })
        .collect()
}

fn only(world: &mut World, command: Command) -> (Record, Option<Session>) {
    let mut all = stored(world, command);
    assert_eq!(all.len(), 1, "{}", command.name());
    all.remove(0)
}

fn replay(world: &mut World, command: Command) {
    let (record, session) = only(world, command);
    assert_eq!(may_replay(&record, session.as_ref()), Ok(()));
    let (record, session) = (Box::new(record), session.map(Box::new));
    world.step(Event::Engine(Input::Replay { record, session }));
}

fn state(world: &mut World, command: Command) -> RecordState {
    only(world, command).0.state
}

fn replays(world: &World) -> usize {
    let replayed = |fact: &&Fact| matches!(fact, Fact::Record { event: "replayed", .. });
    world.facts.iter().filter(replayed).count()
}

#[test]
fn fa_17_a_dead_acr_goes_out_again_with_the_same_ids_and_t() {
    for restarted in [false, true] {
        let mut world = World::new();
        world.start("s1", "offline-only");
        world.aca(5004);
        assert_eq!(state(&mut world, Command::AcrStart), RecordState::Dead);
        if restarted {
            world.restart();
            world.peer(CDF_A, true);
            assert_eq!(world.of(Command::AcrStart).len(), 1, "not by itself");
        }
        replay(&mut world, Command::AcrStart);
        let copies = world.of(Command::AcrStart);
        assert_eq!(copies.len(), 2);
        assert!(copies[1].t && copies[0].bytes == copies[1].bytes, "restarted: {restarted}");
        assert_eq!(world.core.engine().spool_counts(Interface::Ch1).dead, 0);
        world.aca(2001);
        assert_eq!(state(&mut world, Command::AcrStart), RecordState::Acknowledged);
        assert_eq!(replays(&world), 1);
    }
}

#[test]
fn a_replayed_acr_does_not_wait_for_the_others_of_its_session() {
    let mut world = World::new();
    world.start("s1", "offline-only");
    world.aca(5004);
    world.terminate("s1", ByeReceived, used(311, 14));
    assert_eq!(world.of(Command::AcrStop).len(), 1, "unanswered");
    replay(&mut world, Command::AcrStart);
    assert_eq!(world.of(Command::AcrStart).len(), 2);
    assert_eq!(world.of(Command::AcrStop).len(), 1);
    world.conserved();
}

#[test]
fn a_dead_termination_without_backup_record_is_settled_by_its_replay() {
    let mut policy = policy();
    policy.termination.backup_accounting = false;
    let mut world = World::with(policy);
    world.start("s1", "online-only");
    world.grant();
    world.terminate("s1", ByeReceived, used(311, 14));
    world.pass(60 * S);
    assert_eq!(state(&mut world, Command::CcrTermination), RecordState::Dead);
    let before = world.of(Command::CcrTermination).len();
    // Silence again: it is dead again, and nothing else was made of it.
    replay(&mut world, Command::CcrTermination);
    assert!(world.of(Command::CcrTermination)[before].t);
    world.pass(60 * S);
    assert_eq!(state(&mut world, Command::CcrTermination), RecordState::Dead);
    for sent in &mut world.sent {
        sent.answered = true;
    }
    replay(&mut world, Command::CcrTermination);
    world.cca(2001);
    assert_eq!(state(&mut world, Command::CcrTermination), RecordState::Answered);
    assert_eq!(world.of(Command::AcrEvent).len(), 0);
    world.conserved();
}

#[test]
fn c_42_a_refund_that_nobody_answered_is_sent_again() {
    let mut world = World::new();
    let refund = event("e1", EventAction::Refund, world.wall);
    world.call(refund);
    world.pass(2 * DAY);
    assert_eq!(state(&mut world, Command::CcrEvent), RecordState::Dead);
    for sent in &mut world.sent {
        sent.answered = true;
    }
    let before = world.of(Command::CcrEvent).len();
    replay(&mut world, Command::CcrEvent);
    let copies = world.of(Command::CcrEvent);
    assert!(copies[before].t && copies[before].bytes == copies[0].bytes);
    world.cca(2001);
    assert_eq!(state(&mut world, Command::CcrEvent), RecordState::Answered);
}

#[test]
fn what_must_not_be_charged_again_is_refused() {
    let mut world = World::new();
    world.start("s1", "chat");
    world.grant();
    world.interim("s1", 1, used(120, 6));
    world.cca(2001);
    for command in [Command::CcrInitial, Command::CcrUpdate] {
        let (mut record, session) = only(&mut world, command);
        let refused = may_replay(&record, session.as_ref());
        assert_eq!(refused, Err(NoReplay::NotDead(RecordState::Answered)));
        record.state = RecordState::Dead;
        assert_eq!(may_replay(&record, session.as_ref()), Err(NoReplay::Never(command)));
    }
    world.terminate("s1", ByeReceived, used(311, 14));
    world.pass(60 * S);
    let (mut record, session) = only(&mut world, Command::CcrTermination);
    assert_eq!(record.state, RecordState::Superseded);
    record.state = RecordState::Dead;
    let backup: RecordId = only(&mut world, Command::AcrEvent).0.id;
    assert_eq!(may_replay(&record, session.as_ref()), Err(NoReplay::BackedUp(backup)));
    assert_eq!(may_replay(&record, None), Err(NoReplay::NoSession));
    // The engine asks again: a record that lies changes nothing.
    let before = world.sent.len();
    let session = session.map(Box::new);
    world.step(Event::Engine(Input::Replay { record: Box::new(record), session }));
    assert_eq!((world.sent.len(), replays(&world)), (before, 0));
}
