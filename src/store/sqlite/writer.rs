//! The one connection that writes, and the queue before it.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, TransactionBehavior};

use super::{Engine, held, tables};
use crate::killpoint;
use crate::store::{Batch, Commit, Event, LeaseId, Revision, StoreError, Transaction};

/// Commits that go to the disk together at most.
const TOGETHER: usize = 64;

/// A transaction that waits for its turn, and what became of it.
#[derive(Debug)]
pub(super) struct Ticket {
    id: Option<String>,
    transaction: Transaction,
    outcome: Mutex<Option<Outcome>>,
}

type Outcome = Result<Commit, StoreError>;

impl Ticket {
    pub(super) fn new(id: Option<String>, transaction: Transaction) -> Arc<Self> {
        Arc::new(Self { id, transaction, outcome: Mutex::default() })
    }

    /// What became of it, once.
    #[cfg(test)]
    pub(super) fn outcome(&self) -> Outcome {
        held(&self.outcome).take().expect("it was settled")
    }

    fn settle(&self, outcome: Outcome) {
        *held(&self.outcome) = Some(outcome);
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    connection: Connection,
    state: State,
}

/// Where the store is. A copy of it goes ahead with each database transaction and becomes true when that is on the disk.
#[derive(Debug, Clone, Copy)]
struct State {
    revision: Revision,
    compacted: Revision,
    log_bytes: u64,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        revision: Revision,
        compacted: Revision,
        log_bytes: u64,
    ) -> Self {
        Self { connection, state: State { revision, compacted, log_bytes } }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Does what `change` does in one database transaction and publishes the revisions it made.
    fn write<T>(
        &mut self,
        engine: &Engine,
        change: impl FnOnce(&mut Stage<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut stage = Stage { connection: &transaction, state: self.state, batches: Vec::new() };
        let result = change(&mut stage)?;
        if !stage.batches.is_empty() {
            stage.compact(engine)?;
        }
        let (state, batches) = (stage.state, stage.batches);
        let revision = state.revision;
        killpoint::pass(|| format!("revision {revision} is written, not committed"));
        transaction.commit()?;
        killpoint::pass(|| format!("revision {revision} is committed, not told"));
        self.state = state;
        if !batches.is_empty() {
            engine.feed.publish(batches);
        }
        Ok(result)
    }

    /// Ends leases, and deletes their keys in one revision.
    pub(super) fn end_leases(
        &mut self,
        engine: &Engine,
        ended: &[LeaseId],
    ) -> rusqlite::Result<()> {
        self.write(engine, |stage| {
            let revision = stage.state.revision.next();
            let mut events = Vec::new();
            for lease in ended {
                events.extend(tables::end_lease(stage.connection, *lease, revision)?);
            }
            events.sort_by(|a, b| a.key().cmp(b.key()));
            stage.record(events).map(drop)
        })
    }

    fn commit_together(
        &mut self,
        engine: &Engine,
        tickets: &[Arc<Ticket>],
    ) -> rusqlite::Result<Vec<Outcome>> {
        self.write(engine, |stage| {
            tickets.iter().map(|ticket| stage.commit(engine, ticket)).collect()
        })
    }

    /// Commits what waits, and says whether anything did. If the database refuses several together, each is tried alone, so
    /// that none answers for another.
    fn serve_queue(&mut self, engine: &Engine) -> bool {
        let tickets: Vec<_> = {
            let mut queue = held(&engine.queue);
            let count = queue.len().min(TOGETHER);
            queue.drain(..count).collect()
        };
        match self.commit_together(engine, &tickets) {
            Ok(outcomes) => {
                tickets.iter().zip(outcomes).for_each(|(ticket, outcome)| ticket.settle(outcome))
            }
            Err(_) => {
                tickets.iter().for_each(|ticket| ticket.settle(self.commit_alone(engine, ticket)))
            }
        }
        !tickets.is_empty()
    }

    fn commit_alone(&mut self, engine: &Engine, ticket: &Arc<Ticket>) -> Outcome {
        let mut outcomes = self
            .commit_together(engine, std::slice::from_ref(ticket))
            .map_err(|error| engine.refused(&error))?;
        outcomes.pop().unwrap_or_else(|| Err(abandoned(engine)))
    }
}

fn abandoned(engine: &Engine) -> StoreError {
    StoreError::Uncertain { path: engine.path.clone(), source: io::ErrorKind::Interrupted.into() }
}

impl Engine {
    /// Waits for the writer; whoever gets it commits everything that waits.
    pub(super) fn commit(&self, ticket: Arc<Ticket>) -> Outcome {
        held(&self.queue).push(Arc::clone(&ticket));
        let mut writer = held(&self.writer);
        loop {
            if let Some(outcome) = held(&ticket.outcome).take() {
                return outcome;
            }
            if !writer.serve_queue(self) {
                return Err(abandoned(self));
            }
        }
    }
}

/// A database transaction under way.
struct Stage<'c> {
    connection: &'c Connection,
    state: State,
    batches: Vec<Batch>,
}

impl Stage<'_> {
    /// Decides everything before it writes anything, so that a refused transaction leaves no trace among the others.
    fn commit(&mut self, engine: &Engine, ticket: &Ticket) -> rusqlite::Result<Outcome> {
        let transaction = &ticket.transaction;
        if let Some(id) = &ticket.id
            && let Some(revision) = tables::done(self.connection, id)?
        {
            return Ok(Ok(Commit::Done(revision)));
        }
        if let Some(conflict) = self.conflict(transaction)? {
            return Ok(Ok(conflict));
        }
        if let Some(lease) = lost_lease(engine, transaction) {
            return Ok(Err(StoreError::LeaseGone { lease }));
        }
        let before = self.state.revision;
        let events = self.apply(transaction)?;
        let revision = self.record(events)?;
        if let Some(id) = &ticket.id
            && revision > before
        {
            tables::remember(self.connection, id, revision)?;
        }
        Ok(Ok(Commit::Done(revision)))
    }

