//! The responder side: accepts connections for the simulator and for `diameter.listen`.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::clock;
use crate::diameter::{
    self, CommandFlags, Dictionary, Header, Message, application, command, decode, id, result_code,
    value::identity_eq,
};
use crate::peer::base::{Kind, kind};
use crate::peer::capabilities::{self, Refusal};
use crate::peer::control_block::{ControlBlock, Service};
use crate::peer::{
    Application, DisconnectCause, Fact, Limits, LocalIdentity, PeerConfig, PeerState,
    watchdog as peer_watchdog,
};

use super::Refused;
use super::connection::{Command, Connection, Control, Newcomer, Owner, Target, refuse};
use super::dial::{PeerHandle, give_newcomer, seed};
use super::end::End;
use super::tls;
use super::wire::Wire;
use crate::tls::Tls;

/// Answers and requests that may wait for a connection to take them: more than the requests of
/// one read, so that a handler may answer all of them before the task goes on.
const COMMANDS: usize = 16 * 1024;

/// Orders that may wait for a connection.
const ORDERS: usize = 16;

/// Requests of ours that may be outstanding on a connection.
const WINDOW: usize = 1024;

/// Who listens, and for whom.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Who we are.
    pub identity: LocalIdentity,
    /// What CEA carries.
    pub applications: Vec<Application>,
    /// (Application-Id, Command-Code) of the requests that the handler wants; others are answered
    /// 3001 or 3007.
    pub commands: Vec<(u32, u32)>,
    /// Who may connect; empty: anybody.
    pub allow: Vec<Allow>,
    /// Twinit.
    pub watchdog: Duration,
    /// Limits of each connection.
    pub limits: Limits,
    /// Connections from one address.
    pub connections_per_address_max: usize,
    /// For grammar and error answers.
    pub dictionary: Arc<Dictionary>,
    /// Peers that have a task of their own: a connection of theirs is theirs.
    pub peers: Vec<(String, PeerHandle)>,
    /// Only those may connect.
    pub peers_only: bool,
    /// Every connection is TLS, and must show a certificate.
    pub tls: Option<Tls>,
}

impl ServerConfig {
    /// A server of charging requests with every default, for anybody.
    pub fn new(identity: LocalIdentity, dictionary: Arc<Dictionary>) -> ServerConfig {
        ServerConfig {
            identity,
            applications: Application::DEFAULT.to_vec(),
            commands: vec![
                (application::CREDIT_CONTROL, command::CREDIT_CONTROL),
                (application::ACCOUNTING, command::ACCOUNTING),
            ],
            allow: Vec::new(),
            watchdog: peer_watchdog::TWINIT,
            limits: Limits::default(),
            connections_per_address_max: 10,
            dictionary,
            peers: Vec::new(),
            peers_only: false,
            tls: None,
        }
    }
}

/// One entry of the allow-list: all that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// The connection's remote address, judged before the first octet is read.
    pub network: Option<Network>,
    /// Origin-Host of the CER.
    pub host: Option<String>,
    /// Origin-Realm of the CER.
    pub realm: Option<String>,
}

/// `192.0.2.0/28`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Any address in it.
    pub address: IpAddr,
    /// Bits that must agree.
    pub prefix: u8,
}

impl Network {
    /// Whether an address lies in it. An IPv4 address in IPv6 form counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address.to_canonical() {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        let ((a, width_a), (b, width_b)) = (bits(self.address), bits(address));
        let prefix = u32::from(self.prefix).min(width_a);
        width_a == width_b && (prefix == 0 || (a ^ b) >> (128 - prefix) == 0)
    }
}

/// Serves what comes over accepted connections. Called from the connection's task: must not block.
pub trait ServerHandler: Send + Sync + 'static {
    /// A connection is open; `conn` names it from now on.
    fn connected(&self, conn: u64, origin_host: &str, out: ConnectionHandle);
    /// A request came.
    fn request(&self, conn: u64, bytes: Bytes, out: &ConnectionHandle);
    /// The answer to a request that was sent through the [`ConnectionHandle`].
    fn answer(&self, conn: u64, bytes: Bytes);
    /// The connection is gone.
    fn closed(&self, conn: u64);
    /// Worth a metric or a log line.
    fn fact(&self, _fact: Fact) {}
}

/// One open connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConnectionHandle {
    commands: mpsc::Sender<Command>,
    control: mpsc::Sender<Control>,
}

