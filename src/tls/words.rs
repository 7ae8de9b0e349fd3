//! What went wrong in a handshake, for people: whose fault, which key of the configuration.

use std::io;

use tokio_rustls::rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible,
};

use super::NameMismatch;
use crate::diagnostic::Fault;

/// Why a TLS connection did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// `Config`: ours to fix; `Peer`: theirs.
    pub fault: Fault,
    /// In words.
    pub words: String,
    /// The key of `tls` that could change it, if it is ours.
    pub key: Option<&'static str>,
    /// The certificate was believed, and is somebody else's.
    pub mismatch: Option<NameMismatch>,
}

impl Trouble {
    fn ours(key: &'static str, words: impl Into<String>) -> Trouble {
        Trouble { fault: Fault::Config, words: words.into(), key: Some(key), mismatch: None }
    }

    fn theirs(words: impl Into<String>) -> Trouble {
        Trouble { fault: Fault::Peer, words: words.into(), key: None, mismatch: None }
    }

    /// From an error of a TLS stream; `None` if it is one of the transport below.
    pub fn of(error: &io::Error) -> Option<Trouble> {
        error.get_ref()?.downcast_ref::<Error>().map(trouble)
    }
}

/// Says what an error of rustls means for a Diameter connection.
pub fn trouble(error: &Error) -> Trouble {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => told(*alert),
        Error::NoCertificatesPresented => {
            Trouble::theirs("TLS: it shows no certificate, and one is required")
        }
        Error::PeerIncompatible(reason) => incompatible(reason),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge,
        ) => Trouble::ours("tls", "TLS: it does not speak TLS on this port"),
        other => Trouble::theirs(format!("TLS: {other}")),
    }
}

fn certificate(error: &CertificateError) -> Trouble {
    match error {
        CertificateError::Other(other) => match other.0.downcast_ref::<NameMismatch>() {
            Some(mismatch) => Trouble {
                fault: Fault::Config,
                words: format!("TLS: {mismatch}"),
                key: Some("host"),
                mismatch: Some(mismatch.clone()),
            },
            None => Trouble::theirs(format!("TLS: its certificate is refused: {other}")),
        },
        CertificateError::UnknownIssuer => {
            Trouble::ours("ca", "TLS: no CA of ours issued its certificate")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Trouble::theirs("TLS: its certificate has expired")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Trouble::theirs("TLS: its certificate is not valid yet")
        }
        CertificateError::Revoked => Trouble::theirs("TLS: its certificate is revoked"),
        CertificateError::BadEncoding => Trouble::theirs("TLS: its certificate cannot be read"),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Trouble::theirs("TLS: its certificate is for another purpose (extended key usage)")
        }
        other => Trouble::theirs(format!("TLS: its certificate is refused: {other}")),
    }
}

/// An alert that the other side sent about us.
fn told(alert: AlertDescription) -> Trouble {
    use AlertDescription as Alert;
    match alert {
        Alert::UnknownCA => {
            Trouble::ours("cert", "TLS: it does not know the CA of our certificate")
        }
        Alert::CertificateExpired => Trouble::ours("cert", "TLS: our certificate has expired"),
        Alert::CertificateRevoked => Trouble::ours("cert", "TLS: our certificate is revoked"),
        Alert::BadCertificate | Alert::CertificateUnknown | Alert::UnsupportedCertificate => {
            Trouble::ours("cert", "TLS: it refuses our certificate")
        }
        Alert::CertificateRequired | Alert::NoCertificate => {
            Trouble::ours("cert", "TLS: it wants a certificate of ours")
        }
        Alert::AccessDenied => Trouble::ours("cert", "TLS: it knows our certificate and denies us"),
        Alert::ProtocolVersion => Trouble::ours("min_version", VERSION),
        // What an acceptor says that shares no version or cipher suite, and many others.
        Alert::HandshakeFailure => {
            Trouble::ours("min_version", "TLS: it shares no version or cipher suite with us")
        }
        Alert::UnrecognisedName => Trouble::ours("host", "TLS: it does not answer to this name"),
        other => Trouble::theirs(format!("TLS: it ended the handshake: {other:?}")),
    }
}

const VERSION: &str = "TLS: it shares no version with us; it may speak TLS 1.2 only";

fn incompatible(reason: &PeerIncompatible) -> Trouble {
    match reason {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => Trouble::ours("min_version", VERSION),
        other => Trouble::theirs(format!("TLS: {other:?}")),
    }
}
