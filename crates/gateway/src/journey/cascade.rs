//! What a model here said and was not sure of, while somebody better is looked for.

use garrison_route::{Cascade, Privacy, Verdict, Weighed};

use super::{Destination, Journey};

impl Journey {
    /// After how many tokens an answer is weighed. At its end, if there is none.
    pub fn weighs_after(&self) -> Option<u32> {
        self.route.policy.cascade.as_ref().and_then(|cascade| cascade.after)
    }

    /// Weighs what a model here said, by its tokens' natural log-probabilities, `[answers][tokens]`. If it was not sure,
    /// the answer has to be kept until [`Journey::next`] has found a better one, or says that it is needed.
    pub fn weigh(&mut self, tier: &str, logprobs: &[Vec<f32>]) -> Verdict {
        let Some(cascade) = self.route.policy.cascade else { return Verdict::Accepted };
        let weighed = cascade.weigh(logprobs);
        let mut trace = self.trace.lock();
        trace.note("weighed", Some(tier), Some(told(&cascade, &weighed)));
        trace.cascade = Some(weighed);
        drop(trace);
        match weighed.verdict {
            Verdict::Accepted => self.count(tier),
            Verdict::Unsure => self.in_hand = Some(tier.to_owned()),
        }
        weighed.verdict
    }

    /// The answer in hand, if the request may go to nobody else: what was not cleared stays with who has answered it.
    pub(super) fn in_hand_if_it_stays(&mut self) -> Option<Destination> {
        if self.privacy == Privacy::Held { self.take_in_hand() } else { None }
    }

    /// The answer in hand, which is needed.
    pub(super) fn take_in_hand(&mut self) -> Option<Destination> {
        let tier = self.in_hand.take()?;
        let mut trace = self.trace.lock();
        trace.note("kept", Some(&tier), Some("nobody better answers".into()));
        (trace.tier, trace.privacy) = (Some(tier.clone()), Some("local"));
        drop(trace);
        self.count(&tier);
        Some(Destination::InHand)
    }
}

/// Why, with the numbers.
fn told(cascade: &Cascade, weighed: &Weighed) -> String {
    let verdict = match weighed.verdict {
        Verdict::Accepted => "sure enough",
        Verdict::Unsure => "not sure enough, so the next tier is asked",
    };
    let (confidence, least, tokens) = (weighed.confidence, cascade.least, weighed.tokens);
    format!("{confidence:.4} of {least} by {} over {tokens} tokens: {verdict}", cascade.statistic)
}
