//! The gateway's process in the world: engine and control blocks with a life that can end anywhere.
//!
//! Does what `gateway::engine_thread`, `gateway::committer` and `transport` do around the pure
//! parts, and nothing else: no decision is made here.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::charging::engine::CallerId;
use crate::charging::engine::Engine;
use crate::charging::engine::Fact;
use crate::charging::engine::Input as EngineInput;
use crate::charging::engine::Seed;
use crate::charging::engine::interface_index;
use crate::charging::io::RequestId;
use crate::charging::request::Library;
use crate::diameter::application;
use crate::diameter::command;
use crate::gateway::counters;
use crate::gateway::step;
use crate::gateway::step::Core;
use crate::gateway::step::Effect;
use crate::gateway::step::Outgoing;
use crate::peer::DisconnectCause;
use crate::peer::LocalIdentity;
use crate::peer::PeerConfig;
use crate::peer::control_block::Action;
use crate::peer::control_block::ControlBlock;
use crate::peer::control_block::Input;
use crate::peer::control_block::Service;
use crate::peer::machine::Side;
use crate::store::Batch;
use crate::store::CommitResult;
use crate::store::Key;
use crate::store::Store;

use super::configuration::peer_config;
use super::configuration::policy;
use super::configuration::routes;
use super::nemesis::Boundary;
use super::nemesis::Death;
use super::network::End;
use super::network::connected;
use super::planted::PlantedBug;
use super::world::Event;
use super::world::NAMES;
use super::world::PEERS;
use super::world::World;

/// From a control block's task to the engine's thread.
const NEWS: Duration = Duration::from_micros(10);
/// A start that failed is tried again.
const BOOT_AGAIN: Duration = Duration::from_secs(1);
/// SIGTERM waits so long for calls in progress, then for DPA.
const DRAIN: Duration = Duration::from_secs(4);

/// One life of the gateway.
pub(super) struct Node {
    pub(super) core: Core,
    pub(super) ends: Vec<PeerEnd>,
    /// For the committer.
    pub(super) commits: Vec<(u64, Batch)>,
    pub(super) flushing: Vec<(u64, Batch)>,
    pub(super) lookups: Vec<(u64, Option<Key>, Option<String>)>,
    /// Who waits: attempts.
    pub(super) callers: BTreeMap<CallerId, usize>,
    pub(super) next_caller: u64,
    /// Requests of peers: from whom, on which connection of theirs.
    asked: BTreeMap<RequestId, (usize, u64)>,
    /// Facts about records since the start, per interface.
    pub(super) counts: [BTreeMap<&'static str, u64>; 2],
    pub(super) draining: bool,
}

/// The gateway's end of one peer.
pub(super) struct PeerEnd {
    pub(super) block: ControlBlock,
    pub(super) connection: Option<u64>,
    /// The attempt under way.
    dialling: Option<u64>,
    /// Requests of which nothing left, while an input is handled that may give them back.
    unsent: BTreeSet<u64>,
}

impl World {
    // Life and death.

