use super::*;
use proptest::prelude::*;

const USUAL: Learning = Learning { max_error: 0.05, floor: 0.0, ceiling: None, compare: 0.1 };

/// Numbers from 0 to 1 (xorshift64*).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// How often the next tier says the same, by confidence.
type World = fn(f64) -> f64;

const WORLDS: [(&str, World); 7] = [
    ("calibrated", |c| c),
    ("too sure of itself", |c| c.powi(6)),
    ("not sure enough", |c| c.powf(0.2)),
    ("confidence says nothing", |_| 0.8),
    ("the surer the worse", |c| 1.0 - 0.5 * c),
    ("always the same", |_| 1.0),
    ("never the same", |_| 0.0),
];

/// What became of requests: those whose accepted answer would have been another, and all that were accepted.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    wrong: f64,
    accepted: f64,
}

/// Sends requests through a cascade that learns from those that both answer.
fn run(
    world: World,
    requests: usize,
    learning: &Learning,
    chance: &mut Chance,
    calibration: &mut Calibration,
) -> Tally {
    let (mut tally, mut learned) = (Tally::default(), calibration.learn(learning));
    for _ in 0..requests {
        // More of them sure than not.
        let confidence = 1.0 - chance.next() * chance.next();
        let agreement = if chance.next() < world(confidence) { Agreement::Same } else { Agreement::Other };
        if chance.next() < learned.compare {
            calibration.note(Labelled { confidence, agreement });
            learned = calibration.learn(learning);
        } else if confidence >= learned.least {
            tally.accepted += 1.0;
            tally.wrong += f64::from(u8::from(agreement == Agreement::Other));
        }
    }
    tally
}

const STREAMS: u64 = 24;
const REQUESTS: usize = 4000;

fn shares(world: World, learning: &Learning) -> Tally {
    let mut all = Tally::default();
    for seed in 1..=STREAMS {
        let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let tally = run(world, REQUESTS, learning, &mut chance, &mut Calibration::default());
        all = Tally { wrong: all.wrong + tally.wrong, accepted: all.accepted + tally.accepted };
    }
    let requests = STREAMS as f64 * REQUESTS as f64;
    Tally { wrong: all.wrong / requests, accepted: all.accepted / requests }
}

#[test]
fn no_more_than_the_bound_is_wrong_whatever_confidence_is_worth() {
    for max_error in [0.02, 0.05, 0.1] {
        let learning = Learning { max_error, ..USUAL };
        for (name, world) in WORLDS {
            let Tally { wrong, accepted } = shares(world, &learning);
            // Three deviations of so many requests.
            let slack = 3.0 * (max_error / (STREAMS as f64 * REQUESTS as f64)).sqrt();
            println!("{max_error} {name}: {wrong:.4} wrong, {accepted:.3} accepted");
            assert!(wrong <= max_error + slack, "{name}: {wrong} of {max_error}");
            let least = match name {
                "always the same" => 0.8,
                "not sure enough" => 4.0 * max_error,
                "calibrated" => 2.0 * max_error,
                _ => 0.0,
            };
            assert!(accepted >= least, "{name}: only {accepted} accepted");
        }
    }
}

#[test]
fn a_fixed_threshold_keeps_no_bound_where_confidence_misleads() {
    for (name, world) in [WORLDS[1], WORLDS[3], WORLDS[4]] {
        let fixed = Learning { max_error: 1e-9, ceiling: Some(0.8), compare: 0.0, ..USUAL };
        // Nothing is learned within such a bound, so that the ceiling is the threshold.
        let mut calibration: Calibration =
            [Labelled { confidence: 1.0, agreement: Agreement::Other }; MOST_LABELS].into_iter().collect();
        let tally = run(world, 20_000, &fixed, &mut Chance(7), &mut calibration);
        assert!(tally.wrong / 20_000.0 > 0.08, "{name}: {tally:?}");
    }
}

