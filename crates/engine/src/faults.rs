//! Where tests let allocations fail: the n-th of a kind, chosen by the thread that steps the engine. In
//! the product nothing of this is there.

/// What can be had or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allocation {
    /// Blocks for a sequence, or for its guesses.
    Blocks,
    /// A slot of the host cache.
    HostSlot,
    /// A copy to the host cache.
    Save,
    /// A copy back.
    Restore,
    /// An adapter in its slot.
    Adapter,
    /// What a step of the executor needs, the draft model's included.
    Step,
    /// The next states of a grammar.
    Grammar,
}

#[cfg(not(test))]
pub(crate) use product::fails;
#[cfg(test)]
pub(crate) use test::{ALL, counts, fail, fails};

#[cfg(not(test))]
mod product {
    /// No allocation fails for a test's sake.
    #[inline(always)]
    pub(crate) fn fails(_: super::Allocation) -> bool {
        false
    }
}

#[cfg(test)]
mod test {
    use std::cell::RefCell;

    use super::Allocation;

    pub(crate) const ALL: [Allocation; 7] = [
        Allocation::Blocks,
        Allocation::HostSlot,
        Allocation::Save,
        Allocation::Restore,
        Allocation::Adapter,
        Allocation::Step,
        Allocation::Grammar,
    ];

    #[derive(Default)]
    struct Plan {
        /// Allocations so far, by kind.
        counts: [usize; ALL.len()],
        /// Kinds and numbers, from 0, of those that fail.
        failing: Vec<(Allocation, usize)>,
    }

    thread_local! {
        static PLAN: RefCell<Plan> = RefCell::default();
    }

    /// From now on counts allocations of this thread, and lets these fail.
    pub(crate) fn fail(failing: &[(Allocation, usize)]) {
        PLAN.set(Plan { counts: Default::default(), failing: failing.to_vec() });
    }

    /// How many of each kind there were.
    pub(crate) fn counts() -> [usize; ALL.len()] {
        PLAN.with_borrow(|plan| plan.counts)
    }

    /// Whether the allocation that is about to be made fails.
    pub(crate) fn fails(kind: Allocation) -> bool {
        PLAN.with_borrow_mut(|plan| {
            let number = plan.counts[kind as usize];
            plan.counts[kind as usize] += 1;
            plan.failing.contains(&(kind, number))
        })
    }
}
