//! The surface between the model and whatever computes it: what a device can do ([`Device`],
//! [`Ops`], [`Capture`]), and the one ragged [`Batch`] that everything is.
//!
//! There are no kernels here. A backend implements the three traits; the model calls them in
//! order and never sees a number; the conformance suite in `testkit` holds every backend to the
//! scalar definitions given in the trait's docs.
//!
//! Key decisions:
//! - A prefill chunk, a decode step (`q_len = 1`) and a speculative verification
//!   (`q_len = 1 + k`) differ only in numbers, so there is one forward pass and one attention op.
//! - Ops take preallocated buffers, destination first. They enqueue; they never allocate and
//!   never synchronize. Only [`Device::read`] and [`Device::synchronize`] wait.
//! - Quantization lives inside the opaque `Weight` and `KvLayer`: nothing above knows of it.
#![forbid(unsafe_code)]

mod batch;
mod draw;
mod error;
mod kv;
mod lora;
mod mask;
mod ops;
mod step;

pub use batch::{Batch, Part, SampleRow, Sampled, TokenCounts, TokenLogprobs, Want};
pub use draw::{Draw, DrawBuffers, Drawing, NO_TOKEN};
pub use error::DeviceError;
pub use kv::{BLOCK_SIZE, KvDtype, KvShape, NULL_BLOCK};
pub use lora::{LoraShape, LoraView};
pub use mask::{Mask, MaskMaker};
pub use ops::{
    AttentionShape, Capture, Cut, Device, Element, Ops, ProductShape, RopePairing, RopeShape, WeightView,
};
pub use step::{Adapters, Bucket, Queries, StepBuffers, StepLimits, StepShape};
