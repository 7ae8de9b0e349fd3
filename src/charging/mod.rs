//! What is charged: events, the closing table, counters, sessions, the Rf and Ro machines, outcomes.

pub mod event;
pub mod outcome;
pub mod policy;
