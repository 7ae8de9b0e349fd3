//! One step: an input for the engine or a change of a peer in, what the shell has to do out.
//!
//! Here the engine's submissions meet the peers: each becomes a copy for one of them (`dispatch`),
//! waits for a place, or is told that nobody takes it.

use std::time::Duration;

use bytes::Bytes;

use super::dispatch::Dispatch;
use super::dispatch::Dispatched;
use super::dispatch::rank;
use crate::charging::engine::Action;
use crate::charging::engine::CallerId;
use crate::charging::engine::Engine;
use crate::charging::engine::Fact;
use crate::charging::engine::Input;
use crate::charging::engine::Submission;
use crate::charging::io::Notice;
use crate::charging::io::RequestId;
use crate::charging::outcome::Refusal;
use crate::charging::outcome::Reply;
use crate::charging::outcome::SessionView;
use crate::charging::record::Command;
use crate::clock::Now;
use crate::clock::Wall;
use crate::diameter::application;
use crate::peer;
use crate::peer::PeerConfig;
use crate::peer::router::Router;
use crate::peer::routing;
use crate::peer::waiting::Waiter;
use crate::peer::waiting::Waiting;
use crate::store::Batch;
use crate::store::Interface;
use crate::store::Key;

/// What comes in besides the engine's own inputs.
#[derive(Debug)]
pub enum Event {
    /// For the engine as it is.
    Engine(Input),
    /// A peer stands differently.
    Peer {
        /// Index of the peer.
        peer: usize,
        /// It takes requests.
        usable: bool,
        /// Its Origin-Host, once known.
        origin_host: Option<String>,
        /// Applications shared with it.
        applications: Vec<u32>,
    },
    /// A peer's Origin-State-Id rose in the base protocol: it lost its state.
    Restarted {
        /// Index of the peer.
        peer: usize,
        /// Before.
        from: u32,
        /// Now.
        to: u32,
    },
    /// The operator lets a peer run dry, or no more.
    Drain {
        /// Index of the peer.
        peer: usize,
        /// No request of a new session from now on.
        draining: bool,
    },
    /// A copy was not taken: nothing of it was sent.
    Refused {
        /// Names the record.
        token: u64,
        /// Index of the peer.
        peer: usize,
    },
}

/// What the shell has to do.
#[derive(Debug)]
pub enum Effect {
    /// Commit this.
    Persist {
        /// Comes back in `Input::Committed`.
        batch: u64,
        /// Rows.
        rows: Batch,
    },
    /// Read this.
    Lookup {
        /// Comes back in `Input::Found`.
        lookup: u64,
        /// A key.
        key: Option<Key>,
        /// A session.
        session: Option<String>,
    },
    /// Hand a copy to a peer.
    Send(Outgoing),
    /// A copy was answered: for the metrics.
    Answered {
        /// Index of the peer.
        peer: usize,
        /// What was answered.
        command: Command,
        /// Result-Code, if the answer has one.
        result_code: Option<u32>,
        /// It has an Experimental-Result instead.
        experimental: bool,
        /// From transmission to receipt.
        round_trip: Duration,
    },
    /// A copy's connection ended first: for the metrics.
    Unanswered {
        /// Index of the peer.
        peer: usize,
        /// What was not answered.
        command: Command,
    },
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
    /// Answer a peer's request.
    Respond {
        /// Which.
        request: RequestId,
        /// The whole answer.
        bytes: Bytes,
    },
    /// Tell the CPM server.
    Notify(Box<Notice>),
    /// For metrics and logs, about a peer.
    Peer {
        /// Index of the peer.
        peer: usize,
        /// What.
        fact: peer::Fact,
    },
    /// For metrics and logs.
    Fact(Fact),
}

/// A copy for one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Index of the peer.
    pub peer: usize,
    /// Names the record.
    pub token: u64,
    /// What it is.
    pub command: Command,
    /// The whole message, Hop-by-Hop 0 and T clear.
    pub bytes: Bytes,
    /// T.
    pub retransmit: bool,
    /// The peer of the copy before, if this is another one.
    pub from: Option<usize>,
    /// Why there is another copy.
    pub reason: &'static str,
}

/// The first of a line that are tried at a time: one that nobody takes holds up few.
const TRIED_AT_A_TIME: usize = 32;
/// How long an ACR stands in line before it is left until its next try.
const ACR_PATIENCE: Duration = Duration::from_secs(3600);

/// Engine and routing: everything that decides.
pub struct Core {
    engine: Engine,
    dispatch: Dispatch,
    waiting: Waiting,
    actions: Vec<Action>,
}

