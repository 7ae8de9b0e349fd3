//! The only table from fact to metric and log event.
//!
//! Machines and the transport say what happened; here it is counted and told.

use super::events::LogEvent;
use super::labels;
use super::log::{Fields, emit};
use super::metrics::{Metrics, ResultLabel};
use super::peer_metrics::PeerMetrics;
use crate::charging::engine::{Alarm, Fact as ChargingFact};
use crate::clock::Wall;
use crate::diameter::command;
use crate::peer::{Fact, PeerState};

/// A peer stands differently now.
pub fn peer_state(
    metrics: &Metrics,
    peer: usize,
    state: PeerState,
    row: &str,
    reason: &str,
    at: Wall,
) {
    let counters = metrics.peer(peer);
    counters.state(state, transition(reason));
    let event = match state {
        PeerState::Open => {
            counters.opened(at);
            LogEvent::PeerOpen
        }
        PeerState::Connecting => LogEvent::PeerConnecting,
        PeerState::Handshaking => LogEvent::PeerHandshaking,
        PeerState::Reopen => LogEvent::PeerReopen,
        PeerState::Suspect => LogEvent::PeerSuspect,
        PeerState::Closing => LogEvent::PeerClosing,
        PeerState::BadConfig => LogEvent::PeerBadConfig,
        PeerState::BadRemote => LogEvent::PeerBadRemote,
        PeerState::Down => LogEvent::PeerDown,
    };
    let fields = Fields { peer: Some(counters.name()), row: Some(row), ..Fields::default() };
    emit(event, fields, reason);
}

/// A fact of a peer's machines or connection.
pub fn peer(metrics: &Metrics, peer: usize, fact: &Fact) {
    let counters = metrics.peer(peer);
    let fields = Fields { peer: Some(counters.name()), ..Fields::default() };
    match fact {
        // Rows are for traces: one per message would drown everything else.
        Fact::Row(_) => {}
        Fact::Impossible(pair) => emit(LogEvent::PeerImpossible, fields, pair),
        Fact::NextAttempt { attempt, delay } => {
            let ms = u64::try_from(delay.as_millis()).ok();
            let fields = Fields { ms, count: Some(u64::from(*attempt)), ..fields };
            emit(LogEvent::PeerNextAttempt, fields, "the next connection attempt follows");
        }
        Fact::Disconnected { reason } => emit(LogEvent::PeerDisconnected, fields, reason),
        Fact::SecondConnectionRefused { from } => {
            emit(LogEvent::PeerSecondConnection, fields, &format!("it came from {from}"));
        }
        Fact::ConnectionRefused { from, result_code, reason } => {
            counters.inbound("CER", ResultLabel::Code(*result_code));
            let fields = Fields { result_code: Some(*result_code), ..fields };
            emit(LogEvent::PeerConnectionRefused, fields, &format!("from {from}: {reason}"));
        }
        Fact::BadFrame { reason } => {
            counters.decode_error("length");
            emit(LogEvent::PeerBadFrame, fields, reason);
        }
        Fact::AnswerUnknown { hop_by_hop, command } => {
            counters.answer_orphan();
            let message = format!("Hop-by-Hop id {hop_by_hop:08x}, command {command}");
            emit(LogEvent::PeerAnswerUnknown, fields, &message);
        }
        Fact::AnswerMixed { hop_by_hop, what } => {
            counters.answer_orphan();
            let message = format!("Hop-by-Hop id {hop_by_hop:08x} with another request's {what}");
            emit(LogEvent::PeerAnswerMixed, fields, &message);
        }
        // The gateway keeps it for whoever asks.
        Fact::Introduced { .. } => {}
        Fact::Certificate { not_after } => {
            let end = i64::try_from(*not_after).unwrap_or(i64::MAX);
            counters.certificate_expiry("theirs", Wall::from_secs(end));
        }
        Fact::FailedOver { requests } => {
            let fields = Fields { count: u64::try_from(*requests).ok(), ..fields };
            emit(LogEvent::PeerFailedOver, fields, "pending requests go elsewhere");
        }
        Fact::FailedBack => emit(LogEvent::PeerFailedBack, fields, "in use again"),
        // The engine counts the request as timed out, which it was long before.
        Fact::Expired { .. } => {}
        Fact::Discarded { command, reason } => {
            counters.decode_error("other");
            emit(LogEvent::PeerDiscarded, fields, &format!("command {command}: {reason}"));
        }
        Fact::ErrorAnswered { command, result_code } => {
            counters.inbound(request_word(*command), ResultLabel::Code(*result_code));
            let fields = Fields { result_code: Some(*result_code), ..fields };
            emit(LogEvent::PeerErrorAnswered, fields, &format!("command {command}"));
        }
        Fact::DisconnectRequested { cause } => {
            counters.inbound("DPR", ResultLabel::Code(2001));
            let fields = Fields { reason: Some(cause.name()), ..fields };
            emit(LogEvent::PeerDisconnectRequested, fields, "the peer sent a DPR");
        }
        Fact::PeerRestarted { from, to } => {
            let message = format!("Origin-State-Id {from} → {to}");
            emit(LogEvent::PeerRestarted, fields, &message);
        }
        choice => routing(counters, choice),
    }
}

