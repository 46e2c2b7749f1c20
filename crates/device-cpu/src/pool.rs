//! Threads that run one op at a time, split into tasks.
//!
//! Key decision: work is claimed, not assigned. One atomic word holds the job's number and how
//! many of its tasks nobody has claimed; a thread claims the next one by decreasing it. The caller
//! claims like everybody else and waits only for tasks that somebody is in the middle of, so a
//! worker that the operating system has put aside costs nothing. Idle workers spin for a moment,
//! since the next op of a decode step is microseconds away, and then sleep.
//!
//! Where workers are bound to NUMA nodes there is such a word for each node. A thread claims from its own
//! node's first, then from the others', and each node's tasks are the same part of every job: who packs a
//! panel of a weight, and so decides whose memory it lies in, is who reads it later. The caller is not bound.
//! It is somebody else's thread, whose own threads would inherit the mask, and the workers leave one
//! processor free for it; it claims from where it happens to run.
//!
//! Which thread runs a task, and when, is left to chance; kernels must not let it show in a result.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Nodes;

/// Low bits of [`Queue::claims`]: tasks not yet claimed. The rest is the job's number, which at
/// a million jobs a second wraps after twelve days: a worker would have to stand still that long
/// between two instructions to mistake one job for another.
const REMAINING_BITS: u32 = 24;
const REMAINING_MASK: u64 = (1 << REMAINING_BITS) - 1;

/// The most tasks of one job.
const MAX_TASKS: usize = REMAINING_MASK as usize;

/// The most threads a pool has, whatever is asked for.
const MAX_THREADS: usize = 1024;

/// How long a thread with nothing to do looks for work before it sleeps: longer than the gaps
/// between the ops of a step, shorter than anyone would notice on a power meter.
const SPIN: Duration = Duration::from_micros(50);

/// How many threads this process may keep busy: the processors of its affinity mask, or its
/// cgroup's quota (v1 or v2) where that is less.
pub fn available_threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

thread_local! {
    /// Whether this thread is inside a task, where another `run` could wait for itself.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

/// A fixed set of threads, the caller's among them.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    nodes: Nodes,
    /// Processors of all nodes up to each one.
    ends: Vec<usize>,
    /// Held by the caller whose job is running.
    turn: Mutex<()>,
}

