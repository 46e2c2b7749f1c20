//! Connections of one thread to one server that wait for the next request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use tokio::runtime::Handle;

use super::driven::Driven;

/// Connections that wait, at most.
const MOST: usize = 64;
/// How long one waits at most.
const IDLE: Duration = Duration::from_secs(60);
/// How often it is looked for those that have waited too long, or were closed by the other side.
const SWEEP: Duration = Duration::from_secs(15);

/// Requests at one time over a connection that many share, at most: servers take no fewer (RFC 9113, 6.5.2). More would wait in it
/// for each other, and that would look as if the server were slow.
const MOST_AT_ONCE: usize = 100;

/// A connection that many share. It is theirs for as long as they hold this.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) requests: http2::SendRequest<Full<Bytes>>,
    /// Held by each request over it, and where it is kept.
    holders: Arc<()>,
}

impl Shared {
    pub(super) fn new(requests: http2::SendRequest<Full<Bytes>>) -> Shared {
        Shared { requests, holders: Arc::default() }
    }

    /// Whether it takes one more, where it is kept.
    fn has_room(&self) -> bool {
        Arc::strong_count(&self.holders) <= MOST_AT_ONCE
    }

    /// Which it is, for whoever does not hold it.
    pub(super) fn which(&self) -> Weak<()> {
        Arc::downgrade(&self.holders)
    }
}

/// A connection.
pub(super) enum Held {
    /// For one request at a time.
    Driven(Box<Driven>),
    /// For many.
    Shared(Shared),
}

/// Connections that wait.
#[derive(Default)]
pub(super) struct Kept(Mutex<State>);

#[derive(Default)]
struct State {
    /// Those for one request at a time, in the order in which they came back.
    waiting: Vec<(Instant, Box<Driven>)>,
    /// Those that many share, and when they were asked for last.
    shared: Vec<(Instant, Shared)>,
    /// Whether somebody sweeps.
    swept: bool,
}

impl State {
    /// The first that many share which can be asked, so that the others come to rest.
    fn open(&mut self) -> Option<Shared> {
        self.close_shared();
        let (asked, shared) = self.shared.iter_mut().find(|(_, shared)| shared.has_room())?;
        *asked = Instant::now();
        Some(shared.clone())
    }

    /// Closes those that have waited too long, or that the other side has closed. While their runtime rests nobody looks at them,
    /// and then their age says more.
    fn close_shared(&mut self) {
        self.shared.retain(|(asked, shared)| asked.elapsed() < IDLE && !shared.requests.is_closed());
    }
}

impl Kept {
    /// One that can be asked, if there is any: one that many share, or else the one that came back last.
    pub(super) fn take(&self) -> Option<Held> {
        let mut state = self.lock();
        if let Some(shared) = state.open() {
            return Some(Held::Shared(shared));
        }
        while let Some((since, mut driven)) = state.waiting.pop() {
            if since.elapsed() < IDLE && driven.is_idle() {
                return Some(Held::Driven(driven));
            }
        }
        None
    }

    /// Keeps one for the next request, if it can be asked once more.
    pub(super) fn keep(self: &Arc<Self>, mut driven: Box<Driven>) {
        if !driven.is_idle() {
            return;
        }
        let mut state = self.lock();
        if state.waiting.len() < MOST {
            state.waiting.push((Instant::now(), driven));
            self.have_swept(&mut state);
        }
    }

    /// Keeps one for everybody, and gives the one to ask over: if there is one that has room, that one, and this one is closed.
    pub(super) fn share(self: &Arc<Self>, shared: Shared) -> Shared {
        let mut state = self.lock();
        if let Some(open) = state.open() {
            return open;
        }
        // One more is for its one request.
        if state.shared.len() < MOST {
            state.shared.push((Instant::now(), shared.clone()));
            self.have_swept(&mut state);
        }
        shared
    }

    /// Gives one that many share to nobody any more, since it takes no requests. What was asked over it goes on.
    pub(super) fn forget(&self, closed: &Weak<()>) {
        self.lock().shared.retain(|(_, shared)| !closed.ptr_eq(&shared.which()));
    }

    fn have_swept(self: &Arc<Self>, state: &mut State) {
        if state.swept {
            return;
        }
        // Without a runtime nobody asks again either.
        if let Ok(runtime) = Handle::try_current() {
            state.swept = true;
            runtime.spawn(Arc::clone(self).sweep());
        }
    }

    /// Closes what has waited too long, until nothing waits.
    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let mut state = self.lock();
            state.waiting.retain_mut(|(since, driven)| since.elapsed() < IDLE && driven.is_idle());
            state.close_shared();
            if state.waiting.is_empty() && state.shared.is_empty() {
                state.swept = false;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }
}
