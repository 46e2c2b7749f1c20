//! The blocks of the KV cache: which are free, how many tables hold each of the others, and which
//! can be found again by the tokens they hold.
//!
//! Key decision: a cached block that nobody holds counts as free. It is handed out like any other,
//! after those that hold nothing and least recently used first, and is forgotten only then. So
//! caching never takes a block from a sequence, and a block in use is never evicted. Block 0 is
//! the null block: it is never handed out, because padding writes there.
//!
//! What is evicted goes to the host cache, as far as saving is allowed. The books say so at once, and
//! the copies are orders that are carried out before the next step writes anything: all saves, in the
//! order in which blocks were evicted, and then what sequences are restored from. That is right because
//! nothing is cached before it is computed, so a block to be saved is not one that is being restored;
//! and because a slot that is to be restored from is held, so nothing is saved over it. A slot that is
//! filled twice holds what was evicted last, as the books say.

use garrison_device::NULL_BLOCK;

use super::host_slots::{Contents, HostSlots};
use super::lru::Lru;
use super::prefix_cache::{BlockTokens, Home, Prefix, PrefixCache};

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
    host: HostSlots,
    /// How many more blocks may be saved.
    allowed_saves: usize,
    /// What is to be saved before the next step.
    saves: Vec<Save>,
}

/// An order to copy a block that was evicted to a slot of the host cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Save {
    pub(crate) block: u32,
    pub(crate) slot: u32,
}

impl BlockPool {
    /// A pool of `n_blocks`, the null block included, above a host cache of `n_slots`.
    pub(crate) fn new(n_blocks: usize, n_slots: usize) -> Self {
        let mut refs = vec![0; n_blocks];
        refs[NULL_BLOCK as usize] = 1;
        // Low ids first: a lightly used cache stays within few pages of memory.
        let blank = (0..n_blocks as u32).filter(|&b| b != NULL_BLOCK).rev().collect();
        BlockPool {
            refs,
            blank,
            idle: Lru::new(n_blocks),
            cache: PrefixCache::new(n_blocks, n_slots),
            drafted: vec![false; n_blocks],
            host: HostSlots::new(n_slots),
            allowed_saves: 0,
            saves: Vec::new(),
        }
    }

