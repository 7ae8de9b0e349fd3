//! Bytes to a [`Message`] and a list of problems: it never fails.
//!
//! Everything that can be framed is kept: an unknown AVP, and one whose data does not fit its
//! type, as octets. A length that cannot be true ends the group it stands in, nothing more.
//! The owned tree costs at most some words per AVP; octets are slices of the message.

use bytes::Bytes;

use super::avp::{Avp, AvpFlags, AvpId};
use super::dictionary::{Dictionary, Kind};
use super::header::{HEADER_BYTES, Header};
use super::id;
use super::message::Message;
use super::problem::{Problem, ProblemKind, minimum_value};
use super::value::{Address, Fault, Value, check, time_from_wire};
use super::view::{DEPTH_CEILING, RawAvp, bad_avp, header_problem, read_avp};

/// What a decoder accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a message.
    pub message_bytes_max: u32,
    /// Groups inside groups, 64 at most.
    pub depth_max: u8,
    /// AVPs in a message, members of groups included.
    pub avps_max: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { message_bytes_max: 1 << 20, depth_max: 32, avps_max: 4096 }
    }
}

/// Problems that are listed; more of them help nobody.
const PROBLEMS_MAX: usize = 32;

/// Reads a message. The first problem is the one that comes first in the bytes.
pub fn decode(bytes: &Bytes, dictionary: &Dictionary, limits: &Limits) -> (Message, Vec<Problem>) {
    let mut problems = Vec::new();
    let Some(header) = Header::parse(bytes) else {
        let detail = format!("{} octets; the header alone has {HEADER_BYTES}", bytes.len());
        problems.push(Problem::of_header(ProblemKind::InvalidMessageLength, 0, detail));
        return (Message::default(), problems);
    };
    let end = judge_header(&header, bytes.len(), limits, &mut problems);
    // The layout of another version's AVPs is unknown.
    if header.version != 1 {
        return (Message { header, avps: Vec::new() }, problems);
    }
    let mut walk = Walk { bytes, dictionary, limits, problems, stack: Vec::new(), count: 0 };
    let avps = walk.run(end);
    (Message { header, avps }, walk.problems)
}

/// The octet at which the AVPs end.
fn judge_header(
    header: &Header,
    have: usize,
    limits: &Limits,
    problems: &mut Vec<Problem>,
) -> usize {
    match header_problem(header) {
        Some((kind @ ProblemKind::UnsupportedVersion, at)) => {
            let detail = format!("version {} instead of 1", header.version);
            problems.push(Problem::of_header(kind, at, detail));
        }
        Some((kind, at)) => problems.push(Problem::of_header(kind, at, "E set in a request")),
        None => {}
    }
    let length = header.length as usize;
    let limit = limits.message_bytes_max as usize;
    let detail = if length < HEADER_BYTES || !length.is_multiple_of(4) {
        format!("Message Length {length} is below {HEADER_BYTES} or no multiple of 4")
    } else if length > limit {
        format!("Message Length {length} exceeds the limit of {limit}")
    } else if length != have {
        format!("Message Length {length}, but {have} octets")
    } else {
        return have;
    };
    problems.push(Problem::of_header(ProblemKind::InvalidMessageLength, 1, detail));
    length.min(have).min(limit).max(HEADER_BYTES)
}

/// A group whose end has not been reached.
struct Open {
    id: AvpId,
    flags: AvpFlags,
    /// Where the group ends.
    end: usize,
    /// Where its parent goes on: `end` and the padding.
    next: usize,
    members: Vec<Avp>,
    /// In a Failed-AVP: nothing is judged.
    lenient: bool,
}

struct Walk<'a> {
    bytes: &'a Bytes,
    dictionary: &'a Dictionary,
    limits: &'a Limits,
    problems: Vec<Problem>,
    stack: Vec<Open>,
    count: u32,
}

