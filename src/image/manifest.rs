//! What registries and layouts write of an image: which layers it is made of, and for which platforms
//! there are others.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::platform::Platform;
use crate::intent::reference::Digest;

/// Media types of manifests, as a registry is asked for them.
pub const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// Media types of the configurations of what can be run.
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// The tag of an entry in a layout's index.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Set where an entry only says something about another one.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// Something that is kept elsewhere, by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// What a layout calls it by.
    pub fn name(&self) -> Option<&str> {
        self.annotations.as_ref()?.get(REF_NAME).map(String::as_str)
    }

    /// The tag of that: some writers put the whole reference there.
    pub fn tag(&self) -> Option<&str> {
        let name = self.name()?;
        match name.rsplit_once(':') {
            Some((_, tag)) if !tag.contains('/') => Some(tag),
            _ => Some(name),
        }
    }

    fn is_image(&self) -> bool {
        let annotations = self.annotations.as_ref();
        annotations.is_none_or(|annotations| !annotations.contains_key(REFERENCE_TYPE))
    }
}

/// A manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// Manifests, each for a platform.
    Index(Vec<Descriptor>),
    Image {
        config: Descriptor,
        layers: Vec<Descriptor>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

impl Manifest {
    /// # Errors
    /// Why it is no manifest of an image.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let written: Written =
            serde_json::from_slice(bytes).map_err(|error| format!("is not a manifest: {error}"))?;
        match written {
            Written { schema_version: Some(1), .. } => {
                Err("has a manifest of schema 1, which nobody writes any more".into())
            }
            Written { manifests: Some(manifests), .. } => Ok(Self::Index(manifests)),
            Written { config: Some(config), layers, .. } => {
                let is_config =
                    config.media_type.is_empty() || CONFIGS.contains(&config.media_type.as_str());
                if !is_config {
                    return Err(format!("is no image, but {}", config.media_type.escape_debug()));
                }
                let layers = layers.unwrap_or_default();
                match layers.iter().find(|layer| !is_layer(&layer.media_type)) {
                    Some(layer) => Err(format!(
                        "has a layer of type {}, which cannot be unpacked",
                        layer.media_type.escape_debug()
                    )),
                    None => Ok(Self::Image { config, layers }),
                }
            }
            _ => Err("has a manifest without configuration".into()),
        }
    }
}

/// Of layers the bytes tell how they are compressed; only what would need more than that is refused.
fn is_layer(media_type: &str) -> bool {
    media_type.is_empty() || (media_type.contains("tar") && !media_type.contains("encrypted"))
}

/// The one of several manifests that runs best on a platform.
///
/// # Errors
/// When none does: for which platforms there are some.
pub fn choose<'a>(
    manifests: impl IntoIterator<Item = &'a Descriptor>,
    wanted: &Platform,
) -> Result<&'a Descriptor, Vec<Platform>> {
    let images: Vec<&Descriptor> =
        manifests.into_iter().filter(|manifest| manifest.is_image()).collect();
    // The only one that there is says in its configuration what it is for.
    if let [only] = images[..]
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let distance = |manifest: &Descriptor| wanted.distance_to(manifest.platform.as_ref()?);
    let runs = images.iter().filter(|manifest| distance(manifest).is_some());
    let nearest = runs.min_by_key(|manifest| distance(manifest)).copied();
    nearest.ok_or_else(|| images.iter().filter_map(|manifest| manifest.platform.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn index(entries: &[&str]) -> Vec<Descriptor> {
        let entries: Vec<String> = entries
            .iter()
            .map(|more| format!(r#"{{"mediaType":"m","digest":"{DIGEST}","size":3{more}}}"#))
            .collect();
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        match Manifest::parse(text.as_bytes()).unwrap() {
            Manifest::Index(manifests) => manifests,
            image @ Manifest::Image { .. } => panic!("{image:?}"),
        }
    }

    fn for_platform(architecture: &str, more: &str) -> String {
        format!(r#","platform":{{"os":"linux","architecture":"{architecture}"{more}}}"#)
    }

    #[test]
    fn the_platform_decides_and_what_is_no_image_does_not_count() {
        let arm = for_platform("arm", r#","variant":"v6""#);
        let newer = for_platform("arm", r#","variant":"v7""#);
        let about = r#","annotations":{"vnd.docker.reference.type":"attestation-manifest"},"platform":{"os":"linux","architecture":"amd64"}"#;
        let manifests = index(&[about, &for_platform("amd64", ""), &arm, &newer]);
        let chosen = |platform: &str| choose(&manifests, &platform.parse().unwrap());
        assert_eq!(chosen("linux/amd64").unwrap(), &manifests[1]);
        assert_eq!(chosen("linux/arm/v7").unwrap(), &manifests[3]);
        assert_eq!(chosen("linux/arm/v6").unwrap(), &manifests[2]);
        let there: Vec<String> =
            chosen("linux/s390x").unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(there, ["linux/amd64", "linux/arm/v6", "linux/arm/v7"]);
    }

    #[test]
    fn the_only_one_without_a_platform_is_meant() {
        let here = Platform::here();
        assert!(choose(&index(&[""]), &here).is_ok());
        assert_eq!(choose(&index(&["", ""]), &here).unwrap_err(), []);
        assert_eq!(choose(&index(&[]), &here).unwrap_err(), []);
    }

    #[test]
    fn an_image_is_its_configuration_and_layers() {
        let descriptor = |media_type: &str| {
            format!(r#"{{"mediaType":"{media_type}","digest":"{DIGEST}","size":3}}"#)
        };
        let image = |config: &str, layer: &str| {
            let (config, layer) = (descriptor(config), descriptor(layer));
            let text = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
            Manifest::parse(text.as_bytes())
        };
        let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
        assert!(
            matches!(image(CONFIGS[0], tar), Ok(Manifest::Image { layers, .. }) if layers.len() == 1)
        );
        assert!(
            image("application/vnd.cncf.helm.config.v1+json", tar).unwrap_err().contains("helm")
        );
        assert!(image(CONFIGS[1], "text/plain").unwrap_err().contains("text/plain"));
        assert!(image(CONFIGS[1], &format!("{tar}+encrypted")).is_err());
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        for text in ["", "[]", "{}", r#"{"schemaVersion":1,"name":"x"}"#, r#"{"manifests":[{}]}"#] {
            assert!(Manifest::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_tag_is_what_is_behind_the_name() {
        for (name, tag) in [
            ("v1", "v1"),
            ("docker.io/library/web:v1", "v1"),
            ("localhost:5000/web", "localhost:5000/web"),
        ] {
            let more = format!(r#","annotations":{{"{REF_NAME}":"{name}"}}"#);
            assert_eq!(index(&[&more])[0].tag(), Some(tag));
        }
    }
}
