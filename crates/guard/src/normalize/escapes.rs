//! Escapes, which say themselves what they are: URL, HTML, backslashes, quoted-printable, MIME words.
//! Each character is an edit of its own, so what is found in the result maps back closely.

use std::ops::Range;

use super::edits::Edits;
use super::{Decoding, letters};

pub(super) fn find(text: &str, edits: &mut Edits) {
    octets(text, b'%', Decoding::Url, 1, edits);
    plus_signs(text, edits);
    octets(text, b'=', Decoding::QuotedPrintable, 2, edits);
    mime_words(text, edits);
    html(text, edits);
    backslashes(text, edits);
    code_points(text, edits);
}

fn hex(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() || bytes.len() > 8 {
        return None;
    }
    bytes.iter().try_fold(0u32, |sum, b| Some(sum << 4 | char::from(*b).to_digit(16)?))
}

/// `%41` and `=41`, at least `least` of them near each other, and the line breaks of quoted-printable.
fn octets(text: &str, sign: u8, how: Decoding, least: usize, edits: &mut Edits) {
    let bytes = text.as_bytes();
    let mut near = Near::new(least, edits);
    let mut done = 0;
    for at in memchr::memchr_iter(sign, bytes) {
        if at < done {
            continue;
        }
        let soft = if how == Decoding::QuotedPrintable { soft_break(&bytes[at..]) } else { 0 };
        if soft > 0 {
            near.push(at..at + soft, "", how, edits);
            done = at + soft;
            continue;
        }
        if let Some(code) = (how == Decoding::Url).then(|| unicode_percent(&bytes[at..])).flatten() {
            near.push(at..at + 6, code.encode_utf8(&mut [0; 4]), how, edits);
            done = at + 6;
            continue;
        }
        done = at + octet_run(text, at, sign, |range, c| near.push(range, c, how, edits));
    }
    near.finish(edits);
}

fn soft_break(bytes: &[u8]) -> usize {
    match bytes {
        [_, b'\r', b'\n', ..] => 3,
        [_, b'\n', ..] => 2,
        _ => 0,
    }
}

/// `%u0041`.
fn unicode_percent(bytes: &[u8]) -> Option<char> {
    match bytes {
        [_, b'u' | b'U', digits @ ..] => char::from_u32(hex(digits.get(..4)?)?).filter(shown),
        _ => None,
    }
}

fn shown(c: &char) -> bool {
    !c.is_control() || matches!(c, '\n' | '\r' | '\t')
}

/// Calls with every character that the run of escaped bytes at `at` makes, and says how long the run is.
fn octet_run(text: &str, at: usize, sign: u8, mut each: impl FnMut(Range<usize>, &str)) -> usize {
    let mut decoded = Vec::new();
    let mut rest = &text.as_bytes()[at..];
    while let [s, high, low, after @ ..] = rest
        && *s == sign
        && let Some(byte) = hex(&[*high, *low])
    {
        decoded.push(byte as u8);
        rest = after;
    }
    let mut start = at;
    for chunk in decoded.utf8_chunks() {
        for c in chunk.valid().chars() {
            let end = start + 3 * c.len_utf8();
            if shown(&c) {
                each(start..end, c.encode_utf8(&mut [0; 4]));
            }
            start = end;
        }
        // What is no UTF-8 is most likely Latin-1.
        for byte in chunk.invalid() {
            if *byte >= 0xa0 {
                each(start..start + 3, char::from(*byte).encode_utf8(&mut [0; 4]));
            }
            start += 3;
        }
    }
    (3 * decoded.len()).max(1)
}

/// Takes back edits that stand alone: `=10` in a formula is no quoted-printable.
struct Near {
    least: usize,
    first: usize,
}

/// How far apart they may be.
const NEAR: usize = 200;

impl Near {
    fn new(least: usize, edits: &Edits) -> Self {
        Self { least, first: edits.len() }
    }

    fn push(&mut self, range: Range<usize>, decoded: &str, how: Decoding, edits: &mut Edits) {
        if edits.len() > self.first
            && edits.range(edits.len() - 1).is_some_and(|last| last.end + NEAR < range.start)
        {
            self.finish(edits);
        }
        edits.push(range, decoded, how);
    }

    /// Ends a group.
    fn finish(&mut self, edits: &mut Edits) {
        if edits.len() - self.first < self.least {
            edits.truncate(self.first);
        }
        self.first = edits.len();
    }
}

