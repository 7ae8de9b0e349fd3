//! `POST /v1/batch`: many calls in one stream, each with its own answer.
//!
//! Lines are read while answers are written. Answers come in the order of the lines; lines of one
//! session are charged one after the other, those of different sessions side by side. A line that
//! is bad, too long or cut costs itself and nothing else.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Buf, BytesMut};
use tokio::sync::{mpsc, oneshot};

use super::answer;
use super::app::{App, Metered, client, paced, within_rate};
use super::body;
use super::charge::{self, Charged};
use super::fields::Field;
use super::headers::{self, Preferences};
use super::json::{self, Json};
use super::problem::{Kind, Problem};
use super::shapes::BATCH_LINE;
use super::stream::Stream;
use super::words::{OPS, Op};
use crate::charging::event::{Request, Trigger};
use crate::config::settings::Token;

/// Lines of one batch.
pub const LINES_MAX: u64 = 10_000;
/// Lines that are read and not answered yet.
const LINES_WAITING_MAX: usize = 256;
/// Answers that wait for a slow client.
const ANSWERS_WAITING_MAX: usize = 16;
/// The media type, of question and answer.
pub(super) const NDJSON: &str = "application/x-ndjson";

pub(super) async fn batch(State(app): State<Arc<App>>, request: HttpRequest) -> Response {
    let mut metered = Metered::begin(&app, "batch");
    let (parts, body) = request.into_parts();
    let admitted = client(&app, &parts.headers, |token| token.scopes.trigger).and_then(|token| {
        within_rate(&app)?;
        headers::media_type(&parts.headers, &[NDJSON])
            .map_err(|detail| Problem::new(Kind::UnsupportedMediaType, format!("{detail}.")))?;
        Ok(token.cloned())
    });
    let token = match admitted {
        Ok(token) => token,
        Err(problem) => return metered.finish(Err(problem), parts.uri.path()),
    };
    let (out, stream) = Stream::open(ANSWERS_WAITING_MAX);
    let (order, answers) = mpsc::channel(LINES_WAITING_MAX);
    let mut response = stream.into_response();
    *response.status_mut() = StatusCode::OK;
    let kind = HeaderValue::from_static(NDJSON);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    let response = metered.finish(Ok(response), parts.uri.path());
    tokio::spawn(read(app, token, body, order));
    tokio::spawn(write(answers, out, metered));
    response
}

type Answer = oneshot::Receiver<Bytes>;

/// Writes the answers in the order of their lines; the batch is over with the last.
async fn write(mut answers: mpsc::Receiver<Answer>, out: mpsc::Sender<Bytes>, metered: Metered) {
    while let Some(answer) = answers.recv().await {
        let lost = || Bytes::from_static(b"{\"line\":null,\"key\":null,\"status\":500}\n");
        let answer = answer.await.unwrap_or_else(|_| lost());
        if out.send(answer).await.is_err() {
            break;
        }
    }
    drop(metered);
}

/// Reads lines until the end, and gives each its place.
async fn read(app: Arc<App>, token: Option<Token>, body: Body, order: mpsc::Sender<Answer>) {
    let limit = app.rules.settings.body_bytes_max;
    let idle = app.rules.stream_idle;
    let mut lines = Lines { body, held: BytesMut::new(), scanned: 0, skipping: false, limit };
    let mut turns = Turns::new(app.clone());
    let mut number = 0;
    loop {
        let next = tokio::time::timeout(idle, lines.next()).await;
        number += 1;
        let refused = |kind, detail| (None, Err(Problem::new(kind, detail)));
        let ((key, call), last) = match next {
            Ok(Piece::End) => return,
            Ok(_) if number > LINES_MAX => {
                let detail =
                    format!("a batch has at most {LINES_MAX} lines; the rest is not read.");
                (refused(Kind::TooLarge, detail), true)
            }
            Ok(Piece::Line(text)) if text.iter().all(u8::is_ascii_whitespace) => continue,
            Ok(Piece::Line(text)) => (read_call(&app, token.as_ref(), &text), false),
            Ok(Piece::TooLong) => {
                let detail = format!("the limit of a line is {limit} bytes.");
                (refused(Kind::TooLarge, detail), false)
            }
            Ok(Piece::Broken(why)) => {
                (refused(Kind::MalformedJson, format!("the body is cut: {why}.")), true)
            }
            Err(_) => {
                let detail = format!("no octet came for {} s.", idle.as_secs_f32());
                (refused(Kind::RequestTimeout, detail), true)
            }
        };
        let (answered, answer) = oneshot::channel();
        // Waits while too many lines are without an answer.
        if order.send(answer).await.is_err() {
            return;
        }
        turns.begin(number, key, call, answered);
        if last {
            return;
        }
    }
}

