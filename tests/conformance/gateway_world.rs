//! The engine with its routing on a simulated clock, a store in memory and peers that the test plays.
//!
//! One harness for every story of the charging core, so that a change of the API edits one file.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farebox::charging::engine::{Alarm, CallerId, Engine, Fact, Input, Seed};
use farebox::charging::event::*;
use farebox::charging::io::{Notice, RequestId};
use farebox::charging::outcome::*;
use farebox::charging::policy::*;
use farebox::charging::record::Command;
use farebox::charging::request::Library;
use farebox::clock::{Now, Wall};
use farebox::diameter::{Avp, AvpList, Dictionary, Limits, Message, decode, id};
use farebox::gateway::step::{Core, Effect, Event, Outgoing};
use farebox::mapping::{Interface as MappingInterface, Mapping};
use farebox::peer::routing::{Interface as RouteInterface, Route, RoutePolicy, Routes, Sticky};
use farebox::peer::{Fact as PeerFact, PeerConfig};
use farebox::store::memory::MemoryStore;
use farebox::store::{Batch, CommitResult, Interface, Store};

pub(crate) const OCS_A: usize = 0;
pub(crate) const OCS_B: usize = 1;
pub(crate) const CDF_A: usize = 2;
pub(crate) const CDF_B: usize = 3;

/// A copy that left, as the test sees it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) peer: usize,
    pub(crate) token: u64,
    pub(crate) command: Command,
    pub(crate) t: bool,
    pub(crate) bytes: Bytes,
    pub(crate) answered: bool,
}

impl Sent {
    pub(crate) fn message(&self) -> Message {
        let (message, problems) = decode(&self.bytes, Dictionary::builtin(), &Limits::default());
        assert!(problems.is_empty(), "{problems:?}");
        message
    }

    pub(crate) fn number(&self) -> u32 {
        let message = self.message();
        message
            .unsigned32(id::CC_REQUEST_NUMBER)
            .or_else(|| message.unsigned32(id::ACCOUNTING_RECORD_NUMBER))
            .expect("a number")
    }

    /// `CCR-T 1` or `CCR-T 1 T`.
    pub(crate) fn words(&self) -> String {
        format!("{} {}{}", self.command.name(), self.number(), if self.t { " T" } else { "" })
    }
}

pub(crate) struct World {
    pub(crate) core: Core,
    pub(crate) store: MemoryStore,
    pub(crate) policy: Policy,
    pub(crate) now: Now,
    pub(crate) wall: Wall,
    pub(crate) sent: Vec<Sent>,
    pub(crate) replies: BTreeMap<CallerId, Reply>,
    pub(crate) facts: Vec<Fact>,
    pub(crate) callers: u64,
    pub(crate) fail_next: Option<CommitResult>,
    pub(crate) responses: BTreeMap<RequestId, Bytes>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) peer_facts: Vec<(usize, PeerFact)>,
    routes: Routes,
    peers: Vec<PeerConfig>,
    requests: u64,
    /// `Some`: commits wait here until [`World::flush`], as behind a slow disk.
    held: Option<Vec<(u64, Batch)>>,
    seed: u64,
}

pub(crate) fn profile(name: &str, realm: &str) -> PeerProfile {
    PeerProfile {
        name: name.to_owned(),
        host: Some(format!("{name}.{realm}")),
        realm: realm.to_owned(),
        dedup_domain: realm.to_owned(),
        service_context_id: "15.32260@3gpp.org".to_owned(),
        timeout: Duration::from_secs(2),
        command_timeouts: BTreeMap::new(),
        mapping: PerInterface { ch1: "ch1".to_owned(), ch2: "ch2".to_owned() },
        send_destination_host: None,
        t_after_error: false,
        report_granted_only: false,
        results: BTreeMap::new(),
    }
}

