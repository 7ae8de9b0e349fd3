//! The mapping language and the built-in mappings: G-01 to G-15, C-14, C-57, C-59, F-29, F-30.

use std::path::Path;

use bytes::BytesMut;
use farebox::diagnostic::document::Node;
use farebox::diagnostic::render::{Sources, render};
use farebox::diagnostic::{Code, Diagnostic, Severity};
use farebox::diameter::{
    Avp, AvpId, AvpList, CommandFlags, Dictionary, Limits, Message, Value as AvpValue, View,
    begin_message, check_grammar, decode, end_message, id, print, put_avp,
};
use farebox::mapping::{
    BUILTIN, Interface, Mapping, MappingError, Provenance, STRIP_PLUS_FROM_E164, Value,
    builtin_source, run_tests,
};
use proptest::prelude::*;

/// A value tree written as YAML.
fn tree(text: &str) -> Value {
    farebox::mapping::value_of_node(&Node::parse("tree", text).expect("YAML"))
}

/// What every message of the golden session says.
const SESSION: &str = r#"
service: chat
role: originating
node: as1.cpm.example.net
subscriber: [{type: e164, value: "+12025550123"}, {type: sip, value: "sip:+12025550123@ims.example.net"}]
from: sip:+12025550123@ims.example.net
to: ["tel:+12025550145"]
cpm: {conversationId: f81d4fae-7dec-11d0-a765-00a0c91e6bf6, contributionId: 9f1c4a7e-7d0e-4c1b-9a55-0c6d0a3b2f11, serverRole: participating, groupUri: null}
sip: {callId: a84b4c76e66710@as1, outgoingCallId: b7714@as1, icid: icid-5521, origIoi: ims.example.net, termIoi: null, icsi: "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session"}
participants: 2
extensions: {acme.campaign: summer}
"#;

const TERMINATE: &str = r#"
op: terminate
method: BYE
messages: {sent: 14, delivered: 13, exploded: 0, explodedDelivered: 0}
cause: {code: 0, termination: 1, reasonHeader: ["SIP;cause=200", "Q.850;cause=16"]}
time: {event: 1765536191000, sipRequest: 1765536191042, sipResponse: null}
usage: [{ratingGroup: 700, units: {seconds: 311, messages: 14}}]
services: [{ratingGroup: 700, serviceId: 7, requested: null, used: {seconds: 311, messages: 14}, reportingReason: FINAL, usedReason: null}]
"#;

/// The golden session's tree with `more` laid over it.
fn session(more: &str) -> Value {
    let mut whole = tree(SESSION);
    let Value::Map(entries) = tree(more) else { panic!("a map") };
    for (key, value) in entries {
        whole.put(&key, value);
    }
    whole
}

fn terminate() -> Value {
    session(TERMINATE)
}

fn ch1() -> &'static Mapping {
    Mapping::builtin("oma-cpm/ch1").expect("built in")
}

fn ch2() -> &'static Mapping {
    Mapping::builtin("oma-cpm/ch2").expect("built in")
}

/// The built-in mapping with overlays laid over it.
fn compile(interface: Interface, overlays: &[&str]) -> (Option<Mapping>, Vec<Diagnostic>) {
    let builtin = match interface {
        Interface::Ch1 => "oma-cpm/ch1",
        Interface::Ch2 => "oma-cpm/ch2",
    };
    let base = Node::parse("base.yaml", builtin_source(builtin).expect("built in")).expect("YAML");
    let nodes: Vec<Node> =
        overlays.iter().map(|text| Node::parse("mine.yaml", text).expect("YAML")).collect();
    let mut chain = vec![("base.yaml", &base)];
    chain.extend(nodes.iter().map(|node| ("mine.yaml", node)));
    Mapping::compile(&chain, Dictionary::builtin(), interface)
}

fn overlaid(interface: Interface, overlays: &[&str]) -> Mapping {
    let (mapping, found) = compile(interface, overlays);
    assert_eq!(found, [], "{overlays:?}");
    mapping.expect("compiles")
}

/// A mapping that is nothing but `text`.
fn alone(text: &str) -> Mapping {
    let (mapping, found) = try_alone(text);
    assert_eq!(found, [], "{text}");
    mapping.expect("compiles")
}

fn try_alone(text: &str) -> (Option<Mapping>, Vec<Diagnostic>) {
    let node = Node::parse("mine.yaml", text).expect("YAML");
    Mapping::compile(&[("mine.yaml", &node)], Dictionary::builtin(), Interface::Ch2)
}

/// The mapped AVPs as they are read from the wire; they must be without fault.
fn mapped(mapping: &Mapping, tree: &Value) -> Vec<Avp> {
    try_mapped(mapping, tree).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn try_mapped(mapping: &Mapping, tree: &Value) -> Result<Vec<Avp>, Vec<MappingError>> {
    let bytes = message(mapping, tree, &[])?;
    let (message, problems) = decode(&bytes, Dictionary::builtin(), &Limits::default());
    assert_eq!(problems, []);
    Ok(message.avps)
}

/// A whole message: the machines' AVPs, then the mapped ones.
fn message(
    mapping: &Mapping,
    tree: &Value,
    machine: &[Avp],
) -> Result<bytes::Bytes, Vec<MappingError>> {
    let mut out = BytesMut::new();
    let (code, application) = mapping.interface().command();
    let flags = CommandFlags(CommandFlags::REQUEST | CommandFlags::PROXIABLE);
    begin_message(&mut out, flags, code, application, 0x5a1c_0009, 0x93bb_0014);
    machine.iter().for_each(|avp| put_avp(&mut out, avp));
    mapping.apply(tree, &mut out)?;
    end_message(&mut out);
    Ok(out.freeze())
}

/// The text at a path of ids, the first of each.
fn at<'m>(avps: &'m [Avp], path: &[AvpId]) -> Option<&'m Avp> {
    let (id, rest) = path.split_first()?;
    let found = avps.find(*id)?;
    if rest.is_empty() { Some(found) } else { at(found.members()?, rest) }
}

fn text_at<'m>(avps: &'m [Avp], path: &[AvpId]) -> Option<&'m str> {
    at(avps, path)?.value.as_text()
}

fn ims(avps: &[Avp]) -> &[Avp] {
    at(avps, &[id::SERVICE_INFORMATION, id::IMS_INFORMATION]).and_then(Avp::members).expect("IMS")
}

const EVENT_TYPE: AvpId = AvpId::tgpp(823);
const SIP_METHOD: AvpId = AvpId::tgpp(824);
const TIME_STAMPS: AvpId = AvpId::tgpp(833);
const SIP_REQUEST_TIMESTAMP: AvpId = AvpId::tgpp(834);
const SIP_RESPONSE_TIMESTAMP: AvpId = AvpId::tgpp(835);
const USER_SESSION_ID: AvpId = AvpId::tgpp(830);
const OUTGOING_SESSION_ID: AvpId = AvpId::tgpp(2320);
const CALLING_PARTY_ADDRESS: AvpId = AvpId::tgpp(831);
const CALLED_PARTY_ADDRESS: AvpId = AvpId::tgpp(832);
const REQUESTED_PARTY_ADDRESS: AvpId = AvpId::tgpp(1251);
const NODE_FUNCTIONALITY: AvpId = AvpId::tgpp(862);
const MESSAGE_BODY: AvpId = AvpId::tgpp(889);
const CONTENT_LENGTH: AvpId = AvpId::tgpp(827);
const SUBSCRIPTION_ID_EXTENSION: AvpId = AvpId::base(659);

