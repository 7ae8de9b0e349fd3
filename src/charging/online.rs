//! The Ro leg: CCR-I, U and T of a session by tables 3 and 4 of RFC 8506, section 7.

use std::time::Duration;

use super::accept::Draft;
use super::commit::Change;
use super::counters::{Counter, UnitKind};
use super::credit_control::{Event, Row, State, Step, find};
use super::engine::{Alarm, Engine, Fact};
use super::event::{RatingGroupRef, Units};
use super::outcome::{Basis, MappingProblem, Outcome, ServiceAdvice};
use super::policy::Ccfh;
use super::quota;
use super::reading::Reading;
use super::record::{Command, Reported};
use super::request::{Moment, ServiceUnits, UsedUnits, reason};
use super::session::{Closing, Decision, QueuedReport, Session};
use crate::clock::Wall;
use crate::store::{RecordId, RecordState};

impl Engine {
    /// The CCFH in force: the last CCA's, else the configured one.
    pub(super) fn ccfh(&self, session: &Session) -> Ccfh {
        let told = session.ro.as_ref().and_then(|ro| ro.ccfh);
        told.unwrap_or(self.policy.failure.on_no_answer)
    }

    pub(super) fn took(&mut self, row: Option<&'static Row>) {
        if let Some(row) = row {
            self.fact(Fact::Took(row.id));
        }
    }

    /// How long a CCR is tried (`termination.settle_within`).
    pub(super) fn settle_within(&self, route: usize) -> Duration {
        self.policy.termination.settle_within.unwrap_or_else(|| {
            (self.tx(route, Command::CcrTermination) * 3).max(Duration::from_secs(3))
        })
    }

    // Requests.

    pub(super) fn credit_initial(
        &mut self,
        change: &mut Change,
        timestamp: Wall,
        requests: &[(u32, Units)],
    ) -> Result<RecordId, Vec<MappingProblem>> {
        let ccfh = self.ccfh(&change.slot.session);
        self.took(find(State::Idle, Event::ServiceRequested, ccfh));
        let session = &mut change.slot.session;
        let services: Vec<ServiceUnits> = requests
            .iter()
            .map(|(number, units)| {
                let counter = session.counter(*number);
                counter.online = true;
                counter.asked = units.clone();
                ServiceUnits {
                    rating_group: *number,
                    service_id: counter.service_id,
                    requested: Some(units.clone()),
                    ..ServiceUnits::default()
                }
            })
            .collect();
        let moment = Moment {
            event: timestamp,
            sip_request: session.content.sip.request_timestamp,
            sip_response: session.content.sip.response_timestamp,
            services,
            ..Moment::default()
        };
        self.credit(change, Command::CcrInitial, State::PendingI, moment)
    }

    pub(super) fn credit_update(
        &mut self,
        change: &mut Change,
        event: Event,
        timestamp: Wall,
        why: u8,
        requests: &[(u32, Units)],
    ) -> Result<RecordId, Vec<MappingProblem>> {
        let row = find(State::Open, event, self.ccfh(&change.slot.session));
        self.took(row);
        let granted_only = self.granted_only(change);
        for (number, units) in requests {
            let counter = change.slot.session.counter(*number);
            counter.online = true;
            counter.asked = units.clone();
        }
        let every: Vec<ServiceUnits> = services(&change.slot.session)
            .map(|counter| {
                let used = new_units(&change.slot.session, counter, granted_only);
                ServiceUnits {
                    rating_group: counter.rating_group,
                    service_id: counter.service_id,
                    requested: requests
                        .iter()
                        .find(|(number, _)| *number == counter.rating_group)
                        .map(|(_, units)| units.clone()),
                    reason: (!used.is_empty()).then_some(why),
                    used,
                    ..ServiceUnits::default()
                }
            })
            .collect();
        let news = |service: &&ServiceUnits| {
            service.requested.is_some() || service.used.iter().any(|used| !used.units.is_zero())
        };
        let some: Vec<ServiceUnits> = every.iter().filter(news).cloned().collect();
        let services = if some.is_empty() { every } else { some };
        let moment = Moment { event: timestamp, services, ..Moment::default() };
        self.credit(change, Command::CcrUpdate, State::PendingU, moment)
    }

