//! Records as the API shows them, and messages that are only shown.

use farebox::api::{Limits, Rules};
use farebox::charging::outcome::{Refusal, Reply};
use farebox::config::settings::{ApiSettings, Scopes, Token};
use farebox::sim::fault::{Lost, Verb};
use serde_json::{Value, json};

use crate::api_world::*;

const START: &str = include_str!("../../examples/session-start.json");
const TERMINATE: &str = include_str!("../../examples/session-terminate.json");
const EVENT: &str = include_str!("../../examples/message-sent.json");
const SESSION: &str = "9f1c4a7e-7d0e-4c1b-9a55-0c6d0a3b2f11";

/// A gateway that charged a session and a message.
async fn charged() -> Whole {
    charged_with(Rules::default()).await
}

async fn charged_with(rules: Rules) -> Whole {
    let whole = Whole::start_with(rules).await;
    let headers = [("content-type", "application/json"), ("prefer", "wait=5")];
    let port = &whole.port;
    let started = port.call("POST", "/v1/sessions", &with_token(&headers), START).await;
    assert_eq!(started.status, 201, "{started:?}");
    let path = format!("/v1/sessions/{SESSION}/terminate");
    let ended = port.call("POST", &path, &with_token(&headers), TERMINATE).await;
    assert_eq!(ended.status, 200, "{ended:?}");
    let sent = port.call("POST", "/v1/events", &with_token(&headers), EVENT).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    whole
}

fn with_token<'h>(headers: &[(&'h str, &'h str)]) -> Vec<(&'h str, &'h str)> {
    [headers, &[("authorization", "Bearer all")]].concat()
}

async fn search(port: &Port, query: &Value) -> Value {
    let headers = with_token(&[("content-type", "application/json")]);
    let found = port.call("POST", "/v1/records/search", &headers, &query.to_string()).await;
    assert_eq!(found.status, 200, "{found:?}");
    found.json()
}

async fn get(port: &Port, path: &str) -> Value {
    let found = port.call("GET", path, &with_token(&[]), "").await;
    assert_eq!(found.status, 200, "{found:?}");
    found.json()
}

/// `CCR-T debited`.
fn words(page: &Value) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let items = page["items"].as_array().expect("items");
    items
        .iter()
        .map(|item| format!("{} {}", word(&item["command"]), word(&item["outcome"])))
        .collect()
}

#[tokio::test]
async fn records_are_found_by_what_is_known_of_them() {
    let whole = charged().await;
    let port = &whole.port;
    let all = search(port, &json!({})).await;
    let everything = [
        "ACR-START recorded",
        "CCR-I granted",
        "ACR-STOP recorded",
        "CCR-T debited",
        "ACR-EVENT recorded",
        "CCR-E debited",
    ];
    assert_eq!(words(&all), everything);
    assert_eq!(all["nextCursor"], json!(null));
    let session_id = all["items"][3]["diameter"]["sessionId"].clone();
    for (query, found) in [
        (json!({"subscriber": ANNE}), &everything[..]),
        (json!({"subscriber": "+1000"}), &[]),
        (json!({"sessionId": SESSION}), &everything[..4]),
        (json!({"eventId": "imdn-Mz4r9Yk2"}), &everything[4..]),
        (json!({"eventId": SESSION}), &[]),
        (json!({"diameterSessionId": session_id}), &["CCR-I granted", "CCR-T debited"]),
        (json!({"interface": "ch2", "outcome": "debited"}), &["CCR-T debited", "CCR-E debited"]),
        (
            json!({"state": "acknowledged", "sessionId": SESSION}),
            &["ACR-START recorded", "ACR-STOP recorded"],
        ),
        (json!({"state": "dead"}), &[]),
        (json!({"until": "2001-01-01T00:00:00Z"}), &[]),
        (json!({"since": "2001-01-01T00:00:00Z", "limit": 200}), &everything[..]),
    ] {
        let page = search(port, &query).await;
        assert_eq!(words(&page), found, "{query}");
    }
}

#[tokio::test]
async fn pages_follow_each_other_by_cursor() {
    let whole = charged().await;
    let mut cursor = Value::Null;
    let mut seen = Vec::new();
    loop {
        let page = search(&whole.port, &json!({"limit": 2, "cursor": cursor})).await;
        let items = page["items"].as_array().expect("items");
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|item| item["recordId"].clone()));
        cursor = page["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(seen.len(), 6);
    let mut sorted = seen.clone();
    sorted.sort_by_key(ToString::to_string);
    sorted.dedup();
    assert_eq!(seen, sorted);
}

