//! What is charged: events, the closing table, counters, sessions, the Rf and Ro machines, outcomes.
//!
//! Pure: a trigger, an answer or a tick goes into [`engine::Engine`], actions come out. Knows nothing
//! of peers but their index, nothing of JSON, disks or sockets.

mod accept;
pub mod accounting;
mod backlog;
pub mod brief;
mod commit;
mod copies;
pub mod counters;
pub mod credit_control;
mod decision;
pub mod engine;
pub mod event;
pub mod explain;
mod interim;
pub mod io;
mod lookup;
pub mod notice;
mod offline;
mod once;
mod online;
pub mod outcome;
mod peer_request;
pub mod planted;
pub mod policy;
pub mod provenance;
pub mod quota;
pub mod reading;
pub mod record;
mod recovery;
pub mod replay;
mod reply;
pub mod request;
pub mod results;
pub mod session;
mod settle;
mod start;
mod terminate;
pub mod trigger;
pub mod verdict;
