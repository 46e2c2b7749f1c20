//! The blocks that hold one sequence's keys and values, in order.

use garrison_device::BLOCK_SIZE;

use super::BlockPool;
use crate::faults::{self, Allocation};

/// Block `i` holds the tokens `i * BLOCK_SIZE ..` of the sequence.
#[derive(Debug, Default)]
pub(crate) struct BlockTable {
    blocks: Vec<u32>,
}

impl BlockTable {
    /// Blocks that `tokens` tokens take.
    pub(crate) fn blocks_for(tokens: usize) -> usize {
        tokens.div_ceil(BLOCK_SIZE)
    }

    /// The block ids, in order.
    pub(crate) fn blocks(&self) -> &[u32] {
        &self.blocks
    }

    /// Begins an empty table with blocks that hold what the sequence begins with; others may hold them too.
    pub(crate) fn share(&mut self, cached: impl IntoIterator<Item = u32>, pool: &mut BlockPool) {
        debug_assert!(self.blocks.is_empty(), "a table shares only what it begins with");
        self.blocks.extend(cached.into_iter().inspect(|&block| pool.hold(block)));
    }

    /// Grows to hold `tokens` tokens. Takes nothing and says false if the pool has too few.
    pub(crate) fn cover(&mut self, tokens: usize, pool: &mut BlockPool) -> bool {
        let missing = Self::blocks_for(tokens).saturating_sub(self.blocks.len());
        if missing > pool.free() || (missing > 0 && faults::fails(Allocation::Blocks)) {
            return false;
        }
        self.blocks.extend((0..missing).map_while(|_| pool.take()));
        true
    }

    /// Gives every block back.
    pub(crate) fn release(&mut self, pool: &mut BlockPool) {
        // Last first: the pool hands free ones out again in the order they had, and evicts the end
        // of a cached prefix before its beginning, without which the end is of no use.
        for block in self.blocks.drain(..).rev() {
            pool.release(block);
        }
    }
}
