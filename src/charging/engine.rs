//! The engine: sessions × (accounting, credit control), one thread, no IO.
//!
//! Inputs come in, actions go out; the answer to a trigger leaves only after its commit is durable.
//! Per session one change is in the store's hands at a time: what arrives meanwhile waits in the
//! session's inbox, so a commit that fails can be undone as if the trigger had never come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::commit::{Commit, Slot};
use super::event::{OneTimeEvent, Request, Trigger};
pub use super::io::{Action, Alarm, CallerId, Fact, Input, Submission};
use super::policy::Policy;
use super::record::Record;
use super::request::Library;
use super::session::{CallKey, Session};
use crate::clock::{Now, Wall};
use crate::diameter::ids::{END_TO_END_BLOCK, EndToEndBlock, SessionIds};
use crate::diameter::value::identity_eq;
use crate::mapping::Provenance;
use crate::store::{Interface, RecordId, RecordState};

/// When a timer is due, and a number of its own.
pub(super) type TimerKey = (Now, u64);

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
    /// `termination.abort_grace` after an ASR.
    Abort(String),
    /// Acct-Interim-Interval.
    Interim(String, u32),
    /// Validity-Time of a grant.
    Validity(String),
    /// A caller has waited long enough.
    Wait(String, u32),
    /// Try a parked record again.
    Retry(RecordId),
    /// Late answers are no longer awaited.
    Forget(RecordId),
    /// A commit failed; try again.
    Recommit(String),
    /// More of the backlog may go.
    Backlog,
}

