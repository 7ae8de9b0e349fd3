//! Controls running simulators over HTTP, on loopback only: accounts, faults, ledger, records.
//!
//! For `farebox sim account …` and `farebox sim fault …`. Bodies are YAML or JSON in the form of a
//! scenario file; answers are JSON; what is wrong comes back as text, 400 or 404.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::diagnostic::render::{Sources, render};
use crate::diagnostic::{Code, Diagnostic};

use super::account::{AccountState, AccountView};
use super::cdr::Cdr;
use super::fault::{Listed, Sessions};
use super::fault_file::read_fault;
use super::judge::Anomaly;
use super::ledger::{Account, Amount, Currency, Entry};
use super::run::{CdfServer, OcsServer, Running};
use super::scenario::{ACCOUNT_STATES, read_account_change};

/// Octets of a request body.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Entries or records in one answer: the newest.
const ITEMS_MAX: usize = 1_000;

/// A running control port.
#[derive(Debug)]
pub struct Control {
    local_addr: SocketAddr,
    stop: oneshot::Sender<()>,
}

impl Control {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Ends it.
    pub fn shutdown(self) {
        let _ = self.stop.send(());
    }
}

type Servers = Arc<Vec<(String, Running)>>;

/// Serves the control port of these servers; the names are those of the scenario.
///
/// # Errors
/// When the address is not a loopback address, or cannot be listened on.
pub async fn serve(listen: SocketAddr, servers: Vec<(String, Running)>) -> io::Result<Control> {
    if !listen.ip().is_loopback() {
        let message = "the control port has no protection and listens on loopback only";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let listener = TcpListener::bind(listen).await?;
    let local_addr = listener.local_addr()?;
    let app = Router::new()
        .route("/accounts", get(accounts))
        .route("/accounts/{id}", get(account).put(set_account))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/faults/{server}/{id}", delete(remove_fault))
        .route("/ledger", get(ledger))
        .route("/records", get(records))
        .route("/anomalies", get(anomalies))
        .route("/counts", get(counts))
        .route("/rar", post(rar))
        .route("/asr", post(asr))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(servers));
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let end = async move {
            let _ = stopped.await;
        };
        let _ = axum::serve(listener, app).with_graceful_shutdown(end).await;
    });
    Ok(Control { local_addr, stop })
}

fn ocs(servers: &Servers) -> Vec<(&str, &OcsServer)> {
    servers
        .iter()
        .filter_map(|(name, server)| match server {
            Running::Ocs(server) => Some((name.as_str(), server)),
            Running::Cdf(_) => None,
        })
        .collect()
}

fn cdf(servers: &Servers) -> Vec<(&str, &CdfServer)> {
    servers
        .iter()
        .filter_map(|(name, server)| match server {
            Running::Cdf(server) => Some((name.as_str(), server)),
            Running::Ocs(_) => None,
        })
        .collect()
}

fn refused(status: StatusCode, text: impl Into<String>) -> Response {
    (status, text.into()).into_response()
}

fn invalid(name: &str, body: &str, found: &[Diagnostic]) -> Response {
    let sources = Sources::from([(name.to_owned(), body.to_owned())]);
    let text: Vec<String> = found.iter().map(|one| render(one, &sources, false)).collect();
    refused(StatusCode::BAD_REQUEST, text.join("\n"))
}

// ---- accounts ----

async fn accounts(State(servers): State<Servers>) -> Response {
    let mut all = Vec::new();
    for (name, server) in ocs(&servers) {
        let currency = server.ledger().currency();
        all.extend(server.accounts().iter().map(|account| account_json(name, account, currency)));
    }
    Json(all).into_response()
}

async fn account(State(servers): State<Servers>, Path(id): Path<String>) -> Response {
    let found = ocs(&servers).into_iter().find_map(|(name, server)| {
        let account = server.account(&id)?;
        Some(account_json(name, &account, server.ledger().currency()))
    });
    match found {
        Some(account) => Json(account).into_response(),
        None => refused(StatusCode::NOT_FOUND, format!("no account `{id}`")),
    }
}

