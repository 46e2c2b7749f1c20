//! A provider's answer on its way to the client, as frames or as one object.

use std::collections::VecDeque;

use futures_util::stream;
use garrison_gateway::{Heard, OnCut, Remote};
use garrison_wire::Fold;

use super::super::Client;
use super::Listener;
use super::chunks::Chunks;
use super::continuing::{Answer, Broke};
use super::deltas::Deltas;
use super::fold::Folded;
use super::way::Way;
use crate::error::ApiError;
use crate::params::{Delivery, StreamUsage};
use crate::sse::{Dialect, Frame, Frames};

/// Makes of what a provider says what a client gets.
pub(super) enum Teller {
    /// Chunks stay chunks.
    Chunks(Box<Chunks>),
    /// All else becomes deltas.
    Deltas(Box<Deltas>),
}

impl Teller {
    /// For a client of `route`. Chunks that somebody else may have to go on with are deltas, too.
    pub(super) fn new(remote: &Remote, route: &str, listener: Listener) -> Teller {
        let usage = match listener.delivery {
            Delivery::Whole => StreamUsage::Omit,
            Delivery::Stream(usage) => usage,
        };
        match listener.client {
            Client::Chat if remote.says_chunks() && listener.on_cut == OnCut::Error => {
                Teller::Chunks(Box::new(Chunks::new(route, listener.screen, usage)))
            }
            _ => Teller::Deltas(Box::new(Deltas::new(listener, route))),
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Teller::Chunks(_) => Dialect::Chat,
            Teller::Deltas(deltas) => deltas.dialect(),
        }
    }

    fn hear(&mut self, heard: Heard, ready: &mut VecDeque<Frame>) -> Result<(), ApiError> {
        match (self, heard) {
            (Teller::Chunks(chunks), Heard::Chunk(chunk)) => chunks.hear(chunk, ready),
            // No provider says both.
            (Teller::Chunks(_), Heard::Delta(_)) => Ok(()),
            (Teller::Deltas(deltas), heard) => {
                let said = deltas.hear(heard)?;
                ready.extend(deltas.frames(said));
                Ok(())
            }
        }
    }

    async fn end(&mut self, ready: &mut VecDeque<Frame>) -> Result<(), ApiError> {
        match self {
            Teller::Chunks(chunks) => chunks.end(ready).await,
            Teller::Deltas(deltas) => {
                let said = deltas.end().await?;
                ready.extend(deltas.frames(said));
                ready.push_back(Frame::Done);
                Ok(())
            }
        }
    }

    fn failed(&mut self, error: ApiError) -> Frame {
        match self {
            Teller::Chunks(_) => Frame::Failed(error),
            Teller::Deltas(deltas) => deltas.failed(error),
        }
    }
}

/// The frames of a stream. `way` is there if somebody else may go on with it.
pub(super) fn relay(answer: Answer, teller: Teller, way: Option<Way>) -> Frames {
    let relay = Relay { answer, teller, way, ready: VecDeque::new(), ended: false };
    Box::pin(stream::unfold(relay, |mut relay| async move { Some((relay.next().await?, relay)) }))
}

struct Relay {
    answer: Answer,
    teller: Teller,
    way: Option<Way>,
    ready: VecDeque<Frame>,
    ended: bool,
}

impl Relay {
    async fn next(&mut self) -> Option<Frame> {
        while self.ready.is_empty() && !self.ended {
            if let Err(error) = self.advance().await {
                let failed = self.teller.failed(error);
                self.ready.push_back(failed);
                self.ended = true;
            }
        }
        self.ready.pop_front()
    }

    async fn advance(&mut self) -> Result<(), ApiError> {
        match self.answer.next().await {
            Some(Err(broke)) => self.go_on(broke).await,
            Some(Ok(heard)) => {
                self.teller.hear(heard, &mut self.ready)?;
                if self.is_stopped() { self.end().await } else { Ok(()) }
            }
            None => self.end().await,
        }
    }

    /// Whether the judge has ended the answer of a model here, whose rest is not waited for.
    fn is_stopped(&mut self) -> bool {
        match (&self.answer, &mut self.teller) {
            (Answer::Here(here), Teller::Deltas(deltas)) if deltas.has_ended() => {
                deltas.stop(here.took());
                true
            }
            _ => false,
        }
    }

    async fn end(&mut self) -> Result<(), ApiError> {
        self.teller.end(&mut self.ready).await?;
        self.ended = true;
        Ok(())
    }

    /// Lets somebody else go on, or tells that the answer broke off.
    async fn go_on(&mut self, broke: Broke) -> Result<(), ApiError> {
        // Nobody is shown more of an answer that the judge has ended, so nobody is asked for it.
        if let Teller::Deltas(deltas) = &mut self.teller
            && deltas.has_ended()
        {
            deltas.stop(self.answer.took());
            return self.end().await;
        }
        if let (Some(way), Teller::Deltas(deltas), Some(failure)) =
            (&mut self.way, &mut self.teller, broke.failure())
        {
            let (tier, took) = (self.answer.tier().to_owned(), self.answer.took());
            if matches!(broke, Broke::Here(_)) {
                way.journey.broke_here(&tier, &failure);
            }
            if let Some(answer) = way.go_on(&tier, &failure, deltas).await {
                deltas.go_on(took);
                self.answer = answer;
                return Ok(());
            }
        }
        Err(broke.error())
    }
}

/// A whole answer as JSON text.
pub(super) async fn whole(mut answer: Answer, teller: Teller) -> Result<String, ApiError> {
    match teller {
        Teller::Chunks(mut chunks) => {
            let mut folded = Folded::default();
            while let Some(heard) = answer.next().await {
                if let Heard::Chunk(chunk) = heard.map_err(Broke::error)? {
                    chunks.gather(chunk, &mut folded)?;
                }
            }
            chunks.whole(folded).await
        }
        Teller::Deltas(mut deltas) => {
            let mut fold = Fold::default();
            while let Some(heard) = answer.next().await {
                deltas.hear(heard.map_err(Broke::error)?)?.into_iter().for_each(|delta| fold.push(delta));
                // What a model here would go on to say is not waited for.
                if let (Answer::Here(here), true) = (&answer, deltas.has_ended()) {
                    deltas.stop(here.took());
                    break;
                }
            }
            deltas.end().await?.into_iter().for_each(|delta| fold.push(delta));
            deltas.whole(fold)
        }
    }
}
