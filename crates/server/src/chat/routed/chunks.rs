//! Chunks of Chat Completions on their way to a client of it, as the provider wrote them but for three things: they go
//! under the route's name, are judged where answers are, and state the usage only if the client asked for it.

use std::collections::VecDeque;

use garrison_gateway::Flow;
use serde_json::{Map, Value};

use super::fold::{absorb, finish};
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
    last_usage: Option<Value>,
}

impl Chunks {
    pub(super) fn new(route: &str, screen: Option<Screen>, usage: StreamUsage) -> Chunks {
        Chunks { editor: Editor::new(route, screen), usage, last_usage: None }
    }

    /// Takes a chunk; adds the frames that are to be shown.
    pub(super) fn hear(&mut self, mut event: Value, ready: &mut VecDeque<Frame>) -> Result<(), ApiError> {
        let has_choices = event["choices"].as_array().is_some_and(|choices| !choices.is_empty());
        if !has_choices {
            if event["usage"].is_object() {
                self.last_usage = Some(event);
            }
            return Ok(());
        }
        if self.usage == StreamUsage::Omit
            && let Some(event) = event.as_object_mut()
        {
            event.remove("usage");
        }
        if self.editor.edit(&mut event)? == Shows::Something {
            ready.push_back(Frame::data(event.to_string()));
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
            ready.push_back(Frame::data(usage.to_string()));
        }
        ready.push_back(Frame::Done);
        Ok(())
    }

    /// Adds a chunk to a whole answer.
    pub(super) fn gather(
        &mut self,
        mut event: Value,
        folded: &mut Map<String, Value>,
    ) -> Result<(), ApiError> {
        self.editor.edit(&mut event)?;
        absorb(folded, event);
        Ok(())
    }

    /// The whole answer.
    pub(super) async fn whole(mut self, folded: Map<String, Value>) -> Result<String, ApiError> {
        self.editor.close().await?;
        Ok(finish(folded).to_string())
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
    route: String,
    /// There if answers are judged.
    screen: Option<Screen>,
}

impl Editor {
    fn new(route: &str, screen: Option<Screen>) -> Editor {
        Editor { route: route.to_owned(), screen }
    }

    /// Edits a chunk in its place.
    fn edit(&mut self, event: &mut Value) -> Result<Shows, ApiError> {
        event["model"] = self.route.as_str().into();
        if event["created"].as_u64().unwrap_or(0) == 0 {
            event["created"] = now().into();
        }
        let Some(screen) = self.screen.as_mut().filter(|screen| screen.judges()) else {
            return Ok(Shows::Something);
        };
        let Some(choices) = event["choices"].as_array_mut() else { return Ok(Shows::Nothing) };
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
fn judge(screen: &mut Screen, choice: &mut Value) -> Result<Shows, ApiError> {
    let index = choice["index"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
    if screen.has_ended(index) {
        return Ok(Shows::Nothing);
    }
    let ends = if choice["finish_reason"].is_null() { Ends::Later } else { Ends::Here };
    let text = choice["delta"]["content"].as_str().unwrap_or_default().to_owned();
    let (text, flow) = screen.take_text(index, &text, ends)?;
    if let Some(delta) = choice["delta"].as_object_mut() {
        delta.retain(|name, _| SHOWN_OF_DELTA.contains(&name.as_str()));
    }
    if let Some(choice) = choice.as_object_mut() {
        choice.retain(|name, _| SHOWN.contains(&name.as_str()));
    }
    let (shown, starts) = (!text.is_empty(), choice["delta"]["role"].is_string());
    if shown || choice["delta"]["content"].is_string() {
        choice["delta"]["content"] = text.into();
    }
    if flow == Flow::Ends {
        choice["finish_reason"] = "content_filter".into();
    }
    let ended = !choice["finish_reason"].is_null();
    Ok(if shown || starts || ended { Shows::Something } else { Shows::Nothing })
}
