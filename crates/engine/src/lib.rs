//! The engine.
#![forbid(unsafe_code)]

mod request;

pub use request::{
    Event, Failure, Finish, Request, ScoredToken, SpecialTokens, SubmitError, TokenEvent, TokenScores,
};
