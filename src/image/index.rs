//! Which images are kept, and by which names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::intent::reference::{Digest, Reference};

/// Of this form; one of another is not read.
pub const VERSION: u32 = 1;

/// All that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub version: u32,
    /// By id: the digest of its configuration.
    pub images: BTreeMap<Digest, Image>,
    pub names: BTreeMap<Reference, Name>,
}

/// An image that is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its layers, the lowest first.
    pub layers: Vec<Digest>,
    /// What its layers take unpacked, in bytes.
    pub size: u64,
    /// When it was built (RFC 3339), where it says.
    #[serde(default)]
    pub created: Option<String>,
    /// When it came here, in milliseconds since 1970.
    pub pulled: u64,
    /// Of `rootfs:DIR`: the directory. There are no layers then.
    #[serde(default)]
    pub rootfs: Option<PathBuf>,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    pub id: Digest,
    /// What the source calls it by: the digest of its manifest, or of the list of manifests by platform.
    #[serde(default)]
    pub digest: Option<Digest>,
}

impl Default for Index {
    fn default() -> Self {
        Self { version: VERSION, images: BTreeMap::new(), names: BTreeMap::new() }
    }
}

impl Index {
    /// The image of a name. A digest decides, whatever the tag beside it.
    pub fn find(&self, reference: &Reference) -> Option<&Digest> {
        if let Some(name) = self.names.get(reference) {
            return Some(&name.id);
        }
        let Reference::Registry(asked) = reference else { return None };
        let wanted = asked.digest.as_ref()?;
        self.names.iter().find_map(|(held, name)| match held {
            Reference::Registry(held) => {
                let is_same = held.registry == asked.registry
                    && held.repository == asked.repository
                    && name.digest.as_ref() == Some(wanted);
                is_same.then_some(&name.id)
            }
            _ => None,
        })
    }

    /// The names of an image.
    pub fn names_of<'a>(&'a self, id: &'a Digest) -> impl Iterator<Item = &'a Reference> {
        self.names.iter().filter(move |(_, name)| name.id == *id).map(|(reference, _)| reference)
    }

    /// Every layer that an image has.
    pub fn layers(&self) -> BTreeSet<&Digest> {
        self.images.values().flat_map(|image| &image.layers).collect()
    }

    /// Images whose id begins so: with or without `sha256:`.
    pub fn beginning<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Digest> {
        let digits = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        self.images.keys().filter(move |id| !digits.is_empty() && id.digits().starts_with(digits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::sha256;

    fn image(layers: &[&[u8]]) -> Image {
        let layers = layers.iter().map(|bytes| sha256(bytes)).collect();
        Image { layers, size: 1, created: None, pulled: 0, rootfs: None }
    }

    fn index() -> Index {
        let mut index = Index::default();
        index.images.insert(sha256(b"one"), image(&[b"a", b"b"]));
        index.images.insert(sha256(b"two"), image(&[b"a", b"c"]));
        let name = |id: &[u8], digest: &[u8]| Name { id: sha256(id), digest: Some(sha256(digest)) };
        index.names.insert("nginx:1".parse().unwrap(), name(b"one", b"m1"));
        index.names.insert("nginx:2".parse().unwrap(), name(b"two", b"m2"));
        index
    }

    #[test]
    fn an_image_is_found_by_name_and_by_digest_in_its_own_repository() {
        let index = index();
        let find = |text: &str| index.find(&text.parse().unwrap()).cloned();
        assert_eq!(find("nginx:1"), Some(sha256(b"one")));
        assert_eq!(find(&format!("nginx@{}", sha256(b"m2"))), Some(sha256(b"two")));
        // The digest decides.
        assert_eq!(find(&format!("nginx:1@{}", sha256(b"m2"))), Some(sha256(b"two")));
        assert_eq!(find(&format!("other@{}", sha256(b"m2"))), None);
        assert_eq!(find("nginx:3"), None);
        assert_eq!(find("oci:/srv"), None);
    }

    #[test]
    fn layers_are_shared() {
        assert_eq!(index().layers().len(), 3);
    }

    #[test]
    fn an_id_is_known_by_its_beginning() {
        let index = index();
        let id = sha256(b"one");
        for prefix in [id.short(), id.as_str(), &id.as_str()[..15]] {
            assert_eq!(index.beginning(prefix).collect::<Vec<_>>(), [&id]);
        }
        assert_eq!(index.beginning("").count(), 0);
        assert_eq!(index.beginning("sha256:").count(), 0);
        assert_eq!(index.beginning("nginx").count(), 0);
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let text = serde_json::to_string(&index()).unwrap();
        assert_eq!(serde_json::from_str::<Index>(&text).unwrap(), index());
    }
}
