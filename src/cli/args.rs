//! The command line: every subcommand with its flags, and `FAREBOX_<FLAG>` for each of them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  farebox demo                                  play the flows of a CPM session's end, with proof
  farebox check /etc/farebox/farebox.yaml       every problem of a configuration, with its line
  farebox run --config /etc/farebox/farebox.yaml
  farebox decode 01000264c0000110…              read a Diameter message

Exit codes: 0 ok, 1 failed, 2 usage, 3 assertion failed, 65 bad input, 69 unreachable,
75 try again, 77 permission, 78 bad configuration, 130 Ctrl-C";

/// Charging gateway for OMA CPM and RCS messaging: HTTP triggers in, Diameter Rf and Ro out.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "farebox",
    version,
    arg_required_else_help = true,
    after_help = EXAMPLES
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every subcommand.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Colour on the terminal; NO_COLOR and CLICOLOR_FORCE are honoured
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Colour,
    /// No notes on stderr
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    Auto,
    Always,
    Never,
}

/// Form of the data on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Human,
    /// A stable object for programs
    Json,
}

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway
    Run(Run),
    /// Start simulators and gateway, end sessions in every way, and show that each was charged once
    Demo(Demo),
    /// Simulate a charging system
    #[command(subcommand)]
    Sim(Sim),
    /// Judge a configuration: every problem with its line, no network
    Check(Check),
    /// A trigger in, the Diameter messages out; nothing is stored or sent
    Encode(Encode),
    /// Read Diameter messages from hex or bytes
    Decode(Decode),
    /// Explain a diagnostic code (FB0107) or a Diameter result code (5002)
    Explain(Explain),
    /// Look into the dictionaries
    #[command(subcommand)]
    Dict(Dict),
    /// Look at the configuration
    #[command(subcommand)]
    Config(Config),
    /// Print the API's description: OpenAPI 3.1, or AsyncAPI 3.0 of the notifications
    Openapi(Openapi),
    /// Play simulated universes: random calls, random faults, every invariant checked
    Universe(Universe),
    /// The peers: how they stand, a handshake on trial, out of service and back
    #[command(subcommand)]
    Peer(Peer),
    /// Every request made for a subscriber, a session or an event
    Trace(Trace),
    /// Why a record ended as it did
    Why(Why),
    /// What is not billed yet: look, send again, export, remove
    #[command(subcommand)]
    Spool(Spool),
    /// Ask a running gateway how it is
    Status(Status),
    /// Put the promise to the test with kill -9
    #[command(subcommand, hide = true)]
    Proof(Proof),
    /// Print the version
    Version(Version),
}

/// `farebox run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) source: Source,
    /// What to log: error, warn, info, debug, or module=level
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,
    /// How to log; by default text on a terminal, json elsewhere
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// Where the configuration is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Source {
    /// The configuration: a file, or a folder of files merged in name order
    #[arg(long, short, value_name = "PATH", default_value = "/etc/farebox/farebox.yaml")]
    pub(crate) config: PathBuf,
    /// Folder of the store, instead of `store.path`
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// `farebox demo`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Demo {
    /// Play, print and exit: 0 if every flow was charged once, else 3
    #[arg(long)]
    pub(crate) once: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Only these flows
    #[arg(long, value_name = "FLOW", value_delimiter = ',')]
    pub(crate) flow: Vec<Flow>,
    /// Let the CDF simulator lose one CDR: the demo must notice and end with 3
    #[arg(long)]
    pub(crate) lose_cdr: bool,
}

/// The ways in which a CPM session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Flow {
    /// The client sends BYE
    ClientClose,
    /// The server sends BYE, the client answers OK
    ServerClose,
    /// The server sends BYE, no OK ever comes
    ServerCloseNoOk,
    /// Both send BYE at the same time
    CrossingByes,
    /// The OCS is silent at the Termination Request
    SilentOcs,
}

