//! Many calls in one stream, and calls in CloudEvents.

use std::sync::Arc;
use std::time::Duration;

use farebox::api::{Limits, Rules};
use farebox::charging::event::Trigger;
use farebox::charging::outcome::{
    Advice, Answer, Basis, Ch1View, Ch2View, Outcome, Refusal, Reply, ServiceAdvice, SessionState,
    Subject,
};
use farebox::config::settings::{ApiSettings, Scopes, Token};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api_world::*;

const CLOUD: &str = "application/cloudevents+json";
const CLOUDS: &str = "application/cloudevents-batch+json";

fn recorded() -> Reply {
    let answer = Answer {
        subject: Subject::Session("s-1".to_owned()),
        sequence: 0,
        state: SessionState::Ended,
        outcome: Outcome::Recorded,
        basis: Basis::LocalRule,
        advice: Advice { service: ServiceAdvice::Stop, sip_status: None, stop_by: None },
        grants: Vec::new(),
        debit: None,
        ch2: Ch2View::none(),
        ch1: Ch1View::none(),
        warnings: Vec::new(),
        created: false,
    };
    Reply::Answered { answer: Box::new(answer), replayed: false }
}

fn start(id: &str) -> Value {
    json!({
        "sessionId": id, "timestamp": "2025-12-12T10:38:00Z", "service": "chat",
        "subscriber": [{"type": "e164", "value": ANNE}],
        "request": [{"units": {"seconds": 60}}],
    })
}

fn terminate(seconds: u64) -> Value {
    json!({
        "trigger": "bye-received", "timestamp": "2025-12-12T10:43:11Z",
        "usage": [{"units": {"seconds": seconds}}],
    })
}

fn event(id: &str) -> Value {
    json!({
        "eventId": id, "kind": "message.sent", "timestamp": "2025-12-12T10:45:02Z",
        "service": "standalone-message", "subscriber": [{"type": "e164", "value": ANNE}],
    })
}

fn line(op: &str, id: Option<&str>, body: &Value) -> String {
    format!("{}\n", json!({"op": op, "sessionId": id, "body": body}))
}

fn statuses(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["status"].as_u64().expect("a status")).collect()
}

#[tokio::test]
async fn a_batch_charges_each_line_in_the_order_of_its_session() {
    let whole = Whole::start().await;
    let mut text = String::new();
    for id in ["b-1", "b-2", "b-3"] {
        text.push_str(&line("start", None, &start(id)));
    }
    for id in ["b-3", "b-1", "b-2"] {
        let interim = json!({"timestamp": "2025-12-12T10:40:00Z",
            "usage": [{"units": {"seconds": 20}}], "request": [{"units": {"seconds": 60}}]});
        text.push_str(&line("interim", Some(id), &interim));
        text.push_str(&line("terminate", Some(id), &terminate(31)));
    }
    text.push_str(&line("event", None, &event("e-1")));
    let response = whole.port.batch(&text).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/x-ndjson"));
    let lines = response.lines();
    assert_eq!(statuses(&lines), [201, 201, 201, 200, 200, 200, 200, 200, 200, 200], "{lines:#?}");
    let numbers: Vec<u64> = lines.iter().filter_map(|line| line["line"].as_u64()).collect();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    assert_eq!(lines[3]["body"]["sessionId"], "b-3");
    assert_eq!(lines[3]["body"]["outcome"], "granted");
    assert_eq!(lines[4]["body"]["state"], "ended");
    assert_eq!(lines[4]["body"]["debit"]["units"][0]["units"]["seconds"], 31);
    assert_eq!(lines[9]["body"]["outcome"], "debited");
    assert!(whole.ocs.anomalies().is_empty(), "{:?}", whole.ocs.anomalies());
}

