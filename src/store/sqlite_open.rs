//! Opening the embedded store: the generation in force, its format, or a new store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::sqlite_folder::{Folder, Generation, remove};
use super::sqlite_room::Room;
use super::sqlite_rows::{FORMAT, SCHEMA};
use crate::clock::{Wall, wall};
use crate::diagnostic::Code;

/// How long a commit waits for another program that has the database open for writing.
const BUSY: Duration = Duration::from_secs(2);
/// Statements kept prepared.
const STATEMENTS: usize = 64;

/// Where the store is and how large it may become.
#[derive(Clone, Debug)]
pub struct Options {
    /// `store.path`.
    pub folder: PathBuf,
    /// `store.max_size` in bytes; less than 1 MiB counts as 1 MiB.
    pub max_size_bytes: Option<u64>,
    /// Tells the age of answers and ended sessions when room is needed.
    pub wall: fn() -> Wall,
}

impl Options {
    /// This folder, without a limit.
    pub fn new(folder: impl Into<PathBuf>) -> Options {
        Options { folder: folder.into(), max_size_bytes: None, wall }
    }

    /// At most so many bytes on disk.
    pub fn max_size(mut self, bytes: Option<u64>) -> Options {
        self.max_size_bytes = bytes;
        self
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Exit code 75: try again when the other process is gone.
    #[error("store `{}` is held by {}", folder.display(), holder(*pid))]
    Held {
        /// The folder.
        folder: PathBuf,
        /// The process that holds it, if its lock file says so.
        pid: Option<u32>,
    },
    /// A file of the folder.
    #[error("store `{}` {step}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What cannot be done.
        step: &'static str,
        /// The reason.
        source: std::io::Error,
    },
    /// `CURRENT` is gone, or names a file that is not there.
    #[error("store `{}`: {problem}", folder.display())]
    Generation {
        /// The folder.
        folder: PathBuf,
        /// In words, with what to do.
        problem: String,
    },
    /// Another schema.
    #[error("store `{}` has format {found}; this version reads format {FORMAT}", database.display())]
    Format {
        /// The database.
        database: PathBuf,
        /// What its `meta` says.
        found: String,
    },
    /// A file system without shared memory, for example over a network.
    #[error("store `{}`: journal mode is {mode}; a local disk is needed", database.display())]
    NoWal {
        /// The database.
        database: PathBuf,
        /// What SQLite uses instead of a WAL.
        mode: String,
    },
    /// SQLite's own reason.
    #[error("store `{}`: {source}", database.display())]
    Database {
        /// The database.
        database: PathBuf,
        /// The reason.
        source: rusqlite::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl OpenError {
    /// FB2002 or FB2003.
    pub fn code(&self) -> Code {
        match self {
            OpenError::Held { .. } => Code::FB2002,
            _ => Code::FB2003,
        }
    }
}

/// An open database of the right format.
pub(super) struct Opened {
    pub(super) db: Connection,
    pub(super) database: PathBuf,
    pub(super) id: String,
    pub(super) commit: i64,
}

/// Opens the database in force, or makes the first one.
pub(super) fn open(folder: &Folder, room: &Room) -> Result<Opened, OpenError> {
    let (db, database) = match find(folder)? {
        Some(database) => (connect(&database, room)?, database),
        None => create(folder, room)?,
    };
    let format = meta(&db, "format").map_err(failed(&database))?;
    if format.as_deref() != Some(FORMAT) {
        let found = format.unwrap_or_else(|| "none (it is not a farebox store)".to_owned());
        return Err(OpenError::Format { database, found });
    }
    let id = meta(&db, "store_id").map_err(failed(&database))?.unwrap_or_default();
    let commit = commit_number(&db).map_err(failed(&database))?;
    Ok(Opened { db, database, id, commit })
}

/// The database in force, or none in a new folder.
fn find(folder: &Folder) -> Result<Option<PathBuf>, OpenError> {
    let problem = |problem: String| OpenError::Generation { folder: folder.path().into(), problem };
    let unreadable =
        |source| OpenError::Folder { folder: folder.path().into(), step: "cannot be read", source };
    match folder.current().map_err(unreadable)? {
        Generation::None => Ok(None),
        Generation::Named(database) if database.is_file() => Ok(Some(database)),
        Generation::Named(database) => {
            Err(problem(format!("`CURRENT` names `{}`, which is not there", database.display())))
        }
        Generation::Lost(databases) => {
            // A first start that was cut off before CURRENT was written left nothing of value.
            for database in &databases {
                if holds_commits(database) {
                    return Err(problem(format!(
                        "`CURRENT` is missing, but `{0}` holds data; write its file name into \
                         `CURRENT` if it is the newest",
                        database.display()
                    )));
                }
            }
            for database in &databases {
                remove(database).map_err(unreadable)?;
            }
            Ok(None)
        }
    }
}

/// False only for a database in which nothing was ever committed.
fn holds_commits(database: &Path) -> bool {
    if std::fs::metadata(database).is_ok_and(|file| file.len() == 0) {
        return false;
    }
    let number = Connection::open(database).and_then(|db| {
        let made = db.table_exists(None, "meta")?;
        if made { commit_number(&db) } else { Ok(0) }
    });
    !matches!(number, Ok(0))
}

/// The first generation of a new store.
fn create(folder: &Folder, room: &Room) -> Result<(Connection, PathBuf), OpenError> {
    let unwritable = |source| OpenError::Folder {
        folder: folder.path().into(),
        step: "cannot be written",
        source,
    };
    let database = folder.next_generation().map_err(unwritable)?;
    let db = connect(&database, room)?;
    let fill = || -> rusqlite::Result<()> {
        db.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA}"))?;
        db.execute("INSERT INTO meta VALUES ('format', ?1)", [FORMAT])?;
        db.execute_batch(
            "INSERT INTO meta VALUES ('store_id', lower(hex(randomblob(16))));
             INSERT INTO meta VALUES ('commit_number', '0');
             COMMIT;",
        )
    };
    fill().map_err(failed(&database))?;
    folder.switch_to(&database).map_err(unwritable)?;
    Ok((db, database))
}

/// A connection that flushes at every commit.
pub(super) fn connect(database: &Path, room: &Room) -> Result<Connection, OpenError> {
    let db = Connection::open(database).map_err(failed(database))?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    let mode: String = db
        .busy_timeout(BUSY)
        .and_then(|()| db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)))
        .map_err(failed(database))?;
    if mode != "wal" {
        return Err(OpenError::NoWal { database: database.into(), mode });
    }
    db.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA cache_size = -32768;
         PRAGMA temp_store = MEMORY;
         PRAGMA cell_size_check = ON;
         PRAGMA trusted_schema = OFF;",
    )
    .and_then(|()| room.limit(&db))
    .map_err(failed(database))?;
    Ok(db)
}

/// A row of `meta`.
pub(super) fn meta(db: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    if !db.table_exists(None, "meta")? {
        return Ok(None);
    }
    db.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()
}

/// Number of the last transaction that is on disk.
pub(super) fn commit_number(db: &Connection) -> rusqlite::Result<i64> {
    let text = meta(db, "commit_number")?.unwrap_or_default();
    Ok(text.parse().unwrap_or(0))
}

/// Part of every transaction.
pub(super) fn set_commit_number(db: &Connection, number: i64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'commit_number'")?
        .execute([number.to_string()])?;
    Ok(())
}

fn failed(database: &Path) -> impl FnOnce(rusqlite::Error) -> OpenError {
    let database = database.to_owned();
    move |source| OpenError::Database { database, source }
}
