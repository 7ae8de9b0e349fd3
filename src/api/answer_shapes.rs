//! The tables of every object that a client gets; a test holds what is sent against them.

use super::batch::LINES_MAX;
use super::problem::KINDS;
use super::schema::{Member, Object, Shape, may, need, words};
use super::shapes::UNITS;
use super::words::{INTERFACE_WORDS, OUTCOMES, RECORD_STATES};

const COUNT: Shape = super::schema::COUNT;
const U32: Shape = Shape::Integer(0, u32::MAX as u64);
const RECORD_ID: Shape = Shape::Pattern("^[0-9A-HJKMNP-TV-Z]{26}$", "01KC99XQ6Z3W8M5T2R7V4N0B1C");
const HEX32: Shape = Shape::Pattern("^[0-9a-f]{8}$", "93bb0014");
const STATE: Shape = Shape::Words(|| vec!["open", "ending", "ended"]);
const OUTCOME: Shape = Shape::Words(|| words(OUTCOMES));
const BASIS: Shape = Shape::Words(|| vec!["ocs", "failure_policy", "local_rule"]);
const INTERFACE: Shape = Shape::Words(|| words(INTERFACE_WORDS));

static UNITS_SHAPE: Shape = Shape::Object(&UNITS);
static STOP_BY_SHAPE: Shape = Shape::Object(&STOP_BY);
static FINAL_SHAPE: Shape = Shape::Object(&FINAL);
static REDIRECT_SHAPE: Shape = Shape::Object(&REDIRECT);
static GRANT_SHAPE: Shape = Shape::Object(&GRANT);
static USED_SHAPE: Shape = Shape::Object(&USED);
static RESULT_SHAPE: Shape = Shape::Object(&RESULT);
static SERVICE_SHAPE: Shape = Shape::Object(&SERVICE);
static IDS_SHAPE: Shape = Shape::Object(&DIAMETER);
static RECORD_SHAPE: Shape = Shape::Object(&RECORD);
static ITEM_SHAPE: Shape = Shape::Object(&RECORD_ITEM);
static WARNING_SHAPE: Shape = Shape::Object(&WARNING);
static PROBLEM_ITEM_SHAPE: Shape = Shape::Object(&PROBLEM_ITEM);
static MESSAGE_SHAPE: Shape = Shape::Object(&MESSAGE);
static AVP_SHAPE: Shape = Shape::Object(&AVP);
static NULLABLE: Shape = Shape::Text;
static ECHO: Shape = Shape::Echo;
static TIME: Shape = Shape::Time;
static NUMBER: Shape = U32;

const fn text_or_null(name: &'static str, doc: &'static str) -> Member {
    need(name, Shape::Nullable(&NULLABLE), doc)
}

const fn time_or_null(name: &'static str, doc: &'static str) -> Member {
    need(name, Shape::Nullable(&TIME), doc)
}

const fn number_or_null(name: &'static str, doc: &'static str) -> Member {
    need(name, Shape::Nullable(&NUMBER), doc)
}

pub(super) static STOP_BY: Object = Object::open(
    "StopBy",
    "By when, or after which units, the CPM server must stop.",
    &[time_or_null("at", ""), need("units", Shape::Nullable(&UNITS_SHAPE), "")],
);

pub(super) static ADVICE: Object = Object::open(
    "Advice",
    "What the SIP side should do.",
    &[
        need("service", Shape::Words(|| vec!["continue", "stop", "block"]), ""),
        number_or_null("sipStatus", "For the user, with `block`."),
        need("stopBy", Shape::Nullable(&STOP_BY_SHAPE), "With a final grant."),
    ],
);

pub(super) static REDIRECT: Object = Object::open(
    "Redirect",
    "Redirect-Server.",
    &[need("type", Shape::Text, ""), need("address", Shape::Text, "")],
);

pub(super) static FINAL: Object = Object::open(
    "Final",
    "Final-Unit-Indication.",
    &[
        need("action", Shape::Words(|| vec!["terminate", "redirect", "restrict"]), ""),
        need("redirect", Shape::Nullable(&REDIRECT_SHAPE), ""),
        need("filters", Shape::List(&Shape::Text, 0, None), ""),
    ],
);

pub(super) static GRANT: Object = Object::open(
    "Grant",
    "What the OCS granted for one rating group.",
    &[
        need("ratingGroup", U32, ""),
        text_or_null("name", "Its name in the configuration."),
        need("units", Shape::Object(&UNITS), "Granted-Service-Unit."),
        time_or_null("validUntil", "Receipt of the answer and Validity-Time."),
        need("threshold", Shape::Nullable(&UNITS_SHAPE), ""),
        number_or_null("holdingSeconds", "Quota-Holding-Time."),
        need("final", Shape::Nullable(&FINAL_SHAPE), ""),
        time_or_null("tariffChangeAt", "Tariff-Time-Change."),
    ],
);

