//! Addresses of cryptocurrencies, by their checksums where they have one that is cheap to judge: base58check (Bitcoin,
//! Litecoin, Dogecoin, Dash, Zcash, Tron, Tezos, NEO, XRP), bech32 and bech32m (BIP 173, 350; Bitcoin, Cardano, Cosmos and
//! its kin), CashAddr (Bitcoin Cash, Kaspa), Ethereum's mixed case (EIP-55), Monero, Stellar, Algorand and TON. Others, as
//! Solana's and Polkadot's, are known by their alphabet and a word beside them.

use sha2::{Digest, Sha512_256};
use sha3::Keccak256;

use super::base58;
use super::random::is_mixed;
use super::sight::Sight;
use crate::entity::Entity;
use crate::scan::window::Window;

const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// Letters and digits of an address at least and at most (Cardano's are the longest).
const LENGTHS: std::ops::RangeInclusive<usize> = 25..=120;
/// What begins things in bech32 that are no addresses: keys and texts of Nostr, keys of age.
const NOT_ADDRESSES: [&str; 6] = ["npub", "nsec", "note", "nevent", "nprofile", "age"];
/// What a checksum that fits is worth.
const CHECKED: u8 = 95;
/// What `0x` and forty digits are worth: little else is written so.
const UNCHECKED: u8 = 85;
/// What an address is worth that only a word beside it can confirm.
const IN_CONTEXT: u8 = 20;

/// Any of them.
pub(super) fn judge(sight: &mut Sight<'_, '_>) {
    let (window, at) = (sight.window, sight.at());
    if !sight.wants(Entity::CRYPTO_ADDRESS) {
        return;
    }
    let end = window.run(at, LENGTHS.end() + 1, |b| b.is_ascii_alphanumeric());
    let text = window.text(at, end);
    if window.byte(end) == Some(b':') && matches!(text, "bitcoincash" | "bchtest" | "ecash" | "kaspa") {
        let to = window.run(end + 1, 80, |b| b.is_ascii_alphanumeric());
        if window.word_ends(to) && cash_address(text, window.text(end + 1, to)) {
            sight.propose(Entity::CRYPTO_ADDRESS, CHECKED, to);
        }
        return;
    }
    if let Some((to, worth)) = with_signs(window, text, end) {
        sight.propose(Entity::CRYPTO_ADDRESS, worth, to);
    } else if LENGTHS.contains(&text.len())
        && window.word_ends(end)
        && let Some(worth) = worth(text)
    {
        sight.propose(Entity::CRYPTO_ADDRESS, worth, end);
    }
}

/// What an address of letters and digits is worth.
fn worth(text: &str) -> Option<u8> {
    if let Some(hex) = text.strip_prefix("0x") {
        return hexadecimal(hex);
    }
    let checked = bech32(text)
        || cash_address("bitcoincash", text)
        || base58::is_address(text)
        || monero(text)
        || stellar(text)
        || algorand(text);
    if checked {
        return Some(CHECKED);
    }
    (text.len() <= 64 && is_mixed(text) && base58::is_written(text)).then_some(IN_CONTEXT)
}

