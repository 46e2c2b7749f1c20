//! ROT13, Atbash and text backwards, which no byte gives away: letters that follow each other as in no
//! language, but would if they were undone.
//!
//! For every two letters a table says what each cipher would gain by being undone, three sums in one
//! number. Blocks of text where no sum is positive are passed at once; around the others the words
//! are weighed and the stretch with the largest gain is taken (Kadane's maximum subarray, one pass).

use std::ops::Range;
use std::sync::LazyLock;

use super::Decoding;
use super::edits::{Edits, Order};
use super::letters::{self, SYMBOLS, UNIT};

pub(super) fn rot13(b: u8) -> u8 {
    match b {
        b'a'..=b'z' => (b - b'a' + 13) % 26 + b'a',
        b'A'..=b'Z' => (b - b'A' + 13) % 26 + b'A',
        _ => b,
    }
}

pub(super) fn atbash(b: u8) -> u8 {
    match b {
        b'a'..=b'z' => b'a' + b'z' - b,
        b'A'..=b'Z' => b'A' + b'Z' - b,
        _ => b,
    }
}

/// How many ciphers are weighed: ROT13, Atbash,
const CIPHERS: usize = 3;
/// and backwards.
const BACKWARDS: usize = 2;
/// Added to each gain, so that sums of unsigned numbers never borrow from each other.
const BIAS: i32 = 256;
/// Bits of a sum: a block of 64 gains of at most 512 fits.
const LANE: u32 = 20;

struct Gains {
    /// `[before, after]`: the three gains with their bias.
    pairs: Vec<u64>,
    symbols: [u8; 256],
}

static GAINS: LazyLock<Gains> = LazyLock::new(|| {
    let mut symbols = [0; 256];
    for b in 0..=127u8 {
        symbols[usize::from(b)] = letters::symbol(char::from(b)) as u8;
    }
    let through = |s: usize, cipher: fn(u8) -> u8| match s {
        0 => 0,
        _ => usize::from(cipher(b'a' + s as u8 - 1) - b'a') + 1,
    };
    let pairs = (0..SYMBOLS * SYMBOLS).map(|i| {
        let (a, b) = (i / SYMBOLS, i % SYMBOLS);
        let now = letters::pair(a, b);
        let undone = [
            letters::pair(through(a, rot13), through(b, rot13)),
            letters::pair(through(a, atbash), through(b, atbash)),
            letters::pair(b, a),
        ];
        undone.iter().rev().fold(0u64, |sum, u| sum << LANE | (u - now + BIAS) as u64)
    });
    Gains { pairs: pairs.collect(), symbols }
});

impl Gains {
    /// What each cipher would gain over these bytes, the border before them included.
    fn of(&self, bytes: &[u8]) -> [i32; CIPHERS] {
        let mut sums = [0; CIPHERS];
        let mut before = 0;
        for block in bytes.chunks(64) {
            let mut packed = 0u64;
            for b in block {
                let after = self.symbols[usize::from(*b)];
                packed += self.pairs[usize::from(before) * SYMBOLS + usize::from(after)];
                before = after;
            }
            for (i, sum) in sums.iter_mut().enumerate() {
                let lane = (packed >> (i as u32 * LANE)) & ((1 << LANE) - 1);
                *sum += lane as i32 - BIAS * block.len() as i32;
            }
        }
        sums
    }
}

/// How much is weighed at once. Shorter blocks of honest text look strange too often.
const BLOCK: usize = 48;
/// What a stretch must gain, in bits: ROT13 and Atbash gain two a letter, backwards less.
const LEAST: [f32; CIPHERS] = [16.0, 16.0, 9.0];
/// The letters of a stretch that are worth it.
const SHORTEST: usize = 10;

/// The reading with ciphers undone; and the one in which words are turned around one by one.
pub(super) fn undo(text: &str) -> Vec<Edits> {
    let mut whole = Edits::default();
    let mut words = Edits::default();
    let mut at = 0;
    while let Some(region) = suspect(text, at) {
        at = region.end;
        for stretch in stretches(text, region) {
            push(text, stretch, &mut whole, &mut words);
        }
    }
    vec![whole, words]
}

