//! What every call goes through: who may, how much, how often; the body read; the call counted.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::backend::Backend;
use super::headers;
use super::notifications::Hub;
use super::problem::{Kind, Problem};
use super::webhook::Patience;
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
    /// A batch that brings no octet for this time ends.
    pub stream_idle: Duration,
    /// How long a `notifyUri` is tried.
    pub notify: Patience,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            settings: ApiSettings::default(),
            services: Vec::new(),
            body_timeout: Duration::from_secs(10),
            stream_idle: Duration::from_secs(60),
            notify: Patience::default(),
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

/// The API port's state.
pub(super) struct App {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) rules: Rules,
    pub(super) in_flight: Semaphore,
    pub(super) hub: Arc<Hub>,
    pub(super) rate: Option<Rate>,
}

impl App {
    /// For a backend.
    pub(super) fn new(backend: Arc<dyn Backend>, metrics: Arc<Metrics>, rules: Rules) -> App {
        let permits = rules.settings.in_flight_max.min(Semaphore::MAX_PERMITS);
        App {
            backend,
            metrics,
            in_flight: Semaphore::new(permits),
            hub: Arc::new(Hub::new()),
            rate: rules.settings.rate_per_second.map(Rate::new),
            rules,
        }
    }

    /// Counts a problem by its reason.
    pub(super) fn rejected(&self, problem: &Problem) {
        if !problem.kind.reason().is_empty() {
            self.metrics.api_rejection(problem.kind.reason());
        }
    }
}

/// The authenticated client, `None` if no tokens are configured.
pub(super) fn client<'a>(
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

/// Within `api.limits.rate`?
pub(super) fn within_rate(app: &App) -> Result<(), Problem> {
    match &app.rate {
        Some(rate) if !rate.allows(clock::now()) => {
            Err(Problem::new(Kind::RateLimited, "more calls than `api.limits.rate`."))
        }
        _ => Ok(()),
    }
}

/// Waits until `api.limits.rate` has room: for lines of a stream that is held back instead.
pub(super) async fn paced(app: &App) {
    while let Some(rate) = &app.rate
        && !rate.allows(clock::now())
    {
        tokio::time::sleep(PACE).await;
    }
}

const PACE: Duration = Duration::from_millis(5);

/// The whole body, bounded in size and time.
pub(super) async fn read_body(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Bytes, Problem> {
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

/// A JSON answer.
pub(super) fn answer_json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Body::from(body).into_response();
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Counts a call from its beginning to its end, also if the client goes away in between.
pub(super) struct Metered {
    app: Arc<App>,
    op: &'static str,
    begun: Now,
    status: u16,
    _running: InFlight,
}

/// Counted where the client closed the connection before its answer.
const CLIENT_CLOSED: u16 = 499;

impl Metered {
    /// A call begins.
    pub(super) fn begin(app: &Arc<App>, op: &'static str) -> Metered {
        let running = app.metrics.api_in_flight(op);
        Metered {
            app: app.clone(),
            op,
            begun: clock::now(),
            status: CLIENT_CLOSED,
            _running: running,
        }
    }

    /// The call's answer, its problem rendered.
    pub(super) fn finish(&mut self, result: Result<Response, Problem>, instance: &str) -> Response {
        let response = result.unwrap_or_else(|problem| {
            self.refused(&problem);
            problem.response(instance)
        });
        self.counted(response.status().as_u16());
        response
    }

    /// What the call turned out to be.
    pub(super) fn is(&mut self, op: &'static str) {
        self.op = op;
    }

    /// It is answered with this status.
    pub(super) fn counted(&mut self, status: u16) {
        self.status = status;
    }

    /// It is answered with a problem.
    pub(super) fn refused(&mut self, problem: &Problem) {
        self.app.rejected(problem);
        self.counted(problem.kind.status());
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        let took = clock::now().since(self.begun);
        self.app.metrics.api_request(self.op, self.status, took);
    }
}

/// A bucket that holds one second's worth of calls (GCRA: one number, no lock).
pub(super) struct Rate {
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
}
