//! Container images that tests make, byte by byte, so that they can be wrong in any way.

#![allow(dead_code, reason = "each tier uses some of it")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use tar::{EntryType, Header};

/// An archive in the making. Nothing is checked.
pub struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    pub fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Any entry: its name as it stands.
    pub fn entry(
        mut self,
        kind: EntryType,
        name: &str,
        link: &str,
        mode: u32,
        data: &[u8],
    ) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(nix_uid());
        header.set_gid(nix_gid());
        header.set_mtime(1_700_000_000);
        header.set_size(data.len() as u64);
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.padded(data)
    }

    fn padded(mut self, data: &[u8]) -> Self {
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// A header as it is given, with its checksum set.
    pub fn raw(mut self, mut header: Header, data: &[u8]) -> Self {
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.padded(data)
    }

    pub fn file(self, name: &str, mode: u32, data: &[u8]) -> Self {
        self.entry(EntryType::Regular, name, "", mode, data)
    }

    pub fn directory(self, name: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, name, "", mode, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, 0o777, b"")
    }

    pub fn link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, 0o644, b"")
    }

    /// What POSIX's extended header says of the next entry.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length.to_string().len() + rest != length {
                length = length.to_string().len() + rest;
            }
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.entry(EntryType::XHeader, "pax", "", 0o644, &data)
    }

    /// The whole archive, with its end.
    pub fn end(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 1024]);
        self.bytes
    }

    /// As much as there is.
    pub fn cut(self) -> Vec<u8> {
        self.bytes
    }
}

fn nix_uid() -> u64 {
    nix::unistd::geteuid().as_raw().into()
}

fn nix_gid() -> u64 {
    nix::unistd::getegid().as_raw().into()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("it compresses");
    encoder.finish().expect("it compresses")
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

pub fn digest(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    let digits: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// An image whose parts can be changed before it is written.
#[derive(Debug, Clone)]
pub struct Image {
    /// Archives without compression, and as they are stored.
    pub layers: Vec<(Vec<u8>, Vec<u8>)>,
    pub config: Value,
    pub architecture: &'static str,
}

impl Image {
    /// Of layers that are compressed with gzip, for this machine.
    pub fn of(layers: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let stored = |plain: Vec<u8>| {
            let packed = gzip(&plain);
            (plain, packed)
        };
        Self {
            layers: layers.into_iter().map(stored).collect(),
            config: json!({}),
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
        }
    }

    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    pub fn config_bytes(&self) -> Vec<u8> {
        let diff_ids: Vec<String> = self.layers.iter().map(|(plain, _)| digest(plain)).collect();
        let document = json!({
            "os": "linux",
            "architecture": self.architecture,
            "created": "2024-05-01T10:00:00Z",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        serde_json::to_vec(&document).expect("JSON")
    }

    pub fn id(&self) -> String {
        digest(&self.config_bytes())
    }

    pub fn manifest_bytes(&self) -> Vec<u8> {
        let config = self.config_bytes();
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|(_, packed)| {
                json!({
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": digest(packed), "size": packed.len(),
                })
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(&config), "size": config.len(),
            },
            "layers": layers,
        });
        serde_json::to_vec(&manifest).expect("JSON")
    }

    /// Everything that is kept by its digest.
    pub fn blobs(&self) -> BTreeMap<String, Vec<u8>> {
        let layers = self.layers.iter().map(|(_, packed)| packed.clone());
        let all = layers.chain([self.config_bytes(), self.manifest_bytes()]);
        all.map(|bytes| (digest(&bytes), bytes)).collect()
    }

    /// As an entry of an index.
    pub fn descriptor(&self, tag: Option<&str>) -> Value {
        let manifest = self.manifest_bytes();
        let mut descriptor = json!({
            "mediaType": MANIFEST, "digest": digest(&manifest), "size": manifest.len(),
            "platform": { "os": "linux", "architecture": self.architecture },
        });
        if let Some(tag) = tag {
            descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        }
        descriptor
    }
}

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An index of some entries.
pub fn index(descriptors: &[Value]) -> Vec<u8> {
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": descriptors });
    serde_json::to_vec(&index).expect("JSON")
}

/// The files of a layout with these images.
pub fn layout(images: &[(&Image, Option<&str>)]) -> BTreeMap<String, Vec<u8>> {
    let descriptors: Vec<Value> =
        images.iter().map(|(image, tag)| image.descriptor(*tag)).collect();
    let mut files = BTreeMap::new();
    files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    files.insert("index.json".to_owned(), index(&descriptors));
    for (digest, bytes) in images.iter().flat_map(|(image, _)| image.blobs()) {
        files.insert(format!("blobs/{}", digest.replace(':', "/")), bytes);
    }
    files
}

/// Writes files into a directory.
pub fn write(directory: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in files {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("it is made");
        std::fs::write(path, bytes).expect("it is written");
    }
}

/// The same files as an archive.
pub fn archive(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    files.iter().fold(Tar::new(), |tar, (name, bytes)| tar.file(name, 0o644, bytes)).end()
}

/// What `docker save` writes.
pub fn docker_archive(images: &[(&Image, &str)]) -> Vec<u8> {
    let mut tar = Tar::new();
    let mut listed = Vec::new();
    for (image, name) in images {
        let config = format!("{}.json", &image.id()["sha256:".len()..]);
        tar = tar.file(&config, 0o644, &image.config_bytes());
        let mut layers = Vec::new();
        for (plain, _) in &image.layers {
            let layer = format!("{}/layer.tar", &digest(plain)["sha256:".len()..][..32]);
            tar = tar.file(&layer, 0o644, plain);
            layers.push(layer);
        }
        listed.push(json!({ "Config": config, "RepoTags": [name], "Layers": layers }));
    }
    let list = serde_json::to_vec(&listed).expect("JSON");
    tar.file("manifest.json", 0o644, &list).end()
}
