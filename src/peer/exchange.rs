//! What the control block does with messages: received ones to events and answers, due ones to
//! octets.

use bytes::Bytes;

use crate::clock::Now;
use crate::diameter::Address;
use crate::diameter::Avp;
use crate::diameter::Header;
use crate::diameter::Message;
use crate::diameter::View;
use crate::diameter::application::BASE;
use crate::diameter::check_grammar;
use crate::diameter::decode;
use crate::diameter::id;
use crate::diameter::result_code;
use crate::diameter::value::identity_eq;

use super::DisconnectCause;
use super::Fact;
use super::PeerState;
use super::base;
use super::base::Kind;
use super::capabilities;
use super::capabilities::Capabilities;
use super::capabilities::Expected;
use super::capabilities::Refusal;
use super::capabilities::Verdict;
use super::control_block::Action;
use super::control_block::AtHand;
use super::control_block::Caller;
use super::control_block::ControlBlock;
use super::machine;
use super::machine::Event;
use super::machine::Side;
use super::machine::State;
use super::pending::Answer;
use super::pending::Request;
use super::pending::Unmatched;
use super::watchdog;

/// The window in which DWR are counted.
const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

impl ControlBlock {
    /// A whole message came on a connection.
    pub(super) fn received(&mut self, side: Side, bytes: Bytes, now: Now, out: &mut Vec<Action>) {
        let Some(header) = Header::parse(&bytes) else { return };
        let kind = base::kind(&header);
        let event = if kind == Kind::Dwa {
            watchdog::Event::ReceiveDwa
        } else {
            watchdog::Event::ReceiveNonDwa
        };
        // The watchdog sees every message. What it throws away is the application's: CEA, DWR and
        // DPR are the peer machine's business in every status (W-11).
        let throwaway = self.watch(event, now, out);
        let event = self.event_of(side, kind, &header, &bytes, out);
        self.at_hand = Some(AtHand { side, header, bytes, throwaway });
        self.drive(event, now, out);
        self.at_hand = None;
    }

    /// The machine's event for a message.
    fn event_of(
        &mut self,
        side: Side,
        kind: Kind,
        header: &Header,
        bytes: &Bytes,
        out: &mut Vec<Action>,
    ) -> Event {
        let state = self.machine.state();
        match (side, state) {
            (Side::Initiator, State::WaitICea | State::WaitReturns) => {
                return self.event_before_open(kind, header, bytes, out);
            }
            (Side::Responder, State::WaitConnAckElect | State::WaitReturns) => {
                let reason = format!("command {} before our CEA", header.code);
                self.blame(PeerState::BadRemote, reason);
                return Event::RRcvEarly;
            }
            _ => {}
        }
        match (side, kind) {
            (Side::Initiator, Kind::Cer) => Event::IRcvCer,
            (Side::Initiator, Kind::Cea) => Event::IRcvCea,
            (Side::Initiator, Kind::Dwr) => Event::IRcvDwr,
            (Side::Initiator, Kind::Dwa) => Event::IRcvDwa,
            (Side::Initiator, Kind::Dpr) => Event::IRcvDpr,
            (Side::Initiator, Kind::Dpa) => Event::IRcvDpa,
            (Side::Initiator, Kind::Message) => Event::IRcvMessage,
            (Side::Responder, Kind::Cer) => Event::RRcvCer,
            (Side::Responder, Kind::Cea) => Event::RRcvCea,
            (Side::Responder, Kind::Dwr) => Event::RRcvDwr,
            (Side::Responder, Kind::Dwa) => Event::RRcvDwa,
            (Side::Responder, Kind::Dpr) => Event::RRcvDpr,
            (Side::Responder, Kind::Dpa) => Event::RRcvDpa,
            (Side::Responder, Kind::Message) => Event::RRcvMessage,
        }
    }

    /// While a CEA is due on our connection: judges it, or says what came instead.
    fn event_before_open(
        &mut self,
        kind: Kind,
        header: &Header,
        bytes: &Bytes,
        out: &mut Vec<Action>,
    ) -> Event {
        if kind != Kind::Cea {
            let reason = format!("command {} instead of the CEA", header.code);
            self.blame(PeerState::BadRemote, reason);
            return Event::IRcvNonCea;
        }
        if (header.hop_by_hop, header.end_to_end) != self.cer_ids {
            let reason = "its CEA answers no CER of ours (Hop-by-Hop or End-to-End id differs)";
            self.blame(PeerState::BadRemote, reason.to_owned());
            return Event::IRcvNonCea;
        }
        let (message, mut problems) = decode(bytes, &self.dictionary, &self.codec);
        problems.extend(check_grammar(&message, &self.dictionary));
        let verdict = capabilities::judge_cea(&message, &problems, self.expected());
        let names = self.certified[Side::Initiator.index()].take();
        let verdict = verdict.proven(self.config.tls, names.as_deref());
        let result_code = message.unsigned32(id::RESULT_CODE).unwrap_or(0);
        let capabilities = Box::new(Capabilities::of(&message));
        out.push(Action::Fact(Fact::Introduced { result_code, capabilities }));
        let event = match &verdict {
            Verdict::Agreed { .. } => Event::IRcvCea,
            Verdict::Refused(refusal) => {
                let Refusal { fault, reason, .. } = refusal.clone();
                self.blame(fault, reason);
                Event::IRcvBadCea
            }
        };
        self.cea = Some(verdict);
        event
    }

