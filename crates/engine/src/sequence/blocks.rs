//! The blocks of a sequence: taken, shared with others, let go.

use std::sync::Arc;
use std::time::Instant;

use garrison_device::BLOCK_SIZE;

use super::Sequence;
use crate::kv::{BlockPool, Prefix};

/// What of the sequence is in the prefix cache.
pub(super) struct Cached {
    pub(super) salt: Arc<str>,
    /// Blocks of the table that are cached, or whose like is.
    pub(super) blocks: usize,
    /// What ends with them.
    pub(super) prefix: Prefix,
    /// Tokens of the prompt that were there when it left the queue for the first time.
    pub(super) prompt_tokens: usize,
}

impl Cached {
    pub(super) fn new(salt: Arc<str>, adapter: u64) -> Cached {
        Cached {
            prefix: Prefix::Start { salt: Arc::clone(&salt), adapter },
            salt,
            blocks: 0,
            prompt_tokens: 0,
        }
    }
}

impl Sequence {
    /// Takes the blocks that all its tokens need. Takes none and says false if there are too few.
    pub(crate) fn take_blocks(&mut self, pool: &mut BlockPool) -> bool {
        self.table.cover(self.tokens.len(), pool)
    }

    /// The tokens that the cache may serve. At least one is left to compute: its logits are what comes
    /// next. A prompt that is still being scored needs the logits of all its tokens.
    fn reusable(&self) -> &[u32] {
        let end = if self.scoring.is_some() { 0 } else { self.tokens.len().saturating_sub(1) };
        &self.tokens[..end]
    }

    /// The cached blocks that hold what the sequence begins with, and the prefix that ends with them.
    pub(crate) fn find_cached(&self, pool: &BlockPool) -> (Vec<u32>, Prefix) {
        let mut prefix =
            Prefix::Start { salt: Arc::clone(&self.cached.salt), adapter: self.adapter_number() };
        let mut blocks = Vec::new();
        for tokens in self.reusable().as_chunks().0 {
            let Some((block, next)) = pool.find(&prefix, tokens) else { break };
            blocks.push(block);
            prefix = next;
        }
        (blocks, prefix)
    }

    /// Whether `other` is about to compute more of what this sequence begins with than the `cached`
    /// blocks that are there: then waiting for it is cheaper than computing it again.
    pub(crate) fn gains_from(&self, other: &Sequence, cached: usize) -> bool {
        let own = (&self.cached.salt, self.adapter_number());
        let reads = other.remaining() > 1 && (&other.cached.salt, other.adapter_number()) == own;
        let more = (cached + 1) * BLOCK_SIZE;
        reads && self.reusable().get(..more).is_some_and(|own| other.tokens.starts_with(own))
    }

    /// Leaves the queue: takes the blocks that [`Sequence::find_cached`] found, then those that the
    /// rest of its tokens need. Takes none of the latter and says false if there are too few.
    pub(crate) fn admit(&mut self, found: (Vec<u32>, Prefix), pool: &mut BlockPool) -> bool {
        let (blocks, prefix) = found;
        self.computed = blocks.len() * BLOCK_SIZE;
        if self.queued.take().is_some() {
            self.cached.prompt_tokens = self.computed;
        }
        (self.cached.blocks, self.cached.prefix) = (blocks.len(), prefix);
        self.table.share(blocks, pool);
        self.clock.admitted.get_or_insert_with(Instant::now);
        self.take_blocks(pool)
    }

    /// Lets others find the blocks that are full and computed by now.
    pub(crate) fn cache_blocks(&mut self, pool: &mut BlockPool) {
        let full = self.tokens[..self.computed].as_chunks().0;
        for (tokens, &block) in full.iter().zip(self.table.blocks()).skip(self.cached.blocks) {
            let prefix = std::mem::replace(&mut self.cached.prefix, Prefix::After(0));
            self.cached.prefix = pool.cache(block, prefix, tokens);
            self.cached.blocks += 1;
        }
    }

    /// Gives its blocks back: what is not in the cache has to be computed again.
    pub(crate) fn release_blocks(&mut self, pool: &mut BlockPool) {
        self.table.release(pool);
        self.release_drafted();
        self.computed = 0;
    }
}
