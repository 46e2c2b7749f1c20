//! Whether a block is cheaper to copy to the host cache and back than to compute again, and how much
//! of a step's time copies take.
//!
//! Key decision: what copies cost is measured, like what computing costs ([`crate::pace`]), and the
//! cheaper of both is done. So a preempted sequence is swapped where memory is fast and computed again where
//! it is not, and nobody has to say which. Before the first decision copies to slot 0 and back are tried
//! out; where copies do not pay, that is done again now and then, for a hundredth of the time.

use garrison_device::BLOCK_SIZE;

/// How much the past counts with each copy.
const MEMORY: f64 = 0.8;
/// A copy that was interrupted says little: it counts as this many times the past at most, which is taken
/// to be this many seconds at least.
const MOST_TIMES: f64 = 4.0;
const LEAST_SECONDS: f64 = 1e-6;
/// The part of the time that may go into trying out copies that do not pay.
const TRIAL_SHARE: f64 = 0.01;
/// Copies each way that are tried out; the fastest counts, as the others may have been interrupted.
pub(crate) const TRIAL_COPIES: usize = 3;
/// Copies that fail in a row until no more are made.
const MOST_FAILURES: u32 = 8;

/// A copy of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the device to the host cache.
    Save,
    /// Back.
    Restore,
}

/// What is known about copies, and what they have done so far.
#[derive(Debug, Default)]
pub(crate) struct Swap {
    save: Cost,
    restore: Cost,
    /// Seconds that trials may take.
    credit: f64,
    failed_in_a_row: u32,
    pub(crate) counts: SwapCounts,
}

/// What the host cache was used for so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SwapCounts {
    pub(crate) saved: u64,
    pub(crate) restored: u64,
    pub(crate) failed: u64,
}

/// Seconds that a copy takes.
#[derive(Clone, Copy, Debug, Default)]
struct Cost(Option<f64>);

impl Cost {
    fn observe(&mut self, seconds: f64) {
        let lately = |past: f64| {
            let new = seconds.min(MOST_TIMES * past.max(LEAST_SECONDS));
            past * MEMORY + new * (1.0 - MEMORY)
        };
        self.0 = Some(self.0.map_or(seconds, lately));
    }

    fn seconds(self) -> f64 {
        self.0.unwrap_or(0.0)
    }

    /// Tokens that could be computed meanwhile. It is not more than the block's own where copying pays.
    fn tokens(self, per_token: Option<f64>) -> usize {
        let tokens = per_token.map_or(BLOCK_SIZE, |per_token| (self.seconds() / per_token).ceil() as usize);
        tokens.clamp(1, BLOCK_SIZE)
    }
}

impl Swap {
    /// Whether blocks that are evicted should be saved: both copies together are no more than
    /// computing, which takes `per_token` seconds a token as far as that is known.
    pub(crate) fn saves_pay(&self, per_token: Option<f64>) -> bool {
        self.pays(self.save.seconds() + self.restore.seconds(), per_token)
    }

    /// Whether blocks that were saved should be restored.
    pub(crate) fn restores_pay(&self, per_token: Option<f64>) -> bool {
        self.pays(self.restore.seconds(), per_token)
    }

    fn pays(&self, seconds: f64, per_token: Option<f64>) -> bool {
        let computing = per_token.map_or(f64::INFINITY, |per_token| per_token * BLOCK_SIZE as f64);
        !self.is_given_up() && seconds <= computing
    }

    fn is_given_up(&self) -> bool {
        self.failed_in_a_row >= MOST_FAILURES
    }

    /// Prompt tokens that could be computed in the time of a copy, at least one.
    pub(crate) fn tokens(&self, direction: Direction, per_token: Option<f64>) -> usize {
        match direction {
            Direction::Save => self.save.tokens(per_token),
            Direction::Restore => self.restore.tokens(per_token),
        }
    }

    /// Whether it is time to try out what copies cost, [`TRIAL_COPIES`] times.
    pub(crate) fn wants_trial(&mut self, per_token: Option<f64>) -> bool {
        let (Some(save), Some(restore)) = (self.save.0, self.restore.0) else { return !self.is_given_up() };
        let affordable = self.credit >= TRIAL_COPIES as f64 * (save + restore);
        let due = affordable && !self.is_given_up() && !self.saves_pay(per_token);
        if due {
            self.credit = 0.0;
        }
        due
    }

