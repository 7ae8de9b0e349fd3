//! One simulated server behind its faults: request bytes in, acts out.
//!
//! Pure: the shell carries the acts out on sockets, and a deterministic simulation does the same
//! on its own network. Faults are applied here to finished answers, so that the OCS and the CDF
//! themselves are always right.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;

use crate::clock::Now;
use crate::clock::Wall;
use crate::diameter::Avp;
use crate::diameter::AvpFlags;
use crate::diameter::AvpId;
use crate::diameter::Dictionary;
use crate::diameter::Limits;
use crate::diameter::Message;
use crate::diameter::Value;
use crate::diameter::View;
use crate::diameter::application;
use crate::diameter::command;
use crate::diameter::decode;
use crate::diameter::id;
use crate::diameter::put_avp;
use crate::diameter::result_code;
use crate::sim::answer::Identity;
use crate::sim::answer::Refusal;
use crate::sim::answer::Request;
use crate::sim::answer::all_subscriptions;
use crate::sim::answer::answer;
use crate::sim::answer::command_name;
use crate::sim::answer::fingerprint;
use crate::sim::answer::refusal;
use crate::sim::cdf::Cdf;
use crate::sim::fault::Due;
use crate::sim::fault::End;
use crate::sim::fault::Fault;
use crate::sim::fault::Faults;
use crate::sim::fault::Listed;
use crate::sim::fault::Lost;
use crate::sim::fault::Plan;
use crate::sim::fault::Seen;
use crate::sim::fault::Sessions;
use crate::sim::fault::glob_fits;
use crate::sim::ocs::Ocs;
use crate::sim::ocs::SessionView;

/// Answers to RAR and ASR that are kept; the oldest go first.
const PEER_ANSWERS_MAX: usize = 10_000;

/// An AVP that no dictionary has.
const NOBODYS_AVP: AvpId = AvpId { code: 999_999, vendor: 99_999 };

/// The charging behind a server: an OCS or a CDF.
pub trait Charging {
    /// The right answer.
    fn answer(&mut self, me: &Identity, request: &Request<'_>, raw: &Bytes, now: Wall) -> Message;

    /// The answer with another Result-Code, and only what that code allows done.
    fn answer_with(
        &mut self,
        me: &Identity,
        request: &Request<'_>,
        raw: &Bytes,
        now: Wall,
        code: u32,
    ) -> Message;

    /// Ends what has been silent for too long; returns how many sessions.
    fn expire(&mut self, now: Wall) -> usize;

    /// Lines for the server's file since the last call.
    fn take_lines(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// The open sessions that a RAR or ASR can be sent for.
    fn pick(&self, _sessions: &Sessions) -> Vec<SessionView> {
        Vec::new()
    }
}

impl Charging for Ocs {
    fn answer(&mut self, me: &Identity, request: &Request<'_>, _raw: &Bytes, now: Wall) -> Message {
        Ocs::answer(self, me, request, now)
    }

    fn answer_with(
        &mut self,
        me: &Identity,
        request: &Request<'_>,
        _raw: &Bytes,
        now: Wall,
        code: u32,
    ) -> Message {
        Ocs::answer_with(self, me, request, now, code)
    }

    fn expire(&mut self, now: Wall) -> usize {
        Ocs::expire(self, now)
    }

    fn pick(&self, sessions: &Sessions) -> Vec<SessionView> {
        let mut open = self.sessions();
        match sessions {
            Sessions::Any => open.pop().into_iter().collect(),
            Sessions::Like(glob) => {
                open.retain(|session| glob_fits(glob, &session.id));
                open
            }
        }
    }
}

impl Charging for Cdf {
    fn answer(&mut self, me: &Identity, request: &Request<'_>, raw: &Bytes, now: Wall) -> Message {
        Cdf::answer(self, me, request, raw, now)
    }

    fn answer_with(
        &mut self,
        me: &Identity,
        request: &Request<'_>,
        raw: &Bytes,
        now: Wall,
        code: u32,
    ) -> Message {
        Cdf::answer_with(self, me, request, raw, now, code)
    }

    fn expire(&mut self, now: Wall) -> usize {
        Cdf::expire(self, now)
    }

    fn take_lines(&mut self) -> Vec<String> {
        Cdf::take_lines(self)
    }
}

/// How long answers take, on top of the machine's own time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Half of the answers are faster.
    pub p50: Duration,
    /// One in a hundred is slower.
    pub p99: Duration,
}

impl Latency {
    /// The latency at a quantile in millionths: straight lines through 0, p50 and p99, and half
    /// as much again as p99 for the slowest.
    fn at(&self, millionths: u32) -> Duration {
        let line = |from: Duration, to: Duration, part: u32, whole: u32| {
            from + to.saturating_sub(from).saturating_mul(part) / whole
        };
        match millionths {
            0..500_000 => line(Duration::ZERO, self.p50, millionths, 500_000),
            500_000..990_000 => line(self.p50, self.p99, millionths - 500_000, 490_000),
            _ => line(self.p99, self.p99 * 3 / 2, millionths.min(1_000_000) - 990_000, 10_000),
        }
    }
}

/// What is to be done on the connection that the request came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Send these bytes.
    Send {
        /// Wait before it.
        after: Duration,
        /// A message, or what is left of one.
        bytes: Bytes,
    },
    /// End the connection.
    End {
        /// Wait before it.
        after: Duration,
        /// How.
        how: End,
    },
}

