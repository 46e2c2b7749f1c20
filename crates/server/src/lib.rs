//! HTTP in front of the engine: OpenAI's API, Anthropic's Messages, vLLM's tokenizer endpoints, probes and metrics.
//!
//! The only crate that knows HTTP. A request passes [`gate`] (id, origin, key,
//! draining), its body is taken in by [`body`], read field by field by [`fields`] and [`params`]
//! into valid types, rendered and tokenized on a blocking thread, and launched as one or more
//! sequences. Before that the [gateway](garrison_gateway) judges what is asked, and what is answered on its
//! way back ([`screen`]). A model's name can be a route, whose answer may come from elsewhere ([`chat`]'s `routed`). What sequences emit comes back through [`generation`] as pieces, is written as JSON by
//! the endpoint's `Format`, and leaves as one object or as server-sent events ([`sse`]), through a
//! recording ([`replay`]) if the client sent an `Idempotency-Key`. What another API's clients ask and are answered is
//! [translated](garrison_wire) on the way.
//!
//! Unknown fields are ignored; known ones that this version does not do are refused. With API keys
//! in use, `/metrics` needs one, too.
//!
//! Deliberately absent: choosing models or devices, reading files, TLS (a proxy's job so far).
#![forbid(unsafe_code)]

mod app;
mod config;
mod model;

mod connection;
mod drain;
mod gate;
mod lanes;
mod limits;

mod auth;
mod body;
mod cors;
mod error;

mod fields;
mod params;
mod screen;
mod structured;

mod adapters;
mod chat;
mod check;
mod completions;
mod info;
mod moderations;
mod requests;
mod tokenize;

mod answer;
mod attempts;
mod envelope;
mod generation;
mod launch;
mod replay;
mod sse;

mod ids;
mod metrics;
mod record;
mod telemetry;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use garrison_gateway::{Routes, Target};
use tokio::net::TcpListener;
use tokio::sync::watch;

use lanes::Lanes;

pub use adapters::{Adapters, FindAdapter, ReadAdapter};
pub use auth::{ApiKeys, ApiKeysError};
pub use check::{Endpoint, check_body};
pub use config::{Limits, ServerConfig, SharePrefixes, Times};
pub use model::ServedModel;

/// How long connections get to close after the last answer.
const CLOSING_PATIENCE: Duration = Duration::from_secs(2);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The system's reason.
        error: std::io::Error,
    },
    /// There are no threads to serve on.
    #[error("no threads can be started to serve connections: {0}")]
    Threads(std::io::Error),
    /// There is nothing to serve.
    #[error("there is no model to serve")]
    NoModel,
    /// Clients could not tell two models apart.
    #[error("two models are called \"{0}\"; give each a name of its own")]
    DuplicateModel(String),
    /// A route leads nowhere.
    #[error("the route \"{route}\" has the tier local/{model}, but there is no such model")]
    NoSuchTier {
        /// The route's name.
        route: String,
        /// What is missing.
        model: String,
    },
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every accepted request was answered.
    Completely,
    /// The time for it ran out, and answers were cut off.
    Partly,
}

/// A server that listens but does not answer yet.
pub struct Server {
    live: app::Live,
    listener: TcpListener,
    lanes: Lanes,
    address: SocketAddr,
}

/// Changes what a running server serves by.
#[derive(Clone)]
pub struct Reloader(app::Live);

impl Reloader {
    /// Serves by another configuration from the next request on; requests that have begun keep theirs. The models stay,
    /// and so do the bounds and times that the server started with, but for that of a request.
    ///
    /// # Errors
    /// If a route leads nowhere. Then nothing has changed.
    pub fn replace(&self, config: ServerConfig) -> Result<(), ServeError> {
        let app = self.0.now();
        check_routes(&config.routes, app.models.iter().map(|entry| &entry.model))?;
        self.0.replace(config);
        Ok(())
    }
}

/// Routes have names of their own, and lead to models that there are.
fn check_routes<'a>(
    routes: &Routes,
    models: impl Iterator<Item = &'a ServedModel> + Clone,
) -> Result<(), ServeError> {
    let known =
        |name: &str| models.clone().any(|model| model.name == name || model.adapters.find(name).is_some());
    for route in routes.all() {
        if known(&route.name) {
            return Err(ServeError::DuplicateModel(route.name.clone()));
        }
        for target in &route.targets {
            match target {
                Target::Local(model) if !known(model) => {
                    let (route, model) = (route.name.clone(), model.clone());
                    return Err(ServeError::NoSuchTier { route, model });
                }
                Target::Local(_) | Target::Remote { .. } => {}
            }
        }
    }
    Ok(())
}

impl Server {
    /// Binds `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// If the address cannot be had, or the models have no distinct names.
    pub async fn bind(
        config: ServerConfig,
        models: Vec<ServedModel>,
        address: SocketAddr,
    ) -> Result<Server, ServeError> {
        if models.is_empty() {
            return Err(ServeError::NoModel);
        }
        for (i, model) in models.iter().enumerate() {
            if models[..i].iter().any(|other| other.name == model.name) {
                return Err(ServeError::DuplicateModel(model.name.clone()));
            }
        }
        check_routes(&config.routes, models.iter())?;
        let bind_error = |error| ServeError::Bind { address, error };
        let listener = TcpListener::bind(address).await.map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let lanes = Lanes::start(config.times.awake).map_err(ServeError::Threads)?;
        Ok(Server { live: app::Live::new(app::App::new(config, models, address)), listener, lanes, address })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What changes the configuration while it serves.
    pub fn reloader(&self) -> Reloader {
        Reloader(self.live.clone())
    }

    /// Answers until `shutdown` resolves; then refuses new requests with 503, finishes the running
    /// ones (for [`Times::drain`] at most), stops the engines, and returns.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Drained {
        let Server { live, listener, lanes, .. } = self;
        // What is used of it here is the same in all that come after it.
        let app = live.now();
        let (limits, times) = (app.config.limits, app.config.times);
        let (close, closing) = watch::channel(false);
        let router = app::router(live);
        let service = connection::Service { router, limits, times, closing };
        let accepting = tokio::spawn(connection::accept(listener, lanes, service, CLOSING_PATIENCE));

        shutdown.await;
        app.drain.begin();
        let drained = match tokio::time::timeout(times.drain, app.drain.idle()).await {
            Ok(()) => Drained::Completely,
            Err(_) => Drained::Partly,
        };
        // Ends what runs on for clients that are gone; clients that are here are told.
        let engines = Arc::clone(&app);
        let stopped = tokio::task::spawn_blocking(move || {
            for entry in &engines.models {
                entry.model.engine.stop();
            }
        });
        let _ = stopped.await;
        let _ = tokio::time::timeout(CLOSING_PATIENCE, app.drain.idle()).await;
        let _ = close.send(true);
        let _ = accepting.await;
        drained
    }
}
