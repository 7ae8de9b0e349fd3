//! `…/interim`: totals, an ACR Interim and a CCR-U, or a place in the queue behind another CCR.

use super::accept::override_content;

use super::commit::Change;
use super::counters::sum_entries;
use super::credit_control::{Event, State, find};
use super::engine::{CallerId, Checked, Engine, Fact, owner_of};
use super::event::{
    InterimReason, RatingGroupRef, Request, Tariff, Trigger, UnitRequest, Units, UsageEntry,
};
use super::outcome::{DecreasedTotal, MappingProblem, Refusal, Reply, ServiceAdvice};
use super::planted::EngineBug;
use super::quota::{self, Reason};
use super::record::Command;
use super::request::{Moment, reason};
use super::session::{Decision, QueuedReport, Session};
use crate::clock::Wall;

impl Engine {
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
            if session.closing.is_some() && !self.has_bug(EngineBug::InterimAfterStop) {
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
        let (why, ended) = self.interim_reason(&mut change.slot.session, interim.reason, timestamp);
        // CC4-02: the last units are used up and the CPM server wants no more.
        if ended && interim.request.is_empty() && problems.is_empty() {
            self.disconnect_user(&mut change);
        }
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

    /// What the report says about each grant: the Reporting-Reason, unless the caller gave one, and
    /// whether the last units of a group have ended.
    pub(super) fn interim_reason(
        &mut self,
        session: &mut Session,
        given: Option<InterimReason>,
        at: Wall,
    ) -> (u8, bool) {
        let (strongest, ended) = self.quota_reports(session, at);
        let why = match given {
            Some(InterimReason::Quota) => reason::QUOTA_EXHAUSTED,
            Some(InterimReason::Threshold) => reason::THRESHOLD,
            Some(InterimReason::Validity) => reason::VALIDITY_TIME,
            Some(
                InterimReason::Participants | InterimReason::Media | InterimReason::RatingChange,
            ) => reason::RATING_CONDITION_CHANGE,
            None => strongest.code(),
        };
        (why, ended)
    }

    /// A report is due: every rating group's row is taken. The strongest reason, and whether the
    /// last units of a group have ended.
    pub(super) fn quota_reports(&mut self, session: &mut Session, at: Wall) -> (Reason, bool) {
        let used = session.by_group(|counter| counter.total.minus(&counter.settled));
        let mut strongest = Reason::RatingChange;
        let mut ended = false;
        for counter in session.counters.iter_mut().filter(|c| c.online && c.tariff.is_none()) {
            let used = used.iter().find(|(group, _)| *group == counter.rating_group);
            let used = used.map(|(_, units)| units.clone()).unwrap_or_default();
            let event = quota::observe(counter, &used, at);
            let Some(row) = quota::find(counter.quota, event) else { continue };
            counter.quota = row.next;
            self.fact(Fact::Took(row.id));
            for step in row.steps {
                match step {
                    quota::Step::Say(reason) => strongest = strongest.max(*reason),
                    quota::Step::EndService => ended = true,
                    quota::Step::Take | quota::Step::TellStop | quota::Step::Drop => {}
                }
            }
        }
        (strongest, ended)
    }

    pub(super) fn interim_records(
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
                let event = match why {
                    reason::THRESHOLD | reason::QUOTA_EXHAUSTED => Event::UnitsElapse,
                    _ => Event::Report,
                };
                ccr = Some(self.credit_update(change, event, timestamp, why, &requests)?);
            }
            Some(State::Idle | State::PendingE | State::PendingB) => {
                decision = Some(self.idle_decision(&change.slot.session));
            }
            Some(state @ (State::PendingI | State::PendingU | State::PendingT)) => {
                queued = true;
                self.took(find(state, Event::Report, self.ccfh(&change.slot.session)));
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
    pub(super) fn use_up(
        &self,
        session: &mut Session,
        usage: &[UsageEntry],
        problems: &mut Vec<MappingProblem>,
    ) -> Vec<DecreasedTotal> {
        let mut groups: Vec<((u32, Option<Tariff>), usize)> = Vec::new();
        for (index, entry) in usage.iter().enumerate() {
            let pointer = format!("/usage/{index}/ratingGroup");
            let found =
                self.rating_group(entry.rating_group.as_ref(), session.service.as_ref(), &pointer);
            match found {
                Ok(number) => groups.push(((number, entry.tariff), index)),
                // On CH-1 alone usage needs no rating group.
                Err(_) if entry.rating_group.is_none() && !session.interfaces.ch2 => {
                    groups.push(((0, entry.tariff), index));
                }
                Err(problem) => problems.push(problem),
            }
        }
        let mut decreased = Vec::new();
        let mut seen: Vec<(u32, Option<Tariff>)> = Vec::new();
        for (group, first) in &groups {
            if seen.contains(group) {
                continue;
            }
            seen.push(*group);
            let entries = groups.iter().filter(|(g, _)| g == group).map(|(_, i)| &usage[*i]);
            let total = sum_entries(entries);
            let (number, tariff) = *group;
            self.know_group(session, number);
            for (unit, before, now) in session.counter_of(number, tariff).raise(&total) {
                let pointer = format!("/usage/{first}/units/{unit}");
                decreased.push(DecreasedTotal { pointer, before, now });
            }
        }
        decreased
    }
}
