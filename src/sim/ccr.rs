//! A Credit-Control-Request as the simulated OCS reads it (RFC 8506, 3.1).

use std::sync::Arc;

use bytes::Bytes;

use crate::diameter::Avp;
use crate::diameter::AvpList;
use crate::diameter::Message;
use crate::diameter::Value;
use crate::diameter::id;
use crate::diameter::result_code;
use crate::sim::answer::Refusal;
use crate::sim::answer::all_subscriptions;
use crate::sim::ledger::Currency;
use crate::sim::rating::Units;

/// CC-Request-Type (RFC 8506, 8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CcRequestType {
    /// INITIAL_REQUEST (1).
    Initial,
    /// UPDATE_REQUEST (2).
    Update,
    /// TERMINATION_REQUEST (3).
    Termination,
    /// EVENT_REQUEST (4).
    Event,
}

/// One service: a Multiple-Services-Credit-Control, or the units at command level.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The units stand at command level.
    pub at_command: bool,
    /// Rating-Group.
    pub rating_group: Option<u32>,
    /// Service-Identifiers.
    pub service_ids: Vec<u32>,
    /// Requested-Service-Unit.
    pub requested: Option<Units>,
    /// All Used-Service-Units together.
    pub used: Option<Units>,
    /// Refund-Information.
    pub refund: Option<Bytes>,
}

/// The request.
#[derive(Clone, Debug, PartialEq)]
pub struct Ccr {
    /// Session-Id.
    pub session: Arc<str>,
    /// Origin-Host and Origin-Realm.
    pub client: (String, String),
    /// CC-Request-Type.
    pub kind: CcRequestType,
    /// CC-Request-Number.
    pub number: u32,
    /// Requested-Action as sent.
    pub action: Option<i32>,
    /// Multiple-Services-Indicator says MULTIPLE_SERVICES_SUPPORTED.
    pub multiple_services: bool,
    /// Type and data of each Subscription-Id.
    pub subscriptions: Vec<(i32, String)>,
    /// The services; never empty for an event.
    pub services: Vec<Service>,
}

impl Ccr {
    /// Reads a request whose grammar has been checked.
    ///
    /// # Errors
    /// What cannot be read, with its Failed-AVP.
    pub fn read(message: &Message, currency: Currency) -> Result<Ccr, Refusal> {
        let session: Arc<str> = message.text(id::SESSION_ID).unwrap_or("").into();
        let type_avp = message.find(id::CC_REQUEST_TYPE);
        let kind = match type_avp.map(|avp| &avp.value) {
            Some(Value::Enumerated(1)) => CcRequestType::Initial,
            Some(Value::Enumerated(2)) => CcRequestType::Update,
            Some(Value::Enumerated(3)) => CcRequestType::Termination,
            Some(Value::Enumerated(4)) => CcRequestType::Event,
            _ => {
                let failed = type_avp.cloned();
                let detail = "no such CC-Request-Type".to_owned();
                return Err(Refusal { code: result_code::INVALID_AVP_VALUE, failed, detail });
            }
        };
        let text = |id| message.text(id).unwrap_or("").to_owned();
        let mut services = message
            .all(id::MULTIPLE_SERVICES_CREDIT_CONTROL)
            .filter_map(Avp::members)
            .map(|members| Service::read(members, false, currency))
            .collect::<Result<Vec<Service>, Refusal>>()?;
        if services.is_empty() {
            let service = Service::read(&message.avps, true, currency)?;
            let measured = service.requested.is_some() || service.used.is_some();
            if measured || kind == CcRequestType::Event {
                services.push(service);
            }
        }
        Ok(Ccr {
            session,
            client: (text(id::ORIGIN_HOST), text(id::ORIGIN_REALM)),
            kind,
            number: message.unsigned32(id::CC_REQUEST_NUMBER).unwrap_or(0),
            action: message.enumerated(id::REQUESTED_ACTION),
            multiple_services: message.enumerated(id::MULTIPLE_SERVICES_INDICATOR) == Some(1),
            subscriptions: all_subscriptions(message),
            services,
        })
    }

    /// Are there units at command level, or none at all?
    pub fn at_command(&self) -> bool {
        self.services.iter().all(|service| service.at_command)
    }
}

impl Service {
    fn read(members: &[Avp], at_command: bool, currency: Currency) -> Result<Service, Refusal> {
        let read = |avp: &Avp| {
            Units::read(avp.members().unwrap_or(&[]), currency).map_err(|failed| {
                let detail = "an amount that cannot be rated in the account's currency";
                Refusal::of(result_code::RATING_FAILED, failed, detail)
            })
        };
        let requested = members.find(id::REQUESTED_SERVICE_UNIT).map(read).transpose()?;
        let mut used: Option<Units> = None;
        for avp in members.all(id::USED_SERVICE_UNIT) {
            let more = read(avp)?;
            used = Some(used.map_or(more.clone(), |sum| sum.plus(&more)));
        }
        Ok(Service {
            at_command,
            rating_group: members.unsigned32(id::RATING_GROUP),
            service_ids: members
                .all(id::SERVICE_IDENTIFIER)
                .filter_map(|avp| match avp.value {
                    Value::Unsigned32(service) => Some(service),
                    _ => None,
                })
                .collect(),
            requested,
            used,
            refund: members.octets(id::REFUND_INFORMATION).map(Bytes::copy_from_slice),
        })
    }
}
