//! The API port over real sockets, in front of a backend that answers as it is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use farebox::api::body::{self, BodyError, Call};
use farebox::api::{Limits, Rules, answer, problem};
use farebox::charging::event::{
    CauseKind, CloseTrigger, EventAction, Interfaces, Money, RatingGroupRef, Trigger, Units,
};
use farebox::charging::outcome::{
    Advice, Answer, Basis, Ch1State, Ch1View, Ch2State, Ch2View, Debit, DecreasedTotal,
    DiameterIds, DiameterResult, Final, FinalAction, Grant, MappingProblem, Outcome, RecordView,
    Refusal, Reply, ServiceAdvice, SessionState, SessionView, StopBy, Subject, Warning,
};
use farebox::clock::Wall;
use farebox::config::settings::{ApiSettings, Scopes, Token};
use farebox::store::{Interface, RecordId, RecordState};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::api_world::*;

const START: &str = include_str!("../../examples/session-start.json");
const INTERIM: &str = include_str!("../../examples/session-interim.json");
const TERMINATE: &str = include_str!("../../examples/session-terminate.json");
const BYE_SENT: &str = include_str!("../../examples/session-terminate-bye-sent.json");
const BYE_OK: &str = include_str!("../../examples/session-terminate-bye-ok.json");
const EVENT: &str = include_str!("../../examples/message-sent.json");

fn at(text: &str) -> Wall {
    Wall::parse(text).expect("a time")
}

fn id(text: &str) -> RecordId {
    RecordId::parse(text).expect("a ULID")
}

fn success() -> DiameterResult {
    DiameterResult {
        code: Some(2001),
        name: Some("DIAMETER_SUCCESS".to_owned()),
        ..DiameterResult::default()
    }
}

fn seconds(seconds: u64) -> Units {
    Units { seconds: Some(seconds), ..Units::default() }
}

/// The answer of the API page's start.
fn granted() -> Answer {
    Answer {
        subject: Subject::Session("9f1c4a7e-7d0e-4c1b-9a55-0c6d0a3b2f11".to_owned()),
        sequence: 0,
        state: SessionState::Open,
        outcome: Outcome::Granted,
        basis: Basis::Ocs,
        advice: Advice { service: ServiceAdvice::Continue, sip_status: None, stop_by: None },
        grants: vec![Grant {
            rating_group: 700,
            name: Some("chat".to_owned()),
            units: seconds(600),
            valid_until: Some(at("2025-12-12T10:53:00Z")),
            threshold: Some(seconds(60)),
            holding_seconds: None,
            final_unit: None,
            tariff_change_at: None,
        }],
        debit: None,
        ch2: Ch2View {
            state: Ch2State::Answered,
            record_id: Some(id("01KC99XP2M0000000000000000")),
            command: Some("CCR-I".to_owned()),
            request_number: Some(0),
            result: Some(success()),
            services: vec![(Some(700), success())],
            peer: Some("ocs-a".to_owned()),
            attempts: 1,
            round_trip_micros: Some(11_200),
            diameter: Some(DiameterIds {
                session_id: "cg1.ims.example.net;1765531200;7;9f1c4a7e".to_owned(),
                hop_by_hop: Some(0x5a1c_0007),
                end_to_end: 0x93bb_0012,
            }),
        },
        ch1: Ch1View {
            state: Ch1State::Stored,
            record_id: Some(id("01KC99XP2N0000000000000000")),
            record: Some("START_RECORD".to_owned()),
            record_number: Some(0),
            ..Ch1View::none()
        },
        warnings: Vec::new(),
        created: true,
    }
}

fn denied() -> Answer {
    Answer {
        outcome: Outcome::Denied,
        state: SessionState::Ended,
        advice: Advice { service: ServiceAdvice::Block, sip_status: Some(402), stop_by: None },
        grants: Vec::new(),
        ..granted()
    }
}

fn answered(answer: Answer) -> Reply {
    Reply::Answered { answer: Box::new(answer), replayed: false }
}

fn view() -> SessionView {
    SessionView {
        session_id: "s-1".to_owned(),
        state: SessionState::Ended,
        service: Some("chat".to_owned()),
        opened_at: at("2025-12-12T10:38:00.412Z"),
        ended_at: Some(at("2025-12-12T10:43:11Z")),
        outcome: Outcome::Debited,
        grants: Vec::new(),
        usage: vec![(700, seconds(311))],
        ch1: Ch1View::none(),
        ch2: granted().ch2,
        records: vec![RecordView {
            record_id: id("01KC99XP2M0000000000000000"),
            interface: Interface::Ch2,
            command: "CCR-I".to_owned(),
            number: 0,
            state: RecordState::Answered,
            result: Some(success()),
            peer: Some("ocs-a".to_owned()),
            attempts: 1,
            created_at: at("2025-12-12T10:38:00.412Z"),
        }],
    }
}

/// The same JSON without the blanks, members in their order.
fn compact(text: &str) -> String {
    serde_json::from_str::<Value>(text).expect("JSON").to_string()
}

