//! What the classifier sees of a text: words, two of them in a row, signs that structure
//! text, and [concepts] that words of eight languages stand for, in pairs, in rows and as sets; all hashed into a fixed number of buckets. What is learned of concepts holds for wordings that nobody wrote down.
//!
//! Case and accents are left out, so that a text reads the same whatever an encoding lost of it. Sums over
//! sentences add up to the sum over a paragraph, and one pass serves all windows.

use std::ops::Range;

use super::concepts::{self, Concepts};
use crate::normalize::letters;

/// How many buckets there are.
pub const BUCKETS: usize = 1 << 15;
/// Those of words; the others are those of concepts.
pub const WORDS: usize = BUCKETS / 2;

/// One sentence, or a part of a very long one.
#[derive(Clone, Debug)]
pub struct Sentence {
    /// Where it stands.
    pub range: Range<usize>,
    /// How many features it has.
    pub features: usize,
}

/// A sentence that is longer is cut, in words.
const LONGEST: usize = 60;

/// Calls with each sentence and its buckets, in order.
pub fn sentences(text: &str, mut each: impl FnMut(Sentence, &[u32])) {
    let mut buckets = Vec::new();
    let mut row = Row::default();
    let (mut start, mut words) = (0, 0);
    let mut chars = text.char_indices().peekable();
    let mut end_sentence = |start: &mut usize, end: usize, row: &mut Row, buckets: &mut Vec<u32>| {
        row.word(buckets);
        row.together(buckets);
        if !buckets.is_empty() {
            each(Sentence { range: *start..end, features: buckets.len() }, buckets);
        }
        (*start, *row) = (end, Row::default());
        buckets.clear();
    };
    while let Some((at, c)) = chars.next() {
        if row.push(c) {
            continue;
        }
        words += usize::from(row.word(&mut buckets));
        let next = at + c.len_utf8();
        let space = chars.peek().is_none_or(|(_, n)| n.is_whitespace());
        // A question mark within is that of an address, and what follows is another's.
        let ends = matches!(c, '.' | '!' | ';' | '。' | '！' | '？') && space || matches!(c, '\n' | '?');
        sign(c).into_iter().for_each(|s| row.sign(s, &mut buckets));
        if ends || words >= LONGEST {
            end_sentence(&mut start, next, &mut row, &mut buckets);
            words = 0;
        }
    }
    end_sentence(&mut start, text.len(), &mut row, &mut buckets);
}

/// Signs that say something, of several kinds those that say the same as one.
fn sign(c: char) -> Option<u8> {
    Some(match c {
        '"' | '“' | '”' | '„' | '«' | '»' | '‘' | '’' | '`' => b'"',
        '<' | '>' | '[' | ']' | '{' | '}' | '(' | '|' | '#' | '=' | ':' | '?' | '!' | '/' | '@' | '$'
        | '_' | '\n' | ';' => c as u8,
        _ => return None,
    })
}

/// The hash of nothing (FNV-1a, 64 bits).
const EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

