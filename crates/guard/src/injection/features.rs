//! What the classifier sees of a text: sentences of tokens. A token is a word or a sign; it has the numbers of the
//! word itself and of its first letters, which inflected languages share, the [concepts] that it stands for, which
//! eight languages share, and its place among the words whose meanings encoders told ([meanings]).
//!
//! Words in other letters than Latin ones are [read](super::scripts) by their parts as well.
//!
//! Case and accents are left out, so that a text reads the same whatever an encoding lost of it.

use std::ops::Range;

use unicode_normalization::char::{canonical_combining_class, is_combining_mark};

use super::scripts::{self, Letters, More, Script, script};
use super::{concepts, meanings};
use crate::normalize::letters;

/// How many numbers there are for words and beginnings of words; 0 is for none.
pub const WORDS: usize = 1 << 12;
/// How many there are for words in other letters than Latin ones, and for parts of them.
pub const FOREIGN: usize = 1 << 13;
/// How many rows the table of vectors has: words, then concepts and signs, then words in other letters.
pub const ROWS: usize = WORDS + 256 + FOREIGN;
/// Numbers of one token at most.
pub const MOST: usize = 4 + concepts::MOST;
/// Which of them is the word's place in [`meanings`], counted from 1.
pub const MEANING: usize = MOST - 1;
/// How many of them can be those of the word.
pub const OF_WORD: usize = 3;

/// Rows of a token: first those of the word, then those of what it stands for, then its place in [`meanings`]. 0 is
/// none.
pub type Token = [u16; MOST];

/// A sentence that is longer is cut, in tokens.
const LONGEST: usize = 60;
/// Letters of a beginning.
const BEGINNINGS: [usize; 2] = [4, 6];
/// More signs, numbers and codes than this in a row are a table or a cipher, and say no more.
const MOST_ODD: usize = 3;

/// Calls with each sentence, or part of a very long one: where it stands, and its tokens.
pub fn sentences(text: &str, mut each: impl FnMut(Range<usize>, &[Token])) {
    let mut reader = Reader::default();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = at + c.len_utf8();
        if reader.letter(c) {
            // Only letters without blanks become words before they end.
            if reader.tokens.len() >= LONGEST {
                reader.word();
                each(start..next, &reader.tokens);
                (start, reader) = (next, Reader { tokens: reader.cleared(), ..Reader::default() });
            }
            continue;
        }
        reader.word();
        let space = chars.peek().is_none_or(|(_, n)| n.is_whitespace());
        // A question mark within is that of an address, and what follows is another's.
        let ends = matches!(c, '.' | '!' | ';') && space
            || matches!(c, '\n' | '?' | '。' | '！' | '？' | '；' | '｡' | '।' | '؟' | '؛' | '።' | '។' | '။');
        sign(c).into_iter().for_each(|s| reader.sign(s));
        if ends || reader.tokens.len() >= LONGEST {
            if !reader.tokens.is_empty() {
                each(start..next, &reader.tokens);
            }
            (start, reader) = (next, Reader { tokens: reader.cleared(), ..Reader::default() });
        }
    }
    reader.word();
    if !reader.tokens.is_empty() {
        each(start..text.len(), &reader.tokens);
    }
}

/// Signs that say something, of several kinds those that say the same as one.
fn sign(c: char) -> Option<u8> {
    Some(match c {
        '"' | '“' | '”' | '„' | '«' | '»' | '‘' | '’' | '`' => b'"',
        '「' | '」' | '『' | '』' | '《' | '》' | '〈' | '〉' | '＂' => b'"',
        '（' => b'(',
        '【' | '［' | '〔' => b'[',
        '】' | '］' | '〕' => b']',
        '：' => b':',
        '？' | '؟' => b'?',
        '！' => b'!',
        '；' | '؛' => b';',
        '<' | '>' | '[' | ']' | '{' | '}' | '(' | '|' | '#' | '=' | ':' | '?' | '!' | '/' | '@' | '$'
        | '_' | '\n' | ';' => c as u8,
        _ => return None,
    })
}

