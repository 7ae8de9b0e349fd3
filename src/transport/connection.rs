//! The task that drives one control block: sockets, dialling, timers and queues around it.
//!
//! Decides nothing about the peer. Gathers whatever is ready before it writes, and never waits for
//! more.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::Sleep;

use crate::clock::{self, Now};
use crate::peer::control_block::{Action, ControlBlock, Input};
use crate::peer::machine::Side;
use crate::peer::{DisconnectCause, Fact, PeerState};
use crate::tls::{Certificate, Tls};

use super::end::End;
use super::socket::Socket;
use super::tls;
use super::wire::Wire;

/// Commands taken from the queue at a time.
const BATCH: usize = 256;

/// Time for a refused connection to take its CEA.
const REFUSAL_TIME: Duration = Duration::from_secs(2);

/// The timer while nothing is due.
const NO_TIMER: Duration = Duration::from_secs(86_400);

/// Rows taken for every message: no news to anybody.
const QUIET_ROWS: &[&str] = &["PSM-23", "PSM-24", "PSM-31", "PSM-32", "WD-02"];

/// Traffic for the peer.
#[derive(Debug)]
pub(super) enum Command {
    /// A request.
    Send { token: u64, bytes: Bytes, retransmit: bool },
    /// Octets for the connection of this number; later ones do not get them.
    Reply { connection: u64, bytes: Bytes },
    /// The owner of a request waits no longer.
    Release(u64),
}

/// What is not traffic.
#[derive(Debug)]
pub(super) enum Control {
    /// DPR, DPA, end.
    Stop(DisconnectCause),
    /// A connection of this peer, with its CER.
    Incoming(Box<Newcomer>),
    /// No connection until it is resumed.
    Hold,
    /// A connection again, and at once.
    Resume,
    /// End without DPR, after what was sent has left.
    Close,
    /// End at once, with a reset.
    Reset,
}

/// A connection whose first message was read.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub(super) wire: Wire,
    pub(super) cer: Bytes,
}

/// Who hears of what happens.
pub(super) trait Owner: Send + 'static {
    /// The peer stands differently.
    fn state(&mut self, block: &ControlBlock, state: PeerState, usable: bool, reason: String);
    /// A request was handed to the socket.
    fn sent(&mut self, token: u64, hop_by_hop: u32);
    /// A request's answer.
    fn answer(&mut self, token: u64, hop_by_hop: u32, bytes: Bytes, round_trip: Duration);
    /// A request is given back.
    fn lost(&mut self, token: u64, sent: bool);
    /// The peer asks something, on the connection of this number.
    fn request(&mut self, connection: u64, bytes: Bytes);
    /// Worth telling.
    fn fact(&mut self, fact: Fact);
    /// Of so many requests taken from the queue, so many are in the window.
    fn progress(&mut self, taken: u64, in_window: u64);
    /// The task ends when the connection does, rather than dialling again.
    fn ends_with_connection(&self) -> bool;
    /// The task is over.
    fn ended(&mut self);
}

type Dial = Pin<Box<dyn Future<Output = Result<Socket, End>> + Send>>;

/// Whom to dial, and how.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    /// `host:port`.
    pub(super) address: Option<String>,
    /// Its DiameterIdentity, for its certificate.
    pub(super) host: Option<String>,
    /// TLS.
    pub(super) tls: Option<Tls>,
}

/// One peer's task.
pub(super) struct Connection<O: Owner> {
    block: ControlBlock,
    owner: O,
    target: Target,
    limits: crate::peer::Limits,
    commands: mpsc::Receiver<Command>,
    control: mpsc::Receiver<Control>,
    wires: [Option<Wire>; 2],
    dial: Option<Dial>,
    newcomer: Option<Newcomer>,
    timer: Pin<Box<Sleep>>,
    armed: Option<Now>,

    /// What a poll found, to be handled after it.
    batch: Vec<Command>,
    orders: Vec<Control>,
    dialled: Option<Result<Socket, End>>,
    ends: [Option<End>; 2],

