//! `garrison bench`: speeds of a server, and of the engine in this process, with the statistics that they
//! need to be trusted.
//!
//! [`load`] puts a server under load and leaves one [`Record`] a request; [`Summary`] makes figures and
//! intervals of records; a [`Document`] is what is written to a file, and what reports and comparisons are
//! made of.
//!
//! Deliberately absent: flags, and the choice of a backend, which are the binary's.
#![forbid(unsafe_code)]

mod compare;
pub mod dataset;
mod document;
mod energy;
pub mod engine;
mod figure;
mod journal;
pub mod load;
mod random;
mod record;
pub mod report;
mod search;
mod series;
mod session;
mod stats;
mod summary;

pub use compare::{CompareError, Compared, Ratio, Verdict, compare_files, compare_servers};
pub use document::{Completeness, Document, DocumentError, Machine, Run, SCHEMA, Server};
pub use energy::{Energy, Meter};
pub use figure::{Distribution, Figure};
pub use journal::Journal;
pub use random::Random;
pub use record::{CountedBy, Oddity, Outcome, Phase, Record};
pub use search::Found;
pub use series::{Second, series};
pub use session::{Audience, Loads, Session};
pub use stats::Gaps;
pub use summary::{Counts, Goals, Goodput, Summary};
