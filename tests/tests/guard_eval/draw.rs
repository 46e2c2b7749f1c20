//! Seeded draws, and what all of them draw from.

use std::collections::BTreeMap;

pub(crate) const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
pub(crate) const UPPER_DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
/// Small letters and digits.
pub(crate) const LOWER: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
pub(crate) const MIXED: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
pub(crate) const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
pub(crate) const URL_SAFE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
pub(crate) const HEX: &str = "0123456789abcdef";

/// Values that others wrote, by entity.
pub(crate) type ByEntity = BTreeMap<&'static str, Vec<&'static str>>;

/// The values of a file of lines: an entity, a tab and a value.
pub(crate) fn by_entity(file: &'static str) -> ByEntity {
    let mut values = ByEntity::new();
    for line in file.lines() {
        let (entity, value) = line.split_once('\t').expect("an entity, a tab and a value");
        values.entry(entity).or_default().push(value);
    }
    values
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Draw {
        Draw(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.range(0, from.len() as u64 - 1) as usize]
    }

    /// `length` of `alphabet`.
    pub(crate) fn of(&mut self, alphabet: &str, length: usize) -> String {
        let symbols: Vec<char> = alphabet.chars().collect();
        (0..length).map(|_| symbols[self.range(0, symbols.len() as u64 - 1) as usize]).collect()
    }

    pub(crate) fn digits(&mut self, length: usize) -> String {
        self.of("0123456789", length)
    }

    /// A form filled in: `#` is the next of `symbols`.
    pub(crate) fn written(&mut self, forms: &[&str], symbols: &str) -> String {
        let form = self.pick(forms);
        let mut symbols = symbols.chars();
        form.chars()
            .map(|c| if c == '#' { symbols.next().expect("as many symbols as the form has") } else { c })
            .collect()
    }
}