/// The next region where some cipher gains something, with a block on each side, between words.
fn suspect(text: &str, from: usize) -> Option<Range<usize>> {
    let gains = &*GAINS;
    let bytes = text.as_bytes();
    let strange =
        |block: &[u8]| gains.of(block).iter().zip(LEAST).any(|(g, least)| *g as f32 > least * UNIT / 4.0);
    let first = bytes[from..].chunks(BLOCK).position(strange)?;
    let start = from + first * BLOCK;
    let blocks = bytes[start..].chunks(BLOCK).take_while(|b| strange(b)).count();
    let start = text.floor_char_boundary(start.saturating_sub(BLOCK).max(from));
    let end = text.ceil_char_boundary((from + (first + blocks + 1) * BLOCK).min(text.len()));
    let start = text[from..start].rfind(char::is_whitespace).map_or(from, |i| from + i);
    let end = text[end..].find(char::is_whitespace).map_or(text.len(), |i| end + i);
    Some(start..end)
}

struct Stretch {
    range: Range<usize>,
    cipher: usize,
    gain: f32,
}

/// The stretches of words in a region that gain enough.
fn stretches(text: &str, region: Range<usize>) -> Vec<Stretch> {
    let gains = &*GAINS;
    let mut found = Vec::new();
    let mut sums = [0i32; CIPHERS];
    let mut starts = [region.start; CIPHERS];
    let mut best: [(i32, Range<usize>); CIPHERS] = std::array::from_fn(|_| (0, 0..0));
    for word in text[region.clone()].split_ascii_whitespace() {
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        let end = start + word.len();
        // With the border after the word.
        let with_border = &text.as_bytes()[start..(end + 1).min(text.len())];
        for (c, gain) in gains.of(with_border).into_iter().enumerate() {
            if sums[c] <= 0 {
                (sums[c], starts[c]) = (0, start);
            }
            sums[c] += gain;
            if sums[c] > best[c].0 {
                best[c] = (sums[c], starts[c]..end);
            }
            // What was gained is lost again: that stretch is over.
            if sums[c] <= 0 || sums[c] < best[c].0 - 30 * UNIT as i32 {
                found.extend(end_stretch(c, &mut best[c]));
                sums[c] = 0;
            }
        }
    }
    found.extend(best.iter_mut().enumerate().filter_map(|(c, b)| end_stretch(c, b)));
    found
}

fn end_stretch(cipher: usize, best: &mut (i32, Range<usize>)) -> Option<Stretch> {
    let (gain, range) = std::mem::take(best);
    let gain = gain as f32 / UNIT;
    (gain >= LEAST[cipher]).then_some(Stretch { range, cipher, gain })
}

/// How far from the end of a line, in bytes, words belong to what stands there backwards.
const MARGIN: usize = 32;

/// Words at the ends may gain nothing, and turned around they come first: what is nearly a whole line is one.
fn whole_line(text: &str, range: Range<usize>) -> Range<usize> {
    let border = |c: char| matches!(c, '\n' | '"' | ':');
    let first = text.floor_char_boundary(range.start.saturating_sub(MARGIN));
    let last = text.ceil_char_boundary((range.end + MARGIN).min(text.len()));
    let start = match text[first..range.start].rfind(border) {
        Some(i) => first + i + 1,
        None if first == 0 => 0,
        None => range.start,
    };
    let end = match text[range.end..last].find(border) {
        Some(i) => range.end + i,
        None if last == text.len() => last,
        None => range.end,
    };
    let line = text[start..end].trim();
    let start = line.as_ptr() as usize - text.as_ptr() as usize;
    start..start + line.len()
}

fn push(text: &str, stretch: Stretch, whole: &mut Edits, words: &mut Edits) {
    let range = match stretch.cipher {
        BACKWARDS => whole_line(text, stretch.range),
        _ => stretch.range,
    };
    let source = &text[range.clone()];
    let n = source.chars().filter(char::is_ascii_alphabetic).count();
    // Marks and digits gain nothing; a table of numbers with some letters is no text.
    if n < SHORTEST || n * 2 < source.len() || stretch.gain / (n as f32) < 0.15 {
        return;
    }
    let letters_by = |cipher: fn(u8) -> u8| {
        source.chars().map(|c| if c.is_ascii() { char::from(cipher(c as u8)) } else { c }).collect::<String>()
    };
    let (decoded, how, order) = match stretch.cipher {
        0 => (letters_by(rot13), Decoding::Rot13, Order::Same),
        1 => (letters_by(atbash), Decoding::Atbash, Order::Same),
        _ => (source.chars().rev().collect(), Decoding::Reversed, Order::Reversed),
    };
    if !letters::is_words(&decoded) {
        return;
    }
    whole.push_ordered(range.clone(), &decoded, how, order);
    if order == Order::Reversed {
        for word in source.split_ascii_whitespace() {
            let start = word.as_ptr() as usize - text.as_ptr() as usize;
            let turned: String = word.chars().rev().collect();
            words.push_ordered(start..start + word.len(), &turned, how, order);
        }
    }
}
