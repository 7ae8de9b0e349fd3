//! Peers and listeners over real sockets: handshake, traffic, watchdog, and every way to end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use farebox::diameter::{
    Avp, Dictionary, Header, Limits as CodecLimits, Message, command, decode, id,
};
use farebox::peer::{
    Application, DisconnectCause, Fact, Limits, LocalIdentity, PeerConfig, PeerState, base,
    capabilities,
};
use farebox::transport::{
    Allow, ConnectionHandle, EventSink, Network, Outgoing, PeerEvent, PeerHandle, Refused,
    ServerConfig, ServerHandle, ServerHandler, serve, spawn,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

#[path = "known.rs"]
mod known;
#[path = "peers.rs"]
mod peers;
#[path = "tls.rs"]
mod tls;

/// Nothing here takes so long; what does is a failure and not a hang.
const PATIENCE: Duration = Duration::from_secs(20);

const SESSION: &str = "cg.example;1;1";

fn dictionary() -> Arc<Dictionary> {
    Arc::new(Dictionary::builtin().clone())
}

fn us() -> LocalIdentity {
    LocalIdentity::new("cg.example", "example")
}

fn them() -> LocalIdentity {
    LocalIdentity::new("ocs.example", "example")
}

/// Times for tests: what takes seconds in life takes a moment.
fn short() -> Limits {
    Limits { watchdog_min: Duration::ZERO, watchdog_jitter: Duration::ZERO, ..Limits::default() }
}

fn config(address: &str) -> PeerConfig {
    let mut config = PeerConfig::new("ocs", Some(address), "example");
    config.reconnect_initial = Duration::from_millis(20);
    config.limits = short();
    config
}

fn read(bytes: &Bytes) -> Message {
    decode(bytes, Dictionary::builtin(), &CodecLimits::default()).0
}

fn ccr(end_to_end: u32) -> Bytes {
    let mut message = Message::request(command::CREDIT_CONTROL, 4, true);
    message.header.end_to_end = end_to_end;
    message.push(Avp::text(id::SESSION_ID, SESSION));
    message.push(Avp::identity(id::ORIGIN_HOST, "cg.example"));
    message.encode(Dictionary::builtin())
}

/// The CCA with 2001 to a CCR.
fn cca(request: &Bytes) -> Bytes {
    let header = Header::parse(request).expect("a header");
    let mut answer = Message::answer_to(&header);
    answer.push(Avp::text(id::SESSION_ID, SESSION));
    answer.push(Avp::u32(id::RESULT_CODE, 2001));
    answer.encode(Dictionary::builtin())
}

fn rar() -> Bytes {
    let mut message = Message::request(command::RE_AUTH, 4, true);
    message.header.end_to_end = 88;
    message.push(Avp::text(id::SESSION_ID, SESSION));
    message.push(Avp::identity(id::ORIGIN_HOST, "ocs.example"));
    message.push(Avp::identity(id::ORIGIN_REALM, "example"));
    message.push(Avp::identity(id::DESTINATION_REALM, "example"));
    message.push(Avp::identity(id::DESTINATION_HOST, "cg.example"));
    message.push(Avp::u32(id::AUTH_APPLICATION_ID, 4));
    message.push(Avp::enumerated(id::RE_AUTH_REQUEST_TYPE, 0));
    message.encode(Dictionary::builtin())
}

/// A peer of ours and what it tells.
struct Client {
    handle: PeerHandle,
    events: mpsc::UnboundedReceiver<PeerEvent>,
}

impl Client {
    fn start(config: PeerConfig) -> Client {
        Client::start_as(config, us())
    }

    fn start_as(config: PeerConfig, identity: LocalIdentity) -> Client {
        let (told, events) = mpsc::unbounded_channel();
        let sink: EventSink = Arc::new(move |event| {
            let _ = told.send(event);
        });
        Client { handle: spawn(0, config, identity, dictionary(), sink), events }
    }

    /// Waits for the first event that `pick` takes; others are passed over.
    async fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(PeerEvent) -> Option<T>) -> T {
        let mut seen = Vec::new();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let event = self.events.recv().await.expect("the task lives");
                seen.push(format!("{event:?}"));
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("no {what} among\n{}", seen.join("\n")),
        }
    }

    /// Waits for a state; tells its reason.
    async fn state(&mut self, wanted: PeerState) -> String {
        self.wait(wanted.word(), |event| match event {
            PeerEvent::State { state, reason, .. } if state == wanted => Some(reason),
            _ => None,
        })
        .await
    }

    /// Waits until requests may be sent.
    async fn usable(&mut self) {
        self.wait("usable", |event| match event {
            PeerEvent::State { usable: true, .. } => Some(()),
            _ => None,
        })
        .await;
    }

    async fn fact(&mut self, wanted: impl Fn(&Fact) -> bool) -> Fact {
        self.wait("fact", |event| match event {
            PeerEvent::Fact { fact, .. } if wanted(&fact) => Some(fact),
            _ => None,
        })
        .await
    }

    async fn sent(&mut self) -> (u64, u32) {
        self.wait("sent", |event| match event {
            PeerEvent::Sent { token, hop_by_hop, .. } => Some((token, hop_by_hop)),
            _ => None,
        })
        .await
    }

    async fn answer(&mut self) -> (u64, Message) {
        self.wait("answer", |event| match event {
            PeerEvent::Answer { token, bytes, .. } => Some((token, read(&bytes))),
            _ => None,
        })
        .await
    }

    async fn lost(&mut self) -> (u64, bool) {
        self.wait("lost", |event| match event {
            PeerEvent::Lost { token, sent, .. } => Some((token, sent)),
            _ => None,
        })
        .await
    }

    fn send(&self, token: u64) {
        self.handle
            .send(Outgoing { token, bytes: ccr(token as u32), retransmit: false })
            .expect("taken");
    }
}

