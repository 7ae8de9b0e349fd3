//! What is answered: the money's outcome and everything a caller may read from it.
//!
//! Plain values that can be encoded, so that a stored answer renders byte for byte again.

use minicbor::{Decode, Encode};

use super::event::{Money, Units};
use crate::clock::Wall;
use crate::store::RecordId;

/// State of a session, and of an event's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum SessionState {
    /// Service runs.
    #[n(0)]
    Open,
    /// STOP armed, or a CCR queued or pending.
    #[n(1)]
    Ending,
    /// Nothing more will be sent.
    #[n(2)]
    Ended,
}

/// What it means for money and service, worst last (api.md section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
#[allow(missing_docs)] // The vocabulary of product.md section 2.
pub enum Outcome {
    #[n(0)]
    Recorded,
    #[n(1)]
    Granted,
    #[n(2)]
    Debited,
    #[n(3)]
    Refunded,
    #[n(4)]
    Free,
    #[n(5)]
    Pending,
    #[n(6)]
    Unverified,
    #[n(7)]
    Denied,
}

impl Outcome {
    /// The word of the API and the metrics.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Recorded => "recorded",
            Outcome::Granted => "granted",
            Outcome::Debited => "debited",
            Outcome::Refunded => "refunded",
            Outcome::Free => "free",
            Outcome::Pending => "pending",
            Outcome::Unverified => "unverified",
            Outcome::Denied => "denied",
        }
    }
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Basis {
    /// The OCS's answer.
    #[n(0)]
    Ocs,
    /// CCFH, DDFH or their configured defaults.
    #[n(1)]
    FailurePolicy,
    /// farebox itself.
    #[n(2)]
    LocalRule,
}

/// What the SIP side should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ServiceAdvice {
    /// Go on.
    #[n(0)]
    Continue,
    /// End the service (it has ended).
    #[n(1)]
    Stop,
    /// Do not let it begin or go on.
    #[n(2)]
    Block,
}

/// The `advice` object.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Advice {
    /// Continue, stop or block.
    #[n(0)]
    pub service: ServiceAdvice,
    /// SIP status for the user, with `block`.
    #[n(1)]
    pub sip_status: Option<u16>,
    /// With a final grant: by when, or after which units, to stop.
    #[n(2)]
    pub stop_by: Option<StopBy>,
}

/// `advice.stopBy`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StopBy {
    /// Latest time.
    #[n(0)]
    pub at: Option<Wall>,
    /// Most units.
    #[n(1)]
    pub units: Option<Units>,
}

/// Final-Unit-Action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
#[allow(missing_docs)]
pub enum FinalAction {
    #[n(0)]
    Terminate,
    #[n(1)]
    Redirect,
    #[n(2)]
    Restrict,
}

/// `grants[].final`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Final {
    /// What happens after the last unit.
    #[n(0)]
    pub action: FinalAction,
    /// Redirect-Address-Type name and address.
    #[n(1)]
    pub redirect: Option<(String, String)>,
    /// Filter rules and ids.
    #[n(2)]
    pub filters: Vec<String>,
}

/// What the OCS granted for one rating group.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Grant {
    /// Rating-Group.
    #[n(0)]
    pub rating_group: u32,
    /// Its name in the configuration.
    #[n(1)]
    pub name: Option<String>,
    /// Granted-Service-Unit.
    #[n(2)]
    pub units: Units,
    /// Receipt of the answer + Validity-Time.
    #[n(3)]
    pub valid_until: Option<Wall>,
    /// Time-, Unit-, Volume-Quota-Threshold.
    #[n(4)]
    pub threshold: Option<Units>,
    /// Quota-Holding-Time in seconds.
    #[n(5)]
    pub holding_seconds: Option<u32>,
    /// Final-Unit-Indication.
    #[n(6)]
    pub final_unit: Option<Final>,
    /// Tariff-Time-Change.
    #[n(7)]
    pub tariff_change_at: Option<Wall>,
}

/// The `debit` object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Debit {
    /// What answered CCRs reported in total: (rating group, units).
    #[n(0)]
    pub units: Vec<(u32, Units)>,
    /// Cost-Information.
    #[n(1)]
    pub cost: Option<Money>,
    /// Remaining-Balance.
    #[n(2)]
    pub balance: Option<Money>,
    /// Low-Balance-Indication.
    #[n(3)]
    pub low_balance: bool,
}

