//! `GET /v1/garrison/requests/{id}`: what became of a request that went along a route.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use garrison_gateway::Trace;

use crate::app::Shared;
use crate::error::ApiError;
use crate::gate::Passed;

/// Its stages, times, decisions and cost, for an owner's key; never content.
pub(crate) async fn show(
    State(app): Shared,
    Extension(passed): Extension<Passed>,
    Path(id): Path<String>,
) -> Result<Json<Trace>, ApiError> {
    passed.caller.check_owner()?;
    app.config.routes.traces().find(&id).map(Json).ok_or_else(|| ApiError::no_request(&id))
}
