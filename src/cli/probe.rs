//! `farebox peer probe`: one handshake with a peer, with the verdict and the line to change.

use std::time::Duration;

use serde_json::json;

use super::args::{Format, PeerProbe};
use super::config;
use super::exit::{Exit, Failure, Outcome};
use super::http::Http;
use super::terminal::Terminal;
use crate::config::Config;
use crate::diameter::{Message, id, result_code};
use crate::peer::PeerState;
use crate::peer::capabilities::Capabilities;
use crate::peer::diagnosis::{Finding, describe};
use crate::transport::probe::{Probe, Step};

/// Asks a running gateway no longer than this.
const GATEWAY: Duration = Duration::from_millis(500);

/// 0 if the handshake works, 78 if the configuration is to blame, 69 otherwise.
pub(crate) fn run(args: &PeerProbe, terminal: &mut Terminal) -> Outcome {
    let config = config::read(&args.source, terminal)?;
    let Some(index) = config.peers.iter().position(|peer| peer.name == args.name) else {
        let names: Vec<&str> = config.peers.iter().map(|peer| peer.name.as_str()).collect();
        let message = format!("there is no peer `{}` in the configuration", args.name);
        return Err(
            Failure::new(Exit::Config, message).help(format!("peers: {}", names.join(", ")))
        );
    };
    let mut peer = config.peers[index].clone();
    if peer.address.is_none() {
        let message = format!("peer `{}` has no address: it connects to us", args.name);
        return Err(
            Failure::new(Exit::Config, message).help("see how it stands: farebox peer show")
        );
    }
    let limit = Duration::from_secs(args.timeout);
    (peer.limits.connect, peer.limits.handshake) = (limit, limit);
    let probe = Probe {
        config: peer,
        tls: config.tls[index].clone(),
        identity: config.identity.clone(),
        dictionary: config.dictionary.clone(),
    };
    let human = args.format == Format::Human;
    let runtime = super::runtime()?;
    let (steps, finding) = runtime.block_on(async {
        if !args.force {
            refuse_if_open(&config, &args.name).await?;
        }
        let mut steps = Vec::new();
        let finding = probe
            .run(|step| {
                if human {
                    show(&step, &probe, terminal);
                }
                steps.push(step);
            })
            .await;
        Ok::<_, Failure>((steps, finding))
    })?;
    match args.format {
        Format::Human => verdict(&finding, &config, &args.name, terminal),
        Format::Json => terminal.line(object(&steps, &finding, &config, &args.name).to_string()),
    }
    Ok(match finding.fault {
        PeerState::Open => Exit::Ok,
        PeerState::BadConfig => Exit::Config,
        _ => Exit::Unreachable,
    })
}

/// One connection a peer (RFC 6733, 2.1): a second one would be refused, and says nothing.
async fn refuse_if_open(config: &Config, name: &str) -> Result<(), Failure> {
    let http = Http::new(format!("http://{}", config.admin.listen), GATEWAY);
    let Ok(answer) = http.get(&format!("/admin/v1/peers/{name}")).await else { return Ok(()) };
    let state = answer.json["state"].as_str().unwrap_or_default();
    if answer.json["usable"] != true {
        return Ok(());
    }
    let message =
        format!("a gateway runs here and its peer `{name}` is {state}: the handshake works");
    let help = "a peer refuses a second connection; `--force` tries all the same";
    Err(Failure::new(Exit::TryAgain, message).help(help).help("farebox peer show has CER and CEA"))
}

fn millis(took: &Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}