/// `result`, always with its six members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct DiameterResult {
    /// Result-Code or Experimental-Result-Code.
    #[n(0)]
    pub code: Option<u32>,
    /// Its name, if the table has one.
    #[n(1)]
    pub name: Option<String>,
    /// Vendor of an Experimental-Result.
    #[n(2)]
    pub vendor: Option<u32>,
    /// Error-Message, never used for logic.
    #[n(3)]
    pub error_message: Option<String>,
    /// Error-Reporting-Host.
    #[n(4)]
    pub reported_by: Option<String>,
    /// Failed-AVP: names or code:vendor.
    #[n(5)]
    pub failed_avp: Vec<String>,
}

/// State of the CH-1 side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
#[allow(missing_docs)]
pub enum Ch1State {
    #[n(0)]
    None,
    #[n(1)]
    Armed,
    #[n(2)]
    Stored,
    #[n(3)]
    Acknowledged,
    #[n(4)]
    Dead,
}

/// The `ch1` object.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ch1View {
    /// None, armed, stored …
    #[n(0)]
    pub state: Ch1State,
    /// The record.
    #[n(1)]
    pub record_id: Option<RecordId>,
    /// `START_RECORD` and so on.
    #[n(2)]
    pub record: Option<String>,
    /// Accounting-Record-Number.
    #[n(3)]
    pub record_number: Option<u32>,
    /// The ACA's result, if it came.
    #[n(4)]
    pub result: Option<DiameterResult>,
    /// The peer of the last copy.
    #[n(5)]
    pub peer: Option<String>,
    /// Copies sent.
    #[n(6)]
    pub attempts: u32,
    /// When an armed STOP goes out by the guard.
    #[n(7)]
    pub due_at: Option<Wall>,
}

/// State of the CH-2 side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
#[allow(missing_docs)]
pub enum Ch2State {
    #[n(0)]
    None,
    #[n(1)]
    Pending,
    #[n(2)]
    Answered,
    #[n(3)]
    Failed,
}

/// The ids to search for on the OCS's side.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DiameterIds {
    /// Session-Id.
    #[n(0)]
    pub session_id: String,
    /// Hop-by-Hop Identifier of the last copy.
    #[n(1)]
    pub hop_by_hop: Option<u32>,
    /// End-to-End Identifier.
    #[n(2)]
    pub end_to_end: u32,
}

/// The `ch2` object.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ch2View {
    /// None, pending, answered, failed.
    #[n(0)]
    pub state: Ch2State,
    /// The record.
    #[n(1)]
    pub record_id: Option<RecordId>,
    /// `CCR-I` and so on.
    #[n(2)]
    pub command: Option<String>,
    /// CC-Request-Number.
    #[n(3)]
    pub request_number: Option<u32>,
    /// The CCA's command-level result.
    #[n(4)]
    pub result: Option<DiameterResult>,
    /// Per rating group: its MSCC's result.
    #[n(5)]
    pub services: Vec<(Option<u32>, DiameterResult)>,
    /// The peer of the last copy.
    #[n(6)]
    pub peer: Option<String>,
    /// Copies sent.
    #[n(7)]
    pub attempts: u32,
    /// From the last copy's transmission to the answer, in microseconds.
    #[n(8)]
    pub round_trip_micros: Option<u64>,
    /// Ids on the wire.
    #[n(9)]
    pub diameter: Option<DiameterIds>,
}

impl Ch1View {
    /// CH-1 does not apply.
    pub fn none() -> Ch1View {
        Ch1View {
            state: Ch1State::None,
            record_id: None,
            record: None,
            record_number: None,
            result: None,
            peer: None,
            attempts: 0,
            due_at: None,
        }
    }
}

impl Ch2View {
    /// CH-2 does not apply.
    pub fn none() -> Ch2View {
        Ch2View {
            state: Ch2State::None,
            record_id: None,
            command: None,
            request_number: None,
            result: None,
            services: Vec::new(),
            peer: None,
            attempts: 0,
            round_trip_micros: None,
            diameter: None,
        }
    }
}

/// Whose answer it is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Subject {
    /// `sessionId`.
    #[n(0)]
    Session(#[n(0)] String),
    /// `eventId`.
    #[n(1)]
    Event(#[n(0)] String),
}

impl Subject {
    /// The id alone.
    pub fn id(&self) -> &str {
        match self {
            Subject::Session(id) | Subject::Event(id) => id,
        }
    }
}

/// Something worth telling that did not refuse the call.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Warning {
    /// Stable word: `usage-ignored`, `usage-decreased`, `sequence-out-of-order` …
    #[n(0)]
    pub code: String,
    /// In words.
    #[n(1)]
    pub detail: String,
}

