//! `farebox trace WHO`: every request made for one subscriber, session or event, in order.

use serde_json::{Value, json};

use super::admin;
use super::args::{Format, Trace};
use super::exit::{Exit, Failure, Outcome};
use super::http::Http;
use super::spool::result_words;
use super::terminal::Terminal;
use crate::clock;
use crate::config::values::duration;
use crate::store::RecordId;

/// Prints the records of whoever is meant; 1 if there is none.
pub(crate) fn run(args: &Trace, terminal: &mut Terminal) -> Outcome {
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let http = admin::http(&args.admin);
        let (items, how) = find(&http, args).await?;
        if args.admin.format == Format::Json {
            terminal.line(json!({"searchedAs": how, "items": items}).to_string());
        } else {
            for line in table(&items) {
                terminal.line(line);
            }
        }
        if items.is_empty() {
            let words = format!("nothing is stored of `{}`, searched as {how}", args.who);
            let help =
                "a subscriber is written as in the trigger; older than store.retention is gone";
            return Err(Failure::new(Exit::Failed, words).help(help));
        }
        Ok(Exit::Ok)
    })
}

/// What `who` may be, the likeliest first: the names of `/v1/records/search`.
fn meanings(who: &str) -> &'static [&'static str] {
    let number = who.strip_prefix('+').unwrap_or(who);
    let digits = !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit());
    match () {
        () if who.contains(';') => &["diameterSessionId"],
        () if digits || who.starts_with("sip:") || who.contains('@') => {
            &["subscriber", "sessionId", "eventId"]
        }
        () => &["sessionId", "eventId", "subscriber", "diameterSessionId"],
    }
}

async fn find(http: &Http, args: &Trace) -> Result<(Vec<Value>, String), Failure> {
    let mut body = json!({});
    if let Some(since) = &args.since {
        let span = duration(since).ok_or_else(|| {
            let words = format!("--since `{since}`: expected a duration such as 30m");
            Failure::new(Exit::BadData, words)
        })?;
        body["since"] = json!((clock::wall() - span).to_string());
    }
    let mut who = args.who.trim().to_owned();
    if RecordId::parse(&who).is_some() {
        let record = admin::get(http, &format!("/admin/v1/records/{who}")).await?.json;
        let subject = record["sessionId"].as_str().or(record["eventId"].as_str());
        who = subject.unwrap_or(&who).to_owned();
    }
    let names = meanings(&who);
    for name in names {
        let mut body = body.clone();
        body[*name] = json!(who);
        // What cannot be such a name is none.
        match admin::search(http, &body, args.limit).await {
            Ok((items, _)) if items.is_empty() => {}
            Ok((items, _)) => return Ok((items, (*name).to_owned())),
            Err(failure) if failure.exit == Exit::BadData => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok((Vec::new(), names.join(", ")))
}

/// The trigger that makes such a record.
fn trigger(command: &str) -> &'static str {
    match command {
        "ACR-START" | "CCR-I" => "start",
        "ACR-INTERIM" | "CCR-U" => "interim",
        "ACR-STOP" | "CCR-T" => "terminate",
        _ => "event",
    }
}

fn table(items: &[Value]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut day = String::new();
    let mut before = None;
    for item in items {
        let text = |name: &str| item[name].as_str().unwrap_or("–");
        let at = text("createdAt");
        let (date, time) = at.split_once('T').unwrap_or((at, ""));
        if date != day {
            day = date.to_owned();
            lines.push(format!(
                "{:<18}{:<11}{:<5}{:<14}{:<16}{:<36}{:>8}  outcome",
                format!("{date} UTC"),
                "trigger",
                "ch",
                "peer",
                "command",
                "result",
                "ms"
            ));
        }
        let subject = item["sessionId"].as_str().or(item["eventId"].as_str()).unwrap_or("");
        let what = trigger(text("command"));
        let same = before == Some((subject.to_owned(), what));
        before = Some((subject.to_owned(), what));
        let (time, what) = if same { ("", "") } else { (time.trim_end_matches('Z'), what) };
        let result = match text("state") {
            "waiting" if !item["dueAt"].is_null() => format!("armed until {}", text("dueAt")),
            "waiting" => "waiting".to_owned(),
            "superseded" | "abandoned" => text("state").to_owned(),
            _ => result_words(item),
        };
        let copies = match item["attempts"].as_u64().unwrap_or(0) {
            0 | 1 => String::new(),
            copies => format!(" ×{copies}"),
        };
        let ms = item["roundTripMs"].as_f64().map_or(String::new(), |ms| format!("{ms:.1}"));
        let odd = matches!(text("state"), "dead" | "superseded" | "abandoned")
            || matches!(text("outcome"), "denied" | "unverified");
        let hint = match odd {
            true => format!("   ← farebox why {}", text("recordId")),
            false => String::new(),
        };
        let outcome = item["outcome"].as_str().unwrap_or("");
        lines.push(format!(
            "{time:<18}{what:<11}{:<5}{:<14}{:<16}{result:<36}{ms:>8}  {outcome}{hint}",
            text("interface"),
            text("peer"),
            format!("{} #{}{copies}", text("command"), item["number"]),
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_guessed_in_order_of_likelihood() {
        assert_eq!(meanings("+12025550123")[0], "subscriber");
        assert_eq!(meanings("sip:+12025550123@ims.example.net")[0], "subscriber");
        assert_eq!(meanings("cg1.ims.example.net;1765531200;7;9f1c4a7e"), ["diameterSessionId"]);
        assert_eq!(meanings("9f1c4a7e-7d0e-4c1b-9a55-0c6d0a3b2f11")[0], "sessionId");
    }

    #[test]
    fn both_interfaces_of_a_trigger_share_a_heading_and_what_is_odd_points_to_why() {
        let item = |command: &str, interface: &str, state: &str, outcome: &str| {
            json!({"recordId": "01KC99XQ6Z3W8M5T2R7V4N0B1C", "sessionId": "s1", "command": command,
                "interface": interface, "number": 2, "state": state, "outcome": outcome,
                "attempts": 2, "peer": "ocs-b", "roundTripMs": 8.04,
                "createdAt": "2025-12-12T10:43:11.000Z",
                "result": {"code": 5002, "name": "DIAMETER_UNKNOWN_SESSION_ID", "failedAvp": []}})
        };
        let lines = table(&[
            item("CCR-T", "ch2", "answered", "denied"),
            item("ACR-STOP", "ch1", "waiting", "recorded"),
        ]);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("2025-12-12 UTC") && lines[0].ends_with("outcome"));
        assert!(lines[1].starts_with("10:43:11.000      terminate"), "{}", lines[1]);
        assert!(lines[1].contains("CCR-T #2 ×2") && lines[1].contains("5002"));
        assert!(lines[1].ends_with("denied   ← farebox why 01KC99XQ6Z3W8M5T2R7V4N0B1C"));
        assert!(lines[2].starts_with("                  "), "{}", lines[2]);
    }
}
