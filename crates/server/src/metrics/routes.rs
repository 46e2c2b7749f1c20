//! What became of requests to routes, of money, of limits, and of answers that are given again.
//!
//! Labels come from the configuration: routes, tiers, names of keys, codes.

use std::collections::BTreeMap;

use garrison_gateway::{Micros, Quotas, Routes, Semantic, Spent};

use super::{escape, head, line};
use crate::auth::ApiKeys;

/// What is counted by labels: names, explanations, and what is between the braces.
fn table(out: &mut String, name: &str, kind: &str, help: &str, samples: impl Iterator<Item = (String, f64)>) {
    head(out, name, kind, help);
    for (labels, value) in samples {
        line(out, name, &labels, value);
    }
}

/// What has no labels.
fn plain(out: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    head(out, name, kind, help);
    out.push_str(&format!("{name} {value}\n"));
}

fn usd(amount: Micros) -> f64 {
    amount.0 as f64 / 1e6
}

pub(super) fn render(out: &mut String, routes: &Routes, keys: &ApiKeys) {
    let counts = routes.counts();
    table(
        out,
        "garrison:route_requests_total",
        "counter",
        "Requests to routes, by the tier that answered; none if nobody did.",
        counts.requests().into_iter().map(|([route, tier], count)| {
            (format!("route=\"{}\",tier=\"{}\"", escape(&route), escape(&tier)), count as f64)
        }),
    );
    table(
        out,
        "garrison:route_fallbacks_total",
        "counter",
        "Requests that a later tier answered, since an earlier one could not.",
        counts
            .fallbacks()
            .into_iter()
            .map(|([route], count)| (format!("route=\"{}\"", escape(&route)), count as f64)),
    );
    table(
        out,
        "garrison:tier_attempts_total",
        "counter",
        "What became of what tiers elsewhere were asked.",
        counts.attempts().into_iter().map(|([tier, outcome], count)| {
            (format!("tier=\"{}\",outcome=\"{outcome}\"", escape(&tier)), count as f64)
        }),
    );
    table(
        out,
        "garrison:tier_tokens_total",
        "counter",
        "Tokens that tiers elsewhere charged for, by estimate where they did not say.",
        counts.tokens().into_iter().map(|([tier, kind], count)| {
            (format!("tier=\"{}\",kind=\"{kind}\"", escape(&tier)), count as f64)
        }),
    );
    table(
        out,
        "garrison:tier_cost_usd_total",
        "counter",
        "What tiers elsewhere cost.",
        counts
            .costs()
            .into_iter()
            .map(|([tier], cost)| (format!("tier=\"{}\"", escape(&tier)), usd(Micros(cost)))),
    );
    let tiers = routes.tiers();
    table(
        out,
        "garrison:tier_breaker_open",
        "gauge",
        "Whether a tier is left alone: 0 asked, 0.5 tried with one request, 1 not asked.",
        tiers.iter().map(|tier| (format!("tier=\"{}\"", escape(&tier.name)), tier.open)),
    );
    table(
        out,
        "garrison:tier_first_token_seconds",
        "gauge",
        "A tier's time to the first token, a moving average.",
        tiers.iter().filter_map(|tier| {
            Some((format!("tier=\"{}\"", escape(&tier.name)), tier.first_token_us? as f64 / 1e6))
        }),
    );
    if let Some(cache) = routes.cache() {
        let counts = cache.counts();
        for (name, kind, help, value) in [
            ("garrison:answer_cache_hits_total", "counter", "Answers that were given again.", counts.hits),
            (
                "garrison:answer_cache_shared_total",
                "counter",
                "Of these, those to requests that waited for an equal one.",
                counts.shared,
            ),
            (
                "garrison:answer_cache_misses_total",
                "counter",
                "Answers that were looked for and not there.",
                counts.misses,
            ),
            (
                "garrison:answer_cache_evictions_total",
                "counter",
                "Answers that made room for others.",
                counts.evicted,
            ),
            ("garrison:answer_cache_entries", "gauge", "Answers that are kept.", counts.entries),
            ("garrison:answer_cache_bytes", "gauge", "Their bytes.", counts.bytes),
        ] {
            plain(out, name, kind, help, value);
        }
    }
    if let Some(cache) = routes.cache() {
        alike(out, &cache.semantic());
    }
    if let Some(spend) = routes.spend() {
        spent(out, &spend.books().all_spent(), keys);
        let limits =
            spend.limits().into_iter().map(|(key, period, limit)| ((keys.shown(&key), period), limit));
        let limits: BTreeMap<_, _> = limits.collect();
        table(
            out,
            "garrison:budget_limit_usd",
            "gauge",
            "What a key may spend.",
            limits.into_iter().map(|((key, period), limit)| {
                (format!("key=\"{}\",period=\"{period}\"", escape(&key)), usd(limit))
            }),
        );
    }
}

/// Answers that are given to requests that are alike.
fn alike(out: &mut String, semantic: &Semantic) {
    let cache = match semantic {
        Semantic::Off | Semantic::NoEmbedder => None,
        Semantic::On(cache) => Some(cache.counts()),
    };
    let help = "Whether answers are given to requests that are alike: not without an embedder.";
    plain(out, "garrison:semantic_cache_enabled", "gauge", help, u64::from(cache.is_some()));
    let Some(counts) = cache else { return };
    let labels = [("right", counts.right), ("wrong", counts.wrong)];
    table(
        out,
        "garrison:semantic_cache_labels_total",
        "counter",
        "Answers of models beside those that could have been given again: whether these were right.",
        labels.into_iter().map(|(label, count)| (format!("label=\"{label}\""), count as f64)),
    );
    for (name, kind, help, value) in [
        (
            "garrison:semantic_cache_hits_total",
            "counter",
            "Answers that were given to requests that are alike.",
            counts.hits,
        ),
        (
            "garrison:semantic_cache_evictions_total",
            "counter",
            "Answers that made room for others.",
            counts.evicted,
        ),
        ("garrison:semantic_cache_entries", "gauge", "Answers that are kept.", counts.entries),
        ("garrison:semantic_cache_bytes", "gauge", "Their bytes, with what is known of them.", counts.bytes),
    ] {
        plain(out, name, kind, help, value);
    }
}

fn spent(out: &mut String, all: &[(String, Spent)], keys: &ApiKeys) {
    // Those that are not in the file any more may be shown as one.
    let mut shown: BTreeMap<String, Spent> = BTreeMap::new();
    for (key, spent) in all {
        let sum = shown.entry(keys.shown(key)).or_default();
        (sum.today, sum.month) = (sum.today.plus(spent.today), sum.month.plus(spent.month));
    }
    let samples = shown.into_iter().flat_map(|(key, spent)| {
        [("day", spent.today), ("month", spent.month)]
            .map(|(period, amount)| (format!("key=\"{}\",period=\"{period}\"", escape(&key)), usd(amount)))
    });
    table(out, "garrison:budget_spent_usd", "gauge", "What a key has spent, reservations included.", samples);
}

pub(super) fn limits(out: &mut String, quotas: &Quotas) {
    let meters = quotas.meters();
    table(
        out,
        "garrison:limited_requests_total",
        "counter",
        "Requests that went over a limit of their key.",
        meters.limited().into_iter().map(|(limit, count)| (format!("limit=\"{limit}\""), count as f64)),
    );
    head(out, "garrison:alerts_total", "counter", "What the owner was told of.");
    out.push_str(&format!("garrison:alerts_total {}\n", meters.alerts()));
}
