//! One Diameter peer: RFC 6733 §5.6 machine, watchdog on top, capabilities, pending requests,
//! and which peer gets a request.
//!
//! Pure: knows octets and time that are handed in, never a socket. What the requests mean is not
//! its business; a request is a token here.

pub mod base;
pub mod capabilities;
pub mod control_block;
pub mod diagnosis;
mod exchange;
pub mod health;
pub mod jitter;
pub mod machine;
pub mod machine_table;
pub mod notice;
pub mod overload;
pub mod pending;
pub mod port;
pub mod rate;
pub mod reconnect;
pub mod redirect;
pub mod restart;
pub mod router;
pub mod routing;
pub mod waiting;
pub mod watchdog;
pub mod window;

use std::fmt;
use std::time::Duration;

use crate::diameter::Address;

pub use pending::CopyHistory;

/// One configured peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Name in the configuration.
    pub name: String,
    /// `host:port` to dial; `None` for a peer that dials us.
    pub address: Option<String>,
    /// Origin-Host expected in CER and CEA; `None` accepts any.
    pub host: Option<String>,
    /// Origin-Realm of the peer.
    pub realm: String,
    /// Its connections are TLS.
    pub tls: bool,
    /// Exactly what CER and CEA to this peer carry.
    pub applications: Vec<Application>,
    /// Twinit.
    pub watchdog: Duration,
    /// First delay before a new connection attempt.
    pub reconnect_initial: Duration,
    /// Longest delay before a new connection attempt.
    pub reconnect_max: Duration,
    /// Delay after a DPR with BUSY or DO_NOT_WANT_TO_TALK_TO_YOU.
    pub reconnect_after_dpr: Duration,
    /// Most requests outstanding at a time.
    pub window: usize,
    /// Most requests a second.
    pub rate: Option<u32>,
    /// Peers of one domain share duplicate detection.
    pub dedup_domain: String,
    /// An unanswered request gives its place in the window back after this time. Its answer is
    /// still read.
    pub timeout: Duration,
    /// OC-Supported-Features is sent, and overload and load reports are obeyed (RFC 7683, 8583).
    pub overload: bool,
    /// Limits that no configuration file changes.
    pub limits: Limits,
}

impl PeerConfig {
    /// A peer with every default.
    pub fn new(name: &str, address: Option<&str>, realm: &str) -> PeerConfig {
        PeerConfig {
            name: name.to_owned(),
            address: address.map(str::to_owned),
            host: None,
            realm: realm.to_owned(),
            tls: false,
            applications: Application::DEFAULT.to_vec(),
            watchdog: watchdog::TWINIT,
            reconnect_initial: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(30),
            reconnect_after_dpr: Duration::from_secs(300),
            window: 500,
            rate: None,
            dedup_domain: realm.to_owned(),
            timeout: Duration::from_secs(10),
            overload: false,
            limits: Limits::default(),
        }
    }
}

/// Times and sizes that hold for every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time for the transport to connect.
    pub connect: Duration,
    /// Time for CER and CEA.
    pub handshake: Duration,
    /// Time for the DPA, or for the disconnect that follows ours.
    pub closing: Duration,
    /// Time for a message to arrive in full once its first octet is there.
    pub message: Duration,
    /// Least Twinit; lower than [`watchdog::TWINIT_MIN`] only in tests.
    pub watchdog_min: Duration,
    /// Jitter of Tw.
    pub watchdog_jitter: Duration,
    /// Largest message, both ways.
    pub message_bytes_max: u32,
    /// Octets that may wait for a peer that does not read.
    pub send_buffer_bytes_max: usize,
    /// DWR a second that a peer may send; above it the connection is closed.
    pub watchdogs_per_second_max: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            closing: Duration::from_secs(5),
            message: Duration::from_secs(10),
            watchdog_min: watchdog::TWINIT_MIN,
            watchdog_jitter: watchdog::TW_JITTER,
            message_bytes_max: 1 << 20,
            send_buffer_bytes_max: 4 << 20,
            watchdogs_per_second_max: 10,
        }
    }
}

/// One entry of `applications`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Application {
    /// Auth- or Acct-Application-Id.
    pub kind: ApplicationKind,
    /// With a vendor it is sent inside Vendor-Specific-Application-Id.
    pub vendor: Option<u32>,
}

impl Application {
    /// `[{auth: 4}, {acct: 3}]`.
    pub const DEFAULT: &[Application] = &[Application::auth(4), Application::acct(3)];

    /// An Auth-Application-Id.
    pub const fn auth(id: u32) -> Application {
        Application { kind: ApplicationKind::Auth(id), vendor: None }
    }

    /// An Acct-Application-Id.
    pub const fn acct(id: u32) -> Application {
        Application { kind: ApplicationKind::Acct(id), vendor: None }
    }

