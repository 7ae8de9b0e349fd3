//! `…/interim`: totals, an ACR Interim and a CCR-U, or a place in the queue behind another CCR.

use super::accept::override_content;

use super::commit::Change;
use super::counters::sum_entries;
use super::credit_control::State;
use super::engine::{CallerId, Checked, Engine, owner_of};
use super::event::{
    InterimReason, RatingGroupRef, Request, Tariff, Trigger, UnitRequest, Units, UsageEntry,
};
use super::outcome::{DecreasedTotal, MappingProblem, Refusal, Reply, ServiceAdvice};
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
    pub(super) fn interim_reason(
        &self,
        session: &Session,
        given: Option<InterimReason>,
        at: Wall,
    ) -> u8 {
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
