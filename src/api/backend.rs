//! What the API needs from the rest: somebody who answers triggers, somebody who counts.

use std::future::Future;
use std::pin::Pin;

use crate::charging::event::Request;
use crate::charging::outcome::{Refusal, Reply, SessionView};

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

/// Counts what the API does; `op` is one of start interim terminate event get.
pub trait Meter: Send + Sync + 'static {
    /// A call begins.
    fn begin(&self, op: &'static str);

    /// A call ends, answered or given up by its client (`status` 499).
    fn end(&self, op: &'static str, status: u16, seconds: f64);

    /// A call was refused: validation conflict idempotency unknown_session overload draining
    /// spool_full store rate.
    fn rejected(&self, reason: &'static str);

    /// A stored answer was given again.
    fn replayed(&self, op: &'static str);
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unmetered;

impl Meter for Unmetered {
    fn begin(&self, _: &'static str) {}
    fn end(&self, _: &'static str, _: u16, _: f64) {}
    fn rejected(&self, _: &'static str) {}
    fn replayed(&self, _: &'static str) {}
}
