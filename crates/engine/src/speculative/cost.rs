//! What a step costs, by its number of tokens, as measured while serving.

/// How much a new measurement counts that is below what was expected, and one that is above. What others
/// on the machine do only ever adds to a step, and to seldom measured sizes as to all others: were it
/// averaged in, a size that is seldom run would look worse than it is, and so stay seldom.
const LESS: f64 = 0.3;
const MORE: f64 = 0.1;
/// Where nothing but one size was measured: the part of its time that as many tokens again are taken
/// to add. Little, as one step corrects it.
const GUESSED_SLOPE: f64 = 0.1;
/// Of what moves the time of one size, the part that is taken to move all: a machine that has become slower or faster, not a
/// size that was misjudged. Else sizes that are not run would stand as they were before and be compared with what is now.
const COMMON: f64 = 0.7;
/// From so many measurements on a size's time is known, and what moves it is news.
const KNOWN: f64 = 10.0;

/// Moving expectiles (the lower quarter) of steps that only decode, by how many tokens they run.
#[derive(Debug)]
pub(crate) struct StepCost {
    /// `[tokens + 1]` seconds; 0 where nothing was measured.
    seconds: Vec<f64>,
    /// `[tokens + 1]` measurements that the average stands for.
    counts: Vec<f64>,
}

impl StepCost {
    /// Nothing measured; steps of up to `tokens` tokens can be.
    pub(crate) fn new(tokens: usize) -> StepCost {
        StepCost { seconds: vec![0.0; tokens + 1], counts: vec![0.0; tokens + 1] }
    }

    /// Notes how long a step of `tokens` tokens took. Says by what factor everything seems to take longer than before.
    pub(crate) fn observe(&mut self, tokens: usize, seconds: f64) -> f64 {
        // One hiccup says little: it counts as twice what was to be expected, at most.
        let new = self.of(tokens).map_or(seconds, |expected| seconds.min(2.0 * expected));
        let (Some(average), Some(count)) = (self.seconds.get_mut(tokens), self.counts.get_mut(tokens)) else {
            return 1.0;
        };
        *count += 1.0;
        let (before, count) = (*average, *count);
        let weight = if new < before { LESS.max(2.0 / (count + 1.0)) } else { MORE.max(0.5 / count) };
        *average = if count == 1.0 { new } else { before + (new - before) * weight };
        let now = *average;
        let factor = if count > KNOWN { (now / before).powf(COMMON) } else { 1.0 };
        self.scale(factor);
        self.seconds[tokens] = now;
        // Fewer tokens take no longer. A size that is not run any more, since others are better, would
        // otherwise stand for ever as it was measured in a bad moment.
        self.seconds[..tokens].iter_mut().for_each(|seconds| *seconds = seconds.min(now));
        factor
    }

    /// Everything takes longer by a factor.
    pub(crate) fn scale(&mut self, factor: f64) {
        self.seconds.iter_mut().for_each(|seconds| *seconds *= factor);
    }

    /// Seconds of a step of `tokens` tokens, if such were run.
    pub(crate) fn measured(&self, tokens: usize) -> Option<f64> {
        self.seconds.get(tokens).copied().filter(|seconds| *seconds > 0.0)
    }

    /// Whether a step of `tokens` tokens was run often enough for its time to be expected again.
    pub(crate) fn is_known(&self, tokens: usize) -> bool {
        self.counts.get(tokens).is_some_and(|&count| count >= KNOWN)
    }

