//! What Linux calls NUMA nodes, on systems that do not tell of them or where threads cannot be bound: none.

/// Nodes that threads are bound to: never any on this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes(());

impl Nodes {
    /// Threads run wherever the system puts them.
    pub const fn unbound() -> Nodes {
        Nodes(())
    }

    /// The same on this system.
    pub fn of_this_process() -> Nodes {
        Nodes::unbound()
    }

    /// How many threads are bound to.
    pub fn count(&self) -> usize {
        0
    }

    pub(crate) fn sizes(&self) -> Vec<usize> {
        vec![1]
    }

    pub(crate) fn bind(&self, _node: usize) {}

    pub(crate) fn here(&self) -> usize {
        0
    }
}

/// Why threads should be left to the system.
pub fn confinement() -> Option<&'static str> {
    Some("this system does not bind threads")
}
