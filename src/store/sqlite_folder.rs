//! The folder of an embedded store: who holds it, and which generation of the database is in force.
//!
//! `lock` holds the pid of the process that has it; `CURRENT` the name of the generation;
//! `gen-N.db` (with its WAL) is the database. A generation on which a sync failed is never written
//! again: its live state goes into the next one, and `CURRENT` is switched (FD-08).

use std::fs;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::sqlite::OpenError;

const CURRENT: &str = "CURRENT";
/// Written and synced to learn whether an I/O error was for want of space.
const PROBE_BYTES: usize = 64 * 1024;

/// A folder that this process holds until the value is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    // Dropping the file releases the lock; the file itself stays.
    _lock: File,
}

/// What `CURRENT` says.
pub(super) enum Generation {
    /// This database.
    Named(PathBuf),
    /// There is none yet: the folder is new.
    None,
    /// There is none, but these databases are there.
    Lost(Vec<PathBuf>),
}

impl Folder {
    /// Creates the folder if it is not there (0700) and takes its lock.
    pub(super) fn hold(path: &Path) -> Result<Folder, OpenError> {
        let failed = |step| move |source| OpenError::Folder { folder: path.into(), step, source };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(failed("cannot be created"))?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(failed("`lock` cannot be opened"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // An unreadable pid only makes the message poorer.
                let _ = lock.read_to_string(&mut text);
                return Err(OpenError::Held { folder: path.into(), pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => {
                return Err(failed("`lock` cannot be locked")(source));
            }
        }
        let written = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        written.map_err(failed("`lock` cannot be written"))?;
        Ok(Folder { path: path.into(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The database in force.
    pub(super) fn current(&self) -> io::Result<Generation> {
        match fs::read_to_string(self.path.join(CURRENT)) {
            Ok(name) => Ok(Generation::Named(self.path.join(name.trim()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let found = self.generations()?;
                if found.is_empty() {
                    return Ok(Generation::None);
                }
                let path = |number| self.path.join(format!("gen-{number}.db"));
                Ok(Generation::Lost(found.into_iter().map(path).collect()))
            }
            Err(error) => Err(error),
        }
    }

    /// Is this the database in force?
    pub(super) fn names(&self, database: &Path) -> bool {
        matches!(self.current(), Ok(Generation::Named(named)) if named == database)
    }

    /// An empty file (0600) for the next generation; what a crash left under its name is removed.
    pub(super) fn next_generation(&self) -> io::Result<PathBuf> {
        let number = self.generations()?.last().copied().unwrap_or(0).saturating_add(1);
        let path = self.path.join(format!("gen-{number}.db"));
        remove(&path)?;
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(path)
    }

    /// Makes `generation` the one in force, for good.
    pub(super) fn switch_to(&self, generation: &Path) -> io::Result<()> {
        File::open(generation)?.sync_all()?;
        self.sync()?;
        let name = generation.file_name().unwrap_or_default().to_string_lossy();
        let new = self.path.join("CURRENT.new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(file, "{name}")?;
        file.sync_all()?;
        fs::rename(&new, self.path.join(CURRENT))?;
        self.sync()
    }

    /// Does a write fail for want of space or quota? SQLite keeps the reason of an I/O error to
    /// itself, so ask the file system again.
    pub(super) fn is_full(&self) -> bool {
        let path = self.path.join("probe");
        let probe = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(&vec![0x5a; PROBE_BYTES])?;
            file.sync_all()
        };
        let result = probe();
        // A probe that stays is overwritten by the next one.
        let _ = fs::remove_file(&path);
        result.is_err_and(|error| {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        })
    }

    /// Makes creations and renames inside the folder durable.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Numbers of the databases in the folder, ascending.
    fn generations(&self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = |name: &str| name.strip_prefix("gen-")?.strip_suffix(".db")?.parse().ok();
            let number: Option<u64> = name.to_str().and_then(number);
            found.extend(number);
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// The WAL of a database.
pub(super) fn wal_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Removes a database with its WAL and shared memory, as far as they are there.
pub(super) fn remove(database: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
