//! The inside of a running simulated server: its handler, its file, its one task.

use std::collections::{BTreeMap, BinaryHeap};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};

use crate::clock::{self, Now};
use crate::diameter::Dictionary;
use crate::peer::{Application, DisconnectCause, LocalIdentity};
use crate::transport::{ConnectionHandle, ServerConfig, ServerHandle, ServerHandler, serve};

use super::fault::{Due, End, Fault, Sessions};
use super::ocs::SessionView;
use super::run::Options;
use super::server::{Act, Charging, Server};

/// Answers that can wait at a time; beyond that a delayed answer goes at once.
const DELAYED_MAX: usize = 100_000;

/// Connections from one address: a test bench is one address.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 1_000;

/// How often silent sessions are looked for.
const EXPIRY_TICK: Duration = Duration::from_secs(1);

type Stop = (oneshot::Sender<()>, oneshot::Receiver<()>);

/// One running server.
#[derive(Debug)]
pub(super) struct Shared<C> {
    charging: Arc<Mutex<C>>,
    server: Mutex<Server>,
    /// Origin-Host and handle of each connection.
    connections: Mutex<BTreeMap<u64, (String, ConnectionHandle)>>,
    delayed: Mutex<DelayQueue>,
    out: Mutex<Out>,
    local_addr: SocketAddr,
    /// Something new for the housekeeper.
    wake: Notify,
    stop: Mutex<Option<Stop>>,
}

/// The CDRs' file, and lines that could not be written yet.
#[derive(Debug, Default)]
struct Out {
    file: Option<File>,
    waiting: Vec<u8>,
}

/// Acts that wait, those of one instant in their order.
#[derive(Debug, Default)]
struct DelayQueue {
    heap: BinaryHeap<Delayed>,
    pushed: u64,
}

impl DelayQueue {
    /// Gives the act back if there are too many.
    fn push(&mut self, due: Now, connection: u64, act: Act) -> Result<(), Act> {
        if self.heap.len() >= DELAYED_MAX {
            return Err(act);
        }
        self.pushed += 1;
        self.heap.push(Delayed { due, order: self.pushed, connection, act });
        Ok(())
    }

    fn pop_due(&mut self, now: Now) -> Option<Delayed> {
        self.heap.peek().filter(|first| first.due <= now)?;
        self.heap.pop()
    }
}

/// An act that waits; the earliest is the greatest, for the heap.
#[derive(Debug, PartialEq, Eq)]
struct Delayed {
    due: Now,
    order: u64,
    connection: u64,
    act: Act,
}

impl Ord for Delayed {
    fn cmp(&self, other: &Delayed) -> std::cmp::Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Delayed) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a file for records to be appended.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Listens and starts the tasks.
pub(super) async fn start<C: Charging + Send + 'static>(
    options: Options,
    charging: Arc<Mutex<C>>,
    application: Application,
    commands: (u32, u32),
    file: Option<File>,
) -> io::Result<Arc<Shared<C>>> {
    let listener = TcpListener::bind(options.listen).await?;
    let identity = LocalIdentity {
        product_name: "farebox-sim".to_owned(),
        ..LocalIdentity::new(&options.identity.host, &options.identity.realm)
    };
    let config = ServerConfig {
        applications: vec![application],
        commands: vec![commands],
        connections_per_address_max: CONNECTIONS_PER_ADDRESS_MAX,
        ..ServerConfig::new(identity, Arc::new(Dictionary::builtin().clone()))
    };
    let mut server = Server::new(options.identity);
    server.set_latency(options.latency);
    let now = clock::now();
    for fault in options.faults {
        server.add_fault(fault, now);
    }
    let (stop, stopped) = oneshot::channel();
    let (ended, end) = oneshot::channel();
    let shared = Arc::new(Shared {
        charging,
        server: Mutex::new(server),
        connections: Mutex::default(),
        delayed: Mutex::default(),
        out: Mutex::new(Out { file, waiting: Vec::new() }),
        local_addr: listener.local_addr()?,
        wake: Notify::new(),
        stop: Mutex::new(Some((stop, end))),
    });
    let handle = serve(listener, config.clone(), shared.clone())?;
    let housekeeper = Housekeeper { shared: shared.clone(), config, handle: Some(handle) };
    tokio::spawn(async move {
        housekeeper.run(stopped).await;
        let _ = ended.send(());
    });
    Ok(shared)
}

