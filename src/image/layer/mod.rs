//! Layers: a compressed archive becomes a directory of an overlayfs, whole or not at all.
//!
//! While a layer is brought, its lock is held alone; who uses it for an image that is not noted yet
//! holds it with others. So each is brought once, and none is taken away from who is about to need it.

mod entries;
mod root;
mod stream;
mod unpack;

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::{ImageError, LayerFault};
use super::removal;
use super::store::{LayerRecord, Store, sync_directory};
use crate::intent::reference::Digest;
use crate::killpoint;

pub(super) use entries::{Entries, Kind};
pub(super) use stream::{Budget, Promise};

/// How long to wait where others only look whether a layer is here.
const MOMENT: Duration = Duration::from_millis(5);

/// A layer that stays here as long as this is held.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "what it does is to be held")] Flock<File>);

/// What there is of a layer.
#[derive(Debug)]
pub(super) enum Found {
    Here(Held),
    /// It is to be brought by who has this.
    Missing(Flock<File>),
}

impl Store {
    /// Looks whether a layer is here. Where somebody else brings it, `awaited` is told, and that one is
    /// waited for.
    pub(super) fn find_layer(
        &self,
        diff_id: &Digest,
        awaited: impl Fn(),
    ) -> Result<Found, ImageError> {
        loop {
            let shared = match self.lock_layer(diff_id, FlockArg::LockSharedNonblock)? {
                Some(lock) => lock,
                None => {
                    awaited();
                    match self.lock_layer(diff_id, FlockArg::LockShared)? {
                        Some(lock) => lock,
                        None => continue,
                    }
                }
            };
            if self.layer_record(diff_id)?.is_some() {
                return Ok(Found::Here(Held(shared)));
            }
            drop(shared);
            if let Some(alone) = self.lock_layer(diff_id, FlockArg::LockExclusiveNonblock)? {
                // Somebody may have been quicker, and have brought it.
                match self.layer_record(diff_id)? {
                    None => return Ok(Found::Missing(alone)),
                    Some(_) => drop(alone),
                }
            }
            std::thread::sleep(MOMENT);
        }
    }

    /// A layer's lock; none when others hold it.
    fn lock_layer(
        &self,
        diff_id: &Digest,
        how: FlockArg,
    ) -> Result<Option<Flock<File>>, ImageError> {
        let path = self.layer_path(diff_id).with_extension("lock");
        lock_file(&path, how).map_err(ImageError::file("locked", &path))
    }

    /// Brings a layer that is missing.
    pub(super) fn bring_layer(
        &self,
        alone: Flock<File>,
        layer: &Incoming<'_>,
        bytes: impl Read + Send,
    ) -> Result<Held, ImageError> {
        let path = self.layer_path(layer.diff_id);
        let part = path.with_extension("part");
        for left in [&part, &path] {
            removal::tree(left).map_err(ImageError::file("removed", left))?;
        }
        let brought = self.unpacked(layer, bytes, &part).and_then(|size| {
            killpoint::pass(|| "layer unpacked".into());
            let named = sync_all(&part)
                .and_then(|()| std::fs::rename(&part, &path))
                .and_then(|()| sync_directory(&self.layers_dir()));
            named.map_err(ImageError::file("kept", &path))?;
            killpoint::pass(|| "layer named".into());
            self.record_layer(&LayerRecord { diff_id: layer.diff_id.clone(), size })
        });
        if let Err(error) = brought {
            let _ = removal::tree(&part);
            return Err(error);
        }
        let shared = alone.relock(FlockArg::LockShared);
        shared.map_err(|errno| ImageError::file("locked", &path)(errno.into()))?;
        Ok(Held(alone))
    }

    /// Unpacks it aside, on two threads. Returns the size of its files.
    fn unpacked(
        &self,
        layer: &Incoming<'_>,
        bytes: impl Read + Send,
        part: &Path,
    ) -> Result<u64, ImageError> {
        let made = std::fs::DirBuilder::new().mode(0o755).create(part);
        made.map_err(ImageError::file("made", part))?;
        // Whatever the caller's mask: it is the root of tasks.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(part, mode).map_err(ImageError::file("made", part))?;
        let (inlet, outlet) = stream::way();
        let unpacked = std::thread::scope(|both| {
            both.spawn(move || inlet.feed(bytes, layer.promise, layer.budget));
            let mut outlet = outlet.hashing(layer.diff_id);
            let mut entries = Entries::new(&mut outlet);
            let size = unpack::unpack(&mut entries, part, layer.files)?;
            entries.drain().map_err(LayerFault::read)?;
            match outlet.digest() {
                Some(found) if found != *layer.diff_id => Err(LayerFault::Promise {
                    what: "digest when unpacked",
                    found: found.to_string(),
                    wanted: layer.diff_id.to_string(),
                }),
                _ => Ok(size),
            }
        });
        unpacked.map_err(ImageError::layer(layer.diff_id))
    }