/// Compares with `tests/golden/<name>`, or writes it if `UPDATE=1`.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var("UPDATE").is_ok_and(|update| update == "1") {
        std::fs::write(&path, text).expect("writable");
    }
    let known = std::fs::read_to_string(&path).expect("golden file; UPDATE=1 writes it");
    assert_eq!(text, known, "{name} differs; UPDATE=1 writes it anew");
}

fn hex(bytes: &[u8]) -> String {
    let line = |octets: &[u8]| -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).chain(["\n".to_owned()]).collect()
    };
    bytes.chunks(32).map(line).collect()
}

/// The message as a tree, each mapped AVP with its place and source.
fn shown(bytes: &[u8], machine_avps: usize, provenance: &[Provenance]) -> String {
    let lines = print::lines(bytes, Dictionary::builtin());
    assert_eq!(lines.len(), machine_avps + provenance.len(), "one entry per AVP");
    print::tree(bytes, Dictionary::builtin(), |line| {
        let position = lines.iter().position(|other| other.offset == line.offset)?;
        match position.checked_sub(machine_avps) {
            None => Some("(reserved)".to_owned()),
            Some(position) => {
                let origin = &provenance[position];
                assert_eq!(origin.avp, line.id);
                Some(format!("{}  {}", origin.place, origin.source))
            }
        }
    })
}

fn machine_avps(destination_realm: &str, more: Vec<Avp>) -> Vec<Avp> {
    let mut avps = vec![
        Avp::text(id::SESSION_ID, "cg1.ims.example.net;1765531200;7;9f1c4a7e"),
        Avp::identity(id::ORIGIN_HOST, "cg1.ims.example.net"),
        Avp::identity(id::ORIGIN_REALM, "ims.example.net"),
        Avp::identity(id::DESTINATION_REALM, destination_realm),
    ];
    avps.extend(more);
    avps.push(Avp::text(id::SERVICE_CONTEXT_ID, "15.32260@3gpp.org"));
    avps.push(Avp::time(id::EVENT_TIMESTAMP, 1_765_536_191));
    avps.push(Avp::u32(id::ORIGIN_STATE_ID, 1_765_531_200));
    avps
}

/// Golden vectors of one message: octets, and the tree with provenance.
fn check_golden(name: &str, mapping: &Mapping, machine: &[Avp]) {
    let bytes = message(mapping, &terminate(), machine).expect("maps");
    golden(&format!("{name}.hex"), &hex(&bytes));
    let text = shown(&bytes, machine.len(), &mapping.explain(&terminate()));
    golden(&format!("{name}.txt"), &text);
    // The same message, built as an owned tree, has the same octets.
    let dictionary = Dictionary::builtin();
    let (decoded, problems) = decode(&bytes, dictionary, &Limits::default());
    assert_eq!(problems, []);
    assert_eq!(decoded.encode(dictionary), bytes);
    assert_eq!(check_grammar(&decoded, dictionary), []);
    // The mapped part is the end of it, octet by octet.
    let mut part = BytesMut::new();
    mapping.apply(&terminate(), &mut part).expect("maps");
    assert!(bytes.ends_with(&part) && part.len() > 400);
}

#[test]
fn x_01_acr_stop_golden_vector() {
    let machine = machine_avps(
        "cdf.example.net",
        vec![
            Avp::enumerated(id::ACCOUNTING_RECORD_TYPE, 4),
            Avp::u32(id::ACCOUNTING_RECORD_NUMBER, 2),
            Avp::u32(id::ACCT_APPLICATION_ID, 3),
        ],
    );
    check_golden("acr-stop", ch1(), &machine);
}

#[test]
fn x_03_ccr_t_golden_vector() {
    let machine = machine_avps(
        "ocs.example.net",
        vec![
            Avp::u32(id::AUTH_APPLICATION_ID, 4),
            Avp::enumerated(id::CC_REQUEST_TYPE, 3),
            Avp::u32(id::CC_REQUEST_NUMBER, 2),
        ],
    );
    check_golden("ccr-t", ch2(), &machine);
}

#[test]
fn the_built_in_mappings_pass_their_own_tests() {
    for (name, _, text) in BUILTIN {
        let file = Node::parse(name, text).expect("YAML");
        let mapping = Mapping::builtin(name).expect("built in");
        let load = |_: &farebox::mapping::Given| Err("built-in tests name no files".to_owned());
        let results = run_tests(&file, mapping, Dictionary::builtin(), &load);
        assert!(results.len() >= 6, "{name} has {} tests", results.len());
        for result in results {
            assert_eq!(result.failures, [], "{name}: {}", result.name);
        }
    }
}

#[test]
fn a_test_of_a_mapping_bites() {
    let text = r#"
mapping: mine
set:
  User-Name: "${subscriber | first('sip')}"
  Termination-Cause: {from: cause.termination}
tests:
  - name: wrong in every way
    given: {op: terminate, file: body.json, session: start.json}
    expect:
      User-Name: somebody
      CC-Request-Type: UPDATE_REQUEST
      Termination-Cause: absent
      Subscription-Id: present
      count(User-Name): 2
      Usre-Name: absent
      Termination-Cause[x]: DIAMETER_LOGOUTT
  - name: cannot be loaded
    given: {file: missing.json}
    expect: {User-Name: absent}
  - name: no error
    given: {tree: {}}
    expect: {error: FB0113}
  - {given: {tree: {}, opp: start}, expect: {}}
  - {name: incomplete, expects: {}}
"#;
    let file = Node::parse("mine.yaml", text).expect("YAML");
    let mapping = alone(text);
    let load = |given: &farebox::mapping::Given| match given.file.as_deref() {
        Some("body.json") => {
            assert_eq!(given.session.as_deref(), Some("start.json"));
            Ok(terminate())
        }
        other => Err(format!("no file {other:?}")),
    };
    let results = run_tests(&file, &mapping, Dictionary::builtin(), &load);
    let paths = |at: usize| -> Vec<&str> {
        results[at].failures.iter().map(|failure| failure.path.as_str()).collect()
    };
    assert_eq!(results.len(), 5);
    assert_eq!(
        paths(0),
        [
            "User-Name",
            "CC-Request-Type",
            "Termination-Cause",
            "Subscription-Id",
            "count(User-Name)",
            "Usre-Name",
            "Termination-Cause[x]",
        ]
    );
    let first = &results[0].failures[1];
    assert_eq!(first.place, "mine.yaml:11");
    assert_eq!(first.found, "TERMINATION_REQUEST (3)");
    assert_eq!((paths(1), paths(2), paths(3)), (vec!["given"], vec!["error"], vec!["given"]));
    assert_eq!(paths(4), ["expects", ""]);
}

