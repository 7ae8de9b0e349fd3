//! Rows on disk: the schema, how a row is written, and how it is read back with its checksum.
//!
//! Every row carries the CRC32C of all its other columns. A row whose checksum does not hold is
//! moved to `quarantine` with its bytes: neither used nor lost.

use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Interface, Key, KeyRow, RecordId, RecordRow, RecordState, SessionRow};
use crate::clock::Wall;

/// Version of the schema; another one is refused.
pub(super) const FORMAT: &str = "1";

pub(super) const SCHEMA: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE session (
  n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, ended INTEGER NOT NULL,
  opened_at INTEGER NOT NULL, changed_at INTEGER NOT NULL, body BLOB NOT NULL,
  crc INTEGER NOT NULL);
CREATE INDEX session_open ON session (id) WHERE ended = 0;
CREATE INDEX session_ended ON session (changed_at) WHERE ended = 1;
CREATE TABLE record (
  n INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, subject TEXT NOT NULL,
  interface INTEGER NOT NULL, command TEXT NOT NULL, state INTEGER NOT NULL, due_at INTEGER,
  created_at INTEGER NOT NULL, subscribers TEXT NOT NULL, diameter_session_id TEXT NOT NULL,
  body BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE INDEX record_open ON record (id) WHERE state IN (0, 3);
CREATE INDEX record_dead ON record (created_at) WHERE state = 3;
CREATE INDEX record_history ON record (created_at) WHERE state IN (1, 2, 4, 5);
CREATE INDEX record_subject ON record (subject);
CREATE INDEX record_diameter_session ON record (diameter_session_id);
CREATE TABLE record_subscriber (
  subscriber TEXT NOT NULL, record INTEGER NOT NULL,
  PRIMARY KEY (subscriber, record)) WITHOUT ROWID;
CREATE TABLE idempotency_key (
  n INTEGER PRIMARY KEY, scope TEXT NOT NULL, key TEXT NOT NULL, fingerprint BLOB NOT NULL,
  subject TEXT NOT NULL, answer BLOB, expires_at INTEGER NOT NULL, written_at INTEGER NOT NULL,
  crc INTEGER NOT NULL, UNIQUE (scope, key));
CREATE INDEX key_expiry ON idempotency_key (expires_at);
CREATE INDEX key_answered ON idempotency_key (written_at) WHERE length(answer) > 0;
CREATE TABLE counter (
  name TEXT PRIMARY KEY, value INTEGER NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE quarantine (
  n INTEGER PRIMARY KEY, source TEXT NOT NULL, name TEXT NOT NULL, columns TEXT NOT NULL,
  body BLOB, found_at INTEGER NOT NULL, reported INTEGER NOT NULL);
";

/// Columns of `record` in the order in which [`record`] reads them.
pub(super) const RECORD_COLUMNS: &str = "r.n, r.id, r.subject, r.interface, r.command, r.state, \
     r.due_at, r.created_at, r.subscribers, r.diameter_session_id, r.body, r.crc";

/// Where a row that cannot be used stands.
#[derive(Debug)]
pub(super) struct Damaged {
    pub(super) table: Table,
    pub(super) row: i64,
}

/// The tables whose rows may be moved to quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Session,
    Record,
    Key,
}

/// A row, or where the damaged one stands.
pub(super) type Checked<T> = Result<T, Damaged>;

/// CRC32C over columns, each with its length, so that bytes cannot wander between columns.
#[derive(Clone, Copy)]
struct Sum(u32);

impl Sum {
    fn new(table: &str) -> Sum {
        Sum(0).bytes(table.as_bytes())
    }

    fn bytes(self, bytes: &[u8]) -> Sum {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes();
        Sum(crc32c::crc32c_append(crc32c::crc32c_append(self.0, &length), bytes))
    }

    fn number(self, number: i64) -> Sum {
        self.bytes(&number.to_le_bytes())
    }

    fn optional(self, bytes: Option<&[u8]>) -> Sum {
        match bytes {
            Some(bytes) => self.number(1).bytes(bytes),
            None => self.number(0),
        }
    }

    fn value(self) -> i64 {
        i64::from(self.0)
    }
}

fn session_sum(row: &SessionRow) -> i64 {
    Sum::new("session")
        .bytes(row.id.as_bytes())
        .number(i64::from(row.ended))
        .number(row.opened_at.0)
        .number(row.changed_at.0)
        .bytes(&row.body)
        .value()
}

fn record_sum(row: &RecordRow, subscribers: &str) -> i64 {
    Sum::new("record")
        .bytes(&row.id.0)
        .bytes(row.subject.as_bytes())
        .number(interface_number(row.interface))
        .bytes(row.command.as_bytes())
        .number(state_number(row.state))
        .optional(row.due_at.map(|at| at.0.to_le_bytes()).as_ref().map(<[u8; 8]>::as_slice))
        .number(row.created_at.0)
        .bytes(subscribers.as_bytes())
        .bytes(row.diameter_session_id.as_bytes())
        .bytes(&row.body)
        .value()
}

fn key_sum(row: &KeyRow, written_at: i64) -> i64 {
    Sum::new("key")
        .bytes(row.key.scope.as_bytes())
        .bytes(row.key.key.as_bytes())
        .bytes(&row.fingerprint)
        .bytes(row.subject.as_bytes())
        .optional(row.answer.as_deref())
        .number(row.expires_at.0)
        .number(written_at)
        .value()
}

fn counter_sum(name: &str, value: i64) -> i64 {
    Sum::new("counter").bytes(name.as_bytes()).number(value).value()
}

/// As the column `interface` has it.
pub(super) fn interface_number(interface: Interface) -> i64 {
    match interface {
        Interface::Ch1 => 1,
        Interface::Ch2 => 2,
    }
}

/// As the column `state` and the partial indexes have it.
pub(super) fn state_number(state: RecordState) -> i64 {
    match state {
        RecordState::Waiting => 0,
        RecordState::Acknowledged => 1,
        RecordState::Answered => 2,
        RecordState::Dead => 3,
        RecordState::Superseded => 4,
        RecordState::Abandoned => 5,
    }
}

fn state(number: i64) -> Option<RecordState> {
    Some(match number {
        0 => RecordState::Waiting,
        1 => RecordState::Acknowledged,
        2 => RecordState::Answered,
        3 => RecordState::Dead,
        4 => RecordState::Superseded,
        5 => RecordState::Abandoned,
        _ => return None,
    })
}

fn interface(number: i64) -> Option<Interface> {
    match number {
        1 => Some(Interface::Ch1),
        2 => Some(Interface::Ch2),
        _ => None,
    }
}

/// Inserts or replaces a session.
pub(super) fn put_session(db: &Connection, row: &SessionRow) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO session (id, ended, opened_at, changed_at, body, crc)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO UPDATE SET ended = ?2, opened_at = ?3, changed_at = ?4, body = ?5,
           crc = ?6",
    )?
    .execute(params![
        row.id,
        row.ended,
        row.opened_at.0,
        row.changed_at.0,
        row.body.as_ref(),
        session_sum(row)
    ])?;
    Ok(())
}

