//! What is wrong with a message that a peer sent, ready for an answer's Failed-AVP.

use super::avp::{Avp, AvpId};
use super::dictionary::Kind;
use super::result_code;
use super::value::Value;

/// The situation; [`Problem::result_code`] is its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// Version is not 1: 5011.
    UnsupportedVersion,
    /// Message Length below 20, no multiple of 4, or not what arrived: 5015.
    InvalidMessageLength,
    /// E in a request: 3008.
    InvalidHeaderBits,
    /// Unknown AVP with M: 5001.
    UnknownAvp,
    /// Content that the type does not allow: 5004.
    InvalidAvpValue,
    /// Length that does not fit: 5014.
    InvalidAvpLength,
    /// Required AVP is missing: 5005.
    MissingAvp,
    /// AVP that the grammar does not allow here: 5008.
    AvpNotAllowed,
    /// More instances than the grammar allows: 5009.
    TooManyAvps,
    /// Fixed AVP not at its position: 5008. Only [`super::check_order`] reports it.
    Misplaced,
    /// Nested too deep or too many AVPs: 5012.
    LimitExceeded,
}

impl ProblemKind {
    /// The Result-Code for an answer.
    pub const fn result_code(self) -> u32 {
        match self {
            ProblemKind::UnsupportedVersion => result_code::UNSUPPORTED_VERSION,
            ProblemKind::InvalidMessageLength => result_code::INVALID_MESSAGE_LENGTH,
            ProblemKind::InvalidHeaderBits => result_code::INVALID_HDR_BITS,
            ProblemKind::UnknownAvp => result_code::AVP_UNSUPPORTED,
            ProblemKind::InvalidAvpValue => result_code::INVALID_AVP_VALUE,
            ProblemKind::InvalidAvpLength => result_code::INVALID_AVP_LENGTH,
            ProblemKind::MissingAvp => result_code::MISSING_AVP,
            ProblemKind::AvpNotAllowed | ProblemKind::Misplaced => result_code::AVP_NOT_ALLOWED,
            ProblemKind::TooManyAvps => result_code::AVP_OCCURS_TOO_MANY_TIMES,
            ProblemKind::LimitExceeded => result_code::UNABLE_TO_COMPLY,
        }
    }
}

/// One thing that is wrong. The first of a list is the one to report (RFC 6733, 7).
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The situation.
    pub kind: ProblemKind,
    /// The Result-Code for an answer.
    pub result_code: u32,
    /// Octet of the message at which the offending AVP or field begins.
    pub offset: usize,
    /// The offending or missing AVP.
    pub avp: Option<AvpId>,
    /// What Failed-AVP has to contain (RFC 6733, 7.5), inside the groups it stood in.
    pub failed_avp: Option<Avp>,
    /// What is wrong, for people.
    pub detail: String,
}

impl Problem {
    /// A problem of the header.
    pub fn of_header(kind: ProblemKind, offset: usize, detail: impl Into<String>) -> Problem {
        Problem {
            kind,
            result_code: kind.result_code(),
            offset,
            avp: None,
            failed_avp: None,
            detail: detail.into(),
        }
    }

    /// A problem of an AVP.
    pub fn of_avp(
        kind: ProblemKind,
        offset: usize,
        failed: Avp,
        id: AvpId,
        detail: impl Into<String>,
    ) -> Problem {
        Problem {
            kind,
            result_code: kind.result_code(),
            offset,
            avp: Some(id),
            failed_avp: Some(failed),
            detail: detail.into(),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.result_code)?;
        if let Some(name) = result_code::name(self.result_code) {
            write!(f, " {name}")?;
        }
        write!(f, " at {:04x}", self.offset)?;
        if let Some(id) = self.avp {
            write!(f, ", AVP {id}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// Zero-filled data of the minimum length of a type, for Failed-AVP (RFC 6733, 7.1.5).
pub fn minimum_value(kind: Option<Kind>) -> Value {
    const ZEROS: [u8; 8] = [0; 8];
    let octets = match kind {
        Some(Kind::Grouped) => return Value::Grouped(Vec::new()),
        Some(
            Kind::Integer32 | Kind::Unsigned32 | Kind::Float32 | Kind::Time | Kind::Enumerated,
        ) => 4,
        Some(Kind::Integer64 | Kind::Unsigned64 | Kind::Float64) => 8,
        // Family and an IPv4 address.
        Some(Kind::Address) => 6,
        _ => 0,
    };
    Value::OctetString(bytes::Bytes::from_static(&ZEROS[..octets]))
}
