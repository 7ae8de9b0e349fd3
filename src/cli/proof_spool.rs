//! `farebox proof spool`: a million records wait, the gateway is killed, starts, and drains them.
//!
//! Figures, not a verdict: how fast a start is, what it costs, and what the drain does to new calls.
//! Only the counts are judged: every record is kept by the CDF exactly once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::args::ProofSpool;
use super::exit::{Exit, Failure, Outcome};
use super::http::Http;
use super::proof_gateway::{Gateway, configuration};
use super::terminal::Terminal;
use crate::clock::{self, Now};
use crate::sim::account::OcsConfig;
use crate::sim::cdf::CdfConfig;
use crate::sim::fault::{Fault, Verb, When};
use crate::sim::ledger::Currency;
use crate::sim::run::{CdfServer, OcsServer, Options};

/// Lines of one batch: its answers have to fit what the client reads.
const LINES: u64 = 2_000;
/// Batches on their way at a time.
const BATCHES: usize = 4;
/// A drain without progress for so long has failed.
const STUCK_AFTER: Duration = Duration::from_secs(120);

/// Fills, kills, starts, drains.
pub(crate) fn run(args: &ProofSpool, terminal: &mut Terminal) -> Outcome {
    let runtime = super::runtime()?;
    let folder = std::env::temp_dir().join(format!("farebox-spool-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| Failure::file(&folder, &error))?;
    let figures = runtime.block_on(measure(args, &folder, terminal));
    let _ = std::fs::remove_dir_all(&folder);
    let figures = figures?;
    let good = figures["lost"] == 0 && figures["dead"] == 0;
    if args.json {
        terminal.line(figures.to_string());
    } else if let Some(all) = figures.as_object() {
        for (name, value) in all {
            terminal.line(format!("{name:<24}{value}"));
        }
    }
    Ok(if good { Exit::Ok } else { Exit::Assertion })
}

async fn measure(
    args: &ProofSpool,
    folder: &Path,
    terminal: &mut Terminal,
) -> Result<Value, Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, format!("simulator: {error}"));
    let options = Options::local("ocs-sim.example.net", "example.net");
    let ocs =
        OcsServer::start(options, OcsConfig::standard(Currency::EUR)).await.map_err(failed)?;
    let options = Options::local("cdf-sim.example.net", "example.net");
    let cdf = CdfServer::start(options, CdfConfig::default(), None).await.map_err(failed)?;
    let verbs = vec![Verb::RefuseConnections];
    cdf.add_fault(Fault { server: None, when: When::default(), at: None, lasts: None, verbs });
    let store = folder.join("store");
    let config = folder.join("farebox.yaml");
    let text = configuration(&store, ocs.local_addr(), cdf.local_addr());
    std::fs::write(&config, text).map_err(|error| Failure::file(&config, &error))?;
    let log = folder.join("gateway.log");

    let mut gateway = Gateway::start(&config, &log).await?;
    let began = clock::now();
    fill(gateway.http(), args.records).await?;
    let filling = clock::now().since(began).as_secs_f64();
    let (filled_rss, disk) = (gateway.rss_bytes(), disk_bytes(&store));
    terminal.note(format!("{} records wait after {filling:.1} s", args.records));
    gateway.kill()?;

    let mut gateway = Gateway::start(&config, &log).await?;
    let (ready, rss) = (gateway.ready_after, gateway.rss_bytes());
    let waiting = gateway.unsettled().await?;
    terminal.note(format!("ready after {} ms with {waiting} waiting", ready.as_millis()));

    cdf.remove_fault(None);
    let began = clock::now();
    let traffic = Traffic::start(gateway.http(), args.rate);
    // New traffic keeps a few on their way.
    let drained = drain(&gateway, &cdf, 500, terminal).await?;
    let draining = clock::now().since(began).as_secs_f64();
    let mut latencies = traffic.stop().await;
    latencies.sort_unstable();
    // What came in at the end goes out as well.
    let settled = drain(&gateway, &cdf, 0, terminal).await?;
    let peak = gateway.rss_bytes();
    let metrics = gateway.metrics().await?;
    let dead = sum(&metrics, "farebox_spool_records{", "state=\"dead\"");
    gateway.kill()?;
    let kept = cdf.accepted();
    let expected = args.records + latencies.len() as u64;
    ocs.shutdown().await;
    cdf.shutdown().await;
    let percentile = |share: usize| {
        let last = latencies.len().saturating_sub(1);
        latencies.get(latencies.len() * share / 1000).or(latencies.get(last)).copied().unwrap_or(0)
    };
    let tenth = |value: f64| (value * 10.0).round() / 10.0;
    let rate = |count: u64, seconds: f64| (count as f64 / seconds.max(0.001)).round();
    Ok(json!({
        "records": args.records,
        "acceptedPerSecond": rate(args.records, filling),
        "restartMs": u64::try_from(ready.as_millis()).unwrap_or(u64::MAX),
        "waitingAtStart": waiting,
        "rssFilledMiB": filled_rss >> 20,
        "rssAtStartMiB": rss >> 20,
        "rssAfterDrainMiB": peak >> 20,
        "diskMiB": disk >> 20,
        "drainSeconds": tenth(draining),
        "drainedPerSecond": rate(waiting, draining),
        "newPerSecond": rate(latencies.len() as u64, draining),
        "newP50Ms": percentile(500) as f64 / 1000.0,
        "newP99Ms": percentile(990) as f64 / 1000.0,
        "cdrs": kept,
        "lost": expected.saturating_sub(kept),
        "dead": dead,
        "settled": drained && settled,
        "tCopies": cdf.retransmissions(),
    }))
}

