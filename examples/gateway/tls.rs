//! TLS for client connections, and what it shares with TLS to upstreams.

use std::fmt::{self, Display};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::config::model::Tls;

/// A certificate or key that cannot be used.
#[derive(Debug)]
pub(crate) struct Unusable(String);

/// A TLS configuration for HTTP/2 and HTTP/1.1. With a client authority, a client needs a
/// certificate that this authority issued.
pub(crate) fn server(tls: &Tls) -> Result<Arc<ServerConfig>, Unusable> {
    let chain = certificates(&tls.cert.content)?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key.content).map_err(Unusable::new)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Unusable::new)?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(roots(&ca.content)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(Unusable::new)?)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(Unusable::new)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Trusted root certificates, from PEM.
pub(crate) fn roots(pem: &[u8]) -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(Unusable::new)?;
    }
    Ok(roots)
}

/// One or more certificates, from PEM.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(Unusable::new("it contains no certificate"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(Unusable::new(error)),
    }
}

/// Always chosen explicitly: another crate may have installed a different process default.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

// === impl Unusable ===

impl Unusable {
    pub(crate) fn new(error: impl Display) -> Self {
        Self(error.to_string())
    }
}

impl Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid TLS configuration: {}", self.0)
    }
}

impl std::error::Error for Unusable {}