/// The answer to a trigger.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    /// `sessionId` or `eventId`.
    #[n(0)]
    pub subject: Subject,
    /// The call's sequence.
    #[n(1)]
    pub sequence: u64,
    /// State now.
    #[n(2)]
    pub state: SessionState,
    /// The money.
    #[n(3)]
    pub outcome: Outcome,
    /// Who decided.
    #[n(4)]
    pub basis: Basis,
    /// For the SIP side.
    #[n(5)]
    pub advice: Advice,
    /// Only where there is something to say.
    #[n(6)]
    pub grants: Vec<Grant>,
    /// Only where there is something to say.
    #[n(7)]
    pub debit: Option<Debit>,
    /// Online side.
    #[n(8)]
    pub ch2: Ch2View,
    /// Offline side.
    #[n(9)]
    pub ch1: Ch1View,
    /// Only where there is something to say.
    #[n(10)]
    pub warnings: Vec<Warning>,
    /// Was a resource created (201)?
    #[n(11)]
    pub created: bool,
}

/// Why a call is refused; nothing was stored and nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 404.
    UnknownSession,
    /// 409 with the last sequence.
    SequenceOutOfOrder {
        /// What was sent.
        sent: u64,
        /// The last one accepted.
        last: u64,
        /// The session now.
        current: Box<SessionView>,
    },
    /// 409.
    SessionEnded {
        /// The session now.
        current: Box<SessionView>,
    },
    /// 409 + Retry-After.
    RequestInProgress,
    /// 422: each with file:line, AVP or field, and what is missing.
    MappingFailed(Vec<MappingProblem>),
    /// 422.
    IdempotencyKeyReused,
    /// 422: the pointers of the totals that went backwards, with before and now.
    UsageDecreased(Vec<DecreasedTotal>),
    /// 503.
    StoreUnavailable(String),
    /// 507.
    SpoolFull,
    /// 503.
    Draining,
    /// 503.
    Overloaded,
    /// 500: a bug.
    Internal(String),
}

/// One reason why a trigger cannot be mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingProblem {
    /// JSON pointer of the field, where one is at fault.
    pub pointer: Option<String>,
    /// `file:line` of the mapping, where one is at fault.
    pub place: Option<String>,
    /// In words.
    pub detail: String,
}

/// One total that went backwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecreasedTotal {
    /// JSON pointer into the body.
    pub pointer: String,
    /// The total before.
    pub before: u64,
    /// The total sent.
    pub now: u64,
}

/// The engine's reply to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// 200 or 201.
    Answered {
        /// The answer.
        answer: Box<Answer>,
        /// Stored earlier (`Idempotency-Replayed: true`).
        replayed: bool,
    },
    /// A problem.
    Refused(Refusal),
}

/// A record inside a session's view.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RecordView {
    /// The id.
    #[n(0)]
    pub record_id: RecordId,
    /// CH-1 or CH-2.
    #[n(1)]
    pub interface: crate::store::Interface,
    /// `ACR-START`, `CCR-T` …
    #[n(2)]
    pub command: String,
    /// Record or request number.
    #[n(3)]
    pub number: u32,
    /// Where it stands.
    #[n(4)]
    pub state: crate::store::RecordState,
    /// The last result.
    #[n(5)]
    pub result: Option<DiameterResult>,
    /// The peer of the last copy.
    #[n(6)]
    pub peer: Option<String>,
    /// Copies sent.
    #[n(7)]
    pub attempts: u32,
    /// When it was made.
    #[n(8)]
    pub created_at: Wall,
}

/// `GET /v1/sessions/{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// The id.
    pub session_id: String,
    /// State now.
    pub state: SessionState,
    /// Service name.
    pub service: Option<String>,
    /// When it was accepted.
    pub opened_at: Wall,
    /// When it ended.
    pub ended_at: Option<Wall>,
    /// The money.
    pub outcome: Outcome,
    /// Grants in force.
    pub grants: Vec<Grant>,
    /// Totals: (rating group, units).
    pub usage: Vec<(u32, Units)>,
    /// Offline side.
    pub ch1: Ch1View,
    /// Online side.
    pub ch2: Ch2View,
    /// Every record, oldest first.
    pub records: Vec<RecordView>,
}