/// What a listener of ours tells.
#[derive(Debug)]
enum Told {
    Connected(u64, String, ConnectionHandle),
    Request,
    Answer(Bytes),
    Closed(u64),
    Fact(Fact),
}

/// Answers every request with 2001, unless it is told to be silent.
struct Handler {
    told: mpsc::UnboundedSender<Told>,
    silent: bool,
}

impl ServerHandler for Handler {
    fn connected(&self, conn: u64, origin_host: &str, out: ConnectionHandle) {
        let _ = self.told.send(Told::Connected(conn, origin_host.to_owned(), out));
    }

    fn request(&self, _conn: u64, bytes: Bytes, out: &ConnectionHandle) {
        if !self.silent {
            out.send(cca(&bytes)).expect("room for an answer");
        }
        let _ = self.told.send(Told::Request);
    }

    fn answer(&self, _conn: u64, bytes: Bytes) {
        let _ = self.told.send(Told::Answer(bytes));
    }

    fn closed(&self, conn: u64) {
        let _ = self.told.send(Told::Closed(conn));
    }

    fn fact(&self, fact: Fact) {
        let _ = self.told.send(Told::Fact(fact));
    }
}

struct Server {
    handle: ServerHandle,
    told: mpsc::UnboundedReceiver<Told>,
}

impl Server {
    async fn start() -> Server {
        Server::with(|_| {}, false).await
    }

    async fn with(change: impl FnOnce(&mut ServerConfig), silent: bool) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut config = ServerConfig::new(them(), dictionary());
        config.limits = short();
        change(&mut config);
        let (told, events) = mpsc::unbounded_channel();
        let handler = Arc::new(Handler { told, silent });
        Server { handle: serve(listener, config, handler).expect("served"), told: events }
    }

    fn address(&self) -> String {
        self.handle.local_addr().to_string()
    }

    async fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(Told) -> Option<T>) -> T {
        let mut seen = Vec::new();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let told = self.told.recv().await.expect("the listener lives");
                seen.push(format!("{told:?}"));
                if let Some(found) = pick(told) {
                    return found;
                }
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("no {what} among\n{}", seen.join("\n")),
        }
    }

    async fn connected(&mut self) -> (u64, String, ConnectionHandle) {
        self.wait("connection", |told| match told {
            Told::Connected(conn, host, out) => Some((conn, host, out)),
            _ => None,
        })
        .await
    }

    async fn closed(&mut self, wanted: u64) {
        self.wait("end", |told| matches!(told, Told::Closed(conn) if conn == wanted).then_some(()))
            .await;
    }

    async fn fact(&mut self, wanted: impl Fn(&Fact) -> bool) -> Fact {
        self.wait("fact", |told| match told {
            Told::Fact(fact) if wanted(&fact) => Some(fact),
            _ => None,
        })
        .await
    }
}

/// A peer that does what the test says, octet by octet.
struct Script {
    socket: TcpStream,
    buffer: BytesMut,
}

impl Script {
    async fn accept(listener: &TcpListener) -> Script {
        let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await.expect("in time");
        Script { socket: accepted.expect("a connection").0, buffer: BytesMut::new() }
    }

    async fn connect(address: &str) -> Script {
        let socket = TcpStream::connect(address).await.expect("connected");
        Script { socket, buffer: BytesMut::new() }
    }

    /// Accepts a connection of ours and brings it to Open.
    async fn opened(listener: &TcpListener) -> Script {
        let mut script = Script::accept(listener).await;
        let cer = script.read().await.expect("a CER");
        assert_eq!(cer.header.code, command::CAPABILITIES_EXCHANGE);
        let local = farebox::diameter::Address::Ipv4([127, 0, 0, 1]);
        let cea = capabilities::cea(&cer.header, &them(), Application::DEFAULT, &[local], None);
        script.write(&cea).await;
        script
    }

    /// Connects to a listener of ours and brings it to Open.
    async fn open(address: &str, host: &str) -> Script {
        let mut script = Script::connect(address).await;
        script.write(&cer(host)).await;
        let cea = script.read().await.expect("a CEA");
        assert_eq!(cea.unsigned32(id::RESULT_CODE), Some(2001));
        script
    }

    async fn write(&mut self, message: &Message) {
        self.raw(&message.encode(Dictionary::builtin())).await;
    }

    async fn raw(&mut self, octets: &[u8]) {
        self.socket.write_all(octets).await.expect("written");
    }

    /// The next message; `None` at the end of the connection.
    async fn read(&mut self) -> Option<Message> {
        Some(read(&self.read_bytes().await?))
    }

