//! The two messages that end a charged CPM chat, in the content of TS 32.299 and OMA DDS.
//!
//! Used by the tests and, through `#[path]`, by `benches/codec.rs`.

use farebox::diameter::{Avp, AvpId, Message, application, command, id};

fn enumerated(id: AvpId, value: i32) -> Avp {
    Avp::enumerated(id, value)
}

/// Who asks: the AVPs that begin every request.
fn begin(message: &mut Message, server: &str) {
    message.header.hop_by_hop = 0x5a1c_0007;
    message.header.end_to_end = 0x93bb_0012;
    let session = "cg1.ims.example.net;1765531200;7;9f1c4a7e";
    message.push(Avp::text(id::SESSION_ID, session));
    message.push(Avp::identity(id::ORIGIN_HOST, "cg1.ims.example.net"));
    message.push(Avp::identity(id::ORIGIN_REALM, "ims.example.net"));
    message.push(Avp::identity(id::DESTINATION_REALM, server));
}

fn subscription(kind: i32, data: &str) -> Avp {
    Avp::group(
        id::SUBSCRIPTION_ID,
        vec![enumerated(id::SUBSCRIPTION_ID_TYPE, kind), Avp::text(id::SUBSCRIPTION_ID_DATA, data)],
    )
}

/// IMS-Information of a BYE.
fn ims_information() -> Avp {
    let members = vec![
        Avp::group(id::EVENT_TYPE, vec![Avp::text(id::SIP_METHOD, "BYE")]),
        enumerated(id::ROLE_OF_NODE, 0),
        enumerated(id::NODE_FUNCTIONALITY, 6),
        Avp::text(id::USER_SESSION_ID, "a84b4c76e66710"),
        Avp::text(id::CALLING_PARTY_ADDRESS, "tel:+12025550123"),
        Avp::text(id::CALLED_PARTY_ADDRESS, "tel:+12025550199"),
        Avp::group(
            id::TIME_STAMPS,
            vec![
                Avp::time(id::SIP_REQUEST_TIMESTAMP, 1_765_536_191),
                Avp::time(id::SIP_RESPONSE_TIMESTAMP, 1_765_536_191),
                Avp::u32(id::SIP_REQUEST_TIMESTAMP_FRACTION, 204),
                Avp::u32(id::SIP_RESPONSE_TIMESTAMP_FRACTION, 231),
            ],
        ),
        Avp::group(
            id::INTER_OPERATOR_IDENTIFIER,
            vec![
                Avp::text(id::ORIGINATING_IOI, "home1.net"),
                Avp::text(id::TERMINATING_IOI, "home2.net"),
            ],
        ),
        Avp::text(id::IMS_CHARGING_IDENTIFIER, "icid-9f1c"),
        Avp::text(
            id::IMS_COMMUNICATION_SERVICE_IDENTIFIER,
            "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session",
        ),
        Avp::i32(id::CAUSE_CODE, 0),
    ];
    Avp::group(id::IMS_INFORMATION, members)
}

fn service_generic() -> Avp {
    Avp::group(
        id::SERVICE_GENERIC_INFORMATION,
        vec![
            Avp::text(id::APPLICATION_SERVER_ID, "as1.cpm.example.net"),
            enumerated(id::APPLICATION_SERVICE_TYPE, 104),
            Avp::u32(id::APPLICATION_SESSION_ID, 2_668_407_422),
        ],
    )
}

fn im_information() -> Avp {
    Avp::group(
        id::IM_INFORMATION,
        vec![
            Avp::u32(id::TOTAL_NUMBER_OF_MESSAGES_SENT, 14),
            Avp::u32(id::TOTAL_NUMBER_OF_MESSAGES_EXPLODED, 42),
            Avp::u32(id::NUMBER_OF_MESSAGES_SUCCESSFULLY_SENT, 13),
            Avp::u32(id::NUMBER_OF_MESSAGES_SUCCESSFULLY_EXPLODED, 39),
        ],
    )
}

/// An ACR-Stop: 932 octets, 46 AVPs.
pub(crate) fn acr_stop() -> Message {
    let mut acr = Message::request(command::ACCOUNTING, application::ACCOUNTING, true);
    begin(&mut acr, "cdf.example.net");
    acr.push(enumerated(id::ACCOUNTING_RECORD_TYPE, 4));
    acr.push(Avp::u32(id::ACCOUNTING_RECORD_NUMBER, 1));
    acr.push(Avp::u32(id::ACCT_APPLICATION_ID, 3));
    acr.push(Avp::text(id::USER_NAME, "sip:+12025550123@ims.example.net"));
    acr.push(Avp::u32(id::ORIGIN_STATE_ID, 1_765_531_200));
    acr.push(Avp::time(id::EVENT_TIMESTAMP, 1_765_536_191));
    acr.push(Avp::text(id::SERVICE_CONTEXT_ID, "15.32260@3gpp.org"));
    let service = vec![
        subscription(0, "12025550123"),
        subscription(2, "sip:+12025550123@ims.example.net"),
        ims_information(),
        service_generic(),
        im_information(),
    ];
    acr.push(Avp::group(id::SERVICE_INFORMATION, service));
    acr
}

/// A CCR-T: 1,048 octets, 55 AVPs.
pub(crate) fn ccr_t() -> Message {
    let mut ccr = Message::request(command::CREDIT_CONTROL, application::CREDIT_CONTROL, true);
    begin(&mut ccr, "ocs.example.net");
    ccr.push(Avp::u32(id::AUTH_APPLICATION_ID, 4));
    ccr.push(Avp::text(id::SERVICE_CONTEXT_ID, "15.32260@3gpp.org"));
    ccr.push(enumerated(id::CC_REQUEST_TYPE, 3));
    ccr.push(Avp::u32(id::CC_REQUEST_NUMBER, 2));
    ccr.push(Avp::text(id::USER_NAME, "cpm1@ims.example.net"));
    ccr.push(Avp::time(id::EVENT_TIMESTAMP, 1_765_536_191));
    ccr.push(subscription(0, "12025550123"));
    ccr.push(subscription(2, "sip:+12025550123@ims.example.net"));
    ccr.push(enumerated(id::TERMINATION_CAUSE, 1));
    let used = vec![
        Avp::u32(id::CC_TIME, 311),
        Avp::u64(id::CC_TOTAL_OCTETS, 48_211),
        Avp::u64(id::CC_SERVICE_SPECIFIC_UNITS, 14),
    ];
    let services = vec![
        Avp::group(id::USED_SERVICE_UNIT, used),
        Avp::u32(id::SERVICE_IDENTIFIER, 7),
        Avp::u32(id::RATING_GROUP, 700),
        enumerated(id::REPORTING_REASON, 2),
    ];
    ccr.push(Avp::group(id::MULTIPLE_SERVICES_CREDIT_CONTROL, services));
    let service = vec![ims_information(), service_generic(), im_information()];
    ccr.push(Avp::group(id::SERVICE_INFORMATION, service));
    ccr.push(Avp::identity(id::DESTINATION_HOST, "ocs1.ocs.example.net"));
    ccr
}

/// AVPs of a list, members of groups included.
pub(crate) fn count(avps: &[Avp]) -> usize {
    avps.iter().map(|avp| 1 + avp.members().map_or(0, count)).sum()
}
