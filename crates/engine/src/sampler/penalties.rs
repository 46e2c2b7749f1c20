//! What changes logits before a token is chosen: bias, penalties and bans, in that order.

use garrison_device::TokenCounts;
use garrison_types::Sampling;

use super::numeric::comparable;

/// Applies bias, penalties and bans to `[vocab]` comparable logits, which stay comparable. Ids outside
/// of the vocabulary are skipped.
pub(super) fn apply(logits: &mut [f32], sampling: &Sampling, seen: &TokenCounts, banned: &[u32]) {
    for &(token, bias) in &sampling.logit_bias {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = comparable(*logit + bias);
        }
    }
    for (&token, &(in_output, in_prompt)) in &seen.counts {
        let Some(logit) = logits.get_mut(token as usize) else { continue };
        let mut x = *logit;
        if in_output > 0 || in_prompt {
            let penalty = sampling.repetition_penalty;
            x = if x > 0.0 { x / penalty } else { x * penalty };
        }
        if in_output > 0 {
            x -= sampling.frequency_penalty * in_output as f32 + sampling.presence_penalty;
        }
        *logit = comparable(x);
    }
    for &token in banned {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_penalty_does_what_its_source_says() {
        let sampling = Sampling {
            repetition_penalty: 2.0,
            frequency_penalty: 0.5,
            presence_penalty: 0.25,
            logit_bias: vec![(0, 1.0), (4, -100.0), (99, 5.0)],
            ..Sampling::default()
        };
        let seen =
            TokenCounts { counts: [(0, (0, true)), (1, (3, false)), (2, (1, true)), (77, (1, true))].into() };
        let mut logits = [3.0, -1.0, 2.0, 5.0, 5.0, 6.0];
        apply(&mut logits, &sampling, &seen, &[5, 1000]);
        assert_eq!(
            logits[0],
            (3.0 + 1.0) / 2.0,
            "bias, then repetition; a prompt token is not in the output"
        );
        assert_eq!(logits[1], -2.0 - 3.0 * 0.5 - 0.25, "negative logits are multiplied");
        assert_eq!(logits[2], 2.0 / 2.0 - 0.5 - 0.25);
        assert_eq!(logits[3], 5.0, "unseen tokens stay");
        assert_eq!(logits[4], -95.0);
        assert_eq!(logits[5], f32::NEG_INFINITY);
    }
}
