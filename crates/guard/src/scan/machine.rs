//! The one pass over a text that whole texts and streams share.
//!
//! The machine examines positions from left to right. At each where something can begin, the
//! recognizers propose candidates, which begin there and nowhere else. Overlapping candidates make a
//! cluster, which is settled once the pass is behind its end, or [`CLUSTER`] bytes after its
//! beginning. Whatever the machine does is a function of its state and of what windows show, so the
//! sequence of its steps is the same however a text is cut; where a window is starved it stops, and
//! takes the same step again when there is more.

use std::ops::Range;

use super::candidate::{Candidate, Extent, Tail, resolve};
use super::columns::Columns;
use super::window::{End, MAX_LENGTH, Window, escape_before};
use crate::entity::Entity;
use crate::pii::Unfinished;

/// Bytes after the beginning of a cluster within which further candidates compete.
pub const CLUSTER: usize = 256;
/// Candidates of a cluster at most; the rest find no place.
const MAX_CANDIDATES: usize = 1024;
/// Bytes of a PEM block within which any text counts that one may have; beyond, only its lines do.
const MAX_PEM: usize = 16 << 10;
/// Bytes between two lines of a PEM block at most, whatever stands there.
const MAX_PEM_GAP: usize = 256;
/// Signs in base64 that make a line of a key, at least, wherever it stands.
const PEM_LINE: usize = 32;

/// What may begin in a stretch of text without blanks, by the characters that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traits(pub(crate) u8);

impl Traits {
    pub(crate) const UPPER: u8 = 1;
    pub(crate) const DIGIT: u8 = 2;
    pub(crate) const AT: u8 = 4;
    pub(crate) const COLON: u8 = 8;
    /// Anything that lower-case prose does not have.
    pub(crate) const ODD: u8 = 16;

    pub(crate) fn has(self, bits: u8) -> bool {
        self.0 & bits != 0
    }
}

/// What each byte tells about the stretch that it is in. Lower case and the marks of prose tell nothing.
static TRAITS: [u8; 256] = {
    let mut table = [0; 256];
    let mut b = 0;
    while b < 256 {
        table[b] = match b as u8 {
            b'a'..=b'z' | b'.' | b',' | b';' | b'!' | b'?' | b'\'' | b'"' | b')' => 0,
            b'A'..=b'Z' => Traits::UPPER,
            b'0'..=b'9' => Traits::DIGIT,
            b'@' => Traits::AT,
            b':' => Traits::COLON,
            _ => Traits::ODD,
        };
        b += 1;
    }
    table
};

/// Judges what begins at a window's position.
pub(crate) trait Judge {
    /// Proposes candidates, all of which begin at the window's position.
    fn judge(&self, window: &Window<'_>, traits: Traits, candidates: &mut Vec<Candidate>);

    /// Whether something can begin in lower-case words of prose.
    fn reads_prose(&self) -> bool;

    /// Whether something of the owner's can begin with a sign in ASCII.
    fn begins_with(&self, sign: u8) -> bool;

    /// Where a match of the owner's that ends at the window's position ends next, and how it goes on from there.
    fn goes_on(&self, window: &Window<'_>, unfinished: Unfinished) -> Option<(usize, Unfinished)>;
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) entity: Entity,
    pub(crate) range: Range<usize>,
    pub(crate) confidence: u8,
}

/// A finding that goes on.
#[derive(Debug)]
struct Open {
    found: Found,
    tail: Tail,
}

/// The state between two positions. All places count from the beginning of the whole text.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    /// The next position.
    at: usize,
    /// Where the stretch whose traits are known ends.
    stretch_end: usize,
    traits: Traits,
    /// Candidates that overlap, and where the last of them ends.
    cluster: Vec<Candidate>,
    cluster_end: usize,
    open: Option<Open>,
    columns: Columns,
}

/// The part of a text that is there.
#[derive(Clone, Copy)]
pub(crate) struct Part<'t> {
    pub(crate) text: &'t str,
    /// Where it begins in the whole text.
    pub(crate) base: usize,
    /// Whether more will come after it.
    pub(crate) end: End,
}

impl Machine {
    /// Where what is undecided begins. A finding that is still going on is decided so far.
    pub(crate) fn decided(&self) -> usize {
        match (&self.open, self.cluster.first()) {
            (Some(_), _) | (None, None) => self.at,
            (None, Some(first)) => first.range.start,
        }
    }

    /// The finding that is going on, if there is one.
    pub(crate) fn going_on(&self) -> Option<&Found> {
        self.open.as_ref().map(|open| &open.found)
    }

    /// Goes on as far as `part` allows, which must reach back [`super::window::BEHIND`] bytes from
    /// what is undecided.
    pub(crate) fn advance(&mut self, part: Part<'_>, judge: &impl Judge, found: &mut Vec<Found>) {
        self.pass(part, judge, found);
        self.columns.follow(part, self.at);
    }

