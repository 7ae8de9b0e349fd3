//! What the running gateway counts: typed methods over the families of the table.
//!
//! All label values that the configuration or a standard knows exist with 0 from the first scrape;
//! anything else is counted as `other`. What happens per message goes through [`PeerMetrics`],
//! whose counters are resolved once.

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Encoder, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder,
};

use super::families::{ALL, Family, Kind, Metric};
use super::labels;
use super::labels::bounded;
use super::process::ProcessCollector;
use super::spool::{Shared, SpoolCollector, SpoolCounts};
use crate::charging::outcome::{Basis, Outcome};
use crate::clock::Wall;
use crate::store::Interface;

pub use super::peer_metrics::{PeerMetrics, ResultLabel};

/// The configured names, from which the label values follow.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Peers in the order in which the routes and peer events number them.
    pub peers: Vec<PeerNames>,
    /// Keys of `policy.services`.
    pub services: Vec<String>,
    /// Mappings in use.
    pub mappings: Vec<String>,
    /// Revision of the source, where the build knows it.
    pub revision: String,
}

/// One configured peer.
#[derive(Clone, Debug)]
pub struct PeerNames {
    /// Its name.
    pub name: String,
    /// The interfaces of the routes that name it.
    pub interfaces: Vec<Interface>,
}

/// A vector of one family, of the type that its row says.
enum Vector {
    Counter(CounterVec),
    Gauge(GaugeVec),
    Histogram(HistogramVec),
    /// Collected elsewhere, from one snapshot.
    Own,
}

/// The vectors by [`Metric`].
pub(super) struct Vectors(Vec<Vector>);

/// All counters of the process.
pub struct Metrics {
    registry: Registry,
    vectors: Arc<Vectors>,
    spool: Arc<SpoolCollector>,
    names: Names,
    peers: Vec<Arc<PeerMetrics>>,
    other_peer: Arc<PeerMetrics>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Counts a call as in flight until it is dropped.
#[must_use]
pub struct InFlight(prometheus::Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// A registry of its own with every family, and 0 for every known label value.
    pub fn new(names: Names) -> Metrics {
        let registry = Registry::new();
        let vectors = Arc::new(Vectors::registered(&registry));
        let spool = Arc::new(SpoolCollector::new());
        register(&registry, Box::new(Shared(Arc::clone(&spool))));
        register(&registry, Box::new(ProcessCollector::new()));
        let peers = names
            .peers
            .iter()
            .map(|peer| Arc::new(PeerMetrics::new(&vectors, &peer.name, &peer.interfaces)))
            .collect();
        let other_peer = Arc::new(PeerMetrics::new(&vectors, "other", &[]));
        let metrics = Metrics { registry, vectors, spool, names, peers, other_peer };
        metrics.seed();
        metrics
    }

    /// The text format 0.0.4 of everything.
    pub fn render(&self) -> String {
        let mut out = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            Ok(()) => String::from_utf8(out).unwrap_or_default(),
            Err(error) => format!("# {error}\n"),
        }
    }

    /// The peer of this number; one that is not configured is counted as `other`.
    pub fn peer(&self, index: usize) -> &Arc<PeerMetrics> {
        self.peers.get(index).unwrap_or(&self.other_peer)
    }

    /// The peer of this name; one that is not configured is counted as `other`.
    pub fn peer_named(&self, name: &str) -> &Arc<PeerMetrics> {
        let index = self.names.peers.iter().position(|peer| peer.name == name);
        self.peer(index.unwrap_or(usize::MAX))
    }

    /// A call was answered with `status` after `took`.
    pub fn api_request(&self, op: &str, status: u16, took: Duration) {
        let op = bounded(op, labels::OPS);
        self.vectors.add(Metric::ApiRequests, &[op, &status.to_string()], 1);
        self.vectors.observe(Metric::ApiSeconds, &[op], took);
    }

    /// A call begins; it is in flight until the guard is dropped.
    pub fn api_in_flight(&self, op: &str) -> InFlight {
        let gauge = self.vectors.gauge(Metric::ApiInFlight, &[bounded(op, labels::OPS)]);
        gauge.inc();
        InFlight(gauge)
    }

