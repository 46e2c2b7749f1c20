//! Products of rows and a matrix of weights of eight bits, in whole numbers: rows are rounded to 14 bits, so their rounding
//! is far below that of the weights, and every processor gets the same sums.

/// Columns that are computed together.
const PANEL: usize = 16;
/// Rows that are.
const GROUP: usize = 4;
/// The largest number that a row is rounded to. With the largest weights and the longest rows here, sums stay below 2^31.
const LARGEST: f32 = 8191.0;
/// Numbers of a row at most.
pub(super) const MOST_INPUTS: usize = 2048;

const _: () = assert!(8191 * 127 * MOST_INPUTS <= i32::MAX as usize);

/// `outputs` numbers of each row of `inputs`.
pub(super) struct Dense {
    pub(super) outputs: usize,
    /// `[outputs / PANEL][inputs / 2][PANEL][2]`
    panels: Vec<i16>,
    inputs: usize,
    /// What 1 is in each column.
    units: Vec<f32>,
    bias: Vec<f32>,
}

/// Rows that were rounded.
#[derive(Default)]
pub(super) struct Rounded {
    /// `[rows][inputs / 2]`: two numbers of 16 bits in each.
    pairs: Vec<i32>,
    /// What 1 is in each row.
    units: Vec<f32>,
}

impl Rounded {
    /// `rows` are `[rows][inputs]`.
    #[inline(always)]
    pub(super) fn fill(&mut self, rows: &[f32], inputs: usize) {
        self.pairs.clear();
        self.units.clear();
        for row in rows.chunks_exact(inputs) {
            let largest = row.iter().fold(1e-12f32, |most, x| if x.abs() > most { x.abs() } else { most });
            let scale = LARGEST / largest;
            self.units.push(largest / LARGEST);
            // Adding this rounds to the nearest whole number, which then stands in the lowest bits.
            let whole = |x: f32| (x * scale + 12_582_912.0).to_bits() as i32 - 0x4b40_0000;
            let (twos, _) = row.as_chunks::<2>();
            let start = self.pairs.len();
            self.pairs.resize(start + twos.len(), 0);
            for (pair, two) in self.pairs[start..].iter_mut().zip(twos) {
                *pair = whole(two[0]) & 0xffff | whole(two[1]) << 16;
            }
        }
    }
}

impl Dense {
    /// Weights are `[outputs][inputs]`; the numbers of inputs and outputs are multiples of 2 and of 16.
    pub(super) fn new(weights: &[u8], inputs: usize, units: Vec<f32>, bias: Vec<f32>) -> Dense {
        let outputs = units.len();
        let mut panels = Vec::with_capacity(outputs * inputs);
        for panel in (0..outputs).step_by(PANEL) {
            for pair in (0..inputs).step_by(2) {
                for column in panel..panel + PANEL {
                    let at = column * inputs + pair;
                    panels.extend([weights[at], weights[at + 1]].map(|w| i16::from(w as i8)));
                }
            }
        }
        Dense { outputs, panels, inputs, units, bias }
    }

    /// `out` becomes `[rows][outputs]`.
    pub(super) fn apply(&self, rows: &Rounded, out: &mut Vec<f32>) {
        out.clear();
        out.resize(rows.units.len() * self.outputs, 0.0);
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            simd.vectorize(
                #[inline(always)]
                || {
                    self.by(
                        rows,
                        out,
                        #[inline(always)]
                        |panel, rows| wide(simd, panel, rows),
                    )
                },
            );
            return;
        }
        self.by(rows, out, plain);
    }

    #[inline(always)]
    fn by(
        &self,
        rows: &Rounded,
        out: &mut [f32],
        sums: impl Fn(&[i16], [&[i32]; GROUP]) -> [[i32; PANEL]; GROUP],
    ) {
        let pairs = self.inputs / 2;
        let count = rows.units.len();
        for (n, panel) in self.panels.chunks_exact(PANEL * self.inputs).enumerate() {
            let columns = n * PANEL..(n + 1) * PANEL;
            let (units, bias) = (&self.units[columns.clone()], &self.bias[columns]);
            for first in (0..count).step_by(GROUP) {
                // The last group repeats its last row.
                let at: [usize; GROUP] = std::array::from_fn(|t| (first + t).min(count - 1));
                let sums = sums(panel, at.map(|t| &rows.pairs[t * pairs..(t + 1) * pairs]));
                for (t, sums) in at.into_iter().zip(&sums) {
                    let out = &mut out[t * self.outputs + n * PANEL..][..PANEL];
                    let of_row = rows.units[t];
                    for (((out, sum), unit), bias) in out.iter_mut().zip(sums).zip(units).zip(bias) {
                        *out = *sum as f32 * (of_row * unit) + bias;
                    }
                }
            }
        }
    }
}

