//! The embedded store in real files, and what it shares with the store of the simulation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use farebox::clock::Wall;
use farebox::diagnostic::Code;
use farebox::store::memory::{Fault, MemoryStore};
use farebox::store::sqlite::{OpenError, Options, SqliteStore};
use farebox::store::{
    Batch, CommitResult, Interface, Key, KeyRow, Query, RecordId, RecordRow, RecordState,
    SessionRow, Store,
};

/// A folder under the system's temporary one, removed at the end.
struct Folder(PathBuf);

/// Opens a store that nobody holds. A process that another test is starting has a copy of every
/// descriptor, the lock's too, until it runs its own program.
fn open_free(options: &Options) -> Result<SqliteStore, OpenError> {
    for _ in 0..100_000 {
        match SqliteStore::open(options) {
            Err(OpenError::Held { .. }) => std::thread::yield_now(),
            other => return other,
        }
    }
    SqliteStore::open(options)
}

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("farebox-store-{}-{number}", std::process::id());
        Folder(std::env::temp_dir().join(name))
    }

    fn open(&self) -> SqliteStore {
        open_free(&Options::new(&self.0)).expect("the store opens")
    }

    fn options(&self) -> Options {
        Options::new(&self.0)
    }

    fn sql(&self, sql: &str) {
        let database = self.0.join(fs::read_to_string(self.0.join("CURRENT")).unwrap().trim());
        rusqlite::Connection::open(database).unwrap().execute_batch(sql).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const NOON: i64 = 1_765_540_800_000;

fn id(n: u64) -> RecordId {
    RecordId::new(Wall(NOON + i64::try_from(n).unwrap()), u128::from(n))
}

fn record(n: u64) -> RecordRow {
    RecordRow {
        id: id(n),
        subject: format!("session-{n}"),
        interface: if n.is_multiple_of(2) { Interface::Ch2 } else { Interface::Ch1 },
        command: if n.is_multiple_of(2) { "CCR-T" } else { "ACR-STOP" }.to_owned(),
        state: RecordState::Waiting,
        due_at: n.is_multiple_of(3).then_some(Wall(NOON + 36_000)),
        created_at: Wall(NOON + i64::try_from(n).unwrap()),
        subscribers: vec!["+12025550123".to_owned(), format!("sip:{n}@ims.example.net")],
        diameter_session_id: format!("cg1.ims.example.net;1765531200;{n};abcd"),
        body: Bytes::from(vec![u8::try_from(n % 251).unwrap(); 400]),
    }
}

fn session(name: &str) -> SessionRow {
    SessionRow {
        id: name.to_owned(),
        ended: false,
        opened_at: Wall(NOON),
        changed_at: Wall(NOON + 5),
        body: Bytes::from_static(b"body of the session"),
    }
}

fn key(name: &str) -> Key {
    Key { scope: "cpm-1".to_owned(), key: name.to_owned() }
}

fn key_row(name: &str, answer: Option<&'static [u8]>) -> KeyRow {
    KeyRow {
        key: key(name),
        fingerprint: [7; 32],
        subject: "session-1".to_owned(),
        answer: answer.map(Bytes::from_static),
        expires_at: Wall(NOON + 86_400_000),
    }
}

/// A batch as a trigger makes it: session, record, key and its claim.
fn trigger(n: u64) -> Batch {
    Batch {
        sessions: vec![session(&format!("session-{n}"))],
        records: vec![record(n)],
        keys: vec![key_row(&format!("key-{n}"), None)],
        counters: vec![("end-to-end", n)],
        claims: vec![key(&format!("key-{n}"))],
    }
}

fn of_records(records: Vec<RecordRow>) -> Batch {
    Batch { records, ..Batch::default() }
}

fn state(mut row: RecordRow, state: RecordState) -> RecordRow {
    row.state = state;
    row
}

fn limited(limit: u32) -> Query {
    Query { limit, ..Query::default() }
}

fn ids(rows: &[RecordRow]) -> Vec<RecordId> {
    rows.iter().map(|row| row.id).collect()
}

/// Runs `check` on both stores.
fn both(check: fn(&mut dyn Store)) {
    check(&mut MemoryStore::new());
    let folder = Folder::new();
    check(&mut folder.open());
}

// What both stores share.

#[test]
fn what_is_durable_is_read_back_as_it_was() {
    both(|store| {
        let batch = trigger(1);
        assert_eq!(store.commit(std::slice::from_ref(&batch)), [CommitResult::Durable]);
        assert_eq!(store.record(id(1)), Ok(Some(batch.records[0].clone())));
        assert_eq!(store.session("session-1"), Ok(Some(batch.sessions[0].clone())));
        assert_eq!(store.key(&key("key-1")), Ok(Some(batch.keys[0].clone())));
        assert_eq!(store.record(id(2)), Ok(None));
        assert_eq!(store.session("session-2"), Ok(None));
        assert_eq!(store.key(&key("key-2")), Ok(None));
        let recovered = store.recover().unwrap();
        assert_eq!(recovered.sessions, batch.sessions);
        assert_eq!(recovered.records, batch.records);
        assert_eq!(recovered.counters, [("end-to-end".to_owned(), 1)]);
        assert!(recovered.quarantined.is_empty());
    });
}

#[test]
fn a_conflict_leaves_its_own_batch_unwritten_and_the_others_alone() {
    both(|store| {
        store.commit(&[trigger(1)]);
        let mut twin = trigger(2);
        twin.claims.push(key("key-1"));
        twin.counters = vec![("end-to-end", 999)];
        let results = store.commit(&[trigger(3), twin, trigger(4)]);
        let conflict = CommitResult::Conflict(key("key-1"));
        assert_eq!(results, [CommitResult::Durable, conflict, CommitResult::Durable]);
        assert_eq!(store.record(id(2)), Ok(None));
        assert_eq!(store.session("session-2"), Ok(None));
        assert_eq!(store.key(&key("key-2")), Ok(None));
        assert_eq!(store.recover().unwrap().counters, [("end-to-end".to_owned(), 4)]);
    });
}

#[test]
fn two_claims_of_one_key_in_one_commit_have_one_winner() {
    both(|store| {
        let mut second = trigger(1);
        second.records = vec![record(2)];
        let results = store.commit(&[trigger(1), second]);
        assert_eq!(results, [CommitResult::Durable, CommitResult::Conflict(key("key-1"))]);
        assert_eq!(store.record(id(2)), Ok(None));
    });
}

#[test]
fn rows_are_replaced_whole() {
    both(|store| {
        store.commit(&[trigger(1)]);
        let mut changed = record(1);
        changed.state = RecordState::Dead;
        changed.due_at = None;
        changed.body = Bytes::from_static(b"new");
        // Also what usually never changes.
        let mut moved = changed.clone();
        moved.subscribers = vec!["+12025550199".to_owned()];
        moved.diameter_session_id = "other".to_owned();
        for row in [changed, moved] {
            assert_eq!(store.commit(&[of_records(vec![row.clone()])]), [CommitResult::Durable]);
            assert_eq!(store.record(id(1)), Ok(Some(row.clone())));
            let query = Query { subscriber: Some(row.subscribers[0].clone()), ..limited(10) };
            assert_eq!(store.search(&query), Ok(vec![row]));
        }
        let old = Query { subscriber: Some("+12025550123".to_owned()), ..limited(10) };
        assert_eq!(store.search(&old), Ok(Vec::new()));
        let answered = key_row("key-1", Some(b"{}"));
        let again = Batch { keys: vec![answered.clone()], ..Batch::default() };
        assert_eq!(store.commit(&[again]), [CommitResult::Durable]);
        assert_eq!(store.key(&key("key-1")), Ok(Some(answered)));
    });
}

#[test]
fn an_empty_batch_is_a_real_commit() {
    both(|store| {
        assert_eq!(store.commit(&[Batch::default()]), [CommitResult::Durable]);
        assert_eq!(store.commit(&[]), []);
    });
}

#[test]
fn a_start_finds_waiting_and_dead_records_oldest_first_and_open_sessions() {
    both(|store| {
        let mut ended = session("ended");
        ended.ended = true;
        let rows = vec![
            record(5),
            state(record(4), RecordState::Acknowledged),
            state(record(3), RecordState::Dead),
            state(record(2), RecordState::Superseded),
            state(record(6), RecordState::Answered),
            state(record(7), RecordState::Abandoned),
            record(1),
        ];
        let batch = Batch {
            sessions: vec![session("b"), ended, session("a")],
            records: rows,
            ..Batch::default()
        };
        store.commit(&[batch]);
        let recovered = store.recover().unwrap();
        assert_eq!(ids(&recovered.records), [id(1), id(3), id(5)]);
        let names: Vec<&str> = recovered.sessions.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        // A record that is acknowledged later is found no more.
        store.commit(&[of_records(vec![state(record(1), RecordState::Acknowledged)])]);
        assert_eq!(ids(&store.recover().unwrap().records), [id(3), id(5)]);
    });
}

#[test]
fn a_search_meets_every_filter_and_goes_on_after_its_cursor() {
    both(|store| {
        let rows: Vec<RecordRow> = (1..=20).map(record).collect();
        store.commit(&[of_records(rows.iter().rev().cloned().collect())]);
        store.commit(&[of_records(vec![state(record(8), RecordState::Answered)])]);
        let all = |query: &Query, store: &mut dyn Store| ids(&store.search(query).unwrap());
        let of = |numbers: &[u64]| numbers.iter().map(|n| id(*n)).collect::<Vec<_>>();

        let sip = Query { subscriber: Some("sip:7@ims.example.net".to_owned()), ..limited(9) };
        assert_eq!(all(&sip, store), of(&[7]));
        let subject = Query { subject: Some("session-9".to_owned()), ..limited(9) };
        assert_eq!(all(&subject, store), of(&[9]));
        let diameter = Query {
            diameter_session_id: Some("cg1.ims.example.net;1765531200;12;abcd".to_owned()),
            ..limited(9)
        };
        assert_eq!(all(&diameter, store), of(&[12]));
        let answered = Query { state: Some(RecordState::Answered), ..limited(9) };
        assert_eq!(all(&answered, store), of(&[8]));
        let waiting = Query {
            state: Some(RecordState::Waiting),
            interface: Some(Interface::Ch2),
            since: Some(Wall(NOON + 6)),
            until: Some(Wall(NOON + 12)),
            ..limited(9)
        };
        assert_eq!(all(&waiting, store), of(&[6, 10]));
        let both = Query {
            subscriber: Some("+12025550123".to_owned()),
            subject: Some("session-3".to_owned()),
            ..limited(9)
        };
        assert_eq!(all(&both, store), of(&[3]));

        let mut pages = Vec::new();
        let mut after = None;
        loop {
            let page = all(&Query { after, ..limited(6) }, store);
            let Some(last) = page.last() else { break };
            after = Some(*last);
            pages.push(page.len());
        }
        assert_eq!(pages, [6, 6, 6, 2]);
        assert_eq!(all(&limited(0), store).len(), 1);
        assert_eq!(all(&limited(u32::MAX), store).len(), 20);
    });
}

#[test]
fn retention_removes_history_and_never_what_is_waiting() {
    both(|store| {
        let day = Duration::from_secs(86_400);
        let mut ended = session("session-2");
        ended.ended = true;
        let mut late = ended.clone();
        late.id = "late".to_owned();
        late.changed_at = Wall(NOON) + day;
        let mut held = ended.clone();
        held.id = "session-1".to_owned();
        let batch = Batch {
            sessions: vec![session("open"), ended, late, held],
            records: vec![
                record(1),
                state(record(2), RecordState::Answered),
                state(record(3), RecordState::Dead),
                state(record(4), RecordState::Dead),
                state(record(5), RecordState::Dead),
            ],
            ..Batch::default()
        };
        store.commit(&[batch]);
        let later = Wall(NOON) + day;
        assert_eq!(store.purge(Wall(NOON), Wall(NOON), later), Ok((0, 0)));
        assert!(store.record(id(2)).unwrap().is_some());
        assert_eq!(store.purge(later, Wall(NOON), later), Ok((0, 0)));
        assert_eq!(store.record(id(2)), Ok(None));
        assert!(store.record(id(1)).unwrap().is_some());
        assert_eq!(store.session("session-2"), Ok(None));
        // Its record is waiting.
        assert!(store.session("session-1").unwrap().is_some());
        assert!(store.session("late").unwrap().is_some());
        assert!(store.session("open").unwrap().is_some());
        assert_eq!(store.purge(later, Wall(NOON + 5), later), Ok((1, 1)));
        assert_eq!(ids(&store.recover().unwrap().records), [id(1), id(5)]);
        let gone = Query { subscriber: Some("sip:3@ims.example.net".to_owned()), ..limited(9) };
        assert_eq!(store.search(&gone), Ok(Vec::new()));
    });
}

#[test]
fn keys_expire_but_not_before_their_record_left_the_spool() {
    both(|store| {
        let mut free = key_row("free", Some(b"answer"));
        free.subject = "session-8".to_owned();
        let mut held = key_row("held", Some(b"answer"));
        held.subject = "session-1".to_owned();
        let batch = Batch {
            records: vec![record(1)],
            keys: vec![free.clone(), held.clone()],
            ..Batch::default()
        };
        store.commit(&[batch]);
        let old = Wall(0);
        store.purge(old, old, free.expires_at - Duration::from_millis(1)).unwrap();
        assert_eq!(store.key(&free.key), Ok(Some(free.clone())));
        store.purge(old, old, free.expires_at).unwrap();
        assert_eq!(store.key(&free.key), Ok(None));
        assert_eq!(store.key(&held.key), Ok(Some(held.clone())));
        store.commit(&[of_records(vec![state(record(1), RecordState::Acknowledged)])]);
        store.purge(old, old, free.expires_at).unwrap();
        assert_eq!(store.key(&held.key), Ok(None));
        // A key that is gone may be claimed again.
        let claim = Batch { claims: vec![held.key], ..Batch::default() };
        assert_eq!(store.commit(&[claim]), [CommitResult::Durable]);
    });
}

// The store of the simulation alone.

#[test]
fn the_memory_store_fails_on_order() {
    let mut store = MemoryStore::new();
    store.fail_next(1, &CommitResult::Failed("disk".to_owned()));
    let unknown = CommitResult::Unknown("cut off".to_owned());
    store.fault_next(Fault { result: unknown.clone(), written: true });
    assert_eq!(store.commit(&[trigger(1)]), [CommitResult::Failed("disk".to_owned())]);
    assert_eq!(store.record(id(1)), Ok(None));
    assert_eq!(store.commit(&[trigger(2)]), [unknown]);
    assert!(store.record(id(2)).unwrap().is_some());
    assert_eq!(store.commit(&[trigger(1)]), [CommitResult::Durable]);
    let mut small = MemoryStore::new().records_max(Some(1));
    let results = small.commit(&[trigger(1), trigger(2)]);
    assert_eq!(results, [CommitResult::Durable, CommitResult::Full]);
}

// The embedded store alone.

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let folder = Folder::new();
    let mut store = folder.open();
    let name = store.id().to_owned();
    assert_eq!(name.len(), 32);
    for n in 1..=50 {
        assert_eq!(store.commit(&[trigger(n)]), [CommitResult::Durable]);
    }
    let before = store.recover().unwrap();
    drop(store);
    let mut store = folder.open();
    assert_eq!(store.id(), name);
    let after = store.recover().unwrap();
    assert_eq!(after.records, before.records);
    assert_eq!(after.sessions, before.sessions);
    assert_eq!(after.counters, [("end-to-end".to_owned(), 50)]);
}