    pub(super) fn boot(&mut self) {
        if self.node.is_some() {
            return;
        }
        self.life += 1;
        let life = self.life;
        self.trace(40, u64::from(life), 0, || format!("the gateway starts, life {life}"));
        let found = match self.disk.store.recover() {
            Ok(found) if !self.disk.is_unreadable() => found,
            _ => return self.after(BOOT_AGAIN, Event::Boot),
        };
        let random = self.node_random.bits();
        let (counters, batch) = counters::next(&found.counters, self.wall(), random);
        let result = self.disk.commit(&[batch], life, self.now).pop();
        if result != Some(CommitResult::Durable) {
            return self.after(BOOT_AGAIN, Event::Boot);
        }
        if self.boundary(Boundary::Reserved) {
            return;
        }
        let policy = policy(&self.plan.setup, self.options.bug);
        let library = Library {
            dictionary: self.kit.dictionary.clone(),
            mappings: self.kit.mappings.clone(),
        };
        let seed = Seed {
            random: self.node_random.bits(),
            end_to_end_first: counters.end_to_end_first,
            session_high: counters.session_high,
            origin_state_id: counters.origin_state_id,
        };
        let routes = routes(&policy);
        let engine = Engine::new(Arc::new(policy), library, seed);
        let mut core = Core::new(engine, routes);
        let configs: Vec<PeerConfig> =
            (0..PEERS).map(|peer| peer_config(&self.plan.setup, peer)).collect();
        core.configure(&configs);
        self.plant(&mut core);
        self.copies_of.clear();
        self.renumbered.clear();
        let ends = (0..PEERS).map(|peer| self.peer_end(peer, counters.origin_state_id)).collect();
        self.node = Some(Node {
            core,
            ends,
            commits: Vec::new(),
            flushing: Vec::new(),
            lookups: Vec::new(),
            callers: BTreeMap::new(),
            next_caller: 0,
            asked: BTreeMap::new(),
            counts: [BTreeMap::new(), BTreeMap::new()],
            draining: false,
        });
        let (now, wall) = (self.monotonic(), self.wall());
        let mut effects = Vec::new();
        if let Some(node) = self.node.as_mut() {
            node.core.recover(&found, now, wall, &mut effects);
        }
        self.note_recovered(&found);
        if self.again > 0 {
            self.again -= 1;
            let down = self.node_random.duration(Duration::from_millis(1), Duration::from_secs(1));
            self.doomed = Some((Death::Kill, down));
        }
        if self.boundary(Boundary::Recovered) {
            return;
        }
        self.perform(effects);
        for peer in 0..PEERS {
            self.give(peer, Input::Start);
        }
    }

    fn peer_end(&mut self, peer: usize, origin_state_id: u32) -> PeerEnd {
        let identity = LocalIdentity {
            origin_state_id,
            ..LocalIdentity::new("cg1.ims.example.net", "ims.example.net")
        };
        let service = Service {
            commands: vec![
                (application::CREDIT_CONTROL, command::RE_AUTH),
                (application::CREDIT_CONTROL, command::ABORT_SESSION),
            ],
            checked: true,
            for_us_only: true,
            ..Service::default()
        };
        let config = peer_config(&self.plan.setup, peer);
        let (dictionary, seed) = (self.kit.dictionary.clone(), self.node_random.bits());
        let block = ControlBlock::new(config, service, identity, dictionary, seed);
        PeerEnd { block, connection: None, dialling: None, unsent: BTreeSet::new() }
    }

    fn note_recovered(&mut self, found: &crate::store::Recovered) {
        for row in &found.sessions {
            let session = minicbor::decode::<crate::charging::session::Session>(&row.body);
            let Ok(session) = session else { continue };
            use crate::charging::credit_control::State;
            self.sometimes(match session.ro.as_ref().map(|ro| ro.state) {
                None => "restart: no online leg",
                Some(State::Idle) => "restart in Idle",
                Some(State::PendingI) => "restart in PendingI",
                Some(State::Open) => "restart in Open",
                Some(State::PendingU) => "restart in PendingU",
                Some(State::PendingT) => "restart in PendingT",
                Some(State::PendingE) => "restart in PendingE",
                Some(State::PendingB) => "restart in PendingB",
            });
        }
    }

    /// Does a crash strike here? Then whoever asks stops.
    pub(super) fn boundary(&mut self, boundary: Boundary) -> bool {
        let Some(at) = self.tripwires.iter().position(|wire| wire.boundary == boundary) else {
            return self.doomed.is_some();
        };
        let wire = &mut self.tripwires[at];
        wire.left = wire.left.saturating_sub(1);
        if wire.left > 0 {
            return self.doomed.is_some();
        }
        let wire = self.tripwires.remove(at);
        self.sometimes(boundary.name());
        self.doomed = Some((wire.death, wire.down));
        true
    }

