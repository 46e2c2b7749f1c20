//! The blocks of the KV cache: which are free, how many tables hold each of the others, and which
//! can be found again by the tokens they hold.
//!
//! Key decision: a cached block that nobody holds counts as free. It is handed out like any other,
//! after those that hold nothing and least recently used first, and is forgotten only then. So
//! caching never takes a block from a sequence, and a block in use is never evicted. Block 0 is
//! the null block: it is never handed out, because padding writes there.

use garrison_device::NULL_BLOCK;

use super::lru::Lru;
use super::prefix_cache::{BlockTokens, Prefix, PrefixCache};

/// Hands out blocks and takes them back.
#[derive(Debug)]
pub(crate) struct BlockPool {
    /// `[n_blocks]` tables that hold each block; 0 means free. The null block holds itself.
    refs: Vec<u32>,
    /// Free blocks that hold nothing, the next one last.
    blank: Vec<u32>,
    /// Free blocks that are cached.
    idle: Lru,
    cache: PrefixCache,
    /// `[n_blocks]` whether the draft model has keys and values there, too.
    drafted: Vec<bool>,
}

impl BlockPool {
    /// A pool of `n_blocks`, the null block included.
    pub(crate) fn new(n_blocks: usize) -> Self {
        let mut refs = vec![0; n_blocks];
        refs[NULL_BLOCK as usize] = 1;
        // Low ids first: a lightly used cache stays within few pages of memory.
        let blank = (0..n_blocks as u32).filter(|&b| b != NULL_BLOCK).rev().collect();
        BlockPool {
            refs,
            blank,
            idle: Lru::new(n_blocks),
            cache: PrefixCache::new(n_blocks),
            drafted: vec![false; n_blocks],
        }
    }

    /// Blocks that can be handed out now, cached ones included.
    pub(crate) fn free(&self) -> usize {
        self.blank.len() + self.idle.len()
    }

    /// Blocks that can be handed out at all.
    pub(crate) fn capacity(&self) -> usize {
        self.refs.len() - 1
    }

    /// Whether nobody holds `block`.
    pub(crate) fn is_free(&self, block: u32) -> bool {
        self.refs[block as usize] == 0
    }

    /// Hands out a free block, held once.
    pub(crate) fn take(&mut self) -> Option<u32> {
        let block = match self.blank.pop() {
            Some(block) => block,
            None => {
                let block = self.idle.pop()?;
                self.cache.forget(block);
                block
            }
        };
        debug_assert!(self.is_free(block), "block {block} was free and held");
        self.refs[block as usize] = 1;
        self.drafted[block as usize] = false;
        Some(block)
    }

    /// Takes one more hold of a block that is held or cached.
    pub(crate) fn hold(&mut self, block: u32) {
        if self.is_free(block) {
            self.idle.remove(block);
        }
        self.refs[block as usize] += 1;
    }

    /// Takes one hold of `block` back; the last one frees it.
    pub(crate) fn release(&mut self, block: u32) {
        let refs = &mut self.refs[block as usize];
        assert!(block != NULL_BLOCK && *refs > 0, "block {block} is released but not held");
        *refs -= 1;
        if *refs == 0 {
            if self.cache.holds(block) {
                self.idle.push(block);
            } else {
                self.blank.push(block);
            }
        }
    }

    /// The cached block that holds `tokens` after `prefix`, and the prefix that ends with it.
    pub(crate) fn find(&self, prefix: &Prefix, tokens: &BlockTokens) -> Option<(u32, Prefix)> {
        self.cache.find(prefix, tokens)
    }

    /// Caches a held block, all of whose `tokens` after `prefix` are computed; gives the prefix
    /// that ends with them.
    pub(crate) fn cache(&mut self, block: u32, prefix: Prefix, tokens: &BlockTokens) -> Prefix {
        debug_assert!(!self.is_free(block), "block {block} is cached but not held");
        self.cache.insert(block, prefix, tokens)
    }

    /// Notes that the draft model has read all tokens of `block`.
    pub(crate) fn set_drafted(&mut self, block: u32) {
        self.drafted[block as usize] = true;
    }

    /// Whether the draft model has read all tokens of `block`.
    pub(crate) fn is_drafted(&self, block: u32) -> bool {
        self.drafted[block as usize]
    }

    /// Forgets what the draft model has read.
    pub(crate) fn forget_drafted(&mut self) {
        self.drafted.fill(false);
    }

    /// Forgets what every block holds: the device has lost it. Nobody may hold any.
    pub(crate) fn forget_all(&mut self) {
        while let Some(block) = self.idle.pop() {
            self.cache.forget(block);
            self.blank.push(block);
        }
        self.forget_drafted();
        debug_assert_eq!(self.blank.len(), self.capacity(), "blocks are forgotten while held");
    }