/// `farebox sim`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Sim {
    /// An online charging system with a ledger
    Ocs(SimOcs),
    /// A charging data function that writes CDRs
    Cdf(SimCdf),
    /// Accounts of a running OCS simulator
    #[command(subcommand)]
    Account(SimAccount),
    /// Faults of running simulators
    #[command(subcommand)]
    Fault(SimFault),
}

/// What both simulators take.
#[derive(Clone, Debug, Args)]
pub(crate) struct SimServer {
    /// A scenario file: its servers of this kind are started, and the flags below do not count
    #[arg(value_name = "SCENARIO")]
    pub(crate) scenario: Option<PathBuf>,
    /// Origin-Host
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Origin-Realm
    #[arg(long, value_name = "NAME", default_value = "example.net")]
    pub(crate) realm: String,
    /// Also listen here for `sim account` and `sim fault`; loopback only
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) control: Option<SocketAddr>,
}

/// `farebox sim ocs`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SimOcs {
    #[command(flatten)]
    pub(crate) server: SimServer,
    /// Where to listen
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:13868")]
    pub(crate) listen: SocketAddr,
    /// An account with its balance; may be repeated
    #[arg(long, value_name = "ID=AMOUNT", default_value = "+12025550123=10.00EUR")]
    pub(crate) account: Vec<String>,
}

/// `farebox sim cdf`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SimCdf {
    #[command(flatten)]
    pub(crate) server: SimServer,
    /// Where to listen
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:13869")]
    pub(crate) listen: SocketAddr,
    /// Where the CDRs go, one JSON object a line
    #[arg(long, value_name = "FILE", default_value = "cdr.ndjson")]
    pub(crate) out: PathBuf,
}

/// Where running simulators are controlled.
#[derive(Clone, Debug, Args)]
pub(crate) struct SimControl {
    /// The address given to the simulator's --control
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:13800")]
    pub(crate) control: SocketAddr,
}

/// `farebox sim account`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SimAccount {
    /// Every account with its balance and what is reserved
    Ls(SimControl),
    /// Set a balance: `+12025550123 0`, `+12025550123 "5.00 EUR"`
    Set {
        /// MSISDN or SIP URI
        #[arg(allow_hyphen_values = true)]
        account: String,
        /// An amount; EUR if no currency is given
        balance: String,
        #[command(flatten)]
        control: SimControl,
    },
}

/// `farebox sim fault`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SimFault {
    /// Every fault with how often it acted
    Ls(SimControl),
    /// Add one, as in a scenario: `{when: {command: CCR-T}, do: {drop: true}}`
    Add {
        /// YAML or JSON
        fault: String,
        #[command(flatten)]
        control: SimControl,
    },
    /// Take all away
    Clear(SimControl),
}

/// `farebox check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Check {
    /// Files or folders
    #[arg(value_name = "PATH", default_value = "/etc/farebox/farebox.yaml")]
    pub(crate) path: Vec<PathBuf>,
    /// Form of the findings
    #[arg(long, default_value = "human")]
    pub(crate) format: Format,
    /// `warnings`: a warning fails the check too
    #[arg(long, value_name = "WHAT")]
    pub(crate) deny: Option<Deny>,
}

/// What fails a check beside errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Deny {
    Warnings,
}

/// `farebox encode`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Encode {
    /// The trigger's body, JSON; `-` reads stdin
    #[arg(value_name = "BODY")]
    pub(crate) body: PathBuf,
    /// What the trigger is
    #[arg(long)]
    pub(crate) op: Op,
    /// The start's body, for an interim or a terminate
    #[arg(long, value_name = "FILE")]
    pub(crate) session: Option<PathBuf>,
    /// Only the message to this peer
    #[arg(long, value_name = "NAME")]
    pub(crate) peer: Option<String>,
    /// The configuration: a file, or a folder of files merged in name order
    #[arg(long, short, value_name = "PATH", default_value = "/etc/farebox/farebox.yaml")]
    pub(crate) config: PathBuf,
    /// How much of the bytes to print below the tree
    #[arg(long, value_name = "HOW", default_value = "full")]
    pub(crate) hex: Hex,
    /// Write the bytes to a .bin or .hex file instead of printing
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Form of the output
    #[arg(long, default_value = "human")]
    pub(crate) format: Format,
}

