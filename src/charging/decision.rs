//! A CCA read: its verdict, its units and grants, and what the caller is told.

use std::time::Duration;

use super::commit::{Change, Effect};
use super::credit_control::{Event, Row, Step};
use super::engine::{Alarm, Engine, Fact, Timer};
use super::outcome::{Advice, Basis, Grant, Outcome, ServiceAdvice};
use super::planted::EngineBug;
use super::policy::Ccfh;
use super::quota;
use super::reading::{Reading, ServiceAnswer};
use super::record::Command;
use super::results::{event_of, told};
use super::session::{Decision, ServiceResult, Session};
use super::verdict::{Verdict, covered, sip_status, verdict, worst};
use crate::clock::Wall;
use crate::store::{RecordId, RecordState};

/// The CPM server knows `validUntil` and reports by itself; the gateway steps in after this.
pub(super) const VALIDITY_GRACE: Duration = Duration::from_secs(2);

impl Engine {
    /// A CCA.
    pub(super) fn credit_answer(
        &mut self,
        change: &mut Change,
        id: RecordId,
        peer: usize,
        reading: &Reading,
    ) {
        for service in &reading.services {
            let code = service.result.as_ref().and_then(|result| result.code);
            self.fact(Fact::ServiceResult { peer, code });
        }
        if let Some(brief) = change.slot.session.brief_mut(id) {
            brief.services = reading
                .services
                .iter()
                .filter_map(|service| {
                    let result = service.result.clone()?;
                    Some(ServiceResult { rating_group: service.rating_group, result })
                })
                .collect();
        }
        let Some(record) = self.records.get(&id) else { return };
        let (command, state, in_flight) = (record.command, record.state, record.in_flight());
        let verdict = self.verdict(peer, reading);
        if state != RecordState::Waiting {
            self.late_answer(change, id, verdict, reading);
            return;
        }
        if verdict == Verdict::Temporary {
            if let Some(record) = self.records.get_mut(&id) {
                record.tried.push(peer);
            }
            if !in_flight {
                change.effects.push(Effect::Send(id, "error"));
            }
            return;
        }
        self.defects(id, verdict, reading);
        self.remember_server(change, peer, reading);
        let event = event_of(verdict, command).unwrap_or(Event::Failed);
        if command == Command::CcrEvent {
            self.event_event(change, id, event, Some(reading));
        } else {
            self.leg_event(change, id, event, Some(reading));
        }
    }

    /// The verdict of the table, or of the profile's `results`.
    pub(super) fn verdict(&self, peer: usize, reading: &Reading) -> Verdict {
        if reading.unusable.is_some() {
            return Verdict::Failed;
        }
        let told = reading.code.and_then(|code| self.policy.peers.get(peer)?.results.get(&code));
        match told {
            Some(Outcome::Free) => Verdict::Free,
            Some(Outcome::Denied) => Verdict::Denied,
            Some(Outcome::Granted | Outcome::Debited | Outcome::Refunded) => Verdict::Success,
            Some(Outcome::Unverified | Outcome::Pending | Outcome::Recorded) => Verdict::Failed,
            None => verdict(reading.code),
        }
    }

    pub(super) fn defects(&mut self, id: RecordId, verdict: Verdict, reading: &Reading) {
        let alarm = match verdict {
            Verdict::MappingDefect => Alarm::MappingDefect,
            Verdict::ConfigurationDefect => Alarm::ConfigurationDefect,
            _ if reading.code == Some(5031) => Alarm::RatingFailed,
            _ if reading.unusable.is_some() => Alarm::AnswerUnusable,
            _ => return,
        };
        let detail = match (&reading.unusable, reading.result.code) {
            (Some(why), _) => why.clone(),
            (None, code) => format!(
                "Result-Code {}, Failed-AVP {:?}",
                code.map_or_else(|| "absent".to_owned(), |code| code.to_string()),
                reading.result.failed_avp
            ),
        };
        self.alarm(alarm, Some(id), detail);
    }