/// FNV-1a, 64 bits.
fn hash(bytes: &[u8], seed: u64) -> u64 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Which of `rows` rows stands for a word, or for a part of one, of a kind.
pub(super) fn one_of(rows: usize, bytes: &[u8], kind: u64) -> u16 {
    let mixed = hash(bytes, 0xcbf2_9ce4_8422_2325 ^ kind.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mixed = mixed.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 40;
    (mixed % rows as u64) as u16
}

fn row(bytes: &[u8], kind: u64) -> u16 {
    1 + one_of(WORDS - 1, bytes, kind)
}

/// The sentence so far and the word that is being read.
#[derive(Default)]
struct Reader {
    tokens: Vec<Token>,
    letters: [u8; 24],
    len: usize,
    /// The letters of a word that has others than Latin ones, and their script. Then `letters` has none.
    others: Option<(Script, Letters)>,
    /// How many signs, numbers and codes there were since the last word.
    odd: usize,
}

impl Reader {
    fn cleared(&mut self) -> Vec<Token> {
        self.tokens.clear();
        std::mem::take(&mut self.tokens)
    }

    /// Takes a letter or a digit; others end the word.
    fn letter(&mut self, c: char) -> bool {
        let symbol = letters::symbol(c);
        if let Some(script) = script(c) {
            return self.other(c, script);
        }
        if let Some((script, others)) = &mut self.others
            && c.is_alphanumeric()
        {
            if !script.joins() {
                others.push(if symbol > 0 { char::from(b'a' + symbol as u8 - 1) } else { c });
                return true;
            }
            self.word();
        }
        match c {
            _ if symbol > 0 => self.add(b'a' + symbol as u8 - 1),
            '0'..='9' => self.add(b'0'),
            _ if c.is_alphanumeric() => {
                c.to_lowercase().for_each(|c| c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| self.add(b)));
            }
            _ => return false,
        }
        true
    }

    /// Takes a letter that is not Latin, or a mark above one.
    fn other(&mut self, c: char, script: Script) -> bool {
        if !c.is_alphanumeric() && !is_combining_mark(c) {
            return false;
        }
        // Marks that are often left out say nothing.
        if canonical_combining_class(c) > 0 {
            return true;
        }
        let same = self.others.as_ref().is_none_or(|(s, _)| *s == script || !s.joins() && !script.joins());
        if !same || script.joins() && self.len > 0 {
            self.word();
        }
        let (_, others) = self.others.get_or_insert_with(|| (script, Letters::default()));
        // Latin letters and others are one word where blanks set words apart.
        let before = std::mem::take(&mut self.len);
        self.letters[..before].iter().filter(|b| b.is_ascii()).for_each(|b| others.push(char::from(*b)));
        c.to_lowercase().for_each(|c| others.push(c));
        if script.joins() && others.len() == scripts::MOST_LETTERS {
            let tokens = &mut self.tokens;
            others.words(script, More::Perhaps, |token| tokens.push(token));
            self.odd = 0;
        }
        true
    }

    fn add(&mut self, byte: u8) {
        let full = self.len >= self.letters.len();
        // All numbers are one word.
        let again = byte == b'0' && self.len > 0 && self.letters[self.len - 1] == b'0';
        if !full && !again {
            self.letters[self.len] = byte;
            self.len += 1;
        }
    }

    fn word(&mut self) {
        if let Some((script, mut others)) = self.others.take().filter(|(_, others)| others.len() > 0) {
            self.odd = 0;
            if script.joins() {
                others.words(script, More::No, |token| self.tokens.push(token));
            } else {
                self.tokens.push(others.word(script));
            }
        }
        let len = std::mem::take(&mut self.len);
        if len == 0 {
            return;
        }
        let letters = self.letters;
        let word = &letters[..len];
        self.odd = if len > 1 && !word.contains(&b'0') { 0 } else { self.odd + 1 };
        if self.odd > MOST_ODD {
            return;
        }
        let mut token = [0; MOST];
        token[0] = row(word, 1);
        for (place, letters) in token[1..OF_WORD].iter_mut().zip(BEGINNINGS) {
            *place = if len > letters { row(&word[..letters], 2) } else { 0 };
        }
        stand_for(&mut token, word);
        token[MEANING] = meanings::place(word);
        self.tokens.push(token);
    }

    fn sign(&mut self, sign: u8) {
        self.odd += 1;
        if self.odd <= MOST_ODD {
            let mut token = [0; MOST];
            stand_for(&mut token, &[sign]);
            self.tokens.push(token);
        }
    }
}

fn stand_for(token: &mut Token, word: &[u8]) {
    let rows = concepts::of(word).map(|c| if c == 0 { 0 } else { WORDS as u16 + u16::from(c) });
    token[OF_WORD..MEANING].copy_from_slice(&rows);
}