fn hash(seed: u64, byte: u8) -> u64 {
    (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}

/// Spreads the high bits of a hash over the buckets.
fn bucket(hash: u64, kind: u64) -> u32 {
    let mixed = (hash ^ kind.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    ((mixed >> 40) as usize % WORDS) as u32
}

fn concept_bucket(hash: u64, kind: u64) -> u32 {
    bucket(hash, kind) + WORDS as u32
}

/// The word before and the one that is being read.
#[derive(Clone, Copy, Default)]
struct Row {
    before: u64,
    letters: [u8; 24],
    len: usize,
    hash: u64,
    /// How many words and signs there were.
    place: usize,
    /// The last words that stand for something, the last one last, and their places.
    meant: [(Concepts, usize); NEIGHBOURS],
    /// A bit for each concept of the sentence.
    about: u64,
    /// How many signs, numbers and codes there were since the last word.
    odd: usize,
}

/// More signs than this in a row are a code or a table, and say no more.
const MOST_ODD: usize = 3;

/// How many concepts of a sentence are taken together; longer sentences have more than they mean.
const MOST_TOGETHER: usize = 12;

/// How many words with a meaning are seen together with the next.
const NEIGHBOURS: usize = 5;
/// How far apart they may be, in words.
const FAR: usize = 12;
const NEAR: usize = 3;

impl Row {
    /// Takes a letter or a digit; others end the word.
    fn push(&mut self, c: char) -> bool {
        if self.len == 0 {
            self.hash = EMPTY;
        }
        let symbol = letters::symbol(c);
        let byte = match c {
            _ if symbol > 0 => b'a' + symbol as u8 - 1,
            '0'..='9' => b'0',
            _ if c.is_alphanumeric() => return self.foreign(c),
            _ => return false,
        };
        self.add(byte);
        true
    }

    fn foreign(&mut self, c: char) -> bool {
        c.to_lowercase().for_each(|c| c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| self.add(b)));
        true
    }

    fn add(&mut self, byte: u8) {
        // All numbers are one word.
        if byte == b'0' && self.len > 0 && self.letters[self.len.min(self.letters.len()) - 1] == b'0' {
            return;
        }
        if self.len < self.letters.len() {
            self.letters[self.len] = byte;
        }
        self.len += 1;
        self.hash = hash(self.hash, byte);
    }

    /// Ends a word, if there is one.
    fn word(&mut self, buckets: &mut Vec<u32>) -> bool {
        if self.len == 0 {
            return false;
        }
        let word = self.hash;
        let letters = &self.letters[..self.len.min(self.letters.len())];
        self.odd = if self.len > 1 && !letters.contains(&b'0') { 0 } else { self.odd + 1 };
        if self.odd > MOST_ODD {
            self.len = 0;
            return true;
        }
        self.ended(word, buckets);
        if self.len <= self.letters.len() {
            self.mean(concepts::of(&self.letters[..self.len]), buckets);
        }
        self.len = 0;
        true
    }

    fn sign(&mut self, sign: u8, buckets: &mut Vec<u32>) {
        self.odd += 1;
        if self.odd > MOST_ODD {
            return;
        }
        self.ended(hash(EMPTY, sign), buckets);
        self.mean(concepts::of(&[sign]), buckets);
    }

    /// Ends a sentence: every two and every three of the things that it is about, in any order.
    fn together(&self, buckets: &mut Vec<u32>) {
        let present: Vec<u64> = (0..64).filter(|c| self.about >> c & 1 == 1).take(MOST_TOGETHER).collect();
        for (i, a) in present.iter().enumerate() {
            for (j, b) in present.iter().enumerate().skip(i + 1) {
                buckets.push(concept_bucket(a << 8 | b, 10));
                buckets.extend(present[j + 1..].iter().map(|c| concept_bucket(a << 16 | b << 8 | c, 11)));
            }
        }
    }

    /// Takes what a word stands for: alone, with each of those before it, and with the two before it.
    fn mean(&mut self, concepts: Concepts, buckets: &mut Vec<u32>) {
        if concepts == [0; concepts::MOST] {
            return;
        }
        let known = |c: Concepts| c.into_iter().filter(|c| *c > 0).map(u64::from);
        buckets.extend(known(concepts).map(|c| concept_bucket(c, 6)));
        self.about = known(concepts).filter(|c| *c < 64).fold(self.about, |set, c| set | 1 << c);
        for (other, place) in self.meant.iter().filter(|(_, place)| *place > 0 && self.place - place <= FAR) {
            let kind = if self.place - place <= NEAR { 7 } else { 8 };
            for a in known(*other) {
                buckets.extend(known(concepts).map(|b| concept_bucket(a << 8 | b, kind)));
            }
        }
        let [.., (second, _), (first, _)] = self.meant;
        if second[0] > 0 {
            let row = u64::from(second[0]) << 16 | u64::from(first[0]) << 8;
            buckets.extend(known(concepts).map(|c| concept_bucket(row | c, 9)));
        }
        self.meant.rotate_left(1);
        self.meant[NEIGHBOURS - 1] = (concepts, self.place);
    }

    fn ended(&mut self, word: u64, buckets: &mut Vec<u32>) {
        let first = self.before;
        buckets.push(bucket(word, 1));
        buckets.push(bucket(word.rotate_left(17) ^ first, 2));
        self.before = word;
        self.place += 1;
    }
}
