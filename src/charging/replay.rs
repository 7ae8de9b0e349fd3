//! A dead record is sent again because an operator says so; what must not be, is not.
//!
//! Money-aware: on CH-1 every dead record; on CH-2 a refund, a debit that was buffered, and a CCR-T
//! whose units are in no backup record. A CCR-I or CCR-U never: debiting now what the user was
//! denied, or was given, an hour ago is worse than losing it.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use super::commit::{Change, Slot};
use super::credit_control::State;
use super::engine::{Engine, Fact, Work};
use super::event::EventAction;
use super::explain::state_word;
use super::record::{Command, Record};
use super::session::Session;
use crate::store::{Interface, RecordId, RecordState};

/// Why a record is not sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoReplay {
    /// It is not dead.
    NotDead(RecordState),
    /// A CCR-I or CCR-U.
    Never(Command),
    /// An enquiry for a balance or a price: nobody waits for the answer.
    Enquiry,
    /// The units of this CCR-T are in a backup record already.
    BackedUp(RecordId),
    /// The session or event that made it is not stored any more.
    NoSession,
    /// Another request of its session is on its way.
    Busy,
}

impl fmt::Display for NoReplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoReplay::NotDead(RecordState::Waiting) => {
                f.write_str("it waits, and goes out by itself")
            }
            NoReplay::NotDead(state) => write!(f, "it is {}, not dead", state_word(*state)),
            NoReplay::Never(command) => write!(
                f,
                "a {} is never sent again: its moment has passed, and its units are settled by the \
                 session's end",
                command.name()
            ),
            NoReplay::Enquiry => f.write_str("nobody waits for a balance or a price any more"),
            NoReplay::BackedUp(id) => write!(f, "its units are in backup record {id}"),
            NoReplay::NoSession => f.write_str("its session is not stored any more"),
            NoReplay::Busy => f.write_str("another request of its session is on its way"),
        }
    }
}

/// May this record be sent again?
///
/// # Errors
/// Why not.
pub fn may_replay(record: &Record, session: Option<&Session>) -> Result<(), NoReplay> {
    if record.state != RecordState::Dead {
        return Err(NoReplay::NotDead(record.state));
    }
    let session = session.ok_or(NoReplay::NoSession)?;
    let online = record.command.interface() == Interface::Ch2;
    let busy = session.ro.as_ref().is_some_and(|ro| ro.outstanding.is_some());
    match record.command {
        Command::CcrInitial | Command::CcrUpdate => Err(NoReplay::Never(record.command)),
        Command::CcrTermination if session.backup.is_some() => {
            Err(session.backup.map_or(NoReplay::NoSession, NoReplay::BackedUp))
        }
        Command::CcrEvent if is_enquiry(session) => Err(NoReplay::Enquiry),
        _ if online && busy => Err(NoReplay::Busy),
        _ => Ok(()),
    }
}

fn is_enquiry(session: &Session) -> bool {
    let action = session.event.as_ref().map(|event| event.action);
    matches!(action, Some(EventAction::CheckBalance | EventAction::EnquirePrice))
}

impl Engine {
    /// Sends a dead record of the store again; what is in memory of its session counts.
    pub(super) fn replay(&mut self, record: Box<Record>, session: Option<Box<Session>>) {
        let owner = record.owner.clone();
        if !self.sessions.contains_key(&owner) {
            let Some(session) = session else { return };
            if let Some(ro) = &session.ro {
                self.ro_sessions.insert(ro.session_id.clone(), owner.clone());
            }
            let slot = Slot {
                session: *session,
                waiters: Vec::new(),
                busy: None,
                inbox: VecDeque::new(),
                live: BTreeSet::new(),
                unsaved: false,
                owed: Vec::new(),
            };
            self.sessions.insert(owner.clone(), slot);
        }
        self.work(&owner, Work::Replay(record));
    }

    pub(super) fn replayed(&mut self, change: &mut Change, mut record: Record) {
        let id = record.id;
        // It is still here if a late answer would change something.
        if let Some(here) = self.records.get(&id) {
            record = here.clone();
        }
        if may_replay(&record, Some(&change.slot.session)).is_err() {
            return;
        }
        // Whether this life or an earlier one sent its copies is not known here: T is set, and a
        // server that has none of them takes it all the same (S-32).
        record.recovered = true;
        record.durable = Some(RecordState::Dead);
        record.first_sent_at = None;
        let (command, route) = (record.command, record.route);
        self.records.insert(id, record);
        change.slot.live.insert(id);
        if let Some(record) = self.touch(change, id) {
            record.state = RecordState::Waiting;
        }
        if let Some(brief) = change.slot.session.brief_mut(id) {
            brief.state = RecordState::Waiting;
        }
        if let (Interface::Ch2, Some(ro)) = (command.interface(), change.slot.session.ro.as_mut()) {
            ro.outstanding = Some(id);
            ro.state = match command {
                Command::CcrEvent => State::PendingB,
                _ => State::PendingT,
            };
            let window = match command {
                Command::CcrEvent => self.policy.failure.buffer_for,
                _ => self.settle_within(route),
            };
            self.window_until(id, self.wall + window);
        }
        self.fact(Fact::Record { interface: command.interface(), event: "replayed" });
        self.next_copy(change, id, "retry");
    }
}
