//! CCR-T and CCA over one loopback connection: `cargo bench --bench connection`.
//!
//! farebox's peer against the simulator's side of its transport, and beside it in the same run the
//! `diameter` crate's client and server, a bare echo that gathers its writes, and one with a write
//! per message. Client and server have a thread each; rounds are interleaved, the table shows
//! medians. Client CPU is that of its thread, from `/proc/thread-self/schedstat`.

#![allow(clippy::disallowed_methods)] // A benchmark reads the clock.
#![allow(clippy::print_stdout)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use farebox::diameter::deframe::split_message;
use farebox::diameter::{Avp, Dictionary, Header, Limits, Message, id};
use farebox::peer::{LocalIdentity, PeerConfig};
use farebox::transport::{
    ConnectionHandle, EventSink, Outgoing, PeerEvent, PeerHandle, ServerConfig, ServerHandler,
    serve, spawn,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

#[path = "../tests/conformance/rival.rs"]
mod rival;
#[allow(dead_code)] // One of them is enough here.
#[path = "../tests/conformance/samples.rs"]
mod samples;

const ROUNDS: usize = 5;
const CONTENDERS: [&str; 4] =
    ["farebox", "diameter crate", "echo, gathered writes", "echo, one write each"];

/// What one round measured.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    per_second: f64,
    cpu_micros: f64,
    p50_micros: f64,
    p99_micros: f64,
}

fn ccr_t() -> Message {
    samples::ccr_t()
}

/// A CCA with the ids of its request: what the simulator answers in the least time.
fn cca(template: &Bytes, request: &[u8]) -> Bytes {
    let mut answer = BytesMut::from(&template[..]);
    answer[12..20].copy_from_slice(&request[12..20]);
    answer.freeze()
}

fn cca_template() -> Bytes {
    let request = ccr_t();
    let mut answer = Message::answer_to(&request.header);
    let session = request.text(id::SESSION_ID).unwrap_or_default().to_owned();
    answer.push(Avp::text(id::SESSION_ID, session));
    answer.push(Avp::u32(id::RESULT_CODE, 2001));
    answer.push(Avp::identity(id::ORIGIN_HOST, "ocs.example"));
    answer.push(Avp::identity(id::ORIGIN_REALM, "example"));
    answer.push(Avp::u32(id::AUTH_APPLICATION_ID, 4));
    answer.push(Avp::enumerated(id::CC_REQUEST_TYPE, 3));
    answer.push(Avp::u32(id::CC_REQUEST_NUMBER, 2));
    answer.encode(Dictionary::builtin())
}

/// Nanoseconds that this thread has run.
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0)
}

/// Runs a server on a thread of its own; tells where it listens.
fn server<F>(serve: impl FnOnce(TcpListener) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()>,
{
    let (told, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            told.send(listener.local_addr().expect("an address")).expect("heard");
            serve(listener).await;
        });
    });
    address.recv().expect("told")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Sums up a round of `latencies` that took from `begun` to now.
fn round(latencies: &mut [u64], begun: Instant, cpu: u64) -> Round {
    let count = latencies.len() as f64;
    let (took, cpu) = (begun.elapsed().as_secs_f64(), cpu_nanos() - cpu);
    latencies.sort_unstable();
    let at = |share: f64| latencies[((count - 1.0) * share) as usize] as f64 / 1000.0;
    Round {
        per_second: count / took,
        cpu_micros: cpu as f64 / 1000.0 / count,
        p50_micros: at(0.5),
        p99_micros: at(0.99),
    }
}

struct Simulator {
    template: Bytes,
}

impl ServerHandler for Simulator {
    fn connected(&self, _conn: u64, _origin_host: &str, _out: ConnectionHandle) {}

    fn request(&self, _conn: u64, bytes: Bytes, out: &ConnectionHandle) {
        out.send(cca(&self.template, &bytes)).expect("room for an answer");
    }

    fn answer(&self, _conn: u64, _bytes: Bytes) {}

    fn closed(&self, _conn: u64) {}
}

/// What the sink of a peer's events needs to keep requests outstanding.
struct Load {
    peer: OnceLock<PeerHandle>,
    message: Bytes,
    total: u64,
    next: AtomicU64,
    sent: Vec<AtomicU64>,
    latencies: Mutex<Vec<u64>>,
    begun: Instant,
    usable: Notify,
    done: Notify,
}

impl Load {
    fn send(&self) {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        if token >= self.total {
            return;
        }
        let mut bytes = BytesMut::from(&self.message[..]);
        bytes[16..20].copy_from_slice(&(token as u32).to_be_bytes());
        self.sent[token as usize].store(self.nanos(), Ordering::Relaxed);
        let outgoing = Outgoing { token, bytes: bytes.freeze(), retransmit: false };
        self.peer.get().expect("set").send(outgoing).expect("room");
    }

