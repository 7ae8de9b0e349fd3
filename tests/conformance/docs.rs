//! Holds the pages in docs/ against the code and the tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use farebox::diagnostic::Fault;
use farebox::diagnostic::codes::ALL;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a generated page with the one in the tree; `UPDATE=1` writes it instead.
pub(crate) fn check_page(relative: &str, expected: &str) {
    let path = root().join(relative);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, expected).expect("the page is writable");
        return;
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(page == expected, "{relative} is not what the code says; run the test with UPDATE=1");
}

#[test]
fn codes_page_says_what_the_code_says() {
    let mut page = String::from(
        "# Diagnostic codes\n\n\
         Generated from `src/diagnostic/codes.rs`; `farebox explain CODE` prints the same page.\n\
         A code is API: it keeps its meaning, and its number is never used again.\n",
    );
    let sections = [
        ("FB00", "Files"),
        ("FB01", "Dictionaries and mappings"),
        ("FB02", "Configuration"),
        ("FB03", "Mapping warnings"),
        ("FB04", "Configuration warnings"),
        ("FB1", "API"),
        ("FB20", "Process"),
        ("FB30", "Peers"),
    ];
    let mut written = 0;
    for (prefix, title) in sections {
        page.push_str(&format!("\n## {title}\n\n"));
        page.push_str("| Code | What | Who acts | What it means |\n| --- | --- | --- | --- |\n");
        for code in ALL.iter().filter(|code| code.name().starts_with(prefix)) {
            let fault = match code.fault() {
                Fault::Config => "configuration",
                Fault::Caller => "caller",
                Fault::Peer => "peer",
                Fault::Environment => "machine",
                Fault::Farebox => "farebox",
            };
            let explain = code.explain().replace('|', "\\|");
            page.push_str(&format!("| {code} | {} | {fault} | {explain} |\n", code.title()));
            written += 1;
        }
    }
    assert_eq!(written, ALL.len(), "a code falls into no section");
    check_page("docs/CODES.md", &page);
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder of the project") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// Names of all functions below `#[test]` in src and tests, and of those that a table makes.
fn test_names() -> BTreeSet<String> {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    rust_files(&root().join("tests"), &mut files);
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("utf-8");
        let mut below_test = false;
        for line in text.lines().map(str::trim_start) {
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                below_test = true;
            } else if let Some(function) = function.filter(|_| below_test) {
                names.insert(function.split('(').next().unwrap_or("").to_owned());
                below_test = false;
            } else if let Some((name, _)) = line.split_once(" \"").filter(|(name, _)| is_name(name))
            {
                // A row of a table from which a macro makes tests: `trg_01_… "TRG-01" …`.
                names.insert(name.to_owned());
            }
        }
    }
    names
}

fn is_name(word: &str) -> bool {
    word.contains('_') && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The words in backticks that look like test names.
fn named_tests(page: &str) -> BTreeSet<String> {
    page.split('`').skip(1).step_by(2).filter(|word| is_name(word)).map(str::to_owned).collect()
}

/// Ids of the requirements that this version must cover.
fn required_ids() -> Vec<String> {
    let lists = [
        ("H", 36),
        ("P", 31),
        ("W", 18),
        ("R", 22),
        ("O", 9),
        ("X", 9),
        ("S", 33),
        ("C", 59),
        ("G", 19),
        ("F", 36),
    ];
    let listed = lists
        .iter()
        .flat_map(|(letter, last)| (1..=*last).map(move |number| format!("{letter}-{number:02}")));
    let closing = farebox::charging::trigger::TABLE.iter().map(|row| row.id.to_owned());
    listed.chain(closing).collect()
}

/// The peer layer's rows: each with its test or its reason, and how many of each.
#[test]
fn conformance_of_the_peer_layer_is_counted() {
    let page = fs::read_to_string(root().join("docs/CONFORMANCE.md")).expect("docs/CONFORMANCE.md");
    let mut all = (0, 0);
    for (letter, last) in [("P", 31), ("W", 18), ("R", 22), ("O", 9)] {
        let rows: Vec<&str> =
            page.lines().filter(|line| line.starts_with(&format!("| {letter}-"))).collect();
        let tested = rows.iter().filter(|row| !named_tests(row).is_empty()).count();
        let reasoned = rows.len() - tested;
        println!(
            "{letter}-01 to {letter}-{last:02}: {tested} with a test, {reasoned} with a reason"
        );
        assert_eq!(rows.len(), last, "{letter}");
        all = (all.0 + tested, all.1 + reasoned);
    }
    println!("{} rows, {} with a test, {} with a reason", all.0 + all.1, all.0, all.1);
}

#[test]
fn conformance_page_names_tests_that_exist() {
    let page = fs::read_to_string(root().join("docs/CONFORMANCE.md")).expect("docs/CONFORMANCE.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).collect();
    for id in required_ids() {
        let row = rows.iter().find(|row| row.starts_with(&format!("| {id} |")));
        let row = row.unwrap_or_else(|| panic!("docs/CONFORMANCE.md has no row {id}"));
        let reason = row.contains("not applicable: ") || row.contains("open: ");
        assert!(
            reason || !named_tests(row).is_empty(),
            "{id} names neither a test nor a reason: {row}"
        );
    }
    let known = test_names();
    assert!(known.len() > 50, "only {} tests found", known.len());
    let missing: Vec<String> =
        named_tests(&page).into_iter().filter(|name| !known.contains(name)).collect();
    assert!(missing.is_empty(), "docs/CONFORMANCE.md names tests that do not exist: {missing:?}");
}

#[test]
fn readme_links_to_what_is_there() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let links: Vec<&str> = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.starts_with("http"))
        .collect();
    let files: BTreeSet<&str> = readme
        .split_whitespace()
        .map(|word| word.trim_start_matches('@'))
        .filter(|word| word.starts_with("examples/") && word.contains('.'))
        .chain(links)
        .collect();
    assert!(files.len() > 8, "{files:?}");
    let missing: Vec<&&str> = files.iter().filter(|file| !root().join(file).exists()).collect();
    assert!(missing.is_empty(), "README.md names what is not there: {missing:?}");
}

#[test]
fn documents_keep_their_form() {
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for folder in ["docs", "docs/decisions"] {
        for entry in fs::read_dir(root().join(folder)).expect("docs") {
            pages.push(entry.expect("an entry").path());
        }
    }
    for page in pages.iter().filter(|page| page.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(page).expect("utf-8");
        let mut code = false;
        let titles = text.lines().filter(|line| {
            code ^= line.starts_with("```");
            !code && line.starts_with("# ")
        });
        assert_eq!(titles.count(), 1, "{}: one H1", page.display());
    }
    let house = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("utf-8");
    assert!(house.lines().count() <= 300, "docs/ARCHITECTURE.md has grown");
}
