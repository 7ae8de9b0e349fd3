//! The built-in dictionaries against the specification's table, and hostile files (K-18).

use std::collections::BTreeMap;
use std::fmt::Write;

use farebox::diagnostic::{Code, Diagnostic};
use farebox::diameter::dictionary::BUILTIN;
use farebox::diameter::{
    AvpDef, Dictionary, Kind, MandatoryRule, Member, command, id, result_code,
};

use crate::allocations::measure;

/// Name, code, vendor, type, M rule, values and members of the 399 AVPs, as the specifications
/// give them.
const TABLE: &str = include_str!("avps.csv");

struct Row<'t> {
    name: &'t str,
    code: u32,
    vendor: u32,
    kind: &'t str,
    m: &'t str,
    values: &'t str,
    members: &'t str,
}

fn rows() -> Vec<Row<'static>> {
    let row = |line: &'static str| {
        let fields: Vec<&str> = line.split(';').collect();
        let [name, code, vendor, kind, m, values, members] = fields[..] else {
            panic!("{line}");
        };
        let number = |text: &str| text.parse().expect("a number");
        Row { name, code: number(code), vendor: number(vendor), kind, m, values, members }
    };
    TABLE.lines().skip(1).map(row).collect()
}

fn definition(row: &Row) -> &'static AvpDef {
    let id = farebox::diameter::AvpId { code: row.code, vendor: row.vendor };
    Dictionary::builtin().avp(id).unwrap_or_else(|| panic!("{} is missing", row.name))
}

#[test]
fn every_avp_of_the_table_is_there_and_no_other() {
    let rows = rows();
    assert_eq!(rows.len(), 399);
    assert_eq!(Dictionary::builtin().avps().count(), rows.len());
    for row in &rows {
        let avp = definition(row);
        assert_eq!(avp.name, row.name);
        assert_eq!(avp.kind.name(), row.kind, "{}", row.name);
        let rule = match row.m {
            "M" => MandatoryRule::Must,
            "M-MAY" => MandatoryRule::May,
            "M-MUST-NOT" => MandatoryRule::MustNot,
            _ => MandatoryRule::App,
        };
        assert_eq!(avp.mandatory, rule, "{}", row.name);
        assert!(!avp.provenance.is_empty(), "{}", row.name);
        assert_eq!(avp.flags().vendor(), row.vendor != 0);
        assert_eq!(avp.flags().mandatory(), row.m == "M");
    }
}

#[test]
fn every_enum_name_of_the_table_is_there() {
    let mut names = 0;
    for row in rows().iter().filter(|row| row.kind == "Enumerated") {
        let avp = definition(row);
        for pair in row.values.split('|').filter(|pair| pair.contains('=') && !pair.contains(".."))
        {
            let (number, name) = pair.split_once('=').expect("number=name");
            let name = name.split('(').next().unwrap_or("").trim();
            let Ok(number) = number.parse() else { continue };
            assert_eq!(avp.value_name(number), Some(name), "{}", row.name);
            assert_eq!(avp.value_of(name), Some(number), "{}", row.name);
            names += 1;
        }
    }
    assert!(names > 300, "{names}");
    let drmp = Dictionary::builtin().by_name("DRMP").expect("DRMP");
    assert_eq!(drmp.value_of("PRIORITY_15"), Some(15));
}

/// `{X}`, `[X]`, `*[X]`, `1*{X}`, `<X>` in the order of the text; `*[AVP]` left out.
fn grammar(text: &str) -> Vec<(&str, u32, Option<u32>, bool)> {
    let mut members = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find(['[', '{', '<']) {
        let (star, bracket) = (rest[..open].trim(), &rest[open..=open]);
        let end = rest.find([']', '}', '>']).expect("closed");
        let name = &rest[open + 1..end];
        let many = star.ends_with('*');
        let required = bracket != "[";
        if name != "AVP" {
            let max = if many { None } else { Some(1) };
            members.push((name, u32::from(required), max, bracket == "<"));
        }
        rest = &rest[end + 1..];
    }
    members
}

