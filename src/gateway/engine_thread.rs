//! The engine's thread: one message in, its effects out, time only from here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::committer::Job;
use super::handle::{Message, Shared};
use super::step::{Core, Effect, Event, Outgoing, result_of};
use crate::charging::engine::{CallerId, Fact, Input, interface_index};
use crate::charging::io::RequestId;
use crate::charging::outcome::{Refusal, Reply, SessionView};
use crate::clock;
use crate::diameter::{Header, Limits, View, command, id};
use crate::store::Interface;
use crate::telemetry::log::{Fields, emit};
use crate::telemetry::{LogEvent, Metrics, ResultLabel, SpoolCounts};
use crate::transport::{self, AnswerHandle, PeerHandle, Refused};

type ViewSender = oneshot::Sender<Result<Option<Box<SessionView>>, Refusal>>;

/// A request of a peer.
pub(super) struct Asked {
    peer: usize,
    command: u32,
    answer: AnswerHandle,
}

/// Longest sleep without a timer.
const IDLE: Duration = Duration::from_secs(1);

pub(super) struct EngineThread {
    pub core: Core,
    pub inbox: Receiver<Message>,
    pub own: Sender<Message>,
    pub committer: Sender<Job>,
    pub peers: Vec<PeerHandle>,
    pub metrics: Arc<Metrics>,
    pub shared: Arc<Shared>,
    pub counts: [SpoolCounts; 2],
    pub callers: BTreeMap<CallerId, oneshot::Sender<Reply>>,
    pub viewers: BTreeMap<CallerId, ViewSender>,
    /// Requests of peers that wait for their answers.
    pub asked: BTreeMap<RequestId, Asked>,
    pub next_caller: u64,
    pub commits: usize,
}

impl EngineThread {
    /// Runs until [`Message::Stop`] and the last commit's end.
    pub(super) fn run(mut self, mut effects: Vec<Effect>) {
        self.perform(&mut effects);
        let mut stopping = false;
        loop {
            let wait = self.core.next_timeout().map_or(IDLE, |due| due.since(clock::now()));
            match self.inbox.recv_timeout(wait.min(IDLE)) {
                Ok(message) => stopping |= self.message(message, &mut effects),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => stopping = true,
            }
            if self.core.next_timeout().is_some_and(|due| due <= clock::now()) {
                self.step(Event::Engine(Input::Tick), &mut effects);
            }
            if stopping && self.commits == 0 {
                let _ = self.committer.send(Job::Stop);
                return;
            }
        }
    }

    /// `true`: stop when the commits have ended.
    fn message(&mut self, message: Message, effects: &mut Vec<Effect>) -> bool {
        match message {
            Message::Trigger(request, reply) => {
                let caller = self.caller();
                self.callers.insert(caller, reply);
                self.step(Event::Engine(Input::Trigger { caller, request }), effects);
            }
            Message::View(session_id, reply) => {
                let caller = self.caller();
                self.viewers.insert(caller, reply);
                self.step(Event::Engine(Input::View { caller, session_id }), effects);
            }
            Message::Event(event) => {
                if let Event::Engine(Input::Committed { .. }) = &event {
                    self.commits = self.commits.saturating_sub(1);
                }
                self.step(event, effects);
            }
            Message::Asked { peer, bytes, answer } => {
                let request = RequestId(self.caller().0);
                let command = Header::parse(&bytes).map_or(0, |header| header.code);
                self.asked.insert(request, Asked { peer, command, answer });
                self.step(Event::Engine(Input::PeerRequest { request, peer, bytes }), effects);
            }
            Message::Refresh(reply) => {
                self.refresh();
                let _ = reply.send(());
            }
            Message::Probe(reply) => {
                let _ = self.committer.send(Job::Probe(reply));
            }
            Message::Search(query, reply) => {
                let _ = self.committer.send(Job::Search(query, reply));
            }
            Message::Record(id, reply) => {
                let _ = self.committer.send(Job::Record(id, reply));
            }
            Message::Remove(ids, reply) => {
                let _ = self.committer.send(Job::Remove(ids, reply));
            }
            Message::Drain => self.step(Event::Engine(Input::Drain), effects),
            Message::Stop => return true,
        }
        false
    }

    fn caller(&mut self) -> CallerId {
        self.next_caller += 1;
        CallerId(self.next_caller)
    }

    fn step(&mut self, event: Event, effects: &mut Vec<Effect>) {
        self.core.step(event, clock::now(), clock::wall(), effects);
        self.perform(effects);
    }

