//! A byte stream into messages, however it is cut (RFC 6733, 3: Message Length).

use bytes::{Bytes, BytesMut};

use super::codec::Limits;
use super::header::HEADER_BYTES;

/// Why a stream or a slice holds no message. A stream cannot be read on after it: close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Below 20 octets or no multiple of 4.
    #[error("Message Length {announced} is below 20 or no multiple of 4")]
    BadLength {
        /// The field's value.
        announced: u32,
    },
    /// More than the limit.
    #[error("Message Length {announced} exceeds the limit of {limit}")]
    TooLong {
        /// The field's value.
        announced: u32,
        /// The limit.
        limit: u32,
    },
    /// The slice is not the message that it announces.
    #[error("{have} octets are not the announced message")]
    Truncated {
        /// Octets that are there.
        have: usize,
    },
}

/// A Message Length that may be waited for.
pub(super) fn checked_length(announced: u32, limits: &Limits) -> Result<usize, FrameError> {
    if announced < HEADER_BYTES as u32 || !announced.is_multiple_of(4) {
        return Err(FrameError::BadLength { announced });
    }
    if announced > limits.message_bytes_max {
        return Err(FrameError::TooLong { announced, limit: limits.message_bytes_max });
    }
    Ok(announced as usize)
}

/// Takes the next whole message off the front of `buffer`.
///
/// `None`: more octets are needed. An error repeats: nothing is taken.
pub fn split_message(buffer: &mut BytesMut, limits: &Limits) -> Option<Result<Bytes, FrameError>> {
    // The length is judged as soon as it is there, so that nobody waits for 16 MiB.
    let announced = u32::from_be_bytes([0, *buffer.get(1)?, *buffer.get(2)?, *buffer.get(3)?]);
    match checked_length(announced, limits) {
        Err(error) => Some(Err(error)),
        Ok(length) if buffer.len() < length => None,
        Ok(length) => Some(Ok(buffer.split_to(length).freeze())),
    }
}

/// Collects octets and gives messages. Holds what was pushed and not yet taken, so a caller
/// that takes all messages after each push holds less than one message and one push.
#[derive(Debug, Default)]
pub struct Deframer {
    buffer: BytesMut,
    limits: Limits,
}

impl Deframer {
    /// An empty one.
    pub fn new(limits: Limits) -> Deframer {
        Deframer { buffer: BytesMut::new(), limits }
    }

    /// Adds received octets.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// The buffer itself, for a reader that appends to it.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole message; see [`split_message`].
    #[allow(clippy::should_implement_trait)] // It is no iterator: `None` is not the end.
    pub fn next(&mut self) -> Option<Result<Bytes, FrameError>> {
        split_message(&mut self.buffer, &self.limits)
    }

    /// Octets that wait for the rest of their message.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len()
    }
}
