//! What grammars' masks cost a step, as measured while serving.

/// How much a step counts for what the next ones are taken to wait.
const LATELY: f64 = 0.1;

/// Masks are worked out beside the forward pass, by threads that may or may not keep up with it. So
/// what counts is not what they take but how much of that the steps had to wait for.
#[derive(Debug, Default)]
pub(super) struct MaskCost {
    /// Seconds that a step's masks took, lately, and those that it waited for them.
    made: f64,
    waited: f64,
    /// What the step being run has waited so far.
    now: f64,
}

impl MaskCost {
    /// Notes a wait in the step being run.
    pub(super) fn observe_wait(&mut self, seconds: f64) {
        self.now += seconds;
    }

    /// Notes the end of a step whose masks took `made` seconds.
    pub(super) fn end_step(&mut self, made: f64) {
        let waited = std::mem::take(&mut self.now);
        if made > 0.0 {
            self.made += (made - self.made) * LATELY;
            self.waited += (waited - self.waited) * LATELY;
        }
    }

    /// The part of what further masks take that a step takes longer for: all, before any was made.
    pub(super) fn share(&self) -> f64 {
        if self.made > 0.0 { self.waited / self.made } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_counts() {
        let mut cost = MaskCost::default();
        assert_eq!(cost.share(), 1.0);
        let mut after = |made: f64, waited: f64| {
            (0..100).for_each(|_| {
                cost.observe_wait(waited / 2.0);
                cost.observe_wait(waited / 2.0);
                cost.end_step(made);
            });
            cost.share()
        };
        assert!(after(2.0, 0.0) < 1e-9, "all of it is hidden behind the forward pass");
        assert!((after(2.0, 1.0) - 0.5).abs() < 1e-3);
        assert!((after(0.0, 7.0) - 0.5).abs() < 1e-3, "a step without masks says nothing");
    }
}
