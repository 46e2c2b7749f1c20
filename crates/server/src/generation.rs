//! From engine streams to pieces of an answer.
//!
//! One request may start many sequences (prompts times `n`). [`Generation`] hands their events out
//! as they come, whichever sequence they are of, and takes several at once when the client was
//! slow, so that it catches up with fewer, larger events. Nothing is buffered here, but for answers
//! that are checked first ([`Attempts`]), at most `max_tokens` of each: what a client has not taken
//! stays in the engine's bounded streams, and dropping a generation drops those, which stops its
//! sequences within one step.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use garrison_engine::{Enforced, Event, Finish, ScoredToken, Stream, TokenEvent};
use garrison_gateway::FirstToken;
use garrison_types::{Timings, Usage};

use crate::attempts::{Attempts, Verdict};
use crate::error::ApiError;
use crate::metrics::ModelMetrics;
use crate::record::Record;
use crate::screen::{Screen, Stamp, Verdicts};
use crate::structured::Rules;

/// Tokens that one piece holds at most, so that a client that was away gets events of sane size.
const MAX_PIECE_TOKENS: usize = 64;

/// What one choice gained, or, summed up, all it has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Piece {
    /// Text that can be shown.
    pub(crate) text: String,
    /// The tokens generated; their own texts have moved to `text`.
    pub(crate) tokens: Vec<TokenEvent>,
    /// Scores of the prompt's tokens.
    pub(crate) prompt: Option<Vec<ScoredToken>>,
    /// There once the choice has ended; its text has moved to `text`.
    pub(crate) finish: Option<Finish>,
}

impl Piece {
    /// Adds what came later.
    pub(crate) fn absorb(&mut self, later: Piece) {
        self.text.push_str(&later.text);
        self.tokens.extend(later.tokens);
        self.prompt = later.prompt.or(self.prompt.take());
        self.finish = later.finish.or(self.finish.take());
    }

    /// Takes one event in.
    fn take(&mut self, event: Event) -> Result<(), ApiError> {
        match event {
            Event::Prompt(scores) => self.prompt = Some(scores),
            Event::Token(mut token) => {
                self.text.push_str(&std::mem::take(&mut token.text));
                self.tokens.push(token);
            }
            Event::Finished(mut finish) => {
                self.text.push_str(&std::mem::take(&mut finish.text));
                self.finish = Some(finish);
            }
            Event::Failed(failure) => return Err(ApiError::from(&failure)),
        }
        Ok(())
    }
}

/// What a whole request took, over all its sequences.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    /// Each prompt counts once, however many choices it has.
    pub(crate) usage: Usage,
    /// Tokens are summed; times are those of the sequence that was first (`ttft_ms`) or took
    /// longest.
    pub(crate) timings: Timings,
    /// There if the answer follows a schema.
    pub(crate) structured_output: Option<StructuredOutput>,
    /// There if the request was judged.
    pub(crate) guard: Option<Verdicts>,
}

/// How a schema was enforced.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StructuredOutput {
    pub(crate) enforced: Enforced,
    /// Of the choice that took the most.
    pub(crate) attempts: u32,
}

impl Totals {
    fn add(&mut self, choice: usize, choices_per_prompt: usize, finish: &Finish) {
        let (usage, timings) = (&finish.usage, &finish.timings);
        let first = self.timings == Timings::default();
        self.timings.ttft_ms =
            if first { timings.ttft_ms } else { self.timings.ttft_ms.min(timings.ttft_ms) };
        self.timings.prompt_ms = self.timings.prompt_ms.max(timings.prompt_ms);
        self.timings.generation_ms = self.timings.generation_ms.max(timings.generation_ms);
        self.timings.draft_tokens += timings.draft_tokens;
        self.timings.accepted_tokens += timings.accepted_tokens;
        self.usage.completion_tokens += usage.completion_tokens;
        if choice.is_multiple_of(choices_per_prompt) {
            self.usage.prompt_tokens += usage.prompt_tokens;
            self.usage.cached_tokens += usage.cached_tokens;
        }
        self.timings.prompt_tokens = self.usage.prompt_tokens;
        self.timings.cached_tokens = self.usage.cached_tokens;
        self.timings.generated_tokens = self.usage.completion_tokens;
    }
}

/// A stream on its way to its next event, and then with it.
type Next = Pin<Box<dyn Future<Output = (usize, Stream, Option<Event>)> + Send>>;

/// The running sequences of one request. Choice `i` is answer `i % n` to prompt `i / n`.
pub(crate) struct Generation {
    pending: FuturesUnordered<Next>,
    choices: usize,
    choices_per_prompt: usize,
    finished: usize,
    totals: Totals,
    meter: Meter,
    /// There if complete answers are checked before anything of them is shown.
    attempts: Option<Attempts>,
    /// There if the request was judged.
    screen: Option<Screen>,
    /// What was gained and is not given out yet, in order ([`Generation::hold`]).
    held: VecDeque<(usize, Piece)>,
    /// How a sequence failed, until what came before that was gained.
    failed: Option<ApiError>,
}