/// The four calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Op {
    Start,
    Interim,
    Terminate,
    Event,
}

/// How much hex to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hex {
    /// Every byte
    Full,
    /// None
    Off,
}

/// `farebox decode`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Decode {
    /// Hex, or files (.bin, .hex, .txt); nothing or `-` reads stdin
    #[arg(value_name = "HEX|FILE")]
    pub(crate) input: Vec<String>,
    /// Judge each message: required AVPs, lengths, flags, occurrence; 3 if wrong
    #[arg(long)]
    pub(crate) check: bool,
    /// How much of the bytes to print below the tree
    #[arg(long, value_name = "HOW", default_value = "off")]
    pub(crate) hex: Hex,
    /// Form of the output
    #[arg(long, default_value = "human")]
    pub(crate) format: Format,
}

/// `farebox explain`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Explain {
    /// FB0107, 5002, a name like DIAMETER_UNKNOWN_SESSION_ID; `results`: what every result code does
    /// to every request; nothing lists all
    #[arg(value_name = "CODE")]
    pub(crate) code: Option<String>,
    /// Form of `results`
    #[arg(long, default_value = "human")]
    pub(crate) format: Format,
}

/// `farebox dict`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Dict {
    /// An AVP by code, code:vendor, name, or part of its name
    Show(DictShow),
}

/// `farebox dict show`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DictShow {
    /// 2102, 2102:10415, Application-Service-Type, service-type
    #[arg(value_name = "AVP")]
    pub(crate) avp: String,
}

/// `farebox config`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Config {
    /// Print the configuration
    Show(ConfigShow),
}

/// `farebox config show`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConfigShow {
    #[command(flatten)]
    pub(crate) source: Source,
    /// With every default
    #[arg(long)]
    pub(crate) effective: bool,
}

/// `farebox universe`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Universe {
    /// How many universes
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub(crate) seeds: u64,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) from: u64,
    /// Only this one, with its last events if it fails
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// With --seed: the fewest faults and calls that still fail
    #[arg(long)]
    pub(crate) shrink: bool,
    /// With --seed: so many of the last events
    #[arg(long, value_name = "N")]
    pub(crate) trace: Option<usize>,
    /// Plant 19 bugs, one after the other, and show the seed that catches each: needs a build
    /// with the feature `planted-bugs`
    #[arg(long)]
    pub(crate) bugs: bool,
    /// End after so many failures, not after five
    #[arg(long, value_name = "N")]
    pub(crate) keep_going: Option<usize>,
    /// Form of the report
    #[arg(long, default_value = "human")]
    pub(crate) format: Format,
}

/// `farebox peer`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Peer {
    /// Every peer with its state, why, and when it is tried again
    Ls(Admin),
    /// One peer: CER beside CEA, last error and whose it is, changes of state
    Show {
        /// Name in the configuration
        name: String,
        #[command(flatten)]
        admin: Admin,
    },
    /// One handshake, no gateway needed: the verdict and the configuration line to change
    Probe(PeerProbe),
    /// Nothing of new sessions goes there; what it serves goes on
    Drain(PeerAct),
    /// In service again
    Ready(PeerAct),
    /// Disconnect it (DPR) and leave it alone until `ready`
    Maint(PeerAct),
    /// Cut its connection and make another
    Reset(PeerAct),
}

