//! The books of blocks and slots, against models of what they hold.

use garrison_device::BLOCK_SIZE;
use proptest::prelude::*;

use super::prefix_cache::BlockTokens;
use super::{BlockPool, BlockTable, Home, Prefix, Save};

#[test]
fn the_null_block_is_never_handed_out() {
    let mut pool = BlockPool::new(4, 0);
    let taken: Vec<u32> = std::iter::from_fn(|| pool.take()).collect();
    assert_eq!(taken, [1, 2, 3]);
    assert_eq!((pool.free(), pool.capacity()), (0, 3));
}

#[test]
#[should_panic(expected = "released but not held")]
fn a_block_is_not_released_twice() {
    let mut pool = BlockPool::new(3, 0);
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
    let mut pool = BlockPool::new(4, 0);
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
    assert_eq!(first, Home::Device(blocks[0]));
    pool.hold(blocks[0]);
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
    let mut pool = BlockPool::new(4, 0);
    let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
    let tokens = [7; BLOCK_SIZE];
    let first = pool.cache(a, start(), &tokens);
    assert_eq!(pool.cache(b, start(), &tokens), first);
    assert_eq!(pool.find(&start(), &tokens), Some((Home::Device(a), first)));
    pool.release(b);
    pool.check([[a].as_slice()].into_iter(), [].into_iter());
}

/// A pool of `n` cached blocks of one text, all let go, above `n_slots`, of which `saved` are evicted.
fn evicted(n: u32, n_slots: usize, saved: usize) -> (BlockPool, Vec<BlockTokens>) {
    let mut pool = BlockPool::new(n as usize + 1, n_slots);
    pool.allow_saves(usize::MAX);
    let tokens: Vec<BlockTokens> = (0..n).map(|i| [i; BLOCK_SIZE]).collect();
    let mut table = BlockTable::default();
    assert!(table.cover(n as usize * BLOCK_SIZE, &mut pool));
    let mut prefix = start();
    for (block, tokens) in table.blocks().iter().zip(&tokens) {
        prefix = pool.cache(*block, prefix, tokens);
    }
    table.release(&mut pool);
    pool.make_blank(saved);
    (pool, tokens)
}

/// Where each block of a text is, as far as it can be found.
fn homes(pool: &BlockPool, tokens: &[BlockTokens]) -> Vec<Home> {
    let mut prefix = start();
    let mut homes = Vec::new();
    for tokens in tokens {
        let Some((home, next)) = pool.find(&prefix, tokens) else { break };
        homes.push(home);
        prefix = next;
    }
    homes
}

use Home::{Device, Host};

#[test]
fn what_is_evicted_is_found_on_the_host_the_end_first() {
    let (mut pool, tokens) = evicted(4, 3, 2);
    assert_eq!(homes(&pool, &tokens), [Device(1), Device(2), Host(2), Host(1)]);
    assert_eq!(pool.take_saves(), [Save { block: 4, slot: 1 }, Save { block: 3, slot: 2 }]);
    pool.make_blank(2);
    // Three slots: the end, which was saved first, makes room for the beginning.
    assert_eq!(homes(&pool, &tokens), [Host(1), Host(3), Host(2)]);
    assert_eq!((pool.slots(), pool.blank()), ((3, 3), 4));
    pool.check([].into_iter(), [].into_iter());
}

#[test]
fn what_may_not_be_saved_is_forgotten() {
    let (mut pool, tokens) = evicted(4, 4, 0);
    pool.allow_saves(1);
    pool.make_blank(2);
    assert_eq!(homes(&pool, &tokens), [Device(1), Device(2)]);
    assert_eq!(pool.take_saves().len(), 1, "the last one, which nobody can reach now");
}

