//! Why an image cannot be had.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::intent::reference::{Digest, Reference};

/// What is wrong with an image or with what it comes from. Nothing half is left.
#[derive(Debug, Error)]
pub enum ImageError {
    #[error("there is no image `{reference}` here")]
    NotHere { reference: String },
    #[error("`{0}` is not a directory")]
    NoDirectory(PathBuf),
    #[error("{reference} cannot be pulled by this swarmlb yet")]
    NotYet { reference: Reference },
    #[error("{what} is damaged: {reason}")]
    Damaged { what: String, reason: String },
    #[error("the image needs layer {layer}, which is not here")]
    NoLayer { layer: Digest },
    #[error("{} cannot be {done}: {source}", path.display())]
    File { path: PathBuf, done: &'static str, source: io::Error },
}

impl ImageError {
    /// For what the file system answered when something was to be `done` with a file.
    pub(super) fn file(done: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), done, source }
    }
}
