//! Low-rank adapters (Hu et al. 2021): what a linear layer computes, plus `scale * b (a x)`.
//!
//! [`Adapter`] is one on the host, checked against a model; [`AdapterBank`] keeps several on a
//! device, in slots that the rows of a batch name. The sum is added to the layer's product before
//! anything else is done with it, which is what merging it into the weight would give.

mod adapter;
mod bank;
mod read;

pub use adapter::{Adapter, AdapterError, LowRank, Target};
pub use bank::AdapterBank;
pub(crate) use bank::Rows;