#[test]
fn g_01_node_functionality_as_whenever_ims_information_is_sent() {
    for mapping in [ch1(), ch2()] {
        for more in ["op: start", "op: interim", TERMINATE, "op: event"] {
            let avps = mapped(mapping, &session(more));
            assert_eq!(ims(&avps).enumerated(NODE_FUNCTIONALITY), Some(6), "{more}");
        }
        // Even where nothing is known of the session.
        let avps = mapped(mapping, &tree("{op: terminate, method: BYE, orphan: true}"));
        assert_eq!(ims(&avps).enumerated(NODE_FUNCTIONALITY), Some(6));
    }
}

#[test]
fn g_01_a_mapping_cannot_lose_a_required_member() {
    let gone = ["remove: [Service-Information/IMS-Information/Node-Functionality]"];
    let (mapping, found) = compile(Interface::Ch1, &gone);
    assert!(mapping.is_none());
    assert_eq!(codes(&found), [Code::FB0103]);
    assert_eq!(found[0].message, "group `IMS-Information` needs `Node-Functionality`");
}

#[test]
fn g_02_every_3gpp_avp_has_v_and_m() {
    fn walk(avps: &[Avp], seen: &mut usize) {
        for avp in avps {
            let def = Dictionary::builtin().avp(avp.id).expect("known");
            assert_eq!(avp.flags, def.flags(), "{}", def.name);
            if avp.id.vendor == 10415 {
                assert_eq!(avp.flags.0, 0xc0, "{}", def.name);
                *seen += 1;
            }
            walk(avp.members().unwrap_or_default(), seen);
        }
    }
    let mut seen = 0;
    let mut event = session("op: event");
    event.put("content", tree("{type: text/plain, size: 5}"));
    event.put("delivery", "delivered".into());
    for (mapping, tree) in [(ch1(), &terminate()), (ch2(), &terminate()), (ch1(), &event)] {
        walk(&mapped(mapping, tree), &mut seen);
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn g_03_reporting_reason_only_with_usage_and_never_at_command_level() {
    let start = session("{op: start, services: [{ratingGroup: 700, requested: {seconds: 600}}]}");
    let avps = mapped(ch2(), &start);
    assert!(avps.find(id::REPORTING_REASON).is_none());
    let mscc = avps.group(id::MULTIPLE_SERVICES_CREDIT_CONTROL).expect("MSCC");
    assert!(mscc.find(id::REPORTING_REASON).is_none());
    let avps = mapped(ch2(), &terminate());
    assert!(avps.find(id::REPORTING_REASON).is_none());
    let mscc = avps.group(id::MULTIPLE_SERVICES_CREDIT_CONTROL).expect("MSCC");
    assert_eq!(mscc.enumerated(id::REPORTING_REASON), Some(2));
    let used = mscc.group(id::USED_SERVICE_UNIT).expect("USU");
    assert!(used.find(id::REPORTING_REASON).is_none());
}

#[test]
fn g_04_each_reason_stands_where_it_belongs() {
    let interim = |key: &str, reason: &str| {
        let services = format!("[{{ratingGroup: 700, used: {{seconds: 1}}, {key}: {reason}}}]");
        session(&format!("{{op: interim, services: {services}}}"))
    };
    for (reason, number) in [("QHT", 1), ("FINAL", 2), ("VALIDITY_TIME", 4)] {
        let avps = mapped(ch2(), &interim("reportingReason", reason));
        let mscc = avps.group(id::MULTIPLE_SERVICES_CREDIT_CONTROL).expect("MSCC");
        assert_eq!(mscc.enumerated(id::REPORTING_REASON), Some(number));
        let used = mscc.group(id::USED_SERVICE_UNIT).expect("USU");
        assert_eq!(used.enumerated(id::REPORTING_REASON), None);
    }
    for (reason, number) in [("THRESHOLD", 0), ("QUOTA_EXHAUSTED", 3), ("OTHER_QUOTA_TYPE", 5)] {
        let avps = mapped(ch2(), &interim("usedReason", reason));
        let mscc = avps.group(id::MULTIPLE_SERVICES_CREDIT_CONTROL).expect("MSCC");
        assert_eq!(mscc.enumerated(id::REPORTING_REASON), None);
        let used = mscc.group(id::USED_SERVICE_UNIT).expect("USU");
        assert_eq!(used.enumerated(id::REPORTING_REASON), Some(number));
    }
}

#[test]
fn g_09_cause_code_is_integer32_and_keeps_its_sign() {
    for code in [0, 408, 486, 2, -1, -200, i32::MIN] {
        for mapping in [ch1(), ch2()] {
            let mut tree = terminate();
            tree.put("cause.code", Value::Int(code.into()));
            let avps = mapped(mapping, &tree);
            let found = ims(&avps).find(id::CAUSE_CODE).expect("Cause-Code");
            assert_eq!(found.value, AvpValue::Integer32(code));
        }
    }
    let mut tree = terminate();
    tree.put("cause.code", Value::Int(i64::from(i32::MAX) + 1));
    let errors = try_mapped(ch1(), &tree).expect_err("does not fit");
    assert_eq!(errors[0].code(), Code::FB0113);
    assert_eq!(errors[0].avp(), "Service-Information/IMS-Information/Cause-Code");
    assert_eq!(errors[0].field(), Some("cause.kind"));
}

#[test]
fn g_10_calling_party_is_unknown_without_an_identity() {
    for mapping in [ch1(), ch2()] {
        let avps = mapped(mapping, &terminate());
        let calling = text_at(ims(&avps), &[CALLING_PARTY_ADDRESS]);
        assert_eq!(calling, Some("sip:+12025550123@ims.example.net"));
        let mut tree = terminate();
        tree.put("from", Value::Null);
        let avps = mapped(mapping, &tree);
        assert_eq!(text_at(ims(&avps), &[CALLING_PARTY_ADDRESS]), Some("unknown"));
    }
}

#[test]
fn g_11_requested_party_only_if_it_is_not_the_called_one() {
    for (to, group, called, requested) in [
        (vec!["tel:1"], None, Some("tel:1"), vec![]),
        (vec!["tel:1", "tel:2", "tel:1", "tel:3"], None, Some("tel:1"), vec!["tel:2", "tel:3"]),
        (vec!["tel:1", "sip:g"], Some("sip:g"), Some("sip:g"), vec!["tel:1"]),
        (vec![], None, None, vec![]),
    ] {
        for mapping in [ch1(), ch2()] {
            let mut tree = terminate();
            tree.put("to", to.clone().into());
            tree.put("cpm.groupUri", group.into());
            let avps = mapped(mapping, &tree);
            assert_eq!(text_at(ims(&avps), &[CALLED_PARTY_ADDRESS]), called);
            let found: Vec<_> = ims(&avps)
                .all(REQUESTED_PARTY_ADDRESS)
                .filter_map(|avp| avp.value.as_text())
                .collect();
            assert_eq!(found, requested, "{to:?}");
        }
    }
}

#[test]
fn g_13_message_body_has_type_and_length_and_is_none_for_sdp() {
    for mapping in [ch1(), ch2()] {
        let mut tree = session("op: event");
        tree.put("content", self::tree("{type: text/plain, size: 641}"));
        let avps = mapped(mapping, &tree);
        let body = ims(&avps).group(MESSAGE_BODY).expect("Message-Body");
        assert_eq!(body.unsigned32(CONTENT_LENGTH), Some(641));
        for sdp in ["application/sdp", "Application/SDP; charset=utf-8"] {
            tree.put("content.type", sdp.into());
            assert!(ims(&mapped(mapping, &tree)).find(MESSAGE_BODY).is_none(), "{sdp}");
        }
        tree.put("content", self::tree("{type: text/plain}"));
        let errors = try_mapped(mapping, &tree).expect_err("no size");
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].code(), Code::FB0109);
        assert_eq!(errors[0].pointer().as_deref(), Some("/content/size"));
        assert!(errors[0].avp().ends_with("Message-Body/Content-Length"));
        assert!(errors[0].place().starts_with("builtin:oma-cpm/ch"), "{}", errors[0].place());
    }
}

