//! The disk: the memory store behind one committer, with flushes that take time, fail, or end
//! without anybody knowing how.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::charging::engine::Input;
use crate::clock::Now;
use crate::gateway::step;
use crate::store::Batch;
use crate::store::CommitResult;
use crate::store::Key;
use crate::store::RecordId;
use crate::store::Store;
use crate::store::memory::Fault;
use crate::store::memory::MemoryStore;

use super::nemesis::Boundary;
use super::nemesis::DiskFault;
use super::planted::PlantedBug;
use super::random::Random;
use super::world::Event;
use super::world::World;

/// From the committer to the engine's thread.
const TOLD: Duration = Duration::from_micros(5);

/// What outlives the gateway's process.
pub(super) struct Disk {
    pub(super) store: MemoryStore,
    pub(super) faults: Vec<DiskFault>,
    /// The life in which a record was first on disk, and when.
    pub(super) born: BTreeMap<RecordId, (u32, Now)>,
    /// Batches that were acknowledged and are not there yet: only with a planted bug.
    owed: Vec<Batch>,
    pub(super) random: Random,
}

impl Disk {
    pub(super) fn new(seed: u64) -> Disk {
        Disk {
            store: MemoryStore::new(),
            faults: Vec::new(),
            born: BTreeMap::new(),
            owed: Vec::new(),
            random: Random::fork(seed, "disk"),
        }
    }

    pub(super) fn is_unreadable(&self) -> bool {
        self.faults.contains(&DiskFault::Unreadable)
    }

    /// Begins or ends a fault.
    pub(super) fn fault(&mut self, fault: DiskFault, on: bool) {
        if on {
            self.faults.push(fault);
        } else if let Some(at) = self.faults.iter().position(|known| *known == fault) {
            self.faults.remove(at);
        }
        let records = self.store.records().count();
        let limit = self.faults.contains(&DiskFault::NoNewRecords).then_some(records);
        self.store = std::mem::take(&mut self.store).records_max(limit);
    }

    fn flush_time(&mut self, base: Duration) -> Duration {
        let slow = self.faults.iter().filter_map(|fault| match fault {
            DiskFault::Slow(slow) => Some(*slow),
            _ => None,
        });
        let slow: Duration = slow.max().unwrap_or_default();
        self.random.tail(base / 2, base * 4) + slow
    }

    /// One transaction. Tells what every batch is told.
    pub(super) fn commit(&mut self, batches: &[Batch], life: u32, now: Now) -> Vec<CommitResult> {
        let fault = self.faults.iter().rev().find_map(|fault| {
            let (result, written) = match fault {
                DiskFault::Full => (CommitResult::Full, false),
                DiskFault::Failed => (CommitResult::Failed("EIO".to_owned()), false),
                DiskFault::UnknownAbsent => (CommitResult::Unknown("EIO".to_owned()), false),
                DiskFault::UnknownThere => (CommitResult::Unknown("EIO".to_owned()), true),
                _ => return None,
            };
            Some(Fault { result, written })
        });
        // A commit whose end nobody knows is rare even on a bad day: every second one.
        let unknown = fault.as_ref().is_some_and(|f| matches!(f.result, CommitResult::Unknown(_)));
        let fault = fault.filter(|_| !unknown || self.random.chance(500));
        let written = fault.as_ref().is_none_or(|fault| fault.written);
        if let Some(fault) = fault {
            self.store.fault_next(fault);
        }
        let results = self.store.commit(batches);
        if written {
            for (batch, result) in batches.iter().zip(&results) {
                if matches!(result, CommitResult::Durable | CommitResult::Unknown(_)) {
                    self.note(batch, life, now);
                }
            }
        }
        results
    }

    fn note(&mut self, batch: &Batch, life: u32, now: Now) {
        for record in &batch.records {
            self.born.entry(record.id).or_insert((life, now));
        }
    }
}

impl World {
    /// The committer takes whatever waits.
    pub(super) fn start_flush(&mut self) {
        let base = self.plan.setup.flush;
        let Some(node) = self.node.as_mut() else { return };
        if !node.flushing.is_empty() {
            return;
        }
        if node.commits.is_empty() {
            self.serve_lookups();
            return;
        }
        node.flushing = std::mem::take(&mut node.commits);
        let early = self.options.bug == Some(PlantedBug::AckBeforeSync);
        let ids: Vec<u64> = node.flushing.iter().map(|(id, _)| *id).collect();
        let life = self.life;
        if early {
            for id in ids {
                self.after(TOLD, Event::Told(life, id, CommitResult::Durable));
            }
        }
        let time = self.disk.flush_time(base);
        self.after(time, Event::Flushed(life));
        self.boundary(Boundary::Flushing);
    }

