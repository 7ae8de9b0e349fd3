//! What is read from a certificate besides the proof: names and end.

use std::time::Duration;

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::Certificate as X509;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// A certificate that was read. Whether it is to be believed was decided elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// dNSName entries of the SAN; the subject's CN counts for nothing.
    pub names: Vec<String>,
    /// notAfter, in seconds since 1970.
    pub not_after: u64,
    /// The issuer, as RFC 4514 writes it.
    pub issuer: String,
}

impl Certificate {
    /// Reads a DER certificate; `None` if it is none.
    pub fn read(der: &CertificateDer<'_>) -> Option<Certificate> {
        let certificate = X509::from_der(der).ok()?;
        let tbs = certificate.tbs_certificate();
        let names = match tbs.get_extension::<SubjectAltName>() {
            Ok(Some((_, SubjectAltName(names)))) => names,
            Ok(None) => Vec::new(),
            // Twice, or no SAN at all: what it says cannot be known.
            Err(_) => return None,
        };
        let dns = |name: GeneralName| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
            _ => None,
        };
        let not_after: Duration = tbs.validity().not_after.to_unix_duration();
        Some(Certificate {
            names: names.into_iter().filter_map(dns).collect(),
            not_after: not_after.as_secs(),
            issuer: tbs.issuer().to_string(),
        })
    }

    /// Whether it names this DiameterIdentity: letter by letter, without regard to case. A wildcard
    /// names nobody, since a DiameterIdentity is one node.
    pub fn names(&self, identity: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(identity))
    }
}
