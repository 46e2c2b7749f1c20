//! Frequencies against numbers computed elsewhere from the papers (`data/make_rope_cases.py`).

use garrison_device::RopePairing;
use garrison_model::{Rope, RopeScaling};
use serde_json::Value;

fn scaling(case: &Value) -> RopeScaling {
    let number = |key: &str| case[key].as_f64().unwrap();
    match case["method"].as_str().unwrap() {
        "none" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: number("factor") },
        "llama3" => RopeScaling::Llama3 {
            factor: number("factor"),
            low_freq_factor: number("low_freq_factor"),
            high_freq_factor: number("high_freq_factor"),
            original_context: number("original_context"),
        },
        "yarn" => RopeScaling::Yarn {
            factor: number("factor"),
            original_context: number("original_context"),
            beta_fast: number("beta_fast"),
            beta_slow: number("beta_slow"),
            attention_factor: number("attention_factor"),
        },
        other => panic!("unknown method {other}"),
    }
}

fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("../data/rope_cases.json")).unwrap()
}

fn rope(case: &Value, scaling: RopeScaling) -> Rope {
    let dim = case["dim"].as_u64().unwrap() as usize;
    Rope::new(dim, case["base"].as_f64().unwrap(), scaling, RopePairing::Halves)
}

#[test]
fn frequencies_are_those_of_the_papers() {
    for case in cases() {
        let rope = rope(&case, scaling(&case));
        let expected: Vec<f64> =
            case["inv_freq"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        assert_eq!(rope.inv_freq.len(), expected.len(), "{}", case["name"]);
        for (i, (found, expected)) in rope.inv_freq.iter().zip(&expected).enumerate() {
            let error = (f64::from(*found) / expected - 1.0).abs();
            assert!(error < 1e-7, "{}, pair {i}: {found} for {expected}", case["name"]);
        }
        let magnitude = case["magnitude"].as_f64().unwrap();
        assert!((f64::from(rope.magnitude) - magnitude).abs() < 1e-7, "{}", case["name"]);
    }
}

/// GGUF carries Llama 3.1's scaling as divisors; both ways must come to the same.
#[test]
fn divisors_in_a_tensor_equal_the_formula() {
    let case = cases().into_iter().find(|case| case["name"] == "llama 3.1").unwrap();
    let plain = rope(&case, RopeScaling::None);
    let by_formula = rope(&case, scaling(&case));
    let divisors: Vec<f32> = plain.inv_freq.iter().zip(&by_formula.inv_freq).map(|(a, b)| a / b).collect();
    assert_eq!((divisors[0], divisors[63]), (1.0, 8.0));
    let mut by_tensor = plain;
    by_tensor.divide(&divisors);
    for (a, b) in by_tensor.inv_freq.iter().zip(&by_formula.inv_freq) {
        assert!((a / b - 1.0).abs() < 3e-7, "{a} for {b}");
    }
}
