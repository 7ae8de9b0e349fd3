//! What the configuration says about charging, as plain structs (`config` fills them in).

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::Interfaces;
use crate::mapping::Condition;
use crate::store::Interface;

/// How a service is charged online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Session charging with unit reservation: CCR-I, U, T.
    Scur,
    /// Event charging with unit reservation: CCR-I, T.
    Ecur,
    /// Immediate event charging: CCR-E.
    Iec,
}

/// One entry of `policy.services`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Which interfaces apply.
    pub interfaces: Interfaces,
    /// Online model.
    pub model: Model,
    /// Rating-Group.
    pub rating_group: Option<u32>,
    /// Service-Identifier.
    pub service_id: Option<u32>,
}

/// Credit-Control-Failure-Handling (RFC 8506, 8.14), same values as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Ccfh {
    /// 0.
    #[n(0)]
    Terminate,
    /// 1.
    #[n(1)]
    Continue,
    /// 2.
    #[n(2)]
    RetryAndTerminate,
}

impl Ccfh {
    /// Every value.
    pub const ALL: [Ccfh; 3] = [Ccfh::Terminate, Ccfh::RetryAndTerminate, Ccfh::Continue];

    /// The word of the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Ccfh::Terminate => "terminate",
            Ccfh::Continue => "continue",
            Ccfh::RetryAndTerminate => "retry_and_terminate",
        }
    }
}

/// Direct-Debiting-Failure-Handling (RFC 8506, 8.15), same values as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Ddfh {
    /// 0.
    #[n(0)]
    TerminateOrBuffer,
    /// 1.
    #[n(1)]
    Continue,
}

/// `failure.ch2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailurePolicy {
    /// CCFH until a CCA says otherwise.
    pub on_no_answer: Ccfh,
    /// DDFH until a CCA says otherwise.
    pub direct_debit: Ddfh,
    /// How long an unanswered debit is kept and resent.
    pub buffer_for: Duration,
}

/// `termination`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// The guard of an armed STOP.
    pub ok_timeout: Duration,
    /// How long a CCR-T or CCR-U is tried; `None`: 3 × Tx, at least 3 s.
    pub settle_within: Option<Duration>,
    /// Backup record, or dead letter.
    pub backup_accounting: bool,
    /// Longest session.
    pub max_session: Duration,
    /// Time the CPM server has after an ASR.
    pub abort_grace: Duration,
}

/// A value for each interface: an agent may lead to OCS and CDF alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerInterface<T> {
    /// On CH-1.
    pub ch1: T,
    /// On CH-2.
    pub ch2: T,
}

impl<T> PerInterface<T> {
    /// The value of one interface.
    pub fn get(&self, interface: Interface) -> &T {
        match interface {
            Interface::Ch1 => &self.ch1,
            Interface::Ch2 => &self.ch2,
        }
    }
}

/// What the OCS's or CDF's peer entry means for messages that go there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerProfile {
    /// Name in the configuration.
    pub name: String,
    /// Configured DiameterIdentity, if it is pinned.
    pub host: Option<String>,
    /// Destination-Realm.
    pub realm: String,
    /// Peers of one domain share duplicate detection.
    pub dedup_domain: String,
    /// Service-Context-Id.
    pub service_context_id: String,
    /// Tx.
    pub timeout: Duration,
    /// Tx per command (`CCR-T`).
    pub command_timeouts: BTreeMap<String, Duration>,
    /// Name of the mapping.
    pub mapping: PerInterface<String>,
    /// When Destination-Host is sent; `None`: after-initial on CH-2, never on CH-1.
    pub send_destination_host: Option<SendDestinationHost>,
    /// T also after 3002 and 3004.
    pub t_after_error: bool,
    /// Only the unit types that were granted are reported.
    pub report_granted_only: bool,
    /// Result-Code overrides: code → outcome word of the API.
    pub results: BTreeMap<u32, super::outcome::Outcome>,
}

/// `quirks.send_destination_host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendDestinationHost {
    /// Never.
    Never,
    /// From the second request of a session on (RFC 6733, 6.1).
    AfterInitial,
    /// Always, if the host is pinned or learned.
    Always,
}

/// `store.retention`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Acknowledged records and ended sessions.
    pub acknowledged: Duration,
    /// Dead letters.
    pub dead_letter: Duration,
}

impl Default for Retention {
    fn default() -> Retention {
        let day = Duration::from_secs(24 * 3600);
        Retention { acknowledged: day * 3, dead_letter: day * 90 }
    }
}

/// One entry of `routes`.
#[derive(Clone, Debug)]
pub struct RouteRule {
    /// Which interface.
    pub interface: Interface,
    /// Only where this holds; tried before routes without.
    pub when: Option<Condition>,
    /// Indexes into [`Policy::peers`], in order of preference.
    pub peers: Vec<usize>,
    /// `sticky: strict`: never move, wait for S inside the window.
    pub strict: bool,
}

/// All that the engine needs to know from the configuration.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Origin-Host.
    pub host: String,
    /// Origin-Realm.
    pub realm: String,
    /// `policy.services`.
    pub services: BTreeMap<String, Service>,
    /// `policy.default`.
    pub default_interfaces: Interfaces,
    /// `rating_groups`.
    pub rating_groups: BTreeMap<String, u32>,
    /// `failure.ch2`.
    pub failure: FailurePolicy,
    /// `termination`.
    pub termination: Termination,
    /// `api.orphans: accept`.
    pub accept_orphans: bool,
    /// `api.max_wait`.
    pub max_wait: Duration,
    /// Indexed as the routes and the peer events name them.
    pub peers: Vec<PeerProfile>,
    /// `routes`; those with a condition come first.
    pub routes: Vec<RouteRule>,
    /// Keys live so long.
    pub key_lifetime: Duration,
}
