//! From a row of logits on the host to a token.
//!
//! The order of operations is [`garrison_types::Sampling`]'s. Key decisions: log-probabilities come
//! from the model's own distribution, before anything touches it; every draw is a pure function of
//! `(logits, parameters, seed, position)`; hostile numbers (NaN, infinities) choose a token like any
//! others, because a broken weight must not take the engine down.

mod logprobs;
pub(crate) mod mask;
mod numeric;
mod penalties;
mod rng;
mod select;
#[cfg(test)]
mod tests;

use garrison_device::{SampleRow, Sampled, Want};

use rng::Purpose;

/// Chooses tokens; keeps its working memory between rows.
#[derive(Debug, Default)]
pub struct Sampler {
    selection: select::Selection,
}

impl Sampler {
    /// Does what `row` asks with its `[vocab]` logits, which it overwrites.
    pub fn sample(&mut self, logits: &mut [f32], row: &SampleRow) -> Sampled {
        numeric::sanitize(logits);
        match row.want {
            Want::Score(token) => {
                Sampled { token, logprobs: row.logprobs.map(|top| logprobs::of(logits, token, top)) }
            }
            Want::Sample if row.logprobs.is_none() => {
                Sampled { token: self.choose(logits, row), logprobs: None }
            }
            Want::Sample => {
                let raw = logits.to_vec();
                let token = self.choose(logits, row);
                Sampled { token, logprobs: row.logprobs.map(|top| logprobs::of(&raw, token, top)) }
            }
        }
    }

    fn choose(&mut self, logits: &mut [f32], row: &SampleRow) -> u32 {
        let sampling = &row.sampling;
        penalties::apply(logits, sampling, &row.seen, &row.banned);
        if let Some(mask) = &row.mask {
            mask::apply(logits, mask.bits());
        }
        let token = if sampling.is_greedy() {
            numeric::argmax(logits)
        } else {
            self.selection.draw(logits, sampling, uniform_of(row))
        };
        token.unwrap_or_else(|| any_token(row, logits.len()))
    }
}

/// What the row's token is drawn with, in `[0, 1)`.
pub(crate) fn uniform_of(row: &SampleRow) -> f64 {
    rng::uniform(row.sampling.seed, row.position, Purpose::Token)
}

/// With every logit at minus infinity any choice is as good; a ban still holds if it can.
pub(crate) fn any_token(row: &SampleRow, vocab: usize) -> u32 {
    let free =
        |t: &u32| !row.banned.contains(t) && row.mask.as_ref().is_none_or(|m| mask::allows(m.bits(), *t));
    (0..vocab as u32).find(free).unwrap_or(0)
}
