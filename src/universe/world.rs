//! The world: one gateway, two OCSs, two CDFs, their network, disk and clocks, in one queue.
//!
//! Everything happens in the order of (time, sequence), in one thread, and every draw comes from
//! the seed: the same plan runs the same way, octet for octet. The gateway is the real one
//! (`gateway::step` and one `peer::control_block` per peer); only what is around it is played.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::charging::outcome::Reply;
use crate::clock::Now;
use crate::clock::Wall;
use crate::diameter::Dictionary;
use crate::gateway::step;
use crate::mapping::Interface as MappingInterface;
use crate::mapping::Mapping;
use crate::sim::cdf::Cdf;
use crate::sim::ocs::Ocs;
use crate::sim::server::Act;
use crate::store::CommitResult;
use crate::store::Key;

use super::coverage::Coverage;
use super::disk::Disk;
use super::evidence::Evidence;
use super::evidence::Finding;
use super::nemesis::Boundary;
use super::nemesis::Death;
use super::network::Connection;
use super::network::End;
use super::network::Link;
use super::node::Node;
use super::plan::Plan;
use super::planted::PlantedBug;
use super::players::Players;
use super::random::Random;
use super::servers::Station;

/// Peers: two OCSs, then two CDFs.
pub const PEERS: usize = 4;
/// The first CDF.
pub const FIRST_CDF: usize = 2;
/// Names of the peers.
pub const NAMES: [&str; PEERS] = ["ocs-a", "ocs-b", "cdf-a", "cdf-b"];
/// 2025-12-12T10:38:00Z.
const BASE_MILLIS: i64 = 1_765_535_880_000;
/// After the last fault: everything that waited before is settled.
pub const QUIET: Duration = Duration::from_secs(60);
/// After that: late answers are forgotten, too.
const BASELINE: Duration = Duration::from_secs(700);

/// What is costly to make and the same in every universe.
#[derive(Clone)]
pub struct Kit {
    pub(super) dictionary: Arc<Dictionary>,
    pub(super) mappings: Arc<BTreeMap<String, Mapping>>,
}

impl Default for Kit {
    fn default() -> Kit {
        let mappings = BTreeMap::from([
            ("ch1".to_owned(), Mapping::default_of(MappingInterface::Ch1).clone()),
            ("ch2".to_owned(), Mapping::default_of(MappingInterface::Ch2).clone()),
        ]);
        Kit { dictionary: Arc::new(Dictionary::builtin().clone()), mappings: Arc::new(mappings) }
    }
}

/// How a universe is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A bug that is planted into the gateway.
    pub bug: Option<PlantedBug>,
    /// Events kept for people.
    pub keep_trace: usize,
}

/// What came of a universe.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Its seed.
    pub seed: u64,
    /// Over every event: the same for the same plan.
    pub hash: u64,
    /// Invariants that did not hold.
    pub findings: Vec<Finding>,
    /// What happened at least once.
    pub coverage: Coverage,
    /// From the first event to the last.
    pub simulated: Duration,
    /// The last events, if they were kept.
    pub trace: Vec<String>,
    /// Events of the queue.
    pub events: u64,
    /// Copies on the wire.
    pub copies: usize,
    /// Calls in the client ledger.
    pub calls: usize,
}

