//! A charging data record: what the simulated CDF keeps of an accepted ACR, and its JSON line.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Wall;
use crate::diameter::Avp;
use crate::diameter::AvpId;
use crate::diameter::AvpList;
use crate::diameter::Message;
use crate::diameter::Value;
use crate::diameter::id;
use crate::sim::answer::all_subscriptions;

/// Accounting-Record-Type (RFC 6733, 9.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordType {
    /// EVENT_RECORD (1).
    Event,
    /// START_RECORD (2).
    Start,
    /// INTERIM_RECORD (3).
    Interim,
    /// STOP_RECORD (4).
    Stop,
}

impl RecordType {
    /// From the AVP's value.
    pub fn from_value(value: i32) -> Option<RecordType> {
        match value {
            1 => Some(RecordType::Event),
            2 => Some(RecordType::Start),
            3 => Some(RecordType::Interim),
            4 => Some(RecordType::Stop),
            _ => None,
        }
    }

    /// The RFC's name.
    pub fn name(self) -> &'static str {
        match self {
            RecordType::Event => "EVENT_RECORD",
            RecordType::Start => "START_RECORD",
            RecordType::Interim => "INTERIM_RECORD",
            RecordType::Stop => "STOP_RECORD",
        }
    }
}

/// The four counters of IM-Information.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImCounters {
    /// Total-Number-Of-Messages-Sent.
    pub sent: Option<u32>,
    /// Number-Of-Messages-Successfully-Sent.
    pub delivered: Option<u32>,
    /// Total-Number-Of-Messages-Exploded.
    pub exploded: Option<u32>,
    /// Number-Of-Messages-Successfully-Exploded.
    pub exploded_delivered: Option<u32>,
}

/// What IMS-Information says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ims {
    /// Event-Type / SIP-Method.
    pub sip_method: Option<String>,
    /// Role-Of-Node.
    pub role_of_node: Option<i32>,
    /// Node-Functionality.
    pub node_functionality: Option<i32>,
    /// User-Session-Id: the SIP Call-ID.
    pub user_session_id: Option<String>,
    /// IMS-Charging-Identifier.
    pub charging_id: Option<String>,
    /// Calling-Party-Addresses.
    pub calling: Vec<String>,
    /// Called-Party-Address.
    pub called: Option<String>,
    /// SIP-Request-Timestamp with its fraction, milliseconds since 1970.
    pub request_at: Option<Wall>,
    /// SIP-Response-Timestamp with its fraction.
    pub response_at: Option<Wall>,
    /// Cause-Code.
    pub cause_code: Option<i32>,
    /// Service-Specific-Type and -Data of each Service-Specific-Info.
    pub service_specific: Vec<(Option<u32>, String)>,
}

/// One accepted record.
#[derive(Clone, Debug, PartialEq)]
pub struct Cdr {
    /// When it arrived.
    pub received_at: Wall,
    /// Accounting-Record-Type.
    pub record_type: RecordType,
    /// Accounting-Record-Number.
    pub number: u32,
    /// Session-Id.
    pub session: Arc<str>,
    /// Origin-Host.
    pub origin_host: String,
    /// T was set.
    pub retransmit: bool,
    /// End-to-End Identifier.
    pub end_to_end: u32,
    /// Event-Timestamp, seconds since 1970.
    pub event_timestamp: Option<i64>,
    /// User-Name.
    pub user_name: Option<String>,
    /// Service-Context-Id.
    pub service_context_id: Option<String>,
    /// Subscription-Id-Type and -Data.
    pub subscribers: Vec<(i32, String)>,
    /// IMS-Information.
    pub ims: Ims,
    /// IM-Information.
    pub im: ImCounters,
    /// PoC-Information / Number-Of-Participants.
    pub participants: Option<u32>,
    /// Service-Generic-Information / Application-Service-Type.
    pub application_service_type: Option<i32>,
    /// The request as it came.
    pub raw: Bytes,
}

