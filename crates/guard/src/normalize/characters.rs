//! Characters made plain: NFKC, digits of all scripts, what is not seen left out, piled-up marks left
//! out; and in a second step letters of other scripts in words that look Latin.
//!
//! Text in its own script stays as it is: a word becomes Latin only if all of it can.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{canonical_combining_class, is_combining_mark};

use super::Decoding;
use super::edits::Edits;
use super::hidden::{is_selector, is_tag};
use super::letters;

/// The readings with characters folded, and with look-alikes made Latin.
pub(super) fn fold(text: &str) -> Vec<Edits> {
    let mut folded = Edits::default();
    let mut latin = Edits::default();
    let mut at = 0;
    while let Some(start) = next_foreign(text, at) {
        at = cluster(text, start, at, &mut folded);
    }
    let mut at = 0;
    // Where the last word ends that is surely disguised.
    let mut sure = None;
    while let Some(start) = next_foreign(text, at) {
        at = word(text, start, &mut sure, &mut latin);
    }
    vec![folded, latin]
}

/// The next character beyond ASCII. Blocks of plain ASCII are passed at the speed of memory.
fn next_foreign(text: &str, mut at: usize) -> Option<usize> {
    const BLOCK: usize = 64;
    let bytes = text.as_bytes();
    while bytes.get(at..at + BLOCK).is_some_and(|block| block.is_ascii()) {
        at += BLOCK;
    }
    bytes.get(at..)?.iter().position(|b| !b.is_ascii()).map(|i| at + i)
}

/// Whether nobody sees it. Joiners and selectors belong to the scripts and pictures that need them.
fn is_invisible(c: char, before: Option<char>) -> bool {
    match c {
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}' | '\u{200b}' => {
            true
        }
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' => true,
        '\u{200c}' | '\u{200d}' => {
            before.is_none_or(|b| b.is_ascii() || letters::symbol(b) > 0 || is_invisible(b, None))
        }
        _ if is_tag(c) => before != Some('\u{1f3f4}'),
        _ if is_selector(c) => before.is_none_or(|b| b.is_ascii() || b.is_alphabetic() || is_selector(b)),
        _ => false,
    }
}

fn is_mark(c: char) -> bool {
    canonical_combining_class(c) != 0 || matches!(c, '\u{20d0}'..='\u{20ff}')
}

/// More marks than this on one letter are noise in every script.
const MOST_MARKS: usize = 3;

/// Folds the character at `start` with the marks on it, and says where the next one is. What was looked at
/// before `floor` stays as it is.
fn cluster(text: &str, start: usize, floor: usize, edits: &mut Edits) -> usize {
    let Some(c) = text[start..].chars().next() else { return text.len() };
    let before = text[..start].chars().next_back().filter(|b| start - b.len_utf8() >= floor);
    if is_invisible(c, text[..start].chars().next_back()) {
        let mut end = start;
        let mut last = text[..start].chars().next_back();
        for c in text[start..].chars().take_while(|c| {
            let hidden = is_invisible(*c, last);
            last = if is_tag(*c) && last == Some('\u{1f3f4}') { last } else { Some(*c) };
            hidden
        }) {
            end += c.len_utf8();
        }
        edits.push(start..end, "", Decoding::Invisible);
        return end;
    }
    // A mark goes with the letter before it.
    let (base, base_at) = match before {
        Some(b) if is_mark(c) => (b, start - b.len_utf8()),
        _ => (c, start),
    };
    let marks_at = base_at + base.len_utf8();
    let marks = text[marks_at..].chars().take_while(|m| is_mark(*m) || is_jamo(*m)).count();
    let len: usize = text[marks_at..].chars().take(marks).map(char::len_utf8).sum();
    let range = base_at..marks_at + len;
    if let Some((decoded, how)) = folded(base, &text[marks_at..range.end], marks)
        && decoded != text[range.clone()]
    {
        edits.push(range.clone(), &decoded, how);
    }
    range.end
}

/// Vowels and final consonants of Hangul, which compose with what is before them.
fn is_jamo(c: char) -> bool {
    ('\u{1161}'..='\u{11ff}').contains(&c)
}

