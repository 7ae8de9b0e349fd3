//! `notifyUri`: a CloudEvent POSTed to an origin that the configuration allows, tried for an hour.
//!
//! No redirects, 2 s a try, no link-local, multicast or unspecified address, whatever a name
//! resolves to. Deliveries wait in memory: a restart forgets them, and the session itself still
//! tells everything.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, Uri, header, uri::Scheme};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::cloudevents::SINGLE;
use super::notifications::Told;
use crate::clock::{self, Now};
use crate::telemetry::LogEvent;
use crate::telemetry::log::{Fields, emit};

/// Deliveries that wait; more are dropped and told.
const WAITING_MAX: usize = 10_000;
/// POSTs on their way at once, all origins together and to one.
const FLYING_MAX: usize = 64;
const FLYING_PER_ORIGIN: usize = 8;

/// When a delivery is tried again and when it is given up.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// One try, from the connection to the status.
    pub attempt: Duration,
    /// Before the second try; doubled for each one more.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
    /// No try begins later than this after the notification.
    pub give_up: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            attempt: Duration::from_secs(2),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            give_up: Duration::from_secs(3_600),
        }
    }
}

/// A CloudEvent for one address.
#[derive(Debug)]
pub(super) struct Delivery {
    uri: String,
    told: Arc<Told>,
    since: Now,
    tries: u32,
}

impl Delivery {
    pub(super) fn new(uri: String, told: Arc<Told>) -> Delivery {
        Delivery { uri, told, since: clock::now(), tries: 0 }
    }
}

/// Has `uri` the scheme, host and port of `origin`?
pub(super) fn is_of_origin(uri: &str, origin: &str) -> bool {
    match (origin_of(uri), origin_of(origin)) {
        (Some(uri), Some(origin)) => uri == origin,
        _ => false,
    }
}

/// Scheme, host in lower case, port; `None` for an address with user information.
fn origin_of(text: &str) -> Option<(bool, String, u16)> {
    let uri: Uri = text.parse().ok()?;
    let secure = match uri.scheme()? {
        scheme if *scheme == Scheme::HTTPS => true,
        scheme if *scheme == Scheme::HTTP => false,
        _ => return None,
    };
    let authority = uri.authority()?;
    if authority.as_str().contains('@') {
        return None;
    }
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    Some((secure, authority.host().to_ascii_lowercase(), port))
}

/// Starts the task that delivers; it ends with the last sender.
pub(super) fn start(allowed: &[String], patience: Patience) -> mpsc::Sender<Delivery> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let courier = Courier {
        allowed: allowed.to_vec(),
        patience,
        tls: None,
        due: BinaryHeap::new(),
        waiting: BTreeMap::new(),
        flying: JoinSet::new(),
        per_origin: BTreeMap::new(),
        serial: 0,
    };
    tokio::spawn(courier.run(receiver));
    sender
}

/// How a try ended.
enum Tried {
    Delivered,
    /// The receiver does not want it, or may not get it: no other try.
    Refused(String),
    Failed(String),
}

type Origin = (bool, String, u16);

struct Courier {
    allowed: Vec<String>,
    patience: Patience,
    /// Made at the first https address: it reads the system's certificates.
    tls: Option<TlsConnector>,
    due: BinaryHeap<Reverse<(Now, u64)>>,
    waiting: BTreeMap<u64, Delivery>,
    flying: JoinSet<(Origin, Delivery, Tried)>,
    per_origin: BTreeMap<Origin, usize>,
    serial: u64,
}

impl Courier {
    async fn run(mut self, mut deliveries: mpsc::Receiver<Delivery>) {
        loop {
            self.begin_due();
            let next = self.due.peek().map(|Reverse((due, _))| due.since(clock::now()));
            // What is due and may not fly yet waits for one that lands.
            let blocked = next == Some(Duration::ZERO) && !self.flying.is_empty();
            tokio::select! {
                delivery = deliveries.recv(), if self.waiting.len() < WAITING_MAX => match delivery {
                    Some(delivery) => self.wait(delivery, Duration::ZERO),
                    None => return,
                },
                Some(landed) = self.flying.join_next() => {
                    if let Ok((origin, delivery, tried)) = landed {
                        self.landed(&origin, delivery, tried);
                    }
                }
                () = tokio::time::sleep(next.unwrap_or(Duration::MAX / 4)), if next.is_some() && !blocked => {}
            }
        }
    }