    /// The process is gone.
    pub(super) fn die(&mut self, death: Death, down: Duration, wall_step_millis: i64) {
        self.trace(41, u64::from(self.life), 0, || format!("the gateway dies: {death:?}"));
        self.skew_millis += wall_step_millis;
        if let Some(node) = self.node.take() {
            let flushing = node.flushing;
            self.break_off(flushing);
            for end in node.ends {
                match (end.connection, death) {
                    (Some(id), Death::Power) => self.vanish(id, End::Gateway),
                    (Some(id), _) => self.close(id, End::Gateway, "closed by the peer"),
                    (None, _) => {}
                }
            }
            // The kernel resets the callers' connections; without power they wait in vain.
            if death != Death::Power {
                for attempt in node.callers.into_values() {
                    self.after(Duration::from_millis(1), Event::Heard(attempt, None));
                }
            }
        }
        self.after(down, Event::Boot);
    }

    /// SIGTERM.
    pub(super) fn terminate(&mut self) {
        let Some(node) = self.node.as_mut() else { return };
        node.draining = true;
        self.engine(step::Event::Engine(EngineInput::Drain));
        let life = self.life;
        self.after(DRAIN, Event::Exit(life));
    }

    /// The drain is over: DPR to every peer; what the committer has is flushed.
    pub(super) fn exit(&mut self, life: u32) {
        if life != self.life || self.node.is_none() {
            return;
        }
        for peer in 0..PEERS {
            self.give(peer, Input::Stop(DisconnectCause::Rebooting));
        }
        let commits = match self.node.as_mut() {
            Some(node) => node.flushing.drain(..).chain(node.commits.drain(..)).collect(),
            None => Vec::new(),
        };
        let batches: Vec<Batch> = commits.into_iter().map(|(_, batch)| batch).collect();
        if !batches.is_empty() {
            self.disk.commit(&batches, life, self.now);
        }
        self.doomed = None;
        self.die(Death::Term, Duration::from_secs(1), 0);
    }

    // The engine's thread.

    pub(super) fn engine(&mut self, event: step::Event) {
        let (now, wall) = (self.monotonic(), self.wall());
        let Some(node) = self.node.as_mut() else { return };
        let mut effects = Vec::new();
        node.core.step(event, now, wall, &mut effects);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if self.doomed.is_some() {
                return;
            }
            match effect {
                Effect::Persist { batch, rows } => {
                    if self.boundary(Boundary::Persist) {
                        return;
                    }
                    let Some(node) = self.node.as_mut() else { return };
                    node.commits.push((batch, rows));
                    self.start_flush();
                }
                Effect::Lookup { lookup, key, session } => {
                    let Some(node) = self.node.as_mut() else { return };
                    node.lookups.push((lookup, key, session));
                    self.start_flush();
                }
                Effect::Send(outgoing) => {
                    if self.boundary(Boundary::Send) {
                        return;
                    }
                    self.send(outgoing);
                    self.boundary(Boundary::Sent);
                }
                Effect::Reply { caller, reply } => {
                    if self.boundary(Boundary::Reply) {
                        return;
                    }
                    self.replied(caller, reply);
                    self.boundary(Boundary::Replied);
                }
                Effect::Fact(fact) => self.fact(fact),
                Effect::Respond { request, bytes } => self.respond(request, bytes),
                Effect::Answered { .. }
                | Effect::Unanswered { .. }
                | Effect::Show { .. }
                | Effect::Peer { .. }
                | Effect::Notify(_) => {}
            }
        }
    }

    /// The answer to a RAR or ASR goes out on the connection it came from, or nowhere.
    fn respond(&mut self, request: RequestId, bytes: Bytes) {
        let Some(node) = self.node.as_mut() else { return };
        let Some((peer, connection)) = node.asked.remove(&request) else { return };
        if node.ends[peer].block.connections() == connection {
            self.give(peer, Input::Reply(bytes));
        }
    }

    fn fact(&mut self, fact: Fact) {
        match fact {
            Fact::Took(row) => self.coverage.hit(row),
            Fact::Record { interface, event } => {
                if let Some(node) = self.node.as_mut() {
                    *node.counts[interface_index(interface)].entry(event).or_default() += 1;
                }
            }
            Fact::Alarm { alarm, record, detail } => {
                self.trace(42, 0, 0, || format!("alarm {alarm:?}: {detail}"));
                self.evidence.alarms.push((self.now, alarm, record, detail));
            }
            _ => {}
        }
    }

