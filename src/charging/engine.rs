//! The engine: sessions × (accounting, credit control), one thread, no IO.
//!
//! Inputs come in, actions go out; the answer to a trigger leaves only after its commit is durable.
//! Per session one change is in the store's hands at a time: what arrives meanwhile waits in the
//! session's inbox, so a commit that fails can be undone as if the trigger had never come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::event::{OneTimeEvent, Request, Trigger};
use super::outcome::{Refusal, Reply, SessionView};
use super::policy::Policy;
use super::record::{Command, Record};
use super::request::Library;
use super::session::{CallKey, Session};
use crate::clock::{Now, Wall};
use crate::diameter::ids::{END_TO_END_BLOCK, EndToEndBlock, SessionIds};
use crate::store::{
    Batch, CommitResult, Interface, Key, KeyRow, RecordId, RecordRow, RecordState, SessionRow,
};

/// Whoever waits for a reply; the shell knows what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerId(pub u64);

/// What comes in.
#[derive(Debug)]
pub enum Input {
    /// A call of the API.
    Trigger {
        /// Who waits.
        caller: CallerId,
        /// The call.
        request: Box<Request>,
    },
    /// `GET /v1/sessions/{id}`.
    View {
        /// Who waits.
        caller: CallerId,
        /// Which session.
        session_id: String,
    },
    /// The store's verdict on a batch.
    Committed {
        /// As in [`Action::Persist`].
        batch: u64,
        /// How it ended.
        result: CommitResult,
    },
    /// What the store found.
    Found {
        /// As in [`Action::Lookup`].
        lookup: u64,
        /// The key, if asked for and known.
        key: Option<KeyRow>,
        /// The session, if asked for and known.
        session: Option<SessionRow>,
        /// The store could not be read.
        error: Option<String>,
    },
    /// A copy was handed to a peer.
    Sent {
        /// As in [`Action::Submit`].
        token: u64,
        /// Index of the peer.
        peer: usize,
    },
    /// No allowed peer can take a copy now.
    NoPeer {
        /// As in [`Action::Submit`].
        token: u64,
    },
    /// An answer came and was matched.
    Answer {
        /// As in [`Action::Submit`].
        token: u64,
        /// Index of the peer.
        peer: usize,
        /// Hop-by-Hop Identifier of the copy.
        hop_by_hop: u32,
        /// The whole message.
        bytes: Bytes,
        /// From transmission to receipt.
        round_trip: Duration,
    },
    /// A copy's connection ended before an answer came.
    Lost {
        /// As in [`Action::Submit`].
        token: u64,
        /// Index of the peer.
        peer: usize,
        /// At least one octet of it left.
        sent: bool,
    },
    /// A peer became usable, or stopped being so.
    PeerUsable {
        /// Index of the peer.
        peer: usize,
        /// Does it take requests?
        usable: bool,
        /// Its Origin-Host, once known.
        origin_host: Option<String>,
    },
    /// No new sessions and events from now on.
    Drain,
    /// Retention removed dead records from the store.
    Purged {
        /// CH-1 or CH-2.
        interface: Interface,
        /// How many.
        dead: u64,
    },
    /// Time has passed.
    Tick,
}

/// Where a copy may go (api.md section 3, "Who may get a copy").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Names the record.
    pub token: u64,
    /// What it is, for metrics and timers.
    pub command: Command,
    /// Encoded message: Hop-by-Hop 0, T clear, no Destination-Host.
    pub message: Bytes,
    /// Index of the route.
    pub route: usize,
    /// S: Origin-Host of the last settled answer of the session.
    pub server: Option<String>,
    /// The last CC-Session-Failover was 1.
    pub failover: bool,
    /// No other *server* may get it (after silence under TERMINATE; CC-Session-Failover 0).
    pub same_server: bool,
    /// Peers to leave out (they have it, or answered with an error).
    pub exclude: Vec<usize>,
    /// If none is left but an excluded one that is open, take that.
    pub repeat_allowed: bool,
    /// Only peers of this dedup domain.
    pub domain: Option<String>,
    /// The first request of its session: no Destination-Host yet.
    pub initial: bool,
    /// T law, line 1: the mark was taken off for this copy.
    pub error_mark: bool,
    /// T law, line 2: an earlier copy had no answer.
    pub unanswered: bool,
    /// T law, line 2: found in the store at start.
    pub recovered: bool,
    /// Number of copies before this one.
    pub earlier_copies: u32,
    /// Why there is another copy: for the metric.
    pub reason: &'static str,
}

