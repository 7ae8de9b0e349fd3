//! The embedded store: SQLite with a WAL, flushed at every commit, in a folder of its own.
//!
//! One commit takes many batches: one transaction and one flush, a savepoint per batch, so that a
//! batch that conflicts leaves the others untouched. When a flush fails, nothing is acknowledged
//! and the database is never written again: its live state goes into the next generation.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::sqlite_folder::{Folder, remove, wal_of};
use super::sqlite_open::{commit_number, connect, open, set_commit_number};
use super::sqlite_room::{Room, used_bytes};
use super::sqlite_rows as rows;
use super::sqlite_rows::{Checked, RECORD_COLUMNS};
use super::{
    Batch, CommitResult, Key, KeyRow, Query, RecordId, RecordRow, Recovered, SessionRow, Store,
};
use crate::clock::Wall;

pub use super::sqlite_open::{OpenError, Options};
pub use super::sqlite_verify::{Verified, verify};

/// Between two attempts to leave a failed generation.
const RETRY: Duration = Duration::from_secs(1);

type Counters = Vec<(String, u64)>;

/// The store of one gateway.
#[derive(Debug)]
pub struct SqliteStore {
    // Closed before the folder's lock is released.
    db: Connection,
    database: PathBuf,
    folder: Folder,
    room: Room,
    wall: fn() -> Wall,
    id: String,
    /// Number of the last transaction.
    commit: i64,
    /// A write or flush failed: nothing more goes into this generation, for this reason.
    poisoned: Option<String>,
    /// No new generation is tried before; a disk that fails for ever is not asked without end.
    retry_at: Wall,
    /// A commit ended as `Unknown`: what is read is not certain either.
    uncertain: bool,
}

impl SqliteStore {
    /// Opens the store, or makes one where there is none.
    ///
    /// # Errors
    /// See [`OpenError`]; the folder is left as it is.
    pub fn open(options: &Options) -> Result<SqliteStore, OpenError> {
        let folder = Folder::hold(&options.folder)?;
        let room = Room::new(options.max_size_bytes);
        let opened = open(&folder, &room)?;
        Ok(SqliteStore {
            db: opened.db,
            database: opened.database,
            folder,
            room,
            wall: options.wall,
            id: opened.id,
            commit: opened.commit,
            poisoned: None,
            retry_at: Wall(i64::MIN),
            uncertain: false,
        })
    }

    /// Random name that the store got when it was made.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The database in force.
    pub fn database(&self) -> &Path {
        &self.database
    }

    /// One transaction over the batches that have no result yet.
    ///
    /// `Some`: SQLite gave the transaction up for this reason. The batches that still have no
    /// result may be tried once more.
    fn attempt(
        &mut self,
        batches: &[Batch],
        results: &mut [Option<CommitResult>],
    ) -> Option<CommitResult> {
        let begun = self.db.prepare_cached("BEGIN IMMEDIATE").and_then(|mut s| s.execute([]));
        let room = begun.and_then(|_| self.room.make(&self.db, (self.wall)()));
        let made_room = match room {
            Ok(made_room) => made_room,
            Err(error) => {
                self.roll_back();
                return Some(self.judge(&error));
            }
        };
        let mut written = Vec::new();
        for (index, batch) in batches.iter().enumerate() {
            if results[index].is_some() {
                continue;
            }
            match self.apply(batch) {
                Ok(None) => written.push(index),
                Ok(Some(refused)) => results[index] = Some(refused),
                Err(error) => {
                    let judged = self.judge(&error);
                    results[index] = Some(judged.clone());
                    if self.poisoned.is_some() || self.db.is_autocommit() {
                        self.roll_back();
                        return Some(judged);
                    }
                }
            }
        }
        if written.is_empty() && !made_room {
            self.roll_back();
            return None;
        }
        let result = self.finish();
        for index in written {
            results[index] = Some(result.clone());
        }
        None
    }

