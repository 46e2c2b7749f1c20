//! NCCL, loaded at run time like the driver.

use std::ffi::c_int;

use cudarc::nccl::{result, sys};
use garrison_device::DeviceError;

use super::Driver;
use super::cuda::{Cuda, Memory};
use crate::collective::Collective;

/// Sums by NCCL.
pub struct Nccl {
    /// One for each rank.
    communicators: Vec<sys::ncclComm_t>,
}

// SAFETY: NCCL's handles may be used from any thread, by one at a time.
unsafe impl Send for Nccl {}
// SAFETY: as above; a device enqueues from one thread at a time.
unsafe impl Sync for Nccl {}

/// Why sums do not go through NCCL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoNccl {
    /// The library is not there.
    #[error("there is no NCCL (libnccl.so) on this machine, so sums over GPUs go through the host, slowly")]
    NoLibrary,
    /// It failed.
    #[error("NCCL could not be started: {0}")]
    Failed(String),
}

impl Nccl {
    /// For the GPUs of these numbers, in the order of the ranks.
    ///
    /// # Errors
    /// If there is no NCCL, or it cannot connect them.
    pub fn open(ordinals: &[usize]) -> Result<Nccl, NoNccl> {
        // SAFETY: looking for the library runs its initialization, which is NCCL's.
        if !unsafe { sys::is_culib_present() } {
            return Err(NoNccl::NoLibrary);
        }
        let devices: Vec<c_int> = ordinals.iter().map(|&ordinal| ordinal as c_int).collect();
        let mut communicators = vec![std::ptr::null_mut(); devices.len()];
        // SAFETY: both lists are as long as is said.
        let made = unsafe {
            result::comm_init_all(communicators.as_mut_ptr(), devices.len() as c_int, devices.as_ptr())
        };
        made.map_err(|e| NoNccl::Failed(format!("{:?}", e.0)))?;
        Ok(Nccl { communicators })
    }
}

impl Collective<Cuda> for Nccl {
    fn all_reduce(&self, ranks: &[&Cuda], parts: &[&Memory], len: usize) -> Result<(), DeviceError> {
        let failed = |e: result::NcclError| DeviceError::Failed {
            device: "NCCL".into(),
            reason: format!("{:?}", e.0),
        };
        result::group_start().map_err(failed)?;
        let mut enqueued = Ok(());
        for ((rank, part), &communicator) in ranks.iter().zip(parts).zip(&self.communicators) {
            let Ok(stream) = rank.stream().map_err(|e| enqueued = Err(e)) else { continue };
            let at = Cuda::address(part).0 as *mut std::ffi::c_void;
            let (float, sum) = (sys::ncclDataType_t::ncclFloat32, sys::ncclRedOp_t::ncclSum);
            // SAFETY: the part has as many values, which stay until the stream has come to it, and may be summed in
            // place.
            let one = unsafe { result::all_reduce(at, at, len, float, sum, communicator, stream.cast()) };
            enqueued = enqueued.and(one.map(|_| ()).map_err(failed));
        }
        // Ended whatever came of it, or the next group would be part of this one.
        result::group_end().map_err(failed)?;
        enqueued
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        for &communicator in &self.communicators {
            // Nobody waits for what is under way: a rank that is lost would never come to it.
            // SAFETY: it is this one's. A failure is nobody's any more.
            let _ = unsafe { result::comm_abort(communicator) };
        }
    }
}
