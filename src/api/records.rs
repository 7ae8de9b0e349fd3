//! `POST /v1/records/search` and `GET /v1/records/{id}`: what became of every record, and why.

use std::sync::Arc;

use axum::extract::{Path, Request as HttpRequest, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::app::{App, Metered, answer_json, client, read_body, within_rate};
use super::backend::Answering;
use super::body::read_document;
use super::fields::Field;
use super::headers;
use super::json;
use super::problem::{Item, Kind, Problem};
use super::record_answer::{self, Reveal};
use super::routes::Id;
use super::shapes::{SEARCH, SEARCH_LIMIT_MAX};
use super::words::{INTERFACE_WORDS, OUTCOMES, RECORD_STATES};
use crate::charging::explain::{RecordItem, Stored};
use crate::charging::outcome::{Outcome, Refusal, Subject};
use crate::charging::provenance::record_tree;
use crate::config::settings::Token;
use crate::gateway::StoredRecord;
use crate::store::{Query, RecordId};

/// Records of one page, if the search names no number.
const LIMIT: u64 = 50;
/// So many records are looked through for one page; `nextCursor` goes on from there.
const SCANNED_MAX: usize = 2_000;

pub(super) async fn search(State(app): State<Arc<App>>, request: HttpRequest) -> Response {
    let instance = request.uri().path().to_owned();
    let mut metered = Metered::begin(&app, "search");
    let result = find(&app, request).await;
    metered.finish(result, &instance)
}

async fn find(app: &App, request: HttpRequest) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let token = client(app, &parts.headers, |token| token.scopes.read)?;
    within_rate(app)?;
    headers::media_type(&parts.headers, &["application/json"])
        .map_err(|detail| Problem::new(Kind::UnsupportedMediaType, format!("{detail}.")))?;
    let limit = app.rules.settings.body_bytes_max;
    let bytes = read_body(app, &parts.headers, body, limit).await?;
    let backend = app.backend.clone();
    let body = page(&bytes, |query| backend.search(query), reveal(token)).await?;
    Ok(answer_json(StatusCode::OK, body))
}

/// The answer to a search, as the API and the admin port give it.
pub(crate) async fn page<'a>(
    body: &[u8],
    rows: impl Fn(Query) -> Answering<'a, Result<Vec<StoredRecord>, Refusal>>,
    reveal: Reveal,
) -> Result<Vec<u8>, Problem> {
    let document = json::read(body).map_err(Problem::malformed)?;
    let search = read_document(&document, read_search).map_err(Problem::body)?;
    let (items, next) = gather(rows, search).await?;
    Ok(record_answer::page(&items, next, reveal))
}

/// What to look for; the store knows nothing of outcomes and of the kind of a subject.
struct Search {
    query: Query,
    outcome: Option<Outcome>,
    /// Only sessions, or only events.
    session: Option<bool>,
    limit: usize,
}

fn read_search(body: &Field<'_>) -> Option<Search> {
    body.object(&SEARCH)?;
    let session = body.get("sessionId").and_then(|field| field.id());
    let event = body.get("eventId").and_then(|field| field.id());
    if session.is_some() && event.is_some() {
        body.problem_at("eventId", "not beside sessionId");
    }
    let cursor = body.get("cursor").and_then(|field| {
        let id = RecordId::parse(&field.text()?);
        if id.is_none() {
            field.problem("expected a `nextCursor`");
        }
        id
    });
    let limit = body.get("limit").and_then(|field| {
        let limit = field.integer(SEARCH_LIMIT_MAX)?;
        if limit == 0 {
            field.problem(format!("must be 1 to {SEARCH_LIMIT_MAX}, is 0"));
        }
        Some(limit)
    });
    let limit = usize::try_from(limit.unwrap_or(LIMIT)).unwrap_or(1);
    Some(Search {
        outcome: body.get("outcome").and_then(|field| field.word(OUTCOMES)),
        session: session.is_some().then_some(true).or(event.is_some().then_some(false)),
        limit,
        query: Query {
            subscriber: body.get("subscriber").and_then(|field| field.identity()),
            subject: session.or(event),
            diameter_session_id: body.get("diameterSessionId").and_then(|field| field.identity()),
            interface: body.get("interface").and_then(|field| field.word(INTERFACE_WORDS)),
            state: body.get("state").and_then(|field| field.word(RECORD_STATES)),
            since: body.get("since").and_then(|field| field.time()),
            until: body.get("until").and_then(|field| field.time()),
            after: cursor,
            // One more, to know whether there is a next page.
            limit: u32::try_from(limit + 1).unwrap_or(1),
        },
    })
}