#[test]
fn sec_15_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let mut store = folder.open();
    store.commit(&[trigger(1)]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.0), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder.0).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, ["CURRENT", "gen-1.db", "gen-1.db-shm", "gen-1.db-wal", "lock"]);
    assert_eq!(fs::read_to_string(folder.0.join("CURRENT")).unwrap(), "gen-1.db\n");
    let pid = fs::read_to_string(folder.0.join("lock")).unwrap();
    assert_eq!(pid.trim(), std::process::id().to_string());
}

#[test]
fn fd_15_a_second_holder_is_told_the_pid_of_the_first() {
    const CHILD: &str = "FAREBOX_TEST_FD_15";
    if let Some(path) = std::env::var_os(CHILD) {
        // This is the second process.
        let error = SqliteStore::open(&Options::new(path)).expect_err("it is held");
        assert!(matches!(error, OpenError::Held { .. }));
        let held = std::env::var("FAREBOX_TEST_FD_15_PID").unwrap();
        assert!(error.to_string().ends_with(&format!("is held by process {held}")), "{error}");
        return;
    }
    let folder = Folder::new();
    let store = folder.open();
    // A second handle in this process.
    let error = SqliteStore::open(&folder.options()).expect_err("it is held");
    assert_eq!(error.code(), Code::FB2002);
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    // And a second process.
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::fd_15_a_second_holder_is_told_the_pid_of_the_first"])
        .env(CHILD, &folder.0)
        .env("FAREBOX_TEST_FD_15_PID", std::process::id().to_string())
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
    drop(store);
    assert!(open_free(&folder.options()).is_ok());
}

