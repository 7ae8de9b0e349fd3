//! The simulator: an OCS with its own books, a CDF with its own records, and faults.
//!
//! It is the judge of the gateway, so it must know nothing of `charging`, `mapping` or `gateway`:
//! its arithmetic, its duplicate detection and its reading of the specifications are its own.
//! The pure half (`ledger`, `ocs`, `cdf`, `fault`) takes messages and time and returns answers.

pub mod ledger;
