//! A chat that asks for a route: read and judged as any other, then answered by whichever tier the gateway's journey
//! leads to.
//!
//! The conversation is read against the route's local model, since that has to be able to answer whatever happens; so
//! what it refuses is refused here, wherever an answer could have come from. What a provider says is passed on event
//! by event ([`relay`]), or put together where a client wants it whole: chunks of Chat Completions as they came to
//! Chat's clients ([`chunks`], [`fold`]), and everything else through deltas ([`deltas`]). The headers tell who answers,
//! so they are sent when somebody does.

mod chunks;
mod comparing;
mod continuing;
mod deltas;
mod fold;
mod images;
mod judged;
mod relay;
mod sent;
mod way;

use std::sync::Arc;

use futures_util::stream;
use garrison_gateway::{
    Accepts, Ask, CacheUse, Delivery as Use, Destination, Exhausted, Keeping, LookedHere, Micros, Need,
    Needs, OnCut, Place, Remote, Route, Taint, Verdict, Words, digest, task_of,
};
use garrison_tokenizer::ChatInput;
use garrison_wire::Delta;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Client, Running, Whose, judge, read};
use crate::app::App;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::params::Delivery;
use crate::record::Record;
use crate::screen::{self, Screen, Stamp};
use crate::sse::{Frame, Production, Shape};
use continuing::{Again, Answer, Here};
use deltas::Deltas;
use relay::{Teller, relay, whole};
pub(super) use sent::unread;
use way::Way;

/// Fields that only Garrison's own models understand. Those that change no answer (`priority`, `cache_salt`) are not
/// among them.
const LOCAL_FIELDS: [&str; 12] = [
    "min_p",
    "repetition_penalty",
    "min_tokens",
    "ignore_eos",
    "stop_token_ids",
    "include_stop_str_in_output",
    "skip_special_tokens",
    "chat_template_kwargs",
    "prompt_logprobs",
    "return_token_ids",
    "structured_outputs",
    "logit_bias",
];

/// A chat on its way.
pub(crate) struct Routed {
    route: Arc<Route>,
    /// The chat, to be read again for whichever local model answers.
    chat: Value,
    client: Client,
    judged: Judged,
}

/// A chat that was read and judged.
struct Judged {
    ask: Ask,
    /// What became of the conversation.
    input: ChatInput,
    screen: Option<Screen>,
    delivery: Delivery,
    /// The client's stop strings.
    stop: Vec<String>,
}

impl Routed {
    /// Reads and judges it: `body` as it came, and what it says in Chat's words. It may block.
    pub(super) fn read(
        app: &App,
        record: &Arc<Record>,
        body: &[u8],
        chat: Value,
        client: Client,
        route: &Arc<Route>,
    ) -> Result<Routed, ApiError> {
        record.set_model(&route.name);
        match Routed::judged(app, record, body, &chat, &client, route) {
            Ok(judged) => Ok(Routed { route: Arc::clone(route), chat, client, judged }),
            Err(error) => Err(client.word(error)),
        }
    }

    fn judged(
        app: &App,
        record: &Arc<Record>,
        body: &[u8],
        chat: &Value,
        client: &Client,
        route: &Arc<Route>,
    ) -> Result<Judged, ApiError> {
        let texts = images::without(chat);
        let fields = Fields::root(texts.as_ref().unwrap_or(chat))?;
        let chosen = app.model(route.local_model())?;
        let (request, mut input) = read(&fields, &chosen.entry.model)?;
        if let Some(param) = request.params.names_tokens() {
            app.check_one_vocabulary(route, param)?;
        }
        let screen = judge(app, &request, &mut input, body, Whose::Route(&route.name, chat))?;
        let judged = screen.as_ref().is_some_and(Screen::judges);
        let needs = needs(fields.map(), judged);
        let needs = if texts.is_some() { needs.and(Need::Images) } else { needs };
        let key = record.key().to_owned();
        let whole = Fields::root(chat)?;
        app.config.quotas.saw(&key, || digest(whole.map()));
        let ask = Ask {
            id: record.id.clone(),
            taint: screen.as_ref().map_or(Taint::Clean, Screen::taint),
            output_tokens: request.params.max_tokens().map(u64::from),
            choices: request.params.n as usize,
            task: task_of(fields.map(), needs),
            needs,
            sticky: sticky(fields.string("user")?.unwrap_or(&key)),
            delivery: match request.params.delivery {
                Delivery::Whole => Use::Whole,
                Delivery::Stream(_) => Use::Stream,
            },
            words: match client {
                Client::Chat => Words::Chat,
                Client::Other(asked) => Words::Neutral(Box::new(asked.request.clone())),
            },
            chat: whole.map().clone(),
            key,
            tally: Arc::clone(&record.tally),
        };
        let stop = request.params.stop_strings().to_vec();
        Ok(Judged { ask, input, screen, delivery: request.params.delivery, stop })
    }