    out: Vec<Action>,
    /// Requests of which nothing left, while an input is handled that may give them back.
    unsent: BTreeSet<u64>,
    taken: u64,
    /// Somebody may still send orders.
    has_owner: bool,
}

impl<O: Owner> Connection<O> {
    pub(super) fn new(
        block: ControlBlock,
        owner: O,
        target: Target,
        limits: crate::peer::Limits,
        commands: mpsc::Receiver<Command>,
        control: mpsc::Receiver<Control>,
    ) -> Connection<O> {
        Connection {
            block,
            owner,
            target,
            limits,
            commands,
            control,
            wires: [None, None],
            dial: None,
            newcomer: None,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: Some(Now::ZERO),
            batch: Vec::with_capacity(BATCH),
            orders: Vec::new(),
            dialled: None,
            ends: [None, None],
            out: Vec::new(),
            unsent: BTreeSet::new(),
            taken: 0,
            has_owner: true,
        }
    }

    /// Runs until it is stopped, or, for a connection that came, until that is gone.
    pub(super) async fn run(mut self, first: Option<Newcomer>) {
        match first {
            Some(newcomer) => self.incoming(newcomer),
            None => self.give(Input::Start),
        }
        while !self.is_over() {
            poll_fn(|cx| self.poll(cx)).await;
            self.work();
        }
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Send { token, .. } = command {
                self.owner.lost(token, false);
            }
        }
        self.owner.ended();
    }

    fn is_over(&self) -> bool {
        let idle = self.wires.iter().all(Option::is_none) && self.dial.is_none();
        self.block.is_finished() || idle && self.owner.ends_with_connection()
    }

    /// Waits for anything and collects what is ready.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ready = self.poll_queues(cx);
        if let Some(dial) = &mut self.dial
            && let Poll::Ready(result) = dial.as_mut().poll(cx)
        {
            self.dial = None;
            self.dialled = Some(result);
            ready = true;
        }
        for (wire, end) in self.wires.iter_mut().zip(&mut self.ends) {
            if let Some(wire) = wire {
                let room = !wire.is_full();
                let progress = wire.poll(cx, room);
                ready |= progress.moved || progress.end.is_some();
                *end = progress.end;
            }
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            self.armed = None;
            // A timer that has fired must not be polled again before it is set anew.
            self.timer.set(tokio::time::sleep(NO_TIMER));
            ready = true;
        }
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_queues(&mut self, cx: &mut Context<'_>) -> bool {
        let mut ready = false;
        if self.has_owner
            && let Poll::Ready(count) = self.control.poll_recv_many(cx, &mut self.orders, 16)
        {
            if count == 0 {
                self.has_owner = false;
                self.orders.push(Control::Stop(DisconnectCause::Rebooting));
            }
            ready = true;
        }
        // A peer that does not read holds its requests back in the bounded queue; one that is not
        // usable gets none, so they are given back at once.
        let full = self.wires.iter().flatten().any(Wire::is_full) && self.block.is_usable();
        if !full
            && let Poll::Ready(count) = self.commands.poll_recv_many(cx, &mut self.batch, BATCH)
        {
            ready |= count > 0;
        }
        ready
    }

    /// Handles what a poll has collected.
    fn work(&mut self) {
        for order in std::mem::take(&mut self.orders) {
            self.obey(order);
        }
        if let Some(result) = self.dialled.take() {
            self.dial_result(result);
        }
        for side in [Side::Initiator, Side::Responder] {
            self.read(side);
            self.written(side);
        }
        let mut batch = std::mem::take(&mut self.batch);
        for command in batch.drain(..) {
            self.command(command);
        }
        self.batch = batch;
        self.timers();
        self.owner.progress(self.taken, self.block.in_window() as u64);
        self.arm();
    }

    fn obey(&mut self, order: Control) {
        match order {
            Control::Stop(cause) => self.give(Input::Stop(cause)),
            Control::Incoming(newcomer) => self.incoming(*newcomer),
            Control::Hold => self.give(Input::Hold),
            Control::Resume => self.give(Input::Resume),
            Control::Close => self.wires.iter_mut().flatten().for_each(Wire::finish),
            Control::Reset if self.wires.iter().all(Option::is_none) => self.give(Input::Retry),
            Control::Reset => {
                for side in [Side::Initiator, Side::Responder] {
                    if let Some(wire) = self.take_wire(side) {
                        wire.reset();
                        self.give(Input::Disconnected(side, "reset here".to_owned()));
                    }
                }
            }
        }
    }

    fn dial_result(&mut self, result: Result<Socket, End>) {
        match result {
            Ok(socket) => {
                let wire = Wire::new(socket, &self.limits);
                let local = wire.local();
                self.certify(Side::Initiator, &wire);
                self.wires[Side::Initiator.index()] = Some(wire);
                self.give(Input::Connected(local));
            }
            Err(end) => {
                self.blame(&end);
                self.give(Input::NotConnected(end.words));
            }
        }
    }

    /// Says whom the certificate of a new connection names, and how long it is good.
    fn certify(&mut self, side: Side, wire: &Wire) {
        let Some(proof) = wire.proof() else { return };
        let Certificate { names, not_after, .. } = proof.certificate;
        self.owner.fact(Fact::Certificate { not_after });
        self.give(Input::Certified(side, names));
    }

    fn blame(&mut self, end: &End) {
        if end.fault != PeerState::Down {
            self.give(Input::Blame(end.fault, end.words.clone()));
        }
    }

    fn incoming(&mut self, newcomer: Newcomer) {
        let (cer, local) = (newcomer.cer.clone(), newcomer.wire.local());
        let from = newcomer.wire.remote();
        self.certify(Side::Responder, &newcomer.wire);
        self.newcomer = Some(newcomer);
        self.give(Input::Incoming { cer, local, from });
        // What came behind the CER is there already, and no poll would tell of it.
        self.read(Side::Responder);
    }

    /// Handles the messages that a poll has read, then the end of the connection, if it came.
    fn read(&mut self, side: Side) {
        let now = clock::now();
        while let Some(wire) = &mut self.wires[side.index()] {
            match wire.next_message(now) {
                Some(Ok(bytes)) => self.give(Input::Received(side, bytes)),
                Some(Err(error)) => {
                    let reason = error.to_string();
                    self.owner.fact(Fact::BadFrame { reason: reason.clone() });
                    self.lose(side, End::words(format!("bad length: {reason}")));
                    break;
                }
                None => break,
            }
        }
        if let Some(end) = self.ends[side.index()].take()
            && self.wires[side.index()].is_some()
        {
            self.lose(side, end);
        }
    }

    /// A connection is gone or must go; whatever the machine makes of it, it is not kept.
    fn lose(&mut self, side: Side, end: End) {
        self.blame(&end);
        self.give(Input::Disconnected(side, end.words));
        self.close(side);
    }

    fn close(&mut self, side: Side) {
        if let Some(wire) = self.take_wire(side) {
            wire.close();
        }
    }

    fn written(&mut self, side: Side) {
        if let Some(wire) = &mut self.wires[side.index()] {
            while let Some((token, hop_by_hop)) = wire.next_sent() {
                self.owner.sent(token, hop_by_hop);
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Send { token, bytes, retransmit } => {
                self.taken += 1;
                self.unsent.insert(token);
                self.give(Input::Send { token, bytes, retransmit });
            }
            Command::Reply { connection, bytes } if connection == self.block.connections() => {
                self.give(Input::Reply(bytes));
            }
            // The connection on which it was asked is gone, and so is who asked.
            Command::Reply { .. } => {}
            Command::Release(token) => self.give(Input::Release(token)),
        }
    }

    fn timers(&mut self) {
        let now = clock::now();
        if self.block.next_timeout().is_some_and(|due| due <= now) {
            self.give(Input::Timeout);
        }
        for side in [Side::Initiator, Side::Responder] {
            let due = self.wires[side.index()].as_ref().and_then(Wire::deadline);
            if due.is_some_and(|due| due <= now) {
                self.lose(side, End::words("a message did not arrive in full in time"));
            }
        }
    }

    /// Sets the timer, if something is due before it fires. It may fire early: then nothing is due.
    fn arm(&mut self) {
        let wires = self.wires.iter().flatten().filter_map(Wire::deadline);
        let Some(due) = self.block.next_timeout().into_iter().chain(wires).min() else { return };
        if self.armed.is_none_or(|armed| due < armed) {
            self.armed = Some(due);
            self.timer.set(tokio::time::sleep(due.since(clock::now())));
        }
    }

    /// Gives the control block an input and does what it asks for.
    fn give(&mut self, input: Input) {
        let mut out = std::mem::take(&mut self.out);
        self.block.handle(input, clock::now(), &mut out);
        for action in out.drain(..) {
            self.act(action);
        }
        self.out = out;
        self.unsent.clear();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Took(row) if QUIET_ROWS.contains(&row) => {}
            Action::Took(row) => self.owner.fact(Fact::Row(row)),
            Action::Connect => {
                // Without an address the control block asks for none.
                let Target { address, host, tls } = self.target.clone();
                // A little sooner than the machine's own timer, which knows no reason.
                let limit = self.limits.connect * 9 / 10;
                self.dial = Some(Box::pin(async move {
                    let address = address.unwrap_or_default();
                    tls::dial(&address, tls.as_ref(), host.as_deref(), limit).await
                }));
            }
            Action::Accept => {
                let newcomer = self.newcomer.take();
                self.wires[Side::Responder.index()] = newcomer.map(|newcomer| newcomer.wire);
            }
            Action::Reject(cea) => {
                if let Some(newcomer) = self.newcomer.take() {
                    refuse(newcomer.wire, cea);
                }
            }
            Action::Write(side, bytes) => {
                if let Some(wire) = &mut self.wires[side.index()] {
                    wire.push(&bytes);
                }
            }
            Action::Transmit { side, token, hop_by_hop, retransmit, bytes } => {
                self.unsent.remove(&token);
                if let Some(wire) = &mut self.wires[side.index()] {
                    wire.push_request(&bytes, token, hop_by_hop, retransmit);
                }
            }
            Action::Disconnect(side) => {
                if side == Side::Initiator {
                    self.dial = None;
                    self.dialled = None;
                }
                self.close(side);
            }
            Action::State { state, usable, reason } => {
                self.owner.state(&self.block, state, usable, reason);
            }
            Action::Answer { token, hop_by_hop, bytes, round_trip } => {
                // Before the owner hears of it: its next request may want the place at once.
                self.owner.progress(self.taken, self.block.in_window() as u64);
                self.owner.answer(token, hop_by_hop, bytes, round_trip);
            }
            Action::Lost(token) => {
                let sent = !self.unsent.remove(&token);
                self.owner.progress(self.taken, self.block.in_window() as u64);
                self.owner.lost(token, sent);
            }
            Action::Request(_, bytes) => self.owner.request(self.block.connections(), bytes),
            Action::Fact(fact) => self.owner.fact(fact),
        }
    }

    /// Takes a connection away and notes which of its requests never left.
    fn take_wire(&mut self, side: Side) -> Option<Wire> {
        self.written(side);
        let wire = self.wires[side.index()].take()?;
        self.unsent.extend(wire.unsent());
        self.ends[side.index()] = None;
        Some(wire)
    }
}

/// Closes a refused connection, in a task of its own and in bounded time: the CEA must not be
/// overtaken by the reset that follows octets nobody read.
pub(super) fn refuse(wire: Wire, cea: Option<Bytes>) {
    let Some(cea) = cea else { return };
    let mut socket = wire.into_socket();
    tokio::spawn(tokio::time::timeout(REFUSAL_TIME, async move {
        socket.write_all(&cea).await?;
        socket.shutdown().await?;
        tokio::io::copy(&mut socket, &mut tokio::io::sink()).await
    }));
}
