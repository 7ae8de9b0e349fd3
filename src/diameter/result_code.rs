//! Result-Codes: one table of number, name and meaning (RFC 6733, 7.1; RFC 8506, 9).

/// The first digit of a Result-Code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// 1xxx.
    Informational,
    /// 2xxx.
    Success,
    /// 3xxx, only with E set.
    ProtocolError,
    /// 4xxx, never with E set.
    TransientFailure,
    /// 5xxx, and every class that is not defined (RFC 6733, 7.1).
    PermanentFailure,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultCode {
    /// The number.
    pub code: u32,
    /// The RFC's name.
    pub name: &'static str,
    /// What it says, in a sentence.
    pub meaning: &'static str,
    /// Where it is defined.
    pub source: &'static str,
}

macro_rules! result_codes {
    ($($constant:ident $code:literal $name:literal $source:literal $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $constant: u32 = $code;
        )*

        /// The table, ascending.
        pub const ALL: &[ResultCode] = &[
            $(ResultCode { code: $code, name: $name, meaning: $meaning, source: $source }),*
        ];
    };
}

result_codes! {
    MULTI_ROUND_AUTH 1001 "DIAMETER_MULTI_ROUND_AUTH" "RFC 6733, 7.1.1" "Authentication needs more round trips.";
    SUCCESS 2001 "DIAMETER_SUCCESS" "RFC 6733, 7.1.2" "The request was completed.";
    LIMITED_SUCCESS 2002 "DIAMETER_LIMITED_SUCCESS" "RFC 6733, 7.1.2" "The request was completed, but the application has more to do.";
    COMMAND_UNSUPPORTED 3001 "DIAMETER_COMMAND_UNSUPPORTED" "RFC 6733, 7.1.3" "The command code is not supported.";
    UNABLE_TO_DELIVER 3002 "DIAMETER_UNABLE_TO_DELIVER" "RFC 6733, 7.1.3" "The message cannot be delivered: no host of the realm serves the application, or Destination-Realm is missing.";
    REALM_NOT_SERVED 3003 "DIAMETER_REALM_NOT_SERVED" "RFC 6733, 7.1.3" "The realm is not recognized.";
    TOO_BUSY 3004 "DIAMETER_TOO_BUSY" "RFC 6733, 7.1.3" "The named server cannot serve now; try an alternate peer.";
    LOOP_DETECTED 3005 "DIAMETER_LOOP_DETECTED" "RFC 6733, 7.1.3" "An agent saw the message twice.";
    REDIRECT_INDICATION 3006 "DIAMETER_REDIRECT_INDICATION" "RFC 6733, 7.1.3" "Send the request to one of the Redirect-Host servers.";
    APPLICATION_UNSUPPORTED 3007 "DIAMETER_APPLICATION_UNSUPPORTED" "RFC 6733, 7.1.3" "The application is not supported.";
    INVALID_HDR_BITS 3008 "DIAMETER_INVALID_HDR_BITS" "RFC 6733, 7.1.3" "Header bits are an invalid combination, or do not suit the command.";
    INVALID_AVP_BITS 3009 "DIAMETER_INVALID_AVP_BITS" "RFC 6733, 7.1.3" "AVP flag bits are unknown, or do not suit the AVP.";
    UNKNOWN_PEER 3010 "DIAMETER_UNKNOWN_PEER" "RFC 6733, 7.1.3" "A CER came from an unknown peer.";
    AUTHENTICATION_REJECTED 4001 "DIAMETER_AUTHENTICATION_REJECTED" "RFC 6733, 7.1.4" "The user's authentication failed.";
    OUT_OF_SPACE 4002 "DIAMETER_OUT_OF_SPACE" "RFC 6733, 7.1.4" "The accounting record could not be stored for lack of space.";
    ELECTION_LOST 4003 "ELECTION_LOST" "RFC 6733, 7.1.4" "The peer lost the election and closed this connection.";
    END_USER_SERVICE_DENIED 4010 "DIAMETER_END_USER_SERVICE_DENIED" "RFC 8506, 9.1" "The service is denied for service restrictions; used units are deducted, if possible.";
    CREDIT_CONTROL_NOT_APPLICABLE 4011 "DIAMETER_CREDIT_CONTROL_NOT_APPLICABLE" "RFC 8506, 9.1" "The service is granted without further credit control, for example because it is free.";
    CREDIT_LIMIT_REACHED 4012 "DIAMETER_CREDIT_LIMIT_REACHED" "RFC 8506, 9.1" "The account cannot cover the service; used units are deducted, if possible.";
    AVP_UNSUPPORTED 5001 "DIAMETER_AVP_UNSUPPORTED" "RFC 6733, 7.1.5" "An AVP with the M bit is not supported; see Failed-AVP.";
    UNKNOWN_SESSION_ID 5002 "DIAMETER_UNKNOWN_SESSION_ID" "RFC 6733, 7.1.5" "The server does not know the Session-Id.";
    AUTHORIZATION_REJECTED 5003 "DIAMETER_AUTHORIZATION_REJECTED" "RFC 6733, 7.1.5" "The user is not authorized for the service.";
    INVALID_AVP_VALUE 5004 "DIAMETER_INVALID_AVP_VALUE" "RFC 6733, 7.1.5" "An AVP has an invalid value; see Failed-AVP.";
    MISSING_AVP 5005 "DIAMETER_MISSING_AVP" "RFC 6733, 7.1.5" "A required AVP is missing; Failed-AVP has an example of it.";
    RESOURCES_EXCEEDED 5006 "DIAMETER_RESOURCES_EXCEEDED" "RFC 6733, 7.1.5" "The user has already used up the allowed resources.";
    CONTRADICTING_AVPS 5007 "DIAMETER_CONTRADICTING_AVPS" "RFC 6733, 7.1.5" "AVPs contradict each other; see Failed-AVP.";
    AVP_NOT_ALLOWED 5008 "DIAMETER_AVP_NOT_ALLOWED" "RFC 6733, 7.1.5" "An AVP is present that must not be; see Failed-AVP.";
    AVP_OCCURS_TOO_MANY_TIMES 5009 "DIAMETER_AVP_OCCURS_TOO_MANY_TIMES" "RFC 6733, 7.1.5" "An AVP appears more often than allowed; see Failed-AVP.";
    NO_COMMON_APPLICATION 5010 "DIAMETER_NO_COMMON_APPLICATION" "RFC 6733, 7.1.5" "The peers share no application.";
    UNSUPPORTED_VERSION 5011 "DIAMETER_UNSUPPORTED_VERSION" "RFC 6733, 7.1.5" "The header's version is not supported.";
    UNABLE_TO_COMPLY 5012 "DIAMETER_UNABLE_TO_COMPLY" "RFC 6733, 7.1.5" "The request is rejected for unspecified reasons.";
    INVALID_BIT_IN_HEADER 5013 "DIAMETER_INVALID_BIT_IN_HEADER" "RFC 6733, 7.1.5" "A reserved header bit is set.";
    INVALID_AVP_LENGTH 5014 "DIAMETER_INVALID_AVP_LENGTH" "RFC 6733, 7.1.5" "An AVP has an invalid length; see Failed-AVP.";
    INVALID_MESSAGE_LENGTH 5015 "DIAMETER_INVALID_MESSAGE_LENGTH" "RFC 6733, 7.1.5" "The Message Length is invalid.";
    INVALID_AVP_BIT_COMBO 5016 "DIAMETER_INVALID_AVP_BIT_COMBO" "RFC 6733, 7.1.5" "An AVP's flags do not suit its value; see Failed-AVP.";
    NO_COMMON_SECURITY 5017 "DIAMETER_NO_COMMON_SECURITY" "RFC 6733, 7.1.5" "The peers share no security mechanism.";
    USER_UNKNOWN 5030 "DIAMETER_USER_UNKNOWN" "RFC 8506, 9.2" "The server does not know the end user.";
    RATING_FAILED 5031 "DIAMETER_RATING_FAILED" "RFC 8506, 9.2" "The request cannot be rated: insufficient input or an unsupported AVP; see Failed-AVP.";
}

/// The row of a code.
pub fn find(code: u32) -> Option<&'static ResultCode> {
    ALL.binary_search_by_key(&code, |row| row.code).ok().and_then(|at| ALL.get(at))
}

/// The RFC's name of a code.
pub fn name(code: u32) -> Option<&'static str> {
    find(code).map(|row| row.name)
}

/// What a code says.
pub fn meaning(code: u32) -> Option<&'static str> {
    find(code).map(|row| row.meaning)
}

/// The class of a code, also of one that the table does not have.
pub fn class(code: u32) -> Class {
    match code / 1000 {
        1 => Class::Informational,
        2 => Class::Success,
        3 => Class::ProtocolError,
        4 => Class::TransientFailure,
        _ => Class::PermanentFailure,
    }
}
