//! Threads that work masks out while the forward pass runs.
//!
//! A parser is moved to a thread together with the makers of its masks, and comes back through a
//! channel of its own. Nothing is shared, so nothing is locked; a parser that panics takes its
//! channel and its makers with it, and that is how the others learn of it.
//!
//! To wake a thread costs about as much as a cheap mask, so the engine's thread makes as many as fit
//! into [`AT_ONCE`] a step itself, and all of them if no thread can be had.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flume::{Receiver, Sender};
use garrison_device::MaskMaker;

use super::{GrammarError, Parser};

/// Threads at most: masks that take longer than a step's forward pass on so many are rare.
const MOST_THREADS: usize = 4;
/// What the engine's thread makes itself of each step's masks, by what they are expected to take.
const AT_ONCE: Duration = Duration::from_micros(100);

/// Masks to be worked out.
pub(super) struct Job {
    pub(super) parser: Box<dyn Parser>,
    /// Of the token that comes next, unless that is known.
    pub(super) next: Option<MaskMaker>,
    /// Guesses of what follows, and each one's mask of what follows it.
    pub(super) guesses: Vec<(u32, MaskMaker)>,
    pub(super) back: Sender<Done>,
}

/// What comes back.
pub(super) struct Done {
    pub(super) parser: Box<dyn Parser>,
    /// Whether the next token's mask could be made. Those of guesses matter less: they are empty.
    pub(super) made: Result<(), GrammarError>,
    /// What the next token's mask took, and those of the guesses.
    pub(super) next: Duration,
    pub(super) guesses: Duration,
}

impl Job {
    fn run(self) {
        let Job { mut parser, next, guesses, back } = self;
        // Its sequence is gone, and nobody waits.
        if back.is_disconnected() {
            return;
        }
        let begun = Instant::now();
        let made = match next {
            Some(maker) => parser.mask().map(|bits| maker.make(bits)),
            None => Ok(()),
        };
        let next = begun.elapsed();
        if made.is_ok() && !guesses.is_empty() {
            make_ahead(&*parser, guesses);
        }
        let guesses = begun.elapsed() - next;
        // A sequence that ended meanwhile does not want it back.
        let _ = back.send(Done { parser, made, next, guesses });
    }
}

/// Makes the masks after guesses, as far as the guesses can be followed.
fn make_ahead(parser: &dyn Parser, guesses: Vec<(u32, MaskMaker)>) {
    let mut ahead = parser.ahead();
    for (guess, maker) in guesses {
        let Ok(bits) = ahead.consume(guess).and_then(|()| ahead.mask()) else { return };
        maker.make(bits);
    }
}

/// The engine's mask threads. They start when they are first needed, sleep when there is nothing to do,
/// and end with this.
pub(crate) struct MaskThreads {
    /// Jobs waiting at most: each running sequence has one at a time.
    most: usize,
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    /// What is left of [`AT_ONCE`] in this step.
    left: Duration,
}

impl MaskThreads {
    /// For up to `sequences` sequences.
    pub(crate) fn new(sequences: usize) -> MaskThreads {
        MaskThreads { most: sequences, jobs: None, threads: Vec::new(), left: AT_ONCE }
    }

    /// A new step is being made.
    pub(crate) fn begin_step(&mut self) {
        self.left = AT_ONCE;
    }

    /// Has a job done that is expected to take this long. Says what it took if it is done already.
    pub(super) fn make(&mut self, job: Job, expected: Duration) -> Duration {
        let begun = Instant::now();
        let here = match self.left.checked_sub(expected) {
            Some(left) => {
                self.left = left;
                Some(job)
            }
            None => self.hand_over(job),
        };
        let Some(job) = here else { return Duration::ZERO };
        guarded(job);
        begun.elapsed()
    }

    /// Gives a job to the threads; back comes what they cannot take.
    fn hand_over(&mut self, job: Job) -> Option<Job> {
        let jobs = match &self.jobs {
            Some(jobs) => jobs,
            None => {
                let (jobs, inbox) = flume::bounded(self.most);
                self.threads = start(&inbox);
                self.jobs.insert(jobs)
            }
        };
        // There is nobody at the other end if no thread could be started.
        jobs.try_send(job).err().map(flume::TrySendError::into_inner)
    }
}

/// As many threads as are of use.
fn start(inbox: &Receiver<Job>) -> Vec<JoinHandle<()>> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(MOST_THREADS));
    let start = |i: usize| {
        let inbox = inbox.clone();
        let work = move || inbox.into_iter().for_each(guarded);
        std::thread::Builder::new().name(format!("mask-{i}")).spawn(work).ok()
    };
    (0..threads).map_while(start).collect()
}

/// Runs a job. A panic ends the job and nothing else; it was logged where it happened.
fn guarded(job: Job) {
    // The job is gone with all that it owned, so nobody sees it in between.
    let _ = catch_unwind(AssertUnwindSafe(|| job.run()));
}

impl Drop for MaskThreads {
    fn drop(&mut self) {
        // The threads skip what nobody waits for, and end when there is nothing more.
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A parser that is on its way.
pub(super) type Returning = Receiver<Done>;

/// Where a [`Job`]'s parser comes back to.
pub(super) fn way_back() -> (Sender<Done>, Returning) {
    flume::bounded(1)
}
