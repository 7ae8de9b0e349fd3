//! The peer control block: machine, watchdog, capabilities and pending requests of one peer put
//! together (RFC 3539's word, appendix A).
//!
//! Octets and time come in, octets and events go out. Knows no socket: whoever drives it owns at
//! most two connections, one a [`Side`], and tells what happens on them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Now;
use crate::diameter;
use crate::diameter::Address;
use crate::diameter::Dictionary;
use crate::diameter::Header;
use crate::diameter::result_code;
use crate::diameter::value::identity_eq;

pub use super::port::Action;
pub use super::port::Input;
pub use super::port::Service;

use super::DisconnectCause;
use super::Fact;
use super::LocalIdentity;
use super::PeerConfig;
use super::PeerState;
use super::capabilities::Capabilities;
use super::capabilities::Verdict;
use super::jitter::Jitter;
use super::machine;
use super::machine::Machine;
use super::machine::Side;
use super::machine::State;
use super::machine::Waits;
use super::pending::Pending;
use super::rate::Rate;
use super::reconnect;
use super::watchdog;
use super::watchdog::Status;
use super::watchdog::Watchdog;

/// The message that is being handled.
#[derive(Clone, Debug)]
pub(super) struct AtHand {
    pub(super) side: Side,
    pub(super) header: Header,
    pub(super) bytes: Bytes,
    pub(super) throwaway: bool,
}

/// A connection with its CER, whose CEA is due.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) header: Header,
    pub(super) local: Vec<Address>,
    pub(super) peer: Capabilities,
    pub(super) common: Vec<u32>,
}

/// One peer.
#[derive(Debug)]
pub struct ControlBlock {
    pub(super) config: PeerConfig,
    pub(super) service: Service,
    pub(super) requests: Option<Rate>,
    pub(super) identity: LocalIdentity,
    pub(super) dictionary: Arc<Dictionary>,
    pub(super) codec: diameter::Limits,
    pub(super) machine: Machine,
    pub(super) watchdog: Watchdog,
    pub(super) pending: Pending,
    pub(super) jitter: Jitter,
    pub(super) next_end_to_end: u32,

    /// Actions of the machine that are being performed; kept to save its allocation.
    pub(super) steps: Vec<machine::Action>,
    /// The same for the watchdog's.
    pub(super) asked: Vec<watchdog::Action>,
    pub(super) at_hand: Option<AtHand>,
    /// The incoming connection that is being judged.
    pub(super) caller: Option<Caller>,
    /// The connection that was opened, until it is closed.
    pub(super) live_side: Option<Side>,
    /// Names that the certificates of both connections prove; `None`: not TLS.
    pub(super) certified: [Option<Vec<String>>; 2],
    /// Local addresses of the dialled connection.
    pub(super) local: Vec<Address>,
    /// Hop-by-Hop and End-to-End id of our CER.
    pub(super) cer_ids: (u32, u32),
    /// What the CEA said, until the machine has taken it.
    pub(super) cea: Option<Verdict>,
    /// Whom the open connection leads to.
    pub(super) peer: Option<Capabilities>,
    pub(super) common: Vec<u32>,

    pub(super) failures: u32,
    pub(super) opened_at: Now,
    pub(super) connections: u64,
    pub(super) asked_to_leave: Option<DisconnectCause>,
    pub(super) stopped: Option<DisconnectCause>,
    /// In maintenance.
    pub(super) held: bool,
    /// DWR in the second that began then.
    pub(super) dwr_count: (Now, u32),

    pub(super) told: (PeerState, bool),
    pub(super) fault: PeerState,
    pub(super) reason: String,
    pub(super) row: &'static str,
}

