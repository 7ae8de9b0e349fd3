//! The counters of one peer, resolved once: what happens per message takes no look-up of names.

use std::sync::Arc;
use std::time::Duration;

use super::families::Metric;
use super::labels;
use super::labels::bounded;
use super::metrics::{Vectors, number, seconds};
use crate::clock::Wall;
use crate::diameter::result_code;
use crate::peer::PeerState;
use crate::store::Interface;

/// How a request ended, as the label `result_code` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultLabel {
    /// Result-Code of the answer.
    Code(u32),
    /// The answer has an Experimental-Result and no Result-Code.
    Experimental,
    /// Neither of both.
    None,
    /// Tx expired.
    Timeout,
    /// The connection ended first.
    Lost,
}

impl ResultLabel {
    /// The label's value: a code of the result table, else its class.
    pub fn text(self) -> String {
        match self {
            ResultLabel::Code(code) if result_code::find(code).is_some() => code.to_string(),
            ResultLabel::Code(code @ 1000..=5999) => format!("{}xxx", code / 1000),
            ResultLabel::Code(_) | ResultLabel::None => "other".to_owned(),
            ResultLabel::Experimental => "experimental".to_owned(),
            ResultLabel::Timeout => "timeout".to_owned(),
            ResultLabel::Lost => "lost".to_owned(),
        }
    }
}

/// Counters of one command.
struct OfCommand {
    command: &'static str,
    requests: prometheus::Counter,
    success: prometheus::Counter,
    round_trip: prometheus::Histogram,
}

/// All counters of one peer.
pub struct PeerMetrics {
    name: String,
    vectors: Arc<Vectors>,
    commands: Vec<OfCommand>,
    pending: prometheus::Gauge,
    sent: prometheus::Counter,
    received: prometheus::Counter,
    watchdog: prometheus::Histogram,
}

