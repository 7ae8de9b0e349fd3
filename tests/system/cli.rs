//! The command as its users start it: a process, its streams, its exit code.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use farebox::diameter::{Avp, Dictionary, Message, Value, application, command, id};

/// Runs `farebox ARGS` with `input` on stdin.
fn farebox(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_farebox"))
        .args(args)
        .env("NO_COLOR", "1")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // A command that does not read closes the pipe; that is no failure of the test.
    let _ = child.stdin.take().expect("piped").write_all(input);
    child.wait_with_output().expect("it ends")
}

fn check(args: &[&str], input: &[u8], code: i32) -> (String, String) {
    let output = farebox(args, input);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
    (out, err)
}

/// A DWR, and one without Origin-Realm.
fn dwr(complete: bool) -> Vec<u8> {
    let mut message = Message::request(command::DEVICE_WATCHDOG, application::BASE, false);
    let identity = |text: &str| Value::DiameterIdentity(text.to_owned());
    message.push(Avp::new(id::ORIGIN_HOST, identity("cg1.ims.example.net")));
    if complete {
        message.push(Avp::new(id::ORIGIN_REALM, identity("ims.example.net")));
    }
    message.encode(Dictionary::builtin()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn decode_reads_hex_bytes_and_arguments() {
    let bytes = dwr(true);
    for (args, input) in [
        (vec!["decode"], bytes.clone()),
        (vec!["decode", "-"], hex(&bytes).into_bytes()),
        (vec!["decode", &hex(&bytes)], Vec::new()),
        (vec!["decode", "--check", &hex(&bytes)], Vec::new()),
    ] {
        let (out, _) = check(&args, &input, 0);
        assert!(out.starts_with("DWR  Device-Watchdog-Request  app 0  flags R---"), "{out}");
        assert!(out.contains("Origin-Host") && out.contains("cg1.ims.example.net"), "{out}");
    }
    let two = [bytes.clone(), bytes].concat();
    let (out, _) = check(&["decode", "--format", "json"], &two, 0);
    let json: serde_json::Value = serde_json::from_str(&out).expect("json");
    assert_eq!(json.as_array().map(Vec::len), Some(2), "{out}");
    assert_eq!(json[1]["avps"][0]["name"], "Origin-Host", "{out}");
}

#[test]
fn decode_check_judges() {
    let (out, _) = check(&["decode", "--check"], &dwr(false), 3);
    assert!(out.contains("5005 DIAMETER_MISSING_AVP"), "{out}");
    check(&["decode"], &dwr(false), 0);
}

#[test]
fn decode_says_where_garbage_begins() {
    let (_, err) = check(&["decode", "01000014 nonsense"], b"", 65);
    assert!(err.contains("FB2004") && err.contains("column 10"), "{err}");
    let mut bytes = dwr(true);
    let end = bytes.len();
    bytes.extend([2, 0, 0, 20]);
    let (_, err) = check(&["decode"], &bytes, 65);
    assert!(err.contains(&format!("offset {end}")), "{err}");
    let (_, err) = check(&["decode"], &dwr(true)[..30], 65);
    assert!(err.contains("message length"), "{err}");
    check(&["decode"], b"", 65);
}

#[test]
fn usage_and_pages_end_as_documented() {
    check(&["no-such-command"], b"", 2);
    check(&["decode", "--no-such-flag"], b"", 2);
    check(&["--help"], b"", 0);
    let (out, _) = check(&["version"], b"", 0);
    assert_eq!(out, format!("farebox {}\n", env!("CARGO_PKG_VERSION")));
    let (out, _) = check(&["explain", "FB0107"], b"", 0);
    assert!(out.starts_with("FB0107  unknown AVP"), "{out}");
    let (out, _) = check(&["explain", "5002"], b"", 0);
    assert!(out.starts_with("5002  DIAMETER_UNKNOWN_SESSION_ID"), "{out}");
    let (_, err) = check(&["explain", "FB01007"], b"", 1);
    assert!(err.contains("did you mean `FB0107`?"), "{err}");
    let (out, _) = check(&["dict", "show", "2102"], b"", 0);
    assert!(out.contains("LEAVING 104"), "{out}");
    let (_, err) = check(&["dict", "show", "Service-Generic-Infomation"], b"", 1);
    assert!(err.contains("did you mean `Service-Generic-Information`?"), "{err}");
}

/// A configuration in a folder of its own, removed at the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("farebox-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        Folder(folder)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("writable");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const CONFIG: &str = "version: 1
identity: {host: cg1.ims.example.net, realm: ims.example.net}
peers:
  ocs-sim: {address: \"127.0.0.1:13868\", host: ocs-sim.example.net, realm: example.net, applications: [{auth: 4}]}
  cdf-sim: {address: \"127.0.0.1:13869\", host: cdf-sim.example.net, realm: example.net, applications: [{acct: 3}]}
routes:
  - {interface: ch1, peers: [cdf-sim]}
  - {interface: ch2, peers: [ocs-sim]}
policy:
  services:
    chat: {interfaces: [ch1, ch2], model: scur, rating_group: 700, service_id: 7}
";

fn example(name: &str) -> String {
    format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn encode_shows_both_messages_of_a_terminate() {
    let folder = Folder::new("encode");
    let config = folder.write("farebox.yaml", CONFIG);
    let (body, start) = (example("session-terminate.json"), example("session-start.json"));
    let args = ["encode", "--op", "terminate", &body, "--session", &start, "--config", &config];
    let (out, _) = check(&args, b"", 0);
    assert!(out.contains("ACR-Stop  Accounting-Request"), "{out}");
    assert!(out.contains("CCR-T  Credit-Control-Request"), "{out}");
    let again = check(&args, b"", 0).0;
    assert_eq!(out, again, "the same bodies give the same bytes");

    let file = folder.write("out.bin", "");
    check(&[&args[..], &["-o", &file]].concat(), b"", 0);
    let (judged, _) = check(&["decode", "--check", &file], b"", 0);
    assert_eq!(judged.matches("✔ right").count(), 2, "{judged}");

    let (out, _) = check(&[&args[..], &["--peer", "ocs-sim", "--format", "json"]].concat(), b"", 0);
    let json: serde_json::Value = serde_json::from_str(&out).expect("json");
    assert_eq!(json["messages"].as_array().map(Vec::len), Some(1), "{out}");
    assert_eq!(json["messages"][0]["command"], "CCR-T");
}

#[test]
fn encode_refuses_what_the_api_refuses() {
    let folder = Folder::new("encode-refuses");
    let config = folder.write("farebox.yaml", CONFIG);
    let body = br#"{"trigger":"bye-received","timestamp":"2025-12-12T10:43:11Z","usages":[]}"#;
    let (_, err) = check(&["encode", "--op", "terminate", "-", "--config", &config], body, 65);
    assert!(err.contains("FB1001") && err.contains("did you mean `usage`?"), "{err}");
    let args = ["encode", "--op", "terminate", "-", "--config", &config, "--peer", "ocs-sm"];
    let (_, err) = check(&args, body, 78);
    assert!(err.contains("did you mean `ocs-sim`?"), "{err}");
}

#[test]
fn check_points_at_the_line() {
    let folder = Folder::new("check");
    let config = folder.write("farebox.yaml", &CONFIG.replace("[cdf-sim]", "[cdf-sin]"));
    let (out, _) = check(&["check", &config], b"", 78);
    assert!(out.contains("FB0203") && out.contains("did you mean `cdf-sim`"), "{out}");
    let config = folder.write("farebox.yaml", CONFIG);
    check(&["check", "--deny", "warnings", &config], b"", 0);
    let (out, _) = check(&["config", "show", "--effective", "--config", &config], b"", 0);
    assert!(out.contains("ok_timeout: 36s"), "{out}");
    let (_, err) = check(&["run", "--config", "/nonexistent/farebox.yaml"], b"", 78);
    assert!(err.contains("FAREBOX_CONFIG"), "{err}");
}

/// Runs the demo and returns its object.
fn demo(args: &[&str], code: i32) -> serde_json::Value {
    let (out, err) = check(&[&["demo", "--once", "--json"], args].concat(), b"", code);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}\n{out}\n{err}"))
}

#[test]
fn x_01_x_02_x_03_x_04_x_08_x_09_the_demo_charges_every_end_once() {
    let demo = demo(&[], 0);
    let flows = demo["flows"].as_array().expect("flows");
    assert_eq!(flows.len(), 5, "{demo}");
    for flow in flows {
        assert_eq!(flow["charged"], true, "{flow}");
        let exchanges = flow["exchanges"].as_array().expect("exchanges");
        let count = |name: &str| exchanges.iter().filter(|e| e["command"] == name).count();
        assert_eq!((count("ACR-STOP"), count("CCR-T")), (1, 1), "{flow}");
    }
    assert_eq!(demo["charged"], true);
}

#[test]
fn the_demo_notices_a_lost_cdr() {
    let demo = demo(&["--lose-cdr", "--flow", "client-close"], 3);
    assert_eq!(demo["charged"], false);
    let problem = demo["flows"][0]["problems"][0].as_str().expect("a problem");
    assert!(problem.contains("0 STOP_RECORD"), "{problem}");
}

/// A gateway in a process of its own, ended at the end.
struct Gateway {
    child: std::process::Child,
    api: String,
}

impl Gateway {
    /// Starts on free ports; the store is `folder`/store.
    fn start(folder: &Folder) -> Gateway {
        use std::io::{BufRead, BufReader};
        let mut child = Command::new(env!("CARGO_BIN_EXE_farebox"))
            .args(["run", "--config", &run_config(folder, "127.0.0.1:0")])
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let api = lines.find_map(|line| {
            let line = line.expect("utf-8");
            line.strip_prefix("api      http://").map(str::to_owned)
        });
        // What follows must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Gateway { child, api: api.expect("it says where it listens") }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().expect("kill");
        assert!(sent.success());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run_config(folder: &Folder, api: &str) -> String {
    let store = folder.0.join("store");
    let config = format!(
        "{CONFIG}api: {{listen: \"{api}\"}}\nadmin: {{listen: \"127.0.0.1:0\"}}\nstore: {{path: {store:?}}}\n"
    );
    folder.write("farebox.yaml", &config)
}

#[test]
fn fd_15_a_second_process_on_a_store_is_75_and_names_the_first() {
    let folder = Folder::new("held");
    let gateway = Gateway::start(&folder);
    let config = run_config(&folder, "127.0.0.1:0");
    let (_, err) = check(&["run", "--config", &config], b"", 75);
    assert!(err.contains("FB2002"), "{err}");
    assert!(err.contains(&gateway.child.id().to_string()), "{err}");
}

#[test]
fn a_port_in_use_names_its_holder() {
    let (folder, other) = (Folder::new("port"), Folder::new("port-other"));
    let gateway = Gateway::start(&folder);
    let config = run_config(&other, &gateway.api);
    let (_, err) = check(&["run", "--config", &config], b"", 1);
    let holder = format!("farebox (pid {})", gateway.child.id());
    assert!(err.contains("FB2001") && err.contains(&holder), "{err}");
}

#[test]
fn fp_03_sigterm_drains_and_ends_with_0() {
    for name in ["-TERM", "-INT"] {
        let folder = Folder::new(&format!("drain{name}"));
        let mut gateway = Gateway::start(&folder);
        gateway.signal(name);
        let status = gateway.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{name}");
    }
}