    fn pass(&mut self, part: Part<'_>, judge: &impl Judge, found: &mut Vec<Found>) {
        let bytes = part.text.as_bytes();
        let mut proposals = Vec::new();
        loop {
            if let Some(mut open) = self.open.take() {
                let over = open.follow(part, judge);
                self.at = open.found.range.end;
                if !over {
                    self.open = Some(open);
                    return;
                }
                found.push(open.found);
                continue;
            }
            if self.settled() {
                self.settle(found);
                continue;
            }
            let place = self.at - part.base;
            if place >= bytes.len() {
                if part.end == End::Open || self.cluster.is_empty() {
                    return;
                }
                self.settle(found);
                continue;
            }
            if self.at >= self.stretch_end {
                if !self.enter(part, judge.reads_prose()) {
                    return;
                }
                continue;
            }
            let signed = || !bytes[place].is_ascii_alphanumeric() && judge.begins_with(bytes[place]);
            if begins(bytes, place, self.traits) || signed() {
                let mut window = Window::new(part.text, place, part.end);
                // What a column's name says something of has digits; so prose is read in long pieces.
                if self.traits.has(Traits::DIGIT) {
                    self.columns.follow(part, self.at);
                    window = window.within(&self.columns);
                }
                proposals.clear();
                judge.judge(&window, self.traits, &mut proposals);
                if window.starved() {
                    return;
                }
                self.join(&mut proposals, part.base);
            }
            self.at += width(bytes[place]);
        }
    }

    /// Whether nothing that is to come can change the cluster.
    fn settled(&self) -> bool {
        self.cluster.first().is_some_and(|first| self.at >= self.cluster_end.min(first.range.start + CLUSTER))
    }

    fn settle(&mut self, found: &mut Vec<Found>) {
        let kept = resolve(std::mem::take(&mut self.cluster));
        self.cluster_end = 0;
        let last = kept.len().saturating_sub(1);
        for (i, candidate) in kept.into_iter().enumerate() {
            self.at = self.at.max(candidate.range.end);
            let finding =
                Found { entity: candidate.entity, range: candidate.range, confidence: candidate.confidence };
            match candidate.extent {
                Extent::Run(tail) if i == last => self.open = Some(Open { found: finding, tail }),
                _ => found.push(finding),
            }
        }
    }

    fn join(&mut self, proposals: &mut Vec<Candidate>, base: usize) {
        for mut candidate in proposals.drain(..) {
            candidate.range = candidate.range.start + base..candidate.range.end + base;
            debug_assert!(candidate.range.start == self.at && candidate.range.len() <= MAX_LENGTH);
            if self.cluster.len() < MAX_CANDIDATES {
                self.cluster_end = self.cluster_end.max(candidate.range.end);
                self.cluster.push(candidate);
            }
        }
    }

    /// Skips blanks and words that nothing begins in, and takes the traits of the next stretch. False
    /// if it has not come whole.
    fn enter(&mut self, part: Part<'_>, reads_prose: bool) -> bool {
        let bytes = part.text.as_bytes();
        let mut at = self.at - part.base;
        loop {
            while at < bytes.len() && bytes[at].is_ascii_whitespace() {
                at += 1;
            }
            let (mut traits, mut to) = (0, at);
            let most = bytes.len().min(at + MAX_LENGTH);
            while to < most && !bytes[to].is_ascii_whitespace() {
                traits |= TRAITS[usize::from(bytes[to])];
                to += 1;
            }
            self.at = part.base + at;
            if to - at == MAX_LENGTH {
                // Too long to be seen at once, so anything may be in it.
                traits = u8::MAX;
            } else if to == bytes.len() && part.end == End::Open {
                return false;
            }
            if traits != 0 || reads_prose || !self.cluster.is_empty() || to == bytes.len() {
                while !part.text.is_char_boundary(to) {
                    to -= 1;
                }
                (self.stretch_end, self.traits) = (part.base + to, Traits(traits));
                return true;
            }
            at = to;
        }
    }
}

impl Open {
    /// Takes in more; false if still more may come.
    fn follow(&mut self, part: Part<'_>, judge: &impl Judge) -> bool {
        let at = self.found.range.end - part.base;
        let (to, over) = match &mut self.tail {
            Tail::Token => follow_token(part, at),
            Tail::Url => follow_run(part, at, is_of_url),
            Tail::Pem => follow_pem(part, at, MAX_PEM.saturating_sub(self.found.range.len())),
            Tail::Custom(unfinished) => follow_custom(part, at, judge, unfinished),
        };
        self.found.range.end = part.base + to;
        over || part.end == End::Final
    }
}

fn follow_run(part: Part<'_>, mut at: usize, goes_on: fn(u8) -> bool) -> (usize, bool) {
    let bytes = part.text.as_bytes();
    while at < bytes.len() && goes_on(bytes[at]) {
        at += 1;
    }
    (at, at < bytes.len())
}

/// The same of a token, without the dot of the sentence that it ends; that it is one is seen when the next byte has come.
fn follow_token(part: Part<'_>, at: usize) -> (usize, bool) {
    let (end, over) = follow_run(part, at, is_token);
    let dot = end > at && part.text.as_bytes()[end - 1] == b'.';
    if dot { (end - 1, over || part.end == End::Final) } else { (end, over) }
}