#[tokio::test]
async fn a_search_that_is_none_says_why() {
    let port = plain_port(Told::answers(Reply::Refused(Refusal::Overloaded))).await;
    for (query, pointer) in [
        (json!({"msisdn": "+1"}), "/msisdn"),
        (json!({"limit": 0}), "/limit"),
        (json!({"limit": 201}), "/limit"),
        (json!({"cursor": "zzz"}), "/cursor"),
        (json!({"interface": "ch3"}), "/interface"),
        (json!({"outcome": "paid"}), "/outcome"),
        (json!({"state": "open"}), "/state"),
        (json!({"since": "today"}), "/since"),
        (json!({"sessionId": "s", "eventId": "e"}), "/eventId"),
    ] {
        let response = port.post("/v1/records/search", &query.to_string()).await;
        assert_eq!((response.status, response.kind().as_str()), (400, "validation-failed"));
        assert_eq!(response.pointers(), [pointer], "{query}");
    }
    let response = port.get("/v1/records/01KC99XQ6Z3W8M5T2R7V4N0B1C").await;
    assert_eq!((response.status, response.kind().as_str()), (404, "unknown-record"));
    let response = port.get("/v1/records/nonsense").await;
    assert_eq!((response.status, response.kind().as_str()), (404, "unknown-record"));
    let response = port.get("/v1/records/01KC99XQ6Z3W8M5T2R7V4N0B1C?view=hex").await;
    assert_eq!((response.status, response.kind().as_str()), (400, "validation-failed"));
}

fn rules(subscriber: bool) -> Rules {
    let scopes = Scopes { trigger: true, read: true, refund: true, subscriber };
    let settings =
        ApiSettings { tokens: vec![Token::new("all", "all", scopes)], ..ApiSettings::default() };
    Rules { settings, ..Rules::default() }
}

#[tokio::test]
async fn i_14_subscribers_are_masked_unless_the_token_says_otherwise() {
    for subscriber in [false, true] {
        let whole = charged_with(rules(subscriber)).await;
        let page = search(&whole.port, &json!({"sessionId": SESSION})).await;
        let item = &page["items"][3];
        let id = item["recordId"].as_str().expect("an id");
        let shown = get(&whole.port, &format!("/v1/records/{id}?view=avps")).await;
        let text = format!("{page}{shown}");
        let digits = "2025550123";
        assert_eq!(text.contains(digits), subscriber, "{text}");
        assert_eq!(text.contains("+12025•••123"), !subscriber, "{text}");
        assert_eq!(shown["message"]["hex"].is_string(), subscriber);
        let why = get(&whole.port, &format!("/v1/records/{id}?view=why")).await;
        assert!(!why["why"].to_string().contains(digits));
    }
}

#[tokio::test]
async fn view_avps_shows_the_stored_message_and_where_it_came_from() {
    let whole = charged_with(rules(true)).await;
    let page = search(&whole.port, &json!({"sessionId": SESSION})).await;
    let id = page["items"][3]["recordId"].as_str().expect("an id").to_owned();
    let shown = get(&whole.port, &format!("/v1/records/{id}?view=avps")).await;
    assert_eq!(shown["recordId"], json!(id));
    let message = &shown["message"];
    assert_eq!((&message["command"], &message["peer"]), (&json!("CCR-T"), &json!("ocs-sim")));
    let bytes = message["bytes"].as_u64().expect("a number");
    assert_eq!(
        message["hex"].as_str().map(str::len),
        Some(2 * usize::try_from(bytes).expect("small"))
    );
    let find = |list: &Value, name: &str| {
        let found = list.as_array().expect("a list").iter().find(|avp| avp["name"] == name);
        found.unwrap_or_else(|| panic!("{name} in {list}")).clone()
    };
    let service = find(&message["avps"], "Multiple-Services-Credit-Control");
    let used = find(&service["children"], "Used-Service-Unit");
    let time = find(&used["children"], "CC-Time");
    assert_eq!(time["value"], "311");
    assert_eq!(
        (&time["code"], &time["vendor"], &time["type"]),
        (&json!(420), &json!(0), &json!("Unsigned32"))
    );
    assert!(time["from"].as_str().is_some_and(|from| from.contains("units.seconds")), "{time}");
}

#[tokio::test]
async fn view_why_tells_what_is_known() {
    let whole = Whole::start().await;
    let denied = fault(Verb::Answer(5030));
    whole.ocs.add_fault(denied);
    let sent = whole.port.post("/v1/events", EVENT).await;
    assert_eq!(sent.json()["outcome"], "denied", "{sent:?}");
    let id = sent.json()["ch2"]["recordId"].as_str().expect("an id").to_owned();
    let why = get(&whole.port, &format!("/v1/records/{id}?view=why")).await;
    assert_eq!(why["outcome"], "denied");
    let story = &why["why"];
    assert_eq!(
        story["summary"],
        "CCR-E number 0 of event imdn-Mz4r9Yk2 was answered; outcome denied."
    );
    assert!(story["meaning"].as_str().is_some_and(|text| text.starts_with("5030 ")), "{story}");
    assert!(story["lookAt"].to_string().contains("Session-Id cg1.ims.example.net;"), "{story}");
}

