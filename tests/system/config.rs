//! Configuration files on disk: what is accepted, what every mistake is answered with.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use farebox::charging::event::Interfaces;
use farebox::charging::outcome::Outcome;
use farebox::charging::policy::{Ccfh, Ddfh, Model, SendDestinationHost};
use farebox::config::{Environment, Loaded, Report, check, effective, load};
use farebox::diagnostic::{Code, Diagnostic, Severity};
use farebox::peer::Application;
use farebox::peer::routing::{Interface, RoutePolicy, Sticky};

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("farebox-config-{}-{number}", std::process::id());
        let folder = Folder(std::env::temp_dir().join(name));
        for (name, text) in files {
            let path = folder.0.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("written");
        }
        folder
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Variables of the tests: `PRESENT` and `EMPTY` are set.
fn environment() -> Environment {
    Environment::new(|name| match name {
        "PRESENT" => Some("here".to_owned()),
        "WINDOW" => Some("77".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    })
}

fn loaded(files: &[(&str, &str)]) -> Loaded {
    let folder = Folder::new(files);
    load(&[folder.path().to_owned()], &environment())
}

fn report(text: &str) -> Report {
    loaded(&[("farebox.yaml", text)]).report
}

const MINIMAL: &str = r#"version: 1
identity: {host: cg1.ims.example.net, realm: ims.example.net}
peers:
  cdf-a: {address: "127.0.0.1:3868", realm: cdf.example.net, applications: [{acct: 3}]}
routes:
  - {interface: ch1, peers: [cdf-a]}
"#;

/// The full sample of the product page, without what this build refuses.
const FULL: &str = r#"# yaml-language-server: $schema=./farebox.schema.json
version: 1

identity:
  host: cg1.ims.example.net          # Origin-Host
  realm: ims.example.net             # Origin-Realm
  product_name: farebox
  vendor_id: 10415
  addresses: [192.0.2.1]             # Host-IP-Address; default: local address of the connection

api:
  listen: 0.0.0.0:8868
  require_idempotency_key: false
  orphans: accept                    # terminate without start: accept | reject
  max_wait: 30s
  auth: {tokens: [{name: cpm-1, token: "${file:secrets/cpm-1}", scopes: [trigger, read]}]}   # scopes: trigger read refund
  notify: {allow: ["https://as1.cpm.example.net"]}
  limits: {max_in_flight: 20000, max_body: 64KiB, rate: 20000/s}

admin:
  listen: 127.0.0.1:8869             # console, metrics, health, admin API; loopback unless you say otherwise
  roles: {viewer: "${VIEWER_TOKEN:-}", operator: "${OPERATOR_TOKEN:-}"}

dictionaries:
  - builtin: [base, credit-control, tgpp, oma]
  - file: dictionaries/acme.yaml

peers:
  ocs-a:
    address: ocs-a.ocs.example.net:3868
    host: ocs-a.ocs.example.net      # expected Origin-Host in CEA; "*" accepts any
    realm: ocs.example.net
    transport: tcp                   # tcp | sctp
    tls: none                        # none | require | {ca: ..., cert: ..., key: ...}
    applications: [{auth: 4, vendor: 10415}]
    profile: acme-ocs                # overrides below
    watchdog: 30s
    timeout: 2s                      # Tx per request (default 10s, RFC 8506)
    reconnect: {initial: 1s, max: 30s}
    window: 500                      # outstanding requests
    rate: 3000/s
    dedup_domain: ocs-pair           # peers that share duplicate detection (default: the realm)
    quirks:
      serialize_session: true        # one CCR at a time per session (default)
      send_destination_host: after-initial
      strip_plus_from_e164: true
  ocs-b: {address: "ocs-b.ocs.example.net:3868", realm: ocs.example.net, tls: none, applications: [{auth: 4}], profile: acme-ocs, dedup_domain: ocs-pair,
          overlay: {remove: ["Service-Information/ACME-Chat-Info"]}}
  cdf-a: {address: "192.0.2.50:3868", realm: cdf.example.net, tls: none, applications: [{acct: 3}]}
  cdf-b: {address: "192.0.2.51:3868", realm: cdf.example.net, tls: none, applications: [{acct: 3}]}

routes:
  - {interface: ch2, peers: [ocs-a, ocs-b], policy: failover, sticky: session}
  - {interface: ch1, peers: [cdf-a, cdf-b], policy: failover}
  - {interface: ch2, when: 'subscriber.mccmnc == "26207"', peers: [ocs-b]}

policy:
  services:
    chat:               {interfaces: [ch1, ch2], model: scur, rating_group: 700, service_id: 7}
    file-transfer:      {interfaces: [ch1, ch2], model: ecur, rating_group: 710, service_id: 8}
    standalone-message: {interfaces: [ch1, ch2], model: iec,  rating_group: 701, service_id: 9}
    notification:       {interfaces: [ch1]}
  default: {interfaces: [ch1]}

rating_groups: {chat: 700, standalone-message: 701, file-transfer: 710}

failure:
  ch2: {on_no_answer: retry_and_terminate, direct_debit: terminate_or_buffer, buffer_for: 24h}   # default on_no_answer: terminate

termination:
  ok_timeout: 36s                    # the guard (api.md 1)
  settle_within: 30s                 # how long a CCR-T is tried before it becomes a backup record
  backup_accounting: true
  max_session: 24h

store:                               # open sessions, spool, idempotency keys; embedded by default: nothing to install
  path: /var/lib/farebox
  max_size: 20GiB
  sync: batch(0ms)                   # how long writers may wait to share one flush; 0: no longer than the flush before
  retention: {acknowledged: 72h, dead_letter: 90d}
  replay: {rate: 500/s, order: oldest_first, ch2: settle_only}

trace: {keep: 1h, max_size: 1GiB, mask_subscriber: true}

profiles:
  acme-ocs:
    service_context_id: "15.32260@3gpp.org"
    ch2_mapping: mappings/ch2-acme.yaml
    results:
      5031: {outcome: free, note: "ACME answers 5031 for bundles; agreed with BSS 2025-03"}
    timeouts: {CCR-T: 5s}
"#;

const ACME_DICTIONARY: &str = r#"dictionary: acme
vendor: {name: ACME, id: 99999}
source: "ACME OCS 7.2 Diameter ICD, issue 4, 2025-03"
avps:
  - {name: ACME-Campaign-Id, code: 1001, type: UTF8String, flags: V, doc: "max 32 bytes"}
  - name: ACME-Chat-Info
    code: 1010
    type: Grouped
    flags: V
    contains:
      - {avp: ACME-Campaign-Id, max: 1}
extend:
  - {group: Service-Information, add: [{avp: ACME-Chat-Info, max: 1}]}
"#;

const ACME_MAPPING: &str = r#"mapping: ch2-acme
interface: ch2
extends: builtin:oma-cpm/ch2
set:
  Service-Information:
    ACME-Chat-Info:
      when: extensions['acme.campaign'] != null
      ACME-Campaign-Id: "${extensions['acme.campaign'] | truncate_utf8(32)}"
"#;

fn full_files(config: &str) -> Vec<(&str, &str)> {
    vec![
        ("farebox.yaml", config),
        ("secrets/cpm-1", "s3cret\n"),
        ("dictionaries/acme.yaml", ACME_DICTIONARY),
        ("mappings/ch2-acme.yaml", ACME_MAPPING),
    ]
}

fn codes(report: &Report) -> Vec<Code> {
    report.diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
}

/// The text that a finding points at.
fn pointed<'r>(report: &'r Report, diagnostic: &Diagnostic) -> &'r str {
    let Some(span) = &diagnostic.span else { return "" };
    &report.sources[&*span.file][span.start..span.end]
}

