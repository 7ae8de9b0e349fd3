//! A record: the durable thing one trigger makes per interface, one future ACR or CCR.

use bytes::Bytes;
use minicbor::{Decode, Encode};

use super::event::{Tariff, Units};
use super::outcome::DiameterResult;
use crate::clock::{Now, Wall};
use crate::store::{Interface, RecordId, RecordState};

/// The eight commands that records become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Command {
    /// START_RECORD.
    #[n(0)]
    AcrStart,
    /// INTERIM_RECORD.
    #[n(1)]
    AcrInterim,
    /// STOP_RECORD.
    #[n(2)]
    AcrStop,
    /// EVENT_RECORD.
    #[n(3)]
    AcrEvent,
    /// INITIAL_REQUEST.
    #[n(4)]
    CcrInitial,
    /// UPDATE_REQUEST.
    #[n(5)]
    CcrUpdate,
    /// TERMINATION_REQUEST.
    #[n(6)]
    CcrTermination,
    /// EVENT_REQUEST.
    #[n(7)]
    CcrEvent,
}

impl Command {
    /// The name in metrics, records and configuration.
    pub fn name(self) -> &'static str {
        match self {
            Command::AcrStart => "ACR-START",
            Command::AcrInterim => "ACR-INTERIM",
            Command::AcrStop => "ACR-STOP",
            Command::AcrEvent => "ACR-EVENT",
            Command::CcrInitial => "CCR-I",
            Command::CcrUpdate => "CCR-U",
            Command::CcrTermination => "CCR-T",
            Command::CcrEvent => "CCR-E",
        }
    }

    /// The RFC's name of the record or request type.
    pub fn type_name(self) -> &'static str {
        match self {
            Command::AcrStart => "START_RECORD",
            Command::AcrInterim => "INTERIM_RECORD",
            Command::AcrStop => "STOP_RECORD",
            Command::AcrEvent => "EVENT_RECORD",
            Command::CcrInitial => "INITIAL_REQUEST",
            Command::CcrUpdate => "UPDATE_REQUEST",
            Command::CcrTermination => "TERMINATION_REQUEST",
            Command::CcrEvent => "EVENT_REQUEST",
        }
    }

    /// Accounting-Record-Type or CC-Request-Type on the wire.
    pub fn type_value(self) -> i32 {
        match self {
            Command::AcrEvent | Command::CcrInitial => 1,
            Command::AcrStart | Command::CcrUpdate => 2,
            Command::AcrInterim | Command::CcrTermination => 3,
            Command::AcrStop | Command::CcrEvent => 4,
        }
    }

    /// Rf or Ro.
    pub fn interface(self) -> Interface {
        match self {
            Command::AcrStart | Command::AcrInterim | Command::AcrStop | Command::AcrEvent => {
                Interface::Ch1
            }
            _ => Interface::Ch2,
        }
    }
}

/// Units of one rating group that a CCR reports.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reported {
    /// Rating-Group.
    #[n(0)]
    pub rating_group: u32,
    /// What is new.
    #[n(1)]
    pub units: Units,
    /// Side of a tariff change.
    #[n(2)]
    pub tariff: Option<Tariff>,
}

/// One copy on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Index of the peer.
    pub peer: usize,
    /// Still no answer and no loss.
    pub outstanding: bool,
}

