//! Cascades: a model here answers first, and how sure it was of its own words decides whether that is the answer or a tier
//! elsewhere is asked.
//!
//! How sure a model was of a whole answer has to be made of how sure it was of each token. The sum of log-probabilities
//! (the answer's own probability) calls every long answer unsure. Their mean does not, but a few words that the model
//! guessed drown in many that follow from them. N. Gupta et al. ("Language Model Cascades: Token-level uncertainty and
//! beyond", ICLR 2024) compare these with quantiles over the tokens, and find a low one a better sign of when to defer
//! on most tasks. So a low quantile is what counts unless the owner says otherwise. That answers are accepted or passed on by
//! a threshold which is learned on one's own questions is FrugalGPT's (L. Chen et al., 2023).
//!
//! The log-probabilities are the model's own, before temperature, penalties and grammar: an answer that a grammar had to
//! force is one that the model was unsure of.

use std::fmt;

use serde::Serialize;

use crate::learned::{Agreement, Learned, Learning};

/// How sureness is made of the tokens' log-probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Statistic {
    /// That of the token below which this share of all tokens is: 0 for the least sure token of all.
    Quantile {
        /// From 0 to 1.
        share: f64,
    },
    /// Their mean, which is the inverse of the perplexity.
    Mean,
}

/// When an answer of a model here is good enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cascade {
    /// What counts.
    pub statistic: Statistic,
    /// What it must come to at least.
    pub threshold: Threshold,
    /// Decides after so many tokens of each answer. At its end, if there is none.
    pub after: Option<u32>,
}

/// A probability that is enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// The owner's, from 0 to 1.
    Fixed(f64),
    /// One that is learned.
    Learned(Learning),
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is the answer.
    Accepted,
    /// A better one is looked for.
    Unsure,
    /// It would be the answer, but the next tier answers as well, so that it is seen whether it says the same.
    Compared,
}

/// How an answer was weighed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Weighed {
    /// What counted.
    #[serde(flatten)]
    pub statistic: Statistic,
    /// What it came to, as a probability. Of several answers the least.
    pub confidence: f64,
    /// What it had to come to.
    pub least: f64,
    /// Tokens that were looked at, of all answers.
    pub tokens: usize,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Where that is from, if it was learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned: Option<Learned>,
    /// What comes of a comparison with the next tier's answer.
    #[serde(skip_serializing_if = "Compared::is_not")]
    pub compared: Compared,
}

/// What comes of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// There is none.
    Not,
    /// Both answers have to be whole first.
    Awaited,
    /// Both said the same.
    Same,
    /// The next tier said something else.
    Other,
}

impl Compared {
    fn is_not(&self) -> bool {
        *self == Compared::Not
    }
}

impl From<Agreement> for Compared {
    fn from(agreement: Agreement) -> Compared {
        match agreement {
            Agreement::Same => Compared::Same,
            Agreement::Other => Compared::Other,
        }
    }
}

/// As it is told in traces.
impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Statistic::Quantile { share } => write!(f, "quantile {share}"),
            Statistic::Mean => f.write_str("mean"),
        }
    }
}

impl Statistic {
    /// How sure a model was, as a probability, of tokens with these natural log-probabilities `[tokens]`. Of none it was not
    /// sure at all. What is no number counts as impossible.
    pub fn of(self, logprobs: &[f32]) -> f64 {
        let sane =
            |logprob: &f32| if logprob.is_nan() { f64::NEG_INFINITY } else { f64::from(logprob.min(0.0)) };
        let mut logprobs: Vec<f64> = logprobs.iter().map(sane).collect();
        if logprobs.is_empty() {
            return 0.0;
        }
        match self {
            Statistic::Mean => (logprobs.iter().sum::<f64>() / logprobs.len() as f64).exp(),
            Statistic::Quantile { share } => {
                // The lower of the two tokens that it lies between.
                let at = (share.clamp(0.0, 1.0) * (logprobs.len() - 1) as f64) as usize;
                let (_, quantile, _) = logprobs.select_nth_unstable_by(at, f64::total_cmp);
                quantile.exp()
            }
        }
    }
}

