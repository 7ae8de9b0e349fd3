//! What the OCS asks: RAR and ASR (RFC 8506, 5.5; RFC 6733, 8.5; api.md section 3).
//!
//! Only the server that owns the session, on its own path, is heard (SEC-03). A repeated request
//! gets the same answer and changes nothing (H-17).

use bytes::Bytes;

use super::commit::{Change, Effect};
use super::credit_control::{Event, State, find};
use super::engine::{Action, Engine, Timer, Work};
use super::event::{CloseTrigger, Units};
use super::io::{Alarm, NoticeKind, RequestId};
use super::planted::EngineBug;
use super::request::reason;
use super::session::Closing;
use super::trigger::Phase;
use crate::diameter::Avp;
use crate::diameter::AvpList;
use crate::diameter::CommandFlags;
use crate::diameter::Limits;
use crate::diameter::Message;
use crate::diameter::Problem;
use crate::diameter::application;
use crate::diameter::check_grammar;
use crate::diameter::command;
use crate::diameter::decode;
use crate::diameter::id;
use crate::diameter::result_code;
use crate::diameter::value::identity_eq;

/// Answers kept for repeats.
const REPEATS_MAX: usize = 1024;

/// Key of a request for duplicate detection: End-to-End id and Origin-Host (W-15).
pub(super) type Repeat = (u32, String);

/// A RAR or ASR for a session that is known.
#[derive(Debug)]
pub(super) struct Asked {
    pub request: RequestId,
    pub message: Message,
}

impl Engine {
    /// A request of a peer: judged, and answered or handed to its session.
    pub(super) fn peer_request(&mut self, request: RequestId, peer: usize, bytes: &Bytes) {
        let dictionary = self.library.dictionary.clone();
        let (message, problems) = decode(bytes, &dictionary, &Limits::default());
        let origin = message.avps.text(id::ORIGIN_HOST).unwrap_or_default().to_ascii_lowercase();
        let repeat = (message.header.end_to_end, origin);
        if let Some(answer) = self.repeats.get(&repeat).cloned() {
            self.respond_again(request, &message, &answer);
            return;
        }
        if let Some(refused) = self.judge(&message, &problems) {
            self.respond(request, &message, refused.result_code, Some(&refused));
            return;
        }
        let session_id = message.avps.text(id::SESSION_ID).unwrap_or_default();
        let owner = self.ro_sessions.get(session_id).cloned();
        let owner = owner.filter(|key| self.owns(key, &message, peer));
        match owner {
            Some(key) => self.work(&key, Work::Asked(Box::new(Asked { request, message }))),
            None => self.respond(request, &message, result_code::UNKNOWN_SESSION_ID, None),
        }
    }

    /// The first thing that is wrong (H-36); routing last, as RFC 6733, 6.1.4 has it.
    fn judge(&self, message: &Message, problems: &[Problem]) -> Option<Problem> {
        let header = &message.header;
        let of_header = |code: u32, words: &str| Problem {
            result_code: code,
            ..Problem::of_header(crate::diameter::ProblemKind::InvalidHeaderBits, 0, words)
        };
        if let Some(first) = problems.iter().find(|p| p.offset < 20 && p.avp.is_none()) {
            return Some(first.clone());
        }
        if !matches!(header.code, command::RE_AUTH | command::ABORT_SESSION) {
            return Some(of_header(result_code::COMMAND_UNSUPPORTED, "RAR and ASR are served"));
        }
        if header.application != application::CREDIT_CONTROL {
            return Some(of_header(
                result_code::APPLICATION_UNSUPPORTED,
                "application 4 is served",
            ));
        }
        if let Some(first) = problems.first() {
            return Some(first.clone());
        }
        if let Some(first) = check_grammar(message, &self.library.dictionary).into_iter().next() {
            return Some(first);
        }
        let meant =
            |avp, ours: &str| message.avps.text(avp).is_none_or(|wanted| identity_eq(wanted, ours));
        if !meant(id::DESTINATION_REALM, &self.policy.realm) {
            return Some(of_header(result_code::REALM_NOT_SERVED, "farebox is no relay"));
        }
        if !meant(id::DESTINATION_HOST, &self.policy.host) {
            return Some(of_header(result_code::UNABLE_TO_DELIVER, "farebox is no relay"));
        }
        None
    }

