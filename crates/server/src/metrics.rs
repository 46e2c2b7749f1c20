//! Numbers for Prometheus, in the names dashboards of the field already know, under `garrison:`.
//!
//! Text exposition format 0.0.4, written here: counters and gauges come from the engine's own
//! counters at scrape time, so only the latency histograms and the requests are counted here.
//! Every label comes from a fixed set (models, routes of this server, status codes), so clients
//! cannot make series.

mod routes;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use garrison_engine::Stats;
use garrison_gateway::{self as gateway, Counts};

use crate::config::ServerConfig;

/// Upper bounds in seconds, as vLLM's dashboards expect them.
const TTFT_BOUNDS: [f64; 18] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 60.0];
const ITL_BOUNDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0];
const E2E_BOUNDS: [f64; 15] =
    [0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];

/// Counts of values up to each bound, and above the last.
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// `[bounds + 1]`, not cumulative.
    counts: Vec<AtomicU64>,
    sum_us: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, counts, sum_us: AtomicU64::new(0) }
    }

    /// Counts `times` values of `value` each.
    pub(crate) fn observe(&self, value: Duration, times: u64) {
        let seconds = value.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(times, Relaxed);
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(micros.saturating_mul(times), Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, label: &str) {
        let mut total = 0;
        for (i, count) in self.counts.iter().enumerate() {
            total += count.load(Relaxed);
            match self.bounds.get(i) {
                Some(bound) => {
                    line(out, &format!("{name}_bucket"), &format!("{label},le=\"{bound}\""), total)
                }
                None => line(out, &format!("{name}_bucket"), &format!("{label},le=\"+Inf\""), total),
            }
        }
        line(out, &format!("{name}_sum"), label, self.sum_us.load(Relaxed) as f64 / 1e6);
        line(out, &format!("{name}_count"), label, total);
    }
}

/// What the server counts of one model's requests.
pub(crate) struct ModelMetrics {
    /// From a request's arrival to its first token that could be shown.
    pub(crate) ttft: Histogram,
    /// Between tokens, as they reached the server's side of the stream. Several that were waiting
    /// for a slow client count with equal shares of the gap.
    pub(crate) itl: Histogram,
    /// From a request's arrival to the end of its last choice.
    pub(crate) e2e: Histogram,
    /// Complete answers that were not what their schema says, and were drawn again.
    pub(crate) structured_output_retries: AtomicU64,
    /// Choices that no attempt made valid.
    pub(crate) structured_output_failures: AtomicU64,
}

impl ModelMetrics {
    pub(crate) fn new() -> ModelMetrics {
        ModelMetrics {
            ttft: Histogram::new(&TTFT_BOUNDS),
            itl: Histogram::new(&ITL_BOUNDS),
            e2e: Histogram::new(&E2E_BOUNDS),
            structured_output_retries: AtomicU64::new(0),
            structured_output_failures: AtomicU64::new(0),
        }
    }
}

