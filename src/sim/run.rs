//! Simulated servers on real sockets: [`OcsServer`] and [`CdfServer`].
//!
//! Carries out what `sim::server` decides. Per server there is one task besides those of the
//! connections: it sends what is delayed, does what the faults do by the clock, and ends silent
//! sessions. Both handles are cheap to clone; the server ends with [`OcsServer::shutdown`].

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::clock;
use crate::diameter::{application, command};
use crate::peer::{Application, DisconnectCause};

use super::account::{AccountState, AccountView, OcsConfig};
use super::answer::Identity;
use super::cdf::{Cdf, CdfConfig, CdfSession};
use super::cdr::Cdr;
use super::fault::{Fault, Listed, Sessions};
use super::judge::Anomaly;
use super::ledger::{Amount, Ledger};
use super::ocs::{Ocs, SessionView};
use super::run_loop::{Shared, open, start};
use super::scenario::{Role, Scenario, ServerSpec};
use super::server::{Latency, PeerAnswer};

/// What every simulated server needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who it is.
    pub identity: Identity,
    /// Faults from the beginning.
    pub faults: Vec<Fault>,
    /// Answers take this long.
    pub latency: Option<Latency>,
}

impl Options {
    /// A server on a free port of 127.0.0.1 without faults.
    pub fn local(host: &str, realm: &str) -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            identity: Identity::new(host, realm),
            faults: Vec::new(),
            latency: None,
        }
    }
}

/// A running OCS.
#[derive(Clone, Debug)]
pub struct OcsServer {
    shared: Arc<Shared<Ocs>>,
}

/// A running CDF.
#[derive(Clone, Debug)]
pub struct CdfServer {
    shared: Arc<Shared<Cdf>>,
}

impl OcsServer {
    /// Starts an OCS with books of its own.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(options: Options, config: OcsConfig) -> io::Result<OcsServer> {
        let books = Arc::new(Mutex::new(Ocs::new(config, clock::wall())));
        OcsServer::start_with(options, books).await
    }

    /// Starts an OCS on books that other servers may share.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start_with(options: Options, books: Arc<Mutex<Ocs>>) -> io::Result<OcsServer> {
        let application = Application::auth(application::CREDIT_CONTROL);
        let commands = (application::CREDIT_CONTROL, command::CREDIT_CONTROL);
        let shared = start(options, books, application, commands, None).await?;
        Ok(OcsServer { shared })
    }

    /// The books, for another server that shares them.
    pub fn books(&self) -> Arc<Mutex<Ocs>> {
        self.shared.books()
    }

    /// A copy of the ledger as it stands.
    pub fn ledger(&self) -> Ledger {
        self.shared.charging().ledger().clone()
    }

    /// All accounts.
    pub fn accounts(&self) -> Vec<AccountView> {
        self.shared.charging().accounts()
    }

    /// One account; a leading `+` does not matter.
    pub fn account(&self, id: &str) -> Option<AccountView> {
        self.shared.charging().account(id)
    }

    /// The balance of an account as text: `9.30 EUR`.
    pub fn balance(&self, id: &str) -> Option<String> {
        let ocs = self.shared.charging();
        let account = ocs.account(id)?;
        Some(ocs.ledger().balance_text(&account.id))
    }

    /// Opens or changes an account; what is `None` stays.
    pub fn set_account(&self, id: &str, balance: Option<Amount>, state: Option<AccountState>) {
        self.shared.charging().set_account(id, balance, state, clock::wall());
    }

    /// Open credit-control sessions, the one used last at the end.
    pub fn sessions(&self) -> Vec<SessionView> {
        self.shared.charging().sessions()
    }

    /// What was odd about the requests.
    pub fn anomalies(&self) -> Vec<Anomaly> {
        self.shared.charging().anomalies()
    }

    /// Copies that were recognised.
    pub fn duplicates(&self) -> u64 {
        self.shared.charging().duplicates()
    }

    /// Sends a RAR for each of these sessions; returns how many were sent.
    pub fn send_rar(&self, sessions: &Sessions, rating_group: Option<u32>) -> usize {
        self.shared.send_rar(sessions, rating_group)
    }

    /// Sends an ASR for each of these sessions; returns how many were sent.
    pub fn send_asr(&self, sessions: &Sessions) -> usize {
        self.shared.send_asr(sessions)
    }

    /// Answers to RAR and ASR, oldest first.
    pub fn peer_answers(&self) -> Vec<PeerAnswer> {
        self.shared.server().peer_answers().cloned().collect()
    }
}

impl CdfServer {
    /// Starts a CDF; CDRs go to memory and, if given, to the end of the file `out`.
    ///
    /// # Errors
    /// When the address cannot be listened on or the file cannot be opened.
    pub async fn start(
        options: Options,
        config: CdfConfig,
        out: Option<PathBuf>,
    ) -> io::Result<CdfServer> {
        let file = match out {
            Some(path) => Some(open(&path)?),
            None => None,
        };
        let application = Application::acct(application::ACCOUNTING);
        let commands = (application::ACCOUNTING, command::ACCOUNTING);
        let records = Arc::new(Mutex::new(Cdf::new(config)));
        let shared = start(options, records, application, commands, file).await?;
        Ok(CdfServer { shared })
    }