#[test]
fn fd_05_rows_whose_checksum_does_not_hold_are_set_aside_and_named() {
    let folder = Folder::new();
    let mut store = folder.open();
    for n in 1..=4 {
        store.commit(&[trigger(n)]);
    }
    drop(store);
    folder.sql(
        "UPDATE record SET body = zeroblob(400) WHERE subject = 'session-1';
         UPDATE record SET state = 3 WHERE subject = 'session-2';
         UPDATE session SET body = x'00' WHERE id = 'session-3';
         UPDATE idempotency_key SET subject = 'other' WHERE key = 'key-4';
         UPDATE counter SET value = value + 1;",
    );
    let mut store = folder.open();
    let recovered = store.recover().unwrap();
    assert_eq!(ids(&recovered.records), [id(3), id(4)]);
    let names: Vec<&str> = recovered.sessions.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(names, ["session-1", "session-2", "session-4"]);
    assert!(recovered.counters.is_empty());
    let hex = |n: u64| id(n).0.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    let mut named = recovered.quarantined;
    named.sort();
    let mut expected = vec![
        "counter end-to-end".to_owned(),
        format!("record {}", hex(1)),
        format!("record {}", hex(2)),
        "session session-3".to_owned(),
    ];
    expected.sort();
    assert_eq!(named, expected);
    // A key is looked up, not recovered: a damaged one is an error, never "unknown".
    assert!(store.key(&key("key-4")).is_err());
    // They are there with their bytes, and named once.
    drop(store);
    let database = rusqlite::Connection::open(folder.0.join("gen-1.db")).unwrap();
    let bytes: Vec<u8> = database
        .query_row("SELECT body FROM quarantine WHERE source = 'record' LIMIT 1", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(bytes, vec![0; 400]);
    drop(database);
    let again = folder.open().recover().unwrap();
    assert_eq!(again.quarantined, ["counter end-to-end"]);
    assert_eq!(ids(&again.records), [id(3), id(4)]);
}

#[test]
fn fd_05_a_flipped_state_does_not_hide_a_record() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.commit(&[of_records(vec![record(1)])]);
    drop(store);
    // The column says acknowledged, the index still waiting: as a bit flip on disk leaves it.
    folder.sql(
        "CREATE TEMP TABLE page AS SELECT rootpage FROM sqlite_schema WHERE name = 'record_open';
         PRAGMA writable_schema = ON;
         CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE name = 'record_open';
         DELETE FROM sqlite_schema WHERE name = 'record_open';",
    );
    folder.sql("UPDATE record SET state = 1;");
    folder.sql(
        "PRAGMA writable_schema = ON;
         INSERT INTO sqlite_schema SELECT * FROM kept;
         DELETE FROM sqlite_schema WHERE name = 'kept';",
    );
    let mut store = folder.open();
    let recovered = store.recover().unwrap();
    assert!(recovered.records.is_empty());
    assert_eq!(recovered.quarantined.len(), 1, "{:?}", recovered.quarantined);
}

