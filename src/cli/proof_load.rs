//! CPM servers under proof: players that send triggers over HTTP and keep a ledger of their own.
//!
//! A player whose call gets no answer repeats it with the same ids and the same bytes when the
//! gateway is back, or gives it up. What it asked for and what it was told stands in [`Ledger`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::http::{Answer, Http};
use super::proof_check::{Call, Op};
use crate::clock;

/// Between two calls of a player, at most.
const THINK_MS: u64 = 60;
/// Before a refused call (503, 507) is tried again.
const REFUSED_PAUSE: Duration = Duration::from_millis(25);
/// A call that is refused so often is given up.
const TRIES_MAX: usize = 200;

/// A pseudo-random sequence (splitmix64): the same in every run with the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Begins with this seed.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `bound` - 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A call with what the ledger says beside the judge's needs.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// For the judge.
    pub(crate) call: Call,
    /// `POST` to this path.
    pub(crate) path: String,
    /// Idempotency-Key, if one was sent.
    pub(crate) key: Option<String>,
    /// SHA-256 of the body.
    pub(crate) sha256: String,
    /// An answer was that of an earlier try: the trigger was on disk before the kill.
    pub(crate) replayed: bool,
}

/// Every call of all players.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Mutex<Vec<Entry>>,
    in_flight: AtomicU64,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls on their way now.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How many calls there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// All calls, in the order of their first try.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    fn begin(&self, entry: Entry) -> usize {
        let mut entries = self.lock();
        entries.push(entry);
        entries.len() - 1
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.lock().get_mut(index) {
            change(entry);
        }
    }
}

/// A gateway that runs now; `None` between a kill and the next start.
pub(crate) type Life = Option<Arc<Http>>;

/// What all players share.
pub(crate) struct World {
    /// Where calls go.
    pub(crate) life: watch::Receiver<Life>,
    /// Begin nothing new: what has begun is played to its end.
    pub(crate) finishing: AtomicBool,
    /// What was called and answered.
    pub(crate) ledger: Ledger,
    next_subject: AtomicU64,
}

impl World {
    /// Players call the gateways that `life` shows.
    pub(crate) fn new(life: watch::Receiver<Life>) -> World {
        World {
            life,
            finishing: AtomicBool::new(false),
            ledger: Ledger::default(),
            next_subject: AtomicU64::new(1),
        }
    }
}

/// One session or event of a player.
struct Subject {
    id: String,
    account: String,
    icid: String,
    ch1: bool,
    ch2: bool,
}

/// A call that is to be made.
struct Wanted {
    op: Op,
    path: String,
    body: Value,
    key: Option<String>,
    messages: u64,
    /// Chance that it is not repeated when no answer came.
    give_up_percent: u64,
}

/// The subscribers whose CCR-T the OCS never sees begin with this.
pub(crate) const DEAF_PREFIX: &str = "+1902";

/// Plays until the world is finishing.
pub(crate) async fn player(world: Arc<World>, seed: u64) {
    let mut player = Player { life: world.life.clone(), random: Random::new(seed), world };
    while !player.world.finishing.load(Ordering::Relaxed) {
        let subject = player.subject();
        match player.random.below(100) {
            0..45 => player.chat(&subject).await,
            45..97 => player.event(&subject).await,
            _ => player.mistake(&subject).await,
        }
    }
}

struct Player {
    world: Arc<World>,
    life: watch::Receiver<Life>,
    random: Random,
}

