//! `farebox run`: the gateway, until it is told to stop.

use super::args::{LogFormat, Run};
use super::config;
use super::exit::{Exit, Failure, Outcome};
use super::instance::Instance;
use super::terminal::Terminal;
use crate::telemetry::{LogEvent, log};

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
        for (address, tls) in &instance.diameter {
            let over = if *tls { "tls" } else { "tcp" };
            terminal.note(format!("diameter {over} {address}"));
        }
        serve(args, &instance, terminal).await;
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

/// Until it is told to stop. SIGHUP reads the certificates anew.
async fn serve(args: &Run, instance: &Instance, terminal: &mut Terminal) {
    let mut stopped = std::pin::pin!(super::until_stopped());
    let mut hang_up = HangUp::new();
    loop {
        tokio::select! {
            () = &mut stopped => return,
            () = hang_up.next() => reload(args, instance, terminal),
        }
    }
}

/// A configuration that has errors changes nothing.
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

/// SIGHUP, where there is such a thing.
struct HangUp {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl HangUp {
    fn new() -> HangUp {
        HangUp {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok(),
        }
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}
