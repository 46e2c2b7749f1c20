//! How a generation becomes a response: the part that chat and completions share.
//!
//! [`handle`] takes a body in, has its prompt worked on by a thread that may block (unless it is for a route and short,
//! when waking one would take longer than the work), and delivers what comes of it, through a recording if the request has an `Idempotency-Key`. [`produce`]
//! turns a [`Generation`] into frames, in whichever JSON a [`Format`] writes.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::app::App;
use crate::body::Received;
use crate::chat::routed::Routed;
use crate::completions::RoutedCompletion;
use crate::error::ApiError;
use crate::gate::Passed;
use crate::generation::{Generation, Piece, Totals};
use crate::limits;
use crate::params::{Delivery, StreamUsage};
use crate::record::Record;
use crate::replay::{MAX_KEY_BYTES, Opened, Recording};
use crate::sse::{Dialect, Frame, Production, Shape, number, respond};

/// The JSON of one endpoint's answers.
pub(crate) trait Format: Send + 'static {
    /// Whose streams and errors it writes.
    fn dialect(&self) -> Dialect;

    /// The frames that one piece makes in a stream; `closing` is there if these are the stream's last that say
    /// something.
    fn chunks(&mut self, choice: usize, piece: Piece, closing: Option<&Totals>) -> Vec<Frame>;

    /// The frame at the end that only says what was used.
    fn usage_chunk(&mut self, totals: &Totals) -> Frame;

    /// The last frame of a stream that breaks.
    fn failed(&mut self, error: ApiError) -> Frame {
        Frame::Failed(error)
    }

    /// The answer as one object, a JSON text, from everything each choice has.
    fn whole(&mut self, choices: Vec<Piece>, totals: &Totals) -> String;
}

/// Turns a generation into frames.
pub(crate) fn produce(generation: Generation, format: impl Format, delivery: Delivery) -> Production {
    let stamp = generation.stamp();
    match delivery {
        Delivery::Whole => Production {
            shape: Shape::Whole,
            stamp,
            frames: Box::pin(stream::once(async move {
                match collect(generation, format).await {
                    Ok(json) => Frame::Data(json.into()),
                    Err(error) => Frame::Failed(error),
                }
            })),
        },
        Delivery::Stream(usage) => {
            let dialect = format.dialect();
            let events = Events { generation, format, usage, ready: VecDeque::new(), ended: false };
            let frames =
                stream::unfold(events, |mut events| async move { Some((events.next().await?, events)) });
            Production { shape: Shape::Events(dialect), stamp, frames: Box::pin(frames) }
        }
    }
}

async fn collect(mut generation: Generation, mut format: impl Format) -> Result<String, ApiError> {
    let mut choices = vec![Piece::default(); generation.choices()];
    while let Some(gained) = generation.next().await {
        let (choice, piece) = gained?;
        choices[choice].absorb(piece);
    }
    let totals = generation.totals().ok_or_else(broke_off)?;
    Ok(format.whole(choices, &totals))
}

fn broke_off() -> ApiError {
    ApiError::internal("the engine ended this request without a reason")
}

/// A stream's frames.
struct Events<F> {
    generation: Generation,
    format: F,
    usage: StreamUsage,
    ready: VecDeque<Frame>,
    ended: bool,
}

impl<F: Format> Events<F> {
    async fn next(&mut self) -> Option<Frame> {
        while self.ready.is_empty() && !self.ended {
            self.advance().await;
        }
        self.ready.pop_front()
    }

    async fn advance(&mut self) {
        match self.generation.next().await {
            Some(Ok((choice, piece))) => {
                let totals = piece.finish.as_ref().and_then(|_| self.generation.totals());
                let closing = totals.as_ref().filter(|_| self.usage == StreamUsage::Omit);
                self.ready.extend(self.format.chunks(choice, piece, closing));
                if let Some(totals) = &totals {
                    if self.usage == StreamUsage::Include {
                        self.ready.push_back(self.format.usage_chunk(totals));
                    }
                    self.ready.push_back(Frame::Done);
                    self.ended = true;
                }
            }
            Some(Err(error)) => self.fail(error),
            None => self.fail(broke_off()),
        }
    }

    fn fail(&mut self, error: ApiError) {
        self.ready.push_back(self.format.failed(error));
        self.ended = true;
    }
}

/// What an endpoint does with a body. It takes as long as the body is, and leaves to [`Begun::Later`] what may take
/// longer or wait.
pub(crate) type Prepare = fn(&App, &Arc<Record>, &Bytes) -> Result<Begun, ApiError>;

/// What is left to do, for a thread that may block.
pub(crate) type Work = Box<dyn FnOnce(&App) -> Result<Prepared, ApiError> + Send>;

/// Bytes of a body that is read where it came in, at most.
const QUICK_BODY: usize = 4 << 10;

/// How far a body was worked on where it came in.
pub(crate) enum Begun {
    /// To the end.
    Ready(Prepared),
    /// There is more to do, which may block.
    Later(Work),
}

/// What comes of a body.
pub(crate) enum Prepared {
    /// Sequences run.
    Running(Production),
    /// It asks for a route, which has to be gone along.
    Routed(Box<Routed>),
    /// The same of a text that is to be continued.
    RoutedCompletion(Box<RoutedCompletion>),
}

