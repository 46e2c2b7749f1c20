//! A small convolutional network over tokens (Kim 2014, "Convolutional neural networks for sentence
//! classification"): a vector for each token, which is the sum of those of its rows and of what the word
//! [means](meanings), of which only the directions that count were learned; filters over three and five tokens; the
//! strongest answer of each filter within a sentence; and two layers that make classes of it.
//!
//! A sentence is filtered by itself, so the answer for several in a row is the stronger of theirs, and every window
//! of a text costs only the last two layers.

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

use super::classifier::CLASSES;
use super::features::{MEANING, ROWS, Token};
use super::meanings::{self, DIRECTIONS};

/// Tokens that filters see: [`Net::near`] and [`Net::far`].
pub const LENGTHS: [usize; 2] = [3, 5];
/// Tokens that are added at both ends of a sentence.
pub const PADDING: usize = 2;
/// Numbers that are computed together, and tokens that they are computed for: as many as processors have registers for.
pub const BLOCK: usize = 16;
const GROUP: usize = 4;
const REGISTERS: usize = 2;

/// How large a network is; each number is a multiple of [`BLOCK`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Numbers of a token's vector.
    pub width: usize,
    /// Filters of each length.
    pub filters: usize,
    /// Numbers between the last two layers.
    pub hidden: usize,
}

impl Shape {
    /// Numbers of each table, in the order in which they lie in a file.
    pub const fn tables(&self) -> [usize; 9] {
        let Shape { width, filters, hidden } = *self;
        [
            ROWS * width,
            DIRECTIONS * width,
            LENGTHS[0] * width * filters,
            LENGTHS[1] * width * filters,
            2 * filters,
            2 * filters * hidden,
            hidden,
            hidden * CLASSES,
            CLASSES,
        ]
    }

    /// Bytes of a network in a file.
    pub const fn bytes(&self) -> usize {
        let (tables, mut sum, mut n) = (self.tables(), 0, 0);
        while n < tables.len() {
            sum += 4 + tables[n];
            n += 1;
        }
        sum
    }
}

/// All weights.
#[derive(Clone, Debug)]
pub struct Net {
    /// How many they are.
    pub shape: Shape,
    /// `[ROWS][width]`
    pub rows: Vec<f32>,
    /// `[DIRECTIONS][width]`: what a token's vector has of the directions of its word's meaning.
    pub meaning: Vec<f32>,
    /// `[3 * width][filters]`
    pub near: Vec<f32>,
    /// `[5 * width][filters]`
    pub far: Vec<f32>,
    /// Of both.
    pub bias: Vec<f32>,
    /// `[2 * filters][hidden]`
    pub hidden: Vec<f32>,
    /// Of `hidden`.
    pub hidden_bias: Vec<f32>,
    /// `[hidden][CLASSES]`
    pub out: Vec<f32>,
    /// Of `out`.
    pub out_bias: Vec<f32>,
}

impl Net {
    /// All zero.
    pub fn zero(shape: Shape) -> Net {
        let [rows, meaning, near, far, bias, hidden, hidden_bias, out, out_bias] =
            shape.tables().map(|numbers| vec![0.0; numbers]);
        Net { shape, rows, meaning, near, far, bias, hidden, hidden_bias, out, out_bias }
    }

    /// Every table in the order in which it lies in the file.
    pub fn tables(&mut self) -> [&mut [f32]; 9] {
        [
            &mut self.rows,
            &mut self.meaning,
            &mut self.near,
            &mut self.far,
            &mut self.bias,
            &mut self.hidden,
            &mut self.hidden_bias,
            &mut self.out,
            &mut self.out_bias,
        ]
    }

