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

/// An attack: where, which kind, and how sure.
pub(super) struct Hit {
    pub(super) range: Range<usize>,
    pub(super) reason: Reason,
    pub(super) confidence: f32,
}

/// Where the networks see an attack or are not sure that there is none.
#[derive(Clone, Debug)]
pub struct Place {
    /// The sentences that look most like one.
    pub range: Range<usize>,
    /// The kind that fits best.
    pub reason: Reason,
    /// How much likelier an attack is, as [`Scores::attack`].
    pub odds: f32,
    /// Up to [`WINDOW`] sentences that end with it, for whoever reads further.
    pub around: Range<usize>,
}

/// All places of a text with odds above `doubt`. Of windows that overlap the surest one counts.
pub fn places(text: &str, doubt: f32) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    COMMITTEE.windows(text, |range, scores| {
        let odds = scores.attack();
        // Windows that end together come one after the other, the widest last.
        if let Some(last) = places.last_mut().filter(|last| last.range.end == range.end) {
            last.around = range.clone();
        }
        if odds <= doubt {
            return;
        }
        let place = Place { range: range.clone(), reason: scores.reason(), odds, around: range };
        match places.last_mut() {
            Some(last) if place.range.start < last.range.end => {
                if odds > last.odds {
                    *last = place;
                }
            }
            _ => places.push(place),
        }
    });
    places
}
