//! France, Belgium, Spain, Italy, Portugal.

use super::super::checksum::{all_same, digit, is_day, luhn, number, weighted};
use super::super::shape::Number;
use crate::entity::Entity;

pub(super) const NUMBERS: &[Number] = &[
    Number {
        entity: Entity::FR_NIR,
        forms: &[
            ("ddddddddddddddd", 60),
            ("d dd dd dd ddd ddd dd", 85),
            ("ddddddddddddd dd", 70),
            ("ddddddLdddddddd", 65),
            ("d dd dd dL ddd ddd dd", 85),
            ("ddddddLdddddd dd", 70),
            ("d dd dd dd ddd ddd-dd", 85),
            ("d dd dd dL ddd ddd-dd", 85),
            ("d dd dd dd ddd ddd/dd", 85),
            ("d dd dd dL ddd ddd/dd", 85),
            ("d-dd-dd-dd-ddd-ddd-dd", 85),
            ("d.dd.dd.dd.ddd.ddd.dd", 85),
        ],
        check: nir,
    },
    Number {
        entity: Entity::FR_TAX_ID,
        forms: &[("dd dd ddd ddd ddd", 65), ("ddddddddddddd", 30), ("d ddd ddd ddd ddd", 55)],
        check: spi,
    },
    Number {
        entity: Entity::BE_NRN,
        forms: &[
            ("dd.dd.dd-ddd.dd", 85),
            ("ddddddddddd", 25),
            ("dd.dd.dd ddd.dd", 80),
            ("dd.dd.dd-ddd-dd", 80),
            ("dd.dd.dd.ddd.dd", 75),
            ("dd.dd.dd ddd dd", 75),
            ("dd dd dd ddd dd", 50),
            ("dd/dd/dd-ddd.dd", 75),
            ("dd-dd-dd-ddd-dd", 65),
            ("dddddd-ddd.dd", 65),
            ("dddddd-ddd-dd", 60),
            ("dddddd ddd dd", 45),
        ],
        check: nrn,
    },
    Number {
        entity: Entity::ES_DNI,
        forms: &[
            ("ddddddddL", 60),
            ("dddddddd-L", 65),
            ("dd.ddd.ddd-L", 75),
            ("dddddddd L", 40),
            ("dd.ddd.dddL", 70),
            ("dd.ddd.ddd L", 60),
        ],
        check: dni,
    },
    Number {
        entity: Entity::ES_NIE,
        forms: &[
            ("LdddddddL", 62),
            ("L-ddddddd-L", 75),
            ("Lddddddd-L", 68),
            ("L ddddddd L", 60),
            ("L-dddddddL", 68),
            ("L-d.ddd.ddd-L", 75),
            ("L.ddddddd.L", 65),
        ],
        check: nie,
    },
    Number {
        entity: Entity::ES_CIF,
        forms: &[("Ldddddddx", 42), ("L-dddddddx", 55), ("L-ddddddd-x", 55)],
        check: cif,
    },
    Number {
        entity: Entity::IT_FISCAL_CODE,
        forms: &[("LLLLLLxxLxxLxxxL", 85), ("LLL LLL xxLxx LxxxL", 85)],
        check: fiscal_code,
    },
    Number {
        entity: Entity::IT_VAT,
        forms: &[("ddddddddddd", 17), ("LLddddddddddd", 55), ("LL ddddddddddd", 50)],
        check: vat,
    },
    Number {
        entity: Entity::PT_NIF,
        forms: &[
            ("ddddddddd", 15),
            ("ddd ddd ddd", 20),
            ("ddd.ddd.ddd", 20),
            ("LLddddddddd", 50),
            ("LL ddddddddd", 58),
            ("LL ddd ddd ddd", 58),
        ],
        check: nif,
    },
    Number {
        entity: Entity::PT_CITIZEN_CARD,
        forms: &[
            ("ddddddddd xxd", 60),
            ("dddddddd d xxd", 70),
            ("dddddddddxxd", 60),
            ("dddddddd-d-xxd", 70),
            ("dddddddd dxxd", 60),
        ],
        check: citizen_card,
    },
    // A version of two digits leaves nothing but digits.
    Number {
        entity: Entity::PT_CITIZEN_CARD,
        forms: &[("dddddddd d ddd", 18), ("dddddddd-d-ddd", 25), ("dddddddddddd", 9)],
        check: citizen_luhn,
    },
];

