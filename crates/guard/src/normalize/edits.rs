//! What a decoder found: ranges of a reading and what they decode to. Edits of one layer are put
//! into one new reading, together with what stands around them.
//!
//! Text far from any edit is left out and a line break put for it: the parent has it already, so
//! the cost of a layer follows what is encoded, not how long the text is.

use std::ops::Range;

use super::map::Map;
use super::{Decoding, View};

/// How much text around an edit goes with it, in bytes.
const AROUND: usize = 256;

/// How the bytes of a decoded text stand to those it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// All stands for all.
    Whole,
    /// Byte by byte, as in ciphers that put letters for letters.
    Same,
    /// Character by character, the last first.
    Reversed,
}

#[derive(Clone, Debug)]
struct Edit {
    range: Range<usize>,
    /// Where in `Edits::text` it decodes to.
    text: Range<usize>,
    how: Decoding,
    order: Order,
}

/// The edits of one layer, in any order.
#[derive(Clone, Debug, Default)]
pub(super) struct Edits {
    list: Vec<Edit>,
    text: String,
}

impl Edits {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn push(&mut self, range: Range<usize>, decoded: &str, how: Decoding) {
        self.push_ordered(range, decoded, how, Order::Whole);
    }

    pub(super) fn push_ordered(&mut self, range: Range<usize>, decoded: &str, how: Decoding, order: Order) {
        debug_assert!(order == Order::Whole || decoded.len() == range.len());
        let start = self.text.len();
        self.text.push_str(decoded);
        self.list.push(Edit { range, text: start..self.text.len(), how, order });
    }

    /// How many edits there are, to come back to with [`truncate`](Self::truncate).
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Takes back all edits after the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        self.list.truncate(len);
    }

    /// What the edit of this number covers.
    pub(super) fn range(&self, index: usize) -> Option<Range<usize>> {
        self.list.get(index).map(|e| e.range.clone())
    }

    /// Puts the edits in order. Where two overlap the longer one stays: a short match inside a
    /// long one is mostly chance.
    fn settle(&mut self) {
        self.list.sort_by_key(|e| (e.range.start, std::cmp::Reverse(e.range.end)));
        let mut kept: Vec<Edit> = Vec::with_capacity(self.list.len());
        for edit in self.list.drain(..) {
            match kept.last_mut() {
                Some(last) if edit.range.start < last.range.end => {
                    if edit.range.len() > last.range.len() {
                        *last = edit;
                    }
                }
                _ => kept.push(edit),
            }
        }
        self.list = kept;
    }

    /// The reading of `parent` with all edits made, of at most `most` bytes, and whether that cut it.
    pub(super) fn apply(mut self, parent: &View, most: usize) -> (View, bool) {
        self.settle();
        let source = parent.text();
        let mut made = Made { text: String::new(), map: Map::default(), parent };
        let mut how = parent.how().to_vec();
        let mut done = 0;
        let mut cut = false;
        for edit in &self.list {
            let before = gap(source, done, edit.range.start);
            let room = most.saturating_sub(made.text.len() + before.len() + 1);
            if edit.text.len() > room {
                cut = true;
                break;
            }
            made.bridge(done, edit.range.start, &before);
            made.edit(edit, &self.text[edit.text.clone()]);
            done = edit.range.end;
            if !how.contains(&edit.how) {
                how.push(edit.how);
            }
        }
        if made.text.is_empty() && cut {
            return (View { text: made.text, how, map: made.map, depth: parent.depth + 1 }, cut);
        }
        let after = source.floor_char_boundary((done + AROUND).min(source.len()));
        if made.text.len() + (after - done) + WORD <= most {
            made.copy(done..word_end(source, after).min(source.len()));
        }
        (View { text: made.text, how, map: made.map, depth: parent.depth + 1 }, cut)
    }
}

/// What is copied between two edits: all of it, or the beginning and the end.
struct Gap {
    head: Range<usize>,
    tail: Range<usize>,
}

impl Gap {
    fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }
}

fn gap(source: &str, done: usize, next: usize) -> Gap {
    // The first edit has nothing before it to go on from.
    let head = if done == 0 { 0 } else { AROUND };
    if next - done <= head + 2 * AROUND {
        return Gap { head: done..next, tail: next..next };
    }
    let head = word_end(source, source.floor_char_boundary(done + head));
    let tail = word_start(source, source.floor_char_boundary(next - AROUND));
    Gap { head: done..head.min(tail), tail: tail..next }
}

/// How far a cut moves to be between two words.
const WORD: usize = 64;

/// The first white space from `at` on, or `at`.
fn word_end(source: &str, at: usize) -> usize {
    let end = source.floor_char_boundary((at + WORD).min(source.len()));
    source[at..end].find(char::is_whitespace).map_or(at, |i| at + i)
}

/// The place after the last white space before `at`, or `at`.
fn word_start(source: &str, at: usize) -> usize {
    let start = source.floor_char_boundary(at.saturating_sub(WORD));
    let last = source[start..at].char_indices().rev().find(|(_, c)| c.is_whitespace());
    last.map_or(at, |(i, c)| start + i + c.len_utf8())
}

/// A reading that is being made.
struct Made<'a> {
    text: String,
    map: Map,
    parent: &'a View,
}

impl Made<'_> {
    fn copy(&mut self, range: Range<usize>) {
        self.text.push_str(&self.parent.text()[range.clone()]);
        self.map.copy(&self.parent.map, range);
    }

    fn bridge(&mut self, done: usize, next: usize, gap: &Gap) {
        self.copy(gap.head.clone());
        if gap.head.end < gap.tail.start && (done, next) != (gap.head.end, gap.tail.start) {
            self.text.push('\n');
            self.map.decode(&self.parent.map, gap.head.end..gap.tail.start, 1);
        }
        self.copy(gap.tail.clone());
    }

    fn edit(&mut self, edit: &Edit, decoded: &str) {
        self.text.push_str(decoded);
        match edit.order {
            Order::Whole => self.map.decode(&self.parent.map, edit.range.clone(), decoded.len()),
            Order::Same => self.map.copy(&self.parent.map, edit.range.clone()),
            Order::Reversed => {
                let source = &self.parent.text()[edit.range.clone()];
                for (i, c) in source.char_indices().rev() {
                    let start = edit.range.start + i;
                    self.map.copy(&self.parent.map, start..start + c.len_utf8());
                }
            }
        }
    }
}
