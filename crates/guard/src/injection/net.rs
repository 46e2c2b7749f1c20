//! A small convolutional network over tokens (Kim 2014, "Convolutional neural networks for sentence
//! classification"): a vector for each token, which is the sum of those of its rows and of what the word
//! [means](meanings), of which only the directions that count were learned; filters over three and five tokens; the
//! strongest answer of each filter within a sentence; and two layers that make classes of it.
//!
//! A sentence is filtered by itself, so the answer for several in a row is the stronger of theirs, and every window
//! of a text costs only the last two layers.

use std::sync::LazyLock;

use pulp::Arch;

use super::classifier::CLASSES;
use super::features::{MEANING, ROWS, Token};
use super::meanings::{self, DIRECTIONS};

/// Numbers of a token's vector.
pub const WIDTH: usize = 32;
/// Filters of each length.
pub const FILTERS: usize = 48;
/// Tokens that filters see: [`Net::near`] and [`Net::far`].
pub const LENGTHS: [usize; 2] = [3, 5];
/// Numbers between the last two layers.
pub const HIDDEN: usize = 48;
/// What filters answer: those of three tokens, then those of five; 0 if none of them fits.
pub type Pooled = [f32; 2 * FILTERS];
/// Tokens that are added at both ends of a sentence.
pub const PADDING: usize = 2;
/// Filters that are computed together and tokens that they are computed for, as many as processors have registers for.
const BLOCK: usize = 16;
const GROUP: usize = 4;

/// All weights.
#[derive(Clone, Debug)]
pub struct Net {
    /// `[ROWS][WIDTH]`
    pub rows: Vec<[f32; WIDTH]>,
    /// `[DIRECTIONS][WIDTH]`: what a token's vector has of the directions of its word's meaning.
    pub meaning: Vec<[f32; WIDTH]>,
    /// `[3 * WIDTH][FILTERS]`
    pub near: Vec<[f32; FILTERS]>,
    /// `[5 * WIDTH][FILTERS]`
    pub far: Vec<[f32; FILTERS]>,
    /// Of both.
    pub bias: Pooled,
    /// `[2 * FILTERS][HIDDEN]`
    pub hidden: Vec<[f32; HIDDEN]>,
    /// Of `hidden`.
    pub hidden_bias: [f32; HIDDEN],
    /// `[HIDDEN][CLASSES]`
    pub out: Vec<[f32; CLASSES]>,
    /// Of `out`.
    pub out_bias: [f32; CLASSES],
}

impl Net {
    /// All zero.
    pub fn zero() -> Net {
        Net {
            rows: vec![[0.0; WIDTH]; ROWS],
            meaning: vec![[0.0; WIDTH]; DIRECTIONS],
            near: vec![[0.0; FILTERS]; LENGTHS[0] * WIDTH],
            far: vec![[0.0; FILTERS]; LENGTHS[1] * WIDTH],
            bias: [0.0; 2 * FILTERS],
            hidden: vec![[0.0; HIDDEN]; 2 * FILTERS],
            hidden_bias: [0.0; HIDDEN],
            out: vec![[0.0; CLASSES]; HIDDEN],
            out_bias: [0.0; CLASSES],
        }
    }

