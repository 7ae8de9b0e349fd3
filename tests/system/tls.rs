//! TLS between peers, over real sockets: whose certificate opens a connection, and whose does not.

use farebox::tls::{Credentials, Pem, Tls};
use rcgen::{SerialNumber, date_time_ymd};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::*;
use crate::certificates::{Authority, Issued};
use farebox::transport::spawn_tls;

fn pem(name: &str, text: &str) -> Pem {
    Pem { name: name.to_owned(), text: text.to_owned() }
}

fn credentials(trusted: &Authority, own: &Issued) -> Credentials {
    Credentials {
        ca: pem("ca.pem", &trusted.pem()),
        cert: pem("cert.pem", &own.cert),
        key: pem("key.pem", &own.key),
        crl: None,
        allows_tls_1_2: false,
    }
}

pub(super) fn tls(trusted: &Authority, own: &Issued) -> Tls {
    Tls::new(&credentials(trusted, own)).expect("usable")
}

pub(super) async fn serving(tls: Tls) -> Server {
    Server::with(|config| config.tls = Some(tls), false).await
}

/// A peer of ours that dials with TLS and expects `ocs.example`.
fn dialling(address: &str, tls: Tls) -> Client {
    let mut config = config(address);
    config.host = Some("ocs.example".to_owned());
    Client::start_tls(config, tls, us())
}

impl Client {
    fn start_tls(config: PeerConfig, tls: Tls, identity: LocalIdentity) -> Client {
        let (told, events) = mpsc::unbounded_channel();
        let sink: EventSink = Arc::new(move |event| {
            let _ = told.send(event);
        });
        Client { handle: spawn_tls(0, config, tls, identity, dictionary(), sink), events }
    }
}

/// Another TLS stack's user would do the same: rustls alone, with what the test gives it.
async fn raw(
    address: &str,
    trusted: &Authority,
    own: Option<&Issued>,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let host = ServerName::try_from("ocs.example").expect("a name");
    raw_to(address, trusted, own, versions, host).await
}

async fn raw_to(
    address: &str,
    trusted: &Authority,
    own: Option<&Issued>,
    versions: &[&'static SupportedProtocolVersion],
    host: ServerName<'static>,
) -> std::io::Result<TlsStream<TcpStream>> {
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, pem::PemObject};
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der()).expect("a root");
    let provider = Arc::new(default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_webpki_verifier(verifier.build().expect("a verifier"));
    let client = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = CertificateDer::pem_slice_iter(own.cert.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
            let chain = chain.map(|one| one.expect("a certificate")).collect();
            builder.with_client_auth_cert(chain, key).expect("a client")
        }
    };
    let socket = TcpStream::connect(address).await.expect("connected");
    TlsConnector::from(Arc::new(client)).connect(host, socket).await
}

/// The certificate that is shown to whoever connects.
pub(super) async fn certificate_of(
    address: &str,
    trusted: &Authority,
    own: &Issued,
) -> farebox::tls::Certificate {
    let host = ServerName::try_from("cg.example").expect("a name");
    let stream = raw_to(address, trusted, Some(own), &[&TLS13], host).await.expect("open");
    let shown = stream.get_ref().1.peer_certificates().expect("shown");
    farebox::tls::Certificate::read(&shown[0]).expect("a certificate")
}

fn refused(fact: &Fact) -> Option<&str> {
    match fact {
        Fact::ConnectionRefused { reason, .. } => Some(reason),
        _ => None,
    }
}

async fn refusal(server: &mut Server) -> String {
    let fact = server.fact(|fact| refused(fact).is_some()).await;
    refused(&fact).expect("picked").to_owned()
}

