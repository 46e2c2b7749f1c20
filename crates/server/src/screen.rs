//! Between the edge and the gateway: which texts of a request are judged as what, and what a client is told
//! of it.
//!
//! Everything that a client can make the model read is shown to the gateway: every message's text, thinking, name
//! and calls, what tools are said to be, and the arguments for the template.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use garrison_engine::Finish;
use garrison_gateway::{
    Action, Answers, CacheUse, Flow, Form, Gateway, Judged, Micros, NotJudged, Origin, Place, Refusal,
    Report, Request, Taint, Text, Writing,
};
use garrison_tokenizer::ChatInput;
use garrison_types::{FinishReason, Timings, Usage};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::ApiError;
use crate::generation::Piece;
use crate::params::Params;
use crate::record::Record;

/// What was done with a request, as its response's headers say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// Nothing that they tell of.
    #[default]
    Unjudged,
    /// It was judged, and answered here; with the receipt's number, if there is one.
    Judged(Option<u64>),
    /// It went along a route.
    Routed(Box<Routed>),
}

/// Who answered for a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Routed {
    /// `provider/model`.
    pub(crate) tier: String,
    pub(crate) provider: String,
    /// Whether it was answered here.
    pub(crate) place: Place,
    pub(crate) receipt: Option<u64>,
    /// What it cost, where that is known before the answer is sent.
    pub(crate) cost: Option<Micros>,
    /// Whether it was given before.
    pub(crate) cache: CacheUse,
}

impl Stamp {
    /// Puts it into a response's headers.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        let receipt = match self {
            Stamp::Unjudged => return,
            Stamp::Judged(receipt) => {
                put("x-garrison-privacy", "local");
                receipt
            }
            Stamp::Routed(routed) => {
                put("x-garrison-tier", &routed.tier);
                put("x-garrison-provider", &routed.provider);
                let here = routed.place == Place::Local;
                put("x-garrison-privacy", if here { "local" } else { "cleared" });
                if let Some(cache) = routed.cache.name() {
                    put("x-garrison-cache", cache);
                }
                if let Some(cost) = routed.cost {
                    put("x-garrison-cost-usd", &cost.to_string());
                }
                &routed.receipt
            }
        };
        if let Some(receipt) = receipt {
            put("x-garrison-receipt", &receipt.to_string());
        }
    }
}

/// How an exchange was judged, as its last chunk and its body say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdicts {
    pub(crate) request: Report,
    pub(crate) answer: Report,
}

/// Judges the answers to one request.
pub(crate) struct Screen {
    request: Report,
    receipt: Option<u64>,
    /// Where the request may go.
    taint: Taint,
    answers: Answers,
    /// Whether answers have to pass at all.
    judges: bool,
    /// `[choices]`.
    choices: Vec<Choice>,
}

/// What is known of a choice, to tell what it took if it is ended here.
#[derive(Clone, Copy, Default)]
struct Choice {
    prompt_tokens: u32,
    completion_tokens: u32,
    ended: bool,
}

/// What is asked, as far as the gateway needs to know.
pub(crate) struct Asked<'a> {
    pub(crate) body: &'a [u8],
    /// The model or route whose policies count.
    pub(crate) model: &'a str,
    /// Who answers, for the receipt: `local/NAME`.
    pub(crate) tier: String,
    pub(crate) form: Form,
    /// Answers that there will be.
    pub(crate) choices: usize,
}

/// Something of a request that somebody elsewhere would be sent and no model here reads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unread {
    pub(crate) origin: Origin,
    /// Where the client finds it.
    pub(crate) place: String,
    pub(crate) value: Value,
}

