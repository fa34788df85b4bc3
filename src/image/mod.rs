//! Container images: where they come from, and what of them is kept.
//!
//! A [`Store`] keeps images below the state directory: each layer once, unpacked as overlayfs wants it.
//! [`Store::pull`] brings an image there from a registry, a file or a directory; [`Store::prepare`] gives
//! what a task can be made from. Nothing here starts a task.
//!
//! `config`, `platform`, `manifest` and `index` are pure.

pub mod config;
mod decompress;
mod error;
mod hash;
pub mod index;
mod layer;
pub mod manifest;
mod pin;
pub mod platform;
mod pull;
mod removal;
mod remove;
mod source;
mod store;
#[cfg(test)]
mod tests;

pub use crate::intent::reference::{Digest, InFile, Named, Reference};
pub use config::{HealthCheck, ImageConfig};
pub use error::{ImageError, LayerFault};
pub use pin::pinned;
pub use platform::Platform;
pub use pull::{Event, Limits, Progress, PullOptions, Silent, usual_credentials};
pub use remove::{Meant, Pruned, Removed};
pub use store::{Prepared, Store};

use ring::digest;

/// The SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    named("sha256", digest::digest(&digest::SHA256, bytes).as_ref())
}

/// A digest of what an algorithm gave.
///
/// # Panics
/// When the algorithm is none whose digests we know, or gave another number of bytes.
fn named(algorithm: &str, bytes: &[u8]) -> Digest {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    #[expect(clippy::expect_used, reason = "of both algorithms the lengths are fixed")]
    Digest::new(algorithm, &digits).expect("a hash is a digest")
}
