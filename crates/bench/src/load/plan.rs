//! How requests are sent: when, how many, and which of them count.
//!
//! In an open loop the moments are fixed in advance by the seed, and a request leaves at its moment
//! whatever has become of those before it; its latency counts from that moment. So a server that stalls
//! is charged for everyone who would have waited, which is what coordinated omission hides. In a closed
//! loop each client asks when its last answer is there, as a batch job would.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::random::Random;
use crate::record::Phase;

/// The most requests of one run, so that its records fit memory.
pub const MAX_REQUESTS: usize = 1_000_000;

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "loop", rename_all = "snake_case")]
pub enum Load {
    /// As many under way as there are clients.
    Closed {
        /// Clients.
        concurrency: usize,
    },
    /// At moments of their own.
    Open {
        /// Requests per second.
        rate: f64,
        /// How the moments scatter.
        arrivals: Arrivals,
    },
}

/// How the moments of an open loop scatter around their rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "arrivals", rename_all = "snake_case")]
pub enum Arrivals {
    /// At equal distances.
    Constant,
    /// As independent people come.
    Poisson,
    /// Distances drawn from a gamma distribution: below 1 in bursts, at 1 as Poisson, above it more evenly.
    Gamma {
        /// Its shape, the inverse of the squared coefficient of variation.
        shape: f64,
    },
}

impl std::str::FromStr for Arrivals {
    type Err = String;

    /// `constant`, `poisson`, `gamma:SHAPE`.
    fn from_str(text: &str) -> Result<Arrivals, String> {
        match text.split_once(':') {
            None if text == "constant" => Ok(Arrivals::Constant),
            None if text == "poisson" => Ok(Arrivals::Poisson),
            Some(("gamma", shape)) => match shape.parse::<f64>() {
                Ok(shape) if (0.01..=1000.0).contains(&shape) => Ok(Arrivals::Gamma { shape }),
                _ => Err(format!("\"{shape}\" is not a shape between 0.01 and 1000")),
            },
            _ => Err(format!("\"{text}\" is not one of constant, poisson, gamma:SHAPE")),
        }
    }
}

impl Load {
    /// In words: `16 clients`, `4 requests/s (poisson)`.
    pub fn label(&self) -> String {
        match self {
            Load::Closed { concurrency: 1 } => "1 client".to_owned(),
            Load::Closed { concurrency } => format!("{concurrency} clients"),
            Load::Open { rate, arrivals } => {
                let scatter = match arrivals {
                    Arrivals::Constant => "evenly".to_owned(),
                    Arrivals::Poisson => "Poisson".to_owned(),
                    Arrivals::Gamma { shape } => format!("gamma {shape}"),
                };
                format!("{} requests/s ({scatter})", (rate * 1000.0).round() / 1000.0)
            }
        }
    }
}

/// The moments of an open loop, in nanoseconds from its start, ascending without end.
#[derive(Clone)]
pub(crate) struct Schedule {
    random: Random,
    mean_ns: f64,
    arrivals: Arrivals,
    at: f64,
}

impl Schedule {
    pub(crate) fn new(rate: f64, arrivals: Arrivals, seed: u64) -> Schedule {
        Schedule { random: Random::stream(seed, 1), mean_ns: 1e9 / rate, arrivals, at: 0.0 }
    }
}

impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let at = self.at;
        let distance = match self.arrivals {
            Arrivals::Constant => 1.0,
            Arrivals::Poisson => self.random.exponential(),
            Arrivals::Gamma { shape } => self.random.gamma(shape) / shape,
        };
        self.at += distance * self.mean_ns;
        Some(at as u64)
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Extent {
    /// So many requests, or conversations.
    Requests(usize),
    /// All that begin within so long.
    Time(Duration),
}

impl Extent {
    /// The same, but at least so long at this rate.
    pub(crate) fn at_least(self, time: Duration, rate: f64) -> Extent {
        match self {
            Extent::Requests(n) => {
                let within = (rate * time.as_secs_f64()).ceil() as usize;
                Extent::Requests(n.max(within).min(MAX_REQUESTS))
            }
            Extent::Time(length) => Extent::Time(length.max(time)),
        }
    }
}

/// What is sent after the measured requests, until they have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoolDown {
    /// More of the same, cut off at the end: every measured request meets the whole load.
    Hold,
    /// Nothing: the last ones have the server to themselves.
    None,
}

/// Bounds of each request, and of all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// For the first token.
    pub first_token: Duration,
    /// For the whole answer.
    pub answer: Duration,
    /// Requests under way, at most. An open loop does not wait at the bound: it counts what it cannot send.
    pub in_flight: usize,
}

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// How requests follow each other.
    pub load: Load,
    /// How much is measured.
    pub extent: Extent,
    /// Requests sent before those that count.
    pub warm_up: usize,
    /// What is sent after them.
    pub cool_down: CoolDown,
    /// Bounds.
    pub limits: Limits,
    /// Of arrivals.
    pub seed: u64,
}

