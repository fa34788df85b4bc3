//! Reading and writing the tables. Each function is a part of somebody's transaction; none begins or ends one.

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::store::{Batch, Event, LeaseId, Object, Put, Revision};

/// Rows of the log read at once.
const REPLAY_ROWS: u64 = 128;
/// Bytes of the log read at once, after which no further row is begun.
const REPLAY_BYTES: usize = 4 << 20;

macro_rules! as_integer {
    ($newtype:ident) => {
        impl ToSql for $newtype {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.0.cast_signed()))
            }
        }

        impl FromSql for $newtype {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                i64::column_result(value).map(|number| Self(number.cast_unsigned()))
            }
        }
    };
}

as_integer!(Revision);
as_integer!(LeaseId);

/// What the store remembers of itself.
pub(super) struct Meta {
    pub(super) identity: String,
    pub(super) revision: Revision,
    /// The newest revision whose events are forgotten.
    pub(super) compacted: Revision,
}

pub(super) fn meta(connection: &Connection) -> rusqlite::Result<Meta> {
    let mut statement =
        connection.prepare_cached("SELECT identity, revision, compacted FROM meta")?;
    statement.query_row([], |row| {
        Ok(Meta { identity: row.get(0)?, revision: row.get(1)?, compacted: row.get(2)? })
    })
}

pub(super) fn set_meta(
    connection: &Connection,
    revision: Revision,
    compacted: Revision,
) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("UPDATE meta SET revision = ?1, compacted = ?2")?;
    statement.execute(params![revision, compacted]).map(drop)
}

/// The objects under `prefix`, sorted. Keys are compared bytewise (SQLite's BINARY over UTF-8).
pub(super) fn objects(connection: &Connection, prefix: &str) -> rusqlite::Result<Vec<Object>> {
    let query =
        "SELECT key, value, created, modified, lease FROM objects WHERE key >= ?1 ORDER BY key";
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query([prefix])?;
    let mut objects = Vec::new();
    while let Some(row) = rows.next()? {
        let object = object(row)?;
        if !object.key.starts_with(prefix) {
            break;
        }
        objects.push(object);
    }
    Ok(objects)
}

fn object(row: &Row<'_>) -> rusqlite::Result<Object> {
    Ok(Object {
        key: row.get(0)?,
        value: row.get(1)?,
        created: row.get(2)?,
        modified: row.get(3)?,
        lease: row.get(4)?,
    })
}

/// When `key` was last modified; [`Revision::NEVER`] if it is absent.
pub(super) fn modified(connection: &Connection, key: &str) -> rusqlite::Result<Revision> {
    let mut statement = connection.prepare_cached("SELECT modified FROM objects WHERE key = ?1")?;
    let found = statement.query_row([key], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(Revision::NEVER))
}

pub(super) fn put(
    connection: &Connection,
    put: &Put,
    revision: Revision,
) -> rusqlite::Result<Event> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO objects (key, value, created, modified, lease) VALUES (?1, ?2, ?3, ?3, ?4)
         ON CONFLICT (key) DO UPDATE SET value = ?2, modified = ?3, lease = ?4
         RETURNING key, value, created, modified, lease",
    )?;
    let values = params![put.key, put.value, revision, put.lease];
    statement.query_row(values, object).map(Event::Put)
}

/// The deletion, if there was something to delete.
pub(super) fn delete(
    connection: &Connection,
    key: &str,
    revision: Revision,
) -> rusqlite::Result<Option<Event>> {
    let mut statement = connection.prepare_cached("DELETE FROM objects WHERE key = ?1")?;
    let deleted = statement.execute([key])?;
    Ok((deleted > 0).then(|| Event::Delete { key: key.to_owned(), revision }))
}

/// Forgets `lease` and deletes its keys.
pub(super) fn end_lease(
    connection: &Connection,
    lease: LeaseId,
    revision: Revision,
) -> rusqlite::Result<Vec<Event>> {
    connection.prepare_cached("DELETE FROM leases WHERE id = ?1")?.execute([lease])?;
    let mut statement =
        connection.prepare_cached("DELETE FROM objects WHERE lease = ?1 RETURNING key")?;
    let keys = statement.query_map([lease], |row| row.get(0))?;
    keys.map(|key| Ok(Event::Delete { key: key?, revision })).collect()
}

/// The ids and TTLs, in milliseconds, of all leases.
pub(super) fn leases(connection: &Connection) -> rusqlite::Result<Vec<(LeaseId, i64)>> {
    let mut statement = connection.prepare_cached("SELECT id, ttl_ms FROM leases")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

pub(super) fn grant(connection: &Connection, ttl_ms: i64) -> rusqlite::Result<LeaseId> {
    let mut statement =
        connection.prepare_cached("INSERT INTO leases (ttl_ms) VALUES (?1) RETURNING id")?;
    statement.query_row([ttl_ms], |row| row.get(0))
}

/// The revision at which the commit tagged `id` happened, if it did and is remembered.
pub(super) fn done(connection: &Connection, id: &str) -> rusqlite::Result<Option<Revision>> {
    let mut statement = connection.prepare_cached("SELECT revision FROM commits WHERE id = ?1")?;
    statement.query_row([id], |row| row.get(0)).optional()
}

pub(super) fn remember(
    connection: &Connection,
    id: &str,
    revision: Revision,
) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("INSERT INTO commits (id, revision) VALUES (?1, ?2)")?;
    statement.execute(params![id, revision]).map(drop)
}

pub(super) fn forget_commits(connection: &Connection, until: Revision) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM commits WHERE revision <= ?1")?;
    statement.execute([until]).map(drop)
}

/// Writes the revision to the log and says how many bytes it takes there.
pub(super) fn log(connection: &Connection, batch: &Batch) -> rusqlite::Result<u64> {
    let events = serde_json::to_string(&batch.events)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let bytes = events.len() as u64;
    let mut statement = connection
        .prepare_cached("INSERT INTO log (revision, bytes, events) VALUES (?1, ?2, ?3)")?;
    statement.execute(params![batch.revision, bytes.cast_signed(), events])?;
    Ok(bytes)
}

/// The bytes that the log takes.
pub(super) fn log_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let sum: i64 =
        connection.query_row("SELECT coalesce(sum(bytes), 0) FROM log", [], |row| row.get(0))?;
    Ok(sum.cast_unsigned())
}

/// Forgets the oldest revision of the log and says how many bytes that frees; `None` if the log is empty.
pub(super) fn forget_oldest(connection: &Connection) -> rusqlite::Result<Option<(Revision, u64)>> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM log WHERE revision = (SELECT min(revision) FROM log) RETURNING revision, bytes",
    )?;
    let oldest = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()));
    statement.query_row([], oldest).optional()
}

/// The next revisions of the log after `place`: some, but not all at once.
pub(super) fn replay(connection: &Connection, place: Revision) -> rusqlite::Result<Vec<Batch>> {
    let query = "SELECT revision, events FROM log WHERE revision > ?1 ORDER BY revision LIMIT ?2";
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query(params![place, REPLAY_ROWS.cast_signed()])?;
    let (mut batches, mut bytes) = (Vec::new(), 0);
    while bytes < REPLAY_BYTES
        && let Some(row) = rows.next()?
    {
        let text = row.get_ref(1)?.as_str()?;
        bytes += text.len();
        let events = serde_json::from_str(text).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, error.into())
        })?;
        batches.push(Batch { revision: row.get(0)?, events });
    }
    Ok(batches)
}
