//! A GPU that is lost while it serves is opened again and the model loaded again; or the CPU takes over.

use std::sync::Arc;

use garrison_device::DeviceError;
use garrison_engine::{EngineConfig, Execute, LocalExecutor, Lookahead, MakeExecutor};
use garrison_gguf::quantize::Mix;

use crate::backend::{Backend, Budget};
use crate::config::{EngineSettings, OnDeviceLoss};
use crate::load::{self, Parts};
use crate::source::ModelRef;

/// Losses after which a GPU is given up, where the CPU may take over.
const PATIENCE: u32 = 3;

/// What has to be loaded again.
#[derive(Clone)]
pub(crate) struct Reload {
    pub(crate) name: String,
    pub(crate) model: ModelRef,
    pub(crate) quantize: Option<Mix>,
    /// With the limits that the engine keeps.
    pub(crate) config: EngineConfig,
    pub(crate) settings: EngineSettings,
    pub(crate) lookahead: Lookahead,
}

impl Reload {
    /// Makes executors on the GPU or GPUs that the settings name, or on the CPU as they say.
    pub(crate) fn maker(self) -> MakeExecutor {
        Box::new(move |number| {
            let again = if self.gives_up(number) {
                Err(self.failed(&"it was lost too often"))
            } else {
                self.on_gpu()
            };
            match again {
                Err(error) if self.settings.on_device_loss == OnDeviceLoss::Cpu => {
                    tracing::error!(model = self.name, %error, "the GPU does not come back; the CPU takes over");
                    self.on_cpu()
                }
                again => again,
            }
        })
    }

    fn gives_up(&self, number: u32) -> bool {
        self.settings.on_device_loss == OnDeviceLoss::Cpu && number > PATIENCE
    }

    fn on_gpu(&self) -> Result<Box<dyn Execute>, DeviceError> {
        self.load_on(&Backend::gpu(&self.settings).map_err(|e| self.failed(&e))?)
    }

    fn on_cpu(&self) -> Result<Box<dyn Execute>, DeviceError> {
        self.load_on(&Backend::cpu(&self.settings).map_err(|e| self.failed(&e))?)
    }

    fn load_on(&self, backend: &Backend) -> Result<Box<dyn Execute>, DeviceError> {
        match backend {
            Backend::Cuda(device) => self.load(device),
            Backend::Gpus(device) => self.load(device),
            Backend::Cpu(device) => self.load(device),
        }
    }

    fn load<B: Budget>(&self, device: &Arc<B>) -> Result<Box<dyn Execute>, DeviceError> {
        let parts = Parts::load(&self.name, &self.model, self.quantize, &**device);
        let model = parts.map_err(|e| self.failed(&e))?.model;
        let mut executor =
            LocalExecutor::new(Arc::clone(device), model, &self.config, self.settings.kv_dtype)?;
        executor.look_ahead(self.lookahead)?;
        let host = load::host_cache(&self.name, executor.block_bytes(), &self.settings);
        Ok(Box::new(executor.with_host_cache(host.map_err(|e| self.failed(&e))?)))
    }

    fn failed(&self, reason: &dyn std::fmt::Display) -> DeviceError {
        DeviceError::Failed {
            device: format!("the device of model {}", self.name),
            reason: reason.to_string(),
        }
    }
}