    /// A call was refused.
    pub fn api_rejection(&self, reason: &str) {
        self.vectors.add(Metric::ApiRejections, &[bounded(reason, labels::REJECTIONS)], 1);
    }

    /// A repeated call got the stored answer.
    pub fn api_replay(&self, op: &str) {
        self.vectors.add(Metric::ApiReplays, &[bounded(op, labels::OPS)], 1);
    }

    /// What a trigger meant for the money on one interface.
    pub fn outcome(&self, interface: Interface, service: &str, outcome: Outcome, basis: Basis) {
        let values = [
            labels::interface(interface),
            self.service(service),
            labels::outcome(outcome),
            labels::basis(basis),
        ];
        self.vectors.add(Metric::Outcomes, &values, 1);
    }

    /// Units `requested`, `granted` or `used`.
    pub fn units(&self, service: &str, unit: &str, direction: &str, amount: u64) {
        let values = [
            self.service(service),
            bounded(unit, labels::UNITS),
            bounded(direction, labels::UNIT_DIRECTIONS),
        ];
        self.vectors.add(Metric::UnitsCounted, &values, amount);
    }

    /// A copy went to another peer than the one before.
    pub fn failover(&self, from: usize, to: usize, reason: &str) {
        let reason = bounded(reason, labels::COPY_REASONS);
        let values = [self.peer(from).name(), self.peer(to).name(), reason];
        self.vectors.add(Metric::Failovers, &values, 1);
    }

    /// Sessions that are not ended, and the age of the oldest.
    pub fn sessions(&self, interface: Interface, active: u64, oldest: Duration) {
        let values = [labels::interface(interface)];
        self.vectors.set(Metric::SessionsActive, &values, number(active));
        self.vectors.set(Metric::SessionsOldest, &values, oldest.as_secs_f64());
    }

    /// A session ended.
    pub fn session_ended(&self, interface: Interface, reason: &str) {
        let values = [labels::interface(interface), bounded(reason, labels::ENDED_REASONS)];
        self.vectors.add(Metric::SessionsEnded, &values, 1);
    }

    /// Units are both in an answered CCR and in a backup record that was sent.
    pub fn double_settlement(&self) {
        self.vectors.add(Metric::DoubleSettlements, &[], 1);
    }

    /// Replaces everything that is counted about the records of one interface.
    ///
    /// The counts are totals since the process began, so that conservation holds at every scrape.
    pub fn spool(&self, interface: Interface, counts: SpoolCounts) {
        self.spool.set(interface, counts);
    }

    /// What was last given to [`Metrics::spool`].
    pub fn spool_counts(&self, interface: Interface) -> SpoolCounts {
        self.spool.get(interface)
    }

    /// Bytes that the store uses, and its limit.
    pub fn spool_size(&self, used_bytes: u64, limit_bytes: Option<u64>) {
        self.vectors.set(Metric::SpoolBytes, &[], number(used_bytes));
        let limit = limit_bytes.map_or(f64::INFINITY, number);
        self.vectors.set(Metric::SpoolLimitBytes, &[], limit);
    }

    /// What was last given to [`Metrics::spool_size`].
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // They were whole numbers.
    pub fn store_size(&self) -> (u64, Option<u64>) {
        let used = self.vectors.gauge(Metric::SpoolBytes, &[]).get();
        let limit = self.vectors.gauge(Metric::SpoolLimitBytes, &[]).get();
        (used as u64, limit.is_finite().then_some(limit as u64))
    }

    /// A commit took so long, its flush included.
    pub fn spool_fsync(&self, took: Duration) {
        self.vectors.observe(Metric::SpoolFsync, &[], took);
    }

    /// A commit was not durable (`full write unknown`), a `purge` failed, or rows are damaged
    /// (`quarantined`).
    pub fn spool_error(&self, reason: &str, count: u64) {
        self.vectors.add(Metric::SpoolErrors, &[bounded(reason, labels::SPOOL_ERRORS)], count);
    }

    /// A mapping could not turn a trigger into a message.
    pub fn mapping_error(&self, mapping: &str, reason: &str) {
        let values = [self.mapping(mapping), bounded(reason, labels::MAPPING_REASONS)];
        self.vectors.add(Metric::MappingErrors, &values, 1);
    }

