//! Answers: when a call is decided, what it is told, and where the answer is kept.

use super::commit::{Change, Effect, Waiter};
use super::engine::{Engine, Fact, encode};
use super::event::Terminate;
use super::outcome::{
    Answer, Basis, Ch1View, Ch2State, Ch2View, Outcome, Reply, ServiceAdvice, Warning,
};
use super::record::Command;
use super::session::{Brief, Call, CallKind, Decision, Session};
use crate::store::{Interface, KeyRow, RecordState};

impl Engine {
    /// Answers every call that is decided; the answer is stored in the same commit.
    pub(super) fn settle_calls(&mut self, change: &mut Change) {
        let ended = super::outcome::SessionState::Ended;
        if change.slot.session.ended_at.is_none() && change.slot.session.state() == ended {
            change.slot.session.ended_at = Some(self.wall);
            change.dirty = true;
            self.ended_facts(&change.slot.session);
        }
        let mut index = 0;
        while index < change.slot.session.calls.len() {
            let call = change.slot.session.calls[index].clone();
            let waiters: Vec<Waiter> =
                change.slot.waiters.iter().copied().filter(|w| w.call == call.id).collect();
            match self.decided(&change.slot.session, &call, &waiters) {
                None => index += 1,
                Some(decision) => {
                    change.slot.session.calls.remove(index);
                    self.answer_call(change, &call, &decision, &waiters);
                }
            }
        }
    }

    fn decided(&self, session: &Session, call: &Call, waiters: &[Waiter]) -> Option<Decision> {
        let brief = call.ccr.and_then(|id| session.brief(id));
        let decision =
            call.decision.clone().or_else(|| brief.and_then(|brief| brief.decision.clone()));
        if waiters.iter().any(|waiter| waiter.at_once) {
            return Some(decision.unwrap_or_else(|| pending(call.kind)));
        }
        let decision = decision?;
        let acknowledged = match call.acr.and_then(|id| session.brief(id)) {
            Some(acr) => acr.state != RecordState::Waiting || acr.due_at.is_some(),
            None => true,
        };
        let waits = waiters.iter().any(|w| w.aca_until.is_some_and(|until| until > self.now));
        (acknowledged || !waits).then_some(decision)
    }

    fn answer_call(
        &mut self,
        change: &mut Change,
        call: &Call,
        decision: &Decision,
        waiters: &[Waiter],
    ) {
        let answer = answer(&change.slot.session, call, decision);
        Engine::owe_outcome(change, call, &answer);
        let body = encode(&answer);
        for key in &call.keys {
            change.keys.push(KeyRow {
                key: key.name(),
                fingerprint: key.fingerprint,
                subject: change.slot.session.key.clone(),
                answer: Some(body.clone()),
                expires_at: self.wall + self.policy.key_lifetime,
            });
        }
        change.dirty = true;
        change.slot.waiters.retain(|waiter| waiter.call != call.id);
        for waiter in waiters {
            let answer = Box::new(answer.clone());
            let reply = Reply::Answered { answer, replayed: waiter.replayed };
            change.effects.push(Effect::Reply(waiter.caller, reply));
        }
        if call.ccr.is_none() && call.decision.is_some() {
            let interface =
                if change.slot.session.interfaces.ch2 { Interface::Ch2 } else { Interface::Ch1 };
            self.outcome_fact(&change.slot.session, interface, decision);
        }
    }

    /// Counts a decision about money.
    pub(super) fn outcome_fact(
        &mut self,
        session: &Session,
        interface: Interface,
        decision: &Decision,
    ) {
        let service = self.service_label(session);
        self.fact(Fact::Outcome {
            interface,
            service,
            outcome: decision.outcome,
            basis: decision.basis,
        });
    }

    /// A service name of the configuration, or empty: label values stay bounded.
    pub(super) fn service_label(&self, session: &Session) -> String {
        session
            .service
            .clone()
            .filter(|name| self.policy.services.contains_key(name))
            .unwrap_or_default()
    }

    fn ended_facts(&mut self, session: &Session) {
        if session.event.is_some() {
            return;
        }
        let reason =
            session.closing.as_ref().map_or_else(|| "normal".to_owned(), |c| c.reason.clone());
        if session.interfaces.ch1 {
            let reason = reason.clone();
            self.fact(Fact::SessionEnded { interface: Interface::Ch1, reason });
        }
        if session.interfaces.ch2 {
            let lost = session.ro.as_ref().is_some_and(|ro| ro.backup);
            let reason = if lost { "lost".to_owned() } else { reason };
            self.fact(Fact::SessionEnded { interface: Interface::Ch2, reason });
        }
    }

    /// `api.max_wait`, or the N of `Prefer: wait=N`, has passed for a call.
    pub(super) fn wait_over(&mut self, change: &mut Change, call: u32) {
        let now = self.now;
        for waiter in change.slot.waiters.iter_mut().filter(|waiter| waiter.call == call) {
            if waiter.aca_until.is_some_and(|until| until <= now) {
                waiter.aca_until = None;
                return;
            }
        }
        let ccr_decided = |session: &Session, call: &Call| {
            call.ccr.and_then(|id| session.brief(id)).is_some_and(|b| b.decision.is_some())
        };
        let session = &change.slot.session;
        let undecided = session
            .calls
            .iter()
            .any(|c| c.id == call && c.decision.is_none() && !ccr_decided(session, c));
        if undecided && let Some(call) = change.slot.session.calls.iter_mut().find(|c| c.id == call)
        {
            call.decision = Some(pending(call.kind));
        }
    }
}

