//! A driver, and what went wrong on it; buffers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytemuck::Pod;
use garrison_device::DeviceError;

use crate::driver::dense::DenseProduct;
use crate::driver::{Address, Driver, Grid};

/// A driver that remembers the first launch that failed.
pub(crate) struct Gpu<D: Driver> {
    pub(crate) driver: D,
    failure: Mutex<Option<DeviceError>>,
}

/// Values or indices.
pub struct Buffer<D: Driver> {
    /// A recorded step of several GPUs holds on to what it sums.
    pub(crate) memory: Arc<D::Memory>,
    /// Elements of 32 bits.
    len: usize,
}

impl<D: Driver> Buffer<D> {
    /// Where the first `len` elements are.
    pub(crate) fn first(&self, len: usize) -> Address {
        assert!(len <= self.len, "{len} elements of a buffer of {}", self.len);
        D::address(&self.memory)
    }
}

impl<D: Driver> Gpu<D> {
    pub(crate) fn new(driver: D) -> Self {
        Gpu { driver, failure: Mutex::new(None) }
    }

    /// A zeroed buffer of `len` elements of 32 bits.
    pub(crate) fn buffer(&self, what: &str, len: usize) -> Result<Buffer<D>, DeviceError> {
        Ok(Buffer { memory: Arc::new(self.zeroed(what, len.saturating_mul(size_of::<u32>()))?), len })
    }

    /// Zeroed memory. A kernel's argument must be an address, so it is never nothing.
    pub(crate) fn zeroed(&self, what: &str, bytes: usize) -> Result<D::Memory, DeviceError> {
        let memory = self.driver.alloc(what, bytes.max(1))?;
        self.driver.zero(&memory)?;
        Ok(memory)
    }

    /// Enqueues a kernel. Callers take every address from a [`Buffer`], a weight or a cache that they borrow
    /// and that they have held against the shapes; those live until the device is done, since freeing waits.
    pub(crate) fn enqueue<A: Pod>(&self, function: D::Function, grid: Grid, args: &A) {
        if self.failed().is_some() {
            return;
        }
        // SAFETY: as said above; that `A` is what the kernel takes is checked by size, in tests by value.
        let launched = unsafe { self.driver.launch(function, grid, bytemuck::bytes_of(args)) };
        self.note(launched);
    }

    /// Enqueues a product of halves. Callers take addresses as for [`Gpu::enqueue`].
    pub(crate) fn multiply(&self, product: &DenseProduct) {
        if self.failed().is_some() {
            return;
        }
        // SAFETY: as for `enqueue`.
        let multiplied = unsafe { self.driver.multiply(product) };
        self.note(multiplied);
    }

    /// Remembers a failure of something that nobody waits for.
    pub(crate) fn note(&self, result: Result<(), DeviceError>) {
        if let Err(error) = result {
            self.failed().get_or_insert(error);
        }
    }

    /// An error if any launch failed so far.
    pub(crate) fn check(&self) -> Result<(), DeviceError> {
        self.failed().clone().map_or(Ok(()), Err)
    }

    fn failed(&self) -> MutexGuard<'_, Option<DeviceError>> {
        lock(&self.failure)
    }
}

/// What is behind these locks is whole between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Blocks that are enough for `len` things, `each` to a block.
pub(crate) fn blocks(len: usize, each: usize) -> u32 {
    count(len.div_ceil(each))
}

/// A number that kernels count in 32 bits.
pub(crate) fn count(n: usize) -> u32 {
    assert!(n <= u32::MAX as usize, "{n} is more than kernels can count");
    n as u32
}
