//! The end of windows: each unit lands in exactly one of an answered CCR and the backup record.

use minicbor::bytes::ByteVec;

use super::accept::Draft;
use super::commit::Change;
use super::counters::Counter;
use super::credit_control::{Event, EventHandling, State, Step, find_event};
use super::engine::{Alarm, Engine};
use super::event::{EventAction, OneTimeEvent};
use super::outcome::{Advice, Basis, MappingProblem, Outcome, ServiceAdvice};
use super::planted::EngineBug;
use super::policy::Ddfh;
use super::reading::Reading;
use super::record::{Command, Reported};
use super::request::{MessageIds, Moment, ServiceUnits, build};
use super::results::event_told;
use super::session::{Decision, Session};
use super::verdict::{Verdict, covered, sip_status};
use crate::store::{Interface, RecordId, RecordState};

impl Engine {
    /// A CCR's window ended without an answer.
    pub(super) fn window_over(&mut self, change: &mut Change, id: RecordId) {
        let Some(record) = self.records.get(&id) else { return };
        if record.state != RecordState::Waiting {
            return;
        }
        let command = record.command;
        if command == Command::CcrEvent {
            self.event_event(change, id, Event::WindowOver, None);
            return;
        }
        let closing_only = record.closing_only;
        self.leg_event(change, id, Event::WindowOver, None);
        if closing_only || command == Command::CcrInitial {
            return;
        }
        if let Some(brief) = change.slot.session.brief_mut(id) {
            brief.failed = true;
        }
        let uncovered = change.slot.session.counters.iter().any(|c| !c.uncovered().is_zero());
        if !self.policy.termination.backup_accounting && uncovered {
            self.conclude(change, id, RecordState::Dead);
            let words = "no answer inside termination.settle_within".to_owned();
            self.alarm(Alarm::Dead, Some(id), words);
        }
    }

    /// Units that no backup record can carry: the session's last CCR becomes a dead letter.
    fn dead_letter(&mut self, change: &mut Change, words: String) {
        let mut ccrs = change.slot.session.records.iter().rev();
        let last = ccrs.find(|brief| brief.command.interface() == Interface::Ch2);
        let last = last.map(|brief| brief.id).filter(|id| self.records.contains_key(id));
        if let Some(id) = last {
            self.conclude(change, id, RecordState::Dead);
        }
        self.alarm(Alarm::Dead, last, words);
    }

    /// Writes the backup record of a closed session whose leg left units unreported.
    ///
    /// ACR EVENT_RECORD on the ch1 route with a Session-Id of its own; one Service-Specific-Info per
    /// rating group. Nothing uncovered: no record.
    pub(super) fn back_up(&mut self, change: &mut Change) {
        let session = &change.slot.session;
        let wanted = session.ro.as_ref().is_some_and(|ro| ro.backup && ro.state == State::Idle)
            && session.closing.is_some()
            && session.backup.is_none()
            && self.policy.termination.backup_accounting;
        if !wanted {
            return;
        }
        let Some(moment) = backup_moment(session) else { return };
        change.slot.session.decision =
            Decision::new(Outcome::Unverified, Basis::FailurePolicy, ServiceAdvice::Stop);
        let termination = change.slot.session.records.iter().rev();
        let termination = termination.filter(|brief| brief.command == Command::CcrTermination);
        if let Some(id) = termination.map(|brief| brief.id).next()
            && let Some(brief) = change.slot.session.brief_mut(id)
        {
            brief.failed = true;
        }
        let Some(route) = self.route(Interface::Ch1, &change.slot.session.content) else {
            let words = format!("no ch1 route for the backup record: {:?}", moment.backup);
            self.dead_letter(change, words);
            return;
        };
        let session_id = self.diameter_session_id(change.slot.session.subject.id());
        let draft = Draft {
            command: Command::AcrEvent,
            session_id,
            number: 0,
            route,
            moment,
            reported: Vec::new(),
            requested: Vec::new(),
            due_at: None,
        };
        match self.draft(change, draft) {
            Ok(id) => {
                if let Some(record) = self.touch(change, id) {
                    record.backup = true;
                }
                change.slot.session.backup = Some(id);
                self.send(change, id, "first");
            }
            Err(problems) => self.dead_letter(change, format!("backup record: {problems:?}")),
        }
    }

