//! `farebox universe`: seeds in, invariants judged; a failure comes with the command to replay it.

use serde_json::json;

use super::args::{Format, Universe};
use super::exit::{Exit, Outcome};
use super::terminal::Terminal;
use crate::universe::checkers::INVARIANTS;
use crate::universe::planted::{BUGS, ELSEWHERE};
use crate::universe::run::{
    self, Campaign, Failure, Report, TRACE_SHOWN, campaign, reduce, replay,
};
use crate::universe::world::Kit;

/// Failures after which a campaign ends.
const FAILURES_MAX: usize = 5;

/// Plays one universe, or many.
pub(crate) fn run(args: &Universe, terminal: &mut Terminal) -> Outcome {
    let kit = Kit::default();
    if let Some(seed) = args.seed {
        return one(args, seed, &kit, terminal);
    }
    if args.bugs {
        return bugs(args, &kit, terminal);
    }
    let campaign = campaign(
        &Campaign {
            from: args.from,
            seeds: args.seeds,
            bug: None,
            failures_max: args.keep_going.unwrap_or(FAILURES_MAX),
        },
        &kit,
    );
    match args.format {
        Format::Json => terminal.line(as_json(&campaign).to_string()),
        Format::Human => show(&campaign, terminal),
    }
    Ok(if campaign.failures.is_empty() { Exit::Ok } else { Exit::Assertion })
}

fn one(args: &Universe, seed: u64, kit: &Kit, terminal: &mut Terminal) -> Outcome {
    let shown = args.trace.unwrap_or(TRACE_SHOWN);
    let mut verdict = replay(seed, kit, None, shown);
    if verdict.findings.is_empty() {
        terminal.line(format!("seed {seed}: every invariant held, hash {:016x}", verdict.hash));
        return Ok(Exit::Ok);
    }
    if args.shrink {
        let invariant = verdict.findings[0].invariant;
        let (plan, smaller) = reduce(seed, invariant, kit, None, shown);
        terminal.line(format!(
            "{invariant} needs {} faults and {} scripts:",
            plan.events.len(),
            plan.scripts.len()
        ));
        terminal.line(format!("  {:?}", plan.setup));
        for event in &plan.events {
            let (at, lasts) = (event.at.as_secs_f64(), event.lasts.as_secs_f64());
            terminal.line(format!("  {at:10.3} s for {lasts:8.3} s {:?}", event.what));
        }
        for script in &plan.scripts {
            terminal.line(format!("  {} {}", script.id, script.service));
            for step in &script.steps {
                let (at, call) = (step.at.as_secs_f64(), step.call);
                let copies = &step.copies;
                terminal.line(format!("  {at:10.3} s {call:?}, copies after {copies:?}"));
            }
        }
        verdict = smaller;
    }
    terminal.line(format!("the last {} events:", verdict.trace.len()));
    for event in &verdict.trace {
        terminal.line(format!("  {event}"));
    }
    terminal.line(format!("seed {seed}, {}:", revision()));
    for found in &verdict.findings {
        terminal.line(format!("  {}: {}", found.invariant, found.detail));
    }
    Ok(Exit::Assertion)
}

/// Seeds within which each planted bug must be caught.
const BUG_SEEDS_MAX: u64 = 2_000;

fn bugs(args: &Universe, kit: &Kit, terminal: &mut Terminal) -> Outcome {
    let all = run::bugs(args.from, BUG_SEEDS_MAX, kit, |caught| {
        let by = match caught.by {
            Some((seed, invariant)) => format!("seed {seed} by {invariant}"),
            None => "not caught".to_owned(),
        };
        terminal.line(format!("{:52} {by}, after {} seeds", caught.words, caught.seeds));
    });
    for (words, why) in ELSEWHERE {
        terminal.line(format!("{words:52} not here: {why}"));
    }
    let absent = BUGS.iter().filter(|(_, bug)| bug.is_absent()).count();
    if absent > 0 {
        terminal.line(format!("{absent} more need a build with the feature planted-bugs"));
    }
    let caught = all.iter().filter(|one| one.by.is_some()).count();
    terminal.line(format!("{caught} of {} caught", all.len()));
    Ok(if caught == all.len() { Exit::Ok } else { Exit::Assertion })
}

fn revision() -> String {
    let version = env!("CARGO_PKG_VERSION");
    option_env!("FAREBOX_REVISION")
        .map_or_else(|| format!("version {version}"), |revision| format!("commit {revision}"))
}

fn show(report: &Report, terminal: &mut Terminal) {
    for failure in &report.failures {
        show_failure(failure, terminal);
    }
    terminal.line("invariants");
    for (name, words) in INVARIANTS {
        let broken = report
            .failures
            .iter()
            .filter(|failure| failure.findings.iter().any(|found| found.invariant == *name))
            .count();
        let held = if broken == 0 { "held".to_owned() } else { format!("broken in {broken}") };
        terminal.line(format!("  {name:5} {held:12} {words}"));
    }
    terminal.line("coverage");
    for family in report.coverage.families() {
        let (seen, missing) = (family.seen.len(), family.missing.len());
        let line = format!("  {:8} {seen:3} of {:3}", family.name, seen + missing);
        let never = match missing {
            0 => String::new(),
            _ => format!("   never: {}", family.missing.join(" ")),
        };
        terminal.line(format!("{line}{never}"));
    }
    let hours = report.simulated.as_secs_f64() / 3600.0;
    let seconds = report.elapsed.as_secs_f64().max(1e-9);
    let count = |name: &str| report.counts.get(name).copied().unwrap_or(0);
    terminal.line(format!(
        "{} seeds ({} twice, same hash), {hours:.1} simulated hours, {} calls, {} copies, {} events",
        report.seeds,
        report.repeated,
        count("calls"),
        count("copies"),
        count("events")
    ));
    terminal.line(format!(
        "{seconds:.1} s, {:.1} seeds/s, {:.0} times real time; {} failed",
        (report.seeds + report.repeated) as f64 / seconds,
        report.simulated.as_secs_f64() / seconds,
        report.failures.len()
    ));
}

fn show_failure(failure: &Failure, terminal: &mut Terminal) {
    terminal.line(format!("seed {}, {}:", failure.seed, revision()));
    for found in &failure.findings {
        terminal.line(format!("  {}: {}", found.invariant, found.detail));
    }
    terminal.line(format!("  farebox universe --seed {} --shrink", failure.seed));
}

fn as_json(report: &Report) -> serde_json::Value {
    let families = report.coverage.families();
    let coverage: serde_json::Map<String, serde_json::Value> = families
        .iter()
        .map(|family| {
            let seen: serde_json::Map<String, serde_json::Value> = family
                .seen
                .iter()
                .map(|(name, count)| ((*name).to_owned(), json!(count)))
                .collect();
            (family.name.to_owned(), json!({"seen": seen, "missing": family.missing}))
        })
        .collect();
    json!({
        "seeds": report.seeds,
        "repeated": report.repeated,
        "simulatedHours": report.simulated.as_secs_f64() / 3600.0,
        "seconds": report.elapsed.as_secs_f64(),
        "counts": report.counts,
        "invariants": INVARIANTS.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "coverage": coverage,
        "failures": report.failures.iter().map(|failure| json!({
            "seed": failure.seed,
            "findings": failure.findings.iter().map(|found| json!({
                "invariant": found.invariant,
                "detail": found.detail,
            })).collect::<Vec<_>>(),
            "replay": format!("farebox universe --seed {}", failure.seed),
        })).collect::<Vec<_>>(),
    })
}