#[test]
fn the_least_that_starts_has_the_documented_defaults() {
    let Loaded { config, report } = loaded(&[("farebox.yaml", MINIMAL)]);
    assert_eq!(codes(&report), [Code::FB0410], "{}", report.human(false));
    let config = config.expect("no error");
    assert_eq!(config.api.listen.to_string(), "127.0.0.1:8868");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8869");
    assert_eq!(config.store.path, Path::new("./farebox-data"));
    assert_eq!((config.store.batch, config.store.max_size_bytes), (Duration::ZERO, None));
    assert_eq!(config.store.keep_dead, Duration::from_secs(90 * 86_400));
    let peer = &config.peers[0];
    assert_eq!((peer.host.as_deref(), peer.realm.as_str()), (None, "cdf.example.net"));
    assert_eq!(peer.applications, [Application::acct(3)]);
    assert_eq!((peer.watchdog.as_secs(), peer.timeout.as_secs()), (30, 10));
    assert_eq!((peer.reconnect_initial.as_secs(), peer.reconnect_max.as_secs()), (1, 30));
    assert_eq!(peer.reconnect_after_dpr.as_secs(), 300);
    assert_eq!(
        (peer.window, peer.rate, peer.dedup_domain.as_str()),
        (500, None, "cdf.example.net")
    );
    let policy = &config.policy;
    assert_eq!(policy.default_interfaces, Interfaces { ch1: true, ch2: false });
    assert_eq!(policy.failure.on_no_answer, Ccfh::Terminate);
    assert_eq!(policy.failure.direct_debit, Ddfh::TerminateOrBuffer);
    assert_eq!(policy.failure.buffer_for.as_secs(), 86_400);
    assert_eq!(policy.termination.ok_timeout.as_secs(), 36);
    assert_eq!(policy.termination.settle_within, None);
    assert!(policy.termination.backup_accounting && policy.accept_orphans);
    assert_eq!(policy.termination.max_session.as_secs(), 86_400);
    assert_eq!(policy.termination.abort_grace.as_secs(), 5);
    assert_eq!(policy.max_wait.as_secs(), 30);
    assert_eq!(policy.peers[0].service_context_id, "15.32260@3gpp.org");
    assert_eq!(policy.peers[0].mapping.ch1, "oma-cpm/ch1");
    assert_eq!(policy.peers[0].send_destination_host, None);
    assert_eq!(config.mappings.keys().collect::<Vec<_>>(), ["oma-cpm/ch1"]);
    assert_eq!(config.drain_timeout.as_secs(), 10);
    assert_eq!(config.peers[0].limits.message_bytes_max, 1 << 20);
}

