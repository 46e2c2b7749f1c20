//! What is kept of one request: the source of every figure.
//!
//! Key decision: a report is a function of records, and records are what the result file holds. So a
//! comparison can resample whole requests, and a file that a killed run left behind can still be read.
//! A record's size does not grow with its answer beyond [`Gaps`]' buckets and one number a second.

use serde::{Deserialize, Serialize};

use crate::stats::Gaps;

/// Which part of a run a request belongs to, by the order in which requests begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before the load is steady.
    WarmUp,
    /// What figures are made of.
    Measured,
    /// Sent only to hold the load while measured requests end.
    CoolDown,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// A whole answer.
    Done,
    /// An HTTP status other than 200.
    Status {
        /// It.
        status: u16,
    },
    /// No connection.
    Unreachable,
    /// No token within the time limit for the first.
    NoFirstToken,
    /// No end within the time limit.
    TimedOut,
    /// The connection ended before the answer did.
    BrokeOff,
    /// The server reported an error in the middle of the stream.
    ErrorEvent,
    /// Not a stream of OpenAI's events.
    NotAStream,
    /// Far more than was asked for.
    Endless,
    /// An end without a single token.
    Empty,
    /// Not sent: as many requests as allowed were under way. Nothing is sent later than planned instead.
    NotSent,
    /// Still under way when the run ended. Neither a success nor a failure.
    CutOff,
}

impl Outcome {
    /// In words.
    pub fn label(&self) -> String {
        match self {
            Outcome::Done => "answered".to_owned(),
            Outcome::Status { status } => format!("HTTP status {status}"),
            Outcome::Unreachable => "no connection".to_owned(),
            Outcome::NoFirstToken => "no first token in time".to_owned(),
            Outcome::TimedOut => "not finished in time".to_owned(),
            Outcome::BrokeOff => "broke off".to_owned(),
            Outcome::ErrorEvent => "error in the stream".to_owned(),
            Outcome::NotAStream => "not a stream of events".to_owned(),
            Outcome::Endless => "went on after its limit".to_owned(),
            Outcome::Empty => "no token at all".to_owned(),
            Outcome::NotSent => "not sent, too many under way".to_owned(),
            Outcome::CutOff => "cut off by the end of the run".to_owned(),
        }
    }
}

/// What is strange about an answer that did end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Oddity {
    /// No usage, so tokens are counted here.
    NoUsage,
    /// Usage and the tokens in the events differ.
    UsageDiffers,
    /// Events that carry several tokens.
    SeveralTokensAnEvent,
    /// Events of several tokens that were read together, as one packet or as packets that were merged.
    SeveralEventsARead,
    /// All tokens in one read, so that nothing is known of the times between them.
    AtOnce,
    /// Events that carry nothing.
    EmptyEvents,
    /// No `[DONE]` at the end.
    NoDone,
    /// No finish reason.
    NoFinishReason,
    /// Fewer tokens than were demanded.
    Short,
    /// More tokens than were asked for, or so the server says.
    Long,
    /// The server closed a kept connection instead of answering there, so the request was sent once more.
    SentAgain,
}

impl Oddity {
    /// In words.
    pub const fn label(self) -> &'static str {
        match self {
            Oddity::NoUsage => "no usage: tokens are counted by the harness",
            Oddity::UsageDiffers => "usage differs from the tokens in the events",
            Oddity::SeveralTokensAnEvent => "events with several tokens",
            Oddity::SeveralEventsARead => "tokens read together, whose times are upper bounds",
            Oddity::AtOnce => "all tokens at once: no time between them is known",
            Oddity::EmptyEvents => "events without content",
            Oddity::NoDone => "no [DONE] at the end",
            Oddity::NoFinishReason => "no finish reason",
            Oddity::Long => "more tokens than asked for",
            Oddity::SentAgain => "sent again, as the server had closed a connection that it seemed to keep",
            Oddity::Short => "fewer tokens than demanded",
        }
    }
}

/// How the tokens of an answer's events were counted, the most exact first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountedBy {
    /// The events list their tokens.
    TokenLists,
    /// One an event, and usage says the same number.
    Events,
    /// The model's tokenizer; where usage says another number, that one in the tokenizer's proportions.
    Tokenizer,
    /// Usage, spread over the events by the length of their text.
    UsageSpread,
    /// One an event, and nothing confirms it.
    Guess,
}

impl CountedBy {
    /// In words.
    pub const fn label(self) -> &'static str {
        match self {
            CountedBy::TokenLists => "token lists in the events",
            CountedBy::Events => "one an event, as usage confirms",
            CountedBy::Tokenizer => "the model's tokenizer, and usage where it differs",
            CountedBy::UsageSpread => "usage, spread over the events by their text",
            CountedBy::Guess => "one an event, unconfirmed",
        }
    }
}

/// One request. Times are milliseconds; those that name a moment count from the start of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Which part of the run.
    pub phase: Phase,
    /// The model or adapter asked for.
    pub model: String,
    /// When it was due. Latencies count from here.
    pub scheduled_ms: f64,
    /// When the harness began with it: later than due only if the harness was late.
    pub started_ms: f64,
    /// When it was over.
    pub ended_ms: f64,
    /// How.
    pub outcome: Outcome,
    /// What the server or the system said, if it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Strange things about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub oddities: Vec<Oddity>,
    /// From due to the first token.
    pub ttft_ms: Option<f64>,
    /// From due to the last token or the finish reason.
    pub e2e_ms: Option<f64>,
    /// Time per output token after the first.
    pub tpot_ms: Option<f64>,
    /// The longest wait between two events with tokens.
    pub stall_ms: Option<f64>,
    /// Tokens that were read together with later ones: of their times only the latest possible is known, and the
    /// times between them are told as 0.
    #[serde(default)]
    pub merged_tokens: u32,
    /// The longest that anything of the answer lay before the harness read it.
    #[serde(default)]
    pub unread_ms: f64,
    /// Times between tokens; none of an answer that came in one read.
    pub itl: Gaps,
    /// How events' tokens were counted.
    pub counted_by: CountedBy,
    /// Tokens generated.
    pub output_tokens: u32,
    /// Tokens of the prompt, if told.
    pub prompt_tokens: Option<u32>,
    /// Of those, from a cache, if told.
    pub cached_tokens: Option<u32>,
    /// Tokens guessed, if told.
    pub draft_tokens: Option<u32>,
    /// Of those, kept, if told.
    pub accepted_tokens: Option<u32>,
    /// Waiting in the server before its turn, if told.
    pub queue_ms: Option<f64>,
    /// `[seconds]` tokens that arrived in each second of the run, from the first token's.
    pub tokens_by_second: Vec<u32>,
    /// Tokens that arrived in the measured window so far: see [`crate::Summary`].
    pub window_tokens: u32,
}

impl Record {
    /// Whether it counts as an answer.
    pub fn is_done(&self) -> bool {
        self.outcome == Outcome::Done
    }

    /// Whether it counts as a failure: a request that the run's end cut off is neither.
    pub fn is_failure(&self) -> bool {
        !matches!(self.outcome, Outcome::Done | Outcome::CutOff)
    }

    /// The first token's moment.
    pub fn first_token_ms(&self) -> Option<f64> {
        self.ttft_ms.map(|ttft| self.scheduled_ms + ttft)
    }
}

/// When measured requests began to be due; `None` if none was.
pub(crate) fn window_of(records: &[Record]) -> Option<f64> {
    let due = records.iter().filter(|r| r.phase == Phase::Measured).map(|r| r.scheduled_ms);
    due.min_by(f64::total_cmp)
}
