//! Circuit breakers: a tier that keeps failing is left alone for a while, then tried with one request.
//!
//! Closed, open and half-open as M. Nygard has them ("Release It!", 2007, chapter 5). The time open doubles with each
//! failed probe and is drawn at random below that ("full jitter"), so that several Garrisons do not come back together.

use std::time::Duration;

use serde::Serialize;

use crate::retry::full_jitter;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it.
    pub failures: u32,
    /// How long it stays open at most, the first time; twice that the next, and so on.
    pub wait: Duration,
    /// How long it stays open at most, ever.
    pub longest_wait: Duration,
    /// After this time without an outcome a probe counts as lost, and another may go.
    pub probe_time: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        BreakerConfig {
            failures: 3,
            wait: Duration::from_secs(2),
            longest_wait: Duration::from_secs(120),
            probe_time: Duration::from_secs(60),
        }
    }
}

/// Whether a tier may be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Admission {
    /// Yes.
    Closed,
    /// Yes, to see whether it works again.
    Probe,
    /// Not yet.
    Open {
        /// When that may change.
        retry_in_ms: u64,
    },
    /// Not yet: it asked to be left alone.
    Resting {
        /// Until when.
        retry_in_ms: u64,
    },
    /// No: somebody is seeing whether it works again.
    Probing,
}

impl Admission {
    /// Whether it may be asked.
    pub fn admits(self) -> bool {
        matches!(self, Admission::Closed | Admission::Probe)
    }
}

/// The right to ask a tier once; its outcome is told with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Which probe it is of, if it is of one.
    probe: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `wait` is how long it stays open at most, the next time.
    Closed { failures: u32, wait: Duration },
    /// `wait` is the most that it could be.
    Open { until: Duration, wait: Duration, why: Why },
    HalfOpen {
        since: Duration,
        wait: Duration,
        /// Why it was open.
        why: Why,
        /// The probe that speaks for the tier. One from before, whose answer may still come, does not.
        probe: u64,
    },
}

/// Why a breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Failed,
    /// The tier wants it.
    Asked,
}

/// One tier's breaker. Times are since any fixed moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    config: BreakerConfig,
    state: State,
    /// Probes so far.
    probes: u64,
}

impl Breaker {
    /// A closed one.
    pub fn new(config: BreakerConfig) -> Breaker {
        Breaker { config, state: State::closed(&config), probes: 0 }
    }

    /// Whether the tier may be asked.
    pub fn admission(&self, now: Duration) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Closed,
            State::Open { until, .. } if now >= until => Admission::Probe,
            State::Open { until, why, .. } => {
                let retry_in_ms = u64::try_from((until - now).as_millis()).unwrap_or(u64::MAX);
                match why {
                    Why::Failed => Admission::Open { retry_in_ms },
                    Why::Asked => Admission::Resting { retry_in_ms },
                }
            }
            State::HalfOpen { since, .. } if now >= since + self.config.probe_time => Admission::Probe,
            State::HalfOpen { .. } => Admission::Probing,
        }
    }

    /// Takes the right to ask it, if it may be asked.
    pub fn begin(&mut self, now: Duration) -> Option<Ticket> {
        match self.admission(now) {
            Admission::Closed => Some(Ticket { probe: None }),
            Admission::Probe => {
                let (State::Open { wait, why, .. } | State::HalfOpen { wait, why, .. }) = self.state else {
                    return None;
                };
                self.probes += 1;
                self.state = State::HalfOpen { since: now, wait, why, probe: self.probes };
                Some(Ticket { probe: Some(self.probes) })
            }
            Admission::Open { .. } | Admission::Resting { .. } | Admission::Probing => None,
        }
    }

    /// It has begun to answer. If that was to see whether it works again, others need not wait for the end of the answer; but
    /// one failure is enough to open it again, this one's included. One that only wanted a rest had not failed.
    pub fn begun(&mut self, ticket: Ticket) {
        let State::HalfOpen { wait, why, .. } = self.state else { return };
        if !self.is_tried_by(ticket) {
            return;
        }
        self.state = match why {
            Why::Asked => State::closed(&self.config),
            Why::Failed => {
                State::Closed { failures: self.config.failures.saturating_sub(1), wait: self.longer(wait) }
            }
        };
    }

    /// It answered.
    pub fn succeed(&mut self, ticket: Ticket) {
        match self.state {
            State::Closed { .. } => self.state = State::closed(&self.config),
            State::HalfOpen { .. } if self.is_tried_by(ticket) => self.state = State::closed(&self.config),
            // Asked before it opened: it says nothing about now, and nothing against a rest that is wanted.
            State::HalfOpen { .. } | State::Open { .. } => {}
        }
    }

    /// It did not answer as it should. `random` is any number, for the jitter.
    pub fn fail(&mut self, ticket: Ticket, now: Duration, random: u64) {
        let open =
            |wait: Duration| State::Open { until: now + full_jitter(wait, random), wait, why: Why::Failed };
        self.state = match self.state {
            State::Closed { failures, wait } if failures + 1 < self.config.failures => {
                State::Closed { failures: failures + 1, wait }
            }
            State::Closed { wait, .. } => open(wait),
            State::HalfOpen { wait, .. } if self.is_tried_by(ticket) => open(self.longer(wait)),
            // Asked before it opened, so nothing new.
            state @ (State::HalfOpen { .. } | State::Open { .. }) => state,
        };
    }

    /// It asked to be left alone for `time` (429 with Retry-After), which is cut off at the longest wait.
    pub fn rest(&mut self, now: Duration, time: Duration) {
        let until = now + time.min(self.config.longest_wait);
        let wait = match self.state {
            State::Open { until: later, .. } if later >= until => return,
            State::Open { wait, .. } | State::HalfOpen { wait, .. } | State::Closed { wait, .. } => wait,
        };
        self.state = State::Open { until, wait, why: Why::Asked };
    }

    /// Whoever asked has gone, so nothing is known of the tier. A probe that this was can be made again at once.
    pub fn abandon(&mut self, ticket: Ticket, now: Duration) {
        if let (true, State::HalfOpen { wait, why, .. }) = (self.is_tried_by(ticket), self.state) {
            self.state = State::Open { until: now, wait, why };
        }
    }

    /// Whether a ticket is of the probe that is being made.
    fn is_tried_by(&self, ticket: Ticket) -> bool {
        matches!(self.state, State::HalfOpen { probe, .. } if ticket.probe == Some(probe))
    }

    /// The wait after one.
    fn longer(&self, wait: Duration) -> Duration {
        (wait * 2).min(self.config.longest_wait)
    }
}

