//! A route's `cascade`: when what a model here says is good enough.

use garrison_gateway::{Cascade, Compare, Learning, Statistic, Threshold};
use serde::Deserialize;

use crate::cache::AnswersWord;

/// A cascade, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CascadeSection {
    /// The probability that an answer's must come to; of one that is learned its bounds.
    least_confidence: Option<LeastWord>,
    by: Option<ByWord>,
    /// The share of tokens that are less sure than the one that counts.
    quantile: Option<f64>,
    /// Decides after so many tokens.
    after_tokens: Option<u32>,
    /// The threshold is learned, so that no more than this share is accepted that the next tier would have answered otherwise.
    max_error: Option<f64>,
    /// The share that is answered by both, once enough is known.
    compare: Option<f64>,
    /// When two answers are the same.
    answers: Option<AnswersWord>,
}

/// A probability, or two between which one is learned.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum LeastWord {
    Fixed(f64),
    Between([f64; 2]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ByWord {
    Quantile,
    Mean,
}

/// Of all tokens this share is less sure than the one that counts, unless the owner says otherwise.
const USUAL_QUANTILE: f64 = 0.1;
/// The share of requests that both answer.
const USUAL_COMPARE: f64 = 0.05;

/// # Errors
/// If it is none: the key, and why.
fn share(key: &str, value: f64) -> Result<f64, String> {
    match value {
        0.0..=1.0 => Ok(value),
        _ => Err(format!("{key} is {value}; it must be from 0 to 1")),
    }
}

impl CascadeSection {
    /// # Errors
    /// If a key is wrong: the key, and why.
    pub(super) fn resolve(&self) -> Result<(Cascade, Compare), String> {
        let statistic = match (self.by, self.quantile) {
            (Some(ByWord::Mean), None) => Statistic::Mean,
            (Some(ByWord::Mean), Some(_)) => {
                return Err("quantile says nothing where by is \"mean\"".to_owned());
            }
            (None | Some(ByWord::Quantile), quantile) => {
                Statistic::Quantile { share: share("quantile", quantile.unwrap_or(USUAL_QUANTILE))? }
            }
        };
        if self.after_tokens == Some(0) {
            return Err("after_tokens must be at least 1".to_owned());
        }
        let threshold = match self.max_error {
            None => Threshold::Fixed(self.fixed()?),
            Some(max_error) => Threshold::Learned(self.learning(max_error)?),
        };
        Ok((Cascade { statistic, threshold, after: self.after_tokens }, self.compare()?))
    }

    fn fixed(&self) -> Result<f64, String> {
        for (key, given) in [("compare", self.compare.is_some()), ("answers", self.answers.is_some())] {
            if given {
                return Err(format!("{key} says nothing where nothing is learned; set max_error for that"));
            }
        }
        match self.least_confidence {
            Some(LeastWord::Fixed(least)) => share("least_confidence", least),
            Some(LeastWord::Between(_)) => {
                Err("least_confidence is two numbers; between them one is learned, which needs max_error"
                    .into())
            }
            None => Err("least_confidence is missing; or set max_error, and it is learned".into()),
        }
    }

    fn learning(&self, max_error: f64) -> Result<Learning, String> {
        if !(0.01..=0.5).contains(&max_error) {
            return Err(format!("max_error is {max_error}; it must be from 0.01 to 0.5"));
        }
        let compare = self.compare.unwrap_or(USUAL_COMPARE);
        // Without any nobody would notice that the world has changed.
        if !(0.001..=1.0).contains(&compare) {
            return Err(format!("compare is {compare}; it must be from 0.001 to 1"));
        }
        let (floor, ceiling) = match self.least_confidence {
            None => (0.0, None),
            Some(LeastWord::Between([floor, ceiling])) if floor <= ceiling => {
                (share("least_confidence", floor)?, Some(share("least_confidence", ceiling)?))
            }
            Some(_) => {
                return Err("least_confidence must be the lowest and the highest that may be learned, like [0.2, 0.99]; or \
                            leave max_error out, and it is what you say"
                    .into());
            }
        };
        Ok(Learning { max_error, floor, ceiling, compare })
    }

    fn compare(&self) -> Result<Compare, String> {
        self.answers.as_ref().map_or(Ok(Compare::Equal), AnswersWord::resolve)
    }
}