pub(crate) fn policy() -> Policy {
    let service = |ch1, ch2, group, id| Service {
        interfaces: Interfaces { ch1, ch2 },
        model: Model::Scur,
        rating_group: Some(group),
        service_id: Some(id),
    };
    let rule = |interface, peers: &[usize]| RouteRule {
        interface,
        when: None,
        peers: peers.to_vec(),
        strict: false,
    };
    Policy {
        host: "cg1.ims.example.net".to_owned(),
        realm: "ims.example.net".to_owned(),
        services: BTreeMap::from([
            ("chat".to_owned(), service(true, true, 700, 7)),
            ("online-only".to_owned(), service(false, true, 701, 9)),
            ("offline-only".to_owned(), service(true, false, 702, 10)),
        ]),
        default_interfaces: Interfaces { ch1: true, ch2: false },
        rating_groups: BTreeMap::from([("chat".to_owned(), 700)]),
        failure: FailurePolicy {
            on_no_answer: Ccfh::Terminate,
            direct_debit: Ddfh::TerminateOrBuffer,
            buffer_for: Duration::from_secs(24 * 3600),
        },
        termination: Termination {
            ok_timeout: Duration::from_secs(36),
            settle_within: None,
            backup_accounting: true,
            max_session: Duration::from_secs(24 * 3600),
            abort_grace: Duration::from_secs(5),
        },
        accept_orphans: true,
        max_wait: Duration::from_secs(30),
        peers: vec![
            profile("ocs-a", "ocs.example.net"),
            profile("ocs-b", "ocs.example.net"),
            profile("cdf-a", "cdf.example.net"),
            profile("cdf-b", "cdf.example.net"),
        ],
        routes: vec![rule(Interface::Ch2, &[OCS_A, OCS_B]), rule(Interface::Ch1, &[CDF_A, CDF_B])],
        key_lifetime: Duration::from_secs(24 * 3600),
    }
}

fn routes(policy: &Policy) -> Routes {
    Routes {
        routes: policy
            .routes
            .iter()
            .map(|rule| Route {
                interface: match rule.interface {
                    Interface::Ch1 => RouteInterface::Ch1,
                    Interface::Ch2 => RouteInterface::Ch2,
                },
                when: None,
                peers: rule.peers.clone(),
                policy: RoutePolicy::Failover,
                sticky: if rule.strict { Sticky::Strict } else { Sticky::Session },
            })
            .collect(),
    }
}

/// The peers' limits as a configuration without them has them.
fn peers(policy: &Policy) -> Vec<PeerConfig> {
    let config = |peer: &PeerProfile| PeerConfig {
        timeout: peer.timeout,
        ..PeerConfig::new(&peer.name, None, &peer.realm)
    };
    policy.peers.iter().map(config).collect()
}

fn core(policy: &Policy, routes: &Routes, peers: &[PeerConfig], seed: u64) -> Core {
    let mappings = BTreeMap::from([
        ("ch1".to_owned(), Mapping::default_of(MappingInterface::Ch1).clone()),
        ("ch2".to_owned(), Mapping::default_of(MappingInterface::Ch2).clone()),
    ]);
    let library = Library {
        dictionary: Arc::new(Dictionary::builtin().clone()),
        mappings: Arc::new(mappings),
    };
    let seed = Seed {
        random: seed,
        end_to_end_first: 0x93bb_0000 + u32::try_from(seed).unwrap_or(0) * 65_536,
        session_high: 1_765_531_200 + u32::try_from(seed).unwrap_or(0),
        origin_state_id: 1_765_531_200,
    };
    let mut core = Core::new(Engine::new(Arc::new(policy.clone()), library, seed), routes.clone());
    core.configure(peers);
    core
}

impl World {
    /// Every peer open.
    pub(crate) fn new() -> World {
        World::with(policy())
    }

    pub(crate) fn with(policy: Policy) -> World {
        World::limited(policy, |_, _| {})
    }

