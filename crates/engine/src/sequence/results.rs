//! What came of a step: scores, tokens, text, and the end.

use std::time::Instant;

use garrison_device::{Sampled, TokenLogprobs};
use garrison_tokenizer::Tokenizer;
use garrison_types::{FinishReason, Timings, Usage};

use super::{Piece, Sequence, count, needs_output_counts};
use crate::constraint::{Follower, GrammarError, MaskTimes};
use crate::stop::Scan;
use crate::{Event, Finish, ScoredToken, TokenEvent, TokenScores};

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
    /// What its masks took, if it has a grammar.
    pub(crate) masks: Option<MaskTimes>,
}

/// How a sequence ends.
#[derive(Debug)]
pub(crate) enum End {
    Finished(FinishReason),
    /// Its grammar cannot be followed any further.
    Failed(GrammarError),
}

impl Sequence {
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
        let ended = drawn.or_else(|| scored_only.then_some(End::Finished(FinishReason::Length)));
        // Its last tokens go with the event that ends it.
        if ended.is_none() {
            self.emitter.send_held();
        }
        Progress {
            prompt_tokens: prompt.unwrap_or(0),
            generated: self.tokens.len() - before,
            accepted,
            masks: self.constraint.as_mut().map(Follower::take_times),
            ended,
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
        let (mut ended, mut accepted, known) = (None, 0, self.tokens.len());
        let masked = match &mut self.constraint {
            Some(constraint) if piece.draws > 0 => constraint.end_step(),
            _ => Ok(piece.guesses()),
        };
        let last = match masked {
            Ok(guesses) => guesses.min(piece.guesses()),
            // What was drawn without a mask is nothing.
            Err(error) => return (Some(End::Failed(error)), 0),
        };
        for (i, sampled) in drawn.enumerate() {
            let token = sampled.token;
            ended = self.accept(sampled, tokenizer);
            if i == last || guesses[i] != token {
                break;
            }
            accepted += 1;
            // It ran already: its keys and values are there.
            self.computed += 1;
            if ended.is_some() {
                break;
            }
        }
        self.guesses_checked(piece.guesses(), accepted, known);
        (ended, accepted)
    }

    /// Emits the prompt's scores once the whole prompt ran for the first time; says how long it is.
    fn end_prompt(&mut self) -> Option<usize> {
        if self.computed < self.prompt_len || self.clock.prompt_done.is_some() {
            return None;
        }
        self.clock.prompt_done = Some(Instant::now());
        if let Some(scoring) = self.scoring.take() {
            self.emitter.hold(Event::Prompt(scoring.scored));
        }
        Some(self.prompt_len)
    }

    /// Takes a drawn token, and emits it. Says why, if the sequence ended with it.
    fn accept(&mut self, sampled: Sampled, tokenizer: &Tokenizer) -> Option<End> {
        let token = sampled.token;
        self.tokens.push(token);
        self.clock.last_token = Some(Instant::now());
        if needs_output_counts(&self.sampling) {
            count(&mut self.seen, token);
        }
        let (text, reason) = self.read(token, tokenizer);
        self.emitter.hold(Event::Token(TokenEvent { token, text, logprobs: sampled.logprobs.map(scores) }));
        if let Some(reason) = reason {
            return Some(End::Finished(reason));
        }
        match self.follow(token) {
            Ok(ended) => ended.map(End::Finished),
            Err(error) => Some(End::Failed(error)),
        }
    }

    /// Goes on by a token, in the grammar if there is one. Says why, if nothing comes after it.
    fn follow(&mut self, token: u32) -> Result<Option<FinishReason>, GrammarError> {
        let room = self.draws();
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token)?;
            if constraint.is_complete() {
                return Ok(Some(FinishReason::Stop { matched: None }));
            }
        }
        Ok((!room).then_some(FinishReason::Length))
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
}

fn scores(l: TokenLogprobs) -> TokenScores {
    TokenScores { logprob: l.logprob, rank: l.rank, top: l.top }
}
