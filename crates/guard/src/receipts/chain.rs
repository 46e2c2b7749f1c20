//! Checking a log with all files that were closed before: that each holds, and that none is missing.

use std::io;
use std::path::{Path, PathBuf};

use super::log::{closed, numbered};
use super::verify::{Role, VerifyError, closed_as, role_of, verify_as};
use super::{PublicKey, beginning};

/// A log that holds from number 0 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its files.
    pub files: u64,
    /// Lines of all of them.
    pub receipts: u64,
    /// Of them, those that let something leave.
    pub cleared: u64,
    /// The number that the next one gets.
    pub next_id: u64,
    /// Digest of the last line.
    pub last: String,
}

/// How often files are looked for again, at most, because one was closed while they were read.
const MAX_TRIES: usize = 8;

/// Checks a log as [`verify`] does, and all files that were closed before it, which are beside it: the first begins at
/// number 0 and each other where the one before ended. `path` may be one of the closed ones; then it is the last.
///
/// # Errors
/// What is wrong first.
pub fn verify_chain(path: &Path, key: Option<PublicKey>) -> Result<Chain, VerifyError> {
    let mut before = files_before(path)?;
    for _ in 1..MAX_TRIES {
        let chain = follow(&before, path, key);
        let now = files_before(path)?;
        if now == before {
            return chain;
        }
        before = now;
    }
    follow(&before, path, key)
}

/// The closed files that come before a file of a log, in order.
fn files_before(path: &Path) -> io::Result<Vec<PathBuf>> {
    if let Some((log, last)) = closed_as(path) {
        let before = closed(&log)?.into_iter().filter(|other| *other < last);
        return Ok(before.map(|number| numbered(&log, number)).collect());
    }
    Ok(closed(path)?.into_iter().map(|number| numbered(path, number)).collect())
}

