//! A registry, by the OCI distribution specification, which is Docker's registry API v2.

mod blob;
mod challenge;
mod connection;
mod credentials;
mod trust;

use super::super::error::ImageError;
use super::super::manifest::MANIFESTS;
use super::super::platform::Platform;
use super::super::pull::PullOptions;
use super::{
    Blobs, Bytes, LARGEST_DOCUMENT, Offered, OfferedLayer, Place, Source, Told, offered, verified,
};
use crate::image::sha256;
use crate::intent::reference::{Digest, Named};

use blob::Blob;
use connection::Connection;

/// An image's repository in a registry.
#[derive(Debug)]
pub struct Registry {
    named: Named,
    connection: Connection,
}

impl Registry {
    /// Finds out how the registry is spoken to.
    ///
    /// # Errors
    /// When it does not answer, or the credentials for it cannot be read.
    pub fn connect(named: &Named, options: &PullOptions) -> Result<Self, ImageError> {
        let connection = Connection::open(named, options)?;
        Ok(Self { named: named.clone(), connection })
    }

    fn get(&self, kind: &str, which: &str, accept: &str) -> Result<Vec<u8>, ImageError> {
        let path = format!("{}/{kind}/{which}", self.named.repository);
        let wanted = || match kind {
            "manifests" if which.contains(':') => {
                format!("image `{}@{which}`", self.named.repository)
            }
            "manifests" => format!("image `{}:{which}`", self.named.repository),
            _ => format!("blob {which} of {}", self.named.repository),
        };
        let answer = self.connection.get_patiently(&path, &[("Accept", accept)])?;
        let bytes = self.connection.document(answer, LARGEST_DOCUMENT, &wanted())?;
        Ok(bytes)
    }

    /// What it calls the image by now: the digest of its manifest, or of the list of manifests by platform.
    ///
    /// # Errors
    /// When it does not have it, or not for who asks.
    pub fn digest(&self) -> Result<Digest, ImageError> {
        match (&self.named.digest, &self.named.tag) {
            (Some(digest), _) => Ok(digest.clone()),
            (None, tag) => Ok(sha256(&self.manifest_of(tag.as_deref().unwrap_or_default())?)),
        }
    }

    fn manifest_of(&self, which: &str) -> Result<Vec<u8>, ImageError> {
        self.get("manifests", which, &MANIFESTS.join(", "))
    }
}

impl Blobs for Registry {
    fn place(&self) -> String {
        self.named.to_string()
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        verified(&self.place(), digest, self.manifest_of(digest.as_str())?)
    }

    fn document(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        verified(&self.place(), digest, self.get("blobs", digest.as_str(), "*/*")?)
    }
}

impl Source for Registry {
    fn find(&self, platform: &Platform) -> Result<Offered, ImageError> {
        let (digest, manifest) = match (&self.named.digest, &self.named.tag) {
            (Some(digest), _) => (digest.clone(), self.manifest(digest)?),
            (None, tag) => {
                let manifest = self.manifest_of(tag.as_deref().unwrap_or_default())?;
                (sha256(&manifest), manifest)
            }
        };
        offered(self, digest, manifest, platform)
    }

    fn open<'a>(
        &'a self,
        layer: &OfferedLayer,
        told: &'a dyn Told,
    ) -> Result<Bytes<'a>, ImageError> {
        let Place::Blob(digest) = &layer.place else {
            return Err(ImageError::NotHere { reference: self.place() });
        };
        let path = format!("{}/blobs/{digest}", self.named.repository);
        let size = layer.promise.size.unwrap_or(u64::MAX);
        Ok(Box::new(Blob::new(&self.connection, path, size, told)))
    }
}