#[test]
fn g_14_call_ids_of_both_legs() {
    for mapping in [ch1(), ch2()] {
        let avps = mapped(mapping, &terminate());
        assert_eq!(text_at(ims(&avps), &[USER_SESSION_ID]), Some("a84b4c76e66710@as1"));
        assert_eq!(text_at(ims(&avps), &[OUTGOING_SESSION_ID]), Some("b7714@as1"));
        let mut tree = terminate();
        tree.put("sip.outgoingCallId", Value::Null);
        assert!(ims(&mapped(mapping, &tree)).find(OUTGOING_SESSION_ID).is_none());
    }
}

#[test]
fn g_15_subscription_id_inside_service_information_on_rf_only() {
    let rf = mapped(ch1(), &terminate());
    assert!(rf.find(id::SUBSCRIPTION_ID).is_none());
    let inside = rf.group(id::SERVICE_INFORMATION).expect("Service-Information");
    assert_eq!(inside.all(id::SUBSCRIPTION_ID).count(), 2);
    let ro = mapped(ch2(), &terminate());
    assert_eq!(ro.all(id::SUBSCRIPTION_ID).count(), 2);
    let inside = ro.group(id::SERVICE_INFORMATION).expect("Service-Information");
    assert!(inside.find(id::SUBSCRIPTION_ID).is_none());
}

#[test]
fn c_14_no_requested_units_in_a_termination() {
    let mut tree = terminate();
    // Not even if the counters asked for some.
    tree.put(
        "services",
        self::tree("[{ratingGroup: 700, requested: {seconds: 1}, used: {seconds: 0}}]"),
    );
    let avps = mapped(ch2(), &tree);
    let mscc = avps.group(id::MULTIPLE_SERVICES_CREDIT_CONTROL).expect("MSCC");
    assert!(mscc.find(id::REQUESTED_SERVICE_UNIT).is_none());
    let used = mscc.group(id::USED_SERVICE_UNIT).expect("zero units are reported");
    assert_eq!(used.unsigned32(id::CC_TIME), Some(0));
}

#[test]
fn c_04_a_request_without_amounts_still_asks() {
    let tree = session("{op: start, services: [{ratingGroup: 700, requested: {}}]}");
    let avps = mapped(ch2(), &tree);
    let mscc = avps.group(id::MULTIPLE_SERVICES_CREDIT_CONTROL).expect("MSCC");
    assert_eq!(mscc.group(id::REQUESTED_SERVICE_UNIT), Some(&[][..]));
}

#[test]
fn c_57_subscription_id_types_and_c_59_never_the_extension() {
    for (mapping, group) in [(ch1(), Some(id::SERVICE_INFORMATION)), (ch2(), None)] {
        for (kind, number) in [("e164", 0), ("imsi", 1), ("sip", 2), ("nai", 3), ("private", 4)] {
            let mut tree = terminate();
            tree.put("subscriber", self::tree(&format!("[{{type: {kind}, value: x@y}}]")));
            let avps = mapped(mapping, &tree);
            let level = group.map_or(Some(&*avps), |group| avps.group(group)).expect("level");
            let subscription = level.group(id::SUBSCRIPTION_ID).expect("Subscription-Id");
            assert_eq!(subscription.enumerated(id::SUBSCRIPTION_ID_TYPE), Some(number));
            assert_eq!(subscription.text(id::SUBSCRIPTION_ID_DATA), Some("x@y"));
            assert!(level.find(SUBSCRIPTION_ID_EXTENSION).is_none());
        }
        let mut tree = terminate();
        tree.put("subscriber", self::tree("[{type: msisdn, value: x}]"));
        let errors = try_mapped(mapping, &tree).expect_err("not a type");
        assert_eq!(errors[0].code(), Code::FB0108);
        assert_eq!(errors[0].pointer().as_deref(), Some("/subscriber/0/type"));
    }
}

#[test]
fn f_29_the_same_service_information_in_initial_update_and_termination() {
    let identity = |avps: &[Avp]| {
        let ims = ims(avps);
        let ids =
            [USER_SESSION_ID, OUTGOING_SESSION_ID, CALLING_PARTY_ADDRESS, CALLED_PARTY_ADDRESS];
        ids.map(|id| ims.text(id).expect("there").to_owned())
    };
    let start = mapped(ch2(), &session("op: start"));
    let interim = mapped(ch2(), &session("op: interim"));
    let end = mapped(ch2(), &terminate());
    assert_eq!(identity(&start), identity(&interim));
    assert_eq!(identity(&start), identity(&end));
}

#[test]
fn f_30_a_stop_has_method_and_times_of_the_bye() {
    for mapping in [ch1(), ch2()] {
        let mut tree = terminate();
        tree.put("time.sipResponse", Value::Int(1_765_536_191_999));
        let avps = mapped(mapping, &tree);
        assert_eq!(text_at(ims(&avps), &[EVENT_TYPE, SIP_METHOD]), Some("BYE"));
        let times = ims(&avps).group(TIME_STAMPS).expect("Time-Stamps");
        assert_eq!(times.time(SIP_REQUEST_TIMESTAMP), Some(1_765_536_191));
        assert_eq!(times.unsigned32(AvpId::tgpp(2301)), Some(42));
        assert_eq!(times.time(SIP_RESPONSE_TIMESTAMP), Some(1_765_536_191));
        assert_eq!(times.unsigned32(AvpId::tgpp(2302)), Some(999));
        tree.put("time", self::tree("{event: 1}"));
        assert!(ims(&mapped(mapping, &tree)).find(TIME_STAMPS).is_none());
    }
}

fn codes(found: &[Diagnostic]) -> Vec<Code> {
    found.iter().map(|problem| problem.code).collect()
}

