//! The checkers: invariants I-1 to I-11 over the evidence of one universe.
//!
//! Pure functions over plain rows, so that each can be tried on a ledger forged by hand. I-3, I-12,
//! I-13 and the half of I-1 that says "2xx means on disk" are checked while the universe runs.

use std::collections::BTreeMap;

use super::evidence::Copy;
use super::evidence::Evidence;
use super::evidence::Finding;
use super::evidence::RequestKey;

/// Every invariant with what it says.
pub const INVARIANTS: &[(&str, &str)] = &[
    ("I-1", "every 2xx is in the ledgers exactly once, or visibly waiting, dead or superseded"),
    ("I-2", "nothing is charged that no trigger asked for, or that was refused"),
    ("I-3", "what came into the spool is accounted for, every simulated second"),
    ("I-4", "the books of each account add up, by the OCS and by a second, simpler model"),
    ("I-5", "each unit is in exactly one of: an answered CCR, the backup record"),
    ("I-6", "copies are equal but for Hop-by-Hop, T and Destination-Host; the T law holds"),
    ("I-7", "numbers run 0, 1, 2; one outstanding per leg; nothing after STOP and T"),
    ("I-8", "answers to callers agree with the ledgers"),
    ("I-9", "the same key is answered with the same bytes, over restarts too"),
    ("I-10", "Session-Ids and End-to-End ids never come back, Hop-by-Hop ids not on a connection"),
    ("I-11", "copies of a CCR stay in one dedup domain"),
    ("I-12", "after the last fault everything settles and every peer opens"),
    ("I-13", "at the end nothing is left in memory"),
    ("SEC-03", "RAR and ASR are heard from the session's own server only"),
    ("I-14", "no panic, no impossible pair of a table, no odd request seen by a server"),
];

/// Everything that does not hold.
pub fn check(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    for check in [
        super::checkers_wire::i_06_copies,
        super::checkers_wire::i_06_t_law,
        super::checkers_wire::i_07_numbers,
        super::checkers_wire::i_10_ids,
        super::checkers_wire::i_11_domains,
        super::checkers_ledger::i_01_in_the_ledgers,
        super::checkers_ledger::i_02_phantoms,
        super::checkers_ledger::i_04_books,
        super::checkers_units::i_05_units,
        super::checkers_calls::i_01_once,
        super::checkers_calls::i_08_answers,
        super::checkers_calls::i_09_same_answer,
        i_14_odd,
    ] {
        // A bug shows in every session; a handful of each kind is enough to read.
        found.extend(check(evidence).into_iter().take(10));
    }
    found
}

fn i_14_odd(evidence: &Evidence) -> Vec<Finding> {
    // A first copy that was clogged arrives after the second: T is judged where copies leave (I-6).
    let odd = evidence.anomalies.iter().filter(|odd| !odd.contains(" copy-unmarked "));
    odd.map(|odd| Finding::new("I-14", odd.clone())).collect()
}

/// Copies by the request that they are copies of, in order of time.
pub(super) fn by_request(evidence: &Evidence) -> BTreeMap<&RequestKey, Vec<&Copy>> {
    let mut requests: BTreeMap<&RequestKey, Vec<&Copy>> = BTreeMap::new();
    for copy in evidence.copies.iter().filter(|copy| !copy.is_void) {
        requests.entry(&copy.key).or_default().push(copy);
    }
    requests
}

/// Was this a CCR?
pub(super) fn is_online(command: &str) -> bool {
    command.starts_with("CCR")
}

/// A failure to send or a temporary error: another copy may follow (api.md, section 3).
pub(super) fn is_temporary(command: &str, code: Option<u32>) -> bool {
    match code {
        Some(3002 | 3004 | 3005) => true,
        Some(4002) => !is_online(command),
        _ => false,
    }
}

/// The OCS has deducted what it could: these units are never reported again.
pub(super) fn is_covered(code: Option<u32>) -> bool {
    matches!(code, Some(2000..=2999 | 4010 | 4011 | 4012))
}
