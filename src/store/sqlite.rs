//! The embedded store: one SQLite file, owned by one process.
//!
//! One connection writes and one reads, so that a long load holds up no commit. Commits that arrive while another is being
//! written go to the disk together: they keep their own revisions and share one sync. It will not let a second process in.

mod schema;
mod tables;
mod watch;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::feed::Feed;
use super::lease::{Leases, MAX_TTL, MIN_TTL};
use super::{
    Batch, Commit, LeaseId, Revision, Snapshot, Store, StoreError, Transaction, Watch, clock,
};
use writer::{Ticket, Writer};

pub(super) use watch::Cursor;

/// How much of the past a store remembers, for watches that were away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Revisions; also how many tagged commits are remembered.
    pub revisions: u64,
    /// Bytes of events.
    pub bytes: u64,
}

impl Default for History {
    fn default() -> Self {
        Self { revisions: 10_000, bytes: 64 << 20 }
    }
}

/// The embedded store. Clones share it.
#[derive(Debug, Clone)]
pub struct Sqlite {
    engine: Arc<Engine>,
}

#[derive(Debug)]
pub(super) struct Engine {
    path: PathBuf,
    identity: String,
    history: History,
    writer: Mutex<Writer>,
    queue: Mutex<Vec<Arc<Ticket>>>,
    reader: Mutex<Connection>,
    /// Locked after `writer` where both are.
    leases: Mutex<Leases>,
    leases_changed: Condvar,
    feed: Feed,
    /// Declared last: given up when the connections are closed.
    _lock: File,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sqlite {
    /// Opens the database, which is made (mode 0600, in a directory that must exist) if it is not there.
    ///
    /// # Errors
    /// [`StoreError::AlreadyServed`] if another process has it, [`StoreError::NewerVersion`], [`StoreError::ReadOnly`] and
    /// the database's other refusals, [`StoreError::Unreachable`] if the directory is not there.
    pub fn open(database: &Path) -> Result<Self, StoreError> {
        Self::open_with(database, History::default())
    }

    /// Opens the database and remembers no more of the past than `history`.
    ///
    /// # Errors
    /// As [`Sqlite::open`].
    pub fn open_with(database: &Path, history: History) -> Result<Self, StoreError> {
        let lock = schema::lock(database)?;
        schema::ensure_file(database)?;
        let writing = schema::connect(database)?;
        let reader = schema::connect(database)?;
        let refused = |error| StoreError::database(database, &error);
        let meta = tables::meta(&writing).map_err(refused)?;
        let leases = begin_all(&writing).map_err(refused)?;
        let log_bytes = tables::log_bytes(&writing).map_err(refused)?;
        let engine = Engine {
            path: database.to_owned(),
            identity: meta.identity,
            history,
            writer: Mutex::new(Writer::new(writing, meta.revision, meta.compacted, log_bytes)),
            queue: Mutex::default(),
            reader: Mutex::new(reader),
            leases: Mutex::new(leases),
            leases_changed: Condvar::new(),
            feed: Feed::starting(meta.revision),
            _lock: lock,
        };
        Ok(Self { engine: Arc::new(engine) })
    }

    /// Expires leases, until [`Sqlite::close`]. Without it they live for ever.
    pub fn run_leases(&self) {
        while !self.engine.feed.is_closed() {
            let pause = self.engine.expire(clock::now());
            self.engine.await_leases(pause);
        }
    }

    /// Ends all watches, and [`Sqlite::run_leases`].
    pub fn close(&self) {
        self.engine.feed.close();
        let _leases = held(&self.engine.leases);
        self.engine.leases_changed.notify_all();
    }

    /// What tells this database from any other, also from one that replaced it at the same path.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.engine.identity
    }

    /// Commits once, however often it is asked to: a commit that happened with this id is not done again, and answers as
    /// it did then. As many ids are remembered as revisions.
    pub(super) fn commit_once(
        &self,
        id: Option<String>,
        transaction: Transaction,
    ) -> Result<Commit, StoreError> {
        transaction.validate()?;
        self.engine.commit(Ticket::new(id, transaction))
    }

    /// Where the store is.
    pub(super) fn load_revision(&self) -> Result<Revision, StoreError> {
        self.engine.read(tables::meta).map(|meta| meta.revision)
    }

