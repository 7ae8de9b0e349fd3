//! What goes into a control block and what comes out of it.

use std::time::Duration;

use bytes::Bytes;

use crate::diameter::Address;

use super::DisconnectCause;
use super::Fact;
use super::PeerState;
use super::machine::Side;

/// What happens to a peer.
#[derive(Clone, Debug)]
pub enum Input {
    /// Begin: dial, if there is an address.
    Start,
    /// The dialled connection is established; its local addresses.
    Connected(Vec<Address>),
    /// The dialled connection could not be established, in words.
    NotConnected(String),
    /// A connection came, with its first message, which should be a CER.
    Incoming {
        /// The message.
        cer: Bytes,
        /// Local addresses of the connection.
        local: Vec<Address>,
        /// Remote address, in words.
        from: String,
    },
    /// The connection of the next `Connected` or `Incoming` is TLS, and its certificate proves
    /// these names.
    Certified(Side, Vec<String>),
    /// The connection that is about to end, or was not made, is for this state's word to explain.
    Blame(PeerState, String),
    /// A whole message came.
    Received(Side, Bytes),
    /// A connection is gone, or its octets are no Diameter, in words.
    Disconnected(Side, String),
    /// A request is to be sent.
    Send {
        /// Names it.
        token: u64,
        /// The whole message.
        bytes: Bytes,
        /// T.
        retransmit: bool,
    },
    /// An answer, or anything else that is complete, is to be sent.
    Reply(Bytes),
    /// The owner of a request waits no longer.
    Release(u64),
    /// Say goodbye, and have no connection until [`Input::Resume`].
    Hold,
    /// Have a connection again, and at once.
    Resume,
    /// Dial at once, if there is no connection.
    Retry,
    /// Say goodbye and do not come back.
    Stop(DisconnectCause),
    /// [`ControlBlock::next_timeout`] has come.
    Timeout,
}

/// What is to be done, or to be told.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A row was taken.
    Took(&'static str),
    /// Dial the peer's address.
    Connect,
    /// The incoming connection becomes the responder connection.
    Accept,
    /// The incoming connection is closed, after these octets if there are any.
    Reject(Option<Bytes>),
    /// Send these octets.
    Write(Side, Bytes),
    /// Send this request with this Hop-by-Hop id and T.
    Transmit {
        /// On which connection.
        side: Side,
        /// Names it.
        token: u64,
        /// To be set.
        hop_by_hop: u32,
        /// To be set.
        retransmit: bool,
        /// The whole message.
        bytes: Bytes,
    },
    /// Close the connection, or stop dialling, if there is one.
    Disconnect(Side),
    /// The peer stands differently.
    State {
        /// The state.
        state: PeerState,
        /// Requests may be sent.
        usable: bool,
        /// Why.
        reason: String,
    },
    /// A request's answer.
    Answer {
        /// Which request.
        token: u64,
        /// Its Hop-by-Hop id.
        hop_by_hop: u32,
        /// The whole answer.
        bytes: Bytes,
        /// Since it was sent.
        round_trip: Duration,
    },
    /// A request is given back.
    Lost(u64),
    /// The peer asks something.
    Request(Side, Bytes),
    /// Worth telling.
    Fact(Fact),
}

/// Which requests of the peer are handed on, and how far they are checked before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// (Application-Id, Command-Code); others are answered 3007 or 3001.
    pub commands: Vec<(u32, u32)>,
    /// Dictionary and grammar are applied, and faults answered with their code (H-25, R-18).
    pub checked: bool,
    /// More than so many a second are answered 3004 (SEC-06); `None`: no limit.
    pub requests_per_second_max: Option<u32>,
    /// A request for another host or realm is answered 3002 or 3003.
    pub for_us_only: bool,
}
