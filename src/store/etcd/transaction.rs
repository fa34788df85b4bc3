//! A transaction in etcd's words: within its limits on operations, and done once although it may be asked for twice.

use std::sync::atomic::Ordering;

use super::call::Fault;
use super::wire::{
    Compare, DeleteRangeRequest, Operation, PutRequest, RangeRequest, RangeResponse, RequestOp,
    ResponseOp, TxnRequest, TxnResponse, method,
};
use super::{Answered, Etcd, Failed, number, revision};
use crate::store::{Commit, Revision, StoreError, Transaction};

/// What etcd takes in one list, unless `--max-txn-ops` says otherwise.
const FLAT: usize = 128;
/// Operations, or transactions of such, that stand in one nested transaction. etcd takes 128 less those of the transactions
/// around it, which three times this one stays below.
const NESTED: usize = 42;

/// What is known of a transaction.
pub(super) enum Outcome {
    Answered(Result<Commit, StoreError>),
    /// It may have happened or not; why nothing more is known.
    Unknown(String),
}

impl Etcd {
    /// `id` is this commit's and no other's.
    pub(super) fn try_committing(&self, transaction: &Transaction, id: &str) -> Outcome {
        let before = self.shared.seen.load(Ordering::Relaxed);
        let request = self.request(transaction, id);
        let answered: Result<Answered<TxnResponse>, Failed> =
            self.call_telling(method::TXN, &request);
        match answered {
            Ok(Answered { answer, .. }) if answer.succeeded => {
                Outcome::Answered(Ok(Commit::Done(revision_of(&answer))))
            }
            Ok(Answered { answer, sent_before }) => {
                let conflict = conflict(transaction, &answer);
                match sent_before {
                    false => Outcome::Answered(Ok(conflict)),
                    true => self.overtaken_by_itself(transaction, id, before, conflict),
                }
            }
            Err(Failed { fault: Fault::Passing { sentence, .. }, sent: true }) => {
                Outcome::Unknown(sentence)
            }
            Err(Failed { fault: Fault::LeaseGone, .. }) => {
                let lease = transaction.put.iter().find_map(|put| put.lease);
                Outcome::Answered(Err(match lease {
                    Some(lease) => StoreError::LeaseGone { lease },
                    None => self.error(Fault::LeaseGone),
                }))
            }
            Err(failed) => Outcome::Answered(Err(self.error(failed.fault))),
        }
    }

    /// A conflict at a second try: was it the first that changed what was required?
    fn overtaken_by_itself(
        &self,
        transaction: &Transaction,
        id: &str,
        before: i64,
        conflict: Commit,
    ) -> Outcome {
        if transaction.put.is_empty() {
            return Outcome::Unknown("the first try was not answered".into());
        }
        match self.find_commit(id, before) {
            Ok(Some(revision)) => Outcome::Answered(Ok(Commit::Done(revision))),
            Ok(None) => Outcome::Answered(Ok(conflict)),
            Err(error) => Outcome::Unknown(error.to_string()),
        }
    }

    /// Looks for a commit's name in what the marker was, back to the revision `before`.
    fn find_commit(&self, id: &str, before: i64) -> Result<Option<Revision>, StoreError> {
        let mut at = 0;
        loop {
            let range =
                RangeRequest { key: self.marker(), revision: at, ..RangeRequest::default() };
            let answer: RangeResponse = self.call(method::RANGE, &range)?;
            match answer.kvs.first() {
                Some(kv) if kv.value == id.as_bytes() => {
                    return Ok(Some(revision(kv.mod_revision)));
                }
                Some(kv) if kv.mod_revision - 1 > before => at = kv.mod_revision - 1,
                _ => return Ok(None),
            }
        }
    }

    fn request(&self, transaction: &Transaction, id: &str) -> TxnRequest {
        let compare = transaction.require.iter().map(|requirement| Compare {
            target: Compare::MOD,
            key: self.key(&requirement.key),
            mod_revision: Some(number(requirement.modified.0)),
        });
        let puts = transaction.put.iter().map(|put| {
            Operation::Put(PutRequest {
                key: self.key(&put.key),
                value: put.value.clone().into_bytes(),
                lease: put.lease.map_or(0, |lease| number(lease.0)),
            })
        });
        let deletes = transaction
            .delete
            .iter()
            .map(|key| Operation::Delete(DeleteRangeRequest { key: self.key(key) }));
        // What only deletes may change nothing, and then must make no revision.
        let marker = (!transaction.put.is_empty()).then(|| {
            let (key, value) = (self.marker(), id.as_bytes().to_vec());
            Operation::Put(PutRequest { key, value, lease: 0 })
        });
        let reads = transaction.require.iter().map(|requirement| {
            let key = self.key(&requirement.key);
            Operation::Range(RangeRequest { key, keys_only: true, ..RangeRequest::default() })
        });
        TxnRequest {
            compare: compare.collect(),
            success: nested(puts.chain(deletes).chain(marker).map(RequestOp::from).collect()),
            failure: reads.map(RequestOp::from).collect(),
        }
    }
}

/// As many operations as there are, within etcd's limit for each list: transactions within a transaction are one with it.
fn nested(mut operations: Vec<RequestOp>) -> Vec<RequestOp> {
    if operations.len() <= FLAT {
        return operations;
    }
    while operations.len() > NESTED {
        let mut groups = Vec::with_capacity(operations.len() / NESTED + 1);
        while !operations.is_empty() {
            let rest = operations.split_off(operations.len().min(NESTED));
            let success = std::mem::replace(&mut operations, rest);
            groups.push(Operation::Txn(TxnRequest { success, ..TxnRequest::default() }).into());
        }
        operations = groups;
    }
    operations
}

fn revision_of(answer: &TxnResponse) -> Revision {
    revision(answer.header.as_ref().map_or(0, |header| header.revision))
}

/// The first requirement that does not hold, by what was read when they did not.
fn conflict(transaction: &Transaction, answer: &TxnResponse) -> Commit {
    let modified = |response: &ResponseOp| {
        let kv = response.range.as_ref().and_then(|range| range.kvs.first());
        revision(kv.map_or(0, |kv| kv.mod_revision))
    };
    let found = transaction.require.iter().zip(answer.responses.iter().map(modified));
    let broken = found.clone().find(|(requirement, modified)| requirement.modified != *modified);
    let (key, modified) = match broken {
        Some((requirement, modified)) => (requirement.key.clone(), modified),
        None => (String::new(), revision_of(answer)),
    };
    Commit::Conflict { key, modified }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widest(operations: &[RequestOp], room: usize) -> usize {
        assert!(operations.len() <= room, "{} in a room for {room}", operations.len());
        let leaves = operations.iter().map(|operation| match &operation.operation {
            Some(Operation::Txn(inner)) => widest(&inner.success, room - operations.len()),
            _ => 1,
        });
        leaves.sum()
    }

    #[test]
    fn any_number_of_operations_stays_within_etcds_limit() {
        for count in [0, 1, FLAT, FLAT + 1, 1000, 1765, 10_001] {
            let delete = |n: usize| {
                Operation::Delete(DeleteRangeRequest { key: n.to_string().into() }).into()
            };
            let operations = nested((0..count).map(delete).collect());
            assert_eq!(widest(&operations, FLAT), count);
        }
    }
}