impl ControlBlock {
    /// A peer that is down. `seed` feeds jitter and the first ids.
    pub fn new(
        config: PeerConfig,
        service: Service,
        identity: LocalIdentity,
        dictionary: Arc<Dictionary>,
        seed: u64,
    ) -> ControlBlock {
        let mut jitter = Jitter::new(seed);
        let limits = config.limits;
        let waits =
            Waits { connect: limits.connect, handshake: limits.handshake, closing: limits.closing };
        let twinit = config.watchdog.max(limits.watchdog_min);
        let [first_hop, first_end] = [jitter.bits() as u32, jitter.bits() as u32];
        let watchdog = Watchdog::with_timers(twinit, limits.watchdog_jitter, jitter.bits());
        ControlBlock {
            machine: Machine::new(waits, &identity.host, config.host.as_deref()),
            watchdog,
            pending: Pending::new(config.window, config.timeout, first_hop),
            next_end_to_end: first_end,
            jitter,
            codec: diameter::Limits {
                message_bytes_max: limits.message_bytes_max,
                ..diameter::Limits::default()
            },
            config,
            // As many as that may come at once: a server that restarts asks about all it has.
            requests: service
                .requests_per_second_max
                .map(|count| Rate::with_burst(count, Duration::from_secs(1))),
            service,
            identity,
            dictionary,
            steps: Vec::new(),
            asked: Vec::new(),
            at_hand: None,
            caller: None,
            live_side: None,
            certified: [None, None],
            local: Vec::new(),
            cer_ids: (0, 0),
            cea: None,
            peer: None,
            common: Vec::new(),
            failures: 0,
            opened_at: Now::ZERO,
            connections: 0,
            asked_to_leave: None,
            stopped: None,
            held: false,
            dwr_count: (Now::ZERO, 0),
            told: (PeerState::Down, false),
            fault: PeerState::Down,
            reason: String::new(),
            row: "",
        }
    }

    /// How the peer stands.
    pub fn state(&self) -> PeerState {
        match (self.machine.state(), self.watchdog.status()) {
            (State::Closed, _) => self.fault,
            (State::WaitConnAck | State::WaitConnAckElect, _) => PeerState::Connecting,
            (State::WaitICea | State::WaitReturns, _) => PeerState::Handshaking,
            (State::Closing, _) => PeerState::Closing,
            (State::ROpen | State::IOpen, Status::Okay) => PeerState::Open,
            (State::ROpen | State::IOpen, Status::Suspect) => PeerState::Suspect,
            (State::ROpen | State::IOpen, _) => PeerState::Reopen,
        }
    }

    /// Requests may be sent.
    pub fn is_usable(&self) -> bool {
        self.state() == PeerState::Open && self.stopped.is_none() && !self.held
    }

    /// Stopped, and no connection is left.
    pub fn is_finished(&self) -> bool {
        self.stopped.is_some() && self.machine.state() == State::Closed
    }

    /// Requests that count in the window.
    pub fn in_window(&self) -> usize {
        self.pending.in_window()
    }

    /// Whom the last open connection led to.
    pub fn peer(&self) -> Option<&Capabilities> {
        self.peer.as_ref()
    }

    /// Application ids shared with the peer while it is open.
    pub fn applications(&self) -> &[u32] {
        if self.machine.state().is_open() { &self.common } else { &[] }
    }

