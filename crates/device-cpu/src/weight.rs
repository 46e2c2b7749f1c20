//! A loaded weight: the file's integers and scales, interleaved by sixteen rows.
//!
//! Packed straight from the file's bytes, panel by panel on all threads, with no float in
//! between, so loading runs at memory speed and the packed copy is as large as the file's.

use std::ops::Range;

use garrison_device::{DeviceError, WeightView};
use garrison_types::TensorType;

use crate::matmul::{self, PANEL};
use crate::memory::Pages;
use crate::pool::Disjoint;
use crate::{Isa, Pool};

/// Panels that one task packs.
const TASK_PANELS: usize = 4;

/// A packed `[n, k]` weight.
pub(crate) struct Weight {
    n: usize,
    k: usize,
    ty: TensorType,
    panel_bytes: usize,
    /// `[n_panels, panel_bytes]`
    panels: Pages,
}

impl Weight {
    /// Packs a weight. All instruction sets share one layout, so `isa` only states for whom.
    ///
    /// # Errors
    /// If the view's bytes are not `[n, k]` of its type, or memory is short.
    pub(crate) fn pack(view: &WeightView<'_>, _isa: Isa, pool: &Pool) -> Result<Weight, DeviceError> {
        let WeightView { name, n, k, ty, data } = *view;
        let row_bytes =
            ty.row_bytes(k).filter(|&row| n > 0 && k > 0 && row.checked_mul(n) == Some(data.len()));
        let Some(row_bytes) = row_bytes else {
            let reason = format!("{} bytes are not {n} rows of {k} values of {ty}", data.len());
            return Err(DeviceError::Weight { tensor: name.into(), reason });
        };
        let n_panels = n.div_ceil(PANEL);
        let panel_bytes = matmul::panel_bytes(ty, k);
        let bytes = panel_bytes.saturating_mul(n_panels);
        let mut panels = Pages::zeroed(bytes).ok_or_else(|| DeviceError::OutOfMemory {
            device: "cpu".into(),
            what: format!("tensor {name}"),
            bytes,
        })?;
        let out = Disjoint::new(panels.get_mut());
        // Pages lie in the memory of the node whose thread writes them first: see `pool`.
        pool.run(n_panels.div_ceil(TASK_PANELS), &|task| {
            for p in task * TASK_PANELS..n_panels.min((task + 1) * TASK_PANELS) {
                let src = &data[p * PANEL * row_bytes..data.len().min((p + 1) * PANEL * row_bytes)];
                // SAFETY: each panel belongs to one task.
                let panel = unsafe { out.slice(p * panel_bytes..(p + 1) * panel_bytes) };
                matmul::pack_panel(ty, src, row_bytes, panel);
            }
        });
        Ok(Weight { n, k, ty, panel_bytes, panels })
    }

    /// Rows (outputs).
    pub(crate) fn n(&self) -> usize {
        self.n
    }

    /// Values per row (inputs).
    pub(crate) fn k(&self) -> usize {
        self.k
    }

    /// The type it was packed from.
    pub(crate) fn ty(&self) -> TensorType {
        self.ty
    }

    /// Bytes of the packed form.
    pub(crate) fn bytes(&self) -> usize {
        self.panels.get().len()
    }

    /// Writes row `i`, `out: [k]`, equal to `dequantize_row` of the file's bytes.
    pub(crate) fn unpack_row(&self, i: usize, out: &mut [f32]) {
        assert!(i < self.n, "row {i} of a weight of {}", self.n);
        assert_eq!(out.len(), self.k, "a row has {} values", self.k);
        let p = i / PANEL;
        matmul::unpack_row(self.ty, &self.panels.get()[self.bytes_of(p..p + 1)], i % PANEL, out);
    }

    /// All panels.
    pub(crate) fn panels(&self) -> &[u8] {
        self.panels.get()
    }

    /// How many there are.
    pub(crate) fn n_panels(&self) -> usize {
        self.n.div_ceil(PANEL)
    }

    /// Bytes of one.
    pub(crate) fn panel_bytes(&self) -> usize {
        self.panel_bytes
    }

    fn bytes_of(&self, panels: Range<usize>) -> Range<usize> {
        panels.start * self.panel_bytes..panels.end * self.panel_bytes
    }
}