    /// Every table in the order in which it lies in the file.
    pub fn tables(&mut self) -> [&mut [f32]; 9] {
        [
            self.rows.as_flattened_mut(),
            self.meaning.as_flattened_mut(),
            self.near.as_flattened_mut(),
            self.far.as_flattened_mut(),
            &mut self.bias,
            self.hidden.as_flattened_mut(),
            &mut self.hidden_bias,
            self.out.as_flattened_mut(),
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

    /// How many bytes [`to_bytes`](Self::to_bytes) writes.
    pub fn bytes() -> usize {
        Net::zero().tables().iter().map(|table| 4 + table.len()).sum()
    }

    /// What [`to_bytes`](Self::to_bytes) wrote; what is missing is zero.
    pub fn read(mut bytes: &[u8]) -> Net {
        let mut net = Net::zero();
        for table in net.tables() {
            let Some((unit, rest)) = bytes.split_first_chunk::<4>() else { break };
            let unit = f32::from_le_bytes(*unit);
            let (numbers, rest) = rest.split_at(table.len().min(rest.len()));
            table.iter_mut().zip(numbers).for_each(|(w, b)| *w = f32::from(*b as i8) * unit);
            bytes = rest;
        }
        net
    }

    /// The vectors of a sentence with its padding.
    pub fn vectors(&self, tokens: &[Token], vectors: &mut Vec<[f32; WIDTH]>) {
        vectors.clear();
        vectors.resize(tokens.len() + 2 * PADDING, [0.0; WIDTH]);
        let own = vectors[PADDING..].iter_mut().zip(tokens);
        ARCH.dispatch(
            #[inline(always)]
            || own.for_each(|(vector, token)| *vector = self.vector(token)),
        );
    }

    #[inline(always)]
    fn vector(&self, token: &Token) -> [f32; WIDTH] {
        let mut sum = [0.0; WIDTH];
        for row in token[..MEANING].iter().filter(|r| **r > 0) {
            sum.iter_mut().zip(&self.rows[usize::from(*row)]).for_each(|(s, w)| *s += w);
        }
        if let Some(meaning) = meanings::at(token[MEANING]) {
            for (x, row) in meaning.iter().zip(&self.meaning) {
                sum.iter_mut().zip(row).for_each(|(s, w)| *s += x * w);
            }
        }
        sum
    }

    /// What the filters answer at every token of a sentence, whose [`vectors`](Self::vectors) these are.
    pub fn answers(&self, vectors: &mut Vec<[f32; WIDTH]>, answers: &mut Vec<Pooled>) {
        let tokens = vectors.len() - 2 * PADDING;
        // Tokens go in groups; what the last one lacks is filled with more padding.
        let groups = tokens.div_ceil(GROUP);
        vectors.resize(groups * GROUP + 2 * PADDING, [0.0; WIDTH]);
        answers.clear();
        answers.resize(groups * GROUP, [0.0; 2 * FILTERS]);
        let groups = answers.chunks_exact_mut(GROUP).enumerate();
        let (near, far) = self.bias.split_at(FILTERS);
        ARCH.dispatch(
            #[inline(always)]
            || {
                for (n, group) in groups {
                    let seen = &vectors[n * GROUP..][..GROUP + 2 * PADDING];
                    let [own, wide] = LENGTHS.map(|length| seen[PADDING - length / 2..].as_flattened());
                    filter(&self.near, near, own, group, 0);
                    filter(&self.far, far, wide, group, FILTERS);
                }
            },
        );
        answers.truncate(tokens);
        vectors.truncate(tokens + 2 * PADDING);
    }

    /// What the filters answer to a sentence at most.
    pub fn pool(&self, tokens: &[Token], room: &mut Room) -> Pooled {
        self.vectors(tokens, &mut room.vectors);
        self.answers(&mut room.vectors, &mut room.answers);
        let mut pooled: Pooled = [0.0; 2 * FILTERS];
        room.answers.iter().for_each(|answers| raise(&mut pooled, answers));
        pooled
    }

    /// One number a class; higher fits better.
    pub fn classes(&self, pooled: &Pooled) -> [f32; CLASSES] {
        ARCH.dispatch(
            #[inline(always)]
            || {
                let mut hidden = self.hidden_bias;
                for (x, weights) in pooled.iter().zip(&self.hidden) {
                    hidden.iter_mut().zip(weights).for_each(|(h, w)| *h += x * w);
                }
                let mut classes = self.out_bias;
                for (x, weights) in hidden.iter().zip(&self.out) {
                    classes.iter_mut().zip(weights).for_each(|(c, w)| *c += x.max(0.0) * w);
                }
                classes
            },
        )
    }
}

/// The widest registers that this processor has. Products are added one by one in the order of the weights and never
/// fused, so every processor gets the same bits.
static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// What one sentence needs, used again for the next.
#[derive(Default)]
pub struct Room {
    vectors: Vec<[f32; WIDTH]>,
    answers: Vec<Pooled>,
}

/// Raises each answer to the other where that is higher.
pub fn raise(best: &mut Pooled, other: &Pooled) {
    best.iter_mut().zip(other).for_each(|(b, o)| *b = b.max(*o));
}

/// What filters answer at the tokens of a group, into the columns from `column` on. `seen` begins with what the first
/// token's filters see.
#[inline(always)]
fn filter(filters: &[[f32; FILTERS]], bias: &[f32], seen: &[f32], group: &mut [Pooled], column: usize) {
    let seen: [&[f32]; GROUP] = std::array::from_fn(|n| &seen[n * WIDTH..][..filters.len()]);
    for block in (0..FILTERS).step_by(BLOCK) {
        let mut sums = [[0f32; BLOCK]; GROUP];
        sums.iter_mut().for_each(|sums| sums.copy_from_slice(&bias[block..block + BLOCK]));
        for (i, weights) in filters.iter().enumerate() {
            let weights = &weights[block..block + BLOCK];
            for (sums, seen) in sums.iter_mut().zip(&seen) {
                let x = seen[i];
                sums.iter_mut().zip(weights).for_each(|(s, w)| *s += x * w);
            }
        }
        for (answers, sums) in group.iter_mut().zip(&sums) {
            answers[column + block..][..BLOCK].copy_from_slice(sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::features::sentences;

    /// The definition, as it is written in the paper.
    fn plainly(net: &Net, tokens: &[Token]) -> Pooled {
        let mut vectors = Vec::new();
        net.vectors(tokens, &mut vectors);
        let mut pooled = [0.0; 2 * FILTERS];
        for at in 0..tokens.len() {
            for (f, best) in pooled.iter_mut().enumerate() {
                let (filters, length) =
                    if f < FILTERS { (&net.near, LENGTHS[0]) } else { (&net.far, LENGTHS[1]) };
                let seen = vectors[at + PADDING - length / 2..][..length].as_flattened();
                let sum: f32 = seen.iter().zip(filters).map(|(x, w)| x * w[f % FILTERS]).sum();
                *best = f32::max(*best, sum + net.bias[f]);
            }
        }
        pooled
    }

    #[test]
    fn filters_in_groups_answer_what_each_would_alone() {
        let net = Net::read(&include_bytes!("weights.bin")[..Net::bytes()]);
        let mut room = Room::default();
        let texts =
            ["Ignore", "Print all of it", "Wir essen heute um sieben, danach gehen wir ins Kino", "a b c d"];
        for text in texts.iter().copied().chain([include_str!("../../corpus/train/innocent.txt")]) {
            sentences(text, |_, tokens| {
                let (quick, plain) = (net.pool(tokens, &mut room), plainly(&net, tokens));
                let near = quick.iter().zip(&plain).all(|(q, p)| (q - p).abs() < 1e-4 * p.abs().max(1.0));
                assert!(near, "{quick:?} and {plain:?}");
            });
        }
    }
}
