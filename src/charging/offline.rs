//! The Rf leg: records in order, one on its way at a time, none lost (RFC 6733, 8.2; api.md, "On CH-1").

use super::accept::Draft;
use std::time::Duration;

use super::accounting::{Event, State, Step, find, pending};
use super::commit::{Change, Effect};
use super::engine::{Alarm, Engine, Fact, Timer};
use super::event::{CauseKind, CloseTrigger, Terminate};
use super::outcome::MappingProblem;
use super::planted::EngineBug;
use super::reading::Reading;
use super::record::Command;
use super::request::{MessageIds, Moment, build};
use super::session::Closing;
use super::verdict::{AccountingVerdict, accounting_verdict};
use crate::clock::Wall;
use crate::store::{RecordId, RecordState};

impl Engine {
    /// Makes the next record of the accounting session and sends it when its turn comes.
    pub(super) fn account(
        &mut self,
        change: &mut Change,
        command: Command,
        moment: Moment,
        due_at: Option<Wall>,
    ) -> Result<RecordId, Vec<MappingProblem>> {
        let older = self.supersedable(change, command);
        self.account_request(change, command);
        let Some(rf) = change.slot.session.rf.as_mut() else { return Err(Vec::new()) };
        let (session_id, route) = (rf.session_id.clone(), rf.route);
        let number = match older {
            Some((_, number)) => number,
            None => {
                rf.next_number += 1;
                rf.next_number - 1
            }
        };
        let draft = Draft {
            command,
            session_id,
            number,
            route,
            moment,
            reported: Vec::new(),
            requested: Vec::new(),
            due_at,
        };
        let id = self.draft(change, draft)?;
        if let Some((old, _)) = older {
            self.conclude(change, old, RecordState::Superseded);
        }
        let mut first = false;
        if let Some(rf) = change.slot.session.rf.as_mut() {
            if let Some((old, _)) = older {
                rf.queue.retain(|queued| *queued != old);
            }
            first = rf.queue.is_empty();
            rf.queue.push(id);
        }
        if first && due_at.is_none() {
            self.send(change, id, "first");
        }
        Ok(id)
    }

    /// The row of the event that asks for a record; what it does is done by the caller.
    fn account_request(&mut self, change: &Change, command: Command) {
        let Some(rf) = change.slot.session.rf.as_ref() else { return };
        let head = rf.queue.first().and_then(|head| self.records.get(head));
        let state = match head.map(|record| (record.command, record.recovered || record.stored)) {
            Some((Command::AcrStart, false)) => State::PendingS,
            Some((Command::AcrInterim, false)) => State::PendingI,
            // A record in storage has let the session go on (ACC-05, ACC-14).
            _ => State::Open,
        };
        let (state, event) = match command {
            Command::AcrStart => (State::Idle, Event::RequestsAccess),
            Command::AcrInterim => (state, Event::IntervalElapses),
            Command::AcrStop => (state, Event::UserTerminated),
            _ => (State::Idle, Event::RequestsEvent),
        };
        if let Some(row) = find(state, event, rf.realtime, true) {
            self.fact(Fact::Took(row.id));
        }
    }

    /// S-10: a waiting INTERIM that this process life never sent is replaced in place.
    fn supersedable(&self, change: &Change, command: Command) -> Option<(RecordId, u32)> {
        if command != Command::AcrInterim {
            return None;
        }
        let last = change.slot.session.rf.as_ref()?.queue.last()?;
        let record = self.records.get(last)?;
        let fresh = record.command == Command::AcrInterim
            && record.state == RecordState::Waiting
            && record.is_unsent();
        fresh.then_some((record.id, record.number))
    }

