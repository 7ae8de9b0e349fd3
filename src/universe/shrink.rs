//! Shrinking: the fewest faults and calls that still break the same invariant.

use super::plan::Plan;
use super::world::Kit;
use super::world::Options;
use super::world::Verdict;
use super::world::play;

/// Runs that a shrinker may spend.
const RUNS_MAX: usize = 400;

/// A smaller plan that breaks `invariant` too, and its verdict.
pub fn shrink(plan: &Plan, invariant: &str, kit: &Kit, options: Options) -> (Plan, Verdict) {
    let mut runs = 0;
    let mut breaks = |plan: &Plan| -> Option<Verdict> {
        runs += 1;
        if runs > RUNS_MAX {
            return None;
        }
        let verdict = play(plan, kit, options);
        verdict.findings.iter().any(|found| found.invariant == invariant).then_some(verdict)
    };
    let mut best = plan.clone();
    let mut verdict = play(plan, kit, options);
    for part in [Part::Events, Part::Scripts] {
        let mut size = part.len(&best).max(1);
        while size > 0 {
            let mut from = 0;
            while from < part.len(&best) {
                let to = (from + size).min(part.len(&best));
                let smaller = part.without(&best, from, to);
                match breaks(&smaller) {
                    Some(found) => (best, verdict) = (smaller, found),
                    None => from = to,
                }
            }
            size /= 2;
        }
    }
    (best, verdict)
}

/// What can be left out.
#[derive(Clone, Copy)]
enum Part {
    Events,
    Scripts,
}

impl Part {
    fn len(self, plan: &Plan) -> usize {
        match self {
            Part::Events => plan.events.len(),
            Part::Scripts => plan.scripts.len(),
        }
    }

    fn without(self, plan: &Plan, from: usize, to: usize) -> Plan {
        let mut smaller = plan.clone();
        match self {
            Part::Events => drop(smaller.events.drain(from..to)),
            Part::Scripts => drop(smaller.scripts.drain(from..to)),
        }
        smaller
    }
}
