//! The CPU backend: ops as plain functions over slices, in variants chosen at run time, on a
//! small thread pool.
//!
//! Key decisions:
//! - Results do not depend on the batch, the chunking or the thread count: each output value is
//!   accumulated in one fixed order, whatever else is computed beside it.
//! - An instruction set is a type whose values prove that the processor has it ([`Isa`] is only
//!   its name), so no kernel can run where it would fault.
//! - Ops run when called; there is no queue, hence no graph to record.
// Elsewhere the vector kernels are written but nothing can run them yet.
#![cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code, unused_imports))]

mod buffer;
mod device;
mod isa;
mod kv;
mod lora;
mod matmul;
mod memory;
#[cfg_attr(not(target_os = "linux"), path = "numa/elsewhere.rs")]
mod numa;
mod ops;
mod pool;
mod probe;
mod simd;
mod weight;

pub use buffer::Buffer;
pub use device::{CpuDevice, CpuOptions, CpuWeight, NoGraph};
pub use isa::Isa;
pub use kv::KvLayer;
pub use lora::LoraSlots;
pub use numa::{Nodes, confinement};
pub use pool::{Pool, available_threads};
pub use probe::Limits;
