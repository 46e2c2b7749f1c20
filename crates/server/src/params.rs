//! The generation parameters that chat and completions share: from JSON fields to the engine's
//! valid types. This is where the wire's options end.

use garrison_engine::SpecialTokens;
use garrison_types::{Sampling, StopConditions};
use serde_json::Value;

use crate::error::ApiError;
use crate::fields::{Fields, token_id, wrong_kind};
use crate::structured::Structure;

/// Alternatives reported per token at most (OpenAI's limit for chat).
pub(crate) const MAX_LOGPROBS: i64 = 20;
/// Answers to one prompt at most (OpenAI's limit).
const MAX_N: i64 = 128;
/// Stop strings at most. OpenAI takes 4; open-source servers take more, and clients use it.
const MAX_STOPS: usize = 16;
/// Bytes of one stop string at most: all of it is held back while it may still match.
const MAX_STOP_BYTES: usize = 1024;
/// Entries of `stop_token_ids` at most.
const MAX_STOP_TOKENS: usize = 256;
/// Entries of `logit_bias` at most.
const MAX_BIASES: usize = 4096;
/// Bytes of `cache_salt` at most.
const MAX_SALT_BYTES: usize = 256;

/// What chat and completions requests have in common, valid for one model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Params {
    /// Of the first choice; choice `i` draws with `seed + i`.
    pub(crate) sampling: Sampling,
    /// `max_tokens` in here is not meant; [`Params::stop_for`] fills it in.
    stop: StopConditions,
    /// What the client asked for, if it did.
    max_tokens: Option<u32>,
    /// Answers per prompt, at least 1.
    pub(crate) n: u32,
    pub(crate) special_tokens: SpecialTokens,
    /// Alternatives per token of the prompt (vLLM's `prompt_logprobs`).
    pub(crate) prompt_logprobs: Option<u32>,
    pub(crate) return_token_ids: bool,
    /// What the answer must be.
    pub(crate) structure: Option<Structure>,
    /// Lower goes first among the requests of one key.
    pub(crate) priority: i32,
    /// As the client wrote it; see [`App::cache_salt`](crate::app::App::cache_salt).
    pub(crate) cache_salt: String,
    pub(crate) delivery: Delivery,
}

/// How the answer travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// One JSON object.
    Whole,
    /// Server-sent events.
    Stream(StreamUsage),
}

/// Whether a stream ends with a chunk that only states the tokens used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamUsage {
    Omit,
    Include,
}

/// What depends on the model when parameters are read.
pub(crate) struct ParamDefaults<'a> {
    /// Used for what the client leaves out.
    pub(crate) sampling: &'a Sampling,
    /// Tokens in the vocabulary.
    pub(crate) vocab: usize,
}

/// Known fields whose effect this version does not have: to ignore them would be to lie.
const NOT_YET: [&str; 17] = [
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "functions",
    "function_call",
    "audio",
    "web_search_options",
    "use_beam_search",
    "allowed_token_ids",
    "bad_words",
    "logits_processors",
    "truncate_prompt_tokens",
    "prompt_embeds",
    "continue_final_message",
    "chat_template",
    "documents",
];

impl Params {
    /// Reads and checks the shared fields.
    pub(crate) fn read(fields: &Fields<'_>, defaults: &ParamDefaults<'_>) -> Result<Params, ApiError> {
        for name in NOT_YET {
            fields.refuse(name, "is not supported by this server yet; leave it out")?;
        }
        let max_tokens = match fields.count("max_completion_tokens", 1)? {
            Some(tokens) => Some(tokens),
            None => fields.count("max_tokens", 0)?,
        };
        let params = Params {
            sampling: sampling(fields, defaults)?,
            stop: stop(fields, defaults.vocab)?,
            max_tokens,
            n: fields.integer("n", 1..=MAX_N)?.unwrap_or(1) as u32,
            special_tokens: match fields.optional_flag("skip_special_tokens")? {
                Some(false) => SpecialTokens::Show,
                _ => SpecialTokens::Skip,
            },
            prompt_logprobs: fields.integer("prompt_logprobs", 0..=MAX_LOGPROBS)?.map(|n| n as u32),
            return_token_ids: fields.flag("return_token_ids")?,
            structure: Structure::read(fields)?,
            priority: fields.integer("priority", i64::from(i32::MIN)..=i64::from(i32::MAX))?.unwrap_or(0)
                as i32,
            cache_salt: fields.short_string("cache_salt", MAX_SALT_BYTES)?.unwrap_or_default().to_owned(),
            delivery: delivery(fields)?,
        };
        params.check_together()?;
        Ok(params)
    }

