//! The judge of a proof: joins the client's book with the books of the other side.
//!
//! Pure, and shares no code with the gateway but the codec. The rule: every trigger answered 2xx is
//! in the CDF's records exactly once and in the OCS's ledger exactly once (or its units are in
//! exactly one backup record), a trigger without an answer is there at most once and never half,
//! and nothing is there that no trigger asked for.

use std::collections::{BTreeMap, BTreeSet};

/// What a call asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Start,
    Interim,
    Close,
    Event,
}

/// One call of the client: a line of its ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// The CPM session's or event's id.
    pub(crate) subject: String,
    /// The subscriber that pays; no other subject has it.
    pub(crate) account: String,
    /// The IMS charging identifier; no other subject has it.
    pub(crate) icid: String,
    pub(crate) op: Op,
    /// The interfaces that the subject uses.
    pub(crate) ch1: bool,
    pub(crate) ch2: bool,
    /// Messages so far; an event's units.
    pub(crate) messages: u64,
    /// HTTP status of every try, the same bytes each time; `None`: no answer came.
    pub(crate) tries: Vec<Option<u16>>,
    /// `outcome` of the last answer; empty if none came.
    pub(crate) outcome: String,
    /// A later repeat was answered with other bytes.
    pub(crate) answered_differently: bool,
}

impl Call {
    /// It was answered 2xx.
    pub(crate) fn accepted(&self) -> bool {
        self.tries.iter().flatten().any(|status| (200..300).contains(status))
    }

    /// Never accepted, and one try had no answer: it may have been done.
    pub(crate) fn uncertain(&self) -> bool {
        !self.accepted() && self.tries.iter().any(Option::is_none)
    }

    /// Least and greatest number of traces that it may leave.
    fn bounds(&self) -> (usize, usize) {
        match (self.accepted(), self.uncertain()) {
            (true, _) => (1, 1),
            (false, true) => (0, 1),
            (false, false) => (0, 0),
        }
    }
}

/// One record in the CDF's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CdfRecord {
    pub(crate) session: String,
    pub(crate) number: u32,
    /// Accounting-Record-Type: 1 event, 2 start, 3 interim, 4 stop.
    pub(crate) kind: i32,
    pub(crate) icid: String,
    /// Total-Number-Of-Messages-Sent.
    pub(crate) sent: Option<u64>,
    /// Ro Session-Id and messages of each `farebox-backup` entry.
    pub(crate) backup: Vec<(String, u64)>,
    /// T was set on the copy that was accepted.
    pub(crate) retransmission: bool,
}

/// One debit in the OCS's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OcsDebit {
    pub(crate) account: String,
    pub(crate) session: String,
    pub(crate) number: u32,
    /// Micro-units of the currency; negative: a refund.
    pub(crate) amount: i128,
}

/// One record in the gateway's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GatewayRecord {
    pub(crate) subject: String,
    pub(crate) command: String,
    /// `waiting acknowledged answered dead superseded abandoned`.
    pub(crate) state: String,
    /// Diameter Session-Id.
    pub(crate) session: String,
}

/// All books.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) calls: Vec<Call>,
    pub(crate) cdf: Vec<CdfRecord>,
    pub(crate) ocs: Vec<OcsDebit>,
    /// Money still held, by account.
    pub(crate) reserved: BTreeMap<String, i128>,
    pub(crate) gateway: Vec<GatewayRecord>,
    /// What the simulators found odd.
    pub(crate) odd: Vec<String>,
    /// What a message costs, in micro-units.
    pub(crate) price: i128,
}

/// How a charge can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    /// Accepted and not charged, or not whole.
    Lost,
    /// Charged twice, or too much.
    Doubled,
    /// Charged and never accepted.
    Phantom,
    /// One interface has it and the other has not.
    Half,
    /// Still waiting, or dead, or money still held.
    Unsettled,
    /// A repeat was answered with other bytes.
    Answer,
    /// The other side found it odd: numbers, T, End-to-End ids, contents of copies.
    Odd,
}

impl Wrong {
    /// The word for people and programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Wrong::Lost => "lost",
            Wrong::Doubled => "doubled",
            Wrong::Phantom => "phantom",
            Wrong::Half => "half",
            Wrong::Unsettled => "unsettled",
            Wrong::Answer => "answer",
            Wrong::Odd => "odd",
        }
    }
}

