//! `farebox openapi`: the documents of the API, as the API port serves them.

use super::args::Openapi;
use super::exit::{Exit, Failure, Outcome};
use super::terminal::Terminal;
use crate::api::openapi;

/// Prints OpenAPI 3.1 as JSON, or AsyncAPI 3.0 as YAML.
pub(crate) fn run(args: &Openapi, terminal: &mut Terminal) -> Outcome {
    if args.notifications {
        let text = serde_yaml::to_string(&openapi::asyncapi())
            .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        terminal.data(&text);
    } else {
        terminal.data(&openapi::text());
    }
    Ok(Exit::Ok)
}
