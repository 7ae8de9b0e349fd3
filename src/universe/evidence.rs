//! What a universe leaves behind for its checkers: the client ledger, the wire, the servers' books
//! and the gateway's records, as plain rows.
//!
//! Rows and nothing else, so that a checker can be tried on a ledger forged by hand.

use std::sync::Arc;
use std::time::Duration;

use crate::charging::engine::Alarm;
use crate::charging::outcome::Reply;
use crate::clock::Now;
use crate::store::Interface;
use crate::store::RecordId;
use crate::store::RecordState;

use super::plan::Call;

/// What names a request for good: every copy has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestKey {
    /// Diameter Session-Id.
    pub session: Arc<str>,
    /// CC-Request-Number or Accounting-Record-Number.
    pub number: u32,
}

/// Units of one rating group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Rating-Group.
    pub rating_group: u32,
    /// CC-Time.
    pub seconds: u64,
    /// CC-Service-Specific-Units.
    pub messages: u64,
}

/// An answer that reached the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// When.
    pub at: Now,
    /// Result-Code.
    pub code: Option<u32>,
    /// Result-Code of each rating group that had one.
    pub services: Vec<(u32, Option<u32>)>,
    /// An AVP with M that nobody knows, or a broken one (H-27).
    pub unusable: bool,
    /// The request type or number of another request.
    pub mixed: bool,
}

/// One copy on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// When its first octet left.
    pub at: Now,
    /// Life of the gateway.
    pub life: u32,
    /// Names the record in that life.
    pub token: u64,
    /// The connection ended, and not one octet of it had left.
    pub is_void: bool,
    /// Index of the peer.
    pub peer: usize,
    /// Which connection.
    pub connection: u64,
    /// Hop-by-Hop Identifier.
    pub hop_by_hop: u32,
    /// End-to-End Identifier.
    pub end_to_end: u32,
    /// T.
    pub marked: bool,
    /// `CCR-T` and so on.
    pub command: &'static str,
    /// Which request.
    pub key: RequestKey,
    /// Over all that two copies must share.
    pub fingerprint: u64,
    /// Units that it reports.
    pub used: Vec<Used>,
    /// Its answer, if the engine got one.
    pub answered: Option<Answered>,
}

/// What one of the charging servers did with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// When.
    pub at: Now,
    /// Index of the books: servers of one domain share them.
    pub books: usize,
    /// `CCR-T` and so on.
    pub command: &'static str,
    /// Which request.
    pub key: RequestKey,
    /// Result-Code of its answer, sent or lost.
    pub code: Option<u32>,
    /// Units that it reports.
    pub used: Vec<Used>,
    /// Messages that an event asks for.
    pub asked: u64,
    /// Requested-Action.
    pub action: Option<i32>,
    /// Subscription-Id-Data.
    pub subscriber: String,
}

/// A posting in the books of an OCS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Index of the books.
    pub books: usize,
    /// Which request.
    pub key: RequestKey,
    /// Whose account.
    pub subscriber: String,
    /// Micro-units to the operator, negative for a refund.
    pub amount: i128,
}

/// An account of an OCS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Index of the books.
    pub books: usize,
    /// Subscription-Id-Data.
    pub id: String,
    /// At the beginning.
    pub opening: i128,
    /// At the end, reservations included.
    pub balance: i128,
    /// Held by open sessions.
    pub reserved: i128,
}

/// A record that a CDF accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cdr {
    /// Index of the CDF.
    pub cdf: usize,
    /// `ACR-STOP` and so on.
    pub command: &'static str,
    /// Which record.
    pub key: RequestKey,
    /// Service-Specific-Data texts.
    pub texts: Vec<String>,
    /// Total-Number-Of-Messages-Sent.
    pub sent: Option<u32>,
    /// Cause-Code.
    pub cause_code: Option<i32>,
}

/// A record in the gateway's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its id.
    pub id: RecordId,
    /// The session or event that made it.
    pub subject: String,
    /// CH-1 or CH-2.
    pub interface: Interface,
    /// `CCR-T` and so on.
    pub command: String,
    /// Which request.
    pub key: RequestKey,
    /// End-to-End Identifier.
    pub end_to_end: u32,
    /// Where it stands.
    pub state: RecordState,
    /// An armed STOP.
    pub is_armed: bool,
    /// Service-Specific-Data texts, of ACR-EVENTs.
    pub texts: Vec<String>,
    /// The life in which it was first on disk, and when.
    pub born: Option<(u32, Now)>,
}

/// Which of the four calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// A session begins.
    Start,
    /// It reports.
    Interim,
    /// It ends.
    Close,
    /// A one-time event.
    Event,
}

/// One call in the client ledger; its copies are attempts of one line.
#[derive(Clone, Debug, PartialEq)]
pub struct CallLine {
    /// `sessionId` or `eventId`.
    pub subject: String,
    /// Index of the account.
    pub subscriber: usize,
    /// Service.
    pub service: &'static str,
    /// Which call.
    pub kind: CallKind,
    /// What it said.
    pub call: Call,
    /// It has a key, given or natural: every copy gets the same answer.
    pub has_key: bool,
    /// When each copy was sent.
    pub sent: Vec<Now>,
    /// What the gateway answered, whether the caller heard it or not.
    pub answers: Vec<Told>,
}

/// An answer of the gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// When it left the gateway.
    pub at: Now,
    /// Life of the gateway.
    pub life: u32,
    /// The answer.
    pub reply: Reply,
}

impl CallLine {
    /// It was answered with 2xx at least once.
    pub fn is_accepted(&self) -> bool {
        self.answers.iter().any(|told| matches!(told.reply, Reply::Answered { .. }))
    }

    /// Some copy was sent and got no answer at all: it may have been accepted or not.
    pub fn is_uncertain(&self) -> bool {
        !self.is_accepted() && self.answers.len() < self.sent.len()
    }
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Client ledger.
    pub calls: Vec<CallLine>,
    /// The wire, in order of time.
    pub copies: Vec<Copy>,
    /// What the servers did, in order of time.
    pub served: Vec<Served>,
    /// The books of the OCSs.
    pub postings: Vec<Posting>,
    /// The accounts of the OCSs.
    pub accounts: Vec<Account>,
    /// What the books say of themselves if they do not add up.
    pub books_broken: Vec<String>,
    /// Session-Ids of credit-control sessions that are still open at an OCS.
    pub open_at_ocs: Vec<Arc<str>>,
    /// What the servers found odd about the gateway's requests.
    pub anomalies: Vec<String>,
    /// The records of the CDFs.
    pub cdrs: Vec<Cdr>,
    /// The gateway's records.
    pub stored: Vec<Stored>,
    /// Alarms, in order of time.
    pub alarms: Vec<(Now, Alarm, Option<RecordId>, String)>,
    /// Dedup domain of each peer.
    pub domains: Vec<usize>,
    /// Tx.
    pub tx: Duration,
    /// An account may run dry, or an answer may refuse what was used.
    pub some_poor: bool,
    /// Backup records are written.
    pub backup: bool,
    /// Findings of the checks that run all the time.
    pub found: Vec<Finding>,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `I-1` and so on.
    pub invariant: &'static str,
    /// What was seen.
    pub detail: String,
}

impl Finding {
    /// A finding.
    pub fn new(invariant: &'static str, detail: impl Into<String>) -> Finding {
        Finding { invariant, detail: detail.into() }
    }
}
