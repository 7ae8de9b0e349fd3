//! The responder side: accepts connections for the simulator and for `diameter.listen`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;

use crate::diameter::{Dictionary, application, command};
use crate::peer::{Application, DisconnectCause, Limits, LocalIdentity, watchdog};

use super::Refused;

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
            watchdog: watchdog::TWINIT,
            limits: Limits::default(),
            connections_per_address_max: 10,
            dictionary,
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
pub trait ServerHandler: Send + Sync {
    /// A connection is open; `conn` names it from now on.
    fn connected(&self, conn: u64, origin_host: &str, out: ConnectionHandle);
    /// A request came.
    fn request(&self, conn: u64, bytes: Bytes, out: &ConnectionHandle);
    /// The answer to a request that was sent through the [`ConnectionHandle`].
    fn answer(&self, conn: u64, bytes: Bytes);
    /// The connection is gone.
    fn closed(&self, conn: u64);
}

/// One open connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConnectionHandle {}

impl ConnectionHandle {
    /// Sends a whole message: an answer as it is, a request with a Hop-by-Hop id of its own.
    ///
    /// # Errors
    /// When the connection is gone or its peer does not read.
    pub fn send(&self, _bytes: Bytes) -> Result<(), Refused> {
        Err(Refused::NotUsable)
    }

    /// Sends a DPR with this cause and closes after the DPA.
    pub fn disconnect(&self, _cause: DisconnectCause) {}

    /// Closes without a DPR, after what was sent has left.
    pub fn close(&self) {}

    /// Resets the connection at once.
    pub fn reset(&self) {}
}

/// A running listener.
#[derive(Debug)]
pub struct ServerHandle {
    local_addr: SocketAddr,
}

impl ServerHandle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops listening and says goodbye on every connection; returns when all are closed, in
    /// bounded time.
    pub async fn shutdown(&self, _cause: DisconnectCause) {}
}

/// Starts to accept connections.
///
/// # Errors
/// When the listener has no address.
pub fn serve(
    listener: TcpListener,
    _config: ServerConfig,
    _handler: Arc<dyn ServerHandler>,
) -> std::io::Result<ServerHandle> {
    Ok(ServerHandle { local_addr: listener.local_addr()? })
}
