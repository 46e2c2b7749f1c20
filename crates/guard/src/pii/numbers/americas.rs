//! United States, Canada, Brazil.

use super::super::checksum::{all_same, digit, luhn, number, weighted};
use super::super::shape::Number;
use crate::entity::Entity;

pub(super) const NUMBERS: &[Number] = &[
    Number {
        entity: Entity::US_SSN,
        forms: &[("ddd-dd-dddd", 45), ("ddd dd dddd", 25), ("ddddddddd", 12)],
        check: ssn,
    },
    Number {
        entity: Entity::US_ITIN,
        forms: &[("ddd-dd-dddd", 52), ("ddd dd dddd", 28), ("ddddddddd", 15)],
        check: itin,
    },
    Number { entity: Entity::US_ABA, forms: &[("ddddddddd", 17), ("dddd-dddd-d", 25)], check: aba },
    Number { entity: Entity::US_NPI, forms: &[("dddddddddd", 17)], check: npi },
    Number {
        entity: Entity::US_MBI,
        forms: &[("dLxdLxdLLdd", 55), ("dLxd-Lxd-LLdd", 65), ("dLxd Lxd LLdd", 62)],
        check: mbi,
    },
    Number {
        entity: Entity::CA_SIN,
        forms: &[("ddd ddd ddd", 20), ("ddd-ddd-ddd", 22), ("ddddddddd", 15)],
        check: sin,
    },
    Number { entity: Entity::BR_CPF, forms: &[("ddd.ddd.ddd-dd", 75), ("ddddddddddd", 20)], check: cpf },
    Number {
        entity: Entity::BR_CNPJ,
        forms: &[("xx.xxx.xxx/xxxx-dd", 80), ("xxxxxxxxxxxxdd", 25)],
        check: cnpj,
    },
];

/// Areas, groups and serial numbers that were never given out (SSA, "SSN randomization").
fn ssn(digits: &[u8]) -> bool {
    let (area, group, serial) = (number(&digits[..3]), number(&digits[3..5]), number(&digits[5..]));
    !matches!(area, 0 | 666 | 900..)
        && group != 0
        && serial != 0
        && !matches!(digits, b"123456789" | b"078051120")
}

/// Begins with 9, and its group is one of those of ITINs (IRS, Internal Revenue Manual 3.21.263).
fn itin(digits: &[u8]) -> bool {
    digits[0] == b'9' && matches!(number(&digits[3..5]), 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

/// Weights 3, 7, 1, and a district of the Federal Reserve (ABA routing number policy).
fn aba(digits: &[u8]) -> bool {
    let district = number(&digits[..2]);
    matches!(district, 1..=12 | 21..=32 | 61..=72 | 80)
        && weighted(digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)
}

/// Luhn over 80840 and the number (CMS, "NPI check digit").
fn npi(digits: &[u8]) -> bool {
    let mut whole = *b"808400000000000";
    whole[5..].copy_from_slice(digits);
    matches!(digits[0], b'1' | b'2') && luhn(&whole)
}

/// Letters without S, L, O, I, B, Z at their places (CMS, "Understanding the MBI format").
fn mbi(symbols: &[u8]) -> bool {
    let letters = [1, 4, 7, 8].iter().all(|i| symbols[*i].is_ascii_uppercase());
    let digits = [0, 3, 6, 9, 10].iter().all(|i| symbols[*i].is_ascii_digit());
    letters && digits && symbols[0] != b'0' && !symbols.iter().any(|b| b"SLOIBZ".contains(b))
}

/// Luhn; 0 and 8 do not begin one (Employment and Social Development Canada).
fn sin(digits: &[u8]) -> bool {
    !matches!(digits[0], b'0' | b'8') && luhn(digits)
}

/// Two check digits modulo 11 (Receita Federal).
fn cpf(digits: &[u8]) -> bool {
    let check = |n: usize| {
        let sum: u32 = digits[..n].iter().zip((2..=n as u32 + 1).rev()).map(|(b, w)| digit(*b) * w).sum();
        sum * 10 % 11 % 10 == digit(digits[n])
    };
    !all_same(digits) && check(9) && check(10)
}

/// The same with weights 2 to 9 from the right; letters, since 2026, by their ASCII codes.
fn cnpj(symbols: &[u8]) -> bool {
    let check = |n: usize| {
        let weights = (2..=9u32).cycle();
        let sum: u32 = symbols[..n].iter().rev().zip(weights).map(|(b, w)| digit(*b) * w).sum();
        let rest = sum % 11;
        (if rest < 2 { 0 } else { 11 - rest }) == digit(symbols[n])
    };
    !all_same(symbols) && symbols[12..].iter().all(u8::is_ascii_digit) && check(12) && check(13)
}
