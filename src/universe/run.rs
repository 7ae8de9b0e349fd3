//! Many universes on threads: the shell around [`super::world`], with the time it took.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::coverage::Coverage;
use super::evidence::Finding;
use super::plan::Plan;
use super::planted::BUGS;
use super::planted::PlantedBug;
use super::shrink::shrink;
use super::world::Kit;
use super::world::Options;
use super::world::Verdict;
use super::world::play;
use crate::clock;

/// Events that are shown of a universe that failed.
pub const TRACE_SHOWN: usize = 200;

/// Which universes.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// A bug that is planted.
    pub bug: Option<PlantedBug>,
    /// Failures after which it ends.
    pub failures_max: usize,
}

/// A universe in which an invariant did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What did not hold.
    pub findings: Vec<Finding>,
}

/// What came of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Universes played to their end.
    pub seeds: u64,
    /// Of these, played a second time.
    pub repeated: u64,
    /// Universes that failed, in order of their seeds.
    pub failures: Vec<Failure>,
    /// What happened at least once.
    pub coverage: Coverage,
    /// Simulated time of all of them.
    pub simulated: Duration,
    /// Real time.
    pub elapsed: Duration,
    /// Events, copies on the wire and calls of all of them.
    pub counts: BTreeMap<&'static str, u64>,
}

/// Plays all universes; every second one twice, which must come to the same hash.
pub fn campaign(campaign: &Campaign, kit: &Kit) -> Report {
    let begun = clock::now();
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let report = Mutex::new(Report::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= campaign.seeds {
                        return;
                    }
                    let seed = campaign.from + index;
                    let (verdict, repeated) = judge(seed, kit, campaign.bug);
                    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                    report.add(verdict, repeated);
                    if report.failures.len() >= campaign.failures_max {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.failures.sort_by_key(|failure| failure.seed);
    report.elapsed = clock::now().since(begun);
    report
}

fn judge(seed: u64, kit: &Kit, bug: Option<PlantedBug>) -> (Verdict, bool) {
    let plan = Plan::draw(seed);
    let options = Options { bug, keep_trace: 0 };
    let mut verdict = play(&plan, kit, options);
    let again = seed.is_multiple_of(2) && bug.is_none();
    if again && play(&plan, kit, options).hash != verdict.hash {
        let detail = "played twice, and two different things happened";
        verdict.findings.push(Finding::new("replay", detail));
    }
    (verdict, again)
}

impl Report {
    fn add(&mut self, verdict: Verdict, repeated: bool) {
        self.seeds += 1;
        self.repeated += u64::from(repeated);
        self.simulated += verdict.simulated;
        self.coverage.add(&verdict.coverage);
        let counts = [
            ("events", verdict.events),
            ("copies", verdict.copies as u64),
            ("calls", verdict.calls as u64),
        ];
        for (name, count) in counts {
            *self.counts.entry(name).or_default() += count;
        }
        if !verdict.findings.is_empty() {
            self.failures.push(Failure { seed: verdict.seed, findings: verdict.findings });
        }
    }
}

/// One universe with its last events.
pub fn replay(seed: u64, kit: &Kit, bug: Option<PlantedBug>, keep_trace: usize) -> Verdict {
    play(&Plan::draw(seed), kit, Options { bug, keep_trace })
}

/// The smallest universe that fails as this one does, with its last events.
pub fn reduce(
    seed: u64,
    invariant: &str,
    kit: &Kit,
    bug: Option<PlantedBug>,
    keep_trace: usize,
) -> (Plan, Verdict) {
    let plan = Plan::draw(seed);
    let (smaller, _) = shrink(&plan, invariant, kit, Options { bug, keep_trace: 0 });
    let verdict = play(&smaller, kit, Options { bug, keep_trace });
    (smaller, verdict)
}

/// What became of one planted bug.
#[derive(Clone, Debug)]
pub struct Caught {
    /// In the words of the catalogue.
    pub words: &'static str,
    /// The first seed that caught it, and by which invariant; `None`: none did.
    pub by: Option<(u64, &'static str)>,
    /// Seeds that were played.
    pub seeds: u64,
}

/// Plants every bug that this build can have, and plays seeds until each is caught.
pub fn bugs(from: u64, seeds_max: u64, kit: &Kit, mut tell: impl FnMut(&Caught)) -> Vec<Caught> {
    let mut caught = Vec::new();
    for (words, bug) in BUGS.iter().filter(|(_, bug)| !bug.is_absent()) {
        let mut one = Caught { words, by: None, seeds: 0 };
        for seed in from..from + seeds_max {
            one.seeds += 1;
            let verdict = replay(seed, kit, Some(*bug), 0);
            if let Some(found) = verdict.findings.first() {
                one.by = Some((seed, found.invariant));
                break;
            }
        }
        tell(&one);
        caught.push(one);
    }
    caught
}
