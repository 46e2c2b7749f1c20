//! Threads for judging, each of which can be left behind if it takes too long.
//!
//! A thread waits for work, so that judging costs a wake-up and not a thread. One that is late works on
//! by itself and counts until it is done; when as many are at work as there may be, further judgements fail at
//! once, so that slow detectors cannot fill the machine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Threads that wait for work at most; others end.
const MAX_IDLE: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// It panicked.
    #[error("it panicked")]
    Panicked,
    /// It took longer than it had.
    #[error("it took longer than {0:?}")]
    Late(Duration),
    /// Too much is being done already.
    #[error("too much is being done already")]
    Busy,
}

/// What bounds how long something takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The length of what it looks at.
    Length,
    /// Nothing that is known.
    None,
}

/// Threads that judge.
#[derive(Clone, Debug)]
pub struct Workers {
    state: Arc<Mutex<State>>,
    /// Threads at work at most, those that were left behind included.
    most: usize,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<SyncSender<Job>>,
    working: usize,
}

impl Workers {
    /// As many as `most` at a time.
    pub fn new(most: usize) -> Workers {
        Workers { state: Arc::default(), most }
    }

    /// Has something done within `time`: on this thread if the length of what it looks at bounds it, so that nothing has
    /// to be left behind, else on one that can be. On this thread it is late all the same if it took longer.
    ///
    /// # Errors
    /// If it panics or takes longer, or too much is being done already.
    pub fn run<T: Send + 'static>(
        &self,
        bound: Bound,
        time: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotDone> {
        match bound {
            Bound::Length => here(time, work),
            Bound::None => self.elsewhere(time, work),
        }
    }

    fn elsewhere<T: Send + 'static>(
        &self,
        time: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotDone> {
        let (tell, told) = sync_channel(1);
        let job: Job = Box::new(move || {
            // Nobody listens any more if it was late.
            let _ = tell.send(catch_unwind(AssertUnwindSafe(work)));
        });
        self.give(job)?;
        match told.recv_timeout(time) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => Err(NotDone::Panicked),
            Err(RecvTimeoutError::Timeout) => Err(NotDone::Late(time)),
        }
    }

    fn give(&self, job: Job) -> Result<(), NotDone> {
        let idle = {
            let mut state = lock(&self.state);
            if state.working >= self.most {
                return Err(NotDone::Busy);
            }
            state.working += 1;
            state.idle.pop()
        };
        match idle {
            None => self.start(job),
            Some(worker) => worker.send(job).or_else(|unsent| self.start(unsent.0)),
        }
    }

    fn start(&self, job: Job) -> Result<(), NotDone> {
        let state = Arc::downgrade(&self.state);
        let started =
            std::thread::Builder::new().name("guard".into()).spawn(move || work(job, &state)).map(drop);
        started.map_err(|_| {
            lock(&self.state).working -= 1;
            NotDone::Busy
        })
    }
}

fn here<T>(time: Duration, work: impl FnOnce() -> T) -> Result<T, NotDone> {
    let begun = Instant::now();
    let done = catch_unwind(AssertUnwindSafe(work)).map_err(|_| NotDone::Panicked)?;
    if begun.elapsed() > time { Err(NotDone::Late(time)) } else { Ok(done) }
}

/// Does a job, and then others, for as long as there is a use for it.
fn work(first: Job, state: &Weak<Mutex<State>>) {
    let mut job = first;
    loop {
        job();
        let next: Receiver<Job> = {
            let Some(state) = state.upgrade() else { return };
            let mut state = lock(&state);
            state.working -= 1;
            if state.idle.len() >= MAX_IDLE {
                return;
            }
            let (give, take) = sync_channel(1);
            state.idle.push(give);
            take
        };
        // Ends with the gateway.
        let Ok(given) = next.recv() else { return };
        job = given;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_here_is_late_or_a_fault_as_elsewhere() {
        let time = Duration::from_secs(20);
        let workers = Workers::new(0);
        let run = |time, work: fn() -> u8| workers.run(Bound::Length, time, work);
        assert_eq!(run(time, || 7), Ok(7));
        assert_eq!(run(time, || panic!("oh")), Err(NotDone::Panicked));
        let short = Duration::from_millis(1);
        let slow = || {
            std::thread::sleep(Duration::from_millis(20));
            8
        };
        assert_eq!(run(short, slow), Err(NotDone::Late(short)));
    }

    #[test]
    fn what_panics_or_is_late_is_a_fault_and_what_is_too_much_is_refused() {
        let workers = Workers::new(8);
        let time = Duration::from_secs(20);
        assert_eq!(workers.run(Bound::None, time, || 7), Ok(7));
        assert_eq!(workers.run(Bound::None, time, || panic!("oh")), Err::<(), _>(NotDone::Panicked));
        assert_eq!(workers.run(Bound::None, time, || 8), Ok(8));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let short = Duration::from_millis(1);
        for _ in 0..8 {
            let held = Arc::clone(&held);
            assert_eq!(
                workers.run(Bound::None, short, move || held.lock().unwrap().recv().unwrap_or(())),
                Err(NotDone::Late(short))
            );
        }
        assert_eq!(workers.run(Bound::None, time, || 9), Err(NotDone::Busy));
        drop(release);
        let end = std::time::Instant::now() + time;
        while workers.run(Bound::None, time, || 9) != Ok(9) {
            assert!(std::time::Instant::now() < end, "threads that are done stay counted");
        }
        assert!(lock(&workers.state).idle.len() <= MAX_IDLE);
    }
}
