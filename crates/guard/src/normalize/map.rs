//! Where in the original each byte of a reading comes from. A map is a list of pieces in the order
//! of the reading; readings of readings are composed while they are made, so that looking back is one
//! search however deep the nesting was.

use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Byte for byte; so a part of it comes from the same part of the original.
    Copied,
    /// All of it stands for all of `len` bytes of the original.
    Decoded,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where it begins in the reading; it ends where the next one begins.
    at: usize,
    /// Where it comes from.
    from: usize,
    len: usize,
    kind: Kind,
}

/// Pieces are not empty in the reading and lie end to end from 0 to `len`.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    pieces: Vec<Piece>,
    len: usize,
}

impl Map {
    /// The map of a text to itself.
    pub(super) fn identity(len: usize) -> Self {
        let piece = Piece { at: 0, from: 0, len, kind: Kind::Copied };
        Self { pieces: if len == 0 { Vec::new() } else { vec![piece] }, len }
    }

    /// The bytes of the original that `range` of the reading comes from; where pieces come from
    /// places in another order, the smallest range that holds them all.
    pub(super) fn original(&self, range: Range<usize>) -> Range<usize> {
        let range = range.start.min(self.len)..range.end.min(self.len);
        if range.is_empty() {
            let at = self.point(range.start);
            return at..at;
        }
        let (mut start, mut end) = (usize::MAX, 0);
        self.parts(range, |_, from, _| (start, end) = (start.min(from.start), end.max(from.end)));
        start..end
    }

    /// Where the place before byte `at` comes from.
    fn point(&self, at: usize) -> usize {
        match self.pieces.get(self.index(at)) {
            Some(p) if at >= self.len => p.from + p.len,
            Some(p) if p.kind == Kind::Copied => p.from + (at - p.at),
            Some(p) => p.from,
            None => 0,
        }
    }

    /// The piece that holds byte `at`, or the last one.
    fn index(&self, at: usize) -> usize {
        self.pieces.partition_point(|p| p.at <= at).saturating_sub(1)
    }

    fn end_of(&self, index: usize) -> usize {
        self.pieces.get(index + 1).map_or(self.len, |next| next.at)
    }

    /// Calls with the length in the reading, the origin and the kind of every piece's share in `range`.
    fn parts(&self, range: Range<usize>, mut each: impl FnMut(usize, Range<usize>, Kind)) {
        let first = self.index(range.start);
        for (i, p) in self.pieces.iter().enumerate().skip(first).take_while(|(_, p)| p.at < range.end) {
            let (start, end) = (range.start.max(p.at), range.end.min(self.end_of(i)));
            let from = match p.kind {
                Kind::Copied => p.from + (start - p.at)..p.from + (end - p.at),
                Kind::Decoded => p.from..p.from + p.len,
            };
            each(end - start, from, p.kind);
        }
    }

    /// The next bytes of this reading are those of `range` of `parent`, byte for byte.
    pub(super) fn copy(&mut self, parent: &Self, range: Range<usize>) {
        parent.parts(range, |len, from, kind| self.push(len, from, kind));
    }

    /// The next `len` bytes of this reading stand for `range` of `parent`.
    pub(super) fn decode(&mut self, parent: &Self, range: Range<usize>, len: usize) {
        self.push(len, parent.original(range), Kind::Decoded);
    }

    fn push(&mut self, len: usize, from: Range<usize>, kind: Kind) {
        if len == 0 {
            return;
        }
        let joins = self.pieces.last_mut().is_some_and(|last| match kind {
            Kind::Copied if last.kind == kind && last.from + last.len == from.start => {
                last.len += from.len();
                true
            }
            Kind::Decoded => last.kind == kind && (last.from..last.from + last.len) == from,
            Kind::Copied => false,
        });
        if !joins {
            self.pieces.push(Piece { at: self.len, from: from.start, len: from.len(), kind });
        }
        self.len += len;
    }
}
