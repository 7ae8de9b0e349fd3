//! Certificates and keys: PEM texts made into what rustls wants, and whom a certificate names.
//!
//! Decides which certificate is believed: its chain leads to a configured CA, it is valid now and
//! not revoked, and the dNSName in its SAN equals the DiameterIdentity that is expected (SEC-02).
//! Knows no socket and no peer machine. TLS 1.3, and 1.2 only where a switch allows it (SEC-01).

mod certificate;
mod credentials;
mod verify;
mod words;

use std::fmt;

pub use certificate::Certificate;
pub use credentials::{Names, Tls};
pub use words::{Trouble, trouble};

/// One PEM text and what to call it.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// The file, as it was written in the configuration; `inline` if the text stood there itself.
    pub name: String,
    /// The text.
    pub text: String,
}

/// Without the text: it may be a private key.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem").field("name", &self.name).finish_non_exhaustive()
    }
}

/// `tls: {ca, cert, key, crl, min_version}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Who may have issued the other side's certificate.
    pub ca: Pem,
    /// Our own certificate, then its intermediates.
    pub cert: Pem,
    /// Its private key.
    pub key: Pem,
    /// Certificates that are believed no more.
    pub crl: Option<Pem>,
    /// TLS 1.2 will do.
    pub allows_tls_1_2: bool,
}

/// Why credentials cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unusable {
    /// The key of the configuration: `ca`, `cert`, `key`, `crl`.
    pub key: &'static str,
    /// In words.
    pub reason: String,
}

/// A certificate of whom we trust, and of somebody else than expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameMismatch {
    /// The DiameterIdentity that was meant; `None`: any.
    pub expected: Option<String>,
    /// The dNSNames of the certificate.
    pub names: Vec<String>,
}

impl fmt::Display for NameMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = match self.names.as_slice() {
            [] => "names nobody: it has no dNSName".to_owned(),
            names => format!("is for `{}`", names.join("`, `")),
        };
        match &self.expected {
            Some(expected) => write!(f, "its certificate {names}; expected `{expected}`"),
            None => write!(f, "its certificate {names}"),
        }
    }
}

impl std::error::Error for NameMismatch {}
