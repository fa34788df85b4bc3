//! Where images come from. A source says what an image is made of, and gives the bytes of its layers; it
//! keeps nothing.

mod archive;
mod docker_archive;
mod layout;
mod registry;

use std::io::Read;
use std::path::Path;

use super::error::ImageError;
use super::hash::Hash;
use super::layer::Promise;
use super::manifest::{Descriptor, Manifest, choose};
use super::platform::Platform;
use super::pull::PullOptions;
use crate::intent::reference::{Digest, Reference};

pub use archive::Archive;
pub use docker_archive::DockerArchive;
pub use layout::Layout;
pub use registry::Registry;

/// Most levels of indexes in indexes.
const MOST_LEVELS: usize = 4;
/// Largest manifest or configuration, in bytes, as registries have it.
pub const LARGEST_DOCUMENT: u64 = 4 << 20;

/// An image as a source has it.
#[derive(Debug)]
pub struct Offered {
    /// What the source calls it by: the digest of its manifest, or of the list of manifests by platform.
    pub digest: Option<Digest>,
    pub manifest: Option<Vec<u8>>,
    pub config: Vec<u8>,
    pub layers: Vec<OfferedLayer>,
}

/// A layer of it.
#[derive(Debug, Clone)]
pub struct OfferedLayer {
    /// What was promised of its bytes as they come.
    pub promise: Promise,
    pub place: Place,
}

/// Where its bytes are.
#[derive(Debug, Clone)]
pub enum Place {
    Blob(Digest),
    /// A file of an archive.
    Member(String),
}

/// Tells how many bytes of a layer came, and when a source had to begin again from somewhere.
pub trait Told: Send + Sync {
    fn resumed(&self, at: u64);
}

pub type Bytes<'a> = Box<dyn Read + Send + 'a>;

/// Somewhere that has images.
pub trait Source: Sync {
    /// The image that was asked for.
    ///
    /// # Errors
    /// When it has none, or none for that platform.
    fn find(&self, platform: &Platform) -> Result<Offered, ImageError>;

    /// The bytes of a layer as they come.
    ///
    /// # Errors
    /// When it does not have it.
    fn open<'a>(
        &'a self,
        layer: &OfferedLayer,
        told: &'a dyn Told,
    ) -> Result<Bytes<'a>, ImageError>;
}

/// The source of a reference.
///
/// # Errors
/// When there is nothing, or it is not what it should be.
pub fn open(
    reference: &Reference,
    options: &PullOptions,
    scratch: &Path,
) -> Result<Box<dyn Source>, ImageError> {
    let limit = options.limits.bytes;
    Ok(match reference {
        Reference::OciDirectory(held) => Box::new(Layout::of_directory(held)),
        Reference::OciArchive(held) => Box::new(Layout::of_archive(held, scratch, limit)?),
        Reference::DockerArchive(held) => Box::new(DockerArchive::open(held, scratch, limit)?),
        Reference::Registry(named) => Box::new(Registry::connect(named, options)?),
        Reference::Rootfs(path) => return Err(ImageError::NoDirectory(path.clone())),
    })
}

/// Something that keeps bytes by their digest.
pub trait Blobs {
    /// What it is, for errors: `/srv/web`.
    fn place(&self) -> String;

    /// A manifest.
    ///
    /// # Errors
    /// When it is not there.
    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, ImageError>;

    /// A configuration.
    ///
    /// # Errors
    /// When it is not there.
    fn document(&self, digest: &Digest) -> Result<Vec<u8>, ImageError>;
}

/// Bytes that were asked for by digest, when they have it.
pub fn verified(place: &str, digest: &Digest, bytes: Vec<u8>) -> Result<Vec<u8>, ImageError> {
    match Hash::is_of(digest, &bytes) {
        true => Ok(bytes),
        false => Err(ImageError::Damaged {
            what: format!("{digest} of {place}"),
            reason: "its digest is another".into(),
        }),
    }
}

/// Follows a manifest to the image for a platform.
pub fn offered(
    blobs: &impl Blobs,
    digest: Digest,
    manifest: Vec<u8>,
    platform: &Platform,
) -> Result<Offered, ImageError> {
    let no_image = |reason: String| ImageError::NoImage { place: blobs.place(), reason };
    let mut bytes = manifest;
    for _ in 0..MOST_LEVELS {
        let (config, layers) = match Manifest::parse(&bytes).map_err(no_image)? {
            Manifest::Index(manifests) => {
                let chosen = choose(&manifests, platform)
                    .map_err(|there| ImageError::Platform { wanted: platform.clone(), there })?;
                bytes = blobs.manifest(&chosen.digest)?;
                continue;
            }
            Manifest::Image { config, layers } => (config, layers),
        };
        return Ok(Offered {
            digest: Some(digest),
            config: blobs.document(&config.digest)?,
            manifest: Some(bytes),
            layers: layers.into_iter().map(OfferedLayer::of).collect(),
        });
    }
    Err(no_image("has indexes in indexes, and no image".into()))
}

impl OfferedLayer {
    fn of(descriptor: Descriptor) -> Self {
        Self {
            promise: Promise {
                digest: Some(descriptor.digest.clone()),
                size: Some(descriptor.size),
            },
            place: Place::Blob(descriptor.digest),
        }
    }
}