/// Events through `POST /v1/batch`.
async fn fill(http: Http, records: u64) -> Result<(), Failure> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..BATCHES {
        let (http, next) = (http.clone(), next.clone());
        tasks.push(tokio::spawn(async move {
            loop {
                let from = next.fetch_add(LINES, Ordering::Relaxed);
                if from >= records {
                    return Ok(());
                }
                let mut lines = String::new();
                for number in from..(from + LINES).min(records) {
                    lines.push_str(&json!({"op": "event", "body": event(number)}).to_string());
                    lines.push('\n');
                }
                let answer = http.ndjson(Method::POST, "/v1/batch", lines).await?;
                let refused = |line: &&str| !line.contains("\"status\":200");
                if let Some(line) = answer.text.lines().find(refused) {
                    return Err(Failure::new(Exit::Failed, format!("a line was refused: {line}")));
                }
            }
        }));
    }
    for task in tasks {
        task.await.map_err(|error| Failure::new(Exit::Failed, error.to_string()))??;
    }
    Ok(())
}

fn event(number: u64) -> Value {
    let account = format!("+1202{number:07}");
    json!({
        "eventId": format!("{number:08x}-spool"),
        "kind": "message.sent",
        "timestamp": clock::wall().to_string(),
        "interfaces": ["ch1"],
        "service": "standalone-message",
        "subscriber": [{"type": "e164", "value": account}],
        "from": format!("sip:{account}@ims.example.net"),
        "to": ["tel:+12025550145"],
        "sip": {"callId": format!("{number:08x}@as1"), "icid": format!("icid-{number:08x}")},
    })
}

/// New calls at a steady rate while the spool drains.
struct Traffic {
    stop: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Vec<u64>>,
}

impl Traffic {
    fn start(http: Http, rate: u64) -> Traffic {
        let stop = Arc::new(AtomicU64::new(0));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let began = clock::now();
            let mut calls = Vec::new();
            let mut count = 0;
            while rate > 0 && stopped.load(Ordering::Relaxed) == 0 {
                // A call that is late is measured from when it was due.
                let due = began + Duration::from_micros(count * 1_000_000 / rate);
                tokio::time::sleep(due.since(clock::now())).await;
                calls.push(tokio::spawn(one_call(http.clone(), 0x8000_0000 + count, due)));
                count += 1;
            }
            let mut latencies = Vec::new();
            for call in calls {
                latencies.extend(call.await.ok().flatten());
            }
            latencies
        });
        Traffic { stop, task }
    }

    /// Microseconds of every call that was answered 200.
    async fn stop(self) -> Vec<u64> {
        self.stop.store(1, Ordering::Relaxed);
        self.task.await.unwrap_or_default()
    }
}

async fn one_call(http: Http, number: u64, due: Now) -> Option<u64> {
    let answer = http.post("/v1/events", &event(number)).await.ok()?;
    let took = clock::now().since(due).as_micros();
    (answer.status == 200).then(|| u64::try_from(took).unwrap_or(u64::MAX))
}

/// Until no more than `rest` wait; false if it does not come to that.
async fn drain(
    gateway: &Gateway,
    cdf: &CdfServer,
    rest: u64,
    terminal: &mut Terminal,
) -> Result<bool, Failure> {
    let mut last = (cdf.accepted(), clock::now());
    let mut told = clock::now();
    loop {
        let left = gateway.unsettled().await?;
        if left <= rest {
            return Ok(true);
        }
        if clock::now().since(told) > Duration::from_secs(10) {
            told = clock::now();
            terminal.note(format!("{left} wait"));
        }
        match cdf.accepted() {
            accepted if accepted > last.0 => last = (accepted, clock::now()),
            _ if clock::now().since(last.1) > STUCK_AFTER => return Ok(false),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The sum of the samples of a family whose labels contain `label`.
pub(crate) fn sum(metrics: &str, family: &str, label: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(family) && line.contains(label));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

fn disk_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}
