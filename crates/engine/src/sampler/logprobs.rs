//! Log-probabilities under the model's own distribution.

use garrison_device::TokenLogprobs;

use super::{numeric, select};

/// What stands for "impossible", so that every reported number is finite; OpenAI's choice too.
const IMPOSSIBLE: f32 = -9999.0;

/// Log-softmax of `[vocab]` comparable logits at `token`, and the `top` best.
pub(super) fn of(logits: &[f32], token: u32, top: u32) -> TokenLogprobs {
    let norm = log_sum_exp(logits);
    let logprob = |x: f32| ((f64::from(x) - norm) as f32).max(IMPOSSIBLE);
    let own = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
    let best = select::best(logits, top as usize);
    TokenLogprobs {
        logprob: logprob(own),
        rank: rank(logits, token, own),
        top: best.into_iter().map(|(id, x)| (id, logprob(x))).collect(),
    }
}

/// One more than the tokens that come before `token`, whose logit is `own`, in the order of [`select::best`].
fn rank(logits: &[f32], token: u32, own: f32) -> u32 {
    let (before, after) = logits.split_at(logits.len().min(token as usize));
    let ahead = before.iter().filter(|&&x| x >= own).count() + after.iter().filter(|&&x| x > own).count();
    ahead as u32 + 1
}

/// `ln(sum(exp(x)))`, in `f64`, in a fixed order.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = numeric::max(logits);
    if max == f32::NEG_INFINITY {
        return 0.0;
    }
    let (mut weights, mut sums) = (Vec::new(), Vec::new());
    numeric::exp_scaled(&mut weights, logits, max, 1.0);
    numeric::block_sums(&mut sums, &weights);
    f64::from(max) + sums.iter().sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logprobs_are_the_log_softmax() {
        let logits: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1000) as f32 / 100.0 - 3.0).collect();
        let norm = logits.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        let mut expected: Vec<(u32, f64)> =
            logits.iter().enumerate().map(|(i, &x)| (i as u32, f64::from(x) - norm)).collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        for top in [0, 1, 5, 20, 1000, 5000] {
            let got = of(&logits, 17, top);
            assert!((f64::from(got.logprob) - (f64::from(logits[17]) - norm)).abs() < 1e-6);
            assert_eq!(got.top.len(), (top as usize).min(1000));
            let place = expected.iter().position(|(id, _)| *id == 17).unwrap();
            assert_eq!(got.rank as usize, place + 1);
            for (got, want) in got.top.iter().zip(&expected) {
                assert_eq!(got.0, want.0);
                assert!((f64::from(got.1) - want.1).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn equals_are_listed_by_id_and_every_number_is_finite() {
        let mut logits = vec![f32::NEG_INFINITY; 300];
        logits[7] = 1.0;
        logits[250] = 1.0;
        let got = of(&logits, 0, 3);
        assert_eq!((got.logprob, got.rank), (IMPOSSIBLE, 3));
        assert_eq!((of(&logits, 7, 0).rank, of(&logits, 250, 0).rank), (1, 2));
        assert_eq!(got.top.iter().map(|t| t.0).collect::<Vec<_>>(), [7, 250, 0]);
        assert!(got.top.iter().all(|t| t.1.is_finite()));
        let none = of(&[f32::NEG_INFINITY; 4], 9, 2);
        assert!(none.logprob.is_finite() && none.top.iter().all(|t| t.1.is_finite()));
    }
}
