//! The outbox's file. The only home of rusqlite.

use std::{collections::BTreeSet, fs, time::Duration};

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior, params};
use tracing::debug;

use super::{Entry, Message};
use crate::config;

/// A file up to this size is checked as a whole when it is opened: 32 MiB take about 0.1 s from the page cache.
const CHECK_BYTES_MAX: u64 = 32 << 20;
/// Earlier dates (before 2020), ms since 1970, come from a clock that was not set yet; such a row's age is unknown.
const DATE_MIN_MS: u64 = 1_577_836_800_000;
/// How many rows are checked for their age at a time, the oldest first; more than one push adds.
const AGE_ROWS: u32 = 512;
/// How many free pages an empty outbox keeps for the next readings: 256 KiB.
const FREE_PAGES_MAX: i64 = 64;
/// "edge" in ASCII: marks the file as ours.
const APPLICATION_ID: i64 = 0x6564_6765;
/// The version of the table.
const LAYOUT: i64 = 1;

#[derive(Debug)]
pub(super) struct Disk {
    connection: Connection,
    page_bytes: u64,
    pub(super) rows: u64,
}

/// The number of rows that a transaction deleted, and how many of them were given up for a limit.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) deleted: u64,
    pub(super) given_up: u64,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum DiskError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("the file is damaged: {0}")]
    Damaged(String),
    #[error("the file is not an outbox of this version")]
    Foreign,
}

impl DiskError {
    /// Whether the file itself is damaged, so that a new one would work.
    pub(super) fn is_corruption(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Foreign => true,
            Self::Sqlite(err) => {
                matches!(err.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            }
        }
    }

    /// Whether the disk is full; the connection can still be used for reading.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Sqlite(err) if err.sqlite_error_code() == Some(ErrorCode::DiskFull))
    }
}

/// Rows older than this date have expired. `None` while the date is not known.
fn cutoff_ms(bounds: &config::Outbox, now_ms: u64) -> Option<u64> {
    (DATE_MIN_MS <= now_ms).then(|| now_ms.saturating_sub(u64::from(bounds.age_max_s) * 1000))
}

/// SQLite stores signed integers; no date is that large.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl Disk {
    pub(super) fn open(bounds: &config::Outbox) -> Result<Self, DiskError> {
        let size = fs::metadata(&bounds.file).map_or(0, |metadata| metadata.len());
        let connection = Connection::open(&bounds.file)?;
        connection.busy_timeout(Duration::from_millis(250))?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let ours = pragma("application_id")? == APPLICATION_ID && pragma("user_version")? == LAYOUT;
        if 0 < tables && !ours {
            return Err(DiskError::Foreign);
        }
        if tables == 0 {
            // Can only be set in an empty file; it allows a large file to shrink again.
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let page_bytes = unsigned(pragma("page_size")?).max(512);
        let log_bytes = log_bytes_max(bounds);
        connection.pragma_update(None, "wal_autocheckpoint", signed((log_bytes / page_bytes).max(1)))?;
        connection.pragma_update(None, "journal_size_limit", signed(log_bytes))?;
        if tables == 0 {
            connection.execute_batch(&format!(
                "BEGIN IMMEDIATE;
                 CREATE TABLE message (row INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, topic TEXT NOT NULL,
                                       payload BLOB NOT NULL) STRICT;
                 PRAGMA application_id = {APPLICATION_ID};
                 PRAGMA user_version = {LAYOUT};
                 COMMIT;"
            ))?;
        } else if size <= CHECK_BYTES_MAX {
            let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if verdict != "ok" {
                return Err(DiskError::Damaged(verdict));
            }
        }
        let rows = unsigned(connection.query_row("SELECT count(*) FROM message", [], |row| row.get(0))?);
        Ok(Self { connection, page_bytes, rows })
    }

    pub(super) fn last_row(&self) -> rusqlite::Result<i64> {
        let mut select = self.connection.prepare_cached("SELECT coalesce(max(row), 0) FROM message")?;
        select.query_row([], |row| row.get(0))
    }

    /// Whether the oldest row has expired. False if its age is unknown.
    pub(super) fn oldest_is_expired(&self, bounds: &config::Outbox, now_ms: u64) -> bool {
        let Some(cutoff) = cutoff_ms(bounds, now_ms) else { return false };
        self.oldest_ms().is_ok_and(|oldest| oldest.is_some_and(|at_ms| (DATE_MIN_MS..cutoff).contains(&at_ms)))
    }

    fn oldest_ms(&self) -> rusqlite::Result<Option<u64>> {
        let mut select = self.connection.prepare_cached("SELECT at_ms FROM message ORDER BY row LIMIT 1")?;
        Ok(select.query_row([], |row| row.get(0)).optional()?.map(unsigned))
    }

    pub(super) fn batch(
        &self,
        after: i64,
        count: usize,
        except: &BTreeSet<i64>,
    ) -> rusqlite::Result<Vec<(i64, Message)>> {
        let mut select =
            self.connection.prepare_cached("SELECT row, topic, payload FROM message WHERE row > ? ORDER BY row")?;
        let rows =
            select.query_map([after], |row| Ok((row.get(0)?, Message { topic: row.get(1)?, payload: row.get(2)? })))?;
        rows.filter(|row| !row.as_ref().is_ok_and(|(row, _)| except.contains(row))).take(count).collect()
    }

    /// Returns free pages to the file system after a long outage, if there are more than `free_max`.
    fn shrink(&self, free_max: i64) -> rusqlite::Result<()> {
        let free: i64 = self.connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        if free <= free_max {
            return Ok(());
        }
        let mut vacuum = self.connection.prepare_cached("PRAGMA incremental_vacuum")?;
        let mut steps = vacuum.query([])?;
        // One page is freed by each step.
        while steps.next()?.is_some() {}
        Ok(())
    }

    /// One transaction: deletes acknowledged rows, adds new ones, and deletes the oldest above a limit.
    pub(super) fn save(
        &mut self,
        new: &[Entry],
        acknowledged: &BTreeSet<i64>,
        bounds: &config::Outbox,
        now_ms: u64,
    ) -> rusqlite::Result<Done> {
        let rows = self.rows + new.len() as u64;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut done = Done::default();
        {
            let mut delete = transaction.prepare_cached("DELETE FROM message WHERE row = ?")?;
            for row in acknowledged {
                done.deleted += delete.execute([row])? as u64;
            }
            let mut insert = transaction.prepare_cached("INSERT INTO message VALUES (?, ?, ?, ?)")?;
            for Entry { row, at_ms, message } in new {
                insert.execute(params![row, signed(*at_ms), message.topic, message.payload])?;
            }
        }
        let by_age = delete_expired(&transaction, bounds, now_ms)?;
        let left = rows.saturating_sub(done.deleted + by_age);
        let by_rows = delete_oldest(&transaction, left.saturating_sub(u64::from(bounds.rows_max)))?;
        let by_bytes = delete_over_bytes(&transaction, bounds, self.page_bytes, left - by_rows)?;
        done.given_up = by_age + by_rows + by_bytes;
        done.deleted += done.given_up;
        transaction.commit()?;
        let shrunk = match () {
            () if 0 < by_bytes => self.shrink(0),
            () if rows == done.deleted => self.shrink(FREE_PAGES_MAX),
            () => Ok(()),
        };
        // The rows are stored by now, so an error here must not count as a failure to store them.
        shrunk.unwrap_or_else(|err| debug!(%err, "the outbox could not be made smaller"));
        Ok(done)
    }
}

