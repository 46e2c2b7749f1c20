//! India, Australia, Singapore, South Korea.

use super::super::checksum::{all_same, digit, is_mmdd, number, verhoeff, weighted};
use super::super::shape::Number;
use crate::entity::Entity;

pub(super) const NUMBERS: &[Number] = &[
    Number {
        entity: Entity::IN_AADHAAR,
        forms: &[("dddd dddd dddd", 60), ("dddd-dddd-dddd", 60), ("dddddddddddd", 30)],
        check: aadhaar,
    },
    Number { entity: Entity::IN_PAN, forms: &[("LLLLLddddL", 45)], check: pan },
    Number {
        entity: Entity::AU_TFN,
        forms: &[("ddd ddd ddd", 22), ("ddddddddd", 17), ("ddd-ddd-ddd", 20)],
        check: tfn,
    },
    Number {
        entity: Entity::AU_ABN,
        forms: &[("dd ddd ddd ddd", 60), ("ddddddddddd", 25), ("dd-ddd-ddd-ddd", 50)],
        check: abn,
    },
    Number {
        entity: Entity::AU_MEDICARE,
        forms: &[
            ("dddd ddddd d", 48),
            ("dddddddddd", 17),
            ("dddd ddddd d/d", 60),
            ("dddd-ddddd-d", 45),
            ("ddddddddddd", 17),
        ],
        check: medicare,
    },
    Number { entity: Entity::SG_NRIC, forms: &[("LdddddddL", 62)], check: nric },
    Number {
        entity: Entity::KR_RRN,
        forms: &[("dddddd-ddddddd", 70), ("ddddddddddddd", 25)],
        check: rrn_checked,
    },
    // Numbers given out since October 2020 have no check digit.
    Number { entity: Entity::KR_RRN, forms: &[("dddddd-ddddddd", 40), ("ddddddddddddd", 12)], check: rrn },
];

/// Verhoeff; 0 and 1 do not begin one (UIDAI).
fn aadhaar(digits: &[u8]) -> bool {
    digits[0] > b'1' && !all_same(digits) && verhoeff(digits)
}

/// The fourth letter is the kind of holder (Income Tax Department); the check letter is not published.
fn pan(symbols: &[u8]) -> bool {
    b"ABCFGHJLPTK".contains(&symbols[3]) && number(&symbols[5..9]) != 0
}

/// Weights modulo 11 (ATO).
fn tfn(digits: &[u8]) -> bool {
    !all_same(digits) && weighted(digits, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11)
}

/// The first digit less one, weights modulo 89 (ABR, "Format of the ABN").
fn abn(digits: &[u8]) -> bool {
    digits[0] != b'0' && (weighted(digits, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]) - 10).is_multiple_of(89)
}

/// The ninth digit checks eight; 2 to 6 begin one (Services Australia).
fn medicare(digits: &[u8]) -> bool {
    matches!(digits[0], b'2'..=b'6')
        && digits[9] != b'0'
        && weighted(&digits[..8], &[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == digit(digits[8])
}

/// Weights modulo 11 choose the last letter, by the first.
fn nric(symbols: &[u8]) -> bool {
    let (offset, letters): (u32, &[u8; 11]) = match symbols[0] {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        b'M' => (3, b"XWUTRQPNJLK"),
        _ => return false,
    };
    let sum = offset + weighted(&symbols[1..8], &[2, 7, 6, 5, 4, 3, 2]);
    letters[(sum % 11) as usize] == symbols[8]
}

/// A date of birth, and a sex and century.
fn rrn(digits: &[u8]) -> bool {
    is_mmdd(&digits[2..6]) && matches!(digits[6], b'1'..=b'8')
}

/// The same with the check digit modulo 11.
fn rrn_checked(digits: &[u8]) -> bool {
    let sum = weighted(&digits[..12], &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]);
    rrn(digits) && (11 - sum % 11) % 10 == digit(digits[12])
}
