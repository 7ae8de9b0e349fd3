//! Scenario files: servers, accounts, tariffs and faults (product.md 2.8).
//!
//! Text in, structs out; every problem is reported at its place. `play` and `expect` belong to
//! the player and are only looked at for their form here.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::diagnostic::document::Node;
use crate::sim::account::AccountSpec;
use crate::sim::account::AccountState;
use crate::sim::account::OcsConfig;
use crate::sim::account::RefuseAt;
use crate::sim::cdf::CdfConfig;
use crate::sim::fault::Fault;
use crate::sim::fault_file::FINAL_UNIT_ACTIONS;
use crate::sim::fault_file::fault;
use crate::sim::ledger::Amount;
use crate::sim::ledger::Currency;
use crate::sim::rating::FinalUnit;
use crate::sim::rating::Tariff;
use crate::sim::rating::Unit;
use crate::sim::reading::Reading;
use crate::sim::server::Latency;

/// A scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub about: Option<String>,
    /// The servers in the order of the file.
    pub servers: Vec<ServerSpec>,
    /// The faults in the order of the file.
    pub faults: Vec<Fault>,
    /// Has it something for the player?
    pub plays: bool,
}

/// One server of a scenario.
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// Its key.
    pub name: String,
    /// `ip:port`; `None` where the command line or the test decides.
    pub listen: Option<String>,
    /// Origin-Host.
    pub host: String,
    /// Origin-Realm.
    pub realm: String,
    /// Answers take this long.
    pub latency: Option<Latency>,
    /// What it is.
    pub role: Role,
}

/// OCS or CDF, with its behaviour.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // A handful per scenario.
pub enum Role {
    /// An OCS.
    Ocs {
        /// Accounts, tariffs, behaviour.
        config: OcsConfig,
        /// All servers that say `session_store: shared` have one ledger and one set of sessions.
        shared: bool,
    },
    /// A CDF.
    Cdf {
        /// Behaviour.
        config: CdfConfig,
        /// File for the CDRs.
        out: Option<String>,
    },
}

impl Scenario {
    /// Reads a scenario; `name` is the file's name in the diagnostics.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(name: &str, text: &str) -> Result<Scenario, Vec<Diagnostic>> {
        let node = Node::parse(name, text).map_err(|problem| vec![problem])?;
        let mut reading = Reading::default();
        let scenario = scenario(&mut reading, &node);
        if reading.found.is_empty() { Ok(scenario) } else { Err(reading.found) }
    }

    /// The faults of one server, in the order of the file.
    pub fn faults_of(&self, server: &str) -> Vec<Fault> {
        let of_server =
            |fault: &&Fault| fault.server.as_ref().is_none_or(|wanted| wanted == server);
        self.faults.iter().filter(of_server).cloned().collect()
    }
}

fn scenario(reading: &mut Reading, node: &Node) -> Scenario {
    let known = ["scenario", "about", "accounts", "tariffs", "servers", "faults", "play", "expect"];
    reading.keys(node, &known);
    let field = |key: &str| node.field(key);
    let mut text = |key: &str| field(key).and_then(|value| reading.text(value));
    let (name, about) = (text("scenario"), text("about"));
    // Amounts first: they settle the currency for all servers.
    let (accounts, others) =
        field("accounts").map_or_else(Default::default, |node| accounts(reading, node));
    let tariffs = field("tariffs").map(|node| tariffs(reading, node));
    let mut books = OcsConfig::standard(Currency::EUR);
    books.accounts = accounts;
    books.others = others;
    if let Some((tariffs, other)) = tariffs {
        books.tariffs = tariffs;
        books.other_tariff = other;
    }
    books.currency = reading.currency();
    let servers: Vec<ServerSpec> = match field("servers") {
        Some(node) => reading
            .entries(node)
            .iter()
            .map(|entry| server(reading, &entry.key, &entry.value, &books))
            .collect(),
        None => Vec::new(),
    };
    let faults = match field("faults") {
        Some(node) => faults(reading, node, &servers),
        None => Vec::new(),
    };
    for key in ["play", "expect"] {
        if let Some(node) = field(key) {
            reading.list(node);
        }
    }
    Scenario {
        name: name.unwrap_or_default(),
        about,
        servers,
        faults,
        plays: field("play").is_some(),
    }
}

type Accounts = (BTreeMap<String, AccountSpec>, Option<AccountSpec>);

fn accounts(reading: &mut Reading, node: &Node) -> Accounts {
    let mut named = BTreeMap::new();
    let mut others = None;
    for entry in reading.entries(node) {
        let mut spec = AccountSpec { balance: Amount::ZERO, state: AccountState::Active };
        for field in reading.keys(&entry.value, &["balance", "state"]) {
            match field.key.as_str() {
                "balance" => spec.balance = reading.money(&field.value).unwrap_or_default(),
                _ => spec.state = account_state(reading, &field.value).unwrap_or(spec.state),
            }
        }
        match entry.key.as_str() {
            "*" => others = Some(spec),
            id => {
                named.insert(id.to_owned(), spec);
            }
        }
    }
    (named, others)
}

