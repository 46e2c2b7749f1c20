//! What computes: the one place that picks a backend.

use std::sync::Arc;

use garrison_device::Capture;
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa, Nodes, confinement};
use garrison_device_cuda::{Collective, Cuda, CudaDevice, DensePlan, HostRing, Hurry, Nccl, NoGpu, Sharded};

use crate::config::{DeviceChoice, EngineSettings, PinThreads};
use crate::error::Fault;
use crate::load::threads;
use crate::memory;

/// KV memory where the machine does not tell what it has free.
const BLIND_KV_BYTES: u64 = 1 << 30;
/// Of a GPU's free memory, what recorded steps, adapters and the driver may take: a tenth, and this much.
const GPU_RESERVE: u64 = 256 << 20;

/// The backends, opened.
pub(crate) enum Backend {
    Cpu(Arc<CpuDevice>),
    Cuda(Arc<CudaDevice<Cuda>>),
    /// Several as one.
    Gpus(Arc<Gpus>),
}

/// GPUs that share a model.
pub(crate) type Gpus = Sharded<Cuda, Box<dyn Collective<Cuda>>>;

/// A device that knows how much of its memory keys and values may take.
pub(crate) trait Budget: Capture {
    /// Bytes for the KV cache if nobody says how many, `workspace` being needed for other things.
    fn kv_budget(&self, workspace: u64) -> u64;

    /// Bytes that the device has for everything, where it tells and nothing else will be given up for them.
    fn room(&self) -> Option<u64>;
}

impl Budget for CpuDevice {
    /// A quarter of what is free: memory is for others, too.
    fn kv_budget(&self, _workspace: u64) -> u64 {
        memory::available().map_or(BLIND_KV_BYTES, |free| free / 4)
    }

    /// Whatever is short is swapped out, or comes from the file again.
    fn room(&self) -> Option<u64> {
        None
    }
}

impl Budget for CudaDevice<Cuda> {
    /// Whatever is left.
    fn kv_budget(&self, workspace: u64) -> u64 {
        self.available().map_or(0, |free| rest(free as u64, workspace))
    }

    fn room(&self) -> Option<u64> {
        self.available().ok().map(|free| free as u64)
    }
}

impl Budget for Gpus {
    /// Whatever is left. Activations are on each.
    fn kv_budget(&self, workspace: u64) -> u64 {
        self.available().map_or(0, |free| rest(free as u64, workspace * self.ranks() as u64))
    }

    fn room(&self) -> Option<u64> {
        self.available().ok().map(|free| free as u64)
    }
}

/// What keys and values may take of `free` bytes.
pub(crate) fn rest(free: u64, workspace: u64) -> u64 {
    (free - free / 10).saturating_sub(GPU_RESERVE).saturating_sub(workspace)
}

impl Backend {
    /// Opens what the settings ask for; `auto` is a GPU if there is one that can be used.
    ///
    /// # Errors
    /// If it is not there; the sentence says what to do.
    pub(crate) fn open(settings: &EngineSettings) -> Result<Backend, Fault> {
        match settings.device {
            DeviceChoice::Cpu => Backend::cpu(settings),
            DeviceChoice::Cuda(ordinal) => Backend::cuda(ordinal, settings)
                .map_err(|e| Fault::usage(format!("device cuda:{ordinal}: {e}"))),
            DeviceChoice::CudaRange(first, last) => Backend::gpus(first, last, settings)
                .map_err(|e| Fault::usage(format!("device cuda:{first}-{last}: {e}"))),
            DeviceChoice::Auto => match Backend::cuda(0, settings) {
                Ok(backend) => Ok(backend),
                Err(why @ (NoGpu::NoKernels | NoGpu::NoDriver)) => {
                    tracing::debug!(%why, "no GPU is used");
                    Backend::cpu(settings)
                }
                // There is a GPU, and its owner will want to know.
                Err(why) => {
                    tracing::warn!(%why, "no GPU is used");
                    Backend::cpu(settings)
                }
            },
        }
    }

    /// The GPU, or GPUs, of somebody who has one by these settings.
    ///
    /// # Errors
    /// If one is not there, or cannot be used.
    pub(crate) fn gpu(settings: &EngineSettings) -> Result<Backend, NoGpu> {
        match settings.device {
            DeviceChoice::Cuda(ordinal) => Backend::cuda(ordinal, settings),
            DeviceChoice::CudaRange(first, last) => Backend::gpus(first, last, settings),
            DeviceChoice::Auto | DeviceChoice::Cpu => Backend::cuda(0, settings),
        }
    }

    /// The GPU of that number.
    ///
    /// # Errors
    /// If it is not there, or cannot be used.
    fn cuda(ordinal: usize, settings: &EngineSettings) -> Result<Backend, NoGpu> {
        let device = open_gpu(ordinal, settings)?;
        tracing::warn!("the CUDA backend has been tested in emulation only; --device cpu does without it");
        Ok(Backend::Cuda(Arc::new(device)))
    }