    /// An answer to a request that was given up.
    pub(super) fn late_answer(
        &mut self,
        change: &mut Change,
        id: RecordId,
        verdict: Verdict,
        reading: &Reading,
    ) {
        let Some(record) = self.records.get(&id).cloned() else { return };
        if matches!(record.state, RecordState::Answered | RecordState::Acknowledged)
            || self.has_bug(EngineBug::LateSuccessIgnored)
        {
            return;
        }
        let told_denied = change.slot.session.ro.as_ref().is_some_and(|ro| ro.told_denied);
        self.conclude(change, id, RecordState::Answered);
        if !covered(reading.code) {
            if record.command == Command::CcrEvent {
                let handling = self.handling(change);
                self.took(find_event(State::PendingE, Event::FailedLate, handling));
            }
            return;
        }
        match record.command {
            Command::CcrInitial if verdict == Verdict::Success && told_denied => {
                if let Some(ro) = change.slot.session.ro.as_mut() {
                    ro.server = reading.origin_host.clone().or(ro.server.take());
                    ro.told_denied = false;
                }
                self.close_unused(change);
            }
            Command::CcrUpdate | Command::CcrTermination => {
                for report in &record.reported {
                    let counter =
                        change.slot.session.counter_of(report.rating_group, report.tariff);
                    counter.settled = counter.settled.plus(&report.units);
                    if verdict == Verdict::Success {
                        counter.debited = counter.debited.plus(&report.units);
                    }
                }
                self.shrink_backup(change);
            }
            _ => {}
        }
    }

    /// A late 2001 takes what it covers out of a backup record that is not sent yet.
    fn shrink_backup(&mut self, change: &mut Change) {
        let Some(id) = change.slot.session.backup else { return };
        let unsent = self
            .records
            .get(&id)
            .is_some_and(|record| record.state == RecordState::Waiting && record.is_unsent());
        if !unsent {
            let words = "a late answer covers units that a backup record reports too".to_owned();
            self.alarm(Alarm::DoubleSettlement, Some(id), words);
            return;
        }
        let Some(moment) = backup_moment(&change.slot.session) else {
            self.conclude(change, id, RecordState::Superseded);
            return;
        };
        let Some(record) = self.records.get(&id).cloned() else { return };
        let Some(peer) = self.model_peer(record.route) else { return };
        let policy = self.policy.clone();
        let ids = MessageIds {
            session_id: &record.diameter_session_id,
            number: record.number,
            end_to_end: record.end_to_end,
            origin_state_id: self.origin_state_id,
        };
        let session = &change.slot.session;
        let built = build(
            &self.library,
            &policy,
            &policy.peers[peer],
            Command::AcrEvent,
            &ids,
            session,
            &moment,
        );
        if let (Ok(message), Some(record)) = (built, self.touch(change, id)) {
            record.message = message;
        }
    }

    // One-time events.

