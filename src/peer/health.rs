//! How much a peer's answers and its connection are to be trusted: grey peers and flapping ones.
//!
//! Nothing here calls a peer down (W-18): a peer that answers watchdogs and no requests, or that
//! comes and goes, is open and only preferred less.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Now;

/// What a request that ran into Tx moves the share of silence by: a quarter of the rest, so that
/// three in a row pass [`GREY`] and a few among many do not.
const STEP: u32 = 4;
/// Share of unanswered requests, in thousandths, from which a peer is grey.
const GREY: u32 = 500;
/// Share below which it is not any more.
const CLEAR: u32 = 250;
/// Between two requests that probe a grey peer, at first and at most.
const PROBE_FIRST: Duration = Duration::from_secs(5);
const PROBE_LONGEST: Duration = Duration::from_secs(60);

/// How a peer answers the requests of one application.
#[derive(Clone, Debug)]
pub struct Health {
    /// Share of unanswered requests, in thousandths, the newest counting most.
    silence: u32,
    /// Unanswered requests since the last answer.
    in_a_row: u32,
    grey: bool,
    probe_at: Now,
    probe_every: Duration,
}

/// What changed about a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has become grey, after so many requests in a row without an answer.
    Grey(u32),
    /// It answers again.
    Clear,
}

impl Default for Health {
    fn default() -> Health {
        Health {
            silence: 0,
            in_a_row: 0,
            grey: false,
            probe_at: Now::ZERO,
            probe_every: PROBE_FIRST,
        }
    }
}

impl Health {
    /// New requests go elsewhere if they can.
    pub fn is_grey(&self) -> bool {
        self.grey
    }

    /// Share of unanswered requests, 0 to 1000, the newest counting most.
    pub fn silence(&self) -> u32 {
        self.silence
    }

    /// Whether the next request may go there to see whether it answers again.
    pub fn may_probe(&self, now: Now) -> bool {
        self.grey && now >= self.probe_at
    }

    /// A request went to a grey peer.
    pub fn probed(&mut self, now: Now) {
        if self.grey {
            self.probe_at = now + self.probe_every;
            self.probe_every = (self.probe_every * 2).min(PROBE_LONGEST);
        }
    }

    /// Tx ran out on a request.
    pub fn unanswered(&mut self, now: Now) -> Option<Change> {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.silence += (1000 - self.silence) / STEP;
        if self.grey || self.silence < GREY {
            return None;
        }
        self.grey = true;
        self.probe_at = now + self.probe_every;
        Some(Change::Grey(self.in_a_row))
    }

    /// An answer came inside Tx.
    pub fn answered(&mut self) -> Option<Change> {
        self.in_a_row = 0;
        self.silence -= self.silence / STEP;
        if !self.grey || self.silence >= CLEAR {
            return None;
        }
        *self = Health { silence: self.silence, ..Health::default() };
        Some(Change::Clear)
    }
}

/// A loss counts as a flap for this long, and a peer that flapped is second choice until it has
/// been in use for this long.
pub const STEADY_AFTER: Duration = Duration::from_secs(300);
/// Losses inside [`STEADY_AFTER`] that make a flap: the first one is only a failure.
const FLAPS: usize = 2;

/// Whether a peer stays in use once it is (FN-10, W-17).
#[derive(Clone, Debug, Default)]
pub struct Stability {
    losses: VecDeque<Now>,
    steady_at: Now,
}

impl Stability {
    /// Nothing speaks against preferring the peer.
    pub fn is_steady(&self, now: Now) -> bool {
        now >= self.steady_at
    }

    /// The peer is not in use any more.
    pub fn lost(&mut self, now: Now) {
        self.losses.push_back(now);
        while self.losses.len() > FLAPS {
            self.losses.pop_front();
        }
    }

    /// The peer is in use again. Tells how often it was lost lately, if that is a flap.
    pub fn back(&mut self, now: Now) -> Option<usize> {
        let lately = self.losses.iter().filter(|loss| now < **loss + STEADY_AFTER).count();
        if lately < FLAPS {
            return None;
        }
        self.steady_at = now + STEADY_AFTER;
        Some(lately)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Now {
        Now::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn fn_05_three_silent_requests_in_a_row_make_a_peer_grey() {
        let mut health = Health::default();
        assert_eq!(health.unanswered(at(0)), None);
        assert_eq!(health.unanswered(at(0)), None);
        assert_eq!(health.unanswered(at(0)), Some(Change::Grey(3)));
        assert_eq!(health.unanswered(at(1)), None, "told once");
        assert!(health.is_grey());
    }

    #[test]
    fn fn_05_a_few_silent_requests_among_many_do_not() {
        let mut health = Health::default();
        for round in 0..1000 {
            let change =
                if round % 4 == 0 { health.unanswered(at(round)) } else { health.answered() };
            assert_eq!(change, None, "{round}");
        }
        for round in 0..1000 {
            let change =
                if round % 4 != 0 { health.unanswered(at(round)) } else { health.answered() };
            if matches!(change, Some(Change::Grey(_))) {
                return;
            }
        }
        panic!("three of four without an answer are too many");
    }

    #[test]
    fn fn_05_probes_are_a_trickle_that_thins_out_and_answers_end_it() {
        let mut health = Health::default();
        while !health.is_grey() {
            health.unanswered(at(0));
        }
        let mut probes = Vec::new();
        for second in 0..200 {
            if health.may_probe(at(second)) {
                health.probed(at(second));
                health.unanswered(at(second));
                probes.push(second);
            }
        }
        assert_eq!(probes, [5, 10, 20, 40, 80, 140]);
        let answers = (1..20).find(|_| health.answered() == Some(Change::Clear));
        assert_eq!(answers, Some(5), "one lucky answer is not enough");
        assert!(!health.is_grey() && !health.may_probe(at(900)));
    }

    #[test]
    fn fn_10_the_second_loss_in_five_minutes_makes_a_peer_second_choice_for_five_minutes() {
        let mut stability = Stability::default();
        stability.lost(at(0));
        assert_eq!(stability.back(at(10)), None, "a single failure is no flap");
        assert!(stability.is_steady(at(10)));
        stability.lost(at(200));
        assert_eq!(stability.back(at(210)), Some(2));
        assert!(!stability.is_steady(at(509)));
        assert!(stability.is_steady(at(510)));
        stability.lost(at(1000));
        assert_eq!(stability.back(at(1001)), None, "the older losses are forgotten");
    }
}