#[tokio::test]
async fn a_start_is_201_with_the_answer_of_the_api_page() {
    let backend = Told::answers(answered(granted()));
    let port = plain_port(backend.clone()).await;
    let response = port.post("/v1/sessions", START).await;
    assert_eq!(response.status, 201, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(
        response.header("location"),
        Some("/v1/sessions/9f1c4a7e-7d0e-4c1b-9a55-0c6d0a3b2f11")
    );
    assert_eq!(response.header("x-request-id").map(str::len), Some(26));
    assert_eq!(response.header("preference-applied"), None);
    let page = r#"{
      "sessionId": "9f1c4a7e-7d0e-4c1b-9a55-0c6d0a3b2f11", "sequence": 0, "state": "open",
      "outcome": "granted", "basis": "ocs",
      "advice": {"service": "continue", "sipStatus": null, "stopBy": null},
      "grants": [{"ratingGroup": 700, "name": "chat", "units": {"seconds": 600}, "validUntil": "2025-12-12T10:53:00Z",
                  "threshold": {"seconds": 60}, "holdingSeconds": null, "final": null, "tariffChangeAt": null}],
      "ch2": {"state": "answered", "recordId": "01KC99XP2M0000000000000000", "command": "CCR-I", "requestNumber": 0,
              "result": {"code": 2001, "name": "DIAMETER_SUCCESS", "vendor": null, "errorMessage": null, "reportedBy": null, "failedAvp": []},
              "services": [{"ratingGroup": 700, "result": {"code": 2001, "name": "DIAMETER_SUCCESS", "vendor": null, "errorMessage": null, "reportedBy": null, "failedAvp": []}}],
              "peer": "ocs-a", "attempts": 1, "roundTripMs": 11.2,
              "diameter": {"sessionId": "cg1.ims.example.net;1765531200;7;9f1c4a7e", "hopByHop": "5a1c0007", "endToEnd": "93bb0012"}},
      "ch1": {"state": "stored", "recordId": "01KC99XP2N0000000000000000", "record": "START_RECORD", "recordNumber": 0, "result": null, "peer": null, "attempts": 0}
    }"#;
    assert_eq!(String::from_utf8_lossy(&response.body), compact(page));

    let asked = backend.asked();
    let Trigger::Start(start) = &asked[0].trigger else { panic!("a start") };
    assert_eq!(start.interfaces, Some(Interfaces { ch1: true, ch2: true }));
    assert_eq!(start.content.subscriber.len(), 2);
    assert_eq!(start.request[0].rating_group, Some(RatingGroupRef::Name("chat".to_owned())));
    assert_eq!(start.content.extensions, [("acme.campaign".to_owned(), "summer".to_owned())]);
    assert_eq!(asked[0].client, "");
}

#[tokio::test]
async fn every_sample_body_is_accepted() {
    let backend = Told::answers(answered(granted()));
    let port = plain_port(backend.clone()).await;
    for (path, body) in [
        ("/v1/sessions", START),
        ("/v1/sessions/s-1/interim", INTERIM),
        ("/v1/sessions/s-1/terminate", TERMINATE),
        ("/v1/sessions/s-1/terminate", BYE_SENT),
        ("/v1/sessions/s-1/terminate", BYE_OK),
        ("/v1/events", EVENT),
    ] {
        let response = port.post(path, body).await;
        assert_eq!(response.status, 201, "{path}: {response:?}");
    }
    let asked = backend.asked();
    let Trigger::Terminate(terminate) = &asked[2].trigger else { panic!("a terminate") };
    assert_eq!(terminate.session_id, "s-1");
    assert_eq!(terminate.trigger, CloseTrigger::ByeReceived);
    assert_eq!(terminate.cause.as_ref().map(|cause| cause.kind), Some(CauseKind::Normal));
    assert_eq!(terminate.usage[0].units.messages, Some(14));
    let Trigger::Event(event) = &asked[5].trigger else { panic!("an event") };
    assert_eq!(event.action, EventAction::Debit);
    assert_eq!(event.units.bytes, Some(641));
    let fingerprints: std::collections::BTreeSet<_> =
        asked.iter().map(|request| request.fingerprint).collect();
    assert_eq!(fingerprints.len(), asked.len());
}

