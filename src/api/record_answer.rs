//! Records, their AVPs and their stories as JSON; subscribers masked unless told otherwise.

use std::borrow::Cow;

use serde::Serialize;

use super::answer::{Id, ResultJson, ServiceJson, Time, interface_word, millis, to_bytes};
use crate::charging::explain::{RecordItem, Why, state_word};
use crate::charging::outcome::{Outcome, Subject};
use crate::charging::provenance::{AvpNode, MessageTree};
use crate::store::RecordId;
use crate::telemetry::{mask, mask_text};

/// Are subscriber identities shown as they are?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reveal {
    /// As they are.
    Clear,
    /// `+12025•••123`.
    Masked,
}

/// `{"items":[…],"nextCursor"}`.
pub(crate) fn page(items: &[RecordItem], next: Option<RecordId>, reveal: Reveal) -> Vec<u8> {
    to_bytes(&PageJson {
        items: items.iter().map(|item| ItemJson::of(item, reveal)).collect(),
        next_cursor: next.map(Id),
    })
}

/// One record.
pub(crate) fn record(item: &RecordItem, reveal: Reveal) -> Vec<u8> {
    to_bytes(&ItemJson::of(item, reveal))
}

/// One record with its message.
pub(super) fn with_tree(item: &RecordItem, tree: &MessageTree, reveal: Reveal) -> Vec<u8> {
    let message = MessageJson::of(tree, None, item, reveal);
    to_bytes(&ItemJson { message: Some(message), ..ItemJson::of(item, reveal) })
}

/// One record with why it ended as it did.
pub(crate) fn with_why(item: &RecordItem, why: &Why, reveal: Reveal) -> Vec<u8> {
    to_bytes(&ItemJson { why: Some(WhyJson::of(why, reveal)), ..ItemJson::of(item, reveal) })
}

/// `{"messages":[…]}` of a dry run: the caller's own values, nothing to hide.
pub(super) fn encoded(messages: &[(MessageTree, Option<&str>)]) -> Vec<u8> {
    let messages = messages
        .iter()
        .map(|(tree, peer)| MessageJson {
            command: &tree.command,
            peer: *peer,
            bytes: tree.bytes.len(),
            hex: Some(hex(&tree.bytes)),
            avps: tree.avps.iter().map(|node| AvpJson::of(node, None)).collect(),
        })
        .collect();
    to_bytes(&EncodedJson { messages })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageJson<'a> {
    items: Vec<ItemJson<'a>>,
    next_cursor: Option<Id>,
}

#[derive(Serialize)]
struct EncodedJson<'a> {
    messages: Vec<MessageJson<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemJson<'a> {
    record_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    interface: &'static str,
    command: &'static str,
    number: u32,
    state: &'static str,
    outcome: Option<&'static str>,
    result: Option<ResultJson<'a>>,
    services: Vec<ServiceJson<'a>>,
    peer: Option<&'a str>,
    attempts: u32,
    round_trip_ms: Option<f64>,
    created_at: Time,
    due_at: Option<Time>,
    subscribers: Vec<Cow<'a, str>>,
    diameter: DiameterJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<WhyJson<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DiameterJson<'a> {
    session_id: &'a str,
    hop_by_hop: Option<String>,
    end_to_end: String,
}

impl<'a> ItemJson<'a> {
    fn of(item: &'a RecordItem, reveal: Reveal) -> ItemJson<'a> {
        let (session_id, event_id) = match &item.subject {
            Subject::Session(id) => (Some(id.as_str()), None),
            Subject::Event(id) => (None, Some(id.as_str())),
        };
        let shown = |subscriber: &'a String| match reveal {
            Reveal::Clear => Cow::Borrowed(subscriber.as_str()),
            Reveal::Masked => Cow::Owned(mask(subscriber)),
        };
        ItemJson {
            record_id: Id(item.record_id),
            session_id,
            event_id,
            interface: interface_word(item.command.interface()),
            command: item.command.name(),
            number: item.number,
            state: state_word(item.state),
            outcome: item.outcome.map(Outcome::word),
            result: item.result.as_ref().map(ResultJson::from),
            services: item.services.iter().map(ServiceJson::from).collect(),
            peer: item.peer.as_deref(),
            attempts: item.attempts,
            round_trip_ms: item.round_trip_micros.map(millis),
            created_at: Time(item.created_at),
            due_at: item.due_at.map(Time),
            subscribers: item.subscribers.iter().map(shown).collect(),
            diameter: DiameterJson {
                session_id: &item.diameter_session_id,
                hop_by_hop: item.hop_by_hop.map(|id| format!("{id:08x}")),
                end_to_end: format!("{:08x}", item.end_to_end),
            },
            message: None,
            why: None,
        }
    }
}

