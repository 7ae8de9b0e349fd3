//! The CPM servers: they call, wait, and call again with the same body until they are answered.

use std::time::Duration;

use sha2::Digest;
use sha2::Sha256;

use crate::charging::engine::CallerId;
use crate::charging::engine::Input;
use crate::charging::event::Cause;
use crate::charging::event::CauseKind;
use crate::charging::event::CloseTrigger;
use crate::charging::event::Content;
use crate::charging::event::Cpm;
use crate::charging::event::EventAction;
use crate::charging::event::Identity;
use crate::charging::event::IdentityType;
use crate::charging::event::Interim;
use crate::charging::event::MessageContent;
use crate::charging::event::MessageCounters;
use crate::charging::event::OneTimeEvent;
use crate::charging::event::Prefer;
use crate::charging::event::Request;
use crate::charging::event::ServerRole;
use crate::charging::event::Sip;
use crate::charging::event::Start;
use crate::charging::event::Terminate;
use crate::charging::event::Trigger;
use crate::charging::event::UnitRequest;
use crate::charging::event::Units;
use crate::charging::event::UsageEntry;
use crate::charging::outcome::Refusal;
use crate::charging::outcome::Reply;
use crate::charging::outcome::ServiceAdvice;
use crate::clock::Now;
use crate::clock::Wall;
use crate::gateway::step;

use super::evidence::CallKind;
use super::evidence::CallLine;
use super::evidence::Told;
use super::plan::Call;
use super::plan::Plan;
use super::plan::Script;
use super::plan::Step;
use super::random::Random;
use super::world::Event;
use super::world::World;

/// Attempts of one call before its caller gives up.
const ATTEMPTS_MAX: usize = 40;

/// One call that is being made.
struct Line {
    script: usize,
    step: usize,
    request: Option<Request>,
    attempts: usize,
    settled: bool,
}

/// One copy of a call on its way.
struct Attempt {
    line: usize,
    over: bool,
}

/// All CPM servers.
pub(super) struct Players {
    lines: Vec<Line>,
    attempts: Vec<Attempt>,
    /// Of each script: the service was refused, nothing more is reported.
    blocked: Vec<bool>,
    patience: Duration,
    /// Answers are lost on the way while this is above zero.
    pub(super) deaf: u32,
    random: Random,
}

impl Players {
    pub(super) fn new(plan: &Plan) -> Players {
        let mut random = Random::fork(plan.seed, "players");
        Players {
            lines: Vec::new(),
            attempts: Vec::new(),
            blocked: vec![false; plan.scripts.len()],
            patience: random.pick(&[
                Duration::from_secs(35),
                Duration::from_secs(35),
                Duration::from_secs(6),
            ]),
            deaf: 0,
            random,
        }
    }
}

impl World {
    pub(super) fn schedule_calls(&mut self) {
        let mut moments = Vec::new();
        for (script, plan) in self.plan.scripts.iter().enumerate() {
            for (index, step) in plan.steps.iter().enumerate() {
                let line = self.players.lines.len();
                self.players.lines.push(Line {
                    script,
                    step: index,
                    request: None,
                    attempts: 0,
                    settled: false,
                });
                self.evidence.calls.push(ledger_line(plan, step));
                moments.push((step.at, line));
                moments.extend(step.copies.iter().map(|after| (step.at + *after, line)));
            }
        }
        for (at, line) in moments {
            self.at(Now::ZERO + at, Event::Call(line));
        }
    }

    /// A CPM server makes a call, or another copy of it.
    pub(super) fn call(&mut self, line: usize) {
        let wall = self.true_wall();
        let now = self.now;
        let plan = &self.plan;
        let made = &mut self.players.lines[line];
        let (script, step) =
            (&plan.scripts[made.script], &plan.scripts[made.script].steps[made.step]);
        if self.players.blocked[made.script] && made.step > 0 {
            return;
        }
        if made.attempts >= ATTEMPTS_MAX {
            return;
        }
        let account = &plan.setup.accounts[script.subscriber].id;
        let step_index = made.step;
        made.request.get_or_insert_with(|| request(script, step, step_index, account, wall));
        made.attempts += 1;
        let copies = made.attempts;
        let (id, call) = (script.id.clone(), step.call);
        if copies > 1 {
            self.coverage.hit("FH-01");
        }
        self.trace(50, line as u64, copies as u64, || {
            format!("call {line} copy {copies}: {id} {call:?}")
        });
        let attempt = self.players.attempts.len();
        self.players.attempts.push(Attempt { line, over: false });
        self.evidence.calls[line].sent.push(now);
        let way =
            self.players.random.duration(Duration::from_micros(100), Duration::from_millis(5));
        self.after(way, Event::Reaches(attempt));
        self.after(self.players.patience, Event::Patience(attempt));
    }