/// Inserts or replaces a record. True if there was none of this id.
///
/// Usually only state, due time and body change; then no index but those of the state is touched.
pub(super) fn put_record(db: &Connection, row: &RecordRow) -> rusqlite::Result<bool> {
    let subscribers = list(&row.subscribers);
    let interface = interface_number(row.interface);
    let state = state_number(row.state);
    let due_at = row.due_at.map(|at| at.0);
    let crc = record_sum(row, &subscribers);
    let updated = db
        .prepare_cached(
            "UPDATE record SET state = ?2, due_at = ?3, body = ?4, crc = ?5
             WHERE id = ?1 AND subject = ?6 AND interface = ?7 AND command = ?8
               AND created_at = ?9 AND subscribers = ?10 AND diameter_session_id = ?11",
        )?
        .execute(params![
            row.id.0,
            state,
            due_at,
            row.body.as_ref(),
            crc,
            row.subject,
            interface,
            row.command,
            row.created_at.0,
            subscribers,
            row.diameter_session_id
        ])?;
    if updated > 0 {
        return Ok(false);
    }
    let replaced = remove_record_of(db, row.id)?;
    db.prepare_cached(
        "INSERT INTO record (id, subject, interface, command, state, due_at, created_at,
           subscribers, diameter_session_id, body, crc)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        row.id.0,
        row.subject,
        interface,
        row.command,
        state,
        due_at,
        row.created_at.0,
        subscribers,
        row.diameter_session_id,
        row.body.as_ref(),
        crc
    ])?;
    let n = db.last_insert_rowid();
    let mut insert =
        db.prepare_cached("INSERT OR IGNORE INTO record_subscriber VALUES (?1, ?2)")?;
    for subscriber in &row.subscribers {
        insert.execute(params![subscriber, n])?;
    }
    Ok(!replaced)
}

