//! `farebox proof ledger`: scripted sessions over real sockets, and the OCS's books against what the
//! API reported.
//!
//! For each run the subscriber's balance at the OCS must have fallen by exactly the price of the
//! units that the API says were debited, and nothing may stay reserved by a session that ended.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::args::Ledger;
use super::config;
use super::exit::{Exit, Failure, Outcome};
use super::http::Http;
use super::instance::Instance;
use super::terminal::{BOLD, GREEN, RED, RESET, Terminal};
use crate::charging::policy::Ccfh;
use crate::sim::account::OcsConfig;
use crate::sim::cdf::CdfConfig;
use crate::sim::fault::{Fault, Lost, Sessions, Verb, When};
use crate::sim::ledger::{Amount, Currency};
use crate::sim::run::{CdfServer, OcsServer, Options};

const REALM: &str = "example.net";
/// Of one message, in every rating group.
const PRICE: Amount = Amount(50_000);
const OPENING: Amount = Amount(10_000_000);
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// The other request is on its way by then; Tx is longer.
const MEANWHILE: Duration = Duration::from_millis(100);

/// One run with both sides' figures.
struct Run {
    title: String,
    /// What the API said, call by call.
    told: Vec<String>,
    /// Messages that the API reported as debited, less those refunded.
    messages: i128,
    balance: Amount,
    problems: Vec<String>,
}

/// 0 if the balances equal the units in every run, else 3.
pub(crate) fn run(args: &Ledger, terminal: &mut Terminal) -> Outcome {
    let runtime = super::runtime()?;
    let runs = runtime.block_on(all(terminal))?;
    let good = runs.iter().filter(|run| run.problems.is_empty()).count();
    if args.json {
        let runs: Vec<Value> = runs.iter().map(of_run).collect();
        terminal.line(json!({"equal": good == runs.len(), "runs": runs}).to_string());
    } else {
        for run in &runs {
            print(run, terminal);
        }
        let colour = if good == runs.len() { GREEN } else { RED };
        terminal.line(format!(
            "{colour}{good} of {} runs: the OCS's balance equals the units that the API reported{RESET}",
            runs.len()
        ));
    }
    Ok(if good == runs.len() { Exit::Ok } else { Exit::Assertion })
}

fn of_run(run: &Run) -> Value {
    json!({
        "title": run.title,
        "told": run.told,
        "messages": i64::try_from(run.messages).unwrap_or(i64::MAX),
        "balance": run.balance.decimal(Currency::EUR),
        "problems": run.problems,
    })
}

fn print(run: &Run, terminal: &mut Terminal) {
    terminal.line(format!("{BOLD}{}{RESET}", run.title));
    for line in &run.told {
        terminal.line(format!("    {line}"));
    }
    terminal.line(format!(
        "    {} messages × 0.05   balance {} → {}",
        run.messages,
        OPENING.decimal(Currency::EUR),
        run.balance.decimal(Currency::EUR)
    ));
    for problem in &run.problems {
        terminal.line(format!("    {RED}✖ {problem}{RESET}"));
    }
}

async fn all(terminal: &mut Terminal) -> Result<Vec<Run>, Failure> {
    let mut runs = Vec::new();
    for ccfh in Ccfh::ALL {
        let stage = Stage::start(ccfh, terminal).await?;
        let played = stage.play(ccfh).await;
        stage.stop().await;
        runs.extend(played?);
    }
    Ok(runs)
}

/// A gateway and its two simulators.
struct Stage {
    folder: PathBuf,
    ocs: OcsServer,
    cdf: CdfServer,
    instance: Instance,
    http: Http,
}

/// One subscriber's script.
struct Script<'a> {
    stage: &'a Stage,
    name: &'static str,
    subscriber: String,
    told: Vec<String>,
    /// Of the last answer that had a debit.
    debited: i128,
    refunded: i128,
}