/// A fact of the choice between peers.
fn routing(counters: &PeerMetrics, fact: &Fact) {
    let fields = Fields { peer: Some(counters.name()), ..Fields::default() };
    match fact {
        Fact::AnswersWatchdogOnly { interface, requests } => {
            counters.grey(interface, true);
            let message = format!("{interface}: {requests} requests in a row without an answer");
            emit(LogEvent::PeerGrey, fields, &message);
        }
        Fact::AnswersAgain { interface } => {
            counters.grey(interface, false);
            emit(LogEvent::PeerAnswers, fields, interface);
        }
        Fact::Flapping { losses, steady_after } => {
            let message =
                format!("{losses} losses; second choice for {} s", steady_after.as_secs());
            emit(LogEvent::PeerFlapping, fields, &message);
        }
        Fact::OverloadReported { scope, percent: 0, .. } => {
            emit(LogEvent::PeerOverloadEnded, fields, scope);
        }
        Fact::OverloadReported { scope, percent, validity } => {
            let message = format!("{scope}: {percent} % less for {} s", validity.as_secs());
            emit(LogEvent::PeerOverload, fields, &message);
        }
        Fact::Abated { treatment } => counters.abated(treatment),
        Fact::Redirected { to } => {
            emit(LogEvent::PeerRedirected, fields, &format!("to {to}"));
        }
        Fact::RedirectRefused { host, reason } => {
            emit(LogEvent::PeerRedirectRefused, fields, &format!("`{host}`: {reason}"));
        }
        Fact::ServerRestarted { host, from, to, sessions } => {
            let message =
                format!("{host}: Origin-State-Id {from} → {to}, {sessions} sessions open");
            let fields = Fields { count: u64::try_from(*sessions).ok(), ..fields };
            emit(LogEvent::ServerRestarted, fields, &message);
        }
        Fact::StateIdUnsteady { host } => emit(LogEvent::ServerStateUnsteady, fields, host),
        _ => {}
    }
}

/// A fact of the engine.
pub fn charging(metrics: &Metrics, fact: &ChargingFact) {
    match fact {
        // Rows are for traces; records are counted in the spool's snapshot.
        ChargingFact::Took(_) | ChargingFact::Record { .. } => {}
        ChargingFact::Outcome { interface, service, outcome, basis } => {
            metrics.outcome(*interface, service, *outcome, *basis);
        }
        ChargingFact::Units { service, unit, direction, amount } => {
            metrics.units(service, labels::unit(unit), direction, *amount);
        }
        ChargingFact::ServiceResult { peer, code } => {
            let label = code.map_or(ResultLabel::None, ResultLabel::Code);
            metrics.peer(*peer).service_result(label);
        }
        ChargingFact::FailedAvp { peer, avp } => {
            metrics.peer(*peer).failed_avp((!avp.contains(':')).then_some(avp.as_str()));
        }
        ChargingFact::SessionEnded { interface, reason } => {
            metrics.session_ended(*interface, reason);
        }
        ChargingFact::Replayed { op } => metrics.api_replay(op),
        ChargingFact::Timeout { peer, command } => {
            metrics.peer(*peer).answer(command, ResultLabel::Timeout);
        }
        ChargingFact::Alarm { alarm, record, detail } => {
            if *alarm == Alarm::DoubleSettlement {
                metrics.double_settlement();
            }
            let record = record.map(|id| id.to_string());
            let fields = Fields { record: record.as_deref(), ..Fields::default() };
            emit(alarm_event(*alarm), fields, detail);
        }
    }
}

