//! The routes of the admin port.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::health::JSON;
use super::{Check, PeerAction, Source, health, page, records};
use crate::api::headers::authenticate;
use crate::api::problem;
use crate::api::problem::{Kind, Problem};
use crate::api::record_answer::Reveal;
use crate::clock;
use crate::config::settings::{AdminSettings, Scopes, Token};
use crate::telemetry::metrics::Metrics;

/// Name of the token that may act.
const OPERATOR: &str = "operator";

/// What the routes have to know besides the source.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Tokens of `admin.roles`; empty: whoever reaches the port may read.
    pub tokens: Vec<Token>,
    /// The conditions for being ready have to be told within this time.
    pub ready_timeout: Duration,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { tokens: Vec::new(), ready_timeout: Duration::from_secs(3) }
    }
}

impl From<&AdminSettings> for Rules {
    fn from(settings: &AdminSettings) -> Rules {
        let token = |name, secret: &Option<String>| {
            let secret = secret.as_ref().filter(|secret| !secret.is_empty())?;
            Some(Token::new(name, secret, Scopes::default()))
        };
        let viewer = token("viewer", &settings.viewer);
        let operator = token(OPERATOR, &settings.operator);
        Rules { tokens: viewer.into_iter().chain(operator).collect(), ..Rules::default() }
    }
}

struct App {
    source: Arc<dyn Source>,
    metrics: Arc<Metrics>,
    rules: Rules,
}

type Shared = State<Arc<App>>;

impl App {
    /// Figures that are a moment old are better than none when the store hangs.
    async fn refresh(&self) {
        let _ = tokio::time::timeout(self.rules.ready_timeout, self.source.refresh()).await;
    }
}

/// The admin port as a service.
///
/// Health and metrics need no token: probes and Prometheus have none, and neither tells a secret.
pub fn router(source: Arc<dyn Source>, metrics: Arc<Metrics>, rules: Rules) -> Router {
    let app = Arc::new(App { source, metrics, rules });
    Router::new()
        .route("/", get(index).fallback(only_get))
        .route("/metrics", get(metrics_text).fallback(only_get))
        .route("/healthz", get(healthz).fallback(only_get))
        .route("/readyz", get(readyz).fallback(only_get))
        .route("/admin/v1/peers", get(peers).fallback(only_get))
        .route("/admin/v1/peers/{name}", get(peer).fallback(only_get))
        .route("/admin/v1/peers/{name}/{action}", post(act_on_peer).fallback(only_post))
        .route("/admin/v1/spool", get(spool).fallback(only_get))
        .route("/admin/v1/spool/export", get(export).fallback(only_get))
        .route("/admin/v1/spool/replay", post(replay).fallback(only_post))
        .route("/admin/v1/spool/purge", post(purge).fallback(only_post))
        .route("/admin/v1/records/search", post(search).fallback(only_post))
        .route("/admin/v1/records/{id}", get(record).fallback(only_get))
        .route("/problems/{name}", get(problem_page).fallback(only_get))
        .fallback(not_found)
        .with_state(app)
}

async fn index(State(app): Shared, headers: HeaderMap) -> Response {
    match allowed(&app, &headers) {
        Ok(()) => {
            app.refresh().await;
            let text = page::index(&app.source.peers(), &app.metrics);
            answer(StatusCode::OK, "text/html; charset=utf-8", text)
        }
        Err(problem) => problem.response("/"),
    }
}

async fn metrics_text(State(app): Shared) -> Response {
    app.refresh().await;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    answer(StatusCode::OK, kind, app.metrics.render())
}

async fn healthz(headers: HeaderMap) -> Response {
    let (status, kind, body) = health::alive(&headers);
    answer(status, kind, body)
}

async fn readyz(State(app): Shared, headers: HeaderMap) -> Response {
    let limit = app.rules.ready_timeout;
    let checks = match tokio::time::timeout(limit, app.source.ready()).await {
        Ok(checks) => checks,
        Err(_) => {
            let detail = format!("no answer in {} s: the store hangs", limit.as_secs_f32());
            vec![Check::new("gateway", false, detail)]
        }
    };
    let (status, kind, body) = health::ready(&headers, &checks);
    answer(status, kind, body)
}

async fn peers(State(app): Shared, headers: HeaderMap) -> Response {
    match allowed(&app, &headers) {
        Ok(()) => {
            answer(StatusCode::OK, JSON, super::peers::all(&app.source.peers(), clock::wall()))
        }
        Err(problem) => problem.response("/admin/v1/peers"),
    }
}

async fn peer(State(app): Shared, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let path = format!("/admin/v1/peers/{name}");
    if let Err(problem) = allowed(&app, &headers) {
        return problem.response(&path);
    }
    match app.source.peers().iter().find(|peer| peer.name == name) {
        Some(peer) => answer(StatusCode::OK, JSON, super::peers::one(peer, clock::wall())),
        None => no_such_peer(&name).response(&path),
    }
}