    /// The CCR-E of an event.
    pub(super) fn credit_event(
        &mut self,
        change: &mut Change,
        event: &OneTimeEvent,
        group: u32,
        moment: Moment,
    ) -> Result<RecordId, Vec<MappingProblem>> {
        let session = &mut change.slot.session;
        let refund = session.refund_information.clone().map(Vec::from);
        let counter = session.counter(group);
        counter.asked = event.units.clone();
        let service = ServiceUnits {
            rating_group: group,
            service_id: counter.service_id,
            requested: Some(event.units.clone()),
            refund_information: refund,
            ..ServiceUnits::default()
        };
        let Some(ro) = session.ro.as_ref() else { return Err(Vec::new()) };
        let draft = Draft {
            command: Command::CcrEvent,
            session_id: ro.session_id.clone(),
            number: 0,
            route: ro.route,
            moment: Moment { services: vec![service], ..moment },
            reported: vec![Reported {
                rating_group: group,
                units: event.units.clone(),
                tariff: None,
            }],
            requested: vec![group],
            due_at: None,
        };
        let id = self.draft(change, draft)?;
        let row = find_event(State::Idle, Event::ServiceRequested, self.handling(change));
        self.took(row);
        if let Some(ro) = change.slot.session.ro.as_mut() {
            ro.next_number = 1;
            ro.state = State::PendingE;
            ro.outstanding = Some(id);
        }
        let label = self.service_label(&change.slot.session);
        self.unit_facts(&label, "requested", Some(&event.units));
        self.send(change, id, "first");
        self.window_until(id, self.wall + self.policy.failure.buffer_for);
        Ok(id)
    }

    pub(super) fn handling(&self, change: &Change) -> EventHandling {
        let session = &change.slot.session;
        let action = session.event.as_ref().map_or(EventAction::Debit, |event| event.action);
        let ro = session.ro.as_ref();
        // C-48: what any CCA of this route said holds for later events.
        let earlier = ro.and_then(|ro| self.ddfh.get(&ro.route).copied());
        let ddfh = ro.and_then(|ro| ro.ddfh).or(earlier);
        match (action, ddfh.unwrap_or(self.policy.failure.direct_debit)) {
            (EventAction::Debit, Ddfh::TerminateOrBuffer) => EventHandling::DebitBuffer,
            (EventAction::Debit, Ddfh::Continue) => EventHandling::DebitContinue,
            (EventAction::Refund, _) => EventHandling::Refund,
            (EventAction::CheckBalance | EventAction::EnquirePrice, _) => EventHandling::Enquiry,
        }
    }

    /// One event of a one-time event's machine: the row of table 5 is found and performed.
    pub(super) fn event_event(
        &mut self,
        change: &mut Change,
        id: RecordId,
        event: Event,
        reading: Option<&Reading>,
    ) {
        let handling = self.handling(change);
        let Some(ro) = change.slot.session.ro.as_ref() else { return };
        if ro.outstanding != Some(id) {
            return;
        }
        let Some(row) = find_event(ro.state, event, handling) else { return };
        self.took(Some(row));
        let silent = reading.is_none();
        if let Some(reading) = reading {
            let session = &mut change.slot.session;
            session.debit.cost = reading.cost.clone();
            session.debit.balance = reading.balance.clone();
            session.debit.low_balance = reading.low_balance;
            let refund = reading.services.iter().find_map(|s| s.refund_information.clone());
            session.refund_information =
                refund.map(ByteVec::from).or(session.refund_information.take());
        }
        let decision = self.event_decision(change, event, handling, reading);
        let told = change.slot.session.brief(id).is_some_and(|b| b.decision.is_some());
        if let Some(ro) = change.slot.session.ro.as_mut() {
            ro.state = row.next;
        }
        if !told || !silent {
            if decision.outcome == Outcome::Debited {
                self.debited(change, id);
            }
            self.decide(change, id, decision);
        }
        let settled = match event {
            _ if !silent => Some(RecordState::Answered),
            Event::TemporaryError if row.next == State::Idle => Some(RecordState::Answered),
            // C-44: DDFH CONTINUE drops the request; a late answer still updates the record.
            _ if row.next == State::Idle && event == Event::WindowOver => Some(RecordState::Dead),
            _ if row.next == State::Idle => Some(RecordState::Abandoned),
            Event::TxExpired if handling == EventHandling::DebitContinue => {
                Some(RecordState::Abandoned)
            }
            _ => None,
        };
        let Some(state) = settled else {
            if row.steps.contains(&Step::Store) {
                change.dirty = true;
            }
            return;
        };
        if let Some(ro) = change.slot.session.ro.as_mut() {
            ro.state = State::Idle;
            ro.outstanding = None;
        }
        if state == RecordState::Dead {
            let words = "no answer inside failure.ch2.buffer_for".to_owned();
            self.alarm(Alarm::Dead, Some(id), words);
        }
        self.conclude(change, id, state);
    }

