//! The closed sets of label values: what is not in its set is counted as `other`.
//!
//! A label that a peer or a client could fill freely would grow the process without limit (FX-09).

use crate::charging::outcome::{Basis, Outcome};
use crate::store::Interface;

/// `op`.
pub const OPS: &[&str] =
    &["start", "interim", "terminate", "event", "batch", "get", "search", "encode", "other"];
/// `status` values that exist from the first scrape.
pub const STATUSES: &[&str] = &[
    "200", "201", "400", "401", "402", "403", "404", "405", "409", "413", "415", "422", "429",
    "500", "503", "507",
];
/// `reason` of a rejected call.
pub const REJECTIONS: &[&str] = &[
    "validation",
    "conflict",
    "idempotency",
    "unknown_session",
    "overload",
    "draining",
    "spool_full",
    "store",
    "rate",
    "auth",
    "mapping",
    "other",
];
/// `interface`.
pub const INTERFACES: &[&str] = &["ch1", "ch2"];
/// `outcome`.
pub const OUTCOMES: &[&str] =
    &["granted", "debited", "refunded", "denied", "free", "unverified", "recorded", "pending"];
/// `basis`.
pub const BASES: &[&str] = &["ocs", "failure_policy", "local_rule"];
/// `unit`.
pub const UNITS: &[&str] =
    &["seconds", "messages", "bytes", "input_bytes", "output_bytes", "other"];
/// `direction` of units.
pub const UNIT_DIRECTIONS: &[&str] = &["requested", "granted", "used"];
/// `direction` of bytes.
pub const BYTE_DIRECTIONS: &[&str] = &["sent", "received"];
/// `command` on CH-1.
pub const CH1_COMMANDS: &[&str] = &["ACR-START", "ACR-INTERIM", "ACR-STOP", "ACR-EVENT"];
/// `command` on CH-2.
pub const CH2_COMMANDS: &[&str] = &["CCR-I", "CCR-U", "CCR-T", "CCR-E"];
/// `command` of requests that an OCS sends.
pub const SERVER_COMMANDS: &[&str] = &["RAR", "ASR"];
/// `command` of the base protocol.
pub const BASE_COMMANDS: &[&str] = &["CER", "DWR", "DPR"];
/// Every `command`.
pub const COMMANDS: &[&str] = &[
    "CCR-I",
    "CCR-U",
    "CCR-T",
    "CCR-E",
    "ACR-START",
    "ACR-INTERIM",
    "ACR-STOP",
    "ACR-EVENT",
    "CER",
    "DWR",
    "DPR",
    "RAR",
    "ASR",
    "other",
];
/// `state` of a peer.
pub const PEER_STATES: &[&str] = &[
    "open",
    "connecting",
    "handshaking",
    "reopen",
    "suspect",
    "closing",
    "bad-config",
    "bad-remote",
    "down",
];
/// `state` that an operator wants of a peer.
pub const ADMIN_STATES: &[&str] = &["ready", "drain", "maint"];
/// `reason` of a change of a peer's state.
pub const TRANSITIONS: &[&str] = &[
    "connected",
    "refused",
    "timeout",
    "reset",
    "closed",
    "watchdog",
    "dpr",
    "capabilities",
    "election",
    "protocol",
    "tls",
    "dns",
    "admin",
    "other",
];
/// `reason` of a copy after the first one, and of a change of peer.
pub const COPY_REASONS: &[&str] = &[
    "timeout", "copy", "lost", "error", "retry", "restart", "store", "first", "full", "redirect",
    "other",
];
/// `treatment` of a request under an overload report.
pub const TREATMENTS: &[&str] = &["diverted", "throttled"];
/// `reason` of a message that cannot be read.
pub const DECODE_REASONS: &[&str] =
    &["version", "length", "size", "depth", "count", "flags", "avp", "grammar", "other"];
/// `vendor` values that exist from the first scrape.
pub const VENDORS: &[&str] = &["0", "10415", "other"];
/// `fault` of a peer's last error: who has to act.
pub const PEER_FAULTS: &[&str] = &["ours", "theirs", "network"];
/// `whose` certificate.
pub const WHOSE: &[&str] = &["ours", "theirs"];
/// `reason` of a session's end.
pub const ENDED_REASONS: &[&str] = &["normal", "denied", "expired", "lost", "aborted_by_ocs"];
/// `state` of a record in the spool.
pub const SPOOL_STATES: &[&str] = &["waiting", "in_flight", "dead"];
/// `event` of a record.
pub const SPOOL_EVENTS: &[&str] = &[
    "stored",
    "recovered",
    "acknowledged",
    "superseded",
    "abandoned",
    "purged",
    "dead",
    "replayed",
];
/// `reason` of a commit that was not durable.
pub const SPOOL_ERRORS: &[&str] = &["full", "write", "unknown", "purge", "quarantined", "other"];
/// `reason` of a mapping that fails.
pub const MAPPING_REASONS: &[&str] =
    &["missing_value", "does_not_fit", "unknown_enum", "expression", "other"];

/// The sets by label, for the documentation.
pub(super) const SETS: &[(&str, &[&str])] = &[
    ("`op`", OPS),
    ("`reason` of rejections", REJECTIONS),
    ("`interface`", INTERFACES),
    ("`outcome`", OUTCOMES),
    ("`basis`", BASES),
    ("`unit`", UNITS),
    ("`direction` of units", UNIT_DIRECTIONS),
    ("`direction` of bytes", BYTE_DIRECTIONS),
    ("`command`", COMMANDS),
    ("`state` of `farebox_peer_state`", PEER_STATES),
    ("`state` of `farebox_peer_admin_state`", ADMIN_STATES),
    ("`reason` of peer transitions", TRANSITIONS),
    ("`reason` of retransmissions and failovers", COPY_REASONS),
    ("`reason` of decode errors", DECODE_REASONS),
    ("`treatment`", TREATMENTS),
    ("`whose`", WHOSE),
    ("`reason` of ended sessions", ENDED_REASONS),
    ("`state` of `farebox_spool_records`", SPOOL_STATES),
    ("`event` of `farebox_spool_records_total`", SPOOL_EVENTS),
    ("`reason` of spool errors", SPOOL_ERRORS),
    ("`reason` of mapping errors", MAPPING_REASONS),
];

/// `value` if the set has it, else `other`.
pub fn bounded<'a>(value: &'a str, set: &[&str]) -> &'a str {
    if set.contains(&value) { value } else { "other" }
}

/// `ch1` or `ch2`.
pub fn interface(interface: Interface) -> &'static str {
    match interface {
        Interface::Ch1 => "ch1",
        Interface::Ch2 => "ch2",
    }
}

/// The outcome's word.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
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

/// The basis' word.
pub fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Ocs => "ocs",
        Basis::FailurePolicy => "failure_policy",
        Basis::LocalRule => "local_rule",
    }
}

/// The unit's word from its name in the API.
pub fn unit(name: &str) -> &str {
    match name {
        "inputBytes" => "input_bytes",
        "outputBytes" => "output_bytes",
        name => name,
    }
}

/// The interface that a command belongs to, empty for the base protocol.
pub fn interface_of(command: &str) -> &'static str {
    if CH1_COMMANDS.contains(&command) {
        "ch1"
    } else if CH2_COMMANDS.contains(&command) || SERVER_COMMANDS.contains(&command) {
        "ch2"
    } else {
        ""
    }
}

/// `result_code` values that are words.
pub const RESULT_WORDS: &[&str] =
    &["1xxx", "2xxx", "3xxx", "4xxx", "5xxx", "other", "experimental", "timeout", "lost"];