impl std::fmt::Debug for PeerMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerMetrics").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PeerMetrics {
    pub(super) fn new(vectors: &Arc<Vectors>, name: &str, interfaces: &[Interface]) -> PeerMetrics {
        seed(vectors, name, interfaces);
        let of_command = |&command: &&'static str| {
            let values = [name, labels::interface_of(command), command];
            let success = [name, labels::interface_of(command), command, "2001"];
            OfCommand {
                command,
                requests: vectors.counter(Metric::DiameterRequests, &values),
                success: vectors.counter(Metric::DiameterAnswers, &success),
                round_trip: vectors.histogram(Metric::RoundTrip, &values),
            }
        };
        PeerMetrics {
            commands: commands_of(interfaces).iter().map(of_command).collect(),
            pending: vectors.gauge(Metric::Pending, &[name]),
            sent: vectors.counter(Metric::PeerBytes, &[name, "sent"]),
            received: vectors.counter(Metric::PeerBytes, &[name, "received"]),
            watchdog: vectors.histogram(Metric::PeerWatchdog, &[name]),
            name: name.to_owned(),
            vectors: Arc::clone(vectors),
        }
    }

    /// Its name, or `other`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A copy of a request was sent.
    pub fn request(&self, command: &str) {
        match self.of_command(command) {
            Some(known) => known.requests.inc(),
            None => self.vectors.add(Metric::DiameterRequests, &self.labels(command), 1),
        }
    }

    /// A request ended: answered, timed out or lost.
    pub fn answer(&self, command: &str, result: ResultLabel) {
        match self.of_command(command) {
            Some(known) if result == ResultLabel::Code(2001) => known.success.inc(),
            _ => {
                let [name, interface, command] = self.labels(command);
                let values = [name, interface, command, &result.text()];
                self.vectors.add(Metric::DiameterAnswers, &values, 1);
            }
        }
    }

    /// A copy was answered after so long.
    pub fn round_trip(&self, command: &str, took: Duration) {
        match self.of_command(command) {
            Some(known) => known.round_trip.observe(took.as_secs_f64()),
            None => self.vectors.observe(Metric::RoundTrip, &self.labels(command), took),
        }
    }

    /// A Result-Code inside Multiple-Services-Credit-Control.
    pub fn service_result(&self, result: ResultLabel) {
        self.vectors.add(Metric::ServiceResults, &[&self.name, &result.text()], 1);
    }

    /// Requests without an answer on the connection.
    pub fn pending(&self, count: u64) {
        self.pending.set(number(count));
    }

    /// Most requests that may be without an answer.
    pub fn window(&self, count: u64) {
        self.vectors.set(Metric::Window, &[&self.name], number(count));
    }

    /// A copy after the first one.
    pub fn retransmission(&self, command: &str, reason: &str) {
        let command = bounded(command, labels::COMMANDS);
        let values = [&self.name, command, bounded(reason, labels::COPY_REASONS)];
        self.vectors.add(Metric::Retransmissions, &values, 1);
    }

    /// The peer named an AVP in Failed-AVP. `avp` must be a name of the dictionary, else `None`.
    pub fn failed_avp(&self, avp: Option<&str>) {
        self.vectors.add(Metric::FailedAvps, &[&self.name, avp.unwrap_or("other")], 1);
    }

    /// A message had a part that could not be read.
    pub fn decode_error(&self, reason: &str) {
        let values = [&self.name, bounded(reason, labels::DECODE_REASONS)];
        self.vectors.add(Metric::DecodeErrors, &values, 1);
    }

    /// An AVP that no dictionary has. `vendor` is `None` if no dictionary has the vendor either.
    pub fn unknown_avp(&self, vendor: Option<u32>) {
        let vendor = vendor.map_or_else(|| "other".to_owned(), |vendor| vendor.to_string());
        self.vectors.add(Metric::UnknownAvps, &[&self.name, &vendor], 1);
    }

    /// An answer that matched no request was discarded (H-13, K-10).
    pub fn answer_orphan(&self) {
        self.vectors.add(Metric::AnswerOrphans, &[&self.name], 1);
    }

    /// A request from the peer was answered with `result`.
    pub fn inbound(&self, command: &str, result: ResultLabel) {
        let values = [&self.name, bounded(command, labels::COMMANDS), &result.text()];
        self.vectors.add(Metric::Inbound, &values, 1);
    }

    /// The peer is in `state`, because of `reason`; counted as a change.
    pub fn state(&self, state: PeerState, reason: &str) {
        self.one_of(Metric::PeerState, labels::PEER_STATES, state.word());
        let values = [&self.name, state.word(), bounded(reason, labels::TRANSITIONS)];
        self.vectors.add(Metric::PeerTransitions, &values, 1);
    }

    /// What the operator wants of the peer.
    pub fn admin_state(&self, state: &str) {
        self.one_of(Metric::PeerAdminState, labels::ADMIN_STATES, state);
    }

    /// The peer became open.
    pub fn opened(&self, at: Wall) {
        self.vectors.set(Metric::PeerLastOpen, &[&self.name], seconds(at));
    }

    /// It is dialled again then.
    pub fn next_attempt(&self, at: Wall) {
        self.vectors.set(Metric::PeerNextAttempt, &[&self.name], seconds(at));
    }

    /// It was lost, and this one has to act: `ours`, `theirs` or `network`.
    pub fn last_error(&self, fault: &str, at: Wall) {
        if labels::PEER_FAULTS.contains(&fault) {
            self.vectors.set(Metric::PeerLastError, &[&self.name, fault], seconds(at));
        }
    }

    /// A watchdog was answered after so long.
    pub fn watchdog(&self, took: Duration) {
        self.watchdog.observe(took.as_secs_f64());
    }

    /// Whether the peer answers watchdogs and no requests of the interface.
    pub fn grey(&self, interface: &str, grey: bool) {
        if labels::INTERFACES.contains(&interface) {
            let value = if grey { 1.0 } else { 0.0 };
            self.vectors.set(Metric::PeerGrey, &[&self.name, interface], value);
        }
    }

    /// An overload report diverted a request to this peer, or throttled it.
    pub fn abated(&self, treatment: &str) {
        if labels::TREATMENTS.contains(&treatment) {
            self.vectors.add(Metric::PeerAbated, &[&self.name, treatment], 1);
        }
    }

    /// Bytes handed to the socket.
    pub fn sent(&self, bytes: u64) {
        self.sent.inc_by(number(bytes));
    }

    /// Bytes read from the socket.
    pub fn received(&self, bytes: u64) {
        self.received.inc_by(number(bytes));
    }

    /// When a certificate of the connection ends; `whose` is `ours` or `theirs`.
    pub fn certificate_expiry(&self, whose: &str, at: Wall) {
        if labels::WHOSE.contains(&whose) {
            self.vectors.set(Metric::CertificateExpiry, &[&self.name, whose], seconds(at));
        }
    }

    fn of_command(&self, command: &str) -> Option<&OfCommand> {
        self.commands.iter().find(|known| known.command == command)
    }

    fn labels<'a>(&'a self, command: &'a str) -> [&'a str; 3] {
        [&self.name, labels::interface_of(command), bounded(command, labels::COMMANDS)]
    }

    /// The old state goes to 0 before the new one goes to 1, so that no scrape sees two.
    fn one_of(&self, metric: Metric, states: &[&str], state: &str) {
        for other in states.iter().filter(|other| **other != state) {
            self.vectors.set(metric, &[&self.name, other], 0.0);
        }
        if states.contains(&state) {
            self.vectors.set(metric, &[&self.name, state], 1.0);
        }
    }
}

