//! The report of the peer layer's 67 rows: by how many seeded walks each is taken, and which test
//! tells its story. `UPDATE=1` writes docs/proof/rows.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use farebox::clock::Now;
use farebox::peer::jitter::Jitter;
use farebox::peer::machine::{self, DEPARTURES, Machine, Waits};
use farebox::peer::watchdog::{self, TWINIT, Watchdog};

/// Walks of each machine, and events of each walk.
const WALKS: u64 = 400;
const EVENTS: usize = 200;

fn pick<T: Copy>(random: &mut Jitter, all: &[T]) -> T {
    all[random.bits() as usize % all.len()]
}

/// Rows of one walk of the machine of RFC 6733, 5.6. Seeds decide who wins elections.
fn machine_walk(seed: u64) -> BTreeSet<&'static str> {
    let wait = Duration::from_secs(5);
    let waits = Waits { connect: wait, handshake: wait, closing: wait };
    let peer = if seed.is_multiple_of(2) { "z.example.net" } else { "a.example.net" };
    let mut machine = Machine::new(waits, "m.example.net", Some(peer));
    let mut random = Jitter::new(seed);
    let mut out = Vec::new();
    for _ in 0..EVENTS {
        machine.handle(pick(&mut random, machine::Event::ALL), Now::ZERO, &mut out);
    }
    let rows = out.into_iter();
    rows.filter_map(|one| if let machine::Action::Took(row) = one { Some(row) } else { None })
        .collect()
}

/// Rows of one walk of the watchdog of RFC 3539.
fn watchdog_walk(seed: u64) -> BTreeSet<&'static str> {
    let (mut random, mut watchdog) = (Jitter::new(seed), Watchdog::new(TWINIT, seed));
    let mut out = Vec::new();
    for _ in 0..EVENTS {
        watchdog.handle(pick(&mut random, watchdog::Event::ALL), Now::ZERO, &mut out);
    }
    let rows = out.into_iter();
    rows.filter_map(|one| if let watchdog::Action::Took(row) = one { Some(row) } else { None })
        .collect()
}

fn walks() -> BTreeMap<&'static str, u64> {
    let mut walks = BTreeMap::new();
    for seed in 0..WALKS {
        for row in machine_walk(seed).into_iter().chain(watchdog_walk(seed)) {
            *walks.entry(row).or_insert(0) += 1;
        }
    }
    walks
}

/// The story tests of a row, by the beginning of their names.
fn stories(sources: &str, row: &str) -> Vec<String> {
    let start = format!("{}_", row.to_lowercase().replace('-', "_"));
    let words = sources.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with(&start)).map(str::to_owned).collect()
}

#[test]
fn p_21_w_01_the_row_report_is_complete_and_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources: String = ["peer_machine.rs", "watchdog.rs", "control_block.rs"]
        .iter()
        .map(|file| fs::read_to_string(root.join("tests/conformance").join(file)).expect("utf-8"))
        .collect();
    let machine = machine::ROWS.iter().chain(DEPARTURES);
    let machine =
        machine.map(|row| (row.id, format!("{} · {}", row.state.name(), row.event.name())));
    let watchdog = watchdog::ROWS.iter().map(|row| {
        let guard = match row.guard.name() {
            "" => String::new(),
            guard => format!(" & {guard}"),
        };
        (row.id, format!("{} · {}{guard}", row.status.name(), row.event.name()))
    });
    let mut page = format!(
        "# Rows of the peer layer\n\n\
         Written by `UPDATE=1 cargo test p_21_w_01_the_row_report`.\n\
         {WALKS} seeded walks of {EVENTS} random events through each machine; a row counts once a walk.\n\
         Rows that end in `x` are our own beside those of the RFC.\n\n\
         | Row | State and event | Walks | Story test |\n| --- | --- | --- | --- |\n"
    );
    let walks = walks();
    let (mut of_the_rfcs, mut told) = (0, 0);
    let mut bare = Vec::new();
    for (id, what) in machine.chain(watchdog) {
        let reached = walks.get(id).copied().unwrap_or(0);
        let stories = stories(&sources, id);
        if reached == 0 || stories.is_empty() {
            bare.push(format!("{id}: {reached} walks, stories {stories:?}"));
        }
        of_the_rfcs += usize::from(!id.ends_with('x'));
        told += usize::from(!stories.is_empty());
        let stories: Vec<String> = stories.iter().map(|name| format!("`{name}`")).collect();
        page.push_str(&format!("| {id} | {what} | {reached} | {} |\n", stories.join(", ")));
    }
    println!("{page}");
    println!("{of_the_rfcs} rows of RFC 6733, 5.6 and RFC 3539, {told} rows with a story");
    assert_eq!(of_the_rfcs, 67);
    assert!(bare.is_empty(), "{}", bare.join("\n"));
    let path = root.join("docs/proof/rows.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(&path, &page).expect("writable");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/proof/rows.md is not what the walks say; run with UPDATE=1");
}
