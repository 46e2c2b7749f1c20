//! The CUDA driver, loaded at run time: the same binary runs where there is none.
//!
//! Key decisions:
//! - One stream, on which everything happens in order, and no events between launches: cudarc's tracking is
//!   switched off before anything is allocated, since what it remembers from before a recording would make
//!   the recording wait for ever.
//! - From Hopper on each kernel may come while the one before it ends (programmatic dependent launch); `KERNEL` in
//!   `kernels/common.cuh` has it wait there. So a launch costs little, and weights are asked for meanwhile.
//! - What is drawn comes back by way of pinned mailboxes with an event each: whoever waits for it does not wait for the step
//!   that was enqueued after it.
//! - What is written goes through pinned memory, so a caller's bytes are free at once. It has two halves: one is
//!   filled while the other is copied from, so that loading a model packs, stages and copies at the same time.

use std::ffi::{CString, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, sys};
use garrison_device::DeviceError;

use super::dense::{Dense, DensePlan, DenseProduct, NoDense};
use super::life::{Alive, Life, Lives};
use super::{Address, Driver, Grid, MAILBOX_BYTES, MAILBOXES};
use crate::gpu::lock;

/// `(source, fat binary)` of all kernels; empty if this was built without nvcc.
const FATBINS: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/fatbins.rs"));
/// The oldest driver that runs them says that it supports this version of CUDA.
const CUDA_VERSION: i32 = 13_000;
/// Compute capability 8.0, Ampere.
const OLDEST: (i32, i32) = (8, 0);
/// Compute capability 9.0, Hopper, from which on kernels can wait for those before them.
const OVERLAPPING: (i32, i32) = (9, 0);
/// What this process has of each GPU.
static LIVES: Lives = Lives::new();
/// Each half of the pinned memory that writes go through.
const HALF: usize = 8 << 20;

/// Why there is no GPU to compute on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGpu {
    /// The kernels were not compiled.
    #[error(
        "this build has no GPU kernels, since nvcc was not found; run scripts/setup-cuda and build again, or \
         use --device cpu"
    )]
    NoKernels,
    /// There is no driver.
    #[error("there is no NVIDIA driver (libcuda.so) on this machine; install it, or use --device cpu")]
    NoDriver,
    /// The driver is too old.
    #[error("the NVIDIA driver supports CUDA {0}.{1}; 13.0 is needed, which is driver 580 or newer")]
    OldDriver(i32, i32),
    /// There is no such device.
    #[error("there is no cuda:{wanted}; this machine has {count} of them")]
    NoDevice {
        /// Its number.
        wanted: usize,
        /// How many there are.
        count: i32,
    },
    /// The GPU is too old.
    #[error("{name} has compute capability {major}.{minor}; 8.0 is needed, which is Ampere or newer")]
    OldGpu {
        /// The GPU's name.
        name: String,
        /// Of its capability.
        major: i32,
        /// Of its capability.
        minor: i32,
    },
    /// It failed.
    #[error("the GPU could not be opened: {0}")]
    Failed(String),
}

/// An NVIDIA GPU.
pub struct Cuda {
    inner: Arc<Inner>,
    staging: Mutex<Staging>,
    mailboxes: Mutex<Mailboxes>,
    recording: AtomicBool,
    dense: OnceLock<Dense>,
}

/// What memory, modules and recordings need to be given back.
struct Inner {
    context: Arc<CudaContext>,
    stream: sys::CUstream,
    modules: Vec<sys::CUmodule>,
    name: String,
    processors: usize,
    launches: Launches,
    /// Its compute capability.
    capability: (i32, i32),
    life: Arc<Life>,
}

/// How kernels follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Launches {
    /// One comes when the one before has ended.
    Apart,
    /// One may come before.
    Overlap,
}

// SAFETY: the driver's handles may be used from any thread on which the context is current, which `bind` sees to.
unsafe impl Send for Inner {}
// SAFETY: as above; the driver locks what it must.
unsafe impl Sync for Inner {}

