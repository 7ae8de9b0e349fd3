//! A CPM session (or a one-time event) with its offline and its online leg.
//!
//! Everything here is stored with every commit that changes it, so that a restart goes on where the
//! process ended. The two legs know nothing of each other (charging.md d.6).

use bytes::Bytes;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use super::accounting::Realtime;
pub use super::brief::{Brief, Decision, ServiceResult};
use super::counters::Counter;
use super::credit_control::State;
use super::event::{
    CloseTrigger, Content, Interfaces, MessageCounters, OneTimeEvent, Start, Tariff, UnitRequest,
    Units,
};
use super::outcome::{Ch1View, Ch2View, Debit, Grant, SessionState, SessionView, Subject, Warning};
use super::policy::{Ccfh, Ddfh, Model};
use super::trigger::{Leg, Phase};
use crate::clock::Wall;
use crate::store::{Key, RecordId};

/// The Rf side.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RfLeg {
    /// Diameter Session-Id of the accounting session.
    #[n(0)]
    pub session_id: String,
    /// Accounting-Record-Number of the next record.
    #[n(1)]
    pub next_number: u32,
    /// Records that are not final, in order; only the first may be on its way.
    #[n(2)]
    pub queue: Vec<RecordId>,
    /// Index of the route.
    #[n(3)]
    pub route: usize,
    /// Origin-Host that answered last.
    #[n(4)]
    pub server: Option<String>,
    /// Acct-Interim-Interval of the latest ACA, in seconds; 0 or `None`: no interims by time.
    #[n(5)]
    pub interim_secs: Option<u32>,
    /// Accounting-Realtime-Required of the latest ACA.
    #[n(6)]
    pub realtime: Option<Realtime>,
    /// Class AVPs of the latest ACA that had some (RFC 6733, 8.20).
    #[cbor(n(7), encode_with = "encode_octets", decode_with = "decode_octets")]
    pub class: Vec<Bytes>,
    /// Acct-Multi-Session-Id, once the server gave one (RFC 6733, 9.8.5).
    #[n(8)]
    pub multi_session_id: Option<String>,
    /// Which of the timers for interims is in force.
    #[n(9)]
    pub interim_timer: u32,
}

impl RfLeg {
    /// A leg without records.
    pub fn new(session_id: String, first_number: u32, route: usize) -> RfLeg {
        RfLeg {
            session_id,
            next_number: first_number,
            queue: Vec::new(),
            route,
            server: None,
            interim_secs: None,
            realtime: None,
            class: Vec::new(),
            multi_session_id: None,
            interim_timer: 0,
        }
    }
}

fn encode_octets<C, W: minicbor::encode::Write>(
    octets: &[Bytes],
    encoder: &mut minicbor::Encoder<W>,
    _: &mut C,
) -> Result<(), minicbor::encode::Error<W::Error>> {
    encoder.array(u64::try_from(octets.len()).unwrap_or(0))?;
    for item in octets {
        encoder.bytes(item)?;
    }
    Ok(())
}

fn decode_octets<C>(
    decoder: &mut minicbor::Decoder<'_>,
    _: &mut C,
) -> Result<Vec<Bytes>, minicbor::decode::Error> {
    let count = decoder.array()?.unwrap_or(0);
    (0..count).map(|_| Ok(Bytes::copy_from_slice(decoder.bytes()?))).collect()
}

/// A report that waits for the outstanding CCR.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct QueuedReport {
    /// Units asked for.
    #[n(0)]
    pub request: Vec<UnitRequest>,
    /// Reporting-Reason as number.
    #[n(1)]
    pub reason: u8,
    /// Time of the newest trigger.
    #[n(2)]
    pub timestamp: Wall,
    /// Calls that wait for it.
    #[n(3)]
    pub calls: Vec<u32>,
}

