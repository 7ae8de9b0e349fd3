//! A TCP connection, plain or with TLS on top.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tokio_rustls::rustls::ProtocolVersion;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::tls::Certificate;

/// A connection.
#[derive(Debug)]
pub(super) enum Socket {
    /// Octets as they are.
    Plain(TcpStream),
    /// After the handshake.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What the other side proved in the handshake.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    /// Read from its certificate.
    pub(super) certificate: Certificate,
    /// What it showed: its certificate, then the intermediates.
    pub(super) chain: Vec<CertificateDer<'static>>,
}

impl Socket {
    /// The connection below.
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Socket::Plain(tcp) => tcp,
            Socket::Tls(tls) => tls.get_ref().0,
        }
    }

    /// What the other side proved; `None` without TLS.
    pub(super) fn proof(&self) -> Option<Proof> {
        let Socket::Tls(tls) = self else { return None };
        let chain = tls.get_ref().1.peer_certificates()?;
        let certificate = Certificate::read(chain.first()?)?;
        let chain = chain.iter().map(|one| one.clone().into_owned()).collect();
        Some(Proof { certificate, chain })
    }

    /// The version of TLS; empty without.
    pub(super) fn version(&self) -> &'static str {
        let Socket::Tls(tls) = self else { return "" };
        match tls.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "",
        }
    }

    /// Octets that were accepted may still have to be encrypted and sent.
    pub(super) fn keeps_octets_back(&self) -> bool {
        matches!(self, Socket::Tls(_))
    }

    /// Says goodbye as TLS wants it (close_notify), if there is room for it now.
    pub(super) fn part(&mut self) {
        if let Socket::Tls(tls) = self {
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(tls).poll_shutdown(&mut cx);
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Socket::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Plain(tcp) => Pin::new(tcp).poll_write(cx, octets),
            Socket::Tls(tls) => Pin::new(tls).poll_write(cx, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Socket::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Socket::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
