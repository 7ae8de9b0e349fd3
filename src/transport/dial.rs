//! The peers that we dial: one task each, never given up.

use std::sync::Arc;

use bytes::Bytes;

use crate::diameter::Dictionary;
use crate::peer::DisconnectCause;
use crate::peer::LocalIdentity;
use crate::peer::PeerConfig;

use super::{EventSink, Outgoing, Refused};

/// A configured peer, for whoever has requests for it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PeerHandle {
    index: usize,
}

/// Starts the task of a peer: it dials, reconnects with jittered back-off and never gives up.
pub fn spawn(
    index: usize,
    _config: PeerConfig,
    _identity: LocalIdentity,
    _dictionary: Arc<Dictionary>,
    _sink: EventSink,
) -> PeerHandle {
    PeerHandle { index }
}

impl PeerHandle {
    /// Index of the peer in the configuration.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Hands a request over. Never blocks.
    ///
    /// # Errors
    /// When it cannot be taken now; nothing of it was sent.
    pub fn send(&self, _outgoing: Outgoing) -> Result<(), Refused> {
        Err(Refused::NotUsable)
    }

    /// Its owner waits no longer: gives its place in the window back. A late answer is still told.
    pub fn release(&self, _token: u64) {}

    /// Says goodbye with this cause and ends the task.
    pub fn shutdown(&self, _cause: DisconnectCause) {}

    /// Waits for the end of the task, which [`PeerHandle::shutdown`] brings about in bounded time.
    pub async fn closed(&self) {}
}

/// For the answer to one request of a peer: goes out on the connection it came from, or nowhere.
#[derive(Debug)]
pub struct AnswerHandle {}

impl AnswerHandle {
    /// Sends the answer: the whole message, with the identifiers of the request.
    pub fn send(self, _bytes: Bytes) {}
}
