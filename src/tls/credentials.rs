//! Our certificate, its key, and whom we trust: parsed once, replaced as a whole.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime,
};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, Error, RootCertStore, ServerConfig, SupportedProtocolVersion,
};

use super::certificate::Certificate;
use super::verify::Verifier;
use super::words::trouble;
use super::{Credentials, Pem, Unusable};

/// Credentials that can be used. Cheap to clone; clones share what [`Tls::replace`] puts in, and
/// connections that exist keep what they began with.
#[derive(Clone)]
pub struct Tls {
    current: Arc<RwLock<Arc<Current>>>,
}

/// Parsed credentials.
struct Current {
    names: Names,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    crls: Vec<CertificateRevocationListDer<'static>>,
    certificate: Certificate,
    versions: &'static [&'static SupportedProtocolVersion],
    server: Arc<ServerConfig>,
    clients: Arc<dyn ClientCertVerifier>,
}

/// What the PEM texts are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Of `ca`.
    pub ca: String,
    /// Of `cert`.
    pub cert: String,
    /// Of `key`.
    pub key: String,
    /// Of `crl`.
    pub crl: Option<String>,
}

/// The key stays unseen.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.current();
        f.debug_struct("Tls")
            .field("names", &current.names)
            .field("certificate", &current.certificate)
            .finish_non_exhaustive()
    }
}

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const NEWEST: &[&SupportedProtocolVersion] = &[&TLS13];

impl Tls {
    /// Parses credentials.
    ///
    /// # Errors
    /// When a text is not what it should be, or the key is another certificate's.
    pub fn new(credentials: &Credentials) -> Result<Tls, Unusable> {
        let current = Current::new(credentials)?;
        Ok(Tls { current: Arc::new(RwLock::new(Arc::new(current))) })
    }

    /// Takes the credentials of another: connections made from now on use them.
    pub fn replace(&self, other: &Tls) {
        let other = other.current();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = other;
    }

    fn current(&self) -> Arc<Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Our own certificate.
    pub fn certificate(&self) -> Certificate {
        self.current().certificate.clone()
    }

    /// What the PEM texts are called.
    pub fn names(&self) -> Names {
        self.current().names.clone()
    }

    /// TLS 1.2 will do.
    pub fn allows_tls_1_2(&self) -> bool {
        self.current().versions.len() > 1
    }

    /// For a connection that we make to the node of this DiameterIdentity; `None`: to any that the
    /// CA vouches for.
    ///
    /// # Errors
    /// None that [`Tls::new`] would not have met already.
    pub fn client(&self, expected: Option<&str>) -> Result<Arc<ClientConfig>, Error> {
        self.current().client(expected).map(Arc::new)
    }

    /// For a connection that was made to us; the other side must have a certificate.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.current().server.clone()
    }

    /// Whether a chain that was presented to us is one that these credentials believe, too.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn believes(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), String> {
        let Some((end_entity, intermediates)) = chain.split_first() else {
            return Err("it has no certificate".to_owned());
        };
        let judged = self.current().clients.verify_client_cert(end_entity, intermediates, now);
        judged.map(|_| ()).map_err(|error| trouble(&error).words)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

impl Current {
    fn new(credentials: &Credentials) -> Result<Current, Unusable> {
        let Credentials { ca, cert, key, crl, allows_tls_1_2 } = credentials;
        let mut roots = RootCertStore::empty();
        for root in certificates("ca", ca)? {
            roots.add(root).map_err(|error| unusable("ca", ca, error))?;
        }
        let chain = certificates("cert", cert)?;
        let certificate = chain.first().and_then(Certificate::read);
        let certificate =
            certificate.ok_or_else(|| unusable("cert", cert, "it cannot be read as X.509"))?;
        // The PEM reader's own words may quote the text, and that is a secret.
        let secret = PrivateKeyDer::from_pem_slice(key.text.as_bytes())
            .map_err(|_| unusable("key", key, "there is no private key in it"))?;
        let provider = provider();
        CertifiedKey::from_der(chain.clone(), secret.clone_key(), &provider)
            .map_err(|_| unusable("key", key, "it is not the key of the certificate"))?;
        let crls = match crl {
            Some(crl) => revocations(crl)?,
            None => Vec::new(),
        };
        let roots = Arc::new(roots);
        let versions = if *allows_tls_1_2 { BOTH } else { NEWEST };
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .with_crls(crls.clone())
            // A list that tells nothing of an intermediate's issuer does not condemn it.
            .allow_unknown_revocation_status()
            .build()
            .map_err(|error| {
                let (field, pem) = crl.as_ref().map_or(("ca", ca), |crl| ("crl", crl));
                unusable(field, pem, error)
            })?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| unusable("cert", cert, error))?
            .with_client_cert_verifier(clients.clone())
            .with_single_cert(chain.clone(), secret.clone_key())
            .map_err(|error| unusable("key", key, error))?;
        // A resumed session would not be judged again: every connection shows its certificate.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let name = |pem: &Pem| pem.name.clone();
        Ok(Current {
            names: Names {
                ca: name(ca),
                cert: name(cert),
                key: name(key),
                crl: crl.as_ref().map(name),
            },
            roots,
            chain,
            key: secret,
            crls,
            certificate,
            versions,
            server: Arc::new(server),
            clients,
        })
    }

    fn client(&self, expected: Option<&str>) -> Result<ClientConfig, Error> {
        let provider = provider();
        let builder =
            WebPkiServerVerifier::builder_with_provider(self.roots.clone(), provider.clone())
                .with_crls(self.crls.clone())
                .allow_unknown_revocation_status();
        let chain = builder.build().map_err(|error| Error::General(error.to_string()))?;
        let verifier = Verifier { chain, expected: expected.map(str::to_owned) };
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        client.resumption = Resumption::disabled();
        Ok(client)
    }
}

fn certificates(key: &'static str, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.text.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(unusable(key, pem, "there is no certificate in it")),
        Err(error) => Err(unusable(key, pem, format!("it is not PEM: {error:?}"))),
    }
}

fn revocations(pem: &Pem) -> Result<Vec<CertificateRevocationListDer<'static>>, Unusable> {
    let found: Result<Vec<_>, _> =
        CertificateRevocationListDer::pem_slice_iter(pem.text.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(unusable("crl", pem, "there is no revocation list in it")),
        Err(error) => Err(unusable("crl", pem, format!("it is not PEM: {error:?}"))),
    }
}

fn unusable(key: &'static str, pem: &Pem, reason: impl fmt::Display) -> Unusable {
    Unusable { key, reason: format!("`{}` cannot be used: {reason}", pem.name) }
}