pub(super) static USED: Object = Object::open(
    "Usage",
    "Units of one rating group.",
    &[need("ratingGroup", U32, ""), need("units", Shape::Object(&UNITS), "")],
);

pub(super) static DEBIT: Object = Object::open(
    "Debit",
    "What answered CCRs reported in total; cost and balance as the OCS sent them.",
    &[
        need("units", Shape::List(&USED_SHAPE, 0, None), ""),
        may("cost", Shape::Object(&ANY_MONEY), "Cost-Information."),
        may("balance", Shape::Object(&ANY_MONEY), "Remaining-Balance."),
        need("lowBalance", Shape::Boolean, "Low-Balance-Indication."),
    ],
);

pub(super) static ANY_MONEY: Object = Object::open(
    "OcsMoney",
    "An amount as the OCS sent it: it may be negative.",
    &[
        need("amount", Shape::Pattern("^-?[0-9]+(\\.[0-9]+)?(e-?[0-9]+)?$", "0.70"), ""),
        need("currency", Shape::Text, "ISO 4217 letters, or the number if it is none."),
    ],
);

pub(super) static RESULT: Object = Object::open(
    "Result",
    "A Diameter result; always with its six members.",
    &[
        number_or_null("code", "Result-Code or Experimental-Result-Code."),
        text_or_null("name", ""),
        number_or_null("vendor", "Of an Experimental-Result."),
        text_or_null("errorMessage", "Error-Message: never use it for logic."),
        text_or_null("reportedBy", "Error-Reporting-Host."),
        need("failedAvp", Shape::List(&Shape::Text, 0, None), ""),
    ],
);

pub(super) static SERVICE: Object = Object::open(
    "ServiceResult",
    "The result of one rating group.",
    &[number_or_null("ratingGroup", ""), need("result", Shape::Object(&RESULT), "")],
);

pub(super) static DIAMETER: Object = Object::open(
    "DiameterIds",
    "Ids to search for on the other side.",
    &[
        need("sessionId", Shape::Text, ""),
        need("hopByHop", Shape::Nullable(&HEX32_SHAPE), ""),
        need("endToEnd", HEX32, ""),
    ],
);
static HEX32_SHAPE: Shape = HEX32;

pub(super) static CH1: Object = Object::open(
    "Ch1",
    "The offline side; only `state` where it does not apply.",
    &[
        need("state", Shape::Words(|| vec!["none", "armed", "stored", "acknowledged", "dead"]), ""),
        may("recordId", Shape::Nullable(&RECORD_ID_SHAPE), ""),
        may("record", Shape::Nullable(&NULLABLE), "`STOP_RECORD` and so on."),
        may("recordNumber", Shape::Nullable(&NUMBER), ""),
        may("result", Shape::Nullable(&RESULT_SHAPE), ""),
        may("peer", Shape::Nullable(&NULLABLE), ""),
        may("attempts", U32, "Copies sent."),
        may("dueAt", Shape::Nullable(&TIME), "An armed STOP goes out then."),
    ],
);
static RECORD_ID_SHAPE: Shape = RECORD_ID;
static MILLIS: Shape = Shape::Number;

pub(super) static CH2: Object = Object::open(
    "Ch2",
    "The online side; only `state` where it does not apply.",
    &[
        need("state", Shape::Words(|| vec!["none", "pending", "answered", "failed"]), ""),
        may("recordId", Shape::Nullable(&RECORD_ID_SHAPE), ""),
        may("command", Shape::Nullable(&NULLABLE), "`CCR-T` and so on."),
        may("requestNumber", Shape::Nullable(&NUMBER), ""),
        may("result", Shape::Nullable(&RESULT_SHAPE), "Command level."),
        may("services", Shape::List(&SERVICE_SHAPE, 0, None), "MSCC level."),
        may("peer", Shape::Nullable(&NULLABLE), ""),
        may("attempts", U32, "Copies sent."),
        may("roundTripMs", Shape::Nullable(&MILLIS), ""),
        may("diameter", Shape::Nullable(&IDS_SHAPE), ""),
    ],
);

pub(super) static WARNING: Object = Object::open(
    "Warning",
    "Worth telling, but no reason to refuse.",
    &[need("code", Shape::Text, "A stable word."), need("detail", Shape::Text, "")],
);

