//! `farebox demo`: a CPM session ends in every way, and the other side's books show the charges.

use clap::ValueEnum;
use serde_json::json;

use super::args::{Demo, Flow};
use super::demo_flow::MESSAGES;
use super::demo_report::Played;
use super::demo_stage::{SUBSCRIBER, Stage};
use super::exit::{Exit, Outcome};
use super::signals::Signals;
use super::terminal::{BOLD, GREEN, RED, RESET, Terminal};
use crate::clock;

/// 0 if every session was charged once, else 3.
pub(crate) fn run(args: &Demo, terminal: &mut Terminal) -> Outcome {
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let mut signals = Signals::catch()?;
        let began = clock::now();
        let stage = Stage::start(terminal).await?;
        let exit = tokio::select! {
            exit = show(args, &stage, began, terminal) => Some(exit),
            () = signals.stop() => None,
        };
        if !args.once && matches!(exit, Some(Ok(_))) {
            hints(&stage, terminal);
            signals.stop().await;
        }
        stage.stop().await;
        exit.unwrap_or(Ok(Exit::Interrupted))
    })
}

async fn show(args: &Demo, stage: &Stage, began: clock::Now, terminal: &mut Terminal) -> Outcome {
    let human = !args.json;
    if human {
        terminal.line(format!(
            "{BOLD}farebox {}{RESET} · demo · everything on 127.0.0.1, data in a temporary folder",
            env!("CARGO_PKG_VERSION")
        ));
        terminal.line("");
        for line in stage.lines() {
            terminal.line(format!("  {GREEN}✔{RESET} {line}"));
        }
        terminal.flush();
    }
    if args.lose_cdr {
        stage.lose_next_stop();
        terminal.note("the CDF simulator will lose one CDR");
    }
    let flows = if args.flow.is_empty() { Flow::value_variants() } else { &args.flow };
    let mut played = Vec::new();
    for (index, flow) in flows.iter().enumerate() {
        let (calls, view, evidence) = stage.play(*flow).await?;
        let mut problems = evidence.problems(*flow, MESSAGES);
        for call in calls.iter().filter(|call| !(200..300).contains(&call.status)) {
            problems.push(format!("POST {} was answered {}", call.path, call.status));
        }
        let one = Played { flow: *flow, calls, view, evidence, problems };
        if human {
            one.print(index + 1, terminal);
            terminal.flush();
        }
        played.push(one);
    }
    let charged = played.iter().filter(|one| one.problems.is_empty()).count();
    let all = charged == played.len();
    let seconds = clock::now().since(began).as_secs_f64();
    if human {
        let (mark, colour) = if all { ("✔", GREEN) } else { ("✖", RED) };
        terminal.line("");
        terminal.line(format!(
            "  {colour}{mark} {charged} of {} sessions charged once{RESET}   in {seconds:.1} s",
            played.len()
        ));
    } else {
        let (ocs, cdf) = stage.simulators();
        let object = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "charged": all,
            "seconds": (seconds * 1000.0).round() / 1000.0,
            "subscriber": SUBSCRIBER,
            "ocs": ocs.to_string(),
            "cdf": cdf.to_string(),
            "cdrFile": stage.cdr_file().display().to_string(),
            "api": format!("http://{}", stage.instance().api),
            "console": format!("http://{}", stage.instance().admin),
            "flows": played.iter().map(Played::json).collect::<Vec<_>>(),
        });
        terminal.line(object.to_string());
    }
    Ok(if all { Exit::Ok } else { Exit::Assertion })
}

/// To stderr: stdout may be one JSON object.
fn hints(stage: &Stage, terminal: &mut Terminal) {
    let instance = stage.instance();
    let (api, admin) = (instance.api, instance.admin);
    let session = super::demo_flow::session_id(Flow::ClientClose);
    terminal.flush();
    terminal.note("");
    terminal.note("  Still running. Try:");
    terminal.note(format!("    curl -s http://{api}/v1/events --json @examples/message-sent.json"));
    terminal.note(format!("    curl -s http://{api}/v1/sessions/{session}"));
    terminal.note(format!("    curl -s http://{admin}/metrics | grep farebox_outcomes_total"));
    terminal.note(format!("    tail {}", stage.cdr_file().display()));
    terminal.note("    Ctrl-C stops everything and cleans up");
}
