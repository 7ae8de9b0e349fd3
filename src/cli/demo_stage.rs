//! The demo's stage: both simulators and a whole gateway, on 127.0.0.1, in a temporary folder.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::args::Flow;
use super::config;
use super::demo_flow::{Call, play, session_id};
use super::demo_proof::{Debit, Evidence};
use super::exit::{Exit, Failure};
use super::http::Http;
use super::instance::Instance;
use super::ports;
use super::terminal::Terminal;
use crate::clock;
use crate::config::Config;
use crate::diagnostic::Code;
use crate::sim::cdf::CdfConfig;
use crate::sim::fault::{Fault, Lost, Verb, When};
use crate::sim::ledger::{Amount, Movement};
use crate::sim::run::{CdfServer, OcsServer, Options};

/// The account that pays.
pub(crate) const SUBSCRIBER: &str = "+12025550123";
const REALM: &str = "example.net";
const OCS_PORT: u16 = 13868;
const CDF_PORT: u16 = 13869;
const API_PORT: u16 = 8868;
const ADMIN_PORT: u16 = 8869;

/// Both peers are on this machine; if they are not open by then, something is wrong.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// The gateway has the ACA; the CDF's line may be a moment behind it.
const CDR_WITHIN: Duration = Duration::from_millis(500);

/// Everything that the demo runs.
pub(crate) struct Stage {
    folder: PathBuf,
    ocs: OcsServer,
    cdf: CdfServer,
    instance: Instance,
    http: Http,
}

