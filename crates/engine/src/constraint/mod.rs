//! Answers that follow a grammar: JSON, a JSON schema, a regular expression, one of several texts,
//! or a context-free grammar.
//!
//! Before each draw a parser says which tokens can follow; the sampler draws among those. So an answer
//! is valid at every point, and it ends with "stop" only where the grammar may end.
//!
//! Key decision: to go on by a token is the engine's thread's work, since whether the answer is complete
//! decides what happens next. To work out what can follow is not: it takes many times as long, depends
//! on nothing but tokens that are drawn already, and is needed by the next draw only. So a
//! [`Follower`] sends its parser away before the forward pass of the step and takes it back when the
//! step is over ([`MaskThreads`]).

mod grammar;
mod masks;
mod parser;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use garrison_device::Mask;

use crate::faults::{self, Allocation};
use crate::sampler::mask::allows;

pub use grammar::{Grammar, GrammarError};
pub(crate) use grammar::{Grammars, on_large_stack};
pub(crate) use masks::MaskThreads;
use masks::{Done, Job, Returning};
pub(crate) use parser::Parser;

/// What a token of one answer may cost on average, lately, before its grammar is given up: everybody
/// waits for it. Usual are tens of microseconds.
const PATIENCE: Duration = Duration::from_millis(30);
/// What masks are taken to cost at most before any but the first was made, which takes longer.
const FIRST_GUESS: Duration = Duration::from_millis(1);

/// A grammar at its beginning, for one answer.
pub struct Constraint {
    parser: Box<dyn Parser>,
    /// Of the first token.
    mask: Arc<[u32]>,
    /// What it took.
    cost: Duration,
}

impl Constraint {
    /// Works out the first token's mask: that takes longer than the others do, and nobody waits for it.
    pub(crate) fn new(mut parser: Box<dyn Parser>) -> Result<Constraint, GrammarError> {
        let begun = Instant::now();
        let mask = parser.mask()?;
        Ok(Constraint { parser, mask, cost: begun.elapsed() })
    }

    #[cfg(test)]
    pub(crate) fn into_parser(self) -> Box<dyn Parser> {
        self.parser
    }
}

impl Clone for Constraint {
    fn clone(&self) -> Constraint {
        Constraint { parser: self.parser.apart(), mask: Arc::clone(&self.mask), cost: self.cost }
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint").finish_non_exhaustive()
    }
}

/// Seconds that a sequence's masks took in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct MaskTimes {
    /// All of them, wherever they were made.
    pub(crate) made: f64,
    /// What the engine's thread did itself, while nothing else went on.
    pub(crate) alone: f64,
}

impl std::ops::AddAssign for MaskTimes {
    fn add_assign(&mut self, other: MaskTimes) {
        self.made += other.made;
        self.alone += other.alone;
    }
}

/// How far an answer has come in its grammar.
pub(crate) struct Follower {
    parser: Place,
    /// Of the tokens that can follow. `None` from one token until the next is asked for.
    mask: Option<Mask>,
    /// The same after each guess that was supposed.
    ahead: Vec<Mask>,
    /// A parser that has taken the guesses so far. Not every grammar can go back, and what goes wrong with a
    /// guess is nothing to the answer.
    supposing: Option<Place>,
    /// What the last token took to go on by.
    consumed: Duration,
    /// Moving average of what a token takes.
    cost: Duration,
    times: MaskTimes,
}

/// Where a parser is.
enum Place {
    Here(Box<dyn Parser>),
    /// At work on masks.
    Away(Returning),
    /// Nowhere any more.
    Lost(GrammarError),
}

impl Follower {
    pub(crate) fn new(constraint: Constraint) -> Follower {
        Follower {
            parser: Place::Here(constraint.parser),
            mask: Some(Mask::ready(constraint.mask)),
            ahead: Vec::new(),
            supposing: None,
            consumed: Duration::ZERO,
            cost: constraint.cost.min(FIRST_GUESS),
            times: MaskTimes::default(),
        }
    }

    /// What a token takes, lately.
    pub(crate) fn cost(&self) -> Duration {
        self.cost
    }

    /// How many of these guesses can follow one another, from the first on.
    pub(crate) fn followable(&mut self, guesses: &[u32]) -> usize {
        let begun = Instant::now();
        let followable = self.home().map_or(0, |parser| parser.followable(guesses));
        self.times.alone += begun.elapsed().as_secs_f64();
        followable
    }

    /// Has the masks made of the next token and of those that follow each of these guesses.
    pub(crate) fn make_masks(&mut self, guesses: &[u32], threads: &mut MaskThreads) {
        self.forget_guesses();
        if self.mask.is_some() && guesses.is_empty() {
            return;
        }
        let Place::Here(parser) =
            std::mem::replace(&mut self.parser, Place::Lost(GrammarError::ParserFailed))
        else {
            debug_assert!(false, "a parser comes back before the next token is asked for");
            return;
        };
        let next = match self.mask {
            Some(_) => None,
            None => {
                let (mask, maker) = Mask::awaited();
                self.mask = Some(mask);
                Some(maker)
            }
        };
        let masks = usize::from(next.is_some()) + guesses.len();
        let guesses = guesses.iter().map(|&guess| (guess, self.await_ahead())).collect();
        let (back, returning) = masks::way_back();
        self.parser = Place::Away(returning);
        let took = threads.make(Job { parser, next, guesses, back }, self.cost * masks as u32);
        self.times.alone += took.as_secs_f64();
    }

