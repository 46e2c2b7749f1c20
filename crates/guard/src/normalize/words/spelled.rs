//! Letters spelled one by one: by the words of the radio alphabet, or set apart by spaces.

use std::ops::Range;

use super::{Sign, keep};
use crate::normalize::Decoding;
use crate::normalize::edits::Edits;

/// The words for a to z, and other spellings of them.
const NATO: [[&str; 2]; 26] = [
    ["alfa", "alpha"],
    ["bravo", ""],
    ["charlie", ""],
    ["delta", ""],
    ["echo", ""],
    ["foxtrot", ""],
    ["golf", ""],
    ["hotel", ""],
    ["india", ""],
    ["juliett", "juliet"],
    ["kilo", ""],
    ["lima", ""],
    ["mike", ""],
    ["november", ""],
    ["oscar", ""],
    ["papa", ""],
    ["quebec", ""],
    ["romeo", ""],
    ["sierra", ""],
    ["tango", ""],
    ["uniform", ""],
    ["victor", ""],
    ["whiskey", "whisky"],
    ["x-ray", "xray"],
    ["yankee", ""],
    ["zulu", ""],
];
/// Digits, which count only among letters.
const DIGITS: [&str; 11] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "niner"];

/// What five words of the alphabet span at least, so that one of them stands at each step.
const STEP: usize = 24;
/// How many letters are no chance.
const FEWEST: usize = 5;
/// How far apart two words can be.
const APART: usize = 6;

fn nato_letter(word: &[u8]) -> Option<char> {
    let letter = word.first()?.to_ascii_lowercase();
    let spellings = NATO.get(usize::from(letter.checked_sub(b'a')?))?;
    spellings.iter().any(|n| n.as_bytes().eq_ignore_ascii_case(word)).then_some(char::from(letter))
}

fn nato_digit(word: &[u8]) -> Option<char> {
    let i = DIGITS.iter().position(|d| d.as_bytes().eq_ignore_ascii_case(word))?;
    char::from_digit(i.min(9) as u32, 10)
}

/// The word around a byte, as far as one of the alphabet can reach.
fn word_at(bytes: &[u8], at: usize) -> Range<usize> {
    let back = bytes[..at].iter().rev().take(9).take_while(|b| b.is_ascii_alphabetic()).count();
    let on = bytes[at..].iter().take(9).take_while(|b| b.is_ascii_alphabetic()).count();
    let (start, end) = (at - back, at + on);
    // One of the words has a sign in it.
    if bytes[start..end].eq_ignore_ascii_case(b"x") && bytes[end..].iter().take(4).eq(b"-ray") {
        return start..end + 4;
    }
    if bytes[start..end].eq_ignore_ascii_case(b"ray")
        && start >= 2
        && bytes[start - 2..start].eq_ignore_ascii_case(b"x-")
    {
        return start - 2..end;
    }
    start..end
}

pub(super) fn nato(text: &str, edits: &mut Edits) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let word = word_at(bytes, at);
        if nato_letter(&bytes[word.clone()]).is_none() {
            at += STEP;
            continue;
        }
        let signs = nato_row(bytes, word);
        at = signs.last().map_or(at, |(range, _)| range.end) + 1;
        if signs.iter().filter(|(_, c)| c.is_ascii_alphabetic()).count() >= FEWEST {
            keep(text, &signs, Decoding::Nato, edits);
        }
    }
}

/// All letters in a row around one of them.
fn nato_row(bytes: &[u8], word: Range<usize>) -> Vec<Sign> {
    let read =
        |word: &Range<usize>| nato_letter(&bytes[word.clone()]).or_else(|| nato_digit(&bytes[word.clone()]));
    let mut before = Vec::new();
    let mut first = word.clone();
    loop {
        let gap =
            bytes[..first.start].iter().rev().take(APART).take_while(|b| !b.is_ascii_alphabetic()).count();
        let Some(last) = (first.start - gap).checked_sub(1).filter(|_| gap > 0) else { break };
        let word = word_at(bytes, last);
        let Some(c) = read(&word) else { break };
        first = word.clone();
        before.push((word, c));
    }
    before.reverse();
    let mut signs = before;
    let mut next = Some(word);
    while let Some(word) = next.take() {
        let Some(c) = read(&word) else { break };
        let gap = bytes[word.end..].iter().take(APART).take_while(|b| !b.is_ascii_alphabetic()).count();
        let start = word.end + gap;
        signs.push((word, c));
        if gap > 0 && start < bytes.len() {
            next = Some(word_at(bytes, start));
        }
    }
    signs
}

/// Two letters with a sign on each side are seen in every window of this many bytes.
const WINDOW: usize = 8;

/// `i g n o r e`, also with points, dashes and the like.
pub(super) fn set_apart(text: &str, edits: &mut Edits) {
    let bytes = text.as_bytes();
    let lone = |at: usize| {
        let sign = |i: usize| bytes.get(i).is_none_or(|b| is_gap(*b));
        bytes.get(at).is_some_and(u8::is_ascii_alphabetic) && (at == 0 || sign(at - 1)) && sign(at + 1)
    };
    let mut at = 1;
    while at + 2 < bytes.len() {
        // One of two neighbours is a letter, and the next letter is two on.
        let start = if lone(at) { at } else { at + 1 };
        if !(lone(start) && lone(start + 2)) {
            at += WINDOW;
            continue;
        }
        let mut start = start;
        while start >= 2 && lone(start - 2) {
            start -= 2;
        }
        let mut signs: Vec<Sign> = Vec::new();
        let mut next = start;
        while lone(next) {
            signs.push((next..next + 1, char::from(bytes[next])));
            let gap = bytes[next + 1..].iter().take(4).take_while(|b| is_gap(**b)).count();
            next += 1 + gap;
        }
        at = next + 1;
        if signs.len() >= 7 {
            keep(text, &signs, Decoding::SpacedLetters, edits);
        }
    }
}

fn is_gap(b: u8) -> bool {
    matches!(b, b' ' | b'.' | b'-' | b'_' | b'*' | b',' | b'|' | b'/' | b'~' | b'\n' | b'\t')
}
