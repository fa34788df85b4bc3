//! What goes over the socket: frames of JSON, each after its length in four bytes, big-endian. The server speaks first and
//! says who it is; then the client asks and the server answers, until a watch turns the connection into a stream of batches
//! and heartbeats.

mod line;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Batch, Commit, LeaseId, Object, Revision, StoreError, Transaction};

pub(super) use line::Line;

/// The version of this conversation.
pub(super) const PROTOCOL: u32 = 1;
/// The longest frame, in bytes.
pub(super) const MAX_FRAME: usize = 64 << 20;
/// How often a watch says that it is alive.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(2);
/// A watch that says nothing for so long is dead.
pub(super) const SILENCE: Duration = Duration::from_secs(7);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    Load {
        prefix: String,
    },
    Commit {
        /// The same for every try of one commit.
        id: String,
        transaction: Transaction,
    },
    Watch {
        prefix: String,
        after: Revision,
        /// The database that `after` was learnt from, where a watch is resumed.
        identity: Option<String>,
    },
    Grant {
        ttl_ms: u64,
    },
    KeepAlive {
        lease: LeaseId,
    },
    Revoke {
        lease: LeaseId,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Welcome {
        protocol: u32,
        identity: String,
    },
    /// A part of a load; `Loaded` ends it.
    Objects(Vec<Object>),
    Loaded(Revision),
    Committed(Commit),
    Watching,
    Batch(Batch),
    /// Everything watched up to this revision has been sent.
    Heartbeat(Revision),
    Granted(LeaseId),
    KeptAlive,
    Revoked,
    Failed(Failure),
}

/// A [`StoreError`] that goes over the socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Failure {
    Compacted { oldest: Revision },
    LeaseGone { lease: LeaseId },
    Denied,
    DuplicateKey { key: String },
    EmptyKey,
    TooLarge { what: String, size: usize, limit: usize },
    NewerVersion { found: u64, known: u64 },
    ReadOnly { path: String, sentence: String },
    Full { path: String, sentence: String },
    Corrupt { path: String, sentence: String },
    Database { path: String, sentence: String },
    Uncertain { sentence: String },
    Unreachable { sentence: String },
    Protocol { sentence: String },
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        match error {
            StoreError::Compacted { oldest } => Self::Compacted { oldest },
            StoreError::LeaseGone { lease } => Self::LeaseGone { lease },
            StoreError::Denied { .. } => Self::Denied,
            StoreError::DuplicateKey { key } => Self::DuplicateKey { key },
            StoreError::EmptyKey => Self::EmptyKey,
            StoreError::TooLarge { what, size, limit } => Self::TooLarge { what, size, limit },
            StoreError::NewerVersion { found, known } => Self::NewerVersion { found, known },
            StoreError::ReadOnly { path, sentence } => {
                Self::ReadOnly { path: text(&path), sentence }
            }
            StoreError::Full { path, sentence } => Self::Full { path: text(&path), sentence },
            StoreError::Corrupt { path, sentence } => Self::Corrupt { path: text(&path), sentence },
            StoreError::Database { path, sentence } => {
                Self::Database { path: text(&path), sentence }
            }
            StoreError::Uncertain { source, .. } => {
                Self::Uncertain { sentence: source.to_string() }
            }
            StoreError::Unreachable { source, .. } => {
                Self::Unreachable { sentence: source.to_string() }
            }
            // Not of the embedded store.
            StoreError::OverLimit { .. } | StoreError::Credentials { .. } | StoreError::NoEtcd => {
                Self::Protocol { sentence: error.to_string() }
            }
            StoreError::AlreadyServed { .. } => Self::Unreachable { sentence: error.to_string() },
            StoreError::Protocol { sentence } => Self::Protocol { sentence },
        }
    }
}

impl Failure {
    /// The error as the client at `socket` sees it.
    pub(super) fn into_error(self, socket: &Path) -> StoreError {
        let here = || socket.to_owned();
        match self {
            Self::Compacted { oldest } => StoreError::Compacted { oldest },
            Self::LeaseGone { lease } => StoreError::LeaseGone { lease },
            Self::Denied => StoreError::Denied { path: here() },
            Self::DuplicateKey { key } => StoreError::DuplicateKey { key },
            Self::EmptyKey => StoreError::EmptyKey,
            Self::TooLarge { what, size, limit } => StoreError::TooLarge { what, size, limit },
            Self::NewerVersion { found, known } => StoreError::NewerVersion { found, known },
            Self::ReadOnly { path, sentence } => {
                StoreError::ReadOnly { path: PathBuf::from(path), sentence }
            }
            Self::Full { path, sentence } => {
                StoreError::Full { path: PathBuf::from(path), sentence }
            }
            Self::Corrupt { path, sentence } => {
                StoreError::Corrupt { path: PathBuf::from(path), sentence }
            }
            Self::Database { path, sentence } => {
                StoreError::Database { path: PathBuf::from(path), sentence }
            }
            Self::Uncertain { sentence } => {
                StoreError::Uncertain { path: here(), source: io::Error::other(sentence) }
            }
            Self::Unreachable { sentence } => {
                StoreError::Unreachable { path: here(), source: io::Error::other(sentence) }
            }
            Self::Protocol { sentence } => StoreError::Protocol { sentence },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_the_same_error_on_the_other_side() {
        let errors = [
            StoreError::Compacted { oldest: Revision(9) },
            StoreError::LeaseGone { lease: LeaseId(3) },
            StoreError::Denied { path: PathBuf::from("/s") },
            StoreError::DuplicateKey { key: "a".to_owned() },
            StoreError::TooLarge { what: "bytes".to_owned(), size: 2, limit: 1 },
            StoreError::Full { path: PathBuf::from("/d"), sentence: "disk full".to_owned() },
        ];
        for error in errors {
            let sentence = error.to_string();
            let sent = serde_json::to_string(&Failure::from(error)).expect("it is data");
            let received: Failure = serde_json::from_str(&sent).expect("it is what was sent");
            assert_eq!(received.into_error(Path::new("/s")).to_string(), sentence);
        }
    }
}
