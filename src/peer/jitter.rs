//! A seeded pseudo-random source for jitter and identifiers: the same seed, the same run.

use std::time::Duration;

/// SplitMix64. Not for secrets; RFC 3539, 3.4.1 \[1\] asks for a seeded PRNG and no more.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// From a seed, which the shell draws from the operating system.
    pub fn new(seed: u64) -> Jitter {
        Jitter(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A duration from zero up to and including `limit`, in whole nanoseconds.
    pub fn below(&mut self, limit: Duration) -> Duration {
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let bits = self.bits();
        Duration::from_nanos(if nanos == u64::MAX { bits } else { bits % (nanos + 1) })
    }
}
