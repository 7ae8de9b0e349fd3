//! `farebox spool verify DIR`: is a store whole? Nothing is changed.

use serde_json::json;

use super::args::{Format, SpoolVerify};
use super::exit::{Exit, Failure, Outcome};
use super::terminal::{GREEN, RED, RESET, Terminal};
use crate::charging::explain::owner;
use crate::store::Interface;
use crate::store::sqlite::verify;

/// 3 if anything is wrong with the store.
pub(crate) fn run(args: &SpoolVerify, terminal: &mut Terminal) -> Outcome {
    let found = verify(&args.folder, &owner)
        .map_err(|error| Failure::coded(Exit::BadData, error.code(), error.to_string()))?;
    let exit = if found.problem_count == 0 { Exit::Ok } else { Exit::Assertion };
    if args.format == Format::Json {
        let records: Vec<_> = found
            .records
            .iter()
            .map(|((interface, state), count)| {
                json!({"interface": word(*interface), "state": state, "count": count})
            })
            .collect();
        terminal.line(
            json!({
                "database": found.database.display().to_string(), "storeId": found.id,
                "commit": found.commit, "records": records, "sessionsOpen": found.sessions_open,
                "sessionsEnded": found.sessions_ended, "keys": found.keys,
                "quarantined": found.quarantined, "problems": found.problems,
                "problemCount": found.problem_count,
            })
            .to_string(),
        );
        return Ok(exit);
    }
    terminal.line(format!("store {} commit {}", found.database.display(), found.commit));
    for ((interface, state), count) in &found.records {
        terminal.line(format!("  {:<4}{state:<14}{count:>10}", word(*interface)));
    }
    terminal.line(format!(
        "  {} open sessions, {} ended, {} keys",
        found.sessions_open, found.sessions_ended, found.keys
    ));
    for name in &found.quarantined {
        terminal.line(format!("  in quarantine: {name}"));
    }
    for problem in &found.problems {
        terminal.line(format!("  {RED}✖{RESET} {problem}"));
    }
    let more = found.problem_count - found.problems.len() as u64;
    if more > 0 {
        terminal.line(format!("  … and {more} more"));
    }
    terminal.line(match found.problem_count {
        0 => format!("  {GREEN}✔{RESET} every row is sound, every open record has its session"),
        count => format!("  {RED}✖{RESET} {count} problems"),
    });
    Ok(exit)
}

fn word(interface: Interface) -> &'static str {
    match interface {
        Interface::Ch1 => "ch1",
        Interface::Ch2 => "ch2",
    }
}