fn delete_expired(transaction: &Transaction<'_>, bounds: &config::Outbox, now_ms: u64) -> rusqlite::Result<u64> {
    let Some(cutoff) = cutoff_ms(bounds, now_ms) else { return Ok(0) };
    let mut delete = transaction.prepare_cached(
        "DELETE FROM message WHERE row IN (SELECT row FROM message ORDER BY row LIMIT ?) AND at_ms >= ? AND at_ms < ?",
    )?;
    Ok(delete.execute(params![AGE_ROWS, signed(DATE_MIN_MS), signed(cutoff)])? as u64)
}

fn delete_oldest(transaction: &Transaction<'_>, count: u64) -> rusqlite::Result<u64> {
    if count == 0 {
        return Ok(0);
    }
    let mut delete = transaction
        .prepare_cached("DELETE FROM message WHERE row IN (SELECT row FROM message ORDER BY row LIMIT ?)")?;
    Ok(delete.execute([signed(count)])? as u64)
}

fn delete_over_bytes(
    transaction: &Transaction<'_>,
    bounds: &config::Outbox,
    page_bytes: u64,
    mut rows: u64,
) -> rusqlite::Result<u64> {
    let pages_max = (bounds.bytes_max.saturating_sub(2 * log_bytes_max(bounds)) / page_bytes).max(1);
    let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map(unsigned);
    let mut deleted = 0;
    loop {
        let used = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
        if used <= pages_max || rows == 0 {
            return Ok(deleted);
        }
        // Rows have about the same size, so the surplus of pages is also the surplus of rows; one more ends the loop.
        let surplus = (rows * (used - pages_max) / used + 1).min(rows);
        deleted += delete_oldest(transaction, surplus)?;
        rows -= surplus;
    }
}

/// The largest write-ahead log, bytes. The log and its index are on disk beside the file, so twice this much is
/// reserved for them.
fn log_bytes_max(bounds: &config::Outbox) -> u64 {
    (bounds.bytes_max / 8).min(1 << 20)
}

#[cfg(test)]
impl Disk {
    /// Simulates a full disk: above `PRAGMA max_page_count` SQLite reports the same error as for ENOSPC.
    pub(super) fn fake_size(&self, pages: u32) {
        self.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    }
}

/// Another program's database.
#[cfg(test)]
pub(super) fn write_foreign(file: &std::path::Path) {
    Connection::open(file).unwrap().execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (7)").unwrap();
}
