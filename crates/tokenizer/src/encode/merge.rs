//! The merge loop of SPM: join the best adjacent pair until none is left.
//!
//! Symbols form a doubly linked list over the text and candidate pairs wait in a heap, so a text
//! of n symbols costs O(n log n) however it is made (SentencePiece, Kudo & Richardson 2018,
//! section 3.1). Among equals the leftmost pair wins, as in the reference.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// No token, or no neighbour.
pub(crate) const NONE: u32 = u32::MAX;

/// The longest text that is merged as one, in bytes; the caller cuts longer ones.
pub(crate) const MAX_TEXT: usize = 1 << 30;

/// A piece of the text that is, or may become, a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol {
    /// First byte in the text.
    pub(crate) start: u32,
    /// One past the last byte; equal to `start` once the symbol was merged into its left one.
    pub(crate) end: u32,
    /// The token this text is, or [`NONE`].
    pub(crate) token: u32,
    prev: u32,
    next: u32,
}

/// Two neighbours that may be joined.
#[derive(Clone, Copy, Debug)]
struct Pair<P> {
    priority: P,
    left: u32,
    /// Bytes of both, by which a stale pair shows.
    len: u32,
    /// What they become.
    token: u32,
}

impl<P: Ord> Ord for Pair<P> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.priority.cmp(&other.priority).then(other.left.cmp(&self.left))
    }
}

impl<P: Ord> PartialOrd for Pair<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P: Ord> PartialEq for Pair<P> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<P: Ord> Eq for Pair<P> {}

/// The symbols of one text and the heap of pairs.
#[derive(Debug)]
pub(crate) struct Merger<P> {
    symbols: Vec<Symbol>,
    /// Best priority first, then leftmost.
    pairs: BinaryHeap<Pair<P>>,
}

impl<P: Ord + Copy> Merger<P> {
    /// An empty merger.
    pub(crate) fn new() -> Self {
        Merger { symbols: Vec::new(), pairs: BinaryHeap::new() }
    }

    /// Appends a symbol of `len` bytes.
    pub(crate) fn push(&mut self, len: usize, token: u32) {
        let index = self.symbols.len() as u32;
        let start = self.symbols.last().map_or(0, |last| last.end);
        debug_assert!(start as usize + len <= MAX_TEXT, "the caller cuts long texts");
        if let Some(last) = self.symbols.last_mut() {
            last.next = index;
        }
        self.symbols.push(Symbol {
            start,
            end: start + len as u32,
            token,
            prev: index.wrapping_sub(1),
            next: NONE,
        });
    }

    /// Joins pairs, best first, while `join` allows any. `join(left, right)` gives the priority of
    /// joining two neighbours and the token they make.
    pub(crate) fn merge(&mut self, join: impl Fn(&Symbol, &Symbol) -> Option<(P, u32)>) {
        let mut pairs = std::mem::take(&mut self.pairs).into_vec();
        let neighbours = self.symbols.windows(2).zip(0..);
        pairs.extend(neighbours.filter_map(|(two, left)| pair(left, &two[0], &two[1], &join)));
        self.pairs = BinaryHeap::from(pairs);

        while let Some(Pair { left, len, token, .. }) = self.pairs.pop() {
            let Symbol { start, end, prev, next, .. } = self.symbols[left as usize];
            // Stale: one of the two has been merged since. Lengths only grow, and a merged-away
            // symbol has none, so the joined length tells.
            if end == start || next == NONE || self.symbols[next as usize].end - start != len {
                continue;
            }
            let removed = self.symbols[next as usize];
            self.symbols[next as usize].end = removed.start;
            let kept = &mut self.symbols[left as usize];
            (kept.end, kept.token, kept.next) = (removed.end, token, removed.next);
            if removed.next != NONE {
                self.symbols[removed.next as usize].prev = left;
                self.consider(left, removed.next, &join);
            }
            if prev != NONE {
                self.consider(prev, left, &join);
            }
        }
    }

    fn consider(&mut self, left: u32, right: u32, join: &impl Fn(&Symbol, &Symbol) -> Option<(P, u32)>) {
        let pair = pair(left, &self.symbols[left as usize], &self.symbols[right as usize], join);
        self.pairs.extend(pair);
    }

    /// What is left, from left to right.
    pub(crate) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| symbol.end > symbol.start)
    }
}

impl Symbol {
    /// Where the symbol is in the text.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

fn pair<P>(
    left: u32,
    l: &Symbol,
    r: &Symbol,
    join: &impl Fn(&Symbol, &Symbol) -> Option<(P, u32)>,
) -> Option<Pair<P>> {
    let (priority, token) = join(l, r)?;
    Some(Pair { priority, left, len: r.end - l.start, token })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(text: &str, pieces: &[&str]) -> Vec<String> {
        let mut merger = Merger::new();
        for c in text.chars() {
            merger.push(c.len_utf8(), NONE);
        }
        merger.merge(|l, r| {
            let rank = pieces.iter().position(|p| **p == text[l.start as usize..r.end as usize])?;
            Some((std::cmp::Reverse(rank), rank as u32))
        });
        merger.symbols().map(|s| text[s.range()].to_string()).collect()
    }

    #[test]
    fn better_pairs_go_first_and_ties_go_left() {
        assert_eq!(merge("abc", &["bc", "ab"]), ["a", "bc"]);
        assert_eq!(merge("aaaaa", &["aa", "aaa"]), ["aa", "aaa"]);
        assert_eq!(merge("aaa", &["aa"]), ["aa", "a"]);
        assert_eq!(merge("", &["aa"]), Vec::<String>::new());
        assert_eq!(merge("héhé", &["hé", "héh"]), ["hé", "hé"]);
    }
}