impl Stage {
    async fn start(ccfh: Ccfh, terminal: &mut Terminal) -> Result<Stage, Failure> {
        let name = format!("farebox-ledger-{}-{}", std::process::id(), ccfh.name());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).map_err(|error| Failure::file(&folder, &error))?;
        let failed = |error: std::io::Error| Failure::new(Exit::Failed, error.to_string());
        let mut books = OcsConfig::standard(Currency::EUR);
        books.other_tariff = books.tariffs.get(&700).cloned();
        let options = |name: &str| Options::local(&format!("{name}.{REALM}"), REALM);
        let ocs = OcsServer::start(options("ocs-sim"), books).await.map_err(failed)?;
        let out = Some(folder.join("cdr.ndjson"));
        let cdf = CdfServer::start(options("cdf-sim"), CdfConfig::default(), out);
        let cdf = cdf.await.map_err(failed)?;
        let config = configuration(&folder, ocs.local_addr(), cdf.local_addr(), ccfh);
        let file = folder.join("farebox.yaml");
        std::fs::write(&file, config).map_err(|error| Failure::file(&file, &error))?;
        let config = config::read_paths(std::slice::from_ref(&file), terminal)?;
        let instance = Instance::start(config).await?;
        let http = Http::new(format!("http://{}", instance.api), Duration::from_secs(10));
        let opened = instance.handle.wait_usable(&["ocs-sim", "cdf-sim"]);
        if tokio::time::timeout(OPEN_WITHIN, opened).await.is_err() {
            return Err(Failure::new(Exit::Failed, "the peers did not open"));
        }
        Ok(Stage { folder, ocs, cdf, instance, http })
    }

    async fn stop(self) {
        self.instance.stop().await;
        self.ocs.shutdown().await;
        self.cdf.shutdown().await;
        // What is left of a temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    /// The models and RAR once, under the first CCFH; silence at each step under every one.
    async fn play(&self, ccfh: Ccfh) -> Result<Vec<Run>, Failure> {
        let mut runs = Vec::new();
        if ccfh == Ccfh::ALL[0] {
            runs.push(self.script("scurrun1").three_groups().await?);
            runs.push(self.script("ecurrun1").ecur().await?);
            runs.push(self.script("iecrun01").refund().await?);
            runs.push(self.script("raropen1").rar_open().await?);
            runs.push(self.script("rarupdat").rar_update().await?);
            runs.push(self.script("rartermi").rar_termination().await?);
        }
        for (name, command) in [
            ("quietini", "CCR-I"),
            ("quietupd", "CCR-U"),
            ("quietter", "CCR-T"),
            ("quieteve", "CCR-E"),
        ] {
            runs.push(self.script(name).silent(command, ccfh).await?);
        }
        Ok(runs)
    }

    fn script(&self, name: &'static str) -> Script<'_> {
        let number: u32 =
            name.bytes().fold(0, |sum, byte| (sum * 31 + u32::from(byte)) % 10_000_000);
        let subscriber = format!("+1202{number:07}");
        self.ocs.set_account(&subscriber, Some(OPENING), None);
        Script { stage: self, name, subscriber, told: Vec::new(), debited: 0, refunded: 0 }
    }

    /// A RAR while another request may be on its way; what the gateway answered.
    async fn rar(&self, name: &str, wanted: u32) -> (String, Vec<String>) {
        tokio::time::sleep(MEANWHILE).await;
        let before = self.ocs.peer_answers().len();
        let sent = self.ocs.send_rar(&Sessions::Like(format!("*;{name}*")), None);
        for _ in 0..50 {
            if let Some(answer) = self.ocs.peer_answers().get(before) {
                let result = answer.result.unwrap_or(0);
                let problem = format!("RAA is {result}, expected {wanted}");
                let problems = if result == wanted { Vec::new() } else { vec![problem] };
                return (format!("{:<24} {result}", "RAR"), problems);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (format!("{:<24} –", "RAR"), vec![format!("{sent} RAR sent, no RAA")])
    }

    fn fault(&self, command: &str, name: &str, nth: Option<u64>, verb: Verb) {
        let session = Some(format!("*;{name}*"));
        let when = When { command: Some(command.to_owned()), session, nth, ..When::default() };
        self.ocs.add_fault(Fault { server: None, when, at: None, lasts: None, verbs: vec![verb] });
    }
}

fn configuration(folder: &Path, ocs: SocketAddr, cdf: SocketAddr, ccfh: Ccfh) -> String {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    format!(
        "version: 1
identity: {{host: cg1.ims.example.net, realm: ims.example.net}}
api: {{listen: \"{any}\"}}
admin: {{listen: \"{any}\"}}
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
    message: {{interfaces: [ch1, ch2], model: iec, rating_group: 701, service_id: 9}}
    file: {{interfaces: [ch1, ch2], model: ecur, rating_group: 702, service_id: 10}}
failure: {{ch2: {{on_no_answer: {ccfh}}}}}
termination: {{ok_timeout: 1s, settle_within: 3s}}
drain: {{timeout: 2s}}
",
        store = folder.join("store"),
        ccfh = ccfh.name(),
    )
}

fn usage(groups: &[(u32, u64)]) -> Value {
    let entry = |(group, messages): &(u32, u64)| json!({"ratingGroup": group, "units": {"seconds": messages * 10, "messages": messages}});
    groups.iter().map(entry).collect()
}

impl Script<'_> {
    async fn post(&mut self, path: &str, what: &str, body: Value) -> Result<Value, Failure> {
        let answer = self.stage.http.post(path, &body).await?;
        let outcome = answer.json["outcome"].as_str().unwrap_or("–");
        self.told.push(format!("{what:<24} {} {outcome}", answer.status));
        self.take(&answer.json);
        Ok(answer.json)
    }

    /// What the API says was debited in total.
    fn take(&mut self, answer: &Value) {
        if let Some(units) = answer["debit"]["units"].as_array() {
            let messages = units.iter().filter_map(|entry| entry["units"]["messages"].as_u64());
            self.debited = messages.map(i128::from).sum();
        }
    }

    fn body(&self, more: Value) -> Value {
        let mut body = json!({
            "timestamp": crate::clock::wall().to_string(),
            "subscriber": [{"type": "e164", "value": self.subscriber}],
        });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        body
    }

    async fn begin(&mut self, groups: &[u32]) -> Result<Value, Failure> {
        let request: Vec<Value> = groups
            .iter()
            .map(|group| json!({"ratingGroup": group, "units": {"seconds": 600, "messages": 20}}))
            .collect();
        let body =
            self.body(json!({"sessionId": self.name, "service": "chat", "request": request}));
        self.post("/v1/sessions", "start", body).await
    }

    async fn report(&mut self, usage: Value) -> Result<Value, Failure> {
        let request = json!([{"ratingGroup": 700, "units": {"messages": 20}}]);
        let timestamp = crate::clock::wall().to_string();
        let body = json!({"timestamp": timestamp, "usage": usage, "request": request});
        self.post(&format!("/v1/sessions/{}/interim", self.name), "interim", body).await
    }

    async fn end(&mut self, usage: Value) -> Result<Value, Failure> {
        let timestamp = crate::clock::wall().to_string();
        let body = json!({"trigger": "bye-received", "timestamp": timestamp, "usage": usage});
        self.post(&format!("/v1/sessions/{}/terminate", self.name), "terminate", body).await
    }

    async fn event(&mut self, id: &str, service: &str, more: Value) -> Result<Value, Failure> {
        let mut body = self.body(json!({
            "eventId": id, "kind": "message.sent", "action": "debit", "service": service,
            "units": {"messages": 2},
        }));
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        self.post("/v1/events", id, body).await
    }

    /// The verdict on this subscriber.
    fn judged(self, title: impl Into<String>, mut problems: Vec<String>) -> Run {
        let account = self.stage.ocs.account(&self.subscriber);
        let (balance, reserved) =
            account.map_or((Amount::ZERO, Amount::ZERO), |view| (view.balance, view.reserved));
        let messages = self.debited - self.refunded;
        let expected = OPENING - Amount(PRICE.0 * messages);
        if balance != expected {
            problems.push(format!(
                "the API reported {messages} messages, so {} should be left",
                expected.decimal(Currency::EUR)
            ));
        }
        let open = self.stage.ocs.sessions().iter().any(|view| view.id.contains(self.name));
        if reserved != Amount::ZERO && !open {
            problems.push(format!("{} stays reserved", reserved.decimal(Currency::EUR)));
        }
        Run { title: title.into(), told: self.told, messages, balance, problems }
    }

    async fn three_groups(mut self) -> Result<Run, Failure> {
        self.begin(&[700, 701, 702]).await?;
        self.report(usage(&[(700, 3), (701, 2), (702, 1)])).await?;
        let side = |messages: u64, tariff: &str| json!({"ratingGroup": 702, "units": {"messages": messages}, "tariff": tariff});
        let around = json!([side(4, "before"), side(5, "after")]);
        self.report(around).await?;
        self.end(usage(&[(700, 7), (701, 6)])).await?;
        let problems = self.at_least(20);
        Ok(self.judged("SCUR, three rating groups, a tariff change", problems))
    }

    async fn ecur(mut self) -> Result<Run, Failure> {
        self.event("ecur", "file", json!({})).await?;
        let problems = self.at_least(2);
        Ok(self.judged("ECUR", problems))
    }

    async fn refund(mut self) -> Result<Run, Failure> {
        self.event("iec-1", "message", json!({})).await?;
        let first = self.debited;
        let back = json!({"action": "refund", "refundOf": "iec-1"});
        let answer = self.event("iec-1-refund", "message", back).await?;
        if answer["outcome"] == "refunded" {
            self.refunded = first;
        }
        self.debited = first;
        self.event("iec-2", "message", json!({})).await?;
        self.debited += first;
        let mut problems = self.at_least(4);
        if self.refunded == 0 {
            problems.push("nothing was refunded".to_owned());
        }
        Ok(self.judged("IEC with a refund", problems))
    }

    /// A run that charged nothing where it should proves nothing.
    fn at_least(&self, messages: i128) -> Vec<String> {
        if self.debited >= messages {
            return Vec::new();
        }
        vec![format!("{} messages were debited, expected {messages}", self.debited)]
    }

    async fn rar_open(mut self) -> Result<Run, Failure> {
        self.begin(&[700]).await?;
        self.report(usage(&[(700, 3)])).await?;
        let (told, problems) = self.stage.rar(self.name, 2002).await;
        self.told.push(told);
        self.end(usage(&[(700, 5)])).await?;
        Ok(self.judged("RAR in Open", problems))
    }

    async fn rar_update(mut self) -> Result<Run, Failure> {
        self.begin(&[700]).await?;
        let (stage, name) = (self.stage, self.name);
        stage.fault("CCR-U", name, Some(1), Verb::Drop(Lost::Request));
        let (answer, (told, problems)) =
            tokio::join!(self.report(usage(&[(700, 3)])), stage.rar(name, 2001));
        answer?;
        self.told.push(told);
        self.end(usage(&[(700, 5)])).await?;
        Ok(self.judged("RAR in PendingU", problems))
    }

    async fn rar_termination(mut self) -> Result<Run, Failure> {
        self.begin(&[700]).await?;
        let (stage, name) = (self.stage, self.name);
        stage.fault("CCR-T", name, Some(1), Verb::Drop(Lost::Request));
        let (answer, (told, problems)) =
            tokio::join!(self.end(usage(&[(700, 5)])), stage.rar(name, 5002));
        answer?;
        self.told.push(told);
        // The second copy is answered after the caller was told `unverified`: asked again.
        tokio::time::sleep(MEANWHILE * 5).await;
        self.end(json!([])).await?;
        Ok(self.judged("RAR in PendingT", problems))
    }

    async fn silent(mut self, command: &str, ccfh: Ccfh) -> Result<Run, Failure> {
        self.stage.fault(command, self.name, None, Verb::Drop(Lost::Request));
        let title = format!("OCS silent at {command}, CCFH {}", ccfh.name());
        if command == "CCR-E" {
            self.event(self.name, "message", json!({})).await?;
            return Ok(self.judged(title, Vec::new()));
        }
        let started = self.begin(&[700]).await?;
        if started["outcome"] != "denied" {
            self.report(usage(&[(700, 3)])).await?;
            self.end(usage(&[(700, 5)])).await?;
        }
        Ok(self.judged(title, Vec::new()))
    }
}
