//! Bugs that are planted into the gateway, to prove that the checkers find them.

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlantedBug {
    /// A batch is reported durable before it is flushed.
    AckBeforeSync,
    /// The flush comes before the write: what is reported durable is flushed with the next batch.
    SyncBeforeWrite,
    /// A commit whose end is unknown is taken for one that failed.
    UnknownAsFailed,
    /// Timers run on the wall clock.
    WallClockInTimers,
}

impl super::world::World {
    /// Plants the bug into a new life of the gateway.
    pub(super) fn plant(&mut self, core: crate::gateway::step::Core) -> crate::gateway::step::Core {
        core
    }
}
