//! One trigger on its way to the engine and back, whatever envelope it came in.

use axum::http::HeaderMap;

use super::app::App;
use super::body::{self, Call};
use super::fields::Field;
use super::headers::{self, Preferences};
use super::problem::{Item, Kind, Problem};
use super::words::Op;
use crate::charging::event::{EventAction, Request, Trigger};
use crate::charging::outcome::{Answer, Outcome, Refusal, Reply};
use crate::config::settings::Token;

/// What the engine answered.
pub(super) struct Charged {
    pub(super) answer: Box<Answer>,
    pub(super) replayed: bool,
}

/// The call that `op` names; `id` is the session's.
pub(super) fn call(op: Op, id: &str) -> Call<'_> {
    match op {
        Op::Start => Call::Start,
        Op::Interim => Call::Interim(id),
        Op::Terminate => Call::Terminate(id),
        Op::Event => Call::Event,
    }
}

/// The path of that call, as a fingerprint has it: the id is not encoded.
pub(super) fn path(op: Op, id: &str) -> String {
    match op {
        Op::Start => "/v1/sessions".to_owned(),
        Op::Interim => format!("/v1/sessions/{id}/interim"),
        Op::Terminate => format!("/v1/sessions/{id}/terminate"),
        Op::Event => "/v1/events".to_owned(),
    }
}

/// SHA-256 of path and body.
pub(super) fn fingerprint(op: Op, id: &str, body: &Field<'_>) -> [u8; 32] {
    body::fingerprint(&path(op, id), body.json())
}

/// New sessions and events are refused by an instance that is about to stop.
pub(super) fn admit(app: &App, op: Op) -> Result<(), Problem> {
    if matches!(op, Op::Start | Op::Event) && app.backend.draining() {
        return Err(Problem::refusal(Refusal::Draining, ""));
    }
    Ok(())
}

/// The trigger at its place, with what the configuration has to say about it.
pub(super) fn trigger(app: &App, op: Op, id: &str, body: &Field<'_>) -> Option<Trigger> {
    let trigger = body::trigger(call(op, id), body, &app.rules.services)?;
    let uri = match &trigger {
        Trigger::Start(start) => start.notify_uri.as_ref(),
        Trigger::Event(event) => event.notify_uri.as_ref(),
        Trigger::Interim(_) | Trigger::Terminate(_) => None,
    };
    let allowed = &app.rules.settings.notify_allow;
    if let Some(uri) = uri
        && !allowed.is_empty()
        && !allowed.iter().any(|origin| super::webhook::is_of_origin(uri, origin))
    {
        body.problem_at("notifyUri", "its origin is none of `api.notify.allow`");
    }
    Some(trigger)
}

/// The request as the engine takes it.
///
/// # Errors
/// A scope or a key that the configuration asks for is missing.
pub(super) fn request(
    app: &App,
    token: Option<&Token>,
    trigger: Trigger,
    fingerprint: [u8; 32],
    key: Option<String>,
    preferences: Preferences,
) -> Result<Request, Problem> {
    if key.is_none() && app.rules.settings.require_idempotency_key {
        let detail = "the configuration requires the header Idempotency-Key; \
                      nothing was stored and nothing was sent.";
        return Err(Problem::new(Kind::IdempotencyKeyMissing, detail));
    }
    let refund = matches!(&trigger, Trigger::Event(event) if event.action == EventAction::Refund);
    if refund && token.is_some_and(|token| !token.scopes.refund) {
        return Err(Problem::new(Kind::Forbidden, "the token has no scope `refund`."));
    }
    Ok(Request {
        trigger,
        prefer: preferences.prefer(),
        client: token.map(|token| token.name.clone()).unwrap_or_default(),
        idempotency_key: key,
        fingerprint,
    })
}

/// Charges it.
///
/// # Errors
/// What the engine refuses.
pub(super) async fn charge(app: &App, op: Op, request: Request) -> Result<Charged, Problem> {
    let subject = subject(&request.trigger).to_owned();
    match app.backend.trigger(request).await {
        Reply::Refused(refusal) => Err(Problem::refusal(refusal, &subject)),
        Reply::Answered { answer, replayed } => {
            if replayed {
                app.metrics.api_replay(op.word());
            }
            Ok(Charged { answer, replayed })
        }
    }
}

/// The session's or event's id.
pub(super) fn subject(trigger: &Trigger) -> &str {
    match trigger {
        Trigger::Start(start) => &start.session_id,
        Trigger::Interim(interim) => &interim.session_id,
        Trigger::Terminate(terminate) => &terminate.session_id,
        Trigger::Event(event) => &event.event_id,
    }
}

/// `Prefer: denied=402` makes a problem of a denied debit.
pub(super) fn wants_problem(preferences: Preferences, answer: &Answer) -> bool {
    preferences.denied_402 && answer.outcome == Outcome::Denied
}

/// The header `Idempotency-Key`.
///
/// # Errors
/// 400 if it is not one.
pub(super) fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    headers::idempotency_key(headers).map_err(|detail| {
        let item = Item { pointer: None, detail, suggestion: None, place: None };
        Problem::fields(Kind::ValidationFailed, vec![item])
    })
}