    pub(super) fn flushed(&mut self, life: u32) {
        let Some(node) = self.node.as_mut().filter(|_| life == self.life) else { return };
        let flushing = std::mem::take(&mut node.flushing);
        let (ids, batches): (Vec<u64>, Vec<Batch>) = flushing.into_iter().unzip();
        self.trace(30, ids.len() as u64, ids.first().copied().unwrap_or(0), || {
            format!("flushed {} batches", ids.len())
        });
        let mut batches = batches;
        if self.options.bug == Some(PlantedBug::DuplicateAfterRestart) && life > 1 {
            batches.iter_mut().for_each(|batch| batch.claims.clear());
        }
        let results = if self.options.bug == Some(PlantedBug::SyncBeforeWrite) {
            // What is written now is flushed with the next one.
            let owed = std::mem::replace(&mut self.disk.owed, batches.clone());
            self.disk.commit(&owed, life, self.now);
            vec![CommitResult::Durable; batches.len()]
        } else {
            self.disk.commit(&batches, life, self.now)
        };
        for result in &results {
            match result {
                CommitResult::Durable => {}
                CommitResult::Conflict(_) => self.sometimes("commit: conflict"),
                CommitResult::Full => self.sometimes("commit: full"),
                CommitResult::Failed(_) => self.sometimes("commit: failed"),
                CommitResult::Unknown(_) => self.sometimes("commit: unknown"),
            }
        }
        self.boundary(Boundary::Flushed);
        if self.options.bug != Some(PlantedBug::AckBeforeSync) {
            for (id, result) in ids.into_iter().zip(results) {
                self.after(TOLD, Event::Told(life, id, result));
            }
        }
        self.serve_lookups();
        self.start_flush();
    }

    pub(super) fn told(&mut self, life: u32, batch: u64, result: CommitResult) {
        if life != self.life {
            return;
        }
        let result = match (self.options.bug, result) {
            (Some(PlantedBug::UnknownAsFailed), CommitResult::Unknown(why)) => {
                CommitResult::Failed(why)
            }
            (_, result) => result,
        };
        self.engine(step::Event::Engine(Input::Committed { batch, result }));
    }

    fn serve_lookups(&mut self) {
        let Some(node) = self.node.as_mut() else { return };
        let lookups = std::mem::take(&mut node.lookups);
        let life = self.life;
        for (lookup, key, session) in lookups {
            self.after(TOLD * 4, Event::Looked(life, lookup, key, session));
        }
    }

    pub(super) fn looked(
        &mut self,
        life: u32,
        lookup: u64,
        key: Option<Key>,
        session: Option<String>,
    ) {
        if life != self.life {
            return;
        }
        let forgets = self.options.bug == Some(PlantedBug::DuplicateAfterRestart) && life > 1;
        let key = key.filter(|_| !forgets);
        let store = &mut self.disk.store;
        let input = if self.disk.faults.contains(&DiskFault::Unreadable) {
            let error = Some("EIO".to_owned());
            Input::Found { lookup, key: None, session: None, error }
        } else {
            Input::Found {
                lookup,
                key: key.and_then(|key| store.key(&key).ok().flatten()),
                session: session.and_then(|id| store.session(&id).ok().flatten()),
                error: None,
            }
        };
        self.engine(step::Event::Engine(input));
    }

    /// The process is gone: what was being flushed is wholly there or wholly absent.
    pub(super) fn break_off(&mut self, flushing: Vec<(u64, Batch)>) {
        if flushing.is_empty() {
            return;
        }
        self.sometimes("crash while flushing");
        let there = self.disk.random.chance(500) && !self.disk.faults.contains(&DiskFault::Failed);
        if there && self.options.bug != Some(PlantedBug::AckBeforeSync) {
            let batches: Vec<Batch> = flushing.into_iter().map(|(_, batch)| batch).collect();
            let (life, now) = (self.life, self.now);
            self.disk.commit(&batches, life, now);
        }
        self.disk.owed.clear();
    }
}
