//! One request while the engine works on it.
//!
//! A sequence is waiting, running or finished, and says so by where it is: in the scheduler's queue,
//! among its running ones, or gone. It knows which of its tokens are computed and which rows of
//! logits it still wants, so that scheduler, batch and results agree on one definition.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use garrison_device::{BLOCK_SIZE, SampleRow, Sampled, TokenCounts, TokenLogprobs, Want};
use garrison_tokenizer::Tokenizer;
use garrison_types::{FinishReason, Sampling, StopConditions, Timings, Usage};

use crate::answer::Answer;
use crate::constraint::{Constraint, GrammarError};
use crate::kv::{BlockPool, BlockTable, Prefix};
use crate::places::Place;
use crate::speculative::{Candidate, Draft};
use crate::stop::Scan;
use crate::stream::Emitter;
use crate::waiting::Urgency;
use crate::{Event, Finish, Request, ScoredToken, TokenEvent, TokenScores};

/// A piece of a sequence that runs in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Tokens that run.
    pub(crate) tokens: usize,
    /// Rows of logits that score prompt tokens; they come first.
    pub(crate) scores: usize,
    /// Rows of logits that tokens are drawn from: one, and one for each guess that is checked.
    pub(crate) draws: usize,
}

impl Piece {
    /// How many of its tokens are guesses; they come last.
    pub(crate) fn guesses(&self) -> usize {
        self.draws.saturating_sub(1)
    }
}

/// What a step brought a sequence.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Tokens of the prompt, if the step was the first to reach its end.
    pub(crate) prompt_tokens: usize,
    /// Tokens generated.
    pub(crate) generated: usize,
    /// How many of the guesses that were checked were right.
    pub(crate) accepted: usize,
    /// Why the sequence ended, if it did.
    pub(crate) ended: Option<End>,
}

/// How a sequence ends.
#[derive(Debug)]
pub(crate) enum End {
    Finished(FinishReason),
    /// Its grammar cannot be followed any further.
    Failed(GrammarError),
}

/// A request in the engine.
pub(crate) struct Sequence {
    id: String,
    emitter: Emitter,
    /// Prompt and answer so far.
    tokens: Vec<u32>,
    prompt_len: usize,
    /// Tokens, from the first on, whose keys and values are in the cache.
    computed: usize,
    /// Tokens of prompt and answer at most.
    max_len: usize,
    table: BlockTable,
    cached: Cached,
    client: u32,
    priority: i32,
    urgency: Urgency,
    deadline: Option<Instant>,
    draft: Draft,
    constraint: Option<Constraint>,
    sampling: Arc<Sampling>,
    seen: Arc<TokenCounts>,
    stop: StopConditions,
    /// End tokens and stop tokens while `min_tokens` is not reached.
    banned: Arc<[u32]>,
    logprobs: Option<u32>,
    scoring: Option<Scoring>,
    answer: Answer,
    clock: Clock,
    /// Held from the moment of acceptance to the end.
    _in_flight: Place,
    /// Held until the sequence leaves the queue for the first time.
    queued: Option<Place>,
}

/// What of the sequence is in the prefix cache.
struct Cached {
    salt: Arc<str>,
    /// Blocks of the table that are cached, or whose like is.
    blocks: usize,
    /// What ends with them.
    prefix: Prefix,
    /// Tokens of the prompt that were there when it left the queue for the first time.
    prompt_tokens: usize,
}

/// Scores of the prompt's tokens, as far as they are known.
struct Scoring {
    top: u32,
    /// The first token has no scores and is there from the start.
    scored: Vec<ScoredToken>,
}

/// When things happened.
struct Clock {
    arrived: Instant,
    admitted: Option<Instant>,
    prompt_done: Option<Instant>,
    last_token: Option<Instant>,
}

/// What a sequence is made of besides the request.
pub(crate) struct Admission {
    /// Where its events go.
    pub(crate) emitter: Emitter,
    /// Its place among all accepted sequences.
    pub(crate) in_flight: Place,
    /// Its place in the queue.
    pub(crate) queued: Place,
    /// Tokens of prompt and answer at most.
    pub(crate) max_len: usize,
}

