//! How often and when something is tried again.

use std::time::Duration;

/// A time drawn evenly between a quarter of `most` and `most` by `random`, any number. Exponential growth is the
/// caller's. (M. Brooker, "Exponential Backoff And Jitter", 2015, with a floor so that a wait is one.)
pub fn full_jitter(most: Duration, random: u64) -> Duration {
    let share = random as f64 / u64::MAX as f64;
    most.mul_f64(0.25 + 0.75 * share)
}

/// How many further attempts all requests of a route may make: a share of the requests, with a reserve for quiet times.
/// When everything fails, load grows by that share and not by the length of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Thousandths of an attempt.
    thousandths: u32,
    per_request: u32,
    most: u32,
}

impl RetryBudget {
    /// `per_request` thousandths of an attempt for each request, and `reserve` attempts at most in hand, which it
    /// begins with.
    pub fn new(per_request: u32, reserve: u32) -> RetryBudget {
        let most = reserve.saturating_mul(1000);
        RetryBudget { thousandths: most, per_request, most }
    }

    /// A request has come.
    pub fn earn(&mut self) {
        self.thousandths = self.thousandths.saturating_add(self.per_request).min(self.most);
    }

    /// Takes a further attempt, if there is one left.
    pub fn spend(&mut self) -> bool {
        let left = self.thousandths.checked_sub(1000);
        self.thousandths = left.unwrap_or(self.thousandths);
        left.is_some()
    }
}

impl Default for RetryBudget {
    /// One attempt for each two requests, and a hundred in hand.
    fn default() -> Self {
        RetryBudget::new(500, 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_a_share_of_requests() {
        let mut budget = RetryBudget::new(200, 10);
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 10);
        let more = (0..1000).filter(|_| {
            budget.earn();
            budget.spend()
        });
        assert_eq!(more.count(), 200);
    }

    #[test]
    fn jitter_is_within_its_bounds() {
        let most = Duration::from_secs(8);
        assert_eq!((full_jitter(most, 0), full_jitter(most, u64::MAX)), (most / 4, most));
    }
}