#[test]
fn sec_20_every_problem_of_a_file_is_found_at_once_and_at_its_place() {
    let text = r#"mapping: mine
interface: ch1
sets: {}
lets:
  loop: "${pool}"
  pool: "${loop}"
set:
  Service-Generic-Info: "x"
  Session-Id: "mine"
  user-name: "x"
  User-Name: "${subscriber | fist('sip') | lower}"
  Termination-Cause: DIAMETER_LOGOFF
  Service-Identifier: "${services[0].serviceIdd}"
  Multiple-Services-Credit-Control:
    each: services as s
    wen: s.used != null
    Rating-Group: "${s.ratingGroup +}"
    CC-Time: 4294967296
    Unit-Value: 5
    Service-Information: {when: op, Rating-Group: 1}
  Service-Information:
    IMS-Information: {Node-Functionality: AS, Rating-Group: 1}
    value: 1
  Subscription-Id: {Subscription-Id-Data: x}
  Requested-Service-Unit:
remove: [Session-Id, Foo/Bar, "Subscription-Id[Subscription-Id-Type=X]"]
raw:
  - {avp: "1099:99999", type: Unsigned33, flags: V, value: 1}
  - {avp: "263", type: UTF8String, value: 1}
  - {avp: "1099:99999", type: Unsigned32, flags: M, value: 1}
answer:
  debit.x: "${avp('Remaining-Balanc')}"
  debit.y: "${op}"
"#;
    let (mapping, found) = try_alone(text);
    assert!(mapping.is_none());
    let mut places: Vec<(u32, u32, &str, &str)> = found
        .iter()
        .map(|problem| {
            let span = problem.span.as_ref().expect("a place");
            let range = &text[span.start..span.end];
            (span.line, span.column, problem.code.name(), range)
        })
        .collect();
    places.sort_unstable();
    let expected = [
        (2, 12, "FB0102", "ch1"),
        (3, 1, "FB0101", "sets"),
        (5, 12, "FB0111", "pool"),
        (6, 12, "FB0111", "loop"),
        (8, 3, "FB0107", "Service-Generic-Info"),
        (9, 3, "FB0110", "Session-Id"),
        (10, 3, "FB0101", "user-name"),
        (11, 30, "FB0111", "fist"),
        (12, 22, "FB0108", "DIAMETER_LOGOFF"),
        (13, 38, "FB0111", "serviceIdd"),
        (16, 5, "FB0101", "wen"),
        (17, 36, "FB0111", "+"),
        (18, 14, "FB0113", "4294967296"),
        (19, 17, "FB0102", "5"),
        (22, 47, "FB0112", "Rating-Group"),
        (23, 5, "FB0102", "value"),
        (24, 3, "FB0103", "Subscription-Id"),
        (25, 3, "FB0102", "Requested-Service-Unit"),
        (26, 10, "FB0110", "Session-Id"),
        (26, 22, "FB0107", "Foo/Bar"),
        (26, 31, "FB0108", "\"Subscription-Id[Subscription-Id-Type=X]\""),
        (28, 31, "FB0105", "Unsigned33"),
        (29, 11, "FB0110", "\"263\""),
        (30, 50, "FB0102", "M"),
        (32, 15, "FB0107", "avp('Remaining-Balanc')"),
        (33, 15, "FB0111", "op"),
    ];
    assert_eq!(places, expected);
}

