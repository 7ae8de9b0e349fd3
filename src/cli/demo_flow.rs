//! The flows of a CPM session's end, as a CPM server plays them over HTTP.

use std::time::Duration;

use serde_json::{Value, json};

use super::args::Flow;
use super::exit::{Exit, Failure};
use super::http::Http;
use crate::clock::{self, Now};

/// The bodies that the README and the documentation use.
const START: &str = include_str!("../../examples/session-start.json");
const INTERIM: &str = include_str!("../../examples/session-interim.json");
const BYE_RECEIVED: &str = include_str!("../../examples/session-terminate.json");
const BYE_SENT: &str = include_str!("../../examples/session-terminate-bye-sent.json");
const BYE_OK: &str = include_str!("../../examples/session-terminate-bye-ok.json");

/// Messages that the bodies report in the end.
pub(crate) const MESSAGES: u64 = 14;
/// How long the session has lasted when it is terminated.
const LASTED: Duration = Duration::from_secs(311);
/// When the interim was due, after the start.
const INTERIM_AFTER: Duration = Duration::from_secs(120);
/// A flow that is not settled by then has failed; the guard and the backup record need seconds.
const SETTLED_WITHIN: Duration = Duration::from_secs(12);

/// One step of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Start,
    Interim,
    ByeReceived,
    ByeSent,
    ByeOk,
    /// `bye-sent` and `bye-received` at the same time, on two connections.
    BothByes,
    /// From here on the OCS does not answer this session's CCR-T.
    OcsFallsSilent,
}

/// What a flow is about, and its steps.
fn script(flow: Flow) -> (&'static str, &'static [Step]) {
    use Step::{BothByes, ByeOk, ByeReceived, ByeSent, Interim, OcsFallsSilent, Start};
    match flow {
        Flow::ClientClose => ("the client sends BYE", &[Start, Interim, ByeReceived]),
        Flow::ServerClose => {
            ("the server sends BYE, the client answers OK", &[Start, Interim, ByeSent, ByeOk])
        }
        Flow::ServerCloseNoOk => {
            ("the server sends BYE, no OK comes: the guard sends the Stop", &[Start, ByeSent])
        }
        Flow::CrossingByes => ("both send BYE at the same time", &[Start, BothByes]),
        Flow::SilentOcs => (
            "the OCS is silent at the end: the units go into one backup record",
            &[Start, Interim, OcsFallsSilent, ByeReceived],
        ),
    }
}

/// The flow in a few words.
pub(crate) fn title(flow: Flow) -> &'static str {
    script(flow).0
}

/// The CPM session's id in this flow: its first 8 characters end up in the Diameter Session-Id.
pub(crate) fn session_id(flow: Flow) -> &'static str {
    match flow {
        Flow::ClientClose => "9f1c4a7e-7d0e-4c1b-9a55-0c6d0a3b2f11",
        Flow::ServerClose => "b20d91f3-0c52-4f6e-8a4b-6c1f5f0a7d22",
        Flow::ServerCloseNoOk => "c3a8e604-91b7-4d0f-b6de-1e2a94c05b33",
        Flow::CrossingByes => "d471bc95-5e3a-4a92-8f10-7b09d6e1fa44",
        Flow::SilentOcs => "e5f02d18-2b6c-4e75-9c3d-8d7e6f4c3b55",
    }
}

/// One HTTP call and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Since the flow began.
    pub(crate) at: Duration,
    /// `/v1/sessions/…/terminate`.
    pub(crate) path: String,
    /// `start`, `interim`, or the terminate's trigger.
    pub(crate) what: String,
    /// HTTP status.
    pub(crate) status: u16,
    /// How long the answer took.
    pub(crate) took: Duration,
    /// The answer.
    pub(crate) answer: Value,
}

