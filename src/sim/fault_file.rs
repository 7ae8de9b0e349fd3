//! Faults as a person writes them: `{server: ocs-a, when: {command: CCR-U, nth: 3}, do: {…}}`.

use bytes::Bytes;

use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::document::Node;
use crate::diagnostic::suggest;
use crate::diameter::Avp;
use crate::diameter::AvpId;
use crate::diameter::Dictionary;
use crate::diameter::Kind;
use crate::diameter::Value;
use crate::diameter::result_code;
use crate::sim::fault::COMMANDS;
use crate::sim::fault::Fault;
use crate::sim::fault::FinalUnitAction;
use crate::sim::fault::Lost;
use crate::sim::fault::Sessions;
use crate::sim::fault::Verb;
use crate::sim::fault::When;
use crate::sim::reading::Reading;

const VERBS: &[&str] = &[
    "answer",
    "asr",
    "close",
    "delay",
    "dpr",
    "drop",
    "duplicate",
    "error_message",
    "experimental_result",
    "extra_avp",
    "final_unit",
    "forget",
    "garbage",
    "missing_avp",
    "rar",
    "refuse_connections",
    "reorder",
    "reset",
    "truncate",
    "unknown_mandatory_avp",
    "wrong_e2e",
    "wrong_flag",
    "wrong_type",
    // Known words whose place is in the transport.
    "cea_result",
    "dwr_silence",
    "slow_read",
];

/// The values of `final_unit`.
pub(super) const FINAL_UNIT_ACTIONS: &[(&str, FinalUnitAction)] = &[
    ("terminate", FinalUnitAction::Terminate),
    ("redirect", FinalUnitAction::Redirect),
    ("restrict", FinalUnitAction::Restrict),
];

/// Reads one fault from YAML or JSON text; `name` stands in the diagnostics.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_fault(name: &str, text: &str) -> Result<Fault, Vec<Diagnostic>> {
    let node = Node::parse(name, text).map_err(|problem| vec![problem])?;
    let mut reading = Reading::default();
    let fault = fault(&mut reading, &node);
    match (fault, reading.found) {
        (Some(fault), found) if found.is_empty() => Ok(fault),
        (_, found) => Err(found),
    }
}

/// Reads one fault; `None` only with a finding.
pub(super) fn fault(reading: &mut Reading, node: &Node) -> Option<Fault> {
    let mut fault =
        Fault { server: None, when: When::default(), at: None, lasts: None, verbs: Vec::new() };
    let before = reading.found.len();
    for entry in reading.keys(node, &["server", "when", "at", "for", "do"]) {
        let value = &entry.value;
        match entry.key.as_str() {
            "server" => fault.server = reading.text(value),
            "when" => when(reading, value, &mut fault),
            "at" => fault.at = reading.duration(value),
            "for" => fault.lasts = reading.duration(value),
            "do" => fault.verbs = verbs(reading, value),
            _ => {}
        }
    }
    if node.map().is_some() && node.field("do").is_none() {
        reading.missing(node, "do");
    }
    (reading.found.len() == before).then_some(fault)
}

fn when(reading: &mut Reading, node: &Node, fault: &mut Fault) {
    let known = ["command", "nth", "every", "subscription", "session", "at", "for"];
    for entry in reading.keys(node, &known) {
        let value = &entry.value;
        match entry.key.as_str() {
            "command" => {
                let names: Vec<(&str, String)> =
                    COMMANDS.iter().map(|name| (*name, (*name).to_owned())).collect();
                fault.when.command = reading.one_of(value, &names);
            }
            "nth" => fault.when.nth = reading.count(value),
            "every" => fault.when.every = reading.count(value),
            "subscription" => fault.when.subscription = reading.text(value),
            "session" => fault.when.session = reading.text(value),
            "at" => fault.at = reading.duration(value),
            "for" => fault.lasts = reading.duration(value),
            _ => {}
        }
    }
}

fn verbs(reading: &mut Reading, node: &Node) -> Vec<Verb> {
    let mut verbs = Vec::new();
    let entries = reading.keys(node, VERBS);
    if node.map().is_some() && entries.is_empty() {
        reading.wrong(node, "at least one verb");
    }
    for entry in entries {
        verb(reading, &entry.key, &entry.value, &mut verbs);
    }
    verbs
}

