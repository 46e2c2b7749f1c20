//! GPT-2's printable alphabet for bytes: how byte-level BPE vocabularies write raw bytes as text.
//!
//! Printable Latin-1 bytes stand for themselves; the other 68 are moved, in order, to U+0100 and
//! up (Radford et al. 2019, the released `encoder.py`). It is a bijection, so a token's text is
//! its bytes.

/// The character that stands for `byte`.
pub(crate) const fn char_of(byte: u8) -> char {
    ALPHABET[byte as usize]
}

/// The byte `c` stands for, or `None` if it is not of the alphabet.
pub(crate) fn byte_of(c: char) -> Option<u8> {
    match c {
        '!'..='~' | '¡'..='¬' | '®'..='ÿ' => Some(c as u8),
        '\u{100}'..='\u{143}' => MOVED.get(c as usize - 0x100).copied(),
        _ => None,
    }
}

/// Appends the bytes that `text` stands for; returns whether all of it was of the alphabet.
pub(crate) fn decode_into(text: &str, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => out.push(byte),
            None => {
                out.truncate(start);
                return false;
            }
        }
    }
    true
}

const fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// The bytes that have no printable form, in order.
const MOVED: [u8; 68] = {
    let mut moved = [0; 68];
    let (mut n, mut byte) = (0, 0);
    while byte < 256 {
        if !is_printable(byte as u8) {
            moved[n] = byte as u8;
            n += 1;
        }
        byte += 1;
    }
    moved
};

const ALPHABET: [char; 256] = {
    let mut alphabet = ['\0'; 256];
    let mut byte = 0;
    while byte < 256 {
        alphabet[byte] = byte as u8 as char;
        byte += 1;
    }
    let mut n = 0;
    while n < MOVED.len() {
        // U+0100..U+0143: below the surrogates, so the conversion cannot fail.
        if let Some(c) = char::from_u32(0x100 + n as u32) {
            alphabet[MOVED[n] as usize] = c;
        }
        n += 1;
    }
    alphabet
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_a_bijection_with_the_known_landmarks() {
        for byte in 0..=255 {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
        assert_eq!((char_of(b' '), char_of(b'\n'), char_of(b'A')), ('Ġ', 'Ċ', 'A'));
        assert_eq!(char_of(0xAD), 'Ń');
        assert_eq!(byte_of('▁'), None);
        assert_eq!(byte_of(' '), None);
    }
}
