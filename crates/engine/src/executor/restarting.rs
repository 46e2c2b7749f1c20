//! An executor that is made again when its device is lost.
//!
//! A step that fails loses what runs, the cache and the adapters: the engine forgets them, and so may the executor. The
//! next step, or the next adapter, has it made again; whoever waits meanwhile waits. How often, and on which device, is
//! for whoever makes it to say. What is made again has a host cache of its own, in which there is nothing: what another
//! device, or another kind of it, has computed is not taken for its own.

use garrison_device::{Batch, DeviceError};
use garrison_model::Adapter;

use super::{CopyError, Execute, StepOutput};

/// Makes an executor for the same limits; `number` counts from 1.
pub type MakeExecutor = Box<dyn FnMut(u32) -> Result<Box<dyn Execute>, DeviceError> + Send>;

/// See the module.
pub struct Restarting {
    current: Current,
    make: MakeExecutor,
    /// How often it was made again.
    restarts: u32,
    host_slots: usize,
    lookahead: usize,
}

enum Current {
    Works(Box<dyn Execute>),
    Lost,
}

impl Restarting {
    /// Begins with `first`. What is made in its place must have as many blocks and adapter slots, or more. Host slots that
    /// it lacks hold nothing.
    pub fn new(first: Box<dyn Execute>, make: MakeExecutor) -> Restarting {
        let (host_slots, lookahead) = (first.host_slots(), first.lookahead());
        Restarting { current: Current::Works(first), make, restarts: 0, host_slots, lookahead }
    }

    fn executor(&mut self) -> Result<&mut dyn Execute, DeviceError> {
        if let Current::Lost = self.current {
            self.restarts += 1;
            tracing::warn!(restart = self.restarts, "the device was lost; starting it again");
            self.current = Current::Works((self.make)(self.restarts)?);
        }
        match &mut self.current {
            Current::Works(executor) => Ok(&mut **executor),
            Current::Lost => unreachable!("it was just made"),
        }
    }

    /// The executor, if its host cache has this slot.
    fn with_slot(&mut self, slot: u32) -> Result<&mut dyn Execute, CopyError> {
        let executor = self.executor()?;
        let slots = executor.host_slots();
        if slots > 0 && slot as usize <= slots { Ok(executor) } else { Err(CopyError::Empty) }
    }
}

impl Execute for Restarting {
    fn step(&mut self, batch: &Batch) -> Result<StepOutput, DeviceError> {
        let output = self.executor()?.step(batch);
        if output.is_err() {
            // Gives the memory back before anything is made in its place.
            self.current = Current::Lost;
        }
        output
    }

    fn load_adapter(&mut self, slot: u32, adapter: &Adapter) -> Result<(), DeviceError> {
        self.executor()?.load_adapter(slot, adapter)
    }

    fn clear_adapter(&mut self, slot: u32) {
        // What is lost is empty already.
        if let Current::Works(executor) = &mut self.current {
            executor.clear_adapter(slot);
        }
    }

    fn lookahead(&self) -> usize {
        self.lookahead
    }

    fn host_slots(&self) -> usize {
        self.host_slots
    }

    fn keeps_host(&self) -> bool {
        false
    }

    fn save_block(&mut self, block: u32, slot: u32) -> Result<f64, CopyError> {
        self.with_slot(slot)?.save_block(block, slot)
    }

    fn restore_block(&mut self, slot: u32, block: u32) -> Result<f64, CopyError> {
        self.with_slot(slot)?.restore_block(slot, block)
    }
}
