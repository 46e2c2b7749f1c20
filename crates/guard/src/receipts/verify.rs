//! Checking receipts offline: nothing is needed but the file, its head, and the public key.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::log::{MAX_AHEAD, head_path, numbered};
use super::{Domain, Head, MAX_LINE, PublicKey, Receipt, Signed, Verdict, beginning, line_digest};

/// A log that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Lines.
    pub receipts: u64,
    /// Of them, those that let something leave.
    pub cleared: u64,
    /// The number of the first one.
    pub first_id: u64,
    /// The number that the next one gets.
    pub next_id: u64,
    /// What the first line names as the one before it: zeros, or the last of an earlier file.
    pub first_previous: String,
    /// Digest of the last line. Who keeps it can tell later whether lines after it were cut off.
    pub last: String,
}

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// A line is no receipt.
    #[error("line {0} is no receipt")]
    Malformed(u64),
    /// A line's signature does not hold.
    #[error("line {0} was altered, or signed with another key")]
    Signature(u64),
    /// A line does not follow the one before it.
    #[error("line {0} does not follow the line before it: one was dropped, put in or moved")]
    Chain(u64),
    /// The head is missing or was altered.
    #[error("its head ({0}) is missing, altered, or signed with another key")]
    Head(String),
    /// The file that is written to is one that was closed.
    #[error("{0} is the head of a file that was closed: the files after it were dropped")]
    Dropped(String),
    /// Lines at the end are missing.
    #[error("its head tells of {told} lines and there are {found}: the end was cut off")]
    Cut {
        /// By the head.
        told: u64,
        /// In the file.
        found: u64,
    },
    /// A file that was closed before does not hold.
    #[error("{file}: {error}")]
    Closed {
        /// Which.
        file: String,
        /// Why.
        error: Box<VerifyError>,
    },
    /// A file does not begin at the number that comes next.
    #[error(
        "{file} begins with receipt number {begins}, and {wanted} comes next: a closed file is missing, or one is twice"
    )]
    Gap {
        /// Which.
        file: String,
        /// Its first number.
        begins: u64,
        /// The one after the last of the file before it; 0 for a first file.
        wanted: u64,
    },
    /// A file does not name the last line of the one before.
    #[error("{0} does not follow the file before it: one of them is another log's")]
    Apart(String),
}

/// Checks a log file and its head. Without a key only the chain is checked, which shows accidents but
/// no intent.
///
/// # Errors
/// What is wrong first.
pub fn verify(path: &Path, key: Option<PublicKey>) -> Result<Report, VerifyError> {
    verify_as(role_of(path), path, key)
}

/// What a file is to its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It is written to.
    Open,
    /// It was closed, and others follow it.
    Closed,
}

impl Role {
    /// What its head is signed as.
    pub(super) fn domain(self) -> Domain {
        match self {
            Role::Open => Domain::Head,
            Role::Closed => Domain::Closed,
        }
    }

    /// Whether a head is that of such a file.
    fn has_head(self, signed: &Signed, key: PublicKey) -> bool {
        key.holds(self.domain(), signed) || self == Role::Closed && key.holds(Domain::Head, signed)
    }
}

/// What a file is, by its name and its head.
pub(super) fn role_of(path: &Path) -> Role {
    if closed_as(path).is_some() { Role::Closed } else { Role::Open }
}

/// The log that a file was closed in, and under which number, if it is one: its name alone would not tell.
pub(super) fn closed_as(path: &Path) -> Option<(PathBuf, u64)> {
    let (log, number) = path.to_str()?.rsplit_once('.')?;
    let number = number.parse::<u64>().ok()?;
    let ends = read_head(Role::Closed, &head_path(path), None)?.next.checked_sub(1)?;
    (numbered(Path::new(log), number) == path && ends == number).then(|| (log.into(), number))
}

