//! What cascades have learned: for each kind of request, to which of the last ones the model here and the next tier said the
//! same.
//!
//! A kind is what may be compared: a route, its model here and the tier after it, the work that is asked for, how sureness is
//! measured, and when two answers are the same. A label of one kind says nothing of another. The
//! rule is [`garrison_route::Calibration`]'s; here is what it goes by, kept over restarts in a file if the owner names one
//! ([`labels`]), and how two answers are compared ([`comparison`]).

mod comparison;
mod labels;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cache::Compare;
use garrison_route::{Calibration, Cascade, Labelled, Learned, Learning, Statistic, Task};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

pub use comparison::Comparison;
pub(crate) use comparison::{Hearing, NoEmbedder, Terms};
use labels::Labels;
pub use labels::LabelsError;

/// Kinds of requests that are remembered at most.
const MOST_KINDS: usize = 1024;
/// Comparisons that wait for the embedder at one time, and those that it is asked about: each holds two whole answers.
const MOST_COMPARING: usize = 64;

/// What may be compared: `tiers` are the one here and the one whose answer its own is compared with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind(String);

impl Kind {
    pub(crate) fn new(
        route: &str,
        tiers: [&str; 2],
        task: Task,
        cascade: &Cascade,
        compare: Compare,
    ) -> Kind {
        let after = cascade.after.map_or_else(|| "the end".to_owned(), |after| after.to_string());
        let by: &Statistic = &cascade.statistic;
        let [here, there] = tiers;
        let same = match compare {
            Compare::Equal => "equal".to_owned(),
            Compare::Alike(least) => format!("alike {least}"),
        };
        Kind(format!("{route}\n{here}\n{there}\n{}\n{by}\n{after}\n{same}", task.name()))
    }
}

/// What all cascades have learned.
#[derive(Debug)]
pub struct Calibrations {
    kinds: Mutex<BTreeMap<Kind, Calibration>>,
    /// None where it is forgotten with the process.
    labels: Option<Labels>,
    /// Bounds what is compared at one time.
    comparing: Arc<Semaphore>,
}

/// Nothing yet, and forgotten with the process.
impl Default for Calibrations {
    fn default() -> Calibrations {
        Calibrations::knowing(BTreeMap::new(), None)
    }
}

impl Calibrations {
    fn knowing(kinds: BTreeMap<Kind, Calibration>, labels: Option<Labels>) -> Calibrations {
        Calibrations { kinds: Mutex::new(kinds), labels, comparing: Arc::new(Semaphore::new(MOST_COMPARING)) }
    }

    /// What a file has of it, from now on written there, too.
    ///
    /// # Errors
    /// If the file cannot be used, for example because another process uses it.
    pub fn open(path: &Path) -> Result<Arc<Calibrations>, LabelsError> {
        let (labels, known) = Labels::open(path)?;
        let kinds = known.into_iter().map(|(kind, seen)| (Kind(kind), seen.into_iter().collect()));
        Ok(Arc::new(Calibrations::knowing(kinds.collect(), Some(labels))))
    }

    /// The threshold for a kind of request.
    pub(crate) fn learned(&self, kind: &Kind, learning: &Learning) -> Learned {
        match self.lock().get(kind) {
            Some(calibration) => calibration.learn(learning),
            None => Calibration::default().learn(learning),
        }
    }

    /// Notes what came of a comparison. It is not waited for; what cannot be written is forgotten with the process.
    pub(crate) fn note(&self, kind: &Kind, labelled: Labelled) {
        let mut kinds = self.lock();
        if !kinds.contains_key(kind) && kinds.len() >= MOST_KINDS {
            return;
        }
        kinds.entry(kind.clone()).or_default().note(labelled);
        // Under the lock, so that the file has them in the same order.
        if let Some(labels) = &self.labels {
            labels.write(&kind.0, labelled);
        }
    }