#[test]
fn every_member_of_the_table_is_there_with_its_multiplicity() {
    let by_name: BTreeMap<String, Row> =
        rows().into_iter().map(|row| (row.name.to_lowercase(), row)).collect();
    let (mut checked, mut undefined) = (0, 0);
    for row in rows().iter().filter(|row| row.kind == "Grouped") {
        let avp = definition(row);
        let mut expected = Vec::new();
        let mut complete = true;
        for (name, min, max, fixed) in grammar(row.members) {
            match by_name.get(&name.to_lowercase()) {
                Some(member) => {
                    let id = definition(member).id;
                    expected.push(Member { id, min, max, fixed });
                }
                None => complete = false,
            }
            undefined += usize::from(!by_name.contains_key(&name.to_lowercase()));
        }
        assert_eq!(avp.members, expected, "{}", row.name);
        checked += expected.len();
        // Open where the grammar says so, and where members are known that the table lacks.
        let open = row.members.contains("[AVP]") || row.members.contains("{AVP}") || !complete;
        assert_eq!(avp.open, open || row.members.is_empty(), "{}", row.name);
        assert_eq!(avp.exactly_one, row.members.contains("exactly one"), "{}", row.name);
    }
    assert!(checked > 400, "{checked}");
    assert!(undefined > 0);
}

#[test]
fn the_constants_are_the_dictionary() {
    assert_eq!(id::ALL.len(), 399);
    for (id, name) in id::ALL {
        assert_eq!(Dictionary::builtin().avp(*id).map(|avp| avp.name.as_str()), Some(*name));
    }
}

#[test]
fn names_resolve_with_and_without_vendor() {
    let dictionary = Dictionary::builtin();
    let reason = dictionary.by_name("Reporting-Reason").map(|avp| avp.id);
    assert_eq!(reason, Some(id::REPORTING_REASON));
    assert_eq!(dictionary.by_name("3GPP:Reporting-Reason").map(|avp| avp.id), reason);
    assert_eq!(dictionary.by_name("IETF:Session-Id").map(|avp| avp.id), Some(id::SESSION_ID));
    assert_eq!(dictionary.by_name("3GPP:Session-Id"), None);
    assert_eq!(dictionary.by_name("reporting-reason"), None);
    assert_eq!(dictionary.vendor_name(10415), Some("3GPP"));
    assert_eq!(
        dictionary.kind(farebox::diameter::AvpId { code: 650, vendor: 0 }),
        Some(Kind::Grouped)
    );
    assert_eq!(
        dictionary.kind(farebox::diameter::AvpId { code: 650, vendor: 10415 }),
        Some(Kind::Enumerated)
    );
}

#[test]
fn r_11_h_09_commands_are_those_of_rf_ro_and_the_base_protocol() {
    let dictionary = Dictionary::builtin();
    for (code, application, request, short, proxiable) in [
        (command::CAPABILITIES_EXCHANGE, 0, true, "CER", false),
        (command::CAPABILITIES_EXCHANGE, 0, false, "CEA", false),
        (command::DEVICE_WATCHDOG, 0, true, "DWR", false),
        (command::DEVICE_WATCHDOG, 0, false, "DWA", false),
        (command::DISCONNECT_PEER, 0, true, "DPR", false),
        (command::DISCONNECT_PEER, 0, false, "DPA", false),
        (command::RE_AUTH, 4, true, "RAR", true),
        (command::RE_AUTH, 4, false, "RAA", true),
        (command::ABORT_SESSION, 4, true, "ASR", true),
        (command::ABORT_SESSION, 3, false, "ASA", true),
        (command::ACCOUNTING, 3, true, "ACR", true),
        (command::ACCOUNTING, 3, false, "ACA", true),
        (command::CREDIT_CONTROL, 4, true, "CCR", true),
        (command::CREDIT_CONTROL, 4, false, "CCA", true),
    ] {
        let command = dictionary.command(code, application, request).expect(short);
        assert_eq!((command.short.as_str(), command.proxiable), (short, proxiable));
        assert!(command.open, "{short}");
    }
    assert_eq!(dictionary.commands().count(), 14);
    assert_eq!(dictionary.command(command::CREDIT_CONTROL, 3, true), None);
    let ids: Vec<_> = dictionary.error_answer().members.iter().map(|member| member.id).collect();
    let required = dictionary.error_answer().members.iter().filter(|member| member.min == 1);
    assert_eq!(required.count(), 3);
    assert!(!ids.contains(&id::CC_REQUEST_TYPE) && !ids.contains(&id::ACCOUNTING_RECORD_TYPE));
}

