//! A small convolutional network over tokens (Kim 2014, "Convolutional neural networks for sentence
//! classification"): a vector for each token, which is the sum of those of its rows and of what the word
//! [means](meanings), of which only the directions that count were learned; filters over three and five tokens; the
//! strongest answer of each filter within a sentence; and two layers that make classes of it.
//!
//! A sentence is filtered by itself, so the answer for several in a row is the stronger of theirs, and every window
//! of a text costs only the last two layers.

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
/// Filters that are computed together, as many as processors have room for.
const BLOCK: usize = 24;

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
        for (vector, token) in vectors[PADDING..].iter_mut().zip(tokens) {
            let rows = token[..MEANING].iter().filter(|r| **r > 0).map(|row| &self.rows[usize::from(*row)]);
            for row in rows {
                vector.iter_mut().zip(row).for_each(|(v, w)| *v += w);
            }
            for (x, row) in meanings::at(token[MEANING]).iter().flatten().zip(&self.meaning) {
                vector.iter_mut().zip(row).for_each(|(v, w)| *v += x * w);
            }
        }
    }

    /// What the filters answer to a sentence at most.
    pub fn pool(&self, tokens: &[Token], vectors: &mut Vec<[f32; WIDTH]>) -> Pooled {
        self.vectors(tokens, vectors);
        let mut pooled: Pooled = [0.0; 2 * FILTERS];
        let (near, far) = pooled.split_at_mut(FILTERS);
        for at in 0..tokens.len() {
            let seen = |length: usize| vectors[at + PADDING - length / 2..][..length].as_flattened();
            strongest(&self.near, &self.bias[..FILTERS], seen(LENGTHS[0]), near);
            strongest(&self.far, &self.bias[FILTERS..], seen(LENGTHS[1]), far);
        }
        pooled
    }

    /// One number a class; higher fits better.
    pub fn classes(&self, pooled: &Pooled) -> [f32; CLASSES] {
        let mut hidden = self.hidden_bias;
        for (x, weights) in pooled.iter().zip(&self.hidden).filter(|(x, _)| **x > 0.0) {
            hidden.iter_mut().zip(weights).for_each(|(h, w)| *h += x * w);
        }
        let mut classes = self.out_bias;
        for (x, weights) in hidden.iter().zip(&self.out).filter(|(x, _)| **x > 0.0) {
            classes.iter_mut().zip(weights).for_each(|(c, w)| *c += x * w);
        }
        classes
    }
}

/// Raises `best` to what the filters answer to `seen`.
fn strongest(filters: &[[f32; FILTERS]], bias: &[f32], seen: &[f32], best: &mut [f32]) {
    for block in (0..FILTERS).step_by(BLOCK) {
        let mut sums = [0f32; BLOCK];
        sums.copy_from_slice(&bias[block..block + BLOCK]);
        for (x, weights) in seen.iter().zip(filters) {
            sums.iter_mut().zip(&weights[block..block + BLOCK]).for_each(|(s, w)| *s += x * w);
        }
        best[block..block + BLOCK].iter_mut().zip(sums).for_each(|(b, s)| *b = b.max(s));
    }
}
