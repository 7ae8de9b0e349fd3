//! The sample clients of `examples/clients`, run against a whole gateway.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use farebox::sim::ledger::Amount;

use crate::api_world::*;

/// Runs `program` on a sample; says so and passes where the interpreter is not installed.
#[allow(clippy::print_stdout)] // A skipped test says why.
async fn charges(program: &str, sample: &str, wanted: &[&str]) {
    let found =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        println!("SKIPPED {sample}: {program} is not installed");
        return;
    }
    let whole = Whole::start().await;
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/clients").join(sample);
    let text = std::fs::read_to_string(&path).expect("readable");
    assert!(text.lines().count() <= 60, "{sample} has more than 60 lines");
    let mut client = Command::new(program);
    // Nobody listens at the first instance: the second is tried.
    client.arg(&path).arg("http://127.0.0.1:1").arg(format!("http://{}", whole.port.address));
    let output = tokio::task::spawn_blocking(move || client.output()).await.expect("no panic");
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    for words in wanted {
        assert!(said.contains(words), "{words}: {said}{complained}");
    }
    let account = whole.ocs.account(ANNE).expect("an account");
    assert_eq!(account.reserved, Amount::ZERO, "the session is closed: {said}");
}

#[tokio::test]
async fn the_python_client_charges_a_session() {
    let wanted = ["start granted continue", "terminate debited", "\"seconds\": 311"];
    charges("python3", "python/charge.py", &wanted).await;
}

#[tokio::test]
async fn the_node_client_charges_a_session() {
    let wanted = ["start granted continue", "terminate debited", "\"seconds\":311"];
    charges("node", "node/charge.mjs", &wanted).await;
}

#[tokio::test]
async fn the_java_client_charges_a_session() {
    let wanted = ["\"outcome\":\"granted\"", "\"outcome\":\"debited\"", "\"seconds\":311"];
    charges("java", "java/Charge.java", &wanted).await;
}
