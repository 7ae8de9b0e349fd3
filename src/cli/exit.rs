//! How a command ends: the exit codes, and the failure that leads to one.

use std::process::ExitCode;

use crate::diagnostic::Code;

/// The exit codes, which are API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; also SIGINT on `run`.
    Ok = 0,
    /// Failed at run time: a port in use, a file that cannot be written.
    Failed = 1,
    /// An assertion, a threshold or a comparison did not hold.
    Assertion = 3,
    /// The input is not what the command reads (EX_DATAERR).
    BadData = 65,
    /// Nothing answers at the address (EX_UNAVAILABLE).
    Unreachable = 69,
    /// Try again: draining not finished, store held by another process (EX_TEMPFAIL).
    TryAgain = 75,
    /// The operating system does not allow it (EX_NOPERM).
    Permission = 77,
    /// The configuration is missing or wrong (EX_CONFIG).
    Config = 78,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command could not do its job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The process ends with this.
    pub(crate) exit: Exit,
    /// The page of `farebox explain`, if there is one.
    pub(crate) code: Option<Code>,
    /// What went wrong: lower case, no full stop.
    pub(crate) message: String,
    /// What next.
    pub(crate) help: Vec<String>,
}

impl Failure {
    /// A failure without a diagnostic code.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, code: None, message: message.into(), help: Vec::new() }
    }

    /// A failure that `farebox explain` knows.
    pub(crate) fn coded(exit: Exit, code: Code, message: impl Into<String>) -> Failure {
        Failure { exit, code: Some(code), message: message.into(), help: Vec::new() }
    }

    /// Adds a line of help.
    pub(crate) fn help(mut self, text: impl Into<String>) -> Failure {
        self.help.push(text.into());
        self
    }

    /// `path` could not be read or written.
    pub(crate) fn file(path: &std::path::Path, error: &std::io::Error) -> Failure {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Permission,
            _ => Exit::Failed,
        };
        Failure::coded(exit, Code::FB0002, format!("`{}`: {error}", path.display()))
    }
}

/// What every subcommand returns.
pub(crate) type Outcome = Result<Exit, Failure>;