pub(super) static ANSWER: Object = Object::open(
    "Answer",
    "What became of a trigger. Status speaks of the gateway, `outcome` of the money.",
    &[
        may("sessionId", Shape::Id, "Of a session's call."),
        may("eventId", Shape::Id, "Of an event."),
        need("sequence", COUNT, ""),
        need("state", STATE, ""),
        need("outcome", OUTCOME, ""),
        need("basis", BASIS, "Who decided."),
        need("advice", Shape::Object(&ADVICE), ""),
        may("grants", Shape::List(&GRANT_SHAPE, 0, None), ""),
        may("debit", Shape::Object(&DEBIT), ""),
        need("ch2", Shape::Object(&CH2), ""),
        need("ch1", Shape::Object(&CH1), ""),
        may("warnings", Shape::List(&WARNING_SHAPE, 0, None), ""),
    ],
);

pub(super) static RECORD: Object = Object::open(
    "SessionRecord",
    "A record of a session.",
    &[
        need("recordId", RECORD_ID, ""),
        need("interface", INTERFACE, ""),
        need("command", Shape::Text, "`ACR-START`, `CCR-T` and so on."),
        need("number", U32, ""),
        need("state", Shape::Words(|| words(RECORD_STATES)), ""),
        need("result", Shape::Nullable(&RESULT_SHAPE), ""),
        text_or_null("peer", "Of the last copy."),
        need("attempts", U32, "Copies sent."),
        need("createdAt", Shape::Time, ""),
    ],
);

pub(super) static SESSION: Object = Object::open(
    "Session",
    "A session as it stands.",
    &[
        need("sessionId", Shape::Id, ""),
        need("state", STATE, ""),
        text_or_null("service", ""),
        need("openedAt", Shape::Time, ""),
        time_or_null("endedAt", ""),
        need("outcome", OUTCOME, ""),
        need("grants", Shape::List(&GRANT_SHAPE, 0, None), ""),
        need("usage", Shape::List(&USED_SHAPE, 0, None), "Totals."),
        need("ch1", Shape::Object(&CH1), ""),
        need("ch2", Shape::Object(&CH2), ""),
        need("records", Shape::List(&RECORD_SHAPE, 0, None), "Oldest first."),
    ],
);

static OUTCOME_SHAPE: Shape = OUTCOME;

pub(super) static RECORD_ITEM: Object = Object::open(
    "Record",
    "A record with its outcome. Subscribers are masked unless the token has the scope `subscriber`.",
    &[
        need("recordId", RECORD_ID, ""),
        may("sessionId", Shape::Id, ""),
        may("eventId", Shape::Id, ""),
        need("interface", INTERFACE, ""),
        need("command", Shape::Text, ""),
        need("number", U32, ""),
        need("state", Shape::Words(|| words(RECORD_STATES)), ""),
        need("outcome", Shape::Nullable(&OUTCOME_SHAPE), ""),
        need("result", Shape::Nullable(&RESULT_SHAPE), ""),
        need("services", Shape::List(&SERVICE_SHAPE, 0, None), ""),
        text_or_null("peer", "Of the last copy."),
        need("attempts", U32, "Copies sent."),
        need("roundTripMs", Shape::Nullable(&MILLIS), ""),
        need("createdAt", Shape::Time, ""),
        time_or_null("dueAt", "An armed STOP goes out then."),
        need("subscribers", Shape::List(&Shape::Text, 0, None), ""),
        need("diameter", Shape::Object(&DIAMETER), ""),
        may("message", Shape::Object(&MESSAGE), "With `view=avps`."),
        may("why", Shape::Object(&WHY), "With `view=why`."),
    ],
);

pub(super) static RECORD_PAGE: Object = Object::open(
    "RecordPage",
    "Records in order of creation. A page may be short: go on while there is a cursor.",
    &[
        need("items", Shape::List(&ITEM_SHAPE, 0, None), ""),
        need("nextCursor", Shape::Nullable(&RECORD_ID_SHAPE), ""),
    ],
);

pub(super) static MESSAGE: Object = Object::open(
    "Message",
    "A Diameter message as a tree.",
    &[
        need("command", Shape::Text, ""),
        text_or_null("peer", ""),
        need("bytes", U32, "Its length."),
        text_or_null("hex", "Null where subscribers are masked."),
        need("avps", Shape::List(&AVP_SHAPE, 0, None), ""),
    ],
);

