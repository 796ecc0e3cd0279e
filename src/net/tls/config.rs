//! What is set for many connections: whom a client trusts, and who a server is. From PEM in memory; reading the files is
//! the caller's.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};

use super::certificate::Certificate;
use crate::limits::TLS_TICKETS;

/// Whom a client believes that a server is who it says.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'a> {
    /// The authorities that the system trusts.
    System,
    /// The authorities, or the very certificates, of a PEM file with these contents.
    File(&'a [u8]),
    /// Nobody is asked: every certificate is taken. Keeps out those who listen, not those who pose as the server.
    Nobody,
}

/// Whether a client goes on from earlier sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumption {
    /// Where the server allows it.
    On,
    /// Never: every handshake is a full one.
    Off,
}

/// What all TLS connections of a client share.
#[derive(Debug, Clone)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
}

/// What all TLS connections of a server share.
#[derive(Debug, Clone)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    /// See [`Tls::server_end_point`](super::Tls::server_end_point).
    pub(super) end_point: Option<Arc<[u8]>>,
    pub(super) certificate: Certificate,
}

/// Who a server must be, by its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerName {
    pub(super) name: rustls::pki_types::ServerName<'static>,
}

impl ServerName {
    /// Of a host: a domain in A-labels, or an IP address without brackets. None for what is neither.
    pub fn new(host: &str) -> Option<ServerName> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let name = rustls::pki_types::ServerName::try_from(host.to_owned()).ok()?;
        Some(ServerName { name })
    }
}

impl ClientTls {
    /// For clients that trust as said. [`Trust::System`] reads the system's certificates, some 200 KiB of files.
    pub fn new(trust: Trust<'_>, resumption: Resumption) -> Result<ClientTls, TlsConfigError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions()?;
        let builder = match trust {
            Trust::System => builder.with_root_certificates(system_authorities()?),
            Trust::File(pem) => {
                let verifier = Named::new(certificates(pem)?, Arc::clone(&provider))?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
            Trust::Nobody => {
                let verifier = AnyCertificate { algorithms: provider.signature_verification_algorithms };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let mut config = builder.with_no_client_auth();
        if resumption == Resumption::Off {
            config.resumption = rustls::client::Resumption::disabled();
        }
        Ok(ClientTls { config: Arc::new(config) })
    }
}

impl ServerTls {
    /// Of a server with this chain of certificates, its own first, and the key of its own, each the contents of a PEM
    /// file. Sessions are resumed by tickets, whose keys live six hours and are known here alone: none of a server before.
    pub fn new(chain: &[u8], key: &[u8]) -> Result<ServerTls, TlsConfigError> {
        let chain = certificates(chain)?;
        let certificate = Certificate::of(&chain[0])?;
        let key = private_key(key)?;
        let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TLS_TICKETS;
        let end_point = certificate.end_point.as_deref().map(Arc::from);
        Ok(ServerTls { config: Arc::new(config), end_point, certificate })
    }

    /// What its certificate says.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub enum TlsConfigError {
    /// No certificate in what should be PEM.
    NoCertificate,
    /// What looks like PEM is not.
    Pem,
    /// No private key in what should be PEM.
    NoKey,
    /// A private key that a passphrase protects.
    ProtectedKey,
    /// The key is another certificate's.
    OtherKey,
    /// What should be a certificate is none.
    NoX509,
    /// The system has no certificates of authorities where they usually are.
    NoSystemAuthorities,
    /// A certificate or key that cannot be used, or the two do not belong together.
    Unusable(rustls::Error),
}

impl From<rustls::Error> for TlsConfigError {
    fn from(error: rustls::Error) -> TlsConfigError {
        use rustls::{Error, InconsistentKeys::KeyMismatch};
        match error {
            Error::InconsistentKeys(KeyMismatch) => TlsConfigError::OtherKey,
            error => TlsConfigError::Unusable(error),
        }
    }
}

impl fmt::Display for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsConfigError::NoCertificate => f.write_str("no certificate (BEGIN CERTIFICATE) in it"),
            TlsConfigError::Pem => f.write_str("it is not PEM as it should be (RFC 7468)"),
            TlsConfigError::NoKey => f.write_str("no private key (BEGIN PRIVATE KEY) in it"),
            TlsConfigError::ProtectedKey => f.write_str(
                "a passphrase protects the private key; store it without one, like 'openssl pkey -in KEY -out FILE'",
            ),
            TlsConfigError::OtherKey => f.write_str("key and certificate do not belong together"),
            TlsConfigError::NoX509 => f.write_str("what stands in it as a certificate is none (RFC 5280)"),
            TlsConfigError::NoSystemAuthorities => f.write_str(
                "the system has no certificates of authorities; install ca-certificates, or name a file of them",
            ),
            TlsConfigError::Unusable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TlsConfigError {}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
    let is_protected = |mark: &[u8]| pem.windows(mark.len()).any(|octets| octets == mark);
    match PrivateKeyDer::from_pem_slice(pem) {
        _ if is_protected(b"BEGIN ENCRYPTED PRIVATE KEY") || is_protected(b"Proc-Type: 4,ENCRYPTED") => {
            Err(TlsConfigError::ProtectedKey)
        }
        key => key.map_err(|_| TlsConfigError::NoKey),
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|_| TlsConfigError::Pem)?;
    if certificates.is_empty() { Err(TlsConfigError::NoCertificate) } else { Ok(certificates) }
}

/// What cannot be read among the system's is passed over: that is not our user's to mend.
fn system_authorities() -> Result<RootCertStore, TlsConfigError> {
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 { Err(TlsConfigError::NoSystemAuthorities) } else { Ok(store) }
}

/// Takes certificates of the authorities that were named, and those that were named themselves.
#[derive(Debug)]
struct Named {
    certificates: Vec<CertificateDer<'static>>,
    authorities: Arc<WebPkiServerVerifier>,
}

impl Named {
    fn new(
        certificates: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Named, rustls::Error> {
        let mut store = RootCertStore::empty();
        certificates.iter().try_for_each(|certificate| store.add(certificate.clone()))?;
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build();
        let authorities = authorities.map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(Named { certificates, authorities })
    }
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &rustls::pki_types::ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // That an authority's own certificate is a server's too: what `openssl req -x509` makes. Whether it is
            // expired was looked at before.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if self.certificates.contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Takes every certificate. That the server has its key is still checked, so that the session is with whoever showed it.
#[derive(Debug)]
struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &rustls::pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
