//! `POST /v1/cloudevents`: a call wrapped in a CloudEvent 1.0, alone or many in a list.
//!
//! `type` names the call, `subject` is the session's id, `data` the body; `source` and `id` are the
//! key, so that a broker may deliver an event as often as it likes.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::app::{App, Metered, answer_json, client, read_body, within_rate};
use super::batch::{Call, LINES_MAX, Turns};
use super::body;
use super::charge;
use super::fields::Field;
use super::headers::{self, Preferences, TOKEN_OCTETS_MAX};
use super::json::{self as json_text, Document, Json};
use super::problem::{Item, Kind, Problem};
use super::routes::answered;
use super::shapes::CLOUD_EVENT;
use super::words::Op;
use crate::charging::event::Trigger;
use crate::charging::outcome::Refusal;
use crate::config::settings::Token;

/// One event in structured mode.
pub(super) const SINGLE: &str = "application/cloudevents+json";
/// A list of them.
pub(super) const BATCH: &str = "application/cloudevents-batch+json";
/// Octets of a list.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// All types begin so.
pub(super) const TYPE_PREFIX: &str = "org.openmobilealliance.cpm.";

/// Which call a type is; every other one is a one-time event of that kind.
pub(super) const TYPES: &[(&str, Op)] = &[
    ("session.started", Op::Start),
    ("session.updated", Op::Interim),
    ("session.terminated", Op::Terminate),
];

pub(super) async fn cloudevents(State(app): State<Arc<App>>, request: HttpRequest) -> Response {
    let mut metered = Metered::begin(&app, "batch");
    let instance = request.uri().path().to_owned();
    let result = serve(&app, &mut metered, request).await;
    metered.finish(result, &instance)
}

async fn serve(
    app: &Arc<App>,
    metered: &mut Metered,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let token = client(app, headers, |token| token.scopes.trigger)?;
    within_rate(app)?;
    let kind = headers::media_type(headers, &[SINGLE, BATCH])
        .map_err(|detail| Problem::new(Kind::UnsupportedMediaType, format!("{detail}.")))?;
    let one = app.rules.settings.body_bytes_max;
    let limit = if kind == SINGLE { one } else { one.max(BATCH_BYTES_MAX) };
    let bytes = read_body(app, headers, body, limit).await?;
    if kind == SINGLE {
        single(app, metered, token, headers, &bytes).await
    } else {
        many(app, token, headers, &bytes).await
    }
}

/// As the wrapped call.
async fn single(
    app: &Arc<App>,
    metered: &mut Metered,
    token: Option<&Token>,
    headers: &HeaderMap,
    bytes: &[u8],
) -> Result<Response, Problem> {
    let mut document = json_text::read(bytes).map_err(Problem::malformed)?;
    let preferences = Preferences::read(headers);
    let (_, call) = read(app, token, preferences, &mut document);
    let Call { op, request, .. } = call?;
    metered.is(op.word());
    charge::admit(app, op)?;
    let permit = app.in_flight.try_acquire();
    let _permit = permit.map_err(|_| Problem::refusal(Refusal::Overloaded, ""))?;
    let path = charge::path(op, charge::subject(&request.trigger));
    let charged = charge::charge(app, op, request).await?;
    Ok(answered(charged, preferences, &path))
}

/// A list of answers, each as a batch has it.
async fn many(
    app: &Arc<App>,
    token: Option<&Token>,
    headers: &HeaderMap,
    bytes: &Bytes,
) -> Result<Response, Problem> {
    let Document { root, duplicates } = json_text::read(bytes).map_err(Problem::malformed)?;
    let Json::List(events) = root else {
        let detail = format!("expected a list of events, not {}", root.describe());
        let item = Item { pointer: Some(String::new()), detail, suggestion: None, place: None };
        return Err(Problem::fields(Kind::ValidationFailed, vec![item]));
    };
    if events.len() as u64 > LINES_MAX {
        let detail = format!("a batch has at most {LINES_MAX} events; nothing was charged.");
        return Err(Problem::new(Kind::TooLarge, detail));
    }
    let preferences = Preferences::read(headers);
    let mut turns = Turns::new(app.clone());
    let mut answers = Vec::with_capacity(events.len());
    for (index, root) in events.into_iter().enumerate() {
        // Of a key written twice only the pointer is left: it begins with the event's place.
        let place = format!("/{index}/");
        let of_this = duplicates.iter().filter_map(|pointer| pointer.strip_prefix(&place));
        let duplicates = of_this.map(|pointer| format!("/{pointer}")).collect();
        let mut document = Document { root, duplicates };
        let (key, call) = read(app, token, preferences, &mut document);
        let (answered, answer) = oneshot::channel();
        turns.begin(index as u64 + 1, key, call, answered);
        answers.push(answer);
    }
    let mut text = Vec::from(*b"[");
    for answer in answers {
        let line = answer.await.unwrap_or_default();
        if text.len() > 1 {
            text.push(b',');
        }
        text.extend_from_slice(line.trim_ascii());
    }
    text.push(b']');
    Ok(answer_json(StatusCode::OK, text))
}

