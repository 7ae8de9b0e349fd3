//! A CDF that comes back finds a long spool (FN-12): slow start, oldest first, none forgotten.

use std::time::Duration;

use farebox::charging::record::Command;
use farebox::store::Interface;

use crate::gateway_world::*;

/// Records that wait.
const MANY: usize = 2_500;

fn waiting(restarted: bool) -> World {
    let mut world = World::closed(policy());
    for number in 0..MANY {
        world.start(&format!("s{number:05}"), "offline-only");
    }
    if restarted {
        world.restart();
    }
    assert_eq!(world.core.engine().spool_counts(Interface::Ch1).waiting, MANY as u64);
    world
}

fn outstanding(world: &World) -> usize {
    world.sent.iter().filter(|sent| !sent.answered).count()
}

#[test]
fn fn_12_a_long_spool_goes_out_a_few_at_a_time_and_oldest_first() {
    for restarted in [false, true] {
        let mut world = waiting(restarted);
        world.peer(CDF_A, true);
        assert!(outstanding(&world) <= 16, "one input lets few go: {}", outstanding(&world));
        world.pass(Duration::from_millis(10));
        assert_eq!(outstanding(&world), 250, "restarted: {restarted}");
        assert_eq!(world.core.waiting(), 0, "nobody stands in line");
        world.start("new", "offline-only");
        while outstanding(&world) > 0 {
            world.aca(2001);
            world.pass(Duration::ZERO);
            assert!(outstanding(&world) <= 500);
        }
        assert_eq!(world.of(Command::AcrStart).len(), MANY + 1, "each once");
        assert_eq!(world.core.engine().spool_counts(Interface::Ch1).waiting, 0);
        // High and low part of the Session-Id: the order in which the sessions were made.
        let made = |sent: &&Sent| -> Option<(u64, u64)> {
            let message = sent.message();
            let mut parts = message.text(farebox::diameter::id::SESSION_ID)?.rsplit(';');
            let low = parts.next()?.parse().ok()?;
            Some((parts.next()?.parse().ok()?, low))
        };
        let starts = world.of(Command::AcrStart);
        let mut sent: Vec<(u64, u64)> = starts.iter().filter_map(made).collect();
        let new = sent.iter().copied().max();
        sent.retain(|made| Some(*made) != new);
        let odd: Vec<_> = sent.windows(2).filter(|w| w[0] > w[1]).take(4).collect();
        assert!(odd.is_empty(), "oldest first: {odd:?}");
    }
}

#[test]
fn fn_10_a_peer_that_goes_again_leaves_the_rest_where_it_is() {
    let mut world = waiting(false);
    world.peer(CDF_A, true);
    world.disconnect(CDF_A);
    world.pass(Duration::from_secs(60));
    let sent = world.sent.len();
    assert!(sent <= 16, "nobody is there: {sent}");
    world.peer(CDF_B, true);
    world.pass(Duration::from_millis(10));
    while outstanding(&world) > 0 {
        world.aca(2001);
        world.pass(Duration::ZERO);
    }
    let counts = world.core.engine().spool_counts(Interface::Ch1);
    assert_eq!((counts.waiting, counts.in_flight), (0, 0));
    world.conserved();
}
