//! What is served and how it does: models, health, readiness, metrics, version.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use garrison_engine::SubmitError;
use garrison_gateway::Route;
use serde_json::{Value, json};

use crate::adapters::Named;
use crate::app::{App, Entry, Shared};
use crate::error::ApiError;
use crate::gate::Passed;
use crate::metrics::render;

/// `GET /v1/models`: those that the caller's key may ask for.
pub(crate) async fn models(State(app): Shared, Extension(passed): Extension<Passed>) -> Json<Value> {
    let mut data = Vec::new();
    for entry in &app.models {
        data.push(describe(entry));
        data.extend(
            entry.model.adapters.all().iter().map(|(name, named)| describe_adapter(entry, name, named)),
        );
    }
    data.extend(app.config.routes.all().map(|route| describe_route(&app, route)));
    data.retain(|card| card["id"].as_str().is_some_and(|id| app.check_allowed(&passed.record, id).is_ok()));
    Json(json!({ "object": "list", "data": data }))
}

/// `GET /v1/models/{id}`.
pub(crate) async fn model(
    State(app): Shared,
    Extension(passed): Extension<Passed>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    app.check_allowed(&passed.record, &id)?;
    if let Some(route) = app.config.routes.find(&id) {
        return Ok(Json(describe_route(&app, route)));
    }
    let chosen = app.model(Some(&id))?;
    let named = chosen.entry.model.adapters.find(&id).filter(|_| chosen.adapter().is_some());
    Ok(Json(match named {
        Some(named) => describe_adapter(chosen.entry, &id, &named),
        None => describe(chosen.entry),
    }))
}

fn describe(entry: &Entry) -> Value {
    json!({
        "id": entry.model.name,
        "object": "model",
        "created": entry.model.created,
        "owned_by": "garrison",
        "root": entry.model.name,
        "parent": null,
        "max_model_len": entry.model.context(),
    })
}

/// A route is a model that has tiers. It takes what the largest of them takes.
fn describe_route(app: &App, route: &Route) -> Value {
    let policy = &route.policy;
    let tiers: Vec<&str> = policy.tiers.iter().map(|tier| tier.name.as_str()).collect();
    let largest = policy.tiers.iter().chain(&policy.private).map(|tier| tier.context).max();
    json!({
        "id": route.name,
        "object": "model",
        "created": app.models.first().map_or(0, |entry| entry.model.created),
        "owned_by": "garrison",
        "root": route.name,
        "parent": null,
        "max_model_len": largest,
        "tiers": tiers,
        "private": policy.private.as_ref().map(|tier| tier.name.as_str()),
    })
}

/// An adapter is a model whose parent is what it was made for.
fn describe_adapter(entry: &Entry, name: &str, named: &Named) -> Value {
    let mut card = describe(entry);
    card["id"] = json!(name);
    card["created"] = json!(named.created);
    card["parent"] = json!(entry.model.name);
    card
}

/// `GET /health`: the process is alive.
pub(crate) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /ready`: 200 only while requests are taken.
pub(crate) async fn ready(State(app): Shared) -> Response {
    match readiness(&app) {
        Ok(()) => Json(json!({ "status": "ready" })).into_response(),
        Err(error) => error.into_response(),
    }
}

fn readiness(app: &App) -> Result<(), ApiError> {
    if app.drain.is_draining() {
        return Err(ApiError::draining());
    }
    if app.models.iter().any(|entry| entry.model.engine.is_stopped()) {
        return Err(ApiError::from_submit(&SubmitError::Stopped, "model"));
    }
    Ok(())
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(app): Shared) -> Response {
    let models: Vec<_> = app
        .models
        .iter()
        .map(|entry| (entry.model.name.as_str(), entry.model.engine.stats(), entry.metrics.as_ref()))
        .collect();
    let page = render(&models, &app.http, &app.config);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    (StatusCode::OK, [(header::CONTENT_TYPE, kind)], page).into_response()
}

/// `GET /version`.
pub(crate) async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}
