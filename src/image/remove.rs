//! Taking images away.

use std::collections::BTreeMap;

use super::error::ImageError;
use super::index::Index;
use super::layer::Collected;
use super::store::Store;
use crate::intent::reference::{Digest, Reference};

/// What was taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    pub names: Vec<Reference>,
    pub images: Vec<Digest>,
}

/// What a prune took away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    pub removed: Removed,
    /// How many bytes of layers that were, unpacked.
    pub freed: u64,
}

/// What the one that was named means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meant {
    Name(Reference),
    Image(Digest),
}

impl Index {
    /// What somebody means who types this: a name, or an id or its beginning.
    ///
    /// # Errors
    /// When there is no such image, or there are several.
    pub fn meant(&self, typed: &str, reference: Option<&Reference>) -> Result<Meant, ImageError> {
        if let Some(name) = reference.filter(|name| self.names.contains_key(name)) {
            return Ok(Meant::Name(name.clone()));
        }
        // Of a digest the name that it came by is meant.
        if let Some(id) = reference.and_then(|name| self.find(name)) {
            let mut names = self.names_of(id);
            return Ok(match (names.next(), names.next()) {
                (Some(only), None) => Meant::Name(only.clone()),
                _ => Meant::Image(id.clone()),
            });
        }
        let mut ids = self.beginning(typed);
        match (ids.next(), ids.next()) {
            (Some(id), None) => Ok(Meant::Image(id.clone())),
            (Some(_), Some(_)) => Err(ImageError::Ambiguous { prefix: typed.to_owned() }),
            (None, _) => {
                let name = reference.map_or_else(|| typed.to_owned(), ToString::to_string);
                Err(ImageError::NotHere { reference: name })
            }
        }
    }
}

impl Store {
    /// Takes names away, and each image whose last name that was, as long as nobody holds it. With `force` all
    /// names of an image that was meant by its id go, and one that somebody holds loses its names: it goes when
    /// it is let go and pruned.
    ///
    /// # Errors
    /// When one of them is not here or is held. Nothing was touched then.
    pub fn remove(
        &self,
        wanted: &[(String, Option<Reference>)],
        force: bool,
    ) -> Result<Removed, ImageError> {
        let removed = self.edit(|index| {
            let holders = self.holders()?;
            let mut removed = Removed::default();
            for (typed, reference) in wanted {
                let meant = index.meant(typed, reference.as_ref())?;
                take(index, meant, force, &holders, &mut removed)?;
            }
            Ok(removed)
        })?;
        self.clear(Collected::Unneeded)?;
        Ok(removed)
    }

    /// Takes away images that nobody holds: those without a name, or with `all` every one.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn prune(&self, all: bool) -> Result<Pruned, ImageError> {
        let removed = self.edit(|index| {
            let unused = self.unused(index, all)?;
            let mut removed = Removed::default();
            for id in unused {
                forget(index, &id, &mut removed);
            }
            Ok(removed)
        })?;
        let freed = self.clear(Collected::Unneeded)?;
        Ok(Pruned { removed, freed })
    }

    /// What [`Store::prune`] would take away.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn unused(&self, index: &Index, all: bool) -> Result<Vec<Digest>, ImageError> {
        let holders = self.holders()?;
        let ids = index
            .images
            .keys()
            .filter(|id| !holders.contains_key(id) && (all || index.names_of(id).next().is_none()));
        Ok(ids.cloned().collect())
    }

    /// Who holds what.
    fn holders(&self) -> Result<BTreeMap<Digest, Vec<String>>, ImageError> {
        let mut holders = BTreeMap::<Digest, Vec<String>>::new();
        for (holder, id) in self.claims()? {
            holders.entry(id).or_default().push(holder);
        }
        Ok(holders)
    }

    /// Removes layers and documents that are of no image.
    fn clear(&self, what: Collected) -> Result<u64, ImageError> {
        let freed = self.collect(what)?;
        let _alone = self.lock("lock")?;
        let index = self.index()?;
        let manifests = index.names.values().filter_map(|name| name.digest.as_ref());
        let needed: Vec<_> =
            index.images.keys().chain(manifests).map(|digest| self.blob_path(digest)).collect();
        let directory = self.root().join("blobs");
        let entries = std::fs::read_dir(&directory);
        for entry in entries.map_err(ImageError::file("read", &directory))? {
            let path = entry.map_err(ImageError::file("read", &directory))?.path();
            if !needed.contains(&path) {
                std::fs::remove_file(&path).map_err(ImageError::file("removed", &path))?;
            }
        }
        Ok(freed)
    }
}

fn take(
    index: &mut Index,
    meant: Meant,
    force: bool,
    holders: &BTreeMap<Digest, Vec<String>>,
    removed: &mut Removed,
) -> Result<(), ImageError> {
    let (id, names) = match meant {
        Meant::Name(name) => match index.find(&name).cloned() {
            Some(id) => (id, vec![name]),
            None => return Ok(()),
        },
        Meant::Image(id) => {
            let names: Vec<Reference> = index.names_of(&id).cloned().collect();
            if names.len() > 1 && !force {
                let names = names.iter().map(ToString::to_string).collect();
                return Err(ImageError::SeveralNames { id, names });
            }
            (id, names)
        }
    };
    let is_last = index.names_of(&id).all(|name| names.contains(name));
    match holders.get(&id) {
        Some(holders) if is_last && !force => {
            Err(ImageError::Used { id, holders: holders.clone() })
        }
        held => {
            for name in names {
                index.names.remove(&name);
                removed.names.push(name);
            }
            if is_last && held.is_none() {
                forget(index, &id, removed);
            }
            Ok(())
        }
    }
}

/// An image goes, with what names it still has.
fn forget(index: &mut Index, id: &Digest, removed: &mut Removed) {
    let names: Vec<Reference> = index.names_of(id).cloned().collect();
    for name in names {
        index.names.remove(&name);
        removed.names.push(name);
    }
    index.images.remove(id);
    removed.images.push(id.clone());
}
