//! The scalar view of a packed block: one row's integers, taken out of the planes again. The
//! scalar kernel computes with it and embeddings are looked up through it; the vector kernels are
//! held to it.

use garrison_types::TensorType;
use garrison_types::quant::{F16Le, IQ4_CODEBOOK, dequantize_row};

use super::layout::{Layout, Meaning, PANEL, QUAD, Scales, layout, scale_entry};

/// One row of one block: value `i` is `d * scales[i / 16] * q[i] + min * mins[i / 16]`.
pub(super) struct RowBlock {
    /// `[len]` codes as what they stand for.
    pub(super) q: [i16; 256],
    /// Integer scales, one per 16 values whatever the run.
    pub(super) scales: [i32; 16],
    /// Integer minimums, likewise; for blocks of 32 all are 1, for unsigned codes without
    /// minimums `min` is 0.
    pub(super) mins: [i32; 16],
    /// Scale of the scales.
    pub(super) d: f32,
    /// Scale of the minimums, negative where the file's format subtracts.
    pub(super) min: f32,
}

impl RowBlock {
    /// An empty one, to be filled by [`RowBlock::read`].
    pub(super) fn new() -> RowBlock {
        RowBlock { q: [0; 256], scales: [1; 16], mins: [1; 16], d: 0.0, min: 0.0 }
    }

    /// Takes row `r` out of `block`.
    pub(super) fn read(&mut self, l: &Layout, block: &[u8], r: usize) {
        self.d = half_at(block, 2 * r);
        let sign = if l.len == 256 { -1.0 } else { 1.0 };
        self.min = l.min.map_or(0.0, |at| sign * half_at(block, at + 2 * r));
        self.read_scales(l, block, r);
        for (i, q) in self.q[..l.len].iter_mut().enumerate() {
            *q = meaning(l.meaning, code(l, block, r, i));
        }
    }

    fn read_scales(&mut self, l: &Layout, block: &[u8], r: usize) {
        for (i, (scale, min)) in self.scales.iter_mut().zip(&mut self.mins).enumerate().take(l.len / 16) {
            let entry = scale_entry(r, 16 * i / l.run);
            match l.scales {
                Scales::None => {}
                Scales::Bytes { at } => *scale = i32::from(block[at + entry] as i8),
                Scales::Nibbles { at } => {
                    *scale = i32::from(block[at + entry] & 15);
                    *min = i32::from(block[at + entry] >> 4);
                }
                Scales::Six { at, bias } => {
                    *scale = six(&block[at..], entry) - i32::from(bias);
                    if l.runs() == 8 {
                        *min = six(&block[at..], 2 * QUAD + entry);
                    }
                }
            }
        }
    }

    /// Writes the values, `out: [len]`, with the float operations of
    /// `garrison_types::quant::dequantize_row`, in their order.
    pub(super) fn dequantize(&self, out: &mut [f32]) {
        for (i, (x, &q)) in out.iter_mut().zip(&self.q).enumerate() {
            let scaled = self.d * self.scales[i / 16] as f32 * f32::from(q);
            *x = scaled + self.min * self.mins[i / 16] as f32;
        }
    }
}

/// Takes row `r` out of a panel and dequantizes it, `out: [k]`.
pub(crate) fn unpack_row(ty: TensorType, panel: &[u8], r: usize, out: &mut [f32]) {
    let Some(l) = layout(ty) else {
        return unpack_floats(ty, panel, r, out);
    };
    let mut block = RowBlock::new();
    for (packed, out) in panel.chunks_exact(l.bytes).zip(out.chunks_exact_mut(l.len)) {
        block.read(&l, packed, r);
        block.dequantize(out);
    }
}

/// Row `r` of a panel of plain values.
fn unpack_floats(ty: TensorType, panel: &[u8], r: usize, out: &mut [f32]) {
    let size = ty.block_bytes();
    for (x, values) in out.iter_mut().zip(panel.chunks_exact(PANEL * size)) {
        dequantize_row(ty, &values[r * size..][..size], std::slice::from_mut(x));
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    F16Le([block[at], block[at + 1]]).get()
}

fn six(packed: &[u8], i: usize) -> i32 {
    let low = packed[i % QUAD + QUAD * (i / (2 * QUAD))] >> (4 * (i / QUAD % 2)) & 15;
    let high = packed[2 * QUAD + i % QUAD] >> (2 * (i / QUAD)) & 3;
    i32::from(low | high << 4)
}

/// Code `i` of row `r`.
fn code(l: &Layout, block: &[u8], r: usize, i: usize) -> u8 {
    let (group, quad, byte) = (l.group() * (i / 32), i / 4 % 8, 4 * r + i % 4);
    let field = |plane: Option<usize>, per_vector: usize, shift: u32| {
        plane.map_or(0, |at| {
            let bits = 8 / per_vector;
            let v = block[at + group + QUAD * (quad / per_vector) + byte] >> (bits * (quad % per_vector));
            (v & (0xff >> (8 - bits))) << shift
        })
    };
    field(l.whole, 1, 0)
        | field(l.nibbles, 2, 0)
        | field(l.twos, 4, l.twos_shift())
        | field(l.ones, 8, l.ones_shift())
}

fn meaning(meaning: Meaning, code: u8) -> i16 {
    match meaning {
        Meaning::Offset { shift } => i16::from(code) - (1 << shift),
        Meaning::Unsigned => i16::from(code),
        Meaning::Signed => i16::from(code as i8),
        Meaning::Codebook => i16::from(IQ4_CODEBOOK[usize::from(code)]),
    }
}