/// The same as [`verify`] of what is known to be open or closed.
pub(super) fn verify_as(role: Role, path: &Path, key: Option<PublicKey>) -> Result<Report, VerifyError> {
    verify_with_head(role, BufReader::new(File::open(path)?), path, key)
}

/// Checks lines that are those of the log at `path`, and the head there.
pub(super) fn verify_with_head(
    role: Role,
    lines: impl BufRead,
    path: &Path,
    key: Option<PublicKey>,
) -> Result<Report, VerifyError> {
    let head = read_head(role, &head_path(path), key);
    let told = head.as_ref().map_or(0, |head| head.lines);
    let (report, last_of_head) = follow(lines, key, told)?;
    let beside = || head_path(path).display().to_string();
    let wrong = || match role {
        Role::Open if read_head(Role::Closed, &head_path(path), key).is_some() => {
            VerifyError::Dropped(beside())
        }
        Role::Open | Role::Closed => VerifyError::Head(beside()),
    };
    let head = head.ok_or_else(wrong)?;
    // Lines are written before the head, so there can be some that it does not tell of yet, until the file is closed.
    let ahead = if role == Role::Open { MAX_AHEAD } else { 0 };
    match report.receipts.checked_sub(head.lines) {
        // A file without lines goes on where its head says.
        Some(0) if report.receipts == 0 => {}
        Some(more) if more <= ahead && head.last == last_of_head => {}
        Some(more) if more <= ahead => return Err(VerifyError::Head(beside())),
        _ => return Err(VerifyError::Cut { told: head.lines, found: report.receipts }),
    }
    Ok(match report.receipts {
        0 => Report {
            first_id: head.next,
            next_id: head.next,
            first_previous: head.last.clone(),
            last: head.last,
            ..report
        },
        _ => report,
    })
}

/// A log's head, if it is there and holds.
pub(super) fn read_head(role: Role, path: &Path, key: Option<PublicKey>) -> Option<Head> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_LINE as u64).read_to_string(&mut text).ok()?;
    let signed: Signed = serde_json::from_str(&text).ok()?;
    if key.is_some_and(|key| !role.has_head(&signed, key)) {
        return None;
    }
    serde_json::from_str(&signed.body).ok()
}

/// Checks lines alone: signatures and chain, not whether the end was cut off.
///
/// # Errors
/// What is wrong first.
pub fn verify_lines(lines: impl BufRead, key: Option<PublicKey>) -> Result<Report, VerifyError> {
    follow(lines, key, 0).map(|(report, _)| report)
}

