//! A store that may not be there yet: it is looked for at every call until it was found once.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use super::{
    Commit, Handle, LeaseId, Location, Patience, Revision, Snapshot, Store, StoreError,
    Transaction, Watch, open,
};

/// Opens the store when it is first asked.
pub struct Later {
    location: Location,
    socket: PathBuf,
    patience: Duration,
    found: OnceLock<Handle>,
}

impl Later {
    /// Each call waits for `patience` at most.
    pub fn new(location: Location, socket: PathBuf, patience: Duration) -> Self {
        Self { location, socket, patience, found: OnceLock::new() }
    }

    fn store(&self) -> Result<&Handle, StoreError> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        // Not under a lock: who asks at the same time waits no longer for it.
        let patience = Patience { first: self.patience, later: Some(self.patience) };
        let found = open(&self.location, &self.socket, patience)?;
        Ok(self.found.get_or_init(|| found))
    }
}

impl Store for Later {
    fn load(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        self.store()?.load(prefix)
    }

    fn commit(&self, transaction: &Transaction) -> Result<Commit, StoreError> {
        self.store()?.commit(transaction)
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.store()?.watch(prefix, after)
    }

    fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.store()?.grant(ttl)
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store()?.keep_alive(lease)
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store()?.revoke(lease)
    }
}
