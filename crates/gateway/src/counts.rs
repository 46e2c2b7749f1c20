//! What was judged, counted: names and numbers, never content.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use garrison_guard::Side;

use crate::request::{Report, code};

/// Different codes that are counted at most. They come from the configuration and from detectors.
const MOST_CODES: usize = 1024;

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Counts(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    /// By side and action.
    judged: BTreeMap<(&'static str, &'static str), u64>,
    /// By side and code.
    found: BTreeMap<(&'static str, String), u64>,
    /// By side.
    spent: BTreeMap<&'static str, Duration>,
}

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// `request` or `answer`.
    pub side: &'static str,
    /// The action or the code.
    pub of: String,
    /// How often.
    pub count: u64,
}

impl Counts {
    pub(crate) fn note(&self, side: Side, report: &Report, spent: Duration) {
        let side = name(side);
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *tables.judged.entry((side, code(report.action))).or_default() += 1;
        for found in &report.found {
            let key = (side, found.clone());
            if tables.found.len() < MOST_CODES || tables.found.contains_key(&key) {
                *tables.found.entry(key).or_default() += 1;
            }
        }
        *tables.spent.entry(side).or_default() += spent;
    }

    /// What was judged, by what became of it: `pass`, `flag`, `redact`, `not_judged`, `block`.
    pub fn judged(&self) -> Vec<Count> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = tables.judged.iter();
        counts.map(|((side, of), count)| Count { side, of: (*of).to_owned(), count: *count }).collect()
    }

    /// What was found, by code.
    pub fn found(&self) -> Vec<Count> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = tables.found.iter();
        counts.map(|((side, of), count)| Count { side, of: of.clone(), count: *count }).collect()
    }

    /// The time that judging took, by side.
    pub fn spent(&self) -> Vec<(&'static str, Duration)> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.spent.iter().map(|(side, spent)| (*side, *spent)).collect()
    }
}

fn name(side: Side) -> &'static str {
    match side {
        Side::Request => "request",
        Side::Answer => "answer",
    }
}
