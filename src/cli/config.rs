//! Reading the configuration for commands that need one, and `farebox config show`.

use std::path::{Path, PathBuf};

use super::args::{ConfigShow, Source};
use super::exit::{Exit, Failure, Outcome};
use super::terminal::Terminal;
use crate::config::{Config, Environment, effective, load};

/// The configuration of `source`; findings go to stderr.
///
/// # Errors
/// 78 if it is missing or wrong.
pub(crate) fn read(source: &Source, terminal: &mut Terminal) -> Result<Config, Failure> {
    let mut config = read_paths(std::slice::from_ref(&source.config), terminal)?;
    if let Some(folder) = &source.data_dir {
        config.store.path = folder.clone();
    }
    Ok(config)
}

/// The configuration in these files; findings go to stderr.
///
/// # Errors
/// 78 if it is missing or wrong.
pub(crate) fn read_paths(paths: &[PathBuf], terminal: &mut Terminal) -> Result<Config, Failure> {
    let loaded = load(paths, &Environment::process());
    if !loaded.report.diagnostics.is_empty() {
        terminal.note(loaded.report.human(terminal.colour()).trim_end());
    }
    loaded.config.ok_or_else(|| {
        let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let message = format!("`{}` cannot be used", shown.join("`, `"));
        let failure = Failure::new(Exit::Config, message);
        if paths.iter().all(|path: &PathBuf| !Path::new(path).exists()) {
            failure.help("give one with --config PATH or FAREBOX_CONFIG")
        } else {
            failure
        }
    })
}

/// The files as they are, or with every default.
pub(crate) fn show(args: &ConfigShow, terminal: &mut Terminal) -> Outcome {
    if !args.effective {
        let path = &args.source.config;
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
        terminal.data(&text);
        return Ok(Exit::Ok);
    }
    let config = read(&args.source, terminal)?;
    let text = serde_yaml::to_string(&effective(&config))
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    terminal.data(&text);
    Ok(Exit::Ok)
}
