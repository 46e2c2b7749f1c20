//! A server elsewhere, to which something is posted over connections that are kept.
//!
//! Whoever reads an answer over HTTP/1.1 drives its connection himself ([`driven`]), so that a piece of a body takes no
//! task to be woken, and what has come together is read together; a connection over HTTP/2, which many share, is a task.
//! Which of the two it is, a server behind TLS says. Each thread keeps its own connections ([`kept`]), so that whoever asks
//! is woken by his own thread. Redirects are not followed, and no proxy is taken from the environment.

mod driven;
mod kept;

#[cfg(test)]
mod tests;

use std::error::Error as _;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http2;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connection as _, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use thread_local::ThreadLocal;
use tokio::time::timeout;
use tower_service::Service;
use url::Url;

use driven::Driven;
use kept::{Held, Kept, Shared};

/// When the system looks whether a silent connection is still there, how often, and how many times in vain.
const ALIVE_AFTER: Duration = Duration::from_secs(15);
const ALIVE_EACH: Duration = Duration::from_secs(15);
const ALIVE_TIMES: u32 = 3;
/// How long something that was sent may go unacknowledged: for as long the system does not look whether the connection is
/// there, and by itself it would send again for a quarter of an hour. Linux only.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Over how many connections something is asked at most, besides those that waited for one request at a time.
const MOST_ASKED: u32 = 2;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// No connection: refused, no such name, TLS, or too slow.
    Connect,
    /// The connection broke before the answer began, or the server would not take the request.
    Broke,
}

/// An answer that broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BrokeOff;

/// Where something is posted to.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    scheme: Scheme,
    authority: Authority,
    path: PathAndQuery,
}

impl Address {
    /// Of an http or https URL.
    pub(crate) fn parse(url: &str) -> Option<Address> {
        let url = Url::parse(url).ok()?;
        let scheme = match url.scheme() {
            "http" => Scheme::HTTP,
            "https" => Scheme::HTTPS,
            _ => return None,
        };
        let host = url.host_str()?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Some(Address { scheme, authority: authority.parse().ok()?, path: path.parse().ok()? })
    }

    /// With the host, as HTTP/2 has it.
    fn whole(&self) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(self.path.clone());
        // All three are there, so it is one.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// What vouches for servers: the public authorities, and some of the owner's own.
///
/// # Errors
/// If one of those is none.
pub(crate) fn trusting(authorities: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    authorities.into_iter().try_for_each(|authority| roots.add(authority))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// One address of one server, and the connections to it.
pub(crate) struct Peer {
    address: Address,
    host: HeaderValue,
    connector: HttpsConnector<HttpConnector>,
    connect_timeout: Duration,
    kept: ThreadLocal<Arc<Kept>>,
}

impl Peer {
    /// Nothing is sent yet. `connect_timeout` is for a connection, TLS included. None if the host's name is none.
    pub(crate) fn new(address: Address, trust: ClientConfig, connect_timeout: Duration) -> Option<Peer> {
        let secured = HttpsConnectorBuilder::new().with_tls_config(trust).https_or_http();
        let connector = secured.enable_all_versions().wrap_connector(tcp(connect_timeout));
        let host = HeaderValue::from_str(address.authority.as_str()).ok()?;
        Some(Peer { address, host, connector, connect_timeout, kept: ThreadLocal::new() })
    }

    /// Posts a body, and waits for the answer's head. What was surely not taken is said again over another connection; what may
    /// have been is not.
    ///
    /// # Errors
    /// If there is no answer.
    pub(crate) async fn post(&self, headers: &HeaderMap, body: Bytes) -> Result<Answer, NoAnswer> {
        self.post_and_tell(headers, body, &AtomicBool::new(false)).await
    }

    /// The same. `taken` says whether a connection may have taken it, also if this is dropped while it waits.
    ///
    /// # Errors
    /// If there is no answer.
    pub(crate) async fn post_and_tell(
        &self,
        headers: &HeaderMap,
        body: Bytes,
        taken: &AtomicBool,
    ) -> Result<Answer, NoAnswer> {
        let kept = Arc::clone(self.kept.get_or_default());
        let mut left = MOST_ASKED;
        while left > 0 {
            let waited = kept.take();
            // Those for one request at a time may all have been closed while they waited, and are no more than are kept.
            if !matches!(waited, Some(Held::Driven(_))) {
                left -= 1;
            }
            let held = match waited {
                Some(held) => held,
                None => self.connect(&kept).await?,
            };
            let shared = match &held {
                Held::Shared(shared) => Some(shared.which()),
                Held::Driven(_) => None,
            };
            match self.ask(held, &kept, headers, body.clone(), taken).await {
                Ok(answer) => return Ok(answer),
                Err(NotAsked::MayBe) => return Err(NoAnswer::Broke),
                Err(NotAsked::Surely) => {
                    taken.store(false, Ordering::Relaxed);
                    shared.iter().for_each(|shared| kept.forget(shared));
                }
            }
        }
        Err(NoAnswer::Broke)
    }

    /// A new connection, or one that many share and somebody else has made meanwhile.
    async fn connect(&self, kept: &Arc<Kept>) -> Result<Held, NoAnswer> {
        match timeout(self.connect_timeout, self.connection()).await {
            Ok(Some(Held::Shared(shared))) => Ok(Held::Shared(kept.share(shared))),
            Ok(Some(held)) => Ok(held),
            Ok(None) | Err(_) => Err(NoAnswer::Connect),
        }
    }

    async fn connection(&self) -> Option<Held> {
        let mut connector = self.connector.clone();
        poll_fn(|cx| connector.poll_ready(cx)).await.ok()?;
        let stream = connector.call(self.address.whole()).await.ok()?;
        if !stream.connected().is_negotiated_h2() {
            return Driven::over(stream).await.ok().map(|driven| Held::Driven(Box::new(driven)));
        }
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        // A server whose system still acknowledges may be gone too, and many wait for it.
        http2.timer(TokioTimer::new()).keep_alive_interval(ALIVE_AFTER).keep_alive_timeout(ALIVE_EACH);
        let (requests, connection) = http2.handshake(stream).await.ok()?;
        // Whoever asks is told how that ends.
        tokio::spawn(connection);
        Some(Held::Shared(Shared::new(requests)))
    }

    async fn ask(
        &self,
        held: Held,
        kept: &Arc<Kept>,
        headers: &HeaderMap,
        body: Bytes,
        taken: &AtomicBool,
    ) -> Result<Answer, NotAsked> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        request.headers_mut().clone_from(headers);
        let (response, over) = match held {
            Held::Driven(mut driven) => {
                *request.uri_mut() = Uri::from(self.address.path.clone());
                request.headers_mut().insert(HOST, self.host.clone());
                taken.store(true, Ordering::Relaxed);
                (driven.ask(request).await?, Held::Driven(driven))
            }
            Held::Shared(mut shared) => {
                *request.uri_mut() = self.address.whole();
                *request.version_mut() = Version::HTTP_2;
                shared.requests.ready().await.map_err(|_| NotAsked::Surely)?;
                taken.store(true, Ordering::Relaxed);
                let response = shared.requests.try_send_request(request).await;
                (response.map_err(NotAsked::over_http2)?, Held::Shared(shared))
            }
        };
        Ok(Answer::new(response, over, Arc::clone(kept)))
    }
}

/// What connects, and has the system see which connections are dead.
fn tcp(connect_timeout: Duration) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect_timeout));
    tcp.set_keepalive(Some(ALIVE_AFTER));
    tcp.set_keepalive_interval(Some(ALIVE_EACH));
    tcp.set_keepalive_retries(Some(ALIVE_TIMES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    tcp
}

/// Nobody answered over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotAsked {
    /// Nothing was said over it, or nobody looked at it.
    Surely,
    /// Something may have been.
    MayBe,
}

