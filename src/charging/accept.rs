//! What all new triggers share: rating groups, routes, keys, calls, and the making of a record.

use std::time::Duration;

use super::commit::{Change, Effect, Waiter};
use super::engine::{CallerId, Engine, Timer, natural_key};
use super::event::{Cause, CauseKind, CloseTrigger, Content, RatingGroupRef, Request};
use super::lookup::{idempotency_key, kind_of};
use super::outcome::{MappingProblem, Refusal, Reply};
use super::policy::Service;
use super::provenance::sources;
use super::record::{Command, Record, Reported};
use super::request::{MessageIds, Moment, build};
use super::session::{Brief, Call, CallKey, Decision, Session};
use crate::clock::Wall;
use crate::mapping::Value;
use crate::store::{Interface, KeyRow, RecordId, RecordState};

/// A record to be made.
pub(super) struct Draft {
    pub command: Command,
    pub session_id: String,
    pub number: u32,
    pub route: usize,
    pub moment: Moment,
    pub reported: Vec<Reported>,
    pub requested: Vec<u32>,
    pub due_at: Option<Wall>,
}

/// The cause table of api.md section 1: Cause-Code, Termination-Cause.
pub(super) fn cause_codes(trigger: CloseTrigger, cause: Option<&Cause>) -> (i32, i32) {
    let default = match trigger {
        CloseTrigger::Aborted => CauseKind::InternalError,
        _ => CauseKind::Normal,
    };
    let kind = cause.map_or(default, |cause| cause.kind);
    let status = cause.and_then(|cause| cause.sip_status).map(i32::from);
    match kind {
        CauseKind::Normal if trigger == CloseTrigger::ByeReceived => (0, 1),
        CauseKind::Normal | CauseKind::QuotaExhausted => (0, 4),
        CauseKind::Inactivity | CauseKind::MaxDuration => (0, 8),
        CauseKind::LinkLost => (status.unwrap_or(1), 5),
        CauseKind::SetupFailed => (2, 2),
        CauseKind::InternalError => (3, 4),
        CauseKind::SipError => (status.unwrap_or(1), 5),
    }
}

impl Engine {
    // Small parts.

    /// The service's entry, if the configuration has one.
    pub(super) fn service(&self, name: Option<&String>) -> Option<&Service> {
        self.policy.services.get(name?)
    }

    /// A rating group as a number.
    pub(super) fn rating_group(
        &self,
        group: Option<&RatingGroupRef>,
        service: Option<&String>,
        pointer: &str,
    ) -> Result<u32, MappingProblem> {
        match group {
            Some(RatingGroupRef::Number(number)) => Ok(*number),
            Some(RatingGroupRef::Name(name)) => self
                .policy
                .rating_groups
                .get(name)
                .copied()
                .or_else(|| self.policy.services.get(name)?.rating_group)
                .ok_or_else(|| MappingProblem {
                    pointer: Some(pointer.to_owned()),
                    place: None,
                    detail: format!(
                        "rating group `{name}` is neither a service with a rating group nor a key \
                         of `rating_groups`"
                    ),
                }),
            None => {
                self.service(service).and_then(|service| service.rating_group).ok_or_else(|| {
                    MappingProblem {
                        pointer: Some(pointer.to_owned()),
                        place: None,
                        detail: "the service has no `rating_group`; name one".to_owned(),
                    }
                })
            }
        }
    }

    /// The name of a rating group in the configuration.
    pub(super) fn rating_group_name(&self, number: u32) -> Option<String> {
        let table = self.policy.rating_groups.iter().find(|(_, group)| **group == number);
        table.map(|(name, _)| name.clone()).or_else(|| {
            let services = &self.policy.services;
            services
                .iter()
                .find(|(_, service)| service.rating_group == Some(number))
                .map(|(name, _)| name.clone())
        })
    }

    /// Makes sure that the session counts this rating group.
    pub(super) fn know_group(&self, session: &mut Session, number: u32) {
        let name = self.rating_group_name(number);
        let service_id = self
            .policy
            .services
            .values()
            .find(|service| service.rating_group == Some(number))
            .or_else(|| self.service(session.service.as_ref()))
            .and_then(|service| service.service_id);
        let counter = session.counter(number);
        counter.name = name;
        counter.service_id = service_id;
    }

