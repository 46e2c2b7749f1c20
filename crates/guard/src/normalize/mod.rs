//! Normalize, then look: a text is read in every way that gives text, and judges look at all
//! readings.
//!
//! Unfolding goes in layers. Of each reading there is one with its characters folded (NFKC,
//! look-alikes, invisible ones), one with its encoded spans decoded, one with digits read as
//! letters, and one or two with ciphers undone; each of these is read again, to a bounded depth. The
//! first step of every decoder is a filter that passes ordinary text at the speed of memory, so a text that hides
//! nothing has one reading: itself.
//!
//! A decoded span counts only if it reads as text ([`letters`]); hashes, ids and numbers do not.

mod base;
mod characters;
mod ciphers;
mod codes;
mod edits;
mod escapes;
mod hidden;
mod leet;
pub mod letters;
mod lexicon;
mod map;
mod runs;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::{Duration, Instant};

use edits::Edits;
use map::Map;

/// How a reading came from the text before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Decoding {
    /// Compatibility characters made plain (NFKC), digits of other scripts included.
    Compatibility,
    /// Letters that look like Latin ones made Latin.
    Confusables,
    /// Characters that are not seen (zero width, selectors, soft hyphens) left out.
    Invisible,
    /// Piled-up combining marks left out.
    CombiningMarks,
    /// Text written in invisible tag characters.
    Tags,
    /// Bytes written in variation selectors.
    VariationSelectors,
    /// Bits written in zero-width characters.
    ZeroWidthBits,
    /// Digits and signs read as the letters they look like.
    Leetspeak,
    /// Base64, with either alphabet, wrapped or not, padded or not.
    Base64,
    /// Base32.
    Base32,
    /// Base16.
    Base16,
    /// Ascii85, and the Base85 of RFC 1924.
    Ascii85,
    /// Uuencode.
    Uuencode,
    /// Quoted-printable.
    QuotedPrintable,
    /// Encoded words of MIME headers.
    MimeWord,
    /// Percent signs, or plus signs for spaces.
    Url,
    /// References to characters as in HTML.
    Html,
    /// Backslash escapes as in JSON and programming languages, `U+` notation.
    Escapes,
    /// Lists of character codes, decimal, hexadecimal, binary or octal.
    CharCodes,
    /// The alphabet turned by 13.
    Rot13,
    /// The alphabet backwards.
    Atbash,
    /// Written from right to left, whole or word by word.
    Reversed,
    /// Pig latin.
    PigLatin,
    /// Morse code.
    Morse,
    /// The spelling alphabet of radio.
    Nato,
    /// Braille.
    Braille,
    /// Letters set apart, one by one.
    SpacedLetters,
}

impl Decoding {
    /// Whether it is undone on suspicion: ciphers and look-alikes do not say that they are any, and undoing them turns
    /// numbers and words into others, so that what is found then says nothing of a person.
    pub fn is_guess(self) -> bool {
        use Decoding::{Atbash, Leetspeak, PigLatin, Reversed, Rot13};
        matches!(self, Leetspeak | PigLatin | Atbash | Rot13 | Reversed)
    }
}

/// One reading of a text: the original, or what it decodes to.
#[derive(Clone, Debug)]
pub struct View {
    text: String,
    how: Vec<Decoding>,
    map: Map,
    depth: usize,
}

impl View {
    fn of(text: &str) -> Self {
        Self { text: text.to_owned(), how: Vec::new(), map: Map::identity(text.len()), depth: 0 }
    }

    /// What is read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What was undone to read this, the first first; nothing for the original.
    pub fn how(&self) -> &[Decoding] {
        &self.how
    }

    /// Whether the text itself says this, and nothing was [guessed](Decoding::is_guess).
    fn is_said(&self) -> bool {
        !self.how.iter().any(|how| how.is_guess())
    }

    /// The bytes of the original that these bytes of the reading come from, always between
    /// characters. What was decoded as one maps to all that it was decoded from.
    pub fn original(&self, range: Range<usize>) -> Range<usize> {
        let start = self.text.floor_char_boundary(range.start.min(self.text.len()));
        let end = match range.is_empty() {
            true => start,
            false => self.text.ceil_char_boundary(range.end.min(self.text.len())).max(start),
        };
        self.map.original(start..end)
    }
}

/// How far unfolding goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many decodings may be nested.
    pub depth: usize,
    /// How many readings there may be, the original included.
    pub views: usize,
    /// How many bytes all readings but the original may have together.
    pub bytes: usize,
    /// How long it may take. No single step takes longer than a few passes over the text.
    pub time: Duration,
}

