//! The capabilities exchange (RFC 6733, 5.3): CER and CEA, and what to make of the peer's.
//!
//! Judges; does not know connections. A refusal says whose it is to fix, and how.

use crate::diameter::Address;
use crate::diameter::Avp;
use crate::diameter::AvpList;
use crate::diameter::Header;
use crate::diameter::Message;
use crate::diameter::Problem;
use crate::diameter::ProblemKind;
use crate::diameter::application;
use crate::diameter::command;
use crate::diameter::id;
use crate::diameter::result_code;
use crate::diameter::value::identity_eq;

use super::Application;
use super::ApplicationKind;
use super::LocalIdentity;
use super::PeerState;
use super::base;

/// 3GPP: the vendor whose AVPs Ro and Rf messages carry.
const SUPPORTED_VENDOR: u32 = 10415;

/// Application ids that are kept of a peer; real ones tell a dozen.
const APPLICATIONS_MAX: usize = 256;

/// What a peer says of itself in CER or CEA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Origin-Host.
    pub origin_host: String,
    /// Origin-Realm.
    pub origin_realm: String,
    /// Product-Name.
    pub product_name: String,
    /// Vendor-Id.
    pub vendor_id: u32,
    /// Origin-State-Id.
    pub origin_state_id: Option<u32>,
    /// What it supports, in the order told.
    pub applications: Vec<Application>,
}

impl Capabilities {
    /// Reads what is there.
    pub fn of(message: &Message) -> Capabilities {
        let text = |avp| message.text(avp).unwrap_or_default().to_owned();
        Capabilities {
            origin_host: text(id::ORIGIN_HOST),
            origin_realm: text(id::ORIGIN_REALM),
            product_name: text(id::PRODUCT_NAME),
            vendor_id: message.unsigned32(id::VENDOR_ID).unwrap_or(0),
            origin_state_id: message.unsigned32(id::ORIGIN_STATE_ID),
            applications: applications_of(message),
        }
    }

    /// A relay supports every application (P-14).
    pub fn is_relay(&self) -> bool {
        self.applications.iter().any(|told| told.id() == application::RELAY)
    }

    /// Ids of `ours` that the peer supports. The vendor inside Vendor-Specific-Application-Id and
    /// the kind of AVP do not count (RFC 6733, 5.3; P-16).
    pub fn common(&self, ours: &[Application]) -> Vec<u32> {
        let relay = self.is_relay();
        let mut common: Vec<u32> = ours
            .iter()
            .map(|our| our.id())
            .filter(|our| relay || self.applications.iter().any(|told| told.id() == *our))
            .collect();
        common.sort_unstable();
        common.dedup();
        common
    }
}

/// What came of the exchange.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The connection may be used.
    Agreed {
        /// The peer.
        peer: Capabilities,
        /// Shared application ids, ascending.
        common: Vec<u32>,
    },
    /// It may not.
    Refused(Refusal),
}

impl Verdict {
    /// Holds the peer against the certificate of its connection: `names` is what that proves, and
    /// `None` if the connection is not TLS (SEC-02).
    pub fn proven(self, needs_tls: bool, names: Option<&[String]>) -> Verdict {
        let Verdict::Agreed { peer, .. } = &self else { return self };
        let host = &peer.origin_host;
        let (code, reason) = match names {
            None if needs_tls => {
                let reason = "it must connect with TLS, as its `tls` in our configuration says";
                (result_code::NO_COMMON_SECURITY, reason.to_owned())
            }
            Some(names) if !names.iter().any(|name| identity_eq(name, host)) => {
                let names = names.join("`, `");
                let reason = format!("it calls itself `{host}`; its certificate is for `{names}`");
                (result_code::UNKNOWN_PEER, reason)
            }
            _ => return self,
        };
        Verdict::Refused(Refusal::new(PeerState::BadRemote, code, reason))
    }
}

/// Why a connection may not be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// [`PeerState::BadConfig`], [`PeerState::BadRemote`], or [`PeerState::Down`] if nobody is wrong.
    pub fault: PeerState,
    /// What is wrong and what would help.
    pub reason: String,
    /// Result-Code: ours for the CEA to a CER, or the peer's.
    pub result_code: u32,
    /// For Failed-AVP.
    pub failed: Option<Avp>,
}

impl Refusal {
    fn new(fault: PeerState, result_code: u32, reason: String) -> Refusal {
        Refusal { fault, reason, result_code, failed: None }
    }

    /// For a peer that the operator has taken out of service.
    pub fn in_maintenance() -> Refusal {
        let code = result_code::UNABLE_TO_COMPLY;
        Refusal::new(PeerState::Down, code, "in maintenance here".to_owned())
    }
}

/// What is expected of the peer.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Our own identity.
    pub local: &'a LocalIdentity,
    /// Its Origin-Host, unless any will do.
    pub host: Option<&'a str>,
    /// What we support towards it.
    pub applications: &'a [Application],
}

