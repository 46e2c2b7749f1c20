//! Pieces of JSON that chat and completions share.

use std::collections::BTreeSet;
use std::sync::Arc;

use garrison_engine::{Enforced, Finish, ScoredToken, TokenScores};
use garrison_gateway::Report;
use garrison_tokenizer::Tokenizer;
use garrison_types::{FinishReason, Timings, Usage};
use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::{Map, Value};

use crate::generation::{StructuredOutput, Totals};
use crate::screen::Verdicts;

/// Told apart from every other build by name and version: results may differ between them.
pub(crate) const FINGERPRINT: &str = concat!("garrison-", env!("CARGO_PKG_VERSION"));

/// OpenAI's `usage`.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct UsageJson {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptDetails,
}

#[derive(Clone, Copy, Serialize)]
struct PromptDetails {
    cached_tokens: u32,
}

impl From<&Usage> for UsageJson {
    fn from(usage: &Usage) -> UsageJson {
        UsageJson {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens + usage.completion_tokens,
            prompt_tokens_details: PromptDetails { cached_tokens: usage.cached_tokens },
        }
    }
}

/// What frames every object of one answer.
pub(crate) struct Common {
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) tokenizer: Arc<Tokenizer>,
    /// The client's own stop tokens.
    pub(crate) stop_token_ids: Vec<u32>,
    /// Whether chunks have a `usage` of null, as OpenAI's do when the last one states it.
    pub(crate) usage_in_chunks: UsageInChunks,
}

/// See [`Common::usage_in_chunks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UsageInChunks {
    Absent,
    Null,
}

/// The object around a stream's or an answer's choices.
#[derive(Serialize)]
pub(crate) struct Envelope<'a, C> {
    id: &'a str,
    object: &'a str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: Vec<C>,
    /// Absent, null, or the numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageJson>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    beside: Option<Beside<'a>>,
    /// vLLM's, where the endpoint has them beside the choices.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    extra: Option<Extra>,
}

/// Garrison's own fields, beside an answer's or in a stream's last object.
#[derive(Serialize)]
struct Beside<'a> {
    timings: Timings,
    /// Of an answer that follows a schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    structured_output: Option<StructuredOutputJson<'a>>,
    /// Of an exchange that was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    guard: Option<GuardJson<'a>>,
}

impl<'a> Beside<'a> {
    fn new(totals: &'a Totals) -> Beside<'a> {
        Beside {
            timings: totals.timings,
            structured_output: totals.structured_output.as_ref().map(Into::into),
            guard: totals.guard.as_ref().map(Into::into),
        }
    }
}

/// Garrison's own fields, to stand beside an answer of another dialect.
pub(crate) fn beside(totals: &Totals) -> Map<String, Value> {
    match serde_json::to_value(Beside::new(totals)) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    }
}

/// How an exchange was judged, to stand there, too.
pub(crate) fn guard(verdicts: &Verdicts) -> Value {
    // Codes and words always serialize.
    serde_json::to_value(GuardJson::from(verdicts)).unwrap_or_default()
}

/// Which keywords of the schema were enforced how.
#[derive(Serialize)]
struct StructuredOutputJson<'a> {
    /// While the answer was written.
    grammar: &'a BTreeSet<String>,
    /// When it was complete.
    validated: &'a BTreeSet<String>,
    /// How often it was drawn.
    attempts: u32,
}

impl<'a> From<&'a StructuredOutput> for StructuredOutputJson<'a> {
    fn from(output: &'a StructuredOutput) -> Self {
        let Enforced { grammar, validated } = &output.enforced;
        StructuredOutputJson { grammar, validated, attempts: output.attempts }
    }
}

/// How both sides of an exchange were judged.
#[derive(Serialize)]
struct GuardJson<'a> {
    request: SideJson<'a>,
    answer: SideJson<'a>,
}

#[derive(Serialize)]
struct SideJson<'a> {
    /// `pass`, `flag`, `redact`, `not_judged` or `block`.
    verdict: &'static str,
    /// Codes, never content.
    found: &'a [String],
}

impl<'a> From<&'a Verdicts> for GuardJson<'a> {
    fn from(verdicts: &'a Verdicts) -> Self {
        let side = |report: &'a Report| SideJson { verdict: report.verdict(), found: &report.found };
        GuardJson { request: side(&verdicts.request), answer: side(&verdicts.answer) }
    }
}

