//! `dst[i] += src[i]`.
//!
//! The compiler makes the best of the plain loop, and an addition has one right result, so there
//! is one variant; memory is the limit.

use super::Run;

pub(crate) fn add(run: Run<'_>, dst: &mut [f32], src: &[f32]) {
    assert_eq!(dst.len(), src.len());
    run.for_rows(dst, 1, &|first, part| {
        for (d, s) in part.iter_mut().zip(&src[first..]) {
            *d += s;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_same_bits, for_every_run, values};
    use super::*;

    #[test]
    fn adds_on_every_path() {
        for_every_run(|run, isa| {
            for len in [0, 1, 17, 100_003] {
                let (mut dst, src) = (values(len, 1), values(len, 2));
                let expected: Vec<f32> = dst.iter().zip(&src).map(|(d, s)| d + s).collect();
                add(run, &mut dst, &src);
                assert_same_bits(&dst, &expected, &format!("{isa:?}, {len}"));
            }
        });
    }
}