impl ConnectionHandle {
    /// Sends a whole message: an answer as it is, a request with a Hop-by-Hop id of its own.
    ///
    /// Answers are not looked at, so that faults can be sent on purpose.
    ///
    /// # Errors
    /// When the connection is gone or its peer does not read.
    pub fn send(&self, bytes: Bytes) -> Result<(), Refused> {
        let header = Header::parse(&bytes);
        let command = match header.filter(|header| header.flags.is_request()) {
            Some(header) => Command::Send {
                token: u64::from(header.end_to_end),
                retransmit: header.flags.0 & CommandFlags::RETRANSMIT != 0,
                bytes,
            },
            None => Command::Reply { connection: 1, bytes },
        };
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Window,
            mpsc::error::TrySendError::Closed(_) => Refused::NotUsable,
        })
    }

    /// Sends a DPR with this cause and closes after the DPA.
    pub fn disconnect(&self, cause: DisconnectCause) {
        self.order(Control::Stop(cause));
    }

    /// Closes without a DPR, after what was sent has left.
    pub fn close(&self) {
        self.order(Control::Close);
    }

    /// Resets the connection at once.
    pub fn reset(&self) {
        self.order(Control::Reset);
    }

    fn order(&self, order: Control) {
        // A full queue has enough orders to end the connection; without a task it has ended.
        let _ = self.control.try_send(order);
    }
}

/// A running listener. Dropping it ends it as [`ServerHandle::shutdown`] does, without waiting.
#[derive(Debug)]
pub struct ServerHandle {
    local_addr: SocketAddr,
    stop: watch::Sender<Option<DisconnectCause>>,
}

impl ServerHandle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops listening and says goodbye on every connection; returns when all are closed, in
    /// bounded time.
    pub async fn shutdown(&self, cause: DisconnectCause) {
        self.stop.send_replace(Some(cause));
        // Every task of the listener holds a receiver.
        self.stop.closed().await;
    }
}

/// Starts to accept connections. Must be called inside a tokio runtime.
///
/// # Errors
/// When the listener has no address.
pub fn serve(
    listener: TcpListener,
    config: ServerConfig,
    handler: Arc<dyn ServerHandler>,
) -> std::io::Result<ServerHandle> {
    let local_addr = listener.local_addr()?;
    let (stop, stopped) = watch::channel(None);
    let server = Arc::new(Server {
        config,
        handler,
        next_conn: AtomicU64::new(1),
        tables: Mutex::new(Tables::default()),
    });
    tokio::spawn(accept(listener, server, stopped));
    Ok(ServerHandle { local_addr, stop })
}

/// What the tasks of a listener share.
struct Server {
    config: ServerConfig,
    handler: Arc<dyn ServerHandler>,
    next_conn: AtomicU64,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    /// Connections by address.
    addresses: BTreeMap<IpAddr, usize>,
    /// Tasks by Origin-Host in lower case (H-34): one connection a peer (P-04).
    hosts: BTreeMap<String, (u64, mpsc::Sender<Control>)>,
}

impl Server {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an address may connect, before its first octet is read.
    fn allows_address(&self, ip: IpAddr) -> bool {
        let allow = &self.config.allow;
        allow.is_empty()
            || allow.iter().any(|one| one.network.is_none_or(|network| network.contains(ip)))
    }

    /// Whether one entry allows address, Origin-Host and Origin-Realm together.
    fn allows(&self, ip: IpAddr, host: &str, realm: &str) -> bool {
        let allow = &self.config.allow;
        let fits = |wanted: &Option<String>, told: &str| {
            wanted.as_deref().is_none_or(|wanted| identity_eq(wanted, told))
        };
        allow.is_empty()
            || allow.iter().any(|one| {
                one.network.is_none_or(|network| network.contains(ip))
                    && fits(&one.host, host)
                    && fits(&one.realm, realm)
            })
    }
}

/// A place in the count of connections of one address.
struct Place {
    server: Arc<Server>,
    ip: IpAddr,
}

impl Place {
    fn take(server: &Arc<Server>, ip: IpAddr) -> Option<Place> {
        let mut tables = server.tables();
        let count = tables.addresses.entry(ip).or_insert(0);
        if *count >= server.config.connections_per_address_max {
            return None;
        }
        *count += 1;
        Some(Place { server: server.clone(), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut tables = self.server.tables();
        if let Some(count) = tables.addresses.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                tables.addresses.remove(&self.ip);
            }
        }
    }
}

type Stopped = watch::Receiver<Option<DisconnectCause>>;

