//! Answers and session views as JSON, member by member in the order of the API page.
//!
//! A stored answer renders to the same bytes for ever: nothing here reads a clock, a table that
//! configuration can change, or a map without order.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::charging::event::{Money, Units};
use crate::charging::explain::state_word;
use crate::charging::outcome::{
    Advice, Answer, Basis, Ch1State, Ch1View, Ch2State, Ch2View, Debit, DiameterIds,
    DiameterResult, Final, FinalAction, Grant, RecordView, ServiceAdvice, SessionState,
    SessionView, StopBy, Subject, Warning,
};
use crate::clock::Wall;
use crate::store::{Interface, RecordId};

/// The body of a 200 or 201 to a trigger.
pub fn answer_body(answer: &Answer) -> Vec<u8> {
    to_bytes(&AnswerJson::from(answer))
}

/// The body of `GET /v1/sessions/{id}`.
pub fn session_body(view: &SessionView) -> Vec<u8> {
    to_bytes(&SessionJson::from(view))
}

pub(super) fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    // Every type here has string keys and finite numbers, so that this cannot fail.
    serde_json::to_vec(value).unwrap_or_default()
}

/// An [`Answer`] that serialises as the API page shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AnswerJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    sequence: u64,
    state: &'static str,
    outcome: &'static str,
    basis: &'static str,
    advice: AdviceJson<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    grants: Vec<GrantJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    debit: Option<DebitJson<'a>>,
    ch2: Ch2Json<'a>,
    ch1: Ch1Json<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<WarningJson<'a>>,
}

impl<'a> From<&'a Answer> for AnswerJson<'a> {
    fn from(answer: &'a Answer) -> AnswerJson<'a> {
        let (session_id, event_id) = match &answer.subject {
            Subject::Session(id) => (Some(id.as_str()), None),
            Subject::Event(id) => (None, Some(id.as_str())),
        };
        AnswerJson {
            session_id,
            event_id,
            sequence: answer.sequence,
            state: state(answer.state),
            outcome: answer.outcome.word(),
            basis: basis(answer.basis),
            advice: AdviceJson::from(&answer.advice),
            grants: answer.grants.iter().map(GrantJson::from).collect(),
            debit: answer.debit.as_ref().map(DebitJson::from),
            ch2: Ch2Json(&answer.ch2),
            ch1: Ch1Json(&answer.ch1),
            warnings: answer.warnings.iter().map(WarningJson::from).collect(),
        }
    }
}

/// A [`SessionView`] that serialises as the API page shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionJson<'a> {
    session_id: &'a str,
    state: &'static str,
    service: Option<&'a str>,
    opened_at: Time,
    ended_at: Option<Time>,
    outcome: &'static str,
    grants: Vec<GrantJson<'a>>,
    usage: Vec<UsageJson<'a>>,
    ch1: Ch1Json<'a>,
    ch2: Ch2Json<'a>,
    records: Vec<RecordJson<'a>>,
}

