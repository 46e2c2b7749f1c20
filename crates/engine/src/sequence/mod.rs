//! One request while the engine works on it.
//!
//! A sequence is waiting, running or finished, and says so by where it is: in the scheduler's queue,
//! among its running ones, or gone. It knows which of its tokens are computed and which rows of
//! logits it still wants, so that scheduler, batch and results agree on one definition.

mod blocks;
mod clock;
mod guesses;
mod piece;
mod results;

use std::sync::Arc;
use std::time::{Duration, Instant};

use garrison_device::TokenCounts;
use garrison_tokenizer::Tokenizer;
use garrison_types::{Sampling, StopConditions};

use crate::adapters::AdapterHandle;
use crate::answer::Answer;
use crate::constraint::Follower;
use crate::kv::BlockTable;
use crate::places::Place;
use crate::speculative::Draft;
use crate::stream::Emitter;
use crate::waiting::Urgency;
use crate::{Event, Request, ScoredToken};

use blocks::Cached;
pub(crate) use blocks::Found;
use clock::Clock;
use guesses::Drafted;
pub(crate) use piece::Piece;
pub(crate) use results::{End, Progress};

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
    drafted: Drafted,
    adapter: Option<AdapterHandle>,
    /// Where the adapter stands while the sequence runs; 0 is for none.
    slot: u32,
    constraint: Option<Follower>,
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
    queued: Option<(Place, Place)>,
}

/// Scores of the prompt's tokens, as far as they are known.
struct Scoring {
    top: u32,
    /// The first token has no scores and is there from the start.
    scored: Vec<ScoredToken>,
}

/// What a sequence is made of besides the request.
pub(crate) struct Admission {
    /// Where its events go.
    pub(crate) emitter: Emitter,
    /// Its place among all accepted sequences.
    pub(crate) in_flight: Place,
    /// Its places among its client's and among all in the queue.
    pub(crate) queued: (Place, Place),
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
            adapter,
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
            cached: Cached::new(cache_salt.into(), adapter.as_ref().map_or(0, AdapterHandle::number)),
            client,
            priority,
            urgency: Urgency::default(),
            deadline,
            draft: Draft::default(),
            drafted: Drafted::default(),
            adapter,
            slot: 0,
            constraint: constraint.map(Follower::new),
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

    /// What it is computed with besides the model.
    pub(crate) fn adapter(&self) -> Option<&AdapterHandle> {
        self.adapter.as_ref()
    }

    /// Its adapter's number; 0 for none.
    pub(crate) fn adapter_number(&self) -> u64 {
        self.adapter.as_ref().map_or(0, AdapterHandle::number)
    }

    /// Where its adapter stands; 0 for none.
    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }

    /// Says where its adapter stands.
    pub(crate) fn set_slot(&mut self, slot: u32) {
        self.slot = slot;
    }

    /// Its blocks.
    pub(crate) fn table(&self) -> &BlockTable {
        &self.table
    }

    /// Whether it left the queue before.
    pub(crate) fn was_admitted(&self) -> bool {
        self.queued.is_none()
    }

    /// Tokens of the answer so far.
    pub(crate) fn generated(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    /// Whether a token can still be drawn; not for a prompt that is only scored.
    fn draws(&self) -> bool {
        self.tokens.len() < self.max_len
    }

    /// Sends an event to its client, after those that are held for it.
    pub(crate) fn emit(&mut self, event: Event) {
        self.emitter.send(event);
    }

    /// Time since it left the queue.
    pub(crate) fn running_time(&self) -> Duration {
        self.clock.admitted.map(|at| at.elapsed()).unwrap_or_default()
    }
}

/// Counts a token of the output.
fn count(seen: &mut Arc<TokenCounts>, token: u32) {
    Arc::make_mut(seen).counts.entry(token).or_default().0 += 1;
}

fn needs_output_counts(s: &Sampling) -> bool {
    s.repetition_penalty != 1.0 || s.frequency_penalty != 0.0 || s.presence_penalty != 0.0
}