impl Sequence {
    pub(crate) fn new(request: Request, tokenizer: &Tokenizer, admission: Admission) -> Sequence {
        let Request {
            id,
            prompt,
            sampling,
            stop,
            logprobs,
            prompt_logprobs,
            constraint,
            special_tokens,
            cache_salt,
            client,
            priority,
            deadline,
        } = request;
        let mut seen = TokenCounts::default();
        if sampling.repetition_penalty != 1.0 {
            seen.counts.extend(prompt.iter().map(|&t| (t, (0, true))));
        }
        // A grammar says itself where an answer may end.
        let banned = match stop.min_tokens {
            0 => Arc::default(),
            _ if constraint.is_some() => Arc::default(),
            _ => tokenizer.eos().iter().chain(&stop.token_ids).copied().collect(),
        };
        let scoring = prompt_logprobs.map(|top| Scoring {
            top,
            scored: prompt.first().map(|&token| ScoredToken { token, scores: None }).into_iter().collect(),
        });
        Sequence {
            id,
            emitter: admission.emitter,
            prompt_len: prompt.len(),
            tokens: prompt,
            computed: 0,
            max_len: admission.max_len,
            table: BlockTable::default(),
            cached: Cached::new(cache_salt.into()),
            client,
            priority,
            urgency: Urgency::default(),
            deadline,
            draft: Draft::default(),
            constraint,
            sampling: Arc::new(sampling),
            seen: Arc::new(seen),
            answer: Answer::new(&stop, special_tokens),
            banned,
            stop,
            logprobs,
            scoring,
            clock: Clock { arrived: Instant::now(), admitted: None, prompt_done: None, last_token: None },
            _in_flight: admission.in_flight,
            queued: Some(admission.queued),
        }
    }

    /// Names the request in logs.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Who asked.
    pub(crate) fn client(&self) -> u32 {
        self.client
    }

    /// What the client said of its importance.
    pub(crate) fn priority(&self) -> i32 {
        self.priority
    }

    /// Its place in the order.
    pub(crate) fn urgency(&self) -> Urgency {
        self.urgency
    }

    /// Gives it its place in the order, once.
    pub(crate) fn set_urgency(&mut self, urgency: Urgency) {
        self.urgency = urgency;
    }

