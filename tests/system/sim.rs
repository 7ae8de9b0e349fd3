//! The simulators over TCP, asked by a client that is not farebox's transport.

use std::time::Duration;

use bytes::Bytes;
use farebox::diameter::{
    Address, Avp, Deframer, Dictionary, Limits, Message, application, command, decode, id,
};
use farebox::sim::account::OcsConfig;
use farebox::sim::cdf::CdfConfig;
use farebox::sim::control;
use farebox::sim::fault::{Fault, Lost, Sessions, Verb, When};
use farebox::sim::ledger::{Currency, parse_money};
use farebox::sim::run::{CdfServer, OcsServer, Options, Running, start_scenario};
use farebox::sim::scenario::Scenario;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ANNE: &str = "+12025550123";
/// Longer than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A Diameter client of a few lines.
struct Client {
    stream: TcpStream,
    deframer: Deframer,
}

impl Client {
    /// Connected, with the capabilities exchanged.
    async fn open(address: std::net::SocketAddr) -> Client {
        let stream = TcpStream::connect(address).await.expect("listening");
        let mut client = Client { stream, deframer: Deframer::new(Limits::default()) };
        let mut cer = Message::request(command::CAPABILITIES_EXCHANGE, application::BASE, false);
        cer.header.hop_by_hop = 1;
        cer.header.end_to_end = 1;
        cer.push(Avp::identity(id::ORIGIN_HOST, "cg1.ims.example.net"));
        cer.push(Avp::identity(id::ORIGIN_REALM, "ims.example.net"));
        cer.push(Avp::address(id::HOST_IP_ADDRESS, Address::Ipv4([127, 0, 0, 1])));
        cer.push(Avp::u32(id::VENDOR_ID, 10415));
        cer.push(Avp::text(id::PRODUCT_NAME, "test"));
        cer.push(Avp::u32(id::AUTH_APPLICATION_ID, 4));
        cer.push(Avp::u32(id::ACCT_APPLICATION_ID, 3));
        client.send(&cer).await;
        let cea = client.read().await.expect("CEA");
        assert_eq!(cea.unsigned32(id::RESULT_CODE), Some(2001));
        client
    }

    async fn send(&mut self, message: &Message) {
        let bytes = message.encode(Dictionary::builtin());
        self.stream.write_all(&bytes).await.expect("connected");
    }

    /// The next message; `None` at the end of the connection.
    async fn read(&mut self) -> Option<Message> {
        tokio::time::timeout(PATIENCE, self.read_for_ever()).await.expect("a message in time")
    }

    async fn read_for_ever(&mut self) -> Option<Message> {
        loop {
            if let Some(bytes) = self.deframer.next() {
                let bytes: Bytes = bytes.expect("Diameter");
                let (message, problems) = decode(&bytes, Dictionary::builtin(), &Limits::default());
                assert_eq!(problems, []);
                return Some(message);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.deframer.push(&buffer[..count]),
            }
        }
    }

    async fn ask(&mut self, message: &Message) -> Message {
        self.send(message).await;
        self.read().await.expect("an answer")
    }
}

fn request(code: u32, application: u32, session: &str, number: u32) -> Message {
    let mut message = Message::request(code, application, true);
    message.header.hop_by_hop = 100 + number;
    message.header.end_to_end = 200 + number;
    message.push(Avp::text(id::SESSION_ID, session));
    message.push(Avp::identity(id::ORIGIN_HOST, "cg1.ims.example.net"));
    message.push(Avp::identity(id::ORIGIN_REALM, "ims.example.net"));
    message.push(Avp::identity(id::DESTINATION_REALM, "sim.example.net"));
    message
}

fn ccr(session: &str, kind: i32, number: u32, sent: u64) -> Message {
    let mut message = request(command::CREDIT_CONTROL, 4, session, number);
    message.push(Avp::u32(id::AUTH_APPLICATION_ID, 4));
    message.push(Avp::text(id::SERVICE_CONTEXT_ID, "15.32260@3gpp.org"));
    message.push(Avp::enumerated(id::CC_REQUEST_TYPE, kind));
    message.push(Avp::u32(id::CC_REQUEST_NUMBER, number));
    message.push(Avp::enumerated(id::MULTIPLE_SERVICES_INDICATOR, 1));
    message.push(Avp::group(
        id::SUBSCRIPTION_ID,
        vec![
            Avp::enumerated(id::SUBSCRIPTION_ID_TYPE, 0),
            Avp::text(id::SUBSCRIPTION_ID_DATA, "12025550123"),
        ],
    ));
    let seconds = Avp::u32(id::CC_TIME, 600);
    let messages = Avp::u64(id::CC_SERVICE_SPECIFIC_UNITS, sent);
    let mut members = match kind {
        1 => vec![Avp::group(id::REQUESTED_SERVICE_UNIT, vec![seconds])],
        3 => vec![Avp::group(id::USED_SERVICE_UNIT, vec![seconds, messages])],
        _ => vec![Avp::group(id::REQUESTED_SERVICE_UNIT, vec![messages])],
    };
    members.push(Avp::u32(id::RATING_GROUP, 700));
    message.push(Avp::group(id::MULTIPLE_SERVICES_CREDIT_CONTROL, members));
    if kind == 4 {
        message.push(Avp::enumerated(id::REQUESTED_ACTION, 0));
    }
    message
}

