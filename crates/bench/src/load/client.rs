//! HTTP/1.1 to one server: connections that are kept, and responses whose parts have times.
//!
//! Key decision: hyper's connection without a client or pool on top, driven by the task that waits for
//! the answer and by no other. A part of a body is handed over before the next read of the socket, so the
//! time of the last read is that of the part; a driver in another task would read ahead and blur it.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use super::socket::{Arrival, Clock, Moment, StampedStream, Stamping};
use super::target::{Security, Target};

/// What can go wrong below HTTP.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    #[error("{}", why_none(.0))]
    Connect(io::Error),
    #[error("the server's certificate is not trusted: {0}")]
    Untrusted(String),
    #[error("what the server says is not TLS: {0}")]
    NotTls(rustls::Error),
    #[error("the connection broke: {0}")]
    Broke(hyper::Error),
    #[error("the request cannot be written: {0}")]
    Request(hyper::http::Error),
}

/// Why there is no connection: what is most often wrong, in words that say what to look at.
fn why_none(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there (connection refused)".to_owned(),
        io::ErrorKind::TimedOut => "nobody answers there (the connection timed out)".to_owned(),
        _ => format!("cannot connect: {e}"),
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Driver = http1::Connection<TokioIo<Box<dyn Io>>, Full<Bytes>>;

/// One connection, and whoever drives it.
struct Link {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    arrival: Arrival,
    /// The driver has ended and must not be polled again.
    over: bool,
    history: History,
}

/// Whether anything was asked on a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum History {
    New,
    Kept,
}

impl Link {
    /// Moves bytes; to be polled with whatever waits for them.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.over && Pin::new(&mut self.driver).poll(cx).is_ready() {
            self.over = true;
        }
    }

    /// Waits for `future`, which this connection brings about.
    async fn drive_until<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(done) = future.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            self.drive(cx);
            future.as_mut().poll(cx)
        })
        .await
    }

    /// Whether a request can still be sent on it.
    async fn is_alive(&mut self) -> bool {
        // Once round: a server that closed it meanwhile shows as an end of the driver.
        poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(())
        })
        .await;
        !self.over && self.sender.is_ready()
    }
}

/// Connections to one server; as many as there are requests under way.
pub(crate) struct Client {
    target: Target,
    clock: Clock,
    tls: Option<TlsConnector>,
    idle: Mutex<Vec<Link>>,
    /// Connections that are being opened before they are needed.
    opening: Arc<AtomicUsize>,
    /// The server closes connections after an answer, whatever it says of keeping them.
    closes: AtomicBool,
    /// Where the server's name leads. Names do not move within a run, and to ask each time would be in every figure.
    addresses: OnceCell<Vec<SocketAddr>>,
    _stamping: Stamping,
}

impl Client {
    pub(crate) fn new(target: Target, clock: Clock) -> Client {
        let tls = (target.security == Security::Tls).then(|| {
            let mut roots = rustls::RootCertStore::empty();
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            roots.add_parsable_certificates(target.authorities.iter().cloned());
            let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
            TlsConnector::from(Arc::new(config))
        });
        Client {
            target,
            clock,
            tls,
            idle: Mutex::default(),
            opening: Arc::default(),
            closes: AtomicBool::new(false),
            addresses: OnceCell::new(),
            _stamping: Stamping::begin(),
        }
    }

    /// Which server, in words.
    pub(crate) fn server(&self) -> String {
        self.target.to_string()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Link>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to open one more connection, unless as many as `wanted` are idle or being opened.
    pub(crate) fn claim(&self, wanted: usize) -> Option<Opening> {
        let (opening, all) = Opening::one_more(&self.opening);
        (self.idle().len() + all <= wanted).then_some(opening)
    }

    /// Opens it. What fails here fails again where the connection is needed, and is told there.
    pub(crate) async fn open(&self, _until_done: Opening) {
        if let Ok(link) = self.connect().await {
            self.idle().push(link);
        }
    }

    /// Sends and gives the answer's head. A kept connection that the server closes before it says anything is replaced
    /// once, and none is kept from then on: llama.cpp's server says `Keep-Alive` and closes after each stream, so that
    /// the next request passes its farewell on the way. It cannot have answered there; that the request was sent again
    /// is told with the answer, in case it was at work on it.
    ///
    /// # Errors
    /// If there is no connection, or it breaks before the head is here.
    pub(crate) async fn send(&self, path: &str, body: &Bytes) -> Result<Answer<'_>, ClientError> {
        let kept = self.idle().pop();
        let mut sent = Sent::Once;
        if let Some(mut link) = kept
            && link.is_alive().await
        {
            match self.ask(&mut link, path, body).await? {
                Ok(response) => return Ok(Answer::new(self, link, response, sent)),
                // Nothing of it was written.
                Err(e) if e.is_canceled() => {}
                Err(e) if link.history == History::Kept && was_closed(&e) => {
                    sent = Sent::Again;
                    self.closes.store(true, Ordering::Relaxed);
                    self.idle().retain(|link| link.history == History::New);
                }
                Err(e) => return Err(ClientError::Broke(e)),
            }
        }
        let mut link = self.connect().await?;
        let response = self.ask(&mut link, path, body).await?.map_err(ClientError::Broke)?;
        Ok(Answer::new(self, link, response, sent))
    }