fn remove_record_of(db: &Connection, id: RecordId) -> rusqlite::Result<bool> {
    let found = db
        .prepare_cached("SELECT n, subscribers FROM record WHERE id = ?1")?
        .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((n, subscribers)) = found else { return Ok(false) };
    remove_record(db, n, subscribers)?;
    Ok(true)
}

/// Removes the record in row `n`, and what finds it by these subscribers.
pub(super) fn remove_record(db: &Connection, n: i64, subscribers: String) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM record WHERE n = ?1")?.execute([n])?;
    let mut delete =
        db.prepare_cached("DELETE FROM record_subscriber WHERE subscriber = ?1 AND record = ?2")?;
    for subscriber in serde_json::from_str::<Vec<String>>(&subscribers).unwrap_or_default() {
        delete.execute(params![subscriber, n])?;
    }
    Ok(())
}

/// Inserts or replaces a key. `now` is when an answer's age begins.
pub(super) fn put_key(db: &Connection, row: &KeyRow, now: Wall) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO idempotency_key
           (scope, key, fingerprint, subject, answer, expires_at, written_at, crc)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (scope, key) DO UPDATE SET fingerprint = ?3, subject = ?4, answer = ?5,
           expires_at = ?6, written_at = ?7, crc = ?8",
    )?
    .execute(params![
        row.key.scope,
        row.key.key,
        row.fingerprint,
        row.subject,
        row.answer.as_deref(),
        row.expires_at.0,
        now.0,
        key_sum(row, now.0)
    ])?;
    Ok(())
}

/// Is there a key of this name?
pub(super) fn has_key(db: &Connection, key: &Key) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM idempotency_key WHERE scope = ?1 AND key = ?2")?
        .exists([&key.scope, &key.key])
}

/// Sets a counter.
#[allow(clippy::cast_possible_wrap)] // SQLite's integers are signed; read back the same way.
pub(super) fn put_counter(db: &Connection, name: &str, value: u64) -> rusqlite::Result<()> {
    let value = value as i64;
    db.prepare_cached("INSERT OR REPLACE INTO counter VALUES (?1, ?2, ?3)")?.execute(params![
        name,
        value,
        counter_sum(name, value)
    ])?;
    Ok(())
}

/// Reads `name, value, crc`; `Err` is the name of a damaged one.
#[allow(clippy::cast_sign_loss)]
pub(super) fn counter(row: &Row<'_>) -> rusqlite::Result<Result<(String, u64), String>> {
    let name = text(row.get_ref(0)?).unwrap_or_default();
    let value = number(row.get_ref(1)?);
    let crc = number(row.get_ref(2)?);
    Ok(match value {
        Some(value) if crc == Some(counter_sum(&name, value)) => Ok((name, value as u64)),
        _ => Err(name),
    })
}

/// Reads `n, id, ended, opened_at, changed_at, body, crc`.
pub(super) fn session(row: &Row<'_>) -> rusqlite::Result<Checked<SessionRow>> {
    let damaged = Damaged { table: Table::Session, row: row.get(0)? };
    let read = || -> Option<SessionRow> {
        let column = |index| row.get_ref(index).ok();
        let session = SessionRow {
            id: text(column(1)?)?,
            ended: number(column(2)?)? != 0,
            opened_at: Wall(number(column(3)?)?),
            changed_at: Wall(number(column(4)?)?),
            body: blob(column(5)?)?,
        };
        (number(column(6)?)? == session_sum(&session)).then_some(session)
    };
    Ok(read().ok_or(damaged))
}

/// Reads [`RECORD_COLUMNS`].
pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Checked<RecordRow>> {
    let damaged = Damaged { table: Table::Record, row: row.get(0)? };
    let read = || -> Option<RecordRow> {
        let column = |index| row.get_ref(index).ok();
        let subscribers = text(column(8)?)?;
        let due_at = match column(6)? {
            ValueRef::Null => None,
            value => Some(Wall(number(value)?)),
        };
        let record = RecordRow {
            id: RecordId(blob(column(1)?)?.as_ref().try_into().ok()?),
            subject: text(column(2)?)?,
            interface: interface(number(column(3)?)?)?,
            command: text(column(4)?)?,
            state: state(number(column(5)?)?)?,
            due_at,
            created_at: Wall(number(column(7)?)?),
            subscribers: serde_json::from_str(&subscribers).ok()?,
            diameter_session_id: text(column(9)?)?,
            body: blob(column(10)?)?,
        };
        (number(column(11)?)? == record_sum(&record, &subscribers)).then_some(record)
    };
    Ok(read().ok_or(damaged))
}

