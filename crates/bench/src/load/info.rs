//! What a server says of itself before it is measured.

use bytes::Bytes;
use serde_json::{Value, json};
use thiserror::Error;

use super::client::{Client, ClientError};
use super::socket::Clock;
use super::target::Target;

/// More of an answer is not read.
const MAX_ANSWER: usize = 16 << 20;

/// How long a server may take to say it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

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

    fn unreachable(&self, reason: &str) -> InfoError {
        InfoError::Unreachable { server: self.client.server(), reason: reason.to_owned() }
    }

    fn ask(&self, path: &str, body: &Bytes) -> Result<Value, InfoError> {
        self.runtime.block_on(async {
            let asked = async {
                let answer = self.client.send(path, body).await.map_err(|e| match e {
                    e @ ClientError::Untrusted(_) => {
                        InfoError::Untrusted { server: self.client.server(), reason: e.to_string() }
                    }
                    e => self.unreachable(&e.to_string()),
                })?;
                let status = answer.status;
                let read = answer.read(MAX_ANSWER).await.map_err(|e| self.unreachable(&e.to_string()))?;
                Ok((status, read))
            };
            let (status, read) = tokio::time::timeout(PATIENCE, asked)
                .await
                .unwrap_or_else(|_| Err(self.unreachable("it does not answer")))?;
            let said: Value = serde_json::from_slice(&read).unwrap_or(Value::Null);
            if status != 200 {
                let message = said["error"]["message"].as_str().unwrap_or("no reason given").to_owned();
                let path = path.to_owned();
                return Err(InfoError::Refused { server: self.client.server(), status, path, said: message });
            }
            Ok(said)
        })
    }
}
