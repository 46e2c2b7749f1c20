//! What low-rank adapters (Hu et al. 2021, LoRA) are to a device: slots beside each linear layer.
//!
//! Key decision: a slot's address stays, whatever fills it. So an adapter is swapped between two steps
//! without recording anything again, and each row of a batch picks its own by number.

/// The slots beside one linear layer of `n` outputs and `k` inputs. Slots count from 1; slot 0 is
/// no adapter and takes no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoraShape {
    /// Adapters held at once.
    pub slots: usize,
    /// The largest rank that a slot can take.
    pub max_rank: usize,
    /// Outputs of the layer.
    pub n: usize,
    /// Inputs of the layer.
    pub k: usize,
}

/// What one adapter adds to one linear layer: `scale * b a x`.
#[derive(Clone, Copy, Debug)]
pub struct LoraView<'a> {
    /// At least 1.
    pub rank: usize,
    /// `[rank, k]`
    pub a: &'a [f32],
    /// `[n, rank]`
    pub b: &'a [f32],
    /// What the product is multiplied by.
    pub scale: f32,
}

impl LoraView<'_> {
    /// Asserts that this fits into a slot of `shape`: whoever read the adapter has checked it.
    pub fn check(&self, shape: &LoraShape) {
        let LoraShape { max_rank, n, k, .. } = *shape;
        let rank = self.rank;
        assert!((1..=max_rank).contains(&rank), "rank {rank} is not within 1 to {max_rank}");
        assert_eq!((self.a.len(), self.b.len()), (rank * k, n * rank), "rank {rank} of {shape:?}");
    }

    /// The power of two that brings a matrix' largest value to between 2^14 and 2^15, or as near as f32
    /// allows: multiplied by it, a matrix can be kept as f16 whatever its size.
    pub fn shift(values: &[f32]) -> i32 {
        let largest = values.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        if largest == 0.0 {
            return 0;
        }
        let exponent = (largest.to_bits() >> 23) as i32 - 127;
        (14 - exponent).min(126)
    }
}
