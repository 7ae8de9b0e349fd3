//! Every metric family: name, type, labels, meaning. The only place where a metric name is written.
//!
//! `docs/METRICS.md` is generated from this table by [`markdown`] and compared in a test.

use super::events::LogEvent;

/// What Prometheus sees, and for histograms which buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// One gauge per state; 1 for the current one.
    StateSet,
    /// Always 1; the labels are the information.
    Info,
    /// Histogram of what a CPM server waits.
    ApiSeconds,
    /// Histogram of a Diameter round trip.
    RoundTripSeconds,
    /// Histogram of a flush to disk.
    FlushSeconds,
}

impl Kind {
    /// `counter`, `gauge` or `histogram`, as in the text format.
    pub fn text(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge | Kind::StateSet | Kind::Info => "gauge",
            Kind::ApiSeconds | Kind::RoundTripSeconds | Kind::FlushSeconds => "histogram",
        }
    }

    /// Upper bounds in seconds; empty for what is not a histogram.
    pub fn buckets(self) -> &'static [f64] {
        match self {
            Kind::Counter | Kind::Gauge | Kind::StateSet | Kind::Info => &[],
            Kind::ApiSeconds => &[
                0.001, 0.002, 0.003, 0.005, 0.008, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
                5.0, 10.0,
            ],
            Kind::RoundTripSeconds => &[
                0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
                30.0,
            ],
            Kind::FlushSeconds => &[
                0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0,
                5.0,
            ],
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Name in the text format.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Label names in the order in which the typed methods give their values.
    pub labels: &'static [&'static str],
    /// The question that it answers.
    pub help: &'static str,
}

macro_rules! families {
    ($($metric:ident $kind:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        /// A metric family; its place in [`FAMILIES`].
        #[allow(missing_docs)] // The table is the documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Metric { $($metric),* }

        /// The table, in the order of [`Metric`].
        pub const FAMILIES: &[Family] = &[
            $(Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help }),*
        ];

        /// Every metric in order.
        pub const ALL: &[Metric] = &[$(Metric::$metric),*];
    };
}