    /// Goes along the route until somebody answers.
    pub(crate) async fn run(self, app: &Arc<App>, record: &Arc<Record>) -> Result<Production, ApiError> {
        let Routed { route, chat, client, judged } = self;
        let Judged { ask, input, screen, delivery, stop } = judged;
        let receipt = screen.as_ref().and_then(Screen::receipt);
        let deltas_tell = deltas_tell(&ask);
        let can_go_on = deltas_tell && ask.delivery == Use::Stream;
        let on_cut = if can_go_on { route.on_cut } else { OnCut::Error };
        let listener = Listener { client, screen, delivery, stop, receipt, on_cut };
        if let Some(spend) = app.config.routes.spend() {
            spend.refresh(&ask.key).await;
        }
        let mut way = Way {
            delivery: ask.delivery,
            journey: app.config.routes.begin(&route, ask),
            app: Arc::clone(app),
            record: Arc::clone(record),
            shared: Arc::new((chat, input)),
            route: route.name.clone(),
        };
        record.set_trace(way.journey.trace());
        let mut refused = None;
        // What a model here has said and was not sure of; it goes on meanwhile.
        let mut in_hand = None;
        loop {
            let answers = match way.journey.next().await {
                Ok(answers) => answers,
                Err(exhausted) => {
                    let exhausted = || listener.client.word(nobody(app, record, &exhausted));
                    return Err(refused.unwrap_or_else(exhausted));
                }
            };
            match answers {
                Destination::Remote(remote) => {
                    let comparison = way.journey.comparison(remote.tier());
                    if let (Some((running, _)), Some(comparison)) = (in_hand.take(), comparison) {
                        // Nobody waits for the rest of it.
                        tokio::spawn(comparing::tell(running, comparison));
                    }
                    return remote_answer(*remote, way, listener).await;
                }
                Destination::InHand => {
                    let Some((running, tier)) = in_hand.take() else {
                        return Err(listener.client.word(ApiError::internal("the answer in hand is gone")));
                    };
                    return Ok(answered_here(running, tier, way, listener, None));
                }
                Destination::Local { model, tier, accepts } => {
                    let adapter = way.adapter(&model).map_err(|error| listener.client.word(error))?;
                    let mut keeping = None;
                    if deltas_tell && accepts == Accepts::Anything {
                        match way.look_up_here(&model, adapter, &tier).await {
                            LookedHere::Answer(said) => {
                                return Ok(answered_again(said, tier, way, listener));
                            }
                            LookedHere::Lead(leads) => keeping = Some(leads),
                            LookedHere::Off => {}
                        }
                    }
                    match way.answer_here(&model, &tier, accepts).await {
                        Ok((running, Verdict::Accepted)) => {
                            // Another adapter may have come under its name meanwhile.
                            let keeping = keeping.filter(|_| running.adapter == adapter);
                            return Ok(answered_here(running, tier, way, listener, keeping));
                        }
                        Ok((running, Verdict::Unsure | Verdict::Compared)) => in_hand = Some((running, tier)),
                        // Too many wait, the engine has failed, or it is too long here: another tier may do better.
                        Err(error) if error.may_pass_elsewhere() => {
                            way.journey.failed_here(&tier, error.why().to_owned());
                            refused = Some(listener.client.word(error));
                        }
                        Err(error) => return Err(listener.client.word(error)),
                    }
                }
            }
        }
    }
}

/// Whom an answer is given to, and what becomes of it on its way there.
struct Listener {
    client: Client,
    screen: Option<Screen>,
    delivery: Delivery,
    /// Its stop strings.
    stop: Vec<String>,
    /// Of the request, if it has one.
    receipt: Option<u64>,
    on_cut: OnCut,
}

/// Fields that ask for more than a text, which deltas do not tell of.
const BESIDE_TEXT: [&str; 3] = ["logprobs", "prompt_logprobs", "return_token_ids"];

/// Whether deltas tell all of an answer, so that another may go on with it and it can be given again. A form that a grammar
/// enforces begins at its beginning; of several answers and of tokens deltas do not tell; and calls are judged by the words of a
/// template.
fn deltas_tell(ask: &Ask) -> bool {
    let wants = |name: &&str| ask.chat.get(*name).is_some_and(|value| !value.is_null() && *value != false);
    ask.choices == 1
        && ![Need::Schema, Need::LocalJudgement].into_iter().any(|need| ask.needs.has(need))
        && !BESIDE_TEXT.iter().any(wants)
}

