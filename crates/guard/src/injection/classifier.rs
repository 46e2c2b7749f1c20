//! Eight classes: innocent, and seven kinds of attack, told by a small [committee](super::committee) of networks.
//!
//! Every window of a few sentences is judged, so an attack is found wherever it stands, and the text around it,
//! however innocent and however much of it there is, does not thin it out. `examples/train_injection` makes the
//! weights.

use std::ops::Range;
use std::sync::LazyLock;

use super::Reason;
use super::committee::Committee;

/// Innocent, and [`Reason::LEARNED`] in their order.
pub const CLASSES: usize = 8;
/// How many sentences one attack can be spread over.
pub const WINDOW: usize = 4;

static COMMITTEE: LazyLock<Committee> = LazyLock::new(|| Committee::read(include_bytes!("weights.bin")));

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

/// What is above this is an attack: what half a percent of look-alikes reached, by networks that had not learned their lines
/// (benches/guard/NOTES.md). Fixed before the held-out texts were judged.
const THRESHOLD: f32 = 3.75;

/// An attack: where, which kind, and how sure.
pub(super) struct Hit {
    pub(super) range: Range<usize>,
    pub(super) reason: Reason,
    pub(super) confidence: f32,
}

/// All attacks in a text. Of windows that overlap the surest one counts.
pub(super) fn attacks(text: &str) -> Vec<Hit> {
    let mut hits: Vec<Hit> = Vec::new();
    COMMITTEE.windows(text, |range, scores| {
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
