//! Copies of a record on their way to peers: who gets the next one, and when.
//!
//! The engine says what may happen (`Submission`); `peer::routing` picks the peer and
//! `peer::pending` decides T from the history given here.

use std::time::Duration;

use bytes::Bytes;

use super::commit::{Change, Effect};
use super::credit_control::{Event, State, find_event};
use super::engine::{Action, Alarm, Engine, Fact, Submission, Timer};
use super::planted::EngineBug;
use super::policy::Ccfh;
use super::record::{Command, Copy, Record};
use super::verdict::{Verdict, verdict};
use crate::store::{Interface, RecordId, RecordState};

/// First and longest delay between tries of an ACR that no CDF takes.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// How long a late answer to a request that was given up is still looked for.
pub(super) const LATE: Duration = Duration::from_secs(600);

impl Engine {
    /// Hands one copy to the gateway.
    pub(super) fn submit(&mut self, id: RecordId, reason: &'static str) {
        let token = self.token(id);
        if let Some(submission) = self.submission(token, reason) {
            let leaving = !self.has_bug(EngineBug::StateReadEarly);
            if let Some(record) = self.records.get_mut(&id) {
                record.leaving = leaving;
            }
            self.out.push(Action::Submit(submission));
        }
    }

    /// The copy that was handed over waits for a place: nothing has left.
    pub fn waits_for_room(&mut self, token: u64) {
        if let Some(id) = self.record_of(token)
            && let Some(record) = self.records.get_mut(&id)
        {
            record.leaving = false;
        }
    }

    /// The copy of a request as it would leave now; `None` if none is wanted any more.
    ///
    /// Whoever keeps a copy back until a peer has room asks again when it has: the record may have
    /// been rewritten, or settled, meanwhile.
    pub fn submission(&self, token: u64, reason: &'static str) -> Option<Submission> {
        let record = self.records.get(&self.record_of(token)?)?;
        if record.state != RecordState::Waiting || record.due_at.is_some() {
            return None;
        }
        let session = self.sessions.get(&record.owner).map(|slot| &slot.session);
        let ro = session.and_then(|session| session.ro.as_ref());
        let online = record.command.interface() == Interface::Ch2;
        let within = matches!(record.command, Command::CcrUpdate | Command::CcrTermination);
        let ccfh = session.map_or(Ccfh::Terminate, |session| self.ccfh(session));
        let outstanding =
            record.copies.iter().filter(|copy| copy.outstanding).map(|copy| copy.peer);
        let mut exclude: Vec<usize> = record.tried.iter().copied().chain(outstanding).collect();
        exclude.sort_unstable();
        exclude.dedup();
        let server = match (online && within, online) {
            (true, _) => ro.and_then(|ro| ro.server.clone()),
            (false, true) => None,
            (false, false) => session.and_then(|s| s.rf.as_ref()).and_then(|rf| rf.server.clone()),
        };
        Some(Submission {
            token,
            command: record.command,
            message: record.message.clone(),
            route: record.route,
            server,
            via: ro.and_then(|ro| {
                let name = ro.server_peer.as_ref()?;
                self.policy.peers.iter().position(|peer| peer.name == *name)
            }),
            failover: ro.is_some_and(|ro| ro.failover),
            same_server: record.command == Command::CcrUpdate
                && record.unanswered
                && ccfh == Ccfh::Terminate,
            exclude,
            repeat_allowed: matches!(reason, "timeout" | "retry" | "restart" | "store" | "full")
                && (within || !online || record.copies.is_empty()),
            domain: record
                .domain
                .clone()
                .filter(|_| online && !self.has_bug(EngineBug::CopyToOtherDomain)),
            initial: record.number == 0,
            error_mark: record.unmarking,
            unanswered: record.unanswered,
            recovered: record.recovered,
            earlier_copies: record.attempts,
            reason,
        })
    }

    /// Tx of the request of this token.
    pub fn tx_of(&self, token: u64) -> Option<Duration> {
        let record = self.records.get(&self.record_of(token)?)?;
        Some(self.tx(record.route, record.command))
    }