    /// An ACA.
    pub(super) fn accounting_answer(
        &mut self,
        change: &mut Change,
        id: RecordId,
        peer: usize,
        reading: &Reading,
    ) {
        let state = self.records.get(&id).map(|record| record.state);
        if state != Some(RecordState::Waiting) {
            return;
        }
        let code = if reading.unusable.is_some() { None } else { reading.code };
        // RFC 6733, 9.8.7: an answer that fails may say what to do about it.
        if let Some(rf) = change.slot.session.rf.as_mut() {
            rf.realtime = reading.realtime.or(rf.realtime);
        }
        let verdict = match accounting_verdict(code) {
            AccountingVerdict::Failed if self.has_bug(EngineBug::DeadAsAcknowledged) => {
                AccountingVerdict::Acknowledged
            }
            verdict => verdict,
        };
        match verdict {
            AccountingVerdict::Acknowledged => {
                self.account_event(change, id, Event::Success);
                self.remember_cdf(change, reading);
                self.conclude(change, id, RecordState::Acknowledged);
                self.advance(change, id);
            }
            AccountingVerdict::FailureToSend => {
                let result = reading.result.clone();
                if let Some(record) = self.records.get_mut(&id) {
                    record.tried.push(peer);
                    record.last_result = Some(result);
                    if record.in_flight() {
                        return;
                    }
                }
                change.effects.push(Effect::Send(id, "error"));
            }
            AccountingVerdict::Failed => {
                self.account_event(change, id, Event::Failed);
                let result = reading.result.clone();
                let words = match (&reading.unusable, result.code) {
                    (Some(why), _) => format!("the ACA cannot be used: {why}"),
                    (None, Some(code)) => format!("the CDF answered {code}"),
                    (None, None) => "the ACA has no Result-Code".to_owned(),
                };
                if let Some(record) = self.touch(change, id) {
                    record.last_result = Some(result);
                }
                self.conclude(change, id, RecordState::Dead);
                self.alarm(Alarm::Dead, Some(id), words);
                self.advance(change, id);
            }
        }
    }

    /// One event of the accounting session: the row is found, and what it does to the user is done.
    pub(super) fn account_event(&mut self, change: &mut Change, id: RecordId, event: Event) {
        let Some(record) = self.records.get(&id) else { return };
        let state = pending(record.command, record.recovered || record.stored);
        let realtime = change.slot.session.rf.as_ref().and_then(|rf| rf.realtime);
        let Some(row) = find(state, event, realtime, true) else { return };
        self.fact(Fact::Took(row.id));
        if row.steps.contains(&Step::Store)
            && let Some(record) = self.records.get_mut(&id)
        {
            record.stored = true;
        }
        if row.steps.contains(&Step::DisconnectUser) {
            self.disconnect_user(change);
        }
    }

    /// S-08, S-19, S-22, S-23: what an ACA says about the session; the latest value wins.
    fn remember_cdf(&mut self, change: &mut Change, reading: &Reading) {
        let Some(rf) = change.slot.session.rf.as_mut() else { return };
        rf.server = reading.origin_host.clone().or(rf.server.take());
        if !reading.class.is_empty() {
            rf.class.clone_from(&reading.class);
        }
        rf.multi_session_id = reading.multi_session_id.clone().or(rf.multi_session_id.take());
        if reading.interim_secs.is_some() {
            rf.interim_secs = reading.interim_secs;
            self.arm_interim(change);
        }
    }

    /// S-09: the next interim by time, spread over ±10 %; the floor of 5 s keeps a CDF that asks for
    /// 1 s from being flooded (FC-06).
    pub(super) fn arm_interim(&mut self, change: &mut Change) {
        let jitter = self.random() % 201;
        let session = &mut change.slot.session;
        let running = session.closing.is_none() && session.event.is_none();
        let Some(rf) = session.rf.as_mut() else { return };
        rf.interim_timer = rf.interim_timer.wrapping_add(1);
        let Some(secs) = rf.interim_secs.filter(|secs| *secs > 0 && running) else { return };
        let millis = u64::from(secs.max(5)) * (900 + jitter);
        let timer = Timer::Interim(session.key.clone(), rf.interim_timer);
        self.after(Duration::from_millis(millis), timer);
    }

    /// ACC-11: Acct-Interim-Interval has elapsed. Never after a closing trigger (F-35).
    pub(super) fn interval_elapsed(&mut self, change: &mut Change, timer: u32) {
        let session = &change.slot.session;
        let current = session.rf.as_ref().is_some_and(|rf| rf.interim_timer == timer);
        if !current || session.closing.is_some() {
            return;
        }
        let moment = Moment { event: self.wall, ..Moment::default() };
        if let Err(problems) = self.account(change, Command::AcrInterim, moment, None) {
            self.alarm(Alarm::MappingDefect, None, format!("{problems:?}"));
        }
        self.arm_interim(change);
    }

    /// The head of the queue is final: the next one may go.
    fn advance(&mut self, change: &mut Change, done: RecordId) {
        let Some(rf) = change.slot.session.rf.as_mut() else { return };
        // A backup record stands alone: its end is nobody's turn.
        if !rf.queue.contains(&done) {
            return;
        }
        rf.queue.retain(|queued| *queued != done);
        let Some(next) = rf.queue.first().copied() else { return };
        let armed = self.records.get(&next).is_none_or(|record| record.due_at.is_some());
        if !armed {
            self.next_copy(change, next, "first");
        }
    }

