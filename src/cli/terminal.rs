//! The only place that writes to stdout and stderr: data → stdout, notes → stderr.

use std::io::{IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};

use super::args::{Colour, Global};
use super::exit::Failure;

/// Both streams, with the user's wishes about colour, symbols and silence.
pub(crate) struct Terminal {
    out: AutoStream<std::io::Stdout>,
    err: AutoStream<std::io::Stderr>,
    ascii: bool,
    quiet: bool,
    /// The reader of stdout has gone (`… | head`): nothing more is written.
    closed: bool,
}

impl Terminal {
    /// Honours `--color`, NO_COLOR, CLICOLOR_FORCE, FAREBOX_ASCII and the locale.
    pub(crate) fn new(global: &Global) -> Terminal {
        let choice = match global.color {
            Colour::Auto => ColorChoice::Auto,
            Colour::Always => ColorChoice::Always,
            Colour::Never => ColorChoice::Never,
        };
        let ascii = std::env::var_os("FAREBOX_ASCII").is_some_and(|value| value != "0")
            || locale().is_some_and(|name| !name.to_lowercase().replace('-', "").contains("utf8"));
        Terminal {
            out: AutoStream::new(std::io::stdout(), choice),
            err: AutoStream::new(std::io::stderr(), choice),
            ascii,
            quiet: global.quiet,
            closed: false,
        }
    }

    /// A line of data.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        self.data(text.as_ref());
        self.data("\n");
    }

    /// Data as it is.
    pub(crate) fn data(&mut self, text: &str) {
        if self.closed {
            return;
        }
        let text = if self.ascii { plain(text) } else { text.to_owned() };
        self.closed = self.out.write_all(text.as_bytes()).is_err();
    }

    /// Pushes what was written to the reader; long-lived commands call it after each line.
    pub(crate) fn flush(&mut self) {
        self.closed = self.closed || self.out.flush().is_err();
    }

    /// A line for people, silenced by `--quiet`.
    pub(crate) fn note(&mut self, text: impl AsRef<str>) {
        if !self.quiet {
            self.stderr(text.as_ref());
        }
    }

    /// Why the command ends; `--quiet` does not silence it.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        let code = failure.code.map(|code| format!("[{code}]")).unwrap_or_default();
        let mut text = format!("{RED}error{code}{RESET}: {}", failure.message);
        for help in &failure.help {
            text.push_str(&format!("\n  = help: {help}"));
        }
        if let Some(code) = failure.code {
            text.push_str(&format!("\n  = note: farebox explain {code}"));
        }
        self.stderr(&text);
    }

    /// Does stdout show colour?
    pub(crate) fn colour(&self) -> bool {
        match self.out.current_choice() {
            ColorChoice::Never => false,
            ColorChoice::Auto => std::io::stdout().is_terminal(),
            ColorChoice::Always | ColorChoice::AlwaysAnsi => true,
        }
    }

    fn stderr(&mut self, text: &str) {
        let text = if self.ascii { plain(text) } else { text.to_owned() };
        // Nobody is left to tell when stderr is gone.
        let _ = writeln!(self.err, "{text}");
    }
}

/// Marks a failure; always beside a word.
pub(crate) const RED: &str = "\x1b[1;31m";
/// Marks success; always beside a word or ✔.
pub(crate) const GREEN: &str = "\x1b[32m";
/// Marks a heading.
pub(crate) const BOLD: &str = "\x1b[1m";
/// Ends every mark.
pub(crate) const RESET: &str = "\x1b[0m";

/// The locale's name, if one is set.
fn locale() -> Option<String> {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// Our own symbols in ASCII; everything else stays as it is.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '✔' => out.push_str("ok"),
            '✖' => out.push_str("failed"),
            '▲' => out.push('!'),
            '·' => out.push('-'),
            '→' => out.push_str("->"),
            '←' => out.push_str("<-"),
            '–' | '—' => out.push('-'),
            '…' => out.push_str("..."),
            '×' => out.push('x'),
            '−' => out.push('-'),
            '≤' => out.push_str("<="),
            '•' => out.push('*'),
            '§' => out.push_str("section "),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_keeps_the_words() {
        assert_eq!(plain("✔ CCR-T → 2001 · 14 × 0.05"), "ok CCR-T -> 2001 - 14 x 0.05");
    }
}