    /// A peer has the copy.
    pub(super) fn sent(&mut self, token: u64, peer: usize) {
        let Some(id) = self.record_of(token) else { return };
        let (name, domain) = match self.policy.peers.get(peer) {
            Some(profile) => (profile.name.clone(), profile.dedup_domain.clone()),
            None => return,
        };
        let now = self.now;
        let Some(record) = self.records.get_mut(&id) else { return };
        record.copies.push(Copy { peer, outstanding: true });
        record.attempts += 1;
        record.copies_made += 1;
        record.leaving = false;
        record.sent_at = Some(now);
        record.parked = false;
        record.unmarking = false;
        if record.domain.is_none() && record.command.interface() == Interface::Ch2 {
            record.domain = Some(domain);
        }
        let (copy, route, command, owner, attempts) = (
            record.copies_made,
            record.route,
            record.command,
            record.owner.clone(),
            record.attempts,
        );
        self.parked.remove(&id);
        if let Some(slot) = self.sessions.get_mut(&owner)
            && let Some(brief) = slot.session.brief_mut(id)
        {
            brief.peer = Some(name);
            brief.attempts = attempts;
        }
        let tx = self.tx(route, command);
        self.after(tx, Timer::Tx(id, copy));
    }

    /// An answer: to the leg that the record belongs to.
    pub(super) fn answered(
        &mut self,
        change: &mut Change,
        id: RecordId,
        peer: usize,
        hop_by_hop: u32,
        bytes: &Bytes,
        round_trip: Duration,
    ) {
        let reading = super::reading::read(bytes, &self.library.dictionary.clone());
        let Some(record) = self.records.get_mut(&id) else { return };
        let wrong = reading.number.is_some_and(|number| number != record.number)
            || reading.kind.is_some_and(|kind| kind != record.command.type_value());
        if wrong {
            // S-13, FA-09: not the answer to this request; it stays unanswered.
            let detail = format!(
                "answer to {} {} carries another type or number",
                record.command.name(),
                record.number
            );
            self.alarm(Alarm::AnswerMixed, Some(id), detail);
            return;
        }
        record.end_copy(peer);
        let (command, attempts) = (record.command, record.attempts);
        let name = self.policy.peers.get(peer).map(|profile| profile.name.clone());
        let session = &mut change.slot.session;
        if let Some(brief) = session.brief_mut(id) {
            brief.result = Some(reading.result.clone());
            brief.peer = name;
            brief.attempts = attempts;
            brief.hop_by_hop = Some(hop_by_hop);
            brief.round_trip_micros =
                Some(u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX));
        }
        for avp in &reading.result.failed_avp {
            self.fact(Fact::FailedAvp { peer, avp: avp.clone() });
        }
        if command.interface() == Interface::Ch1 {
            self.accounting_answer(change, id, peer, &reading);
        } else {
            self.credit_answer(change, id, peer, &reading);
        }
    }

    /// The connection of a copy ended.
    pub(super) fn lost(&mut self, change: &mut Change, id: RecordId, peer: usize, sent: bool) {
        let Some(record) = self.records.get_mut(&id) else { return };
        if !(if sent { record.end_copies(peer) } else { record.take_back(peer) }) {
            return;
        }
        record.unanswered |= sent;
        record.tried.push(peer);
        if record.state != RecordState::Waiting {
            if !record.in_flight() {
                self.drop_record(id);
                change.slot.live.remove(&id);
            }
            return;
        }
        if !record.in_flight() {
            change.effects.push(Effect::Send(id, "lost"));
        }
    }

    /// The peer had no room for the copy: it never left, and looks for a place again.
    pub(super) fn refused(&mut self, change: &mut Change, id: RecordId, peer: usize) {
        let Some(record) = self.records.get_mut(&id) else { return };
        if !record.take_back(peer) {
            return;
        }
        let attempts = record.attempts;
        let (waiting, in_flight) = (record.state == RecordState::Waiting, record.in_flight());
        if let Some(brief) = change.slot.session.brief_mut(id) {
            brief.attempts = attempts;
        }
        if !waiting {
            if !in_flight {
                self.drop_record(id);
                change.slot.live.remove(&id);
            }
        } else if !in_flight {
            change.effects.push(Effect::Send(id, "full"));
        }
    }

    /// The peer sent the request elsewhere (RFC 6733, 6.1.8): an error that no server has seen, so
    /// the copy follows at once with T clear.
    pub(super) fn redirected(&mut self, change: &mut Change, id: RecordId, peer: usize) {
        let Some(record) = self.records.get_mut(&id) else { return };
        if !record.end_copy(peer) {
            return;
        }
        record.tried.push(peer);
        let (waiting, in_flight) = (record.state == RecordState::Waiting, record.in_flight());
        if !waiting {
            if !in_flight {
                self.drop_record(id);
                change.slot.live.remove(&id);
            }
        } else if !in_flight {
            change.effects.push(Effect::Send(id, "redirect"));
        }
    }

    /// No allowed peer can take the copy.
    pub(super) fn no_peer(&mut self, change: &mut Change, id: RecordId) {
        let Some(record) = self.records.get(&id) else { return };
        if record.state != RecordState::Waiting {
            return;
        }
        let (command, expired, in_flight) = (record.command, record.expired, record.in_flight());
        // An earlier copy may have been served: that it cannot be sent now does not undo it.
        let maybe_served = record.unanswered || record.recovered;
        match command {
            Command::CcrInitial if record.recovered && record.copies.is_empty() => {
                self.park(change, id);
            }
            Command::CcrInitial => {
                let event = if expired > 0 { Event::TxExpired } else { Event::CannotSend };
                self.leg_event(change, id, event, None);
            }
            Command::CcrEvent => {
                let event = self.unsent_event(change, id);
                self.event_event(change, id, event, None);
                self.park(change, id);
            }
            Command::CcrUpdate | Command::CcrTermination => {
                if expired > 0 || (maybe_served && !in_flight) {
                    self.leg_event(change, id, Event::TxExpired, None);
                } else if !in_flight {
                    self.leg_event(change, id, Event::CannotSend, None);
                }
                self.park(change, id);
            }
            _ => {
                self.account_event(change, id, super::accounting::Event::FailureToSend);
                self.park(change, id);
            }
        }
    }

    /// Why no copy of a one-time event's request can leave: table 5 tells three cases apart.
    fn unsent_event(&self, change: &Change, id: RecordId) -> Event {
        let expired = self.records.get(&id).is_some_and(|record| record.expired > 0);
        let code = change.slot.session.brief(id).and_then(|b| b.result.as_ref()?.code);
        let temporary = verdict(code) == Verdict::Temporary;
        match (expired, self.refused_everywhere(change)) {
            (true, _) if temporary => Event::TemporaryErrorLate,
            (true, _) => Event::TxExpired,
            (false, true) => Event::TemporaryError,
            (false, false) => Event::CannotSend,
        }
    }

    /// Leaves a record until a peer opens; an ACR also until its next try.
    fn park(&mut self, change: &mut Change, id: RecordId) {
        let Some(record) = self.records.get_mut(&id) else { return };
        if record.state != RecordState::Waiting {
            return;
        }
        record.parked = true;
        let never = record.copies.is_empty();
        let all_errors = !record.copies.is_empty()
            && !record.in_flight()
            && !record.unanswered
            && !record.recovered;
        let online = record.command.interface() == Interface::Ch2;
        let (route, command) = (record.route, record.command);
        let delay = retry_delay(record.backoff);
        if all_errors && !record.error_mark {
            // T law, line 1: the mark goes to disk before the record is left alone.
            if let Some(record) = self.touch(change, id) {
                record.error_mark = true;
            }
        }
        self.parked.insert(id);
        self.has_left(id);
        if online {
            if never {
                let tx = self.tx(route, command);
                self.after(tx, Timer::Retry(id));
            }
            return;
        }
        if self.route_usable(route) {
            if let Some(record) = self.records.get_mut(&id) {
                record.backoff = record.backoff.saturating_add(1);
            }
            self.after(delay, Timer::Retry(id));
        }
    }

    /// Tx ran out on the newest copy.
    pub(super) fn tx_expired(&mut self, change: &mut Change, id: RecordId, copy: u32) {
        let ccfh = self.ccfh(&change.slot.session);
        let Some(record) = self.records.get_mut(&id) else { return };
        let newest = record.copies_made == copy && !record.copies.is_empty();
        if record.state != RecordState::Waiting || !newest {
            return;
        }
        let silent = record.copies.last().filter(|copy| copy.outstanding).map(|copy| copy.peer);
        if record.in_flight() {
            record.unanswered = true;
        }
        if silent.is_none() && record.command.interface() == Interface::Ch1 {
            // Its last copy has ended: it is left alone for its delay, and never for good.
            if !record.parked && !record.leaving {
                self.park(change, id);
            }
            return;
        }
        record.expired += 1;
        let first = record.expired == 1;
        let repeated = std::mem::replace(&mut record.repeated, true);
        let command = record.command;
        if let Some(peer) = silent {
            self.fact(Fact::Timeout { peer, command: command.name() });
        }
        match command {
            Command::CcrInitial if first && ccfh != Ccfh::Terminate => {
                change.effects.push(Effect::Send(id, "copy"));
            }
            Command::CcrInitial => self.leg_event(change, id, Event::TxExpired, None),
            Command::CcrUpdate | Command::CcrTermination => {
                let told = !first
                    || ccfh == Ccfh::Terminate
                    || change
                        .slot
                        .session
                        .ro
                        .as_ref()
                        .is_some_and(|ro| ro.state == State::PendingT);
                if told {
                    self.leg_event(change, id, Event::TxExpired, None);
                }
                if repeated {
                    self.park(change, id);
                } else {
                    self.next_copy(change, id, "timeout");
                }
            }
            Command::CcrEvent if first => self.next_copy(change, id, "copy"),
            Command::CcrEvent => {
                self.event_event(change, id, Event::TxExpired, None);
                self.park(change, id);
            }
            _ => self.next_copy(change, id, "copy"),
        }
    }

    /// A peer opened, or an ACR's delay has passed.
    pub(super) fn retry(&mut self, change: &mut Change, id: RecordId) {
        let head = self.may_send(change, id);
        let Some(record) = self.records.get_mut(&id) else { return };
        let silent = record.in_flight();
        let online = record.command.interface() == Interface::Ch2;
        if record.state != RecordState::Waiting || record.due_at.is_some() || !record.parked {
            return;
        }
        if !head || (silent && online) {
            return;
        }
        record.parked = false;
        record.tried.clear();
        self.parked.remove(&id);
        if silent && let Some(record) = self.records.get_mut(&id) {
            record.unanswered = true;
        }
        self.next_copy(change, id, "retry");
    }

    /// ACR n+1 waits for ACA n or its end; a backup record or one sent again stands alone.
    pub(super) fn may_send(&self, change: &Change, id: RecordId) -> bool {
        let Some(record) = self.records.get(&id) else { return false };
        let rf = change.slot.session.rf.as_ref();
        match record.command.interface() {
            Interface::Ch2 => true,
            Interface::Ch1 => {
                let queue = rf.map(|rf| rf.queue.as_slice()).unwrap_or_default();
                record.backup || !queue.contains(&id) || queue.first() == Some(&id)
            }
        }
    }

    /// ACC-03, CC5-02: a record in storage is sent again.
    fn stored_sent(&mut self, change: &Change, id: RecordId) {
        let Some(record) = self.records.get(&id) else { return };
        if record.command == Command::CcrEvent {
            let handling = self.handling(change);
            self.took(find_event(State::Idle, Event::Stored, handling));
        } else if record.command.interface() == Interface::Ch1
            && (record.recovered || record.stored)
        {
            use super::accounting::{Event, State, find};
            let row = find(State::Idle, Event::RecordsInStorage, None, true);
            self.fact(Fact::Took(row.map_or("ACC-03", |row| row.id)));
        }
    }

    /// The next copy; a mark on disk is taken off in a commit before it leaves (T law, line 1).
    pub(super) fn next_copy(&mut self, change: &mut Change, id: RecordId, reason: &'static str) {
        if reason != "timeout" {
            self.stored_sent(change, id);
        }
        let marked = self.records.get(&id).is_some_and(|record| record.error_mark);
        if !marked {
            change.effects.push(Effect::Send(id, reason));
            return;
        }
        if let Some(record) = self.touch(change, id) {
            record.error_mark = false;
            record.unmarking = true;
        }
        change.effects.push(Effect::Unmarked(id));
    }

    /// The mark is off on disk: the copy may leave.
    pub(super) fn unmarked(&mut self, change: &mut Change, id: RecordId) {
        change.effects.push(Effect::Send(id, "retry"));
    }

    /// Late answers are no longer looked for.
    pub(super) fn forget(&mut self, change: &mut Change, id: RecordId) {
        let over = self.records.get(&id).is_some_and(|record| record.state != RecordState::Waiting);
        if over {
            self.drop_record(id);
            change.slot.live.remove(&id);
        }
    }

    /// Gives a record its final state, here and in the session's memory of it.
    pub(super) fn conclude(&mut self, change: &mut Change, id: RecordId, state: RecordState) {
        if let Some(record) = self.touch(change, id) {
            record.state = state;
            record.error_mark = false;
        }
        self.has_left(id);
        self.parked.remove(&id);
        self.forget_window(id);
        if let Some(brief) = change.slot.session.brief_mut(id) {
            brief.state = state;
            brief.due_at = None;
        }
        Engine::notify_final(change, id, state);
        if self.records.get(&id).is_some_and(Record::in_flight) {
            self.after(LATE, Timer::Forget(id));
        }
    }
}

/// 1 s, doubled up to 30 s.
fn retry_delay(tries: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1u32.checked_shl(tries.min(5)).unwrap_or(32)).min(RETRY_LONGEST)
}