    /// The CCR-T of a session that is closed.
    pub(super) fn terminate_now(
        &mut self,
        change: &mut Change,
        event: Event,
    ) -> Result<(), Vec<MappingProblem>> {
        let Some(closing) = change.slot.session.closing.clone() else { return Ok(()) };
        let row = find(State::Open, event, self.ccfh(&change.slot.session));
        self.took(row);
        let services = self.final_services(change, false);
        let moment = Moment {
            sip_request: closing.bye_at,
            services,
            ..super::offline::closing_moment(&closing)
        };
        self.credit(change, Command::CcrTermination, State::PendingT, moment)?;
        Ok(())
    }

    /// CCR-T number 1 with zero units: closes what the OCS opened and nobody uses.
    pub(super) fn close_unused(&mut self, change: &mut Change) {
        let services = self.final_services(change, true);
        let moment = Moment {
            event: self.wall,
            method: "BYE",
            cause_code: Some(2),
            termination_cause: Some(2),
            services,
            ..Moment::default()
        };
        match self.credit(change, Command::CcrTermination, State::PendingT, moment) {
            Ok(id) => {
                if let Some(record) = self.touch(change, id) {
                    record.closing_only = true;
                }
            }
            Err(problems) => self.alarm(Alarm::CannotClose, None, format!("{problems:?}")),
        }
    }

    /// FINAL in every MSCC; what is new, and 0 for every granted type not given.
    pub(super) fn final_services(&self, change: &Change, zero: bool) -> Vec<ServiceUnits> {
        let granted_only = self.granted_only(change);
        let session = &change.slot.session;
        let of_group = |counter: &Counter| ServiceUnits {
            rating_group: counter.rating_group,
            service_id: counter.service_id,
            used: if zero {
                vec![UsedUnits { tariff: None, units: zeros(counter) }]
            } else {
                let used = new_units(session, counter, granted_only);
                let nothing = || vec![UsedUnits { tariff: None, units: zeros(counter) }];
                if used.is_empty() { nothing() } else { used }
            },
            reason: Some(reason::FINAL),
            ..ServiceUnits::default()
        };
        services(session).map(of_group).collect()
    }

    pub(super) fn granted_only(&self, change: &Change) -> bool {
        let route = change.slot.session.ro.as_ref().map(|ro| ro.route);
        let peer = route.and_then(|route| self.model_peer(route));
        peer.and_then(|peer| self.policy.peers.get(peer)).is_some_and(|p| p.report_granted_only)
    }

    /// Makes the next CCR of the session and sends it.
    pub(super) fn credit(
        &mut self,
        change: &mut Change,
        command: Command,
        next: State,
        moment: Moment,
    ) -> Result<RecordId, Vec<MappingProblem>> {
        let Some(ro) = change.slot.session.ro.as_ref() else { return Err(Vec::new()) };
        let (session_id, number, route) = (ro.session_id.clone(), ro.next_number, ro.route);
        let service = self.service_label(&change.slot.session);
        let mut reported = Vec::new();
        for wanted in &moment.services {
            self.unit_facts(&service, "requested", wanted.requested.as_ref());
            for used in &wanted.used {
                self.unit_facts(&service, "used", Some(&used.units));
                reported.push(Reported {
                    rating_group: wanted.rating_group,
                    units: used.units.clone(),
                    tariff: used.tariff,
                });
            }
        }
        let requested = moment
            .services
            .iter()
            .filter(|service| service.requested.is_some())
            .map(|service| service.rating_group)
            .collect();
        let draft =
            Draft { command, session_id, number, route, moment, reported, requested, due_at: None };
        let id = self.draft(change, draft)?;
        if let Some(ro) = change.slot.session.ro.as_mut() {
            ro.next_number += 1;
            ro.state = next;
            ro.outstanding = Some(id);
        }
        self.send(change, id, "first");
        self.window_until(id, self.wall + self.settle_within(route));
        Ok(id)
    }

    pub(super) fn unit_facts(
        &mut self,
        service: &str,
        direction: &'static str,
        units: Option<&Units>,
    ) {
        let Some(units) = units else { return };
        for kind in UnitKind::ALL {
            if let Some(amount) = units.amount(kind).filter(|amount| *amount > 0) {
                let (service, unit) = (service.to_owned(), kind.name());
                self.fact(Fact::Units { service, unit, direction, amount });
            }
        }
    }