pub(super) static AVP: Object = Object::open(
    "Avp",
    "One AVP.",
    &[
        need("name", Shape::Text, ""),
        need("code", U32, ""),
        need("vendor", U32, "0: IETF."),
        need("flags", Shape::Text, "`VM-`."),
        text_or_null("type", "Null: the dictionary does not know it."),
        text_or_null("value", "Null: a group."),
        text_or_null("from", "Configuration key, or field and mapping line; null: not known."),
        need("children", Shape::List(&AVP_SHAPE, 0, None), ""),
    ],
);

pub(super) static ENCODED: Object = Object::open(
    "Encoded",
    "The messages that a trigger would make.",
    &[need("messages", Shape::List(&MESSAGE_SHAPE, 0, None), "")],
);

pub(super) static WHY: Object = Object::open(
    "Why",
    "Why a record ended as it did: what is known, never a guess.",
    &[
        need("summary", Shape::Text, ""),
        text_or_null("meaning", "What the result says, by the RFC."),
        need("happened", Shape::List(&Shape::Text, 0, None), ""),
        need("money", Shape::List(&Shape::Text, 0, None), ""),
        need("lookAt", Shape::List(&Shape::Text, 0, None), ""),
    ],
);

pub(super) static PROBLEM_ITEM: Object = Object::open(
    "ProblemItem",
    "One thing that needs attention.",
    &[
        may("pointer", Shape::Echo, "JSON pointer into the body."),
        need("detail", Shape::Echo, ""),
        may("suggestion", Shape::Text, "The nearest right word."),
        may("place", Shape::Text, "`file:line` of the mapping."),
    ],
);

pub(super) static PROBLEM: Object = Object::open(
    "Problem",
    "RFC 9457: nothing was stored and nothing was sent, unless it says otherwise.",
    &[
        need("type", Shape::Words(problem_types), "A page of this port."),
        need("title", Shape::Text, ""),
        need("status", Shape::Integer(400, 599), ""),
        need("code", Shape::Pattern("^FB[0-9]{4}$", "FB1001"), ""),
        need("detail", Shape::Echo, ""),
        need("instance", Shape::Echo, ""),
        may("errors", Shape::List(&PROBLEM_ITEM_SHAPE, 0, None), "All of them at once."),
        may("current", Shape::Object(&SESSION), "With 409: the session as it stands."),
    ],
);

fn problem_types() -> Vec<&'static str> {
    static TYPES: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let types = TYPES
        .get_or_init(|| KINDS.iter().map(|kind| format!("/problems/{}", kind.word())).collect());
    types.iter().map(String::as_str).collect()
}

pub(super) static BATCH_ANSWER: Object = Object::open(
    "BatchAnswer",
    "The answer to one line, with `body` or `problem`.",
    &[
        need("line", Shape::Integer(1, LINES_MAX + 1), ""),
        need("key", Shape::Nullable(&ECHO), ""),
        need("status", Shape::Integer(200, 599), ""),
        may("body", Shape::Object(&ANSWER), ""),
        may("problem", Shape::Object(&PROBLEM), ""),
    ],
);

pub(super) static HEALTH: Object =
    Object::open("Health", "The process is alive.", &[need("status", Shape::Constant("pass"), "")]);

pub(super) static NOTICE_DATA: Object = Object::open(
    "NotificationData",
    "What happened, what to do and by when.",
    &[
        text_or_null("sessionId", ""),
        may("eventId", Shape::Id, "Of an event."),
        need("mustDo", Shape::Nullable(&MUST_DO), "`report`: an interim; `stop`: a terminate."),
        time_or_null("by", ""),
        need("state", STATE, ""),
        may("outcome", OUTCOME, "With `farebox.outcome`."),
        may("basis", BASIS, ""),
        may("advice", Shape::Object(&ADVICE), ""),
        may("record", Shape::Object(&RECORD), ""),
    ],
);
static MUST_DO: Shape = Shape::Words(|| vec!["report", "stop"]);

pub(super) static NOTICE: Object = Object::open(
    "Notification",
    "A CloudEvent 1.0.",
    &[
        need("specversion", Shape::Constant("1.0"), ""),
        need("id", RECORD_ID, "Sorts by time."),
        need("source", Shape::Text, "`/farebox/` and the Origin-Host."),
        need(
            "type",
            Shape::Words(|| {
                vec![
                    "farebox.reauthorize",
                    "farebox.abort",
                    "farebox.record.dead",
                    "farebox.outcome",
                ]
            }),
            "",
        ),
        need("subject", Shape::Text, "The session's or event's id."),
        need("time", Shape::Time, ""),
        need("datacontenttype", Shape::Constant("application/json"), ""),
        need("data", Shape::Object(&NOTICE_DATA), ""),
    ],
);
