//! A message as a tree in which each AVP says where it came from.
//!
//! For a message that is being built the source is exact. For a stored one it is recomputed from
//! the session and the mapping in force, and an AVP has it only where that gives the same octets.

use bytes::{Bytes, BytesMut};

use super::event::Units;
use super::policy::{PeerProfile, Policy};
use super::record::{Command, Record};
use super::request::{Library, Moment, ServiceUnits, UsedUnits, reason, tree};
use super::session::Session;
use crate::clock::Wall;
use crate::diameter::AvpId;
use crate::diameter::Dictionary;
use crate::diameter::Limits;
use crate::diameter::decode;
use crate::diameter::header::HEADER_BYTES;
use crate::diameter::id;
use crate::diameter::print::Line;
use crate::diameter::print::lines;
use crate::diameter::print::summary;
use crate::mapping::Provenance;

/// One AVP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvpNode {
    /// Name, or `1044:99999 (unknown)`.
    pub name: String,
    /// Code and vendor.
    pub id: AvpId,
    /// `VM-`.
    pub flags: String,
    /// `UTF8String`, `Grouped`; `None`: the dictionary does not know it.
    pub kind: Option<&'static str>,
    /// As people read it; `None` for a group.
    pub value: Option<String>,
    /// Configuration key, or expression and place of the mapping.
    pub from: Option<String>,
    /// Members of a group.
    pub children: Vec<AvpNode>,
    /// First octet in the message.
    pub offset: usize,
    /// AVP Length.
    pub length: usize,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageTree {
    /// `CCR-T`.
    pub command: String,
    /// Its octets.
    pub bytes: Bytes,
    /// Its AVPs.
    pub avps: Vec<AvpNode>,
}

impl MessageTree {
    /// Where the AVP at this octet comes from.
    pub fn source_at(&self, offset: usize) -> Option<&str> {
        let mut level = &self.avps;
        loop {
            let node = level.iter().rev().find(|node| node.offset <= offset)?;
            if node.offset == offset {
                return node.from.as_deref();
            }
            level = &node.children;
        }
    }
}

/// The tree of a message; `sources` are those of the mapped AVPs, in the order of the octets.
pub fn message_tree(
    bytes: Bytes,
    dictionary: &Dictionary,
    peer: &str,
    sources: Option<&[Provenance]>,
) -> MessageTree {
    let summary = summary(&bytes, dictionary);
    let command = summary.split_whitespace().next().unwrap_or_default().to_owned();
    let mut left = sources.unwrap_or_default().iter().peekable();
    let mut source = |line: &Line| {
        sources?;
        if line.depth == 0
            && let Some(own) = own_source(line.id, peer)
        {
            return Some(own);
        }
        let depth = |source: &Provenance| source.path.matches('/').count();
        let next = left.next_if(|next| next.avp == line.id && depth(next) == line.depth)?;
        Some(match next.source.as_str() {
            "" => next.place.clone(),
            words => format!("{words} ({})", next.place),
        })
    };
    let avps = nest(&lines(&bytes, dictionary), dictionary, &mut source);
    MessageTree { command, bytes, avps }
}

/// What the machines write, and not the mapping.
fn own_source(id: AvpId, peer: &str) -> Option<String> {
    Some(match id {
        id::ORIGIN_HOST => "identity.host".to_owned(),
        id::ORIGIN_REALM => "identity.realm".to_owned(),
        id::DESTINATION_REALM => format!("peers.{peer}.realm"),
        id::DESTINATION_HOST => "quirks.send_destination_host".to_owned(),
        id::SERVICE_CONTEXT_ID => "service_context_id".to_owned(),
        id::EVENT_TIMESTAMP => "timestamp".to_owned(),
        id::SESSION_ID
        | id::AUTH_APPLICATION_ID
        | id::ACCT_APPLICATION_ID
        | id::CC_REQUEST_TYPE
        | id::CC_REQUEST_NUMBER
        | id::REQUESTED_ACTION
        | id::MULTIPLE_SERVICES_INDICATOR
        | id::ACCOUNTING_RECORD_TYPE
        | id::ACCOUNTING_RECORD_NUMBER
        | id::ORIGIN_STATE_ID => "(reserved)".to_owned(),
        _ => return None,
    })
}

/// The lines, which know their depth, as nested nodes.
fn nest(
    lines: &[Line],
    dictionary: &Dictionary,
    source: &mut impl FnMut(&Line) -> Option<String>,
) -> Vec<AvpNode> {
    let mut open: Vec<Vec<AvpNode>> = vec![Vec::new()];
    for line in lines {
        while open.len() > line.depth + 1 {
            close(&mut open);
        }
        let kind = dictionary.avp(line.id).map(|definition| definition.kind.name());
        let group = kind == Some("Grouped");
        let node = AvpNode {
            name: line.name.clone(),
            id: line.id,
            flags: line.flags.clone(),
            kind,
            value: (!group).then(|| line.value.clone()),
            from: source(line),
            children: Vec::new(),
            offset: line.offset,
            length: line.length,
        };
        if let Some(level) = open.last_mut() {
            level.push(node);
        }
        if group {
            open.push(Vec::new());
        }
    }
    while open.len() > 1 {
        close(&mut open);
    }
    open.pop().unwrap_or_default()
}

