//! Peers that connect to us, and peers as an operator configures them: whole gateways in processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use farebox::config::{Environment, Loaded, load};
use farebox::diagnostic::Code;
use rcgen::date_time_ymd;

use super::*;
use crate::certificates::{Authority, Issued};

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder =
            std::env::temp_dir().join(format!("farebox-peers-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        Folder(folder)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("writable");
        path.display().to_string()
    }

    /// Writes a CA, a certificate and its key as `NAME-ca.pem`, `NAME.pem` and `NAME.key`.
    fn certificate(&self, name: &str, ca: &Authority, own: &Issued) {
        self.write(&format!("{name}-ca.pem"), &ca.pem());
        self.write(&format!("{name}.pem"), &own.cert);
        self.write(&format!("{name}.key"), &own.key);
    }

    fn load(&self, text: &str) -> Loaded {
        self.write("farebox.yaml", text);
        load(&[self.0.join("farebox.yaml")], &Environment::new(|_| None))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A configuration whose only peer, `ocs`, connects to us; `diameter` is the section of that name.
fn inbound(diameter: &str, tls: &str) -> String {
    format!(
        "version: 1
identity: {{host: cg.example, realm: example}}
diameter: {diameter}
peers:
  ocs: {{host: ocs.example, realm: example, applications: [{{auth: 4}}, {{acct: 3}}]{tls}}}
routes:
  - {{interface: ch1, peers: [ocs]}}
api: {{listen: \"127.0.0.1:0\"}}
admin: {{listen: \"127.0.0.1:0\"}}
store: {{path: store}}
"
    )
}

/// A gateway in a process of its own, ended at the end.
struct Gateway {
    child: Child,
    admin: String,
    /// `tcp ADDRESS` and `tls ADDRESS`.
    diameter: Vec<String>,
}

impl Gateway {
    /// Starts on the free ports that `config` asks for; `listeners` of them are Diameter's.
    fn start(folder: &Folder, config: &str, listeners: usize) -> Gateway {
        let path = folder.write("farebox.yaml", config);
        let mut child = Command::new(env!("CARGO_BIN_EXE_farebox"))
            .args(["run", "--config", &path, "--data-dir"])
            .arg(folder.0.join("store"))
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let (mut admin, mut diameter, mut said) = (None, Vec::new(), Vec::new());
        while admin.is_none() || diameter.len() < listeners {
            let Some(Ok(line)) = lines.next() else {
                let _ = child.wait();
                panic!("it ended: {}", said.join("\n"));
            };
            if let Some(address) = line.strip_prefix("console  http://") {
                admin = Some(address.to_owned());
            }
            diameter.extend(line.strip_prefix("diameter ").map(str::to_owned));
            said.push(line);
        }
        // What follows must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Gateway { child, admin: admin.expect("picked"), diameter }
    }

    fn listener(&self, over: &str) -> &str {
        let found = self.diameter.iter().find_map(|line| line.strip_prefix(over));
        found.expect("listens").trim()
    }

    /// `GET path` on the admin port: the body.
    fn get(&self, path: &str) -> String {
        let mut socket = std::net::TcpStream::connect(&self.admin).expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).expect("a body")
    }

    /// Asks for `path` until `wanted` is in the answer.
    async fn shows(&self, path: &str, wanted: &str) -> String {
        let mut last = String::new();
        for _ in 0..400 {
            last = self.get(path);
            if last.contains(wanted) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("no {wanted} in {last}");
    }

    fn hang_up(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill").success());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn p_03_a_configured_peer_connects_to_the_gateway_and_is_used() {
    let folder = Folder::new("inbound");
    let gateway = Gateway::start(&folder, &inbound("{listen: [\"127.0.0.1:0\"]}", ""), 1);
    gateway.shows("/admin/v1/peers", "waits for its connection").await;
    let address = gateway.listener("tcp").to_owned();
    // As freeDiameter does: CER, then DWR, and a CER again by mistake.
    let mut script = Script::open(&address, "OCS.example").await;
    gateway.shows("/admin/v1/peers", "\"open\"").await;
    script.write(&base::dwr(&them(), 7, 7)).await;
    let dwa = script.read().await.expect("a DWA");
    assert_eq!(dwa.header.code, command::DEVICE_WATCHDOG);
    assert!(!dwa.header.flags.is_request());

    // F-20: another connection of the same peer is refused, and this one asked at once.
    let mut second = Script::connect(&address).await;
    second.write(&cer("ocs.example")).await;
    assert!(second.read().await.is_none(), "one connection a peer");
    let dwr = script.read().await.expect("a DWR");
    assert_eq!(dwr.header.code, command::DEVICE_WATCHDOG);
    assert!(dwr.header.flags.is_request());
    drop(script);
    gateway.shows("/admin/v1/peers", "\"down\"").await;
    Script::open(&address, "ocs.example").await;
}

#[tokio::test]
async fn sec_04_p_19_only_configured_peers_get_in() {
    let folder = Folder::new("strangers");
    let gateway = Gateway::start(&folder, &inbound("{listen: [\"127.0.0.1:0\"]}", ""), 1);
    let address = gateway.listener("tcp").to_owned();
    for (host, realm) in
        [("ocs-b.example", "example"), ("ocs.example", "elsewhere"), ("cg.example", "example")]
    {
        let mut script = Script::connect(&address).await;
        let local = farebox::diameter::Address::Ipv4([127, 0, 0, 1]);
        let identity = LocalIdentity::new(host, realm);
        script.write(&capabilities::cer(&identity, Application::DEFAULT, &[local], 1, 2)).await;
        let cea = script.read().await.expect("a CEA");
        assert_eq!(cea.unsigned32(id::RESULT_CODE), Some(3010), "{host} {realm}");
        assert!(script.read().await.is_none(), "{host} {realm}: closed");
    }
    let metrics = gateway.get("/metrics");
    let refused =
        "farebox_diameter_inbound_total{command=\"CER\",peer=\"other\",result_code=\"3010\"} 3";
    assert!(metrics.contains(refused), "{metrics}");
}

#[tokio::test]
async fn sec_04_an_address_that_is_not_allowed_is_closed_unread() {
    let folder = Folder::new("network");
    let diameter = "{listen: [\"127.0.0.1:0\"], allow: [{ip: 192.0.2.0/28, host: ocs.example}]}";
    let gateway = Gateway::start(&folder, &inbound(diameter, ""), 1);
    let mut script = Script::connect(gateway.listener("tcp")).await;
    // Closed by them before anything was sent by us.
    assert!(script.read().await.is_none());
}

#[tokio::test]
async fn fn_15_sighup_reads_certificates_anew_and_connections_live_on() {
    let folder = Folder::new("rotate");
    let ca = Authority::new("ca");
    folder.certificate("cg", &ca, &ca.issue("cg.example"));
    let diameter =
        "{tls_listen: [\"127.0.0.1:0\"], tls: {ca: cg-ca.pem, cert: cg.pem, key: cg.key}}";
    let gateway = Gateway::start(&folder, &inbound(diameter, ", tls: require"), 1);
    let address = gateway.listener("tls").to_owned();
    let own = ca.issue("ocs.example");
    let mut old = tls::dialling_us(&address, tls::tls(&ca, &own));
    old.usable().await;
    let expiry = "farebox_tls_certificate_expiry_timestamp_seconds{peer=\"ocs\",whose=\"ours\"} ";
    let before = gateway.shows("/metrics", expiry).await;
    let figure = |text: &str| {
        let (_, rest) = text.split_once(expiry).expect("the metric");
        rest.lines().next().expect("a figure").parse::<f64>().expect("a number")
    };
    assert!(figure(&before) > 1e9, "{}", figure(&before));

    // A key that is not the certificate's changes nothing.
    folder.write("cg.key", &own.key);
    gateway.hang_up();
    gateway.shows("/healthz", "").await;
    let end = date_time_ymd(2090, 1, 1);
    let next = ca.issue_with(&["cg.example"], |params| params.not_after = end);
    folder.certificate("cg", &ca, &next);
    gateway.hang_up();
    gateway.shows("/metrics", &format!("{expiry}{}", end.unix_timestamp())).await;
    let shown = tls::certificate_of(&address, &ca, &own).await;
    assert_eq!(shown.not_after, end.unix_timestamp() as u64);
    assert!(old.handle.is_usable(), "the old connection lives");
    gateway.shows("/admin/v1/peers", "\"open\"").await;
}

/// Two nodes that dial each other: each has a listener that hands connections to its peer's task.
async fn crossing(first: &str, second: &str) -> [Client; 2] {
    let names = [first, second];
    let sockets = [listener().await, listener().await];
    let [(socket_a, address_a), (socket_b, address_b)] = sockets;
    let addresses = [address_b, address_a];
    let mut clients = Vec::new();
    for (at, socket) in [socket_a, socket_b].into_iter().enumerate() {
        let mut config = config(&addresses[at]);
        config.host = Some(names[1 - at].to_owned());
        let identity = LocalIdentity::new(names[at], "example");
        let client = Client::start_as(config, identity.clone());
        let mut listening = ServerConfig::new(identity, dictionary());
        listening.limits = super::short();
        listening.peers = vec![(names[1 - at].to_owned(), client.handle.clone())];
        listening.peers_only = true;
        let (told, _) = mpsc::unbounded_channel();
        let handler = Arc::new(Handler { told, silent: false });
        // The listener ends with its handle, so it stays for the rest of the test.
        std::mem::forget(serve(socket, listening, handler).expect("served"));
        clients.push(client);
    }
    clients.try_into().unwrap_or_else(|_| panic!("two"))
}

#[tokio::test]
async fn fm_04_p_22_nodes_that_dial_each_other_end_with_one_connection() {
    for (first, second) in [("a.example", "b.example"), ("b.example", "a.example")] {
        for _ in 0..10 {
            let [mut a, mut b] = crossing(first, second).await;
            tokio::join!(a.usable(), b.usable());
            for client in [&a, &b] {
                for token in 1..=20 {
                    client.send(token);
                }
            }
            // Neither serves CCR, so that each is answered with an error, over the connection
            // that is left; nothing is lost.
            for client in [&mut a, &mut b] {
                for _ in 1..=20 {
                    let (_, answer) = client.answer().await;
                    assert_eq!(answer.unsigned32(id::RESULT_CODE), Some(3001));
                }
            }
            let open = |client: &Client| client.handle.is_usable();
            assert!(open(&a) && open(&b));
        }
    }
}

/// One node of ours that listens and dials, and a script that plays the other, in any order.
struct Crossed {
    us: Client,
    dialled: TcpListener,
    ours: String,
    _server: ServerHandle,
}

impl Crossed {
    async fn new(them: &str) -> Crossed {
        let (dialled, address) = listener().await;
        let mut config = config(&address);
        config.host = Some(them.to_owned());
        let us = Client::start(config);
        let (socket, ours) = listener().await;
        let mut listening = ServerConfig::new(super::us(), dictionary());
        listening.limits = super::short();
        listening.peers = vec![(them.to_owned(), us.handle.clone())];
        listening.peers_only = true;
        let (told, _) = mpsc::unbounded_channel();
        let handler = Arc::new(Handler { told, silent: false });
        let server = serve(socket, listening, handler).expect("served");
        Crossed { us, dialled, ours, _server: server }
    }
}

fn cea_of(host: &str, request: &Header) -> Message {
    let identity = LocalIdentity::new(host, "example");
    let local = farebox::diameter::Address::Ipv4([127, 0, 0, 1]);
    capabilities::cea(request, &identity, Application::DEFAULT, &[local], None)
}

#[tokio::test]
async fn fm_04_an_election_that_we_win_keeps_their_connection() {
    // `cg.example` succeeds `aaa.example`: our own connection is closed, theirs is answered.
    let mut crossed = Crossed::new("aaa.example").await;
    let mut made_by_us = Script::accept(&crossed.dialled).await;
    assert_eq!(made_by_us.read().await.expect("a CER").header.code, 257);
    let mut made_by_them = Script::connect(&crossed.ours).await;
    made_by_them.write(&cer("aaa.example")).await;
    let cea = made_by_them.read().await.expect("a CEA");
    assert_eq!(cea.unsigned32(id::RESULT_CODE), Some(2001));
    assert!(made_by_us.read().await.is_none());
    crossed.us.usable().await;
    crossed.us.send(1);
    let request = made_by_them.request().await;
    made_by_them.raw(&cca(&request)).await;
    assert_eq!(crossed.us.answer().await.0, 1);
}

#[tokio::test]
async fn fm_04_an_election_that_we_lose_keeps_our_connection() {
    // `zzz.example` succeeds `cg.example`: they close theirs, or answer ours, in either order.
    for they_close_first in [true, false] {
        let mut crossed = Crossed::new("zzz.example").await;
        let mut made_by_us = Script::accept(&crossed.dialled).await;
        let our_cer = made_by_us.read().await.expect("a CER");
        let mut made_by_them = Script::connect(&crossed.ours).await;
        made_by_them.write(&cer("zzz.example")).await;
        crossed.us.fact(|fact| matches!(fact, Fact::Row("PSM-08"))).await;
        if they_close_first {
            drop(made_by_them);
            crossed.us.fact(|fact| matches!(fact, Fact::Row("PSM-20"))).await;
            made_by_us.write(&cea_of("zzz.example", &our_cer.header)).await;
        } else {
            made_by_us.write(&cea_of("zzz.example", &our_cer.header)).await;
            assert!(made_by_them.read().await.is_none(), "closed without a CEA");
        }
        crossed.us.usable().await;
        crossed.us.send(1);
        let request = made_by_us.request().await;
        made_by_us.raw(&cca(&request)).await;
        assert_eq!(crossed.us.answer().await.0, 1);
    }
}

#[tokio::test]
async fn fm_04_a_connection_that_crosses_an_open_one_is_refused() {
    let mut crossed = Crossed::new("aaa.example").await;
    let mut made_by_us = Script::accept(&crossed.dialled).await;
    let our_cer = made_by_us.read().await.expect("a CER");
    made_by_us.write(&cea_of("aaa.example", &our_cer.header)).await;
    crossed.us.usable().await;
    let mut made_by_them = Script::connect(&crossed.ours).await;
    made_by_them.write(&cer("aaa.example")).await;
    assert!(made_by_them.read().await.is_none());
    let dwr = made_by_us.read().await.expect("a DWR at once");
    assert_eq!(dwr.header.code, command::DEVICE_WATCHDOG);
    assert!(crossed.us.handle.is_usable());
}

fn codes(loaded: &Loaded) -> Vec<Code> {
    loaded.report.diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
}

#[test]
fn sec_01_certificates_are_read_and_judged_with_the_configuration() {
    let folder = Folder::new("config");
    let ca = Authority::new("ca");
    folder.certificate("cg", &ca, &ca.issue("cg.example"));
    folder.certificate("other", &ca, &ca.issue("other.example"));
    let soon =
        ca.issue_with(&["cg.example"], |params| params.not_after = date_time_ymd(2021, 1, 1));
    folder.certificate("old", &ca, &soon);
    let with = |tls: &str| {
        inbound(&format!("{{tls_listen: [\"127.0.0.1\"], tls: {tls}}}"), ", tls: require")
    };
    let good = folder
        .load(&with("{ca: cg-ca.pem, cert: cg.pem, key: \"${file:cg.key}\", min_version: 1.2}"));
    assert_eq!(codes(&good), [], "{}", good.report.human(false));
    let config = good.config.expect("a configuration");
    assert_eq!(config.diameter.tls_listen[0].port(), 5658);
    assert!(config.tls[0].as_ref().is_some_and(farebox::tls::Tls::allows_tls_1_2));
    assert!(config.peers[0].tls);
    let shown = serde_json::to_string(&farebox::config::effective(&config)).expect("shown");
    assert!(shown.contains("cg-ca.pem") && !shown.contains("PRIVATE KEY"), "{shown}");
    for (tls, expected) in [
        ("{ca: cg-ca.pem, cert: cg.pem, key: other.key}", Code::FB0209),
        ("{ca: cg.key, cert: cg.pem, key: cg.key}", Code::FB0209),
        ("{ca: cg-ca.pem, cert: other.pem, key: other.key}", Code::FB0413),
        ("{ca: cg-ca.pem, cert: old.pem, key: old.key}", Code::FB0412),
        ("{ca: cg-ca.pem, cert: cg.pem, key: cg.key, min_version: 1.1}", Code::FB0102),
    ] {
        let loaded = folder.load(&with(tls));
        assert!(codes(&loaded).contains(&expected), "{tls}\n{}", loaded.report.human(false));
    }
    // A peer that must use TLS has nowhere to go.
    let plain = "{listen: [\"127.0.0.1\"], tls: {ca: cg-ca.pem, cert: cg.pem, key: cg.key}}";
    let loaded = folder.load(&inbound(plain, ", tls: require"));
    assert_eq!(codes(&loaded), [Code::FB0103], "{}", loaded.report.human(false));
    // Beyond loopback it has to be said that there is none.
    let loaded = folder.load(&inbound("{listen: [0.0.0.0]}", ""));
    assert_eq!(codes(&loaded), [Code::FB0103], "{}", loaded.report.human(false));
    assert!(folder.load(&inbound("{listen: [0.0.0.0]}", ", tls: none")).config.is_some());
}

/// A peer called `host` that answers CER with `code` and says that it supports `applications`.
async fn answering(host: &'static str, code: u32, applications: &'static [Application]) -> String {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        loop {
            let mut script = Script::accept(&listener).await;
            let Some(cer) = script.read().await else { continue };
            let identity = LocalIdentity::new(host, "example");
            let local = farebox::diameter::Address::Ipv4([127, 0, 0, 1]);
            let refusal = capabilities::Refusal {
                fault: PeerState::BadConfig,
                reason: "no".to_owned(),
                result_code: code,
                failed: None,
            };
            let refusal = (code != 2001).then_some(&refusal);
            let cea = capabilities::cea(&cer.header, &identity, applications, &[local], refusal);
            script.write(&cea).await;
            let _ = script.read().await;
        }
    });
    address
}

/// The least configuration with a peer `ocs`; `rest` are its other keys.
fn outbound(address: &str, rest: &str) -> String {
    format!(
        "version: 1
identity: {{host: cg.example, realm: example}}
peers:
  ocs:
    address: \"{address}\"
    realm: example
    {rest}
  cdf: {{address: \"127.0.0.1:1\", host: cdf.example, realm: example, applications: [{{acct: 3}}]}}
routes:
  - {{interface: ch2, peers: [ocs]}}
  - {{interface: ch1, peers: [cdf]}}
admin: {{listen: \"127.0.0.1:1\"}}
"
    )
}

/// Runs `farebox peer probe ocs`: exit code and output.
async fn probe(folder: &Folder, config: &str, more: &[&str]) -> (i32, String) {
    let path = folder.write("farebox.yaml", config);
    let more: Vec<String> = more.iter().map(|one| (*one).to_owned()).collect();
    let output = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_farebox"))
            .args(["peer", "probe", "ocs", "--config", &path])
            .args(more)
            .env("NO_COLOR", "1")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("it runs")
    });
    let output = output.await.expect("it ends");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), format!("{out}{err}"))
}

const PLAIN: &[Application] = &[Application::auth(4)];
const IN_VENDOR: &[Application] = &[Application { vendor: Some(10415), ..Application::auth(4) }];
const OFFLINE: &[Application] = &[Application::acct(3)];
const OURS: &str = "host: ocs.example\n    applications: [{auth: 4}]";

#[tokio::test]
async fn probe_tells_whose_fault_it_is_and_the_line_to_change() {
    let folder = Folder::new("probe");
    for (host, code, applications, exit, expected) in [
        (
            "ocs.example",
            5010,
            OFFLINE,
            78,
            "verdict     bad-config (ours): it serves other applications: is it the node that is \
             meant?; set `applications: [{acct: 3}]`",
        ),
        (
            "ocs.example",
            3010,
            PLAIN,
            78,
            "verdict     bad-config (ours): `ocs.example` does not know `cg.example`: correct \
             identity.host, or let its operator add it; set `host: cg.example`",
        ),
        (
            "other.example",
            2001,
            PLAIN,
            78,
            "verdict     bad-config (ours): it calls itself `other.example`; set `host: \
             other.example`",
        ),
        (
            "ocs.example",
            5010,
            IN_VENDOR,
            78,
            "verdict     bad-config (ours): it wants the application in the form in which it \
             offers it; set `applications: [{auth: 4, vendor: 10415}]`",
        ),
        (
            "ocs.example",
            5010,
            PLAIN,
            69,
            "verdict     bad-remote (theirs): it refuses what it offers itself",
        ),
        ("ocs.example", 5012, PLAIN, 69, "verdict     bad-remote (theirs): 5012 DIAMETER_UNABLE"),
        ("ocs.example", 2001, PLAIN, 0, "verdict     ok: applications 4 are shared"),
        ("OCS.example", 2001, IN_VENDOR, 0, "verdict     ok: applications 4 are shared"),
    ] {
        let address = answering(host, code, applications).await;
        let (status, out) = probe(&folder, &outbound(&address, OURS), &[]).await;
        assert!(out.contains(expected), "{code}: {expected}\n{out}");
        assert_eq!(status, exit, "{out}");
        assert!(out.contains("resolve     127.0.0.1 → 127.0.0.1"), "{out}");
        assert!(out.contains(&format!("connect     tcp {address} in ")), "{out}");
        assert!(out.contains("CER →       Origin-Host cg.example · apps: auth 4 plain"), "{out}");
        assert!(out.contains(&format!("CEA ←       {code} DIAMETER_")), "{out}");
    }
    // The place of the line is told: where the key stands, or what it would stand in.
    let address = answering("ocs.example", 5010, IN_VENDOR).await;
    let (_, out) = probe(&folder, &outbound(&address, OURS), &[]).await;
    assert!(out.contains("farebox.yaml:8  peers.ocs.applications"), "{out}");
    assert!(
        out.contains(
            "they offer: auth 4 in Vendor-Specific-Application-Id (vendor 10415); we offered: auth 4 plain"
        ),
        "{out}"
    );
    let (_, out) = probe(&folder, &outbound(&address, OURS), &["--format", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&out).expect("json");
    assert_eq!(json["verdict"], "bad-config");
    assert_eq!(json["line"], "applications: [{auth: 4, vendor: 10415}]");
    assert_eq!(json["key"], "peers.ocs.applications");
}

#[tokio::test]
async fn probe_tells_what_is_wrong_before_any_cea() {
    let folder = Folder::new("probe-early");
    let (closed, address) = listener().await;
    drop(closed);
    let (status, out) = probe(&folder, &outbound(&address, OURS), &[]).await;
    assert!(out.contains("down (network): ") && out.contains("connection refused"), "{out}");
    assert_eq!(status, 69);

    let (http, address) = listener().await;
    tokio::spawn(async move {
        let (mut socket, _) = http.accept().await.expect("a connection");
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = socket.read_u8().await;
    });
    let (status, out) = probe(&folder, &outbound(&address, OURS), &[]).await;
    assert!(out.contains("bad-config (ours): another service listens there"), "{out}");
    assert_eq!(status, 78);

    let (mute, address) = listener().await;
    tokio::spawn(async move {
        let (socket, _) = mute.accept().await.expect("a connection");
        drop(socket);
    });
    let (status, out) = probe(&folder, &outbound(&address, OURS), &[]).await;
    assert!(out.contains("bad-remote (theirs): ") && out.contains("without a CEA"), "{out}");
    assert_eq!(status, 69);
}

#[tokio::test]
async fn probe_tells_whose_a_certificate_is() {
    let folder = Folder::new("probe-tls");
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    folder.certificate("cg", &ca, &ca.issue("cg.example"));
    let rest = format!("{OURS}\n    tls: {{ca: cg-ca.pem, cert: cg.pem, key: cg.key}}");
    // The listener calls itself `ocs.example`; its certificate says something else, or not.
    for (issuer, name, host, exit, expected) in [
        (&ca, "ocs.example", "ocs.example", 0, "verdict     ok"),
        (
            &ca,
            "ocs-x.example",
            "ocs.example",
            69,
            "verdict     bad-remote (theirs): its certificate is for `ocs-x.example`; it needs one \
             with subjectAltName DNS:ocs.example",
        ),
        (
            &ca,
            "ocs.example",
            "ocs-y.example",
            78,
            "verdict     bad-config (ours): its certificate and its Origin-Host say `ocs.example`; \
             set `host: ocs.example`",
        ),
        (
            &other,
            "ocs.example",
            "ocs.example",
            78,
            "verdict     bad-config (ours): TLS: no CA of ours issued its certificate; set `ca: FILE`",
        ),
    ] {
        let server = tls::serving(tls::tls(&ca, &issuer.issue(name))).await;
        let config = outbound(&server.address(), &rest.replace("ocs.example", host));
        let (status, out) = probe(&folder, &config, &[]).await;
        assert!(out.contains(expected), "{expected}\n{out}");
        assert_eq!(status, exit, "{out}");
    }
    // A peer without TLS where TLS is asked for.
    let plain = Server::start().await;
    let (status, out) = probe(&folder, &outbound(&plain.address(), &rest), &[]).await;
    assert!(out.contains("bad-config (ours): TLS: ") && out.contains("set `tls: none`"), "{out}");
    assert_eq!(status, 78);
}

/// Runs `farebox peer ARGS` against a running gateway: exit code and output.
fn peer(gateway: &Gateway, args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_farebox"))
        .arg("peer")
        .args(args)
        .args(["--admin-url", &format!("http://{}", gateway.admin)])
        .env("NO_COLOR", "1")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let shown = format!("{}{}", text(&output.stdout), text(&output.stderr));
    (output.status.code().unwrap_or(-1), shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn sec_25_a_peer_is_shown_taken_out_of_service_and_brought_back() {
    let folder = Folder::new("operate");
    let gateway = Gateway::start(&folder, &inbound("{listen: [\"127.0.0.1:0\"]}", ""), 1);
    let address = gateway.listener("tcp").to_owned();
    let mut script = Script::open(&address, "ocs.example").await;
    gateway.shows("/admin/v1/peers", "\"open\"").await;

    let (status, out) = peer(&gateway, &["ls"]);
    assert_eq!(status, 0, "{out}");
    assert!(out.lines().any(|line| line.starts_with("ocs             open")), "{out}");
    let (_, out) = peer(&gateway, &["show", "ocs"]);
    assert!(
        out.contains("we say      cg.example (example) \"farebox\" [{auth: 4}, {acct: 3}]"),
        "{out}"
    );
    assert!(out.contains("they say    ocs.example (example)"), "{out}");
    assert!(out.contains("row WD-20") && out.contains("Result-Code 2001"), "{out}");
    assert_eq!(peer(&gateway, &["show", "nobody"]).0, 1);

    let (status, out) = peer(&gateway, &["drain", "ocs"]);
    assert_eq!((status, out.as_str()), (0, "ocs   open   drain\n"));
    let metric = "farebox_peer_admin_state{peer=\"ocs\",state=\"drain\"} 1";
    assert!(gateway.get("/metrics").contains(metric));

    // Maintenance is asked for twice, and says goodbye.
    let (status, out) = peer(&gateway, &["maint", "ocs"]);
    assert!(status == 1 && out.contains("add --yes"), "{out}");
    let (status, out) = peer(&gateway, &["maint", "ocs", "--yes"]);
    assert_eq!(status, 0, "{out}");
    let dpr = script.read().await.expect("a DPR");
    assert_eq!(dpr.header.code, command::DISCONNECT_PEER);
    assert_eq!(dpr.enumerated(id::DISCONNECT_CAUSE), Some(2));
    script.write(&base::answer(&dpr.header, &them(), 2001, None, None)).await;
    gateway.shows("/admin/v1/peers", "in maintenance").await;
    let mut refused = Script::connect(&address).await;
    refused.write(&cer("ocs.example")).await;
    let cea = refused.read().await.expect("a CEA");
    assert_eq!(cea.unsigned32(id::RESULT_CODE), Some(5012));

    assert_eq!(peer(&gateway, &["ready", "ocs"]).0, 0);
    gateway.shows("/admin/v1/peers", "\"ready\"").await;
    let mut again = Script::open(&address, "ocs.example").await;
    gateway.shows("/admin/v1/peers", "\"reopen\"").await;
    assert_eq!(peer(&gateway, &["reset", "ocs", "--yes"]).0, 0);
    while again.read().await.is_some() {}
    let (_, out) = peer(&gateway, &["show", "ocs"]);
    assert!(out.contains("last error  reset here (network)"), "{out}");
}
