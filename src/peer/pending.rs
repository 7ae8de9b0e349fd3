//! Requests that wait for their answer on one connection (RFC 6733, 5.5.4; W-12).
//!
//! Assigns the Hop-by-Hop id, matches answers, decides the T flag. A request is a token; what it
//! asks for is not known here.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Now;

/// An unanswered request is forgotten after this time; until then its answer is still read.
pub const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Requests outside the window that are still remembered, as a multiple of the window.
const LATE_PER_WINDOW: usize = 4;

/// What happened to earlier copies of a request: all that the T law asks about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyHistory {
    /// Every copy so far was answered by an error, and the record went back to waiting with that
    /// mark on disk.
    pub error_mark: bool,
    /// An earlier copy had no answer.
    pub unanswered_copy: bool,
    /// The request was found unacknowledged in the store at start, sent or not.
    pub recovered: bool,
    /// An earlier copy was answered by an error, and `quirks.t_after_error` is set.
    pub after_error_t: bool,
}

/// The T law: whether the next copy carries the T flag (RFC 6733, 3 and 5.5.4; H-05, H-06, H-07).
///
/// The first line that fits: answered by errors only and so marked on disk, clear; a copy without
/// an answer, or found at start, set; else clear.
pub const fn t_flag(history: CopyHistory) -> bool {
    // A quirk of servers that look for duplicates by T even after their own 3002 or 3004.
    if history.after_error_t {
        return true;
    }
    !history.error_mark && (history.unanswered_copy || history.recovered)
}

/// What identifies a request, apart from the Hop-by-Hop id that it gets here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whose it is.
    pub token: u64,
    /// End-to-End id.
    pub end_to_end: u32,
    /// Command-Code.
    pub command: u32,
    /// Session-Id, if it has one.
    pub session_id: Option<Bytes>,
}

/// What identifies an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Hop-by-Hop id.
    pub hop_by_hop: u32,
    /// End-to-End id.
    pub end_to_end: u32,
    /// Command-Code.
    pub command: u32,
    /// Session-Id, if it has one.
    pub session_id: Option<&'a [u8]>,
}

/// A request that found its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched {
    /// Whose it is.
    pub token: u64,
    /// From sending to now.
    pub round_trip: Duration,
}

/// An answer that found no request. It is discarded and the request, if any, waits on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// No request has this Hop-by-Hop id: unknown, or answered before (H-13, H-18).
    Unknown,
    /// One has, and something else is another request's (FA-07).
    Mixed(Mixed),
}

/// What of an answer is another request's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mixed {
    /// The End-to-End id.
    EndToEnd,
    /// The Command-Code.
    Command,
    /// The Session-Id.
    SessionId,
}

impl fmt::Display for Mixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mixed::EndToEnd => "End-to-End id",
            Mixed::Command => "Command-Code",
            Mixed::SessionId => "Session-Id",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Counts in the window.
    Window,
    /// Unanswered past its time: no place in the window, its owner still waits.
    Late,
    /// Given back to its owner; only a late answer is of interest.
    GivenBack,
}

#[derive(Clone, Debug)]
struct Entry {
    request: Request,
    sent_at: Now,
    place: Place,
}

/// The pending requests of one peer.
#[derive(Clone, Debug)]
pub struct Pending {
    entries: BTreeMap<u32, Entry>,
    /// Hop-by-Hop ids in the order of sending; answered ones are taken off when they surface.
    order: VecDeque<u32>,
    /// The part of `order` that has left the window starts at the front and is this long.
    late: usize,
    window: usize,
    in_window: usize,
    timeout: Duration,
    next_id: u32,
}

impl Pending {
    /// An empty table. `timeout` is when an unanswered request leaves the window, `first_id` the
    /// first Hop-by-Hop id.
    pub fn new(window: usize, timeout: Duration, first_id: u32) -> Pending {
        Pending {
            entries: BTreeMap::new(),
            order: VecDeque::new(),
            late: 0,
            window,
            in_window: 0,
            timeout,
            next_id: first_id,
        }
    }

    /// Requests that count in the window.
    pub fn in_window(&self) -> usize {
        self.in_window
    }

    /// All requests that are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A Hop-by-Hop id that no remembered request has: unique under wrap (H-12, FA-08).
    pub fn next_hop_by_hop(&mut self) -> u32 {
        loop {
            let id = self.next_id;
            self.next_id = self.next_id.wrapping_add(1);
            if !self.entries.contains_key(&id) {
                return id;
            }
        }
    }

    /// Takes a request and gives it its Hop-by-Hop id; `None` if the window is full.
    pub fn insert(&mut self, request: Request, now: Now) -> Option<u32> {
        if self.in_window >= self.window {
            return None;
        }
        let id = self.next_hop_by_hop();
        self.entries.insert(id, Entry { request, sent_at: now, place: Place::Window });
        self.order.push_back(id);
        self.in_window += 1;
        self.forget_surplus();
        Some(id)
    }

