//! What is known of one kept answer: how like to its question others were, and whether it would have been right for them.
//!
//! After vCache (Schroeder et al. 2025, "vCache: Verified Semantic Prompt Caching"): whether an answer is right is a logistic
//! function of the likeness, whose parameters are the entry's own. Where a lower bound `a` of that does not reach `1 - delta`, the
//! model is asked with probability `1 - delta / (1 - a)`, which gives labels; so of all requests at most `delta` get a wrong answer.
//!
//! Two things differ. The parameters have a posterior on a grid in the place of an estimate with a variance, since labels that a
//! threshold separates, which is the usual case, have no estimate. And a third parameter says how often an answer is right at
//! most: where likeness misleads, as it does with a question and its negation, no threshold is high enough.

use std::sync::OnceLock;

/// Likenesses from 0.5 on are told apart in steps of this.
const STEP: f32 = 0.005;
/// So many of them, up to 1.
const BINS: usize = 101;
/// Labels of an entry that count; older ones fade.
const MOST_LABELS: u32 = 256;
/// Before an entry has so many labels nothing is given, as in vCache.
const FEWEST_LABELS: u32 = 6;
/// What is less likely right is not given, however small the harm is on average.
const LEAST: f32 = 0.5;
/// Even if nothing speaks against an answer the model is asked this often, so that it is noticed when something does.
const RECHECKED: f32 = 0.02;

/// How often an answer is right at most, and how probable that is before anything is known.
const CEILINGS: [(f32, f32); 7] =
    [(1.0, 8.0), (0.99, 1.0), (0.97, 1.0), (0.9, 1.0), (0.75, 1.0), (0.5, 1.0), (0.2, 1.0)];
const SLOPES: [f32; 5] = [10.0, 20.0, 40.0, 80.0, 160.0];
/// Thresholds from 0.5 to 1.
const THRESHOLDS: usize = 21;
const CELLS: usize = THRESHOLDS * SLOPES.len() * CEILINGS.len();

/// What the grid's points say of a likeness.
#[derive(Clone)]
struct Bin {
    /// How likely it is right.
    right: [f32; CELLS],
    ln_right: [f32; CELLS],
    ln_wrong: [f32; CELLS],
    /// The points, the least confident first.
    order: [u16; CELLS],
}

struct Grid {
    ln_prior: [f32; CELLS],
    bins: Vec<Bin>,
}

impl Grid {
    /// The same for all entries; a megabyte and a half, made once.
    fn get() -> &'static Grid {
        static GRID: OnceLock<Grid> = OnceLock::new();
        GRID.get_or_init(Grid::new)
    }

    fn new() -> Grid {
        let mut ln_prior = [0.0; CELLS];
        for (cell, ln) in ln_prior.iter_mut().enumerate() {
            *ln = CEILINGS[cell % CEILINGS.len()].1.ln();
        }
        Grid { ln_prior, bins: (0..BINS).map(bin).collect() }
    }
}

fn bin(number: usize) -> Bin {
    let likeness = 0.5 + number as f32 * STEP;
    let mut bin =
        Bin { right: [0.0; CELLS], ln_right: [0.0; CELLS], ln_wrong: [0.0; CELLS], order: [0; CELLS] };
    for cell in 0..CELLS {
        let (most, _) = CEILINGS[cell % CEILINGS.len()];
        let slope = SLOPES[cell / CEILINGS.len() % SLOPES.len()];
        let threshold = 0.5 + 0.025 * (cell / CEILINGS.len() / SLOPES.len()) as f32;
        let right = most / (1.0 + (-slope * (likeness - threshold)).exp());
        let right = right.clamp(1e-6, 1.0 - 1e-6);
        (bin.right[cell], bin.ln_right[cell], bin.ln_wrong[cell]) = (right, right.ln(), (1.0 - right).ln());
        bin.order[cell] = u16::try_from(cell).unwrap_or(u16::MAX);
    }
    bin.order.sort_by(|a, b| bin.right[usize::from(*a)].total_cmp(&bin.right[usize::from(*b)]));
    bin
}

