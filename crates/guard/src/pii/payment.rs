//! Payment cards and bank accounts.

use super::checksum::{all_same, luhn, mod97, number};
use super::shape::{begins_number, blank, ends_number, is_dash};
use super::sight::Sight;
use crate::entity::Entity;
use crate::scan::window::Window;

/// Digits of the longest card number.
const MAX_DIGITS: usize = 19;

/// Card numbers, by the ranges of their issuers (ISO/IEC 7812, and what the schemes publish).
pub(super) fn card(sight: &mut Sight<'_, '_>) {
    let window = sight.window;
    if !sight.wants(Entity::CREDIT_CARD) || !begins_number(window) {
        return;
    }
    let mut digits = [0u8; MAX_DIGITS];
    let (mut length, mut at, mut groups, mut group) = (0, sight.at(), 1, 0);
    let mut sign = None;
    // Digits and groups of the longest card number so far, and its end.
    let mut best = None;
    loop {
        match window.byte(at) {
            Some(b) if b.is_ascii_digit() => {
                if length == MAX_DIGITS {
                    break;
                }
                digits[length] = b;
                (length, group, at) = (length + 1, group + 1, at + 1);
            }
            _ => {
                if is_card(&digits[..length]) && ends_card(window, at) {
                    best = Some((length, groups, at));
                }
                // One kind of sign in all places behind groups of four or more, and a digit behind it.
                let Some((here, width)) = separates(window, at) else { break };
                if group < 4 || sign.is_some_and(|sign| sign != (here, width)) {
                    break;
                }
                if !window.byte(at + width).is_some_and(|b| b.is_ascii_digit()) {
                    break;
                }
                sign = Some((here, width));
                (groups, group, at) = (groups + 1, 0, at + width);
            }
        }
    }
    let Some((length, groups, at)) = best else { return };
    if all_same(&digits[..length]) {
        return;
    }
    let base = if groups > 1 { 75 } else { 60 };
    sight.propose(Entity::CREDIT_CARD, base, at);
}

/// What may stand between groups of a card's number, and its width: a blank, a dot, or a dash of any length or a slash,
/// which may have a blank on each side.
fn separates(window: &Window<'_>, at: usize) -> Option<(char, usize)> {
    let sign = window.char(at)?;
    if matches!(sign, '.' | '\u{b7}') {
        return Some((sign, sign.len_utf8()));
    }
    let lead = blank(window, at).unwrap_or(0);
    match window.char(at + lead) {
        Some(dash) if dash == '/' || is_dash(dash) => {
            let end = at + lead + dash.len_utf8();
            let tail = blank(window, end).unwrap_or(0);
            ((lead > 0) == (tail > 0)).then_some((dash, lead + dash.len_utf8() + tail))
        }
        _ => (lead > 0).then_some((sign, lead)),
    }
}

/// Whether a card's number ends at `end`: an expiry may follow it, and no price is that high.
fn ends_card(window: &Window<'_>, end: usize) -> bool {
    let expiry = || {
        let month = window.text(end + 1, window.run(end + 1, 2, |b| b.is_ascii_digit()));
        let known = month.len() == 2 && ("01"..="12").contains(&month);
        known && window.byte_before(window.at) != Some(b'/')
    };
    match window.byte(end) {
        Some(b',') => true,
        Some(b'/') => ends_number(window, end) || expiry(),
        _ => ends_number(window, end),
    }
}

fn is_card(digits: &[u8]) -> bool {
    if digits.len() < 13 {
        return false;
    }
    let (two, three, four) = (number(&digits[..2]), number(&digits[..3]), number(&digits[..4]));
    let six = number(&digits[..6]);
    let lengths: &[usize] = match digits[0] {
        b'4' => &[13, 16, 19],
        b'2' if (2221..=2720).contains(&four) => &[16],
        b'2' if (2200..=2205).contains(&four) => &[16],
        b'5' if (51..=55).contains(&two) => &[16],
        b'3' if two == 34 || two == 37 => &[15],
        b'3' if (300..=305).contains(&three) || two == 36 || two == 38 || two == 39 => &[14, 16],
        b'3' if (3528..=3589).contains(&four) => &[16],
        b'6' if four == 6011 || two == 65 || (644..=649).contains(&three) => &[16, 19],
        b'6' if two == 62 || (810_000..=817_199).contains(&six) => &[16, 17, 18, 19],
        b'5' | b'6'
            if matches!(four, 5018 | 5020 | 5038 | 5893 | 6304 | 6706 | 6709 | 6759 | 6761..=6763 | 6771) =>
        {
            &[13, 14, 15, 16, 17, 18, 19]
        }
        b'6' if four == 6521 || four == 6522 || two == 60 || (637..=639).contains(&three) => &[16],
        // Dankort, Verve, Elo, Troy.
        b'5' if four == 5019 || (506_099..=506_198).contains(&six) || (5066..=5067).contains(&four) => &[16],
        b'5' if four == 5090 => &[16],
        b'6' if six == 636_297 || six == 636_368 || six == 627_780 => &[16],
        b'9' if four == 9792 => &[16],
        _ => return false,
    };
    lengths.contains(&digits.len()) && luhn(digits)
}