    /// Whether its deadline has passed.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Whether the client is gone.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.emitter.is_cancelled()
    }

    /// Tokens of prompt and answer so far.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens that are not computed yet.
    pub(crate) fn remaining(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Its blocks.
    pub(crate) fn table(&self) -> &BlockTable {
        &self.table
    }

    /// What guesses are made for, if it decodes: guesses are for tokens that could be drawn beside
    /// the one that will be.
    pub(crate) fn candidate(&mut self) -> Option<Candidate<'_>> {
        let room = self.max_len.saturating_sub(self.tokens.len() + 1);
        let decodes = self.remaining() == 1 && self.score_rows(1).is_empty() && self.constraint.is_none();
        decodes.then(|| Candidate { tokens: &self.tokens, draft: &mut self.draft, room })
    }

    /// Takes the blocks that its guesses need. It has none if there are too few: a guess takes
    /// nothing from anyone.
    pub(crate) fn take_blocks_for_guesses(&mut self, pool: &mut BlockPool) {
        if !self.table.cover(self.tokens.len() + self.draft.tokens.len(), pool) {
            self.draft.tokens.clear();
        }
    }

    /// Takes the blocks that all its tokens need. Takes none and says false if there are too few.
    pub(crate) fn take_blocks(&mut self, pool: &mut BlockPool) -> bool {
        self.table.cover(self.tokens.len(), pool)
    }

    /// The cached blocks that hold what the sequence begins with, and the prefix that ends with
    /// them. At least one token is left to compute: its logits are what comes next. A prompt that
    /// is still being scored needs the logits of all its tokens.
    pub(crate) fn find_cached(&self, pool: &BlockPool) -> (Vec<u32>, Prefix) {
        let mut prefix = Prefix::Start(Arc::clone(&self.cached.salt));
        let mut blocks = Vec::new();
        let usable = if self.scoring.is_some() { 0 } else { self.tokens.len().saturating_sub(1) };
        for tokens in self.tokens[..usable].as_chunks().0 {
            let Some((block, next)) = pool.find(&prefix, tokens) else { break };
            blocks.push(block);
            prefix = next;
        }
        (blocks, prefix)
    }

    /// Leaves the queue: takes the blocks that [`Sequence::find_cached`] found, then those that the
    /// rest of its tokens need. Takes none of the latter and says false if there are too few.
    pub(crate) fn admit(&mut self, found: (Vec<u32>, Prefix), pool: &mut BlockPool) -> bool {
        let (blocks, prefix) = found;
        self.computed = blocks.len() * BLOCK_SIZE;
        if self.queued.take().is_some() {
            self.cached.prompt_tokens = self.computed;
        }
        (self.cached.blocks, self.cached.prefix) = (blocks.len(), prefix);
        self.table.share(blocks, pool);
        self.clock.admitted.get_or_insert_with(Instant::now);
        self.take_blocks(pool)
    }

    /// Lets others find the blocks that are full and computed by now.
    pub(crate) fn cache_blocks(&mut self, pool: &mut BlockPool) {
        let full = self.tokens[..self.computed].as_chunks().0;
        for (tokens, &block) in full.iter().zip(self.table.blocks()).skip(self.cached.blocks) {
            let prefix = std::mem::replace(&mut self.cached.prefix, Prefix::After(0));
            self.cached.prefix = pool.cache(block, prefix, tokens);
            self.cached.blocks += 1;
        }
    }

    /// Gives its blocks back: what is not in the cache has to be computed again.
    pub(crate) fn release_blocks(&mut self, pool: &mut BlockPool) {
        self.table.release(pool);
        self.draft.tokens.clear();
        self.computed = 0;
    }

    /// Whether it left the queue before.
    pub(crate) fn was_admitted(&self) -> bool {
        self.queued.is_none()
    }

    fn generated(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    /// Whether a token can still be drawn; not for a prompt that is only scored.
    fn draws(&self) -> bool {
        self.tokens.len() < self.max_len
    }

    /// Rows that score prompt tokens among the next `tokens` ones: row `i` scores token `i + 1`.
    fn score_rows(&self, tokens: usize) -> std::ops::Range<usize> {
        let Some(scoring) = &self.scoring else { return 0..0 };
        let start = self.computed.max(scoring.scored.len() - 1);
        let end = (self.computed + tokens).min(self.prompt_len - 1);
        start..end.max(start)
    }

    /// The longest next piece within these bounds, if any.
    pub(crate) fn next_piece(&self, max_tokens: usize, max_rows: usize) -> Option<Piece> {
        let mut tokens = self.remaining().min(max_tokens);
        let rows = self.score_rows(tokens);
        if rows.len() > max_rows {
            tokens = rows.start + max_rows - self.computed;
        }
        let scores = self.score_rows(tokens).len();
        let mut draws = usize::from(tokens == self.remaining() && self.draws());
        if scores + draws > max_rows {
            tokens -= 1;
            draws = 0;
        }
        if draws == 1 {
            let room = (max_tokens - tokens).min(max_rows - scores - draws);
            let guesses = self.draft.tokens.len().min(room);
            (tokens, draws) = (tokens + guesses, draws + guesses);
        }
        (tokens > 0).then_some(Piece { tokens, scores, draws })
    }

    /// The tokens of a piece.
    pub(crate) fn piece_tokens(&self, piece: &Piece) -> Cow<'_, [u32]> {
        let known = &self.tokens[self.computed..self.computed + piece.tokens - piece.guesses()];
        match piece.guesses() {
            0 => Cow::Borrowed(known),
            guesses => Cow::Owned([known, &self.draft.tokens[..guesses]].concat()),
        }
    }

    /// Tokens in the cache once a piece ran.
    pub(crate) fn kv_len_after(&self, piece: &Piece) -> usize {
        self.computed + piece.tokens
    }

    /// The rows of logits of a piece whose first token is row `first` of the batch.
    pub(crate) fn sample_rows(&self, piece: &Piece, first: u32) -> impl Iterator<Item = SampleRow> + '_ {
        let top = self.scoring.as_ref().map(|s| s.top);
        let scores = self.score_rows(piece.tokens).map(move |at| (at, Want::Score(self.tokens[at + 1]), top));
        let first_draw = self.computed + piece.tokens - piece.draws;
        let draws = (0..piece.draws).map(move |i| (first_draw + i, Want::Sample, self.logprobs));
        scores.chain(draws).map(move |(at, want, logprobs)| {
            // Guesses that a draw takes for granted.
            let granted = (at + 1).saturating_sub(self.tokens.len());
            SampleRow {
                row: first + (at - self.computed) as u32,
                want,
                sampling: Arc::clone(&self.sampling),
                position: at as u32 + 1,
                seen: self.seen_with(granted),
                banned: self.banned_after(self.generated() + granted),
                mask: self.constraint.as_ref().filter(|_| want == Want::Sample).map(Constraint::mask),
                logprobs,
            }
        })
    }

    fn seen_with(&self, guesses: usize) -> Arc<TokenCounts> {
        let mut seen = Arc::clone(&self.seen);
        if guesses > 0 && needs_output_counts(&self.sampling) {
            for &token in &self.draft.tokens[..guesses] {
                Arc::make_mut(&mut seen).counts.entry(token).or_default().0 += 1;
            }
        }
        seen
    }

    fn banned_after(&self, generated: usize) -> Arc<[u32]> {
        if generated < self.stop.min_tokens as usize { Arc::clone(&self.banned) } else { Arc::default() }
    }

    /// Takes what came of a piece, and emits it.
    pub(crate) fn advance(
        &mut self,
        piece: &Piece,
        mut results: impl Iterator<Item = Sampled>,
        tokenizer: &Tokenizer,
    ) -> Progress {
        self.computed += piece.tokens - piece.guesses();
        let before = self.tokens.len();
        if let Some(scoring) = &mut self.scoring {
            scoring.scored.extend(
                results
                    .by_ref()
                    .take(piece.scores)
                    .map(|s| ScoredToken { token: s.token, scores: s.logprobs.map(scores) }),
            );
        }
        let prompt = self.end_prompt();
        let (drawn, accepted) = self.accept_all(piece, results, tokenizer);
        let scored_only = prompt.is_some() && self.prompt_len == self.max_len;
        Progress {
            prompt_tokens: prompt.unwrap_or(0),
            generated: self.tokens.len() - before,
            accepted,
            ended: drawn.or_else(|| scored_only.then_some(End::Finished(FinishReason::Length))),
        }
    }

    /// Takes drawn tokens for as long as each was guessed, and the one after. Says why, if the
    /// sequence ended with one of them, and how many guesses were right.
    fn accept_all(
        &mut self,
        piece: &Piece,
        drawn: impl Iterator<Item = Sampled>,
        tokenizer: &Tokenizer,
    ) -> (Option<End>, usize) {
        let guesses = std::mem::take(&mut self.draft.tokens);
        let (mut ended, mut accepted) = (None, 0);
        for (i, sampled) in drawn.enumerate() {
            let token = sampled.token;
            ended = self.accept(sampled, tokenizer);
            if i == piece.guesses() || guesses[i] != token {
                break;
            }
            accepted += 1;
            // It ran already: its keys and values are there.
            self.computed += 1;
            if ended.is_some() {
                break;
            }
        }
        self.draft.checked(piece.guesses(), accepted);
        (ended, accepted)
    }

    /// Emits the prompt's scores once the whole prompt ran for the first time; says how long it is.
    fn end_prompt(&mut self) -> Option<usize> {
        if self.computed < self.prompt_len || self.clock.prompt_done.is_some() {
            return None;
        }
        self.clock.prompt_done = Some(Instant::now());
        if let Some(scoring) = self.scoring.take() {
            self.emitter.send(Event::Prompt(scoring.scored));
        }
        Some(self.prompt_len)
    }

    /// Takes a drawn token, and emits it. Says why, if the sequence ended with it.
    fn accept(&mut self, sampled: Sampled, tokenizer: &Tokenizer) -> Option<End> {
        let token = sampled.token;
        self.tokens.push(token);
        self.clock.last_token = Some(Instant::now());
        if needs_output_counts(&self.sampling) {
            Arc::make_mut(&mut self.seen).counts.entry(token).or_default().0 += 1;
        }
        let (text, reason) = self.read(token, tokenizer);
        self.emitter.send(Event::Token(TokenEvent { token, text, logprobs: sampled.logprobs.map(scores) }));
        let reason = match reason {
            Some(reason) => Some(reason),
            None => match self.follow(token) {
                Ok(complete) => complete,
                Err(error) => return Some(End::Failed(error)),
            },
        };
        reason.or_else(|| (!self.draws()).then_some(FinishReason::Length)).map(End::Finished)
    }

    /// Goes on by a token in the grammar, if there is one; it may end there.
    fn follow(&mut self, token: u32) -> Result<Option<FinishReason>, GrammarError> {
        let Some(constraint) = &mut self.constraint else { return Ok(None) };
        constraint.accept(token)?;
        Ok(constraint.is_complete().then_some(FinishReason::Stop { matched: None }))
    }

    /// The text that a token brings, and whether it ends the sequence.
    fn read(&mut self, token: u32, tokenizer: &Tokenizer) -> (String, Option<FinishReason>) {
        let named = self.stop.token_ids.contains(&token);
        if named && !self.stop.include_stop_string {
            let matched = Some(tokenizer.token_text(token));
            return (String::new(), Some(FinishReason::Stop { matched }));
        }
        if !named && !self.stop.ignore_eos && tokenizer.eos().contains(&token) {
            return (String::new(), Some(FinishReason::Stop { matched: None }));
        }
        match self.answer.push(tokenizer, token) {
            Scan::Matched(text, which) => (text, Some(self.stop_string(which))),
            Scan::Clear(text) if named => {
                let matched = Some(tokenizer.token_text(token));
                (text, Some(FinishReason::Stop { matched }))
            }
            Scan::Clear(text) => (text, None),
        }
    }

    fn stop_string(&self, which: usize) -> FinishReason {
        FinishReason::Stop { matched: self.stop.strings.get(which).cloned() }
    }

    /// Closes the answer and sums it up.
    pub(crate) fn finish(&mut self, reason: FinishReason) -> Finish {
        let (text, reason) = match self.answer.finish() {
            Scan::Clear(text) => (text, reason),
            Scan::Matched(text, which) => (text, self.stop_string(which)),
        };
        let usage = Usage {
            prompt_tokens: self.prompt_len as u32,
            cached_tokens: self.cached.prompt_tokens as u32,
            completion_tokens: self.generated() as u32,
        };
        let timings = Timings {
            draft_tokens: self.draft.proposed,
            accepted_tokens: self.draft.accepted,
            ..self.clock.timings(&usage)
        };
        Finish { reason, text, usage, timings }
    }

    /// Sends an event to its client.
    pub(crate) fn emit(&self, event: Event) {
        self.emitter.send(event);
    }

    /// Time since it left the queue.
    pub(crate) fn running_time(&self) -> Duration {
        self.clock.admitted.map(|at| at.elapsed()).unwrap_or_default()
    }
}

impl Cached {
    fn new(salt: Arc<str>) -> Cached {
        Cached { prefix: Prefix::Start(Arc::clone(&salt)), salt, blocks: 0, prompt_tokens: 0 }
    }
}

impl Clock {
    fn timings(&self, usage: &Usage) -> Timings {
        let ms = |from: Option<Instant>, to: Option<Instant>| match (from, to) {
            (Some(from), Some(to)) => to.saturating_duration_since(from).as_secs_f64() * 1e3,
            _ => 0.0,
        };
        Timings {
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
            prompt_ms: ms(self.admitted, self.prompt_done),
            // The end of the prompt is the first token: the same row of logits gives it.
            ttft_ms: ms(Some(self.arrived), self.prompt_done),
            generated_tokens: usage.completion_tokens,
            generation_ms: ms(self.prompt_done, self.last_token),
            draft_tokens: 0,
            accepted_tokens: 0,
        }
    }
}

fn needs_output_counts(s: &Sampling) -> bool {
    s.repetition_penalty != 1.0 || s.frequency_penalty != 0.0 || s.presence_penalty != 0.0
}

fn scores(l: TokenLogprobs) -> TokenScores {
    TokenScores { logprob: l.logprob, rank: l.rank, top: l.top }
}
