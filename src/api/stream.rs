//! An answer that is written while it comes into being.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

/// The receiving end of a channel as a body; it ends when every sender is gone.
pub(super) struct Stream(mpsc::Receiver<Bytes>);

impl Stream {
    /// A body and where to write it; `waiting` pieces may wait for a slow client.
    pub(super) fn open(waiting: usize) -> (mpsc::Sender<Bytes>, Body) {
        let (sender, receiver) = mpsc::channel(waiting);
        (sender, Body::new(Stream(receiver)))
    }
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
