//! What the CPM server is told without having asked, by stream and by webhook.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use farebox::api::Rules;
use farebox::api::webhook::Patience;
use farebox::charging::io::{Notice, NoticeKind};
use farebox::charging::notice::MustDo;
use farebox::charging::outcome::{Refusal, Reply, SessionState, Subject};
use farebox::clock::Wall;
use farebox::config::settings::ApiSettings;
use farebox::sim::fault::{Sessions, Verb};
use farebox::store::RecordId;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::api_world::*;

const START: &str = include_str!("../../examples/session-start.json");
const EVENT: &str = include_str!("../../examples/message-sent.json");
const SESSION: &str = "9f1c4a7e-7d0e-4c1b-9a55-0c6d0a3b2f11";
/// Only a failing test waits for it.
const LONG: Duration = Duration::from_secs(20);

/// A client of the stream.
struct Listener {
    stream: TcpStream,
    seen: String,
}

#[derive(Debug)]
struct Event {
    id: String,
    kind: String,
    cloud: Value,
}

impl Listener {
    async fn open(port: &Port, last: Option<&str>) -> Listener {
        let mut stream = TcpStream::connect(port.address).await.expect("connected");
        let last = last.map_or(String::new(), |id| format!("last-event-id: {id}\r\n"));
        let head = format!("GET /v1/notifications HTTP/1.1\r\nhost: cg1\r\n{last}\r\n");
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut listener = Listener { stream, seen: String::new() };
        // From here on nothing is missed.
        let begun = listener.until("retry: 1000\n\n").await;
        assert!(listener.seen.starts_with("HTTP/1.1 200"), "{}", listener.seen);
        assert!(listener.seen.contains("content-type: text/event-stream"), "{}", listener.seen);
        listener.seen.drain(..begun);
        listener
    }

    async fn until(&mut self, text: &str) -> usize {
        let reading = async {
            loop {
                if let Some(at) = self.seen.find(text) {
                    return at;
                }
                let mut buffer = [0; 4096];
                let count = self.stream.read(&mut buffer).await.expect("open");
                assert_ne!(count, 0, "ended: {}", self.seen);
                self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        };
        tokio::time::timeout(LONG, reading).await.expect("told in time")
    }

    async fn next(&mut self) -> Event {
        let begin = self.until("id: ").await;
        self.seen.drain(..begin);
        let end = self.until("\n\n").await;
        let text: String = self.seen.drain(..end + 2).collect();
        let member = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} in {text}")).trim().to_owned()
        };
        let cloud = serde_json::from_str(&member("data:")).expect("JSON");
        Event { id: member("id:"), kind: member("event:"), cloud }
    }
}

#[tokio::test]
async fn a_pending_result_is_told_when_it_is_decided() {
    let whole = Whole::start().await;
    let mut listener = Listener::open(&whole.port, None).await;
    let headers = [("content-type", "application/json"), ("prefer", "wait=0")];
    let sent = whole.port.call("POST", "/v1/events", &headers, EVENT).await;
    assert_eq!(sent.json()["outcome"], "pending", "{sent:?}");
    let event = listener.next().await;
    assert_eq!(event.kind, "farebox.outcome");
    let cloud = &event.cloud;
    assert_eq!((&cloud["specversion"], &cloud["id"]), (&json!("1.0"), &json!(event.id)));
    assert_eq!(cloud["source"], "/farebox/cg1.ims.example.net");
    assert_eq!(
        (&cloud["type"], &cloud["subject"]),
        (&json!("farebox.outcome"), &json!("imdn-Mz4r9Yk2"))
    );
    let data = &cloud["data"];
    assert_eq!((&data["sessionId"], &data["eventId"]), (&json!(null), &json!("imdn-Mz4r9Yk2")));
    assert_eq!((&data["outcome"], &data["basis"]), (&json!("debited"), &json!("ocs")));
    assert_eq!((&data["mustDo"], &data["by"]), (&json!(null), &json!(null)));
    assert_eq!(data["record"]["command"], "CCR-E");

    let second = EVENT.replace("imdn-Mz4r9Yk2", "second");
    whole.port.call("POST", "/v1/events", &headers, &second).await;
    let next = listener.next().await;
    drop(listener);
    let mut again = Listener::open(&whole.port, Some(&event.id)).await;
    assert_eq!(again.next().await.id, next.id, "what came after the last one seen");
}

