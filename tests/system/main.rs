//! The whole thing over real sockets, files and processes.

mod api;
mod api_batch;
mod api_notifications;
mod api_records;
mod api_world;
mod certificates;
mod cli;
mod clients;
mod config;
mod console;
mod openapi;
mod sim;
mod spool;
mod store;
mod transport;
