//! What a mapping sees: every field of the value tree, its type, and where the caller wrote it.
//!
//! The engine builds the tree exactly so; the compiler holds names and types of expressions
//! against this table, and provenance is shown in the caller's words. `[]` stands for any index.

/// Type of a field, as far as it is known before a value is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// Not known: anything may come.
    Any,
    Bool,
    Int,
    Text,
    Bytes,
    /// Milliseconds since 1970.
    Millis,
    List,
    /// An object with the fields of the table.
    Map,
    /// An object with names of the caller's choice.
    Open,
}

impl Type {
    /// For messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Type::Any => "a value",
            Type::Bool => "a boolean",
            Type::Int => "a number",
            Type::Text => "text",
            Type::Bytes => "octets",
            Type::Millis => "milliseconds since 1970",
            Type::List => "a list",
            Type::Map | Type::Open => "an object",
        }
    }
}

/// A field: path in the tree, type, and the caller's word for it.
struct Field(&'static str, Type, &'static str);

/// Made by the gateway or its machines, not by the caller.
const OWN: &str = "(reserved)";

const FIELDS: &[Field] = &[
    Field("op", Type::Text, "op"),
    Field("interface", Type::Text, OWN),
    Field("service", Type::Text, "service"),
    Field("role", Type::Text, "role"),
    Field("node", Type::Text, "node"),
    Field("subscriber", Type::List, "subscriber"),
    Field("subscriber[]", Type::Map, "subscriber[]"),
    Field("subscriber[].type", Type::Text, "subscriber[].type"),
    Field("subscriber[].value", Type::Text, "subscriber[].value"),
    Field("from", Type::Text, "from"),
    Field("to", Type::List, "to"),
    Field("to[]", Type::Text, "to[]"),
    Field("cpm", Type::Map, "cpm"),
    Field("cpm.conversationId", Type::Text, "cpm.conversationId"),
    Field("cpm.contributionId", Type::Text, "cpm.contributionId"),
    Field("cpm.serverRole", Type::Text, "cpm.serverRole"),
    Field("cpm.groupUri", Type::Text, "cpm.groupUri"),
    Field("cpm.imdnMessageId", Type::Text, "cpm.imdnMessageId"),
    Field("sip", Type::Map, "sip"),
    Field("sip.callId", Type::Text, "sip.callId"),
    Field("sip.outgoingCallId", Type::Text, "sip.outgoingCallId"),
    Field("sip.icid", Type::Text, "sip.icid"),
    Field("sip.origIoi", Type::Text, "sip.origIoi"),
    Field("sip.termIoi", Type::Text, "sip.termIoi"),
    Field("sip.icsi", Type::Text, "sip.icsi"),
    // The SIP method that the event stands for: INVITE, BYE or MESSAGE.
    Field("method", Type::Text, "op"),
    Field("participants", Type::Int, "participants"),
    Field("extensions", Type::Open, "extensions"),
    Field("kind", Type::Text, "kind"),
    Field("action", Type::Text, "action"),
    Field("delivery", Type::Text, "delivery"),
    Field("content", Type::Map, "content"),
    Field("content.type", Type::Text, "content.type"),
    Field("content.size", Type::Int, "content.size"),
    Field("units", Type::Map, "units"),
    Field("messages", Type::Map, "messages"),
    Field("messages.sent", Type::Int, "messages.sent"),
    Field("messages.delivered", Type::Int, "messages.delivered"),
    Field("messages.exploded", Type::Int, "messages.exploded"),
    Field("messages.explodedDelivered", Type::Int, "messages.explodedDelivered"),
    // From the cause table of the API.
    Field("cause", Type::Map, "cause"),
    Field("cause.code", Type::Int, "cause.kind"),
    Field("cause.termination", Type::Any, "cause.kind"),
    Field("cause.reasonHeader", Type::List, "cause.reasonHeader"),
    Field("cause.reasonHeader[]", Type::Text, "cause.reasonHeader[]"),
    Field("time", Type::Map, "timestamp"),
    Field("time.event", Type::Millis, "timestamp"),
    Field("time.sipRequest", Type::Millis, "sip.requestTimestamp"),
    Field("time.sipResponse", Type::Millis, "sip.responseTimestamp"),
    // Totals per rating group.
    Field("usage", Type::List, "usage"),
    Field("usage[]", Type::Map, "usage[]"),
    Field("usage[].ratingGroup", Type::Int, "usage[].ratingGroup"),
    Field("usage[].units", Type::Map, "usage[].units"),
    // One entry per rating group, made by the counters.
    Field("services", Type::List, "usage"),
    Field("services[]", Type::Map, "usage[]"),
    Field("services[].ratingGroup", Type::Int, "usage[].ratingGroup"),
    Field("services[].serviceId", Type::Int, "service"),
    Field("services[].requested", Type::Map, "request[].units"),
    // A unit object, or a list of them around a tariff change, each with its own `tariff`.
    Field("services[].used", Type::Map, "usage[].units"),
    Field("services[].used.tariff", Type::Text, "usage[].tariff"),
    Field("services[].reportingReason", Type::Any, OWN),
    Field("services[].usedReason", Type::Any, OWN),
    Field("services[].tariff", Type::Text, "usage[].tariff"),
    Field("services[].refundInformation", Type::Text, "refundOf"),
    Field("backup", Type::Map, OWN),
    Field("backup.serviceSpecificData", Type::List, OWN),
    Field("backup.serviceSpecificData[]", Type::Text, OWN),
    Field("orphan", Type::Bool, OWN),
];

/// Fields that hold a unit object.
const UNIT_OBJECTS: &[&str] =
    &["units", "usage[].units", "services[].requested", "services[].used"];

