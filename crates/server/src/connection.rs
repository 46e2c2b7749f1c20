//! Connections: how many there are, and when one is given up.
//!
//! HTTP/1.1 through hyper. Headers are bounded in bytes and number and must arrive in time, which
//! also bounds how long an idle connection is kept. A client that takes nothing of its answer for
//! too long is cut off, so that it cannot hold a connection and an answer for ever. When a client
//! closes its side while an answer is under way, hyper drops the answer's body, and with it the
//! engine's streams.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep};

use crate::config::{Limits, Times};
use crate::lanes::Lanes;

/// hyper's read buffer is at least this large.
const LEAST_HEADER_BYTES: usize = 8192;
/// How long to wait after the kernel refused a connection for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What every connection is served by.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) router: Router,
    pub(crate) limits: Limits,
    pub(crate) times: Times,
    /// True once connections are to end.
    pub(crate) closing: watch::Receiver<bool>,
}

/// Accepts connections until they are to end, then asks each to end after the answer it is giving, and waits for all of
/// them, or until `patience` is over. What is left then is cut off.
pub(crate) async fn accept(listener: TcpListener, lanes: Lanes, mut service: Service, patience: Duration) {
    let slots = Arc::new(Semaphore::new(service.limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
    let total = slots.available_permits();
    loop {
        let accepted = tokio::select! {
            accepted = next_connection(&listener, &slots) => accepted,
            () = closed(&mut service.closing) => break,
        };
        let Some((socket, slot)) = accepted else { continue };
        lanes.serve(serve(socket, service.clone(), slot));
    }
    drop(listener);
    let all = u32::try_from(total).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(patience, slots.acquire_many(all)).await;
    lanes.end().await;
}

/// Resolves once connections are to end.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn next_connection(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(std::net::TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    // It is of this runtime until it is given to its lane's.
    match listener.accept().await.and_then(|(socket, _)| socket.into_std()) {
        Ok(socket) => Some((socket, slot)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn serve(socket: std::net::TcpStream, service: Service, _slot: OwnedSemaphorePermit) {
    let Service { router, limits, times, mut closing } = service;
    let socket = match TcpStream::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%error, "a connection could not be served");
            return;
        }
    };
    // Small events must not wait for the client's acknowledgement of the last one.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let io = TokioIo::new(ImpatientWriter::new(socket, times.write));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(times.headers)
        .max_buf_size(limits.header_bytes.max(LEAST_HEADER_BYTES))
        .max_headers(limits.headers);
    let connection = builder.serve_connection(io, TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closed(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A socket whose writes fail when the peer has taken nothing for a while.
struct ImpatientWriter {
    socket: TcpStream,
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
    waiting: bool,
}

impl ImpatientWriter {
    fn new(socket: TcpStream, patience: Duration) -> ImpatientWriter {
        ImpatientWriter { socket, patience, deadline: Box::pin(sleep(patience)), waiting: false }
    }

    /// Passes a write's result on, unless it has been pending for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.waiting = false;
            return result;
        }
        if !self.waiting {
            self.waiting = true;
            let deadline = Instant::now() + self.patience;
            self.deadline.as_mut().reset(deadline);
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer")))
    }
}

impl AsyncRead for ImpatientWriter {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for ImpatientWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.watch(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.watch(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.socket).poll_flush(cx);
        self.watch(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.watch(cx, result)
    }
}