/// Judges a conversation with what else is sent, and changes it if that is the policy. What is sent elsewhere is what came:
/// nothing leaves in which something was found.
pub(crate) fn conversation(
    gateway: &Gateway,
    input: &mut ChatInput,
    unread: impl FnOnce() -> Vec<Unread>,
    asked: &Asked<'_>,
) -> Result<Option<Screen>, ApiError> {
    if !gateway.judges(asked.model) {
        return Ok(None);
    }
    let mut texts = Vec::new();
    let mut add = |shown: Shown, text: &mut String| {
        let Shown { origin, place, writing } = shown;
        texts.push(Text { origin, place, text: text.clone(), writing });
    };
    each_text(input, &mut add)?;
    for Unread { origin, place, mut value } in unread() {
        each_document(&mut value, origin, &place, &mut add)?;
    }
    let Some((screen, changed)) = judge(gateway, texts, asked)? else { return Ok(None) };
    if let Some(texts) = changed {
        let mut texts = texts.into_iter();
        each_text(input, &mut |_, text| *text = texts.next().unwrap_or_default())?;
    }
    Ok(Some(screen))
}

/// What judges the answer, and the texts where they were changed.
pub(crate) type Screened = (Screen, Option<Vec<String>>);

/// Judges the prompts of a completion. Prompts that were changed come back.
pub(crate) fn prompts(
    gateway: &Gateway,
    prompts: impl FnOnce() -> Vec<String>,
    asked: &Asked<'_>,
) -> Result<Option<Screened>, ApiError> {
    if !gateway.judges(asked.model) {
        return Ok(None);
    }
    let prompts = prompts();
    let place = |i| if prompts.len() == 1 { "prompt".to_owned() } else { format!("prompt[{i}]") };
    let places: Vec<String> = (0..prompts.len()).map(place).collect();
    let texts = prompts.into_iter().zip(places);
    let writing = Writing::Plain;
    let texts = texts.map(|(text, place)| Text { origin: Origin::User, place, text, writing }).collect();
    judge(gateway, texts, asked)
}

fn judge(gateway: &Gateway, texts: Vec<Text>, asked: &Asked<'_>) -> Result<Option<Screened>, ApiError> {
    let request = Request {
        texts,
        digest: Sha256::digest(asked.body).into(),
        model: asked.model.to_owned(),
        tier: asked.tier.clone(),
        form: asked.form,
        choices: asked.choices,
    };
    let judged = gateway.judge(request).map_err(|refusal| refused(&refusal))?;
    Ok(judged.map(|judged| {
        let Judged { texts, report, receipt, answers } = judged;
        let screen = Screen {
            request: report,
            receipt,
            taint: texts.taint(),
            judges: answers.judge(),
            answers,
            choices: vec![Choice::default(); asked.choices],
        };
        (screen, texts.local().clone())
    }))
}

/// Refuses what would tell what the model wrote where answers are not shown as they are written.
pub(crate) fn check_tokens(
    gateway: &Gateway,
    model: &str,
    params: &Params,
    logprobs: Option<u32>,
) -> Result<(), ApiError> {
    if !gateway.hides(model) {
        return Ok(());
    }
    let asked = [
        ("logprobs", logprobs.is_some()),
        ("return_token_ids", params.return_token_ids),
        ("prompt_logprobs", params.prompt_logprobs.is_some()),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        None => Ok(()),
        Some((param, _)) => {
            let message = format!(
                "{param} is not given by this model: the guard redacts its texts, and the tokens would tell what was redacted"
            );
            Err(ApiError::unsupported(*param, message))
        }
    }
}

/// What is told of a text that is shown.
struct Shown {
    origin: Origin,
    place: String,
    writing: Writing,
}

impl Shown {
    fn plain(origin: Origin, place: String) -> Shown {
        Shown { origin, place, writing: Writing::Plain }
    }
}

