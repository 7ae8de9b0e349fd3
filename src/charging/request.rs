//! From a session and a moment to an encoded ACR or CCR (charging.md d.2 to d.4).
//!
//! The machines' own AVPs are written here; everything else comes from the mapping, which sees a
//! value tree and nothing more. The message has Hop-by-Hop 0, T clear and no Destination-Host:
//! those belong to a copy, not to the record.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::counters::UnitKind;
use super::event::{
    EventAction, Identity, IdentityType, MessageCounters, Money, Role, ServerRole, Tariff, Units,
};
use super::outcome::MappingProblem;
use super::policy::{PeerProfile, Policy};
use super::record::Command;
use super::session::Session;
use crate::clock::Wall;
use crate::diameter::AvpFlags;
use crate::diameter::CommandFlags;
use crate::diameter::Dictionary;
use crate::diameter::application;
use crate::diameter::command;
use crate::diameter::id;
use crate::diameter::value::time_to_wire;
use crate::diameter::write;
use crate::mapping::Mapping;
use crate::mapping::Value;
use crate::store::Interface;

/// Dictionary and compiled mappings.
#[derive(Clone)]
pub struct Library {
    /// What AVPs mean.
    pub dictionary: Arc<Dictionary>,
    /// By name, as [`PeerProfile::mapping`] says.
    pub mappings: Arc<BTreeMap<String, Mapping>>,
}

/// Reporting-Reason values (TS 32.299, 7.2.175) that farebox sends.
pub mod reason {
    /// THRESHOLD, in the USU.
    pub const THRESHOLD: u8 = 0;
    /// QHT, in the MSCC.
    pub const QHT: u8 = 1;
    /// FINAL, in the MSCC.
    pub const FINAL: u8 = 2;
    /// QUOTA_EXHAUSTED, in the USU.
    pub const QUOTA_EXHAUSTED: u8 = 3;
    /// VALIDITY_TIME, in the MSCC.
    pub const VALIDITY_TIME: u8 = 4;
    /// RATING_CONDITION_CHANGE, in the MSCC.
    pub const RATING_CONDITION_CHANGE: u8 = 6;
    /// FORCED_REAUTHORISATION, in the MSCC.
    pub const FORCED_REAUTHORISATION: u8 = 7;

    /// G-04: does this reason stand in the Used-Service-Unit?
    pub fn in_used_units(reason: u8) -> bool {
        matches!(reason, THRESHOLD | QUOTA_EXHAUSTED | 5 | 8)
    }
}

/// One Used-Service-Unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsedUnits {
    /// Side of a tariff change.
    pub tariff: Option<Tariff>,
    /// What is new.
    pub units: Units,
}

/// One MSCC of a CCR.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceUnits {
    /// Rating-Group.
    pub rating_group: u32,
    /// Service-Identifier.
    pub service_id: Option<u32>,
    /// Requested-Service-Unit; `Some` and empty asks the server to choose.
    pub requested: Option<Units>,
    /// Used-Service-Units: one, or one for each side of a tariff change.
    pub used: Vec<UsedUnits>,
    /// Reporting-Reason, where usage is reported.
    pub reason: Option<u8>,
    /// Refund-Information.
    pub refund_information: Option<Vec<u8>>,
}

/// What one message says beyond the session's constants.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    /// Event-Timestamp.
    pub event: Wall,
    /// SIP-Request-Timestamp.
    pub sip_request: Option<Wall>,
    /// SIP-Response-Timestamp.
    pub sip_response: Option<Wall>,
    /// SIP-Method; empty: by the command.
    pub method: &'static str,
    /// Cause-Code.
    pub cause_code: Option<i32>,
    /// Termination-Cause.
    pub termination_cause: Option<i32>,
    /// Reason headers.
    pub reason_header: Vec<String>,
    /// MSCCs.
    pub services: Vec<ServiceUnits>,
    /// Service-Specific-Data of a backup record.
    pub backup: Vec<String>,
}

/// Every AVP that the machines write has M and no vendor.
const M: AvpFlags = AvpFlags(AvpFlags::MANDATORY);

/// Ids of one message.
#[derive(Clone, Debug)]
pub struct MessageIds<'a> {
    /// Diameter Session-Id.
    pub session_id: &'a str,
    /// Record or request number.
    pub number: u32,
    /// End-to-End Identifier.
    pub end_to_end: u32,
    /// Origin-State-Id.
    pub origin_state_id: u32,
}