/// Opens or changes the account at every OCS.
async fn set_account(
    State(servers): State<Servers>,
    Path(id): Path<String>,
    body: String,
) -> Response {
    let servers = ocs(&servers);
    let Some((name, first)) = servers.first() else {
        return refused(StatusCode::NOT_FOUND, "no OCS runs here");
    };
    let currency = first.ledger().currency();
    let (balance, state) = match read_account_change("body", &body, currency) {
        Ok(change) => change,
        Err(found) => return invalid("body", &body, &found),
    };
    for (_, server) in &servers {
        server.set_account(&id, balance, state);
    }
    match first.account(&id) {
        Some(account) => Json(account_json(name, &account, currency)).into_response(),
        None => refused(StatusCode::INTERNAL_SERVER_ERROR, "the account was not opened"),
    }
}

fn account_json(server: &str, account: &AccountView, currency: Currency) -> Value {
    json!({
        "server": server,
        "id": &*account.id,
        "state": state_name(account.state),
        "balance": money(account.balance, currency),
        "reserved": money(account.reserved, currency),
    })
}

fn state_name(state: AccountState) -> &'static str {
    ACCOUNT_STATES.iter().find(|(_, known)| *known == state).map_or("active", |(name, _)| name)
}

fn money(amount: Amount, currency: Currency) -> String {
    format!("{} {currency}", amount.decimal(currency))
}

// ---- faults ----

async fn faults(State(servers): State<Servers>) -> Response {
    let mut all = Vec::new();
    for (name, server) in servers.iter() {
        let listed = match server {
            Running::Ocs(server) => server.faults(),
            Running::Cdf(server) => server.faults(),
        };
        all.extend(listed.iter().map(|fault| fault_json(name, fault)));
    }
    Json(all).into_response()
}

fn fault_json(server: &str, listed: &Listed) -> Value {
    let verbs: Vec<String> = listed.fault.verbs.iter().map(|verb| format!("{verb:?}")).collect();
    json!({
        "server": server,
        "id": listed.id,
        "acted": listed.acted,
        "command": listed.fault.when.command,
        "do": verbs,
    })
}

/// To the server that the fault names, or to all.
async fn add_fault(State(servers): State<Servers>, body: String) -> Response {
    let fault = match read_fault("body", &body) {
        Ok(fault) => fault,
        Err(found) => return invalid("body", &body, &found),
    };
    let wanted = |name: &str| fault.server.as_ref().is_none_or(|server| server == name);
    let mut added = Vec::new();
    for (name, server) in servers.iter().filter(|(name, _)| wanted(name)) {
        let id = match server {
            Running::Ocs(server) => server.add_fault(fault.clone()),
            Running::Cdf(server) => server.add_fault(fault.clone()),
        };
        match id {
            Some(id) => added.push(json!({"server": name, "id": id})),
            None => return refused(StatusCode::CONFLICT, "too many faults; delete some"),
        }
    }
    if added.is_empty() {
        let name = fault.server.unwrap_or_default();
        let message = format!("server `{name}` does not run here");
        return invalid("body", &body, &[Diagnostic::error(Code::FB0102, message)]);
    }
    (StatusCode::CREATED, Json(added)).into_response()
}

async fn clear_faults(State(servers): State<Servers>) -> Response {
    for (_, server) in servers.iter() {
        match server {
            Running::Ocs(server) => server.remove_fault(None),
            Running::Cdf(server) => server.remove_fault(None),
        };
    }
    StatusCode::NO_CONTENT.into_response()
}

async fn remove_fault(
    State(servers): State<Servers>,
    Path((wanted, id)): Path<(String, u64)>,
) -> Response {
    let removed =
        servers.iter().filter(|(name, _)| *name == wanted).any(|(_, server)| match server {
            Running::Ocs(server) => server.remove_fault(Some(id)),
            Running::Cdf(server) => server.remove_fault(Some(id)),
        });
    match removed {
        true => StatusCode::NO_CONTENT.into_response(),
        false => refused(StatusCode::NOT_FOUND, format!("no fault {id} at `{wanted}`")),
    }
}