/// Shows every text of a conversation that a client can write, and takes back what becomes of it. Documents are
/// shown as their JSON text, after the sentences in them.
fn each_text(input: &mut ChatInput, each: &mut dyn FnMut(Shown, &mut String)) -> Result<(), ApiError> {
    for (i, message) in input.messages.iter_mut().enumerate() {
        let origin = match message.role.as_str() {
            "system" => Origin::System,
            "tool" => Origin::Tool,
            _ => Origin::User,
        };
        let place = |field: &str| format!("messages[{i}].{field}");
        if let Some(text) = &mut message.content {
            each(Shown::plain(origin, place("content")), text);
        }
        let further = [
            ("reasoning_content", &mut message.reasoning),
            ("name", &mut message.name),
            ("tool_call_id", &mut message.tool_call_id),
        ];
        for (field, text) in further {
            if let Some(text) = text {
                each(Shown::plain(Origin::User, place(field)), text);
            }
        }
        if let Some(calls) = &mut message.tool_calls {
            each_document(calls, Origin::User, &place("tool_calls"), each)?;
        }
    }
    if let Some(tools) = &mut input.tools {
        each_document(tools, Origin::Tool, "tools", each)?;
    }
    if !input.kwargs.is_empty() {
        let mut kwargs = Value::Object(std::mem::take(&mut input.kwargs));
        each_document(&mut kwargs, Origin::User, "chat_template_kwargs", each)?;
        if let Value::Object(map) = kwargs {
            input.kwargs = map;
        }
    }
    Ok(())
}

fn each_document(
    value: &mut Value,
    origin: Origin,
    place: &str,
    each: &mut dyn FnMut(Shown, &mut String),
) -> Result<(), ApiError> {
    // Sentences are judged as such; what is around them would hide them. They are changed with the whole.
    let mut sentences = Vec::new();
    each_sentence(value, &mut |text| sentences.push(text.to_owned()));
    for mut sentence in sentences {
        each(Shown::plain(origin, place.to_owned()), &mut sentence);
    }
    let before = value.to_string();
    let mut text = before.clone();
    each(Shown { origin, place: place.to_owned(), writing: Writing::Json }, &mut text);
    if text != before {
        *value =
            serde_json::from_str(&text).map_err(|_| ApiError::internal("a document with names is none"))?;
    }
    Ok(())
}

/// Bytes of a word at most; what is longer says more than one, without blanks.
const MAX_WORD: usize = 24;

/// Whether a text can say more than one word: some scripts set no blanks between them.
fn is_sentence(text: &str) -> bool {
    text.len() > MAX_WORD || text.contains(|c: char| c.is_whitespace() || !c.is_ascii() && c.is_alphabetic())
}

/// Every key and text of a document that can have more than one word.
fn each_sentence(value: &Value, each: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) if is_sentence(text) => each(text),
        Value::Array(items) => items.iter().for_each(|item| each_sentence(item, each)),
        Value::Object(map) => {
            map.keys().filter(|key| is_sentence(key)).for_each(|key| each(key));
            map.values().for_each(|item| each_sentence(item, each));
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn refused(refusal: &Refusal) -> ApiError {
    match refusal {
        Refusal::Blocked { place, found, receipt } => {
            let message = format!("{place} is blocked by this server's policy: {}", found.join(", "));
            let error = ApiError::bad_field(place.clone(), message).code("content_filter");
            error.judged(Stamp::Judged(*receipt), found.clone())
        }
        Refusal::NotJudged(fault) => not_judged(fault),
    }
}

fn not_judged(fault: &NotJudged) -> ApiError {
    let message = format!(
        "this request could not be judged, and its policy lets nothing pass that was not: {}",
        fault.fault
    );
    ApiError::unavailable(message).code("not_judged").judged(Stamp::Judged(fault.receipt), Vec::new())
}

/// Whether a piece of an answer is its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    Here,
    Later,
}

fn judge_text(
    answers: &mut Answers,
    index: usize,
    text: &str,
    ends: Ends,
) -> Result<(String, Flow), ApiError> {
    let refuse = |fault: NotJudged| not_judged(&fault);
    let (mut text, mut flow) = answers.push(index, text).map_err(refuse)?;
    if flow == Flow::GoesOn && ends == Ends::Here {
        let (rest, end) = answers.finish(index).map_err(refuse)?;
        text.push_str(&rest);
        flow = end;
    }
    Ok((text, flow))
}

