//! Starts everything in the order that keeps the promise: store, counters, engine, peers.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use super::committer;
use super::counters::{self, Counters};
use super::dry_run::DryParts;
use super::engine_thread::EngineThread;
use super::handle::{Controls, Handle, Message, Shared};
use super::peers::{self, Common, Connections, Running};
use super::standing::PeerStanding;
use super::step::{Core, Event};
use crate::charging::engine::{Engine, Input, Seed};
use crate::charging::policy::{Policy, Retention};
use crate::charging::request::Library;
use crate::clock;
use crate::config::Config;
use crate::diameter::Dictionary;
use crate::mapping::Mapping;
use crate::peer::routing::Routes;
use crate::peer::{DisconnectCause, Fact, LocalIdentity, PeerConfig};
use crate::store::{CommitResult, Store};
use crate::telemetry::log::{Fields, emit};
use crate::telemetry::{LogEvent, Metrics, SpoolCounts};
use crate::transport::{EventSink, PeerEvent};

/// Everything that a gateway is made of.
pub struct Parts {
    /// What is charged and how.
    pub policy: Policy,
    /// In the order of [`Policy::peers`].
    pub peers: Vec<PeerConfig>,
    /// Who we are.
    pub identity: LocalIdentity,
    /// In the order of [`Policy::routes`].
    pub routes: Routes,
    /// Compiled mappings by the name that the peers' profiles carry.
    pub mappings: BTreeMap<String, Mapping>,
    /// What AVPs mean.
    pub dictionary: Arc<Dictionary>,
    /// Where sessions and records are kept.
    pub store: Box<dyn Store>,
    /// How long history is kept.
    pub retention: Retention,
    /// Calls in progress at once.
    pub in_progress_max: usize,
    /// Counters of the process.
    pub metrics: Arc<Metrics>,
    /// TLS and listeners.
    pub connections: Connections,
}

/// Why a gateway cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Recover(String),
    /// The store cannot be written.
    #[error("the store cannot be written: {0}")]
    Commit(String),
    /// The operating system gives no thread.
    #[error("no thread: {0}")]
    Thread(String),
    /// A listener for peers cannot be used.
    #[error("no listener for peers: {0}")]
    Listen(String),
}

/// A running gateway.
pub struct Gateway {
    /// What the API and the console hold.
    pub handle: Handle,
    running: Running,
    metrics: Arc<Metrics>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// Notifications that a slow listener may be behind.
const NOTICES_MAX: usize = 1024;

/// Opens the store, goes on where it ended, and connects to every peer. Needs a tokio runtime.
///
/// # Errors
/// When the store cannot be read or written; nothing was sent then.
pub fn start(parts: Parts) -> Result<Gateway, StartError> {
    let Parts { policy, peers, mut identity, routes, mappings, dictionary, mut store, .. } = parts;
    let metrics = parts.metrics;
    let found = store.recover().map_err(StartError::Recover)?;
    for row in &found.quarantined {
        emit(LogEvent::StoreQuarantined, Fields::default(), row);
        metrics.spool_error("quarantined", 1);
    }
    if !found.sessions.is_empty() || !found.records.is_empty() {
        let words = format!(
            "{} sessions and {} unacknowledged records go on",
            found.sessions.len(),
            found.records.len()
        );
        emit(LogEvent::StoreRecovered, Fields::default(), &words);
    }
    let counters = reserve(store.as_mut(), &found.counters)?;
    identity.origin_state_id = counters.origin_state_id;
    let policy = Arc::new(policy);
    let library = Library { dictionary: dictionary.clone(), mappings: Arc::new(mappings) };
    let dry = DryParts {
        policy: policy.clone(),
        library: library.clone(),
        routes: routes.clone(),
        peers: peers.clone(),
    };
    let seed = Seed {
        random: random(),
        end_to_end_first: counters.end_to_end_first,
        session_high: counters.session_high,
        origin_state_id: counters.origin_state_id,
    };
    let mut core = Core::new(Engine::new(policy.clone(), library, seed), routes);
    core.configure(&peers);
    let mut effects = Vec::new();
    core.recover(&found, clock::now(), clock::wall(), &mut effects);

    let (own, inbox) = channel();
    let (jobs, job_inbox) = channel();
    let shared = Arc::new(Shared {
        dry,
        draining: AtomicBool::new(false),
        in_progress: AtomicUsize::new(0),
        in_progress_max: parts.in_progress_max,
        peers: std::sync::Mutex::new(peers.iter().map(PeerStanding::new).collect()),
        controls: std::sync::OnceLock::new(),
        changed: tokio::sync::Notify::new(),
        notices: tokio::sync::broadcast::Sender::new(NOTICES_MAX),
    });
    let common = Common { identity, dictionary, metrics: metrics.clone() };
    let running = peers::spawn(peers, parts.connections, &common, || {
        sink(own.clone(), shared.clone(), metrics.clone())
    })?;
    let controls = Controls { peers: running.peers.clone(), metrics: metrics.clone() };
    let _ = shared.controls.set(controls);
    let engine = EngineThread {
        core,
        inbox,
        own: own.clone(),
        committer: jobs,
        peers: running.peers.clone(),
        metrics: metrics.clone(),
        shared: shared.clone(),
        counts: [SpoolCounts::default(); 2],
        callers: BTreeMap::new(),
        viewers: BTreeMap::new(),
        asked: BTreeMap::new(),
        next_caller: 0,
        commits: 0,
    };
    let retention = parts.retention;
    let to_engine = own.clone();
    let threads = vec![
        thread("farebox-engine", move || engine.run(effects))?,
        thread("farebox-committer", move || {
            committer::run(store, &job_inbox, &to_engine, &metrics, retention);
        })?,
    ];
    let handle = Handle { engine: own, shared };
    Ok(Gateway { handle, running, metrics: common.metrics, threads })
}

/// What a dry run needs of a configuration that is not running.
pub fn dry_parts(config: &Config) -> DryParts {
    DryParts {
        policy: Arc::new(config.policy.clone()),
        library: Library {
            dictionary: config.dictionary.clone(),
            mappings: Arc::new(config.mappings.clone()),
        },
        routes: config.routes.clone(),
        peers: config.peers.clone(),
    }
}

fn thread(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, StartError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| StartError::Thread(error.to_string()))
}