/// `ignore+all+of+it`: at least three words without a space.
fn plus_signs(text: &str, edits: &mut Edits) {
    let bytes = text.as_bytes();
    let word =
        |at: usize| bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'%' || !b.is_ascii());
    let mut near = Near::new(2, edits);
    for at in memchr::memchr_iter(b'+', bytes) {
        if at > 0 && word(at - 1) && word(at + 1) {
            near.push(at..at + 1, " ", Decoding::Url, edits);
        }
    }
    near.finish(edits);
}

/// `=?charset?B?…?=` and `=?charset?Q?…?=`. The space between two of them is no part of the text.
fn mime_words(text: &str, edits: &mut Edits) {
    let mut last_end = None;
    for at in memchr::memmem::find_iter(text.as_bytes(), b"=?") {
        let Some((len, decoded)) = mime_word(&text[at..]) else { continue };
        let start = match last_end {
            Some(end) if end <= at && text[end..at].trim().is_empty() => end,
            _ => at,
        };
        edits.push(start..at + len, &decoded, Decoding::MimeWord);
        last_end = Some(at + len);
    }
}

/// How long a MIME word can be; the standard says 75.
const MIME_WORD: usize = 1 << 10;

fn mime_word(text: &str) -> Option<(usize, String)> {
    let text = &text[..text.floor_char_boundary(MIME_WORD.min(text.len()))];
    let mut fields = text.strip_prefix("=?")?.splitn(3, '?');
    let (charset, encoding) = (fields.next()?, fields.next()?);
    let rest = fields.next()?;
    let body = &rest[..rest.find("?=")?];
    let bytes = match encoding {
        "B" | "b" => super::base::base64_bytes(body.as_bytes())?,
        "Q" | "q" => quoted(body.as_bytes()),
        _ => return None,
    };
    let decoded = match String::from_utf8(bytes) {
        Ok(decoded) => decoded,
        Err(error) => error.into_bytes().into_iter().map(char::from).collect(),
    };
    let len = 2 + charset.len() + 1 + encoding.len() + 1 + body.len() + 2;
    decoded.chars().all(|c| shown(&c)).then_some((len, decoded))
}

fn quoted(body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        decoded.push(match (first, after) {
            (b'_', _) => b' ',
            (b'=', [high, low, after @ ..]) => match hex(&[*high, *low]) {
                Some(byte) => {
                    rest = after;
                    byte as u8
                }
                None => b'=',
            },
            _ => *first,
        });
    }
    decoded
}

/// Names of signs and of letters with accents; what is not here stays as it is.
const ENTITIES: [(&str, &str); 56] = [
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", " "),
    ("Tab", "\t"),
    ("NewLine", "\n"),
    ("excl", "!"),
    ("num", "#"),
    ("dollar", "$"),
    ("percnt", "%"),
    ("lpar", "("),
    ("rpar", ")"),
    ("ast", "*"),
    ("plus", "+"),
    ("comma", ","),
    ("period", "."),
    ("sol", "/"),
    ("colon", ":"),
    ("semi", ";"),
    ("equals", "="),
    ("quest", "?"),
    ("commat", "@"),
    ("lsqb", "["),
    ("lbrack", "["),
    ("bsol", "\\"),
    ("rsqb", "]"),
    ("rbrack", "]"),
    ("lowbar", "_"),
    ("grave", "`"),
    ("lcub", "{"),
    ("verbar", "|"),
    ("vert", "|"),
    ("rcub", "}"),
    ("hyphen", "-"),
    ("ndash", "–"),
    ("mdash", "—"),
    ("auml", "ä"),
    ("ouml", "ö"),
    ("uuml", "ü"),
    ("Auml", "Ä"),
    ("Ouml", "Ö"),
    ("Uuml", "Ü"),
    ("szlig", "ß"),
    ("eacute", "é"),
    ("egrave", "è"),
    ("agrave", "à"),
    ("ccedil", "ç"),
    ("ntilde", "ñ"),
    ("oacute", "ó"),
    ("aacute", "á"),
    ("iacute", "í"),
    ("uacute", "ú"),
    ("atilde", "ã"),
    ("shy", ""),
];