/// What each row makes of each column of a panel.
#[inline(always)]
fn plain(panel: &[i16], rows: [&[i32]; GROUP]) -> [[i32; PANEL]; GROUP] {
    rows.map(|row| {
        let mut sums = [0i32; PANEL];
        for (pair, weights) in row.iter().zip(panel.chunks_exact(2 * PANEL)) {
            let (low, high) = (i32::from(*pair as i16), pair >> 16);
            for (sum, w) in sums.iter_mut().zip(weights.chunks_exact(2)) {
                *sum += low * i32::from(w[0]) + high * i32::from(w[1]);
            }
        }
        sums
    })
}

/// The same, with registers of 256 bits: two products and their sum are one instruction. All of it is in the one type that
/// those instructions have, since a register that is cast goes through memory where debug assertions look at it.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn wide(simd: pulp::x86::V3, panel: &[i16], rows: [&[i32]; GROUP]) -> [[i32; PANEL]; GROUP] {
    use std::arch::x86_64::__m256i;
    let (panel, _) = panel.as_chunks::<{ 2 * PANEL }>();
    let rows = rows.map(|row| &row[..panel.len()]);
    let mut sums = [[simd.avx._mm256_setzero_si256(); 2]; GROUP];
    for (i, weights) in panel.iter().enumerate() {
        let weights: [__m256i; 2] = pulp::cast(*weights);
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let pair = simd.avx._mm256_set1_epi32(row[i]);
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = simd.avx2._mm256_add_epi32(*sum, simd.avx2._mm256_madd_epi16(pair, weights));
            }
        }
    }
    sums.map(pulp::cast)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_definition_however_they_are_computed() {
        let (inputs, outputs) = (384, 48);
        let mut state = 1u32;
        let mut draw = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let weights: Vec<u8> = (0..inputs * outputs).map(|_| (draw() * 127.0).round() as i8 as u8).collect();
        let units: Vec<f32> = (0..outputs).map(|_| draw().abs() / 100.0).collect();
        let bias: Vec<f32> = (0..outputs).map(|_| draw()).collect();
        let dense = Dense::new(&weights, inputs, units.clone(), bias.clone());
        for rows in [1, 3, 4, 9] {
            let x: Vec<f32> = (0..rows * inputs).map(|_| 3.0 * draw()).collect();
            let (mut rounded, mut quick, mut slow) = (Rounded::default(), Vec::new(), Vec::new());
            rounded.fill(&x, inputs);
            dense.apply(&rounded, &mut quick);
            slow.resize(quick.len(), 0.0);
            dense.by(&rounded, &mut slow, plain);
            assert_eq!(quick, slow);
            for (t, row) in x.chunks_exact(inputs).enumerate() {
                for n in 0..outputs {
                    let of_column = &weights[n * inputs..][..inputs];
                    let sum: f64 =
                        row.iter().zip(of_column).map(|(x, w)| f64::from(*x) * f64::from(*w as i8)).sum();
                    let wanted = sum * f64::from(units[n]) + f64::from(bias[n]);
                    let got = f64::from(quick[t * outputs + n]);
                    assert!((got - wanted).abs() < 1e-2, "{got} and {wanted}");
                }
            }
        }
    }
}