/// What goes out.
#[derive(Debug)]
pub enum Action {
    /// Commit this.
    Persist {
        /// Comes back in [`Input::Committed`].
        batch: u64,
        /// Rows.
        rows: Batch,
    },
    /// Read this.
    Lookup {
        /// Comes back in [`Input::Found`].
        lookup: u64,
        /// A key.
        key: Option<Key>,
        /// A session row by its key.
        session: Option<String>,
    },
    /// Send a copy.
    Submit(Submission),
    /// Answer a call.
    Reply {
        /// Who waits.
        caller: CallerId,
        /// With what.
        reply: Reply,
    },
    /// Answer a GET.
    Show {
        /// Who waits.
        caller: CallerId,
        /// `None`: unknown.
        view: Result<Option<Box<SessionView>>, Refusal>,
    },
    /// Nothing more is sent or awaited under this token.
    Forget {
        /// As in [`Action::Submit`].
        token: u64,
    },
    /// A fact for metrics and logs.
    Fact(Fact),
}

/// What happened, for metrics and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A row of a table was taken.
    Took(&'static str),
    /// A decision about money.
    Outcome {
        /// CH-1 or CH-2.
        interface: Interface,
        /// Service name, empty if it is none of the configuration.
        service: String,
        /// The money.
        outcome: super::outcome::Outcome,
        /// Who decided.
        basis: super::outcome::Basis,
    },
    /// Units, in one direction.
    Units {
        /// Service name.
        service: String,
        /// API name of the unit.
        unit: &'static str,
        /// `requested`, `granted`, `used`.
        direction: &'static str,
        /// How many.
        amount: u64,
    },
    /// A record entered the spool or left it.
    Record {
        /// CH-1 or CH-2.
        interface: Interface,
        /// `stored recovered acknowledged superseded abandoned dead`.
        event: &'static str,
    },
    /// MSCC-level result.
    ServiceResult {
        /// Index of the peer.
        peer: usize,
        /// Its code.
        code: Option<u32>,
    },
    /// An AVP that a peer rejected.
    FailedAvp {
        /// Index of the peer.
        peer: usize,
        /// Its name.
        avp: String,
    },
    /// A session ended.
    SessionEnded {
        /// CH-1 or CH-2.
        interface: Interface,
        /// `normal denied expired lost aborted_by_ocs`.
        reason: String,
    },
    /// Tx ran out without an answer.
    Timeout {
        /// Index of the peer.
        peer: usize,
        /// Metric name of the command.
        command: &'static str,
    },
    /// Something a person has to look at.
    Alarm {
        /// What.
        alarm: Alarm,
        /// Which record.
        record: Option<RecordId>,
        /// In words.
        detail: String,
    },
    /// A stored answer was returned.
    Replayed {
        /// `start interim terminate event`.
        op: &'static str,
    },
}

/// What a person has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A record is a dead letter.
    Dead,
    /// Units went into a backup record.
    Backup,
    /// A late answer covers units that a sent backup record reports too.
    DoubleSettlement,
    /// The peer says that our message is wrong.
    MappingDefect,
    /// The peer does not serve what is sent to it.
    ConfigurationDefect,
    /// 5031.
    RatingFailed,
    /// An answer with another request's type or number.
    AnswerMixed,
    /// An answer that cannot be used (H-27).
    AnswerUnusable,
    /// A row that cannot be read, or belongs to nothing.
    StoreInconsistent,
    /// The mapping cannot build a message that has to go.
    CannotClose,
}

