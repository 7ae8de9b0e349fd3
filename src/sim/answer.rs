//! What the simulated OCS and CDF have in common: who answers, and what is refused before
//! charging begins (RFC 6733, 6.1 and 7).

use crate::diameter::Avp;
use crate::diameter::AvpFlags;
use crate::diameter::AvpId;
use crate::diameter::AvpList;
use crate::diameter::CommandFlags;
use crate::diameter::Dictionary;
use crate::diameter::Limits;
use crate::diameter::Message;
use crate::diameter::Problem;
use crate::diameter::Value;
use crate::diameter::View;
use crate::diameter::application;
use crate::diameter::check_grammar;
use crate::diameter::command;
use crate::diameter::id;
use crate::diameter::result_code;
use crate::diameter::value::identity_eq;

/// Who a simulated server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Origin-Host.
    pub host: String,
    /// Origin-Realm.
    pub realm: String,
    /// Refuse what is addressed to another host (3002) or realm (3003)?
    pub check_destination: bool,
}

impl Identity {
    /// A server that refuses what is not addressed to it.
    pub fn new(host: impl Into<String>, realm: impl Into<String>) -> Identity {
        Identity { host: host.into(), realm: realm.into(), check_destination: true }
    }
}

/// A decoded request with what the judge wants to know beside it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The request.
    pub message: &'a Message,
    /// What the codec found wrong.
    pub problems: &'a [Problem],
    /// Equal for two wire copies of one request, see [`fingerprint`].
    pub fingerprint: u64,
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Result-Code.
    pub code: u32,
    /// The member of Failed-AVP.
    pub failed: Option<Avp>,
    /// Error-Message.
    pub detail: String,
}

impl Refusal {
    /// Without Failed-AVP.
    pub fn new(code: u32, detail: impl Into<String>) -> Refusal {
        Refusal { code, failed: None, detail: detail.into() }
    }

    /// With Failed-AVP.
    pub fn of(code: u32, failed: Avp, detail: impl Into<String>) -> Refusal {
        Refusal { code, failed: Some(failed), detail: detail.into() }
    }
}

