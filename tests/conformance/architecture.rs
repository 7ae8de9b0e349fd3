//! Holds the import table of docs/ARCHITECTURE.md against `src`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Module → (pure, may import). `charging` and `mapping` stay strangers to `sim`: the judge must
/// not share the defendant's arithmetic.
const TABLE: &[(&str, bool, &[&str])] = &[
    ("clock", true, &[]),
    ("diagnostic", true, &[]),
    ("diameter", true, &["clock", "diagnostic"]),
    ("mapping", true, &["diameter", "diagnostic"]),
    ("charging", true, &["mapping", "diameter", "store", "clock", "diagnostic"]),
    ("peer", true, &["diameter", "clock", "diagnostic"]),
    ("store", true, &["clock", "diagnostic"]),
    ("tls", false, &["clock", "diagnostic"]),
    (
        "config",
        false,
        &["clock", "diagnostic", "diameter", "mapping", "charging", "peer", "store", "tls"],
    ),
    (
        "telemetry",
        false,
        &["clock", "diagnostic", "diameter", "mapping", "charging", "peer", "store", "config"],
    ),
    ("transport", false, &["peer", "diameter", "telemetry", "tls", "clock", "diagnostic"]),
    (
        "gateway",
        true,
        &[
            "clock",
            "diagnostic",
            "diameter",
            "mapping",
            "charging",
            "peer",
            "store",
            "config",
            "telemetry",
            "tls",
            "transport",
        ],
    ),
    ("sim", true, &["transport", "peer", "diameter", "telemetry", "clock", "diagnostic"]),
    (
        "universe",
        true,
        &[
            "clock",
            "diagnostic",
            "diameter",
            "mapping",
            "charging",
            "peer",
            "store",
            "gateway",
            "sim",
        ],
    ),
    ("api", false, &["gateway", "charging", "config", "telemetry", "store", "clock", "diagnostic"]),
    (
        "console",
        false,
        &[
            "api",
            "gateway",
            "config",
            "telemetry",
            "charging",
            "mapping",
            "diameter",
            "store",
            "clock",
            "diagnostic",
        ],
    ),
    (
        "cli",
        false,
        &[
            "clock",
            "diagnostic",
            "diameter",
            "mapping",
            "charging",
            "peer",
            "store",
            "config",
            "telemetry",
            "tls",
            "transport",
            "gateway",
            "sim",
            "universe",
            "api",
            "console",
        ],
    ),
];

/// Shell files inside modules that are otherwise pure: they may do IO.
const SHELL_FILES: &[&str] = &[
    "store/sqlite",
    "gateway/start",
    "gateway/engine_thread",
    "gateway/committer",
    "gateway/peers",
    "gateway/handle",
    "gateway/standing",
    "sim/run",
    "sim/scenario",
    "sim/cpm",
    "sim/load",
    "sim/control",
    "universe/run",
];

const BANNED_WHEN_PURE: &[&str] = &[
    "serde",
    "tokio",
    "tracing",
    "prometheus",
    "rusqlite",
    "std::net",
    "std::fs",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
    "std::process",
    "HashMap",
    "HashSet",
];

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src is readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// Code without comments, strings' contents untouched (imports never stand in strings).
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// All problems of one file against the table.
fn problems(relative: &str, text: &str) -> Vec<String> {
    let module = relative.split(['/', '.']).next().unwrap_or("");
    if matches!(relative, "lib.rs" | "main.rs") {
        return Vec::new();
    }
    let Some((_, pure_module, may)) = TABLE.iter().find(|(name, ..)| *name == module) else {
        return vec![format!("{relative}: module `{module}` is not in the table")];
    };
    let pure = *pure_module && !SHELL_FILES.iter().any(|shell| relative.starts_with(shell));
    let code = code(text);
    let mut found = Vec::new();
    for piece in code.split("crate::").skip(1) {
        let target: String =
            piece.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if target.is_empty() {
            found.push(format!("{relative}: grouped `crate::{{…}}` hides what is imported"));
        } else if target != module && !may.contains(&target.as_str()) {
            found.push(format!("{relative}: `{module}` may not import `{target}`"));
        }
    }
    if pure {
        if code.contains("super::super") {
            found.push(format!("{relative}: `super::super` hides what is imported"));
        }
        let allowed_clock = relative == "clock.rs";
        for banned in BANNED_WHEN_PURE {
            if code.contains(banned) && !allowed_clock {
                found.push(format!("{relative}: a pure file uses `{banned}`"));
            }
        }
    }
    found
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut found = Vec::new();
    let mut per_module: BTreeMap<String, usize> = BTreeMap::new();
    for file in files {
        let relative = file.strip_prefix(&src).expect("below src").to_string_lossy().into_owned();
        *per_module.entry(relative.split('/').next().unwrap_or("").to_owned()).or_default() += 1;
        found.extend(problems(&relative, &fs::read_to_string(&file).expect("utf-8")));
    }
    assert!(per_module.len() > 10, "the walk saw {per_module:?}");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_import_test_bites() {
    for (file, text) in [
        ("peer/machine.rs", "use crate::charging::event::Trigger;"),
        ("charging/engine.rs", "use crate::{peer, mapping};"),
        ("charging/engine.rs", "use super::super::peer::machine;"),
        ("store/commit.rs", "use crate::diameter::Avp;"),
        ("sim/ocs.rs", "use crate::mapping::Value;"),
        ("peer/watchdog.rs", "let now = std::time::Instant::now();"),
        ("mapping/apply.rs", "use serde::Deserialize;"),
        ("nowhere/at_all.rs", ""),
    ] {
        assert!(!problems(file, text).is_empty(), "{file}: {text}");
    }
    assert!(problems("charging/engine.rs", "use crate::store::Batch; // crate::peer").is_empty());
}
