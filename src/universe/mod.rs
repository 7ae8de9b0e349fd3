//! The whole system under one seed: deterministic simulation, nemesis and checkers.
//!
//! The gateway's pure half runs as it is (`gateway::step`, `peer::control_block`); disk, network,
//! clocks, charging servers and CPM servers around it are played in one thread. Checkers join the
//! client ledger, the wire, the servers' books and the gateway's records, and share no arithmetic
//! with the gateway. [`run`] is the shell around it: many seeds, threads, a report.

pub mod checkers;
mod checkers_calls;
mod checkers_ledger;
mod checkers_units;
mod checkers_wire;
mod configuration;
pub mod coverage;
mod disk;
pub mod evidence;
pub mod nemesis;
mod network;
mod node;
pub mod plan;
pub mod planted;
mod players;
pub mod random;
#[cfg(feature = "shell")]
pub mod run;
mod servers;
pub mod shrink;
mod strike;
mod witness;
pub mod world;