/// Sex, year, month, department, and a key modulo 97; Corsica's letters stand for 19 and 18 (INSEE).
fn nir(symbols: &[u8]) -> bool {
    let mut digits: [u8; 15] = [0; 15];
    digits.copy_from_slice(symbols);
    match (symbols[5], symbols[6]) {
        (b'2', b'A') => digits[5..7].copy_from_slice(b"19"),
        (b'2', b'B') => digits[5..7].copy_from_slice(b"18"),
        _ => {}
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let month = number(&digits[3..5]);
    matches!(digits[0], b'1'..=b'4' | b'7' | b'8')
        && matches!(month, 1..=12 | 20 | 30..=42 | 50..)
        && 97 - number(&digits[..13]) % 97 == number(&digits[13..])
}

/// Ten digits and their remainder modulo 511 (DGFiP).
fn spi(digits: &[u8]) -> bool {
    matches!(digits[0], b'0'..=b'3')
        && !all_same(digits)
        && number(&digits[..10]) % 511 == number(&digits[10..])
}

/// A date of birth, a serial number, and 97 less the remainder, with a 2 before it from 2000 on.
fn nrn(digits: &[u8]) -> bool {
    let (first, check) = (number(&digits[..9]), number(&digits[9..]));
    let month = number(&digits[2..4]);
    // Where the birth is not known month and day are 0; numbers of foreigners add 20 or 40 to the month.
    let known = is_day(number(&digits[4..6]), month % 20) || month.is_multiple_of(20);
    known && !all_same(digits) && (97 - first % 97 == check || 97 - (2_000_000_000 + first) % 97 == check)
}

const DNI_LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";

/// The number modulo 23 chooses the letter (Real Decreto 1553/2005).
fn dni(symbols: &[u8]) -> bool {
    number(&symbols[..8]) > 999 && DNI_LETTERS[(number(&symbols[..8]) % 23) as usize] == symbols[8]
}

/// X, Y, Z stand for 0, 1, 2.
fn nie(symbols: &[u8]) -> bool {
    let lead = match symbols[0] {
        letter @ b'X'..=b'Z' => u64::from(letter - b'X'),
        _ => return false,
    };
    let whole = lead * 10_000_000 + number(&symbols[1..8]);
    DNI_LETTERS[(whole % 23) as usize] == symbols[8]
}

/// Luhn over seven digits; the check is a digit or a letter (Orden EHA/451/2008). Which of them belongs to which kind of
/// organization is not asked, as many programs that make and check them do not ask either.
fn cif(symbols: &[u8]) -> bool {
    let sum: u32 = symbols[1..8]
        .iter()
        .enumerate()
        .map(|(i, b)| match (i % 2, 2 * digit(*b)) {
            (0, twice) => twice / 10 + twice % 10,
            _ => digit(*b),
        })
        .sum();
    let check = (10 - sum % 10) % 10;
    let letter = b"JABCDEFGHI"[check as usize] == symbols[8];
    let figure = symbols[8].is_ascii_digit() && digit(symbols[8]) == check;
    b"ABCDEFGHJNPQRSUVW".contains(&symbols[0]) && (letter || figure)
}

/// Values of characters at odd places; at even ones a digit or letter counts as its place (DM 23/12/1976).
const ODD: [u32; 26] =
    [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];

/// Where two people would have the same code, letters stand for digits from the right.
fn fiscal_code(symbols: &[u8]) -> bool {
    let figure = |b: u8| match b {
        b'0'..=b'9' => Some(b),
        _ => b"LMNPQRSTUV".iter().position(|l| *l == b).map(|d| b'0' + d as u8),
    };
    let place = |b: u8| usize::from(if b.is_ascii_digit() { b - b'0' } else { b - b'A' });
    let sum: u32 = symbols[..15]
        .iter()
        .enumerate()
        .map(|(i, b)| if i % 2 == 0 { ODD[place(*b)] } else { place(*b) as u32 })
        .sum();
    let numbers: Option<Vec<u8>> = [6, 7, 9, 10, 12, 13, 14].iter().map(|i| figure(symbols[*i])).collect();
    let Some(numbers) = numbers else { return false };
    let day = number(&numbers[2..4]);
    b"ABCDEHLMPRST".contains(&symbols[8])
        && matches!(day, 1..=31 | 41..=71)
        && symbols[15] == b'A' + (sum % 26) as u8
}

/// Luhn (DPR 633/1972), perhaps after the country.
fn vat(symbols: &[u8]) -> bool {
    let digits = match symbols.strip_prefix(b"IT") {
        Some(digits) => digits,
        None if symbols.len() == 11 => symbols,
        None => return false,
    };
    !all_same(digits) && number(&digits[..7]) != 0 && luhn(digits)
}

/// Weights 9 to 2 modulo 11, perhaps after the country.
fn nif(symbols: &[u8]) -> bool {
    let digits = match symbols.strip_prefix(b"PT") {
        Some(digits) => digits,
        None if symbols.len() == 9 => symbols,
        None => return false,
    };
    let rest = weighted(&digits[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    let check = if rest < 2 { 0 } else { 11 - rest };
    matches!(digits[0], b'1'..=b'3' | b'5' | b'6' | b'8' | b'9') && check == digit(digits[8])
}

/// With a letter in its version.
fn citizen_card(symbols: &[u8]) -> bool {
    symbols[9..11].iter().any(u8::is_ascii_uppercase) && citizen_luhn(symbols)
}

/// Luhn with letters from 10 on (AMA, "Validação de número de documento do cartão de cidadão").
fn citizen_luhn(symbols: &[u8]) -> bool {
    let value = |b: u8| if b.is_ascii_digit() { digit(b) } else { u32::from(b - b'A') + 10 };
    let sum: u32 = symbols
        .iter()
        .rev()
        .enumerate()
        .map(|(i, b)| match (i % 2, value(*b)) {
            (0, v) => v,
            (_, v) if 2 * v > 9 => 2 * v - 9,
            (_, v) => 2 * v,
        })
        .sum();
    sum.is_multiple_of(10)
}