impl Screen {
    /// What the response's headers say.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp::Judged(self.receipt)
    }

    /// The receipt of the request, if there is one.
    pub(crate) fn receipt(&self) -> Option<u64> {
        self.receipt
    }

    /// Where the request may go.
    pub(crate) fn taint(&self) -> Taint {
        self.taint
    }

    /// Where what was judged of the answers so far may go: what something was found in stays.
    pub(crate) fn answer_taint(&self) -> Taint {
        match self.answers.report().action {
            Action::Passed => Taint::Clean,
            Action::Flagged | Action::Redacted | Action::NotJudged | Action::Blocked => Taint::Local,
        }
    }

    /// Whether answers have to pass here.
    pub(crate) fn judges(&self) -> bool {
        self.judges
    }

    /// What can be shown of more text of an answer that is written elsewhere; `ends` if that was all of it.
    pub(crate) fn take_text(
        &mut self,
        index: usize,
        text: &str,
        ends: Ends,
    ) -> Result<(String, Flow), ApiError> {
        let choice = &mut self.choices[index];
        if choice.ended {
            return Ok((String::new(), Flow::Ends));
        }
        let (text, flow) = judge_text(&mut self.answers, index, text, ends)?;
        choice.ended = flow == Flow::Ends || ends == Ends::Here;
        Ok((text, flow))
    }

    /// Notes the prompts' lengths; choice `i` answers prompt `i / n`.
    pub(crate) fn set_prompts(&mut self, prompts: &[Vec<u32>], n: usize) {
        for (i, choice) in self.choices.iter_mut().enumerate() {
            let prompt = prompts.get(i / n.max(1)).map_or(0, Vec::len);
            choice.prompt_tokens = u32::try_from(prompt).unwrap_or(u32::MAX);
        }
    }

    /// Whether a choice has ended, here or by its own word, so that nothing of it counts any more.
    pub(crate) fn has_ended(&self, choice: usize) -> bool {
        self.choices[choice].ended
    }

    /// What can be shown of a piece.
    pub(crate) fn take(
        &mut self,
        index: usize,
        mut piece: Piece,
        record: &Record,
    ) -> Result<Piece, ApiError> {
        if !self.judges {
            return Ok(piece);
        }
        let choice = &mut self.choices[index];
        choice.completion_tokens += u32::try_from(piece.tokens.len()).unwrap_or(u32::MAX);
        let ends = if piece.finish.is_some() { Ends::Here } else { Ends::Later };
        let (text, flow) = judge_text(&mut self.answers, index, &piece.text, ends)?;
        piece.text = text;
        if flow == Flow::Ends {
            choice.ended = true;
            piece.finish = Some(match piece.finish.take() {
                Some(finish) => Finish { reason: FinishReason::Filtered, ..finish },
                None => choice.finish(record),
            });
        }
        Ok(piece)
    }

    /// All choices have ended: how they were judged.
    pub(crate) async fn close(&mut self) -> Result<Verdicts, ApiError> {
        self.answers.close().await.map_err(|fault| not_judged(&fault))?;
        Ok(Verdicts { request: self.request.clone(), answer: self.answers.report() })
    }
}

impl Choice {
    /// The end of a choice whose sequence is stopped and says nothing more of itself: how much of its prompt was
    /// cached is not known.
    fn finish(&self, record: &Record) -> Finish {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let ttft = record.ttft().unwrap_or_default();
        let timings = Timings {
            prompt_tokens: self.prompt_tokens,
            generated_tokens: self.completion_tokens,
            ttft_ms: ms(ttft),
            generation_ms: ms(record.elapsed().saturating_sub(ttft)),
            ..Timings::default()
        };
        let usage = Usage {
            prompt_tokens: self.prompt_tokens,
            cached_tokens: 0,
            completion_tokens: self.completion_tokens,
        };
        Finish { reason: FinishReason::Filtered, text: String::new(), usage, timings }
    }
}
