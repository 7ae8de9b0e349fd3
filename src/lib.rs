//! farebox: the charging gateway between an OMA CPM server and its CDF (Rf) and OCS (Ro).
//!
//! Modules above the line are pure: no clock, socket, disk, lock or async inside.
//! Everything that does IO is behind the feature `shell`; see `docs/ARCHITECTURE.md`.

#![forbid(unsafe_code)]

pub mod charging;
pub mod clock;
pub mod diagnostic;
pub mod diameter;
pub mod mapping;
pub mod peer;
pub mod sim;
pub mod store;

// The IO line.
#[cfg(feature = "shell")]
pub mod api;
#[cfg(feature = "shell")]
pub mod cli;
#[cfg(feature = "shell")]
pub mod config;
#[cfg(feature = "shell")]
pub mod console;
pub mod gateway;
#[cfg(feature = "shell")]
pub mod telemetry;
#[cfg(feature = "shell")]
pub mod tls;
#[cfg(feature = "shell")]
pub mod transport;
pub mod universe;
