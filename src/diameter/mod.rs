//! The wire of RFC 6733: header, AVPs, messages, dictionaries, grammar.
//!
//! Knows bytes and AVPs, not peers, sessions or money. Whatever a peer sends is kept and
//! described ([`Problem`]); nothing here fails on it, panics, or allocates more than it sent.
//! Two ways to read: [`decode`] builds an owned [`Message`]; [`View`] walks the bytes and
//! allocates nothing. Two ways to write: [`Message::encode`], and the `put_…` functions for a
//! caller that knows its message's shape beforehand.

pub mod avp;
pub mod codec;
pub mod deframe;
pub mod dictionary;
mod dictionary_file;
pub mod grammar;
pub mod header;
pub mod id;
pub mod ids;
pub mod message;
pub mod print;
pub mod problem;
pub mod result_code;
pub mod value;
pub mod view;
pub mod write;

pub use avp::{Avp, AvpFlags, AvpId, AvpList};
pub use codec::{Limits, decode};
pub use deframe::{Deframer, FrameError};
pub use dictionary::{AvpDef, CommandDef, Dictionary, Kind, MandatoryRule, Member};
pub use grammar::{check_grammar, check_order};
pub use header::{CommandFlags, Header, application, command};
pub use message::Message;
pub use problem::{Problem, ProblemKind};
pub use value::{Address, Value};
pub use view::{AvpView, AvpViews, View};
pub use write::{
    Mark, append_avp, begin_group, begin_message, end_group, end_message, patch_end_to_end,
    patch_hop_by_hop, patch_retransmit, put_avp, put_bytes, put_i32, put_i64, put_u32, put_u64,
};
