//! Cached blocks that nobody holds, on the device or in the host cache, in the order in which they were
//! let go.
//!
//! A doubly linked list through an array by id, so that one in its middle is taken out in constant
//! time when a request wants it again. Id 0, the null block and the slot for trials, is never listed
//! and is the head of the ring.

/// The ring's head.
const HEAD: u32 = garrison_device::NULL_BLOCK;

/// Ids of blocks or slots, least recently used first.
#[derive(Debug)]
pub(super) struct Lru {
    /// `[n]` the id let go before and after each; one that points at itself is not listed.
    before: Vec<u32>,
    after: Vec<u32>,
    len: usize,
}

impl Lru {
    /// An empty list over the ids below `n`.
    pub(super) fn new(n: usize) -> Lru {
        let own: Vec<u32> = (0..n as u32).collect();
        Lru { before: own.clone(), after: own, len: 0 }
    }

    /// How many are listed.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Lists `id` as the most recently used.
    pub(super) fn push(&mut self, id: u32) {
        debug_assert!(id != HEAD && self.after[id as usize] == id, "id {id} is listed");
        let last = self.before[HEAD as usize];
        self.link(last, id);
        self.link(id, HEAD);
        self.len += 1;
    }

    /// Takes `id` out, wherever it is.
    pub(super) fn remove(&mut self, id: u32) {
        let (before, after) = (self.before[id as usize], self.after[id as usize]);
        debug_assert!(id != HEAD && after != id, "id {id} is not listed");
        self.link(before, after);
        self.link(id, id);
        self.len -= 1;
    }

    /// Takes the least recently used out.
    pub(super) fn pop(&mut self) -> Option<u32> {
        let id = self.after[HEAD as usize];
        if id == HEAD {
            return None;
        }
        self.remove(id);
        Some(id)
    }

    fn link(&mut self, left: u32, right: u32) {
        self.after[left as usize] = right;
        self.before[right as usize] = left;
    }

    /// Every listed id, least recently used first.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let next = |&id: &u32| Some(self.after[id as usize]).filter(|&b| b != HEAD);
        std::iter::successors(next(&HEAD), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_let_go_is_the_first_taken() {
        let mut lru = Lru::new(6);
        for block in [3, 1, 5, 2] {
            lru.push(block);
        }
        lru.remove(5);
        lru.remove(3);
        lru.push(3);
        assert_eq!((lru.iter().collect::<Vec<_>>(), lru.len()), (vec![1, 2, 3], 3));
        assert_eq!(std::iter::from_fn(|| lru.pop()).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((lru.pop(), lru.len()), (None, 0));
    }
}
