//! One socket with its two buffers: many messages a read, many messages a write.

use std::collections::{BTreeSet, VecDeque};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::end::End;
use super::socket::{Proof, Socket};
use crate::clock::Now;
use crate::diameter::{self, Address, Deframer, FrameError, patch_hop_by_hop, patch_retransmit};
use crate::peer::Limits;

/// Octets asked for at a time.
const READ_BYTES: usize = 64 * 1024;

/// Octets read before what they hold is looked at.
const READ_BYTES_MAX: usize = 256 * 1024;

/// A request in the write buffer, by octets counted from the beginning of the connection.
#[derive(Clone, Copy, Debug)]
struct Queued {
    start: u64,
    end: u64,
    token: u64,
    hop_by_hop: u32,
}

/// What a poll of the socket came to.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Octets came or went.
    pub(super) moved: bool,
    /// The connection is gone, in words. What was read before is still to be handled.
    pub(super) end: Option<End>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    deframer: Deframer,
    out: BytesMut,
    out_bytes_max: usize,
    /// Octets ever put into `out`, and ever handed to the socket.
    queued: u64,
    written: u64,
    requests: VecDeque<Queued>,
    message_time: Duration,
    partial_since: Option<Now>,
    /// What was written may be kept back by TLS.
    unflushed: bool,
    /// Close when everything is written.
    closing: bool,
}

impl Wire {
    pub(super) fn new(socket: Socket, limits: &Limits) -> Wire {
        // Writes are gathered already; waiting for more would only delay the last one.
        let _ = socket.tcp().set_nodelay(true);
        let codec = diameter::Limits {
            message_bytes_max: limits.message_bytes_max,
            ..diameter::Limits::default()
        };
        Wire {
            socket,
            deframer: Deframer::new(codec),
            out: BytesMut::new(),
            out_bytes_max: limits.send_buffer_bytes_max,
            queued: 0,
            written: 0,
            requests: VecDeque::new(),
            message_time: limits.message,
            partial_since: None,
            unflushed: false,
            closing: false,
        }
    }

    /// The local address, for Host-IP-Address.
    pub(super) fn local(&self) -> Vec<Address> {
        self.socket.tcp().local_addr().map(|local| address(local.ip())).into_iter().collect()
    }

    /// The remote address, in words.
    pub(super) fn remote(&self) -> String {
        self.socket
            .tcp()
            .peer_addr()
            .map_or_else(|_| "unknown".to_owned(), |remote| remote.to_string())
    }

    /// What the other side proved; `None` without TLS.
    pub(super) fn proof(&self) -> Option<Proof> {
        self.socket.proof()
    }

    /// No more should be put into the write buffer now.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() >= self.out_bytes_max
    }

    /// Appends a message as it is.
    pub(super) fn push(&mut self, message: &[u8]) {
        self.out.extend_from_slice(message);
        self.queued += message.len() as u64;
    }

    /// Appends a request and sets its Hop-by-Hop id and T.
    pub(super) fn push_request(
        &mut self,
        message: &[u8],
        token: u64,
        hop_by_hop: u32,
        retransmit: bool,
    ) {
        let at = self.out.len();
        let start = self.queued;
        self.push(message);
        if let Some(copy) = self.out.get_mut(at..) {
            patch_hop_by_hop(copy, hop_by_hop);
            patch_retransmit(copy, retransmit);
        }
        self.requests.push_back(Queued { start, end: self.queued, token, hop_by_hop });
    }

    /// The next request whose last octet was handed to the socket: token and Hop-by-Hop id.
    pub(super) fn next_sent(&mut self) -> Option<(u64, u32)> {
        let first = self.requests.front().filter(|first| first.end <= self.written)?;
        let sent = (first.token, first.hop_by_hop);
        self.requests.pop_front();
        Some(sent)
    }

    /// Tokens of requests of which not one octet was handed to the socket.
    pub(super) fn unsent(&self) -> BTreeSet<u64> {
        let unsent = self.requests.iter().filter(|request| request.start >= self.written);
        unsent.map(|request| request.token).collect()
    }

    /// Close when everything is written.
    pub(super) fn finish(&mut self) {
        self.closing = true;
    }

    /// Ends the connection in an orderly way.
    pub(super) fn close(mut self) {
        self.socket.part();
    }

    /// Drops the connection with a reset instead of an orderly end.
    pub(super) fn reset(self) {
        let _ = self.socket.tcp().set_zero_linger();
    }

    /// The socket, for whoever reads and writes it otherwise.
    pub(super) fn into_socket(self) -> Socket {
        self.socket
    }

    /// The next whole message. After the last one, notes since when a part of one is there.
    pub(super) fn next_message(&mut self, now: Now) -> Option<Result<Bytes, FrameError>> {
        let next = self.deframer.next();
        if next.is_some() || self.deframer.pending_bytes() == 0 {
            self.partial_since = None;
        } else if self.partial_since.is_none() {
            self.partial_since = Some(now);
        }
        next
    }

    /// What came first is a handshake record of TLS (RFC 8446, 5.1) and no Diameter version.
    pub(super) fn begins_with_tls(&mut self) -> bool {
        self.deframer.buffer().first() == Some(&22)
    }

    /// When a message that began to arrive must be complete (FN-06).
    pub(super) fn deadline(&self) -> Option<Now> {
        self.partial_since.map(|since| since + self.message_time)
    }

    /// Reads and writes what can be. `read`: there is room for what comes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, read: bool) -> Progress {
        let mut progress = Progress::default();
        if read {
            self.poll_read(cx, &mut progress);
        }
        if progress.end.is_none() {
            self.poll_write(cx, &mut progress);
        }
        progress
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, progress: &mut Progress) {
        let mut total = 0;
        while total < READ_BYTES_MAX {
            let buffer = self.deframer.buffer();
            if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
                buffer.reserve(READ_BYTES);
            }
            match pin!(self.socket.read_buf(buffer)).poll(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => {
                    progress.end = Some(End::words("closed by the peer"));
                    return;
                }
                Poll::Ready(Ok(count)) => {
                    progress.moved = true;
                    total += count;
                }
                Poll::Ready(Err(error)) => {
                    progress.end = Some(End::of(&error));
                    return;
                }
            }
        }
        // More may be there, and nothing else would wake this task.
        cx.waker().wake_by_ref();
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, progress: &mut Progress) {
        while !self.out.is_empty() {
            let socket = pin!(&mut self.socket);
            match socket.poll_write(cx, &self.out) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => {
                    progress.end = Some(End::words("closed by the peer"));
                    return;
                }
                Poll::Ready(Ok(count)) => {
                    progress.moved = true;
                    self.unflushed = self.socket.keeps_octets_back();
                    self.written += count as u64;
                    self.out.advance(count);
                }
                Poll::Ready(Err(error)) => {
                    progress.end = Some(End::of(&error));
                    return;
                }
            }
        }
        if self.unflushed {
            match pin!(&mut self.socket).poll_flush(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => {
                    progress.end = Some(End::of(&error));
                    return;
                }
            }
        }
        if self.closing {
            self.socket.part();
            progress.end = Some(End::words("closed here"));
        }
    }
}

/// As the Address type carries it.
pub(super) fn address(ip: std::net::IpAddr) -> Address {
    match ip.to_canonical() {
        std::net::IpAddr::V4(v4) => Address::Ipv4(v4.octets()),
        std::net::IpAddr::V6(v6) => Address::Ipv6(v6.octets()),
    }
}