    /// One batch inside its savepoint.
    fn apply(&mut self, batch: &Batch) -> rusqlite::Result<Option<CommitResult>> {
        for key in &batch.claims {
            if rows::has_key(&self.db, key)? {
                return Ok(Some(CommitResult::Conflict(key.clone())));
            }
        }
        self.db.prepare_cached("SAVEPOINT batch")?.execute([])?;
        let refused = match write(&self.db, batch, (self.wall)()) {
            Ok(grows) if !grows || self.room.admits(batch) => None,
            Ok(_) => Some(Ok(CommitResult::Full)),
            Err(error) => Some(Err(error)),
        };
        match refused {
            None => {
                self.db.prepare_cached("RELEASE batch")?.execute([])?;
                Ok(None)
            }
            Some(result) => {
                if !self.db.is_autocommit() {
                    self.db.prepare_cached("ROLLBACK TO batch")?.execute([])?;
                    self.db.prepare_cached("RELEASE batch")?.execute([])?;
                }
                result.map(Some)
            }
        }
    }

    /// Commits the transaction; if that fails, finds out what is on disk.
    fn finish(&mut self) -> CommitResult {
        let number = self.commit + 1;
        let committed = set_commit_number(&self.db, number)
            .and_then(|()| self.db.prepare_cached("COMMIT")?.execute([]));
        let error = match committed {
            Ok(_) => {
                self.commit = number;
                return CommitResult::Durable;
            }
            Err(error) => error,
        };
        self.roll_back();
        let judged = self.judge(&error);
        // Frames of the failed transaction may stand in the WAL, complete but for the flush, and
        // come to life at the next start. Another commit takes their place; on a full disk there
        // is room for it, because it is smaller than what stands there.
        if self.poisoned.is_none() && self.overwrite() {
            return judged;
        }
        let reason = error.to_string();
        self.poisoned.get_or_insert_with(|| reason.clone());
        match self.renew() {
            Err(error) => {
                self.uncertain = true;
                CommitResult::Unknown(format!("{reason}; then {error}"))
            }
            Ok(()) if self.commit >= number => CommitResult::Durable,
            Ok(()) => judged,
        }
    }

    /// A transaction that only counts.
    fn overwrite(&mut self) -> bool {
        let number = self.commit + 2;
        let done = self.db.execute_batch("BEGIN IMMEDIATE").and_then(|()| {
            set_commit_number(&self.db, number)?;
            self.db.execute_batch("COMMIT")
        });
        if done.is_err() {
            self.roll_back();
            return false;
        }
        self.commit = number;
        true
    }

