//! Addresses of cryptocurrencies, by their checksums: base58check (Bitcoin, Litecoin, Dogecoin, Tron),
//! bech32 and bech32m (BIP 173, 350), and Ethereum's mixed case (EIP-55).

use sha2::{Digest, Sha256};
use sha3::Keccak256;

use super::sight::Sight;
use crate::entity::Entity;

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// Bytes of an address at most (BIP 173).
const MAX: usize = 90;
/// What begins the readable part of a bech32 address.
const READABLE: [&str; 5] = ["bc1", "tb1", "ltc1", "bcrt1", "addr1"];
/// First bytes of base58check addresses that are known: Bitcoin, Litecoin, Dogecoin, Tron, test nets.
const VERSIONS: [u8; 9] = [0x00, 0x05, 0x30, 0x32, 0x1E, 0x16, 0x41, 0x6F, 0xC4];

/// Any of them.
pub(super) fn judge(sight: &mut Sight<'_, '_>) {
    let (window, at) = (sight.window, sight.at());
    let Some(first) = window.byte(at) else { return };
    if !b"0123LMDTAabtmn9Bl".contains(&first) || !sight.wants(Entity::CRYPTO_ADDRESS) {
        return;
    }
    let end = window.run(at, MAX + 1, |b| b.is_ascii_alphanumeric());
    if !(26..=MAX).contains(&(end - at)) || !window.word_ends(end) {
        return;
    }
    let text = window.text(at, end);
    if let Some(hex) = text.strip_prefix("0x") {
        if let Some(worth) = ethereum(hex) {
            sight.propose(Entity::CRYPTO_ADDRESS, worth, end);
        }
    } else if bech32(text) || base58check(text) {
        sight.propose(Entity::CRYPTO_ADDRESS, 95, end);
    }
}

/// What a hexadecimal address is worth: in mixed case the case is a checksum, in lower case nothing is.
fn ethereum(hex: &str) -> Option<u8> {
    if hex.len() != 40 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let letters = || hex.bytes().filter(u8::is_ascii_alphabetic);
    if letters().all(|b| b.is_ascii_lowercase()) || letters().all(|b| b.is_ascii_uppercase()) {
        return Some(60);
    }
    let hash = Keccak256::digest(hex.to_ascii_lowercase());
    let right = hex.bytes().enumerate().all(|(i, b)| {
        let nibble = hash[i / 2] >> (if i % 2 == 0 { 4 } else { 0 }) & 15;
        b.is_ascii_digit() || b.is_ascii_uppercase() == (nibble >= 8)
    });
    right.then_some(95)
}

fn bech32(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let mixed = text.bytes().any(|b| b.is_ascii_lowercase()) && text.bytes().any(|b| b.is_ascii_uppercase());
    if mixed || !READABLE.iter().any(|prefix| lower.starts_with(prefix)) {
        return false;
    }
    let Some((readable, data)) = lower.rsplit_once('1') else { return false };
    let values: Option<Vec<u32>> =
        data.bytes().map(|b| BECH32.iter().position(|c| *c == b).map(|i| i as u32)).collect();
    let Some(values) = values else { return false };
    let high = readable.bytes().map(|b| u32::from(b >> 5));
    let low = readable.bytes().map(|b| u32::from(b & 31));
    let checksum = high.chain([0]).chain(low).chain(values).fold(1u32, |sum, value| {
        const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
        let top = sum >> 25;
        let next = (sum & 0x1ff_ffff) << 5 ^ value;
        GENERATOR.iter().enumerate().fold(next, |sum, (i, g)| if top >> i & 1 == 1 { sum ^ g } else { sum })
    });
    checksum == 1 || checksum == 0x2bc8_30a3
}

fn base58check(text: &str) -> bool {
    if !(26..=36).contains(&text.len()) {
        return false;
    }
    // 25 bytes: a version, a hash of 20, the first four of its double SHA-256.
    let mut bytes = [0u8; 25];
    for symbol in text.bytes() {
        let Some(value) = BASE58.iter().position(|c| *c == symbol) else { return false };
        let mut carry = value as u32;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry > 0 {
            return false;
        }
    }
    let (payload, check) = bytes.split_at(21);
    VERSIONS.contains(&payload[0]) && Sha256::digest(Sha256::digest(payload))[..4] == *check
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From BIP 173, BIP 350, EIP-55, and Bitcoin's first block.
    #[test]
    fn published_addresses_check_and_a_wrong_character_does_not() {
        assert!(base58check("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"));
        assert!(!base58check("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb"));
        assert!(bech32("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"));
        assert!(bech32("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"));
        assert!(!bech32("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5"));
        assert_eq!(ethereum("5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"), Some(95));
        assert_eq!(ethereum("5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed"), None);
        assert_eq!(ethereum("5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"), Some(60));
    }
}
