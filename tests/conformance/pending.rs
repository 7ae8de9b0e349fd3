//! Pending requests of a connection (W-12, H-12, H-13, H-18, FA-07, FA-08) and the T law.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use farebox::clock::Now;
use farebox::peer::jitter::Jitter;
use farebox::peer::pending::{
    Answer, CopyHistory, FORGET_AFTER, Matched, Mixed, Pending, Request, Unmatched, t_flag,
};

const TIMEOUT: Duration = Duration::from_secs(10);
const SESSION: &str = "cg1.example;1;2";

fn request(token: u64) -> Request {
    Request {
        token,
        end_to_end: 7000 + token as u32,
        command: 272,
        session_id: Some(Bytes::from_static(SESSION.as_bytes())),
    }
}

fn answer(token: u64, hop_by_hop: u32) -> Answer<'static> {
    Answer {
        hop_by_hop,
        end_to_end: 7000 + token as u32,
        command: 272,
        session_id: Some(SESSION.as_bytes()),
    }
}

fn at(secs: u64) -> Now {
    Now::ZERO + Duration::from_secs(secs)
}

#[test]
fn w_12_an_answer_takes_its_request_off() {
    let mut pending = Pending::new(10, TIMEOUT, 5);
    let id = pending.insert(request(1), at(0)).expect("room");
    let matched = pending.answer(&answer(1, id), at(2));
    assert_eq!(matched, Ok(Matched { token: 1, round_trip: Duration::from_secs(2) }));
    assert!(pending.is_empty());
    assert_eq!(pending.in_window(), 0);
}

#[test]
fn h_13_an_unknown_hop_by_hop_id_matches_nothing() {
    let mut pending = Pending::new(10, TIMEOUT, 5);
    let id = pending.insert(request(1), at(0)).expect("room");
    assert_eq!(pending.answer(&answer(1, id + 1), at(1)), Err(Unmatched::Unknown));
    assert_eq!(pending.len(), 1);
}

#[test]
fn h_18_the_second_answer_matches_nothing() {
    let mut pending = Pending::new(10, TIMEOUT, 5);
    let id = pending.insert(request(1), at(0)).expect("room");
    assert!(pending.answer(&answer(1, id), at(1)).is_ok());
    assert_eq!(pending.answer(&answer(1, id), at(1)), Err(Unmatched::Unknown));
}

#[test]
fn fa_07_an_answer_that_mixes_requests_is_discarded_and_the_request_waits_on() {
    let mut pending = Pending::new(10, TIMEOUT, 5);
    let id = pending.insert(request(1), at(0)).expect("room");
    let right = answer(1, id);
    for (wrong, what) in [
        (Answer { end_to_end: 1, ..right }, Mixed::EndToEnd),
        (Answer { command: 271, ..right }, Mixed::Command),
        (Answer { session_id: Some(b"cg1.example;1;3"), ..right }, Mixed::SessionId),
        (Answer { session_id: Some(b""), ..right }, Mixed::SessionId),
    ] {
        assert_eq!(pending.answer(&wrong, at(1)), Err(Unmatched::Mixed(what)));
    }
    assert_eq!(pending.in_window(), 1);
    assert!(pending.answer(&right, at(1)).is_ok());
}

#[test]
fn r_11_an_error_answer_may_lack_the_session_id() {
    let mut pending = Pending::new(10, TIMEOUT, 5);
    let id = pending.insert(request(1), at(0)).expect("room");
    assert!(pending.answer(&Answer { session_id: None, ..answer(1, id) }, at(1)).is_ok());
}

#[test]
fn h_12_hop_by_hop_ids_stay_unique_under_wrap() {
    let mut pending = Pending::new(1000, TIMEOUT, u32::MAX - 2);
    let held: BTreeSet<u32> =
        (0..4).map(|token| pending.insert(request(token), at(0)).expect("room")).collect();
    assert_eq!(held, BTreeSet::from([u32::MAX - 2, u32::MAX - 1, u32::MAX, 0]));
    // The counter comes round again and meets the four that still wait.
    let mut again = Pending::new(1000, TIMEOUT, 10);
    let long = again.insert(request(1), at(0)).expect("room");
    assert_eq!(long, 10);
    let mut round = again.clone();
    for _ in 0..20 {
        assert_ne!(round.next_hop_by_hop(), long);
    }
}

#[test]
fn fa_08_no_id_is_given_twice_while_it_waits() {
    // A small window and a counter that wraps all the time: every id in 0..16 is met often.
    let (mut random, mut pending) = (Jitter::new(3), Pending::new(12, TIMEOUT, 0));
    let mut waiting: Vec<(u64, u32)> = Vec::new();
    for token in 0..2000u64 {
        if let Some(id) = pending.insert(request(token), at(0)) {
            assert!(waiting.iter().all(|(_, other)| *other != id));
            waiting.push((token, id));
        } else {
            let pick = random.bits() as usize % waiting.len();
            let (token, id) = waiting.swap_remove(pick);
            assert!(pending.answer(&answer(token, id), at(0)).is_ok());
        }
    }
}

#[test]
fn the_window_bounds_what_is_outstanding() {
    let mut pending = Pending::new(2, TIMEOUT, 0);
    let first = pending.insert(request(1), at(0)).expect("room");
    assert!(pending.insert(request(2), at(0)).is_some());
    assert_eq!(pending.insert(request(3), at(0)), None);
    assert!(pending.answer(&answer(1, first), at(0)).is_ok());
    assert!(pending.insert(request(3), at(0)).is_some());
}

