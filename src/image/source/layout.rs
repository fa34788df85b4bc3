//! The OCI image layout: a directory, or the same as an archive.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::super::error::ImageError;
use super::super::manifest::{Descriptor, Manifest, choose};
use super::super::platform::Platform;
use super::{
    Archive, Blobs, Bytes, LARGEST_DOCUMENT, Offered, OfferedLayer, Place, Source, Told, offered,
    verified,
};
use crate::intent::reference::{Digest, InFile};

/// Images in the layout.
#[derive(Debug)]
pub struct Layout {
    held: InFile,
    files: Files,
}

#[derive(Debug)]
enum Files {
    Directory,
    Archive(Archive),
}

impl Layout {
    pub fn of_directory(held: &InFile) -> Self {
        Self { held: held.clone(), files: Files::Directory }
    }

    /// # Errors
    /// When it cannot be read, or is no archive.
    pub fn of_archive(held: &InFile, scratch: &Path, limit: u64) -> Result<Self, ImageError> {
        let archive = Archive::open(&held.path, scratch, limit)?;
        Ok(Self { held: held.clone(), files: Files::Archive(archive) })
    }

    fn small(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        match &self.files {
            Files::Archive(archive) => archive.document(name),
            Files::Directory => {
                let path = self.held.path.join(name);
                let mut bytes = Vec::new();
                let read = File::open(&path)
                    .and_then(|file| file.take(LARGEST_DOCUMENT).read_to_end(&mut bytes));
                read.map_err(ImageError::file("read", &path))?;
                Ok(bytes)
            }
        }
    }

    /// The entry of the index that was asked for, or the list of those for several platforms.
    fn chosen(&self, platform: &Platform) -> Result<Descriptor, ImageError> {
        // Where this is missing it is something else, and that is the clearest to say.
        self.small("oci-layout")?;
        let index = self.small("index.json")?;
        let no_image = |reason| ImageError::NoImage { place: self.place(), reason };
        let manifests = match Manifest::parse(&index).map_err(no_image)? {
            Manifest::Index(manifests) => manifests,
            Manifest::Image { .. } => return Err(no_image("has a manifest for an index".into())),
        };
        let named: Vec<&Descriptor> = match &self.held.tag {
            None => manifests.iter().collect(),
            Some(tag) => {
                let is_meant = |manifest: &&Descriptor| {
                    [manifest.name(), manifest.tag()].contains(&Some(tag.as_str()))
                };
                manifests.iter().filter(is_meant).collect()
            }
        };
        let there = || {
            let mut tags: Vec<String> =
                manifests.iter().filter_map(|one| Some(one.tag()?.to_owned())).collect();
            tags.dedup();
            tags
        };
        let is_one = named.windows(2).all(|pair| pair[0].name() == pair[1].name());
        match (named.is_empty(), is_one) {
            (true, _) => Err(ImageError::Unknown {
                place: self.place(),
                wanted: match &self.held.tag {
                    Some(tag) => format!("image with tag `{tag}`"),
                    None => "image".into(),
                },
                there: there(),
            }),
            (_, false) => Err(ImageError::Several { place: self.place(), there: there() }),
            _ => choose(named, platform)
                .cloned()
                .map_err(|there| ImageError::Platform { wanted: platform.clone(), there }),
        }
    }
}

fn file_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.digits())
}

impl Blobs for Layout {
    fn place(&self) -> String {
        self.held.path.display().to_string()
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        self.document(digest)
    }

    fn document(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        verified(&self.place(), digest, self.small(&file_of(digest))?)
    }
}

impl Source for Layout {
    fn find(&self, platform: &Platform) -> Result<Offered, ImageError> {
        let chosen = self.chosen(platform)?;
        let manifest = self.document(&chosen.digest)?;
        offered(self, chosen.digest, manifest, platform)
    }

    fn open<'a>(&'a self, layer: &OfferedLayer, _: &'a dyn Told) -> Result<Bytes<'a>, ImageError> {
        let name = match &layer.place {
            Place::Blob(digest) => file_of(digest),
            Place::Member(name) => name.clone(),
        };
        Ok(match &self.files {
            Files::Archive(archive) => Box::new(archive.member(&name)?.0),
            Files::Directory => {
                let path = self.held.path.join(name);
                Box::new(File::open(&path).map_err(ImageError::file("opened", &path))?)
            }
        })
    }
}
