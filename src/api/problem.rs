//! Problems as `application/problem+json` (RFC 9457): one table of kinds, their statuses and codes.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::answer::{AnswerJson, SessionJson};
use super::body::BodyError;
use super::fields::FieldProblem;
use super::json::Malformed;
use crate::charging::outcome::{Answer, DecreasedTotal, MappingProblem, Refusal, SessionView};
use crate::diagnostic::Code;

macro_rules! kinds {
    ($($kind:ident $word:literal $status:literal $code:ident $retry:literal $reason:literal $title:literal;)*) => {
        /// What went wrong; the last part of `type`.
        #[allow(missing_docs)] // The table is the documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $($kind),* }

        /// All kinds, in the order of the API page.
        pub const KINDS: &[Kind] = &[$(Kind::$kind),*];

        impl Kind {
            /// The last part of `type`.
            pub fn word(self) -> &'static str {
                match self { $(Kind::$kind => $word),* }
            }

            /// The HTTP status.
            pub fn status(self) -> u16 {
                match self { $(Kind::$kind => $status),* }
            }

            /// The stable code.
            pub fn code(self) -> Code {
                match self { $(Kind::$kind => Code::$code),* }
            }

            /// `Retry-After` in seconds; 0: not sent.
            pub fn retry_after_secs(self) -> u8 {
                match self { $(Kind::$kind => $retry),* }
            }

            /// Label of the rejection counter; empty: not counted.
            pub fn reason(self) -> &'static str {
                match self { $(Kind::$kind => $reason),* }
            }

            /// The title.
            pub fn title(self) -> &'static str {
                match self { $(Kind::$kind => $title),* }
            }
        }
    };
}

kinds! {
    ValidationFailed "validation-failed" 400 FB1001 0 "validation" "The trigger is not valid";
    MalformedJson "malformed-json" 400 FB1002 0 "validation" "The body is not JSON";
    IdempotencyKeyMissing "idempotency-key-missing" 400 FB1003 0 "idempotency" "Idempotency-Key is missing";
    Unauthenticated "unauthenticated" 401 FB1017 0 "auth" "A bearer token is required";
    Denied "denied" 402 FB1019 0 "" "The debit was denied";
    Forbidden "forbidden" 403 FB1018 0 "auth" "The token does not allow this call";
    UnknownSession "unknown-session" 404 FB1004 0 "unknown_session" "No such session";
    UnknownRecord "unknown-record" 404 FB1005 0 "" "No such record";
    NotFound "not-found" 404 FB1006 0 "" "No such resource";
    MethodNotAllowed "method-not-allowed" 405 FB1007 0 "" "The resource has no such method";
    RequestTimeout "request-timeout" 408 FB1020 0 "validation" "The body did not arrive in time";
    SequenceOutOfOrder "sequence-out-of-order" 409 FB1008 0 "conflict" "The sequence is lower than the last";
    SessionEnded "session-ended" 409 FB1009 0 "conflict" "The session has ended";
    RequestInProgress "request-in-progress" 409 FB1010 1 "conflict" "The first copy of this request is in progress";
    TooLarge "too-large" 413 FB1011 0 "validation" "The body is too large";
    UnsupportedMediaType "unsupported-media-type" 415 FB1012 0 "validation" "The media type is not accepted";
    MappingFailed "mapping-failed" 422 FB1013 0 "mapping" "The trigger cannot be mapped";
    IdempotencyKeyReused "idempotency-key-reused" 422 FB1014 0 "idempotency" "The key was used for something else";
    UsageDecreased "usage-decreased" 422 FB1015 0 "validation" "A total went backwards";
    RateLimited "rate-limited" 429 FB1016 1 "rate" "Too many requests";
    Internal "internal" 500 FB1500 0 "" "Internal error";
    Draining "draining" 503 FB1504 5 "draining" "This instance is about to stop";
    Overloaded "overloaded" 503 FB1505 1 "overload" "This instance is overloaded";
    StoreUnavailable "store-unavailable" 503 FB1503 5 "store" "The store is not available";
    SpoolFull "spool-full" 507 FB1507 0 "spool_full" "The spool is full";
}

/// One entry of `errors`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// JSON pointer into the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What is wrong.
    pub detail: String,
    /// The nearest right word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// `file:line` of the mapping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

impl From<FieldProblem> for Item {
    fn from(problem: FieldProblem) -> Item {
        Item {
            pointer: Some(problem.pointer),
            detail: problem.detail,
            suggestion: problem.suggestion,
            place: None,
        }
    }
}

/// A problem on its way to the client.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What went wrong.
    pub kind: Kind,
    /// In words, for this occurrence.
    pub detail: String,
    /// Everything that needs attention.
    pub errors: Vec<Item>,
    /// The session now, with 409.
    pub current: Option<Box<SessionView>>,
    /// The whole answer, with 402.
    pub answer: Option<Box<Answer>>,
    /// Methods of the resource, with 405.
    pub allow: Option<&'static str>,
}

/// Said of everything that is refused before it reaches the engine, or by it.
const NOTHING_DONE: &str = "nothing was stored and nothing was sent";

