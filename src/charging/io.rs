//! What goes into the engine and what comes out.

use std::time::Duration;

use bytes::Bytes;

use super::event::Request;
pub use super::notice::{Notice, NoticeKind};
use super::outcome::{Refusal, Reply, SessionView};
use super::record::{Command, Record};
use super::session::Session;
use crate::store::{Batch, CommitResult, Interface, Key, KeyRow, RecordId, SessionRow};

/// Whoever waits for a reply; the shell knows what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerId(pub u64);

/// A peer's request that waits for its answer; the shell knows what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What comes in.
#[derive(Debug)]
pub enum Input {
    /// A call of the API.
    Trigger {
        /// Who waits.
        caller: CallerId,
        /// The call.
        request: Box<Request>,
    },
    /// `GET /v1/sessions/{id}`.
    View {
        /// Who waits.
        caller: CallerId,
        /// Which session.
        session_id: String,
    },
    /// The store's verdict on a batch.
    Committed {
        /// As in [`Action::Persist`].
        batch: u64,
        /// How it ended.
        result: CommitResult,
    },
    /// What the store found.
    Found {
        /// As in [`Action::Lookup`].
        lookup: u64,
        /// The key, if asked for and known.
        key: Option<KeyRow>,
        /// The session, if asked for and known.
        session: Option<SessionRow>,
        /// The store could not be read.
        error: Option<String>,
    },
    /// A copy was handed to a peer.
    Sent {
        /// As in [`Action::Submit`].
        token: u64,
        /// Index of the peer.
        peer: usize,
    },
    /// No allowed peer can take a copy now.
    NoPeer {
        /// As in [`Action::Submit`].
        token: u64,
    },
    /// An answer came and was matched.
    Answer {
        /// As in [`Action::Submit`].
        token: u64,
        /// Index of the peer.
        peer: usize,
        /// Hop-by-Hop Identifier of the copy.
        hop_by_hop: u32,
        /// The whole message.
        bytes: Bytes,
        /// From transmission to receipt.
        round_trip: Duration,
    },
    /// A copy's connection ended before an answer came.
    Lost {
        /// As in [`Action::Submit`].
        token: u64,
        /// Index of the peer.
        peer: usize,
        /// At least one octet of it left.
        sent: bool,
    },
    /// A copy was not taken after all: the peer has no room, and nothing of it was sent.
    Refused {
        /// As in [`Action::Submit`].
        token: u64,
        /// Index of the peer.
        peer: usize,
    },
    /// A copy was answered with a redirect: the next one goes where that leads.
    Redirected {
        /// As in [`Action::Submit`].
        token: u64,
        /// Index of the peer.
        peer: usize,
    },
    /// A peer became usable, or stopped being so.
    PeerUsable {
        /// Index of the peer.
        peer: usize,
        /// Does it take requests?
        usable: bool,
        /// Its Origin-Host, once known.
        origin_host: Option<String>,
    },
    /// A peer asks something: RAR, ASR.
    PeerRequest {
        /// Comes back in [`Action::Respond`].
        request: RequestId,
        /// Index of the peer.
        peer: usize,
        /// The whole message.
        bytes: Bytes,
    },
    /// No new sessions and events from now on.
    Drain,
    /// Retention removed dead records from the store.
    Purged {
        /// CH-1 or CH-2.
        interface: Interface,
        /// How many.
        dead: u64,
    },
    /// An operator wants a dead record of the store to be sent again.
    Replay {
        /// As the store has it.
        record: Box<Record>,
        /// Its session or event, as the store has it.
        session: Option<Box<Session>>,
    },
    /// Time has passed.
    Tick,
}

/// Where a copy may go (api.md section 3, "Who may get a copy").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Names the record.
    pub token: u64,
    /// What it is, for metrics and timers.
    pub command: Command,
    /// Encoded message: Hop-by-Hop 0, T clear, no Destination-Host.
    pub message: Bytes,
    /// Index of the route.
    pub route: usize,
    /// S: Origin-Host of the last settled answer of the session.
    pub server: Option<String>,
    /// The peer through which S answered last.
    pub via: Option<usize>,
    /// The last CC-Session-Failover was 1.
    pub failover: bool,
    /// No other *server* may get it (after silence under TERMINATE; CC-Session-Failover 0).
    pub same_server: bool,
    /// Peers to leave out (they have it, or answered with an error).
    pub exclude: Vec<usize>,
    /// If none is left but an excluded one that is open, take that.
    pub repeat_allowed: bool,
    /// Only peers of this dedup domain.
    pub domain: Option<String>,
    /// The first request of its session: no Destination-Host yet.
    pub initial: bool,
    /// T law, line 1: the mark was taken off for this copy.
    pub error_mark: bool,
    /// T law, line 2: an earlier copy had no answer.
    pub unanswered: bool,
    /// T law, line 2: found in the store at start.
    pub recovered: bool,
    /// Number of copies before this one.
    pub earlier_copies: u32,
    /// Why there is another copy: for the metric.
    pub reason: &'static str,
}

