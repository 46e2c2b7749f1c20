//! Which tokens a grammar allows, as bits.

/// Leaves only the tokens of `mask` possible.
pub(super) fn apply(logits: &mut [f32], mask: &[u32]) {
    let words = mask.iter().copied().chain(std::iter::repeat(0));
    for (logits, word) in logits.chunks_mut(32).zip(words) {
        match word {
            u32::MAX => {}
            0 => logits.fill(f32::NEG_INFINITY),
            _ => {
                for (bit, logit) in logits.iter_mut().enumerate() {
                    if word >> bit & 1 == 0 {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
}

/// Whether `token` is one of `mask`.
pub(crate) fn allows(mask: &[u32], token: u32) -> bool {
    mask.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_without_a_bit_are_impossible() {
        let mask = [0b1010, u32::MAX, 0];
        let mut logits: Vec<f32> = (0..130).map(|i| i as f32).collect();
        apply(&mut logits, &mask);
        let left: Vec<u32> = (0..130u32).filter(|&t| logits[t as usize] > f32::NEG_INFINITY).collect();
        assert_eq!(left, [vec![1, 3], (32..64).collect()].concat());
        assert!((0..130).all(|t| allows(&mask, t) == left.contains(&t)), "tokens beyond the mask, too");
    }
}