    /// The GPUs of these numbers, as one.
    fn gpus(first: usize, last: usize, settings: &EngineSettings) -> Result<Backend, NoGpu> {
        let failed = |e: garrison_device::DeviceError| NoGpu::Failed(e.to_string());
        let ordinals: Vec<usize> = (first..=last).collect();
        let open = |&ordinal: &usize| open_gpu(ordinal, settings);
        let ranks = ordinals.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let collective: Box<dyn Collective<Cuda>> = match Nccl::open(&ordinals) {
            Ok(nccl) => Box::new(nccl),
            Err(why) => {
                tracing::warn!(%why);
                Box::new(HostRing::default())
            }
        };
        tracing::warn!("several GPUs have been tested in emulation only; --device cpu does without them");
        Ok(Backend::Gpus(Arc::new(Sharded::new(ranks, collective).map_err(failed)?)))
    }

    /// The processor.
    ///
    /// # Errors
    /// If its threads cannot be started.
    pub(crate) fn cpu(settings: &EngineSettings) -> Result<Backend, Fault> {
        let (isa, threads) = (Isa::detect(), threads(settings.threads));
        tracing::info!(?isa, threads, "computing on the CPU");
        if !settings.batch_invariant {
            tracing::info!("batch_invariant = false changes nothing on the CPU: there it always holds");
        }
        let device = CpuDevice::on_nodes(CpuOptions { threads, isa }, &nodes(settings.pin_threads))
            .map_err(|e| Fault::failed(e.to_string()))?;
        Ok(Backend::Cpu(Arc::new(device)))
    }
}

/// A GPU, in the mode that the settings ask for.
fn open_gpu(ordinal: usize, settings: &EngineSettings) -> Result<CudaDevice<Cuda>, NoGpu> {
    let mut device = CudaDevice::new(Cuda::open(ordinal)?).map_err(|e| NoGpu::Failed(e.to_string()))?;
    if !settings.batch_invariant {
        match device.hurry(Hurry::WherePaid) {
            Ok(plan) => {
                tracing::info!("batch_invariant = false: {}", hurried(&plan, settings.max_batch_tokens))
            }
            Err(why) => tracing::warn!(%why, "batch_invariant = false changes nothing"),
        }
    }
    Ok(device)
}

/// What is computed in a hurry, for the log.
fn hurried(plan: &DensePlan, max_batch_tokens: usize) -> String {
    let halves = plan.halves_from;
    match plan.unfolded_from {
        Some(from) if from > max_batch_tokens => format!(
            "steps of {halves} tokens or more are computed in halves by cuBLASLt where weights have 16 bits; quantized ones \
             are from {from} tokens on, and max_batch_tokens is {max_batch_tokens}"
        ),
        Some(from) => format!(
            "steps of {from} tokens or more ({halves} where weights have 16 bits) are computed in halves by cuBLASLt; tokens \
             can depend on what else is in a step"
        ),
        None => format!(
            "steps of {halves} tokens or more are computed in halves by cuBLASLt where weights have 16 bits; with quantized \
             ones that is no faster on this GPU, and nothing changes"
        ),
    }
}

/// The NUMA nodes that threads are bound to.
pub(crate) fn nodes(pin: PinThreads) -> Nodes {
    let nodes = match pin {
        PinThreads::Off => return Nodes::unbound(),
        PinThreads::Auto | PinThreads::On => Nodes::of_this_process(),
    };
    if nodes.count() == 0 {
        return nodes;
    }
    if let (PinThreads::Auto, Some(why)) = (pin, confinement()) {
        tracing::info!("threads are not bound to the {} NUMA nodes, since {why}", nodes.count());
        return Nodes::unbound();
    }
    tracing::info!("threads are bound to {} NUMA nodes", nodes.count());
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_what_is_computed_in_a_hurry() {
        let plan = |unfolded_from| DensePlan {
            halves_from: 65,
            unfolded_from,
            rows: 2048,
            unfolded_bytes: 1 << 20,
            library_bytes: 1 << 20,
        };
        let said = hurried(&plan(Some(320)), 512);
        assert!(said.starts_with("steps of 320 tokens or more (65 where weights have 16 bits)"), "{said}");
        assert!(hurried(&plan(Some(320)), 256).contains("from 320 tokens on, and max_batch_tokens is 256"));
        assert!(hurried(&plan(None), 512).contains("no faster on this GPU"));
    }

    #[test]
    fn keys_and_values_get_what_is_left() {
        assert_eq!(rest(80 << 30, 2 << 30), (72 << 30) - (256 << 20) - (2 << 30));
        assert_eq!(rest(1 << 30, 2 << 30), 0);
    }
}
