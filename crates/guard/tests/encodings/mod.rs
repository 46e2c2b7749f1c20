//! Every way to hide a text that the guard undoes, written by the definitions and not by the decoders.
#![allow(unreachable_pub, dead_code)] // shared by programs that use parts of it

/// A name for the table, and what it does to a text.
pub type Encoding = (&'static str, fn(&str) -> String);

pub const ENCODINGS: [Encoding; 47] = [
    ("fullwidth letters", fullwidth),
    ("mathematical letters", mathematical),
    ("letters in circles", circled),
    ("look-alike letters", confusable),
    ("zero-width characters between", |t| between(t, '\u{200b}')),
    ("soft hyphens between", |t| between(t, '\u{ad}')),
    ("piled-up marks", zalgo),
    ("tag characters", |t| t.chars().map(|c| if c.is_ascii() { shifted(c, 0xe0000) } else { c }).collect()),
    ("variation selectors", selectors),
    ("zero-width bits", bits),
    ("leetspeak", leet),
    ("base64", |t| base64(t.as_bytes(), b'+', b'/', true)),
    ("base64, url-safe, no padding", |t| base64(t.as_bytes(), b'-', b'_', false)),
    ("base64, wrapped", |t| wrapped(&base64(t.as_bytes(), b'+', b'/', true), 32)),
    ("base64 of UTF-16", |t| {
        base64(&t.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(), b'+', b'/', true)
    }),
    ("base64 twice", |t| base64(base64(t.as_bytes(), b'+', b'/', true).as_bytes(), b'+', b'/', true)),
    ("base32", base32),
    ("base16", |t| t.bytes().map(|b| format!("{b:02x}")).collect()),
    ("Ascii85", ascii85),
    ("uuencode", uuencode),
    ("quoted-printable", |t| t.bytes().map(|b| format!("={b:02X}")).collect()),
    ("quoted-printable, wrapped", |t| format!("{}=\n{}", quoted(head(t)), quoted(tail(t)))),
    ("MIME word, B", |t| format!("Subject: =?utf-8?B?{}?=", base64(t.as_bytes(), b'+', b'/', true))),
    ("MIME word, Q", |t| format!("=?UTF-8?Q?{}?=", quoted(t).replace(' ', "_").replace('?', "=3F"))),
    ("URL, all bytes", |t| t.bytes().map(|b| format!("%{b:02x}")).collect()),
    ("URL, form", form),
    ("URL twice", |t| t.bytes().map(|b| format!("%25{b:02X}")).collect()),
    ("HTML, decimal", |t| t.chars().map(|c| format!("&#{};", c as u32)).collect()),
    ("HTML, hexadecimal", |t| t.chars().map(|c| format!("&#x{:x};", c as u32)).collect()),
    ("JSON escapes", |t| t.encode_utf16().map(|u| format!("\\u{u:04x}")).collect()),
    ("Unicode escapes in braces", |t| t.chars().map(|c| format!("\\u{{{:x}}}", c as u32)).collect()),
    ("hexadecimal escapes", |t| {
        t.chars().map(|c| if c.is_ascii() { format!("\\x{:02x}", c as u32) } else { c.to_string() }).collect()
    }),
    ("U+ notation", |t| joined(t, " ", |c| format!("U+{c:04X}"))),
    ("decimal codes", |t| joined(t, ", ", |c| c.to_string())),
    ("hexadecimal codes", |t| joined(t, " ", |c| format!("0x{c:02x}"))),
    ("binary codes", |t| t.bytes().map(|b| format!("{b:08b}")).collect::<Vec<_>>().join(" ")),
    ("octal codes", |t| t.bytes().map(|b| format!("{b:03o}")).collect::<Vec<_>>().join(" ")),
    ("ROT13", |t| letters(t, |l| (l + 13) % 26)),
    ("ROT13, then base64", |t| base64(letters(t, |l| (l + 13) % 26).as_bytes(), b'+', b'/', true)),
    ("Atbash", |t| letters(t, |l| 25 - l)),
    ("reversed", |t| t.chars().rev().collect()),
    ("reversed word by word", |t| {
        t.split(' ').map(|w| w.chars().rev().collect::<String>()).collect::<Vec<_>>().join(" ")
    }),
    ("pig latin", pig_latin),
    ("Morse", |t| spelled(t, " ", " / ", morse)),
    ("NATO words", |t| spelled(t, " ", " / ", nato)),
    ("braille", |t| spelled(t, "", "\u{2800}", braille)),
    ("letters set apart", |t| {
        plain(t)
            .split(' ')
            .map(|w| w.chars().map(String::from).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
            .join("   ")
    }),
];

/// What encodings leave of a text that know only letters and digits.
pub fn squashed(text: &str) -> String {
    plain(text).replace(' ', "")
}

/// Small letters without accents, digits, and single spaces.
pub fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        match accent(c).to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => plain.push(c),
            _ if !plain.ends_with(' ') && !plain.is_empty() => plain.push(' '),
            _ => {}
        }
    }
    plain.trim_end().to_owned()
}

