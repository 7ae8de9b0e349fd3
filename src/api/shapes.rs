//! The tables of every object that a client sends.

use super::schema::{COUNT, Member, Object, Shape, may, need, words};
use super::words::*;

/// 1 to 8 identities.
pub(super) const SUBSCRIBERS_MAX: usize = 8;

static ONE_IDENTITY: Shape = Shape::Object(&IDENTITY);
pub(super) static IDENTITY: Object = Object::new(
    "Identity",
    "One identity of the charged user.",
    &[
        need("type", Shape::Words(|| words(IDENTITY_TYPES)), "Subscription-Id-Type."),
        need("value", Shape::Identity, "Subscription-Id-Data."),
    ],
);

pub(super) static MONEY: Object = Object::new(
    "Money",
    "An amount in a currency.",
    &[
        need("amount", Shape::Decimal, "Such as \"0.70\"."),
        need("currency", Shape::Currency, "ISO 4217."),
    ],
);

pub(super) static UNITS: Object = Object::new(
    "Units",
    "Amounts by unit type. `bytes` is not allowed beside `inputBytes` or `outputBytes`.",
    &[
        may("seconds", Shape::Integer(0, u32::MAX as u64), "CC-Time."),
        may("messages", COUNT, "CC-Service-Specific-Units."),
        may("bytes", COUNT, "CC-Total-Octets."),
        may("inputBytes", COUNT, "CC-Input-Octets: from the end user."),
        may("outputBytes", COUNT, "CC-Output-Octets: to the end user."),
        may("money", Shape::Object(&MONEY), "CC-Money."),
    ],
);

static ONE_UNIT_REQUEST: Shape = Shape::Object(&UNIT_REQUEST);
pub(super) static UNIT_REQUEST: Object = Object::new(
    "UnitRequest",
    "Units asked for, for one rating group.",
    &[
        may("ratingGroup", Shape::RatingGroup, "Left out: the service's."),
        need("units", Shape::Object(&UNITS), "Requested-Service-Unit."),
    ],
);

static ONE_USAGE_ENTRY: Shape = Shape::Object(&USAGE_ENTRY);
pub(super) static USAGE_ENTRY: Object = Object::new(
    "UsageEntry",
    "Units used since the session began, of one rating group.",
    &[
        may("ratingGroup", Shape::RatingGroup, "Left out: the service's."),
        need("units", Shape::Object(&UNITS), "Cumulative."),
        may("tariff", Shape::Words(|| words(TARIFFS)), "Side of a tariff change."),
    ],
);

pub(super) static MESSAGES: Object = Object::new(
    "MessageCounters",
    "The four OMA counters, cumulative: IM-Information.",
    &[
        may("sent", COUNT, "Total-Number-Of-Messages-Sent."),
        may("delivered", COUNT, "Number-Of-Messages-Successfully-Sent."),
        may("exploded", COUNT, "Total-Number-Of-Messages-Exploded."),
        may("explodedDelivered", COUNT, "Number-Of-Messages-Successfully-Exploded."),
    ],
);

pub(super) static CAUSE: Object = Object::new(
    "Cause",
    "What ended it.",
    &[
        need("kind", Shape::Words(|| words(CAUSES)), "Cause-Code and Termination-Cause follow."),
        may("sipStatus", Shape::Integer(400, 699), "Required with `sip-error`."),
        may("reasonHeader", Shape::List(&Shape::Text, 0, None), "Reason headers of the BYE."),
    ],
);

pub(super) static CONTENT: Object = Object::new(
    "MessageContent",
    "Type and size of what was sent, never the content itself.",
    &[need("type", Shape::Name, "MIME type."), need("size", COUNT, "Octets.")],
);

const CONVERSATION: Member = may("conversationId", Shape::Text, "Conversation-ID.");
const CONTRIBUTION: Member = may("contributionId", Shape::Text, "Contribution-ID.");
const SERVER_ROLE: Member =
    may("serverRole", Shape::Words(|| words(SERVER_ROLES)), "Which CPM function reports.");
const GROUP_URI: Member = may("groupUri", Shape::Identity, "The group's URI.");

pub(super) static START_CPM: Object = Object::new(
    "Cpm",
    "CPM ids of a session.",
    &[CONVERSATION, CONTRIBUTION, SERVER_ROLE, GROUP_URI],
);

pub(super) static EVENT_CPM: Object = Object::new(
    "EventCpm",
    "CPM ids of a message.",
    &[
        CONVERSATION,
        CONTRIBUTION,
        SERVER_ROLE,
        GROUP_URI,
        may("imdnMessageId", Shape::Text, "IMDN Message-ID."),
    ],
);

