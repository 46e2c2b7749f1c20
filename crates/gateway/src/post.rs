//! What a thread of its own posts as JSON: alerts to a webhook, traces and metrics to a collector.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use serde_json::Value;
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
    /// If the URL is none, or there is no thread to send from.
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| self.broken(&e))?;
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(SOFTWARE));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(login) = login(url) {
            headers.insert(AUTHORIZATION, login);
        }
        let poster =
            Poster { base: url.to_owned(), peers: BTreeMap::new(), trust, headers, time: self.time, runtime };
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

/// Posts, one after the other.
pub(crate) struct Poster {
    base: String,
    /// By the path below the URL.
    peers: BTreeMap<String, Peer>,
    trust: ClientConfig,
    headers: HeaderMap,
    /// For one request.
    time: Duration,
    runtime: tokio::runtime::Runtime,
}

impl Poster {
    /// Whether it was taken, at a path below the URL.
    pub(crate) fn post(&mut self, path: &str, body: &Value) -> bool {
        if !self.peers.contains_key(path) {
            let address = Address::parse(&format!("{}{path}", self.base));
            let peer = address.and_then(|address| Peer::new(address, self.trust.clone(), self.time));
            let Some(peer) = peer else { return false };
            self.peers.insert(path.to_owned(), peer);
        }
        let Some(peer) = self.peers.get(path) else { return false };
        let posting = peer.post(&self.headers, body.to_string().into());
        // In a task, since waiting asks for the runtime's clock when it begins.
        let posted = self.runtime.block_on(async { tokio::time::timeout(self.time, posting).await });
        posted.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status().is_success()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_password_in_a_url_are_said_in_a_header() {
        let said = |url| login(url).map(|login| login.to_str().unwrap().to_owned());
        assert_eq!(said("https://collector.example/v1"), None);
        assert_eq!(said("https://anna:p%40ss@collector.example"), Some("Basic YW5uYTpwQHNz".into()));
        assert_eq!(said("https://anna@collector.example"), Some("Basic YW5uYTo=".into()));
    }
}