    /// A place among what is compared, until it is dropped.
    ///
    /// # Errors
    /// If there is none.
    fn place(&self) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        Arc::clone(&self.comparing).try_acquire_owned()
    }

    /// Waits until everything that was noted before is on the disk. False if it is not.
    pub fn flush(&self) -> bool {
        self.labels.as_ref().is_none_or(Labels::flush)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Kind, Calibration>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use garrison_route::{Agreement, Because, MOST_LABELS, Threshold};

    const LEARNING: Learning = Learning { max_error: 0.05, floor: 0.0, ceiling: None, compare: 0.1 };

    fn kind(route: &str, task: Task, after: Option<u32>) -> Kind {
        kind_with(route, "up/m", task, after, Compare::Equal)
    }

    fn kind_with(route: &str, there: &str, task: Task, after: Option<u32>, compare: Compare) -> Kind {
        let cascade = Cascade { statistic: Statistic::Mean, threshold: Threshold::Learned(LEARNING), after };
        Kind::new(route, ["local/m", there], task, &cascade, compare)
    }

    fn label(i: usize) -> Labelled {
        let agreement = if i.is_multiple_of(50) { Agreement::Other } else { Agreement::Same };
        Labelled { confidence: (i % 97) as f64 / 97.0, agreement }
    }

    #[test]
    fn what_was_learned_outlives_the_process_kind_by_kind_and_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cascade.sqlite");
        let (chat, code) = (kind("auto", Task::Chat, None), kind("auto", Task::Code, None));
        let told = {
            let calibrations = Calibrations::open(&path).unwrap();
            assert_eq!(calibrations.learned(&chat, &LEARNING).because, Because::TooFewLabels);
            (0..MOST_LABELS + 300).for_each(|i| calibrations.note(&chat, label(i)));
            (0..30).for_each(|i| calibrations.note(&code, label(i)));
            assert!(calibrations.flush());
            let locked = Calibrations::open(&path).unwrap_err().to_string();
            assert!(locked.contains("locked"), "{locked}");
            (calibrations.learned(&chat, &LEARNING), calibrations.learned(&code, &LEARNING))
        };
        assert!(told.0.least < 1.0 && told.0.labels == LEARNING.window() && told.1.labels == 30);
        let again = Calibrations::open(&path).unwrap();
        assert_eq!((again.learned(&chat, &LEARNING), again.learned(&code, &LEARNING)), told);
        let alike = |least| kind_with("auto", "up/m", Task::Chat, None, Compare::Alike(least));
        let elsewhere = kind_with("auto", "up/large", Task::Chat, None, Compare::Equal);
        let others = [kind("auto", Task::Chat, Some(8)), kind("other", Task::Chat, None)];
        for other in others.into_iter().chain([alike(0.9), alike(0.95), elsewhere]) {
            assert_eq!(again.learned(&other, &LEARNING).labels, 0, "{other:?}");
        }
        drop(again);
        let rows: usize = rusqlite::Connection::open(&path)
            .unwrap()
            .query_row("SELECT COUNT(*) FROM labels", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, MOST_LABELS + 30, "older ones are deleted");
    }

    #[test]
    fn of_a_file_with_more_than_is_counted_the_last_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cascade.sqlite");
        drop(Calibrations::open(&path).unwrap());
        let fill = || -> rusqlite::Result<usize> {
            let file = rusqlite::Connection::open(&path)?;
            file.busy_timeout(std::time::Duration::from_secs(20))?;
            let numbers = |most: usize| {
                format!(
                    "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {most})"
                )
            };
            // The oldest kinds, then one with too many labels.
            file.execute(
                &format!(
                    "INSERT INTO labels (kind, at_s, confidence, same) {} SELECT 'kind ' || i, ?1, 0.5, 1 FROM n",
                    numbers(MOST_KINDS + 9)
                ),
                [i64::MAX],
            )?;
            file.execute(
                &format!(
                    "INSERT INTO labels (kind, at_s, confidence, same) {} SELECT 'long', ?1, i, 1 FROM n",
                    numbers(MOST_LABELS + 5)
                ),
                [i64::MAX],
            )
        };
        assert_eq!(fill().unwrap(), MOST_LABELS + 5);
        let calibrations = Calibrations::open(&path).unwrap();
        let kinds = calibrations.lock();
        assert_eq!(kinds.len(), MOST_KINDS);
        assert!(!kinds.contains_key(&Kind("kind 9".into())) && kinds.contains_key(&Kind("kind 10".into())));
        let last = |i: usize| Labelled { confidence: i as f64, agreement: Agreement::Same };
        let long: Calibration = (5..MOST_LABELS + 5).map(last).collect();
        assert_eq!(kinds[&Kind("long".into())], long);
    }

    #[test]
    fn a_file_that_is_something_else_is_refused_and_kinds_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(
            &path,
            "no database at all, but long enough to be read as one, page by page".repeat(40),
        )
        .unwrap();
        assert!(Calibrations::open(&path).is_err());
        let calibrations = Calibrations::default();
        for i in 0..MOST_KINDS + 5 {
            calibrations.note(&kind(&format!("route {i}"), Task::Chat, None), label(1));
        }
        assert_eq!(calibrations.lock().len(), MOST_KINDS);
        assert!(calibrations.flush());
    }
}
