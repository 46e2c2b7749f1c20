//! The edge on its own: a body read as its endpoint reads it, with nothing started. What fuzzing
//! drives, and what a tool can use to check requests before it sends them.

use crate::model::ServedModel;
use crate::{chat, completions};

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
    let read = match endpoint {
        Endpoint::Chat => chat::check(body, model),
        Endpoint::Completions => completions::check(body, model),
    };
    read.map_err(|error| error.to_json())
}