#[test]
fn fd_06_what_is_not_this_store_is_refused_with_its_reason() {
    let refused = |prepare: &dyn Fn(&Path), expected: &str| {
        let folder = Folder::new();
        let mut store = folder.open();
        store.commit(&[trigger(1)]);
        drop(store);
        prepare(&folder.0);
        let error = open_free(&folder.options()).expect_err(expected);
        assert_eq!(error.code(), Code::FB2003);
        assert!(error.to_string().contains(expected), "{error} / {expected}");
    };
    let database = |folder: &Path| folder.join("gen-1.db");
    refused(&|folder| fs::remove_file(database(folder)).unwrap(), "which is not there");
    refused(&|folder| fs::remove_file(folder.join("CURRENT")).unwrap(), "`CURRENT` is missing");
    refused(&|folder| fs::write(database(folder), "").unwrap(), "it is not a farebox store");
    refused(&|folder| fs::write(database(folder), [1; 9000]).unwrap(), "not a database");
    refused(
        &|folder| {
            let sql = "UPDATE meta SET value = '99' WHERE name = 'format'";
            rusqlite::Connection::open(database(folder)).unwrap().execute_batch(sql).unwrap();
        },
        "has format 99; this version reads format 1",
    );
    let folder = Folder::new();
    fs::write(&folder.0, "a file").unwrap();
    let error = open_free(&folder.options()).expect_err("it is a file");
    assert!(error.to_string().contains("cannot be created"), "{error}");
    fs::remove_file(&folder.0).unwrap();
}

