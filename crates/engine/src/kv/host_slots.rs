//! The slots of the host cache: which hold nothing, which hold what was evicted from the device, and
//! from which a sequence is about to be restored.
//!
//! Slots are evicted like blocks: the one filled longest ago first. One that a sequence is about to be
//! restored from is held, so that nothing is saved over it meanwhile. Slot 0 is never handed out: there it
//! is tried out what copies cost.

use super::lru::Lru;
use crate::faults::{self, Allocation};

/// Where a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Blank,
    Idle,
    Held,
}

/// Hands slots out and takes them back.
#[derive(Debug)]
pub(super) struct HostSlots {
    /// Those that hold nothing, the next one last.
    blank: Vec<u32>,
    /// Those that hold something.
    idle: Lru,
    /// `[n_slots + 1]`
    states: Vec<State>,
}

impl HostSlots {
    pub(super) fn new(n_slots: usize) -> HostSlots {
        // Low ids first: a lightly used cache stays within few pages of memory.
        let blank = (1..=n_slots as u32).rev().collect();
        HostSlots { blank, idle: Lru::new(n_slots + 1), states: vec![State::Blank; n_slots + 1] }
    }

    /// How many there are.
    pub(super) fn capacity(&self) -> usize {
        self.states.len() - 1
    }

    /// How many hold something.
    pub(super) fn used(&self) -> usize {
        self.capacity() - self.blank.len()
    }

    /// A slot to be filled, which may hold something that has to be forgotten. None if all are held.
    pub(super) fn take(&mut self) -> Option<u32> {
        if faults::fails(Allocation::HostSlot) {
            return None;
        }
        let slot = self.blank.pop().or_else(|| self.idle.pop())?;
        self.states[slot as usize] = State::Idle;
        self.idle.push(slot);
        Some(slot)
    }

    /// Keeps what is in `slot` from being evicted.
    pub(super) fn hold(&mut self, slot: u32) {
        assert_eq!(self.states[slot as usize], State::Idle, "slot {slot} is held but not idle");
        self.states[slot as usize] = State::Held;
        self.idle.remove(slot);
    }

    /// Lets a held slot go. It is the one used last, if it `still` holds something.
    pub(super) fn release(&mut self, slot: u32, still: Contents) {
        assert_eq!(self.states[slot as usize], State::Held, "slot {slot} is released but not held");
        match still {
            Contents::Findable => {
                self.states[slot as usize] = State::Idle;
                self.idle.push(slot);
            }
            Contents::Forgotten => {
                self.states[slot as usize] = State::Blank;
                self.blank.push(slot);
            }
        }
    }

    /// Notes that what `slot` holds is forgotten. Whoever holds it lets go of it later.
    pub(super) fn forget(&mut self, slot: u32) {
        if self.states[slot as usize] == State::Idle {
            self.states[slot as usize] = State::Blank;
            self.idle.remove(slot);
            self.blank.push(slot);
        }
    }

    /// Checks that `held` are all that are held, and that each is in the list of its state.
    #[cfg(test)]
    pub(super) fn check(&self, held: impl Iterator<Item = u32>, findable: impl Fn(u32) -> bool) {
        let listed = |state| (0..self.states.len() as u32).filter(move |&s| self.states[s as usize] == state);
        let sorted = |ids: &mut dyn Iterator<Item = u32>| {
            let mut ids: Vec<u32> = ids.collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(sorted(&mut held.into_iter()), sorted(&mut listed(State::Held)), "slots held");
        assert_eq!(sorted(&mut self.idle.iter()), sorted(&mut listed(State::Idle)), "slots that are idle");
        let blank = sorted(&mut self.blank.iter().copied().chain([0]));
        assert_eq!(blank, sorted(&mut listed(State::Blank)), "slots that are blank");
        assert!(self.idle.iter().all(&findable), "an idle slot that cannot be found");
        assert!(!blank.into_iter().any(findable), "a blank slot that can be found");
    }
}

/// Whether what a slot holds can still be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    Findable,
    Forgotten,
}
