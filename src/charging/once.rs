//! `POST /v1/events`: an event as a session of one request.

use super::accept::cause_codes;

use super::commit::Change;
use super::engine::{CallerId, Checked, Engine};
use super::event::{
    CauseKind, CloseTrigger, EventAction, Interfaces, OneTimeEvent, Request, Start, Trigger,
};
use super::io::Alarm;
use super::outcome::{MappingProblem, ServiceAdvice, Subject};
use super::record::Command;
use super::request::Moment;
use super::session::{Closing, Decision, Session, SessionModel};

impl Engine {
    /// ECUR: the reservation of an event was granted; what was reserved is used, and reported.
    pub(super) fn event_granted(&mut self, change: &mut Change) {
        let Some(event) = change.slot.session.event.clone() else { return };
        for counter in change.slot.session.counters.iter_mut().filter(|c| c.online && !c.refused) {
            counter.total = event.units.clone();
        }
        change.slot.session.closing = Some(Closing {
            trigger: Some(CloseTrigger::Aborted),
            timestamp: event.timestamp,
            cause_code: 0,
            termination_cause: 4,
            reason_header: Vec::new(),
            bye_at: None,
            armed: None,
            reason: "normal".to_owned(),
        });
        if let Err(problems) =
            self.terminate_now(change, super::credit_control::Event::UserTerminated)
        {
            self.alarm(Alarm::CannotClose, None, format!("{problems:?}"));
            return;
        }
        let ccr = change.slot.session.ro.as_ref().and_then(|ro| ro.outstanding);
        for call in &mut change.slot.session.calls {
            call.ccr = ccr;
        }
    }

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
        session.refund_information = self.refunds.remove(&caller);
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

    pub(super) fn event_session(&self, event: &OneTimeEvent, interfaces: Interfaces) -> Session {
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
        let service = self.service(Some(&event.service)).cloned();
        let mut session = self.new_session(&start, interfaces, service.as_ref());
        session.key = Session::event_key(event);
        session.subject = Subject::Event(event.event_id.clone());
        session.event = Some(event.clone());
        session
    }

    pub(super) fn event_records(
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
            let reserves = change.slot.session.model == SessionModel::Ecur
                && event.action == EventAction::Debit;
            ccr = Some(if reserves {
                self.credit_initial(change, event.timestamp, &[(group, event.units.clone())])?
            } else {
                self.credit_event(change, event, group, moment)?
            });
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
}
