//! Requirements of the pure core, each test named by the id it bears. Also runs without `shell`.

mod accounting_rows;
mod allocations;
mod arbitrary;
mod architecture;
mod capabilities;
mod charging;
mod codec;
mod control_block;
mod dictionary;
mod differential;
mod docs;
mod explain;
mod gateway_world;
mod known;
mod mapping;
mod notice;
mod peer_machine;
mod peer_requests;
mod pending;
mod rival;
mod routing;
mod samples;
mod scenario;
mod sim;
mod trigger_rows;
mod watchdog;
