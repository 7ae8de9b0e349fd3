//! Room on disk: retention, and what goes when `store.max_size` is nearly used.
//!
//! From 80 % on the oldest history goes first, then answers of keys older than 1 h. Records that
//! are waiting or dead, open sessions, keys and ended sessions of the last 24 h never go. The last
//! 5 % are kept for what settles records that are there already; only then a batch is `Full`.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::sqlite_rows as rows;
use super::{Batch, RecordId};
use crate::clock::Wall;

/// Rows that one purge removes at most of each kind, so that no commit waits long behind it.
const PURGE_ROWS: u32 = 10_000;
/// Rows that one commit removes at most to make room.
const ROOM_ROWS: u32 = 2_000;
/// Rows between two looks at the size.
const ROOM_STEP: u32 = 200;
const ANSWER_AGE: Duration = Duration::from_secs(60 * 60);
const ENDED_SESSION_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Pages of WAL after which it is written back.
const WAL_PAGES: std::ops::RangeInclusive<u64> = 32..=4_000;
/// A smaller limit could not hold the WAL beside a few records.
const LEAST_BYTES: u64 = 1 << 20;
/// What a batch takes beside its bodies: keys, indexes, the rest of a page.
const BATCH_OVERHEAD_BYTES: usize = 1024;

/// `store.max_size`, and how much of it is used.
///
/// The WAL counts with what it may become, so that the shares mean the same before and after it is
/// written back.
#[derive(Debug)]
pub(super) struct Room {
    max_bytes: Option<u64>,
    /// Estimate that grows with every batch of a transaction.
    used_bytes: u64,
}

impl Room {
    pub(super) fn new(max_bytes: Option<u64>) -> Room {
        Room { max_bytes: max_bytes.map(|max| max.max(LEAST_BYTES)), used_bytes: 0 }
    }

    pub(super) fn max_bytes(&self) -> Option<u64> {
        self.max_bytes
    }

    /// Tells SQLite the limit: pages of the database, and of the WAL.
    pub(super) fn limit(&self, db: &Connection) -> rusqlite::Result<()> {
        let page = pragma(db, "PRAGMA page_size")?.max(512);
        let wal_pages = self.wal_pages(page);
        let wal_bytes = wal_pages * page;
        db.execute_batch(&format!(
            "PRAGMA wal_autocheckpoint = {wal_pages}; PRAGMA journal_size_limit = {wal_bytes};"
        ))?;
        if let Some(max) = self.max_bytes {
            let pages = max / page - 2 * wal_pages;
            db.execute_batch(&format!("PRAGMA max_page_count = {pages}"))?;
        }
        Ok(())
    }

    /// A sixteenth of the limit. The file may reach twice that, because a transaction is written
    /// whole.
    fn wal_pages(&self, page: u64) -> u64 {
        let (least, most) = (*WAL_PAGES.start(), *WAL_PAGES.end());
        self.max_bytes.map_or(most, |max| (max / page / 16).clamp(least, most))
    }

    fn used(&self, db: &Connection) -> rusqlite::Result<u64> {
        let page = pragma(db, "PRAGMA page_size")?;
        Ok((live_pages(db)? + 2 * self.wal_pages(page.max(512))) * page)
    }

    /// Removes history inside the open transaction while 80 % are used. True if any was removed.
    pub(super) fn make(&mut self, db: &Connection, now: Wall) -> rusqlite::Result<bool> {
        let Some(max) = self.max_bytes else { return Ok(false) };
        let enough = max / 100 * 80;
        let mut removed = 0;
        self.used_bytes = self.used(db)?;
        while self.used_bytes >= enough && removed < ROOM_ROWS {
            let step = remove_oldest(db, now)?;
            if step == 0 {
                break;
            }
            removed += step;
            self.used_bytes = self.used(db)?;
        }
        Ok(removed > 0)
    }

    /// May a batch that makes new records come in?
    pub(super) fn admits(&mut self, batch: &Batch) -> bool {
        let Some(max) = self.max_bytes else { return true };
        let sessions: usize = batch.sessions.iter().map(|row| row.body.len()).sum();
        let records: usize = batch.records.iter().map(|row| row.body.len()).sum();
        let answers: usize =
            batch.keys.iter().map(|row| row.answer.as_ref().map_or(0, bytes::Bytes::len)).sum();
        let bytes = sessions + records + answers + BATCH_OVERHEAD_BYTES;
        self.used_bytes = self.used_bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.used_bytes <= max / 100 * 95
    }
}

/// Pages in use and the WAL. Freed pages are used again, so they do not count.
pub(super) fn used_bytes(db: &Connection, wal: &Path) -> rusqlite::Result<u64> {
    let wal = std::fs::metadata(wal).map_or(0, |file| file.len());
    Ok(live_pages(db)? * pragma(db, "PRAGMA page_size")? + wal)
}

fn live_pages(db: &Connection) -> rusqlite::Result<u64> {
    let all = pragma(db, "PRAGMA page_count")?;
    Ok(all.saturating_sub(pragma(db, "PRAGMA freelist_count")?))
}