impl Cascade {
    /// Weighs the answers to one request by their tokens' log-probabilities, `[answers][tokens]`. The least sure decides, which
    /// has to come to `least`.
    pub fn weigh<T: AsRef<[f32]>>(&self, answers: &[T], least: f64) -> Weighed {
        let sure = answers.iter().map(|answer| self.statistic.of(answer.as_ref()));
        let confidence = sure.min_by(f64::total_cmp).unwrap_or(0.0);
        Weighed {
            statistic: self.statistic,
            confidence,
            least,
            tokens: answers.iter().map(|answer| answer.as_ref().len()).sum(),
            verdict: if confidence >= least { Verdict::Accepted } else { Verdict::Unsure },
            learned: None,
            compared: Compared::Not,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ln(probabilities: &[f64]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln() as f32).collect()
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn quantiles_find_the_guess_among_many_sure_words_and_means_do_not() {
        let mut answer = vec![0.99; 20];
        answer[7] = 0.1;
        answer[8] = 0.2;
        let answer = ln(&answer);
        assert!(near(Statistic::Quantile { share: 0.0 }.of(&answer), 0.1));
        assert!(near(Statistic::Quantile { share: 0.1 }.of(&answer), 0.2), "the second of twenty");
        assert!(near(Statistic::Quantile { share: 1.0 }.of(&answer), 0.99));
        assert!(Statistic::Mean.of(&answer) > 0.8);
        assert!(near(Statistic::Mean.of(&ln(&[0.5, 0.125])), 0.25), "the geometric mean");
    }

    #[test]
    fn nothing_and_nonsense_are_never_accepted() {
        for statistic in [Statistic::Mean, Statistic::Quantile { share: 0.1 }] {
            assert_eq!(statistic.of(&[]), 0.0);
            assert_eq!(statistic.of(&[f32::NAN, -0.1]), 0.0);
            assert_eq!(statistic.of(&[f32::NEG_INFINITY]), 0.0);
            let cascade = Cascade { statistic, threshold: Threshold::Fixed(0.01), after: None };
            assert_eq!(cascade.weigh::<Vec<f32>>(&[], 0.01).verdict, Verdict::Unsure);
        }
    }

    #[test]
    fn the_least_sure_of_several_answers_decides() {
        let cascade = Cascade { statistic: Statistic::Mean, threshold: Threshold::Fixed(0.5), after: None };
        let weighed = cascade.weigh(&[ln(&[0.9, 0.9]), ln(&[0.4])], 0.5);
        assert!(near(weighed.confidence, 0.4));
        assert_eq!((weighed.tokens, weighed.verdict), (3, Verdict::Unsure));
        assert_eq!(cascade.weigh(&[ln(&[0.9, 0.9])], 0.5).verdict, Verdict::Accepted);
        let json = serde_json::to_value(weighed).unwrap();
        assert_eq!((&json["by"], &json["verdict"]), (&"mean".into(), &"unsure".into()));
    }

    proptest! {
        #[test]
        fn confidence_is_a_probability_between_the_least_and_the_most_and_grows_with_each_token(
            logprobs in prop::collection::vec(-30.0f32..0.0, 1..60), share in 0.0..=1.0f64, at in any::<prop::sample::Index>()
        ) {
            for statistic in [Statistic::Mean, Statistic::Quantile { share }] {
                let confidence = statistic.of(&logprobs);
                let least = logprobs.iter().copied().fold(0.0, f32::min);
                let most = logprobs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                prop_assert!(confidence >= f64::from(least).exp() - 1e-9 && confidence <= f64::from(most).exp() + 1e-9);
                let mut surer = logprobs.clone();
                surer[at.index(logprobs.len())] = 0.0;
                prop_assert!(statistic.of(&surer) >= confidence - 1e-12);
                let mut shuffled = logprobs.clone();
                shuffled.reverse();
                prop_assert!((statistic.of(&shuffled) - confidence).abs() < 1e-9, "their order is no matter");
            }
        }

        #[test]
        fn a_higher_threshold_accepts_no_more(
            logprobs in prop::collection::vec(-5.0f32..0.0, 0..40), least in 0.0..1.0f64, more in 0.0..0.5f64
        ) {
            let statistic = Statistic::Quantile { share: 0.1 };
            let cascade = Cascade { statistic, threshold: Threshold::Fixed(0.0), after: None };
            let weigh = |least| cascade.weigh(&[&logprobs], least);
            if weigh(least + more).verdict == Verdict::Accepted {
                prop_assert_eq!(weigh(least).verdict, Verdict::Accepted);
            }
        }
    }
}
