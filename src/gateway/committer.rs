//! The committer's thread: whatever waited during the last flush is the next transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use tokio::sync::oneshot;

use super::handle::{Message, StoredRecord};
use super::step::Event;
use crate::charging::engine::Input;
use crate::charging::policy::Retention;
use crate::clock;
use crate::store::{
    Batch, CommitResult, Interface, Key, Query, RecordId, RecordRow, SessionRow, Store,
};
use crate::telemetry::log::{Fields, emit};
use crate::telemetry::{LogEvent, Metrics};

/// Most batches of one transaction.
const BATCHES_MAX: usize = 1024;
/// Between two looks for what retention allows to remove.
const PURGE_EVERY: Duration = Duration::from_secs(600);

/// For the committer's thread.
pub(super) enum Job {
    Commit(u64, Batch),
    Lookup(u64, Option<Key>, Option<String>),
    Probe(oneshot::Sender<Result<(), String>>),
    Search(Query, oneshot::Sender<Result<Vec<StoredRecord>, String>>),
    Record(RecordId, oneshot::Sender<Result<Option<StoredRecord>, String>>),
    Remove(Vec<RecordId>, oneshot::Sender<Result<u64, String>>),
    Stop,
}

/// Runs until [`Job::Stop`].
pub(super) fn run(
    mut store: Box<dyn Store>,
    jobs: &Receiver<Job>,
    engine: &Sender<Message>,
    metrics: &Arc<Metrics>,
    retention: Retention,
) {
    let mut next_purge = clock::now() + PURGE_EVERY;
    let mut batches = Vec::new();
    let mut ids = Vec::new();
    let mut later = Vec::new();
    loop {
        let wait = next_purge.since(clock::now());
        let first = match jobs.recv_timeout(wait) {
            Ok(job) => Some(job),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
        };
        let mut stop = false;
        for job in first.into_iter().chain(std::iter::from_fn(|| jobs.try_recv().ok())) {
            match job {
                Job::Commit(id, batch) => {
                    ids.push(id);
                    batches.push(batch);
                    if batches.len() == BATCHES_MAX {
                        break;
                    }
                }
                Job::Stop => {
                    stop = true;
                    break;
                }
                other => later.push(other),
            }
        }
        commit(store.as_mut(), &mut ids, &mut batches, engine, metrics);
        for job in later.drain(..) {
            read(store.as_mut(), job, engine);
        }
        if stop {
            return;
        }
        if clock::now() >= next_purge {
            next_purge = clock::now() + PURGE_EVERY;
            let now = clock::wall();
            let acknowledged = now - retention.acknowledged;
            match store.purge(acknowledged, now - retention.dead_letter, now) {
                Ok((ch1, ch2)) => tell_purged(ch1, ch2, engine),
                Err(why) => {
                    emit(LogEvent::StoreFailed, Fields::default(), &why);
                    metrics.spool_error("purge", 1);
                }
            }
        }
    }
}

/// Dead records are gone: the engine counts them.
fn tell_purged(ch1: u64, ch2: u64, engine: &Sender<Message>) {
    for (interface, dead) in [(Interface::Ch1, ch1), (Interface::Ch2, ch2)] {
        if dead > 0 {
            let input = Input::Purged { interface, dead };
            let _ = engine.send(Message::Event(Event::Engine(input)));
        }
    }
}

fn commit(
    store: &mut dyn Store,
    ids: &mut Vec<u64>,
    batches: &mut Vec<Batch>,
    engine: &Sender<Message>,
    metrics: &Arc<Metrics>,
) {
    if batches.is_empty() {
        return;
    }
    let begun = clock::now();
    let results = store.commit(batches);
    metrics.spool_fsync(clock::now().since(begun));
    let (used, limit) = store.size();
    metrics.spool_size(used, limit);
    for (batch, result) in ids.drain(..).zip(results) {
        match &result {
            CommitResult::Full => metrics.spool_error("full", 1),
            CommitResult::Failed(why) => {
                emit(LogEvent::StoreFailed, Fields::default(), why);
                metrics.spool_error("write", 1);
            }
            CommitResult::Unknown(why) => {
                emit(LogEvent::StoreUnknown, Fields::default(), why);
                metrics.spool_error("unknown", 1);
            }
            CommitResult::Durable | CommitResult::Conflict(_) => {}
        }
        let input = Input::Committed { batch, result };
        let _ = engine.send(Message::Event(Event::Engine(input)));
    }
    batches.clear();
}

fn read(store: &mut dyn Store, job: Job, engine: &Sender<Message>) {
    match job {
        Job::Lookup(lookup, key, session) => {
            let found = find(store, key.as_ref(), session.as_deref());
            let input = match found {
                Ok((key, session)) => Input::Found { lookup, key, session, error: None },
                Err(why) => Input::Found { lookup, key: None, session: None, error: Some(why) },
            };
            let _ = engine.send(Message::Event(Event::Engine(input)));
        }
        Job::Probe(reply) => {
            let alive = Batch {
                counters: vec![("probe", u64::try_from(clock::wall().0).unwrap_or(0))],
                ..Batch::default()
            };
            let result = match store.commit(&[alive]).pop() {
                Some(CommitResult::Durable) => Ok(()),
                Some(other) => Err(format!("{other:?}")),
                None => Err("the store did not say".to_owned()),
            };
            let _ = reply.send(result);
        }
        Job::Search(query, reply) => {
            let found = store.search(&query).and_then(|rows| {
                let mut known = BTreeMap::new();
                rows.into_iter().map(|row| with_session(store, row, &mut known)).collect()
            });
            let _ = reply.send(found);
        }
        Job::Record(id, reply) => {
            let found = store.record(id).and_then(|row| {
                row.map(|row| with_session(store, row, &mut BTreeMap::new())).transpose()
            });
            let _ = reply.send(found);
        }
        Job::Remove(ids, reply) => {
            let removed = store.remove_dead(&ids).map(|(ch1, ch2)| {
                tell_purged(ch1, ch2, engine);
                ch1 + ch2
            });
            let _ = reply.send(removed);
        }
        Job::Commit(..) | Job::Stop => {}
    }
}

/// Records of one session are often neighbours: it is read once.
fn with_session(
    store: &mut dyn Store,
    record: RecordRow,
    known: &mut BTreeMap<String, Option<SessionRow>>,
) -> Result<StoredRecord, String> {
    let session = match crate::charging::explain::owner(&record) {
        None => None,
        Some(key) => match known.get(&key) {
            Some(session) => session.clone(),
            None => {
                let session = store.session(&key)?;
                known.insert(key, session.clone());
                session
            }
        },
    };
    Ok(StoredRecord { record, session })
}

type Found = (Option<crate::store::KeyRow>, Option<crate::store::SessionRow>);

fn find(store: &mut dyn Store, key: Option<&Key>, session: Option<&str>) -> Result<Found, String> {
    let key = match key {
        Some(key) => store.key(key)?,
        None => None,
    };
    let session = match session {
        Some(id) => store.session(id)?,
        None => None,
    };
    Ok((key, session))
}