/// A running gateway's admin port.
#[derive(Clone, Debug, Args)]
pub(crate) struct Admin {
    /// The admin port
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8869")]
    pub(crate) admin_url: String,
    /// Token of `admin.roles`, if the port asks for one
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub(crate) admin_token: Option<String>,
    /// Form of the output
    #[arg(long, default_value = "human")]
    pub(crate) format: Format,
}

/// `farebox peer probe`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PeerProbe {
    /// Name in the configuration
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) source: Source,
    /// Seconds for each step
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub(crate) timeout: u64,
    /// Also while a gateway here has the peer open
    #[arg(long)]
    pub(crate) force: bool,
    /// Form of the output
    #[arg(long, default_value = "human")]
    pub(crate) format: Format,
}

/// `farebox peer drain` and its like.
#[derive(Clone, Debug, Args)]
pub(crate) struct PeerAct {
    /// Name in the configuration
    pub(crate) name: String,
    /// Do it; `maint` and `reset` ask for this
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) admin: Admin,
}

/// `farebox trace`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  farebox trace +12025550123 --since 30m
  farebox trace 9f1c4a7e-7d0e-4c1b-9a55-0c6d0a3b2f11")]
pub(crate) struct Trace {
    /// MSISDN, SIP URI, CPM session or event id, Diameter Session-Id, record id
    #[arg(value_name = "WHO", allow_hyphen_values = true)]
    pub(crate) who: String,
    /// Only what was made in this time: 30m, 24h
    #[arg(long, value_name = "DURATION")]
    pub(crate) since: Option<String>,
    /// Records at most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) admin: Admin,
}

/// `farebox why`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Why {
    /// The record, as `trace` and `spool ls` show it
    #[arg(value_name = "RECORD")]
    pub(crate) record: String,
    #[command(flatten)]
    pub(crate) admin: Admin,
}

/// `farebox spool`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Spool {
    /// How much waits and how much is dead, by interface
    Status(Admin),
    /// The records that wait, or the dead ones
    Ls(SpoolList),
    /// One record, and why it is where it is
    Show {
        /// The record
        #[arg(value_name = "RECORD")]
        id: String,
        #[command(flatten)]
        admin: Admin,
    },
    /// Send dead records again, as they are stored, T set
    ///
    /// On ch1 every dead record. On ch2 only a refund, a debit that was buffered, and a CCR-T whose
    /// units are in no backup record: debiting an hour later what the user was denied is worse than
    /// losing it, and the backup record is the safety net. A CCR-I or CCR-U is never sent again.
    Replay(SpoolReplay),
    /// Records with their octets, one JSON object a line
    Export(SpoolExport),
    /// Remove dead records for good
    Purge(SpoolReplay),
    /// Check a store's folder: every checksum, every open record with its session
    Verify(SpoolVerify),
}

/// Which records.
#[derive(Clone, Debug, Args)]
pub(crate) struct Pick {
    /// Only those that fit: 'result == 5004 && command == ACR-EVENT'
    #[arg(long = "match", value_name = "CONDITION")]
    pub(crate) matching: Option<String>,
}

/// `farebox spool ls`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SpoolList {
    /// Dead records instead of waiting ones
    #[arg(long)]
    pub(crate) dead: bool,
    /// Records at most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) pick: Pick,
    #[command(flatten)]
    pub(crate) admin: Admin,
}

/// `farebox spool replay` and `purge`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SpoolReplay {
    /// These records
    #[arg(value_name = "RECORD", conflicts_with_all = ["dead", "matching"])]
    pub(crate) records: Vec<String>,
    /// All dead records, or those that --match says
    #[arg(long)]
    pub(crate) dead: bool,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// Only say what would be done; so it is without --yes
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do it
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) admin: Admin,
}

/// `farebox spool export`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SpoolExport {
    /// Dead records instead of waiting ones
    #[arg(long)]
    pub(crate) dead: bool,
    /// Write to a new file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) admin: Admin,
}