/// A record that is not final yet, with its sending state.
///
/// The numbered fields are what the store keeps; the rest begins anew after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Record {
    /// The id.
    #[n(0)]
    pub id: RecordId,
    /// Key of the session or event that owns it.
    #[n(1)]
    pub owner: String,
    /// What it becomes.
    #[n(2)]
    pub command: Command,
    /// Accounting-Record-Number or CC-Request-Number.
    #[n(3)]
    pub number: u32,
    /// End-to-End Identifier, the same in every copy.
    #[n(4)]
    pub end_to_end: u32,
    /// Diameter Session-Id.
    #[n(5)]
    pub diameter_session_id: String,
    /// The encoded message: Hop-by-Hop 0, T clear, no Destination-Host.
    #[cbor(n(6), encode_with = "encode_bytes", decode_with = "decode_bytes")]
    pub message: Bytes,
    /// When it was made.
    #[n(7)]
    pub created_at: Wall,
    /// Where it stands.
    #[n(8)]
    pub state: RecordState,
    /// An armed STOP is not sent before this time.
    #[n(9)]
    pub due_at: Option<Wall>,
    /// First transmission: begins the settling window.
    #[n(10)]
    pub first_sent_at: Option<Wall>,
    /// Every copy so far was answered by an error (T law, line 1).
    #[n(11)]
    pub error_mark: bool,
    /// Index of the route.
    #[n(12)]
    pub route: usize,
    /// Units that a CCR reports.
    #[n(13)]
    pub reported: Vec<Reported>,
    /// Where the copies go: peers of one dedup domain.
    #[n(14)]
    pub domain: Option<String>,
    /// Subscriber identities, for search.
    #[n(15)]
    pub subscribers: Vec<String>,
    /// Why it is dead, or the last error.
    #[n(16)]
    pub last_result: Option<DiameterResult>,
    /// Copies sent, over all lives of the process.
    #[n(17)]
    pub attempts: u32,
    /// Requested rating groups (CCR-I, CCR-U).
    #[n(18)]
    pub requested: Vec<u32>,
    /// CCR-T that only closes what the OCS opened: zero units, Termination-Cause 2.
    #[n(19)]
    pub closing_only: bool,
    /// It is the backup record of its session.
    #[n(20)]
    pub backup: bool,
    /// A CCR-U that no call asked for: after a RAR, or when Validity-Time is over.
    #[n(21)]
    pub unasked: bool,

    /// Found in the store at start (T law, line 2).
    #[cbor(skip)]
    pub recovered: bool,
    /// Copies of this life.
    #[cbor(skip)]
    pub copies: Vec<Copy>,
    /// An earlier copy of this life had no answer.
    #[cbor(skip)]
    pub unanswered: bool,
    /// Peers that answered with an error or were lost, to be left out while others are left.
    #[cbor(skip)]
    pub tried: Vec<usize>,
    /// Tx ran out this many times.
    #[cbor(skip)]
    pub expired: u32,
    /// When the last copy left.
    #[cbor(skip)]
    pub sent_at: Option<Now>,
    /// Waits for a peer of its route to open.
    #[cbor(skip)]
    pub parked: bool,
    /// The next copy is under way to be allowed (commit that takes the mark off).
    #[cbor(skip)]
    pub unmarking: bool,
    /// The repeat at Tx was made.
    #[cbor(skip)]
    pub repeated: bool,
    /// Its state on disk; `None` until its first commit is durable.
    #[cbor(skip)]
    pub durable: Option<RecordState>,
    /// Sending failed once: RFC 6733, 8.2 calls it a record in storage from then on.
    #[cbor(skip)]
    pub stored: bool,
    /// Failed tries since the last success, for the back-off of ACRs.
    #[cbor(skip)]
    pub backoff: u32,
    /// Copies of this life, those that never left included: names the Tx of each.
    #[cbor(skip)]
    pub copies_made: u32,
    /// A copy was handed over, and whoever takes it has not said so yet.
    #[cbor(skip)]
    pub leaving: bool,
}

impl Record {
    /// No copy ever left, as far as this life can know.
    pub fn is_unsent(&self) -> bool {
        self.attempts == 0 && !self.leaving && !self.recovered
    }

    /// A copy is on its way and neither answered nor lost.
    pub fn in_flight(&self) -> bool {
        self.copies.iter().any(|copy| copy.outstanding)
    }

    /// Marks the newest outstanding copy at `peer` as ended.
    pub fn end_copy(&mut self, peer: usize) -> bool {
        match self.copies.iter_mut().rev().find(|copy| copy.peer == peer && copy.outstanding) {
            Some(copy) => {
                copy.outstanding = false;
                true
            }
            None => false,
        }
    }

    /// The connection to `peer` is gone, or it is silent: none of its copies is on its way any more.
    pub fn end_copies(&mut self, peer: usize) -> bool {
        let mut ended = false;
        for copy in self.copies.iter_mut().filter(|copy| copy.peer == peer) {
            ended |= std::mem::replace(&mut copy.outstanding, false);
        }
        ended
    }

    /// Forgets the newest outstanding copy at `peer`: it never left.
    pub fn take_back(&mut self, peer: usize) -> bool {
        let newest = self.copies.iter().rposition(|copy| copy.peer == peer && copy.outstanding);
        let Some(newest) = newest else { return false };
        self.copies.remove(newest);
        self.attempts = self.attempts.saturating_sub(1);
        true
    }
}

fn encode_bytes<C, W: minicbor::encode::Write>(
    bytes: &Bytes,
    encoder: &mut minicbor::Encoder<W>,
    _: &mut C,
) -> Result<(), minicbor::encode::Error<W::Error>> {
    encoder.bytes(bytes)?;
    Ok(())
}

fn decode_bytes<C>(
    decoder: &mut minicbor::Decoder<'_>,
    _: &mut C,
) -> Result<Bytes, minicbor::decode::Error> {
    Ok(Bytes::copy_from_slice(decoder.bytes()?))
}