/// Plays a flow; `silence` makes the OCS ignore this session's CCR-T.
///
/// Returns the calls and the session as the gateway shows it when nothing is waiting any more.
///
/// # Errors
/// The gateway does not answer.
pub(crate) async fn play(
    flow: Flow,
    http: &Http,
    silence: impl Fn(),
) -> Result<(Vec<Call>, Value), Failure> {
    let began = clock::now();
    let mut calls = Vec::new();
    for step in script(flow).1 {
        match step {
            Step::OcsFallsSilent => silence(),
            Step::BothByes => {
                let (sent, received) = tokio::join!(
                    call(flow, Step::ByeSent, http, began),
                    call(flow, Step::ByeReceived, http, began)
                );
                calls.extend([sent?, received?]);
            }
            step => calls.push(call(flow, *step, http, began).await?),
        }
    }
    let view = settled(flow, http, began).await?;
    Ok((calls, view))
}

async fn call(flow: Flow, step: Step, http: &Http, began: Now) -> Result<Call, Failure> {
    let id = session_id(flow);
    let (path, body) = match step {
        Step::Start => ("/v1/sessions".to_owned(), START),
        Step::Interim => (format!("/v1/sessions/{id}/interim"), INTERIM),
        Step::ByeSent => (format!("/v1/sessions/{id}/terminate"), BYE_SENT),
        Step::ByeOk => (format!("/v1/sessions/{id}/terminate"), BYE_OK),
        _ => (format!("/v1/sessions/{id}/terminate"), BYE_RECEIVED),
    };
    let mut body: Value = serde_json::from_str(body)
        .map_err(|error| Failure::new(Exit::Failed, format!("an example is not JSON: {error}")))?;
    let what = match step {
        Step::Start => "start".to_owned(),
        Step::Interim => "interim".to_owned(),
        _ => body["trigger"].as_str().unwrap_or("terminate").to_owned(),
    };
    adapt(&mut body, step, id);
    let sent = clock::now();
    let answer = http.post(&path, &body).await?;
    Ok(Call {
        at: sent.since(began),
        path,
        what,
        status: answer.status,
        took: clock::now().since(sent),
        answer: answer.json,
    })
}

/// The example with this flow's ids, and times that end now.
fn adapt(body: &mut Value, step: Step, id: &str) {
    let now = clock::wall();
    let at = match step {
        Step::Start => now - LASTED,
        Step::Interim => now - LASTED + INTERIM_AFTER,
        _ => now,
    };
    body["timestamp"] = Value::from(at.to_string());
    if step == Step::Start {
        body["sessionId"] = Value::from(id);
        body["cpm"]["contributionId"] = Value::from(id);
        body["sip"]["icid"] = json!(format!("icid-{}", &id[..8]));
    }
}

/// The session once it has ended and none of its records waits.
async fn settled(flow: Flow, http: &Http, began: Now) -> Result<Value, Failure> {
    let path = format!("/v1/sessions/{}", session_id(flow));
    let mut pause = Duration::from_millis(5);
    loop {
        let view = http.get(&path).await?.json;
        let waiting = view["records"].as_array().is_none_or(|records| {
            records.is_empty() || records.iter().any(|record| record["state"] == "waiting")
        });
        let ended = view["state"] == "ended" && !waiting;
        if ended || clock::now().since(began) > SETTLED_WITHIN {
            return Ok(view);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_flow_has_its_own_session() {
        let mut ids: Vec<&str> =
            Flow::value_variants().iter().map(|flow| &session_id(*flow)[..8]).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Flow::value_variants().len());
    }

    #[test]
    fn the_examples_report_what_the_proof_expects() {
        for body in [BYE_RECEIVED, BYE_SENT] {
            let body: Value = serde_json::from_str(body).expect("json");
            assert_eq!(body["usage"][0]["units"]["messages"], MESSAGES);
            assert_eq!(body["usage"][0]["units"]["seconds"], LASTED.as_secs());
        }
        let interim: Value = serde_json::from_str(INTERIM).expect("json");
        assert_eq!(interim["usage"][0]["units"]["seconds"], INTERIM_AFTER.as_secs());
    }
}
