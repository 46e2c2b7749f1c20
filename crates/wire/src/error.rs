//! What goes wrong: a request or answer that is not of its format, a stream that broke, and what a provider says
//! when it fails.

use serde_json::{Map, Value, json};

use crate::Format;

/// Something is not of its format, or has no word in another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// The field, like `messages[0].content`; none if the body as a whole is wrong.
    pub param: Option<String>,
    /// One sentence that names the field and says what was wanted. Never a value.
    pub message: String,
    /// In which way it is wrong.
    pub fault: Fault,
}

/// How a field is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not what the format says.
    Malformed,
    /// It is understood and cannot be carried.
    Unsupported,
}

impl WireError {
    pub(crate) fn body(message: impl Into<String>) -> WireError {
        WireError { param: None, message: message.into(), fault: Fault::Malformed }
    }

    pub(crate) fn malformed(param: impl Into<String>, message: impl Into<String>) -> WireError {
        WireError { param: Some(param.into()), message: message.into(), fault: Fault::Malformed }
    }

    pub(crate) fn missing(param: impl Into<String>) -> WireError {
        let param = param.into();
        let message = format!("{param} is missing");
        WireError::malformed(param, message)
    }

    /// `why` goes on after the field's name.
    pub(crate) fn unsupported(param: impl Into<String>, why: impl std::fmt::Display) -> WireError {
        let param = param.into();
        let message = format!("{param} {why}");
        WireError { param: Some(param), message, fault: Fault::Unsupported }
    }

    /// Of a field that `format` has no word for.
    pub(crate) fn cannot_carry(param: impl Into<String>, format: Format) -> WireError {
        WireError::unsupported(param, format_args!("cannot be said in {}", format.name()))
    }
}

/// Why a stream's bytes are no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// It ended before its format's last event.
    #[error("the stream was cut before its end")]
    Cut,
    /// An event is larger than [`MAX_EVENT_BYTES`](crate::MAX_EVENT_BYTES), or the stream than
    /// [`MAX_STREAM_BYTES`](crate::MAX_STREAM_BYTES).
    #[error("the stream has more than {0} bytes in one piece")]
    TooLarge(usize),
    /// An event is not of its format.
    #[error("the stream has an event that is none: {0}")]
    Malformed(#[from] WireError),
}

/// What a provider says when it fails, as the body of a response or in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// In the provider's words.
    pub message: String,
    /// OpenAI's `code`.
    pub code: Option<String>,
    /// OpenAI's `param`.
    pub param: Option<String>,
}

/// A failure's kind; each format has its own word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The request is wrong.
    InvalidRequest,
    /// The key is.
    Authentication,
    /// There is no money left.
    Billing,
    /// The key may not.
    Permission,
    /// There is no such thing.
    NotFound,
    /// The body is too large.
    TooLarge,
    /// Too many requests or tokens.
    RateLimit,
    /// The provider is busy.
    Overloaded,
    /// It took too long.
    Timeout,
    /// Anything else.
    Server,
}

/// Kinds with OpenAI's and Anthropic's words and the statuses that mean them. The first row with a word or status
/// is what it is read as.
const KINDS: [(FailureKind, &str, &str, &[u16]); 10] = [
    (FailureKind::InvalidRequest, "invalid_request_error", "invalid_request_error", &[400, 409, 422]),
    (FailureKind::Authentication, "authentication_error", "authentication_error", &[401]),
    (FailureKind::Billing, "insufficient_quota", "billing_error", &[402]),
    (FailureKind::Permission, "permission_error", "permission_error", &[403]),
    (FailureKind::NotFound, "not_found_error", "not_found_error", &[404, 405]),
    (FailureKind::TooLarge, "request_too_large", "request_too_large", &[413]),
    (FailureKind::RateLimit, "rate_limit_error", "rate_limit_error", &[429]),
    (FailureKind::Overloaded, "overloaded_error", "overloaded_error", &[503, 529]),
    (FailureKind::Timeout, "timeout_error", "timeout_error", &[408, 504]),
    (FailureKind::Server, "server_error", "api_error", &[]),
];

/// Bytes of a message that are kept of a body that is no error object.
const EXCERPT_BYTES: usize = 200;

impl FailureKind {
    /// What a response's status says on its own.
    pub fn of_status(status: u16) -> FailureKind {
        KINDS.iter().find(|row| row.3.contains(&status)).map_or(FailureKind::Server, |row| row.0)
    }

    fn of_word(word: &str) -> Option<FailureKind> {
        // OpenAI's codes for the same, where there is no type.
        let word = match word {
            "rate_limit_exceeded" => "rate_limit_error",
            "requests" | "tokens" => "rate_limit_error",
            "invalid_prompt" => "invalid_request_error",
            other => other,
        };
        KINDS.iter().find(|row| row.1 == word || row.2 == word).map(|row| row.0)
    }

