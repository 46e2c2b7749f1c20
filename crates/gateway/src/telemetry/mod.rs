//! Traces and metrics for OpenTelemetry, in the terms of its GenAI conventions
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/>), over OTLP/HTTP in JSON
//! (<https://opentelemetry.io/docs/specs/otlp/>). Names, numbers and times; never content.
//!
//! Requests never wait for it: what ends is put into a bounded queue, and what has no room is counted and lost. One thread
//! sends.

mod otlp;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::post::{PostError, Poster, Whom};
use crate::trace::Attempt;

/// Requests that wait to be sent, at most.
const MOST_WAITING: usize = 2048;
/// Requests that are sent together, at most.
const MOST_TOGETHER: usize = 256;
/// How long a request waits for others.
const GATHER: Duration = Duration::from_millis(500);
/// How often metrics are sent.
const EVERY: Duration = Duration::from_secs(10);
const COLLECTOR: Whom = Whom { setting: "otlp", name: "the collector", time: Duration::from_secs(5) };

/// A trace that a client has begun: its id, and its span's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// W3C's trace id.
    pub trace: [u8; 16],
    /// Of the client's span.
    pub span: [u8; 8],
}

impl Parent {
    /// Of a `traceparent` header (<https://www.w3.org/TR/trace-context/>).
    pub fn parse(header: &str) -> Option<Parent> {
        let mut parts = header.trim().split('-');
        let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
        if version.len() != 2 || version == "ff" {
            return None;
        }
        let parent = Parent { trace: bytes(trace)?, span: bytes(span)? };
        (parent.trace != [0; 16] && parent.span != [0; 8]).then_some(parent)
    }
}

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    if hex.len() != 2 * N || !hex.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()) {
        return None;
    }
    let mut out = [0; N];
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(out)
}

/// A request that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What the client's trace is, if it has one.
    pub parent: Option<Parent>,
    /// The request's id.
    pub id: String,
    /// `chat` or `text_completion`.
    pub operation: &'static str,
    /// The path that it came to.
    pub path: &'static str,
    /// What the client asked for.
    pub model: String,
    /// Who answered: a provider's name, or `garrison`.
    pub provider: String,
    /// What the tier is called that answered, if it went along a route.
    pub tier: Option<String>,
    /// `local` or `cleared`, if it went along a route.
    pub privacy: Option<&'static str>,
    /// `exact` if an earlier answer was given again.
    pub cache: Option<&'static str>,
    /// When it came.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// To its first token, if there was one.
    pub first_token: Option<Duration>,
    /// The HTTP status.
    pub status: u16,
    /// Whether its answer was sent to its end.
    pub complete: bool,
    /// Of the prompt.
    pub input_tokens: u64,
    /// Of the answer.
    pub output_tokens: u64,
    /// What it cost, in millionths of a US dollar.
    pub cost_micro_usd: u64,
    /// What happened on the way, and when after it came: stages, and the tiers they are about.
    pub stages: Vec<(Duration, &'static str, Option<String>)>,
    /// What tiers elsewhere were asked on the way.
    pub attempts: Vec<Attempt>,
}

/// Where what has ended is told.
#[derive(Debug)]
pub struct Telemetry {
    queue: SyncSender<Ended>,
    lost: AtomicU64,
}

impl Telemetry {
    /// Tells a collector at a URL, up to and without `/v1/traces`.
    ///
    /// # Errors
    /// If the URL is none, or there is no thread to send from.
    pub fn new(otlp: &str) -> Result<Arc<Telemetry>, PostError> {
        Telemetry::sending(otlp, EVERY)
    }

    /// The same with metrics that often.
    ///
    /// # Errors
    /// As [`Telemetry::new`].
    pub fn sending(otlp: &str, every: Duration) -> Result<Arc<Telemetry>, PostError> {
        let (queue, ended) = sync_channel(MOST_WAITING);
        let export = move |poster| export(Collector { poster, silent: false }, &ended, every);
        COLLECTOR.on_a_thread(otlp.trim_end_matches('/'), "telemetry", export)?;
        Ok(Arc::new(Telemetry { queue, lost: AtomicU64::new(0) }))
    }

    /// Tells of a request that has ended, if there is room.
    pub fn tell(&self, ended: Ended) {
        if self.queue.try_send(ended).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Requests that were not told of, since too many waited.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

struct Collector {
    poster: Poster,
    /// Whether it did not take what was sent last, so that this is logged once.
    silent: bool,
}

impl Collector {
    /// Sends; what is not taken is lost, since there will be more.
    fn send(&mut self, path: &str, body: &Value) {
        let taken = self.poster.post(path, body);
        if !taken && !self.silent {
            tracing::warn!("the OpenTelemetry collector does not take what is sent");
        }
        self.silent = !taken;
    }
}

/// What all requests so far make together, by what the conventions tell them apart by.
type Sums = BTreeMap<otlp::Labels, otlp::Sum>;

fn export(mut collector: Collector, ended: &Receiver<Ended>, every: Duration) {
    let began = SystemTime::now();
    let mut sums = Sums::new();
    let mut due = Instant::now() + every;
    loop {
        let mut together = Vec::new();
        let open = gather(ended, due, &mut together);
        if !together.is_empty() {
            together.iter().for_each(|one| otlp::add(&mut sums, one));
            collector.send("/v1/traces", &otlp::traces(&together));
        }
        if Instant::now() >= due || !open {
            due = Instant::now() + every;
            if !sums.is_empty() {
                collector.send("/v1/metrics", &otlp::metrics(&sums, began, SystemTime::now()));
            }
        }
        if !open {
            return;
        }
    }
}

/// Takes what has ended until it is enough, or metrics are due. False once nothing more can come.
fn gather(ended: &Receiver<Ended>, due: Instant, together: &mut Vec<Ended>) -> bool {
    let mut until = due;
    while together.len() < MOST_TOGETHER {
        match ended.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(one) => {
                if together.is_empty() {
                    until = until.min(Instant::now() + GATHER);
                }
                together.push(one);
            }
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}