#[test]
fn result_codes_are_one_ascending_table() {
    assert!(result_code::ALL.is_sorted_by(|a, b| a.code < b.code));
    assert_eq!(result_code::name(4012), Some("DIAMETER_CREDIT_LIMIT_REACHED"));
    assert_eq!(result_code::name(4999), None);
    assert_eq!(result_code::class(4999), result_code::Class::TransientFailure);
    assert_eq!(result_code::class(7001), result_code::Class::PermanentFailure, "R-13");
}

/// What the reader says about a file that follows the built-in ones: code and line.
fn findings(text: &str) -> Vec<(Code, u32)> {
    let mut files = BUILTIN.to_vec();
    files.push(("acme.yaml", text));
    let place = |finding: &Diagnostic| finding.span.as_ref().map_or(0, |span| span.line);
    match Dictionary::load(&files) {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(|finding| (finding.code, place(finding))).collect(),
    }
}

const ACME: &str = r#"dictionary: acme
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
override:
  - {avp: "3GPP:Application-Server-Id", type: OctetString, reason: "ACME sends octets"}
extend:
  - {group: Service-Information, add: [{avp: ACME-Chat-Info, max: 1}]}
"#;

#[test]
fn an_operators_dictionary_adds_overrides_and_extends() {
    assert_eq!(findings(ACME), []);
    let mut files = BUILTIN.to_vec();
    files.push(("acme.yaml", ACME));
    let dictionary = Dictionary::load(&files).expect("valid");
    let info = dictionary.by_name("ACME:ACME-Chat-Info").expect("defined");
    assert_eq!(info.members.len(), 2);
    assert_eq!(info.provenance, "ACME OCS 7.2 Diameter ICD, issue 4, 2025-03");
    let service = dictionary.avp(id::SERVICE_INFORMATION).expect("defined");
    assert!(service.member(info.id).is_some());
    let server = dictionary.avp(id::APPLICATION_SERVER_ID).expect("defined");
    assert_eq!(server.kind, Kind::OctetString);
    assert!(server.provenance.contains("acme.yaml:19: ACME sends octets"), "{}", server.provenance);
    assert!(!info.flags().mandatory() && info.flags().vendor());
}

#[test]
fn all_problems_of_a_file_are_listed_with_their_lines() {
    let text = r#"dictionary: acme
vendor: {name: ACME, id: 99999}
avps:
  - {name: A, code: 1, type: UTF8Strin, flags: V}
  - {name: B, code: 2, type: UTF8String, flags: M}
  - {name: C, code: 3, typ: UTF8String, flags: V}
  - {name: D, code: -4, type: UTF8String, flags: V}
  - {name: E, code: 5, type: Grouped, flags: V, contains: [{avp: Sesion-Id}]}
  - {name: F, code: 6, type: UTF8String, flags: V}
  - {name: G, code: 6, type: UTF8String, flags: V}
  - {name: Session-Id, code: 263, vendor: 0, type: UTF8String, flags: M}
  - {name: H, code: 7, type: Enumerated, flags: V, values: {X: 1, Y: 1}}
  - {name: I, code: 8, type: UTF8String, flags: V, contains: [{avp: F}]}
  - {name: J, code: 9, type: Grouped, flags: V, contains: [{avp: F, min: 3, max: 2}, {avp: F}]}
extend:
  - {group: F, add: [{avp: J}]}
override:
  - {avp: Nobody, type: UTF8String}
colour: red
"#;
    let mut found = findings(text);
    found.sort_by_key(|(_, line)| *line);
    assert_eq!(
        found,
        [
            (Code::FB0105, 4),
            (Code::FB0102, 5),
            (Code::FB0101, 6),
            (Code::FB0103, 6),
            (Code::FB0102, 7),
            (Code::FB0106, 8),
            (Code::FB0104, 10),
            (Code::FB0104, 11),
            (Code::FB0201, 12),
            (Code::FB0102, 13),
            (Code::FB0102, 14),
            (Code::FB0201, 14),
            (Code::FB0102, 16),
            (Code::FB0106, 18),
            (Code::FB0101, 19),
        ]
    );
    let suggested = Dictionary::load(&[("a.yaml", "dictionary: a\navps: []\ncommand: []\n")])
        .expect_err("unknown key");
    assert_eq!(suggested[0].help, ["did you mean `commands`?"]);
}