    /// The id of either kind.
    pub const fn id(self) -> u32 {
        match self.kind {
            ApplicationKind::Auth(id) | ApplicationKind::Acct(id) => id,
        }
    }
}

/// Which AVP carries an application id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApplicationKind {
    /// Auth-Application-Id.
    Auth(u32),
    /// Acct-Application-Id.
    Acct(u32),
}

impl fmt::Display for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, id) = match self.kind {
            ApplicationKind::Auth(id) => ("auth", id),
            ApplicationKind::Acct(id) => ("acct", id),
        };
        match self.vendor {
            Some(vendor) => write!(f, "{{{word}: {id}, vendor: {vendor}}}"),
            None => write!(f, "{{{word}: {id}}}"),
        }
    }
}

/// Who we are, in CER, CEA and every base-protocol message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalIdentity {
    /// Origin-Host.
    pub host: String,
    /// Origin-Realm.
    pub realm: String,
    /// Product-Name.
    pub product_name: String,
    /// Vendor-Id.
    pub vendor_id: u32,
    /// Firmware-Revision, if one is told.
    pub firmware_revision: Option<u32>,
    /// Host-IP-Address; empty: the local address of the connection.
    pub addresses: Vec<Address>,
    /// Origin-State-Id; 0 leaves it out (RFC 6733, 8.16; P-31).
    pub origin_state_id: u32,
}

impl LocalIdentity {
    /// An identity with every default.
    pub fn new(host: &str, realm: &str) -> LocalIdentity {
        LocalIdentity {
            host: host.to_owned(),
            realm: realm.to_owned(),
            product_name: "farebox".to_owned(),
            vendor_id: 10415,
            firmware_revision: None,
            addresses: Vec::new(),
            origin_state_id: 0,
        }
    }
}

/// How a peer stands, in the words of every surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerState {
    /// Connection open and in use.
    Open,
    /// The transport is being connected.
    Connecting,
    /// CER and CEA are under way.
    Handshaking,
    /// Open again, and not in use until three DWA came.
    Reopen,
    /// Silent for two Tw; requests go elsewhere.
    Suspect,
    /// A DPR was sent or received.
    Closing,
    /// No connection, for a reason that is ours to fix.
    BadConfig,
    /// No connection, for a reason that is theirs to fix.
    BadRemote,
    /// No connection.
    Down,
}

impl PeerState {
    /// Every state.
    pub const ALL: &[PeerState] = &[
        PeerState::Open,
        PeerState::Connecting,
        PeerState::Handshaking,
        PeerState::Reopen,
        PeerState::Suspect,
        PeerState::Closing,
        PeerState::BadConfig,
        PeerState::BadRemote,
        PeerState::Down,
    ];

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            PeerState::Open => "open",
            PeerState::Connecting => "connecting",
            PeerState::Handshaking => "handshaking",
            PeerState::Reopen => "reopen",
            PeerState::Suspect => "suspect",
            PeerState::Closing => "closing",
            PeerState::BadConfig => "bad-config",
            PeerState::BadRemote => "bad-remote",
            PeerState::Down => "down",
        }
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What the operator wants of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Admin {
    /// Everything that the routes say.
    #[default]
    Ready,
    /// No request of a new session; what it has goes on.
    Drain,
    /// No connection.
    Maint,
}

impl Admin {
    /// Every one.
    pub const ALL: &[Admin] = &[Admin::Ready, Admin::Drain, Admin::Maint];

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Admin::Ready => "ready",
            Admin::Drain => "drain",
            Admin::Maint => "maint",
        }
    }
}

/// Disconnect-Cause (RFC 6733, 5.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DisconnectCause {
    /// 0: a scheduled reboot is imminent.
    Rebooting,
    /// 1: resources are short.
    Busy,
    /// 2: no messages are expected.
    DoNotWantToTalkToYou,
}

impl DisconnectCause {
    /// The value on the wire.
    pub fn value(self) -> i32 {
        match self {
            DisconnectCause::Rebooting => 0,
            DisconnectCause::Busy => 1,
            DisconnectCause::DoNotWantToTalkToYou => 2,
        }
    }

    /// From the wire; an unknown value asks for the same restraint as BUSY.
    pub fn from_value(value: i32) -> DisconnectCause {
        match value {
            0 => DisconnectCause::Rebooting,
            2 => DisconnectCause::DoNotWantToTalkToYou,
            _ => DisconnectCause::Busy,
        }
    }

    /// The RFC's name.
    pub fn name(self) -> &'static str {
        match self {
            DisconnectCause::Rebooting => "REBOOTING",
            DisconnectCause::Busy => "BUSY",
            DisconnectCause::DoNotWantToTalkToYou => "DO_NOT_WANT_TO_TALK_TO_YOU",
        }
    }
}

