//! Sessions, records, idempotency keys and counters: what one commit holds, and how it is found again.
//!
//! Knows ids, states and bytes, **not Diameter**: a store that parses records cannot be trusted to
//! keep bad ones. A [`Batch`] is atomic and durable when [`CommitResult::Durable`] is returned.

pub mod memory;
#[cfg(feature = "shell")]
pub mod sqlite;
#[cfg(feature = "shell")]
mod sqlite_folder;
#[cfg(feature = "shell")]
mod sqlite_open;
#[cfg(feature = "shell")]
mod sqlite_room;
#[cfg(feature = "shell")]
mod sqlite_rows;
#[cfg(feature = "shell")]
mod sqlite_search;
#[cfg(feature = "shell")]
mod sqlite_verify;

use bytes::Bytes;

use crate::clock::Wall;

/// Id of a record: a ULID, so that ids sort by time of creation.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    minicbor::Encode,
    minicbor::Decode,
)]
#[cbor(transparent)]
pub struct RecordId(#[n(0)] pub [u8; 16]);

/// The offline or the online reference point.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode,
)]
#[cbor(index_only)]
pub enum Interface {
    /// CH-1: Rf, to a CDF.
    #[n(1)]
    Ch1,
    /// CH-2: Ro, to an OCS.
    #[n(2)]
    Ch2,
}

/// Where a record stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode,
)]
#[cbor(index_only)]
pub enum RecordState {
    /// On disk, no final answer yet; an armed STOP waits with a due time.
    #[n(0)]
    Waiting,
    /// CH-1: the CDF acknowledged it.
    #[n(1)]
    Acknowledged,
    /// CH-2: the OCS answered it.
    #[n(2)]
    Answered,
    /// Needs a person.
    #[n(3)]
    Dead,
    /// Replaced by a newer interim, or settled by a backup record.
    #[n(4)]
    Superseded,
    /// A CCR whose caller got the failure policy and that is not resent.
    #[n(5)]
    Abandoned,
}

impl RecordState {
    /// Still counts as unacknowledged: waiting or dead.
    pub fn unacknowledged(self) -> bool {
        matches!(self, RecordState::Waiting | RecordState::Dead)
    }
}

/// One atomic commit.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Sessions to insert or replace.
    pub sessions: Vec<SessionRow>,
    /// Records to insert or replace.
    pub records: Vec<RecordRow>,
    /// Idempotency and natural keys to insert or replace.
    pub keys: Vec<KeyRow>,
    /// Named counters to set (End-to-End block, Session-Id high part, Origin-State-Id).
    pub counters: Vec<(&'static str, u64)>,
    /// Keys that must not exist yet; one that does makes the whole batch a [`CommitResult::Conflict`].
    pub claims: Vec<Key>,
}

/// A session as the store sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// The CPM session id.
    pub id: String,
    /// Ended sessions are history, subject to retention.
    pub ended: bool,
    /// When it was opened.
    pub opened_at: Wall,
    /// When it last changed.
    pub changed_at: Wall,
    /// Everything else; the engine's encoding.
    pub body: Bytes,
}

/// A record as the store sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRow {
    /// The id.
    pub id: RecordId,
    /// The CPM session or event id that made it.
    pub subject: String,
    /// CH-1 or CH-2.
    pub interface: Interface,
    /// Metric name of the command: `CCR-T`, `ACR-STOP`.
    pub command: String,
    /// Where it stands.
    pub state: RecordState,
    /// Not to be sent before this time.
    pub due_at: Option<Wall>,
    /// When it was made.
    pub created_at: Wall,
    /// Masking and search keys: subscriber identities as given.
    pub subscribers: Vec<String>,
    /// The Diameter Session-Id as opaque text, for search.
    pub diameter_session_id: String,
    /// Everything else; the engine's encoding.
    pub body: Bytes,
}

/// Name of an idempotency or natural key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Who it belongs to: the authenticated client, or the kind of natural key.
    pub scope: String,
    /// The key itself.
    pub key: String,
}

/// A key with what was answered under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// The name.
    pub key: Key,
    /// SHA-256 of method, path and body.
    pub fingerprint: [u8; 32],
    /// The session or event it acted on.
    pub subject: String,
    /// The stored answer, `None` while the request is in progress. Empty: it was dropped for want
    /// of room, and a repeat gets the current state.
    pub answer: Option<Bytes>,
    /// When it may be forgotten.
    pub expires_at: Wall,
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitResult {
    /// On disk, flushed.
    Durable,
    /// Nothing was written: a claimed key exists already.
    Conflict(Key),
    /// Nothing was written: no space, quota, or the configured size.
    Full,
    /// Nothing was written: any other failure, with its reason.
    Failed(String),
    /// Wholly written or wholly absent; a look-up by key tells.
    Unknown(String),
}

/// What a start finds.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Sessions that are not ended.
    pub sessions: Vec<SessionRow>,
    /// Records that are waiting or dead, oldest first.
    pub records: Vec<RecordRow>,
    /// All counters.
    pub counters: Vec<(String, u64)>,
    /// Rows whose checksum did not hold: kept aside, named here.
    pub quarantined: Vec<String>,
}