/// The line as a call, with its key as it was given.
fn read_call(
    app: &App,
    token: Option<&Token>,
    text: &[u8],
) -> (Option<String>, Result<Call, Problem>) {
    let document = match json::read(text) {
        Ok(document) => document,
        Err(malformed) => return (None, Err(Problem::malformed(malformed))),
    };
    let key = match document.root.member("key") {
        Some(Json::Text(key)) => Some(key.clone()),
        _ => None,
    };
    let read = body::read_document(&document, |line| read_line(app, line));
    let call = read.map_err(Problem::body).and_then(|line| {
        let Line { op, key, preferences, trigger, fingerprint } = line;
        let request = charge::request(app, token, trigger, fingerprint, key, preferences)?;
        Ok(Call { op, request, preferences })
    });
    (key, call)
}

/// A call that was read.
pub(super) struct Call {
    pub(super) op: Op,
    pub(super) request: Request,
    pub(super) preferences: Preferences,
}

/// The last call of each session or event: it is over when its sender is gone.
pub(super) struct Turns {
    app: Arc<App>,
    last: BTreeMap<String, oneshot::Receiver<()>>,
}

impl Turns {
    pub(super) fn new(app: Arc<App>) -> Turns {
        Turns { app, last: BTreeMap::new() }
    }

    /// Answers a bad line, and charges a good one after the line of its session before.
    pub(super) fn begin(
        &mut self,
        number: u64,
        key: Option<String>,
        call: Result<Call, Problem>,
        answered: oneshot::Sender<Bytes>,
    ) {
        let call = match call {
            Ok(call) => call,
            Err(problem) => {
                self.app.rejected(&problem);
                let _ = answered.send(problem_line(number, key.as_deref(), &problem, "/v1/batch"));
                return;
            }
        };
        let subject = charge::subject(&call.request.trigger);
        let turn = format!("{}:{subject}", if call.op == Op::Event { "e" } else { "s" });
        let (over, following) = oneshot::channel::<()>();
        let before = self.last.insert(turn, following);
        let app = self.app.clone();
        tokio::spawn(async move {
            if let Some(before) = before {
                // An error is what it waits for: the sender is gone.
                let _ = before.await;
            }
            let line = charge_line(&app, number, key.as_deref(), call).await;
            drop(over);
            let _ = answered.send(line);
        });
    }
}

/// One call, counted as such.
async fn charge_line(app: &Arc<App>, number: u64, key: Option<&str>, call: Call) -> Bytes {
    paced(app).await;
    // The semaphore is never closed.
    let _permit = app.in_flight.acquire().await.ok();
    let Call { op, request, preferences } = call;
    let mut metered = Metered::begin(app, op.word());
    let instance = charge::path(op, charge::subject(&request.trigger));
    let charged = match charge::admit(app, op) {
        Ok(()) => charge::charge(app, op, request).await,
        Err(problem) => Err(problem),
    };
    match charged.and_then(|charged| denied_is_a_problem(charged, preferences)) {
        Ok(charged) => {
            let status = if charged.answer.created { 201 } else { 200 };
            metered.counted(status);
            line(number, key, status, "body", &answer::answer_body(&charged.answer))
        }
        Err(problem) => {
            metered.refused(&problem);
            problem_line(number, key, &problem, &instance)
        }
    }
}

