//! The other process: a fake server, and what it really did on a clock that both processes share.

use std::fmt;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use garrison_testkit::fake_server::{FakeServer, Script, done, finish, token, usage};
use nix::time::{ClockId, clock_gettime};

use super::Fallible;

/// Within so long all requests begin.
pub(crate) const BEGINNING: Duration = Duration::from_secs(2);

/// From a request's arrival to its first token.
const FIRST: Duration = Duration::from_millis(100);

/// When tokens are written.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) streams: usize,
    /// Tokens a second of each stream.
    pub(crate) rate: f64,
    pub(crate) tokens: u32,
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.streams, self.rate, self.tokens)
    }
}

impl Pace {
    pub(crate) fn parse(text: &str) -> Fallible<Pace> {
        match text.split(',').collect::<Vec<_>>()[..] {
            [streams, rate, tokens] => {
                Ok(Pace { streams: streams.parse()?, rate: rate.parse()?, tokens: tokens.parse()? })
            }
            _ => Err("not a pace".into()),
        }
    }

    /// When token `k` of request `i` is to be written, from its arrival on. Streams are spread over the time between
    /// two tokens, as if they had nothing to do with each other.
    pub(crate) fn due(&self, i: usize, k: u32) -> Duration {
        let gap = 1.0 / self.rate;
        // Requests arrive in the order of their numbers, a part of a gap apart.
        let phase = gap * (i * 7919 % self.streams) as f64 / self.streams as f64;
        FIRST + Duration::from_secs_f64(phase + gap * f64::from(k))
    }
}

/// A moment in nanoseconds of the clock that all processes share.
pub(crate) fn shared_clock(moment: Instant) -> Fallible<i64> {
    let (before, raw, after) =
        (Instant::now(), Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?), Instant::now());
    let now = before + (after - before) / 2;
    let age = now.saturating_duration_since(moment);
    let ahead = moment.saturating_duration_since(now);
    Ok(raw.as_nanos() as i64 - age.as_nanos() as i64 + ahead.as_nanos() as i64)
}

/// Serves until stdin ends, and then prints a line a request: when it arrived, and when each token was written.
pub(crate) fn serve(pace: Pace) -> Fallible<()> {
    let word = token(" word");
    let server = FakeServer::start("127.0.0.1:0", move |i, _| {
        let mut parts: Vec<_> = (0..pace.tokens).map(|k| (pace.due(i, k), word.clone())).collect();
        let last = pace.due(i, pace.tokens.saturating_sub(1));
        // The prompt's tokens are the request's number, by which the other side knows it again.
        parts.push((last, [finish("length"), usage(i as u32, pace.tokens), done()].concat()));
        Script::stream(parts)
    })?;
    println!("{}", server.url);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for truth in server.truths() {
        write!(out, "{}", shared_clock(truth.arrived)?)?;
        // The last part is no token.
        for sent in truth.sent.iter().take(pace.tokens as usize) {
            write!(out, " {}", shared_clock(*sent)?)?;
        }
        writeln!(out)?;
    }
    Ok(out.flush()?)
}
