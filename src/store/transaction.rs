//! What is asked of the store in one piece: what must hold, what to put, what to delete.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{LeaseId, Revision, StoreError};

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 4096;
/// All keys and values of one transaction, in bytes. etcd's own limit for a request is 1.5 MiB unless raised by
/// `--max-request-bytes`; this one keeps a transaction's events within one frame whatever their escaping costs.
pub const MAX_TRANSACTION_BYTES: usize = 8 << 20;
/// Requirements, puts and deletes of one transaction, each. etcd takes 128 unless `--max-txn-ops` says more.
pub const MAX_TRANSACTION_OPERATIONS: usize = 10_000;

/// A key that must not have changed since it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    pub key: String,
    /// What [`super::Object::modified`] must be; [`Revision::NEVER`] if the key must be absent.
    pub modified: Revision,
}

/// A key to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    pub key: String,
    pub value: String,
    /// The lease that the key then belongs to; `None` takes it out of any lease it was in.
    pub lease: Option<LeaseId>,
}

/// All or nothing: if every requirement holds, all puts and deletes happen at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Transaction {
    pub require: Vec<Requirement>,
    pub put: Vec<Put>,
    pub delete: Vec<String>,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Commit {
    /// It happened, at this revision.
    Done(Revision),
    /// Nothing happened: `key`, the first requirement that does not hold, was last modified at `modified`
    /// ([`Revision::NEVER`] if it is absent).
    Conflict { key: String, modified: Revision },
}

impl Transaction {
    /// A transaction that asks for nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `key` must be as it was when it was last modified at `modified`.
    #[must_use]
    pub fn require(mut self, key: impl Into<String>, modified: Revision) -> Self {
        self.require.push(Requirement { key: key.into(), modified });
        self
    }

    /// `key` must not exist.
    #[must_use]
    pub fn require_absent(self, key: impl Into<String>) -> Self {
        self.require(key, Revision::NEVER)
    }

    /// Writes `value` under `key`.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.put.push(Put { key: key.into(), value: value.into(), lease: None });
        self
    }

    /// Writes `value` under `key`, to go away with `lease`.
    #[must_use]
    pub fn put_leased(
        mut self,
        key: impl Into<String>,
        value: impl Into<String>,
        lease: LeaseId,
    ) -> Self {
        self.put.push(Put { key: key.into(), value: value.into(), lease: Some(lease) });
        self
    }

    /// Deletes `key`; an absent one is no error.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.delete.push(key.into());
        self
    }

    /// Whether it could change nothing, whatever the store holds.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }

    /// Refuses what no store takes: an empty or overlong key, a key changed twice, too much at once.
    ///
    /// # Errors
    /// [`StoreError::EmptyKey`], [`StoreError::DuplicateKey`], [`StoreError::TooLarge`].
    pub fn validate(&self) -> Result<(), StoreError> {
        let most = self.require.len().max(self.put.len()).max(self.delete.len());
        within("operations", most, MAX_TRANSACTION_OPERATIONS)?;
        within("bytes", self.bytes(), MAX_TRANSACTION_BYTES)?;
        self.require.iter().try_for_each(|requirement| check_key(&requirement.key))?;
        let mut changed = BTreeSet::new();
        for key in self.put.iter().map(|put| &put.key).chain(&self.delete) {
            check_key(key)?;
            if !changed.insert(key) {
                return Err(StoreError::DuplicateKey { key: key.clone() });
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let required: usize = self.require.iter().map(|requirement| requirement.key.len()).sum();
        let put: usize = self.put.iter().map(|put| put.key.len() + put.value.len()).sum();
        required + put + self.delete.iter().map(String::len).sum::<usize>()
    }
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size > limit {
        return Err(StoreError::TooLarge { what: what.to_owned(), size, limit });
    }
    Ok(())
}

fn check_key(key: &str) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::EmptyKey);
    }
    within("bytes of a key", key.len(), MAX_KEY_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_changed_twice_is_refused() {
        for twice in [
            Transaction::new().put("a", "1").put("a", "2"),
            Transaction::new().put("a", "1").delete("a"),
        ] {
            assert!(
                matches!(twice.validate(), Err(StoreError::DuplicateKey { key }) if key == "a")
            );
        }
    }

    #[test]
    fn a_key_required_and_changed_is_taken() {
        let swap = Transaction::new().require("a", Revision(7)).put("a", "2");
        assert!(swap.validate().is_ok());
    }

    #[test]
    fn an_empty_key_is_refused_wherever_it_stands() {
        let empty = [
            Transaction::new().put("", "1"),
            Transaction::new().delete(""),
            Transaction::new().require_absent(""),
        ];
        for transaction in empty {
            assert!(matches!(transaction.validate(), Err(StoreError::EmptyKey)));
        }
    }

    #[test]
    fn too_much_at_once_is_refused_with_its_size() {
        let long = Transaction::new().put("a", "x".repeat(MAX_TRANSACTION_BYTES));
        let size = MAX_TRANSACTION_BYTES + 1;
        assert!(
            matches!(long.validate(), Err(StoreError::TooLarge { size: found, .. }) if found == size)
        );
        let many = (0..=MAX_TRANSACTION_OPERATIONS)
            .fold(Transaction::new(), |all, n| all.delete(n.to_string()));
        assert!(matches!(many.validate(), Err(StoreError::TooLarge { .. })));
        assert!(matches!(
            Transaction::new().put("k".repeat(MAX_KEY_BYTES + 1), "").validate(),
            Err(StoreError::TooLarge { limit: MAX_KEY_BYTES, .. })
        ));
    }
}
