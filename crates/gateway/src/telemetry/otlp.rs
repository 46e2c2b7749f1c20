//! OTLP's JSON: <https://github.com/open-telemetry/opentelemetry-proto>, with ids in hexadecimal and 64-bit numbers as
//! strings.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::{Ended, Sums};
use crate::trace::Attempt;

/// What points of a metric are told apart by: operation, provider, model, and the kind of failure.
pub(super) type Labels = (&'static str, String, String, Option<&'static str>);

/// Upper bounds in seconds, as the conventions advise for durations.
const SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// The same for times to the first token.
const FIRST: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// And for tokens.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Values by upper bounds.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Histogram {
        Histogram { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += value;
    }

    fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What requests of one kind make together.
#[derive(Clone, Debug)]
pub(super) struct Sum {
    duration: Histogram,
    first_token: Histogram,
    input: Histogram,
    output: Histogram,
}

/// Kinds of requests that are told apart at most. Names of models come from clients only as far as they are known, but
/// what is refused may have any.
const MOST_LABELS: usize = 512;

pub(super) fn add(sums: &mut Sums, ended: &Ended) {
    let labels = (ended.operation, ended.provider.clone(), ended.model.clone(), failure(ended));
    if !sums.contains_key(&labels) && sums.len() >= MOST_LABELS {
        return;
    }
    let sum = sums.entry(labels).or_insert_with(|| Sum {
        duration: Histogram::new(&SECONDS),
        first_token: Histogram::new(&FIRST),
        input: Histogram::new(&TOKENS),
        output: Histogram::new(&TOKENS),
    });
    sum.duration.observe(ended.took.as_secs_f64());
    if let Some(first) = ended.first_token {
        sum.first_token.observe(first.as_secs_f64());
    }
    if failure(ended).is_none() {
        sum.input.observe(ended.input_tokens as f64);
        sum.output.observe(ended.output_tokens as f64);
    }
}

/// `error.type`: a class of status, or that the answer was cut off.
fn failure(ended: &Ended) -> Option<&'static str> {
    match ended.status {
        429 => Some("429"),
        400..=499 => Some("4xx"),
        500.. => Some("5xx"),
        _ if !ended.complete => Some("cut_off"),
        _ => None,
    }
}

fn attribute(name: &str, value: &str) -> Value {
    json!({"key": name, "value": {"stringValue": value}})
}

fn number(name: &str, value: u64) -> Value {
    json!({"key": name, "value": {"intValue": value.to_string()}})
}

