//! A provider's stream, event by event to the client: under the route's name, judged where answers are, and with the
//! usage only if the client asked for it.

use std::collections::VecDeque;

use futures_util::stream;
use garrison_gateway::{Flow, Remote};
use serde_json::Value;

use crate::envelope::now;
use crate::error::ApiError;
use crate::params::StreamUsage;
use crate::screen::{Ends, Screen};
use crate::sse::{Frame, Frames};

/// Parts of a delta that are text which nobody judges: they are not shown where answers are judged.
const NOT_JUDGED: [&str; 5] = ["reasoning_content", "reasoning", "refusal", "audio", "tool_calls"];

/// The frames of a stream.
pub(super) fn relay(remote: Remote, route: &str, screen: Option<Screen>, usage: StreamUsage) -> Frames {
    let relay = Relay {
        remote,
        editor: Editor::new(route, screen),
        usage,
        last_usage: None,
        ready: VecDeque::new(),
        ended: false,
    };
    Box::pin(stream::unfold(relay, |mut relay| async move { Some((relay.next().await?, relay)) }))
}

struct Relay {
    remote: Remote,
    editor: Editor,
    usage: StreamUsage,
    /// The event with the usage, which comes last.
    last_usage: Option<Value>,
    ready: VecDeque<Frame>,
    ended: bool,
}

impl Relay {
    async fn next(&mut self) -> Option<Frame> {
        while self.ready.is_empty() && !self.ended {
            if let Err(error) = self.advance().await {
                self.ready.push_back(Frame::Failed(error));
                self.ended = true;
            }
        }
        self.ready.pop_front()
    }

    async fn advance(&mut self) -> Result<(), ApiError> {
        match self.remote.next().await {
            Some(Err(failure)) => Err(ApiError::broke_off(&failure)),
            None => self.end().await,
            Some(Ok(mut event)) => {
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
                    self.ready.push_back(Frame::Data(event.to_string().into()));
                }
                Ok(())
            }
        }
    }

    async fn end(&mut self) -> Result<(), ApiError> {
        self.editor.close().await?;
        if self.usage == StreamUsage::Include
            && let Some(mut usage) = self.last_usage.take()
        {
            self.editor.edit(&mut usage)?;
            self.ready.push_back(Frame::Data(usage.to_string().into()));
        }
        self.ready.push_back(Frame::Done);
        self.ended = true;
        Ok(())
    }
}

/// Whether anything of an event is left to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    Something,
    Nothing,
}

/// Makes of a provider's events what a client gets.
pub(super) struct Editor {
    route: String,
    /// There if answers are judged.
    screen: Option<Screen>,
}

impl Editor {
    pub(super) fn new(route: &str, screen: Option<Screen>) -> Editor {
        Editor { route: route.to_owned(), screen }
    }

    /// Edits a chunk in its place.
    pub(super) fn edit(&mut self, event: &mut Value) -> Result<Shows, ApiError> {
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
    pub(super) async fn close(&mut self) -> Result<(), ApiError> {
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
        for name in NOT_JUDGED {
            delta.remove(name);
        }
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