/// Labels of one entry by likeness.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Evidence {
    /// Number of the likeness, right ones, wrong ones; in order.
    seen: Vec<(u8, u16, u16)>,
    labels: u32,
}

/// Whether the kept answer would have been right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    Right,
    Wrong,
}

fn number(likeness: f32) -> u8 {
    ((likeness - 0.5) / STEP).round().clamp(0.0, (BINS - 1) as f32) as u8
}

impl Evidence {
    /// Notes what came of a request.
    pub(super) fn note(&mut self, likeness: f32, label: Label) {
        if self.labels >= MOST_LABELS {
            self.fade();
        }
        let bin = number(likeness);
        let at = match self.seen.binary_search_by_key(&bin, |seen| seen.0) {
            Ok(at) => at,
            Err(at) => {
                self.seen.insert(at, (bin, 0, 0));
                at
            }
        };
        match label {
            Label::Right => self.seen[at].1 += 1,
            Label::Wrong => self.seen[at].2 += 1,
        }
        self.labels += 1;
    }

    /// Half of each, the odd one kept of those that were wrong.
    fn fade(&mut self) {
        for (_, right, wrong) in &mut self.seen {
            (*right, *wrong) = (*right / 2, wrong.div_ceil(2));
        }
        self.seen.retain(|(_, right, wrong)| right + wrong > 0);
        self.labels = self.seen.iter().map(|(_, right, wrong)| u32::from(right + wrong)).sum();
    }

    /// How many labels count.
    pub(super) fn labels(&self) -> u32 {
        self.labels
    }

    /// Bytes that it can take.
    pub(super) const BYTES: usize = BINS * size_of::<(u8, u16, u16)>();

    /// How likely the answer is right at this likeness, at least: the largest of `(1 - e) * p`, where with probability `1 - e`
    /// it is at least `p`. Nothing is said by few labels.
    pub(super) fn right_at_least(&self, likeness: f32) -> f32 {
        if self.labels < FEWEST_LABELS {
            return 0.0;
        }
        let grid = Grid::get();
        let mut weights = grid.ln_prior;
        for (seen, right, wrong) in &self.seen {
            let Some(bin) = grid.bins.get(usize::from(*seen)) else { continue };
            let (right, wrong) = (f32::from(*right), f32::from(*wrong));
            let row = bin.ln_right.iter().zip(&bin.ln_wrong);
            weights.iter_mut().zip(row).for_each(|(weight, (yes, no))| *weight += right * yes + wrong * no);
        }
        let most = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        weights.iter_mut().for_each(|weight| *weight = (*weight - most).exp());
        let all: f32 = weights.iter().sum();
        let Some(bin) = grid.bins.get(usize::from(number(likeness))) else { return 0.0 };
        let (mut below, mut best) = (0.0, 0f32);
        for cell in bin.order.map(usize::from) {
            // Everything from this point on is at least as confident.
            best = best.max((1.0 - below / all) * bin.right[cell]);
            below += weights[cell];
        }
        best
    }