#[test]
fn the_full_sample_of_the_product_page_is_read_whole() {
    let Loaded { config, report } = loaded(&full_files(FULL));
    assert_eq!(report.errors(), 0, "{}", report.human(false));
    let warnings = [Code::FB0410, Code::FB0410, Code::FB0411];
    assert_eq!(codes(&report), warnings, "{}", report.human(false));
    let config = config.expect("no error");
    assert_eq!(config.api.tokens[0].name, "cpm-1");
    assert!(config.api.tokens[0].scopes.trigger && !config.api.tokens[0].scopes.refund);
    let expected = farebox::config::settings::Token::new("x", "s3cret", Default::default());
    assert_eq!(config.api.tokens[0].digest, expected.digest);
    assert_eq!(config.api.rate_per_second, Some(20_000));
    assert_eq!((config.admin.viewer.clone(), config.admin.operator.clone()), (None, None));
    let (ocs_a, ocs_b) = (&config.policy.peers[0], &config.policy.peers[1]);
    assert_eq!(ocs_a.command_timeouts["CCR-T"].as_secs(), 5);
    assert_eq!(ocs_a.results[&5031], Outcome::Free);
    assert_eq!(ocs_a.send_destination_host, Some(SendDestinationHost::AfterInitial));
    assert_eq!(ocs_b.host.as_deref(), Some("ocs-b.ocs.example.net"));
    assert_eq!(ocs_a.mapping.ch2, "ch2-acme+strip_plus");
    assert_eq!(ocs_b.mapping.ch2, "ch2-acme+ocs-b");
    assert!(config.mappings.contains_key("ch2-acme+ocs-b"));
    assert_eq!(config.policy.services["file-transfer"].model, Model::Ecur);
    // The route with a condition is tried first, in both forms.
    assert_eq!(config.routes.routes[0].peers, [1]);
    assert_eq!(config.routes.routes[1].interface, Interface::Ch2);
    assert_eq!(config.routes.routes[1].sticky, Sticky::Session);
    assert_eq!(config.policy.routes[0].peers, [1]);
    assert!(config.policy.routes[0].when.is_some() && config.policy.routes[1].when.is_none());
    let counts = report.counts;
    assert_eq!((counts.configs, counts.mappings, counts.dictionaries), (1, 3, 5));
    assert!(counts.mapping_avps > 30 && counts.dictionary_avps > 300, "{counts:?}");
    assert!(report.summary().starts_with("checked 1 config, 3 mappings ("), "{}", report.summary());
}