fn pragma(db: &Connection, sql: &str) -> rusqlite::Result<u64> {
    let value: i64 = db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(u64::try_from(value).unwrap_or(0))
}

/// One step of making room: history, else ended sessions, else answers. How many rows.
fn remove_oldest(db: &Connection, now: Wall) -> rusqlite::Result<u32> {
    let records = remove_history(db, Wall(i64::MAX), ROOM_STEP)?;
    if records > 0 {
        return Ok(records);
    }
    let sessions = remove_sessions(db, now - ENDED_SESSION_AGE, ROOM_STEP)?;
    if sessions > 0 {
        return Ok(sessions);
    }
    drop_answers(db, now - ANSWER_AGE, ROOM_STEP)
}

/// Removes what retention allows. Dead records by interface: CH-1, CH-2.
pub(super) fn purge(
    db: &Connection,
    acknowledged_before: Wall,
    dead_before: Wall,
    now: Wall,
) -> rusqlite::Result<(u64, u64)> {
    remove_history(db, acknowledged_before, PURGE_ROWS)?;
    remove_sessions(db, acknowledged_before, PURGE_ROWS)?;
    db.prepare_cached(
        "DELETE FROM idempotency_key WHERE n IN (
           SELECT n FROM idempotency_key k WHERE expires_at <= ?1
             AND NOT EXISTS (SELECT 1 FROM record r
                             WHERE r.subject = k.subject AND r.state IN (0, 3))
           ORDER BY expires_at LIMIT ?2)",
    )?
    .execute(params![now.0, PURGE_ROWS])?;
    let dead: Vec<(i64, String, i64)> = db
        .prepare_cached(
            "SELECT n, subscribers, interface FROM record
             WHERE state = 3 AND created_at < ?1 ORDER BY created_at LIMIT ?2",
        )?
        .query_map(params![dead_before.0, PURGE_ROWS], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut gone = (0, 0);
    for (n, subscribers, interface) in dead {
        rows::remove_record(db, n, subscribers)?;
        match interface {
            1 => gone.0 += 1,
            _ => gone.1 += 1,
        }
    }
    Ok(gone)
}

/// Removes those of these records that are dead: CH-1, CH-2.
pub(super) fn remove_dead(db: &Connection, records: &[RecordId]) -> rusqlite::Result<(u64, u64)> {
    let mut gone = (0, 0);
    for id in records {
        let found: Option<(i64, String, i64)> = db
            .prepare_cached(
                "SELECT n, subscribers, interface FROM record WHERE id = ?1 AND state = 3",
            )?
            .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((n, subscribers, interface)) = found else { continue };
        rows::remove_record(db, n, subscribers)?;
        match interface {
            1 => gone.0 += 1,
            _ => gone.1 += 1,
        }
    }
    Ok(gone)
}

/// The oldest records that are neither waiting nor dead.
fn remove_history(db: &Connection, before: Wall, limit: u32) -> rusqlite::Result<u32> {
    let records: Vec<(i64, String)> = db
        .prepare_cached(
            "SELECT n, subscribers FROM record
             WHERE state IN (1, 2, 4, 5) AND created_at < ?1 ORDER BY created_at LIMIT ?2",
        )?
        .query_map(params![before.0, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let count = records.len();
    for (n, subscribers) in records {
        rows::remove_record(db, n, subscribers)?;
    }
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Ended sessions of which no record is waiting or dead.
fn remove_sessions(db: &Connection, before: Wall, limit: u32) -> rusqlite::Result<u32> {
    let removed = db
        .prepare_cached(
            "DELETE FROM session WHERE n IN (
               SELECT n FROM session s WHERE ended = 1 AND changed_at < ?1
                 AND NOT EXISTS (SELECT 1 FROM record r
                                 WHERE r.subject = s.id AND r.state IN (0, 3))
               ORDER BY changed_at LIMIT ?2)",
        )?
        .execute(params![before.0, limit])?;
    Ok(u32::try_from(removed).unwrap_or(u32::MAX))
}

/// Empties answers; the key stays and is known as one whose answer was dropped.
fn drop_answers(db: &Connection, before: Wall, limit: u32) -> rusqlite::Result<u32> {
    let sql = format!(
        "SELECT {}, written_at FROM idempotency_key
         WHERE length(answer) > 0 AND written_at < ?1 ORDER BY written_at LIMIT ?2",
        rows::KEY_COLUMNS
    );
    let keys = db
        .prepare_cached(&sql)?
        .query_map(params![before.0, limit], |row| Ok((rows::key(row)?, row.get(9)?)))?
        .collect::<rusqlite::Result<Vec<(rows::Checked<_>, i64)>>>()?;
    let count = keys.len();
    for (key, written_at) in keys {
        match key {
            Ok(mut key) => {
                key.answer = Some(bytes::Bytes::new());
                rows::put_key(db, &key, Wall(written_at))?;
            }
            Err(damaged) => drop(rows::quarantine(db, &damaged, before)?),
        }
    }
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}
