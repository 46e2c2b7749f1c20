//! `POST /v1/moderations`: what the guard sees in texts, in OpenAI's shape.
//!
//! The guard judges attacks on models, personal data and secrets; these have categories of their own, under
//! `garrison/`. Of OpenAI's own categories it judges none. They are there, since clients read them by
//! name, but null: neither yes nor no. `category_applied_input_types` says the same in OpenAI's way, an empty
//! list for what was judged in no part of the input, and `not_judged` names them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use garrison_gateway::Moderation;
use serde_json::{Map, Value, json};

use crate::answer::blocking;
use crate::app::{App, Shared};
use crate::error::ApiError;
use crate::fields::{Fields, object, parse, wrong_kind};
use crate::ids;

/// Texts of one request at most.
const MAX_INPUTS: usize = 2048;

/// What answers, whatever model is asked for.
const MODEL: &str = concat!("garrison-guard-", env!("CARGO_PKG_VERSION"));

/// OpenAI's categories, which nothing here judges.
const NOT_JUDGED: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

/// The entities that are secrets rather than personal data.
const SECRETS: [&str; 3] = ["API_KEY", "PRIVATE_KEY", "URL_CREDENTIALS"];

/// The endpoint.
pub(crate) async fn create(State(app): Shared, body: Body) -> Result<Json<Value>, ApiError> {
    let received = app.bodies.read(body).await?;
    blocking(&app, move |app: &App| {
        let value = parse(&received.bytes)?;
        let texts = inputs(&Fields::root(&value)?)?;
        let gateway = Arc::clone(&app.config.gateway);
        let seen = gateway.moderate(texts).map_err(|fault| {
            ApiError::unavailable(format!("this input could not be judged: {fault}")).code("not_judged")
        })?;
        let results: Vec<Value> = seen.iter().map(result).collect();
        Ok(Json(json!({ "id": format!("modr-{}", ids::random_hex()), "model": MODEL, "results": results })))
    })
    .await
}

/// A text, an array of texts, or the text parts of one message, which are one input.
fn inputs(fields: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    let wanted = "a string, an array of strings or an array of text parts";
    match fields.get("input") {
        None => Err(ApiError::bad_field("input", format!("input is missing; it must be {wanted}"))),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(items)) => {
            fields.array("input", MAX_INPUTS)?;
            match items.first() {
                None => Err(ApiError::bad_field("input", "input is an empty array")),
                Some(Value::String(_)) => items.iter().enumerate().map(text).collect(),
                Some(_) => {
                    let parts = items.iter().enumerate().map(text_part).collect::<Result<Vec<_>, _>>()?;
                    Ok(vec![parts.join("\n")])
                }
            }
        }
        Some(other) => Err(wrong_kind("input", wanted, other)),
    }
}

fn text((i, item): (usize, &Value)) -> Result<String, ApiError> {
    match item {
        Value::String(text) => Ok(text.clone()),
        other => Err(wrong_kind(&format!("input[{i}]"), "a string like those before it", other)),
    }
}

fn text_part((i, item): (usize, &Value)) -> Result<String, ApiError> {
    let part = object(&format!("input[{i}]"), item)?;
    let param = part.param("type");
    match part.string("type")? {
        Some("text") => part.string("text")?.map(str::to_owned).ok_or_else(|| {
            let param = part.param("text");
            let message = format!("{param} is missing");
            ApiError::bad_field(param, message)
        }),
        Some(_) => {
            let message = format!("{param} is not \"text\"; this server judges nothing else");
            Err(ApiError::unsupported(param, message))
        }
        None => {
            let message = format!("{param} is missing; it must be \"text\"");
            Err(ApiError::bad_field(param, message))
        }
    }
}

fn result(seen: &Moderation) -> Value {
    let (mut categories, mut scores, mut applied) = (Map::new(), Map::new(), Map::new());
    for category in NOT_JUDGED {
        categories.insert(category.into(), Value::Null);
        scores.insert(category.into(), Value::Null);
        applied.insert(category.into(), json!([]));
    }
    let judged = judged(seen);
    for (category, score) in &judged {
        categories.insert(category.clone(), json!(*score > 0.0));
        scores.insert(category.clone(), json!(score));
        applied.insert(category.clone(), json!(["text"]));
    }
    json!({
        "flagged": judged.values().any(|score| *score > 0.0),
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": applied,
        "not_judged": NOT_JUDGED,
    })
}

/// Every category of the guard's, and how sure it is: kinds of attacks whether they were found or not, entities
/// if they were.
fn judged(seen: &Moderation) -> BTreeMap<String, f32> {
    let most = |scores: &mut dyn Iterator<Item = f32>| scores.fold(0.0f32, f32::max);
    let is_secret = |entity: &str| SECRETS.contains(&entity);
    let entities = |secret| {
        most(
            &mut seen
                .private
                .iter()
                .filter(|(entity, _)| is_secret(entity) == secret)
                .map(|(_, score)| *score),
        )
    };
    let mut judged = BTreeMap::from([
        ("garrison/injection".to_owned(), most(&mut seen.attacks.values().copied())),
        ("garrison/pii".to_owned(), entities(false)),
        ("garrison/secrets".to_owned(), entities(true)),
    ]);
    judged.extend(Moderation::kinds_of_attacks().map(|kind| (format!("garrison/injection/{kind}"), 0.0)));
    judged.extend(seen.attacks.iter().map(|(kind, score)| (format!("garrison/injection/{kind}"), *score)));
    judged.extend(seen.private.iter().map(|(entity, score)| {
        let kind = if is_secret(entity) { "secrets" } else { "pii" };
        (format!("garrison/{kind}/{}", entity.to_lowercase()), *score)
    }));
    judged
}
