//! What a model here said and was not sure of, while somebody better is looked for; and what is learned of how sure it has to
//! be.

use std::sync::Arc;

use garrison_route::{Cascade, Compared, Learning, Privacy, Threshold, Verdict, Weighed};

use super::{Destination, Journey};
use crate::cache::{Embedder, Semantic};
use crate::learning::{Comparison, Kind, NoEmbedder, Terms};
use crate::routes::random;

impl Journey {
    /// After how many tokens an answer is weighed. At its end, if there is none.
    pub fn weighs_after(&self) -> Option<u32> {
        self.route.policy.cascade.as_ref().and_then(|cascade| cascade.after)
    }

    /// Weighs what a model here said, by its tokens' natural log-probabilities, `[answers][tokens]`. If it was not sure, or is to
    /// be compared, the answer has to be kept until [`Journey::next`] has found a better one, or says that it is needed.
    pub fn weigh(&mut self, tier: &str, logprobs: &[Vec<f32>]) -> Verdict {
        // One of an answer before is no comparison with this one.
        self.comparison = None;
        let Some(cascade) = self.route.policy.cascade else { return Verdict::Accepted };
        let weighed = match cascade.threshold {
            Threshold::Fixed(least) => cascade.weigh(logprobs, least),
            Threshold::Learned(learning) => self.weigh_as_learned(&cascade, &learning, tier, logprobs),
        };
        let mut trace = self.trace.lock();
        trace.note("weighed", Some(tier), Some(told(&cascade, &weighed)));
        trace.cascade = Some(weighed);
        drop(trace);
        match weighed.verdict {
            Verdict::Accepted => self.count(tier),
            Verdict::Unsure | Verdict::Compared => self.in_hand = Some(tier.to_owned()),
        }
        weighed.verdict
    }

    /// Weighs by what was learned. Chance alone decides whether this request is one to learn from.
    fn weigh_as_learned(
        &mut self,
        cascade: &Cascade,
        learning: &Learning,
        tier: &str,
        logprobs: &[Vec<f32>],
    ) -> Weighed {
        let calibrations = &self.routes.calibrations;
        let there =
            self.plan.steps.get(self.position).map_or_else(String::new, |step| self.name(*step).to_owned());
        let tiers = [tier, &*there];
        let kind = Kind::new(&self.route.name, tiers, self.ask.task, cascade, self.route.answers);
        let learned = calibrations.learned(&kind, learning);
        let mut weighed = Weighed { learned: Some(learned), ..cascade.weigh(logprobs, learned.least) };
        let drawn = random() as f64 / u64::MAX as f64;
        // Which of several answers would be compared with which nobody can tell.
        if self.ask.choices == 1 && drawn < learned.compare {
            weighed.compared = Compared::Awaited;
            if weighed.verdict == Verdict::Accepted {
                weighed.verdict = Verdict::Compared;
            }
            self.comparison = Some(Comparison::new(Terms {
                calibrations: Arc::clone(calibrations),
                kind,
                there,
                confidence: weighed.confidence,
                compare: self.route.answers,
                embedder: self.embedder(),
                trace: self.trace.clone(),
            }));
        }
        weighed
    }

    fn embedder(&self) -> Arc<dyn Embedder> {
        match self.routes.cache.as_ref().map(|cache| cache.semantic()) {
            Some(Semantic::On(semantic)) => Arc::clone(semantic.embedder()),
            _ => Arc::new(NoEmbedder),
        }
    }

    /// The comparison that the answer in hand is wanted for, if it is with this tier's; only with one from its beginning. What
    /// another tier says in the place of the next teaches nothing of that.
    pub fn comparison(&self, there: &str) -> Option<Comparison> {
        self.comparison.clone().filter(|comparison| self.said.is_empty() && comparison.is_with(there))
    }

    /// The answer in hand, if the request may go to nobody else: what was not cleared stays with who has answered it.
    pub(super) fn in_hand_if_it_stays(&mut self) -> Option<Destination> {
        if self.features.privacy == Privacy::Held { self.take_in_hand() } else { None }
    }

    /// The answer in hand, which is needed.
    pub(super) fn take_in_hand(&mut self) -> Option<Destination> {
        let tier = self.in_hand.take()?;
        // There is nobody to compare it with.
        self.comparison = None;
        let mut trace = self.trace.lock();
        if let Some(weighed) = &mut trace.cascade {
            weighed.compared = Compared::Not;
        }
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
        Verdict::Compared => "sure enough, but the next tier is asked whether it says the same",
    };
    let (confidence, tokens) = (weighed.confidence, weighed.tokens);
    let least =
        if weighed.least > 1.0 { "more than any".to_owned() } else { format!("{:.4}", weighed.least) };
    let least = match weighed.learned {
        // As the owner wrote it.
        None => weighed.least.to_string(),
        Some(learned) => format!("{least}, learned from {} labels,", learned.labels),
    };
    format!("{confidence:.4} of {least} by {} over {tokens} tokens: {verdict}", cascade.statistic)
}
