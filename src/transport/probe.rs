//! One handshake with a peer, step by step, for whoever wants to see it: no machine, no charging.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::end::End;
use super::socket::Socket;
use super::tls;
use super::wire::Wire;
use crate::clock;
use crate::diameter::{
    Dictionary, Header, Limits, Message, Problem, check_grammar, command, decode, id, result_code,
};
use crate::peer::base;
use crate::peer::capabilities::{self, Expected};
use crate::peer::diagnosis::{Finding, of_cea};
use crate::peer::{DisconnectCause, LocalIdentity, PeerConfig};
use crate::tls::{Certificate, Tls, Trouble};

/// How long the peer may take to close after our DPR.
const GOODBYE: Duration = Duration::from_secs(1);

/// Whom to ask, and who asks.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The peer.
    pub config: PeerConfig,
    /// Its TLS.
    pub tls: Option<Tls>,
    /// Who we are.
    pub identity: LocalIdentity,
    /// For the judgement on the CEA.
    pub dictionary: Arc<Dictionary>,
}

/// What was done, with what came of it.
#[derive(Clone, Debug)]
pub enum Step {
    /// The name has these addresses.
    Resolved(Vec<SocketAddr>),
    /// The transport is connected.
    Connected(SocketAddr, Duration),
    /// The TLS handshake is over; the certificate is believed, whoever it is for.
    Secured(&'static str, Certificate),
    /// Our CER.
    Asked(Message),
    /// Their CEA.
    Answered(Message, Duration),
}

impl Probe {
    /// Does the handshake and says goodbye. Every step is told as it is done.
    pub async fn run(&self, mut tell: impl FnMut(Step)) -> Finding {
        match self.steps(&mut tell).await {
            Ok(finding) | Err(finding) => finding,
        }
    }

    async fn steps(&self, tell: &mut impl FnMut(Step)) -> Result<Finding, Finding> {
        let socket = self.connect(tell).await?;
        let socket = self.secure(socket, tell).await?;
        let names = socket.proof().map(|proof| proof.certificate.names);
        let mut wire = Wire::new(socket, &self.config.limits);
        let applications = &self.config.applications;
        let cer = capabilities::cer(&self.identity, applications, &wire.local(), 1, 1);
        wire.push(&cer.encode(&self.dictionary));
        tell(Step::Asked(cer));
        let begun = clock::now();
        let bytes = self.cea(&mut wire).await?;
        let (message, problems) = self.read(&bytes);
        tell(Step::Answered(message.clone(), clock::now().since(begun)));
        let expected =
            Expected { local: &self.identity, host: self.config.host.as_deref(), applications };
        let finding = of_cea(&message, &problems, expected, &self.config, names.as_deref());
        if message.unsigned32(id::RESULT_CODE) == Some(result_code::SUCCESS) {
            self.part(wire).await;
        }
        Ok(finding)
    }

    async fn connect(&self, tell: &mut impl FnMut(Step)) -> Result<TcpStream, Finding> {
        let address = self.config.address.clone().unwrap_or_default();
        let limit = self.config.limits.connect;
        let found = tokio::time::timeout(limit, tokio::net::lookup_host(&address)).await;
        let addresses: Vec<SocketAddr> = match found {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(error)) => {
                let words = format!("`{address}` cannot be resolved: {error}");
                return Err(Finding::ours("address", "address: HOST:PORT", words));
            }
            Err(_) => return Err(Finding::network(format!("no answer about `{address}` in time"))),
        };
        tell(Step::Resolved(addresses.clone()));
        let mut last = Finding::network(format!("`{address}` has no address"));
        for target in addresses {
            let begun = clock::now();
            match tokio::time::timeout(limit, TcpStream::connect(target)).await {
                Ok(Ok(socket)) => {
                    tell(Step::Connected(target, clock::now().since(begun)));
                    return Ok(socket);
                }
                Ok(Err(error)) => {
                    last = Finding::network(format!("{target}: {}", End::of(&error).words));
                }
                Err(_) => last = Finding::network(format!("{target}: no connection in time")),
            }
        }
        last.key = Some("address");
        Err(last)
    }

