//! Who a node is to others: certificates of the cluster's own authority.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, date_time_ymd,
};
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

use crate::intent::{ClusterId, NodeName};

/// The name that every node's certificate bears: which node it is, its fingerprint says.
pub const COMMON_NAME: &str = "node.swarmlb";

/// A key or certificate that cannot be made or read.
#[derive(Debug, Error)]
pub enum IdentityError {
    #[error("a certificate cannot be made: {0}")]
    Made(#[from] rcgen::Error),
    #[error("it is no public key of ECDSA over P-256")]
    PublicKey,
    #[error("a certificate cannot be read: {0}")]
    Read(#[from] rustls::pki_types::pem::Error),
    #[error("certificates do not serve TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// What signs the certificates of a cluster's nodes. Its key stays on the node that made it.
#[derive(Debug)]
pub struct Authority {
    cluster: ClusterId,
    key: KeyPair,
}

impl Authority {
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new(cluster: &ClusterId) -> Result<Self, IdentityError> {
        Ok(Self { cluster: cluster.clone(), key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)? })
    }

    /// The one whose key was kept.
    ///
    /// # Errors
    /// When that is no key.
    pub fn of(cluster: &ClusterId, key: &str) -> Result<Self, IdentityError> {
        Ok(Self { cluster: cluster.clone(), key: KeyPair::from_pem(key)? })
    }

    /// Its private key, to be kept. PEM.
    pub fn key(&self) -> String {
        self.key.serialize_pem()
    }

    fn params(&self) -> Result<CertificateParams, IdentityError> {
        let mut params = timeless(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, format!("swarmlb {}", self.cluster));
        Ok(params)
    }

    /// Its certificate, PEM. Each is another; the first one is kept.
    ///
    /// # Errors
    /// When signing fails.
    pub fn certificate(&self) -> Result<String, IdentityError> {
        Ok(self.params()?.self_signed(&self.key)?.pem())
    }

    /// A certificate, PEM, for whoever has the key whose public half this is: hexadecimal, as
    /// `node_key` gives it.
    ///
    /// # Errors
    /// When that is no public key.
    pub fn sign(&self, node: &NodeName, public_key: &str) -> Result<String, IdentityError> {
        let mut params = timeless(vec![COMMON_NAME.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, node.as_str());
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let public_key = PublicKey::read(public_key).ok_or(IdentityError::PublicKey)?;
        let issuer = Issuer::new(self.params()?, &self.key);
        Ok(params.signed_by(&public_key, &issuer)?.pem())
    }
}

/// What is valid whatever a clock says, one that begins in 1970 at each start too: a certificate ends
/// when its node leaves the intent. The last year is RFC 5280's for what has no end.
fn timeless(names: Vec<String>) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::new(names)?;
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    Ok(params)
}

/// The public half of a node's key.
struct PublicKey(Vec<u8>);

impl PublicKey {
    /// A point of P-256 that is not compressed: 4 and its two coordinates.
    fn read(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Vec<u8> = digits.map(byte).collect::<Option<_>>()?;
        (bytes.len() == 65 && bytes.first() == Some(&4)).then_some(Self(bytes))
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A node's own key, PEM, and its public half, hexadecimal.
///
/// # Errors
/// When the system gives no random bytes.
pub fn node_key() -> Result<(String, String), IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    Ok((key.serialize_pem(), hexadecimal(key.public_key_raw())))
}

/// The SHA-256 of a certificate, 64 hexadecimal digits.
///
/// # Errors
/// When that is no certificate.
pub fn fingerprint(pem: &str) -> Result<String, IdentityError> {
    Ok(fingerprint_of(&CertificateDer::from_pem_slice(pem.as_bytes())?))
}

/// The same of one that was shown.
pub fn fingerprint_of(certificate: &CertificateDer<'_>) -> String {
    hexadecimal(digest(&SHA256, certificate.as_ref()).as_ref())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    #[test]
    fn an_authority_signs_with_the_key_that_was_kept() {
        let cluster = ClusterId("c1".into());
        let made = Authority::new(&cluster).unwrap();
        let again = Authority::of(&cluster, &made.key()).unwrap();
        let (_, public) = node_key().unwrap();
        let node: NodeName = "node-2".parse().unwrap();
        let signed = again.sign(&node, &public).unwrap();
        let other = made.sign(&node, &public).unwrap();
        assert_eq!(fingerprint(&signed).unwrap().len(), 64);
        assert_ne!(fingerprint(&signed).unwrap(), fingerprint(&other).unwrap());
    }

    #[test]
    fn certificates_hold_whatever_the_clock_says() {
        let authority = Authority::new(&ClusterId("c1".into())).unwrap();
        let (_, public) = node_key().unwrap();
        let certificate = authority.sign(&"node-2".parse().unwrap(), &public).unwrap();
        let shown = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        let own = authority.certificate().unwrap();
        roots.add(CertificateDer::from_pem_slice(own.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().unwrap();
        let name = ServerName::try_from(COMMON_NAME).unwrap();
        for seconds in [0, 1_900_000_000, 200_000_000_000] {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            verifier.verify_server_cert(&shown, &[], &name, &[], now).unwrap();
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let cluster = ClusterId("c1".into());
        assert!(Authority::of(&cluster, "nothing").is_err());
        let authority = Authority::new(&cluster).unwrap();
        assert!(authority.sign(&"n".parse().unwrap(), "nothing").is_err());
    }
}