/// `farebox spool verify`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SpoolVerify {
    /// `store.path`
    #[arg(value_name = "DIR", default_value = "./farebox-data")]
    pub(crate) folder: PathBuf,
    /// Form of the output
    #[arg(long, default_value = "human")]
    pub(crate) format: Format,
}

/// `farebox status`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Status {
    /// The admin port
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8869")]
    pub(crate) admin_url: String,
    /// Only whether the process is alive: 0 or 69, for a container's health check
    #[arg(long)]
    pub(crate) check: bool,
}

/// `farebox proof`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Proof {
    /// Kill the gateway under load, again and again; 3 if a charge is lost or doubled
    Kill9(Kill9),
    /// Scripted sessions: the OCS's balance must equal the units that the API reported; 3 if not
    Ledger(Ledger),
    /// Judge the books of an earlier proof
    Check(ProofCheck),
    /// Let records wait, kill the gateway, and measure its start and its drain
    Spool(ProofSpool),
}

/// `farebox proof spool`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProofSpool {
    /// Records that wait
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) records: u64,
    /// New events a second while they drain
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) rate: u64,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `farebox proof kill9`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Kill9 {
    /// How often the gateway is killed under load
    #[arg(long, value_name = "N", default_value = "50")]
    pub(crate) rounds: u32,
    /// Seed of load and kills; by default the time
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// CPM servers that send triggers at the same time
    #[arg(long, value_name = "N", default_value = "48")]
    pub(crate) players: u32,
    /// Keep the books and the log in this new folder
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `farebox proof ledger`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Ledger {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `farebox proof check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProofCheck {
    /// The folder of the proof
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `farebox openapi`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Openapi {
    /// The notifications instead, as AsyncAPI in YAML
    #[arg(long)]
    pub(crate) notifications: bool,
}

/// `farebox version`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Version {
    /// Form of the output
    #[arg(long, default_value = "human")]
    pub(crate) format: Format,
}

/// The command line of this process.
///
/// # Errors
/// Usage, help and version, as clap prints them.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&command().try_get_matches()?)
}

/// The whole command with an environment variable for every long flag.
pub(crate) fn command() -> clap::Command {
    with_env(Cli::command())
}

/// One rule for all: `--log-format` is also `FAREBOX_LOG_FORMAT`.
fn with_env(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| match arg.get_long() {
            None | Some("help" | "version") => arg,
            Some(long) => {
                let name = format!("FAREBOX_{}", long.to_uppercase().replace('-', "_"));
                let arg = arg.env(name).hide_env(true);
                match arg.get_action() {
                    // FAREBOX_QUIET=0 is off, FAREBOX_QUIET=1 is on.
                    ArgAction::SetTrue => arg.value_parser(FalseyValueParser::new()),
                    _ => arg,
                }
            }
        })
        .mut_subcommands(with_env)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_env(command: &clap::Command, seen: &mut usize) {
        for arg in command.get_arguments() {
            if let Some(long) = arg.get_long().filter(|long| !matches!(*long, "help" | "version")) {
                let expected = format!("FAREBOX_{}", long.to_uppercase().replace('-', "_"));
                let env = arg.get_env().map(|env| env.to_string_lossy().into_owned());
                assert_eq!(env, Some(expected), "{} --{long}", command.get_name());
                *seen += 1;
            }
        }
        for sub in command.get_subcommands() {
            check_env(sub, seen);
        }
    }

    #[test]
    fn every_long_flag_has_its_variable() {
        let command = command();
        command.clone().debug_assert();
        let mut seen = 0;
        check_env(&command, &mut seen);
        assert!(seen > 20, "{seen} flags");
    }

    #[test]
    fn help_fits_one_screen() {
        let mut command = command();
        command.build();
        for sub in command.get_subcommands_mut() {
            let lines = sub.render_help().to_string().lines().count();
            assert!(lines <= 50, "{}: {lines} lines", sub.get_name());
        }
    }
}