    /// One event of the session's leg: the row is found and performed.
    pub(super) fn leg_event(
        &mut self,
        change: &mut Change,
        id: RecordId,
        event: Event,
        reading: Option<&Reading>,
    ) {
        let ccfh = self.ccfh(&change.slot.session);
        let Some(ro) = change.slot.session.ro.as_ref() else { return };
        if ro.outstanding != Some(id) {
            return;
        }
        let Some(row) = find(ro.state, event, ccfh) else { return };
        self.took(Some(row));
        let command = self.records.get(&id).map(|record| record.command);
        let settled = match event {
            Event::Success | Event::Denied | Event::NotApplicable | Event::Failed => {
                Some(RecordState::Answered)
            }
            Event::WindowOver if command == Some(Command::CcrTermination) => {
                Some(RecordState::Superseded)
            }
            _ if row.next == State::Idle => Some(RecordState::Abandoned),
            _ => None,
        };
        if let Some(reading) = reading {
            self.settle_units(change, id, reading);
        }
        if let Some(ro) = change.slot.session.ro.as_mut() {
            ro.state = row.next;
            ro.backup |= row.steps.contains(&Step::Backup);
            ro.free |= row.steps.contains(&Step::GrantFree);
            ro.denied |= event == Event::Denied;
            if settled.is_some() {
                ro.outstanding = None;
            }
        }
        let told = change.slot.session.brief(id).is_some_and(|brief| brief.decision.is_some());
        let decision = if event == Event::Success && self.unattended(change, id) {
            Decision::new(Outcome::Denied, Basis::FailurePolicy, ServiceAdvice::Block)
        } else {
            self.decision(change, id, event, row, reading)
        };
        // Told at Tx already: what the window's end adds is for the record, not for the caller.
        if !(told && matches!(event, Event::TxExpired | Event::CannotSend)) {
            self.decide(change, id, decision);
        }
        if let Some(state) = settled {
            self.conclude(change, id, state);
            self.after_leg(change, id, event, reading);
        }
    }

    /// C-10: Validity-Time is over and no report came: the grant is reported and renewed.
    pub(super) fn validity_over(&mut self, change: &mut Change) {
        let wall = self.wall;
        let session = &change.slot.session;
        let open = session.closing.is_none()
            && session.event.is_none()
            && session.ro.as_ref().is_some_and(|ro| ro.state == State::Open);
        let over: Vec<(u32, Units)> = session
            .counters
            .iter()
            .filter(|counter| {
                let until = counter.grant.as_ref().and_then(|grant| grant.valid_until);
                until.is_some_and(|until| until <= wall)
            })
            .map(|counter| (counter.rating_group, counter.asked.clone()))
            .collect();
        if !open || over.is_empty() {
            return;
        }
        // CC4-02: nothing follows a final grant; the user is disconnected and CCR-T reports the rest.
        let finals = change.slot.session.counters.iter().filter_map(|c| c.grant.as_ref());
        if finals.filter(|g| over.iter().any(|(n, _)| *n == g.rating_group)).any(quota::is_final) {
            let (_, ended) = self.quota_reports(&mut change.slot.session, wall);
            if ended {
                self.disconnect_user(change);
            }
            return;
        }
        let why = reason::VALIDITY_TIME;
        self.quota_reports(&mut change.slot.session, wall);
        if let Err(problems) = self.unasked_update(change, Event::Report, why, &over) {
            self.alarm(Alarm::MappingDefect, None, format!("{problems:?}"));
        }
    }

    /// A CCR-U that no call asked for.
    pub(super) fn unasked_update(
        &mut self,
        change: &mut Change,
        event: Event,
        why: u8,
        requests: &[(u32, Units)],
    ) -> Result<(), Vec<MappingProblem>> {
        let id = self.credit_update(change, event, self.wall, why, requests)?;
        if let Some(record) = self.touch(change, id) {
            record.unasked = true;
        }
        Ok(())
    }

    /// A CCR-I found at start was granted and nobody waits for it: it is closed as after a late 2001.
    fn unattended(&self, change: &Change, id: RecordId) -> bool {
        let initial = self
            .records
            .get(&id)
            .is_some_and(|record| record.recovered && record.command == Command::CcrInitial);
        let slot = &change.slot;
        let waits = slot.waiters.iter().any(|waiter| {
            slot.session.calls.iter().any(|c| c.id == waiter.call && c.ccr == Some(id))
        });
        initial && !waits && slot.session.closing.is_none()
    }