/// What to look for; every given field must match.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// A subscriber identity as given in the trigger.
    pub subscriber: Option<String>,
    /// The CPM session or event id.
    pub subject: Option<String>,
    /// The Diameter Session-Id.
    pub diameter_session_id: Option<String>,
    /// Only this interface.
    pub interface: Option<Interface>,
    /// Only this state.
    pub state: Option<RecordState>,
    /// Created at or after.
    pub since: Option<Wall>,
    /// Created before.
    pub until: Option<Wall>,
    /// Continue after this record.
    pub after: Option<RecordId>,
    /// At most so many, 1 to 1,000.
    pub limit: u32,
}

/// A durable store. One writer; `commit` blocks until the batches are flushed.
pub trait Store: Send {
    /// Commits all batches with one flush; results in the same order.
    ///
    /// A batch that conflicts or fails leaves the others untouched. An empty batch is a real
    /// commit too: it tells whether the store accepts one.
    fn commit(&mut self, batches: &[Batch]) -> Vec<CommitResult>;

    /// Everything that a start needs.
    ///
    /// # Errors
    /// The reason why the store cannot be read at all.
    fn recover(&mut self) -> Result<Recovered, String>;

    /// A key, if it is known; expired ones are known until the next [`Store::purge`].
    ///
    /// # Errors
    /// The reason why the store cannot be read.
    fn key(&mut self, key: &Key) -> Result<Option<KeyRow>, String>;

    /// A session by id, ended ones too.
    ///
    /// # Errors
    /// The reason why the store cannot be read.
    fn session(&mut self, id: &str) -> Result<Option<SessionRow>, String>;

    /// A record by id.
    ///
    /// # Errors
    /// The reason why the store cannot be read.
    fn record(&mut self, id: RecordId) -> Result<Option<RecordRow>, String>;

    /// Records in order of creation.
    ///
    /// # Errors
    /// The reason why the store cannot be read.
    fn search(&mut self, query: &Query) -> Result<Vec<RecordRow>, String>;

    /// Removes what retention allows: acknowledged records and ended sessions older than
    /// `acknowledged_before`, dead ones older than `dead_before`, expired keys. A session or key of
    /// which a record is waiting or dead stays. Returns how many dead records went, by interface
    /// (CH-1, CH-2). Removes a bounded number of rows: to be called again and again.
    ///
    /// # Errors
    /// The reason why the store cannot be written.
    fn purge(
        &mut self,
        acknowledged_before: Wall,
        dead_before: Wall,
        now: Wall,
    ) -> Result<(u64, u64), String>;

    /// Removes those of these records that are dead, and nothing else. Returns how many went, by
    /// interface (CH-1, CH-2).
    ///
    /// # Errors
    /// The reason why the store cannot be written, or that it cannot do this.
    fn remove_dead(&mut self, _records: &[RecordId]) -> Result<(u64, u64), String> {
        Err("this store keeps dead records until their retention ends".to_owned())
    }

    /// Bytes on disk now, and the configured limit.
    fn size(&self) -> (u64, Option<u64>);
}

impl std::fmt::Display for RecordId {
    /// 26 characters of Crockford's base 32, as ULIDs are written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let value = u128::from_be_bytes(self.0);
        for place in (0..26).rev() {
            let digit = (value >> (place * 5)) & 31;
            let digit = ALPHABET[usize::try_from(digit).unwrap_or(0)];
            write!(f, "{}", char::from(digit))?;
        }
        Ok(())
    }
}

impl RecordId {
    /// Milliseconds since 1970 in the upper 48 bits, `random` below.
    pub fn new(at: Wall, random: u128) -> RecordId {
        let millis = u128::try_from(at.0.max(0)).unwrap_or(0) & 0xffff_ffff_ffff;
        RecordId(((millis << 80) | (random & ((1 << 80) - 1))).to_be_bytes())
    }

    /// Reads the 26 characters, in either case.
    pub fn parse(text: &str) -> Option<RecordId> {
        if text.len() != 26 {
            return None;
        }
        let mut value: u128 = 0;
        for character in text.bytes() {
            let digit = match character.to_ascii_uppercase() {
                d @ b'0'..=b'9' => d - b'0',
                l @ b'A'..=b'H' => l - b'A' + 10,
                l @ (b'J' | b'K') => l - b'J' + 18,
                l @ (b'M' | b'N') => l - b'M' + 20,
                l @ b'P'..=b'T' => l - b'P' + 22,
                l @ b'V'..=b'Z' => l - b'V' + 27,
                _ => return None,
            };
            value = value.checked_mul(32)?.checked_add(u128::from(digit))?;
        }
        Some(RecordId(value.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_ids_are_ulids() {
        let id = RecordId::new(Wall::parse("2025-12-12T10:43:11Z").expect("a time"), 7);
        assert_eq!(id.to_string().len(), 26);
        assert_eq!(RecordId::parse(&id.to_string()), Some(id));
        assert_eq!(RecordId::parse("01KC99XQ6Z"), None);
        assert_eq!(RecordId::parse("U1KC99XQ6Z3W8M5T2R7V4N0B1C"), None);
        assert!(RecordId::parse("ZZZZZZZZZZZZZZZZZZZZZZZZZZ").is_none());
    }
}