    fn debited(&mut self, change: &mut Change, id: RecordId) {
        let reported = self.records.get(&id).map(|r| r.reported.clone()).unwrap_or_default();
        let label = self.service_label(&change.slot.session);
        for report in reported {
            self.unit_facts(&label, "used", Some(&report.units));
            let counter = change.slot.session.counter(report.rating_group);
            counter.total = report.units.clone();
            counter.settled = report.units.clone();
            counter.debited = report.units;
        }
    }

    fn event_decision(
        &self,
        change: &Change,
        event: Event,
        handling: EventHandling,
        reading: Option<&Reading>,
    ) -> Decision {
        let action =
            change.slot.session.event.as_ref().map_or(EventAction::Debit, |event| event.action);
        let code = reading.and_then(|reading| reading.code);
        let decision = event_told(event, action, handling, code);
        let service = reading.and_then(|reading| reading.services.first());
        let service_code = service.and_then(|s| s.result.as_ref()).map(|result| result.code);
        let denied = |status| Decision {
            outcome: Outcome::Denied,
            basis: Basis::Ocs,
            advice: Advice { service: ServiceAdvice::Block, sip_status: status, stop_by: None },
        };
        match (event, action) {
            (Event::Success, EventAction::Debit | EventAction::Refund) => {
                match service_code.map_or(Verdict::Success, super::verdict::verdict) {
                    Verdict::Success => decision,
                    Verdict::Free => {
                        Decision::new(Outcome::Free, Basis::Ocs, ServiceAdvice::Continue)
                    }
                    _ => denied(sip_status(service_code.flatten())),
                }
            }
            (Event::Success, EventAction::CheckBalance)
                if reading.and_then(|reading| reading.enough) == Some(false) =>
            {
                denied(None)
            }
            // An earlier copy may have been debited: this answer does not speak for it.
            (Event::Failed, EventAction::Debit) if self.may_have_arrived(change) => {
                Decision::new(Outcome::Unverified, Basis::FailurePolicy, ServiceAdvice::Continue)
            }
            _ => decision,
        }
    }

    /// Some copy of the event's request had no answer.
    fn may_have_arrived(&self, change: &Change) -> bool {
        let outstanding = change.slot.session.ro.as_ref().and_then(|ro| ro.outstanding);
        outstanding
            .and_then(|id| self.records.get(&id))
            .is_some_and(|record| record.unanswered || record.recovered || record.in_flight())
    }

    /// Every copy of the event's request was answered by a temporary error.
    pub(super) fn refused_everywhere(&self, change: &Change) -> bool {
        let outstanding = change.slot.session.ro.as_ref().and_then(|ro| ro.outstanding);
        outstanding.and_then(|id| self.records.get(&id)).is_some_and(|record| {
            !record.copies.is_empty()
                && !record.unanswered
                && !record.recovered
                && !record.in_flight()
        })
    }
}

/// What a backup record says: one line per rating group with uncovered units.
fn backup_moment(session: &Session) -> Option<Moment> {
    let (ro, closing) = (session.ro.as_ref()?, session.closing.as_ref()?);
    let last = ro.next_number.saturating_sub(1);
    let backup: Vec<String> = session
        .by_group(Counter::uncovered)
        .into_iter()
        .filter(|(_, units)| !units.is_zero())
        .map(|(group, units)| {
            format!("farebox-backup;ccr={};n={last};rg={group};{}", ro.session_id, units.listed())
        })
        .collect();
    if backup.is_empty() {
        return None;
    }
    Some(Moment { backup, ..super::offline::closing_moment(closing) })
}
