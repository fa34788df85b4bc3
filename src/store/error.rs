//! Why the store did not do what it was asked. Facts only; remedies are given at the edge.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use thiserror::Error;

use super::{LeaseId, Revision};

/// What kept the store from answering.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Nothing was changed: the request did not get there.
    #[error("the store at {} is not reachable", path.display())]
    Unreachable { path: PathBuf, source: io::Error },
    /// A transaction was sent and no answer came: it may have happened or not.
    #[error("the store at {} did not say whether the transaction happened", path.display())]
    Uncertain { path: PathBuf, source: io::Error },
    /// The changes asked for are no longer remembered: load anew, and watch after the snapshot.
    #[error("the store no longer remembers the changes before revision {oldest}")]
    Compacted {
        /// A watch after this revision or a later one can be served.
        oldest: Revision,
    },
    #[error("lease {lease} is gone")]
    LeaseGone { lease: LeaseId },
    /// The peer is neither root nor the user that the store runs as, or may not open its files.
    #[error("the store at {} does not let this user in", path.display())]
    Denied { path: PathBuf },
    #[error("the key `{key}` is changed twice in one transaction")]
    DuplicateKey { key: String },
    #[error("a key is empty")]
    EmptyKey,
    #[error("too large: {size} {what}, {limit} at most")]
    TooLarge { what: String, size: usize, limit: usize },
    /// The database was written by a newer swarmlb.
    #[error("the database is of version {found}, newer than version {known} known here")]
    NewerVersion { found: u64, known: u64 },
    /// Another process owns the database, or another server answers at the socket.
    #[error("{} is already served{}", path.display(), by(*pid))]
    AlreadyServed { path: PathBuf, pid: Option<u32> },
    #[error("the database {} is read-only: {sentence}", path.display())]
    ReadOnly { path: PathBuf, sentence: String },
    #[error("no space is left for the database {}: {sentence}", path.display())]
    Full { path: PathBuf, sentence: String },
    #[error("the database {} is damaged: {sentence}", path.display())]
    Corrupt { path: PathBuf, sentence: String },
    /// Any other refusal of the database, in its own words.
    #[error("the database {} refused: {sentence}", path.display())]
    Database { path: PathBuf, sentence: String },
    /// etcd takes no more at once than this option of its says.
    #[error("etcd refused: {sentence}")]
    OverLimit { option: &'static str, sentence: String },
    #[error("{} is of no use for TLS: {sentence}", path.display())]
    Credentials { path: PathBuf, sentence: String },
    #[error("this swarmlb was built without etcd")]
    NoEtcd,
    /// The other side said what this one does not understand.
    #[error("the store's peer broke the protocol: {sentence}")]
    Protocol { sentence: String },
}

fn by(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}

impl StoreError {
    /// Sorts one of SQLite's refusals, keeping its sentence.
    pub(super) fn database(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, sentence) = (path.to_owned(), error.to_string());
        if let rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..) = error
        {
            return Self::Corrupt { path, sentence };
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::ReadOnly { path, sentence }
            }
            Some(ErrorCode::DiskFull) => Self::Full { path, sentence },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { path, sentence }
            }
            _ => Self::Database { path, sentence },
        }
    }

    /// Sorts a refusal to open or make a file beside the database.
    pub(super) fn file(path: &Path, source: io::Error) -> Self {
        let (path, sentence) = (path.to_owned(), source.to_string());
        match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly { path, sentence }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { path, sentence }
            }
            _ => Self::Unreachable { path, source },
        }
    }

    /// A breach of the protocol, with what was wrong.
    pub(super) fn protocol(sentence: impl ToString) -> Self {
        Self::Protocol { sentence: sentence.to_string() }
    }
}
