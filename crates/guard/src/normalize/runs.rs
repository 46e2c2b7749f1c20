//! Long runs of bytes of one class, found without looking at most bytes.
//!
//! A run of `least` bytes covers every window of that length that begins in it. So the window is read from
//! its end, and a byte of another class there moves it past that byte: ordinary text, whose words are short,
//! is passed in leaps.

use std::ops::Range;

/// Which bytes belong to a class.
pub(super) type Class = [bool; 256];

/// The class of the bytes of `members`, in which `a-z` style ranges are written out as pairs.
pub(super) const fn class(ranges: &[(u8, u8)], others: &[u8]) -> Class {
    let mut class = [false; 256];
    let mut r = 0;
    while r < ranges.len() {
        let mut b = ranges[r].0;
        while b <= ranges[r].1 {
            class[b as usize] = true;
            b += 1;
        }
        r += 1;
    }
    let mut o = 0;
    while o < others.len() {
        class[others[o] as usize] = true;
        o += 1;
    }
    class
}

/// The runs of at least `least` bytes of a class, as long as they go.
pub(super) struct Runs<'a> {
    bytes: &'a [u8],
    class: &'a Class,
    least: usize,
    at: usize,
}

impl<'a> Runs<'a> {
    pub(super) fn new(text: &'a str, class: &'a Class, least: usize) -> Self {
        debug_assert!(least > 0);
        Self { bytes: text.as_bytes(), class, least, at: 0 }
    }
}

impl Iterator for Runs<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        loop {
            let window = self.bytes.get(self.at..self.at + self.least)?;
            if let Some(i) = window.iter().rposition(|b| !self.class[usize::from(*b)]) {
                self.at += i + 1;
                continue;
            }
            let rest = &self.bytes[self.at + self.least..];
            let more = rest.iter().position(|b| !self.class[usize::from(*b)]).unwrap_or(rest.len());
            let run = self.at..self.at + self.least + more;
            self.at = run.end;
            return Some(run);
        }
    }
}