    /// The accepted records, oldest first.
    pub fn records(&self) -> Vec<Cdr> {
        self.shared.charging().records().cloned().collect()
    }

    /// How many records were accepted.
    pub fn accepted(&self) -> u64 {
        self.shared.charging().accepted()
    }

    /// Copies that were discarded and acknowledged.
    pub fn duplicates(&self) -> u64 {
        self.shared.charging().duplicates()
    }

    /// The accounting sessions by Session-Id.
    pub fn sessions(&self) -> Vec<CdfSession> {
        self.shared.charging().sessions().cloned().collect()
    }

    /// What was odd about the requests.
    pub fn anomalies(&self) -> Vec<Anomaly> {
        self.shared.charging().anomalies()
    }

    /// The next STOP_RECORD is acknowledged and forgotten: does anybody notice?
    pub fn lose_next_stop(&self) {
        self.shared.charging().lose_next_stop();
    }
}

/// What both servers offer.
macro_rules! common {
    ($server:ident) => {
        impl $server {
            /// Where it listens.
            pub fn local_addr(&self) -> SocketAddr {
                self.shared.local_addr()
            }

            /// Who it is.
            pub fn identity(&self) -> Identity {
                self.shared.server().identity().clone()
            }

            /// Requests by command name: `CCR-I`, `ACR-STOP`; copies and lost ones are counted too.
            pub fn counts(&self) -> BTreeMap<&'static str, u64> {
                self.shared.server().counts().clone()
            }

            /// Requests with T; lost ones are counted too.
            pub fn retransmissions(&self) -> u64 {
                self.shared.server().retransmissions()
            }

            /// Open connections.
            pub fn connections(&self) -> usize {
                self.shared.connections().len()
            }

            /// Adds a fault; its `at` counts from now. `None` if there are too many.
            pub fn add_fault(&self, fault: Fault) -> Option<u64> {
                self.shared.add_fault(fault)
            }

            /// Takes one fault away, or all of them. False if there is none of this id.
            pub fn remove_fault(&self, id: Option<u64>) -> bool {
                self.shared.remove_fault(id)
            }

            /// The faults with how often each acted.
            pub fn faults(&self) -> Vec<Listed> {
                self.shared.server().faults()
            }

            /// Says goodbye to every connection with a DPR and stays open for new ones.
            pub fn disconnect(&self, cause: DisconnectCause) {
                self.shared.disconnect(cause);
            }

            /// Ends the server: DPR to every connection, then no more listening.
            pub async fn shutdown(&self) {
                self.shared.shutdown().await;
            }
        }
    };
}

common!(OcsServer);
common!(CdfServer);

/// A server of a scenario.
#[derive(Clone, Debug)]
pub enum Running {
    /// An OCS.
    Ocs(OcsServer),
    /// A CDF.
    Cdf(CdfServer),
}

/// Starts those servers of a scenario that `wanted` says yes to, in the order of the file.
///
/// A server without `listen` takes a free port of 127.0.0.1.
///
/// # Errors
/// The server's name and what its address or file did.
pub async fn start_scenario(
    scenario: &Scenario,
    wanted: impl Fn(&ServerSpec) -> bool,
) -> Result<Vec<(String, Running)>, (String, io::Error)> {
    let mut running = Vec::new();
    let mut shared_books: Option<Arc<Mutex<Ocs>>> = None;
    for spec in scenario.servers.iter().filter(|spec| wanted(spec)) {
        let named = |error| (spec.name.clone(), error);
        let mut options = Options::local(&spec.host, &spec.realm);
        options.faults = scenario.faults_of(&spec.name);
        options.latency = spec.latency;
        if let Some(listen) = &spec.listen {
            options.listen = listen.parse().map_err(|_| {
                let message = format!("`{listen}` is not an address such as 127.0.0.1:13868");
                named(io::Error::new(io::ErrorKind::InvalidInput, message))
            })?;
        }
        let server = match &spec.role {
            Role::Ocs { config, shared: true } => {
                let books = shared_books.get_or_insert_with(|| {
                    Arc::new(Mutex::new(Ocs::new(config.clone(), clock::wall())))
                });
                OcsServer::start_with(options, books.clone()).await.map(Running::Ocs)
            }
            Role::Ocs { config, shared: false } => {
                OcsServer::start(options, config.clone()).await.map(Running::Ocs)
            }
            Role::Cdf { config, out } => {
                let out = out.as_ref().map(PathBuf::from);
                CdfServer::start(options, config.clone(), out).await.map(Running::Cdf)
            }
        };
        running.push((spec.name.clone(), server.map_err(named)?));
    }
    Ok(running)
}
