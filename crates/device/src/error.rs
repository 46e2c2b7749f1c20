//! What can go wrong on a device, in words for whoever reads the log.

/// An operating failure of a device. Wrong shapes are bugs and assert instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Memory for `what` could not be had.
    #[error("{device} has no {bytes} bytes for {what}; use a smaller --context, --max-seqs or model")]
    OutOfMemory {
        /// The device's name.
        device: String,
        /// What the memory was for.
        what: String,
        /// How much was asked for.
        bytes: usize,
    },
    /// The device cannot use this weight.
    #[error("tensor {tensor}: {reason}")]
    Weight {
        /// The tensor's name in the file.
        tensor: String,
        /// Why not.
        reason: String,
    },
    /// An adapter is larger than what its slot was made for.
    #[error("the adapter has rank {rank}; slots take up to {max_rank}")]
    Rank {
        /// The adapter's.
        rank: usize,
        /// The slots'.
        max_rank: usize,
    },
    /// The device failed while computing; its state is lost.
    #[error("{device} failed: {reason}")]
    Failed {
        /// The device's name.
        device: String,
        /// What it said.
        reason: String,
    },
}
