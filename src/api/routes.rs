//! The routes for the CPM server: who may, how much, which call; then body, engine, answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use super::answer;
use super::backend::Backend;
use super::body::{self, Call};
use super::headers::{self, Preferences};
use super::problem::{self, Item, Kind, Problem};
use crate::charging::event::{EventAction, Request, Trigger};
use crate::charging::outcome::{Answer, Outcome, Refusal, Reply, Subject};
use crate::clock::{self, Now};
use crate::config::Config;
use crate::config::settings::{ApiSettings, Token};
use crate::telemetry::metrics::{InFlight, Metrics};

/// What the routes have to know besides the backend.
#[derive(Clone, Debug)]
pub struct Rules {
    /// `api` of the configuration.
    pub settings: ApiSettings,
    /// Names of `policy.services`; empty: every name is accepted.
    pub services: Vec<String>,
    /// A body has to arrive within this time.
    pub body_timeout: Duration,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            settings: ApiSettings::default(),
            services: Vec::new(),
            body_timeout: Duration::from_secs(10),
        }
    }
}

impl Rules {
    /// From the configuration.
    pub fn of(config: &Config) -> Rules {
        Rules {
            settings: config.api.clone(),
            services: config.policy.services.keys().cloned().collect(),
            ..Rules::default()
        }
    }
}

/// The API port as a service.
pub fn router(backend: Arc<dyn Backend>, metrics: Arc<Metrics>, rules: Rules) -> Router {
    let app = Arc::new(App {
        backend,
        metrics,
        in_flight: Semaphore::new(rules.settings.in_flight_max.min(Semaphore::MAX_PERMITS)),
        rate: rules.settings.rate_per_second.map(Rate::new),
        rules,
    });
    Router::new()
        .route("/v1/sessions", post(start).fallback(only_post))
        .route("/v1/sessions/{id}", get(session).fallback(only_get))
        .route("/v1/sessions/{id}/interim", post(interim).fallback(only_post))
        .route("/v1/sessions/{id}/terminate", post(terminate).fallback(only_post))
        .route("/v1/events", post(event).fallback(only_post))
        .route("/healthz", get(healthz).fallback(only_get))
        .route("/problems/{name}", get(problem_page).fallback(only_get))
        .fallback(not_found)
        .with_state(app)
        .layer(from_fn(with_request_id))
}

struct App {
    backend: Arc<dyn Backend>,
    metrics: Arc<Metrics>,
    rules: Rules,
    in_flight: Semaphore,
    rate: Option<Rate>,
}

type Id = Result<Path<String>, PathRejection>;

async fn start(State(app): State<Arc<App>>, request: HttpRequest) -> Response {
    serve_call(&app, "start", request, None).await
}

async fn interim(State(app): State<Arc<App>>, id: Id, request: HttpRequest) -> Response {
    serve_call(&app, "interim", request, Some(id)).await
}

async fn terminate(State(app): State<Arc<App>>, id: Id, request: HttpRequest) -> Response {
    serve_call(&app, "terminate", request, Some(id)).await
}

async fn event(State(app): State<Arc<App>>, request: HttpRequest) -> Response {
    serve_call(&app, "event", request, None).await
}

/// One POST, metered and with its problem rendered.
async fn serve_call(app: &App, op: &'static str, request: HttpRequest, id: Option<Id>) -> Response {
    let instance = request.uri().path().to_owned();
    let mut metered = Metered::begin(app, op);
    let result = match id.transpose() {
        Ok(id) => trigger(app, op, request, id.map(|Path(id)| id)).await,
        Err(_) => Err(Problem::new(Kind::NotFound, "the path is not UTF-8.")),
    };
    metered.finish(result, &instance)
}

async fn session(State(app): State<Arc<App>>, id: Id, request: HttpRequest) -> Response {
    let instance = request.uri().path().to_owned();
    let mut metered = Metered::begin(&app, "get");
    let result = match id {
        Ok(Path(id)) => find_session(&app, request.headers(), id).await,
        Err(_) => Err(Problem::new(Kind::NotFound, "the path is not UTF-8.")),
    };
    metered.finish(result, &instance)
}

async fn find_session(app: &App, headers: &HeaderMap, id: String) -> Result<Response, Problem> {
    client(app, headers, |token| token.scopes.read)?;
    within_rate(app)?;
    match app.backend.session(id.clone()).await {
        Ok(Some(view)) => Ok(json(StatusCode::OK, answer::session_body(&view))),
        Ok(None) => Err(Problem::refusal(Refusal::UnknownSession, &id)),
        Err(refusal) => Err(Problem::refusal(refusal, &id)),
    }
}

