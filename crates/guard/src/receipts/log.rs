//! Writing receipts.

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use super::disk::{self, Lock};
use super::follow::Follower;
use super::verify::{Role, VerifyError, read_head, verify_as, verify_with_head};
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
    /// Somebody writes it already.
    #[error(
        "{path} is being written by {holder}, which holds {lock}: stop that one first, or give each a file of its own"
    )]
    InUse {
        /// The log.
        path: PathBuf,
        /// Who has it, as far as that is known.
        holder: String,
        /// The file that is locked.
        lock: PathBuf,
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
    /// The last field, so that it is given back when the follower has caught up.
    _lock: Lock,
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
    /// As long as the log lives nobody else can open it, in this process or another.
    ///
    /// # Errors
    /// If the file cannot be used, is being written by somebody else, or was tampered with.
    pub fn open(config: LogConfig, key: SigningKey) -> Result<ReceiptLog, ReceiptError> {
        let path = config.path.clone();
        let fault = |error| ReceiptError::File { path: path.clone(), error };
        // Before anything is read: another who writes would make all of it wrong.
        let lock = Lock::take(&path)?;
        let head = if path.try_exists().map_err(fault)? {
            drop_unfinished(&path, key.public()).map_err(fault)?;
            let report = verify_as(Role::Open, &path, Some(key.public()))
                .map_err(|error| ReceiptError::Broken { path: path.clone(), error })?;
            Head { lines: report.receipts, next: report.next_id, last: report.last }
        } else {
            begin(&path, key.public())?
        };
        // First the head: there is no file without one, whenever the process is killed.
        write_head(Role::Open, &path, &key, &head)?;
        disk::sync_names(&path).map_err(fault)?;
        let Head { lines, next, last } = head;
        let file = append(&path)?;
        let follower = match config.durability {
            Durability::Power => None,
            Durability::Kill => Some(Follower::start(path.clone(), key.clone(), next).map_err(fault)?),
        };
        let state = State::Sound;
        Ok(ReceiptLog { config, key, file, follower, next, lines, last, state, _lock: lock })
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
        // Each step is on the disk before the next, so that a loss of power leaves no more than a kill does.
        write_head(Role::Closed, &closed, &self.key, &self.head())?;
        disk::sync_names(path).map_err(fault)?;
        disk::rename(path, &closed).map_err(fault)?;
        disk::sync_names(path).map_err(fault)?;
        self.lines = 0;
        self.write_head()?;
        disk::sync_names(path).map_err(fault)?;
        self.file = append(path)?;
        Ok(())
    }

    fn head(&self) -> Head {
        Head { lines: self.lines, next: self.next, last: self.last.clone() }
    }

    fn write_head(&self) -> Result<(), ReceiptError> {
        write_head(Role::Open, &self.config.path, &self.key, &self.head())
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

/// Replaces the head of the file at `path`.
pub(super) fn write_head(role: Role, path: &Path, key: &SigningKey, head: &Head) -> Result<(), ReceiptError> {
    let text = line(key, role.domain(), head)?;
    let path = head_path(path);
    disk::replace(&path, &text).map_err(|error| ReceiptError::File { path, error })
}

/// Where a log begins whose file is not there: at the beginning if nothing tells of it, or where the file
/// ended that was closed last.
fn begin(path: &Path, key: PublicKey) -> Result<Head, ReceiptError> {
    let beside = head_path(path);
    let fault = |error| ReceiptError::File { path: path.to_owned(), error };
    let closed = closed(path).map_err(fault)?.last().copied();
    let gone = |beside| ReceiptError::Gone { path: path.to_owned(), beside };
    if !beside.try_exists().map_err(fault)? {
        return match closed {
            None => Ok(Head { lines: 0, next: 0, last: beginning() }),
            Some(last) => Err(gone(numbered(path, last))),
        };
    }
    let Some(head) = read_head(Role::Open, &beside, Some(key)) else { return Err(gone(beside)) };
    let continues = match closed {
        None => head.next == 0,
        Some(last) => verify_as(Role::Closed, &numbered(path, last), Some(key))
            .is_ok_and(|report| report.next_id == head.next && report.last == head.last),
    };
    if continues { Ok(Head { lines: 0, ..head }) } else { Err(gone(beside)) }
}

/// The numbers of the closed files of the log at `path`, each of its last receipt, in order.
pub(super) fn closed(path: &Path) -> io::Result<Vec<u64>> {
    let Some(name) = path.file_name() else { return Ok(Vec::new()) };
    let mut numbers = Vec::new();
    for entry in fs::read_dir(disk::folder(path))? {
        let other = entry?.file_name();
        let number = other.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
        let number =
            number.and_then(|rest| rest.strip_prefix(b".")).and_then(|n| std::str::from_utf8(n).ok());
        // "+7" and "07" are numbers as well, but no file is closed under these names.
        let of_name = |text: &str| text.parse::<u64>().ok().filter(|number| number.to_string() == text);
        numbers.extend(number.and_then(of_name));
    }
    numbers.sort_unstable();
    Ok(numbers)
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
    if verify_with_head(Role::Open, lines, path, Some(key)).is_ok() { file.set_len(whole) } else { Ok(()) }
}

/// Opens a log's file to be written at its end, with its name on the disk.
fn append(path: &Path) -> Result<Arc<File>, ReceiptError> {
    let file = disk::append(path).and_then(|file| disk::sync_names(path).map(|()| file));
    file.map(Arc::new).map_err(|error| ReceiptError::File { path: path.to_owned(), error })
}

/// Where a log's head is.
pub(super) fn head_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".head");
    name.into()
}

/// Where the file is that was closed after receipt number `last`.
pub(super) fn numbered(path: &Path, last: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{last}"));
    name.into()
}
