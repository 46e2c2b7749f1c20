//! The blocks of the KV cache: which are free, and how many tables hold each of the others.
//!
//! Key decision: blocks are reference-counted from the start, so that sharing a prefix is one more
//! hold of a block and not another allocator. Block 0 is the null block: it is never handed
//! out, because padding writes there.

use garrison_device::NULL_BLOCK;

/// Hands out blocks and takes them back.
#[derive(Debug)]
pub(crate) struct BlockPool {
    /// `[n_blocks]` tables that hold each block; 0 means free. The null block holds itself.
    refs: Vec<u32>,
    /// Free blocks, the next one last.
    free: Vec<u32>,
}

impl BlockPool {
    /// A pool of `n_blocks`, the null block included.
    pub(crate) fn new(n_blocks: usize) -> Self {
        let mut refs = vec![0; n_blocks];
        refs[NULL_BLOCK as usize] = 1;
        // Low ids first: a lightly used cache stays within few pages of memory.
        let free = (0..n_blocks as u32).filter(|&b| b != NULL_BLOCK).rev().collect();
        BlockPool { refs, free }
    }

    /// Blocks that can be handed out now.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Blocks that can be handed out at all.
    pub(crate) fn capacity(&self) -> usize {
        self.refs.len() - 1
    }

    /// Hands out a free block, held once.
    pub(crate) fn take(&mut self) -> Option<u32> {
        let block = self.free.pop()?;
        debug_assert_eq!(self.refs[block as usize], 0, "block {block} was free and held");
        self.refs[block as usize] = 1;
        Some(block)
    }

    /// Takes one hold of `block` back; the last one frees it.
    pub(crate) fn release(&mut self, block: u32) {
        let refs = &mut self.refs[block as usize];
        assert!(block != NULL_BLOCK && *refs > 0, "block {block} is released but not held");
        *refs -= 1;
        if *refs == 0 {
            self.free.push(block);
        }
    }

    /// Checks that `tables` account for every hold, and that each block is either free, once, or
    /// held. Tests call it after each step.
    #[cfg(test)]
    pub(crate) fn check<'a>(&self, tables: impl Iterator<Item = &'a [u32]>) {
        let mut refs = vec![0u32; self.refs.len()];
        refs[NULL_BLOCK as usize] = 1;
        for block in tables.flatten() {
            assert_ne!(*block, NULL_BLOCK, "a table holds the null block");
            refs[*block as usize] += 1;
        }
        assert_eq!(refs, self.refs, "holds recorded and holds in tables differ");
        let mut free = self.free.clone();
        free.sort_unstable();
        let expected: Vec<u32> = (0..refs.len() as u32).filter(|&b| refs[b as usize] == 0).collect();
        assert_eq!(free, expected, "the free list and the blocks nobody holds differ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::BlockTable;
    use proptest::prelude::*;

    #[test]
    fn the_null_block_is_never_handed_out() {
        let mut pool = BlockPool::new(4);
        let taken: Vec<u32> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(taken, [1, 2, 3]);
        assert_eq!((pool.free(), pool.capacity()), (0, 3));
    }

    #[test]
    #[should_panic(expected = "released but not held")]
    fn a_block_is_not_released_twice() {
        let mut pool = BlockPool::new(3);
        let block = pool.take().unwrap();
        pool.release(block);
        pool.release(block);
    }

    proptest! {
        /// Against the model "a set of tables, each a list of blocks".
        #[test]
        fn any_order_of_growth_and_release_keeps_the_books(
            n_blocks in 2usize..40,
            ops in proptest::collection::vec((0usize..6, 0usize..120), 0..80),
        ) {
            let mut pool = BlockPool::new(n_blocks);
            let mut tables: Vec<BlockTable> = (0..6).map(|_| BlockTable::default()).collect();
            for (which, tokens) in ops {
                let used: usize = tables.iter().map(|t| t.blocks().len()).sum();
                prop_assert_eq!(pool.free(), pool.capacity() - used);
                let table = &mut tables[which];
                if tokens == 0 {
                    table.release(&mut pool);
                    prop_assert!(table.blocks().is_empty());
                } else {
                    let missing = tokens.div_ceil(16).saturating_sub(table.blocks().len());
                    let before = table.blocks().to_vec();
                    let grown = table.cover(tokens, &mut pool);
                    prop_assert_eq!(grown, missing <= n_blocks - 1 - used);
                    prop_assert_eq!(&table.blocks()[..before.len()], &before[..], "growth moves nothing");
                    if !grown {
                        prop_assert_eq!(table.blocks().len(), before.len(), "failed growth takes nothing");
                    }
                }
                pool.check(tables.iter().map(BlockTable::blocks));
            }
        }
    }
}
