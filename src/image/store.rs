//! What is kept of images, in the state directory:
//!
//! | file | is |
//! | --- | --- |
//! | `index.json` | which images there are, and by which names |
//! | `lock` | held by who changes the index |
//! | `blobs/DIGEST` | configurations and manifests, as they came |
//! | `layers/NAME` | a layer, unpacked: a directory of an overlayfs |
//! | `layers/NAME.json` | which one it is, and its size |
//! | `layers/NAME.part` | one that is being unpacked or removed |
//! | `layers/NAME.lock` | held by who brings or is about to need it |
//! | `claims/HOLDER` | the image that somebody runs from |
//!
//! Whatever gets its name here is whole: it is written aside, synced and renamed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::config::{Document, ImageConfig};
use super::error::ImageError;
use super::hash::Hash;
use super::index::{self, Index};
use crate::intent::reference::{Digest, Reference};
use crate::killpoint;
use crate::random;
use crate::state_dir::StateDir;

/// How many of a digest's digits name a layer's directory: so few that all layers of the largest image
/// fit into the options of one mount, which are a page, when it is made from within `layers`.
const NAME_DIGITS: usize = 24;

/// The images of one state directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// What a task can be made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    pub id: Digest,
    /// The lower directories of an overlayfs, the topmost first; at least one. All of an image with layers
    /// are in [`Store::layers_dir`]; that of a `rootfs:` is the operator's own.
    pub lower_dirs: Vec<PathBuf>,
    pub config: ImageConfig,
}

/// What is known of a layer that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LayerRecord {
    pub diff_id: Digest,
    /// Unpacked, in bytes.
    pub size: u64,
}

impl Store {
    /// As it is, or would be.
    pub fn of(state: &StateDir) -> Self {
        Self { root: state.images() }
    }

