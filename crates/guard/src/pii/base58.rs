//! Base58, in which cryptocurrencies write bytes without the letters that look like others, with and without a checksum.

use sha2::{Digest, Sha256};

/// Bitcoin's order of the symbols.
const SYMBOLS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// That of the XRP Ledger.
const XRP: &[u8; 58] = b"rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz";

/// First bytes of addresses of 20 more that are known: Bitcoin, Litecoin, Dogecoin, Dash, Tron, NEO, Ravencoin and Qtum, their
/// scripts, and test nets.
const VERSIONS: [u8; 14] =
    [0x00, 0x05, 0x30, 0x32, 0x1E, 0x16, 0x4C, 0x10, 0x41, 0x17, 0x3C, 0x3A, 0x6F, 0xC4];
/// The same of two bytes: Zcash, plain and scripts.
const OF_TWO: [[u8; 2]; 3] = [[0x1C, 0xB8], [0x1C, 0xBD], [0x1D, 0x25]];
/// The same of three: Tezos, accounts of its four kinds of keys and contracts.
const OF_THREE: [[u8; 3]; 5] = [[6, 161, 159], [6, 161, 161], [6, 161, 164], [6, 161, 166], [2, 90, 121]];
/// Those of extended public keys (BIP 32, SLIP 132), of 74 bytes more.
const EXTENDED: [[u8; 4]; 3] = [[0x04, 0x88, 0xB2, 0x1E], [0x04, 0x9D, 0x7C, 0xB2], [0x04, 0xB2, 0x47, 0x46]];

/// Whether all of it are symbols.
pub(super) fn is_written(text: &str) -> bool {
    text.bytes().all(|b| SYMBOLS.contains(&b))
}

/// Whether it is an address with a checksum of a kind that is known.
pub(super) fn is_address(text: &str) -> bool {
    match text.len() {
        25..=36 => {
            let plain = checked::<25>(text, SYMBOLS).is_some_and(|payload| VERSIONS.contains(&payload[0]));
            let two = || checked::<26>(text, SYMBOLS).is_some_and(|p| OF_TWO.contains(&[p[0], p[1]]));
            let three =
                || checked::<27>(text, SYMBOLS).is_some_and(|p| OF_THREE.contains(&[p[0], p[1], p[2]]));
            let xrp = || text.starts_with('r') && checked::<25>(text, XRP).is_some_and(|p| p[0] == 0);
            plain || two() || three() || xrp()
        }
        // With a tag (XLS-5).
        46..=48 => text.starts_with('X') && checked::<35>(text, XRP).is_some_and(|p| p[..2] == [0x05, 0x44]),
        111 => checked::<82>(text, SYMBOLS).is_some_and(|p| EXTENDED.contains(&[p[0], p[1], p[2], p[3]])),
        _ => false,
    }
}

/// What stands before the four bytes that begin its double SHA-256, in `N` bytes with those; `None` if it is of another
/// length or they are others. The last four are left as zeros.
fn checked<const N: usize>(text: &str, symbols: &[u8; 58]) -> Option<[u8; N]> {
    let mut bytes = [0u8; N];
    let zeros = text.bytes().take_while(|b| *b == symbols[0]).count();
    into_bytes(text, symbols, &mut bytes)?;
    if bytes.iter().take_while(|b| **b == 0).count() != zeros {
        return None;
    }
    let (payload, check) = bytes.split_at_mut(N - 4);
    let right = Sha256::digest(Sha256::digest(&*payload))[..4] == *check;
    check.fill(0);
    right.then_some(bytes)
}

/// The number that a text is, in big-endian bytes; `None` if it has other symbols or does not fit.
fn into_bytes(text: &str, symbols: &[u8; 58], bytes: &mut [u8]) -> Option<()> {
    bytes.fill(0);
    if !text.bytes().all(|b| symbols.contains(&b)) {
        return None;
    }
    for symbol in text.bytes() {
        let mut carry = symbols.iter().position(|c| *c == symbol)? as u32;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry > 0 {
            return None;
        }
    }
    Some(())
}

/// Monero's way: eleven symbols are eight bytes, what is left over the fewer.
pub(super) fn in_blocks(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 8 / 11 + 1);
    let mut rest = text;
    while !rest.is_empty() {
        let (block, after) = rest.split_at_checked(rest.len().min(11))?;
        let length = match block.len() {
            11 => 8,
            7 => 5,
            _ => return None,
        };
        let mut eight = [0u8; 8];
        into_bytes(block, SYMBOLS, &mut eight[..length])?;
        bytes.extend_from_slice(&eight[..length]);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Bitcoin's first block, BIP 32's first vector, and what projects print as examples.
    #[test]
    fn published_addresses_check_and_a_wrong_character_does_not() {
        for address in [
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh",
            "tz1VSUr8wwNhLAzempoch5d6hLRiTh8Cjcjb",
            "xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8",
        ] {
            assert!(is_address(address), "{address}");
            let wrong = format!(
                "{}{}",
                &address[..address.len() - 1],
                if address.ends_with('b') { 'c' } else { 'b' }
            );
            assert!(!is_address(&wrong), "{wrong}");
        }
    }
}
