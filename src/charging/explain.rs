//! Records as people look for them, and why one of them ended as it did.
//!
//! Says what is stored and nothing else: what is not known is named as such, with the ids and the
//! time to ask the other side about.

use super::event::Units;
use super::outcome::{DiameterResult, Outcome, Subject};
use super::record::{Command, Record};
use super::session::{Brief, Session};
use super::verdict::{AccountingVerdict, Verdict, accounting_verdict, verdict};
use crate::clock::Wall;
use crate::diameter::result_code;
use crate::store::{Interface, RecordId, RecordRow, RecordState, SessionRow};

/// A record as a search shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordItem {
    /// The id.
    pub record_id: RecordId,
    /// The session or event that made it.
    pub subject: Subject,
    /// What it becomes.
    pub command: Command,
    /// Record or request number.
    pub number: u32,
    /// Where it stands.
    pub state: RecordState,
    /// The money: what its caller was told or would be told now.
    pub outcome: Option<Outcome>,
    /// The last result, if there was one.
    pub result: Option<DiameterResult>,
    /// Per rating group.
    pub services: Vec<(Option<u32>, DiameterResult)>,
    /// The peer of the last copy.
    pub peer: Option<String>,
    /// Copies sent.
    pub attempts: u32,
    /// Last copy to answer.
    pub round_trip_micros: Option<u64>,
    /// When it was made.
    pub created_at: Wall,
    /// An armed STOP goes out then.
    pub due_at: Option<Wall>,
    /// Subscriber identities, in clear.
    pub subscribers: Vec<String>,
    /// Diameter Session-Id.
    pub diameter_session_id: String,
    /// End-to-End Identifier.
    pub end_to_end: u32,
    /// Hop-by-Hop Identifier of the last copy, if it was answered.
    pub hop_by_hop: Option<u32>,
}

/// A stored record with its session, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The record.
    pub record: Record,
    /// Its session or event, unless retention took it.
    pub session: Option<Session>,
}

/// Why a record ended as it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// One sentence.
    pub summary: String,
    /// What the result says, by the RFC.
    pub meaning: Option<String>,
    /// What is known to have happened, in order.
    pub happened: Vec<String>,
    /// What became of the units.
    pub money: Vec<String>,
    /// Where to look next.
    pub look_at: Vec<String>,
}

/// Key of the session that a record row belongs to.
pub fn owner(row: &RecordRow) -> Option<String> {
    minicbor::decode::<Record>(&row.body).ok().map(|record| record.owner)
}

impl Stored {
    /// Decodes rows; `None` if the record cannot be read.
    pub fn read(record: &RecordRow, session: Option<&SessionRow>) -> Option<Stored> {
        let record = minicbor::decode::<Record>(&record.body).ok()?;
        let session = session.and_then(|row| minicbor::decode::<Session>(&row.body).ok());
        Some(Stored { record, session })
    }

    fn brief(&self) -> Option<&Brief> {
        self.session.as_ref()?.brief(self.record.id)
    }

    fn subject(&self) -> Subject {
        if let Some(session) = &self.session {
            return session.subject.clone();
        }
        match self.record.owner.split_once(':') {
            Some(("e", id)) => {
                let id = id.rsplit_once('/').map_or(id, |(id, _)| id);
                Subject::Event(id.to_owned())
            }
            Some((_, id)) => Subject::Session(id.to_owned()),
            None => Subject::Session(self.record.owner.clone()),
        }
    }

    /// On CH-1 what is stored is recorded; on CH-2 it is what the caller is told.
    fn outcome(&self) -> Option<Outcome> {
        let record = &self.record;
        match (record.command.interface(), record.state) {
            (Interface::Ch1, RecordState::Waiting | RecordState::Acknowledged) => {
                Some(Outcome::Recorded)
            }
            (Interface::Ch1, _) => None,
            (Interface::Ch2, state) => {
                let brief = self.brief()?;
                let session = self.session.as_ref()?;
                if brief.failed {
                    return Some(session.decision.outcome);
                }
                let decided = brief.decision.as_ref().map(|decision| decision.outcome);
                decided.or((state == RecordState::Waiting).then_some(Outcome::Pending))
            }
        }
    }

