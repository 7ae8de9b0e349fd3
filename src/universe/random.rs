//! The one source of chance: every draw of a universe comes from its seed, and from nothing else.

use std::time::Duration;

/// SplitMix64, forked by label so that one part's draws do not move another's.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// An independent source for one part of the universe.
    pub fn fork(seed: u64, part: &str) -> Random {
        let mut mixed = seed ^ 0x5851_f42d_4c95_7f2d;
        for octet in part.bytes() {
            mixed = (mixed ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        }
        let mut random = Random(mixed);
        random.bits();
        random
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.bits() % end }
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True in `per_mille` of 1,000 cases.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of them; the slice must not be empty.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let index = usize::try_from(self.below(from.len() as u64)).unwrap_or(0);
        from[index.min(from.len().saturating_sub(1))].clone()
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// Uniform, both ends included.
    pub fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_nanos(self.between(nanos(low), nanos(high)))
    }

    /// Heavy tail: every doubling between `low` and `high` is as likely as the next.
    pub fn tail(&mut self, low: Duration, high: Duration) -> Duration {
        let (low, high) = (nanos(low).max(1), nanos(high).max(1));
        let octaves = u64::from(high.ilog2().saturating_sub(low.ilog2()));
        let shift = u32::try_from(self.between(0, octaves)).unwrap_or(0);
        let from = low.checked_shl(shift).unwrap_or(high).min(high);
        Duration::from_nanos(self.between(from, from.saturating_mul(2).min(high)))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_in_their_range_and_repeat() {
        let (low, high) = (Duration::from_millis(10), Duration::from_secs(300));
        let draw = |seed| {
            let mut random = Random::fork(seed, "test");
            (0..1000).map(|_| random.tail(low, high)).collect::<Vec<_>>()
        };
        let drawn = draw(7);
        assert!(drawn.iter().all(|d| (low..=high).contains(d)));
        assert!(drawn.iter().any(|d| *d > Duration::from_secs(60)));
        assert!(drawn.iter().any(|d| *d < Duration::from_millis(100)));
        assert_eq!(drawn, draw(7));
        assert_ne!(drawn, draw(8));
    }
}
