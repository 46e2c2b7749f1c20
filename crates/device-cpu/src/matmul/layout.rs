//! How a quantized weight lies in memory once packed, as data: one [`Layout`] per tensor type.
//!
//! Sixteen rows form a panel; a panel is a run of blocks along k, each holding the same 32 or 256
//! values of the sixteen rows. The key decision is the *quad*: 64 bytes, of which each group of four
//! belongs to one row and holds four consecutive values. A register of rows then meets four
//! broadcast activations, every lane accumulates its own row, and no horizontal sum is ever taken.
//! Codes narrower than a byte are split into planes of 4, 2 and 1 bits, each a vector of 64 bytes
//! in which bit field `i` belongs to the `i`-th of the consecutive quads, so that unpacking is a
//! shift and a mask. The planes of 32 values lie together, since two streams of reads through one block
//! were half as fast from memory as one:
//!
//! | plane | quads per vector | used by |
//! | --- | --- | --- |
//! | whole bytes | 1 | Q8_0 |
//! | nibbles | 2 | Q4, Q5, Q6, IQ4 |
//! | twos | 4 | Q2, Q3, and above the nibbles in Q6 |
//! | ones | 8 | above the twos in Q3, above the nibbles in Q5 |
//!
//! A packed block is as large as its sixteen source blocks (IQ4_XS: 1.5% larger). The one layout
//! serves all instruction sets: a quad is one register of AVX-512, two of AVX2 and four of NEON. All of a panel
//! lies in the order in which it is read, so that a decode step reads each thread's share from one end to the
//! other.

use garrison_types::TensorType;

/// Rows of a panel.
pub(crate) const PANEL: usize = 16;

/// Bytes of a quad, and of any vector of a plane.
pub(super) const QUAD: usize = 4 * PANEL;

/// What a code stands for, before scaling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// `code - (1 << shift)`.
    Offset { shift: u32 },
    /// The code itself; the block has a minimum per run, or one in all, where anything is to be
    /// added.
    Unsigned,
    /// The byte as a signed number.
    Signed,
    /// `IQ4_CODEBOOK[code]`.
    Codebook,
}

/// Where the integer scales of a block of 256 lie, and in how many bits. In all of them entry
/// `32 * (run / 2) + 2 * row + run % 2` belongs to `row` and `run`: bytes sign-extend to a
/// register of pairs of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scales {
    /// None: the block is one run.
    None,
    /// A byte each.
    Bytes { at: usize },
    /// Q2_K: a byte each, scale in the low nibble, minimum in the high one.
    Nibbles { at: usize },
    /// 256 entries of 6 bits: 128 bytes of low nibbles, in which byte `i % 64 + 64 * (i / 128)` holds
    /// entry `i` low if `i / 64` is even, else high; then 64 bytes in which byte `i % 64` holds
    /// the upper bits of entry `i` at bit `2 * (i / 64)`. `bias` is subtracted. Where a block has
    /// 8 runs the entries from 128 on are its minimums.
    Six { at: usize, bias: u8 },
}

/// The packed form of one tensor type; offsets are from the start of a block, in bytes. The rows'
/// scales (f16) are at 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Values of each row in a block.
    pub(super) len: usize,
    /// Bytes of a block.
    pub(super) bytes: usize,
    /// Values that share an integer scale.
    pub(super) run: usize,
    /// The f16 of the rows that scale the minimums (256) or are added (32).
    pub(super) min: Option<usize>,
    /// The integer scales.
    pub(super) scales: Scales,
    /// The planes of the codes: where the part for the first 32 values is. Those for the next 32 are a
    /// [`group`](Layout::group) further.
    pub(super) whole: Option<usize>,
    pub(super) nibbles: Option<usize>,
    pub(super) twos: Option<usize>,
    pub(super) ones: Option<usize>,
    /// What the codes stand for.
    pub(super) meaning: Meaning,
    /// How many products of two code-activation pairs an i16 can add up: with activations of at
    /// most 127, `chain * 2 * 127 * max code < 2^15`.
    pub(super) chain: usize,
}

/// A block of `len` values with nothing in it but scales.
const fn bare(len: usize, meaning: Meaning, chain: usize) -> Layout {
    Layout {
        len,
        bytes: 0,
        run: 32,
        min: None,
        scales: Scales::None,
        whole: None,
        nibbles: None,
        twos: None,
        ones: None,
        meaning,
        chain,
    }
}