    fn conflict(&self, transaction: &Transaction) -> rusqlite::Result<Option<Commit>> {
        for requirement in &transaction.require {
            let modified = tables::modified(self.connection, &requirement.key)?;
            if modified != requirement.modified {
                return Ok(Some(Commit::Conflict { key: requirement.key.clone(), modified }));
            }
        }
        Ok(None)
    }

    fn apply(&self, transaction: &Transaction) -> rusqlite::Result<Vec<Event>> {
        let revision = self.state.revision.next();
        let mut events = Vec::with_capacity(transaction.put.len() + transaction.delete.len());
        for put in &transaction.put {
            events.push(tables::put(self.connection, put, revision)?);
        }
        for key in &transaction.delete {
            events.extend(tables::delete(self.connection, key, revision)?);
        }
        Ok(events)
    }

    /// Makes a revision of what changed, if something did; the store's revision after it.
    fn record(&mut self, events: Vec<Event>) -> rusqlite::Result<Revision> {
        if events.is_empty() {
            return Ok(self.state.revision);
        }
        let batch = Batch { revision: self.state.revision.next(), events };
        self.state.log_bytes += tables::log(self.connection, &batch)?;
        self.state.revision = batch.revision;
        self.batches.push(batch);
        Ok(self.state.revision)
    }

    /// Forgets what is older than the history kept, and writes down where the store is.
    fn compact(&mut self, engine: &Engine) -> rusqlite::Result<()> {
        let until = Revision(self.state.revision.0.saturating_sub(engine.history.revisions));
        while self.state.compacted < until || self.state.log_bytes > engine.history.bytes {
            let Some((revision, bytes)) = tables::forget_oldest(self.connection)? else {
                break;
            };
            self.state.compacted = revision;
            self.state.log_bytes = self.state.log_bytes.saturating_sub(bytes);
        }
        tables::forget_commits(self.connection, until)?;
        tables::set_meta(self.connection, self.state.revision, self.state.compacted)
    }
}

fn lost_lease(engine: &Engine, transaction: &Transaction) -> Option<LeaseId> {
    let named: BTreeSet<LeaseId> = transaction.put.iter().filter_map(|put| put.lease).collect();
    let leases = held(&engine.leases);
    named.into_iter().find(|lease| !leases.contains(*lease))
}
