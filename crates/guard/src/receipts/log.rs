//! Writing receipts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::verify::{VerifyError, verify, verify_lines};
use super::{Decision, Domain, Head, MAX_LINE, PublicKey, Receipt, SigningKey, beginning, hex, line_digest};

/// Receipts that are written at once, at most: so many lines can be ahead of their head after a crash.
pub const MAX_BATCH: u64 = 64;

/// Where receipts go.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The file that is written to.
    pub path: PathBuf,
    /// Lines after which it is closed and a new one begun.
    pub max_lines: u64,
}

impl LogConfig {
    /// A file with room for 100,000 lines.
    pub fn new(path: PathBuf) -> LogConfig {
        LogConfig { path, max_lines: 100_000 }
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
    file: File,
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
    /// of a line that was being written when the process was killed is dropped: nobody was told of it.
    ///
    /// # Errors
    /// If the file cannot be used or was tampered with.
    pub fn open(config: LogConfig, key: SigningKey) -> Result<ReceiptLog, ReceiptError> {
        let path = config.path.clone();
        let exists = path.exists();
        if exists {
            let fault = |error| ReceiptError::File { path: path.clone(), error };
            drop_unfinished(&path, key.public()).map_err(fault)?;
        }
        let (next, lines, last) = if exists {
            let report = verify(&path, Some(key.public()))
                .map_err(|error| ReceiptError::Broken { path: path.clone(), error })?;
            (report.next_id, report.receipts, report.last)
        } else {
            (0, 0, beginning())
        };
        let file = append(&path)?;
        let log = ReceiptLog { config, key, file, next, lines, last, state: State::Sound };
        log.write_head()?;
        Ok(log)
    }

    /// Writes a decision down and gives the receipt's number. It is on the disk when this returns.
    ///
    /// # Errors
    /// If it cannot be written; then neither can any later one.
    pub fn record(&mut self, decision: Decision) -> Result<u64, ReceiptError> {
        self.record_all(vec![decision])
    }

    /// Writes up to [`MAX_BATCH`] decisions down together, which waits for the disk once, and gives the
    /// first receipt's number; the others follow it. They are on the disk when this returns.
    ///
    /// # Errors
    /// If they cannot be written; then neither can any later one. If one of them would be too long,
    /// none of them is written.
    pub fn record_all(&mut self, decisions: Vec<Decision>) -> Result<u64, ReceiptError> {
        if self.state == State::Stuck {
            return Err(ReceiptError::Stuck);
        }
        if decisions.len() as u64 > MAX_BATCH {
            return Err(ReceiptError::Batch);
        }
        if self.lines >= self.config.max_lines.max(1) {
            self.rotate()?;
        }
        let first = self.next;
        let (mut next, mut last, mut text) = (self.next, self.last.clone(), String::new());
        for decision in decisions {
            let line = self.sign(next, last, decision)?;
            (next, last) = (next + 1, line_digest(&line));
            text.push_str(&line);
            text.push('\n');
        }
        self.state = State::Stuck;
        self.file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.sync_data())
            .map_err(|error| ReceiptError::File { path: self.config.path.clone(), error })?;
        self.lines += next - first;
        (self.next, self.last) = (next, last);
        self.write_head()?;
        self.state = State::Sound;
        Ok(first)
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

    /// Closes the file under the number of its last receipt, and goes on in a new one.
    pub(super) fn rotate(&mut self) -> Result<(), ReceiptError> {
        let path = &self.config.path;
        let closed = numbered(path, self.next.saturating_sub(1));
        let fault = |error| ReceiptError::File { path: closed.clone(), error };
        fs::rename(head_path(path), head_path(&closed)).map_err(fault)?;
        fs::rename(path, &closed).map_err(fault)?;
        self.file = append(path)?;
        self.lines = 0;
        self.write_head()
    }

    /// Replaces the head as a whole, so that it is the old one or the new one.
    fn write_head(&self) -> Result<(), ReceiptError> {
        let head = Head { lines: self.lines, next: self.next, last: self.last.clone() };
        let text = line(&self.key, Domain::Head, &head)?;
        let path = head_path(&self.config.path);
        let new = path.with_extension("new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|error| ReceiptError::File { path, error })
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

/// Cuts off a last line that has no end, if those before it are receipts of this key. Whether whole lines
/// are missing is the head's to tell.
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
    if whole > 0 && verify_lines(lines, Some(key)).is_ok() { file.set_len(whole) } else { Ok(()) }
}

fn append(path: &Path) -> Result<File, ReceiptError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
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