#[test]
fn every_mistake_is_found_with_its_place() {
    let peer = r#"cdf-a: {address: "127.0.0.1:3868""#;
    for (from, to, code, at) in [
        ("version: 1", "version: 2", Code::FB0102, "2"),
        ("version: 1\n", "", Code::FB0103, ""),
        ("realm: ims.example.net}", "}", Code::FB0103, "identity"),
        ("host: cg1.ims.example.net", "host: \"cg1 ims\"", Code::FB0102, "\"cg1 ims\""),
        ("peers:\n", "peerz:\n", Code::FB0101, "peerz"),
        (", realm: cdf.example.net", ", relm: cdf.example.net", Code::FB0101, "relm"),
        (peer, "cdf-a: {address: \"192.0.2.50:3868\"", Code::FB0103, "\"192.0.2.50:3868\""),
        (peer, "cdf-a: {address: cdf", Code::FB0207, "cdf"),
        (peer, "cdf-a: {address: \"cdf:70000\"", Code::FB0207, "\"cdf:70000\""),
        (peer, "cdf-a: {host: cdf", Code::FB0103, "{"),
        ("realm: cdf", "watchdog: 5s, realm: cdf", Code::FB0204, "5s"),
        ("realm: cdf", "watchdog: 5, realm: cdf", Code::FB0102, "5"),
        ("realm: cdf", "timeout: 10sec, realm: cdf", Code::FB0102, "10sec"),
        ("realm: cdf", "window: 0, realm: cdf", Code::FB0102, "0"),
        ("realm: cdf", "window: \"500\", realm: cdf", Code::FB0102, "\"500\""),
        ("realm: cdf", "rate: 3000, realm: cdf", Code::FB0102, "3000"),
        ("realm: cdf", "tls: require, realm: cdf", Code::FB0103, "require"),
        ("realm: cdf", "tls: yes, realm: cdf", Code::FB0102, "yes"),
        ("realm: cdf", "tls: {ca: gone.pem, cert: a, key: b}, realm: cdf", Code::FB0002, "gone"),
        ("realm: cdf", "tls: {ca: gone.pem}, realm: cdf", Code::FB0103, "tls"),
        ("realm: cdf", "transport: sctp, realm: cdf", Code::FB0206, "transport"),
        ("realm: cdf", "profile: acme, realm: cdf", Code::FB0208, "acme"),
        ("realm: cdf", "quirks: {t_after_error: yes}, realm: cdf", Code::FB0421, "yes"),
        (
            "realm: cdf",
            "quirks: {serialize_session: false}, realm: cdf",
            Code::FB0206,
            "serialize_session",
        ),
        ("realm: cdf", "reconnect: {initial: 1m, max: 1s}, realm: cdf", Code::FB0102, "{"),
        ("{acct: 3}", "{auth: 3}", Code::FB0420, "{"),
        ("{acct: 3}", "{auth: 4}", Code::FB0102, "["),
        ("{acct: 3}", "{acct: 3, auth: 4}", Code::FB0102, "{"),
        ("[{acct: 3}]", "[]", Code::FB0102, "["),
        ("peers: [cdf-a]", "peers: [cdf-b]", Code::FB0203, "cdf-b"),
        ("peers: [cdf-a]", "peers: [cdf-a, cdf-a]", Code::FB0201, "cdf-a"),
        ("peers: [cdf-a]", "peers: []", Code::FB0102, "["),
        ("peers: [cdf-a]", "peers: [cdf-a], when: 'a =='", Code::FB0111, "'a =='"),
        ("peers: [cdf-a]", "peers: [cdf-a], policy: random", Code::FB0102, "random"),
        ("peers: [cdf-a]", "peers: [cdf-a], weights: {cdf-a: 2}", Code::FB0102, "{"),
        (
            "peers: [cdf-a]",
            "peers: [cdf-a], policy: weighted, weights: {cdf-b: 2}",
            Code::FB0203,
            "2",
        ),
        (
            "peers: [cdf-a]",
            "peers: [cdf-a], policy: weighted, weights: {cdf-a: 0}",
            Code::FB0102,
            "0",
        ),
        ("{acct: 3}]}", "{acct: 3}], overload: yes}", Code::FB0421, "yes"),
        ("interface: ch1", "interface: ch3", Code::FB0102, "ch3"),
        ("interface: ch1,", "", Code::FB0103, "{"),
        (
            "version: 1",
            "version: 1\npolicy: {services: {chat: {interfaces: [ch2], model: scur}}}",
            Code::FB0202,
            "[",
        ),
        (
            "version: 1",
            "version: 1\npolicy: {services: {chat: {interfaces: [ch2]}}}",
            Code::FB0103,
            "chat",
        ),
        (
            "version: 1",
            "version: 1\npolicy: {default: {interfaces: [ch2]}}",
            Code::FB0202,
            "default",
        ),
        ("version: 1", "version: 1\napi: {listen: 0.0.0.0:8868}", Code::FB0205, "0.0.0.0:8868"),
        ("version: 1", "version: 1\napi: {listen: localhost:8868}", Code::FB0207, "localhost:8868"),
        ("version: 1", "version: 1\napi: {tls: {cert: a, key: b}}", Code::FB0206, "tls"),
        ("version: 1", "version: 1\napi: {require_idempotency_key: on}", Code::FB0421, "on"),
        ("version: 1", "version: 1\napi: {limits: {max_body: 2MiB}}", Code::FB0102, "2MiB"),
        ("version: 1", "version: 1\nadmin: {listen: \"[::]:8869\"}", Code::FB0205, "\"[::]:8869\""),
        ("version: 1", "version: 1\nstore: {cluster: {}}", Code::FB0206, "cluster"),
        ("version: 1", "version: 1\nstore: {sync: batch(5)}", Code::FB0102, "batch(5)"),
        ("version: 1", "version: 1\nstore: {max_size: 20GB}", Code::FB0102, "20GB"),
        ("version: 1", "version: 1\ndiameter: {listen: [here]}", Code::FB0207, "here"),
        ("version: 1", "version: 1\ndiameter: {tls_listen: [0.0.0.0]}", Code::FB0103, "["),
        ("version: 1", "version: 1\ndiameter: {allow: [{ip: 192.0.2.0/33}]}", Code::FB0102, "192"),
        ("version: 1", "version: 1\ndiameter: {allow: [{}]}", Code::FB0102, "{"),
        ("version: 1", "version: 1\ndiameter: {allow: [{host: ocs}]}", Code::FB0203, "ocs"),
        ("version: 1", "version: 1\ndiameter: {allow: []}", Code::FB0414, "{"),
        ("version: 1", "version: 1\nrating_groups: {chat: -1}", Code::FB0102, "-1"),
        ("version: 1", "version: 1\ntermination: {backup_accounting: no}", Code::FB0421, "no"),
        (
            "version: 1",
            "version: 1\nfailure: {ch2: {on_no_answer: terminat}}",
            Code::FB0102,
            "terminat",
        ),
        (
            "version: 1",
            "version: 1\nprofiles: {a: {results: {5x: {outcome: free}}}}",
            Code::FB0102,
            "{",
        ),
        ("version: 1", "version: 1\nprofiles: {a: {timeouts: {CCR-X: 5s}}}", Code::FB0101, "CCR-X"),
        (
            "version: 1",
            "version: 1\nprofiles: {a: {ch1_mapping: gone.yaml}}",
            Code::FB0002,
            "gone.yaml",
        ),
        ("version: 1", "version: 1\ndictionaries: [{file: gone.yaml}]", Code::FB0002, "gone.yaml"),
        ("version: 1", "version: 1\ndictionaries: [{import: {}}]", Code::FB0206, "import"),
        ("realm: cdf.example.net", "realm: \"${ABSENT}\"", Code::FB0003, "\"${ABSENT}\""),
        ("realm: cdf.example.net", "realm: \"${file:absent}\"", Code::FB0002, "\"${file:absent}\""),
        ("realm: cdf.example.net", "realm: \"${PRESENT\"", Code::FB0102, "\"${PRESENT\""),
        ("realm: cdf.example.net", "realm: \"${EMPTY}\"", Code::FB0003, "\"${EMPTY}\""),
        ("routes:\n", "routes:\n\t", Code::FB0001, ""),
    ] {
        assert!(MINIMAL.contains(from), "{from}");
        let report = report(&MINIMAL.replacen(from, to, 1));
        let found = report.diagnostics.iter().any(|diagnostic| {
            diagnostic.code == code
                && (at.is_empty() || pointed(&report, diagnostic).starts_with(at))
        });
        assert!(found, "{to}: {code} at {at:?} expected\n{}", report.human(false));
        let warning = matches!(code, Code::FB0414 | Code::FB0420);
        assert_eq!(report.errors() == 0, warning, "{to}\n{}", report.human(false));
    }
}