/// Answers by route and status.
#[derive(Default)]
pub(crate) struct HttpMetrics {
    answers: Mutex<BTreeMap<(&'static str, u16), u64>>,
}

impl HttpMetrics {
    pub(crate) fn count(&self, route: &'static str, status: u16) {
        let mut answers = self.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *answers.entry((route, status)).or_default() += 1;
    }
}

/// One sample line.
fn line(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{name}{{{labels}}} {value}");
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A label's value, escaped as the format asks.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// One metric of the engine: its name, kind, explanation and value.
type EngineMetric = (&'static str, &'static str, &'static str, fn(&Stats) -> f64);

const ENGINE_METRICS: [EngineMetric; 25] = [
    ("garrison:num_requests_running", "gauge", "Sequences in the running batch.", |s| s.running as f64),
    ("garrison:num_requests_waiting", "gauge", "Sequences that wait for admission.", |s| s.waiting as f64),
    ("garrison:kv_cache_usage", "gauge", "Part of the KV cache in use, 0 to 1.", Stats::kv_usage),
    (
        "garrison:prompt_tokens_total",
        "counter",
        "Tokens of prompts that were read, those found in the prefix cache included.",
        |s| s.prompt_tokens as f64,
    ),
    ("garrison:generation_tokens_total", "counter", "Tokens generated.", |s| s.generation_tokens as f64),
    ("garrison:num_preemptions_total", "counter", "Sequences computed again for lack of blocks.", |s| {
        s.preemptions as f64
    }),
    ("garrison:lora_swaps_total", "counter", "Adapters put into slots of the device.", |s| {
        s.adapter_swaps as f64
    }),
    (
        "garrison:prefix_cache_queries_total",
        "counter",
        "Prompt tokens looked for in the prefix cache.",
        |s| s.prefix_cache_queries as f64,
    ),
    ("garrison:spec_decode_num_draft_tokens_total", "counter", "Tokens guessed and checked.", |s| {
        s.spec_draft_tokens as f64
    }),
    ("garrison:spec_decode_num_accepted_tokens_total", "counter", "Guesses that were right.", |s| {
        s.spec_accepted_tokens as f64
    }),
    ("garrison:grammar_tokens_total", "counter", "Tokens generated under a grammar or schema.", |s| {
        s.grammar_tokens as f64
    }),
    (
        "garrison:grammar_mask_seconds_total",
        "counter",
        "Time to work out which tokens could follow, beside the forward pass or not.",
        |s| s.mask_nanos as f64 / 1e9,
    ),
    ("garrison:prefix_cache_hits_total", "counter", "Prompt tokens found in the prefix cache.", |s| {
        s.prefix_cache_hits as f64
    }),
    (
        "garrison:host_cache_queries_total",
        "counter",
        "Prompt tokens not on the device and looked for in the host cache.",
        |s| s.host_cache_queries as f64,
    ),
    ("garrison:host_cache_hits_total", "counter", "Prompt tokens restored from the host cache.", |s| {
        s.host_cache_hits as f64
    }),
    ("garrison:host_cache_usage", "gauge", "Part of the host cache in use, 0 to 1.", Stats::host_usage),
    ("garrison:host_cache_saved_blocks_total", "counter", "Evicted blocks saved to the host cache.", |s| {
        s.host_blocks_saved as f64
    }),
    (
        "garrison:host_cache_restored_blocks_total",
        "counter",
        "Blocks restored from the host cache, those of preempted sequences included.",
        |s| s.host_blocks_restored as f64,
    ),
    (
        "garrison:host_cache_failures_total",
        "counter",
        "Copies to or from the host cache that failed; their tokens are computed again.",
        |s| s.host_copies_failed as f64,
    ),
    ("garrison:engine_steps_total", "counter", "Steps of the engine.", |s| s.steps as f64),
    ("garrison:batch_tokens_total", "counter", "Tokens that went through the model.", |s| {
        s.batch_tokens as f64
    }),
    ("garrison:sequences_cancelled_total", "counter", "Sequences whose client went away.", |s| {
        s.cancelled as f64
    }),
    ("garrison:sequences_late_total", "counter", "Sequences given up at their deadline.", |s| s.late as f64),
    ("garrison:sequences_failed_total", "counter", "Sequences lost to a failure.", |s| s.failed as f64),
    ("garrison:sequences_in_flight", "gauge", "Sequences accepted and not ended.", |s| s.in_flight as f64),
];

/// One of a model's histograms: its name, explanation and place.
type Latency = (&'static str, &'static str, fn(&ModelMetrics) -> &Histogram);

const LATENCIES: [Latency; 3] = [
    ("garrison:time_to_first_token_seconds", "From arrival to the first token that could be shown.", |m| {
        &m.ttft
    }),
    ("garrison:inter_token_latency_seconds", "Between tokens of a stream.", |m| &m.itl),
    ("garrison:e2e_request_latency_seconds", "From arrival to the last token.", |m| &m.e2e),
];

/// One of a model's counters: its name, explanation and place.
type Count = (&'static str, &'static str, fn(&ModelMetrics) -> &AtomicU64);

const COUNTS: [Count; 2] = [
    (
        "garrison:structured_output_retries_total",
        "Complete answers that their schema's validator refused and that were drawn again.",
        |m| &m.structured_output_retries,
    ),
    (
        "garrison:structured_output_failures_total",
        "Choices that ended without an answer that their schema's validator accepts.",
        |m| &m.structured_output_failures,
    ),
];

/// The whole page: what each model's engine counted, its latencies, what became of requests to routes, and the answers.
pub(crate) fn render(
    models: &[(&str, Stats, &ModelMetrics)],
    http: &HttpMetrics,
    config: &ServerConfig,
) -> String {
    let mut out = String::with_capacity(16 << 10);
    let labels: Vec<String> =
        models.iter().map(|(name, _, _)| format!("model_name=\"{}\"", escape(name))).collect();
    for (name, kind, help, value) in ENGINE_METRICS {
        head(&mut out, name, kind, help);
        for ((_, stats, _), label) in models.iter().zip(&labels) {
            line(&mut out, name, label, value(stats));
        }
    }
    head(&mut out, "garrison:request_success_total", "counter", "Sequences that ended, by reason.");
    for ((_, stats, _), label) in models.iter().zip(&labels) {
        for (reason, count) in [("stop", stats.finished_stop), ("length", stats.finished_length)] {
            let label = format!("{label},finished_reason=\"{reason}\"");
            line(&mut out, "garrison:request_success_total", &label, count);
        }
    }
    for (name, help, count) in COUNTS {
        head(&mut out, name, "counter", help);
        for ((_, _, metrics), label) in models.iter().zip(&labels) {
            line(&mut out, name, label, count(metrics).load(Relaxed));
        }
    }
    for (name, help, histogram) in LATENCIES {
        head(&mut out, name, "histogram", help);
        for ((_, _, metrics), label) in models.iter().zip(&labels) {
            histogram(metrics).write(&mut out, name, label);
        }
    }
    guarded(&mut out, config.gateway.counts());
    routes::render(&mut out, &config.routes, &config.api_keys);
    routes::limits(&mut out, &config.quotas);
    head(&mut out, "garrison:http_requests_total", "counter", "Answers, by route and status.");
    let answers = http.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for ((route, status), count) in answers.iter() {
        line(
            &mut out,
            "garrison:http_requests_total",
            &format!("route=\"{route}\",status=\"{status}\""),
            count,
        );
    }
    out
}

/// What was judged, and what was found: codes, never content.
fn guarded(out: &mut String, counts: &Counts) {
    let tables: [(&str, &str, &str, Vec<gateway::Count>); 2] = [
        (
            "garrison:guard_judged_total",
            "verdict",
            "Requests and their answers, by what became of them.",
            counts.judged(),
        ),
        (
            "garrison:guard_findings_total",
            "reason",
            "Requests and their answers in which something was found.",
            counts.found(),
        ),
    ];
    for (name, label, help, counts) in tables {
        head(out, name, "counter", help);
        for gateway::Count { side, of, count } in counts {
            line(out, name, &format!("side=\"{side}\",{label}=\"{}\"", escape(&of)), count);
        }
    }
    head(out, "garrison:guard_seconds_total", "counter", "Time that judging took.");
    for (side, spent) in counts.spent() {
        line(out, "garrison:guard_seconds_total", &format!("side=\"{side}\""), spent.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative_and_end_with_infinity() {
        let metrics = ModelMetrics::new();
        metrics.itl.observe(Duration::from_millis(1), 2);
        metrics.itl.observe(Duration::from_millis(30), 1);
        metrics.itl.observe(Duration::from_secs(5), 1);
        let stats = Stats { running: 3, kv_blocks_used: 1, kv_blocks_total: 4, ..Stats::default() };
        let http = HttpMetrics::default();
        http.count("/v1/models", 200);
        let page = render(&[("a\"b", stats, &metrics)], &http, &ServerConfig::default());
        for wanted in [
            "# TYPE garrison:inter_token_latency_seconds histogram\n",
            "garrison:inter_token_latency_seconds_bucket{model_name=\"a\\\"b\",le=\"0.001\"} 2\n",
            "garrison:inter_token_latency_seconds_bucket{model_name=\"a\\\"b\",le=\"0.05\"} 3\n",
            "garrison:inter_token_latency_seconds_bucket{model_name=\"a\\\"b\",le=\"+Inf\"} 4\n",
            "garrison:inter_token_latency_seconds_sum{model_name=\"a\\\"b\"} 5.032\n",
            "garrison:inter_token_latency_seconds_count{model_name=\"a\\\"b\"} 4\n",
            "garrison:num_requests_running{model_name=\"a\\\"b\"} 3\n",
            "garrison:kv_cache_usage{model_name=\"a\\\"b\"} 0.25\n",
            "garrison:http_requests_total{route=\"/v1/models\",status=\"200\"} 1\n",
        ] {
            assert!(page.contains(wanted), "missing {wanted} in\n{page}");
        }
    }
}