#[test]
fn a_held_slot_is_not_saved_over() {
    let (mut pool, tokens) = evicted(4, 2, 2);
    [1, 2].iter().for_each(|&slot| pool.hold_slot(slot));
    pool.make_blank(1);
    assert_eq!(homes(&pool, &tokens), [Device(1)], "there was no slot for the second");
    pool.check([].into_iter(), [1, 2].into_iter());
    [1, 2].iter().for_each(|&slot| pool.release_slot(slot));
    pool.make_blank(1);
    assert_eq!(homes(&pool, &tokens), [Host(1)]);
}

#[test]
fn what_is_computed_again_leaves_its_slot() {
    let (mut pool, tokens) = evicted(2, 2, 2);
    let block = pool.take().unwrap();
    pool.hold_slot(2);
    let after = pool.cache(block, start(), &tokens[0]);
    assert_eq!(homes(&pool, &tokens), [Device(block), Host(1)], "what follows keeps its prefix");
    assert_eq!(pool.find(&after, &tokens[1]).map(|(home, _)| home), Some(Host(1)));
    pool.check([[block].as_slice()].into_iter(), [2].into_iter());
    pool.release_slot(2);
    assert_eq!(pool.slots(), (1, 2));
}

#[test]
fn a_lost_device_leaves_what_can_be_reached_on_the_host() {
    let (mut pool, tokens) = evicted(4, 4, 2);
    pool.forget_all();
    assert_eq!((homes(&pool, &tokens), pool.slots()), (vec![], (0, 4)), "its beginning is lost");
    let (mut pool, tokens) = evicted(4, 4, 4);
    pool.lose_slot(2);
    pool.forget_all();
    assert_eq!((homes(&pool, &tokens), pool.slots()), (vec![Host(4), Host(3)], (2, 4)));
    pool.check([].into_iter(), [].into_iter());
}

/// A sequence as the model sees it: what it reads, its blocks, and the slots it is to be restored from.
#[derive(Default)]
struct Reader {
    text: u32,
    table: BlockTable,
    slots: Vec<u32>,
    /// Blocks that are computed or restored.
    there: usize,
    prefix: Option<Prefix>,
}

/// What block `i` of text `t` holds. Texts have their first two blocks in common.
fn tokens_of(text: u32, i: usize) -> BlockTokens {
    [if i < 2 { 0 } else { text * 1000 } + i as u32; BLOCK_SIZE]
}

/// The pool, and what each block and slot really holds.
struct World {
    pool: BlockPool,
    device: Vec<Option<BlockTokens>>,
    host: Vec<Option<BlockTokens>>,
    readers: Vec<Reader>,
}

impl World {
    fn new(n_blocks: usize, n_slots: usize) -> World {
        World {
            pool: BlockPool::new(n_blocks, n_slots),
            device: vec![None; n_blocks],
            host: vec![None; n_slots + 1],
            readers: (0..6).map(|_| Reader::default()).collect(),
        }
    }

    /// Lets go of all that a reader holds.
    fn leave(&mut self, which: usize) {
        let Reader { table, slots, .. } = &mut self.readers[which];
        slots.drain(..).rev().for_each(|slot| self.pool.release_slot(slot));
        table.release(&mut self.pool);
    }

    /// Begins a text, with as much of it as is cached.
    fn begin(&mut self, which: usize, text: u32) {
        let (mut prefix, mut blocks, mut slots) = (start(), Vec::new(), Vec::new());
        let mut next = prefix.clone();
        loop {
            match self.pool.find(&next, &tokens_of(text, blocks.len() + slots.len())) {
                Some((Device(block), after)) if slots.is_empty() => {
                    blocks.push(block);
                    (prefix, next) = (after.clone(), after);
                }
                Some((Host(slot), after)) if !self.readers.iter().any(|r| r.slots.contains(&slot)) => {
                    slots.push(slot);
                    next = after;
                }
                _ => break,
            }
        }
        let there = blocks.len();
        for (i, block) in blocks.iter().enumerate() {
            assert_eq!(self.device[*block as usize], Some(tokens_of(text, i)), "found in block {block}");
        }
        slots.iter().for_each(|&slot| self.pool.hold_slot(slot));
        let mut table = BlockTable::default();
        table.share(blocks, &mut self.pool);
        self.readers[which] = Reader { text, table, slots, there, prefix: Some(prefix) };
    }

