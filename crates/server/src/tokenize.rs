//! vLLM's tokenizer endpoints: text to tokens and back, exactly as generation would do it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use garrison_tokenizer::{AddSpecial, ParseSpecial, SkipSpecial};
use serde_json::{Value, json};

use crate::answer::blocking;
use crate::app::{App, Shared};
use crate::chat::prompt;
use crate::chat::tools::Tools;
use crate::error::ApiError;
use crate::fields::{Fields, parse, token_ids};
use crate::model::ServedModel;

/// `POST /tokenize`, with `prompt` or with `messages`.
pub(crate) async fn tokenize(State(app): Shared, body: Body) -> Result<Json<Value>, ApiError> {
    on_body(&app, body, |fields, model| {
        let tokens = match (fields.string("prompt")?, fields.get("messages")) {
            (Some(_), Some(_)) => {
                return Err(ApiError::bad_field("prompt", "prompt and messages exclude each other"));
            }
            (Some(text), None) => {
                let add = match fields.optional_flag("add_special_tokens")? {
                    Some(false) => AddSpecial::Never,
                    _ => AddSpecial::AsVocabulary,
                };
                model.tokenizer.encode_prompt(text, add, ParseSpecial::Spelled)
            }
            (None, Some(_)) => prompt::tokens(fields, Tools::read(fields, model)?.shown(), model)?,
            (None, None) => return Err(ApiError::bad_field("prompt", "prompt is missing (or messages)")),
        };
        let strings: Option<Vec<String>> = fields
            .flag("return_token_strs")?
            .then(|| tokens.iter().map(|token| model.tokenizer.token_text(*token)).collect());
        Ok(json!({
            "count": tokens.len(), "max_model_len": model.context(), "tokens": tokens, "token_strs": strings,
        }))
    })
    .await
}

/// `POST /detokenize`.
pub(crate) async fn detokenize(State(app): Shared, body: Body) -> Result<Json<Value>, ApiError> {
    on_body(&app, body, |fields, model| {
        let Some(items) = fields.array("tokens", usize::MAX)? else {
            return Err(ApiError::bad_field("tokens", "tokens is missing; it must be an array of token ids"));
        };
        let ids = token_ids("tokens", items, model.vocab())?;
        Ok(json!({ "prompt": model.tokenizer.decode(&ids, SkipSpecial::No) }))
    })
    .await
}

/// `GET /tokenizer_info`: of the first model.
pub(crate) async fn tokenizer_info(State(app): Shared) -> Result<Json<Value>, ApiError> {
    let model = &app.model(None)?.entry.model;
    let text = |token: u32| model.tokenizer.token_text(token);
    Ok(Json(json!({
        "model": model.name,
        "vocab_size": model.tokenizer.vocab_size(),
        "max_model_len": model.context(),
        "bos_token": model.tokenizer.bos().map(text),
        "bos_token_id": model.tokenizer.bos(),
        "eos_token": model.tokenizer.eos().first().copied().map(text),
        "eos_token_ids": model.tokenizer.eos(),
        "chat_template": model.template.as_ref().map(|template| template.source()),
    })))
}

/// Takes a body in and works on it where blocking is allowed.
async fn on_body(
    app: &Arc<App>,
    body: Body,
    work: fn(&Fields<'_>, &ServedModel) -> Result<Value, ApiError>,
) -> Result<Json<Value>, ApiError> {
    let received = app.bodies.read(body).await?;
    let value = blocking(app, move |app| {
        let value = parse(&received.bytes)?;
        let fields = Fields::root(&value)?;
        let chosen = app.model(fields.string("model")?)?;
        work(&fields, &chosen.entry.model)
    })
    .await?;
    Ok(Json(value))
}
