//! A Diameter message as a stable JSON object, shared by `decode` and `encode`.

use serde_json::{Value, json};

use crate::diameter::print::{Line, lines, summary};
use crate::diameter::{Dictionary, Header, Problem, result_code};

/// The message with its AVP tree; `from` says where an AVP came from, for `encode`.
pub(crate) fn message(
    bytes: &[u8],
    problems: &[Problem],
    dictionary: &Dictionary,
    from: impl Fn(&Line) -> Option<String>,
) -> Value {
    let header = Header::parse(bytes).unwrap_or_default();
    let summary = summary(bytes, dictionary);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "command": summary.split_whitespace().next(),
        "code": header.code,
        "application": header.application,
        "flags": header.flags.to_string(),
        "hopByHop": format!("{:08x}", header.hop_by_hop),
        "endToEnd": format!("{:08x}", header.end_to_end),
        "bytes": bytes.len(),
        "avps": tree(&lines(bytes, dictionary), dictionary, &from),
        "problems": problems.iter().map(|problem| json!({
            "offset": problem.offset,
            "code": problem.result_code,
            "name": result_code::name(problem.result_code),
            "avp": problem.avp.map(|id| id.to_string()),
            "detail": problem.detail,
        })).collect::<Vec<_>>(),
        "hex": hex,
    })
}

/// The lines, which know their depth, as nested objects.
fn tree(
    lines: &[Line],
    dictionary: &Dictionary,
    from: &impl Fn(&Line) -> Option<String>,
) -> Vec<Value> {
    let mut open: Vec<Vec<Value>> = vec![Vec::new()];
    for line in lines {
        while open.len() > line.depth + 1 {
            close(&mut open);
        }
        let kind = dictionary.avp(line.id).map(|definition| definition.kind.name());
        let mut object = json!({
            "name": line.name,
            "code": line.id.code,
            "vendor": line.id.vendor,
            "flags": line.flags,
            "type": kind,
            "offset": line.offset,
            "length": line.length,
        });
        if let Some(from) = from(line) {
            object["from"] = Value::from(from);
        }
        if kind == Some("Grouped") {
            object["children"] = Value::Array(Vec::new());
        } else {
            object["value"] = Value::from(line.value.as_str());
        }
        if let Some(level) = open.last_mut() {
            level.push(object);
        }
        if kind == Some("Grouped") {
            open.push(Vec::new());
        }
    }
    while open.len() > 1 {
        close(&mut open);
    }
    open.pop().unwrap_or_default()
}

/// Puts the innermost open level into the group above it.
fn close(open: &mut Vec<Vec<Value>>) {
    let children = open.pop().unwrap_or_default();
    if let Some(group) = open.last_mut().and_then(|level| level.last_mut()) {
        group["children"] = Value::Array(children);
    }
}
