//! Why a connection ended or was not made: whose fault, in words.

use std::io;

use crate::diagnostic::Fault;
use crate::peer::PeerState;
use crate::tls::Trouble;

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// [`PeerState::BadConfig`], [`PeerState::BadRemote`], or [`PeerState::Down`] if nobody is
    /// wrong.
    pub(super) fault: PeerState,
    /// In words.
    pub(super) words: String,
}

impl End {
    /// Nobody's fault.
    pub(super) fn words(words: impl Into<String>) -> End {
        End { fault: PeerState::Down, words: words.into() }
    }

    /// From an error of the socket.
    pub(super) fn of(error: &io::Error) -> End {
        let Some(trouble) = Trouble::of(error) else { return End::words(transport_words(error)) };
        let fault = match trouble.fault {
            Fault::Config => PeerState::BadConfig,
            Fault::Peer => PeerState::BadRemote,
            _ => PeerState::Down,
        };
        End { fault, words: trouble.words }
    }

    /// From an error of the handshake, in which an early end says more than elsewhere.
    pub(super) fn of_handshake(error: &io::Error) -> End {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => End {
                fault: PeerState::BadConfig,
                words: "TLS: closed during the handshake; does it speak TLS on this port?".into(),
            },
            _ => End::of(error),
        }
    }

    /// A connection on which our side of the handshake was answered with nothing.
    pub(super) fn of_silence() -> End {
        let words = "TLS: no answer to our handshake in time; does it speak TLS on this port?";
        End { fault: PeerState::BadConfig, words: words.to_owned() }
    }
}

/// An IO error for people.
fn transport_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "reset by the peer".to_owned(),
        // A TLS connection that ends without close_notify: messages have lengths, so that nothing
        // can be cut off unnoticed.
        io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => "closed by the peer".to_owned(),
        io::ErrorKind::TimedOut => "the transport timed out".to_owned(),
        _ => error.to_string().to_lowercase(),
    }
}
