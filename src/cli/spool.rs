//! `farebox spool`: what is not billed yet, and what may be done about it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::admin;
use super::args::{Admin, Format, Pick, Spool, SpoolExport, SpoolList, SpoolReplay};
use super::exit::{Exit, Failure, Outcome};
use super::http::Http;
use super::spool_match::Match;
use super::terminal::Terminal;

/// Records of one call to the gateway.
const CHUNK: usize = 500;
/// Records that `replay` and `purge` look at.
const PICKED_MAX: usize = 1_000_000;

/// Runs one of the subcommands.
pub(crate) fn run(args: &Spool, terminal: &mut Terminal) -> Outcome {
    if let Spool::Verify(args) = args {
        return super::spool_verify::run(args, terminal);
    }
    let runtime = super::runtime()?;
    runtime.block_on(async {
        match args {
            Spool::Status(admin) => status(admin, terminal).await,
            Spool::Ls(args) => list(args, terminal).await,
            Spool::Show { id, admin } => super::why::show(id, admin, terminal).await,
            Spool::Replay(args) => replay(args, terminal).await,
            Spool::Export(args) => export(args, terminal).await,
            Spool::Purge(args) => purge(args, terminal).await,
            Spool::Verify(_) => Ok(Exit::Ok),
        }
    })
}

async fn status(args: &Admin, terminal: &mut Terminal) -> Outcome {
    let http = admin::http(args);
    let spool = admin::get(&http, "/admin/v1/spool").await?;
    if args.format == Format::Json {
        terminal.line(spool.text);
        return Ok(Exit::Ok);
    }
    let peers = admin::get(&http, "/admin/v1/peers").await?.json;
    terminal.line(format!(
        "{:<11}{:>10}{:>11}{:>10}{:>8}   peers",
        "interface", "waiting", "in flight", "oldest", "dead"
    ));
    let mut conserved = true;
    for item in list_of(&spool.json["items"]) {
        let interface = item["interface"].as_str().unwrap_or("");
        terminal.line(format!(
            "{interface:<11}{:>10}{:>11}{:>10}{:>8}   {}",
            item["waiting"],
            item["inFlight"],
            age(item["oldestSeconds"].as_f64().unwrap_or(0.0)),
            item["dead"],
            peers_of(&peers, interface)
        ));
        conserved &= item["conserved"].as_bool().unwrap_or(true);
    }
    let limit = match spool.json["limitBytes"].as_u64() {
        Some(limit) => format!(" of {}", size(limit)),
        None => String::new(),
    };
    terminal.line(format!("on disk    {}{limit}", size(spool.json["bytes"].as_u64().unwrap_or(0))));
    if !conserved {
        terminal.line("✖ the counts do not add up: a bug, see `farebox_spool_records_total`");
        return Ok(Exit::Assertion);
    }
    Ok(Exit::Ok)
}

/// The peers of an interface with their states; why, for those that are not open.
fn peers_of(peers: &Value, interface: &str) -> String {
    let serves =
        |peer: &&Value| list_of(&peer["interfaces"]).any(|name| name.as_str() == Some(interface));
    let words = |peer: &Value| {
        let text = |name: &str| peer[name].as_str().unwrap_or("–").to_owned();
        match peer["usable"].as_bool() {
            Some(true) => format!("{} {}", text("name"), text("state")),
            _ => format!("{} {} ({})", text("name"), text("state"), text("reason")),
        }
    };
    let all: Vec<String> = list_of(&peers["items"]).filter(serves).map(words).collect();
    all.join(", ")
}