/// Pinned memory. A half is used from the front; when it is used up, the other is, as soon as whatever was copied from
/// that is done.
struct Staging {
    /// `2 * HALF` bytes.
    memory: *mut u8,
    /// Which half is being filled, and how much of it is.
    half: usize,
    used: usize,
    /// When each half was last copied from.
    copied: [sys::CUevent; 2],
}

// SAFETY: it is plain memory, used under a lock.
unsafe impl Send for Staging {}

/// Pinned memory for reads that nobody waits for yet.
struct Mailboxes {
    /// `MAILBOXES * MAILBOX_BYTES` bytes.
    memory: *mut u8,
    /// When each was last copied to.
    copied: [sys::CUevent; MAILBOXES],
}

// SAFETY: as `Staging`.
unsafe impl Send for Mailboxes {}

/// Memory of a GPU.
pub struct Memory {
    inner: Arc<Inner>,
    address: sys::CUdeviceptr,
    len: usize,
}

/// A kernel, whose module lives as long as the device.
#[derive(Clone, Copy)]
pub struct Function {
    handle: sys::CUfunction,
    args_size: usize,
}

// SAFETY: a handle, as those above.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// A recorded step.
pub struct Graph {
    inner: Arc<Inner>,
    exec: sys::CUgraphExec,
}

// SAFETY: a handle, as those above.
unsafe impl Send for Graph {}