fn accent(c: char) -> char {
    const PAIRS: [(&str, char); 14] = [
        ("áàâäãąÁÀÂÄÃĄ", 'a'),
        ("éèêëęÉÈÊËĘ", 'e'),
        ("íìîïÍÌÎÏ", 'i'),
        ("óòôöõÓÒÔÖÕ", 'o'),
        ("úùûüÚÙÛÜ", 'u'),
        ("çćÇĆ", 'c'),
        ("ñńÑŃ", 'n'),
        ("łŁ", 'l'),
        ("śŚß", 's'),
        ("źżŹŻ", 'z'),
        ("œ", 'o'),
        ("ÿ", 'y'),
        ("æ", 'a'),
        ("ø", 'o'),
    ];
    PAIRS.iter().find(|(all, _)| all.contains(c)).map_or(c, |(_, l)| *l)
}

fn shifted(c: char, by: u32) -> char {
    char::from_u32(c as u32 + by).unwrap_or(c)
}

fn fullwidth(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() { shifted(c, 0xfee0) } else { c }).collect()
}

fn mathematical(text: &str) -> String {
    let letter =
        |c: char, first: u32, base: char| char::from_u32(first + (c as u32 - base as u32)).unwrap_or(c);
    let bold = |c: char| match c {
        'a'..='z' => letter(c, 0x1d41a, 'a'),
        'A'..='Z' => letter(c, 0x1d400, 'A'),
        _ => c,
    };
    text.chars().map(bold).collect()
}

fn circled(text: &str) -> String {
    let circle = |c: char| match c {
        'a'..='z' => char::from_u32(0x24d0 + (c as u32 - 'a' as u32)).unwrap_or(c),
        'A'..='Z' => char::from_u32(0x24b6 + (c as u32 - 'A' as u32)).unwrap_or(c),
        _ => c,
    };
    text.chars().map(circle).collect()
}

fn confusable(text: &str) -> String {
    let alike = |c: char| {
        "aаeеoоpрcсxхyуiіsѕjјAАBВEЕKКMМHНOОPРCСTТXХ"
            .chars()
            .collect::<Vec<_>>()
            .chunks(2)
            .find(|p| p[0] == c)
            .map_or(c, |p| p[1])
    };
    text.chars().map(alike).collect()
}

fn between(text: &str, sign: char) -> String {
    text.chars().flat_map(|c| [c, sign]).collect()
}

fn zalgo(text: &str) -> String {
    let marks = ['\u{300}', '\u{336}', '\u{35c}', '\u{324}', '\u{310}'];
    let pile = |(i, c): (usize, char)| {
        let n = if c.is_alphanumeric() { 2 + i % 4 } else { 0 };
        std::iter::once(c).chain(marks.into_iter().cycle().skip(i).take(n))
    };
    text.chars().enumerate().flat_map(pile).collect()
}

fn selectors(text: &str) -> String {
    let selector =
        |b: u8| char::from_u32(if b < 16 { 0xfe00 + u32::from(b) } else { 0xe0100 + u32::from(b) - 16 });
    "😀".chars().chain(text.bytes().filter_map(selector)).collect()
}

fn bits(text: &str) -> String {
    let bit = |b: u8, i: u32| if b >> (7 - i) & 1 == 1 { '\u{200c}' } else { '\u{200b}' };
    let hidden: String = text.bytes().flat_map(|b| (0..8).map(move |i| bit(b, i))).collect();
    format!("Nice weather{hidden} today.")
}

fn leet(text: &str) -> String {
    text.chars()
        .map(|c| {
            "a4e3i1o0s5t7"
                .chars()
                .collect::<Vec<_>>()
                .chunks(2)
                .find(|p| p[0] == c.to_ascii_lowercase())
                .map_or(c, |p| p[1])
        })
        .collect()
}

fn groups(bytes: &[u8], width: usize, sign: impl Fn(usize) -> char) -> String {
    let bits: Vec<u8> = bytes.iter().flat_map(|b| (0..8).rev().map(move |i| b >> i & 1)).collect();
    bits.chunks(width)
        .map(|c| sign((0..width).fold(0, |n, i| n << 1 | usize::from(c.get(i).copied().unwrap_or(0)))))
        .collect()
}

fn base64(bytes: &[u8], plus: u8, slash: u8, padded: bool) -> String {
    let mut alphabet: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').collect();
    alphabet.extend([plus, slash]);
    let mut text = groups(bytes, 6, |i| char::from(alphabet[i]));
    while padded && !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

fn base32(text: &str) -> String {
    let mut text = groups(text.as_bytes(), 5, |i| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[i]));
    while !text.len().is_multiple_of(8) {
        text.push('=');
    }
    text
}

