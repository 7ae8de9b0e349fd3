//! Time, passed in: [`Now`] for timers, [`Wall`] for what is stored, sent or shown.
//!
//! The only place that reads the operating system's clocks, and only behind `shell`.
//! Pure code gets both as arguments, so that every timer can be replayed from a seed.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Monotonic time since the process (or the simulation) began, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now(pub u64);

impl Now {
    /// The origin of monotonic time.
    pub const ZERO: Now = Now(0);

    /// Time since `earlier`, zero if `earlier` is later.
    pub fn since(self, earlier: Now) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Now {
    type Output = Now;
    fn add(self, rhs: Duration) -> Now {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Now(self.0.saturating_add(nanos))
    }
}

/// UTC as milliseconds since 1970-01-01T00:00:00Z; negative before.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    minicbor::Encode,
    minicbor::Decode,
)]
#[cbor(transparent)]
pub struct Wall(#[n(0)] pub i64);

impl Wall {
    /// From whole seconds since 1970.
    pub fn from_secs(secs: i64) -> Wall {
        Wall(secs.saturating_mul(1000))
    }

    /// Whole seconds since 1970, rounded down.
    pub fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Milliseconds within the second, 0 to 999.
    pub fn subsec_millis(self) -> u32 {
        u32::try_from(self.0.rem_euclid(1000)).unwrap_or(0)
    }

    /// Time since `earlier`, zero if `earlier` is later.
    pub fn since(self, earlier: Wall) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads an RFC 3339 time with offset. `None` if it is not one.
    pub fn parse(text: &str) -> Option<Wall> {
        let timestamp: jiff::Timestamp = text.parse().ok()?;
        Some(Wall(timestamp.as_millisecond()))
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;
    fn add(self, rhs: Duration) -> Wall {
        Wall(self.0.saturating_add(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Wall {
    type Output = Wall;
    fn sub(self, rhs: Duration) -> Wall {
        Wall(self.0.saturating_sub(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339 in UTC: milliseconds are shown only where there are some.
impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) if self.subsec_millis() == 0 => write!(f, "{timestamp:.0}"),
            Ok(timestamp) => write!(f, "{timestamp:.3}"),
            Err(_) => write!(f, "{} ms since 1970", self.0),
        }
    }
}

/// The operating system's clocks.
#[cfg(feature = "shell")]
mod system {
    use super::{Now, Wall};
    use std::sync::OnceLock;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    static ORIGIN: OnceLock<Instant> = OnceLock::new();

    /// Monotonic time since the first call in this process.
    #[allow(clippy::disallowed_methods)] // The one place that reads the clock.
    pub fn now() -> Now {
        let origin = *ORIGIN.get_or_init(Instant::now);
        Now(u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Wall-clock time.
    #[allow(clippy::disallowed_methods)] // The one place that reads the clock.
    pub fn wall() -> Wall {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Wall(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Err(before) => Wall(-i64::try_from(before.duration().as_millis()).unwrap_or(0)),
        }
    }
}

#[cfg(feature = "shell")]
pub use system::{now, wall};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_reads_and_prints_rfc_3339() {
        let wall = Wall::parse("2025-12-12T10:38:00.412+01:00").expect("a time");
        assert_eq!(wall.to_string(), "2025-12-12T09:38:00.412Z");
        assert_eq!(
            Wall::parse("2025-12-12T10:43:11Z").expect("a time").to_string(),
            "2025-12-12T10:43:11Z"
        );
        assert_eq!(Wall::parse("2025-12-12T10:43:11"), None);
        assert_eq!(Wall(-1).subsec_millis(), 999);
    }
}
