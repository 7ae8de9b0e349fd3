//! The simulated universe: a few seeds, quickly, and what the others have found.
//!
//! `farebox universe` plays hundreds. A seed that failed becomes a test here, with as few faults and
//! calls as it needs.

use std::time::Duration;

use farebox::charging::event::CloseTrigger;
use farebox::sim::fault::{Fault, Verb, When};
use farebox::universe::nemesis::{Death, DiskFault, NemesisEvent, Strike};
use farebox::universe::plan::{Call, Plan, Script, Setup};
use farebox::universe::world::{Kit, Options, Verdict, play};

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

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

fn plan(setup: Setup, scripts: Vec<Script>, events: Vec<NemesisEvent>) -> Plan {
    Plan { seed: 1, setup, scripts, events, load: secs(60) }
}

fn strike(at: Duration, lasts: Duration, what: Strike) -> NemesisEvent {
    NemesisEvent { at, lasts, what }
}

fn interim(sequence: u64, seconds: u64, messages: u64) -> Call {
    Call::Interim { sequence, seconds, messages }
}

fn close(trigger: CloseTrigger, seconds: u64, messages: u64) -> Call {
    Call::Close { trigger, seconds, messages, sip_error: None }
}

#[test]
fn i_all_hold_where_nothing_goes_wrong() {
    for seed in 0..6 {
        judge(&Plan::without_faults(seed));
    }
}

#[test]
fn s_10_an_interim_whose_copy_is_leaving_is_not_replaced() {
    let calls = [
        (secs(1), Call::Start),
        (millis(2000), interim(1, 1, 1)),
        (millis(2000), interim(2, 2, 2)),
        (secs(9), close(CloseTrigger::ByeReceived, 8, 3)),
    ];
    let script = Script::plain("hasty-chat", "chat", &calls);
    let setup = Setup { flush: millis(20), ..Setup::plain() };
    judge(&plan(setup, vec![script], Vec::new()));
}

#[test]
fn fq_04_a_thousand_late_interims_of_one_session_need_no_stack() {
    let mut calls = vec![(secs(1), Call::Start), (secs(3), close(CloseTrigger::ByeReceived, 2, 1))];
    calls.extend((2..3000).map(|sequence| (millis(3001), interim(sequence, 2, 1))));
    let script = Script::plain("busy-chat", "offline-only", &calls);
    let slow = strike(secs(2), secs(9), Strike::Disk(DiskFault::Slow(secs(2))));
    let plan = plan(Setup::plain(), vec![script], vec![slow]);
    let small = std::thread::Builder::new().stack_size(512 * 1024);
    let played = small.spawn(move || judge(&plan).calls).expect("a thread");
    assert_eq!(played.join().expect("no overflow"), 3000);
}

#[test]
fn s_12_the_end_of_a_backup_record_is_nobody_elses_turn() {
    let scripts = (0..20).map(|n| {
        let calls = [
            (secs(1), Call::Start),
            (millis(9000 + n * 50), close(CloseTrigger::ByeReceived, 8, 3)),
        ];
        Script::plain(&format!("chat-{n}"), "chat", &calls)
    });
    let fault = Fault {
        server: None,
        when: When { command: Some("CCR-T".to_owned()), ..When::default() },
        at: None,
        lasts: None,
        verbs: vec![Verb::Answer(5002)],
    };
    let lost = Strike::Serve { peers: 0b0011, id: &["FA-18"], fault };
    judge(&plan(Setup::plain(), scripts.collect(), vec![strike(secs(5), secs(50), lost)]));
}

#[test]
fn fd_18_an_ended_session_is_not_taken_up_again_at_start() {
    let calls = [(secs(1), Call::Start), (secs(9), close(CloseTrigger::ByeReceived, 8, 3))];
    let script = Script::plain("ended-chat", "chat", &calls);
    let crash = Strike::Crash { death: Death::Kill, down: secs(1), wall_step_millis: 0, again: 0 };
    judge(&plan(Setup::plain(), vec![script], vec![strike(secs(20), secs(1), crash)]));
}

#[test]
fn i_all_hold_under_faults() {
    for seed in 0..20 {
        judge(&Plan::draw(seed));
    }
}

#[test]
fn fc_02_a_deadline_is_no_further_away_for_a_clock_that_was_set_back() {
    let calls = [(secs(1), Call::Start), (secs(9), close(CloseTrigger::ByeSent, 8, 3))];
    let script = Script::plain("armed-chat", "chat", &calls);
    let ten_years = 10 * 365 * 24 * 3_600_000;
    let ahead = strike(secs(5), secs(6), Strike::WallStep { millis: ten_years });
    let crash = Strike::Crash { death: Death::Kill, down: secs(3), wall_step_millis: 0, again: 0 };
    judge(&plan(Setup::plain(), vec![script], vec![ahead, strike(secs(10), secs(1), crash)]));
}