type Unsent = hyper::client::conn::TrySendError<Request<Full<Bytes>>>;

impl From<Unsent> for NotAsked {
    fn from(mut error: Unsent) -> NotAsked {
        if error.take_message().is_some() { NotAsked::Surely } else { NotAsked::MayBe }
    }
}

impl NotAsked {
    /// The same, where a server can say that it has not looked at a request (RFC 9113, 8.7).
    fn over_http2(error: Unsent) -> NotAsked {
        let said = error.error().source().and_then(|source| source.downcast_ref::<h2::Error>());
        let untouched = said.filter(|said| said.is_remote()).is_some_and(|said| {
            // That it goes away, it says of the requests behind the last that it takes.
            let goes = said.is_go_away() && said.reason() == Some(Reason::NO_ERROR);
            goes || said.is_reset() && said.reason() == Some(Reason::REFUSED_STREAM)
        });
        if untouched { NotAsked::Surely } else { error.into() }
    }
}

/// An answer whose body is read as it comes. Dropped, it leaves its connection to the next request if all of it has come.
pub(crate) struct Answer {
    head: http::response::Parts,
    /// There until it is dropped.
    body: Option<Incoming>,
    /// What it comes over, there until it is dropped. Whoever reads the body has to drive one that is his alone.
    over: Option<Held>,
    kept: Arc<Kept>,
}

impl Answer {
    fn new(response: Response<Incoming>, over: Held, kept: Arc<Kept>) -> Answer {
        let (head, body) = response.into_parts();
        Answer { head, body: Some(body), over: Some(over), kept }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The body's next piece. None at its end. It can be dropped while it waits, and asked again.
    ///
    /// # Errors
    /// If the body breaks off.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, BrokeOff> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BrokeOff>> {
        let Some(body) = &mut self.body else { return Poll::Ready(Ok(None)) };
        loop {
            let mut next = |cx: &mut Context<'_>| Pin::new(&mut *body).poll_frame(cx);
            let frame = match &mut self.over {
                Some(Held::Driven(driven)) => ready!(driven.poll(cx, next)),
                Some(Held::Shared(_)) | None => ready!(next(cx)),
            };
            match frame {
                None => return Poll::Ready(Ok(None)),
                Some(Err(_)) => return Poll::Ready(Err(BrokeOff)),
                Some(Ok(frame)) => {
                    // Else it is a trailer.
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // First, so that the connection sees that nobody wants more of it.
        self.body = None;
        if let Some(Held::Driven(driven)) = self.over.take() {
            self.kept.keep(driven);
        }
    }
}