/// The answer of a model here; `keeping` is there if it is kept.
fn answered_here(
    running: Running,
    tier: String,
    way: Way,
    listener: Listener,
    keeping: Option<Keeping>,
) -> Production {
    way.journey.answered_here();
    let goes_on = listener.on_cut == OnCut::Continue && way.journey.has_others(&tier);
    // What it costs is not known before it is known who ends it.
    let cost = (!goes_on).then(|| way.journey.cost());
    let cache = if keeping.is_some() { CacheUse::Miss } else { CacheUse::Off };
    let stamp = stamp(tier.clone(), "local".into(), Place::Local, listener.receipt, cost, cache);
    if !goes_on && keeping.is_none() {
        return Production { stamp, ..running.screened(listener.screen).say_to(listener.client) };
    }
    let delivery = listener.delivery;
    let deltas = Deltas::new(listener, &way.route);
    let answer = Answer::Here(Box::new(Here::beginning(running, tier, &deltas, keeping)));
    told_in_deltas(answer, deltas, stamp, delivery, goes_on.then_some(way))
}

/// What a model here has said before. It is judged as it is now.
fn answered_again(said: Vec<Delta>, tier: String, way: Way, listener: Listener) -> Production {
    way.journey.answered_here();
    let (cost, cache) = (Some(way.journey.cost()), CacheUse::Exact);
    let stamp = stamp(tier.clone(), "local".into(), Place::Local, listener.receipt, cost, cache);
    let delivery = listener.delivery;
    let deltas = Deltas::new(listener, &way.route);
    told_in_deltas(Answer::Again(Again::new(tier, said)), deltas, stamp, delivery, None)
}

/// An answer from here that goes to its client as one from elsewhere does.
fn told_in_deltas(
    answer: Answer,
    deltas: Deltas,
    stamp: Stamp,
    delivery: Delivery,
    way: Option<Way>,
) -> Production {
    let dialect = deltas.dialect();
    let teller = Teller::Deltas(Box::new(deltas));
    match delivery {
        Delivery::Stream(_) => {
            Production { shape: Shape::Events(dialect), stamp, frames: relay(answer, teller, way) }
        }
        Delivery::Whole => Production {
            shape: Shape::Whole,
            stamp,
            frames: Box::pin(stream::once(async move {
                whole(answer, teller).await.map_or_else(Frame::Failed, Frame::data)
            })),
        },
    }
}

/// What a client is told whom nobody answers.
fn nobody(app: &App, record: &Record, exhausted: &Exhausted) -> ApiError {
    let error = ApiError::exhausted(exhausted);
    match (exhausted, app.config.routes.spend()) {
        (Exhausted::Budget, Some(spend)) => error.retry_in(spend.resets_in(record.key())),
        _ => error,
    }
}

/// The answer of a provider.
async fn remote_answer(remote: Remote, way: Way, listener: Listener) -> Result<Production, ApiError> {
    let (delivery, on_cut) = (listener.delivery, listener.on_cut);
    let (tier, provider) = (remote.tier().to_owned(), remote.provider().to_owned());
    let receipt = Some(remote.receipt());
    let cache = remote.cache();
    // What is given again has cost what it will.
    let cost = cache.is_hit().then(|| remote.cost());
    let teller = Teller::new(&remote, &way.route, listener);
    Ok(match delivery {
        Delivery::Stream(_) => Production {
            shape: Shape::Events(teller.dialect()),
            stamp: stamp(tier, provider, Place::Remote, receipt, cost, cache),
            frames: relay(
                Answer::There(Box::new(remote)),
                teller,
                (on_cut == OnCut::Continue).then_some(way),
            ),
        },
        Delivery::Whole => {
            let cost = remote.cost();
            let frame = Frame::data(whole(Answer::There(Box::new(remote)), teller).await?);
            Production {
                shape: Shape::Whole,
                stamp: stamp(tier, provider, Place::Remote, receipt, Some(cost), cache),
                frames: Box::pin(stream::once(async move { frame })),
            }
        }
    })
}

/// What a chat wants of a tier.
fn needs(chat: &Map<String, Value>, judged: bool) -> Needs {
    let has = |name: &str| chat.get(name).is_some_and(|value| !value.is_null());
    let tools = chat.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty());
    let wanted = [
        (Need::Tools, tools),
        (Need::Schema, has("response_format") && chat["response_format"]["type"] != "text"),
        (Need::TopK, has("top_k")),
        (Need::LocalParameters, LOCAL_FIELDS.iter().any(|field| has(field))),
        // The judge of answers knows calls by the syntax of templates here, and what tokens a provider tells of are it cannot
        // know.
        (Need::LocalJudgement, judged && (tools || chat.get("logprobs").is_some_and(|asked| *asked == true))),
    ];
    wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(need, _)| need).collect()
}

/// The same number for the same user in every build.
pub(crate) fn sticky(user: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(user.as_bytes()).into();
    digest[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn stamp(
    tier: String,
    provider: String,
    place: Place,
    receipt: Option<u64>,
    cost: Option<Micros>,
    cache: CacheUse,
) -> Stamp {
    Stamp::Routed(Box::new(screen::Routed { tier, provider, place, receipt, cost, cache }))
}