async fn list(args: &SpoolList, terminal: &mut Terminal) -> Outcome {
    let http = admin::http(&args.admin);
    let conditions = conditions(&args.pick)?;
    let state = if args.dead { "dead" } else { "waiting" };
    let body = json!({"state": state});
    let (items, cut) = admin::search(&http, &body, args.limit).await?;
    let items: Vec<&Value> = items.iter().filter(|item| conditions.fits(item)).collect();
    if args.admin.format == Format::Json {
        terminal.line(json!({"items": items, "more": cut}).to_string());
        return Ok(Exit::Ok);
    }
    for item in &items {
        terminal.line(row(item));
    }
    if cut {
        terminal.note(format!("there are more; --limit {} is reached", args.limit));
    }
    if items.is_empty() && !cut {
        terminal.note(format!("nothing is {state}"));
    }
    Ok(Exit::Ok)
}

/// One record in a line.
fn row(item: &Value) -> String {
    let text = |name: &str| item[name].as_str().unwrap_or("–").to_owned();
    let subject = item["sessionId"].as_str().or(item["eventId"].as_str()).unwrap_or("–");
    let why = match item["dueAt"].as_str() {
        Some(due) => format!("armed until {due}"),
        None => result_words(item),
    };
    format!(
        "{}  {:<12} #{:<4} {subject:<24} {}  tries {:<3} {why}",
        text("recordId"),
        text("command"),
        item["number"],
        text("createdAt"),
        item["attempts"],
    )
}

/// `5004 DIAMETER_INVALID_AVP_VALUE  Failed-AVP Event-Timestamp`.
pub(crate) fn result_words(item: &Value) -> String {
    let result = &item["result"];
    let code = match (result["code"].as_u64(), result["name"].as_str()) {
        (Some(code), Some(name)) => format!("{code} {name}"),
        (Some(code), None) => code.to_string(),
        (None, _) => return "no answer stored".to_owned(),
    };
    let failed: Vec<&str> = list_of(&result["failedAvp"]).filter_map(Value::as_str).collect();
    match failed.is_empty() {
        true => code,
        false => format!("{code}  Failed-AVP {}", failed.join(", ")),
    }
}

async fn replay(args: &SpoolReplay, terminal: &mut Terminal) -> Outcome {
    let http = admin::http(&args.admin);
    let ids = picked(&http, &args.pick, &args.records, args.dead).await?;
    let dry_run = args.dry_run || !args.yes;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut answers = Vec::new();
    for chunk in ids.chunks(CHUNK) {
        let body = json!({"records": chunk, "dryRun": dry_run});
        let answer = admin::post(&http, "/admin/v1/spool/replay", &body).await?.json;
        for item in list_of(&answer["items"]) {
            let reason = item["reason"].as_str().unwrap_or("").to_owned();
            *counts.entry(reason).or_default() += 1;
            answers.push(item.clone());
        }
    }
    if args.admin.format == Format::Json {
        terminal.line(json!({"dryRun": dry_run, "items": answers}).to_string());
        return Ok(Exit::Ok);
    }
    let may = counts.remove("").unwrap_or(0);
    terminal.line(match dry_run {
        true => format!("{} would go out again as stored, T set", records(may)),
        false => format!("{} sent again as stored, T set", records(may)),
    });
    for (reason, count) in &counts {
        terminal.line(format!("{} not sent: {reason}", records(*count)));
    }
    if dry_run && may > 0 {
        terminal.note("nothing was sent; add --yes");
    }
    Ok(Exit::Ok)
}

async fn purge(args: &SpoolReplay, terminal: &mut Terminal) -> Outcome {
    let http = admin::http(&args.admin);
    let ids = picked(&http, &args.pick, &args.records, args.dead).await?;
    if args.dry_run || !args.yes {
        terminal.line(format!("{} would be removed for good", records(ids.len())));
        terminal.note("nothing was removed; export them first, then add --yes");
        return Ok(Exit::Ok);
    }
    let mut purged = 0;
    for chunk in ids.chunks(CHUNK) {
        let answer =
            admin::post(&http, "/admin/v1/spool/purge", &json!({"records": chunk})).await?;
        purged += answer.json["purged"].as_u64().unwrap_or(0);
    }
    terminal.line(format!("{} removed", records(usize::try_from(purged).unwrap_or(usize::MAX))));
    Ok(Exit::Ok)
}