impl<C: Charging + Send + 'static> ServerHandler for Shared<C> {
    fn connected(&self, conn: u64, origin_host: &str, out: ConnectionHandle) {
        self.connections().insert(conn, (origin_host.to_owned(), out));
    }

    fn request(&self, conn: u64, bytes: Bytes, out: &ConnectionHandle) {
        let now = clock::now();
        let (acts, lines) = {
            let mut charging = self.charging();
            let mut server = self.server();
            let acts = server.request(&mut *charging, conn, &bytes, now, clock::wall());
            (acts, charging.take_lines())
        };
        // What is not in the file is not acknowledged; the copy that follows finds it there.
        if let Err(error) = lock(&self.out).write(&lines) {
            tracing::error!(event = "sim.cdr_failed", %error, "a CDR could not be written");
            return;
        }
        for act in acts {
            self.carry_out(conn, out, act, now);
        }
    }

    fn answer(&self, _conn: u64, bytes: Bytes) {
        self.server().peer_answer(&bytes);
    }

    fn closed(&self, conn: u64) {
        self.connections().remove(&conn);
        self.server().closed(conn);
    }
}

impl Out {
    /// Appends the lines, those of earlier failures first.
    fn write(&mut self, lines: &[String]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        for line in lines {
            self.waiting.extend_from_slice(line.as_bytes());
            self.waiting.push(b'\n');
        }
        if self.waiting.is_empty() {
            return Ok(());
        }
        let length = file.metadata()?.len();
        if let Err(error) = file.write_all(&self.waiting) {
            // No half lines: they would be written twice.
            let _ = file.set_len(length);
            return Err(error);
        }
        self.waiting.clear();
        Ok(())
    }
}

impl<C: Charging + Send + 'static> Shared<C> {
    /// Where it listens.
    pub(super) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The charging, to be shared.
    pub(super) fn books(&self) -> Arc<Mutex<C>> {
        self.charging.clone()
    }

    /// Adds a fault from now on.
    pub(super) fn add_fault(&self, fault: Fault) -> Option<u64> {
        let id = self.server().add_fault(fault, clock::now());
        self.wake.notify_one();
        id
    }

    /// Takes one fault away, or all of them.
    pub(super) fn remove_fault(&self, id: Option<u64>) -> bool {
        let removed = self.server().remove_fault(id);
        self.wake.notify_one();
        removed
    }

    /// Ends the server and waits for its end; a second call does nothing.
    pub(super) async fn shutdown(&self) {
        let stop = lock(&self.stop).take();
        if let Some((stop, ended)) = stop {
            let _ = stop.send(());
            let _ = ended.await;
        }
    }

    pub(super) fn charging(&self) -> MutexGuard<'_, C> {
        lock(&self.charging)
    }

    pub(super) fn server(&self) -> MutexGuard<'_, Server> {
        lock(&self.server)
    }

    pub(super) fn connections(&self) -> MutexGuard<'_, BTreeMap<u64, (String, ConnectionHandle)>> {
        lock(&self.connections)
    }

    fn carry_out(&self, connection: u64, out: &ConnectionHandle, act: Act, now: Now) {
        let (Act::Send { after, .. } | Act::End { after, .. }) = &act;
        if after.is_zero() {
            return do_now(out, act);
        }
        let due = now + *after;
        match lock(&self.delayed).push(due, connection, act) {
            Ok(()) => self.wake.notify_one(),
            Err(act) => do_now(out, act),
        }
    }

    pub(super) fn disconnect(&self, cause: DisconnectCause) {
        for (_, out) in self.connections().values() {
            out.disconnect(cause);
        }
    }

    pub(super) fn send_rar(&self, sessions: &Sessions, rating_group: Option<u32>) -> usize {
        let open = self.charging().pick(sessions);
        open.iter()
            .filter(|session| {
                let request = self.server().rar(session, rating_group);
                self.send_to(session, request)
            })
            .count()
    }

    pub(super) fn send_asr(&self, sessions: &Sessions) -> usize {
        let open = self.charging().pick(sessions);
        open.iter()
            .filter(|session| {
                let request = self.server().asr(session);
                self.send_to(session, request)
            })
            .count()
    }

    /// To the session's client, or to an agent if it is not connected itself.
    fn send_to(&self, session: &SessionView, request: Bytes) -> bool {
        let connections = self.connections();
        let direct = connections.values().find(|(host, _)| *host == session.client.0);
        match direct.or_else(|| connections.values().next()) {
            Some((_, out)) => out.send(request).is_ok(),
            None => false,
        }
    }
}

