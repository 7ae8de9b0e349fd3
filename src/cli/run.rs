//! `farebox run`: the gateway, until it is told to stop.

use super::args::{LogFormat, Run};
use super::config;
use super::exit::{Exit, Failure, Outcome};
use super::instance::Instance;
use super::terminal::Terminal;
use crate::telemetry::log;

/// Runs until SIGINT or SIGTERM, then drains; a second signal ends at once.
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
        let instance = Instance::start(config).await?;
        terminal.note(format!("api      http://{}", instance.api));
        terminal.note(format!("console  http://{}", instance.admin));
        super::until_stopped().await;
        terminal.note("draining; a second signal ends at once");
        tokio::select! {
            left = instance.stop() => match left {
                0 => Ok(Exit::Ok),
                left => {
                    let message = format!("{left} calls were not answered in time; their state is on disk");
                    Err(Failure::new(Exit::TryAgain, message))
                }
            },
            () = super::until_stopped() => Ok(Exit::Interrupted),
        }
    })
}
