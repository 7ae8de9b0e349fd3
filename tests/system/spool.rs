//! `farebox spool`, `trace` and `why` against a gateway in a process and a CDF that refuses.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use farebox::sim::cdf::CdfConfig;
use farebox::sim::fault::{Fault, Verb, When};
use farebox::sim::run::{CdfServer, Options};
use serde_json::{Value, json};

struct World {
    folder: PathBuf,
    child: Child,
    api: String,
    admin: String,
    cdf: CdfServer,
}

impl World {
    /// A gateway with one CDF, which answers 5004 to every ACR-EVENT.
    async fn start(name: &str) -> World {
        let folder =
            std::env::temp_dir().join(format!("farebox-spool-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let options = Options::local("cdf.example", "example");
        let cdf = CdfServer::start(options, CdfConfig::default(), None).await.expect("a port");
        let when = When { command: Some("ACR-EVENT".to_owned()), ..When::default() };
        let verbs = vec![Verb::Answer(5004)];
        cdf.add_fault(Fault { server: None, when, at: None, lasts: None, verbs });
        let config = format!(
            "version: 1
identity: {{host: cg.example, realm: example}}
api: {{listen: \"127.0.0.1:0\"}}
admin: {{listen: \"127.0.0.1:0\"}}
store: {{path: {:?}}}
peers:
  cdf: {{address: \"{}\", host: cdf.example, realm: example, applications: [{{acct: 3}}]}}
routes:
  - {{interface: ch1, peers: [cdf]}}
",
            folder.join("store"),
            cdf.local_addr()
        );
        let path = folder.join("farebox.yaml");
        std::fs::write(&path, config).expect("writable");
        let mut child = Command::new(env!("CARGO_BIN_EXE_farebox"))
            .args(["run", "--config"])
            .arg(&path)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut address = |name: &str| loop {
            let line = lines.next().expect("it runs").expect("text");
            if let Some(address) = line.strip_prefix(name) {
                break address.trim().to_owned();
            }
        };
        let (api, admin) = (address("api "), address("console "));
        std::thread::spawn(move || lines.for_each(drop));
        World { folder, child, api, admin, cdf }
    }

    /// `farebox ARGS --admin-url …`: exit code, stdout, stderr.
    fn farebox(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
        let output = command
            .args(args)
            .args(["--admin-url", &self.admin])
            .env("NO_COLOR", "1")
            .output()
            .expect("the binary starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
    }

    fn ok(&self, args: &[&str]) -> String {
        let (code, out, err) = self.farebox(args);
        assert_eq!(code, 0, "{args:?}: {out}{err}");
        out
    }

    fn event(&self, id: &str) {
        let body = json!({"eventId": id, "kind": "message.sent", "service": "message",
            "timestamp": "2025-12-12T10:45:02.118Z", "interfaces": ["ch1"],
            "subscriber": [{"type": "e164", "value": "+12025550123"}]});
        let response = http_post(&format!("{}/v1/events", self.api), &body);
        assert!(response.contains("recorded"), "{response}");
    }

    /// Asks for the listed records until there are so many.
    fn listed(&self, args: &[&str], count: usize) -> Vec<Value> {
        for _ in 0..2_000 {
            let text = self.ok(&[&["spool", "ls", "--format", "json"], args].concat());
            let list: Value = serde_json::from_str(&text).expect("JSON");
            let items = list["items"].as_array().expect("a list").clone();
            if items.len() == count {
                return items;
            }
        }
        panic!("never {count} of {args:?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn http_post(url: &str, body: &Value) -> String {
    use std::io::{Read, Write};
    let rest = url.strip_prefix("http://").expect("http");
    let (host, path) = rest.split_once('/').expect("a path");
    let body = body.to_string();
    let mut socket = std::net::TcpStream::connect(host).expect("connected");
    let head = format!(
        "POST /{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all((head + &body).as_bytes()).expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fa_17_dead_letters_are_seen_explained_replayed_exported_and_purged() {
    let world = World::start("dead").await;
    for id in ["e1", "e2", "e3"] {
        world.event(id);
    }
    let dead = world.listed(&["--dead"], 3);
    let id = dead[0]["recordId"].as_str().expect("an id").to_owned();
    assert!(world.listed(&["--dead", "--match", "result == 5005"], 0).is_empty());
    let status = world.ok(&["spool", "status"]);
    assert!(status.lines().any(|line| line.starts_with("ch1") && line.contains("cdf open")));

    // Why, from the record and from the subscriber.
    let why = world.ok(&["why", &id]);
    for said in ["ACR-EVENT number 0 of event e1 is a dead letter", "cdf answered 5004", "Ask cdf"]
    {
        assert!(why.contains(said), "{why}");
    }
    assert_eq!(why, world.ok(&["spool", "show", &id]));
    let trace = world.ok(&["trace", "+12025550123"]);
    assert_eq!(trace.matches("ACR-EVENT #0").count(), 3, "{trace}");
    assert!(trace.contains(&format!("← farebox why {id}")), "{trace}");
    assert!(world.ok(&["trace", "e2", "--since", "1h"]).contains("5004"));
    let (code, _, err) = world.farebox(&["trace", "nobody"]);
    assert_eq!(code, 1);
    assert!(err.contains("nothing is stored of `nobody`"), "{err}");

    // Octets for whoever has to bill them by hand.
    let exported = world.ok(&["spool", "export", "--dead"]);
    assert_eq!(exported.lines().count(), 3);
    let line: Value = serde_json::from_str(exported.lines().next().expect("one")).expect("JSON");
    assert!(line["message"].as_str().expect("hex").starts_with("01000"), "{line}");

    // Nothing moves without --yes.
    let dry = world.ok(&["spool", "replay", "--dead", "--match", "result == 5004"]);
    assert!(dry.starts_with("3 records would go out again"), "{dry}");
    assert_eq!(world.cdf.counts()["ACR-EVENT"], 3);
    let (code, _, err) = world.farebox(&["spool", "replay", "--yes"]);
    assert_eq!(code, 65, "which ones? {err}");
    world.cdf.remove_fault(None);
    let done = world.ok(&["spool", "replay", &id, "--yes"]);
    assert!(done.starts_with("1 record sent again"), "{done}");
    world.listed(&["--dead"], 2);
    while world.cdf.records().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(world.cdf.records()[0].retransmit, "with T");

    let kept = world.ok(&["spool", "purge", "--dead"]);
    assert!(kept.starts_with("2 records would be removed"), "{kept}");
    let gone = world.ok(&["spool", "purge", "--dead", "--yes"]);
    assert!(gone.starts_with("2 records removed"), "{gone}");
    world.listed(&["--dead"], 0);
    let counts: Value =
        serde_json::from_str(&world.ok(&["spool", "status", "--format", "json"])).expect("JSON");
    let ch1 = &counts["items"][0];
    assert_eq!(
        (&ch1["replayed"], &ch1["purged"], &ch1["conserved"]),
        (&json!(1), &json!(2), &json!(true)),
        "{ch1}"
    );

    // The store, also while it is in use.
    let store = world.folder.join("store");
    let verified = Command::new(env!("CARGO_BIN_EXE_farebox"))
        .args(["spool", "verify"])
        .arg(&store)
        .output()
        .expect("the binary starts");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}