    /// Seconds of a step of `tokens` tokens: measured, or on a line through what was measured
    /// nearest. `None` if nothing was.
    pub(crate) fn of(&self, tokens: usize) -> Option<f64> {
        let measured = |range: &mut dyn Iterator<Item = usize>| {
            range.map(|n| (n as f64, self.seconds.get(n).copied().unwrap_or(0.0))).find(|(_, s)| *s > 0.0)
        };
        let below = measured(&mut (1..=tokens).rev());
        if let Some((n, seconds)) = below
            && n == tokens as f64
        {
            return Some(seconds);
        }
        let above = measured(&mut (tokens + 1..self.seconds.len()));
        let line = |(n1, s1): (f64, f64), (n2, s2): (f64, f64)| {
            let slope = ((s2 - s1) / (n2 - n1)).max(0.0);
            (s1 + slope * (tokens as f64 - n1)).max(0.0)
        };
        match (below, above) {
            (Some(a), Some(b)) => Some(line(a, b)),
            (Some(b), None) => {
                let a = measured(&mut (1..b.0 as usize).rev());
                Some(a.map_or(b.1 * (1.0 + GUESSED_SLOPE * (tokens as f64 / b.0 - 1.0)), |a| line(a, b)))
            }
            (None, Some(b)) => Some(b.1 * tokens as f64 / b.0),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_measured_or_on_a_line_between() {
        let mut cost = StepCost::new(64);
        assert_eq!(cost.of(3), None);
        cost.observe(1, 10.0);
        assert_eq!((cost.of(1), cost.of(3)), (Some(10.0), Some(12.0)), "a guess until more is known");
        cost.observe(5, 14.0);
        assert_eq!([2, 3, 4, 5, 6].map(|n| cost.of(n).unwrap()), [11.0, 12.0, 13.0, 14.0, 15.0]);
        for _ in 0..100 {
            cost.observe(5, 30.0);
        }
        assert!((cost.of(5).unwrap() - 30.0).abs() < 0.1);
        cost.observe(5, 1e9);
        assert!(cost.of(5).unwrap() < 35.0, "one hiccup says little");
        cost.observe(9, 1e9);
        assert!(cost.of(9).unwrap() < 120.0, "nor does it where nothing was measured");
        cost.observe(1000, 1.0);
    }

    #[test]
    fn seldom_and_often_measured_sizes_are_judged_alike() {
        // Every third step is disturbed and takes half as long again.
        let disturbed = |i: usize, seconds: f64| if i.is_multiple_of(3) { 1.5 * seconds } else { seconds };
        let mut cost = StepCost::new(8);
        (0..300).for_each(|i| _ = cost.observe(1, disturbed(i, 100.0)));
        (0..6).for_each(|i| _ = cost.observe(4, disturbed(i, 200.0)));
        let ratio = cost.of(4).unwrap() / cost.of(1).unwrap();
        assert!((1.9..2.1).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_machine_that_has_changed_has_changed_for_all_sizes() {
        let mut cost = StepCost::new(8);
        (0..50).for_each(|_| _ = (cost.observe(1, 100.0), cost.observe(4, 200.0)));
        let slower: f64 = (0..100).map(|_| cost.observe(4, 300.0)).product();
        let ratio = cost.of(4).unwrap() / cost.of(1).unwrap();
        assert!((2.0..2.3).contains(&ratio), "{ratio}, where 3 would be what was not run since");
        assert!((1.25..1.5).contains(&slower), "{slower}");
        // What is so of one size only is found out when others are run.
        (0..50).for_each(|_| _ = (cost.observe(1, 100.0), cost.observe(4, 300.0)));
        let ratio = cost.of(4).unwrap() / cost.of(1).unwrap();
        assert!((2.9..3.1).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_bad_moment_does_not_stand_for_ever() {
        let mut cost = StepCost::new(8);
        cost.observe(1, 100.0);
        assert_eq!(cost.of(1), Some(100.0));
        (0..20).for_each(|_| _ = cost.observe(3, 12.0));
        assert!(cost.of(1).unwrap() <= 12.0, "fewer tokens take no longer");
        let mut cost = StepCost::new(8);
        cost.observe(2, 100.0);
        (0..4).for_each(|_| _ = cost.observe(2, 10.0));
        assert!(cost.of(2).unwrap() <= 28.0 + 1e-9, "the first measurement is one of five");
    }
}
