//! A running gateway's admin port, as the commands for operators ask it.

use std::time::Duration;

use serde_json::{Value, json};

use super::args::Admin;
use super::exit::{Exit, Failure};
use super::http::{Answer, Http};

/// Records of one page.
const PAGE: u64 = 200;

/// A client of the admin port, with its token.
pub(crate) fn http(admin: &Admin) -> Http {
    let http = Http::new(&admin.admin_url, Duration::from_secs(30));
    match &admin.admin_token {
        Some(token) => http.with_token(token),
        None => http,
    }
}

/// An answer that is 200, else what the gateway says is wrong.
pub(crate) fn accepted(answer: Answer) -> Result<Answer, Failure> {
    if answer.status == 200 {
        return Ok(answer);
    }
    let mut detail = answer.json["detail"].as_str().unwrap_or(&answer.text).to_owned();
    for error in answer.json["errors"].as_array().into_iter().flatten() {
        let part = |name: &str| error[name].as_str().unwrap_or("").to_owned();
        detail = format!("{}: {}", part("pointer"), part("detail"));
    }
    let exit = match answer.status {
        400 => Exit::BadData,
        401 | 403 => Exit::Permission,
        _ => Exit::Failed,
    };
    Err(Failure::new(exit, detail.trim_end_matches('.').to_owned()))
}

/// `GET path`.
pub(crate) async fn get(http: &Http, path: &str) -> Result<Answer, Failure> {
    accepted(http.get(path).await?)
}

/// `POST body` to `path`.
pub(crate) async fn post(http: &Http, path: &str, body: &Value) -> Result<Answer, Failure> {
    accepted(http.post(path, body).await?)
}

/// All records that a search finds, at most `limit`, oldest first. The body is that of
/// `/v1/records/search` without limit and cursor.
pub(crate) async fn search(
    http: &Http,
    body: &Value,
    limit: usize,
) -> Result<(Vec<Value>, bool), Failure> {
    let mut items = Vec::new();
    let mut body = body.clone();
    body["limit"] = json!(PAGE);
    loop {
        let page = post(http, "/admin/v1/records/search", &body).await?.json;
        items.extend(page["items"].as_array().cloned().unwrap_or_default());
        let more = !page["nextCursor"].is_null();
        if items.len() >= limit || !more {
            let cut = items.len() > limit || more;
            items.truncate(limit);
            return Ok((items, cut));
        }
        body["cursor"] = page["nextCursor"].clone();
    }
}