    /// SEC-03: is it S who asks, on its own connection or through an agent of its realm?
    fn owns(&self, key: &str, message: &Message, peer: usize) -> bool {
        let Some(slot) = self.sessions.get(key) else { return false };
        let Some(ro) = slot.session.ro.as_ref() else { return false };
        let (Some(server), Some(origin)) = (&ro.server, message.avps.text(id::ORIGIN_HOST)) else {
            return false;
        };
        let itself = self.origin_hosts.get(peer).cloned().flatten();
        let home = self.origin_hosts.iter().flatten().any(|host| identity_eq(host, server));
        let path = match itself {
            Some(host) if identity_eq(&host, server) => true,
            // S is a peer of its own: its requests come on its own connection.
            _ if home => false,
            _ => {
                self.policy.peers.get(peer).map(|p| Some(&p.name)) == Some(ro.server_peer.as_ref())
            }
        };
        self.has_bug(EngineBug::AnyHostMayAsk) || identity_eq(origin, server) && path
    }

    /// The session's turn.
    pub(super) fn asked(&mut self, change: &mut Change, asked: &Asked) {
        if asked.message.header.code == command::RE_AUTH {
            self.re_auth(change, asked);
        } else {
            self.abort(change, asked);
        }
    }

    fn re_auth(&mut self, change: &mut Change, asked: &Asked) {
        let ccfh = self.ccfh(&change.slot.session);
        let state = change.slot.session.ro.as_ref().map_or(State::Idle, |ro| ro.state);
        let closing = change.slot.session.closing.is_some();
        let row = find(state, Event::ReAuth, ccfh).filter(|_| !closing);
        let code = match state {
            State::Open if !closing => {
                let groups: Vec<(u32, Units)> = change
                    .slot
                    .session
                    .counters
                    .iter()
                    .filter(|counter| counter.online && !counter.refused)
                    .map(|counter| (counter.rating_group, counter.asked.clone()))
                    .collect();
                let why = reason::FORCED_REAUTHORISATION;
                match self.unasked_update(change, Event::ReAuth, why, &groups) {
                    Ok(()) => result_code::LIMITED_SUCCESS,
                    Err(problems) => {
                        self.alarm(Alarm::MappingDefect, None, format!("{problems:?}"));
                        result_code::UNABLE_TO_COMPLY
                    }
                }
            }
            State::PendingU if !closing => {
                self.took(row);
                result_code::SUCCESS
            }
            _ => result_code::UNKNOWN_SESSION_ID,
        };
        if code != result_code::UNKNOWN_SESSION_ID {
            Engine::notify(change, NoticeKind::Reauthorize, None);
        }
        self.respond_after(change, asked, code);
    }

    /// ASR: the CPM server ends the session by `now + abort_grace`, else it ends as aborted.
    fn abort(&mut self, change: &mut Change, asked: &Asked) {
        let session = &change.slot.session;
        let code = match session.phase() {
            Phase::Open if session.abort_at.is_none() => {
                self.disconnect_user(change);
                result_code::SUCCESS
            }
            Phase::Open | Phase::Armed => result_code::SUCCESS,
            _ if session.state() == super::outcome::SessionState::Ending => result_code::SUCCESS,
            _ => result_code::UNKNOWN_SESSION_ID,
        };
        self.respond_after(change, asked, code);
    }