    /// Connections that were opened so far.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// The last row that changed how the peer stands.
    pub fn row(&self) -> &'static str {
        self.row
    }

    /// When [`Input::Timeout`] is due.
    pub fn next_timeout(&self) -> Option<Now> {
        let timers = [
            self.machine.next_timeout(),
            self.watchdog.next_timeout().filter(|_| !self.is_finished()),
            self.pending.next_timeout(),
        ];
        timers.into_iter().flatten().min()
    }

    /// One event.
    pub fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Action>) {
        match input {
            Input::Send { token, bytes, retransmit } => {
                self.send(token, bytes, retransmit, now, out);
                // The hot path; it changes nothing about how the peer stands.
                return;
            }
            Input::Received(side, bytes) => self.received(side, bytes, now, out),
            Input::Reply(bytes) => {
                if let Some(side) = self.live_side {
                    out.push(Action::Write(side, bytes));
                }
                return;
            }
            Input::Release(token) => self.pending.release(token),
            Input::Certified(side, names) => {
                self.certified[side.index()] = Some(names);
                return;
            }
            Input::Blame(fault, reason) => {
                self.blame(fault, reason);
                return;
            }
            Input::Start => self.attempt(now, out),
            Input::Connected(local) => {
                self.local = local;
                self.drive(machine::Event::IRcvConnAck, now, out);
            }
            Input::NotConnected(reason) => {
                self.blame(PeerState::Down, reason);
                self.drive(machine::Event::IRcvConnNack, now, out);
            }
            Input::Incoming { cer, local, from } => self.incoming(&cer, local, from, now, out),
            Input::Disconnected(side, reason) => {
                self.blame(PeerState::Down, reason);
                self.drive(disconnected(side), now, out);
            }
            Input::Hold => self.hold(now, out),
            Input::Resume => self.resume(now, out),
            Input::Retry => self.attempt(now, out),
            Input::Stop(cause) => self.stop(cause, now, out),
            Input::Timeout => self.timeout(now, out),
        }
        self.tell(out);
    }

    fn stop(&mut self, cause: DisconnectCause, now: Now, out: &mut Vec<Action>) {
        self.stopped = Some(cause);
        self.blame(PeerState::Down, "shut down".to_owned());
        self.drive(machine::Event::Stop, now, out);
        if self.machine.state() == State::Closed {
            self.watchdog.attempt_at(None);
        }
    }

    fn hold(&mut self, now: Now, out: &mut Vec<Action>) {
        self.held = true;
        self.reason.clear();
        self.blame(PeerState::Down, "in maintenance".to_owned());
        self.drive(machine::Event::Stop, now, out);
        if self.machine.state() == State::Closed {
            self.watchdog.attempt_at(None);
            self.retell(out);
        }
    }

    fn resume(&mut self, now: Now, out: &mut Vec<Action>) {
        self.held = false;
        if self.machine.state() == State::Closed {
            self.failures = 0;
            self.reason = "waits for its connection".to_owned();
            self.retell(out);
            self.attempt(now, out);
        }
    }

    /// Tells how the peer stands, for another reason than before.
    fn retell(&mut self, out: &mut Vec<Action>) {
        self.fault = PeerState::Down;
        self.told = (self.state(), self.is_usable());
        let (state, usable) = self.told;
        out.push(Action::State { state, usable, reason: self.reason.clone() });
    }

    fn timeout(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.machine.next_timeout().is_some_and(|due| due <= now) {
            let reason = match self.machine.state() {
                State::Closing => "no disconnect after DPR and DPA",
                State::WaitICea | State::WaitReturns => "no CEA in time",
                _ => "no connection in time",
            };
            self.blame(PeerState::Down, reason.to_owned());
            self.drive(machine::Event::Timeout, now, out);
        }
        if self.watchdog.next_timeout().is_some_and(|due| due <= now) {
            self.watch(watchdog::Event::TimerExpires, now, out);
        }
        for token in self.pending.expire(now) {
            out.push(Action::Fact(Fact::Expired { token }));
        }
    }

    /// Dials, unless a connection exists or is under way, or there is nobody to dial.
    fn attempt(&mut self, now: Now, out: &mut Vec<Action>) {
        let idle = self.machine.state() == State::Closed && self.stopped.is_none();
        if idle && !self.held && self.config.address.is_some() {
            self.reason.clear();
            self.drive(machine::Event::Start, now, out);
        }
    }

    /// Notes why the peer is about to be down; the first of several reasons is the true one.
    pub(super) fn blame(&mut self, fault: PeerState, reason: String) {
        if self.reason.is_empty() {
            (self.fault, self.reason) = (fault, reason);
        }
    }

    /// Gives the machine an event and does what it asks for.
    pub(super) fn drive(&mut self, event: machine::Event, now: Now, out: &mut Vec<Action>) {
        let mut steps = std::mem::take(&mut self.steps);
        self.machine.handle(event, now, &mut steps);
        for step in steps.drain(..) {
            self.perform(step, now, out);
        }
        // A step that drove the machine itself has left its own list; one of both is kept.
        self.steps = steps;
    }

    /// Turns an action of the machine into our own.
    fn perform(&mut self, step: machine::Action, now: Now, out: &mut Vec<Action>) {
        use machine::Action as Step;
        match step {
            Step::Took(row) => {
                self.row = row;
                out.push(Action::Took(row));
            }
            Step::Impossible(state, event) => {
                let pair = format!("{} {}", state.name(), event.name());
                out.push(Action::Fact(Fact::Impossible(pair)));
            }
            Step::Connect => out.push(Action::Connect),
            Step::Accept => out.push(Action::Accept),
            Step::Reject => {
                out.push(Action::Reject(None));
                let mut asked = Vec::new();
                self.watchdog.probe(now, &mut asked);
                self.obey(asked, now, out);
            }
            // Both were judged before the machine heard of them: the event depends on it.
            Step::ProcessCer | Step::ProcessCea => {}
            Step::SendCer => self.send_cer(out),
            Step::SendCea => self.send_cea(out),
            // The message at hand is a request of ours; `send` sends it.
            Step::SendMessage(_) => {}
            Step::Process => self.process(now, out),
            Step::ProcessDwr | Step::ProcessDwa => self.note_state_id(out),
            Step::SendDwa(side) => self.send_dwa(side, now, out),
            Step::SendDpr(side) => self.send_dpr(side, out),
            Step::SendDpa(side) => self.send_dpa(side, out),
            Step::RefuseCer(side) => {
                let words = "a CER has no place on an open connection";
                self.refuse(side, result_code::UNABLE_TO_COMPLY, words, None, out);
            }
            Step::Discard => self.discard("it has no place in this state", out),
            Step::Disconnect(side) => out.push(Action::Disconnect(side)),
            Step::Opened(side) => self.opened(side, now, out),
            Step::Closed { was_open } => self.closed(was_open, now, out),
        }
    }

    /// Gives the watchdog an event and does what it asks for. Tells whether the message at hand is
    /// to be thrown away.
    pub(super) fn watch(
        &mut self,
        event: watchdog::Event,
        now: Now,
        out: &mut Vec<Action>,
    ) -> bool {
        let mut asked = std::mem::take(&mut self.asked);
        self.watchdog.handle(event, now, &mut asked);
        self.obey(asked, now, out)
    }

    fn obey(&mut self, mut asked: Vec<watchdog::Action>, now: Now, out: &mut Vec<Action>) -> bool {
        let mut throwaway = false;
        for action in asked.drain(..) {
            match action {
                watchdog::Action::Took(row) => {
                    // A message that only resets Tw says nothing about how the peer stands.
                    if row != "WD-02" {
                        self.row = row;
                    }
                    out.push(Action::Took(row));
                }
                watchdog::Action::Impossible(status, event) => {
                    let pair = format!("{} {}", status.name(), event.name());
                    out.push(Action::Fact(Fact::Impossible(pair)));
                }
                watchdog::Action::SendDwr => self.send_dwr(out),
                watchdog::Action::Failover => self.fail_over(out),
                watchdog::Action::Failback => out.push(Action::Fact(Fact::FailedBack)),
                watchdog::Action::Throwaway => throwaway = true,
                watchdog::Action::AttemptOpen => self.attempt(now, out),
                watchdog::Action::CloseConnection => {
                    // Without an open side it is closed already, and this is its echo.
                    if let Some(side) = self.open_side() {
                        self.blame(PeerState::Down, "silent: DWR unanswered for two Tw".to_owned());
                        self.drive(disconnected(side), now, out);
                    }
                }
            }
        }
        self.asked = asked;
        throwaway
    }

    /// The side of the open connection.
    pub(super) fn open_side(&self) -> Option<Side> {
        match self.machine.state() {
            State::IOpen => Some(Side::Initiator),
            State::ROpen => Some(Side::Responder),
            _ => None,
        }
    }

    fn opened(&mut self, side: Side, now: Now, out: &mut Vec<Action>) {
        self.opened_at = now;
        self.connections += 1;
        self.live_side = Some(side);
        self.asked_to_leave = None;
        (self.fault, self.reason) = (PeerState::Down, String::new());
        let (caller, cea) = (self.caller.take(), self.cea.take());
        match side {
            Side::Responder => {
                if let Some(caller) = caller {
                    self.meet(caller.peer, caller.common, out);
                }
            }
            Side::Initiator => {
                if let Some(Verdict::Agreed { peer, common }) = cea {
                    self.meet(peer, common, out);
                }
            }
        }
        self.watch(watchdog::Event::ConnectionUp, now, out);
    }

    /// Notes whom the open connection leads to.
    fn meet(&mut self, peer: Capabilities, common: Vec<u32>, out: &mut Vec<Action>) {
        let before = self.peer.as_ref().filter(|p| identity_eq(&p.origin_host, &peer.origin_host));
        if let Some(from) = before.and_then(|before| before.origin_state_id)
            && let Some(to) = peer.origin_state_id
            && to > from
        {
            out.push(Action::Fact(Fact::PeerRestarted { from, to }));
        }
        self.peer = Some(peer);
        self.common = common;
    }

    fn closed(&mut self, was_open: bool, now: Now, out: &mut Vec<Action>) {
        self.caller = None;
        self.cea = None;
        self.live_side = None;
        if self.reason.is_empty() {
            self.blame(PeerState::Down, "the connection ended".to_owned());
        }
        out.push(Action::Fact(Fact::Disconnected { reason: self.reason.clone() }));
        if was_open && !matches!(self.watchdog.status(), Status::Initial | Status::Down) {
            self.watch(watchdog::Event::ConnectionDown, now, out);
        }
        for token in self.pending.clear() {
            out.push(Action::Lost(token));
        }
        let delay = self.next_delay(was_open, now);
        self.watchdog.attempt_at(delay.map(|delay| now + delay));
        if let Some(delay) = delay {
            let attempt = self.failures;
            out.push(Action::Fact(Fact::NextAttempt { attempt, delay }));
        }
    }

    /// Until the next attempt; `None`: there is nobody to dial.
    fn next_delay(&mut self, was_open: bool, now: Now) -> Option<Duration> {
        if self.stopped.is_some() || self.held || self.config.address.is_none() {
            return None;
        }
        if let Some(DisconnectCause::Busy | DisconnectCause::DoNotWantToTalkToYou) =
            self.asked_to_leave
        {
            return Some(self.config.reconnect_after_dpr);
        }
        // A connection that never lived long is no better than none: a flapping peer is tried
        // less and less often, too.
        if was_open && now.since(self.opened_at) >= self.config.reconnect_max {
            self.failures = 0;
        }
        let (initial, max) = (self.config.reconnect_initial, self.config.reconnect_max);
        let delay = reconnect::reconnect_delay(self.failures, initial, max);
        self.failures = self.failures.saturating_add(1);
        Some(reconnect::jittered(delay, &mut self.jitter))
    }

    fn fail_over(&mut self, out: &mut Vec<Action>) {
        let tokens = self.pending.fail_over();
        if self.machine.state().is_open() {
            self.reason = "silent: DWR unanswered for one Tw".to_owned();
            out.push(Action::Fact(Fact::FailedOver { requests: tokens.len() }));
        }
        out.extend(tokens.into_iter().map(Action::Lost));
    }

    /// Tells how the peer stands, if that changed.
    fn tell(&mut self, out: &mut Vec<Action>) {
        let (state, usable) = (self.state(), self.is_usable());
        let ending = matches!(
            state,
            PeerState::Closing | PeerState::Down | PeerState::BadConfig | PeerState::BadRemote
        );
        if (state, usable) != self.told {
            self.told = (state, usable);
            let reason = match state {
                PeerState::Open | PeerState::Reopen => self.describe(),
                _ => self.reason.clone(),
            };
            out.push(Action::State { state, usable, reason });
        }
        // A reason that ended nothing is none for the next end.
        if !ending {
            self.reason.clear();
        }
    }

    fn describe(&self) -> String {
        let Some(peer) = &self.peer else { return String::new() };
        let relay = if peer.is_relay() { ", a relay" } else { "" };
        format!("{} \"{}\"{relay}", peer.origin_host, peer.product_name)
    }
}

/// The machine's event for the end of a connection.
pub(super) fn disconnected(side: Side) -> machine::Event {
    match side {
        Side::Initiator => machine::Event::IPeerDisc,
        Side::Responder => machine::Event::RPeerDisc,
    }
}
