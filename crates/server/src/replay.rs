//! Requests with an `Idempotency-Key`: run once, attach while running, resume after a break.
//!
//! Such a request's frames go into a [`Recording`] rather than straight to its client, and each
//! client reads from there: the first one, one that repeats the request, one that comes back with
//! `Last-Event-ID`. Bounds, all in [`Limits`](crate::Limits) and [`Times`](crate::Times): so many
//! recordings; so many bytes of each (the oldest frames go first, and a reader that needs them is
//! told so); kept so long after the end. While nobody reads, generation goes on for that same time
//! and is then cancelled. When the foremost reader is half a window behind, the recorder waits for
//! it, so a slow client loses nothing; the engine never waits, since its stream holds everything.
//!
//! A key belongs to the API key it came with and to the body it came with.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::auth::Caller;
use crate::config::{Limits, Times};
use crate::error::ApiError;
use crate::screen::Stamp;
use crate::sse::{Frame, Frames, NumberedFrames, Production, Shape};

/// Bytes of an `Idempotency-Key` at most.
pub(crate) const MAX_KEY_BYTES: usize = 255;

/// Whose key it is, and which.
type Key = (Caller, String);

/// All recordings, by key.
pub(crate) struct Replays {
    table: Mutex<HashMap<Key, Arc<Recording>>>,
    most: usize,
    window: usize,
    lifetime: Duration,
}

/// One request's frames.
pub(crate) struct Recording {
    /// Digest of path and body.
    digest: [u8; 32],
    window: usize,
    state: watch::Sender<State>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// The latest frames; the first has the number `dropped + 1`.
    frames: VecDeque<Frame>,
    dropped: u64,
    bytes: usize,
    /// Number of the last frame that some reader took, and the bytes after it.
    delivered: u64,
    ahead: usize,
    readers: usize,
    ended: Option<Instant>,
}

#[derive(Default)]
enum Phase {
    /// The prompt is being worked on.
    #[default]
    Preparing,
    /// The request was refused; so is everyone who attached to it.
    Refused(ApiError),
    /// Frames come or came.
    Running(Shape, Stamp),
}

/// What a key led to.
pub(crate) enum Opened {
    /// A new recording, which the caller has to start.
    New(Starting),
    /// The request is known; read from it.
    Known(Arc<Recording>),
}

/// The duty to start a recording. Dropped without that, for example because the client went away
/// meanwhile, it takes the recording back.
pub(crate) struct Starting {
    replays: Arc<Replays>,
    key: Key,
    recording: Arc<Recording>,
    settled: bool,
}

/// How a recorded request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Said,
    Broke,
}

impl Replays {
    pub(crate) fn new(limits: &Limits, times: &Times) -> Arc<Replays> {
        Arc::new(Replays {
            table: Mutex::new(HashMap::new()),
            most: limits.recordings,
            window: limits.recording_bytes,
            lifetime: times.replay,
        })
    }

    /// Finds or makes the recording of `key` for a request with this digest.
    ///
    /// # Errors
    /// 409 if the key belongs to another body, 429 if no more recordings are kept.
    pub(crate) fn open(
        self: &Arc<Self>,
        caller: &Caller,
        key: &str,
        digest: [u8; 32],
    ) -> Result<Opened, ApiError> {
        let key = (caller.clone(), key.to_owned());
        let mut table = self.lock();
        if let Some(recording) = table.get(&key) {
            if recording.digest != digest {
                return Err(ApiError::key_reused());
            }
            return Ok(Opened::Known(Arc::clone(recording)));
        }
        if table.len() >= self.most {
            evict(&mut table);
        }
        if table.len() >= self.most {
            let message = format!("{} requests with an Idempotency-Key are running already", self.most);
            return Err(ApiError::queue_full(message, 1));
        }
        let recording =
            Arc::new(Recording { digest, window: self.window, state: watch::Sender::new(State::default()) });
        table.insert(key.clone(), Arc::clone(&recording));
        Ok(Opened::New(Starting { replays: Arc::clone(self), key, recording, settled: false }))
    }