impl State {
    /// As if nothing had ever failed.
    fn closed(config: &BreakerConfig) -> State {
        State::Closed { failures: 0, wait: config.wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn broken() -> Breaker {
        let mut breaker = Breaker::new(BreakerConfig::default());
        for _ in 0..3 {
            let ticket = breaker.begin(s(0)).unwrap();
            breaker.fail(ticket, s(0), u64::MAX);
        }
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_probe_through() {
        let mut breaker = broken();
        assert_eq!(breaker.begin(s(1)), None);
        let probe = breaker.begin(s(2)).unwrap();
        assert_eq!(breaker.admission(s(2)), Admission::Probing);
        assert_eq!(breaker.begin(s(3)), None, "one probe at a time");
        breaker.succeed(probe);
        assert_eq!(breaker.admission(s(3)), Admission::Closed);
        let mut breaker = Breaker::new(BreakerConfig::default());
        for second in 0..10 {
            let ticket = breaker.begin(s(second)).unwrap();
            if second % 3 == 2 { breaker.succeed(ticket) } else { breaker.fail(ticket, s(second), 0) }
        }
        assert_eq!(breaker.admission(s(10)), Admission::Closed, "never three in a row");
    }

    #[test]
    fn a_failed_probe_doubles_the_wait_up_to_the_longest() {
        let (mut breaker, mut now) = (broken(), s(2));
        for wait in [4, 8, 16, 32, 64, 120, 120] {
            let probe = breaker.begin(now).unwrap();
            breaker.fail(probe, now, u64::MAX);
            assert!(!breaker.admission(now + s(wait) - Duration::from_millis(1)).admits(), "{wait}");
            now += s(wait);
            assert_eq!(breaker.admission(now), Admission::Probe, "{wait}");
        }
    }

    #[test]
    fn a_probe_that_is_lost_or_given_up_does_not_lock_the_tier_out() {
        let mut breaker = broken();
        let probe = breaker.begin(s(2)).unwrap();
        breaker.abandon(probe, s(3));
        let _lost = breaker.begin(s(3)).unwrap();
        assert_eq!(breaker.admission(s(62)), Admission::Probing);
        assert!(breaker.begin(s(63)).is_some());
    }

    #[test]
    fn a_probe_that_has_begun_to_answer_lets_others_in_and_the_next_failure_opens_it_for_longer() {
        let mut breaker = broken();
        let probe = breaker.begin(s(2)).unwrap();
        breaker.begun(probe);
        assert_eq!(breaker.admission(s(2)), Admission::Closed);
        breaker.fail(probe, s(2), u64::MAX);
        assert!(!breaker.admission(s(5)).admits() && breaker.admission(s(6)) == Admission::Probe);
        // However often it only begins, the waits grow.
        let probe = breaker.begin(s(6)).unwrap();
        breaker.begun(probe);
        breaker.fail(probe, s(6), u64::MAX);
        assert!(!breaker.admission(s(13)).admits() && breaker.admission(s(14)) == Admission::Probe);
        let probe = breaker.begin(s(14)).unwrap();
        breaker.begun(probe);
        let other = breaker.begin(s(14)).unwrap();
        breaker.succeed(other);
        for _ in 0..2 {
            breaker.fail(probe, s(14), u64::MAX);
            assert_eq!(breaker.admission(s(14)), Admission::Closed, "it works again");
        }
        breaker.fail(probe, s(14), u64::MAX);
        assert_eq!(breaker.admission(s(16)), Admission::Probe, "for as long as the first time");
    }

    #[test]
    fn only_the_probe_speaks_for_a_tier_that_is_tried() {
        let mut breaker = Breaker::new(BreakerConfig::default());
        let early: Vec<Ticket> = (0..3).map(|_| breaker.begin(s(0)).unwrap()).collect();
        early.iter().for_each(|ticket| breaker.fail(*ticket, s(0), u64::MAX));
        breaker.begun(early[0]);
        assert!(!breaker.admission(s(1)).admits());
        let probe = breaker.begin(s(2)).unwrap();
        breaker.begun(early[0]);
        assert_eq!(breaker.admission(s(2)), Admission::Probing);
        breaker.abandon(probe, s(3));
        breaker.begun(probe);
        assert_eq!(breaker.admission(s(3)), Admission::Probe, "whoever has gone says nothing more");
    }

    #[test]
    fn what_was_asked_before_it_opened_does_not_speak_for_the_probe() {
        let mut breaker = Breaker::new(BreakerConfig::default());
        let early: Vec<Ticket> = (0..4).map(|_| breaker.begin(s(0)).unwrap()).collect();
        for ticket in &early[..3] {
            breaker.fail(*ticket, s(0), u64::MAX);
        }
        let _probe = breaker.begin(s(2)).unwrap();
        breaker.fail(early[3], s(2), 0);
        assert_eq!(breaker.admission(s(2)), Admission::Probing);
    }

    #[test]
    fn a_rest_that_was_asked_for_is_kept_and_bounded() {
        let mut breaker = Breaker::new(BreakerConfig::default());
        let early = breaker.begin(s(0)).unwrap();
        breaker.rest(s(0), s(7));
        assert_eq!(breaker.admission(s(6)), Admission::Resting { retry_in_ms: 1000 });
        breaker.succeed(early);
        assert!(!breaker.admission(s(6)).admits(), "what was asked before ends no rest");
        breaker.rest(s(0), s(3));
        assert!(!breaker.admission(s(6)).admits(), "a shorter one takes nothing away");
        breaker.rest(s(0), s(1_000_000));
        assert!(breaker.admission(s(120)).admits());
    }

    #[test]
    fn however_often_a_tier_wants_a_rest_it_has_not_failed() {
        let (mut breaker, mut now) = (Breaker::new(BreakerConfig::default()), s(0));
        for _ in 0..8 {
            breaker.rest(now, s(1));
            now += s(1);
            let probe = breaker.begin(now).unwrap();
            breaker.begun(probe);
            assert_eq!(breaker.admission(now), Admission::Closed);
        }
        for failure in 1..=3 {
            assert_eq!(breaker.admission(now), Admission::Closed, "before failure {failure}");
            let ticket = breaker.begin(now).unwrap();
            breaker.fail(ticket, now, u64::MAX);
        }
        assert!(!breaker.admission(now + s(1)).admits());
        assert_eq!(breaker.admission(now + s(2)), Admission::Probe, "for as long as the first time");
    }

    #[test]
    fn a_probe_of_before_does_not_speak_for_the_one_that_is_made() {
        type Tell = fn(&mut Breaker, Ticket);
        let tell: [Tell; 4] = [
            |breaker, old| breaker.begun(old),
            |breaker, old| breaker.succeed(old),
            |breaker, old| breaker.fail(old, s(7), u64::MAX),
            |breaker, old| breaker.abandon(old, s(7)),
        ];
        for tell in tell {
            let mut breaker = broken();
            let old = breaker.begin(s(2)).unwrap();
            // Its answer is long, and another fails meanwhile.
            breaker.begun(old);
            let other = breaker.begin(s(2)).unwrap();
            breaker.fail(other, s(2), u64::MAX);
            let probe = breaker.begin(s(6)).unwrap();
            tell(&mut breaker, old);
            assert_eq!(breaker.admission(s(7)), Admission::Probing);
            breaker.succeed(probe);
            assert_eq!(breaker.admission(s(7)), Admission::Closed);
        }
    }
}
