//! What a request may take of a tier: no more than its model can give, under all limits of money.

use crate::money::{Micros, Tokens};
use crate::plan::{Accepts, Features, Skipped, Step};
use crate::policy::{Place, Policy, Tier};

/// Tokens of an answer that nobody limited, for what it is expected to cost.
pub const USUAL_OUTPUT: u64 = 512;
/// Tokens of an answer that nobody limited, at most, where it has to be said how many.
const MOST_OUTPUT: u64 = 16_384;
/// A limit of money that leaves room for fewer tokens than this leaves none: such an answer helps nobody.
const LEAST_OUTPUT: u64 = 64;
/// Where an estimate of the prompt that is rather too high leaves fewer tokens than this, the usual one is taken.
const ENOUGH_OUTPUT: u64 = 4096;

/// What a request may take of a tier under all limits of money.
pub(crate) fn afford(
    features: &Features,
    policy: &Policy,
    index: usize,
    tier: &Tier,
) -> Result<Step, Skipped> {
    let limits = [(policy.max_cost, Skipped::RequestCap), (features.budget, Skipped::Budget)];
    let limited = limits.iter().any(|(limit, _)| limit.is_some());
    let said = limited || tier.max_output.is_some();
    let open = (said && tier.place == Place::Remote).then(|| longest(features, tier));
    let output_tokens = features.output_tokens.or(open);
    let most = outputs(features, longest(features, tier));
    let reserve = tier.price.most(features.most_prompt_tokens, most);
    let step = Step { tier: index, output_tokens, reserve, accepts: Accepts::Anything };
    if tier.place == Place::Local {
        return Ok(step);
    }
    limits.into_iter().try_fold(step, |step, (limit, why)| match limit {
        None => Ok(step),
        Some(limit) => step.within(limit, features, tier).ok_or(why),
    })
}

impl Step {
    /// The same within a limit of money, of the tier that it is of: an answer whose length the client left open is cut. None if
    /// that leaves no room.
    pub fn within(self, limit: Micros, features: &Features, tier: &Tier) -> Option<Step> {
        if self.reserve <= limit {
            return Some(self);
        }
        let choices = features.choices.max(1);
        let each = tier.price.output_within(features.most_prompt_tokens, limit)? / choices;
        // What a client asks for is given whole or not at all.
        if each < features.output_tokens.unwrap_or(LEAST_OUTPUT) {
            return None;
        }
        let output = self.output_tokens.map_or(each, |most| most.min(each));
        let reserve = tier.price.most(features.most_prompt_tokens, output.saturating_mul(choices));
        Some(Step { output_tokens: Some(output), reserve, ..self })
    }
}

/// What a request is expected to cost.
pub(crate) fn expected(features: &Features, tier: &Tier) -> Micros {
    let output = outputs(features, USUAL_OUTPUT);
    tier.price.cost(Tokens { prompt: features.prompt_tokens, output, ..Tokens::default() })
}

/// Tokens of an answer that nobody limited, at most. A provider refuses to be asked for more than its model can give, so what the
/// prompt takes of the context is rather too much: a token in three bytes. Where that leaves little, it is what the tier was taken
/// by: else a long prompt, or many pictures, would be answered with next to nothing though there is room.
fn longest(features: &Features, tier: &Tier) -> u64 {
    let room = |prompt: u64| u64::from(tier.context).saturating_sub(prompt);
    let careful = room(features.most_prompt_tokens.div_ceil(3));
    let room = if careful < ENOUGH_OUTPUT { room(features.prompt_tokens) } else { careful };
    room.clamp(LEAST_OUTPUT, MOST_OUTPUT).min(tier.max_output.map_or(u64::MAX, u64::from))
}

/// The tokens of all answers, `usual` each where the client set no limit.
fn outputs(features: &Features, usual: u64) -> u64 {
    features.output_tokens.unwrap_or(usual).saturating_mul(features.choices.max(1))
}
