//! Records for operators: one with its story, and what may be done to those that are dead.

use serde_json::{Value, json};

use super::Source;
use crate::api::problem::{Item, Kind, Problem};
use crate::api::record_answer::{self, Reveal};
use crate::charging::explain::{Stored, state_word};
use crate::charging::outcome::Refusal;
use crate::store::{Query, RecordId, RecordState};

/// Records of one page of an export.
const EXPORT_PAGE: u32 = 500;
/// Records of one call at most.
const RECORDS_MAX: usize = 1_000;

/// A record with why it ended as it did, and its octets if identities may be seen.
pub(super) async fn one(
    source: &dyn Source,
    text: &str,
    reveal: Reveal,
) -> Result<Vec<u8>, Problem> {
    let unknown = || {
        let detail = format!("record `{text}` was not made here, or its retention has passed.");
        Problem::new(Kind::UnknownRecord, detail)
    };
    let id = RecordId::parse(text).ok_or_else(unknown)?;
    let found = source.record(id).await.map_err(|refusal| Problem::refusal(refusal, ""))?;
    let row = found.ok_or_else(unknown)?;
    let stored = Stored::read(&row.record, row.session.as_ref()).ok_or_else(|| {
        Problem::refusal(Refusal::Internal(format!("record `{text}` cannot be read.")), "")
    })?;
    Ok(record_answer::with_why(&stored.item(), &stored.why(), reveal))
}

/// The next records of a state, or of the spool, after one: an object a line.
pub(super) async fn export(source: &dyn Source, query: &str) -> Result<Vec<u8>, Problem> {
    let mut search = Query { limit: EXPORT_PAGE, ..Query::default() };
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "state" => {
                let states = [RecordState::Waiting, RecordState::Dead];
                let known = states.into_iter().find(|state| state_word(*state) == value);
                search.state = Some(known.ok_or_else(|| wrong("/state", "waiting or dead"))?);
            }
            "after" => {
                let id = RecordId::parse(value);
                search.after = Some(id.ok_or_else(|| wrong("/after", "expected a record id"))?);
            }
            _ => return Err(wrong(&format!("/{name}"), "unknown; expected state, after")),
        }
    }
    let rows = source.search(search).await;
    let mut lines = String::new();
    for row in rows.map_err(|refusal| Problem::refusal(refusal, ""))? {
        let Some(stored) = Stored::read(&row.record, None) else { continue };
        let record = &stored.record;
        let octets: String = record.message.iter().map(|octet| format!("{octet:02x}")).collect();
        let line = json!({
            "recordId": record.id.to_string(), "subject": row.record.subject,
            "command": record.command.name(), "number": record.number,
            "state": state_word(record.state), "createdAt": record.created_at.to_string(),
            "attempts": record.attempts, "sessionId": record.diameter_session_id,
            "endToEnd": format!("{:08x}", record.end_to_end), "message": octets,
        });
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    Ok(lines.into_bytes())
}

/// `{"records": […], "dryRun": true}` → `{"items": [{"recordId", "replayed", "reason"}]}`.
pub(super) async fn replay(source: &dyn Source, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let body = read(body, &["records", "dryRun"])?;
    let dry_run = match &body["dryRun"] {
        Value::Null => false,
        Value::Bool(dry_run) => *dry_run,
        _ => return Err(wrong("/dryRun", "expected true or false")),
    };
    let results = source.replay(ids(&body)?, dry_run).await;
    let results = results.map_err(|refusal| Problem::refusal(refusal, ""))?;
    let items: Vec<Value> = results
        .into_iter()
        .map(|(id, result)| {
            let reason = result.err().map(|reason| reason.to_string());
            json!({"recordId": id.to_string(), "replayed": reason.is_none(), "reason": reason})
        })
        .collect();
    Ok(json!({"dryRun": dry_run, "items": items}).to_string().into_bytes())
}

/// `{"records": […]}` → `{"purged": 3}`: dead ones only.
pub(super) async fn purge(source: &dyn Source, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let body = read(body, &["records"])?;
    let purged = source.purge(ids(&body)?).await;
    let purged = purged.map_err(|refusal| Problem::refusal(refusal, ""))?;
    Ok(json!({"purged": purged}).to_string().into_bytes())
}

fn read(body: &[u8], fields: &[&str]) -> Result<Value, Problem> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| wrong("", format!("expected a JSON object: {error}")))?;
    let Some(object) = value.as_object() else { return Err(wrong("", "expected a JSON object")) };
    match object.keys().find(|key| !fields.contains(&key.as_str())) {
        Some(unknown) => Err(wrong(&format!("/{unknown}"), "unknown field")),
        None => Ok(value),
    }
}

fn ids(body: &Value) -> Result<Vec<RecordId>, Problem> {
    let list = body["records"].as_array().filter(|list| (1..=RECORDS_MAX).contains(&list.len()));
    let Some(list) = list else {
        return Err(wrong("/records", format!("expected 1 to {RECORDS_MAX} record ids")));
    };
    let id = |(index, value): (usize, &Value)| {
        let id = value.as_str().and_then(RecordId::parse);
        id.ok_or_else(|| wrong(&format!("/records/{index}"), "expected a record id"))
    };
    list.iter().enumerate().map(id).collect()
}

fn wrong(pointer: &str, detail: impl Into<String>) -> Problem {
    let item = Item {
        pointer: Some(pointer.to_owned()),
        detail: detail.into(),
        suggestion: None,
        place: None,
    };
    Problem::fields(Kind::ValidationFailed, vec![item])
}
