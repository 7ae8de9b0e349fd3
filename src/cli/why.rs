//! `farebox why RECORD` and `farebox spool show ID`: what is stored of one record, and nothing else.

use serde_json::Value;

use super::admin;
use super::args::{Admin, Format, Why};
use super::exit::{Exit, Outcome};
use super::terminal::{BOLD, RESET, Terminal};

/// Why a record ended as it did.
pub(crate) fn run(args: &Why, terminal: &mut Terminal) -> Outcome {
    let runtime = super::runtime()?;
    runtime.block_on(show(&args.record, &args.admin, terminal))
}

/// A record with its story.
pub(crate) async fn show(id: &str, args: &Admin, terminal: &mut Terminal) -> Outcome {
    let http = admin::http(args);
    let answer = admin::get(&http, &format!("/admin/v1/records/{}", id.trim())).await?;
    if args.format == Format::Json {
        terminal.line(answer.text);
        return Ok(Exit::Ok);
    }
    let record = &answer.json;
    let why = &record["why"];
    terminal.line(format!("{BOLD}{}{RESET}", why["summary"].as_str().unwrap_or("")));
    terminal.line("");
    section("Meaning", &[why["meaning"].clone()], terminal);
    section("What happened", list(&why["happened"]), terminal);
    section("Money", list(&why["money"]), terminal);
    section("Look at", list(&why["lookAt"]), terminal);
    let diameter = &record["diameter"];
    let ids = format!(
        "record {}, Session-Id {}, End-to-End {}",
        record["recordId"].as_str().unwrap_or("–"),
        diameter["sessionId"].as_str().unwrap_or("–"),
        diameter["endToEnd"].as_str().unwrap_or("–"),
    );
    section("Ids", &[Value::from(ids)], terminal);
    Ok(Exit::Ok)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A heading before its lines; nothing if there are none.
fn section(name: &str, lines: &[Value], terminal: &mut Terminal) {
    for (index, line) in lines.iter().filter_map(Value::as_str).enumerate() {
        let heading = if index == 0 { name } else { "" };
        terminal.line(format!("  {heading:<14} {line}"));
    }
}