impl Problem {
    /// With nothing but a detail.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            current: None,
            answer: None,
            allow: None,
        }
    }

    /// With the fields that need attention.
    pub fn fields(kind: Kind, errors: Vec<Item>) -> Problem {
        let detail = match errors.len() {
            1 => format!("1 field needs attention; {NOTHING_DONE}."),
            n => format!("{n} fields need attention; {NOTHING_DONE}."),
        };
        Problem { errors, ..Problem::new(kind, detail) }
    }

    /// From a body that is no trigger.
    pub fn body(error: BodyError) -> Problem {
        match error {
            BodyError::Invalid(problems) => Problem::fields(
                Kind::ValidationFailed,
                problems.into_iter().map(Item::from).collect(),
            ),
            BodyError::Malformed(malformed) => {
                let item = Item {
                    pointer: Some(String::new()),
                    detail: malformed.detail.clone(),
                    suggestion: malformed.suggestion,
                    place: None,
                };
                let detail = format!("{}; {NOTHING_DONE}.", malformed.detail);
                Problem { errors: vec![item], ..Problem::new(Kind::MalformedJson, detail) }
            }
        }
    }

    /// From a text that is not JSON.
    pub fn malformed(malformed: Malformed) -> Problem {
        Problem::body(BodyError::Malformed(malformed))
    }

    /// From what the engine refused; `id` is the session's.
    pub fn refusal(refusal: Refusal, id: &str) -> Problem {
        let done = format!("{NOTHING_DONE}.");
        match refusal {
            Refusal::UnknownSession => {
                let detail =
                    format!("session `{id}` was not started here, or its retention has passed.");
                Problem::new(Kind::UnknownSession, detail)
            }
            Refusal::SequenceOutOfOrder { sent, last, current } => {
                let detail =
                    format!("sequence {sent} is lower than the last accepted, {last}; {done}");
                Problem { current: Some(current), ..Problem::new(Kind::SequenceOutOfOrder, detail) }
            }
            Refusal::SessionEnded { current } => {
                let detail = format!("the session is ending or ended; {done}");
                Problem { current: Some(current), ..Problem::new(Kind::SessionEnded, detail) }
            }
            Refusal::RequestInProgress => Problem::new(
                Kind::RequestInProgress,
                "the first copy of this request has no answer yet; repeat it later.",
            ),
            Refusal::MappingFailed(problems) => {
                let item = |problem: MappingProblem| Item {
                    pointer: problem.pointer,
                    detail: problem.detail,
                    suggestion: None,
                    place: problem.place,
                };
                let errors: Vec<Item> = problems.into_iter().map(item).collect();
                let count = errors.len();
                let detail = format!("the message cannot be built ({count} reasons below); {done}");
                Problem { errors, ..Problem::new(Kind::MappingFailed, detail) }
            }
            Refusal::IdempotencyKeyReused => Problem::new(
                Kind::IdempotencyKeyReused,
                format!("the same key came with another path or body before; {done}"),
            ),
            Refusal::UsageDecreased(totals) => {
                let item = |total: DecreasedTotal| Item {
                    pointer: Some(total.pointer),
                    detail: format!("{} is lower than {} before", total.now, total.before),
                    suggestion: None,
                    place: None,
                };
                Problem::fields(Kind::UsageDecreased, totals.into_iter().map(item).collect())
            }
            Refusal::StoreUnavailable(reason) => {
                Problem::new(Kind::StoreUnavailable, format!("{reason}; {done}"))
            }
            Refusal::SpoolFull => Problem::new(
                Kind::SpoolFull,
                format!("the disk or `store.max_size` is full; {done}"),
            ),
            Refusal::Draining => {
                Problem::new(Kind::Draining, format!("use another instance; {done}"))
            }
            Refusal::Overloaded => {
                Problem::new(Kind::Overloaded, format!("a bounded queue is full; {done}"))
            }
            Refusal::Internal(reason) => Problem::new(Kind::Internal, reason),
        }
    }

    /// From a denied answer, under `Prefer: denied=402`.
    pub fn denied(answer: Box<Answer>) -> Problem {
        let detail = "the debit was denied; the members beside this one are the answer.";
        Problem { answer: Some(answer), ..Problem::new(Kind::Denied, detail) }
    }

    /// The JSON text; `instance` is the path of the request.
    pub fn to_json(&self, instance: &str) -> Vec<u8> {
        let body = ProblemJson {
            r#type: format!("/problems/{}", self.kind.word()),
            title: self.kind.title(),
            status: self.kind.status(),
            code: self.kind.code().name(),
            detail: &self.detail,
            instance,
            errors: &self.errors,
            current: self.current.as_deref().map(SessionJson::from),
            answer: self.answer.as_deref().map(AnswerJson::from),
        };
        // String keys and finite numbers only, so that this cannot fail.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// The response; `instance` is the path of the request.
    pub fn response(&self, instance: &str) -> Response {
        let mut response = Body::from(self.to_json(instance)).into_response();
        let status = self.kind.status();
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let retry = self.kind.retry_after_secs();
        if retry > 0 {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(u16::from(retry)));
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if self.kind == Kind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self.kind, Kind::RequestTimeout | Kind::TooLarge) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The page behind a `type`: title, status, what it means. `None` if no kind has this word.
pub fn page(word: &str) -> Option<String> {
    let kind = KINDS.iter().find(|kind| kind.word() == word)?;
    let (title, status, code) = (kind.title(), kind.status(), kind.code());
    let explain = code.explain().replace('&', "&amp;").replace('<', "&lt;");
    Some(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <h1>{title}</h1>\n<p><code>{word}</code> · HTTP {status} · {code}</p>\n<p>{explain}</p>\n\
         </html>\n"
    ))
}

#[derive(Serialize)]
struct ProblemJson<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    instance: &'a str,
    #[serde(skip_serializing_if = "<[Item]>::is_empty")]
    errors: &'a [Item],
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<SessionJson<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    answer: Option<AnswerJson<'a>>,
}
