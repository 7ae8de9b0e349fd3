//! `farebox explain results` against the rows of the API's table "From the OCS's answer to the
//! outcome", written down here once more by hand.

use std::collections::BTreeSet;

use farebox::charging::results::{Again, Cell, table};

/// `outcome basis advice status again`, for a code under a failure handling.
fn words(cell: &Cell) -> String {
    let status = cell.advice.sip_status.map_or_else(|| "-".to_owned(), |s| s.to_string());
    let again = match cell.again {
        Again::No => "no",
        Again::NextPeer => "peer",
        Again::NextCdf => "cdf",
        Again::Redirected => "host",
    };
    format!("{} {:?} {:?} {status} {again}", cell.outcome.word(), cell.basis, cell.advice.service)
}

fn expect(code: Option<u32>, request: &str, handling: &str) -> String {
    let continues = handling == "continue";
    let block = match request {
        "CCR-I" | "CCR-E" => "Block",
        _ => "Stop",
    };
    let go_on = if request == "CCR-T" { "Stop" } else { "Continue" };
    if request == "ACR" {
        let again = if matches!(code, Some(3002 | 3004 | 3005 | 4002)) { "cdf" } else { "no" };
        return format!("recorded LocalRule Continue - {again}");
    }
    let denied = |status: &str| match request {
        "CCR-T" => format!("denied Ocs Stop {status} no"),
        _ => format!("denied Ocs Block {status} no"),
    };
    let good = match request {
        "CCR-I" | "CCR-U" => "granted",
        _ => "debited",
    };
    match code {
        Some(2001 | 2002) => format!("{good} Ocs {go_on} - no"),
        Some(4011) => format!("free Ocs {go_on} - no"),
        Some(4012) => denied("402"),
        Some(4010 | 5003 | 5031) => denied("403"),
        Some(5030) => denied("404"),
        Some(5002) if matches!(request, "CCR-U" | "CCR-T") => "denied Ocs Stop - no".to_owned(),
        // A CCR-T that nobody takes is settled later: `unverified`, whatever the CCFH.
        Some(3002 | 3004 | 3005) if request == "CCR-T" => {
            "unverified FailurePolicy Stop - peer".to_owned()
        }
        Some(3002 | 3004 | 3005) if continues => format!("unverified FailurePolicy {go_on} - peer"),
        Some(3002 | 3004 | 3005) => format!("denied FailurePolicy {block} - peer"),
        _ if continues => format!("unverified FailurePolicy {go_on} - no"),
        _ => format!("denied FailurePolicy {block} - no"),
    }
}

#[test]
fn fa_13_explain_results_equals_the_table_of_the_api() {
    let entries = table();
    assert_eq!(entries.len(), farebox::diameter::result_code::ALL.len() + 1);
    for entry in &entries {
        for request in ["CCR-I", "CCR-U", "CCR-T", "CCR-E", "ACR"] {
            let handlings: &[&str] = match request {
                "CCR-E" => &["terminate_or_buffer", "continue"],
                "ACR" => &["any"],
                _ => &["terminate", "retry_and_terminate", "continue"],
            };
            for handling in handlings {
                let fits = |cell: &&Cell| {
                    cell.request == request
                        && (cell.when == "any" || cell.when.split(", ").any(|w| w == *handling))
                };
                let cells: Vec<&Cell> = entry.cells.iter().filter(fits).collect();
                let [cell] = cells.as_slice() else {
                    panic!("{:?} {request} {handling}: {cells:?}", entry.code)
                };
                let expected = expect(entry.code, request, handling);
                let expected = match entry.code {
                    Some(3006) => expected.replace(" no", " host"),
                    _ => expected,
                };
                assert_eq!(words(cell), expected, "{:?} {request} {handling}", entry.code);
            }
        }
    }
}

#[test]
fn fa_18_uncovered_units_of_a_lost_leg_go_into_the_backup_record() {
    let backed_up: BTreeSet<u32> = table()
        .iter()
        .filter(|entry| {
            entry.cells.iter().any(|cell| cell.request == "CCR-T" && cell.next.contains("backup"))
        })
        .filter_map(|entry| entry.code)
        .collect();
    for code in [5002, 5003, 5012, 5030, 5031] {
        assert!(backed_up.contains(&code), "{code}");
    }
    for code in [2001, 2002, 4010, 4011, 4012] {
        assert!(!backed_up.contains(&code), "{code}");
    }
}

#[test]
fn every_row_that_is_named_is_one_of_the_tables() {
    for entry in table() {
        for cell in &entry.cells {
            assert!(cell.row.starts_with("CC") || cell.row.starts_with("ACC"), "{cell:?}");
        }
    }
}