impl Cdr {
    /// Reads an ACR of this type and number.
    pub fn read(
        message: &Message,
        record_type: RecordType,
        number: u32,
        session: Arc<str>,
        raw: &Bytes,
        received_at: Wall,
    ) -> Cdr {
        let text = |id| message.text(id).map(str::to_owned);
        let service = message.group(id::SERVICE_INFORMATION).unwrap_or(&[]);
        let generic = service.group(id::SERVICE_GENERIC_INFORMATION).unwrap_or(&[]);
        Cdr {
            received_at,
            record_type,
            number,
            session,
            origin_host: text(id::ORIGIN_HOST).unwrap_or_default(),
            retransmit: message.header.flags.is_retransmit(),
            end_to_end: message.header.end_to_end,
            event_timestamp: message.time(id::EVENT_TIMESTAMP),
            user_name: text(id::USER_NAME),
            service_context_id: text(id::SERVICE_CONTEXT_ID),
            subscribers: all_subscriptions(message),
            ims: Ims::read(service.group(id::IMS_INFORMATION).unwrap_or(&[])),
            im: ImCounters::read(service.group(id::IM_INFORMATION).unwrap_or(&[])),
            participants: service
                .group(id::POC_INFORMATION)
                .and_then(|poc| number_of(poc, id::NUMBER_OF_PARTICIPANTS)),
            application_service_type: generic.enumerated(id::APPLICATION_SERVICE_TYPE),
            raw: raw.clone(),
        }
    }

    /// One line of JSON, without the line's end.
    pub fn json(&self) -> String {
        let mut out = Json::begin();
        out.text("record", self.record_type.name());
        out.number("number", self.number);
        out.text("sessionId", &self.session);
        out.text("originHost", &self.origin_host);
        out.text("receivedAt", &self.received_at.to_string());
        out.maybe_text("eventTimestamp", self.event_timestamp.map(time).as_deref());
        out.raw("retransmission", if self.retransmit { "true" } else { "false" });
        out.text("endToEnd", &format!("{:08x}", self.end_to_end));
        out.maybe_text("userName", self.user_name.as_deref());
        out.maybe_text("serviceContextId", self.service_context_id.as_deref());
        out.list("subscriber", &self.subscribers, |(kind, data)| {
            let mut one = Json::begin();
            one.number("type", *kind);
            one.text("data", data);
            one.end()
        });
        out.maybe_number("causeCode", self.ims.cause_code);
        out.raw("ims", &self.ims.json());
        out.raw("im", &self.im.json());
        out.maybe_number("participants", self.participants);
        out.maybe_number("applicationServiceType", self.application_service_type);
        out.list("serviceSpecific", &self.ims.service_specific, |(kind, data)| {
            let mut one = Json::begin();
            one.maybe_number("type", *kind);
            one.text("data", data);
            one.end()
        });
        out.text("raw", &hex(&self.raw));
        out.end()
    }
}

impl Ims {
    fn read(members: &[Avp]) -> Ims {
        let text = |avps: &[Avp], id| avps.text(id).map(str::to_owned);
        let stamps = members.group(id::TIME_STAMPS).unwrap_or(&[]);
        let event = members.group(id::EVENT_TYPE).unwrap_or(&[]);
        Ims {
            sip_method: text(event, id::SIP_METHOD),
            role_of_node: members.enumerated(id::ROLE_OF_NODE),
            node_functionality: members.enumerated(id::NODE_FUNCTIONALITY),
            user_session_id: text(members, id::USER_SESSION_ID),
            charging_id: text(members, id::IMS_CHARGING_IDENTIFIER),
            calling: members
                .all(id::CALLING_PARTY_ADDRESS)
                .filter_map(|avp| avp.value.as_text())
                .map(str::to_owned)
                .collect(),
            called: text(members, id::CALLED_PARTY_ADDRESS),
            request_at: instant(
                stamps,
                id::SIP_REQUEST_TIMESTAMP,
                id::SIP_REQUEST_TIMESTAMP_FRACTION,
            ),
            response_at: instant(
                stamps,
                id::SIP_RESPONSE_TIMESTAMP,
                id::SIP_RESPONSE_TIMESTAMP_FRACTION,
            ),
            cause_code: members.integer32(id::CAUSE_CODE),
            service_specific: members
                .all(id::SERVICE_SPECIFIC_INFO)
                .filter_map(Avp::members)
                .map(|info| {
                    let data = info.text(id::SERVICE_SPECIFIC_DATA).unwrap_or("");
                    (info.unsigned32(id::SERVICE_SPECIFIC_TYPE), data.to_owned())
                })
                .collect(),
        }
    }

