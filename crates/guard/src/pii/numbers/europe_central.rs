//! Germany, Austria, Switzerland, Poland.

use super::super::checksum::{digit, is_day, mod11_10, number, weighted};
use super::super::shape::Number;
use crate::entity::Entity;

pub(super) const NUMBERS: &[Number] = &[
    Number {
        entity: Entity::DE_TAX_ID,
        forms: &[("ddddddddddd", 25), ("dd ddd ddd ddd", 45), ("dd/ddd/ddd/ddd", 35)],
        check: de_tax,
    },
    Number {
        entity: Entity::DE_SOCIAL_SECURITY,
        forms: &[
            ("ddddddddLddd", 65),
            ("dd dddddd L ddd", 75),
            ("dd dddddd Lddd", 70),
            ("dd dddddd L dd d", 75),
            ("dd dd dd dd L ddd", 75),
            ("dd dd dd dd L dd d", 75),
            ("dd-dddddd-L-ddd", 72),
        ],
        check: de_social,
    },
    Number { entity: Entity::DE_ID_CARD, forms: &[("Lxxxxxxxxd", 20), ("Lxxxxxxxx d", 18)], check: de_card },
    // As the front has it, without the check digit.
    Number { entity: Entity::DE_ID_CARD, forms: &[("Lxxxxxxxx", 12)], check: de_serial },
    Number {
        entity: Entity::AT_SOCIAL_SECURITY,
        forms: &[
            ("dddd dddddd", 45),
            ("dddddddddd", 22),
            ("dddd-dddddd", 35),
            ("dddd dd dd dd", 35),
            ("dddd/dddddd", 30),
        ],
        check: at_social,
    },
    Number {
        entity: Entity::AT_TAX_ID,
        forms: &[("dd-ddd/dddd", 50), ("dd ddd/dddd", 48), ("dd ddd dddd", 20), ("ddddddddd", 15)],
        check: at_tax,
    },
    Number {
        entity: Entity::CH_AHV,
        forms: &[("ddd.dddd.dddd.dd", 85), ("ddddddddddddd", 45), ("ddd dddd dddd dd", 75)],
        check: ahv,
    },
    Number {
        entity: Entity::CH_UID,
        forms: &[
            ("LLL-ddd.ddd.ddd", 85),
            ("LLLddddddddd", 60),
            ("LLL ddd ddd ddd", 70),
            ("LLL ddd.ddd.ddd", 75),
        ],
        check: uid,
    },
    Number { entity: Entity::PL_PESEL, forms: &[("ddddddddddd", 25)], check: pesel },
    Number {
        entity: Entity::PL_NIP,
        forms: &[
            ("ddd-ddd-dd-dd", 48),
            ("ddd-dd-dd-ddd", 48),
            ("dddddddddd", 17),
            ("ddd ddd dd dd", 35),
            ("LLdddddddddd", 55),
            ("LL dddddddddd", 60),
            ("LL ddd-ddd-dd-dd", 60),
        ],
        check: nip,
    },
];

/// One digit twice or three times among the first ten, the others once at most (BZSt, since 2016).
fn de_tax(digits: &[u8]) -> bool {
    let mut times = [0; 10];
    for b in &digits[..10] {
        times[digit(*b) as usize] += 1;
    }
    let repeated = times.iter().filter(|n| **n > 1).count();
    digits[0] != b'0' && repeated == 1 && times.iter().all(|n| *n <= 3) && mod11_10(digits)
}

/// Area, date of birth, initial, serial number, check digit (VKVV, section 4).
fn de_social(symbols: &[u8]) -> bool {
    let letter = symbols[8];
    if !letter.is_ascii_uppercase() {
        return false;
    }
    let place = letter - b'A' + 1;
    let mut digits = [0u8; 12];
    digits[..8].copy_from_slice(&symbols[..8]);
    digits[8..10].copy_from_slice(&[b'0' + place / 10, b'0' + place % 10]);
    digits[10..].copy_from_slice(&symbols[9..11]);
    const WEIGHTS: [u32; 12] = [2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1];
    let sum: u32 = digits.iter().zip(WEIGHTS).map(|(b, w)| digit(*b) * w).map(|p| p / 10 + p % 10).sum();
    let day = number(&symbols[2..4]) % 50; // from the second of a name and day on, 50 is added
    is_day(day.max(1), number(&symbols[4..6])) && sum % 10 == digit(symbols[11])
}

/// The letter of an authority that gives out identity cards or residence permits, letters that are not taken for digits or
/// parts of words, and a digit (PAuswV, annex 1).
fn de_serial(symbols: &[u8]) -> bool {
    let letters = |b: &u8| b.is_ascii_digit() || b"CFGHJKLMNPRTVWXYZ".contains(b);
    symbols.iter().all(letters) && symbols.iter().any(u8::is_ascii_digit)
}

/// A serial number with its check digit: weights 7, 3, 1 (ICAO 9303).
fn de_card(symbols: &[u8]) -> bool {
    let value = |b: u8| if b.is_ascii_digit() { digit(b) } else { u32::from(b - b'A') + 10 };
    let sum: u32 = symbols[..9].iter().zip([7, 3, 1].iter().cycle()).map(|(b, w)| value(*b) * w).sum();
    de_serial(&symbols[..9]) && symbols[9].is_ascii_digit() && sum % 10 == digit(symbols[9])
}

/// The fourth digit checks the others modulo 11; a date of birth ends it (ASVG, section 460d).
fn at_social(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]);
    let (day, month) = (number(&digits[4..6]), number(&digits[6..8]));
    // Where a day has run out of numbers, its month counts from 13.
    let month = if (13..=15).contains(&month) { 1 } else { month };
    digits[0] != b'0' && is_day(day, month) && sum % 11 == digit(digits[3])
}

/// Like Luhn over the first eight, counted from the left (BMF).
fn at_tax(digits: &[u8]) -> bool {
    let doubled = |d: u32| 2 * d / 10 + 2 * d % 10;
    let sum: u32 = digits[..8]
        .iter()
        .enumerate()
        .map(|(i, b)| if i % 2 == 0 { digit(*b) } else { doubled(digit(*b)) })
        .sum();
    (10 - sum % 10) % 10 == digit(digits[8])
}

/// The country's number and EAN-13 (ZAS).
fn ahv(digits: &[u8]) -> bool {
    digits.starts_with(b"756")
        && weighted(digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
}

/// Weights 5, 4, 3, 2, 7, 6, 5, 4 modulo 11 (eCH-0097).
fn uid(symbols: &[u8]) -> bool {
    let rest = 11 - weighted(&symbols[3..11], &[5, 4, 3, 2, 7, 6, 5, 4]) % 11;
    symbols.starts_with(b"CHE") && rest != 10 && rest % 11 == digit(symbols[11])
}

/// Date of birth with the century in the month, serial number, check digit (PESEL act, article 15).
fn pesel(digits: &[u8]) -> bool {
    let sum = weighted(&digits[..10], &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
    is_day(number(&digits[4..6]), number(&digits[2..4]) % 20) && (10 - sum % 10) % 10 == digit(digits[10])
}

/// Weights 6, 5, 7, 2, 3, 4, 5, 6, 7 modulo 11, perhaps after the country.
fn nip(symbols: &[u8]) -> bool {
    let digits = match symbols.strip_prefix(b"PL") {
        Some(digits) => digits,
        None if symbols.len() == 10 => symbols,
        None => return false,
    };
    digits[0] != b'0' && weighted(&digits[..9], &[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11 == digit(digits[9])
}