/// Checks lines alone; with the digest of line `marked`, or what comes before the first if that is 0.
fn follow(
    mut lines: impl BufRead,
    key: Option<PublicKey>,
    marked: u64,
) -> Result<(Report, String), VerifyError> {
    let mut digest = beginning();
    let mut report = Report {
        receipts: 0,
        cleared: 0,
        first_id: 0,
        next_id: 0,
        first_previous: beginning(),
        last: beginning(),
    };
    loop {
        let number = report.receipts + 1;
        let mut line = Vec::new();
        let read = lines.by_ref().take(MAX_LINE as u64 + 2).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok((report, digest));
        }
        // A line without its end was cut in the middle.
        let text = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok());
        let text = text.ok_or(VerifyError::Malformed(number))?;
        let signed: Signed = serde_json::from_str(text).map_err(|_| VerifyError::Malformed(number))?;
        // The same content can be written in other ways, which would be other lines.
        if serde_json::to_string(&signed).ok().as_deref() != Some(text) {
            return Err(VerifyError::Malformed(number));
        }
        if key.is_some_and(|key| !key.holds(Domain::Receipt, &signed)) {
            return Err(VerifyError::Signature(number));
        }
        let receipt: Receipt =
            serde_json::from_str(&signed.body).map_err(|_| VerifyError::Malformed(number))?;
        if report.receipts == 0 {
            // A first file begins at the beginning, a later one where the one before ended.
            if (receipt.id == 0) != (receipt.previous == beginning()) {
                return Err(VerifyError::Chain(number));
            }
            report.first_id = receipt.id;
            report.first_previous.clone_from(&receipt.previous);
            digest.clone_from(&receipt.previous);
        } else if receipt.previous != report.last || receipt.id != report.next_id {
            return Err(VerifyError::Chain(number));
        }
        report.receipts = number;
        report.cleared += u64::from(receipt.verdict == Verdict::Cleared);
        report.next_id = receipt.id.checked_add(1).ok_or(VerifyError::Chain(number))?;
        report.last = line_digest(text);
        if number == marked {
            digest.clone_from(&report.last);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{Decision, LogConfig, ReceiptError, ReceiptLog, SigningKey};
    use super::*;
    use crate::MAX_BATCH;

    fn key() -> SigningKey {
        SigningKey::from_seed([3; 32])
    }

    fn decision(i: u8) -> Decision {
        let verdict = if i.is_multiple_of(2) {
            Verdict::Cleared
        } else {
            Verdict::Held { reason: "found".into(), found: vec!["EMAIL".into()] }
        };
        Decision { verdict, detectors: vec!["patterns/1".into()], tier: "remote/m".into(), digest: [i; 32] }
    }

    fn written(folder: &Path, receipts: u8, max_lines: u64) -> std::path::PathBuf {
        let path = folder.join("receipts.jsonl");
        let mut log =
            ReceiptLog::open(LogConfig { max_lines, ..LogConfig::new(path.clone()) }, key()).unwrap();
        for i in 0..receipts {
            assert_eq!(log.record(decision(i)).unwrap(), u64::from(i));
        }
        path
    }

    #[test]
    fn a_log_holds_and_goes_on_after_it_was_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 5, 100);
        let report = verify(&path, Some(key().public())).unwrap();
        assert_eq!((report.receipts, report.cleared, report.next_id), (5, 3, 5));
        let mut log = ReceiptLog::open(LogConfig::new(path.clone()), key()).unwrap();
        assert_eq!(log.record(decision(5)).unwrap(), 5);
        assert_eq!(verify(&path, Some(key().public())).unwrap().receipts, 6);
        drop(log);
        assert!(matches!(
            verify(&path, Some(SigningKey::from_seed([4; 32]).public())),
            Err(VerifyError::Signature(1))
        ));
        assert!(ReceiptLog::open(LogConfig::new(path), SigningKey::from_seed([4; 32])).is_err());
    }

    #[test]
    fn anything_altered_dropped_moved_or_put_in_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 6, 100);
        let good = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = good.lines().collect();
        let check = |text: &str| {
            fs::write(&path, text).unwrap();
            verify(&path, Some(key().public()))
        };
        // Every byte of every line, turned into another.
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
            let text = String::from_utf8(bytes).unwrap();
            assert!(check(&text).is_err(), "byte {at} changed unnoticed");
        }
        for i in 0..lines.len() {
            let mut dropped = lines.clone();
            dropped.remove(i);
            assert!(check(&(dropped.join("\n") + "\n")).is_err(), "line {i} dropped unnoticed");
            let mut twice = lines.clone();
            twice.insert(i, lines[i]);
            assert!(check(&(twice.join("\n") + "\n")).is_err(), "line {i} put in unnoticed");
            for j in 0..i {
                let mut moved = lines.clone();
                moved.swap(i, j);
                assert!(check(&(moved.join("\n") + "\n")).is_err(), "lines {i} and {j} swapped unnoticed");
            }
        }
        assert!(check(&good).is_ok());
    }

    #[test]
    fn a_cut_end_is_found_by_the_head_and_a_cut_head_by_its_signature() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 4, 100);
        let good = fs::read_to_string(&path).unwrap();
        for cut in 0..good.len() {
            fs::write(&path, &good[..cut]).unwrap();
            assert!(verify(&path, Some(key().public())).is_err(), "cut at {cut} unnoticed");
        }
        fs::write(&path, &good).unwrap();
        let head = head_path(&path);
        let text = fs::read_to_string(&head).unwrap();
        fs::write(&head, text.replace("\\\"lines\\\":4", "\\\"lines\\\":3")).unwrap();
        assert!(matches!(verify(&path, Some(key().public())), Err(VerifyError::Head(_))));
        fs::remove_file(&head).unwrap();
        assert!(matches!(verify(&path, Some(key().public())), Err(VerifyError::Head(_))));
        assert!(verify_lines(good.as_bytes(), Some(key().public())).is_ok());
    }

    #[test]
    fn a_batch_that_was_cut_off_by_a_crash_is_whole_lines_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 3, 100);
        let head = fs::read(head_path(&path)).unwrap();
        let before = fs::read_to_string(&path).unwrap();
        let mut log = ReceiptLog::open(LogConfig::new(path.clone()), key()).unwrap();
        assert_eq!(log.record_all((3..9).map(decision).collect()).unwrap(), 3);
        assert_eq!(verify(&path, Some(key().public())).unwrap().receipts, 9);
        let all = fs::read_to_string(&path).unwrap();
        drop(log);
        // Each one waits for the disk several times, so not every byte of a line's middle.
        let by_an_end = |cut: &usize| all[..*cut].ends_with('\n') || all[*cut..].starts_with('\n');
        let cuts = (before.len()..=all.len()).filter(|cut| cut % 29 == 0 || by_an_end(cut));
        for cut in cuts {
            // Killed before the head was written, with so much of the batch in the file.
            fs::write(&path, &all[..cut]).unwrap();
            fs::write(head_path(&path), &head).unwrap();
            let lines = all[..cut].matches('\n').count() as u64;
            let mut log = ReceiptLog::open(LogConfig::new(path.clone()), key()).unwrap();
            assert_eq!(log.record(decision(1)).unwrap(), lines, "cut at {cut}");
            assert_eq!(verify(&path, Some(key().public())).unwrap().receipts, lines + 1);
        }
        let too_many = (0..=MAX_BATCH).map(|_| decision(1)).collect();
        let mut log = ReceiptLog::open(LogConfig::new(path), key()).unwrap();
        assert!(matches!(log.record_all(too_many), Err(ReceiptError::Batch)));
    }

    #[test]
    fn a_file_that_holds_something_else_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        for text in ["buy milk", "buy milk\nand bread"] {
            fs::write(&path, text).unwrap();
            assert!(ReceiptLog::open(LogConfig::new(path.clone()), key()).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_full_log_goes_on_in_a_new_file_that_names_the_last_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 5, 2);
        let report = |name: &str| verify(&folder.path().join(name), Some(key().public())).unwrap();
        let (first, second, third) =
            (report("receipts.jsonl.1"), report("receipts.jsonl.3"), report("receipts.jsonl"));
        assert_eq!((first.receipts, second.receipts, third.receipts), (2, 2, 1));
        assert_eq!((second.first_previous, third.first_previous), (first.last, second.last));
        // And one that was begun and not written to yet.
        let mut log = ReceiptLog::open(LogConfig::new(path.clone()), key()).unwrap();
        log.rotate().unwrap();
        drop(log);
        let mut log = ReceiptLog::open(LogConfig::new(path.clone()), key()).unwrap();
        assert_eq!(log.record(decision(5)).unwrap(), 5);
        assert_eq!(verify(&path, Some(key().public())).unwrap().first_previous, third.last);
    }

    #[test]
    fn what_is_no_log_is_an_error_and_no_panic() {
        for text in ["x\n", "{}\n", "{\"body\":\"{}\",\"signature\":\"\"}\n", "\n", "\u{0}\n", "no end"] {
            assert!(verify_lines(text.as_bytes(), None).is_err(), "{text:?}");
        }
        let long = "x".repeat(MAX_LINE * 2);
        assert!(verify_lines(long.as_bytes(), None).is_err());
    }
}
