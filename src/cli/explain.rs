//! `farebox explain`: the page of a diagnostic code or a Diameter result code.

use crate::diagnostic::codes;
use crate::diagnostic::{Code, Fault, suggest};
use crate::diameter::result_code::{self, Class, ResultCode};

use super::args::Explain;
use super::exit::{Exit, Failure, Outcome};
use super::terminal::{BOLD, RESET, Terminal};

/// Prints the page; without a code, the list of all.
pub(crate) fn run(args: &Explain, terminal: &mut Terminal) -> Outcome {
    let Some(wanted) = &args.code else {
        list(terminal);
        return Ok(Exit::Ok);
    };
    if wanted == "results" {
        super::explain_results::print(args.format, terminal);
        return Ok(Exit::Ok);
    }
    if let Some(code) = codes::ALL.iter().find(|code| code.name().eq_ignore_ascii_case(wanted)) {
        page(*code, terminal);
        return Ok(Exit::Ok);
    }
    if let Some(result) = result(wanted) {
        result_page(result, terminal);
        return Ok(Exit::Ok);
    }
    let mut failure = Failure::new(Exit::Failed, format!("`{wanted}` has no page"));
    let names = codes::ALL.iter().map(|code| code.name());
    if let Some(near) = suggest(wanted, names.chain(result_code::ALL.iter().map(|row| row.name))) {
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

/// By number, or by name with or without `DIAMETER_`.
fn result(wanted: &str) -> Option<&'static ResultCode> {
    if let Ok(number) = wanted.parse() {
        return result_code::find(number);
    }
    let upper = wanted.to_uppercase();
    let bare = |name: &str| name.trim_start_matches("DIAMETER_").to_owned();
    result_code::ALL.iter().find(|row| bare(row.name) == bare(&upper))
}

fn result_page(result: &ResultCode, terminal: &mut Terminal) {
    let class = match result_code::class(result.code) {
        Class::Informational => "informational: more exchanges follow",
        Class::Success => "success",
        Class::ProtocolError => "protocol error: the answer has E set, another peer may be tried",
        Class::TransientFailure => "transient failure: the request may succeed later",
        Class::PermanentFailure => "permanent failure: the same request will fail again",
    };
    terminal.line(format!("{BOLD}{}  {}{RESET}", result.code, result.name));
    terminal.line("");
    terminal.line(format!("  {}", result.meaning));
    terminal.line("");
    terminal.line(format!("  Class      {class}"));
    terminal.line(format!("  Source     {}", result.source));
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
    for result in result_code::ALL {
        terminal.line(format!("{}    {}", result.code, result.name));
    }
}
