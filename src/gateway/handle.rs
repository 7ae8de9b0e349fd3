//! What the API, the console and the CLI hold of a running gateway.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{broadcast, oneshot};

use super::dry_run::DryParts;
use super::standing::PeerStanding;
use super::step::Event;
use crate::charging::engine::Input;
use crate::charging::event::Request;
use crate::charging::explain::Stored;
use crate::charging::io::Notice;
use crate::charging::outcome::{Refusal, Reply, SessionView};
use crate::charging::policy::Policy;
use crate::charging::replay::{NoReplay, may_replay};
use crate::peer::Admin;
use crate::store::{Query, RecordId, RecordRow, SessionRow};
use crate::telemetry::log::{Fields, emit};
use crate::telemetry::{LogEvent, Metrics};
use crate::transport::{AnswerHandle, PeerHandle};

/// For the engine's thread.
pub(super) enum Message {
    Trigger(Box<Request>, oneshot::Sender<Reply>),
    View(String, oneshot::Sender<Result<Option<Box<SessionView>>, Refusal>>),
    Event(Event),
    /// A peer asks something.
    Asked {
        peer: usize,
        bytes: Bytes,
        answer: AnswerHandle,
    },
    /// Bring the metrics up to date.
    Refresh(oneshot::Sender<()>),
    /// Commit something real.
    Probe(oneshot::Sender<Result<(), String>>),
    /// For the store.
    Search(Query, oneshot::Sender<Result<Vec<StoredRecord>, String>>),
    /// For the store.
    Record(RecordId, oneshot::Sender<Result<Option<StoredRecord>, String>>),
    /// For the store: dead records that nobody wants any more.
    Remove(Vec<RecordId>, oneshot::Sender<Result<u64, String>>),
    Drain,
    /// Ends the thread once nothing is in the store's hands.
    Stop,
}

/// A record with its session, as the store has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// The record.
    pub record: RecordRow,
    /// The session or event that made it, unless retention took it.
    pub session: Option<SessionRow>,
}

/// One check of readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// `config`, `store`, `draining`.
    pub name: &'static str,
    /// Is it as it should be?
    pub ok: bool,
    /// In words.
    pub detail: String,
}

/// A running gateway. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) engine: Sender<Message>,
    pub(super) shared: Arc<Shared>,
}

/// What may be read without asking the engine.
pub(super) struct Shared {
    pub dry: DryParts,
    pub draining: AtomicBool,
    pub in_progress: AtomicUsize,
    pub in_progress_max: usize,
    pub peers: std::sync::Mutex<Vec<PeerStanding>>,
    /// The peers' tasks, once they run.
    pub controls: std::sync::OnceLock<Controls>,
    pub changed: tokio::sync::Notify,
    /// What the CPM server should know; a slow listener loses the oldest.
    pub notices: broadcast::Sender<Arc<Notice>>,
}

/// For what an operator does to peers.
pub(super) struct Controls {
    pub peers: Vec<PeerHandle>,
    pub metrics: Arc<Metrics>,
}

/// What an operator does to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAction {
    /// Use it as the routes say.
    Ready,
    /// Give it nothing of new sessions.
    Drain,
    /// Disconnect it and leave it alone.
    Maint,
    /// End its connection and make another; without one, dial at once.
    Reset,
}

