//! The command line: one file per subcommand, exit codes, terminal output.
//!
//! Nobody imports this module, and nobody else prints.

mod admin;
mod args;
mod check;
mod config;
mod decode;
mod demo;
mod demo_flow;
mod demo_proof;
mod demo_report;
mod demo_stage;
mod dict;
mod encode;
mod exit;
mod explain;
mod explain_results;
mod hex;
mod http;
mod instance;
mod message_json;
mod openapi;
mod operators;
mod peer;
mod ports;
mod probe;
mod proof;
mod proof_books;
mod proof_check;
mod proof_gateway;
mod proof_kill9;
mod proof_ledger;
mod proof_load;
mod proof_spool;
mod run;
mod signals;
mod sim;
mod spool;
mod spool_match;
mod spool_verify;
mod status;
mod terminal;
mod trace;
mod universe;
mod version;
mod why;

use std::process::ExitCode;

use args::{Command, Config, Dict};
use exit::{Exit, Failure, Outcome};
use terminal::Terminal;

/// Runs the command of this process's arguments and environment.
pub fn main() -> ExitCode {
    let cli = match args::parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout with 0, usage to stderr with 2.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let mut terminal = Terminal::new(&cli.global);
    match dispatch(&cli.command, &mut terminal) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            terminal.failure(&failure);
            failure.exit.into()
        }
    }
}

fn dispatch(command: &Command, terminal: &mut Terminal) -> Outcome {
    match command {
        Command::Check(args) => check::run(args, terminal),
        Command::Config(Config::Show(args)) => config::show(args, terminal),
        Command::Decode(args) => decode::run(args, terminal),
        Command::Demo(args) => demo::run(args, terminal),
        Command::Dict(Dict::Show(args)) => dict::show(args, terminal),
        Command::Encode(args) => encode::run(args, terminal),
        Command::Explain(args) => explain::run(args, terminal),
        Command::Openapi(args) => openapi::run(args, terminal),
        Command::Proof(proof) => proof::run(proof, terminal),
        Command::Peer(args) => peer::run(args, terminal),
        Command::Run(args) => run::run(args, terminal),
        Command::Sim(args) => sim::run(args, terminal),
        Command::Spool(args) => spool::run(args, terminal),
        Command::Status(args) => status::run(args, terminal),
        Command::Universe(args) => universe::run(args, terminal),
        Command::Trace(args) => trace::run(args, terminal),
        Command::Version(args) => version::run(args, terminal),
        Command::Why(args) => why::run(args, terminal),
    }
}

/// A small runtime for commands that talk to sockets.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("the runtime did not start: {error}")))
}
