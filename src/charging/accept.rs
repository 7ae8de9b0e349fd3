//! Triggers that are new: from a call to records, all in one commit.

use std::time::Duration;

use super::counters::sum_entries;
use super::credit_control::State;
use super::engine::{
    Alarm, CallerId, Change, Checked, Effect, Engine, Fact, Timer, Waiter, natural_key, owner_of,
};
use super::event::{
    Cause, CauseKind, CloseTrigger, Content, Interfaces, InterimReason, OneTimeEvent,
    RatingGroupRef, Request, Start, Terminate, Trigger, UnitRequest, Units, UsageEntry,
};
use super::lookup::{idempotency_key, kind_of};
use super::outcome::{
    DecreasedTotal, MappingProblem, Refusal, Reply, ServiceAdvice, Subject, Warning,
};
use super::policy::{Model, Service};
use super::record::{Command, Record, Reported};
use super::reply;
use super::request::{MessageIds, Moment, build, reason};
use super::session::{
    Brief, Call, CallKey, CallKind, Closing, Decision, QueuedReport, RfLeg, RoLeg, Session,
};
use super::trigger::{Stop, Termination, find};
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
    fn rating_group(
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
    fn rating_group_name(&self, number: u32) -> Option<String> {
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
            domain: None,
            subscribers: session.content.subscriber.iter().map(|id| id.value.clone()).collect(),
            last_result: None,
            attempts: 0,
            requested: draft.requested,
            closing_only: false,
            backup: false,
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
            backoff: 0,
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
        });
        self.add_record(change, record);
        Ok(id)
    }

    fn keys_of(&self, request: &Request) -> Vec<CallKey> {
        let natural = natural_key(&request.trigger, request.fingerprint);
        let given = idempotency_key(request).map(|key| CallKey {
            scope: key.scope,
            key: key.key,
            fingerprint: request.fingerprint,
        });
        natural.into_iter().chain(given).collect()
    }

    /// Adds the call with its keys (claimed where they must be new) and its waiter.
    fn open_call(
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
    fn call_id(&mut self, session: &Session) -> u32 {
        loop {
            let id = u32::try_from(self.serial() & 0xffff_ffff).unwrap_or(0);
            if session.calls.iter().all(|call| call.id != id) {
                return id;
            }
        }
    }

    fn refuse_unmapped(&mut self, caller: CallerId, change: Change, mut why: Vec<MappingProblem>) {
        self.abandon(change);
        why.dedup();
        self.reply(caller, Reply::Refused(Refusal::MappingFailed(why)));
    }

    // Start.

    pub(super) fn accept_start(
        &mut self,
        caller: CallerId,
        request: Box<Request>,
        checked: Checked,
    ) {
        let Trigger::Start(start) = &request.trigger else { return };
        let service = self.service(start.service.as_ref()).cloned();
        let interfaces = start
            .interfaces
            .or(service.as_ref().map(|service| service.interfaces))
            .unwrap_or(self.policy.default_interfaces);
        let mut session = self.new_session(start, interfaces, service.as_ref());
        let mut problems = Vec::new();
        let requests = self.requests(&mut session, &start.request, &mut problems, interfaces.ch2);
        let mut change = self.begin_new(session);
        let sequence = start.sequence.unwrap_or(0);
        let call = self.open_call(&mut change, caller, &request, sequence, true);
        if problems.is_empty()
            && let Err(more) = self.start_records(&mut change, start, interfaces, call, requests)
        {
            problems.extend(more);
        }
        if !problems.is_empty() {
            self.refuse_unmapped(caller, change, problems);
            return;
        }
        let key = change.slot.session.key.clone();
        self.after(self.policy.termination.max_session, Timer::MaxSession(key));
        change.origin = Some((caller, request, checked));
        self.finish(change);
    }

    fn new_session(
        &self,
        start: &Start,
        interfaces: Interfaces,
        service: Option<&Service>,
    ) -> Session {
        Session {
            key: Session::session_key(&start.session_id),
            subject: Subject::Session(start.session_id.clone()),
            event: None,
            content: start.content.clone(),
            service: start.service.clone(),
            interfaces,
            opened_at: self.wall,
            ended_at: None,
            last_sequence: start.sequence.unwrap_or(0),
            messages: None,
            counters: Vec::new(),
            rf: None,
            ro: None,
            closing: None,
            orphan: false,
            decision: Decision::recorded(ServiceAdvice::Continue),
            debit: super::outcome::Debit::default(),
            records: Vec::new(),
            calls: Vec::new(),
            backup: None,
            model: service.map_or(Model::Scur, |service| service.model).into(),
            notify_uri: start.notify_uri.clone(),
            expires_at: self.wall + self.policy.termination.max_session,
        }
    }

    /// Requested units by rating group; a CCR-I without any asks for the service's group.
    fn requests(
        &self,
        session: &mut Session,
        requests: &[UnitRequest],
        problems: &mut Vec<MappingProblem>,
        online: bool,
    ) -> Vec<(u32, Units)> {
        let mut wanted = Vec::new();
        if !online {
            return wanted;
        }
        let whole = [UnitRequest { rating_group: None, units: Units::default() }];
        let listed = if requests.is_empty() { &whole[..] } else { requests };
        for (index, entry) in listed.iter().enumerate() {
            let pointer = match requests.is_empty() {
                true => "/service".to_owned(),
                false => format!("/request/{index}/ratingGroup"),
            };
            match self.rating_group(entry.rating_group.as_ref(), session.service.as_ref(), &pointer)
            {
                Ok(number) => {
                    self.know_group(session, number);
                    wanted.push((number, entry.units.clone()));
                }
                Err(problem) => problems.push(problem),
            }
        }
        wanted
    }

    fn start_records(
        &mut self,
        change: &mut Change,
        start: &Start,
        interfaces: Interfaces,
        call: u32,
        requests: Vec<(u32, Units)>,
    ) -> Result<(), Vec<MappingProblem>> {
        let mut acr = None;
        let mut ccr = None;
        if interfaces.ch1 {
            self.open_rf(change, 0)?;
            let moment = Moment {
                event: start.timestamp,
                sip_request: start.content.sip.request_timestamp,
                sip_response: start.content.sip.response_timestamp,
                ..Moment::default()
            };
            acr = Some(self.account(change, Command::AcrStart, moment, None)?);
        }
        if interfaces.ch2 {
            self.open_ro(change)?;
            self.took(super::credit_control::find(
                State::Idle,
                super::credit_control::Event::ServiceRequested,
                self.ccfh(&change.slot.session),
            ));
            let id = self.credit_initial(change, start.timestamp, &requests)?;
            ccr = Some(id);
        }
        let session = &mut change.slot.session;
        if let Some(call) = session.calls.iter_mut().find(|c| c.id == call) {
            call.acr = acr;
            call.ccr = ccr;
            if ccr.is_none() {
                call.decision = Some(Decision::recorded(ServiceAdvice::Continue));
            }
        }
        Ok(())
    }

    /// Gives the session its Rf leg.
    pub(super) fn open_rf(
        &mut self,
        change: &mut Change,
        first_number: u32,
    ) -> Result<(), Vec<MappingProblem>> {
        let route = self
            .route(Interface::Ch1, &change.slot.session.content)
            .ok_or_else(|| no_route("ch1"))?;
        let session_id = self.diameter_session_id(change.slot.session.subject.id());
        change.slot.session.rf = Some(RfLeg {
            session_id,
            next_number: first_number,
            queue: Vec::new(),
            route,
            server: None,
        });
        Ok(())
    }

    /// Gives the session its Ro leg.
    pub(super) fn open_ro(&mut self, change: &mut Change) -> Result<(), Vec<MappingProblem>> {
        let route = self
            .route(Interface::Ch2, &change.slot.session.content)
            .ok_or_else(|| no_route("ch2"))?;
        let session_id = self.diameter_session_id(change.slot.session.subject.id());
        change.slot.session.ro = Some(RoLeg {
            session_id,
            next_number: 0,
            state: State::Idle,
            server: None,
            server_peer: None,
            ccfh: None,
            failover: false,
            outstanding: None,
            queued_termination: false,
            queued_report: None,
            free: false,
            backup: false,
            denied: false,
            route,
            ddfh: None,
            told_denied: false,
        });
        Ok(())
    }

    // Interim.

    pub(super) fn accept_interim(
        &mut self,
        caller: CallerId,
        request: Box<Request>,
        checked: Checked,
    ) {
        let Trigger::Interim(interim) = &request.trigger else { return };
        let Some(mut change) = self.begin(&owner_of(&request.trigger)) else { return };
        let session = &change.slot.session;
        let last = session.last_sequence;
        let refusal =
            if session.closing.is_some() {
                Some(Refusal::SessionEnded { current: Box::new(session.view()) })
            } else {
                interim.sequence.filter(|sent| *sent < last).map(|sent| {
                    Refusal::SequenceOutOfOrder { sent, last, current: Box::new(session.view()) }
                })
            };
        if let Some(refusal) = refusal {
            self.abandon(change);
            self.reply(caller, Reply::Refused(refusal));
            return;
        }
        let mut problems = Vec::new();
        let decreased = self.use_up(&mut change.slot.session, &interim.usage, &mut problems);
        if !decreased.is_empty() && problems.is_empty() {
            self.abandon(change);
            self.reply(caller, Reply::Refused(Refusal::UsageDecreased(decreased)));
            return;
        }
        let online = change.slot.session.interfaces.ch2;
        let requests = if interim.request.is_empty() {
            Vec::new()
        } else {
            self.requests(&mut change.slot.session, &interim.request, &mut problems, online)
        };
        let sequence = interim.sequence.unwrap_or(last + 1);
        {
            let session = &mut change.slot.session;
            session.last_sequence = sequence;
            session.messages = interim.messages.or(session.messages);
            override_content(
                &mut session.content,
                interim.node.as_ref(),
                interim.participants,
                &interim.extensions,
            );
        }
        let call = self.open_call(&mut change, caller, &request, sequence, false);
        let timestamp = interim.timestamp;
        let why = self.interim_reason(&change.slot.session, interim.reason, timestamp);
        if problems.is_empty()
            && let Err(more) = self.interim_records(&mut change, timestamp, why, call, requests)
        {
            problems.extend(more);
        }
        if !problems.is_empty() {
            self.refuse_unmapped(caller, change, problems);
            return;
        }
        change.origin = Some((caller, request, checked));
        self.finish(change);
    }

    /// Left out: `validity` if the grant has run out by time, `quota` if usage reached it.
    fn interim_reason(&self, session: &Session, given: Option<InterimReason>, at: Wall) -> u8 {
        match given {
            Some(InterimReason::Quota) => reason::QUOTA_EXHAUSTED,
            Some(InterimReason::Threshold) => reason::THRESHOLD,
            Some(InterimReason::Validity) => reason::VALIDITY_TIME,
            Some(
                InterimReason::Participants | InterimReason::Media | InterimReason::RatingChange,
            ) => reason::RATING_CONDITION_CHANGE,
            None => {
                let grants =
                    || session.counters.iter().filter_map(|c| Some((c, c.grant.as_ref()?)));
                let late = grants().any(|(_, g)| g.valid_until.is_some_and(|until| at >= until));
                let used_up = grants().any(|(counter, grant)| {
                    let used = counter.total.minus(&counter.settled);
                    super::counters::UnitKind::ALL.iter().any(|kind| {
                        let granted = grant.units.amount(*kind);
                        granted.is_some_and(|granted| used.amount(*kind).unwrap_or(0) >= granted)
                    })
                });
                match (late, used_up) {
                    (true, _) => reason::VALIDITY_TIME,
                    (false, true) => reason::QUOTA_EXHAUSTED,
                    (false, false) => reason::RATING_CONDITION_CHANGE,
                }
            }
        }
    }

    fn interim_records(
        &mut self,
        change: &mut Change,
        timestamp: Wall,
        why: u8,
        call: u32,
        requests: Vec<(u32, Units)>,
    ) -> Result<(), Vec<MappingProblem>> {
        let mut acr = None;
        if change.slot.session.rf.is_some() {
            let moment = Moment { event: timestamp, ..Moment::default() };
            acr = Some(self.account(change, Command::AcrInterim, moment, None)?);
        }
        let mut ccr = None;
        let mut queued = false;
        let mut decision = None;
        match change.slot.session.ro.as_ref().map(|ro| ro.state) {
            None => decision = Some(Decision::recorded(ServiceAdvice::Continue)),
            Some(State::Open) => {
                ccr = Some(self.credit_update(change, timestamp, why, &requests)?);
            }
            Some(State::Idle | State::PendingE | State::PendingB) => {
                decision = Some(self.idle_decision(&change.slot.session));
            }
            Some(State::PendingI | State::PendingU | State::PendingT) => {
                queued = true;
                self.took(super::credit_control::find(
                    State::PendingU,
                    super::credit_control::Event::Report,
                    self.ccfh(&change.slot.session),
                ));
                if let Some(ro) = change.slot.session.ro.as_mut() {
                    let report = ro.queued_report.get_or_insert_with(QueuedReport::default);
                    report.timestamp = timestamp;
                    report.reason = why;
                    report.calls.push(call);
                    for (number, units) in requests {
                        let rating_group = Some(RatingGroupRef::Number(number));
                        report.request.retain(|known| known.rating_group != rating_group);
                        report.request.push(UnitRequest { rating_group, units });
                    }
                }
            }
        }
        if let Some(call) = change.slot.session.calls.iter_mut().find(|c| c.id == call) {
            call.acr = acr;
            call.ccr = ccr;
            call.queued = queued;
            call.decision = decision;
        }
        Ok(())
    }

    /// Takes cumulative totals; returns those that went backwards.
    fn use_up(
        &self,
        session: &mut Session,
        usage: &[UsageEntry],
        problems: &mut Vec<MappingProblem>,
    ) -> Vec<DecreasedTotal> {
        let mut groups: Vec<(u32, usize)> = Vec::new();
        for (index, entry) in usage.iter().enumerate() {
            let pointer = format!("/usage/{index}/ratingGroup");
            let found =
                self.rating_group(entry.rating_group.as_ref(), session.service.as_ref(), &pointer);
            match found {
                Ok(number) => groups.push((number, index)),
                // On CH-1 alone usage needs no rating group.
                Err(_) if entry.rating_group.is_none() && !session.interfaces.ch2 => {
                    groups.push((0, index));
                }
                Err(problem) => problems.push(problem),
            }
        }
        let mut decreased = Vec::new();
        let mut seen: Vec<u32> = Vec::new();
        for (number, first) in &groups {
            if seen.contains(number) {
                continue;
            }
            seen.push(*number);
            let entries = groups.iter().filter(|(n, _)| n == number).map(|(_, i)| &usage[*i]);
            let total = sum_entries(entries);
            self.know_group(session, *number);
            for (unit, before, now) in session.counter(*number).raise(&total) {
                let pointer = format!("/usage/{first}/units/{unit}");
                decreased.push(DecreasedTotal { pointer, before, now });
            }
        }
        decreased
    }

    // Terminate.

    pub(super) fn accept_terminate(
        &mut self,
        caller: CallerId,
        request: Box<Request>,
        checked: Checked,
    ) {
        let Trigger::Terminate(terminate) = &request.trigger else { return };
        let Some(mut change) = self.begin(&owner_of(&request.trigger)) else { return };
        let session = &change.slot.session;
        let last = session.last_sequence;
        let sequence = terminate.sequence.unwrap_or(last + 1);
        let first = session.closing.is_none();
        let mut warnings =
            if first { Vec::new() } else { reply::late_warnings(terminate, session) };
        if first && sequence < last {
            warnings.push(reply::out_of_order(sequence, last));
        }
        let call = self.open_call(&mut change, caller, &request, sequence, false);
        change.slot.session.last_sequence = last.max(sequence);
        let result = if first {
            self.first_close(&mut change, terminate, &mut warnings)
        } else {
            self.later_close(&mut change, terminate)
        };
        if let Err(problems) = result {
            self.refuse_unmapped(caller, change, problems);
            return;
        }
        self.close_call(&mut change, call, terminate.trigger, first, warnings);
        change.origin = Some((caller, request, checked));
        self.finish(change);
    }

    /// What the terminate's call waits for.
    fn close_call(
        &mut self,
        change: &mut Change,
        call: u32,
        trigger: CloseTrigger,
        first: bool,
        warnings: Vec<Warning>,
    ) {
        let session = &change.slot.session;
        let find = |command: Command| {
            session.records.iter().rev().find(|brief| brief.command == command).map(|b| b.id)
        };
        let denied_at_start = session.closing.as_ref().is_some_and(|c| c.trigger.is_none());
        let acr = find(Command::AcrStop);
        let ccr = find(Command::CcrTermination).filter(|_| !denied_at_start);
        let queued = session.ro.as_ref().is_some_and(|ro| ro.queued_termination);
        let told = ccr.and_then(|id| session.brief(id)).and_then(|brief| brief.decision.clone());
        let decision = match () {
            // `bye-ok-received` after an already sent CCR-T never waits for it.
            () if !first && trigger == CloseTrigger::ByeOkReceived && (queued || ccr.is_some()) => {
                Some(told.unwrap_or_else(|| {
                    reply::current(session, CallKind::Terminate, Vec::new()).into()
                }))
            }
            () if queued || ccr.is_some() => None,
            () => Some(session.decision.clone()),
        };
        if let Some(call) = change.slot.session.calls.iter_mut().find(|c| c.id == call) {
            call.acr = acr;
            call.ccr = ccr;
            call.queued = queued && ccr.is_none();
            call.decision = decision;
            call.warnings = warnings;
        }
    }

    fn first_close(
        &mut self,
        change: &mut Change,
        terminate: &Terminate,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), Vec<MappingProblem>> {
        let mut problems = Vec::new();
        let decreased = self.use_up(&mut change.slot.session, &terminate.usage, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        for total in decreased {
            warnings.push(Warning {
                code: "usage-decreased".to_owned(),
                detail: format!(
                    "{} went from {} to {}; it counts as unchanged",
                    total.pointer, total.before, total.now
                ),
            });
        }
        let session = &mut change.slot.session;
        session.messages = terminate.messages.or(session.messages);
        override_content(
            &mut session.content,
            terminate.node.as_ref(),
            terminate.participants,
            &terminate.extensions,
        );
        let (cause_code, termination_cause) =
            cause_codes(terminate.trigger, terminate.cause.as_ref());
        let bye = matches!(terminate.trigger, CloseTrigger::ByeReceived | CloseTrigger::ByeSent);
        let kind = terminate.cause.as_ref().map(|cause| cause.kind);
        let closing = Closing {
            trigger: Some(terminate.trigger),
            timestamp: terminate.timestamp,
            cause_code,
            termination_cause,
            reason_header: terminate
                .cause
                .as_ref()
                .map(|cause| cause.reason_header.clone())
                .unwrap_or_default(),
            bye_at: bye.then_some(terminate.timestamp),
            armed: None,
            reason: if kind == Some(CauseKind::MaxDuration) { "expired" } else { "normal" }
                .to_owned(),
        };
        self.close(change, terminate.trigger, closing)
    }

    /// The first closing trigger, whoever it comes from: the table decides.
    pub(super) fn close(
        &mut self,
        change: &mut Change,
        trigger: CloseTrigger,
        closing: Closing,
    ) -> Result<(), Vec<MappingProblem>> {
        let session = &mut change.slot.session;
        let (phase, leg) = (session.phase(), session.leg());
        let Some(row) = find(phase, trigger, session.rf.is_some(), leg) else { return Ok(()) };
        session.closing = Some(closing);
        change.dirty = true;
        self.fact(Fact::Took(row.id));
        match row.stop {
            Stop::Now => drop(self.stop_now(change, trigger)?),
            Stop::Armed => self.arm_stop(change)?,
            Stop::Release | Stop::None => {}
        }
        match row.termination {
            Termination::Now => self.terminate_now(change)?,
            Termination::Queued => {
                if let Some(ro) = change.slot.session.ro.as_mut() {
                    ro.queued_termination = true;
                }
            }
            Termination::None => self.close_idle(change),
        }
        Ok(())
    }

    /// A later closing trigger can only advance an armed STOP.
    fn later_close(
        &mut self,
        change: &mut Change,
        terminate: &Terminate,
    ) -> Result<(), Vec<MappingProblem>> {
        let session = &change.slot.session;
        let row = find(session.phase(), terminate.trigger, session.rf.is_some(), session.leg());
        let Some(row) = row else { return Ok(()) };
        self.fact(Fact::Took(row.id));
        if row.stop == Stop::Release {
            self.release_stop(change, terminate)?;
        }
        Ok(())
    }

    /// A terminate for a session that was never started here.
    pub(super) fn accept_orphan(
        &mut self,
        caller: CallerId,
        request: Box<Request>,
        checked: Checked,
    ) {
        let Trigger::Terminate(terminate) = &request.trigger else { return };
        let given = terminate.session.as_deref();
        let service = given.and_then(|start| start.service.clone());
        let interfaces = given
            .and_then(|start| start.interfaces)
            .or_else(|| self.service(service.as_ref()).map(|service| service.interfaces))
            .unwrap_or(self.policy.default_interfaces);
        if !self.policy.accept_orphans || !interfaces.ch1 {
            self.reply(caller, Reply::Refused(Refusal::UnknownSession));
            return;
        }
        let start = Start {
            session_id: terminate.session_id.clone(),
            sequence: None,
            timestamp: terminate.timestamp,
            interfaces: None,
            service,
            content: Session::content_of(given),
            request: Vec::new(),
            notify_uri: given.and_then(|start| start.notify_uri.clone()),
        };
        let offline = Interfaces { ch1: true, ch2: false };
        let mut session = self.new_session(&start, offline, None);
        session.orphan = true;
        session.decision = Decision::recorded(ServiceAdvice::Stop);
        let mut change = self.begin_new(session);
        let sequence = terminate.sequence.unwrap_or(0);
        let call = self.open_call(&mut change, caller, &request, sequence, false);
        change.slot.session.last_sequence = sequence;
        // A later start with this id is 409: the id is used up.
        let key = CallKey {
            scope: "start".to_owned(),
            key: terminate.session_id.clone(),
            fingerprint: [0; 32],
        };
        change.claims.push(key.name());
        change.keys.push(KeyRow {
            key: key.name(),
            fingerprint: key.fingerprint,
            subject: change.slot.session.key.clone(),
            answer: None,
            expires_at: self.wall + self.policy.key_lifetime,
        });
        let mut warnings = Vec::new();
        // STOP_RECORD number 1: 0 stays with the START that was never seen.
        let result = self
            .open_rf(&mut change, 1)
            .and_then(|()| self.first_close(&mut change, terminate, &mut warnings));
        if let Err(problems) = result {
            self.refuse_unmapped(caller, change, problems);
            return;
        }
        self.close_call(&mut change, call, terminate.trigger, true, warnings);
        change.origin = Some((caller, request, checked));
        self.finish(change);
    }

    // Events.

    pub(super) fn accept_event(
        &mut self,
        caller: CallerId,
        request: Box<Request>,
        checked: Checked,
    ) {
        let Trigger::Event(event) = &request.trigger else { return };
        let service = self.service(Some(&event.service)).cloned();
        let online_only = event.action != super::event::EventAction::Debit;
        let interfaces = event.interfaces.unwrap_or_else(|| {
            if online_only {
                return Interfaces { ch1: false, ch2: true };
            }
            service.as_ref().map_or(self.policy.default_interfaces, |service| service.interfaces)
        });
        let mut session = self.event_session(event, interfaces);
        let mut problems = Vec::new();
        let mut group = None;
        if interfaces.ch2 {
            let name = Some(event.service.clone());
            match self.rating_group(event.rating_group.as_ref(), name.as_ref(), "/ratingGroup") {
                Ok(number) => {
                    self.know_group(&mut session, number);
                    group = Some(number);
                }
                Err(problem) => problems.push(problem),
            }
        }
        let mut change = self.begin_new(session);
        let sequence = event.sequence.unwrap_or(0);
        let call = self.open_call(&mut change, caller, &request, sequence, true);
        if problems.is_empty()
            && let Err(more) = self.event_records(&mut change, event, interfaces, call, group)
        {
            problems.extend(more);
        }
        if !problems.is_empty() {
            self.refuse_unmapped(caller, change, problems);
            return;
        }
        change.origin = Some((caller, request, checked));
        self.finish(change);
    }

    fn event_session(&self, event: &OneTimeEvent, interfaces: Interfaces) -> Session {
        let start = Start {
            session_id: event.event_id.clone(),
            sequence: event.sequence,
            timestamp: event.timestamp,
            interfaces: None,
            service: Some(event.service.clone()),
            content: event.content.clone(),
            request: Vec::new(),
            notify_uri: event.notify_uri.clone(),
        };
        let mut session = self.new_session(&start, interfaces, None);
        session.key = Session::event_key(event);
        session.subject = Subject::Event(event.event_id.clone());
        session.event = Some(event.clone());
        session
    }

    fn event_records(
        &mut self,
        change: &mut Change,
        event: &OneTimeEvent,
        interfaces: Interfaces,
        call: u32,
        group: Option<u32>,
    ) -> Result<(), Vec<MappingProblem>> {
        let cause_code = event.cause.as_ref().map(|cause| match cause.kind {
            CauseKind::Normal => -1,
            _ => cause_codes(CloseTrigger::Aborted, Some(cause)).0,
        });
        let moment = Moment {
            event: event.timestamp,
            sip_request: event.content.sip.request_timestamp,
            sip_response: event.content.sip.response_timestamp,
            cause_code,
            reason_header: event
                .cause
                .as_ref()
                .map(|cause| cause.reason_header.clone())
                .unwrap_or_default(),
            ..Moment::default()
        };
        let mut acr = None;
        let mut ccr = None;
        if interfaces.ch1 {
            self.open_rf(change, 0)?;
            acr = Some(self.account(change, Command::AcrEvent, moment.clone(), None)?);
        }
        if let Some(group) = group {
            self.open_ro(change)?;
            ccr = Some(self.credit_event(change, event, group, moment)?);
        }
        if let Some(call) = change.slot.session.calls.iter_mut().find(|c| c.id == call) {
            call.acr = acr;
            call.ccr = ccr;
            if ccr.is_none() {
                call.decision = Some(Decision::recorded(ServiceAdvice::Continue));
            }
        }
        Ok(())
    }

    /// `termination.max_session`: the session ends as `aborted`, kind `max-duration`.
    pub(super) fn max_session(&mut self, change: &mut Change) {
        if change.slot.session.closing.is_some() || change.slot.session.event.is_some() {
            return;
        }
        let cause =
            Cause { kind: CauseKind::MaxDuration, sip_status: None, reason_header: Vec::new() };
        let (cause_code, termination_cause) = cause_codes(CloseTrigger::Aborted, Some(&cause));
        let closing = Closing {
            trigger: Some(CloseTrigger::Aborted),
            timestamp: self.wall,
            cause_code,
            termination_cause,
            reason_header: Vec::new(),
            bye_at: None,
            armed: None,
            reason: "expired".to_owned(),
        };
        if let Err(problems) = self.close(change, CloseTrigger::Aborted, closing) {
            self.alarm(Alarm::CannotClose, None, format!("{problems:?}"));
        }
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

fn no_route(interface: &str) -> Vec<MappingProblem> {
    vec![MappingProblem {
        pointer: Some("/interfaces".to_owned()),
        place: None,
        detail: format!("no route for {interface} fits this request"),
    }]
}

/// Later bodies override the start's.
fn override_content(
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
fn routing_trees(content: &Content) -> Vec<Value> {
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