#[tokio::test]
async fn a_dead_letter_is_told() {
    let whole = Whole::start().await;
    whole.cdf.add_fault(fault(Verb::Answer(5004)));
    let mut listener = Listener::open(&whole.port, None).await;
    whole.port.post("/v1/sessions", START).await;
    let event = listener.next().await;
    assert_eq!(event.kind, "farebox.record.dead");
    assert_eq!(event.cloud["data"]["sessionId"], SESSION);
    assert_eq!(event.cloud["data"]["record"]["result"]["code"], 5004);
}

#[tokio::test]
async fn an_abort_of_the_ocs_says_what_to_do_and_by_when() {
    let whole = Whole::start().await;
    let mut listener = Listener::open(&whole.port, None).await;
    let started = whole.port.post("/v1/sessions", START).await;
    assert_eq!(started.status, 201, "{started:?}");
    assert_eq!(whole.ocs.send_asr(&Sessions::Any), 1);
    let event = listener.next().await;
    assert_eq!(event.kind, "farebox.abort");
    let data = &event.cloud["data"];
    assert_eq!((&data["sessionId"], &data["mustDo"]), (&json!(SESSION), &json!("stop")));
    assert!(data["by"].as_str().and_then(Wall::parse).is_some(), "{data}");
}

#[tokio::test]
async fn the_stream_ends_when_the_instance_stops() {
    let whole = Whole::start().await;
    let mut listener = Listener::open(&whole.port, None).await;
    whole.gateway.handle.drain();
    let mut rest = Vec::new();
    let ended = async {
        // The connection stays for the next call; the answer has its last chunk.
        while !String::from_utf8_lossy(&rest).contains("\r\n0\r\n\r\n")
            && !rest.starts_with(b"0\r\n")
        {
            let mut buffer = [0; 1024];
            let count = listener.stream.read(&mut buffer).await.expect("open");
            if count == 0 {
                break;
            }
            rest.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(LONG, ended).await.expect("it ends");
}

// notifyUri.

/// A receiver that answers as it is told, one connection after the other.
struct Receiver {
    origin: String,
    /// Status lines, the last for ever.
    answers: Arc<Mutex<Vec<String>>>,
    got: mpsc::UnboundedReceiver<(String, Value)>,
}

async fn receiver(answers: &[&str]) -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let answers: Vec<String> = answers.iter().map(|&text| text.to_owned()).collect();
    let answers = Arc::new(Mutex::new(answers));
    let (sender, got) = mpsc::unbounded_channel();
    let told = answers.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let answer = {
                let mut told = told.lock().expect("not poisoned");
                if told.len() > 1 { told.remove(0) } else { told[0].clone() }
            };
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut text = String::new();
                let whole = loop {
                    let mut buffer = [0; 8192];
                    let count = stream.read(&mut buffer).await.unwrap_or(0);
                    text.push_str(&String::from_utf8_lossy(&buffer[..count]));
                    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
                    if let Ok(json) = serde_json::from_str(body) {
                        break (head.to_owned(), json);
                    }
                    if count == 0 {
                        return;
                    }
                };
                let _ = sender.send(whole);
                if answer == "silence" {
                    std::future::pending::<()>().await;
                }
                let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    Receiver { origin: format!("http://{address}"), answers, got }
}

impl Receiver {
    async fn next(&mut self) -> (String, Value) {
        tokio::time::timeout(LONG, self.got.recv()).await.expect("in time").expect("running")
    }

    /// Nothing more comes while `millis` pass: there is nothing else to wait for.
    async fn nothing_for(&mut self, millis: u64) {
        let more = tokio::time::timeout(Duration::from_millis(millis), self.got.recv()).await;
        assert!(more.is_err(), "{more:?}");
    }
}

fn rules(allow: &[&str]) -> Rules {
    let allow = allow.iter().map(|&origin| origin.to_owned()).collect();
    Rules {
        settings: ApiSettings { notify_allow: allow, ..ApiSettings::default() },
        notify: Patience {
            attempt: Duration::from_millis(300),
            first_pause: Duration::from_millis(10),
            longest_pause: Duration::from_millis(20),
            give_up: Duration::from_millis(400),
        },
        ..Rules::default()
    }
}

fn notice(uri: &str) -> Arc<Notice> {
    Arc::new(Notice {
        id: RecordId([7; 16]),
        kind: NoticeKind::Abort,
        subject: Subject::Session("s-1".to_owned()),
        at: Wall::parse("2025-12-12T10:43:11Z").expect("a time"),
        must_do: Some(MustDo::Stop),
        by: Wall::parse("2025-12-12T10:43:16Z"),
        state: SessionState::Open,
        decision: None,
        record: None,
        notify_uri: Some(uri.to_owned()),
    })
}

/// A port whose notifications the test makes.
async fn telling(allow: &[&str]) -> (Arc<Told>, Port) {
    let told = Told::answers(Reply::Refused(Refusal::Overloaded));
    let port = port(told.clone(), rules(allow), farebox::api::Limits::default()).await;
    (told, port)
}

#[tokio::test]
async fn a_notify_uri_gets_the_cloudevent() {
    let mut receiver = receiver(&["204 No Content"]).await;
    let (told, _port) = telling(&[&receiver.origin]).await;
    told.notices.send(notice(&format!("{}/charging/notify?a=1", receiver.origin))).expect("heard");
    let (head, cloud) = receiver.next().await;
    assert!(head.starts_with("POST /charging/notify?a=1 HTTP/1.1"), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-type: application/cloudevents+json"));
    assert_eq!(cloud["type"], "farebox.abort");
    assert_eq!(
        cloud["data"],
        json!({"sessionId": "s-1", "mustDo": "stop", "by": "2025-12-12T10:43:16Z", "state": "open"})
    );
    receiver.nothing_for(100).await;
}

#[tokio::test]
async fn fh_12_what_fails_is_tried_again_until_it_is_too_old() {
    let mut receiver = receiver(&["503 Busy", "silence", "500 Oops", "200 OK"]).await;
    let (told, _port) = telling(&[&receiver.origin]).await;
    told.notices.send(notice(&receiver.origin)).expect("heard");
    for _ in 0..4 {
        assert_eq!(receiver.next().await.1["id"], "070W3GE1R70W3GE1R70W3GE1R7");
    }
    receiver.nothing_for(100).await;

    *receiver.answers.lock().expect("not poisoned") = vec!["500 Oops".to_owned()];
    told.notices.send(notice(&receiver.origin)).expect("heard");
    let mut tries = 0;
    while tokio::time::timeout(Duration::from_millis(300), receiver.got.recv()).await.is_ok() {
        tries += 1;
    }
    assert!((2..=45).contains(&tries), "{tries} tries in 400 ms, the last pauses 20 ms apart");
}

#[tokio::test]
async fn fh_12_redirects_and_refusals_are_final() {
    let mut other = receiver(&["200 OK"]).await;
    for answer in [&format!("302 Found\r\nlocation: {}/", other.origin), "410 Gone", "401 No"] {
        let mut receiver = receiver(&[answer]).await;
        let (told, _port) = telling(&[&receiver.origin, &other.origin]).await;
        told.notices.send(notice(&receiver.origin)).expect("heard");
        receiver.next().await;
        receiver.nothing_for(100).await;
    }
    other.nothing_for(1).await;
}

#[tokio::test]
async fn fh_12_sec_11_no_other_origin_is_ever_called() {
    let mut allowed = receiver(&["200 OK"]).await;
    let mut other = receiver(&["200 OK"]).await;
    let (told, port) = telling(&[&allowed.origin, "http://169.254.169.254"]).await;
    told.notices.send(notice("http://169.254.169.254/latest/meta-data")).expect("heard");
    told.notices.send(notice(&other.origin)).expect("heard");
    let ourselves = format!("http://{}/v1/events", port.address);
    told.notices.send(notice(&ourselves)).expect("heard");
    told.notices.send(notice(&allowed.origin)).expect("heard");
    allowed.next().await;
    other.nothing_for(50).await;
    assert!(told.asked().is_empty());

    let start = START.replace("https://as1.cpm.example.net", &other.origin);
    let refused = port.post("/v1/sessions", &start).await;
    assert_eq!((refused.status, refused.pointers()), (400, vec!["/notifyUri".to_owned()]));
    let start = START.replace("https://as1.cpm.example.net", &allowed.origin);
    assert_eq!(port.post("/v1/sessions", &start).await.status, 503, "it reached the backend");
}

#[tokio::test]
async fn the_session_names_the_address() {
    let mut receiver = receiver(&["200 OK"]).await;
    let whole = Whole::start_with(rules(&[&receiver.origin])).await;
    let start = START.replace("https://as1.cpm.example.net", &receiver.origin);
    let started = whole.port.post("/v1/sessions", &start).await;
    assert_eq!(started.status, 201, "{started:?}");
    whole.ocs.send_rar(&Sessions::Any, None);
    let (head, cloud) = receiver.next().await;
    assert!(head.starts_with("POST /charging/notify "), "{head}");
    assert_eq!(
        (&cloud["type"], &cloud["data"]["mustDo"]),
        (&json!("farebox.reauthorize"), &json!("report"))
    );
}
