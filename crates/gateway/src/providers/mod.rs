//! Providers: servers elsewhere that answer for money.
//!
//! [`Provider::send`] takes nothing but a [`Cleared`] request, which only the guard makes, of exact bytes; so nothing
//! that was not judged can be sent, and no code that retries or falls back can get around that. The request names the
//! provider that it was cleared for, and goes to no other. None of the client's headers leave, redirects are not
//! followed (they would lead what was cleared for one place to another), and no proxy is taken from the environment.
//!
//! Answers are always asked for as streams, also for clients that want them whole: only so can the time to the first
//! token and a stall be told from a long answer.

pub(crate) mod continuing;
mod neutral;
pub(crate) mod openai;
pub(crate) mod pictures;
pub(crate) mod progress;

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use garrison_guard::{Cleared, Outgoing};
use garrison_wire::{Delta, EventReader, Format, StreamError, StreamParser};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, ClientBuilder, StatusCode, Url, redirect};
use serde_json::Value;
use thread_local::ThreadLocal;
use tokio::time::{Instant, timeout_at};

use crate::journey::Ask;
use continuing::Unfinished;

/// Idle connections that a thread keeps to one provider at most.
const MOST_IDLE: usize = 64;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// Which API a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// OpenAI's Chat Completions, as many servers do.
    OpenAi,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Anthropic,
}

/// The version of Anthropic's API, which every request has to name.
const ANTHROPIC_VERSION: &str = "2023-06-01";

impl ProviderKind {
    fn path(self) -> &'static str {
        match self {
            ProviderKind::OpenAi => "/v1/chat/completions",
            ProviderKind::Responses => "/v1/responses",
            ProviderKind::Anthropic => "/v1/messages",
        }
    }
}

/// What a provider is told to be.
#[derive(Clone)]
pub struct ProviderConfig {
    /// As routes name it.
    pub name: String,
    /// What it speaks.
    pub kind: ProviderKind,
    /// Where it is: a URL up to, and without, `/v1`, or with it.
    pub base_url: String,
    /// Its key. None for servers that ask for none.
    pub api_key: Option<String>,
    /// An authority of the owner's own, in PEM, trusted besides the public ones.
    pub ca_pem: Option<Vec<u8>>,
    /// For a connection, TLS included.
    pub connect_timeout: Duration,
}

/// Never shows the key.
impl fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a provider cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Its URL.
    #[error("base_url is no http or https URL")]
    Url,
    /// Its key.
    #[error("its API key has characters that no header can have")]
    Key,
    /// Its authority's certificate.
    #[error("ca_file holds no certificate in PEM")]
    Certificate,
    /// The client cannot be made.
    #[error("no client can be made for it: {0}")]
    Client(String),
}

/// Why a provider did not answer as it should. No content is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection: refused, no such name, TLS, or too slow.
    #[error("no connection could be made")]
    Connect,
    /// The connection broke before the answer began.
    #[error("the connection broke before the answer began")]
    Broke,
    /// Nothing of an answer came in time.
    #[error("no token came within {0:?}")]
    FirstToken(Duration),
    /// An answer began and then nothing more came.
    #[error("the answer stalled for {0:?}")]
    Stalled(Duration),
    /// An answer ended before its end.
    #[error("the answer was cut off")]
    Cut,
    /// What came is no answer.
    #[error("what came is no answer: {0}")]
    Garbage(&'static str),
    /// More came than one answer may have.
    #[error("the answer is larger than {MOST_ANSWER} bytes")]
    TooLarge,
    /// It wants fewer requests.
    #[error("it is asked too often")]
    RateLimited(Option<Duration>),
    /// It says that it failed.
    #[error("it failed with status {0}")]
    Status(u16),
    /// It does not take this request, though it may take others.
    #[error("it refused the request with status {0}")]
    Rejected(u16),
    /// It reported an error in the middle of its answer.
    #[error("it reported an error in its answer")]
    Reported,
    /// The time for the whole request is over.
    #[error("the time for the whole request was over")]
    Deadline,
    /// Its breaker let nothing through.
    #[error("its breaker is open")]
    Breaker,
    /// All requests together have failed too often of late for another attempt.
    #[error("too many attempts are made at present")]
    Attempts,
    /// The key has no money left for it.
    #[error("the key's budget has no room for it")]
    Budget,
    /// Its API has no word for a field of the request, which is named.
    #[error("its API has no word for {0}")]
    NoWord(String),
    /// The guard did not clear it.
    #[error("it was not cleared")]
    NotCleared,
    /// What was cleared for another provider, or is not what was cleared any more.
    #[error("it was cleared for something else")]
    Misdirected,
    /// The books of what was spent cannot be kept.
    #[error("what it costs cannot be written down")]
    Books,
}

