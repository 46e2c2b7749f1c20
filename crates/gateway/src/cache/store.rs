//! Whole answers, within a number of bytes, the one that was not asked for longest going first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::recency::{Recency, Used};
use super::{Kept, Key};

#[derive(Debug, Default)]
pub(super) struct Store {
    entries: HashMap<Key, Entry>,
    recency: Recency<Key>,
    bytes: usize,
    evicted: u64,
}

#[derive(Debug)]
struct Entry {
    kept: Arc<Kept>,
    until: Instant,
    used: Used,
}

impl Store {
    pub(super) fn get(&mut self, key: &Key, now: Instant) -> Option<Arc<Kept>> {
        let entry = self.entries.get_mut(key)?;
        if entry.until <= now {
            self.remove(key);
            return None;
        }
        self.recency.touch(&mut entry.used, *key);
        Some(Arc::clone(&entry.kept))
    }

    /// Keeps an answer if it is no larger than `most`, which all are together.
    pub(super) fn put(&mut self, key: Key, kept: &Arc<Kept>, until: Instant, most: usize) {
        self.remove(&key);
        if kept.bytes() > most {
            return;
        }
        self.shrink(most - kept.bytes());
        let used = self.recency.add(key);
        self.bytes += kept.bytes();
        self.entries.insert(key, Entry { kept: Arc::clone(kept), until, used });
    }

    pub(super) fn shrink(&mut self, most: usize) {
        while self.bytes > most {
            let Some(key) = self.recency.oldest() else { return };
            self.remove(&key);
            self.evicted += 1;
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.recency.forget(entry.used);
            self.bytes -= entry.kept.bytes();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }
}
