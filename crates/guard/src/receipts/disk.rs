//! A log's files: who may write them, and that they are there after a loss of power.
//!
//! What a file holds and under which name it is found are two things to a disk. A file that was synced may have no name
//! after a loss of power, and one that was renamed may be empty. So what replaces a file is synced before it is renamed,
//! and a folder is synced after its names have changed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::ReceiptError;

/// Held by the one who writes a log, as long as it lives: two would both give the next number, and each would take what
/// the other is writing for torn. It is the system's lock on a file beside the log, which ends with the process however
/// that ends; the file stays, since removing it would let two hold locks on two files of that name.
#[derive(Debug)]
pub(super) struct Lock {
    _held: File,
}

impl Lock {
    /// Takes the log at `path`.
    ///
    /// # Errors
    /// If somebody else has it, or there can be no lock.
    pub(super) fn take(path: &Path) -> Result<Lock, ReceiptError> {
        let beside = lock_path(path);
        let fault = |error| ReceiptError::File { path: beside.clone(), error };
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&beside).map_err(fault)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(fault(error)),
            Err(TryLockError::WouldBlock) => {
                return Err(ReceiptError::InUse {
                    path: path.to_owned(),
                    holder: holder(&mut file),
                    lock: beside,
                });
            }
        }
        // For people who are refused: the lock itself does not tell who has it.
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(fault)?;
        Ok(Lock { _held: file })
    }
}

/// Who has written into a lock's file that it holds it.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    // Without it the sentence says less.
    let _ = file.take(32).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(process) => format!("process {process}"),
        Err(_) => "another process".to_owned(),
    }
}

/// Where a log's lock is.
fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Replaces a small file as a whole, so that it is the old one or the new one, after a loss of power as well.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    took(Step::ContentSynced);
    rename(&new, path)
}

/// Gives a file another name.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    took(Step::Renamed);
    Ok(())
}

/// Opens a file to be written at its end, and makes it if it is not there.
pub(super) fn append(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    took(Step::Opened);
    Ok(file)
}

/// Puts the names in a file's folder on the disk.
pub(super) fn sync_names(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()?;
    took(Step::NamesSynced);
    Ok(())
}

/// The folder of a file.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What was done with a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    ContentSynced,
    Renamed,
    Opened,
    NamesSynced,
}

#[cfg(not(test))]
fn took(_: Step) {}

#[cfg(test)]
use order::took;

/// The order in which this thread has done things: no test can take the power away.
#[cfg(test)]
pub(super) mod order {
    use std::cell::RefCell;

    use super::Step;

    thread_local! {
        static TAKEN: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn took(step: Step) {
        TAKEN.with_borrow_mut(|taken| taken.push(step));
    }

    /// What was done since this was asked last.
    pub(in super::super) fn taken() -> Vec<Step> {
        TAKEN.with_borrow_mut(std::mem::take)
    }
}
