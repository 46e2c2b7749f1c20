//! Pinned memory, which a GPU copies to and from while the host does something else.
//!
//! Key decisions:
//! - What is written goes through it, so a caller's bytes are free at once. It has two halves: one is filled while the other
//!   is copied from, so that loading a model packs, stages and copies at the same time.
//! - What is drawn comes back by way of mailboxes with an event each: whoever waits for it does not wait for the step that
//!   was enqueued after it.

use std::ptr::null_mut;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use crate::driver::{MAILBOX_BYTES, MAILBOXES};

/// Each half of the pinned memory that writes go through.
pub(super) const HALF: usize = 8 << 20;

/// What writes go through. A half is used from the front; when it is used up, the other is, as soon as whatever was copied
/// from that is done.
pub(super) struct Staging {
    /// `2 * HALF` bytes.
    memory: *mut u8,
    /// Which half is being filled, and how much of it is.
    half: usize,
    used: usize,
    /// When each half was last copied from.
    copied: [sys::CUevent; 2],
}

// SAFETY: it is plain memory, used under a lock.
unsafe impl Send for Staging {}

/// What reads go through that nobody waits for yet.
pub(super) struct Mailboxes {
    /// `MAILBOXES * MAILBOX_BYTES` bytes.
    memory: *mut u8,
    /// When each was last copied to.
    copied: [sys::CUevent; MAILBOXES],
}

// SAFETY: as `Staging`.
unsafe impl Send for Mailboxes {}

/// Pinned memory; whoever asks for it gives it back.
fn pinned(bytes: usize) -> Result<*mut u8, DriverError> {
    // SAFETY: nothing is touched.
    unsafe { result::malloc_host(bytes, 0) }.map(|memory| memory.cast())
}

fn event() -> Result<sys::CUevent, DriverError> {
    result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
}

impl Staging {
    /// With the context current, as all of what follows.
    pub(super) fn new() -> Result<Staging, DriverError> {
        Ok(Staging { memory: pinned(2 * HALF)?, half: 0, used: 0, copied: [event()?, event()?] })
    }

    /// Copies up to `HALF` bytes to where nothing is copied from any more; they stay as they are until what is enqueued
    /// next on `stream` has copied them.
    pub(super) fn stage(&mut self, part: &[u8], stream: sys::CUstream) -> Result<&[u8], DriverError> {
        assert!(part.len() <= HALF, "{} bytes are more than a half holds", part.len());
        if self.used + part.len() > HALF {
            self.turn(stream)?;
        }
        // SAFETY: there is room for the part beyond `used`, and nobody else writes there; what was copied from there before
        // is done.
        let staged = unsafe {
            let staged = self.memory.add(self.half * HALF + self.used);
            std::ptr::copy_nonoverlapping(part.as_ptr(), staged, part.len());
            std::slice::from_raw_parts(staged, part.len())
        };
        // Parts begin at lines of the cache.
        self.used = (self.used + part.len()).next_multiple_of(64).min(HALF);
        Ok(staged)
    }

    /// Goes on with the other half, once nothing is copied from it any more.
    fn turn(&mut self, stream: sys::CUstream) -> Result<(), DriverError> {
        // SAFETY: the events live as long as `self`, the stream as long as its device. One that was never recorded is no
        // wait.
        let turned = unsafe {
            let done = self.copied[self.half];
            result::event::record(done, stream).and_then(|()| {
                self.half = 1 - self.half;
                result::event::synchronize(self.copied[self.half])
            })
        };
        self.used = 0;
        turned
    }

    /// Gives all of it back.
    ///
    /// # Safety
    /// Nothing is under way any more, and nobody uses it after this.
    pub(super) unsafe fn release(&mut self) {
        // SAFETY: the caller's promise.
        unsafe { release(&mut self.memory, &self.copied) }
    }
}

impl Mailboxes {
    pub(super) fn new() -> Result<Mailboxes, DriverError> {
        let mut copied = [null_mut(); MAILBOXES];
        for of in &mut copied {
            *of = event()?;
        }
        Ok(Mailboxes { memory: pinned(MAILBOXES * MAILBOX_BYTES)?, copied })
    }

    /// Begins to copy so many bytes from the device's memory to a mailbox.
    ///
    /// # Safety
    /// They are there, and stay until the copy was waited for.
    pub(super) unsafe fn send(
        &self,
        mailbox: usize,
        from: sys::CUdeviceptr,
        bytes: usize,
        stream: sys::CUstream,
    ) -> Result<(), DriverError> {
        assert!(bytes <= MAILBOX_BYTES, "{bytes} bytes are more than a mailbox holds");
        // SAFETY: the mailbox is that long, and nobody looks into it until the copy was waited for; the event lives as long
        // as `self`, the stream as long as its device. The rest is the caller's promise.
        unsafe {
            let to = std::slice::from_raw_parts_mut(self.memory.add(mailbox * MAILBOX_BYTES), bytes);
            result::memcpy_dtoh_async(to, from, stream)
                .and_then(|()| result::event::record(self.copied[mailbox], stream))
        }
    }

    /// Waits for what was sent to a mailbox.
    pub(super) fn receive(&self, mailbox: usize, bytes: &mut [u8]) -> Result<(), DriverError> {
        assert!(bytes.len() <= MAILBOX_BYTES, "{} bytes are more than a mailbox holds", bytes.len());
        // SAFETY: the event lives as long as `self`.
        unsafe { result::event::synchronize(self.copied[mailbox]) }?;
        // SAFETY: the mailbox is that long, and the copy to it is done.
        unsafe {
            let from = self.memory.add(mailbox * MAILBOX_BYTES);
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len());
        }
        Ok(())
    }

    /// Gives all of it back.
    ///
    /// # Safety
    /// Nothing is under way any more, and nobody uses it after this.
    pub(super) unsafe fn release(&mut self) {
        // SAFETY: the caller's promise.
        unsafe { release(&mut self.memory, &self.copied) }
    }
}

/// Of a device that fails meanwhile nobody is left to tell.
///
/// # Safety
/// Nobody uses the memory or the events any more.
unsafe fn release(memory: &mut *mut u8, events: &[sys::CUevent]) {
    // SAFETY: the caller's promise; both were given by the driver.
    unsafe {
        let _ = result::free_host(std::mem::replace(memory, null_mut()).cast());
        for &event in events {
            let _ = result::event::destroy(event);
        }
    }
}