/// One violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) wrong: Wrong,
    pub(crate) subject: String,
    pub(crate) detail: String,
}

/// What the judge found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) calls: usize,
    pub(crate) accepted: usize,
    /// Answered, and never 2xx.
    pub(crate) refused: usize,
    /// Never answered, to the end.
    pub(crate) uncertain: usize,
    /// Tries without an answer.
    pub(crate) unanswered: usize,
    /// Records of the CDF after duplicate removal.
    pub(crate) cdrs: usize,
    /// (Session-Id, CC-Request-Number) with a debit.
    pub(crate) debits: usize,
    pub(crate) messages_debited: u64,
    pub(crate) backup_records: usize,
    pub(crate) messages_in_backup: u64,
    /// Interims that a newer one replaced before they were sent.
    pub(crate) superseded: usize,
    pub(crate) violations: Vec<Violation>,
}

impl Verdict {
    /// Adds what was found in other books.
    pub(crate) fn add(&mut self, other: Verdict) {
        self.calls += other.calls;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.uncertain += other.uncertain;
        self.unanswered += other.unanswered;
        self.cdrs += other.cdrs;
        self.debits += other.debits;
        self.messages_debited += other.messages_debited;
        self.backup_records += other.backup_records;
        self.messages_in_backup += other.messages_in_backup;
        self.superseded += other.superseded;
        self.violations.extend(other.violations);
    }

    /// How many violations of this kind.
    pub(crate) fn count(&self, wrong: Wrong) -> usize {
        self.violations.iter().filter(|violation| violation.wrong == wrong).count()
    }
}

const EVENT: i32 = 1;
const START: i32 = 2;
const INTERIM: i32 = 3;
const STOP: i32 = 4;

/// Everything about one session or event.
#[derive(Default)]
struct Subject<'a> {
    calls: Vec<&'a Call>,
    cdf: Vec<&'a CdfRecord>,
    ocs: Vec<&'a OcsDebit>,
    gateway: Vec<&'a GatewayRecord>,
    reserved: i128,
}

/// Joins the books.
pub(crate) fn judge(books: &Books) -> Verdict {
    let mut verdict = Verdict {
        calls: books.calls.len(),
        accepted: books.calls.iter().filter(|call| call.accepted()).count(),
        uncertain: books.calls.iter().filter(|call| call.uncertain()).count(),
        unanswered: books.calls.iter().flat_map(|c| &c.tries).filter(|t| t.is_none()).count(),
        ..Verdict::default()
    };
    verdict.refused = verdict.calls - verdict.accepted - verdict.uncertain;
    for odd in &books.odd {
        note(&mut verdict, Wrong::Odd, "", odd.clone());
    }
    let mut subjects: BTreeMap<&str, Subject<'_>> = BTreeMap::new();
    let mut by_icid = BTreeMap::new();
    let mut by_account = BTreeMap::new();
    for call in &books.calls {
        subjects.entry(&call.subject).or_default().calls.push(call);
        by_icid.insert(call.icid.as_str(), call.subject.as_str());
        by_account.insert(call.account.as_str(), call.subject.as_str());
    }
    for record in without_copies(&books.cdf, &mut verdict) {
        verdict.cdrs += 1;
        match by_icid.get(record.icid.as_str()).and_then(|subject| subjects.get_mut(subject)) {
            Some(subject) => subject.cdf.push(record),
            None => {
                let words = format!("the CDF has a record of {:?}", record.icid);
                note(&mut verdict, Wrong::Phantom, &record.session, words);
            }
        }
    }
    for debit in &books.ocs {
        match by_account.get(debit.account.as_str()).and_then(|s| subjects.get_mut(s)) {
            Some(subject) => subject.ocs.push(debit),
            None => {
                let words = format!("the OCS debited {:?}", debit.account);
                note(&mut verdict, Wrong::Phantom, &debit.session, words);
            }
        }
    }
    for (account, held) in &books.reserved {
        if let Some(subject) = by_account.get(account.as_str()).and_then(|s| subjects.get_mut(s)) {
            subject.reserved = *held;
        }
    }
    for record in &books.gateway {
        match subjects.get_mut(record.subject.as_str()) {
            Some(subject) => subject.gateway.push(record),
            None => {
                let words = format!("the gateway has a {} that nobody asked for", record.command);
                note(&mut verdict, Wrong::Phantom, &record.subject, words);
            }
        }
    }
    for (name, subject) in &subjects {
        judge_store(name, subject, &mut verdict);
        judge_accounting(name, subject, &mut verdict);
        judge_credit(name, subject, books.price, &mut verdict);
        if subject.calls.iter().any(|call| call.answered_differently) {
            let words = "a repeat was answered with other bytes".to_owned();
            note(&mut verdict, Wrong::Answer, name, words);
        }
    }
    verdict
}