    /// Every peer open, with other routes or limits.
    pub(crate) fn limited(
        policy: Policy,
        change: impl FnOnce(&mut Routes, &mut Vec<PeerConfig>),
    ) -> World {
        let mut world = World::closed(policy);
        change(&mut world.routes, &mut world.peers);
        world.core = core(&world.policy, &world.routes, &world.peers, world.seed);
        for peer in [OCS_A, OCS_B, CDF_A, CDF_B] {
            world.peer(peer, true);
        }
        world
    }

    /// No peer open.
    pub(crate) fn closed(policy: Policy) -> World {
        let (routes, peers) = (routes(&policy), peers(&policy));
        World {
            core: core(&policy, &routes, &peers, 1),
            routes,
            peers,
            peer_facts: Vec::new(),
            store: MemoryStore::default(),
            policy,
            now: Now::ZERO,
            wall: Wall::parse("2025-12-12T10:38:00Z").expect("a time"),
            sent: Vec::new(),
            replies: BTreeMap::new(),
            facts: Vec::new(),
            callers: 0,
            fail_next: None,
            responses: BTreeMap::new(),
            notices: Vec::new(),
            requests: 0,
            held: None,
            seed: 1,
        }
    }

    /// The process dies and starts again on the same store; every peer is closed.
    pub(crate) fn restart(&mut self) {
        self.seed += 1;
        // Counters begin anew with the process.
        self.facts.retain(|fact| !matches!(fact, Fact::Record { .. }));
        self.core = core(&self.policy, &self.routes, &self.peers, self.seed);
        let found = self.store.recover().expect("the store is readable");
        let mut effects = Vec::new();
        self.core.recover(&found, self.now, self.wall, &mut effects);
        self.perform(effects);
    }

    pub(crate) fn peer(&mut self, peer: usize, usable: bool) {
        let host = self.policy.peers[peer].host.clone();
        let app = if peer < CDF_A { 4 } else { 3 };
        self.step(Event::Peer { peer, usable, origin_host: host, applications: vec![app] });
    }

    pub(crate) fn step(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.core.step(event, self.now, self.wall, &mut effects);
        self.perform(effects);
    }