/// Puts the innermost open level into the group above it.
fn close(open: &mut Vec<Vec<AvpNode>>) {
    let children = open.pop().unwrap_or_default();
    if let Some(group) = open.last_mut().and_then(|level| level.last_mut()) {
        group.children = children;
    }
}

/// Where each mapped AVP of a message comes from, in the order of its octets.
pub fn sources(
    library: &Library,
    policy: &Policy,
    peer: &PeerProfile,
    command: Command,
    session: &Session,
    moment: &Moment,
) -> Vec<Provenance> {
    let mapping = library.mappings.get(peer.mapping.get(command.interface()));
    mapping
        .map(|mapping| mapping.explain(&tree(policy, command, session, moment)))
        .unwrap_or_default()
}

/// The tree of a stored message, with the sources that can be recomputed.
pub fn record_tree(
    library: &Library,
    policy: &Policy,
    record: &Record,
    session: Option<&Session>,
) -> MessageTree {
    let dictionary = &library.dictionary;
    let peer = policy.routes.get(record.route).and_then(|route| route.peers.first());
    let peer = peer.and_then(|peer| policy.peers.get(*peer));
    let name = peer.map_or("*", |peer| &peer.name);
    let mut stored = message_tree(record.message.clone(), dictionary, name, Some(&[]));
    let (Some(peer), Some(session)) = (peer, session) else { return stored };
    let name = peer.mapping.get(record.command.interface());
    let Some(mapping) = library.mappings.get(name) else { return stored };
    let moment = moment_of(record, session, dictionary);
    let values = tree(policy, record.command, session, &moment);
    // As long as a header, so that the offsets are those of a message.
    let mut again = BytesMut::zeroed(HEADER_BYTES);
    if mapping.apply(&values, &mut again).is_err() {
        return stored;
    }
    let sources = mapping.explain(&values);
    let again = message_tree(again.freeze(), dictionary, &peer.name, Some(&sources));
    adopt(&mut stored.avps, &record.message, &again.avps, &again.bytes);
    stored
}

/// Takes over the sources of AVPs that have the same octets: the nth of an id beside the nth.
fn adopt(stored: &mut [AvpNode], bytes: &[u8], again: &[AvpNode], again_bytes: &[u8]) {
    let octets = |bytes: &[u8], node: &AvpNode| {
        bytes.get(node.offset..node.offset + node.length).map(<[u8]>::to_vec)
    };
    let mut seen: Vec<AvpId> = Vec::new();
    for node in stored {
        let nth = seen.iter().filter(|id| **id == node.id).count();
        seen.push(node.id);
        let Some(twin) = again.iter().filter(|twin| twin.id == node.id).nth(nth) else { continue };
        if node.value.is_none() {
            node.from.clone_from(&twin.from);
            adopt(&mut node.children, bytes, &twin.children, again_bytes);
        } else if octets(bytes, node) == octets(again_bytes, twin) {
            node.from.clone_from(&twin.from);
        }
    }
}

/// The moment of a stored record, as far as record and session still tell.
fn moment_of(record: &Record, session: &Session, dictionary: &Dictionary) -> Moment {
    let (message, _) = decode(&record.message, dictionary, &Limits::default());
    let event = message.time(id::EVENT_TIMESTAMP).map(Wall::from_secs).unwrap_or_default();
    let services = services_of(record, session);
    let closing = session.closing.as_ref();
    let opening = matches!(
        record.command,
        Command::AcrStart | Command::CcrInitial | Command::AcrEvent | Command::CcrEvent
    );
    let sip = &session.content.sip;
    match record.command {
        Command::AcrStop | Command::CcrTermination if closing.is_some() => {
            let closing = closing.map(super::offline::closing_moment).unwrap_or_default();
            let bye_at = session.closing.as_ref().and_then(|closing| closing.bye_at);
            Moment { event, sip_request: bye_at, services, ..closing }
        }
        _ if opening => Moment {
            event: session.event.as_ref().map_or(event, |event| event.timestamp),
            sip_request: sip.request_timestamp,
            sip_response: sip.response_timestamp,
            services,
            ..Moment::default()
        },
        _ => Moment { event, services, ..Moment::default() },
    }
}

fn services_of(record: &Record, session: &Session) -> Vec<ServiceUnits> {
    let groups = record.reported.iter().map(|report| report.rating_group);
    let mut groups: Vec<u32> = groups.chain(record.requested.iter().copied()).collect();
    groups.dedup();
    let event = record.command == Command::CcrEvent;
    let service = |group: u32| {
        let counter = session.counters.iter().find(|counter| counter.rating_group == group);
        let reported = record.reported.iter().filter(|r| r.rating_group == group && !event);
        let used = reported
            .map(|report| UsedUnits { tariff: report.tariff, units: report.units.clone() })
            .collect();
        let asked: Option<Units> = counter.map(|counter| counter.asked.clone());
        ServiceUnits {
            rating_group: group,
            service_id: counter.and_then(|counter| counter.service_id),
            requested: asked.filter(|_| record.requested.contains(&group)),
            used,
            reason: (record.command == Command::CcrTermination).then_some(reason::FINAL),
            ..ServiceUnits::default()
        }
    };
    groups.into_iter().map(service).collect()
}
