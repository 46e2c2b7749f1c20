//! A chat answer, from pieces to JSON.

use garrison_engine::{TokenEvent, TokenScores};
use garrison_tokenizer::Tokenizer;
use serde::Serialize;
use serde_json::Value;

use super::calls::Said;
use super::parse::ChatRequest;
use super::turn::Turn;
use crate::answer::Format;
use crate::envelope::{Common, Extra, UsageInChunks, finite, now};
use crate::generation::{Piece, Totals};
use crate::ids;
use crate::model::ServedModel;
use crate::params::{Delivery, StreamUsage};
use crate::sse::{Dialect, Frame};

const CHUNK: &str = "chat.completion.chunk";
const WHOLE: &str = "chat.completion";

/// Writes the answer to one request.
pub(super) struct ChatFormat {
    common: Common,
    request: ChatRequest,
    /// Taken by the first object that shows it.
    prompt: Option<Vec<u32>>,
    /// `[choices]`.
    progress: Vec<Progress>,
}

/// What was written of one choice.
#[derive(Clone)]
struct Progress {
    begun: bool,
    last_token: Option<u32>,
    turn: Turn,
}

#[derive(Serialize)]
struct ChunkChoice {
    index: usize,
    delta: Delta,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
    stop_reason: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<u32>>,
}

impl ChunkChoice {
    /// A delta, and nothing besides.
    fn new(index: usize, delta: Delta) -> ChunkChoice {
        ChunkChoice {
            index,
            delta,
            logprobs: None,
            finish_reason: None,
            stop_reason: Value::Null,
            token_ids: None,
        }
    }
}

#[derive(Default, Serialize)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallDelta; 1]>,
}

/// A call's beginning, with its id and name, or more of its arguments.
#[derive(Serialize)]
struct CallDelta {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: FunctionDelta,
}

#[derive(Serialize)]
struct FunctionDelta {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    arguments: String,
}

impl Delta {
    fn text(text: String) -> Delta {
        Delta { content: Some(text).filter(|text| !text.is_empty()), ..Delta::default() }
    }

    fn said(said: Said) -> Delta {
        let call = match said {
            Said::Text(text) => return Delta::text(text),
            Said::Call { index, name } => CallDelta {
                index,
                id: Some(call_id()),
                kind: Some("function"),
                function: FunctionDelta { name: Some(name), arguments: String::new() },
            },
            Said::Arguments { index, text } => CallDelta {
                index,
                id: None,
                kind: None,
                function: FunctionDelta { name: None, arguments: text },
            },
        };
        Delta { tool_calls: Some([call]), ..Delta::default() }
    }
}

fn call_id() -> String {
    format!("call_{}", ids::random_hex())
}

#[derive(Serialize)]
struct WholeChoice {
    index: usize,
    message: Message,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
    stop_reason: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<u32>>,
}

#[derive(Serialize)]
struct Message {
    role: &'static str,
    content: Option<String>,
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
}

#[derive(Serialize)]
struct ToolCall {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function,
}

#[derive(Serialize)]
struct Function {
    name: String,
    arguments: String,
}

impl Message {
    fn new(said: Vec<Said>) -> Message {
        let (mut content, mut tool_calls) = (String::new(), Vec::<ToolCall>::new());
        for said in said {
            match said {
                Said::Text(text) => content.push_str(&text),
                Said::Call { name, .. } => tool_calls.push(ToolCall {
                    id: call_id(),
                    kind: "function",
                    function: Function { name, arguments: String::new() },
                }),
                Said::Arguments { text, .. } => {
                    if let Some(call) = tool_calls.last_mut() {
                        call.function.arguments.push_str(&text);
                    }
                }
            }
        }
        // A turn that only calls says nothing, not an empty text.
        let content = Some(content).filter(|text| !text.is_empty() || tool_calls.is_empty());
        Message { role: "assistant", content, refusal: None, tool_calls }
    }
}

#[derive(Serialize)]
struct Logprobs {
    content: Vec<TokenLogprob>,
    refusal: Option<Vec<TokenLogprob>>,
}

#[derive(Serialize)]
struct TokenLogprob {
    #[serde(flatten)]
    token: Scored,
    top_logprobs: Vec<Scored>,
}

#[derive(Serialize)]
struct Scored {
    token: String,
    logprob: f32,
    /// The token's UTF-8; a character of several tokens is whole only when these are joined.
    bytes: Vec<u8>,
}

impl Scored {
    fn new(tokenizer: &Tokenizer, token: u32, logprob: f32) -> Scored {
        Scored {
            token: tokenizer.token_text(token),
            logprob: finite(logprob),
            bytes: tokenizer.token_bytes(token).to_vec(),
        }
    }
}

impl ChatFormat {
    pub(super) fn new(request: ChatRequest, prompt: Vec<u32>, name: &str, model: &ServedModel) -> ChatFormat {
        let usage_in_chunks = match request.params.delivery {
            Delivery::Stream(StreamUsage::Include) => UsageInChunks::Null,
            _ => UsageInChunks::Absent,
        };
        let common = Common {
            id: format!("chatcmpl-{}", ids::random_hex()),
            created: now(),
            model: name.to_owned(),
            tokenizer: model.tokenizer.clone(),
            stop_token_ids: request.params.stop_token_ids().to_vec(),
            usage_in_chunks,
        };
        let prompt = request.params.return_token_ids.then_some(prompt);
        let progress = Progress { begun: false, last_token: None, turn: Turn::new(&request.tools) };
        let progress = vec![progress; request.params.n as usize];
        ChatFormat { common, request, prompt, progress }
    }

