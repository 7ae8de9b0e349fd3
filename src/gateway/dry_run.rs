//! The gateway's own engine and routing, fed by hand: what it would send, and nothing is sent.
//!
//! Every commit is durable and every request is answered with success, at the instant that the
//! first trigger names; so the same bodies always give the same bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::step::{Core, Effect, Event, Outgoing};
use crate::charging::engine::{CallerId, Engine, Input, Seed};
use crate::charging::event::{Prefer, Request, Trigger};
use crate::charging::outcome::Reply;
use crate::charging::policy::Policy;
use crate::charging::provenance::{MessageTree, message_tree};
use crate::charging::request::Library;
use crate::clock::{Now, Wall};
use crate::diameter::{Avp, AvpList, Header, Limits, Message, Value, decode, id, result_code};
use crate::peer::PeerConfig;
use crate::peer::routing::Routes;
use crate::store::{CommitResult, Interface};

/// What the configuration says, as far as a message depends on it.
#[derive(Clone)]
pub struct DryParts {
    /// What is charged and how.
    pub policy: Arc<Policy>,
    /// Dictionary and mappings.
    pub library: Library,
    /// In the order of [`Policy::routes`].
    pub routes: Routes,
    /// In the order of [`Policy::peers`].
    pub peers: Vec<PeerConfig>,
}

/// An engine between a store that never fails and peers that always say yes.
pub struct DryRun {
    core: Core,
    library: Library,
    policy: Arc<Policy>,
    wall: Wall,
    calls: u64,
    sent: Vec<Outgoing>,
    reply: Option<Reply>,
}

impl DryRun {
    /// All peers are open; with `only`, no other peer of its interfaces is.
    pub fn new(parts: &DryParts, only: Option<usize>, wall: Wall) -> DryRun {
        let DryParts { policy, library, .. } = parts.clone();
        let seed = Seed {
            random: 1,
            end_to_end_first: 0,
            session_high: u32::try_from(wall.secs().max(1)).unwrap_or(u32::MAX),
            origin_state_id: u32::try_from(wall.secs().max(1)).unwrap_or(u32::MAX),
        };
        let mut engine = Engine::new(policy.clone(), library.clone(), seed);
        engine.keep_sources();
        let mut dry = DryRun {
            core: Core::new(engine, parts.routes.clone()),
            library,
            policy: policy.clone(),
            wall,
            calls: 0,
            sent: Vec::new(),
            reply: None,
        };
        // No time passes here, so that a rate would hold back what is to be shown.
        let unlimited = |peer: &PeerConfig| PeerConfig { rate: None, ..peer.clone() };
        dry.core.configure(&parts.peers.iter().map(unlimited).collect::<Vec<_>>());
        let wanted = only.map(|peer| interfaces(&policy, peer));
        for (peer, config) in parts.peers.iter().enumerate() {
            let usable = match &wanted {
                None => true,
                Some(wanted) => {
                    Some(peer) == only
                        || !interfaces(&policy, peer).iter().any(|i| wanted.contains(i))
                }
            };
            dry.feed(Event::Peer {
                peer,
                usable,
                origin_host: Some(host_of(&policy, peer)),
                applications: config.applications.iter().map(|one| one.id()).collect(),
            });
        }
        dry
    }

    /// One trigger: the messages that it makes, in their order, and the reply.
    pub fn trigger(&mut self, trigger: Trigger) -> (Vec<Outgoing>, Option<Reply>) {
        self.calls += 1;
        self.sent.clear();
        self.reply = None;
        let request = Request {
            trigger,
            prefer: Prefer::default(),
            client: String::new(),
            idempotency_key: None,
            fingerprint: [0; 32],
        };
        let caller = CallerId(self.calls);
        self.feed(Event::Engine(Input::Trigger { caller, request: Box::new(request) }));
        (std::mem::take(&mut self.sent), self.reply.take())
    }