/// The Ro side.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RoLeg {
    /// Diameter Session-Id of the credit-control session.
    #[n(0)]
    pub session_id: String,
    /// CC-Request-Number of the next request.
    #[n(1)]
    pub next_number: u32,
    /// State of RFC 8506, 7.
    #[n(2)]
    pub state: State,
    /// S: Origin-Host of the answer that settled the last settled request.
    #[n(3)]
    pub server: Option<String>,
    /// Peer through which S answered.
    #[n(4)]
    pub server_peer: Option<String>,
    /// The last CCFH of a CCA.
    #[n(5)]
    pub ccfh: Option<Ccfh>,
    /// The last CC-Session-Failover of a CCA was 1.
    #[n(6)]
    pub failover: bool,
    /// The CCR on its way.
    #[n(7)]
    pub outstanding: Option<RecordId>,
    /// The user service was terminated meanwhile.
    #[n(8)]
    pub queued_termination: bool,
    /// A report waits.
    #[n(9)]
    pub queued_report: Option<QueuedReport>,
    /// 4011 was answered.
    #[n(10)]
    pub free: bool,
    /// Units without an answer go into the backup record when the session ends.
    #[n(11)]
    pub backup: bool,
    /// The OCS denied.
    #[n(12)]
    pub denied: bool,
    /// Index of the route.
    #[n(13)]
    pub route: usize,
    /// The last DDFH of a CCA.
    #[n(14)]
    pub ddfh: Option<Ddfh>,
    /// The caller of an abandoned CCR-I was told `denied`: a late 2001 is closed at once.
    #[n(15)]
    pub told_denied: bool,
    /// A caller whose report or termination waits was answered `pending`.
    #[n(16)]
    pub told_pending: bool,
}

/// The first closing trigger's decision.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Closing {
    /// Which trigger; `None`: denied at the start.
    #[n(0)]
    pub trigger: Option<CloseTrigger>,
    /// Its time.
    #[n(1)]
    pub timestamp: Wall,
    /// Cause-Code of the STOP and the CCR-T.
    #[n(2)]
    pub cause_code: i32,
    /// Termination-Cause of the CCR-T.
    #[n(3)]
    pub termination_cause: i32,
    /// Reason headers.
    #[n(4)]
    pub reason_header: Vec<String>,
    /// Time of `bye-received` or `bye-sent`.
    #[n(5)]
    pub bye_at: Option<Wall>,
    /// The armed STOP.
    #[n(6)]
    pub armed: Option<RecordId>,
    /// Word for the metric `farebox_sessions_ended_total`.
    #[n(7)]
    pub reason: String,
}

/// Which of the four calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum CallKind {
    /// `POST /v1/sessions`.
    #[n(0)]
    Start,
    /// `…/interim`.
    #[n(1)]
    Interim,
    /// `…/terminate`.
    #[n(2)]
    Terminate,
    /// `POST /v1/events`.
    #[n(3)]
    Event,
}

/// A key under which a call's answer is stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CallKey {
    /// Scope of the key.
    #[n(0)]
    pub scope: String,
    /// The key.
    #[n(1)]
    pub key: String,
    /// Path and body.
    #[n(2)]
    pub fingerprint: [u8; 32],
}

impl CallKey {
    /// The store's name of it.
    pub fn name(&self) -> Key {
        Key { scope: self.scope.clone(), key: self.key.clone() }
    }
}

/// A call that is accepted and not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Call {
    /// Number inside the session.
    #[n(0)]
    pub id: u32,
    /// Which call.
    #[n(1)]
    pub kind: CallKind,
    /// Its sequence.
    #[n(2)]
    pub sequence: u64,
    /// Where the answer will be stored.
    #[n(3)]
    pub keys: Vec<CallKey>,
    /// The CCR whose decision it waits for; `None` with `queued`: not made yet.
    #[n(4)]
    pub ccr: Option<RecordId>,
    /// Its report is queued behind another CCR.
    #[n(5)]
    pub queued: bool,
    /// The ACR it made.
    #[n(6)]
    pub acr: Option<RecordId>,
    /// Decided without a CCR.
    #[n(7)]
    pub decision: Option<Decision>,
    /// To be told.
    #[n(8)]
    pub warnings: Vec<Warning>,
}