impl Walk<'_> {
    fn run(&mut self, message_end: usize) -> Vec<Avp> {
        let mut top = Vec::new();
        let mut at = HEADER_BYTES;
        loop {
            let end = self.stack.last().map_or(message_end, |open| open.end);
            if at >= end {
                let Some(open) = self.stack.pop() else { return top };
                at = open.next;
                let group =
                    Avp { id: open.id, flags: open.flags, value: Value::Grouped(open.members) };
                self.add(&mut top, group);
                continue;
            }
            let bytes = self.bytes;
            let rest = &bytes[at..end];
            let Some(raw) = read_avp(rest) else {
                let bad = bad_avp(rest);
                let kind = self.dictionary.kind(bad.id);
                let failed = Avp { id: bad.id, flags: bad.flags, value: minimum_value(kind) };
                self.report(ProblemKind::InvalidAvpLength, at, failed, bad.detail);
                at = end;
                continue;
            };
            self.count += 1;
            if self.count > self.limits.avps_max {
                self.limit_reached(at, &raw, "more AVPs than the limit allows");
                return self.unwind(top);
            }
            let next = at + raw.step(rest);
            at = match self.dictionary.kind(raw.id) {
                Some(Kind::Grouped) if self.stack.len() >= self.depth_max() => {
                    self.limit_reached(at, &raw, "groups nested deeper than the limit allows");
                    return self.unwind(top);
                }
                Some(Kind::Grouped) => self.open(at, &raw, next),
                kind => {
                    let avp = self.leaf(at, &raw, kind);
                    self.add(&mut top, avp);
                    next
                }
            };
        }
    }

    fn depth_max(&self) -> usize {
        usize::from(self.limits.depth_max).min(DEPTH_CEILING)
    }

    fn lenient(&self) -> bool {
        self.stack.last().is_some_and(|open| open.lenient)
    }

    fn add(&mut self, top: &mut Vec<Avp>, avp: Avp) {
        match self.stack.last_mut() {
            Some(open) => open.members.push(avp),
            None => top.push(avp),
        }
    }

    /// Begins a group; returns where its members begin.
    fn open(&mut self, at: usize, raw: &RawAvp<'_>, next: usize) -> usize {
        let lenient = self.lenient() || raw.id == id::FAILED_AVP;
        let (id, flags, end) = (raw.id, raw.flags, at + raw.length());
        self.stack.push(Open { id, flags, end, next, members: Vec::new(), lenient });
        at + raw.header_bytes()
    }

    fn leaf(&mut self, at: usize, raw: &RawAvp<'_>, kind: Option<Kind>) -> Avp {
        let data = self.bytes.slice(at + raw.header_bytes()..at + raw.length());
        let (id, flags) = (raw.id, raw.flags);
        let Some(kind) = kind else {
            let avp = Avp { id, flags, value: Value::OctetString(data) };
            if flags.mandatory() {
                let detail = "unknown AVP with the M bit";
                self.report(ProblemKind::UnknownAvp, at, avp.clone(), detail);
            }
            return avp;
        };
        if let Err(fault) = check(kind, &data) {
            let avp = Avp { id, flags, value: Value::OctetString(data) };
            let (Fault::Length(detail) | Fault::Content(detail)) = fault;
            self.report(ProblemKind::from(fault), at, avp.clone(), detail);
            return avp;
        }
        Avp { id, flags, value: typed(kind, data) }
    }

    fn report(&mut self, kind: ProblemKind, offset: usize, failed: Avp, detail: &str) {
        if self.lenient() || self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        let id = failed.id;
        let failed = self.stack.iter().rev().fold(failed, |inner, open| Avp {
            id: open.id,
            flags: open.flags,
            value: Value::Grouped(vec![inner]),
        });
        let detail = match self.dictionary.avp(id) {
            Some(definition) => format!("`{}`: {detail}", definition.name),
            None => detail.to_owned(),
        };
        self.problems.push(Problem::of_avp(kind, offset, failed, id, detail));
    }

    fn limit_reached(&mut self, at: usize, raw: &RawAvp<'_>, detail: &str) {
        let empty = Avp { id: raw.id, flags: raw.flags, value: Value::Grouped(Vec::new()) };
        // Said even inside Failed-AVP: the rest of the message is not read.
        let problem =
            Problem::of_avp(ProblemKind::LimitExceeded, at, empty, raw.id, detail.to_owned());
        self.problems.push(problem);
    }

    /// Closes what is open, when reading has to stop.
    fn unwind(&mut self, mut top: Vec<Avp>) -> Vec<Avp> {
        while let Some(open) = self.stack.pop() {
            let group = Avp { id: open.id, flags: open.flags, value: Value::Grouped(open.members) };
            self.add(&mut top, group);
        }
        top
    }
}

/// The value of data that [`check`] has passed.
fn typed(kind: Kind, data: Bytes) -> Value {
    let word = || data.first_chunk().copied().unwrap_or_default();
    let long = || data.first_chunk().copied().unwrap_or_default();
    let text = || String::from_utf8_lossy(&data).into_owned();
    match kind {
        Kind::Integer32 => Value::Integer32(i32::from_be_bytes(word())),
        Kind::Integer64 => Value::Integer64(i64::from_be_bytes(long())),
        Kind::Unsigned32 => Value::Unsigned32(u32::from_be_bytes(word())),
        Kind::Unsigned64 => Value::Unsigned64(u64::from_be_bytes(long())),
        Kind::Float32 => Value::Float32(f32::from_be_bytes(word())),
        Kind::Float64 => Value::Float64(f64::from_be_bytes(long())),
        Kind::Time => Value::Time(time_from_wire(u32::from_be_bytes(word()))),
        Kind::Enumerated => Value::Enumerated(i32::from_be_bytes(word())),
        Kind::Utf8String => Value::Utf8String(text()),
        Kind::DiameterIdentity => Value::DiameterIdentity(text()),
        Kind::DiameterUri => Value::DiameterUri(text()),
        Kind::IpFilterRule => Value::IpFilterRule(text()),
        Kind::Address => match Address::from_wire(&data) {
            Some(address) => Value::Address(address),
            None => Value::OctetString(data),
        },
        Kind::OctetString | Kind::Grouped => Value::OctetString(data),
    }
}
