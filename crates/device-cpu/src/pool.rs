//! Threads that run one op at a time, split into tasks.

use std::num::NonZeroUsize;

/// A fixed set of threads, the caller's among them.
pub struct Pool {
    threads: NonZeroUsize,
}

impl Pool {
    /// A pool of `threads`, the caller's included.
    pub fn new(threads: NonZeroUsize) -> Pool {
        Pool { threads }
    }

    /// Threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.threads.get()
    }

    /// Runs `task(0) … task(n - 1)`, in any order, on any thread, and returns when all are done.
    pub fn run(&self, n: usize, task: &(dyn Fn(usize) + Sync)) {
        for i in 0..n {
            task(i);
        }
    }
}
