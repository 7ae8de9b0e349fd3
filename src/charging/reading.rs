//! What a CCA or ACA says, read leniently: everything optional, nothing guessed.

use bytes::Bytes;

use super::accounting::Realtime;
use super::event::{Money, Units};
use super::outcome::{DiameterResult, Final, FinalAction};
use super::policy::{Ccfh, Ddfh};
use crate::clock::Wall;
use crate::diameter::Avp;
use crate::diameter::AvpList;
use crate::diameter::Dictionary;
use crate::diameter::Limits;
use crate::diameter::Message;
use crate::diameter::ProblemKind;
use crate::diameter::Value;
use crate::diameter::decode;
use crate::diameter::id;
use crate::diameter::result_code;
use crate::mapping::currency;

/// One Multiple-Services-Credit-Control of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAnswer {
    /// Rating-Group.
    pub rating_group: Option<u32>,
    /// Result-Code of this service.
    pub result: Option<DiameterResult>,
    /// Granted-Service-Unit.
    pub granted: Option<Units>,
    /// Validity-Time.
    pub validity_secs: Option<u32>,
    /// Time-, Volume- and Unit-Quota-Threshold.
    pub threshold: Option<Units>,
    /// Quota-Holding-Time.
    pub holding_secs: Option<u32>,
    /// Final-Unit-Indication.
    pub final_unit: Option<Final>,
    /// Tariff-Time-Change inside the grant.
    pub tariff_change_at: Option<Wall>,
    /// Refund-Information.
    pub refund_information: Option<Vec<u8>>,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Command-level result.
    pub result: DiameterResult,
    /// The code that decides: `None` for an Experimental-Result or no result at all.
    pub code: Option<u32>,
    /// Origin-Host.
    pub origin_host: Option<String>,
    /// CC-Request-Number or Accounting-Record-Number.
    pub number: Option<u32>,
    /// CC-Request-Type or Accounting-Record-Type.
    pub kind: Option<i32>,
    /// Credit-Control-Failure-Handling.
    pub ccfh: Option<Ccfh>,
    /// Direct-Debiting-Failure-Handling.
    pub ddfh: Option<Ddfh>,
    /// CC-Session-Failover.
    pub failover: Option<bool>,
    /// MSCCs.
    pub services: Vec<ServiceAnswer>,
    /// Granted-Service-Unit, Validity-Time and Final-Unit-Indication at command level.
    pub command_grant: ServiceAnswer,
    /// Cost-Information.
    pub cost: Option<Money>,
    /// Remaining-Balance.
    pub balance: Option<Money>,
    /// Low-Balance-Indication YES.
    pub low_balance: bool,
    /// Acct-Interim-Interval.
    pub interim_secs: Option<u32>,
    /// Accounting-Realtime-Required.
    pub realtime: Option<Realtime>,
    /// Class.
    pub class: Vec<Bytes>,
    /// Acct-Multi-Session-Id.
    pub multi_session_id: Option<String>,
    /// Check-Balance-Result: enough credit.
    pub enough: Option<bool>,
    /// H-27: an AVP with M that we do not know, or a broken one: the transaction failed.
    pub unusable: Option<String>,
}

/// Reads an answer. Never fails: what cannot be read is absent, and `unusable` says why.
pub fn read(bytes: &Bytes, dictionary: &Dictionary) -> Reading {
    let (message, problems) = decode(bytes, dictionary, &Limits::default());
    let unusable = problems
        .iter()
        .find(|problem| {
            matches!(problem.kind, ProblemKind::UnknownAvp | ProblemKind::InvalidAvpLength)
        })
        .map(|problem| problem.detail.clone());
    let mut reading = Reading { unusable, ..Reading::default() };
    reading.result = result(&message.avps, dictionary);
    reading.code = match reading.result.vendor {
        Some(_) => None,
        None => reading.result.code,
    };
    read_head(&mut reading, &message);
    reading.command_grant = service(&message.avps, dictionary);
    reading.command_grant.result = None;
    reading.services = message
        .all(id::MULTIPLE_SERVICES_CREDIT_CONTROL)
        .filter_map(|avp| avp.members())
        .map(|members| service(members, dictionary))
        .collect();
    reading
}

fn read_head(reading: &mut Reading, message: &Message) {
    reading.origin_host = message.text(id::ORIGIN_HOST).map(str::to_owned);
    reading.number = message
        .unsigned32(id::CC_REQUEST_NUMBER)
        .or_else(|| message.unsigned32(id::ACCOUNTING_RECORD_NUMBER));
    reading.kind = message
        .enumerated(id::CC_REQUEST_TYPE)
        .or_else(|| message.enumerated(id::ACCOUNTING_RECORD_TYPE));
    reading.ccfh = match message.enumerated(id::CREDIT_CONTROL_FAILURE_HANDLING) {
        Some(0) => Some(Ccfh::Terminate),
        Some(1) => Some(Ccfh::Continue),
        Some(2) => Some(Ccfh::RetryAndTerminate),
        _ => None,
    };
    reading.ddfh = match message.enumerated(id::DIRECT_DEBITING_FAILURE_HANDLING) {
        Some(0) => Some(Ddfh::TerminateOrBuffer),
        Some(1) => Some(Ddfh::Continue),
        _ => None,
    };
    reading.failover = message.enumerated(id::CC_SESSION_FAILOVER).map(|value| value == 1);
    reading.interim_secs = message.unsigned32(id::ACCT_INTERIM_INTERVAL);
    reading.realtime = match message.enumerated(id::ACCOUNTING_REALTIME_REQUIRED) {
        Some(1) => Some(Realtime::DeliverAndGrant),
        Some(2) => Some(Realtime::GrantAndStore),
        Some(3) => Some(Realtime::GrantAndLose),
        _ => None,
    };
    reading.class = message
        .all(id::CLASS)
        .filter_map(|avp| match &avp.value {
            Value::OctetString(octets) => Some(octets.clone()),
            _ => None,
        })
        .collect();
    reading.multi_session_id = message.text(id::ACCT_MULTI_SESSION_ID).map(str::to_owned);
    reading.cost = message.group(id::COST_INFORMATION).and_then(money);
    reading.balance = message.group(id::REMAINING_BALANCE).and_then(money);
    reading.low_balance = message.enumerated(id::LOW_BALANCE_INDICATION) == Some(1);
    reading.enough = message.enumerated(id::CHECK_BALANCE_RESULT).map(|value| value == 0);
}

