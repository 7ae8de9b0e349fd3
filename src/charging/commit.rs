//! One change of one session, from its beginning to the end of its commit.
//!
//! What a change did is undone if the commit of an accepted trigger fails; progress (an answer, a
//! timer) is never undone but written again until the store takes it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::engine::{
    Action, CallerId, Checked, END_TO_END_COUNTER, Engine, Fact, Reserving, Timer, Work, encode,
    interface_index,
};
use super::event::Request;
use super::io::{NoticeKind, RequestId};
use super::outcome::{Refusal, Reply};
use super::record::Record;
use super::session::Session;
use crate::clock::{Now, Wall};
use crate::diameter::ids::{END_TO_END_BLOCK, EndToEndBlock};
use crate::store::{
    Batch, CommitResult, Interface, Key, KeyRow, RecordId, RecordRow, RecordState, SessionRow,
};

/// Someone who waits for a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub caller: CallerId,
    pub call: u32,
    /// Not the first: `Idempotency-Replayed`.
    pub replayed: bool,
    /// `Prefer: wait=0`.
    pub at_once: bool,
    /// `Prefer: wait=N`: until then also for the ACA.
    pub aca_until: Option<Now>,
}

/// A session in memory.
pub(super) struct Slot {
    pub session: Session,
    pub waiters: Vec<Waiter>,
    /// The batch in the store's hands.
    pub busy: Option<u64>,
    pub inbox: VecDeque<Work>,
    /// Records that are kept in memory for it.
    pub live: BTreeSet<RecordId>,
    /// The last commit failed: everything has to be written again.
    pub unsaved: bool,
    /// Notifications of the commit that failed.
    pub owed: Vec<Effect>,
}

impl Slot {
    /// The session as it was, and nobody waits for a call that it does not have.
    fn restore(&mut self, before: Session) {
        self.waiters.retain(|waiter| before.calls.iter().any(|call| call.id == waiter.call));
        self.session = before;
    }
}

/// One change of one session, until its commit.
pub(super) struct Change {
    pub slot: Slot,
    /// To undo an accepted trigger whose commit fails; `None`: new session.
    pub before: Option<Session>,
    pub new: bool,
    pub touched: BTreeMap<RecordId, Option<Record>>,
    pub dirty: bool,
    pub keys: Vec<KeyRow>,
    pub claims: Vec<Key>,
    pub effects: Vec<Effect>,
    /// The trigger that made it.
    pub origin: Option<(CallerId, Box<Request>, Checked)>,
}

/// What follows a durable commit.
#[derive(Debug)]
pub(super) enum Effect {
    Send(RecordId, &'static str),
    Reply(CallerId, Reply),
    Unmarked(RecordId),
    Respond(RequestId, Bytes),
    Notify(NoticeKind, Option<Wall>),
}

pub(super) struct Commit {
    key: String,
    before: Option<Session>,
    new: bool,
    touched: BTreeMap<RecordId, Option<Record>>,
    effects: Vec<Effect>,
    origin: Option<(CallerId, Box<Request>, Checked)>,
    rows: Batch,
}

impl Engine {
    /// Takes a session out of the map to change it.
    pub(super) fn begin(&mut self, key: &str) -> Option<Change> {
        let slot = self.sessions.remove(key)?;
        Some(Change {
            before: Some(slot.session.clone()),
            dirty: slot.unsaved,
            slot,
            new: false,
            touched: BTreeMap::new(),
            keys: Vec::new(),
            claims: Vec::new(),
            effects: Vec::new(),
            origin: None,
        })
    }

    /// A change that makes a session.
    pub(super) fn begin_new(&self, session: Session) -> Change {
        Change {
            slot: Slot {
                session,
                waiters: Vec::new(),
                busy: None,
                inbox: VecDeque::new(),
                live: BTreeSet::new(),
                unsaved: false,
                owed: Vec::new(),
            },
            before: None,
            new: true,
            touched: BTreeMap::new(),
            dirty: true,
            keys: Vec::new(),
            claims: Vec::new(),
            effects: Vec::new(),
            origin: None,
        }
    }

    /// A record to change; its old form is kept for undo and its new one is written.
    pub(super) fn touch(&mut self, change: &mut Change, id: RecordId) -> Option<&mut Record> {
        let record = self.records.get_mut(&id)?;
        change.touched.entry(id).or_insert_with(|| Some(record.clone()));
        change.dirty = true;
        Some(record)
    }