/// Bytes of one event at most; a provider that sends more is broken.
const MAX_EVENT: usize = 4 << 20;

/// Bytes that an answer may have.
pub(crate) const MOST_ANSWER: usize = 64 << 20;

impl Failure {
    /// Whether it speaks against the provider, so that its breaker counts it.
    pub(crate) fn counts(&self) -> bool {
        match self {
            Failure::Connect
            | Failure::Broke
            | Failure::FirstToken(_)
            | Failure::Stalled(_)
            | Failure::Cut
            | Failure::Garbage(_)
            | Failure::TooLarge
            | Failure::Status(_)
            | Failure::Reported => true,
            Failure::RateLimited(_)
            | Failure::Rejected(_)
            | Failure::Deadline
            | Failure::Breaker
            | Failure::Attempts
            | Failure::Budget
            | Failure::NoWord(_)
            | Failure::NotCleared
            | Failure::Misdirected
            | Failure::Books => false,
        }
    }

    /// What metrics call it.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Failure::Connect => "no_connection",
            Failure::Broke => "connection_broke",
            Failure::FirstToken(_) => "first_token_timeout",
            Failure::Stalled(_) => "stalled",
            Failure::Cut => "cut",
            Failure::Garbage(_) => "garbage",
            Failure::TooLarge => "too_large",
            Failure::RateLimited(_) => "rate_limited",
            Failure::Status(_) => "failed",
            Failure::Rejected(_) => "rejected",
            Failure::Reported => "reported_error",
            Failure::Deadline => "deadline",
            Failure::Breaker => "breaker_open",
            Failure::Attempts => "too_many_attempts",
            Failure::Budget => "budget",
            Failure::NoWord(_) => "no_word",
            Failure::NotCleared => "not_cleared",
            Failure::Misdirected => "misdirected",
            Failure::Books => "books",
        }
    }

    /// Whether the provider may have done work that it charges for.
    pub(crate) fn may_cost(&self) -> bool {
        matches!(
            self,
            Failure::Broke
                | Failure::FirstToken(_)
                | Failure::Stalled(_)
                | Failure::Cut
                | Failure::Garbage(_)
                | Failure::TooLarge
                | Failure::Reported
                | Failure::Deadline
        )
    }
}

/// A request on its way to a provider: its exact body, and whom it is for.
pub struct RemoteRequest {
    provider: String,
    body: Bytes,
    /// Pictures in the body.
    pictures: Vec<Range<usize>>,
}

impl Outgoing for RemoteRequest {
    fn bytes(&self) -> &[u8] {
        &self.body
    }

    fn unread(&self) -> &[Range<usize>] {
        &self.pictures
    }
}

/// A server elsewhere.
pub struct Provider {
    name: String,
    kind: ProviderKind,
    url: Url,
    clients: Clients,
    headers: HeaderMap,
}

/// What speaks HTTP, with connections that are kept: one for each thread that asks, so that whoever asks is woken by its own
/// thread when an answer comes.
struct Clients {
    made: ThreadLocal<Client>,
    connect_timeout: Duration,
    /// Trusted besides the public ones.
    authorities: Vec<Certificate>,
}

impl Clients {
    fn new(connect_timeout: Duration, authorities: Vec<Certificate>) -> Result<Clients, ProviderError> {
        let clients = Clients { made: ThreadLocal::new(), connect_timeout, authorities };
        // Whether one can be made is known from the beginning.
        clients.make().map_err(|error| ProviderError::Client(error.to_string()))?;
        Ok(clients)
    }

    /// This thread's.
    fn here(&self) -> reqwest::Result<&Client> {
        self.made.get_or_try(|| self.make())
    }

