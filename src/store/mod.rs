//! The store: what the cluster remembers, as objects with a revision, changed by compare-and-swap transactions, followed by
//! watches, and kept alive by leases.
//!
//! The model is etcd's, and [`Store`] asks for nothing that etcd cannot do. The store does not know what its objects mean: a
//! value is JSON text that it keeps as it came. The embedded store is [`sqlite::Sqlite`]; one process of the cluster owns it
//! and [`server::serve`]s it; everyone else is a [`client::Client`]. Instead of it an etcd can be used, without any process of
//! ours between; [`open`] gives whichever there is.

pub mod client;
mod clock;
mod error;
#[cfg(feature = "etcd")]
pub mod etcd;
mod feed;
mod later;
mod lease;
pub mod location;
pub mod records;
pub mod server;
pub mod sqlite;
mod transaction;
mod wire;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use error::StoreError;
pub use later::Later;
pub use location::Location;
pub use transaction::{
    Commit, MAX_KEY_BYTES, MAX_TRANSACTION_BYTES, MAX_TRANSACTION_OPERATIONS, Put, Requirement,
    Transaction,
};

/// The number of a change to the whole store. It only grows; one transaction is one revision. An empty store is at revision 1,
/// as etcd's is, so that [`Revision::NEVER`] is never that of an object.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of what never was: the `modified` of an absent key.
    pub const NEVER: Self = Self(0);

    /// The revision that follows this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a lease, chosen by the store and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key and what the store holds under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Never empty.
    pub key: String,
    /// JSON text, kept as it came.
    pub value: String,
    /// The revision that made the key, after it was last absent.
    pub created: Revision,
    /// The revision that last wrote it; what [`Transaction::require`] compares.
    pub modified: Revision,
    /// The lease that the key goes away with.
    pub lease: Option<LeaseId>,
}

/// The objects under a prefix, as they were together at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The store's revision: [`Store::watch`] after it continues where the snapshot ends.
    pub revision: Revision,
    /// Sorted by key, bytewise.
    pub objects: Vec<Object>,
}

/// One change to one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The key was written; the object is as it then was.
    Put(Object),
    /// The key was deleted, by a transaction or with its lease.
    Delete { key: String, revision: Revision },
}

impl Event {
    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(object) => &object.key,
            Self::Delete { key, .. } => key,
        }
    }
}

/// Everything that one revision changed under a watched prefix; never a part of it, never nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    pub revision: Revision,
    pub events: Vec<Event>,
}

/// Objects with a revision, compare-and-swap, watch and leases.
///
/// A prefix is compared bytewise; the empty prefix is everything.
pub trait Store: Send + Sync {
    /// The objects whose keys begin with `prefix`, at one revision that is not older than any commit acknowledged before.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] and the database's own refusals.
    fn load(&self, prefix: &str) -> Result<Snapshot, StoreError>;

    /// Does all of `transaction` at one new revision, or nothing of it. What is acknowledged survives power loss. A transaction
    /// that changes nothing (an empty one, or deletes of absent keys) commits at the current revision.
    ///
    /// # Errors
    /// [`StoreError::LeaseGone`] if a put names a lease that is not there, [`StoreError::DuplicateKey`],
    /// [`StoreError::EmptyKey`] and [`StoreError::TooLarge`] for what no store takes: nothing was changed. After
    /// [`StoreError::Uncertain`] the transaction may have happened.
    fn commit(&self, transaction: &Transaction) -> Result<Commit, StoreError>;

    /// Follows the changes under `prefix` that are newer than `after`, in order, none left out.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if the store no longer remembers that far back: load, and watch after the snapshot.
    fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, StoreError>;

    /// A new lease that lives for `ttl` after this and every [`Store::keep_alive`]. A store may lengthen the TTL: etcd
    /// rounds up to seconds and has a floor (2 s by default).
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] and the database's own refusals.
    fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Gives the lease its full TTL again.
    ///
    /// # Errors
    /// [`StoreError::LeaseGone`] if it ran out or was revoked; its keys are gone too.
    fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Ends the lease now and deletes its keys, all in one revision.
    ///
    /// # Errors
    /// [`StoreError::LeaseGone`] if there is no such lease.
    fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;
}

/// A running watch. Dropping it ends it.
pub trait Watch: Send {
    /// The next revision that changed something watched, or `None` if there was none within `timeout`.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if this watch fell so far behind that changes were lost to it, and
    /// [`StoreError::Unreachable`] if the store stayed away for longer than the client's patience, after which `next` may
    /// be called again.
    fn next(&mut self, timeout: Duration) -> Result<Option<Batch>, StoreError>;
}

/// A store, whatever it is made of. Clones share their connections.
pub type Handle = Arc<dyn Store>;

impl<S: Store + ?Sized> Store for Arc<S> {
    fn load(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        (**self).load(prefix)
    }

    fn commit(&self, transaction: &Transaction) -> Result<Commit, StoreError> {
        (**self).commit(transaction)
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        (**self).watch(prefix, after)
    }

    fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        (**self).grant(ttl)
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        (**self).keep_alive(lease)
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        (**self).revoke(lease)
    }
}

/// How long is waited for a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until it answers for the first time.
    pub first: Duration,
    /// In each later call; none for as long as that store's failures usually last.
    pub later: Option<Duration>,
}

/// Connects to the store at `location`. The embedded one is served at `socket`.
///
/// # Errors
/// [`StoreError::Unreachable`] when patience is over, and what else keeps it from answering.
pub fn open(location: &Location, socket: &Path, patience: Patience) -> Result<Handle, StoreError> {
    match location {
        Location::Embedded => {
            let client = client::Client::connect_within(socket, patience.first)?;
            Ok(match patience.later {
                Some(later) => Arc::new(client.with_patience(later)),
                None => Arc::new(client),
            })
        }
        #[cfg(feature = "etcd")]
        Location::Etcd(location) => {
            let etcd = etcd::Etcd::connect_within(location, patience.first)?;
            Ok(match patience.later {
                Some(later) => Arc::new(etcd.with_patience(later)),
                None => Arc::new(etcd),
            })
        }
        #[cfg(not(feature = "etcd"))]
        Location::Etcd(_) => Err(StoreError::NoEtcd),
    }
}
