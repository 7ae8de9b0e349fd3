//! Requests that wait for a place in a window: a line for each route, the more important first.
//!
//! Knows tokens only; what leaves is asked for anew when its turn comes.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::clock::Now;

use super::overload::Rank;

/// One request in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Names it.
    pub token: u64,
    /// Why there is a copy.
    pub reason: &'static str,
}

/// Rank, then the order of arrival.
type Place = (Reverse<Rank>, u64);

#[derive(Clone, Debug)]
struct Line {
    places: BTreeMap<Place, Waiter>,
    room_at: Now,
}

/// All lines.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    lines: BTreeMap<usize, Line>,
    tokens: BTreeMap<u64, (usize, Place, Now)>,
    deadlines: BTreeSet<(Now, u64)>,
    serial: u64,
}

impl Waiting {
    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Joins the line of a route until `deadline`; `room_at` is when a peer has room. Whoever
    /// stands in line already keeps place and deadline.
    pub fn join(
        &mut self,
        route: usize,
        rank: Rank,
        waiter: Waiter,
        (room_at, deadline): (Now, Now),
    ) {
        let token = waiter.token;
        let line = self.lines.entry(route).or_insert(Line { places: BTreeMap::new(), room_at });
        line.room_at = line.room_at.min(room_at);
        if let Some((_, place, _)) = self.tokens.get(&token).filter(|(line, ..)| *line == route) {
            line.places.insert(*place, waiter);
            return;
        }
        self.serial += 1;
        let place = (Reverse(rank), self.serial);
        line.places.insert(place, waiter);
        self.leave(token);
        self.tokens.insert(token, (route, place, deadline));
        self.deadlines.insert((deadline, token));
    }

    /// Leaves the line; tells whether it stood there.
    pub fn leave(&mut self, token: u64) -> bool {
        let Some((route, place, deadline)) = self.tokens.remove(&token) else { return false };
        self.deadlines.remove(&(deadline, token));
        if let Some(line) = self.lines.get_mut(&route) {
            line.places.remove(&place);
            if line.places.is_empty() {
                self.lines.remove(&route);
            }
        }
        true
    }

    /// Routes with a line.
    pub fn routes(&self) -> Vec<usize> {
        self.lines.keys().copied().collect()
    }

    /// The first of a line.
    pub fn first(&self, route: usize, most: usize) -> Vec<Waiter> {
        let line = self.lines.get(&route);
        line.map(|line| line.places.values().take(most).copied().collect()).unwrap_or_default()
    }

    /// The line of a route was tried; a peer has room then.
    pub fn tried(&mut self, route: usize, room_at: Now) {
        if let Some(line) = self.lines.get_mut(&route) {
            line.room_at = room_at;
        }
    }

    /// Whoever has waited long enough; they leave.
    pub fn expired(&mut self, now: Now) -> Vec<u64> {
        let mut tokens = Vec::new();
        while let Some((deadline, token)) = self.deadlines.first().copied() {
            if now < deadline {
                break;
            }
            self.leave(token);
            tokens.push(token);
        }
        tokens
    }

    /// When there is something to do, if nothing happens before.
    pub fn next_timeout(&self) -> Option<Now> {
        let room = self.lines.values().map(|line| line.room_at);
        room.chain(self.deadlines.first().map(|(deadline, _)| *deadline)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u64) -> Now {
        Now(n)
    }

    fn waiter(token: u64) -> Waiter {
        Waiter { token, reason: "first" }
    }

    #[test]
    fn the_more_important_stand_first_and_equals_in_their_order() {
        let mut waiting = Waiting::default();
        for (token, rank) in [
            (1, Rank::First),
            (2, Rank::Termination),
            (3, Rank::First),
            (4, Rank::Update),
            (5, Rank::Termination),
        ] {
            waiting.join(0, rank, waiter(token), (at(5), at(9)));
        }
        waiting.join(7, Rank::First, waiter(6), (at(4), at(8)));
        let tokens: Vec<u64> = waiting.first(0, 9).iter().map(|one| one.token).collect();
        assert_eq!(tokens, [2, 5, 4, 1, 3]);
        assert_eq!((waiting.routes(), waiting.len()), (vec![0, 7], 6));
        assert_eq!(waiting.first(0, 2).len(), 2);
    }

    #[test]
    fn whoever_joins_again_keeps_place_and_deadline() {
        let mut waiting = Waiting::default();
        waiting.join(0, Rank::First, waiter(1), (at(5), at(9)));
        waiting.join(0, Rank::First, waiter(2), (at(5), at(10)));
        waiting.join(0, Rank::First, Waiter { token: 1, reason: "full" }, (at(3), at(20)));
        assert_eq!(waiting.first(0, 9)[0], Waiter { token: 1, reason: "full" });
        assert_eq!(waiting.next_timeout(), Some(at(3)));
        waiting.tried(0, at(30));
        assert_eq!(waiting.next_timeout(), Some(at(9)));
        assert_eq!(waiting.expired(at(8)), [0; 0]);
        assert_eq!(waiting.expired(at(10)), [1, 2]);
        assert!(waiting.is_empty() && waiting.next_timeout().is_none());
    }

    #[test]
    fn nothing_is_left_of_those_who_left() {
        let mut waiting = Waiting::default();
        waiting.join(0, Rank::First, waiter(1), (at(5), at(9)));
        assert!(waiting.leave(1) && !waiting.leave(1));
        waiting.join(0, Rank::First, waiter(1), (at(5), at(9)));
        waiting.join(1, Rank::Update, waiter(1), (at(5), at(9)));
        assert_eq!((waiting.routes(), waiting.len()), (vec![1], 1));
        waiting.leave(1);
        assert!(waiting.lines.is_empty() && waiting.deadlines.is_empty());
    }
}
