//! The API port: HTTP/1.1 and h2c, with limits that hold against slow and silent clients.
//!
//! hyper's own header timeout is inert without a timer, does not run while the protocol version
//! is being sniffed, and does not tell an idle connection from a slow header. So the socket notes
//! when a header began to arrive ([`Watched`]), the service notes when a call runs, and the task
//! of the connection ends what is too slow. hyper's timer is installed all the same, as a second lock.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response, Version};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

use crate::clock::{self, Now};

/// Limits of the port.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first byte of a header (or from the accept) to its end.
    pub header_timeout: Duration,
    /// A connection without a call is closed after this time.
    pub idle_timeout: Duration,
    /// Connections at once; more wait in the kernel's queue.
    pub connections_max: usize,
    /// Header fields of one request.
    pub headers_max: usize,
    /// Streams of one HTTP/2 connection at once.
    pub streams_max: u32,
    /// After the shutdown began, calls in progress may take so long.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            connections_max: 1_000,
            headers_max: 64,
            streams_max: 256,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

const HEADER_BYTES_MAX: u32 = 32 << 10;

/// Serves `router` on `listener` until `shutdown` resolves and the calls in progress have ended.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS)));
    let (closing, closed) = watch::channel(false);
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async {
            // The semaphore is never closed, so that a permit always comes.
            let place = places.clone().acquire_owned().await.ok();
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            next = next => next,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, closed) = (router.clone(), closed.clone());
                tokio::spawn(async move {
                    connection(stream, router, limits, closed).await;
                    drop(place);
                });
            }
            // Out of descriptors, or the client has gone: neither ends the port.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    drop(listener);
    drop(closed);
    closing.send_replace(true);
    let _ = tokio::time::timeout(limits.drain_timeout, closing.closed()).await;
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One connection from accept to end.
async fn connection(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    mut closing: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::new(clock::now()));
    let io = TokioIo::new(Watched { stream, activity: activity.clone() });
    let service = Calls { router, activity: activity.clone() };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .max_headers(limits.headers_max)
        .max_buf_size(HEADER_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle_timeout)
        .keep_alive_timeout(limits.header_timeout)
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(HEADER_BYTES_MAX);
    let mut served = pin!(builder.serve_connection(io, service));
    let tick = (limits.header_timeout / 8).max(Duration::from_millis(5));
    let mut asked_to_close = false;
    loop {
        tokio::select! {
            _ = &mut served => return,
            () = tokio::time::sleep(tick) => match activity.judge(clock::now(), limits) {
                Verdict::Fine => {}
                Verdict::Slow => return,
                Verdict::Idle if asked_to_close => return,
                Verdict::Idle => {
                    served.as_mut().graceful_shutdown();
                    asked_to_close = true;
                }
            },
            changed = closing.changed(), if !asked_to_close => {
                if changed.is_err() || *closing.borrow() {
                    served.as_mut().graceful_shutdown();
                    asked_to_close = true;
                }
            }
        }
    }
}

/// What a connection is doing, noted by its socket and its service, judged by its task.
struct Activity {
    /// When the header that is arriving began, in nanoseconds; [`NO_HEADER`]: none is.
    header_since: AtomicU64,
    /// Calls in progress.
    running: AtomicUsize,
    /// When the last call ended.
    idle_since: AtomicU64,
    /// HTTP/2 sends frames without calls (PING, SETTINGS): bytes there do not begin a header.
    http2: AtomicBool,
}

const NO_HEADER: u64 = u64::MAX;

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Slow,
    Idle,
}

impl Activity {
    /// A new connection owes a header from the start.
    fn new(now: Now) -> Activity {
        Activity {
            header_since: AtomicU64::new(now.0),
            running: AtomicUsize::new(0),
            idle_since: AtomicU64::new(now.0),
            http2: AtomicBool::new(false),
        }
    }

    fn bytes_came(&self, now: Now) {
        if self.running.load(Ordering::Relaxed) == 0 && !self.http2.load(Ordering::Relaxed) {
            let relaxed = Ordering::Relaxed;
            let _ = self.header_since.compare_exchange(NO_HEADER, now.0, relaxed, relaxed);
        }
    }

    fn call_begins(&self, version: Version) {
        if version == Version::HTTP_2 {
            self.http2.store(true, Ordering::Relaxed);
        }
        self.running.fetch_add(1, Ordering::Relaxed);
        self.header_since.store(NO_HEADER, Ordering::Relaxed);
    }

    fn call_ended(&self, now: Now) {
        self.idle_since.store(now.0, Ordering::Relaxed);
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    fn judge(&self, now: Now, limits: Limits) -> Verdict {
        if self.running.load(Ordering::Relaxed) > 0 {
            return Verdict::Fine;
        }
        let header_since = self.header_since.load(Ordering::Relaxed);
        let slack = limits.header_timeout / 8;
        if header_since != NO_HEADER && now.since(Now(header_since)) + slack > limits.header_timeout
        {
            return Verdict::Slow;
        }
        let idle_since = Now(self.idle_since.load(Ordering::Relaxed));
        if now.since(idle_since) > limits.idle_timeout { Verdict::Idle } else { Verdict::Fine }
    }
}

/// A socket that notes when bytes come.
struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() && buffer.filled().len() > before {
            self.activity.bytes_came(clock::now());
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}

/// The router as hyper's service, counting the calls in progress.
#[derive(Clone)]
struct Calls {
    router: Router,
    activity: Arc<Activity>,
}

impl Service<Request<Incoming>> for Calls {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.activity.call_begins(request.version());
        // Ends the call also if the future is dropped, as hyper does when the client goes away.
        let running = Running(self.activity.clone());
        let router = self.router.clone();
        Box::pin(async move {
            let response = router.oneshot(request.map(Body::new)).await?;
            // A call runs until the last octet of its answer: a stream may take hours.
            Ok(response.map(|body| Body::new(Answering { body, _running: running })))
        })
    }
}

struct Running(Arc<Activity>);

/// The body of an answer.
struct Answering {
    body: Body,
    _running: Running,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.call_ended(clock::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k_23_a_slow_header_is_not_an_idle_connection() {
        let limits = Limits::default();
        let at = |secs: u64| Now(secs * 1_000_000_000);
        let activity = Activity::new(at(0));
        assert_eq!(activity.judge(at(8), limits), Verdict::Fine);
        assert_eq!(activity.judge(at(10), limits), Verdict::Slow);

        activity.call_begins(Version::HTTP_11);
        assert_eq!(activity.judge(at(60), limits), Verdict::Fine);
        activity.call_ended(at(60));
        assert_eq!(activity.judge(at(100), limits), Verdict::Fine);
        activity.bytes_came(at(100));
        activity.bytes_came(at(108));
        assert_eq!(activity.judge(at(110), limits), Verdict::Slow);

        activity.call_begins(Version::HTTP_2);
        activity.call_ended(at(120));
        activity.bytes_came(at(121));
        assert_eq!(activity.judge(at(190), limits), Verdict::Fine);
        assert_eq!(activity.judge(at(196), limits), Verdict::Idle);
    }
}
