//! `farebox proof kill9`: kill -9 under load, again and again, judged by the other side's books.
//!
//! The gateway is a process of its own, killed at random moments, also while it starts. The OCS,
//! the CDF and the CPM servers live in this process and survive. For most of the time the CDF is
//! silent; the OCS loses some requests and some answers, and never sees the end of some sessions.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::args::{Kill9, ProofCheck};
use super::exit::{Exit, Failure, Outcome};
use super::proof_books as books;
use super::proof_check::{Verdict, Wrong, judge};
use super::proof_gateway::{Gateway, configuration};
use super::proof_load::{DEAF_PREFIX, Entry, Life, Random, World, player};
use super::terminal::{BOLD, GREEN, RED, RESET, Terminal};
use crate::clock;
use crate::sim::account::{AccountSpec, AccountState, OcsConfig};
use crate::sim::cdf::CdfConfig;
use crate::sim::fault::{Fault, Lost, Verb, When};
use crate::sim::ledger::{Amount, Currency};
use crate::sim::run::{CdfServer, OcsServer, Options};

/// What the simulated OCS charges for a message, in micro-units.
const PRICE: i128 = 50_000;
/// Every subscriber begins with this.
const BALANCE: Amount = Amount(1_000_000_000);
/// A round's load lasts between these, in milliseconds.
const LOAD_MS: std::ops::Range<u64> = 60..1_300;
/// A kill during the start comes within this, in milliseconds.
const START_KILL_MS: u64 = 150;
/// What is not settled so long after the last fault has failed.
const DRAIN_WITHIN: Duration = Duration::from_secs(90);
/// Rounds on one store; more rounds begin again with a new one, so that the books stay small.
const ROUNDS_OF_A_STORE: u32 = 60;
/// Violations that are printed; the others are counted.
const SHOWN_MAX: usize = 20;

/// How the CDF behaves for a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Answers,
    /// Accepts connections and requests, keeps nothing, answers nothing.
    Deaf,
    /// Keeps the records, and its answers are lost.
    Mute,
    RefusesConnections,
}

/// What happened to the gateway, and what players and simulators say beside their books.
#[derive(Debug, Default)]
struct Story {
    rounds: u32,
    kills: u32,
    kills_during_start: u32,
    kills_with_cdf_silent: u32,
    calls_in_flight: u64,
    restarts: Vec<Duration>,
    most_waiting: u64,
    left: u64,
    tries: usize,
    /// Tries that got the answer of an earlier one: it was on disk before the kill.
    on_disk_before: usize,
    /// Copies with T that arrived.
    t_copies: u64,
    ocs_duplicates: u64,
    cdf_duplicates: u64,
}

impl Story {
    fn add_facts(&mut self, entries: &[Entry], ocs: &OcsServer, cdf: &CdfServer) {
        self.tries += entries.iter().map(|entry| entry.call.tries.len()).sum::<usize>();
        self.on_disk_before += entries.iter().filter(|entry| entry.replayed).count();
        self.t_copies += ocs.retransmissions() + cdf.retransmissions();
        self.ocs_duplicates += ocs.duplicates();
        self.cdf_duplicates += cdf.duplicates();
    }

    fn worst_restart(&self) -> Duration {
        self.restarts.iter().copied().max().unwrap_or_default()
    }
}