    /// RFC 6733, 8.2: the user is to be disconnected; the CPM server ends the session, or the timer.
    pub(super) fn disconnect_user(&mut self, change: &mut Change) {
        let session = &mut change.slot.session;
        if session.closing.is_some() || session.event.is_some() || session.abort_at.is_some() {
            return;
        }
        let by = self.wall + self.policy.termination.abort_grace;
        session.abort_at = Some(by);
        change.dirty = true;
        let key = session.key.clone();
        Engine::notify(change, NoticeKind::Abort, Some(by));
        self.at_wall(by, Timer::Abort(key));
    }

    /// No terminate came after an ASR.
    pub(super) fn abort_due(&mut self, change: &mut Change) {
        if change.slot.session.closing.is_some() {
            return;
        }
        let closing = Closing {
            trigger: Some(CloseTrigger::Aborted),
            timestamp: self.wall,
            cause_code: 0,
            termination_cause: 4,
            reason_header: Vec::new(),
            bye_at: None,
            armed: None,
            reason: "aborted_by_ocs".to_owned(),
        };
        if let Err(problems) = self.close(change, CloseTrigger::Aborted, closing) {
            self.alarm(Alarm::CannotClose, None, format!("{problems:?}"));
        }
    }

    fn respond_after(&mut self, change: &mut Change, asked: &Asked, code: u32) {
        let answer = self.answer(&asked.message, code, None);
        self.remember(&asked.message, &answer);
        change.effects.push(Effect::Respond(asked.request, answer));
    }

    fn respond(
        &mut self,
        request: RequestId,
        message: &Message,
        code: u32,
        problem: Option<&Problem>,
    ) {
        let answer = self.answer(message, code, problem);
        self.remember(message, &answer);
        self.out.push(Action::Respond { request, bytes: answer });
    }

    /// The same answer to another copy: only the Hop-by-Hop id is the copy's.
    fn respond_again(&mut self, request: RequestId, message: &Message, answer: &Bytes) {
        let mut bytes = answer.to_vec();
        crate::diameter::write::patch_hop_by_hop(&mut bytes, message.header.hop_by_hop);
        self.out.push(Action::Respond { request, bytes: bytes.into() });
    }

    fn remember(&mut self, message: &Message, answer: &Bytes) {
        let origin = message.avps.text(id::ORIGIN_HOST).unwrap_or_default().to_ascii_lowercase();
        let key = (message.header.end_to_end, origin);
        if self.repeats.insert(key.clone(), answer.clone()).is_none() {
            self.repeat_order.push_back(key);
        }
        while self.repeat_order.len() > REPEATS_MAX {
            if let Some(oldest) = self.repeat_order.pop_front() {
                self.repeats.remove(&oldest);
            }
        }
    }

    /// RFC 6733, 6.2 and 7.2: identifiers, P, Session-Id and Proxy-Info of the request; E for 3xxx.
    fn answer(&self, message: &Message, code: u32, problem: Option<&Problem>) -> Bytes {
        let mut answer = Message::answer_to(&message.header);
        if (3000..4000).contains(&code) {
            answer.header.flags = CommandFlags(answer.header.flags.0 | CommandFlags::ERROR);
        }
        if let Some(session_id) = message.avps.text(id::SESSION_ID) {
            answer.push(Avp::text(id::SESSION_ID, session_id));
        }
        answer.push(Avp::u32(id::RESULT_CODE, code));
        answer.push(Avp::identity(id::ORIGIN_HOST, self.policy.host.clone()));
        answer.push(Avp::identity(id::ORIGIN_REALM, self.policy.realm.clone()));
        if let Some(problem) = problem {
            answer.push(Avp::text(id::ERROR_MESSAGE, problem.detail.clone()));
            if let Some(failed) = &problem.failed_avp {
                answer.push(Avp::group(id::FAILED_AVP, vec![failed.clone()]));
            }
        }
        answer.avps.extend(message.avps.all(id::PROXY_INFO).cloned());
        answer.encode(&self.library.dictionary)
    }
}