impl PeerAction {
    /// Every action with its word.
    pub const ALL: &[(&'static str, PeerAction)] = &[
        ("ready", PeerAction::Ready),
        ("drain", PeerAction::Drain),
        ("maint", PeerAction::Maint),
        ("reset", PeerAction::Reset),
    ];

    fn admin(self) -> Option<Admin> {
        match self {
            PeerAction::Ready => Some(Admin::Ready),
            PeerAction::Drain => Some(Admin::Drain),
            PeerAction::Maint => Some(Admin::Maint),
            PeerAction::Reset => None,
        }
    }
}

impl Handle {
    /// Charges a trigger. The request is handed over at the first poll.
    pub async fn trigger(&self, request: Request) -> Reply {
        let shared = &self.shared;
        if shared.in_progress.fetch_add(1, Ordering::Relaxed) >= shared.in_progress_max {
            shared.in_progress.fetch_sub(1, Ordering::Relaxed);
            return Reply::Refused(Refusal::Overloaded);
        }
        let (sender, receiver) = oneshot::channel();
        if self.engine.send(Message::Trigger(Box::new(request), sender)).is_err() {
            shared.in_progress.fetch_sub(1, Ordering::Relaxed);
            return Reply::Refused(Refusal::Draining);
        }
        // The engine counts down when it replies, also when the client has gone meanwhile.
        receiver.await.unwrap_or(Reply::Refused(Refusal::Draining))
    }

    /// A session by its id, ended ones too.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn session(&self, id: &str) -> Result<Option<SessionView>, Refusal> {
        let (sender, receiver) = oneshot::channel();
        if self.engine.send(Message::View(id.to_owned(), sender)).is_err() {
            return Err(Refusal::Draining);
        }
        let view = receiver.await.unwrap_or(Err(Refusal::Draining))?;
        Ok(view.map(|view| *view))
    }