impl Generation {
    pub(crate) fn new(streams: Vec<Stream>, choices_per_prompt: usize, meter: Meter) -> Generation {
        let choices = streams.len();
        let pending = streams.into_iter().enumerate().map(|(choice, stream)| next(choice, stream)).collect();
        let totals = Totals::default();
        Generation {
            pending,
            choices,
            choices_per_prompt,
            finished: 0,
            totals,
            meter,
            attempts: None,
            screen: None,
            held: VecDeque::new(),
            failed: None,
        }
    }

    /// The same of answers that follow schemas.
    pub(crate) fn following(
        mut self,
        rules: Arc<Rules>,
        attempts: impl FnOnce(Arc<Rules>) -> Option<Attempts>,
    ) -> Generation {
        self.totals.structured_output =
            Some(StructuredOutput { enforced: rules.enforced.clone(), attempts: 1 });
        self.attempts = attempts(rules);
        self
    }

    /// The same of a request that was judged, whose answers are, too.
    pub(crate) fn screened(mut self, screen: Option<Screen>) -> Generation {
        self.screen = screen;
        self
    }

    /// The same with somebody who waits to hear of its first token.
    pub(crate) fn timed(mut self, first: FirstToken) -> Generation {
        self.meter.first = Some(first);
        self
    }

    /// How the request was judged.
    pub(crate) fn stamp(&self) -> Stamp {
        self.screen.as_ref().map_or(Stamp::Unjudged, Screen::stamp)
    }

    /// How many choices there are.
    pub(crate) fn choices(&self) -> usize {
        self.choices
    }

    /// What some choice gained; `None` once all have ended.
    pub(crate) async fn next(&mut self) -> Option<Result<(usize, Piece), ApiError>> {
        loop {
            let gained = match self.held.pop_front() {
                Some(held) => Ok(held),
                None => self.gain().await?,
            };
            let shown = match gained {
                Ok((choice, _)) if self.was_ended(choice) => continue,
                Ok((choice, piece)) => self.screen(choice, piece).await.map(|piece| (choice, piece)),
                Err(error) => Err(error),
            };
            return Some(shown.map_err(|error| self.lose(error)));
        }
    }

