//! A `[[provider]]`: a server that models are asked at, and what they cost there.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::path::PathBuf;

use garrison_gateway::{Need, Needs, Price, ProviderConfig, ProviderKind};
use serde::Deserialize;

use super::ms;
use crate::error::Fault;

/// A provider, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProviderSection {
    pub(super) name: String,
    pub(super) kind: String,
    base_url: String,
    /// The environment variable with its key.
    api_key_env: Option<String>,
    /// An authority of the owner's own, in PEM.
    ca_file: Option<PathBuf>,
    connect_timeout_ms: Option<u32>,
    /// Its models.
    #[serde(default)]
    pub(super) price: BTreeMap<String, PriceSection>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceSection {
    /// US dollars per million tokens.
    input: f64,
    output: f64,
    cached_input: Option<f64>,
    cache_write: Option<f64>,
    /// Tokens of prompt and answer.
    pub(super) context: Option<u32>,
    /// Tokens of an answer at most.
    pub(super) max_output: Option<NonZeroU32>,
    /// Whether it takes pictures, and may: nobody looks into them before they leave.
    #[serde(default)]
    images: bool,
    /// Whether it goes on with a last turn of the assistant's.
    #[serde(default)]
    pub(super) prefill: bool,
}

impl ProviderSection {
    pub(super) fn resolve(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<ProviderConfig, Fault> {
        let fault = |what: String| Fault::usage(format!("[[provider]] \"{}\": {what}", self.name));
        let kind = match self.kind.as_str() {
            "openai" => ProviderKind::OpenAi,
            "openai-responses" => ProviderKind::Responses,
            "anthropic" => ProviderKind::Anthropic,
            other => {
                let known = "openai, openai-responses, anthropic";
                return Err(fault(format!("kind \"{other}\" is not known; known: {known}")));
            }
        };
        let api_key = match &self.api_key_env {
            None => None,
            Some(name) => match variable(name).filter(|key| !key.trim().is_empty()) {
                Some(key) => Some(key.trim().to_owned()),
                None => {
                    return Err(fault(format!(
                        "api_key_env names {name}, which is not set in the environment"
                    )));
                }
            },
        };
        let ca_pem = match &self.ca_file {
            None => None,
            Some(path) => {
                Some(fs::read(path).map_err(|e| fault(format!("ca_file {}: {e}", path.display())))?)
            }
        };
        for (model, price) in &self.price {
            price
                .resolve()
                .ok_or_else(|| fault(format!("the price of \"{model}\" must be amounts in US dollars")))?;
        }
        Ok(ProviderConfig {
            name: self.name.clone(),
            kind,
            base_url: self.base_url.clone(),
            api_key,
            ca_pem,
            connect_timeout: ms(self.connect_timeout_ms, 2000),
        })
    }
}

impl PriceSection {
    pub(super) fn resolve(&self) -> Option<Price> {
        Price::from_usd_per_million(self.input, self.output)?.cached(self.cached_input, self.cache_write)
    }
}

/// Tokens that a provider's model takes unless its price says otherwise.
pub(super) const USUAL_CONTEXT: u32 = 128_000;

/// What models of a kind of provider can do.
pub(super) fn can(kind: &str, model: &PriceSection) -> Needs {
    let more = [(Need::TopK, kind == "anthropic"), (Need::Images, model.images)];
    let more = more.into_iter().filter(|(_, can)| *can).map(|(need, _)| need);
    [Need::Tools, Need::Schema].into_iter().chain(more).collect()
}
