//! The closed vocabularies of the bodies.

use crate::charging::event::{
    CauseKind, CloseTrigger, EventAction, IdentityType, InterimReason, Role, ServerRole, Tariff,
};
use crate::charging::outcome::Outcome;
use crate::store::{Interface, RecordState};

/// The calls, as `op` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// `POST /v1/sessions`.
    Start,
    /// `POST /v1/sessions/{id}/interim`.
    Interim,
    /// `POST /v1/sessions/{id}/terminate`.
    Terminate,
    /// `POST /v1/events`.
    Event,
}

impl Op {
    /// The word, also for metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Op::Start => "start",
            Op::Interim => "interim",
            Op::Terminate => "terminate",
            Op::Event => "event",
        }
    }
}

pub(super) const OPS: &[(&str, Op)] = &[
    ("start", Op::Start),
    ("interim", Op::Interim),
    ("terminate", Op::Terminate),
    ("event", Op::Event),
];
pub(super) const INTERFACE_WORDS: &[(&str, Interface)] =
    &[("ch1", Interface::Ch1), ("ch2", Interface::Ch2)];
pub(super) const OUTCOMES: &[(&str, Outcome)] = &[
    ("granted", Outcome::Granted),
    ("debited", Outcome::Debited),
    ("refunded", Outcome::Refunded),
    ("denied", Outcome::Denied),
    ("free", Outcome::Free),
    ("unverified", Outcome::Unverified),
    ("recorded", Outcome::Recorded),
    ("pending", Outcome::Pending),
];
pub(super) const RECORD_STATES: &[(&str, RecordState)] = &[
    ("waiting", RecordState::Waiting),
    ("acknowledged", RecordState::Acknowledged),
    ("answered", RecordState::Answered),
    ("dead", RecordState::Dead),
    ("superseded", RecordState::Superseded),
    ("abandoned", RecordState::Abandoned),
];

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
