//! What the CPM server reports: triggers, as checked values (api.md sections 1 and 2).
//!
//! After `api::body` built one of these no field is "maybe": ranges, lengths and exclusions hold.
//! Everything that a later message of the session needs again can be encoded (CBOR, numbered fields).

use minicbor::{Decode, Encode};

use crate::clock::Wall;

/// A unit amount in a currency, as the OCS or the CPM server wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Money {
    /// Value = `digits` × 10^`exponent` (RFC 8506, 8.8).
    #[n(0)]
    pub digits: i64,
    /// 0 if the AVP was absent.
    #[n(1)]
    pub exponent: i32,
    /// ISO 4217 letters (`EUR`), or the number as text if it is not a known one.
    #[n(2)]
    pub currency: String,
}

/// Amounts of each unit type; `None` means not given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Units {
    /// CC-Time, at most 2^32-1.
    #[n(0)]
    pub seconds: Option<u64>,
    /// CC-Service-Specific-Units.
    #[n(1)]
    pub messages: Option<u64>,
    /// CC-Total-Octets.
    #[n(2)]
    pub bytes: Option<u64>,
    /// CC-Input-Octets: from the end user.
    #[n(3)]
    pub input_bytes: Option<u64>,
    /// CC-Output-Octets: to the end user.
    #[n(4)]
    pub output_bytes: Option<u64>,
    /// CC-Money.
    #[n(5)]
    pub money: Option<Money>,
}

/// How a rating group is named in a trigger.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RatingGroupRef {
    /// Taken as it is.
    #[n(0)]
    Number(#[n(0)] u32),
    /// A service of `policy.services` or a key of `rating_groups`.
    #[n(1)]
    Name(#[n(0)] String),
}

/// Units asked for, for one rating group (`None`: the service's).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct UnitRequest {
    /// Which rating group.
    #[n(0)]
    pub rating_group: Option<RatingGroupRef>,
    /// How much.
    #[n(1)]
    pub units: Units,
}

/// Before or after a tariff change (Tariff-Change-Usage 0 and 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Tariff {
    /// UNIT_BEFORE_TARIFF_CHANGE.
    #[n(0)]
    Before,
    /// UNIT_AFTER_TARIFF_CHANGE.
    #[n(1)]
    After,
}

/// Cumulative units of one rating group since the session began.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct UsageEntry {
    /// Which rating group; `None`: the service's.
    #[n(0)]
    pub rating_group: Option<RatingGroupRef>,
    /// Totals.
    #[n(1)]
    pub units: Units,
    /// Side of a tariff change.
    #[n(2)]
    pub tariff: Option<Tariff>,
}

/// The four OMA counters, cumulative (IM-Information).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct MessageCounters {
    /// Total-Number-Of-Messages-Sent.
    #[n(0)]
    pub sent: Option<u64>,
    /// Number-Of-Messages-Successfully-Sent.
    #[n(1)]
    pub delivered: Option<u64>,
    /// Total-Number-Of-Messages-Exploded.
    #[n(2)]
    pub exploded: Option<u64>,
    /// Number-Of-Messages-Successfully-Exploded.
    #[n(3)]
    pub exploded_delivered: Option<u64>,
}

/// Which interfaces a session or event uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Interfaces {
    /// Offline.
    #[n(0)]
    pub ch1: bool,
    /// Online.
    #[n(1)]
    pub ch2: bool,
}

/// Type of a subscriber identity (Subscription-Id-Type 0 to 4 in this order).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum IdentityType {
    /// END_USER_E164.
    #[n(0)]
    E164,
    /// END_USER_IMSI.
    #[n(1)]
    Imsi,
    /// END_USER_SIP_URI.
    #[n(2)]
    Sip,
    /// END_USER_NAI.
    #[n(3)]
    Nai,
    /// END_USER_PRIVATE.
    #[n(4)]
    Private,
}

/// One identity of the charged user.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Identity {
    /// What kind.
    #[n(0)]
    pub kind: IdentityType,
    /// At most 1,024 octets.
    #[n(1)]
    pub value: String,
}

/// Role of the node for the served user (Role-Of-Node 0, 1, 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Serving the calling party.
    #[default]
    #[n(0)]
    Originating,
    /// Serving the called party.
    #[n(1)]
    Terminating,
    /// Forwarding.
    #[n(2)]
    Forwarding,
}

/// Role of the CPM server (PoC-Server-Role 0 to 3 in this order).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ServerRole {
    /// Participating function.
    #[n(0)]
    Participating,
    /// Controlling function.
    #[n(1)]
    Controlling,
    /// Interworking function.
    #[n(2)]
    Interworking,
    /// Interworking selection function.
    #[n(3)]
    InterworkingSelection,
}

