//! `farebox run`: the gateway, until it is told to stop.

use super::args::{LogFormat, Run};
use super::config;
use super::exit::{Exit, Failure, Outcome};
use super::instance::Instance;
use super::signals::{Asked, Signals};
use super::terminal::Terminal;
use crate::telemetry::{LogEvent, log};

/// Runs until SIGINT or SIGTERM, then drains; a second one ends at once. SIGHUP reads the
/// certificates anew.
pub(crate) fn run(args: &Run, terminal: &mut Terminal) -> Outcome {
    let config = config::read(&args.source, terminal)?;
    let format = match args.log_format {
        None => log::Format::Auto,
        Some(LogFormat::Text) => log::Format::Text,
        Some(LogFormat::Json) => log::Format::Json,
    };
    let subscribers = match config.log_subscriber_clear {
        true => log::Subscribers::Clear,
        false => log::Subscribers::Masked,
    };
    log::init(format, &args.log, subscribers)
        .map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("farebox-io")
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let mut signals = Signals::catch()?;
        let instance = Instance::start(config).await?;
        terminal.note(format!("api      http://{}", instance.api));
        terminal.note(format!("console  http://{}", instance.admin));
        for (address, tls) in &instance.diameter {
            let over = if *tls { "tls" } else { "tcp" };
            terminal.note(format!("diameter {over} {address}"));
        }
        while signals.next().await == Asked::Reload {
            reload(args, &instance, terminal);
        }
        terminal.note("draining; a second signal ends at once");
        tokio::select! {
            left = instance.stop() => match left {
                0 => Ok(Exit::Ok),
                left => {
                    let message = format!("{left} calls were not answered in time; their state is on disk");
                    Err(Failure::new(Exit::TryAgain, message))
                }
            },
            () = signals.stop() => Ok(Exit::Interrupted),
        }
    })
}

/// Reads the certificates anew; a configuration that has errors changes nothing.
fn reload(args: &Run, instance: &Instance, terminal: &mut Terminal) {
    match config::read(&args.source, terminal) {
        Ok(config) => {
            let peers = instance.replace_certificates(&config);
            let words =
                format!("certificates of {peers} peers were read anew; for other changes restart");
            log::emit(LogEvent::ConfigApplied, log::Fields::default(), &words);
        }
        Err(failure) => {
            let words = failure.message;
            log::emit(LogEvent::ConfigRejected, log::Fields::default(), &words);
        }
    }
}