/// A CPM session, or a one-time event as a session of one request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Session {
    /// `s:<sessionId>` or `e:<eventId>/<action>`.
    #[n(0)]
    pub key: String,
    /// Whose answer it is.
    #[n(1)]
    pub subject: Subject,
    /// The event, if it is one.
    #[n(2)]
    pub event: Option<OneTimeEvent>,
    /// What is repeated in every message.
    #[n(3)]
    pub content: Content,
    /// Name of the service.
    #[n(4)]
    pub service: Option<String>,
    /// Which interfaces.
    #[n(5)]
    pub interfaces: Interfaces,
    /// When it was accepted.
    #[n(6)]
    pub opened_at: Wall,
    /// When it ended.
    #[n(7)]
    pub ended_at: Option<Wall>,
    /// The last sequence.
    #[n(8)]
    pub last_sequence: u64,
    /// Cumulative message counters.
    #[n(9)]
    pub messages: Option<MessageCounters>,
    /// Per rating group.
    #[n(10)]
    pub counters: Vec<Counter>,
    /// Offline.
    #[n(11)]
    pub rf: Option<RfLeg>,
    /// Online.
    #[n(12)]
    pub ro: Option<RoLeg>,
    /// The first closing trigger.
    #[n(13)]
    pub closing: Option<Closing>,
    /// Never started here.
    #[n(14)]
    pub orphan: bool,
    /// What GET shows.
    #[n(15)]
    pub decision: Decision,
    /// Cost, balance.
    #[n(16)]
    pub debit: Debit,
    /// All records.
    #[n(17)]
    pub records: Vec<Brief>,
    /// Calls not answered yet.
    #[n(18)]
    pub calls: Vec<Call>,
    /// The backup record, once made.
    #[n(20)]
    pub backup: Option<RecordId>,
    /// Online model.
    #[n(21)]
    pub model: SessionModel,
    /// Where notifications go.
    #[n(22)]
    pub notify_uri: Option<String>,
    /// Session-Timeout: `opened_at` + `termination.max_session`.
    #[n(23)]
    pub expires_at: Wall,
    /// After an ASR: when it ends by itself.
    #[n(24)]
    pub abort_at: Option<Wall>,
    /// Refund-Information of a debit's CCA; on a refund: that of the debit (G-08).
    #[n(25)]
    pub refund_information: Option<ByteVec>,
}

/// [`Model`] as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum SessionModel {
    /// SCUR.
    #[n(0)]
    Scur,
    /// ECUR.
    #[n(1)]
    Ecur,
    /// IEC.
    #[n(2)]
    Iec,
}

impl From<Model> for SessionModel {
    fn from(model: Model) -> SessionModel {
        match model {
            Model::Scur => SessionModel::Scur,
            Model::Ecur => SessionModel::Ecur,
            Model::Iec => SessionModel::Iec,
        }
    }
}

impl Session {
    /// Key of a CPM session.
    pub fn session_key(id: &str) -> String {
        format!("s:{id}")
    }

    /// Key of an event.
    pub fn event_key(event: &OneTimeEvent) -> String {
        format!("e:{}/{}", event.event_id, event.action.name())
    }

    /// The start as an orphan's closing body gives it.
    pub fn content_of(start: Option<&Start>) -> Content {
        start.map(|start| start.content.clone()).unwrap_or_default()
    }

    /// Open, ending or ended.
    pub fn state(&self) -> SessionState {
        let online_pending = self.ro.as_ref().is_some_and(|ro| {
            ro.queued_termination || !matches!(ro.state, State::Idle | State::Open)
        });
        match &self.closing {
            _ if self.event.is_some() && online_pending => SessionState::Ending,
            _ if self.event.is_some() => SessionState::Ended,
            None => SessionState::Open,
            Some(closing) if closing.armed.is_some() || online_pending => SessionState::Ending,
            Some(_) => SessionState::Ended,
        }
    }

    /// Phase of the closing table.
    pub fn phase(&self) -> Phase {
        match &self.closing {
            None if self.orphan => Phase::Orphan,
            None => Phase::Open,
            Some(closing) if closing.armed.is_some() => Phase::Armed,
            Some(_) => Phase::Closed,
        }
    }

