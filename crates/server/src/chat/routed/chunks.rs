//! Chunks of Chat Completions on their way to a client of it, as the provider wrote them but for three things: they go
//! under the route's name, are judged where answers are, and state the usage only if the client asked for it.

use std::collections::VecDeque;

use garrison_gateway::Flow;
use garrison_wire::{Choice, Chunk, Json};
use serde_json::Value;

use super::fold::Folded;
use crate::envelope::now;
use crate::error::ApiError;
use crate::params::StreamUsage;
use crate::screen::{Ends, Screen};
use crate::sse::Frame;

/// What of a choice and of its delta is shown where answers are judged: what was judged, and what is no text. A provider
/// may put text into any other field.
const SHOWN: [&str; 4] = ["index", "delta", "finish_reason", "logprobs"];
const SHOWN_OF_DELTA: [&str; 2] = ["role", "content"];

/// Passes chunks on.
pub(super) struct Chunks {
    editor: Editor,
    usage: StreamUsage,
    /// The event with the usage, which comes last.
    last_usage: Option<Chunk>,
}

impl Chunks {
    pub(super) fn new(route: &str, screen: Option<Screen>, usage: StreamUsage) -> Chunks {
        Chunks { editor: Editor::new(route, screen), usage, last_usage: None }
    }

    /// Takes a chunk; adds the frames that are to be shown.
    pub(super) fn hear(&mut self, mut chunk: Chunk, ready: &mut VecDeque<Frame>) -> Result<(), ApiError> {
        if chunk.choices.as_ref().is_none_or(Vec::is_empty) {
            if chunk.fields.some("usage").is_some() {
                self.last_usage = Some(chunk);
            }
            return Ok(());
        }
        if self.usage == StreamUsage::Omit {
            chunk.fields.retain(|name| name != "usage");
        }
        if self.editor.edit(&mut chunk)? == Shows::Something {
            ready.push_back(Frame::data(chunk.to_json()));
        } else if chunk.fields.some("usage").is_some() {
            // Said beside a choice that has ended.
            self.last_usage = Some(chunk);
        }
        Ok(())
    }

    /// All is said.
    pub(super) async fn end(&mut self, ready: &mut VecDeque<Frame>) -> Result<(), ApiError> {
        self.editor.close().await?;
        if self.usage == StreamUsage::Include
            && let Some(mut usage) = self.last_usage.take()
        {
            self.editor.edit(&mut usage)?;
            ready.push_back(Frame::data(usage.to_json()));
        }
        ready.push_back(Frame::Done);
        Ok(())
    }

    /// Adds a chunk to a whole answer.
    pub(super) fn gather(&mut self, mut chunk: Chunk, folded: &mut Folded) -> Result<(), ApiError> {
        self.editor.edit(&mut chunk)?;
        folded.absorb(&chunk)
    }

    /// The whole answer.
    pub(super) async fn whole(mut self, folded: Folded) -> Result<String, ApiError> {
        self.editor.close().await?;
        Ok(folded.finish())
    }
}

/// Whether anything of an event is left to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    Something,
    Nothing,
}

/// Makes of a provider's events what a client gets.
struct Editor {
    route: Json,
    /// There if answers are judged.
    screen: Option<Screen>,
}

impl Editor {
    fn new(route: &str, screen: Option<Screen>) -> Editor {
        Editor { route: Json::string(route), screen }
    }

    /// Edits a chunk in its place.
    fn edit(&mut self, chunk: &mut Chunk) -> Result<Shows, ApiError> {
        chunk.fields.set("model", self.route.clone());
        if chunk.fields.get("created").and_then(Json::number).unwrap_or(0) == 0 {
            chunk.fields.set("created", Json::of(&now().into()));
        }
        for choice in chunk.choices.iter_mut().flatten() {
            // What ends nothing is no reason, and a client takes any string for one.
            if choice.fields.some("finish_reason").is_some() && choice.finish_reason().is_none() {
                choice.fields.set("finish_reason", Json::of(&Value::Null));
            }
        }
        let Some(screen) = self.screen.as_mut().filter(|screen| screen.judges()) else {
            return Ok(Shows::Something);
        };
        let Some(choices) = &mut chunk.choices else { return Ok(Shows::Nothing) };
        let mut kept = Vec::new();
        for mut choice in std::mem::take(choices) {
            if judge(screen, &mut choice)? == Shows::Something {
                kept.push(choice);
            }
        }
        let shows = if kept.is_empty() { Shows::Nothing } else { Shows::Something };
        *choices = kept;
        Ok(shows)
    }

    /// All answers have ended.
    async fn close(&mut self) -> Result<(), ApiError> {
        match &mut self.screen {
            None => Ok(()),
            Some(screen) => screen.close().await.map(drop),
        }
    }
}

/// Judges a choice of a chunk.
fn judge(screen: &mut Screen, choice: &mut Choice) -> Result<Shows, ApiError> {
    let index = usize::try_from(choice.index()).unwrap_or(0);
    if screen.has_ended(index) {
        return Ok(Shows::Nothing);
    }
    let ends = if choice.finish_reason().is_some() { Ends::Here } else { Ends::Later };
    let content = choice.delta.get("content");
    let text = content.and_then(Json::text).unwrap_or_default();
    let (text, flow) = screen.take_text(index, &text, ends)?;
    let shown = !text.is_empty();
    let (says, starts) = (shown || is_string(content), is_string(choice.delta.get("role")));
    choice.delta.retain(|name| SHOWN_OF_DELTA.contains(&name));
    choice.fields.retain(|name| SHOWN.contains(&name));
    if says {
        choice.say(&text);
    }
    if flow == Flow::Ends {
        choice.fields.set("finish_reason", Json::string("content_filter"));
    }
    let ended = choice.finish_reason().is_some();
    Ok(if shown || starts || ended { Shows::Something } else { Shows::Nothing })
}

fn is_string(json: Option<&Json>) -> bool {
    json.is_some_and(Json::is_string)
}