/// Runs a task of a node, given the node and the task's number there.
type Task<'a> = &'a (dyn Fn(usize, usize) + Sync + 'a);

/// The tasks of one node. All that a thread reads and writes for a task lies in one cache line.
#[repr(align(64))]
struct Queue {
    /// `job number << REMAINING_BITS | unclaimed tasks`.
    claims: AtomicU64,
    /// What the tasks of the current job are. Written only between jobs.
    job: UnsafeCell<Job>,
    /// Tasks of the current job that are finished.
    done: AtomicUsize,
}

struct Shared {
    /// One for each node.
    queues: Vec<Queue>,
    /// The first panic of the current job.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Workers asleep, or about to be.
    sleepers: AtomicUsize,
    /// Whether the caller is asleep, or about to be.
    caller_waits: AtomicBool,
    shutdown: AtomicBool,
    lock: Mutex<()>,
    work: Condvar,
    finished: Condvar,
    spin: Duration,
}

#[derive(Clone, Copy)]
struct Job {
    task: Task<'static>,
    /// How many there are of this node.
    n: usize,
}

// SAFETY: `job` is the only part that is not Sync by itself. It is written by the thread that
// holds `Pool::turn` while no task of the queue is claimed or claimable, and read by that thread and by
// those that have claimed a task and not yet reported it done; `claims` (release, acquire) orders the write
// before those reads and `done` (release, acquire) orders them before the next write. The task is Sync.
unsafe impl Sync for Queue {}
// SAFETY: as above; nothing in it belongs to one thread.
unsafe impl Send for Queue {}

impl Pool {
    /// A pool of `threads`, the caller's included. If the system refuses to start that many, or
    /// more than 1024 are asked for, there are fewer: results do not depend on it.
    pub fn new(threads: NonZeroUsize) -> Pool {
        Pool::on_nodes(threads, &Nodes::unbound())
    }

    /// As [`Pool::new`], with the workers spread over nodes in proportion to their processors and bound to
    /// them.
    pub fn on_nodes(threads: NonZeroUsize, nodes: &Nodes) -> Pool {
        let threads = threads.get().min(MAX_THREADS);
        // Threads that share a processor only keep each other from working by spinning.
        let spin = if threads <= available_threads().get() { SPIN } else { Duration::ZERO };
        let sizes = nodes.sizes();
        let shared = Arc::new(Shared {
            queues: sizes.iter().map(|_| Queue::new()).collect(),
            panic: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            caller_waits: AtomicBool::new(false),
            shutdown: AtomicBool::new(false),
            lock: Mutex::new(()),
            work: Condvar::new(),
            finished: Condvar::new(),
            spin,
        });
        let start = |(i, home): (usize, usize)| {
            let (shared, nodes) = (Arc::clone(&shared), nodes.clone());
            let work = move || {
                nodes.bind(home);
                shared.work(home);
            };
            std::thread::Builder::new().name(format!("cpu-{}", i + 1)).spawn(work).ok()
        };
        let workers = homes(&sizes, threads - 1).into_iter().enumerate().map_while(start).collect();
        let ends = sizes.iter().scan(0, |sum, size| {
            *sum += size;
            Some(*sum)
        });
        Pool { shared, workers, ends: ends.collect(), nodes: nodes.clone(), turn: Mutex::new(()) }
    }

    /// Threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(0) … task(n - 1)`, in any order, on any thread, and returns when all are done.
    /// Callers on several threads take turns.
    ///
    /// # Panics
    /// If a task does, once all the others are done; or if called from inside a task.
    pub fn run(&self, n: usize, task: &(dyn Fn(usize) + Sync)) {
        self.run_near(&|node| self.share(node, n).len(), &|node, i| task(self.share(node, n).start + i));
    }

    /// Those of `n` tasks, or of anything else that is cut up in order, that are a node's.
    pub(crate) fn share(&self, node: usize, n: usize) -> Range<usize> {
        if self.ends.len() == 1 {
            return 0..n;
        }
        let all = self.ends.last().map_or(1, |&all| all);
        let upto = |node: usize| n * self.ends[node] / all;
        node.checked_sub(1).map_or(0, upto)..upto(node)
    }

    /// As [`Pool::run`], `task(node, 0) … task(node, tasks_of(node) - 1)` for each node: these preferably on
    /// threads of that node.
    pub(crate) fn run_near(&self, tasks_of: &dyn Fn(usize) -> usize, task: &(dyn Fn(usize, usize) + Sync)) {
        let nodes = 0..self.ends.len();
        let n: usize = nodes.clone().map(tasks_of).sum();
        assert!(n <= MAX_TASKS, "{n} tasks are more than the pool can count");
        let _inside = Inside::enter();
        if n <= 1 || self.workers.is_empty() {
            nodes.for_each(|node| (0..tasks_of(node)).for_each(|i| task(node, i)));
            return;
        }
        let _turn = lock(&self.turn);
        // SAFETY: nothing below returns, or unwinds, before all tasks are done.
        unsafe { self.shared.publish(tasks_of, task) };
        let here = self.nodes.here();
        while self.shared.run_one(here) {}
        self.shared.wait_until_done();
        let panic = lock(&self.shared.panic).take();
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Runs `task(i, part)` for each `i`-th part of `len` elements of `data`; the last may be
    /// shorter.
    ///
    /// # Panics
    /// As [`Pool::run`], and if `len` is 0.
    pub fn for_parts<T: Send>(&self, data: &mut [T], len: usize, task: &(dyn Fn(usize, &mut [T]) + Sync)) {
        assert!(len > 0, "parts need at least one element");
        let total = data.len();
        let parts = Disjoint::new(data);
        self.run(total.div_ceil(len), &|i| {
            let range = i * len..total.min((i + 1) * len);
            // SAFETY: the ranges of different tasks do not overlap, and each task runs once.
            task(i, unsafe { parts.slice(range) });
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.shutdown.store(true, SeqCst);
        {
            let _guard = lock(&self.shared.lock);
            self.shared.work.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker catches its tasks' panics and has none of its own to report.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Makes a job's tasks claimable and wakes sleepers.
    ///
    /// # Safety
    /// The caller holds `turn`, and the task lives until all of the job are done.
    unsafe fn publish(&self, tasks_of: &dyn Fn(usize) -> usize, task: Task<'_>) {
        // SAFETY: only the lifetime changes, and nobody touches the reference without having claimed a task.
        let task = unsafe { std::mem::transmute::<Task<'_>, Task<'static>>(task) };
        for (node, queue) in self.queues.iter().enumerate() {
            let n = tasks_of(node);
            // SAFETY: the previous job's tasks are all done, so nobody reads; the caller holds `turn`.
            unsafe { *queue.job.get() = Job { task, n } };
            queue.done.store(0, Relaxed);
            let number = (queue.claims.load(Relaxed) >> REMAINING_BITS) + 1;
            // SeqCst here and in `sleep`: either the sleeper sees the job or we see the sleeper.
            queue.claims.store((number << REMAINING_BITS) | n as u64, SeqCst);
        }
        if self.sleepers.load(SeqCst) > 0 {
            let _guard = lock(&self.lock);
            self.work.notify_all();
        }
    }

    /// Claims a task, of node `home` if it has one left, and runs it; false if there is none.
    fn run_one(&self, home: usize) -> bool {
        let mut nodes = (home..self.queues.len()).chain(0..home);
        nodes.any(|node| {
            let queue = &self.queues[node];
            let Some((Job { task, n }, index)) = queue.claim() else { return false };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| task(node, index))) {
                lock(&self.panic).get_or_insert(payload);
            }
            // SeqCst here and in `wait_until_done`: either we see the caller wait or it sees us done.
            if queue.done.fetch_add(1, SeqCst) + 1 == n && self.caller_waits.load(SeqCst) {
                let _guard = lock(&self.lock);
                self.finished.notify_all();
            }
            true
        })
    }

    /// The caller's wait for tasks that others are in the middle of.
    fn wait_until_done(&self) {
        let done = || self.queues.iter().all(Queue::is_done);
        if self.spin_until(done) {
            return;
        }
        let mut guard = lock(&self.lock);
        self.caller_waits.store(true, SeqCst);
        while !done() {
            guard = self.finished.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.caller_waits.store(false, Release);
    }

    /// The life of a worker of node `home`.
    fn work(&self, home: usize) {
        let _inside = Inside::enter();
        while !self.shutdown.load(Relaxed) {
            while self.run_one(home) {}
            if !self.spin_until(|| self.has_news()) {
                self.sleep();
            }
        }
    }

    fn sleep(&self) {
        let mut guard = lock(&self.lock);
        self.sleepers.fetch_add(1, SeqCst);
        while !self.has_news() {
            guard = self.work.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, SeqCst);
    }

    fn has_news(&self) -> bool {
        let claimable = |queue: &Queue| queue.claims.load(SeqCst) & REMAINING_MASK > 0;
        self.queues.iter().any(claimable) || self.shutdown.load(SeqCst)
    }

    /// Whether `ready` came true within the time worth spinning for.
    fn spin_until(&self, ready: impl Fn() -> bool) -> bool {
        if ready() {
            return true;
        }
        if self.spin.is_zero() {
            return false;
        }
        let start = Instant::now();
        while start.elapsed() < self.spin {
            for _ in 0..32 {
                if ready() {
                    return true;
                }
                std::hint::spin_loop();
            }
        }
        false
    }
}

impl Queue {
    fn new() -> Queue {
        let job = UnsafeCell::new(Job { task: &|_, _| {}, n: 0 });
        Queue { claims: AtomicU64::new(0), job, done: AtomicUsize::new(0) }
    }

    /// The job and the number of a task of it that is now the caller's, if one was left.
    fn claim(&self) -> Option<(Job, usize)> {
        let claim = |c: u64| if c & REMAINING_MASK > 0 { Some(c - 1) } else { None };
        let claimed = self.claims.fetch_update(Acquire, Relaxed, claim).ok()?;
        // SAFETY: a task of this job is claimed and not done, so the job is not written.
        let job = unsafe { *self.job.get() };
        Some((job, job.n - (claimed & REMAINING_MASK) as usize))
    }

    /// Whether all tasks of the job are done. For the thread that published it.
    fn is_done(&self) -> bool {
        // SAFETY: only that thread writes the job.
        let Job { n, .. } = unsafe { *self.job.get() };
        self.done.load(SeqCst) == n
    }
}

/// A node for each of `workers`, in turns by which each has as many for its size as the others. The caller
/// finds a processor free on the node whose turn would be next.
fn homes(sizes: &[usize], workers: usize) -> Vec<usize> {
    let mut counts = vec![0; sizes.len()];
    let mut next = || {
        // Fewest workers per processor once it has this one, in whole numbers.
        let node = (0..sizes.len()).min_by(|&a, &b| {
            let crowd = |node: usize, other: usize| (counts[node] + 1) * sizes[other];
            crowd(a, b).cmp(&crowd(b, a))
        })?;
        counts[node] += 1;
        Some(node)
    };
    (0..workers).map_while(|_| next()).collect()
}

/// Marks the thread as inside a task while it lives.
struct Inside;

impl Inside {
    fn enter() -> Inside {
        assert!(!IN_TASK.replace(true), "a task must not run tasks");
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        IN_TASK.set(false);
    }
}

/// A slice that tasks write disjoint parts of.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    _borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: it hands out what a `&mut [T]` split into parts would, and those may be sent.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(data: &'a mut [T]) -> Self {
        Disjoint { start: data.as_mut_ptr(), len: data.len(), _borrow: PhantomData }
    }

    /// The elements in `range`, which must lie inside.
    ///
    /// # Safety
    /// No two slices alive at the same time overlap.
    #[allow(clippy::mut_from_ref)] // the caller upholds what the borrow checker would
    pub(crate) unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: inside the borrowed slice, and the caller keeps slices apart.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// A panic inside a task is reported through [`Shared::panic`]; what a lock guards stays valid.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
