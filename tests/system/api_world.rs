//! The API port over real sockets: in front of a backend that answers as it is told, or in front of
//! a whole gateway with simulators for peers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use farebox::api::backend::{Answering, Backend};
use farebox::api::{Limits, Rules, router, serve};
use farebox::charging::event::Request;
use farebox::charging::io::Notice;
use farebox::charging::outcome::{Refusal, Reply, SessionView};
use farebox::charging::policy::Retention;
use farebox::config::{Config, Environment, load};
use farebox::gateway::dry_run::DryParts;
use farebox::gateway::{Connections, Gateway, Parts, StoredRecord, dry_parts, start};
use farebox::sim::account::OcsConfig;
use farebox::sim::cdf::CdfConfig;
use farebox::sim::fault::{Fault, Verb, When};
use farebox::sim::ledger::{Currency, parse_money};
use farebox::sim::run::{CdfServer, OcsServer, Options};
use farebox::store::Interface;
use farebox::store::memory::MemoryStore;
use farebox::store::{Query, RecordId};
use farebox::telemetry::PeerNames;
use farebox::telemetry::metrics::{Metrics, Names};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, broadcast};

/// Answers every trigger with the same reply and keeps what it was asked.
pub(crate) struct Told {
    pub(crate) reply: Mutex<Reply>,
    pub(crate) view: Mutex<Result<Option<SessionView>, Refusal>>,
    pub(crate) asked: Mutex<Vec<Request>>,
    pub(crate) draining: AtomicBool,
    /// Triggers wait here while it is set.
    pub(crate) gate: Mutex<Option<Arc<Notify>>>,
    pub(crate) entered: Notify,
    pub(crate) notices: broadcast::Sender<Arc<Notice>>,
}

impl Told {
    pub(crate) fn answers(reply: Reply) -> Arc<Told> {
        Arc::new(Told {
            reply: Mutex::new(reply),
            view: Mutex::new(Ok(None)),
            asked: Mutex::new(Vec::new()),
            draining: AtomicBool::new(false),
            gate: Mutex::new(None),
            entered: Notify::new(),
            notices: broadcast::Sender::new(16),
        })
    }

    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

impl Backend for Told {
    fn trigger(&self, request: Request) -> Answering<'_, Reply> {
        self.asked.lock().expect("not poisoned").push(request);
        let gate = self.gate.lock().expect("not poisoned").clone();
        let reply = self.reply.lock().expect("not poisoned").clone();
        Box::pin(async move {
            self.entered.notify_one();
            if let Some(gate) = gate {
                gate.notified().await;
            }
            reply
        })
    }

    fn session(&self, _: String) -> Answering<'_, Result<Option<SessionView>, Refusal>> {
        let view = self.view.lock().expect("not poisoned").clone();
        Box::pin(async move { view })
    }

    fn search(&self, _: Query) -> Answering<'_, Result<Vec<StoredRecord>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn record(&self, _: RecordId) -> Answering<'_, Result<Option<StoredRecord>, Refusal>> {
        Box::pin(async { Ok(None) })
    }

    fn dry_parts(&self) -> DryParts {
        dry_parts(&config("127.0.0.1:1".parse().expect("one"), "127.0.0.1:1".parse().expect("one")))
    }

    fn notices(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.notices.subscribe()
    }

    fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: Arc<Notify>,
    pub(crate) served: tokio::task::JoinHandle<()>,
}

pub(crate) async fn port(backend: Arc<Told>, rules: Rules, limits: Limits) -> Port {
    port_of(backend, Arc::new(Metrics::new(Names::default())), rules, limits).await
}

async fn port_of(
    backend: Arc<dyn Backend>,
    metrics: Arc<Metrics>,
    rules: Rules,
    limits: Limits,
) -> Port {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let router = router(backend, metrics.clone(), rules);
    let stop = Arc::new(Notify::new());
    let stopped = stop.clone();
    let shutdown = async move { stopped.notified().await };
    let served = tokio::spawn(serve(listener, router, limits, shutdown));
    Port { address, metrics, stop, served }
}

pub(crate) async fn plain_port(backend: Arc<Told>) -> Port {
    port(backend, Rules::default(), Limits::default()).await
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Last part of the problem's `type`.
    pub(crate) fn kind(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], json!(self.status));
        let kind = problem["type"].as_str().expect("a type");
        kind.strip_prefix("/problems/").expect("a problem page").to_owned()
    }

    pub(crate) fn pointers(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().filter_map(|e| e["pointer"].as_str().map(str::to_owned)).collect()
    }
}

impl Response {
    /// The answers of a batch.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.body).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Port {
    pub(crate) async fn batch(&self, lines: &str) -> Response {
        self.call("POST", "/v1/batch", &[("content-type", "application/x-ndjson")], lines).await
    }