/// What can be due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Tx of the copy with this number.
    Tx(RecordId, u32),
    /// End of the settling window.
    Window(RecordId),
    /// The guard of an armed STOP.
    Guard(String, RecordId),
    /// `termination.max_session`.
    MaxSession(String),
    /// A caller has waited long enough.
    Wait(String, u32),
    /// Try a parked record again.
    Retry(RecordId),
    /// Late answers are no longer awaited.
    Forget(RecordId),
    /// A commit failed; try again.
    Recommit(String),
}

/// Work of one session, done in order.
#[derive(Debug)]
pub(super) enum Work {
    Trigger(CallerId, Box<Request>, Checked),
    View(CallerId),
    Answer { record: RecordId, peer: usize, hop_by_hop: u32, bytes: Bytes, round_trip: Duration },
    Lost { record: RecordId, peer: usize, sent: bool },
    NoPeer(RecordId),
    Tx(RecordId, u32),
    Window(RecordId),
    Guard(RecordId),
    MaxSession,
    Wait(u32),
    Retry(RecordId),
    Unmarked(RecordId),
    Forget(RecordId),
    Recommit,
}

/// Which look-ups a trigger has behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// The Idempotency-Key is unknown.
    pub idempotency: bool,
    /// The natural key is unknown.
    pub natural: bool,
    /// The session is not in the store.
    pub session: bool,
}

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
    before: Option<Session>,
    pub new: bool,
    touched: BTreeMap<RecordId, Option<Record>>,
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
}

struct Commit {
    key: String,
    before: Option<Session>,
    new: bool,
    touched: BTreeMap<RecordId, Option<Record>>,
    effects: Vec<Effect>,
    origin: Option<(CallerId, Box<Request>, Checked)>,
    rows: Batch,
}

/// How the spool stands, per interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolCounts {
    /// Not answered, no copy on its way.
    pub waiting: u64,
    /// A copy is on its way.
    pub in_flight: u64,
    /// Needs a person.
    pub dead: u64,
    /// Creation time of the oldest waiting record that is due.
    pub oldest: Option<Wall>,
}

/// The engine.
pub struct Engine {
    pub(super) policy: Arc<Policy>,
    pub(super) library: Library,
    pub(super) sessions: BTreeMap<String, Slot>,
    pub(super) records: BTreeMap<RecordId, Record>,
    tokens: BTreeMap<u64, RecordId>,
    record_tokens: BTreeMap<RecordId, u64>,
    commits: BTreeMap<u64, Commit>,
    pub(super) lookups: BTreeMap<u64, super::lookup::Pending>,
    timers: BTreeSet<(Now, u64, Timer)>,
    pub(super) usable: Vec<bool>,
    pub(super) origin_hosts: Vec<Option<String>>,
    pub(super) parked: BTreeSet<RecordId>,
    pub(super) dead: [u64; 2],
    pub(super) draining: bool,
    end_to_end: EndToEndBlock,
    /// The next block, once it is reserved on disk.
    spare: Option<EndToEndBlock>,
    /// First id that no block has: what the store's counter says.
    unreserved: u32,
    reserving: Reserving,
    session_ids: SessionIds,
    pub(super) origin_state_id: u32,
    random: u64,
    serial: u64,
    pub(super) now: Now,
    pub(super) wall: Wall,
    pub(super) out: Vec<Action>,
}

/// What the engine is born with.
pub struct Seed {
    /// Randomness for record ids and jitter.
    pub random: u64,
    /// First id of a block of End-to-End ids that is already reserved on disk.
    pub end_to_end_first: u32,
    /// High part of Session-Ids: max(now, stored + 1), already on disk.
    pub session_high: u32,
    /// Origin-State-Id: when the store was created.
    pub origin_state_id: u32,
}

/// How far the reservation of the next block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reserving {
    No,
    /// The next commit takes it along.
    Wanted,
    /// That commit is in the store's hands.
    Written,
}

