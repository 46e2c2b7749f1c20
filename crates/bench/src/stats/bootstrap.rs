//! Confidence intervals by resampling (Efron and Tibshirani 1993, chapter 13: percentile intervals).
//!
//! Key decision: what is resampled is a whole request, with all its tokens. Times between tokens of one
//! answer are alike, and an interval that took them for independent would be far too narrow.

use super::quantile;
use crate::random::Random;

/// Intervals hold the true value in this share of experiments.
const LEVEL: f64 = 0.95;

/// Resamples of few units, and of many, where the ends of an interval are steadier and each costs more.
const MOST: usize = 1000;
const FEWEST: usize = 200;
const BUDGET: usize = 20_000_000;

/// `n` units drawn with repetition, again and again: how often each was drawn, as `[n]` counts.
pub(crate) fn resamples(n: usize, seed: u64) -> impl Iterator<Item = Vec<u32>> {
    let rounds = (BUDGET / n.max(1)).clamp(FEWEST, MOST);
    let mut random = Random::stream(seed, 5);
    (0..rounds).map(move |_| {
        let mut counts = vec![0; n];
        for _ in 0..n {
            counts[random.below(n)] += 1;
        }
        counts
    })
}

/// Means of a series made of blocks of it: neighbours in time are alike, so they are drawn together
/// (Künsch 1989, "The jackknife and the bootstrap for general stationary observations").
pub(crate) fn block_means(series: &[f64], seed: u64) -> Vec<f64> {
    let n = series.len();
    let block = (n as f64).cbrt().ceil() as usize;
    let blocks: Vec<f64> =
        series.windows(block.max(1)).map(|b| b.iter().sum::<f64>() / b.len() as f64).collect();
    let mut random = Random::stream(seed, 6);
    let draws = n.div_ceil(block.max(1));
    let mut mean = |_| (0..draws).map(|_| blocks[random.below(blocks.len())]).sum::<f64>() / draws as f64;
    if blocks.is_empty() { Vec::new() } else { (0..MOST).map(&mut mean).collect() }
}

/// The interval of a statistic, from its values on resamples; `None` of nothing.
pub(crate) fn interval(mut values: Vec<f64>) -> Option<(f64, f64)> {
    values.retain(|v| v.is_finite());
    values.sort_by(f64::total_cmp);
    let tail = (1.0 - LEVEL) / 2.0;
    Some((quantile(&values, tail)?, quantile(&values, 1.0 - tail)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_interval(values: &[f64], seed: u64) -> (f64, f64) {
        let mean = |counts: Vec<u32>| {
            values.iter().zip(counts).map(|(v, n)| v * f64::from(n)).sum::<f64>() / values.len() as f64
        };
        interval(resamples(values.len(), seed).map(mean).collect()).unwrap()
    }

    /// The bootstrap's standard error of a mean is that of the values, divided by the root of their number.
    #[test]
    fn the_interval_of_a_mean_is_the_closed_form() {
        let values: Vec<f64> = (0..200).map(|i| f64::from(i % 20)).collect();
        let (mean, deviation) = (9.5, (399.0f64 / 12.0).sqrt());
        let half = 1.96 * deviation / 200f64.sqrt();
        let (low, high) = mean_interval(&values, 1);
        assert!(
            (low - (mean - half)).abs() < 0.08 * half && (high - (mean + half)).abs() < 0.08 * half,
            "{low} {high}, wanted {mean} ± {half}"
        );
    }

    /// The median of a resample is at most the k-th value with a probability that the binomial
    /// distribution gives (Efron 1982, section 10.1).
    #[test]
    fn the_interval_of_a_median_is_the_exact_one() {
        let n = 41;
        let at_most = |k: usize| {
            // The resample's median, its 21st, is at most the k-th if at least 21 draws are.
            let p = k as f64 / n as f64;
            let mut term = (1.0 - p).powi(n);
            let mut below = 0.0;
            for j in 0..=20 {
                below += term;
                term *= p / (1.0 - p) * f64::from(n - j) / f64::from(j + 1);
            }
            1.0 - below
        };
        let exact = |tail: f64| (1..41).find(|&k| at_most(k) >= tail).unwrap() as f64;
        let median = |counts: Vec<u32>| {
            let mut seen = 0;
            (1..).zip(counts).find_map(|(k, c)| {
                seen += c;
                (seen >= 21).then_some(f64::from(k))
            })
        };
        let (low, high) = interval(resamples(41, 9).filter_map(median).collect()).unwrap();
        assert!((low - exact(0.025)).abs() <= 1.0 && (high - exact(0.975)).abs() <= 1.0, "{low} {high}");
        assert!((exact(0.025), exact(0.975)) == (15.0, 27.0));
    }

    /// A series that stays high or low for ten seconds at a time tells less than one that does not.
    #[test]
    fn blocks_widen_the_interval_of_a_series_that_drifts() {
        let width = |run: usize| {
            let mut random = Random::new(3);
            let mut level = 0.0;
            let series: Vec<f64> = (0..400)
                .map(|i| {
                    if i % run == 0 {
                        level = random.normal();
                    }
                    level
                })
                .collect();
            let (low, high) = interval(block_means(&series, 1)).unwrap();
            high - low
        };
        let independent = width(1);
        assert!((independent / (2.0 * 1.96 / 20.0) - 1.0).abs() < 0.15, "{independent}");
        assert!(width(10) > 1.8 * independent, "{} {independent}", width(10));
    }

    #[test]
    fn nineteen_of_twenty_intervals_hold_the_truth() {
        let mut random = Random::new(11);
        let held = (0..300)
            .filter(|&i| {
                let values: Vec<f64> = (0..80).map(|_| random.exponential()).collect();
                let (low, high) = mean_interval(&values, i);
                (low..high).contains(&1.0)
            })
            .count();
        assert!((270..=297).contains(&held), "{held} of 300");
    }
}
