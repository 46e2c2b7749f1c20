//! Which full blocks hold the keys and values of which tokens, so that a request that begins as
//! another did need not compute them again (vLLM's automatic prefix caching; SGLang's
//! RadixAttention, Zheng et al. 2024, section 3).
//!
//! Key decision: a block's key is its own tokens and the *name* of the prefix before it, a serial
//! number that was given to that prefix when it was cached. So the chain of names stands for every
//! token before, and two different prefixes can never be taken for one another: nothing is hashed
//! into a number that an attacker could collide. An entry keeps its key and its name when its keys and
//! values go from the device to the host cache and back: only its [`Home`] changes, so what follows it
//! stays reachable. A prefix that is forgotten takes its name with it; what followed it cannot be
//! reached any more and ages out.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use garrison_device::BLOCK_SIZE;

/// The tokens of a full block.
pub(crate) type BlockTokens = [u32; BLOCK_SIZE];

/// All that comes before a block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Prefix {
    /// Nothing: the block begins a sequence. Sequences of different `cache_salt` share nothing, and
    /// neither do those of different adapters.
    Start {
        salt: Arc<str>,
        /// The adapter's number; 0 for none.
        adapter: u64,
    },
    /// The cached prefix of this name.
    After(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    prefix: Prefix,
    tokens: BlockTokens,
}

/// Where the keys and values of a cached block stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// In this block of the device.
    Device(u32),
    /// In this slot of the host cache.
    Host(u32),
}

#[derive(Debug)]
struct Cached {
    home: Home,
    /// The name of the prefix that ends with this block.
    name: u64,
}

/// Cached blocks by what they hold. There are never more than blocks and slots.
#[derive(Debug)]
pub(super) struct PrefixCache {
    by_key: HashMap<Key, Cached>,
    /// `[n_blocks]`
    blocks: Vec<Option<Key>>,
    /// `[n_slots + 1]`, the first of no use
    slots: Vec<Option<Key>>,
    names: u64,
}

impl PrefixCache {
    pub(super) fn new(n_blocks: usize, n_slots: usize) -> PrefixCache {
        PrefixCache {
            by_key: HashMap::new(),
            blocks: vec![None; n_blocks],
            slots: vec![None; n_slots + 1],
            names: 0,
        }
    }

    /// Where `tokens` after `prefix` stand, and the prefix that ends with them.
    pub(super) fn find(&self, prefix: &Prefix, tokens: &BlockTokens) -> Option<(Home, Prefix)> {
        let cached = self.by_key.get(&Key { prefix: prefix.clone(), tokens: *tokens })?;
        Some((cached.home, Prefix::After(cached.name)))
    }

    /// Notes that `block` holds `tokens` after `prefix`; gives the prefix that ends with them. If
    /// another block holds the same already, that one stays. A slot of the host cache that holds the
    /// same is of no use any more, and is given back.
    pub(super) fn insert(
        &mut self,
        block: u32,
        prefix: Prefix,
        tokens: &BlockTokens,
    ) -> (Prefix, Option<u32>) {
        let key = Key { prefix, tokens: *tokens };
        let own = &mut self.blocks[block as usize];
        match self.by_key.entry(key) {
            Entry::Occupied(mut there) => {
                let left = match there.get().home {
                    Home::Device(_) => None,
                    Home::Host(slot) => {
                        *own = self.slots[slot as usize].take();
                        there.get_mut().home = Home::Device(block);
                        Some(slot)
                    }
                };
                (Prefix::After(there.get().name), left)
            }
            Entry::Vacant(free) => {
                self.names += 1;
                debug_assert!(own.is_none(), "block {block} holds something else");
                *own = Some(free.key().clone());
                let cached = free.insert(Cached { home: Home::Device(block), name: self.names });
                (Prefix::After(cached.name), None)
            }
        }
    }

    /// Notes that what `block` holds is found in `slot` from now on.
    pub(super) fn move_to_host(&mut self, block: u32, slot: u32) {
        let key = self.blocks[block as usize].take();
        if let Some(cached) = key.as_ref().and_then(|key| self.by_key.get_mut(key)) {
            cached.home = Home::Host(slot);
        }
        self.slots[slot as usize] = key;
    }

    /// Whether what is there can be found.
    pub(super) fn holds(&self, home: Home) -> bool {
        match home {
            Home::Device(block) => self.blocks[block as usize].is_some(),
            Home::Host(slot) => self.slots[slot as usize].is_some(),
        }
    }

    /// Forgets what is there, because it will be overwritten or is lost.
    pub(super) fn forget(&mut self, home: Home) {
        let key = match home {
            Home::Device(block) => self.blocks[block as usize].take(),
            Home::Host(slot) => self.slots[slot as usize].take(),
        };
        if let Some(key) = key {
            self.by_key.remove(&key);
        }
    }

    /// Once the device holds nothing: forgets what stands on the host after something that is
    /// forgotten, as nobody can find it. Says in which slots that was.
    pub(super) fn forget_unreachable(&mut self) -> Vec<u32> {
        let on_host = |(key, cached): (&Key, &Cached)| match cached.home {
            Home::Host(slot) => Some((cached.name, slot, key.prefix.clone())),
            Home::Device(_) => None,
        };
        let mut entries: Vec<(u64, u32, Prefix)> = self.by_key.iter().filter_map(on_host).collect();
        // A prefix was named before all that go on from it.
        entries.sort_unstable_by_key(|(name, ..)| *name);
        let mut known = HashSet::new();
        let mut gone = Vec::new();
        for (name, slot, prefix) in entries {
            let reachable = match prefix {
                Prefix::Start { .. } => true,
                Prefix::After(before) => known.contains(&before),
            };
            if reachable {
                known.insert(name);
            } else {
                self.forget(Home::Host(slot));
                gone.push(slot);
            }
        }
        gone
    }

    /// How many blocks can be found.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}