impl Core {
    /// The peers and routes are those of the engine's policy.
    pub fn new(engine: Engine, routes: routing::Routes) -> Core {
        let dispatch = Dispatch::new(engine.policy(), routes, engine.seed());
        Core { engine, dispatch, waiting: Waiting::default(), actions: Vec::new() }
    }

    /// Sets window, rate and overload control of the peers; without it they have no limits.
    pub fn configure(&mut self, peers: &[PeerConfig]) {
        self.dispatch.configure(peers);
    }

    /// The engine, to read.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, to plant a bug into.
    #[cfg(feature = "planted-bugs")]
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// What decides who gets a copy, to read.
    pub fn router(&self) -> &Router {
        &self.dispatch.router
    }

    /// Requests that wait for a place in a window.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes over what the store holds.
    pub fn recover(
        &mut self,
        found: &crate::store::Recovered,
        now: Now,
        wall: Wall,
        out: &mut Vec<Effect>,
    ) {
        let mut actions = std::mem::take(&mut self.actions);
        self.engine.recover(found, now, wall, &mut actions);
        self.actions = actions;
        self.drain(now, wall, out);
    }

    /// When the next timer is due: the engine's, or that of a request in line.
    pub fn next_timeout(&self) -> Option<Now> {
        [self.engine.next_timeout(), self.waiting.next_timeout()].into_iter().flatten().min()
    }

    /// One event.
    pub fn step(&mut self, event: Event, now: Now, wall: Wall, out: &mut Vec<Effect>) {
        let room = self.may_make_room(&event, now);
        if let Some(input) = self.input(event, now, out) {
            let mut actions = std::mem::take(&mut self.actions);
            self.engine.handle(input, now, wall, &mut actions);
            self.actions = actions;
            self.drain(now, wall, out);
        }
        if room {
            self.serve(now, wall, out);
        }
        self.tell(out);
    }

