//! `farebox explain`: the page of a diagnostic code or a Diameter result code.

use crate::diagnostic::codes;
use crate::diagnostic::{Code, Fault, suggest};

use super::args::Explain;
use super::exit::{Exit, Failure, Outcome};
use super::terminal::{BOLD, RESET, Terminal};

/// Prints the page; without a code, the list of all.
pub(crate) fn run(args: &Explain, terminal: &mut Terminal) -> Outcome {
    let Some(wanted) = &args.code else {
        list(terminal);
        return Ok(Exit::Ok);
    };
    if let Some(code) = codes::ALL.iter().find(|code| code.name().eq_ignore_ascii_case(wanted)) {
        page(*code, terminal);
        return Ok(Exit::Ok);
    }
    let mut failure = Failure::new(Exit::Assertion, format!("`{wanted}` has no page"));
    if let Some(near) = suggest(wanted, codes::ALL.iter().map(|code| code.name())) {
        failure = failure.help(format!("did you mean `{near}`?"));
    }
    Err(failure.help("`farebox explain` lists every code"))
}

fn page(code: Code, terminal: &mut Terminal) {
    terminal.line(format!("{BOLD}{code}  {}{RESET}", code.title()));
    terminal.line("");
    terminal.line(format!("  {}", code.explain()));
    terminal.line("");
    terminal.line(format!("  Who acts   {}", who_acts(code.fault())));
}

/// The one table from a fault to the person who acts.
pub(crate) fn who_acts(fault: Fault) -> &'static str {
    match fault {
        Fault::Config => "whoever wrote the configuration, mapping or dictionary",
        Fault::Caller => "whoever sent the trigger or typed the command",
        Fault::Peer => "the operator of the Diameter peer",
        Fault::Environment => "whoever runs the machine: disk, port, descriptors",
        Fault::Farebox => "the authors of farebox: it is a bug",
    }
}

fn list(terminal: &mut Terminal) {
    for code in codes::ALL {
        terminal.line(format!("{code}  {}", code.title()));
    }
}