/// A number over everything that may not differ between two wire copies of one request: all but
/// Hop-by-Hop, End-to-End (compared apart), T, the length and Destination-Host (proof.md, I-6).
pub fn fingerprint(bytes: &[u8]) -> u64 {
    // FNV-1a: enough to tell copies from different requests, and the same on every machine.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |octets: &[u8]| {
        for octet in octets {
            hash = (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    let Ok(view) = View::new(bytes, &Limits::default()) else {
        add(bytes);
        return hash;
    };
    let header = view.header();
    add(&[header.flags.0 & !CommandFlags::RETRANSMIT]);
    add(&header.code.to_be_bytes());
    add(&header.application.to_be_bytes());
    for avp in view.avps() {
        if avp.id != id::DESTINATION_HOST {
            add(&avp.id.code.to_be_bytes());
            add(&avp.id.vendor.to_be_bytes());
            add(&[avp.flags.0]);
            add(avp.data);
        }
    }
    hash
}

/// The refusal of a request that a server of `command` and `application` cannot take, if any.
///
/// Header and form first, then the command, then its grammar, then its destination; only the
/// first finding counts (RFC 6733, 7).
pub fn refuse(
    identity: &Identity,
    request: &Request<'_>,
    wanted: (u32, u32),
    dictionary: &Dictionary,
) -> Option<Refusal> {
    let message = request.message;
    let (code, application) = wanted;
    if message.header.code != code {
        let detail = format!("command {} is not served here", message.header.code);
        return Some(Refusal::new(result_code::COMMAND_UNSUPPORTED, detail));
    }
    if message.header.application != application {
        let detail = format!("application {} is not served here", message.header.application);
        return Some(Refusal::new(result_code::APPLICATION_UNSUPPORTED, detail));
    }
    if let Some(problem) = request.problems.first() {
        return Some(of_problem(problem));
    }
    if let Some(problem) = check_grammar(message, dictionary).first() {
        return Some(of_problem(problem));
    }
    let of_application = match application {
        application::ACCOUNTING => id::ACCT_APPLICATION_ID,
        _ => id::AUTH_APPLICATION_ID,
    };
    if let Some(avp) = message.find(of_application)
        && avp.value != Value::Unsigned32(application)
    {
        let detail = "the AVP differs from the header's Application-Id";
        return Some(Refusal::of(result_code::INVALID_AVP_VALUE, avp.clone(), detail));
    }
    if identity.check_destination { wrong_destination(identity, message) } else { None }
}

fn of_problem(problem: &Problem) -> Refusal {
    Refusal {
        code: problem.result_code,
        failed: problem.failed_avp.clone(),
        detail: problem.detail.clone(),
    }
}

fn wrong_destination(identity: &Identity, message: &Message) -> Option<Refusal> {
    let realm = message.text(id::DESTINATION_REALM).unwrap_or("");
    if !identity_eq(realm, &identity.realm) {
        let detail = format!("realm {realm} is not served here");
        return Some(Refusal::new(result_code::REALM_NOT_SERVED, detail));
    }
    let host = message.text(id::DESTINATION_HOST)?;
    if identity_eq(host, &identity.host) {
        return None;
    }
    let detail = format!("no connection to {host}");
    Some(Refusal::new(result_code::UNABLE_TO_DELIVER, detail))
}

/// An answer with the AVPs that every answer has: Session-Id, Result-Code, origin, the echo of
/// what names the request, and Proxy-Info. E is set for 3xxx (RFC 6733, 7.1.3).
pub fn answer(identity: &Identity, request: &Message, code: u32) -> Message {
    let mut answer = Message::answer_to(&request.header);
    if result_code::class(code) == result_code::Class::ProtocolError {
        answer.header.flags.0 |= CommandFlags::ERROR;
    }
    if let Some(session) = request.find(id::SESSION_ID) {
        answer.push(session.clone());
    }
    answer.push(Avp::u32(id::RESULT_CODE, code));
    answer.push(Avp::identity(id::ORIGIN_HOST, &identity.host));
    answer.push(Avp::identity(id::ORIGIN_REALM, &identity.realm));
    let echoed: &[AvpId] = match request.header.code {
        command::CREDIT_CONTROL => {
            answer.push(Avp::u32(id::AUTH_APPLICATION_ID, application::CREDIT_CONTROL));
            &[id::CC_REQUEST_TYPE, id::CC_REQUEST_NUMBER]
        }
        command::ACCOUNTING => {
            answer.push(Avp::u32(id::ACCT_APPLICATION_ID, application::ACCOUNTING));
            &[
                id::ACCOUNTING_RECORD_TYPE,
                id::ACCOUNTING_RECORD_NUMBER,
                id::ACCT_MULTI_SESSION_ID,
                id::ACCOUNTING_SUB_SESSION_ID,
            ]
        }
        _ => &[],
    };
    for echo in echoed.iter().filter_map(|id| request.find(*id)) {
        answer.push(echo.clone());
    }
    for proxy in request.all(id::PROXY_INFO) {
        answer.push(proxy.clone());
    }
    answer
}

/// The answer to a request that is refused.
pub fn refusal(identity: &Identity, request: &Message, refusal: &Refusal) -> Message {
    let mut answer = answer(identity, request, refusal.code);
    if !refusal.detail.is_empty() {
        answer.push(Avp {
            flags: AvpFlags::optional_for(id::ERROR_MESSAGE),
            ..Avp::text(id::ERROR_MESSAGE, refusal.detail.clone())
        });
    }
    if let Some(failed) = &refusal.failed {
        answer.push(Avp::group(id::FAILED_AVP, vec![failed.clone()]));
    }
    answer
}

/// The name of the request in metrics, faults and reports; `None` if it is no charging request.
pub fn command_name(message: &Message) -> Option<&'static str> {
    match message.header.code {
        command::CREDIT_CONTROL => Some(match message.enumerated(id::CC_REQUEST_TYPE) {
            Some(1) => "CCR-I",
            Some(2) => "CCR-U",
            Some(3) => "CCR-T",
            Some(4) => "CCR-E",
            _ => "CCR",
        }),
        command::ACCOUNTING => Some(match message.enumerated(id::ACCOUNTING_RECORD_TYPE) {
            Some(1) => "ACR-EVENT",
            Some(2) => "ACR-START",
            Some(3) => "ACR-INTERIM",
            Some(4) => "ACR-STOP",
            _ => "ACR",
        }),
        _ => None,
    }
}

/// Type and data of every Subscription-Id in `avps`.
pub fn subscriptions(avps: &[Avp]) -> Vec<(i32, String)> {
    avps.all(id::SUBSCRIPTION_ID)
        .filter_map(Avp::members)
        .filter_map(|members| {
            let kind = members.enumerated(id::SUBSCRIPTION_ID_TYPE)?;
            Some((kind, members.text(id::SUBSCRIPTION_ID_DATA)?.to_owned()))
        })
        .collect()
}

/// Every Subscription-Id of a request: at command level (Ro) and in Service-Information (Rf).
pub fn all_subscriptions(message: &Message) -> Vec<(i32, String)> {
    let mut found = subscriptions(&message.avps);
    if let Some(members) = message.group(id::SERVICE_INFORMATION) {
        found.extend(subscriptions(members));
    }
    found
}