    fn make(&self) -> reqwest::Result<Client> {
        let client = Client::builder()
            .user_agent(concat!("garrison/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .tcp_nodelay(true);
        let trusting = |client: ClientBuilder, one: &Certificate| client.add_root_certificate(one.clone());
        self.authorities.iter().fold(client, trusting).build()
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Provider {
    /// Sets one up. Nothing is sent.
    ///
    /// # Errors
    /// If what it is told makes no sense.
    pub fn new(config: ProviderConfig) -> Result<Provider, ProviderError> {
        let url = Url::parse(&config.base_url).map_err(|_| ProviderError::Url)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(ProviderError::Url);
        }
        let base = config.base_url.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if config.kind == ProviderKind::Anthropic {
            headers.insert(
                HeaderName::from_static("anthropic-version"),
                HeaderValue::from_static(ANTHROPIC_VERSION),
            );
        }
        if let Some(key) = &config.api_key {
            let (name, value) = match config.kind {
                ProviderKind::OpenAi | ProviderKind::Responses => (AUTHORIZATION, format!("Bearer {key}")),
                ProviderKind::Anthropic => (HeaderName::from_static("x-api-key"), key.clone()),
            };
            let mut value = HeaderValue::from_str(&value).map_err(|_| ProviderError::Key)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let authorities = config.ca_pem.as_deref().map_or(Ok(Vec::new()), Certificate::from_pem_bundle);
        let authorities = authorities.map_err(|_| ProviderError::Certificate)?;
        if config.ca_pem.is_some() && authorities.is_empty() {
            return Err(ProviderError::Certificate);
        }
        let clients = Clients::new(config.connect_timeout, authorities)?;
        let url = format!("{base}{}", config.kind.path()).parse().map_err(|_| ProviderError::Url)?;
        Ok(Provider { name: config.name, kind: config.kind, url, clients, headers })
    }

    /// As routes name it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What asks `model` for what a client asks, with at most `output` tokens, or to go on with what another has begun. It has to be cleared to be sent.
    ///
    /// # Errors
    /// If its API has no word for something that is asked for.
    pub(crate) fn request(
        &self,
        ask: &Ask,
        unfinished: &Unfinished<'_>,
        model: &str,
        output: Option<u64>,
    ) -> Result<RemoteRequest, Failure> {
        let Ask { chat, words, .. } = ask;
        let body = match self.kind {
            ProviderKind::OpenAi => openai::body(chat, unfinished, model, output),
            ProviderKind::Responses => {
                neutral::body(Format::Responses, chat, words, unfinished, model, output)?
            }
            ProviderKind::Anthropic => {
                neutral::body(Format::Messages, chat, words, unfinished, model, output)?
            }
        };
        let pictures = pictures::places(chat, &body);
        Ok(RemoteRequest { provider: self.name.clone(), body: body.into(), pictures })
    }

    /// Sends what may be sent, and waits for the answer's head until `until`.
    ///
    /// # Errors
    /// If there is no answer, or its head says that it is none.
    pub async fn send(&self, request: Cleared<RemoteRequest>, until: Instant) -> Result<Reply, Failure> {
        let (whom, Some(bytes)) = (&request.get().provider, request.bytes()) else {
            return Err(Failure::Misdirected);
        };
        if *whom != self.name {
            return Err(Failure::Misdirected);
        }
        let body = Bytes::copy_from_slice(bytes);
        let begun = Instant::now();
        let client = self.clients.here().map_err(|_| Failure::Connect)?;
        let sending = client.post(self.url.clone()).headers(self.headers.clone()).body(body).send();
        let response = match timeout_at(until, sending).await {
            Err(_) => return Err(Failure::FirstToken(until - begun)),
            Ok(Err(error)) if error.is_connect() => return Err(Failure::Connect),
            Ok(Err(_)) => return Err(Failure::Broke),
            Ok(Ok(response)) => response,
        };
        check_head(&response)?;
        let reader = match self.kind {
            ProviderKind::OpenAi => Reader::Chunks(EventReader::new(MAX_EVENT)),
            ProviderKind::Responses => Reader::deltas(Format::Responses),
            ProviderKind::Anthropic => Reader::deltas(Format::Messages),
        };
        Ok(Reply { response, reader, ready: VecDeque::new(), broken: None, bytes: 0 })
    }
}

fn check_head(response: &reqwest::Response) -> Result<(), Failure> {
    let status = response.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Failure::RateLimited(retry_after(response.headers())));
    }
    match status.as_u16() {
        200 => {}
        // A wrong key or address is the owner's to mend; nothing else will work there either.
        code @ (401 | 403 | 404 | 300..=399 | 500..) => return Err(Failure::Status(code)),
        code => return Err(Failure::Rejected(code)),
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream") {
        Ok(())
    } else {
        Err(Failure::Garbage("its content type is not text/event-stream"))
    }
}

/// `Retry-After` in seconds. Dates, which no provider sends, count as absent.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let seconds: f64 = text.trim().parse().ok().filter(|s: &f64| s.is_finite() && *s >= 0.0)?;
    Some(Duration::from_secs_f64(seconds.min(86_400.0)))
}

/// What is heard of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// A chunk as OpenAI's Chat Completions define it, as it came.
    Chunk(Value),
    /// What another API says, in wire's neutral form.
    Delta(Delta),
}

/// What a provider says.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    /// More of its answer.
    More(Heard),
    /// `[DONE]`.
    Done,
    /// The connection has ended the answer.
    End,
}

/// An event that is larger than [`MAX_EVENT`], or no UTF-8.
struct NoEvent;

impl From<StreamError> for NoEvent {
    fn from(_: StreamError) -> NoEvent {
        NoEvent
    }
}

/// What has come and was not looked at yet.
#[derive(Debug, PartialEq)]
enum Raw {
    /// An event's data.
    Data(String),
    /// A delta.
    Delta(Delta),
}

/// What reads bytes.
enum Reader {
    Chunks(EventReader),
    Deltas(Box<StreamParser>),
}