fn acr(session: &str, kind: i32, number: u32) -> Message {
    let mut message = request(command::ACCOUNTING, 3, session, number);
    message.push(Avp::enumerated(id::ACCOUNTING_RECORD_TYPE, kind));
    message.push(Avp::u32(id::ACCOUNTING_RECORD_NUMBER, number));
    message.push(Avp::u32(id::ACCT_APPLICATION_ID, 3));
    message
}

async fn ocs() -> OcsServer {
    let balance = parse_money("10.00 EUR").expect("an amount").0;
    let config = OcsConfig::standard(Currency::EUR).with_account(ANNE, balance);
    let options = Options::local("ocs-sim.sim.example.net", "sim.example.net");
    OcsServer::start(options, config).await.expect("a free port")
}

fn on(command: &str, verb: Verb) -> Fault {
    let when = When { command: Some(command.into()), ..When::default() };
    Fault { server: None, when, at: None, lasts: None, verbs: vec![verb] }
}

#[tokio::test]
async fn x_05_a_chat_over_tcp_is_debited() {
    let ocs = ocs().await;
    let mut client = Client::open(ocs.local_addr()).await;
    let answer = client.ask(&ccr("s", 1, 0, 0)).await;
    assert_eq!(answer.unsigned32(id::RESULT_CODE), Some(2001));
    assert_eq!(ocs.sessions().len(), 1);
    let answer = client.ask(&ccr("s", 3, 1, 14)).await;
    assert_eq!(answer.unsigned32(id::RESULT_CODE), Some(2001));
    assert_eq!(ocs.balance(ANNE).as_deref(), Some("9.30 EUR"));
    assert_eq!(ocs.ledger().check(), Ok(()));
    assert_eq!(ocs.counts().into_iter().collect::<Vec<_>>(), [("CCR-I", 1), ("CCR-T", 1)]);
    assert_eq!(ocs.anomalies(), []);
    // Politely: a DPR, then the end.
    let polite = async {
        let goodbye = client.read().await.expect("DPR");
        assert_eq!(goodbye.header.code, command::DISCONNECT_PEER);
        drop(client);
    };
    tokio::join!(ocs.shutdown(), polite);
}

