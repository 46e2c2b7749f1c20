//! Errors as OpenAI's clients read them: `{"error": {"message", "type", "param", "code"}}`; the [gate](crate::gate)
//! writes them anew for clients of another dialect.
//!
//! Every failure of this crate ends here, as one sentence for the reader and the status that the
//! stock clients map to their exception types. Nothing else in the project knows a status code.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use garrison_engine::{Failure, SubmitError};
use garrison_gateway::{self as gateway, Exhausted, Limited, TooMany};
use garrison_wire::{FailureKind, Fault, WireError};
use serde::Serialize;

use crate::launch::QUEUE_TOO_SHORT;
use crate::screen::Stamp;
use crate::sse::Dialect;

/// What a client is told when a request fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    kind: &'static str,
    param: Option<String>,
    code: Option<&'static str>,
    retry_after_s: Option<u32>,
    /// There if the request was judged.
    judgement: Option<Box<Judgement>>,
}

/// What a judged request is told besides.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Judgement {
    /// What was found in what was blocked.
    reasons: Vec<String>,
    stamp: Stamp,
}

/// The wire form.
#[derive(Serialize)]
struct Envelope<'a> {
    error: Object<'a>,
}

#[derive(Serialize)]
struct Object<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
    /// Garrison's own: why something was blocked, in codes.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    reasons: &'a [String],
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            message: message.into(),
            kind,
            param: None,
            code: None,
            retry_after_s: None,
            judgement: None,
        }
    }

    /// Of a request that was judged, with why it was blocked.
    pub(crate) fn judged(mut self, stamp: Stamp, reasons: Vec<String>) -> ApiError {
        self.judgement = Some(Box::new(Judgement { reasons, stamp }));
        self
    }

    /// With a code for programs.
    pub(crate) fn code(mut self, code: &'static str) -> ApiError {
        self.code = Some(code);
        self
    }

    fn retry_after(mut self, seconds: u32) -> ApiError {
        self.retry_after_s = Some(seconds);
        self
    }

    /// 400: the request is wrong as a whole.
    pub(crate) fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// 400: the field `param` is wrong.
    pub(crate) fn bad_field(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError { param: Some(param.into()), ..ApiError::bad_request(message) }
    }

    /// 400: the field `param` is understood, but this version does not do it.
    pub(crate) fn unsupported(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError::bad_field(param, message).code("unsupported_parameter")
    }

    /// 400: the prompt, or the prompt and the answer asked for, can never fit.
    pub(crate) fn context_length(param: &str, message: impl Into<String>) -> ApiError {
        ApiError::bad_field(param, message).code("context_length_exceeded")
    }

    /// 401: no key, or one that is not known.
    pub(crate) fn unauthorized(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, "authentication_error", message).code("invalid_api_key")
    }

    /// 403: a browser page of an origin that is not configured.
    pub(crate) fn forbidden_origin(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "permission_error", message).code("origin_not_allowed")
    }

    /// 403: the request was sent to a name that a server on a loopback address does not answer to.
    pub(crate) fn forbidden_host(host: &str) -> ApiError {
        let host: String = host.chars().filter(|c| !c.is_control()).take(100).collect();
        let message = format!(
            "this server listens on this machine only and is not called \"{host}\"; if that is a proxy's name \
             for it, its owner can allow it with host_names"
        );
        ApiError::new(StatusCode::FORBIDDEN, "permission_error", message).code("host_not_allowed")
    }

    /// 403: the key may ask, but not change what is served.
    pub(crate) fn not_owner() -> ApiError {
        let message = "this needs an owner's key: one that is written \"owner KEY\" in the API keys file";
        ApiError::new(StatusCode::FORBIDDEN, "permission_error", message).code("owner_key_required")
    }

    /// 403: the key may read numbers and nothing else.
    pub(crate) fn observer() -> ApiError {
        let message = "this key is an observer's, which may read /metrics and /v1/models and nothing else";
        ApiError::new(StatusCode::FORBIDDEN, "permission_error", message).code("observer_key")
    }

    /// 403: the key may not ask for this model.
    pub(crate) fn not_allowed(model: &str) -> ApiError {
        let model: String = model.chars().take(100).collect();
        let message = format!("this key may not ask for \"{model}\"; GET /v1/models lists what it may");
        let error =
            ApiError::new(StatusCode::FORBIDDEN, "permission_error", message).code("model_not_allowed");
        ApiError { param: Some("model".into()), ..error }
    }

    /// 404: there is no such adapter.
    pub(crate) fn no_adapter(name: &str) -> ApiError {
        let name: String = name.chars().take(100).collect();
        let message = format!("there is no adapter \"{name}\" here; GET /v1/models lists what there is");
        let error =
            ApiError::new(StatusCode::NOT_FOUND, "not_found_error", message).code("adapter_not_found");
        ApiError { param: Some("lora_name".into()), ..error }
    }

    /// 404: there is no such path.
    pub(crate) fn no_route(path: &str) -> ApiError {
        let message =
            format!("there is no endpoint {path} on this server; see the README for what it serves");
        ApiError::new(StatusCode::NOT_FOUND, "not_found_error", message).code("unknown_url")
    }

    /// 404: there is no such model; `known` is what there is.
    pub(crate) fn no_model(asked: &str, known: &[String]) -> ApiError {
        let message =
            format!("the model \"{asked}\" does not exist here; this server has: {}", known.join(", "));
        let error = ApiError::new(StatusCode::NOT_FOUND, "not_found_error", message).code("model_not_found");
        ApiError { param: Some("model".into()), ..error }
    }

    /// 404: nothing is remembered of a request.
    pub(crate) fn no_request(id: &str) -> ApiError {
        let id: String = id.chars().filter(|c| !c.is_control()).take(100).collect();
        let message =
            format!("nothing is remembered of a request \"{id}\"; of requests to a route, the last 1024 are");
        ApiError::new(StatusCode::NOT_FOUND, "not_found_error", message).code("request_not_found")
    }

    /// 429: the key has used up its minute.
    pub(crate) fn too_many(too_many: &TooMany) -> ApiError {
        let (code, what) = match too_many.limited {
            Limited::Requests => ("requests_per_minute", "requests"),
            Limited::Tokens => ("tokens_per_minute", "tokens"),
        };
        let room = match too_many.limited {
            Limited::Requests => too_many.standing.requests,
            Limited::Tokens => too_many.standing.tokens,
        };
        let limit = room.map_or(0, |room| room.limit);
        let error = |message: String| {
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message).code(code)
        };
        match too_many.wait {
            Some(wait) => error(format!("this key has used up its {limit} {what} per minute")).retry_in(wait),
            None => error(format!(
                "this request may take more than the {limit} tokens that this key has in a minute; ask for fewer with \
                 max_tokens, or send a shorter prompt"
            )),
        }
    }

    /// With how long the client should wait.
    pub(crate) fn retry_in(self, wait: Duration) -> ApiError {
        // Rounded up, so that whoever waits is let in; a month's budget can take a month.
        self.retry_after(wait.as_secs_f64().ceil().clamp(1.0, 2_764_800.0) as u32)
    }

    /// Nobody answered for a route.
    pub(crate) fn exhausted(exhausted: &Exhausted) -> ApiError {
        let message = exhausted.to_string();
        let error = |status, kind| ApiError::new(status, kind, message.clone());
        match exhausted {
            Exhausted::Budget => {
                error(StatusCode::TOO_MANY_REQUESTS, "insufficient_quota").code("budget_exhausted")
            }
            Exhausted::RequestCap => {
                error(StatusCode::TOO_MANY_REQUESTS, "insufficient_quota").code("max_cost_exceeded")
            }
            Exhausted::RateLimited(wait) => error(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error")
                .code("providers_rate_limited")
                .retry_in(*wait),
            Exhausted::Deadline => {
                error(StatusCode::GATEWAY_TIMEOUT, "server_error").code("deadline_exceeded")
            }
            Exhausted::Images => ApiError::unsupported("messages", message),
            Exhausted::Failed(_) => error(StatusCode::BAD_GATEWAY, "server_error").code("providers_failed"),
        }
    }

    /// An answer from elsewhere broke off after some of it had been shown.
    pub(crate) fn broke_off(failure: &gateway::Failure) -> ApiError {
        let message = format!("the answer is not complete: {failure}");
        match failure {
            gateway::Failure::Deadline => {
                ApiError::new(StatusCode::GATEWAY_TIMEOUT, "server_error", message).code("deadline_exceeded")
            }
            _ => ApiError::new(StatusCode::BAD_GATEWAY, "server_error", message).code("provider_broke_off"),
        }
    }

    /// 404: the stream to resume is no longer kept.
    pub(crate) fn stream_expired(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, "not_found_error", message).code("stream_expired")
    }

    /// 405: the path exists, but not for this method.
    pub(crate) fn method(method: &str, path: &str) -> ApiError {
        let message = format!("{path} does not take {method}");
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
            .code("method_not_allowed")
    }

    /// 408: the body did not arrive in time.
    pub(crate) fn slow_body(limit_s: f64) -> ApiError {
        let message = format!(
            "the request's body did not arrive within {limit_s} s; send it whole, or in smaller requests"
        );
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", message).code("body_timeout")
    }

    /// 409: the idempotency key is bound to another body.
    pub(crate) fn key_reused() -> ApiError {
        let message = "this Idempotency-Key belongs to a request with another body or path; \
                       use a new key for a new request";
        ApiError::new(StatusCode::CONFLICT, "invalid_request_error", message).code("idempotency_key_reused")
    }

    /// 413: the body is larger than the server takes.
    pub(crate) fn body_too_large(limit: usize) -> ApiError {
        let message = format!("the request's body is larger than {limit} bytes, the most this server takes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message).code("body_too_large")
    }

    /// 413: the body's JSON has more values than the server makes of one body.
    pub(crate) fn too_many_values(limit: usize) -> ApiError {
        let message = format!(
            "the request's body has too many values; in memory they would take more than the {} MiB that this \
             server has for one body",
            limit >> 20
        );
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message).code("body_too_large")
    }

    /// 429: a table or queue of this server is full.
    pub(crate) fn queue_full(message: impl Into<String>, retry_after_s: u32) -> ApiError {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
            .code("queue_full")
            .retry_after(retry_after_s)
    }

    /// 500: the server failed at something that was not the client's doing.
    pub(crate) fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// 503: something that every request needs does not work now.
    pub(crate) fn unavailable(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
    }

    /// 503: the server finishes what is running and takes no more.
    pub(crate) fn draining() -> ApiError {
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            "the server is shutting down and takes no new requests",
        )
        .code("draining")
        .retry_after(DRAIN_RETRY_S)
    }

    /// Whether it is this server's failure or lack of room, so that the same request may fare better elsewhere.
    pub(crate) fn may_pass_elsewhere(&self) -> bool {
        self.status.is_server_error()
            || self.status == StatusCode::TOO_MANY_REQUESTS
            || self.code.is_some_and(|code| code == "context_length_exceeded" || code == QUEUE_TOO_SHORT)
    }

    /// Its code, or what kind it is: never content.
    pub(crate) fn why(&self) -> &'static str {
        self.code.unwrap_or(self.kind)
    }

    /// The error object of a dialect as JSON text.
    pub(crate) fn to_json_in(&self, dialect: Dialect) -> String {
        if dialect != Dialect::Messages {
            return self.to_json();
        }
        let mut body = self.failure().to_json(dialect);
        if let Some(judgement) = self.judgement.as_ref().filter(|judgement| !judgement.reasons.is_empty()) {
            body["error"]["reasons"] = serde_json::json!(judgement.reasons);
        }
        body.to_string()
    }

    /// The Responses' `error` event of this number, as JSON text.
    pub(crate) fn to_event(&self, sequence_number: u64) -> String {
        let event = serde_json::json!({
            "type": "error",
            "sequence_number": sequence_number,
            "code": self.code.unwrap_or(self.kind),
            "message": self.message,
            "param": self.param,
        });
        event.to_string()
    }

    /// What every dialect has a word for.
    pub(crate) fn failure(&self) -> garrison_wire::Failure {
        garrison_wire::Failure {
            kind: FailureKind::of_status(self.status.as_u16()),
            message: self.message.clone(),
            code: self.code.map(str::to_owned),
            param: self.param.clone(),
        }
    }

    /// With its field called as the client calls it: `name` gives the client's word, if that is another.
    pub(crate) fn renamed(mut self, name: impl FnOnce(&str) -> Option<String>) -> ApiError {
        if let Some(param) = &self.param
            && let Some(theirs) = name(param)
        {
            self.message = self.message.replace(param.as_str(), &theirs);
            self.param = Some(theirs);
        }
        self
    }

    /// The status a response with this error has.
    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// OpenAI's object as JSON text, for a response's body or an event of a stream.
    pub(crate) fn to_json(&self) -> String {
        let envelope = Envelope {
            error: Object {
                message: &self.message,
                kind: self.kind,
                param: self.param.as_deref(),
                code: self.code,
                reasons: self.judgement.as_ref().map_or(&[][..], |judgement| &judgement.reasons[..]),
            },
        };
        // Strings and nulls always serialize; the fallback keeps this total without a panic.
        serde_json::to_string(&envelope)
            .unwrap_or_else(|_| r#"{"error":{"message":"unprintable error","type":"server_error"}}"#.into())
    }
}