#[tokio::test]
async fn p_02_sec_02_mutual_tls_opens_and_carries_charging() {
    let ca = Authority::new("ca");
    let mut server = serving(tls(&ca, &ca.issue("OCS.example"))).await;
    let mut client = dialling(&server.address(), tls(&ca, &ca.issue("cg.example")));
    let end = client.fact(|fact| matches!(fact, Fact::Certificate { .. })).await;
    assert!(matches!(end, Fact::Certificate { not_after } if not_after > 1_800_000_000));
    client.usable().await;
    assert_eq!(server.connected().await.1, "cg.example");
    for token in 1..=300 {
        client.send(token);
    }
    for _ in 1..=300 {
        assert_eq!(client.answer().await.1.unsigned32(id::RESULT_CODE), Some(2001));
    }
    client.handle.shutdown(DisconnectCause::Rebooting);
    client.handle.closed().await;
}

#[tokio::test]
async fn sec_02_a_server_of_an_unknown_ca_is_bad_config() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let server = serving(tls(&ca, &other.issue("ocs.example"))).await;
    let mut client = dialling(&server.address(), tls(&ca, &ca.issue("cg.example")));
    let reason = client.state(PeerState::BadConfig).await;
    assert_eq!(reason, "TLS: no CA of ours issued its certificate");
}

#[tokio::test]
async fn sec_02_a_client_of_an_unknown_ca_is_told_so() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let mut server = serving(tls(&ca, &ca.issue("ocs.example"))).await;
    let mut client = dialling(&server.address(), tls(&ca, &other.issue("cg.example")));
    let reason = client.state(PeerState::BadConfig).await;
    assert_eq!(reason, "TLS: it does not know the CA of our certificate");
    assert_eq!(refusal(&mut server).await, "TLS: no CA of ours issued its certificate");
}