impl Stage {
    /// Starts all of it; a default port that is busy is replaced by a free one, with a note.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub(crate) async fn start(terminal: &mut Terminal) -> Result<Stage, Failure> {
        let folder = temporary_folder()?;
        let started = Stage::start_in(&folder, terminal).await;
        if started.is_err() {
            remove(&folder);
        }
        started
    }

    async fn start_in(folder: &Path, terminal: &mut Terminal) -> Result<Stage, Failure> {
        let account = format!("{SUBSCRIBER}=10.00EUR");
        let ocs_config = super::sim::ocs_config(&[account])?;
        let ocs = match OcsServer::start(options("ocs-sim", OCS_PORT), ocs_config.clone()).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                note_busy("OCS simulator", OCS_PORT, terminal);
                OcsServer::start(options("ocs-sim", 0), ocs_config).await
            }
            other => other,
        };
        let ocs = ocs.map_err(|error| ports::busy("OCS simulator", local(OCS_PORT), &error))?;
        let out = Some(folder.join("cdr.ndjson"));
        let cdf_config = CdfConfig::default();
        let started =
            CdfServer::start(options("cdf-sim", CDF_PORT), cdf_config.clone(), out.clone());
        let cdf = match started.await {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                note_busy("CDF simulator", CDF_PORT, terminal);
                CdfServer::start(options("cdf-sim", 0), cdf_config, out).await
            }
            other => other,
        };
        let cdf = cdf.map_err(|error| ports::busy("CDF simulator", local(CDF_PORT), &error))?;
        let peers = (ocs.local_addr(), cdf.local_addr());
        let mut api = API_PORT;
        let mut admin = ADMIN_PORT;
        for (what, port) in [("gateway's api", &mut api), ("gateway's console", &mut admin)] {
            if !ports::is_free(local(*port)) {
                note_busy(what, *port, terminal);
                *port = 0;
            }
        }
        let config = configuration(folder, peers, api, admin, terminal)?;
        let instance = match Instance::start(config).await {
            // Somebody took the port since it was found free.
            Err(failure) if failure.code == Some(Code::FB2001) => {
                Instance::start(configuration(folder, peers, 0, 0, terminal)?).await?
            }
            other => other?,
        };
        let http = Http::new(format!("http://{}", instance.api), Duration::from_secs(10));
        let opened = instance.handle.wait_usable(&["ocs-sim", "cdf-sim"]);
        if tokio::time::timeout(OPEN_WITHIN, opened).await.is_err() {
            let peers: Vec<String> = instance
                .handle
                .peers()
                .iter()
                .map(|peer| format!("{} {}: {}", peer.name, peer.state.word(), peer.reason))
                .collect();
            return Err(Failure::new(Exit::Failed, format!("peers: {}", peers.join("; "))));
        }
        Ok(Stage { folder: folder.to_owned(), ocs, cdf, instance, http })
    }

    /// Plays one flow and gathers what the other side's books say about it.
    ///
    /// # Errors
    /// The gateway does not answer.
    pub(crate) async fn play(&self, flow: Flow) -> Result<(Vec<Call>, Value, Evidence), Failure> {
        let before = self.ocs.account(SUBSCRIBER);
        let (balance, reserved) =
            before.map_or((Amount::ZERO, Amount::ZERO), |view| (view.balance, view.reserved));
        let terminations = self.terminations();
        let (calls, view) = play(flow, &self.http, || self.silence(flow)).await?;
        let after = self.ocs.account(SUBSCRIBER);
        let (balance_after, reserved_after) =
            after.map_or((Amount::ZERO, Amount::ZERO), |view| (view.balance, view.reserved));
        let suffix = suffix(flow);
        let open = self.ocs.sessions().iter().any(|session| session.id.ends_with(&suffix));
        let evidence = Evidence {
            // A session that is still open never saw its CCR-T, however many copies were lost.
            terminations: if open { 0 } else { self.terminations() - terminations },
            debits: self.debits(flow),
            balance_before: balance,
            balance_after,
            reserved: reserved_after - reserved,
            cdrs: self.cdrs(flow).await,
        };
        Ok((calls, view, evidence))
    }

    fn terminations(&self) -> u64 {
        self.ocs.counts().get("CCR-T").copied().unwrap_or(0)
    }

    /// The OCS loses every CCR-T of this flow's session.
    fn silence(&self, flow: Flow) {
        self.ocs.add_fault(Fault {
            server: None,
            when: When {
                command: Some("CCR-T".to_owned()),
                session: Some(format!("*{}", suffix(flow))),
                ..When::default()
            },
            at: None,
            lasts: None,
            verbs: vec![Verb::Drop(Lost::Request)],
        });
    }

    /// The CDF acknowledges the next STOP_RECORD and forgets it.
    pub(crate) fn lose_next_stop(&self) {
        self.cdf.lose_next_stop();
    }

    /// One per CCR: the ledger pays first from the reservation, then from the balance, and both
    /// entries name the CCR's units.
    fn debits(&self, flow: Flow) -> Vec<Debit> {
        let suffix = suffix(flow);
        let ledger = self.ocs.ledger();
        let mut debits: BTreeMap<u32, Debit> = BTreeMap::new();
        for entry in ledger.entries().filter(|entry| {
            entry.movement == Movement::Debit && entry.cause.session.ends_with(&suffix)
        }) {
            let request_number = entry.cause.request_number;
            let debit = debits.entry(request_number).or_insert(Debit {
                request_number,
                units: entry.cause.units,
                amount: Amount::ZERO,
            });
            debit.amount = debit.amount + entry.amount;
        }
        debits.into_values().collect()
    }

    /// The session's lines in the CDF's file; waits a moment for the STOP_RECORD.
    async fn cdrs(&self, flow: Flow) -> Vec<Value> {
        let began = clock::now();
        loop {
            let text = std::fs::read_to_string(self.cdr_file()).unwrap_or_default();
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let found: Vec<Value> = lines.filter(|cdr| belongs(cdr, flow)).collect();
            let stopped = found.iter().any(|cdr| cdr["record"] == "STOP_RECORD");
            if stopped || clock::now().since(began) > CDR_WITHIN {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What is running, a line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let balance = self.ocs.balance(SUBSCRIBER).unwrap_or_default();
        let mut lines = vec![
            format!(
                "OCS simulator   {}   account {SUBSCRIBER}  balance {balance}",
                self.ocs.local_addr()
            ),
            format!(
                "CDF simulator   {}   writes CDRs to {}",
                self.cdf.local_addr(),
                self.cdr_file().display()
            ),
            format!(
                "gateway         api http://{}   console http://{}",
                self.instance.api, self.instance.admin
            ),
        ];
        for peer in self.instance.handle.peers() {
            let applications: Vec<String> =
                peer.applications.iter().map(|id| format!("app {id}")).collect();
            lines.push(format!(
                "peer {:<8}   {}   {}   {}",
                peer.name,
                peer.state.word(),
                peer.origin_host.as_deref().unwrap_or("–"),
                applications.join(", "),
            ));
        }
        lines
    }

    /// The CDF's file.
    pub(crate) fn cdr_file(&self) -> PathBuf {
        self.folder.join("cdr.ndjson")
    }

    /// Where the gateway answers.
    pub(crate) fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Where the simulators listen: OCS, CDF.
    pub(crate) fn simulators(&self) -> (SocketAddr, SocketAddr) {
        (self.ocs.local_addr(), self.cdf.local_addr())
    }

    /// Ends everything and removes the folder.
    pub(crate) async fn stop(self) {
        self.instance.stop().await;
        self.ocs.shutdown().await;
        self.cdf.shutdown().await;
        remove(&self.folder);
    }
}

/// The end of the Diameter Session-Ids of a flow: the first 8 characters of the CPM id.
fn suffix(flow: Flow) -> String {
    format!(";{}", &session_id(flow)[..8])
}

fn belongs(cdr: &Value, flow: Flow) -> bool {
    let ends = |text: Option<&str>| text.is_some_and(|text| text.ends_with(&suffix(flow)));
    let icid = format!("icid-{}", &session_id(flow)[..8]);
    ends(cdr["sessionId"].as_str()) || cdr["ims"]["chargingId"] == icid
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn options(name: &str, port: u16) -> Options {
    Options { listen: local(port), ..Options::local(&format!("{name}.{REALM}"), REALM) }
}

fn note_busy(what: &str, port: u16, terminal: &mut Terminal) {
    let by = ports::holder(local(port)).map(|name| format!(" by {name}")).unwrap_or_default();
    terminal.note(format!("{what}: port {port} is in use{by}; a free one is taken"));
}

/// A short guard and a short window, so that nobody waits for a minute.
fn configuration(
    folder: &Path,
    (ocs, cdf): (SocketAddr, SocketAddr),
    api: u16,
    admin: u16,
    terminal: &mut Terminal,
) -> Result<Config, Failure> {
    let text = format!(
        "version: 1
identity: {{host: cg1.ims.example.net, realm: ims.example.net}}
api: {{listen: \"{api}\"}}
admin: {{listen: \"{admin}\"}}
store: {{path: {store:?}}}
peers:
  ocs-sim: {{address: \"{ocs}\", host: ocs-sim.{REALM}, realm: {REALM}, applications: [{{auth: 4}}], timeout: 1s}}
  cdf-sim: {{address: \"{cdf}\", host: cdf-sim.{REALM}, realm: {REALM}, applications: [{{acct: 3}}], timeout: 1s}}
routes:
  - {{interface: ch1, peers: [cdf-sim]}}
  - {{interface: ch2, peers: [ocs-sim]}}
policy:
  services:
    chat: {{interfaces: [ch1, ch2], model: scur, rating_group: 700, service_id: 7}}
    standalone-message: {{interfaces: [ch1, ch2], model: iec, rating_group: 701, service_id: 9}}
termination: {{ok_timeout: 1s, settle_within: 3s}}
drain: {{timeout: 2s}}
",
        api = local(api),
        admin = local(admin),
        store = folder.join("store"),
    );
    let file = folder.join("farebox.yaml");
    std::fs::write(&file, text).map_err(|error| Failure::file(&file, &error))?;
    config::read_paths(std::slice::from_ref(&file), terminal)
}

fn temporary_folder() -> Result<PathBuf, Failure> {
    let folder = std::env::temp_dir().join(format!("farebox-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| Failure::file(&folder, &error))?;
    Ok(folder)
}

fn remove(folder: &Path) {
    // What is left of a temporary folder harms nobody.
    let _ = std::fs::remove_dir_all(folder);
}