pub(super) static SIP: Object = Object::new(
    "Sip",
    "SIP ids, and the times of the INVITE or MESSAGE.",
    &[
        may("callId", Shape::Text, "Call-ID of the incoming leg."),
        may("outgoingCallId", Shape::Text, "Call-ID of the outgoing leg of a B2BUA."),
        may("icid", Shape::Text, "P-Charging-Vector icid-value."),
        may("origIoi", Shape::Text, "P-Charging-Vector orig-ioi."),
        may("termIoi", Shape::Text, "P-Charging-Vector term-ioi."),
        may("icsi", Shape::Text, "P-Asserted-Service."),
        may("requestTimestamp", Shape::Time, "When the INVITE or MESSAGE arrived."),
        may("responseTimestamp", Shape::Time, "When its response was sent."),
    ],
);

const INTERFACES: Member = may(
    "interfaces",
    Shape::List(&Shape::Words(|| words(INTERFACE_WORDS)), 1, None),
    "Left out: the service's policy.",
);
const SUBSCRIBER: Member =
    need("subscriber", Shape::List(&ONE_IDENTITY, 1, Some(SUBSCRIBERS_MAX)), "Who is charged.");
const SEQUENCE: Member = may("sequence", COUNT, "Orders the calls of a session; gaps are allowed.");
const TIMESTAMP: Member = need("timestamp", Shape::Time, "When it happened.");
const SERVICE: Member = need("service", Shape::Name, "A name of `policy.services`.");
const ROLE: Member = may("role", Shape::Words(|| words(ROLES)), "Default `originating`.");
const NODE: Member = may("node", Shape::Identity, "The reporting node; default `identity.host`.");
const FROM: Member = may("from", Shape::Identity, "Calling party.");
const TO: Member = may("to", Shape::List(&Shape::Identity, 0, None), "Called parties.");
const SIP_IDS: Member = may("sip", Shape::Object(&SIP), "");
const PARTICIPANTS: Member = may("participants", COUNT, "Number of participants.");
const REQUEST: Member = may(
    "request",
    Shape::List(&ONE_UNIT_REQUEST, 0, None),
    "Units asked for; a rating group at most once.",
);
const USAGE: Member = may(
    "usage",
    Shape::List(&ONE_USAGE_ENTRY, 0, None),
    "Cumulative; a rating group left out is unchanged.",
);
const MESSAGE_COUNTERS: Member = may("messages", Shape::Object(&MESSAGES), "");
const NOTIFY_URI: Member =
    may("notifyUri", Shape::Uri, "Where notifications go, at an origin of `api.notify.allow`.");
const EXTENSIONS: Member =
    may("extensions", Shape::Extensions, "Vendor data for mappings, by dotted name.");

pub(super) static START: Object = Object::new(
    "Start",
    "A session begins: ACR Start and CCR-I.",
    &[
        need("sessionId", Shape::Id, "The client's id, normally the Contribution-ID."),
        SEQUENCE,
        TIMESTAMP,
        INTERFACES,
        SERVICE,
        ROLE,
        NODE,
        SUBSCRIBER,
        FROM,
        TO,
        may("cpm", Shape::Object(&START_CPM), ""),
        SIP_IDS,
        PARTICIPANTS,
        REQUEST,
        NOTIFY_URI,
        EXTENSIONS,
    ],
);

pub(super) static INTERIM: Object = Object::new(
    "Interim",
    "A session reports: ACR Interim and CCR-U.",
    &[
        SEQUENCE,
        TIMESTAMP,
        NODE,
        may("reason", Shape::Words(|| words(REASONS)), "Left out: derived from the grants."),
        USAGE,
        MESSAGE_COUNTERS,
        PARTICIPANTS,
        REQUEST,
        EXTENSIONS,
    ],
);

pub(super) static TERMINATE: Object = Object::new(
    "Terminate",
    "A session ends: ACR Stop and CCR-T.",
    &[
        need("trigger", Shape::Words(|| words(CLOSE_TRIGGERS)), "The SIP moment."),
        TIMESTAMP,
        SEQUENCE,
        NODE,
        may("cause", Shape::Object(&CAUSE), "Default `normal`, for `aborted` `internal-error`."),
        USAGE,
        MESSAGE_COUNTERS,
        PARTICIPANTS,
        EXTENSIONS,
        may("session", Shape::Part(&START), "For a session that was never started here."),
    ],
);

