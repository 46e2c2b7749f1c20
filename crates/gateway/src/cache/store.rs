//! Whole answers, within a number of bytes, the one that was not asked for longest going first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::{Kept, Key};

#[derive(Debug, Default)]
pub(super) struct Store {
    entries: HashMap<Key, Entry>,
    /// When each was used last, counted in uses.
    used: BTreeMap<u64, Key>,
    next: u64,
    bytes: usize,
    evicted: u64,
}

#[derive(Debug)]
struct Entry {
    kept: Arc<Kept>,
    until: Instant,
    used: u64,
}

impl Store {
    pub(super) fn get(&mut self, key: &Key, now: Instant) -> Option<Arc<Kept>> {
        let next = self.next;
        let entry = self.entries.get_mut(key)?;
        if entry.until <= now {
            self.remove(key);
            return None;
        }
        let before = std::mem::replace(&mut entry.used, next);
        let kept = Arc::clone(&entry.kept);
        self.used.remove(&before);
        self.used.insert(next, *key);
        self.next += 1;
        Some(kept)
    }

    /// Keeps an answer if it is no larger than `most`, which all are together.
    pub(super) fn put(&mut self, key: Key, kept: &Arc<Kept>, until: Instant, most: usize) {
        self.remove(&key);
        if kept.bytes() > most {
            return;
        }
        self.shrink(most - kept.bytes());
        let used = self.next;
        self.next += 1;
        self.bytes += kept.bytes();
        self.used.insert(used, key);
        self.entries.insert(key, Entry { kept: Arc::clone(kept), until, used });
    }

    pub(super) fn shrink(&mut self, most: usize) {
        while self.bytes > most {
            let Some((_, key)) = self.used.pop_first() else { return };
            if let Some(entry) = self.entries.remove(&key) {
                self.bytes -= entry.kept.bytes();
                self.evicted += 1;
            }
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.used.remove(&entry.used);
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