    /// `farebox.outcome debited`.
    pub(crate) fn told(&self) -> Vec<String> {
        let words = |n: &Notice| {
            let outcome = n.decision.as_ref().map(|decision| decision.outcome.word());
            format!("{} {}", n.kind.name(), outcome.unwrap_or("-"))
        };
        self.notices.iter().map(words).collect()
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            let event = match effect {
                Effect::Persist { batch, rows } if self.held.is_some() => {
                    self.held.iter_mut().for_each(|held| held.push((batch, rows.clone())));
                    continue;
                }
                Effect::Persist { batch, rows } => {
                    let result = match self.fail_next.take() {
                        Some(failure) => failure,
                        None => self.store.commit(&[rows]).pop().expect("one result"),
                    };
                    Event::Engine(Input::Committed { batch, result })
                }
                Effect::Lookup { lookup, key, session } => Event::Engine(Input::Found {
                    lookup,
                    key: key.and_then(|key| self.store.key(&key).expect("readable")),
                    session: session.and_then(|id| self.store.session(&id).expect("readable")),
                    error: None,
                }),
                Effect::Send(Outgoing { peer, token, command, bytes, retransmit, .. }) => {
                    let answered = false;
                    self.sent.push(Sent { peer, token, command, t: retransmit, bytes, answered });
                    continue;
                }
                Effect::Reply { caller, reply } => {
                    let earlier = self.replies.insert(caller, reply);
                    assert!(earlier.is_none(), "a caller is answered once");
                    continue;
                }
                Effect::Peer { peer, fact } => {
                    self.peer_facts.push((peer, fact));
                    continue;
                }
                Effect::Fact(fact) => {
                    self.facts.push(fact);
                    continue;
                }
                Effect::Respond { request, bytes } => {
                    let earlier = self.responses.insert(request, bytes);
                    assert!(earlier.is_none(), "a request is answered once");
                    continue;
                }
                Effect::Notify(notice) => {
                    self.notices.push(*notice);
                    continue;
                }
                _ => continue,
            };
            let mut more = Vec::new();
            self.core.step(event, self.now, self.wall, &mut more);
            queue.extend(more);
        }
    }

    /// Commits take their time from now on.
    pub(crate) fn hold(&mut self) {
        self.held = Some(Vec::new());
    }

    /// What is held is durable, and commits are quick again.
    pub(crate) fn flush(&mut self) {
        for (batch, rows) in self.held.take().unwrap_or_default() {
            let result = self.store.commit(&[rows]).pop().expect("one result");
            self.step(Event::Engine(Input::Committed { batch, result }));
        }
    }

    /// Time passes; timers fire in order.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.core.next_timeout().filter(|due| *due <= end) {
            let due = due.max(self.now);
            self.wall = self.wall + due.since(self.now);
            self.now = due;
            self.step(Event::Engine(Input::Tick));
        }
        self.wall = self.wall + end.since(self.now);
        self.now = end;
    }

    // Calls.

    pub(crate) fn call(&mut self, trigger: Trigger) -> CallerId {
        let fingerprint = fingerprint(&trigger);
        self.request(Request {
            trigger,
            prefer: Prefer::default(),
            client: String::new(),
            idempotency_key: None,
            fingerprint,
        })
    }

    pub(crate) fn request(&mut self, request: Request) -> CallerId {
        self.callers += 1;
        let caller = CallerId(self.callers);
        let request = Box::new(request);
        self.step(Event::Engine(Input::Trigger { caller, request }));
        caller
    }

    pub(crate) fn start(&mut self, id: &str, service: &str) -> CallerId {
        let trigger = start(id, service, self.wall);
        self.call(trigger)
    }

    pub(crate) fn interim(&mut self, id: &str, sequence: u64, units: Units) -> CallerId {
        let trigger = interim(id, sequence, units, self.wall);
        self.call(trigger)
    }

    pub(crate) fn terminate(&mut self, id: &str, trigger: CloseTrigger, units: Units) -> CallerId {
        let trigger = terminate(id, trigger, units, self.wall);
        self.call(trigger)
    }

    pub(crate) fn reply(&self, caller: CallerId) -> &Reply {
        self.replies.get(&caller).unwrap_or_else(|| panic!("{caller:?} is not answered"))
    }

    pub(crate) fn answer(&self, caller: CallerId) -> &Answer {
        match self.reply(caller) {
            Reply::Answered { answer, .. } => answer,
            Reply::Refused(refusal) => panic!("{caller:?} is refused: {refusal:?}"),
        }
    }

    pub(crate) fn refusal(&self, caller: CallerId) -> &Refusal {
        match self.reply(caller) {
            Reply::Refused(refusal) => refusal,
            Reply::Answered { answer, .. } => panic!("{caller:?} is answered: {answer:?}"),
        }
    }

    pub(crate) fn waits(&self, caller: CallerId) -> bool {
        !self.replies.contains_key(&caller)
    }

    pub(crate) fn session(&mut self, id: &str) -> SessionView {
        let key = format!("s:{id}");
        let row = self.store.session(&key).expect("readable").expect("the session is stored");
        let session: farebox::charging::session::Session =
            minicbor::decode(&row.body).expect("CBOR");
        session.view()
    }

    // Peers.

    /// What left since the last look: `ocs-a CCR-I 0`.
    pub(crate) fn sent_words(&self) -> Vec<String> {
        self.sent
            .iter()
            .map(|sent| format!("{} {}", self.policy.peers[sent.peer].name, sent.words()))
            .collect()
    }

    pub(crate) fn of(&self, command: Command) -> Vec<&Sent> {
        self.sent.iter().filter(|sent| sent.command == command).collect()
    }

    pub(crate) fn only(&self, command: Command) -> &Sent {
        let all = self.of(command);
        assert_eq!(all.len(), 1, "{:?}", self.sent_words());
        all[0]
    }

    /// Diameter Session-Id of the first copy of a command.
    pub(crate) fn only_session_id(&self, command: Command) -> String {
        let message = self.of(command).first().expect("sent").message();
        message.avps.text(id::SESSION_ID).expect("there").to_owned()
    }

    /// Answers the oldest unanswered copy of an interface.
    pub(crate) fn answer_next(&mut self, interface: Interface, code: u32) {
        self.answer_with(interface, |message| message.push(Avp::u32(id::RESULT_CODE, code)));
    }

    pub(crate) fn cca(&mut self, code: u32) {
        self.answer_next(Interface::Ch2, code);
    }

    pub(crate) fn aca(&mut self, code: u32) {
        self.answer_next(Interface::Ch1, code);
    }

    /// A CCA 2001 with 600 s granted to every requested group.
    pub(crate) fn grant(&mut self) {
        self.answer_with(Interface::Ch2, |message| {
            message.push(Avp::u32(id::RESULT_CODE, 2001));
            message.push(Avp::group(
                id::MULTIPLE_SERVICES_CREDIT_CONTROL,
                vec![
                    Avp::group(id::GRANTED_SERVICE_UNIT, vec![Avp::u32(id::CC_TIME, 600)]),
                    Avp::u32(id::RATING_GROUP, 700),
                    Avp::u32(id::RESULT_CODE, 2001),
                ],
            ));
        });
    }

    pub(crate) fn answer_with(&mut self, interface: Interface, fill: impl FnOnce(&mut Message)) {
        let index = self
            .sent
            .iter()
            .position(|sent| !sent.answered && sent.command.interface() == interface)
            .unwrap_or_else(|| panic!("nothing to answer: {:?}", self.sent_words()));
        self.answer_at(index, fill);
    }

    pub(crate) fn answer_at(&mut self, index: usize, fill: impl FnOnce(&mut Message)) {
        self.sent[index].answered = true;
        let sent = self.sent[index].clone();
        let request = sent.message();
        let mut message = Message::answer_to(&request.header);
        let host = self.policy.peers[sent.peer].host.clone().expect("pinned");
        message.push(Avp::text(id::SESSION_ID, request.avps.text(id::SESSION_ID).expect("there")));
        fill(&mut message);
        message.push(Avp::identity(id::ORIGIN_HOST, host));
        message.push(Avp::identity(id::ORIGIN_REALM, self.policy.peers[sent.peer].realm.clone()));
        for copied in [id::CC_REQUEST_TYPE, id::CC_REQUEST_NUMBER] {
            message.avps.extend(request.find(copied).cloned());
        }
        for copied in [id::ACCOUNTING_RECORD_TYPE, id::ACCOUNTING_RECORD_NUMBER] {
            message.avps.extend(request.find(copied).cloned());
        }
        let bytes = message.encode(Dictionary::builtin());
        self.step(Event::Engine(Input::Answer {
            token: sent.token,
            peer: sent.peer,
            hop_by_hop: 1,
            bytes,
            round_trip: Duration::from_millis(1),
        }));
    }

    /// A peer asks something; its answer.
    pub(crate) fn ask(&mut self, peer: usize, message: &Message) -> Message {
        self.requests += 1;
        let request = RequestId(self.requests);
        let bytes = message.encode_as_is();
        self.step(Event::Engine(Input::PeerRequest { request, peer, bytes }));
        let answer = self.responses.get(&request).expect("answered");
        let (answer, problems) = decode(answer, Dictionary::builtin(), &Limits::default());
        assert!(problems.is_empty(), "{problems:?}");
        assert!(!answer.header.flags.is_request() && !answer.header.flags.is_retransmit());
        assert_eq!(answer.header.hop_by_hop, message.header.hop_by_hop, "H-14");
        assert_eq!(answer.header.end_to_end, message.header.end_to_end, "H-14");
        assert_eq!(answer.header.flags.is_proxiable(), message.header.flags.is_proxiable());
        answer
    }

    /// A RAR or ASR of a peer for the session of the first CCR-I.
    pub(crate) fn server_request(&self, peer: usize, code: u32) -> Message {
        let mut message = Message::request(code, 4, true);
        message.header.hop_by_hop = 77;
        message.header.end_to_end = 0x1000_0000 + code;
        let host = self.policy.peers[peer].host.clone().expect("pinned");
        message.push(Avp::text(id::SESSION_ID, self.only_session_id(Command::CcrInitial)));
        message.push(Avp::identity(id::ORIGIN_HOST, host));
        message.push(Avp::identity(id::ORIGIN_REALM, self.policy.peers[peer].realm.clone()));
        message.push(Avp::identity(id::DESTINATION_REALM, self.policy.realm.clone()));
        message.push(Avp::identity(id::DESTINATION_HOST, self.policy.host.clone()));
        message.push(Avp::u32(id::AUTH_APPLICATION_ID, 4));
        if code == 258 {
            message.push(Avp::enumerated(id::RE_AUTH_REQUEST_TYPE, 0));
        }
        message
    }

    /// The connection to a peer ends: it is closed and every unanswered copy is lost.
    pub(crate) fn disconnect(&mut self, peer: usize) {
        self.peer(peer, false);
        for index in 0..self.sent.len() {
            if self.sent[index].peer == peer && !self.sent[index].answered {
                self.sent[index].answered = true;
                let token = self.sent[index].token;
                self.step(Event::Engine(Input::Lost { token, peer, sent: true }));
            }
        }
    }

    /// Every unanswered copy of an interface is handed back: the peer's window is full.
    pub(crate) fn refuse(&mut self, interface: Interface) {
        for index in 0..self.sent.len() {
            let sent = self.sent[index].clone();
            if !sent.answered && sent.command.interface() == interface {
                self.sent[index].answered = true;
                self.step(Event::Refused { token: sent.token, peer: sent.peer });
            }
        }
    }

    pub(crate) fn took(&self, row: &str) -> bool {
        self.facts.iter().any(|fact| matches!(fact, Fact::Took(id) if *id == row))
    }

    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        self.facts
            .iter()
            .filter_map(|fact| match fact {
                Fact::Alarm { alarm, .. } => Some(*alarm),
                _ => None,
            })
            .collect()
    }

    /// I-3: what came into the spool is accounted for.
    pub(crate) fn conserved(&self) {
        for interface in [Interface::Ch1, Interface::Ch2] {
            let count = |wanted: &[&str]| {
                self.facts
                    .iter()
                    .filter(|fact| {
                        matches!(fact, Fact::Record { interface: i, event }
                            if *i == interface && wanted.contains(event))
                    })
                    .count() as u64
            };
            let now = self.core.engine().spool_counts(interface);
            assert_eq!(
                count(&["stored", "recovered"]),
                count(&["acknowledged", "superseded", "abandoned"])
                    + now.waiting
                    + now.in_flight
                    + now.dead,
                "{interface:?}"
            );
        }
    }
}

