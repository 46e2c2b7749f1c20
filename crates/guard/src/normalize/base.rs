//! Base64, base32, base16, Ascii85 and uuencode: runs of bytes of an alphabet, decoded where the
//! result reads as text.

use std::ops::Range;

use super::Decoding;
use super::edits::Edits;
use super::letters;
use super::runs::{Class, Runs, class};

/// Letters, digits and the signs of both base64 alphabets; the alphabets of base32 and base16 are in it.
static BASE64: Class = class(&[(b'A', b'Z'), (b'a', b'z'), (b'0', b'9')], b"+/-_");
/// Everything from `!` to `~`: Ascii85 and the Base85 of RFC 1924 together.
static VISIBLE: Class = class(&[(b'!', b'~')], b"");

/// Shorter runs are words. Twelve characters of base64 are nine of text.
const SHORTEST: usize = 12;
/// Fewer signs are not worth the look, nor telling apart from code.
const SHORTEST_85: usize = 15;
/// How many bytes of text are sure not to have come by chance.
const ENOUGH: usize = 12;

pub(super) fn find(text: &str, edits: &mut Edits) {
    every(text, &BASE64, SHORTEST, |range| {
        one(text, range.clone(), edits) || (!text[range.clone()].contains('\n') && parts(text, range, edits))
    });
    delimited85(text, edits);
    every(text, &VISIBLE, SHORTEST_85, |range| ascii85(text, range, edits));
    uuencode(text, edits);
}

/// Tries every run together with the lines that go on with it, and where that gives nothing on its own.
/// A line is looked at twice at most, however many lines there are.
fn every(text: &str, class: &Class, least: usize, mut decodes: impl FnMut(Range<usize>) -> bool) {
    let (mut done, mut tried) = (0, 0);
    for run in Runs::new(text, class, least) {
        if run.start < done {
            continue;
        }
        if run.start >= tried {
            let whole = wrapped(text, run.clone(), class);
            tried = whole.end;
            if whole.end > run.end && decodes(whole.clone()) {
                done = whole.end;
                continue;
            }
        }
        decodes(padded(text, run));
    }
}

/// The run with all lines that go on with it: line breaks between them, and nothing else.
fn wrapped(text: &str, run: Range<usize>, class: &Class) -> Range<usize> {
    let bytes = text.as_bytes();
    let mut end = run.end;
    loop {
        let gap = bytes[end..].iter().take(16).take_while(|b| b"\r\n\t >".contains(b)).count();
        if gap == 0 || !bytes[end..end + gap].contains(&b'\n') {
            break;
        }
        let start = end + gap;
        let len = bytes[start..].iter().take_while(|b| class[usize::from(**b)]).count();
        let after = bytes[start + len..].iter().find(|b| **b != b'=');
        // A line is all alphabet; a word at the beginning of one is not.
        if len == 0
            || after.is_some_and(|b| !b.is_ascii_whitespace() && !b"\"'`)]}<>,;.".contains(b))
            || after == Some(&b' ')
        {
            break;
        }
        end = start + len;
    }
    padded(text, run.start..end)
}

fn padded(text: &str, run: Range<usize>) -> Range<usize> {
    let padding = text.as_bytes()[run.end..].iter().take(6).take_while(|b| **b == b'=').count();
    run.start..run.end + padding
}

/// The longest pieces between signs that are as often borders as members of the alphabet.
fn parts(text: &str, run: Range<usize>, edits: &mut Edits) -> bool {
    let bytes = text.as_bytes();
    for borders in [&b"/+"[..], b"-_", b"/+-_"] {
        let mut found = false;
        let mut start = run.start;
        while start < run.end {
            let len = bytes[start..run.end].iter().take_while(|b| !borders.contains(b)).count();
            if len >= SHORTEST && len < run.len() {
                found |= one(text, padded(text, start..start + len), edits);
            }
            start += len + 1;
        }
        if found {
            return true;
        }
    }
    false
}

/// Decodes a range by the first alphabet that gives text.
fn one(text: &str, range: Range<usize>, edits: &mut Edits) -> bool {
    let signs: Vec<u8> = text.as_bytes()[range.clone()]
        .iter()
        .copied()
        .filter(|b| !b.is_ascii_whitespace() && *b != b'=' && *b != b'>')
        .collect();
    let found = base16(&signs)
        .map(|t| (t, Decoding::Base16))
        .or_else(|| base32(&signs).map(|t| (t, Decoding::Base32)))
        .or_else(|| base64(&signs).map(|t| (t, Decoding::Base64)))
        .or_else(|| disguised(&signs).map(|t| (t, Decoding::Base64)));
    if let Some((decoded, how)) = &found {
        edits.push(range, decoded, *how);
    }
    found.is_some()
}

