//! Weights of plain numbers, with activations of plain numbers.

use std::ops::Range;

use super::super::layout::PANEL;
use super::super::simd::Simd;
use super::{Columns, Format, Stripe};

/// A float type: bytes per value and how those of some rows are read.
pub(in super::super) trait FloatType {
    const BYTES: usize;
    unsafe fn load<S: Simd>(rows: S::Rows, at: usize) -> S::Float;
}

macro_rules! floats {
    ($($name:ident($bytes:literal, $load:ident),)*) => { $(
        pub(in super::super) struct $name;
        impl FloatType for $name {
            const BYTES: usize = $bytes;
            #[inline(always)]
            unsafe fn load<S: Simd>(rows: S::Rows, at: usize) -> S::Float {
                S::$load(rows, at)
            }
        }
    )* };
}

floats! { F32(4, load_f32), F16(2, load_f16), Bf16(2, load_bf16), }

/// Float weights and float activations. Even and odd values are summed apart, then together.
pub(in super::super) struct Floats<T>(std::marker::PhantomData<T>);

impl<T: FloatType> Format for Floats<T> {
    #[inline(always)]
    unsafe fn panels<S: Simd>(s: &Stripe<'_>, rows: S::Rows, panels: Range<usize>, columns: Range<usize>) {
        let Columns::Floats(x) = s.x else { unreachable!("float weights meet float activations") };
        tiles!(S::FLOAT_TILE, columns.len(), |c, C| {
            let first = columns.start + c;
            let sums = Self::tile::<S, C>(s.k, rows, x.as_ptr().add(first * s.k));
            for i in 0..C {
                s.store::<S>(&panels, first + i, sums[i]);
            }
        });
    }
}

impl<T: FloatType> Floats<T> {
    /// The products with the `C` columns at `x`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const C: usize>(k: usize, rows: S::Rows, x: *const f32) -> [S::Float; C] {
        let step = T::BYTES * PANEL;
        let mut even = [S::float_zero(); C];
        let mut odd = [S::float_zero(); C];
        for i in 0..k / 2 {
            let (w0, w1) = (T::load::<S>(rows, 2 * i * step), T::load::<S>(rows, (2 * i + 1) * step));
            for c in 0..C {
                let x = x.add(c * k + 2 * i);
                even[c] = S::mul_add(w0, S::float_splat(x), even[c]);
                odd[c] = S::mul_add(w1, S::float_splat(x.add(1)), odd[c]);
            }
        }
        if k % 2 == 1 {
            let w = T::load::<S>(rows, (k - 1) * step);
            for c in 0..C {
                even[c] = S::mul_add(w, S::float_splat(x.add(c * k + k - 1)), even[c]);
            }
        }
        for c in 0..C {
            even[c] = S::add(even[c], odd[c]);
        }
        even
    }
}
