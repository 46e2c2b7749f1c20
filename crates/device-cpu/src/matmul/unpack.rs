//! The scalar view of a packed block: one row's integers, taken out of the planes again. The
//! scalar kernel computes with it and embeddings are looked up through it; the vector kernels are
//! held to it.

use garrison_types::TensorType;
use garrison_types::quant::{F16Le, IQ4_CODEBOOK, dequantize_row};
use half::f16;
use half::slice::HalfFloatSliceExt;

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
        let q = &mut self.q[..l.len];
        match l.meaning {
            Meaning::Offset { shift } => read_codes(l, block, r, q, |code| i16::from(code) - (1 << shift)),
            Meaning::Unsigned => read_codes(l, block, r, q, i16::from),
            Meaning::Signed => read_codes(l, block, r, q, |code| i16::from(code as i8)),
            Meaning::Codebook => {
                read_codes(l, block, r, q, |code| i16::from(IQ4_CODEBOOK[usize::from(code)]));
            }
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

/// Row `r` of a panel of plain values, some at a time.
fn unpack_floats(ty: TensorType, panel: &[u8], r: usize, out: &mut [f32]) {
    const SOME: usize = 64;
    let size = ty.block_bytes();
    let mut row = [0u8; SOME * size_of::<f32>()];
    for (values, out) in panel.chunks(SOME * PANEL * size).zip(out.chunks_mut(SOME)) {
        if ty == TensorType::F16 {
            let mut halves = [f16::ZERO; SOME];
            for (half, values) in halves.iter_mut().zip(values.chunks_exact(PANEL * size)) {
                *half = f16::from_le_bytes([values[2 * r], values[2 * r + 1]]);
            }
            halves[..out.len()].convert_to_f32_slice(out);
            continue;
        }
        let row = &mut row[..out.len() * size];
        for (to, values) in row.chunks_exact_mut(size).zip(values.chunks_exact(PANEL * size)) {
            to.copy_from_slice(&values[r * size..][..size]);
        }
        dequantize_row(ty, row, out);
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

/// What the codes of row `r` stand for, a quad's four at a time: what `pack` wrote as a word is read as one.
#[inline(always)]
fn read_codes(l: &Layout, block: &[u8], r: usize, q: &mut [i16], meaning: impl Fn(u8) -> i16) {
    for (g, q) in q.chunks_exact_mut(32).enumerate() {
        for (quad, q) in q.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let field = |plane: Option<usize>, per_vector: usize, shift: u32| {
                let Some(at) = plane else { return 0 };
                let bits = 8 / per_vector;
                let at = at + l.group() * g + QUAD * (quad / per_vector) + 4 * r;
                let word = u32::from_ne_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
                // Shifts cross bytes; the mask removes what crossed.
                let mask = u32::from_ne_bytes([0xff >> (8 - bits); 4]);
                (word >> (bits * (quad % per_vector)) & mask) << shift
            };
            let word = field(l.whole, 1, 0)
                | field(l.nibbles, 2, 0)
                | field(l.twos, 4, l.twos_shift())
                | field(l.ones, 8, l.ones_shift());
            *q = word.to_ne_bytes().map(&meaning);
        }
    }
}
