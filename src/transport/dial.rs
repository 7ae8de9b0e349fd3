//! The peers that we dial: one task each, never given up.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_rustls::rustls::pki_types::UnixTime;

use crate::clock;
use crate::diameter::{Dictionary, Header, application, command};
use crate::peer::control_block::{ControlBlock, Service};
use crate::peer::rate::Rate;
use crate::peer::{DisconnectCause, Fact, LocalIdentity, PeerConfig, PeerState};
use crate::tls::Tls;

use super::connection::{Command, Connection, Control, Newcomer, Owner, Target};
use super::socket::Proof;
use super::{EventSink, Outgoing, PeerEvent, Refused};

/// RAR and ASR of one peer.
const REQUESTS_PER_SECOND_MAX: u32 = 100;

/// Orders that may wait.
const ORDERS: usize = 16;

/// What the handles of a peer and its task share.
#[derive(Debug)]
struct Shared {
    usable: AtomicBool,
    /// Requests ever handed over, and those of them that no longer count in the window.
    submitted: AtomicU64,
    settled: AtomicU64,
    window: u64,
    message_bytes_max: usize,
    rate: Option<Mutex<Rate>>,
}

/// A configured peer, for whoever has requests for it. Cheap to clone; the task stops when the
/// last one is dropped.
#[derive(Clone, Debug)]
pub struct PeerHandle {
    index: usize,
    shared: Arc<Shared>,
    tls: Option<Tls>,
    commands: mpsc::Sender<Command>,
    control: mpsc::Sender<Control>,
}

/// Starts the task of a peer: it dials, reconnects with jittered back-off and never gives up.
///
/// Must be called inside a tokio runtime.
pub fn spawn(
    index: usize,
    config: PeerConfig,
    identity: LocalIdentity,
    dictionary: Arc<Dictionary>,
    sink: EventSink,
) -> PeerHandle {
    start(index, config, None, identity, dictionary, sink)
}

/// The same over TLS, both ways: the peer is dialled with these credentials, and a connection that
/// it makes has to be one that they believe.
pub fn spawn_tls(
    index: usize,
    mut config: PeerConfig,
    tls: Tls,
    identity: LocalIdentity,
    dictionary: Arc<Dictionary>,
    sink: EventSink,
) -> PeerHandle {
    config.tls = true;
    start(index, config, Some(tls), identity, dictionary, sink)
}

fn start(
    index: usize,
    config: PeerConfig,
    tls: Option<Tls>,
    identity: LocalIdentity,
    dictionary: Arc<Dictionary>,
    sink: EventSink,
) -> PeerHandle {
    let shared = Arc::new(Shared {
        usable: AtomicBool::new(false),
        submitted: AtomicU64::new(0),
        settled: AtomicU64::new(0),
        window: config.window as u64,
        message_bytes_max: config.limits.message_bytes_max as usize,
        rate: config.rate.map(|rate| Mutex::new(Rate::per_second(rate))),
    });
    // Requests are bounded by the window; what else comes is a word to each of them at most.
    let (commands, commands_in) = mpsc::channel(2 * config.window + 64);
    let (control, control_in) = mpsc::channel(ORDERS);
    let owner = PeerOwner { index, sink, shared: shared.clone(), commands: commands.clone() };
    let (address, host, limits) = (config.address.clone(), config.host.clone(), config.limits);
    let target = Target { address, host, tls: tls.clone() };
    let block = ControlBlock::new(config, service(), identity, dictionary, seed(index));
    let connection = Connection::new(block, owner, target, limits, commands_in, control_in);
    tokio::spawn(connection.run(None));
    PeerHandle { index, shared, tls, commands, control }
}

/// What a charging client is asked by its server.
fn service() -> Service {
    Service {
        commands: vec![
            (application::CREDIT_CONTROL, command::RE_AUTH),
            (application::CREDIT_CONTROL, command::ABORT_SESSION),
        ],
        checked: true,
        requests_per_second_max: Some(REQUESTS_PER_SECOND_MAX),
        for_us_only: true,
    }
}

/// Randomness of the operating system, for jitter and first ids.
pub(super) fn seed(salt: usize) -> u64 {
    RandomState::new().hash_one((salt, clock::wall().0))
}

impl PeerHandle {
    /// Index of the peer in the configuration.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Requests may be sent now.
    pub fn is_usable(&self) -> bool {
        self.shared.usable.load(Ordering::Acquire)
    }

    /// Requests that count in the window, those included that have not reached the task.
    pub fn in_window(&self) -> u64 {
        let settled = self.shared.settled.load(Ordering::Acquire);
        self.shared.submitted.load(Ordering::Acquire).saturating_sub(settled)
    }

