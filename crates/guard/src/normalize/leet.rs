//! Leetspeak: digits and signs for the letters that they look like.
//!
//! A sign can stand for several letters (`1` for i and l), so a word is read in a few ways, and known words and
//! letter statistics choose. One such word is a name or a version; two near each other are a way to write.

use std::ops::Range;

use super::edits::Edits;
use super::{Decoding, letters, lexicon};

/// What signs can stand for, longer ones first.
const SIGNS: [(&str, &str); 34] = [
    ("|\\/|", "m"),
    ("/\\/\\", "m"),
    ("|\\|", "n"),
    ("/\\/", "n"),
    ("\\/\\/", "w"),
    ("|-|", "h"),
    ("|_|", "u"),
    ("(_)", "u"),
    ("|>", "p"),
    ("|)", "d"),
    ("|<", "k"),
    ("|2", "r"),
    ("|3", "b"),
    ("|=", "f"),
    ("\\/", "v"),
    ("/\\", "a"),
    ("()", "o"),
    ("><", "x"),
    ("0", "o"),
    ("1", "il"),
    ("2", "z"),
    ("3", "e"),
    ("4", "a"),
    ("5", "s"),
    ("6", "gb"),
    ("7", "t"),
    ("8", "b"),
    ("9", "g"),
    ("@", "a"),
    ("$", "s"),
    ("!", "i"),
    ("|", "li"),
    ("+", "t"),
    ("(", "c"),
];

/// What makes a word worth reading: a digit or one of these between letters.
fn is_sign(b: u8) -> bool {
    b.is_ascii_digit() || matches!(b, b'@' | b'$' | b'!' | b'|' | b'+')
}

pub(super) fn undo(text: &str) -> Vec<Edits> {
    let bytes = text.as_bytes();
    let mut edits = Edits::default();
    let mut near: Vec<(Range<usize>, String)> = Vec::new();
    let mut at = 0;
    while let Some(found) = next_suspect(bytes, at) {
        let word = around(text, at, found);
        at = word.end.max(found + 1);
        let Some(decoded) = plain(&text[word.clone()]) else { continue };
        if near.last().is_some_and(|(last, _)| last.end + NEAR < word.start) {
            keep(text, &mut near, &mut edits);
        }
        near.push((word, decoded));
    }
    keep(text, &mut near, &mut edits);
    vec![edits]
}

/// How far apart two such words are that belong together.
const NEAR: usize = 80;

/// Ends a group of words.
fn keep(text: &str, near: &mut Vec<(Range<usize>, String)>, edits: &mut Edits) {
    if near.len() >= 2 {
        for (range, decoded) in near.iter() {
            edits.push(range.clone(), decoded, Decoding::Leetspeak);
        }
    }
    // Among several such words, a number that reads as a known word is one: `7h15 70 7h3`.
    for pair in near.windows(2).filter(|_| near.len() >= 3) {
        for word in text[pair[0].0.end..pair[1].0.start].split_ascii_whitespace() {
            let start = word.as_ptr() as usize - text.as_ptr() as usize;
            if let Some(decoded) = plain(word).filter(|_| word.bytes().all(|b| b.is_ascii_digit())) {
                edits.push(start..start + word.len(), &decoded, Decoding::Leetspeak);
            }
        }
    }
    near.clear();
}

/// The next sign beside a letter. Blocks without are passed by counting, which compiles to vectors.
fn next_suspect(bytes: &[u8], mut at: usize) -> Option<usize> {
    const BLOCK: usize = 64;
    let beside = |a: u8, b: u8| {
        let letter = |c: u8| (c | 0x20).wrapping_sub(b'a') < 26;
        let sign = |c: u8| c.wrapping_sub(b'0') < 10 || c == b'@' || c == b'$' || c == b'!' || c == b'|';
        (sign(a) & letter(b)) | (letter(a) & sign(b))
    };
    while let Some(block) = bytes.get(at..at + BLOCK + 1) {
        let (left, right) = (&block[..BLOCK], &block[1..]);
        if left.iter().zip(right).fold(false, |any, (a, b)| any | beside(*a, *b)) {
            break;
        }
        at += BLOCK;
    }
    let rest = bytes.get(at..)?;
    let i = rest.windows(2).position(|w| beside(w[0], w[1]))?;
    Some(at + i)
}

/// The word around a place, signs included, from `floor` on: of a long one only the nearer part is taken.
fn around(text: &str, floor: usize, at: usize) -> Range<usize> {
    const LONGEST: usize = 40;
    let bytes = text.as_bytes();
    let inner = |b: &&u8| b.is_ascii_graphic() && !b"\",;:?`'".contains(*b) || !b.is_ascii();
    let start = at - bytes[floor..at].iter().rev().take(LONGEST).take_while(inner).count();
    let end = at + bytes[at..].iter().take(LONGEST).take_while(inner).count();
    let (start, end) = (text.ceil_char_boundary(start), text.floor_char_boundary(end));
    // A mark at the end of a sentence is no letter.
    let trimmed = bytes[start..end].iter().rev().take_while(|b| b".!)".contains(b)).count();
    start..(end - trimmed).max(at)
}

/// How many ways a word is read in at most.
const WAYS: usize = 16;

/// The best way to read a word, if one is good.
fn plain(word: &str) -> Option<String> {
    let signs = word.bytes().filter(|b| is_sign(*b)).count();
    // Longer pieces are no words, an address has a point after its sign, and a count before a unit is one.
    let address = word.find('@').is_some_and(|i| word[i..].contains('.')) || word.contains("//");
    let unit = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let count = unit.len() < 3 && !unit.bytes().any(|b| b.is_ascii_digit());
    if word.len() < 2 || address {
        return None;
    }
    let mut ways = vec![String::new()];
    let mut rest = word;
    let mut known = 0;
    while let Some(first) = rest.chars().next() {
        match SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            Some((sign, stands_for)) => {
                let fork = if ways.len() * stands_for.len() <= WAYS { stands_for.len() } else { 1 };
                ways = ways
                    .iter()
                    .flat_map(|w| stands_for[..fork].chars().map(move |c| format!("{w}{c}")))
                    .collect();
                rest = &rest[sign.len()..];
            }
            None => {
                known += usize::from(first.is_alphabetic());
                ways.iter_mut().for_each(|w| w.extend(first.to_lowercase()));
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    let rank = |w: &String| lexicon::surprise(w).unwrap_or(100.0 - letters::bits(w));
    let best = ways.into_iter().min_by(|a, b| rank(a).total_cmp(&rank(b)))?;
    let is_known = lexicon::surprise(&best).is_some();
    let likely = !count && best.len() >= 4 && known > 0 && signs < best.len() && letters::bits(&best) > 0.4;
    let only_letters = best.chars().all(|c| c.is_alphabetic() || c == '-');
    (only_letters && (is_known || likely)).then_some(best)
}