fn fingerprint(trigger: &Trigger) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(format!("{trigger:?}").as_bytes()).into()
}

pub(crate) fn seconds(n: u64) -> Units {
    Units { seconds: Some(n), ..Units::default() }
}

pub(crate) fn used(seconds: u64, messages: u64) -> Units {
    Units { seconds: Some(seconds), messages: Some(messages), ..Units::default() }
}

pub(crate) fn start(id: &str, service: &str, at: Wall) -> Trigger {
    Trigger::Start(Box::new(Start {
        session_id: id.to_owned(),
        sequence: Some(0),
        timestamp: at,
        interfaces: None,
        service: Some(service.to_owned()),
        content: content(),
        request: vec![UnitRequest { rating_group: None, units: seconds(600) }],
        notify_uri: None,
    }))
}

pub(crate) fn content() -> Content {
    Content {
        role: Role::Originating,
        node: Some("as1.cpm.example.net".to_owned()),
        subscriber: vec![Identity { kind: IdentityType::E164, value: "+12025550123".to_owned() }],
        from: Some("sip:+12025550123@ims.example.net".to_owned()),
        to: vec!["tel:+12025550145".to_owned()],
        cpm: Cpm {
            contribution_id: Some("9f1c4a7e-7d0e-4c1b-9a55-0c6d0a3b2f11".to_owned()),
            server_role: Some(ServerRole::Participating),
            ..Cpm::default()
        },
        sip: Sip {
            call_id: Some("a84b4c76e66710@as1".to_owned()),
            icid: Some("icid-5521".to_owned()),
            ..Sip::default()
        },
        participants: Some(2),
        extensions: Vec::new(),
    }
}

