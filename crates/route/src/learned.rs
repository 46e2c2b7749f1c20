//! A cascade's threshold that is learned: the lowest at which few enough answers from here would have been others there.
//!
//! Conformal risk control (A. Angelopoulos et al., "Conformal Risk Control", ICLR 2024, section 2, arXiv 2208.02814). A request
//! costs 1 if the answer here is accepted and the next tier's would have been another, else 0; a higher threshold never
//! makes that more. Of `n` requests to which both have answered, the lowest threshold at which `(cost + 1) / (n + 1)` is at
//! most `max_error` keeps the expected cost of the next request within `max_error`, whatever confidences are worth, if the
//! requests are exchangeable. So which ones both answer is drawn by a coin that knows nothing of the request; and since
//! requests change, only the last ones count.
//!
//! Where nothing is known nothing is accepted, which needs no rule of its own: no threshold keeps the bound then.

use std::collections::VecDeque;

use serde::Serialize;

/// Labels that are kept at most.
pub const MOST_LABELS: usize = 2000;
/// At the bound so many of the labels that count are of answers that would have been others: of fewer a share says little.
const OTHERS_AT_BOUND: f64 = 20.0;
/// Until there are as many labels as have so many others at the bound, both answer every request.
const OTHERS_AT_START: f64 = 4.0;
/// More than any confidence.
const NOTHING: f64 = 2.0;

/// What is learned, and within what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    /// Of all requests that are weighed, the share whose answer from here may be accepted though the next tier's would have
    /// been another. Above 0, at most 1.
    pub max_error: f64,
    /// The threshold is never lower than this,
    pub floor: f64,
    /// nor higher than this, if there is such a bound. Below it the error is not bounded.
    pub ceiling: Option<f64>,
    /// The share of requests that the next tier answers as well once enough is known.
    pub compare: f64,
}

/// Whether the next tier said the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// It did.
    Same,
    /// Its answer was another.
    Other,
}

/// A request that both have answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Labelled {
    /// How sure the model here was.
    pub confidence: f64,
    /// What came of it.
    pub agreement: Agreement,
}

/// The last requests that both have answered, oldest first; at most [`MOST_LABELS`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration(VecDeque<Labelled>);

/// Why a threshold is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// There are too few labels for any.
    TooFewLabels,
    /// It is the lowest that keeps the bound.
    Learned,
    /// A lower one would keep it.
    Floor,
    /// Only a higher one would keep it.
    Ceiling,
}

/// A threshold, and what it was learned from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Learned {
    /// An answer's confidence has to come to at least this. Above 1 if no answer is good enough.
    #[serde(skip)]
    pub least: f64,
    /// Why that.
    pub because: Because,
    /// The share that may be wrong.
    pub max_error: f64,
    /// Labels that count.
    pub labels: usize,
    /// Of these, answers that would have been others.
    pub others: usize,
    /// With what probability the next tier answers as well, however sure the model here is.
    pub compare: f64,
}

impl Learning {
    /// Labels that count: the last ones.
    pub fn window(&self) -> usize {
        ((OTHERS_AT_BOUND / self.max_error).ceil() as usize).clamp(100, MOST_LABELS)
    }

    fn at_start(&self) -> usize {
        ((OTHERS_AT_START / self.max_error).ceil() as usize).min(self.window())
    }
}

impl Calibration {
    /// Adds what came last.
    pub fn note(&mut self, labelled: Labelled) {
        if self.0.len() >= MOST_LABELS {
            self.0.pop_front();
        }
        self.0.push_back(labelled);
    }

    /// The threshold that follows from it.
    pub fn learn(&self, learning: &Learning) -> Learned {
        let last = self.0.iter().rev().take(learning.window());
        let labels = last.len();
        let others = last.filter(|label| label.agreement == Agreement::Other);
        let mut others: Vec<f64> = others.map(|label| label.confidence).collect();
        others.sort_unstable_by(|a, b| b.total_cmp(a));
        // A millionth of a label, since 0.29 * 100 is less than 29 in binary fractions.
        let room = (learning.max_error * (labels + 1) as f64 + 1e-6).floor() as usize;
        let (least, because) = match room.checked_sub(1) {
            None => (NOTHING, Because::TooFewLabels),
            // The first that may not be accepted any more is below it.
            Some(room) => (others.get(room).map_or(0.0, |confidence| confidence.next_up()), Because::Learned),
        };
        let (least, because) = match learning.ceiling {
            Some(ceiling) if least > ceiling => (ceiling, Because::Ceiling),
            _ if least < learning.floor => (learning.floor, Because::Floor),
            _ => (least, because),
        };
        let compare = if labels < learning.at_start() { 1.0 } else { learning.compare };
        Learned { least, because, max_error: learning.max_error, labels, others: others.len(), compare }
    }
}

impl FromIterator<Labelled> for Calibration {
    fn from_iter<I: IntoIterator<Item = Labelled>>(labels: I) -> Calibration {
        let mut calibration = Calibration::default();
        labels.into_iter().for_each(|label| calibration.note(label));
        calibration
    }
}

#[cfg(test)]
mod tests;
