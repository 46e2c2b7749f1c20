//! Adapters on a device.

use garrison_device::{Adapters, Device, DeviceError, LoraShape, LoraView, Ops, StepBuffers};

use crate::{Adapter, LowRank, ModelSpec, Target, names};

/// One layer's slots, by [`Target`].
type LayerSlots<D> = [<D as Device>::LoraSlots; Target::ALL.len()];

/// Slots for adapters beside every linear layer of a model, counted from 1.
pub struct AdapterBank<D: Device> {
    /// `[n_layers]`; none if there are no slots.
    layers: Vec<LayerSlots<D>>,
    /// `[slots]` whether there is an adapter, slot 1 first.
    filled: Vec<bool>,
    max_rank: usize,
}

impl<D: Device> AdapterBank<D> {
    /// Empty slots for adapters of up to `max_rank`. Without slots nothing is allocated.
    ///
    /// # Errors
    /// If the device has no memory for them.
    pub fn new(device: &D, spec: &ModelSpec, slots: usize, max_rank: usize) -> Result<Self, DeviceError> {
        let n_layers = if slots == 0 { 0 } else { spec.n_layers };
        let layer = |_| -> Result<LayerSlots<D>, DeviceError> {
            let [q, k, v, output, gate, up, down] = Target::ALL.map(|target| {
                let (n, k) = target.shape(spec);
                device.alloc_cut_lora(&LoraShape { slots, max_rank, n, k }, names::cut(target.tensor()))
            });
            Ok([q?, k?, v?, output?, gate?, up?, down?])
        };
        let layers = (0..n_layers).map(layer).collect::<Result<_, _>>()?;
        Ok(AdapterBank { layers, filled: vec![false; slots], max_rank })
    }

    /// No slots, for runs that have no adapters.
    pub const fn none() -> Self {
        AdapterBank { layers: Vec::new(), filled: Vec::new(), max_rank: 0 }
    }

    /// Adapters held at once.
    pub fn slots(&self) -> usize {
        self.filled.len()
    }

    /// Whether there is an adapter in this slot; there is none in slot 0.
    pub fn holds(&self, slot: u32) -> bool {
        slot > 0 && self.filled.get(slot as usize - 1).is_some_and(|&filled| filled)
    }

    /// Puts an adapter into a slot, in place of what was there. A slot that does not exist and an
    /// adapter for another model are bugs and assert.
    ///
    /// # Errors
    /// If the adapter's rank is above the bank's or the device has no memory for it; the slot is then
    /// empty.
    pub fn fill(&mut self, device: &D, slot: u32, adapter: &Adapter) -> Result<(), DeviceError> {
        self.clear(device, slot);
        assert_eq!(adapter.n_layers(), self.layers.len(), "the adapter was read for another model");
        if adapter.rank() > self.max_rank {
            return Err(DeviceError::Rank { rank: adapter.rank(), max_rank: self.max_rank });
        }
        let written = adapter.parts().try_for_each(|(layer, target, part)| {
            let LowRank { rank, a, b, scale } = part;
            let view = LoraView { rank: *rank, a, b, scale: *scale };
            device.write_lora(&mut self.layers[layer][target as usize], slot, &view)
        });
        if written.is_err() {
            self.clear(device, slot);
        }
        self.filled[slot as usize - 1] = written.is_ok();
        written
    }

    /// Empties a slot.
    pub fn clear(&mut self, device: &D, slot: u32) {
        let n = self.slots();
        assert!(slot > 0 && slot as usize <= n, "adapter slot {slot} is not one of 1 to {n}");
        for slots in self.layers.iter_mut().flatten() {
            device.clear_lora(slots, slot);
        }
        self.filled[slot as usize - 1] = false;
    }
}

/// The rows of a step that a block computes, and the adapters that they go through in its layer.
pub(crate) struct Rows<'a, D: Device> {
    pub(crate) count: usize,
    /// `None` where no row has an adapter.
    slots: Option<&'a LayerSlots<D>>,
    /// `[count]`
    adapters: &'a D::Buffer,
}

impl<'a, D: Device> Rows<'a, D> {
    /// All tokens of a step.
    pub(crate) fn tokens(step: &'a StepBuffers<D>, bank: &'a AdapterBank<D>, layer: usize) -> Self {
        let slots = layer_slots(step, bank, layer);
        Rows { count: step.shape.tokens, slots, adapters: &step.token_adapters }
    }

    /// The tokens whose logits are wanted.
    pub(crate) fn wanted(step: &'a StepBuffers<D>, bank: &'a AdapterBank<D>, layer: usize) -> Self {
        let slots = layer_slots(step, bank, layer);
        Rows { count: step.shape.rows, slots, adapters: &step.row_adapters }
    }
}

fn layer_slots<'a, D: Device>(
    step: &StepBuffers<D>,
    bank: &'a AdapterBank<D>,
    layer: usize,
) -> Option<&'a LayerSlots<D>> {
    match step.shape.adapters {
        Adapters::Absent => None,
        Adapters::Present => {
            assert!(bank.slots() > 0, "a step has adapters, and there are no slots");
            Some(&bank.layers[layer])
        }
    }
}

impl<B: Ops> Rows<'_, B> {
    /// Whether no adapter can add anything: then what follows a product may be done in one with it.
    pub(crate) fn are_plain(&self) -> bool {
        self.slots.is_none()
    }

    /// Adds to `dst`, the product of `target`'s weight and `x`, what the rows' adapters add.
    pub(crate) fn adapt(&self, device: &B, target: Target, dst: &mut B::Buffer, x: &B::Buffer) {
        if let Some(slots) = self.slots {
            device.lora(dst, x, &slots[target as usize], self.adapters, self.count);
        }
    }
}
