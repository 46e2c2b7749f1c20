//! What OpenTelemetry is told of a request once it has ended.

use std::time::{Duration, SystemTime};

use garrison_gateway::{Ended, Telemetry};

use crate::record::Record;

/// What the conventions call what a path does. None for paths that generate nothing.
fn operation(path: &str) -> Option<&'static str> {
    match path {
        "/v1/chat/completions" | "/v1/messages" | "/v1/responses" => Some("chat"),
        "/v1/completions" => Some("text_completion"),
        _ => None,
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// All of it was sent.
    Whole,
    /// It was cut off.
    Partly,
}

/// Tells of a request, if it was for generated text.
pub(crate) fn tell(telemetry: &Telemetry, record: &Record, path: &'static str, status: u16, sent: Sent) {
    let Some(operation) = operation(path) else { return };
    let took = record.elapsed();
    let began = SystemTime::now().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH);
    let trace = record.trace();
    let stages: Vec<_> = trace
        .iter()
        .flat_map(|trace| &trace.stages)
        .map(|stage| (Duration::from_micros(stage.at_us), stage.what, stage.tier.clone()))
        .collect();
    let first = stages.iter().find(|(_, what, _)| *what == "first_token").map(|(after, ..)| *after);
    // What a model here has said and was not taken is no part of the answer.
    let told = trace.as_ref().and_then(|trace| trace.tokens);
    let (prompt, completion) = told.map_or(record.tokens(), |tokens| (tokens.prompt, tokens.output));
    let tier = trace.as_ref().and_then(|trace| trace.tier.clone());
    let provider = tier.as_deref().and_then(|tier| tier.split_once('/')).map(|(provider, _)| provider);
    telemetry.tell(Ended {
        parent: record.parent(),
        id: record.id.clone(),
        operation,
        path,
        model: record.model().unwrap_or_default().to_owned(),
        provider: provider.filter(|provider| *provider != "local").unwrap_or("garrison").to_owned(),
        tier,
        privacy: trace.as_ref().and_then(|trace| trace.privacy),
        cache: trace.as_ref().and_then(|trace| trace.cache),
        began,
        took,
        first_token: record.ttft().or(first),
        status,
        complete: sent == Sent::Whole,
        input_tokens: prompt,
        output_tokens: completion,
        cost_micro_usd: trace.as_ref().map_or(0, |trace| trace.cost_micro_usd.0),
        stages,
        attempts: trace.map_or_else(Vec::new, |trace| trace.attempts),
    });
}
