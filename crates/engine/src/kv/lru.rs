//! Cached blocks that nobody holds, in the order in which they were let go.
//!
//! A doubly linked list through an array by block id, so that a block in its middle is taken out
//! in constant time when a request wants it again. The null block, which is never cached, is the
//! head of the ring.

use garrison_device::NULL_BLOCK;

/// Blocks, least recently used first.
#[derive(Debug)]
pub(super) struct Lru {
    /// `[n_blocks]` the block let go before and after each; a block that points at itself is not listed.
    before: Vec<u32>,
    after: Vec<u32>,
    len: usize,
}

impl Lru {
    /// An empty list over `n_blocks` blocks.
    pub(super) fn new(n_blocks: usize) -> Lru {
        let own: Vec<u32> = (0..n_blocks as u32).collect();
        Lru { before: own.clone(), after: own, len: 0 }
    }

    /// How many are listed.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Lists `block` as the most recently used.
    pub(super) fn push(&mut self, block: u32) {
        debug_assert!(block != NULL_BLOCK && self.after[block as usize] == block, "block {block} is listed");
        let last = self.before[NULL_BLOCK as usize];
        self.link(last, block);
        self.link(block, NULL_BLOCK);
        self.len += 1;
    }

    /// Takes `block` out, wherever it is.
    pub(super) fn remove(&mut self, block: u32) {
        let (before, after) = (self.before[block as usize], self.after[block as usize]);
        debug_assert!(block != NULL_BLOCK && after != block, "block {block} is not listed");
        self.link(before, after);
        self.link(block, block);
        self.len -= 1;
    }

    /// Takes the least recently used out.
    pub(super) fn pop(&mut self) -> Option<u32> {
        let block = self.after[NULL_BLOCK as usize];
        if block == NULL_BLOCK {
            return None;
        }
        self.remove(block);
        Some(block)
    }

    fn link(&mut self, left: u32, right: u32) {
        self.after[left as usize] = right;
        self.before[right as usize] = left;
    }

    /// Every listed block, least recently used first.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let next = |&block: &u32| Some(self.after[block as usize]).filter(|&b| b != NULL_BLOCK);
        std::iter::successors(next(&NULL_BLOCK), next)
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
