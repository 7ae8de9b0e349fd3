//! The spool's counters: one snapshot per interface, so that no scrape sees half of a change.

use std::sync::Mutex;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::families::Metric;
use super::labels::INTERFACES;
use super::process::{desc, family_of};
use crate::store::Interface;

/// Everything that is counted about the records of one interface since the process began.
///
/// Conservation: `stored + recovered = acknowledged + superseded + abandoned + purged + waiting +
/// in_flight + dead`; `died` and `replayed` are not part of the sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolCounts {
    /// Records made.
    pub stored: u64,
    /// Unacknowledged records found at the start.
    pub recovered: u64,
    /// Records that a peer answered for good.
    pub acknowledged: u64,
    /// Records replaced by a newer one or settled by a backup record.
    pub superseded: u64,
    /// CCRs whose caller got the failure policy and that are not resent.
    pub abandoned: u64,
    /// Dead records that retention or an operator removed.
    pub purged: u64,
    /// Records that became dead letters.
    pub died: u64,
    /// Dead letters that an operator sent again.
    pub replayed: u64,
    /// Now waiting.
    pub waiting: u64,
    /// Now sent and without an answer.
    pub in_flight: u64,
    /// Now dead.
    pub dead: u64,
    /// Age of the oldest record that is due, in milliseconds; 0 if there is none.
    pub oldest_millis: u64,
}

impl SpoolCounts {
    /// Records that came in less those that are accounted for: 0, or a bug.
    pub fn missing(&self) -> i128 {
        let came = i128::from(self.stored) + i128::from(self.recovered);
        let known = [
            self.acknowledged,
            self.superseded,
            self.abandoned,
            self.purged,
            self.waiting,
            self.in_flight,
            self.dead,
        ];
        came - known.into_iter().map(i128::from).sum::<i128>()
    }
}

/// Turns both snapshots into families under one lock.
pub(super) struct SpoolCollector {
    counts: Mutex<[SpoolCounts; 2]>,
    descs: Vec<Desc>,
}

impl SpoolCollector {
    pub(super) fn new() -> SpoolCollector {
        let families = [Metric::SpoolRecords, Metric::SpoolOldest, Metric::SpoolEvents];
        SpoolCollector { counts: Mutex::default(), descs: families.map(desc).into() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, [SpoolCounts; 2]> {
        // The counters are plain numbers; a panic elsewhere cannot leave them half-written.
        self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn set(&self, interface: Interface, counts: SpoolCounts) {
        self.lock()[place(interface)] = counts;
    }

    pub(super) fn get(&self, interface: Interface) -> SpoolCounts {
        self.lock()[place(interface)]
    }
}

fn place(interface: Interface) -> usize {
    match interface {
        Interface::Ch1 => 0,
        Interface::Ch2 => 1,
    }
}

#[allow(clippy::cast_precision_loss)] // The text format has no integers.
impl Collector for SpoolCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let both = *self.lock();
        let mut records = Vec::new();
        let mut oldest = Vec::new();
        let mut events = Vec::new();
        for (interface, counts) in INTERFACES.iter().zip(both) {
            for (state, value) in [
                ("waiting", counts.waiting),
                ("in_flight", counts.in_flight),
                ("dead", counts.dead),
            ] {
                records.push((vec![*interface, state], value as f64));
            }
            oldest.push((vec![*interface], counts.oldest_millis as f64 / 1000.0));
            for (event, value) in [
                ("stored", counts.stored),
                ("recovered", counts.recovered),
                ("acknowledged", counts.acknowledged),
                ("superseded", counts.superseded),
                ("abandoned", counts.abandoned),
                ("purged", counts.purged),
                ("dead", counts.died),
                ("replayed", counts.replayed),
            ] {
                events.push((vec![*interface, event], value as f64));
            }
        }
        vec![
            family_of(Metric::SpoolRecords, &records),
            family_of(Metric::SpoolOldest, &oldest),
            family_of(Metric::SpoolEvents, &events),
        ]
    }
}

/// Shared between the registry and the methods of `Metrics`.
pub(super) struct Shared(pub(super) std::sync::Arc<SpoolCollector>);

impl Collector for Shared {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.collect()
    }
}