    /// A call reaches the gateway, or nobody.
    pub(super) fn reaches(&mut self, attempt: usize) {
        let line = self.players.attempts[attempt].line;
        let request = self.players.lines[line].request.clone();
        let (Some(node), Some(request)) = (self.node.as_mut(), request) else {
            // Connection refused.
            return self.after(Duration::from_millis(1), Event::Heard(attempt, None));
        };
        node.next_caller += 1;
        let caller = CallerId(node.next_caller);
        node.callers.insert(caller, attempt);
        let request = Box::new(request);
        self.engine(step::Event::Engine(Input::Trigger { caller, request }));
    }

    /// The gateway answers a caller.
    pub(super) fn replied(&mut self, caller: CallerId, reply: Reply) {
        let attempt = self.node.as_mut().and_then(|node| node.callers.remove(&caller));
        let Some(attempt) = attempt else {
            return self.finding("I-9", "a caller is answered twice".to_owned());
        };
        let line = self.players.attempts[attempt].line;
        self.trace(51, line as u64, 0, || format!("answer to call {line}: {}", words(&reply)));
        self.check_reply(line, &reply);
        let told = Told { at: self.now, life: self.life, reply: reply.clone() };
        self.evidence.calls[line].answers.push(told);
        if self.players.deaf > 0 {
            self.sometimes("answer to a caller lost");
            return;
        }
        let way =
            self.players.random.duration(Duration::from_micros(100), Duration::from_millis(5));
        self.after(way, Event::Heard(attempt, Some(Box::new(reply))));
    }

    /// A CPM server hears an answer, or that its connection is gone.
    pub(super) fn heard(&mut self, attempt: usize, reply: Option<Box<Reply>>) {
        if std::mem::replace(&mut self.players.attempts[attempt].over, true) {
            return;
        }
        let line = self.players.attempts[attempt].line;
        let made = &mut self.players.lines[line];
        match reply.as_deref() {
            Some(Reply::Answered { answer, .. }) => {
                made.settled = true;
                let blocked = made.step == 0 && answer.advice.service == ServiceAdvice::Block;
                if blocked && !self.plan.scripts[made.script].stubborn {
                    self.players.blocked[made.script] = true;
                }
            }
            Some(Reply::Refused(refusal)) if !is_passing(refusal) => {
                made.settled = true;
                self.coverage.hit(refusal_name(refusal));
            }
            Some(Reply::Refused(refusal)) => {
                self.coverage.hit(refusal_name(refusal));
                self.call_again(line);
            }
            None => self.call_again(line),
        }
    }

    pub(super) fn patience_over(&mut self, attempt: usize) {
        if std::mem::replace(&mut self.players.attempts[attempt].over, true) {
            return;
        }
        let line = self.players.attempts[attempt].line;
        self.call_again(line);
    }

    fn call_again(&mut self, line: usize) {
        if self.players.lines[line].settled {
            return;
        }
        let attempts = u32::try_from(self.players.lines[line].attempts).unwrap_or(10).min(5);
        let most = Duration::from_millis(300) * 2u32.pow(attempts);
        let pause = self.players.random.duration(most / 2, most);
        self.after(pause, Event::Call(line));
    }
}

/// May the same call succeed later?
fn is_passing(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::StoreUnavailable(_)
            | Refusal::SpoolFull
            | Refusal::Draining
            | Refusal::Overloaded
            | Refusal::RequestInProgress
            | Refusal::Internal(_)
    )
}

fn refusal_name(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownSession => "refused: unknown session",
        Refusal::SequenceOutOfOrder { .. } => "refused: sequence out of order",
        Refusal::SessionEnded { .. } => "refused: session ended",
        Refusal::RequestInProgress => "refused: request in progress",
        Refusal::MappingFailed(_) => "refused: mapping failed",
        Refusal::IdempotencyKeyReused => "refused: key reused",
        Refusal::UsageDecreased(_) => "refused: usage decreased",
        Refusal::StoreUnavailable(_) => "refused: store unavailable",
        Refusal::SpoolFull => "refused: spool full",
        Refusal::Draining => "refused: draining",
        Refusal::Overloaded => "refused: overloaded",
        Refusal::Internal(_) => "refused: internal",
    }
}

