//! The engine's limits, checked once.

use std::time::Duration;

use garrison_device::{BLOCK_SIZE, StepLimits};

/// How much the engine may do at once. Every queue and table of the engine is bounded by these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Sequences that run at the same time at most. Where `max_batch_tokens` is smaller, that many,
    /// so that each running sequence can move in each step.
    pub max_seqs: usize,
    /// Tokens of one step over all sequences.
    pub max_batch_tokens: usize,
    /// Blocks of the KV cache, the null block included.
    pub n_blocks: usize,
    /// Tokens of one sequence at most, prompt and answer together.
    pub context: usize,
    /// Requests that wait for admission at most.
    pub max_waiting: usize,
    /// Those of one client at most, so that one cannot shut the others out.
    pub max_waiting_per_client: usize,
    /// Width of a row of logits; token ids are below it.
    pub vocab: usize,
    /// Whether requests that begin as others did take keys and values from the cache.
    pub prefix_cache: bool,
    /// How long a step may take that reads a prompt while others wait for their next token; `None`
    /// for as long as `max_batch_tokens` take.
    pub max_stall: Option<Duration>,
    /// Whether a sequence's next tokens are guessed from what it repeats. Changes no token.
    pub prompt_lookup: bool,
    /// Adapters held on the device at once.
    pub adapter_slots: usize,
}

/// A limit that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A limit is outside of its range.
    #[error("{name} is {value}; it must be between {least} and {most}")]
    OutOfRange {
        /// The limit's name.
        name: &'static str,
        /// What was given.
        value: usize,
        /// The least that works.
        least: usize,
        /// The most that works.
        most: usize,
    },
    /// There is no place for adapters.
    #[error("adapter_slots is 0; it must be at least 1 for adapters to be used")]
    NoAdapterSlots,
    /// The engine's thread could not be started.
    #[error("the engine's thread could not be started: {0}")]
    Thread(String),
}

/// Steps ask for at least this many rows of logits if they can use them: prompts are scored in
/// pieces of this size.
const MIN_ROWS: usize = 64;

impl EngineConfig {
    /// Checks every limit.
    ///
    /// # Errors
    /// Names the first limit that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        // Slots, token ids and block table entries are u32 on the device.
        const MOST_TOKENS: usize = (u32::MAX as usize) / (4 * BLOCK_SIZE);
        let ranges = [
            ("max_seqs", self.max_seqs, 1, 1 << 16),
            ("max_batch_tokens", self.max_batch_tokens, 1, MOST_TOKENS),
            ("n_blocks", self.n_blocks, 2, MOST_TOKENS),
            ("context", self.context, 1, MOST_TOKENS),
            ("max_waiting", self.max_waiting, 1, 1 << 20),
            ("max_waiting_per_client", self.max_waiting_per_client, 1, 1 << 20),
            ("vocab", self.vocab, 1, 1 << 24),
            ("adapter_slots", self.adapter_slots, 0, 256),
        ];
        for (name, value, least, most) in ranges {
            if value < least || value > most {
                return Err(ConfigError::OutOfRange { name, value, least, most });
            }
        }
        Ok(())
    }

    /// Tokens that one sequence can reach: the context, or what the KV cache holds if that is less.
    pub fn sequence_limit(&self) -> usize {
        self.context.min(self.n_blocks.saturating_sub(1) * BLOCK_SIZE)
    }

    /// The largest step the engine ever makes; the executor's buffers are made for it.
    pub fn step_limits(&self) -> StepLimits {
        StepLimits {
            tokens: self.max_batch_tokens,
            seqs: self.concurrency(),
            rows: self.max_seqs.max(MIN_ROWS).min(self.max_batch_tokens),
            blocks: self.concurrency() * self.sequence_limit().div_ceil(BLOCK_SIZE),
        }
    }

    /// Sequences that run at the same time at most.
    pub(crate) fn concurrency(&self) -> usize {
        self.max_seqs.min(self.max_batch_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: EngineConfig = EngineConfig {
        max_seqs: 4,
        max_batch_tokens: 32,
        n_blocks: 9,
        context: 4096,
        max_waiting: 8,
        max_waiting_per_client: 8,
        vocab: 300,
        prefix_cache: true,
        prompt_lookup: true,
        max_stall: None,
        adapter_slots: 0,
    };

    #[test]
    fn a_limit_out_of_range_is_named() {
        assert_eq!(GOOD.validate(), Ok(()));
        let error = EngineConfig { n_blocks: 1, ..GOOD }.validate().unwrap_err();
        assert!(error.to_string().starts_with("n_blocks is 1; it must be between 2 and"), "{error}");
        for bad in [
            EngineConfig { max_seqs: 0, ..GOOD },
            EngineConfig { max_batch_tokens: 0, ..GOOD },
            EngineConfig { context: usize::MAX, ..GOOD },
            EngineConfig { max_waiting: 0, ..GOOD },
            EngineConfig { vocab: 0, ..GOOD },
            EngineConfig { adapter_slots: 257, ..GOOD },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn steps_are_sized_for_what_can_run() {
        assert_eq!(GOOD.sequence_limit(), 128);
        assert_eq!(GOOD.step_limits(), StepLimits { tokens: 32, seqs: 4, rows: 32, blocks: 32 });
        let narrow = EngineConfig { max_batch_tokens: 3, context: 20, ..GOOD };
        assert_eq!(narrow.step_limits(), StepLimits { tokens: 3, seqs: 3, rows: 3, blocks: 6 });
    }
}
