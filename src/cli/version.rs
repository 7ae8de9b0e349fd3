//! `farebox version`.

use super::args::{Format, Version};
use super::exit::{Exit, Outcome};
use super::terminal::Terminal;

/// The version, and the revision where the build was told one.
pub(crate) fn run(args: &Version, terminal: &mut Terminal) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let revision = option_env!("FAREBOX_REVISION");
    match args.format {
        Format::Human => {
            let revision = revision.map(|revision| format!(" ({revision})")).unwrap_or_default();
            terminal.line(format!("farebox {version}{revision}"));
        }
        Format::Json => {
            terminal.line(serde_json::json!({"version": version, "revision": revision}).to_string())
        }
    }
    Ok(Exit::Ok)
}
