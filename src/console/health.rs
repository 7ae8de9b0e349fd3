//! Alive and ready, as plain JSON or as `application/health+json`.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, StatusCode, header};
use serde::Serialize;

use super::Check;

pub(super) const JSON: &str = "application/json";
const HEALTH_JSON: &str = "application/health+json";

#[derive(Serialize)]
struct Ready<'a> {
    ready: bool,
    checks: Vec<Plain<'a>>,
}

#[derive(Serialize)]
struct Plain<'a> {
    name: &'a str,
    ok: bool,
    detail: &'a str,
}

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    checks: BTreeMap<&'a str, [Component<'a>; 1]>,
}

#[derive(Serialize)]
struct Component<'a> {
    status: &'static str,
    output: &'a str,
}

/// Status, content type and body of an answer.
pub(super) type Answer = (StatusCode, &'static str, Vec<u8>);

/// The process is alive: it answers.
pub(super) fn alive(headers: &HeaderMap) -> Answer {
    let health = Health { status: "pass", checks: BTreeMap::new() };
    let kind = if wants_health(headers) { HEALTH_JSON } else { JSON };
    (StatusCode::OK, kind, body(&health))
}

/// Ready if every condition holds.
pub(super) fn ready(headers: &HeaderMap, checks: &[Check]) -> Answer {
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if wants_health(headers) {
        let checks = checks.iter().map(|check| {
            (check.name.as_str(), [Component { status: word(check.ok), output: &check.detail }])
        });
        let health = Health { status: word(ready), checks: checks.collect() };
        return (status, HEALTH_JSON, body(&health));
    }
    let checks =
        checks.iter().map(|check| Plain { name: &check.name, ok: check.ok, detail: &check.detail });
    let ready = Ready { ready, checks: checks.collect() };
    (status, JSON, body(&ready))
}

fn word(ok: bool) -> &'static str {
    if ok { "pass" } else { "fail" }
}

fn wants_health(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains(HEALTH_JSON))
}

fn body(value: &impl Serialize) -> Vec<u8> {
    // String keys and finite numbers only, so that this cannot fail.
    serde_json::to_vec(value).unwrap_or_default()
}
