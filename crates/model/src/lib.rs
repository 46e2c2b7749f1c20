//! The model: a family's architecture as data, its weights on a device, and the one forward pass
//! over the device's ops.
//!
//! [`ModelSpec::read`] answers every question about the architecture, [`Model::load`] brings the
//! weights over, [`Model::forward`] runs a step, through the adapters
//! of an [`AdapterBank`] where its sequences ask for them. The model sees a batch, never a request; it is
//! generic over the device and knows of no quantization.
//!
//! Deliberately absent: sampling, tokens' meaning, block allocation, kernels, file formats. A new
//! family is a new [`Architecture`] and perhaps a few more answers in [`ModelSpec`], unless its
//! forward pass differs in structure.
#![forbid(unsafe_code)]

mod blocks;
mod error;
mod load;
mod lora;
mod names;
mod read;
mod rope;
mod spec;
mod summary;
mod transformer;
mod weights;
mod workspace;

pub use error::LoadError;
pub use load::LoadProgress;
pub use lora::{Adapter, AdapterBank, AdapterError, LowRank, Target};
pub use rope::{Rope, RopeScaling};
pub use spec::{Architecture, ModelSpec, OutputHead, QkNorm, QkvBias};
pub use summary::{ModelSummary, TypeShare};
pub use transformer::Model;
pub use workspace::{KvCache, Workspace};
