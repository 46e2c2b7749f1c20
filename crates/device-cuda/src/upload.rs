//! Many small writes as one: a step's indices are a dozen arrays, and each copy to a GPU costs the host as much as a
//! launch. They go to the GPU as one stretch, which a kernel spreads (`kernels/scatter.cu`).

use bytemuck::{Pod, Zeroable};
use garrison_device::{DeviceError, Element};

use crate::driver::{Address, Driver, Grid};
use crate::gpu::{Buffer, Gpu, blocks, count};

/// What is copied at once, at most: more is written part by part.
const CAPACITY: usize = 64 << 10;
/// Parts of a launch.
const MAX_PARTS: usize = 12;
/// Blocks of threads for each part, at most.
const MAX_BLOCKS: u32 = 32;
const THREADS: u32 = 256;

/// Where parts lie on their way.
pub(crate) struct Uploads<D: Driver> {
    /// `[CAPACITY]` words.
    memory: D::Memory,
    scatter: D::Function,
    /// The same on the host.
    words: Vec<u32>,
}

/// The twins of the structs in `kernels/scatter.cu`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Part {
    to: Address,
    first: u32,
    len: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ScatterArgs {
    from: Address,
    parts: [Part; MAX_PARTS],
}

impl<D: Driver> Uploads<D> {
    pub(crate) fn new(gpu: &Gpu<D>) -> Result<Self, DeviceError> {
        let memory = gpu.driver.alloc("uploads", CAPACITY * size_of::<u32>())?;
        Ok(Uploads { memory, scatter: gpu.driver.function("scatter")?, words: Vec::with_capacity(CAPACITY) })
    }

    /// Writes each part to the beginning of its buffer.
    pub(crate) fn write<T: Element>(
        &mut self,
        gpu: &Gpu<D>,
        parts: &mut [(&mut Buffer<D>, &[T])],
    ) -> Result<(), DeviceError> {
        let len: usize = parts.iter().map(|(_, data)| data.len()).sum();
        if parts.len() < 2 || parts.len() > MAX_PARTS || len > CAPACITY {
            let mut each = parts.iter_mut();
            return each
                .try_for_each(|(dst, data)| gpu.driver.write(&dst.memory, 0, bytemuck::cast_slice(data)));
        }
        self.words.clear();
        let mut args = ScatterArgs { from: D::address(&self.memory), ..ScatterArgs::zeroed() };
        let mut longest = 0;
        for (part, (dst, data)) in args.parts.iter_mut().zip(parts.iter()) {
            *part =
                Part { to: dst.first(data.len()), first: count(self.words.len()), len: count(data.len()) };
            self.words.extend_from_slice(bytemuck::cast_slice(data));
            longest = longest.max(data.len());
        }
        gpu.driver.write(&self.memory, 0, bytemuck::cast_slice(&self.words))?;
        let blocks = blocks(longest, THREADS as usize).clamp(1, MAX_BLOCKS);
        gpu.enqueue(self.scatter, Grid { blocks: [blocks, count(parts.len()), 1], threads: THREADS }, &args);
        Ok(())
    }
}