    /// Checks that `tables` account for every hold, and that each block is either blank, or idle
    /// and cached, or held. Tests call it after each step.
    #[cfg(test)]
    pub(crate) fn check<'a>(&self, tables: impl Iterator<Item = &'a [u32]>) {
        let mut refs = vec![0u32; self.refs.len()];
        refs[NULL_BLOCK as usize] = 1;
        for block in tables.flatten() {
            assert_ne!(*block, NULL_BLOCK, "a table holds the null block");
            refs[*block as usize] += 1;
        }
        assert_eq!(refs, self.refs, "holds recorded and holds in tables differ");
        assert!(self.idle.iter().all(|b| self.cache.holds(b)), "an idle block that cannot be found");
        assert!(!self.blank.iter().any(|&b| self.cache.holds(b)), "a blank block that can be found");
        let found = (0..refs.len() as u32).filter(|&b| self.cache.holds(b)).count();
        assert_eq!(found, self.cache.len(), "blocks and keys are cached one to one");
        let mut free: Vec<u32> = self.blank.iter().copied().chain(self.idle.iter()).collect();
        free.sort_unstable();
        let expected: Vec<u32> = (0..refs.len() as u32).filter(|&b| refs[b as usize] == 0).collect();
        assert_eq!(free, expected, "the free lists and the blocks nobody holds differ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::BlockTable;
    use garrison_device::BLOCK_SIZE;
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

    const SALT: &str = "";

    fn start() -> Prefix {
        Prefix::Start { salt: SALT.into(), adapter: 0 }
    }

    #[test]
    fn the_end_of_a_prefix_is_evicted_before_its_beginning_and_nothing_in_use_is() {
        let mut pool = BlockPool::new(4);
        let mut table = BlockTable::default();
        assert!(table.cover(3 * BLOCK_SIZE, &mut pool));
        let tokens = [[1; BLOCK_SIZE], [2; BLOCK_SIZE], [3; BLOCK_SIZE]];
        let blocks = table.blocks().to_vec();
        let mut prefix = start();
        for (block, tokens) in blocks.iter().zip(&tokens) {
            prefix = pool.cache(*block, prefix, tokens);
        }
        table.release(&mut pool);
        assert_eq!(pool.free(), 3, "what is cached and idle is free");
        let (first, after_first) = pool.find(&start(), &tokens[0]).unwrap();
        pool.hold(first);
        let mut others = BlockTable::default();
        assert!(others.cover(BLOCK_SIZE, &mut pool));
        assert_eq!(others.blocks(), [blocks[2]], "the end goes first");
        assert!(others.cover(2 * BLOCK_SIZE, &mut pool));
        assert!(!others.cover(3 * BLOCK_SIZE, &mut pool), "the beginning is in use");
        assert!(pool.find(&after_first, &tokens[1]).is_none());
        assert!(pool.find(&start(), &tokens[0]).is_some());
    }

    #[test]
    fn a_block_that_holds_the_same_again_is_not_cached_twice() {
        let mut pool = BlockPool::new(4);
        let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
        let tokens = [7; BLOCK_SIZE];
        let first = pool.cache(a, start(), &tokens);
        assert_eq!(pool.cache(b, start(), &tokens), first);
        assert_eq!(pool.find(&start(), &tokens), Some((a, first)));
        pool.release(b);
        pool.check([[a].as_slice()].into_iter());
    }

    proptest! {
        /// Against the model "a set of tables, each a list of blocks, and a list of what was
        /// cached, in the order in which it was last let go".
        #[test]
        fn any_order_of_growth_sharing_and_release_keeps_the_books(
            n_blocks in 2usize..40,
            ops in proptest::collection::vec((0usize..6, 0usize..120, 0u32..3), 0..120),
        ) {
            let mut pool = BlockPool::new(n_blocks);
            let mut tables: Vec<BlockTable> = (0..6).map(|_| BlockTable::default()).collect();
            // What block `i` of text `t` holds.
            let tokens_of = |text: u32, i: usize| [text * 1000 + i as u32; BLOCK_SIZE];
            let mut texts = [0u32; 6];
            for (which, tokens, text) in ops {
                let held = |tables: &[BlockTable]| {
                    let mut held: Vec<u32> = tables.iter().flat_map(|t| t.blocks()).copied().collect();
                    held.sort_unstable();
                    held.dedup();
                    held
                };
                let used = held(&tables);
                prop_assert_eq!(pool.free(), pool.capacity() - used.len());
                let table = &mut tables[which];
                if tokens == 0 {
                    // All that is in the table is computed: it is cached, then let go.
                    let mut prefix = start();
                    for (i, block) in table.blocks().to_vec().into_iter().enumerate() {
                        prefix = pool.cache(block, prefix, &tokens_of(texts[which], i));
                    }
                    table.release(&mut pool);
                    prop_assert!(table.blocks().is_empty());
                } else {
                    if table.blocks().is_empty() {
                        texts[which] = text;
                        let mut prefix = start();
                        let mut found = Vec::new();
                        while let Some((block, next)) = pool.find(&prefix, &tokens_of(text, found.len())) {
                            prop_assert!(!found.contains(&block), "two blocks of one text are different");
                            found.push(block);
                            prefix = next;
                        }
                        table.share(found, &mut pool);
                    }
                    let free = pool.free();
                    let missing = tokens.div_ceil(BLOCK_SIZE).saturating_sub(table.blocks().len());
                    let before = table.blocks().to_vec();
                    let grown = table.cover(tokens, &mut pool);
                    prop_assert_eq!(grown, missing <= free);
                    prop_assert_eq!(&table.blocks()[..before.len()], &before[..], "growth moves nothing");
                    if grown {
                        let new = &table.blocks()[before.len()..];
                        prop_assert!(new.iter().all(|b| !used.contains(b)), "a block in use is never evicted");
                    } else {
                        prop_assert_eq!(table.blocks().len(), before.len(), "failed growth takes nothing");
                    }
                }
                pool.check(tables.iter().map(BlockTable::blocks));
            }
            for table in &mut tables {
                table.release(&mut pool);
            }
            pool.forget_all();
            prop_assert!((0..3).all(|text| pool.find(&start(), &tokens_of(text, 0)).is_none()));
        }
    }
}
