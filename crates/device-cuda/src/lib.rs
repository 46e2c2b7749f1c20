//! The CUDA backend: the kernels of `kernels/`, and the host code that lays memory out for them and launches
//! them.
//!
//! Key decisions:
//! - The host code is written against a small trait of a GPU's driver, [`Driver`]. The CUDA driver is loaded
//!   at run time, so the same binary runs where there is none; the emulator runs the very same kernels on
//!   the host, so everything here is tested without a GPU.
//! - Results do not depend on the batch or on which kernel computes a row: every sum has one fixed order
//!   (`kernels/matmul.cuh`, `kernels/attention.cuh`). Who would rather have prompts read faster asks for it ([`CudaDevice::hurry`]).
//! - A launch that fails is remembered, and whoever next reads or waits is told.

mod attention;
mod collective;
mod device;
mod draw;
mod driver;
mod fast;
mod gpu;
mod halves;
mod kv;
mod lora;
mod matmul;
mod ops;
mod probe;
mod recorded;
mod sharded;
mod shares;
mod upload;
mod weight;

pub use collective::{Collective, HostRing};
pub use device::{CudaDevice, Hurry};
pub use driver::cuda::{Cuda, NoGpu};
pub use driver::dense::{DensePlan, DenseProduct, DenseShape, NoDense};
#[cfg(feature = "emulator")]
pub use driver::emulator::{Build, Call, Emulator, Mishap, Order, SharedGpu};
pub use driver::nccl::{Nccl, NoNccl};
pub use driver::profiled::{KernelTime, Profiled};
pub use driver::{Address, Driver, Grid};
pub use gpu::Buffer;
pub use halves::Half;
pub use kv::KvLayer;
pub use lora::LoraSlots;
pub use matmul::Into;
pub use probe::{Effort, Limits};
pub use recorded::ShardedGraph;
pub use sharded::{Sharded, ShardedBuffer};
pub use shares::{ShardedSlots, ShardedWeight};
pub use weight::Weight;
