//! The blocks of a sequence: taken, shared with others, restored, let go.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use garrison_device::BLOCK_SIZE;

use super::Sequence;
use crate::kv::{BlockPool, Home, Prefix};

/// What of the sequence is in the prefix cache.
pub(super) struct Cached {
    pub(super) salt: Arc<str>,
    /// Blocks of the table that are cached, or whose like is.
    pub(super) blocks: usize,
    /// What ends with them.
    pub(super) prefix: Prefix,
    /// Slots of the host cache that hold what comes after the computed tokens, next first. They are
    /// held until their contents are back on the device.
    pub(super) slots: VecDeque<u32>,
    /// Tokens of the prompt that were not computed when it was read for the first time.
    pub(super) prompt_tokens: usize,
    /// Whether that is still the first time.
    pub(super) counts: bool,
}

/// What is cached of what a sequence begins with.
#[derive(Debug)]
pub(crate) struct Found {
    /// Blocks of the device, in order.
    pub(crate) blocks: Vec<u32>,
    /// What ends with them.
    pub(crate) prefix: Prefix,
    /// Slots of the host cache that hold what follows, in order.
    pub(crate) slots: Vec<u32>,
}

impl Found {
    /// Keeps all of it from being evicted.
    pub(crate) fn hold(&self, pool: &mut BlockPool) {
        self.blocks.iter().for_each(|&block| pool.hold(block));
        self.slots.iter().for_each(|&slot| pool.hold_slot(slot));
    }

    /// Lets it go again.
    pub(crate) fn release(&self, pool: &mut BlockPool) {
        self.slots.iter().rev().for_each(|&slot| pool.release_slot(slot));
        self.blocks.iter().rev().for_each(|&block| pool.release(block));
    }
}

impl Cached {
    pub(super) fn new(salt: Arc<str>, adapter: u64) -> Cached {
        Cached {
            prefix: Prefix::Start { salt: Arc::clone(&salt), adapter },
            salt,
            blocks: 0,
            slots: VecDeque::new(),
            prompt_tokens: 0,
            counts: false,
        }
    }
}

impl Sequence {
    /// Takes the blocks that all its tokens need. Takes none and says false if there are too few.
    pub(crate) fn take_blocks(&mut self, pool: &mut BlockPool) -> bool {
        self.table.cover(self.tokens.len(), pool)
    }

    /// Takes the blocks that so many tokens to come need, if it goes on for so long and they are there.
    pub(crate) fn take_blocks_ahead(&mut self, tokens: usize, pool: &mut BlockPool) {
        if self.tokens.len() + tokens < self.max_len {
            self.table.cover(self.tokens.len() + tokens, pool);
        }
    }

    /// The tokens that the cache may serve. At least one is left to compute: its logits are what comes
    /// next. A prompt that is still being scored needs the logits of all its tokens.
    fn reusable(&self) -> &[u32] {
        let end = if self.scoring.is_some() { 0 } else { self.tokens.len().saturating_sub(1) };
        &self.tokens[..end]
    }

    /// What is cached of what the sequence begins with: blocks of the device, and then what follows in
    /// the host cache.
    pub(crate) fn find_cached(&self, pool: &BlockPool) -> Found {
        let start = Prefix::Start { salt: Arc::clone(&self.cached.salt), adapter: self.adapter_number() };
        let mut found = Found { blocks: Vec::new(), prefix: start.clone(), slots: Vec::new() };
        let mut prefix = start;
        for tokens in self.reusable().as_chunks().0 {
            match pool.find(&prefix, tokens) {
                Some((Home::Device(block), next)) if found.slots.is_empty() => {
                    found.blocks.push(block);
                    found.prefix = next.clone();
                    prefix = next;
                }
                Some((Home::Host(slot), next)) => {
                    found.slots.push(slot);
                    prefix = next;
                }
                // A block of the device after the host's is rare, and not worth a table with gaps.
                Some((Home::Device(_), _)) | None => break,
            }
        }
        found
    }

    /// Whether `other` is about to compute more of what this sequence begins with than the `cached`
    /// blocks that are there: then waiting for it is cheaper than computing it again. What it has computed
    /// already and cannot be found will not be: its like was cached by somebody else, and evicted since.
    pub(crate) fn gains_from(&self, other: &Sequence, cached: usize) -> bool {
        let own = (&self.cached.salt, self.adapter_number());
        let reads = other.remaining() > 1 && (&other.cached.salt, other.adapter_number()) == own;
        let more = (cached + 1) * BLOCK_SIZE;
        let computes = reads && other.computed < more;
        computes && self.reusable().get(..more).is_some_and(|own| other.tokens.starts_with(own))
    }

    /// Leaves the queue: takes the blocks that [`Sequence::find_cached`] found, holds the slots, and
    /// takes the blocks that the rest of its tokens need. Takes none of the latter and says false if there
    /// are too few.
    pub(crate) fn admit(&mut self, found: Found, pool: &mut BlockPool) -> bool {
        let Found { blocks, prefix, slots } = found;
        self.computed = blocks.len() * BLOCK_SIZE;
        self.cached.counts = self.queued.take().is_some();
        if self.cached.counts {
            self.cached.prompt_tokens = self.computed;
        }
        (self.cached.blocks, self.cached.prefix) = (blocks.len(), prefix);
        self.table.share(blocks, pool);
        slots.iter().for_each(|&slot| pool.hold_slot(slot));
        self.cached.slots = slots.into();
        self.clock.admitted.get_or_insert_with(Instant::now);
        self.take_blocks(pool)
    }

    /// Blocks that are still to be restored, before anything of the sequence runs.
    pub(crate) fn to_restore(&self) -> usize {
        self.cached.slots.len()
    }

    /// The slot to be restored next, and the block that it goes to.
    pub(crate) fn next_restore(&self) -> Option<(u32, u32)> {
        let slot = self.cached.slots.front()?;
        Some((*slot, *self.table.blocks().get(self.computed / BLOCK_SIZE)?))
    }

    /// Notes that the next block is restored: it is as good as computed. Says how many tokens of its
    /// prompt need not be computed for that.
    pub(crate) fn restored(&mut self, pool: &mut BlockPool) -> usize {
        let Some(slot) = self.cached.slots.pop_front() else { return 0 };
        self.computed += BLOCK_SIZE;
        self.cache_blocks(pool);
        pool.release_slot(slot);
        let spared = if self.cached.counts { BLOCK_SIZE } else { 0 };
        self.cached.prompt_tokens += spared;
        spared
    }

    /// Notes that the next block cannot be restored: it is forgotten, and the rest is computed.
    pub(crate) fn not_restored(&mut self, pool: &mut BlockPool) {
        if let Some(slot) = self.cached.slots.front() {
            pool.lose_slot(*slot);
        }
        self.release_slots(pool);
    }

    /// Gives up what it was to be restored from: that is computed instead.
    pub(crate) fn release_slots(&mut self, pool: &mut BlockPool) {
        self.cached.slots.drain(..).rev().for_each(|slot| pool.release_slot(slot));
    }

    /// The slots it holds.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.cached.slots.iter().copied()
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
        self.release_slots(pool);
        self.table.release(pool);
        self.release_drafted();
        self.computed = 0;
    }
}