    fn check_together(&self) -> Result<(), ApiError> {
        if let Some(max) = self.max_tokens
            && self.stop.min_tokens > max
        {
            let message =
                format!("min_tokens is {}, which is more than max_tokens, {max}", self.stop.min_tokens);
            return Err(ApiError::bad_field("min_tokens", message));
        }
        if self.prompt_logprobs.is_some() && self.delivery != Delivery::Whole {
            let message = "prompt_logprobs does not go with stream; leave one of them out";
            return Err(ApiError::bad_field("prompt_logprobs", message));
        }
        Ok(())
    }

    /// What the client said about the answer's length.
    pub(crate) fn max_tokens(&self) -> Option<u32> {
        self.max_tokens
    }

    /// Takes what an answer has said already off what it may say. One token is left, so that it has an end.
    pub(crate) fn spend(&mut self, tokens: u32) {
        self.max_tokens = self.max_tokens.map(|most| most.saturating_sub(tokens).max(1));
    }

    /// Stop conditions for an answer of `max_tokens` at most, which the caller has fitted to the
    /// context.
    pub(crate) fn stop_for(&self, max_tokens: u32) -> StopConditions {
        StopConditions { max_tokens, min_tokens: self.stop.min_tokens.min(max_tokens), ..self.stop.clone() }
    }

    /// The client's own stop strings.
    pub(crate) fn stop_strings(&self) -> &[String] {
        &self.stop.strings
    }

    /// A field that names tokens by their ids, if there is one: what it says depends on the vocabulary.
    pub(crate) fn names_tokens(&self) -> Option<&'static str> {
        if !self.stop.token_ids.is_empty() {
            return Some("stop_token_ids");
        }
        (!self.sampling.logit_bias.is_empty()).then_some("logit_bias")
    }

    /// The client's own stop tokens.
    pub(crate) fn stop_token_ids(&self) -> &[u32] {
        &self.stop.token_ids
    }
}

fn delivery(fields: &Fields<'_>) -> Result<Delivery, ApiError> {
    let stream = fields.flag("stream")?;
    let options = fields.object("stream_options")?;
    if !stream {
        return match options {
            None => Ok(Delivery::Whole),
            Some(_) => Err(ApiError::bad_field("stream_options", "stream_options needs \"stream\": true")),
        };
    }
    let include = match &options {
        Some(options) => options.flag("include_usage")?,
        None => false,
    };
    Ok(Delivery::Stream(if include { StreamUsage::Include } else { StreamUsage::Omit }))
}

fn sampling(fields: &Fields<'_>, defaults: &ParamDefaults<'_>) -> Result<Sampling, ApiError> {
    let base = defaults.sampling;
    let top_k = match fields.integer("top_k", -1..=i64::from(u32::MAX))? {
        None => base.top_k,
        Some(k) => u32::try_from(k).unwrap_or(0),
    };
    Ok(Sampling {
        temperature: fields.float("temperature", 0.0..=2.0)?.unwrap_or(base.temperature),
        top_k,
        top_p: fields.positive_float("top_p", 1.0)?.unwrap_or(base.top_p),
        min_p: fields.float("min_p", 0.0..=1.0)?.unwrap_or(base.min_p),
        repetition_penalty: fields
            .positive_float("repetition_penalty", 100.0)?
            .unwrap_or(base.repetition_penalty),
        frequency_penalty: fields.float("frequency_penalty", -2.0..=2.0)?.unwrap_or(base.frequency_penalty),
        presence_penalty: fields.float("presence_penalty", -2.0..=2.0)?.unwrap_or(base.presence_penalty),
        logit_bias: logit_bias(fields, defaults.vocab)?,
        seed: match fields.integer("seed", i64::MIN..=i64::MAX)? {
            Some(seed) => seed.cast_unsigned(),
            None => crate::ids::random_u64(),
        },
    })
}