#[derive(Serialize)]
struct MessageJson<'a> {
    command: &'a str,
    peer: Option<&'a str>,
    bytes: usize,
    hex: Option<String>,
    avps: Vec<AvpJson<'a>>,
}

impl<'a> MessageJson<'a> {
    fn of(
        tree: &'a MessageTree,
        peer: Option<&'a str>,
        item: &'a RecordItem,
        reveal: Reveal,
    ) -> MessageJson<'a> {
        let hidden = match reveal {
            Reveal::Clear => None,
            Reveal::Masked => Some(item.subscribers.as_slice()),
        };
        MessageJson {
            command: &tree.command,
            peer: peer.or(item.peer.as_deref()),
            bytes: tree.bytes.len(),
            // The octets would show what the tree hides.
            hex: hidden.is_none().then(|| hex(&tree.bytes)),
            avps: tree.avps.iter().map(|node| AvpJson::of(node, hidden)).collect(),
        }
    }
}

#[derive(Serialize)]
struct AvpJson<'a> {
    name: &'a str,
    code: u32,
    vendor: u32,
    flags: &'a str,
    r#type: Option<&'static str>,
    value: Option<Cow<'a, str>>,
    from: Option<&'a str>,
    children: Vec<AvpJson<'a>>,
}

/// AVPs that hold an identity: User-Name, Subscription-Id-Data and -Extension, Calling-, Called-,
/// Requested-Party-Address, Called-Asserted-Identity and their like.
const IDENTITIES: &[(u32, u32)] = &[
    (1, 0),
    (444, 0),
    (660, 0),
    (661, 0),
    (662, 0),
    (663, 0),
    (664, 0),
    (831, 10415),
    (832, 10415),
    (837, 10415),
    (1250, 10415),
    (1251, 10415),
    (3916, 10415),
];

impl<'a> AvpJson<'a> {
    /// `hidden`: subscriber identities that must not be seen; `None`: everything may.
    fn of(node: &'a AvpNode, hidden: Option<&[String]>) -> AvpJson<'a> {
        let value = node.value.as_deref().map(|value| match hidden {
            None => Cow::Borrowed(value),
            Some(subscribers) => hide(node, value, subscribers),
        });
        AvpJson {
            name: &node.name,
            code: node.id.code,
            vendor: node.id.vendor,
            flags: &node.flags,
            r#type: node.kind,
            value,
            from: node.from.as_deref(),
            children: node.children.iter().map(|child| AvpJson::of(child, hidden)).collect(),
        }
    }
}

fn hide<'a>(node: &AvpNode, value: &'a str, subscribers: &[String]) -> Cow<'a, str> {
    let bare = |subscriber: &String| subscriber.trim_start_matches('+').to_owned();
    let known = subscribers.iter().map(bare).any(|known| value.contains(&known));
    if IDENTITIES.contains(&(node.id.code, node.id.vendor)) || known {
        return Cow::Owned(mask(value));
    }
    mask_text(value)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WhyJson<'a> {
    summary: &'a str,
    meaning: Option<&'a str>,
    happened: Vec<Cow<'a, str>>,
    money: &'a [String],
    look_at: &'a [String],
}

impl<'a> WhyJson<'a> {
    fn of(why: &'a Why, reveal: Reveal) -> WhyJson<'a> {
        // An Error-Message is the peer's text: it may name the subscriber.
        let shown = |line: &'a String| match reveal {
            Reveal::Clear => Cow::Borrowed(line.as_str()),
            Reveal::Masked => mask_text(line),
        };
        WhyJson {
            summary: &why.summary,
            meaning: why.meaning.as_deref(),
            happened: why.happened.iter().map(shown).collect(),
            money: &why.money,
            look_at: &why.look_at,
        }
    }
}
