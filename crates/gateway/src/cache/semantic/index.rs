//! Answers by the vectors of their questions, within a number of bytes, the one that was not given for longest going first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::evidence::{Evidence, Label};
use super::likeness;
use crate::cache::recency::{Recency, Used};
use crate::cache::{Kept, Key};

/// An entry's name, also among several Garrisons.
pub(super) type Id = u128;

#[derive(Debug, Default)]
pub(super) struct Index {
    classes: HashMap<Key, Vec<Id>>,
    entries: HashMap<Id, Entry>,
    recency: Recency<Id>,
    bytes: usize,
    evicted: u64,
}

/// An answer and what is known of it.
#[derive(Debug)]
struct Entry {
    class: Key,
    vector: Arc<[f32]>,
    kept: Arc<Kept>,
    until: Instant,
    evidence: Evidence,
    used: Used,
}

/// What is kept of the likest question.
#[derive(Clone, Debug)]
pub(crate) struct Near {
    pub(super) id: Id,
    pub(super) likeness: f32,
    pub(super) kept: Arc<Kept>,
    /// How likely it is right for this one, at least.
    pub(super) right_at_least: f32,
    /// Labels by which that is known.
    pub(super) labels: u32,
}

/// What an entry takes besides its answer and its vector.
const EACH: usize = 256 + Evidence::BYTES;

fn bytes(kept: &Kept, vector: &[f32]) -> usize {
    kept.bytes() + size_of_val(vector) + EACH
}

impl Index {
    /// The likest of a class that is at least so much alike. It goes through all of them: two milliseconds for twenty thousand
    /// vectors of 384 numbers.
    pub(super) fn nearest(&mut self, class: &Key, vector: &[f32], least: f32, now: Instant) -> Option<Near> {
        let ids = self.classes.get(class)?;
        let gone: Vec<Id> = ids
            .iter()
            .copied()
            .filter(|id| self.entries.get(id).is_none_or(|entry| entry.until <= now))
            .collect();
        gone.into_iter().for_each(|id| self.remove(id));
        let mut best: Option<(Id, f32)> = None;
        for id in self.classes.get(class)? {
            let Some(entry) = self.entries.get(id) else { continue };
            let alike = likeness(&entry.vector, vector);
            // Of two that are as much alike, more is known of the older.
            if best.map_or(alike >= least, |(_, best)| alike > best) {
                best = Some((*id, alike));
            }
        }
        let (id, likeness) = best?;
        let entry = self.entries.get(&id)?;
        Some(Near {
            id,
            likeness,
            kept: Arc::clone(&entry.kept),
            right_at_least: entry.evidence.right_at_least(likeness),
            labels: entry.evidence.labels(),
        })
    }

    /// An entry was of use.
    pub(super) fn touch(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        self.recency.touch(&mut entry.used, id);
    }

    /// Keeps an answer if it is no larger than `most`, which all are together.
    pub(super) fn put(
        &mut self,
        id: Id,
        class: Key,
        vector: Arc<[f32]>,
        kept: Arc<Kept>,
        until: Instant,
        most: usize,
    ) {
        if self.entries.contains_key(&id) {
            return;
        }
        let bytes = bytes(&kept, &vector);
        let Some(room) = most.checked_sub(bytes) else { return };
        self.shrink(room);
        self.bytes += bytes;
        let used = self.recency.add(id);
        let entry = Entry { class, vector, kept, until, evidence: Evidence::default(), used };
        self.classes.entry(class).or_default().push(id);
        self.entries.insert(id, entry);
    }

    /// Notes whether an entry's answer would have been right.
    pub(super) fn note(&mut self, id: Id, likeness: f32, label: Label) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.evidence.note(likeness, label);
            self.touch(id);
        }
    }

    pub(super) fn shrink(&mut self, most: usize) {
        while self.bytes > most {
            let Some(id) = self.recency.oldest() else { return };
            self.remove(id);
            self.evicted += 1;
        }
    }

    fn remove(&mut self, id: Id) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.recency.forget(entry.used);
        self.bytes -= bytes(&entry.kept, &entry.vector);
        if let Some(ids) = self.classes.get_mut(&entry.class) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.classes.remove(&entry.class);
            }
        }
    }

    pub(super) fn has_class(&self, class: &Key) -> bool {
        self.classes.contains_key(class)
    }

    pub(super) fn classes(&self) -> usize {
        self.classes.len()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::Heard;
    use serde_json::json;
    use std::time::Duration;

    fn kept(text: &str) -> Arc<Kept> {
        let mut kept = Kept::default();
        kept.push(&Heard::Chunk(crate::providers::chunk(
            &json!({"choices": [{"index": 0, "delta": {"content": text}}]}),
        )));
        Arc::new(kept)
    }

    fn at(degrees: f32) -> Arc<[f32]> {
        let (sin, cos) = degrees.to_radians().sin_cos();
        [cos, sin].into()
    }

    #[test]
    fn the_likest_of_the_class_is_found_while_it_holds() {
        let (mut index, now) = (Index::default(), Instant::now());
        let hour = now + Duration::from_secs(3600);
        for (id, class, degrees, until) in [
            (1, 1, 0.0, hour),
            (2, 1, 30.0, hour),
            (3, 2, 10.0, hour),
            (4, 1, 12.0, now + Duration::from_secs(1)),
        ] {
            index.put(id, [class; 32], at(degrees), kept("x"), until, 1 << 20);
        }
        let find = |index: &mut Index, class: u8, degrees: f32, now| {
            index.nearest(&[class; 32], &at(degrees), 0.9, now).map(|near| near.id)
        };
        assert_eq!(find(&mut index, 1, 11.0, now), Some(4));
        assert_eq!(find(&mut index, 1, 11.0, now + Duration::from_secs(2)), Some(1), "its time is over");
        assert_eq!(find(&mut index, 1, 11.0, now), Some(1), "and it is gone");
        assert_eq!(find(&mut index, 2, 11.0, now), Some(3));
        assert_eq!(find(&mut index, 3, 11.0, now), None);
        assert_eq!(find(&mut index, 1, 120.0, now), None, "none is alike");
        assert_eq!(find(&mut index, 1, f32::NAN, now), None);
        assert_eq!((index.len(), index.classes()), (3, 2));
        assert_eq!(find(&mut index, 1, 0.0, hour), None);
        assert!(!index.has_class(&[1; 32]));
    }

    #[test]
    fn what_was_not_of_use_for_longest_makes_room() {
        let (mut index, now) = (Index::default(), Instant::now());
        let hour = now + Duration::from_secs(3600);
        let each = 3000;
        let answer = kept(&"x".repeat(each - EACH - 200));
        for id in 0..3 {
            index.put(id, [1; 32], at(id as f32 * 40.0), Arc::clone(&answer), hour, 3 * each);
        }
        index.touch(0);
        index.put(9, [1; 32], at(200.0), Arc::clone(&answer), hour, 3 * each);
        let mut there: Vec<Id> = index.entries.keys().copied().collect();
        there.sort_unstable();
        assert_eq!((there, index.evicted()), (vec![0, 2, 9], 1));
        assert!(index.bytes() <= 3 * each);
        index.note(2, 0.9, Label::Right);
        index.put(10, [2; 32], at(0.0), kept(&"x".repeat(4 * each)), hour, 3 * each);
        assert_eq!(index.len(), 3, "what is larger than everything is not kept");
        index.shrink(0);
        assert_eq!((index.len(), index.bytes(), index.classes(), index.recency.len()), (0, 0, 0, 0));
    }
}