    /// What some choice gained, before it is judged.
    async fn gain(&mut self) -> Option<Result<(usize, Piece), ApiError>> {
        loop {
            if let Some(error) = self.failed.take() {
                return Some(Err(error));
            }
            let (choice, stream, event) = self.pending.next().await?;
            if self.was_ended(choice) {
                continue; // and its sequence stops
            }
            let gained = match self.gather(choice, stream, event) {
                Ok(piece) => self.judge(choice, piece).await,
                Err(error) => Err(error),
            };
            match gained {
                Ok(None) => {}
                Ok(Some(piece)) => {
                    if !piece.tokens.is_empty() {
                        self.meter.first_token();
                    }
                    return Some(Ok((choice, piece)));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn was_ended(&self, choice: usize) -> bool {
        self.screen.as_ref().is_some_and(|screen| screen.has_ended(choice))
    }

    /// Holds every choice back until it has `after` tokens, or has ended: the natural log-probabilities of those tokens,
    /// `[choices][tokens]`, if they have any. What is held is given out by [`Generation::next`], and is no more than `max_tokens` of each choice.
    pub(crate) async fn hold(&mut self, after: Option<u32>) -> Result<Vec<Vec<f32>>, ApiError> {
        let most = after.map_or(usize::MAX, |after| after as usize);
        let mut logprobs = vec![Vec::new(); self.choices];
        let mut tokens = vec![0; self.choices];
        let mut holding = vec![true; self.choices];
        while holding.contains(&true) {
            let Some(gained) = self.gain().await else { break };
            let (choice, piece) = gained.map_err(|error| self.lose(error))?;
            let of_choice = &mut logprobs[choice];
            let scored = piece.tokens.iter().filter_map(|token| Some(token.logprobs.as_ref()?.logprob));
            of_choice.extend(scored);
            tokens[choice] += piece.tokens.len();
            holding[choice] = piece.finish.is_none() && tokens[choice] < most;
            match self.held.back_mut() {
                Some((last, held)) if *last == choice && held.tokens.len() < MAX_PIECE_TOKENS => {
                    held.absorb(piece);
                }
                _ => self.held.push_back((choice, piece)),
            }
        }
        // However many came at a time, the same are counted.
        logprobs.iter_mut().for_each(|of_choice| of_choice.truncate(most));
        Ok(logprobs)
    }

    /// One lost sequence is a lost answer; the others stop.
    fn lose(&mut self, error: ApiError) -> ApiError {
        self.pending.clear();
        error
    }

    /// What may be shown of what can be.
    async fn screen(&mut self, choice: usize, mut piece: Piece) -> Result<Piece, ApiError> {
        if let Some(screen) = &mut self.screen {
            piece = screen.take(choice, piece, &self.meter.record)?;
        }
        self.note_end(choice, &piece);
        if let Some(screen) = self.screen.as_mut().filter(|_| self.finished == self.choices) {
            self.totals.guard = Some(screen.close().await?);
        }
        Ok(piece)
    }

    /// Takes what is there of a stream, and waits for the rest of it.
    fn gather(&mut self, choice: usize, mut stream: Stream, first: Option<Event>) -> Result<Piece, ApiError> {
        let mut piece = Piece::default();
        let mut event = first;
        while let Some(received) = event {
            match piece.take(received) {
                Ok(()) => {}
                // What was computed before that is not lost with it.
                Err(error) if !piece.tokens.is_empty() => {
                    self.failed = Some(error);
                    self.meter.tokens(choice, piece.tokens.len());
                    return Ok(piece);
                }
                Err(error) => return Err(error),
            }
            let full = piece.finish.is_some() || piece.tokens.len() >= MAX_PIECE_TOKENS;
            event = if full { None } else { stream.try_recv() };
        }
        self.meter.tokens(choice, piece.tokens.len());
        if piece.finish.is_none() {
            self.pending.push(next(choice, stream));
        }
        Ok(piece)
    }

    /// What can be shown of what a choice gained.
    async fn judge(&mut self, choice: usize, piece: Piece) -> Result<Option<Piece>, ApiError> {
        let Some(attempts) = &mut self.attempts else { return Ok(Some(piece)) };
        match attempts.take(choice, piece).await? {
            Verdict::Show(piece) => Ok(Some(piece)),
            Verdict::Wait => Ok(None),
            Verdict::Again(stream) => {
                self.pending.push(next(choice, stream));
                Ok(None)
            }
        }
    }

    fn note_end(&mut self, choice: usize, piece: &Piece) {
        let Some(finish) = &piece.finish else { return };
        self.finished += 1;
        self.totals.add(choice, self.choices_per_prompt, finish);
        if let (Some(output), Some(attempts)) = (&mut self.totals.structured_output, &self.attempts) {
            output.attempts = attempts.most();
        }
        if self.finished == self.choices {
            self.meter.complete();
        }
    }

    /// What it took, once every choice has ended.
    pub(crate) fn totals(&self) -> Option<Totals> {
        (self.finished == self.choices).then(|| self.totals.clone())
    }
}

fn next(choice: usize, mut stream: Stream) -> Next {
    Box::pin(async move {
        let event = stream.recv_async().await;
        (choice, stream, event)
    })
}

/// Times a request's tokens for the metrics and its log line.
pub(crate) struct Meter {
    metrics: Arc<ModelMetrics>,
    record: Arc<Record>,
    /// `[choices]` when each last gained a token.
    last: Vec<Option<Instant>>,
    /// There until the first token, if a route goes by how soon that comes.
    first: Option<FirstToken>,
    /// Whether there was a first token. It is not that of an answer that was drawn again.
    begun: bool,
}

impl Meter {
    pub(crate) fn new(metrics: Arc<ModelMetrics>, record: Arc<Record>, choices: usize) -> Meter {
        Meter { metrics, record, last: vec![None; choices], first: None, begun: false }
    }

    /// A token is there that can be shown.
    fn first_token(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            self.metrics.ttft.observe(self.record.elapsed(), 1);
            self.record.first_token();
            if let Some(first) = self.first.take() {
                first.came();
            }
        }
    }

    fn tokens(&mut self, choice: usize, count: usize) {
        if count == 0 {
            return;
        }
        let now = Instant::now();
        self.record.add_completion_tokens(count);
        let mut later = count;
        let since = match self.last[choice].replace(now) {
            Some(last) => now - last,
            None => {
                later -= 1;
                Duration::ZERO
            }
        };
        if later > 0 {
            let share = since / u32::try_from(later).unwrap_or(u32::MAX);
            self.metrics.itl.observe(share, later as u64);
        }
    }

    /// All choices have ended. A request that was cut off is not a latency.
    fn complete(&self) {
        self.metrics.e2e.observe(self.record.elapsed(), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use garrison_types::FinishReason;

    #[test]
    fn totals_count_a_prompt_once_and_its_answers_all() {
        let finish = |completion_tokens, ttft_ms| Finish {
            reason: FinishReason::Length,
            text: String::new(),
            usage: Usage { prompt_tokens: 10, cached_tokens: 4, completion_tokens },
            timings: Timings { ttft_ms, prompt_ms: 1.0, ..Timings::default() },
        };
        let mut totals = Totals::default();
        // Two prompts with two choices each.
        for (choice, tokens, ttft) in [(1, 3, 9.0), (0, 2, 7.0), (2, 1, 8.0), (3, 1, 9.0)] {
            totals.add(choice, 2, &finish(tokens, ttft));
        }
        assert_eq!(totals.usage, Usage { prompt_tokens: 20, cached_tokens: 8, completion_tokens: 7 });
        assert_eq!((totals.timings.ttft_ms, totals.timings.generated_tokens), (7.0, 7));
    }
}
