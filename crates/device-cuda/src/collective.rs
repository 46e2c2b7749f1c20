//! Sums over several GPUs.

use std::sync::Mutex;

use garrison_device::DeviceError;

use crate::driver::Driver;
use crate::gpu::lock;

/// What ranks do together.
pub trait Collective<D: Driver>: Send + Sync + 'static {
    /// Leaves in the first `len` f32 of each rank's part the sum of all parts, after everything enqueued and before
    /// everything that is enqueued later. The sum does not depend on `len`.
    ///
    /// # Errors
    /// If a device fails.
    fn all_reduce(&self, ranks: &[&D], parts: &[&D::Memory], len: usize) -> Result<(), DeviceError>;
}

impl<D: Driver> Collective<D> for Box<dyn Collective<D>> {
    fn all_reduce(&self, ranks: &[&D], parts: &[&D::Memory], len: usize) -> Result<(), DeviceError> {
        (**self).all_reduce(ranks, parts, len)
    }
}

/// A ring through the host's memory: right on any driver, and slow. Each value goes once around, from rank to rank, and
/// is added in their order; then all get it.
#[derive(Default)]
pub struct HostRing {
    /// What goes around, and what a rank adds.
    room: Mutex<[Vec<f32>; 2]>,
}

impl<D: Driver> Collective<D> for HostRing {
    fn all_reduce(&self, ranks: &[&D], parts: &[&D::Memory], len: usize) -> Result<(), DeviceError> {
        let [sum, own] = &mut *lock(&self.room);
        sum.clear();
        sum.resize(len, 0.0);
        own.resize(len, 0.0);
        for (rank, part) in ranks.iter().zip(parts) {
            rank.read(part, 0, bytemuck::cast_slice_mut(own.as_mut_slice()))?;
            sum.iter_mut().zip(&*own).for_each(|(sum, own)| *sum += own);
        }
        let send =
            |(rank, part): (&&D, &&D::Memory)| rank.write(part, 0, bytemuck::cast_slice(sum.as_slice()));
        ranks.iter().zip(parts).try_for_each(send)
    }
}