    /// `otherwise:` was used. `avp` must be a name of the dictionary.
    pub fn mapping_default(&self, mapping: &str, avp: &str) {
        self.vectors.add(Metric::MappingDefaults, &[self.mapping(mapping), avp], 1);
    }

    /// A configuration was applied. `id` is its number, `sha256` that of its text.
    pub fn config_applied(&self, id: &str, sha256: &str, at: Wall) {
        self.vectors.set(Metric::ConfigReloadSuccess, &[], 1.0);
        self.vectors.set(Metric::ConfigApplied, &[], seconds(at));
        // Only the configuration in force has a sample: an old one would look like a second one.
        if let Vector::Gauge(vector) = &self.vectors.0[Metric::ConfigInfo as usize] {
            vector.reset();
        }
        self.vectors.set(Metric::ConfigInfo, &[id, sha256], 1.0);
    }

    /// A configuration was refused; the old one stays in force.
    pub fn config_rejected(&self) {
        self.vectors.set(Metric::ConfigReloadSuccess, &[], 0.0);
    }

    /// No new sessions and events are taken, or they are again.
    pub fn draining(&self, draining: bool) {
        self.vectors.set(Metric::Draining, &[], f64::from(u8::from(draining)));
    }

    /// Traces that run, and the bytes that they use.
    pub fn traces(&self, active: u64, bytes: u64) {
        self.vectors.set(Metric::TraceActive, &[], number(active));
        self.vectors.set(Metric::TraceBytes, &[], number(bytes));
    }

    fn service<'a>(&self, service: &'a str) -> &'a str {
        let known = self.names.services.iter().any(|name| name == service);
        if known { service } else { "other" }
    }

    fn mapping<'a>(&self, mapping: &'a str) -> &'a str {
        let known = self.names.mappings.iter().any(|name| name == mapping);
        if known { mapping } else { "other" }
    }

    /// Touches every label set that is known, so that its first increase is seen as one.
    fn seed(&self) {
        let services: Vec<&str> =
            self.names.services.iter().map(String::as_str).chain(["other"]).collect();
        let mappings: Vec<&str> =
            self.names.mappings.iter().map(String::as_str).chain(["other"]).collect();
        let peers: Vec<&str> = self.peers.iter().map(|peer| peer.name()).chain(["other"]).collect();
        let seeds: &[(Metric, &[&[&str]])] = &[
            (Metric::ApiRequests, &[labels::OPS, labels::STATUSES]),
            (Metric::ApiSeconds, &[labels::OPS]),
            (Metric::ApiInFlight, &[labels::OPS]),
            (Metric::ApiRejections, &[labels::REJECTIONS]),
            (Metric::ApiReplays, &[labels::OPS]),
            (Metric::Outcomes, &[labels::INTERFACES, &services, labels::OUTCOMES, labels::BASES]),
            (Metric::UnitsCounted, &[&services, labels::UNITS, labels::UNIT_DIRECTIONS]),
            (Metric::Failovers, &[&peers, &peers, labels::COPY_REASONS]),
            (Metric::SessionsActive, &[labels::INTERFACES]),
            (Metric::SessionsOldest, &[labels::INTERFACES]),
            (Metric::SessionsEnded, &[labels::INTERFACES, labels::ENDED_REASONS]),
            (Metric::DoubleSettlements, &[]),
            (Metric::SpoolBytes, &[]),
            (Metric::SpoolFsync, &[]),
            (Metric::SpoolErrors, &[labels::SPOOL_ERRORS]),
            (Metric::MappingErrors, &[&mappings, labels::MAPPING_REASONS]),
            (Metric::MappingDefaults, &[&mappings, &["other"]]),
            (Metric::ConfigReloadSuccess, &[]),
            (Metric::ConfigApplied, &[]),
            (Metric::ConfigInfo, &[&[""], &[""]]),
            (Metric::Draining, &[]),
            (Metric::TraceBytes, &[]),
            (Metric::TraceActive, &[]),
        ];
        for (metric, sets) in seeds {
            self.vectors.seed(*metric, sets);
        }
        self.vectors.set(Metric::SpoolLimitBytes, &[], f64::INFINITY);
        let build = [env!("CARGO_PKG_VERSION"), self.names.revision.as_str()];
        self.vectors.set(Metric::BuildInfo, &build, 1.0);
    }
}

