//! One step: an input for the engine or a change of a peer in, what the shell has to do out.
//!
//! Here a submission becomes a copy: the peer is chosen (`peer::routing`), T is decided
//! (`peer::pending`), and Destination-Host, the last AVP, is appended for that peer.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

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
use crate::charging::policy::SendDestinationHost;
use crate::charging::record::Command;
use crate::clock::Now;
use crate::clock::Wall;
use crate::diameter::AvpFlags;
use crate::diameter::Limits;
use crate::diameter::View;
use crate::diameter::id;
use crate::diameter::write;
use crate::peer::pending::CopyHistory;
use crate::peer::pending::t_flag;
use crate::peer::routing;
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

/// Engine and routing: everything that decides.
pub struct Core {
    engine: Engine,
    routes: routing::Routes,
    candidates: Vec<routing::Candidate>,
    profiles: Vec<Profile>,
    /// What each token is, and the peer of its last copy.
    copies: BTreeMap<u64, (Command, usize)>,
    actions: Vec<Action>,
}

/// What a peer's entry means for a copy that goes there.
#[derive(Clone, Debug)]
struct Profile {
    host: Option<String>,
    destination_host: Option<SendDestinationHost>,
    t_after_error: bool,
}

impl Core {
    /// The peers and routes are those of the engine's policy.
    pub fn new(engine: Engine, routes: routing::Routes) -> Core {
        let policy = engine.policy();
        let candidates = policy
            .peers
            .iter()
            .map(|peer| routing::Candidate {
                usable: false,
                origin_host: peer.host.clone(),
                domain: peer.dedup_domain.clone(),
                ch1: false,
                ch2: false,
            })
            .collect();
        let profiles = policy
            .peers
            .iter()
            .map(|peer| Profile {
                host: peer.host.clone(),
                destination_host: peer.send_destination_host,
                t_after_error: peer.t_after_error,
            })
            .collect();
        Core { engine, routes, candidates, profiles, copies: BTreeMap::new(), actions: Vec::new() }
    }

