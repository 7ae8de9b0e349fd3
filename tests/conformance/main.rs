//! Requirements of the pure core, each test named by the id it bears. Also runs without `shell`.

#![allow(clippy::print_stdout)] // Reports of rows and counts are printed by tests.

mod accounting_rows;
mod allocations;
mod arbitrary;
mod architecture;
mod backlog;
mod capabilities;
mod charging;
mod codec;
mod control_block;
mod crash;
mod credit_rows;
mod dictionary;
mod differential;
mod docs;
mod explain;
mod failover;
mod gateway_world;
mod known;
mod mapping;
mod notice;
mod overload;
mod peer_machine;
mod peer_requests;
mod peer_rows;
mod pending;
mod pitfalls;
mod replay;
mod results;
mod rival;
mod router;
mod routing;
mod row_report;
mod samples;
mod scenario;
mod services;
mod sim;
mod trigger_rows;
mod universe;
mod watchdog;
