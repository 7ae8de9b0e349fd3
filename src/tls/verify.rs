//! The judgement on the certificate of a peer that we dialled.

use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme,
};

use super::NameMismatch;
use super::certificate::Certificate;

/// Chain, validity and revocation as rustls judges them; the name as Diameter wants it.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) chain: Arc<WebPkiServerVerifier>,
    /// The DiameterIdentity that was meant; `None`: any that the CA vouches for.
    pub(super) expected: Option<String>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = Certificate::read(end_entity)
            .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let mismatch = || {
            let Certificate { names, .. } = certificate.clone();
            let mismatch = NameMismatch { expected: self.expected.clone(), names };
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(mismatch))))
        };
        // The chain's judge wants a name too: one of the certificate's own, so that what it finds
        // is about the chain. Without one the certificate proves no DiameterIdentity.
        let own =
            certificate.names.iter().find_map(|name| ServerName::try_from(name.as_str()).ok());
        let own = own.ok_or_else(mismatch)?;
        let verified =
            self.chain.verify_server_cert(end_entity, intermediates, &own, ocsp_response, now)?;
        match &self.expected {
            Some(expected) if !certificate.names(expected) => Err(mismatch()),
            _ => Ok(verified),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
