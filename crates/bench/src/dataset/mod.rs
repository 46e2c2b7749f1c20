//! What is asked: conversations without end, the same for the same seed.

mod files;
mod lengths;
mod synthetic;

use serde_json::{Map, Value};
use thiserror::Error;

pub use files::{FileDataset, TalkFile};
pub use lengths::Lengths;
pub use synthetic::{Families, Material, Synthetic};

pub use crate::load::Length;

/// A source of conversations.
pub trait Dataset: Send {
    /// The next one.
    fn next(&mut self) -> Conversation;

    /// In words, for the report.
    fn describe(&self) -> String;
}

/// Turns of one client, each after the answer to the one before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// What the model is told before; empty for nothing.
    pub system: String,
    /// At least one.
    pub turns: Vec<Turn>,
}

/// One question.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// What is asked.
    pub prompt: Prompt,
    /// Tokens of the answer, at most.
    pub max_tokens: u32,
    /// Whether it may be shorter.
    pub length: Length,
    /// Further fields of the request, such as a schema.
    pub fields: Map<String, Value>,
}

/// A question's form.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// Words.
    Text(String),
    /// Token ids, for `/v1/completions` alone.
    Tokens(Vec<u32>),
}

/// Why there is no dataset.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// The file cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: String,
        /// Why not.
        reason: String,
    },
    /// Lengths that are none.
    #[error("\"{0}\" are no token lengths; examples are 512, 64-512, lognormal:400:0.8")]
    Lengths(String),
}

/// Models and adapters that requests are spread over by weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Models(Vec<(String, f64)>);

impl Models {
    /// One model for all.
    pub fn one(name: String) -> Models {
        Models(vec![(name, 1.0)])
    }

    /// Parses `NAME=WEIGHT,…`; a name without a weight has 1.
    ///
    /// # Errors
    /// With the entry that is none.
    pub fn parse(text: &str) -> Result<Models, String> {
        let entry = |entry: &str| {
            let (name, weight) = entry.rsplit_once('=').unwrap_or((entry, "1"));
            match weight.parse::<f64>() {
                Ok(weight) if weight > 0.0 && weight.is_finite() && !name.is_empty() => {
                    Ok((name.to_owned(), weight))
                }
                _ => Err(format!("\"{entry}\" is not NAME=WEIGHT with a weight above 0")),
            }
        };
        text.split(',').map(entry).collect::<Result<_, _>>().map(Models)
    }

    /// The model at `share` of all weights, from 0 to 1.
    pub(crate) fn at(&self, share: f64) -> &str {
        let mut left = share * self.0.iter().map(|m| m.1).sum::<f64>();
        for (name, weight) in &self.0 {
            left -= weight;
            if left < 0.0 {
                return name;
            }
        }
        self.0.last().map_or("", |(name, _)| name)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_chosen_by_weight() {
        let models = Models::parse("base=3,tone").unwrap();
        let chosen: Vec<&str> = (0..8).map(|i| models.at(f64::from(i) / 8.0)).collect();
        assert_eq!(chosen, ["base", "base", "base", "base", "base", "base", "tone", "tone"]);
        assert_eq!(Models::one("m".to_owned()).at(0.999), "m");
        for bad in ["a=0", "a=x", "=1", "a=-1", ""] {
            assert!(Models::parse(bad).is_err(), "{bad}");
        }
    }
}