impl Cuda {
    /// Opens the `ordinal`th GPU and loads the kernels.
    ///
    /// # Errors
    /// If there is no such GPU, or it or its driver is too old.
    pub fn open(ordinal: usize) -> Result<Cuda, NoGpu> {
        if FATBINS.is_empty() {
            return Err(NoGpu::NoKernels);
        }
        // SAFETY: looking for the library runs its initialization, which is the driver's.
        if !unsafe { sys::is_culib_present() } {
            return Err(NoGpu::NoDriver);
        }
        let failed = |e: DriverError| NoGpu::Failed(describe(e));
        result::init().map_err(failed)?;
        let mut version = 0;
        // SAFETY: it writes one number.
        unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(failed)?;
        check_driver(version, result::device::get_count().map_err(failed)?, ordinal)?;
        let device = result::device::get(ordinal as i32).map_err(failed)?;
        use sys::CUdevice_attribute as Of;
        // SAFETY: the device was given by the driver.
        let attribute = |of: Of| unsafe { result::device::get_attribute(device, of) }.map_err(failed);
        let major = attribute(Of::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Of::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        check_gpu(|| result::device::get_name(device).map_err(failed), (major, minor))?;
        let processors = attribute(Of::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        // What a fault has left of it is thrown away, for all who had it.
        // SAFETY: nobody is inside the driver, and whoever had the last life no longer uses what it had.
        let revive = || unsafe { sys::cuDevicePrimaryCtxReset_v2(device) }.result();
        let life = LIVES.of(ordinal, revive).map_err(failed)?;
        let context = CudaContext::new(ordinal).map_err(failed)?;
        // SAFETY: nothing was allocated through the context, and nothing will be: there is nothing to track.
        unsafe { context.disable_event_tracking() };
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking).map_err(failed)?;
        let name = format!("cuda:{ordinal}");
        let modules = Vec::with_capacity(FATBINS.len());
        let launches = if (major, minor) >= OVERLAPPING { Launches::Overlap } else { Launches::Apart };
        let processors = processors.max(1) as usize;
        let capability = (major, minor);
        let mut inner = Inner { context, stream, modules, name, processors, launches, capability, life };
        for (_, image) in FATBINS {
            inner.modules.push(load(image).map_err(failed)?);
        }
        // SAFETY: given back by `drop`.
        let memory = unsafe { result::malloc_host(2 * HALF, 0) }.map_err(failed)?.cast();
        let event = || result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(failed);
        let staging = Mutex::new(Staging { memory, half: 0, used: 0, copied: [event()?, event()?] });
        // SAFETY: given back by `drop`.
        let memory = unsafe { result::malloc_host(MAILBOXES * MAILBOX_BYTES, 0) }.map_err(failed)?.cast();
        let mut copied = [null_mut(); MAILBOXES];
        for of in &mut copied {
            *of = event()?;
        }
        let mailboxes = Mutex::new(Mailboxes { memory, copied });
        let (recording, dense) = (AtomicBool::new(false), OnceLock::new());
        Ok(Cuda { inner: Arc::new(inner), staging, mailboxes, recording, dense })
    }

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

    /// Goes on with the other half, once nothing is copied from it any more.
    fn turn(&self, staging: &mut Staging) -> Result<(), DeviceError> {
        // SAFETY: the events live as long as `self`, the stream as long as `inner`. One that was never recorded is no
        // wait.
        let turned = unsafe {
            let done = staging.copied[staging.half];
            result::event::record(done, self.inner.stream).and_then(|()| {
                staging.half = 1 - staging.half;
                result::event::synchronize(staging.copied[staging.half])
            })
        };
        staging.used = 0;
        self.inner.check(turned)
    }

    fn wait(&self) -> Result<(), DeviceError> {
        // SAFETY: the stream lives as long as `inner`.
        self.inner.check(unsafe { result::stream::synchronize(self.inner.stream) })
    }
}

/// Whether the driver is new enough, and there is such a GPU.
fn check_driver(version: i32, count: i32, ordinal: usize) -> Result<(), NoGpu> {
    if version < CUDA_VERSION {
        return Err(NoGpu::OldDriver(version / 1000, version % 1000 / 10));
    }
    if ordinal >= usize::try_from(count).unwrap_or(0) {
        return Err(NoGpu::NoDevice { wanted: ordinal, count });
    }
    Ok(())
}

/// Whether a GPU of this compute capability has what the kernels need.
fn check_gpu(name: impl FnOnce() -> Result<String, NoGpu>, (major, minor): (i32, i32)) -> Result<(), NoGpu> {
    if (major, minor) < OLDEST {
        return Err(NoGpu::OldGpu { name: name()?, major, minor });
    }
    Ok(())
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

/// Loads a module from an image, which the driver wants aligned.
fn load(image: &[u8]) -> Result<sys::CUmodule, DriverError> {
    let mut aligned = vec![0u64; image.len().div_ceil(8)];
    bytemuck::cast_slice_mut::<u64, u8>(&mut aligned)[..image.len()].copy_from_slice(image);
    // SAFETY: it is what nvcc made, whole.
    unsafe { result::module::load_data(aligned.as_ptr().cast()) }
}

fn describe(error: DriverError) -> String {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    text.unwrap_or_else(|_| format!("{error:?}"))
}

impl Inner {
    fn fail(&self, reason: String) -> DeviceError {
        DeviceError::Failed { device: self.name.clone(), reason }
    }

    fn check<T>(&self, result: Result<T, DriverError>) -> Result<T, DeviceError> {
        result.map_err(|e| {
            if is_fatal(e) {
                self.life.end();
            }
            self.fail(describe(e))
        })
    }

    /// Makes the context current on this thread, for as long as the GPU is not lost and somebody holds what this gives.
    fn bind(&self) -> Result<Alive<'_>, DeviceError> {
        let alive = self.life.enter();
        let alive = alive.ok_or_else(|| self.fail("it was lost, and what was in its memory".into()))?;
        self.check(self.context.bind_to_thread())?;
        Ok(alive)
    }
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
            Err(error) => Err(self.inner.fail(describe(error))),
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
            if staging.used + part.len() > HALF {
                self.turn(&mut staging)?;
            }
            // SAFETY: there is room for the part beyond `used`, and nobody else writes there; what was copied
            // from there before is done.
            let staged = unsafe {
                let staged = staging.memory.add(staging.half * HALF + staging.used);
                std::ptr::copy_nonoverlapping(part.as_ptr(), staged, part.len());
                std::slice::from_raw_parts(staged, part.len())
            };
            // SAFETY: the range is the memory's, and `staged` stays as it is until it was waited for.
            self.inner.check(unsafe { result::memcpy_htod_async(at, staged, self.inner.stream) })?;
            // Parts begin at lines of the cache.
            staging.used = (staging.used + part.len()).next_multiple_of(64).min(HALF);
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
        assert!(bytes <= MAILBOX_BYTES, "{bytes} bytes are more than a mailbox holds");
        let at = from.range(0, bytes);
        let mailboxes = lock(&self.mailboxes);
        // SAFETY: the mailbox is that long, and nobody looks into it until the copy was waited for; the event lives as long
        // as `self`, the stream as long as `inner`.
        let sent = unsafe {
            let to = std::slice::from_raw_parts_mut(mailboxes.memory.add(mailbox * MAILBOX_BYTES), bytes);
            result::memcpy_dtoh_async(to, at, self.inner.stream)
                .and_then(|()| result::event::record(mailboxes.copied[mailbox], self.inner.stream))
        };
        self.inner.check(sent)
    }

