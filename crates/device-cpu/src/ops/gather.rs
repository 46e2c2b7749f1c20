//! `dst[i, :] = src[rows[i], :]`: a few rows, so on the caller's thread.

pub(crate) fn gather(dst: &mut [f32], src: &[f32], rows: &[u32], dim: usize) {
    for (row, &from) in dst.chunks_exact_mut(dim).zip(rows) {
        row.copy_from_slice(&src[from as usize * dim..][..dim]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_the_order_asked_for() {
        let src: Vec<f32> = (0..12).map(|x| x as f32).collect();
        let mut dst = [0.0; 9];
        gather(&mut dst, &src, &[3, 0, 3], 3);
        assert_eq!(dst, [9.0, 10.0, 11.0, 0.0, 1.0, 2.0, 9.0, 10.0, 11.0]);
    }
}