    async fn read_bytes(&mut self) -> Option<Bytes> {
        let limits = CodecLimits::default();
        tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(message) =
                    farebox::diameter::deframe::split_message(&mut self.buffer, &limits)
                {
                    return Some(message.expect("a message"));
                }
                match self.socket.read_buf(&mut self.buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        })
        .await
        .expect("a message or the end in time")
    }

    /// The next message that is no DWR; those are answered.
    async fn request(&mut self) -> Bytes {
        loop {
            let bytes = self.read_bytes().await.expect("a request");
            let header = Header::parse(&bytes).expect("a header");
            if header.code != command::DEVICE_WATCHDOG {
                return bytes;
            }
            let dwa = base::answer(&header, &them(), 2001, None, None);
            self.write(&dwa).await;
        }
    }
}

fn cer(host: &str) -> Message {
    let identity = LocalIdentity::new(host, "example");
    let local = farebox::diameter::Address::Ipv4([127, 0, 0, 1]);
    capabilities::cer(&identity, Application::DEFAULT, &[local], 1, 2)
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    (listener, address)
}

#[tokio::test]
async fn p_01_p_10_a_peer_opens_over_tcp_and_w_12_a_ccr_is_answered() {
    let mut server = Server::start().await;
    let mut client = Client::start(config(&server.address()));
    let reason = client.state(PeerState::Open).await;
    assert_eq!(reason, "ocs.example \"farebox\"");
    assert!(client.handle.is_usable());
    let (conn, host, _) = server.connected().await;
    assert_eq!(host, "cg.example");
    client.send(7);
    let (token, hop_by_hop) = client.sent().await;
    assert_eq!(token, 7);
    let (token, answer) = client.answer().await;
    assert_eq!((token, answer.header.hop_by_hop), (7, hop_by_hop));
    assert_eq!(answer.unsigned32(id::RESULT_CODE), Some(2001));
    assert_eq!(client.handle.in_window(), 0);
    client.handle.shutdown(DisconnectCause::Rebooting);
    client.handle.closed().await;
    server.closed(conn).await;
}

#[tokio::test]
async fn p_11_the_cer_tells_the_local_address_of_the_connection() {
    let (listener, address) = listener().await;
    let _client = Client::start(config(&address));
    let mut script = Script::accept(&listener).await;
    let cer = script.read().await.expect("a CER");
    let address = cer.find(id::HOST_IP_ADDRESS).expect("there").value.clone();
    let loopback = farebox::diameter::Address::Ipv4([127, 0, 0, 1]);
    assert_eq!(address, farebox::diameter::Value::Address(loopback));
}

#[tokio::test]
async fn many_requests_share_writes_and_all_are_answered() {
    const COUNT: u64 = 5_000;
    let server = Server::start().await;
    let mut client = Client::start(config(&server.address()));
    client.usable().await;
    let (mut next, mut answered) = (0, 0);
    while answered < COUNT {
        while next < COUNT {
            let outgoing = Outgoing { token: next, bytes: ccr(next as u32), retransmit: false };
            match client.handle.send(outgoing) {
                Ok(()) => next += 1,
                Err(Refused::Window) => break,
                Err(other) => panic!("{other}"),
            }
        }
        client.answer().await;
        answered += 1;
    }
    assert_eq!(client.handle.in_window(), 0);
}

#[tokio::test]
async fn h_12_h_16_copies_keep_the_end_to_end_id_and_get_a_new_hop_by_hop_id() {
    let (listener, address) = listener().await;
    let mut client = Client::start(config(&address));
    let mut script = Script::opened(&listener).await;
    client.usable().await;
    for (token, retransmit) in [(1, false), (2, true)] {
        client.handle.send(Outgoing { token, bytes: ccr(5), retransmit }).expect("taken");
    }
    let first = Header::parse(&script.request().await).expect("a header");
    let second = Header::parse(&script.request().await).expect("a header");
    assert_eq!((first.end_to_end, second.end_to_end), (5, 5));
    assert_ne!(first.hop_by_hop, second.hop_by_hop);
    assert!(!first.flags.is_retransmit() && second.flags.is_retransmit(), "H-05, H-06");
}

#[tokio::test]
async fn h_13_h_18_unknown_and_repeated_answers_are_discarded() {
    let (listener, address) = listener().await;
    let mut client = Client::start(config(&address));
    let mut script = Script::opened(&listener).await;
    client.usable().await;
    client.send(1);
    let request = script.request().await;
    let answer = cca(&request);
    let mut unknown = answer.to_vec();
    farebox::diameter::patch_hop_by_hop(&mut unknown, 0xdead_beef);
    script.raw(&unknown).await;
    client.fact(|fact| matches!(fact, Fact::AnswerUnknown { hop_by_hop: 0xdead_beef, .. })).await;
    script.raw(&answer).await;
    assert_eq!(client.answer().await.0, 1);
    script.raw(&answer).await;
    client.fact(|fact| matches!(fact, Fact::AnswerUnknown { .. })).await;
    assert!(client.handle.is_usable());
}