fn wrapped(text: &str, width: usize) -> String {
    text.as_bytes()
        .chunks(width)
        .map(|l| String::from_utf8_lossy(l).into_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

fn ascii85(text: &str) -> String {
    let group = |chunk: &[u8]| {
        let number = (0..4).fold(0u32, |n, i| n << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        let signs = [52200625u32, 614125, 7225, 85, 1].map(|p| char::from(b'!' + (number / p % 85) as u8));
        signs.into_iter().take(chunk.len() + 1).collect::<String>()
    };
    text.as_bytes().chunks(4).map(group).collect()
}

fn uuencode(text: &str) -> String {
    let sign = |i: usize| if i == 0 { '`' } else { char::from(b' ' + i as u8) };
    let line = |chunk: &[u8]| {
        let mut whole = chunk.to_vec();
        whole.resize(chunk.len().div_ceil(3) * 3, 0);
        format!("{}{}\n", char::from(b' ' + chunk.len() as u8), groups(&whole, 6, sign))
    };
    let lines: String = text.as_bytes().chunks(45).map(line).collect();
    format!("begin 644 note.txt\n{lines}`\nend\n")
}

fn quoted(text: &str) -> String {
    let sign = |b: u8| match b {
        b' ' => " ".to_owned(),
        b'a' | b'i' | b'o' => format!("={b:02X}"),
        b if b.is_ascii_alphanumeric() || b"?!.,\"".contains(&b) => char::from(b).to_string(),
        b => format!("={b:02X}"),
    };
    text.bytes().map(sign).collect()
}

fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(text.len() / 2)]
}

fn tail(text: &str) -> &str {
    &text[text.floor_char_boundary(text.len() / 2)..]
}

fn form(text: &str) -> String {
    let sign = |b: u8| match b {
        b' ' => "+".to_owned(),
        b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    format!("https://example.com/?q={}", text.bytes().map(sign).collect::<String>())
}

fn joined(text: &str, separator: &str, code: impl Fn(u32) -> String) -> String {
    text.chars().map(|c| code(c as u32)).collect::<Vec<_>>().join(separator)
}

fn letters(text: &str, cipher: impl Fn(u8) -> u8) -> String {
    let turn = |c: char| match c {
        'a'..='z' => char::from(b'a' + cipher(c as u8 - b'a')),
        'A'..='Z' => char::from(b'A' + cipher(c as u8 - b'A')),
        _ => c,
    };
    text.chars().map(accent).map(turn).collect()
}

fn pig_latin(text: &str) -> String {
    let word = |word: &str| {
        let end = word.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
        if end.is_empty() || !end.chars().all(|c| c.is_ascii_alphabetic()) {
            return word.to_owned();
        }
        let onset = end.find(|c: char| "aeiouAEIOU".contains(c)).unwrap_or(0);
        let (onset, rest) = end.split_at(onset);
        let ending = if onset.is_empty() { "way" } else { "ay" };
        format!("{rest}{}{ending}{}", onset.to_lowercase(), &word[end.len()..])
    };
    let plain: String = text.chars().map(accent).collect();
    plain.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn spelled(text: &str, within: &str, between: &str, sign: fn(char) -> String) -> String {
    let word = |w: &str| w.chars().map(sign).collect::<Vec<_>>().join(within);
    plain(text).split(' ').map(word).collect::<Vec<_>>().join(between)
}

fn morse(c: char) -> String {
    const SIGNS: [&str; 36] = [
        ".-", "-...", "-.-.", "-..", ".", "..-.", "--.", "....", "..", ".---", "-.-", ".-..", "--", "-.",
        "---", ".--.", "--.-", ".-.", "...", "-", "..-", "...-", ".--", "-..-", "-.--", "--..", "-----",
        ".----", "..---", "...--", "....-", ".....", "-....", "--...", "---..", "----.",
    ];
    let i = if c.is_ascii_digit() { 26 + (c as usize - '0' as usize) } else { c as usize - 'a' as usize };
    SIGNS[i].to_owned()
}

fn nato(c: char) -> String {
    const WORDS: &str = "Alfa Bravo Charlie Delta Echo Foxtrot Golf Hotel India Juliett Kilo Lima Mike November Oscar Papa Quebec \
                         Romeo Sierra Tango Uniform Victor Whiskey X-ray Yankee Zulu Zero One Two Three Four Five Six Seven Eight Nine";
    let i = if c.is_ascii_digit() { 26 + (c as usize - '0' as usize) } else { c as usize - 'a' as usize };
    WORDS.split(' ').nth(i).unwrap_or_default().to_owned()
}

fn braille(c: char) -> String {
    const CELLS: &str = "⠁⠃⠉⠙⠑⠋⠛⠓⠊⠚⠅⠇⠍⠝⠕⠏⠟⠗⠎⠞⠥⠧⠺⠭⠽⠵";
    match c {
        '0' => "⠼⠚".to_owned(),
        '1'..='9' => format!("⠼{}", CELLS.chars().nth(c as usize - '1' as usize).unwrap_or(' ')),
        _ => CELLS.chars().nth(c as usize - 'a' as usize).unwrap_or(' ').to_string(),
    }
}
