//! What goes on right now, for the live view: counters that every stream adds to.

use std::sync::atomic::{AtomicU64, Ordering};

/// Totals since the start of a run.
#[derive(Debug, Default)]
pub struct Pulse {
    tokens: AtomicU64,
    running: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    firsts: AtomicU64,
    first_nanos: AtomicU64,
    gaps: AtomicU64,
    gap_nanos: AtomicU64,
}

/// The totals at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PulseReading {
    pub tokens: u64,
    pub running: u64,
    pub answered: u64,
    pub failed: u64,
    /// Answers that have begun, and the sum of their times to the first token.
    pub firsts: u64,
    pub first_nanos: u64,
    /// Tokens after the first, and the sum of the times between them.
    pub gaps: u64,
    pub gap_nanos: u64,
}

impl Pulse {
    pub(crate) fn begins(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn first(&self, tokens: u32, ttft: u64) {
        self.tokens.fetch_add(u64::from(tokens), Ordering::Relaxed);
        self.firsts.fetch_add(1, Ordering::Relaxed);
        self.first_nanos.fetch_add(ttft, Ordering::Relaxed);
    }

    pub(crate) fn tokens(&self, tokens: u32, gap: u64) {
        self.tokens.fetch_add(u64::from(tokens), Ordering::Relaxed);
        self.gaps.fetch_add(u64::from(tokens), Ordering::Relaxed);
        self.gap_nanos.fetch_add(gap, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn cut_off(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    /// The totals now.
    pub fn read(&self) -> PulseReading {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PulseReading {
            tokens: load(&self.tokens),
            running: load(&self.running),
            answered: load(&self.answered),
            failed: load(&self.failed),
            firsts: load(&self.firsts),
            first_nanos: load(&self.first_nanos),
            gaps: load(&self.gaps),
            gap_nanos: load(&self.gap_nanos),
        }
    }
}
