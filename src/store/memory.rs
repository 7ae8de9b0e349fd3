//! The store of tests and of the simulation: the same behaviour, in memory, with failures on order.

use std::collections::{BTreeMap, VecDeque};

use super::{
    Batch, CommitResult, Key, KeyRow, Query, RecordId, RecordRow, RecordState, Recovered,
    SessionRow, Store,
};
use crate::clock::Wall;

/// What the next commit does instead of succeeding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What every batch of that commit is told.
    pub result: CommitResult,
    /// Is it on disk all the same? Only an `Unknown` can be.
    pub written: bool,
}

/// Rows in maps. A clone is the disk at that moment: recover from it as after a crash.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    sessions: BTreeMap<String, SessionRow>,
    records: BTreeMap<RecordId, RecordRow>,
    keys: BTreeMap<Key, KeyRow>,
    counters: BTreeMap<String, u64>,
    faults: VecDeque<Fault>,
    records_max: Option<usize>,
    commits: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// At most so many records; a batch that makes one more is `Full`.
    pub fn records_max(mut self, records: Option<usize>) -> MemoryStore {
        self.records_max = records;
        self
    }

    /// The next `commits` commits end so, with nothing written.
    pub fn fail_next(&mut self, commits: usize, result: &CommitResult) {
        let fault = Fault { result: result.clone(), written: false };
        self.faults.extend(std::iter::repeat_n(fault, commits));
    }

    /// The commit after those already ordered ends so.
    pub fn fault_next(&mut self, fault: Fault) {
        self.faults.push_back(fault);
    }

    /// Commits so far, failed ones too.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// All records by id.
    pub fn records(&self) -> impl Iterator<Item = &RecordRow> {
        self.records.values()
    }

    fn conflict(&self, batch: &Batch) -> Option<CommitResult> {
        let claimed = batch.claims.iter().find(|key| self.keys.contains_key(key))?;
        Some(CommitResult::Conflict(claimed.clone()))
    }

    /// A conflict is found before anything can fail.
    fn apply_faulty(
        &mut self,
        batch: &Batch,
        result: &CommitResult,
        written: bool,
    ) -> CommitResult {
        if let Some(conflict) = self.conflict(batch) {
            return conflict;
        }
        if written {
            self.apply(batch);
        }
        result.clone()
    }

    fn apply(&mut self, batch: &Batch) -> CommitResult {
        if let Some(conflict) = self.conflict(batch) {
            return conflict;
        }
        let new = batch.records.iter().filter(|row| !self.records.contains_key(&row.id)).count();
        let room = self.records_max.map(|max| max.saturating_sub(self.records.len()));
        if room.is_some_and(|room| new > room) {
            return CommitResult::Full;
        }
        for row in &batch.sessions {
            self.sessions.insert(row.id.clone(), row.clone());
        }
        for row in &batch.records {
            self.records.insert(row.id, row.clone());
        }
        for row in &batch.keys {
            self.keys.insert(row.key.clone(), row.clone());
        }
        for (name, value) in &batch.counters {
            self.counters.insert((*name).to_owned(), *value);
        }
        CommitResult::Durable
    }

    fn is_unacknowledged(&self, subject: &str) -> bool {
        self.records.values().any(|row| row.subject == subject && row.state.unacknowledged())
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, batches: &[Batch]) -> Vec<CommitResult> {
        self.commits += 1;
        match self.faults.pop_front() {
            None => batches.iter().map(|batch| self.apply(batch)).collect(),
            Some(Fault { result, written }) => {
                batches.iter().map(|batch| self.apply_faulty(batch, &result, written)).collect()
            }
        }
    }

    fn recover(&mut self) -> Result<Recovered, String> {
        let open = |row: &&SessionRow| !row.ended;
        let unacknowledged = |row: &&RecordRow| row.state.unacknowledged();
        Ok(Recovered {
            sessions: self.sessions.values().filter(open).cloned().collect(),
            records: self.records.values().filter(unacknowledged).cloned().collect(),
            counters: self.counters.iter().map(|(name, value)| (name.clone(), *value)).collect(),
            quarantined: Vec::new(),
        })
    }

    fn key(&mut self, key: &Key) -> Result<Option<KeyRow>, String> {
        Ok(self.keys.get(key).cloned())
    }

    fn session(&mut self, id: &str) -> Result<Option<SessionRow>, String> {
        Ok(self.sessions.get(id).cloned())
    }

    fn record(&mut self, id: RecordId) -> Result<Option<RecordRow>, String> {
        Ok(self.records.get(&id).cloned())
    }

    fn search(&mut self, query: &Query) -> Result<Vec<RecordRow>, String> {
        let limit = usize::try_from(query.limit.clamp(1, 1000)).unwrap_or(1000);
        let found = self.records.values().filter(|row| matches(query, row));
        Ok(found.take(limit).cloned().collect())
    }

    fn purge(
        &mut self,
        acknowledged_before: Wall,
        dead_before: Wall,
        now: Wall,
    ) -> Result<(u64, u64), String> {
        self.records
            .retain(|_, row| row.state.unacknowledged() || row.created_at >= acknowledged_before);
        let gone_sessions: Vec<String> = self
            .sessions
            .values()
            .filter(|row| row.ended && row.changed_at < acknowledged_before)
            .filter(|row| !self.is_unacknowledged(&row.id))
            .map(|row| row.id.clone())
            .collect();
        for id in gone_sessions {
            self.sessions.remove(&id);
        }
        let gone_keys: Vec<Key> = self
            .keys
            .values()
            .filter(|row| row.expires_at <= now && !self.is_unacknowledged(&row.subject))
            .map(|row| row.key.clone())
            .collect();
        for key in gone_keys {
            self.keys.remove(&key);
        }
        let mut gone = (0, 0);
        self.records.retain(|_, row| {
            let goes = row.state == RecordState::Dead && row.created_at < dead_before;
            match row.interface {
                super::Interface::Ch1 => gone.0 += u64::from(goes),
                super::Interface::Ch2 => gone.1 += u64::from(goes),
            }
            !goes
        });
        Ok(gone)
    }

    fn remove_dead(&mut self, records: &[RecordId]) -> Result<(u64, u64), String> {
        let mut gone = (0, 0);
        for id in records {
            let dead = self.records.get(id).filter(|row| row.state == RecordState::Dead);
            match dead.map(|row| row.interface) {
                Some(super::Interface::Ch1) => gone.0 += 1,
                Some(super::Interface::Ch2) => gone.1 += 1,
                None => continue,
            }
            self.records.remove(id);
        }
        Ok(gone)
    }

    fn size(&self) -> (u64, Option<u64>) {
        let bodies = self.records.values().map(|row| row.body.len());
        let sessions = self.sessions.values().map(|row| row.body.len());
        let bytes: usize = bodies.chain(sessions).sum();
        (u64::try_from(bytes).unwrap_or(u64::MAX), None)
    }
}

fn matches(query: &Query, row: &RecordRow) -> bool {
    query.subscriber.as_ref().is_none_or(|wanted| row.subscribers.contains(wanted))
        && query.subject.as_ref().is_none_or(|wanted| row.subject == *wanted)
        && query.diameter_session_id.as_ref().is_none_or(|id| row.diameter_session_id == *id)
        && query.interface.is_none_or(|wanted| row.interface == wanted)
        && query.state.is_none_or(|wanted| row.state == wanted)
        && query.since.is_none_or(|since| row.created_at >= since)
        && query.until.is_none_or(|until| row.created_at < until)
        && query.after.is_none_or(|after| row.id > after)
}