fn html(text: &str, edits: &mut Edits) {
    let bytes = text.as_bytes();
    for at in memchr::memchr_iter(b'&', bytes) {
        let rest = &bytes[at + 1..];
        let alphanumeric =
            |from: &[u8]| from.iter().take(10).take_while(|b| b.is_ascii_alphanumeric()).count();
        let (len, decoded) = match rest {
            [b'#', b'x' | b'X', digits @ ..] => {
                let n = digits.iter().take(8).take_while(|b| b.is_ascii_hexdigit()).count();
                (2 + n, hex(&digits[..n]).and_then(char::from_u32))
            }
            [b'#', digits @ ..] => {
                let n = digits.iter().take(8).take_while(|b| b.is_ascii_digit()).count();
                let code = text[at + 2..at + 2 + n].parse().ok();
                (1 + n, code.and_then(char::from_u32))
            }
            _ => {
                let n = alphanumeric(rest);
                let named = ENTITIES.iter().find(|(name, _)| *name == &text[at + 1..at + 1 + n]);
                if let Some((_, sign)) = named.filter(|_| rest.get(n) == Some(&b';')) {
                    edits.push(at..at + n + 2, sign, Decoding::Html);
                }
                continue;
            }
        };
        if let Some(c) = decoded.filter(shown) {
            let semicolon = usize::from(rest.get(len) == Some(&b';'));
            edits.push(at..at + 1 + len + semicolon, c.encode_utf8(&mut [0; 4]), Decoding::Html);
        }
    }
}

fn backslashes(text: &str, edits: &mut Edits) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for at in memchr::memchr_iter(b'\\', bytes) {
        if at < done {
            continue;
        }
        if let Some((len, c)) = backslash(&bytes[at + 1..]) {
            done = at + 1 + len;
            if shown(&c) {
                edits.push(at..done, c.encode_utf8(&mut [0; 4]), Decoding::Escapes);
            }
        }
    }
}

/// What follows a backslash: its length and the character.
fn backslash(rest: &[u8]) -> Option<(usize, char)> {
    let fixed = |skip: usize, n: usize| Some((skip + n, char::from_u32(hex(rest.get(skip..skip + n)?)?)?));
    match rest {
        [b'n', ..] => Some((1, '\n')),
        [b'r', ..] => Some((1, '\r')),
        [b't', ..] => Some((1, '\t')),
        [b'"', ..] => Some((1, '"')),
        [b'\'', ..] => Some((1, '\'')),
        [b'/', ..] => Some((1, '/')),
        [b'\\', ..] => Some((1, '\\')),
        [b'u' | b'x', b'{', digits @ ..] => {
            let n = digits.iter().take(9).position(|b| *b == b'}')?;
            Some((n + 3, char::from_u32(hex(&digits[..n])?)?))
        }
        [b'u', ..] => surrogates(rest).or_else(|| fixed(1, 4)),
        [b'U', ..] => fixed(1, 8),
        [b'x', ..] => fixed(1, 2),
        [b'0'..=b'3', b'0'..=b'7', b'0'..=b'7', ..] => {
            let code = rest[..3].iter().fold(0, |sum, b| sum << 3 | u32::from(b - b'0'));
            Some((3, char::from_u32(code)?))
        }
        _ => None,
    }
}

/// `uD83D\uDE00`.
fn surrogates(rest: &[u8]) -> Option<(usize, char)> {
    let high = hex(rest.get(1..5)?)? as u16;
    let low = rest.get(5..7).filter(|b| *b == b"\\u").and_then(|_| hex(rest.get(7..11)?))? as u16;
    let pair = char::decode_utf16([high, low]).next()?.ok()?;
    (0xd800..0xdc00).contains(&high).then_some((11, pair))
}

/// `U+0069`, with what separates one from the next.
fn code_points(text: &str, edits: &mut Edits) {
    let bytes = text.as_bytes();
    let mut found: Vec<(usize, usize, char)> = Vec::new();
    let mut flush = |found: &mut Vec<(usize, usize, char)>| {
        let word: String = found.iter().map(|(.., c)| *c).collect();
        if found.len() >= 3 && letters::is_words(&word) {
            for (i, (start, end, c)) in found.iter().enumerate() {
                let end = found.get(i + 1).map_or(*end, |next| next.0);
                edits.push(*start..end, c.encode_utf8(&mut [0; 4]), Decoding::Escapes);
            }
        }
        found.clear();
    };
    for at in memchr::memmem::find_iter(bytes, b"U+") {
        let n = bytes[at + 2..].iter().take(6).take_while(|b| b.is_ascii_hexdigit()).count();
        let Some(c) = hex(&bytes[at + 2..at + 2 + n]).and_then(char::from_u32).filter(shown) else {
            continue;
        };
        if found.last().is_some_and(|(_, end, _)| at > end + 3) {
            flush(&mut found);
        }
        found.push((at, at + 2 + n, c));
    }
    flush(&mut found);
}