#[test]
fn p_07_the_identity_of_a_peer_is_known_before_it_is_dialled() {
    let host = |peer: &str| {
        let text = MINIMAL.replace("address: \"127.0.0.1:3868\"", peer);
        let loaded = loaded(&[("farebox.yaml", &text)]);
        let codes = codes(&loaded.report);
        (loaded.config.map(|config| config.peers[0].host.clone()), codes)
    };
    let name = Some("cdf-a.example.net".to_owned());
    let (by_address, codes) = host("address: \"cdf-a.example.net:3868\", tls: none");
    assert_eq!((by_address, codes.len()), (Some(name.clone()), 0));
    let (written, codes) = host("address: \"127.0.0.1:3868\", host: cdf-a.example.net");
    assert_eq!((written, codes.len()), (Some(name), 0));
    let (any, codes) = host("address: \"127.0.0.1:3868\"");
    assert_eq!((any, codes), (Some(None), vec![Code::FB0410]), "any name, and a warning");
}

#[test]
fn weights_and_overload_are_read_and_shown() {
    let text = MINIMAL
        .replace("[{acct: 3}]}", "[{acct: 3}], overload: true}\n  cdf-b: {address: \"127.0.0.1:3869\", host: cdf-b.example.net, realm: cdf.example.net, overload: true}")
        .replace("[cdf-a]", "[cdf-a, cdf-b], policy: weighted, weights: {cdf-b: 3}");
    let loaded = loaded(&[("farebox.yaml", &text)]);
    let config = loaded.config.expect("it is valid");
    assert!(config.peers.iter().all(|peer| peer.overload));
    assert_eq!(config.routes.routes[0].policy, RoutePolicy::Weighted(vec![1, 3]));
    let shown = serde_yaml::to_string(&effective(&config)).expect("yaml");
    assert!(
        shown.contains("policy: weighted\n  weights:\n    cdf-a: 1\n    cdf-b: 3\n"),
        "{shown}"
    );
    assert!(shown.contains("overload: true"));
    let differs = report(&text.replacen("overload: true", "overload: false", 1));
    assert!(codes(&differs).contains(&Code::FB0411), "copies would differ");
}