fn alarm_event(alarm: Alarm) -> LogEvent {
    match alarm {
        Alarm::Dead => LogEvent::RecordDead,
        Alarm::Backup => LogEvent::RecordBackup,
        Alarm::DoubleSettlement => LogEvent::RecordDoubleSettlement,
        Alarm::MappingDefect => LogEvent::MappingDefect,
        Alarm::ConfigurationDefect => LogEvent::ConfigurationDefect,
        Alarm::RatingFailed => LogEvent::RatingFailed,
        Alarm::AnswerMixed => LogEvent::AnswerMixed,
        Alarm::AnswerUnusable => LogEvent::AnswerUnusable,
        Alarm::StoreInconsistent => LogEvent::StoreInconsistent,
        Alarm::CannotClose => LogEvent::SessionCannotClose,
    }
}

/// The metric's word for a request of a peer.
fn request_word(code: u32) -> &'static str {
    let word = match code {
        command::CAPABILITIES_EXCHANGE => "CER",
        command::DEVICE_WATCHDOG => "DWR",
        command::DISCONNECT_PEER => "DPR",
        command::RE_AUTH => "RAR",
        command::ABORT_SESSION => "ASR",
        _ => "other",
    };
    debug_assert!(labels::COMMANDS.contains(&word));
    word
}

/// Words of a reason → label of the transition counter; the first row that fits.
const TRANSITION_WORDS: &[(&str, &str)] = &[
    ("tls:", "tls"),
    ("refused", "refused"),
    ("timed out", "timeout"),
    ("no answer", "timeout"),
    ("timeout", "timeout"),
    ("watchdog", "watchdog"),
    ("dwa", "watchdog"),
    ("silent", "watchdog"),
    ("reset", "reset"),
    ("dpr", "dpr"),
    ("disconnect-peer", "dpr"),
    ("election", "election"),
    ("cea", "capabilities"),
    ("cer", "capabilities"),
    ("application", "capabilities"),
    ("origin-host", "capabilities"),
    ("name resolution", "dns"),
    ("lookup", "dns"),
    ("tls", "tls"),
    ("certificate", "tls"),
    ("shutdown", "admin"),
    ("no diameter", "protocol"),
    ("not diameter", "protocol"),
    ("closed", "closed"),
    ("ended", "closed"),
    ("connected", "connected"),
    ("open", "connected"),
];

fn transition(reason: &str) -> &'static str {
    let reason = reason.to_ascii_lowercase();
    let row = TRANSITION_WORDS.iter().find(|(word, _)| reason.contains(word));
    row.map_or("other", |(_, label)| label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::labels::TRANSITIONS;

    #[test]
    fn every_reason_has_a_bounded_label() {
        for (word, label) in TRANSITION_WORDS {
            assert!(TRANSITIONS.contains(label), "{word}");
        }
        assert_eq!(transition("Connection refused (os error 111)"), "refused");
        assert_eq!(transition("two watchdogs without an answer"), "watchdog");
        assert_eq!(transition("the moon"), "other");
    }

    #[test]
    fn facts_of_the_engine_are_counted() {
        let metrics = Metrics::new(crate::telemetry::Names::default());
        let told = |fact| charging(&metrics, &fact);
        told(ChargingFact::FailedAvp { peer: 9, avp: "Event-Timestamp".to_owned() });
        told(ChargingFact::FailedAvp { peer: 9, avp: "1044:99999".to_owned() });
        told(ChargingFact::ServiceResult { peer: 9, code: Some(4012) });
        told(ChargingFact::Units {
            service: "chat".to_owned(),
            unit: "inputBytes",
            direction: "used",
            amount: 7,
        });
        let alarm = Alarm::DoubleSettlement;
        told(ChargingFact::Alarm { alarm, record: None, detail: String::new() });
        let text = metrics.render();
        for sample in [
            "farebox_diameter_failed_avps_total{avp=\"Event-Timestamp\",peer=\"other\"} 1",
            "farebox_diameter_failed_avps_total{avp=\"other\",peer=\"other\"} 1",
            "farebox_diameter_service_results_total{peer=\"other\",result_code=\"4012\"} 1",
            "farebox_double_settlements_total 1",
        ] {
            assert!(text.contains(sample), "{sample}");
        }
        assert!(text.contains("direction=\"used\",service=\"other\",unit=\"input_bytes\"} 7"));
    }

    #[test]
    fn h_13_an_answer_to_no_request_is_counted() {
        let metrics = Metrics::new(crate::telemetry::Names::default());
        peer(&metrics, 0, &Fact::AnswerUnknown { hop_by_hop: 7, command: 272 });
        let name = "farebox_diameter_answer_orphans_total{peer=\"other\"} 1";
        assert!(metrics.render().contains(name));
    }
}