#[tokio::test]
async fn f_18_a_reset_gives_requests_back_and_the_peer_comes_back() {
    let mut server = Server::with(|_| {}, true).await;
    let mut config = config(&server.address());
    config.watchdog = Duration::from_millis(30);
    let mut client = Client::start(config);
    client.usable().await;
    let (_, _, out) = server.connected().await;
    client.send(1);
    server.wait("request", |told| matches!(told, Told::Request).then_some(())).await;
    out.reset();
    assert_eq!(client.lost().await, (1, true));
    client.state(PeerState::Connecting).await;
    client.state(PeerState::Reopen).await;
    let refused = client.handle.send(Outgoing { token: 2, bytes: ccr(2), retransmit: false });
    assert_eq!(refused, Err(Refused::NotUsable), "W-10: three DWA first");
    client.usable().await;
    client.send(3);
    client.sent().await;
}

#[tokio::test]
async fn fn_01_a_reset_after_every_octet_of_an_answer_answers_or_gives_back_never_both() {
    let (listener, address) = listener().await;
    let mut config = config(&address);
    // Each octet has a client of its own, and none comes back.
    config.reconnect_initial = Duration::from_secs(30);
    let whole = cca(&ccr(1)).len();
    for octets in (0..=whole).step_by(3).chain([whole - 1, whole]) {
        let mut client = Client::start(config.clone());
        let mut script = Script::opened(&listener).await;
        client.usable().await;
        client.send(1);
        let answer = cca(&script.request().await);
        script.raw(&answer[..octets]).await;
        if octets == whole {
            assert_eq!(client.answer().await.0, 1);
        }
        script.socket.set_zero_linger().expect("set");
        drop(script);
        let lost = client
            .wait("end", |event| match event {
                PeerEvent::Lost { token, sent, .. } => Some(Some((token, sent))),
                PeerEvent::State { state: PeerState::Down, .. } => Some(None),
                _ => None,
            })
            .await;
        let expected = (octets < whole).then_some((1, true));
        assert_eq!(lost, expected, "after {octets} of {whole} octets");
        client.handle.shutdown(DisconnectCause::Rebooting);
    }
}

#[tokio::test]
async fn fn_01_a_reset_after_every_octet_of_the_cea_is_survived() {
    let (listener, address) = listener().await;
    let mut config = config(&address);
    config.reconnect_initial = Duration::from_millis(1);
    config.reconnect_max = Duration::from_millis(1);
    let mut client = Client::start(config);
    let local = farebox::diameter::Address::Ipv4([127, 0, 0, 1]);
    for octets in 0.. {
        let mut script = Script::accept(&listener).await;
        let cer = script.read().await.expect("a CER");
        let cea = capabilities::cea(
            &cer.header,
            &them(),
            Application::DEFAULT,
            std::slice::from_ref(&local),
            None,
        )
        .encode(Dictionary::builtin());
        script.raw(&cea[..octets]).await;
        if octets == cea.len() {
            client.usable().await;
            break;
        }
        script.socket.set_zero_linger().expect("set");
        drop(script);
        client.state(PeerState::Down).await;
    }
}

#[tokio::test]
async fn w_06_w_07_a_silent_peer_is_suspect_and_then_closed() {
    let (listener, address) = listener().await;
    let mut config = config(&address);
    config.watchdog = Duration::from_millis(50);
    let mut client = Client::start(config);
    let mut script = Script::opened(&listener).await;
    client.usable().await;
    client.send(1);
    assert_eq!(client.lost().await, (1, true));
    assert_eq!(client.state(PeerState::Suspect).await, "silent: DWR unanswered for one Tw");
    assert!(!client.handle.is_usable());
    assert_eq!(client.state(PeerState::Down).await, "silent: DWR unanswered for two Tw");
    let mut dwrs = 0;
    while let Some(message) = script.read().await {
        dwrs += u32::from(message.header.code == command::DEVICE_WATCHDOG);
    }
    assert_eq!(dwrs, 1, "W-05");
}

#[tokio::test]
async fn w_11_dwr_is_answered_and_keeps_an_idle_connection() {
    let (listener, address) = listener().await;
    let mut client = Client::start(config(&address));
    let mut script = Script::opened(&listener).await;
    client.usable().await;
    script.write(&base::dwr(&them(), 41, 42)).await;
    let dwa = script.read().await.expect("a DWA");
    assert_eq!((dwa.header.hop_by_hop, dwa.header.end_to_end), (41, 42));
    assert_eq!(dwa.unsigned32(id::RESULT_CODE), Some(2001));
}

#[tokio::test]
async fn p_24_shutdown_sends_rebooting_and_waits_for_the_dpa() {
    let (listener, address) = listener().await;
    let mut client = Client::start(config(&address));
    let mut script = Script::opened(&listener).await;
    client.usable().await;
    client.handle.shutdown(DisconnectCause::Rebooting);
    let dpr = script.read().await.expect("a DPR");
    assert_eq!(dpr.header.code, command::DISCONNECT_PEER);
    assert_eq!(dpr.enumerated(id::DISCONNECT_CAUSE), Some(0));
    client.state(PeerState::Closing).await;
    script.write(&base::answer(&dpr.header, &them(), 2001, None, None)).await;
    assert!(script.read().await.is_none(), "P-25: the receiver of the DPA closes");
    client.handle.closed().await;
    assert_eq!(client.state(PeerState::Down).await, "shut down");
}

#[tokio::test]
async fn fm_06_a_dpa_that_never_comes_is_not_waited_for_long() {
    let (listener, address) = listener().await;
    let mut config = config(&address);
    config.limits.closing = Duration::from_millis(50);
    let mut client = Client::start(config);
    let _script = Script::opened(&listener).await;
    client.usable().await;
    client.handle.shutdown(DisconnectCause::Rebooting);
    tokio::time::timeout(PATIENCE, client.handle.closed()).await.expect("ended");
}

