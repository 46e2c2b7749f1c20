//! What a thread of its own posts as JSON: alerts to a webhook, traces and metrics to a collector.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

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
        let parsed = reqwest::Url::parse(url).map_err(|_| PostError::Url(self.setting))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
            return Err(PostError::Url(self.setting));
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(self.time)
            .build()
            .map_err(|e| self.broken(&e))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let poster = Poster { client, base: url.to_owned(), runtime: runtime.map_err(|e| self.broken(&e))? };
        let thread = std::thread::Builder::new().name(thread.into()).spawn(move || work(poster));
        thread.map(drop).map_err(|e| self.broken(&e))
    }
}

/// Posts, one after the other.
pub(crate) struct Poster {
    client: reqwest::Client,
    base: String,
    runtime: tokio::runtime::Runtime,
}

impl Poster {
    /// Whether it was taken, at a path below the URL.
    pub(crate) fn post(&self, path: &str, body: &Value) -> bool {
        let request =
            self.client.post(format!("{}{path}", self.base)).header(CONTENT_TYPE, "application/json");
        // In a task, since sending asks for the runtime's clock when it is made.
        let sent = self.runtime.block_on(async { request.body(body.to_string()).send().await });
        sent.is_ok_and(|response| response.status().is_success())
    }
}
