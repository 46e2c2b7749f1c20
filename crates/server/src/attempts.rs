//! Answers that are checked when they are complete, and given again if they are not what they must be.
//!
//! A grammar does not enforce every keyword of JSON Schema. An answer to a schema with others is held
//! back until its validator has seen all of it. One that is invalid is drawn again, within what is left
//! of the request's `max_tokens` and [`MAX_ATTEMPTS`] in all, the prompt taken from the prefix cache.
//! Greedy draws would say the same again, so a retry draws hotter and with a seed of its own, made of
//! the request's: a request with a seed stays repeatable. To tell the model what was wrong instead would
//! need a turn that templates do not have, and plain completions cannot say it at all.
//!
//! If no attempt was valid the answer ends with `length`, as one does that ran out of tokens, and
//! nothing of it is shown: a client that does not look at `finish_reason` must not take a well-formed
//! document for a valid one.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use std::time::{Duration, Instant};

use garrison_engine::{Failure, Finish, Request, Stream, SubmitError};
use garrison_types::{FinishReason, Sampling, StopConditions};
use tokio::sync::Semaphore;

use crate::app::Entry;
use crate::error::ApiError;
use crate::generation::Piece;
use crate::structured::Rules;

/// How often a choice is drawn at most.
pub(crate) const MAX_ATTEMPTS: u32 = 4;
/// Retries draw at this temperature at least, each next one hotter by [`HOTTER`].
const RETRY_TEMPERATURE: f32 = 0.7;
const HOTTER: f32 = 0.15;
/// Retries draw from this much of the distribution at least, whatever narrows it.
const RETRY_TOP_P: f32 = 0.9;
const RETRY_TOP_K: u32 = 20;
const RETRY_MIN_P: f32 = 0.05;
/// How long a retry waits for a place in the queue, at most, and between two looks.
const PATIENCE: Duration = Duration::from_secs(30);
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The choices of one request while they are not known to be valid.
pub(crate) struct Attempts {
    entry: Arc<Entry>,
    rules: Arc<Rules>,
    /// `[choices]`.
    choices: Vec<Choice>,
}

struct Choice {
    /// As it was first submitted.
    request: Request,
    /// What the present attempt has said.
    held: Piece,
    attempts: u32,
    /// What the attempts before took, all together.
    earlier: Option<Finish>,
}

/// What becomes of a choice.
pub(crate) enum Verdict {
    /// There is more to come before it can be judged.
    Wait,
    /// It is drawn again.
    Again(Stream),
    /// This is it.
    Show(Piece),
}

impl Attempts {
    /// For `requests` that were just submitted, in the order of their choices.
    pub(crate) fn new(entry: Arc<Entry>, rules: Arc<Rules>, requests: Vec<Request>) -> Attempts {
        let choice = |request| Choice { request, held: Piece::default(), attempts: 1, earlier: None };
        Attempts { entry, rules, choices: requests.into_iter().map(choice).collect() }
    }

    /// Attempts of the choice that took the most.
    pub(crate) fn most(&self) -> u32 {
        self.choices.iter().map(|choice| choice.attempts).max().unwrap_or(1)
    }

    /// Takes what a choice gained.
    pub(crate) async fn take(&mut self, choice: usize, piece: Piece) -> Result<Verdict, ApiError> {
        let choice = &mut self.choices[choice];
        choice.held.absorb(piece);
        if choice.held.finish.is_none() {
            return Ok(Verdict::Wait);
        }
        // The token limit and the client's own stop strings end an answer as they always do.
        let ends = self.entry.model.tokenizer.eos();
        let Some(text) = complete(&choice.held, ends) else { return Ok(Verdict::Show(choice.show())) };
        if accepts(&self.entry.checkers, &self.rules, text).await {
            return Ok(Verdict::Show(choice.show()));
        }
        let metrics = &self.entry.metrics;
        if let Some(request) = choice.again()
            && let Some(stream) = submit(&self.entry, request).await?
        {
            metrics.structured_output_retries.fetch_add(1, Relaxed);
            return Ok(Verdict::Again(stream));
        }
        metrics.structured_output_failures.fetch_add(1, Relaxed);
        Ok(Verdict::Show(choice.show_nothing()))
    }
}

/// The text of an answer that ended of itself, by one of the tokens `ends` or where its grammar does. A
/// client may name such a token as a stop of its own: that ends no less.
fn complete<'a>(held: &'a Piece, ends: &[u32]) -> Option<&'a str> {
    match &held.finish.as_ref()?.reason {
        FinishReason::Stop { matched: None } => Some(&held.text),
        FinishReason::Stop { matched: Some(text) } => {
            let last = held.tokens.last()?.token;
            // It is part of the answer if the client wants it there.
            ends.contains(&last).then(|| held.text.strip_suffix(text.as_str()).unwrap_or(&held.text))
        }
        _ => None,
    }
}

/// Whether a complete answer is valid. A check that fails accepts nothing.
async fn accepts(checkers: &Arc<Semaphore>, rules: &Arc<Rules>, text: &str) -> bool {
    let (rules, text) = (Arc::clone(rules), text.to_owned());
    let Ok(permit) = Arc::clone(checkers).acquire_owned().await else { return false };
    let check = move || {
        // Held until the check is done, also if its client has gone away meanwhile.
        let _permit = permit;
        rules.accept(&text)
    };
    tokio::task::spawn_blocking(check).await.unwrap_or(false)
}

