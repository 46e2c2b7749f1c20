//! A chat request's parameters, from JSON to valid types. Its conversation is [`super::prompt`]'s.

use garrison_engine::SpecialTokens;
use garrison_gateway::Form;

use super::tools::Tools;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::model::ServedModel;
use crate::params::{MAX_LOGPROBS, ParamDefaults, Params};
use crate::structured::Structure;

/// A request's parameters, checked against its model.
pub(crate) struct ChatRequest {
    pub(crate) params: Params,
    /// Alternatives per token, 0 to 20, if log-probabilities are wanted.
    pub(super) logprobs: Option<u32>,
    pub(super) tools: Tools,
}

impl ChatRequest {
    /// Reads and checks the fields.
    pub(super) fn read(fields: &Fields<'_>, model: &ServedModel) -> Result<ChatRequest, ApiError> {
        let defaults = ParamDefaults { sampling: &model.sampling, vocab: model.vocab() };
        let mut params = Params::read(fields, &defaults)?;
        let tools = Tools::read(fields, model)?;
        if let Some(demand) = tools.demand() {
            if params.structure.is_some() {
                let message =
                    "tool_choice and response_format both say what the answer must be; send one of them";
                return Err(ApiError::bad_field("tool_choice", message));
            }
            params.structure = Some(Structure::of_calls(demand));
        }
        if tools.need_control_tokens() {
            params.special_tokens = SpecialTokens::Show;
        }
        fields.refuse("echo", "is not supported for chat; use /v1/completions")?;
        modalities(fields)?;
        if params.max_tokens() == Some(0) && params.prompt_logprobs.is_none() {
            return Err(ApiError::bad_field("max_tokens", "max_tokens must be at least 1"));
        }
        Ok(ChatRequest { params, logprobs: logprobs(fields)?, tools })
    }

    /// What its answers are.
    pub(super) fn form(&self) -> Form {
        if self.params.structure.is_some() { Form::Document } else { self.tools.form() }
    }
}

fn logprobs(fields: &Fields<'_>) -> Result<Option<u32>, ApiError> {
    let top = fields.integer("top_logprobs", 0..=MAX_LOGPROBS)?;
    match (fields.flag("logprobs")?, top) {
        (true, top) => Ok(Some(top.unwrap_or(0) as u32)),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => Err(ApiError::bad_field("top_logprobs", "top_logprobs needs \"logprobs\": true")),
    }
}

fn modalities(fields: &Fields<'_>) -> Result<(), ApiError> {
    let wanted = fields.array("modalities", 8)?.unwrap_or_default();
    if wanted.iter().all(|modality| modality.as_str() == Some("text")) {
        return Ok(());
    }
    Err(ApiError::unsupported("modalities", "modalities other than \"text\" are not supported"))
}