    async fn ask(
        &self,
        link: &mut Link,
        path: &str,
        body: &Bytes,
    ) -> Result<Result<Response<Incoming>, hyper::Error>, ClientError> {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let mut request = Request::builder()
            .method(method)
            .uri(self.target.path(path))
            .header(header::HOST, self.target.authority())
            .header(header::ACCEPT, "text/event-stream, application/json");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if !self.target.key.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.target.key));
        }
        let request = request.body(Full::new(body.clone())).map_err(ClientError::Request)?;
        let sent = link.sender.send_request(request);
        Ok(link.drive_until(sent).await)
    }

    async fn connect(&self) -> Result<Link, ClientError> {
        let host = self.target.host.trim_start_matches('[').trim_end_matches(']');
        let look_up = || async { Ok(lookup_host((host, self.target.port)).await?.collect()) };
        let addresses = self.addresses.get_or_try_init(look_up).await.map_err(ClientError::Connect)?;
        let tcp = TcpStream::connect(&addresses[..]).await.map_err(ClientError::Connect)?;
        let arrival = Arrival::new(self.clock);
        let stamped = StampedStream::new(tcp, arrival.clone()).map_err(ClientError::Connect)?;
        let io: Box<dyn Io> = match &self.tls {
            None => Box::new(stamped),
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned());
                let name = name.map_err(|e| ClientError::Connect(io::Error::other(e)))?;
                Box::new(tls.connect(name, stamped).await.map_err(refused_handshake)?)
            }
        };
        let handshake = http1::Builder::new().handshake(TokioIo::new(io)).await;
        let (sender, driver) = handshake.map_err(ClientError::Broke)?;
        Ok(Link { sender, driver, arrival, over: false, history: History::New })
    }
}

/// A connection that is being opened, from its making until its end.
pub(crate) struct Opening(Arc<AtomicUsize>);

impl Opening {
    /// One more of those that `count` counts, and how many there are with it.
    fn one_more(count: &Arc<AtomicUsize>) -> (Opening, usize) {
        let all = count.fetch_add(1, Ordering::Relaxed) + 1;
        (Opening(Arc::clone(count)), all)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why there is no encrypted connection, for whoever can do something about it.
fn refused_handshake(e: io::Error) -> ClientError {
    use rustls::CertificateError as Bad;
    match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(bad)) => ClientError::Untrusted(match bad {
            // Another authority of the same name has signed it with another key.
            Bad::UnknownIssuer | Bad::BadSignature => "nobody who is trusted has signed it".to_owned(),
            Bad::Expired | Bad::ExpiredContext { .. } => "it has expired".to_owned(),
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "it is for another name".to_owned(),
            other => other.to_string(),
        }),
        Some(e @ rustls::Error::InvalidMessage(_)) => ClientError::NotTls(e.clone()),
        _ => ClientError::Connect(e),
    }
}

/// Whether the other side has closed the connection before it said anything.
fn was_closed(e: &hyper::Error) -> bool {
    let reset = || {
        let cause = std::error::Error::source(e).and_then(|e| e.downcast_ref::<io::Error>());
        cause.is_some_and(|e| matches!(e.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe))
    };
    e.is_incomplete_message() || reset()
}

/// How often a request was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Sent {
    Once,
    Again,
}

/// A response under way. Its connection is kept if the body is read to its end.
pub(crate) struct Answer<'a> {
    client: &'a Client,
    link: Link,
    body: Incoming,
    /// The HTTP status.
    pub(crate) status: u16,
    /// The content type; empty if not told.
    pub(crate) content_type: String,
    /// How often it was asked for.
    pub(crate) sent: Sent,
}

impl<'a> Answer<'a> {
    fn new(client: &'a Client, link: Link, response: Response<Incoming>, sent: Sent) -> Answer<'a> {
        let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let status = response.status().as_u16();
        Answer { client, status, content_type, link, body: response.into_body(), sent }
    }

    /// The next part of the body and when it arrived, or `None` at the end.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(crate) async fn next(&mut self) -> Result<Option<(Bytes, Moment)>, ClientError> {
        loop {
            let (link, body) = (&mut self.link, &mut self.body);
            let frame = poll_fn(|cx| {
                if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
                    return Poll::Ready(frame);
                }
                link.drive(cx);
                Pin::new(&mut *body).poll_frame(cx)
            });
            match frame.await {
                None => return Ok(None),
                Some(Err(e)) => return Err(ClientError::Broke(e)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some((data, self.link.arrival.moment())));
                    }
                }
            }
        }
    }

    /// Gives the connection back, after the end of the body.
    pub(crate) async fn keep(mut self) {
        if !self.client.closes.load(Ordering::Relaxed) && self.link.is_alive().await {
            self.link.history = History::Kept;
            self.client.idle().push(self.link);
        }
    }

    /// The body as a whole, or its first `limit` bytes.
    pub(crate) async fn read(mut self, limit: usize) -> Result<Vec<u8>, ClientError> {
        let mut whole = Vec::new();
        while let Some((part, _)) = self.next().await? {
            whole.extend_from_slice(&part[..part.len().min(limit - whole.len())]);
            if whole.len() == limit {
                return Ok(whole);
            }
        }
        self.keep().await;
        Ok(whole)
    }
}
