//! Writing receipts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use super::follow::Follower;
use super::verify::{VerifyError, read_head, verify, verify_with_head};
use super::{Decision, Domain, Head, MAX_LINE, PublicKey, Receipt, SigningKey, beginning, hex, line_digest};

/// Receipts that are written at once, at most.
pub const MAX_BATCH: u64 = 64;

/// Lines that can be ahead of their head, at most, after a crash: it is written after them, and under
/// [`Durability::Kill`] for many together.
pub(super) const MAX_AHEAD: u64 = 1024;

/// Where receipts go.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The file that is written to.
    pub path: PathBuf,
    /// Lines after which it is closed and a new one begun.
    pub max_lines: u64,
    /// What a receipt survives once its number is told.
    pub durability: Durability,
}

/// What a receipt survives once its number is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// That the machine loses its power: it is on the disk.
    #[default]
    Power,
    /// That this process is killed: the system has it, and it is put on the disk within [`SOON`]. If that ever fails, no
    /// further receipt is written.
    Kill,
}

/// How long a receipt may be on no disk, at most, under [`Durability::Kill`], and what the disk takes.
pub const SOON: Duration = Duration::from_millis(200);

impl LogConfig {
    /// A file with room for 100,000 lines.
    pub fn new(path: PathBuf) -> LogConfig {
        LogConfig { path, max_lines: 100_000, durability: Durability::Power }
    }
}

/// Why a receipt cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The file.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What is there was not written by this key, or was changed.
    #[error("{path} cannot be continued: {error}")]
    Broken {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        error: VerifyError,
    },
    /// The file is not there, and what is beside it says that it was.
    #[error("{path} is gone, but {beside} tells of it: put it back, or begin a log elsewhere")]
    Gone {
        /// Which.
        path: PathBuf,
        /// What there is.
        beside: PathBuf,
    },
    /// A line would be too long.
    #[error("a receipt has more than {MAX_LINE} bytes")]
    Long,
    /// Too many at once.
    #[error("more than {MAX_BATCH} receipts cannot be written at once")]
    Batch,
    /// It cannot be written as JSON.
    #[error("a receipt cannot be written as JSON")]
    Json,
    /// An earlier line could not be written whole, so the file may end in the middle of one.
    #[error("an earlier receipt could not be written")]
    Stuck,
}

/// A log of receipts that is written to.
#[derive(Debug)]
pub struct ReceiptLog {
    config: LogConfig,
    key: SigningKey,
    file: Arc<File>,
    /// There under [`Durability::Kill`].
    follower: Option<Follower>,
    next: u64,
    lines: u64,
    last: String,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Sound,
    Stuck,
}

impl ReceiptLog {
    /// Opens a log, or begins one. What is there already is checked before it is continued. The beginning
    /// of a line that was being written when the process was killed is dropped: nobody was told of it. Where
    /// the file is gone and its head or a closed file is there, a log is continued only if a kill between closing
    /// the one file and beginning the next left them so.
    ///
    /// # Errors
    /// If the file cannot be used or was tampered with.
    pub fn open(config: LogConfig, key: SigningKey) -> Result<ReceiptLog, ReceiptError> {
        let path = config.path.clone();
        let fault = |error| ReceiptError::File { path: path.clone(), error };
        let head = if path.try_exists().map_err(fault)? {
            drop_unfinished(&path, key.public()).map_err(fault)?;
            let report = verify(&path, Some(key.public()))
                .map_err(|error| ReceiptError::Broken { path: path.clone(), error })?;
            Head { lines: report.receipts, next: report.next_id, last: report.last }
        } else {
            begin(&path, key.public())?
        };
        // First the head: there is no file without one, whenever the process is killed.
        write_head(&path, &key, &head)?;
        let Head { lines, next, last } = head;
        let file = append(&path)?;
        let follower = match config.durability {
            Durability::Power => None,
            Durability::Kill => Some(Follower::start(path.clone(), key.clone(), next).map_err(fault)?),
        };
        Ok(ReceiptLog { config, key, file, follower, next, lines, last, state: State::Sound })
    }