/// The commands that a peer of these interfaces is sent.
fn commands_of(interfaces: &[Interface]) -> Vec<&'static str> {
    let mut commands = labels::BASE_COMMANDS.to_vec();
    if interfaces.contains(&Interface::Ch1) {
        commands.extend(labels::CH1_COMMANDS);
    }
    if interfaces.contains(&Interface::Ch2) {
        commands.extend(labels::CH2_COMMANDS);
    }
    commands
}

fn seed(vectors: &Vectors, name: &str, interfaces: &[Interface]) {
    let name = &[name];
    let codes: Vec<String> = result_code::ALL
        .iter()
        .map(|row| row.code.to_string())
        .chain(labels::RESULT_WORDS.iter().map(|word| (*word).to_owned()))
        .collect();
    let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
    for command in commands_of(interfaces) {
        let interface = &[labels::interface_of(command)];
        vectors.seed(Metric::DiameterRequests, &[name, interface, &[command]]);
        vectors.seed(Metric::DiameterAnswers, &[name, interface, &[command], &codes]);
        vectors.seed(Metric::RoundTrip, &[name, interface, &[command]]);
        vectors.seed(Metric::Retransmissions, &[name, &[command], labels::COPY_REASONS]);
    }
    for command in ["RAR", "ASR", "DPR", "DWR", "CER", "other"] {
        vectors.seed(Metric::Inbound, &[name, &[command], &["2001", "2002", "5002", "other"]]);
    }
    vectors.seed(Metric::ServiceResults, &[name, &codes]);
    for metric in [Metric::Pending, Metric::Window, Metric::AnswerOrphans] {
        vectors.seed(metric, &[name]);
    }
    vectors.seed(Metric::PeerLastOpen, &[name]);
    vectors.seed(Metric::PeerNextAttempt, &[name]);
    vectors.seed(Metric::PeerLastError, &[name, labels::PEER_FAULTS]);
    vectors.seed(Metric::PeerWatchdog, &[name]);
    vectors.seed(Metric::FailedAvps, &[name, &["other"]]);
    vectors.seed(Metric::DecodeErrors, &[name, labels::DECODE_REASONS]);
    vectors.seed(Metric::UnknownAvps, &[name, labels::VENDORS]);
    vectors.seed(Metric::PeerState, &[name, labels::PEER_STATES]);
    vectors.seed(Metric::PeerAdminState, &[name, labels::ADMIN_STATES]);
    vectors.seed(Metric::PeerTransitions, &[name, labels::PEER_STATES, labels::TRANSITIONS]);
    let words: Vec<&str> = interfaces.iter().map(|one| labels::interface(*one)).collect();
    vectors.seed(Metric::PeerGrey, &[name, &words]);
    vectors.seed(Metric::PeerAbated, &[name, labels::TREATMENTS]);
    vectors.seed(Metric::PeerBytes, &[name, labels::BYTE_DIRECTIONS]);
    vectors.seed(Metric::CertificateExpiry, &[name, labels::WHOSE]);
}