fn words(reply: &Reply) -> String {
    match reply {
        Reply::Answered { answer, replayed } => format!(
            "{:?} {:?} by {:?}, ch1 {:?}, ch2 {:?}{}",
            answer.state,
            answer.outcome,
            answer.basis,
            answer.ch1.state,
            answer.ch2.state,
            if *replayed { ", replayed" } else { "" }
        ),
        Reply::Refused(refusal) => refusal_name(refusal).to_owned(),
    }
}

fn ledger_line(script: &Script, step: &Step) -> CallLine {
    let kind = match step.call {
        Call::Start => CallKind::Start,
        Call::Interim { .. } => CallKind::Interim,
        Call::Close { .. } => CallKind::Close,
        Call::Event { .. } => CallKind::Event,
    };
    CallLine {
        subject: script.id.clone(),
        subscriber: script.subscriber,
        service: script.service,
        kind,
        call: step.call,
        has_key: step.keyed || kind != CallKind::Close,
        sent: Vec::new(),
        answers: Vec::new(),
    }
}

fn request(script: &Script, step: &Step, index: usize, account: &str, wall: Wall) -> Request {
    let trigger = trigger(script, step, account, wall);
    let fingerprint = Sha256::digest(format!("{trigger:?}").as_bytes()).into();
    Request {
        trigger,
        prefer: Prefer { wait_secs: step.prefer },
        client: "as1".to_owned(),
        idempotency_key: step.keyed.then(|| format!("{}/{index}", script.id)),
        fingerprint,
    }
}

fn trigger(script: &Script, step: &Step, account: &str, wall: Wall) -> Trigger {
    let id = script.id.clone();
    let units = |seconds, messages| Units {
        seconds: Some(seconds),
        messages: Some(messages),
        ..Units::default()
    };
    let request = vec![UnitRequest { rating_group: None, units: units(600, 20) }];
    let usage = |seconds, messages| {
        vec![UsageEntry { rating_group: None, units: units(seconds, messages), tariff: None }]
    };
    let counters =
        |messages| Some(MessageCounters { sent: Some(messages), ..MessageCounters::default() });
    match step.call {
        Call::Start => Trigger::Start(Box::new(Start {
            session_id: id,
            sequence: Some(0),
            timestamp: wall,
            interfaces: None,
            service: Some(script.service.to_owned()),
            content: content(account),
            request,
            notify_uri: None,
        })),
        Call::Interim { sequence, seconds, messages } => Trigger::Interim(Box::new(Interim {
            session_id: id,
            sequence: Some(sequence),
            timestamp: wall,
            node: None,
            reason: None,
            usage: usage(seconds, messages),
            messages: counters(messages),
            participants: None,
            request,
            extensions: Vec::new(),
        })),
        Call::Close { trigger, seconds, messages, sip_error } => {
            Trigger::Terminate(Box::new(Terminate {
                session_id: id,
                trigger,
                timestamp: wall,
                sequence: None,
                node: None,
                cause: sip_error.filter(|_| trigger == CloseTrigger::ByeOkReceived).map(|status| {
                    Cause {
                        kind: CauseKind::SipError,
                        sip_status: Some(status),
                        reason_header: Vec::new(),
                    }
                }),
                usage: usage(seconds, messages),
                messages: counters(messages),
                participants: None,
                extensions: Vec::new(),
                session: None,
            }))
        }
        Call::Event { action, messages } => Trigger::Event(Box::new(OneTimeEvent {
            event_id: id,
            kind: "message.sent".to_owned(),
            action,
            timestamp: wall,
            sequence: None,
            service: event_service(script.service, action).to_owned(),
            interfaces: None,
            content: content(account),
            units: Units { messages: Some(messages), ..Units::default() },
            rating_group: None,
            delivery: Some("delivered".to_owned()),
            body: Some(MessageContent { content_type: "text/plain".to_owned(), size: 641 }),
            refund_of: None,
            cause: None,
            notify_uri: None,
        })),
    }
}

/// Only an OCS can pay back, or be asked.
fn event_service(service: &'static str, action: EventAction) -> &'static str {
    match action {
        EventAction::Debit => service,
        _ if service == "offline-only" => "online-only",
        _ => service,
    }
}

fn content(account: &str) -> Content {
    Content {
        node: Some("as1.cpm.example.net".to_owned()),
        subscriber: vec![Identity { kind: IdentityType::E164, value: account.to_owned() }],
        from: Some(format!("sip:{account}@ims.example.net")),
        to: vec!["tel:+12025550199".to_owned()],
        cpm: Cpm { server_role: Some(ServerRole::Participating), ..Cpm::default() },
        sip: Sip { call_id: Some("a84b4c76e66710@as1".to_owned()), ..Sip::default() },
        participants: Some(2),
        ..Content::default()
    }
}