/// What goes out.
#[derive(Debug)]
pub enum Action {
    /// Commit this.
    Persist {
        /// Comes back in [`Input::Committed`].
        batch: u64,
        /// Rows.
        rows: Batch,
    },
    /// Read this.
    Lookup {
        /// Comes back in [`Input::Found`].
        lookup: u64,
        /// A key.
        key: Option<Key>,
        /// A session row by its key.
        session: Option<String>,
    },
    /// Send a copy.
    Submit(Submission),
    /// Answer a call.
    Reply {
        /// Who waits.
        caller: CallerId,
        /// With what.
        reply: Reply,
    },
    /// Answer a GET.
    Show {
        /// Who waits.
        caller: CallerId,
        /// `None`: unknown.
        view: Result<Option<Box<SessionView>>, Refusal>,
    },
    /// Answer a peer's request.
    Respond {
        /// As in [`Input::PeerRequest`].
        request: RequestId,
        /// The whole answer.
        bytes: Bytes,
    },
    /// Tell the CPM server.
    Notify(Box<Notice>),
    /// Nothing more is sent or awaited under this token.
    Forget {
        /// As in [`Action::Submit`].
        token: u64,
    },
    /// A fact for metrics and logs.
    Fact(Fact),
}

/// What happened, for metrics and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A row of a table was taken.
    Took(&'static str),
    /// A decision about money.
    Outcome {
        /// CH-1 or CH-2.
        interface: Interface,
        /// Service name, empty if it is none of the configuration.
        service: String,
        /// The money.
        outcome: super::outcome::Outcome,
        /// Who decided.
        basis: super::outcome::Basis,
    },
    /// Units, in one direction.
    Units {
        /// Service name.
        service: String,
        /// API name of the unit.
        unit: &'static str,
        /// `requested`, `granted`, `used`.
        direction: &'static str,
        /// How many.
        amount: u64,
    },
    /// A record entered the spool or left it.
    Record {
        /// CH-1 or CH-2.
        interface: Interface,
        /// `stored recovered acknowledged superseded abandoned dead`.
        event: &'static str,
    },
    /// MSCC-level result.
    ServiceResult {
        /// Index of the peer.
        peer: usize,
        /// Its code.
        code: Option<u32>,
    },
    /// An AVP that a peer rejected.
    FailedAvp {
        /// Index of the peer.
        peer: usize,
        /// Its name.
        avp: String,
    },
    /// A session ended.
    SessionEnded {
        /// CH-1 or CH-2.
        interface: Interface,
        /// `normal denied expired lost aborted_by_ocs`.
        reason: String,
    },
    /// Tx ran out without an answer.
    Timeout {
        /// Index of the peer.
        peer: usize,
        /// Metric name of the command.
        command: &'static str,
    },
    /// Something a person has to look at.
    Alarm {
        /// What.
        alarm: Alarm,
        /// Which record.
        record: Option<RecordId>,
        /// In words.
        detail: String,
    },
    /// A stored answer was returned.
    Replayed {
        /// `start interim terminate event`.
        op: &'static str,
    },
}

/// What a person has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A record is a dead letter.
    Dead,
    /// Units went into a backup record.
    Backup,
    /// A late answer covers units that a sent backup record reports too.
    DoubleSettlement,
    /// The peer says that our message is wrong.
    MappingDefect,
    /// The peer does not serve what is sent to it.
    ConfigurationDefect,
    /// 5031.
    RatingFailed,
    /// An answer with another request's type or number.
    AnswerMixed,
    /// An answer that cannot be used (H-27).
    AnswerUnusable,
    /// A row that cannot be read, or belongs to nothing.
    StoreInconsistent,
    /// The mapping cannot build a message that has to go.
    CannotClose,
}
