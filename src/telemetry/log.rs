//! The log: one line per event on standard error, text on a terminal and JSON elsewhere.
//!
//! Keys come in one order: `ts level event msg peer record op outcome result_code ms config`, then
//! the others. Whatever looks like a subscriber identity is masked. A line that comes again within
//! ten seconds is counted instead, and told once more with its count.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::events::LogEvent;
use super::mask::mask_text;
use crate::clock;
use crate::clock::Now;

/// Keys that come first, in this order; `ts` and `level` stand before them.
pub const KEYS: &[&str] =
    &["event", "msg", "peer", "record", "op", "outcome", "result_code", "ms", "config"];
/// A line is told again only after this time.
const COLLAPSE: Duration = Duration::from_secs(10);
/// Different lines that are remembered for that.
const COLLAPSE_LINES: usize = 256;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

/// May subscriber identities be read?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subscribers {
    /// `+12025•••123`.
    #[default]
    Masked,
    /// `log: {subscriber: clear}`.
    Clear,
}

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The filter cannot be read.
    #[error("log filter `{filter}`: {source}")]
    Filter {
        /// As given.
        filter: String,
        /// The reason.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging has begun already.
    #[error("logging was set up before: {0}")]
    Twice(#[from] TryInitError),
}

/// Begins to log to standard error what `filter` lets through (`info`, `peer=debug,info`).
///
/// # Errors
/// A filter that cannot be read, or a second call.
pub fn init(format: Format, filter: &str, subscribers: Subscribers) -> Result<(), InitError> {
    let directives = EnvFilter::builder().parse(filter);
    let directives =
        directives.map_err(|source| InitError::Filter { filter: filter.to_owned(), source })?;
    let stderr = std::io::stderr();
    let json = match format {
        Format::Json => true,
        Format::Text => false,
        Format::Auto => !stderr.is_terminal(),
    };
    let lines = Lines::new(json, subscribers, Box::new(stderr));
    tracing_subscriber::registry().with(directives).with(lines).try_init()?;
    Ok(())
}

/// What a line may say beside event and message.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // The keys of the log.
pub struct Fields<'a> {
    pub peer: Option<&'a str>,
    pub record: Option<&'a str>,
    pub session: Option<&'a str>,
    pub op: Option<&'a str>,
    pub outcome: Option<&'a str>,
    pub result_code: Option<u32>,
    pub ms: Option<u64>,
    pub config: Option<&'a str>,
    pub row: Option<&'a str>,
    pub reason: Option<&'a str>,
    pub count: Option<u64>,
}

/// Logs an event of the table.
pub fn emit(event: LogEvent, fields: Fields<'_>, message: &str) {
    let Fields { peer, record, session, op, outcome, result_code, ms, config, .. } = fields;
    let Fields { row, reason, count, .. } = fields;
    macro_rules! at {
        ($level:expr) => {
            tracing::event!(target: "farebox", $level, event = event.name(), peer, record, op,
                outcome, result_code, ms, config, session, row, reason, count, "{message}")
        };
    }
    match event.level() {
        Level::ERROR => at!(Level::ERROR),
        Level::WARN => at!(Level::WARN),
        Level::INFO => at!(Level::INFO),
        Level::DEBUG => at!(Level::DEBUG),
        _ => at!(Level::TRACE),
    }
}

/// Writes one line per event.
pub struct Lines {
    json: bool,
    subscribers: Subscribers,
    out: Mutex<Out>,
}

struct Out {
    writer: Box<dyn Write + Send>,
    seen: BTreeMap<String, Repeat>,
}

#[derive(Clone, Copy)]
struct Repeat {
    first: Now,
    again: u64,
}

impl Lines {
    /// Lines into `writer`.
    pub fn new(json: bool, subscribers: Subscribers, writer: Box<dyn Write + Send>) -> Lines {
        let out = Out { writer, seen: BTreeMap::new() };
        Lines { json, subscribers, out: Mutex::new(out) }
    }

