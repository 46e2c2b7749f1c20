//! What the draft model's own opinion of its guesses turned out to mean.
//!
//! A draft model knows where it is on firm ground: most guesses are near certain to it, and most of what goes wrong is
//! among the others. What it says of itself is not taken at its word, since a small model may be too sure and draws of
//! two models agree more often than either is sure; each range of what it says has its own record.

/// Ranges: up to 1/2, then each half of what is missing to certainty.
const RANGES: usize = 12;
/// How much the past counts with each guess of a range.
const MEMORY: f64 = 0.995;
/// Guesses that a range is taken at its word for before any was checked.
const PRIOR: f64 = 4.0;
/// Guesses that must have been checked before it is relied on.
const KNOWN: u32 = 64;

/// How often guesses were right, by how probable the draft model said they were.
#[derive(Debug, Default)]
pub(crate) struct Confidence {
    /// Right and wrong guesses of each range, the recent ones counting most.
    ranges: [(f64, f64); RANGES],
    checked: u32,
}

impl Confidence {
    /// Whether enough is known.
    pub(crate) fn is_known(&self) -> bool {
        self.checked >= KNOWN
    }

    /// How probable it is that a guess is right if those before it are, which is `told` to the draft model.
    pub(crate) fn probability(&self, told: f32) -> f64 {
        let (right, wrong) = self.ranges[range_of(told)];
        (right + f64::from(told) * PRIOR) / (right + wrong + PRIOR)
    }

    /// Notes what became of a guess; those before it were right.
    pub(crate) fn learn(&mut self, told: f32, right: bool) {
        self.checked = self.checked.saturating_add(1);
        let (rights, wrongs) = &mut self.ranges[range_of(told)];
        *rights = *rights * MEMORY + f64::from(u8::from(right));
        *wrongs = *wrongs * MEMORY + f64::from(u8::from(!right));
    }
}

fn range_of(told: f32) -> usize {
    // What is no number has no certainty.
    let missing = (1.0 - told).clamp(f32::EPSILON, 1.0);
    if missing.is_nan() { 0 } else { (-missing.log2()) as usize }.min(RANGES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_range_has_its_own_record() {
        let mut confidence = Confidence::default();
        assert!(!confidence.is_known());
        assert!((confidence.probability(0.9) - 0.9).abs() < 1e-6, "taken at its word");
        for i in 0..1000 {
            confidence.learn(0.4, i % 10 < 8);
            confidence.learn(0.999, i % 50 > 0);
        }
        let (low, high) = (confidence.probability(0.4), confidence.probability(0.999));
        assert!(confidence.is_known() && (0.7..0.85).contains(&low) && (0.95..0.99).contains(&high));
        assert!((confidence.probability(0.9) - 0.9).abs() < 1e-6, "of this nothing is known");
    }

    #[test]
    fn every_number_has_a_range() {
        let told = [f32::NAN, f32::NEG_INFINITY, -1.0, 0.0, 0.5, 0.75, 1.0, 2.0, f32::INFINITY];
        assert_eq!(told.map(range_of), [0, 0, 0, 0, 1, 2, 11, 11, 11]);
    }
}