/// From request to answer; `id` is the session's, decoded from the path.
async fn trigger(
    app: &App,
    op: &'static str,
    request: HttpRequest,
    id: Option<String>,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let token = client(app, headers, |token| token.scopes.trigger)?;
    within_rate(app)?;
    if matches!(op, "start" | "event") && app.backend.draining() {
        return Err(Problem::refusal(Refusal::Draining, ""));
    }
    let permit = app.in_flight.try_acquire();
    let _permit = permit.map_err(|_| Problem::refusal(Refusal::Overloaded, ""))?;
    headers::check_media_type(headers)
        .map_err(|detail| Problem::new(Kind::UnsupportedMediaType, format!("{detail}.")))?;
    let bytes = read_body(app, headers, body).await?;

    let (call, path) = match (op, &id) {
        ("interim", Some(id)) => (Call::Interim(id), format!("/v1/sessions/{id}/interim")),
        ("terminate", Some(id)) => (Call::Terminate(id), format!("/v1/sessions/{id}/terminate")),
        ("event", _) => (Call::Event, "/v1/events".to_owned()),
        _ => (Call::Start, "/v1/sessions".to_owned()),
    };
    let trigger = body::read(call, &bytes, &app.rules.services).map_err(Problem::body)?;
    let idempotency_key = idempotency_key(app, headers)?;
    let refund = matches!(&trigger, Trigger::Event(event) if event.action == EventAction::Refund);
    if refund && token.is_some_and(|token| !token.scopes.refund) {
        return Err(Problem::new(Kind::Forbidden, "the token has no scope `refund`."));
    }
    let preferences = Preferences::read(headers);
    let subject = subject(&trigger);
    let request = Request {
        trigger,
        prefer: preferences.prefer(),
        client: token.map(|token| token.name.clone()).unwrap_or_default(),
        idempotency_key,
        fingerprint: body::fingerprint(&path, &bytes),
    };
    match app.backend.trigger(request).await {
        Reply::Refused(refusal) => Err(Problem::refusal(refusal, &subject)),
        Reply::Answered { answer, replayed } => {
            if replayed {
                app.metrics.api_replay(op);
            }
            Ok(answered(answer, replayed, preferences, parts.uri.path()))
        }
    }
}

fn subject(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Start(start) => start.session_id.clone(),
        Trigger::Interim(interim) => interim.session_id.clone(),
        Trigger::Terminate(terminate) => terminate.session_id.clone(),
        Trigger::Event(event) => event.event_id.clone(),
    }
}

fn answered(
    answer: Box<Answer>,
    replayed: bool,
    preferences: Preferences,
    instance: &str,
) -> Response {
    let location = match &answer.subject {
        Subject::Session(id) if answer.created => Some(format!("/v1/sessions/{}", encode(id))),
        _ => None,
    };
    let mut response = if preferences.denied_402 && answer.outcome == Outcome::Denied {
        Problem::denied(answer).response(instance)
    } else {
        let status = if answer.created { StatusCode::CREATED } else { StatusCode::OK };
        json(status, answer::answer_body(&answer))
    };
    let headers = response.headers_mut();
    if let Some(location) = location.and_then(|path| HeaderValue::try_from(path).ok()) {
        headers.insert(header::LOCATION, location);
    }
    if let Some(applied) = preferences.applied() {
        headers.insert(HeaderName::from_static("preference-applied"), applied);
    }
    if replayed {
        let name = HeaderName::from_static("idempotency-replayed");
        headers.insert(name, HeaderValue::from_static("true"));
    }
    response
}

fn idempotency_key(app: &App, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let key = headers::idempotency_key(headers).map_err(|detail| {
        let item = Item { pointer: None, detail, suggestion: None, place: None };
        Problem::fields(Kind::ValidationFailed, vec![item])
    })?;
    if key.is_none() && app.rules.settings.require_idempotency_key {
        let detail = "the configuration requires the header Idempotency-Key; \
                      nothing was stored and nothing was sent.";
        return Err(Problem::new(Kind::IdempotencyKeyMissing, detail));
    }
    Ok(key)
}

/// The authenticated client, `None` if no tokens are configured.
fn client<'a>(
    app: &'a App,
    headers: &HeaderMap,
    allowed: impl Fn(&Token) -> bool,
) -> Result<Option<&'a Token>, Problem> {
    let tokens = &app.rules.settings.tokens;
    if tokens.is_empty() {
        return Ok(None);
    }
    match headers::authenticate(headers, tokens) {
        None => Err(Problem::new(Kind::Unauthenticated, "send a known token as `Bearer`.")),
        Some(token) if !allowed(token) => {
            Err(Problem::new(Kind::Forbidden, "the token's scopes do not allow this call."))
        }
        Some(token) => Ok(Some(token)),
    }
}

fn within_rate(app: &App) -> Result<(), Problem> {
    match &app.rate {
        Some(rate) if !rate.allows(clock::now()) => {
            Err(Problem::new(Kind::RateLimited, "more calls than `api.limits.rate`."))
        }
        _ => Ok(()),
    }
}

/// The whole body, bounded in size and time.
async fn read_body(app: &App, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let limit = app.rules.settings.body_bytes_max;
    let too_large = || Problem::new(Kind::TooLarge, format!("the limit is {limit} bytes."));
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if declared.is_some_and(|text| text.parse().is_ok_and(|length: u64| length > limit as u64)) {
        return Err(too_large());
    }
    match tokio::time::timeout(app.rules.body_timeout, gather(body, limit)).await {
        Ok(Gathered::Whole(bytes)) => Ok(bytes),
        Ok(Gathered::TooLarge) => Err(too_large()),
        Ok(Gathered::Broken(reason)) => {
            Err(Problem::new(Kind::MalformedJson, format!("the body is cut: {reason}.")))
        }
        Err(_) => {
            let detail = format!("the limit is {} s.", app.rules.body_timeout.as_secs_f32());
            Err(Problem::new(Kind::RequestTimeout, detail))
        }
    }
}

