//! A linear classifier of eight classes: innocent, and seven kinds of attack.
//!
//! Every window of a few sentences is judged, so an attack is found wherever it stands, and the text around it,
//! however innocent and however much of it there is, does not thin it out. `examples/train_injection.rs`
//! makes the weights.

use std::ops::Range;
use std::sync::LazyLock;

use super::Reason;
use super::features::{BUCKETS, sentences};

/// Innocent, and [`Reason::LEARNED`] in their order.
pub const CLASSES: usize = 8;
/// How many sentences one attack can be spread over.
pub const WINDOW: usize = 4;

/// Weights as they lie in the file: what 1 is, the biases, and a row of classes for each bucket.
pub struct Weights {
    unit: f32,
    bias: [f32; CLASSES],
    rows: Vec<[i8; CLASSES]>,
}

static WEIGHTS: LazyLock<Weights> = LazyLock::new(|| Weights::read(include_bytes!("weights.bin")));

impl Weights {
    /// Rounds to eight bits.
    pub fn new(bias: [f32; CLASSES], rows: &[[f32; CLASSES]]) -> Self {
        let largest = rows.iter().flatten().fold(1e-6f32, |max, w| max.max(w.abs()));
        let unit = largest / 127.0;
        let rows = rows.iter().map(|row| row.map(|w| (w / unit).round() as i8)).collect();
        Self { unit, bias, rows }
    }

    fn read(bytes: &[u8]) -> Self {
        let (head, rows) = bytes.split_at_checked(4 * (1 + CLASSES)).unwrap_or((&[], &[]));
        let mut numbers = head.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        let unit = numbers.next().unwrap_or(0.0);
        let mut bias = [0.0; CLASSES];
        bias.iter_mut().zip(numbers).for_each(|(b, n)| *b = n);
        let mut rows: Vec<[i8; CLASSES]> =
            rows.as_chunks::<CLASSES>().0.iter().map(|row| row.map(|b| i8::from_ne_bytes([b]))).collect();
        rows.resize(BUCKETS, [0; CLASSES]);
        Self { unit, bias, rows }
    }

    /// As [`read`](Self::read) takes them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = [self.unit].into_iter().chain(self.bias).flat_map(f32::to_le_bytes);
        head.chain(self.rows.iter().flatten().map(|w| w.to_ne_bytes()[0])).collect()
    }

    /// Calls with every window of a text and how well the classes fit it.
    pub fn windows(&self, text: &str, mut each: impl FnMut(Range<usize>, Scores)) {
        let mut last: Vec<(Range<usize>, [i32; CLASSES], usize)> = Vec::with_capacity(WINDOW);
        sentences(text, |sentence, buckets| {
            let mut sum = [0i32; CLASSES];
            for bucket in buckets {
                let row = &self.rows[*bucket as usize];
                sum.iter_mut().zip(row).for_each(|(s, w)| *s += i32::from(*w));
            }
            if last.len() == WINDOW {
                last.remove(0);
            }
            last.push((sentence.range, sum, sentence.features));
            let (mut total, mut features) = ([0i32; CLASSES], 0);
            for (range, sum, n) in last.iter().rev() {
                total.iter_mut().zip(sum).for_each(|(t, s)| *t += s);
                features += n;
                each(range.start..last.last().map_or(range.end, |l| l.0.end), self.scores(&total, features));
            }
        });
    }

    fn scores(&self, sum: &[i32; CLASSES], features: usize) -> Scores {
        let scale = self.unit / (features.max(1) as f32).sqrt();
        Scores(std::array::from_fn(|c| self.bias[c] + sum[c] as f32 * scale))
    }
}

/// One number a class; higher fits better.
#[derive(Clone, Copy, Debug)]
pub struct Scores(pub [f32; CLASSES]);

impl Scores {
    /// The logarithm of how much likelier an attack of any kind is than none.
    pub fn attack(&self) -> f32 {
        let [innocent, attacks @ ..] = self.0;
        let top = attacks.iter().fold(f32::NEG_INFINITY, |m, a| m.max(*a));
        top + attacks.iter().map(|a| (a - top).exp()).sum::<f32>().ln() - innocent
    }

    /// The kind of attack that fits best.
    pub fn reason(&self) -> Reason {
        let best = (0..Reason::LEARNED.len()).max_by(|a, b| self.0[1 + a].total_cmp(&self.0[1 + b]));
        Reason::LEARNED[best.unwrap_or(0)]
    }
}

/// What is above this is an attack. Chosen by lines of `corpus/train` that were left out in turn, and high: one
/// false alarm in two hundred look-alikes is all there may be, and of those left out it gives one in four hundred.
const THRESHOLD: f32 = 2.0;

/// An attack: where, which kind, and how sure.
pub(super) struct Hit {
    pub(super) range: Range<usize>,
    pub(super) reason: Reason,
    pub(super) confidence: f32,
}

/// All attacks in a text. Of windows that overlap the surest one counts.
pub(super) fn attacks(text: &str) -> Vec<Hit> {
    let mut hits: Vec<Hit> = Vec::new();
    WEIGHTS.windows(text, |range, scores| {
        let odds = scores.attack();
        if odds <= THRESHOLD {
            return;
        }
        let hit = Hit { range, reason: scores.reason(), confidence: 1.0 / (1.0 + (-odds).exp()) };
        match hits.last_mut() {
            Some(last) if hit.range.start < last.range.end => {
                if hit.confidence > last.confidence {
                    *last = hit;
                }
            }
            _ => hits.push(hit),
        }
    });
    hits
}
