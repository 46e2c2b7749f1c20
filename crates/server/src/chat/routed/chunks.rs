//! Chunks of Chat Completions on their way to a client of it, as the provider wrote them but for three things: they go
//! under the route's name, are judged where answers are, and state the usage only if the client asked for it.

use std::collections::VecDeque;

use garrison_wire::{Chunk, Json};
use serde_json::Value;

use super::fold::Folded;
use super::judged::{JudgedChunks, Shows};
use crate::envelope::now;
use crate::error::ApiError;
use crate::params::StreamUsage;
use crate::screen::Screen;
use crate::sse::Frame;

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

/// Makes of a provider's events what a client gets.
struct Editor {
    route: Json,
    /// There if answers may be judged.
    judged: Option<JudgedChunks>,
}

impl Editor {
    fn new(route: &str, screen: Option<Screen>) -> Editor {
        Editor { route: Json::string(route), judged: screen.map(JudgedChunks::new) }
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
        match &mut self.judged {
            Some(judged) => judged.sift(chunk),
            None => Ok(Shows::Something),
        }
    }

    /// All answers have ended.
    async fn close(&mut self) -> Result<(), ApiError> {
        match &mut self.judged {
            None => Ok(()),
            Some(judged) => judged.close().await,
        }
    }
}
