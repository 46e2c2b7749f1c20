//! A completions request, from JSON to valid types.

use garrison_engine::SpecialTokens;
use garrison_tokenizer::{AddSpecial, ParseSpecial, SkipSpecial, Tokenizer};
use serde_json::Value;

use crate::error::ApiError;
use crate::fields::{Fields, token_ids, wrong_kind};
use crate::model::ServedModel;
use crate::params::{MAX_LOGPROBS, ParamDefaults, Params};

/// A request, checked against its model.
pub(crate) struct CompletionRequest {
    pub(crate) params: Params,
    pub(super) prompts: Prompts,
    pub(super) echo: Echo,
    /// Alternatives per token, 0 to 20, if log-probabilities are wanted.
    pub(super) logprobs: Option<u32>,
}

/// Whether the answer begins with the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Echo {
    Prompt,
    Nothing,
}

/// What to continue.
pub(super) struct Prompts {
    /// `[prompts]` token ids.
    pub(super) tokens: Vec<Vec<u32>>,
    /// `[prompts]` as `echo` shows them; empty without it.
    pub(super) texts: Vec<String>,
    given: Source,
}

/// How prompts were given.
enum Source {
    /// `[prompts]` texts, and how they became tokens.
    Texts(Vec<String>, AddSpecial),
    Tokens,
}

impl Prompts {
    /// What the prompts say.
    pub(super) fn as_texts(&self, tokenizer: &Tokenizer) -> Vec<String> {
        match &self.given {
            Source::Texts(texts, _) => texts.clone(),
            Source::Tokens => self.tokens.iter().map(|ids| tokenizer.decode(ids, SkipSpecial::No)).collect(),
        }
    }

    /// Whether they are token ids.
    fn are_tokens(&self) -> bool {
        matches!(self.given, Source::Tokens)
    }

    /// What the longest of them says: each is continued by itself, so that is what whoever continues them has to be right for.
    pub(super) fn longest_text(&self, tokenizer: &Tokenizer) -> String {
        let longest = self.tokens.iter().enumerate().max_by_key(|(_, ids)| ids.len());
        let Some((at, ids)) = longest else { return String::new() };
        match &self.given {
            Source::Texts(texts, _) => texts.get(at).cloned().unwrap_or_default(),
            Source::Tokens => tokenizer.decode(ids, SkipSpecial::No),
        }
    }

    /// Goes on with other texts. What `echo` shows stays.
    pub(super) fn replace(&mut self, texts: &[String], tokenizer: &Tokenizer) -> Result<(), ApiError> {
        match &self.given {
            Source::Tokens => {
                let message = "prompt holds personal data, and token ids cannot be changed; send it as text";
                Err(ApiError::bad_field("prompt", message).code("content_filter"))
            }
            Source::Texts(_, add) => {
                let encode = |text: &String| tokenizer.encode_prompt(text, *add, ParseSpecial::Spelled);
                self.tokens = texts.iter().map(encode).collect();
                Ok(())
            }
        }
    }
}

impl CompletionRequest {
    /// Reads and checks every field.
    pub(crate) fn read(
        fields: &Fields<'_>,
        model: &ServedModel,
        most_prompts: usize,
    ) -> Result<CompletionRequest, ApiError> {
        fields.refuse("suffix", "is not supported: this server continues text and fills no gaps")?;
        let defaults = ParamDefaults { sampling: &model.sampling, vocab: model.vocab() };
        let params = Params::read(fields, &defaults)?;
        let echo = if fields.flag("echo")? { Echo::Prompt } else { Echo::Nothing };
        let logprobs = match fields.get("logprobs") {
            Some(Value::Bool(_)) => {
                let message = "logprobs must be a number of alternatives, 0 to 20; true or false is for chat";
                return Err(ApiError::bad_field("logprobs", message));
            }
            _ => fields.integer("logprobs", 0..=MAX_LOGPROBS)?.map(|n| n as u32),
        };
        if let Some(best_of) = fields.integer("best_of", 1..=i64::MAX)?
            && best_of != i64::from(params.n)
        {
            let message = "best_of other than n is not supported; ask for n answers and choose";
            return Err(ApiError::unsupported("best_of", message));
        }
        if params.max_tokens() == Some(0) && echo == Echo::Nothing && params.prompt_logprobs.is_none() {
            let message = "max_tokens must be at least 1; 0 only goes with echo or prompt_logprobs";
            return Err(ApiError::bad_field("max_tokens", message));
        }
        let add = match fields.optional_flag("add_special_tokens")? {
            Some(false) => AddSpecial::Never,
            _ => AddSpecial::AsVocabulary,
        };
        let reader = PromptReader { tokenizer: &model.tokenizer, vocab: model.vocab(), add };
        let prompts = reader.read(fields, most_prompts)?.with_texts(echo, &params, &model.tokenizer, add);
        Ok(CompletionRequest { params, prompts, echo, logprobs })
    }

