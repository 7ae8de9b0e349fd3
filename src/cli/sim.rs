//! `farebox sim`: charging systems to try a gateway against.

use std::io;
use std::path::Path;
use std::time::Duration;

use axum::http::Method;

use super::args::{Sim, SimAccount, SimCdf, SimControl, SimFault, SimOcs, SimServer};
use super::exit::{Exit, Failure, Outcome};
use super::http::Http;
use super::ports;
use super::signals::Signals;
use super::terminal::Terminal;
use crate::diagnostic::Code;
use crate::diagnostic::render::{Sources, render};
use crate::sim::account::OcsConfig;
use crate::sim::cdf::CdfConfig;
use crate::sim::control;
use crate::sim::ledger::{Amount, Currency, parse_money};
use crate::sim::run::{CdfServer, OcsServer, Options, Running, start_scenario};
use crate::sim::scenario::{Role, Scenario, ServerSpec};

/// Runs simulators until Ctrl-C, or talks to the control port of running ones.
pub(crate) fn run(sim: &Sim, terminal: &mut Terminal) -> Outcome {
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let mut signals = Signals::catch()?;
        match sim {
            Sim::Ocs(args) => ocs(args, &mut signals, terminal).await,
            Sim::Cdf(args) => cdf(args, &mut signals, terminal).await,
            Sim::Account(args) => account(args, terminal).await,
            Sim::Fault(args) => fault(args, terminal).await,
        }
    })
}

async fn ocs(args: &SimOcs, signals: &mut Signals, terminal: &mut Terminal) -> Outcome {
    let servers = match &args.server.scenario {
        Some(path) => from_scenario(path, |spec| matches!(spec.role, Role::Ocs { .. })).await?,
        None => {
            let config = ocs_config(&args.account)?;
            let options = options(&args.server, args.listen, "ocs-sim.example.net");
            let server = OcsServer::start(options, config)
                .await
                .map_err(|error| ports::busy("OCS simulator", args.listen, &error))?;
            vec![("ocs".to_owned(), Running::Ocs(server))]
        }
    };
    serve(servers, &args.server, signals, terminal).await
}

async fn cdf(args: &SimCdf, signals: &mut Signals, terminal: &mut Terminal) -> Outcome {
    let servers = match &args.server.scenario {
        Some(path) => from_scenario(path, |spec| matches!(spec.role, Role::Cdf { .. })).await?,
        None => {
            let options = options(&args.server, args.listen, "cdf-sim.example.net");
            let out = args.out.clone();
            let server = CdfServer::start(options, CdfConfig::default(), Some(out)).await;
            let server = server.map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => ports::busy("CDF simulator", args.listen, &error),
                _ => Failure::file(&args.out, &error),
            })?;
            vec![("cdf".to_owned(), Running::Cdf(server))]
        }
    };
    terminal.note(format!("CDRs are written to {}", args.out.display()));
    serve(servers, &args.server, signals, terminal).await
}

fn options(args: &SimServer, listen: std::net::SocketAddr, host: &str) -> Options {
    let host = args.host.as_deref().unwrap_or(host);
    Options { listen, ..Options::local(host, &args.realm) }
}

/// The standard OCS with these accounts: `+12025550123=10.00EUR`.
pub(crate) fn ocs_config(accounts: &[String]) -> Result<OcsConfig, Failure> {
    let mut config = OcsConfig::standard(Currency::EUR);
    for account in accounts {
        let wrong = |detail: String| {
            Failure::new(Exit::BadData, format!("--account `{account}`: {detail}"))
                .help("an account is `+12025550123=10.00EUR`")
        };
        let Some((id, money)) = account.split_once('=') else {
            return Err(wrong("expected ID=AMOUNT".to_owned()));
        };
        let (balance, currency) = money_of(money).map_err(wrong)?;
        if currency != config.currency {
            return Err(wrong(format!("the simulator's books are in {}", config.currency)));
        }
        config = config.with_account(id, balance);
    }
    Ok(config)
}

/// `10.00EUR`, `10.00 EUR`, or a number alone, which is EUR.
fn money_of(text: &str) -> Result<(Amount, Currency), String> {
    let has_currency = text.chars().any(char::is_alphabetic);
    let text = if has_currency { text.to_owned() } else { format!("{text} EUR") };
    parse_money(&text).map_err(|error| error.to_string())
}