    fn put(&self, level: Level, fields: Map<String, Value>, now: Now) {
        let body = if self.json { json_body(level, &fields) } else { text_body(level, &fields) };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        for (line, again) in out.told_again(now) {
            self.line(&mut out, &line, again);
        }
        if level <= Level::INFO {
            if let Some(repeat) = out.seen.get_mut(&body) {
                repeat.again += 1;
                return;
            }
            if out.seen.len() < COLLAPSE_LINES {
                out.seen.insert(body.clone(), Repeat { first: now, again: 0 });
            }
        }
        self.line(&mut out, &body, 0);
    }

    fn line(&self, out: &mut Out, body: &str, again: u64) {
        let ts = clock::wall();
        let line = match (self.json, again) {
            (true, 0) => format!("{{\"ts\":\"{ts}\",{body}}}\n"),
            (true, again) => format!("{{\"ts\":\"{ts}\",{body},\"repeated\":{again}}}\n"),
            (false, 0) => format!("{ts} {body}\n"),
            (false, again) => format!("{ts} {body} repeated={again}\n"),
        };
        // A full disk of logs must not stop charging (FD-14).
        let _ = out.writer.write_all(line.as_bytes());
    }
}

impl Out {
    /// Forgets the lines whose time is over; those that came again are to be told.
    fn told_again(&mut self, now: Now) -> Vec<(String, u64)> {
        let mut told = Vec::new();
        self.seen.retain(|line, repeat| {
            let over = now.since(repeat.first) >= COLLAPSE;
            if over && repeat.again > 0 {
                told.push((line.clone(), repeat.again));
            }
            !over
        });
        told
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut visitor = Visitor { clear: self.subscribers == Subscribers::Clear, fields: vec![] };
        event.record(&mut visitor);
        let metadata = event.metadata();
        let mut given = visitor.fields;
        if !given.iter().any(|(key, _)| *key == "event") {
            // A library's event has no name; its target tells where it comes from.
            given.push(("event", Value::from(metadata.target())));
        }
        let mut fields = Map::new();
        for key in KEYS {
            if let Some((_, value)) = given.iter().find(|(given, _)| given == key) {
                fields.insert((*key).to_owned(), value.clone());
            }
        }
        for (key, value) in given {
            fields.entry(key.to_owned()).or_insert(value);
        }
        self.put(*metadata.level(), fields, clock::now());
    }
}

struct Visitor {
    clear: bool,
    fields: Vec<(&'static str, Value)>,
}

impl Visitor {
    fn add(&mut self, field: &Field, value: Value) {
        let key = match field.name() {
            "message" => "msg",
            name => name,
        };
        self.fields.push((key, value));
    }
}

impl Visit for Visitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value = if self.clear { value.into() } else { mask_text(value) };
        self.add(field, Value::from(value.as_ref()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::from(value));
    }
}

/// Everything behind `ts`, without the outer braces.
fn json_body(level: Level, fields: &Map<String, Value>) -> String {
    let mut out = format!("\"level\":\"{level}\"");
    for (key, value) in fields {
        // Writing into a String cannot fail.
        let _ = write!(out, ",{}:{value}", Value::from(key.as_str()));
    }
    out
}

/// `WARN  peer.suspect  peer=ocs-a row=WD-13  what happened`.
fn text_body(level: Level, fields: &Map<String, Value>) -> String {
    let word = |key| fields.get(key).and_then(Value::as_str).unwrap_or("");
    let mut out = format!("{level:5} {}", one_line(word("event")));
    for (key, value) in fields {
        let _ = match value {
            _ if key == "event" || key == "msg" => Ok(()),
            Value::String(text) if is_plain(text) => write!(out, " {key}={text}"),
            value => write!(out, " {key}={value}"),
        };
    }
    if !word("msg").is_empty() {
        let _ = write!(out, "  {}", one_line(word("msg")));
    }
    out
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"')
}

