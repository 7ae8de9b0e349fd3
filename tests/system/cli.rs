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
