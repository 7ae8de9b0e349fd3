//! What the API needs from the rest: somebody who answers triggers.

use std::future::Future;
use std::pin::Pin;

use crate::charging::event::Request;
use crate::charging::outcome::{Refusal, Reply, SessionView};
use crate::gateway::Handle;

/// A future on the heap, so that [`Backend`] can be a trait object.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Answers what the routes have checked. The gateway does; tests bring their own.
pub trait Backend: Send + Sync + 'static {
    /// Charges a trigger.
    ///
    /// The future must have handed the request over after its first poll: the client may close
    /// the connection at any time, and a trigger that is read is a trigger that is charged.
    fn trigger(&self, request: Request) -> Answering<'_, Reply>;

    /// A session by its id, ended ones too.
    fn session(&self, id: String) -> Answering<'_, Result<Option<SessionView>, Refusal>>;

    /// Is this instance about to stop? Then new sessions and events are refused.
    fn draining(&self) -> bool;
}

impl Backend for Handle {
    fn trigger(&self, request: Request) -> Answering<'_, Reply> {
        Box::pin(Handle::trigger(self, request))
    }

    fn session(&self, id: String) -> Answering<'_, Result<Option<SessionView>, Refusal>> {
        Box::pin(async move { Handle::session(self, &id).await })
    }

    fn draining(&self) -> bool {
        self.is_draining()
    }
}
