//! What a GPU can do at most, measured now: the limits that speeds are held against.

use std::time::Instant;

use bytemuck::{Pod, Zeroable};
use garrison_device::DeviceError;

use crate::CudaDevice;
use crate::driver::{Address, Driver, Grid};

/// Limits of a GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes per second that a copy within the GPU's memory moves, read and written ones counted.
    pub copy_bytes_per_second: f64,
    /// Bytes read from memory per second.
    pub read_bytes_per_second: f64,
    /// Multiplications and additions of 8-bit integers on tensor cores per second, each counting as one, as
    /// `mma.sync` does them.
    pub int8_ops_per_second: f64,
}

/// How long is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Bytes that are read, and as many that are written.
    pub bytes: usize,
    /// Rounds of a loop of products.
    pub rounds: usize,
    /// Repetitions, of which the best counts.
    pub repetitions: usize,
}

impl Effort {
    /// Some tens of milliseconds on a large GPU, and far more bytes than its caches hold.
    pub const FULL: Effort = Effort { bytes: 2 << 30, rounds: 20_000, repetitions: 5 };
}

/// The twin of `ProbeArgs` in `kernels/probe.cu`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ProbeArgs {
    to: Address,
    from: Address,
    count: u64,
    rounds: u64,
}

/// Threads of a block.
const THREADS: u32 = 256;
/// Blocks for each multiprocessor: as many as run at the same time.
const BLOCKS: usize = 8;
/// Operations of one product of a warp, and how many a round has.
const OPS: usize = 2 * 16 * 8 * 32;
const SUMS: usize = 8;

impl<D: Driver> CudaDevice<D> {
    /// Measures what this GPU can do.
    ///
    /// # Errors
    /// If it has no memory for that, or fails.
    pub fn limits(&self, effort: Effort) -> Result<Limits, DeviceError> {
        let Effort { bytes, rounds, repetitions } = effort;
        let (to, from) = (self.gpu.zeroed("a copy", bytes)?, self.gpu.zeroed("a copy", bytes)?);
        let args = ProbeArgs {
            to: D::address(&to),
            from: D::address(&from),
            count: (bytes / 16) as u64,
            rounds: rounds as u64,
        };
        let blocks = BLOCKS * self.gpu.driver.processors();
        let grid = Grid { blocks: [blocks as u32, 1, 1], threads: THREADS };
        let best = |kernel: &str| -> Result<f64, DeviceError> {
            let function = self.gpu.driver.function(kernel)?;
            let mut best = f64::INFINITY;
            // Once more, for what is done once.
            for _ in 0..=repetitions {
                self.gpu.driver.synchronize()?;
                let begun = Instant::now();
                self.gpu.enqueue(function, grid, &args);
                self.gpu.check()?;
                self.gpu.driver.synchronize()?;
                best = best.min(begun.elapsed().as_secs_f64());
            }
            Ok(best)
        };
        let ops = OPS * SUMS * rounds * blocks * (THREADS as usize / 32);
        Ok(Limits {
            copy_bytes_per_second: 2.0 * bytes as f64 / best("probe_copy")?,
            read_bytes_per_second: bytes as f64 / best("probe_read")?,
            int8_ops_per_second: ops as f64 / best("probe_mma")?,
        })
    }

    /// The driver below.
    pub fn driver(&self) -> &D {
        &self.gpu.driver
    }
}