/// One event as a call, with its key for the answer.
fn read(
    app: &App,
    token: Option<&Token>,
    preferences: Preferences,
    document: &mut Document,
) -> (Option<String>, Result<Call, Problem>) {
    fill(&mut document.root);
    let key = key(&document.root);
    let call = body::read_document(document, |event| read_event(app, event))
        .map_err(Problem::body)
        .and_then(|(op, trigger, fingerprint)| {
            let request =
                charge::request(app, token, trigger, fingerprint, key.clone(), preferences)?;
            Ok(Call { op, request, preferences })
        });
    (key, call)
}

/// `data` may leave out what the envelope says: the session's id and the event's kind.
fn fill(event: &mut Json) {
    let text = |name: &str| match event.member(name) {
        Some(Json::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let Some(kind) = text("type").and_then(|t| t.strip_prefix(TYPE_PREFIX).map(str::to_owned))
    else {
        return;
    };
    let (name, value) = match op_of(&kind) {
        Op::Start => ("sessionId", text("subject")),
        Op::Event => ("kind", Some(kind)),
        Op::Interim | Op::Terminate => return,
    };
    let (Json::Map(members), Some(value)) = (event, value) else { return };
    let data = members.iter_mut().find(|(name, _)| name == "data");
    if let Some((_, Json::Map(data))) = data
        && !data.iter().any(|(known, value)| known == name && *value != Json::Null)
    {
        data.push((name.to_owned(), Json::Text(value)));
    }
}

fn op_of(kind: &str) -> Op {
    TYPES.iter().find(|(known, _)| *known == kind).map_or(Op::Event, |(_, op)| *op)
}

/// `source` and `id`, with the blank between them that no `source` has.
fn key(event: &Json) -> Option<String> {
    let (Some(Json::Text(source)), Some(Json::Text(id))) =
        (event.member("source"), event.member("id"))
    else {
        return None;
    };
    let key = format!("{source} {id}");
    if key.len() <= TOKEN_OCTETS_MAX {
        return Some(key);
    }
    let digest = Sha256::digest(key.as_bytes());
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn read_event(app: &App, event: &Field<'_>) -> Option<(Op, Trigger, [u8; 32])> {
    event.object(&CLOUD_EVENT)?;
    let version = event.get("specversion").and_then(|field| field.word(&[("1.0", ())]));
    let id = event.get("id").and_then(|field| field.name());
    let source = event.get("source").and_then(|field| {
        let text = field.name()?;
        if text.contains(char::is_whitespace) {
            field.problem("a URI reference has no blanks");
            return None;
        }
        Some(text)
    });
    let format = event.get("datacontenttype").and_then(|field| Some((field.text()?, field)));
    if let Some((format, field)) = format
        && format.split(';').next() != Some("application/json")
    {
        field.problem("expected application/json");
    }
    if event.get("data_base64").is_some() {
        event.problem_at("data_base64", "send the body as JSON in `data`");
    }
    if let Some(time) = event.get("time") {
        time.time();
    }
    let kind = event.get("type").and_then(|field| {
        let text = field.name()?;
        let kind = text.strip_prefix(TYPE_PREFIX).filter(|kind| !kind.is_empty());
        if kind.is_none() {
            field.problem(format!("expected `{TYPE_PREFIX}session.started` or the like"));
        }
        kind.map(str::to_owned)
    })?;
    let op = op_of(&kind);
    let subject = event.get("subject").and_then(|field| field.id());
    if matches!(op, Op::Interim | Op::Terminate) && subject.is_none() {
        if event.get("subject").is_none() {
            event.problem_at("subject", "required: the session's id");
        }
        return None;
    }
    let session = subject.unwrap_or_default();
    let data = event.get("data")?;
    let trigger = charge::trigger(app, op, &session, &data)?;
    match &trigger {
        Trigger::Start(start) if !session.is_empty() && start.session_id != session => {
            data.problem_at("sessionId", "differs from `subject`");
        }
        Trigger::Event(event) if event.kind != kind => {
            data.problem_at("kind", "differs from `type`");
        }
        _ => {}
    }
    let fingerprint = charge::fingerprint(op, &session, &data);
    version.and(id).and(source)?;
    Some((op, trigger, fingerprint))
}
