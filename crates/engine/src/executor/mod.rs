//! What runs a batch. The engine stops being generic here.

mod ahead;
mod check;
mod device_draws;
mod graph;
mod host_cache;
mod local;
mod restarting;
mod scripted;
mod threads;

use std::time::{Duration, Instant};

use garrison_device::{Batch, DeviceError, SampleRow, Sampled};
use garrison_model::Adapter;

pub use ahead::Lookahead;
pub(crate) use host_cache::TRIAL_SLOT;
pub use host_cache::{CopyError, HostCache, HostCacheError};
pub use local::LocalExecutor;
pub use restarting::{MakeExecutor, Restarting};
pub use scripted::{ScriptControl, ScriptedExecutor};

/// Runs steps: a model on a device, or a script in tests.
pub trait Execute: Send {
    /// Runs a batch to the end.
    ///
    /// # Errors
    /// If the device fails; its KV cache is then taken to be lost.
    fn step(&mut self, batch: &Batch) -> Result<StepOutput, DeviceError>;

    /// Puts an adapter into a slot, 1 to `adapter_slots`, in place of what was there. What the KV cache
    /// holds was computed with what was there before.
    ///
    /// # Errors
    /// If the device has no room for it; the slot is then empty, and steps go on.
    fn load_adapter(&mut self, slot: u32, adapter: &Adapter) -> Result<(), DeviceError>;

    /// Empties a slot. A batch that names an empty slot is a bug and asserts.
    fn clear_adapter(&mut self, slot: u32);

    /// Tokens of each sequence beyond those of a step for which its block table should have room: an executor may begin
    /// with the next step before it is asked.
    fn lookahead(&self) -> usize {
        0
    }

    /// Blocks that its host cache holds, in slots that count from 1.
    fn host_slots(&self) -> usize;

    /// Whether what its host cache holds is still there after a step that failed.
    fn keeps_host(&self) -> bool {
        true
    }

    /// Copies a block of the KV cache to a slot of the host cache, over what was there; says how many
    /// seconds that took.
    ///
    /// # Errors
    /// If the device or the host cache fails; the slot then holds nothing.
    fn save_block(&mut self, block: u32, slot: u32) -> Result<f64, CopyError>;

    /// Copies what was saved to a slot into a block of the KV cache; says how many seconds that took.
    ///
    /// # Errors
    /// If the device or the host cache fails, or the slot holds nothing; the block then holds anything.
    fn restore_block(&mut self, slot: u32, block: u32) -> Result<f64, CopyError>;
}

/// A smaller model that guesses what the large one will say, with the same token ids.
pub struct DraftModel {
    /// Runs it; made for the same limits and number of blocks as the large model's.
    pub executor: Box<dyn Execute>,
    /// It knows the token ids below this.
    pub vocab: usize,
    /// Tokens of one sequence that it can read.
    pub context: usize,
}

/// What came of a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepOutput {
    /// One for each of `Batch::samples`, in their order.
    pub samples: Vec<Sampled>,
    /// How long it took, in seconds: what larger steps cost is learned from this.
    pub seconds: f64,
    /// How long it waited for masks, in seconds; not in `seconds`.
    pub waited: f64,
}

/// Waits for the mask of a row that is about to be drawn; says for how long.
fn await_mask(row: &SampleRow) -> Duration {
    match &row.mask {
        Some(mask) if !mask.is_ready() => {
            let begun = Instant::now();
            mask.bits();
            begun.elapsed()
        }
        _ => Duration::ZERO,
    }
}