    /// Carries out what was ordered: all saves, and then one of the reader's restores.
    fn copy(&mut self, which: usize, fails: bool) {
        for Save { block, slot } in self.pool.take_saves() {
            self.host[slot as usize] = self.device[block as usize];
        }
        let Reader { text, table, slots, there, .. } = &mut self.readers[which];
        if slots.is_empty() || *there == table.blocks().len() {
            return;
        }
        if fails {
            self.pool.lose_slot(slots[0]);
            slots.drain(..).rev().for_each(|slot| self.pool.release_slot(slot));
            return;
        }
        let slot = slots.remove(0);
        assert_eq!(self.host[slot as usize], Some(tokens_of(*text, *there)), "restored from slot {slot}");
        self.arrive(which);
        self.pool.release_slot(slot);
    }

    /// The next block of a reader is there.
    fn arrive(&mut self, which: usize) {
        let Reader { text, table, there, prefix, .. } = &mut self.readers[which];
        let (block, tokens) = (table.blocks()[*there], tokens_of(*text, *there));
        self.device[block as usize] = Some(tokens);
        *prefix = Some(self.pool.cache(block, prefix.take().unwrap(), &tokens));
        *there += 1;
    }

    fn check(&self) {
        let tables = self.readers.iter().map(|r| r.table.blocks());
        self.pool.check(tables, self.readers.iter().flat_map(|r| r.slots.iter().copied()));
    }
}

proptest! {
    /// Against the model "each block and slot holds what was last computed or copied there": whatever is
    /// found is that, in any order of growth, sharing, eviction, restoring, failures and release.
    #[test]
    fn what_is_found_is_what_was_computed(
        n_blocks in 2usize..40,
        n_slots in 0usize..20,
        ops in proptest::collection::vec((0usize..6, 0usize..120, 0u32..3, 0u8..8, 0usize..9), 0..150),
    ) {
        let mut world = World::new(n_blocks, n_slots);
        for (which, tokens, text, action, allowed) in ops {
            world.pool.allow_saves(if allowed == 8 { usize::MAX } else { allowed });
            if tokens == 0 || action == 0 {
                world.leave(which);
            } else if action < 5 {
                if world.readers[which].table.blocks().is_empty() {
                    world.leave(which);
                    world.begin(which, text);
                }
                let World { pool, readers, .. } = &mut world;
                let (table, free) = (&mut readers[which].table, pool.free());
                let before = table.blocks().to_vec();
                let missing = BlockTable::blocks_for(tokens).saturating_sub(before.len());
                let used: Vec<u32> = (1..n_blocks as u32).filter(|&b| !pool.is_free(b)).collect();
                prop_assert_eq!(table.cover(tokens, pool), missing <= free);
                prop_assert_eq!(&table.blocks()[..before.len()], &before[..], "growth moves nothing");
                let new = &table.blocks()[before.len()..];
                prop_assert_eq!(new.len(), if missing <= free { missing } else { 0 });
                prop_assert!(new.iter().all(|b| !used.contains(b)), "a block in use is never evicted");
            }
            // The step: copies, and then one more block is computed, if none is still to be restored.
            world.copy(which, action == 7);
            let reader = &world.readers[which];
            if reader.slots.is_empty() && reader.there < reader.table.blocks().len() {
                world.arrive(which);
            }
            world.check();
            let (used, all) = world.pool.slots();
            prop_assert!(used <= all && all == n_slots, "the bound holds");
        }
        (0..6).for_each(|which| world.leave(which));
        world.pool.forget_all();
        world.check();
        prop_assert_eq!(world.pool.blank(), world.pool.capacity());
    }
}
