//! What the engine counts, for `/metrics`. Written by the engine's thread, read by anyone.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// A snapshot of the engine's counters and gauges. Totals only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sequences that hold blocks and take part in steps.
    pub running: usize,
    /// Sequences that wait, preempted ones included.
    pub waiting: usize,
    /// Sequences accepted and not ended, whether the engine has seen them yet or not.
    pub in_flight: usize,
    /// KV blocks in use.
    pub kv_blocks_used: usize,
    /// KV blocks there are, without the null block.
    pub kv_blocks_total: usize,
    /// Tokens of prompts that were read, each prompt once, those found in the prefix cache included.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generation_tokens: u64,
    /// Steps run.
    pub steps: u64,
    /// Tokens that went through the model, recomputed ones included.
    pub batch_tokens: u64,
    /// Sequences that gave their blocks back and were computed again.
    pub preemptions: u64,
    /// Times an adapter was put into a slot of the device.
    pub adapter_swaps: u64,
    /// Prompt tokens that were looked for in the prefix cache.
    pub prefix_cache_queries: u64,
    /// Prompt tokens that were found there and not computed again.
    pub prefix_cache_hits: u64,
    /// Blocks that the host cache holds.
    pub host_blocks_used: usize,
    /// Blocks that it has room for.
    pub host_blocks_total: usize,
    /// Prompt tokens that the device had not and that were looked for in the host cache.
    pub host_cache_queries: u64,
    /// Prompt tokens that were restored from there and not computed again.
    pub host_cache_hits: u64,
    /// Blocks saved when they were evicted from the device.
    pub host_blocks_saved: u64,
    /// Blocks restored, those of preempted sequences included.
    pub host_blocks_restored: u64,
    /// Copies of blocks that failed; what they held was computed again.
    pub host_copies_failed: u64,
    /// Tokens that were guessed and checked.
    pub spec_draft_tokens: u64,
    /// Guesses that were right.
    pub spec_accepted_tokens: u64,
    /// Tokens generated that a grammar was asked for.
    pub grammar_tokens: u64,
    /// What their masks took to be made, beside the forward pass or not, in nanoseconds.
    pub mask_nanos: u64,
    /// Sequences that ended with a stop token or string.
    pub finished_stop: u64,
    /// Sequences that ended at a length limit.
    pub finished_length: u64,
    /// Sequences whose client went away.
    pub cancelled: u64,
    /// Sequences given up at their deadline.
    pub late: u64,
    /// Sequences lost to a failure.
    pub failed: u64,
}

impl Stats {
    /// The part of the KV cache in use, 0 to 1.
    pub fn kv_usage(&self) -> f64 {
        self.kv_blocks_used as f64 / self.kv_blocks_total.max(1) as f64
    }

    /// The part of the host cache in use, 0 to 1.
    pub fn host_usage(&self) -> f64 {
        self.host_blocks_used as f64 / self.host_blocks_total.max(1) as f64
    }
}

/// The live counters behind [`Stats`]. Each is independent, so relaxed order is enough.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) running: AtomicUsize,
    /// Waiting sequences that ran before; the others are counted by their places in the queue.
    pub(crate) preempted: AtomicUsize,
    pub(crate) kv_blocks_used: AtomicUsize,
    pub(crate) kv_blocks_total: AtomicUsize,
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) generation_tokens: AtomicU64,
    pub(crate) steps: AtomicU64,
    pub(crate) batch_tokens: AtomicU64,
    pub(crate) preemptions: AtomicU64,
    pub(crate) adapter_swaps: AtomicU64,
    pub(crate) prefix_cache_queries: AtomicU64,
    pub(crate) prefix_cache_hits: AtomicU64,
    pub(crate) host_blocks_used: AtomicUsize,
    pub(crate) host_blocks_total: AtomicUsize,
    pub(crate) host_cache_queries: AtomicU64,
    pub(crate) host_cache_hits: AtomicU64,
    pub(crate) host_blocks_saved: AtomicU64,
    pub(crate) host_blocks_restored: AtomicU64,
    pub(crate) host_copies_failed: AtomicU64,
    pub(crate) spec_draft_tokens: AtomicU64,
    pub(crate) spec_accepted_tokens: AtomicU64,
    pub(crate) grammar_tokens: AtomicU64,
    pub(crate) mask_nanos: AtomicU64,
    pub(crate) finished_stop: AtomicU64,
    pub(crate) finished_length: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Counters {
    /// The engine's thread is gone, and with it all that ran and was kept.
    pub(crate) fn end(&self) {
        for gauge in [&self.running, &self.preempted, &self.kv_blocks_used, &self.host_blocks_used] {
            gauge.store(0, Relaxed);
        }
    }

    /// All of them now; `in_flight` and `queued` are counted where requests come in.
    pub(crate) fn snapshot(&self, in_flight: usize, queued: usize) -> Stats {
        Stats {
            running: self.running.load(Relaxed),
            waiting: self.preempted.load(Relaxed) + queued,
            in_flight,
            kv_blocks_used: self.kv_blocks_used.load(Relaxed),
            kv_blocks_total: self.kv_blocks_total.load(Relaxed),
            prompt_tokens: self.prompt_tokens.load(Relaxed),
            generation_tokens: self.generation_tokens.load(Relaxed),
            steps: self.steps.load(Relaxed),
            batch_tokens: self.batch_tokens.load(Relaxed),
            preemptions: self.preemptions.load(Relaxed),
            adapter_swaps: self.adapter_swaps.load(Relaxed),
            prefix_cache_queries: self.prefix_cache_queries.load(Relaxed),
            prefix_cache_hits: self.prefix_cache_hits.load(Relaxed),
            host_blocks_used: self.host_blocks_used.load(Relaxed),
            host_blocks_total: self.host_blocks_total.load(Relaxed),
            host_cache_queries: self.host_cache_queries.load(Relaxed),
            host_cache_hits: self.host_cache_hits.load(Relaxed),
            host_blocks_saved: self.host_blocks_saved.load(Relaxed),
            host_blocks_restored: self.host_blocks_restored.load(Relaxed),
            host_copies_failed: self.host_copies_failed.load(Relaxed),
            spec_draft_tokens: self.spec_draft_tokens.load(Relaxed),
            spec_accepted_tokens: self.spec_accepted_tokens.load(Relaxed),
            grammar_tokens: self.grammar_tokens.load(Relaxed),
            mask_nanos: self.mask_nanos.load(Relaxed),
            finished_stop: self.finished_stop.load(Relaxed),
            finished_length: self.finished_length.load(Relaxed),
            cancelled: self.cancelled.load(Relaxed),
            late: self.late.load(Relaxed),
            failed: self.failed.load(Relaxed),
        }
    }
}