/// A client's answer to a RAR or an ASR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAnswer {
    /// `RAR` or `ASR`.
    pub command: &'static str,
    /// Session-Id.
    pub session: String,
    /// Result-Code.
    pub result: Option<u32>,
}

/// One simulated server.
#[derive(Clone, Debug)]
pub struct Server {
    me: Identity,
    faults: Faults,
    counts: BTreeMap<&'static str, u64>,
    retransmissions: u64,
    /// Answers that wait for the next one of their connection.
    held: BTreeMap<u64, Bytes>,
    peer_answers: VecDeque<PeerAnswer>,
    /// Hop-by-Hop and End-to-End ids of own requests.
    last_id: u32,
    latency: Option<Latency>,
    /// State of the generator behind the latency: xorshift, the same sequence in every run.
    random: u64,
}

impl Server {
    /// A server without faults.
    pub fn new(me: Identity) -> Server {
        Server {
            me,
            faults: Faults::default(),
            counts: BTreeMap::new(),
            retransmissions: 0,
            held: BTreeMap::new(),
            peer_answers: VecDeque::new(),
            // Apart from the ids of the connection's own DWR and DPR.
            last_id: 0x8000_0000,
            latency: None,
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// Answers take this long from now on.
    pub fn set_latency(&mut self, latency: Option<Latency>) {
        self.latency = latency;
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.me
    }

    /// Requests by command name: `CCR-I`, `ACR-STOP`; copies and lost ones are counted too.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// Requests with T; lost ones are counted too.
    pub fn retransmissions(&self) -> u64 {
        self.retransmissions
    }

    /// Answers to RAR and ASR, oldest first.
    pub fn peer_answers(&self) -> impl Iterator<Item = &PeerAnswer> {
        self.peer_answers.iter()
    }

    /// Adds a fault; `None` if there are too many.
    pub fn add_fault(&mut self, fault: Fault, now: Now) -> Option<u64> {
        self.faults.add(fault, now)
    }

    /// Takes one fault away, or all of them.
    pub fn remove_fault(&mut self, id: Option<u64>) -> bool {
        match id {
            Some(id) => self.faults.remove(id),
            None => {
                self.faults.clear();
                true
            }
        }
    }

    /// The faults.
    pub fn faults(&self) -> Vec<Listed> {
        self.faults.list()
    }

    /// Are connections refused?
    pub fn refuses(&self, now: Now) -> bool {
        self.faults.refuses(now)
    }

    /// Are DWRs left unanswered?
    pub fn is_silent(&self, now: Now) -> bool {
        self.faults.is_silent(now)
    }

    /// What the faults do by the clock.
    pub fn due(&mut self, now: Now) -> Vec<Due> {
        self.faults.due(now)
    }

    /// When [`Server::due`] has something to say next.
    pub fn next_timeout(&self, now: Now) -> Option<Now> {
        self.faults.next_timeout(now)
    }

    /// The connection is gone.
    pub fn closed(&mut self, connection: u64) {
        self.held.remove(&connection);
    }

    /// What becomes of a request.
    pub fn request(
        &mut self,
        charging: &mut dyn Charging,
        connection: u64,
        bytes: &Bytes,
        now: Now,
        wall: Wall,
    ) -> Vec<Act> {
        let (message, problems) = decode(bytes, Dictionary::builtin(), &Limits::default());
        let request =
            Request { message: &message, problems: &problems, fingerprint: fingerprint(bytes) };
        let Some(name) = command_name(&message) else {
            let detail = format!("command {} is not served here", message.header.code);
            let found = Refusal::new(result_code::COMMAND_UNSUPPORTED, detail);
            let answer = refusal(&self.me, &message, &found);
            let bytes = answer.encode(Dictionary::builtin());
            return vec![Act::Send { after: Duration::ZERO, bytes }];
        };
        *self.counts.entry(name).or_default() += 1;
        self.retransmissions += u64::from(message.header.flags.is_retransmit());
        let subscriptions: Vec<String> =
            all_subscriptions(&message).into_iter().map(|(_, data)| data).collect();
        let session = message.text(id::SESSION_ID).unwrap_or("");
        let seen = Seen { command: name, subscriptions: &subscriptions, session };
        let mut plan = self.faults.decide(&seen, now);
        plan.delay = plan.delay.saturating_add(self.wait());
        if plan.lost == Some(Lost::Request) {
            return end_of(&plan);
        }
        let answer = match (plan.result, plan.experimental) {
            (Some(code), _) => charging.answer_with(&self.me, &request, bytes, wall, code),
            (None, Some(_)) => {
                let code = result_code::UNABLE_TO_COMPLY;
                charging.answer_with(&self.me, &request, bytes, wall, code)
            }
            (None, None) if plan.forget => answer(&self.me, &message, result_code::SUCCESS),
            (None, None) => charging.answer(&self.me, &request, bytes, wall),
        };
        if plan.lost == Some(Lost::Answer) || plan.end.is_some() {
            return end_of(&plan);
        }
        self.acts(connection, &plan, spoil(answer, &plan))
    }

    fn wait(&mut self) -> Duration {
        let Some(latency) = self.latency else { return Duration::ZERO };
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        latency.at(u32::try_from(self.random % 1_000_000).unwrap_or(0))
    }

    fn acts(&mut self, connection: u64, plan: &Plan, bytes: Bytes) -> Vec<Act> {
        if plan.reorder {
            // Two held answers would both wait for ever: the older goes now.
            let older = self.held.insert(connection, bytes);
            let after = Duration::ZERO;
            return older.into_iter().map(|bytes| Act::Send { after, bytes }).collect();
        }
        let after = plan.delay;
        let copies = usize::try_from(plan.copies).unwrap_or(usize::MAX).min(100);
        let mut acts = vec![Act::Send { after, bytes }; 1 + copies];
        if let Some(bytes) = self.held.remove(&connection) {
            acts.push(Act::Send { after, bytes });
        }
        if plan.truncate.is_some() {
            acts.push(Act::End { after, how: End::Close });
        }
        acts
    }

    /// A client's answer to a request of this server.
    pub fn peer_answer(&mut self, bytes: &Bytes) {
        let (message, _) = decode(bytes, Dictionary::builtin(), &Limits::default());
        let command = match message.header.code {
            command::RE_AUTH => "RAR",
            command::ABORT_SESSION => "ASR",
            _ => return,
        };
        if self.peer_answers.len() == PEER_ANSWERS_MAX {
            self.peer_answers.pop_front();
        }
        self.peer_answers.push_back(PeerAnswer {
            command,
            session: message.text(id::SESSION_ID).unwrap_or("").to_owned(),
            result: message.unsigned32(id::RESULT_CODE),
        });
    }

    /// Re-Auth-Request for a session (RFC 8506, 5.5).
    pub fn rar(&mut self, session: &SessionView, rating_group: Option<u32>) -> Bytes {
        let mut request = self.own_request(command::RE_AUTH, session);
        request.push(Avp::enumerated(id::RE_AUTH_REQUEST_TYPE, 0));
        if let Some(group) = rating_group {
            request.push(Avp::u32(id::RATING_GROUP, group));
        }
        request.encode(Dictionary::builtin())
    }

    /// Abort-Session-Request for a session (RFC 6733, 8.5.1).
    pub fn asr(&mut self, session: &SessionView) -> Bytes {
        self.own_request(command::ABORT_SESSION, session).encode(Dictionary::builtin())
    }

    fn own_request(&mut self, code: u32, session: &SessionView) -> Message {
        let mut request = Message::request(code, application::CREDIT_CONTROL, true);
        self.last_id = self.last_id.wrapping_add(1);
        request.header.hop_by_hop = self.last_id;
        request.header.end_to_end = self.last_id;
        let (host, realm) = &session.client;
        request.push(Avp::text(id::SESSION_ID, &*session.id));
        request.push(Avp::identity(id::ORIGIN_HOST, &self.me.host));
        request.push(Avp::identity(id::ORIGIN_REALM, &self.me.realm));
        request.push(Avp::identity(id::DESTINATION_REALM, realm));
        request.push(Avp::identity(id::DESTINATION_HOST, host));
        request.push(Avp::u32(id::AUTH_APPLICATION_ID, application::CREDIT_CONTROL));
        request
    }
}

fn end_of(plan: &Plan) -> Vec<Act> {
    let after = plan.delay;
    plan.end.map(|how| Act::End { after, how }).into_iter().collect()
}

/// The answer's bytes with everything in them that the plan breaks.
fn spoil(mut answer: Message, plan: &Plan) -> Bytes {
    if plan.garbage {
        return Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    }
    if let Some(text) = &plan.error_message {
        answer.avps.retain(|avp| avp.id != id::ERROR_MESSAGE);
        answer.push(Avp::text(id::ERROR_MESSAGE, text));
    }
    if let Some(action) = plan.final_unit {
        let action = Avp::enumerated(id::FINAL_UNIT_ACTION, action.value());
        push_final_unit(&mut answer, &Avp::group(id::FINAL_UNIT_INDICATION, vec![action]));
    }
    if let Some((vendor, code)) = plan.experimental {
        answer.avps.retain(|avp| avp.id != id::RESULT_CODE);
        let vendor = Avp::u32(id::VENDOR_ID, vendor);
        let code = Avp::u32(id::EXPERIMENTAL_RESULT_CODE, code);
        answer.push(Avp::group(id::EXPERIMENTAL_RESULT, vec![vendor, code]));
    }
    answer.avps.retain(|avp| !plan.missing.contains(&avp.id));
    for avp in answer.avps.iter_mut().filter(|avp| plan.wrong_type.contains(&avp.id)) {
        avp.value = Value::OctetString(Bytes::from_static(b"\0\0\x07"));
    }
    if plan.wrong_end_to_end {
        answer.header.end_to_end = !answer.header.end_to_end;
    }
    let mut bytes = BytesMut::from(answer.encode(Dictionary::builtin()).as_ref());
    for avp in &plan.extra {
        put_avp(&mut bytes, avp);
    }
    if plan.unknown_mandatory {
        put_avp(
            &mut bytes,
            &Avp {
                id: NOBODYS_AVP,
                flags: AvpFlags::mandatory_for(NOBODYS_AVP),
                value: Value::Unsigned32(1),
            },
        );
    }
    crate::diameter::end_message(&mut bytes);
    invert_mandatory(&mut bytes, &plan.wrong_flag);
    if let Some(kept) = plan.truncate {
        let half = bytes.len() / 2;
        bytes.truncate(kept.map_or(half, |kept| usize::try_from(kept).unwrap_or(half)));
    }
    bytes.freeze()
}

/// Into every MSCC, or at command level where there is none.
fn push_final_unit(answer: &mut Message, final_unit: &Avp) {
    let mut services = 0;
    for avp in &mut answer.avps {
        if avp.id == id::MULTIPLE_SERVICES_CREDIT_CONTROL
            && let Value::Grouped(members) = &mut avp.value
        {
            members.retain(|member| member.id != id::FINAL_UNIT_INDICATION);
            members.push(final_unit.clone());
            services += 1;
        }
    }
    if services == 0 {
        answer.push(final_unit.clone());
    }
}

fn invert_mandatory(bytes: &mut BytesMut, ids: &[AvpId]) {
    if ids.is_empty() {
        return;
    }
    let offsets: Vec<usize> = match View::new(bytes, &Limits::default()) {
        Ok(view) => view.avps().filter(|avp| ids.contains(&avp.id)).map(|avp| avp.offset).collect(),
        Err(_) => return,
    };
    for offset in offsets {
        // Behind the code.
        if let Some(flags) = bytes.get_mut(offset + 4) {
            *flags ^= AvpFlags::MANDATORY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_goes_through_its_quantiles() {
        let latency = Latency { p50: Duration::from_millis(3), p99: Duration::from_millis(40) };
        let at = |millionths| latency.at(millionths).as_micros();
        assert_eq!(
            [0, 250_000, 500_000, 990_000, 1_000_000].map(at),
            [0, 1500, 3000, 40000, 60000]
        );
    }
}