/// One page, and where the next begins.
async fn gather<'a>(
    rows: impl Fn(Query) -> Answering<'a, Result<Vec<StoredRecord>, Refusal>>,
    search: Search,
) -> Result<(Vec<RecordItem>, Option<RecordId>), Problem> {
    let Search { mut query, outcome, session, limit } = search;
    let asked = usize::try_from(query.limit).unwrap_or(1);
    let mut items = Vec::new();
    let mut scanned = 0;
    loop {
        let found = rows(query.clone()).await;
        let found = found.map_err(|refusal| Problem::refusal(refusal, ""))?;
        let all = found.len() < asked;
        for row in found {
            if items.len() == limit {
                return Ok((items, query.after));
            }
            query.after = Some(row.record.id);
            scanned += 1;
            // A row that cannot be read is counted and told when the store is opened.
            let item = Stored::read(&row.record, row.session.as_ref()).map(|stored| stored.item());
            let wanted = |item: &RecordItem| {
                let is_session = matches!(item.subject, Subject::Session(_));
                outcome.is_none_or(|outcome| item.outcome == Some(outcome))
                    && session.is_none_or(|wanted| is_session == wanted)
            };
            items.extend(item.filter(wanted));
        }
        if all {
            return Ok((items, None));
        }
        if scanned >= SCANNED_MAX {
            return Ok((items, query.after));
        }
    }
}

/// `?view=`.
#[derive(Clone, Copy)]
enum View {
    Plain,
    Avps,
    Why,
}

fn view(query: Option<&str>) -> Result<View, Problem> {
    match query {
        None | Some("") => Ok(View::Plain),
        Some("view=avps") => Ok(View::Avps),
        Some("view=why") => Ok(View::Why),
        Some(_) => {
            let detail = "expected ?view=avps or ?view=why, or nothing".to_owned();
            let item = Item { pointer: None, detail, suggestion: None, place: None };
            Err(Problem::fields(Kind::ValidationFailed, vec![item]))
        }
    }
}

pub(super) async fn record(State(app): State<Arc<App>>, id: Id, request: HttpRequest) -> Response {
    let instance = request.uri().path().to_owned();
    let mut metered = Metered::begin(&app, "get");
    let result = show(&app, request.headers(), request.uri().query(), id).await;
    metered.finish(result, &instance)
}

async fn show(
    app: &App,
    headers: &HeaderMap,
    query: Option<&str>,
    id: Id,
) -> Result<Response, Problem> {
    let token = client(app, headers, |token| token.scopes.read)?;
    within_rate(app)?;
    let view = view(query)?;
    let text = id.map(|Path(id)| id).unwrap_or_default();
    let unknown = || {
        let detail = format!("record `{text}` was not made here, or its retention has passed.");
        Problem::new(Kind::UnknownRecord, detail)
    };
    let id = RecordId::parse(&text).ok_or_else(unknown)?;
    let found = app.backend.record(id).await.map_err(|refusal| Problem::refusal(refusal, ""))?;
    let row = found.ok_or_else(unknown)?;
    let stored = Stored::read(&row.record, row.session.as_ref()).ok_or_else(|| {
        Problem::refusal(Refusal::Internal(format!("record `{text}` cannot be read.")), "")
    })?;
    let reveal = reveal(token);
    let item = stored.item();
    let body = match view {
        View::Plain => record_answer::record(&item, reveal),
        View::Why => record_answer::with_why(&item, &stored.why(), reveal),
        View::Avps => {
            let parts = app.backend.dry_parts();
            let session = stored.session.as_ref();
            let tree = record_tree(&parts.library, &parts.policy, &stored.record, session);
            record_answer::with_tree(&item, &tree, reveal)
        }
    };
    Ok(answer_json(StatusCode::OK, body))
}

/// Subscribers are masked for everybody whose token does not say otherwise.
fn reveal(token: Option<&Token>) -> Reveal {
    match token {
        Some(token) if token.scopes.subscriber => Reveal::Clear,
        _ => Reveal::Masked,
    }
}