fn base16(signs: &[u8]) -> Option<String> {
    if !signs.len().is_multiple_of(2) || !signs.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let bytes = packed(signs, 4, |b| char::from(b).to_digit(16))?;
    // A number is sixteen digits, too, and many of them are printable; hardly one is digits again.
    let number = signs.iter().all(u8::is_ascii_digit) && !bytes.iter().all(u8::is_ascii_digit);
    letters::text_of(&bytes, if number { usize::MAX } else { ENOUGH })
}

fn base32(signs: &[u8]) -> Option<String> {
    let lower = signs.first()?.is_ascii_lowercase();
    let bytes = packed(signs, 5, |b| match b {
        b'A'..=b'Z' if !lower => Some(u32::from(b - b'A')),
        b'a'..=b'z' if lower => Some(u32::from(b - b'a')),
        b'2'..=b'7' => Some(u32::from(b - b'2') + 26),
        _ => None,
    })?;
    letters::text_of(&bytes, ENOUGH)
}

fn base64(signs: &[u8]) -> Option<String> {
    // Sixteen small letters are a word.
    let mixed = signs.iter().any(u8::is_ascii_lowercase) && signs.iter().any(|b| !b.is_ascii_lowercase());
    if signs.len() % 4 == 1 || !mixed {
        return None;
    }
    letters::text_of(&base64_bytes(signs)?, 9)
}

/// What base64 of either alphabet stands for, with or without padding.
pub(super) fn base64_bytes(signs: &[u8]) -> Option<Vec<u8>> {
    packed(
        signs.trim_ascii_end().strip_suffix(b"=").map_or(signs, |s| s.strip_suffix(b"=").unwrap_or(s)),
        6,
        |b| match b {
            b'A'..=b'Z' => Some(u32::from(b - b'A')),
            b'a'..=b'z' => Some(u32::from(b - b'a') + 26),
            b'0'..=b'9' => Some(u32::from(b - b'0') + 52),
            b'+' | b'-' => Some(62),
            b'/' | b'_' => Some(63),
            _ => None,
        },
    )
}

/// Base64 under a cipher, where letter statistics see nothing: turned by 13, backwards, or with
/// capital and small letters exchanged.
fn disguised(signs: &[u8]) -> Option<String> {
    if signs.len() < 2 * SHORTEST {
        return None;
    }
    let turned: Vec<u8> = signs.iter().map(|b| super::ciphers::rot13(*b)).collect();
    let reversed: Vec<u8> = signs.iter().rev().copied().collect();
    let mirrored: Vec<u8> = signs.iter().map(|b| super::ciphers::atbash(*b)).collect();
    base64(&turned).or_else(|| base64(&reversed)).or_else(|| base64(&mirrored))
}

/// The bytes of signs that stand for `width` bits each; bits that make no byte are dropped.
fn packed(signs: &[u8], width: u32, value: impl Fn(u8) -> Option<u32>) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(signs.len());
    let (mut bits, mut n) = (0u32, 0);
    for sign in signs {
        bits = (bits << width | value(*sign)?) & 0xffff;
        n += width;
        if n >= 8 {
            n -= 8;
            bytes.push((bits >> n) as u8);
        }
    }
    Some(bytes)
}

/// Ascii85 between its own signs, which may have line breaks anywhere.
fn delimited85(text: &str, edits: &mut Edits) {
    let bytes = text.as_bytes();
    let mut at = 0;
    for close in memchr::memmem::find_iter(bytes, b"~>") {
        if let Some(open) = memchr::memmem::rfind(&bytes[at..close], b"<~") {
            let inner: Vec<u8> =
                bytes[at + open + 2..close].iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
            if let Some(decoded) = base85(&inner, adobe).and_then(|b| letters::text_of(&b, 4)) {
                edits.push(at + open..close + 2, &decoded, Decoding::Ascii85);
            }
        }
        at = close + 2;
    }
}

fn ascii85(text: &str, range: Range<usize>, edits: &mut Edits) -> bool {
    let signs = text.as_bytes()[range.clone()].iter().filter(|b| !b.is_ascii_alphanumeric()).count();
    // Long words and paths have few signs.
    signs * 12 >= range.len() && tried(text, range, edits)
}