impl Vectors {
    fn registered(registry: &Registry) -> Vectors {
        let vector = |metric: &Metric| {
            let family = metric.family();
            let own =
                matches!(metric, Metric::SpoolRecords | Metric::SpoolOldest | Metric::SpoolEvents)
                    || family.name.starts_with("process_");
            if own { Vector::Own } else { Vector::registered(family, registry) }
        };
        Vectors(ALL.iter().map(vector).collect())
    }

    pub(super) fn counter(&self, metric: Metric, values: &[&str]) -> prometheus::Counter {
        match &self.0[metric as usize] {
            Vector::Counter(vector) => vector.with_label_values(values),
            _ => unreachable!("invariant: {metric:?} is a counter in the table"),
        }
    }

    pub(super) fn gauge(&self, metric: Metric, values: &[&str]) -> prometheus::Gauge {
        match &self.0[metric as usize] {
            Vector::Gauge(vector) => vector.with_label_values(values),
            _ => unreachable!("invariant: {metric:?} is a gauge in the table"),
        }
    }

    pub(super) fn histogram(&self, metric: Metric, values: &[&str]) -> prometheus::Histogram {
        match &self.0[metric as usize] {
            Vector::Histogram(vector) => vector.with_label_values(values),
            _ => unreachable!("invariant: {metric:?} is a histogram in the table"),
        }
    }

    pub(super) fn add(&self, metric: Metric, values: &[&str], amount: u64) {
        self.counter(metric, values).inc_by(number(amount));
    }

    pub(super) fn set(&self, metric: Metric, values: &[&str], value: f64) {
        self.gauge(metric, values).set(value);
    }

    pub(super) fn observe(&self, metric: Metric, values: &[&str], took: Duration) {
        self.histogram(metric, values).observe(took.as_secs_f64());
    }

    /// Touches every combination of one value of each set.
    pub(super) fn seed(&self, metric: Metric, sets: &[&[&str]]) {
        let mut combinations: Vec<Vec<&str>> = vec![Vec::new()];
        for set in sets {
            combinations = combinations
                .iter()
                .flat_map(|begun| {
                    set.iter().map(move |value| {
                        let mut longer = begun.clone();
                        longer.push(value);
                        longer
                    })
                })
                .collect();
        }
        for values in &combinations {
            match &self.0[metric as usize] {
                Vector::Counter(vector) => drop(vector.with_label_values(values)),
                Vector::Gauge(vector) => drop(vector.with_label_values(values)),
                Vector::Histogram(vector) => drop(vector.with_label_values(values)),
                Vector::Own => {}
            }
        }
    }
}

impl Vector {
    fn registered(family: &Family, registry: &Registry) -> Vector {
        const VALID: &str = "invariant: the names of the table are valid";
        match family.kind {
            Kind::Counter => {
                let options = Opts::new(family.name, family.help);
                let vector = CounterVec::new(options, family.labels).expect(VALID);
                register(registry, Box::new(vector.clone()));
                Vector::Counter(vector)
            }
            Kind::Gauge | Kind::StateSet | Kind::Info => {
                let options = Opts::new(family.name, family.help);
                let vector = GaugeVec::new(options, family.labels).expect(VALID);
                register(registry, Box::new(vector.clone()));
                Vector::Gauge(vector)
            }
            Kind::ApiSeconds | Kind::RoundTripSeconds | Kind::FlushSeconds => {
                let buckets = family.kind.buckets().to_vec();
                let options = HistogramOpts::new(family.name, family.help).buckets(buckets);
                let vector = HistogramVec::new(options, family.labels).expect(VALID);
                register(registry, Box::new(vector.clone()));
                Vector::Histogram(vector)
            }
        }
    }
}

fn register(registry: &Registry, collector: Box<dyn Collector>) {
    registry.register(collector).expect("invariant: every name is in the table once");
}

/// The text format has no integers; beyond 2^53 a count loses its last digits.
#[allow(clippy::cast_precision_loss)]
pub(super) fn number(value: u64) -> f64 {
    value as f64
}

#[allow(clippy::cast_precision_loss)]
pub(super) fn seconds(at: Wall) -> f64 {
    at.0 as f64 / 1000.0
}