    /// State of the online leg as the closing table sees it.
    pub fn leg(&self) -> Leg {
        match self.ro.as_ref().map(|ro| ro.state) {
            None => Leg::Absent,
            Some(State::Open) => Leg::Open,
            Some(State::PendingI | State::PendingU | State::PendingT) => Leg::Pending,
            Some(State::Idle | State::PendingE | State::PendingB) => Leg::Idle,
        }
    }

    /// What a record is remembered as.
    pub fn brief(&self, id: RecordId) -> Option<&Brief> {
        self.records.iter().find(|brief| brief.id == id)
    }

    /// The same, to change it.
    pub fn brief_mut(&mut self, id: RecordId) -> Option<&mut Brief> {
        self.records.iter_mut().find(|brief| brief.id == id)
    }

    /// The newest record of an interface that is shown: superseded interims are not.
    fn newest(&self, online: bool) -> Option<&Brief> {
        self.records.iter().rev().find(|brief| {
            let of_interface =
                (brief.command.interface() == crate::store::Interface::Ch2) == online;
            of_interface && Some(brief.id) != self.backup
        })
    }

    /// `ch1` of the session as a whole.
    pub fn ch1_view(&self) -> Ch1View {
        if self.rf.is_none() {
            return Ch1View::none();
        }
        self.newest(false).map_or_else(Ch1View::none, Brief::ch1)
    }

    /// `ch2` of the session as a whole.
    pub fn ch2_view(&self) -> Ch2View {
        if self.ro.is_none() {
            return Ch2View::none();
        }
        self.newest(true).map_or_else(Ch2View::none, Brief::ch2)
    }

    /// The counter of a rating group, made if it is new.
    pub fn counter(&mut self, rating_group: u32) -> &mut Counter {
        self.counter_of(rating_group, None)
    }

    /// The counter of one side of a tariff change, made if it is new.
    pub fn counter_of(&mut self, rating_group: u32, tariff: Option<Tariff>) -> &mut Counter {
        let found =
            self.counters.iter().position(|c| c.rating_group == rating_group && c.tariff == tariff);
        let index = match found {
            Some(index) => index,
            None => {
                self.counters.push(Counter { rating_group, tariff, ..Counter::default() });
                self.counters.len() - 1
            }
        };
        &mut self.counters[index]
    }

    /// What an amount of every counter adds up to, by rating group.
    pub fn by_group(&self, amount: impl Fn(&Counter) -> Units) -> Vec<(u32, Units)> {
        let mut groups: Vec<(u32, Units)> = Vec::new();
        for counter in &self.counters {
            let units = amount(counter);
            if units.is_empty() {
                continue;
            }
            match groups.iter_mut().find(|(group, _)| *group == counter.rating_group) {
                Some((_, sum)) => *sum = sum.plus(&units),
                None => groups.push((counter.rating_group, units)),
            }
        }
        groups
    }

    /// Grants in force.
    pub fn grants(&self) -> Vec<Grant> {
        self.counters.iter().filter_map(|counter| counter.grant.clone()).collect()
    }

    /// The `debit` object, if anything was debited or the OCS told a cost or balance.
    pub fn debit_view(&self) -> Option<Debit> {
        let units = self.by_group(|counter| counter.debited.clone());
        let told = self.debit.cost.is_some() || self.debit.balance.is_some();
        (told || !units.is_empty()).then(|| Debit { units, ..self.debit.clone() })
    }

    /// `GET /v1/sessions/{id}`.
    pub fn view(&self) -> SessionView {
        SessionView {
            session_id: self.subject.id().to_owned(),
            state: self.state(),
            service: self.service.clone(),
            opened_at: self.opened_at,
            ended_at: self.ended_at,
            outcome: self.decision.outcome,
            grants: self.grants(),
            usage: self.by_group(|counter| counter.total.clone()),
            ch1: self.ch1_view(),
            ch2: self.ch2_view(),
            records: self.records.iter().map(Brief::view).collect(),
        }
    }
}

impl super::event::EventAction {
    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            super::event::EventAction::Debit => "debit",
            super::event::EventAction::Refund => "refund",
            super::event::EventAction::CheckBalance => "checkBalance",
            super::event::EventAction::EnquirePrice => "enquirePrice",
        }
    }
}