/// Builds the message of one record.
///
/// # Errors
/// Every reason why the mapping cannot build it; nothing is stored then (422).
pub fn build(
    library: &Library,
    policy: &Policy,
    peer: &PeerProfile,
    command: Command,
    ids: &MessageIds<'_>,
    session: &Session,
    moment: &Moment,
) -> Result<Bytes, Vec<MappingProblem>> {
    let name = peer.mapping.get(command.interface());
    let mapping = library.mappings.get(name).ok_or_else(|| {
        vec![MappingProblem {
            pointer: None,
            place: None,
            detail: format!("there is no mapping `{name}`"),
        }]
    })?;
    let mut out = BytesMut::with_capacity(1024);
    let online = command.interface() == Interface::Ch2;
    let (code, app) = if online {
        (command::CREDIT_CONTROL, application::CREDIT_CONTROL)
    } else {
        (command::ACCOUNTING, application::ACCOUNTING)
    };
    let flags = CommandFlags::REQUEST | CommandFlags::PROXIABLE;
    write::begin_message(&mut out, CommandFlags(flags), code, app, 0, ids.end_to_end);
    put_machine_avps(&mut out, policy, peer, command, ids, moment);
    if command == Command::CcrEvent {
        let action = session.event.as_ref().map_or(EventAction::Debit, |event| event.action);
        write::put_i32(&mut out, id::REQUESTED_ACTION, M, action.value());
    }
    // C-05: in the first interrogation only; a CCR-E carries an MSCC too.
    if matches!(command, Command::CcrInitial | Command::CcrEvent) {
        write::put_i32(&mut out, id::MULTIPLE_SERVICES_INDICATOR, M, 1);
    }
    // S-22, S-23: what the CDF gave for the session goes into its later records.
    if let Some(rf) = session.rf.as_ref().filter(|rf| rf.session_id == ids.session_id) {
        for class in &rf.class {
            write::put_bytes(&mut out, id::CLASS, M, class);
        }
        if let Some(multi) = &rf.multi_session_id {
            write::put_bytes(&mut out, id::ACCT_MULTI_SESSION_ID, M, multi.as_bytes());
        }
    }
    let tree = tree(policy, command, session, moment);
    mapping.apply(&tree, &mut out).map_err(|errors| {
        errors
            .iter()
            .map(|error| MappingProblem {
                pointer: error.pointer(),
                place: Some(error.place().to_owned()),
                detail: error.to_string(),
            })
            .collect::<Vec<_>>()
    })?;
    write::end_message(&mut out);
    Ok(out.freeze())
}

fn put_machine_avps(
    out: &mut BytesMut,
    policy: &Policy,
    peer: &PeerProfile,
    command: Command,
    ids: &MessageIds<'_>,
    moment: &Moment,
) {
    let m = M;
    write::put_bytes(out, id::SESSION_ID, m, ids.session_id.as_bytes());
    write::put_bytes(out, id::ORIGIN_HOST, m, policy.host.as_bytes());
    write::put_bytes(out, id::ORIGIN_REALM, m, policy.realm.as_bytes());
    write::put_bytes(out, id::DESTINATION_REALM, m, peer.realm.as_bytes());
    if command.interface() == Interface::Ch2 {
        write::put_u32(out, id::AUTH_APPLICATION_ID, m, application::CREDIT_CONTROL);
        write::put_bytes(out, id::SERVICE_CONTEXT_ID, m, peer.service_context_id.as_bytes());
        write::put_i32(out, id::CC_REQUEST_TYPE, m, command.type_value());
        write::put_u32(out, id::CC_REQUEST_NUMBER, m, ids.number);
    } else {
        write::put_i32(out, id::ACCOUNTING_RECORD_TYPE, m, command.type_value());
        write::put_u32(out, id::ACCOUNTING_RECORD_NUMBER, m, ids.number);
        write::put_u32(out, id::ACCT_APPLICATION_ID, m, application::ACCOUNTING);
        write::put_bytes(out, id::SERVICE_CONTEXT_ID, m, peer.service_context_id.as_bytes());
    }
    write::put_u32(out, id::ORIGIN_STATE_ID, m, ids.origin_state_id);
    write::put_u32(out, id::EVENT_TIMESTAMP, m, time_to_wire(moment.event.secs()));
}

