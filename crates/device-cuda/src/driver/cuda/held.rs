//! What a process holds of a GPU: context, modules, memory, kernels and recordings; how it is given back, and what is
//! known of it once a call has failed.

use std::sync::Arc;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, sys};
use garrison_device::DeviceError;

use crate::driver::life::{Alive, Life};

/// What memory, modules and recordings need to be given back.
pub(super) struct Inner {
    pub(super) context: Arc<CudaContext>,
    pub(super) stream: sys::CUstream,
    pub(super) modules: Vec<sys::CUmodule>,
    pub(super) name: String,
    pub(super) processors: usize,
    pub(super) launches: Launches,
    /// Its compute capability.
    pub(super) capability: (i32, i32),
    pub(super) life: Arc<Life>,
}

/// How kernels follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Launches {
    /// One comes when the one before has ended.
    Apart,
    /// One may come before.
    Overlap,
}

// SAFETY: the driver's handles may be used from any thread on which the context is current, which `bind` sees to.
unsafe impl Send for Inner {}
// SAFETY: as above; the driver locks what it must.
unsafe impl Sync for Inner {}

/// Memory of a GPU.
pub struct Memory {
    pub(super) inner: Arc<Inner>,
    pub(super) address: sys::CUdeviceptr,
    pub(super) len: usize,
}

/// A kernel, whose module lives as long as the device.
#[derive(Clone, Copy)]
pub struct Function {
    pub(super) handle: sys::CUfunction,
    pub(super) args_size: usize,
}

// SAFETY: a handle, as those above.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// A recorded step.
pub struct Graph {
    pub(super) inner: Arc<Inner>,
    pub(super) exec: sys::CUgraphExec,
}

// SAFETY: a handle, as those above.
unsafe impl Send for Graph {}

impl Inner {
    pub(super) fn fail(&self, reason: String) -> DeviceError {
        DeviceError::Failed { device: self.name.clone(), reason }
    }

    pub(super) fn check<T>(&self, result: Result<T, DriverError>) -> Result<T, DeviceError> {
        result.map_err(|e| {
            if is_fatal(e) {
                self.life.end();
            }
            self.fail(describe(e))
        })
    }

    /// Makes the context current on this thread, for as long as the GPU is not lost and somebody holds what this gives.
    pub(super) fn bind(&self) -> Result<Alive<'_>, DeviceError> {
        let alive = self.life.enter();
        let alive = alive.ok_or_else(|| self.fail("it was lost, and what was in its memory".into()))?;
        self.check(self.context.bind_to_thread())?;
        Ok(alive)
    }
}

/// What the driver says of an error.
pub(super) fn describe(error: DriverError) -> String {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    text.unwrap_or_else(|_| format!("{error:?}"))
}

/// Whether a GPU does nothing any more after such an error, for anybody of this process.
fn is_fatal(error: DriverError) -> bool {
    use sys::CUresult as Of;
    matches!(
        error.0,
        Of::CUDA_ERROR_ILLEGAL_ADDRESS
            | Of::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | Of::CUDA_ERROR_MISALIGNED_ADDRESS
            | Of::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | Of::CUDA_ERROR_INVALID_PC
            | Of::CUDA_ERROR_HARDWARE_STACK_ERROR
            | Of::CUDA_ERROR_LAUNCH_FAILED
            | Of::CUDA_ERROR_LAUNCH_TIMEOUT
            | Of::CUDA_ERROR_ASSERT
            | Of::CUDA_ERROR_ECC_UNCORRECTABLE
            | Of::CUDA_ERROR_NVLINK_UNCORRECTABLE
            | Of::CUDA_ERROR_CONTAINED
            | Of::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | Of::CUDA_ERROR_DEVICE_UNAVAILABLE
            | Of::CUDA_ERROR_UNKNOWN
    )
}

impl Memory {
    /// Asserts that it has them; where they are.
    pub(super) fn range(&self, offset: usize, bytes: usize) -> sys::CUdeviceptr {
        let end = offset.checked_add(bytes);
        assert!(end.is_some_and(|end| end <= self.len), "{bytes} bytes at {offset} of {}", self.len);
        self.address + offset as u64
    }
}

// A device that fails while it is given back is as gone as one that does not: nobody is left to tell. One that was lost
// has nothing to be given back.

impl Drop for Memory {
    fn drop(&mut self) {
        let Ok(_alive) = self.inner.bind() else { return };
        // SAFETY: it is this one's, and the driver waits for whatever still uses it.
        let _ = unsafe { result::free_sync(self.address) };
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let Ok(_alive) = self.inner.bind() else { return };
        // SAFETY: it is this one's.
        let _ = unsafe { result::graph::exec_destroy(self.exec) };
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Ok(_alive) = self.bind() else { return };
        for &module in &self.modules {
            // SAFETY: loaded by `open`; whoever has its functions has `self`, too.
            let _ = unsafe { result::module::unload(module) };
        }
        // SAFETY: as above.
        let _ = unsafe { result::stream::destroy(self.stream) };
    }
}