/// What vLLM puts beside a chat answer's choices.
#[derive(Serialize)]
pub(crate) struct Extra {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt_token_ids: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt_logprobs: Option<Value>,
}

impl Common {
    /// One chunk of a stream.
    pub(crate) fn chunk<C: Serialize>(
        &self,
        object: &str,
        choices: Vec<C>,
        closing: Option<&Totals>,
        extra: Option<Extra>,
    ) -> String {
        let usage = match self.usage_in_chunks {
            UsageInChunks::Absent => None,
            UsageInChunks::Null => Some(None),
        };
        self.json(object, choices, usage, closing, extra)
    }

    /// A whole answer, or the last chunk, which has no choices.
    pub(crate) fn summed_up<C: Serialize>(
        &self,
        object: &str,
        choices: Vec<C>,
        totals: &Totals,
        extra: Option<Extra>,
    ) -> String {
        self.json(object, choices, Some(Some((&totals.usage).into())), Some(totals), extra)
    }

    fn json<C: Serialize>(
        &self,
        object: &str,
        choices: Vec<C>,
        usage: Option<Option<UsageJson>>,
        closing: Option<&Totals>,
        extra: Option<Extra>,
    ) -> String {
        let envelope = Envelope {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage,
            beside: closing.map(Beside::new),
            extra,
        };
        to_json(&envelope)
    }

    /// vLLM's `stop_reason`: the stop string or the id of the stop token that the client named, or
    /// null. `last` is the choice's last token.
    pub(crate) fn stop_reason(&self, finish: &Finish, last: Option<u32>) -> Value {
        match (&finish.reason, last) {
            (FinishReason::Stop { matched: Some(_) }, Some(token))
                if self.stop_token_ids.contains(&token) =>
            {
                token.into()
            }
            (FinishReason::Stop { matched: Some(text) }, _) => text.as_str().into(),
            _ => Value::Null,
        }
    }

    /// vLLM's `prompt_logprobs`: per token an object from token id to its score, null for the
    /// first. At most `top` alternatives each, and the token itself.
    pub(crate) fn prompt_logprobs(&self, prompt: &[ScoredToken], top: u32) -> Value {
        prompt
            .iter()
            .map(|scored| scored.scores.as_ref().map_or(Value::Null, |s| self.ranked(scored.token, s, top)))
            .collect()
    }

    fn ranked(&self, token: u32, scores: &TokenScores, top: u32) -> Value {
        let best =
            scores.top.iter().take(top as usize).zip(1..).map(|(&(id, logprob), rank)| (id, logprob, rank));
        let mut entries = serde_json::Map::new();
        for (id, logprob, rank) in best.chain([(token, scores.logprob, scores.rank)]) {
            let entry = serde_json::json!({
                "logprob": finite(logprob), "rank": rank, "decoded_token": self.tokenizer.token_text(id),
            });
            entries.insert(id.to_string(), entry);
        }
        Value::Object(entries)
    }
}

/// JSON has no infinity; OpenAI and vLLM write this for what cannot happen.
pub(crate) fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob.max(-9999.0) } else { -9999.0 }
}

/// Serializes one of this crate's own structs, whose maps have string keys and so cannot fail.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| {
        tracing::error!(%error, "an answer could not be written");
        crate::error::ApiError::internal("the answer could not be written").to_json()
    })
}

/// Token texts and log-probabilities in the order of the engine, best first. Where two tokens have
/// the same text, the better one counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TopMap(pub(crate) Vec<(String, f32)>);

impl TopMap {
    /// The `top` best alternatives and the token itself.
    pub(crate) fn new(tokenizer: &Tokenizer, token: u32, scores: &TokenScores, top: u32) -> TopMap {
        let mut seen = BTreeSet::new();
        let mut entries = Vec::with_capacity(top as usize + 1);
        let best = scores.top.iter().take(top as usize).copied();
        for (id, logprob) in best.chain([(token, scores.logprob)]) {
            let text = tokenizer.token_text(id);
            if seen.insert(text.clone()) {
                entries.push((text, finite(logprob)));
            }
        }
        TopMap(entries)
    }
}

impl Serialize for TopMap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (text, logprob) in &self.0 {
            map.serialize_entry(text, logprob)?;
        }
        map.end()
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_secs())
}