#[test]
fn the_terminate_answers_of_the_api_page_are_rendered_as_it_shows_them() {
    let units = Units { seconds: Some(311), messages: Some(14), ..Units::default() };
    let euros = |digits| Some(Money { digits, exponent: -2, currency: "EUR".to_owned() });
    let armed = Ch1View {
        state: Ch1State::Armed,
        record_id: Some(id("01KC99XQ700000000000000000")),
        record: Some("STOP_RECORD".to_owned()),
        record_number: Some(2),
        due_at: Some(at("2025-12-12T10:43:47Z")),
        ..Ch1View::none()
    };
    let answer = Answer {
        sequence: 2,
        state: SessionState::Ending,
        outcome: Outcome::Debited,
        advice: Advice { service: ServiceAdvice::Stop, sip_status: None, stop_by: None },
        grants: Vec::new(),
        debit: Some(Debit {
            units: vec![(700, units)],
            cost: euros(70),
            balance: euros(930),
            low_balance: false,
        }),
        ch2: Ch2View::none(),
        ch1: armed,
        warnings: vec![Warning { code: "usage-ignored".to_owned(), detail: "late".to_owned() }],
        ..granted()
    };
    let page = r#"{
      "sessionId": "9f1c4a7e-7d0e-4c1b-9a55-0c6d0a3b2f11", "sequence": 2, "state": "ending",
      "outcome": "debited", "basis": "ocs", "advice": {"service": "stop", "sipStatus": null, "stopBy": null},
      "debit": {"units": [{"ratingGroup": 700, "units": {"seconds": 311, "messages": 14}}],
                "cost": {"amount": "0.70", "currency": "EUR"}, "balance": {"amount": "9.30", "currency": "EUR"}, "lowBalance": false},
      "ch2": {"state": "none"},
      "ch1": {"state": "armed", "recordId": "01KC99XQ700000000000000000", "record": "STOP_RECORD", "recordNumber": 2, "dueAt": "2025-12-12T10:43:47Z"},
      "warnings": [{"code": "usage-ignored", "detail": "late"}]
    }"#;
    assert_eq!(String::from_utf8_lossy(&answer::answer_body(&answer)), compact(page));

    let last = Answer {
        subject: Subject::Event("e-1".to_owned()),
        advice: Advice {
            service: ServiceAdvice::Continue,
            sip_status: None,
            stop_by: Some(StopBy { at: None, units: Some(seconds(30)) }),
        },
        grants: vec![Grant {
            final_unit: Some(Final {
                action: FinalAction::Redirect,
                redirect: Some(("URL".to_owned(), "https://top.up".to_owned())),
                filters: Vec::new(),
            }),
            ..granted().grants.remove(0)
        }],
        ..answer
    };
    let text = String::from_utf8(answer::answer_body(&last)).expect("UTF-8");
    assert!(text.starts_with(r#"{"eventId":"e-1","sequence":2,"#), "{text}");
    assert!(text.contains(r#""stopBy":{"at":null,"units":{"seconds":30}}"#), "{text}");
    let redirect = r#""final":{"action":"redirect","redirect":{"type":"URL","address":"https://top.up"},"filters":[]}"#;
    assert!(text.contains(redirect), "{text}");
}

#[test]
fn money_of_any_exponent_is_a_decimal_string() {
    for (digits, exponent, text) in [
        (70, -2, "0.70"),
        (-70, -2, "-0.70"),
        (930, -2, "9.30"),
        (5, 0, "5"),
        (5, 3, "5000"),
        (0, 3, "0"),
        (0, -2, "0.00"),
        (i64::MIN, -3, "-9223372036854775.808"),
        (7, 2_000_000_000, "7e2000000000"),
        (7, i32::MIN, "7e-2147483648"),
    ] {
        assert_eq!(answer::decimal(digits, exponent), text);
    }
}

#[tokio::test]
async fn a_session_is_read_as_the_api_page_shows_it() {
    let backend = Told::answers(answered(granted()));
    *backend.view.lock().expect("not poisoned") = Ok(Some(view()));
    let port = plain_port(backend.clone()).await;
    let response = port.get("/v1/sessions/s-1").await;
    assert_eq!(response.status, 200);
    let body = response.json();
    let names: Vec<&str> =
        body.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "sessionId",
            "state",
            "service",
            "openedAt",
            "endedAt",
            "outcome",
            "grants",
            "usage",
            "ch1",
            "ch2",
            "records"
        ]
    );
    assert_eq!(body["usage"], json!([{"ratingGroup": 700, "units": {"seconds": 311}}]));
    assert_eq!(body["ch1"], json!({"state": "none"}));
    assert_eq!(body["records"][0]["interface"], "ch2");
    assert_eq!(body["records"][0]["state"], "answered");
    assert_eq!(body["records"][0]["createdAt"], "2025-12-12T10:38:00.412Z");

    *backend.view.lock().expect("not poisoned") = Ok(None);
    let response = port.get("/v1/sessions/nobody").await;
    assert_eq!((response.status, response.kind().as_str()), (404, "unknown-session"));
}

#[tokio::test]
async fn every_refusal_has_its_status_and_type() {
    let backend = Told::answers(answered(granted()));
    let port = plain_port(backend.clone()).await;
    let current = || Box::new(view());
    let mapping = MappingProblem {
        pointer: Some("/sip/icid".to_owned()),
        place: Some("ch1.yaml:33".to_owned()),
        detail: "IMS-Charging-Identifier needs it".to_owned(),
    };
    let total = DecreasedTotal { pointer: "/usage/0/units/seconds".to_owned(), before: 9, now: 8 };
    for (refusal, status, kind, code) in [
        (Refusal::UnknownSession, 404, "unknown-session", "FB1004"),
        (
            Refusal::SequenceOutOfOrder { sent: 1, last: 2, current: current() },
            409,
            "sequence-out-of-order",
            "FB1008",
        ),
        (Refusal::SessionEnded { current: current() }, 409, "session-ended", "FB1009"),
        (Refusal::RequestInProgress, 409, "request-in-progress", "FB1010"),
        (Refusal::MappingFailed(vec![mapping]), 422, "mapping-failed", "FB1013"),
        (Refusal::IdempotencyKeyReused, 422, "idempotency-key-reused", "FB1014"),
        (Refusal::UsageDecreased(vec![total]), 422, "usage-decreased", "FB1015"),
        (Refusal::StoreUnavailable("disk".to_owned()), 503, "store-unavailable", "FB1503"),
        (Refusal::SpoolFull, 507, "spool-full", "FB1507"),
        (Refusal::Draining, 503, "draining", "FB1504"),
        (Refusal::Overloaded, 503, "overloaded", "FB1505"),
        (Refusal::Internal("bug".to_owned()), 500, "internal", "FB1500"),
    ] {
        *backend.reply.lock().expect("not poisoned") = Reply::Refused(refusal);
        let response = port.post("/v1/sessions/s-1/interim", INTERIM).await;
        assert_eq!(response.status, status, "{response:?}");
        assert_eq!(response.kind(), kind);
        let body = response.json();
        assert_eq!(body["code"], code);
        assert_eq!(body["instance"], "/v1/sessions/s-1/interim");
        let carries_current = matches!(kind, "sequence-out-of-order" | "session-ended");
        assert_eq!(body["current"]["sessionId"] == "s-1", carries_current, "{body}");
        let retry = response.header("retry-after").is_some();
        assert_eq!(retry, matches!(status, 503) || kind == "request-in-progress", "{kind}");
    }
    *backend.reply.lock().expect("not poisoned") =
        Reply::Refused(Refusal::MappingFailed(vec![MappingProblem {
            pointer: None,
            place: Some("a:1".to_owned()),
            detail: "x".to_owned(),
        }]));
    let body = port.post("/v1/events", EVENT).await.json();
    assert_eq!(body["errors"], json!([{"detail": "x", "place": "a:1"}]));
}

#[tokio::test]
async fn every_problem_type_is_a_page() {
    let port = plain_port(Told::answers(answered(granted()))).await;
    for kind in problem::KINDS {
        let response = port.get(&format!("/problems/{}", kind.word())).await;
        assert_eq!(response.status, 200);
        assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
        let page = String::from_utf8_lossy(&response.body).into_owned();
        assert!(page.contains(kind.code().name()) && page.contains(kind.title()), "{page}");
    }
    assert_eq!(port.get("/problems/none").await.kind(), "not-found");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let port = plain_port(Told::answers(answered(granted()))).await;
    for (method, path, status, kind, allow) in [
        ("GET", "/", 404, "not-found", None),
        ("POST", "/v1/session", 404, "not-found", None),
        ("GET", "/v1/sessions/", 404, "not-found", None),
        ("GET", "/v1/sessions/%ff", 404, "not-found", None),
        ("GET", "/v1/sessions", 405, "method-not-allowed", Some("POST")),
        ("PUT", "/v1/sessions/s-1", 405, "method-not-allowed", Some("GET, HEAD")),
        ("GET", "/v1/sessions/s-1/interim", 405, "method-not-allowed", Some("POST")),
        ("DELETE", "/v1/sessions/s-1/terminate", 405, "method-not-allowed", Some("POST")),
        ("GET", "/v1/events", 405, "method-not-allowed", Some("POST")),
        ("POST", "/healthz", 405, "method-not-allowed", Some("GET, HEAD")),
    ] {
        let response = port.call(method, path, &[], "").await;
        assert_eq!((response.status, response.kind().as_str()), (status, kind), "{method} {path}");
        assert_eq!(response.header("allow"), allow, "{method} {path}");
        assert_eq!(response.json()["instance"], path);
        assert!(response.header("x-request-id").is_some());
    }
    let response = port.get("/healthz").await;
    assert_eq!((response.status, response.json()), (200, json!({"status": "pass"})));
    let accept = [("accept", "application/health+json")];
    let response = port.call("GET", "/healthz", &accept, "").await;
    assert_eq!(response.header("content-type"), Some("application/health+json"));
}

#[tokio::test]
async fn headers_of_the_answer_say_what_was_done() {
    let backend = Told::answers(answered(denied()));
    let port = plain_port(backend.clone()).await;
    let json_type = ("content-type", "application/json");
    let headers = [json_type, ("prefer", "wait=3, denied=402"), ("x-request-id", "as1-77")];
    let response = port.call("POST", "/v1/sessions", &headers, START).await;
    assert_eq!((response.status, response.kind().as_str()), (402, "denied"));
    assert_eq!(response.header("preference-applied"), Some("wait=3, denied=402"));
    assert_eq!(response.header("x-request-id"), Some("as1-77"));
    let body = response.json();
    assert_eq!((&body["outcome"], &body["state"]), (&json!("denied"), &json!("ended")));
    assert_eq!(body["advice"]["service"], "block");
    assert_eq!(body["ch2"]["command"], "CCR-I");
    assert_eq!(backend.asked()[0].prefer.wait_secs, Some(3));

    let response = port.post("/v1/sessions", START).await;
    assert_eq!((response.status, &response.json()["outcome"]), (201, &json!("denied")));

    let again = Answer { created: false, ..granted() };
    *backend.reply.lock().expect("not poisoned") =
        Reply::Answered { answer: Box::new(again), replayed: true };
    let headers = [json_type, ("idempotency-key", "as1-77120-2")];
    let response = port.call("POST", "/v1/events", &headers, EVENT).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("idempotency-replayed"), Some("true"));
    assert_eq!(response.header("location"), None);
    assert_eq!(backend.asked()[2].idempotency_key.as_deref(), Some("as1-77120-2"));
    let text = port.metrics.render();
    assert!(text.contains(r#"farebox_api_idempotent_replays_total{op="event"} 1"#), "{text}");
    assert!(text.contains(r#"farebox_api_requests_total{op="start",status="402"} 1"#), "{text}");
}

#[tokio::test]
async fn an_idempotency_key_may_be_required_and_must_be_one() {
    let backend = Told::answers(answered(granted()));
    let settings = ApiSettings { require_idempotency_key: true, ..ApiSettings::default() };
    let rules = Rules { settings, ..Rules::default() };
    let port = port(backend.clone(), rules, Limits::default()).await;
    assert_eq!(port.post("/v1/events", EVENT).await.kind(), "idempotency-key-missing");
    // The body is checked first.
    assert_eq!(port.post("/v1/events", "{}").await.kind(), "validation-failed");
    let long = "k".repeat(256);
    for keys in [&["", "x"][..], &[""], &[&long], &["a", "b"]] {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(keys.iter().map(|key| ("idempotency-key", *key)));
        let response = port.call("POST", "/v1/events", &headers, EVENT).await;
        assert_eq!(response.kind(), "validation-failed", "{keys:?}");
    }
    assert!(backend.asked().is_empty());
}

#[tokio::test]
async fn fh_13_tokens_have_scopes() {
    let backend = Told::answers(answered(granted()));
    *backend.view.lock().expect("not poisoned") = Ok(Some(view()));
    let scopes = |trigger, read, refund| Scopes { trigger, read, refund, subscriber: false };
    let tokens = vec![
        Token::new("as1", "t-trigger", scopes(true, false, false)),
        Token::new("bss", "t-read", scopes(false, true, false)),
        Token::new("shop", "t-refund", scopes(true, true, true)),
    ];
    let settings = ApiSettings { tokens, ..ApiSettings::default() };
    let port =
        port(backend.clone(), Rules { settings, ..Rules::default() }, Limits::default()).await;
    let refund = EVENT.replace("\"action\": \"debit\"", "\"action\": \"refund\"");
    assert_ne!(refund, EVENT);
    for (token, method, path, body, status) in [
        ("", "POST", "/v1/events", EVENT, 401),
        ("wrong", "POST", "/v1/events", EVENT, 401),
        ("wrong", "GET", "/v1/sessions/s-1", "", 401),
        ("t-read", "POST", "/v1/events", EVENT, 403),
        ("t-trigger", "GET", "/v1/sessions/s-1", "", 403),
        ("t-trigger", "POST", "/v1/events", refund.as_str(), 403),
        ("t-trigger", "POST", "/v1/events", EVENT, 201),
        ("t-refund", "POST", "/v1/events", refund.as_str(), 201),
        ("t-read", "GET", "/v1/sessions/s-1", "", 200),
        ("", "GET", "/healthz", "", 200),
    ] {
        let authorization = format!("Bearer {token}");
        let mut headers = vec![("content-type", "application/json")];
        if !token.is_empty() {
            headers.push(("authorization", &authorization));
        }
        let response = port.call(method, path, &headers, body).await;
        assert_eq!(response.status, status, "{token} {method} {path}");
        if status == 401 {
            assert_eq!(response.header("www-authenticate"), Some("Bearer"));
            assert_eq!(response.kind(), "unauthenticated");
        }
    }
    let clients: Vec<String> = backend.asked().into_iter().map(|asked| asked.client).collect();
    assert_eq!(clients, ["as1", "shop"]);
}

#[tokio::test]
async fn draining_refuses_new_work_and_still_ends_sessions() {
    let backend = Told::answers(answered(granted()));
    backend.draining.store(true, Ordering::Relaxed);
    let port = plain_port(backend.clone()).await;
    for (path, body) in [("/v1/sessions", START), ("/v1/events", EVENT)] {
        let response = port.post(path, body).await;
        assert_eq!((response.status, response.kind().as_str()), (503, "draining"));
        assert!(response.header("retry-after").is_some());
    }
    assert_eq!(port.post("/v1/sessions/s-1/terminate", TERMINATE).await.status, 201);
    assert_eq!(port.post("/v1/sessions/s-1/interim", INTERIM).await.status, 201);
    assert_eq!(port.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn more_calls_at_once_than_allowed_are_overload() {
    let backend = Told::answers(answered(granted()));
    let gate = Arc::new(Notify::new());
    *backend.gate.lock().expect("not poisoned") = Some(gate.clone());
    let settings = ApiSettings { in_flight_max: 1, ..ApiSettings::default() };
    let port = Arc::new(
        port(backend.clone(), Rules { settings, ..Rules::default() }, Limits::default()).await,
    );
    let held = tokio::spawn({
        let port = port.clone();
        async move { port.post("/v1/events", EVENT).await }
    });
    backend.entered.notified().await;
    let response = port.post("/v1/events", EVENT).await;
    assert_eq!((response.status, response.kind().as_str()), (503, "overloaded"));
    assert!(port.metrics.render().contains(r#"farebox_api_in_flight{op="event"} 1"#));
    gate.notify_one();
    assert_eq!(held.await.expect("joined").status, 201);
    let text = port.metrics.render();
    assert!(text.contains(r#"farebox_api_in_flight{op="event"} 0"#), "{text}");
    assert!(text.contains(r#"farebox_api_rejections_total{reason="overload"} 1"#), "{text}");
}

#[tokio::test]
async fn more_calls_a_second_than_allowed_are_rate_limited() {
    let backend = Told::answers(answered(granted()));
    let settings = ApiSettings { rate_per_second: Some(1), ..ApiSettings::default() };
    let port =
        port(backend.clone(), Rules { settings, ..Rules::default() }, Limits::default()).await;
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(port.post("/v1/events", EVENT).await.status);
    }
    assert_eq!(statuses[0], 201);
    let response = port.post("/v1/events", EVENT).await;
    assert!(statuses.contains(&429) || response.status == 429, "{statuses:?}");
}

/// The pointers of a body that is refused; empty if it is accepted.
fn pointers(call: Call<'_>, body: &str) -> Vec<String> {
    match body::read(call, body.as_bytes(), &[]) {
        Ok(_) => Vec::new(),
        Err(BodyError::Invalid(problems)) => {
            problems.into_iter().map(|problem| problem.pointer).collect()
        }
        Err(BodyError::Malformed(malformed)) => panic!("{body}: {malformed:?}"),
    }
}

/// `sample` with the member at `pointer` replaced.
fn with(sample: &str, pointer: &str, value: Value) -> String {
    let mut body: Value = serde_json::from_str(sample).expect("JSON");
    let (above, name) = pointer.rsplit_once('/').expect("a pointer");
    let parent = body.pointer_mut(above).expect("a parent");
    match parent {
        Value::Array(items) => items[name.parse::<usize>().expect("an index")] = value,
        parent => {
            parent.as_object_mut().expect("an object").insert(name.to_owned(), value);
        }
    }
    body.to_string()
}

#[test]
fn every_wrong_value_is_refused_with_its_pointer() {
    let start = Call::Start;
    let interim = Call::Interim("s-1");
    let terminate = Call::Terminate("s-1");
    let event = Call::Event;
    let nine: Vec<Value> = (0..9).map(|_| json!({"type": "e164", "value": "+1"})).collect();
    let long_text = "é".repeat(8_001);
    let long_identity = "a".repeat(1_025);
    let long_id = "x".repeat(256);
    for (call, sample, pointer, values) in [
        (start, START, "/sessionId", vec![json!(""), json!(long_id), json!("ü"), json!(7)]),
        (start, START, "/sessionId", vec![json!("a\nb"), Value::Null]),
        (start, START, "/sequence", vec![json!(-1), json!(1.5), json!(true), json!("1")]),
        (start, START, "/sequence", vec![json!(9_007_199_254_740_992_u64), json!(1e300)]),
        (start, START, "/timestamp", vec![json!("2025-12-12"), json!(1), json!("tomorrow")]),
        (start, START, "/timestamp", vec![json!("2025-12-12T10:38:00"), Value::Null]),
        (start, START, "/timestamp", vec![json!("2200-01-01T00:00:00Z")]),
        (start, START, "/interfaces", vec![json!([]), json!("ch1"), json!({})]),
        (start, START, "/interfaces/0", vec![json!("ch3"), json!(1), Value::Null]),
        (start, START, "/service", vec![json!(""), json!(1), Value::Null, json!(long_text)]),
        (start, START, "/role", vec![json!("calling"), json!(0)]),
        (start, START, "/node", vec![json!(""), json!(long_identity)]),
        (start, START, "/subscriber", vec![json!([]), json!(nine), Value::Null, json!("x")]),
        (start, START, "/subscriber/0", vec![json!("x"), Value::Null]),
        (start, START, "/subscriber/0/type", vec![json!("msisdn"), Value::Null]),
        (start, START, "/subscriber/0/value", vec![json!(""), json!(long_identity)]),
        (start, START, "/subscriber/1/value", vec![json!("a\u{0}b"), json!(12_025_550_123_u64)]),
        (start, START, "/from", vec![json!(long_identity), json!("")]),
        (start, START, "/to", vec![json!("tel:+1")]),
        (start, START, "/to/0", vec![json!(1), json!(long_identity)]),
        (start, START, "/cpm", vec![json!("x"), json!([])]),
        (start, START, "/cpm/conversationId", vec![json!(1), json!(long_text), json!("\u{0}")]),
        (start, START, "/cpm/serverRole", vec![json!("control")]),
        (start, START, "/cpm/imdnMessageId", vec![json!("x")]),
        (start, START, "/sip/requestTimestamp", vec![json!("x"), json!(0)]),
        (start, START, "/sip/callid", vec![json!("x")]),
        (start, START, "/participants", vec![json!(-2), json!("two")]),
        (start, START, "/request", vec![json!({}), json!(1)]),
        (start, START, "/request/0/ratingGroup", vec![json!(-1), json!(4_294_967_296_u64)]),
        (start, START, "/request/0/ratingGroup", vec![json!(true), json!(1.5), json!("")]),
        (start, START, "/request/0/units", vec![Value::Null, json!(600)]),
        (start, START, "/request/0/units/seconds", vec![json!(4_294_967_296_u64), json!(-1)]),
        (start, START, "/request/0/units/minutes", vec![json!(1)]),
        (start, START, "/notifyUri", vec![json!("ftp://x"), json!("https://"), json!("x")]),
        (start, START, "/extensions", vec![json!([]), json!("x")]),
        (start, START, "/extensions/acme.campaign", vec![json!({}), json!([1])]),
        (start, START, "/usage", vec![json!([])]),
        (interim, INTERIM, "/sessionId", vec![json!("s-1")]),
        (interim, INTERIM, "/reason", vec![json!("quotum"), json!(3)]),
        (interim, INTERIM, "/usage/0/tariff", vec![json!("during")]),
        (interim, INTERIM, "/usage/0/units/messages", vec![json!(-6), json!(6.5), json!("6")]),
        (interim, INTERIM, "/messages/sent", vec![json!(-1), json!(true)]),
        (interim, INTERIM, "/messages/recieved", vec![json!(1)]),
        (interim, INTERIM, "/timestamp", vec![Value::Null]),
        (terminate, TERMINATE, "/trigger", vec![json!("bye"), Value::Null]),
        (terminate, TERMINATE, "/cause/kind", vec![json!("abnormal"), Value::Null]),
        (terminate, TERMINATE, "/cause/sipStatus", vec![json!(399), json!(700), json!("481")]),
        (terminate, TERMINATE, "/cause/reasonHeader", vec![json!("SIP")]),
        (terminate, TERMINATE, "/request", vec![json!([])]),
        (terminate, TERMINATE, "/session", vec![json!("x")]),
        (event, EVENT, "/eventId", vec![json!(""), Value::Null]),
        (event, EVENT, "/kind", vec![json!(""), Value::Null]),
        (event, EVENT, "/action", vec![json!("charge"), json!(0)]),
        (event, EVENT, "/unit", vec![json!({"messages": 2})]),
        (event, EVENT, "/content/size", vec![json!(-1), Value::Null]),
        (event, EVENT, "/content/body", vec![json!("the message itself")]),
        (event, EVENT, "/refundOf", vec![json!("e-1"), json!("")]),
    ] {
        for value in values {
            let body = with(sample, pointer, value.clone());
            let found = pointers(call, &body);
            assert!(found.contains(&pointer.to_owned()), "{pointer} {value}: {found:?}");
        }
    }
}

#[test]
fn exclusions_between_fields_are_checked() {
    let terminate = Call::Terminate("s-1");
    let units = json!({"bytes": 1, "inputBytes": 1});
    for (call, body, pointer) in [
        (terminate, with(TERMINATE, "/usage/0/units", units.clone()), "/usage/0/units/bytes"),
        (Call::Event, with(EVENT, "/units", units), "/units/bytes"),
        (terminate, with(TERMINATE, "/cause", json!({"kind": "sip-error"})), "/cause/sipStatus"),
        (terminate, with(TERMINATE, "/session", json!({"sessionId": "s-2"})), "/session/sessionId"),
        (
            terminate,
            with(
                TERMINATE,
                "/usage",
                json!([{"ratingGroup": 1, "units": {}}, {"ratingGroup": 1, "units": {}}]),
            ),
            "/usage/1",
        ),
        (Call::Interim(""), INTERIM.to_owned(), ""),
        (Call::Terminate("\u{e9}"), TERMINATE.to_owned(), ""),
        (Call::Start, "[]".to_owned(), ""),
        (Call::Start, "null".to_owned(), ""),
    ] {
        assert_eq!(pointers(call, &body), [pointer], "{body}");
    }
    // Before and after a tariff change the same rating group stands twice.
    let both = json!([
        {"ratingGroup": "chat", "units": {"seconds": 5}, "tariff": "before"},
        {"ratingGroup": "chat", "units": {"seconds": 7}, "tariff": "after"}
    ]);
    assert!(pointers(terminate, &with(TERMINATE, "/usage", both)).is_empty());
}

#[test]
fn money_is_an_exact_decimal() {
    let usage = |amount: Value, currency: Value| {
        with(
            TERMINATE,
            "/usage",
            json!([{"units": {"money": {"amount": amount, "currency": currency}}}]),
        )
    };
    for (text, digits, exponent) in [
        ("0.70", 70, -2),
        ("12", 12, 0),
        ("0", 0, 0),
        ("0.000001", 1, -6),
        ("999999999999999999", 999_999_999_999_999_999, 0),
    ] {
        let body = usage(json!(text), json!("EUR"));
        let read = body::read(Call::Terminate("s"), body.as_bytes(), &[]).expect(text);
        let Trigger::Terminate(terminate) = read else { panic!("a terminate") };
        let money = terminate.usage[0].units.money.clone().expect("money");
        assert_eq!(
            (money.digits, money.exponent, money.currency.as_str()),
            (digits, exponent, "EUR")
        );
    }
    for amount in [
        json!(0.7),
        json!(1),
        json!("-0.70"),
        json!("+1"),
        json!("1."),
        json!(".5"),
        json!("1e3"),
        json!("1,5"),
        json!(""),
        json!("1.2.3"),
        json!("1000000000000000000000"),
        json!("٣"),
    ] {
        let found = pointers(Call::Terminate("s"), &usage(amount.clone(), json!("EUR")));
        assert_eq!(found, ["/usage/0/units/money/amount"], "{amount}");
    }
    for currency in [json!("eur"), json!("EURO"), json!(978), json!("")] {
        let found = pointers(Call::Terminate("s"), &usage(json!("1"), currency.clone()));
        assert_eq!(found, ["/usage/0/units/money/currency"], "{currency}");
    }
}

#[test]
fn defaults_and_nulls_of_the_api_page() {
    let body = r#"{"eventId": "e", "kind": "message.sent", "timestamp": "2025-12-12T10:45:02Z",
        "service": "m", "subscriber": [{"type": "imsi", "value": "262070000000001"}],
        "action": null, "units": null, "role": null, "extensions": {"a": 1, "b": true, "c": 2.5, "d": null}}"#;
    let read = body::read(Call::Event, body.as_bytes(), &[]).expect("valid");
    let Trigger::Event(event) = read else { panic!("an event") };
    assert_eq!(event.action, EventAction::Debit);
    assert_eq!(event.units, Units { messages: Some(1), ..Units::default() });
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(event.content.extensions, [text("a", "1"), text("b", "true"), text("c", "2.5")]);

    let orphan = r#"{"trigger": "aborted", "timestamp": "2025-12-12T10:45:02Z", "session": {}}"#;
    let read = body::read(Call::Terminate("s-9"), orphan.as_bytes(), &[]).expect("valid");
    let Trigger::Terminate(terminate) = read else { panic!("a terminate") };
    let session = terminate.session.expect("a session");
    assert_eq!((session.session_id.as_str(), session.service), ("s-9", None));
    assert_eq!(session.timestamp, terminate.timestamp);
}

#[test]
fn all_problems_come_at_once_with_suggestions() {
    let body =
        with(&with(EVENT, "/subscriber/0/type", json!("msisdn")), "/unit", json!({"messages": 2}));
    let Err(BodyError::Invalid(problems)) = body::read(Call::Event, body.as_bytes(), &[]) else {
        panic!("refused")
    };
    let found: Vec<(&str, &str, Option<&str>)> = problems
        .iter()
        .map(|p| (p.pointer.as_str(), p.detail.as_str(), p.suggestion.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            ("/unit", "unknown field", Some("units")),
            (
                "/subscriber/0/type",
                "unknown value \"msisdn\"; expected e164, imsi, sip, nai or private",
                Some("e164")
            ),
        ]
    );
}

#[tokio::test]
async fn k_22_long_identities_and_unknown_services_are_400_with_pointer() {
    let backend = Told::answers(answered(granted()));
    let services = vec!["chat".to_owned(), "standalone-message".to_owned()];
    let port =
        port(backend.clone(), Rules { services, ..Rules::default() }, Limits::default()).await;
    let long = with(START, "/subscriber/0/value", json!("9".repeat(8_000)));
    let response = port.post("/v1/sessions", &long).await;
    assert_eq!(
        (response.status, response.pointers()),
        (400, vec!["/subscriber/0/value".to_owned()])
    );
    let unknown = with(START, "/service", json!("chta"));
    let response = port.post("/v1/sessions", &unknown).await;
    assert_eq!((response.status, response.pointers()), (400, vec!["/service".to_owned()]));
    assert_eq!(response.json()["errors"][0]["suggestion"], "chat");
    assert_eq!(response.json()["title"], "The trigger is not valid");
    assert!(backend.asked().is_empty());
    assert_eq!(port.post("/v1/sessions", START).await.status, 201);
    let text = port.metrics.render();
    assert!(text.contains(r#"farebox_api_rejections_total{reason="validation"} 2"#), "{text}");
}

#[tokio::test]
async fn fh_08_hostile_bodies_are_400_or_413() {
    let backend = Told::answers(answered(granted()));
    let port = plain_port(backend.clone()).await;
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    for (body, kind) in [
        (deep.as_str(), "malformed-json"),
        ("{\"a\": NaN}", "malformed-json"),
        ("{\"sequence\": 1e400}", "malformed-json"),
        (r#"{"service": "\ud800"}"#, "malformed-json"),
        ("{\"service\": \"\u{0}\"}", "malformed-json"),
        ("\u{feff}{}", "malformed-json"),
        ("{", "malformed-json"),
        ("", "malformed-json"),
        (r#"{"service": "\u0000"}"#, "validation-failed"),
        (r#"{"service": "chat", "service": "notification"}"#, "validation-failed"),
        (r#"{"sequence": 10000000000000000000000000000000000000000}"#, "validation-failed"),
        ("[]", "validation-failed"),
        ("7", "validation-failed"),
    ] {
        let response = port.post("/v1/sessions", body).await;
        assert_eq!((response.status, response.kind().as_str()), (400, kind), "{body:.60}");
        assert!(!response.pointers().is_empty(), "{body:.60}");
    }
    let keys: Vec<String> = (0..5_000).map(|n| format!("\"k{n}\":0")).collect();
    let response = port.post("/v1/sessions", &format!("{{{}}}", keys.join(","))).await;
    assert_eq!(response.status, 400);
    assert!(response.pointers().len() <= 100);

    let response = port.post("/v1/sessions", &" ".repeat((64 << 10) + 1)).await;
    assert_eq!((response.status, response.kind().as_str()), (413, "too-large"));
    // Announced, not sent: refused by its length alone.
    let announced = "POST /v1/sessions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                     content-length: 1073741824\r\n\r\n";
    assert_eq!(port.send(announced.as_bytes()).await.status, 413);
    let mut chunked = "POST /v1/sessions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                       transfer-encoding: chunked\r\n\r\n"
        .to_owned();
    for _ in 0..40 {
        chunked.push_str(&format!("1000\r\n{}\r\n", " ".repeat(0x1000)));
    }
    assert_eq!(port.send(chunked.as_bytes()).await.status, 413);
    for headers in [
        &[("content-type", "application/json"), ("content-encoding", "gzip")][..],
        &[("content-type", "text/plain")],
        &[],
    ] {
        let response = port.call("POST", "/v1/events", headers, EVENT).await;
        assert_eq!((response.status, response.kind().as_str()), (415, "unsupported-media-type"));
    }
    assert!(backend.asked().is_empty());
    assert_eq!(port.post("/v1/sessions", START).await.status, 201);
}

#[tokio::test]
async fn fh_09_negative_and_overflowing_units_are_400() {
    let backend = Told::answers(answered(granted()));
    let port = plain_port(backend.clone()).await;
    for value in ["-1", "-0.0", "4294967296", "18446744073709551616", "1e3", "1.0", "true"] {
        let body = TERMINATE.replace("\"seconds\": 311", &format!("\"seconds\": {value}"));
        assert_ne!(body, TERMINATE);
        let response = port.post("/v1/sessions/s-1/terminate", &body).await;
        assert_eq!(response.status, 400, "{value}");
        assert_eq!(response.pointers(), ["/usage/0/units/seconds"], "{value}");
    }
    assert!(backend.asked().is_empty());
}

/// Reads until the server closes; the bytes that came.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    // A reset is a close, too.
    let _ = tokio::time::timeout(Duration::from_secs(20), read).await.expect("closed in time");
    bytes
}

fn hasty() -> Limits {
    Limits {
        header_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(400),
        ..Limits::default()
    }
}

#[tokio::test]
async fn k_23_silent_and_slow_headers_are_closed() {
    let backend = Told::answers(answered(granted()));
    let port = port(backend, Rules::default(), hasty()).await;
    for beginning in
        ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n", "POST /v1/events HTTP/1.1\r\nhost: a"]
    {
        let mut stream = TcpStream::connect(port.address).await.expect("connected");
        stream.write_all(beginning.as_bytes()).await.expect("written");
        let bytes = until_closed(&mut stream).await;
        assert!(!bytes.starts_with(b"HTTP/1.1 2"), "{beginning:?}");
    }
    // Byte by byte: every byte comes well within the limit, the header does not.
    let stream = TcpStream::connect(port.address).await.expect("connected");
    let (mut reader, mut writer) = stream.into_split();
    let dripping = async {
        let mut drip = tokio::time::interval(Duration::from_millis(20));
        for byte in "GET /healthz HTTP/1.1\r\nx: ".bytes().chain(std::iter::repeat(b'a')) {
            drip.tick().await;
            if writer.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    };
    let closed = async {
        let mut bytes = Vec::new();
        let _ = reader.read_to_end(&mut bytes).await;
    };
    tokio::time::timeout(Duration::from_secs(20), async {
        tokio::select! { () = dripping => {}, () = closed => {} }
    })
    .await
    .expect("closed in time");
}

#[tokio::test]
async fn k_23_the_second_header_of_a_connection_is_watched_too() {
    let backend = Told::answers(answered(granted()));
    let limits = Limits { idle_timeout: Duration::from_secs(3600), ..hasty() };
    let port = port(backend, Rules::default(), limits).await;
    let mut stream = TcpStream::connect(port.address).await.expect("connected");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    let mut buffer = [0; 1024];
    let read = stream.read(&mut buffer).await.expect("an answer");
    assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost").await.expect("written");
    until_closed(&mut stream).await;
}

#[tokio::test]
async fn fh_07_idle_connections_and_slow_bodies_end() {
    let backend = Told::answers(answered(granted()));
    let rules = Rules { body_timeout: Duration::from_millis(100), ..Rules::default() };
    let port = port(backend, rules, hasty()).await;
    let mut stream = TcpStream::connect(port.address).await.expect("connected");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    assert!(until_closed(&mut stream).await.starts_with(b"HTTP/1.1 200"));

    let slow = "POST /v1/events HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    let response = port.send(slow.as_bytes()).await;
    assert_eq!((response.status, response.kind().as_str()), (408, "request-timeout"));
    assert_eq!(response.json()["code"], "FB1020");
}

#[tokio::test]
async fn fh_07_connections_are_bounded_and_places_come_back() {
    let backend = Told::answers(answered(granted()));
    let limits = Limits { connections_max: 2, ..hasty() };
    let port = port(backend, Rules::default(), limits).await;
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.push(TcpStream::connect(port.address).await.expect("in the kernel's queue"));
    }
    // Served as soon as the silent ones before it are closed.
    let response = tokio::time::timeout(Duration::from_secs(20), port.get("/healthz")).await;
    assert_eq!(response.expect("in time").status, 200);
}

#[tokio::test]
async fn http_2_is_spoken_without_tls() {
    use axum::body::Body;
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    let backend = Told::answers(answered(granted()));
    let port = plain_port(backend).await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Body>();
    let request = axum::http::Request::post(format!("http://{}/v1/events", port.address))
        .header("content-type", "application/json")
        .body(Body::from(EVENT))
        .expect("a request");
    let response = client.request(request).await.expect("an answer");
    assert_eq!(response.status(), 201);
    assert_eq!(response.version(), axum::http::Version::HTTP_2);
}

#[tokio::test]
async fn shutdown_lets_calls_in_progress_end() {
    let backend = Told::answers(answered(granted()));
    let gate = Arc::new(Notify::new());
    *backend.gate.lock().expect("not poisoned") = Some(gate.clone());
    let port = plain_port(backend.clone()).await;
    let calling = async {
        backend.entered.notified().await;
        port.stop.notify_one();
        gate.notify_one();
    };
    let (response, ()) = tokio::join!(port.post("/v1/events", EVENT), calling);
    assert_eq!(response.status, 201);
    port.served.await.expect("ended");
    assert!(TcpStream::connect(port.address).await.is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("2025-12-12T10:38:00Z")),
    ];
    let names = prop::sample::select(vec![
        "sessionId",
        "eventId",
        "timestamp",
        "service",
        "subscriber",
        "type",
        "value",
        "usage",
        "units",
        "money",
        "amount",
        "currency",
        "ratingGroup",
        "cause",
        "kind",
        "sipStatus",
        "session",
        "extensions",
        "request",
        "messages",
        "cpm",
        "sip",
        "trigger",
        "a/b~",
    ]);
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..8).prop_map(|pairs| Value::Object(
                pairs.into_iter().map(|(n, v)| (n.to_owned(), v)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn random_json_is_refused_with_pointers_that_lead_somewhere(
        body in any_json(), call in 0..4usize
    ) {
        let call = [Call::Start, Call::Interim("s"), Call::Terminate("s"), Call::Event][call];
        let text = body.to_string();
        if let Err(BodyError::Invalid(problems)) = body::read(call, text.as_bytes(), &[]) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                let parent = problem.pointer.rsplit_once('/').map_or("", |(above, _)| above);
                prop_assert!(body.pointer(parent).is_some(), "{} in {text}", problem.pointer);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = body::read(Call::Start, &bytes, &[]);
    }

    #[test]
    fn a_sample_with_one_byte_changed_never_panics(
        place in 0..START.len(), byte in any::<u8>()
    ) {
        let mut bytes = START.as_bytes().to_vec();
        bytes[place] = byte;
        let _ = body::read(Call::Start, &bytes, &[]);
    }
}