/// `Prefer: denied=402`.
pub(super) fn denied_is_a_problem(
    charged: Charged,
    preferences: Preferences,
) -> Result<Charged, Problem> {
    if charge::wants_problem(preferences, &charged.answer) {
        return Err(Problem::denied(charged.answer));
    }
    Ok(charged)
}

fn problem_line(number: u64, key: Option<&str>, problem: &Problem, instance: &str) -> Bytes {
    line(number, key, problem.kind.status(), "problem", &problem.to_json(instance))
}

/// `{"line","key","status","body"|"problem"}` and a line feed.
fn line(number: u64, key: Option<&str>, status: u16, member: &str, json: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(json.len() + 80);
    let head = serde_json::json!({ "line": number, "key": key, "status": status }).to_string();
    text.extend_from_slice(head.trim_end_matches('}').as_bytes());
    text.extend_from_slice(format!(",\"{member}\":").as_bytes());
    text.extend_from_slice(json);
    text.extend_from_slice(b"}\n");
    Bytes::from(text)
}

/// What a line says.
struct Line {
    op: Op,
    key: Option<String>,
    preferences: Preferences,
    trigger: Trigger,
    fingerprint: [u8; 32],
}

fn read_line(app: &App, line: &Field<'_>) -> Option<Line> {
    line.object(&BATCH_LINE)?;
    let op = line.get("op").and_then(|field| field.word(OPS));
    let id = line.get("sessionId").and_then(|field| field.id());
    let key = line.get("key").and_then(|field| {
        let text = field.text()?;
        if !headers::is_key(&text) {
            field.problem("must be 1 to 255 visible ASCII characters");
        }
        Some(text)
    });
    let prefer = line.get("prefer").and_then(|field| field.text());
    let op = op?;
    match (op, &id) {
        (Op::Interim | Op::Terminate, None) if line.get("sessionId").is_none() => {
            line.problem_at("sessionId", "required for interim and terminate");
        }
        (Op::Event, Some(_)) => line.problem_at("sessionId", "not for an event"),
        _ => {}
    }
    let id = id.unwrap_or_default();
    let body = line.get("body")?;
    if matches!(op, Op::Interim | Op::Terminate) && id.is_empty() {
        return None;
    }
    let trigger = charge::trigger(app, op, &id, &body)?;
    if let Trigger::Start(start) = &trigger
        && !id.is_empty()
        && start.session_id != id
    {
        line.problem_at("sessionId", "differs from the body's");
    }
    let fingerprint = charge::fingerprint(op, &id, &body);
    let preferences = Preferences::of(prefer.as_deref().into_iter());
    Some(Line { op, key, preferences, trigger, fingerprint })
}

/// A body cut at its line feeds.
struct Lines {
    body: Body,
    held: BytesMut,
    /// Octets of `held` without a line feed.
    scanned: usize,
    /// In a line that is too long.
    skipping: bool,
    limit: usize,
}

enum Piece {
    Line(BytesMut),
    TooLong,
    Broken(String),
    End,
}

impl Lines {
    async fn next(&mut self) -> Piece {
        loop {
            if let Some(at) = self.held[self.scanned..].iter().position(|byte| *byte == b'\n') {
                let line = self.held.split_to(self.scanned + at);
                self.held.advance(1);
                self.scanned = 0;
                if std::mem::take(&mut self.skipping) {
                    continue;
                }
                if line.len() > self.limit {
                    return Piece::TooLong;
                }
                return Piece::Line(line);
            }
            self.scanned = self.held.len();
            if self.skipping {
                self.held.clear();
                self.scanned = 0;
            } else if self.held.len() > self.limit {
                self.skipping = true;
                return Piece::TooLong;
            }
            match poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.held.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Piece::Broken(error.to_string()),
                // The last line may lack its line feed.
                None if self.held.is_empty() => return Piece::End,
                None => {
                    self.scanned = 0;
                    return Piece::Line(std::mem::take(&mut self.held));
                }
            }
        }
    }
}