/// Kills and judges; 3 if anything is lost, doubled or phantom.
pub(crate) fn run(args: &Kill9, terminal: &mut Terminal) -> Outcome {
    let runtime = super::runtime()?;
    let folder = match &args.keep {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("farebox-kill9-{}", std::process::id())),
    };
    std::fs::create_dir_all(&folder).map_err(|error| Failure::file(&folder, &error))?;
    if std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
        let words = format!("`{}` is not empty", folder.display());
        return Err(Failure::new(Exit::Failed, words).help("give --keep a new folder"));
    }
    let began = clock::now();
    let seed = args.seed.unwrap_or_else(|| clock::wall().0.unsigned_abs());
    let (mut story, mut verdict) = (Story::default(), Verdict::default());
    while story.rounds < args.rounds && verdict.violations.is_empty() {
        let part = folder.join(format!("store-{}", story.rounds / ROUNDS_OF_A_STORE + 1));
        std::fs::create_dir_all(&part).map_err(|error| Failure::file(&part, &error))?;
        let rounds = (args.rounds - story.rounds).min(ROUNDS_OF_A_STORE);
        let seed = seed.wrapping_add(u64::from(story.rounds));
        runtime.block_on(torture(args, rounds, seed, &part, &mut story, terminal))?;
        verdict.add(judge(&books::read_books(&part, PRICE)?));
        if verdict.violations.is_empty() && args.keep.is_none() {
            let _ = std::fs::remove_dir_all(&part);
        }
    }
    let seconds = clock::now().since(began).as_secs_f64();
    let good = verdict.violations.is_empty();
    if args.json {
        terminal.line(report(seed, seconds, &story, &verdict).to_string());
    } else {
        print(seed, seconds, &story, &verdict, terminal);
    }
    match (good, &args.keep) {
        (true, None) => drop(std::fs::remove_dir_all(&folder)),
        (true, Some(_)) => {}
        (false, _) => {
            terminal.note(format!("the books and the gateway's log are in {}", folder.display()));
            terminal.note("judge them again: farebox proof check FOLDER/store-N");
        }
    }
    Ok(if good { Exit::Ok } else { Exit::Assertion })
}

/// Judges the books of an earlier run.
pub(crate) fn check(args: &ProofCheck, terminal: &mut Terminal) -> Outcome {
    let verdict = judge(&books::read_books(&args.folder, PRICE)?);
    if args.json {
        terminal.line(verdict_json(&verdict).to_string());
    } else {
        print_verdict(&verdict, terminal);
    }
    Ok(if verdict.violations.is_empty() { Exit::Ok } else { Exit::Assertion })
}