impl Player {
    fn subject(&mut self) -> Subject {
        let number = self.world.next_subject.fetch_add(1, Ordering::Relaxed);
        let prefix = if self.random.percent(2) { DEAF_PREFIX } else { "+1202" };
        let (ch1, ch2) = match self.random.below(10) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        };
        Subject {
            id: format!("{number:08x}-kill9"),
            account: format!("{prefix}{number:07}"),
            icid: format!("icid-{number:08x}"),
            ch1,
            ch2,
        }
    }

    async fn think(&mut self) {
        let pause = Duration::from_millis(self.random.below(THINK_MS));
        tokio::time::sleep(pause).await;
    }

    /// A session from its start to its end, by one of the triggers.
    async fn chat(&mut self, subject: &Subject) {
        let mut answered = Vec::new();
        let start = Wanted {
            op: Op::Start,
            path: "/v1/sessions".to_owned(),
            body: start_body(subject),
            key: self.key(subject, "start"),
            messages: 0,
            give_up_percent: 10,
        };
        answered.push(self.call(subject, &start).await);
        let mut messages = 0;
        let interims = self.random.below(4);
        for sequence in 1..=interims {
            self.think().await;
            messages += 1 + self.random.below(3);
            let wanted = Wanted {
                op: Op::Interim,
                path: format!("/v1/sessions/{}/interim", subject.id),
                body: json!({"sequence": sequence, "timestamp": clock::wall().to_string(),
                    "reason": "validity", "usage": usage(messages), "messages": counters(messages),
                    "request": [{"ratingGroup": "chat", "units": {"seconds": 600}}]}),
                key: self.key(subject, &format!("interim-{sequence}")),
                messages,
                give_up_percent: 10,
            };
            answered.push(self.call(subject, &wanted).await);
        }
        self.think().await;
        messages += 1 + self.random.below(3);
        self.close(subject, messages, interims + 1).await;
        self.repeat_one(subject, answered).await;
    }

    async fn close(&mut self, subject: &Subject, messages: u64, sequence: u64) {
        let wanted = |trigger: &str, key| Wanted {
            op: Op::Close,
            path: format!("/v1/sessions/{}/terminate", subject.id),
            body: json!({"trigger": trigger, "timestamp": clock::wall().to_string(),
                "sequence": sequence, "usage": usage(messages), "messages": counters(messages),
                "session": orphan_session(subject)}),
            key,
            messages,
            give_up_percent: 0,
        };
        let (first, second) = match self.random.below(100) {
            0..35 => ("bye-received", None),
            35..50 => ("aborted", None),
            50..60 => ("bye-sent", None),
            60..85 => ("bye-sent", Some("bye-ok-received")),
            // Crossing: the second does not wait for the first.
            _ => ("bye-sent", Some("bye-received")),
        };
        let one = wanted(first, self.key(subject, first));
        let Some(second) = second else {
            self.call(subject, &one).await;
            return;
        };
        let other = wanted(second, self.key(subject, second));
        if second == "bye-received" {
            let mut node = Player {
                world: self.world.clone(),
                life: self.life.clone(),
                random: Random::new(self.random.next()),
            };
            tokio::join!(self.call(subject, &one), node.call(subject, &other));
        } else {
            self.call(subject, &one).await;
            self.think().await;
            self.call(subject, &other).await;
        }
    }

    async fn event(&mut self, subject: &Subject) {
        let messages = 1 + self.random.below(3);
        let wanted = Wanted {
            op: Op::Event,
            path: "/v1/events".to_owned(),
            body: event_body(subject, messages),
            key: self.key(subject, "event"),
            messages,
            give_up_percent: 30,
        };
        let answered = vec![self.call(subject, &wanted).await];
        self.think().await;
        self.repeat_one(subject, answered).await;
    }

    /// A call that has to be refused, and must leave no trace.
    async fn mistake(&mut self, subject: &Subject) {
        let mut body = event_body(subject, 1);
        let (op, path) = match self.random.below(3) {
            0 => {
                body["unit"] = json!({"messages": 1});
                (Op::Event, "/v1/events".to_owned())
            }
            1 => {
                body["units"]["messages"] = json!(-1);
                (Op::Event, "/v1/events".to_owned())
            }
            _ => {
                body = json!({"sequence": 1, "timestamp": clock::wall().to_string()});
                (Op::Interim, format!("/v1/sessions/{}/interim", subject.id))
            }
        };
        let wanted = Wanted { op, path, body, key: None, messages: 1, give_up_percent: 0 };
        self.call(subject, &wanted).await;
        self.think().await;
    }

    /// Half of the calls carry an Idempotency-Key; the others have their natural keys.
    fn key(&mut self, subject: &Subject, what: &str) -> Option<String> {
        self.random.percent(50).then(|| format!("{}/{what}", subject.id))
    }

    /// Now and then an answered call is made again: its answer must be the same, byte for byte.
    async fn repeat_one(&mut self, subject: &Subject, answered: Vec<Option<Answered>>) {
        let repeats = self.random.percent(20);
        let chosen = self.random.below(answered.len() as u64) as usize;
        let Some(Some(before)) = answered.into_iter().nth(chosen) else { return };
        // A pending answer is no stored one yet.
        if !repeats || before.answer.json["outcome"] == "pending" {
            return;
        }
        let Some(http) = self.gateway().await else { return };
        let again = http.post_keyed(&before.path, &before.body, before.key.as_deref()).await;
        let Ok(again) = again else { return };
        let same = again.text == before.answer.text && again.status == before.answer.status;
        if !same && (200..300).contains(&again.status) {
            tracing::warn!(subject = subject.id, "{} then {}", before.answer.text, again.text);
        }
        if !same && again.status < 500 {
            self.world.ledger.change(before.entry, |entry| entry.call.answered_differently = true);
        }
    }

    /// The gateway that runs now; waits while none does.
    async fn gateway(&mut self) -> Life {
        let life = self.life.wait_for(Option::is_some).await;
        life.map_or(None, |life| life.clone())
    }

    /// Makes a call until it is answered or given up.
    async fn call(&mut self, subject: &Subject, wanted: &Wanted) -> Option<Answered> {
        let body = wanted.body.to_string();
        let entry = Entry {
            call: Call {
                subject: subject.id.clone(),
                account: subject.account.clone(),
                icid: subject.icid.clone(),
                op: wanted.op,
                ch1: subject.ch1,
                ch2: subject.ch2,
                messages: wanted.messages,
                tries: Vec::new(),
                outcome: String::new(),
                answered_differently: false,
            },
            path: wanted.path.clone(),
            key: wanted.key.clone(),
            sha256: hex(&Sha256::digest(body.as_bytes())),
            replayed: false,
        };
        let index = self.world.ledger.begin(entry);
        for _ in 0..TRIES_MAX {
            let http = self.gateway().await?;
            self.world.ledger.in_flight.fetch_add(1, Ordering::Relaxed);
            let answer = http.post_keyed(&wanted.path, &body, wanted.key.as_deref()).await;
            self.world.ledger.in_flight.fetch_sub(1, Ordering::Relaxed);
            match answer {
                Ok(answer) => {
                    let outcome = answer.json["outcome"].as_str().unwrap_or("").to_owned();
                    self.world.ledger.change(index, |entry| {
                        entry.call.tries.push(Some(answer.status));
                        entry.call.outcome = outcome;
                        entry.replayed |= answer.replayed;
                    });
                    if !matches!(answer.status, 429 | 503 | 507) {
                        return (200..300).contains(&answer.status).then(|| Answered {
                            entry: index,
                            path: wanted.path.clone(),
                            body,
                            key: wanted.key.clone(),
                            answer,
                        });
                    }
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
                Err(_) => {
                    self.world.ledger.change(index, |entry| entry.call.tries.push(None));
                    if self.random.percent(wanted.give_up_percent) {
                        return None;
                    }
                    // The killed one is shown for a moment longer.
                    let gone = |life: &Life| !life.as_ref().is_some_and(|l| Arc::ptr_eq(l, &http));
                    self.life.wait_for(gone).await.ok()?;
                }
            }
        }
        None
    }
}

