//! What a provider says, delta by delta to a client of any dialect: under the route's name, and judged where answers are.

use garrison_gateway::{Failure, Flow, Heard, Taint, Tokens};
use garrison_wire::{ChunkReader, Delta, Fold, Request, Stop, Usage};
use serde_json::Map;

use super::super::Client;
use super::super::neutral::{Spoken, Voice};
use super::super::turn::Turn;
use super::Listener;
use super::continuing::{Continued, Said, counted, together};
use crate::envelope::{guard, now};
use crate::error::ApiError;
use crate::params::{Delivery, StreamUsage};
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
    /// To a client of `route`.
    pub(super) fn new(listener: Listener, route: &str) -> Deltas {
        let Listener { client, screen, delivery, stop, .. } = listener;
        let (dialect, request) = match client {
            Client::Chat => {
                let delivery = in_chat(delivery);
                (Dialect::Chat, Request { delivery, stop, ..Request::new(route, Vec::new()) })
            }
            Client::Other(asked) => (asked.dialect, asked.request),
        };
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

    /// Where what was said so far may go, as far as its judge has seen it.
    pub(super) fn taint(&self) -> Taint {
        self.screen.as_ref().map_or(Taint::Clean, Screen::answer_taint)
    }

    /// Somebody else goes on; who said it so far took so many tokens.
    pub(super) fn go_on(&mut self, took: Tokens) {
        (self.chunks, self.last) = (ChunkReader::default(), None);
        let earlier = self.continued.as_ref().map_or_else(Usage::default, |continued| continued.earlier);
        self.continued = Some(Continued::new(together(earlier, counted(took)), &self.said.text));
    }

    /// Whether the judge of answers has ended this one.
    pub(super) fn has_ended(&self) -> bool {
        self.screen.as_ref().is_some_and(|screen| screen.judges() && screen.has_ended(0))
    }

    /// Nothing more is said of an answer that the judge has ended, which took so many tokens.
    pub(super) fn stop(&mut self, took: Tokens) {
        let end = Delta::End { stop: Stop::Filtered, usage: Some(counted(took)), beside: Map::new() };
        self.last.get_or_insert(end);
    }

    /// How a model here speaks to the client.
    pub(super) fn spoken(&self, turn: Turn) -> Spoken {
        self.voice.spoken(turn)
    }

    /// All is said: the last deltas.
    pub(super) async fn end(&mut self) -> Result<Vec<Delta>, ApiError> {
        let last = self.last.take().or_else(|| self.chunks.end());
        let Some(Delta::End { mut stop, mut usage, mut beside }) = last else {
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
                // A provider can call any text a stop string, and only the client's own ones are known.
                if matches!(&stop, Stop::Sequence(text) if !self.voice.stops_at(text)) {
                    stop = Stop::EndTurn;
                }
            }
            let verdicts = screen.close().await?;
            beside.insert("guard".into(), guard(&verdicts));
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

fn in_chat(delivery: Delivery) -> garrison_wire::Delivery {
    match delivery {
        Delivery::Whole => garrison_wire::Delivery::Whole,
        Delivery::Stream(StreamUsage::Omit) => garrison_wire::Delivery::Stream,
        Delivery::Stream(StreamUsage::Include) => garrison_wire::Delivery::StreamWithUsage,
    }
}