#[test]
fn all_problems_of_a_file_come_at_once() {
    let text = MINIMAL
        .replace("realm: ims.example.net", "reelm: ims.example.net")
        .replace("[cdf-a]", "[cdf-c]")
        .replace("realm: cdf.example.net", "realm: cdf.example.net, watchdog: 1s, window: none");
    let report = report(&text);
    let expected =
        [Code::FB0101, Code::FB0103, Code::FB0204, Code::FB0102, Code::FB0203, Code::FB0410];
    assert_eq!(codes(&report), expected, "{}", report.human(false));
}

#[test]
fn findings_are_drawn_with_line_and_caret() {
    let report = report(&MINIMAL.replace("[cdf-a]", "[cdf-c]"));
    let text = report.human(false);
    assert!(text.contains("error[FB0203]: peer `cdf-c` is not defined"), "{text}");
    assert!(text.contains("farebox.yaml:6:30"), "{text}");
    assert!(text.contains("^^^^^ did you mean `cdf-a`?"), "{text}");
    assert!(text.trim_end().ends_with("1 error, 1 warning"), "{text}");
    let json = report.json();
    assert_eq!((&json["errors"], &json["warnings"]), (&1.into(), &1.into()));
    assert_eq!(json["diagnostics"][0]["line"], 6);
    assert_eq!(json["diagnostics"][0]["severity"], "error");
}

