//! What `check` found, for people and for programs.

use serde_json::{Value, json};

use crate::diagnostic::render::{Sources, render};
use crate::diagnostic::{Diagnostic, Severity};

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Configuration files.
    pub configs: usize,
    /// Mapping files.
    pub mappings: usize,
    /// AVPs that they set.
    pub mapping_avps: usize,
    /// Dictionary files.
    pub dictionaries: usize,
    /// AVPs that they define.
    pub dictionary_avps: usize,
    /// Tests in mapping files.
    pub tests: usize,
}

/// All findings, with the texts that they point into.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Errors first, each in the order of reading.
    pub diagnostics: Vec<Diagnostic>,
    /// File texts by the name that the findings carry.
    pub sources: Sources,
    /// How much was looked at.
    pub counts: Counts,
}

impl Report {
    /// Number of errors; with any the configuration cannot be used.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// Number of warnings.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }

    /// Findings with line and caret, then the line of counts.
    pub fn human(&self, colour: bool) -> String {
        let mut text = String::new();
        for diagnostic in &self.diagnostics {
            text.push_str(&render(diagnostic, &self.sources, colour));
            text.push_str("\n\n");
        }
        text.push_str(&self.summary());
        text.push('\n');
        text
    }

    /// `checked 1 config, 3 mappings (41 AVPs), …   2 errors, 2 warnings`.
    pub fn summary(&self) -> String {
        let counts = self.counts;
        format!(
            "checked {}, {} ({} AVPs), {} ({} AVPs), {}     {}, {}",
            plural(counts.configs, "config", "configs"),
            plural(counts.mappings, "mapping", "mappings"),
            grouped(counts.mapping_avps),
            plural(counts.dictionaries, "dictionary", "dictionaries"),
            grouped(counts.dictionary_avps),
            plural(counts.tests, "test", "tests"),
            plural(self.errors(), "error", "errors"),
            plural(self.warnings(), "warning", "warnings"),
        )
    }

    /// The same as one JSON object.
    pub fn json(&self) -> Value {
        let finding = |diagnostic: &Diagnostic| {
            let span = diagnostic.span.as_ref();
            json!({
                "code": diagnostic.code.name(),
                "severity": match diagnostic.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                },
                "message": diagnostic.message,
                "file": span.map(|span| &*span.file),
                "line": span.map(|span| span.line),
                "column": span.map(|span| span.column),
                "label": diagnostic.label,
                "help": diagnostic.help,
            })
        };
        json!({
            "errors": self.errors(),
            "warnings": self.warnings(),
            "checked": {
                "configs": self.counts.configs,
                "mappings": self.counts.mappings,
                "mappingAvps": self.counts.mapping_avps,
                "dictionaries": self.counts.dictionaries,
                "dictionaryAvps": self.counts.dictionary_avps,
                "tests": self.counts.tests,
            },
            "diagnostics": self.diagnostics.iter().map(finding).collect::<Vec<_>>(),
        })
    }
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// `1842` → `1 842`.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Code;

    #[test]
    fn the_last_line_counts_everything() {
        let counts = Counts {
            configs: 1,
            mappings: 3,
            mapping_avps: 41,
            dictionaries: 5,
            dictionary_avps: 1842,
            tests: 6,
        };
        let error = || Diagnostic::error(Code::FB0203, "peer `ocs-c` is not defined");
        let warning = Diagnostic::warning(Code::FB0420, "x");
        let diagnostics = vec![error(), error(), warning];
        let report = Report { diagnostics, counts, ..Report::default() };
        assert_eq!(
            report.summary(),
            "checked 1 config, 3 mappings (41 AVPs), 5 dictionaries (1 842 AVPs), 6 tests     \
             2 errors, 1 warning"
        );
        assert_eq!(report.json()["diagnostics"][0]["code"], "FB0203");
        assert_eq!(grouped(1_234_567), "1 234 567");
    }
}