#[test]
fn an_unknown_avp_is_shown_with_what_was_meant() {
    let text =
        "set:\n  Service-Information:\n    Service-Generic-Info:\n      Delivery-Status: x\n";
    let (_, found) = try_alone(text);
    let sources = Sources::from([("mine.yaml".to_owned(), text.to_owned())]);
    let shown = render(&found[0], &sources, false);
    assert!(shown.starts_with("error[FB0107]: unknown AVP `Service-Generic-Info`"), "{shown}");
    for part in [
        "mine.yaml:3:5",
        "^^^^^^^^^^^^^^^^^^^^ no dictionary has it",
        "help: did you mean `Service-Generic-Information` (1256, 3GPP, Grouped)?",
        "help: for an AVP the dictionary does not know, use `raw:` with code:vendor",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn a_type_that_cannot_be_right_is_a_warning() {
    for (avp, expression, message) in [
        (
            "Service-Identifier",
            "${cpm.contributionId}",
            "expression yields text, AVP is Unsigned32",
        ),
        ("User-Name", "${orphan}", "expression yields a boolean, AVP is UTF8String"),
        ("Service-Identifier", "${cpm}", "expression yields an object, AVP is Unsigned32"),
        (
            "Termination-Cause",
            "${time.event}",
            "expression yields milliseconds since 1970, AVP is Enumerated",
        ),
    ] {
        let (mapping, found) = try_alone(&format!("set: {{{avp}: \"{expression}\"}}"));
        assert!(mapping.is_some(), "{expression}");
        assert_eq!(codes(&found), [Code::FB0311], "{expression}");
        assert_eq!((found[0].severity, found[0].message.as_str()), (Severity::Warning, message));
    }
    let fine = r#"
set:
  User-Name: "${participants}"
  Service-Identifier: "${cpm.contributionId | hash32}"
  Termination-Cause: "${cause.termination}"
  Multiple-Services-Credit-Control: {Used-Service-Unit: {Event-Charging-TimeStamp: "${time.event | seconds}"}}
"#;
    alone(fine);
}

#[test]
fn later_files_win_avp_by_avp() {
    let profile = r#"
mapping: ch2-acme
lets:
  identities: "${subscriber | prefer('sip','e164')}"
set:
  Multiple-Services-Credit-Control:
    Service-Identifier: 99
  Service-Information:
    Service-Generic-Information:
      Delivery-Status: {when: messages != null, value: "${messages.delivered > 0 ? 'delivered' : 'failed'}"}
remove:
  - Service-Information/IM-Information
  - Service-Information/IMS-Information/SDP-Session-Description
raw:
  - {avp: "1099:99999", type: Unsigned32, flags: V, value: 1}
"#;
    let peer = r#"
set:
  Service-Information: {Service-Generic-Information: {Application-Server-Id: "${node | upper}"}}
remove: ["Subscription-Id[Subscription-Id-Type=END_USER_E164]"]
"#;
    let mapping = overlaid(Interface::Ch2, &[profile, peer]);
    assert_eq!(mapping.name(), "ch2-acme");
    let avps = mapped(&mapping, &terminate());
    // A `lets` name of the profile is what the built-in uses; the peer removes one of them.
    let subscriptions: Vec<_> = avps.all(id::SUBSCRIPTION_ID).collect();
    assert_eq!(subscriptions.len(), 1);
    let members = subscriptions[0].members().expect("members");
    assert_eq!(members.text(id::SUBSCRIPTION_ID_DATA), Some("sip:+12025550123@ims.example.net"));
    let mscc = avps.group(id::MULTIPLE_SERVICES_CREDIT_CONTROL).expect("MSCC");
    assert_eq!(mscc.unsigned32(id::SERVICE_IDENTIFIER), Some(99));
    assert_eq!(mscc.unsigned32(id::RATING_GROUP), Some(700));
    let information = avps.group(id::SERVICE_INFORMATION).expect("Service-Information");
    let generic = information.group(id::SERVICE_GENERIC_INFORMATION).expect("generic");
    assert_eq!(generic.text(AvpId::tgpp(2104)), Some("delivered"));
    assert_eq!(generic.text(AvpId::tgpp(2101)), Some("AS1.CPM.EXAMPLE.NET"));
    assert!(information.find(id::IM_INFORMATION).is_none());
    let raw = avps.find(AvpId { code: 1099, vendor: 99999 }).expect("raw");
    assert_eq!(raw.flags.0, 0x80);
    // The place is that of the file that says so.
    let origin = mapping.explain(&terminate());
    let place = |path: &str| {
        origin.iter().find(|origin| origin.path == path).map(|origin| origin.place.as_str())
    };
    assert_eq!(place("Multiple-Services-Credit-Control/Service-Identifier"), Some("mine.yaml:7"));
    assert!(mapping.hash() != ch2().hash());
}

#[test]
fn the_quirk_strips_the_plus() {
    for interface in [Interface::Ch1, Interface::Ch2] {
        let mapping = overlaid(interface, &[STRIP_PLUS_FROM_E164]);
        let avps = mapped(&mapping, &terminate());
        let level = match interface {
            Interface::Ch1 => avps.group(id::SERVICE_INFORMATION).expect("Service-Information"),
            Interface::Ch2 => &avps,
        };
        let data: Vec<_> = level
            .all(id::SUBSCRIPTION_ID)
            .filter_map(|avp| avp.members()?.text(id::SUBSCRIPTION_ID_DATA))
            .collect();
        assert_eq!(data, ["12025550123", "sip:+12025550123@ims.example.net"]);
    }
}

#[test]
fn values_that_do_not_fit_are_refused_and_never_truncated() {
    let one = |avp: &str, value: Value| {
        let mapping = alone(&format!("set: {{{avp}: \"${{extensions['x']}}\"}}"));
        let tree = Value::map([("extensions", Value::map([("x", value)]))]);
        let mut out = BytesMut::from(&b"before"[..]);
        let done = mapping.apply(&tree, &mut out);
        assert_eq!(done.is_err(), out == b"before"[..], "nothing is written with an error");
        done.map_err(|errors| errors[0].code())
    };
    let cases: &[(&str, Value, Result<(), Code>)] = &[
        ("Service-Identifier", Value::Int(-1), Err(Code::FB0113)),
        ("Service-Identifier", Value::Int(1 << 32), Err(Code::FB0113)),
        ("Service-Identifier", Value::Int(u32::MAX.into()), Ok(())),
        ("Service-Identifier", "5".into(), Err(Code::FB0113)),
        ("Service-Identifier", true.into(), Err(Code::FB0113)),
        ("Service-Identifier", vec![1, 2].into(), Err(Code::FB0113)),
        ("Service-Identifier", vec![1].into(), Ok(())),
        ("Service-Identifier", Value::map([("a", 1)]), Err(Code::FB0113)),
        ("User-Name", Value::Bytes(vec![0xff]), Err(Code::FB0113)),
        ("User-Name", "nul\0".into(), Err(Code::FB0113)),
        ("User-Name", "a".repeat(1 << 24).into(), Err(Code::FB0113)),
        ("User-Name", Value::Int(7), Ok(())),
        ("Termination-Cause", "DIAMETER_LOGOUT".into(), Ok(())),
        ("Termination-Cause", Value::Int(77), Ok(())),
        ("Termination-Cause", "LOGOUT".into(), Err(Code::FB0108)),
        ("Termination-Cause", Value::Int(1 << 31), Err(Code::FB0113)),
    ];
    for (avp, value, expected) in cases {
        assert_eq!(one(avp, value.clone()), *expected, "{avp} {value:?}");
    }
}

#[test]
fn sec_20_a_message_has_a_largest_size_and_count() {
    let mapping = alone(
        "set: {Subscription-Id: {each: to as a, Subscription-Id-Type: 0, Subscription-Id-Data: \"${a}\"}}",
    );
    let many = Value::map([("to", Value::List(vec!["x".into(); 200_000]))]);
    let errors = mapping.apply(&many, &mut BytesMut::new()).expect_err("too many");
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().contains("more than 100000 AVPs"), "{}", errors[0]);
    let large = Value::map([("to", Value::List(vec!["x".repeat(1 << 20).into(); 20]))]);
    let errors = mapping.apply(&large, &mut BytesMut::new()).expect_err("too large");
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().contains("octets"), "{}", errors[0]);
}

#[test]
fn sec_20_lets_cannot_explode() {
    let mut text = "lets:\n  a0: \"${op ?? op}\"\n".to_owned();
    for at in 1..20 {
        text += &format!("  a{at}: \"${{a{} ?? a{}}}\"\n", at - 1, at - 1);
    }
    text += "set: {User-Name: \"${a19}\"}\n";
    let (mapping, found) = try_alone(&text);
    assert!(mapping.is_none());
    assert!(found.iter().all(|problem| problem.message == "the expression is too large"));
}

#[test]
fn texts_tables_lists_and_blocks() {
    let mapping = alone(
        r#"
tables: {groups: {chat: 700, "701": chat}}
set:
  User-Name: "${subscriber | first('e164') | strip_plus}@${node ?? 'x'}"
  Service-Identifier: "${service | lookup('groups') | default(5)}"
  Termination-Cause: {from: cause.termination, enum: {one: DIAMETER_LOGOUT, "2": 4}, otherwise: 77}
  Subscription-Id:
    - {Subscription-Id-Type: 4, Subscription-Id-Data: "fixed"}
    - each: extensions.ids as id
      when: id != 'c'
      Subscription-Id-Type: END_USER_NAI
      Subscription-Id-Data: "${id}"
"#,
    );
    let mut tree =
        self::tree("{service: chat, cause: {termination: 2}, extensions: {ids: [a, b, c]}}");
    tree.put("subscriber", self::tree("[{type: e164, value: '+49'}]"));
    let avps = mapped(&mapping, &tree);
    assert_eq!(avps.text(id::USER_NAME), Some("49@x"));
    assert_eq!(avps.unsigned32(id::SERVICE_IDENTIFIER), Some(700));
    assert_eq!(avps.enumerated(id::TERMINATION_CAUSE), Some(4));
    let data: Vec<_> = avps
        .all(id::SUBSCRIPTION_ID)
        .filter_map(|avp| avp.members()?.text(id::SUBSCRIPTION_ID_DATA))
        .collect();
    assert_eq!(data, ["fixed", "a", "b"]);
    let sources: Vec<String> =
        mapping.explain(&tree).into_iter().map(|origin| origin.source).collect();
    assert_eq!(
        sources,
        [
            "subscriber[0].value | strip_plus",
            "table groups[service]",
            "cause.kind → enum",
            "",
            "constant",
            "constant",
            "",
            "constant",
            "extensions.ids[0]",
            "",
            "constant",
            "extensions.ids[1]",
        ]
    );
    // A part that is absent leaves the whole text out; a name that no table has takes `otherwise`.
    let avps = mapped(&mapping, &self::tree("{service: mail, cause: {termination: x}}"));
    assert_eq!(avps.text(id::USER_NAME), None);
    assert_eq!(avps.unsigned32(id::SERVICE_IDENTIFIER), Some(5));
    assert_eq!(avps.enumerated(id::TERMINATION_CAUSE), Some(77));
}