fn logit_bias(fields: &Fields<'_>, vocab: usize) -> Result<Vec<(u32, f32)>, ApiError> {
    let Some(biases) = fields.object("logit_bias")? else { return Ok(Vec::new()) };
    if biases.map().len() > MAX_BIASES {
        let message =
            format!("logit_bias has {} entries; at most {MAX_BIASES} are taken", biases.map().len());
        return Err(ApiError::bad_field("logit_bias", message));
    }
    let mut parsed = Vec::with_capacity(biases.map().len());
    for key in biases.map().keys() {
        let Some(token) = key.parse::<u32>().ok().filter(|id| (*id as usize) < vocab) else {
            // The key is the client's text; show only what can be a number.
            let shown: String = key.chars().take(20).collect();
            let message = format!(
                "logit_bias has the key \"{shown}\", which is not a token id of this model: 0 to {}",
                vocab.saturating_sub(1)
            );
            return Err(ApiError::bad_field("logit_bias", message));
        };
        if let Some(bias) = biases.float(key, -100.0..=100.0)? {
            parsed.push((token, bias));
        }
    }
    Ok(parsed)
}

fn stop(fields: &Fields<'_>, vocab: usize) -> Result<StopConditions, ApiError> {
    let strings = match fields.get("stop") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![stop_string("stop", text)?],
        Some(Value::Array(_)) => {
            let items = fields.array("stop", MAX_STOPS)?.unwrap_or_default();
            items.iter().enumerate().map(stop_item).collect::<Result<_, _>>()?
        }
        Some(other) => return Err(wrong_kind("stop", "a string or an array of strings", other)),
    };
    let ids = fields.array("stop_token_ids", MAX_STOP_TOKENS)?.unwrap_or_default();
    let token_ids = ids
        .iter()
        .enumerate()
        .map(|(i, value)| token_id(&format!("stop_token_ids[{i}]"), value, vocab))
        .collect::<Result<_, _>>()?;
    Ok(StopConditions {
        max_tokens: 0,
        min_tokens: fields.count("min_tokens", 0)?.unwrap_or(0),
        strings,
        token_ids,
        ignore_eos: fields.flag("ignore_eos")?,
        include_stop_string: fields.flag("include_stop_str_in_output")?,
    })
}

fn stop_item((index, value): (usize, &Value)) -> Result<String, ApiError> {
    let param = format!("stop[{index}]");
    match value {
        Value::String(text) => stop_string(&param, text),
        other => Err(wrong_kind(&param, "a string", other)),
    }
}

