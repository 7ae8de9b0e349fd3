//! A restart: open sessions, armed STOPs and unacknowledged records go on where they were.
//!
//! Every request found without an answer keeps its Session-Id, number and End-to-End id; T is set
//! unless a mark on disk says that every copy was answered by an error (RFC 6733, 5.5.4).

use std::collections::{BTreeSet, VecDeque};

use super::commit::Slot;
use super::credit_control::Event;
use super::decision::VALIDITY_GRACE;
use super::engine::{Action, Alarm, Engine, Fact, Timer, interface_index};
use super::event::EventAction;
use super::record::{Command, Record};
use super::session::Session;
use crate::clock::{Now, Wall};
use crate::store::{Interface, RecordId, RecordState, Recovered};

impl Engine {
    /// Takes over what the store holds. Call once, before the first input.
    pub fn recover(&mut self, found: &Recovered, now: Now, wall: Wall, out: &mut Vec<Action>) {
        self.now = now;
        self.wall = wall;
        for row in &found.sessions {
            match minicbor::decode::<Session>(&row.body) {
                Ok(session) => {
                    if let Some(ro) = &session.ro {
                        self.ro_sessions.insert(ro.session_id.clone(), session.key.clone());
                    }
                    if let Some(by) = session.abort_at.filter(|_| session.closing.is_none()) {
                        let by = self.no_later(by, self.policy.termination.abort_grace);
                        self.at_wall(by, Timer::Abort(session.key.clone()));
                    }
                    self.sessions.insert(
                        session.key.clone(),
                        Slot {
                            session,
                            waiters: Vec::new(),
                            busy: None,
                            inbox: VecDeque::new(),
                            live: BTreeSet::new(),
                            unsaved: false,
                            owed: Vec::new(),
                        },
                    );
                }
                Err(error) => {
                    self.alarm(
                        Alarm::StoreInconsistent,
                        None,
                        format!("session {}: {error}", row.id),
                    );
                }
            }
        }
        let mut waiting = Vec::new();
        for row in &found.records {
            self.fact(Fact::Record { interface: row.interface, event: "recovered" });
            if row.state == RecordState::Dead {
                self.dead[interface_index(row.interface)] += 1;
                continue;
            }
            match minicbor::decode::<Record>(&row.body) {
                Ok(record) => {
                    waiting.push(record.id);
                    self.adopt(record);
                }
                Err(error) => {
                    self.alarm(Alarm::StoreInconsistent, Some(row.id), error.to_string());
                }
            }
        }
        for (key, expires_at) in self.session_ends() {
            let most = self.policy.termination.max_session;
            self.end_session_at(&key, self.no_later(expires_at, most));
            let until = self.sessions.get(&key).and_then(|slot| {
                let grants = slot.session.counters.iter().filter_map(|c| c.grant.as_ref());
                grants.filter_map(|grant| grant.valid_until).min()
            });
            if let Some(until) = until {
                self.at_wall(until + VALIDITY_GRACE, Timer::Validity(key.clone()));
            }
            if let Some(mut change) = self.begin(&key) {
                self.arm_interim(&mut change);
                self.sessions.insert(key, change.slot);
            }
        }
        for id in waiting {
            self.resume(id);
        }
        out.append(&mut self.out);
    }

    fn adopt(&mut self, mut record: Record) {
        record.recovered = !record.error_mark;
        record.durable = Some(record.state);
        match self.sessions.get_mut(&record.owner) {
            Some(slot) => {
                slot.live.insert(record.id);
            }
            None => {
                let words = format!("its session `{}` is not in the store", record.owner);
                self.alarm(Alarm::StoreInconsistent, Some(record.id), words);
                return;
            }
        }
        self.records.insert(record.id, record);
    }

    fn session_ends(&self) -> Vec<(String, Wall)> {
        self.sessions
            .values()
            .map(|slot| &slot.session)
            .filter(|session| session.event.is_none() && session.closing.is_none())
            .map(|session| (session.key.clone(), session.expires_at))
            .collect()
    }

    /// Sets the timers of one record; it leaves when a peer of its route is open.
    fn resume(&mut self, id: RecordId) {
        let Some(record) = self.records.get_mut(&id) else { return };
        let (owner, command, route) = (record.owner.clone(), record.command, record.route);
        if let Some(due) = record.due_at {
            let due = self.no_later(due, self.policy.termination.ok_timeout);
            self.at_wall(due, Timer::Guard(owner, id));
            return;
        }
        record.parked = true;
        let first_sent_at = record.first_sent_at.unwrap_or(record.created_at);
        self.parked.insert(id);
        if command.interface() == Interface::Ch1 {
            return;
        }
        if command == Command::CcrEvent {
            let window = self.policy.failure.buffer_for;
            self.window_until(id, self.no_later(first_sent_at + window, window));
            self.resume_event(id, &owner);
            return;
        }
        let window = self.settle_within(route);
        self.window_until(id, self.no_later(first_sent_at + window, window));
    }

    /// A stored deadline, for a clock that may have been set back since (FC-02): it is never
    /// further away than it was when it was stored.
    fn no_later(&self, due: Wall, most: std::time::Duration) -> Wall {
        due.min(self.wall + most)
    }

    /// A debit goes on as if Tx had expired; nobody waits for a balance or a price any more.
    fn resume_event(&mut self, id: RecordId, owner: &str) {
        let Some(mut change) = self.begin(owner) else { return };
        let action = change.slot.session.event.as_ref().map(|event| event.action);
        if let Some(record) = self.records.get_mut(&id) {
            record.expired = 1;
        }
        match action {
            Some(EventAction::CheckBalance | EventAction::EnquirePrice) => {
                self.event_event(&mut change, id, Event::CannotSend, None);
            }
            _ => self.event_event(&mut change, id, Event::TxExpired, None),
        }
        self.finish(change);
    }
}