/// `ready`, `drain`, `maint` and `reset`: for operators.
async fn act_on_peer(
    State(app): Shared,
    Path((name, word)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let path = format!("/admin/v1/peers/{name}/{word}");
    if let Err(problem) = may_act(&app, &headers) {
        return problem.response(&path);
    }
    let Some((_, action)) = PeerAction::ALL.iter().find(|(known, _)| *known == word) else {
        let words: Vec<&str> = PeerAction::ALL.iter().map(|(known, _)| *known).collect();
        let detail = format!("a peer has no action `{word}`: {}.", words.join(", "));
        return Problem::new(Kind::NotFound, detail).response(&path);
    };
    if !app.source.act_on_peer(&name, *action) {
        return no_such_peer(&name).response(&path);
    }
    match app.source.peers().iter().find(|peer| peer.name == name) {
        Some(peer) => answer(StatusCode::OK, JSON, super::peers::one(peer, clock::wall())),
        None => no_such_peer(&name).response(&path),
    }
}

fn no_such_peer(name: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no peer `{name}`."))
}

async fn spool(State(app): Shared, headers: HeaderMap) -> Response {
    match allowed(&app, &headers) {
        Ok(()) => {
            app.refresh().await;
            answer(StatusCode::OK, JSON, page::spool_json(&app.metrics))
        }
        Err(problem) => problem.response("/admin/v1/spool"),
    }
}

/// `POST /admin/v1/records/search`: as on the API's port.
async fn search(State(app): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let found = async {
        allowed(&app, &headers)?;
        let search = |query| app.source.search(query);
        crate::api::records::page(&body, search, reveal(&app, &headers)).await
    };
    shown(found.await, "/admin/v1/records/search")
}

/// `GET /admin/v1/records/{id}`: with why it ended as it did; its octets for operators.
async fn record(State(app): Shared, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let found = async {
        allowed(&app, &headers)?;
        records::one(&*app.source, &id, reveal(&app, &headers)).await
    };
    shown(found.await, &format!("/admin/v1/records/{id}"))
}

/// `GET /admin/v1/spool/export?state=dead&after=ID`: a page of records with their octets, one
/// object a line. The octets show who the subscriber is.
async fn export(State(app): Shared, uri: Uri, headers: HeaderMap) -> Response {
    let path = "/admin/v1/spool/export";
    let found = async {
        if !app.rules.tokens.is_empty() {
            operator(&app, &headers)?;
        }
        records::export(&*app.source, uri.query().unwrap_or("")).await
    };
    match found.await {
        Ok(body) => answer(StatusCode::OK, "application/x-ndjson", body),
        Err(problem) => problem.response(path),
    }
}

async fn replay(State(app): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let done = async {
        may_act(&app, &headers)?;
        records::replay(&*app.source, &body).await
    };
    shown(done.await, "/admin/v1/spool/replay")
}

async fn purge(State(app): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let done = async {
        may_act(&app, &headers)?;
        records::purge(&*app.source, &body).await
    };
    shown(done.await, "/admin/v1/spool/purge")
}

fn shown(result: Result<Vec<u8>, Problem>, path: &str) -> Response {
    match result {
        Ok(body) => answer(StatusCode::OK, JSON, body),
        Err(problem) => problem.response(path),
    }
}

/// Subscribers are masked for everybody but who shows the operator's token.
fn reveal(app: &App, headers: &HeaderMap) -> Reveal {
    match authenticate(headers, &app.rules.tokens) {
        Some(token) if token.name == OPERATOR => Reveal::Clear,
        _ => Reveal::Masked,
    }
}

/// The page that the `type` of a problem names.
async fn problem_page(Path(name): Path<String>, request: Request) -> Response {
    match problem::page(&name) {
        Some(page) => answer(StatusCode::OK, "text/html; charset=utf-8", page),
        None => not_found(request).await,
    }
}

async fn not_found(request: Request) -> Response {
    Problem::new(Kind::NotFound, "there is no such resource.").response(request.uri().path())
}

async fn only_get(request: Request) -> Response {
    let detail = format!("the resource has GET, HEAD, not {}.", request.method());
    let problem = Problem::new(Kind::MethodNotAllowed, detail);
    Problem { allow: Some("GET, HEAD"), ..problem }.response(request.uri().path())
}

async fn only_post(request: Request) -> Response {
    let detail = format!("the resource has POST, not {}.", request.method());
    let problem = Problem::new(Kind::MethodNotAllowed, detail);
    Problem { allow: Some("POST"), ..problem }.response(request.uri().path())
}

/// Operators may act; whoever reaches the port, if it asks for no token at all.
///
/// The media type is what keeps the pages of other sites out: a browser asks before it sends this
/// one across origins, and here nobody answers such a question.
fn may_act(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    if !app.rules.tokens.is_empty() {
        operator(app, headers)?;
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match kind.is_some_and(|kind| kind.starts_with("application/json")) {
        true => Ok(()),
        false => {
            let detail = "send `content-type: application/json`; the body may be empty.";
            Err(Problem::new(Kind::UnsupportedMediaType, detail))
        }
    }
}

fn operator(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    match authenticate(headers, &app.rules.tokens) {
        Some(token) if token.name == OPERATOR => Ok(()),
        Some(_) => Err(Problem::new(Kind::Forbidden, "this takes the operator's token.")),
        None => {
            let detail = "send the operator's token as `Bearer`.";
            Err(Problem::new(Kind::Unauthenticated, detail))
        }
    }
}

/// Viewers and operators may read, if there are any.
fn allowed(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    if app.rules.tokens.is_empty() || authenticate(headers, &app.rules.tokens).is_some() {
        return Ok(());
    }
    Err(Problem::new(Kind::Unauthenticated, "send the viewer's or operator's token as `Bearer`."))
}

/// Never from a cache: a stale "ready" is worse than none.
fn answer(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = body.into().into_response();
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
