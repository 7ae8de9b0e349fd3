//! Numbers that are on disk before they are used: ids that never come back, whatever the clock does.

use crate::charging::engine::END_TO_END_COUNTER;
use crate::clock::Wall;
use crate::diameter::ids::END_TO_END_BLOCK;
use crate::store::Batch;

const SESSION_HIGH: &str = "session_high";
const ORIGIN_STATE_ID: &str = "origin_state_id";

/// What one life of the process begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// First End-to-End id of a block that is reserved.
    pub end_to_end_first: u32,
    /// High part of Session-Ids.
    pub session_high: u32,
    /// When the store was created.
    pub origin_state_id: u32,
}

/// S-03, H-15: the counters of the next life, and the commit that reserves them.
///
/// `known` is what the store holds, `random` where the End-to-End ids of a new store begin.
pub fn next(known: &[(String, u64)], wall: Wall, random: u64) -> (Counters, Batch) {
    let known = |name: &str| known.iter().find(|(n, _)| n == name).map(|(_, value)| *value);
    let now = u32::try_from(wall.secs().max(1)).unwrap_or(u32::MAX);
    #[allow(clippy::cast_possible_truncation)] // Any 32 bits will do for a first start.
    let end_to_end_first = match known(END_TO_END_COUNTER) {
        Some(first) => u32::try_from(first).unwrap_or(0),
        None => random as u32,
    };
    let before = known(SESSION_HIGH).and_then(|high| u32::try_from(high).ok());
    let session_high = before.map_or(now, |before| now.max(before.saturating_add(1)));
    let origin_state_id =
        known(ORIGIN_STATE_ID).and_then(|id| u32::try_from(id).ok()).unwrap_or(now);
    let batch = Batch {
        counters: vec![
            (END_TO_END_COUNTER, u64::from(end_to_end_first.wrapping_add(END_TO_END_BLOCK))),
            (SESSION_HIGH, u64::from(session_high)),
            (ORIGIN_STATE_ID, u64::from(origin_state_id)),
        ],
        ..Batch::default()
    };
    (Counters { end_to_end_first, session_high, origin_state_id }, batch)
}