    /// With what probability the model is asked all the same, if at most `delta` of requests may be answered wrong.
    pub(super) fn asked(right_at_least: f32, delta: f32) -> f32 {
        if right_at_least < LEAST {
            return 1.0;
        }
        (1.0 - delta / (1.0 - right_at_least).max(f32::MIN_POSITIVE)).clamp(RECHECKED, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from 0 to 1 (xorshift64*).
    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> f32 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u64 << 24) as f32
        }
    }

    /// How often an answer is right by likeness, of an entry whose own number is the second.
    type World = fn(f32, f32) -> f32;

    const WORLDS: [(&str, World); 6] = [
        ("a threshold of its own", |s, own| 1.0 / (1.0 + (-80.0 * (s - 0.6 - 0.33 * own)).exp())),
        ("always right", |_, _| 1.0),
        ("likeness says nothing", |_, own| 0.3 + 0.67 * own),
        ("nearly always right", |_, _| 0.95),
        ("what is very like is the opposite", |s, _| if s > 0.95 { 0.3 } else { 0.99 }),
        ("always wrong", |_, _| 0.0),
    ];

    const ENTRIES: u64 = 150;
    const REQUESTS: usize = 200;

    /// Wrong answers and answers given, of all requests, when `decides` says whether the model is asked.
    fn run(world: World, decides: impl Fn(&Evidence, f32) -> f32) -> (f32, f32) {
        let (mut wrong, mut given) = (0, 0);
        for seed in 1..=ENTRIES {
            let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            (0..8).for_each(|_| _ = chance.next());
            let (own, mut evidence) = (chance.next(), Evidence::default());
            for _ in 0..REQUESTS {
                // The likeliest of three, between 0.7 and 1.
                let likeness = 0.7 + 0.3 * (0..3).map(|_| chance.next()).fold(0.0, f32::max);
                let label = if chance.next() < world(likeness, own) { Label::Right } else { Label::Wrong };
                if chance.next() < decides(&evidence, likeness) {
                    evidence.note(likeness, label);
                } else {
                    given += 1;
                    wrong += usize::from(label == Label::Wrong);
                }
            }
        }
        let all = (ENTRIES as usize * REQUESTS) as f32;
        (wrong as f32 / all, given as f32 / all)
    }

    #[test]
    fn no_more_than_delta_is_answered_wrong_whatever_likeness_is_worth() {
        for delta in [0.01, 0.02, 0.05] {
            for (name, world) in WORLDS {
                let learned =
                    |evidence: &Evidence, s: f32| Evidence::asked(evidence.right_at_least(s), delta);
                let (wrong, given) = run(world, learned);
                // Three deviations of so many requests.
                let slack = 3.0 * (delta / (ENTRIES as usize * REQUESTS) as f32).sqrt();
                println!("{delta} {name}: {wrong:.4} wrong, {given:.3} given");
                assert!(wrong <= delta + slack, "{name}: {wrong} of {delta}");
                let least = match name {
                    "always right" => 12.0 * delta,
                    "a threshold of its own" => 8.0 * delta,
                    _ => 0.0,
                };
                assert!(given >= least, "{name}: only {given} given");
            }
        }
    }

    #[test]
    fn one_threshold_for_all_breaks_the_bound_where_likeness_misleads() {
        for (name, world) in [WORLDS[2], WORLDS[4], WORLDS[5]] {
            let (wrong, _) = run(world, |_, s| if s >= 0.95 { 0.0 } else { 1.0 });
            assert!(wrong > 0.05, "{name}: {wrong}");
        }
    }

    #[test]
    fn nothing_is_given_before_something_is_known_and_everything_is_checked_now_and_then() {
        let mut evidence = Evidence::default();
        assert_eq!(Evidence::asked(evidence.right_at_least(1.0), 0.05), 1.0);
        for _ in 0..MOST_LABELS * 3 {
            evidence.note(0.95, Label::Right);
        }
        assert!(evidence.labels() <= MOST_LABELS);
        assert_eq!(Evidence::asked(evidence.right_at_least(0.97), 0.05), RECHECKED);
        let before = evidence.right_at_least(0.97);
        assert!(evidence.right_at_least(0.7) < before, "what is less like is less sure");
        for _ in 0..20 {
            evidence.note(0.97, Label::Wrong);
        }
        assert!(evidence.right_at_least(0.97) < 0.95);
        for bin in 0..BINS {
            evidence.note(0.5 + bin as f32 * STEP, Label::Wrong);
        }
        assert!(evidence.seen.len() <= BINS && evidence.seen.is_sorted());
    }
}
