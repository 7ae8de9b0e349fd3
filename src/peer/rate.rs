//! At most so many requests a second, evenly spread, with room for a short burst.

use std::time::Duration;

use crate::clock::Now;

/// A burst of our own requests may take this much of the rate in advance.
const BURST: Duration = Duration::from_millis(100);

/// The generic cell rate algorithm: one number, no timer.
#[derive(Clone, Debug)]
pub struct Rate {
    interval: Duration,
    burst: Duration,
    /// When the next request would be due if all came evenly.
    due: Now,
}

impl Rate {
    /// So many a second; 0 is read as 1.
    pub fn per_second(count: u32) -> Rate {
        Rate::with_burst(count, BURST)
    }

    /// As [`Rate::per_second`]; `burst` of time may be taken in advance.
    pub fn with_burst(count: u32, burst: Duration) -> Rate {
        let interval = Duration::from_secs(1) / count.max(1);
        Rate { interval, burst: burst.max(interval), due: Now::ZERO }
    }

    /// Takes one, if the rate has room for it.
    pub fn take(&mut self, now: Now) -> bool {
        if !self.has_room(now) {
            return false;
        }
        self.due = self.due.max(now) + self.interval;
        true
    }

    /// Whether [`Rate::take`] would take one.
    pub fn has_room(&self, now: Now) -> bool {
        self.due.since(now) < self.burst
    }

    /// When there is room, if nothing is taken until then.
    pub fn room_at(&self) -> Now {
        Now::ZERO + self.due.since(Now::ZERO + self.burst) + Duration::from_nanos(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_gives_its_count_a_second_and_no_more() {
        let mut rate = Rate::per_second(100);
        let taken =
            (0..10_000u64).filter(|ms| rate.take(Now::ZERO + Duration::from_millis(*ms))).count();
        assert!((1000..=1010).contains(&taken), "{taken} in 10 s");
    }

    #[test]
    fn room_is_there_when_it_is_announced_and_not_before() {
        let mut rate = Rate::per_second(20);
        let mut now = Now::ZERO + Duration::from_secs(3);
        while rate.take(now) {}
        for _ in 0..100 {
            now = rate.room_at();
            assert!(!rate.has_room(Now(now.0 - 1)), "{now:?}");
            assert!(rate.take(now), "{now:?}");
        }
    }

    #[test]
    fn a_rate_of_one_still_gives_one() {
        let mut rate = Rate::per_second(1);
        assert!(rate.take(Now::ZERO));
        assert!(!rate.take(Now::ZERO));
        assert!(rate.take(Now::ZERO + Duration::from_secs(1)));
    }
}
