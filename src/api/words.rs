//! The closed vocabularies of the bodies: field names of each call, words of each enumeration.

use crate::charging::event::{
    CauseKind, CloseTrigger, EventAction, IdentityType, InterimReason, Role, ServerRole, Tariff,
};

pub(super) const START: &[&str] = &[
    "sessionId",
    "sequence",
    "timestamp",
    "interfaces",
    "service",
    "role",
    "node",
    "subscriber",
    "from",
    "to",
    "cpm",
    "sip",
    "participants",
    "request",
    "notifyUri",
    "extensions",
];
pub(super) const INTERIM: &[&str] = &[
    "sequence",
    "timestamp",
    "node",
    "reason",
    "usage",
    "messages",
    "participants",
    "request",
    "extensions",
];
pub(super) const TERMINATE: &[&str] = &[
    "trigger",
    "timestamp",
    "sequence",
    "node",
    "cause",
    "usage",
    "messages",
    "participants",
    "extensions",
    "session",
];
pub(super) const EVENT: &[&str] = &[
    "eventId",
    "kind",
    "action",
    "timestamp",
    "sequence",
    "service",
    "interfaces",
    "role",
    "node",
    "subscriber",
    "from",
    "to",
    "cpm",
    "sip",
    "participants",
    "units",
    "ratingGroup",
    "delivery",
    "content",
    "refundOf",
    "cause",
    "notifyUri",
    "extensions",
];

pub(super) const START_CPM: &[&str] =
    &["conversationId", "contributionId", "serverRole", "groupUri"];
pub(super) const EVENT_CPM: &[&str] =
    &["conversationId", "contributionId", "serverRole", "groupUri", "imdnMessageId"];

pub(super) const ROLES: &[(&str, Role)] = &[
    ("originating", Role::Originating),
    ("terminating", Role::Terminating),
    ("forwarding", Role::Forwarding),
];
pub(super) const SERVER_ROLES: &[(&str, ServerRole)] = &[
    ("participating", ServerRole::Participating),
    ("controlling", ServerRole::Controlling),
    ("interworking", ServerRole::Interworking),
    ("interworking-selection", ServerRole::InterworkingSelection),
];
pub(super) const IDENTITY_TYPES: &[(&str, IdentityType)] = &[
    ("e164", IdentityType::E164),
    ("imsi", IdentityType::Imsi),
    ("sip", IdentityType::Sip),
    ("nai", IdentityType::Nai),
    ("private", IdentityType::Private),
];
pub(super) const REASONS: &[(&str, InterimReason)] = &[
    ("quota", InterimReason::Quota),
    ("threshold", InterimReason::Threshold),
    ("validity", InterimReason::Validity),
    ("participants", InterimReason::Participants),
    ("media", InterimReason::Media),
    ("rating-change", InterimReason::RatingChange),
];
pub(super) const TARIFFS: &[(&str, Tariff)] =
    &[("before", Tariff::Before), ("after", Tariff::After)];
pub(super) const CLOSE_TRIGGERS: &[(&str, CloseTrigger)] = &[
    ("bye-received", CloseTrigger::ByeReceived),
    ("bye-sent", CloseTrigger::ByeSent),
    ("bye-ok-received", CloseTrigger::ByeOkReceived),
    ("aborted", CloseTrigger::Aborted),
];
pub(super) const ACTIONS: &[(&str, EventAction)] = &[
    ("debit", EventAction::Debit),
    ("refund", EventAction::Refund),
    ("checkBalance", EventAction::CheckBalance),
    ("enquirePrice", EventAction::EnquirePrice),
];
pub(super) const CAUSES: &[(&str, CauseKind)] = &[
    ("normal", CauseKind::Normal),
    ("inactivity", CauseKind::Inactivity),
    ("max-duration", CauseKind::MaxDuration),
    ("link-lost", CauseKind::LinkLost),
    ("setup-failed", CauseKind::SetupFailed),
    ("quota-exhausted", CauseKind::QuotaExhausted),
    ("internal-error", CauseKind::InternalError),
    ("sip-error", CauseKind::SipError),
];

/// Words of other worlds for the same identity, for suggestions.
pub(super) const IDENTITY_ALIASES: &[(&str, &str)] = &[
    ("msisdn", "e164"),
    ("tel", "e164"),
    ("phone", "e164"),
    ("uri", "sip"),
    ("sip_uri", "sip"),
    ("impu", "sip"),
    ("impi", "private"),
];