/// A call that was answered 2xx.
struct Answered {
    entry: usize,
    path: String,
    body: String,
    key: Option<String>,
    answer: Answer,
}

fn interfaces(subject: &Subject) -> Value {
    match (subject.ch1, subject.ch2) {
        (true, false) => json!(["ch1"]),
        (false, true) => json!(["ch2"]),
        _ => json!(["ch1", "ch2"]),
    }
}

fn identities(subject: &Subject) -> Value {
    json!([{"type": "e164", "value": subject.account}])
}

fn start_body(subject: &Subject) -> Value {
    let mut body = orphan_session(subject);
    body["sessionId"] = json!(subject.id);
    body["timestamp"] = json!(clock::wall().to_string());
    body["request"] = json!([{"ratingGroup": "chat", "units": {"seconds": 600}}]);
    body
}

/// What a terminate tells of a session whose start may be unknown.
fn orphan_session(subject: &Subject) -> Value {
    json!({
        "service": "chat",
        "interfaces": interfaces(subject),
        "subscriber": identities(subject),
        "from": format!("sip:{}@ims.example.net", subject.account),
        "to": ["tel:+12025550145"],
        "cpm": {"contributionId": subject.id, "serverRole": "participating"},
        "sip": {"callId": format!("{}@as1", subject.id), "icid": subject.icid},
    })
}

fn event_body(subject: &Subject, messages: u64) -> Value {
    json!({
        "eventId": subject.id,
        "kind": "message.sent",
        "timestamp": clock::wall().to_string(),
        "interfaces": interfaces(subject),
        "service": "standalone-message",
        "subscriber": identities(subject),
        "to": ["tel:+12025550145"],
        "sip": {"callId": format!("{}@as1", subject.id), "icid": subject.icid},
        "units": {"messages": messages},
    })
}

fn usage(messages: u64) -> Value {
    json!([{"ratingGroup": "chat", "units": {"seconds": messages * 20, "messages": messages}}])
}

fn counters(messages: u64) -> Value {
    json!({"sent": messages, "delivered": messages, "exploded": 0, "explodedDelivered": 0})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