fn do_now(out: &ConnectionHandle, act: Act) {
    match act {
        Act::Send { bytes, .. } => {
            if let Err(error) = out.send(bytes) {
                tracing::debug!(event = "sim.answer_lost", %error, "an answer was not sent");
            }
        }
        Act::End { how: End::Close, .. } => out.close(),
        Act::End { how: End::Reset, .. } => out.reset(),
    }
}

/// The one task of a server besides those of its connections.
struct Housekeeper<C> {
    shared: Arc<Shared<C>>,
    config: ServerConfig,
    /// `None` while connections are refused.
    handle: Option<ServerHandle>,
}

impl<C: Charging + Send + 'static> Housekeeper<C> {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        loop {
            let now = clock::now();
            self.send_delayed(now);
            self.do_due(now);
            self.refuse_or_listen(now).await;
            {
                let lines = {
                    let mut charging = self.shared.charging();
                    charging.expire(clock::wall());
                    charging.take_lines()
                };
                if let Err(error) = lock(&self.shared.out).write(&lines) {
                    tracing::error!(event = "sim.cdr_failed", %error, "a CDR could not be written");
                }
            }
            let wait = self.next_timeout(now).since(clock::now());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.shared.wake.notified() => {}
                _ = &mut stopped => break,
            }
        }
        if let Some(handle) = self.handle.take() {
            handle.shutdown(DisconnectCause::Rebooting).await;
        }
    }

    fn next_timeout(&self, now: Now) -> Now {
        let delayed = lock(&self.shared.delayed).heap.peek().map(|delayed| delayed.due);
        let fault = self.shared.server().next_timeout(now);
        let tick = now + EXPIRY_TICK;
        [delayed, fault].into_iter().flatten().fold(tick, Now::min)
    }

    fn send_delayed(&self, now: Now) {
        loop {
            let next = lock(&self.shared.delayed).pop_due(now);
            let Some(Delayed { connection, act, .. }) = next else { return };
            let out = self.shared.connections().get(&connection).map(|(_, out)| out.clone());
            if let Some(out) = out {
                do_now(&out, act);
            }
        }
    }

    fn do_due(&self, now: Now) {
        let due = self.shared.server().due(now);
        for due in due {
            match due {
                Due::End(how) => self.end_all(how),
                Due::Dpr(cause) => self.shared.disconnect(DisconnectCause::from_value(cause)),
                Due::Rar(sessions, group) => {
                    self.shared.send_rar(&sessions, group);
                }
                Due::Asr(sessions) => {
                    self.shared.send_asr(&sessions);
                }
            }
        }
    }

    fn end_all(&self, how: End) {
        for (_, out) in self.shared.connections().values() {
            match how {
                End::Close => out.close(),
                End::Reset => out.reset(),
            }
        }
    }

    async fn refuse_or_listen(&mut self, now: Now) {
        let refuses = self.shared.server().refuses(now);
        match self.handle.take() {
            Some(handle) if refuses => {
                // Whoever came since is reset too, before anybody can be sent a DPR.
                self.end_all(End::Reset);
                handle.shutdown(DisconnectCause::Rebooting).await;
            }
            Some(handle) => self.handle = Some(handle),
            None if refuses => {}
            // The address was ours a moment ago; if it is taken now, the next round tries again.
            None => match TcpListener::bind(self.shared.local_addr).await {
                Ok(listener) => {
                    let handler = self.shared.clone();
                    self.handle = serve(listener, self.config.clone(), handler).ok();
                }
                Err(error) => {
                    tracing::warn!(event = "sim.listen_failed", %error, "cannot listen again");
                }
            },
        }
    }
}