    /// A new record of the session.
    pub(super) fn add_record(&mut self, change: &mut Change, record: Record) {
        change.touched.insert(record.id, None);
        change.slot.live.insert(record.id);
        change.dirty = true;
        self.records.insert(record.id, record);
    }

    /// Answers what can be answered, writes what changed, and lets effects follow.
    pub(super) fn finish(&mut self, mut change: Change) {
        self.settle_calls(&mut change);
        let key = change.slot.session.key.clone();
        if let Some(ro) = &change.slot.session.ro {
            self.ro_sessions.insert(ro.session_id.clone(), key.clone());
        }
        if !change.dirty {
            self.sessions.insert(key.clone(), change.slot);
            self.effects(&key, change.effects);
            self.evict(&key);
            return;
        }
        let rows = self.rows(&mut change);
        let batch = self.serial();
        change.slot.busy = Some(batch);
        self.sessions.insert(key.clone(), change.slot);
        self.out.push(Action::Persist { batch, rows: rows.clone() });
        self.commits.insert(
            batch,
            Commit {
                key,
                before: change.before,
                new: change.new,
                touched: change.touched,
                effects: change.effects,
                origin: change.origin,
                rows,
            },
        );
    }

    /// Gives up a change before anything was written: the session is as it was.
    pub(super) fn abandon(&mut self, change: Change) {
        let Change { mut slot, before, touched, new, .. } = change;
        for (id, old) in touched {
            match old {
                Some(old) => drop(self.records.insert(id, old)),
                None => {
                    self.drop_record(id);
                    slot.live.remove(&id);
                }
            }
        }
        if let (false, Some(before)) = (new, before) {
            slot.restore(before);
            let key = slot.session.key.clone();
            // Whoever is served from the inbox goes on with it; a call from outside found it empty.
            self.sessions.insert(key, slot);
        }
    }

    pub(super) fn rows(&mut self, change: &mut Change) -> Batch {
        let session = &change.slot.session;
        let mut rows = Batch {
            sessions: vec![SessionRow {
                id: session.key.clone(),
                ended: is_over(session, &change.slot.live, &self.records),
                opened_at: session.opened_at,
                changed_at: self.wall,
                body: encode(session),
            }],
            keys: std::mem::take(&mut change.keys),
            claims: std::mem::take(&mut change.claims),
            ..Batch::default()
        };
        let unsaved = change.slot.unsaved;
        let all: BTreeSet<RecordId> = change
            .touched
            .keys()
            .copied()
            .chain(change.slot.live.iter().copied().filter(|_| unsaved))
            .collect();
        for id in all {
            if let Some(record) = self.records.get(&id) {
                rows.records.push(RecordRow {
                    id,
                    subject: session.subject.id().to_owned(),
                    interface: record.command.interface(),
                    command: record.command.name().to_owned(),
                    state: record.state,
                    due_at: record.due_at,
                    created_at: record.created_at,
                    subscribers: record.subscribers.clone(),
                    diameter_session_id: record.diameter_session_id.clone(),
                    body: encode(record),
                });
            }
        }
        if self.reserving == Reserving::Wanted {
            self.reserving = Reserving::Written;
            let following = self.unreserved.wrapping_add(END_TO_END_BLOCK);
            rows.counters.push((END_TO_END_COUNTER, u64::from(following)));
        }
        rows
    }

