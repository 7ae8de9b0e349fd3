//! The bodies of the four calls: bytes → checked trigger, with all problems at once.
//!
//! After this no field is "maybe": unknown fields, types, lengths, ranges and exclusions are settled
//! here, and nowhere below. Rating-group names and services' policies are the engine's to resolve.

use sha2::{Digest, Sha256};

use super::fields::{Field, FieldProblem, INTEGER_MAX, Problems, is_id};
use super::json::{self, Document, Json, Malformed};
use super::schema::Object;
use super::shapes::*;
use super::words::*;
use crate::charging::event::{
    Cause, CauseKind, CloseTrigger, Content, Cpm, EventAction, Identity, Interfaces, Interim,
    MessageContent, MessageCounters, Money, OneTimeEvent, RatingGroupRef, Sip, Start, Tariff,
    Terminate, Trigger, UnitRequest, Units, UsageEntry,
};
use crate::clock::Wall;
use crate::diagnostic::suggest;
use crate::store::Interface;

/// Which call the body belongs to; the session's id is the path's, decoded.
#[derive(Clone, Copy, Debug)]
pub enum Call<'a> {
    /// `POST /v1/sessions`.
    Start,
    /// `POST /v1/sessions/{id}/interim`.
    Interim(&'a str),
    /// `POST /v1/sessions/{id}/terminate`.
    Terminate(&'a str),
    /// `POST /v1/events`.
    Event,
}

/// Why a body is not a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Not JSON.
    Malformed(Malformed),
    /// JSON, but fields need attention.
    Invalid(Vec<FieldProblem>),
}

/// Reads one body.
///
/// `services` are the configured names: a service that is none of them is refused, because a typo
/// would otherwise be charged by the default policy. Empty: every name is accepted.
///
/// # Errors
/// [`BodyError`], with every problem of the body.
pub fn read(call: Call<'_>, bytes: &[u8], services: &[String]) -> Result<Trigger, BodyError> {
    let document = json::read(bytes).map_err(BodyError::Malformed)?;
    read_document(&document, |body| trigger(call, body, services))
}

/// Reads a document as `read` does, with every problem that it notes.
///
/// # Errors
/// [`BodyError::Invalid`], also for keys that are written twice.
pub fn read_document<T>(
    document: &Document,
    read: impl FnOnce(&Field<'_>) -> Option<T>,
) -> Result<T, BodyError> {
    let problems = Problems::default();
    for pointer in &document.duplicates {
        problems.note(pointer.clone(), "the key is written twice", None);
    }
    let value = read(&Field::root(&document.root, &problems));
    let found = problems.into_list();
    match value {
        Some(value) if found.is_empty() => Ok(value),
        _ => Err(BodyError::Invalid(found)),
    }
}

/// SHA-256 of path and body: tells a repeat from a reuse of a key.
///
/// The body counts as the API reads it: blanks, the order of members, `null` and the way a
/// character is written make no difference, so that a repeat in another envelope is a repeat.
pub fn fingerprint(path: &str, body: &Json) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(path.as_bytes());
    hash.update([0]);
    feed(&mut hash, body);
    hash.finalize().into()
}

