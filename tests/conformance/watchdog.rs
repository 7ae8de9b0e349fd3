//! The watchdog against RFC 3539, 3.4.1 and appendix A (W-01 to W-10): WD-01 to WD-24.

use std::collections::BTreeSet;
use std::time::Duration;

use farebox::clock::Now;
use farebox::peer::jitter::Jitter;
use farebox::peer::watchdog::Event::*;
use farebox::peer::watchdog::Status::*;
use farebox::peer::watchdog::{
    Action, Event, IMPOSSIBLE, ROWS, Status, TW_JITTER, TWINIT, TWINIT_MIN, Watchdog, find,
};

fn give(watchdog: &mut Watchdog, event: Event) -> Vec<Action> {
    let mut out = Vec::new();
    watchdog.handle(event, Now::ZERO, &mut out);
    out
}

/// Gives `before` and then `event` to a new watchdog and compares what the last one did.
#[track_caller]
fn check(before: &[Event], event: Event, row: &'static str, actions: &[Action], status: Status) {
    let mut watchdog = Watchdog::new(TWINIT, 7);
    for event in before {
        let out = give(&mut watchdog, *event);
        assert!(matches!(out[0], Action::Took(_)), "{event:?}: {out:?}");
    }
    let out = give(&mut watchdog, event);
    let (took, done) = out.split_first().expect("an action");
    assert_eq!(
        (*took, done, watchdog.status()),
        (Action::Took(row), actions, status),
        "after {before:?}"
    );
}

const OKAY: &[Event] = &[ConnectionUp];
const PENDING: &[Event] = &[ConnectionUp, TimerExpires];
const SUSPECT: &[Event] = &[ConnectionUp, TimerExpires, TimerExpires];
const DOWN: &[Event] = &[ConnectionUp, ConnectionDown];
const REOPEN: &[Event] = &[ConnectionUp, ConnectionDown, ConnectionUp];

macro_rules! stories {
    ($($name:ident: $before:expr, $event:expr => $row:expr, $actions:expr, $status:expr;)*) => {
        $(#[test]
        fn $name() {
            check($before, $event, $row, &$actions, $status);
        })*
    };
}

stories! {
    wd_01_a_dwa_in_okay_clears_pending: PENDING, ReceiveDwa => "WD-01", [], Okay;
    wd_02_any_message_in_okay_resets_tw: OKAY, ReceiveNonDwa => "WD-02", [], Okay;
    wd_03_a_dwa_in_suspect_fails_back: SUSPECT, ReceiveDwa => "WD-03", [Action::Failback], Okay;
    wd_04_any_message_in_suspect_fails_back: SUSPECT, ReceiveNonDwa => "WD-04", [Action::Failback], Okay;
    wd_05_the_third_dwa_in_reopen_brings_it_back:
        &[ConnectionUp, ConnectionDown, ConnectionUp, ReceiveDwa, TimerExpires, ReceiveDwa, TimerExpires],
        ReceiveDwa => "WD-05", [Action::Failback], Okay;
    wd_06_the_first_dwa_in_reopen_is_counted: REOPEN, ReceiveDwa => "WD-06", [], Reopen;
    wd_07_other_messages_in_reopen_are_thrown_away: REOPEN, ReceiveNonDwa
        => "WD-07", [Action::Throwaway], Reopen;
    wd_08_a_dwa_in_initial_is_thrown_away: &[], ReceiveDwa => "WD-08", [Action::Throwaway], Initial;
    wd_09_a_message_in_initial_is_thrown_away: &[], ReceiveNonDwa
        => "WD-09", [Action::Throwaway], Initial;
    wd_10_a_dwa_in_down_is_thrown_away: DOWN, ReceiveDwa => "WD-10", [Action::Throwaway], Down;
    wd_11_a_message_in_down_is_thrown_away: DOWN, ReceiveNonDwa
        => "WD-11", [Action::Throwaway], Down;
    wd_12_a_silent_tw_sends_a_dwr: OKAY, TimerExpires => "WD-12", [Action::SendDwr], Okay;
    wd_13_second_silent_tw_fails_over: PENDING, TimerExpires => "WD-13", [Action::Failover], Suspect;
    wd_14_third_silent_tw_closes: SUSPECT, TimerExpires => "WD-14", [Action::CloseConnection], Down;
    wd_15_initial_attempts_to_open: &[], TimerExpires => "WD-15", [Action::AttemptOpen], Initial;
    wd_16_down_attempts_to_open: DOWN, TimerExpires => "WD-16", [Action::AttemptOpen], Down;
    wd_17_reopen_sends_the_next_dwr:
        &[ConnectionUp, ConnectionDown, ConnectionUp, ReceiveDwa], TimerExpires
        => "WD-17", [Action::SendDwr], Reopen;
    wd_18_a_second_silent_tw_in_reopen_closes:
        &[ConnectionUp, ConnectionDown, ConnectionUp, TimerExpires], TimerExpires
        => "WD-18", [Action::CloseConnection], Down;
    wd_19_a_silent_tw_in_reopen_starts_the_count_anew: REOPEN, TimerExpires => "WD-19", [], Reopen;
    wd_20_the_first_connection_is_usable_at_once: &[], ConnectionUp => "WD-20", [], Okay;
    wd_21_a_reopened_connection_is_probed: DOWN, ConnectionUp => "WD-21", [Action::SendDwr], Reopen;
    wd_22_a_lost_connection_fails_over: OKAY, ConnectionDown
        => "WD-22", [Action::CloseConnection, Action::Failover], Down;
    wd_23_a_connection_lost_in_suspect_closes: SUSPECT, ConnectionDown
        => "WD-23", [Action::CloseConnection], Down;
    wd_24_a_connection_lost_in_reopen_closes: REOPEN, ConnectionDown
        => "WD-24", [Action::CloseConnection], Down;
}

