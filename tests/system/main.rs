//! The whole thing over real sockets, files and processes.
mod cli;
