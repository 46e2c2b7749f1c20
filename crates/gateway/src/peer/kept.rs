//! Connections of one thread to one server that wait for the next request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

/// What sends requests over a connection that many share.
pub(super) type Shared = http2::SendRequest<Full<Bytes>>;

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
    /// The one that many share, and when it was asked for last.
    shared: Option<(Instant, Shared)>,
    /// Whether somebody sweeps.
    swept: bool,
}

impl State {
    /// The one that many share, if it can be asked.
    fn open(&mut self) -> Option<Shared> {
        self.close_shared();
        let (asked, shared) = self.shared.as_mut()?;
        *asked = Instant::now();
        Some(shared.clone())
    }

    /// Closes it if it has waited too long, or the other side has closed it. While its runtime rests nobody looks at it, and then
    /// its age says more.
    fn close_shared(&mut self) {
        self.shared.take_if(|(asked, shared)| asked.elapsed() >= IDLE || shared.is_closed());
    }
}

impl Kept {
    /// One that can be asked, if there is any: the one that many share, or else the one that came back last.
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

    /// Keeps one for everybody, and gives the one to ask over: if there is one that is open, that one, and this one is closed.
    pub(super) fn share(self: &Arc<Self>, shared: Shared) -> Shared {
        let mut state = self.lock();
        if let Some(open) = state.open() {
            return open;
        }
        state.shared = Some((Instant::now(), shared.clone()));
        self.have_swept(&mut state);
        shared
    }

    /// Gives the one that many share to nobody any more, since it takes no requests. What was asked over it goes on.
    pub(super) fn forget_shared(&self) {
        self.lock().shared = None;
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
            if state.waiting.is_empty() && state.shared.is_none() {
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