/// CER.
pub fn cer(
    identity: &LocalIdentity,
    applications: &[Application],
    addresses: &[Address],
    hop_by_hop: u32,
    end_to_end: u32,
) -> Message {
    let code = command::CAPABILITIES_EXCHANGE;
    let mut message = base::request(code, identity, hop_by_hop, end_to_end);
    push_node(&mut message, identity, addresses);
    base::push_state_id(&mut message, identity);
    push_support(&mut message, identity, applications);
    message
}

/// CEA. With a refusal its Result-Code, Error-Message and Failed-AVP; what we support is told all
/// the same, as a hint (RFC 6733, 5.3).
pub fn cea(
    request: &Header,
    identity: &LocalIdentity,
    applications: &[Application],
    addresses: &[Address],
    refusal: Option<&Refusal>,
) -> Message {
    let mut message = Message::answer_to(request);
    let code = refusal.map_or(result_code::SUCCESS, |refusal| refusal.result_code);
    if result_code::class(code) == result_code::Class::ProtocolError {
        message.header.flags.0 |= crate::diameter::CommandFlags::ERROR;
    }
    message.push(Avp::u32(id::RESULT_CODE, code));
    base::push_origin(&mut message, identity);
    push_node(&mut message, identity, addresses);
    base::push_state_id(&mut message, identity);
    if let Some(refusal) = refusal {
        base::push_error(&mut message, Some(&refusal.reason), refusal.failed.clone());
    }
    push_support(&mut message, identity, applications);
    message
}

fn push_node(message: &mut Message, identity: &LocalIdentity, addresses: &[Address]) {
    let told = if identity.addresses.is_empty() { addresses } else { &identity.addresses };
    for address in told {
        message.push(Avp::address(id::HOST_IP_ADDRESS, address.clone()));
    }
    message.push(Avp::u32(id::VENDOR_ID, identity.vendor_id));
    message.push(Avp::text(id::PRODUCT_NAME, identity.product_name.as_str()));
}

fn push_support(message: &mut Message, identity: &LocalIdentity, applications: &[Application]) {
    let mut vendors: Vec<u32> = applications.iter().filter_map(|one| one.vendor).collect();
    vendors.push(SUPPORTED_VENDOR);
    vendors.sort_unstable();
    vendors.dedup();
    // 0 must not be sent (RFC 6733, 5.3.6; P-17).
    for vendor in vendors.into_iter().filter(|vendor| *vendor != 0) {
        message.push(Avp::u32(id::SUPPORTED_VENDOR_ID, vendor));
    }
    let avp = |one: &Application| match one.kind {
        ApplicationKind::Auth(number) => Avp::u32(id::AUTH_APPLICATION_ID, number),
        ApplicationKind::Acct(number) => Avp::u32(id::ACCT_APPLICATION_ID, number),
    };
    let plain = applications.iter().filter(|one| one.vendor.is_none());
    // In the order of the command's grammar: Auth before Acct.
    let (auth, acct): (Vec<&Application>, Vec<&Application>) =
        plain.partition(|one| matches!(one.kind, ApplicationKind::Auth(_)));
    message.avps.extend(auth.into_iter().chain(acct).map(avp));
    for one in applications {
        if let Some(vendor) = one.vendor {
            let members = vec![Avp::u32(id::VENDOR_ID, vendor), avp(one)];
            message.push(Avp::group(id::VENDOR_SPECIFIC_APPLICATION_ID, members));
        }
    }
    if let Some(revision) = identity.firmware_revision {
        message.push(Avp::u32(id::FIRMWARE_REVISION, revision));
    }
}

/// Every application id of CER or CEA. A broken group gives what can be read of it.
fn applications_of(message: &Message) -> Vec<Application> {
    fn kind_of(avp: &Avp) -> Option<ApplicationKind> {
        let number = match avp.value {
            crate::diameter::Value::Unsigned32(number) => number,
            _ => return None,
        };
        match avp.id {
            id::AUTH_APPLICATION_ID => Some(ApplicationKind::Auth(number)),
            id::ACCT_APPLICATION_ID => Some(ApplicationKind::Acct(number)),
            _ => None,
        }
    }
    let mut found = Vec::new();
    for avp in &message.avps {
        if avp.id == id::VENDOR_SPECIFIC_APPLICATION_ID {
            let members = avp.members().unwrap_or_default();
            let vendor = Some(members.unsigned32(id::VENDOR_ID).unwrap_or(0));
            let kinds = members.iter().filter_map(kind_of);
            found.extend(kinds.map(|kind| Application { kind, vendor }));
        } else {
            found.extend(kind_of(avp).map(|kind| Application { kind, vendor: None }));
        }
        if found.len() >= APPLICATIONS_MAX {
            break;
        }
    }
    found.truncate(APPLICATIONS_MAX);
    found
}

