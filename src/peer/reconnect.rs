//! When the next connection attempt is due (RFC 6733, 2.1 and 5.4.3).

use std::time::Duration;

use super::jitter::Jitter;

/// Time until the next connection attempt, without jitter.
///
/// `attempt` counts from 0. Doubles from `initial` and stops at `max`, so a peer that
/// is down for a day is tried every `max` and never given up.
pub fn reconnect_delay(attempt: u32, initial: Duration, max: Duration) -> Duration {
    let factor = 1u32.checked_shl(attempt.min(30)).unwrap_or(u32::MAX);
    initial.checked_mul(factor).unwrap_or(max).min(max)
}

/// The same with jitter: from three quarters of the delay up to all of it.
///
/// Peers that lost the same server do not come back in step, and none waits longer than `max`.
pub fn jittered(delay: Duration, jitter: &mut Jitter) -> Duration {
    let quarter = delay / 4;
    delay - quarter + jitter.below(quarter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_05_reconnect_delay_doubles_from_1_s_and_stops_at_30_s() {
        let delay = |attempt| {
            reconnect_delay(attempt, Duration::from_secs(1), Duration::from_secs(30)).as_secs()
        };
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6, 100, u32::MAX].map(delay),
            [1, 2, 4, 8, 16, 30, 30, 30, 30]
        );
    }

    #[test]
    fn fn_09_jitter_stays_within_a_quarter() {
        let mut jitter = Jitter::new(1);
        let delay = Duration::from_secs(30);
        let drawn: Vec<Duration> = (0..1000).map(|_| jittered(delay, &mut jitter)).collect();
        assert!(drawn.iter().all(|d| *d <= delay && *d >= Duration::from_millis(22_500)));
        assert!(drawn.iter().max() > Some(&Duration::from_secs(29)));
        assert!(drawn.iter().min() < Some(&Duration::from_secs(24)));
    }
}