/// A key goes on over whatever stands between its lines, so that no frame around them and no header shows the rest of it.
fn follow_pem(part: Part<'_>, mut at: usize, room: usize) -> (usize, bool) {
    let limit = at + room;
    loop {
        let window = Window::new(part.text, at, part.end);
        if window.has(at, PEM_END) {
            let after = window.run(at + PEM_END.len(), 64, |b| b.is_ascii_uppercase() || b == b' ');
            let to = window.run(after, 5, |b| b == b'-');
            return if window.starved() { (at, false) } else { (to, true) };
        }
        match window.byte(at) {
            _ if window.starved() => return (at, false),
            Some(b) if is_base64(b) || at < limit && is_pem(b) => at += 1,
            _ => match next_of_pem(&window) {
                _ if window.starved() => return (at, false),
                Some(next) => at = next,
                None => return (at, true),
            },
        }
    }
}

const PEM_END: &[u8] = b"-----END";

/// Where a PEM block goes on near the window's position: at its end marker, or within a line of base64 that is long enough
/// and has letters of both cases and digits, as names in programs seldom have, and fewer slashes than paths.
fn next_of_pem(window: &Window<'_>) -> Option<usize> {
    let (mut begins, mut kinds, mut slashes) = (window.at, 0, 0);
    for at in window.at..window.at + MAX_PEM_GAP + PEM_LINE {
        let b = window.byte(at)?;
        if !is_base64(b) {
            if window.has(at, PEM_END) {
                return Some(at);
            }
            (begins, kinds, slashes) = (at + 1, 0, 0);
            continue;
        }
        kinds |= match b {
            b'A'..=b'Z' => 1,
            b'a'..=b'z' => 2,
            b'0'..=b'9' => 4,
            _ => 0,
        };
        slashes += usize::from(b == b'/');
        let length = at + 1 - begins;
        if length >= PEM_LINE && kinds == 7 && slashes * 12 <= length {
            return Some(at + 1);
        }
    }
    None
}

fn follow_custom(
    part: Part<'_>,
    mut at: usize,
    judge: &impl Judge,
    unfinished: &mut Unfinished,
) -> (usize, bool) {
    loop {
        let window = Window::new(part.text, at, part.end);
        match judge.goes_on(&window, *unfinished) {
            _ if window.starved() => return (at, false),
            Some(next) => (at, *unfinished) = next,
            None => return (at, true),
        }
    }
}

fn is_base64(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"+/=".contains(&b)
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-_.=+/".contains(&b)
}

/// Unreserved and reserved characters without those that quote (RFC 3986, 2).
fn is_of_url(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~%:/?#[]@!$&()*+,;=".contains(&b)
}

/// Base64, headers, and what stands before and after lines where a key is quoted, commented on, put into a
/// table or into the strings of a program; line breaks also as JSON and HTML escape them.
fn is_pem(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b.is_ascii_whitespace() || b"+/=:,-\\.()>\"'#*;|_<&%[]`~".contains(&b)
}

/// Whether something can begin at `at`: a word or number, or a sign before one. Whether a character beyond
/// ASCII before it is a letter, and an underscore part of a word, is the window's to tell.
#[inline]
fn begins(bytes: &[u8], at: usize, traits: Traits) -> bool {
    let in_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 128;
    match bytes[at] {
        b if b.is_ascii_alphanumeric() => {
            let Some(before) = at.checked_sub(1).map(|i| bytes[i]) else { return true };
            if !traits.has(Traits::ODD) {
                return !in_word(before);
            }
            match before {
                // The letter of an escape is no text.
                b'\\' => !(b"nrtbf".contains(&b) || b == b'u' && is_hex4(bytes, at + 1)),
                b'_' | 128.. => true,
                _ => !in_word(before) || escape_before(|back| Some(bytes[at.checked_sub(back)?])),
            }
        }
        // A value in base64 may begin so.
        b'/' | b'+' if traits.has(Traits::DIGIT) && opens_value(bytes, at) => true,
        b'+' => bytes.get(at + 1).is_none_or(|b| b.is_ascii_digit() || *b == b'('),
        b'(' => bytes.get(at + 1).is_none_or(|b| b.is_ascii_digit() || b"(+".contains(b)),
        b'-' => at == 0 || bytes[at - 1] != b'-',
        b':' => at == 0 || !in_word(bytes[at - 1]) && bytes[at - 1] != b':',
        b'_' => traits.has(Traits::AT) && at.checked_sub(1).is_none_or(|i| !in_word(bytes[i])),
        b => b >= 128,
    }
}

/// Whether the sign at `at` is the first of a value: behind a quote, an equals sign or what opens a cell.
fn opens_value(bytes: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).map(|i| bytes[i]);
    before.is_some_and(|b| b"\"'`=>{".contains(&b)) && bytes.get(at + 1).is_none_or(u8::is_ascii_alphanumeric)
}

fn is_hex4(bytes: &[u8], at: usize) -> bool {
    bytes.get(at..at + 4).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// Bytes of the character that begins with `first`.
#[inline]
fn width(first: u8) -> usize {
    match first {
        0..=0xBF => 1,
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        _ => 4,
    }
}