    /// Makes what is missing of it.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn open(state: &StateDir) -> Result<Self, ImageError> {
        let store = Self::of(state);
        for directory in ["blobs", "layers", "claims"] {
            let path = store.root.join(directory);
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(ImageError::file("made", &path))?;
        }
        Ok(store)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where all layers are: a mount that is made from within takes names instead of paths.
    pub fn layers_dir(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// Which images there are.
    ///
    /// # Errors
    /// When what is written of them cannot be read.
    pub fn index(&self) -> Result<Index, ImageError> {
        let path = self.root.join("index.json");
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Index::default()),
            read => read.map_err(ImageError::file("read", &path))?,
        };
        let damaged =
            |reason: String| ImageError::Damaged { what: path.display().to_string(), reason };
        let index: Index =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        match index.version {
            index::VERSION => Ok(index),
            other => Err(damaged(format!("it is of form {other}, and {} is read", index::VERSION))),
        }
    }

    /// Changes the index, alone.
    pub(super) fn edit<T>(
        &self,
        edit: impl FnOnce(&mut Index) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let _alone = self.lock("lock")?;
        let mut index = self.index()?;
        let before = index.clone();
        let done = edit(&mut index)?;
        if index != before {
            let bytes = serde_json::to_vec(&index).map_err(|error| ImageError::Damaged {
                what: "the list of images".into(),
                reason: error.to_string(),
            })?;
            self.keep(&self.root.join("index.json"), &bytes)?;
        }
        Ok(done)
    }

    /// Waits until nobody else has a lock.
    pub(super) fn lock(&self, name: &str) -> Result<Flock<File>, ImageError> {
        let path = self.root.join(name);
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let file = file.map_err(ImageError::file("opened", &path))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| ImageError::file("locked", &path)(errno.into()))
    }

    /// Writes a file aside, syncs it and gives it its name. Under the lock: whatever is aside without it was
    /// left behind.
    pub(super) fn keep(&self, path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
        let aside = self.root.join(format!("part-{}", random::id(12)));
        let written = write_synced(&aside, bytes)
            .inspect(|()| killpoint::pass(|| "file written aside".into()))
            .and_then(|()| std::fs::rename(&aside, path))
            .and_then(|()| sync_directory(path.parent().unwrap_or(&self.root)));
        if written.is_err() {
            let _ = std::fs::remove_file(&aside);
        }
        written.map_err(ImageError::file("written", path))
    }

    /// The id of the image that has this name here.
    ///
    /// # Errors
    /// When what is written of images cannot be read.
    pub fn find(&self, reference: &Reference) -> Result<Option<Digest>, ImageError> {
        Ok(self.index()?.find(reference).cloned())
    }

    /// What tasks of an image are made from, by its id.
    ///
    /// # Errors
    /// When it is not here, or not whole any more.
    pub fn prepare(&self, id: &Digest) -> Result<Prepared, ImageError> {
        let index = self.index()?;
        let not_here = || ImageError::NotHere { reference: id.to_string() };
        let image = index.images.get(id).ok_or_else(not_here)?;
        if let Some(path) = &image.rootfs {
            let metadata = std::fs::metadata(path).map_err(ImageError::file("looked at", path))?;
            return match metadata.is_dir() {
                true => Ok(Prepared {
                    id: id.clone(),
                    lower_dirs: vec![path.clone()],
                    config: ImageConfig::default(),
                }),
                false => Err(ImageError::NoDirectory(path.clone())),
            };
        }
        let config = self.document(id)?.config;
        let layers = image.layers.iter().rev();
        let lower_dirs = layers.map(|layer| self.layer(layer)).collect::<Result<_, _>>()?;
        Ok(Prepared { id: id.clone(), lower_dirs, config })
    }

    /// The configuration of an image of layers, by its id.
    ///
    /// # Errors
    /// When it is not here or was changed.
    pub fn document(&self, id: &Digest) -> Result<Document, ImageError> {
        let damaged = |reason: String| ImageError::Damaged {
            what: format!("the configuration of image {}", id.short()),
            reason,
        };
        Document::parse(&self.blob(id)?).map_err(damaged)
    }

    /// Bytes that were kept under their digest.
    ///
    /// # Errors
    /// When they are not here or were changed.
    pub fn blob(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let path = self.blob_path(digest);
        let bytes = std::fs::read(&path).map_err(ImageError::file("read", &path))?;
        match Hash::is_of(digest, &bytes) {
            true => Ok(bytes),
            false => Err(ImageError::Damaged {
                what: path.display().to_string(),
                reason: "its digest is another".into(),
            }),
        }
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.as_str().replace(':', "-"))
    }

    /// The directory of a layer that is kept.
    pub(super) fn layer(&self, diff_id: &Digest) -> Result<PathBuf, ImageError> {
        match self.layer_record(diff_id)? {
            Some(_) => Ok(self.layer_path(diff_id)),
            None => Err(ImageError::NoLayer { layer: diff_id.clone() }),
        }
    }

    pub(super) fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        let name = diff_id.digits().get(..NAME_DIGITS).unwrap_or_default();
        self.layers_dir().join(name)
    }

    /// What is known of a layer; none of one that is not here. The record comes after the directory, and
    /// goes before it.
    pub(super) fn layer_record(&self, diff_id: &Digest) -> Result<Option<LayerRecord>, ImageError> {
        let path = self.layer_path(diff_id).with_extension("json");
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(ImageError::file("read", &path))?,
        };
        let damaged =
            |reason: String| ImageError::Damaged { what: path.display().to_string(), reason };
        let record: LayerRecord =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        match record.diff_id == *diff_id {
            true => Ok(Some(record)),
            false => Err(damaged(format!("it is of layer {}", record.diff_id))),
        }
    }

    /// Says that somebody, such as a task, runs from an image: it is neither removed nor pruned until that is
    /// taken back, whatever its names become. Claiming again is claiming another.
    ///
    /// # Errors
    /// When the image is not here, or what the file system answered.
    pub fn claim(&self, holder: &str, id: &Digest) -> Result<(), ImageError> {
        let _alone = self.lock("lock")?;
        if !self.index()?.images.contains_key(id) {
            return Err(ImageError::NotHere { reference: id.to_string() });
        }
        self.keep(&self.claim_path(holder), id.as_str().as_bytes())
    }

    /// Takes a claim back; one that is not there is no error.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn release(&self, holder: &str) -> Result<(), ImageError> {
        let path = self.claim_path(holder);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(ImageError::file("removed", &path)),
        }
    }

    /// Who holds which image, as holder and id.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn claims(&self) -> Result<Vec<(String, Digest)>, ImageError> {
        let directory = self.root.join("claims");
        let entries =
            std::fs::read_dir(&directory).map_err(ImageError::file("read", &directory))?;
        let mut claims = Vec::new();
        for entry in entries {
            let entry = entry.map_err(ImageError::file("read", &directory))?;
            // What is taken back meanwhile is no claim.
            let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
            if let (Ok(holder), Ok(id)) = (entry.file_name().into_string(), text.trim().parse()) {
                claims.push((holder, id));
            }
        }
        claims.sort();
        Ok(claims)
    }

    fn claim_path(&self, holder: &str) -> PathBuf {
        self.root.join("claims").join(holder.replace('/', "_"))
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// So that a name in it outlives a power cut.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::{PullOptions, Silent, sha256};
    use super::*;

    fn store(directory: &Path) -> Store {
        Store::open(&StateDir::new(directory).unwrap()).unwrap()
    }

    #[test]
    fn a_directory_is_an_image_of_one_layer_and_no_configuration() {
        let state = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        let store = store(state.path());
        let reference: Reference = format!("rootfs:{}", root.path().display()).parse().unwrap();
        assert_eq!(store.find(&reference).unwrap(), None);
        let id = store.pull(&reference, &PullOptions::default(), &Silent).unwrap();
        assert_eq!(store.find(&reference).unwrap(), Some(id.clone()));
        let prepared = store.prepare(&id).unwrap();
        assert_eq!(prepared.lower_dirs, [root.path()]);
        assert_eq!(prepared.config, ImageConfig::default());
        assert_eq!(store.pull(&reference, &PullOptions::default(), &Silent).unwrap(), id);
        std::fs::remove_dir(root.path()).unwrap();
        assert!(store.prepare(&id).is_err());
        assert!(store.pull(&reference, &PullOptions::default(), &Silent).is_err());
        std::fs::create_dir(root.path()).unwrap();
    }

    #[test]
    fn claims_are_of_images_that_are_here_and_last_until_they_are_taken_back() {
        let state = tempfile::tempdir().unwrap();
        let store = store(state.path());
        let reference: Reference = format!("rootfs:{}", state.path().display()).parse().unwrap();
        let id = store.pull(&reference, &PullOptions::default(), &Silent).unwrap();
        store.claim("web.1", &id).unwrap();
        store.claim("web.1", &id).unwrap();
        assert_eq!(store.claims().unwrap(), [("web.1".to_owned(), id)]);
        assert!(store.claim("web.2", &sha256(b"")).is_err());
        store.release("web.1").unwrap();
        store.release("web.1").unwrap();
        assert_eq!(store.claims().unwrap(), []);
    }
}
