//! The admin port over real sockets, in front of a source that says what it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use farebox::api::backend::Answering;
use farebox::api::{Limits, serve};
use farebox::clock::Wall;
use farebox::config::settings::AdminSettings;
use farebox::console::{Check, NodeView, PeerAction, PeerError, PeerView, Rules, Source, router};
use farebox::store::Interface;
use farebox::telemetry::{Metrics, Names, PeerNames, SpoolCounts};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
struct Told {
    checks: Mutex<Vec<Check>>,
    hangs: AtomicBool,
    actions: Mutex<Vec<(String, PeerAction)>>,
}

impl Source for Told {
    fn ready(&self) -> Answering<'_, Vec<Check>> {
        Box::pin(async {
            if self.hangs.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            self.checks.lock().expect("not poisoned").clone()
        })
    }

    fn act_on_peer(&self, name: &str, action: PeerAction) -> bool {
        self.actions.lock().expect("not poisoned").push((name.to_owned(), action));
        name == "ocs-a"
    }

    fn peers(&self) -> Vec<PeerView> {
        vec![PeerView {
            name: "ocs-a".to_owned(),
            interfaces: vec![Interface::Ch2],
            address: Some("ocs-a.ocs.example.net:3868".to_owned()),
            state: "suspect",
            admin_state: "ready",
            usable: false,
            since: Wall::parse("2025-12-12T10:43:14Z"),
            reason: "<watchdog> unanswered".to_owned(),
            row: "WD-13".to_owned(),
            origin_host: Some("ocs-a.ocs.example.net".to_owned()),
            applications: vec![4],
            pending: 12,
            window: 500,
            transport: "tcp",
            next_attempt: Wall::parse("2025-12-12T10:43:20Z"),
            last_error: Some(PeerError {
                at: Wall::parse("2025-12-12T10:43:14Z").expect("a time"),
                fault: "network",
                reason: "unanswered".to_owned(),
            }),
            ours: NodeView { applications: vec!["{auth: 4}".to_owned()], ..NodeView::default() },
            ..PeerView::default()
        }]
    }
}

struct Port {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    source: Arc<Told>,
}

async fn port(rules: Rules, limits: Limits) -> Port {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let peers = vec![PeerNames { name: "ocs-a".to_owned(), interfaces: vec![Interface::Ch2] }];
    let metrics = Arc::new(Metrics::new(Names { peers, ..Names::default() }));
    let source = Arc::new(Told::default());
    let router = router(source.clone(), metrics.clone(), rules);
    tokio::spawn(serve(listener, router, limits, std::future::pending()));
    Port { address, metrics, source }
}

async fn plain_port() -> Port {
    port(Rules::default(), Limits::default()).await
}

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    fn has(&self, header: &str) -> bool {
        self.head.to_ascii_lowercase().contains(&format!("\r\n{header}\r\n"))
    }
}

impl Port {
    async fn call(&self, method: &str, path: &str, headers: &str) -> Response {
        let mut stream = TcpStream::connect(self.address).await.expect("connected");
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: cg1\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        Response { status, head: format!("{head}\r\n"), body: body.to_owned() }
    }

    async fn get(&self, path: &str) -> Response {
        self.call("GET", path, "").await
    }

    fn told(&self, checks: Vec<Check>) {
        *self.source.checks.lock().expect("not poisoned") = checks;
    }
}