    /// The recording of `key`, which a client wants to resume.
    ///
    /// # Errors
    /// 404 if it is no longer kept, 409 if the key belongs to another body.
    pub(crate) fn find(
        &self,
        caller: &Caller,
        key: &str,
        digest: [u8; 32],
    ) -> Result<Arc<Recording>, ApiError> {
        match self.lock().get(&(caller.clone(), key.to_owned())) {
            None => Err(ApiError::stream_expired(format!(
                "there is no stream with this Idempotency-Key to resume; streams are kept for {} s after their \
                 end. Repeat the request without Last-Event-ID to run it again",
                self.lifetime.as_secs_f64()
            ))),
            Some(recording) if recording.digest != digest => Err(ApiError::key_reused()),
            Some(recording) => Ok(Arc::clone(recording)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Recording>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets `recording`, unless its key has a newer one by now.
    fn remove(&self, key: &Key, recording: &Arc<Recording>) {
        let mut table = self.lock();
        if table.get(key).is_some_and(|current| Arc::ptr_eq(current, recording)) {
            table.remove(key);
        }
    }

    /// Records all frames, keeps them for their lifetime, then forgets them.
    async fn run(self: Arc<Self>, key: Key, recording: Arc<Recording>, frames: Frames) {
        let kept = Kept { replays: self, key, recording };
        let (recording, lifetime) = (&kept.recording, kept.replays.lifetime);
        tokio::select! {
            outcome = recording.record(frames) => match outcome {
                Outcome::Said => sleep(lifetime).await,
                // Nothing worth keeping: a retry with the same key runs again.
                Outcome::Broke => {}
            },
            () = recording.abandoned(lifetime) => {}
        }
    }
}

/// A recording while it is made and kept. However that ends, by a panic too, its key is free again and
/// no reader waits for more.
struct Kept {
    replays: Arc<Replays>,
    key: Key,
    recording: Arc<Recording>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.replays.remove(&self.key, &self.recording);
        self.recording.break_off();
    }
}

/// Makes room by forgetting what ended first.
fn evict(table: &mut HashMap<Key, Arc<Recording>>) {
    let oldest = table
        .iter()
        .filter_map(|(key, recording)| Some((recording.state.borrow().ended?, key)))
        .min_by_key(|(ended, _)| *ended)
        .map(|(_, key)| key.clone());
    if let Some(key) = oldest {
        table.remove(&key);
    }
}

impl Starting {
    /// Starts recording `production`, which from now on runs on its own.
    pub(crate) fn start(mut self, production: Production) -> Arc<Recording> {
        self.settled = true;
        let recording = Arc::clone(&self.recording);
        recording.state.send_modify(|state| state.phase = Phase::Running(production.shape, production.stamp));
        let replays = Arc::clone(&self.replays);
        tokio::spawn(replays.run(self.key.clone(), Arc::clone(&recording), production.frames));
        recording
    }

    /// Gives up: whoever attached gets the same error, and the key is free again.
    pub(crate) fn refuse(mut self, error: ApiError) {
        self.settle(error);
    }

    fn settle(&mut self, error: ApiError) {
        self.settled = true;
        self.replays.remove(&self.key, &self.recording);
        self.recording.state.send_modify(|state| state.phase = Phase::Refused(error));
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if !self.settled {
            self.settle(ApiError::internal("the request this one was attached to broke off; repeat it"));
        }
    }
}

impl Recording {
    async fn record(&self, mut frames: Frames) -> Outcome {
        let mut progress = self.state.subscribe();
        let mut outcome = Outcome::Said;
        while let Some(frame) = frames.next().await {
            if frame.is_failure() {
                outcome = Outcome::Broke;
            }
            self.push(frame);
            // The sender is in `self`, so this cannot fail.
            let _ = progress.wait_for(|state| state.ahead <= self.window / 2).await;
        }
        self.state.send_modify(|state| state.ended = Some(Instant::now()));
        outcome
    }

    /// Tells readers that nothing more comes, if the end was not recorded.
    fn break_off(&self) {
        if self.state.borrow().ended.is_some() {
            return;
        }
        self.push(Frame::Failed(ApiError::internal("the answer broke off; repeat the request")));
        self.state.send_modify(|state| state.ended = Some(Instant::now()));
    }

    fn push(&self, frame: Frame) {
        self.state.send_modify(|state| {
            state.bytes += frame.size();
            state.ahead += frame.size();
            state.frames.push_back(frame);
            while state.bytes > self.window && state.frames.len() > 1 {
                if let Some(oldest) = state.frames.pop_front() {
                    state.bytes -= oldest.size();
                    state.dropped += 1;
                }
            }
        });
    }

    /// Resolves when nobody has read for `patience`.
    async fn abandoned(&self, patience: Duration) {
        let mut readers = self.state.subscribe();
        loop {
            let _ = readers.wait_for(|state| state.readers == 0).await;
            if timeout(patience, readers.wait_for(|state| state.readers > 0)).await.is_err() {
                return;
            }
        }
    }

    /// The frames after number `after`, once the request has got that far.
    ///
    /// # Errors
    /// The request's own refusal; 404 if the frames are gone; 400 if there never was such a frame.
    pub(crate) async fn read(
        self: Arc<Self>,
        after: u64,
    ) -> Result<(Shape, Stamp, NumberedFrames), ApiError> {
        let reader = Reader::new(self, after);
        let mut changes = reader.recording.state.subscribe();
        let state = changes
            .wait_for(|state| !matches!(state.phase, Phase::Preparing))
            .await
            .map_err(|_| ApiError::internal("the recording is gone"))?;
        let (shape, stamp) = match &state.phase {
            Phase::Running(shape, stamp) => (*shape, stamp.clone()),
            Phase::Refused(error) => return Err(error.clone()),
            Phase::Preparing => return Err(ApiError::internal("the recording did not start")),
        };
        if after < state.dropped {
            return Err(gone());
        }
        let produced = state.dropped + state.frames.len() as u64;
        if after > produced {
            let message =
                format!("Last-Event-ID is {after}, but this stream has sent only {produced} events");
            return Err(ApiError::bad_field("Last-Event-ID", message));
        }
        drop(state);
        let frames = stream::unfold(Some((reader, changes)), |reading| async move {
            let (mut reader, mut changes) = reading?;
            let frame = reader.next(&mut changes).await?;
            let ended = frame.1.is_last();
            Some((frame, (!ended).then_some((reader, changes))))
        });
        Ok((shape, stamp, Box::pin(frames)))
    }
}

fn gone() -> ApiError {
    ApiError::stream_expired(
        "the events to resume from are no longer kept; repeat the request with a new key",
    )
}

/// Someone who reads a recording.
struct Reader {
    recording: Arc<Recording>,
    /// Number of the last frame taken.
    taken: u64,
}

impl Reader {
    fn new(recording: Arc<Recording>, taken: u64) -> Reader {
        recording.state.send_modify(|state| state.readers += 1);
        Reader { recording, taken }
    }

    async fn next(&mut self, changes: &mut watch::Receiver<State>) -> Option<(u64, Frame)> {
        let wanted = self.taken + 1;
        let frame = {
            let state = changes
                .wait_for(|state| {
                    state.ended.is_some() || state.dropped + state.frames.len() as u64 >= wanted
                })
                .await
                .ok()?;
            if wanted <= state.dropped {
                return Some((wanted, Frame::Failed(gone())));
            }
            state.frames.get((wanted - state.dropped - 1) as usize)?.clone()
        };
        self.taken = wanted;
        self.recording.state.send_if_modified(|state| {
            let foremost = wanted > state.delivered;
            if foremost {
                state.delivered = wanted;
                let next = (wanted.saturating_sub(state.dropped)) as usize;
                state.ahead = state.frames.iter().skip(next).map(Frame::size).sum();
            }
            foremost
        });
        Some((wanted, frame))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.recording.state.send_modify(|state| state.readers -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::Dialect;

    /// What panics while it is recorded is over for its readers, and the key is free again.
    #[tokio::test]
    async fn frames_that_panic_end_the_recording() {
        let replays = Replays::new(&Limits { recordings: 1, ..Limits::default() }, &Times::default());
        let caller = crate::auth::ApiKeys::none().caller(&axum::http::HeaderMap::new()).unwrap();
        for _ in 0..2 {
            let Ok(Opened::New(starting)) = replays.open(&caller, "key", [0; 32]) else {
                panic!("the key is still taken")
            };
            let frames = stream::iter([0, 1]).map(|i| match i {
                0 => Frame::Data("{}".into()),
                _ => panic!("a bug"),
            });
            let production = Production {
                shape: Shape::Events(Dialect::Chat),
                stamp: Stamp::Unjudged,
                frames: Box::pin(frames),
            };
            let (_, _, read) = starting.start(production).read(0).await.unwrap();
            let frames = timeout(Duration::from_secs(5), read.collect::<Vec<_>>()).await.unwrap();
            assert_eq!(frames[0].1, Frame::Data("{}".into()));
            assert!(matches!(frames[1], (2, Frame::Failed(_))) && frames.len() == 2);
        }
    }
}
