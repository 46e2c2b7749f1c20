//! What the server is told when it starts. Every bound it keeps is stated here.

use std::sync::Arc;
use std::time::Duration;

use garrison_gateway::{Gateway, Quotas, Routes, Telemetry};

use crate::auth::ApiKeys;

/// How the server behaves. [`ServerConfig::default`] is a sound choice for one machine.
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {
    /// Keys that open it; none lets everyone in.
    pub api_keys: ApiKeys,
    /// Browser origins that may use it, like `https://chat.example.org`; `*` is any. None: a page
    /// of another origin is refused.
    pub cors_origins: Vec<String>,
    /// Names, beside `localhost` and addresses, that a server on a loopback address answers to: those that
    /// a proxy passes on. A page whose name was made to resolve to this machine is refused by this.
    pub host_names: Vec<String>,
    /// Whether a request finds what requests with other keys left in the prefix cache.
    pub share_prefixes: SharePrefixes,
    /// Judges what is asked and answered.
    pub gateway: Arc<Gateway>,
    /// What clients call models and are policies over models here and elsewhere.
    pub routes: Arc<Routes>,
    /// What each key may use.
    pub quotas: Arc<Quotas>,
    /// Who is told of requests that have ended, besides the log.
    pub telemetry: Option<Arc<Telemetry>>,
    /// Bounds of what clients can use up.
    pub limits: Limits,
    /// Times after which the server stops waiting.
    pub times: Times,
}

/// Who finds whose prefixes in the cache. A prefix that is found shows in `cached_tokens` and in the time
/// that a request takes, so whoever shares prefixes can learn what others have sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharePrefixes {
    /// Each API key its own. Without keys everyone is one caller.
    #[default]
    WithinKey,
    /// Everyone everybody's, but for what a `cache_salt` keeps apart.
    BetweenKeys,
}

/// Bounds of what clients can use up. A request that goes over one is refused; no other notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one body; more is 413.
    pub body_bytes: usize,
    /// Bytes that the values of one body's JSON may take, by estimate; more is 413.
    pub body_tree_bytes: usize,
    /// Bytes of all bodies that are being received or read at one time, and of their values; more is 429.
    pub bodies_bytes: usize,
    /// Bytes of a request's line and headers together; more is 431.
    pub header_bytes: usize,
    /// Headers of one request; more is 431.
    pub headers: usize,
    /// Connections at one time; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Prompts rendered and tokenized at one time, each on a thread of its own; further ones wait.
    pub prompt_workers: usize,
    /// Sequences one request may start: prompts times `n`.
    pub sequences: usize,
    /// Requests with an `Idempotency-Key` that are running or kept; more is 429.
    pub recordings: usize,
    /// Bytes of events kept per request with an `Idempotency-Key`; older ones are dropped.
    pub recording_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body_bytes: 16 << 20,
            body_tree_bytes: 64 << 20,
            bodies_bytes: 256 << 20,
            header_bytes: 64 << 10,
            headers: 100,
            connections: 4096,
            prompt_workers: std::thread::available_parallelism().map_or(4, usize::from).min(16),
            sequences: 512,
            recordings: 256,
            recording_bytes: 1 << 20,
        }
    }
}

/// Times after which the server stops waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// For a request's headers, from the connection's start or the end of the last answer; so this
    /// is also how long an idle connection is kept.
    pub headers: Duration,
    /// For a request's whole body, from its headers; then 408.
    pub body: Duration,
    /// For a client to take more of an answer; then its connection is cut.
    pub write: Duration,
    /// Silence after which a stream gets a comment line, so that proxies keep it.
    pub heartbeat: Duration,
    /// How long an answer with an `Idempotency-Key` is kept after its end, and how long its
    /// generation goes on while nobody reads it.
    pub replay: Duration,
    /// For a request, from its arrival to the end of its answer; then 504, or an error event in a
    /// stream. `None` waits as long as the client does.
    pub request: Option<Duration>,
    /// For running requests once the server was told to stop; then they are cut.
    pub drain: Duration,
    /// How long a thread that serves connections looks for more before it sleeps. Zero sleeps at once.
    pub awake: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Times {
            headers: Duration::from_secs(30),
            body: Duration::from_secs(30),
            write: Duration::from_secs(60),
            heartbeat: Duration::from_secs(15),
            replay: Duration::from_secs(60),
            request: None,
            drain: Duration::from_secs(300),
            awake: Duration::ZERO,
        }
    }
}