/// What waits in the queue.
pub(super) enum Event {
    /// A CPM server makes a call: line, copy.
    Call(usize),
    /// A call reaches the gateway: attempt.
    Reaches(usize),
    /// The answer, or the end of the connection, reaches the CPM server: attempt.
    Heard(usize, Option<Box<Reply>>),
    /// The CPM server waits no longer: attempt.
    Patience(usize),
    /// Octets arrive.
    Arrive(u64, End, Bytes),
    /// The end of a connection is noticed.
    Ended(u64, End, &'static str),
    /// A connection attempt succeeded: life, peer, connection.
    Dialled(u32, usize, u64),
    /// It did not: life, peer, attempt.
    NotDialled(u32, usize, u64),
    /// From a control block to the engine: life.
    News(u32, step::Event),
    /// A flush ends: life.
    Flushed(u32),
    /// The engine is told: life, batch.
    Told(u32, u64, CommitResult),
    /// A look-up is served: life.
    Looked(u32, u64, Option<Key>, Option<String>),
    /// A server acts on a connection.
    Act(usize, u64, Act),
    /// A fault begins.
    Strike(usize),
    /// A fault ends.
    Relief(usize),
    /// The other half of a flap: index, up.
    Flap(usize, bool),
    /// The gateway starts.
    Boot,
    /// SIGTERM has waited long enough: life.
    Exit(u32),
    /// A second has passed.
    Second,
}

/// A crash that waits for a boundary.
pub(super) struct Tripwire {
    pub(super) boundary: Boundary,
    pub(super) left: u32,
    pub(super) death: Death,
    pub(super) down: Duration,
}

/// One universe while it runs.
pub struct World {
    pub(super) plan: Plan,
    pub(super) kit: Kit,
    pub(super) options: Options,
    pub(super) now: Now,
    /// The gateway's wall clock against the true one.
    pub(super) skew_millis: i64,
    queue: BTreeMap<(Now, u64), Event>,
    serial: u64,
    pub(super) node: Option<Node>,
    pub(super) life: u32,
    /// Crashes that are left for the next recoveries, with their deaths.
    pub(super) again: u32,
    pub(super) frozen_until: Option<Now>,
    pub(super) tripwires: Vec<Tripwire>,
    pub(super) doomed: Option<(Death, Duration)>,
    pub(super) disk: Disk,
    pub(super) links: Vec<Link>,
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) next_connection: u64,
    pub(super) stations: Vec<Station>,
    pub(super) ocs: Vec<Ocs>,
    pub(super) cdf: Vec<Cdf>,
    pub(super) players: Players,
    pub(super) evidence: Evidence,
    pub(super) coverage: Coverage,
    pub(super) network_random: Random,
    pub(super) node_random: Random,
    /// (Connection, Hop-by-Hop) to the copy.
    pub(super) in_flight: BTreeMap<(u64, u32), usize>,
    /// Faults in the servers: event, peer, id there.
    pub(super) served_faults: Vec<(usize, usize, u64)>,
    pub(super) healed: bool,
    /// For planted bugs: the life of each End-to-End id's first copy, copies and numbers by token.
    pub(super) first_copies: BTreeMap<u32, u32>,
    pub(super) copies_of: BTreeMap<u64, u32>,
    pub(super) renumbered: BTreeMap<u64, u32>,
    pub(super) wrapped: BTreeMap<(u64, u32), u32>,
    /// RAR and ASR by server and token: is the session another server's?
    pub(super) asked: BTreeMap<(usize, u64), bool>,
    hash: u64,
    trace: VecDeque<String>,
    events: u64,
}

/// Runs a plan to its end and checks it.
pub fn play(plan: &Plan, kit: &Kit, options: Options) -> Verdict {
    let mut world = World::new(plan.clone(), kit.clone(), options);
    world.run();
    world.verdict()
}

impl World {
    fn new(plan: Plan, kit: Kit, options: Options) -> World {
        let seed = plan.seed;
        let wall = Wall(BASE_MILLIS);
        let links = (0..PEERS).map(|_| Link::default()).collect();
        let mut world = World {
            now: Now::ZERO,
            skew_millis: 0,
            queue: BTreeMap::new(),
            serial: 0,
            node: None,
            life: 0,
            again: 0,
            frozen_until: None,
            tripwires: Vec::new(),
            doomed: None,
            disk: Disk::new(seed),
            links,
            connections: BTreeMap::new(),
            next_connection: 1,
            stations: Vec::new(),
            ocs: Vec::new(),
            cdf: Vec::new(),
            players: Players::new(&plan),
            evidence: Evidence::default(),
            coverage: Coverage::default(),
            network_random: Random::fork(seed, "network"),
            node_random: Random::fork(seed, "node"),
            in_flight: BTreeMap::new(),
            served_faults: Vec::new(),
            healed: false,
            first_copies: BTreeMap::new(),
            copies_of: BTreeMap::new(),
            renumbered: BTreeMap::new(),
            wrapped: BTreeMap::new(),
            asked: BTreeMap::new(),
            hash: 0xcbf2_9ce4_8422_2325,
            trace: VecDeque::new(),
            events: 0,
            plan,
            kit,
            options,
        };
        world.build_servers(wall);
        world
    }