    fn wait(&mut self, delivery: Delivery, pause: Duration) {
        self.serial += 1;
        self.waiting.insert(self.serial, delivery);
        self.due.push(Reverse((clock::now() + pause, self.serial)));
    }

    /// Sends what is due, as far as its origin has room.
    fn begin_due(&mut self) {
        let mut held = Vec::new();
        while let Some(Reverse((due, serial))) = self.due.pop() {
            if due > clock::now() || self.flying.len() >= FLYING_MAX {
                held.push(Reverse((due, serial)));
                break;
            }
            let Some(delivery) = self.waiting.remove(&serial) else { continue };
            let Some(origin) = self.origin(&delivery) else {
                told(LogEvent::NotifyRefused, &delivery, "its origin is none of api.notify.allow");
                continue;
            };
            let flying = self.per_origin.entry(origin.clone()).or_default();
            if *flying >= FLYING_PER_ORIGIN {
                held.push(Reverse((due, serial)));
                self.waiting.insert(serial, delivery);
                continue;
            }
            *flying += 1;
            let tls = origin.0.then(|| self.connector());
            let limit = self.patience.attempt;
            self.flying.spawn(async move {
                let attempt = tokio::time::timeout(limit, post(&delivery, &origin, tls)).await;
                let tried = match attempt {
                    Ok(Ok(status)) => judge(status),
                    Ok(Err(why)) => Tried::Failed(why),
                    Err(_) => Tried::Failed(format!("no answer in {} s", limit.as_secs_f32())),
                };
                (origin, delivery, tried)
            });
        }
        self.due.extend(held);
    }

    fn origin(&self, delivery: &Delivery) -> Option<Origin> {
        let allowed = self.allowed.iter().any(|allowed| is_of_origin(&delivery.uri, allowed));
        origin_of(&delivery.uri).filter(|_| allowed)
    }

    fn landed(&mut self, origin: &Origin, mut delivery: Delivery, tried: Tried) {
        if let Some(flying) = self.per_origin.get_mut(origin) {
            *flying -= 1;
            if *flying == 0 {
                self.per_origin.remove(origin);
            }
        }
        let why = match tried {
            Tried::Delivered => return,
            Tried::Refused(why) => return told(LogEvent::NotifyRefused, &delivery, &why),
            Tried::Failed(why) => why,
        };
        let doubled = 1u32.checked_shl(delivery.tries.min(16)).unwrap_or(u32::MAX);
        let pause = self.patience.first_pause.saturating_mul(doubled);
        let pause = pause.min(self.patience.longest_pause);
        delivery.tries += 1;
        if clock::now().since(delivery.since) + pause > self.patience.give_up {
            return told(LogEvent::NotifyGivenUp, &delivery, &why);
        }
        if delivery.tries == 1 {
            told(LogEvent::NotifyFailed, &delivery, &why);
        }
        self.wait(delivery, pause);
    }

    fn connector(&mut self) -> TlsConnector {
        self.tls
            .get_or_insert_with(|| {
                let mut roots = RootCertStore::empty();
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
                let config =
                    ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
                TlsConnector::from(Arc::new(config))
            })
            .clone()
    }
}

fn told(event: LogEvent, delivery: &Delivery, why: &str) {
    let fields = Fields { count: Some(u64::from(delivery.tries)), ..Fields::default() };
    let origin = origin_of(&delivery.uri).map(|(_, host, port)| format!("{host}:{port}"));
    let place = origin.unwrap_or_else(|| "an address that cannot be read".to_owned());
    let words = format!("{} {} to {place}: {why}", delivery.told.kind, delivery.told.id);
    emit(event, fields, &words);
}

