//! What each Result-Code does to each request: api.md section 3 as it follows from the tables.
//!
//! [`event_of`], [`told`] and [`event_told`] are what the engine itself asks; [`table`] asks them for
//! every code that the RFCs name, under every CCFH and DDFH, so that the page an operator reads is
//! what happens. It knows no session: what MSCCs add is not in it.

use super::accounting;
use super::credit_control::{Event, EventHandling, Row, State, Step, find, find_event};
use super::event::EventAction;
use super::outcome::{Advice, Basis, Outcome, ServiceAdvice};
use super::policy::Ccfh;
use super::record::Command;
use super::session::Decision;
use super::verdict::{
    AccountingVerdict, Verdict, accounting_verdict, covered, sip_status, verdict,
};
use crate::diameter::result_code;

/// The event of an answer; `None` if another peer may know better first.
pub fn event_of(verdict: Verdict, command: Command) -> Option<Event> {
    match verdict {
        Verdict::Success => Some(Event::Success),
        Verdict::Free => Some(Event::NotApplicable),
        Verdict::Denied => Some(Event::Denied),
        Verdict::UnknownSession
            if matches!(command, Command::CcrUpdate | Command::CcrTermination) =>
        {
            Some(Event::Denied)
        }
        Verdict::Temporary => None,
        _ => Some(Event::Failed),
    }
}

/// What the caller of a CCR-I, U or T is told when `event` takes `row`; for `Success` as if there
/// were no MSCC.
pub fn told(command: Command, event: Event, row: &Row, ccfh: Ccfh, code: Option<u32>) -> Decision {
    let last = command == Command::CcrTermination;
    let block = if last || command == Command::CcrUpdate {
        ServiceAdvice::Stop
    } else {
        ServiceAdvice::Block
    };
    let go_on = if last { ServiceAdvice::Stop } else { ServiceAdvice::Continue };
    match event {
        Event::Success => {
            let good = if last { Outcome::Debited } else { Outcome::Granted };
            Decision::new(good, Basis::Ocs, go_on)
        }
        Event::NotApplicable => Decision::new(Outcome::Free, Basis::Ocs, go_on),
        Event::Denied => {
            let status = sip_status(code);
            let service = match (last, status) {
                (true, _) | (false, None) => ServiceAdvice::Stop,
                (false, Some(_)) => ServiceAdvice::Block,
            };
            let advice = Advice { service, sip_status: status, stop_by: None };
            Decision { outcome: Outcome::Denied, basis: Basis::Ocs, advice }
        }
        // The answer to a CCR-T that failed is judged by CCFH as every other one.
        Event::Failed if last && ccfh != Ccfh::Continue => {
            Decision::new(Outcome::Denied, Basis::FailurePolicy, ServiceAdvice::Stop)
        }
        _ if last => Decision::new(Outcome::Unverified, Basis::FailurePolicy, ServiceAdvice::Stop),
        _ if row.steps.contains(&Step::TerminateService) => {
            Decision::new(Outcome::Denied, Basis::FailurePolicy, block)
        }
        _ => Decision::new(Outcome::Unverified, Basis::FailurePolicy, ServiceAdvice::Continue),
    }
}

/// What the caller of a one-time event is told; for `Success` as if there were no MSCC.
pub fn event_told(
    event: Event,
    action: EventAction,
    handling: EventHandling,
    code: Option<u32>,
) -> Decision {
    let go_on = ServiceAdvice::Continue;
    let denied = |basis, status| Decision {
        outcome: Outcome::Denied,
        basis,
        advice: Advice { service: ServiceAdvice::Block, sip_status: status, stop_by: None },
    };
    let unverified = Decision::new(Outcome::Unverified, Basis::FailurePolicy, go_on);
    match (event, action) {
        (Event::Success, EventAction::Debit) => Decision::new(Outcome::Debited, Basis::Ocs, go_on),
        (Event::Success, EventAction::Refund) => {
            Decision::new(Outcome::Refunded, Basis::Ocs, go_on)
        }
        (Event::Success, EventAction::CheckBalance) => {
            Decision::new(Outcome::Granted, Basis::Ocs, go_on)
        }
        (Event::Success, EventAction::EnquirePrice) => {
            Decision::new(Outcome::Recorded, Basis::Ocs, go_on)
        }
        (Event::NotApplicable, _) => Decision::new(Outcome::Free, Basis::Ocs, go_on),
        (Event::Denied, _) => denied(Basis::Ocs, sip_status(code)),
        // The answer shows that nothing was debited; 3002, 3004 or 3005 from every allowed peer too.
        (Event::Failed | Event::TemporaryError, EventAction::Debit) => match handling {
            EventHandling::DebitContinue => unverified,
            _ => denied(Basis::FailurePolicy, None),
        },
        (Event::Failed, _) => denied(Basis::FailurePolicy, None),
        (_, EventAction::Refund) => Decision::new(Outcome::Pending, Basis::FailurePolicy, go_on),
        (_, EventAction::CheckBalance | EventAction::EnquirePrice) => {
            denied(Basis::FailurePolicy, None)
        }
        (_, EventAction::Debit) => unverified,
    }
}

/// Is the request sent again after this answer?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Never.
    No,
    /// At once to the next allowed peer, T clear; the cell says what comes if there is none.
    NextPeer,
    /// To a Redirect-Host, T clear (RFC 6733, 6.1.8); the cell says what comes if none can be reached.
    Redirected,
    /// To the next CDF at once, T clear, then from the spool until one takes it.
    NextCdf,
}

impl Again {
    /// In a few words.
    pub fn words(self) -> &'static str {
        match self {
            Again::No => "no",
            Again::NextPeer => "next peer, T clear",
            Again::Redirected => "Redirect-Host",
            Again::NextCdf => "next CDF, T clear",
        }
    }
}

