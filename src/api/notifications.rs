//! `GET /v1/notifications`: what the CPM server is told, as CloudEvents in a stream of events.
//!
//! One task turns the engine's notices into CloudEvents, keeps the last of them for clients that
//! come back with `Last-Event-ID`, and hands those with a `notifyUri` to the webhooks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{Semaphore, broadcast, mpsc};

use super::answer::{AdviceJson, Id, RecordJson, Time, basis, state, to_bytes};
use super::app::{App, Metered, client, within_rate};
use super::problem::Problem;
use super::stream::Stream;
use super::webhook::{self, Delivery, Patience};
use crate::charging::notice::{MustDo, Notice};
use crate::charging::outcome::{Outcome, Refusal, Subject};
use crate::telemetry::LogEvent;
use crate::telemetry::log::{Fields, emit};

/// Notifications that are kept for a client that comes back.
const KEPT: usize = 1_024;
/// Clients that listen at once.
const LISTENERS_MAX: usize = 64;
/// Pieces that wait for a slow client; more end its stream.
const WAITING_MAX: usize = 64;
/// Between two looks whether the instance is about to stop.
const TICK: Duration = Duration::from_secs(1);
/// A comment is sent after so many ticks without a notification, so that the client sees a dead
/// connection.
const TICKS_PER_BEAT: u32 = 15;

/// A CloudEvent as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) json: Bytes,
}

/// Everybody who listens.
pub(super) struct Hub {
    kept: Mutex<VecDeque<Arc<Told>>>,
    live: broadcast::Sender<Arc<Told>>,
    places: Arc<Semaphore>,
}

impl Hub {
    pub(super) fn new() -> Hub {
        Hub {
            kept: Mutex::new(VecDeque::new()),
            live: broadcast::Sender::new(KEPT),
            places: Arc::new(Semaphore::new(LISTENERS_MAX)),
        }
    }

    /// Runs until the gateway has ended.
    pub(super) async fn run(
        self: Arc<Hub>,
        mut notices: broadcast::Receiver<Arc<Notice>>,
        source: String,
        allowed: Vec<String>,
        patience: Patience,
    ) {
        let webhooks = webhook::start(&allowed, patience);
        loop {
            match notices.recv().await {
                Ok(notice) => {
                    let told = Arc::new(cloud_event(&notice, &source));
                    self.tell(told.clone());
                    if let Some(uri) = &notice.notify_uri
                        && !allowed.is_empty()
                    {
                        hand_over(&webhooks, Delivery::new(uri.clone(), told));
                    }
                }
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    let fields = Fields { count: Some(lost), ..Fields::default() };
                    emit(LogEvent::NotifyLost, fields, "notifications came faster than they go");
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    fn tell(&self, told: Arc<Told>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(told.clone());
        // An error means that nobody listens. Under the lock: nobody joins in between.
        let _ = self.live.send(told);
    }

    /// What came after `last`, and everything from now on.
    fn join(&self, last: Option<&str>) -> (Vec<Arc<Told>>, broadcast::Receiver<Arc<Told>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = match last {
            None => Vec::new(),
            Some(last) => {
                let seen = kept.iter().position(|told| told.id == last);
                kept.iter().skip(seen.map_or(0, |at| at + 1)).cloned().collect()
            }
        };
        (missed, self.live.subscribe())
    }
}

fn hand_over(webhooks: &mpsc::Sender<Delivery>, delivery: Delivery) {
    if webhooks.try_send(delivery).is_err() {
        let fields = Fields { count: Some(1), ..Fields::default() };
        emit(LogEvent::NotifyLost, fields, "too many notifications wait for their notifyUri");
    }
}

pub(super) async fn notifications(State(app): State<Arc<App>>, request: HttpRequest) -> Response {
    let instance = request.uri().path().to_owned();
    let mut metered = Metered::begin(&app, "get");
    let result = listen(&app, request.headers());
    metered.finish(result, &instance)
}

fn listen(app: &Arc<App>, headers: &HeaderMap) -> Result<Response, Problem> {
    client(app, headers, |token| token.scopes.read)?;
    within_rate(app)?;
    let place = app.hub.places.clone().try_acquire_owned();
    let place = place.map_err(|_| Problem::refusal(Refusal::Overloaded, ""))?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let (missed, live) = app.hub.join(last);
    let (out, body) = Stream::open(WAITING_MAX);
    let app = app.clone();
    tokio::spawn(async move {
        feed(&app, missed, live, out).await;
        drop(place);
    });
    let mut response = body.into_response();
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Writes until the client has gone, falls behind, or the instance stops.
async fn feed(
    app: &App,
    missed: Vec<Arc<Told>>,
    mut live: broadcast::Receiver<Arc<Told>>,
    out: mpsc::Sender<Bytes>,
) {
    if out.send(Bytes::from_static(b"retry: 1000\n\n")).await.is_err() {
        return;
    }
    for told in missed {
        if out.send(event(&told)).await.is_err() {
            return;
        }
    }
    let mut ticks = 0;
    loop {
        let piece = tokio::select! {
            told = live.recv() => match told {
                Ok(told) => event(&told),
                // It comes back with Last-Event-ID.
                Err(_) => return,
            },
            () = out.closed() => return,
            () = tokio::time::sleep(TICK) => {
                if app.backend.draining() {
                    return;
                }
                ticks += 1;
                if ticks < TICKS_PER_BEAT {
                    continue;
                }
                Bytes::from_static(b": still here\n\n")
            }
        };
        ticks = 0;
        if out.send(piece).await.is_err() {
            return;
        }
    }
}

/// One event of the stream; JSON has no line feeds.
fn event(told: &Told) -> Bytes {
    let mut text = format!("id: {}\nevent: {}\ndata: ", told.id, told.kind).into_bytes();
    text.extend_from_slice(&told.json);
    text.extend_from_slice(b"\n\n");
    Bytes::from(text)
}

/// The notice as a CloudEvent 1.0.
fn cloud_event(notice: &Notice, source: &str) -> Told {
    let (session_id, event_id) = match &notice.subject {
        Subject::Session(id) => (Some(id.as_str()), None),
        Subject::Event(id) => (None, Some(id.as_str())),
    };
    let decision = notice.decision.as_ref();
    let json = to_bytes(&CloudEventJson {
        specversion: "1.0",
        id: Id(notice.id),
        source,
        r#type: notice.kind.name(),
        subject: notice.subject.id(),
        time: Time(notice.at),
        datacontenttype: "application/json",
        data: DataJson {
            session_id,
            event_id,
            must_do: notice.must_do.map(|must_do| match must_do {
                MustDo::Report => "report",
                MustDo::Stop => "stop",
            }),
            by: notice.by.map(Time),
            state: state(notice.state),
            outcome: decision.map(|decision| decision.outcome).map(Outcome::word),
            basis: decision.map(|decision| basis(decision.basis)),
            advice: decision.map(|decision| AdviceJson::from(&decision.advice)),
            record: notice.record.as_ref().map(RecordJson::from),
        },
    });
    Told { id: notice.id.to_string(), kind: notice.kind.name(), json: Bytes::from(json) }
}

#[derive(Serialize)]
struct CloudEventJson<'a> {
    specversion: &'static str,
    id: Id,
    source: &'a str,
    r#type: &'static str,
    subject: &'a str,
    time: Time,
    datacontenttype: &'static str,
    data: DataJson<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DataJson<'a> {
    session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    must_do: Option<&'static str>,
    by: Option<Time>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    basis: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<AdviceJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<RecordJson<'a>>,
}
