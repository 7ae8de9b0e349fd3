//! HTTP for the CPM server: bytes → [`crate::charging::event::Request`], answers → JSON.
//!
//! The contract is the API page of the documentation: shapes, names, statuses, problems. This module
//! knows nothing of Diameter; it speaks to the gateway through [`Backend`].

pub mod answer;
mod answer_shapes;
mod app;
pub mod backend;
pub mod batch;
pub mod body;
mod charge;
mod cloudevents;
mod encode;
pub mod fields;
pub mod headers;
pub mod json;
mod notifications;
pub mod openapi;
pub mod problem;
pub(crate) mod record_answer;
pub(crate) mod records;
pub mod routes;
pub mod schema;
pub mod server;
mod shapes;
mod stream;
pub mod webhook;
mod words;

pub use app::Rules;
pub use backend::Backend;
pub use routes::router;
pub use server::{Limits, serve};