    fn expected(&self) -> Expected<'_> {
        Expected {
            local: &self.identity,
            host: self.config.host.as_deref(),
            applications: &self.config.applications,
        }
    }

    /// A connection came with its first message.
    pub(super) fn incoming(
        &mut self,
        cer: &Bytes,
        local: Vec<Address>,
        from: String,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let (message, problem) = base::first_problem(cer, &self.dictionary, &self.codec);
        let header = message.header;
        let names = self.certified[Side::Responder.index()].take();
        let verdict = capabilities::judge_cer(&message, problem, self.expected());
        let mut verdict = verdict.proven(self.config.tls, names.as_deref());
        if self.held {
            verdict = Verdict::Refused(Refusal::in_maintenance());
        }
        let result_code = match &verdict {
            Verdict::Agreed { .. } => result_code::SUCCESS,
            Verdict::Refused(refusal) => refusal.result_code,
        };
        let capabilities = Box::new(Capabilities::of(&message));
        out.push(Action::Fact(Fact::Introduced { result_code, capabilities }));
        match verdict {
            Verdict::Refused(refusal) => {
                let cea = capabilities::cea(
                    &header,
                    &self.identity,
                    &self.config.applications,
                    &local,
                    Some(&refusal),
                );
                out.push(Action::Reject(Some(cea.encode(&self.dictionary))));
                let (result_code, reason) = (refusal.result_code, refusal.reason);
                out.push(Action::Fact(Fact::ConnectionRefused { from, result_code, reason }));
            }
            Verdict::Agreed { peer, common } => {
                let taken = machine::find(self.machine.state(), Event::RConnCer)
                    .is_some_and(|row| row.steps.contains(&machine::Step::RAccept));
                if taken {
                    self.machine.identify(&peer.origin_host);
                    self.caller = Some(Caller { header, local, peer, common });
                } else {
                    out.push(Action::Fact(Fact::SecondConnectionRefused { from }));
                }
                self.drive(Event::RConnCer, now, out);
            }
        }
    }

    pub(super) fn send_cer(&mut self, out: &mut Vec<Action>) {
        self.cer_ids = (self.pending.next_hop_by_hop(), self.take_end_to_end());
        let cer = capabilities::cer(
            &self.identity,
            &self.config.applications,
            &self.local,
            self.cer_ids.0,
            self.cer_ids.1,
        );
        self.write(Side::Initiator, &cer, out);
    }

    pub(super) fn send_cea(&mut self, out: &mut Vec<Action>) {
        let Some(caller) = &self.caller else { return };
        let cea = capabilities::cea(
            &caller.header,
            &self.identity,
            &self.config.applications,
            &caller.local,
            None,
        );
        self.write(Side::Responder, &cea, out);
    }

    pub(super) fn send_dwr(&mut self, out: &mut Vec<Action>) {
        // While closing nobody asks whether the peer is alive: the state has its own timer.
        let Some(side) = self.open_side() else { return };
        let ids = (self.pending.next_hop_by_hop(), self.take_end_to_end());
        let dwr = base::dwr(&self.identity, ids.0, ids.1);
        self.write(side, &dwr, out);
    }

    pub(super) fn send_dpr(&mut self, side: Side, out: &mut Vec<Action>) {
        let lasting = match self.held {
            true => DisconnectCause::DoNotWantToTalkToYou,
            false => DisconnectCause::Rebooting,
        };
        let cause = self.stopped.unwrap_or(lasting);
        let ids = (self.pending.next_hop_by_hop(), self.take_end_to_end());
        let dpr = base::dpr(&self.identity, cause, ids.0, ids.1);
        self.write(side, &dpr, out);
    }

    /// Answers the DWR at hand. Too many of them end the connection.
    pub(super) fn send_dwa(&mut self, side: Side, now: Now, out: &mut Vec<Action>) {
        let Some(at_hand) = &self.at_hand else { return };
        let (header, bytes) = (at_hand.header, at_hand.bytes.clone());
        let (since, count) = self.dwr_count;
        self.dwr_count = if now.since(since) < SECOND { (since, count + 1) } else { (now, 1) };
        if self.dwr_count.1 > self.config.limits.watchdogs_per_second_max {
            self.blame(PeerState::BadRemote, "it floods us with DWR".to_owned());
            self.drive(super::control_block::disconnected(side), now, out);
            return;
        }
        self.answer_base(side, &header, &bytes, None, out);
    }

    /// Answers the DPR at hand; the peer then disconnects.
    pub(super) fn send_dpa(&mut self, side: Side, out: &mut Vec<Action>) {
        let Some(at_hand) = &self.at_hand else { return };
        let (header, bytes) = (at_hand.header, at_hand.bytes.clone());
        let view = View::new(&bytes, &self.codec).ok();
        let cause = view
            .and_then(|view| view.find(id::DISCONNECT_CAUSE))
            .and_then(|avp| avp.enumerated())
            .map_or(DisconnectCause::Rebooting, DisconnectCause::from_value);
        self.asked_to_leave = Some(cause);
        self.blame(PeerState::Down, format!("it sent a DPR, {}", cause.name()));
        out.push(Action::Fact(Fact::DisconnectRequested { cause }));
        // An error in the DPA says that answers are still due (RFC 6733, 5.4; P-25).
        let due = self.pending.in_window();
        let words = (due > 0).then(|| format!("{due} answers are outstanding"));
        self.answer_base(side, &header, &bytes, words, out);
    }

    /// Answers a DWR or DPR: what is wrong with it, else `words` and 5012, else success.
    fn answer_base(
        &mut self,
        side: Side,
        header: &Header,
        bytes: &Bytes,
        words: Option<String>,
        out: &mut Vec<Action>,
    ) {
        let (_, problem) = base::first_problem(bytes, &self.dictionary, &self.codec);
        let answer = match (problem, words) {
            (Some(problem), _) => {
                let code = problem.result_code;
                out.push(Action::Fact(Fact::ErrorAnswered {
                    command: header.code,
                    result_code: code,
                }));
                let (words, failed) = (problem.detail, problem.failed_avp);
                base::answer(header, &self.identity, code, Some(&words), failed)
            }
            (None, Some(words)) => {
                let code = result_code::UNABLE_TO_COMPLY;
                base::answer(header, &self.identity, code, Some(&words), None)
            }
            (None, None) => base::answer(header, &self.identity, result_code::SUCCESS, None, None),
        };
        self.write(side, &answer, out);
    }

    /// Notes the Origin-State-Id of a DWR or DWA (FM-09).
    pub(super) fn note_state_id(&mut self, out: &mut Vec<Action>) {
        let Some(at_hand) = &self.at_hand else { return };
        let told = View::new(&at_hand.bytes, &self.codec)
            .ok()
            .and_then(|view| view.find(id::ORIGIN_STATE_ID))
            .and_then(|avp| avp.unsigned32());
        let (Some(to), Some(peer)) = (told, self.peer.as_mut()) else { return };
        if let Some(from) = peer.origin_state_id.replace(to)
            && to > from
        {
            out.push(Action::Fact(Fact::PeerRestarted { from, to }));
        }
    }

    /// An application's message: an answer finds its request, a request is judged and handed on.
    pub(super) fn process(&mut self, now: Now, out: &mut Vec<Action>) {
        let Some(at_hand) = &self.at_hand else { return };
        if at_hand.throwaway {
            return self.discard("the connection is not validated yet", out);
        }
        let (side, header, bytes) = (at_hand.side, at_hand.header, at_hand.bytes.clone());
        if header.flags.is_request() {
            self.process_request(side, &header, bytes, now, out);
        } else {
            self.process_answer(&header, bytes, now, out);
        }
    }

    fn process_answer(&mut self, header: &Header, bytes: Bytes, now: Now, out: &mut Vec<Action>) {
        // No error may be sent for an answer.
        let Some(view) = View::new(&bytes, &self.codec).ok().filter(|_| header.version == 1) else {
            return self.discard("its version is not 1", out);
        };
        let session_id = view.find(id::SESSION_ID).map(|avp| avp.data);
        let (hop_by_hop, command) = (header.hop_by_hop, header.code);
        let answer = Answer { hop_by_hop, end_to_end: header.end_to_end, command, session_id };
        match self.pending.answer(&answer, now) {
            Ok(matched) => out.push(Action::Answer {
                token: matched.token,
                hop_by_hop,
                bytes,
                round_trip: matched.round_trip,
            }),
            Err(Unmatched::Unknown) => {
                out.push(Action::Fact(Fact::AnswerUnknown { hop_by_hop, command }));
            }
            Err(Unmatched::Mixed(what)) => {
                out.push(Action::Fact(Fact::AnswerMixed { hop_by_hop, what }));
            }
        }
    }

    fn process_request(
        &mut self,
        side: Side,
        header: &Header,
        bytes: Bytes,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        if let Some((code, words)) = self.header_fault(header) {
            return self.refuse(side, code, words, None, out);
        }
        if self.requests.as_mut().is_some_and(|rate| !rate.take(now)) {
            return self.refuse(side, result_code::TOO_BUSY, "too many requests", None, out);
        }
        if self.service.checked {
            let (message, problem) = base::first_problem(&bytes, &self.dictionary, &self.codec);
            if let Some(problem) = problem {
                let (code, failed) = (problem.result_code, problem.failed_avp);
                return self.refuse(side, code, &problem.detail, failed, out);
            }
            if let Some((code, words)) = self.destination_fault(&message) {
                return self.refuse(side, code, words, None, out);
            }
        }
        out.push(Action::Request(side, bytes));
    }

    fn header_fault(&self, header: &Header) -> Option<(u32, &'static str)> {
        let commands = &self.service.commands;
        if header.version != 1 {
            return Some((result_code::UNSUPPORTED_VERSION, "the version is not 1"));
        }
        if header.flags.is_error() {
            return Some((result_code::INVALID_HDR_BITS, "E is set in a request"));
        }
        let application = header.application;
        if application != BASE && !commands.iter().any(|(served, _)| *served == application) {
            let words = "the application is not served here";
            return Some((result_code::APPLICATION_UNSUPPORTED, words));
        }
        if !commands.contains(&(header.application, header.code)) {
            return Some((result_code::COMMAND_UNSUPPORTED, "the command is not served here"));
        }
        None
    }

    fn destination_fault(&self, message: &Message) -> Option<(u32, &'static str)> {
        if !self.service.for_us_only {
            return None;
        }
        let other =
            |avp, ours: &str| message.text(avp).is_some_and(|told| !identity_eq(told, ours));
        if other(id::DESTINATION_REALM, &self.identity.realm) {
            return Some((result_code::REALM_NOT_SERVED, "the realm is not served here"));
        }
        if other(id::DESTINATION_HOST, &self.identity.host) {
            return Some((result_code::UNABLE_TO_DELIVER, "this is no agent for other hosts"));
        }
        None
    }

    /// Answers the request at hand with an error.
    pub(super) fn refuse(
        &mut self,
        side: Side,
        code: u32,
        words: &str,
        failed: Option<Avp>,
        out: &mut Vec<Action>,
    ) {
        let Some(at_hand) = &self.at_hand else { return };
        let (header, bytes) = (at_hand.header, at_hand.bytes.clone());
        out.push(Action::Fact(Fact::ErrorAnswered { command: header.code, result_code: code }));
        let answer = base::error_answer(&header, &bytes, &self.identity, code, words, failed);
        self.write(side, &answer, out);
    }

    pub(super) fn discard(&self, reason: &'static str, out: &mut Vec<Action>) {
        if let Some(at_hand) = &self.at_hand {
            let command = at_hand.header.code;
            out.push(Action::Fact(Fact::Discarded { command, reason }));
        }
    }

    /// A request of ours. It is given back at once if it cannot go.
    pub(super) fn send(
        &mut self,
        token: u64,
        bytes: Bytes,
        retransmit: bool,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let Some((side, hop_by_hop)) = self.take_request(token, &bytes, now) else {
            return out.push(Action::Lost(token));
        };
        let mut steps = std::mem::take(&mut self.steps);
        self.machine.handle(Event::SendMessage, now, &mut steps);
        if let Some(machine::Action::Took(row)) = steps.first() {
            out.push(Action::Took(row));
        }
        steps.clear();
        self.steps = steps;
        out.push(Action::Transmit { side, token, hop_by_hop, retransmit, bytes });
    }

    /// Notes a request as pending; `None` if the peer is not usable, does not share the
    /// application (P-13), or the window is full.
    fn take_request(&mut self, token: u64, bytes: &Bytes, now: Now) -> Option<(Side, u32)> {
        if !self.is_usable() {
            return None;
        }
        let side = self.open_side()?;
        let view = View::new(bytes, &self.codec).ok()?;
        let header = view.header();
        if !self.common.contains(&header.application) {
            return None;
        }
        let session_id = view.find(id::SESSION_ID).map(|avp| bytes.slice_ref(avp.data));
        let request =
            Request { token, end_to_end: header.end_to_end, command: header.code, session_id };
        Some((side, self.pending.insert(request, now)?))
    }

    fn take_end_to_end(&mut self) -> u32 {
        let taken = self.next_end_to_end;
        self.next_end_to_end = taken.wrapping_add(1);
        taken
    }

    fn write(&self, side: Side, message: &Message, out: &mut Vec<Action>) {
        out.push(Action::Write(side, message.encode(&self.dictionary)));
    }
}
