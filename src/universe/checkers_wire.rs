//! What the wire must show: equal copies, the T law, numbers, ids, domains.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::checkers::by_request;
use super::checkers::is_online;
use super::evidence::Copy;
use super::evidence::Evidence;
use super::evidence::Finding;
use super::evidence::RequestKey;

fn name(copy: &Copy) -> String {
    format!("{} {} of {}", copy.command, copy.key.number, copy.key.session)
}

/// An answer that is this request's, before `at`.
fn is_answered_by(copy: &Copy, at: crate::clock::Now) -> bool {
    copy.answered.as_ref().is_some_and(|answer| !answer.mixed && answer.at <= at)
}

/// I-6: two copies have equal octets but for Hop-by-Hop, T and Destination-Host.
pub(super) fn i_06_copies(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    for copies in by_request(evidence).values() {
        let Some(first) = copies.first() else { continue };
        for copy in &copies[1..] {
            if copy.end_to_end != first.end_to_end {
                found.push(Finding::new("I-6", format!("{}: End-to-End id changed", name(copy))));
            }
            if copy.fingerprint != first.fingerprint || copy.command != first.command {
                found.push(Finding::new("I-6", format!("{}: copies differ", name(copy))));
            }
        }
    }
    found
}

/// I-6: the T law, in the order of its lines.
pub(super) fn i_06_t_law(evidence: &Evidence) -> Vec<Finding> {
    let born: BTreeMap<u32, u32> = evidence
        .stored
        .iter()
        .filter_map(|record| Some((record.end_to_end, record.born?.0)))
        .collect();
    let void: BTreeSet<&RequestKey> =
        evidence.copies.iter().filter(|copy| copy.is_void).map(|copy| &copy.key).collect();
    let mut found = Vec::new();
    for (key, copies) in by_request(evidence) {
        // Tx may run out on a copy that waits in a send buffer, and then it never leaves: the next
        // one has T, and that is as right as none.
        if void.contains(key) {
            continue;
        }
        for (index, copy) in copies.iter().enumerate() {
            let earlier = &copies[..index];
            let Some(wanted) = t_flag(copy, earlier, born.get(&copy.end_to_end), evidence) else {
                continue;
            };
            if wanted != copy.marked {
                let detail = format!(
                    "{}, copy {}: T is {}, {} earlier copies",
                    name(copy),
                    index + 1,
                    u8::from(copy.marked),
                    earlier.len()
                );
                found.push(Finding::new("I-6", detail));
            }
        }
    }
    found
}

/// What T must be; `None`: both would be right.
fn t_flag(copy: &Copy, earlier: &[&Copy], born: Option<&u32>, evidence: &Evidence) -> Option<bool> {
    let found_in_store = born.is_some_and(|life| *life < copy.life);
    if earlier.is_empty() {
        return Some(found_in_store);
    }
    if earlier.iter().any(|before| !is_answered_by(before, copy.at)) {
        return Some(true);
    }
    // Every copy was answered by an error. In this life and in time: T is clear. Over a restart it
    // depends on a mark that may or may not have reached the disk; after Tx the copy had no answer
    // for a while, and both readings are defensible.
    let clear = earlier.iter().all(|before| {
        let answered = before.answered.as_ref().map(|answer| answer.at.since(before.at));
        before.life == copy.life && answered.is_some_and(|time| time < evidence.tx)
    });
    (clear && !found_in_store).then_some(false)
}

/// I-7: numbers run on, one is outstanding per leg, nothing follows STOP and T.
pub(super) fn i_07_numbers(evidence: &Evidence) -> Vec<Finding> {
    let mut legs: BTreeMap<&Arc<str>, Vec<&Copy>> = BTreeMap::new();
    for copy in evidence.copies.iter().filter(|copy| !copy.is_void) {
        legs.entry(&copy.key.session).or_default().push(copy);
    }
    let mut found = Vec::new();
    for copies in legs.values() {
        check_leg(copies, &mut found);
    }
    found
}

fn check_leg(copies: &[&Copy], found: &mut Vec<Finding>) {
    let mut seen: Vec<&Copy> = Vec::new();
    for copy in copies {
        let known = seen.iter().any(|first| first.key.number == copy.key.number);
        let Some(last) = seen.last() else {
            // An orphan's STOP has number 1: 0 stays with the START that was never seen.
            let orphan = copy.command == "ACR-STOP" && copy.key.number == 1;
            if copy.key.number != 0 && !orphan {
                found.push(Finding::new("I-7", format!("{} is the first of its leg", name(copy))));
            }
            seen.push(copy);
            continue;
        };
        if known {
            if copy.key.number != last.key.number {
                let detail = format!("{} again, after {}", name(copy), name(last));
                found.push(Finding::new("I-7", detail));
            }
            continue;
        }
        if copy.key.number != last.key.number + 1 {
            found.push(Finding::new("I-7", format!("{} after {}", name(copy), name(last))));
        }
        if matches!(last.command, "ACR-STOP" | "CCR-T" | "CCR-E" | "ACR-EVENT") {
            found.push(Finding::new("I-7", format!("{} after {}", name(copy), name(last))));
        }
        let ended =
            copies.iter().any(|before| before.key == last.key && is_answered_by(before, copy.at));
        if !ended {
            let detail = format!("{} while {} is outstanding", name(copy), name(last));
            found.push(Finding::new("I-7", detail));
        }
        seen.push(copy);
    }
}

/// I-10: ids never come back.
pub(super) fn i_10_ids(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut end_to_end: BTreeMap<u32, &RequestKey> = BTreeMap::new();
    let mut hop_by_hop: BTreeSet<(u64, u32)> = BTreeSet::new();
    for copy in &evidence.copies {
        let first = end_to_end.entry(copy.end_to_end).or_insert(&copy.key);
        if **first != copy.key {
            let detail = format!("{} has the End-to-End id of another request", name(copy));
            found.push(Finding::new("I-10", detail));
        }
        if !hop_by_hop.insert((copy.connection, copy.hop_by_hop)) {
            let detail = format!("{} has the Hop-by-Hop id of another request", name(copy));
            found.push(Finding::new("I-10", detail));
        }
    }
    let mut sessions: BTreeMap<&Arc<str>, (&str, bool)> = BTreeMap::new();
    for record in &evidence.stored {
        let whose = (record.subject.as_str(), is_online(&record.command));
        let first = sessions.entry(&record.key.session).or_insert(whose);
        if *first != whose {
            let detail = format!("Session-Id {} names two sessions", record.key.session);
            found.push(Finding::new("I-10", detail));
        }
    }
    found
}

/// I-11: copies of a CCR stay in one dedup domain.
pub(super) fn i_11_domains(evidence: &Evidence) -> Vec<Finding> {
    let domain = |copy: &Copy| evidence.domains.get(copy.peer).copied();
    by_request(evidence)
        .values()
        .filter(|copies| copies.first().is_some_and(|copy| is_online(copy.command)))
        .filter(|copies| copies.iter().any(|copy| domain(copy) != domain(copies[0])))
        .map(|copies| {
            Finding::new("I-11", format!("{} went to two dedup domains", name(copies[0])))
        })
        .collect()
}
