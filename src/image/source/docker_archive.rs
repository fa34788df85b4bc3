//! What `docker save` writes: an archive with a list of images, their configurations and layers.

use std::path::Path;

use serde::Deserialize;

use super::super::error::ImageError;
use super::super::layer::Promise;
use super::super::platform::Platform;
use super::{Archive, Bytes, Offered, OfferedLayer, Place, Source, Told};
use crate::intent::reference::InFile;

/// An archive of Docker's.
#[derive(Debug)]
pub struct DockerArchive {
    held: InFile,
    archive: Archive,
}

/// One image of the list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Listed {
    fn tags(&self) -> impl Iterator<Item = &str> {
        self.repo_tags.iter().flatten().map(|name| match name.rsplit_once(':') {
            Some((_, tag)) if !tag.contains('/') => tag,
            _ => name,
        })
    }
}

impl DockerArchive {
    /// # Errors
    /// When it cannot be read, or is no archive.
    pub fn open(held: &InFile, scratch: &Path, limit: u64) -> Result<Self, ImageError> {
        let archive = Archive::open(&held.path, scratch, limit)?;
        Ok(Self { held: held.clone(), archive })
    }

    fn place(&self) -> String {
        self.archive.path().display().to_string()
    }

    fn chosen(&self) -> Result<Listed, ImageError> {
        let bytes = self.archive.document("manifest.json")?;
        let listed: Vec<Listed> = serde_json::from_slice(&bytes).map_err(|error| {
            let reason = format!("has a list of images that cannot be read: {error}");
            ImageError::NoImage { place: self.place(), reason }
        })?;
        let there = || listed.iter().flat_map(|image| image.repo_tags.clone()).flatten().collect();
        let is_meant = |image: &&Listed| {
            self.held.tag.as_ref().is_none_or(|tag| image.tags().any(|one| one == tag))
        };
        let count = listed.iter().filter(is_meant).count();
        match count {
            0 => Err(ImageError::Unknown {
                place: self.place(),
                wanted: match &self.held.tag {
                    Some(tag) => format!("image with tag `{tag}`"),
                    None => "image".into(),
                },
                there: there(),
            }),
            1 => {
                let position = listed.iter().position(|image| is_meant(&image)).unwrap_or_default();
                let chosen = listed.into_iter().nth(position);
                chosen.ok_or_else(|| ImageError::NotHere { reference: self.place() })
            }
            _ => Err(ImageError::Several { place: self.place(), there: there() }),
        }
    }
}

impl Source for DockerArchive {
    fn find(&self, _: &Platform) -> Result<Offered, ImageError> {
        let chosen = self.chosen()?;
        let layers = chosen.layers.unwrap_or_default().into_iter().map(|name| {
            let (_, size) = self.archive.member(&name)?;
            let promise = Promise { digest: None, size: Some(size) };
            Ok(OfferedLayer { promise, place: Place::Member(name) })
        });
        Ok(Offered {
            digest: None,
            manifest: None,
            config: self.archive.document(&chosen.config)?,
            layers: layers.collect::<Result<_, ImageError>>()?,
        })
    }

    fn open<'a>(&'a self, layer: &OfferedLayer, _: &'a dyn Told) -> Result<Bytes<'a>, ImageError> {
        match &layer.place {
            Place::Member(name) => Ok(Box::new(self.archive.member(name)?.0)),
            Place::Blob(digest) => Err(ImageError::NoLayer { layer: digest.clone() }),
        }
    }
}
