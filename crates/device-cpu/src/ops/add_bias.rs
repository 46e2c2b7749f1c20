//! `x[i, :] += bias[:]`. One variant, for the reasons of [`super::add`].

use super::Run;

pub(crate) fn add_bias(run: Run<'_>, x: &mut [f32], bias: &[f32]) {
    run.for_rows(x, bias.len(), &|_, part| {
        for row in part.chunks_exact_mut(bias.len()) {
            for (x, b) in row.iter_mut().zip(bias) {
                *x += b;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_same_bits, for_every_run, values};
    use super::*;

    #[test]
    fn every_row_gets_the_bias() {
        for_every_run(|run, isa| {
            for (rows, n) in [(1, 1), (3, 17), (400, 129)] {
                let (mut x, bias) = (values(rows * n, 1), values(n, 2));
                let expected: Vec<f32> = x.iter().enumerate().map(|(i, x)| x + bias[i % n]).collect();
                add_bias(run, &mut x, &bias);
                assert_same_bits(&x, &expected, &format!("{isa:?}, {rows} x {n}"));
            }
        });
    }
}
