//! What each of several GPUs gets of weights and of adapters.

use garrison_device::{Cut, Device, DeviceError, LoraShape, LoraView, WeightView};

use crate::collective::Collective;
use crate::driver::Driver;
use crate::lora::LoraSlots;
use crate::sharded::Sharded;
use crate::weight::Weight;

/// A weight, or each rank's share of it.
pub struct ShardedWeight<D: Driver> {
    pub(crate) parts: Vec<Weight<D>>,
    pub(crate) cut: Cut,
}

/// Adapter slots, or each rank's share of them.
pub struct ShardedSlots<D: Driver> {
    pub(crate) parts: Vec<LoraSlots<D>>,
    pub(crate) cut: Cut,
}

impl<D: Driver, C: Collective<D>> Sharded<D, C> {
    /// A rank's share of what must be divided evenly.
    pub(crate) fn divide(&self, what: &str, n: usize) -> Result<usize, DeviceError> {
        let ranks = self.ranks.len();
        if !n.is_multiple_of(ranks) {
            let reason = format!("{what}, {n}, cannot be divided among {ranks} GPUs");
            return Err(DeviceError::Failed { device: self.name(), reason });
        }
        Ok(n / ranks)
    }

    /// Loads a weight onto all ranks, or each rank's share.
    pub(crate) fn load(&self, view: &WeightView<'_>, cut: Cut) -> Result<ShardedWeight<D>, DeviceError> {
        let WeightView { name, n, k, ty, data } = *view;
        let refuse = |reason: String| DeviceError::Weight { tensor: name.into(), reason };
        let row_bytes = ty.row_bytes(k).filter(|row| row.checked_mul(n) == Some(data.len()));
        let row_bytes =
            row_bytes.ok_or_else(|| refuse(format!("{} bytes are not [{n}, {k}]", data.len())))?;
        let ranks = self.ranks.len();
        let cannot = |of: &str| refuse(format!("its {of} cannot be divided among {ranks} GPUs"));
        let parts = match cut {
            Cut::Whole => self.each(|_, rank| rank.load_weight(view))?,
            // A vector is one row of outputs.
            Cut::Outputs if n == 1 => {
                let share = ty.row_bytes(k / ranks).filter(|_| k.is_multiple_of(ranks));
                let share = share.ok_or_else(|| cannot("values"))?;
                self.each(|i, rank| {
                    let data = &data[i * share..][..share];
                    rank.load_weight(&WeightView { name, n, k: k / ranks, ty, data })
                })?
            }
            Cut::Outputs => {
                if !n.is_multiple_of(ranks) {
                    return Err(cannot("outputs"));
                }
                let share = n / ranks * row_bytes;
                self.each(|i, rank| {
                    let data = &data[i * share..][..share];
                    rank.load_weight(&WeightView { name, n: n / ranks, k, ty, data })
                })?
            }
            Cut::Inputs => {
                let share = ty.row_bytes(k / ranks).filter(|_| k.is_multiple_of(ranks));
                let share = share.ok_or_else(|| cannot(&format!("inputs, in whole blocks of {ty},")))?;
                self.each(|i, rank| {
                    let rows = data.chunks_exact(row_bytes).flat_map(|row| &row[i * share..][..share]);
                    let data: Vec<u8> = rows.copied().collect();
                    rank.load_weight(&WeightView { name, n, k: k / ranks, ty, data: &data })
                })?
            }
        };
        Ok(ShardedWeight { parts, cut })
    }

    /// Slots beside a weight that is cut so.
    pub(crate) fn alloc_slots(&self, shape: &LoraShape, cut: Cut) -> Result<ShardedSlots<D>, DeviceError> {
        let shape = match cut {
            Cut::Whole => *shape,
            Cut::Outputs => {
                LoraShape { n: self.divide("the number of a layer's outputs", shape.n)?, ..*shape }
            }
            Cut::Inputs => LoraShape { k: self.divide("the number of a layer's inputs", shape.k)?, ..*shape },
        };
        Ok(ShardedSlots { parts: self.each(|_, rank| rank.alloc_lora(&shape))?, cut })
    }

    /// Puts each rank's share of an adapter into a slot.
    pub(crate) fn fill_slot(
        &self,
        slots: &mut ShardedSlots<D>,
        slot: u32,
        view: &LoraView<'_>,
    ) -> Result<(), DeviceError> {
        let ShardedSlots { parts, cut } = slots;
        let (ranks, shifts) = (self.ranks.len(), LoraSlots::<D>::shifts(view));
        let (k, b_share) = (view.a.len() / view.rank, view.b.len() / ranks);
        self.ranks.iter().zip(parts).enumerate().try_for_each(|(i, (rank, part))| match cut {
            Cut::Whole => part.fill(&rank.gpu, slot, view, shifts),
            Cut::Outputs => {
                let share = LoraView { b: &view.b[i * b_share..][..b_share], ..*view };
                part.fill(&rank.gpu, slot, &share, shifts)
            }
            Cut::Inputs => {
                let of_row = |row: &'_ [f32]| row[i * (k / ranks)..][..k / ranks].to_vec();
                let a: Vec<f32> = view.a.chunks_exact(k).flat_map(of_row).collect();
                part.fill(&rank.gpu, slot, &LoraView { a: &a, ..*view }, shifts)
            }
        })
    }
}