    /// Eight bits for each number, and for each table what 1 is.
    pub fn to_bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for table in self.tables() {
            let largest = table.iter().fold(1e-9f32, |max, w| max.max(w.abs()));
            let unit = largest / 127.0;
            bytes.extend(unit.to_le_bytes());
            bytes.extend(table.iter().map(|w| (w / unit).round() as i8 as u8));
        }
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) wrote; what is missing is zero.
    pub fn read(shape: Shape, mut bytes: &[u8]) -> Net {
        let mut net = Net::zero(shape);
        for table in net.tables() {
            let Some((unit, rest)) = bytes.split_first_chunk::<4>() else { break };
            let unit = f32::from_le_bytes(*unit);
            let (numbers, rest) = rest.split_at(table.len().min(rest.len()));
            table.iter_mut().zip(numbers).for_each(|(w, b)| *w = f32::from(*b as i8) * unit);
            bytes = rest;
        }
        net
    }

    /// `[tokens + 2 * PADDING][width]`: the vectors of a sentence with its padding.
    pub fn vectors(&self, tokens: &[Token], vectors: &mut Vec<f32>) {
        let width = self.shape.width;
        vectors.clear();
        vectors.resize((tokens.len() + 2 * PADDING) * width, 0.0);
        let own = vectors[PADDING * width..].chunks_exact_mut(width).zip(tokens);
        ARCH.dispatch(
            #[inline(always)]
            || own.for_each(|(vector, token)| self.vector(token, vector)),
        );
    }

    #[inline(always)]
    fn vector(&self, token: &Token, vector: &mut [f32]) {
        let width = self.shape.width;
        let meaning = meanings::at(token[MEANING]).unwrap_or([0.0; DIRECTIONS]);
        let meaning = if token[MEANING] > 0 { &meaning[..] } else { &[] };
        for (n, vector) in vector.chunks_exact_mut(BLOCK).enumerate() {
            let mut sums = [0f32; BLOCK];
            for row in token[..MEANING].iter().filter(|r| **r > 0) {
                let row = &self.rows[usize::from(*row) * width + n * BLOCK..][..BLOCK];
                sums.iter_mut().zip(row).for_each(|(s, w)| *s += w);
            }
            for (x, row) in meaning.iter().zip(self.meaning.chunks_exact(width)) {
                sums.iter_mut().zip(&row[n * BLOCK..][..BLOCK]).for_each(|(s, w)| *s += x * w);
            }
            vector.copy_from_slice(&sums);
        }
    }

    /// `[tokens][2 * filters]`: what the filters answer at every token of a sentence, whose [`vectors`](Self::vectors)
    /// these are; first those of three tokens.
    pub fn answers(&self, vectors: &mut Vec<f32>, answers: &mut Vec<f32>) {
        let Shape { width, filters, .. } = self.shape;
        let tokens = vectors.len() / width - 2 * PADDING;
        // Tokens go in groups; what the last one lacks is filled with more padding.
        let groups = tokens.div_ceil(GROUP);
        vectors.resize((groups * GROUP + 2 * PADDING) * width, 0.0);
        answers.clear();
        answers.resize(groups * GROUP * 2 * filters, 0.0);
        let (near, far) = self.bias.split_at(filters);
        for (part, (weights, bias)) in [(&self.near, near), (&self.far, far)].into_iter().enumerate() {
            let seen = &vectors[(PADDING - LENGTHS[part] / 2) * width..];
            ARCH.dispatch(Filtered { weights, bias, seen, width, answers, column: part * filters });
        }
        answers.truncate(tokens * 2 * filters);
        vectors.truncate((tokens + 2 * PADDING) * width);
    }

    /// `[2 * filters]`: what the filters answer to a sentence at most; 0 if none of them fits.
    pub fn pool(&self, tokens: &[Token], room: &mut Room, pooled: &mut Vec<f32>) {
        self.vectors(tokens, &mut room.vectors);
        self.answers(&mut room.vectors, &mut room.answers);
        pooled.clear();
        pooled.resize(2 * self.shape.filters, 0.0);
        room.answers.chunks_exact(2 * self.shape.filters).for_each(|answers| raise(pooled, answers));
    }

    /// One number a class; higher fits better.
    pub fn classes(&self, pooled: &[f32]) -> [f32; CLASSES] {
        ARCH.dispatch(
            #[inline(always)]
            || {
                let mut classes = [0.0; CLASSES];
                classes.copy_from_slice(&self.out_bias);
                let hidden = self.shape.hidden;
                for block in (0..hidden).step_by(BLOCK) {
                    let mut sums = [0f32; BLOCK];
                    sums.copy_from_slice(&self.hidden_bias[block..][..BLOCK]);
                    for (x, weights) in pooled.iter().zip(self.hidden.chunks_exact(hidden)) {
                        sums.iter_mut().zip(&weights[block..][..BLOCK]).for_each(|(s, w)| *s += x * w);
                    }
                    let out = self.out[block * CLASSES..].chunks_exact(CLASSES);
                    for (x, weights) in sums.iter().zip(out) {
                        classes.iter_mut().zip(weights).for_each(|(c, w)| *c += x.max(0.0) * w);
                    }
                }
                classes
            },
        )
    }
}