/// The counters of this life, reserved on disk.
fn reserve(store: &mut dyn Store, known: &[(String, u64)]) -> Result<Counters, StartError> {
    let (counters, batch) = counters::next(known, clock::wall(), random());
    match store.commit(&[batch]).pop() {
        Some(CommitResult::Durable) => Ok(counters),
        Some(other) => Err(StartError::Commit(format!("{other:?}"))),
        None => Err(StartError::Commit("the store did not say".to_owned())),
    }
}

/// 64 bits from the operating system's randomness, as the standard library's hasher draws it.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Where the events of one peer go.
fn sink(engine: Sender<Message>, shared: Arc<Shared>, metrics: Arc<Metrics>) -> EventSink {
    Arc::new(move |event| {
        if let PeerEvent::State { peer, .. } | PeerEvent::Fact { peer, .. } = &event
            && let Ok(mut peers) = shared.peers.lock()
            && let Some(standing) = peers.get_mut(*peer)
        {
            let before = standing.last_error.as_ref().map(|error| error.at);
            standing.note(&event, clock::wall());
            let counters = metrics.peer(*peer);
            if let Some(at) = standing.next_attempt {
                counters.next_attempt(at);
            }
            if let Some(error) = standing.last_error.as_ref().filter(|e| Some(e.at) != before) {
                counters.last_error(error.fault, error.at);
            }
        }
        let input = match event {
            PeerEvent::State { peer, state, usable, origin_host, applications, reason, row } => {
                crate::telemetry::facts::peer_state(
                    &metrics,
                    peer,
                    state,
                    row,
                    &reason,
                    clock::wall(),
                );
                shared.changed.notify_waiters();
                Event::Peer { peer, usable, origin_host, applications }
            }
            PeerEvent::Answer { peer, token, hop_by_hop, bytes, round_trip } => {
                Event::Engine(Input::Answer { token, peer, hop_by_hop, bytes, round_trip })
            }
            PeerEvent::Lost { peer, token, sent } => {
                Event::Engine(Input::Lost { token, peer, sent })
            }
            PeerEvent::Request { peer, bytes, answer } => {
                let _ = engine.send(Message::Asked { peer, bytes, answer });
                return;
            }
            PeerEvent::Fact { peer, fact } => {
                crate::telemetry::facts::peer(&metrics, peer, &fact);
                let Fact::PeerRestarted { from, to } = fact else { return };
                Event::Restarted { peer, from, to }
            }
            PeerEvent::Sent { .. } => return,
        };
        let _ = engine.send(Message::Event(input));
    })
}

impl Gateway {
    /// Takes the certificates of another configuration for connections made from now on. Returns
    /// for how many peers.
    pub fn replace_certificates(&self, config: &Config) -> usize {
        self.running.certificates.replace(config, &self.metrics)
    }

    /// Drains, says goodbye to every peer (DPR, REBOOTING) and ends the threads.
    ///
    /// Returns how many calls were still in progress when `timeout` had passed.
    pub async fn shutdown(self, timeout: Duration) -> usize {
        self.handle.drain();
        let until = clock::now() + timeout;
        while self.handle.in_progress() > 0 && clock::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let left = self.handle.in_progress();
        for listener in &self.running.listeners {
            listener.shutdown(DisconnectCause::Rebooting).await;
        }
        for peer in &self.running.peers {
            peer.shutdown(DisconnectCause::Rebooting);
        }
        for peer in &self.running.peers {
            let _ = tokio::time::timeout(Duration::from_secs(6), peer.closed()).await;
        }
        let _ = self.handle.engine.send(Message::Stop);
        let threads = self.threads;
        let _ = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        })
        .await;
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diameter::ids::END_TO_END_BLOCK;
    use crate::store::memory::MemoryStore;

    #[test]
    fn p_30_origin_state_id_stays_for_the_life_of_the_store_and_ids_never_come_back() {
        let mut store = MemoryStore::default();
        let mut lives = Vec::new();
        for _ in 0..3 {
            let known = store.recover().expect("readable").counters;
            lives.push(reserve(&mut store, &known).expect("writable"));
        }
        assert!(lives.windows(2).all(|two| two[0].origin_state_id == two[1].origin_state_id));
        assert!(lives.windows(2).all(|two| two[0].session_high < two[1].session_high));
        let block = |two: &[Counters]| {
            two[1].end_to_end_first.wrapping_sub(two[0].end_to_end_first) == END_TO_END_BLOCK
        };
        assert!(lives.windows(2).all(block));
    }
}