#[tokio::test]
async fn p_25_a_dpr_is_answered_and_answers_on_their_way_are_read() {
    let (listener, address) = listener().await;
    let mut client = Client::start(config(&address));
    let mut script = Script::opened(&listener).await;
    client.usable().await;
    client.send(1);
    client.send(2);
    let request = script.request().await;
    script.request().await;
    script.write(&base::dpr(&them(), DisconnectCause::Rebooting, 3, 4)).await;
    let dpa = script.read().await.expect("a DPA");
    assert_eq!((dpa.header.code, dpa.header.end_to_end), (command::DISCONNECT_PEER, 4));
    client.state(PeerState::Closing).await;
    script.raw(&cca(&request)).await;
    assert_eq!(client.answer().await.0, 1);
    drop(script);
    assert_eq!(client.lost().await, (2, true));
    assert_eq!(client.state(PeerState::Down).await, "it sent a DPR, REBOOTING");
    // REBOOTING asks for a new attempt, and soon.
    Script::opened(&listener).await;
}

#[tokio::test]
async fn p_26_after_busy_the_peer_is_left_alone() {
    let (listener, address) = listener().await;
    let mut client = Client::start(config(&address));
    let mut script = Script::opened(&listener).await;
    client.usable().await;
    script.write(&base::dpr(&them(), DisconnectCause::Busy, 3, 4)).await;
    script.read().await.expect("a DPA");
    drop(script);
    let next = client.fact(|fact| matches!(fact, Fact::NextAttempt { .. })).await;
    assert_eq!(next, Fact::NextAttempt { attempt: 0, delay: Duration::from_secs(300) });
}

#[tokio::test]
async fn a_listener_says_goodbye_to_all_and_ends() {
    let mut server = Server::start().await;
    let mut clients: Vec<Client> = (0..3)
        .map(|index| {
            let (told, events) = mpsc::unbounded_channel();
            let sink: EventSink = Arc::new(move |event| {
                let _ = told.send(event);
            });
            let identity = LocalIdentity::new(&format!("cg{index}.example"), "example");
            let handle = spawn(index, config(&server.address()), identity, dictionary(), sink);
            Client { handle, events }
        })
        .collect();
    for client in &mut clients {
        client.usable().await;
        server.connected().await;
    }
    let ended = server.handle.shutdown(DisconnectCause::Busy);
    tokio::time::timeout(PATIENCE, ended).await.expect("ended");
    for client in &mut clients {
        assert_eq!(client.state(PeerState::Down).await, "it sent a DPR, BUSY");
    }
    assert!(TcpStream::connect(server.handle.local_addr()).await.is_err());
}

#[tokio::test]
async fn k_01_a_bad_length_closes_with_its_reason() {
    let (listener, address) = listener().await;
    let mut client = Client::start(config(&address));
    let mut script = Script::opened(&listener).await;
    client.usable().await;
    script.raw(&[1, 0, 0, 5, 0x80, 0, 1, 1]).await;
    let reason = client.state(PeerState::Down).await;
    assert_eq!(reason, "bad length: Message Length 5 is below 20 or no multiple of 4");
    assert!(script.read().await.is_none());
}

#[tokio::test]
async fn a_place_in_the_window_is_free_when_its_answer_is_told() {
    let server = Server::start().await;
    let mut narrow = config(&server.address());
    narrow.window = 1;
    let mut client = Client::start(narrow);
    client.usable().await;
    for token in 1..200 {
        client.send(token);
        assert_eq!(client.answer().await.0, token);
    }
}

#[tokio::test]
async fn k_01_a_bad_length_before_the_cer_closes_and_the_listener_lives() {
    let mut server = Server::start().await;
    let mut script = Script::connect(&server.address()).await;
    script.raw(&[1, 0, 0, 5, 0x80, 0, 1, 1]).await;
    assert!(script.read().await.is_none());
    let fact = server.fact(|fact| matches!(fact, Fact::BadFrame { .. })).await;
    let Fact::BadFrame { reason } = fact else { unreachable!() };
    assert!(reason.starts_with("bad length"), "{reason}");
    Script::open(&server.address(), "cg.example").await;
}

#[tokio::test]
async fn k_20_a_huge_announcement_closes_at_once() {
    let server = Server::start().await;
    let mut script = Script::open(&server.address(), "cg.example").await;
    script.raw(&[1, 0xff, 0xff, 0xfc]).await;
    assert!(script.read().await.is_none());
}

#[tokio::test]
async fn k_25_segments_do_not_matter() {
    let server = Server::start().await;
    let mut script = Script::connect(&server.address()).await;
    script.socket.set_nodelay(true).expect("set");
    for octet in cer("cg.example").encode(Dictionary::builtin()).iter() {
        script.raw(&[*octet]).await;
    }
    assert_eq!(script.read().await.expect("a CEA").header.code, 257);
    // Two messages in one segment, the second one cut.
    let mut dwrs = base::dwr(&us(), 1, 1).encode(Dictionary::builtin()).to_vec();
    dwrs.extend_from_slice(&base::dwr(&us(), 2, 2).encode(Dictionary::builtin()));
    let (head, tail) = dwrs.split_at(dwrs.len() - 3);
    script.raw(head).await;
    assert_eq!(script.read().await.expect("a DWA").header.hop_by_hop, 1);
    script.raw(tail).await;
    assert_eq!(script.read().await.expect("a DWA").header.hop_by_hop, 2);
}

