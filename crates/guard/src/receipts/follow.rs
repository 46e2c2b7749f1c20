//! What comes after a receipt under [`Durability::Kill`](super::Durability::Kill): lines are put on the disk, and the
//! head tells of them, on a thread of its own, so that nobody who waits for a receipt waits for either.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::log::{MAX_AHEAD, ReceiptError, SOON, write_head};
use super::verify::Role;
use super::{Head, SigningKey};

/// Lines ahead of the head from which on it is written at once.
const MANY: u64 = MAX_AHEAD / 2;

/// Follows a log. Dropped, it catches up first.
#[derive(Debug)]
pub(super) struct Follower {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    key: SigningKey,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// What was written last, while it is not on the disk or the head does not tell of it.
    newest: Option<(Arc<File>, Head)>,
    /// The number that the next receipt gets by the head as it stands.
    told: u64,
    pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// It waits a little for more, so that they go together.
    Unhurried,
    /// Somebody waits.
    Hurried,
    /// It ends once all is written.
    Ending,
    /// Something could not be written, so nothing more will be.
    Failed,
}

impl State {
    /// Lines that the head does not tell of.
    fn ahead(&self) -> u64 {
        self.newest.as_ref().map_or(0, |(_, head)| head.next.saturating_sub(self.told))
    }
}

impl Follower {
    /// Follows the log at `path`, whose head tells of everything before receipt number `told`.
    pub(super) fn start(path: PathBuf, key: SigningKey, told: u64) -> io::Result<Follower> {
        let state = Mutex::new(State { newest: None, told, pace: Pace::Unhurried });
        let shared = Arc::new(Shared { path, key, state, changed: Condvar::new() });
        let theirs = Arc::clone(&shared);
        let follow = move || theirs.follow();
        let thread = std::thread::Builder::new().name("receipts-sync".into()).spawn(follow)?;
        Ok(Follower { shared, thread: Some(thread) })
    }

    /// Lines were written, and this is the head that tells of them. Waits only while as many as [`MAX_AHEAD`] are ahead
    /// of the one that is there.
    ///
    /// # Errors
    /// If an earlier one could not be written.
    pub(super) fn note(&self, file: &Arc<File>, head: Head) -> Result<(), ReceiptError> {
        let mut state = self.shared.lock();
        let before = state.ahead();
        state.newest = Some((Arc::clone(file), head));
        if before == 0 || (before < MANY && state.ahead() >= MANY) {
            self.shared.changed.notify_all();
        }
        self.shared.wait_while(state, |state| state.ahead() >= MAX_AHEAD)
    }

    /// Waits until the head tells of everything. What is noted then may have another file.
    ///
    /// # Errors
    /// If it could not be written.
    pub(super) fn catch_up(&self) -> Result<(), ReceiptError> {
        let mut state = self.shared.lock();
        if state.pace == Pace::Unhurried {
            state.pace = Pace::Hurried;
        }
        self.shared.changed.notify_all();
        self.shared.wait_while(state, |state| state.newest.is_some())?;
        let mut state = self.shared.lock();
        if state.pace == Pace::Hurried {
            state.pace = Pace::Unhurried;
        }
        Ok(())
    }

    pub(super) fn has_failed(&self) -> bool {
        self.shared.lock().pace == Pace::Failed
    }

    #[cfg(test)]
    pub(super) fn fail_for_test(&self) {
        self.shared.lock().pace = Pace::Failed;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.pace != Pace::Failed {
            state.pace = Pace::Ending;
        }
        drop(state);
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(
        &self,
        state: MutexGuard<'_, State>,
        waits: impl Fn(&State) -> bool,
    ) -> Result<(), ReceiptError> {
        let waits = |state: &mut State| state.pace != Pace::Failed && waits(state);
        let state = self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        if state.pace == Pace::Failed { Err(ReceiptError::Stuck) } else { Ok(()) }
    }

    fn follow(&self) {
        while let Some((file, head)) = self.next() {
            // The file first: a head must not tell of lines that a loss of power took.
            let synced = file.sync_data().is_ok();
            let told = synced && write_head(Role::Open, &self.path, &self.key, &head).is_ok();
            let mut state = self.lock();
            if told {
                state.told = head.next;
                if state.ahead() == 0 {
                    state.newest = None;
                }
            } else {
                state.pace = Pace::Failed;
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    /// What is to be written next, once it is time for it. None when there is nothing left to do.
    fn next(&self) -> Option<(Arc<File>, Head)> {
        let runs = |pace| matches!(pace, Pace::Unhurried | Pace::Hurried);
        let idle = |state: &mut State| state.newest.is_none() && runs(state.pace);
        let state = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        let rests = |state: &mut State| state.pace == Pace::Unhurried && state.ahead() < MANY;
        let (state, _) =
            self.changed.wait_timeout_while(state, SOON / 2, rests).unwrap_or_else(PoisonError::into_inner);
        match state.pace {
            Pace::Failed => None,
            _ => state.newest.clone(),
        }
    }
}
