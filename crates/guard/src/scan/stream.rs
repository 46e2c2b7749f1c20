//! A text that comes in pieces, scanned as it comes.

use std::ops::Range;
use std::sync::Arc;

use super::machine::{Found, Machine, Part};
use super::window::{BEHIND, End, MAX_LENGTH};
use super::{Finding, Scanner};

/// A part of the text that is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment<'t> {
    /// Nothing was found in it.
    Clear {
        /// Where it begins.
        at: usize,
        /// The text.
        text: &'t str,
    },
    /// It was found.
    Found {
        /// What and where; places count from the beginning of the whole text.
        finding: Finding,
        /// Its text; of what has no maximum length, such as a private key, the beginning.
        value: &'t str,
    },
}

/// Scans a text in pieces. Never holds more than [`super::MAX_HELD`] bytes back.
pub struct ScanStream {
    scanner: Arc<Scanner>,
    machine: Machine,
    /// The text that is needed still, and where it begins.
    buffer: String,
    base: usize,
    /// Up to where segments were given out.
    given: usize,
    /// The beginning of a finding that is going on.
    value: String,
}

impl ScanStream {
    pub(super) fn new(scanner: Arc<Scanner>) -> ScanStream {
        ScanStream {
            scanner,
            machine: Machine::default(),
            buffer: String::new(),
            base: 0,
            given: 0,
            value: String::new(),
        }
    }

    /// Takes more text, and gives out what is decided by it.
    pub fn push(&mut self, text: &str, give: &mut dyn FnMut(Segment<'_>)) {
        self.buffer.push_str(text);
        self.advance(End::Open, give);
    }

    /// The text has ended; gives out the rest.
    pub fn finish(&mut self, give: &mut dyn FnMut(Segment<'_>)) {
        self.advance(End::Final, give);
    }

    /// Bytes that were taken and not given out.
    pub fn held(&self) -> usize {
        self.base + self.buffer.len() - self.given
    }

    fn advance(&mut self, end: End, give: &mut dyn FnMut(Segment<'_>)) {
        let mut found = Vec::new();
        let part = Part { text: &self.buffer, base: self.base, end };
        self.machine.advance(part, &self.scanner.recognizers, &mut found);
        for found in found {
            self.give_found(found, give);
        }
        let open = self.machine.going_on().map(|open| open.range.clone());
        let decided = match &open {
            Some(range) if range.start >= self.given => range.start,
            Some(_) => self.given,
            None => self.machine.decided(),
        };
        self.give_clear(decided, give);
        if let Some(range) = open {
            self.given = self.given.max(range.start);
            self.take_value(&range);
        }
        self.forget();
    }

    /// Adds what was found to the value, as far as there is room in it. Where a character had no room, nothing after it has.
    fn take_value(&mut self, range: &Range<usize>) {
        if self.given - range.start == self.value.len() {
            let from = self.given - self.base;
            let mut until = range.end.min(range.start + MAX_LENGTH).max(self.given) - self.base;
            while !self.buffer.is_char_boundary(until) {
                until -= 1;
            }
            self.value.push_str(self.buffer.get(from..until).unwrap_or_default());
        }
        self.given = range.end;
    }

    fn give_clear(&mut self, to: usize, give: &mut dyn FnMut(Segment<'_>)) {
        if to > self.given {
            let text = &self.buffer[self.given - self.base..to - self.base];
            give(Segment::Clear { at: self.given, text });
            self.given = to;
        }
    }

    fn give_found(&mut self, found: Found, give: &mut dyn FnMut(Segment<'_>)) {
        if self.value.is_empty() {
            self.give_clear(found.range.start, give);
        }
        self.take_value(&found.range);
        let value = &self.value;
        if found.range.len() <= MAX_LENGTH && self.scanner.allows(value) {
            give(Segment::Clear { at: found.range.start, text: value });
        } else {
            give(Segment::Found { finding: found.into(), value });
        }
        self.value.clear();
    }

    /// Drops what no window reaches back to.
    fn forget(&mut self) {
        let mut keep = self.machine.decided().saturating_sub(BEHIND + 4).max(self.base) - self.base;
        while !self.buffer.is_char_boundary(keep) {
            keep -= 1;
        }
        // In larger steps than a token, so that little is moved.
        if keep > 1024 {
            self.buffer.drain(..keep);
            self.base += keep;
        }
    }
}