    /// S, CCFH, DDFH and CC-Session-Failover of the answer that settles a request.
    pub(super) fn remember_server(&mut self, change: &mut Change, peer: usize, reading: &Reading) {
        let name = self.policy.peers.get(peer).map(|profile| profile.name.clone());
        let Some(ro) = change.slot.session.ro.as_mut() else { return };
        if reading.origin_host.is_some() {
            ro.server = reading.origin_host.clone();
            ro.server_peer = name;
        }
        ro.ccfh = reading.ccfh.or(ro.ccfh);
        ro.ddfh = reading.ddfh.or(ro.ddfh);
        if let Some(ddfh) = reading.ddfh {
            self.ddfh.insert(ro.route, ddfh);
        }
        ro.failover = reading.failover.unwrap_or(ro.failover);
    }

    /// Covered units are settled, those of a success debited; grants are taken over.
    pub(super) fn settle_units(&mut self, change: &mut Change, id: RecordId, reading: &Reading) {
        let Some(record) = self.records.get(&id) else { return };
        let (reported, requested) = (record.reported.clone(), record.requested.clone());
        let command_covered = reading.unusable.is_none() && covered(reading.code);
        let success = verdict(reading.code) == Verdict::Success && reading.unusable.is_none();
        for report in &reported {
            let service =
                reading.services.iter().find(|s| s.rating_group == Some(report.rating_group));
            let code = service.and_then(|s| s.result.as_ref()).map(|result| result.code);
            let service_covered = code.is_none_or(covered);
            let service_success = code.is_none_or(|code| verdict(code) == Verdict::Success);
            let lost = self.has_bug(EngineBug::UnitsLost);
            let again = self.has_bug(EngineBug::UnitsReportedAgain) && !success;
            let counter = change.slot.session.counter_of(report.rating_group, report.tariff);
            if command_covered && service_covered && !again || lost {
                counter.settled = counter.settled.plus(&report.units);
            }
            if success && service_success {
                counter.debited = counter.debited.plus(&report.units);
            }
        }
        if success {
            self.take_grants(change, reading, &requested);
        }
        let debit = &mut change.slot.session.debit;
        debit.cost = reading.cost.clone().or(debit.cost.take());
        debit.balance = reading.balance.clone().or(debit.balance.take());
        debit.low_balance |= reading.low_balance;
    }

    pub(super) fn take_grants(
        &mut self,
        change: &mut Change,
        reading: &Reading,
        requested: &[u32],
    ) {
        let wall = self.wall;
        let service_name = self.service_label(&change.slot.session);
        let mut validity = None;
        let mut services = reading.services.clone();
        if services.is_empty() && reading.command_grant.granted.is_some() {
            let whole = requested.first().copied();
            services.push(ServiceAnswer { rating_group: whole, ..reading.command_grant.clone() });
        }
        for service in services {
            let Some(number) = service.rating_group.or(requested.first().copied()) else {
                continue;
            };
            let code = service.result.as_ref().map(|result| result.code);
            let ok = code.is_none_or(|code| verdict(code) == Verdict::Success);
            let granted = service.granted.clone().unwrap_or_default();
            if ok {
                self.unit_facts(&service_name, "granted", Some(&granted));
            }
            let counter = change.slot.session.counter(number);
            if let (true, Some(secs)) = (ok, service.validity_secs) {
                let over = wall + Duration::from_secs(u64::from(secs)) + VALIDITY_GRACE;
                validity = Some(validity.map_or(over, |known: Wall| known.min(over)));
            }
            // C-38: what was refused and not covered is never asked for again.
            counter.refused = code.is_some_and(|code| !ok && !covered(code));
            counter.granted_at = Some(wall);
            counter.grant = (ok && requested.contains(&number)).then(|| Grant {
                rating_group: number,
                name: counter.name.clone(),
                units: granted,
                valid_until: service
                    .validity_secs
                    .map(|secs| wall + Duration::from_secs(u64::from(secs))),
                threshold: service.threshold.clone(),
                holding_seconds: service.holding_secs,
                final_unit: service.final_unit.clone(),
                tariff_change_at: service.tariff_change_at,
            });
            let event = match &counter.grant {
                Some(grant) if quota::is_final(grant) => quota::Event::Final,
                Some(_) => quota::Event::Grant,
                None => quota::Event::Refused,
            };
            if ok && counter.grant.is_none() {
                counter.quota = quota::State::None;
            } else if let Some(row) = quota::find(counter.quota, event) {
                counter.quota = row.next;
                self.fact(Fact::Took(row.id));
            }
        }
        if let Some(over) = validity {
            let key = change.slot.session.key.clone();
            self.at_wall(over, Timer::Validity(key));
        }
    }