/// Accepts until it is stopped. The allow-list is asked before the first octet is read (P-28).
async fn accept(listener: TcpListener, server: Arc<Server>, mut stopped: Stopped) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        let (socket, remote) = match accepted {
            Ok(accepted) => accepted,
            // Out of descriptors, or gone before it was accepted: the next one may do better.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let ip = remote.ip().to_canonical();
        let refused = if !server.allows_address(ip) {
            Some("its address is not allowed")
        } else if let Some(place) = Place::take(&server, ip) {
            tokio::spawn(attend(socket, server.clone(), place, stopped.clone()));
            None
        } else {
            Some("too many connections from its address")
        };
        if let Some(reason) = refused {
            let (from, result_code) = (remote.to_string(), result_code::UNKNOWN_PEER);
            let reason = reason.to_owned();
            server.handler.fact(Fact::ConnectionRefused { from, result_code, reason });
        }
    }
}

/// One accepted connection from its first octet to its end.
async fn attend(tcp: TcpStream, server: Arc<Server>, place: Place, mut stopped: Stopped) {
    let limits = server.config.limits;
    let from = tcp.peer_addr().map_or_else(|_| "unknown".to_owned(), |from| from.to_string());
    let greeted = async {
        let secured = tls::accept(tcp, server.config.tls.as_ref()).await;
        let socket = secured.map_err(|end| {
            let (result_code, from) = (result_code::NO_COMMON_SECURITY, from.clone());
            Fact::ConnectionRefused { from, result_code, reason: end.words }
        })?;
        let greeted = greet(Wire::new(socket, &limits)).await;
        greeted.map_err(|reason| Fact::BadFrame { reason })
    };
    let newcomer = tokio::select! {
        greeted = tokio::time::timeout(limits.handshake, greeted) => match greeted {
            Ok(Ok(newcomer)) => newcomer,
            Ok(Err(fact)) => return server.handler.fact(fact),
            Err(_) => {
                let reason = format!("{from} sent no CER in time");
                return server.handler.fact(Fact::Disconnected { reason });
            }
        },
        _ = stopped.changed() => return,
    };
    let codec = diameter::Limits {
        message_bytes_max: limits.message_bytes_max,
        ..diameter::Limits::default()
    };
    // Judged in full by the control block; here only whose it is.
    let (cer, _) = decode(&newcomer.cer, &server.config.dictionary, &codec);
    let host = cer.text(id::ORIGIN_HOST).unwrap_or_default().to_owned();
    let realm = cer.text(id::ORIGIN_REALM).unwrap_or_default();
    if !server.allows(place.ip, &host, realm) {
        let reason = "no entry of `allow` fits its address, Origin-Host and Origin-Realm";
        return refuse_stranger(&server, newcomer, &cer, from, reason.to_owned());
    }
    let own = server.config.peers.iter().find(|(own, _)| identity_eq(own, &host));
    match own {
        Some((_, peer)) => match peer.believes(newcomer.wire.proof()) {
            // A peer whose task does not take it now dials again; nobody else could serve it.
            Ok(()) => drop(peer.adopt(newcomer)),
            Err(reason) => refuse_stranger(&server, newcomer, &cer, from, reason),
        },
        None if server.config.peers_only => {
            let reason = format!("no configured peer has the Origin-Host `{host}`");
            refuse_stranger(&server, newcomer, &cer, from, reason);
        }
        None => run(server, host, newcomer, stopped).await,
    }
    drop(place);
}

/// Reads the first message, which must be a CER (RFC 6733, 5.6.1; P-20).
async fn greet(mut wire: Wire) -> Result<Newcomer, String> {
    let mut end = None;
    loop {
        if wire.begins_with_tls() {
            return Err("it speaks TLS where plain Diameter is expected".to_owned());
        }
        match (wire.next_message(clock::now()), end) {
            (Some(Ok(cer)), _) => return greeted(wire, cer),
            (Some(Err(error)), _) => return Err(format!("bad length: {error}")),
            (None, Some(End { words, .. })) => return Err(format!("{words} before any CER")),
            (None, None) => {}
        }
        end = poll_fn(|cx| match wire.poll(cx, true) {
            progress if progress.moved || progress.end.is_some() => Poll::Ready(progress.end),
            _ => Poll::Pending,
        })
        .await;
    }
}

/// Holds the first message against what it must be.
fn greeted(wire: Wire, cer: Bytes) -> Result<Newcomer, String> {
    let header = Header::parse(&cer).ok_or("no header")?;
    // A CER with a wrong version or E set is refused with an answer, so it goes on as one.
    let named = kind(&Header { version: 1, flags: CommandFlags(CommandFlags::REQUEST), ..header });
    if named != Kind::Cer || !header.flags.is_request() {
        return Err(format!("command {} before any CER", header.code));
    }
    Ok(Newcomer { wire, cer })
}

