//! Check digits, each as its standard defines it. Digits come as ASCII.

/// What an ASCII digit stands for.
#[inline]
pub(super) fn digit(b: u8) -> u32 {
    u32::from(b.wrapping_sub(b'0'))
}

/// The number that digits spell; at most 18 of them.
pub(super) fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |n, b| n * 10 + u64::from(digit(*b)))
}

/// The sum of products of digits and weights.
pub(super) fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(b, w)| digit(*b) * w).sum()
}

/// ISO/IEC 7812-1, annex B.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, b)| match (i % 2, digit(*b)) {
            (0, d) => d,
            (_, d) if d > 4 => 2 * d - 9,
            (_, d) => 2 * d,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// ISO 7064, MOD 97-10, of letters and digits, a letter being two digits; the remainder is 1.
pub(super) fn mod97(symbols: impl Iterator<Item = u8>) -> bool {
    let remainder = symbols.fold(0u32, |r, b| match b {
        b'0'..=b'9' => (r * 10 + digit(b)) % 97,
        _ => (r * 100 + u32::from(b.wrapping_sub(b'A')) + 10) % 97,
    });
    remainder == 1
}

/// ISO 7064, MOD 11,10; the last digit checks.
pub(super) fn mod11_10(digits: &[u8]) -> bool {
    let Some((check, rest)) = digits.split_last() else { return false };
    let product = rest.iter().fold(10, |product, b| {
        let sum = (digit(*b) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == digit(*check)
}

/// Verhoeff's dihedral check (1969); the last digit checks.
pub(super) fn verhoeff(digits: &[u8]) -> bool {
    // The dihedral group of a pentagon: rotations are 0 to 4, reflections 5 to 9.
    let product = |a: u32, b: u32| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b) % 5,
        (false, true) => 5 + (a - b) % 5,
        (false, false) => (a + 5 - b) % 5,
    };
    const PERMUTATION: [u32; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let permuted = |times: usize, d: u32| (0..times % 8).fold(d, |d, _| PERMUTATION[d as usize]);
    let check = digits.iter().rev().enumerate().fold(0, |c, (i, b)| product(c, permuted(i, digit(*b))));
    check == 0
}

/// Whether there is such a day; `day` and `month` count from 1.
pub(super) fn is_day(day: u64, month: u64) -> bool {
    let days = match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// Whether `ddmmyy` begins `digits`.
pub(super) fn is_ddmm(digits: &[u8]) -> bool {
    digits.len() >= 4 && is_day(number(&digits[..2]), number(&digits[2..4]))
}

/// Whether `mmdd` begins `digits`.
pub(super) fn is_mmdd(digits: &[u8]) -> bool {
    digits.len() >= 4 && is_day(number(&digits[2..4]), number(&digits[..2]))
}

/// Whether all are the same, as in examples that somebody made up.
pub(super) fn all_same(digits: &[u8]) -> bool {
    digits.windows(2).all(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_examples_check_and_their_neighbours_do_not() {
        assert!(luhn(b"4111111111111111") && !luhn(b"4111111111111112"));
        assert!(mod97(b"370400440532013000DE89".iter().copied()));
        assert!(!mod97(b"370400440532013000DE88".iter().copied()));
        assert!(mod11_10(b"86095742719") && !mod11_10(b"86095742718"));
        assert!(verhoeff(b"2363") && !verhoeff(b"2364") && !verhoeff(b"2633"));
        assert!(is_day(29, 2) && !is_day(30, 2) && !is_day(0, 1) && !is_day(1, 13));
    }

    #[test]
    fn verhoeff_finds_every_wrong_digit_and_swap() {
        let right = b"234567890124";
        assert!(verhoeff(right));
        for at in 0..right.len() {
            for other in b'0'..=b'9' {
                let mut wrong = *right;
                wrong[at] = other;
                assert_eq!(verhoeff(&wrong), wrong == *right);
            }
            let mut swapped = *right;
            swapped.swap(at, (at + 1) % right.len());
            assert!(at + 1 == right.len() || !verhoeff(&swapped));
        }
    }
}
