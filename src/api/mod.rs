//! HTTP for the CPM server: bytes → [`crate::charging::event::Request`], answers → JSON.
//!
//! The contract is the API page of the documentation: shapes, names, statuses, problems. This module
//! knows nothing of Diameter; it speaks to the gateway through [`Backend`].

pub mod answer;
pub mod backend;
pub mod body;
pub mod fields;
pub mod headers;
pub mod json;
pub mod problem;
pub mod routes;
pub mod server;
mod words;

pub use backend::Backend;
pub use routes::{Rules, router};
pub use server::{Limits, serve};
