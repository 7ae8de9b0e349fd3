//! TLS handshakes on both sides, before the first Diameter octet (RFC 6733, 13.1).
//!
//! There is no in-band TLS: a connection is secured before CER and CEA or not at all.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::end::End;
use super::socket::Socket;
use crate::clock;
use crate::tls::Tls;

/// Connects to `address` (`host:port`). With TLS the certificate must be for `host`, if one is
/// given, and all must be over within `limit`, so that a silent one has a reason of its own.
pub(super) async fn dial(
    address: &str,
    tls: Option<&Tls>,
    host: Option<&str>,
    limit: Duration,
) -> Result<Socket, End> {
    let begun = clock::now();
    let tcp = TcpStream::connect(address).await.map_err(|error| End::of(&error))?;
    let Some(tls) = tls else { return Ok(Socket::Plain(tcp)) };
    let handshake = connect(tcp, address, tls, host, host);
    let left = limit.saturating_sub(clock::now().since(begun));
    match tokio::time::timeout(left, handshake).await {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(error)) => Err(End::of_handshake(&error)),
        Err(_) => Err(End::of_silence()),
    }
}

/// Secures a connection that we made. `named` is for SNI only; the certificate must be for
/// `expected`, if that is given.
pub(super) async fn connect(
    tcp: TcpStream,
    address: &str,
    tls: &Tls,
    named: Option<&str>,
    expected: Option<&str>,
) -> io::Result<Socket> {
    let client = tls.client(expected).map_err(io::Error::other)?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = named.map(str::to_owned).and_then(|name| ServerName::try_from(name).ok());
    let name = match name {
        Some(name) => name,
        None => ServerName::try_from(host).map_err(io::Error::other)?,
    };
    let _ = tcp.set_nodelay(true);
    let stream = TlsConnector::from(client).connect(name, tcp).await?;
    Ok(Socket::Tls(Box::new(TlsStream::Client(stream))))
}

/// Secures a connection that was made to us. The other side must show a certificate.
pub(super) async fn accept(tcp: TcpStream, tls: Option<&Tls>) -> Result<Socket, End> {
    let Some(tls) = tls else { return Ok(Socket::Plain(tcp)) };
    let _ = tcp.set_nodelay(true);
    match TlsAcceptor::from(tls.server()).accept(tcp).await {
        Ok(stream) => Ok(Socket::Tls(Box::new(TlsStream::Server(stream)))),
        Err(error) => Err(End::of_handshake(&error)),
    }
}