/// `outcome: "pending"`.
fn pending(kind: CallKind) -> Decision {
    let service = match kind {
        CallKind::Terminate => ServiceAdvice::Stop,
        _ => ServiceAdvice::Continue,
    };
    Decision::new(Outcome::Pending, Basis::LocalRule, service)
}

/// The answer to a call.
fn answer(session: &Session, call: &Call, decision: &Decision) -> Answer {
    let shows_grants = matches!(call.kind, CallKind::Start | CallKind::Interim);
    let ch1 = match call.acr.and_then(|id| session.brief(id)) {
        Some(brief) => brief.ch1(),
        None if call.kind == CallKind::Terminate => stop_view(session),
        None => Ch1View::none(),
    };
    let ch2 = match call.ccr.and_then(|id| session.brief(id)) {
        Some(brief) => brief.ch2(),
        None if call.kind == CallKind::Terminate => termination_view(session),
        None if call.queued => Ch2View { state: Ch2State::Pending, ..Ch2View::none() },
        None => Ch2View::none(),
    };
    Answer {
        subject: session.subject.clone(),
        sequence: call.sequence,
        state: session.state(),
        outcome: decision.outcome,
        basis: decision.basis,
        advice: decision.advice.clone(),
        grants: if shows_grants { session.grants() } else { Vec::new() },
        debit: if shows_grants { None } else { session.debit_view() },
        ch2,
        ch1,
        warnings: call.warnings.clone(),
        created: call.kind == CallKind::Start,
    }
}

/// The answer to a repeat that has no stored answer: the state as it is now.
pub(super) fn current(session: &Session, kind: CallKind, warnings: Vec<Warning>) -> Answer {
    let find = |wanted: Command| session.records.iter().rev().find(|b| b.command == wanted);
    let (acr, ccr) = match kind {
        CallKind::Start => (find(Command::AcrStart), find(Command::CcrInitial)),
        CallKind::Interim => (find(Command::AcrInterim), find(Command::CcrUpdate)),
        CallKind::Terminate => (find(Command::AcrStop), None),
        CallKind::Event => (find(Command::AcrEvent), find(Command::CcrEvent)),
    };
    let call = Call {
        id: 0,
        kind,
        sequence: session.last_sequence,
        keys: Vec::new(),
        ccr: ccr.map(|brief| brief.id),
        queued: false,
        acr: acr.map(|brief| brief.id),
        decision: None,
        warnings,
    };
    let decision = match kind {
        CallKind::Terminate => current_decision(session),
        _ => {
            ccr.and_then(|brief| brief.decision.clone()).unwrap_or_else(|| session.decision.clone())
        }
    };
    answer(session, &call, &decision)
}

/// What a terminate is told now.
fn current_decision(session: &Session) -> Decision {
    if session.interfaces.ch2 && matches!(termination_view(session).state, Ch2State::Pending) {
        let told = termination(session).and_then(|brief| brief.decision.clone());
        return told.unwrap_or_else(|| pending(CallKind::Terminate));
    }
    session.decision.clone()
}

fn termination(session: &Session) -> Option<&Brief> {
    session.records.iter().rev().find(|brief| brief.command == Command::CcrTermination)
}

fn stop_view(session: &Session) -> Ch1View {
    let stop = session.records.iter().rev().find(|brief| brief.command == Command::AcrStop);
    stop.map_or_else(Ch1View::none, Brief::ch1)
}

/// `ch2` of a terminate.
pub(super) fn termination_view(session: &Session) -> Ch2View {
    let Some(ro) = &session.ro else { return Ch2View::none() };
    let denied_at_start = session.closing.as_ref().is_some_and(|c| c.trigger.is_none());
    match termination(session) {
        Some(brief) if !denied_at_start => brief.ch2(),
        _ if ro.queued_termination => Ch2View { state: Ch2State::Pending, ..Ch2View::none() },
        _ if ro.free => Ch2View::none(),
        _ if denied_at_start => session
            .records
            .iter()
            .find(|brief| brief.command == Command::CcrInitial)
            .map_or_else(Ch2View::none, Brief::ch2),
        _ => Ch2View { state: Ch2State::Failed, ..Ch2View::none() },
    }
}

/// What a late closing trigger is told besides the state.
pub(super) fn late_warnings(terminate: &Terminate, session: &Session) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if !terminate.usage.is_empty() {
        warnings.push(Warning {
            code: "usage-ignored".to_owned(),
            detail: "`usage` was frozen by the first closing trigger; these figures are ignored"
                .to_owned(),
        });
    }
    if let Some(sequence) = terminate.sequence.filter(|s| *s < session.last_sequence) {
        warnings.push(out_of_order(sequence, session.last_sequence));
    }
    warnings
}

/// A terminate is never refused for its sequence.
pub(super) fn out_of_order(sequence: u64, last: u64) -> Warning {
    Warning {
        code: "sequence-out-of-order".to_owned(),
        detail: format!("sequence {sequence} is lower than the last one, {last}"),
    }
}