    pub(super) fn news(&mut self, life: u32, news: step::Event) {
        if life != self.life {
            return;
        }
        if let step::Event::Engine(EngineInput::Answer { .. }) = &news {
            if self.boundary(Boundary::Answer) {
                return;
            }
            self.note_answer(&news);
        }
        self.engine(news);
    }

    // The peers' tasks.

    fn send(&mut self, outgoing: Outgoing) {
        let Outgoing { peer, token, bytes, retransmit, .. } = outgoing;
        let life = self.life;
        let Some(end) = self.node.as_mut().and_then(|node| node.ends.get_mut(peer)) else { return };
        if !end.block.is_usable() || end.block.in_window() >= self.plan.setup.window {
            self.sometimes("copy refused");
            self.after(NEWS, Event::News(life, step::Event::Refused { token, peer }));
            return;
        }
        end.unsent.insert(token);
        let (bytes, retransmit) = self.spoil_copy(token, bytes, retransmit);
        self.give(peer, Input::Send { token, bytes, retransmit });
    }

    /// Gives a control block an input and does what it asks for.
    pub(super) fn give(&mut self, peer: usize, input: Input) {
        let now = self.now;
        let Some(end) = self.node.as_mut().and_then(|node| node.ends.get_mut(peer)) else { return };
        let mut actions = Vec::new();
        end.block.handle(input, now, &mut actions);
        for action in actions {
            self.obey(peer, action);
        }
        if let Some(end) = self.node.as_mut().and_then(|node| node.ends.get_mut(peer)) {
            end.unsent.clear();
        }
    }

    fn obey(&mut self, peer: usize, action: Action) {
        let life = self.life;
        let Some(end) = self.node.as_mut().and_then(|node| node.ends.get_mut(peer)) else { return };
        match action {
            Action::Took(row) => self.coverage.hit(row),
            Action::Connect => {
                let attempt = self.next_connection();
                if let Some(node) = self.node.as_mut() {
                    node.ends[peer].dialling = Some(attempt);
                }
                self.dial(life, peer, attempt);
            }
            Action::Write(_, octets) => {
                if let Some(id) = end.connection {
                    self.write(id, End::Gateway, octets, None);
                }
            }
            Action::Transmit { token, hop_by_hop, retransmit, bytes, .. } => {
                end.unsent.remove(&token);
                if let Some(id) = end.connection {
                    self.transmit(peer, id, token, hop_by_hop, retransmit, &bytes);
                }
            }
            Action::Disconnect(_) => self.hang_up(peer),
            Action::State { state, usable, reason } => {
                let origin_host = end.block.peer().map(|peer| peer.origin_host.clone());
                let applications = end.block.applications().to_vec();
                self.trace(43, peer as u64, u64::from(usable), || {
                    format!("{} is {state}: {reason}", NAMES[peer])
                });
                let news = step::Event::Peer { peer, usable, origin_host, applications };
                self.after(NEWS, Event::News(life, news));
            }
            Action::Answer { token, hop_by_hop, bytes, round_trip } => {
                let bytes = self.mend_answer(token, bytes);
                let news = step::Event::Engine(EngineInput::Answer {
                    token,
                    peer,
                    hop_by_hop,
                    bytes,
                    round_trip,
                });
                self.after(NEWS, Event::News(life, news));
            }
            Action::Lost(token) => {
                let sent = !end.unsent.remove(&token);
                if !sent {
                    self.never_left(peer, token);
                }
                self.sometimes(if sent { "copy lost" } else { "copy lost before it left" });
                let news = step::Event::Engine(EngineInput::Lost { token, peer, sent });
                self.after(NEWS, Event::News(life, news));
            }
            Action::Fact(crate::peer::Fact::Impossible(pair)) => {
                self.finding("I-14", format!("impossible pair of the peer tables: {pair}"));
            }
            Action::Request(_, bytes) => {
                let connection = end.block.connections();
                let id = RequestId(self.next_connection());
                if let Some(node) = self.node.as_mut() {
                    node.asked.insert(id, (peer, connection));
                }
                let input = EngineInput::PeerRequest { request: id, peer, bytes };
                self.after(NEWS, Event::News(life, step::Event::Engine(input)));
            }
            Action::Fact(crate::peer::Fact::PeerRestarted { from, to }) => {
                let news = step::Event::Restarted { peer, from, to };
                self.after(NEWS, Event::News(life, news));
            }
            Action::Fact(_) | Action::Accept | Action::Reject(_) => {}
        }
    }

