//! The committed documents, held against the code and against what the port says.

use std::collections::BTreeSet;
use std::path::PathBuf;

use farebox::api::body::{Call, read};
use farebox::api::openapi;
use farebox::charging::outcome::{Refusal, Reply};
use farebox::clock::Wall;
use serde_json::{Value, json};

use crate::api_world::*;

const START: &str = include_str!("../../examples/session-start.json");
const INTERIM: &str = include_str!("../../examples/session-interim.json");
const TERMINATE: &str = include_str!("../../examples/session-terminate.json");
const EVENT: &str = include_str!("../../examples/message-sent.json");
const SESSION: &str = "9f1c4a7e-7d0e-4c1b-9a55-0c6d0a3b2f11";

fn committed(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "{name} differs from the code: run this test with UPDATE=1");
}

#[test]
fn the_committed_documents_are_those_of_the_code() {
    committed("openapi.json", &openapi::text());
    committed("asyncapi.yaml", &serde_yaml::to_string(&openapi::asyncapi()).expect("YAML"));
}

#[tokio::test]
async fn every_call_of_the_document_is_served_and_no_other_method() {
    let port = plain_port(Told::answers(Reply::Refused(Refusal::Overloaded))).await;
    let document = openapi::document();
    for (path, calls) in document["paths"].as_object().expect("paths") {
        let path = path.replace("{sessionId}", "s-1").replace("{recordId}", "0");
        let path = path.replace("{name}", "internal");
        let methods: BTreeSet<&str> =
            calls.as_object().expect("calls").keys().map(String::as_str).collect();
        let other = if methods.contains("get") { "POST" } else { "GET" };
        assert_eq!(port.call(other, &path, &[], "").await.status, 405, "{other} {path}");
        for method in methods.iter().filter(|_| path != "/v1/notifications") {
            let response = port.call(&method.to_uppercase(), &path, &[], "").await;
            assert_ne!(response.status, 405, "{method} {path}");
            let unknown =
                response.status == 404 && response.json()["type"] == "/problems/not-found";
            assert!(!unknown, "{method} {path}");
        }
    }
    let served = port.get("/openapi.json").await;
    assert_eq!(served.body, openapi::text().into_bytes());
    let page = port.get("/docs").await;
    let text = String::from_utf8(page.body.clone()).expect("UTF-8");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let foreign = text.matches("http").count() - text.matches("http://127.0.0.1:8868").count();
    assert_eq!(foreign, 0, "the page needs no other host");
}

// A validator of what the document uses; `open`: may there be members that it does not name?

struct Validator<'d> {
    document: &'d Value,
    open: bool,
}

impl Validator<'_> {
    fn of(&self, name: &str, value: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        self.check(&schema, value, "", &mut wrong);
        wrong
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
        if let Some(reference) = schema["$ref"].as_str() {
            let schema = self.document.pointer(&reference[1..]).expect("a component");
            return self.check(schema, value, at, wrong);
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            let fits = |choice: &Value| {
                let mut inner = Vec::new();
                self.check(choice, value, at, &mut inner);
                inner.is_empty()
            };
            if !choices.iter().any(fits) {
                wrong.push(format!("{at}: none of the choices fits {value}"));
            }
            return;
        }
        let kinds: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => return,
        };
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let fits = kinds.contains(&kind) || (kind == "integer" && kinds.contains(&"number"));
        if !fits {
            return wrong.push(format!("{at}: {value} is no {kinds:?}"));
        }
        if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
            wrong.push(format!("{at}: {value} is none of {}", schema["enum"]));
        }
        if !schema["const"].is_null() && schema["const"] != *value {
            wrong.push(format!("{at}: {value} is not {}", schema["const"]));
        }
        match value {
            Value::Number(number) => {
                let beyond = |limit: &Value, sign: f64| {
                    limit.as_f64().zip(number.as_f64()).is_some_and(|(l, n)| (n - l) * sign > 0.0)
                };
                if beyond(&schema["minimum"], -1.0) || beyond(&schema["maximum"], 1.0) {
                    wrong.push(format!("{at}: {value} is out of range"));
                }
            }
            Value::String(text) => self.text(schema, text, at, wrong),
            Value::Array(items) => {
                let count = items.len() as u64;
                let most = schema["maxItems"].as_u64().unwrap_or(u64::MAX);
                if count < schema["minItems"].as_u64().unwrap_or(0) || count > most {
                    wrong.push(format!("{at}: {count} items"));
                }
                for (index, item) in items.iter().enumerate() {
                    self.check(&schema["items"], item, &format!("{at}/{index}"), wrong);
                }
            }
            Value::Object(members) => {
                for name in schema["required"].as_array().into_iter().flatten() {
                    if !members.contains_key(name.as_str().expect("a name")) {
                        wrong.push(format!("{at}: {name} is missing"));
                    }
                }
                for (name, member) in members {
                    let at = format!("{at}/{name}");
                    match (schema["properties"].get(name), &schema["additionalProperties"]) {
                        (Some(schema), _) => self.check(schema, member, &at, wrong),
                        (None, Value::Object(_)) => {
                            self.check(&schema["additionalProperties"], member, &at, wrong);
                        }
                        (None, Value::Bool(false)) => wrong.push(format!("{at}: unknown")),
                        (None, _) if !self.open => wrong.push(format!("{at}: not in the document")),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn text(&self, schema: &Value, text: &str, at: &str, wrong: &mut Vec<String>) {
        let count = text.chars().count() as u64;
        let most = schema["maxLength"].as_u64().unwrap_or(u64::MAX);
        if count < schema["minLength"].as_u64().unwrap_or(0) || count > most {
            wrong.push(format!("{at}: {count} characters"));
        }
        if schema["format"] == "date-time" && Wall::parse(text).is_none() {
            wrong.push(format!("{at}: {text} is no time"));
        }
        let fits = match schema["pattern"].as_str() {
            Some("^[^\\u0000]*$") => !text.contains('\0'),
            Some("^[ -~]*$") => text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)),
            Some("^[A-Z]{3}$") => text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase()),
            Some(pattern) if pattern.starts_with("^[^\\u0000-") => {
                !text.chars().any(char::is_control)
            }
            Some(pattern) if pattern.starts_with("^[0-9]{1,18}") => {
                !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            }
            Some(pattern) if pattern.starts_with("^https?") => text.starts_with("http"),
            _ => true,
        };
        if !fits {
            wrong.push(format!("{at}: {text:?} does not fit {}", schema["pattern"]));
        }
    }
}