fn note(verdict: &mut Verdict, wrong: Wrong, subject: &str, detail: String) {
    verdict.violations.push(Violation { wrong, subject: subject.to_owned(), detail });
}

/// RFC 6733, 9.4: a record is a copy if its Session-Id and number were there before.
fn without_copies<'a>(records: &'a [CdfRecord], verdict: &mut Verdict) -> Vec<&'a CdfRecord> {
    let mut first: BTreeMap<(&str, u32), &CdfRecord> = BTreeMap::new();
    let mut kept = Vec::new();
    for record in records {
        match first.get(&(record.session.as_str(), record.number)) {
            None => {
                first.insert((&record.session, record.number), record);
                kept.push(record);
            }
            Some(known) => {
                let same = CdfRecord { retransmission: known.retransmission, ..record.clone() };
                if same != **known {
                    let words = format!("two different records have number {}", record.number);
                    note(verdict, Wrong::Odd, &record.session, words);
                }
            }
        }
    }
    kept
}

/// Nothing waits and nothing is dead once everything has drained.
fn judge_store(name: &str, subject: &Subject<'_>, verdict: &mut Verdict) {
    for record in &subject.gateway {
        match record.state.as_str() {
            "waiting" | "dead" => {
                let words = format!("{} of {} is {}", record.command, record.session, record.state);
                note(verdict, Wrong::Unsettled, name, words);
            }
            "superseded" if record.command == "ACR-INTERIM" => verdict.superseded += 1,
            _ => {}
        }
    }
    // What the gateway calls acknowledged is in the CDF's file.
    let mut sessions: BTreeMap<&str, usize> = BTreeMap::new();
    for record in &subject.gateway {
        if record.state == "acknowledged" {
            *sessions.entry(&record.session).or_default() += 1;
        }
    }
    for (session, acknowledged) in sessions {
        let found = subject.cdf.iter().filter(|record| record.session == session).count();
        if found < acknowledged {
            let words =
                format!("{acknowledged} records of {session} are acknowledged, {found} kept");
            note(verdict, Wrong::Lost, name, words);
        }
    }
}

/// CH-1: every record once.
fn judge_accounting(name: &str, subject: &Subject<'_>, verdict: &mut Verdict) {
    let ordinary: Vec<&CdfRecord> =
        subject.cdf.iter().copied().filter(|record| record.backup.is_empty()).collect();
    let of = |kind: i32| ordinary.iter().filter(|record| record.kind == kind).count();
    let of_op = |op: Op| subject.calls.iter().filter(move |call| call.op == op && call.ch1);
    let any = |op: Op| {
        let bounds = of_op(op).map(|call| call.bounds());
        bounds.fold((0, 0), |all: (usize, usize), one| (all.0.max(one.0), all.1.max(one.1)))
    };
    let mut count = |what: &str, found: usize, (least, most): (usize, usize)| {
        if found < least {
            note(verdict, Wrong::Lost, name, format!("no {what} in the CDF's file"));
        } else if found > most {
            let wrong = if most == 0 { Wrong::Phantom } else { Wrong::Doubled };
            note(verdict, wrong, name, format!("{found} {what} in the CDF's file"));
        }
    };
    count("START_RECORD", of(START), any(Op::Start));
    count("STOP_RECORD", of(STOP), any(Op::Close));
    count("EVENT_RECORD", of(EVENT), any(Op::Event));
    let mut markers = BTreeSet::new();
    let mut missing = 0;
    for call in of_op(Op::Interim) {
        let marked =
            |record: &&&CdfRecord| record.kind == INTERIM && record.sent == Some(call.messages);
        let found = ordinary.iter().filter(marked).count();
        let newer = ordinary
            .iter()
            .any(|record| record.kind == INTERIM && record.sent > Some(call.messages));
        let (least, most) = call.bounds();
        // A newer interim may have taken its place before it was ever sent.
        if found < least && newer {
            missing += 1;
        } else {
            count("INTERIM_RECORD of an interim", found, (least, most));
        }
        markers.insert(Some(call.messages));
    }
    let strangers =
        ordinary.iter().filter(|r| r.kind == INTERIM && !markers.contains(&r.sent)).count();
    count("INTERIM_RECORD that no interim asked for", strangers, (0, 0));
    let replaced = subject
        .gateway
        .iter()
        .filter(|record| record.command == "ACR-INTERIM" && record.state == "superseded")
        .count();
    if missing > replaced {
        let words = format!("{missing} interims are not there, {replaced} were superseded");
        note(verdict, Wrong::Lost, name, words);
    }
    judge_numbers(name, &ordinary, verdict);
}