/// Submits a retry. While the queue is full it waits, since the request was accepted long ago; its other choices are
/// computed meanwhile and shown after that. For the same reason a server that drains takes it. `None` if there is no
/// place in time.
///
/// # Errors
/// If the request's deadline passes before there is one, or the engine refuses it for another reason.
async fn submit(entry: &Entry, request: Request) -> Result<Option<Stream>, ApiError> {
    let end = Instant::now() + PATIENCE;
    let deadline = request.deadline.filter(|deadline| *deadline < end);
    let mut pause = SHORTEST_PAUSE;
    loop {
        match entry.model.engine.submit_again(request.clone()) {
            Ok(stream) => return Ok(Some(stream)),
            Err(SubmitError::QueueFull { .. }) => {}
            Err(error) => return Err(ApiError::from_submit(&error, "messages")),
        }
        let left = deadline.unwrap_or(end).saturating_duration_since(Instant::now());
        if left.is_zero() {
            return deadline.map_or(Ok(None), |_| Err(ApiError::from(&Failure::DeadlineExceeded)));
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

impl Choice {
    /// What is held, with what every attempt took. Its first token came when the attempts before were over.
    fn show(&mut self) -> Piece {
        let mut piece = std::mem::take(&mut self.held);
        let before = self.earlier.as_ref().map_or(0.0, |all| all.timings.ttft_ms + all.timings.generation_ms);
        piece.finish = piece.finish.map(|finish| {
            let ttft_ms = before + finish.timings.ttft_ms;
            let mut all = together(self.earlier.take(), finish);
            all.timings.ttft_ms = ttft_ms;
            all
        });
        piece
    }

    /// The end of a choice that no attempt made valid.
    fn show_nothing(&mut self) -> Piece {
        let finish = self.earlier.take().map(|earlier| Finish { reason: FinishReason::Length, ..earlier });
        Piece { prompt: self.held.prompt.take(), finish, ..Piece::default() }
    }

    /// Forgets what is held, and asks again if the request's budget allows.
    fn again(&mut self) -> Option<Request> {
        let finish = self.held.finish.take()?;
        let finish = together(self.earlier.take(), finish);
        let spent = self.earlier.insert(finish).usage.completion_tokens;
        let left = self.request.stop.max_tokens.saturating_sub(spent);
        if left == 0 || self.attempts >= MAX_ATTEMPTS {
            return None;
        }
        // The prompt's scores stay; there is one prompt.
        self.held = Piece { prompt: self.held.prompt.take(), ..Piece::default() };
        let sampling = hotter(&self.request.sampling, self.attempts);
        self.attempts += 1;
        Some(Request {
            id: format!("{}-{}", self.request.id, self.attempts),
            sampling,
            stop: StopConditions { max_tokens: left, ..self.request.stop.clone() },
            prompt_logprobs: None,
            ..self.request.clone()
        })
    }
}

/// How the `retry`th retry draws, from 1.
fn hotter(first: &Sampling, retry: u32) -> Sampling {
    let temperature = RETRY_TEMPERATURE + HOTTER * (retry - 1) as f32;
    Sampling {
        temperature: first.temperature.max(temperature),
        top_k: if first.top_k == 0 { 0 } else { first.top_k.max(RETRY_TOP_K) },
        top_p: first.top_p.max(RETRY_TOP_P),
        min_p: first.min_p.min(RETRY_MIN_P),
        // Weyl's sequence (the golden ratio's): far from the seeds of other choices, which count up.
        seed: first.seed.wrapping_add(u64::from(retry).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
        ..first.clone()
    }
}

/// The end of a choice, and what all its attempts took. The prompt is that of the first.
fn together(earlier: Option<Finish>, last: Finish) -> Finish {
    let Some(first) = earlier else { return last };
    let mut all = Finish { reason: last.reason, text: last.text, ..first };
    all.usage.completion_tokens += last.usage.completion_tokens;
    all.timings.generated_tokens += last.timings.generated_tokens;
    // Its retries' prompts are part of the time that the answer took.
    all.timings.generation_ms += last.timings.prompt_ms + last.timings.generation_ms;
    all.timings.draft_tokens += last.timings.draft_tokens;
    all.timings.accepted_tokens += last.timings.accepted_tokens;
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use garrison_types::{Timings, Usage};

    #[test]
    fn retries_differ_and_repeat() {
        let greedy =
            Sampling { temperature: 0.0, top_k: 1, top_p: 0.1, min_p: 1.0, seed: 7, ..Sampling::default() };
        let (one, two) = (hotter(&greedy, 1), hotter(&greedy, 2));
        assert!(one.temperature >= 0.7 && two.temperature > one.temperature);
        assert!(one.seed != two.seed && one.seed != greedy.seed && one == hotter(&greedy, 1));
        assert_eq!((one.top_k, one.top_p, one.min_p), (20, 0.9, 0.05));
        let hot = Sampling { temperature: 1.5, top_k: 0, ..Sampling::default() };
        assert_eq!((hotter(&hot, 3).temperature, hotter(&hot, 3).top_k), (1.5, 0));
    }

    #[test]
    fn the_first_token_is_that_of_the_attempt_that_is_shown() {
        let finish = |ttft_ms, generation_ms| Finish {
            reason: FinishReason::Stop { matched: None },
            text: String::new(),
            usage: Usage::default(),
            timings: Timings { ttft_ms, prompt_ms: 1.0, generation_ms, ..Timings::default() },
        };
        let held = Piece { finish: Some(finish(5.0, 20.0)), ..Piece::default() };
        let request = Request::new("r", vec![1], StopConditions::default());
        let mut choice = Choice { request, held, attempts: 2, earlier: Some(finish(10.0, 30.0)) };
        let timings = choice.show().finish.map(|finish| finish.timings).unwrap_or_default();
        assert_eq!((timings.ttft_ms, timings.generation_ms), (10.0 + 30.0 + 5.0, 30.0 + 1.0 + 20.0));
    }
}
