//! United Kingdom.

use super::super::checksum::{digit, weighted};
use super::super::shape::Number;
use crate::entity::Entity;

pub(super) const NUMBERS: &[Number] = &[
    Number {
        entity: Entity::UK_NHS,
        forms: &[("ddd ddd dddd", 42), ("ddd-ddd-dddd", 20), ("dddddddddd", 17)],
        check: nhs,
    },
    Number {
        entity: Entity::UK_NINO,
        forms: &[("LLddddddL", 52), ("LL dd dd dd L", 70), ("LL-dd-dd-dd-L", 70), ("LL dddddd L", 65)],
        check: nino,
    },
];

/// Weights 10 to 2 modulo 11 (NHS Data Dictionary, "NHS number").
fn nhs(digits: &[u8]) -> bool {
    let rest = 11 - weighted(&digits[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    rest != 10 && rest % 11 == digit(digits[9]) && digits[0] != b'0'
}

/// Prefixes that are given out (HMRC, National Insurance Manual NIM39110).
fn nino(symbols: &[u8]) -> bool {
    let prefix = &symbols[..2];
    !b"DFIQUV".contains(&prefix[0])
        && !b"DFIOQUV".contains(&prefix[1])
        && ![b"BG", b"GB", b"NK", b"KN", b"TN", b"NT", b"ZZ"].iter().any(|bad| *bad == prefix)
        && (b'A'..=b'D').contains(&symbols[8])
}