/// Name of the counter of reserved End-to-End ids in the store.
pub const END_TO_END_COUNTER: &str = "end_to_end";

impl Engine {
    /// An engine without sessions.
    pub fn new(policy: Arc<Policy>, library: Library, seed: Seed) -> Engine {
        let peers = policy.peers.len();
        let host = policy.host.clone();
        Engine {
            policy,
            library,
            sessions: BTreeMap::new(),
            records: BTreeMap::new(),
            tokens: BTreeMap::new(),
            record_tokens: BTreeMap::new(),
            commits: BTreeMap::new(),
            lookups: BTreeMap::new(),
            timers: BTreeSet::new(),
            usable: vec![false; peers],
            origin_hosts: vec![None; peers],
            parked: BTreeSet::new(),
            dead: [0; 2],
            draining: false,
            end_to_end: EndToEndBlock::new(seed.end_to_end_first),
            spare: None,
            unreserved: seed.end_to_end_first.wrapping_add(END_TO_END_BLOCK),
            reserving: Reserving::No,
            session_ids: SessionIds::new(&host, seed.session_high),
            origin_state_id: seed.origin_state_id,
            random: seed.random | 1,
            serial: 0,
            now: Now::ZERO,
            wall: Wall(0),
            out: Vec::new(),
        }
    }

    /// One input; drain `out` completely before the next.
    pub fn handle(&mut self, input: Input, now: Now, wall: Wall, out: &mut Vec<Action>) {
        self.now = now;
        self.wall = wall;
        match input {
            Input::Trigger { caller, request } => {
                self.trigger(caller, request, Checked::default());
            }
            Input::View { caller, session_id } => self.view(caller, &session_id),
            Input::Committed { batch, result } => self.committed(batch, result),
            Input::Found { lookup, key, session, error } => {
                self.found(lookup, key, session, error);
            }
            Input::Sent { token, peer } => self.sent(token, peer),
            Input::NoPeer { token } => self.for_record(token, Work::NoPeer),
            Input::Answer { token, peer, hop_by_hop, bytes, round_trip } => {
                self.for_record(token, |record| Work::Answer {
                    record,
                    peer,
                    hop_by_hop,
                    bytes,
                    round_trip,
                });
            }
            Input::Lost { token, peer, sent } => {
                self.for_record(token, |record| Work::Lost { record, peer, sent });
            }
            Input::PeerUsable { peer, usable, origin_host } => {
                self.peer_usable(peer, usable, origin_host);
            }
            Input::Drain => self.draining = true,
            Input::Purged { interface, dead } => {
                let count = &mut self.dead[interface_index(interface)];
                *count = count.saturating_sub(dead);
                for _ in 0..dead {
                    self.fact(Fact::Record { interface, event: "purged" });
                }
            }
            Input::Tick => self.tick(),
        }
        out.append(&mut self.out);
    }

    /// What it was configured with.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// When the next timer is due.
    pub fn next_timeout(&self) -> Option<Now> {
        self.timers.first().map(|(due, ..)| *due)
    }

    /// Open sessions in memory that use an interface, and the opening time of the oldest.
    pub fn open_sessions(&self, interface: Interface) -> (u64, Option<Wall>) {
        self.sessions
            .values()
            .map(|slot| &slot.session)
            .filter(|session| session.event.is_none() && session.ended_at.is_none())
            .filter(|session| match interface {
                Interface::Ch1 => session.interfaces.ch1,
                Interface::Ch2 => session.interfaces.ch2,
            })
            .fold((0, None), |(count, oldest): (u64, Option<Wall>), session| {
                let oldest = oldest.map_or(session.opened_at, |time| time.min(session.opened_at));
                (count + 1, Some(oldest))
            })
    }

