//! How much of a prompt may be read in one step while others wait for their next token.
//!
//! A fixed chunk is a different stall on every machine: 512 tokens are milliseconds on a large GPU
//! and seconds on a small processor. So while streams run, a step reads as many prompt tokens as
//! bring it to the time allowed, from what a token took in recent steps that read prompts.

use std::time::Duration;

/// Fewer are never worth a step: the weights are read for them all the same.
const LEAST_TOKENS: usize = 32;
/// What is aimed at, of the time allowed: machines are not the same from one step to the next.
const AIM: f64 = 0.9;
/// How much the past counts with each new step.
const MEMORY: f64 = 0.85;

/// The limit, and what it takes to keep it.
#[derive(Debug)]
pub(crate) struct Pace {
    allowed: Option<Duration>,
    /// Weighted sums over steps: 1, tokens, seconds, tokens squared, tokens times seconds.
    sums: [f64; 5],
}

impl Pace {
    /// `allowed` is how long a step may take; `None` allows any time.
    pub(crate) fn new(allowed: Option<Duration>) -> Pace {
        Pace { allowed, sums: [0.0; 5] }
    }

    /// Prompt tokens that a step may read beside `others` that somebody waits for.
    pub(crate) fn prompt_tokens(&self, others: usize) -> usize {
        self.prompt_tokens_after(0.0, others)
    }

    /// The same where something else takes `seconds` of the time allowed.
    pub(crate) fn prompt_tokens_after(&self, seconds: f64, others: usize) -> usize {
        let Some(allowed) = self.allowed else { return usize::MAX };
        // Before anything is known, as many as there may be.
        let all = self.tokens_in(AIM * allowed.as_secs_f64() - seconds) as usize;
        all.saturating_sub(others).max(LEAST_TOKENS)
    }

    /// Whether anything is known of what tokens take.
    pub(crate) fn is_known(&self) -> bool {
        self.means().is_some()
    }

    /// What one more token adds to a step, once that is known.
    pub(crate) fn seconds_per_token(&self) -> Option<f64> {
        let (mean_n, mean_t) = self.means()?;
        Some(self.slope().unwrap_or(mean_t / mean_n))
    }

    /// Tokens of a step that takes `seconds`.
    fn tokens_in(&self, seconds: f64) -> f64 {
        let Some((mean_n, mean_t)) = self.means() else { return f64::INFINITY };
        // A step of more tokens costs less for each of them, or as much. So taking all of the time for theirs is safe
        // where there is room, and comes to the time allowed in a few steps; a line through steps of nearly one size,
        // or through small ones that wait for memory, promises far too much there.
        let each = mean_t.max(f64::MIN_POSITIVE) / mean_n;
        let proportional = seconds / each;
        // Where steps took too long, what they share has to be taken for granted.
        let line =
            self.slope().map_or(proportional, |slope| mean_n + (seconds - mean_t) / slope.max(each / 2.0));
        proportional.min(line)
    }

    /// The weighted means of tokens and seconds.
    fn means(&self) -> Option<(f64, f64)> {
        let [weight, n, t, ..] = self.sums;
        (weight > 0.0).then(|| (n / weight, t / weight))
    }

    /// The line's slope, if the steps are of different sizes and lie on one that can be.
    fn slope(&self) -> Option<f64> {
        let (mean_n, mean_t) = self.means()?;
        let [weight, _, _, nn, nt] = self.sums;
        let variance = nn / weight - mean_n * mean_n;
        let slope = (nt / weight - mean_n * mean_t) / variance;
        let is_line = variance > (0.02 * mean_n).powi(2) && slope > 0.0 && slope * mean_n <= mean_t;
        is_line.then_some(slope)
    }

    /// Notes how long a step took that read prompts, of `tokens` tokens in all.
    pub(crate) fn observe(&mut self, tokens: usize, seconds: f64) {
        let n = tokens as f64;
        for (sum, new) in self.sums.iter_mut().zip([1.0, n, seconds, n * n, n * seconds]) {
            *sum = *sum * MEMORY + new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of the last of many steps, each as large as the pace allows, up to 512.
    fn settles_at(fixed: f64, per_token: f64) -> usize {
        let mut pace = Pace::new(Some(Duration::from_millis(250)));
        let mut tokens = 512;
        for _ in 0..100 {
            pace.observe(tokens, fixed + per_token * tokens as f64);
            tokens = (pace.prompt_tokens(4).min(508)) + 4;
        }
        tokens
    }

    /// Small steps wait for memory and say nothing of what a token costs in larger ones.
    #[test]
    fn no_step_is_far_beyond_the_time_allowed() {
        let seconds = |n: usize| 0.025 + (0.0033 * n as f64).max(0.06);
        let mut pace = Pace::new(Some(Duration::from_millis(250)));
        for n in [4, 6, 5, 18, 16] {
            pace.observe(n, seconds(n));
        }
        let mut longest = 0.0;
        for round in 0..200 {
            let tokens = pace.prompt_tokens(4).min(508) + 4;
            // A machine with others on it.
            let noise = 1.0 + 0.08 * f64::from(round * 7919 % 13 - 6) / 6.0;
            longest = seconds(tokens).max(longest);
            pace.observe(tokens, noise * seconds(tokens));
        }
        assert!((0.21..0.25).contains(&longest), "{longest}");
        let last = seconds(pace.prompt_tokens(4) + 4);
        assert!((0.2..0.25).contains(&last), "{last}");
    }

    #[test]
    fn steps_come_to_the_time_allowed() {
        assert!((36..=38).contains(&settles_at(0.04, 0.005)), "{}", settles_at(0.04, 0.005));
        assert_eq!(settles_at(0.002, 0.00002), 512, "a fast device is not held back");
        assert_eq!(settles_at(1.0, 0.1), LEAST_TOKENS + 4, "a slow one still moves on");
        let mut unlimited = Pace::new(None);
        unlimited.observe(10, 100.0);
        assert_eq!(unlimited.prompt_tokens(1), usize::MAX);
        let mut shared = Pace::new(Some(Duration::from_millis(250)));
        shared.observe(100, 0.1);
        assert_eq!(
            [0.0, 0.125, 1.0].map(|taken| shared.prompt_tokens_after(taken, 0)),
            [225, 100, LEAST_TOKENS]
        );
    }
}
