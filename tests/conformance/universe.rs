//! The simulated universe: a few seeds, quickly, and what the others have found.
//!
//! `farebox universe` plays hundreds. A seed that failed becomes a test here, with as few faults and
//! calls as it needs.

use farebox::universe::plan::Plan;
use farebox::universe::world::{Kit, Options, Verdict, play};

fn judge(plan: &Plan) -> Verdict {
    let verdict = play(plan, &Kit::default(), Options { bug: None, keep_trace: 60 });
    let found: Vec<String> = verdict.findings.iter().map(|found| format!("{found:?}")).collect();
    assert!(
        found.is_empty(),
        "seed {}:\n{}\n{}",
        plan.seed,
        verdict.trace.join("\n"),
        found.join("\n")
    );
    verdict
}

#[test]
fn i_all_hold_where_nothing_goes_wrong() {
    for seed in 0..6 {
        judge(&Plan::without_faults(seed));
    }
}