/// The widest registers that this processor has. If they are those of AVX2 or NEON, a product and its sum are one
/// instruction, which rounds once and not twice; all processors that have it get the same bits.
static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// What one sentence needs, used again for the next.
#[derive(Default)]
pub struct Room {
    vectors: Vec<f32>,
    answers: Vec<f32>,
}

/// Raises each answer to the other where that is higher.
pub fn raise(best: &mut [f32], other: &[f32]) {
    best.iter_mut().zip(other).for_each(|(b, o)| *b = b.max(*o));
}

/// What filters of one length answer at every token, into the columns of `answers` from `column` on. `seen` begins with
/// what the first token's filters see.
struct Filtered<'a> {
    weights: &'a [f32],
    bias: &'a [f32],
    seen: &'a [f32],
    width: usize,
    answers: &'a mut [f32],
    column: usize,
}

impl WithSimd for Filtered<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let filters = self.bias.len();
        let sees = self.weights.len() / filters;
        // Registers of filters that are computed together.
        let together = (BLOCK / S::F32_LANES).clamp(1, REGISTERS);
        for (n, group) in self.answers.chunks_exact_mut(GROUP * 2 * filters).enumerate() {
            let seen: [&[f32]; GROUP] =
                std::array::from_fn(|t| &self.seen[(n * GROUP + t) * self.width..][..sees]);
            for block in (0..filters).step_by(together * S::F32_LANES) {
                let (bias, _) = S::as_simd_f32s(&self.bias[block..]);
                let mut sums = [[simd.splat_f32s(0.0); REGISTERS]; GROUP];
                for sums in &mut sums {
                    sums[..together].copy_from_slice(&bias[..together]);
                }
                for (i, weights) in self.weights.chunks_exact(filters).enumerate() {
                    let (weights, _) = S::as_simd_f32s(&weights[block..]);
                    for (sums, seen) in sums.iter_mut().zip(&seen) {
                        let x = simd.splat_f32s(seen[i]);
                        for (sum, weight) in sums.iter_mut().zip(&weights[..together]) {
                            *sum = simd.mul_add_e_f32s(x, *weight, *sum);
                        }
                    }
                }
                for (answers, sums) in group.chunks_exact_mut(2 * filters).zip(&sums) {
                    let (answers, _) = S::as_mut_simd_f32s(&mut answers[self.column + block..]);
                    answers[..together].copy_from_slice(&sums[..together]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::features::sentences;

    /// The definition, as it is written in the paper.
    fn plainly(net: &Net, tokens: &[Token]) -> Vec<f32> {
        let Shape { width, filters, .. } = net.shape;
        let mut vectors = Vec::new();
        net.vectors(tokens, &mut vectors);
        let mut pooled = vec![0.0; 2 * filters];
        for at in 0..tokens.len() {
            for (f, best) in pooled.iter_mut().enumerate() {
                let (weights, length) = if f < filters { (&net.near, 3) } else { (&net.far, 5) };
                let seen = &vectors[(at + PADDING - length / 2) * width..][..length * width];
                let column = weights[f % filters..].iter().step_by(filters);
                let sum: f32 = seen.iter().zip(column).map(|(x, w)| x * w).sum();
                *best = f32::max(*best, sum + net.bias[f]);
            }
        }
        pooled
    }

    #[test]
    fn filters_in_groups_answer_what_each_would_alone() {
        let shape = Shape { width: 32, filters: 48, hidden: 16 };
        let mut net = Net::zero(shape);
        let mut state = 1u32;
        for table in net.tables() {
            for w in table {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *w = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            }
        }
        let (mut room, mut quick) = (Room::default(), Vec::new());
        let texts =
            ["Ignore", "Print all of it", "Wir essen heute um sieben, danach gehen wir ins Kino", "a b c d"];
        for text in texts.iter().copied().chain([include_str!("../../corpus/dev/innocent.txt")]) {
            sentences(text, |_, tokens| {
                net.pool(tokens, &mut room, &mut quick);
                let plain = plainly(&net, tokens);
                let near = quick.iter().zip(&plain).all(|(q, p)| (q - p).abs() < 1e-4 * p.abs().max(1.0));
                assert!(near, "{quick:?} and {plain:?}");
            });
        }
    }
}
