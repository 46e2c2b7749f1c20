//! Text in characters that nobody sees: tags, variation selectors, zero-width bits.

use std::ops::Range;

use super::edits::Edits;
use super::{Decoding, letters};

pub(super) fn find(text: &str, edits: &mut Edits) {
    let bytes = text.as_bytes();
    // The first bytes of everything there is: planes 14, the selectors, the zero-width ones.
    let mut done = 0;
    for at in memchr::memchr3_iter(0xf3, 0xef, 0xe2, bytes) {
        if at < done {
            continue;
        }
        let Some(first) = text[at..].chars().next() else { continue };
        for (belongs, decode) in KINDS {
            if belongs(first) {
                let end = text[at..].find(|c| !belongs(c)).map_or(text.len(), |len| at + len);
                decode(text, at..end, edits);
                done = end;
            }
        }
    }
}

type Kind = (fn(char) -> bool, fn(&str, Range<usize>, &mut Edits));
const KINDS: [Kind; 3] = [(is_tag, tags), (is_selector, selectors), (is_bit, bits)];

/// Invisible copies of ASCII.
pub(super) fn is_tag(c: char) -> bool {
    ('\u{e0001}'..='\u{e007f}').contains(&c)
}

/// Variation selectors, 256 of them in two blocks.
pub(super) fn is_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

fn is_bit(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

fn tags(text: &str, run: Range<usize>, edits: &mut Edits) {
    // The flags of England, Scotland and Wales are spelled in tags.
    if text[..run.start].ends_with('\u{1f3f4}') {
        return;
    }
    for (i, c) in text[run.clone()].char_indices() {
        let plain = char::from_u32(c as u32 - 0xe0000).filter(|p| (' '..='~').contains(p));
        let start = run.start + i;
        let decoded = plain.map_or(String::new(), String::from);
        edits.push(start..start + c.len_utf8(), &decoded, Decoding::Tags);
    }
}

fn selectors(text: &str, run: Range<usize>, edits: &mut Edits) {
    let bytes: Vec<u8> = text[run.clone()]
        .chars()
        .map(|c| match c {
            '\u{fe00}'..='\u{fe0f}' => c as u32 - 0xfe00,
            _ => c as u32 - 0xe0100 + 16,
        } as u8)
        .collect();
    if let Some(decoded) = letters::text_of(&bytes, 4) {
        edits.push(run, &apart(&decoded), Decoding::VariationSelectors);
    }
}

/// What is hidden between two words is a text of its own.
fn apart(decoded: &str) -> String {
    format!("\n{decoded}\n")
}

/// Fewer bits than three characters have are there for other reasons.
const FEWEST_BITS: usize = 21;

fn bits(text: &str, run: Range<usize>, edits: &mut Edits) {
    let signs: Vec<char> = text[run.clone()].chars().collect();
    if signs.len() < FEWEST_BITS {
        return;
    }
    let mut kinds = signs.clone();
    kinds.sort_unstable();
    kinds.dedup();
    let &[a, b, ..] = kinds.as_slice() else { return };
    // A third sign, where there is one, separates.
    let stream: Vec<char> = signs.into_iter().filter(|c| *c == a || *c == b).collect();
    for (zero_is_a, width) in [(true, 8), (false, 8), (true, 7), (false, 7)] {
        let zero = if zero_is_a { a } else { b };
        let bytes: Vec<u8> = stream
            .chunks_exact(width)
            .map(|byte| byte.iter().fold(0u8, |sum, c| sum << 1 | u8::from(*c != zero)))
            .collect();
        if let Some(decoded) = letters::text_of(&bytes, 4) {
            edits.push(run, &apart(&decoded), Decoding::ZeroWidthBits);
            return;
        }
    }
}
