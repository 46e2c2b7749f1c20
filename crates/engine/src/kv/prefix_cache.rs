//! Which full blocks hold the keys and values of which tokens, so that a request that begins as
//! another did need not compute them again (vLLM's automatic prefix caching; SGLang's
//! RadixAttention, Zheng et al. 2024, section 3).
//!
//! Key decision: a block's key is its own tokens and the *name* of the prefix before it, a serial
//! number that was given to that prefix when it was cached. So the chain of names stands for every
//! token before, and two different prefixes can never be taken for one another: nothing is hashed
//! into a number that an attacker could collide. A prefix that is evicted takes its name with it;
//! what followed it cannot be reached any more and ages out.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
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

#[derive(Debug)]
struct Cached {
    block: u32,
    /// The name of the prefix that ends with this block.
    name: u64,
}

/// Cached blocks by what they hold. There are never more than the pool has blocks.
#[derive(Debug)]
pub(super) struct PrefixCache {
    by_key: HashMap<Key, Cached>,
    /// `[n_blocks]`
    keys: Vec<Option<Key>>,
    names: u64,
}

impl PrefixCache {
    pub(super) fn new(n_blocks: usize) -> PrefixCache {
        PrefixCache { by_key: HashMap::new(), keys: vec![None; n_blocks], names: 0 }
    }

    /// The block that holds `tokens` after `prefix`, and the prefix that ends with it.
    pub(super) fn find(&self, prefix: &Prefix, tokens: &BlockTokens) -> Option<(u32, Prefix)> {
        let cached = self.by_key.get(&Key { prefix: prefix.clone(), tokens: *tokens })?;
        Some((cached.block, Prefix::After(cached.name)))
    }

    /// Notes that `block` holds `tokens` after `prefix`; gives the prefix that ends with them. If
    /// another block holds the same already, that one stays.
    pub(super) fn insert(&mut self, block: u32, prefix: Prefix, tokens: &BlockTokens) -> Prefix {
        let key = Key { prefix, tokens: *tokens };
        let name = match self.by_key.entry(key) {
            Entry::Occupied(there) => there.get().name,
            Entry::Vacant(free) => {
                self.names += 1;
                debug_assert!(self.keys[block as usize].is_none(), "block {block} holds something else");
                self.keys[block as usize] = Some(free.key().clone());
                free.insert(Cached { block, name: self.names }).name
            }
        };
        Prefix::After(name)
    }

    /// Whether `block` can be found.
    pub(super) fn holds(&self, block: u32) -> bool {
        self.keys[block as usize].is_some()
    }

    /// Forgets what `block` holds, because it will be overwritten.
    pub(super) fn forget(&mut self, block: u32) {
        if let Some(key) = self.keys[block as usize].take() {
            self.by_key.remove(&key);
        }
    }

    /// How many blocks can be found.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}
