//! When the draft model stops: as it goes, it says how sure it is, and goes on for as long as another guess is worth more than
//! its time and that of checking it, which is what tokens come at otherwise.

use super::{Draft, MOST_GUESSES, Planner, Source};
use crate::speculative::drafter::DraftStep;

/// Guesses beyond the next that may be what makes the next one worth it: steps of some sizes take hardly longer than the
/// size before.
const LOOK_AHEAD: usize = 3;

impl Planner {
    /// Whether the draft model is to go on with a sequence, one of `seqs` that it guesses for at a time, in a step that checks
    /// `rows` tokens so far.
    pub(crate) fn goes_on(&self, draft: &Draft, rows: usize, seqs: usize) -> bool {
        let Some(rate) = self.stops_by else { return true };
        let Some(now) = self.cost.of(rows) else { return true };
        let each = self.draft_cost.of(seqs).unwrap_or(0.0) / seqs.max(1) as f64 + draft.mask;
        let acceptance = draft.acceptance(Source::Model, self.model_acceptance);
        let (mut probability, mut gain) = (self.certainties(draft).last().unwrap_or(1.0), 0.0);
        (1..=LOOK_AHEAD.min(draft.wanted)).any(|more| {
            probability *= acceptance;
            gain += probability;
            let checks = self.cost.of(rows + more).map_or(f64::INFINITY, |seconds| seconds - now);
            gain > rate * (checks + more as f64 * each)
        })
    }

    /// How many of a sequence's guesses are worth checking beside `rows` other tokens.
    pub(crate) fn worth_checking(&self, draft: &Draft, rows: usize) -> usize {
        let (Some(rate), Some(without)) = (self.stops_by, self.cost.of(rows)) else {
            return draft.tokens.len();
        };
        let (mut best, mut gain) = ((0.0, 0), 0.0);
        for (i, probability) in self.certainties(draft).enumerate() {
            gain += probability;
            let seconds = self.cost.of(rows + i + 1).unwrap_or(f64::INFINITY) - without;
            let worth = gain - rate * seconds;
            if worth >= best.0 {
                best = (worth, i + 1);
            }
        }
        best.1
    }

    /// For each of the draft model's guesses, how probable it is that it and all before it are right.
    fn certainties<'a>(&'a self, draft: &'a Draft) -> impl Iterator<Item = f64> + 'a {
        let confidence = &self.confidence;
        draft.told.iter().scan(1.0, move |all, &told| {
            *all *= confidence.probability(told);
            Some(*all)
        })
    }

    /// Tokens that a step is taken to bring a sequence with these guesses.
    fn expected_of(&self, draft: &Draft) -> f64 {
        if draft.told.is_empty() {
            let acceptance = draft.acceptance(draft.source, self.prior(draft.source));
            return (0..=draft.tokens.len()).map(|ahead| acceptance.powi(ahead as i32)).sum();
        }
        1.0 + self.certainties(draft).sum::<f64>()
    }

    /// Notes what the draft model did for the step being run: it may be less than was planned. `drafts` are those of all that
    /// the step decodes.
    pub(crate) fn drafted<'a>(&mut self, steps: &[DraftStep], drafts: impl Iterator<Item = &'a Draft>) {
        let (mut size, mut tokens) = (0, 0.0);
        for draft in drafts {
            size += 1 + draft.tokens.len();
            tokens += self.expected_of(draft);
        }
        let drafting: f64 = steps.iter().map(|step| self.drafting(step)).sum();
        let known = self.cost.of(size).filter(|_| self.cost.is_known(size));
        if let Some(step) = &mut self.step {
            step.tokens_per_second = known.map(|seconds| tokens / (seconds + step.masks + drafting));
        }
        for step in steps {
            self.observe_draft(step.tokens, step.seqs, step.seconds);
            self.observe_wait(step.waited);
        }
    }

    /// Seconds that a step of the draft model was taken to take.
    fn drafting(&self, step: &DraftStep) -> f64 {
        let unread = if step.tokens > 2 * step.seqs { step.tokens - step.seqs } else { 0 };
        let guessing = self.draft_cost.of(step.seqs).unwrap_or(step.seconds);
        guessing + unread as f64 * self.read_cost.unwrap_or(0.0)
    }

    /// Guesses that a sequence may go on to, of which `best` were planned, where `spare` more fit into the step.
    pub(super) fn reach(&self, best: usize, room: usize, spare: usize) -> usize {
        if self.stops_by.is_none() { best } else { (best + spare).min(room).min(MOST_GUESSES).max(best) }
    }
}