/// What one code does to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// `CCR-I`, `CCR-U`, `CCR-T`, `CCR-E` (a debit), `ACR`.
    pub request: &'static str,
    /// `any`, or the CCFH or DDFH values under which it holds.
    pub when: String,
    /// For the caller.
    pub outcome: Outcome,
    /// Who decided.
    pub basis: Basis,
    /// For the SIP side.
    pub advice: Advice,
    /// Sent again?
    pub again: Again,
    /// The row of the state table that is taken.
    pub row: &'static str,
    /// What comes next, in a few words.
    pub next: String,
}

/// One Result-Code with its cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The code; `None`: no Result-Code, or an Experimental-Result alone.
    pub code: Option<u32>,
    /// Its name.
    pub name: &'static str,
    /// What it means for money.
    pub verdict: Verdict,
    /// By request, and by failure handling where it matters.
    pub cells: Vec<Cell>,
}

/// Every Result-Code that is named, and the case of none.
pub fn table() -> Vec<Entry> {
    let named = result_code::ALL.iter().map(|row| (Some(row.code), row.name));
    named
        .chain([(None, "no Result-Code, or Experimental-Result alone")])
        .map(|(code, name)| Entry {
            code,
            name,
            verdict: verdict(code),
            cells: [Command::CcrInitial, Command::CcrUpdate, Command::CcrTermination]
                .into_iter()
                .flat_map(|command| session_cells(command, code))
                .chain(event_cells(code))
                .chain([accounting_cell(code)])
                // The routing follows a redirect before the tables are asked.
                .map(|cell| match code {
                    Some(result_code::REDIRECT_INDICATION) => {
                        Cell { again: Again::Redirected, ..cell }
                    }
                    _ => cell,
                })
                .collect(),
        })
        .collect()
}

fn session_cells(command: Command, code: Option<u32>) -> Vec<Cell> {
    let (state, request) = match command {
        Command::CcrInitial => (State::PendingI, "CCR-I"),
        Command::CcrUpdate => (State::PendingU, "CCR-U"),
        _ => (State::PendingT, "CCR-T"),
    };
    let event = event_of(verdict(code), command);
    let cells = Ccfh::ALL.into_iter().filter_map(|ccfh| {
        let taken = event.unwrap_or(Event::CannotSend);
        let row = find(state, taken, ccfh)?;
        let decision = told(command, taken, row, ccfh, code);
        Some((ccfh.name(), cell(request, decision, event, row, covered(code))))
    });
    merged(cells)
}

fn event_cells(code: Option<u32>) -> Vec<Cell> {
    let event = event_of(verdict(code), Command::CcrEvent);
    let handlings = [
        ("terminate_or_buffer", EventHandling::DebitBuffer),
        ("continue", EventHandling::DebitContinue),
    ];
    let cells = handlings.into_iter().filter_map(|(name, handling)| {
        let taken = event.unwrap_or(Event::TemporaryError);
        let row = find_event(State::PendingE, taken, handling)?;
        let decision = event_told(taken, EventAction::Debit, handling, code);
        Some((name, cell("CCR-E", decision, event, row, covered(code))))
    });
    merged(cells)
}

fn cell(
    request: &'static str,
    decision: Decision,
    event: Option<Event>,
    row: &'static Row,
    covered: bool,
) -> Cell {
    let uncovered = row.steps.contains(&Step::Backup) && !covered;
    let next = match (row.next, uncovered) {
        (State::Open, _) => "the session goes on".to_owned(),
        (State::PendingT, _) => "the same CCR-T again inside its window".to_owned(),
        (State::Idle, true) => "leg ended; uncovered units go into the backup record".to_owned(),
        (State::Idle, false) if request == "CCR-E" => "done".to_owned(),
        (State::Idle, false) => "leg ended".to_owned(),
        (other, _) => format!("{other:?}"),
    };
    let again = if event.is_none() { Again::NextPeer } else { Again::No };
    Cell {
        request,
        when: String::new(),
        outcome: decision.outcome,
        basis: decision.basis,
        advice: decision.advice,
        again,
        row: row.id,
        next,
    }
}

/// Cells that differ in nothing but the row are one.
fn merged(cells: impl Iterator<Item = (&'static str, Cell)>) -> Vec<Cell> {
    let mut kept: Vec<Cell> = Vec::new();
    let mut count = 0;
    for (name, cell) in cells {
        count += 1;
        match kept.iter_mut().find(|known| Cell { when: String::new(), ..(*known).clone() } == cell)
        {
            Some(known) => known.when.push_str(&format!(", {name}")),
            None => kept.push(Cell { when: name.to_owned(), ..cell }),
        }
    }
    if let [only] = kept.as_mut_slice()
        && count > 1
    {
        only.when = "any".to_owned();
    }
    kept
}

/// On CH-1 nobody waits for a result: the caller is told `recorded` whatever it is.
fn accounting_cell(code: Option<u32>) -> Cell {
    let (event, again, next) = match accounting_verdict(code) {
        AccountingVerdict::Acknowledged => (accounting::Event::Success, Again::No, "acknowledged"),
        AccountingVerdict::FailureToSend => {
            (accounting::Event::FailureToSend, Again::NextCdf, "stays in the spool")
        }
        AccountingVerdict::Failed => (accounting::Event::Failed, Again::No, "dead letter"),
    };
    let row = accounting::find(accounting::State::PendingL, event, None, true);
    Cell {
        request: "ACR",
        when: "any".to_owned(),
        outcome: Outcome::Recorded,
        basis: Basis::LocalRule,
        advice: Advice { service: ServiceAdvice::Continue, sip_status: None, stop_by: None },
        again,
        row: row.map_or("", |row| row.id),
        next: next.to_owned(),
    }
}