enum Gathered {
    Whole(Bytes),
    TooLarge,
    Broken(String),
}

async fn gather(mut body: Body, limit: usize) -> Gathered {
    let mut whole: Vec<u8> = Vec::new();
    loop {
        match poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            None => return Gathered::Whole(Bytes::from(whole)),
            Some(Err(error)) => return Gathered::Broken(error.to_string()),
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue };
                if whole.len() + data.len() > limit {
                    return Gathered::TooLarge;
                }
                whole.extend_from_slice(&data);
            }
        }
    }
}

async fn healthz(headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut response = json(StatusCode::OK, br#"{"status":"pass"}"#.to_vec());
    if accept.contains("application/health+json") {
        let kind = HeaderValue::from_static("application/health+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

async fn problem_page(name: Id, request: HttpRequest) -> Response {
    match name.ok().and_then(|Path(name)| problem::page(&name)) {
        Some(page) => {
            let mut response = Body::from(page).into_response();
            let kind = HeaderValue::from_static("text/html; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        None => not_found(request).await,
    }
}

async fn not_found(request: HttpRequest) -> Response {
    Problem::new(Kind::NotFound, "there is no such resource.").response(request.uri().path())
}

async fn only_post(request: HttpRequest) -> Response {
    wrong_method(&request, "POST")
}

async fn only_get(request: HttpRequest) -> Response {
    wrong_method(&request, "GET, HEAD")
}

fn wrong_method(request: &HttpRequest, allow: &'static str) -> Response {
    let detail = format!("the resource has {allow}, not {}.", request.method());
    let problem = Problem::new(Kind::MethodNotAllowed, detail);
    Problem { allow: Some(allow), ..problem }.response(request.uri().path())
}

/// Echoes `X-Request-Id`, or makes one.
async fn with_request_id(request: HttpRequest, next: Next) -> Response {
    let id = headers::request_id(request.headers());
    let mut response = next.run(request).await;
    response.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
    response
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Body::from(body).into_response();
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Percent-encodes a path segment (RFC 3986: everything but the unreserved characters).
fn encode(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Counts a call from its beginning to its end, also if the client goes away in between.
struct Metered<'a> {
    app: &'a App,
    op: &'static str,
    begun: Now,
    status: u16,
    _running: InFlight,
}

/// Counted where the client closed the connection before its answer.
const CLIENT_CLOSED: u16 = 499;

impl<'a> Metered<'a> {
    fn begin(app: &'a App, op: &'static str) -> Metered<'a> {
        let running = app.metrics.api_in_flight(op);
        Metered { app, op, begun: clock::now(), status: CLIENT_CLOSED, _running: running }
    }

    fn finish(&mut self, result: Result<Response, Problem>, instance: &str) -> Response {
        let response = result.unwrap_or_else(|problem| {
            if !problem.kind.reason().is_empty() {
                self.app.metrics.api_rejection(problem.kind.reason());
            }
            problem.response(instance)
        });
        self.status = response.status().as_u16();
        response
    }
}

impl Drop for Metered<'_> {
    fn drop(&mut self) {
        let took = clock::now().since(self.begun);
        self.app.metrics.api_request(self.op, self.status, took);
    }
}

/// A bucket that holds one second's worth of calls (GCRA: one number, no lock).
struct Rate {
    interval_nanos: u64,
    /// When the bucket will be full again.
    full_at: AtomicU64,
}

impl Rate {
    const WINDOW_NANOS: u64 = 1_000_000_000;

    fn new(per_second: u32) -> Rate {
        let interval_nanos = Rate::WINDOW_NANOS / u64::from(per_second.max(1));
        Rate { interval_nanos, full_at: AtomicU64::new(0) }
    }

    fn allows(&self, now: Now) -> bool {
        let latest = now.0.saturating_add(Rate::WINDOW_NANOS);
        let take = |full_at: u64| {
            let next = full_at.max(now.0).saturating_add(self.interval_nanos);
            (next <= latest).then_some(next)
        };
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_allows_a_second_at_once_and_then_one_per_interval() {
        let rate = Rate::new(10);
        let at = |millis: u64| Now(millis * 1_000_000);
        assert_eq!((0..20).filter(|_| rate.allows(at(0))).count(), 10);
        assert!(!rate.allows(at(99)));
        assert!(rate.allows(at(100)));
        assert!(!rate.allows(at(150)));
        assert_eq!((0..20).filter(|_| rate.allows(at(5_000))).count(), 10);
    }

    #[test]
    fn path_segments_are_percent_encoded() {
        assert_eq!(encode("a-b_c.~9"), "a-b_c.~9");
        assert_eq!(encode("a/b c%;é"), "a%2Fb%20c%25%3B%C3%A9");
    }
}