#[tokio::test]
async fn a_record_without_an_answer_waits() {
    let whole = Whole::start().await;
    whole.ocs.add_fault(fault(Verb::Drop(Lost::Answer)));
    let headers = [("content-type", "application/json"), ("prefer", "wait=0")];
    let sent = whole.port.call("POST", "/v1/events", &headers, EVENT).await;
    assert_eq!(sent.json()["outcome"], "pending", "{sent:?}");
    let page = search(&whole.port, &json!({"state": "waiting", "interface": "ch2"})).await;
    assert_eq!(words(&page), ["CCR-E pending"]);
}

#[tokio::test]
async fn encode_shows_what_would_be_sent_and_sends_nothing() {
    let whole = Whole::start().await;
    let port = &whole.port;
    let start: Value = serde_json::from_str(START).expect("JSON");
    let terminate: Value = serde_json::from_str(TERMINATE).expect("JSON");
    let request = json!({"op": "terminate", "session": start, "body": terminate});
    let shown = port.post("/v1/encode", &request.to_string()).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    let shown = shown.json();
    let messages = shown["messages"].as_array().expect("messages");
    let commands: Vec<&str> = messages.iter().filter_map(|m| m["command"].as_str()).collect();
    assert_eq!(commands, ["ACR-Stop", "CCR-T"]);
    for message in messages {
        let keys: Vec<&String> = message.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["command", "peer", "bytes", "hex", "avps"]);
        let first = message["avps"][0].as_object().expect("an object");
        let keys: Vec<&String> = first.keys().collect();
        assert_eq!(keys, ["name", "code", "vendor", "flags", "type", "value", "from", "children"]);
        assert!(
            message["avps"].as_array().expect("AVPs").iter().all(|avp| avp["from"].is_string())
        );
    }
    let only = json!({"op": "terminate", "session": start, "body": terminate, "peer": "ocs-sim"});
    let shown = port.post("/v1/encode", &only.to_string()).await.json();
    assert_eq!(shown["messages"].as_array().map(Vec::len), Some(1));
    assert_eq!(whole.port.get(&format!("/v1/sessions/{SESSION}")).await.status, 404);
    assert!(whole.ocs.sessions().is_empty() && whole.cdf.records().is_empty());
}

#[tokio::test]
async fn encode_refuses_what_the_call_would_refuse() {
    let whole = Whole::start().await;
    let port = &whole.port;
    let start: Value = serde_json::from_str(START).expect("JSON");
    let event: Value = serde_json::from_str(EVENT).expect("JSON");
    let at = json!({"timestamp": "2025-12-12T10:40:00Z"});
    for (request, pointer) in [
        (json!({"op": "interim", "body": at}), "/session"),
        (json!({"op": "start", "session": start, "body": start}), "/session"),
        (json!({"op": "event", "body": {"eventId": "e"}}), "/body/kind"),
        (json!({"op": "event", "body": event, "peer": "ocs-sin"}), "/peer"),
        (json!({"op": "bye", "body": event}), "/op"),
    ] {
        let response = port.post("/v1/encode", &request.to_string()).await;
        assert_eq!((response.status, response.kind().as_str()), (400, "validation-failed"));
        assert!(response.pointers().contains(&pointer.to_owned()), "{response:?}");
    }
    let mut event = event;
    event["ratingGroup"] = json!("unheard-of");
    let request = json!({"op": "event", "body": event});
    let response = port.post("/v1/encode", &request.to_string()).await;
    assert_eq!((response.status, response.kind().as_str()), (422, "mapping-failed"));
}

#[tokio::test]
async fn records_ask_for_the_scope_read() {
    let scopes = Scopes { trigger: true, ..Scopes::default() };
    let settings =
        ApiSettings { tokens: vec![Token::new("all", "all", scopes)], ..ApiSettings::default() };
    let rules = Rules { settings, ..Rules::default() };
    let told = Told::answers(Reply::Refused(Refusal::Overloaded));
    let port = port(told, rules, Limits::default()).await;
    let headers = with_token(&[("content-type", "application/json")]);
    for (method, path, status) in [
        ("POST", "/v1/records/search", 403),
        ("GET", "/v1/records/01KC99XQ6Z3W8M5T2R7V4N0B1C", 403),
        ("GET", "/v1/notifications", 403),
        ("POST", "/v1/encode", 400),
    ] {
        let body = if method == "POST" { "{}" } else { "" };
        let response = port.call(method, path, &headers, body).await;
        assert_eq!(response.status, status, "{path}: {response:?}");
    }
}