    /// The mask after one more guess, to be made.
    fn await_ahead(&mut self) -> garrison_device::MaskMaker {
        let (mask, maker) = Mask::awaited();
        self.ahead.push(mask);
        maker
    }

    /// Takes the next guess for granted, until the next token; says whether anything can follow it. What
    /// can is then [`Follower::mask_after`]. The guess was drawn with the mask before it.
    pub(crate) fn suppose(&mut self, guess: u32, threads: &mut MaskThreads) -> bool {
        let begun = Instant::now();
        let before = self.mask_after(self.ahead.len());
        let parser = allows(before.bits(), guess).then(|| self.supposed(guess)).flatten();
        self.times.alone += begun.elapsed().as_secs_f64();
        let Some(parser) = parser else { return false };
        if parser.is_complete() {
            // Nothing follows, so any mask will do.
            self.ahead.push(before);
            return false;
        }
        let next = Some(self.await_ahead());
        let (back, returning) = masks::way_back();
        self.supposing = Some(Place::Away(returning));
        let took = threads.make(Job { parser, next, guesses: Vec::new(), back }, self.cost);
        self.times.alone += took.as_secs_f64();
        true
    }

    /// The parser that has taken the guesses, gone on by one more.
    fn supposed(&mut self, guess: u32) -> Option<Box<dyn Parser>> {
        let mut parser = match self.supposing.take() {
            None => self.home().ok()?.ahead(),
            Some(place) => place.wait(|done| self.times.made += done.next.as_secs_f64()).ok()?,
        };
        parser.consume(guess).ok()?;
        Some(parser)
    }

    /// Forgets what was supposed.
    fn forget_guesses(&mut self) {
        self.ahead.clear();
        if let Some(Place::Away(returning)) = self.supposing.take()
            && let Ok(done) = returning.try_recv()
        {
            self.times.made += done.next.as_secs_f64();
        }
    }

    /// The tokens that can follow the first `guesses` guesses, which were supposed.
    pub(crate) fn mask_after(&self, guesses: usize) -> Mask {
        let ahead = guesses.checked_sub(1).and_then(|last| self.ahead.get(last));
        let mask = ahead.or(self.mask.as_ref());
        debug_assert!(mask.is_some(), "masks are asked for before they are used");
        mask.cloned().unwrap_or_else(|| Mask::ready(Arc::default()))
    }

    /// Ends a step in which the sequence drew: after how many guesses a draw counts.
    ///
    /// # Errors
    /// If there was no mask for the first of its draws, or the grammar takes too long. The draws are void.
    pub(crate) fn end_step(&mut self) -> Result<usize, GrammarError> {
        self.home()?;
        Ok(self.ahead.iter().take_while(|mask| !mask.bits().is_empty()).count())
    }

    /// Goes on by a token that was drawn.
    pub(crate) fn accept(&mut self, token: u32) -> Result<(), GrammarError> {
        let begun = Instant::now();
        self.forget_guesses();
        self.mask = None;
        if faults::fails(Allocation::Grammar) {
            return Err(GrammarError::ParserFailed);
        }
        self.home()?.consume(token)?;
        self.consumed = begun.elapsed();
        Ok(())
    }

    /// Whether the answer is complete and nothing can follow.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(&self.parser, Place::Here(parser) if parser.is_complete())
    }

    /// What its masks took since this was last asked.
    pub(crate) fn take_times(&mut self) -> MaskTimes {
        std::mem::take(&mut self.times)
    }

    /// The parser, which may be about to come back. What takes so long that others notice is given up: an
    /// ambiguous grammar costs more with each token.
    fn home(&mut self) -> Result<&mut dyn Parser, GrammarError> {
        if let Place::Away(_) = self.parser {
            let away = std::mem::replace(&mut self.parser, Place::Lost(GrammarError::ParserFailed));
            let mut took = (Duration::ZERO, Duration::ZERO);
            let parser = away.wait(|done| took = (done.next, done.guesses));
            let (next, guesses) = took;
            self.times.made += (next + guesses).as_secs_f64();
            self.cost = (self.cost * 15 + self.consumed + next) / 16;
            self.parser = match parser {
                Ok(_) if self.cost > PATIENCE => Place::Lost(GrammarError::TooSlow),
                Ok(parser) => Place::Here(parser),
                Err(error) => Place::Lost(error),
            };
        }
        match &mut self.parser {
            Place::Here(parser) => Ok(&mut **parser),
            Place::Lost(error) => Err(error.clone()),
            Place::Away(_) => Err(GrammarError::ParserFailed),
        }
    }
}

impl Place {
    /// The parser once it is here; `note` sees what came back with it.
    fn wait(self, note: impl FnOnce(&Done)) -> Result<Box<dyn Parser>, GrammarError> {
        match self {
            Place::Here(parser) => Ok(parser),
            Place::Lost(error) => Err(error),
            Place::Away(returning) => {
                // It is lost with its thread's panic.
                let done = returning.recv().map_err(|_| GrammarError::ParserFailed)?;
                note(&done);
                done.made.map(|()| done.parser)
            }
        }
    }
}
