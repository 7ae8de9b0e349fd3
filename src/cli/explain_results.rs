//! `farebox explain results`: what every Result-Code does to every request, from the real tables.

use serde_json::{Value, json};

use super::args::Format;
use super::terminal::{BOLD, RESET, Terminal};
use crate::charging::outcome::{Basis, ServiceAdvice};
use crate::charging::results::{Cell, Entry, table};

/// Prints the table: for people, or as one JSON object.
pub(crate) fn print(format: Format, terminal: &mut Terminal) {
    let entries = table();
    match format {
        Format::Json => {
            let results: Vec<Value> = entries.iter().map(entry).collect();
            terminal.line(
                json!({"version": env!("CARGO_PKG_VERSION"), "results": results}).to_string(),
            );
        }
        Format::Human => {
            terminal.line("Command-level results; an MSCC's own result beats a 2001 above it.");
            terminal
                .line("CCR-E is a debit; `results` of a peer's profile replaces a code's class.");
            for entry in &entries {
                let code = entry.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
                terminal.line("");
                terminal.line(format!("{BOLD}{code}  {}{RESET}", entry.name));
                for cell in &entry.cells {
                    terminal.line(line(cell).trim_end());
                }
            }
        }
    }
}

fn line(cell: &Cell) -> String {
    let status = cell.advice.sip_status.map(|status| format!(" {status}")).unwrap_or_default();
    let advice = format!("{}{status}", service(cell.advice.service));
    format!(
        "  {:<5}  {:<30} {:<10} {:<14} {:<9} {:<18} {:<8} {}",
        cell.request,
        cell.when,
        cell.outcome.word(),
        basis(cell.basis),
        advice,
        cell.again.words(),
        cell.row,
        cell.next,
    )
}

fn entry(entry: &Entry) -> Value {
    json!({
        "code": entry.code,
        "name": entry.name,
        "class": format!("{:?}", entry.verdict),
        "requests": entry.cells.iter().map(cell).collect::<Vec<_>>(),
    })
}

fn cell(cell: &Cell) -> Value {
    json!({
        "request": cell.request,
        "when": cell.when,
        "outcome": cell.outcome.word(),
        "basis": basis(cell.basis),
        "service": service(cell.advice.service),
        "sipStatus": cell.advice.sip_status,
        "again": cell.again.words(),
        "row": cell.row,
        "next": cell.next,
    })
}

fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Ocs => "ocs",
        Basis::FailurePolicy => "failure_policy",
        Basis::LocalRule => "local_rule",
    }
}

fn service(service: ServiceAdvice) -> &'static str {
    match service {
        ServiceAdvice::Continue => "continue",
        ServiceAdvice::Stop => "stop",
        ServiceAdvice::Block => "block",
    }
}
