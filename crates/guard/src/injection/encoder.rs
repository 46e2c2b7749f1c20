//! A small sentence encoder that was taught to tell attacks (Devlin et al. 2019, "BERT"; Wang et al. 2020, "MiniLM"): it reads a
//! few sentences as a whole, where the [networks](super::net) know words and their neighbours.
//!
//! All-MiniLM-L6-v2 (Apache-2.0) learned the guard's training texts further; see
//! `corpus/second_look/learn.py`, which makes the weights, eight bits each.

use std::sync::LazyLock;

use pulp::Arch;

use super::classifier::{CLASSES, Scores};
use super::dense::{Dense, MOST_INPUTS, Rounded};
use super::pieces::{LONGEST, PIECES};

/// Layers.
pub const LAYERS: usize = 6;
/// Numbers of a piece's vector.
pub const HIDDEN: usize = 384;
const HEADS: usize = 12;
const HEAD: usize = HIDDEN / HEADS;
/// Numbers between the two products of a layer.
const BETWEEN: usize = 1536;
/// What is seen of a text in the end: the vectors of its first piece, the mean of all, and the most of each number.
const SEEN: usize = 3 * HIDDEN;

const _: () = assert!(BETWEEN <= MOST_INPUTS && SEEN <= MOST_INPUTS && LONGEST.is_multiple_of(LANES));

/// Bytes of a table in the file: eight bits a number, four bytes a row for what 1 is.
const fn table(rows: usize, columns: usize) -> usize {
    rows * (columns + 4)
}

/// Bytes of the file.
pub const BYTES: usize = table(PIECES, HIDDEN)
    + table(LONGEST, HIDDEN)
    + 8 * HIDDEN
    + LAYERS
        * (table(3 * HIDDEN, HIDDEN)
            + table(HIDDEN, HIDDEN)
            + table(BETWEEN, HIDDEN)
            + table(HIDDEN, BETWEEN)
            + 4 * (3 * HIDDEN + HIDDEN + BETWEEN + HIDDEN)
            + 16 * HIDDEN)
    + table(CLASSES, SEEN)
    + 4 * CLASSES;

/// The weights.
pub struct Encoder {
    pieces: Rows,
    places: Rows,
    norm: Norm,
    layers: Vec<Layer>,
    head: Vec<f32>,
    head_bias: Vec<f32>,
}

/// `[rows][HIDDEN]`, as they lie in the file.
struct Rows {
    numbers: &'static [u8],
    units: Vec<f32>,
}

/// Scale and shift.
struct Norm([Vec<f32>; 2]);

struct Layer {
    attention: Dense,
    attended: Dense,
    first: Norm,
    up: Dense,
    down: Dense,
    second: Norm,
}

/// What reads the file from its beginning on; what is missing is zero.
struct Reader(&'static [u8]);

impl Reader {
    fn bytes(&mut self, len: usize) -> &'static [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn floats(&mut self, count: usize) -> Vec<f32> {
        let (read, _) = self.bytes(4 * count).as_chunks::<4>();
        let mut floats: Vec<f32> = read.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        floats.resize(count, 0.0);
        floats
    }

    fn rows(&mut self, count: usize) -> Rows {
        Rows { numbers: self.bytes(count * HIDDEN), units: self.floats(count) }
    }

    fn dense(&mut self, outputs: usize, inputs: usize) -> Dense {
        let mut weights = self.bytes(outputs * inputs).to_vec();
        weights.resize(outputs * inputs, 0);
        Dense::new(&weights, inputs, self.floats(outputs), self.floats(outputs))
    }

    fn norm(&mut self) -> Norm {
        Norm([self.floats(HIDDEN), self.floats(HIDDEN)])
    }

    fn layer(&mut self) -> Layer {
        Layer {
            attention: self.dense(3 * HIDDEN, HIDDEN),
            attended: self.dense(HIDDEN, HIDDEN),
            first: self.norm(),
            up: self.dense(BETWEEN, HIDDEN),
            down: self.dense(HIDDEN, BETWEEN),
            second: self.norm(),
        }
    }
}

