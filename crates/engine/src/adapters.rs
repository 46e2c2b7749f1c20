//! LoRA adapters: which ones there are, and which stand in the device's slots.
//!
//! Key decisions:
//! - A request holds on to the very adapter it was started with. What its name stands for may be
//!   replaced or taken away meanwhile; the adapter goes when the last who holds it does.
//! - Each adapter has a number that no other ever gets. Slots and prefixes in the cache go by that
//!   number, never by a name: so nothing that was computed with one adapter serves another.
//! - A slot is filled between steps, one before each step at most, in place of the adapter that was
//!   used longest ago among those that no running sequence uses. Where all are in use, a sequence
//!   waits, and the slot with the fewest users takes no more until it is empty.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use garrison_model::Adapter;

use crate::engine::{Shared, Waker};

/// An adapter that requests can ask for, made by [`crate::Engine::add_adapter`].
pub struct AdapterHandle(Arc<Registered>);

struct Registered {
    /// No two adapters of an engine have the same; 0 is none's.
    number: u64,
    adapter: Adapter,
    waker: Waker,
    /// Handles there are. What stands in a slot is not one.
    handles: AtomicUsize,
}

impl Registered {
    /// Whether nobody can ask for it any more: handles come from handles.
    fn is_forsaken(&self) -> bool {
        self.handles.load(Ordering::Acquire) == 0
    }
}

impl AdapterHandle {
    pub(crate) fn new(number: u64, adapter: Adapter, waker: Waker) -> AdapterHandle {
        AdapterHandle(Arc::new(Registered { number, adapter, waker, handles: AtomicUsize::new(1) }))
    }

    /// One more for what stands in a slot.
    fn of(registered: &Arc<Registered>) -> AdapterHandle {
        registered.handles.fetch_add(1, Ordering::Relaxed);
        AdapterHandle(Arc::clone(registered))
    }

    /// The adapter.
    pub fn adapter(&self) -> &Adapter {
        &self.0.adapter
    }

    /// A number that no other adapter of its engine has, also none that had its name before.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Whether it was made by the engine that `shared` is of.
    pub(crate) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        self.0.waker.is_of(shared)
    }

    /// Says whether its memory is still taken.
    #[cfg(test)]
    pub(crate) fn watch(&self) -> impl Fn() -> bool + use<> {
        let weak = Arc::downgrade(&self.0);
        move || weak.strong_count() > 0
    }
}

impl Clone for AdapterHandle {
    fn clone(&self) -> AdapterHandle {
        AdapterHandle::of(&self.0)
    }
}

impl Drop for AdapterHandle {
    fn drop(&mut self) {
        // The engine may sleep, and its slot may hold what nobody can ask for any more.
        if self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.waker.wake();
        }
    }
}

impl fmt::Debug for AdapterHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdapterHandle({})", self.0.number)
    }
}

/// What stands in the slots, as the scheduler sees it.
pub(crate) struct AdapterSlots {
    /// `[slots]`, slot 1 first.
    slots: Vec<Slot>,
    /// Counts uses.
    uses: u64,
    /// The slot to be filled before the next step.
    to_fill: Option<u32>,
    swaps: u64,
}

#[derive(Default)]
struct Slot {
    holds: Option<Arc<Registered>>,
    /// Running sequences that use it.
    users: usize,
    /// When it was last taken.
    used: u64,
}

impl AdapterSlots {
    pub(crate) fn new(slots: usize) -> AdapterSlots {
        let slots = (0..slots).map(|_| Slot::default()).collect();
        AdapterSlots { slots, uses: 0, to_fill: None, swaps: 0 }
    }

    /// The slot in which `adapter` stands; slot 0 is for no adapter.
    pub(crate) fn holding(&self, adapter: Option<&AdapterHandle>) -> Option<u32> {
        let Some(adapter) = adapter else { return Some(0) };
        let holds = |slot: &Slot| slot.holds.as_ref().is_some_and(|h| h.number == adapter.number());
        self.slots.iter().zip(1..).find(|(slot, _)| holds(slot)).map(|(_, number)| number)
    }