/// When a client refused by a draining server may try again: a restart's worth of seconds.
const DRAIN_RETRY_S: u32 = 10;

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(judgement) = &self.judgement {
            judgement.stamp.mark(headers);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            // The stock clients read this finer one first.
            headers.insert(
                HeaderName::from_static("retry-after-ms"),
                HeaderValue::from(u64::from(seconds) * 1000),
            );
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // A body that was refused half-read would be taken for the next request.
        if matches!(
            self.status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::SERVICE_UNAVAILABLE
        ) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        // For the gate, which knows the route and so the dialect.
        response.extensions_mut().insert(self);
        response
    }
}

impl ApiError {
    /// What the engine's refusal means to the client, whose prompt was in the field `param`.
    pub(crate) fn from_submit(error: &SubmitError, param: &str) -> ApiError {
        let message = error.to_string();
        match error {
            SubmitError::ContextLengthExceeded { .. } => ApiError::context_length(param, message),
            SubmitError::ForeignAdapter => ApiError::bad_field("model", message),
            SubmitError::EmptyPrompt | SubmitError::UnknownToken { .. } => {
                ApiError::bad_field(param, message)
            }
            SubmitError::QueueFull { retry_after_s, .. } => ApiError::queue_full(message, *retry_after_s),
            SubmitError::Draining => ApiError::draining(),
            SubmitError::Stopped => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message).code("engine_stopped")
            }
        }
    }
}

