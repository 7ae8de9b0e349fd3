//! `farebox encode`: a trigger in, the Diameter messages out; nothing is stored or sent.

use std::io::Read;
use std::path::Path;

use serde_json::json;

use super::args::{Encode, Format, Hex, Op};
use super::config;
use super::exit::{Exit, Failure, Outcome};
use super::message_json;
use super::terminal::Terminal;
use crate::api::body::{self, Call};
use crate::api::problem::Problem;
use crate::charging::event::Trigger;
use crate::charging::outcome::{Answer, Ch1State, Reply};
use crate::clock::Wall;
use crate::config::Config;
use crate::diagnostic::suggest;
use crate::diameter::print::{self, Line};
use crate::gateway::dry_parts;
use crate::gateway::dry_run::DryRun;
use crate::gateway::step::Outgoing;

const BODY_BYTES_MAX: u64 = 1 << 20;

/// Prints the messages that the gateway would send for this trigger.
pub(crate) fn run(args: &Encode, terminal: &mut Terminal) -> Outcome {
    let config = config::read_paths(std::slice::from_ref(&args.config), terminal)?;
    let only = peer_index(args, &config)?;
    let start = match &args.session {
        Some(path) => Some(read(Op::Start, path, "", &config)?),
        None => None,
    };
    let id = match &start {
        Some(Trigger::Start(start)) => start.session_id.clone(),
        _ => "unknown-session".to_owned(),
    };
    let trigger = read(args.op, &args.body, &id, &config)?;
    let mut dry = DryRun::new(&dry_parts(&config), only, begin(start.as_ref().unwrap_or(&trigger)));
    if let Some(start) = start {
        let (_, reply) = dry.trigger(start);
        answered(reply, &id)?;
    }
    let (messages, reply) = dry.trigger(trigger);
    let answer = answered(reply, &id)?;
    let shown: Vec<&Outgoing> =
        messages.iter().filter(|out| only.is_none_or(|only| out.peer == only)).collect();
    if answer.ch1.state == Ch1State::Armed {
        terminal.note("the ACR-Stop is armed: it waits for the client's OK, or for the guard");
    }
    if shown.is_empty() {
        terminal.note("no message for this trigger");
    }
    match &args.out {
        Some(path) => write(path, &shown, terminal)?,
        None => print_all(args, &config, &dry, &shown, terminal),
    }
    Ok(Exit::Ok)
}

fn print_all(
    args: &Encode,
    config: &Config,
    dry: &DryRun,
    messages: &[&Outgoing],
    terminal: &mut Terminal,
) {
    let peer_name = |out: &Outgoing| config.peers.get(out.peer).map(|peer| peer.name.as_str());
    if args.format == Format::Json {
        let objects = messages.iter().map(|out| {
            let sources = dry.tree(out);
            let from = |line: &Line| sources.source_at(line.offset).map(str::to_owned);
            let mut object = message_json::message(&out.bytes, &[], &config.dictionary, from);
            object["peer"] = json!(peer_name(out));
            object
        });
        let objects: Vec<serde_json::Value> = objects.collect();
        terminal.line(json!({"messages": objects}).to_string());
        return;
    }
    for (index, out) in messages.iter().enumerate() {
        if index > 0 {
            terminal.line("");
        }
        let sources = dry.tree(out);
        let from = |line: &Line| sources.source_at(line.offset).map(str::to_owned);
        let tree = print::tree(&out.bytes, &config.dictionary, from);
        let (summary, avps) = tree.split_once('\n').unwrap_or((&tree, ""));
        terminal.line(format!("{summary}   peer {}", peer_name(out).unwrap_or("?")));
        terminal.data(avps);
        if args.hex == Hex::Full {
            terminal.data(&print::hex(&out.bytes));
        }
    }
}

/// A .hex file gets hex, any other the bytes.
fn write(path: &Path, messages: &[&Outgoing], terminal: &mut Terminal) -> Result<(), Failure> {
    let bytes: Vec<u8> = messages.iter().flat_map(|out| out.bytes.to_vec()).collect();
    let written = match path.extension().and_then(|extension| extension.to_str()) {
        Some("hex") => {
            let lines = messages.iter().map(|out| {
                let hex: String = out.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                hex + "\n"
            });
            std::fs::write(path, lines.collect::<String>())
        }
        _ => std::fs::write(path, &bytes),
    };
    written.map_err(|error| Failure::file(path, &error))?;
    terminal.note(format!(
        "{} messages, {} bytes → {}",
        messages.len(),
        bytes.len(),
        path.display()
    ));
    Ok(())
}

fn peer_index(args: &Encode, config: &Config) -> Result<Option<usize>, Failure> {
    let Some(name) = &args.peer else { return Ok(None) };
    let found = config.peers.iter().position(|peer| peer.name == *name);
    if found.is_none() {
        let failure = Failure::new(Exit::Config, format!("peer `{name}` is not defined"));
        return Err(match suggest(name, config.peers.iter().map(|peer| peer.name.as_str())) {
            Some(near) => failure.help(format!("did you mean `{near}`?")),
            None => failure,
        });
    }
    Ok(found)
}

/// A body as the API reads it.
fn read(op: Op, path: &Path, id: &str, config: &Config) -> Result<Trigger, Failure> {
    let bytes = match path.to_str() {
        Some("-") => {
            let mut bytes = Vec::new();
            let mut stdin = std::io::stdin().lock().take(BODY_BYTES_MAX);
            stdin.read_to_end(&mut bytes).map(|_| bytes)
        }
        _ => std::fs::read(path),
    };
    let bytes = bytes.map_err(|error| Failure::file(path, &error))?;
    let call = match op {
        Op::Start => Call::Start,
        Op::Interim => Call::Interim(id),
        Op::Terminate => Call::Terminate(id),
        Op::Event => Call::Event,
    };
    let services: Vec<String> = config.policy.services.keys().cloned().collect();
    body::read(call, &bytes, &services)
        .map_err(|error| problem(&path.display().to_string(), &Problem::body(error)))
}

/// When the dry run takes place: the time of its first trigger.
fn begin(trigger: &Trigger) -> Wall {
    match trigger {
        Trigger::Start(start) => start.timestamp,
        Trigger::Interim(interim) => interim.timestamp,
        Trigger::Terminate(terminate) => terminate.timestamp,
        Trigger::Event(event) => event.timestamp,
    }
}

fn answered(reply: Option<Reply>, id: &str) -> Result<Box<Answer>, Failure> {
    match reply {
        Some(Reply::Answered { answer, .. }) => Ok(answer),
        Some(Reply::Refused(refusal)) => {
            Err(problem("the trigger", &Problem::refusal(refusal, id)))
        }
        None => Err(Failure::new(Exit::Failed, "the engine gave no answer")),
    }
}

fn problem(what: &str, problem: &Problem) -> Failure {
    let mut failure =
        Failure::coded(Exit::BadData, problem.kind.code(), format!("{what}: {}", problem.detail));
    for item in &problem.errors {
        let place = [item.place.clone(), item.pointer.clone()].into_iter().flatten();
        let place: Vec<String> = place.collect();
        let suggestion = item.suggestion.as_ref().map(|near| format!("; did you mean `{near}`?"));
        failure = failure.help(format!(
            "{} {}{}",
            place.join(" "),
            item.detail,
            suggestion.unwrap_or_default()
        ));
    }
    failure
}
