//! `garrison bench`: speeds of a server, and of the engine in this process, with the statistics that they
//! need to be trusted.
//!
//! [`load`] puts a server under load and leaves one [`Record`] a request; [`Summary`] makes figures and
//! intervals of records; a [`Document`] is what is written to a file, and what reports and comparisons are
//! made of.
//!
//! Deliberately absent: flags, and the choice of a backend, which are the binary's.
#![forbid(unsafe_code)]

pub mod dataset;
mod figure;
pub mod load;
mod random;
mod record;
mod series;
mod stats;
mod summary;

pub use figure::{Distribution, Figure};
pub use random::Random;
pub use record::{CountedBy, Oddity, Outcome, Phase, Record};
pub use series::{Second, series};
pub use stats::Gaps;
pub use summary::{Counts, Goals, Goodput, Summary};
