//! Bringing an image here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::ImageError;
use super::index::{Image, Name};
use super::platform::Platform;
use super::sha256;
use super::store::Store;
use crate::clock;
use crate::intent::reference::{Digest, Reference};

/// How an image shall be brought.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// Registries, as HOST or HOST:PORT, that may be asked without TLS, or with certificates that
    /// nobody vouches for. Those on this machine's loopback always may.
    pub insecure: Vec<String>,
    /// Docker's file of credentials, `config.json`; none asks without.
    pub credentials: Option<PathBuf>,
    /// For what it shall be built.
    pub platform: Platform,
    pub limits: Limits,
    /// How long a registry may say nothing before it is asked again.
    pub patience: Duration,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            credentials: None,
            platform: Platform::here(),
            limits: Limits::default(),
            patience: Duration::from_secs(30),
        }
    }
}

/// What an image may be at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All its layers unpacked, in bytes.
    pub bytes: u64,
    /// The files, directories and links of one layer.
    pub files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 30, files: 4_000_000 }
    }
}

/// What happens while an image is brought, for who looks on. Layers are done on several threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The image is known: what its layers are called, and what there is to bring of each, in bytes.
    Resolved { layers: Vec<(Digest, u64)> },
    /// It was here before; nothing is brought.
    Present,
    /// The layer of that place is here already.
    LayerPresent(usize),
    /// Somebody else brings this layer; it is waited for.
    LayerAwaited(usize),
    /// So many more bytes of it came.
    LayerBytes(usize, u64),
    /// The registry broke off, and is asked again from there on.
    LayerResumed(usize, u64),
    /// The layer is kept.
    LayerDone(usize),
}

/// Who looks on.
pub trait Progress: Sync {
    fn tell(&self, event: Event);
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn tell(&self, _: Event) {}
}

impl Store {
    /// Brings an image here, or as much of it as is missing, under its name. Where a name was here before and
    /// stands for another image now, it is that one's. Several may do so at once; each layer is brought once.
    ///
    /// # Errors
    /// Why it is not here. Nothing half is left; layers that are whole stay, for the next time.
    pub fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Digest, ImageError> {
        let _ = (options, progress);
        match reference {
            Reference::Rootfs(path) => self.keep_rootfs(reference, path),
            _ => Err(ImageError::NotYet { reference: reference.clone() }),
        }
    }

    /// Notes a directory as an image. It stays where it is.
    fn keep_rootfs(&self, reference: &Reference, path: &Path) -> Result<Digest, ImageError> {
        let metadata = std::fs::metadata(path).map_err(ImageError::file("looked at", path))?;
        if !metadata.is_dir() {
            return Err(ImageError::NoDirectory(path.to_owned()));
        }
        let id = sha256(reference.to_string().as_bytes());
        let image = Image {
            layers: Vec::new(),
            size: 0,
            created: None,
            pulled: clock::millis(),
            rootfs: Some(path.to_owned()),
        };
        self.edit(|index| {
            index.images.entry(id.clone()).or_insert(image);
            index.names.insert(reference.clone(), Name { id: id.clone(), digest: None });
            Ok(())
        })?;
        Ok(id)
    }
}
