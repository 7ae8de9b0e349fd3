//! `process_*` from /proc/self, read when scraped; 0 on systems without it.

use std::collections::HashMap;
use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto;
use prometheus::proto::{LabelPair, MetricFamily, MetricType};

use super::families::{Kind, Metric};

/// Linux reports CPU and start times in these ticks to every program, whatever the kernel's own HZ.
const USER_TICKS_PER_SECOND: f64 = 100.0;

const METRICS: [Metric; 7] = [
    Metric::ProcessCpu,
    Metric::ProcessOpenFds,
    Metric::ProcessMaxFds,
    Metric::ProcessVirtual,
    Metric::ProcessResident,
    Metric::ProcessStart,
    Metric::ProcessThreads,
];

/// Collects the process' own figures.
pub(super) struct ProcessCollector {
    descs: Vec<Desc>,
}

impl ProcessCollector {
    pub(super) fn new() -> ProcessCollector {
        ProcessCollector { descs: METRICS.map(desc).into() }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let figures = read().unwrap_or_default();
        METRICS
            .iter()
            .zip(figures)
            .map(|(metric, value)| family_of(*metric, &[(Vec::new(), value)]))
            .collect()
    }
}

/// The figures in the order of `METRICS`.
fn read() -> Option<[f64; 7]> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    // The second field is the program's name in brackets, which may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    let word = |text: &str, line: &str, place: usize| {
        let line = text.lines().find_map(|l| l.strip_prefix(line))?;
        line.split_whitespace().nth(place)?.parse::<f64>().ok()
    };
    let cpu = (ticks(11)? + ticks(12)?) / USER_TICKS_PER_SECOND;
    let start = word(&system, "btime", 0)? + ticks(19)? / USER_TICKS_PER_SECOND;
    // The walk itself holds one descriptor.
    let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    Some([
        cpu,
        f64::from(u32::try_from(open).unwrap_or(u32::MAX)),
        word(&limits, "Max open files", 0).unwrap_or(f64::INFINITY),
        word(&status, "VmSize:", 0)? * 1024.0,
        word(&status, "VmRSS:", 0)? * 1024.0,
        start,
        word(&status, "Threads:", 0)?,
    ])
}

/// The descriptor of a family that is collected here and not by a prometheus vector.
pub(super) fn desc(metric: Metric) -> Desc {
    let family = metric.family();
    let labels = family.labels.iter().map(|&label| label.to_owned()).collect();
    Desc::new(family.name.to_owned(), family.help.to_owned(), labels, HashMap::default())
        .expect("invariant: the names of the table are valid")
}

/// A counter or gauge family with these values.
pub(super) fn family_of(metric: Metric, values: &[(Vec<&str>, f64)]) -> MetricFamily {
    let family = metric.family();
    let counter = family.kind == Kind::Counter;
    let mut out = MetricFamily::default();
    out.set_name(family.name.to_owned());
    out.set_help(family.help.to_owned());
    out.set_field_type(if counter { MetricType::COUNTER } else { MetricType::GAUGE });
    let metrics = values.iter().map(|(labels, value)| {
        let pairs = family.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let mut out = proto::Metric::default();
        out.set_label(pairs.collect());
        if counter {
            let mut number = proto::Counter::default();
            number.set_value(*value);
            out.set_counter(number);
        } else {
            let mut number = proto::Gauge::default();
            number.set_value(*value);
            out.set_gauge(number);
        }
        out
    });
    out.set_metric(metrics.collect());
    out
}
