//! `dst[i, :] = table[tokens[i], :]`. Unpacking is the weight's business.

use super::Run;
use crate::weight::Weight;

/// # Panics
/// If a token is not in the table: the tokenizer and the server let no such token in.
pub(crate) fn embed(run: Run<'_>, dst: &mut [f32], table: &Weight, tokens: &[u32]) {
    let dim = table.k();
    assert_eq!(dst.len(), tokens.len() * dim);
    run.for_rows(dst, dim, &|first, part| {
        for (row, &token) in part.chunks_exact_mut(dim).zip(&tokens[first..]) {
            assert!((token as usize) < table.n(), "token {token} is not among {}", table.n());
            table.unpack_row(token as usize, row);
        }
    });
}
