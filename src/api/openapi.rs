//! The OpenAPI 3.1 document, made from one table of calls and the tables of the bodies.
//!
//! `openapi.json` in the repository is this document; a test compares them.

use serde_json::{Map, Value, json};

use super::answer_shapes::{
    ANSWER, BATCH_ANSWER, ENCODED, HEALTH, NOTICE, PROBLEM, RECORD_ITEM, RECORD_PAGE, SESSION,
};
use super::batch::NDJSON;
use super::cloudevents::{BATCH, SINGLE};
use super::problem::{KINDS, Kind};
use super::schema::{Components, Object};
use super::shapes::{BATCH_LINE, CLOUD_EVENT, ENCODE, EVENT, INTERIM, SEARCH, START, TERMINATE};

/// One call.
struct Operation {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    /// Media type, object, is it a list of them?
    bodies: &'static [(&'static str, &'static Object, bool)],
    parameters: &'static [Parameter],
    /// Status, media type, object, list.
    answers: &'static [(u16, &'static str, Option<&'static Object>, bool)],
    problems: &'static [u16],
}

#[derive(Clone, Copy)]
enum Parameter {
    SessionId,
    RecordId,
    View,
    Prefer,
    Key,
    RequestId,
    LastEventId,
    ProblemName,
}

use Parameter::{Key, LastEventId, Prefer, ProblemName, RecordId, RequestId, SessionId, View};

const JSON: &str = "application/json";
/// What any call with a body may be answered.
const CHARGED: &[u16] =
    &[400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503, 507];
const POSTED: &[u16] = &[400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 500, 503];
const READ: &[u16] = &[400, 401, 403, 404, 405, 429, 500, 503];
const PUBLIC: &[u16] = &[404, 405];

const fn call(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    bodies: &'static [(&'static str, &'static Object, bool)],
    parameters: &'static [Parameter],
    answers: &'static [(u16, &'static str, Option<&'static Object>, bool)],
) -> Operation {
    Operation { method: "post", path, id, summary, bodies, parameters, answers, problems: CHARGED }
}

const fn read(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    answers: &'static [(u16, &'static str, Option<&'static Object>, bool)],
) -> Operation {
    Operation { method: "get", path, id, summary, bodies: &[], parameters, answers, problems: READ }
}

/// Every call of the port, in the order of the API page.
static OPERATIONS: &[Operation] = &[
    call(
        "/v1/sessions",
        "startSession",
        "A session begins: ACR Start, CCR-I",
        &[(JSON, &START, false)],
        &[Prefer, Key, RequestId],
        &[(201, JSON, Some(&ANSWER), false)],
    ),
    read(
        "/v1/sessions/{sessionId}",
        "getSession",
        "A session as it stands",
        &[SessionId, RequestId],
        &[(200, JSON, Some(&SESSION), false)],
    ),
    call(
        "/v1/sessions/{sessionId}/interim",
        "reportSession",
        "A session reports: ACR Interim, CCR-U",
        &[(JSON, &INTERIM, false)],
        &[SessionId, Prefer, Key, RequestId],
        &[(200, JSON, Some(&ANSWER), false)],
    ),
    call(
        "/v1/sessions/{sessionId}/terminate",
        "terminateSession",
        "A session ends: ACR Stop, CCR-T",
        &[(JSON, &TERMINATE, false)],
        &[SessionId, Prefer, Key, RequestId],
        &[(200, JSON, Some(&ANSWER), false)],
    ),
    call(
        "/v1/events",
        "chargeEvent",
        "A one-time event: ACR Event, CCR-E",
        &[(JSON, &EVENT, false)],
        &[Prefer, Key, RequestId],
        &[(200, JSON, Some(&ANSWER), false)],
    ),
    Operation {
        problems: POSTED,
        ..call(
            "/v1/batch",
            "chargeBatch",
            "Many calls, one per line, each with an answer in its order; streamed both ways",
            &[(NDJSON, &BATCH_LINE, false)],
            &[RequestId],
            &[(200, NDJSON, Some(&BATCH_ANSWER), false)],
        )
    },
    call(
        "/v1/cloudevents",
        "chargeCloudEvents",
        "The same calls in CloudEvents, one or a list",
        &[(SINGLE, &CLOUD_EVENT, false), (BATCH, &CLOUD_EVENT, true)],
        &[Prefer, RequestId],
        &[(200, JSON, None, false), (201, JSON, Some(&ANSWER), false)],
    ),
    Operation {
        problems: POSTED,
        ..call(
            "/v1/encode",
            "encode",
            "The messages that a trigger would make; nothing is stored or sent",
            &[(JSON, &ENCODE, false)],
            &[RequestId],
            &[(200, JSON, Some(&ENCODED), false)],
        )
    },
    Operation {
        problems: POSTED,
        ..call(
            "/v1/records/search",
            "searchRecords",
            "Records by subscriber, id, time, outcome or state",
            &[(JSON, &SEARCH, false)],
            &[RequestId],
            &[(200, JSON, Some(&RECORD_PAGE), false)],
        )
    },
    read(
        "/v1/records/{recordId}",
        "getRecord",
        "A record; with its message, or with why it ended so",
        &[RecordId, View, RequestId],
        &[(200, JSON, Some(&RECORD_ITEM), false)],
    ),
    read(
        "/v1/notifications",
        "listen",
        "Notifications as server-sent events: see asyncapi.yaml",
        &[LastEventId, RequestId],
        &[(200, "text/event-stream", None, false)],
    ),
    Operation {
        problems: PUBLIC,
        ..read("/openapi.json", "getOpenapi", "This document", &[], &[(200, JSON, None, false)])
    },
    Operation {
        problems: PUBLIC,
        ..read(
            "/docs",
            "getDocs",
            "This document as a page",
            &[],
            &[(200, "text/html", None, false)],
        )
    },
    Operation {
        problems: PUBLIC,
        ..read(
            "/healthz",
            "getHealth",
            "The process is alive",
            &[],
            &[
                (200, JSON, Some(&HEALTH), false),
                (200, "application/health+json", Some(&HEALTH), false),
            ],
        )
    },
    Operation {
        problems: PUBLIC,
        ..read(
            "/problems/{name}",
            "getProblemPage",
            "What a problem's type means",
            &[ProblemName],
            &[(200, "text/html", None, false)],
        )
    },
];