fn verb(reading: &mut Reading, name: &str, node: &Node, out: &mut Vec<Verb>) {
    let verb = match name {
        "answer" => result(reading, node).map(Verb::Answer),
        "error_message" => reading.text(node).map(Verb::ErrorMessage),
        "final_unit" => reading.one_of(node, FINAL_UNIT_ACTIONS).map(Verb::FinalUnit),
        "experimental_result" => experimental(reading, node),
        "forget" => reading.flag(node).map(|()| Verb::Forget),
        "drop" => {
            let halves =
                [("true", Lost::Answer), ("answer", Lost::Answer), ("request", Lost::Request)];
            reading.one_of(node, &halves).map(Verb::Drop)
        }
        "delay" => reading.duration(node).map(Verb::Delay),
        "duplicate" if node.boolean() == Some(true) => Some(Verb::Duplicate(1)),
        "duplicate" => reading.u32(node).map(Verb::Duplicate),
        "reorder" => reading.flag(node).map(|()| Verb::Reorder),
        "missing_avp" => return avps(reading, node, out, Verb::MissingAvp),
        "wrong_type" => return avps(reading, node, out, Verb::WrongType),
        "wrong_flag" => return avps(reading, node, out, Verb::WrongFlag),
        "extra_avp" => extra_avp(reading, node).map(Verb::ExtraAvp),
        "unknown_mandatory_avp" => reading.flag(node).map(|()| Verb::UnknownMandatoryAvp),
        "wrong_e2e" => reading.flag(node).map(|()| Verb::WrongEndToEnd),
        "truncate" if node.boolean() == Some(true) => Some(Verb::Truncate(None)),
        "truncate" => reading.u32(node).map(|octets| Verb::Truncate(Some(octets))),
        "garbage" => reading.flag(node).map(|()| Verb::Garbage),
        "close" => reading.flag(node).map(|()| Verb::Close),
        "reset" => reading.flag(node).map(|()| Verb::Reset),
        "refuse_connections" => reading.flag(node).map(|()| Verb::RefuseConnections),
        "dpr" => {
            let causes = [("REBOOTING", 0), ("BUSY", 1), ("DO_NOT_WANT_TO_TALK_TO_YOU", 2)];
            reading.one_of(node, &causes).map(Verb::Dpr)
        }
        "rar" => sessions(reading, node).map(|(sessions, group)| Verb::Rar(sessions, group)),
        "asr" => sessions(reading, node).map(|(sessions, _)| Verb::Asr(sessions)),
        "cea_result" | "dwr_silence" | "slow_read" => {
            let message = format!("the fault verb `{name}` is not supported yet");
            reading.found.push(Diagnostic::error(Code::FB0206, message).at(&node.span));
            None
        }
        _ => None,
    };
    out.extend(verb);
}

/// A number, or the RFC's name of it.
fn result(reading: &mut Reading, node: &Node) -> Option<u32> {
    let named = node
        .text()
        .and_then(|text| result_code::ALL.iter().find(|row| row.name == text))
        .map(|row| row.code);
    named.or_else(|| reading.u32(node))
}

fn experimental(reading: &mut Reading, node: &Node) -> Option<Verb> {
    let (mut vendor, mut code) = (10415, None);
    for entry in reading.keys(node, &["vendor", "code"]) {
        match entry.key.as_str() {
            "vendor" => vendor = reading.u32(&entry.value)?,
            _ => code = reading.u32(&entry.value),
        }
    }
    if code.is_none() {
        reading.missing(node, "code");
    }
    Some(Verb::ExperimentalResult(vendor, code?))
}

fn sessions(reading: &mut Reading, node: &Node) -> Option<(Sessions, Option<u32>)> {
    let pattern = |text: String| match text.as_str() {
        "any" => Sessions::Any,
        _ => Sessions::Like(text),
    };
    if node.text().is_some() {
        return reading.text(node).map(|text| (pattern(text), None));
    }
    let (mut sessions, mut group) = (Sessions::Any, None);
    for entry in reading.keys(node, &["session", "rating_group"]) {
        match entry.key.as_str() {
            "session" => sessions = reading.text(&entry.value).map(pattern)?,
            _ => group = reading.u32(&entry.value),
        }
    }
    Some((sessions, group))
}

