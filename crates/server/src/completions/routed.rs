//! A completion that asks for a route. Providers answer turns, not texts, so all tiers of such a route have to be models here;
//! of these the first that can answers.

use std::sync::Arc;

use bytes::Bytes;
use garrison_gateway::{
    Ask, CacheUse, Delivery as Use, Destination, Journey, Micros, Need, Needs, Place, Route, Taint, Target,
    Words, digest, task_of,
};
use serde_json::{Map, Value, json};

use super::{CompletionFormat, CompletionRequest, DEFAULT_MAX_TOKENS, Whose, start};
use crate::answer::{blocking, produce};
use crate::app::App;
use crate::chat::routed::sticky;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::generation::Generation;
use crate::params::Delivery;
use crate::record::Record;
use crate::screen::{self, Stamp};
use crate::sse::Production;

/// A completion on its way along a route.
pub(crate) struct RoutedCompletion {
    route: Arc<Route>,
    ask: Ask,
    /// To be read again for whichever model answers: as it came, and as JSON.
    asked: Arc<(Bytes, Value)>,
}

impl RoutedCompletion {
    /// Reads it against the route's last model here, whose refusals are the route's.
    pub(super) fn read(
        app: &App,
        record: &Arc<Record>,
        body: Bytes,
        value: Value,
        route: &Arc<Route>,
    ) -> Result<RoutedCompletion, ApiError> {
        app.check_allowed(record, &route.name)?;
        check_route(route)?;
        record.set_model(&route.name);
        let fields = Fields::root(&value)?;
        let model = &app.model(route.local_model())?.entry.model;
        let request = CompletionRequest::read(&fields, model, app.config.limits.sequences)?;
        if let Some(param) = request.names_tokens() {
            app.check_one_vocabulary(route, param)?;
        }
        let key = record.key().to_owned();
        app.config.quotas.saw(&key, || digest(fields.map()));
        let needs =
            if request.params.structure.is_some() { Needs::NONE.and(Need::Schema) } else { Needs::NONE };
        let chat = as_chat(request.prompts.longest_text(&model.tokenizer));
        let ask = Ask {
            id: record.id.clone(),
            taint: Taint::Clean,
            output_tokens: Some(request.params.max_tokens().unwrap_or(DEFAULT_MAX_TOKENS).into()),
            choices: request.params.n as usize * request.prompts.tokens.len(),
            task: task_of(&chat, needs),
            needs,
            sticky: sticky(fields.string("user")?.unwrap_or(&key)),
            delivery: match request.params.delivery {
                Delivery::Whole => Use::Whole,
                Delivery::Stream(_) => Use::Stream,
            },
            words: Words::Chat,
            chat,
            key,
            tally: Arc::clone(&record.tally),
        };
        Ok(RoutedCompletion { route: Arc::clone(route), ask, asked: Arc::new((body, value)) })
    }

    /// Goes along the route until a model answers.
    pub(crate) async fn run(self, app: &Arc<App>, record: &Arc<Record>) -> Result<Production, ApiError> {
        let RoutedCompletion { route, ask, asked } = self;
        let mut journey = app.config.routes.begin(&route, ask);
        record.set_trace(journey.trace());
        let mut refused = None;
        loop {
            let (model, tier) = match journey.next().await {
                Ok(Destination::Local { model, tier, .. }) => (model, tier),
                Ok(Destination::Remote(_) | Destination::InHand) => {
                    return Err(ApiError::internal("a completion was led elsewhere than to a model here"));
                }
                Err(exhausted) => {
                    return Err(refused.unwrap_or_else(|| ApiError::exhausted(&exhausted)));
                }
            };
            match answer(app, record, &route.name, &asked, (&model, &tier), &journey).await {
                Ok((generation, format, delivery)) => {
                    journey.answered_here();
                    let stamp = stamp(tier, &generation, journey.cost());
                    return Ok(Production { stamp, ..produce(generation, format, delivery) });
                }
                Err(error) if error.may_pass_elsewhere() => {
                    journey.failed_here(&tier, error.why().to_owned());
                    refused = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// What a plan goes by, which knows chats: how long the text is, and in what language and of what kind.
fn as_chat(text: String) -> Map<String, Value> {
    let message = json!({ "role": "user", "content": text });
    Map::from_iter([("messages".to_owned(), Value::Array(vec![message]))])
}

/// Refuses routes that cannot complete a text, and says why.
fn check_route(route: &Route) -> Result<(), ApiError> {
    let elsewhere = route.targets.iter().position(|target| matches!(target, Target::Remote { .. }));
    let tier = elsewhere.and_then(|at| route.policy.tiers.get(at));
    let why = match tier {
        Some(tier) => {
            format!("its tier {} is a provider's, which answers turns and continues no text", tier.name)
        }
        None if route.policy.cascade.is_some() => "its cascade weighs the answers to chats".to_owned(),
        None => return Ok(()),
    };
    let message = format!(
        "this model is a route that completes no texts: {why}. Use /v1/chat/completions, or a model here by its name"
    );
    Err(ApiError::unsupported("model", message))
}

/// What a model here answers. Until something can be shown, the next may do what this one could not.
async fn answer(
    app: &Arc<App>,
    record: &Arc<Record>,
    route: &str,
    asked: &Arc<(Bytes, Value)>,
    (model, tier): (&str, &str),
    journey: &Journey,
) -> Result<(Generation, CompletionFormat, Delivery), ApiError> {
    let (record, asked, route) = (Arc::clone(record), Arc::clone(asked), route.to_owned());
    let (model, until) = (model.to_owned(), journey.deadline());
    let first = journey.asks_here(tier);
    let started = blocking(app, move |app| {
        let chosen = app.model(Some(&model))?;
        let (body, value) = &*asked;
        start(app, &record, &chosen, body, value, Whose::Route { name: &route, until })
    });
    let (generation, format, delivery) = started.await?;
    let mut generation = generation.timed(first);
    match delivery {
        _ if !journey.has_next() => {}
        Delivery::Stream(_) => drop(generation.hold(Some(1)).await?),
        Delivery::Whole => drop(generation.hold(None).await?),
    }
    Ok((generation, format, delivery))
}

fn stamp(tier: String, generation: &Generation, cost: Micros) -> Stamp {
    let receipt = match generation.stamp() {
        Stamp::Judged(receipt) => receipt,
        Stamp::Unjudged | Stamp::Routed(_) => None,
    };
    let provider = "local".to_owned();
    let (place, cache) = (Place::Local, CacheUse::Off);
    Stamp::Routed(Box::new(screen::Routed { tier, provider, place, receipt, cost: Some(cost), cache }))
}