/// The words for the state of an account.
pub const ACCOUNT_STATES: &[(&str, AccountState)] = &[
    ("active", AccountState::Active),
    ("unknown", AccountState::Unknown),
    ("blocked", AccountState::Blocked),
    ("free", AccountState::Free),
];

/// Reads a change of an account, `{balance: "5.00 EUR", state: blocked}`, from YAML or JSON.
///
/// # Errors
/// Everything that is wrong with it, another currency than the ledger's included.
pub fn read_account_change(
    name: &str,
    text: &str,
    currency: Currency,
) -> Result<(Option<Amount>, Option<AccountState>), Vec<Diagnostic>> {
    let node = Node::parse(name, text).map_err(|problem| vec![problem])?;
    let mut reading = Reading::default();
    reading.expect_currency(currency);
    let (mut balance, mut state) = (None, None);
    for field in reading.keys(&node, &["balance", "state"]) {
        match field.key.as_str() {
            "balance" => balance = reading.money(&field.value),
            _ => state = account_state(&mut reading, &field.value),
        }
    }
    if reading.found.is_empty() { Ok((balance, state)) } else { Err(reading.found) }
}

fn account_state(reading: &mut Reading, node: &Node) -> Option<AccountState> {
    reading.one_of(node, ACCOUNT_STATES)
}

fn tariffs(reading: &mut Reading, node: &Node) -> (BTreeMap<u32, Tariff>, Option<Tariff>) {
    let mut by_group = BTreeMap::new();
    let mut other = None;
    for entry in reading.entries(node) {
        let tariff = tariff(reading, &entry.value);
        match (entry.key.as_str(), entry.key.parse::<u32>()) {
            ("*", _) => other = Some(tariff),
            (_, Ok(group)) => {
                by_group.insert(group, tariff);
            }
            _ => {
                let message = format!("`{}` is no Rating-Group", entry.key);
                let code = crate::diagnostic::Code::FB0102;
                reading.found.push(Diagnostic::error(code, message).at(&entry.key_span));
            }
        }
    }
    (by_group, other)
}

const TARIFF_KEYS: &[&str] = &[
    "unit",
    "price",
    "per",
    "grant_seconds",
    "grant_messages",
    "grant_bytes",
    "validity",
    "threshold_seconds",
    "threshold_messages",
    "threshold_bytes",
    "holding",
    "final_unit",
    "redirect",
];

fn tariff(reading: &mut Reading, node: &Node) -> Tariff {
    let mut tariff = Tariff::per_message(Amount::ZERO);
    for entry in reading.keys(node, TARIFF_KEYS) {
        let value = &entry.value;
        match entry.key.as_str() {
            "unit" => {
                let units = [
                    ("messages", Unit::Messages),
                    ("seconds", Unit::Seconds),
                    ("bytes", Unit::Bytes),
                    ("money", Unit::Money),
                ];
                tariff.unit = reading.one_of(value, &units).unwrap_or(tariff.unit);
            }
            "price" => tariff.price = reading.money(value).unwrap_or_default(),
            "per" => tariff.per = reading.count(value).unwrap_or(1),
            "grant_seconds" => tariff.grant_seconds = reading.u32(value),
            "grant_messages" => tariff.grant_messages = reading.u64(value),
            "grant_bytes" => tariff.grant_bytes = reading.u64(value),
            "validity" => tariff.validity_seconds = reading.seconds(value),
            "threshold_seconds" => tariff.threshold_seconds = reading.u32(value),
            "threshold_messages" => tariff.threshold_messages = reading.u32(value),
            "threshold_bytes" => tariff.threshold_bytes = reading.u32(value),
            "holding" => tariff.holding_seconds = reading.seconds(value),
            "final_unit" => {
                if let Some(action) = reading.one_of(value, FINAL_UNIT_ACTIONS) {
                    tariff.final_unit = FinalUnit { action, ..tariff.final_unit };
                }
            }
            "redirect" => tariff.final_unit.redirect = redirect(reading, value),
            _ => {}
        }
    }
    if tariff.unit != Unit::Money && node.map().is_some() && node.field("price").is_none() {
        reading.missing(node, "price");
    }
    tariff
}

/// `{type: url, address: "https://…"}`.
fn redirect(reading: &mut Reading, node: &Node) -> Option<(i32, String)> {
    let (mut kind, mut address) = (2, None);
    for entry in reading.keys(node, &["type", "address"]) {
        match entry.key.as_str() {
            "type" => {
                let kinds = [("ipv4", 0), ("ipv6", 1), ("url", 2), ("sip", 3)];
                kind = reading.one_of(&entry.value, &kinds)?;
            }
            _ => address = reading.text(&entry.value),
        }
    }
    if address.is_none() {
        reading.missing(node, "address");
    }
    Some((kind, address?))
}