    /// What the caller is told.
    pub(super) fn decision(
        &self,
        change: &Change,
        id: RecordId,
        event: Event,
        row: &Row,
        reading: Option<&Reading>,
    ) -> Decision {
        let session = &change.slot.session;
        let command = self.records.get(&id).map_or(Command::CcrUpdate, |record| record.command);
        match event {
            Event::Success => self.success(change, command == Command::CcrTermination, reading),
            Event::WindowOver
                if command == Command::CcrUpdate
                    && !row.steps.contains(&Step::TerminateService) =>
            {
                let known = session.brief(id).and_then(|brief| brief.decision.clone());
                known.unwrap_or_else(|| self.idle_decision(session))
            }
            _ => {
                let code = reading.and_then(|reading| reading.code);
                told(command, event, row, self.ccfh(session), code)
            }
        }
    }

    /// A 2xxx: the worst of the MSCCs is the outcome, each is shown.
    pub(super) fn success(
        &self,
        change: &Change,
        last: bool,
        reading: Option<&Reading>,
    ) -> Decision {
        let good = if last { Outcome::Debited } else { Outcome::Granted };
        let ccfh = self.ccfh(&change.slot.session);
        let mut outcome = None;
        let mut basis = Basis::Ocs;
        let mut status = None;
        let mut goes_on = false;
        let mut nothing = false;
        for service in reading.map(|reading| reading.services.as_slice()).unwrap_or_default() {
            let code = service.result.as_ref().map(|result| result.code);
            let (this, by) = match code.map_or(Verdict::Success, verdict) {
                Verdict::Success => (good, Basis::Ocs),
                Verdict::Free => (Outcome::Free, Basis::Ocs),
                Verdict::Denied | Verdict::UnknownSession => (Outcome::Denied, Basis::Ocs),
                _ if ccfh == Ccfh::Continue => (Outcome::Unverified, Basis::FailurePolicy),
                _ => (Outcome::Denied, Basis::FailurePolicy),
            };
            let over = granted_nothing(&change.slot.session, service.rating_group);
            goes_on |= this != Outcome::Denied && !over;
            nothing |= over;
            if outcome.is_none_or(|known| this > known) {
                basis = by;
                status = sip_status(code.flatten());
            }
            outcome = Some(outcome.map_or(this, |known| worst(known, this)));
        }
        let outcome = outcome.unwrap_or(good);
        let service = match (last, outcome == Outcome::Denied && !goes_on) {
            (true, _) => ServiceAdvice::Stop,
            (false, true) => ServiceAdvice::Block,
            // C-20: the last grant is nothing; the service ends at once.
            (false, false) if nothing && !goes_on => ServiceAdvice::Stop,
            (false, false) => ServiceAdvice::Continue,
        };
        let sip_status = status.filter(|_| service == ServiceAdvice::Block);
        let stop_by = if last { None } else { quota::stop_by(&change.slot.session.counters) };
        Decision { outcome, basis, advice: Advice { service, sip_status, stop_by } }
    }

    /// An interim on an idle leg, and what its callers are told.
    pub(super) fn idle_decision(&self, session: &Session) -> Decision {
        let Some(ro) = &session.ro else { return Decision::recorded(ServiceAdvice::Continue) };
        let closed = session.closing.is_some();
        let go_on = if closed { ServiceAdvice::Stop } else { ServiceAdvice::Continue };
        if ro.free {
            return Decision::new(Outcome::Free, Basis::Ocs, go_on);
        }
        if closed || self.ccfh(session) == Ccfh::Continue {
            return Decision::new(Outcome::Unverified, Basis::FailurePolicy, go_on);
        }
        Decision::new(Outcome::Denied, Basis::FailurePolicy, ServiceAdvice::Stop)
    }
}

/// Did the OCS grant the last units of this group, and none?
fn granted_nothing(session: &Session, group: Option<u32>) -> bool {
    let grants = session.counters.iter().filter_map(|counter| counter.grant.as_ref());
    grants
        .filter(|grant| group.is_none_or(|group| group == grant.rating_group))
        .any(quota::is_nothing)
}
