//! The routes for the CPM server: who may, how much, which call; then body, engine, answer.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::answer;
use super::app::{App, Metered, Rules, answer_json, client, read_body, within_rate};
use super::backend::Backend;
use super::batch::batch;
use super::body::read_document;
use super::charge::{self, Charged};
use super::cloudevents::cloudevents;
use super::encode::encode;
use super::headers::{self, Preferences};
use super::json;
use super::notifications::notifications;
use super::openapi;
use super::problem::{self, Kind, Problem};
use super::records::{record, search};
use super::words::Op;
use crate::charging::outcome::{Refusal, Subject};
use crate::telemetry::metrics::Metrics;

/// The API port as a service. Needs a tokio runtime: notifications have a task of their own.
pub fn router(backend: Arc<dyn Backend>, metrics: Arc<Metrics>, rules: Rules) -> Router {
    let notices = backend.notices();
    let source = format!("/farebox/{}", backend.dry_parts().policy.host);
    let (allowed, patience) = (rules.settings.notify_allow.clone(), rules.notify);
    let app = Arc::new(App::new(backend, metrics, rules));
    tokio::spawn(app.hub.clone().run(notices, source, allowed, patience));
    Router::new()
        .route("/v1/sessions", post(start).fallback(only_post))
        .route("/v1/sessions/{id}", get(session).fallback(only_get))
        .route("/v1/sessions/{id}/interim", post(interim).fallback(only_post))
        .route("/v1/sessions/{id}/terminate", post(terminate).fallback(only_post))
        .route("/v1/events", post(event).fallback(only_post))
        .route("/v1/batch", post(batch).fallback(only_post))
        .route("/v1/cloudevents", post(cloudevents).fallback(only_post))
        .route("/v1/encode", post(encode).fallback(only_post))
        .route("/v1/records/search", post(search).fallback(only_post))
        .route("/v1/records/{id}", get(record).fallback(only_get))
        .route("/v1/notifications", get(notifications).fallback(only_get))
        .route("/openapi.json", get(openapi_json).fallback(only_get))
        .route("/docs", get(docs).fallback(only_get))
        .route("/healthz", get(healthz).fallback(only_get))
        .route("/problems/{name}", get(problem_page).fallback(only_get))
        .fallback(not_found)
        .with_state(app)
        .layer(from_fn(with_request_id))
}

/// A path parameter, decoded.
pub(super) type Id = Result<Path<String>, PathRejection>;

async fn start(State(app): State<Arc<App>>, request: HttpRequest) -> Response {
    serve_call(&app, Op::Start, request, None).await
}

async fn interim(State(app): State<Arc<App>>, id: Id, request: HttpRequest) -> Response {
    serve_call(&app, Op::Interim, request, Some(id)).await
}

async fn terminate(State(app): State<Arc<App>>, id: Id, request: HttpRequest) -> Response {
    serve_call(&app, Op::Terminate, request, Some(id)).await
}

async fn event(State(app): State<Arc<App>>, request: HttpRequest) -> Response {
    serve_call(&app, Op::Event, request, None).await
}

/// One POST, metered and with its problem rendered.
async fn serve_call(app: &Arc<App>, op: Op, request: HttpRequest, id: Option<Id>) -> Response {
    let instance = request.uri().path().to_owned();
    let mut metered = Metered::begin(app, op.word());
    let result = match id.transpose() {
        Ok(id) => plain(app, op, request, id.map(|Path(id)| id).unwrap_or_default()).await,
        Err(_) => Err(Problem::new(Kind::NotFound, "the path is not UTF-8.")),
    };
    metered.finish(result, &instance)
}

/// From request to answer; `id` is the session's, decoded from the path.
async fn plain(app: &App, op: Op, request: HttpRequest, id: String) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let token = client(app, headers, |token| token.scopes.trigger)?;
    within_rate(app)?;
    charge::admit(app, op)?;
    let permit = app.in_flight.try_acquire();
    let _permit = permit.map_err(|_| Problem::refusal(Refusal::Overloaded, ""))?;
    headers::media_type(headers, &["application/json"])
        .map_err(|detail| Problem::new(Kind::UnsupportedMediaType, format!("{detail}.")))?;
    let limit = app.rules.settings.body_bytes_max;
    let bytes = read_body(app, headers, body, limit).await?;
    let document = json::read(&bytes).map_err(Problem::malformed)?;
    let (trigger, fingerprint) = read_document(&document, |body| {
        Some((charge::trigger(app, op, &id, body)?, charge::fingerprint(op, &id, body)))
    })
    .map_err(Problem::body)?;
    let key = charge::key_of(headers)?;
    let preferences = Preferences::read(headers);
    let request = charge::request(app, token, trigger, fingerprint, key, preferences)?;
    let charged = charge::charge(app, op, request).await?;
    Ok(answered(charged, preferences, parts.uri.path()))
}

/// The answer of one call.
pub(super) fn answered(charged: Charged, preferences: Preferences, instance: &str) -> Response {
    let Charged { answer, replayed } = charged;
    let location = match &answer.subject {
        Subject::Session(id) if answer.created => Some(format!("/v1/sessions/{}", encoded(id))),
        _ => None,
    };
    let mut response = if charge::wants_problem(preferences, &answer) {
        Problem::denied(answer).response(instance)
    } else {
        let status = if answer.created { StatusCode::CREATED } else { StatusCode::OK };
        answer_json(status, answer::answer_body(&answer))
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
        Ok(Some(view)) => Ok(answer_json(StatusCode::OK, answer::session_body(&view))),
        Ok(None) => Err(Problem::refusal(Refusal::UnknownSession, &id)),
        Err(refusal) => Err(Problem::refusal(refusal, &id)),
    }
}

async fn openapi_json() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(openapi::text);
    answer_json(StatusCode::OK, TEXT.as_bytes().to_vec())
}

/// One file without a reference to any other host.
async fn docs() -> Response {
    let mut response = Body::from(include_str!("docs.html")).into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    let own = "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; \
               style-src 'unsafe-inline'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(own));
    response
}

async fn healthz(headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut response = answer_json(StatusCode::OK, br#"{"status":"pass"}"#.to_vec());
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

/// Percent-encodes a path segment (RFC 3986: everything but the unreserved characters).
fn encoded(segment: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_segments_are_percent_encoded() {
        assert_eq!(encoded("a-b_c.~9"), "a-b_c.~9");
        assert_eq!(encoded("a/b c%;é"), "a%2Fb%20c%25%3B%C3%A9");
    }
}
