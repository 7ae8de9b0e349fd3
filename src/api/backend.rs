//! What the API needs from the rest: somebody who answers triggers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::charging::event::Request;
use crate::charging::notice::Notice;
use crate::charging::outcome::{Refusal, Reply, SessionView};
use crate::gateway::dry_run::DryParts;
use crate::gateway::{Handle, StoredRecord};
use crate::store::{Query, RecordId};

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

    /// Records in order of creation.
    fn search(&self, query: Query) -> Answering<'_, Result<Vec<StoredRecord>, Refusal>>;

    /// A record by its id.
    fn record(&self, id: RecordId) -> Answering<'_, Result<Option<StoredRecord>, Refusal>>;

    /// What a dry run needs of the configuration in force.
    fn dry_parts(&self) -> DryParts;

    /// What the CPM server should know, from now on.
    fn notices(&self) -> broadcast::Receiver<Arc<Notice>>;

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

    fn search(&self, query: Query) -> Answering<'_, Result<Vec<StoredRecord>, Refusal>> {
        Box::pin(Handle::search(self, query))
    }

    fn record(&self, id: RecordId) -> Answering<'_, Result<Option<StoredRecord>, Refusal>> {
        Box::pin(Handle::record(self, id))
    }

    fn dry_parts(&self) -> DryParts {
        Handle::dry_parts(self).clone()
    }

    fn notices(&self) -> broadcast::Receiver<Arc<Notice>> {
        Handle::notices(self)
    }

    fn draining(&self) -> bool {
        self.is_draining()
    }
}