#[test]
fn a_first_start_that_was_cut_off_is_begun_again() {
    let folder = Folder::new();
    drop(folder.open());
    fs::remove_file(folder.0.join("CURRENT")).unwrap();
    let mut store = folder.open();
    assert_eq!(store.commit(&[trigger(1)]), [CommitResult::Durable]);
    drop(store);
    let folder = Folder::new();
    fs::create_dir(&folder.0).unwrap();
    fs::write(folder.0.join("gen-1.db"), "").unwrap();
    assert_eq!(folder.open().commit(&[trigger(1)]), [CommitResult::Durable]);
}

#[test]
fn fd_10_a_full_store_refuses_new_records_and_recovers() {
    let folder = Folder::new();
    let options = folder.options().max_size(Some(2 << 20));
    let mut store = open_free(&options).unwrap();
    let mut stored = 0;
    let full = loop {
        let results = store.commit(&[trigger(stored + 1), trigger(stored + 2)]);
        stored += results.iter().filter(|result| **result == CommitResult::Durable).count() as u64;
        if let Some(full) = results.into_iter().find(|result| *result != CommitResult::Durable) {
            break full;
        }
        assert!(stored < 10_000, "the limit is never reached");
    };
    assert_eq!(full, CommitResult::Full);
    while store.commit(&[trigger(stored + 1)]) == [CommitResult::Durable] {
        stored += 1;
    }
    let (used, limit) = store.size();
    assert!(used <= 2 << 20, "{used}");
    assert!(used > (2 << 20) * 8 / 10, "{used}");
    assert_eq!(limit, Some(2 << 20));
    // No old record was dropped, and the reserve takes what settles them.
    assert_eq!(store.recover().unwrap().records.len() as u64, stored);
    assert_eq!(store.commit(&[trigger(stored + 1)]), [CommitResult::Full]);
    let settled: Vec<Batch> = (1..=stored / 2)
        .map(|n| of_records(vec![state(record(n), RecordState::Acknowledged)]))
        .collect();
    assert!(store.commit(&settled).iter().all(|result| *result == CommitResult::Durable));
    // Now there is history to give up.
    assert_eq!(store.commit(&[trigger(stored + 1)]), [CommitResult::Durable]);
    assert!(store.record(id(1)).unwrap().is_none());
    assert!(store.record(id(stored)).unwrap().is_some());
    assert!(store.session("session-1").unwrap().is_some(), "open sessions never go");
    assert!(store.key(&key("key-1")).unwrap().is_some(), "keys never go");
}