    /// Whether writing a receipt waits for a disk.
    pub fn waits_for_the_disk(&self) -> bool {
        self.follower.is_none()
    }

    /// Writes a decision down and gives the receipt's number. It is as durable as the log when this returns.
    ///
    /// # Errors
    /// If it cannot be written; then neither can any later one.
    pub fn record(&mut self, decision: Decision) -> Result<u64, ReceiptError> {
        self.record_all(vec![decision])
    }

    /// Writes up to [`MAX_BATCH`] decisions down together, which waits for the disk once if at all, and gives the
    /// first receipt's number; the others follow it. They are as durable as the log when this returns.
    ///
    /// # Errors
    /// If they cannot be written; then neither can any later one. If one of them would be too long,
    /// none of them is written.
    pub fn record_all(&mut self, decisions: Vec<Decision>) -> Result<u64, ReceiptError> {
        let first = self.append_all(decisions)?;
        self.seal()?;
        Ok(first)
    }

    /// The same without the head that tells how many lines there are, so that whoever waits for a receipt does not wait
    /// for that. [`ReceiptLog::seal`] has to follow before anything else is written.
    ///
    /// # Errors
    /// As [`ReceiptLog::record_all`].
    pub fn append_all(&mut self, decisions: Vec<Decision>) -> Result<u64, ReceiptError> {
        if self.follower.as_ref().is_some_and(Follower::has_failed) {
            self.state = State::Stuck;
        }
        if self.state == State::Stuck {
            return Err(ReceiptError::Stuck);
        }
        if decisions.len() as u64 > MAX_BATCH {
            return Err(ReceiptError::Batch);
        }
        if self.lines >= self.config.max_lines.max(1) {
            self.state = State::Stuck;
            self.rotate()?;
            self.state = State::Sound;
        }
        let first = self.next;
        let (mut next, mut last, mut text) = (self.next, self.last.clone(), String::new());
        for decision in decisions {
            let line = self.sign(next, last, decision)?;
            (next, last) = (next + 1, line_digest(&line));
            text.push_str(&line);
            text.push('\n');
        }
        // Until all is well.
        self.state = State::Stuck;
        let synced = || if self.follower.is_some() { Ok(()) } else { self.file.sync_data() };
        (&*self.file)
            .write_all(text.as_bytes())
            .and_then(|()| synced())
            .map_err(|error| ReceiptError::File { path: self.config.path.clone(), error })?;
        self.lines += next - first;
        (self.next, self.last) = (next, last);
        if let Some(follower) = &self.follower {
            follower.note(&self.file, self.head())?;
            self.state = State::Sound;
        }
        Ok(first)
    }

    /// Writes the head after [`ReceiptLog::append_all`], if that is not left to another thread.
    ///
    /// # Errors
    /// If it cannot be written; then neither can any later receipt.
    pub fn seal(&mut self) -> Result<(), ReceiptError> {
        if self.follower.is_none() {
            self.write_head()?;
            self.state = State::Sound;
        }
        Ok(())
    }