    fn run(&mut self) {
        self.at(Now::ZERO, Event::Boot);
        self.at(Now::ZERO + Duration::from_secs(1), Event::Second);
        self.schedule_calls();
        for index in 0..self.plan.events.len() {
            let at = Now::ZERO + self.plan.events[index].at;
            self.at(at, Event::Strike(index));
        }
        let load = Now::ZERO + self.plan.load;
        self.run_until(load);
        self.heal();
        let last = self.plan.scripts.iter().flat_map(|script| &script.steps);
        let last = last.map(|step| step.at).max().unwrap_or_default().max(self.plan.load);
        // Windows, guards and buffered debits end after the last call or fault.
        let setup = &self.plan.setup;
        let window = setup.settle_within.unwrap_or(setup.tx * 3).max(Duration::from_secs(3));
        let settled = window.max(setup.ok_timeout).max(setup.buffer_for) + QUIET;
        let quiet = Now::ZERO + last.max(self.plan.load + setup.max_session) + settled;
        self.run_until(quiet);
        self.check_quiet();
        self.run_until(quiet + BASELINE);
        self.check_baseline();
    }

    fn verdict(mut self) -> Verdict {
        self.collect();
        let mut findings = std::mem::take(&mut self.evidence.found);
        findings.extend(super::checkers::check(&self.evidence));
        findings.dedup();
        Verdict {
            seed: self.plan.seed,
            hash: self.hash,
            findings,
            coverage: self.coverage,
            simulated: self.now.since(Now::ZERO),
            trace: self.trace.into(),
            events: self.events,
            copies: self.evidence.copies.len(),
            calls: self.evidence.calls.len(),
        }
    }

    // Time.

    /// What the servers and the CPM servers take for the time.
    pub(super) fn true_wall(&self) -> Wall {
        Wall(BASE_MILLIS + i64::try_from(self.now.0 / 1_000_000).unwrap_or(0))
    }

    /// What the gateway takes for the time.
    pub(super) fn wall(&self) -> Wall {
        Wall(self.true_wall().0 + self.skew_millis)
    }

    /// The gateway's monotonic clock.
    pub(super) fn monotonic(&self) -> Now {
        match self.options.bug {
            Some(PlantedBug::WallClockInTimers) => {
                let millis = self.wall().0 - BASE_MILLIS;
                Now(u64::try_from(millis.max(0)).unwrap_or(0) * 1_000_000 + self.now.0 % 1_000_000)
            }
            _ => self.now,
        }
    }

    pub(super) fn at(&mut self, due: Now, event: Event) {
        self.serial += 1;
        self.queue.insert((due.max(self.now), self.serial), event);
    }

    pub(super) fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    fn run_until(&mut self, end: Now) {
        loop {
            let queued = self.queue.first_key_value().map(|((due, _), _)| *due);
            let alarm = self.next_alarm();
            let due = match (queued, alarm) {
                (None, None) => break,
                (queued, alarm) => {
                    let alarm = alarm.map(|(due, _)| due);
                    queued.into_iter().chain(alarm).min().unwrap_or(end)
                }
            };
            if due > end {
                break;
            }
            self.now = due.max(self.now);
            self.events += 1;
            match alarm {
                Some((alarm, machine)) if queued.is_none_or(|queued| alarm < queued) => {
                    self.ring(machine);
                }
                _ => {
                    if let Some((_, event)) = self.queue.pop_first() {
                        self.event(event);
                    }
                }
            }
            if let Some((death, down)) = self.doomed.take() {
                self.die(death, down, 0);
            }
        }
        self.now = end.max(self.now);
    }

    /// The next timer: of the engine, of a control block of the gateway, or of a server's.
    fn next_alarm(&self) -> Option<(Now, usize)> {
        let node = self.node.iter().flat_map(|node| {
            let blocks = node.ends.iter().map(|end| end.block.next_timeout());
            std::iter::once(self.engine_alarm(node)).chain(blocks)
        });
        let node = node.map(|due| due.map(|due| due.max(self.frozen_until.unwrap_or(due))));
        let none = std::iter::repeat_n(None, if self.node.is_some() { 0 } else { 1 + PEERS });
        let servers =
            self.stations.iter().map(|s| s.block.as_ref().and_then(|block| block.next_timeout()));
        node.chain(none)
            .chain(servers)
            .enumerate()
            .filter_map(|(machine, due)| Some((due?, machine)))
            .min()
    }