    /// A field that names tokens by their ids, if there is one.
    pub(super) fn names_tokens(&self) -> Option<&'static str> {
        if self.prompts.are_tokens() { Some("prompt") } else { self.params.names_tokens() }
    }

    /// Alternatives to compute per token of the prompt: what `echo` with `logprobs` shows, or what
    /// `prompt_logprobs` asks for, whichever is more.
    pub(super) fn scored_prompt(&self) -> Option<u32> {
        let echoed = match self.echo {
            Echo::Prompt => self.logprobs,
            Echo::Nothing => None,
        };
        echoed.max(self.params.prompt_logprobs)
    }
}

/// How prompts become tokens.
struct PromptReader<'a> {
    tokenizer: &'a Tokenizer,
    vocab: usize,
    add: AddSpecial,
}

/// Prompts in the form they came in.
enum Given {
    Texts(Vec<String>, Vec<Vec<u32>>),
    Tokens(Vec<Vec<u32>>),
}

impl PromptReader<'_> {
    /// A string, an array of strings, an array of token ids, or an array of such arrays.
    fn read(&self, fields: &Fields<'_>, most_prompts: usize) -> Result<Given, ApiError> {
        let wanted = "a string, an array of strings, an array of token ids or an array of such arrays";
        match fields.get("prompt") {
            None => Err(ApiError::bad_field("prompt", format!("prompt is missing; it must be {wanted}"))),
            Some(Value::String(text)) => Ok(self.texts([text.as_str()])),
            Some(Value::Array(items)) => match items.first() {
                None => Err(ApiError::bad_field("prompt", "prompt is an empty array")),
                Some(Value::Number(_)) => Ok(Given::Tokens(vec![self.tokens("prompt", items)?])),
                Some(Value::String(_)) => {
                    let items = fields.array("prompt", most_prompts)?.unwrap_or_default();
                    let texts = items.iter().enumerate().map(|(i, item)| match item {
                        Value::String(text) => Ok(text.as_str()),
                        other => {
                            Err(wrong_kind(&format!("prompt[{i}]"), "a string like those before it", other))
                        }
                    });
                    Ok(self.texts(texts.collect::<Result<Vec<_>, _>>()?))
                }
                Some(Value::Array(_)) => {
                    let items = fields.array("prompt", most_prompts)?.unwrap_or_default();
                    let prompts = items.iter().enumerate().map(|(i, item)| match item {
                        Value::Array(ids) => self.tokens(&format!("prompt[{i}]"), ids),
                        other => {
                            Err(wrong_kind(&format!("prompt[{i}]"), "an array like those before it", other))
                        }
                    });
                    Ok(Given::Tokens(prompts.collect::<Result<_, _>>()?))
                }
                Some(other) => Err(wrong_kind("prompt[0]", wanted, other)),
            },
            Some(other) => Err(wrong_kind("prompt", wanted, other)),
        }
    }

    fn texts<'t>(&self, texts: impl IntoIterator<Item = &'t str>) -> Given {
        let encode = |text: &'t str| {
            (text.to_owned(), self.tokenizer.encode_prompt(text, self.add, ParseSpecial::Spelled))
        };
        let (texts, tokens) = texts.into_iter().map(encode).unzip();
        Given::Texts(texts, tokens)
    }

    fn tokens(&self, param: &str, ids: &[Value]) -> Result<Vec<u32>, ApiError> {
        if ids.is_empty() {
            return Err(ApiError::bad_field(param, format!("{param} is an empty array")));
        }
        token_ids(param, ids, self.vocab)
    }
}

impl Given {
    fn with_texts(self, echo: Echo, params: &Params, tokenizer: &Tokenizer, add: AddSpecial) -> Prompts {
        let skip = match params.special_tokens {
            SpecialTokens::Skip => SkipSpecial::Yes,
            SpecialTokens::Show => SkipSpecial::No,
        };
        match (self, echo) {
            (Given::Texts(given, tokens), echo) => {
                let texts = if echo == Echo::Prompt { given.clone() } else { Vec::new() };
                Prompts { tokens, texts, given: Source::Texts(given, add) }
            }
            (Given::Tokens(tokens), Echo::Nothing) => {
                Prompts { tokens, texts: Vec::new(), given: Source::Tokens }
            }
            (Given::Tokens(tokens), Echo::Prompt) => {
                let texts = tokens.iter().map(|ids| tokenizer.decode(ids, skip)).collect();
                Prompts { tokens, texts, given: Source::Tokens }
            }
        }
    }
}