#[test]
fn fn_05_silent_requests_leave_the_window_and_late_answers_are_read() {
    let mut pending = Pending::new(2, TIMEOUT, 0);
    let first = pending.insert(request(1), at(0)).expect("room");
    let second = pending.insert(request(2), at(1)).expect("room");
    assert_eq!(pending.next_timeout(), Some(at(10)));
    assert!(pending.expire(at(10)).is_empty());
    assert_eq!((pending.in_window(), pending.len()), (1, 2));
    assert_eq!(pending.next_timeout(), Some(at(11)));
    pending.release(2);
    assert_eq!(pending.in_window(), 0);
    assert!(pending.expire(at(11)).is_empty());
    assert!(pending.answer(&answer(1, first), at(60)).is_ok());
    assert!(pending.answer(&answer(2, second), at(60)).is_ok());
    assert_eq!((pending.in_window(), pending.len()), (0, 0));
    assert_eq!(pending.next_timeout(), None);
}

#[test]
fn an_unanswered_request_is_forgotten_after_ten_minutes() {
    let mut pending = Pending::new(2, TIMEOUT, 0);
    let id = pending.insert(request(1), at(0)).expect("room");
    assert!(pending.expire(at(599)).is_empty());
    assert_eq!(pending.next_timeout(), Some(Now::ZERO + FORGET_AFTER));
    assert_eq!(pending.expire(at(600)), [1]);
    assert_eq!(pending.answer(&answer(1, id), at(601)), Err(Unmatched::Unknown));
}

#[test]
fn w_06_failover_gives_each_request_back_once_in_order() {
    let mut pending = Pending::new(10, TIMEOUT, u32::MAX - 1);
    let ids: Vec<u32> =
        (1..=4).map(|token| pending.insert(request(token), at(0)).expect("room")).collect();
    assert!(pending.answer(&answer(2, ids[1]), at(0)).is_ok());
    assert_eq!(pending.fail_over(), [1, 3, 4]);
    assert_eq!(pending.in_window(), 0);
    assert!(pending.fail_over().is_empty());
    // The peer was only slow: its answer still finds the request.
    assert!(pending.answer(&answer(3, ids[2]), at(30)).is_ok());
    assert!(pending.clear().is_empty(), "given back before");
    assert!(pending.is_empty());
}

#[test]
fn a_lost_connection_gives_back_what_waits_and_forgets_all() {
    let mut pending = Pending::new(10, TIMEOUT, 0);
    let id = pending.insert(request(1), at(0)).expect("room");
    pending.insert(request(2), at(0)).expect("room");
    assert_eq!(pending.clear(), [1, 2]);
    assert_eq!(pending.answer(&answer(1, id), at(1)), Err(Unmatched::Unknown));
    assert_eq!(pending.next_timeout(), None);
}

#[test]
fn fn_04_a_black_hole_makes_nothing_grow() {
    let mut pending = Pending::new(50, TIMEOUT, 0);
    for secs in 0..3000u64 {
        for _ in 0..20 {
            pending.insert(request(secs), at(secs));
        }
        pending.expire(at(secs));
        assert!(pending.len() <= 250, "{} after {secs} s", pending.len());
    }
}

#[test]
fn random_answers_and_time_keep_the_books() {
    for seed in 0..50u64 {
        let (mut random, mut pending) = (Jitter::new(seed), Pending::new(20, TIMEOUT, 0));
        let mut waiting: Vec<(u64, u32)> = Vec::new();
        let mut clock = 0;
        for token in 0..3000u64 {
            match random.bits() % 5 {
                0 | 1 => {
                    waiting.extend(pending.insert(request(token), at(clock)).map(|id| (token, id)));
                }
                2 | 3 if !waiting.is_empty() => {
                    let (token, id) = waiting.swap_remove(random.bits() as usize % waiting.len());
                    let _ = pending.answer(&answer(token, id), at(clock));
                }
                _ => {
                    clock += random.bits() % 4;
                    pending.expire(at(clock));
                }
            }
            assert!(pending.in_window() <= pending.len() && pending.in_window() <= 20);
            assert!(pending.next_timeout().is_none_or(|due| due > at(clock) || token == 0 || {
                // Only what has not been expired at this instant may be due.
                pending.clone().expire(at(clock)).is_empty()
            }));
        }
        pending.expire(at(clock + 700));
        assert!(pending.is_empty() && pending.in_window() == 0, "seed {seed}");
    }
}

#[test]
fn h_05_h_06_h_07_the_t_law() {
    let plain = CopyHistory::default();
    for (history, t) in [
        (plain, false),
        (CopyHistory { unanswered_copy: true, ..plain }, true),
        (CopyHistory { recovered: true, ..plain }, true),
        (CopyHistory { error_mark: true, ..plain }, false),
        (CopyHistory { error_mark: true, recovered: true, ..plain }, false),
        (CopyHistory { after_error_t: true, ..plain }, true),
        (CopyHistory { after_error_t: true, error_mark: true, ..plain }, true),
        (CopyHistory { unanswered_copy: true, recovered: true, ..plain }, true),
    ] {
        assert_eq!(t_flag(history), t, "{history:?}");
    }
}