    fn sign(&self, id: u64, previous: String, decision: Decision) -> Result<String, ReceiptError> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        let receipt = Receipt {
            id,
            time: u64::try_from(time).unwrap_or(u64::MAX),
            verdict: decision.verdict,
            detectors: decision.detectors,
            tier: decision.tier,
            digest: hex(&decision.digest),
            previous,
        };
        line(&self.key, Domain::Receipt, &receipt)
    }

    /// Closes the file under the number of its last receipt, and goes on in a new one. Wherever this is
    /// interrupted, [`ReceiptLog::open`] goes on from there.
    pub(super) fn rotate(&mut self) -> Result<(), ReceiptError> {
        if let Some(follower) = &self.follower {
            follower.catch_up()?;
        }
        let path = &self.config.path;
        let closed = numbered(path, self.next.saturating_sub(1));
        let fault = |error| ReceiptError::File { path: closed.clone(), error };
        if closed.try_exists().map_err(fault)? {
            return Err(fault(io::ErrorKind::AlreadyExists.into()));
        }
        self.file.sync_data().map_err(fault)?;
        write_head(&closed, &self.key, &self.head())?;
        fs::rename(path, &closed).map_err(fault)?;
        self.lines = 0;
        self.write_head()?;
        self.file = append(path)?;
        Ok(())
    }

    fn head(&self) -> Head {
        Head { lines: self.lines, next: self.next, last: self.last.clone() }
    }

    fn write_head(&self) -> Result<(), ReceiptError> {
        write_head(&self.config.path, &self.key, &self.head())
    }

    /// As if a write had failed.
    #[cfg(test)]
    pub(crate) fn break_for_test(&mut self) {
        self.state = State::Stuck;
    }
}

fn line(key: &SigningKey, domain: Domain, value: &impl serde::Serialize) -> Result<String, ReceiptError> {
    let body = serde_json::to_string(value).map_err(|_| ReceiptError::Json)?;
    let line = serde_json::to_string(&key.sign(domain, body)).map_err(|_| ReceiptError::Json)?;
    if line.len() > MAX_LINE { Err(ReceiptError::Long) } else { Ok(line) }
}

/// Replaces the head of the log at `path` as a whole, so that it is the old one or the new one.
pub(super) fn write_head(path: &Path, key: &SigningKey, head: &Head) -> Result<(), ReceiptError> {
    let text = line(key, Domain::Head, head)?;
    let path = head_path(path);
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, &path))
        .map_err(|error| ReceiptError::File { path, error })
}

/// Where a log begins whose file is not there: at the beginning if nothing tells of it, or where the file
/// ended that was closed last.
fn begin(path: &Path, key: PublicKey) -> Result<Head, ReceiptError> {
    let beside = head_path(path);
    let fault = |error| ReceiptError::File { path: path.to_owned(), error };
    let closed = last_closed(path).map_err(fault)?;
    let gone = |beside| ReceiptError::Gone { path: path.to_owned(), beside };
    if !beside.try_exists().map_err(fault)? {
        return match closed {
            None => Ok(Head { lines: 0, next: 0, last: beginning() }),
            Some(last) => Err(gone(numbered(path, last))),
        };
    }
    let Some(head) = read_head(&beside, Some(key)) else { return Err(gone(beside)) };
    let continues = match closed {
        None => head.next == 0,
        Some(last) => verify(&numbered(path, last), Some(key))
            .is_ok_and(|report| report.next_id == head.next && report.last == head.last),
    };
    if continues { Ok(Head { lines: 0, ..head }) } else { Err(gone(beside)) }
}

/// The highest number of a closed file of the log at `path`.
fn last_closed(path: &Path) -> io::Result<Option<u64>> {
    let Some(name) = path.file_name() else { return Ok(None) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut last = None;
    for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let other = entry?.file_name();
        let number = other.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
        let number =
            number.and_then(|rest| rest.strip_prefix(b".")).and_then(|n| std::str::from_utf8(n).ok());
        last = last.max(number.and_then(|number| number.parse().ok()));
    }
    Ok(last)
}

/// Cuts off a last line that has no end, if what is before it is what the head tells of.
fn drop_unfinished(path: &Path, key: PublicKey) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_LINE as u64 + 1)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let unfinished = tail.iter().rev().take_while(|byte| **byte != b'\n').count() as u64;
    let whole = length - unfinished;
    if unfinished == 0 {
        return Ok(());
    }
    file.rewind()?;
    let lines = BufReader::new((&mut file).take(whole));
    if verify_with_head(lines, path, Some(key)).is_ok() { file.set_len(whole) } else { Ok(()) }
}