/// The packed form of `ty`, or `None` if it is not quantized.
pub(super) const fn layout(ty: TensorType) -> Option<Layout> {
    use Meaning::{Codebook, Offset, Signed, Unsigned};
    Some(match ty {
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => return None,
        TensorType::Q8_0 => Layout { whole: Some(32), bytes: 544, ..bare(32, Signed, 1) },
        TensorType::Q4_0 => Layout { nibbles: Some(32), bytes: 288, ..bare(32, Offset { shift: 3 }, 8) },
        TensorType::Q4_1 => Layout { min: Some(32), nibbles: Some(64), bytes: 320, ..bare(32, Unsigned, 8) },
        TensorType::Q5_0 => {
            Layout { ones: Some(32), nibbles: Some(96), bytes: 352, ..bare(32, Offset { shift: 4 }, 4) }
        }
        TensorType::Q5_1 => {
            Layout { min: Some(32), ones: Some(64), nibbles: Some(128), bytes: 384, ..bare(32, Unsigned, 4) }
        }
        TensorType::IQ4_NL => Layout { nibbles: Some(32), bytes: 288, ..bare(32, Codebook, 1) },
        TensorType::Q2_K => Layout {
            run: 16,
            min: Some(32),
            scales: Scales::Nibbles { at: 64 },
            twos: Some(320),
            bytes: 1344,
            ..bare(256, Unsigned, 8)
        },
        TensorType::Q3_K => Layout {
            run: 16,
            scales: Scales::Six { at: 32, bias: 32 },
            ones: Some(224),
            twos: Some(288),
            bytes: 1760,
            ..bare(256, Offset { shift: 2 }, 8)
        },
        TensorType::Q4_K => Layout {
            min: Some(32),
            scales: Scales::Six { at: 64, bias: 0 },
            nibbles: Some(256),
            bytes: 2304,
            ..bare(256, Unsigned, 8)
        },
        TensorType::Q5_K => Layout {
            min: Some(32),
            scales: Scales::Six { at: 64, bias: 0 },
            ones: Some(256),
            nibbles: Some(320),
            bytes: 2816,
            ..bare(256, Unsigned, 4)
        },
        TensorType::Q6_K => Layout {
            run: 16,
            scales: Scales::Bytes { at: 32 },
            twos: Some(288),
            nibbles: Some(416),
            bytes: 3360,
            ..bare(256, Offset { shift: 5 }, 2)
        },
        TensorType::IQ4_XS => Layout {
            scales: Scales::Bytes { at: 32 },
            nibbles: Some(160),
            bytes: 2208,
            ..bare(256, Codebook, 1)
        },
    })
}

impl Layout {
    /// Runs of a block.
    pub(super) const fn runs(&self) -> usize {
        self.len / self.run
    }

    /// Bytes of 32 values' codes, in all planes.
    pub(super) const fn group(&self) -> usize {
        let planes = [(self.whole, 8), (self.nibbles, 4), (self.twos, 2), (self.ones, 1)];
        let (mut vectors, mut i) = (0, 0);
        while i < planes.len() {
            vectors += if planes[i].0.is_some() { planes[i].1 } else { 0 };
            i += 1;
        }
        QUAD * vectors
    }

    /// Where the bits of the twos plane go in a code.
    pub(super) const fn twos_shift(&self) -> u32 {
        if self.nibbles.is_some() { 4 } else { 0 }
    }

    /// Where the bit of the ones plane goes in a code.
    pub(super) const fn ones_shift(&self) -> u32 {
        if self.nibbles.is_some() { 4 } else { 2 }
    }
}

/// Bytes of a panel of rows of `k` values, saturating.
pub(crate) fn panel_bytes(ty: TensorType, k: usize) -> usize {
    match layout(ty) {
        Some(l) => (k / l.len).saturating_mul(l.bytes),
        None => k.saturating_mul(PANEL * ty.block_bytes()),
    }
}

/// The entry of `row` and `run` among the integer scales.
pub(super) const fn scale_entry(row: usize, run: usize) -> usize {
    2 * PANEL * (run / 2) + 2 * row + run % 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_blocks_are_as_large_as_their_sources() {
        for ty in TensorType::ALL.into_iter().filter(|t| t.is_quantized()) {
            let l = layout(ty).unwrap();
            assert_eq!(l.len, ty.block_len());
            let source = PANEL * ty.block_bytes();
            assert!(l.bytes >= source && l.bytes * 100 <= source * 102, "{ty}: {} for {source}", l.bytes);
            let planes = [(l.whole, 8), (l.nibbles, 4), (l.twos, 2), (l.ones, 1)];
            for (at, per_32) in planes {
                let last = l.group() * (l.len / 32 - 1);
                assert!(at.is_none_or(|at| at + last + QUAD * per_32 <= l.bytes), "{ty}");
            }
        }
    }

    #[test]
    fn chains_fit_sixteen_bits() {
        for ty in TensorType::ALL.into_iter().filter(|t| t.is_quantized()) {
            let l = layout(ty).unwrap();
            let bits = [(l.whole, 7), (l.nibbles, 4), (l.twos, 2), (l.ones, 1)];
            let bits: u32 = bits.iter().filter(|(at, _)| at.is_some()).map(|(_, b)| b).sum();
            let max = match l.meaning {
                Meaning::Codebook => 127,
                Meaning::Signed => 128,
                _ => (1 << bits) - 1,
            };
            assert!(l.chain * 2 * 127 * max < 1 << 15, "{ty}");
        }
    }
}