#[tokio::test]
async fn fh_11_a_bad_a_long_and_a_cut_line_cost_only_themselves() {
    let backend = Told::answers(recorded());
    let port = plain_port(backend.clone()).await;
    let good = line("terminate", Some("s-1"), &terminate(1));
    let long = format!("{{\"op\":\"{}\"}}\n", "x".repeat(100_000));
    let keyed = json!({"op": "terminate", "sessionId": "s-1", "key": "k-1", "prefer": "wait=3",
        "body": {"trigger": "bye-received"}});
    let text = format!(
        "{good}not json\n\n{good}{keyed}\n{long}{{\"op\":\"stop\",\"body\":{{}}}}\n{good}{}",
        &good[..40]
    );
    let response = port.batch(&text).await;
    let lines = response.lines();
    assert_eq!(statuses(&lines), [200, 400, 200, 400, 413, 400, 200, 400], "{lines:#?}");
    let numbers: Vec<u64> = lines.iter().filter_map(|line| line["line"].as_u64()).collect();
    assert_eq!(numbers, [1, 2, 4, 5, 6, 7, 8, 9], "a blank line has no answer");
    assert_eq!(lines[1]["problem"]["type"], "/problems/malformed-json");
    assert_eq!(lines[3]["key"], "k-1");
    assert_eq!(lines[3]["problem"]["errors"][0]["pointer"], "/body/timestamp");
    assert_eq!(lines[4]["problem"]["type"], "/problems/too-large");
    assert_eq!(lines[5]["problem"]["errors"][0]["pointer"], "/op");
    assert_eq!(lines[7]["problem"]["type"], "/problems/malformed-json");
    assert_eq!(backend.asked().len(), 3);
}