/// The rounds, the last drain, and the books in `folder`.
async fn torture(
    args: &Kill9,
    rounds: u32,
    seed: u64,
    folder: &Path,
    story: &mut Story,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let mut random = Random::new(seed);
    let (ocs, cdf) = simulators(folder).await?;
    let store = folder.join("store");
    let config = folder.join("farebox.yaml");
    let text = configuration(&store, ocs.local_addr(), cdf.local_addr());
    std::fs::write(&config, text).map_err(|error| Failure::file(&config, &error))?;
    let log = folder.join("gateway.log");
    let (shown, life) = watch::channel::<Life>(None);
    let world = Arc::new(World::new(life));
    let players: Vec<_> = (0..u64::from(args.players))
        .map(|index| tokio::spawn(player(world.clone(), seed.wrapping_mul(31).wrapping_add(index))))
        .collect();
    for _ in 0..rounds {
        let mood = mood(&mut random);
        set_mood(&cdf, mood);
        if random.percent(15) {
            let mut gateway = Gateway::spawn(&config, &log)?;
            let pause = Duration::from_millis(random.below(START_KILL_MS));
            tokio::time::sleep(pause).await;
            gateway.kill()?;
            story.kills += 1;
            story.kills_during_start += 1;
        }
        let mut gateway = Gateway::start(&config, &log).await?;
        story.restarts.push(gateway.ready_after);
        shown.send_replace(Some(Arc::new(gateway.http())));
        let load = LOAD_MS.start + random.below(LOAD_MS.end - LOAD_MS.start);
        tokio::time::sleep(Duration::from_millis(load)).await;
        story.calls_in_flight += world.ledger.in_flight();
        gateway.kill()?;
        shown.send_replace(None);
        story.kills += 1;
        story.kills_with_cdf_silent += u32::from(mood != Mood::Answers);
        story.rounds += 1;
        if story.rounds.is_multiple_of(10) {
            let (done, calls) = (story.rounds, world.ledger.len());
            terminal.note(format!("round {done} of {}: {calls} calls on this store", args.rounds));
        }
    }
    ocs.remove_fault(None);
    set_mood(&cdf, Mood::Answers);
    deafen(&ocs);
    world.finishing.store(true, Ordering::Relaxed);
    let mut gateway = Gateway::start(&config, &log).await?;
    story.restarts.push(gateway.ready_after);
    story.most_waiting = story.most_waiting.max(gateway.unsettled().await?);
    shown.send_replace(Some(Arc::new(gateway.http())));
    let until = clock::now() + DRAIN_WITHIN;
    for one in players {
        let left = until.since(clock::now());
        if tokio::time::timeout(left, one).await.is_err() {
            return Err(Failure::new(Exit::Failed, "a player did not come to its end"));
        }
    }
    loop {
        story.left = gateway.unsettled().await?;
        if story.left == 0 || clock::now() > until {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    gateway.kill()?;
    ocs.shutdown().await;
    cdf.shutdown().await;
    let entries = world.ledger.entries();
    books::write_calls(folder, &entries)?;
    books::write_ledger(folder, &ocs)?;
    books::write_odd(folder, &ocs, &cdf)?;
    books::write_gateway(folder, &store)?;
    story.add_facts(&entries, &ocs, &cdf);
    Ok(())
}

async fn simulators(folder: &Path) -> Result<(OcsServer, CdfServer), Failure> {
    let others = AccountSpec { balance: BALANCE, state: AccountState::Active };
    let config = OcsConfig { others: Some(others), ..OcsConfig::standard(Currency::EUR) };
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, format!("simulator: {error}"));
    let options = Options::local("ocs-sim.example.net", "example.net");
    let ocs = OcsServer::start(options, config).await.map_err(failed)?;
    let options = Options::local("cdf-sim.example.net", "example.net");
    let file = folder.join(books::CDRS);
    let cdf = CdfServer::start(options, CdfConfig::default(), Some(file)).await.map_err(failed)?;
    // Some requests never arrive, some answers never come back.
    ocs.add_fault(fault(When { every: Some(97), ..When::default() }, Verb::Drop(Lost::Answer)));
    ocs.add_fault(fault(When { every: Some(211), ..When::default() }, Verb::Drop(Lost::Request)));
    let slow = When { every: Some(5), ..When::default() };
    ocs.add_fault(fault(slow, Verb::Delay(Duration::from_millis(30))));
    deafen(&ocs);
    Ok((ocs, cdf))
}

fn fault(when: When, verb: Verb) -> Fault {
    Fault { server: None, when, at: None, lasts: None, verbs: vec![verb] }
}

/// The OCS never sees the CCR-T of these subscribers: their units end in a backup record.
fn deafen(ocs: &OcsServer) {
    let when = When {
        command: Some("CCR-T".to_owned()),
        subscription: Some(format!("{DEAF_PREFIX}*")),
        ..When::default()
    };
    ocs.add_fault(fault(when, Verb::Drop(Lost::Request)));
}

fn mood(random: &mut Random) -> Mood {
    match random.below(10) {
        0..3 => Mood::Answers,
        3..6 => Mood::Deaf,
        6..9 => Mood::Mute,
        _ => Mood::RefusesConnections,
    }
}

fn set_mood(cdf: &CdfServer, mood: Mood) {
    cdf.remove_fault(None);
    let verb = match mood {
        Mood::Answers => return,
        Mood::Deaf => Verb::Drop(Lost::Request),
        Mood::Mute => Verb::Drop(Lost::Answer),
        Mood::RefusesConnections => Verb::RefuseConnections,
    };
    cdf.add_fault(fault(When::default(), verb));
}

fn report(seed: u64, seconds: f64, story: &Story, verdict: &Verdict) -> Value {
    let worst = u64::try_from(story.worst_restart().as_millis()).unwrap_or(u64::MAX);
    json!({
        "rounds": story.rounds,
        "seed": seed,
        "seconds": (seconds * 10.0).round() / 10.0,
        "kills": story.kills,
        "killsDuringStart": story.kills_during_start,
        "killsWithCdfSilent": story.kills_with_cdf_silent,
        "callsInFlightAtKills": story.calls_in_flight,
        "restartWorstMs": worst,
        "waitingAtLastStart": story.most_waiting,
        "notSettled": story.left,
        "tries": story.tries,
        "onDiskBefore": story.on_disk_before,
        "tCopies": story.t_copies,
        "copiesRecognised": {"ocs": story.ocs_duplicates, "cdf": story.cdf_duplicates},
        "verdict": verdict_json(verdict),
    })
}

fn verdict_json(verdict: &Verdict) -> Value {
    let violations: Vec<Value> = verdict
        .violations
        .iter()
        .map(|one| json!({"wrong": one.wrong.name(), "subject": one.subject, "detail": one.detail}))
        .collect();
    json!({
        "calls": verdict.calls,
        "accepted": verdict.accepted,
        "refused": verdict.refused,
        "neverAnswered": verdict.uncertain,
        "triesWithoutAnswer": verdict.unanswered,
        "cdrs": verdict.cdrs,
        "debits": verdict.debits,
        "messagesDebited": verdict.messages_debited,
        "backupRecords": verdict.backup_records,
        "messagesInBackup": verdict.messages_in_backup,
        "interimsSuperseded": verdict.superseded,
        "lost": verdict.count(Wrong::Lost),
        "doubled": verdict.count(Wrong::Doubled),
        "phantom": verdict.count(Wrong::Phantom),
        "violations": violations,
    })
}

fn print(seed: u64, seconds: f64, story: &Story, verdict: &Verdict, terminal: &mut Terminal) {
    let worst = story.worst_restart().as_millis();
    terminal.line(format!(
        "{BOLD}kill -9{RESET}   {} rounds, seed {seed}, {seconds:.1} s",
        story.rounds
    ));
    terminal.line(format!(
        "  kills         {}, of them {} during a start and {} with the CDF silent; {} calls were in \
         flight",
        story.kills, story.kills_during_start, story.kills_with_cdf_silent, story.calls_in_flight
    ));
    terminal.line(format!(
        "  restart       {worst} ms at worst; {} records waited at the last one",
        story.most_waiting
    ));
    terminal.line(format!(
        "  copies        {} with T; recognised: {} by the OCS, {} by the CDF",
        story.t_copies, story.ocs_duplicates, story.cdf_duplicates
    ));
    terminal.line(format!(
        "  tries         {}, without an answer {}; {} repeats got the answer of before the kill",
        story.tries, verdict.unanswered, story.on_disk_before
    ));
    print_verdict(verdict, terminal);
    // The line for the record of runs.
    terminal.line(format!(
        "{} kills, {} triggers: {} lost, {} doubled, {} phantom; restart {worst} ms at worst",
        story.kills,
        verdict.calls,
        verdict.count(Wrong::Lost),
        verdict.count(Wrong::Doubled),
        verdict.count(Wrong::Phantom),
    ));
}

fn print_verdict(verdict: &Verdict, terminal: &mut Terminal) {
    terminal.line(format!(
        "  triggers      {}: {} answered 2xx, {} refused, {} never answered",
        verdict.calls, verdict.accepted, verdict.refused, verdict.uncertain
    ));
    terminal.line(format!(
        "  CDF's file    {} records; {} interims were superseded before they were sent",
        verdict.cdrs, verdict.superseded
    ));
    terminal.line(format!(
        "  OCS's ledger  {} debits of {} messages; {} backup records of {} messages",
        verdict.debits,
        verdict.messages_debited,
        verdict.backup_records,
        verdict.messages_in_backup
    ));
    for one in verdict.violations.iter().take(SHOWN_MAX) {
        let name = one.wrong.name();
        terminal.line(format!("  {RED}✖ {name}{RESET}  {}  {}", one.subject, one.detail));
    }
    if verdict.violations.len() > SHOWN_MAX {
        terminal.line(format!("  … and {} more", verdict.violations.len() - SHOWN_MAX));
    }
    let (mark, colour) = if verdict.violations.is_empty() { ("✔", GREEN) } else { ("✖", RED) };
    let others = verdict.violations.len()
        - [Wrong::Lost, Wrong::Doubled, Wrong::Phantom]
            .map(|w| verdict.count(w))
            .iter()
            .sum::<usize>();
    terminal.line(format!(
        "  {colour}{mark} {} lost, {} doubled, {} phantom, {others} other{RESET}",
        verdict.count(Wrong::Lost),
        verdict.count(Wrong::Doubled),
        verdict.count(Wrong::Phantom),
    ));
}
