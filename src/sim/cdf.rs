//! The simulated CDF: takes ACRs, keeps CDRs, tells copies from new records (RFC 6733, 9.4).
//!
//! A record is a copy if its (Session-Id, Accounting-Record-Number) was accepted before: it is
//! discarded, acknowledged all the same and counted. T alone proves nothing: a T-marked record
//! whose original never arrived is used (S-32).

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Wall;
use crate::diameter::Avp;
use crate::diameter::Dictionary;
use crate::diameter::Message;
use crate::diameter::Value;
use crate::diameter::application;
use crate::diameter::command;
use crate::diameter::id;
use crate::diameter::result_code;
use crate::sim::answer::Identity;
use crate::sim::answer::Refusal;
use crate::sim::answer::Request;
use crate::sim::answer::answer;
use crate::sim::answer::refusal;
use crate::sim::answer::refuse;
use crate::sim::cdr::Cdr;
use crate::sim::cdr::RecordType;
use crate::sim::cdr::closed_line;
use crate::sim::judge::Anomalies;
use crate::sim::judge::Anomaly;
use crate::sim::judge::AnomalyKind;
use crate::sim::judge::Answered;
use crate::sim::judge::Copy;

/// Records kept in memory; the oldest go first (the file has them all).
pub const RECORDS_MAX: usize = 200_000;

/// Sessions kept in memory; beyond that the one whose id sorts first goes.
pub const SESSIONS_MAX: usize = 200_000;

/// How the CDF behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CdfConfig {
    /// Acct-Interim-Interval in answers, in seconds.
    pub interim_interval: Option<u32>,
    /// Accounting-Realtime-Required in answers.
    pub realtime_required: Option<i32>,
    /// A session without a record for this long is closed (S-33).
    pub supervision: Option<Duration>,
}

/// The records of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdfSession {
    /// Session-Id.
    pub id: Arc<str>,
    /// Record types by number.
    pub numbers: BTreeMap<u32, RecordType>,
    /// When the last record came.
    pub last_record: Wall,
    /// Closed by supervision.
    pub timed_out: bool,
}

impl CdfSession {
    /// START 0, INTERIMs, STOP, without a gap.
    pub fn is_complete(&self) -> bool {
        let gapless = self.numbers.keys().zip(0u32..).all(|(number, expected)| *number == expected);
        let kinds: Vec<RecordType> = self.numbers.values().copied().collect();
        let between = match kinds.as_slice() {
            [RecordType::Start, between @ .., RecordType::Stop] => between,
            _ => return false,
        };
        gapless && between.iter().all(|kind| *kind == RecordType::Interim)
    }

    /// Has its STOP come?
    pub fn is_stopped(&self) -> bool {
        self.numbers.values().any(|kind| *kind == RecordType::Stop)
    }
}

/// The simulated CDF.
#[derive(Clone, Debug, Default)]
pub struct Cdf {
    config: CdfConfig,
    records: VecDeque<Cdr>,
    accepted: u64,
    sessions: BTreeMap<Arc<str>, CdfSession>,
    answered: Answered,
    anomalies: Anomalies,
    lines: Vec<String>,
    lose_next_stop: bool,
}

impl Cdf {
    /// A CDF without records.
    pub fn new(config: CdfConfig) -> Cdf {
        Cdf { config, ..Cdf::default() }
    }

    /// The accepted records, oldest first, at most [`RECORDS_MAX`].
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &Cdr> {
        self.records.iter()
    }

    /// How many records were accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Copies that were discarded and acknowledged.
    pub fn duplicates(&self) -> u64 {
        self.answered.duplicates()
    }

    /// The sessions (START, INTERIM, STOP; not events) by Session-Id.
    pub fn sessions(&self) -> impl Iterator<Item = &CdfSession> {
        self.sessions.values()
    }

    /// What was odd, oldest first.
    pub fn anomalies(&self) -> Vec<Anomaly> {
        self.anomalies.list()
    }

    /// The JSON lines since the last call, for the file.
    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// Closes the sessions that got no record for too long (S-33). Returns how many.
    pub fn expire(&mut self, now: Wall) -> usize {
        let Some(supervision) = self.config.supervision else { return 0 };
        let mut closed = 0;
        for session in self.sessions.values_mut() {
            let over = now.since(session.last_record) >= supervision;
            if over && !session.timed_out && !session.is_stopped() {
                session.timed_out = true;
                closed += 1;
                let last = session.numbers.keys().next_back().copied().unwrap_or(0);
                self.lines.push(closed_line(&session.id, now, last));
            }
        }
        closed
    }

