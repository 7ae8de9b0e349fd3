//! `farebox peer ls | show | drain | ready | maint | reset`: the peers of a running gateway.

use serde_json::Value;

use super::admin;
use super::args::{Admin, Format, Peer, PeerAct};
use super::exit::{Exit, Failure, Outcome};
use super::http::Answer;
use super::terminal::Terminal;

/// Runs one of the subcommands.
pub(crate) fn run(args: &Peer, terminal: &mut Terminal) -> Outcome {
    match args {
        Peer::Ls(admin) => list(admin, terminal),
        Peer::Show { name, admin } => show(name, admin, terminal),
        Peer::Probe(args) => super::probe::run(args, terminal),
        Peer::Drain(args) => act(args, "drain", None, terminal),
        Peer::Ready(args) => act(args, "ready", None, terminal),
        Peer::Maint(args) => {
            act(args, "maint", Some("disconnects it and sends its requests elsewhere"), terminal)
        }
        Peer::Reset(args) => act(args, "reset", Some("cuts its connection"), terminal),
    }
}

fn get(admin: &Admin, path: &str) -> Result<Answer, Failure> {
    let runtime = super::runtime()?;
    admin::accepted(runtime.block_on(admin::http(admin).get(path))?)
}

fn list(admin: &Admin, terminal: &mut Terminal) -> Outcome {
    let answer = get(admin, "/admin/v1/peers")?;
    if admin.format == Format::Json {
        terminal.line(answer.text);
        return Ok(Exit::Ok);
    }
    terminal.line(format!(
        "{:<16}{:<14}{:<9}{:<10}{:<12}why",
        "peer", "state", "admin", "pending", "interfaces"
    ));
    for peer in answer.json["items"].as_array().into_iter().flatten() {
        let interfaces: Vec<&str> =
            peer["interfaces"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        terminal.line(format!(
            "{:<16}{:<14}{:<9}{:<10}{:<12}{}",
            text(&peer["name"]),
            text(&peer["state"]),
            text(&peer["adminState"]),
            format!("{}/{}", peer["pending"], peer["window"]),
            interfaces.join(" "),
            why(peer),
        ));
    }
    Ok(Exit::Ok)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("–")
}

/// The reason, and when it is tried again.
fn why(peer: &Value) -> String {
    let reason = text(&peer["reason"]);
    match peer["nextAttemptSeconds"].as_f64() {
        Some(left) => format!("{reason} (next try in {left:.0} s)"),
        None => reason.to_owned(),
    }
}

fn show(name: &str, admin: &Admin, terminal: &mut Terminal) -> Outcome {
    let answer = get(admin, &format!("/admin/v1/peers/{name}"))?;
    if admin.format == Format::Json {
        terminal.line(answer.text);
        return Ok(Exit::Ok);
    }
    let peer = &answer.json;
    let (state, admin_state) = (text(&peer["state"]), text(&peer["adminState"]));
    terminal.line(format!("{name}   {state} since {}   {admin_state}", text(&peer["since"])));
    terminal.line(format!(
        "  address     {} {}",
        text(&peer["transport"]),
        peer["address"].as_str().unwrap_or("none: it connects to us")
    ));
    terminal.line(format!("  why         {}   row {}", why(peer), text(&peer["row"])));
    let handshake = &peer["handshake"];
    terminal.line(format!("  we say      {}", node(&handshake["ours"])));
    match handshake["theirs"].is_null() {
        true => terminal.line("  they say    nothing yet"),
        false => terminal.line(format!(
            "  they say    {}   Result-Code {} at {}",
            node(&handshake["theirs"]),
            handshake["resultCode"],
            text(&handshake["at"])
        )),
    }
    if let Some(end) = peer["certificateEnds"].as_str() {
        terminal.line(format!("  certificate theirs ends {end}"));
    }
    if !peer["lastError"].is_null() {
        let error = &peer["lastError"];
        terminal.line(format!(
            "  last error  {} ({}) at {}",
            text(&error["reason"]),
            text(&error["fault"]),
            text(&error["at"])
        ));
    }
    terminal.line(format!("  traffic     {}/{} pending", peer["pending"], peer["window"]));
    for change in peer["history"].as_array().into_iter().flatten() {
        terminal.line(format!(
            "  {}  {:<12}{:<8}{}",
            text(&change["at"]),
            text(&change["state"]),
            text(&change["row"]),
            text(&change["reason"])
        ));
    }
    Ok(Exit::Ok)
}

fn node(node: &Value) -> String {
    let applications: Vec<&str> =
        node["applications"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    format!(
        "{} ({}) \"{}\" [{}]",
        text(&node["originHost"]),
        text(&node["originRealm"]),
        text(&node["productName"]),
        applications.join(", ")
    )
}

/// `consequence`: what `--yes` agrees to.
fn act(
    args: &PeerAct,
    action: &str,
    consequence: Option<&str>,
    terminal: &mut Terminal,
) -> Outcome {
    let name = &args.name;
    if let Some(consequence) = consequence.filter(|_| !args.yes) {
        let message = format!("`{action}` of `{name}` {consequence}");
        return Err(Failure::new(Exit::Failed, message).help("add --yes to do it"));
    }
    let runtime = super::runtime()?;
    let path = format!("/admin/v1/peers/{name}/{action}");
    let http = admin::http(&args.admin);
    let answer = admin::accepted(runtime.block_on(http.post(&path, &serde_json::json!({})))?)?;
    match args.admin.format {
        Format::Json => terminal.line(answer.text),
        Format::Human => {
            let (state, admin) = (text(&answer.json["state"]), text(&answer.json["adminState"]));
            terminal.line(format!("{name}   {state}   {admin}"));
        }
    }
    Ok(Exit::Ok)
}