    /// Writes down what a request's caller is told.
    pub(super) fn decide(&mut self, change: &mut Change, id: RecordId, decision: Decision) {
        self.outcome_fact(&change.slot.session, crate::store::Interface::Ch2, &decision);
        let session = &mut change.slot.session;
        let unasked = self.records.get(&id).is_some_and(|record| record.unasked);
        let denied = unasked && decision.outcome == Outcome::Denied;
        let mut decision = decision;
        if session.event.is_some() && decision.advice.service == ServiceAdvice::Stop {
            decision.advice.service = ServiceAdvice::Continue;
        }
        if let Some(brief) = session.brief_mut(id) {
            brief.decision = Some(decision.clone());
        }
        session.decision = decision;
        change.dirty = true;
        // Nobody waits for a report that the OCS or the clock asked for: the user is disconnected.
        if denied {
            self.disconnect_user(change);
        }
    }

    /// A request has ended: what was queued behind it follows, or the session goes on without CH-2.
    pub(super) fn after_leg(
        &mut self,
        change: &mut Change,
        id: RecordId,
        event: Event,
        reading: Option<&Reading>,
    ) {
        let session = &change.slot.session;
        let Some(ro) = session.ro.as_ref() else { return };
        let state = ro.state;
        let initial = session.brief(id).is_some_and(|b| b.command == Command::CcrInitial);
        let denied = session.brief(id).and_then(|brief| brief.decision.as_ref()).is_some_and(|d| {
            d.outcome == Outcome::Denied
                && matches!(d.advice.service, ServiceAdvice::Block | ServiceAdvice::Stop)
        });
        if initial && denied {
            self.denied_start(change, event, reading);
            return;
        }
        match state {
            State::Open if initial && session.event.is_some() => self.event_granted(change),
            State::Open => self.queued(change),
            State::Idle => self.leg_idle(change),
            _ => {}
        }
    }

    /// On entering Open: a queued termination first, else the queued reports in one CCR-U.
    pub(super) fn queued(&mut self, change: &mut Change) {
        let Some(ro) = change.slot.session.ro.as_mut() else { return };
        let report = ro.queued_report.take();
        if std::mem::take(&mut ro.queued_termination) {
            self.drop_report(change, report);
            if let Err(problems) = self.terminate_now(change, Event::QueuedTermination) {
                self.alarm(Alarm::CannotClose, None, format!("{problems:?}"));
            }
            let ccr = change.slot.session.ro.as_ref().and_then(|ro| ro.outstanding);
            if let Some(ccr) = ccr {
                Engine::owe_by_record(change, ccr);
            }
            for call in &mut change.slot.session.calls {
                if call.kind == super::session::CallKind::Terminate && call.queued {
                    call.ccr = ccr;
                    call.queued = false;
                }
            }
            return;
        }
        let Some(report) = report else { return };
        let requests: Vec<(u32, Units)> = report
            .request
            .iter()
            .filter_map(|request| match request.rating_group {
                Some(RatingGroupRef::Number(number)) => Some((number, request.units.clone())),
                _ => None,
            })
            .collect();
        let event = Event::QueuedReport;
        match self.credit_update(change, event, report.timestamp, report.reason, &requests) {
            Ok(ccr) => {
                Engine::owe_by_record(change, ccr);
                for call in &mut change.slot.session.calls {
                    if report.calls.contains(&call.id) {
                        call.ccr = Some(ccr);
                        call.queued = false;
                    }
                }
            }
            Err(problems) => {
                self.alarm(Alarm::MappingDefect, None, format!("{problems:?}"));
                self.drop_report(change, Some(report));
            }
        }
    }

    /// A queued report that no CCR-U will carry: its units go with the CCR-T or the backup record.
    pub(super) fn drop_report(&mut self, change: &mut Change, report: Option<QueuedReport>) {
        let Some(report) = report else { return };
        let decision = self.idle_decision(&change.slot.session);
        for call in &mut change.slot.session.calls {
            if report.calls.contains(&call.id) && call.decision.is_none() {
                call.decision = Some(decision.clone());
                call.queued = false;
            }
        }
    }