    fn perform(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Persist { batch, rows } => {
                    self.commits += 1;
                    let _ = self.committer.send(Job::Commit(batch, rows));
                }
                Effect::Lookup { lookup, key, session } => {
                    let _ = self.committer.send(Job::Lookup(lookup, key, session));
                }
                Effect::Send(outgoing) => self.send(outgoing),
                Effect::Answered { peer, command, result_code, experimental, round_trip } => {
                    let label = match (result_code, experimental) {
                        (Some(code), _) => ResultLabel::Code(code),
                        (None, true) => ResultLabel::Experimental,
                        (None, false) => ResultLabel::None,
                    };
                    let metrics = self.metrics.peer(peer);
                    metrics.answer(command.name(), label);
                    metrics.round_trip(command.name(), round_trip);
                }
                Effect::Unanswered { peer, command } => {
                    self.metrics.peer(peer).answer(command.name(), ResultLabel::Lost);
                }
                Effect::Reply { caller, reply } => {
                    if let Some(sender) = self.callers.remove(&caller) {
                        self.shared.in_progress.fetch_sub(1, Ordering::Relaxed);
                        let _ = sender.send(reply);
                    }
                }
                Effect::Show { caller, view } => {
                    if let Some(sender) = self.viewers.remove(&caller) {
                        let _ = sender.send(view);
                    }
                }
                Effect::Respond { request, bytes } => self.respond(request, bytes),
                Effect::Notify(notice) => {
                    // Nobody listens: a lagging or absent subscriber never holds up charging.
                    let _ = self.shared.notices.send(Arc::from(notice));
                }
                Effect::Peer { peer, fact } => {
                    crate::telemetry::facts::peer(&self.metrics, peer, &fact);
                }
                Effect::Fact(fact) => self.fact(fact),
            }
        }
    }

    fn send(&self, outgoing: Outgoing) {
        let Outgoing { peer, token, command, bytes, retransmit, from, reason } = outgoing;
        let metrics = self.metrics.peer(peer);
        let ids = from.and_then(|_| transaction(&bytes));
        let sent = self
            .peers
            .get(peer)
            .map(|handle| handle.send(transport::Outgoing { token, bytes, retransmit }));
        let refused = match sent {
            Some(Ok(())) => None,
            Some(Err(Refused::Window | Refused::Rate)) => Some(Event::Refused { token, peer }),
            _ => Some(Event::Engine(Input::Lost { token, peer, sent: false })),
        };
        if let Some(refused) = refused {
            let _ = self.own.send(Message::Event(refused));
            return;
        }
        metrics.request(command.name());
        if retransmit {
            metrics.retransmission(command.name(), reason);
        }
        if let Some(from) = from {
            self.metrics.failover(from, peer, reason);
            // W-16: by its ids the copy is found in the peers' own logs.
            let session = ids.as_ref().map(|(session, _)| session.as_str());
            let end_to_end = ids.as_ref().map_or(0, |(_, end_to_end)| *end_to_end);
            let fields = Fields {
                peer: Some(metrics.name()),
                session,
                reason: Some(reason),
                ..Fields::default()
            };
            let from = self.metrics.peer(from).name();
            let words = format!("{} from {from}, End-to-End id {end_to_end:08x}", command.name());
            emit(LogEvent::RequestFailedOver, fields, &words);
        }
    }

    fn respond(&mut self, request: RequestId, bytes: Bytes) {
        let Some(Asked { peer, command, answer }) = self.asked.remove(&request) else { return };
        let label = match result_of(&bytes) {
            (Some(code), _) => ResultLabel::Code(code),
            (None, _) => ResultLabel::None,
        };
        let word = if command == command::RE_AUTH { "RAR" } else { "ASR" };
        self.metrics.peer(peer).inbound(word, label);
        answer.send(bytes);
    }

    fn fact(&mut self, fact: Fact) {
        if let Fact::Record { interface, event } = &fact {
            let counts = &mut self.counts[interface_index(*interface)];
            match *event {
                "stored" => counts.stored += 1,
                "recovered" => counts.recovered += 1,
                "acknowledged" => counts.acknowledged += 1,
                "superseded" => counts.superseded += 1,
                "abandoned" => counts.abandoned += 1,
                "purged" => counts.purged += 1,
                "dead" => counts.died += 1,
                "replayed" => counts.replayed += 1,
                _ => {}
            }
        }
        crate::telemetry::facts::charging(&self.metrics, &fact);
    }

    /// Gauges and spool counters, all from this moment.
    fn refresh(&mut self) {
        let wall = clock::wall();
        for interface in [Interface::Ch1, Interface::Ch2] {
            let now = self.core.engine().spool_counts(interface);
            let counts = &mut self.counts[interface_index(interface)];
            counts.waiting = now.waiting;
            counts.in_flight = now.in_flight;
            counts.dead = now.dead;
            let age = now.oldest.map_or(Duration::ZERO, |oldest| wall.since(oldest));
            counts.oldest_millis = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            self.metrics.spool(interface, *counts);
            let (active, oldest) = self.core.engine().open_sessions(interface);
            let age = oldest.map_or(Duration::ZERO, |oldest| wall.since(oldest));
            self.metrics.sessions(interface, active, age);
        }
    }
}

/// Session-Id and End-to-End id of a request.
fn transaction(bytes: &[u8]) -> Option<(String, u32)> {
    let view = View::new(bytes, &Limits::default()).ok()?;
    let session = view.find(id::SESSION_ID)?.text()?.to_owned();
    Some((session, view.header().end_to_end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diameter::{Avp, Dictionary, Message};

    #[test]
    fn w_16_a_failover_is_logged_with_the_ids_of_its_transaction() {
        let mut ccr = Message::request(command::CREDIT_CONTROL, 4, true);
        ccr.header.end_to_end = 0x93bb_0014;
        ccr.push(Avp::text(id::SESSION_ID, "cg1;1;7"));
        let bytes = ccr.encode(Dictionary::builtin());
        assert_eq!(transaction(&bytes), Some(("cg1;1;7".to_owned(), 0x93bb_0014)));
        assert_eq!(transaction(&bytes[..30]), None);
        assert_eq!(LogEvent::RequestFailedOver.name(), "request.failed_over");
    }
}