impl From<WireError> for ApiError {
    fn from(error: WireError) -> ApiError {
        let WireError { param, message, fault } = error;
        let refusal = ApiError { param, ..ApiError::bad_request(message) };
        match fault {
            Fault::Malformed => refusal,
            Fault::Unsupported => refusal.code("unsupported_parameter"),
        }
    }
}

impl From<&Failure> for ApiError {
    fn from(failure: &Failure) -> ApiError {
        match failure {
            Failure::Adapter(_) => ApiError::internal(failure.to_string()).code("adapter_failed"),
            // The same may work as soon as the device does again.
            Failure::Device(_) => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", failure.to_string())
                    .code("device_failed")
            }
            Failure::ShuttingDown => ApiError::draining(),
            // The client's grammar, so not the server's error: the same again would fail again.
            Failure::Grammar(_) => ApiError::bad_request(failure.to_string()).code("grammar_failed"),
            Failure::DeadlineExceeded => {
                ApiError::new(StatusCode::GATEWAY_TIMEOUT, "server_error", failure.to_string())
                    .code("deadline_exceeded")
            }
            Failure::Stopped => ApiError::internal(failure.to_string()).code("engine_stopped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_openais() {
        let json = ApiError::bad_field("temperature", "temperature must be a number").to_json();
        assert_eq!(
            json,
            r#"{"error":{"message":"temperature must be a number","type":"invalid_request_error","param":"temperature","code":null}}"#
        );
    }

    #[test]
    fn a_full_queue_says_when_to_come_back() {
        let error = ApiError::from_submit(&SubmitError::QueueFull { waiting: 7, retry_after_s: 3 }, "prompt");
        let response = error.into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "3");
    }

    #[test]
    fn a_missing_model_lists_what_there_is() {
        let error = ApiError::no_model("gpt-4", &["tiny".into(), "llama".into()]);
        assert!(error.to_json().contains("this server has: tiny, llama"), "{}", error.to_json());
    }
}