fn nanos(moment: SystemTime) -> String {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Drawn from the system, as the standard library's hash keys are.
fn drawn() -> [u8; 8] {
    RandomState::new().hash_one(0u8).to_be_bytes()
}

fn resource() -> Value {
    json!({"attributes": [attribute("service.name", "garrison"), attribute("service.version", env!("CARGO_PKG_VERSION"))]})
}

fn scope() -> Value {
    json!({"name": "garrison", "version": env!("CARGO_PKG_VERSION")})
}

pub(super) fn traces(ended: &[Ended]) -> Value {
    let spans: Vec<Value> = ended.iter().flat_map(spans).collect();
    json!({"resourceSpans": [{"resource": resource(), "scopeSpans": [{"scope": scope(), "spans": spans}]}]})
}

/// That of a request, and one within it for each attempt elsewhere.
fn spans(ended: &Ended) -> Vec<Value> {
    let whole = span(ended);
    let (trace, parent) = (whole["traceId"].clone(), whole["spanId"].clone());
    let within = |attempt: &Attempt| {
        Value::Object({
            let mut span = span_of_attempt(ended, attempt);
            span.insert("traceId".into(), trace.clone());
            span.insert("parentSpanId".into(), parent.clone());
            span
        })
    };
    let attempts: Vec<Value> = ended.attempts.iter().map(within).collect();
    std::iter::once(whole).chain(attempts).collect()
}

/// An attempt that is not over yet ends with the request.
fn span_of_attempt(ended: &Ended, attempt: &Attempt) -> Map<String, Value> {
    let (provider, model) = attempt.tier.split_once('/').unwrap_or(("", &attempt.tier));
    let began = ended.began + Duration::from_micros(attempt.at_us);
    let over = attempt.took_us.map(|took| began + Duration::from_micros(took));
    let failed = attempt.outcome.filter(|outcome| *outcome != "answered");
    let mut attributes = vec![
        attribute("gen_ai.operation.name", ended.operation),
        attribute("gen_ai.provider.name", provider),
        attribute("gen_ai.request.model", model),
        number("gen_ai.usage.input_tokens", attempt.tokens.prompt),
        number("gen_ai.usage.output_tokens", attempt.tokens.output),
        attribute("garrison.tier", &attempt.tier),
        cost(attempt.cost_micro_usd.0),
    ];
    attributes.extend(failed.map(|code| attribute("error.type", code)));
    let span = [
        ("spanId", hex(&drawn()).into()),
        ("name", format!("{} {model}", ended.operation).into()),
        // CLIENT
        ("kind", 3.into()),
        ("startTimeUnixNano", nanos(began).into()),
        ("endTimeUnixNano", nanos(over.unwrap_or(ended.began + ended.took)).into()),
        ("attributes", attributes.into()),
        ("status", json!({"code": if failed.is_some() { 2 } else { 0 }})),
    ];
    span.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn cost(micro_usd: u64) -> Value {
    json!({"key": "garrison.cost_usd", "value": {"doubleValue": micro_usd as f64 / 1e6}})
}

fn span(ended: &Ended) -> Value {
    let trace = ended.parent.map_or_else(
        || {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&drawn());
            id[8..].copy_from_slice(&drawn());
            id
        },
        |parent| parent.trace,
    );
    let mut attributes = vec![
        attribute("gen_ai.operation.name", ended.operation),
        attribute("gen_ai.provider.name", &ended.provider),
        attribute("gen_ai.request.model", &ended.model),
        number("gen_ai.usage.input_tokens", ended.input_tokens),
        number("gen_ai.usage.output_tokens", ended.output_tokens),
        attribute("http.route", ended.path),
        number("http.response.status_code", ended.status.into()),
        attribute("garrison.request.id", &ended.id),
        cost(ended.cost_micro_usd),
    ];
    let further = [
        ("garrison.tier", ended.tier.as_deref()),
        ("garrison.privacy", ended.privacy),
        ("garrison.cache", ended.cache),
        ("error.type", failure(ended)),
    ];
    attributes.extend(further.into_iter().filter_map(|(name, value)| Some(attribute(name, value?))));
    let at = |after: Duration| nanos(ended.began + after);
    let stage = |(after, what, tier): &(Duration, &'static str, Option<String>)| {
        let attributes: Vec<Value> = tier.iter().map(|tier| attribute("garrison.tier", tier)).collect();
        json!({"timeUnixNano": at(*after), "name": what, "attributes": attributes})
    };
    let events: Vec<Value> = ended.stages.iter().map(stage).collect();
    let failed = failure(ended).is_some();
    let mut span = json!({
        "traceId": hex(&trace),
        "spanId": hex(&drawn()),
        "name": format!("{} {}", ended.operation, ended.model),
        // SERVER
        "kind": 2,
        "startTimeUnixNano": at(Duration::ZERO),
        "endTimeUnixNano": at(ended.took),
        "attributes": attributes,
        "events": events,
        // ERROR or UNSET
        "status": {"code": if failed { 2 } else { 0 }},
    });
    if let Some(parent) = ended.parent {
        span["parentSpanId"] = hex(&parent.span).into();
    }
    span
}

pub(super) fn metrics(sums: &Sums, began: SystemTime, now: SystemTime) -> Value {
    let point = |labels: &Labels, histogram: &Histogram, further: Option<Value>| {
        let (operation, provider, model, failure) = labels;
        let mut attributes = vec![
            attribute("gen_ai.operation.name", operation),
            attribute("gen_ai.provider.name", provider),
            attribute("gen_ai.request.model", model),
        ];
        attributes.extend(failure.map(|failure| attribute("error.type", failure)));
        attributes.extend(further);
        json!({
            "attributes": attributes,
            "startTimeUnixNano": nanos(began),
            "timeUnixNano": nanos(now),
            "count": histogram.count().to_string(),
            "sum": histogram.sum,
            "bucketCounts": histogram.counts.iter().map(u64::to_string).collect::<Vec<_>>(),
            "explicitBounds": histogram.bounds,
        })
    };
    let (mut durations, mut firsts, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
    for (labels, sum) in sums {
        durations.push(point(labels, &sum.duration, None));
        if sum.first_token.count() > 0 {
            firsts.push(point(labels, &sum.first_token, None));
        }
        for (kind, histogram) in [("input", &sum.input), ("output", &sum.output)] {
            if histogram.count() > 0 {
                tokens.push(point(labels, histogram, Some(attribute("gen_ai.token.type", kind))));
            }
        }
    }
    let metric = |name: &str, unit: &str, points: Vec<Value>| {
        // CUMULATIVE
        json!({"name": name, "unit": unit, "histogram": {"aggregationTemporality": 2, "dataPoints": points}})
    };
    let metrics = [
        metric("gen_ai.server.request.duration", "s", durations),
        metric("gen_ai.server.time_to_first_token", "s", firsts),
        metric("gen_ai.client.token.usage", "{token}", tokens),
    ];
    json!({"resourceMetrics": [{"resource": resource(), "scopeMetrics": [{"scope": scope(), "metrics": metrics}]}]})
}
