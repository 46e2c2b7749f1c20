//! The edge on its own: a body read as its endpoint reads it, with nothing started. What fuzzing
//! drives, and what a tool can use to check requests before it sends them.

use crate::chat;
use crate::completions::CompletionRequest;
use crate::config::Limits;
use crate::error::ApiError;
use crate::fields::{Fields, parse};
use crate::model::ServedModel;

/// An endpoint whose bodies can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/completions`.
    Completions,
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
    let fields = Fields::root(&value)?;
    let params = match endpoint {
        Endpoint::Chat => {
            let (request, input) = chat::read(&fields, model)?;
            chat::prompt::encode(&input, model)?;
            request.params
        }
        Endpoint::Completions => CompletionRequest::read(&fields, model, Limits::default().sequences)?.params,
    };
    params.structure.map_or(Ok(()), |structure| structure.compile(&model.engine).map(drop))
}