    /// The tree of a message that [`DryRun::trigger`] returned, with the source of each AVP.
    pub fn tree(&self, out: &Outgoing) -> MessageTree {
        let end_to_end = Header::parse(&out.bytes).map_or(0, |header| header.end_to_end);
        let peer = self.policy.peers.get(out.peer).map_or("*", |peer| &peer.name);
        let sources = self.core.engine().sources(end_to_end);
        message_tree(out.bytes.clone(), &self.library.dictionary, peer, Some(sources))
    }

    fn feed(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut effects = Vec::new();
            self.core.step(event, Now::ZERO, self.wall, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Persist { batch, .. } => {
                        let result = CommitResult::Durable;
                        events.push_back(Event::Engine(Input::Committed { batch, result }));
                    }
                    Effect::Lookup { lookup, .. } => {
                        let found = Input::Found { lookup, key: None, session: None, error: None };
                        events.push_back(Event::Engine(found));
                    }
                    Effect::Send(out) => {
                        events.extend(self.success(&out).map(Event::Engine));
                        self.sent.push(out);
                    }
                    Effect::Reply { reply, .. } => self.reply = Some(reply),
                    _ => {}
                }
            }
        }
    }

    /// Sent, and answered 2001.
    fn success(&self, out: &Outgoing) -> [Input; 2] {
        let (token, peer) = (out.token, out.peer);
        let (request, _) = decode(&out.bytes, &self.library.dictionary, &Limits::default());
        let mut answer = Message::answer_to(&request.header);
        let copied = [
            id::SESSION_ID,
            id::AUTH_APPLICATION_ID,
            id::ACCT_APPLICATION_ID,
            id::CC_REQUEST_TYPE,
            id::CC_REQUEST_NUMBER,
            id::ACCOUNTING_RECORD_TYPE,
            id::ACCOUNTING_RECORD_NUMBER,
        ];
        for wanted in copied {
            answer.avps.extend(request.find(wanted).cloned());
        }
        answer.push(Avp::u32(id::RESULT_CODE, result_code::SUCCESS));
        let host = host_of(&self.policy, peer);
        let realm = self.policy.peers.get(peer).map(|peer| peer.realm.clone()).unwrap_or_default();
        answer.push(Avp::new(id::ORIGIN_HOST, Value::DiameterIdentity(host)));
        answer.push(Avp::new(id::ORIGIN_REALM, Value::DiameterIdentity(realm)));
        for service in request.all(id::MULTIPLE_SERVICES_CREDIT_CONTROL) {
            answer.avps.extend(granted(service));
        }
        let bytes = answer.encode(&self.library.dictionary);
        let round_trip = Duration::ZERO;
        [
            Input::Sent { token, peer },
            Input::Answer { token, peer, hop_by_hop: 0, bytes, round_trip },
        ]
    }
}

/// What was requested for a rating group is granted.
fn granted(service: &Avp) -> Option<Avp> {
    let members = service.members()?;
    let requested = members.group(id::REQUESTED_SERVICE_UNIT)?;
    let mut grant = vec![Avp::group(id::GRANTED_SERVICE_UNIT, requested.to_vec())];
    grant.extend(members.find(id::RATING_GROUP).cloned());
    grant.push(Avp::u32(id::RESULT_CODE, result_code::SUCCESS));
    Some(Avp::group(id::MULTIPLE_SERVICES_CREDIT_CONTROL, grant))
}

/// The peer's DiameterIdentity; one that is not pinned gets its name.
fn host_of(policy: &Policy, peer: usize) -> String {
    policy
        .peers
        .get(peer)
        .map(|peer| peer.host.clone().unwrap_or_else(|| peer.name.clone()))
        .unwrap_or_default()
}

/// The interfaces of the routes that name this peer.
pub fn interfaces(policy: &Policy, peer: usize) -> Vec<Interface> {
    let routes = policy.routes.iter().filter(|route| route.peers.contains(&peer));
    let found: BTreeMap<u8, Interface> = routes
        .map(|route| (u8::from(route.interface == Interface::Ch2), route.interface))
        .collect();
    found.into_values().collect()
}
