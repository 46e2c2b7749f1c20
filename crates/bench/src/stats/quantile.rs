//! Quantiles of values that occur several times.
//!
//! Between two values it is the line between them, as numpy and most tools have it (Hyndman and Fan 1996,
//! definition 7).

/// The `q` quantile of sorted values; `None` of nothing.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = q * last as f64;
    let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    Some(low + (high - low) * rank.fract())
}

/// Values in ascending order, each with how often it occurs.
pub(crate) struct Weighted<I>(pub(crate) I);

impl<I: Iterator<Item = (f64, u64)> + Clone> Weighted<I> {
    fn count(&self) -> u64 {
        self.0.clone().map(|(_, n)| n).sum()
    }

    /// As [`quantile`] of the values written out, at each of `qs`, which ascend.
    pub(crate) fn quantiles<const N: usize>(&self, qs: [f64; N]) -> Option<[f64; N]> {
        let last = self.count().checked_sub(1)?;
        let ranks = qs.map(|q| q * last as f64);
        let mut found = [(f64::NAN, f64::NAN); N];
        let mut seen = 0u64;
        for (value, n) in self.0.clone() {
            seen += n;
            for (rank, (low, high)) in ranks.iter().zip(&mut found) {
                if low.is_nan() && rank.floor() < seen as f64 {
                    *low = value;
                }
                if high.is_nan() && rank.ceil() < seen as f64 {
                    *high = value;
                }
            }
        }
        let mut out = [0.0; N];
        for ((out, (low, high)), rank) in out.iter_mut().zip(found).zip(ranks) {
            *out = low + (high - low) * rank.fract();
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_numpys() {
        let sorted = [1.0, 2.0, 4.0, 8.0, 16.0];
        for (q, wanted) in [(0.0, 1.0), (0.5, 4.0), (0.9, 12.8), (0.25, 2.0), (0.1, 1.4), (1.0, 16.0)] {
            let found = quantile(&sorted, q).unwrap();
            assert!((found - wanted).abs() < 1e-12, "{q}: {found}");
        }
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn weights_are_repetitions() {
        let pairs = [(1.0, 3), (2.0, 0), (5.0, 1), (7.0, 4)];
        let written: Vec<f64> = pairs.iter().flat_map(|&(v, n)| vec![v; n as usize]).collect();
        let qs = [0.0, 0.3, 0.4, 0.5, 0.99, 1.0];
        let found = Weighted(pairs.into_iter()).quantiles(qs).unwrap();
        assert_eq!(found.map(Some), qs.map(|q| quantile(&written, q)));
        assert_eq!(Weighted([(1.0, 0)].into_iter()).quantiles([0.5]), None);
    }
}
