//! The gateway under proof: a process of its own, started again and again on the same store.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use tokio::sync::mpsc;

use super::exit::{Exit, Failure};
use super::http::Http;
use crate::clock;

/// A gateway that is not ready by then has failed.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Longer than `api.max_wait`: what is not answered by then never is.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);

/// A gateway process that is ready.
pub(crate) struct Gateway {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    api: String,
    admin: Option<Http>,
    /// From the start of the process to the first `/readyz` that says yes.
    pub(crate) ready_after: Duration,
}

impl Gateway {
    /// Starts the process and does not wait.
    ///
    /// # Errors
    /// The process or its log cannot be made.
    pub(crate) fn spawn(config: &Path, log: &Path) -> Result<Gateway, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Failed, format!("the gateway did not start: {error}"))
        };
        let program = std::env::current_exe().map_err(failed)?;
        let log = OpenOptions::new().append(true).create(true).open(log).map_err(failed)?;
        let mut child = Command::new(program)
            .args(["run", "--config"])
            .arg(config)
            .args(["--log", "info", "--log-format", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (sender, lines) = mpsc::unbounded_channel();
        if let Some(stderr) = child.stderr.take() {
            let copy = move || copy_lines(stderr, log, &sender);
            std::thread::Builder::new()
                .name("gateway-log".to_owned())
                .spawn(copy)
                .map_err(failed)?;
        }
        Ok(Gateway { child, lines, api: String::new(), admin: None, ready_after: Duration::ZERO })
    }

    /// Starts the process and waits until it is ready.
    ///
    /// # Errors
    /// It ends by itself, or is not ready in time.
    pub(crate) async fn start(config: &Path, log: &Path) -> Result<Gateway, Failure> {
        let began = clock::now();
        let mut gateway = Gateway::spawn(config, log)?;
        let ready = async {
            gateway.api = gateway.address("api").await?;
            let admin = gateway.address("console").await?;
            let admin = Http::new(admin, ANSWER_WITHIN);
            while admin.get("/readyz").await.is_ok_and(|answer| answer.status != 200) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(admin)
        };
        let ready: Result<Http, Failure> = match tokio::time::timeout(READY_WITHIN, ready).await {
            Ok(ready) => ready,
            Err(_) => Err(Failure::new(Exit::Failed, "the gateway is not ready after 60 s")),
        };
        match ready {
            Ok(admin) => {
                gateway.admin = Some(admin);
                gateway.ready_after = clock::now().since(began);
                Ok(gateway)
            }
            Err(failure) => {
                let _ = gateway.child.kill();
                let _ = gateway.child.wait();
                Err(failure.help(format!("see {}", log.display())))
            }
        }
    }

    /// The URL in a line such as `api      http://127.0.0.1:8868`.
    async fn address(&mut self, name: &str) -> Result<String, Failure> {
        while let Some(line) = self.lines.recv().await {
            if let Some(url) = line.strip_prefix(name).map(str::trim)
                && url.starts_with("http://")
            {
                return Ok(url.to_owned());
            }
        }
        Err(Failure::new(Exit::Failed, "the gateway ended by itself while it started"))
    }

    /// A client of its API.
    pub(crate) fn http(&self) -> Http {
        Http::new(self.api.clone(), ANSWER_WITHIN)
    }

    /// What it counts.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn metrics(&self) -> Result<String, Failure> {
        match &self.admin {
            Some(admin) => Ok(admin.get("/metrics").await?.text),
            None => Ok(String::new()),
        }
    }

    /// Its memory, from `/proc`; 0 where there is none.
    pub(crate) fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }

    /// Records that are waiting or in flight, from its metrics.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn unsettled(&self) -> Result<u64, Failure> {
        let metrics = self.metrics().await?;
        let open = |line: &&str| {
            line.starts_with("farebox_spool_records{") && !line.contains("state=\"dead\"")
        };
        let value = |line: &str| line.rsplit_once(' ')?.1.parse::<u64>().ok();
        Ok(metrics.lines().filter(open).filter_map(value).sum())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It had ended before, by itself: that is a bug of its own.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        let before = self.child.try_wait().ok().flatten();
        let _ = self.child.kill();
        let _ = self.child.wait();
        match before {
            None => Ok(()),
            Some(status) => {
                let words = format!("the gateway ended by itself: {status}");
                Err(Failure::new(Exit::Assertion, words))
            }
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything into the log, and to whoever looks for an address.
fn copy_lines(stderr: ChildStderr, mut log: File, lines: &mpsc::UnboundedSender<String>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let _ = writeln!(log, "{line}");
        if line.contains("http://") {
            let _ = lines.send(line);
        }
    }
}

/// Short times, so that a round is short: Tx 1 s, a guard of 2 s, a settling window of 8 s.
pub(crate) fn configuration(store: &Path, ocs: SocketAddr, cdf: SocketAddr) -> String {
    format!(
        "version: 1
identity: {{host: cg1.ims.example.net, realm: ims.example.net}}
api: {{listen: \"127.0.0.1:0\"}}
admin: {{listen: \"127.0.0.1:0\"}}
store: {{path: {store:?}}}
peers:
  ocs-sim:
    {{address: \"{ocs}\", host: ocs-sim.example.net, realm: example.net, applications: [{{auth: 4}}], timeout: 1s}}
  cdf-sim:
    {{address: \"{cdf}\", host: cdf-sim.example.net, realm: example.net, applications: [{{acct: 3}}], timeout: 1s}}
routes:
  - {{interface: ch1, peers: [cdf-sim]}}
  - {{interface: ch2, peers: [ocs-sim]}}
policy:
  services:
    chat: {{interfaces: [ch1, ch2], model: scur, rating_group: 700, service_id: 7}}
    standalone-message: {{interfaces: [ch1, ch2], model: iec, rating_group: 701, service_id: 9}}
failure: {{ch2: {{on_no_answer: retry_and_terminate}}}}
termination: {{ok_timeout: 2s, settle_within: 8s}}
"
    )
}
