//! Facts from the machines become metrics and log events here, and nowhere else.
//!
//! [`families`] is the table of metric names, [`labels`] the closed sets of label values, [`events`]
//! the table of log events. [`metrics`] is what the running gateway calls, [`facts`] turns what the
//! machines say into both, [`log`] writes the lines.

pub mod events;
pub mod facts;
pub mod families;
pub mod labels;
pub mod log;
mod mask;
pub mod metrics;
mod peer_metrics;
mod process;
mod spool;

pub use events::LogEvent;
pub use mask::{mask, mask_text};
pub use metrics::{InFlight, Metrics, Names, PeerMetrics, PeerNames, ResultLabel};
pub use spool::SpoolCounts;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use super::families::{FAMILIES, markdown};
    use super::*;
    use crate::charging::outcome::{Basis, Outcome};
    use crate::clock::Wall;
    use crate::peer::PeerState;
    use crate::store::Interface;

    fn metrics() -> Metrics {
        let peer = |name: &str, interface| PeerNames {
            name: name.to_owned(),
            interfaces: vec![interface],
        };
        Metrics::new(Names {
            peers: vec![peer("ocs-a", Interface::Ch2), peer("cdf-a", Interface::Ch1)],
            services: vec!["chat".to_owned()],
            mappings: vec!["oma-cpm/ch1".to_owned()],
            revision: "abc".to_owned(),
        })
    }

    /// Sample name with labels → value.
    fn samples(metrics: &Metrics) -> BTreeMap<String, f64> {
        let text = metrics.render();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').expect("name and value");
                (name.to_owned(), value.parse().expect("a number"))
            })
            .collect()
    }

    /// The rows of product.md 2.7, as they stand there.
    const TABLE: &[(&str, &str, &str)] = &[
        ("farebox_api_requests_total", "counter", "op,status"),
        ("farebox_api_request_duration_seconds", "histogram", "op"),
        ("farebox_api_in_flight", "gauge", "op"),
        ("farebox_api_rejections_total", "counter", "reason"),
        ("farebox_api_idempotent_replays_total", "counter", "op"),
        ("farebox_outcomes_total", "counter", "interface,service,outcome,basis"),
        ("farebox_units_total", "counter", "service,unit,direction"),
        ("farebox_diameter_requests_total", "counter", "peer,interface,command"),
        ("farebox_diameter_answers_total", "counter", "peer,interface,command,result_code"),
        ("farebox_diameter_service_results_total", "counter", "peer,result_code"),
        ("farebox_diameter_round_trip_seconds", "histogram", "peer,interface,command"),
        ("farebox_diameter_pending", "gauge", "peer"),
        ("farebox_diameter_window", "gauge", "peer"),
        ("farebox_diameter_retransmissions_total", "counter", "peer,command,reason"),
        ("farebox_diameter_failovers_total", "counter", "from,to,reason"),
        ("farebox_diameter_failed_avps_total", "counter", "peer,avp"),
        ("farebox_diameter_decode_errors_total", "counter", "peer,reason"),
        ("farebox_diameter_unknown_avps_total", "counter", "peer,vendor"),
        ("farebox_diameter_inbound_total", "counter", "peer,command,result_code"),
        ("farebox_peer_state", "gauge", "peer,state"),
        ("farebox_peer_admin_state", "gauge", "peer,state"),
        ("farebox_peer_transitions_total", "counter", "peer,to,reason"),
        ("farebox_peer_last_open_timestamp_seconds", "gauge", "peer"),
        ("farebox_peer_watchdog_seconds", "histogram", "peer"),
        ("farebox_peer_bytes_total", "counter", "peer,direction"),
        ("farebox_tls_certificate_expiry_timestamp_seconds", "gauge", "peer,whose"),
        ("farebox_sessions_active", "gauge", "interface"),
        ("farebox_sessions_oldest_seconds", "gauge", "interface"),
        ("farebox_sessions_ended_total", "counter", "interface,reason"),
        ("farebox_spool_records", "gauge", "interface,state"),
        ("farebox_spool_oldest_record_seconds", "gauge", "interface"),
        ("farebox_spool_bytes", "gauge", ""),
        ("farebox_spool_limit_bytes", "gauge", ""),
        ("farebox_spool_records_total", "counter", "interface,event"),
        ("farebox_spool_fsync_seconds", "histogram", ""),
        ("farebox_spool_errors_total", "counter", "reason"),
        ("farebox_mapping_errors_total", "counter", "mapping,reason"),
        ("farebox_mapping_defaults_total", "counter", "mapping,avp"),
        ("farebox_config_last_reload_success", "gauge", ""),
        ("farebox_config_applied_timestamp_seconds", "gauge", ""),
        ("farebox_config_info", "gauge", "id,sha256"),
        ("farebox_draining", "gauge", ""),
        ("farebox_trace_bytes", "gauge", ""),
        ("farebox_trace_active", "gauge", ""),
        ("farebox_build_info", "gauge", "version,revision"),
        ("process_cpu_seconds_total", "counter", ""),
        ("process_open_fds", "gauge", ""),
        ("process_max_fds", "gauge", ""),
        ("process_virtual_memory_bytes", "gauge", ""),
        ("process_resident_memory_bytes", "gauge", ""),
        ("process_start_time_seconds", "gauge", ""),
        ("process_threads", "gauge", ""),
    ];

    #[test]
    fn every_family_exists_with_0_from_the_first_scrape() {
        let metrics = metrics();
        let text = metrics.render();
        let samples = samples(&metrics);
        for (name, kind, labels) in TABLE {
            let family = FAMILIES.iter().find(|family| family.name == *name);
            let family = family.unwrap_or_else(|| panic!("{name} is not in the table"));
            assert_eq!(family.labels.join(","), *labels, "{name}");
            assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} {kind}");
            let of_family = samples.iter().filter(|(sample, _)| {
                let sample = sample.split('{').next().unwrap_or("");
                let rest = sample.strip_prefix(name);
                matches!(rest, Some("" | "_bucket" | "_sum" | "_count"))
            });
            let mut names = BTreeSet::new();
            for (sample, value) in of_family {
                let written = sample.split_once('{').map_or("", |(_, labels)| labels);
                for label in labels.split(',').filter(|label| !label.is_empty()) {
                    assert!(written.contains(&format!("{label}=\"")), "{sample}: {label}");
                }
                names.insert(sample.clone());
                let set = ["_info", "process_", "limit_bytes"];
                let expected = set.iter().any(|part| name.contains(part)) || *value == 0.0;
                assert!(expected, "{sample} is {value}");
            }
            assert!(!names.is_empty(), "{name} has no sample");
        }
        for family in FAMILIES {
            assert!(text.contains(&format!("# TYPE {} ", family.name)), "{}", family.name);
        }
    }

    #[test]
    fn defect_codes_of_a_configured_peer_exist_before_they_happen() {
        let samples = samples(&metrics());
        for code in ["5001", "5004", "5005", "5008", "5009", "5014", "timeout", "lost"] {
            let name = format!(
                "farebox_diameter_answers_total{{command=\"CCR-T\",interface=\"ch2\",peer=\"ocs-a\",result_code=\"{code}\"}}"
            );
            assert_eq!(samples.get(&name), Some(&0.0), "{name}");
        }
    }

    #[test]
    fn answers_are_counted_by_code_or_class() {
        let metrics = metrics();
        let peer = metrics.peer_named("ocs-a");
        for (result, label) in [
            (ResultLabel::Code(2001), "2001"),
            (ResultLabel::Code(5031), "5031"),
            (ResultLabel::Code(5999), "5xxx"),
            (ResultLabel::Code(7), "other"),
            (ResultLabel::Code(6000), "other"),
            (ResultLabel::None, "other"),
            (ResultLabel::Experimental, "experimental"),
            (ResultLabel::Timeout, "timeout"),
            (ResultLabel::Lost, "lost"),
        ] {
            let before = samples(&metrics);
            peer.answer("CCR-T", result);
            let name = format!(
                "farebox_diameter_answers_total{{command=\"CCR-T\",interface=\"ch2\",peer=\"ocs-a\",result_code=\"{label}\"}}"
            );
            let was = before.get(&name).copied().unwrap_or(0.0);
            assert_eq!(samples(&metrics).get(&name), Some(&(was + 1.0)), "{result:?}");
        }
    }

    #[test]
    fn fx_09_labels_do_not_grow_with_what_a_stranger_sends() {
        let metrics = metrics();
        let before = samples(&metrics).len();
        for n in 0..50 {
            let word = format!("word-{n}");
            metrics.api_request(&word, 200, Duration::from_millis(3));
            metrics.api_rejection(&word);
            metrics.outcome(Interface::Ch2, &word, Outcome::Debited, Basis::Ocs);
            metrics.units(&word, &word, "used", 3);
            metrics.session_ended(Interface::Ch1, &word);
            metrics.mapping_error(&word, &word);
            let peer = metrics.peer_named(&word);
            peer.request(&word);
            peer.answer(&word, ResultLabel::Code(9000 + n));
            peer.round_trip(&word, Duration::from_millis(1));
            peer.retransmission(&word, &word);
            peer.state(PeerState::Down, &word);
            peer.decode_error(&word);
        }
        let after = samples(&metrics).len();
        // Once for each family above, and its buckets; never fifty times.
        assert!(after - before < 40, "{before} → {after}");
    }

    #[test]
    fn i_3_conservation_holds_at_every_scrape() {
        let metrics = std::sync::Arc::new(metrics());
        let writer = std::sync::Arc::clone(&metrics);
        let writer = std::thread::spawn(move || {
            let mut counts = SpoolCounts::default();
            for n in 0..20_000_u64 {
                counts.stored += 1;
                match n % 4 {
                    0 => counts.acknowledged += 1,
                    1 => counts.waiting += 1,
                    2 => counts.superseded += 1,
                    _ => (counts.dead, counts.died) = (counts.dead + 1, counts.died + 1),
                }
                writer.spool(Interface::Ch1, counts);
            }
        });
        while !writer.is_finished() {
            let samples = samples(&metrics);
            let event = |event: &str| {
                samples
                    [&format!("farebox_spool_records_total{{interface=\"ch1\",event=\"{event}\"}}")]
            };
            let state = |state: &str| {
                samples[&format!("farebox_spool_records{{interface=\"ch1\",state=\"{state}\"}}")]
            };
            let came = event("stored") + event("recovered");
            let known = ["acknowledged", "superseded", "abandoned", "purged"].map(event);
            let there = ["waiting", "in_flight", "dead"].map(state);
            assert_eq!(came, known.iter().sum::<f64>() + there.iter().sum::<f64>());
        }
        writer.join().expect("the writer ends");
        assert_eq!(metrics.spool_counts(Interface::Ch1).missing(), 0);
    }

    #[test]
    fn one_state_of_a_peer_is_1() {
        let metrics = metrics();
        let peer = metrics.peer(0);
        peer.state(PeerState::Connecting, "other");
        peer.state(PeerState::Open, "connected");
        peer.opened(Wall(1_500));
        let samples = samples(&metrics);
        let of = |state: &str| {
            samples[&format!("farebox_peer_state{{peer=\"ocs-a\",state=\"{state}\"}}")]
        };
        assert_eq!((of("open"), of("connecting"), of("down")), (1.0, 0.0, 0.0));
        assert_eq!(samples["farebox_peer_last_open_timestamp_seconds{peer=\"ocs-a\"}"], 1.5);
    }

    #[test]
    fn calls_are_in_flight_until_the_guard_goes() {
        let metrics = metrics();
        let guard = metrics.api_in_flight("terminate");
        let name = "farebox_api_in_flight{op=\"terminate\"}";
        assert_eq!(samples(&metrics)[name], 1.0);
        drop(guard);
        assert_eq!(samples(&metrics)[name], 0.0);
    }

    #[test]
    fn only_the_configuration_in_force_has_a_sample() {
        let metrics = metrics();
        metrics.config_applied("1", "aa", Wall(1_000));
        metrics.config_applied("2", "bb", Wall(2_000));
        let text = metrics.render();
        assert!(text.contains("farebox_config_info{id=\"2\",sha256=\"bb\"} 1"), "{text}");
        assert_eq!(text.matches("\nfarebox_config_info{").count(), 1);
    }

    #[test]
    fn process_figures_are_read() {
        let samples = samples(&metrics());
        assert!(samples["process_resident_memory_bytes"] > 1e6);
        assert!(samples["process_open_fds"] >= 3.0);
        assert!(samples["process_threads"] >= 1.0);
        assert!(samples["process_start_time_seconds"] > 1.7e9);
    }

    #[test]
    fn docs_metrics_md_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, markdown()).expect("docs can be written");
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == markdown(), "docs/METRICS.md is not up to date; run with UPDATE=1");
    }
}
