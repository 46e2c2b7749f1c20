//! Figures with intervals.

mod bootstrap;
mod gaps;
mod quantile;

pub(crate) use bootstrap::{block_means, interval, resamples};
pub use gaps::Gaps;
pub(crate) use gaps::middle_ms;
pub(crate) use quantile::{Weighted, quantile};
