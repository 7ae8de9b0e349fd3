//! Every log event: name, level, meaning. One line per change of state or failure, never per success.
//!
//! WARN: odd, nothing lost. ERROR: money or data at risk, a person must act.

use tracing::Level;

macro_rules! events {
    ($($event:ident $name:literal $level:ident $help:literal;)*) => {
        /// A log event.
        #[allow(missing_docs)] // The table is the documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum LogEvent { $($event),* }

        impl LogEvent {
            /// Every event.
            pub const ALL: &[LogEvent] = &[$(LogEvent::$event),*];

            /// The value of `event`.
            pub fn name(self) -> &'static str {
                match self { $(LogEvent::$event => $name),* }
            }

            /// Its level.
            pub fn level(self) -> Level {
                match self { $(LogEvent::$event => Level::$level),* }
            }

            /// What happened.
            pub fn help(self) -> &'static str {
                match self { $(LogEvent::$event => $help),* }
            }
        }
    };
}

events! {
    GatewayStarted "gateway.started" INFO "Everything listens and the store is read.";
    GatewayDraining "gateway.draining" INFO "No new sessions and events are taken.";
    GatewayStopped "gateway.stopped" INFO "Everything is on disk, the peers are told.";
    ConfigApplied "config.applied" INFO "A configuration is in force.";
    ConfigRejected "config.rejected" ERROR "A configuration was refused; the old one stays in force.";
    NotifyFailed "notify.failed" WARN "A notifyUri did not take a notification; it is tried again.";
    NotifyRefused "notify.refused" WARN "A notifyUri may not get, or does not want, a notification.";
    NotifyGivenUp "notify.given_up" WARN "A notification could not be delivered for an hour.";
    NotifyLost "notify.lost" WARN "Notifications were dropped; sessions and records still tell everything.";
    PeerOpen "peer.open" INFO "The capabilities exchange succeeded; the peer is in use.";
    PeerConnecting "peer.connecting" DEBUG "The transport is being connected.";
    PeerHandshaking "peer.handshaking" DEBUG "CER and CEA are under way.";
    PeerReopen "peer.reopen" INFO "Connected again; in use after three watchdog answers.";
    PeerSuspect "peer.suspect" WARN "The peer is silent; requests go elsewhere.";
    PeerClosing "peer.closing" INFO "A DPR was sent or received.";
    PeerDown "peer.down" WARN "No connection; the next attempt follows.";
    PeerBadConfig "peer.bad-config" ERROR "No connection, for a reason that is ours to fix.";
    PeerBadRemote "peer.bad-remote" ERROR "No connection, for a reason that is theirs to fix.";
    PeerDisconnected "peer.disconnected" WARN "A connection ended, or could not be made.";
    PeerNextAttempt "peer.next_attempt" DEBUG "When the next connection attempt follows.";
    PeerSecondConnection "peer.second_connection" WARN "Another connection of the same peer was refused.";
    PeerConnectionRefused "peer.connection_refused" WARN "A connection was refused in the capabilities exchange.";
    PeerBadFrame "peer.bad_frame" WARN "The peer sent bytes that are not Diameter.";
    PeerAnswerUnknown "peer.answer_unknown" WARN "An answer matched no request and was discarded.";
    PeerAnswerMixed "peer.answer_mixed" ERROR "An answer has ids of two requests: the peer mixes answers.";
    PeerFailedOver "peer.failed_over" WARN "Pending requests were given back because the peer is silent.";
    PeerFailedBack "peer.failed_back" INFO "The peer is in use again.";
    PeerDiscarded "peer.discarded" WARN "A message was not handed on.";
    PeerErrorAnswered "peer.error_answered" WARN "A request of the peer was answered with an error.";
    PeerDisconnectRequested "peer.disconnect_requested" INFO "The peer sent a DPR.";
    PeerRestarted "peer.restarted" WARN "The peer's Origin-State-Id rose: it lost its state.";
    RequestFailedOver "request.failed_over" DEBUG "A copy of a request goes to another peer than the one before; session and End-to-End id name it.";
    PeerGrey "peer.grey" ERROR "The peer answers watchdogs only: requests of the interface go unanswered, and new ones prefer other peers.";
    PeerAnswers "peer.answers" INFO "The peer answers requests again, or is connected anew: it is trusted as before.";
    PeerFlapping "peer.flapping" WARN "The peer comes and goes: it is second choice until it stays.";
    PeerOverload "peer.overload" WARN "The peer, or a server behind it, asks for less traffic (RFC 7683).";
    PeerOverloadEnded "peer.overload_ended" INFO "The peer asks for all traffic again; it comes back step by step.";
    PeerRedirected "peer.redirected" INFO "A request goes where the peer's 3006 sent it.";
    PeerRedirectRefused "peer.redirect_refused" ERROR "A redirect leads to nobody who may get the request: the configuration lacks a peer, or the peer is wrong.";
    ServerRestarted "server.restarted" ERROR "A server's Origin-State-Id rose: it may not know its open sessions any more; what it refuses to settle goes into backup records.";
    ServerStateUnsteady "server.state_unsteady" WARN "A server's Origin-State-Id rises again and again: nothing is concluded from it.";
    PeerAdmin "peer.admin" INFO "The operator wants something else of a peer.";
    PeerImpossible "peer.impossible" ERROR "A state and event met that cannot: a bug in farebox.";
    SessionExpired "session.expired" WARN "A session ended by termination.max_session.";
    SessionAborted "session.aborted" WARN "The OCS aborted a session and no terminate came.";
    RecordDead "record.dead" ERROR "A record needs a person.";
    RecordBackup "record.backup" WARN "Units that no CCR could report are in a backup record.";
    RecordAbandoned "record.abandoned" WARN "A CCR had no answer; the failure policy decided and it is not resent.";
    RecordDoubleSettlement "record.double_settlement" ERROR "Units are both in an answered CCR and in a backup record that was sent.";
    MappingDefect "mapping.defect" ERROR "A peer says that our message is wrong.";
    MappingFailed "mapping.failed" WARN "A trigger could not be turned into a message.";
    ConfigurationDefect "configuration.defect" ERROR "A peer does not serve what the routes send to it.";
    RatingFailed "rating.failed" ERROR "The OCS cannot rate the request.";
    AnswerUnusable "answer.unusable" ERROR "An answer could not be used; the failure policy decided.";
    AnswerMixed "answer.mixed" ERROR "An answer has another request's type or number; it was discarded.";
    SessionCannotClose "session.cannot_close" ERROR "The last message of a session cannot be built: its units need a person.";
    StoreRecovered "store.recovered" INFO "What was on disk at the start.";
    StoreFailed "store.failed" ERROR "A commit failed; new triggers are refused.";
    StoreFull "store.full" ERROR "Disk, quota or store.max_size is used up; new triggers are refused.";
    StoreUnknown "store.unknown" ERROR "A commit may be on disk or not; it is looked up.";
    StoreInconsistent "store.inconsistent" ERROR "A sound row cannot be read, or belongs to nothing.";
    StoreQuarantined "store.quarantined" ERROR "A row was damaged on disk and is set aside.";
}