impl Encoder {
    /// That in the binary.
    pub fn bundled() -> &'static Encoder {
        static BUNDLED: LazyLock<Encoder> = LazyLock::new(|| Encoder::read(include_bytes!("encoder.bin")));
        &BUNDLED
    }

    /// A file of [`BYTES`] bytes; what is missing is zero.
    pub fn read(bytes: &'static [u8]) -> Encoder {
        let mut reader = Reader(bytes);
        let (pieces, places, norm) = (reader.rows(PIECES), reader.rows(LONGEST), reader.norm());
        let layers = (0..LAYERS).map(|_| reader.layer()).collect();
        let rounded = reader.bytes(CLASSES * SEEN);
        let units = reader.floats(CLASSES);
        let of_class = |(row, unit): (&[u8], &f32)| row.iter().map(|w| f32::from(*w as i8) * unit).collect();
        let mut head: Vec<f32> =
            rounded.chunks_exact(SEEN).zip(&units).flat_map(|row| -> Vec<f32> { of_class(row) }).collect();
        head.resize(CLASSES * SEEN, 0.0);
        Encoder { pieces, places, norm, layers, head, head_bias: reader.floats(CLASSES) }
    }

    /// How well the classes fit a text of these [pieces](super::pieces::pieces), at most [`LONGEST`] of them.
    pub fn classes(&self, pieces: &[u16]) -> Scores {
        let mut rows = vec![0.0; pieces.len() * HIDDEN];
        let (mut rounded, mut made, mut mixed) = (Rounded::default(), Vec::new(), Vec::new());
        let arch = Arch::new();
        arch.dispatch(
            #[inline(always)]
            || self.embed(pieces, &mut rows),
        );
        for layer in &self.layers {
            let round = |rows: &[f32], inputs: usize, rounded: &mut Rounded| {
                arch.dispatch(
                    #[inline(always)]
                    || rounded.fill(rows, inputs),
                );
            };
            round(&rows, HIDDEN, &mut rounded);
            layer.attention.apply(&rounded, &mut made);
            arch.dispatch(Attend { made: &made, mixed: &mut mixed });
            round(&mixed, HIDDEN, &mut rounded);
            layer.attended.apply(&rounded, &mut made);
            arch.dispatch(
                #[inline(always)]
                || layer.first.add(&mut rows, &made),
            );
            round(&rows, HIDDEN, &mut rounded);
            layer.up.apply(&rounded, &mut made);
            arch.dispatch(
                #[inline(always)]
                || made.iter_mut().for_each(|x| *x = gelu(*x)),
            );
            round(&made, BETWEEN, &mut rounded);
            layer.down.apply(&rounded, &mut mixed);
            arch.dispatch(
                #[inline(always)]
                || layer.second.add(&mut rows, &mixed),
            );
        }
        self.classes_of(&rows)
    }

    #[inline(always)]
    fn embed(&self, pieces: &[u16], rows: &mut [f32]) {
        for (place, (piece, row)) in pieces.iter().zip(rows.chunks_exact_mut(HIDDEN)).enumerate() {
            self.pieces.add(usize::from(*piece), row);
            self.places.add(place, row);
            self.norm.apply(row);
        }
    }

    fn classes_of(&self, rows: &[f32]) -> Scores {
        let mut seen = vec![0f32; SEEN];
        let (first, rest) = seen.split_at_mut(HIDDEN);
        let (mean, most) = rest.split_at_mut(HIDDEN);
        first.copy_from_slice(&rows[..HIDDEN]);
        most.copy_from_slice(&rows[..HIDDEN]);
        let share = HIDDEN as f32 / rows.len() as f32;
        for row in rows.chunks_exact(HIDDEN) {
            mean.iter_mut().zip(row).for_each(|(m, x)| *m += x * share);
            most.iter_mut().zip(row).for_each(|(m, x)| *m = m.max(*x));
        }
        let mut classes = [0.0; CLASSES];
        for ((class, weights), bias) in
            classes.iter_mut().zip(self.head.chunks_exact(SEEN)).zip(&self.head_bias)
        {
            *class = bias + seen.iter().zip(weights).map(|(x, w)| x * w).sum::<f32>();
        }
        Scores(classes)
    }
}

impl Rows {
    #[inline(always)]
    fn add(&self, row: usize, to: &mut [f32]) {
        let unit = self.units.get(row).copied().unwrap_or(0.0);
        let numbers = self.numbers.get(row * HIDDEN..(row + 1) * HIDDEN).unwrap_or(&[]);
        to.iter_mut().zip(numbers).for_each(|(x, w)| *x += f32::from(*w as i8) * unit);
    }
}

/// Numbers that are summed side by side.
const LANES: usize = 16;

#[inline(always)]
fn sum(numbers: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0f32; LANES];
    for numbers in numbers.chunks_exact(LANES) {
        sums.iter_mut().zip(numbers).for_each(|(s, x)| *s += of(*x));
    }
    sums.iter().sum()
}

impl Norm {
    /// A row becomes one of mean 0 and variance 1, scaled and shifted (Ba et al. 2016, "Layer normalization").
    #[inline(always)]
    fn apply(&self, row: &mut [f32]) {
        let mean = sum(row, |x| x) / HIDDEN as f32;
        let variance = sum(row, |x| (x - mean) * (x - mean)) / HIDDEN as f32;
        let scale = 1.0 / (variance + 1e-12).sqrt();
        for ((x, w), b) in row.iter_mut().zip(&self.0[0]).zip(&self.0[1]) {
            *x = (*x - mean) * scale * w + b;
        }
    }

    /// The same of the sum of two.
    #[inline(always)]
    fn add(&self, rows: &mut [f32], others: &[f32]) {
        for (row, other) in rows.chunks_exact_mut(HIDDEN).zip(others.chunks_exact(HIDDEN)) {
            row.iter_mut().zip(other).for_each(|(x, y)| *x += y);
            self.apply(row);
        }
    }
}

