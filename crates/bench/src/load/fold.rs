//! A stream's events become one record.
//!
//! Times between tokens are per token and not per event: an event with `k` tokens that comes `t` after the
//! one before counts as `k` times of `t / k`. Tokens of the first event have no time between them.
//!
//! Events of one read have one time, the latest that is possible. As in other tools the times between them are
//! told as 0, since that is what a client sees; but they are counted, and an answer that came in a single read has
//! no times between tokens at all.

use garrison_tokenizer::Tokenizer;

use super::client::Sent;
use super::event::{Chunk, Timings, Usage};
use super::socket::Moment;
use crate::record::{CountedBy, Oddity, Outcome, Phase, Record};
use crate::stats::Gaps;

/// Events of one answer, and bytes of its text: more is not an answer.
const MAX_PIECES: usize = 1 << 18;
const MAX_TEXT_BYTES: usize = 16 << 20;

/// What a server may send beyond what was asked for before it counts as endless: some split a token's
/// text over events.
const PIECES_PER_TOKEN: usize = 4;
const SPARE_PIECES: usize = 64;

/// The most characters kept of what a server said of a failure.
const MAX_DETAIL: usize = 200;

/// What a request asks for, as far as its answer is held against it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Demand {
    pub(crate) phase: Phase,
    pub(crate) model: String,
    pub(crate) max_tokens: u32,
    pub(crate) length: Length,
}

/// Whether an answer may be shorter than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// The model ends it.
    UpTo,
    /// End tokens are ignored.
    Exactly,
}

/// An event that carries something.
#[derive(Clone, Copy, Debug)]
struct Piece {
    at: u64,
    read: u32,
    bytes: u32,
    tokens: Option<u32>,
}

/// An answer under way. Times are nanoseconds on the run's clock.
pub(crate) struct Fold {
    demand: Demand,
    scheduled: u64,
    started: u64,
    pieces: Vec<Piece>,
    /// Everything written, for a tokenizer to count.
    text: String,
    /// What was said aloud, for the next turn.
    said: String,
    usage: Option<Usage>,
    timings: Option<Timings>,
    /// The event with the finish reason.
    finished: Option<u64>,
    /// When `[DONE]` came.
    done: Option<u64>,
    empty: u32,
    /// The longest that any of it lay unread.
    unread: u64,
    sent: Sent,
}

/// What an event brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum News {
    Nothing,
    /// Tokens, or as good as we know one, after this many nanoseconds since the ones before.
    Tokens {
        count: u32,
        gap: u64,
    },
    /// The first.
    First {
        count: u32,
        ttft: u64,
    },
    /// `[DONE]`.
    Done,
}

/// Why a stream need not be read on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure(pub(crate) Outcome, pub(crate) String);

impl Fold {
    pub(crate) fn new(demand: Demand, scheduled: u64, started: u64) -> Fold {
        Fold {
            demand,
            scheduled,
            started,
            pieces: Vec::new(),
            text: String::new(),
            said: String::new(),
            usage: None,
            timings: None,
            finished: None,
            done: None,
            empty: 0,
            unread: 0,
            sent: Sent::Once,
        }
    }

    /// How often the request was sent.
    pub(crate) fn sent(&mut self, times: Sent) {
        self.sent = times;
    }