/// Lengths of account numbers, and what stands at each place after the check digits: `n` digits, `a`
/// capitals, `c` either (SWIFT, IBAN Registry).
const COUNTRIES: &[(&[u8; 2], &str)] = &[
    (b"AD", "8n12c"),
    (b"AE", "19n"),
    (b"AL", "8n16c"),
    (b"AT", "16n"),
    (b"AZ", "4a20c"),
    (b"BA", "16n"),
    (b"BE", "12n"),
    (b"BG", "4a6n8c"),
    (b"BH", "4a14c"),
    (b"BI", "23n"),
    (b"BR", "23n1a1c"),
    (b"BY", "4c4n16c"),
    (b"CH", "5n12c"),
    (b"CR", "18n"),
    (b"CY", "8n16c"),
    (b"CZ", "20n"),
    (b"DE", "18n"),
    (b"DJ", "23n"),
    (b"DK", "14n"),
    (b"DO", "4c20n"),
    (b"EE", "16n"),
    (b"EG", "25n"),
    (b"ES", "20n"),
    (b"FI", "14n"),
    (b"FK", "2a12n"),
    (b"FO", "14n"),
    (b"FR", "10n11c2n"),
    (b"GB", "4a14n"),
    (b"GE", "2a16n"),
    (b"GI", "4a15c"),
    (b"GL", "14n"),
    (b"GR", "7n16c"),
    (b"GT", "24c"),
    (b"HR", "17n"),
    (b"HU", "24n"),
    (b"IE", "4a14n"),
    (b"IL", "19n"),
    (b"IQ", "4a15n"),
    (b"IS", "22n"),
    (b"IT", "1a10n12c"),
    (b"JO", "4a4n18c"),
    (b"KW", "4a22c"),
    (b"KZ", "3n13c"),
    (b"LB", "4n20c"),
    (b"LC", "4a24c"),
    (b"LI", "5n12c"),
    (b"LT", "16n"),
    (b"LU", "3n13c"),
    (b"LV", "4a13c"),
    (b"LY", "21n"),
    (b"MC", "10n11c2n"),
    (b"MD", "20c"),
    (b"ME", "18n"),
    (b"MK", "3n10c2n"),
    (b"MN", "16n"),
    (b"MR", "23n"),
    (b"MT", "4a5n18c"),
    (b"MU", "4a19n3a"),
    (b"NI", "4a20n"),
    (b"NL", "4a10n"),
    (b"NO", "11n"),
    (b"OM", "3n16c"),
    (b"PK", "4a16c"),
    (b"PL", "24n"),
    (b"PS", "4a21c"),
    (b"PT", "21n"),
    (b"QA", "4a21c"),
    (b"RO", "4a16c"),
    (b"RS", "18n"),
    (b"RU", "14n15c"),
    (b"SA", "2n18c"),
    (b"SC", "4a20n3a"),
    (b"SD", "14n"),
    (b"SE", "20n"),
    (b"SI", "15n"),
    (b"SK", "20n"),
    (b"SM", "1a10n12c"),
    (b"SO", "19n"),
    (b"ST", "21n"),
    (b"SV", "4a20n"),
    (b"TL", "19n"),
    (b"TN", "20n"),
    (b"TR", "5n1c16c"),
    (b"UA", "6n19c"),
    (b"VA", "18n"),
    (b"VG", "4a16n"),
    (b"XK", "16n"),
    (b"YE", "4a4n18c"),
];

/// Symbols of the longest account number.
const MAX_IBAN: usize = 34;

/// Account numbers: a country, two check digits, and what the country has there (ISO 13616).
pub(super) fn iban(sight: &mut Sight<'_, '_>) {
    let (window, at) = (sight.window, sight.at());
    if !sight.wants(Entity::IBAN) || window.run(at, 3, |b| b.is_ascii_alphabetic()) != at + 2 {
        return;
    }
    let country = [at, at + 1].map(|place| window.byte(place).unwrap_or(0).to_ascii_uppercase());
    let Some((_, form)) = COUNTRIES.iter().find(|(code, _)| **code == country) else { return };
    let mut symbols = [0u8; MAX_IBAN];
    let (mut length, mut place) = (0, at);
    for kind in b"nn".iter().copied().chain(kinds(form)).enumerate().flat_map(|(i, k)| {
        let lead: &[u8] = if i == 0 { b"aa" } else { b"" };
        lead.iter().copied().chain([k])
    }) {
        if length > 0 {
            let dash = window.byte(place) == Some(b'-');
            place += if dash { 1 } else { blank(window, place).unwrap_or(0) };
        }
        let Some(b) = window.byte(place).map(|b| b.to_ascii_uppercase()) else { return };
        let fits = match kind {
            b'n' => b.is_ascii_digit(),
            b'a' => b.is_ascii_uppercase(),
            _ => b.is_ascii_digit() || b.is_ascii_uppercase(),
        };
        if !fits || length == MAX_IBAN {
            return;
        }
        symbols[length] = b;
        (length, place) = (length + 1, place + 1);
    }
    let symbols = &symbols[..length];
    if window.word_ends(place) && mod97(symbols[4..].iter().chain(&symbols[..4]).copied()) {
        sight.propose(Entity::IBAN, 90, place);
    }
}

/// The kinds of the places of a form like `4a14n`.
fn kinds(form: &'static str) -> impl Iterator<Item = u8> {
    form.split_inclusive(['n', 'a', 'c']).flat_map(|part| {
        let (count, kind) = part.split_at(part.len() - 1);
        let count = count.parse().unwrap_or(0);
        std::iter::repeat_n(kind.as_bytes()[0], count)
    })
}
