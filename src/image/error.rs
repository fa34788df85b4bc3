//! Why an image cannot be had.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use thiserror::Error;

use super::platform::Platform;
use crate::intent::reference::Digest;

/// What is wrong with an image or with what it comes from. Nothing half is left.
#[derive(Debug, Error)]
pub enum ImageError {
    #[error("there is no image `{reference}` here")]
    NotHere { reference: String },
    #[error("`{0}` is not a directory")]
    NoDirectory(PathBuf),
    #[error("{what} is damaged: {reason}")]
    Damaged { what: String, reason: String },
    #[error("the image needs layer {layer}, which is not here")]
    NoLayer { layer: Digest },
    #[error("{} cannot be {done}: {}", path.display(), Told(source))]
    File { path: PathBuf, done: &'static str, source: io::Error },
    /// What it comes from has no such image.
    #[error("{place} has no {wanted}")]
    Unknown { place: String, wanted: String, there: Vec<String> },
    /// Nobody answers there as a registry would. `is_tls` where TLS is why.
    #[error("registry {registry} cannot be asked: {reason}")]
    Unreachable { registry: String, reason: String, is_tls: bool },
    /// It wants somebody else, or to be shown something. `known` where there were credentials for it.
    #[error("registry {registry} does not let us in: {reason}")]
    Denied { registry: String, reason: String, known: bool },
    #[error("registry {registry} refuses: {reason}")]
    Refused { registry: String, reason: String, status: u16 },
    /// It sent so many bytes of so many, and then no more.
    #[error("registry {registry} broke off after {at} of {size} bytes, again and again: {reason}")]
    BrokeOff { registry: String, at: u64, size: u64, reason: String },
    /// What Docker's file of credentials leaves to a program.
    #[error("{program}, which {} names, gives no credentials: {reason}", file.display())]
    Credentials { program: String, file: PathBuf, reason: String },
    #[error("{place} has several images")]
    Several { place: String, there: Vec<String> },
    #[error("{place} {reason}")]
    NoImage { place: String, reason: String },
    #[error("it is not built for {wanted}; there is {}", platforms(there))]
    Platform { wanted: Platform, there: Vec<Platform> },
    #[error("layer {} {fault}", layer.short())]
    Layer { layer: Digest, fault: LayerFault },
    /// Another layer could not be brought.
    #[error("another layer could not be had")]
    Stopped,
    /// Somebody has it in use.
    #[error("image {} is used by {}", id.short(), holders.join(", "))]
    Used { id: Digest, holders: Vec<String> },
    /// One beginning of an id, more than one image.
    #[error("`{prefix}` begins the ids of several images")]
    Ambiguous { prefix: String },
    #[error("image {} has several names: {}", id.short(), names.join(", "))]
    SeveralNames { id: Digest, names: Vec<String> },
}

/// What is wrong with one layer.
#[derive(Debug, Error)]
pub enum LayerFault {
    #[error("is damaged: {0}")]
    Malformed(String),
    #[error("is damaged: its {what} is {found}, and {wanted} was promised")]
    Promise { what: &'static str, found: String, wanted: String },
    #[error("holds `{}`, which leads out of the image", name.escape_debug())]
    Outside { name: String },
    #[error("holds `{}`, {reason}", name.escape_debug())]
    Entry { name: String, reason: String },
    #[error("is too large: more than {limit} bytes are unpacked")]
    TooLarge { limit: u64 },
    #[error("is too large: it has more than {limit} files")]
    TooMany { limit: u64 },
    #[error("cannot be read: {}", Told(.0))]
    Read(io::Error),
    #[error("cannot be unpacked: `{}`: {}", name.escape_debug(), Told(source))]
    Write { name: String, source: io::Error },
}

/// What is wrong with an archive's bytes, as the error of a reader.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// An error of the system in its own words, with its name.
struct Told<'a>(&'a io::Error);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.raw_os_error().map(Errno::from_raw) {
            Some(errno) => write!(f, "{} ({errno:?})", errno.desc()),
            None => write!(f, "{}", self.0),
        }
    }
}

fn platforms(there: &[Platform]) -> String {
    match there {
        [] => "nothing that says for what it is".into(),
        there => there.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

impl ImageError {
    /// For what the file system answered when something was to be `done` with a file.
    pub(super) fn file(done: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), done, source }
    }

    /// For what a layer has against being unpacked.
    pub(super) fn layer(layer: &Digest) -> impl FnOnce(LayerFault) -> Self {
        move |fault| match fault {
            // A source's own error came through a reader.
            LayerFault::Read(error) => match error.downcast::<Self>() {
                Ok(error) => error,
                Err(error) => Self::Layer { layer: layer.clone(), fault: LayerFault::Read(error) },
            },
            fault => Self::Layer { layer: layer.clone(), fault },
        }
    }

    /// Whether asking again may help.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { is_tls, .. } => !is_tls,
            Self::Refused { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// What the system answered, where it was the system that refused.
    pub fn errno(&self) -> Option<Errno> {
        let source = match self {
            Self::File { source, .. }
            | Self::Layer {
                fault: LayerFault::Read(source) | LayerFault::Write { source, .. },
                ..
            } => source,
            _ => return None,
        };
        source.raw_os_error().map(Errno::from_raw)
    }
}

impl LayerFault {
    /// For what a reader answered.
    pub(super) fn read(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(fault) => fault,
            Err(error) => match error.downcast::<Malformed>() {
                Ok(Malformed(reason)) => Self::Malformed(reason),
                Err(error) => match error.kind() {
                    io::ErrorKind::UnexpectedEof => Self::Malformed("it ends in the middle".into()),
                    io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                        Self::Malformed(format!("it cannot be decompressed: {error}"))
                    }
                    _ => Self::Read(error),
                },
            },
        }
    }
}