    fn nanos(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    fn answered(&self, token: u64) {
        let took = self.nanos() - self.sent[token as usize].load(Ordering::Relaxed);
        let mut latencies = self.latencies.lock().expect("whole");
        latencies.push(took);
        if latencies.len() as u64 == self.total {
            self.done.notify_one();
        }
        drop(latencies);
        self.send();
    }
}

fn farebox(outstanding: usize, total: u64) -> Round {
    let address = server(|listener| async {
        let identity = LocalIdentity::new("ocs.example", "example");
        let config = ServerConfig::new(identity, Arc::new(Dictionary::builtin().clone()));
        let handler = Arc::new(Simulator { template: cca_template() });
        let _server = serve(listener, config, handler).expect("served");
        std::future::pending::<()>().await;
    });
    let load = Arc::new(Load {
        peer: OnceLock::new(),
        message: ccr_t().encode(Dictionary::builtin()),
        total,
        next: AtomicU64::new(0),
        sent: (0..total).map(|_| AtomicU64::new(0)).collect(),
        latencies: Mutex::new(Vec::with_capacity(total as usize)),
        begun: Instant::now(),
        usable: Notify::new(),
        done: Notify::new(),
    });
    let told = load.clone();
    let sink: EventSink = Arc::new(move |event| match event {
        PeerEvent::Answer { token, .. } => told.answered(token),
        PeerEvent::State { usable: true, .. } => told.usable.notify_one(),
        _ => {}
    });
    runtime().block_on(async {
        let config = PeerConfig::new("ocs", Some(&address.to_string()), "example");
        let identity = LocalIdentity::new("cg.example", "example");
        let dictionary = Arc::new(Dictionary::builtin().clone());
        let peer = spawn(0, config, identity, dictionary, sink);
        load.peer.set(peer).expect("once");
        load.usable.notified().await;
        let (begun, cpu) = (Instant::now(), cpu_nanos());
        for _ in 0..outstanding {
            load.send();
        }
        load.done.notified().await;
        round(&mut load.latencies.lock().expect("whole"), begun, cpu)
    })
}

/// The other implementation: its own client, its own server, its own messages.
fn rival_crate(outstanding: usize, total: u64) -> Round {
    use diameter::transport::DiameterServerConfig;
    use diameter::transport::{DiameterClient, DiameterClientConfig, DiameterServer};
    let dictionary = rival::rival_dictionary(Dictionary::builtin());
    let (served, free) = (dictionary.clone(), server(|listener| async { drop(listener) }));
    std::thread::spawn(move || {
        runtime().block_on(async move {
            let config = DiameterServerConfig { native_tls: None };
            let address = free.to_string();
            let mut server = DiameterServer::new(&address, config).await.expect("a port");
            let answers = served.clone();
            let answer = move |request| {
                let dictionary = answers.clone();
                async move { Ok(rival_answer(&request, &dictionary)) }
            };
            let _ = server.listen(answer, served).await;
        });
    });
    let template = rival::rival_decode(&ccr_t().encode(Dictionary::builtin()), &dictionary);
    let template = Arc::new(template.expect("decoded"));
    runtime().block_on(async {
        let config = DiameterClientConfig { use_tls: false, verify_cert: false };
        let mut client = DiameterClient::new(&free.to_string(), config);
        let mut handler = loop {
            match client.connect().await {
                Ok(handler) => break handler,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let reading = dictionary.clone();
        tokio::spawn(async move { DiameterClient::handle(&mut handler, reading).await });
        let (begun, cpu) = (Instant::now(), cpu_nanos());
        let mut latencies = Vec::with_capacity(total as usize);
        let mut waiting = VecDeque::new();
        for number in 0..total {
            let mut request = diameter::DiameterMessage::new(
                template.get_command_code(),
                template.get_application_id(),
                template.get_flags(),
                number as u32,
                number as u32,
                dictionary.clone(),
            );
            for avp in template.get_avps() {
                request.add(avp.clone());
            }
            let sent = Instant::now();
            waiting.push_back((sent, client.send_message(request).await.expect("sent")));
            if waiting.len() == outstanding {
                let (sent, answer) = waiting.pop_front().expect("one");
                answer.await.expect("answered");
                latencies.push(sent.elapsed().as_nanos() as u64);
            }
        }
        for (sent, answer) in waiting {
            answer.await.expect("answered");
            latencies.push(sent.elapsed().as_nanos() as u64);
        }
        round(&mut latencies, begun, cpu)
    })
}

fn rival_answer(
    request: &diameter::DiameterMessage,
    dictionary: &rival::RivalDictionary,
) -> diameter::DiameterMessage {
    use diameter::avp::flags::M;
    use diameter::avp::{Enumerated, Identity, UTF8String, Unsigned32};
    let mut answer = diameter::DiameterMessage::new(
        request.get_command_code(),
        request.get_application_id(),
        request.get_flags() & !diameter::flags::REQUEST,
        request.get_hop_by_hop_id(),
        request.get_end_to_end_id(),
        dictionary.clone(),
    );
    let session = request.get_avp(263).and_then(|avp| avp.get_utf8string());
    let session = session.map_or("", |session| session.value());
    answer.add_avp(263, None, M, UTF8String::new(session).into());
    answer.add_avp(268, None, M, Unsigned32::new(2001).into());
    answer.add_avp(264, None, M, Identity::new("ocs.example").into());
    answer.add_avp(296, None, M, Identity::new("example").into());
    answer.add_avp(258, None, M, Unsigned32::new(4).into());
    answer.add_avp(416, None, M, Enumerated::new(3).into());
    answer.add_avp(415, None, M, Unsigned32::new(2).into());
    answer
}

/// Octets out and answers of the size of a CCA back, without any protocol but lengths.
fn echo(outstanding: usize, total: u64, gathered: bool) -> Round {
    let template = cca_template();
    let address = server(move |listener| async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        socket.set_nodelay(true).expect("set");
        let (mut read, mut out) = (BytesMut::new(), BytesMut::new());
        while socket.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
            while let Some(Ok(request)) = split_message(&mut read, &Limits::default()) {
                out.extend_from_slice(&cca(&template, &request));
                if !gathered {
                    socket.write_all(&out).await.expect("written");
                    out.clear();
                }
            }
            socket.write_all(&out).await.expect("written");
            out.clear();
        }
    });
    let message = ccr_t().encode(Dictionary::builtin());
    runtime().block_on(async {
        let mut socket = TcpStream::connect(address).await.expect("connected");
        socket.set_nodelay(true).expect("set");
        let (mut read, mut out) = (BytesMut::new(), BytesMut::new());
        let mut latencies = Vec::with_capacity(total as usize);
        let mut sent = VecDeque::new();
        let (begun, cpu) = (Instant::now(), cpu_nanos());
        let mut next = 0;
        while (latencies.len() as u64) < total {
            while next < total && sent.len() < outstanding {
                out.extend_from_slice(&message);
                sent.push_back(begun.elapsed().as_nanos() as u64);
                next += 1;
                if !gathered {
                    socket.write_all(&out).await.expect("written");
                    out.clear();
                }
            }
            socket.write_all(&out).await.expect("written");
            out.clear();
            socket.read_buf(&mut read).await.expect("read");
            while let Some(Ok(answer)) = split_message(&mut read, &Limits::default()) {
                assert!(Header::parse(&answer).is_some());
                let at = sent.pop_front().expect("one");
                latencies.push(begun.elapsed().as_nanos() as u64 - at);
            }
        }
        round(&mut latencies, begun, cpu)
    })
}

fn run(contender: usize, outstanding: usize, total: u64) -> Round {
    match contender {
        0 => farebox(outstanding, total),
        1 => rival_crate(outstanding, total),
        2 => echo(outstanding, total, true),
        _ => echo(outstanding, total, false),
    }
}

/// The median of each figure.
fn median(rounds: &[Round]) -> Round {
    let of = |figure: fn(&Round) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    Round {
        per_second: of(|round| round.per_second),
        cpu_micros: of(|round| round.cpu_micros),
        p50_micros: of(|round| round.p50_micros),
        p99_micros: of(|round| round.p99_micros),
    }
}

fn main() {
    let rounds = match std::env::args().any(|arg| arg == "--quick") {
        true => 1,
        false => ROUNDS,
    };
    let (request, answer) = (ccr_t().encode(Dictionary::builtin()).len(), cca_template().len());
    println!(
        "CCR-T {request} octets, CCA {answer} octets, medians of {rounds} interleaved rounds\n"
    );
    for (outstanding, totals) in
        [(64, [200_000, 20_000, 400_000, 100_000]), (1, [10_000, 5_000, 10_000, 10_000])]
    {
        let mut all = vec![Vec::new(); CONTENDERS.len()];
        for _ in 0..rounds {
            for (contender, total) in totals.into_iter().enumerate() {
                all[contender].push(run(contender, outstanding, total));
            }
        }
        println!(
            "| {outstanding:>2} outstanding         | requests/s | farebox is | client CPU µs | p50 µs | p99 µs |"
        );
        println!("| --- | ---: | ---: | ---: | ---: | ---: |");
        let ours = median(&all[0]).per_second;
        for (name, rounds) in CONTENDERS.iter().zip(&all) {
            let figures = median(rounds);
            println!(
                "| {name:<22} | {:>10.0} | {:>9.2}x | {:>13.2} | {:>6.1} | {:>6.1} |",
                figures.per_second,
                ours / figures.per_second,
                figures.cpu_micros,
                figures.p50_micros,
                figures.p99_micros
            );
        }
        println!();
    }
}
