//! Providers: servers elsewhere that answer for money.
//!
//! [`Provider::send`] takes nothing but a [`Cleared`] request, which only the guard makes, of exact bytes; so nothing
//! that was not judged can be sent, and no code that retries or falls back can get around that. The request names the
//! provider that it was cleared for, and goes to no other. None of the client's headers leave, redirects are not
//! followed (they would lead what was cleared for one place to another), and no proxy is taken from the environment.
//!
//! Answers are always asked for as streams, also for clients that want them whole: only so can the time to the first
//! token and a stall be told from a long answer.

mod caching;
mod failure;
mod reply;

pub(crate) mod continuing;
mod neutral;
pub(crate) mod openai;
pub(crate) mod pictures;
pub(crate) mod progress;
pub(crate) mod vocabulary;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use garrison_guard::{Cleared, Outgoing};
use garrison_wire::Format;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::journey::Ask;
use crate::peer::{Address, Answer, NoAnswer, Peer, trusting};
use continuing::Unfinished;
pub use failure::Failure;
pub(crate) use reply::Said;
#[cfg(test)]
pub(crate) use reply::chunk;
pub use reply::{Heard, Reply};

/// What servers elsewhere are told of who asks.
pub(crate) const SOFTWARE: &str = concat!("garrison/", env!("CARGO_PKG_VERSION"));

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
    /// A name or a password in its URL.
    #[error(
        "base_url has a name or a password, which no provider is sent; put its key into the environment and name that in api_key_env"
    )]
    Login,
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

/// How long something of an answer is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    pub(crate) until: Instant,
    /// What it is if nothing has come by then.
    pub(crate) late: Failure,
}

impl Patience {
    /// From now on as long as for a first token, and no longer than until the deadline of a request that had so much time at
    /// most. Who had little of that is not who failed: what the request had was used up by others. But who had about all of it
    /// has failed, also where the request has no more time than that.
    pub(crate) fn new(first_token: Duration, whole: Duration, deadline: Instant) -> Patience {
        let now = Instant::now();
        let until = (now + first_token).min(deadline);
        let usual = first_token.min(whole);
        // What comes before, judging above all, takes some of it.
        let late = if until - now < usual * 9 / 10 { Failure::Deadline } else { Failure::FirstToken(usual) };
        Patience { until, late }
    }
}

/// A server elsewhere.
pub struct Provider {
    name: String,
    kind: ProviderKind,
    peer: Peer,
    headers: HeaderMap,
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
        let base = config.base_url.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base);
        let url = format!("{base}{}", config.kind.path());
        if Url::parse(&url).is_ok_and(|url| !url.username().is_empty() || url.password().is_some()) {
            return Err(ProviderError::Login);
        }
        let address = Address::parse(&url).ok_or(ProviderError::Url)?;
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(SOFTWARE));
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
        let authorities = config.ca_pem.as_deref().map_or(Ok(Vec::new()), certificates)?;
        let trust = trusting(authorities).map_err(|error| match error {
            rustls::Error::InvalidCertificate(_) => ProviderError::Certificate,
            other => ProviderError::Client(other.to_string()),
        })?;
        let peer = Peer::new(address, trust, config.connect_timeout).ok_or(ProviderError::Url)?;
        Ok(Provider { name: config.name, kind: config.kind, peer, headers })
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

    /// Sends what may be sent, and waits for the answer's head. `taken` says whether a connection may have taken it.
    ///
    /// # Errors
    /// If there is no answer, or its head says that it is none.
    pub(crate) async fn send(
        &self,
        request: Cleared<RemoteRequest>,
        patience: &Patience,
        taken: &AtomicBool,
    ) -> Result<Reply, Failure> {
        let (whom, Some(bytes)) = (&request.get().provider, request.bytes()) else {
            return Err(Failure::Misdirected);
        };
        if *whom != self.name {
            return Err(Failure::Misdirected);
        }
        let body = Bytes::copy_from_slice(bytes);
        let posting = self.peer.post_and_tell(&self.headers, body, taken);
        let answer = match timeout_at(patience.until, posting).await {
            Err(_) => return Err(patience.late.clone()),
            Ok(Err(NoAnswer::Connect)) => return Err(Failure::Connect),
            Ok(Err(NoAnswer::Broke)) => return Err(Failure::Broke),
            Ok(Ok(answer)) => answer,
        };
        check_head(&answer)?;
        Ok(Reply::new(self.kind, answer))
    }
}

/// The certificates of a bundle, of which there is one at least.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ProviderError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.ok().filter(|read| !read.is_empty()).ok_or(ProviderError::Certificate)
}

fn check_head(answer: &Answer) -> Result<(), Failure> {
    let status = answer.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Failure::RateLimited(retry_after(answer.headers())));
    }
    match status.as_u16() {
        200 => {}
        // A wrong key or address is the owner's to mend; nothing else will work there either.
        code @ (401 | 403 | 404 | 300..=399 | 500..) => return Err(Failure::Status(code)),
        code => return Err(Failure::Rejected(code)),
    }
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
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