/// (status, event and condition, actions, next) of each row as RFC 3539 prints it.
fn rfc_rows() -> Vec<(String, String, Vec<String>, String)> {
    let text = include_str!("../golden/rfc3539-a.txt");
    let cell = |line: &str, from: usize, to: usize| -> String {
        line.get(from..to.min(line.len())).unwrap_or("").trim().to_owned()
    };
    let mut rows: Vec<(String, String, Vec<String>, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (status, event) = (cell(line, 3, 17), cell(line, 17, 38));
        let (action, next) = (cell(line, 38, 59), cell(line, 59, 80));
        if status == "STATE" || status.starts_with('=') {
            continue;
        }
        if !status.is_empty() {
            rows.push((status, String::new(), Vec::new(), String::new()));
        }
        let row = rows.last_mut().expect("a row");
        row.1 = format!("{} {event}", row.1).trim().to_owned();
        row.2.extend(Some(action).filter(|action| !action.is_empty()));
        row.3.push_str(&next);
    }
    rows
}

#[test]
fn w_01_the_table_is_the_table_of_rfc_3539() {
    let rfc = rfc_rows();
    assert_eq!(rfc.len(), 24, "rows in the RFC");
    assert_eq!(ROWS.len(), 24, "rows in the code");
    for (number, (row, (status, event, actions, next))) in ROWS.iter().zip(rfc).enumerate() {
        assert_eq!(row.id, format!("WD-{:02}", number + 1));
        let condition = match row.guard.name() {
            "" => row.event.name().to_owned(),
            guard => format!("{} & {guard}", row.event.name()),
        };
        let steps: Vec<&str> = row.steps.iter().map(|step| step.name()).collect();
        assert_eq!((row.status.name(), condition), (status.as_str(), event));
        assert_eq!(steps, actions, "{}", row.id);
        assert_eq!(row.next.name(), next, "{}", row.id);
    }
}

#[test]
fn w_01_every_pair_has_exactly_one_row_or_a_reason() {
    for &status in Status::ALL {
        for &event in Event::ALL {
            let impossible =
                IMPOSSIBLE.iter().filter(|(s, e, _)| (*s, *e) == (status, event)).count();
            // NumDWA 3 is left in the same step that reaches it.
            for (pending, num_dwa) in
                [false, true].into_iter().flat_map(|p| (-1..=2).map(move |n| (p, n)))
            {
                let row = find(status, event, pending, num_dwa);
                assert_eq!(
                    usize::from(row.is_some()) + impossible,
                    1,
                    "{status:?} {event:?} pending {pending} NumDWA {num_dwa}"
                );
            }
        }
    }
}

#[test]
fn w_01_every_row_is_reached_by_random_walks() {
    let mut reached = BTreeSet::new();
    for seed in 0..100u64 {
        let (mut random, mut watchdog) = (Jitter::new(seed), Watchdog::new(TWINIT, seed));
        for _ in 0..300 {
            let event = Event::ALL[random.bits() as usize % Event::ALL.len()];
            if let Action::Took(row) = give(&mut watchdog, event)[0] {
                reached.insert(row);
            }
        }
    }
    for row in ROWS {
        assert!(reached.contains(row.id), "{} was never taken", row.id);
    }
}

#[test]
fn w_02_twinit_is_never_below_6_s() {
    let mut watchdog = Watchdog::new(Duration::from_secs(1), 3);
    for _ in 0..100 {
        give(&mut watchdog, ReceiveNonDwa);
        give(&mut watchdog, ConnectionUp);
        let tw = watchdog.next_timeout().expect("a timer").since(Now::ZERO);
        assert!(tw >= TWINIT_MIN - TW_JITTER, "{tw:?}");
    }
}