/// The value tree that a mapping sees (product.md 2.5).
pub fn tree(policy: &Policy, command: Command, session: &Session, moment: &Moment) -> Value {
    let content = &session.content;
    let op = match command {
        Command::CcrInitial if session.event.is_some() => "event",
        Command::AcrStart | Command::CcrInitial => "start",
        Command::AcrInterim | Command::CcrUpdate => "interim",
        Command::AcrStop | Command::CcrTermination => "terminate",
        Command::AcrEvent if session.event.is_none() => "terminate",
        Command::AcrEvent | Command::CcrEvent => "event",
    };
    let method = match op {
        _ if !moment.method.is_empty() => moment.method,
        "terminate" => "BYE",
        "event" => "MESSAGE",
        _ => "INVITE",
    };
    let interface = if command.interface() == Interface::Ch1 { "ch1" } else { "ch2" };
    let event = session.event.as_ref();
    let node = content.node.clone().unwrap_or_else(|| policy.host.clone());
    let millis = |time: Option<Wall>| time.map_or(Value::Null, |time| Value::Int(time.0));
    Value::map([
        ("op", Value::Text(op.to_owned())),
        ("interface", Value::Text(interface.to_owned())),
        ("method", Value::Text(method.to_owned())),
        ("service", text(session.service.as_ref())),
        ("role", Value::Text(role_name(content.role).to_owned())),
        ("node", Value::Text(node)),
        ("subscriber", Value::List(content.subscriber.iter().map(identity).collect())),
        ("from", text(content.from.as_ref())),
        ("to", Value::List(content.to.iter().cloned().map(Value::Text).collect())),
        ("cpm", cpm(session)),
        ("sip", sip(session)),
        ("participants", number(content.participants)),
        ("extensions", extensions(session)),
        ("kind", text(event.map(|event| &event.kind))),
        ("action", event.map_or(Value::Null, |e| Value::Text(e.action.name().to_owned()))),
        ("delivery", text(event.and_then(|event| event.delivery.as_ref()))),
        ("content", message_content(session)),
        ("units", event.map_or(Value::Null, |event| units(&event.units))),
        ("messages", session.messages.as_ref().map_or(Value::Null, counters)),
        ("cause", cause(moment)),
        (
            "time",
            Value::map([
                ("event", Value::Int(moment.event.0)),
                ("sipRequest", millis(moment.sip_request)),
                ("sipResponse", millis(moment.sip_response)),
            ]),
        ),
        ("usage", usage(session)),
        ("services", Value::List(moment.services.iter().map(service).collect())),
        ("backup", backup(moment)),
        ("orphan", Value::Bool(session.orphan)),
    ])
}

fn text(value: Option<&String>) -> Value {
    value.map_or(Value::Null, |text| Value::Text(text.clone()))
}

fn number(value: Option<u64>) -> Value {
    value.map_or(Value::Null, |n| Value::Int(i64::try_from(n).unwrap_or(i64::MAX)))
}

fn identity(identity: &Identity) -> Value {
    let kind = match identity.kind {
        IdentityType::E164 => "e164",
        IdentityType::Imsi => "imsi",
        IdentityType::Sip => "sip",
        IdentityType::Nai => "nai",
        IdentityType::Private => "private",
    };
    Value::map([
        ("type", Value::Text(kind.to_owned())),
        ("value", Value::Text(identity.value.clone())),
    ])
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Originating => "originating",
        Role::Terminating => "terminating",
        Role::Forwarding => "forwarding",
    }
}

fn cpm(session: &Session) -> Value {
    let cpm = &session.content.cpm;
    let role = cpm.server_role.map(|role| match role {
        ServerRole::Participating => "participating",
        ServerRole::Controlling => "controlling",
        ServerRole::Interworking => "interworking",
        ServerRole::InterworkingSelection => "interworking-selection",
    });
    Value::map([
        ("conversationId", text(cpm.conversation_id.as_ref())),
        ("contributionId", text(cpm.contribution_id.as_ref())),
        ("serverRole", role.map_or(Value::Null, |role| Value::Text(role.to_owned()))),
        ("groupUri", text(cpm.group_uri.as_ref())),
        ("imdnMessageId", text(cpm.imdn_message_id.as_ref())),
    ])
}

