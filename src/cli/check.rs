//! `farebox check`: every problem of a configuration, without a network.

use super::args::{Check, Deny, Format};
use super::exit::{Exit, Outcome};
use super::terminal::Terminal;
use crate::config::{Environment, check};

/// 0 if the configuration can be run, else 78.
pub(crate) fn run(args: &Check, terminal: &mut Terminal) -> Outcome {
    let report = check(&args.path, &Environment::process());
    match args.format {
        Format::Human => terminal.line(report.human(terminal.colour()).trim_end()),
        Format::Json => terminal.line(report.json().to_string()),
    }
    let denied = args.deny == Some(Deny::Warnings) && report.warnings() > 0;
    Ok(if report.errors() > 0 || denied { Exit::Config } else { Exit::Ok })
}
