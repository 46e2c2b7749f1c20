//! How far a provider's answer has come, and what it took, whatever it is written in.

use garrison_route::Tokens;
use garrison_wire::{Chunk, Delta, Object, Seal, Usage};
use serde_json::Value;

use super::{Failure, Heard};

/// How far an answer has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// `[choices]` that have ended.
    ended: Vec<bool>,
    /// Whether anything was said that a client would see.
    pub(crate) shows: bool,
    /// What it took, as far as that was told.
    told: Option<Told>,
    /// Bytes of text so far, for an answer that is cut before its usage came.
    pub(crate) text_bytes: u64,
    /// Of these, thoughts that were shown.
    thoughts: u64,
}

/// What a provider has told of what an answer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    tokens: Tokens,
    /// Of the answer's, those that were thought.
    thought: u64,
    when: When,
}

/// When it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Once all was said: it counts.
    AtTheEnd,
    /// Before, as some do at the beginning or with every token: it may have become more since.
    Meanwhile,
}

impl Progress {
    pub(crate) fn new(choices: usize) -> Progress {
        Progress { ended: vec![false; choices], ..Progress::default() }
    }

    /// Whether every choice has ended.
    pub(crate) fn complete(&self) -> bool {
        self.ended.iter().all(|ended| *ended)
    }

    /// What it took, as the provider has told at the end; or else by an estimate, but no less than was told before.
    pub(crate) fn took(&self, estimate: Tokens) -> Tokens {
        match self.told {
            None => estimate,
            Some(Told { tokens, when: When::AtTheEnd, .. }) => tokens,
            Some(Told { tokens, .. }) => Tokens {
                // A prompt does not grow.
                prompt: if tokens.prompt > 0 { tokens.prompt } else { estimate.prompt },
                output: tokens.output.max(estimate.output),
                ..tokens
            },
        }
    }

    /// Whether it may have thought what nobody was shown and nothing was told of, if it thinks at all and, where that is not
    /// known (`None`), hides it.
    pub(crate) fn may_hide(&self, hides: Option<bool>) -> bool {
        let told = self.told.is_some_and(|told| told.when == When::AtTheEnd || told.tokens.output > 0);
        !told && hides.unwrap_or(self.thoughts == 0)
    }

    /// Whether it has thought more than it showed. None unless it has told that it thought.
    pub(crate) fn hides(&self) -> Option<bool> {
        let told = self.told.filter(|told| told.when == When::AtTheEnd && told.thought > 0)?;
        Some(told.thought > self.thoughts.div_ceil(3))
    }

    /// Takes in what was heard.
    pub(crate) fn hear(&mut self, heard: &Heard) -> Result<(), Failure> {
        match heard {
            Heard::Chunk(chunk) => self.chunk(chunk),
            Heard::Delta(delta) => self.delta(delta),
        }
    }

    /// A delta is of the only choice that there is.
    fn delta(&mut self, delta: &Delta) -> Result<(), Failure> {
        match delta {
            Delta::Failed(_) => return Err(Failure::Reported),
            // Nothing is said yet, whatever some count already.
            Delta::Begin { usage: Some(usage), .. } => self.tell(Usage { output: 0, ..*usage }),
            Delta::Begin { .. } | Delta::PartEnd => {}
            Delta::Seal(seal) => self.text_bytes += sealed_bytes(Some(seal)),
            Delta::Reasoning(text) => {
                self.more(text.len() as u64)?;
                self.thoughts += text.len() as u64;
            }
            Delta::Text(text) | Delta::Refusal(text) | Delta::Arguments(text) => {
                self.more(text.len() as u64)?;
            }
            Delta::Call { id, name } => self.more((id.len() + name.len()) as u64)?,
            Delta::End { usage, .. } => {
                self.shows = true;
                self.ended.fill(true);
                if let Some(usage) = usage {
                    self.tell(*usage);
                }
            }
        }
        Ok(())
    }

    /// It tells what it took so far.
    fn tell(&mut self, usage: Usage) {
        let tokens = Tokens {
            prompt: usage.input,
            cached: usage.cached,
            cache_written: usage.cache_written,
            output: usage.output,
        };
        let when = if self.complete() { When::AtTheEnd } else { When::Meanwhile };
        self.told = Some(Told { tokens, thought: usage.reasoning, when });
    }

    /// More of the only choice.
    fn more(&mut self, bytes: u64) -> Result<(), Failure> {
        if self.complete() && bytes > 0 {
            return Err(AFTER_END);
        }
        self.said(bytes);
        Ok(())
    }

    fn said(&mut self, bytes: u64) {
        self.text_bytes += bytes;
        self.shows |= bytes > 0;
    }