fn follow(before: &[PathBuf], path: &Path, key: Option<PublicKey>) -> Result<Chain, VerifyError> {
    let mut chain = Chain { files: 0, receipts: 0, cleared: 0, next_id: 0, last: beginning() };
    for file in before.iter().map(PathBuf::as_path).chain([path]) {
        let name = || file.display().to_string();
        let role = if file == path { role_of(path) } else { Role::Closed };
        let report = verify_as(role, file, key).map_err(|error| match file == path {
            true => error,
            false => VerifyError::Closed { file: name(), error: Box::new(error) },
        })?;
        if report.first_id != chain.next_id {
            return Err(VerifyError::Gap { file: name(), begins: report.first_id, wanted: chain.next_id });
        }
        if report.first_previous != chain.last {
            return Err(VerifyError::Apart(name()));
        }
        chain = Chain {
            files: chain.files + 1,
            receipts: chain.receipts + report.receipts,
            cleared: chain.cleared + report.cleared,
            next_id: report.next_id,
            last: report.last,
        };
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::log::{head_path, write_head};
    use super::super::verify::read_head;
    use super::super::{Decision, LogConfig, ReceiptError, ReceiptLog, SigningKey, Verdict, verify};
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed([seed; 32])
    }

    /// A log of so many receipts, two to a file.
    fn written(folder: &Path, receipts: u8, seed: u8) -> PathBuf {
        let path = folder.join("receipts.jsonl");
        let config = LogConfig { max_lines: 2, ..LogConfig::new(path.clone()) };
        let mut log = ReceiptLog::open(config, key(seed)).unwrap();
        for i in 0..receipts {
            let (detectors, tier) = (vec!["patterns/1".into()], "remote/m".into());
            log.record(Decision { verdict: Verdict::Cleared, detectors, tier, digest: [i; 32] }).unwrap();
        }
        path
    }

    fn check(path: &Path) -> Result<Chain, VerifyError> {
        verify_chain(path, Some(key(3).public()))
    }

    #[test]
    fn all_files_of_a_log_are_checked_back_to_its_first_receipt() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 7, 3);
        let chain = check(&path).unwrap();
        assert_eq!((chain.files, chain.receipts, chain.cleared, chain.next_id), (4, 7, 7, 7));
        assert_eq!(chain.last, verify(&path, None).unwrap().last);
        // A closed one with those before it.
        let chain = check(&numbered(&path, 3)).unwrap();
        assert_eq!((chain.files, chain.receipts, chain.next_id), (2, 4, 4));
        // One that was just begun.
        let config = LogConfig { max_lines: 2, ..LogConfig::new(path.clone()) };
        ReceiptLog::open(config, key(3)).unwrap().rotate().unwrap();
        let chain = check(&path).unwrap();
        assert_eq!((chain.files, chain.receipts, chain.next_id), (5, 7, 7));
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(check(&written(empty.path(), 0, 3)).unwrap().files, 1);
        // What ends as a closed file's name does is none by that.
        let other = empty.path().join("receipts.7");
        fs::copy(written(empty.path(), 1, 3), &other).unwrap();
        fs::copy(empty.path().join("receipts.jsonl.head"), empty.path().join("receipts.7.head")).unwrap();
        assert_eq!(check(&other).unwrap().receipts, 1);
    }

    #[test]
    fn a_file_that_is_missing_is_found_wherever_it_was() {
        for (gone, begins, wanted) in [(1, 2, 0), (3, 4, 2), (5, 6, 4)] {
            let folder = tempfile::tempdir().unwrap();
            let path = written(folder.path(), 7, 3);
            let gone = numbered(&path, gone);
            fs::remove_file(&gone).unwrap();
            fs::remove_file(head_path(&gone)).unwrap();
            let error = check(&path).unwrap_err();
            let found = match &error {
                VerifyError::Gap { begins, wanted, .. } => (*begins, *wanted),
                other => panic!("{other}"),
            };
            assert_eq!(found, (begins, wanted), "{error}");
            assert!(verify(&path, Some(key(3).public())).is_ok(), "by itself it holds");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 7, 3);
        for number in [1, 3, 5] {
            fs::remove_file(numbered(&path, number)).unwrap();
        }
        assert!(matches!(check(&path), Err(VerifyError::Gap { begins: 6, wanted: 0, .. })));
    }

    /// Gives a closed file the place of the log's own, as if nothing had come after it.
    fn drop_what_follows(path: &Path, closed: u64) {
        let closed = numbered(path, closed);
        fs::rename(&closed, path).unwrap();
        fs::rename(head_path(&closed), head_path(path)).unwrap();
    }

    #[test]
    fn the_last_files_cannot_be_dropped() {
        for (last, gone) in [(1, [3, 5].as_slice()), (3, &[5]), (5, &[])] {
            let folder = tempfile::tempdir().unwrap();
            let path = written(folder.path(), 7, 3);
            for gone in gone {
                fs::remove_file(numbered(&path, *gone)).unwrap();
                fs::remove_file(head_path(&numbered(&path, *gone))).unwrap();
            }
            drop_what_follows(&path, last);
            let error = check(&path).unwrap_err();
            assert!(matches!(error, VerifyError::Dropped(_)), "{error}");
            let error = verify(&path, Some(key(3).public())).unwrap_err();
            assert!(matches!(error, VerifyError::Dropped(_)), "alone: {error}");
            let config = LogConfig { max_lines: 2, ..LogConfig::new(path.clone()) };
            let opened = ReceiptLog::open(config, key(3));
            let refused = |error: &ReceiptError| {
                matches!(error, ReceiptError::Broken { error: VerifyError::Dropped(_), .. })
            };
            assert!(opened.is_err_and(|error| refused(&error)), "it is not gone on with");
        }
    }

    #[test]
    fn no_line_of_a_closed_file_is_ahead_of_its_head() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 3, 3);
        let closed = numbered(&path, 1);
        let head = read_head(Role::Closed, &head_path(&closed), None).unwrap();
        let first = fs::read_to_string(&closed).unwrap().lines().next().map(super::super::line_digest);
        let behind = super::super::Head { lines: 1, last: first.unwrap(), ..head };
        write_head(Role::Closed, &closed, &key(3), &behind).unwrap();
        assert!(matches!(check(&path), Err(VerifyError::Closed { .. })));
    }

    #[test]
    fn files_that_were_closed_when_their_heads_did_not_tell_so_are_checked_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 7, 3);
        for number in [1, 3, 5] {
            let closed = numbered(&path, number);
            let head = read_head(Role::Closed, &head_path(&closed), None).unwrap();
            write_head(Role::Open, &closed, &key(3), &head).unwrap();
        }
        assert_eq!(check(&path).unwrap().receipts, 7);
        assert_eq!(check(&numbered(&path, 3)).unwrap().receipts, 4);
        assert_eq!(verify(&numbered(&path, 3), Some(key(3).public())).unwrap().receipts, 2);
        let config = LogConfig { max_lines: 2, ..LogConfig::new(path.clone()) };
        drop(ReceiptLog::open(config, key(3)).unwrap());
    }

    #[test]
    fn a_closed_file_that_was_altered_exchanged_or_cut_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 7, 3);
        let (closed, other) = (numbered(&path, 3), tempfile::tempdir().unwrap());
        let good = fs::read_to_string(&closed).unwrap();
        fs::write(&closed, good.replace("remote/m", "remote/n")).unwrap();
        let error = check(&path).unwrap_err().to_string();
        assert!(error.contains("receipts.jsonl.3: line 1 was altered"), "{error}");
        let first: String = good.split_inclusive('\n').take(1).collect();
        fs::write(&closed, first).unwrap();
        assert!(matches!(check(&path), Err(VerifyError::Closed { .. })));
        // The same numbers by the same key, but of another log.
        let foreign = numbered(&written(other.path(), 7, 3), 3);
        fs::copy(&foreign, &closed).unwrap();
        fs::copy(head_path(&foreign), head_path(&closed)).unwrap();
        assert!(matches!(check(&path), Err(VerifyError::Apart(file)) if file.ends_with(".3")));
    }
}