#[tokio::test]
async fn k_25_what_comes_right_behind_the_cer_is_served() {
    let server = Server::start().await;
    let mut script = Script::connect(&server.address()).await;
    let mut both = cer("cg.example").encode(Dictionary::builtin()).to_vec();
    both.extend_from_slice(&ccr(9));
    script.raw(&both).await;
    assert_eq!(script.read().await.expect("a CEA").header.code, 257);
    assert_eq!(script.read().await.expect("a CCA").header.end_to_end, 9);
}

#[tokio::test]
async fn p_04_a_second_connection_of_the_same_peer_is_refused_and_the_first_probed() {
    let mut server = Server::start().await;
    let mut first = Script::open(&server.address(), "cg.example").await;
    let (conn, ..) = server.connected().await;
    let mut second = Script::connect(&server.address()).await;
    second.write(&cer("CG.example")).await;
    assert!(second.read().await.is_none(), "closed without a CEA");
    let fact = server.fact(|fact| matches!(fact, Fact::SecondConnectionRefused { .. })).await;
    let from = second.socket.local_addr().expect("an address").to_string();
    assert_eq!(fact, Fact::SecondConnectionRefused { from });
    let dwr = first.read().await.expect("a DWR");
    assert_eq!(dwr.header.code, command::DEVICE_WATCHDOG, "F-20");
    // Once the first is gone, its peer may come back.
    drop(first);
    server.closed(conn).await;
    Script::open(&server.address(), "cg.example").await;
}

#[tokio::test]
async fn p_15_no_common_application_is_5010_and_the_end() {
    let mut server =
        Server::with(|config| config.applications = vec![Application::auth(1)], false).await;
    let mut client = Client::start(config(&server.address()));
    let reason = client.state(PeerState::BadConfig).await;
    assert!(reason.starts_with("5010 DIAMETER_NO_COMMON_APPLICATION"), "{reason}");
    server.fact(|fact| matches!(fact, Fact::ConnectionRefused { result_code: 5010, .. })).await;
}

#[tokio::test]
async fn p_19_p_28_sec_04_the_allow_list_is_address_then_host_and_realm() {
    let loopback = Network { address: [127, 0, 0, 0].into(), prefix: 8 };
    let elsewhere = Network { address: [192, 0, 2, 0].into(), prefix: 24 };
    let allow = |network, host: &str| Allow {
        network: Some(network),
        host: Some(host.to_owned()),
        realm: Some("example".to_owned()),
    };
    let mut server = Server::with(
        |config| {
            config.allow = vec![allow(loopback, "cg.example"), allow(elsewhere, "cg2.example")];
        },
        false,
    )
    .await;
    Script::open(&server.address(), "cg.example").await;
    // Allowed, but from another address.
    let mut other = Script::connect(&server.address()).await;
    other.write(&cer("cg2.example")).await;
    let cea = other.read().await.expect("a CEA");
    assert_eq!(cea.unsigned32(id::RESULT_CODE), Some(3010));
    assert!(other.read().await.is_none());
    server.fact(|fact| matches!(fact, Fact::ConnectionRefused { result_code: 3010, .. })).await;

    let strict = |config: &mut ServerConfig| config.allow = vec![allow(elsewhere, "cg.example")];
    let server = Server::with(strict, false).await;
    let mut refused = Script::connect(&server.address()).await;
    assert!(refused.read().await.is_none(), "not one octet was waited for");
}

#[tokio::test]
async fn sec_06_connections_of_one_address_are_bounded() {
    let server = Server::with(|config| config.connections_per_address_max = 2, false).await;
    let _first = Script::open(&server.address(), "a.example").await;
    let second = Script::open(&server.address(), "b.example").await;
    let mut third = Script::connect(&server.address()).await;
    assert!(third.read().await.is_none());
    drop(second);
    // The place of the second is free as soon as its end was seen.
    for _ in 0..1000 {
        let mut again = Script::connect(&server.address()).await;
        let cer = cer("c.example").encode(Dictionary::builtin());
        if again.socket.write_all(&cer).await.is_ok() && again.read().await.is_some() {
            return;
        }
    }
    panic!("the place was never given back");
}

#[tokio::test]
async fn p_20_silence_and_strange_greetings_are_closed() {
    let quick = |config: &mut ServerConfig| config.limits.handshake = Duration::from_millis(50);
    let mut server = Server::with(quick, false).await;
    let mut silent = Script::connect(&server.address()).await;
    assert!(silent.read().await.is_none());
    server.fact(|fact| matches!(fact, Fact::Disconnected { .. })).await;

    let mut server = Server::start().await;
    let mut strange = Script::connect(&server.address()).await;
    strange.raw(&ccr(1)).await;
    assert!(strange.read().await.is_none());
    let fact = server.fact(|fact| matches!(fact, Fact::BadFrame { .. })).await;
    assert_eq!(fact, Fact::BadFrame { reason: "command 272 before any CER".into() });
}

