//! A whole gateway in this process: store, engine, peers, API port, admin port.
//!
//! `run` and `demo` start the same thing; they differ in where the configuration comes from.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::exit::{Exit, Failure};
use super::operators::{Known, Operators};
use super::ports;
use crate::api;
use crate::charging::policy::Retention;
use crate::clock;
use crate::config::Config;
use crate::console;
use crate::diagnostic::Code;
use crate::gateway::dry_run::interfaces;
use crate::gateway::{Connections, Gateway, Handle, Parts, start};
use crate::store::sqlite::{Options, SqliteStore};
use crate::telemetry::{Metrics, Names, PeerNames};
use crate::tls::Tls;

/// Calls in progress may finish so long after the engine has ended.
const PORTS_CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// A running gateway with its ports.
pub(crate) struct Instance {
    /// The gateway.
    pub(crate) handle: Handle,
    /// Where CPM servers send triggers.
    pub(crate) api: SocketAddr,
    /// Where operators look.
    pub(crate) admin: SocketAddr,
    /// Where peers connect to us, and whether over TLS.
    pub(crate) diameter: Vec<(SocketAddr, bool)>,
    gateway: Gateway,
    close: watch::Sender<bool>,
    ports: Vec<JoinHandle<()>>,
    drain_timeout: Duration,
}

impl Instance {
    /// Binds the ports, opens the store and starts everything. Needs a tokio runtime.
    ///
    /// # Errors
    /// A port in use (1), a store held by another process (75) or not usable.
    pub(crate) async fn start(config: Config) -> Result<Instance, Failure> {
        let api_listener = bind("api.listen", config.api.listen).await?;
        let admin_listener = bind("admin.listen", config.admin.listen).await?;
        let (api, admin) = (local(&api_listener)?, local(&admin_listener)?);
        let options = Options::new(&config.store.path).max_size(config.store.max_size_bytes);
        let store = SqliteStore::open(&options).map_err(|error| {
            let exit = if error.code() == Code::FB2002 { Exit::TryAgain } else { Exit::Failed };
            Failure::coded(exit, error.code(), error.to_string())
        })?;
        let metrics = Arc::new(Metrics::new(names(&config)));
        metrics.config_applied("1", &fingerprint(&config), clock::wall());
        let api_rules = api::Rules::of(&config);
        let admin_rules = console::Rules::from(&config.admin);
        let known = Known::of(&config);
        let listeners = peer_listeners(&config).await?;
        let mut diameter = Vec::new();
        for (listener, tls) in &listeners {
            diameter.push((local(listener)?, tls.is_some()));
        }
        let connections = Connections::new(&config, listeners);
        let gateway = start(Parts {
            policy: config.policy,
            peers: config.peers,
            identity: config.identity,
            routes: config.routes,
            mappings: config.mappings,
            dictionary: config.dictionary,
            store: Box::new(store),
            retention: Retention {
                acknowledged: config.store.keep_acknowledged,
                dead_letter: config.store.keep_dead,
            },
            in_progress_max: config.api.in_flight_max,
            metrics: metrics.clone(),
            connections,
        })
        .map_err(|error| Failure::coded(Exit::Failed, Code::FB2003, error.to_string()))?;
        let handle = gateway.handle.clone();
        let (close, closing) = watch::channel(false);
        let trigger_port = api::router(Arc::new(handle.clone()), metrics.clone(), api_rules);
        let operators = Operators::new(handle.clone(), known);
        let admin_port = console::router(Arc::new(operators), metrics, admin_rules);
        let ports = vec![
            serve(api_listener, trigger_port, closing.clone()),
            serve(admin_listener, admin_port, closing),
        ];
        let drain_timeout = config.drain_timeout;
        Ok(Instance { handle, api, admin, diameter, gateway, close, ports, drain_timeout })
    }

    /// Takes the certificates, keys and revocation lists of a configuration that was read anew:
    /// connections that exist go on, later ones use them. Returns for how many peers.
    pub(crate) fn replace_certificates(&self, config: &Config) -> usize {
        self.gateway.replace_certificates(config)
    }

    /// Drains, says goodbye to the peers, closes the ports.
    ///
    /// Returns how many calls were not answered in time; what they did is on disk.
    pub(crate) async fn stop(self) -> usize {
        let left = self.gateway.shutdown(self.drain_timeout).await;
        let _ = self.close.send(true);
        for port in self.ports {
            let _ = tokio::time::timeout(PORTS_CLOSE_WITHIN, port).await;
        }
        left
    }
}

/// Binds `diameter.listen` and `diameter.tls_listen`.
async fn peer_listeners(config: &Config) -> Result<Vec<(TcpListener, Option<Tls>)>, Failure> {
    let settings = &config.diameter;
    let mut listeners = Vec::new();
    for address in &settings.listen {
        listeners.push((bind("diameter.listen", *address).await?, None));
    }
    for address in &settings.tls_listen {
        let listener = bind("diameter.tls_listen", *address).await?;
        listeners.push((listener, settings.tls.clone()));
    }
    Ok(listeners)
}

async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| ports::busy(key, address, &error))
}

fn local(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

fn serve(
    listener: TcpListener,
    router: axum::Router,
    mut closing: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let limits = api::Limits { drain_timeout: PORTS_CLOSE_WITHIN, ..api::Limits::default() };
    tokio::spawn(async move {
        let closed = async move {
            // An error means that the sender is gone, which is the end as well.
            let _ = closing.wait_for(|closing| *closing).await;
        };
        api::serve(listener, router, limits, closed).await;
    })
}

fn names(config: &Config) -> Names {
    Names {
        peers: config
            .peers
            .iter()
            .enumerate()
            .map(|(index, peer)| PeerNames {
                name: peer.name.clone(),
                interfaces: interfaces(&config.policy, index),
            })
            .collect(),
        services: config.policy.services.keys().cloned().collect(),
        mappings: config.mappings.keys().cloned().collect(),
        revision: option_env!("FAREBOX_REVISION").unwrap_or("unknown").to_owned(),
    }
}

/// SHA-256 of the configuration in force, defaults included, secrets left out.
fn fingerprint(config: &Config) -> String {
    use sha2::{Digest, Sha256};
    let text = serde_yaml::to_string(&crate::config::effective(config)).unwrap_or_default();
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
