//! Opening a GPU: whether there is one that the kernels run on, and what to do if there is none.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, sys};

use super::Cuda;
use super::held::{Inner, Launches, describe};
use super::pinned::{Mailboxes, Staging};
use crate::driver::life::Lives;

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
        let staging = Mutex::new(Staging::new().map_err(failed)?);
        let mailboxes = Mutex::new(Mailboxes::new().map_err(failed)?);
        let (recording, dense) = (AtomicBool::new(false), OnceLock::new());
        Ok(Cuda { inner: Arc::new(inner), staging, mailboxes, recording, dense })
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

/// Loads a module from an image, which the driver wants aligned.
fn load(image: &[u8]) -> Result<sys::CUmodule, DriverError> {
    let mut aligned = vec![0u64; image.len().div_ceil(8)];
    bytemuck::cast_slice_mut::<u64, u8>(&mut aligned)[..image.len()].copy_from_slice(image);
    // SAFETY: it is what nvcc made, whole.
    unsafe { result::module::load_data(aligned.as_ptr().cast()) }
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
}
