//! `farebox status`: is a running gateway alive, and is it ready?

use std::time::Duration;

use super::args::Status;
use super::exit::{Exit, Failure, Outcome};
use super::http::Http;
use super::terminal::Terminal;

/// `--check` asks only whether the process is alive; peers never matter for that.
pub(crate) fn run(args: &Status, terminal: &mut Terminal) -> Outcome {
    let runtime = super::runtime()?;
    let http = Http::new(&args.admin_url, Duration::from_secs(2));
    runtime.block_on(async {
        if args.check {
            let answer = http.get("/healthz").await?;
            return match answer.status {
                200 => Ok(Exit::Ok),
                status => Err(Failure::new(Exit::Unreachable, format!("/healthz says {status}"))),
            };
        }
        let answer = http.get("/readyz").await?;
        terminal.line(answer.text.trim_end());
        Ok(if answer.status == 200 { Exit::Ok } else { Exit::TryAgain })
    })
}
