//! Netherlands, Sweden, Finland, Denmark, Norway.

use super::super::checksum::{all_same, digit, is_day, is_ddmm, luhn, number, weighted};
use super::super::shape::Number;
use crate::entity::Entity;

pub(super) const NUMBERS: &[Number] = &[
    Number {
        entity: Entity::NL_BSN,
        forms: &[
            ("ddddddddd", 17),
            ("dddd.dd.ddd", 30),
            ("ddd.ddd.ddd", 20),
            ("dddd dd ddd", 22),
            ("ddd ddd ddd", 17),
        ],
        check: bsn,
    },
    Number {
        entity: Entity::SE_PERSONAL_NUMBER,
        forms: &[
            ("dddddd-dddd", 60),
            ("dddddddd-dddd", 70),
            ("dddddd+dddd", 60),
            ("dddddddddddd", 40),
            ("dddddddddd", 17),
        ],
        check: personnummer,
    },
    // Of six digits that may be a day elsewhere the other way round, and these are rare.
    Number {
        entity: Entity::SE_PERSONAL_NUMBER,
        forms: &[
            ("dddddd-dddd", 28),
            ("dddddddd-dddd", 68),
            ("dddddd+dddd", 60),
            ("dddddddddddd", 38),
            ("dddddddddd", 15),
        ],
        check: samordningsnummer,
    },
    // The sign between tells the century, so it belongs to the check.
    Number {
        entity: Entity::FI_HETU,
        forms: &[("dddddd-dddx", 60), ("dddddd+dddx", 60), ("ddddddLdddx", 65)],
        check: hetu,
    },
    Number {
        entity: Entity::DK_CPR,
        forms: &[("dddddd-dddd", 30), ("dddddddddd", 16), ("dddddd dddd", 20)],
        check: cpr,
    },
    Number {
        entity: Entity::NO_FNR,
        forms: &[("ddddddddddd", 45), ("dddddd ddddd", 60), ("dddddd-ddddd", 55)],
        check: fnr,
    },
];

/// The test of eleven: weights 9 to 2 and -1.
fn bsn(digits: &[u8]) -> bool {
    let sum = weighted(&digits[..8], &[9, 8, 7, 6, 5, 4, 3, 2]);
    !all_same(digits) && sum % 11 == digit(digits[8])
}

/// Luhn over the last ten (Skatteverket, SKV 704).
fn personnummer(digits: &[u8]) -> bool {
    swedish(digits, 0)
}

/// The same of people who do not live there: 60 is added to the day (Skatteverket, SKV 707).
fn samordningsnummer(digits: &[u8]) -> bool {
    swedish(digits, 60)
}

fn swedish(digits: &[u8], added: u64) -> bool {
    let short = &digits[digits.len() - 10..];
    let century = digits.len() == 10 || matches!(&digits[..2], b"18" | b"19" | b"20");
    let day = number(&short[4..6]).checked_sub(added);
    century && day.is_some_and(|day| is_day(day, number(&short[2..4]))) && luhn(short)
}

/// The number without its sign modulo 31 chooses the last character (DVV).
fn hetu(symbols: &[u8]) -> bool {
    let (date, rest) = symbols.split_at(6);
    // A letter in the middle stands for the sign.
    let serial = match rest {
        [sign, serial @ ..] if serial.len() == 4 && b"ABCDEFUVWXY".contains(sign) => serial,
        serial if serial.len() == 4 => serial,
        _ => return false,
    };
    let whole = number(date) * 1000 + number(&serial[..3]);
    is_ddmm(date)
        && number(&serial[..3]) >= 2
        && b"0123456789ABCDEFHJKLMNPRSTUVWXY"[(whole % 31) as usize] == serial[3]
}

/// A date of birth. Since 2007 there is no check digit that holds (CPR-kontoret).
fn cpr(digits: &[u8]) -> bool {
    is_ddmm(digits) && number(&digits[6..]) != 0
}

/// A date of birth and two check digits modulo 11; D numbers add 40 to the day (Skatteetaten).
fn fnr(digits: &[u8]) -> bool {
    let check = |n: usize, weights: &[u32]| {
        let rest = (11 - weighted(&digits[..n], weights) % 11) % 11;
        rest != 10 && rest == digit(digits[n])
    };
    let day = number(&digits[..2]);
    is_day(if day > 40 { day - 40 } else { day }, number(&digits[2..4]))
        && check(9, &[3, 7, 6, 1, 8, 9, 4, 5, 2])
        && check(10, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2])
}