impl<'a> From<&'a SessionView> for SessionJson<'a> {
    fn from(view: &'a SessionView) -> SessionJson<'a> {
        SessionJson {
            session_id: &view.session_id,
            state: state(view.state),
            service: view.service.as_deref(),
            opened_at: Time(view.opened_at),
            ended_at: view.ended_at.map(Time),
            outcome: view.outcome.word(),
            grants: view.grants.iter().map(GrantJson::from).collect(),
            usage: view.usage.iter().map(UsageJson::from).collect(),
            ch1: Ch1Json(&view.ch1),
            ch2: Ch2Json(&view.ch2),
            records: view.records.iter().map(RecordJson::from).collect(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AdviceJson<'a> {
    service: &'static str,
    sip_status: Option<u16>,
    stop_by: Option<StopByJson<'a>>,
}

impl<'a> From<&'a Advice> for AdviceJson<'a> {
    fn from(advice: &'a Advice) -> AdviceJson<'a> {
        AdviceJson {
            service: match advice.service {
                ServiceAdvice::Continue => "continue",
                ServiceAdvice::Stop => "stop",
                ServiceAdvice::Block => "block",
            },
            sip_status: advice.sip_status,
            stop_by: advice.stop_by.as_ref().map(StopByJson::from),
        }
    }
}

#[derive(Serialize)]
struct StopByJson<'a> {
    at: Option<Time>,
    units: Option<UnitsJson<'a>>,
}

impl<'a> From<&'a StopBy> for StopByJson<'a> {
    fn from(stop: &'a StopBy) -> StopByJson<'a> {
        StopByJson { at: stop.at.map(Time), units: stop.units.as_ref().map(UnitsJson::from) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GrantJson<'a> {
    rating_group: u32,
    name: Option<&'a str>,
    units: UnitsJson<'a>,
    valid_until: Option<Time>,
    threshold: Option<UnitsJson<'a>>,
    holding_seconds: Option<u32>,
    r#final: Option<FinalJson<'a>>,
    tariff_change_at: Option<Time>,
}

impl<'a> From<&'a Grant> for GrantJson<'a> {
    fn from(grant: &'a Grant) -> GrantJson<'a> {
        GrantJson {
            rating_group: grant.rating_group,
            name: grant.name.as_deref(),
            units: UnitsJson::from(&grant.units),
            valid_until: grant.valid_until.map(Time),
            threshold: grant.threshold.as_ref().map(UnitsJson::from),
            holding_seconds: grant.holding_seconds,
            r#final: grant.final_unit.as_ref().map(FinalJson::from),
            tariff_change_at: grant.tariff_change_at.map(Time),
        }
    }
}

#[derive(Serialize)]
struct FinalJson<'a> {
    action: &'static str,
    redirect: Option<RedirectJson<'a>>,
    filters: &'a [String],
}

#[derive(Serialize)]
struct RedirectJson<'a> {
    r#type: &'a str,
    address: &'a str,
}

impl<'a> From<&'a Final> for FinalJson<'a> {
    fn from(unit: &'a Final) -> FinalJson<'a> {
        let redirect = unit.redirect.as_ref();
        FinalJson {
            action: match unit.action {
                FinalAction::Terminate => "terminate",
                FinalAction::Redirect => "redirect",
                FinalAction::Restrict => "restrict",
            },
            redirect: redirect.map(|(kind, address)| RedirectJson { r#type: kind, address }),
            filters: &unit.filters,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DebitJson<'a> {
    units: Vec<UsageJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<MoneyJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<MoneyJson<'a>>,
    low_balance: bool,
}

impl<'a> From<&'a Debit> for DebitJson<'a> {
    fn from(debit: &'a Debit) -> DebitJson<'a> {
        DebitJson {
            units: debit.units.iter().map(UsageJson::from).collect(),
            cost: debit.cost.as_ref().map(MoneyJson::from),
            balance: debit.balance.as_ref().map(MoneyJson::from),
            low_balance: debit.low_balance,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UsageJson<'a> {
    rating_group: u32,
    units: UnitsJson<'a>,
}

impl<'a> From<&'a (u32, Units)> for UsageJson<'a> {
    fn from((rating_group, units): &'a (u32, Units)) -> UsageJson<'a> {
        UsageJson { rating_group: *rating_group, units: UnitsJson::from(units) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UnitsJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    money: Option<MoneyJson<'a>>,
}

impl<'a> From<&'a Units> for UnitsJson<'a> {
    fn from(units: &'a Units) -> UnitsJson<'a> {
        UnitsJson {
            seconds: units.seconds,
            messages: units.messages,
            bytes: units.bytes,
            input_bytes: units.input_bytes,
            output_bytes: units.output_bytes,
            money: units.money.as_ref().map(MoneyJson::from),
        }
    }
}

#[derive(Serialize)]
struct MoneyJson<'a> {
    amount: String,
    currency: &'a str,
}

impl<'a> From<&'a Money> for MoneyJson<'a> {
    fn from(money: &'a Money) -> MoneyJson<'a> {
        MoneyJson { amount: decimal(money.digits, money.exponent), currency: &money.currency }
    }
}

/// `digits` × 10^`exponent` as a plain decimal; with an exponent part where that would have more
/// than [`DECIMAL_ZEROS_MAX`] zeros (the exponent comes from a peer and may be anything).
pub fn decimal(digits: i64, exponent: i32) -> String {
    let sign = if digits < 0 { "-" } else { "" };
    let text = digits.unsigned_abs().to_string();
    if exponent.unsigned_abs() > DECIMAL_ZEROS_MAX {
        return format!("{sign}{text}e{exponent}");
    }
    let places = usize::try_from(exponent.unsigned_abs()).unwrap_or(0);
    if digits == 0 && exponent >= 0 {
        return "0".to_owned();
    }
    if exponent >= 0 {
        return format!("{sign}{text}{}", "0".repeat(places));
    }
    let padded = format!("{text:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    format!("{sign}{whole}.{fraction}")
}

const DECIMAL_ZEROS_MAX: u32 = 30;

/// The six members of `result`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResultJson<'a> {
    code: Option<u32>,
    name: Option<&'a str>,
    vendor: Option<u32>,
    error_message: Option<&'a str>,
    reported_by: Option<&'a str>,
    failed_avp: &'a [String],
}

impl<'a> From<&'a DiameterResult> for ResultJson<'a> {
    fn from(result: &'a DiameterResult) -> ResultJson<'a> {
        ResultJson {
            code: result.code,
            name: result.name.as_deref(),
            vendor: result.vendor,
            error_message: result.error_message.as_deref(),
            reported_by: result.reported_by.as_deref(),
            failed_avp: &result.failed_avp,
        }
    }
}

struct Ch1Json<'a>(&'a Ch1View);

impl Serialize for Ch1Json<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let view = self.0;
        let mut map = out.serialize_map(None)?;
        map.serialize_entry("state", ch1_state(view.state))?;
        if view.state == Ch1State::None {
            return map.end();
        }
        map.serialize_entry("recordId", &view.record_id.map(Id))?;
        map.serialize_entry("record", &view.record)?;
        map.serialize_entry("recordNumber", &view.record_number)?;
        if view.state == Ch1State::Armed {
            map.serialize_entry("dueAt", &view.due_at.map(Time))?;
            return map.end();
        }
        map.serialize_entry("result", &view.result.as_ref().map(ResultJson::from))?;
        map.serialize_entry("peer", &view.peer)?;
        map.serialize_entry("attempts", &view.attempts)?;
        map.end()
    }
}

struct Ch2Json<'a>(&'a Ch2View);

impl Serialize for Ch2Json<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let view = self.0;
        let mut map = out.serialize_map(None)?;
        map.serialize_entry("state", ch2_state(view.state))?;
        // A leg that has ended for good may still tell of its last request.
        if view.state == Ch2State::None && view.record_id.is_none() {
            return map.end();
        }
        map.serialize_entry("recordId", &view.record_id.map(Id))?;
        map.serialize_entry("command", &view.command)?;
        map.serialize_entry("requestNumber", &view.request_number)?;
        map.serialize_entry("result", &view.result.as_ref().map(ResultJson::from))?;
        let services: Vec<ServiceJson<'_>> = view.services.iter().map(ServiceJson::from).collect();
        map.serialize_entry("services", &services)?;
        map.serialize_entry("peer", &view.peer)?;
        map.serialize_entry("attempts", &view.attempts)?;
        map.serialize_entry("roundTripMs", &view.round_trip_micros.map(millis))?;
        map.serialize_entry("diameter", &view.diameter.as_ref().map(IdsJson::from))?;
        map.end()
    }
}

/// The word of an interface.
pub(super) fn interface_word(interface: Interface) -> &'static str {
    match interface {
        Interface::Ch1 => "ch1",
        Interface::Ch2 => "ch2",
    }
}

/// Microseconds as milliseconds; exact to 2^53 of them, and shortest when printed.
#[allow(clippy::cast_precision_loss)]
pub(super) fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceJson<'a> {
    rating_group: Option<u32>,
    result: ResultJson<'a>,
}

impl<'a> From<&'a (Option<u32>, DiameterResult)> for ServiceJson<'a> {
    fn from((rating_group, result): &'a (Option<u32>, DiameterResult)) -> ServiceJson<'a> {
        ServiceJson { rating_group: *rating_group, result: ResultJson::from(result) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IdsJson<'a> {
    session_id: &'a str,
    hop_by_hop: Option<String>,
    end_to_end: String,
}

impl<'a> From<&'a DiameterIds> for IdsJson<'a> {
    fn from(ids: &'a DiameterIds) -> IdsJson<'a> {
        IdsJson {
            session_id: &ids.session_id,
            hop_by_hop: ids.hop_by_hop.map(|id| format!("{id:08x}")),
            end_to_end: format!("{:08x}", ids.end_to_end),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecordJson<'a> {
    record_id: Id,
    interface: &'static str,
    command: &'a str,
    number: u32,
    state: &'static str,
    result: Option<ResultJson<'a>>,
    peer: Option<&'a str>,
    attempts: u32,
    created_at: Time,
}

impl<'a> From<&'a RecordView> for RecordJson<'a> {
    fn from(record: &'a RecordView) -> RecordJson<'a> {
        RecordJson {
            record_id: Id(record.record_id),
            interface: interface_word(record.interface),
            command: &record.command,
            number: record.number,
            state: state_word(record.state),
            result: record.result.as_ref().map(ResultJson::from),
            peer: record.peer.as_deref(),
            attempts: record.attempts,
            created_at: Time(record.created_at),
        }
    }
}

#[derive(Serialize)]
struct WarningJson<'a> {
    code: &'a str,
    detail: &'a str,
}

impl<'a> From<&'a Warning> for WarningJson<'a> {
    fn from(warning: &'a Warning) -> WarningJson<'a> {
        WarningJson { code: &warning.code, detail: &warning.detail }
    }
}

pub(super) struct Time(pub(super) Wall);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&self.0)
    }
}

pub(super) struct Id(pub(super) RecordId);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&self.0)
    }
}

pub(super) fn state(state: SessionState) -> &'static str {
    match state {
        SessionState::Open => "open",
        SessionState::Ending => "ending",
        SessionState::Ended => "ended",
    }
}

pub(super) fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Ocs => "ocs",
        Basis::FailurePolicy => "failure_policy",
        Basis::LocalRule => "local_rule",
    }
}

fn ch1_state(state: Ch1State) -> &'static str {
    match state {
        Ch1State::None => "none",
        Ch1State::Armed => "armed",
        Ch1State::Stored => "stored",
        Ch1State::Acknowledged => "acknowledged",
        Ch1State::Dead => "dead",
    }
}

fn ch2_state(state: Ch2State) -> &'static str {
    match state {
        Ch2State::None => "none",
        Ch2State::Pending => "pending",
        Ch2State::Answered => "answered",
        Ch2State::Failed => "failed",
    }
}
