//! TLS as both sides of a connection between nodes set it up.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring::default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    ServerConfig, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Membership;
use super::identity::{COMMON_NAME, IdentityError, fingerprint_of};

/// How long a connection may take to stand, and how long what was sent may go unacknowledged: a
/// cable that was pulled is known by then. It is less than a node's lease.
const PATIENCE: Duration = Duration::from_secs(2);

fn certificate(pem: &str) -> Result<CertificateDer<'static>, IdentityError> {
    Ok(CertificateDer::from_pem_slice(pem.as_bytes())?)
}

fn roots(authority: CertificateDer<'static>) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority)?;
    Ok(Arc::new(roots))
}

fn own(
    membership: &Membership,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), IdentityError> {
    // The authority's goes along: who joins knows that one's fingerprint, and nothing else.
    let chain = vec![certificate(&membership.certificate)?, certificate(&membership.authority)?];
    Ok((chain, PrivateKeyDer::from_pem_slice(membership.key.as_bytes())?))
}

/// How a node listens: who shows a certificate shows one of this cluster; who shows none may join.
pub fn server(membership: &Membership) -> Result<Arc<ServerConfig>, IdentityError> {
    let provider = Arc::new(default_provider());
    let roots = roots(certificate(&membership.authority)?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
    let (chain, key) = own(membership)?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

/// How a node reaches another one of its cluster.
pub fn member(membership: &Membership) -> Result<Arc<ClientConfig>, IdentityError> {
    let (chain, key) = own(membership)?;
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(certificate(&membership.authority)?)?)
        .with_client_auth_cert(chain, key)?;
    Ok(Arc::new(config))
}

/// How one that would join reaches the cluster whose authority has this fingerprint.
pub fn stranger(authority: &str) -> Result<Arc<ClientConfig>, IdentityError> {
    let provider = Arc::new(default_provider());
    let pinned = Pinned { authority: authority.to_owned(), provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The other side is not of the cluster that was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its authority is not the token's")]
pub struct OtherCluster;

/// Trusts whom the authority with one fingerprint signed.
#[derive(Debug)]
struct Pinned {
    authority: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = others.iter().find(|other| fingerprint_of(other) == self.authority);
        let authority = authority.ok_or_else(|| {
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(OtherCluster))))
        })?;
        let roots = roots(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(shown, others, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, shown, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, shown, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Connects to a node.
///
/// # Errors
/// When nobody answers there in time, or it is not whom `config` trusts.
pub async fn connect(
    config: Arc<ClientConfig>,
    to: SocketAddr,
) -> io::Result<TlsStream<TcpStream>> {
    let connected = tokio::time::timeout(PATIENCE, async {
        let stream = TcpStream::connect(to).await?;
        notice_silence(&stream)?;
        let name = ServerName::try_from(COMMON_NAME).map_err(io::Error::other)?;
        TlsConnector::from(config).connect(name, stream).await
    });
    connected.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A peer that is cut off says nothing: its silence is noticed, though nothing is sent.
pub fn notice_silence(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &1)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &1)?;
    setsockopt(stream, sockopt::TcpKeepCount, &2)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &(PATIENCE.as_millis() as u32))?;
    Ok(())
}
