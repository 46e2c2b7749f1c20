//! A conversation with any OpenAI-compatible server, over its streaming chat endpoint.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Figures, Message, Partner, Settings};
use crate::error::Fault;

/// A line of a stream is one event; more than this is not a chat server.
const MAX_LINE_BYTES: u64 = 1 << 20;

pub(super) struct Remote {
    agent: ureq::Agent,
    base: String,
    key: Option<String>,
    model: String,
}

impl Remote {
    /// Asks the server for its first model.
    ///
    /// # Errors
    /// If there is no server, it wants another key, or it has no model.
    pub(super) fn connect(url: &str) -> Result<Remote, Fault> {
        let trimmed = url.trim_end_matches('/').trim_end_matches("/v1");
        let base = if trimmed.contains("://") { trimmed.to_owned() } else { format!("http://{trimmed}") };
        let key = ["GARRISON_API_KEY", "OPENAI_API_KEY"].iter().find_map(|name| std::env::var(name).ok());
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .build();
        let mut remote = Remote { agent: config.into(), base, key, model: String::new() };
        let listed = remote.models()?;
        remote.model = listed["data"][0]["id"]
            .as_str()
            .ok_or_else(|| Fault::failed(format!("{} lists no model", remote.base)))?
            .to_owned();
        Ok(remote)
    }

    fn models(&self) -> Result<Value, Fault> {
        let mut request = self.agent.get(format!("{}/v1/models", self.base));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response =
            request.call().map_err(|e| Fault::failed(format!("{} cannot be reached: {e}", self.base)))?;
        let status = response.status();
        let body: Value = response
            .body_mut()
            .read_json()
            .map_err(|e| Fault::failed(format!("{} answered {status} and no JSON: {e}", self.base)))?;
        if status.is_success() { Ok(body) } else { Err(self.refused(status.as_u16(), &body)) }
    }

    fn refused(&self, status: u16, body: &Value) -> Fault {
        let said = body["error"]["message"].as_str().unwrap_or("no reason given");
        let hint =
            if status == 401 { " (the key is read from GARRISON_API_KEY or OPENAI_API_KEY)" } else { "" };
        Fault::failed(format!("{} answered {status}: {said}{hint}", self.base))
    }
}

impl Partner for Remote {
    fn name(&self) -> &str {
        &self.model
    }

    fn answer(
        &mut self,
        messages: &[Message],
        settings: &Settings,
        show: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Figures, Fault> {
        let mut body = json!({
            "model": self.model,
            "messages": messages,
            "temperature": settings.temperature,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        if let Some(seed) = settings.seed {
            body["seed"] = json!(seed);
        }
        if let Some(max) = settings.max_tokens {
            body["max_tokens"] = json!(max);
        }
        let mut request = self.agent.post(format!("{}/v1/chat/completions", self.base));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request
            .send_json(&body)
            .map_err(|e| Fault::failed(format!("{} cannot be reached: {e}", self.base)))?;
        let status = response.status();
        if !status.is_success() {
            let body = response.body_mut().read_json().unwrap_or(Value::Null);
            return Err(self.refused(status.as_u16(), &body));
        }
        read_events(BufReader::new(response.body_mut().as_reader()), show)
    }
}

/// Reads server-sent events until `[DONE]`, an error, or `show` has had enough.
fn read_events(mut stream: impl BufRead, show: &mut dyn FnMut(&str) -> bool) -> Result<Figures, Fault> {
    let mut figures = Figures::default();
    let mut line = String::new();
    loop {
        line.clear();
        let read = std::io::Read::take(&mut stream, MAX_LINE_BYTES).read_line(&mut line);
        match read {
            Ok(0) => return Err(Fault::failed("the answer broke off before its end")),
            Ok(_) => {}
            Err(e) => return Err(Fault::failed(format!("the answer broke off: {e}"))),
        }
        let Some(data) = line.trim_end().strip_prefix("data:").map(str::trim) else { continue };
        if data == "[DONE]" {
            return Ok(figures);
        }
        let event: Value =
            serde_json::from_str(data).map_err(|e| Fault::failed(format!("an event is not JSON: {e}")))?;
        if let Some(message) = event["error"]["message"].as_str() {
            return Err(Fault::failed(format!("the server gave up: {message}")));
        }
        let text = event["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        figures.generated_tokens += u32::from(!text.is_empty());
        if let Some(usage) = event["usage"].as_object() {
            let count = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or(0) as u32;
            figures = Figures {
                prompt_tokens: count("prompt_tokens"),
                generated_tokens: count("completion_tokens"),
            };
        }
        if !text.is_empty() && !show(text) {
            return Ok(figures);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_text_and_figures() {
        let stream = ": heartbeat\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n\
                      data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":9}}\n\ndata: [DONE]\n\n";
        let mut said = String::new();
        let figures = read_events(stream.as_bytes(), &mut |t| {
            said.push_str(t);
            true
        })
        .unwrap();
        assert_eq!((said.as_str(), figures.prompt_tokens, figures.generated_tokens), ("Hi", 3, 9));
    }

    #[test]
    fn a_broken_stream_is_told_apart_from_an_end() {
        let cut = read_events("data: {\"choices\":[]}\n".as_bytes(), &mut |_| true);
        assert!(cut.unwrap_err().to_string().contains("broke off"));
        let failed = read_events("data: {\"error\":{\"message\":\"oh\"}}\n".as_bytes(), &mut |_| true);
        assert!(failed.unwrap_err().to_string().contains("oh"));
    }
}
