//! A request's way along its route, with what it takes to set models here to work on it.

use std::sync::Arc;

use garrison_engine::AdapterHandle;
use garrison_gateway::{Accepts, Delivery, Journey, LookedHere, Verdict};
use garrison_tokenizer::ChatInput;
use serde_json::Value;

use super::super::{Running, Scores, Start, read, start};
use crate::answer::blocking;
use crate::app::App;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::record::Record;

/// A request on its way.
pub(super) struct Way {
    pub(super) app: Arc<App>,
    pub(super) record: Arc<Record>,
    /// The chat, to be read again for whichever model here answers, and what became of the conversation when it was
    /// judged.
    pub(super) shared: Arc<(Value, ChatInput)>,
    pub(super) route: String,
    pub(super) delivery: Delivery,
    pub(super) journey: Journey,
}

impl Way {
    /// The answer of a model here, and whether it is good enough. It is held back until that is known.
    pub(super) async fn answer_here(
        &mut self,
        model: &str,
        tier: &str,
        accepts: Accepts,
    ) -> Result<(Running, Verdict), ApiError> {
        let scores = match accepts {
            Accepts::Anything => Scores::Asked,
            Accepts::WhatIsSure => Scores::Always,
        };
        let mut running = self.start_here(model, tier, Start { scores, ..Start::USUAL }).await?;
        let verdict = match accepts {
            Accepts::Anything => {
                // Until something can be shown, the next tier may do what this one could not.
                match self.delivery {
                    _ if !self.journey.has_next() => {}
                    Delivery::Stream => drop(running.hold(Some(1)).await?),
                    Delivery::Whole => drop(running.hold(None).await?),
                }
                Verdict::Accepted
            }
            Accepts::WhatIsSure => {
                let logprobs = running.hold(self.journey.weighs_after()).await?;
                let verdict = self.journey.weigh(tier, &logprobs);
                // It was weighed before its end, and of a whole answer nothing is shown before that either.
                if verdict == Verdict::Accepted && self.delivery == Delivery::Whole && self.journey.has_next()
                {
                    running.hold(None).await?;
                }
                verdict
            }
        };
        Ok((running, verdict))
    }

    /// The number of the adapter that a model here computes with, 0 for none. One that was loaded anew under its name has
    /// another.
    pub(super) fn adapter(&self, model: &str) -> Result<u64, ApiError> {
        Ok(self.app.model(Some(model))?.adapter().map_or(0, AdapterHandle::number))
    }

    /// What a model here has said to an equal request with this adapter, if that is kept.
    pub(super) async fn look_up_here(&self, model: &str, adapter: u64, tier: &str) -> LookedHere {
        self.journey.look_up_here(tier, &format!("{model}#{adapter}")).await
    }

    /// Starts a model here on the conversation that was judged.
    pub(super) async fn start_here(&self, model: &str, tier: &str, how: Start) -> Result<Running, ApiError> {
        let first = self.journey.asks_here(tier);
        let how = Start { until: Some(self.journey.deadline()), ..how };
        let (record, shared) = (Arc::clone(&self.record), Arc::clone(&self.shared));
        let (route, model) = (self.route.clone(), model.to_owned());
        let started = blocking(&self.app, move |app| {
            let (body, judged) = &*shared;
            let chosen = app.model(Some(&model))?;
            let (request, input) = read(&Fields::root(body)?, &chosen.entry.model)?;
            // What was judged, in the frame of this model's template.
            let input = ChatInput {
                messages: judged.messages.clone(),
                tools: judged.tools.clone(),
                kwargs: judged.kwargs.clone(),
                ..input
            };
            start(app, &record, &chosen, request, &input, &route, &how)
        });
        Ok(started.await?.timed(first))
    }
}