families! {
    ApiRequests Counter "farebox_api_requests_total" ["op" "status"] "Calls answered: what do CPM servers ask, what do they get.";
    ApiSeconds ApiSeconds "farebox_api_request_duration_seconds" ["op"] "How long a CPM server waits.";
    ApiInFlight Gauge "farebox_api_in_flight" ["op"] "Calls that are being worked on.";
    ApiRejections Counter "farebox_api_rejections_total" ["reason"] "Calls refused; nothing was stored and nothing was sent.";
    ApiReplays Counter "farebox_api_idempotent_replays_total" ["op"] "Repeated calls that got the stored answer.";
    Outcomes Counter "farebox_outcomes_total" ["interface" "service" "outcome" "basis"] "What triggers meant for the money, and who decided.";
    UnitsCounted Counter "farebox_units_total" ["service" "unit" "direction"] "Units requested, granted and used.";
    DiameterRequests Counter "farebox_diameter_requests_total" ["peer" "interface" "command"] "Requests sent, every copy counted.";
    DiameterAnswers Counter "farebox_diameter_answers_total" ["peer" "interface" "command" "result_code"] "How requests ended; `timeout` and `lost` are values of result_code.";
    ServiceResults Counter "farebox_diameter_service_results_total" ["peer" "result_code"] "Result-Code values inside Multiple-Services-Credit-Control.";
    RoundTrip RoundTripSeconds "farebox_diameter_round_trip_seconds" ["peer" "interface" "command"] "From the transmission of a copy to its answer.";
    Pending Gauge "farebox_diameter_pending" ["peer"] "Requests without an answer on the connection.";
    Window Gauge "farebox_diameter_window" ["peer"] "Most requests that may be without an answer.";
    Retransmissions Counter "farebox_diameter_retransmissions_total" ["peer" "command" "reason"] "Copies after the first one.";
    Failovers Counter "farebox_diameter_failovers_total" ["from" "to" "reason"] "Copies that went to another peer than the one before.";
    FailedAvps Counter "farebox_diameter_failed_avps_total" ["peer" "avp"] "AVPs that a peer named in Failed-AVP.";
    DecodeErrors Counter "farebox_diameter_decode_errors_total" ["peer" "reason"] "Messages with a part that could not be read.";
    UnknownAvps Counter "farebox_diameter_unknown_avps_total" ["peer" "vendor"] "AVPs received that no dictionary has.";
    AnswerOrphans Counter "farebox_diameter_answer_orphans_total" ["peer"] "Answers that matched no request and were discarded.";
    Inbound Counter "farebox_diameter_inbound_total" ["peer" "command" "result_code"] "Requests from a peer, and what they were answered.";
    PeerState StateSet "farebox_peer_state" ["peer" "state"] "1 for the state that the peer is in.";
    PeerAdminState StateSet "farebox_peer_admin_state" ["peer" "state"] "1 for what the operator wants of the peer.";
    PeerTransitions Counter "farebox_peer_transitions_total" ["peer" "to" "reason"] "Changes of a peer's state.";
    PeerLastOpen Gauge "farebox_peer_last_open_timestamp_seconds" ["peer"] "When the peer last became open; 0 if never.";
    PeerNextAttempt Gauge "farebox_peer_next_attempt_timestamp_seconds" ["peer"] "When the peer is dialled again; in the past or 0: it does not wait for that.";
    PeerLastError Gauge "farebox_peer_last_error_timestamp_seconds" ["peer" "fault"] "When the peer was last lost, by who has to act; 0 if never.";
    PeerWatchdog RoundTripSeconds "farebox_peer_watchdog_seconds" ["peer"] "From a Device-Watchdog-Request to its answer.";
    PeerGrey Gauge "farebox_peer_grey" ["peer" "interface"] "1 while the peer answers watchdogs and no requests of the interface.";
    PeerAbated Counter "farebox_peer_abated_total" ["peer" "treatment"] "Requests that an overload report diverted to this peer, or throttled.";
    PeerBytes Counter "farebox_peer_bytes_total" ["peer" "direction"] "Bytes sent and received.";
    CertificateExpiry Gauge "farebox_tls_certificate_expiry_timestamp_seconds" ["peer" "whose"] "When a certificate of the connection ends; 0 without TLS.";
    SessionsActive Gauge "farebox_sessions_active" ["interface"] "Sessions that are not ended.";
    SessionsOldest Gauge "farebox_sessions_oldest_seconds" ["interface"] "Age of the oldest session that is not ended.";
    SessionsEnded Counter "farebox_sessions_ended_total" ["interface" "reason"] "Why sessions ended.";
    DoubleSettlements Counter "farebox_double_settlements_total" [] "Units in an answered CCR and in a sent backup record: a person must act.";
    SpoolRecords Gauge "farebox_spool_records" ["interface" "state"] "Records that no peer has acknowledged.";
    SpoolOldest Gauge "farebox_spool_oldest_record_seconds" ["interface"] "Age of the oldest record that is due and not acknowledged.";
    SpoolBytes Gauge "farebox_spool_bytes" [] "Bytes that the store uses on disk.";
    SpoolLimitBytes Gauge "farebox_spool_limit_bytes" [] "store.max_size; +Inf without a limit.";
    SpoolEvents Counter "farebox_spool_records_total" ["interface" "event"] "What became of records. stored + recovered = acknowledged + superseded + abandoned + purged + the three states of farebox_spool_records.";
    SpoolFsync FlushSeconds "farebox_spool_fsync_seconds" [] "How long a commit takes, with its flush.";
    SpoolErrors Counter "farebox_spool_errors_total" ["reason"] "Commits that were not durable, and rows whose checksum did not hold.";
    MappingErrors Counter "farebox_mapping_errors_total" ["mapping" "reason"] "Triggers that a mapping could not turn into a message.";
    MappingDefaults Counter "farebox_mapping_defaults_total" ["mapping" "avp"] "Uses of `otherwise:`: what the trigger said has no value in the AVP.";
    ConfigReloadSuccess Gauge "farebox_config_last_reload_success" [] "1 if the last load of the configuration was applied.";
    ConfigApplied Gauge "farebox_config_applied_timestamp_seconds" [] "When the configuration in force was applied.";
    ConfigInfo Info "farebox_config_info" ["id" "sha256"] "Which configuration is in force.";
    Draining Gauge "farebox_draining" [] "1 while no new sessions and events are taken.";
    TraceBytes Gauge "farebox_trace_bytes" [] "Bytes that traces use.";
    TraceActive Gauge "farebox_trace_active" [] "Traces that are running.";
    BuildInfo Info "farebox_build_info" ["version" "revision"] "What is running.";
    ProcessCpu Counter "process_cpu_seconds_total" [] "User and system CPU time.";
    ProcessOpenFds Gauge "process_open_fds" [] "Open file descriptors.";
    ProcessMaxFds Gauge "process_max_fds" [] "Most open file descriptors.";
    ProcessVirtual Gauge "process_virtual_memory_bytes" [] "Virtual memory.";
    ProcessResident Gauge "process_resident_memory_bytes" [] "Resident memory.";
    ProcessStart Gauge "process_start_time_seconds" [] "When the process started.";
    ProcessThreads Gauge "process_threads" [] "Operating system threads.";
}

