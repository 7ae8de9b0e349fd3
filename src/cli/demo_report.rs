//! What the demo prints: results with their source, for people or as one JSON object.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::Flow;
use super::demo_flow::{Call, session_id, title};
use super::demo_proof::Evidence;
use super::terminal::{BOLD, GREEN, RED, RESET, Terminal};
use crate::sim::ledger::{Amount, Currency};

/// One flow with what both sides say about it.
#[derive(Clone, Debug)]
pub(crate) struct Played {
    /// Which flow.
    pub(crate) flow: Flow,
    /// Its HTTP calls.
    pub(crate) calls: Vec<Call>,
    /// The session as the gateway shows it in the end.
    pub(crate) view: Value,
    /// The other side's books.
    pub(crate) evidence: Evidence,
    /// What does not fit; empty if the session was charged once.
    pub(crate) problems: Vec<String>,
}

/// One Diameter exchange, as the gateway's records show it.
struct Exchange<'a> {
    command: &'a str,
    number: u64,
    result: Option<u64>,
    state: &'a str,
    peer: &'a str,
    attempts: u64,
}

impl Played {
    fn exchanges(&self) -> Vec<Exchange<'_>> {
        let records = self.view["records"].as_array().map(Vec::as_slice).unwrap_or_default();
        records
            .iter()
            .map(|record| Exchange {
                command: record["command"].as_str().unwrap_or("?"),
                number: record["number"].as_u64().unwrap_or(0),
                result: record["result"]["code"].as_u64().or_else(|| record["result"].as_u64()),
                state: record["state"].as_str().unwrap_or("?"),
                peer: record["peer"].as_str().unwrap_or("–"),
                attempts: record["attempts"].as_u64().unwrap_or(0),
            })
            .collect()
    }

    /// Prints the flow for people.
    pub(crate) fn print(&self, number: usize, terminal: &mut Terminal) {
        let id = session_id(self.flow);
        terminal.line("");
        terminal.line(format!(
            "  {BOLD}{number}  {}{RESET}   session {}",
            title(self.flow),
            &id[..8]
        ));
        for call in &self.calls {
            terminal.line(format!(
                "     +{}  POST {:<38} {:<15}  {} {:<26} {:>7.1} ms",
                seconds(call.at),
                call.path.replace(id, &id[..8]),
                call.what,
                call.status,
                outcome(&call.answer),
                call.took.as_secs_f64() * 1000.0,
            ));
        }
        for exchange in self.exchanges() {
            let result = match (exchange.result, exchange.attempts) {
                (Some(result), _) => result.to_string(),
                (None, attempts) => format!("no answer to {attempts} copies"),
            };
            terminal.line(format!(
                "             {:<11} #{}  → {result:<24} {:<8} {}",
                exchange.command, exchange.number, exchange.peer, exchange.state,
            ));
        }
        self.print_proof(terminal);
    }

    fn print_proof(&self, terminal: &mut Terminal) {
        let evidence = &self.evidence;
        let money = |amount: Amount| amount.decimal(Currency::EUR);
        terminal.line(format!(
            "     debited   {} messages{} = {} EUR   balance {} → {}   from the OCS's ledger",
            evidence.debited_units(),
            price(evidence).map(|price| format!(" × {}", money(price))).unwrap_or_default(),
            money(evidence.debited()),
            money(evidence.balance_before),
            money(evidence.balance_after),
        ));
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for cdr in &evidence.cdrs {
            let record = cdr["record"].as_str().unwrap_or("?");
            *counts.entry(record.trim_end_matches("_RECORD")).or_default() += 1;
        }
        let of = |record: &str| counts.get(record).map(|count| format!("{count} {record}"));
        let listed: Vec<String> =
            ["START", "INTERIM", "STOP", "EVENT"].iter().filter_map(|record| of(record)).collect();
        let cause = evidence.cdrs.iter().find(|cdr| cdr["record"] == "STOP_RECORD");
        let cause = cause.and_then(|cdr| cdr["causeCode"].as_i64());
        let cause = cause.map(|code| format!("   Cause-Code {code}")).unwrap_or_default();
        terminal.line(format!(
            "     CDRs      {}{cause}   from the CDF's file",
            if listed.is_empty() { "none".to_owned() } else { listed.join(" · ") },
        ));
        for backup in evidence.backups() {
            terminal.line(format!(
                "     backup    {} messages of {}   from the CDF's file",
                backup.messages, backup.session
            ));
        }
        if self.problems.is_empty() {
            let how = match self.flow {
                Flow::SilentOcs => "charged once: one Stop, one backup record for the lost CCR-T",
                _ => "charged once: one Stop, one Termination",
            };
            terminal.line(format!("     {GREEN}✔ {how}{RESET}"));
        }
        for problem in &self.problems {
            terminal.line(format!("     {RED}✖ not charged right: {problem}{RESET}"));
        }
    }

    /// The flow as an object.
    pub(crate) fn json(&self) -> Value {
        let evidence = &self.evidence;
        let money = |amount: Amount| amount.decimal(Currency::EUR);
        let cdrs = evidence.cdrs.iter().map(|cdr| {
            json!({
                "record": cdr["record"], "number": cdr["number"], "sessionId": cdr["sessionId"],
                "eventTimestamp": cdr["eventTimestamp"], "causeCode": cdr["causeCode"],
                "serviceSpecific": cdr["serviceSpecific"],
            })
        });
        json!({
            "flow": name(self.flow),
            "about": title(self.flow),
            "sessionId": session_id(self.flow),
            "charged": self.problems.is_empty(),
            "calls": self.calls.iter().map(|call| json!({
                "atMs": millis(call.at), "path": call.path, "what": call.what,
                "status": call.status, "outcome": call.answer["outcome"],
                "basis": call.answer["basis"], "tookMs": millis(call.took),
            })).collect::<Vec<_>>(),
            "exchanges": self.exchanges().iter().map(|exchange| json!({
                "command": exchange.command, "number": exchange.number,
                "result": exchange.result, "state": exchange.state, "peer": exchange.peer,
                "attempts": exchange.attempts,
            })).collect::<Vec<_>>(),
            "ocsLedger": {
                "terminations": evidence.terminations,
                "debits": evidence.debits.iter().map(|debit| json!({
                    "requestNumber": debit.request_number, "messages": debit.units,
                    "amount": money(debit.amount),
                })).collect::<Vec<_>>(),
                "debited": money(evidence.debited()),
                "balanceBefore": money(evidence.balance_before),
                "balanceAfter": money(evidence.balance_after),
                "currency": "EUR",
            },
            "cdfFile": cdrs.collect::<Vec<_>>(),
            "problems": self.problems,
        })
    }
}

/// What the gateway told the CPM server: `granted 600 s`, `debited 311 s, 14 messages`.
fn outcome(answer: &Value) -> String {
    let Some(word) = answer["outcome"].as_str() else {
        return answer["detail"].as_str().unwrap_or("no JSON").to_owned();
    };
    let entries = match word {
        "granted" => answer["grants"].as_array(),
        "debited" => answer["debit"]["units"].as_array(),
        // What an unverified terminate shows was debited before it.
        _ => None,
    };
    let mut units = Vec::new();
    for entry in entries.into_iter().flatten() {
        let of = |unit: &str| entry["units"][unit].as_u64();
        units.extend(of("seconds").map(|seconds| format!("{seconds} s")));
        units.extend(of("messages").map(|messages| format!("{messages} messages")));
    }
    format!("{word} {}", units.join(", ")).trim_end().to_owned()
}

/// The price of a message, if all cost the same.
fn price(evidence: &Evidence) -> Option<Amount> {
    let units = i128::from(evidence.debited_units());
    let total = evidence.debited().0;
    (units > 0 && total % units == 0).then(|| Amount(total / units))
}

/// The flow's name on the command line.
fn name(flow: Flow) -> String {
    use clap::ValueEnum;
    flow.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