/// Answers 3010 to the CER of a peer that is not known (P-19). Why is told here, not there.
fn refuse_stranger(
    server: &Server,
    newcomer: Newcomer,
    cer: &Message,
    from: String,
    reason: String,
) {
    let result_code = result_code::UNKNOWN_PEER;
    let refusal = Refusal {
        fault: PeerState::BadConfig,
        reason: "unknown peer".to_owned(),
        result_code,
        failed: None,
    };
    let config = &server.config;
    let cea = capabilities::cea(
        &cer.header,
        &config.identity,
        &config.applications,
        &newcomer.wire.local(),
        Some(&refusal),
    );
    refuse(newcomer.wire, Some(cea.encode(&config.dictionary)));
    server.handler.fact(Fact::ConnectionRefused { from, result_code, reason });
}

/// Runs a connection, unless one of the same Origin-Host is there already, whose task then gets
/// it: one connection a peer (P-04).
async fn run(server: Arc<Server>, host: String, mut newcomer: Newcomer, stopped: Stopped) {
    let conn = server.next_conn.fetch_add(1, Ordering::Relaxed);
    let (control, control_in) = mpsc::channel(ORDERS);
    let key = host.to_ascii_lowercase();
    {
        let mut tables = server.tables();
        if let Some((_, other)) = tables.hosts.get(&key)
            && !other.is_closed()
        {
            match give_newcomer(other, newcomer) {
                // It has ended just now, or has as many newcomers as it can refuse.
                Some(back) if other.is_closed() => newcomer = back,
                _ => return,
            }
        }
        tables.hosts.insert(key.clone(), (conn, control.clone()));
    }
    drive(&server, conn, &host, newcomer, (control, control_in), stopped).await;
    let mut tables = server.tables();
    if tables.hosts.get(&key).is_some_and(|(other, _)| *other == conn) {
        tables.hosts.remove(&key);
    }
}

type Orders = (mpsc::Sender<Control>, mpsc::Receiver<Control>);

/// Runs the control block of a connection until that is gone.
async fn drive(
    server: &Server,
    conn: u64,
    host: &str,
    newcomer: Newcomer,
    (control, control_in): Orders,
    mut stopped: Stopped,
) {
    let config = &server.config;
    let (commands, commands_in) = mpsc::channel(COMMANDS);
    let mut peer = PeerConfig::new(host, None, "");
    peer.host = Some(host.to_owned()).filter(|host| !host.is_empty());
    peer.applications.clone_from(&config.applications);
    peer.watchdog = config.watchdog;
    peer.limits = config.limits;
    peer.window = WINDOW;
    let service = Service { commands: config.commands.clone(), ..Service::default() };
    let identity = config.identity.clone();
    let dictionary = config.dictionary.clone();
    let block = ControlBlock::new(peer, service, identity, dictionary, seed(conn as usize));
    let owner = ServerOwner {
        conn,
        handler: server.handler.clone(),
        handle: ConnectionHandle { commands, control: control.clone() },
        connected: false,
    };
    let target = Target::default();
    let connection = Connection::new(block, owner, target, config.limits, commands_in, control_in);
    let mut running = std::pin::pin!(connection.run(Some(newcomer)));
    tokio::select! {
        () = &mut running => {}
        _ = stopped.changed() => {
            let cause = stopped.borrow().unwrap_or(DisconnectCause::Rebooting);
            let _ = control.try_send(Control::Stop(cause));
            running.await;
        }
    }
}

/// Turns what happens into calls of the handler.
struct ServerOwner {
    conn: u64,
    handler: Arc<dyn ServerHandler>,
    handle: ConnectionHandle,
    connected: bool,
}

impl Owner for ServerOwner {
    fn state(&mut self, block: &ControlBlock, state: PeerState, _usable: bool, _reason: String) {
        if state == PeerState::Open && !self.connected {
            self.connected = true;
            let host = block.peer().map_or("", |peer| peer.origin_host.as_str());
            self.handler.connected(self.conn, host, self.handle.clone());
        }
    }

    fn sent(&mut self, _token: u64, _hop_by_hop: u32) {}

    fn answer(&mut self, _token: u64, _hop_by_hop: u32, bytes: Bytes, _round_trip: Duration) {
        self.handler.answer(self.conn, bytes);
    }

    fn lost(&mut self, _token: u64, _sent: bool) {}

    fn request(&mut self, _connection: u64, bytes: Bytes) {
        self.handler.request(self.conn, bytes, &self.handle);
    }

    fn fact(&mut self, fact: Fact) {
        self.handler.fact(fact);
    }

    fn progress(&mut self, _taken: u64, _in_window: u64) {}

    fn ends_with_connection(&self) -> bool {
        true
    }

    fn ended(&mut self) {
        if self.connected {
            self.handler.closed(self.conn);
        }
    }
}