#[tokio::test]
async fn metrics_are_text_of_version_0_0_4() {
    let port = plain_port().await;
    port.metrics.api_request("terminate", 200, Duration::from_millis(2));
    let response = port.get("/metrics").await;
    assert_eq!(response.status, 200);
    assert!(response.has("content-type: text/plain; version=0.0.4; charset=utf-8"));
    let sample = "farebox_api_requests_total{op=\"terminate\",status=\"200\"} 1\n";
    assert!(response.body.contains(sample));
    // A scrape as Prometheus reads it: every line a comment or a name with a number.
    for line in response.body.lines().filter(|line| !line.starts_with("# ")) {
        let (_, value) = line.rsplit_once(' ').expect("a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[tokio::test]
async fn alive_never_depends_on_anything() {
    let port = plain_port().await;
    port.source.hangs.store(true, Ordering::Relaxed);
    let response = port.get("/healthz").await;
    assert_eq!((response.status, response.json()), (200, json!({"status": "pass"})));
    assert!(response.has("content-type: application/json"));
    let health = port.call("GET", "/healthz", "accept: application/health+json\r\n").await;
    assert!(health.has("content-type: application/health+json"));
}

#[tokio::test]
async fn ready_is_200_when_every_check_holds_else_503_with_all_of_them() {
    let port = plain_port().await;
    let good = vec![
        Check::new("config", true, "farebox.yaml"),
        Check::new("store", true, "committed in 0.4 ms"),
    ];
    port.told(good.clone());
    let response = port.get("/readyz").await;
    assert_eq!(response.status, 200);
    assert!(response.has("cache-control: no-store"));
    assert_eq!(
        response.json(),
        json!({"ready": true, "checks": [
            {"name": "config", "ok": true, "detail": "farebox.yaml"},
            {"name": "store", "ok": true, "detail": "committed in 0.4 ms"}
        ]})
    );
    let draining = Check::new("draining", false, "since 10:43:14");
    port.told(good.into_iter().chain([draining]).collect());
    let response = port.get("/readyz").await;
    assert_eq!(response.status, 503);
    assert_eq!(response.json()["ready"], json!(false));
    assert_eq!(
        response.json()["checks"][2],
        json!({"name": "draining", "ok": false, "detail": "since 10:43:14"})
    );
    let health = port.call("GET", "/readyz", "accept: application/health+json\r\n").await;
    assert_eq!(health.status, 503);
    assert!(health.has("content-type: application/health+json"));
    assert_eq!(health.json()["status"], "fail");
    assert_eq!(
        health.json()["checks"]["draining"],
        json!([{"status": "fail", "output": "since 10:43:14"}])
    );
}

#[tokio::test]
async fn fd_12_a_store_that_hangs_is_not_ready() {
    let rules = Rules { ready_timeout: Duration::from_millis(20), ..Rules::default() };
    let port = port(rules, Limits::default()).await;
    port.source.hangs.store(true, Ordering::Relaxed);
    let response = port.get("/readyz").await;
    assert_eq!(response.status, 503);
    assert_eq!(response.json()["ready"], json!(false));
}

#[tokio::test]
async fn peers_and_spool_are_json() {
    let port = plain_port().await;
    let peers = port.get("/admin/v1/peers").await;
    assert_eq!(peers.status, 200);
    assert_eq!(
        peers.json(),
        json!({"items": [{
            "name": "ocs-a", "interfaces": ["ch2"], "address": "ocs-a.ocs.example.net:3868",
            "state": "suspect", "adminState": "ready", "usable": false,
            "since": "2025-12-12T10:43:14Z", "reason": "<watchdog> unanswered", "row": "WD-13",
            "originHost": "ocs-a.ocs.example.net", "applications": [4],
            "pending": 12, "window": 500, "transport": "tcp",
            "nextAttempt": "2025-12-12T10:43:20Z", "nextAttemptSeconds": 0.0,
            "lastError": {
                "at": "2025-12-12T10:43:14Z", "fault": "network", "reason": "unanswered"
            },
            "handshake": {
                "ours": {
                    "originHost": "", "originRealm": "", "productName": "", "vendorId": 0,
                    "originStateId": null, "applications": ["{auth: 4}"]
                },
                "theirs": null, "resultCode": null, "at": null
            },
            "certificateEnds": null, "history": []
        }]})
    );
    let counts = SpoolCounts {
        stored: 7,
        recovered: 2,
        acknowledged: 4,
        waiting: 3,
        in_flight: 1,
        dead: 1,
        died: 1,
        oldest_millis: 1_500,
        ..SpoolCounts::default()
    };
    port.metrics.spool(Interface::Ch1, counts);
    port.metrics.spool(Interface::Ch2, SpoolCounts { waiting: 1, ..SpoolCounts::default() });
    port.metrics.spool_size(4096, Some(1 << 20));
    let spool = port.get("/admin/v1/spool").await.json();
    assert_eq!((&spool["bytes"], &spool["limitBytes"]), (&json!(4096), &json!(1 << 20)));
    assert_eq!(
        spool["items"][0],
        json!({
            "interface": "ch1", "waiting": 3, "inFlight": 1, "dead": 1, "oldestSeconds": 1.5,
            "stored": 7, "recovered": 2, "acknowledged": 4, "superseded": 0, "abandoned": 0,
            "purged": 0, "died": 1, "replayed": 0, "conserved": true
        })
    );
    assert_eq!(spool["items"][1]["conserved"], json!(false));
}

#[tokio::test]
async fn the_index_shows_peers_and_spool_and_escapes_what_peers_say() {
    let port = plain_port().await;
    let page = port.get("/").await;
    assert_eq!(page.status, 200);
    assert!(page.has("content-type: text/html; charset=utf-8"));
    assert!(page.body.contains("&lt;watchdog&gt; unanswered"), "{}", page.body);
    for path in ["/metrics", "/healthz", "/readyz", "/admin/v1/peers", "/admin/v1/spool"] {
        assert!(page.body.contains(&format!("href=\"{path}\"")), "{path}");
        assert_ne!(port.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let port = plain_port().await;
    let response = port.get("/nothing").await;
    assert_eq!(response.status, 404);
    assert!(response.has("content-type: application/problem+json"));
    assert_eq!(response.json()["code"], "FB1006");
    assert_eq!(response.json()["instance"], "/nothing");
    let response = port.call("POST", "/metrics", "content-length: 0\r\n").await;
    assert_eq!(response.status, 405);
    assert!(response.has("content-type: application/problem+json"));
    assert!(response.has("allow: get, head"));
    let page = response.json()["type"].as_str().expect("a type").to_owned();
    assert_eq!(port.get(&page).await.status, 200);
    assert_eq!(port.call("HEAD", "/metrics", "").await.status, 200);
}

#[tokio::test]
async fn configured_roles_are_asked_for_their_token() {
    let settings = AdminSettings {
        viewer: Some("see".to_owned()),
        operator: Some("do".to_owned()),
        ..AdminSettings::default()
    };
    let port = port(Rules::from(&settings), Limits::default()).await;
    for path in ["/", "/admin/v1/peers", "/admin/v1/spool"] {
        let response = port.get(path).await;
        assert_eq!(response.status, 401, "{path}");
        assert!(response.has("www-authenticate: bearer"));
        for token in ["see", "do"] {
            let header = format!("authorization: Bearer {token}\r\n");
            assert_eq!(port.call("GET", path, &header).await.status, 200, "{path}");
        }
        let wrong = port.call("GET", path, "authorization: Bearer no\r\n").await;
        assert_eq!(wrong.status, 401);
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(port.get(path).await.status, 200, "{path}");
    }
    // `${VIEWER_TOKEN:-}` without the variable is no role, not an empty password.
    let empty = AdminSettings { viewer: Some(String::new()), ..AdminSettings::default() };
    assert!(Rules::from(&empty).tokens.is_empty());
}

const JSON: &str = "content-type: application/json\r\ncontent-length: 0\r\n";

#[tokio::test]
async fn sec_25_operators_act_on_peers_and_nobody_else() {
    let settings = AdminSettings {
        viewer: Some("see".to_owned()),
        operator: Some("do".to_owned()),
        ..AdminSettings::default()
    };
    let port = port(Rules::from(&settings), Limits::default()).await;
    for (path, token, status) in [
        ("/admin/v1/peers/ocs-a/maint", "", 401),
        ("/admin/v1/peers/ocs-a/maint", "authorization: Bearer see\r\n", 403),
        ("/admin/v1/peers/ocs-a/maint", "authorization: Bearer do\r\n", 200),
        ("/admin/v1/peers/ocs-b/drain", "authorization: Bearer do\r\n", 404),
        ("/admin/v1/peers/ocs-a/explode", "authorization: Bearer do\r\n", 404),
    ] {
        let response = port.call("POST", path, &format!("{token}{JSON}")).await;
        assert_eq!(response.status, status, "{path} {token}");
    }
    let actions = port.source.actions.lock().expect("not poisoned").clone();
    let expected = [("ocs-a", PeerAction::Maint), ("ocs-b", PeerAction::Drain)];
    assert_eq!(actions, expected.map(|(name, action)| (name.to_owned(), action)));
    assert_eq!(port.get("/admin/v1/peers/ocs-a/maint").await.status, 405);
    let one = "authorization: Bearer see\r\n";
    assert_eq!(port.call("GET", "/admin/v1/peers/ocs-a", one).await.json()["name"], "ocs-a");
    assert_eq!(port.call("GET", "/admin/v1/peers/ocs-z", one).await.status, 404);
}

#[tokio::test]
async fn sec_12_a_page_of_another_site_cannot_act() {
    // Without tokens the port is loopback, and every page in a browser there can reach it.
    let port = plain_port().await;
    let path = "/admin/v1/peers/ocs-a/reset";
    let simple = "content-type: text/plain\r\ncontent-length: 0\r\n";
    assert_eq!(port.call("POST", path, simple).await.status, 415);
    assert_eq!(port.call("POST", path, "content-length: 0\r\n").await.status, 415);
    let preflight = "origin: http://evil.example\r\naccess-control-request-method: POST\r\n";
    let answer = port.call("OPTIONS", path, preflight).await;
    assert!(!answer.head.to_ascii_lowercase().contains("access-control-allow"));
    assert!(port.source.actions.lock().expect("not poisoned").is_empty());
    assert_eq!(port.call("POST", path, JSON).await.status, 200);
}

#[tokio::test]
async fn k_23_a_silent_connection_is_closed() {
    let limits = Limits { header_timeout: Duration::from_millis(50), ..Limits::default() };
    let port = port(Rules::default(), limits).await;
    for beginning in ["", "GET /metrics HTTP/1.1\r\nhost"] {
        let mut stream = TcpStream::connect(port.address).await.expect("connected");
        stream.write_all(beginning.as_bytes()).await.expect("written");
        let mut bytes = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes));
        // Closed in either way.
        let _ = closed.await.expect("the server closes it");
        assert!(!bytes.starts_with(b"HTTP/1.1 2"));
    }
}
