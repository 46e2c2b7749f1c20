//! Whether something reads as text: how letters follow each other.
//!
//! One table holds, for every two letters (and the border of a word), how much more often the second
//! follows the first in running text than chance would have it, in bits. It is counted over the eight
//! languages of the training texts, accents left out, so a mean above zero says "some language" and not
//! which. `examples/train_injection.rs` makes it.

/// 26 letters and the border of a word, which is 0.
pub const SYMBOLS: usize = 27;
/// What 1 bit is in the table.
pub const UNIT: f32 = 16.0;
/// Text as it is written scores about 1 bit a letter, random letters about -1.
const LEAST_BITS: f32 = 0.25;

/// `[before, after]`.
static TABLE: &[u8; SYMBOLS * SYMBOLS] = include_bytes!("letters.bin");

/// The letter without its accent, as 1 to 26, or 0 for what is none.
pub fn symbol(c: char) -> usize {
    match c {
        'a'..='z' => c as usize - 'a' as usize + 1,
        'A'..='Z' => c as usize - 'A' as usize + 1,
        '\0'..='\u{7f}' => 0,
        _ => plain(c).map_or(0, |b| usize::from(b - b'a') + 1),
    }
}

/// The small Latin letter under an accent.
pub fn plain(c: char) -> Option<u8> {
    Some(match c {
        'à'..='å' | 'À'..='Å' | 'ā'..='ą' | 'ª' | 'æ' | 'Æ' => b'a',
        'ç' | 'Ç' | 'Ć'..='č' => b'c',
        'Ď'..='đ' | 'ð' | 'Ð' => b'd',
        'è'..='ë' | 'È'..='Ë' | 'Ē'..='ě' => b'e',
        'Ĝ'..='ģ' => b'g',
        'Ĥ'..='ħ' => b'h',
        'ì'..='ï' | 'Ì'..='Ï' | 'Ĩ'..='ı' => b'i',
        'Ĵ' | 'ĵ' => b'j',
        'Ķ'..='ĸ' => b'k',
        'Ĺ'..='ł' => b'l',
        'ñ' | 'Ñ' | 'Ń'..='ŋ' => b'n',
        'ò'..='ö' | 'ø' | 'Ò'..='Ö' | 'Ø' | 'Ō'..='œ' | 'º' => b'o',
        'Ŕ'..='ř' => b'r',
        'Ś'..='š' | 'ß' => b's',
        'Ţ'..='ŧ' => b't',
        'ù'..='ü' | 'Ù'..='Ü' | 'Ũ'..='ų' => b'u',
        'Ŵ' | 'ŵ' => b'w',
        'ý' | 'ÿ' | 'Ý' | 'Ŷ'..='Ÿ' => b'y',
        'Ź'..='ž' => b'z',
        '\u{1cd}'..='\u{233}' | '\u{1e00}'..='\u{1eff}' => return rare(c),
        _ => return None,
    })
}

/// The letter under accents that no language here writes, but that marks in disguise make.
fn rare(c: char) -> Option<u8> {
    let mut first = None;
    unicode_normalization::char::decompose_canonical(c, |part| first = first.or(Some(part)));
    first.filter(char::is_ascii_alphabetic).map(|l| l.to_ascii_lowercase() as u8)
}

/// What it says for `after` that `before` stands before it, in units of `1 / UNIT` bits.
pub(super) fn pair(before: usize, after: usize) -> i32 {
    i32::from(i8::from_ne_bytes([TABLE[before * SYMBOLS + after]]))
}

/// The sum over a text and how many pairs it has. What is not a letter counts once however long it is.
pub(super) fn sum(text: &str) -> (i32, usize) {
    let (mut before, mut total, mut n) = (0, 0, 0);
    for c in text.chars().chain([' ']) {
        let after = symbol(c);
        if before != 0 || after != 0 {
            total += pair(before, after);
            n += 1;
        }
        before = after;
    }
    (total, n)
}

/// Mean bits a letter.
pub(super) fn bits(text: &str) -> f32 {
    let (total, n) = sum(text);
    if n == 0 { -1.0 } else { total as f32 / UNIT / n as f32 }
}

/// Whether a short text is words by its letters: few other signs, and letters that follow each other as
/// they do somewhere.
pub(super) fn is_words(text: &str) -> bool {
    let (mut all, mut letters) = (0usize, 0usize);
    for c in text.chars() {
        all += 1;
        letters += usize::from(c.is_alphabetic() || c == ' ');
    }
    let foreign = text.chars().filter(|c| c.is_alphabetic() && symbol(*c) == 0).count();
    // Of letters that the table does not know, nothing can be said.
    all >= 3 && letters * 4 >= all * 3 && (foreign * 2 > letters || bits(text) >= LEAST_BITS)
}

/// The text that decoded bytes are, if they read as one. From `enough` bytes on, that all of them can be
/// printed is evidence enough: chance would not have it.
pub(super) fn text_of(bytes: &[u8], enough: usize) -> Option<String> {
    // A part of something long may begin and end within a character.
    let bytes = if bytes.len() < LONG { bytes } else { whole_characters(bytes) };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text.to_owned(),
        _ => utf16(bytes)?,
    };
    let printed = text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r'));
    let known = text.chars().filter(|c| c.is_ascii() || c.is_alphanumeric()).count();
    let n = text.chars().count();
    let sound = n >= 3 && printed && known * 10 >= n * 7;
    (sound && (bytes.len() >= enough || is_words(&text))).then_some(text)
}

/// Bytes from which on a text is evidence enough even if a character at its ends is not whole.
const LONG: usize = 1 << 10;

/// Without the rest of a character at the beginning and the beginning of one at the end.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    let rest = bytes.iter().take(3).take_while(|b| (0x80..0xC0).contains(*b)).count();
    let bytes = &bytes[rest..];
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    }
}

/// Two bytes a character, the low one first, as some shells want their commands.
fn utf16(bytes: &[u8]) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() < 4 || pairs.iter().filter(|p| p[1] == 0).count() * 4 < pairs.len() * 3
    {
        return None;
    }
    let text: String =
        char::decode_utf16(pairs.iter().map(|p| u16::from_le_bytes(*p))).collect::<Result<_, _>>().ok()?;
    (!text.contains('\0')).then_some(text)
}
