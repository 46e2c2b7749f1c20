//! What was used last, and what was not for longest.

use std::collections::BTreeMap;

/// Keys in the order of their last uses.
#[derive(Debug)]
pub(super) struct Recency<K> {
    order: BTreeMap<u64, K>,
    next: u64,
}

/// When a key was used last, counted in uses. Its entry keeps it.
pub(super) type Used = u64;

impl<K> Default for Recency<K> {
    fn default() -> Self {
        Recency { order: BTreeMap::new(), next: 0 }
    }
}

impl<K: Copy> Recency<K> {
    /// A key is used for the first time.
    pub(super) fn add(&mut self, key: K) -> Used {
        let used = self.next;
        self.order.insert(used, key);
        self.next += 1;
        used
    }

    /// It is used again.
    pub(super) fn touch(&mut self, used: &mut Used, key: K) {
        self.order.remove(used);
        *used = self.add(key);
    }

    /// It is gone.
    pub(super) fn forget(&mut self, used: Used) {
        self.order.remove(&used);
    }

    /// The one that was not used for longest.
    pub(super) fn oldest(&self) -> Option<K> {
        self.order.first_key_value().map(|(_, key)| *key)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}
