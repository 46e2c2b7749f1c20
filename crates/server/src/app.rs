//! The server's state and its routes.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use axum::Router;
use axum::extract::{FromRef, OriginalUri, State};
use axum::http::Method;
use axum::routing::{get, post};
use garrison_engine::AdapterHandle;
use garrison_gateway::{Route, Target};
use tokio::sync::Semaphore;

use crate::body::BodyReader;
use crate::config::{ServerConfig, SharePrefixes, Times};
use crate::cors::HostNames;
use crate::drain::Drain;
use crate::error::ApiError;
use crate::metrics::{HttpMetrics, ModelMetrics};
use crate::model::ServedModel;
use crate::record::Record;
use crate::replay::Replays;
use crate::sse::Dialect;
use crate::{adapters, chat, completions, gate, info, moderations, requests, tokenize};

/// Everything requests share.
pub(crate) struct App {
    pub(crate) config: ServerConfig,
    pub(crate) hosts: HostNames,
    /// At least one, with different names.
    pub(crate) models: Vec<Arc<Entry>>,
    pub(crate) bodies: Arc<BodyReader>,
    /// Bounds the prompts that are worked on at one time.
    pub(crate) workers: Arc<Semaphore>,
    /// One adapter is loaded at a time, so two cannot get the same name.
    pub(crate) loader: Arc<Semaphore>,
    /// Adapters that are looked for at one time: one of each model may be downloaded, and others are found at once.
    pub(crate) finders: Arc<Semaphore>,
    pub(crate) replays: Arc<Replays>,
    pub(crate) drain: Drain,
    pub(crate) http: Arc<HttpMetrics>,
    address: SocketAddr,
}

/// What requests share at present. A request keeps what it began with.
#[derive(Clone)]
pub(crate) struct Live(Arc<RwLock<Arc<App>>>);

impl Live {
    pub(crate) fn new(app: App) -> Live {
        Live(Arc::new(RwLock::new(Arc::new(app))))
    }

    pub(crate) fn now(&self) -> Arc<App> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves by another configuration from the next request on.
    pub(crate) fn replace(&self, config: ServerConfig) {
        let mut app = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *app = Arc::new(app.succeeded_by(config));
    }
}

impl FromRef<Live> for Arc<App> {
    fn from_ref(live: &Live) -> Arc<App> {
        live.now()
    }
}

/// A model and what is counted about it.
pub(crate) struct Entry {
    pub(crate) model: ServedModel,
    pub(crate) metrics: Arc<ModelMetrics>,
    /// Bounds the answers that are checked at one time. Prompts do not wait for these, nor these for prompts.
    pub(crate) checkers: Arc<Semaphore>,
}

impl Entry {
    fn new(model: ServedModel, checkers: &Arc<Semaphore>) -> Entry {
        Entry { model, metrics: Arc::new(ModelMetrics::new()), checkers: Arc::clone(checkers) }
    }
}

/// What a request is answered with.
pub(crate) struct Chosen<'a> {
    pub(crate) entry: &'a Arc<Entry>,
    /// Its name, and what that stands for now.
    adapter: Option<(String, AdapterHandle)>,
}

impl Chosen<'_> {
    /// As clients write it.
    pub(crate) fn name(&self) -> &str {
        self.adapter.as_ref().map_or(&self.entry.model.name, |(name, _)| name)
    }

    /// The adapter, if it is not the model alone.
    pub(crate) fn adapter(&self) -> Option<&AdapterHandle> {
        self.adapter.as_ref().map(|(_, handle)| handle)
    }
}

/// Paths that answer without a key: they say nothing about anyone's requests.
pub(crate) const OPEN_ROUTES: [&str; 3] = ["/health", "/ready", "/version"];

/// Every path served, as logs and metrics name them.
pub(crate) const ROUTES: [&str; 18] = [
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
    "/v1/completions",
    "/v1/moderations",
    "/v1/models",
    "/v1/models/{id}",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/v1/garrison/requests/{id}",
    "/tokenize",
    "/detokenize",
    "/tokenizer_info",
    "/health",
    "/ready",
    "/metrics",
    "/version",
];

impl App {
    /// A server that listens at `address`.
    pub(crate) fn new(config: ServerConfig, models: Vec<ServedModel>, address: SocketAddr) -> App {
        let workers = || Arc::new(Semaphore::new(config.limits.prompt_workers.max(1)));
        let checkers = workers();
        let models: Vec<_> = models.into_iter().map(|model| Arc::new(Entry::new(model, &checkers))).collect();
        App {
            hosts: HostNames::of(address, &config.host_names),
            bodies: Arc::new(BodyReader::new(&config.limits, &config.times)),
            workers: workers(),
            loader: Arc::new(Semaphore::new(1)),
            finders: Arc::new(Semaphore::new(models.len() + 1)),
            replays: Replays::new(&config.limits, &config.times),
            drain: Drain::new(),
            http: Arc::default(),
            models,
            config,
            address,
        }
    }

    /// The same by another configuration. What is bounded over all requests stays, as do models, recordings and counts;
    /// so do the bounds and times that were set when the server started, but for that of a request.
    fn succeeded_by(&self, config: ServerConfig) -> App {
        let times = Times { request: config.times.request, ..self.config.times };
        App {
            hosts: HostNames::of(self.address, &config.host_names),
            bodies: Arc::clone(&self.bodies),
            workers: Arc::clone(&self.workers),
            loader: Arc::clone(&self.loader),
            finders: Arc::clone(&self.finders),
            replays: Arc::clone(&self.replays),
            drain: self.drain.clone(),
            http: Arc::clone(&self.http),
            models: self.models.clone(),
            config: ServerConfig { limits: self.config.limits, times, ..config },
            address: self.address,
        }
    }