    /// Finds the request of an answer: by Hop-by-Hop id, then the rest must agree.
    ///
    /// An answer without Session-Id passes: with the E flag it may lack one (RFC 6733, 7.2), and
    /// what is not there contradicts nothing.
    pub fn answer(&mut self, answer: &Answer<'_>, now: Now) -> Result<Matched, Unmatched> {
        let Some(entry) = self.entries.get(&answer.hop_by_hop) else {
            return Err(Unmatched::Unknown);
        };
        let request = &entry.request;
        if request.end_to_end != answer.end_to_end {
            return Err(Unmatched::Mixed(Mixed::EndToEnd));
        }
        if request.command != answer.command {
            return Err(Unmatched::Mixed(Mixed::Command));
        }
        if answer.session_id.is_some_and(|id| request.session_id.as_deref() != Some(id)) {
            return Err(Unmatched::Mixed(Mixed::SessionId));
        }
        let matched = Matched { token: request.token, round_trip: now.since(entry.sent_at) };
        self.remove(answer.hop_by_hop);
        self.tidy();
        Ok(matched)
    }

    /// Gives the place in the window back; the answer is still read if it comes.
    pub fn release(&mut self, token: u64) {
        let found = self.entries.values_mut().find(|entry| entry.request.token == token);
        if let Some(entry) = found
            && entry.place == Place::Window
        {
            entry.place = Place::Late;
            self.in_window -= 1;
        }
    }

    /// Gives every request back to its owner, in the order of sending. Late answers are still read.
    pub fn fail_over(&mut self) -> Vec<u64> {
        let mut tokens = Vec::new();
        for id in &self.order {
            if let Some(entry) = self.entries.get_mut(id)
                && entry.place != Place::GivenBack
            {
                entry.place = Place::GivenBack;
                tokens.push(entry.request.token);
            }
        }
        self.in_window = 0;
        tokens
    }

    /// The connection is gone: as [`Pending::fail_over`], and nothing is remembered.
    pub fn clear(&mut self) -> Vec<u64> {
        let tokens = self.fail_over();
        self.entries.clear();
        self.order.clear();
        self.late = 0;
        tokens
    }

    /// Forgets what is too old and takes what is late out of the window. Tells the tokens forgotten
    /// that were not given back before.
    pub fn expire(&mut self, now: Now) -> Vec<u64> {
        let mut forgotten = Vec::new();
        while let Some(entry) = self.oldest().filter(|e| now >= e.sent_at + FORGET_AFTER) {
            if entry.place != Place::GivenBack {
                forgotten.push(entry.request.token);
            }
            self.pop_oldest();
        }
        while let Some(id) = self.order.get(self.late) {
            match self.entries.get_mut(id) {
                Some(entry) if now < entry.sent_at + self.timeout => break,
                Some(entry) if entry.place == Place::Window => {
                    entry.place = Place::Late;
                    self.in_window -= 1;
                }
                _ => {}
            }
            self.late += 1;
        }
        forgotten
    }

    /// When [`Pending::expire`] has work to do.
    pub fn next_timeout(&self) -> Option<Now> {
        let forget = self.oldest().map(|entry| entry.sent_at + FORGET_AFTER);
        let leave = self
            .order
            .iter()
            .skip(self.late)
            .find_map(|id| self.entries.get(id))
            .map(|entry| entry.sent_at + self.timeout);
        match (forget, leave) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn oldest(&self) -> Option<&Entry> {
        self.order.iter().find_map(|id| self.entries.get(id))
    }

    fn remove(&mut self, id: u32) {
        if let Some(entry) = self.entries.remove(&id)
            && entry.place == Place::Window
        {
            self.in_window -= 1;
        }
    }

    fn pop_oldest(&mut self) {
        self.tidy();
        if let Some(id) = self.order.pop_front() {
            self.late = self.late.saturating_sub(1);
            self.remove(id);
        }
        self.tidy();
    }

    /// Takes answered ids off the front of `order`, and all of them once they are the most of it.
    fn tidy(&mut self) {
        while self.order.front().is_some_and(|id| !self.entries.contains_key(id)) {
            self.order.pop_front();
            self.late = self.late.saturating_sub(1);
        }
        if self.order.len() > 2 * self.entries.len() + 64 {
            let (entries, late) = (&self.entries, self.late);
            let kept = self.order.iter().take(late).filter(|id| entries.contains_key(id)).count();
            self.order.retain(|id| entries.contains_key(id));
            self.late = kept;
        }
    }

    /// Bounds what a silent peer makes us remember: the oldest outside the window goes first.
    fn forget_surplus(&mut self) {
        let most = self.window.saturating_mul(1 + LATE_PER_WINDOW);
        while self.entries.len() > most {
            let Some(id) = self
                .order
                .iter()
                .copied()
                .find(|id| self.entries.get(id).is_some_and(|e| e.place != Place::Window))
            else {
                return;
            };
            self.remove(id);
            self.tidy();
        }
    }
}
