//! How a provider can fail, and what that says about it.

use std::time::Duration;

/// Why a provider did not answer as it should. No content is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection: refused, no such name, TLS, or too slow.
    #[error("no connection could be made")]
    Connect,
    /// The connection broke before the answer began.
    #[error("the connection broke before the answer began")]
    Broke,
    /// Nothing of an answer came in time.
    #[error("no token came within {0:?}")]
    FirstToken(Duration),
    /// An answer began and then nothing more came.
    #[error("the answer stalled for {0:?}")]
    Stalled(Duration),
    /// An answer ended before its end.
    #[error("the answer was cut off")]
    Cut,
    /// What came is no answer.
    #[error("what came is no answer: {0}")]
    Garbage(&'static str),
    /// More came than one answer may have.
    #[error("the answer is larger than {MOST_ANSWER} bytes")]
    TooLarge,
    /// It wants fewer requests.
    #[error("it is asked too often")]
    RateLimited(Option<Duration>),
    /// It says that it failed.
    #[error("it failed with status {0}")]
    Status(u16),
    /// It does not take this request, though it may take others.
    #[error("it refused the request with status {0}")]
    Rejected(u16),
    /// It reported an error in the middle of its answer.
    #[error("it reported an error in its answer")]
    Reported,
    /// The time for the whole request is over.
    #[error("the time for the whole request was over")]
    Deadline,
    /// Its breaker let nothing through.
    #[error("its breaker is open")]
    Breaker,
    /// The route's requests have failed too often of late for another attempt.
    #[error("too many attempts are made at present")]
    Attempts,
    /// The key has no money left for it.
    #[error("the key's budget has no room for it")]
    Budget,
    /// What the request has cost already leaves no room for it.
    #[error("what one request may cost leaves no room for it")]
    RequestCap,
    /// Its API has no word for a field of the request, which is named.
    #[error("its API has no word for {0}")]
    NoWord(String),
    /// The guard did not clear it.
    #[error("it was not cleared")]
    NotCleared,
    /// What was cleared for another provider, or is not what was cleared any more.
    #[error("it was cleared for something else")]
    Misdirected,
    /// The books of what was spent cannot be kept.
    #[error("what it costs cannot be written down")]
    Books,
    /// It is a model here, and that failed.
    #[error("the model here failed: {0}")]
    Here(String),
}

/// Bytes that an answer may have.
pub(super) const MOST_ANSWER: usize = 64 << 20;

impl Failure {
    /// Whether it speaks against the provider, so that its breaker counts it.
    pub(crate) fn counts(&self) -> bool {
        match self {
            Failure::Connect
            | Failure::Broke
            | Failure::FirstToken(_)
            | Failure::Stalled(_)
            | Failure::Cut
            | Failure::Garbage(_)
            | Failure::TooLarge
            | Failure::Status(_)
            | Failure::Reported => true,
            Failure::RateLimited(_)
            | Failure::Rejected(_)
            | Failure::Deadline
            | Failure::Breaker
            | Failure::Attempts
            | Failure::Budget
            | Failure::RequestCap
            | Failure::NoWord(_)
            | Failure::NotCleared
            | Failure::Misdirected
            | Failure::Books
            | Failure::Here(_) => false,
        }
    }

    /// What metrics call it.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Failure::Connect => "no_connection",
            Failure::Broke => "connection_broke",
            Failure::FirstToken(_) => "first_token_timeout",
            Failure::Stalled(_) => "stalled",
            Failure::Cut => "cut",
            Failure::Garbage(_) => "garbage",
            Failure::TooLarge => "too_large",
            Failure::RateLimited(_) => "rate_limited",
            Failure::Status(_) => "failed",
            Failure::Rejected(_) => "rejected",
            Failure::Reported => "reported_error",
            Failure::Deadline => "deadline",
            Failure::Breaker => "breaker_open",
            Failure::Attempts => "too_many_attempts",
            Failure::Budget => "budget",
            Failure::RequestCap => "request_cap",
            Failure::NoWord(_) => "no_word",
            Failure::NotCleared => "not_cleared",
            Failure::Misdirected => "misdirected",
            Failure::Books => "books",
            Failure::Here(_) => "failed_here",
        }
    }

    /// Whether the provider may have done work that it charges for.
    pub(crate) fn may_cost(&self) -> bool {
        matches!(
            self,
            Failure::Broke
                | Failure::FirstToken(_)
                | Failure::Stalled(_)
                | Failure::Cut
                | Failure::Garbage(_)
                | Failure::TooLarge
                | Failure::Reported
                | Failure::Deadline
        )
    }
}