#[tokio::test]
async fn fn_06_a_message_that_does_not_arrive_in_full_closes() {
    let (listener, address) = listener().await;
    let mut config = config(&address);
    config.limits.message = Duration::from_millis(50);
    let mut client = Client::start(config);
    let mut script = Script::opened(&listener).await;
    client.usable().await;
    script.raw(&[1, 0, 0]).await;
    let reason = client.state(PeerState::Down).await;
    assert_eq!(reason, "a message did not arrive in full in time");
}

#[tokio::test]
async fn fn_07_a_peer_that_reads_nothing_makes_nothing_grow() {
    let (listener, address) = listener().await;
    let mut config = config(&address);
    config.limits.send_buffer_bytes_max = 256 * 1024;
    config.window = 200;
    let mut client = Client::start(config);
    let script = Script::opened(&listener).await;
    client.usable().await;
    // Far more than the socket's own buffers hold.
    let mut message = Message::request(command::CREDIT_CONTROL, 4, true);
    message.push(Avp::text(id::SESSION_ID, SESSION));
    message.push(Avp::octets(id::CLASS, vec![0; 200_000]));
    let bytes = message.encode(Dictionary::builtin());
    let mut taken = 0;
    let refused = loop {
        let outgoing = Outgoing { token: taken, bytes: bytes.clone(), retransmit: false };
        match client.handle.send(outgoing) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!((taken, refused), (200, Refused::Window));
    // The first one has left, or the buffers could not be full.
    client.sent().await;
    drop(script);
    let mut lost = Vec::new();
    while lost.len() < 200 {
        lost.push(client.lost().await);
    }
    lost.sort_unstable();
    assert!(lost.iter().enumerate().all(|(at, (token, _))| *token == at as u64));
    assert_eq!(lost[0], (0, true));
    assert_eq!(lost[199], (199, false), "not one octet of it left");
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_until_it_is_there() {
    let (listener, address) = listener().await;
    drop(listener);
    let mut client = Client::start(config(&address));
    assert_eq!(client.state(PeerState::Down).await, "connection refused", "P-06");
    client.fact(|fact| matches!(fact, Fact::NextAttempt { .. })).await;
    let listener = TcpListener::bind(&address).await.expect("the same port");
    let _script = Script::opened(&listener).await;
    client.usable().await;
}

#[tokio::test]
async fn rar_is_handed_up_and_its_answer_goes_back() {
    let mut server = Server::start().await;
    let mut client = Client::start(config(&server.address()));
    client.usable().await;
    let (_, _, out) = server.connected().await;
    out.send(rar()).expect("taken");
    let (request, answer) = client
        .wait("request", |event| match event {
            PeerEvent::Request { bytes, answer, .. } => Some((bytes, answer)),
            _ => None,
        })
        .await;
    let header = Header::parse(&request).expect("a header");
    assert_eq!((header.code, header.end_to_end), (command::RE_AUTH, 88));
    answer.send(base::answer(&header, &us(), 2002, None, None).encode(Dictionary::builtin()));
    let raa = server
        .wait("answer", |told| match told {
            Told::Answer(bytes) => Some(read(&bytes)),
            _ => None,
        })
        .await;
    assert_eq!(raa.unsigned32(id::RESULT_CODE), Some(2002));
}

#[tokio::test]
async fn r_20_what_is_not_served_is_refused_on_the_wire() {
    let server = Server::start().await;
    let mut script = Script::open(&server.address(), "cg.example").await;
    for (application, code, result) in [(4, 999, 3001), (16_777_238, 272, 3007)] {
        script.write(&Message::request(code, application, true)).await;
        let answer = script.read().await.expect("an answer");
        assert_eq!(answer.unsigned32(id::RESULT_CODE), Some(result));
        assert!(answer.header.flags.is_error());
    }
}

#[tokio::test]
async fn a_handler_may_close_politely_or_not() {
    let mut server = Server::start().await;
    let mut script = Script::open(&server.address(), "cg.example").await;
    let (conn, _, out) = server.connected().await;
    out.send(Bytes::from_static(b"last words")).expect("taken");
    out.close();
    let mut rest = Vec::new();
    script.socket.read_to_end(&mut rest).await.expect("an orderly end");
    assert_eq!(rest, b"last words");
    server.closed(conn).await;

    let mut script = Script::open(&server.address(), "cg.example").await;
    let (conn, _, out) = server.connected().await;
    out.reset();
    let error = script.socket.read_u8().await.expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    server.closed(conn).await;
    assert_eq!(out.send(Bytes::from_static(b"x")), Err(Refused::NotUsable));
}

#[tokio::test]
async fn a_connection_made_by_a_configured_peer_is_given_to_its_task() {
    let mut config = config("unused");
    config.address = None;
    config.host = Some("ocs.example".to_owned());
    let mut client = Client::start(config);
    let peers = vec![("OCS.example".to_owned(), client.handle.clone())];
    let server = Server::with(
        |config| {
            config.identity = us();
            config.peers = peers;
        },
        false,
    )
    .await;
    let mut script = Script::open(&server.address(), "ocs.example").await;
    client.usable().await;
    client.send(1);
    let request = script.request().await;
    script.raw(&cca(&request)).await;
    assert_eq!(client.answer().await.0, 1);
}

#[tokio::test]
async fn malformed_requests_are_not_taken() {
    let server = Server::start().await;
    let mut client = Client::start(config(&server.address()));
    let send = |client: &Client, bytes: Bytes| {
        client.handle.send(Outgoing { token: 1, bytes, retransmit: false })
    };
    assert_eq!(send(&client, ccr(1)), Err(Refused::NotUsable), "before Open");
    client.usable().await;
    for bytes in [Bytes::from_static(b"short"), ccr(1).slice(..24), cca(&ccr(1))] {
        assert_eq!(send(&client, bytes), Err(Refused::Malformed));
    }
    assert_eq!(client.handle.in_window(), 0);
}

#[tokio::test]
async fn a_rate_bounds_what_is_taken() {
    let server = Server::start().await;
    let mut config = config(&server.address());
    config.rate = Some(10);
    let mut client = Client::start(config);
    client.usable().await;
    let results: Vec<Result<(), Refused>> = (0..20)
        .map(|token| client.handle.send(Outgoing { token, bytes: ccr(1), retransmit: false }))
        .collect();
    assert_eq!(results[0], Ok(()));
    assert!(results.contains(&Err(Refused::Rate)));
}

#[tokio::test]
async fn networks_contain_their_addresses() {
    for (network, prefix, address, contained) in [
        ("192.0.2.0", 28, "192.0.2.15", true),
        ("192.0.2.0", 28, "192.0.2.16", false),
        ("192.0.2.0", 28, "::ffff:192.0.2.3", true),
        ("0.0.0.0", 0, "198.51.100.1", true),
        ("0.0.0.0", 0, "::1", false),
        ("2001:db8::", 32, "2001:db8:1::1", true),
        ("2001:db8::", 32, "2001:db9::1", false),
        ("192.0.2.1", 32, "192.0.2.1", true),
        ("192.0.2.1", 200, "192.0.2.2", false),
    ] {
        let network = Network { address: network.parse().expect("an address"), prefix };
        let address = address.parse().expect("an address");
        assert_eq!(network.contains(address), contained, "{network:?} {address}");
    }
}

/// The `diameter` crate as the server: a stack that shares no line with ours.
mod foreign {
    use super::*;
    use diameter::avp::flags::M;
    use diameter::avp::{Enumerated, Identity, UTF8String, Unsigned32};
    use diameter::dictionary::DEFAULT_DICT_XML;
    use diameter::transport::Codec;
    use diameter::{CommandCode, DiameterMessage};

    async fn answer(
        socket: &mut TcpStream,
        dictionary: &Arc<diameter::dictionary::Dictionary>,
        seen: &Mutex<Vec<CommandCode>>,
    ) -> Option<()> {
        let request = Codec::decode(socket, dictionary.clone()).await.ok()?;
        let code = request.get_command_code();
        seen.lock().expect("whole").push(code);
        let mut answer = DiameterMessage::new(
            code,
            request.get_application_id(),
            request.get_flags() & !diameter::flags::REQUEST,
            request.get_hop_by_hop_id(),
            request.get_end_to_end_id(),
            dictionary.clone(),
        );
        if let Some(session) = request.get_avp(263).and_then(|avp| avp.get_utf8string()) {
            answer.add_avp(263, None, M, UTF8String::new(session.value()).into());
        }
        answer.add_avp(268, None, M, Unsigned32::new(2001).into());
        answer.add_avp(264, None, M, Identity::new("foreign.example").into());
        answer.add_avp(296, None, M, Identity::new("example").into());
        match code {
            CommandCode::CapabilitiesExchange => {
                answer.add_avp(266, None, M, Unsigned32::new(35838).into());
                answer.add_avp(269, None, 0, UTF8String::new("diameter-rs").into());
                answer.add_avp(258, None, M, Unsigned32::new(4).into());
            }
            CommandCode::CreditControl => {
                answer.add_avp(416, None, M, Enumerated::new(1).into());
                answer.add_avp(415, None, M, Unsigned32::new(0).into());
            }
            _ => {}
        }
        Codec::encode(socket, &answer).await.ok()
    }

    #[tokio::test]
    async fn our_client_opens_and_gets_a_cca_from_another_stack() {
        let (listener, address) = listener().await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let served = tokio::spawn(async move {
            let dictionary = Arc::new(diameter::dictionary::Dictionary::new(&[&DEFAULT_DICT_XML]));
            let (mut socket, _) = listener.accept().await.expect("a connection");
            while answer(&mut socket, &dictionary, &record).await.is_some() {}
        });
        let mut client = Client::start(config(&address));
        let reason = client.state(PeerState::Open).await;
        assert_eq!(reason, "foreign.example \"diameter-rs\"");
        client.send(1);
        let (token, cca) = client.answer().await;
        assert_eq!((token, cca.unsigned32(id::RESULT_CODE)), (1, Some(2001)));
        assert_eq!(cca.text(id::SESSION_ID), Some(SESSION));
        client.handle.shutdown(DisconnectCause::Rebooting);
        client.handle.closed().await;
        served.await.expect("served");
        let seen = seen.lock().expect("whole").clone();
        assert_eq!(
            seen,
            [
                CommandCode::CapabilitiesExchange,
                CommandCode::CreditControl,
                CommandCode::DisconnectPeer
            ]
        );
    }
}