    /// Records in order of creation, each with its session as it is on disk.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn search(&self, query: Query) -> Result<Vec<StoredRecord>, Refusal> {
        let (sender, receiver) = oneshot::channel();
        if self.engine.send(Message::Search(query, sender)).is_err() {
            return Err(Refusal::Draining);
        }
        let found = receiver.await.map_err(|_| Refusal::Draining)?;
        found.map_err(Refusal::StoreUnavailable)
    }

    /// A record by its id, with its session as it is on disk.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn record(&self, id: RecordId) -> Result<Option<StoredRecord>, Refusal> {
        let (sender, receiver) = oneshot::channel();
        if self.engine.send(Message::Record(id, sender)).is_err() {
            return Err(Refusal::Draining);
        }
        let found = receiver.await.map_err(|_| Refusal::Draining)?;
        found.map_err(Refusal::StoreUnavailable)
    }

    /// Sends dead records again, as far as that is right (`charging::replay`); with `dry_run` only
    /// says for which it would be. In the order of `ids`; an unknown id is not among the results.
    ///
    /// # Errors
    /// When the store cannot be read, or does not take the change.
    pub async fn replay(
        &self,
        ids: &[RecordId],
        dry_run: bool,
    ) -> Result<Vec<(RecordId, Result<(), NoReplay>)>, Refusal> {
        let mut results = Vec::new();
        for id in ids {
            let Some(row) = self.record(*id).await? else { continue };
            let Some(stored) = Stored::read(&row.record, row.session.as_ref()) else { continue };
            let verdict = may_replay(&stored.record, stored.session.as_ref());
            if verdict.is_ok() && !dry_run {
                let input = Input::Replay {
                    record: Box::new(stored.record),
                    session: stored.session.map(Box::new),
                };
                let sent = self.engine.send(Message::Event(Event::Engine(input)));
                sent.map_err(|_| Refusal::Draining)?;
            }
            results.push((*id, verdict));
        }
        if !dry_run {
            // Commits are made in order: once this one is durable, so are those of the records.
            let (sender, receiver) = oneshot::channel();
            self.engine.send(Message::Probe(sender)).map_err(|_| Refusal::Draining)?;
            let probe = receiver.await.map_err(|_| Refusal::Draining)?;
            probe.map_err(Refusal::StoreUnavailable)?;
        }
        Ok(results)
    }

    /// Removes those of these records that are dead. Returns how many.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn purge(&self, ids: Vec<RecordId>) -> Result<u64, Refusal> {
        let (sender, receiver) = oneshot::channel();
        self.engine.send(Message::Remove(ids, sender)).map_err(|_| Refusal::Draining)?;
        let removed = receiver.await.map_err(|_| Refusal::Draining)?;
        removed.map_err(Refusal::StoreUnavailable)
    }

    /// What a dry run needs of the configuration in force.
    pub fn dry_parts(&self) -> &DryParts {
        &self.shared.dry
    }

    /// Is this instance about to stop?
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Calls accepted and not answered yet.
    pub fn in_progress(&self) -> usize {
        self.shared.in_progress.load(Ordering::Relaxed)
    }

    /// What it was configured with.
    pub fn policy(&self) -> &Policy {
        &self.shared.dry.policy
    }

    /// How every peer stands.
    pub fn peers(&self) -> Vec<PeerStanding> {
        let mut standings = self.standings().clone();
        if let Some(controls) = self.shared.controls.get() {
            for (standing, peer) in standings.iter_mut().zip(&controls.peers) {
                standing.pending = peer.in_window();
            }
        }
        standings
    }

    fn standings(&self) -> MutexGuard<'_, Vec<PeerStanding>> {
        self.shared.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what an operator asks for. `false`: there is no such peer.
    pub fn act_on_peer(&self, name: &str, action: PeerAction) -> bool {
        let Some(controls) = self.shared.controls.get() else { return false };
        let mut standings = self.standings();
        let Some(index) = standings.iter().position(|peer| peer.name == name) else {
            return false;
        };
        let (standing, peer) = (&mut standings[index], &controls.peers[index]);
        let before = standing.admin;
        standing.admin = action.admin().unwrap_or(before);
        let now = standing.admin;
        drop(standings);
        match action {
            PeerAction::Reset => peer.reset(),
            PeerAction::Maint => peer.hold(),
            PeerAction::Ready | PeerAction::Drain if before == Admin::Maint => peer.resume(),
            PeerAction::Ready | PeerAction::Drain => {}
        }
        let draining = now == Admin::Drain;
        let _ = self.engine.send(Message::Event(Event::Drain { peer: index, draining }));
        controls.metrics.peer(index).admin_state(now.word());
        let words = match action {
            PeerAction::Reset => "its connection is made anew".to_owned(),
            _ => format!("{} → {}", before.word(), now.word()),
        };
        emit(LogEvent::PeerAdmin, Fields { peer: Some(name), ..Fields::default() }, &words);
        true
    }

    /// What the CPM server should know, from now on.
    pub fn notices(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.shared.notices.subscribe()
    }

    /// Waits until every peer in `names` is usable.
    pub async fn wait_usable(&self, names: &[&str]) {
        loop {
            let changed = self.shared.changed.notified();
            let peers = self.peers();
            let usable = |name: &&str| peers.iter().any(|p| p.name == **name && p.usable);
            if names.iter().all(usable) {
                return;
            }
            changed.await;
        }
    }

    /// Brings gauges and spool counters up to date, all from one moment.
    pub async fn refresh(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.engine.send(Message::Refresh(sender)).is_ok() {
            let _ = receiver.await;
        }
    }

    /// The checks of `/readyz`; peers never matter.
    pub async fn ready(&self) -> Vec<Ready> {
        let (sender, receiver) = oneshot::channel();
        let store = match self.engine.send(Message::Probe(sender)) {
            Ok(()) => receiver.await.unwrap_or_else(|_| Err("the engine has ended".to_owned())),
            Err(_) => Err("the engine has ended".to_owned()),
        };
        let draining = self.is_draining();
        vec![
            Ready { name: "config", ok: true, detail: "loaded".to_owned() },
            Ready {
                name: "store",
                ok: store.is_ok(),
                detail: store.err().unwrap_or_else(|| "a commit was flushed".to_owned()),
            },
            Ready {
                name: "draining",
                ok: !draining,
                detail: if draining { "about to stop" } else { "no" }.to_owned(),
            },
        ]
    }

    /// No new sessions and events from now on.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        let _ = self.engine.send(Message::Drain);
    }
}