    fn logprobs(&self, tokens: &[TokenEvent]) -> Option<Logprobs> {
        let top = self.request.logprobs?;
        let scored =
            |event: &TokenEvent| event.logprobs.as_ref().map(|scores| self.scored(event.token, scores, top));
        Some(Logprobs { content: tokens.iter().filter_map(scored).collect(), refusal: None })
    }

    fn scored(&self, token: u32, scores: &TokenScores, top: u32) -> TokenLogprob {
        let tokenizer = &self.common.tokenizer;
        TokenLogprob {
            token: Scored::new(tokenizer, token, scores.logprob),
            top_logprobs: scores
                .top
                .iter()
                .take(top as usize)
                .map(|(id, logprob)| Scored::new(tokenizer, *id, *logprob))
                .collect(),
        }
    }

    fn token_ids(&self, tokens: &[TokenEvent]) -> Option<Vec<u32>> {
        self.request.params.return_token_ids.then(|| tokens.iter().map(|token| token.token).collect())
    }

    fn see(&mut self, choice: usize, tokens: &[TokenEvent]) {
        if let Some(token) = tokens.last() {
            self.progress[choice].last_token = Some(token.token);
        }
    }

    fn stop_reason(&self, choice: usize, piece: &Piece) -> Value {
        let last = self.progress[choice].last_token;
        piece.finish.as_ref().map_or(Value::Null, |finish| self.common.stop_reason(finish, last))
    }

    /// The prompt's ids, once.
    fn prompt_ids(&mut self) -> Option<Extra> {
        let prompt_token_ids = self.prompt.take();
        prompt_token_ids.is_some().then_some(Extra { prompt_token_ids, prompt_logprobs: None })
    }

    /// Why a choice ended.
    fn finish_reason(&self, choice: usize, piece: &Piece) -> Option<&'static str> {
        let reason = &piece.finish.as_ref()?.reason;
        let called = self.progress[choice].turn.ends_with_calls(reason);
        Some(if called { "tool_calls" } else { reason.as_str() })
    }

    fn opening(&mut self, choice: usize) -> String {
        self.progress[choice].begun = true;
        let delta = Delta { role: Some("assistant"), content: Some(String::new()), tool_calls: None };
        let extra = self.prompt_ids();
        self.common.chunk(CHUNK, vec![ChunkChoice::new(choice, delta)], None, extra)
    }
}

impl Format for ChatFormat {
    fn dialect(&self) -> Dialect {
        Dialect::Chat
    }

    fn chunks(&mut self, choice: usize, mut piece: Piece, closing: Option<&Totals>) -> Vec<Frame> {
        let mut chunks = Vec::with_capacity(2);
        if !self.progress[choice].begun {
            chunks.push(Frame::data(self.opening(choice)));
        }
        self.see(choice, &piece.tokens);
        let tokens_shown = self.request.logprobs.is_some() || self.request.params.return_token_ids;
        let mut said = self.progress[choice].turn.said(&mut piece);
        let news = !said.is_empty() || piece.finish.is_some() || (tokens_shown && !piece.tokens.is_empty());
        if !news {
            return chunks;
        }
        // Each thing said is a chunk of its own; the last one has what the piece brings besides.
        let last = said.pop().map_or_else(Delta::default, Delta::said);
        for said in said {
            let chunk = ChunkChoice::new(choice, Delta::said(said));
            chunks.push(Frame::data(self.common.chunk(CHUNK, vec![chunk], None, None)));
        }
        let chunk = ChunkChoice {
            index: choice,
            logprobs: self.logprobs(&piece.tokens),
            finish_reason: self.finish_reason(choice, &piece),
            stop_reason: self.stop_reason(choice, &piece),
            token_ids: self.token_ids(&piece.tokens),
            delta: last,
        };
        chunks.push(Frame::data(self.common.chunk(CHUNK, vec![chunk], closing, None)));
        chunks
    }

    fn usage_chunk(&mut self, totals: &Totals) -> Frame {
        Frame::data(self.common.summed_up(CHUNK, Vec::<ChunkChoice>::new(), totals, None))
    }

    fn whole(&mut self, choices: Vec<Piece>, totals: &Totals) -> String {
        let mut written = Vec::with_capacity(choices.len());
        let mut extra = self.prompt_ids();
        for (index, mut piece) in choices.into_iter().enumerate() {
            self.see(index, &piece.tokens);
            let scores = piece.prompt.take().filter(|_| index == 0);
            if let Some((top, scores)) = self.request.params.prompt_logprobs.zip(scores) {
                let prompt_logprobs = Some(self.common.prompt_logprobs(&scores, top));
                let prompt_token_ids = extra.take().and_then(|extra| extra.prompt_token_ids);
                extra = Some(Extra { prompt_token_ids, prompt_logprobs });
            }
            let said = self.progress[index].turn.said(&mut piece);
            written.push(WholeChoice {
                index,
                logprobs: self.logprobs(&piece.tokens),
                finish_reason: self.finish_reason(index, &piece),
                stop_reason: self.stop_reason(index, &piece),
                token_ids: self.token_ids(&piece.tokens),
                message: Message::new(said),
            });
        }
        self.common.summed_up(WHOLE, written, totals, extra)
    }
}