    fn word(self, format: Format) -> &'static str {
        let row = KINDS.iter().find(|row| row.0 == self);
        row.map_or("server_error", |row| if format == Format::Messages { row.2 } else { row.1 })
    }
}

impl Failure {
    /// A failure without a code.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), code: None, param: None }
    }

    /// Reads the body of a response with an error's status. What is no error object, as of a proxy in between, is
    /// told by its beginning.
    pub fn parse(status: u16, body: &[u8]) -> Failure {
        let object = serde_json::from_slice::<Value>(body).ok();
        match object.as_ref().and_then(|value| Failure::in_object(value.get("error")?)) {
            Some((Some(kind), failure)) => Failure { kind, ..failure },
            Some((None, failure)) => Failure { kind: FailureKind::of_status(status), ..failure },
            None => {
                let text = String::from_utf8_lossy(&body[..body.len().min(EXCERPT_BYTES)]);
                let message = format!("status {status} without an error object: {}", text.trim());
                Failure::new(FailureKind::of_status(status), message)
            }
        }
    }

    /// Of an error object inside of a stream, where there is no status.
    pub(crate) fn in_stream(error: &Value) -> Failure {
        match Failure::in_object(error) {
            Some((kind, failure)) => Failure { kind: kind.unwrap_or(FailureKind::Server), ..failure },
            None => Failure::new(FailureKind::Server, "the provider failed and did not say why"),
        }
    }

    fn in_object(error: &Value) -> Option<(Option<FailureKind>, Failure)> {
        // Some servers send only a sentence.
        if let Some(message) = error.as_str() {
            return Some((None, Failure::new(FailureKind::Server, message)));
        }
        let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
        let code = match error.get("code") {
            Some(Value::Number(code)) => Some(code.to_string()),
            _ => text("code"),
        };
        let kind = [text("type"), code.clone()].iter().flatten().find_map(|word| FailureKind::of_word(word));
        let failure =
            Failure { kind: FailureKind::Server, message: text("message")?, code, param: text("param") };
        Some((kind, failure))
    }

    /// The body of an error response.
    pub fn to_json(&self, format: Format) -> Value {
        match format {
            Format::Chat | Format::Responses => json!({ "error": self.openai() }),
            Format::Messages => {
                let mut error = Map::new();
                error.insert("type".into(), self.kind.word(format).into());
                error.insert("message".into(), self.message.as_str().into());
                // Anthropic's clients skip what they do not know; people read it.
                for (name, value) in [("param", &self.param), ("code", &self.code)] {
                    if let Some(value) = value {
                        error.insert(name.into(), value.as_str().into());
                    }
                }
                json!({ "type": "error", "error": error })
            }
        }
    }

    pub(crate) fn openai(&self) -> Value {
        let kind = self.kind.word(Format::Chat);
        json!({ "message": self.message, "type": kind, "param": self.param, "code": self.code })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_formats_error_is_read() {
        let table = [
            (
                429,
                r#"{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
                (FailureKind::RateLimit, "slow down", Some("rate_limit_exceeded")),
            ),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}"#,
                (FailureKind::Overloaded, "Overloaded", None),
            ),
            (
                429,
                r#"{"error":{"message":"no money","type":"insufficient_quota","code":"insufficient_quota"}}"#,
                (FailureKind::Billing, "no money", Some("insufficient_quota")),
            ),
            (400, r#"{"error":{"message":"odd","type":"BadRequest","code":400}}"#, {
                (FailureKind::InvalidRequest, "odd", Some("400"))
            }),
            (404, r#"{"error":"model not found"}"#, (FailureKind::NotFound, "model not found", None)),
        ];
        for (status, body, (kind, message, code)) in table {
            let failure = Failure::parse(status, body.as_bytes());
            assert_eq!(
                (failure.kind, failure.message.as_str(), failure.code.as_deref()),
                (kind, message, code)
            );
        }
        let proxy = Failure::parse(502, b"<html>Bad Gateway</html>");
        assert_eq!(proxy.kind, FailureKind::Server);
        assert!(proxy.message.contains("502") && proxy.message.contains("Bad Gateway"));
    }

    #[test]
    fn a_failure_has_each_formats_object() {
        let failure = Failure {
            code: Some("queue_full".into()),
            ..Failure::new(FailureKind::RateLimit, "come back later")
        };
        let openai = json!({"error": {
            "message": "come back later", "type": "rate_limit_error", "param": null, "code": "queue_full"}});
        assert_eq!(failure.to_json(Format::Chat), openai);
        let anthropic = json!({"type": "error", "error": {
            "type": "rate_limit_error", "message": "come back later", "code": "queue_full"}});
        assert_eq!(failure.to_json(Format::Messages), anthropic);
        for format in Format::ALL {
            let body = failure.to_json(format).to_string();
            assert_eq!(Failure::parse(429, body.as_bytes()), failure);
        }
    }
}
