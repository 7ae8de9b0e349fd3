//! A look at a store from outside: nothing is changed, and a process may have it open meanwhile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::sqlite::OpenError;
use super::sqlite_open::{commit_number, meta};
use super::sqlite_rows as rows;
use super::sqlite_rows::{FORMAT, RECORD_COLUMNS};
use super::{Interface, RecordRow, RecordState};

/// Problems of one kind that are named; the others are counted.
const NAMED_MAX: usize = 100;

/// What a store holds and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The database in force.
    pub database: PathBuf,
    /// Random name that the store got when it was made.
    pub id: String,
    /// Number of the last transaction.
    pub commit: i64,
    /// Sound records by interface and state.
    pub records: BTreeMap<(Interface, &'static str), u64>,
    /// Sound sessions that go on.
    pub sessions_open: u64,
    /// Sound sessions that are history.
    pub sessions_ended: u64,
    /// Sound idempotency and natural keys.
    pub keys: u64,
    /// Rows that were put aside earlier, by name.
    pub quarantined: Vec<String>,
    /// What is wrong, in words.
    pub problems: Vec<String>,
    /// All problems, those without words included.
    pub problem_count: u64,
}

impl Verified {
    fn problem(&mut self, words: String) {
        self.problem_count += 1;
        if self.problems.len() < NAMED_MAX {
            self.problems.push(words);
        }
    }
}

/// Reads every row of the store in `folder` and checks it.
///
/// `owner` tells the key of the session that a record belongs to, or `None` if its body cannot be
/// read: the store itself does not know bodies.
///
/// # Errors
/// There is no store, it has another format, or it cannot be read at all.
pub fn verify(
    folder: &Path,
    owner: &dyn Fn(&RecordRow) -> Option<String>,
) -> Result<Verified, OpenError> {
    let current = std::fs::read_to_string(folder.join("CURRENT")).map_err(|source| {
        OpenError::Folder { folder: folder.into(), step: "`CURRENT` cannot be read", source }
    })?;
    let database = folder.join(current.trim());
    let failed = |source| OpenError::Database { database: database.clone(), source };
    let db =
        Connection::open_with_flags(&database, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let format = meta(&db, "format").map_err(failed)?;
    if format.as_deref() != Some(FORMAT) {
        let found = format.unwrap_or_else(|| "none (it is not a farebox store)".to_owned());
        return Err(OpenError::Format { database, found });
    }
    let mut found = Verified {
        id: meta(&db, "store_id").map_err(failed)?.unwrap_or_default(),
        commit: commit_number(&db).map_err(failed)?,
        database: database.clone(),
        ..Verified::default()
    };
    pages(&db, &mut found).map_err(failed)?;
    let sessions = sessions(&db, &mut found).map_err(failed)?;
    records(&db, owner, &sessions, &mut found).map_err(failed)?;
    rest(&db, &mut found).map_err(failed)?;
    Ok(found)
}

/// Pages and indexes, by SQLite's own check.
fn pages(db: &Connection, found: &mut Verified) -> rusqlite::Result<()> {
    let mut statement = db.prepare("PRAGMA integrity_check(100)")?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
    for line in lines {
        match line?.as_str() {
            "ok" => {}
            line => found.problem(format!("pages: {line}")),
        }
    }
    Ok(())
}

/// Keys of all sound sessions, open ones true.
fn sessions(db: &Connection, found: &mut Verified) -> rusqlite::Result<BTreeMap<String, bool>> {
    let mut keys = BTreeMap::new();
    let mut statement =
        db.prepare("SELECT n, id, ended, opened_at, changed_at, body, crc FROM session")?;
    for row in statement.query_map([], rows::session)? {
        match row? {
            Ok(session) => {
                *match session.ended {
                    true => &mut found.sessions_ended,
                    false => &mut found.sessions_open,
                } += 1;
                keys.insert(session.id, !session.ended);
            }
            Err(damaged) => found.problem(format!("session in row {}: checksum", damaged.row)),
        }
    }
    Ok(keys)
}

fn records(
    db: &Connection,
    owner: &dyn Fn(&RecordRow) -> Option<String>,
    sessions: &BTreeMap<String, bool>,
    found: &mut Verified,
) -> rusqlite::Result<()> {
    let mut statement = db.prepare(&format!("SELECT {RECORD_COLUMNS} FROM record r"))?;
    for row in statement.query_map([], rows::record)? {
        let record = match row? {
            Ok(record) => record,
            Err(damaged) => {
                found.problem(format!("record in row {}: checksum", damaged.row));
                continue;
            }
        };
        *found.records.entry((record.interface, word(record.state))).or_default() += 1;
        if !record.state.unacknowledged() {
            continue;
        }
        let waits = record.state == RecordState::Waiting;
        match owner(&record).map(|key| (sessions.get(&key).copied(), key)) {
            None => found.problem(format!("record {}: its body cannot be read", record.id)),
            Some((None, key)) => {
                found.problem(format!("record {}: its session `{key}` is missing", record.id));
            }
            Some((Some(false), key)) if waits => found.problem(format!(
                "record {}: it waits, and its session `{key}` is called ended",
                record.id
            )),
            Some(_) => {}
        }
    }
    Ok(())
}

/// Keys, counters, and what was put aside.
fn rest(db: &Connection, found: &mut Verified) -> rusqlite::Result<()> {
    let sql = format!("SELECT {} FROM idempotency_key", rows::KEY_COLUMNS);
    let mut statement = db.prepare(&sql)?;
    for row in statement.query_map([], rows::key)? {
        match row? {
            Ok(_) => found.keys += 1,
            Err(damaged) => found.problem(format!("key in row {}: checksum", damaged.row)),
        }
    }
    let mut statement = db.prepare("SELECT name, value, crc FROM counter")?;
    for row in statement.query_map([], rows::counter)? {
        if let Err(name) = row? {
            found.problem(format!("counter {name}: checksum"));
        }
    }
    let mut statement = db.prepare("SELECT name FROM quarantine ORDER BY n")?;
    for row in statement.query_map([], |row| row.get::<_, String>(0))? {
        found.quarantined.push(row.unwrap_or_else(|_| "a name that cannot be read".to_owned()));
    }
    Ok(())
}

fn word(state: RecordState) -> &'static str {
    match state {
        RecordState::Waiting => "waiting",
        RecordState::Acknowledged => "acknowledged",
        RecordState::Answered => "answered",
        RecordState::Dead => "dead",
        RecordState::Superseded => "superseded",
        RecordState::Abandoned => "abandoned",
    }
}