#[test]
fn k_18_groups_that_contain_themselves() {
    let itself = "dictionary: a\navps:\n  - {name: A, code: 1, vendor: 5, type: Grouped, contains: [{avp: A}]}\n";
    assert_eq!(findings(itself), [(Code::FB0114, 3)]);
    let mut ring = String::from("dictionary: a\navps:\n");
    for at in 0..1000 {
        let next = (at + 1) % 1000;
        let _ = writeln!(
            ring,
            "  - {{name: A{at}, code: {at}, vendor: 5, type: Grouped, contains: [{{avp: A{next}}}]}}"
        );
    }
    assert_eq!(findings(&ring).iter().map(|found| found.0).collect::<Vec<_>>(), [Code::FB0114]);
}

#[test]
fn k_18_hostile_files_end_soon_in_bounded_memory() {
    let mut many = String::from("dictionary: a\navps:\n");
    for code in 0..20_000 {
        let _ = writeln!(many, "- {{name: N{code}, code: {code}, vendor: 5, type: Nothing}}");
    }
    let long =
        format!("dictionary: a\navps:\n- {{name: {}, code: 1, type: Time}}\n", "n".repeat(1 << 20));
    let huge = format!("dictionary: {}\n", "n".repeat(10 << 20));
    let twice = "dictionary: a\navps:\n".to_owned()
        + &"- {name: N, code: 1, vendor: 5, type: Time}\n".repeat(20_000);
    let strangers = format!(
        "dictionary: a\navps:\n- {{name: G, code: 1, vendor: 5, type: Grouped, contains: [{}]}}\n",
        "{avp: Nobody-At-All}, ".repeat(20_000)
    );
    for text in [many, long, huge, twice, strangers] {
        let (_, peak, found) = measure(|| findings(&text));
        assert!(!found.is_empty() && found.len() <= 100, "{}", found.len());
        assert!(peak < 100 << 20, "{peak} octets");
    }
}

#[test]
fn high_codes_and_many_vendors_are_found_without_a_table() {
    let mut text = String::from("dictionary: a\navps:\n");
    for vendor in 1..=20 {
        for code in [1u32, 8191, 8192, u32::MAX] {
            let _ = writeln!(
                text,
                "- {{name: N{vendor}-{code}, code: {code}, vendor: {vendor}, type: Time, flags: V}}"
            );
        }
    }
    let dictionary = Dictionary::load(&[("a.yaml", &text)]).expect("valid");
    for vendor in 1..=20 {
        for code in [1u32, 8191, 8192, u32::MAX] {
            let id = farebox::diameter::AvpId { code, vendor };
            assert_eq!(dictionary.kind(id), Some(Kind::Time));
            assert_eq!(dictionary.avp(id).map(|avp| avp.id), Some(id));
            let other = farebox::diameter::AvpId { code: code ^ 2, vendor };
            assert_eq!((dictionary.kind(other), dictionary.avp(other)), (None, None));
        }
    }
}