    fn engine_alarm(&self, node: &Node) -> Option<Now> {
        let due = node.core.next_timeout()?;
        let ahead = due.since(self.monotonic());
        Some(self.now + ahead)
    }

    fn ring(&mut self, machine: usize) {
        self.trace(1, machine as u64, 0, String::new);
        match machine {
            0 => self.engine(step::Event::Engine(crate::charging::engine::Input::Tick)),
            1..=PEERS => self.give(machine - 1, crate::peer::control_block::Input::Timeout),
            _ => self.station_give(machine - 1 - PEERS, crate::peer::control_block::Input::Timeout),
        }
    }

    fn event(&mut self, event: Event) {
        if self.is_for_frozen(&event) {
            let until = self.frozen_until.unwrap_or(self.now);
            self.at(until, event);
            return;
        }
        match event {
            Event::Call(line) => self.call(line),
            Event::Reaches(attempt) => self.reaches(attempt),
            Event::Heard(attempt, reply) => self.heard(attempt, reply),
            Event::Patience(attempt) => self.patience_over(attempt),
            Event::Arrive(connection, end, octets) => self.arrive(connection, end, &octets),
            Event::Ended(connection, end, reason) => self.ended(connection, end, reason),
            Event::Dialled(life, peer, connection) => self.dialled(life, peer, connection),
            Event::NotDialled(life, peer, attempt) => self.not_dialled(life, peer, attempt),
            Event::News(life, news) => self.news(life, news),
            Event::Flushed(life) => self.flushed(life),
            Event::Told(life, batch, result) => self.told(life, batch, result),
            Event::Looked(life, lookup, key, session) => self.looked(life, lookup, key, session),
            Event::Act(server, connection, act) => self.act(server, connection, act),
            Event::Strike(index) => self.strike(index),
            Event::Relief(index) => self.relieve(index),
            Event::Flap(index, up) => self.flap(index, up),
            Event::Boot => self.boot(),
            Event::Exit(life) => self.exit(life),
            Event::Second => self.second(),
        }
    }

    /// A stopped process does nothing; the kernel takes octets for it all the same.
    fn is_for_frozen(&self, event: &Event) -> bool {
        let frozen = self.frozen_until.is_some_and(|until| until > self.now);
        frozen
            && matches!(
                event,
                Event::Reaches(_)
                    | Event::Arrive(_, End::Gateway, _)
                    | Event::Ended(_, End::Gateway, _)
                    | Event::Dialled(..)
                    | Event::NotDialled(..)
                    | Event::News(..)
                    | Event::Flushed(_)
                    | Event::Told(..)
                    | Event::Looked(..)
                    | Event::Exit(_)
            )
    }

    fn second(&mut self) {
        self.check_conservation();
        self.after(Duration::from_secs(1), Event::Second);
    }

    // What is remembered of the run.

    /// Mixes an event into the hash, and keeps its words if somebody wants to read them.
    pub(super) fn trace(&mut self, kind: u64, a: u64, b: u64, words: impl FnOnce() -> String) {
        for number in [self.now.0, kind, a, b] {
            self.hash = (self.hash ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        if self.options.keep_trace > 0 {
            if self.trace.len() == self.options.keep_trace {
                self.trace.pop_front();
            }
            let (secs, micros) = (self.now.0 / 1_000_000_000, self.now.0 / 1000 % 1_000_000);
            let words = words();
            // Timers are hashed, and too many to read.
            if !words.is_empty() {
                self.trace.push_back(format!("{secs:4}.{micros:06} {words}"));
            }
        }
    }

    pub(super) fn finding(&mut self, invariant: &'static str, detail: String) {
        self.trace(2, 0, 0, || format!("!!! {invariant}: {detail}"));
        if self.evidence.found.len() < 50 {
            self.evidence.found.push(Finding::new(invariant, detail));
        }
    }

    pub(super) fn sometimes(&mut self, name: &'static str) {
        self.coverage.hit(name);
    }
}
