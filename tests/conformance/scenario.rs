//! Scenario files: what product.md shows can be read, and what is wrong is shown at its place.

use std::time::Duration;

use farebox::diagnostic::Code;
use farebox::diameter::id;
use farebox::sim::account::AccountState;
use farebox::sim::fault::{FinalUnitAction, Lost, Sessions, Verb};
use farebox::sim::fault_file::read_fault;
use farebox::sim::ledger::{Amount, parse_money};
use farebox::sim::scenario::{Role, Scenario};

const DENIAL: &str = include_str!("../scenarios/denial-and-failover.yaml");

#[test]
fn the_scenario_of_the_manual_is_read() {
    let scenario = Scenario::read("denial-and-failover.yaml", DENIAL).expect("valid");
    assert_eq!(scenario.name, "denial-and-failover");
    assert!(scenario.plays);
    let names: Vec<&str> = scenario.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["ocs-a", "ocs-b", "cdf-a"]);
    let Role::Ocs { config, shared: false } = &scenario.servers[0].role else {
        panic!("{:?}", scenario.servers[0])
    };
    assert_eq!(config.accounts["+12025550100"].state, AccountState::Unknown);
    assert_eq!(config.others.map(|spec| spec.balance), Some(Amount(100_000_000)));
    let tariff = &config.tariffs[&700];
    assert_eq!(Ok(tariff.price), parse_money("0.05 EUR").map(|(amount, _)| amount));
    assert_eq!((tariff.grant_seconds, tariff.validity_seconds), (Some(600), Some(900)));
    let latency = scenario.servers[0].latency.expect("latency");
    assert_eq!((latency.p50.as_millis(), latency.p99.as_millis()), (3, 40));

    let faults = scenario.faults_of("ocs-a");
    assert_eq!(faults.len(), 7);
    assert_eq!(faults[0].verbs, [Verb::Answer(4012), Verb::FinalUnit(FinalUnitAction::Terminate)]);
    assert_eq!(faults[2].verbs, [Verb::Drop(Lost::Answer)]);
    assert_eq!(faults[4].verbs, [Verb::MissingAvp(id::RESULT_CODE)]);
    assert_eq!(faults[5].verbs, [Verb::Dpr(1)]);
    assert_eq!(faults[6].verbs, [Verb::Rar(Sessions::Any, None)]);
    let refuse = &scenario.faults_of("cdf-a")[0];
    let secs = |secs| Some(Duration::from_secs(secs));
    assert_eq!((refuse.at, refuse.lasts), (secs(20), secs(30)));
}

#[test]
fn every_scenario_of_the_gallery_is_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the gallery") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let scenario = Scenario::read(&name, &text).unwrap_or_else(|found| panic!("{found:#?}"));
        assert_eq!(format!("{}.yaml", scenario.name), name);
        assert!(scenario.about.is_some(), "{name}");
        count += 1;
    }
    assert!(count >= 6, "{count}");
}

#[test]
fn every_problem_of_a_scenario_is_shown_at_its_place() {
    let text = "\
scenario: broken
accounts:
  \"+1\": {balance: \"1.00 EUR\", stat: active}
  \"+2\": {balance: \"1.00 USD\"}
tariffs:
  \"700\": {unit: minutes, price: \"0.05\"}
servers:
  ocs-a: {role: osc}
faults:
  - {server: ocs-b, do: {answer: DIAMETER_TOO_BUSY}}
  - {server: ocs-a, do: {dwr_silence: true}}
  - {server: ocs-a, do: {missing_avp: Result-Kode}}
  - {server: ocs-a, when: {nth: 0}, do: {}}
  - {server: ocs-a, when: {command: CCR-Q}}
";
    let found = Scenario::read("broken.yaml", text).expect_err("broken");
    let mut places: Vec<(u32, Code)> = found
        .iter()
        .map(|finding| (finding.span.as_ref().expect("a place").line, finding.code))
        .collect();
    places.sort();
    assert_eq!(
        places,
        [
            (3, Code::FB0101),
            (4, Code::FB0102),
            (6, Code::FB0102),
            (6, Code::FB0102),
            (8, Code::FB0102),
            (10, Code::FB0102),
            (11, Code::FB0206),
            (12, Code::FB0107),
            (13, Code::FB0102),
            (13, Code::FB0102),
            (14, Code::FB0102),
            (14, Code::FB0103),
        ],
        "{found:#?}"
    );
    let helps: Vec<&str> = found.iter().flat_map(|f| f.help.iter().map(String::as_str)).collect();
    for near in ["`state`", "`ocs`", "`ocs-a`", "`Result-Code`"] {
        assert!(helps.iter().any(|help| help.contains(near)), "{near} in {helps:?}");
    }
}

#[test]
fn a_fault_is_read_from_json_too() {
    let json = r#"{"when": {"command": "ACR", "every": 2}, "for": "1h",
        "do": {"answer": "DIAMETER_TOO_BUSY", "extra_avp": {"avp": "1044:99999",
        "type": "Unsigned32", "value": 7}, "wrong_flag": ["Result-Code", "Origin-Host"]}}"#;
    let fault = read_fault("body", json).expect("valid");
    assert_eq!(fault.verbs[0], Verb::Answer(3004));
    assert!(matches!(&fault.verbs[1], Verb::ExtraAvp(avp) if avp.id.vendor == 99999));
    assert_eq!(
        fault.verbs[2..],
        [Verb::WrongFlag(id::RESULT_CODE), Verb::WrongFlag(id::ORIGIN_HOST)]
    );
    assert_eq!(fault.lasts, Some(Duration::from_secs(3600)));
    assert!(read_fault("body", "{").is_err());
    assert!(read_fault("body", "[]").is_err());
}
