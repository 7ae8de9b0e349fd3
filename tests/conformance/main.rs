//! Requirements of the pure core, each test named by the id it bears. Also runs without `shell`.

mod architecture;
mod codec;
mod mapping;
mod peer_machine;
mod pending;
mod routing;
mod scenario;
mod sim;
mod watchdog;
