//! The mapping language: a value tree in, the AVPs of a message out, with provenance; and the
//! AVPs of an answer back to values.
//!
//! Knows AVPs and a tree of values, not triggers, sessions or money. A mapping is read once
//! ([`Mapping::compile`]) into an encode plan in which every name is looked up; applying it to a
//! tree ([`Mapping::apply`]) writes bytes and can fail only for the tree's values.

mod apply;
mod builtin;
mod compile;
mod condition;
pub mod currency;
mod expr;
mod fields;
mod filter;
mod layer;
mod names;
mod plan;
mod read_back;
mod resolve;
mod suite;
mod term;
pub mod value;

use crate::diameter::application;
use crate::diameter::command;

pub use apply::{MappingError, Provenance};
pub use builtin::{BUILTIN, STRIP_PLUS_FROM_E164, builtin_source};
pub use condition::Condition;
pub use suite::{Failure, Given, TestResult, run_tests, value_of_node};
pub use value::Value;

use plan::Step;
use term::Term;

/// Which reference point a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interface {
    /// Offline: Rf, ACR.
    Ch1,
    /// Online: Ro, CCR.
    Ch2,
}

impl Interface {
    /// `ch1` or `ch2`.
    pub fn name(self) -> &'static str {
        match self {
            Interface::Ch1 => "ch1",
            Interface::Ch2 => "ch2",
        }
    }

    /// Command code and application id of its requests.
    pub fn command(self) -> (u32, u32) {
        match self {
            Interface::Ch1 => (command::ACCOUNTING, application::ACCOUNTING),
            Interface::Ch2 => (command::CREDIT_CONTROL, application::CREDIT_CONTROL),
        }
    }
}

/// A compiled mapping.
#[derive(Clone, Debug)]
pub struct Mapping {
    name: String,
    interface: Interface,
    steps: Vec<Step>,
    answer: Vec<(String, Term)>,
    hash: u64,
}

impl Mapping {
    /// The name that the most specific file gives it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which requests it is for.
    pub fn interface(&self) -> Interface {
        self.interface
    }

    /// Tells mappings of different content apart; the same over restarts and versions.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}