    pub(crate) fn began(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Whether `[DONE]` has come.
    pub(crate) fn is_done(&self) -> bool {
        self.done.is_some()
    }

    /// Events with tokens so far.
    pub(crate) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// `[pieces]` when each came.
    pub(crate) fn arrivals(&self) -> Vec<u64> {
        self.pieces.iter().map(|p| p.at).collect()
    }

    /// Takes one event that arrived at `moment`.
    ///
    /// # Errors
    /// If it is none, reports an error, or there is no end to them.
    pub(crate) fn event(&mut self, data: &[u8], moment: Moment) -> Result<News, Failure> {
        let Moment { at, unread, read } = moment;
        self.unread = self.unread.max(unread);
        if data == b"[DONE]" {
            self.done.get_or_insert(at);
            return Ok(News::Done);
        }
        let chunk = Chunk::parse(data).map_err(|e| {
            let shown = String::from_utf8_lossy(&data[..data.len().min(MAX_DETAIL)]).into_owned();
            Failure(Outcome::NotAStream, format!("{e} in {shown}"))
        })?;
        if let Some(error) = chunk.error() {
            return Err(Failure(Outcome::ErrorEvent, error.to_owned()));
        }
        self.usage = chunk.usage.or(self.usage);
        self.timings = chunk.timings.or(self.timings);
        let mut bytes = 0;
        chunk.texts(|text| {
            bytes += text.len();
            self.text.push_str(text);
        });
        self.said.push_str(chunk.said());
        let tokens = chunk.tokens();
        if chunk.finishes() {
            self.finished = Some(at);
        }
        if bytes == 0 && tokens.unwrap_or(0) == 0 {
            // A stream opens with the role, and may close with nothing but a reason.
            self.empty += u32::from(chunk.has_choices() && !chunk.finishes() && self.began());
            return Ok(News::Nothing);
        }
        let limit = self.demand.max_tokens as usize * PIECES_PER_TOKEN + SPARE_PIECES;
        if self.pieces.len() >= limit.min(MAX_PIECES) || self.text.len() > MAX_TEXT_BYTES {
            return Err(Failure(Outcome::Endless, format!("more than {} events", self.pieces.len())));
        }
        let count = tokens.unwrap_or(1);
        let before = self.pieces.last().map(|p| p.at);
        self.pieces.push(Piece { at, read, bytes: bytes as u32, tokens });
        Ok(match before {
            None => News::First { count, ttft: at.saturating_sub(self.scheduled) },
            Some(before) => News::Tokens { count, gap: at.saturating_sub(before) },
        })
    }

    /// How a stream whose bytes have ended is to be judged.
    pub(crate) fn verdict(&self) -> Failure {
        if self.done.is_none() && self.finished.is_none() {
            Failure(Outcome::BrokeOff, "the stream ended without a finish reason or [DONE]".to_owned())
        } else if self.pieces.is_empty() {
            Failure(Outcome::Empty, String::new())
        } else {
            Failure(Outcome::Done, String::new())
        }
    }

    /// What was said aloud.
    pub(crate) fn said(&self) -> &str {
        &self.said
    }

    /// The record, of an answer that ended so at `ended`; `window` is when the measured window began.
    pub(crate) fn close(self, end: Failure, ended: u64, window: u64, counter: Counter<'_>) -> Record {
        let Failure(outcome, mut detail) = end;
        if let Some((at, _)) = detail.char_indices().nth(MAX_DETAIL) {
            detail.truncate(at);
        }
        let (counted_by, tokens) = self.count(counter);
        let counted = tokens.iter().fold(0u32, |sum, n| sum.saturating_add(*n));
        // What a server does with the connection after its last word is no part of the answer.
        let ended = self.done.unwrap_or(ended);
        let total = self.usage.and_then(|u| u.completion_tokens);
        let output_tokens = match total {
            Some(total) if outcome == Outcome::Done => total,
            _ => counted,
        };
        let mut record = Record {
            phase: self.demand.phase,
            scheduled_ms: ms(self.scheduled),
            started_ms: ms(self.started),
            ended_ms: ms(ended),
            outcome,
            detail,
            oddities: Vec::new(),
            ttft_ms: None,
            e2e_ms: None,
            tpot_ms: None,
            stall_ms: None,
            merged_tokens: 0,
            unread_ms: ms(self.unread),
            itl: Gaps::default(),
            counted_by,
            output_tokens,
            prompt_tokens: self.usage.and_then(|u| u.prompt_tokens),
            cached_tokens: self.usage.and_then(|u| u.cached_tokens()),
            draft_tokens: self.timings.and_then(|t| t.draft_tokens),
            accepted_tokens: self.timings.and_then(|t| t.accepted_tokens),
            queue_ms: self.timings.and_then(|t| t.queue_ms()),
            tokens_by_second: Vec::new(),
            window_tokens: 0,
            model: self.demand.model.clone(),
        };
        self.times(&tokens, window, &mut record);
        if outcome == Outcome::Done {
            record.oddities = self.oddities(&record, counted, &tokens);
        }
        record
    }

    /// `[pieces]` the tokens of each.
    fn count(&self, counter: Counter<'_>) -> (CountedBy, Vec<u32>) {
        let listed: Option<Vec<u32>> = self.pieces.iter().map(|p| p.tokens).collect();
        if let Some(tokens) = listed {
            return (CountedBy::TokenLists, tokens);
        }
        let n = self.pieces.len() as u32;
        let total = self.usage.and_then(|u| u.completion_tokens);
        if let Counter::Tokenizer(tokenizer) = counter {
            let counts = self.count_by_text(tokenizer);
            // What a model wrote is not always cut as its tokenizer would cut it: usage knows how many.
            let counts = total.map_or_else(|| counts.clone(), |total| spread(total, &counts));
            return (CountedBy::Tokenizer, counts);
        }
        match total {
            // The end token is often counted and never shown.
            Some(total) if total == n || total == n + 1 => (CountedBy::Events, vec![1; n as usize]),
            Some(total) => {
                let bytes: Vec<u32> = self.pieces.iter().map(|p| p.bytes.max(1)).collect();
                (CountedBy::UsageSpread, spread(total, &bytes))
            }
            None => (CountedBy::Guess, vec![1; n as usize]),
        }
    }

    /// Each token belongs to the event that has its last byte.
    fn count_by_text(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        let mut ends = Vec::with_capacity(self.pieces.len());
        let mut end = 0i64;
        for p in &self.pieces {
            end += i64::from(p.bytes);
            ends.push(end);
        }
        let tokens = tokenizer.encode_plain(&self.text);
        let lengths = tokens.iter().map(|token| tokenizer.token_bytes(*token).len() as i64);
        // Some tokenizers put a space before a text, which then no event has.
        let mut at = self.text.len() as i64 - lengths.clone().sum::<i64>();
        let mut piece = 0;
        let mut counts = vec![0; self.pieces.len()];
        for length in lengths {
            at += length;
            while piece + 1 < ends.len() && ends[piece] < at {
                piece += 1;
            }
            if let Some(count) = counts.get_mut(piece) {
                *count += 1;
            }
        }
        counts
    }

    fn times(&self, tokens: &[u32], window: u64, record: &mut Record) {
        let Some((first, last)) = self.pieces.first().zip(self.pieces.last()) else { return };
        let since = |at: u64| at.saturating_sub(self.scheduled);
        record.ttft_ms = Some(ms(since(first.at)));
        if record.outcome == Outcome::Done {
            record.e2e_ms = Some(ms(since(last.at.max(self.finished.unwrap_or(0)))));
            // All in one read shows nothing of the time between them.
            if record.output_tokens > 1 && first.read != last.read {
                let decoding = last.at.saturating_sub(first.at);
                record.tpot_ms = Some(ms(decoding) / f64::from(record.output_tokens - 1));
            }
        }
        self.times_between(tokens, record);
        let second = |at: u64| at / 1_000_000_000;
        for (piece, &n) in self.pieces.iter().zip(tokens) {
            let at = (second(piece.at) - second(first.at)) as usize;
            if record.tokens_by_second.len() <= at {
                record.tokens_by_second.resize(at + 1, 0);
            }
            record.tokens_by_second[at] = record.tokens_by_second[at].saturating_add(n);
            if piece.at >= window {
                record.window_tokens = record.window_tokens.saturating_add(n);
            }
        }
    }

    fn times_between(&self, tokens: &[u32], record: &mut Record) {
        // What has no whole token yet counts when its token is complete; before the first there is no gap.
        let whole = || self.pieces.iter().zip(tokens).filter(|(_, n)| **n > 0);
        for ((piece, &n), (next, _)) in whole().zip(whole().skip(1)) {
            if piece.read == next.read {
                record.merged_tokens = record.merged_tokens.saturating_add(n);
            }
        }
        let (first, last) = (whole().next(), whole().next_back());
        if first.zip(last).is_none_or(|((first, _), (last, _))| first.read == last.read) {
            return;
        }
        let mut stall = 0;
        for ((before, _), (piece, &n)) in whole().zip(whole().skip(1)) {
            let gap = piece.at.saturating_sub(before.at);
            record.itl.add(gap / u64::from(n), n);
            stall = stall.max(gap);
        }
        record.stall_ms = Some(ms(stall));
    }

    fn oddities(&self, record: &Record, counted: u32, tokens: &[u32]) -> Vec<Oddity> {
        let total = self.usage.and_then(|u| u.completion_tokens);
        let exact = record.counted_by == CountedBy::TokenLists;
        let found = [
            (total.is_none(), Oddity::NoUsage),
            (
                total.is_some_and(|t| {
                    // No event has less than a token, even where nothing tells how many.
                    let fewest = if exact { counted } else { self.pieces.len() as u32 };
                    t < fewest || exact && t > counted.saturating_add(1)
                }),
                Oddity::UsageDiffers,
            ),
            (tokens.iter().any(|&n| n > 1), Oddity::SeveralTokensAnEvent),
            (record.merged_tokens > 0, Oddity::SeveralEventsARead),
            (record.output_tokens > 1 && record.itl.count() == 0, Oddity::AtOnce),
            (self.empty > 0, Oddity::EmptyEvents),
            (self.done.is_none(), Oddity::NoDone),
            (self.finished.is_none(), Oddity::NoFinishReason),
            (
                self.demand.length == Length::Exactly && total.unwrap_or(counted) < self.demand.max_tokens,
                Oddity::Short,
            ),
            (record.output_tokens > self.demand.max_tokens, Oddity::Long),
            (self.sent == Sent::Again, Oddity::SentAgain),
        ];
        found.into_iter().filter(|(is, _)| *is).map(|(_, oddity)| oddity).collect()
    }
}

/// `total` tokens over events in proportion to their weights.
fn spread(total: u32, weights: &[u32]) -> Vec<u32> {
    let whole: u64 = weights.iter().map(|&w| u64::from(w)).sum();
    let (mut so_far, mut given) = (0u64, 0u32);
    let share = |&weight: &u32| {
        so_far += u64::from(weight);
        let due = (so_far as f64 / whole.max(1) as f64 * f64::from(total)).round() as u32;
        due - std::mem::replace(&mut given, due)
    };
    weights.iter().map(share).collect()
}

/// Who counts the tokens of a text.
#[derive(Clone, Copy)]
pub(crate) enum Counter<'a> {
    /// Nobody here.
    Server,
    Tokenizer(&'a Tokenizer),
}

/// Nanoseconds as milliseconds, to the microsecond.
pub(crate) fn ms(nanos: u64) -> f64 {
    (nanos / 1000) as f64 / 1000.0
}