/// A peer's text may hold line breaks; a line of the log may not (it would forge another line).
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("the buffer").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What `write` logs, line by line, without its time.
    fn logged(json: bool, subscribers: Subscribers, write: impl FnOnce()) -> Vec<String> {
        let buffer = Buffer::default();
        let lines = Lines::new(json, subscribers, Box::new(buffer.clone()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), write);
        let bytes = buffer.0.lock().expect("the buffer").clone();
        let text = String::from_utf8(bytes).expect("utf-8");
        let untimed = |line: &str| {
            let (ts, rest) = line.split_once('Z').expect("a time");
            assert!(ts.ends_with(|digit: char| digit.is_ascii_digit()), "{line}");
            rest.trim_start_matches(['"', ',', ' ']).to_owned()
        };
        text.lines().map(untimed).collect()
    }

    fn suspect() {
        let fields = Fields {
            row: Some("WD-13"),
            peer: Some("ocs-a"),
            ms: Some(5_000),
            ..Fields::default()
        };
        emit(LogEvent::PeerSuspect, fields, "two watchdogs without an answer");
    }

    #[test]
    fn lines_have_their_keys_in_one_order() {
        assert_eq!(
            logged(true, Subscribers::Masked, suspect),
            ["level\":\"WARN\",\"event\":\"peer.suspect\",\
              \"msg\":\"two watchdogs without an answer\",\
              \"peer\":\"ocs-a\",\"ms\":5000,\"row\":\"WD-13\"}"]
        );
        assert_eq!(
            logged(false, Subscribers::Masked, suspect),
            ["WARN  peer.suspect peer=ocs-a ms=5000 row=WD-13  two watchdogs without an answer"]
        );
    }

    #[test]
    fn i_14_identities_are_masked_unless_the_configuration_says_otherwise() {
        let write =
            || tracing::warn!(user = "sip:+12025550123@x.net", "call of +12025550123 ended");
        assert_eq!(
            logged(false, Subscribers::Masked, write),
            ["WARN  farebox::telemetry::log::tests user=sip:+12025•••123@x.net  \
              call of +12025•••123 ended"]
        );
        assert!(logged(true, Subscribers::Clear, write)[0].contains("call of +12025550123 ended"));
    }

    #[test]
    fn repeated_lines_collapse_with_a_count() {
        let lines = logged(true, Subscribers::Masked, || {
            for _ in 0..100 {
                suspect();
            }
            emit(LogEvent::PeerOpen, Fields::default(), "back");
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        let buffer = Buffer::default();
        let lines = Lines::new(false, Subscribers::Masked, Box::new(buffer.clone()));
        let body = || Map::from_iter([("event".to_owned(), Value::from("peer.down"))]);
        for seconds in [0, 1, 2, 11, 12] {
            lines.put(Level::WARN, body(), Now::ZERO + Duration::from_secs(seconds));
        }
        let text = String::from_utf8(buffer.0.lock().expect("the buffer").clone()).expect("utf-8");
        let lines: Vec<&str> =
            text.lines().map(|line| line.split_once(' ').expect("ts").1).collect();
        assert_eq!(lines, ["WARN  peer.down", "WARN  peer.down repeated=2", "WARN  peer.down"]);
    }

    #[test]
    fn a_peers_text_cannot_forge_a_line() {
        let write = || tracing::warn!(reason = "a\nb", "no\r\nsuch \"user\"");
        assert_eq!(
            logged(false, Subscribers::Masked, write),
            ["WARN  farebox::telemetry::log::tests reason=\"a\\nb\"  no  such \"user\""]
        );
        assert_eq!(logged(true, Subscribers::Masked, write).len(), 1);
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        let error = init(Format::Json, "peer=loud=1", Subscribers::Masked).expect_err("a filter");
        assert!(error.to_string().starts_with("log filter `peer=loud=1`"), "{error}");
    }
}