#[tokio::test]
async fn cdrs_are_in_the_file_before_they_are_acknowledged() {
    let folder = std::env::temp_dir().join(format!("farebox-sim-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let file = folder.join("cdr.ndjson");
    let _ = std::fs::remove_file(&file);
    let options = Options::local("cdf-sim.sim.example.net", "sim.example.net");
    let cdf = CdfServer::start(options, CdfConfig::default(), Some(file.clone()))
        .await
        .expect("a free port");
    let mut client = Client::open(cdf.local_addr()).await;
    for (number, kind) in [(0, 2), (1, 3), (2, 4)] {
        let answer = client.ask(&acr("s", kind, number)).await;
        assert_eq!(answer.unsigned32(id::RESULT_CODE), Some(2001));
        let text = std::fs::read_to_string(&file).expect("readable");
        assert_eq!(text.lines().count(), usize::try_from(number + 1).expect("small"));
    }
    client.ask(&acr("s", 4, 2)).await;
    drop(client);
    assert_eq!((cdf.accepted(), cdf.duplicates()), (3, 1));
    assert!(cdf.sessions()[0].is_complete());
    assert_eq!(std::fs::read_to_string(&file).expect("readable").lines().count(), 3);
    cdf.shutdown().await;
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test]
async fn faults_take_effect_while_it_runs() {
    let ocs = ocs().await;
    let mut client = Client::open(ocs.local_addr()).await;
    let id_of = ocs.add_fault(on("CCR-E", Verb::Answer(5012))).expect("room");
    let answer = client.ask(&ccr("e1", 4, 0, 1)).await;
    assert_eq!(answer.unsigned32(id::RESULT_CODE), Some(5012));
    assert!(ocs.remove_fault(Some(id_of)));

    // A lost request: the next answer is that of the next request.
    ocs.add_fault(on("CCR-E", Verb::Drop(Lost::Request)));
    client.send(&ccr("e2", 4, 0, 1)).await;
    // The order of one connection makes this safe: the drop was decided when this is answered.
    let answer = client.ask(&ccr("s", 1, 0, 0)).await;
    assert_eq!(answer.text(id::SESSION_ID), Some("s"));
    ocs.remove_fault(None);

    // A delayed answer lets another one pass.
    ocs.add_fault(on("CCR-E", Verb::Delay(Duration::from_millis(300))));
    client.send(&ccr("e3", 4, 0, 1)).await;
    client.send(&ccr("s", 3, 1, 1)).await;
    let sessions = [client.read().await, client.read().await]
        .map(|answer| answer.expect("both").text(id::SESSION_ID).map(str::to_owned));
    assert_eq!(sessions, [Some("s".to_owned()), Some("e3".to_owned())]);
    ocs.remove_fault(None);

    ocs.add_fault(on("CCR-E", Verb::Close));
    client.send(&ccr("e4", 4, 0, 1)).await;
    assert!(client.read().await.is_none());
    ocs.shutdown().await;
}

#[tokio::test]
async fn garbage_and_resets_reach_the_client() {
    for verb in [Verb::Garbage, Verb::Truncate(Some(30)), Verb::Reset] {
        let ocs = ocs().await;
        ocs.add_fault(on("CCR-E", verb.clone()));
        let mut client = Client::open(ocs.local_addr()).await;
        client.send(&ccr("e", 4, 0, 1)).await;
        let mut buffer = [0; 4096];
        let mut seen = Vec::new();
        let reading = async {
            while let Ok(count @ 1..) = client.stream.read(&mut buffer).await {
                seen.extend_from_slice(&buffer[..count]);
                if verb == Verb::Garbage {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("an end");
        match verb {
            Verb::Garbage => assert!(seen.starts_with(b"HTTP")),
            Verb::Truncate(_) => assert_eq!(seen.len(), 30),
            _ => assert!(seen.is_empty()),
        }
        drop(client);
        ocs.shutdown().await;
    }
}

#[tokio::test]
async fn c_22_rar_and_asr_reach_the_client_of_the_session() {
    let ocs = ocs().await;
    let mut client = Client::open(ocs.local_addr()).await;
    client.ask(&ccr("s", 1, 0, 0)).await;
    assert_eq!(ocs.send_rar(&Sessions::Like("other*".into()), None), 0);
    assert_eq!(ocs.send_rar(&Sessions::Any, Some(700)), 1);
    let rar = client.read().await.expect("RAR");
    assert_eq!((rar.header.code, rar.text(id::SESSION_ID)), (command::RE_AUTH, Some("s")));
    let mut raa = Message::answer_to(&rar.header);
    raa.push(Avp::text(id::SESSION_ID, "s"));
    raa.push(Avp::u32(id::RESULT_CODE, 2002));
    raa.push(Avp::identity(id::ORIGIN_HOST, "cg1.ims.example.net"));
    raa.push(Avp::identity(id::ORIGIN_REALM, "ims.example.net"));
    client.send(&raa).await;
    assert_eq!(ocs.send_asr(&Sessions::Any), 1);
    let asr = client.read().await.expect("ASR");
    assert_eq!(asr.header.code, command::ABORT_SESSION);
    // The answer after this one proves that the RAA was read.
    client.ask(&ccr("s", 3, 1, 1)).await;
    let answers = ocs.peer_answers();
    assert_eq!((answers.len(), answers[0].command, answers[0].result), (1, "RAR", Some(2002)));
    drop(client);
    ocs.shutdown().await;
}

#[tokio::test]
async fn refused_connections_come_back_on_the_same_address() {
    let ocs = ocs().await;
    let mut client = Client::open(ocs.local_addr()).await;
    let refuse = Fault {
        server: None,
        when: When::default(),
        at: None,
        lasts: None,
        verbs: vec![Verb::RefuseConnections],
    };
    ocs.add_fault(refuse);
    assert!(client.read().await.is_none());
    let refused = async {
        while TcpStream::connect(ocs.local_addr()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("refused");
    ocs.remove_fault(None);
    let again = async {
        while TcpStream::connect(ocs.local_addr()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("listening again");
    let mut client = Client::open(ocs.local_addr()).await;
    let answer = client.ask(&ccr("s", 1, 0, 0)).await;
    assert_eq!(answer.unsigned32(id::RESULT_CODE), Some(2001));
    drop(client);
    ocs.shutdown().await;
}

#[tokio::test]
async fn a_scenario_starts_its_servers_and_shares_what_is_shared() {
    let text = "\
scenario: two
accounts: {\"*\": {balance: \"1.00 EUR\"}}
servers:
  ocs-a: {role: ocs, host: ocs-a.sim, realm: sim.example.net, session_store: shared}
  ocs-b: {role: ocs, host: ocs-b.sim, realm: sim.example.net, session_store: shared}
  cdf-a: {role: cdf, host: cdf-a.sim, realm: sim.example.net}
faults:
  - {server: ocs-a, when: {command: CCR-T}, do: {answer: 3004}}
";
    let scenario = Scenario::read("two.yaml", text).expect("valid");
    let running = start_scenario(&scenario, |_| true).await.expect("free ports");
    let [(_, Running::Ocs(a)), (_, Running::Ocs(b)), (_, Running::Cdf(cdf))] = &running[..] else {
        panic!("{running:?}")
    };
    let mut at_a = Client::open(a.local_addr()).await;
    let mut at_b = Client::open(b.local_addr()).await;
    at_a.ask(&ccr("s", 1, 0, 0)).await;
    let busy = at_a.ask(&ccr("s", 3, 1, 2)).await;
    assert_eq!(busy.unsigned32(id::RESULT_CODE), Some(3004));
    let answer = at_b.ask(&ccr("s", 3, 1, 2)).await;
    assert_eq!(answer.unsigned32(id::RESULT_CODE), Some(2001));
    assert_eq!(a.balance("12025550123").as_deref(), Some("0.90 EUR"));
    drop((at_a, at_b));
    for server in [a, b] {
        server.shutdown().await;
    }
    cdf.shutdown().await;
}

/// One HTTP exchange without a client library.
async fn http(address: std::net::SocketAddr, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("listening");
    let length = body.len();
    let text = format!(
        "{head} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/yaml\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.expect("connected");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("UTF-8");
    let status = answer.get(9..12).and_then(|code| code.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").expect("a body").1.to_owned();
    (status, body)
}

#[tokio::test]
async fn the_control_port_changes_accounts_and_faults() {
    let ocs = ocs().await;
    let servers = vec![("ocs-a".to_owned(), Running::Ocs(ocs.clone()))];
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let control = control::serve(loopback, servers.clone()).await.expect("a free port");
    let at = control.local_addr();

    let (status, body) = http(at, "GET /accounts/+12025550123", "").await;
    assert!(status == 200 && body.contains(r#""balance":"10.00 EUR""#), "{status} {body}");
    let (status, body) = http(at, "PUT /accounts/+12025550123", r#"{"balance": "0.00 EUR"}"#).await;
    assert!(status == 200 && body.contains(r#""balance":"0.00 EUR""#), "{status} {body}");
    assert_eq!(ocs.balance(ANNE).as_deref(), Some("0.00 EUR"));
    let (status, _) = http(at, "PUT /accounts/+12025550199", "state: blocked").await;
    assert_eq!(status, 200);
    let (status, body) = http(at, "PUT /accounts/+1", "balance: 5 USD").await;
    assert!(status == 400 && body.contains("FB0102"), "{status} {body}");
    let (status, _) = http(at, "GET /accounts/+9", "").await;
    assert_eq!(status, 404);

    let fault = "{server: ocs-a, when: {command: CCR-E}, do: {answer: DIAMETER_TOO_BUSY}}";
    let (status, body) = http(at, "POST /faults", fault).await;
    assert!(status == 201 && body.contains(r#""id":1"#), "{status} {body}");
    let mut client = Client::open(ocs.local_addr()).await;
    let answer = client.ask(&ccr("e", 4, 0, 1)).await;
    assert_eq!(answer.unsigned32(id::RESULT_CODE), Some(3004));
    let (_, body) = http(at, "GET /faults", "").await;
    assert!(body.contains(r#""acted":1"#), "{body}");
    let (status, _) = http(at, "DELETE /faults/ocs-a/1", "").await;
    assert_eq!(status, 204);
    let (status, body) = http(at, "POST /faults", "{do: {slow_read: true}}").await;
    assert!(status == 400 && body.contains("not supported yet"), "{status} {body}");

    let (_, body) = http(at, "GET /ledger", "").await;
    assert!(body.contains(r#""balanced":true"#), "{body}");
    drop(client);
    control.shutdown();
    let open = "0.0.0.0:0".parse().expect("an address");
    assert!(control::serve(open, servers).await.is_err());
    ocs.shutdown().await;
}