    /// As a search shows it.
    pub fn item(&self) -> RecordItem {
        let record = &self.record;
        let brief = self.brief();
        let services = brief.map(|brief| brief.services.clone()).unwrap_or_default();
        RecordItem {
            record_id: record.id,
            subject: self.subject(),
            command: record.command,
            number: record.number,
            state: record.state,
            outcome: self.outcome(),
            result: brief
                .and_then(|brief| brief.result.clone())
                .or_else(|| record.last_result.clone()),
            services: services
                .into_iter()
                .map(|service| (service.rating_group, service.result))
                .collect(),
            peer: brief.and_then(|brief| brief.peer.clone()),
            attempts: record.attempts.max(brief.map_or(0, |brief| brief.attempts)),
            round_trip_micros: brief.and_then(|brief| brief.round_trip_micros),
            created_at: record.created_at,
            due_at: record.due_at,
            subscribers: record.subscribers.clone(),
            diameter_session_id: record.diameter_session_id.clone(),
            end_to_end: record.end_to_end,
            hop_by_hop: brief.and_then(|brief| brief.hop_by_hop),
        }
    }

    /// What is known of how it ended.
    pub fn why(&self) -> Why {
        let item = self.item();
        let code = item.result.as_ref().and_then(|result| result.code);
        Why {
            summary: summary(&item),
            meaning: code
                .and_then(result_code::find)
                .map(|row| format!("{} {}: {} ({})", row.code, row.name, row.meaning, row.source)),
            happened: self.happened(&item),
            money: self.money(&item),
            look_at: self.look_at(&item),
        }
    }

    fn happened(&self, item: &RecordItem) -> Vec<String> {
        let record = &self.record;
        let mut lines =
            vec![format!("{}: the trigger was accepted and the record stored.", item.created_at)];
        if let Some(due) = item.due_at {
            lines.push(format!(
                "It is armed: it waits for the client's OK, and goes out at {due} without one."
            ));
        }
        match (item.attempts, &item.peer) {
            (0, _) if record.state == RecordState::Superseded => {
                lines.push("No copy was sent.".to_owned());
            }
            (0, _) => lines.push("No copy was sent yet.".to_owned()),
            (1, Some(peer)) => lines.push(format!("One copy was sent, to {peer}.")),
            (n, Some(peer)) => {
                lines.push(format!("{n} copies were sent; the last went to {peer}."));
                lines.push(
                    "The store keeps the last copy's result only: what the earlier ones met is in \
                     the log and the metrics."
                        .to_owned(),
                );
            }
            (n, None) => lines.push(format!("{n} copies were sent; to whom is not known.")),
        }
        if let Some(result) = &item.result {
            lines.push(answer_words(result, item));
        } else if item.attempts > 0 {
            lines.push("No answer is stored.".to_owned());
        }
        for (group, result) in &item.services {
            let group = group.map_or("an MSCC without Rating-Group".to_owned(), |group| {
                format!("rating group {group}")
            });
            lines.push(format!("For {group} the answer said {}.", code_words(result)));
        }
        lines
    }

    fn money(&self, item: &RecordItem) -> Vec<String> {
        let mut lines = Vec::new();
        for report in self.record.reported.iter().filter(|report| !report.units.is_zero()) {
            let words = units_words(&report.units);
            lines.push(format!("It reports {words} for rating group {}.", report.rating_group));
        }
        let Some(session) = &self.session else {
            lines.push("Its session is no longer stored.".to_owned());
            return lines;
        };
        if self.record.backup {
            lines.push("It is the backup record of its session: BSS settles from it.".to_owned());
        }
        if let (Some(backup), Interface::Ch2) = (session.backup, item.command.interface()) {
            let state = session.brief(backup).map_or("unknown", |brief| state_word(brief.state));
            lines.push(format!(
                "Units that no answer covered are in backup record {backup}, which is {state}."
            ));
        }
        for counter in &session.counters {
            let uncovered = counter.uncovered();
            if item.command.interface() == Interface::Ch2 && !uncovered.is_zero() {
                lines.push(format!(
                    "Of rating group {}, {} are covered by no answer.",
                    counter.rating_group,
                    units_words(&uncovered)
                ));
            }
        }
        lines
    }