    /// The answer to a request; `raw` is the request as it came.
    pub fn answer(
        &mut self,
        me: &Identity,
        request: &Request<'_>,
        raw: &Bytes,
        now: Wall,
    ) -> Message {
        let wanted = (command::ACCOUNTING, application::ACCOUNTING);
        let message = request.message;
        if let Some(found) = refuse(me, request, wanted, Dictionary::builtin()) {
            return refusal(me, message, &found);
        }
        let type_avp = message.find(id::ACCOUNTING_RECORD_TYPE);
        let record_type = match type_avp.map(|avp| &avp.value) {
            Some(Value::Enumerated(value)) => RecordType::from_value(*value),
            _ => None,
        };
        let Some(record_type) = record_type else {
            let failed = type_avp.cloned();
            let detail = "no such Accounting-Record-Type".to_owned();
            let code = result_code::INVALID_AVP_VALUE;
            return refusal(me, message, &Refusal { code, failed, detail });
        };
        let session: Arc<str> = message.text(id::SESSION_ID).unwrap_or("").into();
        let number = message.unsigned32(id::ACCOUNTING_RECORD_NUMBER).unwrap_or(0);
        let copy = Copy::of(request);
        if let Some(known) = self.answered.repeat(&session, number, &copy) {
            for (kind, detail) in known.odd {
                self.note(&session, number, now, kind, detail);
            }
            return known.answer;
        }
        self.check_number(&session, number, record_type, now);
        self.accept(Cdr::read(message, record_type, number, session.clone(), raw, now));
        let mut answer = answer(me, message, result_code::SUCCESS);
        self.push_rules(&mut answer);
        self.answered.remember(&session, number, copy, &answer);
        answer
    }

    /// The answer with `code`: 2xxx does the work, any other changes nothing, so that a copy of
    /// the request is new.
    pub fn answer_with(
        &mut self,
        me: &Identity,
        request: &Request<'_>,
        raw: &Bytes,
        now: Wall,
        code: u32,
    ) -> Message {
        if !(2000..3000).contains(&code) {
            return answer(me, request.message, code);
        }
        let mut answer = self.answer(me, request, raw, now);
        for avp in answer.avps.iter_mut().filter(|avp| avp.id == id::RESULT_CODE) {
            avp.value = Value::Unsigned32(code);
        }
        answer
    }

    /// The next STOP_RECORD is acknowledged and forgotten: does anybody notice?
    pub fn lose_next_stop(&mut self) {
        self.lose_next_stop = true;
    }

    fn accept(&mut self, cdr: Cdr) {
        if cdr.record_type == RecordType::Stop && std::mem::take(&mut self.lose_next_stop) {
            return;
        }
        self.lines.push(cdr.json());
        self.accepted += 1;
        if cdr.record_type != RecordType::Event {
            if self.sessions.len() >= SESSIONS_MAX && !self.sessions.contains_key(&cdr.session) {
                self.sessions.pop_first();
            }
            let session = self.sessions.entry(cdr.session.clone()).or_insert_with(|| CdfSession {
                id: cdr.session.clone(),
                numbers: BTreeMap::new(),
                last_record: cdr.received_at,
                timed_out: false,
            });
            session.numbers.insert(cdr.number, cdr.record_type);
            session.last_record = cdr.received_at;
        }
        if self.records.len() == RECORDS_MAX {
            self.records.pop_front();
        }
        self.records.push_back(cdr);
    }

    /// EVENT and START have number 0, later records grow, and nothing follows a STOP. A gap is no
    /// anomaly: the record between may have been refused for good.
    fn check_number(&mut self, session: &Arc<str>, number: u32, kind: RecordType, now: Wall) {
        let first = matches!(kind, RecordType::Event | RecordType::Start);
        if first != (number == 0) {
            let detail = format!("{} with Accounting-Record-Number {number}", kind.name());
            self.note(session, number, now, AnomalyKind::Numbering, detail);
        }
        let Some(known) = self.sessions.get(session) else { return };
        let last = known.numbers.keys().next_back().copied().unwrap_or(0);
        if known.is_stopped() {
            let detail = format!("{} after the STOP_RECORD", kind.name());
            self.note(session, number, now, AnomalyKind::AfterEnd, detail);
        } else if number <= last {
            let detail = format!("number {number} came after {last}");
            self.note(session, number, now, AnomalyKind::Numbering, detail);
        }
    }

    fn note(
        &mut self,
        session: &Arc<str>,
        number: u32,
        at: Wall,
        kind: AnomalyKind,
        detail: String,
    ) {
        self.anomalies.note(Anomaly { at, session: session.clone(), number, kind, detail });
    }

    fn push_rules(&self, answer: &mut Message) {
        if let Some(seconds) = self.config.interim_interval {
            answer.push(Avp::u32(id::ACCT_INTERIM_INTERVAL, seconds));
        }
        if let Some(value) = self.config.realtime_required {
            answer.push(Avp::enumerated(id::ACCOUNTING_REALTIME_REQUIRED, value));
        }
    }
}