#[test]
fn from_80_percent_on_old_answers_go_after_the_history() {
    const LATER: fn() -> Wall = || Wall(NOON + 2 * 60 * 60 * 1000);
    let folder = Folder::new();
    let mut options = folder.options().max_size(Some(4 << 20));
    options.wall = || Wall(NOON);
    let mut store = open_free(&options).unwrap();
    let answer: &'static [u8] = &[b'x'; 4000];
    let keys = |from: u64| {
        let keys = (from..from + 10).map(|n| KeyRow {
            subject: format!("session-{n}"),
            ..key_row(&format!("old-{n}"), Some(answer))
        });
        Batch { keys: keys.collect(), ..Batch::default() }
    };
    let mut kept = 0;
    while store.size().0 < (4 << 20) * 82 / 100 {
        assert_eq!(store.commit(&[keys(kept + 1)]), [CommitResult::Durable]);
        kept += 10;
    }
    assert_eq!(store.key(&key("old-1")).unwrap().unwrap().answer.unwrap().len(), 4000);
    drop(store);
    options.wall = LATER;
    let mut store = open_free(&options).unwrap();
    assert_eq!(store.commit(&[trigger(1)]), [CommitResult::Durable]);
    let answers: Vec<usize> = (1..=kept)
        .map(|n| store.key(&key(&format!("old-{n}"))).unwrap().unwrap().answer.unwrap().len())
        .collect();
    assert_eq!(answers[0], 0, "the oldest answer went, its key stayed");
    assert!(store.size().0 < (4 << 20) * 80 / 100);
}