fn sip(session: &Session) -> Value {
    let sip = &session.content.sip;
    Value::map([
        ("callId", text(sip.call_id.as_ref())),
        ("outgoingCallId", text(sip.outgoing_call_id.as_ref())),
        ("icid", text(sip.icid.as_ref())),
        ("origIoi", text(sip.orig_ioi.as_ref())),
        ("termIoi", text(sip.term_ioi.as_ref())),
        ("icsi", text(sip.icsi.as_ref())),
    ])
}

fn extensions(session: &Session) -> Value {
    Value::Map(
        session
            .content
            .extensions
            .iter()
            .map(|(name, value)| (name.clone(), Value::Text(value.clone())))
            .collect(),
    )
}

fn message_content(session: &Session) -> Value {
    let body = session.event.as_ref().and_then(|event| event.body.as_ref());
    body.map_or(Value::Null, |body| {
        Value::map([
            ("type", Value::Text(body.content_type.clone())),
            ("size", number(Some(body.size))),
        ])
    })
}

fn units(units: &Units) -> Value {
    let mut entries: Vec<(String, Value)> = UnitKind::ALL
        .iter()
        .map(|kind| (kind.name().to_owned(), number(units.amount(*kind))))
        .collect();
    entries.push(("money".to_owned(), units.money.as_ref().map_or(Value::Null, money)));
    Value::Map(entries)
}

fn money(money: &Money) -> Value {
    Value::map([
        ("digits", Value::Int(money.digits)),
        ("exponent", Value::Int(i64::from(money.exponent))),
        ("currency", Value::Text(money.currency.clone())),
    ])
}

fn counters(counters: &MessageCounters) -> Value {
    Value::map([
        ("sent", number(counters.sent)),
        ("delivered", number(counters.delivered)),
        ("exploded", number(counters.exploded)),
        ("explodedDelivered", number(counters.exploded_delivered)),
    ])
}

fn cause(moment: &Moment) -> Value {
    let int = |value: Option<i32>| value.map_or(Value::Null, |n| Value::Int(i64::from(n)));
    Value::map([
        ("code", int(moment.cause_code)),
        ("termination", int(moment.termination_cause)),
        (
            "reasonHeader",
            Value::List(moment.reason_header.iter().cloned().map(Value::Text).collect()),
        ),
    ])
}

fn usage(session: &Session) -> Value {
    let totals = session.by_group(|counter| counter.total.clone());
    Value::List(
        totals
            .iter()
            .map(|(group, total)| {
                Value::map([
                    ("ratingGroup", Value::Int(i64::from(*group))),
                    ("units", units(total)),
                ])
            })
            .collect(),
    )
}

fn service(service: &ServiceUnits) -> Value {
    let reason = |wanted: bool| match service.reason {
        Some(reason) if reason::in_used_units(reason) == wanted => Value::Int(i64::from(reason)),
        _ => Value::Null,
    };
    let used = match service.used.as_slice() {
        [] => Value::Null,
        [only] if only.tariff.is_none() => units(&only.units),
        several => Value::List(several.iter().map(used_units).collect()),
    };
    Value::map([
        ("ratingGroup", Value::Int(i64::from(service.rating_group))),
        ("serviceId", service.service_id.map_or(Value::Null, |n| Value::Int(i64::from(n)))),
        ("requested", service.requested.as_ref().map_or(Value::Null, units)),
        ("used", used),
        ("reportingReason", reason(false)),
        ("usedReason", reason(true)),
        ("refundInformation", service.refund_information.clone().map_or(Value::Null, Value::Bytes)),
    ])
}

fn used_units(used: &UsedUnits) -> Value {
    let tariff = match used.tariff {
        None => Value::Null,
        Some(Tariff::Before) => Value::Text("before".to_owned()),
        Some(Tariff::After) => Value::Text("after".to_owned()),
    };
    let mut value = units(&used.units);
    value.put("tariff", tariff);
    value
}

fn backup(moment: &Moment) -> Value {
    if moment.backup.is_empty() {
        return Value::Null;
    }
    let data = moment.backup.iter().cloned().map(Value::Text).collect();
    Value::map([("serviceSpecificData", Value::List(data))])
}

impl EventAction {
    /// Requested-Action on the wire.
    pub fn value(self) -> i32 {
        match self {
            EventAction::Debit => 0,
            EventAction::Refund => 1,
            EventAction::CheckBalance => 2,
            EventAction::EnquirePrice => 3,
        }
    }
}
