//! `POST /v1/sessions`: a session with its legs and first records.

use super::accept::no_route;

use super::commit::Change;
use super::credit_control::State;
use super::engine::{CallerId, Checked, Engine};
use super::event::{Interfaces, Request, Start, Trigger, UnitRequest, Units};
use super::outcome::{MappingProblem, ServiceAdvice, Subject};
use super::policy::{Model, Service};
use super::record::Command;
use super::request::Moment;
use super::session::{Decision, RfLeg, RoLeg, Session};
use crate::store::Interface;

impl Engine {
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
        self.end_session_at(&key, self.wall + self.policy.termination.max_session);
        change.origin = Some((caller, request, checked));
        self.finish(change);
    }

    pub(super) fn new_session(
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
            abort_at: None,
            refund_information: None,
        }
    }

    /// Requested units by rating group; a CCR-I without any asks for the service's group.
    pub(super) fn requests(
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

    pub(super) fn start_records(
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
        change.slot.session.rf = Some(RfLeg::new(session_id, first_number, route));
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
            told_pending: false,
        });
        Ok(())
    }
}