    /// Whether those in line may have a place after this event.
    fn may_make_room(&self, event: &Event, now: Now) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        match event {
            Event::Engine(Input::Answer { .. } | Input::Lost { .. })
            | Event::Peer { .. }
            | Event::Drain { .. }
            | Event::Refused { .. } => true,
            _ => self.waiting.next_timeout().is_some_and(|due| due <= now),
        }
    }

    /// What an event means for the engine.
    fn input(&mut self, event: Event, now: Now, out: &mut Vec<Effect>) -> Option<Input> {
        match event {
            Event::Peer { peer, usable, origin_host, applications } => {
                let shares = |wanted: u32| {
                    applications.contains(&wanted) || applications.contains(&application::RELAY)
                };
                let shared = (shares(application::ACCOUNTING), shares(application::CREDIT_CONTROL));
                let host = origin_host.as_deref();
                self.dispatch.router.peer_changed(peer, usable, host, shared, now);
                Some(Input::PeerUsable { peer, usable, origin_host })
            }
            Event::Drain { peer, draining } => {
                let router = &mut self.dispatch.router;
                router.drain(peer, draining);
                // What waits in the spool for such a peer goes now.
                let back = !draining && router.is_usable(peer);
                back.then_some(Input::PeerUsable { peer, usable: true, origin_host: None })
            }
            Event::Restarted { peer, from, to } => {
                self.dispatch.router.restarted(peer, from, to, now);
                None
            }
            Event::Refused { token, peer } => {
                self.dispatch.router.refused(token, peer, now);
                Some(Input::Refused { token, peer })
            }
            Event::Engine(Input::Answer { token, peer, hop_by_hop, bytes, round_trip }) => {
                let redirected = self.answered(token, peer, &bytes, round_trip, now, out);
                Some(match redirected {
                    true => Input::Redirected { token, peer },
                    false => Input::Answer { token, peer, hop_by_hop, bytes, round_trip },
                })
            }
            Event::Engine(input) => {
                if let Input::Lost { token, peer, sent } = &input {
                    self.dispatch.router.lost(*token, *peer);
                    if let Some(command) = self.dispatch.command(*token).filter(|_| *sent) {
                        out.push(Effect::Unanswered { peer: *peer, command });
                    }
                }
                Some(input)
            }
        }
    }

    /// Tells metrics and router of an answer. `true`: its request goes elsewhere.
    fn answered(
        &mut self,
        token: u64,
        peer: usize,
        bytes: &Bytes,
        round_trip: Duration,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> bool {
        let notice = peer::notice::Notice::of(bytes);
        let (result_code, experimental) = (notice.result_code, notice.experimental);
        if let Some(command) = self.dispatch.command(token) {
            out.push(Effect::Answered { peer, command, result_code, experimental, round_trip });
        }
        let submission = match notice.redirect {
            Some(_) => self.engine.submission(token, "redirect"),
            None => None,
        };
        self.dispatch.answered((token, peer), &notice, round_trip, submission, now)
    }

    fn drain(&mut self, now: Now, wall: Wall, out: &mut Vec<Effect>) {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                match action {
                    Action::Persist { batch, rows } => out.push(Effect::Persist { batch, rows }),
                    Action::Lookup { lookup, key, session } => {
                        out.push(Effect::Lookup { lookup, key, session });
                    }
                    Action::Submit(submission) => {
                        // What followed in the same step may have rewritten or settled it.
                        let Submission { token, reason, .. } = submission;
                        if let Some(submission) = self.engine.submission(token, reason) {
                            self.submit(&submission, now, wall, out);
                        }
                    }
                    Action::Reply { caller, reply } => out.push(Effect::Reply { caller, reply }),
                    Action::Show { caller, view } => out.push(Effect::Show { caller, view }),
                    Action::Forget { token } => {
                        self.dispatch.forget(token);
                        self.waiting.leave(token);
                    }
                    Action::Respond { request, bytes } => {
                        out.push(Effect::Respond { request, bytes });
                    }
                    Action::Notify(notice) => out.push(Effect::Notify(notice)),
                    Action::Fact(fact) => {
                        if let Fact::Timeout { peer, command } = &fact {
                            self.dispatch.unanswered(*peer, command, now);
                        }
                        out.push(Effect::Fact(fact));
                    }
                }
            }
        }
    }

    /// Sends a copy, lets it wait for a place, or tells the engine that nobody takes it.
    fn submit(
        &mut self,
        submission: &Submission,
        now: Now,
        wall: Wall,
        out: &mut Vec<Effect>,
    ) -> Option<Now> {
        let Submission { token, reason, route, command, .. } = *submission;
        let input = match self.dispatch.dispatch(submission, now) {
            Dispatched::Full(room_at) => {
                // Nobody waits for an ACA: it keeps its place until a window has room.
                let patience = match command.interface() {
                    Interface::Ch1 => ACR_PATIENCE,
                    Interface::Ch2 => self.engine.tx_of(token).unwrap_or_default(),
                };
                let deadline = now + patience;
                let waiter = Waiter { token, reason };
                self.engine.waits_for_room(token);
                self.waiting.join(route, rank(command), waiter, (room_at, deadline));
                return Some(room_at);
            }
            Dispatched::Nobody => Input::NoPeer { token },
            Dispatched::Copy(outgoing) => {
                let peer = outgoing.peer;
                if reason == "redirect"
                    && let (Some(from), Some(to)) =
                        (outgoing.from, self.engine.policy().peers.get(peer))
                {
                    let fact = peer::Fact::Redirected { to: to.name.clone() };
                    out.push(Effect::Peer { peer: from, fact });
                }
                out.push(Effect::Send(outgoing));
                Input::Sent { token, peer }
            }
        };
        self.waiting.leave(token);
        self.engine.handle(input, now, wall, &mut self.actions);
        None
    }

    /// Those in line get the places that there are, and whoever waited for Tx waits no longer.
    fn serve(&mut self, now: Now, wall: Wall, out: &mut Vec<Effect>) {
        for token in self.waiting.expired(now) {
            self.engine.handle(Input::NoPeer { token }, now, wall, &mut self.actions);
        }
        for route in self.waiting.routes() {
            loop {
                let first = self.waiting.first(route, TRIED_AT_A_TIME);
                let mut room_at = None;
                for Waiter { token, reason } in &first {
                    // What waits may have been rewritten, settled or given up meanwhile.
                    match self.engine.submission(*token, reason) {
                        None => drop(self.waiting.leave(*token)),
                        Some(submission) => {
                            let at = self.submit(&submission, now, wall, out);
                            room_at = room_at.into_iter().chain(at).min();
                        }
                    }
                }
                if let Some(room_at) = room_at {
                    self.waiting.tried(route, room_at);
                    break;
                }
                if first.is_empty() {
                    break;
                }
            }
        }
        self.drain(now, wall, out);
    }

    /// Hands on what the router has to tell.
    fn tell(&mut self, out: &mut Vec<Effect>) {
        for (peer, mut fact) in self.dispatch.facts() {
            if let peer::Fact::ServerRestarted { host, sessions, .. } = &mut fact {
                *sessions = self.engine.sessions_at(host);
            }
            out.push(Effect::Peer { peer, fact });
        }
    }
}

/// Result-Code of an answer, or whether it has an Experimental-Result instead.
pub fn result_of(bytes: &[u8]) -> (Option<u32>, bool) {
    let notice = peer::notice::Notice::of(bytes);
    (notice.result_code, notice.experimental)
}