fn append(path: &Path) -> Result<Arc<File>, ReceiptError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map(Arc::new)
        .map_err(|error| ReceiptError::File { path: path.to_owned(), error })
}

/// Where a log's head is.
pub(super) fn head_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".head");
    name.into()
}

fn numbered(path: &Path, last: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{last}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::super::{Verdict, verify};
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_seed([3; 32])
    }

    fn decision() -> Decision {
        Decision {
            verdict: Verdict::Cleared,
            detectors: vec!["patterns/1".into()],
            tier: "remote/m".into(),
            digest: [1; 32],
        }
    }

    fn open(path: &Path, max_lines: u64) -> Result<ReceiptLog, ReceiptError> {
        ReceiptLog::open(LogConfig { max_lines, ..LogConfig::new(path.to_owned()) }, key())
    }

    /// A log of so many receipts.
    fn written(path: &Path, receipts: u64) -> ReceiptLog {
        let mut log = open(path, 100).unwrap();
        for id in 0..receipts {
            assert_eq!(log.record(decision()).unwrap(), id);
        }
        log
    }

    #[test]
    fn a_log_that_waits_for_no_disk_is_as_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipts.jsonl");
        let config = LogConfig { durability: Durability::Kill, max_lines: 9, ..LogConfig::new(path.clone()) };
        let mut log = ReceiptLog::open(config.clone(), key()).unwrap();
        for id in 0..14 {
            assert_eq!(log.record(decision()).unwrap(), id);
        }
        // What is killed now leaves a head that is behind, and what is checked meanwhile has one as well.
        let copy = tempfile::tempdir().unwrap();
        let copied = copy.path().join("receipts.jsonl");
        fs::copy(&path, &copied).unwrap();
        fs::copy(head_path(&path), head_path(&copied)).unwrap();
        let report = verify(&copied, Some(key().public())).unwrap();
        assert_eq!((report.receipts, report.next_id), (5, 14));
        drop(log);
        let head = read_head(&head_path(&path), Some(key().public())).unwrap();
        assert_eq!((head.lines, head.next), (5, 14), "it catches up when it is closed");
        let mut log = ReceiptLog::open(config, key()).unwrap();
        assert_eq!(log.record(decision()).unwrap(), 14);
        log.follower.as_ref().unwrap().fail_for_test();
        assert!(matches!(log.record(decision()), Err(ReceiptError::Stuck)), "a sync has failed");
    }

    #[test]
    fn the_head_is_never_further_behind_than_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipts.jsonl");
        let config = LogConfig { durability: Durability::Kill, ..LogConfig::new(path.clone()) };
        let mut log = ReceiptLog::open(config, key()).unwrap();
        for _ in 0..3 * MAX_AHEAD / MAX_BATCH {
            let batch = (0..MAX_BATCH).map(|_| decision()).collect();
            let first = log.record_all(batch).unwrap();
            let head = read_head(&head_path(&path), Some(key().public())).unwrap();
            assert!(first + MAX_BATCH - head.next < MAX_AHEAD, "{first} and {head:?}");
        }
        // And soon it is not behind at all.
        let tells = || read_head(&head_path(&path), Some(key().public())).unwrap().next == 3 * MAX_AHEAD;
        let until = std::time::Instant::now() + Duration::from_secs(30);
        while !tells() {
            assert!(std::time::Instant::now() < until);
            std::thread::sleep(SOON / 10);
        }
    }

    #[test]
    fn a_log_goes_on_wherever_it_was_killed_between_two_files() {
        for step in 0..4 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("receipts.jsonl");
            let mut log = written(&path, 3);
            let old_head = fs::read(head_path(&path)).unwrap();
            log.rotate().unwrap();
            let closed = numbered(&path, 2);
            match step {
                0 => fs::rename(&closed, &path).unwrap(),
                1 | 2 => fs::remove_file(&path).unwrap(),
                _ => {}
            }
            if step < 2 {
                fs::write(head_path(&path), &old_head).unwrap();
            }
            let mut log = open(&path, 3).unwrap();
            assert_eq!(log.record(decision()).unwrap(), 3, "killed after step {step}");
            let first = verify(&closed, Some(key().public())).unwrap();
            let second = verify(&path, Some(key().public())).unwrap();
            assert_eq!((first.receipts, second.receipts), (3, 1));
            assert_eq!(second.first_previous, first.last);
        }
    }

    #[test]
    fn a_log_that_is_gone_is_not_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipts.jsonl");
        let gone = || matches!(open(&path, 3), Err(ReceiptError::Gone { .. }));
        drop(written(&path, 2));
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(gone(), "its head is there");
        fs::write(&path, kept).unwrap();
        let mut log = open(&path, 2).unwrap();
        log.record(decision()).unwrap();
        drop(log);
        fs::remove_file(&path).unwrap();
        assert!(gone(), "a receipt that the head tells of is gone");
        fs::remove_file(head_path(&path)).unwrap();
        assert!(gone(), "a closed file is there");
        fs::remove_file(numbered(&path, 1)).unwrap();
        assert!(open(&path, 3).is_ok());
        // A head of another key.
        fs::remove_file(&path).unwrap();
        write_head(&path, &SigningKey::from_seed([4; 32]), &Head { lines: 0, next: 0, last: beginning() })
            .unwrap();
        assert!(gone());
    }

    #[test]
    fn a_file_that_is_in_the_way_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipts.jsonl");
        let mut log = open(&path, 2).unwrap();
        log.record(decision()).unwrap();
        log.record(decision()).unwrap();
        fs::write(numbered(&path, 1), "older").unwrap();
        assert!(matches!(log.record(decision()), Err(ReceiptError::File { .. })));
        assert!(matches!(log.record(decision()), Err(ReceiptError::Stuck)));
        assert_eq!(fs::read_to_string(numbered(&path, 1)).unwrap(), "older");
        assert_eq!(verify(&path, Some(key().public())).unwrap().receipts, 2);
    }

    #[test]
    fn a_line_that_was_torn_is_dropped_and_only_where_the_head_knows_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipts.jsonl");
        drop(written(&path, 3));
        let (good, head) = (fs::read_to_string(&path).unwrap(), fs::read(head_path(&path)).unwrap());
        let first = good.find('\n').unwrap();
        // The very first line, before any head told of it.
        let start = tempfile::tempdir().unwrap();
        let begun = start.path().join("receipts.jsonl");
        drop(open(&begun, 100).unwrap());
        fs::write(&begun, &good[..first / 2]).unwrap();
        assert_eq!(open(&begun, 100).unwrap().record(decision()).unwrap(), 0);
        // A later one.
        fs::write(&path, format!("{good}{}", &good[..first / 2])).unwrap();
        assert_eq!(open(&path, 100).unwrap().record(decision()).unwrap(), 3);
        // One that the head knows was whole.
        fs::write(&path, &good[..good.len() - 2]).unwrap();
        fs::write(head_path(&path), &head).unwrap();
        assert!(matches!(open(&path, 100), Err(ReceiptError::Broken { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), good[..good.len() - 2]);
    }

    #[test]
    fn the_head_of_another_log_hides_no_cut() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        drop(written(&path, 5));
        let lines = fs::read_to_string(&path).unwrap();
        let cut: String = lines.split_inclusive('\n').take(3).collect();
        fs::write(&path, cut).unwrap();
        for receipts in 0..4 {
            drop(written(&other, receipts));
            fs::copy(head_path(&other), head_path(&path)).unwrap();
            fs::remove_file(&other).unwrap();
            fs::remove_file(head_path(&other)).unwrap();
            // The beginning of every log is the same.
            let held = verify(&path, Some(key().public()));
            assert_eq!(held.is_ok(), receipts == 0, "{held:?}");
        }
    }
}