    /// The STOP_RECORD, now.
    pub(super) fn stop_now(
        &mut self,
        change: &mut Change,
        trigger: CloseTrigger,
    ) -> Result<RecordId, Vec<MappingProblem>> {
        let Some(closing) = change.slot.session.closing.clone() else { return Err(Vec::new()) };
        let answered = trigger == CloseTrigger::ByeOkReceived;
        let moment = Moment {
            event: closing.timestamp,
            sip_request: closing.bye_at,
            sip_response: answered.then_some(closing.timestamp),
            ..closing_moment(&closing)
        };
        self.account(change, Command::AcrStop, moment, None)
    }

    /// The STOP_RECORD as the guard would send it: Cause-Code 408, no response time.
    pub(super) fn arm_stop(&mut self, change: &mut Change) -> Result<(), Vec<MappingProblem>> {
        let Some(closing) = change.slot.session.closing.clone() else { return Ok(()) };
        let due = self.wall + self.policy.termination.ok_timeout;
        let moment = Moment {
            event: closing.timestamp,
            sip_request: closing.bye_at,
            cause_code: Some(408),
            ..closing_moment(&closing)
        };
        let id = self.account(change, Command::AcrStop, moment, Some(due))?;
        if let Some(closing) = change.slot.session.closing.as_mut() {
            closing.armed = Some(id);
        }
        let key = change.slot.session.key.clone();
        self.at_wall(due, Timer::Guard(key, id));
        Ok(())
    }

    /// A later trigger releases the armed STOP, with its own time.
    pub(super) fn release_stop(
        &mut self,
        change: &mut Change,
        terminate: &Terminate,
    ) -> Result<(), Vec<MappingProblem>> {
        let Some(closing) = change.slot.session.closing.clone() else { return Ok(()) };
        let Some(id) = closing.armed else { return Ok(()) };
        let Some(record) = self.records.get(&id).cloned() else { return Ok(()) };
        let answered = terminate.trigger == CloseTrigger::ByeOkReceived;
        let sip_error = terminate
            .cause
            .as_ref()
            .filter(|cause| answered && cause.kind == CauseKind::SipError)
            .and_then(|cause| cause.sip_status);
        let moment = Moment {
            event: terminate.timestamp,
            sip_request: closing.bye_at,
            sip_response: answered.then_some(terminate.timestamp),
            cause_code: sip_error.map(i32::from).or(Some(closing.cause_code)),
            ..closing_moment(&closing)
        };
        let peer = self.model_peer(record.route).unwrap_or(0);
        let policy = self.policy.clone();
        let Some(profile) = policy.peers.get(peer) else { return Ok(()) };
        let ids = MessageIds {
            session_id: &record.diameter_session_id,
            number: record.number,
            end_to_end: record.end_to_end,
            origin_state_id: self.origin_state_id,
        };
        let session = &change.slot.session;
        let message =
            build(&self.library, &policy, profile, Command::AcrStop, &ids, session, &moment)?;
        if let Some(record) = self.touch(change, id) {
            record.message = message;
        }
        self.disarm(change, id);
        Ok(())
    }

    /// The guard ran out: the STOP goes as it was stored.
    pub(super) fn guard_expired(&mut self, change: &mut Change, id: RecordId) {
        let armed = change.slot.session.closing.as_ref().and_then(|closing| closing.armed);
        if armed == Some(id) {
            self.fact(Fact::Took("TRG-guard"));
            self.disarm(change, id);
        }
    }

    fn disarm(&mut self, change: &mut Change, id: RecordId) {
        if let Some(closing) = change.slot.session.closing.as_mut() {
            closing.armed = None;
        }
        if let Some(record) = self.touch(change, id) {
            record.due_at = None;
        }
        if let Some(brief) = change.slot.session.brief_mut(id) {
            brief.due_at = None;
        }
        let head = change.slot.session.rf.as_ref().and_then(|rf| rf.queue.first().copied());
        if head == Some(id) {
            self.send(change, id, "first");
        }
    }
}

/// What STOP, CCR-T and backup record share.
pub(super) fn closing_moment(closing: &Closing) -> Moment {
    Moment {
        event: closing.timestamp,
        method: "BYE",
        cause_code: Some(closing.cause_code),
        termination_cause: Some(closing.termination_cause),
        reason_header: closing.reason_header.clone(),
        ..Moment::default()
    }
}