    /// How the spool stands: one snapshot, so that the conservation rule holds in it.
    pub fn spool_counts(&self, interface: Interface) -> SpoolCounts {
        let mut counts =
            SpoolCounts { dead: self.dead[interface_index(interface)], ..SpoolCounts::default() };
        for record in self.records.values() {
            let waiting = record.durable == Some(RecordState::Waiting);
            if record.command.interface() != interface || !waiting {
                continue;
            }
            if record.in_flight() {
                counts.in_flight += 1;
            } else {
                counts.waiting += 1;
            }
            if record.due_at.is_none_or(|due| due <= self.wall) {
                let oldest = counts.oldest.map_or(record.created_at, |o| o.min(record.created_at));
                counts.oldest = Some(oldest);
            }
        }
        counts
    }

    // Ids.

    pub(super) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A pseudo-random number (splitmix64).
    pub(super) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn record_id(&mut self) -> RecordId {
        let serial = u128::from(self.serial());
        let random = u128::from(self.random());
        RecordId::new(self.wall, (serial << 40) | (random & 0xff_ffff_ffff))
    }

    pub(super) fn diameter_session_id(&mut self, cpm_id: &str) -> String {
        self.session_ids.take(cpm_id)
    }

    /// `None`: the reserved block is used up and the next is not on disk yet.
    pub(super) fn next_end_to_end(&mut self) -> Option<u32> {
        let low = self.spare.is_none() && self.end_to_end.left() < END_TO_END_BLOCK / 2;
        if low && self.reserving == Reserving::No {
            self.reserving = Reserving::Wanted;
        }
        if let Some(id) = self.end_to_end.take() {
            return Some(id);
        }
        self.end_to_end = self.spare.take()?;
        self.end_to_end.take()
    }

    pub(super) fn record_of(&self, token: u64) -> Option<RecordId> {
        self.tokens.get(&token).copied()
    }

    /// The token under which a record's copies travel.
    pub(super) fn token(&mut self, id: RecordId) -> u64 {
        if let Some(token) = self.record_tokens.get(&id) {
            return *token;
        }
        let token = self.serial();
        self.tokens.insert(token, id);
        self.record_tokens.insert(id, token);
        token
    }

    pub(super) fn fact(&mut self, fact: Fact) {
        self.out.push(Action::Fact(fact));
    }

    pub(super) fn alarm(&mut self, alarm: Alarm, record: Option<RecordId>, detail: String) {
        self.fact(Fact::Alarm { alarm, record, detail });
    }

    // Timers.

    pub(super) fn at(&mut self, due: Now, timer: Timer) {
        let serial = self.serial();
        self.timers.insert((due, serial, timer));
    }

    pub(super) fn after(&mut self, delay: Duration, timer: Timer) {
        self.at(self.now + delay, timer);
    }

    /// Due when the wall clock, as it runs now, reaches `due`.
    pub(super) fn at_wall(&mut self, due: Wall, timer: Timer) {
        self.after(due.since(self.wall), timer);
    }

    fn tick(&mut self) {
        while let Some((due, ..)) = self.timers.first() {
            if *due > self.now {
                break;
            }
            let Some((_, _, timer)) = self.timers.pop_first() else { break };
            match timer {
                Timer::Tx(id, copy) => self.for_record_id(id, Work::Tx(id, copy)),
                Timer::Window(id) => self.for_record_id(id, Work::Window(id)),
                Timer::Retry(id) => self.for_record_id(id, Work::Retry(id)),
                Timer::Forget(id) => self.for_record_id(id, Work::Forget(id)),
                Timer::Guard(key, id) => self.work(&key, Work::Guard(id)),
                Timer::MaxSession(key) => self.work(&key, Work::MaxSession),
                Timer::Wait(key, call) => self.work(&key, Work::Wait(call)),
                Timer::Recommit(key) => self.work(&key, Work::Recommit),
            }
        }
    }

    // Work of a session.

    fn for_record(&mut self, token: u64, work: impl FnOnce(RecordId) -> Work) {
        if let Some(id) = self.tokens.get(&token).copied() {
            self.for_record_id(id, work(id));
        }
    }

    fn for_record_id(&mut self, id: RecordId, work: Work) {
        if let Some(owner) = self.records.get(&id).map(|record| record.owner.clone()) {
            self.work(&owner, work);
        }
    }

