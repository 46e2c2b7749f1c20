//! A conversation with a model loaded into this process.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use garrison_engine::{Engine, Event, Request};
use garrison_tokenizer::{ChatMessage, ChatTemplate, Tokenizer};
use garrison_types::{Sampling, StopConditions};

use super::{Figures, Message, Partner, Settings};
use crate::config::{EngineSettings, ModelEntry, parse_mix};
use crate::error::Fault;
use crate::flags::EngineFlags;
use crate::load;
use crate::source::{ModelRef, TINY};

pub(super) struct Local {
    name: String,
    engine: Engine,
    tokenizer: Arc<Tokenizer>,
    template: ChatTemplate,
}

impl Local {
    /// Loads the model, or the bundled one.
    ///
    /// # Errors
    /// If it cannot be loaded or has no chat template.
    pub(super) fn load(model: Option<&str>, flags: &EngineFlags) -> Result<Local, Fault> {
        let text = model.unwrap_or(TINY.name);
        let model = ModelRef::parse(text)?;
        let name = model.name(text);
        let settings = EngineSettings { max_seqs: 1, adapter_slots: 0, ..EngineSettings::from_flags(flags)? };
        let quantize = flags.quantize.as_deref().map(parse_mix).transpose()?;
        let entry = ModelEntry::new(name.clone(), model, quantize);
        let loaded = load::load(&entry, &settings)?;
        let source = loaded.chat_template.ok_or_else(|| {
            Fault::usage(format!(
                "model {name} has no chat template, so it cannot chat; serve it for completions"
            ))
        })?;
        let template = ChatTemplate::new(&source)
            .map_err(|e| Fault::usage(format!("model {name}: its chat template cannot be used: {e}")))?;
        Ok(Local { name, engine: loaded.engine, tokenizer: loaded.tokenizer, template })
    }

    fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, Fault> {
        let turns = messages.iter().map(|m| ChatMessage::text(m.role, &m.content)).collect();
        let input = self.tokenizer.chat_input(turns);
        self.tokenizer.encode_chat(&self.template, &input).map_err(|e| Fault::failed(e.to_string()))
    }
}

impl Partner for Local {
    fn name(&self) -> &str {
        &self.name
    }

    fn answer(
        &mut self,
        messages: &[Message],
        settings: &Settings,
        show: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Figures, Fault> {
        let prompt = self.prompt(messages)?;
        let limit = self.engine.config().sequence_limit();
        let room = limit.saturating_sub(prompt.len()).max(1) as u32;
        let stop = StopConditions {
            max_tokens: settings.max_tokens.map_or(room, |max| max.clamp(1, room)),
            ..StopConditions::default()
        };
        let sampling = Sampling {
            temperature: settings.temperature,
            seed: settings.seed.unwrap_or_else(clock_seed),
            ..Sampling::default()
        };
        let request = Request { sampling, ..Request::new("chat", prompt, stop) };
        let mut stream = self.engine.submit(request).map_err(|e| Fault::failed(e.to_string()))?;
        let mut figures = Figures::default();
        while let Some(event) = stream.recv() {
            match event {
                Event::Prompt(_) => {}
                Event::Token(token) => {
                    figures.generated_tokens += 1;
                    if !token.text.is_empty() && !show(&token.text) {
                        return Ok(figures); // dropping the stream stops the sequence
                    }
                }
                Event::Finished(finish) => {
                    if !finish.text.is_empty() {
                        show(&finish.text);
                    }
                    return Ok(Figures {
                        prompt_tokens: finish.usage.prompt_tokens,
                        generated_tokens: finish.usage.completion_tokens,
                    });
                }
                Event::Failed(failure) => return Err(Fault::failed(failure.to_string())),
            }
        }
        Err(Fault::failed("the engine stopped before the answer's end"))
    }
}

/// A seed for answers that differ from time to time.
fn clock_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}