impl Limits {
    /// What serves a text of `len` bytes: generous for honest text, bounded by its length.
    pub fn for_len(len: usize) -> Self {
        Self {
            depth: 6,
            views: 48,
            bytes: len.saturating_mul(8).saturating_add(64 << 10),
            time: Duration::from_millis(500 + len as u64 / 2000),
        }
    }
}

/// Whether a word is one of those that texts are likely to have.
pub(crate) fn is_word(word: &str) -> bool {
    lexicon::known(word)
}

/// A text in all its readings.
#[derive(Clone, Debug)]
pub struct Unfolded {
    views: Vec<View>,
    truncated: bool,
    unread: bool,
}

impl Unfolded {
    /// All readings, the original first.
    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// The readings that the text itself says, the original first; no [guess](Decoding::is_guess) is among them.
    pub fn said(&self) -> impl Iterator<Item = &View> {
        self.views.iter().filter(|view| view.is_said())
    }

    /// Whether a bound cut it, so that there may be readings that nobody has seen.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Whether a bound cut off a reading that the text itself says, and no [guess](Decoding::is_guess): code that is read
    /// backwards and turned by thirteen letters soon has more readings than are wanted, and what is cut off of these is no loss
    /// to whoever looks for what is said.
    pub fn unread(&self) -> bool {
        self.unread
    }
}

/// Reads `text` in every way that gives text.
pub fn unfold(text: &str, limits: &Limits) -> Unfolded {
    let mut work = Work::new(text, limits);
    let mut next = 0;
    while next < work.views.len() && !work.spent() {
        for (layer, kind) in LAYERS {
            for edits in layer(&work.views[next].text) {
                work.add(next, edits, kind);
            }
            if work.late() {
                break;
            }
        }
        next += 1;
    }
    let unseen = work.views[next..].iter().any(View::is_said) || work.cut_short;
    let (truncated, unread) = (work.truncated, work.unread || unseen);
    Unfolded { truncated, unread, views: work.views }
}

/// What a layer undoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What says itself how it is written.
    Said,
    /// What may be a cipher.
    Guess,
}

/// What finds something to decode in a reading. Each list of edits makes a reading of its own: guesses may
/// spoil what another one finds.
const LAYERS: [(Layer, Kind); 5] = [
    (characters::fold, Kind::Said),
    (spans, Kind::Said),
    (leet::undo, Kind::Guess),
    (ciphers::undo, Kind::Guess),
    (words::pig_latin, Kind::Guess),
];

type Layer = fn(&str) -> Vec<Edits>;

/// Every span that says itself how it is encoded.
fn spans(text: &str) -> Vec<Edits> {
    let mut edits = Edits::default();
    hidden::find(text, &mut edits);
    escapes::find(text, &mut edits);
    base::find(text, &mut edits);
    codes::find(text, &mut edits);
    words::find(text, &mut edits);
    vec![edits]
}

struct Work<'a> {
    views: Vec<View>,
    seen: HashSet<u64>,
    state: RandomState,
    bytes: usize,
    limits: &'a Limits,
    start: Instant,
    truncated: bool,
    /// What was cut off is said by the text.
    unread: bool,
    /// Time was over within a reading.
    cut_short: bool,
}

impl<'a> Work<'a> {
    fn new(text: &str, limits: &'a Limits) -> Self {
        let state = RandomState::new();
        Self {
            views: vec![View::of(text)],
            seen: HashSet::from([state.hash_one(text)]),
            state,
            bytes: 0,
            limits,
            start: Instant::now(),
            truncated: false,
            unread: false,
            cut_short: false,
        }
    }

    /// Keeps the reading that `edits` make of a view, unless there is nothing new in it.
    fn add(&mut self, parent: usize, edits: Edits, kind: Kind) {
        if edits.is_empty() {
            return;
        }
        let said = kind == Kind::Said && self.views[parent].is_said();
        if self.views[parent].depth >= self.limits.depth || self.views.len() >= self.limits.views {
            self.truncated = true;
            self.unread |= said;
            return;
        }
        let (view, cut) = edits.apply(&self.views[parent], self.limits.bytes - self.bytes);
        self.truncated |= cut;
        self.unread |= cut && said;
        if self.seen.insert(self.state.hash_one(&view.text)) && !view.text.is_empty() {
            self.bytes += view.text.len();
            self.views.push(view);
        }
    }

    /// Whether looking on could change nothing.
    fn spent(&self) -> bool {
        self.truncated && (self.views.len() >= self.limits.views || self.start.elapsed() > self.limits.time)
    }

    fn late(&mut self) -> bool {
        let late = self.start.elapsed() > self.limits.time;
        self.truncated |= late;
        self.cut_short |= late;
        late
    }
}
