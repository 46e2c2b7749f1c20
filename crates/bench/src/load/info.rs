//! What a server says of itself before it is measured.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::client::{Answer, Client, ClientError};
use super::socket::Clock;
use super::target::{Endpoint, Target};

/// More of an answer is not read.
const MAX_ANSWER: usize = 16 << 20;

/// How long a server may take to say it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of a refusal, or of the answer to a short request.
const MAX_SHORT: usize = 64 << 10;

/// How long the rest of a short request's answer is waited for.
const LINGER: Duration = Duration::from_secs(5);

/// The most characters of a reason.
const MAX_REASON: usize = 300;

/// Questions to a server that are not measured.
pub struct Info {
    client: Client,
    runtime: tokio::runtime::Runtime,
}

/// Why a server does not say.
#[derive(Debug, Error)]
pub enum InfoError {
    /// It cannot be asked.
    #[error("{server} cannot be asked: {reason}")]
    Unreachable {
        /// Which.
        server: String,
        /// Why not.
        reason: String,
    },
    /// Its certificate is one that nobody trusted has signed, or for another name.
    #[error("{server}: {reason}")]
    Untrusted {
        /// Which.
        server: String,
        /// Why.
        reason: String,
    },
    /// It refuses.
    #[error("{server} answers {status} to {path}: {said}")]
    Refused {
        /// Which.
        server: String,
        /// With what.
        status: u16,
        /// To what.
        path: String,
        /// Saying what.
        said: String,
    },
}

impl Info {
    /// Asks `target`.
    ///
    /// # Errors
    /// If the system gives no runtime.
    pub fn new(target: &Target) -> Result<Info, InfoError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let refuse =
            |e: std::io::Error| InfoError::Unreachable { server: target.to_string(), reason: e.to_string() };
        let runtime = runtime.map_err(refuse)?;
        Ok(Info { client: Client::new(target.clone(), Clock::start()), runtime })
    }

    /// The first model that the server lists.
    ///
    /// # Errors
    /// If it lists none, or cannot be asked.
    pub fn first_model(&self) -> Result<String, InfoError> {
        let listed = self.ask("/v1/models", &Bytes::new())?;
        listed["data"][0]["id"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| self.unreachable("it lists no model"))
    }

    /// Ids that stand for text, if the server has `/tokenize` as vLLM has it.
    ///
    /// # Errors
    /// If it has not.
    pub fn text_ids(&self, model: &str, text: &str) -> Result<Vec<u32>, InfoError> {
        let body = json!({"model": model, "prompt": text, "add_special_tokens": false});
        let said = self.ask("/tokenize", &body.to_string().into())?;
        let ids = said["tokens"].as_array().map(|ids| ids.iter().filter_map(Value::as_u64));
        let mut ids: Vec<u32> = ids.into_iter().flatten().map(|id| id as u32).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() < 16 { Err(self.unreachable("it gives no token ids")) } else { Ok(ids) }
    }

    /// Sends one short request, which is not measured, as those of a run will be, and waits at most `patience` for the
    /// answer: so a wrong model, key or path is told once, by the server's own words, and not by a run that fails.
    ///
    /// # Errors
    /// If it is refused, or not answered by a stream.
    pub fn try_one(
        &self,
        endpoint: Endpoint,
        model: &str,
        fields: &Map<String, Value>,
        patience: Duration,
    ) -> Result<(), InfoError> {
        let mut body = fields.clone();
        body.insert("model".to_owned(), json!(model));
        body.insert("stream".to_owned(), json!(true));
        body.insert("max_tokens".to_owned(), json!(1));
        match endpoint {
            Endpoint::Chat => {
                body.insert("messages".to_owned(), json!([{"role": "user", "content": "Hello"}]))
            }
            Endpoint::Completions => body.insert("prompt".to_owned(), json!("Hello")),
        };
        let body = Value::Object(body).to_string().into();
        self.within(patience, async {
            let answer = self.head(endpoint.path(), &body).await?;
            if !answer.content_type.starts_with("text/event-stream") {
                let kind = &answer.content_type;
                return Err(self.unreachable(&format!("its answer is no stream of events but {kind:?}")));
            }
            // The rest only keeps it busy; what is wrong with it, a run tells.
            let _ = tokio::time::timeout(LINGER, answer.read(MAX_SHORT)).await;
            Ok(())
        })
    }

    fn unreachable(&self, reason: &str) -> InfoError {
        InfoError::Unreachable { server: self.client.server(), reason: reason.to_owned() }
    }

    fn ask(&self, path: &str, body: &Bytes) -> Result<Value, InfoError> {
        self.within(PATIENCE, async {
            let answer = self.head(path, body).await?;
            let said = answer.read(MAX_ANSWER).await.map_err(|e| self.unreachable(&e.to_string()))?;
            Ok(serde_json::from_slice(&said).unwrap_or(Value::Null))
        })
    }

    fn within<T>(
        &self,
        patience: Duration,
        asked: impl Future<Output = Result<T, InfoError>>,
    ) -> Result<T, InfoError> {
        let late = || Err(self.unreachable(&format!("no answer within {:.0} s", patience.as_secs_f64())));
        // A timer belongs to the runtime that it is made in.
        self.runtime
            .block_on(async { tokio::time::timeout(patience, asked).await.unwrap_or_else(|_| late()) })
    }

    /// What it answers, unless it refuses to.
    async fn head(&self, path: &str, body: &Bytes) -> Result<Answer<'_>, InfoError> {
        let answer = self.client.send(path, body).await.map_err(|e| match e {
            e @ ClientError::Untrusted(_) => {
                InfoError::Untrusted { server: self.client.server(), reason: e.to_string() }
            }
            e => self.unreachable(&e.to_string()),
        })?;
        if answer.status == 200 {
            return Ok(answer);
        }
        let (status, kind) = (answer.status, answer.content_type.clone());
        let said = reason(&kind, &answer.read(MAX_SHORT).await.unwrap_or_default());
        Err(InfoError::Refused { server: self.client.server(), status, path: path.to_owned(), said })
    }
}

/// Why a server refuses, in its own words if it has any: pages for browsers say nothing.
fn reason(content_type: &str, body: &[u8]) -> String {
    let said: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let message = [&said["error"]["message"], &said["message"], &said["detail"], &said["error"]];
    let message = message.into_iter().find_map(Value::as_str).map(str::to_owned);
    let plain = || String::from_utf8_lossy(body).lines().next().unwrap_or_default().trim().to_owned();
    let text = message
        .unwrap_or_else(|| if content_type.starts_with("text/html") { String::new() } else { plain() });
    // Terminals obey what a server says.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(MAX_REASON) {
        _ if text.is_empty() => "no reason given".to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
