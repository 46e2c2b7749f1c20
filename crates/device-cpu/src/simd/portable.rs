//! The lanes as an array: what the primitives mean, and a way to run AVX-512's loops anywhere.

use half::{bf16, f16};

use super::{LANES, Simd};
use crate::kv::E4M3;

/// Any processor. Without hardware fused multiply-add it is slow.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

fn tree(mut v: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    for step in [8, 4, 2, 1] {
        for i in 0..step {
            v[i] = f(v[i], v[i + step]);
        }
    }
    v[0]
}

impl Simd for Portable {
    type V = [f32; LANES];

    fn splat(self, x: f32) -> Self::V {
        [x; LANES]
    }
    fn load(self, from: &[f32; LANES]) -> Self::V {
        *from
    }
    fn store(self, v: Self::V, to: &mut [f32; LANES]) {
        *to = v;
    }
    fn load_f16(self, from: &[f16; LANES]) -> Self::V {
        from.map(f16::to_f32)
    }
    fn load_bf16(self, from: &[bf16; LANES]) -> Self::V {
        from.map(bf16::to_f32)
    }
    fn load_i8(self, from: &[i8; LANES]) -> Self::V {
        from.map(f32::from)
    }
    fn load_e4m3(self, from: &[E4M3; LANES]) -> Self::V {
        from.map(|x| match x {
            E4M3::NAN => f32::NAN,
            E4M3(bits) => {
                let (sign, rest) = (u16::from(bits & 0x80), u16::from(bits & 0x7f));
                f16::from_bits(sign << 8 | rest << 7).to_f32()
            }
        })
    }
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a + b)
    }
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a - b)
    }
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a * b)
    }
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a / b)
    }
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    fn round(self, a: Self::V) -> Self::V {
        a.map(f32::round_ties_even)
    }
    fn pow2(self, n: Self::V) -> Self::V {
        n.map(|n| f32::from_bits(((n as i32).wrapping_add(127) as u32) << 23))
    }
    fn sum(self, v: Self::V) -> f32 {
        tree(v, |a, b| a + b)
    }
    fn largest(self, v: Self::V) -> f32 {
        tree(v, |a, b| if a > b { a } else { b })
    }
}