#[test]
fn nine_of_ten_seeded_typos_get_the_right_suggestion() {
    // One letter left out, doubled, swapped with its neighbour, or replaced, by a fixed seed.
    let words = [
        "identity",
        "require_idempotency_key",
        "orphans",
        "max_wait",
        "dictionaries",
        "applications",
        "watchdog",
        "timeout",
        "reconnect",
        "window",
        "dedup_domain",
        "quirks",
        "strip_plus_from_e164",
        "send_destination_host",
        "overlay",
        "routes",
        "interface",
        "sticky",
        "services",
        "rating_group",
        "service_id",
        "rating_groups",
        "on_no_answer",
        "direct_debit",
        "buffer_for",
        "termination",
        "ok_timeout",
        "settle_within",
        "backup_accounting",
        "max_session",
        "retention",
        "acknowledged",
        "dead_letter",
        "profiles",
        "service_context_id",
        "ch2_mapping",
        "results",
        "timeouts",
        "retry_and_terminate",
        "terminate_or_buffer",
        "after-initial",
        "failover",
    ];
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).expect("small")
    };
    let (mut right, mut wrong) = (0, Vec::new());
    for (kind, word) in words.into_iter().enumerate() {
        let mut letters: Vec<char> = word.chars().collect();
        let at = 1 + next(letters.len() - 2);
        match kind % 4 {
            0 => drop(letters.remove(at)),
            1 => letters.insert(at, letters[at]),
            2 => letters.swap(at, at + 1),
            _ => letters[at] = 'q',
        }
        let typo: String = letters.into_iter().collect();
        let text = replace_word(FULL, word, &typo);
        let report = loaded(&full_files(&text)).report;
        let label = format!("did you mean `{word}`?");
        if report.diagnostics.iter().any(|d| d.label.as_deref() == Some(label.as_str())) {
            right += 1;
        } else {
            wrong.push(format!("{word} as {typo}"));
        }
    }
    assert!(right >= 9 * wrong.len(), "{right} right, wrong: {wrong:?}");
}

/// The first occurrence of `word` as a whole word, replaced.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let found = text.match_indices(word).find(|(at, _)| {
        !text[..*at].ends_with(inside)
            && !text[at + word.len()..].starts_with(inside)
            && !text[..*at].rsplit('\n').next().unwrap_or("").contains('#')
    });
    let (at, _) = found.unwrap_or_else(|| panic!("{word} stands in the sample"));
    format!("{}{by}{}", &text[..at], &text[at + word.len()..])
}

