//! Weights of plain numbers, with activations of plain numbers.

use std::ops::Range;

use super::super::layout::PANEL;
use super::super::simd::Simd;
use super::{Columns, Format, Stripe};

/// A float type: bytes per value and how eight rows of them are read.
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

/// Columns of a tile: as many as AVX2's sixteen registers hold with two panels. What is left over goes
/// one by one.
const COLUMNS: usize = 2;

impl<T: FloatType> Format for Floats<T> {
    #[inline(always)]
    unsafe fn panels<S: Simd>(s: &Stripe<'_>, rows: S::Rows, panel: usize, columns: Range<usize>) {
        let mut c = columns.start;
        while c < columns.end {
            let taken = if c + COLUMNS <= columns.end {
                Self::tile::<S, COLUMNS>(s, rows, panel, c)
            } else {
                Self::tile::<S, 1>(s, rows, panel, c)
            };
            c += taken;
        }
    }
}

impl<T: FloatType> Floats<T> {
    /// The products with columns `first .. first + C`; gives `C`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const C: usize>(
        s: &Stripe<'_>,
        rows: S::Rows,
        panel: usize,
        first: usize,
    ) -> usize {
        let Columns::Floats(x) = s.x else { unreachable!() };
        let x = x.as_ptr().add(first * s.k);
        let step = T::BYTES * PANEL;
        let mut even = [S::float_zero(); C];
        let mut odd = [S::float_zero(); C];
        for i in 0..s.k / 2 {
            let (w0, w1) = (T::load::<S>(rows, 2 * i * step), T::load::<S>(rows, (2 * i + 1) * step));
            for c in 0..C {
                let x = x.add(c * s.k + 2 * i);
                even[c] = S::mul_add(w0, S::float_splat(x), even[c]);
                odd[c] = S::mul_add(w1, S::float_splat(x.add(1)), odd[c]);
            }
        }
        if s.k % 2 == 1 {
            let w = T::load::<S>(rows, (s.k - 1) * step);
            for c in 0..C {
                even[c] = S::mul_add(w, S::float_splat(x.add(c * s.k + s.k - 1)), even[c]);
            }
        }
        for c in 0..C {
            s.store::<S>(panel, first + c, S::add(even[c], odd[c]));
        }
        C
    }
}