    fn receive(&self, mailbox: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let _alive = self.not_recording("wait")?;
        assert!(bytes.len() <= MAILBOX_BYTES, "{} bytes are more than a mailbox holds", bytes.len());
        let mailboxes = lock(&self.mailboxes);
        // SAFETY: the event lives as long as `self`.
        self.inner.check(unsafe { result::event::synchronize(mailboxes.copied[mailbox]) })?;
        // SAFETY: the mailbox is that long, and the copy to it is done.
        unsafe {
            let from = mailboxes.memory.add(mailbox * MAILBOX_BYTES);
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len());
        }
        Ok(())
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

    fn capture(&self, enqueue: &mut dyn FnMut() -> Result<(), DeviceError>) -> Result<Graph, DeviceError> {
        let alive = self.not_recording("recording")?;
        let (inner, stream) = (&self.inner, self.inner.stream);
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as `inner`.
        inner.check(unsafe { result::stream::begin_capture(stream, mode) })?;
        // Launches enter for themselves.
        drop(alive);
        self.recording.store(true, Ordering::Release);
        let enqueued = enqueue();
        self.recording.store(false, Ordering::Release);
        let _alive = inner.bind()?;
        // SAFETY: as above; the recording is ended whatever came of it.
        let graph = inner.check(unsafe { result::stream::end_capture(stream) });
        enqueued?;
        let graph = graph?;
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

impl Memory {
    /// Asserts that it has them; where they are.
    fn range(&self, offset: usize, bytes: usize) -> sys::CUdeviceptr {
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
            let _ = result::free_host(std::mem::replace(&mut staging.memory, null_mut()).cast());
            let _ = result::free_host(std::mem::replace(&mut mailboxes.memory, null_mut()).cast());
            for event in staging.copied.into_iter().chain(mailboxes.copied) {
                let _ = result::event::destroy(event);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_gpu_opening_says_what_to_do() {
        // Where there is one, this has nothing to say.
        let Err(error) = Cuda::open(0) else { return };
        let text = error.to_string();
        match error {
            NoGpu::NoKernels => assert!(text.contains("scripts/setup-cuda"), "{text}"),
            NoGpu::NoDriver => assert!(text.contains("libcuda.so") && !FATBINS.is_empty(), "{text}"),
            other => assert!(text.len() > 20, "{other:?}"),
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let said = |result: Result<(), NoGpu>| result.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(said(check_driver(12_040, 1, 0)).contains("CUDA 12.4; 13.0 is needed, which is driver 580"));
        assert!(said(check_driver(13_000, 1, 3)).contains("no cuda:3; this machine has 1"));
        assert!(said(check_driver(13_010, 0, 0)).contains("no cuda:0"));
        assert_eq!(check_driver(13_000, 2, 1), Ok(()));
        let gpu = |capability| check_gpu(|| Ok("Tesla T4".into()), capability);
        assert!(said(gpu((7, 5))).starts_with("Tesla T4 has compute capability 7.5; 8.0"));
        assert_eq!((gpu((8, 0)), gpu((12, 0))), (Ok(()), Ok(())));
    }

    #[test]
    fn weights_are_unfolded_where_that_pays() {
        let from = |capability| dense_plan(capability).unfolded_from;
        assert_eq!(
            [(8, 0), (8, 9), (9, 0), (10, 0), (12, 0)].map(from),
            [None, None, Some(320), Some(320), None]
        );
    }
}