/// Work of one session, done in order.
#[derive(Debug)]
pub(super) enum Work {
    Trigger(CallerId, Box<Request>, Checked),
    View(CallerId),
    Answer { record: RecordId, peer: usize, hop_by_hop: u32, bytes: Bytes, round_trip: Duration },
    Lost { record: RecordId, peer: usize, sent: bool },
    Refused { record: RecordId, peer: usize },
    Redirected { record: RecordId, peer: usize },
    NoPeer(RecordId),
    Tx(RecordId, u32),
    Window(RecordId),
    Guard(RecordId),
    MaxSession,
    Abort,
    Interim(u32),
    Validity,
    Asked(Box<super::peer_request::Asked>),
    Wait(u32),
    Retry(RecordId),
    Unmarked(RecordId),
    Forget(RecordId),
    Recommit,
    Replay(Box<Record>),
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
    /// The debit that a refund undoes was looked up.
    pub debit: bool,
    /// The store was asked for the answer a second time.
    pub again: bool,
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
    pub(super) tokens: BTreeMap<u64, RecordId>,
    pub(super) record_tokens: BTreeMap<RecordId, u64>,
    pub(super) commits: BTreeMap<u64, Commit>,
    pub(super) lookups: BTreeMap<u64, super::lookup::Pending>,
    timers: BTreeMap<TimerKey, Timer>,
    /// The long timers of sessions and records: they go with what they are about.
    session_ends: BTreeMap<String, TimerKey>,
    windows: BTreeMap<RecordId, TimerKey>,
    pub(super) usable: Vec<bool>,
    pub(super) origin_hosts: Vec<Option<String>>,
    pub(super) parked: BTreeSet<RecordId>,
    /// Parked ACRs whose peer is open again: each goes when its turn comes.
    pub(super) backlog: BTreeSet<RecordId>,
    /// ACRs of the backlog that went, and have neither an answer nor been parked again.
    pub(super) leaving: BTreeSet<RecordId>,
    /// The next of the backlog go at a tick that is due.
    pub(super) backlog_timer: bool,
    /// Diameter Session-Id of each Ro leg in memory → key of its session.
    pub(super) ro_sessions: BTreeMap<String, String>,
    /// Answers to requests of peers, for repeats.
    pub(super) repeats: BTreeMap<super::peer_request::Repeat, Bytes>,
    /// Refund-Information that was looked up for a refund about to be accepted.
    pub(super) refunds: BTreeMap<CallerId, minicbor::bytes::ByteVec>,
    /// The last Direct-Debiting-Failure-Handling of each route (C-48).
    pub(super) ddfh: BTreeMap<usize, super::policy::Ddfh>,
    pub(super) repeat_order: VecDeque<super::peer_request::Repeat>,
    pub(super) dead: [u64; 2],
    pub(super) draining: bool,
    pub(super) end_to_end: EndToEndBlock,
    /// The next block, once it is reserved on disk.
    pub(super) spare: Option<EndToEndBlock>,
    /// First id that no block has: what the store's counter says.
    pub(super) unreserved: u32,
    pub(super) reserving: Reserving,
    pub(super) session_ids: SessionIds,
    pub(super) origin_state_id: u32,
    pub(super) random: u64,
    pub(super) serial: u64,
    pub(super) now: Now,
    pub(super) wall: Wall,
    pub(super) out: Vec<Action>,
    #[cfg(feature = "planted-bugs")]
    pub(super) planted: Option<super::planted::EngineBug>,
    /// Where the AVPs of each message come from, by End-to-End id; for dry runs.
    pub(super) sources: Option<BTreeMap<u32, Vec<Provenance>>>,
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
pub(super) enum Reserving {
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
            timers: BTreeMap::new(),
            session_ends: BTreeMap::new(),
            windows: BTreeMap::new(),
            usable: vec![false; peers],
            origin_hosts: vec![None; peers],
            parked: BTreeSet::new(),
            backlog: BTreeSet::new(),
            leaving: BTreeSet::new(),
            backlog_timer: false,
            ro_sessions: BTreeMap::new(),
            repeats: BTreeMap::new(),
            refunds: BTreeMap::new(),
            ddfh: BTreeMap::new(),
            repeat_order: VecDeque::new(),
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
            #[cfg(feature = "planted-bugs")]
            planted: None,
            sources: None,
        }
    }

    /// Notes where each AVP comes from: for dry runs only, it is never forgotten.
    pub fn keep_sources(&mut self) {
        self.sources = Some(BTreeMap::new());
    }

    /// Sources of the mapped AVPs of a message that was built.
    pub fn sources(&self, end_to_end: u32) -> &[Provenance] {
        self.sources.as_ref().and_then(|kept| kept.get(&end_to_end)).map_or(&[], Vec::as_slice)
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
            Input::NoPeer { token } => {
                if let Some(id) = self.record_of(token)
                    && let Some(record) = self.records.get_mut(&id)
                {
                    record.leaving = false;
                }
                self.for_record(token, Work::NoPeer);
            }
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
            Input::Refused { token, peer } => {
                self.for_record(token, |record| Work::Refused { record, peer });
            }
            Input::Redirected { token, peer } => {
                self.for_record(token, |record| Work::Redirected { record, peer });
            }
            Input::PeerUsable { peer, usable, origin_host } => {
                self.peer_usable(peer, usable, origin_host);
            }
            Input::PeerRequest { request, peer, bytes } => {
                self.peer_request(request, peer, &bytes);
            }
            Input::Drain => self.draining = true,
            Input::Purged { interface, dead } => {
                let count = &mut self.dead[interface_index(interface)];
                *count = count.saturating_sub(dead);
                for _ in 0..dead {
                    self.fact(Fact::Record { interface, event: "purged" });
                }
            }
            Input::Replay { record, session } => self.replay(record, session),
            Input::Tick => self.tick(),
        }
        self.go_on();
        out.append(&mut self.out);
    }

    /// What it was configured with.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What the engine's randomness began with, for others that need a seed of the same life.
    pub fn seed(&self) -> u64 {
        self.random
    }

    /// When the next timer is due.
    pub fn next_timeout(&self) -> Option<Now> {
        self.timers.first_key_value().map(|((due, _), _)| *due)
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

    /// Open sessions in memory whose last settled request was answered by this host.
    pub fn sessions_at(&self, host: &str) -> usize {
        self.sessions
            .values()
            .filter(|slot| slot.session.ended_at.is_none())
            .filter_map(|slot| slot.session.ro.as_ref()?.server.as_deref())
            .filter(|server| identity_eq(server, host))
            .count()
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

    /// Sessions and records in memory.
    pub fn in_memory(&self) -> (usize, usize) {
        (self.sessions.len(), self.records.len())
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

    pub(super) fn at(&mut self, due: Now, timer: Timer) -> TimerKey {
        let key = (due, self.serial());
        self.timers.insert(key, timer);
        key
    }

    pub(super) fn after(&mut self, delay: Duration, timer: Timer) -> TimerKey {
        self.at(self.now + delay, timer)
    }

    /// Due when the wall clock, as it runs now, reaches `due`.
    pub(super) fn at_wall(&mut self, due: Wall, timer: Timer) -> TimerKey {
        self.after(due.since(self.wall), timer)
    }

    /// The longest time a session may run; forgotten with the session.
    pub(super) fn end_session_at(&mut self, key: &str, due: Wall) {
        let timer = self.at_wall(due, Timer::MaxSession(key.to_owned()));
        self.session_ends.insert(key.to_owned(), timer);
    }

    /// The end of a record's window; forgotten with the record.
    pub(super) fn window_until(&mut self, id: RecordId, due: Wall) {
        let timer = self.at_wall(due, Timer::Window(id));
        self.windows.insert(id, timer);
    }

    pub(super) fn forget_window(&mut self, id: RecordId) {
        if let Some(timer) = self.windows.remove(&id) {
            self.timers.remove(&timer);
        }
    }

    pub(super) fn forget_session_end(&mut self, key: &str) {
        if let Some(timer) = self.session_ends.remove(key) {
            self.timers.remove(&timer);
        }
    }

    pub(super) fn tick(&mut self) {
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let timer = entry.remove();
            match timer {
                Timer::Tx(id, copy) => self.for_record_id(id, Work::Tx(id, copy)),
                Timer::Window(id) => self.for_record_id(id, Work::Window(id)),
                Timer::Retry(id) => self.for_record_id(id, Work::Retry(id)),
                Timer::Forget(id) => self.for_record_id(id, Work::Forget(id)),
                Timer::Guard(key, id) => self.work(&key, Work::Guard(id)),
                Timer::MaxSession(key) => self.work(&key, Work::MaxSession),
                Timer::Abort(key) => self.work(&key, Work::Abort),
                Timer::Validity(key) => self.work(&key, Work::Validity),
                Timer::Interim(key, timer) => self.work(&key, Work::Interim(timer)),
                Timer::Wait(key, call) => self.work(&key, Work::Wait(call)),
                Timer::Recommit(key) => self.work(&key, Work::Recommit),
                Timer::Backlog => self.let_go(),
            }
        }
    }

    // Work of a session.

    pub(super) fn for_record(&mut self, token: u64, work: impl FnOnce(RecordId) -> Work) {
        if let Some(id) = self.tokens.get(&token).copied() {
            self.for_record_id(id, work(id));
        }
    }

    pub(super) fn for_record_id(&mut self, id: RecordId, work: Work) {
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

    pub(super) fn perform(&mut self, key: &str, work: Work) {
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
            Work::Refused { record, peer } => self.refused(&mut change, record, peer),
            Work::Redirected { record, peer } => self.redirected(&mut change, record, peer),
            Work::NoPeer(record) => self.no_peer(&mut change, record),
            Work::Tx(record, copy) => self.tx_expired(&mut change, record, copy),
            Work::Window(record) => self.window_over(&mut change, record),
            Work::Guard(record) => self.guard_expired(&mut change, record),
            Work::MaxSession => self.max_session(&mut change),
            Work::Abort => self.abort_due(&mut change),
            Work::Validity => self.validity_over(&mut change),
            Work::Interim(timer) => self.interval_elapsed(&mut change, timer),
            Work::Asked(asked) => self.asked(&mut change, &asked),
            Work::Wait(call) => self.wait_over(&mut change, call),
            Work::Retry(record) => self.retry(&mut change, record),
            Work::Unmarked(record) => self.unmarked(&mut change, record),
            Work::Forget(record) => self.forget(&mut change, record),
            Work::Recommit => self.recommit(&mut change),
            Work::Replay(record) => self.replayed(&mut change, *record),
            Work::Trigger(..) | Work::View(_) => {}
        }
        self.finish(change);
    }

    // Peers.

    pub(super) fn peer_usable(&mut self, peer: usize, usable: bool, origin_host: Option<String>) {
        let Some(slot) = self.usable.get_mut(peer) else { return };
        let opened = usable && !*slot;
        *slot = usable;
        if origin_host.is_some()
            && let Some(host) = self.origin_hosts.get_mut(peer)
        {
            *host = origin_host;
        }
        if opened {
            self.unpark(peer);
        }
    }

    /// Is any peer of this route usable?
    pub(super) fn route_usable(&self, route: usize) -> bool {
        self.policy.routes.get(route).is_some_and(|route| {
            route.peers.iter().any(|peer| self.usable.get(*peer).copied().unwrap_or(false))
        })
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