/// Result-Code or Experimental-Result with its companions.
fn result(avps: &[Avp], dictionary: &Dictionary) -> DiameterResult {
    let mut result =
        DiameterResult { code: avps.unsigned32(id::RESULT_CODE), ..DiameterResult::default() };
    // in place of, or besides, Result-Code.
    if result.code.is_none()
        && let Some(members) = avps.group(id::EXPERIMENTAL_RESULT)
    {
        result.code = members.unsigned32(id::EXPERIMENTAL_RESULT_CODE);
        result.vendor = Some(members.unsigned32(id::VENDOR_ID).unwrap_or(0));
    }
    if result.vendor.is_none() {
        result.name = result.code.and_then(result_code::name).map(str::to_owned);
    }
    result.error_message = avps.text(id::ERROR_MESSAGE).map(str::to_owned);
    result.reported_by = avps.text(id::ERROR_REPORTING_HOST).map(str::to_owned);
    result.failed_avp = avps
        .all(id::FAILED_AVP)
        .filter_map(Avp::members)
        .flatten()
        .take(8)
        .map(|avp| match dictionary.avp(avp.id) {
            Some(known) => known.name.to_string(),
            None => format!("{}:{}", avp.id.code, avp.id.vendor),
        })
        .collect();
    result
}

fn service(avps: &[Avp], dictionary: &Dictionary) -> ServiceAnswer {
    let granted = avps.group(id::GRANTED_SERVICE_UNIT);
    let threshold = Units {
        seconds: avps.unsigned32(id::TIME_QUOTA_THRESHOLD).map(u64::from),
        messages: avps.unsigned32(id::UNIT_QUOTA_THRESHOLD).map(u64::from),
        bytes: avps.unsigned32(id::VOLUME_QUOTA_THRESHOLD).map(u64::from),
        ..Units::default()
    };
    let result = result(avps, dictionary);
    ServiceAnswer {
        rating_group: avps.unsigned32(id::RATING_GROUP),
        result: result.code.is_some().then_some(result),
        granted: granted.map(units),
        validity_secs: avps.unsigned32(id::VALIDITY_TIME),
        threshold: (!threshold.is_empty()).then_some(threshold),
        holding_secs: avps.unsigned32(id::QUOTA_HOLDING_TIME),
        final_unit: avps.group(id::FINAL_UNIT_INDICATION).map(final_unit),
        tariff_change_at: granted
            .and_then(|granted| granted.time(id::TARIFF_TIME_CHANGE))
            .map(Wall::from_secs),
        refund_information: avps.find(id::REFUND_INFORMATION).and_then(|avp| match &avp.value {
            Value::OctetString(octets) => Some(octets.to_vec()),
            _ => None,
        }),
    }
}

fn units(avps: &[Avp]) -> Units {
    Units {
        seconds: avps.unsigned32(id::CC_TIME).map(u64::from),
        messages: avps.unsigned64(id::CC_SERVICE_SPECIFIC_UNITS),
        bytes: avps.unsigned64(id::CC_TOTAL_OCTETS),
        input_bytes: avps.unsigned64(id::CC_INPUT_OCTETS),
        output_bytes: avps.unsigned64(id::CC_OUTPUT_OCTETS),
        money: avps.group(id::CC_MONEY).and_then(money),
    }
}

/// Unit-Value and Currency-Code (C-53: a missing Exponent is 0).
fn money(avps: &[Avp]) -> Option<Money> {
    let value = avps.group(id::UNIT_VALUE)?;
    let digits = value.find(id::VALUE_DIGITS).and_then(|avp| match avp.value {
        Value::Integer64(digits) => Some(digits),
        _ => None,
    })?;
    let code = avps.unsigned32(id::CURRENCY_CODE);
    Some(Money {
        digits,
        exponent: value.integer32(id::EXPONENT).unwrap_or(0),
        currency: code.map_or_else(String::new, currency::letters),
    })
}

fn final_unit(avps: &[Avp]) -> Final {
    let redirect = avps.group(id::REDIRECT_SERVER).and_then(|server| {
        let kind = match server.enumerated(id::REDIRECT_ADDRESS_TYPE)? {
            0 => "ipv4",
            1 => "ipv6",
            2 => "url",
            3 => "sip",
            _ => return None,
        };
        Some((kind.to_owned(), server.text(id::REDIRECT_SERVER_ADDRESS)?.to_owned()))
    });
    let filters: Vec<String> = avps
        .all(id::RESTRICTION_FILTER_RULE)
        .chain(avps.all(id::FILTER_ID))
        .filter_map(|avp| avp.value.as_text().map(str::to_owned))
        .collect();
    // C-18: an action that cannot be carried out is TERMINATE.
    let action = match avps.enumerated(id::FINAL_UNIT_ACTION) {
        Some(1) if redirect.is_some() => FinalAction::Redirect,
        Some(2) if !filters.is_empty() => FinalAction::Restrict,
        _ => FinalAction::Terminate,
    };
    Final { action, redirect, filters }
}