pub(crate) fn interim(id: &str, sequence: u64, units: Units, at: Wall) -> Trigger {
    Trigger::Interim(Box::new(Interim {
        session_id: id.to_owned(),
        sequence: Some(sequence),
        timestamp: at,
        node: None,
        reason: None,
        usage: vec![UsageEntry { rating_group: None, units, tariff: None }],
        messages: None,
        participants: None,
        request: vec![UnitRequest { rating_group: None, units: seconds(600) }],
        extensions: Vec::new(),
    }))
}

pub(crate) fn terminate(id: &str, trigger: CloseTrigger, units: Units, at: Wall) -> Trigger {
    let usage = if units.is_empty() {
        Vec::new()
    } else {
        vec![UsageEntry { rating_group: None, units, tariff: None }]
    };
    Trigger::Terminate(Box::new(Terminate {
        session_id: id.to_owned(),
        trigger,
        timestamp: at,
        sequence: None,
        node: None,
        cause: None,
        usage,
        messages: None,
        participants: None,
        extensions: Vec::new(),
        session: None,
    }))
}

pub(crate) fn event(id: &str, action: EventAction, at: Wall) -> Trigger {
    Trigger::Event(Box::new(OneTimeEvent {
        event_id: id.to_owned(),
        kind: "message.sent".to_owned(),
        action,
        timestamp: at,
        sequence: None,
        service: "chat".to_owned(),
        interfaces: None,
        content: content(),
        units: Units { messages: Some(2), ..Units::default() },
        rating_group: None,
        delivery: Some("delivered".to_owned()),
        body: Some(MessageContent { content_type: "text/plain".to_owned(), size: 641 }),
        refund_of: None,
        cause: None,
        notify_uri: None,
    }))
}