pub(super) static EVENT: Object = Object::new(
    "Event",
    "A one-time event: ACR Event and CCR-E.",
    &[
        need("eventId", Shape::Id, "The client's id."),
        need("kind", Shape::Name, "`message.sent`, `file.transferred` and so on."),
        may("action", Shape::Words(|| words(ACTIONS)), "Default `debit`."),
        TIMESTAMP,
        SEQUENCE,
        SERVICE,
        INTERFACES,
        ROLE,
        NODE,
        SUBSCRIBER,
        FROM,
        TO,
        may("cpm", Shape::Object(&EVENT_CPM), ""),
        SIP_IDS,
        PARTICIPANTS,
        may("units", Shape::Object(&UNITS), "Default one message."),
        may("ratingGroup", Shape::RatingGroup, "Left out: the service's."),
        may("delivery", Shape::Text, "Delivery-Status."),
        may("content", Shape::Object(&CONTENT), ""),
        may("refundOf", Shape::Id, "The debit that a refund undoes; only with action `refund`."),
        may("cause", Shape::Object(&CAUSE), "Why, for a failed event."),
        NOTIFY_URI,
        EXTENSIONS,
    ],
);

pub(super) static BATCH_LINE: Object = Object::new(
    "BatchLine",
    "One line of a batch.",
    &[
        need("op", Shape::Words(|| words(OPS)), "Which call."),
        may("sessionId", Shape::Id, "Required for interim and terminate."),
        may(
            "key",
            Shape::Pattern("^[!-~]([ -~]{0,253}[!-~])?$", "as1-77120-2"),
            "Idempotency-Key.",
        ),
        may("prefer", Shape::Text, "As the header Prefer."),
        need("body", Shape::OneOf(&[&START, &INTERIM, &TERMINATE, &EVENT]), "The call's body."),
    ],
);

pub(super) static CLOUD_EVENT: Object = Object::open(
    "CloudEvent",
    "A CloudEvent 1.0 in structured mode. `source` and `id` are the Idempotency-Key.",
    &[
        need("specversion", Shape::Constant("1.0"), ""),
        need("id", Shape::Name, "Unique per source."),
        need("source", Shape::Pattern("^\\S+$", "/cpm/as1"), "Who sends it."),
        need(
            "type",
            Shape::Pattern(
                "^org\\.openmobilealliance\\.cpm\\..+$",
                "org.openmobilealliance.cpm.session.terminated",
            ),
            "`…session.started`, `…session.updated`, `…session.terminated`, or the kind of an event.",
        ),
        may("subject", Shape::Id, "The session's id; required for updated and terminated."),
        may("time", Shape::Time, "Not used: the body has its own."),
        may("datacontenttype", Shape::Text, "application/json."),
        may("dataschema", Shape::Text, "Not used."),
        need("data", Shape::OneOf(&[&START, &INTERIM, &TERMINATE, &EVENT]), "The call's body."),
    ],
);

pub(super) static ENCODE: Object = Object::new(
    "Encode",
    "A trigger to be shown as messages.",
    &[
        need("op", Shape::Words(|| words(OPS)), "Which call."),
        may("session", Shape::Object(&START), "The start, for interim and terminate."),
        need("body", Shape::OneOf(&[&START, &INTERIM, &TERMINATE, &EVENT]), "The call's body."),
        may("peer", Shape::Name, "Only the message to this peer."),
    ],
);

pub(super) static SEARCH: Object = Object::new(
    "RecordSearch",
    "What to look for; every member must match.",
    &[
        may("subscriber", Shape::Identity, "An identity as given in the trigger."),
        may("sessionId", Shape::Id, ""),
        may("eventId", Shape::Id, ""),
        may("diameterSessionId", Shape::Identity, ""),
        may("since", Shape::Time, "Made at or after."),
        may("until", Shape::Time, "Made before."),
        may("interface", Shape::Words(|| words(INTERFACE_WORDS)), ""),
        may("outcome", Shape::Words(|| words(OUTCOMES)), ""),
        may("state", Shape::Words(|| words(RECORD_STATES)), ""),
        may("limit", Shape::Integer(1, SEARCH_LIMIT_MAX), "Default 50."),
        may(
            "cursor",
            Shape::Pattern("^[0-9A-Za-z]{26}$", "01KC99XQ6Z3W8M5T2R7V4N0B1C"),
            "`nextCursor` of the page before.",
        ),
    ],
);

/// Records of one page.
pub(super) const SEARCH_LIMIT_MAX: u64 = 200;
