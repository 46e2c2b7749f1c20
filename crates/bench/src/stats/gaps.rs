//! Times between tokens, in buckets.
//!
//! Key decision: buckets 1/256 wide relative to their value, so that a percentile is off by 0.2% at most
//! and an answer of any length takes bounded memory. In files a bucket is the time at its middle, so they
//! can be read without knowing any of this.

use serde::{Deserialize, Serialize};

/// Buckets per power of two.
const PER_OCTAVE_BITS: u32 = 8;
const PER_OCTAVE: u64 = 1 << PER_OCTAVE_BITS;

/// Times and how often each occurred.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(f64, u32)>", into = "Vec<(f64, u32)>")]
pub struct Gaps {
    /// `[buckets]` in ascending order: index and count.
    buckets: Vec<(u16, u32)>,
}

/// The bucket of a time in nanoseconds.
fn index(nanos: u64) -> u16 {
    if nanos < PER_OCTAVE {
        return nanos as u16;
    }
    let shift = nanos.ilog2() - PER_OCTAVE_BITS;
    // (shift + 1) * 256 + the eight bits after the leading one; at most 57 * 256.
    (u64::from(shift) * PER_OCTAVE + (nanos >> shift)) as u16
}

/// The middle of a bucket, in milliseconds.
pub(crate) fn middle_ms(index: u16) -> f64 {
    let index = u64::from(index);
    if index < 2 * PER_OCTAVE {
        return index as f64 / 1e6;
    }
    let shift = index / PER_OCTAVE - 1;
    let low = (index % PER_OCTAVE + PER_OCTAVE) << shift;
    (low as f64 + ((1u64 << shift) - 1) as f64 / 2.0) / 1e6
}

impl Gaps {
    /// Adds `count` times of `nanos` each.
    pub(crate) fn add(&mut self, nanos: u64, count: u32) {
        let index = index(nanos);
        match self.buckets.binary_search_by_key(&index, |b| b.0) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
            Err(at) => self.buckets.insert(at, (index, count)),
        }
    }

    /// How many times.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|b| u64::from(b.1)).sum()
    }

    /// Index and count of every bucket, ascending.
    pub(crate) fn buckets(&self) -> &[(u16, u32)] {
        &self.buckets
    }

    /// The mean in milliseconds, or `None` of nothing.
    pub fn mean_ms(&self) -> Option<f64> {
        let sum: f64 = self.buckets.iter().map(|&(i, n)| middle_ms(i) * f64::from(n)).sum();
        let count = self.count();
        (count > 0).then(|| sum / count as f64)
    }
}

impl From<Vec<(f64, u32)>> for Gaps {
    fn from(pairs: Vec<(f64, u32)>) -> Gaps {
        let mut gaps = Gaps::default();
        for (ms, count) in pairs {
            gaps.add((ms.clamp(0.0, 1e12) * 1e6).round() as u64, count);
        }
        gaps
    }
}

impl From<Gaps> for Vec<(f64, u32)> {
    fn from(gaps: Gaps) -> Vec<(f64, u32)> {
        gaps.buckets.into_iter().map(|(i, n)| (middle_ms(i), n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_close_to_its_times_and_reads_back_as_itself() {
        let mut before = 0;
        for exponent in 0..480 {
            let nanos = 1.1f64.powi(exponent).min(9e18) as u64;
            let i = index(nanos);
            assert!(i >= before, "buckets ascend");
            before = i;
            let middle = middle_ms(i) * 1e6;
            assert!((middle - nanos as f64).abs() <= nanos as f64 / 500.0, "{nanos} {middle}");
            if nanos < 1 << 50 {
                assert_eq!(index(middle.round() as u64), i, "{nanos}");
            }
        }
    }

    #[test]
    fn gaps_survive_a_file() {
        let mut gaps = Gaps::default();
        for (nanos, count) in [(10_000_000, 3), (1_000, 1), (10_000_500, 2), (77_777_777_777, 4)] {
            gaps.add(nanos, count);
        }
        let read: Gaps = serde_json::from_str(&serde_json::to_string(&gaps).unwrap()).unwrap();
        assert_eq!(read, gaps);
        assert_eq!(gaps.count(), 10);
        assert_eq!(Gaps::default().mean_ms(), None);
    }
}