    fn record_layer(&self, record: &LayerRecord) -> Result<(), ImageError> {
        let path = self.layer_path(&record.diff_id).with_extension("json");
        let bytes = serde_json::to_vec(record).map_err(|error| ImageError::Damaged {
            what: "what is known of a layer".into(),
            reason: error.to_string(),
        })?;
        let _alone = self.lock("lock")?;
        self.keep(&path, &bytes)
    }

    /// Removes what is not needed, but for what somebody is about to need. Returns how many bytes of layers
    /// that were, unpacked.
    pub(super) fn collect(&self, what: Collected) -> Result<u64, ImageError> {
        let (mut freed, mut gone) = (0, Vec::new());
        {
            let _alone = self.lock("lock")?;
            let index = self.index()?;
            let of_images: Vec<PathBuf> =
                index.layers().into_iter().map(|layer| self.layer_path(layer)).collect();
            let is_needed = |stem: &PathBuf| match what {
                Collected::Unneeded => of_images.contains(stem),
                Collected::Unfinished => stem.with_extension("json").exists(),
            };
            self.clear_aside()?;
            for stem in self.layer_stems()? {
                let lock_path = stem.with_extension("lock");
                let lock = lock_file(&lock_path, FlockArg::LockExclusiveNonblock);
                let lock = lock.map_err(ImageError::file("locked", &lock_path))?;
                let Some(lock) = lock else { continue };
                if is_needed(&stem) {
                    gone.push((lock, stem.with_extension("part"), None));
                    continue;
                }
                freed += self.unname_layer(&stem)?;
                gone.push((lock, stem.with_extension("part"), Some(lock_path)));
            }
        }
        // What takes long is done when nobody waits for it.
        for (lock, part, lock_path) in gone {
            removal::tree(&part).map_err(ImageError::file("removed", &part))?;
            if let Some(path) = lock_path {
                let _ = std::fs::remove_file(path);
            }
            drop(lock);
        }
        Ok(freed)
    }

    /// Takes a layer's record and name away, and leaves it aside.
    fn unname_layer(&self, stem: &Path) -> Result<u64, ImageError> {
        let record = stem.with_extension("json");
        let size = std::fs::read(&record).ok().and_then(|bytes| {
            serde_json::from_slice::<LayerRecord>(&bytes).ok().map(|record| record.size)
        });
        missing_is_fine(std::fs::remove_file(&record))
            .map_err(ImageError::file("removed", &record))?;
        let part = stem.with_extension("part");
        removal::tree(&part).map_err(ImageError::file("removed", &part))?;
        missing_is_fine(std::fs::rename(stem, &part)).map_err(ImageError::file("removed", stem))?;
        Ok(size.unwrap_or_default())
    }

    /// The directories of all layers that there is something of.
    fn layer_stems(&self) -> Result<Vec<PathBuf>, ImageError> {
        let directory = self.layers_dir();
        let entries = std::fs::read_dir(&directory);
        let entries = entries.map_err(ImageError::file("read", &directory))?;
        let mut stems = Vec::new();
        for entry in entries {
            let entry = entry.map_err(ImageError::file("read", &directory))?;
            stems.push(entry.path().with_extension(""));
        }
        stems.sort();
        stems.dedup();
        Ok(stems)
    }

    /// Removes files that were being written when somebody was killed. Only under the lock: with it, nobody
    /// writes one.
    fn clear_aside(&self) -> Result<(), ImageError> {
        let root = self.root();
        for entry in std::fs::read_dir(root).map_err(ImageError::file("read", root))? {
            let entry = entry.map_err(ImageError::file("read", root))?;
            if entry.file_name().to_string_lossy().starts_with("part-") {
                missing_is_fine(std::fs::remove_file(entry.path()))
                    .map_err(ImageError::file("removed", &entry.path()))?;
            }
        }
        Ok(())
    }
}

/// What is collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collected {
    /// What whoever was killed left half done.
    Unfinished,
    /// That, and layers that no image has.
    Unneeded,
}

/// A layer to be brought, and what it may be.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    pub diff_id: &'a Digest,
    pub promise: &'a Promise,
    pub budget: &'a Budget,
    /// How many files it may have.
    pub files: u64,
}

/// Locks a file that may be removed by who holds it alone; none when it is locked otherwise.
fn lock_file(path: &Path, how: FlockArg) -> std::io::Result<Option<Flock<File>>> {
    loop {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let lock = match Flock::lock(file, how) {
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, Errno::EINTR)) => continue,
            lock => lock.map_err(|(_, errno)| errno)?,
        };
        let held = lock.metadata()?;
        match std::fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => {
                return Ok(Some(lock));
            }
            // It was removed before it was ours.
            _ => drop(lock),
        }
    }
}

/// Writes all of the file system that a directory is on.
fn sync_all(path: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}

fn missing_is_fine(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
