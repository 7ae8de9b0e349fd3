//! What happened at least once: table rows, fault ids and rare states, counted.

use std::collections::BTreeMap;

use super::nemesis::CATALOGUE;
use crate::charging::credit_control;
use crate::charging::trigger;
use crate::peer::machine;
use crate::peer::watchdog;

/// Counters by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<&'static str, u64>,
}

/// One family of names with what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// `TRG`, `CC3` …
    pub name: &'static str,
    /// Names seen.
    pub seen: Vec<(&'static str, u64)>,
    /// Names never seen.
    pub missing: Vec<&'static str>,
}

impl Coverage {
    /// One more.
    pub fn hit(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    /// Adds another universe's.
    pub fn add(&mut self, other: &Coverage) {
        for (name, count) in &other.counts {
            *self.counts.entry(name).or_default() += count;
        }
    }

    /// How often.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// All counters in order of their names.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().map(|(name, count)| (*name, *count))
    }

    /// The state tables, the fault catalogue and the rare states.
    pub fn families(&self) -> Vec<Family> {
        let mut families = vec![
            self.family("TRG", trigger::TABLE.iter().map(|row| row.id)),
            self.family("CC3", credit_control::TABLE_3.iter().map(|row| row.id)),
            self.family("CC4", credit_control::TABLE_4.iter().map(|row| row.id)),
            self.family("CC5", credit_control::TABLE_5.iter().map(|row| row.id)),
            self.family("PSM", machine::ROWS.iter().map(|row| row.id)),
            self.family("WD", watchdog::ROWS.iter().map(|row| row.id)),
            self.family("faults", CATALOGUE.iter().copied()),
        ];
        let known: Vec<&str> =
            families.iter().flat_map(|family| family.seen.iter().map(|(name, _)| *name)).collect();
        let rare = self.counts().filter(|(name, _)| !known.contains(name)).collect();
        families.push(Family { name: "states", seen: rare, missing: Vec::new() });
        families
    }

    fn family(&self, name: &'static str, all: impl Iterator<Item = &'static str>) -> Family {
        let mut family = Family { name, seen: Vec::new(), missing: Vec::new() };
        for id in all {
            match self.counts.get(id) {
                Some(count) if !family.seen.iter().any(|(seen, _)| *seen == id) => {
                    family.seen.push((id, *count));
                }
                None if !family.missing.contains(&id) => family.missing.push(id),
                _ => {}
            }
        }
        family
    }
}