/// Judges the CER of an incoming connection. `problem` is the first fault of the message, if any.
pub fn judge_cer(message: &Message, problem: Option<Problem>, expected: Expected<'_>) -> Verdict {
    if let Some(problem) = problem {
        return Verdict::Refused(Refusal {
            fault: PeerState::BadRemote,
            reason: format!("its CER is wrong: {}", problem.detail),
            result_code: problem.result_code,
            failed: problem.failed_avp,
        });
    }
    let peer = Capabilities::of(message);
    if let Some(reason) = stranger(&peer, expected) {
        let code = result_code::UNKNOWN_PEER;
        return Verdict::Refused(Refusal::new(PeerState::BadConfig, code, reason));
    }
    // Without the AVP a peer asks for no in-band security; so does 0 in it.
    let security: Vec<u32> = message
        .all(id::INBAND_SECURITY_ID)
        .filter_map(|avp| match avp.value {
            crate::diameter::Value::Unsigned32(number) => Some(number),
            _ => None,
        })
        .collect();
    if !security.is_empty() && !security.contains(&0) {
        return Verdict::Refused(Refusal::new(
            PeerState::BadRemote,
            result_code::NO_COMMON_SECURITY,
            "it asks for in-band security, which is not supported; use a TLS connection".into(),
        ));
    }
    agree(peer, expected)
}

/// Judges a CEA. `problems` are all faults of the message.
pub fn judge_cea(message: &Message, problems: &[Problem], expected: Expected<'_>) -> Verdict {
    let peer = Capabilities::of(message);
    let Some(code) = message.unsigned32(id::RESULT_CODE) else {
        let reason = "its CEA has no Result-Code".to_owned();
        return Verdict::Refused(Refusal::new(PeerState::BadRemote, 0, reason));
    };
    if result_code::class(code) != result_code::Class::Success || message.header.flags.is_error() {
        return Verdict::Refused(refused_by_peer(code, message, &peer, expected));
    }
    // An answer with an unknown AVP and M is failed (H-27); what else is odd harms nobody.
    if let Some(problem) = problems.iter().find(|one| one.kind == ProblemKind::UnknownAvp) {
        let avp = problem.avp.map_or_else(String::new, |avp| format!(" {avp}"));
        let reason = format!("its CEA demands support of the unknown AVP{avp} (M is set)");
        return Verdict::Refused(Refusal::new(PeerState::BadRemote, code, reason));
    }
    if peer.origin_host.is_empty() {
        let reason = "its CEA has no Origin-Host".to_owned();
        return Verdict::Refused(Refusal::new(PeerState::BadRemote, code, reason));
    }
    if let Some(reason) = stranger(&peer, expected) {
        return Verdict::Refused(Refusal::new(PeerState::BadConfig, code, reason));
    }
    agree(peer, expected)
}

/// Why the peer is not the one we mean.
fn stranger(peer: &Capabilities, expected: Expected<'_>) -> Option<String> {
    let told = &peer.origin_host;
    if identity_eq(told, &expected.local.host) {
        return Some(format!("it calls itself `{told}`, which is our own Origin-Host"));
    }
    let host = expected.host?;
    (!identity_eq(host, told)).then(|| format!("it calls itself `{told}`; expected `{host}`"))
}

fn agree(peer: Capabilities, expected: Expected<'_>) -> Verdict {
    let common = peer.common(expected.applications);
    if common.is_empty() {
        let code = result_code::NO_COMMON_APPLICATION;
        let reason = no_common(&peer, expected.applications);
        return Verdict::Refused(Refusal::new(PeerState::BadConfig, code, reason));
    }
    Verdict::Agreed { peer, common }
}

fn list(applications: &[Application]) -> String {
    let words: Vec<String> = applications.iter().map(Application::to_string).collect();
    format!("[{}]", words.join(", "))
}

fn no_common(peer: &Capabilities, ours: &[Application]) -> String {
    if peer.applications.is_empty() {
        return format!("no common application: it offers none, we offer {}", list(ours));
    }
    format!(
        "no common application: it offers {0}, we offer {1}; set `applications: {0}` if these are \
         what it should serve",
        list(&peer.applications),
        list(ours)
    )
}

/// What a CEA without success means, and whose it is to fix.
fn refused_by_peer(
    code: u32,
    message: &Message,
    peer: &Capabilities,
    expected: Expected<'_>,
) -> Refusal {
    let local = &expected.local.host;
    let (fault, words) = match code {
        result_code::UNKNOWN_PEER => (
            PeerState::BadConfig,
            format!(
                "it does not know `{local}`: let its operator add us, or correct identity.host"
            ),
        ),
        result_code::NO_COMMON_APPLICATION => {
            (PeerState::BadConfig, no_common(peer, expected.applications))
        }
        result_code::NO_COMMON_SECURITY => {
            (PeerState::BadConfig, "it wants TLS: set `tls: require` on the peer".to_owned())
        }
        result_code::ELECTION_LOST => {
            (PeerState::Down, "it prefers the connection that it made to us".to_owned())
        }
        _ => (PeerState::BadRemote, "it refuses the capabilities exchange".to_owned()),
    };
    let name = result_code::name(code).unwrap_or("unknown Result-Code");
    // For people only: nothing is decided by Error-Message.
    let said = message.text(id::ERROR_MESSAGE).map_or_else(String::new, |said| {
        format!(" (it says \"{}\")", said.chars().take(200).collect::<String>())
    });
    Refusal::new(fault, code, format!("{code} {name}: {words}{said}"))
}
