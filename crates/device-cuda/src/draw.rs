//! Draws: a block of threads for each row of logits. The order of operations is in `kernels/draw.cu`.

use bytemuck::{Pod, Zeroable};
use garrison_device::{DeviceError, DrawBuffers};

use crate::CudaDevice;
use crate::driver::{Address, Driver, Grid};
use crate::gpu::{Buffer, Gpu, count};

/// Tokens that the kernel's sums have room for.
pub(crate) const MAX_VOCAB: usize = 1 << 18;

/// The kernel.
pub(crate) struct Drawer<D: Driver>(D::Function);

/// The twin of `DrawArgs` in `kernels/draw.cu`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct DrawArgs {
    dst: Address,
    logits: Address,
    rows: Address,
    edits: Address,
    masks: Address,
    vocab: u32,
    unused: u32,
}

impl<D: Driver> Drawer<D> {
    pub(crate) fn new(driver: &D) -> Result<Self, DeviceError> {
        driver.function("draw").map(Drawer)
    }

    pub(crate) fn draw(&self, gpu: &Gpu<D>, logits: &Buffer<D>, draws: &DrawBuffers<CudaDevice<D>>) {
        if draws.count == 0 {
            return;
        }
        let args = DrawArgs {
            dst: draws.tokens.first(draws.count),
            logits: logits.first(draws.vocab),
            rows: draws.rows.first(draws.count),
            edits: draws.edits.first(0),
            masks: draws.masks.first(0),
            vocab: count(draws.vocab),
            unused: 0,
        };
        gpu.enqueue(self.0, Grid { blocks: [count(draws.count), 1, 1], threads: 512 }, &args);
    }
}
