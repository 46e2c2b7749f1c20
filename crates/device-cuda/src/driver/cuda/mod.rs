//! The CUDA driver, loaded at run time: the same binary runs where there is none.
//!
//! Key decisions:
//! - One stream, on which everything happens in order, and no events between launches: cudarc's tracking is
//!   switched off before anything is allocated, since what it remembers from before a recording would make
//!   the recording wait for ever.
//! - From Hopper on each kernel may come while the one before it ends (programmatic dependent launch); `KERNEL` in
//!   `kernels/common.cuh` has it wait there. So a launch costs little, and weights are asked for meanwhile.

mod held;
mod open;
mod pinned;

use std::ffi::{CString, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use garrison_device::DeviceError;
pub(crate) use held::{Function, Graph, Memory};
use held::{Inner, Launches};
pub use open::NoGpu;
use pinned::{HALF, Mailboxes, Staging};

use super::dense::{Dense, DensePlan, DenseProduct, NoDense};
use super::life::Alive;
use super::{Address, Driver, Grid};
use crate::gpu::lock;

/// An NVIDIA GPU.
pub struct Cuda {
    inner: Arc<Inner>,
    staging: Mutex<Staging>,
    mailboxes: Mutex<Mailboxes>,
    recording: AtomicBool,
    dense: OnceLock<Dense>,
}

impl Cuda {
    /// The stream on which everything happens, with the context current on this thread.
    pub(crate) fn stream(&self) -> Result<sys::CUstream, DeviceError> {
        let _alive = self.not_recording("sum over GPUs")?;
        Ok(self.inner.stream)
    }

    /// Only launches can be recorded.
    fn not_recording(&self, what: &str) -> Result<Alive<'_>, DeviceError> {
        if self.recording.load(Ordering::Acquire) {
            return Err(self.inner.fail(format!("a {what} cannot be recorded")));
        }
        self.inner.bind()
    }

    fn wait(&self) -> Result<(), DeviceError> {
        // SAFETY: the stream lives as long as `inner`.
        self.inner.check(unsafe { result::stream::synchronize(self.inner.stream) })
    }
}

impl Driver for Cuda {
    type Memory = Memory;
    type Function = Function;
    type Graph = Graph;

    fn name(&self) -> String {
        self.inner.name.clone()
    }

    fn processors(&self) -> usize {
        self.inner.processors
    }

    fn available(&self) -> Result<usize, DeviceError> {
        let _alive = self.inner.bind()?;
        self.inner.check(result::mem_get_info()).map(|(free, _)| free)
    }