    /// When a request is given up.
    pub(crate) fn deadline(&self, record: &Record) -> Option<Instant> {
        record.arrived().checked_add(self.config.times.request?)
    }

    /// What a request shares cached prefixes by: the salt that it `asked` for, within its API key's own
    /// unless keys share. A key's name has no slash, so no salt reaches another key's.
    pub(crate) fn cache_salt(&self, record: &Record, asked: &str) -> String {
        match self.config.share_prefixes {
            SharePrefixes::WithinKey if !self.config.api_keys.is_empty() => {
                format!("{}/{asked}", record.key())
            }
            SharePrefixes::WithinKey | SharePrefixes::BetweenKeys => asked.to_owned(),
        }
    }

    /// Fails unless the key that a request came with may ask for `model`: a model, an adapter or a route.
    pub(crate) fn check_allowed(&self, record: &Record, model: &str) -> Result<(), ApiError> {
        if self.config.quotas.allows(record.key(), model) {
            Ok(())
        } else {
            Err(ApiError::not_allowed(model))
        }
    }

    /// Fails unless token ids, as `param` has some, say the same to all models here that a route may ask.
    pub(crate) fn check_one_vocabulary(&self, route: &Route, param: &str) -> Result<(), ApiError> {
        let read_by = &self.model(route.local_model())?.entry.model;
        for target in &route.targets {
            let Target::Local(name) = target else { continue };
            let other = &self.model(Some(name))?.entry.model;
            let one = Arc::ptr_eq(&read_by.tokenizer, &other.tokenizer);
            if !one && !read_by.tokenizer.same_tokens(&other.tokenizer) {
                let message = format!(
                    "{param} has token ids, and the models {} and {} of this route have different tokens. Ask one of them by \
                     its name",
                    read_by.name, other.name
                );
                return Err(ApiError::unsupported(param, message));
            }
        }
        Ok(())
    }

    /// The model or adapter a request names; the first model if it names none, as vLLM has it.
    pub(crate) fn model(&self, name: Option<&str>) -> Result<Chosen<'_>, ApiError> {
        let plain = |entry| Chosen { entry, adapter: None };
        let adapted = |name: &str| {
            self.models.iter().find_map(|entry| {
                Some(Chosen {
                    entry,
                    adapter: Some((name.to_owned(), entry.model.adapters.find(name)?.handle)),
                })
            })
        };
        let found = match name {
            None => self.models.first().map(plain),
            Some(name) => {
                let model = self.models.iter().find(|entry| entry.model.name == name);
                model.map(plain).or_else(|| adapted(name))
            }
        };
        found.ok_or_else(|| {
            let adapters = self.models.iter().flat_map(|entry| entry.model.adapters.names());
            let models = self.models.iter().map(|entry| entry.model.name.clone());
            let routes = self.config.routes.all().map(|route| route.name.clone());
            let known: Vec<String> = models.chain(adapters).chain(routes).collect();
            let asked: String = name.unwrap_or_default().chars().take(100).collect();
            ApiError::no_model(&asked, &known)
        })
    }
}

/// All routes, each behind the gate.
pub(crate) fn router(live: Live) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/messages", post(chat::create_message))
        .route("/v1/messages/count_tokens", post(chat::count_tokens))
        .route("/v1/responses", post(chat::create_response))
        .route("/v1/completions", post(completions::create))
        .route("/v1/moderations", post(moderations::create))
        .route("/v1/models", get(info::models))
        // Names of models may have slashes, as on Hugging Face.
        .route("/v1/models/{*id}", get(info::model))
        .route("/v1/load_lora_adapter", post(adapters::load))
        .route("/v1/unload_lora_adapter", post(adapters::unload))
        .route("/v1/garrison/requests/{id}", get(requests::show))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/tokenizer_info", get(tokenize::tokenizer_info))
        .route("/health", get(info::health))
        .route("/ready", get(info::ready))
        .route("/metrics", get(info::metrics))
        .route("/version", get(info::version))
        .fallback(|OriginalUri(uri): OriginalUri| async move { ApiError::no_route(uri.path()) })
        .method_not_allowed_fallback(|method: Method, OriginalUri(uri): OriginalUri| async move {
            ApiError::method(method.as_str(), uri.path())
        })
        .layer(axum::middleware::from_fn_with_state(live.clone(), gate::pass))
        .with_state(live)
}

/// The name of the route that serves `path`.
pub(crate) fn route_of(path: &str) -> &'static str {
    let exact = ROUTES.into_iter().find(|route| *route == path);
    match exact {
        Some(route) => route,
        None if path.starts_with("/v1/models/") => "/v1/models/{id}",
        None if path.starts_with("/v1/garrison/requests/") => "/v1/garrison/requests/{id}",
        None => "other",
    }
}

/// Whose clients ask for a route.
pub(crate) fn dialect_of(route: &str) -> Dialect {
    match route {
        "/v1/messages" | "/v1/messages/count_tokens" => Dialect::Messages,
        "/v1/responses" => Dialect::Responses,
        _ => Dialect::Chat,
    }
}

/// What handlers take as their first argument.
pub(crate) type Shared = State<Arc<App>>;