/// One AVP name, or a list of them.
fn avps(reading: &mut Reading, node: &Node, out: &mut Vec<Verb>, verb: fn(AvpId) -> Verb) {
    let nodes = node.list().unwrap_or(std::slice::from_ref(node));
    let ids: Vec<AvpId> = nodes.iter().filter_map(|node| avp(reading, node)).collect();
    out.extend(ids.into_iter().map(verb));
}

/// `Result-Code`, `3GPP:Reporting-Reason`, `1044:99999`.
fn avp(reading: &mut Reading, node: &Node) -> Option<AvpId> {
    let name = reading.text(node)?;
    if let Some(definition) = Dictionary::builtin().by_name(&name) {
        return Some(definition.id);
    }
    if let Some(id) = by_number(&name) {
        return Some(id);
    }
    let message = format!("unknown AVP `{name}`");
    let mut found = Diagnostic::error(Code::FB0107, message).at(&node.span);
    if let Some(near) = suggest(&name, Dictionary::builtin().names()) {
        found = found.help(format!("did you mean `{near}`?"));
    }
    reading.found.push(found);
    None
}

fn by_number(text: &str) -> Option<AvpId> {
    let (code, vendor) = text.split_once(':').unwrap_or((text, "0"));
    let vendor = if vendor == "3GPP" { 10415 } else { vendor.parse().ok()? };
    Some(AvpId { code: code.parse().ok()?, vendor })
}

/// `{avp: Validity-Time, value: 5}`; `type` for an AVP that the dictionary does not know.
fn extra_avp(reading: &mut Reading, node: &Node) -> Option<Avp> {
    let _ = reading.keys(node, &["avp", "type", "value"]);
    let Some(name) = node.field("avp") else {
        reading.missing(node, "avp");
        return None;
    };
    let id = avp(reading, name)?;
    let kind = match node.field("type") {
        Some(kind) => {
            let found = kind.text().and_then(Kind::from_name);
            if found.is_none() {
                reading.wrong(kind, "a type of RFC 6733");
            }
            found?
        }
        None => Dictionary::builtin().kind(id).unwrap_or(Kind::OctetString),
    };
    let Some(node) = node.field("value") else {
        reading.missing(node, "value");
        return None;
    };
    let value = value_of(kind, id, node);
    if value.is_none() {
        reading.wrong(node, &format!("a value of type {}", kind.name()));
    }
    Some(Avp::new(id, value?))
}

fn value_of(kind: Kind, id: AvpId, node: &Node) -> Option<Value> {
    let number = node.integer();
    let text = || node.text().map(str::to_owned);
    match kind {
        Kind::Unsigned32 => Some(Value::Unsigned32(u32::try_from(number?).ok()?)),
        Kind::Unsigned64 => Some(Value::Unsigned64(u64::try_from(number?).ok()?)),
        Kind::Integer32 => Some(Value::Integer32(i32::try_from(number?).ok()?)),
        Kind::Integer64 => Some(Value::Integer64(number?)),
        Kind::Time => Some(Value::Time(number?)),
        Kind::Enumerated => {
            let by_name = || Dictionary::builtin().avp(id)?.value_of(node.text()?);
            let value = number.and_then(|number| i32::try_from(number).ok());
            Some(Value::Enumerated(value.or_else(by_name)?))
        }
        Kind::Utf8String => text().map(Value::Utf8String),
        Kind::DiameterIdentity => text().map(Value::DiameterIdentity),
        Kind::DiameterUri => text().map(Value::DiameterUri),
        Kind::IpFilterRule => text().map(Value::IpFilterRule),
        Kind::OctetString => text().map(|text| Value::OctetString(Bytes::from(text))),
        Kind::Float32 | Kind::Float64 | Kind::Address | Kind::Grouped => None,
    }
}