/// Every value with its kind and its length, so that no two bodies give the same octets.
fn feed(hash: &mut Sha256, json: &Json) {
    let mut put = |kind: u8, bytes: &[u8]| {
        hash.update([kind]);
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    match json {
        Json::Null => put(b'z', &[]),
        Json::Bool(value) => put(b'b', &[u8::from(*value)]),
        Json::Whole(value) => put(b'n', &value.to_be_bytes()),
        Json::Negative(value) => put(b'm', &value.to_be_bytes()),
        Json::Fraction(value) => put(b'f', &value.to_bits().to_be_bytes()),
        Json::Text(text) => put(b't', text.as_bytes()),
        Json::List(items) => {
            put(b'l', &(items.len() as u64).to_be_bytes());
            items.iter().for_each(|item| feed(hash, item));
        }
        Json::Map(entries) => {
            let mut given: Vec<_> =
                entries.iter().filter(|(_, value)| *value != Json::Null).collect();
            given.sort_by(|left, right| left.0.cmp(&right.0));
            put(b'o', &(given.len() as u64).to_be_bytes());
            for (name, value) in given {
                feed(hash, &Json::Text(name.clone()));
                feed(hash, value);
            }
        }
    }
}

/// The trigger at its place in a document.
pub fn trigger(call: Call<'_>, body: &Field<'_>, services: &[String]) -> Option<Trigger> {
    if let Call::Interim(id) | Call::Terminate(id) = call
        && !is_id(id)
    {
        body.problem("the session id in the path must be 1 to 255 printable ASCII characters");
    }
    match call {
        Call::Start => start(body, services).map(|start| Trigger::Start(Box::new(start))),
        Call::Interim(id) => interim(body, id).map(|interim| Trigger::Interim(Box::new(interim))),
        Call::Terminate(id) => {
            terminate(body, id, services).map(|end| Trigger::Terminate(Box::new(end)))
        }
        Call::Event => event(body, services).map(|event| Trigger::Event(Box::new(event))),
    }
}

fn start(body: &Field<'_>, services: &[String]) -> Option<Start> {
    body.object(&START)?;
    let session_id = body.get("sessionId").and_then(|field| field.id());
    let timestamp = body.get("timestamp").and_then(|field| field.time());
    let service = body.get("service").and_then(|field| service(&field, services));
    let subscriber = body.get("subscriber").and_then(|field| subscriber(&field));
    let start = start_fields(body, service, subscriber.unwrap_or_default(), &START_CPM);
    Some(Start { session_id: session_id?, timestamp: timestamp?, ..start })
}

/// The `session` object of a terminate: none of the start's fields is required.
fn orphan(field: &Field<'_>, id: &str, at: Wall, services: &[String]) -> Option<Start> {
    field.part(&START)?;
    if let Some(given) = field.get("sessionId")
        && given.id().is_some_and(|given| given != id)
    {
        given.problem("differs from the session id in the path");
    }
    let timestamp = field.get("timestamp").map_or(Some(at), |field| field.time())?;
    let service = field.get("service").and_then(|field| service(&field, services));
    let subscriber = field.get("subscriber").and_then(|field| subscriber(&field));
    let start = start_fields(field, service, subscriber.unwrap_or_default(), &START_CPM);
    Some(Start { session_id: id.to_owned(), timestamp, ..start })
}

/// What a start and an orphan's `session` have in common; id and time are the caller's to set.
fn start_fields(
    body: &Field<'_>,
    service: Option<String>,
    subscriber: Vec<Identity>,
    cpm: &Object,
) -> Start {
    Start {
        session_id: String::new(),
        sequence: sequence(body),
        timestamp: Wall::default(),
        interfaces: body.get("interfaces").and_then(|field| interfaces(&field)),
        service,
        content: content(body, subscriber, cpm),
        request: body.get("request").map(|field| request(&field)).unwrap_or_default(),
        notify_uri: body.get("notifyUri").and_then(|field| uri(&field)),
    }
}

fn interim(body: &Field<'_>, id: &str) -> Option<Interim> {
    body.object(&INTERIM)?;
    let timestamp = body.get("timestamp").and_then(|field| field.time());
    let interim = Interim {
        session_id: id.to_owned(),
        sequence: sequence(body),
        timestamp: timestamp.unwrap_or_default(),
        node: body.get("node").and_then(|field| field.identity()),
        reason: body.get("reason").and_then(|field| field.word(REASONS)),
        usage: body.get("usage").map(|field| usage(&field)).unwrap_or_default(),
        messages: body.get("messages").and_then(|field| messages(&field)),
        participants: count(body, "participants"),
        request: body.get("request").map(|field| request(&field)).unwrap_or_default(),
        extensions: extensions(body),
    };
    timestamp.map(|_| interim)
}

fn terminate(body: &Field<'_>, id: &str, services: &[String]) -> Option<Terminate> {
    body.object(&TERMINATE)?;
    let trigger = body.get("trigger").and_then(|field| field.word(CLOSE_TRIGGERS));
    let timestamp = body.get("timestamp").and_then(|field| field.time());
    let at = timestamp.unwrap_or_default();
    let terminate = Terminate {
        session_id: id.to_owned(),
        trigger: trigger.unwrap_or(CloseTrigger::Aborted),
        timestamp: at,
        sequence: sequence(body),
        node: body.get("node").and_then(|field| field.identity()),
        cause: body.get("cause").and_then(|field| cause(&field)),
        usage: body.get("usage").map(|field| usage(&field)).unwrap_or_default(),
        messages: body.get("messages").and_then(|field| messages(&field)),
        participants: count(body, "participants"),
        extensions: extensions(body),
        session: body
            .get("session")
            .and_then(|field| orphan(&field, id, at, services))
            .map(Box::new),
    };
    trigger.and(timestamp).map(|_| terminate)
}

fn event(body: &Field<'_>, services: &[String]) -> Option<OneTimeEvent> {
    body.object(&EVENT)?;
    let event_id = body.get("eventId").and_then(|field| field.id());
    let kind = body.get("kind").and_then(|field| field.name());
    let timestamp = body.get("timestamp").and_then(|field| field.time());
    let service = body.get("service").and_then(|field| service(&field, services));
    let subscriber = body.get("subscriber").and_then(|field| subscriber(&field));
    let action = body.get("action").map_or(Some(EventAction::Debit), |field| field.word(ACTIONS));
    let refund_of = body.get("refundOf").and_then(|field| field.id());
    if refund_of.is_some() && action.is_some_and(|action| action != EventAction::Refund) {
        body.problem_at("refundOf", "only with action refund");
    }
    let one_message = Units { messages: Some(1), ..Units::default() };
    let units = body.get("units").map_or(Some(one_message), |field| units(&field));
    let content = content(body, subscriber.unwrap_or_default(), &EVENT_CPM);
    let rating_group = body.get("ratingGroup").and_then(|field| rating_group(&field));
    let delivery = body.get("delivery").and_then(|field| field.text());
    let size_and_type = body.get("content").and_then(|field| message_content(&field));
    let cause = body.get("cause").and_then(|field| cause(&field));
    Some(OneTimeEvent {
        interfaces: body.get("interfaces").and_then(|field| interfaces(&field)),
        notify_uri: body.get("notifyUri").and_then(|field| uri(&field)),
        sequence: sequence(body),
        event_id: event_id?,
        kind: kind?,
        action: action?,
        timestamp: timestamp?,
        service: service?,
        content,
        units: units?,
        rating_group,
        delivery,
        body: size_and_type,
        refund_of,
        cause,
    })
}

fn content(body: &Field<'_>, subscriber: Vec<Identity>, cpm_fields: &Object) -> Content {
    Content {
        role: body.get("role").and_then(|field| field.word(ROLES)).unwrap_or_default(),
        node: body.get("node").and_then(|field| field.identity()),
        subscriber,
        from: body.get("from").and_then(|field| field.identity()),
        to: body.get("to").and_then(|field| field.list(|item| item.identity())).unwrap_or_default(),
        cpm: body.get("cpm").map(|field| cpm(&field, cpm_fields)).unwrap_or_default(),
        sip: body.get("sip").map(|field| sip(&field)).unwrap_or_default(),
        participants: count(body, "participants"),
        extensions: extensions(body),
    }
}

fn cpm(field: &Field<'_>, known: &Object) -> Cpm {
    if field.object(known).is_none() {
        return Cpm::default();
    }
    let text = |name| field.get(name).and_then(|field| field.text());
    Cpm {
        conversation_id: text("conversationId"),
        contribution_id: text("contributionId"),
        server_role: field.get("serverRole").and_then(|field| field.word(SERVER_ROLES)),
        group_uri: field.get("groupUri").and_then(|field| field.identity()),
        imdn_message_id: known.member("imdnMessageId").and_then(|member| text(member.name)),
    }
}

fn sip(field: &Field<'_>) -> Sip {
    if field.object(&SIP).is_none() {
        return Sip::default();
    }
    let text = |name| field.get(name).and_then(|field| field.text());
    Sip {
        call_id: text("callId"),
        outgoing_call_id: text("outgoingCallId"),
        icid: text("icid"),
        orig_ioi: text("origIoi"),
        term_ioi: text("termIoi"),
        icsi: text("icsi"),
        request_timestamp: field.get("requestTimestamp").and_then(|field| field.time()),
        response_timestamp: field.get("responseTimestamp").and_then(|field| field.time()),
    }
}

/// 1 to 8 identities.
fn subscriber(field: &Field<'_>) -> Option<Vec<Identity>> {
    let identities = field.list(|item| {
        item.object(&IDENTITY)?;
        let kind =
            item.get("type").and_then(|field| field.word_or(IDENTITY_TYPES, IDENTITY_ALIASES));
        let value = item.get("value").and_then(|field| field.identity());
        Some(Identity { kind: kind?, value: value? })
    })?;
    let Json::List(items) = field.json() else { return None };
    if !(1..=SUBSCRIBERS_MAX).contains(&items.len()) {
        field
            .problem(format!("must hold 1 to {SUBSCRIBERS_MAX} identities, holds {}", items.len()));
        return None;
    }
    Some(identities)
}

fn service(field: &Field<'_>, services: &[String]) -> Option<String> {
    let name = field.name()?;
    if services.is_empty() || services.contains(&name) {
        return Some(name);
    }
    let names = services.iter().map(String::as_str);
    let near = suggest(&name, names).map(str::to_owned);
    field.problem_near(
        format!("unknown service; `policy.services` has {}", services.join(", ")),
        near,
    );
    None
}

fn sequence(body: &Field<'_>) -> Option<u64> {
    count(body, "sequence")
}

fn count(body: &Field<'_>, name: &str) -> Option<u64> {
    body.get(name).and_then(|field| field.integer(INTEGER_MAX))
}

/// At least one of `ch1` and `ch2`: an empty list would be a session that nobody charges.
fn interfaces(field: &Field<'_>) -> Option<Interfaces> {
    let pinned = field.list(|item| item.word(INTERFACE_WORDS))?;
    if matches!(field.json(), Json::List(items) if items.is_empty()) {
        field.problem("must name ch1, ch2 or both");
        return None;
    }
    Some(Interfaces {
        ch1: pinned.contains(&Interface::Ch1),
        ch2: pinned.contains(&Interface::Ch2),
    })
}

fn rating_group(field: &Field<'_>) -> Option<RatingGroupRef> {
    match field.json() {
        Json::Text(_) => field.name().map(RatingGroupRef::Name),
        Json::Whole(_) | Json::Negative(_) | Json::Fraction(_) => {
            let number = field.integer(u64::from(u32::MAX))?;
            u32::try_from(number).ok().map(RatingGroupRef::Number)
        }
        other => {
            field.problem(format!(
                "expected a rating group's number or name, not {}",
                other.describe()
            ));
            None
        }
    }
}

fn request(field: &Field<'_>) -> Vec<UnitRequest> {
    let mut seen: Vec<Option<RatingGroupRef>> = Vec::new();
    let entries = field.list(|item| {
        item.object(&UNIT_REQUEST)?;
        let rating_group = item.get("ratingGroup").and_then(|field| rating_group(&field));
        let units = item.get("units").and_then(|field| units(&field))?;
        if seen.contains(&rating_group) {
            item.problem("the rating group is listed twice");
        }
        seen.push(rating_group.clone());
        Some(UnitRequest { rating_group, units })
    });
    entries.unwrap_or_default()
}

fn usage(field: &Field<'_>) -> Vec<UsageEntry> {
    let mut seen: Vec<(Option<RatingGroupRef>, Option<Tariff>)> = Vec::new();
    let entries = field.list(|item| {
        item.object(&USAGE_ENTRY)?;
        let rating_group = item.get("ratingGroup").and_then(|field| rating_group(&field));
        let tariff = item.get("tariff").and_then(|field| field.word(TARIFFS));
        let units = item.get("units").and_then(|field| units(&field))?;
        let key = (rating_group.clone(), tariff);
        if seen.contains(&key) {
            item.problem("the rating group is listed twice");
        }
        seen.push(key);
        Some(UsageEntry { rating_group, units, tariff })
    });
    entries.unwrap_or_default()
}

fn units(field: &Field<'_>) -> Option<Units> {
    field.object(&UNITS)?;
    let amount = |name| field.get(name).and_then(|field| field.integer(INTEGER_MAX));
    let units = Units {
        seconds: field.get("seconds").and_then(|field| field.integer(u64::from(u32::MAX))),
        messages: amount("messages"),
        bytes: amount("bytes"),
        input_bytes: amount("inputBytes"),
        output_bytes: amount("outputBytes"),
        money: field.get("money").and_then(|field| money(&field)),
    };
    if field.get("bytes").is_some()
        && (field.get("inputBytes").is_some() || field.get("outputBytes").is_some())
    {
        field.problem_at("bytes", "not beside inputBytes or outputBytes");
        return None;
    }
    Some(units)
}

/// `{"amount": "0.70", "currency": "EUR"}`.
fn money(field: &Field<'_>) -> Option<Money> {
    field.object(&MONEY)?;
    let amount = field.get("amount").and_then(|field| decimal(&field));
    let currency = field.get("currency").and_then(|field| {
        let text = field.text()?;
        let letters = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        if !letters {
            field.problem("expected an ISO 4217 code such as \"EUR\"");
        }
        letters.then_some(text)
    });
    let (digits, exponent) = amount?;
    Some(Money { digits, exponent, currency: currency? })
}

/// `"0.70"` → (70, -2); not negative, at most 18 digits, so that it always fits an Integer64.
fn decimal(field: &Field<'_>) -> Option<(i64, i32)> {
    let text = field.text()?;
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text.as_str(), None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let places = fraction.map_or(0, str::len);
    let fits = whole.len() + places <= DECIMAL_DIGITS_MAX;
    if !fits || !digits(whole) || !fraction.is_none_or(digits) {
        field.problem(format!(
            "expected a decimal of at most {DECIMAL_DIGITS_MAX} digits such as \"0.70\", not {}",
            field.json().describe()
        ));
        return None;
    }
    let digits = format!("{whole}{}", fraction.unwrap_or("")).parse().ok()?;
    Some((digits, -i32::try_from(places).ok()?))
}

const DECIMAL_DIGITS_MAX: usize = 18;

fn messages(field: &Field<'_>) -> Option<MessageCounters> {
    field.object(&MESSAGES)?;
    Some(MessageCounters {
        sent: count(field, "sent"),
        delivered: count(field, "delivered"),
        exploded: count(field, "exploded"),
        exploded_delivered: count(field, "explodedDelivered"),
    })
}

fn cause(field: &Field<'_>) -> Option<Cause> {
    field.object(&CAUSE)?;
    let kind = field.get("kind").and_then(|field| field.word(CAUSES));
    let sip_status = field.get("sipStatus").and_then(|field| {
        let status = field.integer(INTEGER_MAX)?;
        let fits = u16::try_from(status).ok().filter(|status| (400..=699).contains(status));
        if fits.is_none() {
            field.problem(format!("must be 400 to 699, is {status}"));
        }
        fits
    });
    let reason_header = field
        .get("reasonHeader")
        .and_then(|field| field.list(|item| item.text()))
        .unwrap_or_default();
    if kind == Some(CauseKind::SipError) && field.get("sipStatus").is_none() {
        field.problem_at("sipStatus", "required with kind sip-error: 400 to 699");
    }
    Some(Cause { kind: kind?, sip_status, reason_header })
}

/// Type and size of what was sent, never the content itself.
fn message_content(field: &Field<'_>) -> Option<MessageContent> {
    field.object(&CONTENT)?;
    let content_type = field.get("type").and_then(|field| field.name());
    let size = field.get("size").and_then(|field| field.integer(INTEGER_MAX));
    Some(MessageContent { content_type: content_type?, size: size? })
}

/// An absolute http or https address.
fn uri(field: &Field<'_>) -> Option<String> {
    let text = field.identity()?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    if host.is_none_or(str::is_empty) || text.contains(char::is_whitespace) {
        field.problem("expected an absolute http or https address");
        return None;
    }
    Some(text)
}

/// Vendor data: dotted name → text, number or boolean, as text.
fn extensions(body: &Field<'_>) -> Vec<(String, String)> {
    let Some(field) = body.get("extensions") else { return Vec::new() };
    if !matches!(field.json(), Json::Map(_)) {
        field.problem(format!("expected an object, not {}", field.json().describe()));
        return Vec::new();
    }
    let mut pairs = Vec::new();
    for (name, member) in field.members() {
        let value = match member.json() {
            Json::Null => continue,
            Json::Text(_) => match member.text() {
                Some(text) => text,
                None => continue,
            },
            Json::List(_) | Json::Map(_) => {
                let nested = member.json().describe();
                member.problem(format!("expected text, a number or a boolean, not {nested}"));
                continue;
            }
            scalar => scalar.describe(),
        };
        if name.is_empty() || name.len() > EXTENSION_NAME_OCTETS_MAX {
            member.problem(format!("the name must have 1 to {EXTENSION_NAME_OCTETS_MAX} octets"));
            continue;
        }
        pairs.push((name.to_owned(), value));
    }
    pairs
}

const EXTENSION_NAME_OCTETS_MAX: usize = 255;