/// What is worth a metric or a log line, and nothing more: no decision hangs on a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// A row of a table was taken.
    Row(&'static str),
    /// A pair of the tables' IMPOSSIBLE lists came all the same: a bug of ours.
    Impossible(String),
    /// The next connection attempt.
    NextAttempt {
        /// Attempts that failed since the peer was last open.
        attempt: u32,
        /// From now.
        delay: Duration,
    },
    /// A connection ended, or could not be made.
    Disconnected {
        /// In words.
        reason: String,
    },
    /// Another connection of the same peer was refused (RFC 6733, 2.1).
    SecondConnectionRefused {
        /// Where it came from.
        from: String,
    },
    /// A connection was refused in the capabilities exchange.
    ConnectionRefused {
        /// Where it came from.
        from: String,
        /// Our Result-Code.
        result_code: u32,
        /// In words.
        reason: String,
    },
    /// The peer's octets are no Diameter.
    BadFrame {
        /// In words.
        reason: String,
    },
    /// An answer whose Hop-by-Hop id belongs to no request: unknown, or the second of its kind
    /// (H-13, H-18).
    AnswerUnknown {
        /// Its Hop-by-Hop id.
        hop_by_hop: u32,
        /// Its Command-Code.
        command: u32,
    },
    /// An answer with the Hop-by-Hop id of a request and something of another: the peer mixes
    /// answers (FA-07).
    AnswerMixed {
        /// Its Hop-by-Hop id.
        hop_by_hop: u32,
        /// What does not fit.
        what: pending::Mixed,
    },
    /// What the peer said of itself in CER or CEA, whatever came of it.
    Introduced {
        /// Result-Code of the CEA: the peer's, or ours for its CER.
        result_code: u32,
        /// The rest.
        capabilities: Box<capabilities::Capabilities>,
    },
    /// The certificate that the peer showed.
    Certificate {
        /// Its end, in seconds since 1970.
        not_after: u64,
    },
    /// Pending requests were given back because the peer is silent.
    FailedOver {
        /// How many.
        requests: usize,
    },
    /// The peer is in use again.
    FailedBack,
    /// An unanswered request was forgotten.
    Expired {
        /// Its token.
        token: u64,
    },
    /// A message was not handed on.
    Discarded {
        /// Its Command-Code.
        command: u32,
        /// Why.
        reason: &'static str,
    },
    /// A request was refused with an error answer.
    ErrorAnswered {
        /// Its Command-Code.
        command: u32,
        /// Our Result-Code.
        result_code: u32,
    },
    /// The peer sent a DPR.
    DisconnectRequested {
        /// Its cause.
        cause: DisconnectCause,
    },
    /// The peer's Origin-State-Id rose: it lost its state.
    PeerRestarted {
        /// Before.
        from: u32,
        /// Now.
        to: u32,
    },
    /// The peer answers watchdogs and no requests: new requests prefer others (FN-05).
    AnswersWatchdogOnly {
        /// `ch1` or `ch2`.
        interface: &'static str,
        /// Requests in a row without an answer.
        requests: u32,
    },
    /// The peer answers requests again, or is connected anew and may.
    AnswersAgain {
        /// `ch1` or `ch2`.
        interface: &'static str,
    },
    /// The peer comes and goes: it is second choice for a while (FN-10).
    Flapping {
        /// Losses inside the last five minutes.
        losses: usize,
        /// It is trusted again after this time in use.
        steady_after: Duration,
    },
    /// The peer, or a server behind it, asks for less traffic, or for all of it again (RFC 7683).
    OverloadReported {
        /// `host …` or `realm …`.
        scope: String,
        /// Share of requests that it is not to get.
        percent: u32,
        /// For how long; 0 ends it.
        validity: Duration,
    },
    /// A request did not go where it would have gone without overload.
    Abated {
        /// `diverted` to another peer, or `throttled`.
        treatment: &'static str,
    },
    /// A request goes where the peer's answer sent it (RFC 6733, 6.12).
    Redirected {
        /// Name of the other peer.
        to: String,
    },
    /// A redirect was not followed (SEC-07).
    RedirectRefused {
        /// The Redirect-Host.
        host: String,
        /// Why.
        reason: &'static str,
    },
    /// A server's Origin-State-Id rose: it does not know its sessions any more.
    ServerRestarted {
        /// Its Origin-Host.
        host: String,
        /// Before.
        from: u32,
        /// Now.
        to: u32,
        /// Its open sessions.
        sessions: usize,
    },
    /// A server's Origin-State-Id rises again and again: nothing is concluded from it (F-11).
    StateIdUnsteady {
        /// Its Origin-Host.
        host: String,
    },
}
