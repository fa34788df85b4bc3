//! Digests of bytes that come one after the other.

use ring::digest::{Context, SHA256, SHA512};

use super::named;
use crate::intent::reference::Digest;

/// A digest in the making.
#[derive(Clone)]
pub struct Hash {
    context: Context,
    algorithm: &'static str,
}

impl Hash {
    /// By the algorithm of this digest.
    pub fn like(digest: &Digest) -> Self {
        match digest.algorithm() {
            "sha512" => Self { context: Context::new(&SHA512), algorithm: "sha512" },
            _ => Self { context: Context::new(&SHA256), algorithm: "sha256" },
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    pub fn digest(self) -> Digest {
        named(self.algorithm, self.context.finish().as_ref())
    }

    /// Whether some bytes have this digest.
    pub fn is_of(digest: &Digest, bytes: &[u8]) -> bool {
        let mut hash = Self::like(digest);
        hash.update(bytes);
        hash.digest() == *digest
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hash").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
