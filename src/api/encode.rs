//! `POST /v1/encode`: the messages that a trigger would make; nothing is stored or sent.

use std::sync::Arc;

use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::app::{App, Metered, answer_json, client, read_body, within_rate};
use super::body::{self, read_document};
use super::charge;
use super::fields::Field;
use super::headers;
use super::json;
use super::problem::{Kind, Problem};
use super::record_answer;
use super::shapes::ENCODE;
use super::words::{OPS, Op};
use crate::charging::event::Trigger;
use crate::charging::outcome::{Refusal, Reply};
use crate::clock::Wall;
use crate::diagnostic::suggest;
use crate::gateway::dry_run::{DryParts, DryRun};

pub(super) async fn encode(State(app): State<Arc<App>>, request: HttpRequest) -> Response {
    let instance = request.uri().path().to_owned();
    let mut metered = Metered::begin(&app, "encode");
    let result = dry_run(&app, request).await;
    metered.finish(result, &instance)
}

async fn dry_run(app: &App, request: HttpRequest) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    client(app, &parts.headers, |token| token.scopes.trigger)?;
    within_rate(app)?;
    headers::media_type(&parts.headers, &["application/json"])
        .map_err(|detail| Problem::new(Kind::UnsupportedMediaType, format!("{detail}.")))?;
    let limit = app.rules.settings.body_bytes_max;
    let bytes = read_body(app, &parts.headers, body, limit).await?;
    let document = json::read(&bytes).map_err(Problem::malformed)?;
    let dry = app.backend.dry_parts();
    let wanted = read_document(&document, |body| read(app, &dry, body)).map_err(Problem::body)?;
    Ok(answer_json(StatusCode::OK, messages(&dry, wanted)?))
}

struct Wanted {
    session: Option<Trigger>,
    trigger: Trigger,
    peer: Option<usize>,
}

fn read(app: &App, dry: &DryParts, body: &Field<'_>) -> Option<Wanted> {
    body.object(&ENCODE)?;
    let op = body.get("op").and_then(|field| field.word(OPS))?;
    let peer = body.get("peer").and_then(|field| {
        let name = field.name()?;
        let peers = &dry.policy.peers;
        let found = peers.iter().position(|peer| peer.name == name);
        if found.is_none() {
            let near = suggest(&name, peers.iter().map(|peer| peer.name.as_str()));
            field.problem_near("no such peer is configured", near.map(str::to_owned));
        }
        found
    });
    let session = match (op, body.get("session")) {
        (Op::Start | Op::Event, Some(session)) => {
            session.problem("only for interim and terminate");
            None
        }
        (Op::Interim, None) => {
            body.problem_at("session", "required for interim: the start's body");
            None
        }
        (_, session) => session.and_then(|session| charge::trigger(app, Op::Start, "", &session)),
    };
    let id = session.as_ref().map_or("unknown-session", |start| charge::subject(start)).to_owned();
    let trigger = body::trigger(charge::call(op, &id), &body.get("body")?, &app.rules.services)?;
    Some(Wanted { session, trigger, peer })
}

fn messages(dry: &DryParts, wanted: Wanted) -> Result<Vec<u8>, Problem> {
    let Wanted { session, trigger, peer } = wanted;
    let mut run = DryRun::new(dry, peer, begin(session.as_ref().unwrap_or(&trigger)));
    if let Some(session) = session {
        let (_, reply) = run.trigger(session);
        accepted(reply)?;
    }
    let (sent, reply) = run.trigger(trigger);
    accepted(reply)?;
    let trees: Vec<_> = sent
        .iter()
        .filter(|out| peer.is_none_or(|peer| out.peer == peer))
        .map(|out| {
            let name = dry.policy.peers.get(out.peer).map(|peer| peer.name.as_str());
            (run.tree(out), name)
        })
        .collect();
    Ok(record_answer::encoded(&trees))
}

/// When the dry run takes place: the time of its first trigger.
fn begin(trigger: &Trigger) -> Wall {
    match trigger {
        Trigger::Start(start) => start.timestamp,
        Trigger::Interim(interim) => interim.timestamp,
        Trigger::Terminate(terminate) => terminate.timestamp,
        Trigger::Event(event) => event.timestamp,
    }
}

fn accepted(reply: Option<Reply>) -> Result<(), Problem> {
    match reply {
        Some(Reply::Answered { .. }) => Ok(()),
        Some(Reply::Refused(refusal)) => Err(Problem::refusal(refusal, "")),
        None => {
            let reason = "the dry run gave no answer.".to_owned();
            Err(Problem::refusal(Refusal::Internal(reason), ""))
        }
    }
}
