//! Servers that lost their state, by their Origin-State-Id (RFC 6733, 8.16; FM-09, FM-10).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Now;

use super::overload::folded;

/// Hosts whose value is remembered.
const HOSTS_MAX: usize = 4096;
/// So many rises, each soon after the one before, say nothing about restarts any more.
const RISES_MAX: u32 = 3;
/// A value that stood for so long is believed again.
const STEADY: Duration = Duration::from_secs(300);

/// What a rise means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rise {
    /// The host restarted without its sessions.
    Restarted {
        /// Value before.
        from: u32,
        /// Value now.
        to: u32,
    },
    /// The value rises again and again: nothing is concluded from it for a while (F-11).
    Unsteady,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    value: u32,
    /// The last rise, and how many there were without [`STEADY`] between two of them.
    rises: (Now, u32),
}

/// The last value of every host.
#[derive(Clone, Debug, Default)]
pub struct Restarts {
    hosts: BTreeMap<String, Seen>,
}

impl Restarts {
    /// A host told its Origin-State-Id. `None`: it says nothing new.
    ///
    /// 0 says that nothing is to be concluded; a value that falls is a clock that was set, and no
    /// reason to forget the higher one.
    pub fn note(&mut self, host: &str, value: u32, now: Now) -> Option<Rise> {
        if value == 0 {
            return None;
        }
        let key = folded(host);
        let Some(seen) = self.hosts.get_mut(&key) else {
            if self.hosts.len() < HOSTS_MAX {
                self.hosts.insert(key, Seen { value, rises: (now, 0) });
            }
            return None;
        };
        if value <= seen.value {
            return None;
        }
        let from = std::mem::replace(&mut seen.value, value);
        let (last, count) = seen.rises;
        seen.rises = (now, if now < last + STEADY { count.saturating_add(1) } else { 1 });
        match seen.rises.1.cmp(&RISES_MAX) {
            std::cmp::Ordering::Less => Some(Rise::Restarted { from, to: value }),
            std::cmp::Ordering::Equal => Some(Rise::Unsteady),
            std::cmp::Ordering::Greater => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Now {
        Now::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn fm_09_a_risen_value_is_a_restart() {
        let mut restarts = Restarts::default();
        assert_eq!(restarts.note("ocs-a.example", 100, at(0)), None);
        assert_eq!(restarts.note("OCS-A.example.", 100, at(1)), None);
        assert_eq!(
            restarts.note("OCS-A.example.", 170, at(2)),
            Some(Rise::Restarted { from: 100, to: 170 })
        );
        assert_eq!(restarts.note("ocs-a.example", 170, at(3)), None);
        assert_eq!(restarts.note("ocs-a.example", 100, at(4)), None, "a clock that was set");
        assert_eq!(restarts.note("ocs-a.example", 0, at(5)), None);
        assert_eq!(restarts.note("ocs-b.example", 999, at(6)), None, "another host");
    }

    #[test]
    fn fm_10_a_value_that_rises_with_every_message_says_nothing() {
        let mut restarts = Restarts::default();
        let rises: Vec<Rise> = (1..1000)
            .filter_map(|second| restarts.note("ocs", second, at(second.into())))
            .collect();
        let restarted = rises.iter().filter(|rise| matches!(rise, Rise::Restarted { .. })).count();
        assert_eq!(restarted, 2, "in a thousand messages");
        assert_eq!(rises.len(), 3, "and the doubt is told once: {rises:?}");
        assert_eq!(
            restarts.note("ocs", 5000, at(2000)),
            Some(Rise::Restarted { from: 999, to: 5000 }),
            "it stood for five minutes"
        );
    }
}
