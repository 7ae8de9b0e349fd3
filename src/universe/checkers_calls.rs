//! What the callers were told, against what was done.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::charging::event::EventAction;
use crate::charging::outcome::Answer;
use crate::charging::outcome::Basis;
use crate::charging::outcome::Outcome;
use crate::charging::outcome::Reply;

use super::evidence::CallKind;
use super::evidence::CallLine;
use super::evidence::Evidence;
use super::evidence::Finding;
use super::evidence::RequestKey;
use super::evidence::Stored;
use super::plan::Call;

/// The services' interfaces: ch1, ch2.
fn interfaces(call: &CallLine) -> (bool, bool) {
    match (call.service, call.call) {
        (_, Call::Event { action, .. }) if action != EventAction::Debit => (false, true),
        ("chat", _) => (true, true),
        ("online-only", _) => (false, true),
        _ => (true, false),
    }
}

fn subjects(evidence: &Evidence) -> BTreeMap<&str, (Vec<&Stored>, Vec<&CallLine>)> {
    let mut subjects: BTreeMap<&str, (Vec<&Stored>, Vec<&CallLine>)> = BTreeMap::new();
    for record in &evidence.stored {
        subjects.entry(&record.subject).or_default().0.push(record);
    }
    for call in &evidence.calls {
        subjects.entry(&call.subject).or_default().1.push(call);
    }
    subjects
}

/// I-1 and I-2: each accepted call made its records, once; a refused one made none.
pub(super) fn i_01_once(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    for (subject, (records, calls)) in subjects(evidence) {
        let count = |command: &str| {
            let keys = records.iter().filter(|record| record.command == command);
            keys.map(|record| record.end_to_end).collect::<BTreeSet<u32>>().len()
        };
        let backups = records.iter().filter(|record| is_backup(record)).count();
        for command in ["ACR-START", "ACR-STOP", "CCR-I", "CCR-T", "CCR-E"] {
            if count(command) > 1 {
                let detail = format!("{subject}: {} records {command}", count(command));
                found.push(Finding::new("I-1", detail));
            }
        }
        if backups > 1 || count("ACR-EVENT") > 1 + backups {
            found.push(Finding::new("I-1", format!("{subject}: too many ACR-EVENT")));
        }
        let mut expect = |command: &str, wanted: std::ops::RangeInclusive<usize>| {
            let there = count(command);
            if !wanted.contains(&there) {
                let invariant = if there < *wanted.start() { "I-1" } else { "I-2" };
                let detail = format!("{subject}: {there} {command}, expected {wanted:?}");
                found.push(Finding::new(invariant, detail));
            }
        };
        let start = calls.iter().find(|call| call.kind == CallKind::Start);
        if let Some(start) = start {
            let (ch1, ch2) = interfaces(start);
            expect("ACR-START", range(ch1, start));
            expect("CCR-I", range(ch2, start));
            let opened = start.is_accepted();
            let closed =
                calls.iter().any(|call| call.kind == CallKind::Close && call.is_accepted());
            // Without a start it is an orphan's STOP; `policy.default` has ch1.
            let stop = if opened { ch1 } else { closed };
            if stop && !start.is_uncertain() {
                expect("ACR-STOP", 1..=1);
            }
            let interims = calls.iter().filter(|call| call.kind == CallKind::Interim);
            let accepted = interims.clone().filter(|call| call.is_accepted()).count();
            let uncertain = interims.filter(|call| call.is_uncertain()).count();
            if ch1 && opened {
                expect("ACR-INTERIM", accepted..=accepted + uncertain);
            }
        }
        if let Some(event) = calls.iter().find(|call| call.kind == CallKind::Event) {
            let (ch1, ch2) = interfaces(event);
            expect("ACR-EVENT", range(ch1, event));
            expect("CCR-E", range(ch2, event));
        }
    }
    found
}

fn is_backup(record: &Stored) -> bool {
    record.texts.iter().any(|text| text.starts_with("farebox-backup"))
}

/// How many records a call makes on an interface.
fn range(applies: bool, call: &CallLine) -> std::ops::RangeInclusive<usize> {
    match (applies, call.is_accepted(), call.is_uncertain()) {
        (false, ..) => 0..=0,
        (true, true, _) => 1..=1,
        (true, false, true) => 0..=1,
        (true, false, false) => 0..=0,
    }
}

/// I-8: what callers were told is what the servers did.
pub(super) fn i_08_answers(evidence: &Evidence) -> Vec<Finding> {
    let debited: BTreeSet<&RequestKey> =
        evidence.postings.iter().filter(|p| p.amount > 0).map(|p| &p.key).collect();
    let succeeded: BTreeSet<&RequestKey> = evidence
        .served
        .iter()
        .filter(|served| matches!(served.code, Some(2000..=2999)))
        .map(|served| &served.key)
        .collect();
    let mut found = Vec::new();
    for (subject, (records, calls)) in subjects(evidence) {
        for call in calls {
            for answer in answers(call) {
                let key = |command: &str| {
                    records.iter().find(|record| record.command == command).map(|r| &r.key)
                };
                let wrong = match (call.kind, answer.outcome, answer.basis) {
                    (CallKind::Event, Outcome::Debited | Outcome::Refunded, _) => {
                        !key("CCR-E").is_some_and(|key| succeeded.contains(key))
                    }
                    (CallKind::Event, Outcome::Denied, _) => {
                        key("CCR-E").is_some_and(|key| debited.contains(key))
                    }
                    (CallKind::Start, Outcome::Granted, Basis::Ocs) => {
                        !key("CCR-I").is_some_and(|key| succeeded.contains(key))
                    }
                    (CallKind::Close, Outcome::Debited, Basis::Ocs) => {
                        !key("CCR-T").is_some_and(|key| succeeded.contains(key))
                    }
                    _ => false,
                };
                if wrong {
                    let detail = format!(
                        "{subject}: {:?} was told {:?} by {:?}; the ledger says otherwise",
                        call.call, answer.outcome, answer.basis
                    );
                    found.push(Finding::new("I-8", detail));
                }
            }
        }
    }
    found
}

fn answers(call: &CallLine) -> impl Iterator<Item = &Answer> {
    call.answers.iter().filter_map(|told| match &told.reply {
        Reply::Answered { answer, .. } => Some(answer.as_ref()),
        Reply::Refused(_) => None,
    })
}

/// I-9: the same key, the same bytes.
pub(super) fn i_09_same_answer(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    for call in evidence.calls.iter().filter(|call| call.has_key) {
        let mut all = answers(call);
        let Some(first) = all.next() else { continue };
        if let Some(other) = all.find(|answer| *answer != first) {
            let detail = format!(
                "{} {:?}: two answers: {:?} {:?} {:?} {:?}, then {:?} {:?} {:?} {:?}",
                call.subject,
                call.call,
                first.state,
                first.outcome,
                first.ch1.state,
                first.ch2.state,
                other.state,
                other.outcome,
                other.ch1.state,
                other.ch2.state
            );
            found.push(Finding::new("I-9", detail));
        }
    }
    found
}