#[test]
fn w_03_tw_is_drawn_anew_between_minus_and_plus_2_s() {
    let mut watchdog = Watchdog::new(TWINIT, 11);
    give(&mut watchdog, ConnectionUp);
    let drawn: BTreeSet<Duration> = (0..1000)
        .map(|_| {
            give(&mut watchdog, ReceiveNonDwa);
            watchdog.next_timeout().expect("a timer").since(Now::ZERO)
        })
        .collect();
    assert!(drawn.len() > 990, "{} different values", drawn.len());
    let (first, last) = (drawn.first().expect("one"), drawn.last().expect("one"));
    assert!(*first >= Duration::from_secs(28) && *last <= Duration::from_secs(32));
    assert!(*first < Duration::from_millis(28_200) && *last > Duration::from_millis(31_800));
}

#[test]
fn w_04_any_message_resets_tw() {
    let mut watchdog = Watchdog::new(TWINIT, 1);
    give(&mut watchdog, ConnectionUp);
    let before = watchdog.next_timeout();
    watchdog.handle(ReceiveNonDwa, Now::ZERO + Duration::from_secs(20), &mut Vec::new());
    assert!(watchdog.next_timeout() > before.map(|at| at + Duration::from_secs(10)));
}

#[test]
fn w_05_no_second_dwr_while_one_is_unanswered() {
    for seed in 0..200u64 {
        let (mut random, mut watchdog) = (Jitter::new(seed), Watchdog::new(TWINIT, seed));
        let mut unanswered = 0;
        for _ in 0..300 {
            let event = Event::ALL[random.bits() as usize % Event::ALL.len()];
            let out = give(&mut watchdog, event);
            match event {
                ReceiveDwa => unanswered = 0,
                ConnectionDown if watchdog.status() == Down => unanswered = 0,
                _ => {}
            }
            for action in out {
                match action {
                    Action::SendDwr => unanswered += 1,
                    Action::CloseConnection => unanswered = 0,
                    _ => {}
                }
            }
            assert!(unanswered <= 1, "seed {seed}");
        }
    }
}

#[test]
fn w_09_no_dwr_on_a_closed_connection() {
    for seed in 0..200u64 {
        let (mut random, mut watchdog) = (Jitter::new(seed), Watchdog::new(TWINIT, seed));
        for _ in 0..300 {
            let closed = matches!(watchdog.status(), Initial | Down);
            let event = Event::ALL[random.bits() as usize % Event::ALL.len()];
            if closed && event != ConnectionUp {
                assert!(!give(&mut watchdog, event).contains(&Action::SendDwr), "seed {seed}");
            } else {
                give(&mut watchdog, event);
            }
        }
    }
}

#[test]
fn w_07_the_connection_is_closed_after_two_tw_without_answer_and_not_before() {
    let mut watchdog = Watchdog::new(TWINIT, 1);
    give(&mut watchdog, ConnectionUp);
    assert!(give(&mut watchdog, TimerExpires).contains(&Action::SendDwr));
    assert!(!give(&mut watchdog, TimerExpires).contains(&Action::CloseConnection));
    assert!(give(&mut watchdog, TimerExpires).contains(&Action::CloseConnection));
}

#[test]
fn w_10_a_silent_tw_in_reopen_asks_for_three_dwa_again() {
    let mut watchdog = Watchdog::new(TWINIT, 1);
    for event in [ConnectionUp, ConnectionDown, ConnectionUp, ReceiveDwa, TimerExpires] {
        give(&mut watchdog, event);
    }
    assert_eq!(watchdog.num_dwa(), 1);
    give(&mut watchdog, TimerExpires);
    assert_eq!(watchdog.num_dwa(), -1, "the DWR of before is unanswered");
    give(&mut watchdog, ReceiveDwa);
    assert_eq!((watchdog.num_dwa(), watchdog.status()), (0, Reopen));
    for _ in 0..3 {
        assert_eq!(watchdog.status(), Reopen);
        give(&mut watchdog, TimerExpires);
        give(&mut watchdog, ReceiveDwa);
    }
    assert_eq!(watchdog.status(), Okay);
}

#[test]
fn f_20_a_probe_sends_at_most_one_dwr() {
    let mut watchdog = Watchdog::new(TWINIT, 1);
    give(&mut watchdog, ConnectionUp);
    let mut out = Vec::new();
    watchdog.probe(Now::ZERO, &mut out);
    watchdog.probe(Now::ZERO, &mut out);
    assert_eq!(out, [Action::Took("WD-12"), Action::SendDwr]);
}

#[test]
fn the_reconnect_delay_replaces_tw_only_while_nothing_is_connected() {
    let mut watchdog = Watchdog::new(TWINIT, 1);
    watchdog.attempt_at(Some(Now(5)));
    assert_eq!(watchdog.next_timeout(), Some(Now(5)));
    give(&mut watchdog, ConnectionUp);
    let tw = watchdog.next_timeout();
    watchdog.attempt_at(Some(Now(6)));
    assert_eq!(watchdog.next_timeout(), tw);
}
