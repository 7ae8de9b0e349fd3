//! `…/terminate`: the closing table asked and performed; orphans; the longest session.

use super::accept::{cause_codes, override_content};

use super::commit::Change;
use super::credit_control::{Event, State};
use super::engine::{Alarm, CallerId, Checked, Engine, Fact, owner_of};
use super::event::{
    Cause, CauseKind, CloseTrigger, Interfaces, Request, Start, Terminate, Trigger,
};
use super::outcome::{MappingProblem, Refusal, Reply, ServiceAdvice, Warning};
use super::quota;
use super::record::Command;
use super::reply;
use super::session::{CallKey, CallKind, Closing, Decision, Session};
use super::trigger::{Stop, Termination, find};
use crate::store::KeyRow;

impl Engine {
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
    pub(super) fn close_call(
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

    pub(super) fn first_close(
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
        // A last report may have used up the last units.
        let now = self.wall;
        self.quota_reports(&mut change.slot.session, now);
        change.dirty = true;
        self.fact(Fact::Took(row.id));
        match row.stop {
            Stop::Now => drop(self.stop_now(change, trigger)?),
            Stop::Armed => self.arm_stop(change)?,
            Stop::Release | Stop::None => {}
        }
        match row.termination {
            Termination::Now => {
                let counters = &change.slot.session.counters;
                let event = if counters.iter().any(quota::has_ended) {
                    Event::FinalUnitElapses
                } else {
                    Event::UserTerminated
                };
                self.terminate_now(change, event)?;
            }
            Termination::Queued => {
                let ccfh = self.ccfh(&change.slot.session);
                let state = change.slot.session.ro.as_ref().map_or(State::Idle, |ro| ro.state);
                self.took(super::credit_control::find(state, Event::UserTerminated, ccfh));
                if let Some(ro) = change.slot.session.ro.as_mut() {
                    ro.queued_termination = true;
                }
            }
            Termination::None => self.close_idle(change),
        }
        for counter in &mut change.slot.session.counters {
            if let Some(row) = quota::find(counter.quota, quota::Event::Closed) {
                counter.quota = row.next;
            }
        }
        Ok(())
    }

    /// A later closing trigger can only advance an armed STOP.
    pub(super) fn later_close(
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
}