fn stop_string(param: &str, text: &str) -> Result<String, ApiError> {
    if text.is_empty() || text.len() > MAX_STOP_BYTES {
        let message = format!("{param} must have 1 to {MAX_STOP_BYTES} bytes, not {}", text.len());
        return Err(ApiError::bad_field(param, message));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: Value) -> Result<Params, Value> {
        let defaults = ParamDefaults { sampling: &Sampling::default(), vocab: 100 };
        Params::read(&Fields::root(&body).unwrap(), &defaults)
            .map_err(|error| serde_json::from_str(&error.to_json()).unwrap())
    }

    #[test]
    fn each_wrong_field_is_named() {
        let long = "x".repeat(MAX_STOP_BYTES + 1);
        let table = [
            (json!({"temperature": "hot"}), "temperature"),
            (json!({"temperature": 2.1}), "temperature"),
            (json!({"temperature": -0.1}), "temperature"),
            (json!({"top_p": 0}), "top_p"),
            (json!({"top_p": 1.01}), "top_p"),
            (json!({"top_k": -2}), "top_k"),
            (json!({"min_p": 2}), "min_p"),
            (json!({"repetition_penalty": 0}), "repetition_penalty"),
            (json!({"frequency_penalty": 3}), "frequency_penalty"),
            (json!({"presence_penalty": -3}), "presence_penalty"),
            (json!({"n": 0}), "n"),
            (json!({"n": 1.5}), "n"),
            (json!({"n": 1000}), "n"),
            (json!({"max_tokens": -1}), "max_tokens"),
            (json!({"max_completion_tokens": 0}), "max_completion_tokens"),
            (json!({"min_tokens": 5, "max_tokens": 4}), "min_tokens"),
            (json!({"stop": 5}), "stop"),
            (json!({"stop": ""}), "stop"),
            (json!({"stop": ["a", ""]}), "stop[1]"),
            (json!({"stop": ["a", 1]}), "stop[1]"),
            (json!({"stop": [long]}), "stop[0]"),
            (json!({"stop": vec!["a"; MAX_STOPS + 1]}), "stop"),
            (json!({"stop_token_ids": [5, 100]}), "stop_token_ids[1]"),
            (json!({"stop_token_ids": ["a"]}), "stop_token_ids[0]"),
            (json!({"logit_bias": {"100": 1}}), "logit_bias"),
            (json!({"logit_bias": {"hello": 1}}), "logit_bias"),
            (json!({"logit_bias": {"5": 101}}), "logit_bias.5"),
            (json!({"logit_bias": []}), "logit_bias"),
            (json!({"seed": "one"}), "seed"),
            (json!({"stream": 1}), "stream"),
            (json!({"stream_options": {"include_usage": true}}), "stream_options"),
            (json!({"stream": true, "stream_options": {"include_usage": 1}}), "stream_options.include_usage"),
            (json!({"stream": true, "prompt_logprobs": 1}), "prompt_logprobs"),
            (json!({"prompt_logprobs": 21}), "prompt_logprobs"),
            (json!({"priority": "high"}), "priority"),
            (json!({"cache_salt": 1}), "cache_salt"),
            (json!({"response_format": {"type": "yaml"}}), "response_format.type"),
            (json!({"response_format": "json"}), "response_format"),
            (json!({"structured_outputs": {"choice": "a"}}), "structured_outputs.choice"),
            (json!({"guided_json": {}}), "guided_json"),
            (json!({"use_beam_search": true}), "use_beam_search"),
            (json!({"skip_special_tokens": 0}), "skip_special_tokens"),
        ];
        for (body, param) in table {
            let error = read(body.clone()).unwrap_err();
            assert_eq!(error["error"]["param"], param, "{body} gave {error}");
            let message = error["error"]["message"].as_str().unwrap();
            assert!(message.contains(param.split('[').next().unwrap()), "{message}");
        }
    }

    #[test]
    fn what_is_left_out_is_the_models_default() {
        let params = read(json!({"seed": 7, "new_field_of_some_sdk": {"a": 1}, "top_p": null})).unwrap();
        assert_eq!(params.sampling, Sampling { seed: 7, ..Sampling::default() });
        assert_eq!((params.n, params.max_tokens()), (1, None));
        assert_eq!(params.delivery, Delivery::Whole);
    }

    #[test]
    fn everything_is_passed_on() {
        let params = read(json!({
            "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "seed": -1, "n": 3,
            "repetition_penalty": 1.1, "frequency_penalty": 0.2, "presence_penalty": -0.2,
            "logit_bias": {"5": -100, "6": 1.5}, "stop": ["END", "\n"], "stop_token_ids": [3],
            "max_completion_tokens": 9, "max_tokens": 5, "min_tokens": 2, "ignore_eos": true,
            "include_stop_str_in_output": true, "skip_special_tokens": false, "return_token_ids": true,
            "stream": true, "stream_options": {"include_usage": true}, "use_beam_search": false,
        }))
        .unwrap();
        assert_eq!(params.sampling.logit_bias, [(5, -100.0), (6, 1.5)]);
        assert_eq!((params.sampling.seed, params.sampling.top_k), (u64::MAX, 40));
        assert_eq!((params.n, params.max_tokens()), (3, Some(9)));
        assert_eq!(params.special_tokens, SpecialTokens::Show);
        assert_eq!(params.delivery, Delivery::Stream(StreamUsage::Include));
        let stop = params.stop_for(1);
        assert_eq!((stop.max_tokens, stop.min_tokens), (1, 1));
        assert_eq!(stop.strings, ["END", "\n"]);
        assert!(stop.ignore_eos && stop.include_stop_string && params.return_token_ids);
        assert_eq!((params.stop_token_ids(), params.names_tokens()), (&[3][..], Some("stop_token_ids")));
        assert_eq!(params.stop_strings(), ["END", "\n"]);
        let biased = read(json!({"logit_bias": {"5": 1}})).unwrap();
        assert_eq!(
            (biased.names_tokens(), read(json!({})).unwrap().names_tokens()),
            (Some("logit_bias"), None)
        );
    }

    #[test]
    fn a_top_k_of_minus_one_or_zero_keeps_all() {
        for k in [-1, 0] {
            assert_eq!(read(json!({ "top_k": k })).unwrap().sampling.top_k, 0);
        }
    }
}
