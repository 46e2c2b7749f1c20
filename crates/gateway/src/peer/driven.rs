//! A connection over HTTP/1.1 that is driven by whoever waits for its answer.
//!
//! hyper makes two futures of a connection that wake each other for each piece of a body. As two tasks they go through the
//! runtime's queue each time, and as one they make the whole task that waits, with everything around it, ready to be looked
//! at again each time. [`Driven::poll`] looks at both in turn for as long as they wake each other, under a waker of its
//! own that keeps this to itself, and passes on what comes from outside.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::NotAsked;

/// What a connection is made over.
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

type Connection = http1::Connection<Stream, Full<Bytes>>;

/// Turns of looking at a connection and at what is waited for, at most, before others of the thread have theirs: a task that
/// has read much is told by its runtime to wait, which it is woken for at once.
const MOST_TURNS: usize = 4;

/// A connection, one request at a time.
pub(super) struct Driven {
    sender: http1::SendRequest<Full<Bytes>>,
    /// There until it has ended. Dropped, it gives back a request that it has not begun to send, and ends everything else that is
    /// waited for.
    connection: Option<Connection>,
    waking: Arc<Waking>,
    /// Wakes by that.
    waker: Waker,
}

impl Driven {
    pub(super) async fn over(stream: Stream) -> hyper::Result<Driven> {
        let (sender, connection) = http1::handshake(stream).await?;
        let waking =
            Arc::new(Waking { state: AtomicU8::new(RESTS), task: Mutex::new(Waker::noop().clone()) });
        let waker = Waker::from(Arc::clone(&waking));
        Ok(Driven { sender, connection: Some(connection), waking, waker })
    }

    /// Whether it waits for a request: the last answer has come to its end, and the other side has not closed it.
    pub(super) fn is_idle(&mut self) -> bool {
        look_at(&mut self.connection, &mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Sends a request and waits for the answer's head. Dropped before, it leaves the connection of no use.
    pub(super) async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, NotAsked> {
        let mut answered = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| self.poll(cx, |cx| answered.as_mut().poll(cx))).await.map_err(NotAsked::from)
    }

    /// Looks at the connection and then at what is waited for.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut look: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.waking.follow(cx.waker());
        let mut own = Context::from_waker(&self.waker);
        for _ in 0..MOST_TURNS {
            self.waking.begin();
            look_at(&mut self.connection, &mut own);
            let seen = look(&mut own);
            let turn = self.waking.end();
            match (seen, turn) {
                (Poll::Ready(seen), _) => return Poll::Ready(seen),
                (Poll::Pending, Turn::Again) => {}
                (Poll::Pending, Turn::Enough) => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Looks at a connection, and drops it if it has ended.
fn look_at(connection: &mut Option<Connection>, cx: &mut Context<'_>) {
    connection.take_if(|connection| Pin::new(connection).poll(cx).is_ready());
}

/// Nobody looks: who is woken is the task.
const RESTS: u8 = 0;
/// Somebody looks: whoever wakes now is seen in the next turn.
const LOOKS: u8 = 1;
/// The same, and somebody has.
const WOKEN: u8 = 2;

/// Whom a connection and what is waited for wake.
struct Waking {
    state: AtomicU8,
    task: Mutex<Waker>,
}

/// What comes after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Again,
    Enough,
}

impl Waking {
    /// This task is woken from now on.
    fn follow(&self, waker: &Waker) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.clone_from(waker);
    }

    fn begin(&self) {
        self.state.store(LOOKS, Ordering::SeqCst);
    }

    fn end(&self) -> Turn {
        if self.state.swap(RESTS, Ordering::SeqCst) == WOKEN { Turn::Again } else { Turn::Enough }
    }
}

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Between the end of one turn and the beginning of the next it wakes the task, which is once too often at most.
        let looked = self.state.compare_exchange(LOOKS, WOKEN, Ordering::SeqCst, Ordering::SeqCst);
        if looked == Err(RESTS) {
            let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
            task.wake();
        }
    }
}