    pub(super) fn committed(&mut self, batch: u64, result: CommitResult) {
        let Some(commit) = self.commits.remove(&batch) else { return };
        let key = commit.key.clone();
        let reserves = commit.rows.counters.iter().any(|(name, _)| *name == END_TO_END_COUNTER);
        if let Some(slot) = self.sessions.get_mut(&key) {
            slot.busy = None;
            // A commit that failed leaves what was unsaved before it unsaved.
            if result == CommitResult::Durable {
                slot.unsaved = false;
            }
        }
        if reserves && !matches!(result, CommitResult::Durable | CommitResult::Unknown(_)) {
            self.reserving = Reserving::Wanted;
        }
        match result {
            CommitResult::Durable => {
                if reserves {
                    self.spare = Some(EndToEndBlock::new(self.unreserved));
                    self.unreserved = self.unreserved.wrapping_add(END_TO_END_BLOCK);
                    self.reserving = Reserving::No;
                }
                self.facts_of(&commit);
                self.drop_final(&key);
                self.effects(&key, commit.effects);
            }
            CommitResult::Conflict(claimed) => {
                let origin = self.undo(commit);
                if let Some((caller, request, _)) = origin {
                    self.conflict(caller, request, claimed);
                }
            }
            CommitResult::Full => self.refuse(commit, Refusal::SpoolFull),
            CommitResult::Failed(why) => self.refuse(commit, Refusal::StoreUnavailable(why)),
            // Wholly written or wholly absent: writing the same rows again makes it written.
            CommitResult::Unknown(_) => {
                let mut again = commit;
                again.rows.claims.clear();
                let serial = self.serial();
                if let Some(slot) = self.sessions.get_mut(&key) {
                    slot.busy = Some(serial);
                }
                self.out.push(Action::Persist { batch: serial, rows: again.rows.clone() });
                self.commits.insert(serial, again);
                return;
            }
        }
        self.drain_inbox(&key);
        self.evict(&key);
    }

    /// A commit failed: an accepted trigger is undone, progress is written again later.
    pub(super) fn refuse(&mut self, commit: Commit, refusal: Refusal) {
        let key = commit.key.clone();
        if commit.origin.is_some() {
            if let Some((caller, ..)) = self.undo(commit) {
                let reply = Reply::Refused(refusal);
                self.out.push(Action::Reply { caller, reply });
            }
            return;
        }
        let mut owed = Vec::new();
        for effect in commit.effects {
            match effect {
                // What is on disk already may leave; the outcome is written when the store can.
                Effect::Reply(caller, _) => {
                    let reply = Reply::Refused(refusal.clone());
                    self.out.push(Action::Reply { caller, reply });
                }
                Effect::Unmarked(record) => {
                    if let Some(record) = self.records.get_mut(&record) {
                        record.error_mark = true;
                        record.unmarking = false;
                    }
                }
                Effect::Send(..) | Effect::Respond(..) => {}
                Effect::Notify(..) => owed.push(effect),
            }
        }
        if let Some(slot) = self.sessions.get_mut(&key) {
            slot.unsaved = true;
            slot.owed.append(&mut owed);
        }
        self.after(Duration::from_secs(1), Timer::Recommit(key));
    }

    pub(super) fn undo(&mut self, commit: Commit) -> Option<(CallerId, Box<Request>, Checked)> {
        for (id, old) in commit.touched {
            match old {
                Some(old) => drop(self.records.insert(id, old)),
                None => {
                    self.drop_record(id);
                    if let Some(slot) = self.sessions.get_mut(&commit.key) {
                        slot.live.remove(&id);
                    }
                }
            }
        }
        let mut inbox = VecDeque::new();
        if let Some(slot) = self.sessions.get_mut(&commit.key) {
            match commit.before {
                Some(before) => slot.restore(before),
                None => inbox = std::mem::take(&mut slot.inbox),
            }
        }
        if commit.new {
            self.forget_session(&commit.key);
            for work in inbox {
                if let Work::Trigger(caller, request, checked) = work {
                    self.trigger(caller, request, checked);
                }
            }
        }
        commit.origin
    }

