//! What words stand for in an attack or near one: to ignore, instructions, a system prompt, without limits, an
//! invoice. Eight languages say the same with other words, and so do two writers of one.
//!
//! `concepts.txt` has a line for each concept: words without accents, a star for any ending.

use std::sync::LazyLock;

/// How many concepts one word can stand for.
pub(super) const MOST: usize = 6;
/// Numbers of concepts, 0 for none.
pub(super) type Concepts = [u8; MOST];

/// A hash table with linear probing; a slot is a hash and what stands there.
struct Table {
    slots: Vec<(u64, Concepts)>,
    /// A bit for each slot that is taken: nearly every beginning of a word is none of them, and these bits stay in the
    /// processor's nearest memory.
    taken: [u64; SLOTS / 64],
}

/// A power of two, several times as many as there are words.
const SLOTS: usize = 1 << 15;
/// What is added to a word to ask for it as a whole.
const WHOLE: u8 = b'$';

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table { slots: vec![(0, [0; MOST]); SLOTS], taken: [0; SLOTS / 64] };
    for (concept, line) in include_str!("concepts.txt").lines().enumerate() {
        let words = line.split_once(": ").map_or("", |(_, words)| words);
        for word in words.split(' ') {
            let key = match word.strip_suffix('*') {
                Some(stem) => hash_all(stem.as_bytes()),
                None => step(hash_all(word.as_bytes()), WHOLE),
            };
            table.add(key, concept as u8 + 1);
        }
    }
    // Signs that structure a text.
    for (i, sign) in b"\"<>[]{}(|#=:?!/@$_\n;".iter().enumerate() {
        table.add(step(hash_all(&[*sign]), WHOLE), 200 + i as u8);
    }
    table
});

fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
}

fn hash_all(bytes: &[u8]) -> u64 {
    bytes.iter().fold(1, |hash, byte| step(hash, *byte))
}

impl Table {
    /// Where a key is, or the free slot where it would be.
    fn slot(&self, key: u64) -> usize {
        let mut at = key as usize % SLOTS;
        while self.slots[at].0 != key && self.slots[at].0 != 0 {
            at = (at + 1) % SLOTS;
        }
        at
    }

    fn add(&mut self, key: u64, concept: u8) {
        let slot = self.slot(key);
        self.slots[slot].0 = key;
        self.taken[slot / 64] |= 1 << (slot % 64);
        insert(&mut self.slots[slot].1, concept);
    }
}

fn insert(concepts: &mut Concepts, concept: u8) {
    if !concepts.contains(&concept)
        && let Some(free) = concepts.iter_mut().find(|c| **c == 0)
    {
        *free = concept;
    }
}

/// What a word of small letters stands for.
pub(super) fn of(word: &[u8]) -> Concepts {
    let table = &*TABLE;
    let mut found = [0; MOST];
    let mut collect = |key: u64| {
        let home = key as usize % SLOTS;
        if table.taken[home / 64] >> (home % 64) & 1 == 0 {
            return;
        }
        table.slots[table.slot(key)].1.iter().filter(|c| **c > 0).for_each(|c| insert(&mut found, *c));
    };
    let mut hash = 1;
    for byte in word {
        hash = step(hash, *byte);
        collect(hash);
    }
    collect(step(hash, WHOLE));
    found
}
