//! What a provider says, delta by delta to a client of any dialect: under the route's name, and judged where answers are.

use garrison_gateway::{Failure, Flow, Heard, Tokens};
use garrison_wire::{ChunkReader, Delta, Fold, Request, Stop, Usage};

use super::super::neutral::{Spoken, Voice};
use super::super::turn::Turn;
use super::continuing::{Continued, Said, together};
use crate::envelope::now;
use crate::error::ApiError;
use crate::screen::{Ends, Screen};
use crate::sse::{Dialect, Frame};

/// Makes of a provider's deltas or chunks the deltas that a client gets.
pub(super) struct Deltas {
    voice: Voice,
    route: String,
    chunks: ChunkReader,
    /// There if answers are judged.
    screen: Option<Screen>,
    /// The last delta, held back until all receipts are written.
    last: Option<Delta>,
    said: Said,
    /// There once somebody else goes on with the answer.
    continued: Option<Continued>,
}

impl Deltas {
    /// To a client that asked `request` in a dialect.
    pub(super) fn new(dialect: Dialect, request: Request, route: &str, screen: Option<Screen>) -> Deltas {
        let voice = Voice::new(dialect, request);
        Deltas {
            voice,
            route: route.to_owned(),
            chunks: ChunkReader::default(),
            screen,
            last: None,
            said: Said::default(),
            continued: None,
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.voice.dialect()
    }

    /// What can be shown of what is said.
    pub(super) fn hear(&mut self, heard: Heard) -> Result<Vec<Delta>, ApiError> {
        let mut said = Vec::new();
        match heard {
            Heard::Delta(delta) => said.push(delta),
            Heard::Chunk(chunk) => {
                let garbage = |_| ApiError::broke_off(&Failure::Garbage("an event is none of its API's"));
                self.chunks.chunk(&chunk, &mut said).map_err(garbage)?;
            }
        }
        let mut shown = Vec::with_capacity(said.len());
        for delta in said {
            let delta = match &mut self.continued {
                Some(continued) => continued.take(delta),
                None => Some(delta),
            };
            let Some(delta) = delta else { continue };
            self.said.note(&delta);
            match delta {
                Delta::End { .. } => self.last = Some(delta),
                delta => shown.extend(self.judged(delta)?),
            }
        }
        Ok(shown)
    }

    /// What was said so far, if it is something that somebody else can go on with: a text that broke off.
    pub(super) fn unfinished(&self) -> Option<&str> {
        self.said.unfinished()
    }

    /// Somebody else goes on; who said it so far took so many tokens.
    pub(super) fn go_on(&mut self, took: Tokens) {
        (self.chunks, self.last) = (ChunkReader::default(), None);
        let earlier = self.continued.as_ref().map_or_else(Usage::default, |continued| continued.earlier);
        let took = Usage {
            input: took.prompt,
            cached: took.cached,
            cache_written: took.cache_written,
            output: took.output,
            reasoning: 0,
        };
        self.continued = Some(Continued::new(together(earlier, took), &self.said.text));
    }

    /// How a model here speaks to the client.
    pub(super) fn spoken(&self, turn: Turn) -> Spoken {
        self.voice.spoken(turn)
    }

    /// All is said: the last deltas.
    pub(super) async fn end(&mut self) -> Result<Vec<Delta>, ApiError> {
        let last = self.last.take().or_else(|| self.chunks.end());
        let Some(Delta::End { mut stop, mut usage, beside }) = last else {
            return Err(ApiError::broke_off(&Failure::Cut));
        };
        if let Some(Continued { earlier, .. }) = self.continued {
            usage = usage.map(|usage| together(earlier, usage));
        }
        let mut deltas = Vec::with_capacity(2);
        if let Some(screen) = &mut self.screen {
            if screen.judges() {
                let (rest, flow) = screen.take_text(0, "", Ends::Here)?;
                deltas.extend((!rest.is_empty()).then_some(Delta::Text(rest)));
                if flow == Flow::Ends {
                    stop = Stop::Filtered;
                }
            }
            screen.close().await?;
        }
        deltas.push(Delta::End { stop, usage, beside });
        Ok(deltas)
    }

    /// What of a delta can be shown.
    fn judged(&mut self, delta: Delta) -> Result<Option<Delta>, ApiError> {
        let judge = self.screen.as_mut().filter(|screen| screen.judges());
        Ok(match (delta, judge) {
            (Delta::Begin { created, usage, .. }, _) => Some(Delta::Begin {
                // The provider's own name of its answer says nothing to a client.
                id: self.voice.answer_id(),
                model: self.route.clone(),
                created: if created == 0 { now() } else { created },
                usage,
            }),
            (Delta::Text(text), Some(screen)) => {
                let (shown, _) = screen.take_text(0, &text, Ends::Later)?;
                (!shown.is_empty()).then_some(Delta::Text(shown))
            }
            // Nobody judges these, so they are not shown where answers are judged, and texts around them are one.
            (
                Delta::PartEnd
                | Delta::Reasoning(_)
                | Delta::Refusal(_)
                | Delta::Seal(_)
                | Delta::Call { .. }
                | Delta::Arguments(_),
                Some(_),
            ) => None,
            (delta, _) => Some(delta),
        })
    }

    pub(super) fn frames(&mut self, deltas: Vec<Delta>) -> Vec<Frame> {
        self.voice.frames(deltas)
    }

    /// The last frame of a stream that breaks. It has begun, since nothing is relayed before.
    pub(super) fn failed(&mut self, error: ApiError) -> Frame {
        self.voice.failed(None, error)
    }

    /// The whole answer as JSON text.
    pub(super) fn whole(self, fold: Fold) -> Result<String, ApiError> {
        self.voice.whole(fold).map_err(|_| ApiError::broke_off(&Failure::Cut))
    }
}