/// Decodes a range in either base 85, with or without the quotes around it.
fn tried(text: &str, range: Range<usize>, edits: &mut Edits) -> bool {
    let bytes = text.as_bytes();
    let quoted = b"\"'`([{<".contains(&bytes[range.start]);
    let inner = range.start + 1..range.end.saturating_sub(1).max(range.start + 1);
    let candidates = [Some(range), quoted.then_some(inner)];
    for range in candidates.into_iter().flatten() {
        let signs: Vec<u8> =
            bytes[range.clone()].iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
        for alphabet in [adobe as fn(u8) -> Option<u32>, rfc1924] {
            if let Some(decoded) = base85(&signs, alphabet).and_then(|b| letters::text_of(&b, ENOUGH)) {
                edits.push(range, &decoded, Decoding::Ascii85);
                return true;
            }
        }
    }
    false
}

fn adobe(b: u8) -> Option<u32> {
    (b'!'..=b'u').contains(&b).then(|| u32::from(b - b'!'))
}

fn rfc1924(b: u8) -> Option<u32> {
    const REST: &[u8] = b"!#$%&()*+-;<=>?@^_`{|}~";
    match b {
        b'0'..=b'9' => Some(u32::from(b - b'0')),
        b'A'..=b'Z' => Some(u32::from(b - b'A') + 10),
        b'a'..=b'z' => Some(u32::from(b - b'a') + 36),
        _ => REST.iter().position(|r| *r == b).map(|i| i as u32 + 62),
    }
}

/// Groups of five signs, most significant first; a short last group is filled up with the last sign.
fn base85(signs: &[u8], value: impl Fn(u8) -> Option<u32>) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(signs.len());
    let mut group = [84u32; 5];
    let mut n = 0;
    for sign in signs {
        group[n] = value(*sign)?;
        n += 1;
        if n == 5 {
            bytes.extend(quad(&group)?);
            (group, n) = ([84; 5], 0);
        }
    }
    if n > 1 {
        bytes.extend(&quad(&group)?[..n - 1]);
    }
    Some(bytes)
}

fn quad(group: &[u32; 5]) -> Option<[u8; 4]> {
    let number = group.iter().try_fold(0u32, |sum, v| sum.checked_mul(85)?.checked_add(*v))?;
    Some(number.to_be_bytes())
}

/// Lines that begin with their length (`M` is that of a full one), with or without `begin` and `end`.
fn uuencode(text: &str, edits: &mut Edits) {
    let mut start = 0;
    while start < text.len() {
        let line = line(text, start);
        if uu_line(&text[line.clone()]).is_none_or(|b| b.len() < 4) {
            start = line.end + 1;
            continue;
        }
        let (decoded, end) = uu_lines(text, start);
        if let Some(decoded) = letters::text_of(&decoded, ENOUGH) {
            edits.push(start..end, &decoded, Decoding::Uuencode);
        } else {
            single_uu_lines(text, start..end, edits);
        }
        start = end.max(line.end + 1);
    }
}

/// The line that begins at `start`, without its break.
fn line(text: &str, start: usize) -> Range<usize> {
    start..memchr::memchr(b'\n', &text.as_bytes()[start..]).map_or(text.len(), |len| start + len)
}

/// Lines that are no text together may have been put before or after some that are.
fn single_uu_lines(text: &str, range: Range<usize>, edits: &mut Edits) {
    let mut start = range.start;
    while start < range.end {
        let line = line(text, start);
        if let Some(decoded) = uu_line(&text[line.clone()]).and_then(|b| letters::text_of(&b, ENOUGH)) {
            edits.push(line.clone(), &decoded, Decoding::Uuencode);
        }
        start = line.end + 1;
    }
}

/// The bytes of the lines from `at` on, and where they end: before the break of the last one, which keeps what follows
/// apart from what they say.
fn uu_lines(text: &str, mut at: usize) -> (Vec<u8>, usize) {
    let (mut decoded, mut end) = (Vec::new(), at);
    while at < text.len() {
        let line = line(text, at);
        let Some(bytes) = uu_line(&text[line.clone()]) else { break };
        decoded.extend(bytes);
        end = line.end;
        at = line.end + 1;
    }
    (decoded, end)
}

fn uu_line(line: &str) -> Option<Vec<u8>> {
    let (first, signs) = line.trim_end_matches('\r').as_bytes().split_first()?;
    let len = usize::from(first.checked_sub(b' ')?) & 63;
    let full = len.div_ceil(3) * 4;
    // Some writers drop spaces at the end of a line, some add a check sign.
    if signs.len() > full + 1 || signs.len() + 4 < full || (len > 0 && signs.is_empty()) {
        return None;
    }
    let mut signs = signs[..signs.len().min(full)].to_vec();
    signs.resize(full, b' ');
    let mut bytes = packed(&signs, 6, |b| (b' '..=b'`').contains(&b).then(|| u32::from(b - b' ') & 63))?;
    bytes.truncate(len);
    Some(bytes)
}
