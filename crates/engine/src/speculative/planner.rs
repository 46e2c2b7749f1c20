//! How many guesses are worth checking in the step being planned.
//!
//! The guesses of all decoding sequences, most probable first, are added for as long as tokens
//! expected per second grow: expected tokens from each sequence's measured acceptance, seconds
//! from the measured cost of steps of each size. So with few sequences on a device that waits for
//! memory it guesses far ahead, and where a larger step costs what it brings, or guesses go wrong,
//! it stops by itself. Now and then it checks a guess although it does not pay, to learn whether
//! that has changed.

use super::cost::StepCost;
use super::{Draft, lookup};

/// Guesses for one sequence in one step at most.
pub(crate) const MOST_GUESSES: usize = 12;
/// Guessing must promise this much more than not guessing, which is certain.
const MARGIN: f64 = 1.03;
/// In so many steps without guesses one has some, to measure.
const PROBE_EVERY: u32 = 64;
/// How much a checked draft counts for what is expected of new sequences.
const NEW: f64 = 0.05;

/// Decides, and learns from what came of it.
#[derive(Debug)]
pub(crate) struct Planner {
    cost: StepCost,
    /// What is expected of a sequence that nothing is known of.
    acceptance: f64,
    /// Steps since guesses were last checked.
    since: u32,
    pub(crate) proposed: u64,
    pub(crate) accepted: u64,
}

/// A sequence that decodes in the step being planned.
pub(crate) struct Candidate<'a> {
    /// Prompt and answer so far.
    pub(crate) tokens: &'a [u32],
    /// Where its guesses go.
    pub(crate) draft: &'a mut Draft,
    /// Guesses that have room before its end.
    pub(crate) room: usize,
}

impl Planner {
    /// A planner for steps that decode up to `tokens` tokens.
    pub(crate) fn new(tokens: usize) -> Planner {
        Planner { cost: StepCost::new(tokens), acceptance: 0.5, since: 0, proposed: 0, accepted: 0 }
    }

    /// Gives each candidate the guesses worth checking, in a step that decodes `decodes` tokens
    /// besides; `spare` guesses fit into it.
    pub(crate) fn plan(&mut self, candidates: &mut [Candidate<'_>], decodes: usize, spare: usize) {
        // (expected tokens, candidate) of each guess: the product of what must be right before it.
        let mut guesses: Vec<(f64, usize)> = Vec::new();
        for (i, candidate) in candidates.iter_mut().enumerate() {
            let found = lookup::guess(candidate.tokens, candidate.room.min(MOST_GUESSES));
            candidate.draft.tokens.clear();
            candidate.draft.tokens.extend_from_slice(found);
            let acceptance = candidate.draft.acceptance(self.acceptance);
            guesses.extend((1..=found.len()).map(|ahead| (acceptance.powi(ahead as i32), i)));
        }
        // Stable, so a sequence's guesses stay in order.
        guesses.sort_by(|a, b| b.0.total_cmp(&a.0));
        guesses.truncate(spare);
        let mut worth = self.worth(decodes, &guesses);
        self.since += 1;
        if worth == 0 && self.since >= PROBE_EVERY {
            worth = guesses.len().min(1 + (self.proposed as usize % 4));
        }
        if worth > 0 {
            self.since = 0;
        }
        let mut keep = vec![0; candidates.len()];
        for (_, i) in &guesses[..worth] {
            keep[*i] += 1;
        }
        for (candidate, keep) in candidates.iter_mut().zip(keep) {
            candidate.draft.tokens.truncate(keep);
        }
    }

    /// How many of the `guesses` make a step of `n` sequences bring most tokens per second.
    fn worth(&self, n: usize, guesses: &[(f64, usize)]) -> usize {
        let Some(plain) = self.cost.of(n) else { return 0 };
        let mut best = (n as f64 / plain * MARGIN, 0);
        let mut expected = n as f64;
        for (i, (probability, _)) in guesses.iter().enumerate() {
            expected += probability;
            let seconds = self.cost.of(n + i + 1).unwrap_or(f64::INFINITY);
            if expected / seconds > best.0 {
                best = (expected / seconds, i + 1);
            }
        }
        best.1
    }

    /// Notes how long a step took that decoded `tokens` tokens and nothing else.
    pub(crate) fn observe(&mut self, tokens: usize, seconds: f64) {
        self.cost.observe(tokens, seconds);
    }

    /// Notes what became of a sequence's guesses.
    pub(crate) fn checked(&mut self, proposed: usize, accepted: usize) {
        if proposed == 0 {
            return;
        }
        self.proposed += proposed as u64;
        self.accepted += accepted as u64;
        let checked = (accepted + 1).min(proposed);
        self.acceptance += (accepted as f64 / checked as f64 - self.acceptance) * NEW;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps cost `fixed + per_token * tokens`.
    fn planner(fixed: f64, per_token: f64) -> Planner {
        let mut planner = Planner::new(64);
        for tokens in 1..=64 {
            planner.observe(tokens, fixed + per_token * tokens as f64);
        }
        planner
    }

    /// How many guesses `n` sequences that repeat themselves get, whose guesses were right at this rate.
    fn planned(planner: &mut Planner, n: usize, right: usize, wrong: usize) -> usize {
        let tokens: Vec<u32> = (0..8).chain(0..4).collect();
        let mut drafts: Vec<Draft> = (0..n).map(|_| Draft::default()).collect();
        for draft in &mut drafts {
            for round in 0..40 {
                draft.checked(1, usize::from(round % (right + wrong) < right));
            }
        }
        let mut candidates: Vec<_> =
            drafts.iter_mut().map(|draft| Candidate { tokens: &tokens, draft, room: 100 }).collect();
        planner.plan(&mut candidates, n, 64 - n);
        drafts.iter().map(|d| d.tokens.len()).sum()
    }

    #[test]
    fn cheap_tokens_are_guessed_and_dear_ones_are_not() {
        assert_eq!(planned(&mut planner(1.0, 0.001), 1, 1, 0), 8, "all that the lookup finds");
        assert_eq!(planned(&mut planner(0.0, 1.0), 1, 1, 0), 0, "a guess costs what a token does");
        assert_eq!(planned(&mut planner(1.0, 0.3), 1, 0, 1), 0, "they are never right");
        let few = planned(&mut planner(1.0, 0.1), 1, 3, 1);
        let many = planned(&mut planner(1.0, 0.02), 1, 3, 1);
        assert!(0 < few && few < many, "{few} and {many}");
        // With sixteen the fixed cost is shared already.
        assert_eq!(planned(&mut planner(1.0, 0.2), 16, 1, 1), 0);
        assert!(planned(&mut planner(1.0, 0.2), 1, 1, 1) > 0);
    }

    #[test]
    fn what_does_not_pay_is_tried_again_now_and_then() {
        let mut planner = planner(0.0, 1.0);
        let steps: Vec<usize> = (0..200).map(|_| planned(&mut planner, 1, 1, 1)).collect();
        assert_eq!(steps.iter().filter(|&&n| n > 0).count(), 3, "{steps:?}");
        assert!(steps.iter().all(|&n| n <= 4));
    }

    #[test]
    fn nothing_is_guessed_before_anything_was_measured() {
        assert_eq!(planned(&mut Planner::new(64), 4, 1, 0), 0);
    }
}