    /// Does it now, or leaves it in the inbox of a busy session.
    pub(super) fn work(&mut self, key: &str, work: Work) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        if slot.busy.is_some() {
            slot.inbox.push_back(work);
            return;
        }
        self.perform(key, work);
    }

    fn perform(&mut self, key: &str, work: Work) {
        match work {
            Work::Trigger(caller, request, checked) => {
                self.trigger(caller, request, checked);
                return;
            }
            Work::View(caller) => {
                let view = self.sessions.get(key).map(|slot| Box::new(slot.session.view()));
                self.out.push(Action::Show { caller, view: Ok(view) });
                return;
            }
            _ => {}
        }
        let Some(mut change) = self.begin(key) else { return };
        match work {
            Work::Answer { record, peer, hop_by_hop, bytes, round_trip } => {
                self.answered(&mut change, record, peer, hop_by_hop, &bytes, round_trip);
            }
            Work::Lost { record, peer, sent } => self.lost(&mut change, record, peer, sent),
            Work::NoPeer(record) => self.no_peer(&mut change, record),
            Work::Tx(record, copy) => self.tx_expired(&mut change, record, copy),
            Work::Window(record) => self.window_over(&mut change, record),
            Work::Guard(record) => self.guard_expired(&mut change, record),
            Work::MaxSession => self.max_session(&mut change),
            Work::Wait(call) => self.wait_over(&mut change, call),
            Work::Retry(record) => self.retry(&mut change, record),
            Work::Unmarked(record) => self.unmarked(&mut change, record),
            Work::Forget(record) => self.forget(&mut change, record),
            Work::Recommit => self.recommit(&mut change),
            Work::Trigger(..) | Work::View(_) => {}
        }
        self.finish(change);
    }

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
            self.sessions.insert(key.clone(), slot);
            self.drain_inbox(&key);
        }
    }

    fn rows(&mut self, change: &mut Change) -> Batch {
        let session = &change.slot.session;
        let mut rows = Batch {
            sessions: vec![SessionRow {
                id: session.key.clone(),
                ended: session.ended_at.is_some() && change.slot.live.is_empty(),
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

    fn committed(&mut self, batch: u64, result: CommitResult) {
        let Some(commit) = self.commits.remove(&batch) else { return };
        let key = commit.key.clone();
        let reserves = commit.rows.counters.iter().any(|(name, _)| *name == END_TO_END_COUNTER);
        if let Some(slot) = self.sessions.get_mut(&key) {
            slot.busy = None;
            slot.unsaved = false;
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
    fn refuse(&mut self, commit: Commit, refusal: Refusal) {
        let key = commit.key.clone();
        if commit.origin.is_some() {
            if let Some((caller, ..)) = self.undo(commit) {
                let reply = Reply::Refused(refusal);
                self.out.push(Action::Reply { caller, reply });
            }
            return;
        }
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
                Effect::Send(..) => {}
            }
        }
        if let Some(slot) = self.sessions.get_mut(&key) {
            slot.unsaved = true;
        }
        self.after(Duration::from_secs(1), Timer::Recommit(key));
    }

    fn undo(&mut self, commit: Commit) -> Option<(CallerId, Box<Request>, Checked)> {
        let inbox = match self.sessions.get_mut(&commit.key) {
            Some(slot) => {
                for (id, old) in commit.touched {
                    match old {
                        Some(old) => drop(self.records.insert(id, old)),
                        None => {
                            slot.live.remove(&id);
                            self.records.remove(&id);
                            if let Some(token) = self.record_tokens.remove(&id) {
                                self.tokens.remove(&token);
                            }
                        }
                    }
                }
                match commit.before {
                    Some(before) => {
                        slot.restore(before);
                        VecDeque::new()
                    }
                    None => std::mem::take(&mut slot.inbox),
                }
            }
            None => VecDeque::new(),
        };
        if commit.new {
            self.sessions.remove(&commit.key);
            for work in inbox {
                if let Work::Trigger(caller, request, checked) = work {
                    self.trigger(caller, request, checked);
                }
            }
        }
        commit.origin
    }

    fn effects(&mut self, key: &str, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(record, reason) => self.submit(record, reason),
                Effect::Reply(caller, reply) => self.out.push(Action::Reply { caller, reply }),
                Effect::Unmarked(record) => self.work(key, Work::Unmarked(record)),
            }
        }
    }

    fn drain_inbox(&mut self, key: &str) {
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
    fn recommit(&mut self, change: &mut Change) {
        change.dirty = true;
        for id in &change.slot.live {
            let unsent = self.records.get(id).is_some_and(|record| {
                record.state == RecordState::Waiting
                    && record.due_at.is_none()
                    && record.copies.is_empty()
                    && !record.parked
                    && !record.recovered
            });
            if unsent {
                change.effects.push(Effect::Send(*id, "store"));
            }
        }
    }

    /// Final records of a durable commit leave the memory.
    fn drop_final(&mut self, key: &str) {
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
        self.records.remove(&id);
        self.parked.remove(&id);
        if let Some(token) = self.record_tokens.remove(&id) {
            self.tokens.remove(&token);
            self.out.push(Action::Forget { token });
        }
    }

    /// An ended session without live records or waiters is only in the store.
    fn evict(&mut self, key: &str) {
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
            self.sessions.remove(key);
        }
    }

    /// Facts of a durable commit, from what each record was on disk before and is now.
    fn facts_of(&mut self, commit: &Commit) {
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

    // Peers.

    fn peer_usable(&mut self, peer: usize, usable: bool, origin_host: Option<String>) {
        let Some(slot) = self.usable.get_mut(peer) else { return };
        let opened = usable && !*slot;
        *slot = usable;
        if origin_host.is_some()
            && let Some(host) = self.origin_hosts.get_mut(peer)
        {
            *host = origin_host;
        }
        if opened {
            let parked: Vec<RecordId> = self.parked.iter().copied().collect();
            for id in parked {
                self.for_record_id(id, Work::Retry(id));
            }
        }
    }

    /// Is any peer of this route usable?
    pub(super) fn route_usable(&self, route: usize) -> bool {
        self.policy.routes.get(route).is_some_and(|route| {
            route.peers.iter().any(|peer| self.usable.get(*peer).copied().unwrap_or(false))
        })
    }
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

/// 0 for CH-1, 1 for CH-2.
pub fn interface_index(interface: Interface) -> usize {
    match interface {
        Interface::Ch1 => 0,
        Interface::Ch2 => 1,
    }
}

/// CBOR; writing to memory cannot fail.
pub(super) fn encode<T: minicbor::Encode<()>>(value: &T) -> Bytes {
    Bytes::from(minicbor::to_vec(value).unwrap_or_default())
}

/// Key of the session or event that a trigger is about.
pub(super) fn owner_of(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Start(start) => Session::session_key(&start.session_id),
        Trigger::Interim(interim) => Session::session_key(&interim.session_id),
        Trigger::Terminate(terminate) => Session::session_key(&terminate.session_id),
        Trigger::Event(event) => Session::event_key(event),
    }
}

/// The natural key of a trigger, if it has one (api.md section 4, "Repeats").
pub(super) fn natural_key(trigger: &Trigger, fingerprint: [u8; 32]) -> Option<CallKey> {
    let (scope, key) = match trigger {
        Trigger::Start(start) => ("start", start.session_id.clone()),
        Trigger::Interim(interim) => {
            ("interim", format!("{}/{}", interim.session_id, interim.sequence?))
        }
        Trigger::Terminate(_) => return None,
        Trigger::Event(event) => ("event", event_key(event)),
    };
    Some(CallKey { scope: scope.to_owned(), key, fingerprint })
}

fn event_key(event: &OneTimeEvent) -> String {
    format!("{}/{}", event.event_id, event.action.name())
}
