//! What runs a batch. The engine stops being generic here.

mod check;
mod graph;
mod local;
mod scripted;

use garrison_device::{Batch, DeviceError, Sampled};

pub use local::LocalExecutor;
pub use scripted::{ScriptControl, ScriptedExecutor};

/// Runs steps: a model on a device, or a script in tests.
pub trait Execute: Send {
    /// Runs a batch to the end.
    ///
    /// # Errors
    /// If the device fails; its KV cache is then taken to be lost.
    fn step(&mut self, batch: &Batch) -> Result<StepOutput, DeviceError>;
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
}