/// One accounting session, numbered without a gap.
fn judge_numbers(name: &str, ordinary: &[&CdfRecord], verdict: &mut Verdict) {
    let sessions: BTreeSet<&str> = ordinary.iter().map(|record| record.session.as_str()).collect();
    if sessions.len() > 1 {
        let words = format!("{} accounting sessions: {sessions:?}", sessions.len());
        note(verdict, Wrong::Doubled, name, words);
        return;
    }
    let mut numbers: Vec<u32> = ordinary.iter().map(|record| record.number).collect();
    numbers.sort_unstable();
    // An orphan's STOP has number 1; 0 stays with the START that was never seen.
    let orphan = ordinary.len() == 1 && ordinary[0].kind == STOP;
    let expected = u32::from(orphan)..;
    if numbers.iter().zip(expected).any(|(found, expected)| *found != expected) {
        note(verdict, Wrong::Lost, name, format!("the record numbers have a gap: {numbers:?}"));
    }
}

/// CH-2: every unit in an answered CCR or in the backup record.
fn judge_credit(name: &str, subject: &Subject<'_>, price: i128, verdict: &mut Verdict) {
    let mut debits: BTreeMap<(&str, u32), i128> = BTreeMap::new();
    for debit in &subject.ocs {
        *debits.entry((&debit.session, debit.number)).or_default() += debit.amount;
    }
    debits.retain(|_, amount| *amount != 0);
    verdict.debits += debits.len();
    let paid: i128 = debits.values().sum();
    let debited = u64::try_from(paid / price.max(1)).unwrap_or(0);
    verdict.messages_debited += debited;
    if paid % price.max(1) != 0 || paid < 0 {
        note(verdict, Wrong::Odd, name, format!("{paid} micro-units are no multiple of the price"));
    }
    let sessions: BTreeSet<&str> = debits.keys().map(|(session, _)| *session).collect();
    if sessions.len() > 1 {
        let words = format!("{} credit-control sessions paid: {sessions:?}", sessions.len());
        note(verdict, Wrong::Doubled, name, words);
    }
    let backups: Vec<&(String, u64)> =
        subject.cdf.iter().flat_map(|record| &record.backup).collect();
    let backed_up: u64 = backups.iter().map(|(_, messages)| messages).sum();
    verdict.backup_records += backups.len();
    verdict.messages_in_backup += backed_up;
    if backups.len() > 1 {
        note(verdict, Wrong::Doubled, name, format!("{} backup records", backups.len()));
    }
    let charged = debited + backed_up;
    let (least, most) = units(subject);
    let words =
        || format!("{debited} messages debited and {backed_up} in backup, asked for {most}");
    match charged {
        charged if charged > most && most == 0 => note(verdict, Wrong::Phantom, name, words()),
        charged if charged > most => note(verdict, Wrong::Doubled, name, words()),
        charged if charged < least => note(verdict, Wrong::Lost, name, words()),
        // Between none and all of it.
        charged if charged != least && charged != most => {
            note(verdict, Wrong::Lost, name, words());
        }
        _ => {}
    }
    // An OCS that never heard of the end, or whose answer to the start was lost for ever, lets go of
    // its reservation by its own timer.
    let granted = subject
        .calls
        .iter()
        .any(|call| call.op == Op::Start && call.accepted() && call.outcome != "denied");
    if subject.reserved != 0 && backups.is_empty() && granted {
        let words = format!("{} micro-units are still reserved", subject.reserved);
        note(verdict, Wrong::Unsettled, name, words);
    }
    judge_halves(name, subject, charged, verdict);
}