    /// What an error means to the caller; an I/O error ends the generation.
    fn judge(&mut self, error: &rusqlite::Error) -> CommitResult {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => CommitResult::Full,
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt) => {
                self.poisoned = Some(error.to_string());
                if self.folder.is_full() {
                    return CommitResult::Full;
                }
                CommitResult::Failed(error.to_string())
            }
            _ => CommitResult::Failed(error.to_string()),
        }
    }

    fn roll_back(&self) {
        if !self.db.is_autocommit() {
            // The connection is renewed if even this fails: the next BEGIN reports it.
            let _ = self.db.execute_batch("ROLLBACK");
        }
    }

    /// Leaves a generation on which a write or flush failed (FD-08).
    fn heal(&mut self) -> Result<(), String> {
        let Some(reason) = self.poisoned.clone() else { return Ok(()) };
        let left = self.retry_at.since((self.wall)());
        // A clock that was set back does not make it longer.
        if !left.is_zero() && left <= RETRY {
            return Err(reason);
        }
        self.renew().map_err(|error| format!("{reason}; then {error}"))
    }

    /// Copies the live state into a new database and switches to it.
    fn renew(&mut self) -> Result<(), String> {
        self.roll_back();
        self.retry_at = (self.wall)() + RETRY;
        let next = self.folder.next_generation().map_err(|error| error.to_string())?;
        let renewed = self.copy_to(&next);
        let db = match renewed {
            Ok(db) => db,
            Err(error) => {
                // Unless CURRENT names it already: then it is whole, and only not known to stay.
                if !self.folder.names(&next) {
                    let _ = remove(&next);
                }
                return Err(error);
            }
        };
        let old = std::mem::replace(&mut self.db, db);
        // Closing must not write the failed generation once more.
        let _ = old.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        drop(old);
        let old = std::mem::replace(&mut self.database, next);
        // It is no longer named by CURRENT; an operator may remove what cannot be removed here.
        let _ = remove(&old);
        self.poisoned = None;
        self.uncertain = false;
        self.commit = commit_number(&self.db).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn copy_to(&self, next: &Path) -> Result<Connection, String> {
        let copied = self.db.execute("VACUUM INTO ?1", [next.to_string_lossy().as_ref()]);
        copied.map_err(|error| error.to_string())?;
        // The connection comes first: its WAL mode is part of the file that is then synced.
        let db = connect(next, &self.room).map_err(|error| error.to_string())?;
        self.folder.switch_to(next).map_err(|error| error.to_string())?;
        Ok(db)
    }

    /// One transaction that removes rows.
    fn remove(
        &mut self,
        rows: impl FnOnce(&Connection) -> rusqlite::Result<(u64, u64)>,
    ) -> Result<(u64, u64), String> {
        self.heal()?;
        let begun = self.db.execute_batch("BEGIN IMMEDIATE");
        match begun.and_then(|()| rows(&self.db)) {
            Ok(gone) => match self.finish() {
                CommitResult::Durable => Ok(gone),
                other => Err(format!("{other:?}")),
            },
            Err(error) => {
                self.roll_back();
                self.judge(&error);
                Err(error.to_string())
            }
        }
    }

    /// What is read is certain.
    fn readable(&mut self) -> Result<(), String> {
        if self.uncertain { self.heal() } else { Ok(()) }
    }

    /// Runs `read` on every row; damaged ones go to quarantine and are left out.
    fn collect<T>(
        &mut self,
        sql: &str,
        params: &[&dyn rusqlite::ToSql],
        read: fn(&rusqlite::Row<'_>) -> rusqlite::Result<Checked<T>>,
    ) -> Result<Vec<T>, String> {
        let mut sound = Vec::new();
        let mut damaged = Vec::new();
        let mut scan = || -> rusqlite::Result<()> {
            let mut statement = self.db.prepare_cached(sql)?;
            for row in statement.query_map(params, read)? {
                match row? {
                    Ok(row) => sound.push(row),
                    Err(row) => damaged.push(row),
                }
            }
            Ok(())
        };
        scan().map_err(|error| error.to_string())?;
        for row in damaged {
            rows::quarantine(&self.db, &row, (self.wall)()).map_err(|error| error.to_string())?;
        }
        Ok(sound)
    }

    /// The one row, if it is there and sound.
    fn one<T>(
        &mut self,
        sql: &str,
        params: &[&dyn rusqlite::ToSql],
        read: fn(&rusqlite::Row<'_>) -> rusqlite::Result<Checked<T>>,
    ) -> Result<Option<T>, String> {
        self.readable()?;
        let found = self
            .db
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(params, read).optional())
            .map_err(|error| error.to_string())?;
        match found {
            None => Ok(None),
            Some(Ok(row)) => Ok(Some(row)),
            Some(Err(damaged)) => Err(format!(
                "row {} of {:?} is damaged: its checksum does not hold",
                damaged.row, damaged.table
            )),
        }
    }

    /// All counters; the names of damaged ones apart.
    fn counters(&self) -> rusqlite::Result<(Counters, Vec<String>)> {
        let mut sound = Vec::new();
        let mut damaged = Vec::new();
        let mut statement =
            self.db.prepare("SELECT name, value, crc FROM counter ORDER BY name")?;
        for row in statement.query_map([], rows::counter)? {
            match row? {
                Ok(counter) => sound.push(counter),
                Err(name) => damaged.push(format!("counter {name}")),
            }
        }
        Ok((sound, damaged))
    }

    /// Names of the rows that went to quarantine since the last start.
    fn report_quarantine(&self) -> rusqlite::Result<Vec<String>> {
        let names = self
            .db
            .prepare("SELECT name FROM quarantine WHERE reported = 0 ORDER BY n")?
            .query_map([], |row| {
                let name = row.get_ref(0)?.as_bytes().unwrap_or_default();
                Ok(String::from_utf8_lossy(name).into_owned())
            })?
            .collect::<rusqlite::Result<Vec<String>>>()?;
        if !names.is_empty() {
            self.db.execute("UPDATE quarantine SET reported = 1 WHERE reported = 0", [])?;
        }
        Ok(names)
    }
}

impl Store for SqliteStore {
    fn commit(&mut self, batches: &[Batch]) -> Vec<CommitResult> {
        if batches.is_empty() {
            return Vec::new();
        }
        if let Err(reason) = self.heal() {
            let full = self.folder.is_full();
            let result = if full { CommitResult::Full } else { CommitResult::Failed(reason) };
            return vec![result; batches.len()];
        }
        let mut results: Vec<Option<CommitResult>> = vec![None; batches.len()];
        let mut lost = self.attempt(batches, &mut results);
        if lost.is_some() && self.poisoned.is_none() {
            lost = self.attempt(batches, &mut results);
        }
        let lost = lost.unwrap_or(CommitResult::Full);
        results.into_iter().map(|result| result.unwrap_or_else(|| lost.clone())).collect()
    }

    fn recover(&mut self) -> Result<Recovered, String> {
        self.readable()?;
        let sessions = self.collect(
            "SELECT n, id, ended, opened_at, changed_at, body, crc
             FROM session INDEXED BY session_open WHERE ended = 0 ORDER BY id",
            &[],
            rows::session,
        )?;
        let sql = format!(
            "SELECT {RECORD_COLUMNS} FROM record r INDEXED BY record_open
             WHERE r.state IN (0, 3) ORDER BY r.id"
        );
        let records = self.collect(&sql, &[], rows::record)?;
        let (counters, mut quarantined) = self.counters().map_err(|error| error.to_string())?;
        quarantined.extend(self.report_quarantine().map_err(|error| error.to_string())?);
        Ok(Recovered { sessions, records, counters, quarantined })
    }

    fn key(&mut self, key: &Key) -> Result<Option<KeyRow>, String> {
        let sql = format!(
            "SELECT {} FROM idempotency_key WHERE scope = ?1 AND key = ?2",
            rows::KEY_COLUMNS
        );
        self.one(&sql, params![key.scope, key.key], rows::key)
    }

    fn session(&mut self, id: &str) -> Result<Option<SessionRow>, String> {
        self.one(
            "SELECT n, id, ended, opened_at, changed_at, body, crc FROM session WHERE id = ?1",
            params![id],
            rows::session,
        )
    }

    fn record(&mut self, id: RecordId) -> Result<Option<RecordRow>, String> {
        let sql = format!("SELECT {RECORD_COLUMNS} FROM record r WHERE r.id = ?1");
        self.one(&sql, params![id.0], rows::record)
    }

    fn search(&mut self, query: &Query) -> Result<Vec<RecordRow>, String> {
        self.readable()?;
        let search = super::sqlite_search::Search::new(query);
        self.collect(&search.sql(), &search.params(), rows::record)
    }

    fn purge(
        &mut self,
        acknowledged_before: Wall,
        dead_before: Wall,
        now: Wall,
    ) -> Result<(u64, u64), String> {
        self.remove(|db| super::sqlite_room::purge(db, acknowledged_before, dead_before, now))
    }

    fn remove_dead(&mut self, records: &[RecordId]) -> Result<(u64, u64), String> {
        self.remove(|db| super::sqlite_room::remove_dead(db, records))
    }

    fn size(&self) -> (u64, Option<u64>) {
        // A size that cannot be read is reported as 0; the next commit finds the reason.
        let used = used_bytes(&self.db, &wal_of(&self.database)).unwrap_or(0);
        (used, self.room.max_bytes())
    }
}

/// Writes one batch. True if it makes a record that was not there and settles none.
fn write(db: &Connection, batch: &Batch, now: Wall) -> rusqlite::Result<bool> {
    let mut made = false;
    let mut settled = false;
    for session in &batch.sessions {
        rows::put_session(db, session)?;
    }
    for record in &batch.records {
        let new = rows::put_record(db, record)?;
        made |= new;
        settled |= !new && !record.state.unacknowledged();
    }
    for key in &batch.keys {
        rows::put_key(db, key, now)?;
    }
    for (name, value) in &batch.counters {
        rows::put_counter(db, name, *value)?;
    }
    Ok(made && !settled)
}