    /// The slot for one more sequence with `adapter`. If there is none now, the slot that should be left
    /// to become empty for it; or none, if it is only that one was filled for this step already:
    /// everybody waits while a slot is filled.
    pub(crate) fn find(&self, adapter: Option<&AdapterHandle>) -> Result<u32, Option<u32>> {
        if let Some(number) = self.holding(adapter) {
            return Ok(number);
        }
        let numbered = || self.slots.iter().zip(1u32..);
        let idle = numbered().filter(|(slot, _)| slot.users == 0);
        match idle.min_by_key(|(slot, _)| (slot.holds.is_some(), slot.used)) {
            Some((_, number)) if self.to_fill.is_none() => Ok(number),
            Some(_) => Err(None),
            None => Err(numbered().min_by_key(|(slot, _)| slot.users).map(|(_, number)| number)),
        }
    }

    /// Takes the slot that [`AdapterSlots::find`] found.
    pub(crate) fn take(&mut self, number: u32, adapter: Option<&AdapterHandle>) {
        self.uses += 1;
        let uses = self.uses;
        let (Some(slot), Some(adapter)) = (self.slot_mut(number), adapter) else { return };
        (slot.users, slot.used) = (slot.users + 1, uses);
        if slot.holds.as_ref().is_none_or(|h| h.number != adapter.number()) {
            slot.holds = Some(Arc::clone(&adapter.0));
            self.swaps += 1;
            self.to_fill = Some(number);
        }
    }

    /// A sequence that used slot `number` does not any more.
    pub(crate) fn release(&mut self, number: u32) {
        if let Some(slot) = self.slot_mut(number) {
            debug_assert!(slot.users > 0, "slot {number} is released but not in use");
            slot.users = slot.users.saturating_sub(1);
        }
    }

    /// The slot to be filled now, and with what.
    pub(crate) fn take_fill(&mut self) -> Option<(u32, AdapterHandle)> {
        let number = self.to_fill.take()?;
        Some((number, AdapterHandle::of(self.slot_mut(number)?.holds.as_ref()?)))
    }

    /// Slot `number`; there is none for no adapter.
    fn slot_mut(&mut self, number: u32) -> Option<&mut Slot> {
        self.slots.get_mut((number as usize).checked_sub(1)?)
    }

    /// Forgets what is in slot `number`.
    pub(crate) fn forget(&mut self, number: u32) {
        if let Some(slot) = self.slot_mut(number) {
            slot.holds = None;
        }
    }

    /// Forgets what is in every slot: the device has lost it. No sequence may use any.
    pub(crate) fn forget_all(&mut self) {
        self.to_fill = None;
        for slot in &mut self.slots {
            slot.holds = None;
        }
    }

    /// Takes adapters out that nobody can ask for any more; says which slots are empty now.
    pub(crate) fn take_unloaded(&mut self) -> Vec<u32> {
        let gone = |slot: &Slot| slot.holds.as_ref().is_some_and(|held| held.is_forsaken());
        let mut empty = Vec::new();
        for (slot, number) in self.slots.iter_mut().zip(1..) {
            if slot.users == 0 && gone(slot) {
                slot.holds = None;
                empty.push(number);
            }
        }
        empty
    }

    /// Slots filled so far.
    pub(crate) fn swaps(&self) -> u64 {
        self.swaps
    }

    /// Checks that `users` are the slots of all running sequences.
    #[cfg(test)]
    pub(crate) fn check(&self, users: impl Iterator<Item = (u32, u64)>) {
        let mut counts = vec![0; self.slots.len()];
        for (number, adapter) in users {
            assert_eq!(number == 0, adapter == 0, "slot 0 is for no adapter");
            if let Some(slot) = self.slots.get((number as usize).wrapping_sub(1)) {
                let held = slot.holds.as_ref().map(|held| held.number);
                assert_eq!(held, Some(adapter), "slot {number} holds another adapter");
                counts[number as usize - 1] += 1;
            }
        }
        let recorded: Vec<usize> = self.slots.iter().map(|s| s.users).collect();
        assert_eq!(counts, recorded, "users recorded and sequences that run differ");
    }
}
