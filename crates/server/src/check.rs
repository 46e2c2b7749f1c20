//! The edge on its own: a body read as its endpoint reads it, with nothing started. What fuzzing
//! drives, and what a tool can use to check requests before it sends them.

use crate::chat;
use crate::completions::CompletionRequest;
use crate::config::Limits;
use crate::error::ApiError;
use crate::fields::{Fields, parse};
use crate::model::ServedModel;
use crate::sse::Dialect;

/// An endpoint whose bodies can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/messages`.
    Messages,
    /// `POST /v1/responses`.
    Responses,
}

/// Reads `body` as `endpoint` would for `model`: JSON, fields, ranges, template and tokens.
///
/// # Errors
/// The error object that a client would get, as JSON.
pub fn check_body(endpoint: Endpoint, body: &[u8], model: &ServedModel) -> Result<(), String> {
    read(endpoint, body, model).map_err(|error| error.to_json())
}

fn read(endpoint: Endpoint, body: &[u8], model: &ServedModel) -> Result<(), ApiError> {
    let value = parse(body)?;
    let params = match endpoint {
        Endpoint::Chat => chat::check(Dialect::Chat, value, model)?,
        Endpoint::Messages => chat::check(Dialect::Messages, value, model)?,
        Endpoint::Responses => chat::check(Dialect::Responses, value, model)?,
        Endpoint::Completions => {
            CompletionRequest::read(&Fields::root(&value)?, model, Limits::default().sequences)?.params
        }
    };
    params.structure.map_or(Ok(()), |structure| structure.compile(&model.engine).map(drop))
}
