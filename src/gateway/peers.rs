//! The peers' tasks and the listeners for those that connect to us.

use std::sync::Arc;

use tokio::net::TcpListener;

use super::start::StartError;
use crate::clock::Wall;
use crate::config::Config;
use crate::diameter::Dictionary;
use crate::peer::{Application, Fact, LocalIdentity, PeerConfig};
use crate::telemetry::Metrics;
use crate::tls::Tls;
use crate::transport::{
    self, Allow, ConnectionHandle, EventSink, Network, PeerHandle, ServerConfig, ServerHandle,
    ServerHandler,
};

/// What the peers' connections are made of, besides the peers themselves.
#[derive(Debug, Default)]
pub struct Connections {
    /// Of each peer, in their order; `None`: plain.
    pub tls: Vec<Option<Tls>>,
    /// Where peers connect to us: bound already, each with what it shows if it is TLS.
    pub listeners: Vec<(TcpListener, Option<Tls>)>,
    /// Who may connect.
    pub allow: Vec<Allow>,
}

impl Connections {
    /// As the configuration has it, with the listeners that were bound for it.
    pub fn new(config: &Config, listeners: Vec<(TcpListener, Option<Tls>)>) -> Connections {
        Connections { tls: config.tls.clone(), listeners, allow: allow(config) }
    }
}

/// The allow-list: as it is written, else the configured peers from anywhere.
fn allow(config: &Config) -> Vec<Allow> {
    let Some(entries) = &config.diameter.allow else {
        let named = config.peers.iter().filter(|peer| peer.host.is_some());
        return named
            .map(|peer| Allow {
                network: None,
                host: peer.host.clone(),
                realm: Some(peer.realm.clone()),
            })
            .collect();
    };
    let entry = |entry: &crate::config::settings::AllowEntry| Allow {
        network: entry.network.map(|(address, prefix)| Network { address, prefix }),
        host: entry.host.clone(),
        realm: entry.realm.clone(),
    };
    entries.iter().map(entry).collect()
}

/// The credentials in use. Clones of them are in the peers' tasks and the listeners.
#[derive(Debug)]
pub(super) struct Certificates {
    peers: Vec<(usize, String, Tls)>,
    listeners: Option<Tls>,
}

impl Certificates {
    fn of(peers: &[PeerConfig], connections: &Connections) -> Certificates {
        let named = peers.iter().zip(&connections.tls).enumerate();
        let named = named.filter_map(|(index, (peer, tls))| {
            tls.clone().map(|tls| (index, peer.name.clone(), tls))
        });
        let listeners = connections.listeners.iter().find_map(|(_, tls)| tls.clone());
        Certificates { peers: named.collect(), listeners }
    }

    /// Takes what another configuration has for the same peers. Returns how many had some.
    pub(super) fn replace(&self, config: &Config, metrics: &Metrics) -> usize {
        let newer = |name: &str| {
            let at = config.peers.iter().position(|peer| peer.name == name)?;
            config.tls.get(at)?.as_ref()
        };
        if let (Some(tls), Some(newer)) = (&self.listeners, &config.diameter.tls) {
            tls.replace(newer);
        }
        let mut replaced = 0;
        for (index, name, tls) in &self.peers {
            if let Some(newer) = newer(name) {
                tls.replace(newer);
                show_expiry(metrics, *index, tls);
                replaced += 1;
            }
        }
        replaced
    }
}

/// Who we are to every peer, and what messages mean.
pub(super) struct Common {
    pub(super) identity: LocalIdentity,
    pub(super) dictionary: Arc<Dictionary>,
    pub(super) metrics: Arc<Metrics>,
}

/// What was started.
pub(super) struct Running {
    pub(super) peers: Vec<PeerHandle>,
    pub(super) listeners: Vec<ServerHandle>,
    pub(super) certificates: Certificates,
}

/// Starts the peers' tasks, then the listeners that hand connections over to them.
///
/// # Errors
/// When a listener has no address.
pub(super) fn spawn(
    peers: Vec<PeerConfig>,
    connections: Connections,
    common: &Common,
    sink: impl Fn() -> EventSink,
) -> Result<Running, StartError> {
    let certificates = Certificates::of(&peers, &connections);
    let Connections { tls, listeners, allow } = connections;
    let hosts: Vec<Option<String>> = peers.iter().map(|peer| peer.host.clone()).collect();
    let applications = applications(&peers);
    let limits = peers.first().map(|peer| peer.limits).unwrap_or_default();
    let mut handles = Vec::new();
    for (index, mut config) in peers.into_iter().enumerate() {
        // The core keeps the rate; counted again a moment later it would refuse at random.
        config.rate = None;
        let (identity, dictionary) = (common.identity.clone(), common.dictionary.clone());
        handles.push(match tls.get(index).cloned().flatten() {
            Some(tls) => {
                show_expiry(&common.metrics, index, &tls);
                transport::spawn_tls(index, config, tls, identity, dictionary, sink())
            }
            None => transport::spawn(index, config, identity, dictionary, sink()),
        });
    }
    let named = hosts.into_iter().zip(&handles);
    let named: Vec<(String, PeerHandle)> =
        named.filter_map(|(host, handle)| Some((host?, handle.clone()))).collect();
    let mut servers = Vec::new();
    for (listener, tls) in listeners {
        let config = ServerConfig {
            applications: applications.clone(),
            commands: Vec::new(),
            allow: allow.clone(),
            limits,
            peers: named.clone(),
            peers_only: true,
            tls,
            ..ServerConfig::new(common.identity.clone(), common.dictionary.clone())
        };
        let strangers = Arc::new(Strangers { metrics: common.metrics.clone() });
        let server = transport::serve(listener, config, strangers);
        servers.push(server.map_err(|error| StartError::Listen(error.to_string()))?);
    }
    Ok(Running { peers: handles, listeners: servers, certificates })
}

/// Tells when our own certificate towards a peer ends.
fn show_expiry(metrics: &Metrics, peer: usize, tls: &Tls) {
    let end = i64::try_from(tls.certificate().not_after).unwrap_or(i64::MAX);
    metrics.peer(peer).certificate_expiry("ours", Wall::from_secs(end));
}

/// Everything that any peer is told we support: the hint in a CEA to a stranger.
fn applications(peers: &[PeerConfig]) -> Vec<Application> {
    let mut all: Vec<Application> =
        peers.iter().flat_map(|peer| peer.applications.clone()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Whoever is none of the peers: refused, counted, told. Never served.
struct Strangers {
    metrics: Arc<Metrics>,
}

impl ServerHandler for Strangers {
    fn connected(&self, _conn: u64, _origin_host: &str, out: ConnectionHandle) {
        out.reset();
    }

    fn request(&self, _conn: u64, _bytes: bytes::Bytes, _out: &ConnectionHandle) {}

    fn answer(&self, _conn: u64, _bytes: bytes::Bytes) {}

    fn closed(&self, _conn: u64) {}

    fn fact(&self, fact: Fact) {
        // No peer of the configuration: the label is `other`.
        crate::telemetry::facts::peer(&self.metrics, usize::MAX, &fact);
    }
}