    /// The engine, to read.
    pub fn engine(&self) -> &Engine {
        &self.engine
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

    /// When the engine's next timer is due.
    pub fn next_timeout(&self) -> Option<Now> {
        self.engine.next_timeout()
    }

    /// One event.
    pub fn step(&mut self, event: Event, now: Now, wall: Wall, out: &mut Vec<Effect>) {
        let input = match event {
            Event::Peer { peer, usable, origin_host, applications } => {
                let Some(candidate) = self.candidates.get_mut(peer) else { return };
                candidate.usable = usable;
                if origin_host.is_some() {
                    candidate.origin_host = origin_host.clone();
                }
                let shares = |app: u32| {
                    applications.contains(&app)
                        || applications.contains(&crate::diameter::application::RELAY)
                };
                candidate.ch1 = shares(crate::diameter::application::ACCOUNTING);
                candidate.ch2 = shares(crate::diameter::application::CREDIT_CONTROL);
                Input::PeerUsable { peer, usable, origin_host }
            }
            Event::Refused { token, peer } => Input::Lost { token, peer, sent: false },
            Event::Engine(input) => {
                self.note(&input, out);
                input
            }
        };
        let mut actions = std::mem::take(&mut self.actions);
        self.engine.handle(input, now, wall, &mut actions);
        self.actions = actions;
        self.drain(now, wall, out);
    }

    /// Tells the metrics of an answer or a loss.
    fn note(&self, input: &Input, out: &mut Vec<Effect>) {
        match input {
            Input::Answer { token, peer, bytes, round_trip, .. } => {
                if let Some((command, _)) = self.copies.get(token) {
                    let (result_code, experimental) = result_of(bytes);
                    out.push(Effect::Answered {
                        peer: *peer,
                        command: *command,
                        result_code,
                        experimental,
                        round_trip: *round_trip,
                    });
                }
            }
            Input::Lost { token, peer, sent: true } => {
                if let Some((command, _)) = self.copies.get(token) {
                    out.push(Effect::Unanswered { peer: *peer, command: *command });
                }
            }
            _ => {}
        }
    }

    fn drain(&mut self, now: Now, wall: Wall, out: &mut Vec<Effect>) {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                match action {
                    Action::Persist { batch, rows } => out.push(Effect::Persist { batch, rows }),
                    Action::Lookup { lookup, key, session } => {
                        out.push(Effect::Lookup { lookup, key, session });
                    }
                    Action::Submit(submission) => self.submit(&submission, now, wall, out),
                    Action::Reply { caller, reply } => out.push(Effect::Reply { caller, reply }),
                    Action::Show { caller, view } => out.push(Effect::Show { caller, view }),
                    Action::Forget { token } => {
                        self.copies.remove(&token);
                    }
                    Action::Respond { request, bytes } => {
                        out.push(Effect::Respond { request, bytes });
                    }
                    Action::Notify(notice) => out.push(Effect::Notify(notice)),
                    Action::Fact(fact) => out.push(Effect::Fact(fact)),
                }
            }
        }
    }

    fn submit(&mut self, submission: &Submission, now: Now, wall: Wall, out: &mut Vec<Effect>) {
        let token = submission.token;
        let input = match self.choose(submission) {
            None => Input::NoPeer { token },
            Some(peer) => {
                let from = self
                    .copies
                    .insert(token, (submission.command, peer))
                    .map(|(_, before)| before)
                    .filter(|before| *before != peer);
                let (bytes, retransmit) = self.copy(submission, peer);
                out.push(Effect::Send(Outgoing {
                    peer,
                    token,
                    command: submission.command,
                    bytes,
                    retransmit,
                    from,
                    reason: submission.reason,
                }));
                Input::Sent { token, peer }
            }
        };
        self.engine.handle(input, now, wall, &mut self.actions);
    }

    /// The peer for this copy, by "who may get a copy".
    fn choose(&self, submission: &Submission) -> Option<usize> {
        let interface = match submission.command.interface() {
            Interface::Ch1 => routing::Interface::Ch1,
            Interface::Ch2 => routing::Interface::Ch2,
        };
        let online = interface == routing::Interface::Ch2;
        let ask = routing::Ask {
            interface,
            route: submission.route,
            domain: submission.domain.as_deref(),
            exclude: &submission.exclude,
            only: None,
            server: submission.server.as_deref().filter(|_| online),
            via: submission.via,
            failover_supported: submission.failover && !submission.same_server,
        };
        routing::choose(&self.routes, &self.candidates, &ask).or_else(|| {
            let again = routing::Ask { exclude: &[], ..ask };
            submission
                .repeat_allowed
                .then(|| routing::choose(&self.routes, &self.candidates, &again))
                .flatten()
        })
    }

    /// The octets for this peer, and T.
    fn copy(&self, submission: &Submission, peer: usize) -> (Bytes, bool) {
        let profile = &self.profiles[peer];
        let online = submission.command.interface() == Interface::Ch2;
        let default = match online {
            true => SendDestinationHost::AfterInitial,
            false => SendDestinationHost::Never,
        };
        let server = submission.server.as_ref();
        let host = match profile.destination_host.unwrap_or(default) {
            SendDestinationHost::Never => None,
            SendDestinationHost::AfterInitial if submission.initial => None,
            SendDestinationHost::AfterInitial => server,
            SendDestinationHost::Always => server.or(profile.host.as_ref()),
        };
        let history = CopyHistory {
            error_mark: submission.error_mark,
            unanswered_copy: submission.unanswered,
            recovered: submission.recovered,
            after_error_t: profile.t_after_error && submission.earlier_copies > 0,
        };
        let bytes = match host {
            None => submission.message.clone(),
            Some(host) => {
                let mut message = BytesMut::with_capacity(submission.message.len() + 64);
                message.extend_from_slice(&submission.message);
                let flags = AvpFlags::mandatory_for(id::DESTINATION_HOST);
                write::append_avp(&mut message, id::DESTINATION_HOST, flags, host.as_bytes());
                message.freeze()
            }
        };
        (bytes, t_flag(history))
    }
}

/// Result-Code of an answer, or whether it has an Experimental-Result instead.
pub fn result_of(bytes: &[u8]) -> (Option<u32>, bool) {
    let limits = Limits::default();
    let Ok(view) = View::new(bytes, &limits) else { return (None, false) };
    let code = view.find(id::RESULT_CODE).and_then(|avp| avp.unsigned32());
    let experimental = code.is_none() && view.find(id::EXPERIMENTAL_RESULT).is_some();
    (code, experimental)
}