    fn alloc(&self, what: &str, bytes: usize) -> Result<Memory, DeviceError> {
        let _alive = self.not_recording("memory request")?;
        // SAFETY: given back when dropped.
        match unsafe { result::malloc_sync(bytes) } {
            Ok(address) => Ok(Memory { inner: Arc::clone(&self.inner), address, len: bytes }),
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                Err(DeviceError::OutOfMemory { device: self.name(), what: what.into(), bytes })
            }
            Err(error) => self.inner.check(Err(error)),
        }
    }

    fn address(memory: &Memory) -> Address {
        Address(memory.address)
    }

    fn function(&self, name: &str) -> Result<Function, DeviceError> {
        let _alive = self.inner.bind()?;
        let missing = || self.inner.fail(format!("there is no kernel {name}"));
        let symbol = CString::new(format!("kernel_{name}")).map_err(|_| missing())?;
        for &module in &self.inner.modules {
            // SAFETY: modules stay loaded as long as `inner` lives.
            let found = unsafe { result::module::get_function(module, symbol.clone()) };
            if let Ok(handle) = found {
                let (mut offset, mut args_size) = (0, 0);
                // SAFETY: the function was given by the driver; both are written.
                let asked = unsafe { sys::cuFuncGetParamInfo(handle, 0, &mut offset, &mut args_size) };
                self.inner.check(asked.result())?;
                return Ok(Function { handle, args_size });
            }
        }
        Err(missing())
    }

    fn write(&self, to: &Memory, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        let _alive = self.not_recording("copy")?;
        let mut at = to.range(offset, bytes.len());
        let mut staging = lock(&self.staging);
        for part in bytes.chunks(HALF) {
            let staged = self.inner.check(staging.stage(part, self.inner.stream))?;
            // SAFETY: the range is the memory's, and `staged` stays as it is until it was waited for.
            self.inner.check(unsafe { result::memcpy_htod_async(at, staged, self.inner.stream) })?;
            at += part.len() as u64;
        }
        Ok(())
    }

    fn zero(&self, to: &Memory) -> Result<(), DeviceError> {
        let _alive = self.not_recording("copy")?;
        // SAFETY: it is all of the memory.
        self.inner.check(unsafe { result::memset_d8_async(to.address, 0, to.len, self.inner.stream) })
    }

    fn read(&self, from: &Memory, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let _alive = self.not_recording("copy")?;
        let at = from.range(offset, bytes.len());
        // SAFETY: the range is the memory's, and `bytes` is borrowed until the copy was waited for.
        let enqueued = unsafe { result::memcpy_dtoh_async(bytes, at, self.inner.stream) };
        // Even if it failed: nothing may be under way to `bytes` when this returns.
        let waited = self.wait();
        self.inner.check(enqueued).and(waited)
    }

    fn send(&self, from: &Memory, bytes: usize, mailbox: usize) -> Result<(), DeviceError> {
        let _alive = self.not_recording("copy")?;
        let (at, mailboxes) = (from.range(0, bytes), lock(&self.mailboxes));
        // SAFETY: the range is the memory's, which the driver does not give back before the copy is done.
        self.inner.check(unsafe { mailboxes.send(mailbox, at, bytes, self.inner.stream) })
    }

    fn receive(&self, mailbox: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let _alive = self.not_recording("wait")?;
        let mailboxes = lock(&self.mailboxes);
        self.inner.check(mailboxes.receive(mailbox, bytes))
    }

    unsafe fn launch(&self, function: Function, grid: Grid, args: &[u8]) -> Result<(), DeviceError> {
        if args.len() != function.args_size {
            let (takes, given) = (function.args_size, args.len());
            return Err(self
                .inner
                .fail(format!("a kernel takes {takes} bytes of arguments and was given {given}")));
        }
        let _alive = self.inner.bind()?;
        let ([x, y, z], mut params) = (grid.blocks, [args.as_ptr().cast_mut().cast::<c_void>()]);
        let mut overlap = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: grid.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: 0,
            hStream: self.inner.stream,
            attrs: &mut overlap,
            numAttrs: u32::from(self.inner.launches == Launches::Overlap),
        };
        // SAFETY: the arguments are as long as the kernel's and copied at once, as is the configuration; the rest is the
        // caller's promise.
        let launched =
            unsafe { sys::cuLaunchKernelEx(&config, function.handle, params.as_mut_ptr(), null_mut()) };
        let launched = launched.result();
        self.inner.check(launched)
    }

    fn open_dense(&self) -> Result<DensePlan, NoDense> {
        let _alive = self.inner.bind()?;
        if self.dense.get().is_none() {
            // If another thread was faster, its stays.
            let _ = self.dense.set(Dense::open()?);
        }
        Ok(dense_plan(self.inner.capability))
    }

    unsafe fn multiply(&self, product: &DenseProduct) -> Result<(), DeviceError> {
        let _alive = self.inner.bind()?;
        let dense = self.dense.get().ok_or_else(|| self.inner.fail("cuBLASLt was not started".into()))?;
        // SAFETY: the caller's promise; the stream lives as long as `inner`.
        let enqueued = unsafe { dense.multiply(product, self.inner.stream.cast()) };
        enqueued.map_err(|reason| self.inner.fail(format!("cuBLASLt: {reason}, for {:?}", product.shape)))
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        let _alive = self.not_recording("wait")?;
        self.wait()
    }

    fn begin_recording(&self) -> Result<(), DeviceError> {
        let _alive = self.not_recording("recording")?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as `inner`.
        self.inner.check(unsafe { result::stream::begin_capture(self.inner.stream, mode) })?;
        self.recording.store(true, Ordering::Release);
        Ok(())
    }

    fn end_recording(&self) -> Result<Graph, DeviceError> {
        if !self.recording.swap(false, Ordering::AcqRel) {
            return Err(self.inner.fail("nothing is recorded".into()));
        }
        let inner = &self.inner;
        let _alive = inner.bind()?;
        // SAFETY: as above.
        let graph = inner.check(unsafe { result::stream::end_capture(inner.stream) })?;
        // SAFETY: the graph is what the driver just gave, and not needed once it is instantiated.
        let exec = unsafe {
            let exec = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            inner.check(result::graph::destroy(graph))?;
            inner.check(exec)?
        };
        Ok(Graph { inner: Arc::clone(inner), exec })
    }

    unsafe fn replay(&self, graph: &Graph) -> Result<(), DeviceError> {
        let _alive = self.inner.bind()?;
        // SAFETY: the graph was instantiated for this device; its memory is the caller's promise.
        self.inner.check(unsafe { result::graph::launch(graph.exec, self.inner.stream) })
    }
}

/// From how many rows on products of halves pay, by count (benches/gpu/NOTES.md).
fn dense_plan((major, _): (i32, i32)) -> DensePlan {
    // Hopper and the Blackwell of data centers multiply halves faster than `mma.sync` does bytes with their scales: a weight's
    // unfolding is paid back by some 300 rows. Elsewhere halves with sums in f32 are as slow as these, or slower.
    let unfolded_from = if major == 9 || major == 10 { Some(320) } else { None };
    DensePlan {
        halves_from: 65,
        unfolded_from,
        rows: 2048,
        unfolded_bytes: 256 << 20,
        library_bytes: 32 << 20,
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        let dense = self.dense.take();
        let Ok(_alive) = self.inner.bind() else {
            std::mem::forget(dense);
            return;
        };
        let _ = self.wait();
        drop(dense);
        let (mut staging, mut mailboxes) = (lock(&self.staging), lock(&self.mailboxes));
        // SAFETY: nothing is under way any more, and nobody uses them after this.
        unsafe {
            staging.release();
            mailboxes.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_unfolded_where_that_pays() {
        let from = |capability| dense_plan(capability).unfolded_from;
        assert_eq!(
            [(8, 0), (8, 9), (9, 0), (10, 0), (12, 0)].map(from),
            [None, None, Some(320), Some(320), None]
        );
    }
}