// ---- what happened ----

async fn ledger(State(servers): State<Servers>) -> Response {
    let mut all = Vec::new();
    for (name, server) in ocs(&servers) {
        let ledger = server.ledger();
        let currency = ledger.currency();
        let mut entries: Vec<Value> = ledger
            .entries()
            .rev()
            .take(ITEMS_MAX)
            .map(|entry| entry_json(entry, currency))
            .collect();
        entries.reverse();
        all.push(json!({
            "server": name,
            "revenue": money(ledger.revenue(), currency),
            "balanced": ledger.check().is_ok(),
            "entries": entries,
        }));
    }
    Json(all).into_response()
}

fn entry_json(entry: &Entry, currency: Currency) -> Value {
    json!({
        "at": entry.cause.at.to_string(),
        "movement": entry.movement.name(),
        "session": &*entry.cause.session,
        "number": entry.cause.request_number,
        "ratingGroup": entry.cause.rating_group,
        "units": entry.cause.units,
        "price": money(entry.cause.price, currency),
        "from": side(&entry.from),
        "to": side(&entry.to),
        "amount": money(entry.amount, currency),
    })
}

fn side(account: &Account) -> String {
    account.to_string()
}

/// The newest CDRs, oldest first, each as it stands in the file.
async fn records(State(servers): State<Servers>) -> Response {
    let mut all = Vec::new();
    for (name, server) in cdf(&servers) {
        let records = server.records();
        let newest = &records[records.len().saturating_sub(ITEMS_MAX)..];
        let lines: Vec<Value> = newest.iter().filter_map(record_json).collect();
        all.push(json!({
            "server": name,
            "accepted": server.accepted(),
            "duplicates": server.duplicates(),
            "records": lines,
        }));
    }
    Json(all).into_response()
}

fn record_json(record: &Cdr) -> Option<Value> {
    serde_json::from_str(&record.json()).ok()
}

async fn anomalies(State(servers): State<Servers>) -> Response {
    let mut all = Vec::new();
    for (name, server) in servers.iter() {
        let found = match server {
            Running::Ocs(server) => server.anomalies(),
            Running::Cdf(server) => server.anomalies(),
        };
        all.extend(found.iter().map(|anomaly| anomaly_json(name, anomaly)));
    }
    Json(all).into_response()
}

fn anomaly_json(server: &str, anomaly: &Anomaly) -> Value {
    json!({
        "server": server,
        "at": anomaly.at.to_string(),
        "session": &*anomaly.session,
        "number": anomaly.number,
        "kind": anomaly.kind.name(),
        "detail": anomaly.detail,
    })
}

async fn counts(State(servers): State<Servers>) -> Response {
    let mut all = serde_json::Map::new();
    for (name, server) in servers.iter() {
        let (counts, connections) = match server {
            Running::Ocs(server) => (server.counts(), server.connections()),
            Running::Cdf(server) => (server.counts(), server.connections()),
        };
        let of_server = json!({"requests": counts, "connections": connections});
        all.insert(name.clone(), of_server);
    }
    Json(Value::Object(all)).into_response()
}

// ---- requests of the OCS ----

/// The body is a pattern for Session-Ids; empty or `any`: the session used last.
async fn rar(State(servers): State<Servers>, body: String) -> Response {
    let sessions = pattern(&body);
    let sent: usize =
        ocs(&servers).iter().map(|(_, server)| server.send_rar(&sessions, None)).sum();
    Json(json!({"sent": sent})).into_response()
}

async fn asr(State(servers): State<Servers>, body: String) -> Response {
    let sessions = pattern(&body);
    let sent: usize = ocs(&servers).iter().map(|(_, server)| server.send_asr(&sessions)).sum();
    Json(json!({"sent": sent})).into_response()
}

fn pattern(body: &str) -> Sessions {
    match body.trim() {
        "" | "any" => Sessions::Any,
        glob => Sessions::Like(glob.to_owned()),
    }
}
