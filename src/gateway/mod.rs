//! Where the machines meet: the engine, the peers and the store, joined by a token.
//!
//! [`step`] is pure and says where each action goes; the simulation drives it as the running gateway
//! does. Around it stand the engine's thread, the committer's thread and the peers' tasks.

pub mod counters;
mod dispatch;
pub mod dry_run;
pub mod step;

#[cfg(feature = "shell")]
mod committer;
#[cfg(feature = "shell")]
mod engine_thread;
#[cfg(feature = "shell")]
mod handle;
#[cfg(feature = "shell")]
mod peers;
#[cfg(feature = "shell")]
mod standing;
#[cfg(feature = "shell")]
mod start;

#[cfg(feature = "shell")]
pub use handle::{Handle, PeerAction, Ready, StoredRecord};
#[cfg(feature = "shell")]
pub use peers::Connections;
#[cfg(feature = "shell")]
pub use standing::{Introduced, PeerError, PeerStanding, Transition};
#[cfg(feature = "shell")]
pub use start::{Gateway, Parts, StartError, dry_parts, start};
