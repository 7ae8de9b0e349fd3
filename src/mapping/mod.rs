//! The mapping language: value tree → AVPs with provenance, and AVPs → values on the way back.

mod expr;
pub mod value;

pub use value::Value;