fn folded(base: char, marks: &str, n: usize) -> Option<(String, Decoding)> {
    if let Some(digit) = digit(base).filter(|_| n == 0) {
        return Some((digit.to_string(), Decoding::Compatibility));
    }
    let bare = || std::iter::once(base).nfkd().filter(|c| !is_combining_mark(*c)).collect();
    if n > MOST_MARKS && !is_jamo(marks.chars().next()?) {
        return Some((bare(), Decoding::CombiningMarks));
    }
    if n == 0 && base.is_ascii() {
        return None;
    }
    let plain: String = std::iter::once(base).chain(marks.chars()).nfkc().collect();
    let latin = plain.chars().next().is_some_and(|c| c.is_ascii() || letters::symbol(c) > 0);
    // Marks that make no letter of any language.
    if latin && n > 0 && plain.chars().any(is_mark) {
        return Some((bare(), Decoding::CombiningMarks));
    }
    Some((plain, Decoding::Compatibility))
}

/// Where the decimal digits of scripts begin that NFKC leaves alone.
const ZEROS: [u32; 26] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1b50, 0x1bb0, 0x1c40, 0xa8d0,
];

fn digit(c: char) -> Option<char> {
    let zero = ZEROS.iter().find(|z| (**z..**z + 10).contains(&(c as u32)))?;
    char::from_digit(c as u32 - zero, 10)
}

/// Small capitals, letters upside down and letters in boxes, which the Unicode table leaves out.
const STYLED: [(&str, &str); 2] =
    [("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz"), ("ɐɔǝɟƃɥıɾʞɯɹʇʌʍʎ", "acefghijkmrtvwy")];

/// Characters that look like a Latin letter or a digit: Unicode's table of confusables, turned around.
static LATIN: LazyLock<HashMap<char, char>> = LazyLock::new(|| {
    let all = ('\u{80}'..'\u{1f200}').filter(|c| c.is_alphanumeric() && letters::symbol(*c) == 0);
    let mut table: HashMap<char, char> = all.filter_map(|c| Some((c, prototype(c)?))).collect();
    for (styled, plain) in STYLED {
        table.extend(styled.chars().zip(plain.chars()));
    }
    for first in [0x1f150, 0x1f170, 0x1f1e6] {
        table.extend(
            ('A'..='Z').enumerate().filter_map(|(i, l)| Some((char::from_u32(first + i as u32)?, l))),
        );
    }
    table
});

fn prototype(c: char) -> Option<char> {
    let mut buffer = [0; 4];
    let skeleton: String =
        unicode_security::confusable_detection::skeleton(c.encode_utf8(&mut buffer)).collect();
    match skeleton.as_str() {
        "rn" => Some('m'),
        // The table takes l for everything that is a line.
        "l" if c.is_uppercase() => Some('I'),
        single => {
            let mut chars = single.chars();
            chars.next().filter(|s| s.is_ascii_alphanumeric() && chars.next().is_none())
        }
    }
}

/// A word of its own script can consist of look-alikes by chance if it is shorter,
const LONG: usize = 4;
/// unless another word so many bytes before it mixes scripts.
const NEAR: usize = 48;

/// Makes the word around `start` Latin if all of it can be, and says where it ends.
fn word(text: &str, start: usize, sure: &mut Option<usize>, edits: &mut Edits) -> usize {
    let begins = text[..start].bytes().rev().take(64).take_while(u8::is_ascii_alphanumeric).count();
    let mut found: Vec<(Range<usize>, char)> = Vec::new();
    let (mut latin, mut foreign, mut end) = (begins > 0, false, start);
    for c in text[start..].chars() {
        let alike = if c.is_ascii() { None } else { LATIN.get(&c) };
        if !c.is_alphanumeric() && alike.is_none() {
            break;
        }
        match alike {
            Some(l) => found.push((end..end + c.len_utf8(), *l)),
            None if c.is_ascii() || letters::symbol(c) > 0 => latin = true,
            None => foreign = true,
        }
        end += c.len_utf8();
    }
    let near = sure.is_some_and(|last| start - last < NEAR);
    if !foreign && !found.is_empty() && (latin || found.len() >= LONG || near) {
        if latin {
            *sure = Some(end);
        }
        for (range, l) in found {
            edits.push(range, l.encode_utf8(&mut [0; 4]), Decoding::Confusables);
        }
    }
    // Something else than a word.
    if end == start { start + text[start..].chars().next().map_or(1, char::len_utf8) } else { end }
}