#[test]
fn c_53_money_goes_both_ways() {
    let tree = session(
        "{op: event, services: [{ratingGroup: 701, requested: {money: {digits: 70, exponent: -2, currency: EUR}}}]}",
    );
    let avps = mapped(ch2(), &tree);
    let path = [
        id::MULTIPLE_SERVICES_CREDIT_CONTROL,
        id::REQUESTED_SERVICE_UNIT,
        id::CC_MONEY,
        id::CURRENCY_CODE,
    ];
    assert_eq!(at(&avps, &path).map(|avp| &avp.value), Some(&AvpValue::Unsigned32(978)));

    let unit =
        Avp::group(id::UNIT_VALUE, vec![Avp::new(id::VALUE_DIGITS, AvpValue::Integer64(930))]);
    let code = Avp::u32(id::CURRENCY_CODE, 978);
    let mut answer = Message::request(272, 4, true);
    answer.push(Avp::group(id::REMAINING_BALANCE, vec![unit, code]));
    answer.push(Avp::enumerated(id::LOW_BALANCE_INDICATION, 1));
    let read = ch2().read_back(&answer);
    // A missing Exponent is 0.
    assert_eq!(read.get("debit.balance.digits"), &Value::Int(930));
    assert_eq!(read.get("debit.balance.exponent"), &Value::Int(0));
    assert_eq!(read.get("debit.balance.currency"), &Value::from("EUR"));
    assert_eq!(read.get("debit.lowBalance"), &Value::Bool(true));
    assert_eq!(read.get("debit.cost"), &Value::Null);
}

#[test]
fn an_answer_is_read_by_name_number_and_path() {
    let mapping = alone(
        r#"
answer:
  extensions.bucket: "${avp('1044:99999') | utf8}"
  extensions.number: "${avp('1045:99999') | int}"
  extensions.result: "${avp('Multiple-Services-Credit-Control/Result-Code')}"
  extensions.bad: "${avp('1044:99999') | int}"
"#,
    );
    let acme = |code| AvpId { code, vendor: 99999 };
    let mut answer = Message::request(272, 4, true);
    answer.push(Avp::octets(acme(1044), "a bucket of text"));
    answer.push(Avp::octets(acme(1045), vec![1, 0]));
    answer.push(Avp::group(id::MULTIPLE_SERVICES_CREDIT_CONTROL, vec![]));
    let denied = vec![Avp::u32(id::RESULT_CODE, 4012)];
    answer.push(Avp::group(id::MULTIPLE_SERVICES_CREDIT_CONTROL, denied));
    let read = mapping.read_back(&answer);
    let expected = Value::map([(
        "extensions",
        Value::map([
            ("bucket", Value::from("a bucket of text")),
            ("number", Value::Int(256)),
            ("result", Value::Int(4012)),
        ]),
    )]);
    assert_eq!(read, expected);
}

/// A vendor's dictionary, as an operator would write it.
const ACME_DICTIONARY: &str = r#"
dictionary: acme
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
      - {avp: "3GPP:Number-Of-Messages-Successfully-Sent", max: 1}
  - name: ACME-Service-Class
    code: 1011
    type: Enumerated
    flags: V
    values: {BASIC: 0, GOLD: 1, PROMO: 999}
override:                             # what this peer does differently from the standard
  - {avp: "3GPP:Application-Server-Id", type: UTF8String, reason: "OMA DDS 8.4; Wireshark and jDiameter say Unsigned32"}
extend:
  - {group: Service-Information, add: [{avp: ACME-Chat-Info, max: 1}]}
"#;

/// A vendor's mapping that uses the whole language.
const ACME_MAPPING: &str = r#"
mapping: ch2-acme
interface: ch2
extends: builtin:oma-cpm/ch2          # farebox map show builtin:oma-cpm/ch2

lets:
  ids: "${subscriber | prefer('e164','imsi','sip')}"
  units: "${services}"

set:
  User-Name: "${subscriber | first('sip') | strip_scheme}"
  Subscription-Id:
    each: ids as id
    Subscription-Id-Type: {from: id.type, enum: {e164: END_USER_E164, imsi: END_USER_IMSI, sip: END_USER_SIP_URI, nai: END_USER_NAI, private: END_USER_PRIVATE}}
    Subscription-Id-Data: "${id.value | strip_plus(id.type == 'e164')}"

  Termination-Cause:
    when: op == 'terminate'
    from: cause.termination          # computed by the cause table of api.md

  Multiple-Services-Credit-Control:
    each: units as u
    Rating-Group: "${u.ratingGroup}"
    Service-Identifier: "${u.serviceId}"
    Requested-Service-Unit: {when: u.requested != null, CC-Time: "${u.requested.seconds}"}
    Reporting-Reason: "${u.reportingReason}"
    Used-Service-Unit:
      when: u.used != null
      Reporting-Reason: "${u.usedReason}"
      CC-Time: "${u.used.seconds}"
      CC-Service-Specific-Units: "${u.used.messages}"

  Service-Information:
    Service-Generic-Information:
      Application-Server-Id: "${node}"
      Application-Service-Type:
        from: kind ?? op
        enum: {message.sent: SENDING, message.received: RECEIVING, message.retrieved: RETRIEVAL, session.invited: INVITING, start: INVITING, participant.joined: JOINING, participant.left: LEAVING, terminate: LEAVING}
        otherwise: omit              # omit | fail | a value
      Application-Session-Id: "${cpm.contributionId | hash32}"   # AVP is Unsigned32, the CPM id is a UUID
      Delivery-Status: {when: messages != null, value: "${messages.delivered > 0 ? 'delivered' : 'failed'}"}
    IM-Information:
      when: messages != null
      Total-Number-Of-Messages-Sent: "${messages.sent}"
      Number-Of-Messages-Successfully-Sent: "${messages.delivered}"
    ACME-Chat-Info:
      when: extensions['acme.campaign'] != null
      ACME-Campaign-Id: "${extensions['acme.campaign'] | truncate_utf8(32)}"

remove:
  - Service-Information/IMS-Information/SDP-Session-Description     # privacy
  - Subscription-Id[Subscription-Id-Type=END_USER_PRIVATE]
raw:
  - {avp: "1099:99999", type: Unsigned32, flags: V, value: 1}       # AVP the dictionary does not know

answer:                               # what to read back
  debit.balance: "${avp('Remaining-Balance') | money}"
  debit.cost: "${avp('Cost-Information') | money}"
  extensions.acmeBucket: "${avp('1044:99999') | utf8}"

tables:
  rating_groups: {chat: 700, standalone-message: 701, file-transfer: 710}

