//! How many requests one peer has, counted where peers are chosen.
//!
//! The connection counts the same on its own (`peer::pending`); this count decides who gets the
//! next request, so that a full peer is passed over before anything is sent.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::clock::Now;

/// The places of one peer's window.
#[derive(Clone, Debug)]
pub struct Window {
    places: usize,
    timeout: Duration,
    /// Token and serial number: a request may have two copies at one peer.
    taken: BTreeSet<(u64, u64)>,
    /// When each copy left, in order; what was given back is taken off when it surfaces.
    order: VecDeque<(Now, u64, u64)>,
    serial: u64,
}

impl Window {
    /// `timeout` is when an unanswered request gives its place back.
    pub fn new(places: usize, timeout: Duration) -> Window {
        Window { places, timeout, taken: BTreeSet::new(), order: VecDeque::new(), serial: 0 }
    }

    /// Requests that have a place.
    pub fn taken(&self) -> usize {
        self.taken.len()
    }

    /// Whether a request would get a place.
    pub fn has_room(&mut self, now: Now) -> bool {
        self.expire(now);
        self.taken.len() < self.places
    }

    /// When the oldest request gives its place back, if no answer comes.
    pub fn room_at(&self) -> Option<Now> {
        let live = |(_, token, serial): &&(Now, u64, u64)| self.taken.contains(&(*token, *serial));
        self.order.iter().find(live).map(|(left, ..)| *left + self.timeout)
    }

    /// A copy leaves.
    pub fn take(&mut self, token: u64, now: Now) {
        self.serial += 1;
        self.taken.insert((token, self.serial));
        self.order.push_back((now, token, self.serial));
        if self.order.len() > 2 * self.taken.len() + 64 {
            let taken = &self.taken;
            self.order.retain(|(_, token, serial)| taken.contains(&(*token, *serial)));
        }
    }

    /// A copy was answered or is lost: the oldest one of this token.
    pub fn give_back(&mut self, token: u64) {
        let oldest = self.taken.range((token, 0)..=(token, u64::MAX)).next().copied();
        if let Some(place) = oldest {
            self.taken.remove(&place);
        }
    }

    /// The connection is gone, or the peer is silent: nothing has a place any more.
    pub fn clear(&mut self) {
        self.taken.clear();
        self.order.clear();
    }

    fn expire(&mut self, now: Now) {
        while let Some((left, token, serial)) = self.order.front().copied() {
            let live = self.taken.contains(&(token, serial));
            if live && now < left + self.timeout {
                return;
            }
            self.taken.remove(&(token, serial));
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TX: Duration = Duration::from_secs(2);

    fn at(secs: u64) -> Now {
        Now::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn a_place_comes_back_with_the_answer_or_at_the_timeout() {
        let mut window = Window::new(2, TX);
        window.take(1, at(0));
        window.take(2, at(1));
        assert!(!window.has_room(at(1)));
        assert_eq!(window.room_at(), Some(at(2)));
        window.give_back(1);
        assert!(window.has_room(at(1)));
        assert_eq!(window.room_at(), Some(at(3)));
        window.take(3, at(1));
        assert!(!window.has_room(at(2)));
        assert!(window.has_room(at(3)), "both are older than the timeout");
        assert_eq!((window.taken(), window.room_at()), (0, None));
    }

    #[test]
    fn two_copies_of_one_request_have_two_places() {
        let mut window = Window::new(2, TX);
        window.take(7, at(0));
        window.take(7, at(1));
        assert!(!window.has_room(at(1)));
        window.give_back(7);
        assert_eq!((window.taken(), window.room_at()), (1, Some(at(3))));
        window.give_back(7);
        window.give_back(7);
        assert_eq!(window.taken(), 0);
        window.take(8, at(1));
        window.clear();
        assert!(window.has_room(at(1)));
    }

    #[test]
    fn what_was_answered_is_not_remembered() {
        let mut window = Window::new(4, TX);
        window.take(0, at(0));
        for token in 1..10_000 {
            window.take(token, at(0));
            window.give_back(token);
        }
        assert_eq!(window.taken(), 1);
        assert!(window.order.len() < 100, "{}", window.order.len());
    }
}
