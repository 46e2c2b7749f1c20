//! Codes that put a word or a sign for each letter: Morse, the spelling alphabet, braille, letters set apart;
//! and pig latin.

mod pig;
mod spelled;

pub(super) use pig::pig_latin;

use std::ops::Range;

use super::edits::Edits;
use super::runs::{Class, Runs, class};
use super::{Decoding, letters, lexicon};

pub(super) fn find(text: &str, edits: &mut Edits) {
    morse(text, edits);
    braille(text, edits);
    spelled::nato(text, edits);
    spelled::set_apart(text, edits);
}

/// A letter and where its sign stands.
type Sign = (Range<usize>, char);

/// Puts letters that stand in a row into words and keeps them if they read as some. The gap between two
/// letters of a word is the shortest there is; where all are alike, known words say where to cut.
fn keep(text: &str, signs: &[Sign], how: Decoding, edits: &mut Edits) {
    let gap = |i: usize| signs[i].0.end..signs[i + 1].0.start;
    let gaps = || (0..signs.len().saturating_sub(1)).map(gap);
    let Some(shortest) = gaps().map(|g| g.len()).min() else { return };
    let wide = |g: Range<usize>| g.len() > shortest || text[g].contains(['/', '|']);
    let mut ends: Vec<bool> = gaps().map(wide).collect();
    let decoded: String = signs.iter().map(|(_, c)| *c).collect();
    if !ends.contains(&true) {
        lexicon::cuts(&decoded).into_iter().filter(|c| *c > 0).for_each(|c| ends[c - 1] = true);
    }
    let words: String = signs
        .iter()
        .enumerate()
        .flat_map(|(i, (_, c))| [Some(*c), (ends.get(i) == Some(&true)).then_some(' ')])
        .flatten()
        .collect();
    if different(&decoded) < 4 || !letters::is_words(&words) {
        return;
    }
    for (i, (range, c)) in signs.iter().enumerate() {
        let end = signs.get(i + 1).map_or(range.end, |next| next.0.start);
        let mut buffer = [b' '; 5];
        let len = c.encode_utf8(&mut buffer).len() + usize::from(ends.get(i) == Some(&true));
        if let Ok(decoded) = std::str::from_utf8(&buffer[..len]) {
            edits.push(range.start..end, decoded, how);
        }
    }
}

fn different(text: &str) -> u32 {
    text.chars().fold(0u32, |set, c| set | 1 << letters::symbol(c)).count_ones()
}

static MORSE: Class = class(&[], b".-_/| \t\r\n");
const SHORTEST_MORSE: usize = 9;

fn morse(text: &str, edits: &mut Edits) {
    let bytes = text.as_bytes();
    for run in Runs::new(text, &MORSE, SHORTEST_MORSE) {
        let mut signs: Vec<Sign> = Vec::new();
        let mut at = run.start;
        while at < run.end {
            let len = bytes[at..run.end].iter().take_while(|b| b".-_".contains(b)).count();
            match morse_letter(&bytes[at..at + len]) {
                Some(c) => signs.push((at..at + len, c)),
                None if len > 0 => {
                    keep(text, &signs, Decoding::Morse, edits);
                    signs.clear();
                }
                None => {}
            }
            at += len.max(1);
        }
        keep(text, &signs, Decoding::Morse, edits);
    }
}

/// The letters and digits by their signs, a dash a 1 after a leading 1: `.-` is 0b101.
fn morse_letter(signs: &[u8]) -> Option<char> {
    const LETTERS: &[u8; 64] = b"  etianmsurwdkgohvf l pjbxcyzq  54 3   2& +    16=/   ( 7   8 90";
    if signs.is_empty() || signs.len() > 6 {
        return None;
    }
    let index = signs.iter().fold(1usize, |sum, s| sum << 1 | usize::from(*s != b'.'));
    let rare = match index {
        0b1010101 => Some('.'),
        0b1110011 => Some(','),
        0b1001100 => Some('?'),
        0b1101011 => Some('!'),
        0b1011110 => Some('\''),
        0b1111000 => Some(':'),
        0b1101010 => Some(';'),
        0b1100001 => Some('-'),
        0b1010010 => Some('"'),
        0b1011010 => Some('@'),
        0b1101101 => Some(')'),
        0b1001101 => Some('_'),
        _ => None,
    };
    rare.or_else(|| LETTERS.get(index).filter(|c| **c != b' ').map(|c| char::from(*c)))
}

/// Letters in dots 1 to 6, a to z.
const BRAILLE: [u8; 26] =
    [1, 3, 9, 25, 17, 11, 27, 19, 10, 26, 5, 7, 13, 29, 21, 15, 31, 23, 14, 30, 37, 39, 58, 45, 61, 53];

fn braille(text: &str, edits: &mut Edits) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for at in memchr::memchr_iter(0xe2, bytes) {
        if at < done || !bytes.get(at + 1).is_some_and(|b| (0xa0..0xa4).contains(b)) {
            continue;
        }
        let cell = |c: &char| ('\u{2800}'..'\u{2900}').contains(c) || c.is_ascii_whitespace();
        let run = text[at..].char_indices().take_while(|(_, c)| cell(c));
        let mut number = false;
        let mut decoded = String::new();
        let mut list = Vec::new();
        for (i, c) in run {
            done = at + i + c.len_utf8();
            let sign = braille_sign(c, &mut number);
            decoded.extend(sign);
            list.push((at + i..done, sign));
        }
        if list.len() >= 4
            && (letters::is_words(&decoded) || decoded.bytes().filter(u8::is_ascii_digit).count() >= 8)
        {
            for (range, sign) in list {
                edits.push(range, &sign.map_or(String::new(), String::from), Decoding::Braille);
            }
        }
    }
}

/// What a cell stands for, nothing for signs that only say how to read what follows.
fn braille_sign(c: char, number: &mut bool) -> Option<char> {
    let dots = match c {
        '\u{2800}'..='\u{283f}' => (c as u32 - 0x2800) as u8,
        '\u{2840}'..='\u{28ff}' => return None,
        _ => 0,
    };
    match dots {
        0b111100 => {
            *number = true;
            return None;
        }
        0b100000 => return None,
        _ => {}
    }
    let letter = BRAILLE.iter().position(|b| *b == dots).map(|i| b'a' + i as u8);
    *number &= letter.is_some_and(|l| l <= b'j');
    Some(match (letter, dots) {
        (Some(l), _) if *number => char::from(b'0' + (l - b'a' + 1) % 10),
        (Some(l), _) => char::from(l),
        (None, 2) => ',',
        (None, 6) => ';',
        (None, 18) => ':',
        (None, 50) => '.',
        (None, 22) => '!',
        (None, 38) => '?',
        (None, 4) => '\'',
        (None, 36) => '-',
        _ => ' ',
    })
}