#[tokio::test]
async fn sec_02_an_expired_certificate_is_bad_remote() {
    let ca = Authority::new("ca");
    let expired = ca.issue_with(&["ocs.example"], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let server = serving(tls(&ca, &expired)).await;
    let mut client = dialling(&server.address(), tls(&ca, &ca.issue("cg.example")));
    assert_eq!(client.state(PeerState::BadRemote).await, "TLS: its certificate has expired");
}

#[tokio::test]
async fn sec_02_a_revoked_certificate_is_bad_remote() {
    let ca = Authority::new("ca");
    let revoked = ca.issue_with(&["ocs.example"], |params| {
        params.serial_number = Some(SerialNumber::from(77u64));
    });
    let server = serving(tls(&ca, &revoked)).await;
    let mut own = credentials(&ca, &ca.issue("cg.example"));
    own.crl = Some(pem("revoked.pem", &ca.revoke(77)));
    let mut client = dialling(&server.address(), Tls::new(&own).expect("usable"));
    assert_eq!(client.state(PeerState::BadRemote).await, "TLS: its certificate is revoked");

    // The same list condemns no other certificate.
    let good = serving(tls(&ca, &ca.issue("ocs.example"))).await;
    dialling(&good.address(), Tls::new(&own).expect("usable")).usable().await;
}

#[tokio::test]
async fn sec_02_a_certificate_for_another_name_is_refused_with_both_names() {
    let ca = Authority::new("ca");
    for (names, said) in [
        (&["ocs-b.example", "x.example"][..], "is for `ocs-b.example`, `x.example`"),
        (&["*.example"][..], "is for `*.example`"),
        (&[][..], "names nobody: it has no dNSName"),
        (&["127.0.0.1"][..], "names nobody: it has no dNSName"),
    ] {
        let server = serving(tls(&ca, &ca.issue_with(names, |_| {}))).await;
        let mut client = dialling(&server.address(), tls(&ca, &ca.issue("cg.example")));
        let reason = client.state(PeerState::BadConfig).await;
        assert_eq!(reason, format!("TLS: its certificate {said}; expected `ocs.example`"));
    }
}

#[tokio::test]
async fn sec_02_the_certificate_of_one_peer_does_not_make_it_another() {
    let ca = Authority::new("ca");
    let mut server = serving(tls(&ca, &ca.issue("ocs.example"))).await;
    // The CER says `cg.example`, the certificate another configured peer's name.
    let mut client = dialling(&server.address(), tls(&ca, &ca.issue("cg2.example")));
    let reason = client.state(PeerState::BadConfig).await;
    assert!(reason.starts_with("3010 DIAMETER_UNKNOWN_PEER"), "{reason}");
    assert_eq!(
        refusal(&mut server).await,
        "it calls itself `cg.example`; its certificate is for `cg2.example`"
    );
}

#[tokio::test]
async fn sec_02_whoever_is_meant_the_cea_must_fit_the_certificate() {
    let ca = Authority::new("ca");
    let server = serving(tls(&ca, &ca.issue("ocs-b.example"))).await;
    let mut config = config(&server.address());
    config.address = Some(server.address());
    let mut client = Client::start_tls(config, tls(&ca, &ca.issue("cg.example")), us());
    let reason = client.state(PeerState::BadRemote).await;
    assert_eq!(reason, "it calls itself `ocs.example`; its certificate is for `ocs-b.example`");
}

#[tokio::test]
async fn sec_02_a_connection_without_a_certificate_is_refused() {
    let ca = Authority::new("ca");
    let mut server = serving(tls(&ca, &ca.issue("ocs.example"))).await;
    // In TLS 1.3 the client is through before the server has judged it.
    let stream = raw(&server.address(), &ca, None, &[&TLS13]).await;
    if let Ok(mut stream) = stream {
        let read = stream.read_u8().await.expect_err("no octet for a stranger");
        assert!(read.to_string().contains("CertificateRequired"), "{read}");
    }
    let reason = refusal(&mut server).await;
    assert_eq!(reason, "TLS: it shows no certificate, and one is required");
}

#[tokio::test]
async fn sec_01_tls_1_2_needs_the_switch_on_both_sides() {
    let ca = Authority::new("ca");
    let mut both = credentials(&ca, &ca.issue("ocs.example"));
    let own = ca.issue("cg.example");
    let mut strict = serving(Tls::new(&both).expect("usable")).await;
    raw(&strict.address(), &ca, Some(&own), &[&TLS12]).await.expect_err("refused");
    assert_eq!(
        refusal(&mut strict).await,
        "TLS: it shares no version with us; it may speak TLS 1.2 only"
    );
    raw(&strict.address(), &ca, Some(&own), &[&TLS13]).await.expect("1.3");

    both.allows_tls_1_2 = true;
    let server = serving(Tls::new(&both).expect("usable")).await;
    raw(&server.address(), &ca, Some(&own), &[&TLS12]).await.expect("1.2");
    raw(&server.address(), &ca, Some(&own), &[&TLS13]).await.expect("1.3");
}

/// A ClientHello as TLS 1.0 and 1.1 write it: no extensions, and the old version in it.
fn old_hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 2, 0x00, 0x2f]);
    body.extend([1, 0]);
    let mut hello = vec![1, 0, 0, body.len() as u8];
    hello.extend(body);
    let mut record = vec![22, 3, 1, 0, hello.len() as u8];
    record.extend(hello);
    record
}

#[tokio::test]
async fn sec_01_tls_1_1_is_refused_even_where_1_2_is_allowed() {
    let ca = Authority::new("ca");
    let mut own = credentials(&ca, &ca.issue("ocs.example"));
    own.allows_tls_1_2 = true;
    let mut server = serving(Tls::new(&own).expect("usable")).await;
    for minor in [1, 2] {
        let mut script = Script::connect(&server.address()).await;
        script.raw(&old_hello(minor)).await;
        let mut alert = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, script.socket.read_to_end(&mut alert)).await;
        // A fatal alert (21, 2) and no ServerHello.
        assert_eq!(alert.first(), Some(&21), "{alert:?}");
        assert_eq!(alert.get(5), Some(&2), "{alert:?}");
        assert!(refusal(&mut server).await.starts_with("TLS: "));
    }
}