const SERVER_KEYS: &[&str] = &["role", "listen", "host", "realm", "latency"];
const OCS_KEYS: &[&str] = &[
    "session_store",
    "failure_handling",
    "direct_debiting_failure_handling",
    "session_failover",
    "refuse_at",
    "low_balance",
    "shows_money",
    "tcc",
];
const CDF_KEYS: &[&str] = &["out", "interim_interval", "realtime_required", "supervision"];

fn server(reading: &mut Reading, name: &str, node: &Node, books: &OcsConfig) -> ServerSpec {
    let roles = [("ocs", true), ("cdf", false)];
    let is_ocs = match node.field("role") {
        Some(role) => reading.one_of(role, &roles).unwrap_or(true),
        None => {
            if node.map().is_some() {
                reading.missing(node, "role");
            }
            true
        }
    };
    let known = [SERVER_KEYS, if is_ocs { OCS_KEYS } else { CDF_KEYS }].concat();
    reading.keys(node, &known);
    let mut text = |key: &str| node.field(key).and_then(|value| reading.text(value));
    let listen = text("listen");
    let host = text("host").unwrap_or_else(|| format!("{name}.sim"));
    let realm = text("realm").unwrap_or_else(|| "sim".to_owned());
    let latency = node.field("latency").map(|value| latency(reading, value));
    let role = if is_ocs { ocs(reading, node, books) } else { cdf(reading, node) };
    ServerSpec { name: name.to_owned(), listen, host, realm, latency, role }
}

fn latency(reading: &mut Reading, node: &Node) -> Latency {
    let mut latency = Latency::default();
    for entry in reading.keys(node, &["p50", "p99"]) {
        let value = reading.duration(&entry.value).unwrap_or(Duration::ZERO);
        match entry.key.as_str() {
            "p50" => latency.p50 = value,
            _ => latency.p99 = value,
        }
    }
    latency.p99 = latency.p99.max(latency.p50);
    latency
}

fn ocs(reading: &mut Reading, node: &Node, books: &OcsConfig) -> Role {
    let mut config = books.clone();
    let mut shared = false;
    for entry in node.map().unwrap_or(&[]) {
        let value = &entry.value;
        match entry.key.as_str() {
            "session_store" => {
                let stores = [("private", false), ("shared", true)];
                shared = reading.one_of(value, &stores).unwrap_or(false);
            }
            "failure_handling" => {
                let rules = [("terminate", 0), ("continue", 1), ("retry_and_terminate", 2)];
                config.failure_handling = reading.one_of(value, &rules);
            }
            "direct_debiting_failure_handling" => {
                let rules = [("terminate_or_buffer", 0), ("continue", 1)];
                config.direct_debiting_failure_handling = reading.one_of(value, &rules);
            }
            "session_failover" => config.session_failover = reading.boolean(value),
            "refuse_at" => {
                let places = [("command", RefuseAt::Command), ("service", RefuseAt::Service)];
                config.refuse_at = reading.one_of(value, &places).unwrap_or(config.refuse_at);
            }
            "low_balance" => {
                reading.expect_currency(books.currency);
                config.low_balance = reading.money(value);
            }
            "shows_money" => config.shows_money = reading.boolean(value).unwrap_or(true),
            "tcc" => config.tcc = reading.duration(value),
            _ => {}
        }
    }
    Role::Ocs { config, shared }
}

fn cdf(reading: &mut Reading, node: &Node) -> Role {
    let mut config = CdfConfig::default();
    let mut out = None;
    for entry in node.map().unwrap_or(&[]) {
        let value = &entry.value;
        match entry.key.as_str() {
            "out" => out = reading.text(value),
            "interim_interval" => config.interim_interval = reading.seconds(value),
            "realtime_required" => {
                let rules =
                    [("deliver_and_grant", 1), ("grant_and_store", 2), ("grant_and_lose", 3)];
                config.realtime_required = reading.one_of(value, &rules);
            }
            "supervision" => config.supervision = reading.duration(value),
            _ => {}
        }
    }
    Role::Cdf { config, out }
}

fn faults(reading: &mut Reading, node: &Node, servers: &[ServerSpec]) -> Vec<Fault> {
    let names: Vec<(&str, ())> = servers.iter().map(|server| (server.name.as_str(), ())).collect();
    let mut faults = Vec::new();
    for node in reading.list(node) {
        if let Some(server) = node.field("server") {
            reading.one_of(server, &names);
        }
        faults.extend(fault(reading, node));
    }
    faults
}