#[test]
fn when_the_model_becomes_worse_the_threshold_rises_within_a_window() {
    let (mut after, mut settled) = (0.0, 0.0);
    for seed in 1..=STREAMS {
        let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut calibration = Calibration::default();
        let mut go = |world, requests| run(world, requests, &USUAL, &mut chance, &mut calibration);
        let before = go(|_| 0.99, 6000);
        assert!(before.accepted > 4000.0, "{before:?}");
        // As many requests as bring a window of labels, and then as many again.
        let window = (USUAL.window() as f64 / USUAL.compare) as usize;
        after += go(|_| 0.6, window).wrong / window as f64;
        settled += go(|_| 0.6, window).wrong / window as f64;
    }
    let (after, settled) = (after / STREAMS as f64, settled / STREAMS as f64);
    println!("0.4 of all are wrong: {after:.3} while it is noticed, {settled:.4} then");
    assert!(after < 0.15 && settled <= USUAL.max_error, "{after} {settled}");
}

#[test]
fn nothing_is_accepted_before_something_is_known_and_all_is_told() {
    let same = |n: usize| -> Calibration {
        std::iter::repeat_n(Labelled { confidence: 0.9, agreement: Agreement::Same }, n).collect()
    };
    let learned = same(18).learn(&USUAL);
    assert!(learned.least > 1.0 && learned.because == Because::TooFewLabels && learned.compare == 1.0);
    let learned = same(19).learn(&USUAL);
    assert_eq!((learned.least, learned.because, learned.labels), (0.0, Because::Learned, 19));
    assert_eq!((same(79).learn(&USUAL).compare, same(80).learn(&USUAL).compare), (1.0, 0.1));
    let within = Learning { floor: 0.3, ceiling: Some(0.9), ..USUAL };
    assert_eq!((same(19).learn(&within).least, same(19).learn(&within).because), (0.3, Because::Floor));
    assert_eq!((same(0).learn(&within).least, same(0).learn(&within).because), (0.9, Because::Ceiling));
    assert_eq!(same(MOST_LABELS + 9).0.len(), MOST_LABELS);
    let json = serde_json::to_value(same(19).learn(&within)).unwrap();
    let wanted =
        serde_json::json!({"because": "floor", "max_error": 0.05, "labels": 19, "others": 0, "compare": 1.0});
    assert_eq!(json, wanted);
}

proptest! {
    #[test]
    fn it_is_the_lowest_threshold_that_keeps_the_bound(
        labels in prop::collection::vec((0..=20u8, any::<bool>()), 0..150), percent in 1..=40u8
    ) {
        let learning = Learning { max_error: f64::from(percent) / 100.0, ..USUAL };
        let labels = labels.into_iter().map(|(confidence, same)| Labelled {
            confidence: f64::from(confidence) / 20.0,
            agreement: if same { Agreement::Same } else { Agreement::Other },
        });
        let calibration: Calibration = labels.collect();
        let learned = calibration.learn(&learning);
        let last: Vec<&Labelled> = calibration.0.iter().rev().take(learning.window()).collect();
        // In whole numbers: (wrong + 1) / (n + 1) <= percent / 100.
        let keeps = |least: f64| {
            let wrong = last.iter().filter(|l| l.agreement == Agreement::Other && l.confidence >= least).count();
            (wrong + 1) * 100 <= usize::from(percent) * (last.len() + 1)
        };
        if learned.least <= 1.0 + f64::EPSILON {
            prop_assert!(keeps(learned.least));
        }
        // No lower one does, at which another label would be accepted.
        for lower in last.iter().map(|l| l.confidence).filter(|c| *c < learned.least) {
            let would_accept_another = last.iter().any(|l| {
                l.agreement == Agreement::Other && l.confidence >= lower && l.confidence < learned.least
            });
            prop_assert!(!would_accept_another || !keeps(lower), "{lower} would do for {}", learned.least);
        }
    }
}