    /// Hands a request over. Never blocks.
    ///
    /// # Errors
    /// When it cannot be taken now; nothing of it was sent.
    pub fn send(&self, outgoing: Outgoing) -> Result<(), Refused> {
        let shared = &*self.shared;
        if !self.is_usable() {
            return Err(Refused::NotUsable);
        }
        let Outgoing { token, bytes, retransmit } = outgoing;
        let whole = Header::parse(&bytes).is_some_and(|header| {
            header.flags.is_request() && header.length as usize == bytes.len()
        });
        if !whole || bytes.len() > shared.message_bytes_max {
            return Err(Refused::Malformed);
        }
        let submitted = shared.submitted.fetch_add(1, Ordering::AcqRel);
        let result = self.admit(submitted).and_then(|()| {
            let command = Command::Send { token, bytes, retransmit };
            self.commands.try_send(command).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Refused::Window,
                mpsc::error::TrySendError::Closed(_) => Refused::NotUsable,
            })
        });
        if result.is_err() {
            shared.submitted.fetch_sub(1, Ordering::AcqRel);
        }
        result
    }

    /// Whether window and rate have room for one more than `submitted`.
    fn admit(&self, submitted: u64) -> Result<(), Refused> {
        let settled = self.shared.settled.load(Ordering::Acquire);
        if submitted.saturating_sub(settled) >= self.shared.window {
            return Err(Refused::Window);
        }
        let Some(rate) = &self.shared.rate else { return Ok(()) };
        let mut rate = rate.lock().unwrap_or_else(PoisonError::into_inner);
        if rate.take(clock::now()) { Ok(()) } else { Err(Refused::Rate) }
    }

    /// Its owner waits no longer: gives its place in the window back. A late answer is still told.
    pub fn release(&self, token: u64) {
        // If the queue is full it leaves the window by itself, at the peer's timeout.
        let _ = self.commands.try_send(Command::Release(token));
    }

    /// Says goodbye with this cause and ends the task.
    pub fn shutdown(&self, cause: DisconnectCause) {
        // A full queue holds incoming connections only; without a task there is nothing to end.
        let _ = self.control.try_send(Control::Stop(cause));
    }

    /// Says goodbye (DO_NOT_WANT_TO_TALK_TO_YOU) and has no connection until [`PeerHandle::resume`].
    pub fn hold(&self) {
        let _ = self.control.try_send(Control::Hold);
    }

    /// Ends [`PeerHandle::hold`]; dials at once if there is no connection.
    pub fn resume(&self) {
        let _ = self.control.try_send(Control::Resume);
    }

    /// Ends the connection, if there is one, with a reset; the peer is dialled again, at once if
    /// there was none.
    pub fn reset(&self) {
        let _ = self.control.try_send(Control::Reset);
    }

    /// Waits for the end of the task, which [`PeerHandle::shutdown`] brings about in bounded time.
    pub async fn closed(&self) {
        self.control.closed().await;
    }

    /// Whether the certificate of a connection that the peer made is one for this peer. Without
    /// one its CER is refused later, if TLS is asked for.
    pub(super) fn believes(&self, proof: Option<Proof>) -> Result<(), String> {
        let (Some(tls), Some(proof)) = (&self.tls, proof) else { return Ok(()) };
        let now = u64::try_from(clock::wall().secs()).unwrap_or(0);
        tls.believes(&proof.chain, UnixTime::since_unix_epoch(Duration::from_secs(now)))
    }

    /// Hands a connection over that this peer made. Gives it back if the task does not take it.
    pub(super) fn adopt(&self, newcomer: Newcomer) -> Option<Newcomer> {
        give_newcomer(&self.control, newcomer)
    }
}

/// Hands a connection to a task that has one of the same peer. Gives it back if it is not taken.
pub(super) fn give_newcomer(
    control: &mpsc::Sender<Control>,
    newcomer: Newcomer,
) -> Option<Newcomer> {
    use mpsc::error::TrySendError::{Closed, Full};
    match control.try_send(Control::Incoming(Box::new(newcomer))) {
        Err(Full(Control::Incoming(newcomer)) | Closed(Control::Incoming(newcomer))) => {
            Some(*newcomer)
        }
        _ => None,
    }
}

/// For the answer to one request of a peer: goes out on the connection it came from, or nowhere.
#[derive(Debug)]
pub struct AnswerHandle {
    connection: u64,
    commands: mpsc::Sender<Command>,
}

impl AnswerHandle {
    /// Sends the answer: the whole message, with the identifiers of the request.
    pub fn send(self, bytes: Bytes) {
        // A queue that is full belongs to a peer that does not read; it will ask again.
        let _ = self.commands.try_send(Command::Reply { connection: self.connection, bytes });
    }
}

/// Turns what happens into events.
struct PeerOwner {
    index: usize,
    sink: EventSink,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl PeerOwner {
    fn tell(&self, event: PeerEvent) {
        (self.sink)(event);
    }
}

impl Owner for PeerOwner {
    fn state(&mut self, block: &ControlBlock, state: PeerState, usable: bool, reason: String) {
        self.shared.usable.store(usable, Ordering::Release);
        self.tell(PeerEvent::State {
            peer: self.index,
            state,
            usable,
            origin_host: block.peer().map(|peer| peer.origin_host.clone()),
            applications: block.applications().to_vec(),
            reason,
            row: block.row(),
        });
    }

    fn sent(&mut self, token: u64, hop_by_hop: u32) {
        self.tell(PeerEvent::Sent { peer: self.index, token, hop_by_hop });
    }

    fn answer(&mut self, token: u64, hop_by_hop: u32, bytes: Bytes, round_trip: Duration) {
        let peer = self.index;
        self.tell(PeerEvent::Answer { peer, token, hop_by_hop, bytes, round_trip });
    }

    fn lost(&mut self, token: u64, sent: bool) {
        self.tell(PeerEvent::Lost { peer: self.index, token, sent });
    }

    fn request(&mut self, connection: u64, bytes: Bytes) {
        let answer = AnswerHandle { connection, commands: self.commands.clone() };
        self.tell(PeerEvent::Request { peer: self.index, bytes, answer });
    }

    fn fact(&mut self, fact: Fact) {
        self.tell(PeerEvent::Fact { peer: self.index, fact });
    }

    fn progress(&mut self, taken: u64, in_window: u64) {
        self.shared.settled.store(taken.saturating_sub(in_window), Ordering::Release);
    }

    fn ends_with_connection(&self) -> bool {
        false
    }

    fn ended(&mut self) {
        self.shared.usable.store(false, Ordering::Release);
    }
}