    /// Any name will do here: whom the certificate is for is held against the CEA.
    async fn secure(
        &self,
        socket: TcpStream,
        tell: &mut impl FnMut(Step),
    ) -> Result<Socket, Finding> {
        let Some(own) = &self.tls else { return Ok(Socket::Plain(socket)) };
        let address = self.config.address.as_deref().unwrap_or_default();
        let secured = tls::connect(socket, address, own, self.config.host.as_deref(), None);
        match tokio::time::timeout(self.config.limits.handshake, secured).await {
            Ok(Ok(socket)) => {
                if let Some(proof) = socket.proof() {
                    tell(Step::Secured(socket.version(), proof.certificate));
                }
                Ok(socket)
            }
            Ok(Err(error)) => Err(of_tls(&error)),
            Err(_) => Err(Finding::ours("tls", "tls: none", End::of_silence().words)),
        }
    }

    async fn cea(&self, wire: &mut Wire) -> Result<Bytes, Finding> {
        let limit = self.config.limits.handshake;
        match tokio::time::timeout(limit, next(wire)).await {
            Err(_) => Err(Finding::theirs("it takes the CER and answers nothing")),
            Ok(Ok(bytes)) => match Header::parse(&bytes) {
                Some(header)
                    if header.code == command::CAPABILITIES_EXCHANGE
                        && !header.flags.is_request() =>
                {
                    Ok(bytes)
                }
                Some(header) => {
                    let words = format!("command {} instead of the CEA", header.code);
                    Err(Finding::theirs(words))
                }
                None => Err(Finding::theirs("what it sends is no Diameter")),
            },
            Ok(Err(Closed::NoDiameter(reason))) => {
                let words = format!("another service listens there: {reason}");
                Err(Finding::ours("address", "address: HOST:PORT", words))
            }
            Ok(Err(Closed::Ended(End { words, .. }))) if words.starts_with("TLS") => {
                Err(Finding::ours("tls.cert", "cert: FILE", words))
            }
            Ok(Err(Closed::Ended(End { words, .. }))) => Err(Finding::theirs(format!(
                "{words} without a CEA: it may not know `{}`, have a connection of ours already, \
                 or speak TLS only",
                self.identity.host
            ))),
        }
    }

    fn read(&self, bytes: &Bytes) -> (Message, Vec<Problem>) {
        let limits = Limits::default();
        let (message, mut problems) = decode(bytes, &self.dictionary, &limits);
        problems.extend(check_grammar(&message, &self.dictionary));
        (message, problems)
    }

    /// REBOOTING: whoever dials us need not think that we are gone for long.
    async fn part(&self, wire: Wire) {
        let dpr = base::dpr(&self.identity, DisconnectCause::Rebooting, 2, 2);
        let mut socket = wire.into_socket();
        let goodbye = async {
            socket.write_all(&dpr.encode(&self.dictionary)).await?;
            let _ = tokio::io::AsyncReadExt::read_u8(&mut socket).await;
            socket.shutdown().await
        };
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }
}

/// Why there is no message.
enum Closed {
    Ended(End),
    NoDiameter(String),
}

async fn next(wire: &mut Wire) -> Result<Bytes, Closed> {
    let mut end = None;
    loop {
        match (wire.next_message(clock::now()), end) {
            (Some(Ok(bytes)), _) => return Ok(bytes),
            (Some(Err(error)), _) => return Err(Closed::NoDiameter(error.to_string())),
            (None, Some(end)) => return Err(Closed::Ended(end)),
            (None, None) => {}
        }
        end = poll_fn(|cx| match wire.poll(cx, true) {
            progress if progress.moved || progress.end.is_some() => Poll::Ready(progress.end),
            _ => Poll::Pending,
        })
        .await;
    }
}

fn of_tls(error: &std::io::Error) -> Finding {
    let Some(trouble) = Trouble::of(error) else {
        return Finding::ours("tls", "tls: none", End::of_handshake(error).words);
    };
    match trouble.key {
        Some("ca") => Finding::ours("tls.ca", "ca: FILE", trouble.words),
        Some("cert") => Finding::ours("tls.cert", "cert: FILE", trouble.words),
        Some("min_version") => Finding::ours("tls.min_version", "min_version: 1.2", trouble.words),
        Some("tls") => Finding::ours("tls", "tls: none", trouble.words),
        _ => Finding::theirs(trouble.words),
    }
}