#[tokio::test]
async fn sec_01_plain_diameter_and_silence_on_the_tls_port_are_closed() {
    let ca = Authority::new("ca");
    let own = tls(&ca, &ca.issue("ocs.example"));
    let change = |config: &mut ServerConfig| {
        config.tls = Some(own);
        config.limits.handshake = Duration::from_millis(200);
    };
    let mut server = Server::with(change, false).await;
    let mut plain = Script::connect(&server.address()).await;
    plain.write(&cer("cg.example")).await;
    assert_eq!(refusal(&mut server).await, "TLS: it does not speak TLS on this port");
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(PATIENCE, plain.socket.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "open still");

    // Silent from the start, and in the middle of the handshake (FN-15).
    for octets in [&[][..], &[22, 3, 1, 2, 0, 1][..]] {
        let mut silent = Script::connect(&server.address()).await;
        silent.raw(octets).await;
        assert!(silent.read().await.is_none());
        server.fact(|fact| matches!(fact, Fact::Disconnected { .. })).await;
    }
    let limits = Limits::default();
    assert!(limits.handshake <= Duration::from_secs(10));
}

#[tokio::test]
async fn sec_01_there_is_no_way_back_to_plain() {
    let ca = Authority::new("ca");
    // A TLS peer dialled where plain Diameter is spoken.
    let mut server = Server::start().await;
    let mut client = dialling(&server.address(), tls(&ca, &ca.issue("cg.example")));
    let reason = client.state(PeerState::BadConfig).await;
    assert_eq!(reason, "TLS: closed during the handshake; does it speak TLS on this port?");
    let fact = server.fact(|fact| matches!(fact, Fact::BadFrame { .. })).await;
    assert!(format!("{fact:?}").contains("it speaks TLS where plain Diameter is expected"));
    drop(client);

    // The same where nothing is answered at all.
    let (silent, address) = listener().await;
    let mut short = config(&address);
    short.limits.connect = Duration::from_millis(200);
    let mut client = Client::start_tls(short, tls(&ca, &ca.issue("cg.example")), us());
    let _held = silent.accept().await.expect("a connection");
    let reason = client.state(PeerState::BadConfig).await;
    assert!(reason.starts_with("TLS: no answer to our handshake in time"), "{reason}");
    drop(client);

    // A TLS peer that comes without: 5017, and the reason in words.
    let mut config = config("unused");
    (config.address, config.host) = (None, Some("ocs.example".to_owned()));
    let mut client = Client::start_tls(config, tls(&ca, &ca.issue("cg.example")), us());
    let handle = client.handle.clone();
    let change = |config: &mut ServerConfig| {
        config.identity = us();
        config.peers = vec![("ocs.example".to_owned(), handle)];
        config.peers_only = true;
    };
    let plain = Server::with(change, false).await;
    let mut script = Script::connect(&plain.address()).await;
    script.write(&cer("ocs.example")).await;
    let cea = script.read().await.expect("a CEA");
    assert_eq!(cea.unsigned32(id::RESULT_CODE), Some(5017));
    let fact = client.fact(|fact| refused(fact).is_some()).await;
    assert!(refused(&fact).is_some_and(|reason| reason.contains("must connect with TLS")));
}

#[tokio::test]
async fn sec_02_a_peer_with_a_ca_of_its_own_is_held_to_it() {
    let (ca, theirs) = (Authority::new("ca"), Authority::new("theirs"));
    let mut config = config("unused");
    (config.address, config.host) = (None, Some("ocs.example".to_owned()));
    let mut client = Client::start_tls(config, tls(&theirs, &ca.issue("cg.example")), us());
    let handle = client.handle.clone();
    let mut listening = credentials(&ca, &ca.issue("cg.example"));
    listening.ca.text.push_str(&theirs.pem());
    let change = |config: &mut ServerConfig| {
        config.identity = us();
        config.tls = Some(Tls::new(&listening).expect("usable"));
        config.peers = vec![("ocs.example".to_owned(), handle)];
        config.peers_only = true;
    };
    let mut server = Server::with(change, false).await;

    // The listener believes it, the peer's own `tls` does not.
    let mut one = dialling_us(&server.address(), tls(&ca, &ca.issue("ocs.example")));
    assert!(one.state(PeerState::BadConfig).await.starts_with("3010"));
    assert_eq!(refusal(&mut server).await, "TLS: no CA of ours issued its certificate");
    drop(one);

    let mut good = dialling_us(&server.address(), tls(&ca, &theirs.issue("ocs.example")));
    good.usable().await;
    client.usable().await;
}

