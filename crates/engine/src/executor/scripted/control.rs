//! How a test steers a scripted executor that an engine has: what fails, how long things take, and
//! what was run so far.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use garrison_device::{Batch, DeviceError};

use crate::faults::{self, Allocation};

/// Steers a [`ScriptedExecutor`] from outside of the engine's thread.
#[derive(Clone, Debug, Default)]
pub struct ScriptControl {
    inner: Arc<(Mutex<Control>, Condvar)>,
}

#[derive(Debug, Default)]
struct Control {
    /// Steps begun.
    begun: u64,
    /// Steps that will fail, the next one first.
    failures: usize,
    /// The step that will fail, counted as `begun` counts.
    failing: Option<u64>,
    /// Adapters that will find no room, the next one first.
    adapter_failures: usize,
    /// Copies to the host cache and back that will fail, the next one first.
    save_failures: usize,
    restore_failures: usize,
    /// Whether the next step panics.
    panics: bool,
    /// What steps say of their time, see [`ScriptControl::set_cost`].
    cost: (f64, f64),
    /// What copies to the host cache and back say of their time.
    copy_cost: (f64, f64),
    /// Time a step takes.
    delay: Duration,
    held: bool,
    /// Tokens of each sequence of each step, in order.
    log: Vec<Vec<usize>>,
}

/// Steps remembered in the log.
const LOG: usize = 10_000;

impl ScriptControl {
    /// The next `n` steps fail.
    pub fn fail_next(&self, n: usize) {
        self.lock().failures = n;
    }

    /// The step after the next `n` fails.
    pub fn fail_after(&self, n: u64) {
        let mut control = self.lock();
        control.failing = Some(control.begun + n + 1);
    }

    /// The next `n` adapters find no room.
    pub fn fail_adapters(&self, n: usize) {
        self.lock().adapter_failures = n;
    }

    /// The next `saves` copies to the host cache fail, and the next `restores` back.
    pub fn fail_copies(&self, saves: usize, restores: usize) {
        let mut control = self.lock();
        (control.save_failures, control.restore_failures) = (saves, restores);
    }

    /// The next step panics.
    pub fn panic_next(&self) {
        self.lock().panics = true;
    }

    /// Each step says that it took `fixed` seconds and `per_token` for each of its tokens; none
    /// unless told.
    pub fn set_cost(&self, fixed: f64, per_token: f64) {
        self.lock().cost = (fixed, per_token);
    }

    /// A copy of a block to the host cache says that it took `save` seconds, and one back `restore`;
    /// none unless told.
    pub fn set_copy_cost(&self, save: f64, restore: f64) {
        self.lock().copy_cost = (save, restore);
    }

    /// Seconds that saving a block takes, if it is not to fail.
    pub(super) fn save(&self) -> Result<f64, DeviceError> {
        let mut control = self.lock();
        count_down(&mut control.save_failures, Allocation::Save)?;
        Ok(control.copy_cost.0)
    }

    /// The same for restoring one.
    pub(super) fn restore(&self) -> Result<f64, DeviceError> {
        let mut control = self.lock();
        count_down(&mut control.restore_failures, Allocation::Restore)?;
        Ok(control.copy_cost.1)
    }

    pub(super) fn cost(&self, tokens: usize) -> f64 {
        let (fixed, per_token) = self.lock().cost;
        fixed + per_token * tokens as f64
    }

    /// Each step takes at least this long from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// The next step waits for [`ScriptControl::release`], and those after it do.
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// Steps go on.
    pub fn release(&self) {
        self.lock().held = false;
        self.inner.1.notify_all();
    }

    /// Steps begun so far.
    pub fn steps(&self) -> u64 {
        self.lock().begun
    }

    /// Waits until this many steps have begun; false if that takes longer than `timeout`.
    pub fn wait_for_steps(&self, steps: u64, timeout: Duration) -> bool {
        let wait = self.inner.1.wait_timeout_while(self.lock(), timeout, |c| c.begun < steps);
        wait.map(|(_, timeout)| !timeout.timed_out()).unwrap_or(false)
    }

    /// Tokens of each sequence of each step so far, for the first 10,000 steps.
    pub fn log(&self) -> Vec<Vec<usize>> {
        self.lock().log.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Control> {
        // A panic inside a step was asked for; the state is still sound.
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for an adapter, unless there is to be none.
    pub(super) fn find_room(&self) -> Result<(), DeviceError> {
        let mut control = self.lock();
        if !faults::fails(Allocation::Adapter) && control.adapter_failures == 0 {
            return Ok(());
        }
        control.adapter_failures = control.adapter_failures.saturating_sub(1);
        Err(DeviceError::OutOfMemory { device: "scripted".into(), what: "an adapter".into(), bytes: 1 })
    }

    /// Notes the step, and does to it what was asked for.
    pub(super) fn begin(&self, batch: &Batch) -> Result<(), DeviceError> {
        let mut control = self.lock();
        control.begun += 1;
        if control.log.len() < LOG {
            control.log.push(batch.q_start.windows(2).map(|w| (w[1] - w[0]) as usize).collect());
        }
        self.inner.1.notify_all();
        let wait = self.inner.1.wait_while(control, |c| c.held);
        let mut control = wait.unwrap_or_else(PoisonError::into_inner);
        let delay = control.delay;
        assert!(!std::mem::take(&mut control.panics), "the script says: panic");
        if control.failing == Some(control.begun) {
            control.failures += 1;
        }
        count_down(&mut control.failures, Allocation::Step)?;
        drop(control);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        Ok(())
    }
}

/// Fails if there are failures left, or this very one is to fail.
fn count_down(failures: &mut usize, allocation: Allocation) -> Result<(), DeviceError> {
    if !faults::fails(allocation) && *failures == 0 {
        return Ok(());
    }
    *failures = failures.saturating_sub(1);
    Err(DeviceError::Failed { device: "scripted".into(), reason: "the script says so".into() })
}