/// 2xx is delivered; 408, 429 and 5xx may go better later; all others are a decision.
fn judge(status: StatusCode) -> Tried {
    match status.as_u16() {
        200..=299 => Tried::Delivered,
        300..=399 => Tried::Refused(format!("{status}: redirects are not followed")),
        408 | 429 | 500..=599 => Tried::Failed(status.to_string()),
        _ => Tried::Refused(status.to_string()),
    }
}

async fn post(
    delivery: &Delivery,
    (_, host, port): &Origin,
    tls: Option<TlsConnector>,
) -> Result<StatusCode, String> {
    let stream = connect(host, *port).await.map_err(|error| error.to_string())?;
    match tls {
        None => send(stream, delivery).await,
        Some(tls) => {
            let bare = host.trim_matches(['[', ']']).to_owned();
            let name = ServerName::try_from(bare).map_err(|error| error.to_string())?;
            let stream = tls.connect(name, stream).await.map_err(|error| error.to_string())?;
            send(stream, delivery).await
        }
    }
}

/// The first address that may be used and accepts.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let bare = host.trim_matches(['[', ']']);
    let mut last = io::Error::other(format!("`{host}` has no address that may be used"));
    for address in tokio::net::lookup_host((bare, port)).await? {
        if forbidden(address) {
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Link-local (the metadata services of clouds live there), multicast and unspecified addresses.
///
/// Private and loopback ones are allowed: that is where CPM servers are, and the origin is the
/// operator's own word.
fn forbidden(address: SocketAddr) -> bool {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_link_local() || ip.is_multicast() || ip.is_unspecified() || ip.is_broadcast()
        }
        IpAddr::V6(ip) => {
            const AWS_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            let link_local = (ip.segments()[0] & 0xffc0) == 0xfe80;
            link_local || ip.is_multicast() || ip.is_unspecified() || ip == AWS_METADATA
        }
    }
}

async fn send<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    delivery: &Delivery,
) -> Result<StatusCode, String> {
    let uri: Uri = delivery.uri.parse().map_err(|_| "no address".to_owned())?;
    let host = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, SINGLE)
        .header(header::USER_AGENT, concat!("farebox/", env!("CARGO_PKG_VERSION")))
        .body(Body::from(delivery.told.json.clone()))
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let mut tasks = JoinSet::new();
    // Ends with this function: nobody reads the answer's body.
    tasks.spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    Ok(response.status())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fh_12_origins_are_compared_as_a_whole() {
        for (uri, origin, same) in [
            ("https://as1.example.net/a?b", "https://as1.example.net", true),
            ("https://AS1.example.net:443/a", "https://as1.example.net", true),
            ("http://as1.example.net/a", "https://as1.example.net", false),
            ("https://as1.example.net:8443/a", "https://as1.example.net", false),
            ("https://as1.example.net.evil.example/a", "https://as1.example.net", false),
            ("https://as1.example.net@evil.example/a", "https://as1.example.net", false),
            ("https://user@as1.example.net/a", "https://as1.example.net", false),
            ("ftp://as1.example.net/a", "ftp://as1.example.net", false),
            ("/a", "https://as1.example.net", false),
        ] {
            assert_eq!(is_of_origin(uri, origin), same, "{uri}");
        }
    }

    #[test]
    fn fh_12_sec_11_metadata_and_link_local_addresses_are_never_called() {
        for (address, refused) in [
            ("169.254.169.254:80", true),
            ("[fe80::1]:80", true),
            ("[::ffff:169.254.169.254]:80", true),
            ("[fd00:ec2::254]:80", true),
            ("0.0.0.0:80", true),
            ("224.0.0.1:80", true),
            ("[::]:80", true),
            ("127.0.0.1:80", false),
            ("10.1.2.3:80", false),
            ("192.0.2.1:80", false),
        ] {
            assert_eq!(forbidden(address.parse().expect("an address")), refused, "{address}");
        }
    }
}