/// The cumulative seconds and messages of every Used-Service-Unit of a CCR.
pub(crate) fn used_units(sent: &Sent) -> (u32, u64) {
    let message = sent.message();
    let mut total = (0, 0);
    for service in message.all(id::MULTIPLE_SERVICES_CREDIT_CONTROL) {
        let members = service.members().unwrap_or_default();
        for unit in members.all(id::USED_SERVICE_UNIT) {
            let unit = unit.members().unwrap_or_default();
            total.0 += unit.unsigned32(id::CC_TIME).unwrap_or(0);
            total.1 += unit.unsigned64(id::CC_SERVICE_SPECIFIC_UNITS).unwrap_or(0);
        }
    }
    total
}

/// Service-Specific-Data texts of an ACR's IMS-Information.
pub(crate) fn service_specific(sent: &Sent) -> Vec<String> {
    ims(sent)
        .all(id::SERVICE_SPECIFIC_INFO)
        .filter_map(|avp| Some(avp.members()?.text(id::SERVICE_SPECIFIC_DATA)?.to_owned()))
        .collect()
}

/// Members of IMS-Information.
pub(crate) fn ims(sent: &Sent) -> Vec<Avp> {
    let message = sent.message();
    let information = message.group(id::SERVICE_INFORMATION).unwrap_or_default();
    information.group(id::IMS_INFORMATION).unwrap_or_default().to_vec()
}

/// Cause-Code of an ACR or CCR.
pub(crate) fn cause_code(sent: &Sent) -> Option<i32> {
    ims(sent).as_slice().integer32(id::CAUSE_CODE)
}