/// Every place of a body, replaced by every probe: reader and document say the same.
fn probe(name: &str, call: Call<'_>, body: &Value) {
    let document = openapi::document();
    let validator = Validator { document: &document, open: false };
    let probes = [
        json!(null),
        json!(true),
        json!(0),
        json!(7),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("x"),
        json!("\u{0}"),
        json!("x".repeat(9_000)),
        json!([]),
        json!(["x"]),
        json!({}),
        json!({"x": 1}),
        json!([{}]),
    ];
    let agree = |body: &Value, what: &str| {
        let accepted = read(call, body.to_string().as_bytes(), &[]);
        let valid = validator.of(name, body);
        assert_eq!(accepted.is_ok(), valid.is_empty(), "{name} {what}: {accepted:?} {valid:?}");
    };
    agree(body, "as it is");
    let mut pointers = Vec::new();
    walk(body, String::new(), &mut pointers);
    for pointer in pointers {
        for probe in &probes {
            let mut changed = body.clone();
            *changed.pointer_mut(&pointer).expect("a place") = probe.clone();
            agree(
                &changed,
                &format!("{pointer} = {}", probe.to_string().chars().take(40).collect::<String>()),
            );
        }
        let (above, last) = pointer.rsplit_once('/').expect("a place");
        let mut removed = body.clone();
        if let Some(Value::Object(members)) = removed.pointer_mut(above) {
            let value = members.remove(last).expect("there");
            agree(&removed, &format!("without {pointer}"));
            if let Some(Value::Object(members)) = removed.pointer_mut(above) {
                members.insert(format!("{last}x"), value);
            }
            agree(&removed, &format!("{pointer} misspelt"));
        }
    }
}

fn walk(value: &Value, at: String, out: &mut Vec<String>) {
    if !at.is_empty() {
        out.push(at.clone());
    }
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| walk(value, format!("{at}/{name}"), out));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| walk(item, format!("{at}/{i}"), out));
        }
        _ => {}
    }
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn reader_and_document_agree_on_every_field() {
    let mut start = json_of(START);
    start["extensions"] = json!({"acmeCampaign": "summer"});
    start["request"][0]["units"] = json!({"seconds": 600, "messages": 1, "inputBytes": 1,
        "outputBytes": 2, "money": {"amount": "0.70", "currency": "EUR"}});
    start["sip"]["requestTimestamp"] = json!("2025-12-12T10:38:00Z");
    probe("Start", Call::Start, &start);
    probe("Interim", Call::Interim("s-1"), &json_of(INTERIM));
    let mut terminate = json_of(TERMINATE);
    terminate["session"] = json_of(START);
    terminate["session"].as_object_mut().expect("an object").remove("sessionId");
    probe("Terminate", Call::Terminate("s-1"), &terminate);
    probe("Event", Call::Event, &json_of(EVENT));
}

#[tokio::test]
async fn what_the_port_answers_is_in_the_document() {
    let whole = Whole::start().await;
    let port = &whole.port;
    let document = openapi::document();
    let holds = |name: &str, response: &Response| {
        let validator = Validator { document: &document, open: false };
        let wrong = validator.of(name, &response.json());
        assert!(wrong.is_empty(), "{name}: {wrong:#?} in {}", response.json());
    };
    holds("Answer", &port.post("/v1/sessions", START).await);
    holds("Session", &port.get(&format!("/v1/sessions/{SESSION}")).await);
    holds("Answer", &port.post(&format!("/v1/sessions/{SESSION}/interim"), INTERIM).await);
    holds("Answer", &port.post(&format!("/v1/sessions/{SESSION}/terminate"), TERMINATE).await);
    holds("Answer", &port.post("/v1/events", EVENT).await);
    holds("Session", &port.get(&format!("/v1/sessions/{SESSION}")).await);
    holds(
        "Problem",
        &port
            .post(&format!("/v1/sessions/{SESSION}/interim"), INTERIM.replace("1,", "9,").as_str())
            .await,
    );
    holds("Problem", &port.post("/v1/sessions", "{}").await);
    holds("Problem", &port.post("/v1/sessions", "{").await);
    holds("Health", &port.get("/healthz").await);
    let page = port.post("/v1/records/search", "{}").await;
    holds("RecordPage", &page);
    for item in page.json()["items"].as_array().expect("items") {
        let id = item["recordId"].as_str().expect("an id");
        for view in ["", "?view=avps", "?view=why"] {
            holds("Record", &port.get(&format!("/v1/records/{id}{view}")).await);
        }
    }
    let encode = json!({"op": "event", "body": json_of(EVENT)});
    holds("Encoded", &port.post("/v1/encode", &encode.to_string()).await);
    let line = json!({"op": "event", "body": json_of(EVENT)}).to_string();
    let validator = Validator { document: &document, open: false };
    for answer in port.batch(&format!("{line}\n{{}}\n")).await.lines() {
        let wrong = validator.of("BatchAnswer", &answer);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