/// Softmax attention of every head: `made` is `[pieces][3][HEADS][HEAD]`, queries, keys and values; `mixed` becomes
/// `[pieces][HEADS][HEAD]` (Vaswani et al. 2017).
#[inline(always)]
fn attend(made: &[f32], mixed: &mut Vec<f32>) {
    let pieces = made.len() / (3 * HIDDEN);
    mixed.clear();
    mixed.resize(pieces * HIDDEN, 0.0);
    // A row for each number of a key, so that many keys are computed side by side; what is behind the last is never likely.
    let mut keys = [[[0f32; LANES]; LONGEST / LANES]; HEAD];
    let own = pieces.min(LONGEST);
    for head in 0..HEADS {
        let part = |piece: usize, which: usize| {
            let at = piece * 3 * HIDDEN + which * HIDDEN + head * HEAD;
            made[at..].first_chunk::<HEAD>().copied().unwrap_or([0.0; HEAD])
        };
        for piece in 0..own {
            for (row, x) in keys.iter_mut().zip(part(piece, 1)) {
                row[piece / LANES][piece % LANES] = x;
            }
        }
        for piece in 0..own {
            let query = part(piece, 0);
            let mut scores = [[0f32; LANES]; LONGEST / LANES];
            for (n, scores) in scores.iter_mut().enumerate().take(own.div_ceil(LANES)) {
                let mut sums = [0f32; LANES];
                for (x, row) in query.iter().zip(&keys) {
                    sums.iter_mut().zip(&row[n]).for_each(|(s, k)| *s += x * k);
                }
                *scores = sums;
            }
            let scores = &mut scores.as_flattened_mut()[..own];
            let top = scores.iter().fold(f32::NEG_INFINITY, |most, s| if *s > most { *s } else { most });
            let scale = 1.0 / (HEAD as f32).sqrt();
            scores.iter_mut().for_each(|s| *s = exp((*s - top) * scale));
            let all: f32 = scores.iter().sum();
            let mut sums = [0f32; HEAD];
            for (other, score) in scores.iter().enumerate() {
                let share = score / all;
                sums.iter_mut().zip(part(other, 2)).for_each(|(o, v)| *o += share * v);
            }
            mixed[piece * HIDDEN + head * HEAD..][..HEAD].copy_from_slice(&sums);
        }
    }
}

/// As a value, since a closure of its size is compiled apart, without the registers that it is for.
struct Attend<'a> {
    made: &'a [f32],
    mixed: &'a mut Vec<f32>,
}

impl pulp::NullaryFnOnce for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        attend(self.made, self.mixed);
    }
}

/// Hendrycks and Gimpel 2016, "Gaussian error linear units", by the formula with the hyperbolic tangent.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    x / (1.0 + exp(-1.595_769 * (x + 0.044_715 * x * x * x)))
}

/// `e` to the power of `x`, to seven digits: the whole part of the power of two becomes the exponent's bits, of the rest
/// the first terms of its series are added.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// In numbers of this size the lowest bit stands for 1.
    const WHOLE: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 87.0);
    let rounded = x * std::f32::consts::LOG2_E + WHOLE;
    let whole = rounded - WHOLE;
    // The logarithm of 2 in two parts, so that nothing of the difference is lost.
    let rest = x - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let series = 1.0
        + rest
            * (1.0
                + rest
                    * (0.5 + rest * (1.0 / 6.0 + rest * (1.0 / 24.0 + rest * (1.0 / 120.0 + rest / 720.0)))));
    series * f32::from_bits(rounded.to_bits().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::pieces::pieces;

    #[test]
    fn the_file_has_every_number() {
        assert_eq!(include_bytes!("encoder.bin").len(), BYTES);
    }

    #[test]
    fn powers_of_e_are_exact_to_six_digits() {
        for n in -8700..8700 {
            let x = n as f32 / 100.0;
            let wanted = f64::from(x).exp();
            assert!((f64::from(exp(x)) - wanted).abs() < 1e-6 * wanted, "{x}: {} and {wanted}", exp(x));
        }
        assert!(exp(-1e9) < 1e-37 && exp(1e9).is_finite());
    }

    /// `{"text", "pieces", "classes"}`: what the program that taught the encoder computes with its rounded weights.
    #[test]
    fn classes_are_those_that_it_was_taught_with() {
        for line in include_str!("../../corpus/second_look/known.jsonl").lines() {
            let known: serde_json::Value = serde_json::from_str(line).unwrap();
            let wanted: Vec<f32> = serde_json::from_value(known["classes"].clone()).unwrap();
            let of_text: Vec<u16> = serde_json::from_value(known["pieces"].clone()).unwrap();
            let text = known["text"].as_str().unwrap();
            assert_eq!(pieces(text), of_text, "{text}");
            let Scores(got) = Encoder::bundled().classes(&of_text);
            for (got, wanted) in got.iter().zip(&wanted) {
                assert!((got - wanted).abs() < 0.02, "{text}: {got} and {wanted}");
            }
        }
    }
}