/// The document, with its members in a fixed order.
pub fn document() -> Value {
    let mut components = Components::new("#/components/schemas/");
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = described(operation, &mut components);
    }
    components.object(&NOTICE);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "farebox",
            "summary": "Charging for OMA CPM: triggers in, Diameter Rf and Ro out",
            "description": "Status speaks of the gateway, `outcome` of the money: a denied debit is \
                200 with `outcome` `denied`. 2xx means that the event, its records and the \
                session's state are on disk. Repeat after 408, 429, 503 and a lost connection with \
                the same body and key: a repeat never charges twice.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:8868" }],
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "schemas": components.into_schemas(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer",
                "description": "Only where the configuration has `api.auth.tokens`." } },
        },
    })
}

fn described(operation: &Operation, components: &mut Components) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": operation.parameters.iter().map(parameter).collect::<Vec<_>>(),
    });
    if !operation.bodies.is_empty() {
        let mut content = Map::new();
        for (kind, object, list) in operation.bodies {
            let schema = schema(components, Some(object), *list);
            content.insert((*kind).to_owned(), json!({ "schema": schema }));
        }
        described["requestBody"] = json!({ "required": true, "content": content });
    }
    described["responses"] = responses(operation, components);
    described
}

fn responses(operation: &Operation, components: &mut Components) -> Value {
    let mut responses: Map<String, Value> = Map::new();
    for (status, kind, object, list) in operation.answers {
        let schema = match (object, *status) {
            // As the wrapped call, or a list.
            (None, 200) if operation.id == "chargeCloudEvents" => {
                let answer = components.object(&ANSWER);
                let lines = schema(components, Some(&BATCH_ANSWER), true);
                json!({ "anyOf": [answer, lines] })
            }
            _ => schema(components, *object, *list),
        };
        let response = responses.entry(status.to_string()).or_insert_with(|| {
            let mut response = json!({ "description": answer_words(*status), "content": {} });
            if *status == 201 {
                response["headers"] = json!({ "Location": {
                    "description": "The session.", "schema": { "type": "string" } } });
            }
            response
        });
        response["content"][*kind] = json!({ "schema": schema });
    }
    for status in operation.problems {
        let kinds: Vec<&str> =
            KINDS.iter().filter(|kind| kind.status() == *status).map(|kind| kind.word()).collect();
        let problem = match *status {
            // The members of the answer stand beside those of the problem.
            402 => json!({ "allOf": [components.object(&PROBLEM), components.object(&ANSWER)] }),
            _ => components.object(&PROBLEM),
        };
        let mut response = json!({
            "description": kinds.join(", "),
            "content": { "application/problem+json": { "schema": problem } },
        });
        if let Some(headers) = problem_headers(*status) {
            response["headers"] = headers;
        }
        responses.insert(status.to_string(), response);
    }
    Value::Object(responses)
}