/// Least and greatest number of messages that are to be paid.
fn units(subject: &Subject<'_>) -> (u64, u64) {
    let online = || subject.calls.iter().filter(|call| call.ch2);
    if let Some(event) = online().find(|call| call.op == Op::Event) {
        let units = event.messages;
        return match (event.accepted(), event.uncertain()) {
            (true, _) if event.outcome == "denied" => (0, 0),
            (true, _) => (units, units),
            (false, true) => (0, units),
            (false, false) => (0, 0),
        };
    }
    let Some(start) = online().find(|call| call.op == Op::Start) else { return (0, 0) };
    let closes = || online().filter(|call| call.op == Op::Close);
    let used = closes().map(|call| call.messages).max().unwrap_or(0);
    let closed = closes().any(|call| call.accepted());
    match (start.accepted(), start.uncertain()) {
        (true, _) if start.outcome == "denied" => (0, 0),
        (true, _) if closed => (used, used),
        (true, _) | (false, true) => (0, used),
        (false, false) => (0, 0),
    }
}

/// An event without an answer is on both interfaces or on none.
fn judge_halves(name: &str, subject: &Subject<'_>, charged: u64, verdict: &mut Verdict) {
    let uncertain = |call: &&&Call| call.op == Op::Event && call.uncertain();
    let Some(event) = subject.calls.iter().find(uncertain) else { return };
    let recorded = subject.cdf.iter().any(|record| record.backup.is_empty());
    if event.ch1 && event.ch2 && recorded != (charged > 0) {
        let words = format!("in the CDF's file: {recorded}; messages paid: {charged}");
        note(verdict, Wrong::Half, name, words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: i128 = 50_000;

    fn call(op: Op, messages: u64, tries: &[Option<u16>]) -> Call {
        Call {
            subject: "00000001-chat".to_owned(),
            account: "+12020000001".to_owned(),
            icid: "icid-00000001".to_owned(),
            op,
            ch1: true,
            ch2: true,
            messages,
            tries: tries.to_vec(),
            outcome: String::new(),
            answered_differently: false,
        }
    }

    fn record(kind: i32, number: u32, sent: Option<u64>) -> CdfRecord {
        CdfRecord {
            session: "cg1;7;1;00000001".to_owned(),
            number,
            kind,
            icid: "icid-00000001".to_owned(),
            sent,
            backup: Vec::new(),
            retransmission: false,
        }
    }

    fn debit(number: u32, messages: i128) -> OcsDebit {
        OcsDebit {
            account: "+12020000001".to_owned(),
            session: "cg1;7;2;00000001".to_owned(),
            number,
            amount: messages * PRICE,
        }
    }

    fn gateway(command: &str, state: &str) -> GatewayRecord {
        GatewayRecord {
            subject: "00000001-chat".to_owned(),
            command: command.to_owned(),
            state: state.to_owned(),
            session: "cg1;7;1;00000001".to_owned(),
        }
    }

    /// A chat of 14 messages with an interim at 6; the terminate's first try had no answer.
    fn session() -> Books {
        Books {
            calls: vec![
                call(Op::Start, 0, &[Some(201)]),
                call(Op::Interim, 6, &[Some(200)]),
                call(Op::Close, 14, &[None, Some(503), Some(200)]),
            ],
            cdf: vec![
                record(START, 0, None),
                record(INTERIM, 1, Some(6)),
                record(STOP, 2, Some(14)),
            ],
            // Two postings of one request: from the reservation and from the balance.
            ocs: vec![debit(1, 6), debit(2, 7), debit(2, 1)],
            reserved: BTreeMap::from([("+12020000001".to_owned(), 0)]),
            gateway: vec![
                gateway("ACR-START", "acknowledged"),
                gateway("ACR-INTERIM", "acknowledged"),
                gateway("ACR-STOP", "acknowledged"),
            ],
            odd: Vec::new(),
            price: PRICE,
        }
    }

    /// Two messages, both interfaces.
    fn event() -> Books {
        Books {
            calls: vec![call(Op::Event, 2, &[Some(200)])],
            cdf: vec![record(EVENT, 0, None)],
            ocs: vec![debit(0, 2)],
            price: PRICE,
            ..Books::default()
        }
    }

    /// The kinds of violation, once each.
    fn wrongs(books: &Books) -> Vec<Wrong> {
        let found: BTreeSet<Wrong> = judge(books).violations.iter().map(|v| v.wrong).collect();
        found.into_iter().collect()
    }

    fn broken(whole: Books, damage: impl FnOnce(&mut Books)) -> Vec<Wrong> {
        let mut books = whole;
        damage(&mut books);
        wrongs(&books)
    }

    #[test]
    fn what_is_charged_once_has_no_violation() {
        let verdict = judge(&session());
        assert_eq!(verdict.violations, []);
        assert_eq!((verdict.calls, verdict.accepted, verdict.unanswered), (3, 3, 1));
        assert_eq!((verdict.cdrs, verdict.debits, verdict.messages_debited), (3, 2, 14));
        assert_eq!(wrongs(&event()), []);
    }

    #[test]
    fn a_copy_that_the_cdf_kept_is_no_second_record() {
        let copy = |books: &mut Books| {
            let again = CdfRecord { retransmission: true, ..books.cdf[2].clone() };
            books.cdf.push(again);
        };
        assert_eq!(broken(session(), copy), []);
        let other = |books: &mut Books| {
            let again = CdfRecord { sent: Some(13), ..books.cdf[2].clone() };
            books.cdf.push(again);
        };
        assert_eq!(broken(session(), other), [Wrong::Odd]);
    }

    #[test]
    fn a_lost_record_is_noticed() {
        for index in 0..3 {
            let lost = broken(session(), |books| drop(books.cdf.remove(index)));
            assert_eq!(lost, [Wrong::Lost], "record {index}");
        }
        let lost = broken(session(), |books| {
            books.cdf.pop();
            books.gateway.pop();
        });
        assert_eq!(lost, [Wrong::Lost]);
        assert_eq!(broken(event(), |books| books.cdf.clear()), [Wrong::Lost]);
    }

    #[test]
    fn a_doubled_record_is_noticed() {
        for index in 0..3 {
            let doubled = broken(session(), |books| {
                let again = CdfRecord { number: 3, ..books.cdf[index].clone() };
                books.cdf.push(again);
            });
            assert_eq!(doubled, [Wrong::Doubled], "record {index}");
        }
        let elsewhere = broken(event(), |books| {
            let again =
                CdfRecord { session: "cg1;8;1;00000001".to_owned(), ..books.cdf[0].clone() };
            books.cdf.push(again);
        });
        assert_eq!(elsewhere, [Wrong::Doubled]);
    }

    #[test]
    fn money_that_is_lost_or_doubled_is_noticed() {
        assert_eq!(broken(session(), |books| drop(books.ocs.pop())), [Wrong::Lost]);
        assert_eq!(broken(session(), |books| books.ocs.clear()), [Wrong::Lost]);
        assert_eq!(broken(session(), |books| books.ocs.push(debit(3, 1))), [Wrong::Doubled]);
        assert_eq!(broken(event(), |books| books.ocs.clear()), [Wrong::Lost]);
        let twice = broken(event(), |books| {
            books.ocs.push(OcsDebit { session: "cg1;8;2;00000001".to_owned(), ..debit(0, 2) });
        });
        assert_eq!(twice, [Wrong::Doubled]);
        let part = broken(event(), |books| books.ocs[0].amount += 1);
        assert_eq!(part, [Wrong::Odd]);
    }

    #[test]
    fn a_backup_record_takes_the_place_of_the_lost_termination() {
        let silent = |books: &mut Books| {
            books.ocs.truncate(1);
            books.reserved.insert("+12020000001".to_owned(), 400_000);
            books.cdf.push(CdfRecord {
                session: "cg1;7;3;00000001".to_owned(),
                backup: vec![("cg1;7;2;00000001".to_owned(), 8)],
                ..record(EVENT, 0, None)
            });
        };
        assert_eq!(broken(session(), silent), []);
        let nowhere = broken(session(), |books| {
            silent(books);
            books.cdf.pop();
        });
        assert_eq!(nowhere, [Wrong::Lost, Wrong::Unsettled]);
        let both = broken(session(), |books| {
            silent(books);
            books.ocs.push(debit(2, 8));
        });
        assert_eq!(both, [Wrong::Doubled]);
        let two = broken(session(), |books| {
            silent(books);
            let again =
                CdfRecord { session: "cg1;7;4;00000001".to_owned(), ..books.cdf[3].clone() };
            books.cdf.push(again);
        });
        assert_eq!(two, [Wrong::Doubled]);
    }

    #[test]
    fn an_interim_may_be_superseded_by_a_newer_one_only() {
        let two = || {
            let mut books = session();
            books.calls.insert(2, call(Op::Interim, 9, &[Some(200)]));
            books.cdf[1] = record(INTERIM, 1, Some(9));
            books.gateway.push(gateway("ACR-INTERIM", "superseded"));
            books
        };
        let verdict = judge(&two());
        assert_eq!((verdict.violations, verdict.superseded), (Vec::new(), 1));
        assert_eq!(broken(two(), |books| drop(books.gateway.pop())), [Wrong::Lost]);
        let older = broken(two(), |books| books.cdf[1].sent = Some(6));
        assert_eq!(older, [Wrong::Lost], "the newer one is missing");
    }

    #[test]
    fn what_nobody_asked_for_is_a_phantom() {
        let refused = |books: &mut Books| books.calls[0].tries = vec![Some(400)];
        assert_eq!(broken(event(), refused), [Wrong::Phantom]);
        let stranger = |books: &mut Books| books.cdf[0].icid = "icid-9".to_owned();
        assert_eq!(broken(event(), stranger), [Wrong::Lost, Wrong::Phantom]);
        let account = |books: &mut Books| books.ocs[0].account = "+1".to_owned();
        assert_eq!(broken(event(), account), [Wrong::Lost, Wrong::Phantom]);
        let interim = |books: &mut Books| books.cdf.insert(2, record(INTERIM, 3, Some(7)));
        assert_eq!(broken(session(), interim), [Wrong::Phantom]);
        let store = |books: &mut Books| {
            let mut stranger = gateway("CCR-E", "answered");
            stranger.subject = "nobody".to_owned();
            books.gateway.push(stranger);
        };
        assert_eq!(broken(session(), store), [Wrong::Phantom]);
    }

    #[test]
    fn a_call_without_an_answer_is_there_once_or_not_at_all() {
        let unanswered = |books: &mut Books| books.calls[0].tries = vec![None, None];
        assert_eq!(broken(event(), unanswered), []);
        let none = |books: &mut Books| {
            unanswered(books);
            books.cdf.clear();
            books.ocs.clear();
        };
        assert_eq!(broken(event(), none), []);
        let half = |books: &mut Books| {
            unanswered(books);
            books.ocs.clear();
        };
        assert_eq!(broken(event(), half), [Wrong::Half]);
        let twice = |books: &mut Books| {
            unanswered(books);
            books.ocs.push(debit(1, 2));
        };
        assert_eq!(broken(event(), twice), [Wrong::Doubled]);
    }

    #[test]
    fn a_start_without_an_answer_may_end_as_an_orphan() {
        let orphan = |books: &mut Books| {
            books.calls[0].tries = vec![None];
            books.calls.remove(1);
            books.cdf = vec![record(STOP, 1, Some(14))];
            books.ocs.clear();
            books.gateway.clear();
        };
        assert_eq!(broken(session(), orphan), []);
        let charged_as_well = broken(session(), |books| {
            orphan(books);
            books.ocs = vec![debit(1, 3)];
        });
        assert_eq!(charged_as_well, [Wrong::Lost], "3 of 14");
    }

    #[test]
    fn a_denied_start_pays_nothing() {
        let denied = |books: &mut Books| {
            books.calls[0].outcome = "denied".to_owned();
            books.calls[1].tries = vec![Some(409)];
            books.cdf = vec![record(START, 0, None), record(STOP, 1, None)];
            books.ocs.clear();
            books.gateway.clear();
        };
        assert_eq!(broken(session(), denied), []);
        let paid = broken(session(), |books| {
            denied(books);
            books.ocs.push(debit(1, 14));
        });
        assert_eq!(paid, [Wrong::Phantom]);
    }

    #[test]
    fn what_is_unsettled_odd_or_answered_differently_is_noticed() {
        for state in ["waiting", "dead"] {
            let left = broken(session(), |books| books.gateway[0].state = state.to_owned());
            assert_eq!(left, [Wrong::Unsettled], "{state}");
        }
        let held = broken(session(), |books| {
            books.reserved.insert("+12020000001".to_owned(), 1);
        });
        assert_eq!(held, [Wrong::Unsettled]);
        let odd = broken(session(), |books| books.odd.push("a copy without T (H-06)".to_owned()));
        assert_eq!(odd, [Wrong::Odd]);
        let other = broken(session(), |books| books.calls[1].answered_differently = true);
        assert_eq!(other, [Wrong::Answer]);
    }
}
