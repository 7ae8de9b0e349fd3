//! What a simulated server holds against its clients: copies of requests, and what was odd.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Wall;
use crate::diameter::Dictionary;
use crate::diameter::Limits;
use crate::diameter::Message;
use crate::diameter::decode;
use crate::diameter::id;
use crate::sim::answer::Request;

/// Answers kept for copies of their requests; the oldest go first.
pub const ANSWERS_MAX: usize = 200_000;

/// Anomalies kept; the first ones stay, the count goes on.
pub const ANOMALIES_MAX: usize = 10_000;

/// What a client did that the specifications do not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AnomalyKind {
    /// A number that is not the next one.
    Numbering,
    /// A request of a session that has ended.
    AfterEnd,
    /// A request of a session that was never seen.
    UnknownSession,
    /// A copy with another End-to-End id (H-16).
    EndToEndChanged,
    /// A copy that differs in more than Hop-by-Hop, T and Destination-Host.
    CopyDiffers,
    /// A copy without T of a request that was answered with success (H-06).
    CopyUnmarked,
    /// An AVP that is missing or must not be there.
    Form,
}

impl AnomalyKind {
    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            AnomalyKind::Numbering => "numbering",
            AnomalyKind::AfterEnd => "after-end",
            AnomalyKind::UnknownSession => "unknown-session",
            AnomalyKind::EndToEndChanged => "end-to-end-changed",
            AnomalyKind::CopyDiffers => "copy-differs",
            AnomalyKind::CopyUnmarked => "copy-unmarked",
            AnomalyKind::Form => "form",
        }
    }
}

/// One thing that was odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// When.
    pub at: Wall,
    /// Session-Id.
    pub session: Arc<str>,
    /// CC-Request-Number or Accounting-Record-Number.
    pub number: u32,
    /// What.
    pub kind: AnomalyKind,
    /// For people.
    pub detail: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Anomaly { at, session, number, kind, detail } = self;
        write!(f, "{at} {} {session} #{number}: {detail}", kind.name())
    }
}

/// The anomalies of one server.
#[derive(Clone, Debug, Default)]
pub struct Anomalies {
    kept: Vec<Anomaly>,
    dropped: u64,
}

impl Anomalies {
    /// Adds one.
    pub fn note(&mut self, anomaly: Anomaly) {
        if self.kept.len() < ANOMALIES_MAX {
            self.kept.push(anomaly);
        } else {
            self.dropped += 1;
        }
    }

    /// The first [`ANOMALIES_MAX`], in order.
    pub fn list(&self) -> Vec<Anomaly> {
        self.kept.clone()
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.dropped + u64::try_from(self.kept.len()).unwrap_or(u64::MAX)
    }
}

/// What tells wire copies apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    hop_by_hop: u32,
    end_to_end: u32,
    retransmit: bool,
    fingerprint: u64,
}

impl Copy {
    /// The marks of this copy.
    pub fn of(request: &Request<'_>) -> Copy {
        let header = &request.message.header;
        Copy {
            hop_by_hop: header.hop_by_hop,
            end_to_end: header.end_to_end,
            retransmit: header.flags.is_retransmit(),
            fingerprint: request.fingerprint,
        }
    }

    /// Is T set?
    pub fn is_marked(&self) -> bool {
        self.retransmit
    }
}

/// A request that was answered before.
#[derive(Clone, Debug)]
pub struct Known {
    /// The same answer, with the ids of the new copy.
    pub answer: Message,
    /// What is odd about the new copy.
    pub odd: Vec<(AnomalyKind, String)>,
}

#[derive(Clone, Debug)]
struct First {
    answer: Bytes,
    succeeded: bool,
    copy: Copy,
}

/// Answers by (Session-Id, number), the key of duplicates (RFC 6733, 9.4; RFC 8506, 8.2).
#[derive(Clone, Debug, Default)]
pub struct Answered {
    by_key: BTreeMap<(Arc<str>, u32), First>,
    order: VecDeque<(Arc<str>, u32)>,
    duplicates: u64,
}

impl Answered {
    /// How many copies were recognised.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// The answer of the first copy, if there was one.
    pub fn repeat(&mut self, session: &Arc<str>, number: u32, copy: &Copy) -> Option<Known> {
        let first = self.by_key.get(&(session.clone(), number))?;
        self.duplicates += 1;
        let mut odd = Vec::new();
        if first.copy.end_to_end != copy.end_to_end {
            let (old, new) = (first.copy.end_to_end, copy.end_to_end);
            odd.push((AnomalyKind::EndToEndChanged, format!("{old:08x}, then {new:08x} (H-16)")));
        }
        if first.copy.fingerprint != copy.fingerprint {
            let detail = "same session and number, another content (I-6)";
            odd.push((AnomalyKind::CopyDiffers, detail.to_owned()));
        }
        if first.succeeded && !copy.retransmit {
            odd.push((AnomalyKind::CopyUnmarked, "a copy without T (H-06)".to_owned()));
        }
        let (mut answer, _) = decode(&first.answer, Dictionary::builtin(), &Limits::default());
        answer.header.hop_by_hop = copy.hop_by_hop;
        answer.header.end_to_end = copy.end_to_end;
        Some(Known { answer, odd })
    }

    /// Keeps the answer of a first copy.
    pub fn remember(&mut self, session: &Arc<str>, number: u32, copy: Copy, answer: &Message) {
        let key = (session.clone(), number);
        if self.order.len() == ANSWERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_key.remove(&oldest);
        }
        let succeeded =
            answer.unsigned32(id::RESULT_CODE).is_some_and(|code| (2000..3000).contains(&code));
        let answer = answer.encode(Dictionary::builtin());
        self.by_key.insert(key.clone(), First { answer, succeeded, copy });
        self.order.push_back(key);
    }
}
