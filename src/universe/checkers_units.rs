//! I-5: each unit that the CPM server reported is in exactly one of an answered CCR and the
//! session's backup record.

use std::collections::BTreeMap;

use crate::charging::engine::Alarm;
use crate::charging::outcome::Outcome;
use crate::charging::outcome::Reply;
use crate::store::RecordState;

use super::checkers::by_request;
use super::checkers::is_covered;
use super::checkers::is_temporary;
use super::evidence::CallKind;
use super::evidence::CallLine;
use super::evidence::Copy;
use super::evidence::Evidence;
use super::evidence::Finding;
use super::evidence::RequestKey;
use super::evidence::Stored;
use super::plan::Call;

/// Seconds and messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    seconds: u64,
    messages: u64,
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, more: Sum) {
        self.seconds += more.seconds;
        self.messages += more.messages;
    }
}

/// I-5.
pub(super) fn i_05_units(evidence: &Evidence) -> Vec<Finding> {
    let requests = by_request(evidence);
    let mut subjects: BTreeMap<&str, Vec<&Stored>> = BTreeMap::new();
    for record in &evidence.stored {
        subjects.entry(&record.subject).or_default().push(record);
    }
    let mut calls: BTreeMap<&str, Vec<&CallLine>> = BTreeMap::new();
    for call in &evidence.calls {
        calls.entry(&call.subject).or_default().push(call);
    }
    let mut found = Vec::new();
    for (subject, records) in subjects {
        if records.iter().all(|record| record.command != "CCR-I") {
            continue;
        }
        let calls = calls.get(subject).map(Vec::as_slice).unwrap_or_default();
        found.extend(check(subject, &records, calls, &requests, evidence));
    }
    found
}

fn check(
    subject: &str,
    records: &[&Stored],
    calls: &[&CallLine],
    requests: &BTreeMap<&RequestKey, Vec<&Copy>>,
    evidence: &Evidence,
) -> Option<Finding> {
    let mut covered = Sum::default();
    let mut is_free = false;
    let mut is_doubtful = false;
    for record in records.iter().filter(|record| record.command.starts_with("CCR-")) {
        let copies = requests.get(&record.key).map(Vec::as_slice).unwrap_or_default();
        let finals: Vec<_> = copies
            .iter()
            .filter_map(|copy| Some((*copy, copy.answered.as_ref()?)))
            .filter(|(copy, answer)| !answer.mixed && !is_temporary(copy.command, answer.code))
            .collect();
        is_free |= finals.iter().any(|(_, answer)| answer.code == Some(4011));
        let good = |answer: &super::evidence::Answered| {
            !answer.unusable
                && is_covered(answer.code)
                && answer.services.iter().all(|(_, code)| code.is_none() || is_covered(*code))
        };
        // Two copies that were answered differently: the first wins, and which that is may hang
        // on a commit that a crash took away.
        is_doubtful |= finals.windows(2).any(|pair| good(pair[0].1) != good(pair[1].1));
        // An answer that a crash took away before it was on disk was no answer.
        if let Some((copy, answer)) = finals.first()
            && record.state == RecordState::Answered
            && good(answer)
            && record.command != "CCR-I"
        {
            for used in &copy.used {
                covered += Sum { seconds: used.seconds, messages: used.messages };
            }
        }
    }
    let backup = backups(records);
    let total = reported(calls);
    let start = outcome(calls);
    if is_doubtful || start == Start::Unknown {
        return None;
    }
    let doubled = evidence.alarms.iter().any(|(_, alarm, record, _)| {
        *alarm == Alarm::DoubleSettlement && records.iter().any(|r| Some(r.id) == *record)
    });
    let mut both = covered;
    both += backup;
    let (low, high) = total;
    let complete = both.seconds >= low.seconds && both.messages >= low.messages;
    let bounded = both.seconds <= high.seconds && both.messages <= high.messages;
    let good = match start {
        // Units that were reported before the denial was told may stand in the backup record.
        Start::Denied => covered == Sum::default() && bounded,
        Start::Free => bounded,
        Start::Opened if is_free => bounded || doubled,
        Start::Opened if !evidence.backup => bounded,
        Start::Opened => complete && (bounded || doubled),
        Start::Unknown => true,
    };
    (!good).then(|| {
        let detail = format!(
            "{subject} ({start:?}): {low:?} to {high:?} reported, {covered:?} answered, \
             {backup:?} in the backup record"
        );
        Finding::new("I-5", detail)
    })
}

/// What became of the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// The leg was opened, or the service goes on without the OCS.
    Opened,
    /// No service.
    Denied,
    /// 4011.
    Free,
    /// Its caller was told nothing final.
    Unknown,
}

fn outcome(calls: &[&CallLine]) -> Start {
    let starts = calls.iter().filter(|call| call.kind == CallKind::Start);
    let told = starts.flat_map(|call| &call.answers).find_map(|told| match &told.reply {
        Reply::Answered { answer, .. } => Some(answer.outcome),
        Reply::Refused(_) => None,
    });
    match told {
        Some(Outcome::Granted | Outcome::Unverified) => Start::Opened,
        Some(Outcome::Denied) => Start::Denied,
        Some(Outcome::Free) => Start::Free,
        _ => Start::Unknown,
    }
}

/// The least and the most that the gateway may have taken for the session's total.
fn reported(calls: &[&CallLine]) -> (Sum, Sum) {
    let (mut low, mut high) = (Sum::default(), Sum::default());
    for call in calls {
        let (Call::Interim { seconds, messages, .. } | Call::Close { seconds, messages, .. }) =
            call.call
        else {
            continue;
        };
        let raise = |sum: &mut Sum| {
            sum.seconds = sum.seconds.max(seconds);
            sum.messages = sum.messages.max(messages);
        };
        if call.is_accepted() && counts(call) {
            raise(&mut low);
        }
        if call.is_accepted() || call.is_uncertain() {
            raise(&mut high);
        }
    }
    (low, high)
}

/// Was its usage taken? A later closing trigger's is ignored, with a warning.
fn counts(call: &CallLine) -> bool {
    call.answers.iter().any(|told| match &told.reply {
        Reply::Answered { answer, .. } => {
            answer.warnings.iter().all(|warning| warning.code != "usage-ignored")
        }
        Reply::Refused(_) => false,
    })
}

/// Units in the session's backup record.
fn backups(records: &[&Stored]) -> Sum {
    let mut sum = Sum::default();
    for record in records.iter().filter(|record| record.command == "ACR-EVENT") {
        if record.state == RecordState::Superseded {
            continue;
        }
        for text in record.texts.iter().filter_map(|text| text.strip_prefix("farebox-backup;")) {
            let units = text.split(';').filter_map(|part| part.split_once('='));
            for (unit, amount) in units {
                let amount: u64 = amount.parse().unwrap_or(0);
                match unit {
                    "seconds" => sum.seconds += amount,
                    "messages" => sum.messages += amount,
                    _ => {}
                }
            }
        }
    }
    sum
}