    pub(crate) async fn send(&self, bytes: &[u8]) -> Response {
        let mut stream = TcpStream::connect(self.address).await.expect("connected");
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        parse(&answer)
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: cg1\r\nconnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(body);
        self.send(text.as_bytes()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Response {
        self.call("POST", path, &[("content-type", "application/json")], body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.call("GET", path, &[], "").await
    }
}

pub(crate) fn parse(bytes: &[u8]) -> Response {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n").unwrap_or_else(|| {
        panic!("no answer: {:?}", String::from_utf8_lossy(bytes));
    });
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let headers: BTreeMap<String, String> = headers;
    let body = match headers.get("transfer-encoding").map(String::as_str) {
        Some("chunked") => dechunk(&bytes[end + 4..]),
        _ => bytes[end + 4..].to_vec(),
    };
    Response { status: status.parse().expect("a number"), headers, body }
}

/// Chunks of RFC 9112, 7.1, as far as they came.
pub(crate) fn dechunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).expect("hex");
        let size = usize::from_str_radix(size, 16).expect("hex");
        let rest = &bytes[end + 2..];
        if size == 0 || rest.len() < size {
            break;
        }
        whole.extend_from_slice(&rest[..size]);
        bytes = &rest[size + 2..];
    }
    whole
}

/// The account that pays.
pub(crate) const ANNE: &str = "+12025550123";

/// A gateway's configuration, its peers at these addresses.
pub(crate) fn config(ocs: SocketAddr, cdf: SocketAddr) -> Config {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let file =
        std::env::temp_dir().join(format!("farebox-api-{}-{number}.yaml", std::process::id()));
    let text = format!(
        "version: 1
identity: {{host: cg1.ims.example.net, realm: ims.example.net}}
peers:
  ocs-sim: {{address: \"{ocs}\", host: ocs-sim.example.net, realm: example.net, applications: [{{auth: 4}}], timeout: 500ms}}
  cdf-sim: {{address: \"{cdf}\", host: cdf-sim.example.net, realm: example.net, applications: [{{acct: 3}}], timeout: 500ms}}
routes:
  - {{interface: ch1, peers: [cdf-sim]}}
  - {{interface: ch2, peers: [ocs-sim]}}
policy:
  services:
    chat: {{interfaces: [ch1, ch2], model: scur, rating_group: 700, service_id: 7}}
    standalone-message: {{interfaces: [ch1, ch2], model: iec, rating_group: 701, service_id: 9}}
    notification: {{interfaces: [ch1]}}
termination: {{ok_timeout: 1s, settle_within: 3s}}
"
    );
    std::fs::write(&file, text).expect("written");
    let loaded = load(std::slice::from_ref(&file), &Environment::new(|_| None));
    let _ = std::fs::remove_file(&file);
    loaded
        .config
        .unwrap_or_else(|| panic!("the configuration holds: {:?}", loaded.report.diagnostics))
}

/// A gateway on a store in memory, with an OCS and a CDF of its own.
pub(crate) struct Whole {
    pub(crate) ocs: OcsServer,
    pub(crate) cdf: CdfServer,
    pub(crate) gateway: Gateway,
    pub(crate) port: Port,
}

impl Whole {
    pub(crate) async fn start() -> Whole {
        Whole::start_with(Rules::default()).await
    }

    pub(crate) async fn start_with(rules: Rules) -> Whole {
        let balance = parse_money("10.00 EUR").expect("money").0;
        let books = OcsConfig::standard(Currency::EUR).with_account(ANNE, balance);
        let ocs = Options::local("ocs-sim.example.net", "example.net");
        let ocs = OcsServer::start(ocs, books).await.expect("a free port");
        let cdf = Options::local("cdf-sim.example.net", "example.net");
        let cdf = CdfServer::start(cdf, CdfConfig::default(), None).await.expect("a free port");
        let config = config(ocs.local_addr(), cdf.local_addr());
        let peers = config.peers.iter().map(|peer| PeerNames {
            name: peer.name.clone(),
            interfaces: vec![Interface::Ch1, Interface::Ch2],
        });
        let names = Names { peers: peers.collect(), ..Names::default() };
        let metrics = Arc::new(Metrics::new(names));
        let services = config.policy.services.keys().cloned().collect();
        let connections = Connections::new(&config, Vec::new());
        let gateway = start(Parts {
            policy: config.policy,
            peers: config.peers,
            identity: config.identity,
            routes: config.routes,
            mappings: config.mappings,
            dictionary: config.dictionary,
            store: Box::new(MemoryStore::new()),
            retention: Retention::default(),
            in_progress_max: 1_000,
            metrics: metrics.clone(),
            connections,
        })
        .expect("it starts");
        gateway.handle.wait_usable(&["ocs-sim", "cdf-sim"]).await;
        let rules = Rules { services, ..rules };
        let backend = Arc::new(gateway.handle.clone());
        let port = port_of(backend, metrics, rules, Limits::default()).await;
        Whole { ocs, cdf, gateway, port }
    }
}

/// This happens to every request.
pub(crate) fn fault(verb: Verb) -> Fault {
    Fault { server: None, when: When::default(), at: None, lasts: None, verbs: vec![verb] }
}
