//! Packing: from the file's blocks, row after row, to panels of sixteen rows (see
//! [`layout`](super::layout)).
//!
//! Each source block is first split into byte-wide codes and scales, then its codes are merged
//! into the planes four at a time: bytes never carry into each other, so a `u32` holds four. No
//! value is ever computed; the packed form holds the file's integers.

use garrison_types::TensorType;
use garrison_types::quant::{
    BlockIq4Nl, BlockIq4Xs, BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1,
    BlockQ5K, BlockQ6K, BlockQ8_0, Parts, Split, blocks,
};

use super::layout::{Layout, PANEL, QUAD, Scales, layout, scale_entry};

/// Packs up to [`PANEL`] rows of `ty`, one after the other in `src`, `row_bytes` each. `out` is a zeroed
/// panel. Rows that are missing stay zero: their scales are, so they count for nothing.
pub(crate) fn pack_panel(ty: TensorType, src: &[u8], row_bytes: usize, out: &mut [u8]) {
    assert!(src.len() <= PANEL * row_bytes, "a panel has {PANEL} rows");
    let Some(l) = layout(ty) else {
        return match ty.block_bytes() {
            4 => interleave::<4>(src, row_bytes, out),
            _ => interleave::<2>(src, row_bytes, out),
        };
    };
    match ty {
        TensorType::Q8_0 => pack_blocks::<BlockQ8_0>(&l, src, row_bytes, out),
        TensorType::Q4_0 => pack_blocks::<BlockQ4_0>(&l, src, row_bytes, out),
        TensorType::Q4_1 => pack_blocks::<BlockQ4_1>(&l, src, row_bytes, out),
        TensorType::Q5_0 => pack_blocks::<BlockQ5_0>(&l, src, row_bytes, out),
        TensorType::Q5_1 => pack_blocks::<BlockQ5_1>(&l, src, row_bytes, out),
        TensorType::Q2_K => pack_blocks::<BlockQ2K>(&l, src, row_bytes, out),
        TensorType::Q3_K => pack_blocks::<BlockQ3K>(&l, src, row_bytes, out),
        TensorType::Q4_K => pack_blocks::<BlockQ4K>(&l, src, row_bytes, out),
        TensorType::Q5_K => pack_blocks::<BlockQ5K>(&l, src, row_bytes, out),
        TensorType::Q6_K => pack_blocks::<BlockQ6K>(&l, src, row_bytes, out),
        TensorType::IQ4_NL => pack_blocks::<BlockIq4Nl>(&l, src, row_bytes, out),
        TensorType::IQ4_XS => pack_blocks::<BlockIq4Xs>(&l, src, row_bytes, out),
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => unreachable!("not in blocks"),
    }
}

/// Plain values of `SIZE` bytes: `[k, PANEL]`.
fn interleave<const SIZE: usize>(src: &[u8], row_bytes: usize, out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut::<SIZE>();
    for (r, row) in src.chunks_exact(row_bytes).enumerate() {
        for (value, out) in row.as_chunks::<SIZE>().0.iter().zip(out.chunks_exact_mut(PANEL)) {
            out[r] = *value;
        }
    }
}

/// [`pack_panel`] for a block type known at compile time.
fn pack_blocks<B: Split>(layout: &Layout, src: &[u8], row_bytes: usize, out: &mut [u8]) {
    let mut parts = Parts::default();
    for (b, out) in out.chunks_exact_mut(layout.bytes).enumerate() {
        for (r, row) in src.chunks_exact(row_bytes).enumerate() {
            let at = b * size_of::<B>();
            blocks::<B>(&row[at..at + size_of::<B>()])[0].split(&mut parts);
            write_block(layout, &parts, r, out);
        }
    }
}

/// Writes row `r`'s part of a packed block.
fn write_block(l: &Layout, p: &Parts, r: usize, out: &mut [u8]) {
    out[2 * r..][..2].copy_from_slice(&p.d);
    if let Some(at) = l.min {
        out[at + 2 * r..][..2].copy_from_slice(&p.min);
    }
    write_scales(l, p, r, out);
    let words = &p.codes.words()[..l.len / 4];
    if let Some(at) = l.whole {
        write_plane::<1>(words, (0, 0xff), l.group(), &mut out[at..], r);
    }
    if let Some(at) = l.nibbles {
        write_plane::<2>(words, (0, 0x0f), l.group(), &mut out[at..], r);
    }
    if let Some(at) = l.twos {
        write_plane::<4>(words, (l.twos_shift(), 0x03), l.group(), &mut out[at..], r);
    }
    if let Some(at) = l.ones {
        write_plane::<8>(words, (l.ones_shift(), 0x01), l.group(), &mut out[at..], r);
    }
}

/// Writes the plane of which `N` quads share a vector: the field `mask << shift` of each code. The 8 quads of 32 values
/// are `group` bytes from the next 8.
fn write_plane<const N: usize>(
    words: &[u32],
    (shift, mask): (u32, u8),
    group: usize,
    plane: &mut [u8],
    r: usize,
) {
    let mask = u32::from_ne_bytes([mask; 4]);
    for (g, words) in words.chunks_exact(8).enumerate() {
        for (v, quads) in words.chunks_exact(N).enumerate() {
            let mut word = 0;
            for (i, &quad) in quads.iter().enumerate() {
                word |= (quad >> shift & mask) << (i * 8 / N);
            }
            plane[group * g + QUAD * v + 4 * r..][..4].copy_from_slice(&word.to_ne_bytes());
        }
    }
}

fn write_scales(l: &Layout, p: &Parts, r: usize, out: &mut [u8]) {
    let runs = l.runs();
    match l.scales {
        Scales::None => {}
        Scales::Bytes { at } => {
            for (run, &s) in p.scales[..runs].iter().enumerate() {
                out[at + scale_entry(r, run)] = s;
            }
        }
        Scales::Nibbles { at } => {
            for (run, (&s, &m)) in p.scales.iter().zip(&p.mins).enumerate() {
                out[at + scale_entry(r, run)] = s | m << 4;
            }
        }
        Scales::Six { at, bias } => {
            let six = &mut out[at..at + 3 * QUAD];
            for (run, (&s, &m)) in p.scales[..runs].iter().zip(&p.mins).enumerate() {
                write_six(six, scale_entry(r, run), s.wrapping_add(bias));
                if runs == 8 {
                    write_six(six, 2 * QUAD + scale_entry(r, run), m);
                }
            }
        }
    }
}

fn write_six(six: &mut [u8], i: usize, value: u8) {
    six[i % QUAD + QUAD * (i / (2 * QUAD))] |= (value & 15) << (4 * (i / QUAD % 2));
    six[2 * QUAD + i % QUAD] |= (value >> 4) << (2 * (i / QUAD));
}