tests:
  - name: terminate carries used units and no requested units
    given: {op: terminate, file: session-terminate.json, session: session-start.json}
    expect:
      CC-Request-Type: TERMINATION_REQUEST
      Multiple-Services-Credit-Control/Used-Service-Unit/CC-Time: 311
      Multiple-Services-Credit-Control/Requested-Service-Unit: absent
      Service-Information/count(Service-Generic-Information): 1
"#;

#[test]
fn a_vendors_mapping_with_its_dictionary() {
    let builtin = farebox::diameter::dictionary::BUILTIN;
    let files: Vec<(&str, &str)> =
        builtin.into_iter().chain([("acme.yaml", ACME_DICTIONARY)]).collect();
    let dictionary = Dictionary::load(&files).expect("loads");
    let base = Node::parse("base.yaml", builtin_source("oma-cpm/ch2").expect("built in"));
    let (base, mine) = (base.expect("YAML"), Node::parse("ch2-acme.yaml", ACME_MAPPING));
    let mine = mine.expect("YAML");
    let chain = [("base.yaml", &base), ("ch2-acme.yaml", &mine)];
    let (mapping, found) = Mapping::compile(&chain, &dictionary, Interface::Ch2);
    assert_eq!(found, []);
    let mapping = mapping.expect("compiles");
    let load = |_: &farebox::mapping::Given| Ok(terminate());
    for result in run_tests(&mine, &mapping, &dictionary, &load) {
        assert_eq!(result.failures, [], "{}", result.name);
    }
    let bytes = message(&mapping, &terminate(), &[]).expect("maps");
    let (message, problems) = decode(&bytes, &dictionary, &Limits::default());
    assert_eq!(problems, []);
    let acme = |code| AvpId { code, vendor: 99999 };
    let path = [id::SERVICE_INFORMATION, acme(1010), acme(1001)];
    assert_eq!(text_at(&message.avps, &path), Some("summer"));
    assert_eq!(at(&message.avps, &path).map(|avp| avp.flags.0), Some(0x80));
    assert!(message.find(acme(1099)).is_some());
    let data: Vec<_> = message
        .all(id::SUBSCRIPTION_ID)
        .filter_map(|avp| avp.members()?.text(id::SUBSCRIPTION_ID_DATA))
        .collect();
    assert_eq!(data, ["12025550123", "sip:+12025550123@ims.example.net"]);
    let origin = mapping.explain(&terminate());
    let source = |path: &str| {
        origin.iter().find(|origin| origin.path == path).map(|origin| origin.source.as_str())
    };
    assert_eq!(
        source("Subscription-Id/Subscription-Id-Data"),
        Some("subscriber[0].value | strip_plus")
    );
    let used = "Multiple-Services-Credit-Control/Used-Service-Unit/CC-Time";
    assert_eq!(source(used), Some("usage[0].units.seconds"));
    let generic = "Service-Information/Service-Generic-Information";
    let source_of = |name: &str| source(&format!("{generic}/{name}")).map(str::to_owned);
    assert_eq!(source_of("Application-Service-Type").as_deref(), Some("op → enum"));
    assert_eq!(source_of("Delivery-Status").as_deref(), Some("messages.delivered"));
    assert_eq!(source_of("Application-Session-Id").as_deref(), Some("cpm.contributionId | hash32"));
}

/// Any value, up to a small depth.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0i64..1000).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop_oneof![Just("e164"), Just("sip"), Just("terminate"), Just("FINAL"), Just("EUR")]
            .prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 0..6).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let key =
            prop_oneof![Just("type"), Just("value"), Just("used"), Just("seconds"), Just("x")];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            proptest::collection::vec((key, inner), 0..4).prop_map(Value::map),
        ]
    })
}

/// Places of the tree that the built-in mappings read.
const PLACES: &[&str] = &[
    "op",
    "method",
    "role",
    "node",
    "subscriber",
    "from",
    "to",
    "cpm",
    "cpm.groupUri",
    "sip",
    "cpm.contributionId",
    "sip.icid",
    "participants",
    "kind",
    "delivery",
    "content",
    "content.type",
    "content.size",
    "messages",
    "messages.sent",
    "cause",
    "cause.code",
    "cause.termination",
    "cause.reasonHeader",
    "time",
    "time.sipRequest",
    "services",
    "backup",
    "backup.serviceSpecificData",
    "orphan",
    "extensions",
];

proptest! {
    /// Whatever the tree holds: no panic; and what is written is a faultless part of a message,
    /// each AVP of it explained.
    #[test]
    fn k_18_no_tree_makes_a_mapping_panic(
        changes in proptest::collection::vec((proptest::sample::select(PLACES), any_value()), 0..6),
        whole in any_value(),
    ) {
        let mut tree = terminate();
        for (place, value) in changes {
            tree.put(place, value);
        }
        for mapping in [ch1(), ch2()] {
            let _ = mapping.apply(&whole, &mut BytesMut::new());
            let origin = mapping.explain(&tree);
            if let Ok(bytes) = message(mapping, &tree, &[]) {
                let view = View::new(&bytes, &Limits::default()).expect("a message");
                let problem = view.first_problem(Dictionary::builtin(), &Limits::default());
                prop_assert!(problem.is_none(), "{problem:?}");
                let lines = print::lines(&bytes, Dictionary::builtin());
                let written: Vec<AvpId> = lines.iter().map(|line| line.id).collect();
                let explained: Vec<AvpId> = origin.iter().map(|origin| origin.avp).collect();
                prop_assert_eq!(written, explained);
            }
        }
    }

    /// Whatever stands in a file: no panic, and a place for every finding.
    #[test]
    fn k_18_no_text_makes_the_compiler_panic(
        expression in "[ -~ä]{0,24}",
        pieces in proptest::collection::vec(
            proptest::sample::select(vec![
                "op", "services", "[0]", ".used", "| lower", "| first('sip')", "==", "??", "?", ":",
                "(", ")", "!", "'x'", "7", "null", "&&", "||", "<", "avp('User-Name')", " as x",
            ]),
            0..10,
        ),
    ) {
        for text in [expression, pieces.join(" "), format!("${{{}}}", pieces.join(""))] {
            let quoted = text.replace('\'', "''");
            let file = format!(
                "lets: {{a: '{quoted}'}}\nset: {{User-Name: '{quoted}', Termination-Cause: {{when: '{quoted}', from: '{quoted}'}}, Subscription-Id: {{each: '{quoted}', Subscription-Id-Type: '{quoted}', Subscription-Id-Data: '${{x}}'}}}}\nremove: ['{quoted}']\nanswer: {{b: '{quoted}'}}\n"
            );
            let Ok(node) = Node::parse("mine.yaml", &file) else { continue };
            let (mapping, found) =
                Mapping::compile(&[("mine.yaml", &node)], Dictionary::builtin(), Interface::Ch2);
            prop_assert!(found.iter().all(|problem| problem.span.is_some()));
            if let Some(mapping) = mapping {
                let _ = mapping.apply(&terminate(), &mut BytesMut::new());
                let _ = mapping.explain(&terminate());
            }
        }
    }
}
