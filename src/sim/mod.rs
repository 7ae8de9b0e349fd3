//! The simulator: an OCS with its own books, a CDF with its own records, and faults.
//!
//! It is the judge of the gateway, so it must know nothing of `charging`, `mapping` or `gateway`:
//! its arithmetic, its duplicate detection and its reading of the specifications are its own.
//! The pure half takes messages and time and returns answers; codec and peer machine are shared
//! with the gateway, which is why foreign stacks judge the bytes in `tests/interop`.

pub mod account;
pub mod answer;
mod cca;
pub mod ccr;
pub mod cdf;
pub mod cdr;
#[cfg(feature = "shell")]
pub mod control;
pub mod fault;
pub mod fault_file;
pub mod judge;
pub mod ledger;
pub mod ocs;
mod one_time_event;
pub mod rating;
mod reading;
#[cfg(feature = "shell")]
pub mod run;
#[cfg(feature = "shell")]
mod run_loop;
pub mod scenario;
pub mod server;
