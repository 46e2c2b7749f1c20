//! A completions answer, from pieces to JSON.
//!
//! With `echo` and `logprobs`, `tokens`, `token_logprobs`, `top_logprobs` and `text_offset` cover
//! the prompt and then every generated token, end tokens included; the first entry has no score.
//! lm-evaluation-harness slices them by the prompt's length and drops the last one.

use garrison_engine::{ScoredToken, SpecialTokens, TokenScores};
use serde::Serialize;
use serde_json::Value;

use super::parse::{CompletionRequest, Echo};
use crate::answer::Format;
use crate::envelope::{Common, TopMap, UsageInChunks, finite, now};
use crate::generation::{Piece, Totals};
use crate::ids;
use crate::model::ServedModel;
use crate::params::{Delivery, StreamUsage};
use crate::sse::{Dialect, Frame};

const OBJECT: &str = "text_completion";

/// Writes the answer to one request.
pub(super) struct CompletionFormat {
    common: Common,
    request: CompletionRequest,
    /// `[choices]`.
    progress: Vec<Progress>,
}

/// What was written of one choice.
#[derive(Clone, Copy, Default)]
struct Progress {
    begun: bool,
    /// Characters of the tokens so far.
    offset: usize,
    last_token: Option<u32>,
}

#[derive(Serialize)]
struct Choice {
    index: usize,
    text: String,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
    stop_reason: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_logprobs: Option<Value>,
}

/// Arrays of one entry per token.
#[derive(Default, Serialize)]
struct Logprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<TopMap>>,
    /// Where each token begins in the text, in characters.
    text_offset: Vec<usize>,
}

impl CompletionFormat {
    pub(super) fn new(request: CompletionRequest, name: &str, model: &ServedModel) -> CompletionFormat {
        let choices = request.prompts.tokens.len() * request.params.n as usize;
        let usage_in_chunks = match request.params.delivery {
            Delivery::Stream(StreamUsage::Include) => UsageInChunks::Null,
            _ => UsageInChunks::Absent,
        };
        let common = Common {
            id: format!("cmpl-{}", ids::random_hex()),
            created: now(),
            model: name.to_owned(),
            tokenizer: model.tokenizer.clone(),
            stop_token_ids: request.params.stop_token_ids().to_vec(),
            usage_in_chunks,
        };
        CompletionFormat { common, request, progress: vec![Progress::default(); choices] }
    }

    fn choice(&mut self, index: usize, piece: Piece) -> Choice {
        let prompt = index / self.request.params.n as usize;
        let first = !std::mem::replace(&mut self.progress[index].begun, true);
        let echoed = first && self.request.echo == Echo::Prompt;
        let logprobs = self.logprobs(index, &piece, echoed);
        let Piece { text, tokens, prompt: scores, finish } = piece;
        if let Some(token) = tokens.last() {
            self.progress[index].last_token = Some(token.token);
        }
        let text = match self.request.prompts.texts.get(prompt).filter(|_| echoed) {
            Some(echo) => format!("{echo}{text}"),
            None => text,
        };
        let with_ids = self.request.params.return_token_ids;
        let prompt_scores = self.request.params.prompt_logprobs.zip(scores);
        Choice {
            index,
            text,
            logprobs,
            finish_reason: finish.as_ref().map(|finish| finish.reason.as_str()),
            stop_reason: finish.as_ref().map_or(Value::Null, |finish| {
                self.common.stop_reason(finish, self.progress[index].last_token)
            }),
            token_ids: with_ids.then(|| tokens.iter().map(|token| token.token).collect()),
            prompt_token_ids: (with_ids && first).then(|| self.request.prompts.tokens[prompt].clone()),
            prompt_logprobs: prompt_scores.map(|(top, scores)| self.common.prompt_logprobs(&scores, top)),
        }
    }

    fn logprobs(&mut self, index: usize, piece: &Piece, echoed: bool) -> Option<Logprobs> {
        let top = self.request.logprobs?;
        let mut out = Logprobs::default();
        if echoed {
            for ScoredToken { token, scores } in piece.prompt.iter().flatten() {
                self.add(index, &mut out, *token, scores.as_ref(), top);
            }
        }
        for token in &piece.tokens {
            self.add(index, &mut out, token.token, token.logprobs.as_ref(), top);
        }
        Some(out)
    }

    fn add(&mut self, index: usize, out: &mut Logprobs, token: u32, scores: Option<&TokenScores>, top: u32) {
        let tokenizer = &self.common.tokenizer;
        out.tokens.push(tokenizer.token_text(token));
        out.token_logprobs.push(scores.map(|scores| finite(scores.logprob)));
        out.top_logprobs.push(scores.map(|scores| TopMap::new(tokenizer, token, scores, top)));
        let offset = &mut self.progress[index].offset;
        out.text_offset.push(*offset);
        // A token that is not part of the text has no width. A character of several tokens belongs
        // to the first of them: continuation bytes start none.
        let hidden = self.request.params.special_tokens == SpecialTokens::Skip && tokenizer.is_control(token);
        if !hidden {
            *offset += tokenizer.token_bytes(token).iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        }
    }
}

impl Format for CompletionFormat {
    fn dialect(&self) -> Dialect {
        Dialect::Chat
    }

    fn chunks(&mut self, choice: usize, piece: Piece, closing: Option<&Totals>) -> Vec<Frame> {
        let tokens_shown = self.request.logprobs.is_some() || self.request.params.return_token_ids;
        let echo_due = self.request.echo == Echo::Prompt && !self.progress[choice].begun;
        let news = !piece.text.is_empty()
            || piece.finish.is_some()
            || echo_due
            || (tokens_shown && !piece.tokens.is_empty());
        if !news {
            self.progress[choice].last_token =
                piece.tokens.last().map(|token| token.token).or(self.progress[choice].last_token);
            return Vec::new();
        }
        let choice = self.choice(choice, piece);
        vec![Frame::data(self.common.chunk(OBJECT, vec![choice], closing, None))]
    }

    fn usage_chunk(&mut self, totals: &Totals) -> Frame {
        Frame::data(self.common.summed_up(OBJECT, Vec::<Choice>::new(), totals, None))
    }

    fn whole(&mut self, choices: Vec<Piece>, totals: &Totals) -> String {
        let choices = choices
            .into_iter()
            .enumerate()
            .map(|(index, piece)| self.choice(index, piece))
            .collect::<Vec<_>>();
        self.common.summed_up(OBJECT, choices, totals, None)
    }
}