async fn from_scenario(
    path: &Path,
    wanted: impl Fn(&ServerSpec) -> bool,
) -> Result<Vec<(String, Running)>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    let name = path.display().to_string();
    let scenario = Scenario::read(&name, &text).map_err(|found| {
        let sources = Sources::from([(name.clone(), text.clone())]);
        let listed: Vec<String> =
            found.iter().map(|finding| render(finding, &sources, false)).collect();
        Failure::new(Exit::Config, format!("the scenario cannot be played\n{}", listed.join("\n")))
    })?;
    let servers = start_scenario(&scenario, wanted)
        .await
        .map_err(|(server, error)| Failure::new(Exit::Failed, format!("`{server}`: {error}")))?;
    match servers.is_empty() {
        true => Err(Failure::new(Exit::Config, format!("{name} has no server of this kind"))),
        false => Ok(servers),
    }
}

/// Says where the servers listen, and ends them on Ctrl-C.
async fn serve(
    servers: Vec<(String, Running)>,
    args: &SimServer,
    signals: &mut Signals,
    terminal: &mut Terminal,
) -> Outcome {
    for (name, server) in &servers {
        match server {
            Running::Ocs(server) => {
                let who = server.identity();
                terminal.line(format!("OCS {name}  {}  {}", server.local_addr(), who.host));
                for account in server.accounts() {
                    let balance = server.balance(&account.id).unwrap_or_default();
                    terminal.line(format!("  account {}  balance {balance}", account.id));
                }
            }
            Running::Cdf(server) => {
                let who = server.identity();
                terminal.line(format!("CDF {name}  {}  {}", server.local_addr(), who.host));
            }
        }
    }
    let control = match args.control {
        None => None,
        Some(listen) => {
            let control = control::serve(listen, servers.clone()).await;
            let control = control.map_err(|error| ports::busy("control port", listen, &error))?;
            terminal.line(format!("control  http://{}", control.local_addr()));
            Some(control)
        }
    };
    terminal.flush();
    signals.stop().await;
    if let Some(control) = control {
        control.shutdown();
    }
    for (name, server) in &servers {
        match server {
            Running::Ocs(server) => {
                server.shutdown().await;
                for account in server.accounts() {
                    let balance = server.balance(&account.id).unwrap_or_default();
                    terminal.line(format!("OCS {name}  account {}  balance {balance}", account.id));
                }
            }
            Running::Cdf(server) => {
                server.shutdown().await;
                terminal.line(format!("CDF {name}  {} CDRs", server.accepted()));
            }
        }
    }
    Ok(Exit::Ok)
}

fn control_http(args: &SimControl) -> Http {
    Http::new(format!("http://{}", args.control), Duration::from_secs(5))
}

async fn account(args: &SimAccount, terminal: &mut Terminal) -> Outcome {
    match args {
        SimAccount::Ls(control) => {
            let answer = control_http(control).get("/accounts").await?;
            for account in answer.json.as_array().into_iter().flatten() {
                let of = |key: &str| account[key].as_str().unwrap_or("").to_owned();
                terminal.line(format!(
                    "{}  {}  balance {}  reserved {}",
                    of("id"),
                    of("state"),
                    of("balance"),
                    of("reserved")
                ));
            }
            Ok(Exit::Ok)
        }
        SimAccount::Set { account, balance, control } => {
            let (amount, currency) = money_of(balance)
                .map_err(|detail| Failure::new(Exit::BadData, format!("`{balance}`: {detail}")))?;
            let body = format!("{{balance: \"{} {currency}\"}}", amount.decimal(currency));
            let path = format!("/accounts/{}", percent_encoded(account));
            tell(control_http(control).text(Method::PUT, &path, body).await?, terminal)
        }
    }
}

async fn fault(args: &SimFault, terminal: &mut Terminal) -> Outcome {
    let answer = match args {
        SimFault::Ls(control) => control_http(control).get("/faults").await?,
        SimFault::Add { fault, control } => {
            control_http(control).text(Method::POST, "/faults", fault.clone()).await?
        }
        SimFault::Clear(control) => {
            control_http(control).text(Method::DELETE, "/faults", String::new()).await?
        }
    };
    tell(answer, terminal)
}

fn tell(answer: super::http::Answer, terminal: &mut Terminal) -> Outcome {
    match answer.status {
        200..300 => {
            if !answer.text.is_empty() {
                terminal.line(answer.text.trim_end());
            }
            Ok(Exit::Ok)
        }
        400 => Err(Failure::coded(Exit::BadData, Code::FB0102, answer.text.trim_end())),
        _ => Err(Failure::new(Exit::Failed, answer.text.trim_end())),
    }
}

/// One segment of a path: `+` and `:` of an identity stay themselves.
fn percent_encoded(segment: &str) -> String {
    let mut out = String::new();
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'+'
            | b':'
            | b'@' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