    /// A place in the history from which to read on.
    pub(super) fn cursor(&self, prefix: &str, after: Revision) -> Result<Cursor, StoreError> {
        self.engine.check_remembered(after)?;
        Ok(Cursor::new(Arc::clone(&self.engine), prefix, after))
    }
}

fn begin_all(connection: &Connection) -> rusqlite::Result<Leases> {
    let (mut leases, now) = (Leases::default(), clock::now());
    for (lease, ttl_ms) in tables::leases(connection)? {
        leases.begin(lease, Duration::from_millis(u64::try_from(ttl_ms).unwrap_or(0)), now);
    }
    Ok(leases)
}

impl Store for Sqlite {
    fn load(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        self.engine.read(|connection| {
            let revision = tables::meta(connection)?.revision;
            Ok(Snapshot { revision, objects: tables::objects(connection, prefix)? })
        })
    }

    fn commit(&self, transaction: &Transaction) -> Result<Commit, StoreError> {
        self.commit_once(None, transaction.clone())
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(self.cursor(prefix, after)?))
    }

    fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let ttl = ttl.clamp(MIN_TTL, MAX_TTL);
        let milliseconds = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let writer = held(&self.engine.writer);
        let granted = tables::grant(writer.connection(), milliseconds);
        let lease = granted.map_err(|error| self.engine.refused(&error))?;
        held(&self.engine.leases).begin(lease, ttl, clock::now());
        self.engine.leases_changed.notify_all();
        Ok(lease)
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        match held(&self.engine.leases).keep_alive(lease, clock::now()) {
            true => Ok(()),
            false => Err(StoreError::LeaseGone { lease }),
        }
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.engine.revoke(lease)
    }
}

impl Engine {
    fn refused(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::database(&self.path, error)
    }

    /// Reads at one revision.
    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let reader = held(&self.reader);
        let transaction = reader.unchecked_transaction().map_err(|error| self.refused(&error))?;
        read(&transaction).map_err(|error| self.refused(&error))
    }

    /// Refuses a place whose next revisions are forgotten, and one in a future that this database has not seen: it is then
    /// not the database that the place was learnt from.
    fn check_remembered(&self, after: Revision) -> Result<(), StoreError> {
        let meta = self.read(tables::meta)?;
        if after < meta.compacted {
            return Err(StoreError::Compacted { oldest: meta.compacted });
        }
        if after > meta.revision {
            return Err(StoreError::Compacted { oldest: meta.revision });
        }
        Ok(())
    }

    /// The next revisions after `place`, from the log.
    fn replay(&self, place: Revision) -> Result<Vec<Batch>, StoreError> {
        let (compacted, batches) = self.read(|connection| {
            Ok((tables::meta(connection)?.compacted, tables::replay(connection, place)?))
        })?;
        if place < compacted {
            return Err(StoreError::Compacted { oldest: compacted });
        }
        Ok(batches)
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let mut writer = held(&self.writer);
        if !held(&self.leases).contains(lease) {
            return Err(StoreError::LeaseGone { lease });
        }
        self.end_leases(&mut writer, &[lease])
    }

    /// Ends the leases that are due, and says how long none will be.
    fn expire(&self, now: Instant) -> Option<Duration> {
        held(&self.leases).forgive_stall(now);
        if !held(&self.leases).due(now).is_empty() {
            let mut writer = held(&self.writer);
            let due = held(&self.leases).due(now);
            // A database that refuses now is asked again at the next look; the leases stay due.
            let _refused = self.end_leases(&mut writer, &due);
        }
        // From the same moment: what passed since then, the next look is late by.
        held(&self.leases).plan_look(now)
    }

    /// Ends leases in one revision. They cannot be kept alive from here on, unless the database refuses.
    fn end_leases(&self, writer: &mut Writer, ended: &[LeaseId]) -> Result<(), StoreError> {
        let taken: Vec<_> = {
            let mut leases = held(&self.leases);
            ended.iter().filter_map(|lease| Some((*lease, leases.remove(*lease)?))).collect()
        };
        writer.end_leases(self, ended).map_err(|error| {
            held(&self.leases).restore(taken);
            self.refused(&error)
        })
    }

    fn await_leases(&self, pause: Option<Duration>) {
        let leases = held(&self.leases);
        if self.feed.is_closed() {
            return;
        }
        match pause {
            Some(pause) => drop(self.leases_changed.wait_timeout(leases, pause)),
            None if leases.is_empty() => drop(self.leases_changed.wait(leases)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
