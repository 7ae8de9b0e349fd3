//! Files → typed configuration. The only place where YAML keys become the plain structs of the
//! other modules; every problem of every file is reported at once, with its line.
//!
//! [`load`] for a gateway that is to run, [`check`] for its findings alone, [`effective`] for
//! every value with the defaults filled in.

mod charging;
mod diameter;
mod effective;
mod item;
mod load;
mod mappings;
mod peers;
mod report;
mod sections;
pub mod settings;
mod source;
pub mod values;

pub use effective::effective;
pub use load::{Config, Loaded, check, load};
pub use report::{Counts, Report};
pub use source::Environment;