    /// Blocks that hold nothing.
    pub(crate) fn blank(&self) -> usize {
        self.blank.len()
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
                self.evict(block);
                block
            }
        };
        debug_assert!(self.is_free(block), "block {block} was free and held");
        self.refs[block as usize] = 1;
        self.drafted[block as usize] = false;
        Some(block)
    }

    /// Takes what an idle block holds out of it: into the host cache, as far as saving is allowed and
    /// there is room.
    fn evict(&mut self, block: u32) {
        let slot = if self.allowed_saves > 0 { self.host.take() } else { None };
        let Some(slot) = slot else { return self.cache.forget(Home::Device(block)) };
        self.allowed_saves -= 1;
        self.cache.forget(Home::Host(slot));
        self.cache.move_to_host(block, slot);
        self.saves.push(Save { block, slot });
    }

    /// Evicts up to `n` idle blocks, so that somebody finds them blank later.
    pub(crate) fn make_blank(&mut self, n: usize) {
        for _ in 0..n {
            let Some(block) = self.idle.pop() else { return };
            self.evict(block);
            self.blank.push(block);
        }
    }

    /// Says how many blocks may be saved from now on; others are forgotten when they are evicted.
    pub(crate) fn allow_saves(&mut self, n: usize) {
        self.allowed_saves = n;
    }

    /// Blocks that are to be saved before the next step.
    pub(crate) fn saves(&self) -> &[Save] {
        &self.saves
    }

    /// Takes the orders to save.
    pub(crate) fn take_saves(&mut self) -> Vec<Save> {
        std::mem::take(&mut self.saves)
    }

    /// Keeps what is in `slot` from being evicted.
    pub(crate) fn hold_slot(&mut self, slot: u32) {
        self.host.hold(slot);
    }

    /// Lets a held slot go.
    pub(crate) fn release_slot(&mut self, slot: u32) {
        let findable = self.cache.holds(Home::Host(slot));
        self.host.release(slot, if findable { Contents::Findable } else { Contents::Forgotten });
    }

    /// Forgets what is in `slot`: it could not be copied.
    pub(crate) fn lose_slot(&mut self, slot: u32) {
        self.cache.forget(Home::Host(slot));
        self.host.forget(slot);
    }

    /// Forgets what is in every slot: the host cache has lost it. Nobody may hold any.
    pub(crate) fn forget_slots(&mut self) {
        (1..=self.host.capacity() as u32).for_each(|slot| self.lose_slot(slot));
    }

    /// Slots of the host cache that hold something, and slots there are.
    pub(crate) fn slots(&self) -> (usize, usize) {
        (self.host.used(), self.host.capacity())
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
            if self.cache.holds(Home::Device(block)) {
                self.idle.push(block);
            } else {
                self.blank.push(block);
            }
        }
    }

    /// Where `tokens` after `prefix` are cached, and the prefix that ends with them.
    pub(crate) fn find(&self, prefix: &Prefix, tokens: &BlockTokens) -> Option<(Home, Prefix)> {
        self.cache.find(prefix, tokens)
    }

    /// Caches a held block, all of whose `tokens` after `prefix` are computed; gives the prefix
    /// that ends with them.
    pub(crate) fn cache(&mut self, block: u32, prefix: Prefix, tokens: &BlockTokens) -> Prefix {
        debug_assert!(!self.is_free(block), "block {block} is cached but not held");
        let (prefix, left) = self.cache.insert(block, prefix, tokens);
        if let Some(slot) = left {
            self.host.forget(slot);
        }
        prefix
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

    /// Forgets what every block holds: the device has lost it. Nobody may hold any. What is in the
    /// host cache stays, as far as it can be found from its beginning.
    pub(crate) fn forget_all(&mut self) {
        while let Some(block) = self.idle.pop() {
            self.cache.forget(Home::Device(block));
            self.blank.push(block);
        }
        for slot in self.cache.forget_unreachable() {
            self.host.forget(slot);
        }
        self.forget_drafted();
        debug_assert_eq!(self.blank.len(), self.capacity(), "blocks are forgotten while held");
    }

    /// Checks that `tables` and `slots` account for every hold, and that each block is either blank, or
    /// idle and cached, or held, and each slot too. Tests call it after each step.
    #[cfg(test)]
    pub(crate) fn check<'a>(
        &self,
        tables: impl Iterator<Item = &'a [u32]>,
        slots: impl Iterator<Item = u32>,
    ) {
        let mut refs = vec![0u32; self.refs.len()];
        refs[NULL_BLOCK as usize] = 1;
        for block in tables.flatten() {
            assert_ne!(*block, NULL_BLOCK, "a table holds the null block");
            refs[*block as usize] += 1;
        }
        assert_eq!(refs, self.refs, "holds recorded and holds in tables differ");
        let cached = |b: u32| self.cache.holds(Home::Device(b));
        let on_host = |s: u32| self.cache.holds(Home::Host(s));
        assert!(self.idle.iter().all(cached), "an idle block that cannot be found");
        assert!(!self.blank.iter().any(|&b| cached(b)), "a blank block that can be found");
        self.host.check(slots, on_host);
        let found = (0..refs.len() as u32).filter(|&b| cached(b)).count();
        let saved = (0..=self.host.capacity() as u32).filter(|&s| on_host(s)).count();
        assert_eq!(found + saved, self.cache.len(), "blocks, slots and keys are cached one to one");
        let mut free: Vec<u32> = self.blank.iter().copied().chain(self.idle.iter()).collect();
        free.sort_unstable();
        let expected: Vec<u32> = (0..refs.len() as u32).filter(|&b| refs[b as usize] == 0).collect();
        assert_eq!(free, expected, "the free lists and the blocks nobody holds differ");
    }
}