    fn chunk(&mut self, chunk: &Chunk) -> Result<(), Failure> {
        if chunk.fields.some("error").is_some() {
            return Err(Failure::Reported);
        }
        let Some(choices) = &chunk.choices else { return Err(Failure::Garbage("an event has no choices")) };
        for choice in choices {
            let finished = choice.finish_reason().is_some();
            let ended = usize::try_from(choice.index()).ok().and_then(|index| self.ended.get_mut(index));
            let Some(ended) = ended else { return Err(Failure::Garbage("a choice that nobody asked for")) };
            let (bytes, thoughts) = said(&choice.delta)?;
            // Who judges an answer has judged its end by then.
            if *ended && bytes > 0 {
                return Err(AFTER_END);
            }
            *ended |= finished;
            self.said(bytes);
            self.thoughts += thoughts;
            self.shows |= finished;
        }
        if let Some(usage) = chunk.fields.some("usage").filter(|usage| usage.is_nested()) {
            self.tell(read(&usage.value().map_err(|_| NO_VALUE)?));
        }
        Ok(())
    }
}

const AFTER_END: Failure = Failure::Garbage("a choice goes on after its end");
const NO_VALUE: Failure = Failure::Garbage("an event has something that is no value");

/// What servers call thoughts.
const THOUGHTS: [&str; 2] = ["reasoning_content", "reasoning"];

/// Bytes of everything in a delta that is not its role, and of these what was thought.
fn said(delta: &Object) -> Result<(u64, u64), Failure> {
    let (mut all, mut thoughts) = (0, 0);
    for (name, json) in delta.iter().filter(|(name, _)| *name != "role") {
        let bytes = match json.text() {
            Some(text) => text.len() as u64,
            None if json.is_nested() || json.is_string() => text_bytes(&json.value().map_err(|_| NO_VALUE)?),
            None => 0,
        };
        all += bytes;
        thoughts += if THOUGHTS.contains(&&**name) { bytes } else { 0 };
    }
    Ok((all, thoughts))
}

fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(map) => map.values().map(text_bytes).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Bytes that only a provider can read.
pub(crate) fn sealed_bytes(seal: Option<&Seal>) -> u64 {
    let text = match seal {
        Some(Seal::Signature(text) | Seal::Redacted(text)) => Some(text),
        Some(Seal::Item { encrypted, .. }) => encrypted.as_ref(),
        None => None,
    };
    text.map_or(0, |text| text.len() as u64)
}