/// The other end of a connection to our own listener: a node called `ocs.example`.
pub(super) fn dialling_us(address: &str, tls: Tls) -> Client {
    let mut config = config(address);
    config.host = Some("cg.example".to_owned());
    Client::start_tls(config, tls, them())
}

#[tokio::test]
async fn fn_15_new_credentials_are_used_and_old_connections_live_on() {
    let (ca, next) = (Authority::new("ca"), Authority::new("next"));
    let shared = tls(&ca, &ca.issue("ocs.example"));
    let mut server = serving(shared.clone()).await;
    let mut client = dialling(&server.address(), tls(&ca, &ca.issue("cg.example")));
    client.usable().await;
    let (conn, _, _) = server.connected().await;

    shared.replace(&tls(&next, &next.issue("ocs.example")));
    client.send(1);
    assert_eq!(client.answer().await.0, 1);

    // Who comes now is shown the new certificate, and must have one of the new CA.
    let own = next.issue("other.example");
    raw(&server.address(), &ca, Some(&own), &[&TLS13]).await.expect_err("the new certificate");
    raw(&server.address(), &next, Some(&own), &[&TLS13]).await.expect("the new certificate");
    client.send(2);
    assert_eq!(client.answer().await.0, 2);
    client.handle.reset();
    server.closed(conn).await;
    assert_eq!(
        client.state(PeerState::BadConfig).await,
        "TLS: no CA of ours issued its certificate"
    );
}

#[tokio::test]
async fn fn_15_an_end_without_close_notify_is_an_end() {
    let ca = Authority::new("ca");
    let mut server = serving(tls(&ca, &ca.issue("ocs.example"))).await;
    let own = ca.issue("cg.example");
    let mut stream = raw(&server.address(), &ca, Some(&own), &[&TLS13]).await.expect("open");
    stream.write_all(&cer("cg.example").encode(Dictionary::builtin())).await.expect("written");
    let (conn, _, _) = server.connected().await;
    let (tcp, _) = stream.into_inner();
    drop(tcp);
    server.closed(conn).await;
}

#[test]
fn credentials_say_which_text_is_wrong() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let own = ca.issue("cg.example");
    let good = credentials(&ca, &own);
    let check = |change: fn(&mut Credentials, &Issued), key: &str, reason: &str| {
        let mut credentials = good.clone();
        change(&mut credentials, &other.issue("cg.example"));
        let unusable = Tls::new(&credentials).expect_err(reason);
        assert_eq!((unusable.key, unusable.to_string()), (key, reason.to_owned()));
        assert!(!format!("{credentials:?}").contains("PRIVATE KEY"));
    };
    check(
        |all, _| all.ca.text = String::new(),
        "ca",
        "`ca.pem` cannot be used: there is no certificate in it",
    );
    check(
        |all, _| all.cert.text = all.key.text.clone(),
        "cert",
        "`cert.pem` cannot be used: there is no certificate in it",
    );
    check(
        |all, _| all.key.text = "secret".to_owned(),
        "key",
        "`key.pem` cannot be used: there is no private key in it",
    );
    check(
        |all, other| all.key.text.clone_from(&other.key),
        "key",
        "`key.pem` cannot be used: it is not the key of the certificate",
    );
    check(
        |all, _| all.crl = Some(pem("crl.pem", "")),
        "crl",
        "`crl.pem` cannot be used: there is no revocation list in it",
    );
    let tls = Tls::new(&good).expect("usable");
    assert_eq!(tls.certificate().names, ["cg.example"]);
    assert!(!format!("{tls:?}").contains("PRIVATE KEY"));
}