fn problem_headers(status: u16) -> Option<Value> {
    let retry = |kind: &Kind| kind.status() == status && kind.retry_after_secs() > 0;
    let text = |name: &str, doc: &str| json!({ name: { "description": doc, "schema": { "type": "string" } } });
    match status {
        405 => Some(text("Allow", "The methods of the resource.")),
        401 => Some(text("WWW-Authenticate", "Bearer.")),
        _ if KINDS.iter().any(retry) => Some(text("Retry-After", "Seconds; not with every kind.")),
        _ => None,
    }
}

fn answer_words(status: u16) -> &'static str {
    if status == 201 { "Accepted and on disk" } else { "Done" }
}

fn schema(components: &mut Components, object: Option<&Object>, list: bool) -> Value {
    match object {
        None => json!({}),
        Some(object) if list => json!({ "type": "array", "items": components.object(object) }),
        Some(object) => components.object(object),
    }
}

fn parameter(parameter: &Parameter) -> Value {
    let (name, place, required, doc, schema) = match parameter {
        SessionId => (
            "sessionId",
            "path",
            true,
            "The client's id, percent-encoded.",
            json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]*$" }),
        ),
        RecordId => (
            "recordId",
            "path",
            true,
            "",
            json!({ "type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$" }),
        ),
        View => (
            "view",
            "query",
            false,
            "With its message, or with why it ended so.",
            json!({ "type": "string", "enum": ["avps", "why"] }),
        ),
        Prefer => (
            "Prefer",
            "header",
            false,
            "`wait=N` (0 to 60 s, also for the ACA; 0: answer when it is on disk), `denied=402`.",
            json!({ "type": "string", "examples": ["wait=5, denied=402"] }),
        ),
        Key => (
            "Idempotency-Key",
            "header",
            false,
            "1 to 255 visible ASCII characters; the same key, path and body give the same answer.",
            json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" }),
        ),
        RequestId => (
            "X-Request-Id",
            "header",
            false,
            "Returned; made if it is missing.",
            json!({ "type": "string" }),
        ),
        LastEventId => (
            "Last-Event-ID",
            "header",
            false,
            "Begins with what came after this one.",
            json!({ "type": "string" }),
        ),
        ProblemName => (
            "name",
            "path",
            true,
            "Last part of a problem's type.",
            json!({ "type": "string", "enum": KINDS.iter().map(|kind| kind.word()).collect::<Vec<_>>() }),
        ),
    };
    json!({ "name": name, "in": place, "required": required, "description": doc, "schema": schema })
}

/// The document as it is committed and served.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

/// The AsyncAPI 3.0 document of the notifications, as a tree for YAML.
pub fn asyncapi() -> Value {
    let mut components = Components::new("#/components/schemas/");
    let payload = components.object(&NOTICE);
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "farebox notifications",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "CloudEvents 1.0 in JSON: as server-sent events from GET /v1/notifications \
                (with Last-Event-ID for what was missed), and POSTed to the notifyUri of a start or \
                event. A POST goes only to origins of api.notify.allow, follows no redirect, waits \
                2 s, and is repeated for an hour after 408, 429, 5xx or no answer. A notification \
                may come twice and out of order: its id is unique and sorts by time.",
        },
        "defaultContentType": "application/cloudevents+json",
        "servers": { "gateway": { "host": "127.0.0.1:8868", "protocol": "http" } },
        "channels": {
            "stream": {
                "address": "/v1/notifications",
                "messages": { "notification": { "$ref": "#/components/messages/notification" } },
            },
            "webhook": {
                "address": null,
                "description": "The notifyUri.",
                "messages": { "notification": { "$ref": "#/components/messages/notification" } },
            },
        },
        "operations": {
            "listen": { "action": "send", "channel": { "$ref": "#/channels/stream" } },
            "notify": { "action": "send", "channel": { "$ref": "#/channels/webhook" } },
        },
        "components": {
            "messages": { "notification": { "name": "notification", "payload": payload } },
            "schemas": components.into_schemas(),
        },
    })
}
