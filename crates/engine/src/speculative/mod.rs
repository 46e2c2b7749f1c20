//! Speculative decoding: guess what comes next, and let one step check several guesses
//! (Leviathan et al. 2023; Chen et al. 2023).
//!
//! Key decision: a guess is right if it is the token that would have been drawn. Every draw is a
//! function of the logits, the request's seed and the position, so a checked guess gives the very
//! token that plain decoding gives: greedy or sampled, with penalties, a grammar or neither,
//! speculation changes no token and so no distribution. What it changes is time, and [`Planner`]
//! guesses only where the measured cost of a larger step, and of the draft model, is less than what
//! the guesses are expected to save.

mod cost;
mod draft;
mod drafter;
mod lookup;
mod masks;
mod planner;

pub(crate) use draft::{Draft, Source};
pub(crate) use drafter::{Drafter, ToCome};
pub(crate) use planner::{Candidate, Planner, Sources};