    fn json(&self) -> String {
        let mut out = Json::begin();
        out.maybe_text("sipMethod", self.sip_method.as_deref());
        out.maybe_number("roleOfNode", self.role_of_node);
        out.maybe_number("nodeFunctionality", self.node_functionality);
        out.maybe_text("userSessionId", self.user_session_id.as_deref());
        out.maybe_text("chargingId", self.charging_id.as_deref());
        out.list("calling", &self.calling, |address| quoted(address));
        out.maybe_text("called", self.called.as_deref());
        out.maybe_text("requestAt", self.request_at.map(|at| at.to_string()).as_deref());
        out.maybe_text("responseAt", self.response_at.map(|at| at.to_string()).as_deref());
        out.end()
    }
}

impl ImCounters {
    fn read(members: &[Avp]) -> ImCounters {
        ImCounters {
            sent: number_of(members, id::TOTAL_NUMBER_OF_MESSAGES_SENT),
            delivered: number_of(members, id::NUMBER_OF_MESSAGES_SUCCESSFULLY_SENT),
            exploded: number_of(members, id::TOTAL_NUMBER_OF_MESSAGES_EXPLODED),
            exploded_delivered: number_of(members, id::NUMBER_OF_MESSAGES_SUCCESSFULLY_EXPLODED),
        }
    }

    fn json(&self) -> String {
        let mut out = Json::begin();
        out.maybe_number("sent", self.sent);
        out.maybe_number("delivered", self.delivered);
        out.maybe_number("exploded", self.exploded);
        out.maybe_number("explodedDelivered", self.exploded_delivered);
        out.end()
    }
}

/// The line for a session that the CDF's supervision closed (S-33).
pub fn closed_line(session: &str, at: Wall, last_number: u32) -> String {
    let mut out = Json::begin();
    out.text("record", "CLOSED");
    out.number("number", last_number);
    out.text("sessionId", session);
    out.text("receivedAt", &at.to_string());
    out.text("reason", "no INTERIM_RECORD or STOP_RECORD in time");
    out.end()
}

/// An Unsigned32, or an Integer32 as some dictionaries have it.
fn number_of(avps: &[Avp], id: AvpId) -> Option<u32> {
    match avps.find(id)?.value {
        Value::Unsigned32(value) => Some(value),
        Value::Integer32(value) => u32::try_from(value).ok(),
        _ => None,
    }
}

fn instant(stamps: &[Avp], seconds: AvpId, fraction: AvpId) -> Option<Wall> {
    let millis = stamps.unsigned32(fraction).unwrap_or(0);
    let whole = Wall::from_secs(stamps.time(seconds)?);
    Some(Wall(whole.0.saturating_add(i64::from(millis))))
}

fn time(secs: i64) -> String {
    Wall::from_secs(secs).to_string()
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for octet in bytes {
        let _ = write!(out, "{octet:02x}");
    }
    out
}

/// A JSON object that is being written.
struct Json(String);

impl Json {
    fn begin() -> Json {
        Json("{".to_owned())
    }

    fn raw(&mut self, key: &str, value: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "\"{key}\":{value}");
    }

    fn text(&mut self, key: &str, value: &str) {
        self.raw(key, &quoted(value));
    }

    fn maybe_text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn number(&mut self, key: &str, value: impl std::fmt::Display) {
        self.raw(key, &value.to_string());
    }

    fn maybe_number(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.number(key, value);
        }
    }

    /// Left out if empty.
    fn list<T>(&mut self, key: &str, items: &[T], one: impl Fn(&T) -> String) {
        if !items.is_empty() {
            let items: Vec<String> = items.iter().map(one).collect();
            self.raw(key, &format!("[{}]", items.join(",")));
        }
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_text_is_quoted() {
        assert_eq!(quoted("a\"b\\c\n\u{1}ü"), "\"a\\\"b\\\\c\\n\\u0001ü\"");
    }
}
