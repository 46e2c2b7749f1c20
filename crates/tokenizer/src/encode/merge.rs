//! The merge loop that SPM and BPE share: join the best adjacent pair until none is left.
//!
//! Symbols form a doubly linked list over the text and candidate pairs wait in a heap, so a text
//! of n symbols costs O(n log n) however it is made (SentencePiece, Kudo & Richardson 2018,
//! section 3.1). What "best" means is the caller's: scores for SPM, ranks for BPE. Among equals
//! the leftmost pair wins, as in both references.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No token, or no neighbour.
pub(crate) const NONE: u32 = u32::MAX;

/// A piece of the text that is, or may become, a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol {
    /// First byte in the text.
    pub(crate) start: usize,
    /// One past the last byte; equal to `start` once the symbol was merged into its left one.
    pub(crate) end: usize,
    /// The token this text is, or [`NONE`].
    pub(crate) token: u32,
    prev: usize,
    next: usize,
}

/// Index that means "no symbol".
const EDGE: usize = usize::MAX;

/// The symbols of one text and the heap of pairs; reused between words to save allocations.
#[derive(Debug)]
pub(crate) struct Merger<P> {
    symbols: Vec<Symbol>,
    /// Best priority first, then leftmost; with the joined length, by which stale pairs show.
    pairs: BinaryHeap<(P, Reverse<usize>, u32, usize)>,
}

impl<P: Ord + Copy> Merger<P> {
    /// An empty merger.
    pub(crate) fn new() -> Self {
        Merger { symbols: Vec::new(), pairs: BinaryHeap::new() }
    }

    /// Forgets the last text.
    pub(crate) fn clear(&mut self) {
        self.symbols.clear();
        self.pairs.clear();
    }

    /// Appends the symbol `start..end`, which must follow the one before it.
    pub(crate) fn push(&mut self, start: usize, end: usize, token: u32) {
        let index = self.symbols.len();
        if let Some(last) = self.symbols.last_mut() {
            debug_assert_eq!(last.end, start, "symbols must be adjacent");
            last.next = index;
        }
        self.symbols.push(Symbol { start, end, token, prev: index.wrapping_sub(1), next: EDGE });
    }

    /// Joins pairs, best first, while `join` allows any. `join(left, right)` gives the priority of
    /// joining two neighbours and the token they make.
    pub(crate) fn merge(&mut self, join: impl Fn(&Symbol, &Symbol) -> Option<(P, u32)>) {
        for right in 1..self.symbols.len() {
            self.consider(right - 1, right, &join);
        }
        while let Some((_, Reverse(left), token, len)) = self.pairs.pop() {
            let Symbol { start, end, next: right, .. } = self.symbols[left];
            // Stale: one of the two has been merged since. Lengths only grow, and a merged-away
            // symbol has none, so the joined length tells.
            if end == start || right == EDGE || self.symbols[right].end - start != len {
                continue;
            }
            let removed = self.symbols[right];
            self.symbols[right].end = removed.start;
            let kept = &mut self.symbols[left];
            (kept.end, kept.token, kept.next) = (removed.end, token, removed.next);
            let prev = kept.prev;
            if removed.next != EDGE {
                self.symbols[removed.next].prev = left;
                self.consider(left, removed.next, &join);
            }
            if prev != EDGE {
                self.consider(prev, left, &join);
            }
        }
    }

    fn consider(&mut self, left: usize, right: usize, join: &impl Fn(&Symbol, &Symbol) -> Option<(P, u32)>) {
        let (l, r) = (&self.symbols[left], &self.symbols[right]);
        if let Some((priority, token)) = join(l, r) {
            self.pairs.push((priority, Reverse(left), token, r.end - l.start));
        }
    }

    /// What is left, from left to right.
    pub(crate) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| symbol.end > symbol.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(text: &str, pieces: &[&str]) -> Vec<String> {
        let mut merger = Merger::new();
        for (i, c) in text.char_indices() {
            merger.push(i, i + c.len_utf8(), NONE);
        }
        merger.merge(|l, r| {
            let rank = pieces.iter().position(|p| *p == &text[l.start..r.end])?;
            Some((Reverse(rank), rank as u32))
        });
        merger.symbols().map(|s| text[s.start..s.end].to_string()).collect()
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
