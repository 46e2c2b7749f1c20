//! What a thread of its own posts as JSON: alerts to a webhook, traces and metrics to a collector.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::runtime::Builder;
use tokio::time::timeout;
use url::Url;

use crate::peer::{Address, Peer, trusting};
use crate::providers::SOFTWARE;

/// Why nothing can be posted.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The URL, by the setting that has it.
    #[error("{0} is no http or https URL")]
    Url(&'static str),
    /// Nothing to send with.
    #[error("nothing can be sent to {to}: {error}")]
    Client {
        /// To whom.
        to: &'static str,
        /// Why.
        error: String,
    },
}

/// Whom to post to, as errors call it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whom {
    /// The setting that has the URL.
    pub(crate) setting: &'static str,
    /// Who that is.
    pub(crate) name: &'static str,
    /// How long it may take.
    pub(crate) time: Duration,
}

impl Whom {
    fn broken(self, error: &dyn std::fmt::Display) -> PostError {
        PostError::Client { to: self.name, error: error.to_string() }
    }

    /// Has a thread work with what posts to a URL.
    ///
    /// # Errors
    /// If the URL is none, nothing vouches for servers, or there is no thread to send from.
    pub(crate) fn on_a_thread(
        self,
        url: &str,
        thread: &str,
        work: impl FnOnce(Poster) + Send + 'static,
    ) -> Result<(), PostError> {
        if Address::parse(url).is_none() {
            return Err(PostError::Url(self.setting));
        }
        let trust = trusting(Vec::new()).map_err(|e| self.broken(&e))?;
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(SOFTWARE));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(login) = login(url) {
            headers.insert(AUTHORIZATION, login);
        }
        let poster = Poster { base: url.to_owned(), trust, headers, time: self.time };
        let thread = std::thread::Builder::new().name(thread.into()).spawn(move || work(poster));
        thread.map(drop).map_err(|e| self.broken(&e))
    }
}

/// What a URL with a name and a password says to the server.
fn login(url: &str) -> Option<HeaderValue> {
    let url = Url::parse(url).ok()?;
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut login = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
    login.set_sensitive(true);
    Some(login)
}

/// Posts, one after the other, each over a connection of its own: between two posts nobody looks at a connection, so it
/// would go unseen that the other side has closed it. It is a few posts a second at most.
pub(crate) struct Poster {
    base: String,
    trust: ClientConfig,
    headers: HeaderMap,
    /// For one request.
    time: Duration,
}

impl Poster {
    /// Whether it was taken, at a path below the URL.
    pub(crate) fn post(&mut self, path: &str, body: &Value) -> bool {
        let address = Address::parse(&format!("{}{path}", self.base));
        let Some(peer) = address.and_then(|address| Peer::new(address, self.trust.clone(), self.time)) else {
            return false;
        };
        let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return false };
        let posting = peer.post(&self.headers, body.to_string().into());
        // In a task, since waiting asks for the runtime's clock when it begins.
        let posted = runtime.block_on(async { timeout(self.time, posting).await });
        let taken = posted.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status().is_success()));
        // Closes the connection, and waits for nobody: a look for the host's name may take longer than this may.
        runtime.shutdown_background();
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_and_a_password_in_a_url_are_said_in_a_header() {
        let said = |url| login(url).map(|login| login.to_str().unwrap().to_owned());
        assert_eq!(said("https://collector.example/v1"), None);
        assert_eq!(said("https://anna:p%40ss@collector.example"), Some("Basic YW5uYTpwQHNz".into()));
        assert_eq!(said("https://anna@collector.example"), Some("Basic YW5uYTo=".into()));
    }

    /// What does not come in this time does not come.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// The next connection.
    fn accepted(listener: &TcpListener) -> TcpStream {
        let until = Instant::now() + PATIENCE;
        listener.set_nonblocking(true).unwrap();
        let socket = loop {
            match listener.accept() {
                Ok((socket, _)) => break socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("nobody connects: {error}"),
            }
        };
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    #[test]
    fn a_collector_that_closes_after_each_answer_gets_every_post() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let whom = Whom { setting: "otlp", name: "a collector", time: Duration::from_secs(5) };
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (closed, next) = channel();
        let (told, taken) = channel();
        let work = move |mut poster: Poster| {
            for turn in 0..3 {
                told.send(poster.post("/v1/traces", &json!({ "turn": turn }))).unwrap();
                // It says that it keeps the connection, and closes it when nobody looks.
                next.recv().unwrap();
            }
        };
        whom.on_a_thread(&url, "posts", work).unwrap();
        for turn in 0..3 {
            let mut socket = accepted(&listener);
            let mut text = Vec::new();
            while !text.ends_with(b"}") {
                let mut piece = [0; 512];
                let read = socket.read(&mut piece).unwrap();
                assert!(read > 0);
                text.extend_from_slice(&piece[..read]);
            }
            let text = String::from_utf8(text).unwrap();
            assert!(text.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{text}");
            assert!(text.ends_with(&json!({ "turn": turn }).to_string()), "{text}");
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            assert!(taken.recv_timeout(PATIENCE).unwrap(), "{turn}");
            drop(socket);
            closed.send(()).unwrap();
        }
    }
}