    pub(super) fn effects(&mut self, key: &str, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(record, reason) => self.submit(record, reason),
                Effect::Reply(caller, reply) => self.out.push(Action::Reply { caller, reply }),
                Effect::Unmarked(record) => self.work(key, Work::Unmarked(record)),
                Effect::Respond(request, bytes) => {
                    self.out.push(Action::Respond { request, bytes });
                }
                Effect::Notify(kind, by) => self.notified(key, kind, by),
            }
        }
    }

    pub(super) fn drain_inbox(&mut self, key: &str) {
        loop {
            let Some(slot) = self.sessions.get_mut(key) else { return };
            if slot.busy.is_some() {
                return;
            }
            let Some(work) = slot.inbox.pop_front() else { return };
            self.perform(key, work);
        }
    }

    /// Writes everything again, and sends what the failed commit kept back.
    pub(super) fn recommit(&mut self, change: &mut Change) {
        change.dirty = true;
        change.effects.append(&mut change.slot.owed);
        let live: Vec<RecordId> = change.slot.live.iter().copied().collect();
        for id in live {
            let unsent = self.records.get(&id).is_some_and(|record| {
                record.state == RecordState::Waiting
                    && record.due_at.is_none()
                    && record.copies.is_empty()
                    && !record.leaving
                    && !record.parked
                    && !record.recovered
            });
            // Only whose turn it is: ACR n+1 waits for ACA n.
            if unsent && self.may_send(change, id) {
                change.effects.push(Effect::Send(id, "store"));
            }
        }
    }

    /// Final records of a durable commit leave the memory.
    pub(super) fn drop_final(&mut self, key: &str) {
        let Some(slot) = self.sessions.get(key) else { return };
        let gone: Vec<RecordId> = slot
            .live
            .iter()
            .copied()
            .filter(|id| self.records.get(id).is_none_or(|record| !kept(record)))
            .collect();
        for id in gone {
            self.drop_record(id);
            if let Some(slot) = self.sessions.get_mut(key) {
                slot.live.remove(&id);
            }
        }
    }

    pub(super) fn drop_record(&mut self, id: RecordId) {
        self.forget_window(id);
        self.records.remove(&id);
        self.parked.remove(&id);
        self.has_left(id);
        if let Some(token) = self.record_tokens.remove(&id) {
            self.tokens.remove(&token);
            self.out.push(Action::Forget { token });
        }
    }

    fn forget_session(&mut self, key: &str) {
        let gone = self.sessions.remove(key);
        self.forget_session_end(key);
        if let Some(ro) = gone.and_then(|slot| slot.session.ro) {
            self.ro_sessions.remove(&ro.session_id);
        }
    }

    /// An ended session without live records or waiters is only in the store.
    pub(super) fn evict(&mut self, key: &str) {
        let done = self.sessions.get(key).is_some_and(|slot| {
            slot.busy.is_none()
                && !slot.unsaved
                && slot.inbox.is_empty()
                && slot.waiters.is_empty()
                && slot.session.calls.is_empty()
                && slot.session.ended_at.is_some()
                && slot.live.is_empty()
        });
        if done {
            self.forget_session(key);
        }
    }

    /// Facts of a durable commit, from what each record was on disk before and is now.
    pub(super) fn facts_of(&mut self, commit: &Commit) {
        for row in &commit.rows.records {
            let Some(record) = self.records.get_mut(&row.id) else { continue };
            let before = record.durable.replace(row.state);
            if before.is_none() {
                self.fact(Fact::Record { interface: row.interface, event: "stored" });
            }
            if before.unwrap_or(RecordState::Waiting) == row.state {
                continue;
            }
            let index = interface_index(row.interface);
            if before == Some(RecordState::Dead) {
                self.dead[index] = self.dead[index].saturating_sub(1);
            }
            // A late answer to an abandoned or superseded record changes its state, not the sum.
            let counted = before.is_none_or(RecordState::unacknowledged);
            let event = match row.state {
                RecordState::Waiting => continue,
                RecordState::Acknowledged | RecordState::Answered => "acknowledged",
                RecordState::Superseded => "superseded",
                RecordState::Abandoned => "abandoned",
                RecordState::Dead => {
                    self.dead[index] += 1;
                    "dead"
                }
            };
            if counted {
                self.fact(Fact::Record { interface: row.interface, event });
            }
        }
    }
}

/// Nothing of the session goes on after a restart: no record waits, no call is unanswered.
fn is_over(
    session: &Session,
    live: &BTreeSet<RecordId>,
    records: &BTreeMap<RecordId, Record>,
) -> bool {
    let waits = |id: &RecordId| records.get(id).is_some_and(|r| r.state == RecordState::Waiting);
    session.ended_at.is_some() && session.calls.is_empty() && !live.iter().any(waits)
}

/// Does a record stay in memory: still waiting, or a late answer would change something?
fn kept(record: &Record) -> bool {
    match record.state {
        RecordState::Waiting => true,
        RecordState::Abandoned | RecordState::Superseded => {
            record.command.interface() == Interface::Ch2 && record.in_flight()
        }
        RecordState::Dead => record.in_flight(),
        RecordState::Acknowledged | RecordState::Answered => false,
    }
}