impl Reader {
    fn deltas(format: Format) -> Reader {
        Reader::Deltas(Box::new(StreamParser::new(format)))
    }

    /// Adds what bytes say to `ready`, also before an error.
    fn push(&mut self, bytes: &[u8], ready: &mut VecDeque<Raw>) -> Result<(), Failure> {
        match self {
            Reader::Chunks(reader) => {
                let fed = reader.feed(bytes, |data| {
                    ready.push_back(Raw::Data(str::from_utf8(data).map_err(|_| NoEvent)?.to_owned()));
                    Ok(())
                });
                fed.map_err(|NoEvent| Failure::Garbage("an event is too large or no text"))
            }
            Reader::Deltas(parser) => {
                let mut deltas = Vec::new();
                let fed = parser.feed(bytes, &mut deltas);
                ready.extend(deltas.into_iter().map(Raw::Delta));
                fed.map_err(|error| match error {
                    StreamError::Cut => Failure::Cut,
                    StreamError::TooLarge(_) => Failure::TooLarge,
                    StreamError::Malformed(_) => Failure::Garbage("an event is none of its API's"),
                })
            }
        }
    }
}

/// An answer as it comes.
pub struct Reply {
    response: reqwest::Response,
    reader: Reader,
    ready: VecDeque<Raw>,
    /// What is wrong with what came after `ready`.
    broken: Option<Failure>,
    bytes: usize,
}

impl Reply {
    /// Whether it says chunks of Chat Completions.
    pub(crate) fn says_chunks(&self) -> bool {
        matches!(self.reader, Reader::Chunks(_))
    }

    /// What it says next. It can be dropped while it waits, and asked again.
    pub(crate) async fn next(&mut self) -> Result<Said, Failure> {
        loop {
            match self.ready.pop_front() {
                Some(Raw::Data(data)) if data.trim() == "[DONE]" => return Ok(Said::Done),
                Some(Raw::Data(data)) => {
                    let chunk =
                        serde_json::from_str(&data).map_err(|_| Failure::Garbage("an event is no JSON"))?;
                    return Ok(Said::More(Heard::Chunk(chunk)));
                }
                Some(Raw::Delta(delta)) => return Ok(Said::More(Heard::Delta(delta))),
                None => {}
            }
            if let Some(failure) = self.broken.take() {
                return Err(failure);
            }
            match self.response.chunk().await {
                Err(_) => return Err(Failure::Cut),
                Ok(None) => return Ok(Said::End),
                Ok(Some(bytes)) => {
                    self.bytes += bytes.len();
                    if self.bytes > MOST_ANSWER {
                        return Err(Failure::TooLarge);
                    }
                    self.broken = self.reader.push(&bytes, &mut self.ready).err();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(pieces: &[&[u8]]) -> Result<Vec<String>, Failure> {
        let (mut reader, mut ready) = (Reader::Chunks(EventReader::new(MAX_EVENT)), VecDeque::new());
        pieces.iter().try_for_each(|piece| reader.push(piece, &mut ready))?;
        let data = |raw| match raw {
            Raw::Data(data) => data,
            Raw::Delta(delta) => panic!("{delta:?}"),
        };
        Ok(ready.into_iter().map(data).collect())
    }

    #[test]
    fn what_came_before_garbage_was_said() {
        let (mut reader, mut ready) = (Reader::deltas(Format::Messages), VecDeque::new());
        let start = r#"{"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {}}}"#;
        let bytes = format!("event: message_start\ndata: {start}\n\ndata: <html>\n\n");
        let none = Err(Failure::Garbage("an event is none of its API's"));
        assert_eq!(reader.push(bytes.as_bytes(), &mut ready), none);
        assert!(matches!(ready.pop_front(), Some(Raw::Delta(Delta::Begin { .. }))));
    }

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let text = ": hello\r\ndata: {\"a\":1}\r\n\r\nevent: x\ndata:two\ndata: lines\n\nretry: 3\n\rdata: [DONE]\r\r";
        let wanted = vec!["{\"a\":1}".to_owned(), "two\nlines".into(), "[DONE]".into()];
        for cut in 0..=text.len() {
            let (first, rest) = text.as_bytes().split_at(cut);
            assert_eq!(pushed(&[first, rest]), Ok(wanted.clone()), "cut at {cut}");
        }
    }

    #[test]
    fn an_event_has_a_bound_and_is_text() {
        let none = Err(Failure::Garbage("an event is too large or no text"));
        assert_eq!(pushed(&[&vec![b'x'; MAX_EVENT + 1]]), none);
        assert_eq!(pushed(&[b"data: \xFF\n\n"]), none);
    }

    proptest::proptest! {
        #[test]
        fn anything_at_all_is_taken(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = pushed(&[&bytes]);
        }
    }
}