impl Metric {
    /// Its row.
    pub fn family(self) -> &'static Family {
        &FAMILIES[self as usize]
    }
}

/// `docs/METRICS.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Metrics and log events\n\n\
         Generated from the tables in `src/telemetry`; `UPDATE=1 cargo test` writes it again.\n\n\
         Prometheus text format 0.0.4 at `/metrics` of the admin port.\n\
         Every family exists from the first scrape.\n\
         No label holds a subscriber, a session or a record; every set of values is bounded by the configuration or a standard.\n\n\
         | Metric | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n",
    );
    for family in FAMILIES {
        let labels =
            family.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let kind = match family.kind {
            Kind::StateSet => "gauge (state set)",
            Kind::Info => "gauge (info)",
            kind => kind.text(),
        };
        out.push_str(&format!("| `{}` | {kind} | {labels} | {} |\n", family.name, family.help));
    }
    out.push_str("\n## Label values\n\n");
    for (label, values) in crate::telemetry::labels::SETS {
        let values = values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>();
        out.push_str(&format!("- {label}: {}.\n", values.join(" ")));
    }
    out.push_str(
        "- `peer`, `from`, `to`, `service`, `mapping`: names of the configuration, else `other`.\n\
         - `status`: an HTTP status code.\n\
         - `result_code`: a code of the result table, else `1xxx` to `5xxx`, `other`, `experimental`, `timeout`, `lost`.\n\
         - `avp`: a name of the dictionary, else `other`. `vendor`: a vendor of the dictionary, else `other`.\n\
         - `interface` is empty for CER, DWR and DPR.\n\n\
         ## Buckets in seconds\n\n",
    );
    for (title, kind) in [
        ("API requests", Kind::ApiSeconds),
        ("Diameter and watchdog round trips", Kind::RoundTripSeconds),
        ("Commits", Kind::FlushSeconds),
    ] {
        let bounds = kind.buckets().iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
        out.push_str(&format!("- {title}: {bounds}.\n"));
    }
    out.push_str(
        "\n## Log events\n\n\
         One line per change of state or failure, never one per success.\n\
         Keys: `ts level event msg peer record op outcome result_code ms config`, then others.\n\
         WARN: odd, nothing lost.\nERROR: money or data at risk, a person must act.\n\n\
         | Event | Level | Meaning |\n| --- | --- | --- |\n",
    );
    for event in LogEvent::ALL {
        let (name, level, help) = (event.name(), event.level(), event.help());
        out.push_str(&format!("| `{name}` | {level} | {help} |\n"));
    }
    out
}
