//! Diameter over TCP and TLS: one task per connection, driving one peer machine.
//!
//! Knows sockets and time; what is decided about a connection is decided in [`crate::peer`]. A
//! request is a token and octets here, an answer its octets.

mod connection;
pub mod dial;
mod end;
pub mod listen;
pub mod probe;
mod socket;
mod tls;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::peer::{DisconnectCause, Fact, PeerState};

pub use dial::{AnswerHandle, PeerHandle, spawn, spawn_tls};
pub use listen::{
    Allow, ConnectionHandle, Network, ServerConfig, ServerHandle, ServerHandler, serve,
};

/// A request for a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Names it in every [`PeerEvent`].
    pub token: u64,
    /// The whole message, Hop-by-Hop 0 and T clear; both are set on the way out.
    pub bytes: Bytes,
    /// T.
    pub retransmit: bool,
}

/// Why a request was not taken. Nothing of it was sent and nothing more is heard of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refused {
    /// The peer is not usable now.
    NotUsable,
    /// As many requests as the window allows are outstanding.
    Window,
    /// The configured rate is used up.
    Rate,
    /// The octets are no message, or longer than the limit.
    Malformed,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::NotUsable => "the peer is not usable",
            Refused::Window => "the window is full",
            Refused::Rate => "the rate is used up",
            Refused::Malformed => "the octets are no message",
        })
    }
}

/// What happens at a configured peer.
#[derive(Debug)]
pub enum PeerEvent {
    /// It stands differently now.
    State {
        /// Index of the peer.
        peer: usize,
        /// The state.
        state: PeerState,
        /// Requests may be sent.
        usable: bool,
        /// Its Origin-Host, once it is known.
        origin_host: Option<String>,
        /// Application ids shared with it, while it is open; a relay shares all of ours.
        applications: Vec<u32>,
        /// Why, in words.
        reason: String,
        /// The last table row on the way here.
        row: &'static str,
    },
    /// The last octet of a request was handed to the socket.
    Sent {
        /// Index of the peer.
        peer: usize,
        /// Which request.
        token: u64,
        /// The Hop-by-Hop id that it got.
        hop_by_hop: u32,
    },
    /// A request's answer came; also long after its time, also after [`PeerEvent::Lost`].
    Answer {
        /// Index of the peer.
        peer: usize,
        /// Which request.
        token: u64,
        /// Its Hop-by-Hop id.
        hop_by_hop: u32,
        /// The whole answer.
        bytes: Bytes,
        /// Since the request was sent.
        round_trip: Duration,
    },
    /// A request was given back: the connection ended, or the peer is silent.
    Lost {
        /// Index of the peer.
        peer: usize,
        /// Which request.
        token: u64,
        /// Octets of it left; `false`: not one.
        sent: bool,
    },
    /// The peer asks something (RAR, ASR).
    Request {
        /// Index of the peer.
        peer: usize,
        /// The whole request.
        bytes: Bytes,
        /// For its answer.
        answer: AnswerHandle,
    },
    /// Worth a metric or a log line.
    Fact {
        /// Index of the peer.
        peer: usize,
        /// What.
        fact: Fact,
    },
}

/// Takes events. Called from a peer's task: must not block.
pub type EventSink = Arc<dyn Fn(PeerEvent) + Send + Sync>;

/// Ends a connection politely with this cause; a default for callers without an opinion.
pub const SHUTDOWN_CAUSE: DisconnectCause = DisconnectCause::Rebooting;