/// Columns of `idempotency_key` in the order in which [`key`] reads them.
pub(super) const KEY_COLUMNS: &str =
    "n, scope, key, fingerprint, subject, answer, expires_at, written_at, crc";

/// Reads [`KEY_COLUMNS`].
pub(super) fn key(row: &Row<'_>) -> rusqlite::Result<Checked<KeyRow>> {
    let damaged = Damaged { table: Table::Key, row: row.get(0)? };
    let read = || -> Option<KeyRow> {
        let column = |index| row.get_ref(index).ok();
        let answer = match column(5)? {
            ValueRef::Null => None,
            value => Some(blob(value)?),
        };
        let key = KeyRow {
            key: Key { scope: text(column(1)?)?, key: text(column(2)?)? },
            fingerprint: blob(column(3)?)?.as_ref().try_into().ok()?,
            subject: text(column(4)?)?,
            answer,
            expires_at: Wall(number(column(6)?)?),
        };
        let written_at = number(column(7)?)?;
        (number(column(8)?)? == key_sum(&key, written_at)).then_some(key)
    };
    Ok(read().ok_or(damaged))
}

/// Moves a damaged row to quarantine and returns its name.
pub(super) fn quarantine(
    db: &Connection,
    damaged: &Damaged,
    now: Wall,
) -> rusqlite::Result<String> {
    let (table, name, columns) = match damaged.table {
        Table::Session => (
            "session",
            "'session ' || id",
            "quote(id) || ', ' || quote(ended) || ', ' || quote(opened_at) || ', ' || \
             quote(changed_at)",
        ),
        Table::Record => (
            "record",
            "'record ' || hex(id)",
            "quote(id) || ', ' || quote(subject) || ', ' || quote(interface) || ', ' || \
             quote(command) || ', ' || quote(state) || ', ' || quote(due_at) || ', ' || \
             quote(created_at) || ', ' || quote(subscribers) || ', ' || \
             quote(diameter_session_id)",
        ),
        Table::Key => (
            "idempotency_key",
            "'key ' || scope || ' ' || key",
            "quote(scope) || ', ' || quote(key) || ', ' || quote(fingerprint) || ', ' || \
             quote(subject) || ', ' || quote(expires_at) || ', ' || quote(written_at)",
        ),
    };
    let body = if damaged.table == Table::Key { "answer" } else { "body" };
    db.execute(
        &format!(
            "INSERT INTO quarantine (source, name, columns, body, found_at, reported)
             SELECT '{table}', coalesce({name}, '{table} row ' || n), {columns}, {body}, ?2, 0
             FROM {table} WHERE n = ?1"
        ),
        params![damaged.row, now.0],
    )?;
    let moved = db.last_insert_rowid();
    let delete = format!("DELETE FROM {table} WHERE n = ?1");
    if db.execute(&delete, [damaged.row]).is_err() {
        // The damage is in an indexed column, so the index no longer fits the row.
        db.execute_batch(&format!("REINDEX {table}"))?;
        db.execute(&delete, [damaged.row])?;
    }
    if damaged.table == Table::Record {
        db.execute("DELETE FROM record_subscriber WHERE record = ?1", [damaged.row])?;
    }
    db.query_row("SELECT name FROM quarantine WHERE n = ?1", [moved], |row| {
        Ok(String::from_utf8_lossy(row.get_ref(0)?.as_bytes().unwrap_or_default()).into_owned())
    })
}

/// Subscribers as JSON, so that an operator's tools can read them.
fn list(subscribers: &[String]) -> String {
    serde_json::to_string(subscribers).expect("invariant: a list of texts is JSON")
}

fn text(value: ValueRef<'_>) -> Option<String> {
    value.as_str().ok().map(str::to_owned)
}

fn number(value: ValueRef<'_>) -> Option<i64> {
    value.as_i64().ok()
}

fn blob(value: ValueRef<'_>) -> Option<Bytes> {
    value.as_blob().ok().map(Bytes::copy_from_slice)
}