    /// The leg is idle: nothing more is sent on it.
    pub(super) fn leg_idle(&mut self, change: &mut Change) {
        let Some(ro) = change.slot.session.ro.as_mut() else { return };
        let report = ro.queued_report.take();
        let queued = std::mem::take(&mut ro.queued_termination);
        self.drop_report(change, report);
        Engine::owe_nothing(change);
        if change.slot.session.closing.is_none() {
            return;
        }
        let decision = self.idle_decision(&change.slot.session);
        if queued {
            change.slot.session.decision = decision.clone();
        }
        for call in &mut change.slot.session.calls {
            if call.queued && call.decision.is_none() {
                call.decision = Some(decision.clone());
                call.queued = false;
            }
        }
        self.back_up(change);
    }

    /// A closing trigger found no leg to terminate.
    pub(super) fn close_idle(&mut self, change: &mut Change) {
        let session = &change.slot.session;
        let denied_at_start = session.closing.as_ref().is_some_and(|c| c.trigger.is_none());
        if session.ro.is_some() && !denied_at_start {
            change.slot.session.decision = self.idle_decision(&change.slot.session);
        } else if session.ro.is_none() {
            change.slot.session.decision = Decision::recorded(ServiceAdvice::Stop);
        }
        self.back_up(change);
    }

    /// A denied start: no service. The STOP follows the START, unless a closing trigger came first.
    pub(super) fn denied_start(
        &mut self,
        change: &mut Change,
        event: Event,
        reading: Option<&Reading>,
    ) {
        let held = event == Event::Success;
        if let Some(ro) = change.slot.session.ro.as_mut() {
            ro.queued_report = None;
            ro.queued_termination = false;
            ro.told_denied = reading.is_none();
            ro.backup = false;
        }
        Engine::owe_nothing(change);
        let first = change.slot.session.closing.is_none();
        if first {
            change.slot.session.closing = Some(Closing {
                trigger: None,
                timestamp: self.wall,
                cause_code: 2,
                termination_cause: 2,
                reason_header: Vec::new(),
                bye_at: None,
                armed: None,
                reason: "denied".to_owned(),
            });
            if change.slot.session.rf.is_some()
                && change.slot.session.event.is_none()
                && let Err(problems) = self.stop_now(change, super::event::CloseTrigger::Aborted)
            {
                self.alarm(Alarm::CannotClose, None, format!("{problems:?}"));
            }
        }
        let decision = change.slot.session.decision.clone();
        for call in &mut change.slot.session.calls {
            if call.queued && call.decision.is_none() {
                call.decision = Some(decision.clone());
                call.queued = false;
            }
        }
        if held {
            self.close_unused(change);
        }
    }
}

/// The rating groups that the OCS knows or has to know.
fn services(session: &Session) -> impl Iterator<Item = &Counter> {
    let used = |group: u32| {
        session.counters.iter().any(|c| c.rating_group == group && !c.total.is_empty())
    };
    session.counters.iter().filter(move |counter| {
        let apart = counter.tariff.is_some();
        !apart && !counter.refused && (counter.online || used(counter.rating_group))
    })
}

/// The Used-Service-Units of a rating group: one, or one for each side of a tariff change.
fn new_units(session: &Session, counter: &Counter, granted_only: bool) -> Vec<UsedUnits> {
    let sides = session
        .counters
        .iter()
        .filter(|side| side.rating_group == counter.rating_group && side.tariff.is_some());
    let sides: Vec<UsedUnits> = sides
        .map(|side| UsedUnits { tariff: side.tariff, units: side.total.minus(&side.settled) })
        .filter(|used| !used.units.is_zero())
        .collect();
    let whole = counter
        .new_units(granted_only)
        .filter(|units| sides.is_empty() || !units.is_zero())
        .map(|units| UsedUnits { tariff: None, units });
    whole.into_iter().chain(sides).collect()
}

/// 0 of every type that was granted or asked for.
fn zeros(counter: &Counter) -> Units {
    let granted = counter.grant.as_ref().map(|grant| &grant.units);
    let mut units = Units::default();
    for kind in UnitKind::ALL {
        let known = granted.and_then(|granted| granted.amount(kind));
        units.put(kind, known.or(counter.asked.amount(kind)).map(|_| 0));
    }
    if units.is_empty() {
        units.seconds = Some(0);
    }
    units
}
