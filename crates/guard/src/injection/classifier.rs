//! Eight classes: innocent, and seven kinds of attack, told by a small [network](super::net).
//!
//! Every window of a few sentences is judged, so an attack is found wherever it stands, and the text around it,
//! however innocent and however much of it there is, does not thin it out. `examples/train_injection` makes the
//! weights.

use std::ops::Range;
use std::sync::LazyLock;

use super::Reason;
use super::features::sentences;
use super::net::{FILTERS, Net, Pooled};

/// Innocent, and [`Reason::LEARNED`] in their order.
pub const CLASSES: usize = 8;
/// How many sentences one attack can be spread over.
pub const WINDOW: usize = 4;

static NET: LazyLock<Net> = LazyLock::new(|| Net::read(include_bytes!("weights.bin")));

/// Calls with every window of a text and how well the classes fit it.
pub fn windows(net: &Net, text: &str, mut each: impl FnMut(Range<usize>, Scores)) {
    let mut last: Vec<(Range<usize>, Pooled)> = Vec::with_capacity(WINDOW);
    let mut vectors = Vec::new();
    sentences(text, |range, tokens| {
        if last.len() == WINDOW {
            last.remove(0);
        }
        let end = range.end;
        last.push((range, net.pool(tokens, &mut vectors)));
        let mut pooled: Pooled = [0.0; 2 * FILTERS];
        for (range, sentence) in last.iter().rev() {
            pooled.iter_mut().zip(sentence).for_each(|(p, s)| *p = p.max(*s));
            each(range.start..end, Scores(net.classes(&pooled)));
        }
    });
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

/// What is above this is an attack: what 2% of the innocent lines that were left out reach. Fixed before the held-out
/// texts were judged.
const THRESHOLD: f32 = 6.5;

/// An attack: where, which kind, and how sure.
pub(super) struct Hit {
    pub(super) range: Range<usize>,
    pub(super) reason: Reason,
    pub(super) confidence: f32,
}

/// All attacks in a text. Of windows that overlap the surest one counts.
pub(super) fn attacks(text: &str) -> Vec<Hit> {
    let mut hits: Vec<Hit> = Vec::new();
    windows(&NET, text, |range, scores| {
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