    /// Index of the route for an interface: those with a condition first.
    pub(super) fn route(&self, interface: Interface, content: &Content) -> Option<usize> {
        self.policy.routes.iter().position(|route| {
            route.interface == interface
                && route
                    .when
                    .as_ref()
                    .is_none_or(|when| routing_trees(content).iter().any(|tree| when.holds(tree)))
        })
    }

    /// The peer whose mapping, realm and context a new record takes: the first usable one.
    pub(super) fn model_peer(&self, route: usize) -> Option<usize> {
        let peers = &self.policy.routes.get(route)?.peers;
        let usable = |peer: &&usize| self.usable.get(**peer).copied().unwrap_or(false);
        peers.iter().find(usable).or_else(|| peers.first()).copied()
    }

    /// Builds the message and adds the record to the change.
    pub(super) fn draft(
        &mut self,
        change: &mut Change,
        draft: Draft,
    ) -> Result<RecordId, Vec<MappingProblem>> {
        let problem = |detail: &str| {
            vec![MappingProblem { pointer: None, place: None, detail: detail.to_owned() }]
        };
        let peer = self.model_peer(draft.route).ok_or_else(|| problem("the route has no peer"))?;
        let end_to_end = self
            .next_end_to_end()
            .ok_or_else(|| problem("no End-to-End Identifier is reserved yet; try again"))?;
        let policy = self.policy.clone();
        let ids = MessageIds {
            session_id: &draft.session_id,
            number: draft.number,
            end_to_end,
            origin_state_id: self.origin_state_id,
        };
        let session = &change.slot.session;
        let message = build(
            &self.library,
            &policy,
            &policy.peers[peer],
            draft.command,
            &ids,
            session,
            &draft.moment,
        )?;
        if let Some(kept) = &mut self.sources {
            let (peer, session) = (&policy.peers[peer], &change.slot.session);
            let of = sources(&self.library, &policy, peer, draft.command, session, &draft.moment);
            kept.insert(end_to_end, of);
        }
        let id = self.record_id();
        let record = Record {
            id,
            owner: session.key.clone(),
            command: draft.command,
            number: draft.number,
            end_to_end,
            diameter_session_id: draft.session_id.clone(),
            message,
            created_at: self.wall,
            state: RecordState::Waiting,
            due_at: draft.due_at,
            first_sent_at: Some(self.wall),
            error_mark: false,
            route: draft.route,
            reported: draft.reported,
            // Before the first copy leaves, for good: which peer got it may not survive a crash, and
            // a copy in another domain would be charged again. Destination-Realm is this peer's too.
            domain: (draft.command.interface() == Interface::Ch2)
                .then(|| policy.peers[peer].dedup_domain.clone()),
            subscribers: session.content.subscriber.iter().map(|id| id.value.clone()).collect(),
            last_result: None,
            attempts: 0,
            requested: draft.requested,
            closing_only: false,
            backup: false,
            unasked: false,
            recovered: false,
            copies: Vec::new(),
            unanswered: false,
            tried: Vec::new(),
            expired: 0,
            sent_at: None,
            parked: false,
            unmarking: false,
            repeated: false,
            durable: None,
            stored: false,
            backoff: 0,
            copies_made: 0,
            leaving: false,
        };
        change.slot.session.records.push(Brief {
            id,
            command: draft.command,
            number: draft.number,
            state: RecordState::Waiting,
            result: None,
            services: Vec::new(),
            peer: None,
            attempts: 0,
            created_at: self.wall,
            round_trip_micros: None,
            hop_by_hop: None,
            end_to_end,
            diameter_session_id: draft.session_id,
            due_at: draft.due_at,
            decision: None,
            failed: false,
            told_pending: false,
        });
        self.add_record(change, record);
        Ok(id)
    }

    pub(super) fn keys_of(&self, request: &Request) -> Vec<CallKey> {
        let natural = natural_key(&request.trigger, request.fingerprint);
        let given = idempotency_key(request).map(|key| CallKey {
            scope: key.scope,
            key: key.key,
            fingerprint: request.fingerprint,
        });
        natural.into_iter().chain(given).collect()
    }

