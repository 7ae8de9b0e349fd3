//! What the servers' books must show: nothing missing, nothing that nobody asked for, right sums.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::charging::engine::Alarm;
use crate::store::RecordState;

use super::checkers::is_covered;
use super::checkers::is_online;
use super::evidence::Evidence;
use super::evidence::Finding;
use super::evidence::RequestKey;
use super::evidence::Served;
use super::evidence::Stored;
use super::plan::PRICE_MICROS;
use super::plan::RICH_MICROS;

fn name(record: &Stored) -> String {
    format!("{} {} of {}", record.command, record.key.number, record.subject)
}

/// I-1: a record that the gateway holds for done is in the ledger, a dead one has a reason.
pub(super) fn i_01_in_the_ledgers(evidence: &Evidence) -> Vec<Finding> {
    let recorded: BTreeSet<(&str, &RequestKey)> =
        evidence.cdrs.iter().map(|cdr| (cdr.command, &cdr.key)).collect();
    let answered: BTreeSet<&RequestKey> = evidence
        .copies
        .iter()
        .filter(|copy| copy.answered.as_ref().is_some_and(|answer| !answer.mixed))
        .map(|copy| &copy.key)
        .collect();
    let mut found = Vec::new();
    for record in &evidence.stored {
        let good = match record.state {
            RecordState::Acknowledged => recorded.contains(&(record.command.as_str(), &record.key)),
            RecordState::Answered => answered.contains(&record.key),
            RecordState::Dead => evidence
                .alarms
                .iter()
                .any(|(_, alarm, id, _)| *alarm == Alarm::Dead && *id == Some(record.id)),
            RecordState::Superseded => is_superseded(record, evidence),
            RecordState::Waiting | RecordState::Abandoned => true,
        };
        if !good {
            let detail = format!("{} is {:?}, and nothing shows it", name(record), record.state);
            found.push(Finding::new("I-1", detail));
        }
    }
    for copy in &evidence.copies {
        let stored = evidence.stored.iter().find(|record| record.end_to_end == copy.end_to_end);
        let before = stored.and_then(|record| record.born).is_some_and(|(_, at)| at <= copy.at);
        if !before {
            let detail = format!("{} {} left before it was on disk", copy.command, copy.key.number);
            found.push(Finding::new("I-1", detail));
        }
    }
    found
}

/// A newer interim with its number, or a CCR whose units are in a backup record or need none.
fn is_superseded(record: &Stored, evidence: &Evidence) -> bool {
    match record.command.as_str() {
        "ACR-INTERIM" => evidence.stored.iter().any(|newer| {
            newer.key == record.key && newer.id > record.id && newer.command == record.command
        }),
        "CCR-T" | "CCR-U" => true,
        // A backup record from which late answers took everything.
        "ACR-EVENT" => record.texts.iter().any(|text| text.starts_with("farebox-backup")),
        _ => false,
    }
}

/// I-2: whatever is in a ledger stems from a call that was made, and was not only refused.
pub(super) fn i_02_phantoms(evidence: &Evidence) -> Vec<Finding> {
    let owners: BTreeMap<&Arc<str>, &str> = evidence
        .stored
        .iter()
        .map(|record| (&record.key.session, record.subject.as_str()))
        .collect();
    let mut found = Vec::new();
    let cdrs = evidence.cdrs.iter().map(|cdr| (cdr.command, &cdr.key));
    let served = evidence.served.iter().map(|served| (served.command, &served.key));
    let posted = evidence.postings.iter().map(|posting| ("posting", &posting.key));
    for (what, key) in cdrs.chain(served).chain(posted) {
        let sent = owners.get(&key.session).is_some_and(|subject| {
            evidence.calls.iter().any(|call| call.subject == *subject && !call.sent.is_empty())
        });
        if !sent {
            let detail = format!("{what} {} of {}: nobody asked for it", key.number, key.session);
            found.push(Finding::new("I-2", detail));
        }
    }
    found
}

/// I-4: accounts by their postings, by a second model, and reservations.
pub(super) fn i_04_books(evidence: &Evidence) -> Vec<Finding> {
    let mut found: Vec<Finding> =
        evidence.books_broken.iter().map(|words| Finding::new("I-4", words.clone())).collect();
    let expected = reference(&evidence.served);
    for account in &evidence.accounts {
        let paid: i128 = evidence
            .postings
            .iter()
            .filter(|posting| posting.books == account.books && posting.subscriber == account.id)
            .map(|posting| posting.amount)
            .sum();
        if account.opening - paid != account.balance {
            let detail = format!(
                "{}: {} at first, {paid} paid, {} left",
                account.id, account.opening, account.balance
            );
            found.push(Finding::new("I-4", detail));
        }
        let due = expected.get(&(account.books, account.id.as_str())).copied().unwrap_or(0);
        // An account that ran dry pays what it can.
        let right = if account.opening >= RICH_MICROS { paid == due } else { paid <= due };
        if !right {
            let detail = format!("{}: {paid} paid, {due} due by the served requests", account.id);
            found.push(Finding::new("I-4", detail));
        }
        if account.reserved != 0 && evidence.open_at_ocs.is_empty() {
            let detail = format!("{}: {} still reserved", account.id, account.reserved);
            found.push(Finding::new("I-4", detail));
        }
    }
    found
}

/// The second model: each request counts once, and a message has one price.
fn reference(served: &[Served]) -> BTreeMap<(usize, &str), i128> {
    let mut done: BTreeSet<(usize, &RequestKey)> = BTreeSet::new();
    let mut due: BTreeMap<(usize, &str), i128> = BTreeMap::new();
    let mut owners: BTreeMap<(usize, &Arc<str>), &str> = BTreeMap::new();
    for request in served.iter().filter(|request| is_online(request.command)) {
        let works = match request.command {
            "CCR-U" | "CCR-T" => is_covered(request.code),
            _ => matches!(request.code, Some(2000..=2999)),
        };
        if !works || !done.insert((request.books, &request.key)) {
            continue;
        }
        let session = (request.books, &request.key.session);
        let used: u64 = request.used.iter().map(|used| used.messages).sum();
        let count = match (request.command, request.action) {
            ("CCR-I", _) => {
                owners.insert(session, &request.subscriber);
                0
            }
            ("CCR-E", Some(0)) => i128::from(request.asked),
            ("CCR-E", Some(1)) => -i128::from(request.asked),
            ("CCR-E", _) => 0,
            _ => i128::from(used),
        };
        let owner = owners.get(&session).copied().unwrap_or(&request.subscriber);
        *due.entry((request.books, owner)).or_default() += count * PRICE_MICROS;
    }
    due
}