/// Fields of a unit object, relative to it.
const UNITS: &[Field] = &[
    Field("seconds", Type::Int, "seconds"),
    Field("messages", Type::Int, "messages"),
    Field("bytes", Type::Int, "bytes"),
    Field("inputBytes", Type::Int, "inputBytes"),
    Field("outputBytes", Type::Int, "outputBytes"),
    Field("money", Type::Map, "money"),
    Field("money.digits", Type::Int, "money.amount"),
    Field("money.exponent", Type::Int, "money.amount"),
    Field("money.currency", Type::Text, "money.currency"),
];

/// Type of the field at `path` (`services[].used.seconds`); `None` if there is no such field.
pub(super) fn type_of(path: &str) -> Option<Type> {
    if path.starts_with("extensions.") {
        return Some(Type::Any);
    }
    find(path).map(|(field, _)| field.1)
}

/// The field, and the unit object it belongs to if it does.
fn find(path: &str) -> Option<(&'static Field, Option<&'static Field>)> {
    let plain = |path: &str| FIELDS.iter().find(|field| field.0 == path);
    if let Some(field) = plain(path) {
        return Some((field, None));
    }
    UNIT_OBJECTS.iter().find_map(|object| {
        let rest = path.strip_prefix(object)?.strip_prefix('.')?;
        Some((UNITS.iter().find(|field| field.0 == rest)?, plain(object)))
    })
}

/// Names of the fields directly below `path` (all top-level ones for an empty path).
pub(super) fn names_below(path: &str) -> Vec<&'static str> {
    let below = |name: &'static str| {
        let rest = match path {
            "" => name,
            _ => name.strip_prefix(path)?.strip_prefix('.')?,
        };
        (!rest.contains(['.', '['])).then_some(rest)
    };
    let mut names: Vec<&str> = FIELDS.iter().filter_map(|field| below(field.0)).collect();
    if let Some(rest) = UNIT_OBJECTS.iter().find_map(|object| path.strip_prefix(object)) {
        let rest = rest.strip_prefix('.').unwrap_or(rest);
        names.extend(UNITS.iter().filter_map(|field| match rest {
            "" => (!field.0.contains('.')).then_some(field.0),
            _ => field.0.strip_prefix(rest)?.strip_prefix('.'),
        }));
    }
    names
}

/// The caller's word for a concrete path: `services[0].used.seconds` of a terminate is
/// `usage[0].units.seconds`.
pub(super) fn caller_path(path: &str, op: &str) -> String {
    let (pattern, indexes) = pattern_of(path);
    let ended = op == "terminate";
    let word = match (pattern.as_str(), op) {
        // A session's end has the time of its own SIP moment.
        ("time.sipRequest" | "time.sipResponse", _) if ended => "timestamp".to_owned(),
        ("services[].ratingGroup", "start") => "request[].ratingGroup".to_owned(),
        ("services[].ratingGroup", "event") => "ratingGroup".to_owned(),
        _ => match find(&pattern) {
            Some((field, None)) => field.2.to_owned(),
            Some((field, Some(object))) => {
                let object = if op == "event" { "units" } else { object.2 };
                format!("{object}.{}", field.2)
            }
            None => return path.to_owned(),
        },
    };
    let mut indexes = indexes.into_iter();
    let mut pieces = word.split("[]");
    let mut done = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        done.push_str(&format!("[{}]{piece}", indexes.next().unwrap_or_default()));
    }
    // An index of the value's own list, where the caller's word has none.
    done
}

/// `to[2]` → `to[]` and `2`.
fn pattern_of(path: &str) -> (String, Vec<&str>) {
    let mut pattern = String::new();
    let mut indexes = Vec::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((index, after)) = after.split_once(']') else { break };
        pattern.push_str(before);
        if index.bytes().all(|c| c.is_ascii_digit()) {
            pattern.push_str("[]");
            indexes.push(index);
        } else {
            pattern.push_str(&format!("[{index}]"));
        }
        rest = after;
    }
    pattern.push_str(rest);
    (pattern, indexes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_parent_before_its_children() {
        for (at, field) in FIELDS.iter().enumerate() {
            let parent = match field.0.rsplit_once(['.', '[']) {
                Some((parent, _)) => parent,
                None => continue,
            };
            assert!(FIELDS[..at].iter().any(|field| field.0 == parent), "{}", field.0);
        }
        assert_eq!(type_of("services[].used.money.digits"), Some(Type::Int));
        assert_eq!(type_of("services[].used.bytez"), None);
        assert_eq!(type_of("extensions.acme.campaign"), Some(Type::Any));
        assert!(names_below("services[].used").contains(&"seconds"));
        assert!(names_below("services[].used").contains(&"tariff"));
        assert!(names_below("usage[].units.money").contains(&"digits"));
        assert!(names_below("").contains(&"backup"));
    }

    #[test]
    fn provenance_speaks_the_callers_words() {
        for (path, op, word) in [
            ("services[0].used.seconds", "terminate", "usage[0].units.seconds"),
            ("services[1].requested.money.digits", "start", "request[1].units.money.amount"),
            ("services[0].requested.messages", "event", "units.messages"),
            ("time.sipRequest", "terminate", "timestamp"),
            ("time.sipRequest", "start", "sip.requestTimestamp"),
            ("cause.termination", "terminate", "cause.kind"),
            ("extensions['acme.campaign']", "start", "extensions['acme.campaign']"),
            ("to[2]", "event", "to[2]"),
            ("services[0].reportingReason", "terminate", "(reserved)"),
        ] {
            assert_eq!(caller_path(path, op), word, "{path}");
        }
    }
}
