//! The base protocol's own messages: DWR, DWA, DPR, DPA and error answers (RFC 6733, 5.4, 5.5, 7.2).

use bytes::Bytes;

use crate::diameter::Avp;
use crate::diameter::AvpId;
use crate::diameter::CommandFlags;
use crate::diameter::Dictionary;
use crate::diameter::Header;
use crate::diameter::Limits;
use crate::diameter::Message;
use crate::diameter::Problem;
use crate::diameter::Value;
use crate::diameter::View;
use crate::diameter::application;
use crate::diameter::check_grammar;
use crate::diameter::command;
use crate::diameter::decode;
use crate::diameter::id;
use crate::diameter::result_code;

use super::DisconnectCause;
use super::LocalIdentity;

/// What a base-protocol message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// CER.
    Cer,
    /// CEA.
    Cea,
    /// DWR.
    Dwr,
    /// DWA.
    Dwa,
    /// DPR.
    Dpr,
    /// DPA.
    Dpa,
    /// Anything else: an application's message, or one whose header is wrong.
    Message,
}

/// Tells the kind by Command-Code and R. The Application-ID is not asked: peers that put one into
/// a DWR are alive all the same.
pub fn kind(header: &Header) -> Kind {
    if header.version != 1 || header.flags.is_request() && header.flags.is_error() {
        return Kind::Message;
    }
    match (header.code, header.flags.is_request()) {
        (command::CAPABILITIES_EXCHANGE, true) => Kind::Cer,
        (command::CAPABILITIES_EXCHANGE, false) => Kind::Cea,
        (command::DEVICE_WATCHDOG, true) => Kind::Dwr,
        (command::DEVICE_WATCHDOG, false) => Kind::Dwa,
        (command::DISCONNECT_PEER, true) => Kind::Dpr,
        (command::DISCONNECT_PEER, false) => Kind::Dpa,
        _ => Kind::Message,
    }
}

/// A request of the base protocol with Origin-Host and Origin-Realm.
pub fn request(code: u32, identity: &LocalIdentity, hop_by_hop: u32, end_to_end: u32) -> Message {
    let mut message = Message::request(code, application::BASE, false);
    message.header.hop_by_hop = hop_by_hop;
    message.header.end_to_end = end_to_end;
    push_origin(&mut message, identity);
    message
}

/// Appends Origin-Host and Origin-Realm.
pub fn push_origin(message: &mut Message, identity: &LocalIdentity) {
    message.push(Avp::identity(id::ORIGIN_HOST, identity.host.as_str()));
    message.push(Avp::identity(id::ORIGIN_REALM, identity.realm.as_str()));
}

/// Appends Origin-State-Id, unless it is left out.
pub fn push_state_id(message: &mut Message, identity: &LocalIdentity) {
    if identity.origin_state_id != 0 {
        message.push(Avp::u32(id::ORIGIN_STATE_ID, identity.origin_state_id));
    }
}

/// DWR.
pub fn dwr(identity: &LocalIdentity, hop_by_hop: u32, end_to_end: u32) -> Message {
    let mut message = request(command::DEVICE_WATCHDOG, identity, hop_by_hop, end_to_end);
    push_state_id(&mut message, identity);
    message
}

/// DPR.
pub fn dpr(
    identity: &LocalIdentity,
    cause: DisconnectCause,
    hop_by_hop: u32,
    end_to_end: u32,
) -> Message {
    let mut message = request(command::DISCONNECT_PEER, identity, hop_by_hop, end_to_end);
    message.push(Avp::enumerated(id::DISCONNECT_CAUSE, cause.value()));
    message
}

/// The answer to a DWR or DPR. `refusal` is what is wrong with it, if anything is.
pub fn answer(
    request: &Header,
    identity: &LocalIdentity,
    result_code: u32,
    words: Option<&str>,
    failed: Option<Avp>,
) -> Message {
    let mut message = Message::answer_to(request);
    message.push(Avp::u32(id::RESULT_CODE, result_code));
    push_origin(&mut message, identity);
    push_error(&mut message, words, failed);
    if request.code == command::DEVICE_WATCHDOG {
        push_state_id(&mut message, identity);
    }
    message
}

/// Appends Error-Message and Failed-AVP.
pub fn push_error(message: &mut Message, words: Option<&str>, failed: Option<Avp>) {
    if let Some(words) = words {
        message.push(Avp::text(id::ERROR_MESSAGE, words));
    }
    if let Some(failed) = failed {
        message.push(Avp::group(id::FAILED_AVP, vec![failed]));
    }
}

/// An error answer to any request: Session-Id and Proxy-Info as they came, E for a protocol error
/// only (RFC 6733, 7.2; ). `octets` is the request.
pub fn error_answer(
    header: &Header,
    octets: &[u8],
    identity: &LocalIdentity,
    result_code: u32,
    words: &str,
    failed: Option<Avp>,
) -> Message {
    let mut message = Message::answer_to(header);
    if result_code::class(result_code) == result_code::Class::ProtocolError {
        message.header.flags = CommandFlags(message.header.flags.0 | CommandFlags::ERROR);
    }
    // Another version's AVPs cannot be read, so they cannot be returned.
    let view = View::new(octets, &Limits { message_bytes_max: u32::MAX, ..Limits::default() });
    let view = view.ok().filter(|view| view.header().version == 1);
    let echo = |avp_id: AvpId| {
        view.iter()
            .flat_map(|view| view.avps())
            .filter(move |avp| avp.id == avp_id)
            .map(move |avp| Avp::new(avp_id, Value::OctetString(Bytes::copy_from_slice(avp.data))))
    };
    message.avps.extend(echo(id::SESSION_ID).take(1));
    push_origin(&mut message, identity);
    message.push(Avp::u32(id::RESULT_CODE, result_code));
    push_error(&mut message, Some(words), failed);
    message.avps.extend(echo(id::PROXY_INFO));
    message
}

/// What is wrong with a request, if anything is: the first fault, as RFC 6733, 7 asks (H-36).
pub fn first_problem(
    octets: &Bytes,
    dictionary: &Dictionary,
    limits: &Limits,
) -> (Message, Option<Problem>) {
    let (message, problems) = decode(octets, dictionary, limits);
    let problem = match problems.into_iter().next() {
        Some(problem) => Some(problem),
        None => check_grammar(&message, dictionary).into_iter().next(),
    };
    (message, problem)
}