#[test]
fn a_folder_is_merged_in_name_order_and_filled_from_the_environment() {
    let Loaded { config, report } = loaded(&[
        ("10-base.yaml", MINIMAL),
        (
            "20-site.yaml",
            "peers:\n  cdf-a: {host: \"${PRESENT}.cdf\", window: \"${WINDOW}\"}\n\
             identity: {product_name: \"${ABSENT:-from default}\"}\n",
        ),
        (
            "30-last.yml",
            "peers: {cdf-a: {window: \"${WINDOW}\"}}\nadmin: {roles: {viewer: \"${ABSENT:-}\"}}\n",
        ),
        ("notes.txt", "not: [read"),
        ("mappings/other.yaml", "not: [read"),
    ]);
    assert_eq!(codes(&report), [], "{}", report.human(false));
    assert_eq!(report.counts.configs, 3);
    let config = config.expect("no error");
    assert_eq!(config.peers[0].host.as_deref(), Some("here.cdf"));
    assert_eq!(config.peers[0].window, 77);
    assert_eq!(config.identity.product_name, "from default");
    assert_eq!(config.identity.realm, "ims.example.net");
    assert_eq!(config.admin.viewer, None);
}

#[test]
fn files_that_are_not_there_are_said_so() {
    let report = check(&[PathBuf::from("/nowhere/farebox.yaml")], &environment());
    assert_eq!(codes(&report), [Code::FB0002]);
    let empty = Folder::new(&[("readme.txt", "")]);
    assert_eq!(codes(&check(&[empty.path().to_owned()], &environment())), [Code::FB0002]);
    let Loaded { config, report } = loaded(&[("farebox.yaml", "")]);
    assert!(config.is_none() && report.errors() > 0);
}

#[test]
fn mappings_are_compiled_per_peer_with_their_findings() {
    let wrong = ACME_MAPPING.replace("ACME-Chat-Info:", "ACME-Chat-Inf:");
    let mut files = full_files(FULL);
    files[3].1 = &wrong;
    let report = loaded(&files).report;
    let finding = report.diagnostics.iter().find(|d| d.code == Code::FB0107).expect("found");
    assert_eq!(pointed(&report, finding), "ACME-Chat-Inf");
    // Both peers of the profile use the file; the problem is told once.
    assert_eq!(report.diagnostics.iter().filter(|d| d.code == Code::FB0107).count(), 1);
    assert!(report.human(false).contains("mappings/ch2-acme.yaml:6:5"), "{}", report.human(false));

    let loops = ACME_MAPPING.replace("builtin:oma-cpm/ch2", "ch2-acme.yaml");
    let mut files = full_files(FULL);
    files[3].1 = &loops;
    assert!(loaded(&files).report.errors() > 0);
}

#[test]
fn a_mapping_may_extend_another_file() {
    let child = "mapping: child\ninterface: ch2\nextends: ch2-acme.yaml\nremove: [User-Name]\n";
    let config = FULL.replace("mappings/ch2-acme.yaml", "mappings/child.yaml");
    let mut files = full_files(&config);
    files.push(("mappings/child.yaml", child));
    let Loaded { config, report } = loaded(&files);
    assert_eq!(report.errors(), 0, "{}", report.human(false));
    let config = config.expect("no error");
    assert_eq!(config.policy.peers[0].mapping.ch2, "child+strip_plus");
    assert_eq!(report.counts.mappings, 4);
}

#[test]
fn effective_shows_every_default_and_no_secret() {
    let config = loaded(&full_files(FULL)).config.expect("no error");
    let text = serde_yaml::to_string(&effective(&config)).expect("YAML");
    assert!(!text.contains("s3cret"), "{text}");
    for line in [
        "  ok_timeout: 36s",
        "    token: '***'",
        "  path: /var/lib/farebox",
        "    watchdog: 30s",
        "      after_dpr: 5m",
        "    dedup_domain: ocs-pair",
        "  max_message: 1MiB",
        "    service_context_id: 15.32260@3gpp.org",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[test]
fn the_production_example_passes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/farebox.yaml");
    let environment = Environment::new(|name| {
        (name == "FAREBOX_API_TOKEN").then(|| "a-token-of-the-cpm-server".to_owned())
    });
    let Loaded { config, report } = load(&[path], &environment);
    let severe: Vec<_> =
        report.diagnostics.iter().filter(|d| d.severity >= Severity::Warning).collect();
    assert!(severe.is_empty(), "{}", report.human(false));
    assert!(config.is_some());
}