/// The `cpm` object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Cpm {
    /// Conversation-ID.
    #[n(0)]
    pub conversation_id: Option<String>,
    /// Contribution-ID.
    #[n(1)]
    pub contribution_id: Option<String>,
    /// Which CPM function reports.
    #[n(2)]
    pub server_role: Option<ServerRole>,
    /// The group's URI.
    #[n(3)]
    pub group_uri: Option<String>,
    /// IMDN Message-ID (events).
    #[n(4)]
    pub imdn_message_id: Option<String>,
}

/// The `sip` object; the times are those of the INVITE or MESSAGE.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Sip {
    /// Call-ID of the incoming leg.
    #[n(0)]
    pub call_id: Option<String>,
    /// Call-ID of the outgoing leg of a B2BUA.
    #[n(1)]
    pub outgoing_call_id: Option<String>,
    /// P-Charging-Vector icid-value.
    #[n(2)]
    pub icid: Option<String>,
    /// P-Charging-Vector orig-ioi.
    #[n(3)]
    pub orig_ioi: Option<String>,
    /// P-Charging-Vector term-ioi.
    #[n(4)]
    pub term_ioi: Option<String>,
    /// P-Asserted-Service.
    #[n(5)]
    pub icsi: Option<String>,
    /// When the INVITE or MESSAGE arrived.
    #[n(6)]
    pub request_timestamp: Option<Wall>,
    /// When its response was sent.
    #[n(7)]
    pub response_timestamp: Option<Wall>,
}

/// What is said once at the start and repeated in every message of the session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Content {
    /// Whom the node serves.
    #[n(0)]
    pub role: Role,
    /// The reporting CPM node; `None`: identity.host.
    #[n(1)]
    pub node: Option<String>,
    /// 1 to 8 identities (an orphan may have none).
    #[n(2)]
    pub subscriber: Vec<Identity>,
    /// Calling party.
    #[n(3)]
    pub from: Option<String>,
    /// Called parties.
    #[n(4)]
    pub to: Vec<String>,
    /// CPM ids.
    #[n(5)]
    pub cpm: Cpm,
    /// SIP ids.
    #[n(6)]
    pub sip: Sip,
    /// Number of participants.
    #[n(7)]
    pub participants: Option<u64>,
    /// Vendor data for mappings: dotted name to text, number or boolean rendered as text.
    #[n(8)]
    pub extensions: Vec<(String, String)>,
}

/// `POST /v1/sessions`, and the `session` object of a terminate.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Start {
    /// The client's id, 1 to 255 printable ASCII.
    #[n(0)]
    pub session_id: String,
    /// Order of the call; `None`: last + 1.
    #[n(1)]
    pub sequence: Option<u64>,
    /// When it happened.
    #[n(2)]
    pub timestamp: Wall,
    /// Pinned interfaces.
    #[n(3)]
    pub interfaces: Option<Interfaces>,
    /// Name of the service; `None` only in an orphan's `session`.
    #[n(4)]
    pub service: Option<String>,
    /// Everything repeated in later messages.
    #[n(5)]
    pub content: Content,
    /// Units asked for.
    #[n(6)]
    pub request: Vec<UnitRequest>,
    /// Where notifications go.
    #[n(7)]
    pub notify_uri: Option<String>,
}

/// Why an interim is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum InterimReason {
    /// The quota is used up.
    #[n(0)]
    Quota,
    /// A threshold is reached.
    #[n(1)]
    Threshold,
    /// Validity-Time ran out.
    #[n(2)]
    Validity,
    /// Participants changed.
    #[n(3)]
    Participants,
    /// Media changed.
    #[n(4)]
    Media,
    /// Any other change of rating conditions.
    #[n(5)]
    RatingChange,
}

/// `POST /v1/sessions/{id}/interim`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interim {
    /// Which session.
    pub session_id: String,
    /// Order of the call.
    pub sequence: Option<u64>,
    /// When it happened.
    pub timestamp: Wall,
    /// Reporting node of this body.
    pub node: Option<String>,
    /// Why; `None`: derived (api.md, Interim).
    pub reason: Option<InterimReason>,
    /// Cumulative usage.
    pub usage: Vec<UsageEntry>,
    /// Cumulative message counters.
    pub messages: Option<MessageCounters>,
    /// Participants now.
    pub participants: Option<u64>,
    /// Units asked for; empty: nothing is requested.
    pub request: Vec<UnitRequest>,
    /// Vendor data.
    pub extensions: Vec<(String, String)>,
}

