//! Weights as the file has them and a plain matrix product, until the packed ones are in place.

use garrison_device::{DeviceError, WeightView};
use garrison_types::TensorType;
use garrison_types::quant::dequantize_row;

use crate::{Isa, Pool};

/// A weight as the file has it.
pub struct Weight {
    n: usize,
    k: usize,
    ty: TensorType,
    data: Vec<u8>,
}

impl Weight {
    pub(crate) fn pack(view: &WeightView<'_>, _isa: Isa, _pool: &Pool) -> Result<Weight, DeviceError> {
        let expected = view.ty.row_bytes(view.k).and_then(|row| row.checked_mul(view.n));
        if expected != Some(view.data.len()) || view.n == 0 || view.k == 0 {
            let reason = format!("{} bytes are not [{}, {}] of {}", view.data.len(), view.n, view.k, view.ty);
            return Err(DeviceError::Weight { tensor: view.name.into(), reason });
        }
        Ok(Weight { n: view.n, k: view.k, ty: view.ty, data: view.data.to_vec() })
    }

    pub(crate) fn n(&self) -> usize {
        self.n
    }

    pub(crate) fn k(&self) -> usize {
        self.k
    }

    pub(crate) fn unpack_row(&self, i: usize, out: &mut [f32]) {
        let len = self.data.len() / self.n;
        dequantize_row(self.ty, &self.data[i * len..][..len], out);
    }
}

#[derive(Default)]
pub(crate) struct Scratch;

pub(crate) fn matmul_group(
    pool: &Pool,
    _isa: Isa,
    jobs: &mut [(&mut [f32], &Weight)],
    x: &[f32],
    rows: usize,
    _scratch: &mut Scratch,
) {
    for (dst, w) in jobs {
        let dst = crate::pool::Disjoint::new(dst);
        pool.run(w.n.div_ceil(64), &|part| {
            let mut row = vec![0.0; w.k];
            for o in part * 64..w.n.min((part + 1) * 64) {
                w.unpack_row(o, &mut row);
                for i in 0..rows {
                    let dot = x[i * w.k..][..w.k].iter().zip(&row).map(|(x, w)| x * w).sum();
                    // SAFETY: each output row `o` belongs to one task.
                    unsafe { dst.slice(i * w.n + o..i * w.n + o + 1)[0] = dot };
                }
            }
        });
    }
}