/// Gives requests their phase in the order in which they begin, and knows when all is over.
pub(crate) struct Phases {
    extent: Extent,
    warm_up: usize,
    cool_down: CoolDown,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    begun: usize,
    measured: usize,
    ended: usize,
    /// When the first measured request was due.
    window: Option<u64>,
    /// No more measured requests will begin.
    closed: bool,
}

impl State {
    fn all_ended(&self) -> bool {
        self.closed && self.ended == self.measured
    }
}

impl Phases {
    pub(crate) fn new(plan: &Plan) -> Phases {
        Phases {
            extent: plan.extent,
            warm_up: plan.warm_up.min(MAX_REQUESTS),
            cool_down: plan.cool_down,
            state: Mutex::default(),
        }
    }

    /// The phase of a request due `at`; `None` if nothing more is to be sent.
    pub(crate) fn begin(&self, at: u64) -> Option<Phase> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Those before do not take the places of those that count.
        if state.begun >= MAX_REQUESTS + self.warm_up {
            state.closed = true;
            return None;
        }
        if state.begun < self.warm_up {
            state.begun += 1;
            return Some(Phase::WarmUp);
        }
        let window = *state.window.get_or_insert(at);
        let more = match self.extent {
            Extent::Requests(n) => state.measured < n,
            Extent::Time(length) => at < window.saturating_add(length.as_nanos() as u64),
        };
        state.closed |= !more;
        if !state.closed {
            state.begun += 1;
            state.measured += 1;
            return Some(Phase::Measured);
        }
        if self.cool_down == CoolDown::None || state.all_ended() {
            return None;
        }
        state.begun += 1;
        Some(Phase::CoolDown)
    }

    /// A request of this phase is over.
    pub(crate) fn end(&self, phase: Phase) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended += usize::from(phase == Phase::Measured);
        if let Extent::Requests(n) = self.extent {
            state.closed |= state.measured >= n;
        }
    }

    /// Whether every measured request has begun and ended.
    pub(crate) fn all_ended(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).all_ended()
    }

    /// When the measured window began; far in the future if it has not.
    pub(crate) fn window(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).window.unwrap_or(u64::MAX)
    }

    /// Measured requests that have ended, and how many there will be, if that is known.
    pub(crate) fn progress(&self) -> (usize, Option<usize>) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = match self.extent {
            Extent::Requests(n) => Some(n),
            Extent::Time(_) => state.closed.then_some(state.measured),
        };
        (state.ended, whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distances(arrivals: Arrivals) -> (f64, f64) {
        let at: Vec<u64> = Schedule::new(50.0, arrivals, 3).take(20_001).collect();
        assert!(at.is_sorted() && at[0] == 0);
        let d: Vec<f64> = at.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e9).collect();
        let mean = d.iter().sum::<f64>() / d.len() as f64;
        let variance = d.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d.len() as f64;
        (mean, variance / mean.powi(2))
    }

    #[test]
    fn moments_have_their_rate_and_scatter() {
        for (arrivals, scatter) in [
            (Arrivals::Constant, 0.0),
            (Arrivals::Poisson, 1.0),
            (Arrivals::Gamma { shape: 0.25 }, 4.0),
            (Arrivals::Gamma { shape: 4.0 }, 0.25),
        ] {
            let (mean, squared_variation) = distances(arrivals);
            assert!((mean - 0.02).abs() < 0.001, "{arrivals:?}: {mean}");
            assert!(
                (squared_variation - scatter).abs() <= 0.1 * scatter + 1e-9,
                "{arrivals:?}: {squared_variation}"
            );
        }
        let again = |seed| Schedule::new(5.0, Arrivals::Poisson, seed).take(10).collect::<Vec<_>>();
        assert_eq!(again(1), again(1));
        assert_ne!(again(1), again(2));
    }

    fn plan(extent: Extent, cool_down: CoolDown) -> Plan {
        Plan {
            load: Load::Closed { concurrency: 1 },
            extent,
            warm_up: 2,
            cool_down,
            limits: Limits { first_token: Duration::MAX, answer: Duration::MAX, in_flight: 1 },
            seed: 0,
        }
    }

    #[test]
    fn the_first_warm_up_and_the_last_hold_the_load() {
        use Phase::{CoolDown as After, Measured, WarmUp};
        let phases = Phases::new(&plan(Extent::Requests(2), CoolDown::Hold));
        let begun: Vec<_> = (0..5).map(|at| phases.begin(at).unwrap()).collect();
        assert_eq!(begun, [WarmUp, WarmUp, Measured, Measured, After]);
        assert_eq!(phases.window(), 2);
        phases.end(WarmUp);
        phases.end(Measured);
        assert!(!phases.all_ended());
        assert_eq!(phases.begin(9), Some(After));
        phases.end(Measured);
        assert!(phases.all_ended());
        assert_eq!(phases.begin(10), None);

        let phases = Phases::new(&plan(Extent::Time(Duration::from_nanos(10)), CoolDown::None));
        let begun: Vec<_> = [0, 1, 5, 14, 15, 16].map(|at| phases.begin(at)).to_vec();
        assert_eq!(begun, [Some(WarmUp), Some(WarmUp), Some(Measured), Some(Measured), None, None]);
    }
}