    /// Adds the call with its keys (claimed where they must be new) and its waiter.
    pub(super) fn open_call(
        &mut self,
        change: &mut Change,
        caller: CallerId,
        request: &Request,
        sequence: u64,
        claim: bool,
    ) -> u32 {
        let keys = self.keys_of(request);
        let id = self.call_id(&change.slot.session);
        let session = &mut change.slot.session;
        for key in &keys {
            if claim || key.scope.starts_with("client:") {
                change.claims.push(key.name());
            }
            change.keys.push(KeyRow {
                key: key.name(),
                fingerprint: key.fingerprint,
                subject: session.key.clone(),
                answer: None,
                expires_at: self.wall + self.policy.key_lifetime,
            });
        }
        session.calls.push(Call {
            id,
            kind: kind_of(&request.trigger),
            sequence,
            keys,
            ccr: None,
            queued: false,
            acr: None,
            decision: None,
            warnings: Vec::new(),
        });
        let aca_until = self.aca_until(request);
        change.slot.waiters.push(Waiter {
            caller,
            call: id,
            replayed: false,
            at_once: request.prefer.wait_secs == Some(0),
            aca_until,
        });
        let key = change.slot.session.key.clone();
        self.after(self.policy.max_wait, Timer::Wait(key.clone(), id));
        if let Some(until) = aca_until {
            self.at(until, Timer::Wait(key, id));
        }
        change.dirty = true;
        id
    }

    /// A number that no call of the session has; timers of a call that was undone mean another.
    pub(super) fn call_id(&mut self, session: &Session) -> u32 {
        loop {
            let id = u32::try_from(self.serial() & 0xffff_ffff).unwrap_or(0);
            if session.calls.iter().all(|call| call.id != id) {
                return id;
            }
        }
    }

    pub(super) fn refuse_unmapped(
        &mut self,
        caller: CallerId,
        change: Change,
        mut why: Vec<MappingProblem>,
    ) {
        self.abandon(change);
        why.dedup();
        self.reply(caller, Reply::Refused(Refusal::MappingFailed(why)));
    }

    /// Sends a record after the commit.
    pub(super) fn send(&mut self, change: &mut Change, id: RecordId, why: &'static str) {
        change.effects.push(Effect::Send(id, why));
        change.dirty = true;
    }

    /// Time for one Tx of a record.
    pub(super) fn tx(&self, route: usize, command: Command) -> Duration {
        let peer = self.model_peer(route).and_then(|peer| self.policy.peers.get(peer));
        peer.map_or(Duration::from_secs(10), |peer| {
            peer.command_timeouts.get(command.name()).copied().unwrap_or(peer.timeout)
        })
    }
}

impl From<super::outcome::Answer> for Decision {
    fn from(answer: super::outcome::Answer) -> Decision {
        Decision { outcome: answer.outcome, basis: answer.basis, advice: answer.advice }
    }
}

pub(super) fn no_route(interface: &str) -> Vec<MappingProblem> {
    vec![MappingProblem {
        pointer: Some("/interfaces".to_owned()),
        place: None,
        detail: format!("no route for {interface} fits this request"),
    }]
}

/// Later bodies override the start's.
pub(super) fn override_content(
    content: &mut Content,
    node: Option<&String>,
    participants: Option<u64>,
    extensions: &[(String, String)],
) {
    if let Some(node) = node {
        content.node = Some(node.clone());
    }
    content.participants = participants.or(content.participants);
    for (name, value) in extensions {
        match content.extensions.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => known.clone_from(value),
            None => content.extensions.push((name.clone(), value.clone())),
        }
    }
}

/// What a route's `when` sees: an MCC and MNC has 5 or 6 digits, so there are two trees.
pub(super) fn routing_trees(content: &Content) -> Vec<Value> {
    use super::event::IdentityType;
    let text = |kind: IdentityType| {
        let found = content.subscriber.iter().find(|identity| identity.kind == kind);
        found.map_or(Value::Null, |identity| Value::Text(identity.value.clone()))
    };
    let imsi = content.subscriber.iter().find(|identity| identity.kind == IdentityType::Imsi);
    let tree = |digits: usize| {
        let mccmnc = imsi.and_then(|imsi| imsi.value.get(..digits));
        let subscriber = Value::map([
            ("mccmnc", mccmnc.map_or(Value::Null, |text| Value::Text(text.to_owned()))),
            ("e164", text(IdentityType::E164)),
            ("imsi", text(IdentityType::Imsi)),
            ("sip", text(IdentityType::Sip)),
        ]);
        Value::map([("subscriber", subscriber)])
    };
    vec![tree(5), tree(6)]
}