fn show(step: &Step, probe: &Probe, terminal: &mut Terminal) {
    match step {
        Step::Resolved(addresses) => {
            let address = probe.config.address.as_deref().unwrap_or_default();
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            let found: Vec<String> =
                addresses.iter().map(|address| address.ip().to_string()).collect();
            terminal.line(format!("resolve     {host} → {}", found.join(", ")));
        }
        Step::Connected(address, took) => {
            terminal.line(format!("connect     tcp {address} in {}", millis(took)));
        }
        Step::Secured(version, certificate) => {
            let names = certificate.names.join(", ");
            let end = i64::try_from(certificate.not_after).unwrap_or(i64::MAX);
            let end = crate::clock::Wall::from_secs(end);
            let issuer = &certificate.issuer;
            terminal.line(format!("tls         {version} · certificate for {names} · until {end}"));
            terminal.line(format!("            issued by {issuer}"));
        }
        Step::Asked(cer) => {
            let ours = Capabilities::of(cer);
            let apps = describe(&ours.applications);
            terminal.line(format!("CER →       Origin-Host {} · apps: {apps}", ours.origin_host));
        }
        Step::Answered(cea, took) => {
            let theirs = Capabilities::of(cea);
            let (code, name) = code(cea);
            let host = &theirs.origin_host;
            let took = millis(took);
            terminal.line(format!("CEA ←       {code} {name}   Origin-Host {host}   {took}"));
            if let Some(said) = cea.text(id::ERROR_MESSAGE) {
                let said: String = said.chars().take(200).filter(|c| !c.is_control()).collect();
                terminal.line(format!("            it says: {said}"));
            }
            let offer = describe(&theirs.applications);
            let ours = describe(&probe.config.applications);
            terminal.line(format!("            they offer: {offer}; we offered: {ours}"));
        }
    }
}

fn code(cea: &Message) -> (u32, &'static str) {
    let code = cea.unsigned32(id::RESULT_CODE).unwrap_or(0);
    (code, result_code::name(code).unwrap_or("unknown Result-Code"))
}

/// `peers.ocs-c.applications`, or a key of ours.
fn path(finding: &Finding, name: &str) -> Option<String> {
    let key = finding.key?;
    Some(if key.starts_with("identity") { key.to_owned() } else { format!("peers.{name}.{key}") })
}

/// Where the key stands, or what it would stand in.
fn place<'a>(config: &'a Config, path: &str) -> Option<&'a str> {
    let mut path = path;
    loop {
        if let Some(place) = config.places.get(path) {
            return Some(place);
        }
        (path, _) = path.rsplit_once('.')?;
    }
}

fn word(finding: &Finding) -> &'static str {
    match finding.fault {
        PeerState::Open => "ok",
        PeerState::BadConfig => "bad-config (ours)",
        PeerState::BadRemote => "bad-remote (theirs)",
        _ => "down (network)",
    }
}

fn verdict(finding: &Finding, config: &Config, name: &str, terminal: &mut Terminal) {
    let (word, words) = (word(finding), &finding.words);
    terminal.line(match &finding.line {
        Some(line) => format!("verdict     {word}: {words}; set `{line}`"),
        None => format!("verdict     {word}: {words}"),
    });
    if let Some(path) = path(finding, name) {
        let place = place(config, &path).unwrap_or_default();
        terminal.line(format!("            {place}  {path}"));
    }
}

fn object(steps: &[Step], finding: &Finding, config: &Config, name: &str) -> serde_json::Value {
    let steps: Vec<serde_json::Value> = steps
        .iter()
        .map(|step| match step {
            Step::Resolved(addresses) => json!({"step": "resolve", "addresses": addresses}),
            Step::Connected(address, took) => {
                json!({"step": "connect", "address": address, "ms": took.as_secs_f64() * 1000.0})
            }
            Step::Secured(version, certificate) => json!({
                "step": "tls", "version": version, "names": certificate.names,
                "issuer": certificate.issuer,
            }),
            Step::Asked(cer) => node("cer", cer),
            Step::Answered(cea, _) => {
                let mut object = node("cea", cea);
                object["resultCode"] = code(cea).0.into();
                object
            }
        })
        .collect();
    let path = path(finding, name);
    json!({
        "peer": name,
        "steps": steps,
        "verdict": finding.fault.word(),
        "reason": finding.words,
        "key": path,
        "line": finding.line,
        "place": path.as_deref().and_then(|path| place(config, path)),
    })
}

fn node(step: &str, message: &Message) -> serde_json::Value {
    let told = Capabilities::of(message);
    let applications: Vec<String> =
        told.applications.iter().map(|application| application.to_string()).collect();
    json!({
        "step": step, "originHost": told.origin_host, "originRealm": told.origin_realm,
        "productName": told.product_name, "applications": applications,
    })
}
