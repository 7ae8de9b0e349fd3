//! The whole thing over real sockets, files and processes.

mod api;
mod certificates;
mod cli;
mod config;
mod console;
mod sim;
mod store;
mod transport;
