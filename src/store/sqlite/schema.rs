//! The database file: its tables, how it is opened, and who may.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::store::StoreError;

/// The version of the tables below, kept as SQLite's `user_version`.
pub(super) const VERSION: u64 = 1;
/// "slb1", kept as SQLite's `application_id`, so that `file` and we know the database for ours.
const APPLICATION: i64 = 0x736c_6231;
/// For the moments in which a backup or an inspecting `sqlite3` holds the database.
const BUSY: Duration = Duration::from_secs(5);

const TABLES: &str = "
CREATE TABLE meta (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  identity TEXT NOT NULL,
  revision INTEGER NOT NULL,
  compacted INTEGER NOT NULL
);
INSERT INTO meta VALUES (1, lower(hex(randomblob(16))), 1, 0);
CREATE TABLE objects (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  created INTEGER NOT NULL,
  modified INTEGER NOT NULL,
  lease INTEGER
) WITHOUT ROWID;
CREATE INDEX objects_by_lease ON objects (lease) WHERE lease IS NOT NULL;
CREATE TABLE log (
  revision INTEGER PRIMARY KEY,
  bytes INTEGER NOT NULL,
  events TEXT NOT NULL
);
CREATE TABLE commits (
  id TEXT PRIMARY KEY,
  revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX commits_by_revision ON commits (revision);
CREATE TABLE leases (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  ttl_ms INTEGER NOT NULL
);
PRAGMA application_id = 0x736c6231;
PRAGMA user_version = 1;
";

/// Takes the database for this process until the file is dropped, or the process dies.
pub(super) fn lock(database: &Path) -> Result<File, StoreError> {
    let path = beside(database, ".lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(|error| StoreError::file(&path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::AlreadyServed {
                path: database.to_owned(),
                pid: holder(&mut file),
            });
        }
        Err(TryLockError::Error(error)) => return Err(StoreError::file(&path, error)),
    }
    let name = format!("{}\n", std::process::id());
    file.set_len(0)
        .and_then(|()| file.write_all(name.as_bytes()))
        .map_err(|error| StoreError::file(&path, error))?;
    Ok(file)
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// A path next to the database, named after it.
fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes the file if it is not there, for its owner only; SQLite gives its companions the same mode.
pub(super) fn ensure_file(database: &Path) -> Result<(), StoreError> {
    let refused = |error| StoreError::file(database, error);
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    let file = match options.clone().create_new(true).open(database) {
        Ok(file) => {
            sync_directory(database).map_err(refused)?;
            file
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            options.open(database).map_err(refused)?
        }
        Err(error) => return Err(refused(error)),
    };
    let mode = file.metadata().map_err(refused)?.permissions().mode() & 0o777;
    if mode != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(refused)?;
    }
    Ok(())
}

fn sync_directory(file: &Path) -> std::io::Result<()> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// A connection in the write-ahead mode whose commits survive power loss, its tables made if it had none.
pub(super) fn connect(database: &Path) -> Result<Connection, StoreError> {
    let refused = |error| StoreError::database(database, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(database, flags).map_err(refused)?;
    connection.busy_timeout(BUSY).map_err(refused)?;
    check(database, &connection)?;
    let journal: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(refused)?;
    if journal != "wal" {
        let sentence = format!("its journal mode stays {journal}, not wal");
        return Err(StoreError::Database { path: database.to_owned(), sentence });
    }
    connection
        .execute_batch("PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 16777216;")
        .map_err(refused)?;
    create(&mut connection).map_err(refused)?;
    Ok(connection)
}

/// Refuses a database that is somebody else's or of a later day, before a byte of it is changed.
fn check(database: &Path, connection: &Connection) -> Result<(), StoreError> {
    let refused = |error| StoreError::database(database, &error);
    let found = version(connection).map_err(refused)?;
    let application: i64 = pragma(connection, "PRAGMA application_id").map_err(refused)?;
    let tables: i64 = pragma(connection, "SELECT count(*) FROM sqlite_schema").map_err(refused)?;
    if application != APPLICATION && (application != 0 || tables != 0) {
        let sentence = "it is a database, but not one of swarmlb's".to_owned();
        return Err(StoreError::Database { path: database.to_owned(), sentence });
    }
    if found > VERSION {
        return Err(StoreError::NewerVersion { found, known: VERSION });
    }
    Ok(())
}

fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if version(&transaction)? == 0 {
        transaction.execute_batch(TABLES)?;
    }
    transaction.commit()
}

fn version(connection: &Connection) -> rusqlite::Result<u64> {
    pragma(connection, "PRAGMA user_version").map(|version| u64::try_from(version).unwrap_or(0))
}

fn pragma(connection: &Connection, query: &str) -> rusqlite::Result<i64> {
    connection.query_row(query, [], |row| row.get(0))
}