/// Chat's `usage`.
fn read(usage: &Value) -> Usage {
    let number = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or(0);
    Usage {
        input: number(usage.get("prompt_tokens")),
        cached: number(usage.pointer("/prompt_tokens_details/cached_tokens")),
        cache_written: number(usage.pointer("/prompt_tokens_details/cache_write_tokens")),
        output: number(usage.get("completion_tokens")),
        reasoning: number(usage.pointer("/completion_tokens_details/reasoning_tokens")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::chunk;
    use garrison_wire::Stop;
    use serde_json::{Map, json};

    #[test]
    fn progress_knows_what_shows_what_ends_and_what_it_took() {
        let mut progress = Progress::new(2);
        let role = json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]});
        progress.chunk(&chunk(&role)).unwrap();
        assert!(!progress.shows);
        progress.chunk(&chunk(&json!({"choices": [{"index": 1, "delta": {"content": "Hi"}}]}))).unwrap();
        assert!(progress.shows && progress.text_bytes == 2);
        for index in [0, 1] {
            assert!(!progress.complete());
            let end = json!({"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]});
            progress.chunk(&chunk(&end)).unwrap();
        }
        assert!(progress.complete());
        let usage = json!({"choices": [], "usage": {
            "prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2}}});
        progress.chunk(&chunk(&usage)).unwrap();
        let all = Tokens { prompt: 9, cached: 4, cache_written: 2, output: 3 };
        assert_eq!(progress.took(Tokens { prompt: 50, output: 50, ..Tokens::default() }), all);
        for (wrong, failure) in [
            (json!({"error": {"message": "no"}}), Failure::Reported),
            (json!({"choices": null}), Failure::Garbage("an event has no choices")),
            (json!({"choices": [{"index": 2}]}), Failure::Garbage("a choice that nobody asked for")),
        ] {
            assert_eq!(Progress::new(2).chunk(&chunk(&wrong)), Err(failure));
        }
    }

    #[test]
    fn what_is_told_before_the_end_is_the_least_that_it_took() {
        let estimate = Tokens { prompt: 40, output: 30, ..Tokens::default() };
        let told = |prompt: u64, output: u64| {
            let usage = json!({"prompt_tokens": prompt, "completion_tokens": output});
            chunk(&json!({"choices": [{"index": 0, "delta": {"content": "Hi"}}], "usage": usage}))
        };
        for (prompt, output, took) in [(9, 0, (9, 30)), (0, 0, (40, 30)), (9, 50, (9, 50))] {
            let mut progress = Progress::new(1);
            assert_eq!(progress.took(estimate), estimate);
            progress.chunk(&told(prompt, output)).unwrap();
            let tokens = progress.took(estimate);
            assert_eq!((tokens.prompt, tokens.output), took);
            assert_eq!(progress.may_hide(Some(true)), output == 0);
        }
        // It counts as it is with the last end, and not when one of two has ended.
        let mut progress = Progress::new(2);
        for (index, output) in [(1, 30), (0, 3)] {
            let end = json!({"index": index, "delta": {}, "finish_reason": "stop"});
            let usage = json!({"prompt_tokens": 9, "completion_tokens": 3});
            progress.chunk(&chunk(&json!({"choices": [end], "usage": usage}))).unwrap();
            assert_eq!(progress.took(estimate).output, output);
        }
        // What Anthropic says first is known of the prompt, and says nothing of an answer.
        let mut progress = Progress::new(1);
        let usage = Usage { input: 9, cached: 4, output: 1, ..Usage::default() };
        let begin = Delta::Begin { id: "i".into(), model: "m".into(), created: 0, usage: Some(usage) };
        progress.hear(&Heard::Delta(begin)).unwrap();
        assert_eq!(progress.took(estimate), Tokens { prompt: 9, cached: 4, cache_written: 0, output: 30 });
        assert!(progress.may_hide(Some(true)));
    }

    #[test]
    fn thoughts_are_hidden_where_more_was_thought_than_shown() {
        for (field, shown, hides) in [
            ("content", "", Some(true)),
            ("content", "a text that is no thought at all", Some(true)),
            ("reasoning_content", "twenty-one bytes long", Some(false)),
            ("reasoning", "twenty-one bytes long", Some(false)),
            ("reasoning", "summary", Some(true)),
        ] {
            let mut progress = Progress::new(1);
            let delta = json!({"index": 0, "delta": {field: shown}});
            progress.chunk(&chunk(&json!({"choices": [delta]}))).unwrap();
            assert_eq!(progress.hides(), None, "{field}");
            assert_eq!(progress.may_hide(None), field == "content", "{field}");
            assert!(progress.may_hide(Some(true)) && !progress.may_hide(Some(false)), "{field}");
            let end = json!({"index": 0, "delta": {}, "finish_reason": "stop"});
            let usage = json!({"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 7}});
            progress.chunk(&chunk(&json!({"choices": [end], "usage": usage}))).unwrap();
            assert_eq!(progress.hides(), hides, "{field}: {shown}");
            assert!(!progress.may_hide(Some(true)), "{field}");
        }
    }

    #[test]
    fn a_choice_ends_once_and_with_a_reason() {
        let mut progress = Progress::new(2);
        let mut hear = |index: u64, text: &str, reason: Value| {
            let choice = json!({"index": index, "delta": {"content": text}, "finish_reason": reason});
            progress.chunk(&chunk(&json!({"choices": [choice]}))).map(|()| progress.complete())
        };
        for (index, text, reason) in [(0, "Hel", json!("")), (1, "Hi", json!("stop")), (0, "lo", json!(0))] {
            assert_eq!(hear(index, text, reason), Ok(false));
        }
        let after = Err(Failure::Garbage("a choice goes on after its end"));
        assert_eq!(hear(1, " there", Value::Null), after);
        assert_eq!(hear(1, " there", json!("stop")), after);
        assert_eq!(hear(1, "", json!("stop")), Ok(false), "it may be said again that it has ended");
        assert_eq!(hear(0, ".", json!("length")), Ok(true));
        let mut progress = Progress::new(1);
        let end = Delta::End { stop: Stop::EndTurn, usage: None, beside: Map::new() };
        progress.hear(&Heard::Delta(end)).unwrap();
        let text = |text: &str| Heard::Delta(Delta::Text(text.into()));
        assert_eq!(progress.hear(&text("")), Ok(()));
        assert_eq!(progress.hear(&text("more")), Err(AFTER_END));
    }

    #[test]
    fn deltas_count_as_chunks_do() {
        let mut progress = Progress::new(1);
        let hear = |progress: &mut Progress, delta: Delta| progress.hear(&Heard::Delta(delta));
        let begin = Delta::Begin { id: "i".into(), model: "m".into(), created: 0, usage: None };
        hear(&mut progress, begin).unwrap();
        assert!(!progress.shows);
        hear(&mut progress, Delta::Text("Hi".into())).unwrap();
        assert!(progress.shows && !progress.complete() && progress.text_bytes == 2);
        let usage = Usage { input: 9, cached: 4, cache_written: 2, output: 3, ..Usage::default() };
        let end = Delta::End { stop: Stop::EndTurn, usage: Some(usage), beside: Map::new() };
        hear(&mut progress, end).unwrap();
        assert!(progress.complete());
        let all = Tokens { prompt: 9, cached: 4, cache_written: 2, output: 3 };
        assert_eq!(progress.took(Tokens { prompt: 50, output: 50, ..Tokens::default() }), all);
        let failed = Delta::Failed(garrison_wire::Failure::new(garrison_wire::FailureKind::Server, "no"));
        assert_eq!(hear(&mut progress, failed), Err(Failure::Reported));
    }
}
