//! AVP names in a mapping: looked up in the dictionary, with help for those it does not have.

use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Span;
use crate::diagnostic::suggest;
use crate::diameter::AvpDef;
use crate::diameter::AvpId;
use crate::diameter::Dictionary;
use crate::diameter::avp::id;

/// AVPs that the protocol machines set, and why a mapping cannot.
const RESERVED: &[(AvpId, &str)] = &[
    (id::SESSION_ID, "it names the charging session and never changes"),
    (id::ORIGIN_HOST, "it is `identity.host`"),
    (id::ORIGIN_REALM, "it is `identity.realm`"),
    (id::DESTINATION_HOST, "routing sets it: `quirks.send_destination_host`"),
    (id::DESTINATION_REALM, "it is the peer's `realm`"),
    (id::AUTH_APPLICATION_ID, "it follows from the command"),
    (id::ACCT_APPLICATION_ID, "it follows from the command"),
    (id::VENDOR_SPECIFIC_APPLICATION_ID, "it follows from the command"),
    (id::SERVICE_CONTEXT_ID, "it is `service_context_id` of the peer's profile"),
    (id::CC_REQUEST_TYPE, "it follows from the trigger"),
    (id::CC_REQUEST_NUMBER, "it counts the requests of the session"),
    (id::REQUESTED_ACTION, "it is the event's `action`"),
    (id::MULTIPLE_SERVICES_INDICATOR, "it belongs to the first interrogation"),
    (id::ACCOUNTING_RECORD_TYPE, "it follows from the trigger"),
    (id::ACCOUNTING_RECORD_NUMBER, "it counts the records of the session"),
    (id::EVENT_TIMESTAMP, "it is the trigger's `timestamp`"),
    (id::ORIGIN_STATE_ID, "it belongs to the store"),
    (id::ROUTE_RECORD, "agents set it"),
];

/// Why a mapping cannot set this AVP in a message, if it cannot.
pub(super) fn reserved(id: AvpId) -> Option<&'static str> {
    RESERVED.iter().find(|(reserved, _)| *reserved == id).map(|(_, why)| *why)
}

/// The AVP of this name.
///
/// # Errors
/// FB0107 with what was probably meant.
pub(super) fn avp<'d>(
    name: &str,
    dictionary: &'d Dictionary,
    span: &Span,
) -> Result<&'d AvpDef, Diagnostic> {
    if let Some(def) = dictionary.by_name(name) {
        return Ok(def);
    }
    let mut problem = Diagnostic::error(Code::FB0107, format!("unknown AVP `{name}`"))
        .at(span)
        .label("no dictionary has it");
    let near = suggest(name, dictionary.names()).and_then(|near| dictionary.by_name(near));
    if let Some(near) = near {
        let vendor = match near.id.vendor {
            0 => String::new(),
            vendor => match dictionary.vendor_name(vendor) {
                Some(name) => format!("{name}, "),
                None => format!("vendor {vendor}, "),
            },
        };
        let (name, code, kind) = (&near.name, near.id.code, near.kind.name());
        problem = problem.help(format!("did you mean `{name}` ({code}, {vendor}{kind})?"));
    }
    Err(problem.help("for an AVP the dictionary does not know, use `raw:` with code:vendor"))
}

/// An AVP as `code:vendor`, vendor a number or a name.
pub(super) fn by_number(text: &str, dictionary: &Dictionary) -> Option<AvpId> {
    let (code, vendor) = text.split_once(':').unwrap_or((text, "0"));
    let vendor = vendor.parse().ok().or_else(|| dictionary.vendor(vendor))?;
    Some(AvpId { code: code.parse().ok()?, vendor })
}

/// The ids along `Group/Member`; each part a name or `code:vendor`.
///
/// # Errors
/// The first part that names no AVP.
pub(super) fn avp_path(
    path: &str,
    dictionary: &Dictionary,
    span: &Span,
) -> Result<Vec<AvpId>, Diagnostic> {
    path.split('/')
        .map(|part| match by_number(part, dictionary) {
            Some(id) => Ok(id),
            None => avp(part, dictionary, span).map(|def| def.id),
        })
        .collect()
}