    fn transmit(
        &mut self,
        peer: usize,
        id: u64,
        token: u64,
        hop_by_hop: u32,
        retransmit: bool,
        bytes: &Bytes,
    ) {
        let mut octets = super::network::on_the_wire(bytes, hop_by_hop, retransmit);
        if self.options.bug == Some(PlantedBug::HopByHopWrap) {
            let short = hop_by_hop % 4;
            self.wrapped.insert((id, short), hop_by_hop);
            octets = super::network::on_the_wire(bytes, short, retransmit);
        }
        self.left(id, peer, token, hop_by_hop, &octets);
        self.trace(44, u64::from(hop_by_hop), octets.len() as u64, || {
            let (message, _) = super::witness::read(&octets);
            let mark = if retransmit { " T" } else { "" };
            let key = super::servers::request_key(&message);
            let name = crate::sim::answer::command_name(&message).unwrap_or("?");
            format!("{} <- {name} {}{mark} of {}", NAMES[peer], key.number, key.session)
        });
        self.write(id, End::Gateway, octets, Some(token));
    }

    /// The gateway's end of a connection, or of an attempt, is given up.
    fn hang_up(&mut self, peer: usize) {
        let Some(end) = self.node.as_mut().and_then(|node| node.ends.get_mut(peer)) else { return };
        end.dialling = None;
        let Some(id) = end.connection.take() else { return };
        let unsent = self.unwritten(id);
        if let Some(node) = self.node.as_mut() {
            node.ends[peer].unsent.extend(unsent);
        }
        self.close(id, End::Gateway, "closed by the peer");
    }

    pub(super) fn dialled(&mut self, life: u32, peer: usize, id: u64) {
        let end = self.node.as_mut().and_then(|node| node.ends.get_mut(peer));
        match end.filter(|end| life == self.life && end.dialling == Some(id)) {
            None => self.close(id, End::Gateway, "closed by the peer"),
            Some(end) => {
                end.dialling = None;
                end.connection = Some(id);
                self.give(peer, connected());
            }
        }
    }

    pub(super) fn not_dialled(&mut self, life: u32, peer: usize, attempt: u64) {
        let end = self.node.as_mut().and_then(|node| node.ends.get_mut(peer));
        let Some(end) = end.filter(|end| life == self.life && end.dialling == Some(attempt)) else {
            return;
        };
        end.dialling = None;
        self.give(peer, Input::NotConnected("connection refused".to_owned()));
    }

    /// A whole message came to the gateway.
    pub(super) fn gateway_receives(&mut self, peer: usize, id: u64, message: Bytes) {
        let end = self.node.as_ref().and_then(|node| node.ends.get(peer));
        if end.is_some_and(|end| end.connection == Some(id)) {
            let message = self.unwrap_ids(id, message);
            self.give(peer, Input::Received(Side::Initiator, message));
        }
    }

    /// A connection of the gateway is over.
    pub(super) fn lose(&mut self, peer: usize, id: u64, reason: &str) {
        let end = self.node.as_ref().and_then(|node| node.ends.get(peer));
        if end.is_some_and(|end| end.connection == Some(id)) {
            let reason = reason.to_owned();
            self.give(peer, Input::Disconnected(Side::Initiator, reason));
            self.hang_up(peer);
        }
    }
}

impl Boundary {
    /// For the counters.
    fn name(self) -> &'static str {
        match self {
            Boundary::Persist => "crash at Persist",
            Boundary::Flushing => "crash at Flushing",
            Boundary::Flushed => "crash at Flushed",
            Boundary::Send => "crash at Send",
            Boundary::Sent => "crash at Sent",
            Boundary::Reply => "crash at Reply",
            Boundary::Replied => "crash at Replied",
            Boundary::Answer => "crash at Answer",
            Boundary::Reserved => "crash at Reserved",
            Boundary::Recovered => "crash at Recovered",
        }
    }
}