/// Runs the named test again in a shell that lets no file grow beyond `blocks` of 512 bytes:
/// writes fail as on a broken disk (SIGXFSZ is ignored, EFBIG is an I/O error to SQLite).
fn with_small_files(test: &str, folder: &Path, blocks: u32) {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" --exact {test}");
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env("FAREBOX_TEST_SMALL_FILES", folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

fn small_files() -> Option<PathBuf> {
    std::env::var_os("FAREBOX_TEST_SMALL_FILES").map(PathBuf::from)
}

#[test]
fn fd_08_after_a_failed_write_the_live_state_moves_to_a_new_generation() {
    let Some(path) = small_files() else {
        let folder = Folder::new();
        let test = "store::fd_08_after_a_failed_write_the_live_state_moves_to_a_new_generation";
        with_small_files(test, &folder.0, 1200);
        // Outside the limit everything acknowledged is there.
        let mut store = folder.open();
        let acknowledged = fs::read_to_string(folder.0.join("acknowledged")).unwrap();
        let acknowledged: Vec<u64> = acknowledged.lines().map(|n| n.parse().unwrap()).collect();
        assert!(acknowledged.len() > 20);
        let recovered = store.recover().unwrap();
        assert_eq!(
            ids(&recovered.records),
            acknowledged.iter().map(|n| id(*n)).collect::<Vec<_>>()
        );
        assert!(!folder.0.join("gen-1.db").exists());
        return;
    };
    // The WAL reaches the limit (600 KiB) before it is written back (16 MiB).
    let mut store = open_free(&Options::new(&path)).unwrap();
    let mut acknowledged = String::new();
    let mut failed = 0;
    for n in 1..=120 {
        match store.commit(&[trigger(n)]).remove(0) {
            CommitResult::Durable => acknowledged.push_str(&format!("{n}\n")),
            CommitResult::Failed(reason) => {
                failed += 1;
                assert!(reason.contains("disk I/O error"), "{reason}");
                assert_eq!(store.record(id(n)), Ok(None));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(failed > 0, "the limit was never met");
    assert_ne!(store.database().file_name().unwrap(), "gen-1.db");
    fs::write(path.join("acknowledged"), acknowledged).unwrap();
}

#[test]
fn fd_09_a_disk_that_fails_for_ever_acknowledges_nothing() {
    let Some(path) = small_files() else {
        let folder = Folder::new();
        let mut store = folder.open();
        let records = (1..=400).map(record).collect();
        assert_eq!(store.commit(&[of_records(records)]), [CommitResult::Durable]);
        drop(store);
        let test = "store::fd_09_a_disk_that_fails_for_ever_acknowledges_nothing";
        with_small_files(test, &folder.0, 300);
        let mut store = folder.open();
        assert!(store.recover().unwrap().records.len() >= 400);
        assert_eq!(store.commit(&[trigger(900)]), [CommitResult::Durable]);
        return;
    };
    // The database alone is larger than the limit (150 KiB): it cannot be copied either.
    let mut store = open_free(&Options::new(path)).unwrap();
    let mut n = 500;
    let first = loop {
        n += 1;
        match store.commit(&[trigger(n)]).remove(0) {
            CommitResult::Durable => {}
            other => break other,
        }
    };
    assert!(matches!(first, CommitResult::Unknown(_)), "{first:?}");
    // What is read would be a guess, until the store is on sound ground again.
    assert!(store.record(id(n)).is_err());
    assert!(store.key(&key(&format!("key-{n}"))).is_err());
    for _ in 0..3 {
        let result = store.commit(&[trigger(n + 1)]).remove(0);
        assert!(matches!(result, CommitResult::Failed(_)), "{result:?}");
    }
}

#[test]
fn another_program_may_read_along() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.commit(&[trigger(1)]);
    let reader = rusqlite::Connection::open(folder.0.join("gen-1.db")).unwrap();
    let count: i64 = reader.query_row("SELECT count(*) FROM record", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
    assert_eq!(store.commit(&[trigger(2)]), [CommitResult::Durable]);
}