#[tokio::test]
async fn fh_11_a_batch_ends_after_ten_thousand_lines() {
    let backend = Told::answers(recorded());
    let port = plain_port(backend.clone()).await;
    let mut stream = TcpStream::connect(port.address).await.expect("connected");
    let head = "POST /v1/batch HTTP/1.1\r\nhost: cg1\r\nconnection: close\r\n\
                content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    let (mut reading, mut writing) = stream.into_split();
    let writer = tokio::spawn(async move {
        let hundred = line("terminate", Some("s-1"), &terminate(1)).repeat(100);
        let chunk = format!("{:x}\r\n{hundred}\r\n", hundred.len());
        // A million lines, as long as anybody reads them.
        for _ in 0..10_000 {
            if writing.write_all(chunk.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let mut bytes = Vec::new();
    // The server stops reading; what it wrote before is there all the same.
    let _ = reading.read_to_end(&mut bytes).await;
    writer.abort();
    let lines = parse(&bytes).lines();
    assert_eq!(lines.len(), 10_001);
    assert_eq!(lines[10_000]["line"], 10_001);
    assert_eq!(lines[10_000]["status"], 413);
    assert_eq!(backend.asked().len(), 10_000);
}

#[tokio::test]
async fn a_batch_is_streamed_both_ways() {
    let port = plain_port(Told::answers(recorded())).await;
    let mut stream = TcpStream::connect(port.address).await.expect("connected");
    let head = "POST /v1/batch HTTP/1.1\r\nhost: cg1\r\nconnection: close\r\n\
                content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut seen = Vec::new();
    for number in 1..=3 {
        let text = line("terminate", Some("s-1"), &terminate(1));
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        stream.write_all(chunk.as_bytes()).await.expect("written");
        let wanted = format!("\"line\":{number},");
        // Nothing more is sent until the answer is here.
        while !String::from_utf8_lossy(&seen).contains(&wanted) {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await.expect("an answer");
            assert_ne!(count, 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..count]);
        }
    }
}

#[tokio::test]
async fn a_silent_batch_ends_with_408() {
    let rules = Rules { stream_idle: Duration::from_millis(50), ..Rules::default() };
    let port = port(Told::answers(recorded()), rules, Limits::default()).await;
    let text = line("terminate", Some("s-1"), &terminate(1));
    let head = format!(
        "POST /v1/batch HTTP/1.1\r\nhost: cg1\r\nconnection: close\r\n\
         content-type: application/x-ndjson\r\ncontent-length: 9999\r\n\r\n{text}"
    );
    let lines = port.send(head.as_bytes()).await.lines();
    assert_eq!(statuses(&lines), [200, 408]);
}

#[tokio::test]
async fn lines_of_one_session_wait_for_each_other_and_others_do_not() {
    let backend = Told::answers(recorded());
    let gate = Arc::new(tokio::sync::Notify::new());
    *backend.gate.lock().expect("not poisoned") = Some(gate.clone());
    let port = plain_port(backend.clone()).await;
    let mut text = String::new();
    for id in ["s-1", "s-1", "s-2"] {
        text.push_str(&line("terminate", Some(id), &terminate(1)));
    }
    let address = port.address;
    let asking = tokio::spawn(async move {
        let port = Port { address, ..port };
        port.batch(&text).await
    });
    backend.entered.notified().await;
    while backend.asked().len() < 2 {
        tokio::task::yield_now().await;
    }
    let asked = backend.asked();
    let ids: Vec<&str> = asked.iter().map(|request| id_of(&request.trigger)).collect();
    assert_eq!(ids.len(), 2, "the second line of s-1 waits: {ids:?}");
    assert!(ids.contains(&"s-1") && ids.contains(&"s-2"), "{ids:?}");
    *backend.gate.lock().expect("not poisoned") = None;
    gate.notify_waiters();
    let lines = asking.await.expect("answered").lines();
    assert_eq!(statuses(&lines), [200, 200, 200]);
}

fn id_of(trigger: &Trigger) -> &str {
    match trigger {
        Trigger::Start(start) => &start.session_id,
        Trigger::Interim(interim) => &interim.session_id,
        Trigger::Terminate(terminate) => &terminate.session_id,
        Trigger::Event(event) => &event.event_id,
    }
}

#[tokio::test]
async fn a_line_has_key_preferences_and_refusals_of_its_own() {
    let backend = Told::answers(Reply::Refused(Refusal::UnknownSession));
    let scopes = Scopes { trigger: true, ..Scopes::default() };
    let settings =
        ApiSettings { tokens: vec![Token::new("cpm-1", "secret", scopes)], ..Default::default() };
    let rules = Rules { settings, ..Rules::default() };
    let port = port(backend.clone(), rules, Limits::default()).await;
    let text = format!(
        "{}\n{}\n{}\n{}\n",
        json!({"op": "terminate", "sessionId": "s-1", "key": "k 1", "prefer": "wait=7, denied=402",
            "body": terminate(1)}),
        json!({"op": "terminate", "sessionId": "s-1", "key": " k", "body": terminate(1)}),
        json!({"op": "terminate", "body": terminate(1)}),
        json!({"op": "start", "sessionId": "other", "body": start("s-1")}),
    );
    let headers = [("content-type", "application/x-ndjson"), ("authorization", "Bearer secret")];
    let lines = port.call("POST", "/v1/batch", &headers, &text).await.lines();
    assert_eq!(statuses(&lines), [404, 400, 400, 400], "{lines:#?}");
    assert_eq!(lines[0]["problem"]["instance"], "/v1/sessions/s-1/terminate");
    assert_eq!(lines[1]["problem"]["errors"][0]["pointer"], "/key");
    assert_eq!(lines[2]["problem"]["errors"][0]["pointer"], "/sessionId");
    assert_eq!(lines[3]["problem"]["errors"][0]["pointer"], "/sessionId");
    let asked = &backend.asked()[0];
    assert_eq!(asked.idempotency_key.as_deref(), Some("k 1"));
    assert_eq!((asked.prefer.wait_secs, asked.client.as_str()), (Some(7), "cpm-1"));
    let refused = port.call("POST", "/v1/batch", &headers[..1], &text).await;
    assert_eq!((refused.status, refused.kind().as_str()), (401, "unauthenticated"));
    let plain = [("content-type", "application/json"), ("authorization", "Bearer secret")];
    let refused = port.call("POST", "/v1/batch", &plain, &text).await;
    assert_eq!((refused.status, refused.kind().as_str()), (415, "unsupported-media-type"));
}

fn cloud(id: &str, kind: &str, subject: Option<&str>, data: &Value) -> Value {
    let mut event = json!({
        "specversion": "1.0", "id": id, "source": "/cpm/as1",
        "type": format!("org.openmobilealliance.cpm.{kind}"),
        "datacontenttype": "application/json", "time": "2025-12-12T10:38:00Z",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "data": data,
    });
    if let Some(subject) = subject {
        event["subject"] = json!(subject);
    }
    event
}

async fn one(port: &Port, event: &Value) -> Response {
    port.call("POST", "/v1/cloudevents", &[("content-type", CLOUD)], &event.to_string()).await
}

#[tokio::test]
async fn cloudevents_are_answered_as_the_wrapped_calls() {
    let whole = Whole::start().await;
    let port = &whole.port;
    let mut body = start("c-1");
    body.as_object_mut().expect("an object").remove("sessionId");
    let started = one(port, &cloud("1", "session.started", Some("c-1"), &body)).await;
    assert_eq!(started.status, 201, "{started:?}");
    assert_eq!(started.header("location"), Some("/v1/sessions/c-1"));
    let again = one(port, &cloud("1", "session.started", Some("c-1"), &body)).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.body, started.body);
    // Another envelope, the same body: the natural key knows it.
    let plain = port.post("/v1/sessions", &format!("  {}", start("c-1"))).await;
    assert_eq!((plain.status, plain.header("idempotency-replayed")), (201, Some("true")));
    let reused = one(port, &cloud("1", "session.terminated", Some("c-1"), &terminate(31))).await;
    assert_eq!((reused.status, reused.kind().as_str()), (422, "idempotency-key-reused"));
    let ended = one(port, &cloud("2", "session.terminated", Some("c-1"), &terminate(31))).await;
    assert_eq!(ended.status, 200, "{ended:?}");
    assert_eq!(ended.json()["outcome"], "debited");
    let mut sent = event("c-2");
    sent.as_object_mut().expect("an object").remove("kind");
    let sent = one(port, &cloud("3", "message.sent", None, &sent)).await;
    assert_eq!((sent.status, &sent.json()["outcome"]), (200, &json!("debited")));
}

#[tokio::test]
async fn a_list_of_cloudevents_is_answered_one_by_one() {
    let whole = Whole::start().await;
    let events = json!([
        cloud("1", "session.started", Some("c-1"), &start("c-1")),
        cloud("2", "session.terminated", Some("c-1"), &terminate(31)),
        {"specversion": "0.3"},
        cloud("4", "message.sent", None, &event("c-2")),
    ]);
    let headers = [("content-type", CLOUDS)];
    let port = &whole.port;
    let response = port.call("POST", "/v1/cloudevents", &headers, &events.to_string()).await;
    assert_eq!(response.status, 200, "{response:?}");
    let answers = response.json();
    let answers = answers.as_array().expect("a list");
    assert_eq!(statuses(answers), [201, 200, 400, 200], "{answers:#?}");
    assert_eq!(answers[0]["key"], "/cpm/as1 1");
    assert_eq!(answers[1]["body"]["outcome"], "debited");
    let none = port.call("POST", "/v1/cloudevents", &headers, "{}").await;
    assert_eq!((none.status, none.kind().as_str()), (400, "validation-failed"));
    let none = port.call("POST", "/v1/cloudevents", &headers, "[]").await;
    assert_eq!((none.status, none.json()), (200, json!([])));
}

#[tokio::test]
async fn a_cloudevent_that_is_none_says_why() {
    let port = plain_port(Told::answers(recorded())).await;
    let good = cloud("1", "session.terminated", Some("s-1"), &terminate(1));
    assert_eq!(one(&port, &good).await.status, 200);
    for (member, value, pointer) in [
        ("specversion", json!("0.3"), "/specversion"),
        ("id", json!(null), "/id"),
        ("id", json!(""), "/id"),
        ("source", json!("/a b"), "/source"),
        ("type", json!("com.example.other"), "/type"),
        ("subject", json!(null), "/subject"),
        ("datacontenttype", json!("application/xml"), "/datacontenttype"),
        ("data_base64", json!("e30="), "/data_base64"),
        ("data", json!(null), "/data"),
        ("data", json!({"trigger": "bye-received"}), "/data/timestamp"),
        ("time", json!("yesterday"), "/time"),
    ] {
        let mut event = good.clone();
        event[member] = value;
        let response = one(&port, &event).await;
        assert_eq!(response.status, 400, "{member}: {response:?}");
        assert!(response.pointers().contains(&pointer.to_owned()), "{member}: {response:?}");
    }
    let other = cloud("1", "session.started", Some("s-2"), &start("s-1"));
    assert_eq!(one(&port, &other).await.pointers(), ["/data/sessionId"]);
    let other = cloud("1", "message.received", None, &event("e-1"));
    assert_eq!(one(&port, &other).await.pointers(), ["/data/kind"]);
}
