//! What happened in each second of a run.

use serde::{Deserialize, Serialize};

use crate::record::{Outcome, Record};

/// A run's seconds, at most: a day.
const MAX_SECONDS: usize = 86_400;

/// One second. Everything of every phase counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Requests that were due.
    pub due: f64,
    /// Answers completed.
    pub answered: f64,
    /// Requests that failed.
    pub failed: f64,
    /// Requests under way at the end of it.
    pub running: f64,
    /// Tokens that arrived.
    pub tokens: f64,
    /// Tokens of the prompts of completed answers.
    pub prompt_tokens: f64,
    /// Mean time to the first token of requests that were due in it.
    pub ttft_ms: Option<f64>,
    /// Mean time per output token of answers completed in it.
    pub tpot_ms: Option<f64>,
}

/// `[seconds]` of the run, from its start.
pub fn series(records: &[Record]) -> Vec<Second> {
    let at = |ms: f64| ((ms / 1000.0).max(0.0) as usize).min(MAX_SECONDS - 1);
    let Some(last) = records.iter().map(|r| at(r.ended_ms)).max() else { return Vec::new() };
    let mut seconds = vec![Second::default(); last + 1];
    let mut ttft = vec![(0.0, 0u32); last + 1];
    let mut tpot = ttft.clone();
    let mut balance = vec![0i64; last + 1];
    for record in records {
        let (due, end) = (at(record.scheduled_ms).min(last), at(record.ended_ms));
        seconds[due].due += 1.0;
        if record.outcome != Outcome::NotSent {
            balance[due] += 1;
            balance[end] -= 1;
        }
        if record.is_done() {
            seconds[end].answered += 1.0;
            seconds[end].prompt_tokens += f64::from(record.prompt_tokens.unwrap_or(0));
            add(&mut tpot[end], record.tpot_ms);
        }
        seconds[end].failed += f64::from(u8::from(record.is_failure()));
        add(&mut ttft[due], record.ttft_ms);
        let first = record.first_token_ms().map_or(0, at);
        for (i, &tokens) in record.tokens_by_second.iter().enumerate() {
            if let Some(second) = seconds.get_mut(first + i) {
                second.tokens += f64::from(tokens);
            }
        }
    }
    let mut running = 0;
    for (i, second) in seconds.iter_mut().enumerate() {
        running += balance[i];
        second.running = running as f64;
        second.ttft_ms = mean(ttft[i]);
        second.tpot_ms = mean(tpot[i]);
    }
    seconds
}

fn add(sum: &mut (f64, u32), value: Option<f64>) {
    if let Some(value) = value {
        *sum = (sum.0 + value, sum.1 + 1);
    }
}

fn mean((sum, n): (f64, u32)) -> Option<f64> {
    (n > 0).then(|| sum / f64::from(n))
}
