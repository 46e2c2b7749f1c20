//! A route's `cascade`: when what a model here says is good enough.

use garrison_gateway::{Cascade, Statistic};
use serde::Deserialize;

/// A cascade, as it is written.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CascadeSection {
    /// The probability that an answer's must come to.
    least_confidence: f64,
    by: Option<ByWord>,
    /// The share of tokens that are less sure than the one that counts.
    quantile: Option<f64>,
    /// Decides after so many tokens.
    after_tokens: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ByWord {
    Quantile,
    Mean,
}

/// Of all tokens this share is less sure than the one that counts, unless the owner says otherwise.
const USUAL_QUANTILE: f64 = 0.1;

impl CascadeSection {
    /// # Errors
    /// If a key is wrong: the key, and why.
    pub(super) fn resolve(&self) -> Result<Cascade, String> {
        let share = |key: &str, value: f64| match value {
            0.0..=1.0 => Ok(value),
            _ => Err(format!("{key} is {value}; it must be from 0 to 1")),
        };
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
        let least = share("least_confidence", self.least_confidence)?;
        Ok(Cascade { statistic, least, after: self.after_tokens })
    }
}