/// Which SIP moment closes the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum CloseTrigger {
    /// The client's BYE arrived.
    #[n(0)]
    ByeReceived,
    /// BYE sent to the client.
    #[n(1)]
    ByeSent,
    /// The client's final answer to that BYE arrived.
    #[n(2)]
    ByeOkReceived,
    /// No BYE: node failure, media lost, timer.
    #[n(3)]
    Aborted,
}

/// What ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
#[allow(missing_docs)] // The cause table of api.md section 1.
pub enum CauseKind {
    #[n(0)]
    Normal,
    #[n(1)]
    Inactivity,
    #[n(2)]
    MaxDuration,
    #[n(3)]
    LinkLost,
    #[n(4)]
    SetupFailed,
    #[n(5)]
    QuotaExhausted,
    #[n(6)]
    InternalError,
    #[n(7)]
    SipError,
}

/// The `cause` object.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Cause {
    /// What ended it.
    #[n(0)]
    pub kind: CauseKind,
    /// 400 to 699; always there for `sip-error`.
    #[n(1)]
    pub sip_status: Option<u16>,
    /// Reason headers of the BYE.
    #[n(2)]
    pub reason_header: Vec<String>,
}

/// `POST /v1/sessions/{id}/terminate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminate {
    /// Which session.
    pub session_id: String,
    /// The SIP moment.
    pub trigger: CloseTrigger,
    /// When it happened.
    pub timestamp: Wall,
    /// Order of the call; never refused.
    pub sequence: Option<u64>,
    /// Reporting node of this body.
    pub node: Option<String>,
    /// `None`: normal, for `aborted` internal-error.
    pub cause: Option<Cause>,
    /// Cumulative usage.
    pub usage: Vec<UsageEntry>,
    /// Cumulative message counters.
    pub messages: Option<MessageCounters>,
    /// Participants now.
    pub participants: Option<u64>,
    /// Vendor data.
    pub extensions: Vec<(String, String)>,
    /// The start's fields, for an orphan.
    pub session: Option<Box<Start>>,
}

/// What a one-time event asks the OCS to do (Requested-Action 0 to 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum EventAction {
    /// DIRECT_DEBITING.
    #[n(0)]
    Debit,
    /// REFUND_ACCOUNT.
    #[n(1)]
    Refund,
    /// CHECK_BALANCE.
    #[n(2)]
    CheckBalance,
    /// PRICE_ENQUIRY.
    #[n(3)]
    EnquirePrice,
}

/// The `content` object: never the content itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MessageContent {
    /// MIME type.
    #[n(0)]
    pub content_type: String,
    /// Octets.
    #[n(1)]
    pub size: u64,
}

/// `POST /v1/events`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OneTimeEvent {
    /// The client's id.
    #[n(0)]
    pub event_id: String,
    /// Open list: `message.sent` and so on.
    #[n(1)]
    pub kind: String,
    /// What to do.
    #[n(2)]
    pub action: EventAction,
    /// When it happened.
    #[n(3)]
    pub timestamp: Wall,
    /// Echoed in the answer.
    #[n(4)]
    pub sequence: Option<u64>,
    /// Name of the service.
    #[n(5)]
    pub service: String,
    /// Pinned interfaces.
    #[n(6)]
    pub interfaces: Option<Interfaces>,
    /// Who, from, to, ids.
    #[n(7)]
    pub content: Content,
    /// Default `{"messages": 1}`.
    #[n(8)]
    pub units: Units,
    /// `None`: the service's.
    #[n(9)]
    pub rating_group: Option<RatingGroupRef>,
    /// Delivery-Status text.
    #[n(10)]
    pub delivery: Option<String>,
    /// Type and size of what was sent.
    #[n(11)]
    pub body: Option<MessageContent>,
    /// The debit that a refund undoes.
    #[n(12)]
    pub refund_of: Option<String>,
    /// Why, for a failed event.
    #[n(13)]
    pub cause: Option<Cause>,
    /// Where notifications go.
    #[n(14)]
    pub notify_uri: Option<String>,
}

/// Any of the four calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A session begins.
    Start(Box<Start>),
    /// A session reports.
    Interim(Box<Interim>),
    /// A session ends.
    Terminate(Box<Terminate>),
    /// One-time event.
    Event(Box<OneTimeEvent>),
}

/// How the caller wants to wait (RFC 7240 `Prefer`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefer {
    /// `wait=N`, 0 to 60 s.
    pub wait_secs: Option<u8>,
}

/// A trigger with what came around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What happened.
    pub trigger: Trigger,
    /// How long to wait.
    pub prefer: Prefer,
    /// The authenticated client's name, for the scope of the key; empty without authentication.
    pub client: String,
    /// Header `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// SHA-256 of path and body: tells a repeat from a reuse.
    pub fingerprint: [u8; 32],
}