/// The records that are named, or all dead ones that fit.
async fn picked(
    http: &Http,
    pick: &Pick,
    records: &[String],
    dead: bool,
) -> Result<Vec<String>, Failure> {
    if !records.is_empty() {
        return Ok(records.to_vec());
    }
    let conditions = conditions(pick)?;
    if !dead {
        let help = "--dead, or --dead --match 'result == 5004', or record ids";
        return Err(Failure::new(Exit::BadData, "which records?").help(help));
    }
    let (items, _) = admin::search(http, &json!({"state": "dead"}), PICKED_MAX).await?;
    let fitting = items.iter().filter(|item| conditions.fits(item));
    Ok(fitting.filter_map(|item| item["recordId"].as_str().map(str::to_owned)).collect())
}

fn conditions(pick: &Pick) -> Result<Match, Failure> {
    match &pick.matching {
        None => Ok(Match::default()),
        Some(text) => Match::parse(text)
            .map_err(|detail| Failure::new(Exit::BadData, format!("--match `{text}`: {detail}"))),
    }
}

async fn export(args: &SpoolExport, terminal: &mut Terminal) -> Outcome {
    let http = admin::http(&args.admin);
    let state = if args.dead { "dead" } else { "waiting" };
    let mut out = match &args.out {
        Some(path) => Some(create(path)?),
        None => None,
    };
    let mut path = format!("/admin/v1/spool/export?state={state}");
    let mut count = 0;
    loop {
        let page = admin::get(&http, &path).await?.text;
        let Some(last) = page.lines().last() else { break };
        count += page.lines().count();
        match (&mut out, &args.out) {
            (Some(file), Some(path)) => {
                file.write_all(page.as_bytes()).map_err(|error| Failure::file(path, &error))?;
            }
            _ => terminal.data(&page),
        }
        let last: Value = serde_json::from_str(last).unwrap_or(Value::Null);
        let Some(id) = last["recordId"].as_str() else { break };
        path = format!("/admin/v1/spool/export?state={state}&after={id}");
    }
    if let (Some(file), Some(path)) = (out, &args.out) {
        file.sync_all().map_err(|error| Failure::file(path, &error))?;
    }
    terminal.note(records(count));
    Ok(Exit::Ok)
}

/// A new file that only its owner may read: the octets show who the subscriber is.
fn create(path: &Path) -> Result<std::fs::File, Failure> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| Failure::file(path, &error))
}

fn list_of(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn records(count: usize) -> String {
    format!("{count} {}", if count == 1 { "record" } else { "records" })
}

/// `6m 02s`, `9s`, `2h 05m`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // An age.
fn age(seconds: f64) -> String {
    match seconds.max(0.0) as u64 {
        0 => "–".to_owned(),
        seconds @ 1..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        seconds => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// `41 MiB`.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{}.{} GiB", bytes >> 30, ((bytes & 0x3fff_ffff) * 10) >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_are_short() {
        assert_eq!(age(0.2), "–");
        assert_eq!(age(362.0), "6m 02s");
        assert_eq!(age(7500.0), "2h 05m");
        assert_eq!(size(5_000), "5 KiB");
        assert_eq!(size(41 << 20), "41 MiB");
        assert_eq!(size(3 << 29), "1.5 GiB");
    }

    #[test]
    fn a_dead_record_says_why() {
        let item = json!({"recordId": "01KC97", "command": "ACR-EVENT", "number": 0, "attempts": 1,
            "eventId": "e1", "createdAt": "2025-12-12T09:12:00Z",
            "result": {"code": 5004, "name": "INVALID_AVP_VALUE", "failedAvp": ["Event-Timestamp"]}});
        assert!(row(&item).ends_with("5004 INVALID_AVP_VALUE  Failed-AVP Event-Timestamp"));
    }
}