    fn look_at(&self, item: &RecordItem) -> Vec<String> {
        let mut lines = Vec::new();
        let result = item.result.as_ref();
        let failed = result.map(|result| result.failed_avp.join(", ")).unwrap_or_default();
        if !failed.is_empty() {
            lines.push(format!(
                "Failed-AVP names {failed}: `?view=avps` shows which mapping line and field it \
                 came from."
            ));
        }
        let code = result.and_then(|result| result.code);
        let online = item.command.interface() == Interface::Ch2;
        match (online, verdict(code)) {
            (true, Verdict::ConfigurationDefect) => {
                lines.push("The peer does not serve this: realm, application, route.".to_owned());
            }
            (true, Verdict::MappingDefect) => {
                lines.push("The peer calls the message wrong: mapping and dictionary.".to_owned());
            }
            (false, _)
                if code.is_some() && accounting_verdict(code) == AccountingVerdict::Failed =>
            {
                lines.push(
                    "The CDF refused the record for good; it is a dead letter and is not sent \
                     again by itself."
                        .to_owned(),
                );
            }
            _ => {}
        }
        if item.attempts > 0 {
            let peer = item.peer.as_deref().unwrap_or("the peer");
            lines.push(format!(
                "Ask {peer} about Session-Id {} and End-to-End Identifier {:08x}, {} or later.",
                item.diameter_session_id, item.end_to_end, item.created_at
            ));
        }
        lines
    }
}

/// `CCR-T number 2 of session 9f1c4a7e was answered; outcome debited.`
fn summary(item: &RecordItem) -> String {
    let what = match &item.subject {
        Subject::Session(id) => format!("session {id}"),
        Subject::Event(id) => format!("event {id}"),
    };
    let state = match item.state {
        RecordState::Waiting if item.due_at.is_some() => "is armed",
        RecordState::Waiting if item.attempts == 0 => "waits to be sent",
        RecordState::Waiting => "has no final answer yet",
        RecordState::Acknowledged => "was acknowledged",
        RecordState::Answered => "was answered",
        RecordState::Dead => "is a dead letter",
        RecordState::Superseded => "was superseded",
        RecordState::Abandoned => "was given up; its caller got the failure policy",
    };
    let outcome =
        item.outcome.map_or(String::new(), |outcome| format!("; outcome {}", outcome.word()));
    format!("{} number {} of {what} {state}{outcome}.", item.command.name(), item.number)
}

fn answer_words(result: &DiameterResult, item: &RecordItem) -> String {
    let peer = item.peer.as_deref().unwrap_or("the peer");
    let time = item.round_trip_micros.map_or(String::new(), |micros| {
        format!(" after {}.{} ms", micros / 1000, micros % 1000 / 100)
    });
    let from = match &result.reported_by {
        Some(host) => format!(", reported by {host}"),
        None => String::new(),
    };
    let message = match &result.error_message {
        Some(text) => format!(", Error-Message {text:?}"),
        None => String::new(),
    };
    format!("{peer} answered {}{time}{from}{message}.", code_words(result))
}

fn code_words(result: &DiameterResult) -> String {
    match (result.code, &result.name, result.vendor) {
        (Some(code), _, Some(vendor)) => {
            format!("Experimental-Result {code} of vendor {vendor}")
        }
        (Some(code), Some(name), None) => format!("{code} {name}"),
        (Some(code), None, None) => code.to_string(),
        (None, ..) => "without a Result-Code".to_owned(),
    }
}

fn units_words(units: &Units) -> String {
    units.listed().replace(';', ", ").replace('=', " ")
}

/// The word of a record's state.
pub fn state_word(state: RecordState) -> &'static str {
    match state {
        RecordState::Waiting => "waiting",
        RecordState::Acknowledged => "acknowledged",
        RecordState::Answered => "answered",
        RecordState::Dead => "dead",
        RecordState::Superseded => "superseded",
        RecordState::Abandoned => "abandoned",
    }
}
