//! A number with its interval, and the numbers that stand for a distribution.

use serde::{Deserialize, Serialize};

use crate::stats::{Gaps, Weighted, interval, middle_ms, resamples};

/// Quantiles that are told.
const QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 1.0];

/// Values beyond a quantile that its interval needs: with fewer, resampling cannot know the tail.
const FEWEST_BEYOND: f64 = 5.0;

/// Values that the interval of a mean needs.
pub(crate) const FEWEST: usize = 5;

/// A number, and the 95% interval around it where the data allow one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// It.
    pub value: f64,
    /// The interval's lower end.
    pub low: Option<f64>,
    /// The interval's upper end.
    pub high: Option<f64>,
}

impl Figure {
    /// Without an interval.
    pub fn bare(value: f64) -> Figure {
        Figure { value, low: None, high: None }
    }

    fn with(value: f64, resampled: Vec<f64>) -> Figure {
        match interval(resampled) {
            Some((low, high)) => Figure { value, low: Some(low), high: Some(high) },
            None => Figure::bare(value),
        }
    }
}

/// What is told of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Distribution {
    /// Values.
    pub n: u64,
    pub mean: Figure,
    pub p50: Figure,
    pub p90: Figure,
    pub p95: Figure,
    pub p99: Figure,
    /// The largest; no interval says anything of it.
    pub max: f64,
}

/// Mean and quantiles of one sample.
type Numbers = (f64, [f64; 5]);

impl Distribution {
    /// Of one value a request; `None` of nothing.
    pub fn of(mut values: Vec<f64>) -> Option<Distribution> {
        values.sort_by(f64::total_cmp);
        let n = values.len();
        let numbers = |counts: &[u32]| {
            let weighted = values.iter().zip(counts).map(|(&v, &c)| (v, u64::from(c)));
            let sum: f64 = weighted.clone().map(|(v, c)| v * c as f64).sum();
            Some((sum / n as f64, Weighted(weighted).quantiles(QUANTILES)?))
        };
        Distribution::new(n, n as u64, numbers)
    }

    /// Of the times between tokens of each request; every token counts once. Requests without such times say
    /// nothing of them.
    pub fn of_gaps(requests: &[&Gaps]) -> Option<Distribution> {
        let requests: Vec<&Gaps> = requests.iter().copied().filter(|gaps| gaps.count() > 0).collect();
        let total = requests.iter().map(|g| g.count()).sum();
        let buckets = requests.iter().filter_map(|g| g.buckets().last()).map(|b| b.0).max()?;
        let mut dense = vec![0u64; usize::from(buckets) + 1];
        let numbers = |counts: &[u32]| {
            dense.fill(0);
            for (gaps, &times) in requests.iter().zip(counts).filter(|(_, c)| **c > 0) {
                for &(index, n) in gaps.buckets() {
                    dense[usize::from(index)] += u64::from(n) * u64::from(times);
                }
            }
            let weighted = (0u16..).zip(&dense).filter(|(_, n)| **n > 0).map(|(i, &n)| (middle_ms(i), n));
            let (sum, n) = weighted.clone().fold((0.0, 0u64), |s, (v, n)| (s.0 + v * n as f64, s.1 + n));
            Some((sum / n as f64, Weighted(weighted).quantiles(QUANTILES)?))
        };
        Distribution::new(requests.len(), total, numbers)
    }

    /// `units` are resampled; `total` values are in them.
    fn new(
        units: usize,
        total: u64,
        mut numbers: impl FnMut(&[u32]) -> Option<Numbers>,
    ) -> Option<Distribution> {
        let (mean, quantiles) = numbers(&vec![1; units])?;
        let mut resampled: [Vec<f64>; 5] = Default::default();
        if units >= FEWEST {
            for counts in resamples(units, 1) {
                let Some((mean, quantiles)) = numbers(&counts) else { continue };
                resampled[0].push(mean);
                for (values, quantile) in resampled[1..].iter_mut().zip(quantiles) {
                    values.push(quantile);
                }
            }
        }
        let [means, p50, p90, p95, p99] = resampled;
        let figure = |i: usize, values| {
            // Units, not values: what one request has many of tells little more than one.
            let beyond = units as f64 * (1.0 - QUANTILES[i]);
            if beyond + 1e-9 < FEWEST_BEYOND {
                Figure::bare(quantiles[i])
            } else {
                Figure::with(quantiles[i], values)
            }
        };
        Some(Distribution {
            n: total,
            mean: Figure::with(mean, means),
            p50: figure(0, p50),
            p90: figure(1, p90),
            p95: figure(2, p95),
            p99: figure(3, p99),
            max: quantiles[4],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_tells_what_its_values_allow() {
        let d = Distribution::of((1..=100).map(f64::from).collect()).unwrap();
        assert_eq!((d.n, d.mean.value, d.p50.value, d.max), (100, 50.5, 50.5, 100.0));
        assert!((d.p99.value - 99.01).abs() < 1e-9);
        assert!(
            d.p95.low.is_some() && d.p99.low.is_none(),
            "one value beyond p99 is no ground for an interval"
        );
        let (low, high) = d.p50.low.zip(d.p50.high).unwrap();
        assert!((35.0..48.0).contains(&low) && (53.0..66.0).contains(&high), "{low} {high}");
        assert_eq!(Distribution::of(vec![3.0]).unwrap().mean, Figure::bare(3.0));
        assert_eq!(Distribution::of(vec![]), None);
    }

    /// Two kinds of requests, each with many equal times: the interval is that of requests, not of tokens.
    #[test]
    fn times_between_tokens_are_resampled_by_request() {
        let gaps: Vec<Gaps> = (0..40)
            .map(|i| {
                let mut gaps = Gaps::default();
                gaps.add(if i % 2 == 0 { 10_000_000 } else { 30_000_000 }, 1000);
                gaps
            })
            .collect();
        let d = Distribution::of_gaps(&gaps.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(d.n, 40_000);
        assert!((d.mean.value - 20.0).abs() < 0.05, "{:?}", d.mean);
        let half = (d.mean.high.unwrap() - d.mean.low.unwrap()) / 2.0;
        let of_requests = 1.96 * 10.0 / 40f64.sqrt();
        assert!((half / of_requests - 1.0).abs() < 0.15, "{half}, wanted {of_requests}");
        assert_eq!(Distribution::of_gaps(&[]), None);
        assert_eq!(Distribution::of_gaps(&[&Gaps::default()]), None);
        // Answers of one token change nothing, and are no ground for an interval.
        let (few, none) = (&gaps[..4], vec![Gaps::default(); 1000]);
        let with: Vec<&Gaps> = few.iter().chain(&none).collect();
        assert_eq!(Distribution::of_gaps(&with), Distribution::of_gaps(&few.iter().collect::<Vec<_>>()));
        assert_eq!(Distribution::of_gaps(&with).unwrap().p50.low, None);
    }
}
