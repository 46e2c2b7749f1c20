//! Lists of character codes: `105 103 110`, `0x69,0x67`, `01101001 01100111`, `151 147 156`,
//! `chr(105)+chr(103)`.
//!
//! A list of numbers says nothing about what it is, so each notation is tried and the one whose text has
//! the best letters is taken, if they are good.

use std::ops::Range;

use super::Decoding;
use super::edits::Edits;
use super::letters;
use super::runs::{Class, Runs, class};

/// Digits of all notations, what stands between them, and the letters of `chr` and `char`.
static CODES: Class =
    class(&[(b'0', b'9'), (b'a', b'f'), (b'A', b'F')], b"xXoOhHrRcC \t\r\n,;:|/+-_.()[]{}'\"\\$&#");
/// Four codes of two digits and three signs between them.
const SHORTEST: usize = 11;
/// How many codes make a text.
const FEWEST: usize = 4;
/// How far apart two codes can be.
const APART: usize = 12;

#[derive(Clone, Copy)]
enum Notation {
    Binary,
    Hexadecimal,
    Decimal,
    Octal,
}

pub(super) fn find(text: &str, edits: &mut Edits) {
    for run in Runs::new(text, &CODES, SHORTEST) {
        let tokens = tokens(text, run);
        let notations = [Notation::Binary, Notation::Hexadecimal, Notation::Decimal, Notation::Octal];
        let best = notations.map(|n| read(text, &tokens, n)).into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
        for (range, decoded) in best.into_iter().flat_map(|(_, list)| list) {
            edits.push(range, &decoded, Decoding::CharCodes);
        }
    }
}

/// Where the numbers are.
fn tokens(text: &str, run: Range<usize>) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = run.start;
    while at < run.end {
        let len = bytes[at..run.end].iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        if len > 0 && !matches!(&text[at..at + len], "chr" | "char" | "Chr" | "CHR" | "CHAR") {
            tokens.push(at..at + len);
        }
        at += len.max(1);
    }
    tokens
}

/// A text as edits, and how good its letters are.
type Reading = (f32, Vec<(Range<usize>, String)>);

fn read(text: &str, tokens: &[Range<usize>], notation: Notation) -> Reading {
    let mut best = f32::NEG_INFINITY;
    let mut list = Vec::new();
    let mut group: Vec<(Range<usize>, Vec<u32>)> = Vec::new();
    let mut end_group = |group: &mut Vec<(Range<usize>, Vec<u32>)>| {
        if let Some((score, found)) = characters(group) {
            best = best.max(score);
            list.extend(found);
        }
        group.clear();
    };
    for token in tokens {
        if group.last().is_some_and(|(last, _)| last.end + APART < token.start) {
            end_group(&mut group);
        }
        match codes(&text[token.clone()], notation) {
            Some(codes) => group.push((token.clone(), codes)),
            None => end_group(&mut group),
        }
    }
    end_group(&mut group);
    (best, list)
}

/// The codes that one token stands for.
fn codes(token: &str, notation: Notation) -> Option<Vec<u32>> {
    let split = |digits: &str, width: usize, radix: u32| -> Option<Vec<u32>> {
        (0..digits.len())
            .step_by(width)
            .map(|i| u32::from_str_radix(digits.get(i..i + width)?, radix).ok())
            .collect()
    };
    let prefixed = |prefixes: [&str; 2]| prefixes.iter().find_map(|p| token.strip_prefix(p));
    match notation {
        Notation::Binary => match prefixed(["0b", "0B"]).unwrap_or(token) {
            digits if digits.len() == 7 => split(digits, 7, 2),
            digits if digits.len().is_multiple_of(8) => split(digits, 8, 2),
            digits if digits.len().is_multiple_of(7) => split(digits, 7, 2),
            _ => None,
        },
        Notation::Hexadecimal => match prefixed(["0x", "0X"]) {
            // An odd number of digits is one code, an even one as many bytes.
            Some(digits) if digits.len() <= 2 || !digits.len().is_multiple_of(2) => {
                split(digits, digits.len().max(1), 16)
            }
            Some(digits) => split(digits, 2, 16),
            None if token.len() == 2 => split(token, 2, 16),
            None => None,
        },
        Notation::Decimal if (2..=6).contains(&token.len()) => Some(vec![token.parse().ok()?]),
        Notation::Octal => match prefixed(["0o", "\\"]).unwrap_or(token) {
            digits if (2..=4).contains(&digits.len()) => split(digits, digits.len(), 8),
            _ => None,
        },
        Notation::Decimal => None,
    }
}

/// The text that codes in a row make, character by character.
fn characters(group: &[(Range<usize>, Vec<u32>)]) -> Option<Reading> {
    let count: usize = group.iter().map(|(_, codes)| codes.len()).sum();
    if count < FEWEST {
        return None;
    }
    let end_of = |i: usize| group.get(i + 1).map_or(group[i].0.end, |next| next.0.start);
    let mut list = utf8(group, end_of).unwrap_or_default();
    if list.is_empty() {
        for (i, (range, codes)) in group.iter().enumerate() {
            let decoded: Option<String> = codes.iter().map(|c| char::from_u32(*c)).collect();
            list.push((range.start..end_of(i), decoded?));
        }
    }
    let text: String = list.iter().map(|(_, c)| c.as_str()).collect();
    let shown = text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r'));
    // Digits have no letters to be judged by, and card numbers are worth hiding.
    let number = count >= 8 && text.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '-'));
    (shown && (number || letters::is_words(&text))).then(|| (letters::bits(&text), list))
}

/// Codes that are bytes of UTF-8, if some are no characters of their own.
fn utf8(
    group: &[(Range<usize>, Vec<u32>)],
    end_of: impl Fn(usize) -> usize,
) -> Option<Vec<(Range<usize>, String)>> {
    let bytes: Vec<u8> = group
        .iter()
        .map(|(_, codes)| u8::try_from(*codes.first()?).ok().filter(|_| codes.len() == 1))
        .collect::<Option<_>>()?;
    let text = std::str::from_utf8(&bytes).ok().filter(|t| !t.is_ascii())?;
    let pieces = text.char_indices().map(|(i, c)| {
        let last = i + c.len_utf8() - 1;
        (group[i].0.start..end_of(last), c.to_string())
    });
    Some(pieces.collect())
}