/// Answers a request for generated text.
pub(crate) async fn handle(
    app: Arc<App>,
    passed: Passed,
    route: &'static str,
    headers: HeaderMap,
    body: Body,
    prepare: Prepare,
) -> Result<Response, ApiError> {
    let resume = Resume::of(&headers)?;
    let received = app.bodies.read(body).await?;
    let heartbeat = app.config.times.heartbeat;
    let Some(resume) = resume else {
        let production = work(&app, passed.record, received, prepare).await?;
        let Production { shape, stamp, frames } = production;
        return Ok(respond(shape, stamp, number(frames), heartbeat).await);
    };
    let digest = digest(route, &received.bytes);
    let recording = match resume.after {
        Some(_) => app.replays.find(&passed.caller, &resume.key, digest)?,
        None => record(&app, &passed, &resume.key, digest, received, prepare).await?,
    };
    let (shape, stamp, frames) = recording.read(resume.after.unwrap_or(0)).await?;
    Ok(respond(shape, stamp, frames, heartbeat).await)
}

/// The recording of a request: the one that exists, or a new one.
async fn record(
    app: &Arc<App>,
    passed: &Passed,
    key: &str,
    digest: [u8; 32],
    received: Received,
    prepare: Prepare,
) -> Result<Arc<Recording>, ApiError> {
    let starting = match app.replays.open(&passed.caller, key, digest)? {
        Opened::Known(recording) => return Ok(recording),
        Opened::New(starting) => starting,
    };
    match work(app, Arc::clone(&passed.record), received, prepare).await {
        Ok(production) => Ok(starting.start(production)),
        Err(error) => {
            starting.refuse(error.clone());
            Err(error)
        }
    }
}

/// Runs blocking work on a thread of its own, so many at a time.
pub(crate) async fn blocking<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    blocking_on(&app.workers, app, work).await
}

/// The same, with a place among those who do other work.
pub(crate) async fn blocking_on<T: Send + 'static>(
    places: &Arc<Semaphore>,
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let closed = |_| ApiError::draining();
    let permit = Arc::clone(places).acquire_owned().await.map_err(closed)?;
    let app = Arc::clone(app);
    let task = tokio::task::spawn_blocking(move || {
        // Held until the work is done, also if its client has gone away meanwhile.
        let _permit = permit;
        work(&app)
    });
    task.await.unwrap_or_else(|_| Err(panicked()))
}

async fn work(
    app: &Arc<App>,
    record: Arc<Record>,
    received: Received,
    prepare: Prepare,
) -> Result<Production, ApiError> {
    limits::admit(app, &record, &received.bytes).await?;
    let (reading, bytes) = (Arc::clone(&record), received.bytes.clone());
    let begun = if bytes.len() <= QUICK_BODY {
        let read = || prepare(app, &reading, &bytes);
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(panicked()))?
    } else {
        Begun::Later(Box::new(move |app| match prepare(app, &reading, &bytes)? {
            Begun::Ready(prepared) => Ok(prepared),
            Begun::Later(work) => work(app),
        }))
    };
    let prepared = match begun {
        Begun::Ready(prepared) => prepared,
        Begun::Later(work) => {
            blocking(app, move |app| {
                // Counted among the bodies that are held for as long as it is.
                let _held = received;
                work(app)
            })
            .await?
        }
    };
    match prepared {
        Prepared::Running(production) => Ok(production),
        Prepared::Routed(routed) => routed.run(app, &record).await,
        Prepared::RoutedCompletion(routed) => routed.run(app, &record).await,
    }
}

fn panicked() -> ApiError {
    ApiError::internal("the server failed while reading this request")
}

fn digest(route: &str, body: &Bytes) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(route.as_bytes());
    hash.update([0]);
    hash.update(body);
    hash.finalize().into()
}

/// A wish to run once, or to pick up where a stream broke.
struct Resume {
    key: String,
    /// Number of the last event that arrived.
    after: Option<u64>,
}

impl Resume {
    fn of(headers: &HeaderMap) -> Result<Option<Resume>, ApiError> {
        let after = match headers.get("last-event-id") {
            None => None,
            Some(value) => {
                Some(value.to_str().ok().and_then(|id| id.trim().parse().ok()).ok_or_else(|| {
                    let message =
                        "Last-Event-ID must be the number after \"id:\" of the last event that arrived";
                    ApiError::bad_field("Last-Event-ID", message)
                })?)
            }
        };
        let Some(key) = headers.get("idempotency-key") else {
            return match after {
                None => Ok(None),
                Some(_) => Err(ApiError::bad_field(
                    "Last-Event-ID",
                    "Last-Event-ID needs the Idempotency-Key that the request was first sent with",
                )),
            };
        };
        let valid = |key: &&str| {
            (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
        };
        match key.to_str().ok().filter(valid) {
            Some(key) => Ok(Some(Resume { key: key.to_owned(), after })),
            None => Err(ApiError::bad_field(
                "Idempotency-Key",
                format!("Idempotency-Key must be 1 to {MAX_KEY_BYTES} visible ASCII characters"),
            )),
        }
    }
}