    /// Notes how long the copies took that were made to try them out.
    pub(crate) fn tried(&mut self, save: f64, restore: f64) {
        self.failed_in_a_row = 0;
        (self.save, self.restore) = (Cost(Some(save)), Cost(Some(restore)));
    }

    /// Notes how long a copy took.
    pub(crate) fn copied(&mut self, direction: Direction, seconds: f64) {
        self.failed_in_a_row = 0;
        let (cost, count) = match direction {
            Direction::Save => (&mut self.save, &mut self.counts.saved),
            Direction::Restore => (&mut self.restore, &mut self.counts.restored),
        };
        cost.observe(seconds);
        *count += 1;
    }

    /// Notes that a copy failed.
    pub(crate) fn failed(&mut self) {
        self.counts.failed += 1;
        self.failed_in_a_row += 1;
        if self.failed_in_a_row == MOST_FAILURES {
            tracing::error!("the host cache failed {MOST_FAILURES} times in a row; going on without it");
        }
    }

    /// There is a new host cache, which has not failed yet.
    pub(crate) fn begin_anew(&mut self) {
        self.failed_in_a_row = 0;
    }

    /// Notes that a step took `seconds`.
    pub(crate) fn pass(&mut self, seconds: f64) {
        self.credit += TRIAL_SHARE * seconds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(save: f64, restore: f64) -> Swap {
        let mut swap = Swap::default();
        swap.tried(save, restore);
        swap
    }

    #[test]
    fn the_cheaper_is_done() {
        let swap = measured(0.1, 0.2);
        // A block takes 0.16 s to compute, 0.32 s, 0.4 s.
        let pays = [0.01, 0.02, 0.025].map(|per| (swap.saves_pay(Some(per)), swap.restores_pay(Some(per))));
        assert_eq!(pays, [(false, false), (true, true), (true, true)]);
        assert!(!swap.saves_pay(Some(0.018)) && swap.restores_pay(Some(0.018)), "what is saved is of use");
        assert!(swap.saves_pay(None), "until it is known");
        let tokens = |per| [Direction::Save, Direction::Restore].map(|d| swap.tokens(d, per));
        assert_eq!([tokens(Some(0.025)), tokens(Some(1.0)), tokens(None)], [[4, 8], [1, 1], [16, 16]]);
    }

    #[test]
    fn a_single_interruption_changes_no_decision() {
        let mut swap = measured(0.01, 0.01);
        swap.copied(Direction::Save, 10.0);
        assert!(swap.saves_pay(Some(0.01)));
        (0..9).for_each(|_| swap.copied(Direction::Save, 10.0));
        assert!(!swap.saves_pay(Some(0.01)), "ten of them do");
    }

    #[test]
    fn what_does_not_pay_is_tried_again_for_a_hundredth_of_the_time() {
        let mut swap = Swap::default();
        assert!(swap.wants_trial(None), "nothing is known");
        swap = measured(0.5, 0.5);
        // A trial takes 3 s.
        let trials = (0..3000).filter(|_| {
            swap.pass(1.0);
            swap.wants_trial(Some(0.001))
        });
        assert!((9..=10).contains(&trials.count()));
        swap.tried(0.0, 0.0);
        assert!(swap.saves_pay(Some(0.001)));
        swap.pass(1e9);
        assert!(!swap.wants_trial(Some(0.001)), "what pays need not be tried");
    }

    #[test]
    fn what_always_fails_is_given_up() {
        let mut swap = measured(0.0, 0.0);
        for _ in 0..MOST_FAILURES - 1 {
            swap.failed();
        }
        assert!(swap.saves_pay(None) && swap.restores_pay(None));
        swap.copied(Direction::Save, 0.0);
        for _ in 0..MOST_FAILURES {
            swap.failed();
        }
        swap.pass(1e9);
        assert!(!swap.saves_pay(None) && !swap.restores_pay(None) && !swap.wants_trial(Some(1.0)));
    }
}