/// Addresses with signs in them, the first of whose parts is `text`: TON's in base64url, Nano's behind `nano_`, Cardano's
/// of its test net.
fn with_signs(window: &Window<'_>, text: &str, end: usize) -> Option<(usize, u8)> {
    let at = window.at;
    if matches!(text, "nano" | "xrb") && window.byte(end) == Some(b'_') {
        let of = |b: u8| b"13456789abcdefghijkmnopqrstuwxyz".contains(&b);
        let to = window.run(end + 1, 61, of);
        return (to - end == 61 && window.word_ends(to)).then_some((to, CHECKED));
    }
    if matches!(text, "addr" | "stake") && window.has(end, b"_test1") {
        let to = window.run(end + 1, *LENGTHS.end(), |b| b.is_ascii_alphanumeric());
        return (window.word_ends(to) && bech32(window.text(at, to))).then_some((to, CHECKED));
    }
    if !matches!(window.byte(at), Some(b'E' | b'U' | b'k' | b'0')) {
        return None;
    }
    let to = window.run(at, 49, |b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    (to - at == 48 && ton(window.text(at, to))).then_some((to, CHECKED))
}

/// What a hexadecimal address is worth: in mixed case the case is a checksum, in lower case nothing is. Of 64 digits
/// (Sui, Aptos, Starknet) it looks like any hash.
fn hexadecimal(hex: &str) -> Option<u8> {
    if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    match hex.len() {
        40 => ethereum(hex),
        63 | 64 => Some(IN_CONTEXT),
        _ => None,
    }
}

fn ethereum(hex: &str) -> Option<u8> {
    let letters = || hex.bytes().filter(u8::is_ascii_alphabetic);
    if letters().all(|b| b.is_ascii_lowercase()) || letters().all(|b| b.is_ascii_uppercase()) {
        return Some(UNCHECKED);
    }
    let hash = Keccak256::digest(hex.to_ascii_lowercase());
    let right = hex.bytes().enumerate().all(|(i, b)| {
        let nibble = hash[i / 2] >> (if i % 2 == 0 { 4 } else { 0 }) & 15;
        b.is_ascii_digit() || b.is_ascii_uppercase() == (nibble >= 8)
    });
    right.then_some(CHECKED)
}

/// The values of symbols of five bits.
fn fives(data: &str) -> Option<Vec<u8>> {
    data.bytes().map(|b| BECH32.iter().position(|c| *c == b).map(|i| i as u8)).collect()
}

fn bech32(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let mixed = text.bytes().any(|b| b.is_ascii_lowercase()) && text.bytes().any(|b| b.is_ascii_uppercase());
    let Some((readable, data)) = lower.rsplit_once('1') else { return false };
    let letters = readable.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if mixed || readable.is_empty() || readable.len() > 16 || !letters || NOT_ADDRESSES.contains(&readable) {
        return false;
    }
    let Some(values) = fives(data).filter(|values| values.len() >= 14) else { return false };
    let high = readable.bytes().map(|b| u32::from(b >> 5));
    let low = readable.bytes().map(|b| u32::from(b & 31));
    let values = values.into_iter().map(u32::from);
    let checksum = high.chain([0]).chain(low).chain(values).fold(1u32, |sum, value| {
        const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
        let top = sum >> 25;
        let next = (sum & 0x1ff_ffff) << 5 ^ value;
        GENERATOR.iter().enumerate().fold(next, |sum, (i, g)| if top >> i & 1 == 1 { sum ^ g } else { sum })
    });
    checksum == 1 || checksum == 0x2bc8_30a3
}

/// CashAddr (Bitcoin Cash's specification of 2017): five bits a symbol and forty of checksum.
fn cash_address(prefix: &str, data: &str) -> bool {
    if !(42..=80).contains(&data.len()) {
        return false;
    }
    let Some(values) = fives(data) else { return false };
    let prefix = prefix.bytes().map(|b| u64::from(b & 31)).chain([0]);
    let checksum = prefix.chain(values.into_iter().map(u64::from)).fold(1u64, |sum, value| {
        const GENERATOR: [u64; 5] =
            [0x98_f2bc_8e61, 0x79_b76d_99e2, 0xf3_3e5f_b3c4, 0xae_2eab_e2a8, 0x1e_4f43_e470];
        let top = sum >> 35;
        let next = (sum & 0x07_ffff_ffff) << 5 ^ value;
        GENERATOR.iter().enumerate().fold(next, |sum, (i, g)| if top >> i & 1 == 1 { sum ^ g } else { sum })
    });
    checksum == 1
}

/// Monero's: a kind, two keys, perhaps a payment's id, and the beginning of their Keccak hash.
fn monero(text: &str) -> bool {
    if !matches!(text.len(), 95 | 106) || !text.starts_with(['4', '8']) {
        return false;
    }
    let Some(bytes) = base58::in_blocks(text) else { return false };
    let Some((payload, check)) = bytes.split_last_chunk::<4>() else { return false };
    matches!(payload[0], 0x12 | 0x13 | 0x2A) && Keccak256::digest(payload)[..4] == *check
}

/// The bytes of base32 (RFC 4648, 6) without padding.
fn base32(text: &str) -> Option<Vec<u8>> {
    let (mut bits, mut held, mut bytes) = (0u32, 0u32, Vec::with_capacity(text.len() * 5 / 8));
    for b in text.bytes() {
        let value = match b {
            b'A'..=b'Z' => b - b'A',
            b'2'..=b'7' => b - b'2' + 26,
            _ => return None,
        };
        held = held << 5 | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

/// Stellar's accounts, plain and multiplexed (SEP-23): a kind, a key, and a CRC.
fn stellar(text: &str) -> bool {
    let kind = match (text.len(), text.as_bytes()[0]) {
        (56, b'G') => 6 << 3,
        (69, b'M') => 12 << 3,
        _ => return false,
    };
    let Some(bytes) = base32(text) else { return false };
    let Some((payload, check)) = bytes.split_last_chunk::<2>() else { return false };
    payload[0] == kind && crc16(payload).to_le_bytes() == *check
}

/// Algorand's: a key and the end of its SHA-512/256.
fn algorand(text: &str) -> bool {
    if text.len() != 58 {
        return false;
    }
    let Some(bytes) = base32(text) else { return false };
    bytes.len() == 36 && Sha512_256::digest(&bytes[..32])[28..] == bytes[32..]
}

/// TON's, as people write them (TEP-2): 36 bytes in base64url, of which the last two are a CRC.
fn ton(text: &str) -> bool {
    let (mut held, mut bytes) = (0u32, Vec::with_capacity(36));
    for (i, b) in text.bytes().enumerate() {
        let value = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return false,
        };
        held = held << 6 | u32::from(value);
        if i % 4 == 3 {
            bytes.extend_from_slice(&held.to_be_bytes()[1..]);
            held = 0;
        }
    }
    let Some((payload, check)) = bytes.split_last_chunk::<2>() else { return false };
    matches!(payload[0], 0x11 | 0x51 | 0x91 | 0xD1) && crc16(payload).to_be_bytes() == *check
}

/// CRC-16 with the polynomial 0x1021 that begins with zero (XMODEM).
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, b| {
        (0..8).fold(
            crc ^ u16::from(*b) << 8,
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From BIP 173, BIP 350, EIP-55, CashAddr's specification, SEP-23, and what projects print as examples.
    #[test]
    fn published_addresses_check_and_a_wrong_character_does_not() {
        for address in [
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            "addr1qx2fxv2umyhttkxyxp8x0dlpdt3k6cwng5pxj3jhsydzer3n0d3vllmyqwsx5wktcd8cc3sq835lu7drv2xwl2wywfgse35a3x",
            "qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a",
            "GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZ",
            "MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUQ",
            "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A",
            "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        ] {
            let judged = |text: &str| match text.len() {
                40 => ethereum(text),
                _ => worth(text),
            };
            assert_eq!(judged(address), Some(CHECKED), "{address}");
            let swapped = address.len() - 2;
            let other = if address.as_bytes()[swapped] == b'A' { "C" } else { "A" };
            let wrong = format!("{}{other}{}", &address[..swapped], &address[swapped + 1..]);
            assert_ne!(judged(&wrong), Some(CHECKED), "{wrong}");
        }
        assert!(cash_address("bitcoincash", "qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a"));
        assert_eq!(ethereum("5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"), Some(UNCHECKED));
        assert!(ton("EQCD39VS5jcptHL8vMjEXrzGaRcCVYto7HUn4bpAOg8xqB2N"));
        assert!(!ton("EQCD39VS5jcptHL8vMjEXrzGaRcCVYto7HUn4bpAOg8xqB2M"));
        assert!(algorand("7ZUECA7HFLZTXENRV24SHLU4AVPUTMTTDUFUBNBD64C73F3UHRTHAIOF6Q"));
        assert!(!bech32("npub1sn0wdenkukak0d9dfczzeacvhkrgz92ak56egt7vdgzn8pv2wfqqhrjdv9"));
        assert_eq!(worth("7EcDhSYGxXyscszYEp35KHN8vvw3svAuLKTzXwCFLtV"), Some(IN_CONTEXT));
    }
}
